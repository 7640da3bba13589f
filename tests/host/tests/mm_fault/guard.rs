// SPDX-License-Identifier: GPL-2.0

//! Guards: whoever touches one gets SIGSEGV, and what takes pages away leaves them.

use crate::world::*;
use shadowmm_core::error::Errno;
use shadowmm_core::mm::Advice;
use shadowmm_core::mm::FaultResult;
use shadowmm_core::mm::SegvCode;
use shadowmm_core::mm::ThpMode;
use shadowmm_core::mm::VirtAddr;
use shadowmm_core::mm::VmFlags;
use std::sync::atomic::Ordering::Relaxed;

const STOPPED: FaultResult = FaultResult::Segv(SegvCode::MapErr);
/// What a pagemap has: PM_SWAP, PM_GUARD_REGION, and of a marker its type and kind.
const IN_PAGEMAP: u64 = (1 << 62) | (1 << 58);

fn advise(process: &Process, at: u64, pages: u64, advice: Advice) -> Option<Errno> {
    let done = process
        .space
        .madvise(&process.host, VirtAddr(at), pages * PAGE, advice);
    done.err().map(|error| error.errno())
}

/// Which pages are guarded, by reading all of them.
fn guarded(process: &Process, at: u64, pages: u64) -> Vec<u64> {
    let is_guarded = |page: &u64| match process.try_read(at + page * PAGE) {
        Ok(_) => false,
        Err(stop) => {
            assert_eq!(stop, STOPPED);
            assert_eq!(process.try_write(at + page * PAGE, 1), Err(STOPPED));
            true
        }
    };
    (0..pages).filter(is_guarded).collect()
}

#[test]
fn pages_go_and_guards_come_and_go_again() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let at = process.anon(8);
    for page in 0..4 {
        process.write(at + page * PAGE, page + 1);
    }
    process.advise(at + 2 * PAGE, 4, Advice::GuardInstall);
    assert_eq!(process.rss(), [0, 2, 0]);
    process.check();
    assert_eq!(guarded(&process, at, 8), [2, 3, 4, 5]);
    // Once more, over what is there.
    process.advise(at + PAGE, 4, Advice::GuardInstall);
    assert_eq!(guarded(&process, at, 8), [1, 2, 3, 4, 5]);
    assert_eq!(process.rss(), [0, 1, 0]);
    let mut entries = [0; 3];
    process.space.pagemap(VirtAddr(at), &mut entries, false);
    assert_eq!(entries[1] & !(1 << 55), IN_PAGEMAP);
    process.space.pagemap(VirtAddr(at), &mut entries, true);
    assert_eq!(entries[1] & !(1 << 55), IN_PAGEMAP | (4 << 5) | 31);
    assert_ne!(entries[0] >> 63, 0);
    let mut there = [9; 3];
    let asked = process.space.mincore(VirtAddr(at), &mut there);
    assert_eq!(asked, Ok(3));
    assert_eq!(there, [1, 0, 0]);
    process.advise(at, 3, Advice::GuardRemove);
    assert_eq!(guarded(&process, at, 8), [3, 4, 5]);
    assert_eq!((process.read(at), process.read(at + PAGE)), (1, 0));
    process.write(at + PAGE, 5);
    machine.spaces().validate().unwrap();
    process.exit();
    machine.finish();
}

#[test]
fn what_takes_pages_away_leaves_guards_and_munmap_does_not() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let at = process.anon(8);
    process.advise(at + 2 * PAGE, 2, Advice::GuardInstall);
    for advice in [Advice::DontNeed, Advice::DontNeedLocked, Advice::Free] {
        process.write(at, 1);
        process.advise(at, 8, advice);
        assert_eq!(guarded(&process, at, 8), [2, 3]);
    }
    process.protect(at, 8, 0);
    process.protect(at, 8, RW);
    assert_eq!(guarded(&process, at, 8), [2, 3]);
    for advice in [Advice::PopulateRead, Advice::PopulateWrite] {
        assert_eq!(advise(&process, at, 8, advice), Some(Errno::EFAULT));
    }
    let locked = process
        .space
        .mlock(&process.host, VirtAddr(at), 8 * PAGE, 0);
    assert_eq!(locked.err().map(|error| error.errno()), Some(Errno::ENOMEM));
    // What is locked gets none, but may lose them.
    assert_eq!(
        advise(&process, at, 8, Advice::GuardInstall),
        Some(Errno::EINVAL)
    );
    process.advise(at + 2 * PAGE, 1, Advice::GuardRemove);
    assert_eq!(guarded(&process, at, 8), [3]);
    process.munmap(at, 8);
    assert_eq!(process.map_at(at, 8, RW, MAP_PRIVATE), at);
    assert_eq!(guarded(&process, at, 8), []);
    process.exit();
    machine.finish();
}

#[test]
fn they_go_along_with_mremap_and_fork() {
    let machine = Machine::two_nodes();
    let parent = machine.process();
    let at = parent.anon(8);
    parent.write(at, 7);
    parent.advise(at + 3 * PAGE, 2, Advice::GuardInstall);
    let to = parent.anon(20) + 4 * PAGE;
    // MREMAP_MAYMOVE | MREMAP_FIXED
    assert_eq!(parent.try_remap(at, 8, 8, 3, to), Ok(to));
    assert_eq!(guarded(&parent, to, 8), [3, 4]);
    let wiped = parent.anon(4);
    parent.advise(wiped, 4, Advice::WipeOnFork);
    parent.advise(wiped + PAGE, 1, Advice::GuardInstall);
    let child = parent.fork();
    assert_eq!(guarded(&child, to, 8), [3, 4]);
    assert_eq!(guarded(&child, wiped, 4), []);
    assert_eq!(guarded(&parent, wiped, 4), [1]);
    assert_eq!(child.read(to), 7);
    child.advise(to, 8, Advice::GuardRemove);
    assert_eq!(guarded(&child, to, 8), []);
    assert_eq!(guarded(&parent, to, 8), [3, 4]);
    machine.spaces().validate().unwrap();
    child.exit();
    parent.exit();
    machine.finish();
}

#[test]
fn shared_memory_and_files_have_them_and_forks_copy_their_tables() {
    let machine = Machine::two_nodes();
    let parent = machine.process();
    let shared = parent.map(6, RW, MAP_SHARED);
    let file = parent.map_file(6, RW, 0, 6 * PAGE);
    parent.write(shared, 3);
    parent.read(file);
    // Without guards a child finds them by itself.
    let child = parent.fork();
    assert_eq!(child.rss(), [0, 0, 0]);
    child.exit();
    for at in [shared, file] {
        parent.advise(at + 2 * PAGE, 2, Advice::GuardInstall);
        assert_eq!(guarded(&parent, at, 6), [2, 3]);
    }
    assert_eq!(parent.rss(), [4, 0, 4]);
    let child = parent.fork();
    assert_eq!(child.rss(), [4, 0, 4]);
    for at in [shared, file] {
        assert_eq!(guarded(&child, at, 6), [2, 3]);
    }
    child.write(shared, 4);
    assert_eq!(parent.read(shared), 4);
    // Memory that a guard hides is there all the same, for who has none.
    parent.write(shared + PAGE, 9);
    parent.advise(shared + PAGE, 1, Advice::GuardInstall);
    assert_eq!(child.read(shared + PAGE), 9);
    parent.advise(shared, 6, Advice::GuardRemove);
    assert_eq!(parent.read(shared + PAGE), 9);
    machine.spaces().validate().unwrap();
    child.exit();
    parent.exit();
    machine.finish();
}

#[test]
fn two_mib_are_split_for_a_guard_and_do_not_come_over_one() {
    let machine = Machine::two_nodes();
    machine.spaces().set_thp(ThpMode::Always);
    let process = machine.process();
    let pages = HUGE / PAGE;
    let at = process.anon(3 * pages).next_multiple_of(HUGE);
    process.write(at, 1);
    process.write(at + HUGE, 2);
    assert_eq!(process.rss(), [0, 2 * pages, 0]);
    // A part of one, and all of the other.
    process.advise(at + 5 * PAGE, 3, Advice::GuardInstall);
    process.advise(at + HUGE, pages, Advice::GuardInstall);
    assert_eq!(process.rss(), [0, pages - 3, 0]);
    assert_eq!(guarded(&process, at, pages), [5, 6, 7]);
    assert_eq!(process.try_write(at + HUGE + 9 * PAGE, 1), Err(STOPPED));
    process.advise(at + HUGE, 1, Advice::GuardRemove);
    process.write(at + HUGE, 3);
    assert_eq!(process.rss(), [0, pages - 2, 0]);
    machine.spaces().validate().unwrap();
    process.exit();
    machine.finish();
}

#[test]
fn a_vma_that_may_have_guards_says_so_and_merges_with_its_neighbours() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let flags = |at| process.space.look(VirtAddr(at), |vma| *vma).vma.unwrap();
    let at = process.map_at(WINDOW.start.0 + 64 * PAGE, 4, RW, MAP_PRIVATE);
    process.advise(at, 1, Advice::GuardInstall);
    assert!(flags(at).flags.has(VmFlags::MAYBE_GUARD));
    // The mark stays when they go, and the neighbour that it merges with has it.
    process.advise(at, 1, Advice::GuardRemove);
    process.map_at(at + 4 * PAGE, 4, RW, MAP_PRIVATE);
    let vma = flags(at + 4 * PAGE);
    assert_eq!((vma.range.start.0, vma.range.len()), (at, 8 * PAGE));
    assert!(vma.flags.has(VmFlags::MAYBE_GUARD));
    process.exit();
    machine.finish();
}

#[test]
fn without_memory_for_a_table_it_is_told() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let at = process.anon(4 * HUGE / PAGE);
    process.write(at, 1);
    let held = machine.hold_all_but(1);
    let told = advise(&process, at, 4 * HUGE / PAGE, Advice::GuardInstall);
    assert_eq!(told, Some(Errno::ENOMEM));
    drop(held);
    process.advise(at, 4 * HUGE / PAGE, Advice::GuardInstall);
    assert_eq!(process.rss(), [0, 0, 0]);
    machine.spaces().validate().unwrap();
    process.exit();
    machine.finish();
}

#[test]
fn who_may_have_no_more_pages_gets_no_more_tables() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let pages = HUGE / PAGE;
    let at = WINDOW.start.0;
    process.map_at(at, 100 * pages, PROT_READ, MAP_PRIVATE | MAP_FIXED);
    process.host.limit.store(10, Relaxed);
    let install = |at, pages| advise(&process, at, pages, Advice::GuardInstall);
    assert_eq!(install(at, 100 * pages), Some(Errno::EDQUOT));
    assert_eq!(process.space.cells().charged(), 10);
    // What is there stays, and where tables are more may come.
    assert_eq!(process.try_read(at + 7 * HUGE), Err(STOPPED));
    assert_eq!(process.try_read(at + 8 * HUGE), Err(FaultResult::Bus));
    assert_eq!(install(at, 8 * pages), None);
    process.host.limit.store(100, Relaxed);
    assert_eq!(install(at, 9 * pages), None);
    process.munmap(at, 100 * pages);
    assert_eq!(process.space.cells().charged(), 0);
    process.exit();
    machine.finish();
}
