// SPDX-License-Identifier: GPL-2.0

//! Memory by 2 MiB, and what becomes of it piece by piece.

use crate::world::*;
use shadowmm_core::buddy::UserStat;
use shadowmm_core::buddy::VmEvent;
use shadowmm_core::error::Error;
use shadowmm_core::mm::Access;
use shadowmm_core::mm::Advice;
use shadowmm_core::mm::FaultResult;
use shadowmm_core::mm::ThpMode;
use shadowmm_core::mm::Usage;
use shadowmm_core::mm::VirtAddr;
use shadowmm_core::phys::Pages;
use shadowmm_core::phys::Pfn;
use std::sync::atomic::Ordering::Relaxed;

const PAGES: u64 = HUGE / PAGE;
/// Of an entry, as the processor has it (`_PAGE_DIRTY`).
const DIRTY: u64 = 1 << 6;

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
fn what_a_fork_shares_is_not_freed_lazily() {
    let machine = machine();
    let process = machine.process();
    let at = map(&process, 1);
    process.write(at, 7);
    let child = process.fork();
    for pages in [PAGES, 10] {
        process.advise(at, pages, Advice::Free);
        assert!(is_huge(&process, at));
        let leaf = process.space.page_at(VirtAddr(at)).leaf;
        assert!(leaf.has(DIRTY));
    }
    child.exit();
    process.advise(at, PAGES, Advice::Free);
    assert!(is_huge(&process, at));
    assert!(!process.space.page_at(VirtAddr(at)).leaf.has(DIRTY));
    process.exit();
    machine.finish();
}

#[test]
fn pages_of_it_are_written_to_in_place_by_the_last_who_has_it() {
    let machine = machine();
    let parent = machine.process();
    let at = map(&parent, 1);
    (0..PAGES).for_each(|page| parent.write(at + page * PAGE, page + 1));
    let child = parent.fork();
    parent.write(at, 1000);
    assert!(!is_huge(&parent, at) && is_huge(&child, at));
    let frame = |process: &Process, page: u64| {
        let found = process.space.page_at(VirtAddr(at + page * PAGE));
        found.pfn.unwrap()
    };
    // While the child has it, each write has a copy.
    let shared = frame(&parent, 1);
    parent.write(at + PAGE, 1001);
    assert_ne!(frame(&parent, 1), shared);
    // In pages, too, also where the parent has none of those that the child has.
    child.munmap(at + 3 * PAGE, PAGES - 3);
    parent.munmap(at + 2 * PAGE, 1);
    let shared = frame(&parent, 3);
    parent.write(at + 3 * PAGE, 1003);
    assert_ne!(frame(&parent, 3), shared);
    assert_eq!((child.read(at + PAGE), child.read(at + 2 * PAGE)), (2, 3));
    child.exit();
    let reuses = parent.mm.stats.vm_event(VmEvent::Pgreuse);
    let free = machine.pages(UserStat::Anon);
    for page in 4..PAGES - 1 {
        let before = frame(&parent, page);
        parent.write(at + page * PAGE, page + 1000);
        assert_eq!(frame(&parent, page), before);
    }
    let more = parent.mm.stats.vm_event(VmEvent::Pgreuse) - reuses;
    assert_eq!((more, machine.pages(UserStat::Anon)), (PAGES - 5, free));
    parent.check();
    // What is written then is not seen by a child that comes later.
    let child = parent.fork();
    parent.write(at + 4 * PAGE, 2004);
    assert_eq!(child.read(at + 4 * PAGE), 1004);
    assert_eq!(parent.read(at + (PAGES - 1) * PAGE), PAGES);
    child.exit();
    // The last page of a block is copied, and the block goes.
    parent.munmap(at, PAGES - 1);
    let last = frame(&parent, PAGES - 1);
    parent.write(at + (PAGES - 1) * PAGE, 3000);
    assert_ne!(frame(&parent, PAGES - 1), last);
    assert_eq!(machine.pages(UserStat::AnonHuge), 0);
    parent.exit();
    machine.finish();
}

/// Of a block that a fork shared a page is left, and who forked.
fn a_part_that_is_left(machine: &Machine) -> (Process, u64) {
    let parent = machine.process();
    let at = map(&parent, 1);
    (0..PAGES).for_each(|page| parent.write(at + page * PAGE, page + 1));
    let child = parent.fork();
    parent.advise(at, 300, Advice::DontNeed);
    parent.advise(at + 301 * PAGE, PAGES - 301, Advice::DontNeed);
    child.exit();
    (parent, at)
}

#[test]
fn all_of_a_block_counts_for_who_keeps_a_part_of_it() {
    let machine = machine();
    let (parent, at) = a_part_that_is_left(&machine);
    let charged = |process: &Process| {
        let cells = process.space.cells();
        cells.charged() as u64 - cells.page_table_bytes().0 / PAGE
    };
    assert_eq!((parent.rss(), charged(&parent)), ([0, 1, 0], PAGES));
    // A child that has the part has all of it, too.
    let child = parent.fork();
    assert_eq!((child.rss(), charged(&child)), ([0, 1, 0], PAGES));
    // What has nothing more of it does not count.
    child.write(at + 300 * PAGE, 7);
    assert_eq!(charged(&child), 1);
    child.check();
    child.exit();
    // Nor does it when its process has ended.
    let child = parent.fork();
    assert_eq!(child.space.end(&child.host), 0);
    // A part that is moved elsewhere counts there.
    let to = at + 8 * HUGE;
    let flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    assert_eq!(parent.try_remap(at + 300 * PAGE, 1, 1, flags, to), Ok(to));
    assert_eq!(charged(&parent), PAGES);
    parent.check();
    parent.munmap(to, 1);
    assert_eq!(charged(&parent), 0);
    parent.exit();
    machine.finish();
}

#[test]
fn the_rest_of_a_block_comes_back_when_memory_is_out() {
    let machine = machine();
    let platform = &machine.world.mm.platform;
    assert!(platform.kill_by(|_, _| panic!("somebody is killed")));
    let (parent, at) = a_part_that_is_left(&machine);
    let asking = machine.process();
    let wanted = asking.anon(2);
    asking.write(wanted, 1);
    assert_eq!(machine.pages(UserStat::AnonHuge), PAGES);
    let free = machine.pages(UserStat::Anon);
    let held = machine.hold_all_but(0);
    assert_eq!(
        asking.fault(wanted + PAGE, Access::Write),
        FaultResult::Retry
    );
    assert_eq!(machine.pages(UserStat::AnonHuge), 0);
    assert_eq!(free - machine.pages(UserStat::Anon), PAGES - 1);
    assert_eq!(parent.mm.stats.vm_event(VmEvent::Pglazyfreed), 0);
    asking.write(wanted + PAGE, 2);
    assert_eq!(
        parent.space.cells().charged() as u64,
        1 + parent.tables() / PAGE
    );
    parent.check();
    // It is a page like others from then on.
    let frame = parent.space.page_at(VirtAddr(at + 300 * PAGE)).pfn;
    parent.write(at + 300 * PAGE, 5);
    assert_eq!(parent.space.page_at(VirtAddr(at + 300 * PAGE)).pfn, frame);
    drop(held);
    parent.exit();
    asking.exit();
    machine.finish();
}

#[test]
fn the_rest_of_a_block_comes_back_before_a_touch_is_too_much() {
    let machine = machine();
    let (parent, at) = a_part_that_is_left(&machine);
    let other = parent.anon(2);
    parent.write(other, 1);
    let charged = |process: &Process| process.space.cells().charged() as u64;
    let before = charged(&parent);
    parent.host.limit.store(before, Relaxed);
    // Not while somebody else has it, too.
    let child = parent.fork();
    assert_eq!(parent.try_write(other + PAGE, 2), Err(FaultResult::Bus));
    child.exit();
    assert_eq!(
        parent.fault(other + PAGE, Access::Write),
        FaultResult::Retry
    );
    assert_eq!(charged(&parent), before - (PAGES - 1));
    parent.write(other + PAGE, 2);
    assert_eq!(parent.read(at + 300 * PAGE), 301);
    parent.check();
    parent.exit();
    machine.finish();
}

#[test]
fn a_block_that_others_have_parts_of_stays_when_memory_is_out() {
    let machine = machine();
    let (parent, at) = a_part_that_is_left(&machine);
    let child = parent.fork();
    // Each page of the child's is another's, too, or needed.
    let held = machine.hold_all_but(0);
    let wanted = child.anon(1);
    assert_ne!(child.fault(wanted, Access::Write), FaultResult::Retry);
    drop(held);
    assert_eq!(machine.pages(UserStat::AnonHuge), PAGES);
    assert_eq!(child.read(at + 300 * PAGE), 301);
    child.exit();
    parent.exit();
    machine.finish();
}

#[test]
fn two_mib_that_are_more_than_one_may_have_are_single_pages() {
    let machine = machine();
    let process = machine.process();
    let at = map(&process, 2);
    let events = |event| process.mm.stats.vm_event(event);
    process.write(at + HUGE, 1);
    let charged = process.space.cells().charged() as u64;
    // One less than the block and the table that is laid by for it.
    process.host.limit.store(charged + PAGES, Relaxed);
    let before = events(VmEvent::ThpFaultFallback);
    process.write(at, 1);
    assert!(!is_huge(&process, at) && is_huge(&process, at + HUGE));
    assert_eq!(events(VmEvent::ThpFaultFallback), before + 1);
    assert_eq!(process.rss(), [0, PAGES + 1, 0]);
    // Nor can they become so by advice.
    let now = process.space.cells().charged() as u64;
    process.host.limit.store(now + PAGES - 1, Relaxed);
    let advised = collapse(&process, at, PAGES);
    assert_eq!(advised, Err(Error::UserLimit));
    process.host.limit.store(now + PAGES, Relaxed);
    assert_eq!(collapse(&process, at, PAGES), Ok(()));
    assert!(is_huge(&process, at));
    process.exit();
    machine.finish();
}

#[test]
fn who_wants_no_two_mib_gets_none() {
    let machine = machine();
    let process = machine.process();
    let at = map(&process, 2);
    process.host.no_huge.store(1, Relaxed);
    process.write(at, 1);
    assert!(!is_huge(&process, at));
    // But where he has asked for them.
    process.advise(at + HUGE, PAGES, Advice::HugePage);
    process.write(at + HUGE, 1);
    assert!(is_huge(&process, at + HUGE));
    assert_eq!(collapse(&process, at, PAGES), Ok(()));
    assert!(is_huge(&process, at));
    process.munmap(at, 2 * PAGES);
    let at = map(&process, 1);
    process.host.no_huge.store(2, Relaxed);
    process.advise(at, PAGES, Advice::HugePage);
    process.write(at, 1);
    assert!(!is_huge(&process, at));
    let advised = collapse(&process, at, PAGES);
    assert_eq!(advised, Err(Error::BadAdvice));
    process.exit();
    machine.finish();
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

/// A process, which has nothing else, is told that each of the 512 pages of a block is
/// mapped so often; `None` is for those that it has not.
#[track_caller]
fn check_counts(process: &Process, at: u64, counts: &[Option<u64>]) {
    let mut told = Usage::default();
    let mut entries = vec![0; PAGES as usize];
    process.space.pagemap(VirtAddr(at), &mut entries, false);
    for (page, (entry, count)) in entries.iter().zip(counts).enumerate() {
        let count = *count;
        // PM_PRESENT, PM_MMAP_EXCLUSIVE
        let bits = (entry >> 63 == 1, (entry >> 56) & 1 == 1);
        assert_eq!(bits, (count.is_some(), count == Some(1)), "page {page}");
        let Some(count) = count else { continue };
        told.pss += (PAGE << 12) / count;
        match count {
            1 => told.private_dirty += PAGE,
            _ => told.shared_dirty += PAGE,
        }
    }
    let usage = process.usage();
    assert_eq!(usage.pss, told.pss);
    assert_eq!(usage.private_dirty, told.private_dirty);
    assert_eq!(usage.shared_dirty, told.shared_dirty);
    assert_eq!((usage.private_clean, usage.shared_clean), (0, 0));
}

/// All pages have this count but these.
fn all_but(count: u64, others: &[(u64, Option<u64>)]) -> Vec<Option<u64>> {
    let mut all = vec![Some(count); PAGES as usize];
    for &(page, count) in others {
        all[page as usize] = count;
    }
    all
}

fn block_of(process: &Process, at: u64) -> Pfn {
    process.space.page_at(VirtAddr(at)).pfn.unwrap()
}

/// Of the pages inside a block that is gone none was left mapped.
#[track_caller]
fn check_unmapped(machine: &Machine, head: Pfn) {
    for page in 1..PAGES {
        let page = machine.world.mm.sparse.page(head + Pages(page)).unwrap();
        assert_eq!(page.next(), Some(Pfn(0)));
    }
}

#[test]
fn who_has_a_page_is_counted_page_by_page() {
    let machine = machine();
    let parent = machine.process();
    let at = map(&parent, 1);
    parent.write(at, 1);
    check_counts(&parent, at, &all_but(1, &[]));
    let child = parent.fork();
    check_counts(&parent, at, &all_but(2, &[]));
    child.write(at + 7 * PAGE, 1000);
    assert!(is_huge(&parent, at) && !is_huge(&child, at));
    for process in [&parent, &child] {
        check_counts(process, at, &all_but(2, &[(7, Some(1))]));
        let usage = process.usage();
        assert_eq!(Usage::share(usage.pss), 511 * PAGE / 2 + PAGE);
        assert_eq!(usage.private_dirty, PAGE);
        assert_eq!(usage.shared_dirty, 511 * PAGE);
    }
    // The child's copy is nobody else's, and what the parent unmaps is the child's.
    parent.munmap(at + 100 * PAGE, 50);
    let unmapped: Vec<_> = (100..150).map(|page| (page, None)).collect();
    let own: Vec<_> = (100..150).map(|page| (page, Some(1))).collect();
    let seven = [(7, Some(1))];
    let parents = [&seven[..], &unmapped].concat();
    let childs = [&seven[..], &own].concat();
    check_counts(&parent, at, &all_but(2, &parents));
    check_counts(&child, at, &all_but(2, &childs));
    machine.spaces().validate().unwrap();
    let head = block_of(&parent, at);
    child.exit();
    check_counts(&parent, at, &all_but(1, &parents));
    parent.exit();
    check_unmapped(&machine, head);
    machine.finish();
}

#[test]
fn entries_of_all_of_it_count_beside_those_of_pages() {
    for first_to_go in 0..2 {
        let machine = machine();
        let first = machine.process();
        let at = map(&first, 1);
        first.write(at, 1);
        let head = block_of(&first, at);
        let mut wholes = vec![first.fork(), first.fork(), first];
        check_counts(&wholes[0], at, &all_but(3, &[]));
        // Two with pages, one of them from the other, and each with a copy of its own.
        let parts = wholes[0].fork();
        parts.write(at + PAGE, 1);
        let more = parts.fork();
        check_counts(&more, at, &all_but(5, &[(1, Some(2))]));
        more.write(at + 2 * PAGE, 1);
        more.advise(at + 3 * PAGE, 1, Advice::DontNeed);
        for process in &wholes {
            assert!(is_huge(process, at));
            let others = [(1, Some(3)), (2, Some(4)), (3, Some(4))];
            check_counts(process, at, &all_but(5, &others));
        }
        let others = [(1, Some(2)), (2, Some(4)), (3, Some(4))];
        check_counts(&parts, at, &all_but(5, &others));
        let others = [(1, Some(2)), (2, Some(1)), (3, None)];
        check_counts(&more, at, &all_but(5, &others));
        // What moves counts as before.
        let to = at + 100 * HUGE + 5 * PAGE;
        let flags = MREMAP_MAYMOVE | MREMAP_FIXED;
        assert_eq!(more.try_remap(at, PAGES, PAGES, flags, to), Ok(to));
        check_counts(&more, to, &all_but(5, &others));
        let last = wholes.pop().unwrap();
        assert_eq!(last.try_remap(at, PAGES, PAGES, flags, to), Ok(to));
        assert!(!is_huge(&last, to));
        let others = [(1, Some(3)), (2, Some(4)), (3, Some(4))];
        check_counts(&last, to, &all_but(5, &others));
        machine.spaces().validate().unwrap();
        let mut all = vec![parts, more, last];
        match first_to_go {
            0 => {
                all.drain(..).for_each(Process::exit);
                check_counts(&wholes[0], at, &all_but(2, &[]));
                wholes.remove(1).exit();
                check_counts(&wholes[0], at, &all_but(1, &[]));
                assert!(is_huge(&wholes[0], at));
                wholes.remove(0).exit();
            }
            _ => {
                wholes.drain(..).for_each(Process::exit);
                let others = [(1, Some(2)), (2, Some(2)), (3, Some(2))];
                check_counts(&all[0], at, &all_but(3, &others));
                all.remove(1).exit();
                check_counts(&all[1], to, &all_but(2, &[(1, Some(1))]));
                all.remove(0).exit();
                check_counts(&all[0], to, &all_but(1, &[]));
                all.remove(0).exit();
            }
        }
        check_unmapped(&machine, head);
        machine.finish();
    }
}

fn collapse(process: &Process, at: u64, pages: u64) -> Result<(), Error> {
    let space = &process.space;
    space.madvise(&process.host, VirtAddr(at), pages * PAGE, Advice::Collapse)
}

#[test]
fn pages_become_two_mib_where_somebody_asks() {
    for can_huge in [false, true] {
        let machine = machine();
        machine.spaces().set_thp(ThpMode::Never);
        let process = machine.process();
        process.host.can_huge.store(can_huge, Relaxed);
        let at = map(&process, 2);
        for page in (0..PAGES).filter(|page| page % 3 == 0) {
            process.write(at + page * PAGE, page + 1);
        }
        process.read(at + PAGE);
        let tables = process.tables();
        // What nobody has touched has no table, and the other half is done.
        assert_eq!(collapse(&process, at, 2 * PAGES), Err(Error::BadAdvice));
        assert!(is_huge(&process, at) && !is_huge(&process, at + HUGE));
        assert_eq!(collapse(&process, at, PAGES), Ok(()));
        assert_eq!((process.rss(), process.tables()), ([0, PAGES, 0], tables));
        let counts = [UserStat::Anon, UserStat::AnonHuge].map(|stat| machine.pages(stat));
        assert_eq!(counts, [PAGES, PAGES]);
        let event = |event| process.mm.stats.vm_event(event);
        assert_eq!(event(VmEvent::ThpCollapseAlloc), 1);
        for page in 0..PAGES {
            let expected = if page % 3 == 0 { page + 1 } else { 0 };
            assert_eq!(process.read(at + page * PAGE), expected);
            process.write(at + page * PAGE, page);
        }
        process.check();
        // And pages again.
        process.munmap(at + 7 * PAGE, 1);
        assert_eq!(process.rss(), [0, PAGES - 1, 0]);
        assert_eq!(process.read(at + 8 * PAGE), 8);
        process.exit();
        machine.finish();
    }
}

#[test]
fn what_a_fork_shares_is_copied_to_become_two_mib() {
    let machine = machine();
    let parent = machine.process();
    // 2 MiB that are in pages in the child, and single pages.
    let at = map(&parent, 2);
    parent.write(at, 1);
    parent.advise(at + HUGE, PAGES, Advice::NoHugePage);
    parent.write(at + HUGE, 2);
    parent.advise(at + HUGE, PAGES, Advice::HugePage);
    let child = parent.fork();
    child.write(at + PAGE, 3);
    assert!(!is_huge(&child, at));
    assert_eq!(collapse(&child, at, 2 * PAGES), Ok(()));
    assert!(is_huge(&child, at) && is_huge(&child, at + HUGE));
    assert!(!is_huge(&parent, at + HUGE));
    child.write(at, 4);
    child.write(at + HUGE, 5);
    assert_eq!((parent.read(at), parent.read(at + HUGE)), (1, 2));
    assert_eq!(child.read(at + PAGE), 3);
    assert_eq!(child.rss(), [0, 2 * PAGES, 0]);
    parent.check();
    child.check();
    child.exit();
    parent.write(at, 6);
    assert!(is_huge(&parent, at));
    parent.exit();
    machine.finish();
}

#[test]
fn what_can_not_become_two_mib_says_so() {
    let machine = machine();
    machine.spaces().set_thp(ThpMode::Never);
    let process = machine.process();
    let at = map(&process, 2);
    // Nobody has written to it, so it has no region.
    assert_eq!(collapse(&process, at, PAGES), Err(Error::BadAdvice));
    process.write(at, 1);
    // No 2 MiB lie in the range.
    assert_eq!(collapse(&process, at + PAGE, PAGES), Ok(()));
    assert!(!is_huge(&process, at));
    process.advise(at + 9 * PAGE, 1, Advice::GuardInstall);
    assert_eq!(collapse(&process, at, PAGES), Err(Error::BadAdvice));
    assert_eq!(process.read(at), 1);
    process.advise(at + 9 * PAGE, 1, Advice::GuardRemove);
    process.advise(at, 2 * PAGES, Advice::NoHugePage);
    assert_eq!(collapse(&process, at, PAGES), Err(Error::BadAdvice));
    process.advise(at, 2 * PAGES, Advice::HugePage);
    // None of them may be written to, so neither may the 2 MiB.
    process.protect(at, 2 * PAGES, PROT_READ);
    assert_eq!(collapse(&process, at, PAGES), Ok(()));
    assert!(is_huge(&process, at) && process.try_write(at, 2).is_err());
    assert_eq!(process.read(at), 1);
    // Less than 2 MiB, shared memory, a file, a hole.
    let small = process.anon(8);
    process.write(small, 1);
    let shared = process.map_at(at + 4 * HUGE, PAGES, RW, MAP_SHARED | MAP_FIXED);
    process.write(shared, 1);
    let file = process.map_file(4, RW, 0, 4 * PAGE);
    process.write(file, 1);
    for (at, pages) in [(small, 8), (shared, PAGES), (file, 4)] {
        assert_eq!(collapse(&process, at, pages), Err(Error::BadAdvice));
    }
    assert_eq!(
        collapse(&process, at + 8 * HUGE, PAGES),
        Err(Error::NotMapped)
    );
    assert_eq!(
        collapse(&process, at + PAGE, 4 * PAGES),
        Err(Error::BadAdvice)
    );
    process.check();
    process.exit();
    machine.finish();
}

#[test]
fn locked_memory_stays_locked_as_two_mib() {
    let machine = machine();
    machine.spaces().set_thp(ThpMode::Never);
    let process = machine.process();
    let at = map(&process, 1);
    let (space, host) = (&process.space, &process.host);
    space.mlock(host, VirtAddr(at), HUGE, 0).unwrap();
    assert_eq!(machine.pages(UserStat::Locked), PAGES);
    assert_eq!(collapse(&process, at, PAGES), Ok(()));
    assert!(is_huge(&process, at));
    assert_eq!(machine.pages(UserStat::Locked), PAGES);
    space.munlock(host, VirtAddr(at), HUGE).unwrap();
    assert_eq!(machine.pages(UserStat::Locked), 0);
    process.exit();
    machine.finish();
}

#[test]
fn without_a_block_pages_stay_pages() {
    let machine = machine();
    machine.spaces().set_thp(ThpMode::Never);
    let process = machine.process();
    let at = map(&process, 1);
    process.write(at, 1);
    let held = machine.hold_all_but(64);
    assert_eq!(collapse(&process, at, PAGES), Err(Error::NoMemory));
    drop(held);
    assert_eq!(process.read(at), 1);
    assert_eq!(collapse(&process, at, PAGES), Ok(()));
    assert_eq!(process.read(at), 1);
    process.exit();
    machine.finish();
}
