// SPDX-License-Identifier: GPL-2.0

//! Memory by 2 MiB, and what becomes of it piece by piece.

use crate::world::*;
use shadowmm_core::mm::Advice;
use shadowmm_core::mm::ThpMode;
use shadowmm_core::mm::VirtAddr;
use std::sync::atomic::Ordering::Relaxed;

const PAGES: u64 = HUGE / PAGE;

fn machine() -> Machine {
    let machine = Machine::two_nodes();
    machine.spaces().set_thp(ThpMode::Always);
    machine
}

/// So many times 2 MiB, on a border.
fn map(process: &Process, huge: u64) -> u64 {
    let at = WINDOW.start.0 + 64 * HUGE;
    process.map_at(at, huge * PAGES, RW, MAP_PRIVATE | MAP_FIXED)
}

fn is_huge(process: &Process, at: u64) -> bool {
    process.space.page_at(VirtAddr(at)).huge
}

#[test]
fn a_first_write_takes_two_mib_where_all_of_it_is_there() {
    for can_huge in [false, true] {
        let machine = machine();
        let process = machine.process();
        process.host.can_huge.store(can_huge, Relaxed);
        let at = map(&process, 2);
        process.write(at + 5 * PAGE, 5);
        assert!(is_huge(&process, at));
        assert_eq!(process.rss(), [0, PAGES, 0]);
        // Three tables, one of them laid by.
        assert_eq!(process.tables(), 3 * PAGE);
        assert_eq!(process.host.len() as u64, if can_huge { PAGES } else { 16 });
        for page in 0..PAGES {
            let expected = if page == 5 { 5 } else { 0 };
            assert_eq!(process.read(at + page * PAGE), expected);
            process.write(at + page * PAGE, page);
        }
        assert_eq!(process.space.cells().fault_counts().1, 0);
        process.check();
        // What is read first is not.
        process.read(at + HUGE);
        assert!(!is_huge(&process, at + HUGE));
        process.munmap(at, 2 * PAGES);
        assert_eq!((process.rss(), process.tables()), ([0; 3], 0));
        process.exit();
        machine.finish();
    }
}

#[test]
fn who_gets_it_is_said_by_mode_and_advice() {
    let machine = machine();
    let process = machine.process();
    let at = map(&process, 4);
    process.advise(at, PAGES, Advice::NoHugePage);
    process.write(at, 1);
    assert!(!is_huge(&process, at));
    machine.spaces().set_thp(ThpMode::Madvise);
    process.write(at + HUGE, 1);
    assert!(!is_huge(&process, at + HUGE));
    process.advise(at + 2 * HUGE, PAGES, Advice::HugePage);
    process.write(at + 2 * HUGE, 1);
    assert!(is_huge(&process, at + 2 * HUGE));
    machine.spaces().set_thp(ThpMode::Never);
    process.advise(at + 3 * HUGE, PAGES, Advice::HugePage);
    process.write(at + 3 * HUGE, 1);
    assert!(!is_huge(&process, at + 3 * HUGE));
    assert_eq!(process.rss(), [0, PAGES + 3, 0]);
    process.exit();
    machine.finish();
}

#[test]
fn a_part_goes_and_the_rest_stays() {
    let machine = machine();
    let process = machine.process();
    process.host.can_huge.store(true, Relaxed);
    let at = map(&process, 1);
    for page in 0..PAGES {
        process.write(at + page * PAGE, page + 1);
    }
    process.munmap(at + 10 * PAGE, 20);
    assert!(!is_huge(&process, at));
    assert_eq!(process.rss(), [0, PAGES - 20, 0]);
    process.check();
    process.advise(at + 40 * PAGE, 5, Advice::DontNeed);
    assert_eq!(process.rss(), [0, PAGES - 25, 0]);
    process.protect(at + 100 * PAGE, 1, PROT_READ);
    for page in (0..PAGES).filter(|page| !(10..30).contains(page)) {
        let expected = if (40..45).contains(&page) {
            0
        } else {
            page + 1
        };
        assert_eq!(process.read(at + page * PAGE), expected);
    }
    process.exit();
    machine.finish();
}

#[test]
fn what_is_protected_whole_stays_whole() {
    let machine = machine();
    let process = machine.process();
    process.host.can_huge.store(true, Relaxed);
    let at = map(&process, 1);
    process.write(at, 3);
    process.protect(at, PAGES, PROT_READ);
    assert!(is_huge(&process, at));
    assert!(process.try_write(at, 4).is_err());
    process.check();
    process.protect(at, PAGES, RW);
    process.write(at, 4);
    assert!(is_huge(&process, at));
    process.protect(at, PAGES, PROT_NONE);
    assert_eq!(process.host.len(), 0);
    process.protect(at, PAGES, RW);
    assert_eq!(process.read(at), 4);
    process.exit();
    machine.finish();
}

#[test]
fn a_fork_shares_it_and_a_write_copies_a_page() {
    for first_to_go in 0..2 {
        let machine = machine();
        let parent = machine.process();
        parent.host.can_huge.store(true, Relaxed);
        let at = map(&parent, 1);
        for page in 0..PAGES {
            parent.write(at + page * PAGE, page + 1);
        }
        let child = parent.fork();
        parent.check();
        assert!(is_huge(&parent, at) && is_huge(&child, at));
        assert_eq!(child.rss(), [0, PAGES, 0]);
        assert_eq!(child.tables(), parent.tables());
        child.write(at + 7 * PAGE, 1000);
        assert!(!is_huge(&child, at) && is_huge(&parent, at));
        assert_eq!(
            (parent.read(at + 7 * PAGE), child.read(at + 7 * PAGE)),
            (8, 1000)
        );
        assert_eq!(child.rss(), [0, PAGES, 0]);
        // Grandchildren of both kinds.
        let from_whole = parent.fork();
        let from_split = child.fork();
        from_split.write(at + 8 * PAGE, 2000);
        from_whole.munmap(at, 100);
        for process in [&parent, &child, &from_whole, &from_split] {
            process.check();
            assert_eq!(process.read(at + 300 * PAGE), 301);
        }
        let mut all = vec![parent, child, from_whole, from_split];
        if first_to_go == 1 {
            all.reverse();
        }
        for process in all {
            assert_eq!(process.read(at + 200 * PAGE), 201);
            process.write(at + 200 * PAGE, 1);
            process.exit();
        }
        machine.finish();
    }
}

#[test]
fn the_last_who_has_it_may_write_to_all_of_it() {
    let machine = machine();
    let parent = machine.process();
    let at = map(&parent, 1);
    parent.write(at, 1);
    parent.fork().exit();
    parent.write(at, 2);
    assert!(is_huge(&parent, at));
    assert_eq!(parent.read(at), 2);
    parent.exit();
    machine.finish();
}

#[test]
fn it_moves_whole_or_in_pages() {
    let machine = machine();
    let process = machine.process();
    process.host.can_huge.store(true, Relaxed);
    let at = map(&process, 1);
    for page in 0..PAGES {
        process.write(at + page * PAGE, page + 1);
    }
    let flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    let to = at + 100 * HUGE;
    assert_eq!(process.try_remap(at, PAGES, PAGES, flags, to), Ok(to));
    assert!(is_huge(&process, to));
    assert!(process.try_read(at).is_err());
    process.check();
    let odd = at + 200 * HUGE + 3 * PAGE;
    assert_eq!(process.try_remap(to, PAGES, PAGES, flags, odd), Ok(odd));
    assert!(!is_huge(&process, odd));
    process.check();
    for page in 0..PAGES {
        assert_eq!(process.read(odd + page * PAGE), page + 1);
    }
    process.exit();
    machine.finish();
}
