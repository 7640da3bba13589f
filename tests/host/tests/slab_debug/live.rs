// SPDX-License-Identifier: GPL-2.0

//! Caches of a booted machine, misused through the requests that anybody can
//! make and by writing to memory.

use crate::world::Witness;
use crate::world::CALLER;
use shadowmm_core::boot::Boot;
use shadowmm_core::boot::Config;
use shadowmm_core::boot::Mm;
use shadowmm_core::boot::Store;
use shadowmm_core::buddy::gfp;
use shadowmm_core::buddy::FreeReport;
use shadowmm_core::buddy::PageAllocator;
use shadowmm_core::error::Error;
use shadowmm_core::page::ZoneId;
use shadowmm_core::phys::Bytes;
use shadowmm_core::phys::PhysAddr;
use shadowmm_core::slab::debug::*;
use shadowmm_core::slab::CacheArgs;
use shadowmm_core::slab::CacheId;
use shadowmm_core::slab::Constructor;
use shadowmm_core::slab::DebugParameter;
use shadowmm_core::slab::Holding;
use shadowmm_core::slab::ObjAddr;
use shadowmm_core::slab::ObjRequest;
use shadowmm_core::slab::ObjectAllocator;
use shadowmm_core::slab::ObjectBytes;
use shadowmm_core::slab::SlabAllocator;
use shadowmm_core::slab::SlabConfig;
use shadowmm_core::slab::SlabFlags;
use shadowmm_host_tests::machine::backing;
use shadowmm_host_tests::machine::builtin;
use shadowmm_host_tests::machine::caches_of;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

const ALL: SlabFlags = SlabFlags::DEBUG_DEFAULT;
const KERNEL: ObjRequest = ObjRequest::new(gfp::GFP_KERNEL).by(CALLER);

type Slab = SlabAllocator<'static, 'static, Witness>;

struct Machine {
    mm: &'static Mm<'static, Witness>,
    before: Vec<FreeReport>,
}

impl Machine {
    fn new() -> Self {
        Self::with("")
    }

    /// With `slab_debug=`, unless it is empty.
    fn with(option: &str) -> Self {
        let backing = backing(&[48, 48]);
        let map = builtin(&backing);
        let store = Box::leak(Box::new(Store::new()));
        let debug = match option {
            "" => DebugParameter::NONE,
            text => DebugParameter::new(text).unwrap(),
        };
        let config = Config {
            slab: SlabConfig {
                debug,
                ..SlabConfig::default()
            },
            ..Config::default()
        };
        let boot = Boot::detect(store, &map, &backing, &config, Witness::default());
        let boot = Box::leak(Box::new(boot.unwrap()));
        boot.run().unwrap();
        let mm = boot.mm().unwrap();
        let before = free(mm);
        Self { mm, before }
    }

    fn slab(&self) -> Slab {
        self.mm.slab().unwrap()
    }

    fn create(&self, name: &str, size: u32, flags: SlabFlags) -> CacheId {
        let mut args = CacheArgs::new(name, size);
        args.flags = flags | SlabFlags::NO_MERGE;
        self.slab().create(&args).unwrap()
    }

    fn alloc(&self, id: CacheId) -> ObjAddr {
        self.slab().alloc(id, &KERNEL).unwrap()
    }

    fn free(&self, id: CacheId, object: ObjAddr) -> Result<(), Error> {
        self.slab().free(id, object, CALLER)
    }

    /// Writes a byte so far from the object's start, whosever it is.
    fn poke(&self, object: ObjAddr, offset: i64, byte: u8) {
        let addr = object.get().wrapping_add_signed(offset);
        let window = self.mm.region.window(PhysAddr(addr)).unwrap();
        let word: &AtomicU64 = window.cells(PhysAddr(addr & !7)).unwrap();
        let mut bytes = word.load(Relaxed).to_ne_bytes();
        bytes[(addr & 7) as usize] = byte;
        word.store(u64::from_ne_bytes(bytes), Relaxed);
    }

    fn peek(&self, object: ObjAddr, offset: i64) -> u8 {
        let addr = object.get().wrapping_add_signed(offset);
        let window = self.mm.region.window(PhysAddr(addr)).unwrap();
        let word: &AtomicU64 = window.cells(PhysAddr(addr & !7)).unwrap();
        word.load(Relaxed).to_ne_bytes()[(addr & 7) as usize]
    }

    fn found(&self) -> Vec<Finding> {
        std::mem::take(&mut *self.mm.platform.found.lock().unwrap())
    }

    fn said(&self) -> String {
        std::mem::take(&mut *self.mm.platform.said.lock().unwrap())
    }

    #[track_caller]
    fn validate(&self) {
        if let Err(flaw) = self.slab().validate() {
            panic!("{flaw}");
        }
        if let Err(flaw) = self.mm.validate() {
            panic!("{flaw}");
        }
    }

    /// Every cache is looked at, nothing is found, and the layer goes with all its
    /// pages.
    #[track_caller]
    fn finish(self) {
        self.validate();
        let slab = self.slab();
        for id in caches_of(&slab) {
            assert_eq!(self.check(id), "", "{}", self.said());
        }
        assert_eq!(self.said(), "");
        self.mm.shut_down().unwrap();
        assert_eq!(self.said(), "");
        assert_eq!(self.before, free(self.mm));
    }

    /// What a look at the cache says.
    fn check(&self, id: CacheId) -> String {
        let mut told = String::new();
        self.slab().validate_cache(id, &mut told).unwrap();
        told
    }

    #[track_caller]
    fn destroy(&self, id: CacheId) {
        let mut alive = String::new();
        if let Err(error) = self.slab().destroy(id, &mut alive) {
            panic!("{error}\n{alive}");
        }
    }
}

/// What is free in each zone, with nothing kept by CPUs.
fn free(mm: &Mm<'static, Witness>) -> Vec<FreeReport> {
    mm.drain(None).unwrap();
    let zones = mm.nodes.populated_zones();
    let ids = zones.map(|zone| ZoneId::new(zone.nid, zone.kind));
    let allocator = mm.allocator();
    ids.map(|id| allocator.free_report(id).unwrap()).collect()
}

#[test]
fn writes_around_an_object_are_found_when_it_is_freed() {
    let machine = Machine::new();
    let cache = machine.create("misused", 64, ALL);
    let object = machine.alloc(cache);
    for (offset, byte, kind) in [
        (-1, 0xcc, None),
        (-1, 0, Some(Finding::LeftRedzone)),
        (64, 0, Some(Finding::RightRedzone)),
        (151, 0, Some(Finding::ObjectPadding)),
    ] {
        machine.poke(object, offset, byte);
        let Some(kind) = kind else {
            continue;
        };
        assert_eq!(machine.free(cache, object), Err(Error::SlabDamaged));
        assert_eq!(machine.found(), [kind]);
        let said = machine.said();
        assert!(said.contains("BUG misused ("), "{said}");
        assert!(said
            .contains("Allocated in function_51729+0x0/0x10 age=0 cpu=1 pid=77\n function_51729"));
        // The frame of the slab layer is not part of the stack.
        assert!(!said.contains("function_20907"), "{said}");
        assert!(said.contains(&format!("FIX misused: Object at {object} not freed\n")));
        assert_eq!(machine.slab().findings(cache).unwrap().of(kind), 1);
    }
    machine.free(cache, object).unwrap();
    machine.destroy(cache);
    machine.finish();
}

#[test]
fn a_write_after_the_free_is_found_at_the_next_allocation() {
    let machine = Machine::new();
    let cache = machine.create("misused", 64, ALL);
    let object = machine.alloc(cache);
    machine.free(cache, object).unwrap();
    machine.poke(object, 8, 0);
    // Another slab serves the request.
    let other = machine.alloc(cache);
    assert_ne!(other.pfn(), object.pfn());
    assert_eq!(machine.found(), [Finding::Poison]);
    let said = machine.said();
    assert!(said.contains("[Poison overwritten] "), "{said}");
    assert!(said.contains("\nFreed in function_51729+0x0/0x10 age="));
    assert!(said.ends_with("FIX misused: Marking all objects used\n"));
    machine.validate();
    machine.free(cache, other).unwrap();
    // The slab that was given up stays, and so does the cache.
    let mut alive = String::new();
    assert_eq!(
        machine.slab().destroy(cache, &mut alive),
        Err(Error::CacheBusy)
    );
    assert_eq!(alive, "");
}

#[test]
fn a_write_after_the_free_is_found_when_the_cache_is_validated() {
    let machine = Machine::new();
    let cache = machine.create("misused", 64, ALL);
    let object = machine.alloc(cache);
    let kept = machine.alloc(cache);
    machine.free(cache, object).unwrap();
    machine.poke(object, 63, 0);
    let told = machine.check(cache);
    assert_eq!(told, "1 findings in 1 slabs; see slab_report");
    assert_eq!(machine.found(), [Finding::EndPoison]);
    machine.said();
    assert_eq!(machine.check(cache), "");
    machine.free(cache, kept).unwrap();
    machine.destroy(cache);
    machine.finish();
}

#[test]
fn what_is_freed_wrongly_is_refused_and_told() {
    let machine = Machine::new();
    let cache = machine.create("misused", 64, ALL);
    let other = machine.create("other", 64, ALL);
    let (object, kept) = (machine.alloc(cache), machine.alloc(cache));
    let at = |offset| ObjAddr::new(object.get() + offset);
    // An address inside, an odd one, another cache's, no slab's, none at all.
    for (id, wrong, error, kind, text) in [
        (
            cache,
            at(8),
            Error::NotAnObject,
            Finding::InvalidPointer,
            "Invalid object pointer",
        ),
        (
            cache,
            at(1),
            Error::NotAnObject,
            Finding::InvalidPointer,
            "Invalid object pointer",
        ),
        (
            other,
            object,
            Error::WrongCache,
            Finding::WrongCache,
            "object belongs to different cache misused",
        ),
        (
            cache,
            ObjAddr::new(0x10_0000),
            Error::NotAnObject,
            Finding::NotSlab,
            "object is not in a slab page",
        ),
        (
            cache,
            ObjAddr::new(1 << 40),
            Error::ForeignPfn,
            Finding::NotSlab,
            "object is not in a slab page",
        ),
    ] {
        assert_eq!(machine.free(id, wrong), Err(error), "{text}");
        assert_eq!(machine.found(), [kind], "{text}");
        let said = machine.said();
        assert!(said.contains(text), "{said}");
        assert_eq!(
            machine.slab().findings(id).unwrap().of(kind),
            1 + u32::from(wrong == at(1) || wrong.get() == 1 << 40)
        );
    }
    machine.free(cache, object).unwrap();
    for _ in 0..2 {
        assert_eq!(machine.free(cache, object), Err(Error::ObjectFree));
        assert_eq!(machine.found(), [Finding::AlreadyFree]);
    }
    assert!(machine.said().contains("Object already free\n"));
    machine.free(cache, kept).unwrap();
    machine.destroy(cache);
    machine.destroy(other);
    machine.finish();
}

#[test]
fn freelists_of_caches_that_are_not_debugged_are_hardened() {
    let machine = Machine::new();
    let cache = machine.create("plain", 512, SlabFlags::NONE);
    let objects: Vec<_> = (0..8).map(|_| machine.alloc(cache)).collect();
    for &object in &objects {
        machine.free(cache, object).unwrap();
    }
    machine.slab().shrink(cache).unwrap();
    let objects: Vec<_> = (0..3).map(|_| machine.alloc(cache)).collect();
    machine.slab().shrink(cache).unwrap();
    for &object in &objects[..2] {
        machine.free(cache, object).unwrap();
    }
    // What CPUs keep goes back, so that both are in their slab's list.
    machine.slab().shrink(cache).unwrap();
    // Free pointers are neither 0 nor an address.
    let word = |object| -> u64 {
        (256..264).fold(0, |word, at| {
            (word << 8) | u64::from(machine.peek(object, at))
        })
    };
    assert!(objects[..2].iter().all(|&object| word(object) >> 32 != 0));
    // The same twice: seen by the seam, and told where the running kernel stops.
    let twice: Vec<_> = objects[..2]
        .iter()
        .map(|&object| machine.free(cache, object))
        .collect();
    assert_eq!(twice, [Err(Error::ObjectFree); 2]);
    assert_eq!(machine.found(), [Finding::AlreadyFree]);
    assert!(machine
        .said()
        .contains("BUG plain (Not tainted): Object already free\n"));
    // Overwritten: what lies behind it is lost, and nobody gets it.
    machine.poke(objects[0], 256, !machine.peek(objects[0], 256));
    machine.poke(objects[1], 256, !machine.peek(objects[1], 256));
    let taken: Vec<_> = (0..20).map(|_| machine.alloc(cache)).collect();
    assert_eq!(machine.found(), [Finding::FreePointer]);
    assert!(machine.said().contains("Freepointer corrupt\n"));
    machine.validate();
    for object in taken {
        machine.free(cache, object).unwrap();
    }
    machine.validate();
}

/// However many bytes those are, and no more: what was asked for, of a cache with owners, and a
/// size that is not one of words.
#[test]
fn all_bytes_go_along_when_an_object_moves() {
    let owners = SlabFlags::KMALLOC | SlabFlags::STORE_USER;
    for flags in [
        owners,
        owners | SlabFlags::RED_ZONE,
        ALL | SlabFlags::KMALLOC,
        ALL,
    ] {
        let machine = Machine::new();
        let slab = machine.slab();
        for (size, asked) in [(64, 5), (64, 10), (64, 16), (61, 61), (3, 3)] {
            let cache = machine.create("moving", size, flags);
            let object = slab.alloc(cache, &KERNEL.of_size(asked)).unwrap();
            for at in 0..asked {
                machine.poke(object, at.into(), at as u8 + 1);
            }
            let moved = slab.krealloc(Some(object), Bytes(100), &KERNEL).unwrap();
            assert_ne!(moved, object);
            let bytes: Vec<_> = (0..asked)
                .map(|at| machine.peek(moved, at.into()))
                .collect();
            assert!(
                bytes.iter().zip(1..).all(|(&is, was)| is == was),
                "{asked} of {size}: {bytes:?}"
            );
            slab.kfree(moved, CALLER).unwrap();
            machine.destroy(cache);
        }
        machine.finish();
    }
}

/// What `test_kmalloc_redzone_access` of Linux's lib/tests/slub_kunit.c does, by number: to look
/// at the bytes and to write to them is not to ask how many there are.
#[test]
fn who_has_not_asked_how_large_an_object_is_is_held_to_what_he_asked_for() {
    let machine = Machine::with("ZU");
    let slab = machine.slab();
    let object = slab.kmalloc(Bytes(18), &KERNEL).unwrap();
    let id = slab.cache_of(object).unwrap();
    let holding = Holding {
        object,
        cache: None,
    };
    let bytes = ObjectBytes {
        region: machine.mm.region,
        map: machine.mm.sparse,
        pages: &machine.mm.allocator(),
        objects: &slab,
    };
    let mut behind = [0; 14];
    bytes.read(holding, 18, &mut behind).unwrap();
    assert_eq!(behind, [SLUB_RED_ACTIVE; 14]);
    assert_eq!(machine.check(id), "");
    bytes.write(holding, 18, &[0xab; 2], false).unwrap();
    let told = machine.check(id);
    assert!(told.starts_with("1 findings in "), "{told}");
    assert_eq!(machine.found(), [Finding::KmallocRedzone]);
    let said = machine.said();
    assert!(said.contains("[kmalloc Redzone overwritten] "), "{said}");
    // It is red again, and he asks.
    assert_eq!(slab.ksize(object), Ok(Bytes(32)));
    bytes.write(holding, 18, &[0xab; 14], false).unwrap();
    assert_eq!(machine.check(id), "");
    slab.kfree(object, CALLER).unwrap();
    machine.finish();
}

/// What `test_krealloc_redzone_zeroing` of Linux's lib/tests/slub_kunit.c does, and the same
/// without red zones.
#[test]
fn what_grows_with_zeros_is_red_behind_them() {
    let zero = ObjRequest {
        gfp: KERNEL.gfp | gfp::__GFP_ZERO,
        ..KERNEL
    };
    let owners = SlabFlags::KMALLOC | SlabFlags::STORE_USER;
    for flags in [owners | SlabFlags::RED_ZONE, owners] {
        let red = flags.has(SlabFlags::RED_ZONE);
        let machine = Machine::new();
        let slab = machine.slab();
        let cache = machine.create("krealloc", 64, flags);
        let is = |object, mut bytes: std::ops::Range<i64>, value| {
            bytes.all(|at| machine.peek(object, at) == value)
        };
        let fill = |object, bytes: std::ops::Range<i64>| {
            bytes.for_each(|at| machine.poke(object, at, 0xff));
        };
        let object = slab.alloc(cache, &KERNEL.of_size(48)).unwrap();
        fill(object, 0..48);
        let same = slab.krealloc(Some(object), Bytes(40), &zero);
        assert_eq!(same, Ok(object));
        assert!(is(object, 40..64, if red { SLUB_RED_ACTIVE } else { 0 }));
        if !red {
            // What its owner must not write to, and nobody looks at.
            fill(object, 40..64);
        }
        let same = slab.krealloc(Some(object), Bytes(56), &zero);
        assert_eq!(same, Ok(object));
        assert!(is(object, 0..40, 0xff) && is(object, 40..56, 0));
        assert!(is(object, 56..64, if red { SLUB_RED_ACTIVE } else { 0xff }));
        assert_eq!(machine.check(cache), "");
        fill(object, 0..56);
        let moved = slab.krealloc(Some(object), Bytes(112), &zero).unwrap();
        assert!(is(moved, 0..56, 0xff) && is(moved, 56..112, 0));
        slab.kfree(moved, CALLER).unwrap();
        machine.destroy(cache);
        machine.finish();
    }
}

/// As many bytes are zeroed as were asked for, where that is known, red zones or not.
#[test]
fn what_was_not_asked_for_keeps_its_poison() {
    let zero = ObjRequest {
        gfp: KERNEL.gfp | gfp::__GFP_ZERO,
        ..KERNEL
    };
    let machine = Machine::new();
    let flags = SlabFlags::KMALLOC | SlabFlags::STORE_USER | SlabFlags::POISON;
    let cache = machine.create("poisoned", 64, flags);
    let object = machine.slab().alloc(cache, &zero.of_size(42)).unwrap();
    assert!((0..42).all(|at| machine.peek(object, at) == 0));
    assert!((42..63).all(|at| machine.peek(object, at) == POISON_FREE));
    assert_eq!(machine.peek(object, 63), POISON_END);
    machine.free(cache, object).unwrap();
    machine.destroy(cache);
    // Nothing is left of who had it before where nothing else fills it.
    let cache = machine.create("plain", 64, SlabFlags::KMALLOC | SlabFlags::STORE_USER);
    let mut objects: Vec<_> = (0..60).map(|_| machine.alloc(cache)).collect();
    for &object in &objects {
        (0..64).for_each(|at| machine.poke(object, at, 0xff));
        machine.free(cache, object).unwrap();
    }
    for object in &mut objects {
        *object = machine.slab().alloc(cache, &zero.of_size(42)).unwrap();
        assert!((0..64).all(|at| machine.peek(*object, at) == 0));
    }
    for object in objects {
        machine.free(cache, object).unwrap();
    }
    machine.destroy(cache);
    machine.finish();
}

/// With checks and nothing else to tell them from others, an object's free pointer is looked at
/// when the object comes back, where it lies behind it.
#[test]
fn a_free_pointer_behind_an_object_is_not_zeroed_with_it() {
    let machine = Machine::new();
    let checked = SlabFlags::CONSISTENCY_CHECKS | SlabFlags::TYPESAFE_BY_RCU;
    let zero = ObjRequest {
        gfp: KERNEL.gfp | gfp::__GFP_ZERO,
        ..KERNEL
    };
    for size in [8, 61, 64, 4324] {
        let cache = machine.create("behind", size, checked);
        let object = machine.slab().alloc(cache, &zero).unwrap();
        assert!((0..size).all(|at| machine.peek(object, at.into()) == 0));
        machine.free(cache, object).unwrap();
        machine.destroy(cache);
    }
    assert_eq!(machine.found(), []);
    machine.finish();
}

/// Where the free pointer's word and the red zone behind the object are partly the same bytes, the
/// pointer lies elsewhere. Linux finds both of them damaged.
#[test]
fn a_free_pointer_at_the_end_of_an_object_is_not_in_the_red_zone() {
    let machine = Machine::new();
    for (size, offset) in [(14, 8), (9, 0), (12, 8), (16, 8), (100, 96)] {
        let args = CacheArgs {
            flags: SlabFlags::CONSISTENCY_CHECKS | SlabFlags::RED_ZONE | SlabFlags::TYPESAFE_BY_RCU,
            freeptr_offset: Some(offset),
            ..CacheArgs::new("at-the-end", size)
        };
        let cache = machine.slab().create(&args).unwrap();
        let report = machine.slab().report(cache).unwrap();
        let inside = offset + 8 <= size;
        assert_eq!(report.geometry.free_pointer_is_outside(), !inside);
        let objects: Vec<_> = (0..5).map(|_| machine.alloc(cache)).collect();
        for object in objects {
            machine.free(cache, object).unwrap();
        }
        let again = machine.alloc(cache);
        machine.free(cache, again).unwrap();
        machine.destroy(cache);
    }
    assert_eq!(machine.found(), []);
    machine.finish();
}

/// Who asks for more keeps what he has where that can't be given up, and nothing else is lost.
#[test]
fn what_is_damaged_stays_when_more_is_asked_for() {
    let machine = Machine::new();
    let slab = machine.slab();
    let cache = machine.create("more", 64, ALL | SlabFlags::KMALLOC);
    let object = machine.alloc(cache);
    machine.poke(object, 0, 7);
    machine.poke(object, 64, 0);
    let more = || slab.krealloc(Some(object), Bytes(200), &KERNEL);
    assert_eq!(more(), Err(Error::SlabDamaged));
    assert_eq!(machine.found(), [Finding::RightRedzone]);
    machine.said();
    let moved = more().unwrap();
    assert_eq!(machine.peek(moved, 0), 7);
    slab.kfree(moved, CALLER).unwrap();
    machine.destroy(cache);
    machine.finish();
}

#[test]
fn what_kmalloc_gives_beyond_what_was_asked_for_is_red() {
    let machine = Machine::new();
    let slab = machine.slab();
    let cache = machine.create("asked", 64, ALL | SlabFlags::KMALLOC);
    let alloc = |request: ObjRequest, size| slab.alloc(cache, &request.of_size(size)).unwrap();
    let object = alloc(KERNEL, 50);
    assert_eq!(machine.peek(object, 49), POISON_END);
    assert_eq!(machine.peek(object, 50), SLUB_RED_ACTIVE);
    machine.poke(object, 50, 0);
    assert_eq!(slab.kfree(object, CALLER), Err(Error::SlabDamaged));
    assert_eq!(machine.found(), [Finding::KmallocRedzone]);
    assert!(machine.said().contains("[kmalloc Redzone overwritten] "));
    slab.kfree(object, CALLER).unwrap();
    // Zeroed: only what was asked for is zero.
    let zeroed = ObjRequest {
        gfp: KERNEL.gfp | gfp::__GFP_ZERO,
        ..KERNEL
    };
    let object = alloc(zeroed, 40);
    let bytes: Vec<_> = (38..42).map(|at| machine.peek(object, at)).collect();
    assert_eq!(bytes, [0, 0, SLUB_RED_ACTIVE, SLUB_RED_ACTIVE]);
    // Larger in place, smaller in place, and larger elsewhere.
    machine.poke(object, 0, 7);
    let same = slab.krealloc(Some(object), Bytes(60), &KERNEL).unwrap();
    machine.poke(same, 59, 9);
    assert_eq!(machine.peek(same, 60), SLUB_RED_ACTIVE);
    let same = slab.krealloc(Some(same), Bytes(10), &KERNEL).unwrap();
    assert_eq!(same, object);
    machine.poke(same, 10, 1);
    let told = machine.check(cache);
    assert!(told.starts_with("1 findings in "), "{told}");
    assert_eq!(machine.found(), [Finding::KmallocRedzone]);
    machine.said();
    let moved = slab.krealloc(Some(same), Bytes(100), &KERNEL).unwrap();
    assert_eq!(machine.peek(moved, 0), 7);
    slab.kfree(moved, CALLER).unwrap();
    // Who asks how large it is may use all of it, and nobody else.
    let object = alloc(KERNEL, 33);
    assert_eq!(slab.usable(object), Ok(Bytes(64)));
    machine.poke(object, 63, 1);
    assert_eq!(slab.kfree(object, CALLER), Err(Error::SlabDamaged));
    assert_eq!(machine.found(), [Finding::KmallocRedzone]);
    machine.said();
    assert_eq!(slab.ksize(object), Ok(Bytes(64)));
    machine.poke(object, 63, 1);
    slab.kfree(object, CALLER).unwrap();
    machine.destroy(cache);
    machine.finish();
}

#[test]
fn with_the_option_all_caches_are_debugged_and_nothing_is_found_in_them() {
    for option in ["FZPU", "FZ", "P", "U", "T", "FZPUT"] {
        let machine = Machine::with(option);
        let slab = machine.slab();
        let named = slab.find("kmem_cache").unwrap();
        let report = slab.report(named).unwrap();
        assert!(report.geometry.flags.has(SlabFlags::DEBUG), "{option}");
        let mut held = vec![];
        let mut seed = 1u64;
        for _ in 0..3000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let size = Bytes(((seed >> 33) & 0x7ff) | 1);
            if seed >> 60 < 9 || held.is_empty() {
                held.push(slab.kmalloc(size, &KERNEL).unwrap());
            } else {
                let object = held.swap_remove((seed >> 40) as usize % held.len());
                slab.kfree(object, CALLER).unwrap();
            }
        }
        machine.validate();
        let id = machine.create("one", 48, SlabFlags::TYPESAFE_BY_RCU);
        let object = machine.alloc(id);
        machine.free(id, object).unwrap();
        machine.destroy(id);
        for object in held {
            slab.kfree(object, CALLER).unwrap();
        }
        if option.contains('T') {
            let said = machine.said();
            assert!(said.starts_with("TRACE kmem_cache"), "{said}");
            continue;
        }
        machine.finish();
    }
}

#[test]
fn a_constructor_s_objects_are_not_poisoned_and_come_as_it_made_them() {
    let machine = Machine::new();
    let mut args = CacheArgs::new("made", 64);
    args.flags = ALL;
    args.ctor = Constructor::Fill(0x42);
    let cache = machine.slab().create(&args).unwrap();
    let object = machine.alloc(cache);
    assert!((0..64).all(|at| machine.peek(object, at) == 0x42));
    machine.poke(object, 3, 1);
    machine.free(cache, object).unwrap();
    let again = machine.alloc(cache);
    assert_eq!(
        machine.peek(again, 3),
        if again == object { 1 } else { 0x42 }
    );
    machine.free(cache, again).unwrap();
    machine.destroy(cache);
    machine.finish();
}

#[test]
fn who_holds_objects_is_told_by_place() {
    let machine = Machine::new();
    let cache = machine.create("held", 64, ALL);
    let objects: Vec<_> = (0..5).map(|_| machine.alloc(cache)).collect();
    let mut table = vec![Location::NONE; 4];
    let mut text = String::new();
    let traces = machine
        .slab()
        .write_traces(cache, TrackItem::Alloc, &mut table, &mut text);
    assert_eq!(traces, Ok(0));
    assert_eq!(
        text,
        "      5 function_51729+0x0/0x10 age=0 pid=77 cpus=1 nodes=0\n        \
         function_51729+0x0/0x10\n        function_4096+0x0/0x10\n\n"
    );
    let mut counted = String::new();
    machine.slab().write_findings(cache, &mut counted).unwrap();
    assert!(counted.starts_with("left_redzone 0\nright_redzone 0\n"));
    assert_eq!(counted.lines().count(), NR_FINDINGS);
    let (stacks, pages, missed) = machine.slab().depot_counts();
    assert_eq!((stacks, pages, missed), (1, 1, 0));
    let mut alive = String::new();
    assert_eq!(
        machine.slab().destroy(cache, &mut alive),
        Err(Error::CacheBusy)
    );
    assert_eq!(alive.matches("Object 0x").count(), 5);
    assert_eq!(machine.found(), [Finding::Remaining]);
    assert_eq!(machine.said(), alive);
    for object in objects {
        machine.free(cache, object).unwrap();
    }
    machine.destroy(cache);
    machine.finish();
}

#[test]
fn without_memory_for_stacks_objects_are_to_be_had() {
    let machine = Machine::with("U");
    let slab = machine.slab();
    let mut held = vec![];
    let request = ObjRequest::new(gfp::GFP_KERNEL | gfp::__GFP_NOWARN).by(CALLER);
    while let Ok(object) = slab.kmalloc(Bytes(8192), &request) {
        held.push(object);
    }
    assert!(held.len() > 4_000, "{}", held.len());
    machine.validate();
    for object in held {
        slab.kfree(object, CALLER).unwrap();
    }
    machine.finish();
}
