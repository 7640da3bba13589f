// SPDX-License-Identifier: GPL-2.0

//! `alloc_traces` and `free_traces`.

use crate::world::*;
use shadowmm_core::slab::debug::*;
use shadowmm_core::slab::SlabFlags;
use std::sync::atomic::Ordering::Relaxed;

const JIFFY: u64 = 4_000_000;

fn traces(world: &World, slab: &Slab<'_>, item: TrackItem, places: usize) -> (String, u64) {
    let mut table = vec![Location::NONE; places];
    let mut locations = Locations::new(&mut table);
    let cache = world.cache();
    cache.gather(slab, item, &mut locations);
    let mut text = String::new();
    cache.write_traces(&mut text, &mut locations, 2).unwrap();
    (text, locations.left_out())
}

#[test]
fn objects_in_use_are_counted_by_who_has_allocated_them() {
    let world = World::new(64, SlabFlags::DEBUG_DEFAULT | SlabFlags::KMALLOC);
    let mut slab = world.in_order();
    assert_eq!(traces(&world, &slab, TrackItem::Alloc, 8).0, "No data\n");
    let layout = world.cache().layout;
    let mut held = vec![];
    for round in 0..6u64 {
        world.witness.now.store(JIFFY * (100 + round), Relaxed);
        let object = world
            .alloc(&mut slab, if round < 4 { 64 } else { 50 })
            .unwrap();
        // The first three by the same function, on CPUs and by processes of their own.
        let mut track = world.track(if round < 3 { 5 } else { 6 });
        track.cpu = [0, 1, 3, 1, 1, 1][round as usize];
        track.pid = 70 + track.cpu;
        track.stack = StackHandle(u32::from(round < 3));
        track.store(slab.bytes, &layout, object, TrackItem::Alloc);
        held.push(object);
    }
    world.witness.now.store(JIFFY * 110, Relaxed);
    let (text, left_out) = traces(&world, &slab, TrackItem::Alloc, 8);
    let expected = "      \
      3 function_5+0x0/0x10 age=8/9/10 pid=70-73 cpus=0-1,3 nodes=0
        function_1+0x0/0x10
        function_2+0x0/0x10
        function_3+0x0/0x10

      2 function_6+0x0/0x10 waste=28/14 age=5/5/6 pid=71 cpus=1 nodes=0
      1 function_6+0x0/0x10 age=7 pid=71 cpus=1 nodes=0
";
    assert_eq!(text, expected);
    assert_eq!(left_out, 0);
    // Where there is no room for a place, its objects are counted as left out.
    let (text, left_out) = traces(&world, &slab, TrackItem::Alloc, 1);
    assert_eq!(
        (text.lines().next(), left_out),
        (expected.lines().next(), 3)
    );
    // What was never freed before has no track of that.
    let (text, _) = traces(&world, &slab, TrackItem::Free, 8);
    assert_eq!(
        text,
        "      6 <not-available> age=110 pid=0 cpus=0 nodes=0\n"
    );
    for object in held {
        world.free(&mut slab, object).unwrap();
    }
    assert_eq!(traces(&world, &slab, TrackItem::Alloc, 8).0, "No data\n");
}
