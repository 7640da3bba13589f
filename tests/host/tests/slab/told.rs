// SPDX-License-Identifier: GPL-2.0

//! Who listens is told of every object, once; and nothing is told when nobody
//! does.

use crate::world::*;
use shadowmm_core::buddy::gfp;
use shadowmm_core::error::Error;
use shadowmm_core::phys::Bytes;
use shadowmm_core::phys::NodeId;
use shadowmm_core::slab::CacheArgs;
use shadowmm_core::slab::CacheName;
use shadowmm_core::slab::ObjAddr;
use shadowmm_core::slab::ObjectAllocator;
use shadowmm_core::slab::SlabFlags;
use shadowmm_core::trace::TraceEvent;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;

/// An object of `kmalloc-64` for `size` bytes.
fn kmalloc(object: ObjAddr, size: u64) -> TraceEvent {
    TraceEvent::Kmalloc {
        call_site: 0x1234,
        object: Some(object),
        bytes_req: Bytes(size),
        bytes_alloc: Bytes(64),
        gfp: gfp::GFP_KERNEL,
        nid: NodeId::NONE,
    }
}

#[test]
fn an_object_is_told_when_it_comes_and_when_it_goes() {
    let world = World::two_nodes();
    let slab = world.slab();
    let args = CacheArgs {
        align: 64,
        flags: SlabFlags::ACCOUNT,
        ..CacheArgs::new("inodes", 100)
    };
    let id = slab.create(&args).unwrap();
    let name = CacheName::new("inodes").unwrap();
    // One is at hand when somebody begins to listen.
    let first = slab.alloc(id, &KERNEL).unwrap();
    slab.free(id, first, 0).unwrap();
    assert_eq!(
        slab.report(id).unwrap().cached,
        slab.report(id).unwrap().nodes.objects
    );
    world.listen(true);
    assert_eq!(slab.report(id).unwrap().cached, 0);
    assert_eq!(world.heard(), []);

    let cache = slab.cache(id).unwrap();
    let object = cache.alloc(&KERNEL.by(0x1234).on(NodeId(1))).unwrap();
    let alloc = TraceEvent::KmemCacheAlloc {
        call_site: 0x1234,
        object: Some(object),
        name,
        bytes_req: Bytes(100),
        bytes_alloc: Bytes(128),
        gfp: gfp::GFP_KERNEL,
        nid: NodeId(1),
        accounted: true,
    };
    assert_eq!(world.heard(), [alloc]);
    cache.free(object).unwrap();
    let free = |call_site| TraceEvent::KmemCacheFree {
        call_site,
        object,
        name,
    };
    assert_eq!(world.heard(), [free(0)]);

    // Through the seam, likewise.
    let again = slab.alloc(id, &KERNEL.by(0x1234).on(NodeId(1))).unwrap();
    assert_eq!((again, world.heard()), (object, vec![alloc]));
    slab.free(id, again, 0x5678).unwrap();
    assert_eq!(world.heard(), [free(0x5678)]);
    assert_eq!(slab.report(id).unwrap().cached, 0);

    // A second free of it is told, too, since what comes of it is not known yet; not
    // one to another cache.
    assert_eq!(slab.free(id, again, 0), Err(Error::ObjectFree));
    assert_eq!(world.heard(), [free(0)]);
    let other = slab.create(&CacheArgs::new("other", 1000)).unwrap();
    world.heard();
    assert_eq!(slab.free(other, again, 0), Err(Error::WrongCache));
    assert_eq!(world.heard(), []);

    world.listen(false);
    let object = cache.alloc(&KERNEL).unwrap();
    cache.free(object).unwrap();
    assert_eq!(world.heard(), []);
    assert!(
        slab.report(id).unwrap().cached > 0,
        "CPUs keep objects again"
    );
    slab.destroy(id, &mut String::new()).unwrap();
    slab.destroy(other, &mut String::new()).unwrap();
    world.finish();
}

#[test]
fn kmalloc_and_kfree_are_told_and_nothing_else_is() {
    let world = World::two_nodes();
    let slab = world.slab();
    world.listen(true);
    let by = KERNEL.by(0x1234);
    let kfree = |object| TraceEvent::Kfree {
        call_site: 0,
        object,
    };

    let object = slab.by_size().alloc(Bytes(50), &by).unwrap();
    slab.by_size().free(object).unwrap();
    assert_eq!(world.heard(), [kmalloc(object, 50), kfree(object)]);
    let object = slab.kmalloc(Bytes(33), &by).unwrap();
    slab.kfree(object, 0).unwrap();
    assert_eq!(world.heard(), [kmalloc(object, 33), kfree(object)]);

    // A larger one in its place.
    let small = slab.kmalloc(Bytes(33), &by).unwrap();
    let large = slab.krealloc(Some(small), Bytes(10_000), &by).unwrap();
    slab.kfree(large, 0).unwrap();
    let pages = TraceEvent::Kmalloc {
        call_site: 0x1234,
        object: Some(large),
        bytes_req: Bytes(10_000),
        bytes_alloc: Bytes(16_384),
        gfp: gfp::GFP_KERNEL,
        nid: NodeId::NONE,
    };
    assert_eq!(
        world.heard(),
        [kmalloc(small, 33), pages, kfree(small), kfree(large)]
    );

    // Of size 0 there is none, but to free it is told.
    slab.kfree(slab.kmalloc(Bytes(0), &by).unwrap(), 0).unwrap();
    assert_eq!(world.heard(), [kfree(ObjAddr::NULL)]);
    // One that is not to be had.
    let whole = Bytes(4 << 20);
    let mut had = vec![];
    while let Ok(object) = slab.kmalloc(whole, &by) {
        had.push(object);
    }
    let events = world.heard();
    let failed = |event: &&TraceEvent| matches!(event, TraceEvent::Kmalloc { object: None, .. });
    assert_eq!(
        (events.len(), events.iter().filter(failed).count()),
        (had.len() + 1, 1)
    );
    for object in had {
        slab.kfree(object, 0).unwrap();
    }
    world.listen(false);
    world.finish();
}

#[test]
fn many_at_once_are_not_told() {
    let world = World::two_nodes();
    let slab = world.slab();
    let id = slab.create(&CacheArgs::new("many", 200)).unwrap();
    world.listen(true);
    let mut objects = [ObjAddr::NULL; 100];
    slab.alloc_bulk(id, &KERNEL, &mut objects).unwrap();
    assert_eq!(slab.free_bulk(Some(id), &objects, 0), Ok(100));
    slab.alloc_bulk(id, &KERNEL, &mut objects).unwrap();
    assert_eq!(slab.cache(id).unwrap().free_bulk(&objects), 100);
    assert_eq!(world.heard(), []);
    world.listen(false);
    slab.destroy(id, &mut String::new()).unwrap();
    world.finish();
}

#[test]
fn a_layer_that_comes_up_while_somebody_listens_keeps_nothing() {
    let world = World::two_nodes();
    world.mm.platform.listen_now(true);
    let slab = world.slab();
    let objects: Vec<_> = (0..100)
        .map(|_| slab.kmalloc(Bytes(64), &KERNEL).unwrap())
        .collect();
    for &object in &objects {
        slab.kfree(object, 0).unwrap();
    }
    let kmalloc = |event: &&TraceEvent| {
        matches!(
            event,
            TraceEvent::Kmalloc {
                bytes_req: Bytes(64),
                ..
            }
        )
    };
    assert_eq!(world.heard().iter().filter(kmalloc).count(), 100);
    let mut next = None;
    while let Some(id) = slab.next(next) {
        assert_eq!(slab.report(id).unwrap().cached, 0);
        next = Some(id);
    }
    // What is drained meanwhile stays closed.
    slab.shrink_all();
    let object = slab.kmalloc(Bytes(64), &KERNEL).unwrap();
    slab.kfree(object, 0).unwrap();
    assert_eq!(world.heard().len(), 2);
    world.listen(false);
    world.finish();
}

#[test]
fn who_begins_to_listen_while_the_layer_comes_up_is_heard() {
    let world = World::two_nodes();
    let (mm, platform) = (world.mm, &world.mm.platform);
    let asked: &AtomicBool = Box::leak(Box::default());
    let told: &AtomicBool = Box::leak(Box::default());
    // Nobody listens when that is asked first; he who comes then waits for the layer.
    assert!(platform.when_asked(|| {
        if asked.swap(true, SeqCst) {
            return;
        }
        while !told.load(SeqCst) && platform.relaxed.load(SeqCst) == 0 {
            thread::yield_now();
        }
    }));
    thread::scope(|scope| {
        scope.spawn(|| {
            run_on(1);
            while !asked.load(SeqCst) {
                thread::yield_now();
            }
            platform.listen_now(true);
            mm.refresh_told();
            told.store(true, SeqCst);
        });
        mm.slab().unwrap();
    });
    let slab = world.slab();
    // What the layer has asked for itself.
    world.heard();
    let mut next = None;
    while let Some(id) = slab.next(next) {
        let cache = slab.cache(id).unwrap();
        for _ in 0..3 {
            cache.free(cache.alloc(&KERNEL).unwrap()).unwrap();
        }
        assert_eq!(world.heard().len(), 6, "{}", world.report(id).name.as_str());
        next = Some(id);
    }
    world.listen(false);
    world.finish();
}
