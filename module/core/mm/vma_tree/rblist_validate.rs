// SPDX-License-Identifier: GPL-2.0

//! All that holds of a red-black tree and its list, checked (`validate_mm`).

use super::node::NodeRef;
use super::rblist::Field;
use super::rblist::RbList;
use super::rblist::MAX_HEIGHT;
use crate::error::Error;
use crate::error::Result;
use crate::platform::Platform;

impl<P: Platform> RbList<'_, '_, P> {
    pub(super) fn check_all(&self) -> Result<()> {
        let root = self.nodes.root();
        let mut last = NodeRef::NONE;
        let mut count = 0;
        let is_sound = !self.is_red(root)
            && self.parent(root).is_none()
            && self.nodes.sequence() % 2 == 0
            && self.check(root, 0, &mut last, &mut count).is_some()
            && self.link(last, Field::Next).is_none()
            && count == self.nodes.depth()
            && self.nodes.validate();
        match is_sound {
            true => Ok(()),
            false => Err(Error::Corrupt),
        }
    }

    /// How many black nodes each way down from here has; `None` if anything is wrong.
    /// `last` is the entry in front.
    fn check(
        &self,
        node: NodeRef,
        height: usize,
        last: &mut NodeRef,
        count: &mut usize,
    ) -> Option<usize> {
        if node.is_none() {
            return Some(0);
        }
        let (left, right) = (self.link(node, Field::Left), self.link(node, Field::Right));
        let is_child = |child: NodeRef| child.is_none() || self.parent(child) == node;
        let is_red = self.is_red(node);
        if height > MAX_HEIGHT
            || !is_child(left)
            || !is_child(right)
            || (is_red && (self.is_red(left) || self.is_red(right)))
        {
            return None;
        }
        let below = height.wrapping_add(1);
        let black = self.check(left, below, last, count)?;
        let entry = self.entry(node)?;
        let prev = self.entry(*last);
        let in_order = prev.is_none_or(|prev| prev.end <= entry.start);
        let in_list = self.link(node, Field::Prev) == *last
            && (last.is_none() || self.link(*last, Field::Next) == node);
        if !in_order || !in_list || entry.start >= entry.end || entry.value == 0 {
            return None;
        }
        *last = node;
        *count = count.wrapping_add(1);
        let black_right = self.check(right, below, last, count)?;
        if black != black_right || self.computed_gap(node) != self.field(node, Field::Gap) {
            return None;
        }
        Some(black.wrapping_add(usize::from(!is_red)))
    }
}
