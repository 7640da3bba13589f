// SPDX-License-Identifier: GPL-2.0

//! Whole boots with `objects=kmsob`, over either page allocator.

use shadowmm_core::allocator::AllocatorKind;
use shadowmm_core::boot::Boot;
use shadowmm_core::boot::Config;
use shadowmm_core::boot::Store;
use shadowmm_core::boot::Text;
use shadowmm_core::buddy::gfp::GFP_KERNEL;
use shadowmm_core::buddy::AllocRequest;
use shadowmm_core::buddy::PageAllocator;
use shadowmm_core::error::Error;
use shadowmm_core::phys::*;
use shadowmm_core::report::Snapshot;
use shadowmm_core::slab::*;
use shadowmm_host_tests::machine::backing;
use shadowmm_host_tests::machine::builtin;
use shadowmm_host_tests::machine::text;
use shadowmm_host_tests::HostPlatform;

use crate::world::REQUEST;

type HostBoot = Boot<'static, HostPlatform>;

fn boot(allocator: AllocatorKind, objects: ObjectAllocatorKind) -> HostBoot {
    let backing = backing(&[64, 64]);
    let config = Config {
        allocator,
        objects,
        ..Config::default()
    };
    let store = Box::leak(Box::new(Store::new()));
    let map = builtin(&backing);
    let mut boot = Boot::detect(store, &map, &backing, &config, HostPlatform::default()).unwrap();
    boot.run().unwrap();
    boot
}

fn check(boot: &HostBoot) {
    let valid = boot.validate().unwrap();
    valid.unwrap_or_else(|flaw| panic!("{flaw}"));
    boot.accounting().check().unwrap();
}

#[test]
fn objects_come_from_a_booted_shadow_and_go_back() {
    for allocator in AllocatorKind::ALL {
        let boot = boot(allocator, ObjectAllocatorKind::Kmsob);
        check(&boot);
        let mm = boot.mm().unwrap();
        let kmsob = mm.kmsob().unwrap();
        let before = (mm.free(), text(&boot, Text::Buddyinfo));
        let id = kmsob.create(&CacheArgs::new("inodes", 600)).unwrap();
        let mut objects = vec![ObjAddr::NULL; 1000];
        kmsob.alloc_bulk(id, &REQUEST, &mut objects).unwrap();
        let sizes = (1..4000).step_by(7);
        objects.extend(sizes.map(|size| kmsob.kmalloc(Bytes(size), &REQUEST).unwrap()));
        check(&boot);
        let report = text(&boot, Text::Kmsob);
        assert!(
            report.starts_with("objects kmsob\ncontainers 64\nlarge_blocks 279\n"),
            "{report}"
        );
        println!("{report}");
        for object in objects {
            kmsob.kfree(object, 0).unwrap();
        }
        kmsob.destroy(id, &mut String::new()).unwrap();
        check(&boot);
        assert_eq!((mm.free(), text(&boot, Text::Buddyinfo)), before);
    }
}

#[test]
fn all_memory_can_be_objects() {
    for allocator in AllocatorKind::ALL {
        let boot = boot(allocator, ObjectAllocatorKind::Kmsob);
        let mm = boot.mm().unwrap();
        let kmsob = mm.kmsob().unwrap();
        let before = mm.free();
        let mut objects = vec![];
        for size in [2048, 100, 32] {
            let last = loop {
                match kmsob.kmalloc(Bytes(size), &REQUEST) {
                    Ok(object) => objects.push(object),
                    Err(error) => break error,
                }
            };
            assert_eq!(last, Error::NoMemory);
        }
        check(&boot);
        assert_eq!(kmsob.free_bulk(None, &objects, 0), Ok(objects.len()));
        check(&boot);
        assert_eq!(mm.free(), before);
    }
}

#[test]
fn unused_extensions_go_when_memory_is_short() {
    let boot = boot(AllocatorKind::Buddy, ObjectAllocatorKind::Kmsob);
    let mm = boot.mm().unwrap();
    let kmsob = mm.kmsob().unwrap();
    let mut objects = vec![];
    while let Ok(object) = kmsob.kmalloc(Bytes(2048), &REQUEST) {
        objects.push(object);
    }
    let stays = objects.swap_remove(0);
    for &object in &objects {
        kmsob.kfree(object, 0).unwrap();
    }
    // The one that stays keeps all extensions, until somebody needs the pages.
    let (before, unused) = (mm.free(), [0, 1].map(|nid| kmsob.unused(NodeId(nid))));
    let blocks = Pages(objects.len() as u64 / 7 * 4);
    assert_eq!(unused[0] + unused[1], blocks);
    assert_eq!(
        [0, 1]
            .map(|nid| kmsob.pages_on(NodeId(nid)))
            .into_iter()
            .sum::<Pages>(),
        blocks + Pages(4)
    );
    let request = AllocRequest::new(GFP_KERNEL, PageOrder::ZERO);
    let wanted = before.0 + 1000;
    let mut pages = vec![];
    while (pages.len() as u64) < wanted {
        pages.push(mm.allocator().alloc(&request).unwrap());
    }
    check(&boot);
    for pfn in pages {
        mm.allocator().free(pfn, PageOrder::ZERO).unwrap();
    }
    assert!(mm.free() > before + Pages(1000));
    kmsob.kfree(stays, 0).unwrap();
    check(&boot);
    assert_eq!(
        text(&boot, Text::Kmsob).lines().nth(1),
        Some("containers 0")
    );
}

#[test]
fn without_it_the_pool_is_not_there() {
    let boot = boot(AllocatorKind::Cosmos, ObjectAllocatorKind::Slab);
    assert!(boot.mm().unwrap().kmsob().is_none());
    assert_eq!(text(&boot, Text::Kmsob), "objects slab\n");
}
