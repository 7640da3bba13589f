// SPDX-License-Identifier: GPL-2.0

//! The range tree in the manner of Linux's maple tree (`lib/maple_tree.c`): a B-tree
//! whose nodes have 256 bytes, over all addresses, gaps among them.
//!
//! # Readers and the writer
//!
//! There is one writer, who has the mmap lock for writing, and who changes
//!
//! - slots of one leaf in place, with the leaf's state odd meanwhile;
//! - anything else by new nodes beside the old ones, which one store then puts in
//!   their place: of a child's name, or of the root's.
//!
//! A reader without the lock is pinned, so that what was a node stays memory of some
//! node. He may be led astray by a node that is in use elsewhere by now. The leaf's state
//! tells him that he has read a leaf, so that what he has is a value, of whichever tree;
//! his caller finds out whether it is the VMA that he wants. That there is nothing he
//! believes only if the tree has kept its shape meanwhile. No word that is read as a
//! child's name looks like one without being one: bounds, values and gaps have no bit 63,
//! and what is in a node is written anew with each life of it.
//!
//! # Invariants
//!
//! All leaves are equally deep. No gap lies beside another, also not at the edge of a
//! leaf. A gap that is noted for a child is not smaller than any below it.

use super::maple_node::Kind;
use super::maple_node::END;
use super::node::NodeCells;
use super::node::NodeRef;
use super::node::Nodes;
use super::Entry;
use super::RangeTree;
use crate::error::Result;
use crate::platform::Platform;
use core::sync::atomic::Ordering::Acquire;

/// No tree is deeper: a branch has four children at least, but for a few at the edges
/// of what was overwritten.
pub(super) const MAX_DEPTH: usize = 14;

/// How often a reader who was disturbed looks again.
const TRIES: usize = 16;

/// A maple tree.
pub(super) struct Maple<'a, 'm, P: Platform> {
    pub(super) nodes: Nodes<'a, 'm, P>,
}

/// A leaf, as whoever has the lock finds it.
#[derive(Clone, Copy)]
pub(super) struct LeafAt<'m> {
    pub(super) leaf: &'m NodeCells,
    /// Where it begins and ends.
    pub(super) min: u64,
    pub(super) max: u64,
    /// Whose child it is, and which; `None` for the root.
    pub(super) parent: Option<(&'m NodeCells, usize)>,
}

/// A place between the slots of a leaf, and how the leaf and the tree were when
/// somebody was there.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'m> {
    at: LeafAt<'m>,
    slot: usize,
    state: u64,
    shape: u64,
}

impl LeafAt<'_> {
    /// Where a slot begins.
    #[inline]
    pub(super) fn start(&self, slot: usize) -> u64 {
        match slot.checked_sub(1) {
            Some(before) => self.leaf.bound(before),
            None => self.min,
        }
    }

    /// Where a slot ends.
    #[inline]
    pub(super) fn end(&self, slot: usize) -> u64 {
        self.leaf.bound(slot).min(self.max)
    }

    /// What is in a slot.
    fn entry(&self, slot: usize) -> Option<Entry> {
        let value = self.leaf.value(slot);
        (value != 0).then(|| Entry {
            start: self.start(slot),
            end: self.end(slot),
            value,
        })
    }
}

impl<'m, P: Platform> Maple<'_, 'm, P> {
    /// What [`RangeTree::lookup`] finds at first sight; `None` where it has to look
    /// again.
    #[inline(always)]
    fn glance(&self, addr: u64) -> Option<Option<u64>> {
        let shape = self.nodes.sequence();
        let mut node = self.nodes.root();
        let mut blocks = self.nodes.home();
        if node.is_none() {
            return Some(None);
        }
        for _ in 0..MAX_DEPTH {
            let cells = match blocks.get(node) {
                Some(cells) => cells,
                None => {
                    blocks = self.nodes.blocks(node);
                    blocks.get(node)?
                }
            };
            if node.is_leaf() {
                let state = cells.state();
                let value = cells.value(cells.slot_of(addr));
                if !cells.is_state(state, Kind::Leaf) {
                    return None;
                }
                return match value {
                    0 if shape != self.nodes.sequence() => None,
                    0 => Some(None),
                    value => Some(Some(value)),
                };
            }
            node = cells.child(cells.slot_of(addr));
        }
        None
    }

    /// [`RangeTree::lookup`] for who was disturbed, or who has left the windows. What he
    /// can't be sure of he does not say: it might be no value.
    #[cold]
    #[inline(never)]
    fn look_again(&self, addr: u64) -> Option<u64> {
        for _ in 0..TRIES {
            core::hint::spin_loop();
            if let Some(found) = self.glance(addr) {
                return found;
            }
            if let Some(at) = self.leaf_at(addr) {
                let state = at.leaf.state();
                let value = at.leaf.value(at.leaf.slot_of(addr));
                if value != 0 && at.leaf.is_state(state, Kind::Leaf) {
                    return Some(value);
                }
            }
        }
        None
    }

    /// The leaf that an address is in; `None` for an empty tree. As all below, for
    /// somebody who has the mmap lock.
    #[inline]
    pub(super) fn leaf_at(&self, addr: u64) -> Option<LeafAt<'m>> {
        let mut node = self.nodes.root();
        let (mut min, mut max) = (0, END);
        let mut parent = None;
        if node.is_none() {
            return None;
        }
        for _ in 0..MAX_DEPTH {
            let cells = self.nodes.get(node)?;
            if node.is_leaf() {
                return Some(LeafAt {
                    leaf: cells,
                    min,
                    max,
                    parent,
                });
            }
            let slot = cells.slot_of(addr);
            if let Some(before) = slot.checked_sub(1) {
                min = cells.bound(before);
            }
            max = cells.bound(slot).min(max);
            parent = Some((cells, slot));
            node = cells.child(slot);
        }
        None
    }

    /// The first entry that ends above `addr`: from the cursor on, if what it points to
    /// is as it was, which then is where `addr` is. The cursor goes behind the entry.
    pub(super) fn find_from(&self, addr: u64, cursor: &mut Option<Cursor<'m>>) -> Option<Entry> {
        let shape = self.nodes.sequence();
        let is_same = |here: &&mut Cursor<'_>| {
            here.shape == shape && here.at.leaf.is_state(here.state, Kind::Leaf)
        };
        if let Some(here) = cursor.as_mut().filter(is_same) {
            while here.slot < here.at.leaf.count() {
                let slot = here.slot;
                here.slot = slot.wrapping_add(1);
                if let Some(entry) = here.at.entry(slot) {
                    return Some(entry);
                }
            }
        }
        *cursor = None;
        let entry = self.find(addr)?;
        let at = self.leaf_at(entry.start)?;
        *cursor = Some(Cursor {
            slot: at.leaf.slot_of(entry.start).wrapping_add(1),
            state: at.leaf.state(),
            shape,
            at,
        });
        Some(entry)
    }

    /// Whether an address is in no entry.
    pub(super) fn is_gap(&self, addr: u64) -> bool {
        let at = self.leaf_at(addr);
        at.is_none_or(|at| at.leaf.value(at.leaf.slot_of(addr)) == 0)
    }

    /// The tree's shape changes: who looks without a lock and finds nothing looks
    /// again.
    pub(super) fn count_change(&self) {
        let word = self.nodes.sequence_word();
        // There is one writer.
        word.store(
            word.load(Acquire).wrapping_add(1),
            core::sync::atomic::Ordering::Release,
        );
    }

    /// A node is nobody's any more.
    pub(super) fn retire(&self, node: NodeRef) {
        if let Some(cells) = self.nodes.get(node) {
            cells.begin_change();
            self.nodes.put(node);
        }
    }

    /// All below a name is nobody's any more.
    pub(super) fn retire_all(&self, top: NodeRef) {
        let mut stack = [(NodeRef::NONE, 0usize); MAX_DEPTH];
        let mut depth = 1usize;
        stack[0] = (top, 0);
        while let Some(here) = depth.checked_sub(1) {
            let Some((node, next)) = stack.get_mut(here) else {
                return;
            };
            let cells = self.nodes.get(*node);
            let children = cells.filter(|_| !node.is_leaf());
            match children.filter(|cells| *next < cells.count()) {
                Some(cells) => {
                    let child = cells.child(*next);
                    *next = next.wrapping_add(1);
                    if let Some(place) = stack.get_mut(depth) {
                        *place = (child, 0);
                        depth = depth.wrapping_add(1);
                    }
                }
                None => {
                    let node = *node;
                    self.retire(node);
                    depth = here;
                }
            }
        }
    }
}

impl<P: Platform> RangeTree for Maple<'_, '_, P> {
    #[inline]
    fn lookup(&self, addr: u64) -> Option<u64> {
        match self.glance(addr) {
            Some(found) => found,
            None => self.look_again(addr),
        }
    }

    fn find(&self, addr: u64) -> Option<Entry> {
        if addr >= END {
            return None;
        }
        let at = self.leaf_at(addr)?;
        for slot in at.leaf.slot_of(addr)..at.leaf.count() {
            if let Some(entry) = at.entry(slot) {
                return Some(entry);
            }
        }
        // The leaf ends with a gap, so the next one does not begin with one.
        if at.max == END {
            return None;
        }
        let next = self.leaf_at(at.max)?;
        next.entry(0)
    }

    fn prev(&self, addr: u64) -> Option<Entry> {
        let below = addr.min(END).checked_sub(1)?;
        let at = self.leaf_at(below)?;
        let slot = at.leaf.slot_of(below);
        if let Some(entry) = at.entry(slot) {
            return Some(entry);
        }
        // A gap: no other is before it.
        if let Some(before) = slot.checked_sub(1) {
            return at.entry(before);
        }
        let below = at.min.checked_sub(1)?;
        let at = self.leaf_at(below)?;
        at.entry(at.leaf.slot_of(below))
    }

    fn nodes_for(&self, stores: usize) -> usize {
        self.nodes_for_stores(stores)
    }

    fn store(&self, start: u64, end: u64, value: u64) -> bool {
        self.store_range(start, end.min(END), value)
    }

    fn gap_below(&self, low: u64, high: u64, size: u64) -> Option<u64> {
        self.highest_gap(low, high.min(END), size)
    }

    fn gap_above(&self, low: u64, high: u64, size: u64) -> Option<u64> {
        self.lowest_gap(low, high.min(END), size)
    }

    fn clear(&self) {
        let root = self.nodes.root();
        if root.is_none() {
            return;
        }
        self.nodes.set_root(NodeRef::NONE);
        self.nodes.set_depth(0);
        self.count_change();
        self.retire_all(root);
    }

    fn validate(&self) -> Result<()> {
        self.check_all()
    }
}
