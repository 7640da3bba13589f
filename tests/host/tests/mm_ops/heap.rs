// SPDX-License-Identifier: GPL-2.0

//! `brk`: the heap grows, shrinks, and stays where it is when it may not.

use super::world::*;
use shadowmm_core::mm::Rlimit;
use shadowmm_core::mm::VirtAddr;

#[test]
fn it_grows_and_shrinks_by_pages() {
    let world = World::new();
    let brk = |addr: u64| world.space.brk(&world.host, VirtAddr(addr)).0;
    assert_eq!(brk(0), BASE);
    assert_eq!(brk(BASE + 100), BASE + 100);
    assert_eq!(world.maps(), "0+1 rw-p\n");
    assert_eq!(brk(BASE + 3 * PAGE), BASE + 3 * PAGE);
    assert_eq!(world.maps(), "0+3 rw-p\n");
    assert_eq!(brk(BASE + PAGE + 1), BASE + PAGE + 1);
    world.check();
    assert_eq!(world.maps(), "0+2 rw-p\n");
    assert_eq!(world.mm.spaces().committed().0, 2);
    assert_eq!(brk(BASE - 1), BASE + PAGE + 1);
    assert_eq!(brk(BASE + SIZE), BASE + PAGE + 1);
    assert_eq!(brk(u64::MAX), BASE + PAGE + 1);
    world.finish();
}

#[test]
fn it_keeps_a_page_from_what_is_behind_it() {
    let world = World::new();
    let brk = |addr: u64| world.space.brk(&world.host, VirtAddr(addr)).0;
    world.map(4, 1, READ);
    assert_eq!(brk(BASE + 3 * PAGE), BASE + 3 * PAGE);
    assert_eq!(brk(BASE + 4 * PAGE), BASE + 3 * PAGE);
    // It does not join what is alike behind it.
    world.map(4, 1, READ | WRITE);
    world.map(3, 1, READ | WRITE);
    assert_eq!(world.maps(), "0+5 rw-p\n");
    world.finish();
}

#[test]
fn its_limit_is_that_of_data() {
    let world = World::new();
    let brk = |addr: u64| world.space.brk(&world.host, VirtAddr(addr)).0;
    world.space.set_rlimit(Rlimit::Data, 2 * PAGE, 2 * PAGE);
    assert_eq!(brk(BASE + 2 * PAGE), BASE + 2 * PAGE);
    assert_eq!(brk(BASE + 2 * PAGE + 1), BASE + 2 * PAGE);
    world.finish();
}

#[test]
fn a_locked_one_is_there() {
    let world = World::new();
    world.space.mlockall(&world.host, 2).unwrap();
    world.space.brk(&world.host, VirtAddr(BASE + 2 * PAGE));
    world.check();
    assert_eq!(world.count(|counts| counts.rss[1]), 2);
    assert_eq!(world.count(|counts| counts.locked_vm), 2);
    world.finish();
}
