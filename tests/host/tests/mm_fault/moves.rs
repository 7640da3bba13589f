// SPDX-License-Identifier: GPL-2.0

//! mremap: pages go to other addresses with their content.

use crate::world::*;
use shadowmm_core::error::Error;
use shadowmm_core::mm::VirtAddr;
use std::sync::atomic::Ordering::Relaxed;

const FIXED: u32 = MREMAP_MAYMOVE | MREMAP_FIXED;
const BASE: u64 = WINDOW.start.0 + 10 * HUGE;

/// Pages with numbers in them, but for every third.
fn fill(process: &Process, at: u64, pages: u64) {
    for page in (0..pages).filter(|page| page % 3 != 0) {
        process.write(at + page * PAGE, page);
    }
}

/// New pages, filled like that.
fn map_filled(process: &Process, at: u64, pages: u64) -> u64 {
    let at = process.map_at(at, pages, RW, MAP_PRIVATE | MAP_FIXED);
    fill(process, at, pages);
    at
}

#[track_caller]
fn check(process: &Process, at: u64, pages: u64) {
    for page in 0..pages {
        let expected = if page % 3 == 0 { 0 } else { page };
        assert_eq!(process.read(at + page * PAGE), expected);
    }
    process.check();
}

#[test]
fn pages_move_wherever_borders_are() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    for (from, to) in [(0, 0), (3, 3), (3, 200), (511, 0), (0, 511), (100, 101)] {
        let pages = 1100;
        let at = map_filled(&process, BASE + from * PAGE, pages);
        let frames = |at: u64| -> Vec<_> {
            let each = (0..pages).filter(|page| page % 3 != 0);
            each.map(|page| {
                process
                    .space
                    .page_at(VirtAddr(at + page * PAGE))
                    .pfn
                    .unwrap()
            })
            .collect()
        };
        let before = frames(at);
        let rss = process.rss();
        let target = BASE + 30 * HUGE + to * PAGE;
        assert_eq!(
            process.try_remap(at, pages, pages, FIXED, target),
            Ok(target)
        );
        assert_eq!(frames(target), before);
        assert_eq!(process.rss(), rss);
        check(&process, target, pages);
        assert!(process.try_read(at).is_err());
        process.munmap(target, pages);
        assert_eq!((process.rss(), process.tables()), ([0; 3], 0));
    }
    process.exit();
    machine.finish();
}

#[test]
fn a_move_without_memory_for_tables_leaves_all_where_it_was() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let pages = 1100;
    let at = map_filled(&process, BASE, pages);
    let target = BASE + 700 * HUGE + 5 * PAGE;
    // As many pages as the tables need that are wanted, and less by one, and so on.
    let mut failed = 0;
    loop {
        let held = machine.hold_all_but(failed);
        let moved = process.try_remap(at, pages, pages, FIXED, target);
        drop(held);
        match moved {
            Ok(to) => {
                assert_eq!(to, target);
                break;
            }
            Err(_) => {
                failed += 1;
                assert!(failed < 40);
                check(&process, at, pages);
                assert!(process.try_read(target).is_err());
            }
        }
    }
    assert!(failed > 0);
    check(&process, target, pages);
    process.exit();
    machine.finish();
}

#[test]
fn who_may_have_no_more_pages_moves_nothing_to_new_tables() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let pages = 1100;
    let at = map_filled(&process, BASE, pages);
    let charged = process.space.cells().charged() as u64;
    let target = BASE + 700 * HUGE;
    let shifted = target + 5 * PAGE;
    for target in [target, shifted] {
        process.host.limit.store(charged, Relaxed);
        let moved = process.try_remap(at, pages, pages, FIXED, target);
        assert_eq!(moved, Err(Error::UserLimit));
        check(&process, at, pages);
    }
    // The first table finds room, and goes back.
    process.host.limit.store(charged + 2, Relaxed);
    let moved = process.try_remap(at, pages, pages, FIXED, shifted);
    assert_eq!(moved, Err(Error::UserLimit));
    check(&process, at, pages);
    process.host.limit.store(u64::MAX, Relaxed);
    let moved = process.try_remap(at, pages, pages, FIXED, shifted);
    assert_eq!(moved, Ok(shifted));
    check(&process, shifted, pages);
    process.exit();
    machine.finish();
}
