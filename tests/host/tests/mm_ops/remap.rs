// SPDX-License-Identifier: GPL-2.0

//! `mremap`: ranges get longer, shorter and other places, with what is in them.

use super::world::*;
use shadowmm_core::error::Errno;
use shadowmm_core::mm::MmKnob;
use shadowmm_core::mm::MremapRequest;
use shadowmm_core::mm::VirtAddr;

const MAYMOVE: u32 = 1;
const TO: u32 = 3;
const DONTUNMAP: u32 = 5;

#[test]
fn it_grows_where_it_is_if_nothing_is_behind_it() {
    let world = World::new();
    world.map(0, 2, READ | WRITE);
    assert_eq!(world.remap((0, 2), (0, 4), 0), Ok(0));
    assert_eq!(world.maps(), "0+4 rw-p\n");
    world.map(6, 2, READ | WRITE);
    // It fills the hole, and the three are one.
    assert_eq!(world.remap((0, 4), (0, 6), 0), Ok(0));
    assert_eq!(world.maps(), "0+8 rw-p\n");
    world.map(8, 1, READ);
    assert_eq!(errno(world.remap((0, 8), (0, 9), 0)), Some(Errno::ENOMEM));
    // Not all of it: it can't grow inside.
    assert_eq!(errno(world.remap((0, 4), (0, 5), 0)), Some(Errno::ENOMEM));
    assert_eq!(world.remap((0, 8), (0, 3), 0), Ok(0));
    assert_eq!(world.maps(), "0+3 rw-p\n8+1 r--p\n");
    world.finish();
}

#[test]
fn it_moves_with_its_pages() {
    let world = World::new();
    world.map(0, 4, READ | WRITE);
    world.touch(0, 4);
    let pfn = |page| world.space.page_at(at(page)).pfn;
    let before: Vec<_> = (0..4).map(pfn).collect();
    assert_eq!(world.remap((0, 4), (100, 4), TO), Ok(100));
    assert_eq!(world.maps(), "100+4 rw-p\n");
    let after: Vec<_> = (100..104).map(pfn).collect();
    assert_eq!(before, after);
    assert_eq!(world.count(|counts| counts.rss[1]), 4);
    // Shorter on the way.
    assert_eq!(world.remap((100, 4), (200, 2), TO), Ok(200));
    assert_eq!(world.maps(), "200+2 rw-p\n");
    assert_eq!(world.count(|counts| counts.rss[1]), 2);
    world.finish();
}

#[test]
fn a_part_moves_and_what_stays_keeps_its_promise() {
    let world = World::new();
    world.map(0, 9, READ | WRITE);
    world.touch(0, 9);
    assert_eq!(world.remap((3, 3), (50, 3), TO), Ok(50));
    assert_eq!(world.maps(), "0+3 rw-p\n6+3 rw-p\n50+3 rw-p\n");
    assert_eq!(world.mm.spaces().committed().0, 9);
    // Back to where it belongs, they are one again.
    assert_eq!(world.remap((50, 3), (3, 3), TO), Ok(3));
    assert_eq!(world.maps(), "0+9 rw-p\n");
    assert_eq!(world.mm.spaces().committed().0, 9);
    world.finish();
}

#[test]
fn what_was_written_elsewhere_is_not_merged() {
    let world = World::new();
    world.map(0, 2, READ | WRITE);
    world.touch(0, 2);
    world.map(10, 2, READ | WRITE);
    assert_eq!(world.remap((0, 2), (12, 2), TO), Ok(12));
    // Its pages have the numbers of where they were made.
    assert_eq!(world.maps(), "10+2 rw-p\n12+2 rw-p\n");
    world.map(20, 2, READ | WRITE);
    world.map(30, 2, READ | WRITE);
    // What nobody wrote to begins anew.
    assert_eq!(world.remap((20, 2), (32, 2), TO), Ok(32));
    assert_eq!(world.maps(), "10+2 rw-p\n12+2 rw-p\n30+4 rw-p\n");
    world.finish();
}

#[test]
fn with_dontunmap_it_stays_and_is_empty() {
    let world = World::new();
    world.map(0, 4, READ | WRITE);
    world.touch(0, 4);
    assert_eq!(world.remap((0, 4), (100, 4), DONTUNMAP | TO), Ok(100));
    assert_eq!(world.maps(), "0+4 rw-p\n100+4 rw-p\n");
    assert_eq!(world.count(|counts| counts.rss[1]), 4);
    assert!(world.space.page_at(at(0)).pfn.is_none());
    assert_eq!(world.mm.spaces().committed().0, 8);
    // Nobody has written there: it may join another.
    world.map(4, 2, READ | WRITE);
    assert_eq!(world.maps(), "0+6 rw-p\n100+4 rw-p\n");
    world.finish();
}

#[test]
fn with_dontunmap_the_place_is_a_hint() {
    let world = World::new();
    world.map(0, 4, READ | WRITE);
    world.touch(0, 4);
    let mut request = MremapRequest {
        addr: at(0),
        old_len: 4 * PAGE,
        new_len: 4 * PAGE,
        flags: DONTUNMAP,
        new_addr: VirtAddr(0),
    };
    let remap = |request: &MremapRequest| world.space.mremap(&world.host, request);
    // Without one, and with one that is below the window.
    for hint in [0, PAGE] {
        request.new_addr = VirtAddr(hint);
        let moved = remap(&request).unwrap();
        assert_ne!(moved, at(0));
        assert!(world.space.page_at(moved).pfn.is_some());
        request.addr = moved;
    }
    request.flags |= TO;
    assert_eq!(errno(remap(&request)), Some(Errno::EINVAL));
    world.finish();
}

#[test]
fn many_move_with_the_holes_between_them() {
    let world = World::new();
    world.map(0, 2, READ | WRITE);
    world.map(2, 2, READ);
    world.map(6, 2, READ | EXEC);
    assert_eq!(world.remap((1, 8), (100, 8), TO), Ok(100));
    assert_eq!(
        world.maps(),
        "0+1 rw-p\n100+1 rw-p\n101+2 r--p\n105+2 r-xp\n"
    );
    // They may not begin with a hole, nor change their length.
    let done = world.remap((99, 8), (200, 8), TO);
    assert_eq!(errno(done), Some(Errno::EFAULT));
    let done = world.remap((100, 3), (200, 4), TO);
    assert_eq!(errno(done), Some(Errno::EFAULT));
    world.finish();
}

#[test]
fn of_no_length_shared_memory_is_mapped_twice() {
    let world = World::new();
    world.request(0, 2, READ | WRITE, SHARED | FIXED).unwrap();
    world.touch(0, 2);
    assert_eq!(world.remap((0, 0), (100, 2), TO), Ok(100));
    assert_eq!(world.maps(), "0+2 rw-s\n100+2 rw-s\n");
    world.touch(100, 2);
    let pfn = |page| world.space.page_at(at(page)).pfn;
    assert_eq!(pfn(0), pfn(100));
    world.map(10, 2, READ | WRITE);
    let done = world.remap((10, 0), (200, 2), TO);
    assert_eq!(errno(done), Some(Errno::EINVAL));
    world.finish();
}

#[test]
fn errors_come_in_linux_order() {
    let world = World::new();
    world.map(0, 4, READ | WRITE);
    let remap = |from, to, flags| errno(world.remap(from, to, flags));
    assert_eq!(remap((0, 4), (0, 4), 8), Some(Errno::EINVAL));
    assert_eq!(remap((0, 4), (0, 0), 0), Some(Errno::EINVAL));
    // FIXED without MAYMOVE, and onto itself.
    assert_eq!(remap((0, 4), (100, 4), 2), Some(Errno::EINVAL));
    assert_eq!(remap((0, 4), (2, 4), TO), Some(Errno::EINVAL));
    assert_eq!(remap((0, 4), (100, 3), DONTUNMAP | TO), Some(Errno::EINVAL));
    assert_eq!(remap((50, 4), (0, 8), MAYMOVE), Some(Errno::EFAULT));
    assert_eq!(remap((2, 4), (0, 8), MAYMOVE), Some(Errno::EFAULT));
    // What is cut off need not be there.
    assert_eq!(remap((2, 40), (0, 1), 0), None);
    assert_eq!(world.maps(), "0+3 rw-p\n");
    world.mm.spaces().set_knob(MmKnob::MaxMapCount, 4).unwrap();
    assert_eq!(remap((0, 3), (0, 3), 0), Some(Errno::ENOMEM));
    world.finish();
}

#[test]
fn it_looks_for_a_place_when_it_can_not_grow() {
    let world = World::new();
    world.map(0, 2, READ | WRITE);
    world.touch(0, 2);
    world.map(2, 1, READ);
    let page = world.remap((0, 2), (0, 4), MAYMOVE).unwrap();
    assert!(page > 2);
    assert_eq!(world.maps(), format!("2+1 r--p\n{page}+4 rw-p\n"));
    assert_eq!(world.count(|counts| counts.rss[1]), 2);
    assert_eq!(world.mm.spaces().committed().0, 4);
    world.finish();
}
