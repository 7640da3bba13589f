// SPDX-License-Identifier: GPL-2.0

//! What is refused, and that it has changed nothing.

use crate::world::*;
use shadowmm_core::allocator::AllocatorKind;
use shadowmm_core::buddy::gfp::*;
use shadowmm_core::buddy::PageAllocator;
use shadowmm_core::error::Error;
use shadowmm_core::phys::*;
use shadowmm_core::slab::*;

/// The text of the report, which shows every count there is.
fn snapshot(machine: &Machine) -> (String, u64) {
    let mut text = String::new();
    machine.pool().write(&mut text).unwrap();
    (text, machine.free())
}

#[test]
fn what_is_no_object_is_not_freed() {
    for machine in Machine::each(1024) {
        let small = machine.kmalloc(48).unwrap().get();
        let large = machine.kmalloc(8192).unwrap().get();
        let page = machine
            .allocator()
            .alloc(&crate::machine::request(GFP_KERNEL, 0));
        let page = page.unwrap();
        let start = small & !0xfff;
        let before = snapshot(&machine);
        let cases = [
            (small + 1, Error::NotAnObject),
            (small + 8, Error::NotAnObject),
            (small - 32, Error::NotAnObject),
            // The container's header, and its tags.
            (start, Error::NotAnObject),
            (start + 64, Error::NotAnObject),
            (large + 8, Error::NotAnObject),
            (large + 4096, Error::NotAnObject),
            // A page of somebody else, a free page, a reserved one, none.
            (page.addr().0, Error::NotAnObject),
            (1023 << 12, Error::NotAnObject),
            (8, Error::NotAnObject),
            (1 << 40, Error::ForeignPfn),
            (u64::MAX, Error::ForeignPfn),
            // The object before it in the same container.
            (small - 64, Error::ObjectFree),
        ];
        for (address, error) in cases {
            let object = ObjAddr::new(address);
            assert_eq!(machine.kfree(object), Err(error), "{address:#x}");
            assert_eq!(machine.pool().ksize(object), Err(error), "{address:#x}");
            let larger = machine.pool().krealloc(Some(object), Bytes(3000), &REQUEST);
            assert_eq!(larger, Err(error), "{address:#x}");
        }
        assert_eq!(snapshot(&machine), before);
        machine.check();
        machine.allocator().free(page, PageOrder::ZERO).unwrap();
        machine.kfree(ObjAddr::new(small)).unwrap();
        machine.kfree(ObjAddr::new(large)).unwrap();
        assert_eq!(machine.kfree(ObjAddr::new(large)), Err(Error::NotAnObject));
        machine.check_empty();
    }
}

#[test]
fn an_object_is_freed_once() {
    for machine in Machine::each(1024) {
        let kept = machine.kmalloc(100).unwrap();
        let object = machine.kmalloc(100).unwrap();
        // What its owner wrote makes no difference.
        machine.fill(object, 128, 0);
        machine.kfree(object).unwrap();
        let before = snapshot(&machine);
        assert_eq!(machine.kfree(object), Err(Error::ObjectFree));
        assert_eq!(machine.pool().free_bulk(None, &[object, object], 0), Ok(0));
        assert_eq!(snapshot(&machine), before);
        assert_eq!(machine.kmalloc(100), Ok(object));
        let twice = [object, object, kept];
        assert_eq!(machine.pool().free_bulk(None, &twice, 0), Ok(2));
        machine.check_empty();
    }
}

#[test]
fn what_a_container_cannot_give_is_refused() {
    let machine = Machine::new(AllocatorKind::Buddy, 1024);
    let args = CacheArgs::new("x", 100);
    let mut refused = vec![
        CacheArgs { align: 64, ..args },
        CacheArgs {
            ctor: Constructor::Fill(1),
            ..args
        },
        CacheArgs {
            usersize: 8,
            ..args
        },
        CacheArgs {
            freeptr_offset: Some(8),
            ..args
        },
        CacheArgs {
            sheaf_capacity: 32,
            ..args
        },
    ];
    let flags = [
        SlabFlags::RED_ZONE,
        SlabFlags::POISON,
        SlabFlags::STORE_USER,
        SlabFlags::CONSISTENCY_CHECKS,
        SlabFlags::TRACE,
        SlabFlags::HWCACHE_ALIGN,
        SlabFlags::CACHE_DMA,
        SlabFlags::CACHE_DMA32,
        SlabFlags::TYPESAFE_BY_RCU,
    ];
    refused.extend(flags.map(|flags| CacheArgs { flags, ..args }));
    for args in refused {
        assert_eq!(
            machine.pool().create(&args),
            Err(Error::NotSupported),
            "{args:?}"
        );
    }
    let wrong = [
        (CacheArgs { align: 24, ..args }, Error::BadAlignment),
        (CacheArgs::new("x", 0), Error::BadObjectSize),
        (CacheArgs::new("x", (4 << 20) + 1), Error::ObjectTooLarge),
        (CacheArgs::new("x", u32::MAX), Error::ObjectTooLarge),
        (CacheArgs::new("", 8), Error::BadCacheName),
        (CacheArgs::new("a b", 8), Error::BadCacheName),
        (CacheArgs::new("kmsob-64", 8), Error::CacheExists),
        (CacheArgs::new("kmsob_cache", 8), Error::CacheExists),
        (
            CacheArgs {
                flags: SlabFlags::OBJECT_POISON,
                ..args
            },
            Error::BadFlags,
        ),
    ];
    for (args, error) in wrong {
        assert_eq!(machine.pool().create(&args), Err(error), "{args:?}");
    }
    let kmalloc = |request| machine.pool().kmalloc(Bytes(64), &request);
    let somewhere = REQUEST.on(NodeId(0));
    assert_eq!(kmalloc(somewhere), Err(Error::NotSupported));
    for gfp in [
        GFP_DMA,
        GFP_DMA32,
        GFP_HIGHUSER_MOVABLE,
        GFP_KERNEL | __GFP_THISNODE,
    ] {
        assert_eq!(kmalloc(ObjRequest::new(gfp)), Err(Error::NotSupported));
    }
    machine.check_empty();

    let hints = [
        SlabFlags::RECLAIM_ACCOUNT,
        SlabFlags::ACCOUNT,
        SlabFlags::PANIC,
        SlabFlags::NO_MERGE,
        SlabFlags::NOLEAKTRACE,
        SlabFlags::NO_USER_FLAGS,
    ];
    for flags in hints {
        let args = CacheArgs {
            flags,
            align: 32,
            ..args
        };
        let id = machine.pool().create(&args).unwrap();
        assert_eq!(machine.pool().report(id).unwrap().geometry.flags, flags);
        machine.pool().destroy(id, &mut String::new()).unwrap();
    }
    machine.check_empty();
}

#[test]
fn no_memory_is_an_answer_and_all_comes_back() {
    for machine in Machine::each(256) {
        let mut objects = vec![];
        let mut sizes = [40, 1500, 300, 2048, 3000, 12_000].into_iter().cycle();
        let mut failures = 0;
        while failures < 12 {
            match machine.kmalloc(sizes.next().unwrap()) {
                Ok(object) => objects.push(object),
                Err(error) => {
                    assert_eq!(error, Error::NoMemory);
                    failures += 1;
                }
            }
        }
        machine.check();
        // A container of a size that was not used needs a page that is not there.
        let rest = machine.kmalloc(64);
        let _ = rest.map(|object| objects.push(object));
        // Bulk takes all or none.
        let before = machine.list(2048).used;
        let id = machine.pool().find("kmsob-2048").unwrap();
        let mut places = [ObjAddr::NULL; 50];
        let bulk = machine.pool().alloc_bulk(id, &REQUEST, &mut places);
        assert_eq!(bulk, Err(Error::NoMemory));
        assert_eq!(machine.list(2048).used, before);
        machine.check();
        for object in objects {
            machine.kfree(object).unwrap();
        }
        machine.check_empty();
    }
}
