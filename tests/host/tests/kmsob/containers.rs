// SPDX-License-Identifier: GPL-2.0

//! Containers come, grow and go, and which object goes out next.

use crate::world::*;
use shadowmm_core::allocator::AllocatorKind;
use shadowmm_core::buddy::gfp::*;
use shadowmm_core::buddy::PageAllocator;
use shadowmm_core::cosmos::kmsob::*;
use shadowmm_core::error::Error;
use shadowmm_core::page::*;
use shadowmm_core::phys::*;
use shadowmm_core::slab::*;
use std::sync::atomic::Ordering::Relaxed;

#[test]
fn the_last_object_of_a_block_goes_out_first_and_what_came_back_last_again() {
    for machine in Machine::each(1024) {
        let objects: Vec<_> = (0..116).map(|_| machine.kmalloc(20).unwrap()).collect();
        let start = objects[0].pfn().addr().0;
        for (i, object) in objects.iter().enumerate() {
            assert_eq!(object.get(), start + 4096 - 32 * (i as u64 + 1));
        }
        assert_eq!(machine.counts(20), [1, 0, 116, 116]);
        machine.kfree(objects[70]).unwrap();
        machine.kfree(objects[3]).unwrap();
        assert_eq!(machine.kmalloc(32), Ok(objects[3]));
        assert_eq!(machine.kmalloc(1), Ok(objects[70]));
        machine.check();
        for object in objects {
            machine.kfree(object).unwrap();
        }
        machine.check_empty();
    }
}

#[test]
fn a_full_container_is_extended_and_goes_as_a_whole() {
    for machine in Machine::each(1024) {
        let objects: Vec<_> = (0..116 + 119 + 1)
            .map(|_| machine.kmalloc(32).unwrap())
            .collect();
        assert_eq!(machine.counts(32), [1, 2, 116 + 2 * 119, 236]);
        assert_eq!(machine.free(), machine.pages - 3);
        let size = SizeIndex::for_size(Bytes(32)).unwrap();
        let container = machine.pool().container_report(size, 0).unwrap().unwrap();
        assert_eq!(container.start.get(), objects[0].pfn().addr().0);
        assert_eq!(container.own_pages, Pages(1));
        assert_eq!((container.extensions, container.objects), (2, 354));
        assert_eq!((container.free, container.blocks), (118, [2, 0, 0, 0, 0]));
        machine.check();
        // One object in an extension keeps everything.
        let (stays, go) = objects.split_last().unwrap();
        for &object in go {
            machine.kfree(object).unwrap();
        }
        assert_eq!(machine.counts(32), [1, 2, 354, 1]);
        assert_eq!(machine.free(), machine.pages - 3);
        machine.check();
        machine.kfree(*stays).unwrap();
        machine.check_empty();
        let list = machine.list(32);
        assert_eq!((list.created, list.destroyed), (1, 1));
        assert_eq!((list.allocs, list.frees), (236, 236));
    }
}

#[test]
fn unused_extensions_go_when_the_pool_is_shrunk() {
    for machine in Machine::each(1024) {
        // A container of 2 KiB objects has seven, in four pages, as an extension has.
        let objects: Vec<_> = (0..7 * 5).map(|_| machine.kmalloc(2048).unwrap()).collect();
        assert_eq!(machine.counts(2048), [1, 4, 35, 35]);
        let kmsob = machine.pool().find("kmsob-2048").unwrap();
        assert_eq!(kmsob.get(), 64);
        assert_eq!(machine.pool().shrink(kmsob), Ok(Pages::ZERO));
        // Of the blocks, the container's own and the second and fourth are emptied.
        for block in [0, 1, 3] {
            for &object in &objects[7 * block..7 * block + 7] {
                machine.kfree(object).unwrap();
            }
        }
        machine.check();
        assert_eq!(machine.pool().shrink(kmsob), Ok(Pages(8)));
        assert_eq!(machine.counts(2048), [1, 2, 21, 14]);
        assert_eq!(machine.free(), machine.pages - 12);
        machine.check();
        assert_eq!(machine.pool().shrink_all(), Pages::ZERO);
        // What is left is used, and nothing new is taken for it.
        let again: Vec<_> = (0..7).map(|_| machine.kmalloc(2048).unwrap()).collect();
        assert!(again.iter().all(|object| objects[..7].contains(object)));
        assert_eq!(machine.free(), machine.pages - 12);
        for &object in objects[14..21].iter().chain(&objects[28..]).chain(&again) {
            machine.kfree(object).unwrap();
        }
        machine.check_empty();
    }
}

#[test]
fn blocks_are_counted_a_few_at_a_time_and_each_once() {
    for machine in Machine::each(1024) {
        let mut objects = vec![machine.kmalloc(2048).unwrap()];
        for blocks in 1..=200 {
            while machine.counts(2048)[1] + 1 < blocks {
                objects.push(machine.kmalloc(2048).unwrap());
            }
            let pages = machine.pool().pages_on(NodeId(0));
            assert_eq!(pages, Pages(blocks * 4));
        }
        let stays = objects.remove(0);
        for object in objects {
            machine.kfree(object).unwrap();
        }
        assert_eq!(machine.pool().unused(NodeId(0)), Pages(199 * 4));
        assert_eq!(machine.pool().unused(NodeId(1)), Pages::ZERO);
        machine.kfree(stays).unwrap();
        machine.check_empty();
    }
}

#[test]
fn every_size_comes_from_its_own_containers() {
    for machine in Machine::each(1024) {
        let mut objects = vec![];
        for size in 1..=2048u64 {
            let object = machine.kmalloc(size).unwrap();
            assert_eq!(object.get() % 32, 0);
            let rounded = Bytes(size.next_multiple_of(32));
            assert_eq!(machine.pool().ksize(object), Ok(rounded));
            machine.fill(object, rounded.0, size as u8);
            objects.push((object, rounded.0, size as u8));
        }
        assert!(SizeIndex::all().all(|size| machine.counts(size.size().0)[3] == 32));
        machine.check();
        for &(object, size, with) in &objects {
            assert!(machine.is_filled(object, size, with), "{object}");
        }
        for (object, ..) in objects {
            machine.kfree(object).unwrap();
        }
        machine.check_empty();
    }
}

#[test]
fn what_is_larger_is_pages() {
    for machine in Machine::each(4096) {
        let sizes = [
            (2049, 1),
            (4096, 1),
            (4097, 2),
            (100_000, 32),
            (4 << 20, 1024),
        ];
        let mut objects = vec![];
        for (size, pages) in sizes {
            let before = machine.free();
            let object = machine.kmalloc(size).unwrap();
            assert_eq!(before - machine.free(), pages);
            let rounded = pages * 4096;
            assert_eq!(machine.pool().ksize(object), Ok(Bytes(rounded)));
            machine.fill(object, rounded, pages as u8);
            objects.push((object, rounded, pages as u8));
        }
        let report = machine.pool().pool_report();
        assert_eq!((report.large_blocks, report.large_pages), (5, Pages(1060)));
        machine.check();
        assert_eq!(machine.kmalloc((4 << 20) + 1), Err(Error::AllocTooLarge));
        assert_eq!(machine.kmalloc(u64::MAX), Err(Error::AllocTooLarge));
        // Out of the middle of the list, and from both ends.
        for at in [2, 3, 0, 0, 0] {
            let (object, size, with) = objects.remove(at);
            assert!(machine.is_filled(object, size, with));
            machine.kfree(object).unwrap();
            machine.check();
        }
        machine.check_empty();
    }
}

#[test]
fn zeroed_objects_are_zero() {
    for machine in Machine::each(1024) {
        let zeroed = ObjRequest::new(GFP_KERNEL | __GFP_ZERO);
        for size in [1, 500, 2048, 9000] {
            let object = machine.kmalloc(size).unwrap();
            let room = machine.pool().ksize(object).unwrap().0;
            machine.fill(object, room, 0x5a);
            let other = machine.kmalloc(size).unwrap();
            machine.kfree(object).unwrap();
            let again = machine.pool().kmalloc(Bytes(size), &zeroed).unwrap();
            assert!(machine.is_filled(again, room, 0), "{size}");
            machine.kfree(again).unwrap();
            machine.kfree(other).unwrap();
        }
        machine.check_empty();
    }
}

#[test]
fn an_object_that_grows_keeps_what_it_holds() {
    for machine in Machine::each(1024) {
        let realloc = |object, size| machine.pool().krealloc(object, Bytes(size), &REQUEST);
        let object = realloc(None, 30).unwrap();
        machine.fill(object, 32, 7);
        assert_eq!(realloc(Some(object), 32), Ok(object));
        assert_eq!(realloc(Some(object), 3), Ok(object));
        let larger = realloc(Some(object), 600).unwrap();
        assert_ne!(larger, object);
        assert!(machine.is_filled(larger, 32, 7));
        assert_eq!(machine.kfree(object), Err(Error::NotAnObject));
        machine.fill(larger, 608, 9);
        let pages = realloc(Some(larger), 5000).unwrap();
        assert!(machine.is_filled(pages, 608, 9));
        // It is as it was when there is no room.
        let too_large = realloc(Some(pages), 4 << 20);
        assert_eq!(too_large, Err(Error::NoMemory));
        assert!(machine.is_filled(pages, 608, 9));
        assert_eq!(realloc(Some(pages), 0), Ok(ObjAddr::NULL));
        assert_eq!(realloc(None, 0), Ok(ObjAddr::NULL));
        assert_eq!(realloc(Some(ObjAddr::NULL), 0), Ok(ObjAddr::NULL));
        assert_eq!(machine.kfree(ObjAddr::NULL), Ok(()));
        machine.check_empty();
    }
}

/// What is given up is zeroed, since nobody knows any more that it was when it is asked for again.
#[test]
fn an_object_that_grows_with_zeros_has_them() {
    for machine in Machine::each(1024) {
        let zero = ObjRequest::new(GFP_KERNEL | __GFP_ZERO);
        let realloc = |object, size| machine.pool().krealloc(Some(object), Bytes(size), &zero);
        for (size, less) in [(64, 40), (64, 64), (8192, 5001)] {
            let object = machine.kmalloc(size).unwrap();
            machine.fill(object, size, 7);
            for size in [less, size] {
                assert_eq!(realloc(object, size), Ok(object));
            }
            assert!(machine.is_filled(object, less, 7));
            let given_up = machine.bytes(object, size).iter().skip(less as usize);
            assert!(given_up.into_iter().all(|byte| byte.load(Relaxed) == 0));
            let larger = realloc(object, 2 * size).unwrap();
            assert_ne!(larger, object);
            let bytes = machine.bytes(larger, 2 * size).iter().zip(0..);
            let is = |at| if at < less { 7 } else { 0 };
            assert!(bytes
                .into_iter()
                .all(|(byte, at)| byte.load(Relaxed) == is(at)));
            machine.kfree(larger).unwrap();
        }
        machine.check_empty();
    }
}

/// What can't be had is refused, not passed over: objects of one node alone.
#[test]
fn an_object_stays_where_it_is_when_it_has_to_be_on_another_node() {
    for machine in Machine::each(1024) {
        let object = machine.kmalloc(100).unwrap();
        machine.fill(object, 100, 3);
        let on = |nid| {
            let request = ObjRequest::new(GFP_KERNEL | __GFP_THISNODE).on(nid);
            machine.pool().krealloc(Some(object), Bytes(50), &request)
        };
        assert_eq!(on(NodeId(0)), Ok(object));
        assert_eq!(on(NodeId::NONE), Ok(object));
        assert_eq!(on(NodeId(1)), Err(Error::NotSupported));
        assert!(machine.is_filled(object, 100, 3));
        machine.kfree(object).unwrap();
        machine.check_empty();
    }
}

#[test]
fn containers_may_lie_on_several_nodes() {
    let specs = [(0, ZoneType::Normal, 0, 64), (1, ZoneType::Normal, 64, 128)];
    for kind in AllocatorKind::ALL {
        let machine = Machine::with(kind, &specs);
        let mut objects = vec![];
        while let Ok(object) = machine.kmalloc(1024) {
            objects.push(object);
        }
        let id = machine.pool().find("kmsob-1024").unwrap();
        let all = machine.pool().report(id).unwrap().nodes;
        let [near, far] = [0, 1].map(|nid| {
            let report = machine.pool().node_report(id, NodeId(nid));
            report.unwrap()
        });
        assert!(near.slabs > 0 && far.slabs > 0);
        assert_eq!(all.slabs, near.slabs + far.slabs);
        assert_eq!(all.objects, near.objects + far.objects);
        assert_eq!(all.objects, objects.len() as u64);
        assert_eq!(all.full, all.slabs);
        assert_eq!(machine.pool().node_report(id, NodeId(2)), None);
        machine.check();
        assert_eq!(
            machine.pool().free_bulk(None, &objects, 0),
            Ok(objects.len())
        );
        assert_eq!(machine.pool().node_report(id, NodeId(0)), None);
        machine.check_empty();
    }
}

#[test]
fn the_pages_of_a_container_are_not_to_be_freed() {
    for machine in Machine::each(1024) {
        let small = machine.kmalloc(200).unwrap();
        let large = machine.kmalloc(20_000).unwrap();
        for (object, order) in [(small, 1), (large, 3)] {
            let order = PageOrder::new(order).unwrap();
            let pfn = object.pfn().align_down(order);
            let freed = machine.allocator().free(pfn, order);
            assert_eq!(freed, Err(Error::SlabPage));
            let inside = machine.allocator().free(pfn + Pages(1), PageOrder::ZERO);
            assert_eq!(inside, Err(Error::SlabPage));
            let block = machine.allocator().block_of(pfn + Pages(1)).unwrap();
            assert_eq!((block.head, block.order), (pfn, order));
            assert_eq!(machine.allocator().get(pfn), Err(Error::SlabPage));
        }
        machine.kfree(small).unwrap();
        machine.kfree(large).unwrap();
        machine.check_empty();
    }
}
