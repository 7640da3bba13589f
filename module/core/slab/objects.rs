// SPDX-License-Identifier: GPL-2.0

//! The slab layer behind the seam: requests from anywhere, checked.

use super::allocator::CacheNodeReport;
use super::allocator::CacheReport;
use super::allocator::ObjRequest;
use super::allocator::ObjectAllocator;
use super::allocator::SlabFlaw;
use super::debug::Finding;
use super::debug::Location;
use super::debug::TrackItem;
use super::geometry::CacheArgs;
use super::handle::Cache;
use super::object::CacheId;
use super::object::CacheName;
use super::object::ObjAddr;
use super::registry::CACHE_CACHE;
use super::state::CacheCells;
use super::state::Shape;
use super::system::SlabAllocator;
use super::told;
use crate::error::Error;
use crate::error::Result;
use crate::phys::Bytes;
use crate::phys::NodeId;
use crate::phys::Pages;
use crate::platform::Platform;
use core::fmt;
use core::ops::Deref;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::Release;

impl<'a, 'm, P: Platform> SlabAllocator<'a, 'm, P> {
    /// Refuses an object that is free already: its slab says so, or a CPU or a node
    /// keeps it.
    fn check_in_use(&self, cache: &'m CacheCells, shape: &Shape, object: ObjAddr) -> Result<()> {
        let (slab, index) = self.find_object(shape, object)?;
        let id = CacheId::new(shape.id).ok_or(Error::Corrupt)?;
        if self.cpus(id).iter().any(|cpu| cpu.has(object.get())) {
            return Err(Error::ObjectFree);
        }
        let node = self.node(cache, slab.page.nid());
        let node = node.ok_or(Error::NotAnObject)?;
        let locked = self.lock_node(shape, node);
        if locked.barn().is_some_and(|barn| barn.has(object.get())) {
            return Err(Error::ObjectFree);
        }
        if !slab.is_free(shape, index) {
            return Ok(());
        }
        if slab.page.slab_counts().0.map(u32::from) == Some(index) {
            // The running kernel sees this one, too.
            self.tell_hardened(shape, &slab, object, Finding::AlreadyFree);
        }
        Err(Error::ObjectFree)
    }

    /// Gives back what is said to be an object of a cache.
    fn free_in(&self, id: CacheId, object: ObjAddr, caller: u64) -> Result<()> {
        let cache = self.open_cache(id)?;
        let shape = cache.cells().shape();
        if self.cache_of(object).ok() != Some(id) {
            // It says so, and refuses it.
            return cache.free_untold(object);
        }
        if Self::is_checked(&shape) {
            return self.free_checked(cache.cells(), &shape, object, caller);
        }
        self.check_in_use(cache.cells(), &shape, object)?;
        cache.free_untold(object)
    }

    /// Gives back what is said to be an object of any cache, or whole pages.
    fn free_any(&self, object: ObjAddr, caller: u64) -> Result<()> {
        if object.is_null() || self.large_order(object).is_some() {
            return self.kfree_untold(object);
        }
        self.free_in(self.cache_of(object)?, object, caller)
    }

    /// A cache whose objects others than the layer may have, for as long as the
    /// caller is at work in it.
    fn open_cache(&self, id: CacheId) -> Result<Opened<'a, 'm, P>> {
        if id.get() <= CACHE_CACHE {
            return Err(Error::CacheNeeded);
        }
        let cache = self.open_any(id)?;
        match cache.cells().of_core.load(Relaxed) {
            0 => Ok(cache),
            _ => Err(Error::CacheNeeded),
        }
    }

    /// The same for who looks at it alone: any cache.
    fn open_any(&self, id: CacheId) -> Result<Opened<'a, 'm, P>> {
        // Who ends a cache waits for those who are pinned, and then for those who
        // are counted.
        let _pinned = self.platform().pin_cpu();
        let cache = self.cache(id)?;
        cache.cells().users.fetch_add(1, Acquire);
        Ok(Opened(cache))
    }
}

/// A cache that does not end while somebody is at work in it.
struct Opened<'a, 'm, P: Platform>(Cache<'a, 'm, P>);

impl<P: Platform> Drop for Opened<'_, '_, P> {
    fn drop(&mut self) {
        self.0.cells().users.fetch_sub(1, Release);
    }
}

impl<'a, 'm, P: Platform> Deref for Opened<'a, 'm, P> {
    type Target = Cache<'a, 'm, P>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<P: Platform> ObjectAllocator for SlabAllocator<'_, '_, P> {
    fn create(&self, args: &CacheArgs<'_>) -> Result<CacheId> {
        self.create_cache(args)
    }

    fn destroy(&self, id: CacheId, alive: &mut dyn fmt::Write) -> Result<()> {
        self.destroy_cache(id, alive)
    }

    fn find(&self, name: &str) -> Option<CacheId> {
        let name = CacheName::new(name).ok()?;
        let _lock = self.table().lock(self.platform());
        self.find_name(&name)
    }

    fn alloc(&self, id: CacheId, request: &ObjRequest) -> Result<ObjAddr> {
        let cache = self.open_cache(id)?;
        if request.size > cache.cells().geometry().object_size {
            return Err(Error::AskedTooLarge);
        }
        cache.alloc(request)
    }

    fn free(&self, id: CacheId, object: ObjAddr, caller: u64) -> Result<()> {
        told::cache_free(self, id, object, caller);
        self.free_in(id, object, caller)
    }

    fn alloc_bulk(&self, id: CacheId, request: &ObjRequest, objects: &mut [ObjAddr]) -> Result<()> {
        self.open_cache(id)?.alloc_bulk(request, objects)
    }

    fn free_bulk(&self, id: Option<CacheId>, objects: &[ObjAddr], caller: u64) -> Result<usize> {
        if let Some(id) = id {
            self.open_cache(id)?;
        }
        let free = |&object: &ObjAddr| match id {
            Some(id) => self.free_in(id, object, caller),
            None => self.free_any(object, caller),
        };
        Ok(objects.iter().map(free).filter(Result::is_ok).count())
    }

    fn kmalloc(&self, size: Bytes, request: &ObjRequest) -> Result<ObjAddr> {
        self.kmalloc_slow(size, request)
    }

    fn kfree(&self, object: ObjAddr, caller: u64) -> Result<()> {
        told::kfree(self, object, caller);
        self.free_any(object, caller)
    }

    fn krealloc(
        &self,
        object: Option<ObjAddr>,
        size: Bytes,
        request: &ObjRequest,
    ) -> Result<ObjAddr> {
        self.reallocate(object, size, request)
    }

    fn usable(&self, object: ObjAddr) -> Result<Bytes> {
        self.size_of(object)
    }

    fn ksize(&self, object: ObjAddr) -> Result<Bytes> {
        let size = self.size_of(object)?;
        if let Ok(cache) = self.cache_of(object).and_then(|id| self.open_any(id)) {
            // All of it may be used from now on.
            self.set_asked_size(&cache.cells().shape(), object, None);
        }
        Ok(size)
    }

    fn shrink(&self, id: CacheId) -> Result<Pages> {
        self.shrink_cache(id)
    }

    fn shrink_all(&self) -> Pages {
        self.shrink_caches()
    }

    fn set_min_partial(&self, id: CacheId, slabs: u32) -> Result<()> {
        self.open_any(id)?.cells().set_min_partial(slabs);
        Ok(())
    }

    fn object_size(&self, id: CacheId) -> Option<Bytes> {
        let _pinned = self.platform().pin_cpu();
        let cache = self.table().cache(id).ok()?;
        Some(Bytes(cache.geometry().object_size.into()))
    }

    fn report(&self, id: CacheId) -> Option<CacheReport> {
        self.report_cache(id)
    }

    fn node_report(&self, id: CacheId, nid: NodeId) -> Option<CacheNodeReport> {
        self.report_node(id, nid)
    }

    fn alias(&self, id: CacheId, nth: usize) -> Option<CacheName> {
        let _lock = self.table().lock(self.platform());
        let cache = self.table().cache(id).ok()?;
        self.aliases(cache).nth(nth)
    }

    fn next(&self, after: Option<CacheId>) -> Option<CacheId> {
        let mut caches = self.table().caches();
        let next = caches.find(|(id, _)| after.is_none_or(|after| *id > after));
        next.map(|(id, _)| id)
    }

    fn validate_cache(&self, id: CacheId, told: &mut dyn fmt::Write) -> Result<()> {
        let (slabs, found) = {
            // No longer than that: who ends a cache has the layer's lock while he waits.
            let _opened = self.open_any(id)?;
            self.check_cache(id)?
        };
        // What does not fit is left out.
        let _ = match self.validate_all() {
            _ if found != 0 => write!(told, "{found} findings in {slabs} slabs; see slab_report"),
            Err(flaw) if flaw.cache.is_none_or(|cache| cache == id) => write!(told, "{flaw}"),
            _ => Ok(()),
        };
        Ok(())
    }

    fn validate(&self) -> Result<(), SlabFlaw> {
        self.validate_all()
    }

    fn write_findings(&self, id: CacheId, out: &mut dyn fmt::Write) -> Result<()> {
        let opened = self.open_any(id)?;
        for (finding, count) in opened.cells().findings.iter() {
            writeln!(out, "{} {count}", finding.name()).map_err(|_| Error::Corrupt)?;
        }
        Ok(())
    }

    fn write_traces(
        &self,
        id: CacheId,
        item: TrackItem,
        table: &mut [Location],
        out: &mut dyn fmt::Write,
    ) -> Result<u64> {
        let _opened = self.open_any(id)?;
        self.gather_traces(id, item, table, out)
    }
}
