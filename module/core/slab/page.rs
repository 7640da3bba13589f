// SPDX-License-Identifier: GPL-2.0

//! One slab: the objects in a block of pages.
//!
//! ```text
//!        +--------+--------+--------+--------+-------+
//! pages  | object | object | object | object | rest  |     size bytes each
//!        +--------+--------+--------+--------+-------+
//!            ^ 0      ^ 1      | 2      ^ 3
//!            |        |        |        |
//! descriptor |        +--------|--------+   freelist: first = 1, then 3
//!   first ---|--> 1            |            inuse: 2, objects 0 and 2
//!   inuse    |                 v
//!            somebody has them; who, is not known here
//! ```
//!
//! A free object's free pointer lies at `offset` in it and is hidden: the next
//! one's address, xor the cache's random number, xor the pointer's own address
//! with its bytes reversed (`freelist_ptr_encode`). What comes out of one that was
//! overwritten leads to no object of the slab, almost always, and then the
//! freelist is not followed any further.

use super::object::ObjAddr;
use super::state::Shape;
use crate::page::PageDescriptor;
use crate::page::PageState;
use crate::page::NO_INDEX;
use crate::phys::Bytes;
use crate::phys::Pfn;
use crate::phys::PhysRange;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// A slab. What it says is true for the holder of its node's lock.
#[derive(Clone, Copy)]
pub(super) struct Slab<'m> {
    /// The first page.
    pub(super) pfn: Pfn,
    /// Its descriptor.
    pub(super) page: &'m PageDescriptor,
    /// All of its memory.
    pub(super) words: &'m [AtomicU64],
    /// How many objects it has.
    pub(super) objects: u32,
}

/// On which list a slab is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fullness {
    Empty,
    Partial,
    Full,
}

/// A free pointer that leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

impl<'m> Slab<'m> {
    /// The block that a slab at `pfn` fills.
    #[inline]
    pub(super) fn range(pfn: Pfn, page: &PageDescriptor) -> PhysRange {
        PhysRange::new(pfn.addr(), page.order().pages().bytes())
    }

    /// The slab whose first page this is, in this memory.
    #[inline]
    pub(super) fn new(
        pfn: Pfn,
        page: &'m PageDescriptor,
        words: &'m [AtomicU64],
        shape: &Shape,
    ) -> Self {
        let geometry = &shape.geometry;
        let objects = match page.order() == geometry.order {
            true => geometry.objects,
            false => geometry.min_objects,
        };
        Self {
            pfn,
            page,
            words,
            objects,
        }
    }

    /// On which list it is to be.
    #[inline]
    pub(super) fn fullness(&self) -> Fullness {
        match self.page.slab_counts() {
            (_, 0) => Fullness::Empty,
            (None, _) => Fullness::Full,
            (Some(_), _) => Fullness::Partial,
        }
    }

    /// How many objects are not in the freelist.
    #[inline]
    pub(super) fn inuse(&self) -> u32 {
        self.page.slab_counts().1.into()
    }

    /// Where the object of this index begins.
    #[inline(always)]
    pub(super) fn object(&self, shape: &Shape, index: u32) -> ObjAddr {
        let offset = u64::from(index).wrapping_mul(shape.geometry.size.into());
        let first = self.pfn.addr().0 + u64::from(shape.geometry.red_left_pad);
        ObjAddr::new(first.wrapping_add(offset))
    }

    /// The index of the object that begins at `addr`, if one does.
    #[inline(always)]
    pub(super) fn index(&self, shape: &Shape, addr: u64) -> Option<u32> {
        let first = self.pfn.addr().0 + u64::from(shape.geometry.red_left_pad);
        shape.index_at(addr.wrapping_sub(first), self.objects)
    }

    /// The words of the object of this index, with what debugging has around it.
    pub(super) fn object_words(&self, shape: &Shape, index: u32) -> &'m [AtomicU64] {
        let first = (index as usize).wrapping_mul(shape.geometry.size as usize) / 8;
        let behind = first.saturating_add(shape.geometry.size as usize / 8);
        self.words.get(first..behind).unwrap_or_default()
    }

    /// Where the object's free pointer is.
    #[inline(always)]
    fn pointer(&self, shape: &Shape, index: u32) -> Option<(&'m AtomicU64, u64)> {
        let geometry = &shape.geometry;
        let at = u64::from(index)
            .wrapping_mul(geometry.size.into())
            .wrapping_add(geometry.red_left_pad.into())
            .wrapping_add(geometry.offset.into());
        let word = self.words.get(at as usize / 8)?;
        let mask = shape.free_pointer_mask(self.pfn.addr().0.wrapping_add(at));
        Some((word, mask))
    }

    /// The free object behind this one in the freelist (`get_freepointer`).
    #[inline(always)]
    pub(super) fn next_free(&self, shape: &Shape, index: u32) -> Result<Option<u32>, Broken> {
        let (word, mask) = self.pointer(shape, index).ok_or(Broken)?;
        match word.load(Relaxed) ^ mask {
            0 => Ok(None),
            next => self.index(shape, next).map(Some).ok_or(Broken),
        }
    }

    /// Says which one is (`set_freepointer`).
    #[inline(always)]
    pub(super) fn set_next_free(&self, shape: &Shape, index: u32, next: Option<u32>) {
        if let Some((word, mask)) = self.pointer(shape, index) {
            let next = next.map_or(0, |next| self.object(shape, next).get());
            word.store(next ^ mask, Relaxed);
        }
    }

    /// Takes objects from the head of the freelist, one for each of `places` as long as
    /// there are some, and says how many (`get_freelist_nofreeze`). Behind a broken
    /// pointer nothing is free any more: how many that were, and in which object it is,
    /// is the error.
    #[inline]
    pub(super) fn take<T>(
        &self,
        shape: &Shape,
        places: &mut impl ExactSizeIterator<Item = T>,
        put: impl Fn(T, ObjAddr),
    ) -> (u32, Option<(u32, ObjAddr)>) {
        let (Some(first), inuse) = self.page.slab_counts() else {
            return (0, None);
        };
        let wanted = places.len();
        let Some(mut place) = places.next() else {
            return (0, None);
        };
        let base = self.pfn.addr().0;
        let start = base.wrapping_add(shape.geometry.red_left_pad.into());
        let mut object = self.object(shape, first.into()).get();
        let (index, is_whole) = loop {
            put(place, ObjAddr::new(object));
            let at = object.wrapping_add(shape.geometry.offset.into());
            let Some(word) = self.words.get((at.wrapping_sub(base) / 8) as usize) else {
                break (NO_INDEX, false);
            };
            let behind = word.load(Relaxed) ^ shape.free_pointer_mask(at);
            let Some(index) = shape.index_at(behind.wrapping_sub(start), self.objects) else {
                break (NO_INDEX, behind == 0);
            };
            let Some(next) = places.next() else {
                break (index, true);
            };
            (object, place) = (behind, next);
        };
        let taken = wanted.wrapping_sub(places.len()) as u32;
        let gone = u32::from(inuse).wrapping_add(taken);
        let lost = match is_whole {
            true => 0,
            false => self.objects.saturating_sub(gone),
        };
        self.page
            .set_slab_raw_counts(index, gone.wrapping_add(lost));
        let lost = (!is_whole).then_some((lost, ObjAddr::new(object)));
        (taken, lost)
    }

    /// Puts the object of this index at the head of the freelist; `false` when all
    /// are free already, or it is the one that was put last.
    #[inline]
    pub(super) fn put(&self, shape: &Shape, index: u32) -> bool {
        let (first, inuse) = self.page.slab_counts();
        if inuse == 0 || first.map(u32::from) == Some(index) {
            return false;
        }
        self.set_next_free(shape, index, first.map(u32::from));
        self.page
            .set_slab_counts(Some(index as u16), inuse.wrapping_sub(1));
        true
    }

    /// Whether the object is in the freelist (`on_freelist`).
    pub(super) fn is_free(&self, shape: &Shape, index: u32) -> bool {
        self.free_indices(shape).any(|free| free == index)
    }

    /// The objects of the freelist, first to last, as far as it is whole.
    pub(super) fn free_indices<'s>(
        &'s self,
        shape: &'s Shape,
    ) -> impl Iterator<Item = u32> + use<'s, 'm> {
        let mut next = self.page.slab_counts().0.map(u32::from);
        // A broken list may run in a circle.
        let mut left = self.objects;
        core::iter::from_fn(move || {
            let index = next.filter(|_| left > 0)?;
            left = left.wrapping_sub(1);
            next = self.next_free(shape, index).ok().flatten();
            Some(index)
        })
    }

    /// All objects of a slab that begins its life, in an order of its own: a walk whose
    /// step has no divisor in common with their number, from anywhere
    /// (`shuffle_freelist`).
    #[inline]
    pub(super) fn walk(&self, shape: &Shape, random: u64) -> Walk {
        let objects = self.objects.max(1);
        let at = |value: u64| (value % u64::from(objects)) as u32;
        let size = u64::from(shape.geometry.size);
        let start = self.object(shape, 0).get();
        Walk {
            next: self.object(shape, at(random >> 32)).get(),
            step: size.wrapping_mul(coprime_step(at(random), objects).into()),
            behind: start.wrapping_add(size.wrapping_mul(objects.into())),
            all: size.wrapping_mul(objects.into()),
        }
    }

    /// Begins a slab's life, so many of whose objects have been given out by the walk:
    /// makes a freelist of the rest (`alloc_from_new_slab`).
    #[inline]
    pub(super) fn begin(&self, shape: &Shape, mut walk: Walk, given: u32) {
        let left = self.objects.saturating_sub(given);
        if left == 0 {
            return self.page.set_slab_raw_counts(NO_INDEX, given);
        }
        let base = self.pfn.addr().0;
        let mut object = walk.step();
        let start = self.object(shape, 0).get();
        let first = shape.index_at(object.get().wrapping_sub(start), self.objects);
        for number in 1..=left {
            let next = walk.step();
            let behind = match number == left {
                true => 0,
                false => next.get(),
            };
            let at = object.get().wrapping_add(shape.geometry.offset.into());
            let word = self.words.get((at.wrapping_sub(base) / 8) as usize);
            if let Some(word) = word {
                word.store(behind ^ shape.free_pointer_mask(at), Relaxed);
            }
            object = next;
        }
        self.page
            .set_slab_raw_counts(first.unwrap_or(NO_INDEX), given);
    }

    /// Fills the first `size` bytes of the object with one byte.
    pub(super) fn fill(&self, shape: &Shape, index: u32, size: Bytes, byte: u8) {
        let words = self.object_words(shape, index);
        let words = words.get(shape.geometry.red_left_pad as usize / 8..);
        fill(words.unwrap_or_default(), size, byte);
    }

    /// Whether the descriptors still say that this is a slab of the cache.
    pub(super) fn is_of(&self, shape: &Shape) -> bool {
        self.page.state() == PageState::Slab && self.page.slab_cache() == Some(shape.id)
    }
}

/// See [`Slab::walk`].
pub(super) struct Walk {
    /// The next object's address.
    next: u64,
    /// How far one is from another, in bytes.
    step: u64,
    /// Where the last object ends.
    behind: u64,
    /// As many bytes as there are from the first on.
    all: u64,
}

impl Walk {
    /// The next object; after the last one the first comes again.
    #[inline(always)]
    pub(super) fn step(&mut self) -> ObjAddr {
        let object = self.next;
        let next = object.wrapping_add(self.step);
        self.next = match next >= self.behind {
            true => next.wrapping_sub(self.all),
            false => next,
        };
        ObjAddr::new(object)
    }
}

/// The first number from `from` on that has no divisor in common with `of`.
#[inline]
fn coprime_step(from: u32, of: u32) -> u32 {
    if of.is_power_of_two() {
        return from | 1;
    }
    let gcd = |mut a: u32, mut b: u32| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let mut step = from.max(1);
    while gcd(step, of) != 1 {
        step = step.wrapping_add(1);
    }
    step
}

/// Fills the first `size` bytes of these words with one byte.
pub(super) fn fill(words: &[AtomicU64], size: Bytes, byte: u8) {
    let pattern = u64::from_le_bytes([byte; 8]);
    let whole = (size.0 / 8) as usize;
    for word in words.iter().take(whole) {
        word.store(pattern, Relaxed);
    }
    let rest = size.0 % 8 * 8;
    if let Some(word) = words.get(whole).filter(|_| rest != 0) {
        let mask = (1u64 << rest).wrapping_sub(1);
        let kept = word.load(Relaxed) & !mask;
        word.store(kept | (pattern & mask), Relaxed);
    }
}
