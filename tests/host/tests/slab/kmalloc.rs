// SPDX-License-Identifier: GPL-2.0

//! Objects by size.

use crate::world::*;
use shadowmm_core::buddy::gfp;
use shadowmm_core::error::Error;
use shadowmm_core::phys::*;
use shadowmm_core::slab::*;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

#[test]
fn every_size_has_its_class() {
    let world = World::two_nodes();
    let slab = world.slab();
    for size in (1..=8192)
        .step_by(7)
        .chain([8, 96, 192, 4096, 8192, 8193, 20000, 1 << 20])
    {
        let object = slab.kmalloc(Bytes(size), &KERNEL).unwrap();
        assert_eq!(
            slab.ksize(object).unwrap(),
            size_roundup(Bytes(size)),
            "{size}"
        );
        slab.kfree(object, 0).unwrap();
    }
    assert_eq!(slab.kmalloc(Bytes(0), &KERNEL), Ok(ObjAddr::NULL));
    assert_eq!(slab.kfree(ObjAddr::NULL, 0), Ok(()));
    let too_large = Bytes(KMALLOC_MAX_SIZE.0 + 1);
    assert_eq!(slab.kmalloc(too_large, &KERNEL), Err(Error::AllocTooLarge));
    world.finish();
}

#[test]
fn the_rows_are_told_apart() {
    let world = World::two_nodes();
    let slab = world.slab();
    for (flags, name) in [
        (gfp::GFP_KERNEL, "kmalloc-64"),
        (gfp::GFP_KERNEL | gfp::__GFP_RECLAIMABLE, "kmalloc-rcl-64"),
        (gfp::GFP_KERNEL | gfp::__GFP_DMA, "dma-kmalloc-64"),
        (gfp::GFP_KERNEL_ACCOUNT, "kmalloc-cg-64"),
    ] {
        let object = slab.kmalloc(Bytes(50), &ObjRequest::new(flags)).unwrap();
        let id = slab.cache_of(object).unwrap();
        assert_eq!(world.report(id).name.as_str(), name);
        slab.kfree(object, 0).unwrap();
    }
    world.finish();
}

fn words(world: &World, object: ObjAddr, size: u64) -> &'static [AtomicU64] {
    let window = world.mm.region.window(object.addr()).unwrap();
    let range = PhysRange::new(object.addr(), Bytes(size));
    window.slice(range).unwrap()
}

#[test]
fn what_is_in_an_object_goes_with_it() {
    let world = World::two_nodes();
    let slab = world.slab();
    let mut object = slab.kmalloc(Bytes(64), &KERNEL).unwrap();
    for (n, word) in words(&world, object, 64).iter().enumerate() {
        word.store(n as u64, Relaxed);
    }
    for size in [64, 10, 65, 1000, 8192, 30000, 200_000, 100] {
        object = slab.krealloc(Some(object), Bytes(size), &KERNEL).unwrap();
        assert!(slab.ksize(object).unwrap() >= Bytes(size));
        let kept = words(&world, object, 64).iter().enumerate();
        assert!(kept
            .into_iter()
            .all(|(n, word)| word.load(Relaxed) == n as u64));
    }
    assert_eq!(
        slab.krealloc(Some(object), Bytes(0), &KERNEL),
        Ok(ObjAddr::NULL)
    );
    let object = slab.krealloc(None, Bytes(5), &KERNEL).unwrap();
    // What can't be done changes nothing.
    let too_large = Bytes(KMALLOC_MAX_SIZE.0 + 1);
    let refused = slab.krealloc(Some(object), too_large, &KERNEL);
    assert_eq!(refused, Err(Error::AllocTooLarge));
    assert_eq!(slab.ksize(object).unwrap(), Bytes(8));
    slab.kfree(object, 0).unwrap();
    world.finish();
}

/// What is given up and got back, and what was never asked for.
#[test]
fn what_grows_with_zeros_has_them() {
    let world = World::two_nodes();
    let slab = world.slab();
    let zero = ObjRequest::new(gfp::GFP_KERNEL | gfp::__GFP_ZERO);
    for (size, less, more) in [(64, 40, 128), (8192, 4100, 16384), (65536, 40_004, 131_072)] {
        let object = slab.kmalloc(Bytes(size), &KERNEL).unwrap();
        for word in words(&world, object, size) {
            word.store(u64::MAX, Relaxed);
        }
        let is = |object, bytes: std::ops::Range<u64>, value| {
            let words = words(&world, object, bytes.end).iter();
            let all = words.flat_map(|word| word.load(Relaxed).to_ne_bytes());
            all.skip(bytes.start as usize).all(|byte| byte == value)
        };
        // Without the flag nothing is touched.
        let same = slab.krealloc(Some(object), Bytes(less), &KERNEL);
        assert_eq!(same, Ok(object));
        assert!(is(object, 0..size, 0xff));
        for size in [less, size] {
            let same = slab.krealloc(Some(object), Bytes(size), &zero);
            assert_eq!(same, Ok(object));
        }
        assert!(is(object, 0..less / 8 * 8, 0xff), "{size}");
        assert!(is(object, less..size, 0), "{size}");
        let moved = slab.krealloc(Some(object), Bytes(more), &zero).unwrap();
        assert_ne!(moved, object);
        assert!(is(moved, 0..less / 8 * 8, 0xff), "{size}");
        assert!(is(moved, less..more, 0), "{size}");
        slab.kfree(moved, 0).unwrap();
    }
    world.finish();
}

/// An object grows to what it has itself, not into what lies between it and the next.
#[test]
fn what_lies_behind_an_object_is_not_its_own() {
    let world = World::two_nodes();
    let slab = world.slab();
    let cache = world.create("sixty", 60);
    let object = slab.alloc(cache, &KERNEL).unwrap();
    assert_eq!(slab.ksize(object), Ok(Bytes(64)));
    let same = slab.krealloc(Some(object), Bytes(60), &KERNEL);
    assert_eq!(same, Ok(object));
    let moved = slab.krealloc(Some(object), Bytes(62), &KERNEL).unwrap();
    assert_ne!(slab.cache_of(moved), Ok(cache));
    slab.kfree(moved, 0).unwrap();
    world.destroy(cache);
    world.finish();
}

/// To be on one node and no other is more than to have the size.
#[test]
fn an_object_goes_to_the_node_that_it_has_to_be_on() {
    let world = World::two_nodes();
    let slab = world.slab();
    let there = ObjRequest::new(gfp::GFP_KERNEL | gfp::__GFP_THISNODE);
    let nid = |object: ObjAddr| world.mm.sparse.page(object.pfn()).unwrap().nid();
    for (size, less) in [(64, 21), (40_000, 33_000)] {
        let object = slab.kmalloc(Bytes(size), &there.on(NodeId(0))).unwrap();
        for (n, word) in words(&world, object, size).iter().enumerate() {
            word.store(n as u64, Relaxed);
        }
        // Another node is as good, the same is asked for, or none in particular.
        for request in [KERNEL.on(NodeId(1)), there.on(NodeId(0)), there] {
            let same = slab.krealloc(Some(object), Bytes(less), &request);
            assert_eq!(same, Ok(object));
        }
        let request = there.on(NodeId(1));
        let moved = slab.krealloc(Some(object), Bytes(less), &request).unwrap();
        assert_eq!((nid(object), nid(moved)), (NodeId(0), NodeId(1)));
        let mut kept = words(&world, moved, less / 8 * 8).iter().zip(0..);
        assert!(kept.all(|(word, n)| word.load(Relaxed) == n));
        let same = slab.krealloc(Some(moved), Bytes(less), &request);
        assert_eq!(same, Ok(moved));
        slab.kfree(moved, 0).unwrap();
    }
    // Where there is no node it stays what it is.
    let object = slab.kmalloc(Bytes(64), &KERNEL).unwrap();
    let nowhere = slab.krealloc(Some(object), Bytes(20), &there.on(NodeId(9)));
    assert_eq!(nowhere, Err(Error::NodeOffline));
    slab.kfree(object, 0).unwrap();
    world.finish();
}

/// Flags with which the pages would lie outside of the direct map count for nothing
/// (`kmalloc_fix_flags`).
#[test]
fn whole_pages_are_from_where_all_of_the_kernels_are() {
    let world = World::two_nodes();
    let slab = world.slab();
    let zone_of = |gfp: gfp::Gfp| {
        let object = slab.kmalloc(Bytes(64 << 10), &ObjRequest::new(gfp));
        let object = object.unwrap();
        let zone = world.mm.sparse.page(object.pfn()).unwrap().zone_id();
        slab.kfree(object, 0).unwrap();
        zone
    };
    let kernels = zone_of(gfp::GFP_KERNEL);
    for more in [
        gfp::__GFP_HIGHMEM,
        gfp::__GFP_HIGHMEM | gfp::__GFP_MOVABLE,
        gfp::__GFP_DMA32,
    ] {
        assert_eq!(zone_of(gfp::GFP_KERNEL | more), kernels, "{more:?}");
    }
    assert_ne!(zone_of(gfp::GFP_KERNEL | gfp::__GFP_DMA), kernels);
    world.finish();
}

#[test]
fn whole_pages_are_freed_once() {
    let world = World::two_nodes();
    let slab = world.slab();
    let object = slab.kmalloc(Bytes(40_000), &KERNEL).unwrap();
    assert_eq!(slab.ksize(object).unwrap(), Bytes(65536));
    let inside = ObjAddr::new(object.get() + 4096);
    assert_eq!(slab.kfree(inside, 0), Err(Error::NotAnObject));
    assert_eq!(slab.kfree(object, 0), Ok(()));
    assert_eq!(slab.kfree(object, 0), Err(Error::NotAnObject));
    assert_eq!(slab.ksize(object), Err(Error::NotAnObject));
    world.finish();
}
