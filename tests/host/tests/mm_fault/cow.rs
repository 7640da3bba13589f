// SPDX-License-Identifier: GPL-2.0

//! fork: what is written stays with who has written it.

use crate::world::*;
use shadowmm_core::mm::Advice;
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
