// SPDX-License-Identifier: GPL-2.0

//! Maps of ranges: both kinds of VMA tree, and what public crates have.

use crate::platform::Threads;
use crate::shadow::HostMm;
use rangemap::RangeMap;
use shadowmm_core::mm::TreeKind;
use shadowmm_core::mm::VmaTree;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// What is above all that the shapes fill, and free.
const TOP: u64 = 1 << 46;

/// How often a block does what it does.
pub const OPERATIONS: usize = 1000;

/// Something that is measured.
pub trait TreeSide {
    /// What is at an address.
    fn lookup(&self, addr: u64) -> Option<u64>;
    /// Has a value in a range, or nothing.
    fn store(&self, start: u64, end: u64, value: Option<u64>);
    /// The highest place for so many bytes below `high`, where that can be asked.
    fn gap_below(&self, high: u64, size: u64) -> Option<u64>;
}

impl TreeSide for VmaTree<'static, 'static, Threads> {
    #[inline(always)]
    fn lookup(&self, addr: u64) -> Option<u64> {
        VmaTree::lookup(self, addr)
    }

    #[inline(always)]
    fn store(&self, start: u64, end: u64, value: Option<u64>) {
        let mut reserve = self.reserve(1).expect("memory");
        VmaTree::store(self, start, end, value, &mut reserve);
    }

    #[inline(always)]
    fn gap_below(&self, high: u64, size: u64) -> Option<u64> {
        VmaTree::gap_below(self, PAGE, high, size)
    }
}

/// By start: end and value. Changes one entry at a time.
impl TreeSide for RefCell<BTreeMap<u64, (u64, u64)>> {
    #[inline(always)]
    fn lookup(&self, addr: u64) -> Option<u64> {
        let map = self.borrow();
        let (_, &(end, value)) = map.range(..=addr).next_back()?;
        (addr < end).then_some(value)
    }

    #[inline(always)]
    fn store(&self, start: u64, end: u64, value: Option<u64>) {
        let mut map = self.borrow_mut();
        match value {
            Some(value) => map.insert(start, (end, value)),
            None => map.remove(&start),
        };
    }

    fn gap_below(&self, _high: u64, _size: u64) -> Option<u64> {
        None
    }
}

impl TreeSide for RefCell<RangeMap<u64, u64>> {
    #[inline(always)]
    fn lookup(&self, addr: u64) -> Option<u64> {
        self.borrow().get(&addr).copied()
    }

    #[inline(always)]
    fn store(&self, start: u64, end: u64, value: Option<u64>) {
        let mut map = self.borrow_mut();
        match value {
            Some(value) => map.insert(start..end, value),
            None => map.remove(start..end),
        }
    }

    fn gap_below(&self, _high: u64, _size: u64) -> Option<u64> {
        None
    }
}

/// An empty tree.
pub fn tree(mm: &'static HostMm, kind: TreeKind) -> VmaTree<'static, 'static, Threads> {
    let root: &'static [AtomicU64; 4] = Box::leak(Box::default());
    let tree = VmaTree::at(mm.spaces(), root);
    tree.begin(kind);
    tree
}

/// Fills a map downwards, as mmap does: `count` entries of two pages, each beside the
/// next or with a page between.
pub fn fill(side: &impl TreeSide, count: u64, has_gaps: bool) {
    for n in 0..count {
        let start = start(n, has_gaps);
        side.store(start, start + 2 * PAGE, Some(n + 1));
    }
}

fn start(n: u64, has_gaps: bool) -> u64 {
    TOP - (n + 1) * (2 + u64::from(has_gaps)) * PAGE
}

/// Looks up entries drawn by lot.
pub fn lookups(side: &impl TreeSide, count: u64, has_gaps: bool, clock: &dyn Fn() -> u64) {
    let mut draw = 1u64;
    let addrs: Vec<_> = (0..OPERATIONS)
        .map(|_| {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let n = (draw >> 33) % count;
            (start(n, has_gaps) + PAGE, n + 1)
        })
        .collect();
    let mut wrong = 0u64;
    clock();
    for &(addr, value) in &addrs {
        wrong += u64::from(side.lookup(addr) != Some(value));
    }
    clock();
    assert_eq!(wrong, 0);
}

/// A range is stored where there is room below all, or right above all, and taken out
/// again.
pub fn pairs(side: &impl TreeSide, count: u64, has_gaps: bool, clock: &dyn Fn() -> u64) {
    let below = start(count, has_gaps);
    clock();
    for n in 0..OPERATIONS as u64 {
        side.store(below, below + 2 * PAGE, Some(n + 1));
        side.store(below, below + 2 * PAGE, None);
    }
    clock();
}

/// An entry in the midst of all goes, and comes again.
pub fn inner_pairs(side: &impl TreeSide, count: u64, has_gaps: bool, clock: &dyn Fn() -> u64) {
    clock();
    for n in 0..OPERATIONS as u64 {
        let place = n.wrapping_mul(40_503) % count;
        let start = start(place, has_gaps);
        side.store(start, start + 2 * PAGE, None);
        side.store(start, start + 2 * PAGE, Some(place + 1));
    }
    clock();
}

/// The highest place for three pages.
pub fn rooms(side: &impl TreeSide, count: u64, has_gaps: bool, clock: &dyn Fn() -> u64) {
    let expected = start(count - 1, has_gaps) - 3 * PAGE;
    let mut wrong = 0u64;
    clock();
    for _ in 0..OPERATIONS {
        wrong += u64::from(side.gap_below(TOP, 3 * PAGE) != Some(expected));
    }
    clock();
    assert_eq!(wrong, 0);
}
