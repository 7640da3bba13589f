// SPDX-License-Identifier: GPL-2.0

//! The red-black tree keeps its balance, and its gaps (`lib/rbtree.c`,
//! `include/linux/rbtree_augmented.h`).

use super::node::NodeRef;
use super::rblist::Field;
use super::rblist::RbList;
use super::rblist::MAX_HEIGHT;
use crate::platform::Platform;

const fn other(side: Field) -> Field {
    match side {
        Field::Left => Field::Right,
        _ => Field::Left,
    }
}

impl<P: Platform> RbList<'_, '_, P> {
    /// On which side of its parent a node is.
    fn side_of(&self, node: NodeRef, parent: NodeRef) -> Field {
        match self.link(parent, Field::Left) == node {
            true => Field::Left,
            false => Field::Right,
        }
    }

    /// The largest gap of a node's subtree, as it and its children say
    /// (`vma_compute_gap`).
    pub(super) fn computed_gap(&self, node: NodeRef) -> u64 {
        let prev = self.link(node, Field::Prev);
        let from = if prev.is_none() {
            0
        } else {
            self.field(prev, Field::End)
        };
        let own = self.field(node, Field::Start).saturating_sub(from);
        let below = |side| {
            let child = self.link(node, side);
            if child.is_none() {
                0
            } else {
                self.field(child, Field::Gap)
            }
        };
        own.max(below(Field::Left)).max(below(Field::Right))
    }

    /// The gap in front of a node has changed (`vma_gap_update`).
    pub(super) fn update_gap(&self, mut node: NodeRef) {
        while !node.is_none() {
            let gap = self.computed_gap(node);
            if gap == self.field(node, Field::Gap) {
                return;
            }
            self.set(node, Field::Gap, gap);
            node = self.parent(node);
        }
    }

    /// What hangs below a node's parent, or is the root, becomes another node.
    fn replace(&self, node: NodeRef, by: NodeRef) {
        let parent = self.parent(node);
        match parent.is_none() {
            true => self.nodes.set_root(by),
            false => self.set(parent, self.side_of(node, parent), by.0),
        }
        self.set_parent(by, parent);
    }

    /// A node goes down to one side, its child of the other side takes its place.
    fn rotate(&self, node: NodeRef, side: Field) {
        let up = self.link(node, other(side));
        if up.is_none() {
            return;
        }
        let moved = self.link(up, side);
        self.set(node, other(side), moved.0);
        self.set_parent(moved, node);
        self.replace(node, up);
        self.set(up, side, node.0);
        self.set_parent(node, up);
        self.set(node, Field::Gap, self.computed_gap(node));
        self.set(up, Field::Gap, self.computed_gap(up));
    }

    /// A red node was added: no red node may have a red parent (`__rb_insert`).
    pub(super) fn balance_inserted(&self, mut node: NodeRef) {
        for _ in 0..MAX_HEIGHT {
            let mut parent = self.parent(node);
            if !self.is_red(parent) {
                break;
            }
            let grandparent = self.parent(parent);
            let side = self.side_of(parent, grandparent);
            let uncle = self.link(grandparent, other(side));
            if self.is_red(uncle) {
                self.set_red(parent, false);
                self.set_red(uncle, false);
                self.set_red(grandparent, true);
                node = grandparent;
                continue;
            }
            if self.side_of(node, parent) != side {
                self.rotate(parent, side);
                parent = node;
            }
            self.set_red(parent, false);
            self.set_red(grandparent, true);
            self.rotate(grandparent, other(side));
            break;
        }
        self.set_red(self.nodes.root(), false);
    }

    /// Takes a node out of the tree (`__rb_erase_augmented`). It is out of the list
    /// already, and the gap behind it is not brought up to date.
    pub(super) fn unlink(&self, node: NodeRef) {
        let (left, right) = (self.link(node, Field::Left), self.link(node, Field::Right));
        let mut was_red = self.is_red(node);
        // What moves up into a place, and whose child it is then.
        let (child, parent);
        if left.is_none() || right.is_none() {
            child = if left.is_none() { right } else { left };
            parent = self.parent(node);
            self.replace(node, child);
        } else {
            // The next one takes its place; it has no left child.
            let mut next = right;
            for _ in 0..MAX_HEIGHT {
                match self.link(next, Field::Left) {
                    NodeRef::NONE => break,
                    further => next = further,
                }
            }
            was_red = self.is_red(next);
            child = self.link(next, Field::Right);
            if next == right {
                parent = next;
            } else {
                parent = self.parent(next);
                self.replace(next, child);
                self.set(next, Field::Right, right.0);
                self.set_parent(right, next);
            }
            self.replace(node, next);
            self.set(next, Field::Left, left.0);
            self.set_parent(left, next);
            self.set_red(next, self.is_red(node));
        }
        self.update_all_gaps(parent);
        if !was_red {
            self.balance_removed(child, parent);
        }
    }

    /// All from a node up to the root may have another gap.
    fn update_all_gaps(&self, mut node: NodeRef) {
        while !node.is_none() {
            self.set(node, Field::Gap, self.computed_gap(node));
            node = self.parent(node);
        }
    }

    /// A black node is missing above `node`, which may be none
    /// (`____rb_erase_color`).
    fn balance_removed(&self, mut node: NodeRef, mut parent: NodeRef) {
        for _ in 0..2 * MAX_HEIGHT {
            if self.is_red(node) || parent.is_none() {
                break;
            }
            let side = self.side_of(node, parent);
            let mut sibling = self.link(parent, other(side));
            if self.is_red(sibling) {
                self.set_red(sibling, false);
                self.set_red(parent, true);
                self.rotate(parent, side);
                sibling = self.link(parent, other(side));
            }
            let near = self.link(sibling, side);
            let mut far = self.link(sibling, other(side));
            if !self.is_red(near) && !self.is_red(far) {
                self.set_red(sibling, true);
                node = parent;
                parent = self.parent(node);
                continue;
            }
            if !self.is_red(far) {
                self.set_red(near, false);
                self.set_red(sibling, true);
                self.rotate(sibling, other(side));
                far = sibling;
                sibling = near;
            }
            self.set_red(sibling, self.is_red(parent));
            self.set_red(parent, false);
            self.set_red(far, false);
            self.rotate(parent, side);
            node = self.nodes.root();
            break;
        }
        self.set_red(node, false);
    }
}
