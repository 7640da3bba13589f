// SPDX-License-Identifier: GPL-2.0

//! The pool behind the seam of objects.
//!
//! ```text
//! kmalloc(100)      the cache "kmsob-128", as if it had been named
//! kmalloc(5000)     pages
//! create("x", 100)  a cache of its own, in the same containers
//! ```
//!
//! The cache of a size has the containers, with all that is free in them; a named
//! cache has the objects that were taken through it, and no slab. So the sums over
//! all caches are those of the pool.

use super::caches::Room;
use super::layout::SizeIndex;
use super::record;
use super::Kmsob;
use super::Owner;
use crate::buddy::gfp;
use crate::buddy::PageAllocator;
use crate::error::Error;
use crate::error::Result;
use crate::phys::Bytes;
use crate::phys::NodeId;
use crate::phys::Pages;
use crate::phys::PhysRange;
use crate::platform::Platform;
use crate::slab::CacheArgs;
use crate::slab::CacheId;
use crate::slab::CacheName;
use crate::slab::CacheNodeReport;
use crate::slab::CacheReport;
use crate::slab::ObjAddr;
use crate::slab::ObjRequest;
use crate::slab::ObjectAllocator;
use crate::slab::SlabFlaw;
use core::fmt;

impl<P: Platform, A: PageAllocator> ObjectAllocator for Kmsob<'_, P, A> {
    fn create(&self, args: &CacheArgs<'_>) -> Result<CacheId> {
        self.create_cache(args)
    }

    fn destroy(&self, id: CacheId, alive: &mut dyn fmt::Write) -> Result<()> {
        let destroyed = self.destroy_cache(id);
        if destroyed == Err(Error::CacheBusy) {
            // A report that can't be written is no other refusal.
            let _ = self.write_alive(Owner::cache(id), alive);
        }
        destroyed
    }

    fn find(&self, name: &str) -> Option<CacheId> {
        let owner = match record::builtin(name) {
            Some(owner) => Some(owner),
            None => self.lock().find_named(name).ok()?,
        };
        owner?.id()
    }

    fn alloc(&self, id: CacheId, request: &ObjRequest) -> Result<ObjAddr> {
        let owner = Owner::cache(id);
        match owner == Owner::RECORDS {
            true => Err(Error::CacheNeeded),
            false => self.new_object(owner, request),
        }
    }

    fn free(&self, id: CacheId, object: ObjAddr, _caller: u64) -> Result<()> {
        let owner = Owner::cache(id);
        self.lock().room(owner)?;
        match owner == Owner::RECORDS {
            true => Err(Error::CacheNeeded),
            false => self.delete(object, Some(owner)),
        }
    }

    fn alloc_bulk(&self, id: CacheId, request: &ObjRequest, objects: &mut [ObjAddr]) -> Result<()> {
        self.lock().room(Owner::cache(id))?;
        for at in 0..objects.len() {
            match (self.alloc(id, request), objects.get_mut(at)) {
                (Ok(object), Some(place)) => *place = object,
                (result, _) => {
                    // In this order their container's free list is as it was.
                    for &object in objects.iter().take(at).rev() {
                        // In a block that is damaged it stays; the others go.
                        let _ = self.free(id, object, request.caller);
                    }
                    return result.map(|_| ());
                }
            }
        }
        Ok(())
    }

    fn free_bulk(&self, id: Option<CacheId>, objects: &[ObjAddr], caller: u64) -> Result<usize> {
        if let Some(id) = id {
            self.lock().room(Owner::cache(id))?;
        }
        let freed = objects.iter().map(|&object| match id {
            Some(id) => self.free(id, object, caller),
            None => self.kfree(object, caller),
        });
        Ok(freed.filter(Result::is_ok).count())
    }

    fn kmalloc(&self, size: Bytes, request: &ObjRequest) -> Result<ObjAddr> {
        if size == Bytes::ZERO {
            return Ok(ObjAddr::NULL);
        }
        match Room::for_size(size).map_err(|_| Error::AllocTooLarge)? {
            Room::Object(size) => self.new_object(Owner::size(size), request),
            Room::Pages(order) => self.new_pages(order, Owner::PAGES, request),
        }
    }

    fn kfree(&self, object: ObjAddr, _caller: u64) -> Result<()> {
        match object.is_null() {
            true => Ok(()),
            false => self.delete(object, None),
        }
    }

    fn krealloc(
        &self,
        object: Option<ObjAddr>,
        size: Bytes,
        request: &ObjRequest,
    ) -> Result<ObjAddr> {
        let Some(old) = object.filter(|object| !object.is_null()) else {
            return self.kmalloc(size, request);
        };
        if size == Bytes::ZERO {
            self.kfree(old, request.caller)?;
            return Ok(ObjAddr::NULL);
        }
        let has = self.usable(old)?;
        let page = self.pages.descriptor(old.pfn()).ok_or(Error::ForeignPfn)?;
        if !request.is_away(page.nid()) && size <= has {
            if request.gfp.has(gfp::__GFP_ZERO) && size < has {
                // How much of it was asked for nobody knows; what is given up is
                // zero, then, when it is asked for again.
                let spare = PhysRange::new(old.addr() + size, has - size);
                self.memory.zero(spare)?;
            }
            return Ok(old);
        }
        let new = self.kmalloc(size, request)?;
        let copied = self
            .memory
            .copy(PhysRange::new(old.addr(), has.min(size)), new.addr());
        if let Err(error) = copied.and_then(|()| self.kfree(old, request.caller)) {
            self.kfree(new, request.caller)?;
            return Err(error);
        }
        Ok(new)
    }

    fn usable(&self, object: ObjAddr) -> Result<Bytes> {
        self.lock().room_at(object).map(Room::size)
    }

    fn shrink(&self, id: CacheId) -> Result<Pages> {
        let room = self.lock().room(Owner::cache(id))?;
        match room {
            Room::Object(size) => self.shrink_size(size),
            Room::Pages(_) => Ok(Pages::ZERO),
        }
    }

    fn shrink_all(&self) -> Pages {
        // One that is damaged keeps what it has.
        let shrunk = SizeIndex::all().map(|size| self.shrink_size(size).unwrap_or(Pages::ZERO));
        shrunk.sum()
    }

    fn report(&self, id: CacheId) -> Option<CacheReport> {
        self.cache_report(Owner::cache(id)).ok()
    }

    fn node_report(&self, id: CacheId, nid: NodeId) -> Option<CacheNodeReport> {
        let report = self.lock().tally(Owner::cache(id), Some(nid)).ok()?;
        (report != CacheNodeReport::default()).then_some(report)
    }

    fn alias(&self, _id: CacheId, _nth: usize) -> Option<CacheName> {
        None
    }

    fn next(&self, after: Option<CacheId>) -> Option<CacheId> {
        let after = after.map_or(0, CacheId::get);
        let builtin = SizeIndex::all().map(Owner::size).chain([Owner::RECORDS]);
        let next = builtin.into_iter().find(|owner| owner.tag() > after);
        match next {
            Some(owner) => owner.id(),
            None => self.lock().named_after(after).next()?.id(),
        }
    }

    fn validate(&self) -> Result<(), SlabFlaw> {
        self.check()
    }
}
