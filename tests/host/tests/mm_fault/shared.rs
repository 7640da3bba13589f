// SPDX-License-Identifier: GPL-2.0

//! Shared memory, and files.

use crate::world::*;
use shadowmm_core::buddy::UserStat;
use shadowmm_core::error::Error;
use shadowmm_core::mm::Advice;
use shadowmm_core::mm::FaultResult;
use shadowmm_core::mm::MmKnob;
use shadowmm_core::mm::VirtAddr;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

#[test]
fn what_one_writes_the_other_reads() {
    let machine = Machine::two_nodes();
    let parent = machine.process();
    let at = parent.map(40, RW, MAP_SHARED);
    parent.write(at, 1);
    let child = parent.fork();
    assert_eq!(child.rss(), [0; 3]);
    child.write(at + PAGE, 2);
    let grandchild = child.fork();
    parent.write(at + 2 * PAGE, 3);
    for process in [&parent, &child, &grandchild] {
        let all = [0, 1, 2, 3].map(|page| process.read(at + page * PAGE));
        assert_eq!(all, [1, 2, 3, 0]);
        process.check();
        assert_eq!(process.rss()[..2], [0, 0]);
    }
    grandchild.write(at + 3 * PAGE, 4);
    assert_eq!(parent.read(at + 3 * PAGE), 4);
    // It stays, whoever has mapped it.
    parent.munmap(at, 40);
    assert_eq!(parent.rss(), [0; 3]);
    parent.exit();
    child.advise(at, 40, Advice::DontNeed);
    assert_eq!(child.rss(), [0; 3]);
    assert_eq!(child.read(at + 3 * PAGE), 4);
    child.exit();
    assert_eq!(grandchild.read(at + PAGE), 2);
    grandchild.exit();
    machine.finish();
}

#[test]
fn what_is_removed_is_zeroes_for_all() {
    let machine = Machine::two_nodes();
    let parent = machine.process();
    let at = parent.map(40, RW, MAP_SHARED);
    for page in 0..40 {
        parent.write(at + page * PAGE, page + 1);
    }
    let child = parent.fork();
    assert_eq!(child.read(at + 5 * PAGE), 6);
    let shmem = || machine.pages(UserStat::Shmem);
    let (before, charged) = (shmem(), parent.space.cells().charged());
    // The child has mapped what is around the fifth page: that is emptied, the others go.
    let there = (2..30u64)
        .filter(|page| {
            child
                .space
                .page_at(VirtAddr(at + page * PAGE))
                .pfn
                .is_some()
        })
        .count() as u64;
    assert_eq!(there, 14);
    parent.advise(at + 2 * PAGE, 28, Advice::Remove);
    assert_eq!(parent.rss(), [0, 0, 12]);
    assert_eq!(shmem(), before - (28 - there));
    assert_eq!(
        parent.space.cells().charged(),
        charged - (28 - there) as i64
    );
    for process in [&child, &parent] {
        for page in 0..40 {
            let expected = if (2..30).contains(&page) { 0 } else { page + 1 };
            assert_eq!(process.read(at + page * PAGE), expected, "{page}");
        }
        process.check();
    }
    // It is one memory still.
    child.write(at + 3 * PAGE, 7);
    child.write(at + 25 * PAGE, 8);
    assert_eq!(parent.read(at + 3 * PAGE), 7);
    assert_eq!(parent.read(at + 25 * PAGE), 8);
    child.exit();
    // Now nobody else has it.
    parent.advise(at, 40, Advice::Remove);
    assert_eq!((parent.rss(), shmem()), ([0; 3], before - 40));
    parent.exit();
    machine.finish();
}

#[test]
fn who_may_remove_is_asked_first() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let remove = |at| {
        let space = &process.space;
        space.madvise(&process.host, VirtAddr(at), PAGE, Advice::Remove)
    };
    let own = process.anon(1);
    let read_only = process.map(1, PROT_READ, MAP_SHARED);
    let locked = process.map(1, RW, MAP_SHARED);
    process
        .space
        .mlock(&process.host, VirtAddr(locked), PAGE, 0)
        .unwrap();
    assert_eq!(remove(own), Err(Error::BadAdvice));
    assert_eq!(remove(locked), Err(Error::BadAdvice));
    // It could be made writable, which is what is asked (`vma_is_shared_maywrite`).
    assert_eq!(remove(read_only), Ok(()));
    process.exit();
    machine.finish();
}

#[test]
fn reading_maps_neighbours_that_are_there() {
    let machine = Machine::two_nodes();
    let parent = machine.process();
    let at = parent.map_at(WINDOW.start.0 + HUGE, 64, RW, MAP_SHARED | MAP_FIXED);
    for page in (0..64).filter(|page| page % 2 == 0) {
        parent.write(at + page * PAGE, page);
    }
    let child = parent.fork();
    // Of 16 pages, those that the object has; the one that is asked for in any case.
    child.read(at + 21 * PAGE);
    assert_eq!(child.rss(), [0, 0, 9]);
    for page in 16..32 {
        let there = child.space.page_at(VirtAddr(at + page * PAGE)).pfn;
        assert_eq!(there.is_some(), page % 2 == 0 || page == 21, "{page}");
    }
    child.check();
    // Who writes maps the one alone.
    child.write(at, 5);
    assert_eq!(child.rss(), [0, 0, 10]);
    child.exit();
    parent.exit();
    machine.finish();
}

/// What a process, which has one page, is told of it: shared clean, shared dirty, private
/// clean, private dirty.
fn told(process: &Process) -> [u64; 4] {
    let usage = process.usage();
    let dirty = usage.shared_dirty + usage.private_dirty;
    assert_eq!(usage.pss_dirty, if dirty == 0 { 0 } else { usage.pss });
    [
        usage.shared_clean,
        usage.shared_dirty,
        usage.private_clean,
        usage.private_dirty,
    ]
}

#[test]
fn what_one_has_written_is_dirty_for_all() {
    let machine = Machine::two_nodes();
    let one = machine.process();
    let at = one.map(1, RW, MAP_SHARED);
    let other = one.fork();
    one.write(at, 1);
    assert_eq!(told(&one), [0, 0, 0, PAGE]);
    other.read(at);
    assert_eq!(told(&one), [0, PAGE, 0, 0]);
    assert_eq!(told(&other), [0, PAGE, 0, 0]);
    // It stays so, whoever has it mapped.
    one.advise(at, 1, Advice::DontNeed);
    assert_eq!(told(&other), [0, 0, 0, PAGE]);
    one.read(at);
    assert_eq!(told(&one), [0, PAGE, 0, 0]);
    one.advise(at, 1, Advice::DontNeed);
    other.advise(at, 1, Advice::DontNeed);
    one.read(at);
    assert_eq!(told(&one), [0, 0, 0, PAGE]);
    one.exit();
    other.exit();
    machine.finish();
}

/// What a process is charged with beside its tables.
fn charged(process: &Process) -> i64 {
    process.space.cells().charged() - (process.tables() / PAGE) as i64
}

#[test]
fn who_has_a_page_made_is_charged_with_it_until_the_object_ends() {
    let machine = Machine::two_nodes();
    let parent = machine.process();
    let at = parent.map_at(WINDOW.start.0 + HUGE, 64, RW, MAP_SHARED | MAP_FIXED);
    assert_eq!(charged(&parent), 0);
    (0..10).for_each(|page| parent.write(at + page * PAGE, page));
    // With the object's four tables.
    assert_eq!(charged(&parent), 14);
    // To look at pages, or to give up one's own entries, changes nothing.
    parent.advise(at, 64, Advice::DontNeed);
    assert_eq!((parent.rss(), charged(&parent)), ([0; 3], 14));
    parent.read(at);
    assert_eq!(charged(&parent), 14);
    let child = parent.fork();
    child.read(at + PAGE);
    assert_eq!(charged(&child), 0);
    child.read(at + 20 * PAGE);
    child.write(at + 21 * PAGE, 1);
    assert_eq!((charged(&parent), charged(&child)), (14, 2));
    // The object stays: so does what was counted.
    parent.munmap(at, 64);
    assert_eq!(charged(&parent), 14);
    let own = child.map_at(at + 2 * HUGE, 8, RW, MAP_SHARED | MAP_FIXED);
    child.write(own, 1);
    assert_eq!(charged(&child), 7);
    child.munmap(own, 8);
    assert_eq!(charged(&child), 2);
    // It ends with the child, which is not who has made the most of it.
    let left = parent.space.end(&parent.host);
    assert_eq!(left, 14);
    assert_eq!(child.space.end(&child.host), -left);
    machine.finish();
}

#[test]
fn a_write_behind_a_read_is_told_to_others_once_the_entry_goes() {
    for goes_by in 0..3 {
        let machine = Machine::two_nodes();
        let one = machine.process();
        let at = one.map(1, RW, MAP_SHARED);
        let other = one.fork();
        one.read(at);
        other.read(at);
        assert_eq!(told(&one), [PAGE, 0, 0, 0]);
        one.write(at, 1);
        // The CPU has told the entry alone.
        assert_eq!(told(&one), [0, PAGE, 0, 0]);
        assert_eq!(told(&other), [PAGE, 0, 0, 0]);
        match goes_by {
            0 => one.advise(at, 1, Advice::DontNeed),
            1 => one.munmap(at, 1),
            _ => one.fork().exit(),
        }
        if goes_by == 2 {
            // A child has none of the entries.
            assert_eq!(told(&other), [PAGE, 0, 0, 0]);
        }
        one.exit();
        assert_eq!(told(&other), [0, 0, 0, PAGE]);
        other.exit();
        machine.finish();
    }
}

#[test]
fn a_page_that_is_new_is_clean_whatever_its_frame_was() {
    let machine = Machine::two_nodes();
    let one = machine.process();
    for _ in 0..64 {
        let at = one.map(1, RW, MAP_SHARED);
        one.read(at);
        assert_eq!(told(&one), [0, 0, PAGE, 0]);
        one.advise(at, 1, Advice::DontNeed);
        one.write(at, 1);
        assert_eq!(told(&one), [0, 0, 0, PAGE]);
        one.munmap(at, 1);
    }
    one.exit();
    machine.finish();
}

#[test]
fn private_pages_and_tables_are_charged() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let at = process.map_at(WINDOW.start.0, 4 * HUGE / PAGE, RW, MAP_PRIVATE | MAP_FIXED);
    process.write(at, 1);
    assert_eq!(process.space.cells().charged(), 1 + 3);
    // Nothing but a table.
    process.read(at + HUGE);
    assert_eq!(process.space.cells().charged(), 1 + 4);
    let child = process.fork();
    assert_eq!(child.space.cells().charged(), 1 + 4);
    child.exit();
    process.munmap(at, 4 * HUGE / PAGE);
    assert_eq!(process.space.cells().charged(), 0);
    assert_eq!(process.space.end(&process.host), 0);
    machine.finish();
}

#[test]
fn an_owner_waits_for_who_looks() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let at = process.map(4, RW, MAP_SHARED);
    process.write(at, 1);
    let found = machine.spaces().find(process.space.cells().id()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            run_on(1);
            std::thread::sleep(std::time::Duration::from_millis(20));
            done.store(true, Relaxed);
            found.put(&process.host);
        });
        assert_eq!(process.space.end(&process.host), 0);
        assert!(done.load(Relaxed));
    });
    machine.finish();
}

#[test]
fn what_is_not_promised_at_first_is_page_by_page() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let spaces = machine.spaces();
    let at = process.map(64, RW, MAP_SHARED | MAP_NORESERVE);
    assert_eq!(spaces.committed().0, 0);
    for page in 0..8 {
        process.write(at + page * PAGE, 1);
    }
    assert_eq!(spaces.committed().0, 8);
    // Another's entries for the same pages are no more.
    let child = process.fork();
    assert_eq!(child.read(at), 1);
    child.write(at + 8 * PAGE, 1);
    assert_eq!(spaces.committed().0, 9);
    // In mode 2 there is an end.
    spaces.set_knob(MmKnob::OvercommitMemory, 2).unwrap();
    spaces.set_knob(MmKnob::OvercommitKbytes, 4 * 11).unwrap();
    for knob in [MmKnob::AdminReserveKbytes, MmKnob::UserReserveKbytes] {
        spaces.set_knob(knob, 0).unwrap();
    }
    let write = |page| process.try_write(at + page * PAGE, 1);
    assert_eq!(write(9), Ok(()));
    assert_eq!(write(10), Err(FaultResult::Bus));
    assert_eq!(write(3), Ok(()));
    assert_eq!(spaces.committed().0, 10);
    child.exit();
    process.munmap(at, 64);
    assert_eq!(spaces.committed().0, 0);
    process.exit();
    machine.finish();
}

#[test]
fn an_object_does_not_grow() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let at = process.map(4, RW, MAP_SHARED);
    process.write(at + 3 * PAGE, 1);
    let at = process.try_remap(at, 4, 6, MREMAP_MAYMOVE, 0).unwrap();
    assert_eq!(process.read(at + 3 * PAGE), 1);
    assert_eq!(process.try_read(at + 4 * PAGE), Err(FaultResult::Bus));
    assert_eq!(process.try_write(at + 5 * PAGE, 1), Err(FaultResult::Bus));
    process.exit();
    machine.finish();
}

#[test]
fn a_read_behind_the_end_has_what_is_around_it_mapped() {
    let machine = Machine::two_nodes();
    let parent = machine.process();
    let at = parent.map(4, RW, MAP_SHARED);
    (0..4).for_each(|page| parent.write(at + page * PAGE, page));
    let child = parent.fork();
    let to = (at & !(16 * PAGE - 1)) - 32 * PAGE;
    let flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    let at = child.try_remap(at, 4, 16, flags, to).unwrap();
    assert_eq!(child.rss(), [0, 0, 0]);
    assert_eq!(child.try_write(at + 4 * PAGE, 1), Err(FaultResult::Bus));
    assert_eq!(child.rss(), [0, 0, 0]);
    assert_eq!(child.try_read(at + 4 * PAGE), Err(FaultResult::Bus));
    assert_eq!(child.rss(), [0, 0, 4]);
    child.exit();
    parent.exit();
    machine.finish();
}

#[test]
fn protection_of_shared_memory() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let at = process.map(4, RW, MAP_SHARED);
    process.write(at, 1);
    process.protect(at, 4, PROT_READ);
    assert!(process.try_write(at, 2).is_err());
    process.protect(at, 4, RW);
    let child = process.fork();
    child.write(at, 3);
    assert_eq!(process.read(at), 3);
    child.exit();
    process.exit();
    machine.finish();
}

#[test]
fn a_file_is_read_and_written_to_in_private() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let at = process.map_file(8, RW, 10, 16 * PAGE - 100);
    assert_eq!(process.read(at), 11);
    assert_eq!(process.read(at + 5 * PAGE), 16);
    assert_eq!(process.try_read(at + 6 * PAGE), Err(FaultResult::Bus));
    let files = process.rss()[0];
    assert_eq!(process.rss(), [files, 0, 0]);
    assert_eq!(files, 2);
    process.write(at, 100);
    assert_eq!(process.rss(), [1, 1, 0]);
    process.write(at + PAGE, 200);
    assert_eq!(process.rss(), [1, 2, 0]);
    assert_eq!(process.read(at + PAGE + 8), 12);
    let child = process.fork();
    assert_eq!(child.rss(), [1, 2, 0]);
    child
        .host
        .file_size
        .store(1 << 30, std::sync::atomic::Ordering::Relaxed);
    assert_eq!((child.read(at), child.read(at + 2 * PAGE)), (100, 13));
    child.write(at, 300);
    assert_eq!(process.read(at), 100);
    process.advise(at, 8, Advice::DontNeed);
    assert_eq!(process.rss(), [0; 3]);
    assert_eq!(process.read(at), 11);
    child.exit();
    process.exit();
    machine.finish();
}
