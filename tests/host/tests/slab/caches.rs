// SPDX-License-Identifier: GPL-2.0

//! Caches come and go.

use crate::world::*;
use shadowmm_core::error::Error;
use shadowmm_core::phys::*;
use shadowmm_core::slab::*;
use shadowmm_host_tests::machine::caches_of;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

#[test]
fn names_are_names() {
    let world = World::two_nodes();
    let slab = world.slab();
    let create = |name: &str| slab.create(&CacheArgs::new(name, 48));
    for name in ["", "a b", "a/b", "\u{fc}", &"x".repeat(64)] {
        assert_eq!(create(name), Err(Error::BadCacheName), "{name:?}");
    }
    assert_eq!(create(&"x".repeat(63)).map(|id| world.destroy(id)), Ok(()));
    world.finish();
}

#[test]
fn sizes_that_can_not_be_are_refused() {
    let world = World::two_nodes();
    let slab = world.slab();
    for (size, align) in [
        (0, 0),
        (u32::MAX, 0),
        (64, 24),
        (64, 1 << 31),
        (32 << 20, 0),
    ] {
        let args = CacheArgs {
            align,
            ..CacheArgs::new("bad", size)
        };
        assert!(slab.create(&args).is_err(), "{size} {align}");
    }
    assert_eq!(slab.find("bad"), None);
    world.finish();
}

#[test]
fn compatible_caches_are_one() {
    let world = World::two_nodes();
    let slab = world.slab();
    let a = slab.create(&CacheArgs::new("first", 120)).unwrap();
    let b = slab.create(&CacheArgs::new("second", 118)).unwrap();
    assert_eq!(a, b);
    assert_eq!(world.report(a).refcount, 2);
    assert_eq!(slab.find("second"), Some(a));
    assert_eq!(slab.alias(a, 0).unwrap().as_str(), "second");
    assert_eq!(slab.alias(a, 1), None);
    // Another size is another cache; so is one that is to be alone.
    let c = slab.create(&CacheArgs::new("third", 200)).unwrap();
    let d = world.create("fourth", 120);
    assert!(c != a && d != a && c != d);
    let object = slab.alloc(a, &KERNEL).unwrap();
    world.destroy(b);
    assert_eq!(world.report(a).refcount, 1);
    assert_eq!(slab.find("second"), None);
    slab.free(a, object, 0).unwrap();
    for id in [a, c, d] {
        world.destroy(id);
    }
    world.finish();
}

#[test]
fn the_same_name_twice_is_refused_unless_it_is_shared() {
    let world = World::two_nodes();
    let slab = world.slab();
    let id = world.create("name", 64);
    let args = CacheArgs {
        flags: SlabFlags::NO_MERGE,
        ..CacheArgs::new("name", 64)
    };
    assert_eq!(slab.create(&args), Err(Error::CacheExists));
    world.destroy(id);
    let id = slab.create(&args).unwrap();
    world.destroy(id);
    world.finish();
}

/// As `free_partial` does, which looks at partial slabs alone, and `__kmem_cache_shutdown`, which
/// looks at no other node when one has slabs.
#[test]
fn objects_in_full_slabs_are_not_told() {
    let world = World::two_nodes();
    let slab = world.slab();
    let id = world.create("full", 500);
    let per_slab = world.report(id).geometry.objects as usize;
    let alive = || {
        let mut alive = String::new();
        assert_eq!(slab.destroy(id, &mut alive), Err(Error::CacheBusy));
        alive.matches("Object 0x").count()
    };
    let on = |nid, count| -> Vec<_> {
        let request = KERNEL.on(NodeId(nid));
        let taken = (0..count).map(|_| slab.alloc(id, &request).unwrap());
        taken.collect()
    };
    let mut first = on(0, 2 * per_slab);
    assert_eq!(world.report(id).nodes.full, 2);
    assert_eq!(alive(), 0);
    let second = on(1, 3);
    assert_eq!(alive(), 0);
    slab.free(id, first.pop().unwrap(), 0).unwrap();
    assert_eq!(alive(), per_slab - 1);
    slab.free_bulk(Some(id), &first, 0).unwrap();
    assert_eq!(alive(), 3);
    slab.free_bulk(Some(id), &second, 0).unwrap();
    world.destroy(id);
    world.finish();
}

#[test]
fn a_name_that_stays_is_found_while_others_come_and_go() {
    let world = World::two_nodes();
    let slab = world.slab();
    let shared = |name| slab.create(&CacheArgs::new(name, 200)).unwrap();
    let id = shared("first");
    assert_eq!(shared("stays"), id);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            run_on(1);
            for _ in 0..100_000 {
                assert_eq!(shared("goes"), id);
                slab.destroy(id, &mut String::new()).unwrap();
                // Somebody else has the memory that the name lay in.
                let object = slab.kmalloc(Bytes(96), &KERNEL).unwrap();
                let window = world.mm.region.window(object.addr()).unwrap();
                let word: &AtomicU64 = window.cells(object.addr()).unwrap();
                word.store(0, Relaxed);
                slab.kfree(object, 0).unwrap();
            }
            done.store(true, Relaxed);
        });
        let mut lost = 0;
        while !done.load(Relaxed) {
            lost += u32::from(slab.find("stays") != Some(id));
        }
        assert_eq!(lost, 0);
    });
    for _ in 0..2 {
        slab.destroy(id, &mut String::new()).unwrap();
    }
    world.finish();
}

#[test]
fn a_cache_in_use_stays() {
    let world = World::two_nodes();
    let slab = world.slab();
    let id = world.create("busy", 500);
    let mut objects = vec![ObjAddr::NULL; 40];
    slab.alloc_bulk(id, &KERNEL, &mut objects).unwrap();
    let kept = objects.pop().unwrap();
    slab.free_bulk(Some(id), &objects, 0).unwrap();
    let mut alive = String::new();
    assert_eq!(slab.destroy(id, &mut alive), Err(Error::CacheBusy));
    assert!(
        alive.contains("BUG busy (Not tainted): Objects remaining on __kmem_cache_shutdown()"),
        "{alive}"
    );
    let listed: Vec<_> = alive
        .lines()
        .filter(|line| line.starts_with("Object "))
        .collect();
    assert_eq!(listed.len(), 1, "{alive}");
    assert!(
        listed[0].starts_with(&format!("Object {kept} @offset=")),
        "{alive}"
    );
    // It works as before.
    assert_eq!(world.report(id).active_objects, 1);
    let another = slab.alloc(id, &KERNEL).unwrap();
    slab.free(id, another, 0).unwrap();
    slab.free(id, kept, 0).unwrap();
    world.destroy(id);
    assert_eq!(slab.destroy(id, &mut alive), Err(Error::NoSuchCache));
    world.finish();
}

/// Caches that are there with the layer: two, kmalloc's of 13 sizes in four rows, and four of address spaces.
const OWN: usize = 2 + 4 * 13 + 4;

#[test]
fn the_layers_own_caches_stay() {
    let world = World::two_nodes();
    let slab = world.slab();
    let all = caches_of(&slab);
    assert_eq!(all.len(), OWN);
    // Those of address spaces end with them.
    for &id in &all[..OWN - 4] {
        let refused = slab.destroy(id, &mut String::new());
        assert_eq!(refused, Err(Error::CacheNeeded));
    }
    world.finish();
}

#[test]
fn a_thousand_caches() {
    let world = World::two_nodes();
    let slab = world.slab();
    let ids: Vec<_> = (0..1000)
        .map(|n| world.create(&format!("cache-{n}"), 8 + n * 8))
        .collect();
    let objects: Vec<_> = ids
        .iter()
        .map(|&id| slab.alloc(id, &KERNEL).unwrap())
        .collect();
    world.validate();
    for (n, (&id, &object)) in ids.iter().zip(&objects).enumerate() {
        assert_eq!(slab.find(&format!("cache-{n}")), Some(id));
        slab.free(id, object, 0).unwrap();
    }
    for id in ids {
        world.destroy(id);
    }
    world.finish();
}

#[test]
fn there_are_as_many_caches_as_numbers() {
    let world = World::new(&[96]);
    let mut ids = vec![];
    let error = loop {
        let name = format!("n{}", ids.len());
        let args = CacheArgs {
            flags: SlabFlags::NO_MERGE,
            ..CacheArgs::new(&name, 8)
        };
        match world.slab().create(&args) {
            Ok(id) => ids.push(id),
            Err(error) => break error,
        }
    };
    assert_eq!(error, Error::TooManyCaches);
    assert_eq!(ids.len(), MAX_CACHES - 1 - OWN);
    world.validate();
    for id in ids {
        world.destroy(id);
    }
    world.finish();
}

#[test]
fn objects_that_others_may_look_at_go_after_a_wait() {
    let world = World::two_nodes();
    let slab = world.slab();
    let args = CacheArgs {
        flags: SlabFlags::TYPESAFE_BY_RCU,
        ..CacheArgs::new("rcu", 1024)
    };
    let id = slab.create(&args).unwrap();
    let mut objects = vec![ObjAddr::NULL; 500];
    slab.alloc_bulk(id, &KERNEL, &mut objects).unwrap();
    let pages = world.report(id).pages;
    slab.free_bulk(Some(id), &objects, 0).unwrap();
    // No free has waited, so no page is back, although the slabs are the cache's no
    // more, but for those that each node keeps, and that CPUs' objects lie in.
    let report = world.report(id);
    assert_eq!(report.pages, pages);
    let kept = u64::from(report.geometry.min_partial) + report.cached;
    assert!(report.nodes.slabs <= kept, "{report:?}");
    world.validate();
    // What is done now and then waits once, for all of them.
    let waits = || world.mm.platform.synchronized.load(Relaxed);
    let before = waits();
    assert!(world.mm.wants_refresh(CpuId(0)));
    world.mm.refresh();
    assert_eq!(waits(), before + 1);
    assert!(!world.mm.wants_refresh(CpuId(3)));
    let slabs = report.nodes.slabs;
    let pages = Pages(slabs << report.geometry.order.get());
    assert_eq!(world.report(id).pages, pages);
    world.validate();

    // Shrinking waits, too, for those that have come since.
    slab.alloc_bulk(id, &KERNEL, &mut objects).unwrap();
    let pages = world.report(id).pages;
    slab.free_bulk(Some(id), &objects, 0).unwrap();
    let waits = waits();
    let back = slab.shrink(id).unwrap();
    assert_eq!(back, pages);
    // For the magazines, and for the pages.
    assert!(world.mm.platform.synchronized.load(Relaxed) >= waits + 2);
    world.destroy(id);
    world.finish();
}

#[test]
fn the_pages_of_slabs_are_counted_by_kind_and_node() {
    let world = World::two_nodes();
    assert_eq!(world.mm.slab_pages(NodeId::NONE, false), Pages::ZERO);
    let slab = world.slab();
    let args = CacheArgs {
        flags: SlabFlags::NO_MERGE | SlabFlags::RECLAIM_ACCOUNT,
        ..CacheArgs::new("reclaimable", 256)
    };
    let id = slab.create(&args).unwrap();
    let mut objects = vec![ObjAddr::NULL; 500];
    for node in [NodeId(0), NodeId(1)] {
        slab.alloc_bulk(id, &KERNEL.on(node), &mut objects).unwrap();
        let pages = world.mm.slab_pages(node, true);
        // 500 objects, 16 to a page.
        assert_eq!(pages, Pages(32));
        assert_eq!(slab.free_bulk(Some(id), &objects, 0), Ok(500));
    }
    let all = caches_of(&slab)
        .into_iter()
        .fold(Pages::ZERO, |all, id| all + world.report(id).pages);
    let both = [true, false].map(|kind| world.mm.slab_pages(NodeId::NONE, kind));
    assert_eq!(both[0] + both[1], all);
    world.destroy(slab.find("reclaimable").unwrap());
    world.finish();
}

#[test]
fn objects_that_others_may_look_at_are_checked_without_debugging() {
    let world = World::two_nodes();
    let slab = world.slab();
    for (name, flags, ctor) in [
        ("rcu", SlabFlags::TYPESAFE_BY_RCU, Constructor::None),
        ("made", SlabFlags::NO_MERGE, Constructor::Fill(7)),
    ] {
        let args = CacheArgs {
            flags,
            ctor,
            ..CacheArgs::new(name, 256)
        };
        let id = slab.create(&args).unwrap();
        let mut objects = vec![ObjAddr::NULL; 500];
        slab.alloc_bulk(id, &KERNEL, &mut objects).unwrap();
        let check = || {
            let mut told = String::new();
            slab.validate_cache(id, &mut told).unwrap();
            assert_eq!(told, "", "{name}");
        };
        check();
        slab.free_bulk(Some(id), &objects[..333], 0).unwrap();
        check();
        slab.free_bulk(Some(id), &objects[333..], 0).unwrap();
        check();
        world.destroy(id);
    }
    world.finish();
}
