// SPDX-License-Identifier: GPL-2.0

//! The misuses of `tests/vm/slub/slub_misuse.c`, each committed here on an
//! object at the same place, and told in the same words.

use crate::recorded::comparable;
use crate::recorded::objects;
use crate::recorded::recorded;
use crate::recorded::slab_size;
use crate::world::*;
use shadowmm_core::error::Error;
use shadowmm_core::slab::debug::*;
use shadowmm_core::slab::SlabFlags;

const F: SlabFlags = SlabFlags::CONSISTENCY_CHECKS;
const Z: SlabFlags = SlabFlags::RED_ZONE;
const P: SlabFlags = SlabFlags::POISON;
const U: SlabFlags = SlabFlags::STORE_USER;

fn all(flags: &[SlabFlags]) -> SlabFlags {
    flags.iter().fold(SlabFlags::NONE, |sum, &flag| sum | flag)
}

/// A cache and a slab whose first free objects are at these places.
struct Stage {
    world: World,
    said: String,
    first: Vec<u32>,
}

impl Stage {
    /// For a misuse of which something was recorded.
    fn new(name: &str, size: u32, flags: &[SlabFlags]) -> Self {
        let world = World::new(size, all(flags));
        let said = recorded(name);
        let layout = world.cache().layout;
        let index = |at| layout.index(at, world.geometry.objects);
        let first = objects(&world, &said)
            .into_iter()
            .filter_map(index)
            .collect();
        Self { world, said, first }
    }

    /// The slab; the free objects that were not spoken of come behind.
    fn slab(&self) -> Slab<'_> {
        let others = (0..self.world.geometry.objects).filter(|index| !self.first.contains(index));
        let free: Vec<u32> = self.first.iter().copied().chain(others).collect();
        self.world.slab(&free)
    }

    fn alloc(&self, slab: &mut Slab<'_>) -> u32 {
        let object = self.world.alloc(slab, self.world.geometry.object_size);
        slab.is_partial = slab.inuse < slab.objects;
        object.unwrap()
    }

    /// What was said here is what was said there.
    #[track_caller]
    fn compare(&self) {
        let here = comparable(&self.world, &self.world.said());
        let there = comparable(&self.world, &self.said);
        assert_eq!(here, there, "\nhere:\n{here}\nthere:\n{there}");
    }
}

#[test]
fn right_redzone() {
    let stage = Stage::new("right_redzone", 64, &[F, Z, P, U]);
    let mut slab = stage.slab();
    let object = stage.alloc(&mut slab);
    slab.bytes.set_byte(object + 64, 0x12);
    slab.bytes.set_byte(object + 66, 0x34);
    let freed = stage.world.free(&mut slab, object);
    assert_eq!(freed, Err(Error::SlabDamaged));
    stage.world.free(&mut slab, object).unwrap();
    stage.compare();
}

#[test]
fn left_redzone() {
    let stage = Stage::new("left_redzone", 64, &[F, Z, P, U]);
    let mut slab = stage.slab();
    let object = stage.alloc(&mut slab);
    slab.bytes.set_byte(object - 2, 0x12);
    assert!(stage.world.free(&mut slab, object).is_err());
    stage.compare();
}

#[test]
fn both_redzones() {
    let stage = Stage::new("both_redzones", 64, &[F, Z, P, U]);
    let mut slab = stage.slab();
    let object = stage.alloc(&mut slab);
    slab.bytes.set_byte(object - 1, 0x12);
    slab.bytes.set_byte(object + 64, 0x12);
    assert!(stage.world.free(&mut slab, object).is_err());
    stage.compare();
}

#[test]
fn kmalloc_redzone() {
    let stage = Stage::new("kmalloc_redzone", 32, &[F, Z, U, SlabFlags::KMALLOC]);
    let mut slab = stage.slab();
    // What Linux gives out of a cache that does not poison is what was there
    // before: the red zone of an object that is free, or nothing.
    let object = stage.world.alloc(&mut slab, 18).unwrap();
    slab.bytes.fill(object..object + 18, 0);
    slab.bytes.set_byte(object + 18, 0xab);
    slab.bytes.set_byte(object + 20, 0xab);
    assert!(stage.world.free(&mut slab, object).is_err());
    stage.compare();
}

#[test]
fn use_after_free() {
    let stage = Stage::new("use_after_free", 64, &[F, Z, P, U]);
    let mut slab = stage.slab();
    let object = stage.alloc(&mut slab);
    stage.world.free(&mut slab, object).unwrap();
    slab.bytes.set_byte(object + 8, 0x12);
    slab.bytes.set_byte(object + 9, b'x');
    let taken = stage.world.alloc(&mut slab, 64);
    assert_eq!(taken, Err(Error::SlabDamaged));
    stage.compare();
}

#[test]
fn end_poison() {
    let stage = Stage::new("end_poison", 64, &[F, Z, P]);
    let mut slab = stage.slab();
    let object = stage.alloc(&mut slab);
    stage.world.free(&mut slab, object).unwrap();
    slab.bytes.set_byte(object + 63, 0x6b);
    assert!(stage.world.alloc(&mut slab, 64).is_err());
    stage.compare();
}

#[test]
fn poison_validated() {
    let stage = Stage::new("poison_validated", 64, &[F, Z, P, U]);
    let mut slab = stage.slab();
    let object = stage.alloc(&mut slab);
    stage.world.free(&mut slab, object).unwrap();
    slab.bytes.set_byte(object, 0);
    assert!(!stage.world.cache().validate_slab(&mut slab));
    stage.compare();
}

#[test]
fn object_padding() {
    let stage = Stage::new("object_padding", 64, &[F, Z, P, U]);
    let mut slab = stage.slab();
    let object = stage.alloc(&mut slab);
    slab.bytes.set_byte(object + 150, 0x12);
    assert!(stage.world.free(&mut slab, object).is_err());
    stage.compare();
}

#[test]
fn alignment_padding() {
    let stage = Stage::new("alignment_padding", 60, &[F, P]);
    let mut slab = stage.slab();
    let object = stage.alloc(&mut slab);
    slab.bytes.set_byte(object + 61, 0x12);
    assert!(stage.world.free(&mut slab, object).is_err());
    stage.compare();
}

#[test]
fn slab_padding() {
    let stage = Stage::new("slab_padding", 100, &[F, P]);
    let mut slab = stage.slab();
    let object = stage.alloc(&mut slab);
    slab.bytes.set_byte(4095, 0x12);
    slab.bytes.set_byte(4090, 0x13);
    stage.world.free(&mut slab, object).unwrap();
    stage.compare();
}

#[test]
fn freepointer() {
    let stage = Stage::new("freepointer", 64, &[F, Z, P]);
    let mut slab = stage.slab();
    let object = stage.alloc(&mut slab);
    stage.world.free(&mut slab, object).unwrap();
    let word = slab.bytes.word(object + 72);
    slab.bytes.set_word(object + 72, word ^ 0x1234);
    assert!(stage.world.alloc(&mut slab, 64).is_err());
    stage.compare();
}

/// The first object that is spoken of is the one whose pointer was changed: the
/// second that was taken.
#[test]
fn freechain() {
    let mut stage = Stage::new("freechain", 64, &[F, Z, P]);
    stage.first.insert(0, other_than(&stage.first));
    let mut slab = stage.slab();
    let [a, b, c] = [(); 3].map(|()| stage.alloc(&mut slab));
    stage.world.free(&mut slab, a).unwrap();
    stage.world.free(&mut slab, b).unwrap();
    let word = slab.bytes.word(b + 72);
    slab.bytes.set_word(b + 72, word ^ 0x1234);
    // What was found of the list is mended, and the object is freed.
    stage.world.free(&mut slab, c).unwrap();
    stage.compare();
}

#[test]
fn freelist_cycle() {
    let stage = Stage::new("freelist_cycle", 64, &[F, Z, P]);
    let mut slab = stage.slab();
    let [a, b] = [(); 2].map(|()| stage.alloc(&mut slab));
    stage.world.free(&mut slab, a).unwrap();
    stage.world.free(&mut slab, b).unwrap();
    let cache = stage.world.cache();
    cache.set_free_pointer(&slab, a, slab.addr(b));
    assert!(!cache.validate_slab(&mut slab));
    stage.compare();
}

#[test]
fn double_free() {
    let stage = Stage::new("double_free", 64, &[F, Z, P, U]);
    let mut slab = stage.slab();
    let object = stage.alloc(&mut slab);
    stage.world.free(&mut slab, object).unwrap();
    let freed = stage.world.free(&mut slab, object);
    assert_eq!(freed, Err(Error::ObjectFree));
    stage.compare();
}

#[test]
fn already_free() {
    let stage = Stage::new("already_free", 64, &[F, Z, P, U]);
    let mut slab = stage.slab();
    let object = stage.alloc(&mut slab);
    stage.alloc(&mut slab);
    stage.world.free(&mut slab, object).unwrap();
    let freed = stage.world.free(&mut slab, object);
    assert_eq!(freed, Err(Error::ObjectFree));
    stage.compare();
}

#[test]
fn disabled() {
    let mut stage = Stage::new("disabled", 64, &[F, Z, P]);
    // The first object that is spoken of is the second that was taken.
    stage.first.swap(0, 1);
    let mut slab = stage.slab();
    let object = stage.alloc(&mut slab);
    let second = stage.alloc(&mut slab);
    stage.world.free(&mut slab, second).unwrap();
    slab.bytes.set_byte(second, 0);
    assert!(stage.world.alloc(&mut slab, 64).is_err());
    // The slab is on no list from then on.
    slab.is_partial = false;
    let freed = stage.world.free(&mut slab, object);
    assert_eq!(freed, Err(Error::SlabDamaged));
    stage.compare();
}

/// Without what `dump_stack()` shows.
#[test]
fn traced() {
    let stage = Stage::new("traced", 64, &[SlabFlags::TRACE]);
    let mut slab = stage.slab();
    let object = stage.alloc(&mut slab);
    slab.bytes.fill(object..object + 64, 0);
    stage.world.free(&mut slab, object).unwrap();
    assert!(stage.world.found().is_empty());
    stage.compare();
}

#[test]
fn misaligned() {
    let mut stage = Stage::new("misaligned", 64, &[F, Z, P, U]);
    // Only the pointer is told; the object begins eight bytes before.
    let (_, pointer) = stage.said.split_once("Invalid object pointer 0x").unwrap();
    let pointer = u64::from_str_radix(&pointer[..16], 16).unwrap();
    let at = (pointer % slab_size(&stage.world)) as u32 - 8;
    let layout = stage.world.cache().layout;
    let index = layout.index(at, stage.world.geometry.objects);
    stage.first = vec![index.expect("an object before it")];
    let mut slab = stage.slab();
    let object = stage.alloc(&mut slab);
    let freed = stage.world.free(&mut slab, object + 8);
    assert_eq!(freed, Err(Error::NotAnObject));
    stage.world.free(&mut slab, object).unwrap();
    stage.compare();
}

/// A number that is none of these.
fn other_than(used: &[u32]) -> u32 {
    (0..).find(|index| !used.contains(index)).unwrap()
}

#[test]
fn wrong_cache() {
    let stage = Stage::new("wrong_cache", 64, &[F, U]);
    let mut slab = stage.slab();
    let object = stage.alloc(&mut slab);
    let mut other = World::new(64, all(&[F, U]));
    other.name = "other";
    let cache = stage.world.cache();
    let addr = slab.addr(object);
    other.cache().tell_bad_free(addr, Some((&cache, &slab)));
    assert_eq!(other.found(), [Finding::WrongCache]);
    stage.world.free(&mut slab, object).unwrap();
    let here = comparable(&stage.world, &other.said());
    assert_eq!(here, comparable(&stage.world, &stage.said));
}

#[test]
fn not_slab() {
    let stage = Stage::new("not_slab", 64, &[F]);
    let (_, pointer) = stage.said.split_once("kmem_cache_free(misused, ").unwrap();
    let pointer = u64::from_str_radix(&pointer[..16], 16).unwrap();
    stage.world.cache().tell_bad_free(pointer, None);
    assert_eq!(stage.world.found(), [Finding::NotSlab]);
    stage.compare();
}

#[test]
fn remaining() {
    let stage = Stage::new("remaining", 64, &[F, Z, P, U]);
    let mut slab = stage.slab();
    stage.alloc(&mut slab);
    stage.alloc(&mut slab);
    stage.world.cache().tell_remaining(&slab);
    assert_eq!(stage.world.found(), [Finding::Remaining]);
    stage.compare();
}
