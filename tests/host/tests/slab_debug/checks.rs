// SPDX-License-Identifier: GPL-2.0

//! What no report of the running kernel was recorded of, and what is mended
//! after a finding.

use crate::world::*;
use shadowmm_core::error::Error;
use shadowmm_core::slab::debug::*;
use shadowmm_core::slab::SlabFlags;

/// Checks, red zones, poison, tracks: `slab_debug=FZPU`.
const ALL: SlabFlags = SlabFlags::DEBUG_DEFAULT;

fn flags(all: &[SlabFlags]) -> SlabFlags {
    all.iter().fold(SlabFlags::NONE, |sum, &flag| sum | flag)
}

/// Every combination of size and flags that caches can have.
fn worlds() -> impl Iterator<Item = World> {
    let single = [
        SlabFlags::CONSISTENCY_CHECKS,
        SlabFlags::RED_ZONE,
        SlabFlags::POISON,
        SlabFlags::STORE_USER,
        SlabFlags::TYPESAFE_BY_RCU,
        SlabFlags::KMALLOC,
    ];
    let sizes = [1, 7, 8, 9, 24, 60, 64, 100, 192, 1000, 4096, 8192];
    sizes.into_iter().flat_map(move |size| {
        (0..64).map(move |bits| {
            let chosen = (0..6).filter(|bit| (bits >> bit) & 1 == 1);
            let chosen: Vec<_> = chosen.map(|bit| single[bit]).collect();
            World::new(size, flags(&chosen) | SlabFlags::CONSISTENCY_CHECKS)
        })
    })
}

#[test]
fn nothing_is_found_where_nobody_misuses_anything() {
    for world in worlds() {
        let mut slab = world.in_order();
        let size = world.geometry.object_size;
        assert!(world.cache().validate_slab(&mut slab));
        let mut held = vec![];
        for round in 0..world.geometry.objects {
            let asked = if size > 4 { size - round % 4 } else { size };
            let object = world.alloc(&mut slab, asked).unwrap();
            // All that its user may write to is written to.
            slab.bytes.fill(object..object + asked, 0xff);
            held.push(object);
        }
        assert!(world.cache().validate_slab(&mut slab));
        while !held.is_empty() {
            let object = held.swap_remove(held.len() / 2);
            world.free(&mut slab, object).unwrap();
        }
        assert!(world.cache().validate_slab(&mut slab));
        world.cache().check_discarded(&slab);
        assert_eq!(world.said(), "", "{:?}", world.geometry);
        assert_eq!(slab.inuse, 0);
    }
}

/// Each byte of a slab in which all objects are in use, changed alone: found if
/// it is not the objects' own, and then mended to what it was.
#[test]
fn each_byte_that_is_nobodys_is_found_when_it_changes() {
    let (mut found, mut own) = (0, 0);
    for world in worlds().filter(|world| world.geometry.object_size <= 192) {
        let layout = world.cache().layout;
        let red = layout.has(SlabFlags::RED_ZONE);
        let poison = layout.has(SlabFlags::POISON);
        let mut slab = world.in_order();
        let (first, second) = (world.alloc(&mut slab, 1), world.alloc(&mut slab, 1));
        let (_, object) = (first.unwrap(), second.unwrap());
        let begin = object - layout.first();
        for at in begin..begin + layout.size {
            // What the free pointer, the tracks and the size say can't be foretold.
            let inside = at.wrapping_sub(object);
            let padding = layout.padding();
            let is_pad = padding.contains(&inside);
            let is_red = at < object
                || (layout.object_size..layout.inuse).contains(&inside)
                || (layout.orig_size().is_some() && (1..layout.object_size).contains(&inside));
            let is_align = !red && (layout.object_size..layout.inuse).contains(&inside);
            let checked = red && is_red || poison && (is_pad || is_align);
            let (before, word) = (slab.bytes.byte(at), slab.bytes.word(at / 8 * 8));
            slab.bytes.set_byte(at, !before);
            let good = world.cache().check_object(&slab, object, SLUB_RED_ACTIVE);
            if checked {
                assert!(!good, "{at} of {:?}", world.geometry);
                assert_eq!(slab.bytes.byte(at), before);
                assert_eq!(world.found().len(), 1);
                found += 1;
            } else if inside < layout.object_size {
                assert!(good, "{at} of {:?}", world.geometry);
                own += 1;
            }
            slab.bytes.set_word(at / 8 * 8, word);
            world.found();
            // Nothing else has changed.
            assert!(world.cache().check_object(&slab, object, SLUB_RED_ACTIVE));
        }
        world.said();
    }
    assert!(found > 5_000 && own > 10_000, "{found} {own}");
}

/// The same while the object is free: with poison, its own bytes are found, too.
#[test]
fn each_byte_of_a_free_object_is_found_when_it_changes() {
    let mut found = 0;
    for world in worlds().filter(|world| world.geometry.object_size <= 192) {
        let layout = world.cache().layout;
        if !layout.has(SlabFlags::OBJECT_POISON) {
            continue;
        }
        let mut slab = world.in_order();
        let object = world.alloc(&mut slab, 1).unwrap();
        world.free(&mut slab, object).unwrap();
        for at in object..object + layout.object_size {
            let before = slab.bytes.byte(at);
            slab.bytes.set_byte(at, before ^ 0x80);
            assert!(!world.cache().check_object(&slab, object, SLUB_RED_INACTIVE));
            assert_eq!(slab.bytes.byte(at), before);
            let kind = match at == object + layout.object_size - 1 {
                true => Finding::EndPoison,
                false => Finding::Poison,
            };
            assert_eq!(world.found(), [kind]);
            found += 1;
        }
    }
    assert!(found > 1_000, "{found}");
}

#[test]
fn an_object_that_was_written_to_after_its_free_takes_its_slab_out_of_use() {
    let world = World::new(64, ALL);
    let mut slab = world.in_order();
    let object = world.alloc(&mut slab, 64).unwrap();
    let other = world.alloc(&mut slab, 64).unwrap();
    world.free(&mut slab, object).unwrap();
    slab.bytes.set_byte(object + 5, 0);
    assert_eq!(world.alloc(&mut slab, 64), Err(Error::SlabDamaged));
    assert_eq!(world.found(), [Finding::Poison]);
    assert_eq!(slab.bytes.byte(object + 5), POISON_FREE);
    assert_eq!(
        (slab.inuse, slab.freelist, slab.frozen),
        (slab.objects, 0, true)
    );
    assert!(world
        .said()
        .ends_with("FIX misused: Marking all objects used\n"));
    // What is still out there can't come back.
    assert_eq!(world.free(&mut slab, other), Err(Error::SlabDamaged));
    assert_eq!(world.found(), [Finding::SlabState]);
    assert!(world
        .said()
        .contains("Slab disabled since SLUB metadata consistency check failed"));
}

#[test]
fn what_was_found_at_a_free_is_mended_so_that_the_next_free_is_good() {
    let world = World::new(64, ALL);
    let mut slab = world.in_order();
    let object = world.alloc(&mut slab, 64).unwrap();
    slab.bytes.set_byte(object + 64, 0);
    assert_eq!(world.free(&mut slab, object), Err(Error::SlabDamaged));
    assert_eq!(world.found(), [Finding::RightRedzone]);
    assert_eq!(slab.inuse, 1);
    world.free(&mut slab, object).unwrap();
    assert_eq!(slab.inuse, 0);
    assert!(world.found().is_empty());
}

#[test]
fn a_second_free_is_found_wherever_the_object_is_in_the_list() {
    let world = World::new(64, ALL);
    let mut slab = world.in_order();
    let held: Vec<_> = (0..10)
        .map(|_| world.alloc(&mut slab, 64).unwrap())
        .collect();
    for &object in &held[..9] {
        world.free(&mut slab, object).unwrap();
    }
    for &object in &held[..9] {
        assert_eq!(world.free(&mut slab, object), Err(Error::ObjectFree));
        assert_eq!(world.found(), [Finding::AlreadyFree]);
    }
    assert_eq!(slab.inuse, 1);
    assert!(world.cache().validate_slab(&mut slab));
}

#[test]
fn a_free_of_a_slab_without_objects_in_use_is_refused_without_checks_too() {
    let world = World::new(64, SlabFlags::RED_ZONE);
    let mut slab = world.in_order();
    let object = world.alloc(&mut slab, 64).unwrap();
    world.free(&mut slab, object).unwrap();
    assert_eq!(world.free(&mut slab, object), Err(Error::ObjectFree));
    let said = world.said();
    assert!(
        said.contains("Slab has 0 allocated objects but 1 are to be freed\n\n---"),
        "{said}"
    );
}

#[test]
fn an_object_of_another_cache_is_not_freed() {
    let world = World::new(64, ALL);
    let mut slab = world.in_order();
    let object = world.alloc(&mut slab, 64).unwrap();
    let addr = slab.addr(object);
    let freed = world.free_at(&mut slab, addr, (OTHER, THIS));
    assert_eq!(freed, Err(Error::WrongCache));
    assert_eq!(world.found(), [Finding::WrongCache]);
    assert!(world.said().contains("): page slab pointer corrupt.\n"));
    world.free(&mut slab, object).unwrap();
}

#[test]
fn what_is_no_object_is_not_freed_without_checks_either() {
    for flags in [SlabFlags::CONSISTENCY_CHECKS, SlabFlags::RED_ZONE] {
        let world = World::new(64, flags);
        let mut slab = world.in_order();
        let object = world.alloc(&mut slab, 64).unwrap();
        let (good, end) = (slab.addr(object), slab.bytes.len());
        for wrong in [
            good + 1,
            good + 8,
            BASE + u64::from(end),
            BASE - 8,
            8,
            u64::MAX,
        ] {
            let freed = world.free_at(&mut slab, wrong, (THIS, THIS));
            assert_eq!(freed, Err(Error::NotAnObject), "{wrong:#x}");
        }
        assert_eq!(slab.inuse, 1);
        world.free(&mut slab, object).unwrap();
    }
}

#[test]
fn the_head_of_a_freelist_that_leads_astray_costs_the_free_objects() {
    let world = World::new(64, ALL);
    let mut slab = world.in_order();
    let object = world.alloc(&mut slab, 64).unwrap();
    slab.freelist += 8;
    // The object is not found free, and its free goes on.
    world.free(&mut slab, object).unwrap();
    assert_eq!(world.found(), [Finding::FreeChain]);
    let said = world.said();
    assert!(said.contains("BUG misused (Not tainted): Freepointer corrupt\n"));
    assert!(said.ends_with("FIX misused: Freelist cleared\n"), "{said}");
    assert_eq!(slab.inuse, slab.objects - 1);
    assert_eq!(slab.freelist, slab.addr(object));
}

#[test]
fn a_counter_that_is_wrong_is_set_to_what_was_counted() {
    let world = World::new(64, ALL);
    let mut slab = world.in_order();
    world.alloc(&mut slab, 64).unwrap();
    slab.inuse = 5;
    assert!(!world.cache().validate_slab(&mut slab));
    assert_eq!(slab.inuse, 1);
    assert_eq!(world.found(), [Finding::ObjectCount]);
    assert!(world.cache().validate_slab(&mut slab));
    slab.inuse = slab.objects + 1;
    assert!(!world.cache().validate_slab(&mut slab));
    let objects = slab.objects;
    let said = world.said();
    assert!(
        said.contains(&format!("inuse {} > max {objects}", objects + 1)),
        "{said}"
    );
}

#[test]
fn a_discarded_slab_is_looked_at_once_more() {
    let world = World::new(100, ALL);
    let mut slab = world.in_order();
    let object = world.alloc(&mut slab, 100).unwrap();
    world.free(&mut slab, object).unwrap();
    slab.bytes.set_byte(object + 99, 0);
    let end = slab.bytes.len();
    assert_ne!(end % world.geometry.size, 0);
    slab.bytes.set_byte(end - 1, 0);
    world.cache().check_discarded(&slab);
    assert_eq!(world.found(), [Finding::SlabPadding, Finding::EndPoison]);
    assert_eq!(slab.bytes.byte(end - 1), POISON_INUSE);
}

#[test]
fn what_is_found_is_counted_by_kind() {
    let world = World::new(64, ALL);
    let mut slab = world.in_order();
    let object = world.alloc(&mut slab, 64).unwrap();
    for _ in 0..3 {
        slab.bytes.set_byte(object - 1, 0);
        assert!(world.free(&mut slab, object).is_err());
    }
    assert_eq!(world.findings.of(Finding::LeftRedzone), 3);
    assert_eq!(world.findings.total(), 3);
    let counted: Vec<_> = world.findings.iter().filter(|(_, n)| *n != 0).collect();
    assert_eq!(counted, [(Finding::LeftRedzone, 3)]);
}
