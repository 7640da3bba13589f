// SPDX-License-Identifier: GPL-2.0

//! Where there is room: the search for gaps in a maple tree (`mas_empty_area`,
//! `mas_empty_area_rev`).
//!
//! What is noted of a child's gaps may be too much, after its largest gap was filled or
//! because only a part of it is asked for. So a search may come in vain; it then notes
//! what it has seen, and goes on beside that child.

use super::maple::Maple;
use super::maple::MAX_DEPTH;
use super::maple_node::END;
use super::maple_node::GAP_MAX;
use super::node::NodeCells;
use super::node::NodeRef;
use crate::phys::PAGE_SIZE;
use crate::platform::Platform;

/// What is wanted.
struct Wanted {
    low: u64,
    high: u64,
    size: u64,
    /// In pages, as gaps are noted.
    pages: u64,
}

impl Wanted {
    fn new(low: u64, high: u64, size: u64) -> Option<Self> {
        let is_possible = size > 0 && low < high && size <= high.wrapping_sub(low);
        is_possible.then(|| Self {
            low,
            high,
            size,
            pages: size.div_ceil(PAGE_SIZE).min(GAP_MAX),
        })
    }

    /// The part of a gap that may be used, if it is large enough.
    #[inline]
    fn usable(&self, start: u64, end: u64) -> Option<(u64, u64)> {
        let (start, end) = (start.max(self.low), end.min(self.high));
        (start < end && end.wrapping_sub(start) >= self.size).then_some((start, end))
    }
}

impl<P: Platform> Maple<'_, '_, P> {
    /// The highest start of `size` free bytes from `low` up to `high`.
    pub(super) fn highest_gap(&self, low: u64, high: u64, size: u64) -> Option<u64> {
        let wanted = Wanted::new(low, high, size)?;
        match self.nodes.root() {
            NodeRef::NONE => Some(high.wrapping_sub(size)),
            root => self.highest_below(root, 0, END, &wanted, MAX_DEPTH),
        }
    }

    /// The lowest start of `size` free bytes from `low` up to `high`.
    pub(super) fn lowest_gap(&self, low: u64, high: u64, size: u64) -> Option<u64> {
        let wanted = Wanted::new(low, high, size)?;
        match self.nodes.root() {
            NodeRef::NONE => Some(low),
            root => self.lowest_below(root, 0, END, &wanted, MAX_DEPTH),
        }
    }

    /// The highest start below a node that goes from `min` to `max`.
    fn highest_below(
        &self,
        node: NodeRef,
        min: u64,
        max: u64,
        wanted: &Wanted,
        levels: usize,
    ) -> Option<u64> {
        let cells = self.nodes.get(node)?;
        let mut slot = match max > wanted.high {
            true => cells.slot_of(wanted.high.wrapping_sub(1)),
            false => cells.count().wrapping_sub(1),
        };
        let levels = levels.checked_sub(1)?;
        loop {
            slot = match node.is_leaf() {
                true => cells.free_slot_down(slot)?,
                false => cells.child_with_gap_down(slot, wanted.pages)?,
            };
            let (start, end) = cells.range(slot, min, max);
            match wanted.usable(start, end) {
                Some((_, end)) if node.is_leaf() => return Some(end.wrapping_sub(wanted.size)),
                Some(_) => {
                    let child = cells.child(slot);
                    let found = self.highest_below(child, start, end, wanted, levels);
                    if found.is_some() {
                        return found;
                    }
                    self.note_gap(cells, slot, start, end, wanted);
                }
                None if start <= wanted.low => return None,
                None => {}
            }
            slot = slot.checked_sub(1)?;
        }
    }

    /// The lowest start below a node that goes from `min` to `max`.
    fn lowest_below(
        &self,
        node: NodeRef,
        min: u64,
        max: u64,
        wanted: &Wanted,
        levels: usize,
    ) -> Option<u64> {
        let cells = self.nodes.get(node)?;
        let mut slot = match min < wanted.low {
            true => cells.slot_of(wanted.low),
            false => 0,
        };
        let levels = levels.checked_sub(1)?;
        loop {
            slot = match node.is_leaf() {
                true => cells.free_slot_up(slot)?,
                false => cells.child_with_gap_up(slot, wanted.pages)?,
            };
            let (start, end) = cells.range(slot, min, max);
            match wanted.usable(start, end) {
                Some((start, _)) if node.is_leaf() => return Some(start),
                Some(_) => {
                    let child = cells.child(slot);
                    let found = self.lowest_below(child, start, end, wanted, levels);
                    if found.is_some() {
                        return found;
                    }
                    self.note_gap(cells, slot, start, end, wanted);
                }
                None if end >= wanted.high => return None,
                None => {}
            }
            slot = slot.wrapping_add(1);
        }
    }

    /// A child was searched in vain: if all of it was, its largest gap is noted anew.
    fn note_gap(&self, cells: &NodeCells, slot: usize, start: u64, end: u64, wanted: &Wanted) {
        if start < wanted.low || end > wanted.high {
            return;
        }
        let child = cells.child(slot);
        if let Some(below) = self.nodes.get(child) {
            let gap = match child.is_leaf() {
                true => below.leaf_gap(start, end),
                false => below.branch_gap(),
            };
            cells.set_gap(slot, gap.min(cells.gap(slot)));
        }
    }
}
