// SPDX-License-Identifier: GPL-2.0

//! How entries get into a maple tree and out: in a leaf, in place, wherever the change
//! stays in one that has room for it (`mas_wr_append`, `mas_wr_slot_store` and
//! `mas_wr_node_store` in one).
//!
//! ```text
//! before   │ a       │ b   │ c      │ d │        slots, left to right
//! store          ├───── v ──┤
//! after    │ a   │ v        │ c    │ d │         up to two more, or some fewer
//! ```

use super::maple::LeafAt;
use super::maple::Maple;
use super::maple::MAX_DEPTH;
use super::maple_node::gap_pages;
use super::maple_node::Kind;
use super::maple_node::END;
use super::maple_node::FILL;
use super::maple_node::LEAF_SLOTS;
use crate::platform::Platform;

/// A leaf that would have fewer slots is filled up from its neighbour.
pub(super) const LEAF_MIN: usize = 5;

/// What a store does to a leaf: the slots `first..=last` make room for up to three.
struct Change {
    first: usize,
    last: usize,
    /// The new range.
    start: u64,
    end: u64,
    /// What is left of the first slot and of the last.
    left: Option<u64>,
    right: Option<(u64, u64)>,
}

impl<P: Platform> Maple<'_, '_, P> {
    /// How many nodes a store takes at most in a tree so deep.
    pub(super) const fn nodes_for_store(depth: usize) -> usize {
        match depth {
            0 => 1,
            // A leaf becomes two and a root.
            1 => 3,
            // What two nodes have on each level, and something new, are three.
            _ => depth.saturating_mul(3).saturating_add(1),
        }
    }

    /// How many nodes so many stores take at most.
    pub(super) fn nodes_for_stores(&self, stores: usize) -> usize {
        let depth = self.nodes.depth();
        match stores.checked_sub(1) {
            None => 0,
            Some(0) => Self::nodes_for_store(depth),
            // What a store frees the next one uses; each may add a node to each level.
            Some(more) => {
                let depth = depth.saturating_add(1);
                let added = more.saturating_mul(depth.saturating_add(1));
                Self::nodes_for_store(depth).saturating_add(added)
            }
        }
    }

    /// Has `value` from `start` to `end`, 0 for nothing; whether there were nodes
    /// enough. Nothing has changed otherwise.
    pub(super) fn store_range(&self, start: u64, end: u64, value: u64) -> bool {
        if start >= end || self.store_in_leaf(start, end, value) {
            return true;
        }
        let needed = Self::nodes_for_store(self.nodes.depth());
        if self.nodes.spares() < needed && self.nodes.fill(needed).is_err() {
            return false;
        }
        self.store_in_new_nodes(start, end, value).is_some()
    }

    #[inline]
    fn store_in_leaf(&self, start: u64, end: u64, value: u64) -> bool {
        let Some(at) = self.leaf_at(start) else {
            return value == 0;
        };
        if end > at.max {
            return false;
        }
        let Some(change) = self.change(&at, start, end, value) else {
            return false;
        };
        let Change { first, last, .. } = change;
        let used = at.leaf.count();
        let parts = 1 + usize::from(change.left.is_some()) + usize::from(change.right.is_some());
        let count = used
            .wrapping_sub(last.wrapping_sub(first).wrapping_add(1))
            .wrapping_add(parts);
        let shrinks_too_far = count < used && count < LEAF_MIN && at.parent.is_some();
        if count > LEAF_SLOTS || shrinks_too_far || (count == 1 && value == 0) {
            return false;
        }
        self.write(&at, &change, value, used, count);
        if value == 0 {
            let gap = gap_pages(change.start, change.end);
            if at.parent.is_some_and(|(node, slot)| node.gap(slot) < gap) {
                self.raise_gap(start, gap);
            }
        }
        true
    }

    /// What a store makes of a leaf; `None` where a gap would lie beside another leaf's.
    #[inline]
    fn change(&self, at: &LeafAt<'_>, start: u64, end: u64, value: u64) -> Option<Change> {
        let leaf = at.leaf;
        let first = leaf.slot_of(start);
        let mut last = first;
        while at.end(last) < end {
            last = last.wrapping_add(1);
        }
        let (low, high) = (at.start(first), at.end(last));
        let mut change = Change {
            first,
            last,
            start,
            end,
            left: None,
            right: None,
        };
        let (first_value, last_value) = (leaf.value(first), leaf.value(last));
        if low < start {
            match value | first_value {
                0 => change.start = low,
                _ => change.left = Some(first_value),
            }
        } else if value == 0 {
            match first.checked_sub(1) {
                Some(before) if leaf.value(before) == 0 => {
                    change.first = before;
                    change.start = at.start(before);
                }
                Some(_) => {}
                None if at.min > 0 && self.is_gap(at.min.wrapping_sub(1)) => return None,
                None => {}
            }
        }
        if end < high {
            match value | last_value {
                0 => change.end = high,
                _ => change.right = Some((last_value, high)),
            }
        } else if value == 0 {
            let behind = last.wrapping_add(1);
            if behind < leaf.count() {
                if leaf.value(behind) == 0 {
                    change.last = behind;
                    change.end = at.end(behind);
                }
            } else if at.max < END && self.is_gap(at.max) {
                return None;
            }
        }
        Some(change)
    }

    #[inline]
    fn write(&self, at: &LeafAt<'_>, change: &Change, value: u64, used: usize, count: usize) {
        let leaf = at.leaf;
        leaf.begin_change();
        if count != used {
            leaf.shift(change.last.wrapping_add(1), used, count);
        }
        let mut slot = change.first;
        let mut put = |value, end| {
            leaf.set_value(slot, value);
            let next = slot.wrapping_add(1);
            leaf.set_bound(slot, if next == count { FILL } else { end });
            slot = next;
        };
        if let Some(left) = change.left {
            put(left, change.start);
        }
        put(value, change.end);
        if let Some((right, end)) = change.right {
            put(right, end);
        }
        leaf.end_change(Kind::Leaf, count);
    }

    /// A gap of so many pages has come to be at an address.
    #[cold]
    pub(super) fn raise_gap(&self, addr: u64, gap: u64) {
        let mut node = self.nodes.root();
        for _ in 0..MAX_DEPTH {
            let Some(cells) = self.nodes.get(node) else {
                return;
            };
            if node.is_leaf() {
                return;
            }
            let slot = cells.slot_of(addr);
            if cells.gap(slot) < gap {
                cells.set_gap(slot, gap);
            }
            node = cells.child(slot);
        }
    }
}
