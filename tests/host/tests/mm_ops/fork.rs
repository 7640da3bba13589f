// SPDX-License-Identifier: GPL-2.0

//! `fork`: what a child has, and what it has not.

use super::world::*;
use shadowmm_core::mm::Advice;
use shadowmm_core::mm::VirtRange;

#[test]
fn a_child_has_what_may_be_copied() {
    let world = World::new();
    world.map(0, 2, READ | WRITE);
    world.map(2, 2, READ | WRITE);
    world.map(10, 2, READ | WRITE);
    world.map(20, 2, READ | WRITE);
    world.touch(0, 4);
    world.touch(10, 2);
    world.touch(20, 2);
    world.advise(10, 2, Advice::DontFork).unwrap();
    world.advise(20, 2, Advice::WipeOnFork).unwrap();
    world.space.mlock(&world.host, at(0), PAGE, 0).unwrap();
    let child = world
        .space
        .fork(&world.host, 7, *b"child\0\0\0\0\0\0\0\0\0\0\0")
        .unwrap();
    world.check();
    child.validate().unwrap();
    // What is locked in the parent is not in the child: but it is not merged, since
    // each has an anonymous region of its own there.
    assert_eq!(maps_of(&child), "0+1 rw-p\n1+3 rw-p\n20+2 rw-p\n");
    let counts = child.numbers();
    assert_eq!(
        (counts.total_vm, counts.locked_vm, counts.rss[1]),
        (6, 0, 4)
    );
    assert_eq!(world.mm.spaces().count(), 2);
    assert_eq!(child.cells().pid(), 7);

    // A copy is made when somebody writes.
    let host = Host::default();
    let pfn = |space: &Space, page| space.page_at(at(page)).pfn;
    assert_eq!(pfn(&world.space, 0), pfn(&child, 0));
    let lock = child.read();
    let range = VirtRange::new(at(0).0, at(2).0);
    assert_eq!(child.populate(&host, range, true), Ok(2));
    drop(lock);
    assert_ne!(pfn(&world.space, 0), pfn(&child, 0));
    assert_eq!(pfn(&world.space, 2), pfn(&child, 2));
    child.validate().unwrap();
    host.check(&child);
    child.put(&host);
    world.finish();
}

#[test]
fn what_a_fork_has_passed_on_is_merged_with_nothing_new() {
    let world = World::new();
    world.map(0, 2, READ | WRITE);
    world.touch(0, 2);
    let child = world.space.fork(&world.host, 8, [0; 16]).unwrap();
    let other = world.beside(child);
    other.map(2, 2, READ | WRITE);
    assert_eq!(other.maps(), "0+2 rw-p\n2+2 rw-p\n");
    // In the parent it is.
    world.map(2, 2, READ | WRITE);
    assert_eq!(world.maps(), "0+4 rw-p\n");
    other.space.put(&other.host);
    world.finish();
}

#[test]
fn shared_memory_is_shared_and_the_last_one_gives_it_back() {
    let world = World::new();
    world.request(0, 2, READ | WRITE, SHARED | FIXED).unwrap();
    world.touch(0, 1);
    let child = world.space.fork(&world.host, 9, [0; 16]).unwrap();
    let host = Host::default();
    let lock = child.read();
    let range = VirtRange::new(at(0).0, at(2).0);
    assert_eq!(child.populate(&host, range, true), Ok(2));
    drop(lock);
    world.unmap(0, 2).unwrap();
    assert_eq!(world.mm.spaces().committed().0, 2);
    child.validate().unwrap();
    child.put(&host);
    assert_eq!(world.mm.spaces().committed().0, 0);
    world.finish();
}

#[test]
fn they_are_found_by_their_numbers() {
    let world = World::new();
    let spaces = world.mm.spaces();
    let child = world.space.fork(&world.host, 9, [0; 16]).unwrap();
    let (first, second) = (world.space.cells().id(), child.cells().id());
    let found = spaces.find(second).unwrap();
    assert_eq!(found.addr(), child.addr());
    found.put(&world.host);
    let mut ids = Vec::new();
    let mut at = 0;
    while let Some(space) = spaces.next(at) {
        at = space.cells().id();
        ids.push(at);
        space.put(&world.host);
    }
    assert_eq!(ids, [first, second]);
    child.put(&Host::default());
    assert!(spaces.find(second).is_err());
    world.finish();
}
