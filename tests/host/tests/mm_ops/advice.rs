// SPDX-License-Identifier: GPL-2.0

//! `madvise`: VMA by VMA, over holes.

use super::world::*;
use shadowmm_core::error::Errno;
use shadowmm_core::mm::Advice;

#[test]
fn flags_split_and_merge() {
    let world = World::new();
    world.map(0, 6, READ | WRITE);
    world.advise(2, 2, Advice::DontFork).unwrap();
    assert_eq!(world.maps(), "0+2 rw-p\n2+2 rw-p\n4+2 rw-p\n");
    world.advise(2, 2, Advice::DoFork).unwrap();
    assert_eq!(world.maps(), "0+6 rw-p\n");
    world.advise(3, 3, Advice::NoHugePage).unwrap();
    world.advise(0, 3, Advice::NoHugePage).unwrap();
    assert_eq!(world.maps(), "0+6 rw-p\n");
    world.finish();
}

#[test]
fn a_hole_is_told_and_the_rest_is_done() {
    let world = World::new();
    world.map(0, 2, READ | WRITE);
    world.map(4, 2, READ | WRITE);
    world.touch(0, 2);
    world.touch(4, 2);
    let done = world.advise(1, 5, Advice::DontNeed);
    assert_eq!(errno(done), Some(Errno::ENOMEM));
    assert_eq!(world.count(|counts| counts.rss[1]), 1);
    let done = world.advise(0, 5, Advice::WipeOnFork);
    assert_eq!(errno(done), Some(Errno::ENOMEM));
    assert_eq!(world.maps(), "0+2 rw-p\n4+1 rw-p\n5+1 rw-p\n");
    world.finish();
}

#[test]
fn what_is_locked_is_needed() {
    let world = World::new();
    world.map(0, 4, READ | WRITE);
    world.space.mlock(&world.host, at(1), PAGE, 0).unwrap();
    let done = world.advise(0, 4, Advice::DontNeed);
    assert_eq!(errno(done), Some(Errno::EINVAL));
    world.advise(0, 4, Advice::DontNeedLocked).unwrap();
    assert_eq!(world.count(|counts| counts.rss[1]), 0);
    let done = world.advise(0, 4, Advice::Free);
    assert_eq!(errno(done), Some(Errno::EINVAL));
    let done = world.advise(1, 1, Advice::Cold);
    assert_eq!(errno(done), Some(Errno::EINVAL));
    world.finish();
}

#[test]
fn bad_advice() {
    let world = World::new();
    assert_eq!(errno(Advice::from_number(5)), Some(Errno::EINVAL));
    let advise = |addr: u64, len| {
        let addr = shadowmm_core::mm::VirtAddr(addr);
        errno(world.space.madvise(&world.host, addr, len, Advice::Normal))
    };
    assert_eq!(advise(BASE + 1, 0), Some(Errno::EINVAL));
    assert_eq!(advise(BASE, 0), None);
    assert_eq!(advise(BASE, u64::MAX), Some(Errno::EINVAL));
    assert_eq!(advise(BASE, PAGE), Some(Errno::ENOMEM));
    world.request(0, 2, READ, SHARED | FIXED).unwrap();
    let done = world.advise(0, 2, Advice::WipeOnFork);
    assert_eq!(errno(done), Some(Errno::EINVAL));
    let done = world.advise(0, 2, Advice::PopulateWrite);
    assert_eq!(errno(done), Some(Errno::EINVAL));
    world.advise(0, 2, Advice::PopulateRead).unwrap();
    assert_eq!(world.count(|counts| counts.rss[3]), 2);
    let done = world.advise(1, 2, Advice::PopulateRead);
    assert_eq!(errno(done), Some(Errno::ENOMEM));
    world.finish();
}
