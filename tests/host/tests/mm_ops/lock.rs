// SPDX-License-Identifier: GPL-2.0

//! `mlock` and its kin, `mincore` and `msync`.

use super::world::*;
use shadowmm_core::error::Errno;
use shadowmm_core::mm::mincore_pages;
use shadowmm_core::mm::Rlimit;
use shadowmm_core::mm::VirtAddr;
use shadowmm_core::mm::TASK_SIZE;

#[test]
fn locked_memory_is_there_and_counted() {
    let world = World::new();
    world.map(0, 6, READ | WRITE);
    world.space.mlock(&world.host, at(1), 2 * PAGE, 0).unwrap();
    world.check();
    assert_eq!(world.maps(), "0+1 rw-p\n1+2 rw-p\n3+3 rw-p\n");
    assert_eq!(world.count(|counts| counts.locked_vm), 2);
    assert_eq!(world.count(|counts| counts.rss[1]), 2);
    // On fault: nothing is there before somebody comes.
    world.space.mlock(&world.host, at(4), PAGE, 1).unwrap();
    assert_eq!(world.count(|counts| counts.rss[1]), 2);
    world.space.munlock(&world.host, at(0), 6 * PAGE).unwrap();
    world.check();
    assert_eq!(world.maps(), "0+6 rw-p\n");
    assert_eq!(world.count(|counts| counts.locked_vm), 0);
    world.finish();
}

#[test]
fn what_can_not_be_faulted_in_is_locked_and_told() {
    let world = World::new();
    world.map(0, 2, READ);
    world.map(2, 2, 0);
    let done = world.space.mlock(&world.host, at(0), 4 * PAGE, 0);
    assert_eq!(errno(done), Some(Errno::ENOMEM));
    assert_eq!(world.count(|counts| counts.locked_vm), 4);
    let done = world.space.mlock(&world.host, at(3), 4 * PAGE, 0);
    assert_eq!(errno(done), Some(Errno::ENOMEM));
    world.finish();
}

#[test]
fn the_limit_counts_what_is_locked_already_once() {
    let world = World::new();
    world.map(0, 8, READ | WRITE);
    world.space.set_rlimit(Rlimit::Memlock, 4 * PAGE, 4 * PAGE);
    let lock = |page, pages| errno(world.space.mlock(&world.host, at(page), pages * PAGE, 0));
    assert_eq!(lock(0, 5), Some(Errno::ENOMEM));
    assert_eq!(lock(0, 3), None);
    assert_eq!(lock(1, 3), None);
    assert_eq!(lock(3, 2), Some(Errno::ENOMEM));
    let more = world.request(20, 1, READ, PRIVATE | FIXED | LOCKED);
    assert_eq!(errno(more), Some(Errno::EAGAIN));
    assert_eq!(
        errno(world.space.mlockall(&world.host, 1)),
        Some(Errno::ENOMEM)
    );
    world.space.set_rlimit(Rlimit::Memlock, 0, 0);
    assert_eq!(lock(0, 1), Some(Errno::EPERM));
    let more = world.request(20, 1, READ, PRIVATE | FIXED | LOCKED);
    assert_eq!(errno(more), Some(Errno::EPERM));
    world.finish();
}

#[test]
fn all_that_is_and_all_that_will_be() {
    let world = World::new();
    world.map(0, 2, READ | WRITE);
    assert_eq!(
        errno(world.space.mlockall(&world.host, 4)),
        Some(Errno::EINVAL)
    );
    world.space.mlockall(&world.host, 3).unwrap();
    world.check();
    assert_eq!(world.count(|counts| counts.rss[1]), 2);
    world.map(2, 2, READ | WRITE);
    assert_eq!(world.maps(), "0+4 rw-p\n");
    assert_eq!(world.count(|counts| counts.rss[1]), 4);
    assert_eq!(world.count(|counts| counts.locked_vm), 4);
    world.space.munlockall(&world.host);
    world.map(4, 2, READ | WRITE);
    assert_eq!(world.maps(), "0+6 rw-p\n");
    assert_eq!(world.count(|counts| counts.locked_vm), 0);
    world.finish();
}

#[test]
fn what_is_in_memory_is_told() {
    let world = World::new();
    world.map(0, 4, READ | WRITE);
    world.touch(1, 2);
    let mut vec = [9; 6];
    let tell = |page, vec: &mut [u8]| world.space.mincore(at(page), vec);
    assert_eq!(tell(0, &mut vec[..3]), Ok(3));
    assert_eq!(vec, [0, 1, 1, 9, 9, 9]);
    // What is before a hole is told, and nothing where the hole begins.
    assert_eq!(tell(2, &mut vec), Ok(2));
    assert_eq!(vec, [1, 0, 1, 9, 9, 9]);
    assert_eq!(errno(tell(4, &mut vec)), Some(Errno::ENOMEM));
    assert_eq!(tell(4, &mut []), Ok(0));
    assert_eq!(vec, [1, 0, 1, 9, 9, 9]);
    world.request(8, 2, READ | WRITE, SHARED | FIXED).unwrap();
    world.touch(8, 1);
    world.remap((8, 0), (20, 2), 3).unwrap();
    // It is the object's page that counts.
    assert_eq!(tell(20, &mut vec[4..]), Ok(2));
    assert_eq!(vec[4..], [1, 0]);
    world.finish();
}

#[test]
fn a_range_is_seen_to_be_one_before_any_of_it_is_told() {
    let pages = |addr, len| mincore_pages(VirtAddr(addr), len).map_err(|error| error.errno());
    assert_eq!(pages(BASE, 0), Ok(0));
    assert_eq!(pages(BASE, 1), Ok(1));
    assert_eq!(pages(BASE, 4 * PAGE + 1), Ok(5));
    // Up to the last address, whatever is there; the alignment is looked at first.
    assert_eq!(pages(0, TASK_SIZE), Ok(TASK_SIZE / PAGE));
    assert_eq!(pages(BASE, TASK_SIZE - BASE + 1), Err(Errno::ENOMEM));
    assert_eq!(pages(TASK_SIZE, 0), Ok(0));
    assert_eq!(pages(TASK_SIZE, PAGE), Err(Errno::ENOMEM));
    assert_eq!(pages(BASE, u64::MAX), Err(Errno::ENOMEM));
    assert_eq!(pages(BASE + 1, u64::MAX), Err(Errno::EINVAL));
}

#[test]
fn nothing_is_written_back_but_looked_at() {
    let world = World::new();
    world.map(0, 2, READ | WRITE);
    let sync = |page, pages: u64, flags| errno(world.space.msync(at(page), pages * PAGE, flags));
    assert_eq!(sync(0, 2, 4), None);
    assert_eq!(sync(0, 2, 5), Some(Errno::EINVAL));
    assert_eq!(sync(0, 2, 8), Some(Errno::EINVAL));
    assert_eq!(sync(0, 3, 4), Some(Errno::ENOMEM));
    world.space.mlock(&world.host, at(0), PAGE, 0).unwrap();
    assert_eq!(sync(0, 2, 2), Some(Errno::EBUSY));
    world.finish();
}
