// SPDX-License-Identifier: GPL-2.0

//! All that holds of a maple tree, checked (`mt_validate`).

use super::maple::Maple;
use super::maple::MAX_DEPTH;
use super::maple_node::gap_pages;
use super::maple_node::Kind;
use super::maple_node::BRANCH_SLOTS;
use super::maple_node::END;
use super::maple_node::FILL;
use super::maple_node::LEAF_SLOTS;
use super::node::NodeRef;
use crate::error::Error;
use crate::error::Result;
use crate::platform::Platform;

impl<P: Platform> Maple<'_, '_, P> {
    pub(super) fn check_all(&self) -> Result<()> {
        let (root, depth) = (self.nodes.root(), self.nodes.depth());
        let mut is_behind_gap = false;
        let is_sound = match (root.is_none(), depth) {
            (true, depth) => depth == 0,
            (false, 1..=MAX_DEPTH) => {
                let below = self.check(root, depth, 0, END, &mut is_behind_gap);
                below.is_some()
            }
            (false, _) => false,
        };
        match is_sound && self.nodes.validate() {
            true => Ok(()),
            false => Err(Error::Corrupt),
        }
    }

    /// The largest gap below a node of so many levels; `None` if anything is wrong.
    fn check(
        &self,
        node: NodeRef,
        levels: usize,
        min: u64,
        max: u64,
        is_behind_gap: &mut bool,
    ) -> Option<u64> {
        let cells = self.nodes.get(node)?;
        let (is_leaf, count) = (node.is_leaf(), cells.count());
        let (room, kind) = match is_leaf {
            true => (LEAF_SLOTS, Kind::Leaf),
            false => (BRANCH_SLOTS, Kind::Branch),
        };
        if is_leaf != (levels == 1)
            || count == 0
            || count > room
            || !cells.is_state(cells.state(), kind)
        {
            return None;
        }
        let is_filled = |slot: usize| cells.bound(slot) == FILL;
        if !(count.wrapping_sub(1)..room.wrapping_sub(1)).all(is_filled) {
            return None;
        }
        let (mut start, mut largest) = (min, 0);
        for slot in 0..count {
            let end = cells.bound(slot).min(max);
            if end <= start || cells.slot_of(start) != slot {
                return None;
            }
            let gap = if is_leaf {
                let is_gap = cells.value(slot) == 0;
                if is_gap && *is_behind_gap {
                    return None;
                }
                *is_behind_gap = is_gap;
                if is_gap {
                    gap_pages(start, end)
                } else {
                    0
                }
            } else {
                let child = cells.child(slot);
                let gap = self.check(child, levels.wrapping_sub(1), start, end, is_behind_gap)?;
                if gap > cells.gap(slot) {
                    return None;
                }
                gap
            };
            largest = gap.max(largest);
            start = end;
        }
        (start == max).then_some(largest)
    }
}
