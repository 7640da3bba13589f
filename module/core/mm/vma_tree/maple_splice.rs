// SPDX-License-Identifier: GPL-2.0

//! A store that new nodes are needed for: it goes over leaves, or a leaf becomes too
//! full or too empty (`mas_wr_spanning_store`, `mas_split`, `mas_rebalance`).
//!
//! ```text
//!             ┌──────────── root ───────────┐
//!         ┌── a ──┐      dropped        ┌── b ──┐
//!         l ── dropped             dropped ──── r
//!         ├ kept ┤├────────── v ──────────┤ kept┤
//! ```
//!
//! On each level from the leaves up, what is kept of the leftmost and of the rightmost
//! node and what is new between them makes one to three new nodes, until one new
//! child takes the place of one old child. That is published, and what was replaced
//! goes.

use super::maple::Maple;
use super::maple::MAX_DEPTH;
use super::maple_node::gap_pages;
use super::maple_node::Item;
use super::maple_node::Kind;
use super::maple_node::Row;
use super::maple_node::BRANCH_SLOTS;
use super::maple_node::END;
use super::maple_node::FILL;
use super::maple_node::LEAF_SLOTS;
use super::maple_store::LEAF_MIN;
use super::node::NodeCells;
use super::node::NodeRef;
use super::RangeTree;
use crate::platform::Platform;
use core::num::NonZeroUsize;

/// A branch that would have fewer children is filled up from its neighbour.
const BRANCH_MIN: usize = 4;

/// A node on the way to a leaf.
#[derive(Clone, Copy)]
struct Step<'m> {
    node: NodeRef,
    cells: &'m NodeCells,
    /// The slot through which the way goes.
    slot: usize,
    /// Where the node begins and ends.
    min: u64,
    max: u64,
}

/// The way from the root to the leaf that an address is in.
struct Path<'m> {
    steps: [Option<Step<'m>>; MAX_DEPTH],
    len: usize,
}

impl<'m> Path<'m> {
    const fn new() -> Self {
        Self {
            steps: [None; MAX_DEPTH],
            len: 0,
        }
    }

    fn step(&self, level: usize) -> Option<&Step<'m>> {
        self.steps.get(level)?.as_ref()
    }
}

/// The new nodes of a level.
struct Made {
    items: [Option<Item>; 3],
    len: usize,
}

impl Made {
    fn one(&self) -> Option<Item> {
        match self.len {
            1 => self.items[0],
            _ => None,
        }
    }
}

/// Which neighbours' slots are taken in on a level.
#[derive(Clone, Copy)]
struct Pulled {
    left: bool,
    right: bool,
}

impl<'m, P: Platform> Maple<'_, 'm, P> {
    /// Finds the way to an address. A path is too large to be moved about.
    fn find_path(&self, addr: u64, path: &mut Path<'m>) -> Option<()> {
        let mut node = self.nodes.root();
        let (mut min, mut max) = (0, END);
        for (level, step) in path.steps.iter_mut().enumerate() {
            let cells = self.nodes.get(node)?;
            let slot = cells.slot_of(addr);
            *step = Some(Step {
                node,
                cells,
                slot,
                min,
                max,
            });
            if node.is_leaf() {
                path.len = level.wrapping_add(1);
                return Some(());
            }
            if let Some(before) = slot.checked_sub(1) {
                min = cells.bound(before);
            }
            max = cells.bound(slot).min(max);
            node = cells.child(slot);
        }
        None
    }

    /// The gap that a new one from `start` to `end` becomes part of.
    fn whole_gap(&self, mut start: u64, mut end: u64) -> (u64, u64) {
        let around = |addr: u64| {
            let at = self.leaf_at(addr)?;
            let slot = at.leaf.slot_of(addr);
            let is_gap = at.leaf.value(slot) == 0;
            is_gap.then(|| (at.start(slot), at.end(slot)))
        };
        if let Some((low, _)) = start.checked_sub(1).and_then(around) {
            start = low;
        }
        if end != END {
            if let Some((_, high)) = around(end) {
                end = high;
            }
        }
        (start, end)
    }

    /// As [`Maple::store_range`], with nodes enough in store.
    #[inline(never)]
    pub(super) fn store_in_new_nodes(
        &self,
        mut start: u64,
        mut end: u64,
        value: u64,
    ) -> Option<()> {
        if value == 0 {
            (start, end) = self.whole_gap(start, end);
            if start == 0 && end == END {
                self.clear();
                return Some(());
            }
        }
        if self.nodes.root().is_none() {
            return self.make_root(start, end, value);
        }
        let (mut left, mut right) = (Path::new(), Path::new());
        self.find_path(start, &mut left)?;
        self.find_path(end.wrapping_sub(1), &mut right)?;
        self.splice(&left, &right, start, end, value)
    }

    /// The first node of all.
    #[inline(never)]
    fn make_root(&self, start: u64, end: u64, value: u64) -> Option<()> {
        let mut row = Row::new();
        if start > 0 {
            row.push_value(0, start);
        }
        row.push_value(value, end);
        if end != END {
            row.push_value(0, END);
        }
        let leaf = self.make(&row, true)?.one()?;
        self.nodes.set_root(NodeRef(leaf.word));
        self.nodes.set_depth(1);
        Some(())
    }

    /// The paths lie in the caller's frame, the row in this one: a kernel's stack is small.
    #[inline(never)]
    fn splice(
        &self,
        left: &Path<'m>,
        right: &Path<'m>,
        start: u64,
        end: u64,
        value: u64,
    ) -> Option<()> {
        let bottom = left.len.checked_sub(1)?;
        let mut pulled = [Pulled {
            left: false,
            right: false,
        }; MAX_DEPTH];
        let mut row = Row::new();
        let mut made = None;
        // The highest level whose nodes are replaced.
        let mut top = bottom;
        let mut is_published = false;
        for level in (0..=bottom).rev() {
            let (l, r) = (left.step(level)?, right.step(level)?);
            let below = pulled.get(level.wrapping_add(1)).copied();
            let (first, last) = match below {
                Some(below) if level < bottom => (
                    l.slot.checked_sub(below.left.into())?,
                    r.slot.wrapping_add(below.right.into()),
                ),
                _ => (l.slot, r.slot),
            };
            if let Some(Made { items, len: 1 }) = &made {
                if l.node == r.node && first == last {
                    let item = (*items.first()?)?;
                    let noted = l.cells.gap(first);
                    l.cells.set_child(first, NodeRef(item.word));
                    l.cells.set_gap(first, item.gap);
                    if noted < item.gap {
                        self.raise_gap(start, item.gap);
                    }
                    is_published = true;
                    break;
                }
            }
            let is_leaf = level == bottom;
            match &made {
                None => {
                    let counts = self.kept_of_leaves(l, r, start, end);
                    let pull = self.pull(left, right, level, counts, LEAF_MIN);
                    *pulled.get_mut(level)? = pull;
                    self.begin_row(&mut row, left, level, pull, is_leaf)?;
                    let before = start > self.start_of(l);
                    row.push_slots(l.cells, true, 0..l.slot, l.max);
                    if before {
                        row.push_value(l.cells.value(l.slot), start);
                    }
                    row.mark_new();
                    row.push_value(value, end);
                    let high = r.cells.bound(r.slot).min(r.max);
                    if end < high {
                        row.push_value(r.cells.value(r.slot), high);
                    }
                    let rest = r.slot.wrapping_add(1)..r.cells.count();
                    row.push_slots(r.cells, true, rest, r.max);
                    self.end_row(&mut row, right, level, pull, is_leaf)?;
                }
                Some(new) => {
                    let rest = last.wrapping_add(1)..r.cells.count();
                    let behind = rest.end.saturating_sub(rest.start);
                    let count = first.wrapping_add(new.len).wrapping_add(behind);
                    let pull = self.pull(left, right, level, count, BRANCH_MIN);
                    *pulled.get_mut(level)? = pull;
                    self.begin_row(&mut row, left, level, pull, is_leaf)?;
                    row.push_slots(l.cells, false, 0..first, l.max);
                    row.mark_new();
                    for item in new.items.iter().flatten() {
                        row.push(*item);
                    }
                    row.push_slots(r.cells, false, rest, r.max);
                    self.end_row(&mut row, right, level, pull, is_leaf)?;
                }
            }
            top = level;
            made = Some(self.make(&row, is_leaf)?);
        }
        if !is_published {
            self.publish_root(made?, &mut row)?;
        }
        self.count_change();
        self.retire_replaced(left, right, top, &pulled)
    }

    /// Where the slot on the way begins.
    fn start_of(&self, step: &Step<'_>) -> u64 {
        match step.slot.checked_sub(1) {
            Some(before) => step.cells.bound(before),
            None => step.min,
        }
    }

    /// How many slots two leaves and what comes between have.
    fn kept_of_leaves(&self, l: &Step<'_>, r: &Step<'_>, start: u64, end: u64) -> usize {
        let before = usize::from(start > self.start_of(l));
        let behind = usize::from(end < r.cells.bound(r.slot).min(r.max));
        let rest = r.cells.count().saturating_sub(r.slot.wrapping_add(1));
        let left = l.slot.wrapping_add(before);
        left.wrapping_add(1).wrapping_add(behind).wrapping_add(rest)
    }

    /// Which neighbour's slots are taken in where so few are left.
    fn pull(
        &self,
        left: &Path<'m>,
        right: &Path<'m>,
        level: usize,
        count: usize,
        min: usize,
    ) -> Pulled {
        let above = level.checked_sub(1);
        let above = above.and_then(|above| Some((left.step(above)?, right.step(above)?)));
        let is_too_few = count < min;
        let on_left = above.is_some_and(|(l, _)| l.slot > 0);
        let on_right = above.is_some_and(|(_, r)| r.slot.wrapping_add(1) < r.cells.count());
        Pulled {
            left: is_too_few && on_left,
            right: is_too_few && !on_left && on_right,
        }
    }

    /// Begins a row anew, with a neighbour's slots, if they are wanted.
    fn begin_row(
        &self,
        row: &mut Row,
        left: &Path<'m>,
        level: usize,
        pull: Pulled,
        is_leaf: bool,
    ) -> Option<()> {
        let l = left.step(level)?;
        if !pull.left {
            row.begin(l.min);
            return Some(());
        }
        let above = left.step(level.checked_sub(1)?)?;
        let slot = above.slot.checked_sub(1)?;
        let min = match slot.checked_sub(1) {
            Some(before) => above.cells.bound(before),
            None => above.min,
        };
        let sibling = self.nodes.get(above.cells.child(slot))?;
        row.begin(min);
        row.push_slots(sibling, is_leaf, 0..sibling.count(), l.min);
        Some(())
    }

    /// A neighbour's slots at the end of a row, if they are wanted.
    fn end_row(
        &self,
        row: &mut Row,
        right: &Path<'m>,
        level: usize,
        pull: Pulled,
        is_leaf: bool,
    ) -> Option<()> {
        if pull.right {
            let above = right.step(level.checked_sub(1)?)?;
            let slot = above.slot.wrapping_add(1);
            let sibling = self.nodes.get(above.cells.child(slot))?;
            let max = above.cells.bound(slot).min(above.max);
            row.push_slots(sibling, is_leaf, 0..sibling.count(), max);
        }
        Some(())
    }

    /// Makes as few nodes of a row as will do.
    fn make(&self, row: &Row, is_leaf: bool) -> Option<Made> {
        let (room, few) = match is_leaf {
            true => (LEAF_SLOTS, LEAF_MIN),
            false => (BRANCH_SLOTS, BRANCH_MIN),
        };
        let items = row.items();
        let len = items.len().div_ceil(room);
        let mut made = Made {
            items: [None; 3],
            len,
        };
        let (mut rest, mut start) = (items, row.start);
        for (n, place) in made.items.iter_mut().take(len).enumerate() {
            let nodes = NonZeroUsize::new(len.wrapping_sub(n))?;
            let part = match (n, len) {
                (0, 2) => row.first_part(items.len().wrapping_sub(room).max(few)),
                // Rounded up.
                _ => rest.len().saturating_add(nodes.get() - 1) / nodes,
            };
            let (here, behind) = rest.split_at_checked(part)?;
            let end = here.last()?.end;
            let (node, cells) = self.nodes.take()?;
            *place = Some(Item {
                end,
                word: if is_leaf { node.leaf().0 } else { node.0 },
                gap: write_node(cells, start, here, is_leaf),
            });
            (rest, start) = (behind, end);
        }
        Some(made)
    }

    /// What was made on the highest level becomes the root, or a root's children.
    fn publish_root(&self, mut made: Made, row: &mut Row) -> Option<()> {
        let mut depth = self.nodes.depth();
        while made.len > 1 {
            row.begin(0);
            for item in made.items.iter().flatten() {
                row.push(*item);
            }
            made = self.make(row, false)?;
            depth = depth.wrapping_add(1);
        }
        let mut root = NodeRef(made.one()?.word);
        let only_child = |root: NodeRef| {
            let cells = self.nodes.get(root).filter(|_| !root.is_leaf())?;
            (cells.count() == 1).then(|| cells.child(0))
        };
        while let Some(child) = only_child(root) {
            // Nobody has seen it.
            self.retire(root);
            root = child;
            depth = depth.wrapping_sub(1);
        }
        self.nodes.set_root(root);
        self.nodes.set_depth(depth);
        Some(())
    }

    /// What is not part of the tree any more, from level `top` down, goes.
    fn retire_replaced(
        &self,
        left: &Path<'m>,
        right: &Path<'m>,
        top: usize,
        pulled: &[Pulled; MAX_DEPTH],
    ) -> Option<()> {
        // From below: a node is looked at before it goes.
        for level in (top..left.len).rev() {
            let (l, r) = (left.step(level)?, right.step(level)?);
            if level.wrapping_add(1) < left.len {
                let below = pulled.get(level.wrapping_add(1))?;
                if below.left {
                    self.retire(l.cells.child(l.slot.checked_sub(1)?));
                }
                if below.right {
                    self.retire(r.cells.child(r.slot.wrapping_add(1)));
                }
                let behind = l.slot.wrapping_add(1);
                if l.node == r.node {
                    self.retire_children(l.cells, behind..r.slot);
                } else {
                    self.retire_children(l.cells, behind..l.cells.count());
                    self.retire_children(r.cells, 0..r.slot);
                }
            }
        }
        for level in (top..left.len).rev() {
            let (l, r) = (left.step(level)?, right.step(level)?);
            self.retire(l.node);
            if l.node != r.node {
                self.retire(r.node);
            }
        }
        Some(())
    }

    fn retire_children(&self, cells: &NodeCells, slots: core::ops::Range<usize>) {
        for slot in slots {
            self.retire_all(cells.child(slot));
        }
    }
}

/// Fills a new node, and says how large its largest gap is.
fn write_node(cells: &NodeCells, start: u64, items: &[Item], is_leaf: bool) -> u64 {
    let (mut largest, mut from) = (0, start);
    cells.begin_change();
    let last = items.len().wrapping_sub(1);
    let room = if is_leaf { LEAF_SLOTS } else { BRANCH_SLOTS };
    for slot in 0..room {
        let item = items.get(slot);
        if slot.wrapping_add(1) < room {
            let is_inner = slot < last;
            let end = item.filter(|_| is_inner).map_or(FILL, |item| item.end);
            cells.set_bound(slot, end);
        }
        let gap = match item {
            Some(item) if is_leaf && item.word == 0 => gap_pages(from, item.end),
            Some(item) => item.gap,
            None => 0,
        };
        largest = gap.max(largest);
        if let Some(item) = item {
            from = item.end;
        }
        if is_leaf {
            cells.set_value(slot, item.map_or(0, |item| item.word));
        } else {
            // Above all addresses, as every name is.
            let word = item.map_or(FILL, |item| item.word);
            cells.set_child(slot, NodeRef(word));
            cells.set_gap(slot, gap);
        }
    }
    let kind = if is_leaf { Kind::Leaf } else { Kind::Branch };
    cells.end_change(kind, items.len());
    largest
}
