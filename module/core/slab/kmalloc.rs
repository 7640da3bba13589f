// SPDX-License-Identifier: GPL-2.0

//! kmalloc: objects by size. The caches and which of them serves what is in
//! `kmalloc_info.rs`; here is how a request gets there, and what happens to those
//! that are larger than any cache's objects.

use super::allocator::ObjRequest;
use super::debug::SlabBytes;
use super::handle::is_plain;
use super::handle::Cache;
use super::handle::Taken;
use super::kmalloc_info::KmallocIndex;
use super::kmalloc_info::KmallocType;
use super::kmalloc_info::KMALLOC_MAX_SIZE;
use super::near::kmalloc_number;
use super::near::NearCpu;
use super::object::CacheId;
use super::object::ObjAddr;
use super::state::Shape;
use super::system::SlabAllocator;
use super::told;
use crate::buddy::gfp;
use crate::buddy::AllocRequest;
use crate::buddy::PageAllocator;
use crate::error::Error;
use crate::error::Result;
use crate::page::PageDescriptor;
use crate::phys::Bytes;
use crate::phys::PageOrder;
use crate::phys::PhysRange;
use crate::platform::Platform;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// An object that is to have another size.
struct Extent {
    /// Its cache's; `None` for whole pages.
    shape: Option<Shape>,
    /// All that it has (`ks`). Not what [`ObjectAllocator::ksize`] says: what lies
    /// between one object and the next is none of it.
    ///
    /// [`ObjectAllocator::ksize`]: super::ObjectAllocator::ksize
    size: Bytes,
    /// What of that was asked for, where the object keeps that, or all
    /// (`orig_size`).
    asked: Bytes,
}

/// kmalloc at hand, for those who know what they have; see
/// [`Cache`](super::Cache).
pub struct Kmalloc<'a, 'm, P: Platform>(SlabAllocator<'a, 'm, P>);

impl<P: Platform> Clone for Kmalloc<'_, '_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Platform> Copy for Kmalloc<'_, '_, P> {}

impl<P: Platform> Kmalloc<'_, '_, P> {
    /// Takes an object of at least this size (`kmalloc`). With a constant for the
    /// size it is known beforehand of which cache.
    ///
    /// # Errors
    ///
    /// Those of [`ObjectAllocator::kmalloc`](super::ObjectAllocator::kmalloc).
    #[inline(always)]
    pub fn alloc(&self, size: Bytes, request: &ObjRequest) -> Result<ObjAddr> {
        let system = &self.0;
        if is_plain(request) {
            if let Some(index) = KmallocIndex::of(size) {
                let row = KmallocType::of(request.gfp);
                if let Some((near, _pinned)) = system.platform().pin_near(system.table().near()) {
                    if let Some(object) = near.kmalloc(row, index).pop() {
                        let object = ObjAddr::new(object);
                        system.given_out(object);
                        return Ok(object);
                    }
                }
            }
        }
        system.kmalloc_long(size, request).result()
    }

    /// Gives back what [`Kmalloc::alloc`] or any cache has given (`kfree`).
    ///
    /// # Errors
    ///
    /// [`Error::ForeignPfn`] and [`Error::NotAnObject`] for what is in no slab and
    /// was not given out as whole pages.
    #[inline(always)]
    pub fn free(&self, object: ObjAddr) -> Result<()> {
        let system = &self.0;
        system.given_back(None, object);
        let Some((near, pinned)) = system.platform().pin_near(system.table().near()) else {
            return system.kfree_slow(object);
        };
        if let Some(page) = near.page(object.pfn()) {
            let key = page.slab_key();
            // Looked up first: then the key need not be copied for it.
            let magazine = near.magazine_of_key(key);
            if near.has(key) && magazine.put(object.get()) {
                return Ok(());
            }
        }
        system.kfree_far(near, object, pinned)
    }
}

impl<'a, 'm, P: Platform> SlabAllocator<'a, 'm, P> {
    /// kmalloc, at hand.
    pub const fn by_size(&self) -> Kmalloc<'a, 'm, P> {
        Kmalloc(*self)
    }

    /// Notes which cache serves a size of a row.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] when it is not where its CPUs look for it.
    pub(super) fn set_kmalloc(
        &self,
        row: KmallocType,
        index: KmallocIndex,
        id: CacheId,
    ) -> Result<()> {
        if id.index() != kmalloc_number(row, index) {
            return Err(Error::Corrupt);
        }
        self.table().kmalloc[row.index() & 3][index.index().min(13)].store(id.get(), Relaxed);
        Ok(())
    }

    /// There is none any more.
    pub(super) fn clear_kmalloc(&self) {
        for id in self.table().kmalloc.iter().flatten() {
            id.store(0, Relaxed);
        }
    }

    /// Whether any is there yet.
    pub(super) fn has_kmalloc(&self) -> bool {
        let all = self.table().kmalloc.iter().flatten();
        all.clone().filter(|id| id.load(Relaxed) != 0).count() >= 13
    }

    /// Whether it is one of kmalloc's.
    pub(super) fn is_kmalloc(&self, id: CacheId) -> bool {
        let mut all = self.table().kmalloc.iter().flatten();
        all.any(|kmalloc| kmalloc.load(Relaxed) == id.get())
    }

    /// The cache that serves a size (`kmalloc_slab`); `None` for sizes that get
    /// whole pages.
    #[inline]
    pub fn kmalloc_cache(&self, size: Bytes, row: KmallocType) -> Option<CacheId> {
        let index = KmallocIndex::of(size)?.index();
        let row = self.table().kmalloc.get(row.index())?;
        CacheId::new(row.get(index)?.load(Relaxed))
    }

    /// The cache that serves requests of this size with these flags, at hand.
    ///
    /// # Errors
    ///
    /// [`Error::AllocTooLarge`] for sizes that get whole pages.
    pub fn kmalloc_handle(&self, size: Bytes, row: KmallocType) -> Result<Cache<'a, 'm, P>> {
        let id = self.kmalloc_cache(size, row).ok_or(Error::AllocTooLarge)?;
        self.cache(id)
    }

    #[cold]
    #[inline(never)]
    fn kmalloc_long(&self, size: Bytes, request: &ObjRequest) -> Taken {
        Taken::of(self.kmalloc_slow(size, request))
    }

    /// See [`ObjectAllocator::kmalloc`](super::ObjectAllocator::kmalloc).
    pub(super) fn kmalloc_slow(&self, size: Bytes, request: &ObjRequest) -> Result<ObjAddr> {
        if size.is_zero() {
            return Ok(ObjAddr::NULL);
        }
        match self.kmalloc_cache(size, KmallocType::of(request.gfp)) {
            Some(id) => {
                let cache = self.cache(id)?;
                let result = cache.alloc_untold(&request.of_size(size.0 as u32));
                told::kmalloc(self, size, Some(cache.cells()), request, result);
                result
            }
            None => {
                let result = self.kmalloc_large(size, request);
                told::kmalloc(self, size, None, request, result);
                result
            }
        }
    }

    /// Whole pages (`___kmalloc_large_node`).
    fn kmalloc_large(&self, size: Bytes, request: &ObjRequest) -> Result<ObjAddr> {
        if size > KMALLOC_MAX_SIZE {
            return Err(Error::AllocTooLarge);
        }
        let order = size.pages_up().order_up().ok_or(Error::AllocTooLarge)?;
        // `kmalloc_fix_flags`: all of it is to be in the direct map.
        let unfit = gfp::__GFP_DMA32 | gfp::__GFP_HIGHMEM;
        let gfp = request.gfp.without(unfit) | gfp::__GFP_COMP;
        let pages = AllocRequest::new(gfp, order).on(request.nid);
        let pfn = self.mm.allocator().alloc(&pages)?;
        if let Some(page) = self.page(pfn) {
            page.set_large();
            self.table().note_large(page.nid(), order);
        }
        Ok(ObjAddr::new(pfn.addr().0))
    }

    /// The way of an object for which there was no place near: another node's is
    /// gathered.
    #[cold]
    #[inline(never)]
    fn kfree_far(
        &self,
        near: &NearCpu<'m>,
        object: ObjAddr,
        pinned: P::CpuGuard<'_>,
    ) -> Result<()> {
        if let Some(page) = near.far_page(object.pfn()) {
            let key = page.slab_key();
            if near.magazine_of_key(key).put_same_remote(key, object.get()) {
                return Ok(());
            }
        }
        drop(pinned);
        self.kfree_slow(object)
    }

    /// See [`ObjectAllocator::kfree`](super::ObjectAllocator::kfree), without its
    /// checks.
    #[cold]
    #[inline(never)]
    pub(super) fn kfree_slow(&self, object: ObjAddr) -> Result<()> {
        told::kfree(self, object, 0);
        self.kfree_untold(object)
    }

    /// The same for one of many, or when whoever listens was told.
    pub(super) fn kfree_untold(&self, object: ObjAddr) -> Result<()> {
        if object.is_null() {
            return Ok(());
        }
        match self.large_order(object) {
            Some(order) => self.free_large(object, order),
            None => self.cache(self.cache_of(object)?)?.free_untold(object),
        }
    }

    /// Gives whole pages back (`free_large_kmalloc`).
    fn free_large(&self, object: ObjAddr, order: PageOrder) -> Result<()> {
        let pfn = object.pfn();
        let nid = self.page(pfn).ok_or(Error::ForeignPfn)?.nid();
        self.mm.allocator().free(pfn, order)?;
        self.table().note_large_gone(nid, order);
        Ok(())
    }

    /// The order of the pages that kmalloc gave out here, if it did.
    pub(super) fn large_order(&self, object: ObjAddr) -> Option<PageOrder> {
        let page = self.page(object.pfn())?;
        (object.offset() == 0 && page.is_large()).then(|| page.order())
    }

    /// See [`ObjectAllocator::usable`](super::ObjectAllocator::usable): what was
    /// asked for where somebody may want to see what lies behind it, else all that
    /// nobody else uses (`slab_ksize`).
    pub(super) fn size_of(&self, object: ObjAddr) -> Result<Bytes> {
        use super::flags::SlabFlags;
        if object.is_null() {
            return Ok(Bytes::ZERO);
        }
        if let Some(order) = self.large_order(object) {
            return Ok(order.pages().bytes());
        }
        let _pinned = self.platform().pin_cpu();
        let cache = self.cache(self.cache_of(object)?)?;
        let shape = cache.cells().shape();
        self.find_object(&shape, object)?;
        let geometry = shape.geometry;
        let guarded = SlabFlags::RED_ZONE | SlabFlags::POISON;
        let tracked = SlabFlags::TYPESAFE_BY_RCU | SlabFlags::STORE_USER;
        let size = if geometry.flags.has(guarded) {
            geometry.object_size
        } else if geometry.flags.has(tracked) {
            geometry.inuse
        } else {
            geometry.size
        };
        Ok(Bytes(size.into()))
    }

    /// See [`ObjectAllocator::krealloc`](super::ObjectAllocator::krealloc)
    /// (`__do_krealloc`).
    pub(super) fn reallocate(
        &self,
        object: Option<ObjAddr>,
        size: Bytes,
        request: &ObjRequest,
    ) -> Result<ObjAddr> {
        let Some(object) = object.filter(|object| !object.is_null()) else {
            return self.kmalloc_slow(size, request);
        };
        let old = self.extent(object)?;
        if size.is_zero() {
            self.kfree_slow(object)?;
            return Ok(ObjAddr::NULL);
        }
        if !self.is_elsewhere(object, request) && size <= old.size {
            if request.gfp.has(gfp::__GFP_ZERO) {
                self.zero_spare(object, &old, size);
            }
            if let Some(shape) = &old.shape {
                self.set_asked_size(shape, object, Some(size));
            }
            return Ok(object);
        }
        let new = self.kmalloc_slow(size, request)?;
        self.copy(object, new, old.asked.min(size));
        if let Err(error) = self.kfree_slow(object) {
            // It stays the caller's, and the other is nobody's.
            let _ = self.kfree_slow(new);
            return Err(error);
        }
        Ok(new)
    }

    /// What `__do_krealloc` looks up of an object.
    fn extent(&self, object: ObjAddr) -> Result<Extent> {
        if let Some(order) = self.large_order(object) {
            let size = order.pages().bytes();
            return Ok(Extent {
                shape: None,
                size,
                asked: size,
            });
        }
        let shape = self.cache(self.cache_of(object)?)?.cells().shape();
        self.find_object(&shape, object)?;
        let size = Bytes(shape.geometry.object_size.into());
        let asked = self.asked_size(&shape, object).unwrap_or(size);
        Ok(Extent {
            shape: Some(shape),
            size,
            asked,
        })
    }

    /// Whether an object lies on another node than on the one that is asked for, and
    /// no other will do.
    fn is_elsewhere(&self, object: ObjAddr, request: &ObjRequest) -> bool {
        let nid = self.page(object.pfn()).map(PageDescriptor::nid);
        nid.is_some_and(|nid| request.is_away(nid))
    }

    /// Zeroes what the owner gets anew when he has `size` bytes from now on; where he
    /// gets none, what he gives up, so that he finds it zeroed when he gets it back.
    fn zero_spare(&self, object: ObjAddr, old: &Extent, size: Bytes) {
        let spare = match old.asked < size {
            true => old.asked..size,
            false => size..old.size,
        };
        let words = PhysRange::new(object.addr(), whole_words(spare.end));
        match self.cell_slice::<AtomicU64>(words) {
            Some(words) => SlabBytes::new(words).fill(spare.start.0 as u32..spare.end.0 as u32, 0),
            // Whole pages that are not in one piece of host memory.
            None => {
                let start = object.addr() + spare.start;
                let spare = PhysRange::new(start, spare.end - spare.start);
                let _ = self.mm.region.zero(spare);
            }
        }
    }

    /// Copies the first `size` bytes of an object to another.
    fn copy(&self, from: ObjAddr, to: ObjAddr, size: Bytes) {
        let words = |at: ObjAddr| {
            let range = PhysRange::new(at.addr(), whole_words(size));
            self.cell_slice::<AtomicU64>(range)
        };
        let (Some(from), Some(to)) = (words(from), words(to)) else {
            // Whole pages that are not in one piece of host memory.
            let _ = self
                .mm
                .region
                .copy(PhysRange::new(from.addr(), size), to.addr());
            return;
        };
        let mut left = size.0;
        for (from, to) in from.iter().zip(to) {
            let mut word = from.load(Relaxed);
            if left < 8 {
                // What lies behind may be red.
                let mut bytes = to.load(Relaxed).to_ne_bytes();
                for (to, from) in bytes.iter_mut().zip(word.to_ne_bytes()).take(left as usize) {
                    *to = from;
                }
                word = u64::from_ne_bytes(bytes);
            }
            to.store(word, Relaxed);
            left = left.saturating_sub(8);
        }
    }
}

/// The words that so many bytes are in. Every object has its last one to itself.
const fn whole_words(size: Bytes) -> Bytes {
    Bytes(size.0.div_ceil(8).saturating_mul(8))
}
