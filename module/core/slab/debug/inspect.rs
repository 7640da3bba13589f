// SPDX-License-Identifier: GPL-2.0

//! What is looked at: a cache, and one of its slabs, whose node's lock the
//! caller holds.

use super::finding::Findings;
use super::layout::Layout;
use super::pattern::SlabBytes;
use super::track::Stacks;
use crate::page::ZoneId;
use crate::phys::PAGE_SIZE;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

/// How many objects are looked at in one walk along a freelist.
const WINDOW: u32 = 4096;

/// Whether anything was found bad since the boot (`TAINT_BAD_PAGE`).
#[derive(Default)]
#[repr(transparent)]
pub struct Taint(AtomicU32);

impl Taint {
    /// Nothing was.
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Whether anything was.
    pub fn is_set(&self) -> bool {
        self.0.load(Relaxed) != 0
    }

    /// Something is.
    pub fn set(&self) {
        self.0.store(1, Relaxed);
    }
}

/// What a slab is taken to be, for the checks: the freelist is an address, as
/// in Linux, and 0 is its end.
pub struct Slab<'a> {
    /// Its memory.
    pub bytes: SlabBytes<'a>,
    /// The address of its first byte.
    pub base: u64,
    /// Where its first page's descriptor stands.
    pub descriptor: u64,
    /// The zone that its pages are from.
    pub zone: ZoneId,
    /// Whether it is on its node's list of partial slabs.
    pub is_partial: bool,
    /// How many objects it has.
    pub objects: u32,
    /// How many of them are not free.
    pub inuse: u32,
    /// The first free object.
    pub freelist: u64,
    /// Whether it was given up after a finding.
    pub frozen: bool,
}

impl Slab<'_> {
    /// The address of a byte.
    pub const fn addr(&self, at: u32) -> u64 {
        self.base.wrapping_add(at as u64)
    }

    /// Whether it has more than one page.
    pub const fn is_compound(&self) -> bool {
        self.bytes.len() as u64 > PAGE_SIZE
    }

    /// Where an object begins, from the slab's start, if one begins at that
    /// address.
    pub fn place(&self, layout: &Layout, object: u64) -> Option<u32> {
        let at = u32::try_from(object.checked_sub(self.base)?).ok()?;
        layout.index(at, self.objects)?;
        Some(at)
    }

    /// Whether the address can stand in a freelist: an object, or its end
    /// (`check_valid_pointer`).
    pub fn is_valid(&self, layout: &Layout, pointer: u64) -> bool {
        pointer == 0 || self.place(layout, pointer).is_some()
    }
}

/// The cache that a slab belongs to, and who hears of what is found.
pub struct Cache<'a, P> {
    /// Clock, stacks and the place for reports.
    pub platform: &'a P,
    /// Its name.
    pub name: &'a str,
    /// Where the parts of its objects lie.
    pub layout: Layout,
    /// What its free pointers are mixed with.
    pub random: u64,
    /// Where stacks are fetched from.
    pub stacks: &'a dyn Stacks,
    /// What was found in it so far.
    pub findings: &'a Findings,
    /// Whether anything was found anywhere.
    pub taint: &'a Taint,
}

impl<P> Cache<'_, P> {
    /// What an object's free pointer says (`get_freepointer`).
    pub fn free_pointer(&self, slab: &Slab<'_>, object: u32) -> u64 {
        let at = object + self.layout.offset;
        decode(self.random, slab.bytes.word(at), slab.addr(at))
    }

    /// Stores a free pointer (`set_freepointer`).
    pub fn set_free_pointer(&self, slab: &Slab<'_>, object: u32, pointer: u64) {
        let at = object + self.layout.offset;
        slab.bytes
            .set_word(at, decode(self.random, pointer, slab.addr(at)));
    }

    /// The free objects of a slab whose freelist is good; not more than it has
    /// objects.
    pub fn free_objects<'s>(&'s self, slab: &'s Slab<'_>) -> impl Iterator<Item = u32> + 's {
        let mut next = slab.freelist;
        (0..slab.objects).map_while(move |_| {
            let object = slab.place(&self.layout, next)?;
            next = self.free_pointer(slab, object);
            Some(object)
        })
    }

    /// All objects of a slab, and whether each is free (`__fill_map`).
    pub fn each_object(&self, slab: &Slab<'_>, mut each: impl FnMut(u32, bool) -> bool) {
        let mut first = 0;
        while first < slab.objects {
            let end = slab.objects.min(first + WINDOW);
            let mut free = [0u64; (WINDOW / 64) as usize];
            for object in self.free_objects(slab) {
                let index = self.layout.index(object, slab.objects).unwrap_or(0);
                let bit = index.wrapping_sub(first);
                if let Some(word) = free.get_mut(bit as usize / 64) {
                    *word |= 1 << (bit % 64);
                }
            }
            for index in first..end {
                let bit = index - first;
                let word = free.get(bit as usize / 64).copied().unwrap_or(0);
                if !each(self.layout.object(index), (word >> (bit % 64)) & 1 == 1) {
                    return;
                }
            }
            first = end;
        }
    }
}

/// Mixes a free pointer with where it stands and with the cache's number; twice
/// is nothing (`freelist_ptr_encode`, `freelist_ptr_decode`).
pub(super) const fn decode(random: u64, pointer: u64, at: u64) -> u64 {
    pointer ^ random ^ at.swap_bytes()
}
