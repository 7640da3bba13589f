// SPDX-License-Identifier: GPL-2.0

//! Named caches, which Cosmos does not have: a name, a size, and counts.
//!
//! ```text
//! "inodes"  600 bytes   record --+
//!                                +--> containers of 608 bytes
//! "buffers" 592 bytes   record --+      tags say whose each object is
//! ```
//!
//! All caches whose sizes are rounded to the same multiple of 32 share their
//! containers. A record is an object of the pool itself.

use super::cells;
use super::layout::SizeIndex;
use super::layout::KOBLST_STEP;
use super::locked::Locked;
use super::manager;
use super::owner::FIRST_NAMED;
use super::record;
use super::record::CacheCells;
use super::Kmsob;
use super::Owner;
use crate::buddy::gfp;
use crate::buddy::PageAllocator;
use crate::error::Error;
use crate::error::Result;
use crate::phys::Bytes;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::platform::Platform;
use crate::slab::CacheArgs;
use crate::slab::CacheId;
use crate::slab::CacheName;
use crate::slab::Constructor;
use crate::slab::ObjAddr;
use crate::slab::ObjRequest;
use crate::slab::SlabFlags;
use crate::slab::MAX_CACHES;
use core::sync::atomic::Ordering::Relaxed;

/// Where a cache's objects come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// From containers of this size.
    Object(SizeIndex),
    /// Each is a block of this order.
    Pages(PageOrder),
}

impl Room {
    /// Where objects of `size` bytes come from.
    ///
    /// # Errors
    ///
    /// [`Error::BadObjectSize`] for none, [`Error::ObjectTooLarge`] for more than
    /// the largest block has.
    pub(super) fn for_size(size: Bytes) -> Result<Self> {
        if size == Bytes::ZERO {
            return Err(Error::BadObjectSize);
        }
        if let Some(size) = SizeIndex::for_size(size) {
            return Ok(Self::Object(size));
        }
        // Rounding up may overflow; what does is too large in any case.
        let pages = match size <= PageOrder::MAX.pages().bytes() {
            true => size.pages_up(),
            false => Pages::MAX,
        };
        let order = pages.order_up().ok_or(Error::ObjectTooLarge)?;
        Ok(Self::Pages(order))
    }

    /// What an object takes there.
    pub(super) fn size(self) -> Bytes {
        match self {
            Self::Object(size) => size.size(),
            Self::Pages(order) => order.pages().bytes(),
        }
    }
}

/// What a container can't give a cache: alignment above 32 bytes, anything done to
/// objects before they are given out, and slabs of its own. What is a mere hint, or
/// for bookkeeping that the shadow does not have, is taken.
fn check_args(args: &CacheArgs<'_>) -> Result<()> {
    let particular = SlabFlags::DEBUG
        | SlabFlags::HWCACHE_ALIGN
        | SlabFlags::CACHE_DMA
        | SlabFlags::CACHE_DMA32
        | SlabFlags::TYPESAFE_BY_RCU
        | SlabFlags::KMALLOC;
    if !SlabFlags::PERMITTED.has_all(args.flags) {
        return Err(Error::BadFlags);
    }
    if args.align != 0 && !args.align.is_power_of_two() {
        return Err(Error::BadAlignment);
    }
    let asked = args.flags.has(particular)
        || u64::from(args.align) > KOBLST_STEP
        || args.ctor != Constructor::None
        || args.usersize != 0
        || args.useroffset != 0
        || args.freeptr_offset.is_some()
        || args.sheaf_capacity != 0;
    match asked {
        true => Err(Error::NotSupported),
        false => Ok(()),
    }
}

impl<P: Platform, A: PageAllocator> Kmsob<'_, P, A> {
    /// Makes a named cache. See [`ObjectAllocator::create`].
    ///
    /// [`ObjectAllocator::create`]: crate::slab::ObjectAllocator::create
    pub(super) fn create_cache(&self, args: &CacheArgs<'_>) -> Result<CacheId> {
        let name = CacheName::new(args.name)?;
        check_args(args)?;
        Room::for_size(Bytes(u64::from(args.object_size)))?;
        let record = self.new_object(Owner::RECORDS, &ObjRequest::new(gfp::GFP_KERNEL))?;
        let made = self.lock().add_cache(&name, args, record);
        if made.is_err() {
            self.delete(record, Some(Owner::RECORDS))?;
        }
        made
    }

    /// Ends a named cache of which nobody has an object.
    pub(super) fn destroy_cache(&self, id: CacheId) -> Result<()> {
        let record = self.lock().remove_cache(id)?;
        self.delete(record, Some(Owner::RECORDS))
    }
}

impl<'l, P: Platform, A: PageAllocator> Locked<'l, P, A> {
    /// Where the objects of somebody come from; whether there is such a cache.
    pub(super) fn room(&self, owner: Owner) -> Result<Room> {
        if let Some(size) = owner.of_size() {
            return Ok(Room::Object(size));
        }
        let size = match owner == Owner::RECORDS {
            true => CacheCells::SIZE,
            false => {
                let record = self.record(owner)?.ok_or(Error::NoSuchCache)?;
                u64::from(record.object_size.load(Relaxed))
            }
        };
        Room::for_size(Bytes(size))
    }

    /// The record of a named cache, if there is one.
    pub(super) fn record(&self, owner: Owner) -> Result<Option<&'l CacheCells>> {
        match self.record_at(owner) {
            None => Ok(None),
            Some(at) => Ok(Some(self.cells(at.get())?)),
        }
    }

    fn record_at(&self, owner: Owner) -> Option<ObjAddr> {
        let slot = self.pool.pool.caches.get(usize::from(owner.tag()))?;
        let at = ObjAddr::new(slot.load(Relaxed));
        (owner.is_named() && !at.is_null()).then_some(at)
    }

    /// Counts one object more or less for its owner, if that is a named cache.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchCache`] where there is no such cache.
    pub(super) fn count_owner(&mut self, owner: Owner, taken: bool) -> Result<()> {
        if !owner.is_named() {
            return Ok(());
        }
        let record = self.record(owner)?.ok_or(Error::NoSuchCache)?;
        match taken {
            true => manager::add(&record.allocs, 1),
            false => manager::add(&record.frees, 1),
        }
        Ok(())
    }

    /// Counts an object that somebody could not have.
    pub(super) fn count_failed(&mut self, owner: Owner) {
        if let Ok(Some(record)) = self.record(owner) {
            cells::add(&record.failed, 1);
        }
        if let Some(list) = owner.of_size().and_then(|size| self.pool.pool.list(size)) {
            manager::add(&list.failed, 1);
        }
    }

    /// The named caches, in the order of their numbers, behind this number.
    pub(super) fn named_after<'s>(
        &'s self,
        number: u16,
    ) -> impl Iterator<Item = Owner> + use<'s, 'l, P, A> {
        let first = number.saturating_add(1).max(FIRST_NAMED);
        let numbers = (first..MAX_CACHES as u16).filter_map(Owner::from_tag);
        numbers.filter(|&owner| self.record_at(owner).is_some())
    }

    /// The named cache of this name.
    pub(super) fn find_named(&self, name: &str) -> Result<Option<Owner>> {
        for owner in self.named_after(0) {
            if let Some(record) = self.record(owner)? {
                if record.name()?.as_str() == name {
                    return Ok(Some(owner));
                }
            }
        }
        Ok(None)
    }

    fn add_cache(
        &mut self,
        name: &CacheName,
        args: &CacheArgs<'_>,
        at: ObjAddr,
    ) -> Result<CacheId> {
        if self.find_named(name.as_str())?.is_some() || record::builtin(name.as_str()).is_some() {
            return Err(Error::CacheExists);
        }
        let slots = self.pool.pool.caches.iter().enumerate();
        let mut free = slots.skip(usize::from(FIRST_NAMED));
        let free = free.find(|(_, slot)| slot.load(Relaxed) == 0);
        let (number, slot) = free.ok_or(Error::TooManyCaches)?;
        let id = CacheId::new(number as u16).ok_or(Error::TooManyCaches)?;
        let record: &CacheCells = self.cells(at.get())?;
        record.init(name, args);
        slot.store(at.get(), Relaxed);
        self.head.caches = self.head.caches.wrapping_add(1);
        Ok(id)
    }

    fn remove_cache(&mut self, id: CacheId) -> Result<ObjAddr> {
        let owner = Owner::cache(id);
        if !owner.is_named() {
            return Err(Error::CacheNeeded);
        }
        let record = self.record(owner)?.ok_or(Error::NoSuchCache)?;
        let at = self.record_at(owner).ok_or(Error::NoSuchCache)?;
        if record.in_use() != 0 {
            return Err(Error::CacheBusy);
        }
        if let Some(slot) = self.pool.pool.caches.get(id.index()) {
            slot.store(0, Relaxed);
        }
        self.head.caches = self.head.caches.wrapping_sub(1);
        Ok(at)
    }
}
