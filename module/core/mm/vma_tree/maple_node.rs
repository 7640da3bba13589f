// SPDX-License-Identifier: GPL-2.0

//! What is in a maple tree's node.
//!
//! ```text
//! word   0         12         15         25           31
//! leaf   │ 15 bounds          │ 16 values             │ state │
//! branch │ 12 bounds │ 13 children       │ 13 gaps      state │
//!
//! state, the upper half of the last word    25 bits changes, 2 bits kind, 5 bits slots
//! ```
//!
//! Slot `i` is for the addresses from bound `i - 1` up to bound `i`, which is not among
//! them; the first one's begin where the node's do, the last one's end there. The
//! bounds behind are all ones, and a child's name is above all addresses, so that the
//! same four steps find the slot in both kinds.
//!
//! A gap is how many pages the largest free range below a child has **at most**: it is
//! raised at once, and lowered when somebody has searched there in vain.

use super::node::NodeCells;
use super::node::NodeRef;
use crate::phys::PAGE_SHIFT;
use core::sync::atomic::fence;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::Release;

/// How many ranges a leaf has at most.
pub(super) const LEAF_SLOTS: usize = 16;
/// How many children a branch has at most.
pub(super) const BRANCH_SLOTS: usize = 13;
const VALUES: usize = LEAF_SLOTS - 1;
const CHILDREN: usize = BRANCH_SLOTS - 1;
const GAPS: usize = CHILDREN + BRANCH_SLOTS;
pub(super) const STATE: usize = 31;
const COUNT_SHIFT: u32 = 32;
const COUNT: u64 = 31 << COUNT_SHIFT;
/// What the node is ([`Kind`]), so that nobody takes a name or a gap for a value.
const KINDS: u64 = 3 << 37;
const CHANGE: u64 = 1 << 39;
const LOW_HALF: u64 = (1 << 32) - 1;

/// No larger gap is noted, though there be one; so two of them in a word are no name.
pub(super) const GAP_MAX: u64 = LOW_HALF >> 1;

/// What a node is for those who have come to it without a lock, and late.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Kind {
    Branch = 0,
    Leaf = 1 << 37,
    /// An entry of a red-black tree; only its last word is as here.
    RedBlack = 2 << 37,
}

/// The end of all addresses: what the last slot of all ends at. No name is below it.
pub(super) const END: u64 = 1 << 63;
/// What stands for the bounds behind the last slot.
pub(super) const FILL: u64 = u64::MAX;

/// The pages of a free range, as gaps are noted.
#[inline]
pub(super) fn gap_pages(start: u64, end: u64) -> u64 {
    (end.saturating_sub(start) >> PAGE_SHIFT).min(GAP_MAX)
}

impl NodeCells {
    /// The slot that an address is in. Below 16 whatever is in the node.
    ///
    /// Written out: who looks where he has looked before goes the way that the CPU
    /// expects.
    #[inline(always)]
    pub(super) fn slot_of(&self, addr: u64) -> usize {
        let below = |slot: usize| addr < self.word(slot);
        let two = |slot: usize| if below(slot) { slot } else { slot | 1 };
        let four = |slot: usize| {
            if below(slot | 1) {
                two(slot)
            } else {
                two(slot | 2)
            }
        };
        let eight = |slot: usize| {
            if below(slot | 3) {
                four(slot)
            } else {
                four(slot | 4)
            }
        };
        if below(7) {
            eight(0)
        } else {
            eight(8)
        }
    }

    /// How many slots are used.
    #[inline(always)]
    pub(super) fn count(&self) -> usize {
        ((self.word(STATE) & COUNT) >> COUNT_SHIFT) as usize
    }

    /// Where a slot ends; above all addresses for the last one.
    #[inline(always)]
    pub(super) fn bound(&self, slot: usize) -> u64 {
        match slot < LEAF_SLOTS - 1 {
            true => self.word(slot),
            false => FILL,
        }
    }

    /// Where a slot of a node that goes from `min` to `max` begins and ends.
    #[inline]
    pub(super) fn range(&self, slot: usize, min: u64, max: u64) -> (u64, u64) {
        let start = match slot.checked_sub(1) {
            Some(before) => self.bound(before),
            None => min,
        };
        (start, self.bound(slot).min(max))
    }

    /// Moves the slots `from..used` of a leaf so that `used` becomes `count`.
    #[inline]
    pub(super) fn shift(&self, from: usize, used: usize, count: usize) {
        let to = from.wrapping_add(count).wrapping_sub(used);
        let inner = used.wrapping_sub(1);
        let words = |first: usize, end: usize| self.words.get(first..end).unwrap_or_default();
        let values =
            |from: usize, end: usize| words(VALUES.wrapping_add(from), VALUES.wrapping_add(end));
        // The last slot has no bound.
        let pairs = [
            (values(from, used), values(to, count)),
            (words(from, inner), words(to, count.wrapping_sub(1))),
        ];
        for (old, new) in pairs {
            let copy = |(old, new): (&AtomicU64, &AtomicU64)| new.store(old.load(Relaxed), Relaxed);
            match to > from {
                true => old.iter().zip(new).rev().for_each(copy),
                false => old.iter().zip(new).for_each(copy),
            }
        }
        for bound in words(count.wrapping_sub(1), inner) {
            bound.store(FILL, Relaxed);
        }
    }

    /// Has a slot of a leaf end elsewhere; the last one's end is not noted.
    #[inline(always)]
    pub(super) fn set_bound(&self, slot: usize, to: u64) {
        if slot < LEAF_SLOTS - 1 {
            self.set_word(slot, to);
        }
    }

    /// A leaf's value; 0 for a gap.
    #[inline(always)]
    pub(super) fn value(&self, slot: usize) -> u64 {
        self.word(VALUES.wrapping_add(slot))
    }

    #[inline(always)]
    pub(super) fn set_value(&self, slot: usize, to: u64) {
        self.set_word(VALUES.wrapping_add(slot), to);
    }

    /// A branch's child.
    #[inline(always)]
    pub(super) fn child(&self, slot: usize) -> NodeRef {
        match self.words.get(CHILDREN.wrapping_add(slot)) {
            Some(child) => NodeRef(child.load(Acquire)),
            None => NodeRef::NONE,
        }
    }

    /// Has another child, which is whole before anybody sees it.
    pub(super) fn set_child(&self, slot: usize, to: NodeRef) {
        if let Some(child) = self.words.get(CHILDREN.wrapping_add(slot)) {
            child.store(to.0, Release);
        }
    }

    /// How large the largest gap below a child is at most, in pages.
    #[inline(always)]
    pub(super) fn gap(&self, slot: usize) -> u64 {
        let word = self.word(GAPS.wrapping_add(slot / 2));
        (word >> (32 * (slot as u32 % 2))) & LOW_HALF
    }

    pub(super) fn set_gap(&self, slot: usize, to: u64) {
        let index = GAPS.wrapping_add(slot / 2);
        let shift = 32 * (slot as u32 % 2);
        let rest = self.word(index) & !(LOW_HALF << shift);
        self.set_word(index, rest | ((to & LOW_HALF) << shift));
    }

    /// A leaf's first slot that is a gap, from this one down.
    #[inline]
    pub(super) fn free_slot_down(&self, from: usize) -> Option<usize> {
        let end = VALUES.wrapping_add(from).wrapping_add(1);
        let values = self.words.get(VALUES..end)?;
        values.iter().rposition(|value| value.load(Relaxed) == 0)
    }

    /// The same from this one up.
    #[inline]
    pub(super) fn free_slot_up(&self, from: usize) -> Option<usize> {
        let end = VALUES.wrapping_add(self.count());
        let values = self.words.get(VALUES.wrapping_add(from)..end)?;
        let further = values.iter().position(|value| value.load(Relaxed) == 0)?;
        Some(from.wrapping_add(further))
    }

    /// A branch's first child that may have a gap of so many pages, from this one down.
    #[inline]
    pub(super) fn child_with_gap_down(&self, from: usize, pages: u64) -> Option<usize> {
        let last = from / 2;
        let words = self.words.get(GAPS..=GAPS.wrapping_add(last))?;
        // The upper half of the first is behind `from`, or a child's, too.
        let mut skip = from % 2 == 0;
        for (pair, word) in words.iter().enumerate().rev() {
            let word = word.load(Relaxed);
            if !skip && word >> 32 >= pages {
                return Some(2 * pair + 1);
            }
            if word & LOW_HALF >= pages {
                return Some(2 * pair);
            }
            skip = false;
        }
        None
    }

    /// The same from this one up.
    #[inline]
    pub(super) fn child_with_gap_up(&self, from: usize, pages: u64) -> Option<usize> {
        (from..self.count()).find(|&slot| self.gap(slot) >= pages)
    }

    /// What somebody who reads a leaf without a lock looks at before and afterwards:
    /// where it is the same, is that of a leaf, and no change was on its way, he has
    /// seen one state of a leaf that was part of a tree.
    #[inline(always)]
    pub(super) fn state(&self) -> u64 {
        match self.words.get(STATE) {
            Some(state) => state.load(Acquire),
            None => CHANGE,
        }
    }

    /// See [`NodeCells::state`].
    #[inline(always)]
    pub(super) fn is_state(&self, before: u64, kind: Kind) -> bool {
        fence(Acquire);
        before & (CHANGE | KINDS) == kind as u64 && self.word(STATE) == before
    }

    /// A node is changed, or is one no more; until [`NodeCells::end_change`].
    #[inline(always)]
    pub(super) fn begin_change(&self) {
        self.set_word(STATE, self.word(STATE) | CHANGE);
        fence(Release);
    }

    /// It is whole again, with so many slots.
    #[inline(always)]
    pub(super) fn end_change(&self, kind: Kind, count: usize) {
        let changes = (self.word(STATE) | CHANGE).wrapping_add(CHANGE) & !(COUNT | KINDS);
        if let Some(state) = self.words.get(STATE) {
            state.store(
                changes | kind as u64 | ((count as u64) << COUNT_SHIFT),
                Release,
            );
        }
    }

    /// The largest gap of a leaf that goes from `min` to `max`, in pages.
    pub(super) fn leaf_gap(&self, min: u64, max: u64) -> u64 {
        let (mut largest, mut start) = (0, min);
        for slot in 0..self.count() {
            let end = self.bound(slot).min(max);
            if self.value(slot) == 0 {
                largest = gap_pages(start, end).max(largest);
            }
            start = end;
        }
        largest
    }

    /// The largest gap below a branch, as far as its children are known.
    pub(super) fn branch_gap(&self) -> u64 {
        let gaps = (0..self.count()).map(|slot| self.gap(slot));
        gaps.max().unwrap_or(0)
    }
}

/// One slot on its way from node to node.
#[derive(Clone, Copy)]
pub(super) struct Item {
    /// Where it ends.
    pub(super) end: u64,
    /// A leaf's value or a branch's child.
    pub(super) word: u64,
    /// A child's gap.
    pub(super) gap: u64,
}

/// Slots of neighbours, in their order.
pub(super) struct Row {
    /// Where the first begins.
    pub(super) start: u64,
    items: [Item; Self::MAX],
    len: usize,
    /// Where what is new begins.
    new: usize,
}

impl Row {
    /// Two leaves' slots and what comes between.
    const MAX: usize = 2 * LEAF_SLOTS + 1;

    /// An empty row from 0 on.
    pub(super) const fn new() -> Self {
        let nothing = Item {
            end: 0,
            word: 0,
            gap: 0,
        };
        Self {
            start: 0,
            items: [nothing; Self::MAX],
            len: 0,
            new: 0,
        }
    }

    /// The row is empty again, from `start` on.
    pub(super) fn begin(&mut self, start: u64) {
        self.start = start;
        self.len = 0;
        self.new = 0;
    }

    /// What is pushed next is new.
    pub(super) fn mark_new(&mut self) {
        self.new = self.len;
    }

    /// How many of the slots the first of two nodes gets, of which each gets `few` at
    /// least. What is added at one end again and again leaves full nodes behind.
    pub(super) fn first_part(&self, few: usize) -> usize {
        let most = self.len.saturating_sub(few);
        match self.new {
            0..=1 => few,
            new if new.wrapping_add(2) >= self.len => most,
            _ => self.len.div_ceil(2),
        }
    }

    pub(super) fn items(&self) -> &[Item] {
        self.items.get(..self.len).unwrap_or_default()
    }

    pub(super) fn push(&mut self, item: Item) {
        if let Some(place) = self.items.get_mut(self.len) {
            *place = item;
            self.len = self.len.wrapping_add(1);
        }
    }

    /// Adds a leaf's slot.
    pub(super) fn push_value(&mut self, value: u64, end: u64) {
        self.push(Item {
            end,
            word: value,
            gap: 0,
        });
    }

    /// Adds slots of a node that ends at `max`.
    pub(super) fn push_slots(
        &mut self,
        node: &NodeCells,
        is_leaf: bool,
        slots: core::ops::Range<usize>,
        max: u64,
    ) {
        for slot in slots {
            let end = node.bound(slot).min(max);
            match is_leaf {
                true => self.push_value(node.value(slot), end),
                false => self.push(Item {
                    end,
                    word: node.child(slot).0,
                    gap: node.gap(slot),
                }),
            }
        }
    }
}
