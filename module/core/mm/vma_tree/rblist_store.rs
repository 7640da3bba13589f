// SPDX-License-Identifier: GPL-2.0

//! How entries get into the red-black tree and its list, and out
//! (`__vma_adjust`, `vma_link`, `detach_vmas_to_be_unmapped`).

use super::maple_node::Kind;
use super::maple_node::STATE;
use super::node::NodeRef;
use super::rblist::Field;
use super::rblist::RbList;
use crate::platform::Platform;
use core::sync::atomic::Ordering::Relaxed;

impl<P: Platform> RbList<'_, '_, P> {
    /// Has `value` from `start` to `end`, 0 for nothing, with nodes enough in store.
    pub(super) fn store_with_nodes(&self, start: u64, end: u64, value: u64) {
        let _change = self.begin_change();
        let mut node = self.node_at(start);
        let mut before = match node.is_none() {
            true => self.outermost(Field::Right),
            false => self.link(node, Field::Prev),
        };
        // An entry that the new one replaces becomes the new one.
        let mut reused = NodeRef::NONE;
        while let Some(entry) = self.entry(node).filter(|entry| entry.start < end) {
            let next = self.link(node, Field::Next);
            if entry.start < start {
                self.set(node, Field::End, start);
                before = node;
                if end < entry.end {
                    self.insert(node, next, end, entry.end, entry.value);
                }
            } else if end < entry.end {
                self.set(node, Field::Start, end);
            } else if value != 0 && reused.is_none() {
                reused = node;
            } else {
                self.remove(node);
            }
            node = next;
        }
        if value != 0 {
            if reused.is_none() {
                let next = match before.is_none() {
                    true => self.outermost(Field::Left),
                    false => self.link(before, Field::Next),
                };
                self.insert(before, next, start, end, value);
            } else {
                self.set(reused, Field::Start, start);
                self.set(reused, Field::End, end);
                self.set(reused, Field::Value, value);
                self.update_gap(reused);
                self.update_gap(self.link(reused, Field::Next));
            }
        }
        // What is behind the entry in front of all that was done.
        let behind = match before.is_none() {
            true => self.outermost(Field::Left),
            false => self.link(before, Field::Next),
        };
        self.update_gap(behind);
        self.update_gap(self.link(behind, Field::Next));
    }

    /// Adds an entry between two neighbours.
    fn insert(&self, prev: NodeRef, next: NodeRef, start: u64, end: u64, value: u64) {
        let Some((node, cells)) = self.nodes.take() else {
            return;
        };
        for (field, to) in [
            (Field::Left, 0),
            (Field::Right, 0),
            (Field::Prev, prev.0),
            (Field::Next, next.0),
            (Field::Start, start),
            (Field::End, end),
            (Field::Value, value),
            (Field::Gap, 0),
        ] {
            self.set(node, field, to);
        }
        // No names of another life: who reads it as a branch goes nowhere.
        for word in cells.words.iter().take(STATE).skip(Field::Gap as usize + 1) {
            word.store(0, Relaxed);
        }
        cells.end_change(Kind::RedBlack, 0);
        // One of the two has no child on that side, since nothing is between them.
        let (parent, side) = match prev.is_none() || !self.link(prev, Field::Right).is_none() {
            true => (next, Field::Left),
            false => (prev, Field::Right),
        };
        self.set(node, Field::Parent, parent.0);
        self.set_red(node, true);
        match parent.is_none() {
            true => self.nodes.set_root(node),
            false => self.set(parent, side, node.0),
        }
        if !prev.is_none() {
            self.set(prev, Field::Next, node.0);
        }
        if !next.is_none() {
            self.set(next, Field::Prev, node.0);
        }
        self.nodes.set_depth(self.nodes.depth().wrapping_add(1));
        self.update_gap(node);
        self.update_gap(next);
        self.balance_inserted(node);
    }

    /// Takes an entry out.
    fn remove(&self, node: NodeRef) {
        let prev = self.link(node, Field::Prev);
        let next = self.link(node, Field::Next);
        if !prev.is_none() {
            self.set(prev, Field::Next, next.0);
        }
        if !next.is_none() {
            self.set(next, Field::Prev, prev.0);
        }
        self.unlink(node);
        self.nodes.set_depth(self.nodes.depth().wrapping_sub(1));
        self.update_gap(next);
        self.retire(node);
    }
}
