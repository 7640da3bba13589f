// SPDX-License-Identifier: GPL-2.0

//! Objects of one cache.

use crate::world::*;
use shadowmm_core::buddy::gfp;
use shadowmm_core::buddy::AllocRequest;
use shadowmm_core::buddy::PageAllocator;
use shadowmm_core::error::Error;
use shadowmm_core::page::PageState;
use shadowmm_core::phys::*;
use shadowmm_core::platform::Platform;
use shadowmm_core::slab::*;
use std::collections::HashSet;

#[test]
fn a_layer_that_nobody_uses_takes_no_page_and_gives_all_back() {
    let world = World::two_nodes();
    world.check_all_back();
    world.validate();
    world.finish();
}

#[test]
fn an_object_comes_and_goes() {
    let world = World::two_nodes();
    let id = world.create("one", 100);
    let slab = world.slab();
    let object = slab.alloc(id, &KERNEL).unwrap();
    let report = world.report(id);
    assert_eq!(report.active_objects, 1);
    assert_eq!(report.geometry.size, 104);
    assert_eq!(report.nodes.slabs, 1);
    assert_eq!(slab.ksize(object).unwrap(), Bytes(104));
    slab.free(id, object, 0).unwrap();
    assert_eq!(world.report(id).active_objects, 0);
    world.destroy(id);
    world.finish();
}

#[test]
fn objects_do_not_overlap_and_lie_as_they_should() {
    let world = World::two_nodes();
    for (size, align) in [
        (8, 0),
        (24, 0),
        (100, 64),
        (1000, 0),
        (4096, 4096),
        (8000, 0),
    ] {
        let args = CacheArgs {
            align,
            flags: SlabFlags::NO_MERGE,
            ..CacheArgs::new("many", size)
        };
        let slab = world.slab();
        let id = slab.create(&args).unwrap();
        let mut seen = HashSet::new();
        let step = world.report(id).geometry.size;
        let count = 700;
        for _ in 0..count {
            let object = slab.alloc(id, &KERNEL).unwrap();
            assert_eq!(object.get() % u64::from(align.max(8)), 0);
            // Each has `step` bytes of its own.
            for unit in 0..u64::from(step / 8) {
                assert!(seen.insert(object.get() / 8 + unit), "{size}");
            }
        }
        let report = world.report(id);
        assert_eq!(report.active_objects, count);
        assert!(report.nodes.total_objects >= count);
        world.validate();
        let starts: HashSet<_> = seen.iter().copied().collect();
        assert_eq!(starts.len() as u64, count * u64::from(step / 8));
        // Back they go, by the addresses alone.
        let mut addrs: Vec<u64> = seen.iter().map(|unit| unit * 8).collect();
        addrs.sort();
        let mut freed = 0;
        for addr in addrs {
            freed += u64::from(slab.free(id, ObjAddr::new(addr), 0).is_ok());
        }
        assert_eq!(freed, count);
        world.validate();
        world.destroy(id);
    }
    world.finish();
}

#[test]
fn what_is_no_object_is_refused_and_nothing_changes() {
    let world = World::two_nodes();
    let slab = world.slab();
    let (a, b) = (world.create("a", 64), world.create("b", 64));
    let object = slab.alloc(a, &KERNEL).unwrap();
    let before = world.report(a).active_objects;
    let free = |id, addr: u64| slab.free(id, ObjAddr::new(addr), 0);
    assert_eq!(free(b, object.get()), Err(Error::WrongCache));
    assert_eq!(free(a, object.get() + 8), Err(Error::NotAnObject));
    assert_eq!(free(a, object.get() + 1), Err(Error::NotAnObject));
    assert_eq!(free(a, u64::MAX), Err(Error::ForeignPfn));
    let page = world
        .mm
        .allocator()
        .alloc(&AllocRequest::new(gfp::GFP_KERNEL, PageOrder::ZERO));
    let page = page.unwrap();
    assert_eq!(free(a, page.addr().0), Err(Error::NotAnObject));
    assert_eq!(
        slab.kfree(ObjAddr::new(page.addr().0), 0),
        Err(Error::NotAnObject)
    );
    world.mm.allocator().free(page, PageOrder::ZERO).unwrap();
    assert_eq!(free(a, page.addr().0), Err(Error::NotAnObject));
    // The boot caches' objects are nobody's but the layer's.
    assert_eq!(
        slab.alloc(CacheId::new(1).unwrap(), &KERNEL),
        Err(Error::CacheNeeded)
    );
    assert_eq!(
        slab.alloc(CacheId::new(2000).unwrap(), &KERNEL),
        Err(Error::NoSuchCache)
    );
    assert_eq!(world.report(a).active_objects, before);
    // Twice: while a CPU keeps it, and when it is back in its slab.
    slab.free(a, object, 0).unwrap();
    assert_eq!(slab.free(a, object, 0), Err(Error::ObjectFree));
    let other = slab.alloc(a, &KERNEL).unwrap();
    let third = slab.alloc(a, &KERNEL).unwrap();
    slab.free(a, other, 0).unwrap();
    slab.shrink(a).unwrap();
    assert_eq!(slab.free(a, other, 0), Err(Error::ObjectFree));
    slab.free(a, third, 0).unwrap();
    world.validate();
    world.destroy(a);
    world.destroy(b);
    world.finish();
}

#[test]
fn a_slab_is_not_freed_by_the_page() {
    let world = World::two_nodes();
    let slab = world.slab();
    let id = world.create("large", 3000);
    let object = slab.alloc(id, &KERNEL).unwrap();
    let order = world.report(id).geometry.order;
    assert!(order > PageOrder::ZERO);
    let pages = world.mm.allocator();
    let block = pages.block_of(object.pfn()).unwrap();
    assert_eq!(block.order, order);
    for i in 0..order.pages().0 {
        let pfn = block.head + Pages(i);
        assert_eq!(pages.block_of(pfn).unwrap(), block);
        for order in [PageOrder::ZERO, order] {
            assert_eq!(pages.free(pfn, order), Err(Error::SlabPage));
            assert_eq!(pages.check_free(pfn, order), Err(Error::SlabPage));
        }
    }
    slab.free(id, object, 0).unwrap();
    world.destroy(id);
    world.finish();
}

#[test]
fn zeroed_objects_are_zero_and_no_more() {
    let world = World::two_nodes();
    let slab = world.slab();
    let id = world.create("zero", 20);
    let zeroed = ObjRequest::new(gfp::GFP_KERNEL | gfp::__GFP_ZERO);
    let mut objects = vec![ObjAddr::NULL; 300];
    slab.alloc_bulk(id, &KERNEL, &mut objects).unwrap();
    assert_eq!(
        slab.free_bulk(Some(id), &objects, 0).unwrap(),
        objects.len()
    );
    // Free pointers have been in all of them.
    for place in &mut objects {
        *place = slab.alloc(id, &zeroed).unwrap();
        let range = PhysRange::new(place.addr(), Bytes(20));
        assert!(world.mm.region.is_zero(range).unwrap());
    }
    assert_eq!(
        slab.free_bulk(Some(id), &objects, 0).unwrap(),
        objects.len()
    );
    world.destroy(id);
    world.finish();
}

/// A second cache that is merged with theirs may make them larger.
#[test]
fn objects_that_grow_by_a_merge_have_nothing_of_others() {
    let world = World::two_nodes();
    let slab = world.slab();
    let args = CacheArgs {
        flags: SlabFlags::HWCACHE_ALIGN,
        ..CacheArgs::new("grows", 40)
    };
    let id = slab.create(&args).unwrap();
    assert_eq!(world.report(id).geometry.size, 64);
    let zeroed = ObjRequest::new(gfp::GFP_KERNEL | gfp::__GFP_ZERO);
    let mut objects = vec![ObjAddr::NULL; 200];
    slab.alloc_bulk(id, &KERNEL, &mut objects).unwrap();
    // What is in the slabs is what others have left there.
    for object in &objects {
        let words = PhysRange::new(object.addr(), Bytes(64));
        let window = world.mm.region.window(object.addr()).unwrap();
        for word in window.slice::<std::sync::atomic::AtomicU64>(words).unwrap() {
            word.store(u64::MAX, std::sync::atomic::Ordering::Relaxed);
        }
    }
    slab.free_bulk(Some(id), &objects, 0).unwrap();
    for object in &mut objects {
        *object = slab.alloc(id, &zeroed).unwrap();
    }
    let merged = slab.create(&CacheArgs::new("larger", 64)).unwrap();
    assert_eq!(merged, id);
    assert_eq!(world.report(id).geometry.object_size, 64);
    for &object in &objects {
        let range = PhysRange::new(object.addr(), Bytes(64));
        assert!(world.mm.region.is_zero(range).unwrap());
        slab.free(id, object, 0).unwrap();
    }
    world.destroy(id);
    world.destroy(id);
    world.finish();
}

#[test]
fn objects_lie_where_they_are_wished_for() {
    let world = World::two_nodes();
    let slab = world.slab();
    let id = world.create("node", 256);
    let nid = |object: ObjAddr| world.mm.sparse.page(object.pfn()).unwrap().nid();
    let mut objects = vec![];
    for cpu in 0..NR_CPUS as u32 {
        run_on(cpu);
        let here = slab.alloc(id, &KERNEL).unwrap();
        assert_eq!(nid(here), world.mm.platform.local_node());
        objects.push(here);
        for node in [NodeId(0), NodeId(1)] {
            let there = slab.alloc(id, &KERNEL.on(node)).unwrap();
            assert_eq!(nid(there), node);
            let only = ObjRequest::new(gfp::GFP_KERNEL | gfp::__GFP_THISNODE).on(node);
            let only = slab.alloc(id, &only).unwrap();
            assert_eq!(nid(only), node);
            objects.extend([there, only]);
        }
    }
    assert_eq!(
        slab.alloc(id, &KERNEL.on(NodeId(5))).map(nid),
        Err(Error::NodeOffline)
    );
    run_on(0);
    let before = world.report(id).active_objects;
    assert_eq!(before, objects.len() as u64);
    for object in objects {
        slab.free(id, object, 0).unwrap();
    }
    let report = world.report(id);
    assert_eq!(report.active_objects, 0);
    assert!(report.cached > 0);
    world.destroy(id);
    world.finish();
}

#[test]
fn objects_of_another_node_go_back_in_batches() {
    let world = World::two_nodes();
    let slab = world.slab();
    let id = world.create("remote", 64);
    let mut objects = vec![ObjAddr::NULL; 1000];
    run_on(0);
    slab.alloc_bulk(id, &KERNEL.on(NodeId(1)), &mut objects)
        .unwrap();
    let cache = slab.cache(id).unwrap();
    for &object in &objects {
        cache.free(object).unwrap();
    }
    let report = world.report(id);
    assert_eq!(report.active_objects, 0);
    assert_eq!(report.counts.remote_batches, 1000 / 32);
    assert_eq!(report.counts.free_remote, 1000 / 32 * 32);
    // The rest, and what their own node has in store.
    assert_eq!(report.cached, 1000 % 32 + 512);
    world.validate();
    world.destroy(id);
    world.finish();
}

#[test]
fn objects_of_two_other_nodes_are_told_apart() {
    let world = World::new(&[48, 48, 48]);
    let slab = world.slab();
    let id = world.create("remote", 64);
    run_on(0);
    let take = |node| {
        let mut objects = vec![ObjAddr::NULL; 400];
        slab.alloc_bulk(id, &KERNEL.on(NodeId(node)), &mut objects)
            .unwrap();
        objects
    };
    let cache = slab.cache(id).unwrap();
    // All of one, then all of the other: a batch in between has some of both.
    let [second, third] = [take(1), take(2)];
    for &object in second.iter().chain(&third) {
        cache.free(object).unwrap();
    }
    assert_eq!(world.report(id).active_objects, 0);
    world.validate();
    // In turn: no batch is of one node.
    let [second, third] = [take(1), take(2)];
    for (&one, &other) in second.iter().zip(&third) {
        cache.free(one).unwrap();
        cache.free(other).unwrap();
    }
    let report = world.report(id);
    assert_eq!(report.active_objects, 0);
    // The last batch is full, and goes when there is one object more.
    assert_eq!(report.counts.free_remote, 1600 - 32);
    for node in [1, 2] {
        let its = slab.node_report(id, NodeId(node)).unwrap();
        assert!(its.slabs > 0, "{its:?}");
    }
    world.validate();
    slab.shrink(id).unwrap();
    let nodes = world.report(id).nodes;
    assert_eq!(nodes, CacheNodeReport::default());
    world.destroy(id);
    world.finish();
}

#[test]
fn objects_of_another_node_are_gathered_by_size_too() {
    let world = World::two_nodes();
    let slab = world.slab();
    let sized = slab.by_size();
    run_on(0);
    let sizes = [64, 192, 64, 64];
    let take = |&size: &u64| sized.alloc(Bytes(size), &KERNEL.on(NodeId(1))).unwrap();
    let objects: Vec<ObjAddr> = sizes.iter().cycle().take(400).map(take).collect();
    for &object in &objects {
        sized.free(object).unwrap();
    }
    for (size, freed) in [(64, 300u64), (192, 100)] {
        let id = slab
            .kmalloc_cache(Bytes(size), KmallocType::Normal)
            .unwrap();
        let report = world.report(id);
        assert_eq!(report.active_objects, 0);
        assert_eq!(report.counts.remote_batches, freed / 32);
        assert_eq!(report.counts.free_remote, freed / 32 * 32);
    }
    world.validate();
    world.finish();
}

#[test]
fn a_page_that_is_no_slabs_is_refused_whatever_a_cpu_keeps() {
    let world = World::two_nodes();
    let slab = world.slab();
    let id = world.create("one", 64);
    let cache = slab.cache(id).unwrap();
    let reserved: Vec<Pfn> = (0..)
        .map(Pfn)
        .take((96 << 20) >> 12)
        .filter(|&pfn| {
            let page = world.mm.sparse.page(pfn);
            page.is_some_and(|page| page.state() == PageState::Reserved)
        })
        .collect();
    assert!(!reserved.is_empty());
    // Nothing is near while somebody listens, everything is when nobody does.
    for listens in [false, true, false] {
        world.listen(listens);
        for pfn in &reserved {
            let object = ObjAddr::new(pfn.addr().0);
            assert_eq!(cache.free(object), Err(Error::NotAnObject), "{listens}");
            assert_eq!(slab.by_size().free(object), Err(Error::NotAnObject));
        }
        if !listens {
            let object = cache.alloc(&KERNEL).unwrap();
            cache.free(object).unwrap();
        }
    }
    world.destroy(id);
    world.finish();
}

#[test]
fn a_constructor_runs_once_for_each_object() {
    let world = World::two_nodes();
    let slab = world.slab();
    let args = CacheArgs {
        ctor: Constructor::Fill(0xab),
        ..CacheArgs::new("made", 40)
    };
    let id = slab.create(&args).unwrap();
    let mut objects = vec![ObjAddr::NULL; 50];
    let filled = |object: ObjAddr| {
        let words = PhysRange::new(object.addr(), Bytes(40));
        let window = world.mm.region.window(object.addr()).unwrap();
        let words = window.slice::<std::sync::atomic::AtomicU64>(words).unwrap();
        words.iter().all(|word| {
            word.load(std::sync::atomic::Ordering::Relaxed) == u64::from_le_bytes([0xab; 8])
        })
    };
    // What is in an object stays there while it is free.
    for _ in 0..3 {
        slab.alloc_bulk(id, &KERNEL, &mut objects).unwrap();
        assert!(objects.iter().all(|&object| filled(object)));
        assert_eq!(slab.free_bulk(Some(id), &objects, 0).unwrap(), 50);
    }
    let zeroed = ObjRequest::new(gfp::GFP_KERNEL | gfp::__GFP_ZERO);
    assert_eq!(slab.alloc(id, &zeroed), Err(Error::ZeroWithConstructor));
    world.destroy(id);
    world.finish();
}

#[test]
fn a_constructor_that_fails_loses_nothing() {
    // A cache that is checked has its slabs filled before they are any.
    for flags in [SlabFlags::NONE, SlabFlags::DEBUG_DEFAULT] {
        constructor_fails(flags);
    }
}

fn constructor_fails(flags: SlabFlags) {
    let world = World::two_nodes();
    let slab = world.slab();
    let args = CacheArgs {
        flags,
        ctor: Constructor::FailAfter(100),
        ..CacheArgs::new("fails", 200)
    };
    let id = slab.create(&args).unwrap();
    let mut objects = vec![];
    let error = loop {
        match slab.alloc(id, &KERNEL) {
            Ok(object) => objects.push(object),
            Err(error) => break error,
        }
        assert!(objects.len() <= 100);
    };
    assert_eq!(error, Error::ConstructorFailed);
    // Those of the slabs that it made.
    let report = world.report(id);
    assert_eq!(objects.len() as u64, report.nodes.total_objects);
    assert_eq!(report.counts.failed, 1);
    world.validate();
    for object in objects {
        slab.free(id, object, 0).unwrap();
    }
    world.destroy(id);
    world.finish();
}

/// A constructor that fills all of the object meets the free pointers in it.
#[test]
fn free_pointers_inside_constructed_objects_are_whole() {
    let world = World::two_nodes();
    let args = CacheArgs {
        flags: SlabFlags::NO_MERGE,
        ctor: Constructor::Fill(0),
        freeptr_offset: Some(48),
        ..CacheArgs::new("constructed", 100)
    };
    let slab = world.slab();
    let id = slab.create(&args).unwrap();
    let mut objects = [ObjAddr::NULL; 200];
    slab.alloc_bulk(id, &KERNEL, &mut objects).unwrap();
    assert_eq!(objects.iter().collect::<HashSet<_>>().len(), 200);
    assert_eq!(world.report(id).active_objects, 200);
    assert_eq!(slab.free_bulk(Some(id), &objects, 0), Ok(200));
    slab.shrink(id).unwrap();
    assert_eq!(world.report(id).nodes.slabs, 0);
    world.destroy(id);
    world.finish();
}
