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
use super::node::NodeCells;
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

/// How a search at one place ended.
enum Search {
    Found(u64),
    /// Nothing on this side of that address.
    Nothing(u64),
}

impl Wanted {
    fn new(low: u64, high: u64, size: u64) -> Option<Self> {
        let is_possible = size > 0 && low < high && size <= high.wrapping_sub(low);
        is_possible.then(|| Self {
            low,
            high,
            size,
            pages: size.div_ceil(PAGE_SIZE).min(u32::MAX.into()),
        })
    }

    /// The part of a gap that may be used, if it is large enough.
    #[inline]
    fn usable(&self, start: u64, end: u64) -> Option<(u64, u64)> {
        let (start, end) = (start.max(self.low), end.min(self.high));
        (start < end && end.wrapping_sub(start) >= self.size).then_some((start, end))
    }
}

impl<'m, P: Platform> Maple<'_, 'm, P> {
    /// The highest start of `size` free bytes from `low` up to `high`.
    pub(super) fn highest_gap(&self, low: u64, high: u64, size: u64) -> Option<u64> {
        let mut wanted = Wanted::new(low, high, size)?;
        if self.nodes.root().is_none() {
            return Some(high.wrapping_sub(size));
        }
        loop {
            match self.search_below(&wanted)? {
                Search::Found(start) => return Some(start),
                Search::Nothing(below) => wanted.high = below,
            }
            if wanted.high <= low || size > wanted.high.wrapping_sub(low) {
                return None;
            }
        }
    }

    fn search_below(&self, wanted: &Wanted) -> Option<Search> {
        let mut node = self.nodes.root();
        let (mut min, mut max) = (0, END);
        let mut parent: Option<(&NodeCells, usize)> = None;
        let from = wanted.high.wrapping_sub(1);
        for _ in 0..MAX_DEPTH {
            let cells = self.nodes.get(node)?;
            let mut slot = cells.slot_of(from);
            let mut end = cells.bound(slot).min(max);
            loop {
                let start = match slot.checked_sub(1) {
                    Some(before) => cells.bound(before),
                    None => min,
                };
                if node.is_leaf() {
                    if cells.value(slot) == 0 {
                        if let Some((_, end)) = wanted.usable(start, end) {
                            return Some(Search::Found(end.wrapping_sub(wanted.size)));
                        }
                    }
                } else if cells.gap(slot) >= wanted.pages && wanted.usable(start, end).is_some() {
                    parent = Some((cells, slot));
                    node = cells.child(slot);
                    (min, max) = (start, end);
                    break;
                }
                if start <= wanted.low || slot == 0 {
                    note_gap(parent, cells, node.is_leaf(), min, max);
                    return Some(Search::Nothing(start));
                }
                slot = slot.wrapping_sub(1);
                end = start;
            }
        }
        None
    }

    /// The lowest start of `size` free bytes from `low` up to `high`.
    pub(super) fn lowest_gap(&self, low: u64, high: u64, size: u64) -> Option<u64> {
        let mut wanted = Wanted::new(low, high, size)?;
        if self.nodes.root().is_none() {
            return Some(low);
        }
        loop {
            match self.search_above(&wanted)? {
                Search::Found(start) => return Some(start),
                Search::Nothing(above) => wanted.low = above,
            }
            if wanted.low >= high || size > high.wrapping_sub(wanted.low) {
                return None;
            }
        }
    }

    fn search_above(&self, wanted: &Wanted) -> Option<Search> {
        let mut node = self.nodes.root();
        let (mut min, mut max) = (0, END);
        let mut parent: Option<(&NodeCells, usize)> = None;
        for _ in 0..MAX_DEPTH {
            let cells = self.nodes.get(node)?;
            let mut slot = cells.slot_of(wanted.low);
            let mut start = match slot.checked_sub(1) {
                Some(before) => cells.bound(before),
                None => min,
            };
            loop {
                let end = cells.bound(slot).min(max);
                if node.is_leaf() {
                    if cells.value(slot) == 0 {
                        if let Some((start, _)) = wanted.usable(start, end) {
                            return Some(Search::Found(start));
                        }
                    }
                } else if cells.gap(slot) >= wanted.pages && wanted.usable(start, end).is_some() {
                    parent = Some((cells, slot));
                    node = cells.child(slot);
                    (min, max) = (start, end);
                    break;
                }
                slot = slot.wrapping_add(1);
                if end >= wanted.high || slot >= cells.count() {
                    note_gap(parent, cells, node.is_leaf(), min, max);
                    return Some(Search::Nothing(end));
                }
                start = end;
            }
        }
        None
    }
}

/// Notes a node's largest gap where it is a child.
#[cold]
fn note_gap(
    parent: Option<(&NodeCells, usize)>,
    node: &NodeCells,
    is_leaf: bool,
    min: u64,
    max: u64,
) {
    let Some((parent, slot)) = parent else {
        return;
    };
    let gap = match is_leaf {
        true => node.leaf_gap(min, max),
        false => node.branch_gap(),
    };
    if gap < parent.gap(slot) {
        parent.set_gap(slot, gap);
    }
}
