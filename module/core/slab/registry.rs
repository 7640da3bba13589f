// SPDX-License-Identifier: GPL-2.0

//! Caches come and go (`__kmem_cache_create_args`, `kmem_cache_destroy`).
//!
//! Both hold the layer's lock throughout, may sleep, and leave everything as it
//! was when they can't be done.

use super::allocator::ObjRequest;
use super::drain::Drained;
use super::geometry::geometry;
use super::geometry::nr_cpus;
use super::geometry::CacheArgs;
use super::geometry::Geometry;
use super::geometry::Surroundings;
use super::magazine::CpuSlab;
use super::merge::Candidate;
use super::merge::MergeRequest;
use super::node::Discarded;
use super::object::CacheId;
use super::object::CacheName;
use super::object::ObjAddr;
use super::page::Fullness;
use super::state::AliasCells;
use super::state::CacheCells;
use super::state::NodeCells;
use super::system::SlabAllocator;
use crate::buddy::gfp;
use crate::error::Error;
use crate::error::Result;
use crate::phys::Bytes;
use crate::phys::CpuId;
use crate::phys::PhysRange;
use crate::platform::Platform;
use core::fmt;
use core::mem;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Relaxed;

/// `kmem_cache_node`, the first cache (`kmem_cache_init`).
pub(super) const NODE_CACHE: u16 = 1;
/// `kmem_cache`.
pub(super) const CACHE_CACHE: u16 = 2;
/// What the layer's own requests may do.
pub(super) const OWN: ObjRequest = ObjRequest::new(gfp::GFP_KERNEL);

/// What a refcount of a cache that is never shared is (`create_boot_cache`).
pub(super) const NEVER_SHARED: u32 = u32::MAX;

impl<'a, 'm, P: Platform> SlabAllocator<'a, 'm, P> {
    /// What sizes depend on.
    pub(super) fn surroundings(&self) -> Surroundings<'a> {
        let platform = self.platform();
        let possible = platform.nr_cpus();
        let present = (0..possible).filter(|&cpu| platform.is_online(CpuId(cpu)));
        let cpus = nr_cpus(present.count() as u32, possible);
        self.mm.slab_config.surroundings(cpus)
    }

    /// See [`ObjectAllocator::create`](super::ObjectAllocator::create).
    pub(super) fn create_cache(&self, args: &CacheArgs<'_>) -> Result<CacheId> {
        let name = CacheName::new(args.name)?;
        let around = self.surroundings();
        let _lock = self.table().lock(self.platform());
        if let Some((id, cache)) = self.find_mergeable(args, &around)? {
            self.add_alias(cache, &name)?;
            let merged = cache.geometry().merged(args.object_size);
            cache.set_geometry(&merged);
            cache.refcount.fetch_add(1, Relaxed);
            return Ok(id);
        }
        if self.find_name(&name).is_some() {
            return Err(Error::CacheExists);
        }
        let geometry = geometry(args, &around)?;
        self.make_cache(args, &name, &geometry)
    }

    /// The oldest cache whose slabs the new one can share (`find_mergeable`).
    fn find_mergeable(
        &self,
        args: &CacheArgs<'_>,
        around: &Surroundings<'_>,
    ) -> Result<Option<(CacheId, &'m CacheCells)>> {
        let Some(request) = MergeRequest::new(args, around)? else {
            return Ok(None);
        };
        let fits = |cache: &CacheCells| {
            let geometry = cache.geometry();
            let candidate = Candidate {
                geometry: &geometry,
                ctor: cache.ctor(),
                usersize: cache.usersize.load(Relaxed),
                boot: cache.refcount.load(Relaxed) == NEVER_SHARED,
            };
            request.fits(&candidate, around)
        };
        let all = self.table().caches().filter(|(_, cache)| fits(cache));
        Ok(all.min_by_key(|(_, cache)| cache.sequence.load(Relaxed)))
    }

    /// A cache of its own, for the holder of the layer's lock (`create_cache`,
    /// `do_kmem_cache_create`).
    pub(super) fn make_cache(
        &self,
        args: &CacheArgs<'_>,
        name: &CacheName,
        geometry: &Geometry,
    ) -> Result<CacheId> {
        let table = self.table();
        let is_unused = |&id: &CacheId| table.slot(id).cache.get().is_none();
        let mut ids = (1..=u16::MAX).map_while(CacheId::new);
        let id = ids.find(is_unused).ok_or(Error::TooManyCaches)?;
        let caches = self.boot_cache(CACHE_CACHE)?;
        let addr = caches.alloc(&OWN)?;
        let made = self.fill_cache(id, addr, args, name, geometry);
        if made.is_err() {
            caches.free(addr)?;
        }
        made
    }

    fn fill_cache(
        &self,
        id: CacheId,
        addr: ObjAddr,
        args: &CacheArgs<'_>,
        name: &CacheName,
        geometry: &Geometry,
    ) -> Result<CacheId> {
        let cache: &'m CacheCells = self.cells(addr.get()).ok_or(Error::Corrupt)?;
        cache.init(addr.get(), id, name, geometry, self.platform().random());
        cache.set_ctor(args.ctor);
        cache.useroffset.store(args.useroffset, Relaxed);
        cache.usersize.store(args.usersize, Relaxed);
        cache.of_core.store(args.of_core.into(), Relaxed);
        for nid in 0..self.table().nr_nodes() as u32 {
            if let Some(nid) = crate::phys::NodeId::new(nid) {
                self.set_node(cache, nid, 0).ok_or(Error::Corrupt)?;
            }
        }
        let made = self.make_nodes(cache);
        let made = made.and_then(|()| self.make_cpus(id, cache));
        if let Err(error) = made {
            self.drop_nodes(cache);
            return Err(error);
        }
        self.publish(id, cache);
        Ok(id)
    }

    /// Lets everybody know of a cache.
    pub(super) fn publish(&self, id: CacheId, cache: &'m CacheCells) {
        let table = self.table();
        let sequence = table.sequence.fetch_add(1, Relaxed);
        cache.sequence.store(sequence, Relaxed);
        table.slot(id).cache.set(Some(cache));
        let behind = u32::from(id.get()) + 1;
        table.nr_ids.fetch_max(behind, Relaxed);
    }

    /// What the cache has on each node with memory (`init_kmem_cache_nodes`).
    fn make_nodes(&self, cache: &'m CacheCells) -> Result<()> {
        let nodes = self.boot_cache(NODE_CACHE)?;
        for nid in self.mm.nodes.states().normal_memory.iter() {
            let addr = nodes.alloc(&OWN.on(nid))?;
            let cells: &NodeCells = self.cells(addr.get()).ok_or(Error::Corrupt)?;
            cells.init(nid);
            self.set_node(cache, nid, addr.get())
                .ok_or(Error::Corrupt)?;
        }
        Ok(())
    }

    /// Gives that back (`free_kmem_cache_nodes`).
    fn drop_nodes(&self, cache: &'m CacheCells) {
        let Ok(nodes) = self.boot_cache(NODE_CACHE) else {
            return;
        };
        for nid in self.mm.nodes.states().normal_memory.iter() {
            if let Some(addr) = self.take_node(cache, nid) {
                // It is an object of that cache, so it is taken.
                let _ = nodes.free(ObjAddr::new(addr));
            }
        }
    }

    /// What each CPU keeps of the cache, where something is to be kept
    /// (`init_percpu_sheaves`, `bootstrap_cache_sheaves`).
    pub(super) fn make_cpus(&self, id: CacheId, cache: &'m CacheCells) -> Result<()> {
        let capacity = cache.shape().capacity();
        if capacity == 0 || !self.table().is_up() && !self.has_kmalloc() {
            return Ok(());
        }
        let size = mem::size_of::<CpuSlab>() as u64 * u64::from(self.platform().nr_cpus());
        let addr = self.kmalloc_slow(Bytes(size), &OWN)?;
        let cpus = self.cell_slice::<CpuSlab>(PhysRange::new(addr.addr(), Bytes(size)));
        let Some(cpus) = cpus else {
            // Not in one piece of host memory: nothing is kept.
            return self.kfree_slow(addr);
        };
        let told = self.platform().wants_objects();
        for cpu in cpus {
            cpu.init();
            if told {
                cpu.close();
            }
        }
        cache.cpus.store(addr.get(), Relaxed);
        cache.capacity.store(capacity, Relaxed);
        self.table().set_cpus(id, cpus, !told);
        Ok(())
    }

    /// One of the first two caches, at hand.
    pub(super) fn boot_cache(&self, id: u16) -> Result<super::handle::Cache<'a, 'm, P>> {
        self.cache(CacheId::new(id).ok_or(Error::NoSuchCache)?)
    }

    fn add_alias(&self, cache: &'m CacheCells, name: &CacheName) -> Result<()> {
        let size = Bytes(mem::size_of::<AliasCells>() as u64);
        let addr = self.kmalloc_slow(size, &OWN)?;
        let Some(alias) = self.cells::<AliasCells>(addr.get()) else {
            self.kfree_slow(addr)?;
            return Err(Error::Corrupt);
        };
        alias.name.set(name);
        alias.next.store(cache.aliases.load(Relaxed), Relaxed);
        cache.aliases.store(addr.get(), Relaxed);
        Ok(())
    }

    /// Forgets the newest alias.
    fn drop_alias(&self, cache: &'m CacheCells) {
        let addr = cache.aliases.load(Relaxed);
        if let Some(alias) = self.cells::<AliasCells>(addr).filter(|_| addr != 0) {
            cache.aliases.store(alias.next.load(Relaxed), Relaxed);
            // It came from kmalloc, so it is taken.
            let _ = self.kfree_slow(ObjAddr::new(addr));
        }
    }

    /// The names under which others share the cache, the newest first. For the holder of
    /// the layer's lock: one that goes leads nowhere.
    pub(super) fn aliases(
        &self,
        cache: &'m CacheCells,
    ) -> impl Iterator<Item = CacheName> + use<'a, 'm, P> {
        let system = *self;
        let mut next = cache.aliases.load(Relaxed);
        core::iter::from_fn(move || {
            if next == 0 {
                return None;
            }
            let alias = system.cells::<AliasCells>(next)?;
            next = alias.next.load(Relaxed);
            alias.name.get()
        })
    }

    /// The cache of this name, or that was created under it. As above; and a cache that is
    /// to end and can't is not to be found meanwhile.
    pub(super) fn find_name(&self, name: &CacheName) -> Option<CacheId> {
        let mut caches = self.table().caches();
        let found = caches.find(|(_, cache)| {
            cache.name.get().as_ref() == Some(name)
                || self.aliases(cache).any(|alias| alias == *name)
        });
        found.map(|(id, _)| id)
    }

    /// See [`ObjectAllocator::destroy`](super::ObjectAllocator::destroy).
    pub(super) fn destroy_cache(&self, id: CacheId, alive: &mut dyn fmt::Write) -> Result<()> {
        let _lock = self.table().lock(self.platform());
        let cache = self.table().cache(id)?;
        match cache.refcount.load(Relaxed) {
            NEVER_SHARED => return Err(Error::CacheNeeded),
            0 | 1 => {}
            count => {
                cache.refcount.store(count.wrapping_sub(1), Relaxed);
                self.drop_alias(cache);
                return Ok(());
            }
        }
        if self.is_kmalloc(id) {
            return Err(Error::CacheNeeded);
        }
        let drained = self.drain_cpus(id, cache);
        let mut busy = self.has_objects(cache);
        if !busy {
            // Nobody finds it any more; those who have are waited for.
            self.table().slot(id).cache.set(None);
            self.platform().synchronize();
            while cache.users.load(Acquire) != 0 {
                self.platform().relax();
            }
            busy = self.has_objects(cache);
        }
        if busy {
            // Who listens may have no room for it.
            let _ = self.tell_alive(cache, alive);
            self.table().slot(id).cache.set(Some(cache));
            self.end_drain(drained);
            return Err(Error::CacheBusy);
        }
        self.remove_cache(id, cache, drained)
    }

    /// Whether somebody has objects of the cache: a slab is neither empty nor on
    /// the way.
    fn has_objects(&self, cache: &'m CacheCells) -> bool {
        let shape = cache.shape();
        self.nodes(cache).any(|node| {
            // With the lock no slab is on its way from one list to the other.
            let _locked = self.lock_node(&shape, node);
            node.partial.nr.load(Relaxed) != 0 || node.full.nr.load(Relaxed) != 0
        })
    }

    /// Ends a cache none of whose objects is anybody's.
    pub(super) fn remove_cache(
        &self,
        id: CacheId,
        cache: &'m CacheCells,
        drained: Drained,
    ) -> Result<()> {
        let shape = cache.shape();
        for node in self.nodes(cache) {
            let discarded = {
                let locked = self.lock_node(&shape, node);
                locked.discard_empty(|| true)
            };
            self.free_discarded(discarded);
        }
        while cache.aliases.load(Relaxed) != 0 {
            self.drop_alias(cache);
        }
        self.table().slot(id).cache.set(None);
        // Where it lies in a slab that is damaged it stays there, as in Linux; the rest goes.
        let _ = self.drop_cpus(id, cache, drained);
        self.drop_nodes(cache);
        self.boot_cache(CACHE_CACHE)?
            .free(ObjAddr::new(cache.addr()))
    }

    /// Ends what CPUs keep of a cache; they have been drained.
    pub(super) fn drop_cpus(
        &self,
        id: CacheId,
        cache: &'m CacheCells,
        drained: Drained,
    ) -> Result<()> {
        let _ = drained;
        let addr = cache.cpus.swap(0, Relaxed);
        cache.capacity.store(0, Relaxed);
        self.table().set_cpus(id, &[], false);
        if addr == 0 {
            return Ok(());
        }
        // Whoever has found the array is done with it then.
        self.platform().synchronize();
        self.kfree_slow(ObjAddr::new(addr))
    }

    /// Writes which objects of a cache are alive, in the form of SLUB
    /// (`list_slab_objects`): those in slabs that are not full, of the first node that
    /// has any slabs left, as `__kmem_cache_shutdown` and `free_partial` come by them.
    fn tell_alive(&self, cache: &'m CacheCells, out: &mut dyn fmt::Write) -> fmt::Result {
        let shape = cache.shape();
        for node in self.nodes(cache) {
            let nr = node.partial.nr.load(Relaxed) as usize;
            for (pfn, _) in node.partial.get().iter(self.mm.sparse).take(nr) {
                if let Some(slab) = self.slab(&shape, pfn) {
                    self.write_left(&shape, &slab, out)?;
                }
            }
            if nr != 0 || node.full.nr.load(Relaxed) != 0 {
                break;
            }
        }
        Ok(())
    }

    /// Takes what the cache has on a node from it: where it lay.
    fn take_node(&self, cache: &'m CacheCells, nid: crate::phys::NodeId) -> Option<u64> {
        let node = self.node_addr(cache, nid)?;
        self.set_node(cache, nid, 0)?;
        Some(node)
    }

    /// Gives the pages of all slabs of a cache back, whatever is in them, for the
    /// end of the layer.
    pub(super) fn unlist_all(&self, cache: &'m CacheCells) -> Discarded {
        let shape = cache.shape();
        let mut discarded = Discarded::NONE;
        for node in self.nodes(cache) {
            let locked = self.lock_node(&shape, node);
            for fullness in [Fullness::Empty, Fullness::Partial, Fullness::Full] {
                while let Some(slab) = locked.first(fullness) {
                    locked.remove(fullness, slab.page);
                    locked.leave(&slab, &mut discarded);
                }
            }
        }
        discarded
    }
}
