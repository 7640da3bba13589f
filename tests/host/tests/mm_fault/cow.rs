// SPDX-License-Identifier: GPL-2.0

//! fork: what is written stays with who has written it.

use crate::world::*;
use shadowmm_core::buddy::VmEvent;
use shadowmm_core::mm::Advice;
use shadowmm_core::mm::ThpMode;
use shadowmm_core::mm::VirtAddr;
use std::sync::atomic::Ordering::Relaxed;

#[test]
fn a_child_sees_what_was_and_not_what_is_written_later() {
    let machine = Machine::two_nodes();
    let parent = machine.process();
    let at = parent.anon(10);
    for page in 0..10 {
        parent.write(at + page * PAGE, page + 100);
    }
    let child = parent.fork();
    parent.check();
    assert_eq!(child.rss(), [0, 10, 0]);
    let frame = |process: &Process| process.space.page_at(VirtAddr(at)).pfn.unwrap();
    let shared = frame(&parent);
    assert_eq!(frame(&child), shared);
    parent.write(at, 1);
    child.write(at + PAGE, 2);
    assert_eq!((parent.read(at), child.read(at)), (1, 100));
    assert_eq!((parent.read(at + PAGE), child.read(at + PAGE)), (101, 2));
    // The parent has a copy; the page is the child's alone now, who gets it back.
    assert_ne!(frame(&parent), shared);
    child.write(at, 3);
    assert_eq!(frame(&child), shared);
    assert_eq!((parent.rss(), child.rss()), ([0, 10, 0], [0, 10, 0]));
    child.exit();
    for page in 2..10 {
        assert_eq!(parent.read(at + page * PAGE), page + 100);
        let before = parent.space.page_at(VirtAddr(at + page * PAGE)).pfn;
        parent.write(at + page * PAGE, page);
        assert_eq!(parent.space.page_at(VirtAddr(at + page * PAGE)).pfn, before);
    }
    parent.exit();
    machine.finish();
}

#[test]
fn what_was_never_written_costs_a_fork_nothing() {
    let machine = Machine::two_nodes();
    let parent = machine.process();
    let at = parent.anon(1000);
    for page in 0..1000 {
        parent.read(at + page * PAGE);
    }
    parent.host.zaps.store(0, Relaxed);
    let child = parent.fork();
    assert_eq!((child.tables(), parent.host.zaps.load(Relaxed)), (0, 0));
    assert_eq!(child.read(at), 0);
    child.exit();
    parent.exit();
    machine.finish();
}

#[test]
fn some_is_not_for_children_and_some_is_empty_there() {
    let machine = Machine::two_nodes();
    let parent = machine.process();
    let at = parent.anon(9);
    for page in 0..9 {
        parent.write(at + page * PAGE, page + 1);
    }
    parent.advise(at + 3 * PAGE, 3, Advice::DontFork);
    parent.advise(at + 6 * PAGE, 3, Advice::WipeOnFork);
    let child = parent.fork();
    assert_eq!(child.rss(), [0, 3, 0]);
    assert_eq!(child.read(at), 1);
    assert!(child.try_read(at + 3 * PAGE).is_err());
    assert_eq!(child.read(at + 6 * PAGE), 0);
    assert_eq!(parent.read(at + 6 * PAGE), 7);
    child.exit();
    parent.exit();
    machine.finish();
}

#[test]
fn generations_of_forks() {
    let machine = Machine::two_nodes();
    let mut line = vec![machine.process()];
    let at = line[0].anon(64);
    for generation in 0..12u64 {
        let last = line.last().unwrap();
        for page in 0..64 {
            if page % (generation + 1) == 0 {
                last.write(at + page * PAGE, generation * 1000 + page);
            }
        }
        let child = last.fork();
        line.push(child);
    }
    let expected = |generation: u64, page: u64| {
        let writer = (0..=generation).rev().find(|g| page % (g + 1) == 0);
        writer.map_or(0, |writer| writer * 1000 + page)
    };
    // Those in the middle end first.
    for (n, generation) in [6, 2, 9, 0, 11, 4, 8, 1, 10, 3, 7, 5, 12]
        .into_iter()
        .enumerate()
    {
        for page in 0..64 {
            assert_eq!(
                line[generation as usize].read(at + page * PAGE),
                expected(generation.min(11), page),
                "{n}: generation {generation} page {page}"
            );
        }
        line[generation as usize].check();
    }
    let mut line: Vec<_> = line.into_iter().map(Some).collect();
    for generation in [6, 2, 9, 0, 11, 4, 8, 1, 10, 3, 7, 5] {
        line[generation].take().unwrap().exit();
        let last = line[12].as_ref().unwrap();
        for page in 0..64 {
            assert_eq!(last.read(at + page * PAGE), expected(11, page));
        }
    }
    line[12].take().unwrap().exit();
    machine.finish();
}

/// The bit of an entry.
const DIRTY: u64 = 1 << 6;

/// Which of the first pages of a range may be written to, as far as their entries know.
fn writable(process: &Process, at: u64, pages: u64) -> Vec<u64> {
    let is_writable = |page: &u64| {
        let found = process.space.page_at(VirtAddr(at + page * PAGE));
        found.leaf.is_writable()
    };
    (0..pages).filter(is_writable).collect()
}

#[test]
fn write_permission_comes_back_where_nobody_else_has_the_page() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let reuses = || process.mm.stats.vm_event(VmEvent::Pgreuse);
    let at = process.anon(6);
    (0..4).for_each(|page| process.write(at + page * PAGE, page));
    // The zero page is everybody's.
    process.read(at + 4 * PAGE);
    for without in [PROT_READ, PROT_NONE] {
        process.protect(at, 6, without);
        assert_eq!(writable(&process, at, 6), []);
        process.protect(at, 6, RW);
        assert_eq!(writable(&process, at, 6), [0, 1, 2, 3]);
    }
    (0..4).for_each(|page| process.write(at + page * PAGE, page + 10));
    assert_eq!(reuses(), 0);
    // The first write to what is clean is seen.
    process.protect(at, 6, PROT_READ);
    process.advise(at, 1, Advice::Free);
    assert_eq!(process.read(at), 10);
    process.protect(at, 6, RW);
    let is_dirty = || {
        let found = process.space.page_at(VirtAddr(at));
        found.leaf.has(DIRTY)
    };
    assert!(!is_dirty());
    process.write(at, 20);
    assert!(is_dirty());
    // What others have is copied, now as before.
    let child = process.fork();
    process.protect(at, 6, PROT_READ);
    process.protect(at, 6, RW);
    assert_eq!(writable(&process, at, 6), []);
    process.write(at, 30);
    assert_eq!((process.read(at), child.read(at)), (30, 20));
    child.exit();
    process.exit();
    machine.finish();
}

#[test]
fn write_permission_of_two_mib_and_of_shared_memory_comes_back() {
    let machine = Machine::two_nodes();
    machine.spaces().set_thp(ThpMode::Always);
    let process = machine.process();
    process.host.can_huge.store(true, Relaxed);
    let at = WINDOW.start.0 + 64 * HUGE;
    process.map_at(at, HUGE / PAGE, RW, MAP_PRIVATE | MAP_FIXED);
    process.write(at, 1);
    let shared = process.map(3, RW, MAP_SHARED);
    process.write(shared, 2);
    for (at, pages) in [(at, HUGE / PAGE), (shared, 3)] {
        process.protect(at, pages, PROT_READ);
        assert_eq!(writable(&process, at, 2), []);
        process.protect(at, pages, RW);
        assert!(writable(&process, at, 2).contains(&0));
        process.check();
    }
    let child = process.fork();
    process.protect(at, HUGE / PAGE, PROT_READ);
    process.protect(at, HUGE / PAGE, RW);
    assert_eq!(writable(&process, at, 2), []);
    process.write(at, 3);
    assert_eq!((process.read(at), child.read(at)), (3, 1));
    child.exit();
    process.exit();
    machine.finish();
}
