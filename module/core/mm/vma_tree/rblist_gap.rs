// SPDX-License-Identifier: GPL-2.0

//! The search for room in the red-black tree (`unmapped_area`,
//! `unmapped_area_topdown` up to Linux 6.0).

use super::node::NodeRef;
use super::rblist::Field;
use super::rblist::RbList;
use crate::platform::Platform;

impl<P: Platform> RbList<'_, '_, P> {
    /// Where the gap in front of a node begins.
    fn gap_start(&self, node: NodeRef) -> u64 {
        let prev = self.link(node, Field::Prev);
        if prev.is_none() {
            0
        } else {
            self.field(prev, Field::End)
        }
    }

    fn has_gap(&self, node: NodeRef, size: u64) -> bool {
        !node.is_none() && self.field(node, Field::Gap) >= size
    }

    /// Behind the last entry.
    fn end_of_last(&self) -> u64 {
        let last = self.outermost(Field::Right);
        if last.is_none() {
            0
        } else {
            self.field(last, Field::End)
        }
    }

    /// The highest start of `size` free bytes from `low` up to `high`.
    pub(super) fn highest_gap(&self, low: u64, high: u64, size: u64) -> Option<u64> {
        let last_start = high.checked_sub(size)?;
        let first_end = low.checked_add(size)?;
        if size == 0 || last_start < low {
            return None;
        }
        if self.end_of_last() <= last_start {
            return Some(last_start);
        }
        let mut node = self.nodes.root();
        if !self.has_gap(node, size) {
            return None;
        }
        let mut goes_down = true;
        loop {
            let start = self.gap_start(node);
            if goes_down && start <= last_start {
                let right = self.link(node, Field::Right);
                if self.has_gap(right, size) {
                    node = right;
                    continue;
                }
            }
            let end = self.field(node, Field::Start);
            if end < first_end {
                return None;
            }
            if start <= last_start && end.saturating_sub(start) >= size {
                return Some(end.min(high).wrapping_sub(size));
            }
            let left = self.link(node, Field::Left);
            if self.has_gap(left, size) {
                (node, goes_down) = (left, true);
                continue;
            }
            node = self.up_from(node, Field::Right)?;
            goes_down = false;
        }
    }

    /// The lowest start of `size` free bytes from `low` up to `high`.
    pub(super) fn lowest_gap(&self, low: u64, high: u64, size: u64) -> Option<u64> {
        let last_start = high.checked_sub(size)?;
        let first_end = low.checked_add(size)?;
        if size == 0 || last_start < low {
            return None;
        }
        self.lowest_gap_before_last(low, first_end, last_start, size)
            .or_else(|| {
                let start = self.end_of_last().max(low);
                (start <= last_start).then_some(start)
            })
    }

    fn lowest_gap_before_last(
        &self,
        low: u64,
        first_end: u64,
        last_start: u64,
        size: u64,
    ) -> Option<u64> {
        let mut node = self.nodes.root();
        if !self.has_gap(node, size) {
            return None;
        }
        let mut goes_down = true;
        loop {
            let end = self.field(node, Field::Start);
            if goes_down && end >= first_end {
                let left = self.link(node, Field::Left);
                if self.has_gap(left, size) {
                    node = left;
                    continue;
                }
            }
            let start = self.gap_start(node);
            if start > last_start {
                return None;
            }
            if end >= first_end && end.saturating_sub(start) >= size {
                return Some(start.max(low));
            }
            let right = self.link(node, Field::Right);
            if self.has_gap(right, size) {
                (node, goes_down) = (right, true);
                continue;
            }
            node = self.up_from(node, Field::Left)?;
            goes_down = false;
        }
    }

    /// The next node above one that is on this side of its parent, or whose parents
    /// are.
    fn up_from(&self, mut node: NodeRef, side: Field) -> Option<NodeRef> {
        loop {
            let parent = self.parent(node);
            if parent.is_none() {
                return None;
            }
            if self.link(parent, side) == node {
                return Some(parent);
            }
            node = parent;
        }
    }
}
