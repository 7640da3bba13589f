// SPDX-License-Identifier: GPL-2.0

//! A list in a fixed array: what the region keeps its tables in.

use crate::error::Error;
use crate::error::Result;
use crate::slices;
use core::ops::Deref;
use core::ops::DerefMut;

/// At most `N` elements, in the order in which their owner keeps them.
///
/// # Invariants
///
/// `len <= N`.
pub(crate) struct FixedList<T, const N: usize> {
    slots: [T; N],
    len: usize,
}

impl<T: Copy, const N: usize> FixedList<T, N> {
    /// No element. `unused` fills the slots that are not in use.
    pub(crate) const fn new(unused: T) -> Self {
        // INVARIANT: 0 is at most any N.
        Self {
            slots: [unused; N],
            len: 0,
        }
    }

    /// Puts `element` before the one at `index`, or at the end.
    ///
    /// # Errors
    ///
    /// [`Error::MapTooManyEntries`] when there are `N` already,
    /// [`Error::Corrupt`] when `index` lies behind the end.
    pub(crate) fn insert(&mut self, index: usize, element: T) -> Result<()> {
        let behind = self.len + 1;
        let tail = self.slots.get_mut(..behind);
        let tail = tail.ok_or(Error::MapTooManyEntries)?;
        let tail = tail.get_mut(index..).filter(|tail| !tail.is_empty());
        let tail = tail.ok_or(Error::Corrupt)?;
        slices::insert(tail, 0, element);
        // INVARIANT: There was a slot behind the last one.
        self.len = behind;
        Ok(())
    }

    /// Takes the element at `index` out; nothing happens where there is none.
    pub(crate) fn remove(&mut self, index: usize) {
        if slices::remove(self, index).is_some() {
            self.len -= 1;
        }
    }

    /// Drops all elements.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }
}

impl<T, const N: usize> Deref for FixedList<T, N> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.slots.get(..self.len).unwrap_or(&[])
    }
}

impl<T, const N: usize> DerefMut for FixedList<T, N> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.slots.get_mut(..self.len).unwrap_or(&mut [])
    }
}
