// SPDX-License-Identifier: GPL-2.0

//! Memory is short.

use crate::world::*;
use shadowmm_core::buddy::gfp;
use shadowmm_core::buddy::AllocRequest;
use shadowmm_core::buddy::PageAllocator;
use shadowmm_core::error::Error;
use shadowmm_core::phys::*;
use shadowmm_core::slab::*;

#[test]
fn all_there_is_and_back() {
    let world = World::new(&[24, 24]);
    let slab = world.slab();
    let id = world.create("all", 512);
    assert_eq!(slab.is_short(id, gfp::GFP_NOWAIT), Ok(false));
    for _ in 0..3 {
        let mut objects = vec![];
        let error = loop {
            match slab.alloc(id, &ObjRequest::new(gfp::GFP_NOWAIT)) {
                Ok(object) => objects.push(object),
                Err(error) => break error,
            }
        };
        assert_eq!(error, Error::NoMemory);
        assert_eq!(slab.is_short(id, gfp::GFP_NOWAIT), Ok(true));
        // Most of the memory is objects now, on both nodes.
        assert!(objects.len() > 60_000, "{}", objects.len());
        let report = world.report(id);
        assert_eq!(report.active_objects, objects.len() as u64);
        assert!(report.counts.order_fallback > 0);
        world.validate();
        for object in objects {
            slab.cache(id).unwrap().free(object).unwrap();
        }
        assert_eq!(slab.is_short(id, gfp::GFP_NOWAIT), Ok(false));
        world.validate();
    }
    world.destroy(id);
    let gone = slab.is_short(id, gfp::GFP_NOWAIT);
    assert_eq!(gone, Err(Error::NoSuchCache));
    world.finish();
}

/// What a failed request says of slabs are the pages that there are, by kind.
#[test]
fn a_failed_request_tells_how_many_pages_are_slabs() {
    let world = World::new(&[24, 24]);
    let slab = world.slab();
    let args = CacheArgs {
        flags: SlabFlags::RECLAIM_ACCOUNT,
        ..CacheArgs::new("reclaimable", 512)
    };
    let id = slab.create(&args).unwrap();
    let objects: Vec<_> = (0..1000)
        .map(|_| slab.alloc(id, &KERNEL).unwrap())
        .collect();
    let none = world.mm.slab_pages(NodeId::NONE, false);
    let large: Vec<_> = [0, 0, 1]
        .map(|nid| {
            slab.kmalloc(Bytes(100_000), &KERNEL.on(NodeId(nid)))
                .unwrap()
        })
        .to_vec();
    // Whole pages count as what can't be reclaimed, where they lie.
    let with_large = world.mm.slab_pages(NodeId::NONE, false);
    assert_eq!(with_large - none, Pages(3 * 32));
    let most = PageOrder::MAX;
    while let Ok(pfn) = (world.mm.allocator()).alloc(&AllocRequest::new(gfp::GFP_KERNEL, most)) {
        std::hint::black_box(pfn);
    }
    let reclaimable = world.mm.slab_pages(NodeId::NONE, true).0;
    let unreclaimable = world.mm.slab_pages(NodeId::NONE, false).0;
    assert!(reclaimable >= 125 && unreclaimable >= 96);
    let line = format!(" slab_reclaimable:{reclaimable} slab_unreclaimable:{unreclaimable}\n");
    let said = world.failed();
    assert!(said.contains(&line), "{line}{said}");
    for object in large {
        slab.kfree(object, 0).unwrap();
    }
    let without = world.mm.slab_pages(NodeId::NONE, false);
    assert_eq!(without.0, unreclaimable - 96);
    assert_eq!(slab.free_bulk(Some(id), &objects, 0), Ok(1000));
}

#[test]
fn shrinking_gives_up_what_nobody_uses() {
    let world = World::two_nodes();
    let slab = world.slab();
    let id = world.create("shrink", 1024);
    let mut objects = vec![ObjAddr::NULL; 256];
    slab.alloc_bulk(id, &KERNEL, &mut objects).unwrap();
    slab.free_bulk(Some(id), &objects, 0).unwrap();
    let report = world.report(id);
    // As many empty slabs as a node may keep, and what CPUs keep.
    assert!(report.nodes.nr_partial() >= u64::from(report.geometry.min_partial));
    let back = slab.shrink(id).unwrap();
    assert_eq!(back, report.pages);
    let report = world.report(id);
    assert_eq!((report.pages, report.cached), (Pages::ZERO, 0));
    assert_eq!(slab.shrink(id).unwrap(), Pages::ZERO);
    world.destroy(id);
    world.finish();
}

/// All objects of twelve slabs of a cache, slab by slab.
fn twelve_slabs(world: &World, id: CacheId) -> Vec<ObjAddr> {
    let geometry = world.report(id).geometry;
    let mut objects = vec![ObjAddr::NULL; geometry.objects as usize * 12];
    let slab = world.slab();
    slab.alloc_bulk(id, &KERNEL, &mut objects).unwrap();
    objects.sort_by_key(|object| (object.pfn().align_down(geometry.order), object.get()));
    objects
}

#[test]
fn the_fullest_come_first_after_shrinking() {
    let world = World::new(&[48]);
    let slab = world.slab();
    let id = world.create("order", 1024);
    let geometry = world.report(id).geometry;
    let per_slab = geometry.objects as usize;
    let head = |object: &ObjAddr| object.pfn().align_down(geometry.order);
    let objects = twelve_slabs(&world, id);
    // Of each slab another number stays.
    let mut left = vec![];
    for (n, of_slab) in objects.chunks(per_slab).enumerate() {
        let stay = 1 + (n * 5 + 3) % (per_slab - 1);
        left.push((of_slab[0], stay));
        assert_eq!(
            slab.free_bulk(Some(id), &of_slab[stay..], 0),
            Ok(per_slab - stay)
        );
    }
    slab.shrink(id).unwrap();
    world.validate();
    left.sort_by_key(|&(_, stay)| std::cmp::Reverse(stay));
    let mut wanted: Vec<_> = left
        .iter()
        .flat_map(|(object, stay)| vec![(*stay, head(object)); per_slab - stay])
        .collect();
    let mut again = vec![ObjAddr::NULL; wanted.len()];
    slab.alloc_bulk(id, &KERNEL, &mut again).unwrap();
    // Of slabs that are equally full see below.
    let mut got: Vec<_> = again.iter().map(head).collect();
    let stays = |pfn: &Pfn| left.iter().find(|(o, _)| head(o) == *pfn).unwrap().1;
    assert!(got
        .iter()
        .map(stays)
        .eq(wanted.iter().map(|&(stay, _)| stay)));
    got.sort();
    wanted.sort_by_key(|&(_, pfn)| pfn);
    assert!(got.iter().eq(wanted.iter().map(|(_, pfn)| pfn)));
    assert_eq!(slab.free_bulk(Some(id), &again, 0), Ok(again.len()));
    for (n, of_slab) in objects.chunks(per_slab).enumerate() {
        let stay = 1 + (n * 5 + 3) % (per_slab - 1);
        assert_eq!(slab.free_bulk(Some(id), &of_slab[..stay], 0), Ok(stay));
    }
    world.destroy(id);
    world.finish();
}

/// The slabs of a cache in the order in which they are taken from, with how many objects stay
/// in each, once it was shrunk so many times.
fn order_after(shrinks: usize) -> Vec<(usize, Pfn)> {
    let world = World::new(&[48]);
    let slab = world.slab();
    let id = world.create("order", 1024);
    let geometry = world.report(id).geometry;
    let per_slab = geometry.objects as usize;
    let head = |object: &ObjAddr| object.pfn().align_down(geometry.order);
    let objects = twelve_slabs(&world, id);
    let (mut left, mut free) = (vec![], 0);
    for (n, of_slab) in objects.chunks(per_slab).enumerate() {
        let stay = 1 + n % 3;
        left.push((stay, head(&of_slab[0])));
        free += slab.free_bulk(Some(id), &of_slab[stay..], 0).unwrap();
    }
    for _ in 0..shrinks {
        slab.shrink(id).unwrap();
        world.validate();
    }
    let mut again = vec![ObjAddr::NULL; free];
    slab.alloc_bulk(id, &KERNEL, &mut again).unwrap();
    let mut heads: Vec<_> = again.iter().map(head).collect();
    heads.dedup();
    assert_eq!(heads.len(), left.len());
    let with_stay = |pfn| *left.iter().find(|(_, head)| *head == pfn).unwrap();
    heads.into_iter().map(with_stay).collect()
}

/// Each goes to the head of those that are as full (`list_move`).
#[test]
fn equally_full_slabs_change_their_order_with_each_shrinking() {
    let (once, twice) = (order_after(1), order_after(2));
    let reversed: Vec<_> = once
        .chunk_by(|a, b| a.0 == b.0)
        .flat_map(|alike| alike.iter().rev().copied())
        .collect();
    assert_ne!(once, reversed);
    assert_eq!(twice, reversed);
    assert_eq!(order_after(3), once);
}

#[test]
fn empty_slabs_go_when_pages_are_wanted() {
    let world = World::new(&[24]);
    let slab = world.slab();
    let ids: Vec<_> = (0..20)
        .map(|n| world.create(&format!("kept-{n}"), 4096))
        .collect();
    for &id in &ids {
        let mut objects = vec![ObjAddr::NULL; 64];
        slab.alloc_bulk(id, &KERNEL, &mut objects).unwrap();
        slab.free_bulk(Some(id), &objects, 0).unwrap();
    }
    let kept: u64 = ids.iter().map(|&id| world.report(id).pages.0).sum();
    assert!(kept > 400, "{kept}");
    // All pages that can be had, and those that the caches keep are among them.
    let pages = world.mm.allocator();
    let request = AllocRequest::new(gfp::GFP_KERNEL, PageOrder::ZERO);
    let mut taken = vec![];
    while let Ok(pfn) = pages.alloc(&request) {
        taken.push(pfn);
    }
    let left: u64 = ids.iter().map(|&id| world.report(id).pages.0).sum();
    assert_eq!(left, 0);
    for pfn in taken {
        pages.free(pfn, PageOrder::ZERO).unwrap();
    }
    world.validate();
    for id in ids {
        world.destroy(id);
    }
    world.finish();
}

#[test]
fn a_cpu_that_goes_keeps_nothing() {
    let world = World::two_nodes();
    let slab = world.slab();
    let id = world.create("offline", 128);
    for cpu in 0..NR_CPUS as u32 {
        run_on(cpu);
        let mut objects = vec![ObjAddr::NULL; 20];
        for node in [NodeId(0), NodeId(1)] {
            slab.alloc_bulk(id, &KERNEL.on(node), &mut objects).unwrap();
            slab.free_bulk(Some(id), &objects, 0).unwrap();
        }
    }
    let all = world.report(id).cached;
    for cpu in 0..NR_CPUS as u32 {
        run_on((cpu + 1) % NR_CPUS as u32);
        slab.drain_cpu(CpuId(cpu));
        assert!(world.report(id).cached <= all * (3 - u64::from(cpu)) / 4 + 20);
    }
    assert_eq!(world.report(id).cached, 0);
    run_on(0);
    let object = slab.alloc(id, &KERNEL).unwrap();
    slab.free(id, object, 0).unwrap();
    world.destroy(id);
    world.finish();
}
