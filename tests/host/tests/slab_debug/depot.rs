// SPDX-License-Identifier: GPL-2.0

//! The depot of stacks, in pages from a vector.

use shadowmm_core::phys::Pfn;
use shadowmm_core::slab::debug::*;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

struct Memory {
    pages: Vec<Vec<AtomicU64>>,
    taken: AtomicUsize,
    given_back: AtomicUsize,
}

impl Memory {
    fn new(pages: usize) -> Self {
        let page = || (0..512).map(|_| AtomicU64::new(0)).collect();
        Self {
            pages: (0..pages).map(|_| page()).collect(),
            taken: AtomicUsize::new(0),
            given_back: AtomicUsize::new(0),
        }
    }
}

impl DepotMemory for &Memory {
    fn take(&self) -> Option<Pfn> {
        let number = self.taken.fetch_add(1, Relaxed);
        (number < self.pages.len()).then_some(Pfn(number as u64 + 1))
    }

    fn give_back(&self, _pfn: Pfn) {
        self.given_back.fetch_add(1, Relaxed);
    }

    fn words(&self, pfn: Pfn) -> Option<&[AtomicU64]> {
        Some(self.pages.get((pfn.0 as usize).checked_sub(1)?)?)
    }
}

fn fetched(depot: &Depot<'_, &Memory>, stack: StackHandle) -> Vec<u64> {
    let mut entries = [0; TRACK_ADDRS_COUNT];
    let len = depot.fetch(stack, &mut entries);
    entries[..len].to_vec()
}

/// A stack of its own for each number, of 1 to 16 addresses.
fn stack(number: u64) -> Vec<u64> {
    let len = number % 16 + 1;
    (0..len).map(|frame| (number << 8) | frame).collect()
}

#[test]
fn a_stack_is_kept_once_and_comes_out_as_it_went_in() {
    let memory = Memory::new(16);
    let root = Box::<DepotRoot>::default();
    let depot = Depot::new(Some(&root), &memory);
    let handles: Vec<_> = (0..500).map(|n| depot.save(&stack(n))).collect();
    for (n, &handle) in (0..).zip(&handles) {
        assert_ne!(handle, StackHandle(0));
        assert_eq!(fetched(&depot, handle), stack(n));
        assert_eq!(depot.save(&stack(n)), handle);
    }
    let (stacks, pages, missed) = depot.counts();
    // 8.5 addresses and two words for each, in pages of 512 words.
    assert_eq!((stacks, pages, missed), (500, 11, 0));
    assert_eq!(depot.pages().count(), 11);
}

#[test]
fn a_deeper_stack_is_cut_and_an_empty_one_is_none() {
    let memory = Memory::new(1);
    let root = Box::<DepotRoot>::default();
    let depot = Depot::new(Some(&root), &memory);
    let deep: Vec<u64> = (1..=40).collect();
    let handle = depot.save(&deep);
    assert_eq!(fetched(&depot, handle), deep[..TRACK_ADDRS_COUNT]);
    assert_eq!(depot.save(&[]), StackHandle(0));
    assert_eq!(fetched(&depot, StackHandle(0)), []);
    assert_eq!(fetched(&depot, StackHandle(u32::MAX)), []);
}

#[test]
fn without_memory_stacks_are_missed_and_what_is_kept_stays() {
    let memory = Memory::new(1);
    let root = Box::<DepotRoot>::default();
    let depot = Depot::new(Some(&root), &memory);
    let handles: Vec<_> = (0..100).map(|n| depot.save(&stack(n))).collect();
    let kept = handles.iter().filter(|&&handle| handle != StackHandle(0));
    let kept = kept.count();
    let (stacks, pages, missed) = depot.counts();
    assert!(kept > 40 && kept < 100, "{kept}");
    assert_eq!((stacks as usize, pages), (kept, 1));
    assert_eq!(missed as usize, 100 - kept);
    for (n, &handle) in (0..).zip(&handles).filter(|(_, handle)| handle.0 != 0) {
        assert_eq!(fetched(&depot, handle), stack(n));
    }
}

#[test]
fn threads_save_the_same_stacks_at_once() {
    let memory = Memory::new(64);
    let root = Box::<DepotRoot>::default();
    let depot = Depot::new(Some(&root), &memory);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let depot = &depot;
            scope.spawn(move || {
                for round in 0..2000u64 {
                    let number = (round * 7 + thread * 13) % 300;
                    let handle = depot.save(&stack(number));
                    assert_eq!(fetched(depot, handle), stack(number));
                }
            });
        }
    });
    let (stacks, pages, missed) = depot.counts();
    assert!((300..400).contains(&stacks), "{stacks}");
    assert_eq!(missed, 0);
    // Pages that two had taken for the same pool came back.
    let taken = memory.taken.load(Relaxed) - memory.given_back.load(Relaxed);
    assert_eq!(taken, pages as usize);
}
