// SPDX-License-Identifier: GPL-2.0

//! A red-black tree and a list of the same entries, as Linux had them up to 6.0
//! (`mm_rb`, `mm->mmap`): one node for each entry, none for gaps.
//!
//! ```text
//! word   0      1       2                 3      4      5      6     7       8
//!        left   right   parent, red (1)   prev   next   start  end   value   gap
//! ```
//!
//! The gap is the largest one in front of any entry of the subtree, in bytes
//! (`rb_subtree_gap`); that behind the last entry is noted nowhere.
//!
//! # Readers and the writer
//!
//! Linux's readers had the mmap lock. Here the tree counts its changes, and the count is
//! odd while one is on its way. A reader without the lock goes down a bounded number of
//! steps. What he meets on his way he takes, if it is an entry still, of whichever tree:
//! his caller looks whether it is it. That there is nothing he believes only if the
//! count was even and is the same.

use super::maple_node::Kind;
use super::node::NodeCells;
use super::node::NodeRef;
use super::node::Nodes;
use super::Entry;
use super::RangeTree;
use crate::error::Result;
use crate::platform::Platform;
use core::sync::atomic::fence;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::Release;

/// A field of a node, by its word.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Field {
    Left = 0,
    Right = 1,
    Parent = 2,
    Prev = 3,
    Next = 4,
    Start = 5,
    End = 6,
    Value = 7,
    Gap = 8,
}

/// In the parent's field: the node is red.
const RED: u64 = 1;

/// No way down is longer: a tree of `n` has at most `2 log2(n + 1)` levels.
pub(super) const MAX_HEIGHT: usize = 96;

/// How often a reader who was disturbed looks again.
const TRIES: usize = 16;

/// A red-black tree with its list.
pub(super) struct RbList<'a, 'm, P: Platform> {
    pub(super) nodes: Nodes<'a, 'm, P>,
}

/// The count is odd until this is dropped.
pub(super) struct Change<'m>(&'m core::sync::atomic::AtomicU64);

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.0.store(self.0.load(Relaxed).wrapping_add(1), Release);
    }
}

impl<'m, P: Platform> RbList<'_, 'm, P> {
    #[inline]
    pub(super) fn field(&self, node: NodeRef, field: Field) -> u64 {
        let cells = self.nodes.get(node);
        cells.map_or(0, |cells| cells.word(field as usize))
    }

    #[inline]
    pub(super) fn set(&self, node: NodeRef, field: Field, to: u64) {
        if let Some(cells) = self.nodes.get(node) {
            cells.set_word(field as usize, to);
        }
    }

    /// A neighbour of a node; none of none.
    #[inline]
    pub(super) fn link(&self, node: NodeRef, field: Field) -> NodeRef {
        match node.is_none() {
            true => node,
            false => NodeRef(self.field(node, field)),
        }
    }

    #[inline]
    pub(super) fn parent(&self, node: NodeRef) -> NodeRef {
        NodeRef(self.link(node, Field::Parent).0 & !RED)
    }

    #[inline]
    pub(super) fn is_red(&self, node: NodeRef) -> bool {
        self.link(node, Field::Parent).0 & RED != 0
    }

    /// Has another parent; the colour stays.
    pub(super) fn set_parent(&self, node: NodeRef, parent: NodeRef) {
        if !node.is_none() {
            let colour = self.field(node, Field::Parent) & RED;
            self.set(node, Field::Parent, parent.0 | colour);
        }
    }

    pub(super) fn set_red(&self, node: NodeRef, is_red: bool) {
        if !node.is_none() {
            let parent = self.parent(node).0;
            self.set(node, Field::Parent, parent | u64::from(is_red));
        }
    }

    pub(super) fn entry(&self, node: NodeRef) -> Option<Entry> {
        if node.is_none() {
            return None;
        }
        Some(Entry {
            start: self.field(node, Field::Start),
            end: self.field(node, Field::End),
            value: self.field(node, Field::Value),
        })
    }

    /// A change begins.
    pub(super) fn begin_change(&self) -> Change<'m> {
        let word = self.nodes.sequence_word();
        word.store(word.load(Relaxed).wrapping_add(1), Relaxed);
        fence(Release);
        Change(word)
    }

    /// A node is nobody's any more.
    pub(super) fn retire(&self, node: NodeRef) {
        if let Some(cells) = self.nodes.get(node) {
            cells.begin_change();
            self.nodes.put(node);
        }
    }

    /// The first entry that ends above an address.
    pub(super) fn node_at(&self, addr: u64) -> NodeRef {
        let (mut node, mut found) = (self.nodes.root(), NodeRef::NONE);
        for _ in 0..MAX_HEIGHT {
            let Some(cells) = self.cells(node) else {
                break;
            };
            if addr < cells.word(Field::End as usize) {
                found = node;
                node = NodeRef(cells.word(Field::Left as usize));
            } else {
                node = NodeRef(cells.word(Field::Right as usize));
            }
        }
        found
    }

    /// The outermost node on one side.
    pub(super) fn outermost(&self, side: Field) -> NodeRef {
        let mut node = self.nodes.root();
        for _ in 0..MAX_HEIGHT {
            let next = self.link(node, side);
            if next.is_none() {
                break;
            }
            node = next;
        }
        node
    }

    #[inline]
    fn cells(&self, node: NodeRef) -> Option<&'m NodeCells> {
        match node.is_none() {
            true => None,
            false => self.nodes.get(node),
        }
    }
}

impl<P: Platform> RangeTree for RbList<'_, '_, P> {
    #[inline]
    fn lookup(&self, addr: u64) -> Option<u64> {
        for _ in 0..TRIES {
            let before = self.nodes.sequence();
            let mut node = self.nodes.root();
            for _ in 0..MAX_HEIGHT {
                let Some(cells) = self.cells(node) else {
                    break;
                };
                if addr < cells.word(Field::Start as usize) {
                    node = NodeRef(cells.word(Field::Left as usize));
                } else if addr < cells.word(Field::End as usize) {
                    let state = cells.state();
                    let value = cells.word(Field::Value as usize);
                    if cells.is_state(state, Kind::RedBlack) {
                        return Some(value);
                    }
                    break;
                } else {
                    node = NodeRef(cells.word(Field::Right as usize));
                }
            }
            fence(Acquire);
            if before % 2 == 0 && self.nodes.sequence_word().load(Relaxed) == before {
                return None;
            }
            core::hint::spin_loop();
        }
        None
    }

    fn find(&self, addr: u64) -> Option<Entry> {
        self.entry(self.node_at(addr))
    }

    fn prev(&self, addr: u64) -> Option<Entry> {
        let (mut node, mut found) = (self.nodes.root(), NodeRef::NONE);
        for _ in 0..MAX_HEIGHT {
            let Some(cells) = self.cells(node) else {
                break;
            };
            if cells.word(Field::Start as usize) < addr {
                found = node;
                node = NodeRef(cells.word(Field::Right as usize));
            } else {
                node = NodeRef(cells.word(Field::Left as usize));
            }
        }
        self.entry(found)
    }

    fn nodes_for(&self, stores: usize) -> usize {
        // Its own, and one for what is left of an entry that it is put into.
        stores.saturating_mul(2)
    }

    fn store(&self, start: u64, end: u64, value: u64) -> bool {
        if start >= end {
            return true;
        }
        let needed = self.nodes_for(1);
        if self.nodes.spares() < needed && self.nodes.fill(needed).is_err() {
            return false;
        }
        self.store_with_nodes(start, end, value);
        true
    }

    fn gap_below(&self, low: u64, high: u64, size: u64) -> Option<u64> {
        self.highest_gap(low, high, size)
    }

    fn gap_above(&self, low: u64, high: u64, size: u64) -> Option<u64> {
        self.lowest_gap(low, high, size)
    }

    fn clear(&self) {
        let _change = self.begin_change();
        let mut node = self.outermost(Field::Left);
        self.nodes.set_root(NodeRef::NONE);
        self.nodes.set_depth(0);
        while !node.is_none() {
            let next = self.link(node, Field::Next);
            self.retire(node);
            node = next;
        }
    }

    fn validate(&self) -> Result<()> {
        self.check_all()
    }
}
