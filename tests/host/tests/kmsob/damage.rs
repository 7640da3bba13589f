// SPDX-License-Identifier: GPL-2.0

//! Owners who write where they should not: nothing panics, free objects are found
//! anew, and validate() names what is broken.

use crate::world::*;
use proptest::prelude::*;
use shadowmm_core::allocator::AllocatorKind;
use shadowmm_core::slab::*;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

fn flaw(machine: &Machine) -> &'static str {
    machine.pool().validate().unwrap_err().what
}

fn word(machine: &Machine, at: u64) -> &AtomicU64 {
    let window = machine.cosmos.world.memory.window(ObjAddr::new(at).addr());
    window.unwrap().cells(ObjAddr::new(at).addr()).unwrap()
}

#[test]
fn a_free_object_that_was_written_to_is_found_and_the_list_made_anew() {
    // The link to the next one, the state, the address.
    for (at, with) in [(0, 0xff), (8, 0), (16, 0x41)] {
        for machine in Machine::each(256) {
            let mut objects: Vec<_> = (0..20).map(|_| machine.kmalloc(64).unwrap()).collect();
            for object in [4, 9, 13].map(|i| objects.remove(i)) {
                machine.kfree(object).unwrap();
                let header = ObjAddr::new(object.get() + at);
                machine.fill(header, 8, with);
            }
            assert!(machine.pool().validate().is_err());
            // No object is given out twice, and none is lost.
            let rest = 60 - objects.len();
            for _ in 0..rest {
                let object = machine.kmalloc(64).unwrap();
                assert!(!objects.contains(&object), "{object}");
                objects.push(object);
            }
            assert_eq!(machine.counts(64), [1, 0, 60, 60]);
            assert_eq!(machine.list(64).overwritten, 1);
            machine.check();
            for object in objects {
                machine.kfree(object).unwrap();
            }
            machine.check_empty();
        }
    }
}

#[test]
fn validate_names_what_is_broken() {
    let machine = Machine::new(AllocatorKind::Cosmos, 256);
    let objects: Vec<_> = (0..200).map(|_| machine.kmalloc(32).unwrap()).collect();
    machine.kfree(objects[0]).unwrap();
    machine.kfree(objects[1]).unwrap();
    machine.check();
    let own = objects[0].pfn().addr().0;
    let extension = objects[199].pfn().addr().0;
    let nonsense = "a header says nonsense";
    // Where, what goes there, and what is said then; `stus`, `kmsb` of both
    // blocks, `prev`, `frelst`, `mextnr` and `mobjnr`, `objsz`, counts of a block.
    let cases = [
        (own + 24, 1, nonsense),
        (own, 7, nonsense),
        (extension, own + 4096, nonsense),
        (extension + 24, 0, nonsense),
        (own + 32 + 8, 64, "a container does not link back"),
        (own + 32 + 16, 0, nonsense),
        (
            own + 32 + 16,
            objects[5].get(),
            "a list of free objects has one that is not free",
        ),
        (own + 32 + 24, 0, nonsense),
        (own + 32 + 32, 2 | (235 << 32), nonsense),
        (
            own + 32 + 32,
            1 | (236 << 32),
            "a container counts other objects than it has",
        ),
        (
            own + 32 + 40,
            3 | (32 << 32),
            "a container counts other objects than it has",
        ),
        (own + 32 + 40, 37 | (33 << 32), nonsense),
        (
            own + 32 + 48,
            2 | (1 << 32),
            "a container's own block has another size",
        ),
        (own + 32 + 48, 1, "there are other blocks than extensions"),
        (own + 32 + 64, 0, "there are other blocks than extensions"),
        (
            extension + 16,
            119 | (85 << 32),
            "a block counts other objects than are used",
        ),
        (objects[1].get() + 8, 0, "a free object was written to"),
    ];
    for (at, with, what) in cases {
        let before = word(&machine, at).swap(with, Relaxed);
        assert_eq!(flaw(&machine), what, "{:#x} {with:#x}", at - own);
        word(&machine, at).store(before, Relaxed);
        machine.check();
    }
    // A list of free objects in a circle.
    let before = word(&machine, objects[0].get()).swap(objects[1].get(), Relaxed);
    assert_eq!(
        flaw(&machine),
        "a list has more free objects than there are"
    );
    word(&machine, objects[0].get()).store(before, Relaxed);
    // A tag of nobody who has such objects.
    let tags = own + 136;
    let before = word(&machine, tags).fetch_add(1, Relaxed);
    assert_eq!(
        flaw(&machine),
        "an object is somebody's who has none of this size"
    );
    word(&machine, tags).store(before, Relaxed);
    for &object in &objects[2..] {
        machine.kfree(object).unwrap();
    }
    machine.check_empty();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    // Nothing panics or runs for ever, whatever the pages say.
    #[test]
    fn nonsense_in_the_pages_ends_in_errors(
        writes in prop::collection::vec((0u64..6 * 512, prop_oneof![
            any::<u64>(), 0u64..200_000, (1u64..32, 0u64..512).prop_map(|(page, at)| (page << 12) | (at << 3)),
        ]), 1..40),
        requests in prop::collection::vec((1u64..3000, any::<bool>()), 0..60),
    ) {
        let machine = Machine::new(AllocatorKind::Buddy, 64);
        let cache = machine.cache("x", 64);
        let mut objects: Vec<_> = (0..100).map(|_| machine.kmalloc(64).unwrap()).collect();
        objects.extend((0..20).map(|_| machine.alloc(cache).unwrap()));
        objects.extend([3000, 600, 600, 128].map(|size| machine.kmalloc(size).unwrap()));
        machine.check();
        let mut pages: Vec<_> = objects.iter().map(|object| object.pfn()).collect();
        pages.sort();
        pages.dedup();
        for (at, with) in writes {
            let page = pages[at as usize / 512 % pages.len()].addr().0;
            word(&machine, page + at % 512 * 8).store(with, Relaxed);
        }
        let _ = machine.pool().validate();
        let mut text = String::new();
        machine.pool().write(&mut text).unwrap();
        let _ = machine.pool().report(cache);
        for (size, free) in requests {
            if free && !objects.is_empty() {
                let at = size as usize % objects.len();
                let _ = machine.kfree(objects.swap_remove(at));
            } else if let Ok(object) = machine.kmalloc(size) {
                objects.push(object);
            }
        }
        machine.pool().shrink_all();
        for object in objects {
            let _ = machine.pool().free(cache, object, 0);
            let _ = machine.kfree(object);
        }
        let _ = machine.pool().destroy(cache, &mut text);
    }
}
