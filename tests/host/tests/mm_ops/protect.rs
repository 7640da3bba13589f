// SPDX-License-Identifier: GPL-2.0

//! `mprotect`: parts get other permissions, and join who has them already.

use super::world::*;
use shadowmm_core::error::Errno;
use shadowmm_core::mm::VirtAddr;

#[test]
fn a_part_is_split_off_and_joined_again() {
    let world = World::new();
    world.map(0, 9, READ | WRITE);
    world.protect(3, 3, READ).unwrap();
    assert_eq!(world.maps(), "0+3 rw-p\n3+3 r--p\n6+3 rw-p\n");
    // The boundary between two moves: first one way, then the other.
    world.protect(5, 1, READ | WRITE).unwrap();
    assert_eq!(world.maps(), "0+3 rw-p\n3+2 r--p\n5+4 rw-p\n");
    world.protect(2, 1, READ).unwrap();
    assert_eq!(world.maps(), "0+2 rw-p\n2+3 r--p\n5+4 rw-p\n");
    world.protect(2, 3, READ | WRITE).unwrap();
    assert_eq!(world.maps(), "0+9 rw-p\n");
    world.finish();
}

#[test]
fn what_is_before_a_hole_is_changed() {
    let world = World::new();
    world.map(0, 2, READ);
    world.map(4, 2, READ);
    let done = world.protect(1, 4, READ | WRITE);
    assert_eq!(errno(done), Some(Errno::ENOMEM));
    assert_eq!(world.maps(), "0+1 r--p\n1+1 rw-p\n4+2 r--p\n");
    // A range that begins with a hole is refused as it is.
    let done = world.protect(2, 4, READ | WRITE);
    assert_eq!(errno(done), Some(Errno::ENOMEM));
    assert_eq!(world.maps(), "0+1 r--p\n1+1 rw-p\n4+2 r--p\n");
    world.finish();
}

#[test]
fn what_may_not_be_is_refused_where_it_is_met() {
    let world = World::new();
    let protect = |page, len, prot| {
        let addr = at(page);
        errno(world.space.mprotect(&world.host, addr, len, prot))
    };
    world.map(0, 1, READ);
    assert_eq!(protect(0, PAGE, 0x100), Some(Errno::EINVAL));
    assert_eq!(protect(0, PAGE, 0x300_0000), Some(Errno::EINVAL));
    // Nothing there grows.
    assert_eq!(protect(0, PAGE, 0x100_0000 | READ), Some(Errno::EINVAL));
    assert_eq!(protect(0, 0, READ), None);
    assert_eq!(protect(0, u64::MAX - PAGE, READ), Some(Errno::ENOMEM));
    let odd = VirtAddr(BASE + 1);
    let odd = world.space.mprotect(&world.host, odd, PAGE, READ);
    assert_eq!(errno(odd), Some(Errno::EINVAL));
    world.finish();
}

#[test]
fn a_growing_one_is_changed_from_its_start() {
    let world = World::new();
    let stack = PRIVATE | FIXED | GROWSDOWN;
    world.request(1000, 10, READ | WRITE, stack).unwrap();
    world.protect(1005, 1, READ | 0x100_0000).unwrap();
    assert_eq!(world.maps(), "1000+6 r--p\n1006+4 rw-p\n");
    world.finish();
}

#[test]
fn what_is_promised_follows_what_may_be_written() {
    let world = World::new();
    let promised = || world.mm.spaces().committed().0;
    world.map(0, 4, READ);
    assert_eq!(promised(), 0);
    world.protect(0, 2, READ | WRITE).unwrap();
    assert_eq!(promised(), 2);
    // Nothing was written there yet.
    world.protect(0, 1, READ).unwrap();
    assert_eq!(promised(), 1);
    assert_eq!(world.maps(), "0+1 r--p\n1+1 rw-p\n2+2 r--p\n");
    world.touch(1, 1);
    // Now it was: the promise stays, and so does the VMA.
    world.protect(1, 1, READ).unwrap();
    assert_eq!(promised(), 1);
    assert_eq!(world.maps(), "0+1 r--p\n1+1 r--p\n2+2 r--p\n");
    world.finish();
}

#[test]
fn written_neighbours_keep_one_region_over_permissions() {
    let world = World::new();
    world.map(0, 4, READ | WRITE);
    world.touch(0, 1);
    world.protect(2, 2, READ).unwrap();
    world.protect(2, 2, READ | WRITE).unwrap();
    assert_eq!(world.maps(), "0+4 rw-p\n");
    world.finish();
}
