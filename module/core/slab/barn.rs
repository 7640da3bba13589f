// SPDX-License-Identifier: GPL-2.0

//! A node's store of a cache's free objects (`struct node_barn`): what CPUs have too
//! many of, until some CPU wants it, without a way through the slabs.
//!
//! ```text
//!   CPU 0    CPU 1                    CPU 2, of another node
//!  magazine magazine                  objects of this node, all of one key
//!     |  ^     |  ^                        |
//!     v  |     v  |                        v
//!  [ object | object | ... len | ... about ten sheaves ]     node's lock
//!     | no room            ^ none
//!     v                    |
//!   the objects' slabs    slabs
//! ```
//!
//! Linux has up to ten full sheaves there, and gives them to CPUs and takes them
//! back by their address. Here objects are copied, three instructions each, so that
//! a magazine stays where its CPU finds it, and needs no lock for that.
//!
//! The store is an array from kmalloc, made when a CPU has too much for the first
//! time. Where it is and how many objects it has is one word: it is aligned to its
//! size.

use super::kmalloc_info::KMALLOC_MAX_SIZE;
use super::object::ObjAddr;
use crate::phys::Bytes;
use crate::phys::PhysAddr;
use crate::phys::PhysRange;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// How many sheaves' objects a store holds, about (`MAX_FULL_SHEAVES`).
const SHEAVES: u32 = 10;
/// No store has room for more: it would be larger than what kmalloc gives.
const MAX_PLACES: u32 = (KMALLOC_MAX_SIZE.0 / 8) as u32;

/// For how many objects a node's store has room, of a cache whose sheaves have room for
/// so many: about as many as there are in as many full sheaves as Linux's barns have, by
/// the nearer power of two, which fills an object of kmalloc.
#[inline]
pub const fn barn_capacity(sheaf_capacity: u32) -> u32 {
    let wanted = sheaf_capacity.saturating_mul(SHEAVES);
    if wanted >= MAX_PLACES {
        return MAX_PLACES;
    }
    let above = wanted.next_power_of_two();
    match above - wanted < wanted - above / 2 {
        true => above,
        false => above / 2,
    }
}

/// How large that store is.
#[inline]
pub(super) const fn barn_size(sheaf_capacity: u32) -> Bytes {
    Bytes(barn_capacity(sheaf_capacity) as u64 * 8)
}

/// Where a store is in the shadow's memory, and how many objects it has.
#[derive(Clone, Copy)]
pub(super) struct BarnWord(u64);

impl BarnWord {
    /// One with nothing in it; `None` where none can be.
    #[inline]
    pub(super) fn new(addr: u64, size: Bytes) -> Option<Self> {
        (addr != 0 && addr & size.0.wrapping_sub(1) == 0).then_some(Self(addr))
    }

    /// What a node says of its store.
    #[inline]
    pub(super) fn of(word: &AtomicU64) -> Self {
        Self(word.load(Relaxed))
    }

    /// The same, after which there is none. For the holder of the node's lock.
    pub(super) fn take(word: &AtomicU64) -> Self {
        let taken = Self::of(word);
        word.store(0, Relaxed);
        taken
    }

    /// As a number; 0 for no store.
    #[inline]
    pub(super) const fn get(self) -> u64 {
        self.0
    }

    /// Whether there is a store.
    #[inline]
    pub(super) const fn is_some(self) -> bool {
        self.0 != 0
    }

    /// Where it is.
    #[inline]
    pub(super) fn range(self, size: Bytes) -> PhysRange {
        PhysRange::new(PhysAddr(self.0 & !size.0.wrapping_sub(1)), size)
    }

    /// How many objects it has.
    #[inline]
    pub(super) fn len(self, size: Bytes) -> usize {
        (self.0 & size.0.wrapping_sub(1)) as usize
    }
}

/// How many objects a node has in store, as far as can be seen without its lock.
#[inline]
pub(super) fn stored(word: &AtomicU64, size: Bytes) -> usize {
    match BarnWord::of(word) {
        word if word.is_some() => word.len(size),
        _ => 0,
    }
}

/// A store, for the holder of its node's lock.
pub(super) struct Barn<'m> {
    word: &'m AtomicU64,
    places: &'m [AtomicU64],
}

impl<'m> Barn<'m> {
    /// The store that a node's word speaks of, which is these places.
    pub(super) fn new(word: &'m AtomicU64, places: &'m [AtomicU64]) -> Self {
        Self { word, places }
    }

    /// How many objects are in it.
    #[inline]
    pub(super) fn len(&self) -> usize {
        BarnWord::of(self.word).len(Bytes(self.places.len() as u64 * 8))
    }

    /// Puts as many of these objects as there is room for, from the first on; how
    /// many that were.
    #[inline]
    pub(super) fn put_all(&self, objects: &[AtomicU64]) -> usize {
        let free = self.places.get(self.len()..).unwrap_or_default();
        let mut put = 0usize;
        for (place, object) in free.iter().zip(objects) {
            place.store(object.load(Relaxed), Relaxed);
            put = put.wrapping_add(1);
        }
        self.add(put as u64);
        put
    }

    /// The same for objects that are at hand.
    #[inline]
    pub(super) fn put_some<'o>(&self, objects: impl Iterator<Item = &'o ObjAddr>) -> usize {
        let free = self.places.get(self.len()..).unwrap_or_default();
        let mut put = 0usize;
        for (place, object) in free.iter().zip(objects) {
            place.store(object.get(), Relaxed);
            put = put.wrapping_add(1);
        }
        self.add(put as u64);
        put
    }

    /// Fills as many of these places as there are objects; how many that were.
    #[inline]
    pub(super) fn take_all(&self, places: &[AtomicU64]) -> usize {
        let objects = self.highest(places.len());
        for (place, object) in places.iter().zip(objects) {
            place.store(object.load(Relaxed), Relaxed);
        }
        self.take_highest(objects.len());
        objects.len()
    }

    /// The objects that were put last, as many as there are of so many.
    #[inline]
    pub(super) fn highest(&self, count: usize) -> &'m [AtomicU64] {
        let len = self.len();
        let first = len.saturating_sub(count);
        self.places.get(first..len).unwrap_or_default()
    }

    /// Takes so many away that were put last, and are there.
    #[inline]
    pub(super) fn take_highest(&self, count: usize) {
        self.add((count as u64).wrapping_neg());
    }

    /// Whether the object is in it.
    pub(super) fn has(&self, object: u64) -> bool {
        let mut all = self.highest(self.len()).iter();
        all.any(|place| place.load(Relaxed) == object)
    }

    #[inline]
    fn add(&self, count: u64) {
        let word = self.word.load(Relaxed);
        self.word.store(word.wrapping_add(count), Relaxed);
    }
}
