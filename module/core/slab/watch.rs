// SPDX-License-Identifier: GPL-2.0

//! Objects that are nobody's are watched, where the surroundings watch memory
//! ([`Platform::WATCHES`]), so that a use after free is seen when it happens.
//!
//! ```text
//! given back   all of it but the word of its free pointer is nobody's
//! given out    all of it is its owner's
//! ```
//!
//! That is told where objects come and go for their owners, before anybody else can
//! have them; what becomes of them in between makes no difference. Pages of which a
//! slab is made are watched by the page allocator as long as they are none. Objects
//! that are checked are not watched, because the checks read them, nor are those that
//! their users may look at behind a free (`SLAB_TYPESAFE_BY_RCU`).

use super::flags::SlabFlags;
use super::object::CacheId;
use super::object::ObjAddr;
use super::page::Slab;
use super::state::Shape;
use super::system::SlabAllocator;
use crate::phys::PhysAddr;
use crate::phys::PhysRange;
use crate::platform::Platform;

/// The size of a free pointer, in bytes.
const WORD: u64 = 8;

impl<P: Platform> SlabAllocator<'_, '_, P> {
    /// An object has an owner (`kasan_slab_alloc`).
    #[inline(always)]
    pub(super) fn given_out(&self, object: ObjAddr) {
        if P::WATCHES {
            self.watch_object(None, object, false);
        }
    }

    /// An object is about to be given back, to this cache if one is named
    /// (`kasan_slab_free`). What is no object of it is left alone.
    #[inline(always)]
    pub(super) fn given_back(&self, id: Option<CacheId>, object: ObjAddr) {
        if P::WATCHES {
            self.watch_object(id, object, true);
        }
    }

    /// All objects of a new slab are nobody's (`kasan_poison_slab`); those of the first
    /// slabs have owners before there are caches.
    #[inline(always)]
    pub(super) fn watch_new(&self, shape: &Shape, slab: &Slab<'_>) {
        if P::WATCHES && is_watched(shape) {
            for index in 0..slab.objects {
                self.watch_place(shape, slab.object(shape, index), true);
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn watch_object(&self, id: Option<CacheId>, object: ObjAddr, free: bool) {
        let Ok(its) = self.cache_of(object) else {
            return;
        };
        let Ok(cache) = self.table().cache(its) else {
            return;
        };
        let shape = cache.shape();
        let is_its = id.is_none_or(|id| id == its) && self.find_object(&shape, object).is_ok();
        if is_its && is_watched(&shape) {
            self.watch_place(&shape, object, free);
        }
    }

    fn watch_place(&self, shape: &Shape, object: ObjAddr, free: bool) {
        let start = object.get();
        let end = start.saturating_add(shape.geometry.size.into());
        let pointer = start.saturating_add(shape.geometry.offset.into());
        let watch = |start: u64, end: u64| {
            let range = PhysRange {
                start: PhysAddr(start),
                end: PhysAddr(end),
            };
            if start < end {
                self.mm.region.watch(self.platform(), range, free);
            }
        };
        if free {
            watch(start, pointer);
            watch(pointer.saturating_add(WORD), end);
        } else {
            watch(start, end);
        }
    }
}

/// Whether objects of the cache are watched.
fn is_watched(shape: &Shape) -> bool {
    let unwatched = SlabFlags::DEBUG | SlabFlags::TYPESAFE_BY_RCU;
    !shape.geometry.flags.has(unwatched)
}
