// SPDX-License-Identifier: GPL-2.0

//! Which stretches of the region hold placed objects.
//!
//! Neighbours merge, so few entries suffice however many objects there are.

use super::FixedList;
use super::PhysAddr;
use super::PhysRange;
use crate::error::Error;
use crate::error::Result;
use core::ops::Deref;

/// How many separate stretches can be remembered.
const MAX_PLACED: usize = 512;

/// The stretches, lowest first.
///
/// # Invariants
///
/// Sorted, disjoint, not empty, and no two touch.
pub(super) struct Placed(FixedList<PhysRange, MAX_PLACED>);

impl Placed {
    /// Nothing is placed.
    pub(super) const fn new() -> Self {
        Self(FixedList::new(PhysRange {
            start: PhysAddr::ZERO,
            end: PhysAddr::ZERO,
        }))
    }

    /// Whether a part of `range` is in one of them.
    pub(super) fn overlaps(&self, range: PhysRange) -> bool {
        let next = self.get(self.behind(range.start));
        next.is_some_and(|next| next.start < range.end)
    }

    /// The first stretch that ends above `addr`.
    fn behind(&self, addr: PhysAddr) -> usize {
        self.partition_point(|stretch| stretch.end <= addr)
    }

    /// Enters `range`, and merges it with what it touches.
    ///
    /// # Errors
    ///
    /// [`Error::PageReserved`] when a part of it is in already,
    /// [`Error::MapTooManyEntries`] when there is no room for another stretch.
    pub(super) fn claim(&mut self, range: PhysRange) -> Result<()> {
        if self.overlaps(range) {
            return Err(Error::PageReserved);
        }
        let at = self.behind(range.start);
        let after = self.get(at).copied().filter(|next| next.start == range.end);
        let before = at.checked_sub(1).and_then(|i| self.0.get_mut(i));
        match (before.filter(|last| last.end == range.start), after) {
            (Some(before), Some(after)) => {
                before.end = after.end;
                self.0.remove(at);
            }
            (Some(before), None) => before.end = range.end,
            (None, Some(_)) => {
                if let Some(after) = self.0.get_mut(at) {
                    after.start = range.start;
                }
            }
            (None, None) => self.0.insert(at, range)?,
        }
        Ok(())
    }

    /// Takes `range` out.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignPfn`] when a part of it is not in,
    /// [`Error::MapTooManyEntries`] when what is left on both sides has no
    /// room.
    pub(super) fn unclaim(&mut self, range: PhysRange) -> Result<()> {
        let at = self.behind(range.start);
        let stretch = self.0.get_mut(at).ok_or(Error::ForeignPfn)?;
        let whole = *stretch;
        if range.start < whole.start || range.end > whole.end {
            return Err(Error::ForeignPfn);
        }
        match (range.start == whole.start, range.end == whole.end) {
            (true, true) => self.0.remove(at),
            (true, false) => stretch.start = range.end,
            (false, true) => stretch.end = range.start,
            (false, false) => {
                // The upper rest first: if it has no room, nothing changes.
                let upper = PhysRange {
                    start: range.end,
                    end: whole.end,
                };
                self.0.insert(at + 1, upper)?;
                if let Some(lower) = self.0.get_mut(at) {
                    lower.end = range.start;
                }
            }
        }
        Ok(())
    }
}

impl Deref for Placed {
    type Target = [PhysRange];

    fn deref(&self) -> &[PhysRange] {
        &self.0
    }
}
