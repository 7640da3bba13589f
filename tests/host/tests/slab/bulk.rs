// SPDX-License-Identifier: GPL-2.0

//! Many objects at once.

use crate::world::*;
use shadowmm_core::buddy::gfp;
use shadowmm_core::error::Error;
use shadowmm_core::slab::*;
use std::collections::HashSet;

#[test]
fn all_or_none() {
    let world = World::new(&[24]);
    let slab = world.slab();
    let id = world.create("bulk", 4096);
    // More than there is memory.
    let mut objects = vec![ObjAddr::new(7); 100_000];
    let request = ObjRequest::new(gfp::GFP_NOWAIT);
    assert_eq!(
        slab.alloc_bulk(id, &request, &mut objects),
        Err(Error::NoMemory)
    );
    assert_eq!(world.report(id).active_objects, 0);
    world.validate();
    let mut objects = vec![ObjAddr::NULL; 1000];
    slab.alloc_bulk(id, &KERNEL, &mut objects).unwrap();
    assert_eq!(objects.iter().collect::<HashSet<_>>().len(), 1000);
    assert_eq!(world.report(id).active_objects, 1000);
    // What can't be freed is passed over.
    let mut back = objects.clone();
    back.extend([objects[3], ObjAddr::new(12), objects[5]]);
    assert_eq!(slab.free_bulk(Some(id), &back, 0), Ok(1000));
    assert_eq!(world.report(id).active_objects, 0);
    slab.alloc_bulk(id, &KERNEL, &mut []).unwrap();
    world.destroy(id);
    world.finish();
}

#[test]
fn a_constructor_that_fails_in_the_middle() {
    let world = World::two_nodes();
    let slab = world.slab();
    let args = CacheArgs {
        ctor: Constructor::FailAfter(500),
        ..CacheArgs::new("middle", 100)
    };
    let id = slab.create(&args).unwrap();
    let mut objects = vec![ObjAddr::NULL; 1000];
    let refused = slab.alloc_bulk(id, &KERNEL, &mut objects);
    assert_eq!(refused, Err(Error::ConstructorFailed));
    assert!(objects.iter().all(|object| object.is_null()));
    assert_eq!(world.report(id).active_objects, 0);
    world.validate();
    slab.alloc_bulk(id, &KERNEL, &mut objects[..100]).unwrap();
    assert_eq!(slab.free_bulk(Some(id), &objects[..100], 0), Ok(100));
    world.destroy(id);
    world.finish();
}

#[test]
fn objects_of_any_cache() {
    let world = World::two_nodes();
    let slab = world.slab();
    let sizes = (0..300).map(|n| 1 + n * 31 % 9000);
    let objects: Vec<_> = sizes
        .map(|size| {
            slab.kmalloc(shadowmm_core::phys::Bytes(size), &KERNEL)
                .unwrap()
        })
        .collect();
    assert_eq!(slab.free_bulk(None, &objects, 0), Ok(objects.len()));
    world.finish();
}

/// A slab that becomes empty stays if the node has fewer than `min_partial` that are not
/// full (`__slab_free`). Where its objects come one by one, it is itself among those by
/// then; where all come together, it was full until now and is not.
#[test]
fn how_many_empty_slabs_stay() {
    let world = World::new(&[48]);
    let slab = world.slab();
    let args = CacheArgs {
        // Nothing is kept per CPU.
        flags: SlabFlags::NOLEAKTRACE,
        ..CacheArgs::new("stay", 1024)
    };
    let id = slab.create(&args).unwrap();
    let geometry = world.report(id).geometry;
    let (per_slab, min_partial) = (geometry.objects as usize, u64::from(geometry.min_partial));
    assert_eq!((64 % per_slab, geometry.sheaf_capacity), (0, 0));
    let kept_after = |free: &dyn Fn(&[ObjAddr])| {
        slab.shrink(id).unwrap();
        let mut objects = vec![ObjAddr::NULL; per_slab * 20];
        slab.alloc_bulk(id, &KERNEL, &mut objects).unwrap();
        let head = |object: &ObjAddr| object.pfn().align_down(geometry.order);
        objects.sort_by_key(|object| (head(object), object.get()));
        free(&objects);
        let report = world.report(id);
        assert_eq!(report.active_objects, 0);
        world.validate();
        report.nodes.nr_partial()
    };
    let together = kept_after(&|objects| {
        let freed = slab.cache(id).unwrap().free_bulk(objects);
        assert_eq!(freed, objects.len());
    });
    assert_eq!(together, min_partial);
    let one_by_one = kept_after(&|objects| {
        for &object in objects {
            slab.free(id, object, 0).unwrap();
        }
    });
    assert_eq!(one_by_one, min_partial - 1);
    world.destroy(id);
    world.finish();
}
