// SPDX-License-Identifier: GPL-2.0

//! The layer comes up (`kmem_cache_init`): its own two caches out of nothing, then
//! kmalloc's, then what CPUs keep of these.
//!
//! ```text
//! a slab for kmem_cache             two objects of it: kmem_cache itself, and
//!                                   kmem_cache_node
//! a slab for kmem_cache_node on     two objects of each: what kmem_cache_node has
//!   each node                       on that node, and kmem_cache
//! kmalloc-8 ... kmalloc-cg-8k       as any cache, but nothing is kept per CPU
//! arrays for the CPUs               from kmalloc
//! ```

use super::flags::SlabFlags;
use super::geometry::boot_geometry;
use super::geometry::CacheArgs;
use super::kmalloc_info::kmalloc_args;
use super::kmalloc_info::KmallocIndex;
use super::kmalloc_info::KmallocName;
use super::kmalloc_info::KmallocType;
use super::node::Discarded;
use super::object::CacheId;
use super::object::CacheName;
use super::object::ObjAddr;
use super::object::MAX_CACHE_NAME;
use super::page::Slab;
use super::registry::CACHE_CACHE;
use super::registry::NEVER_SHARED;
use super::registry::NODE_CACHE;
use super::state::CacheCells;
use super::state::NodeCells;
use super::state::Shape;
use super::system::SlabAllocator;
use crate::buddy::gfp;
use crate::error::Error;
use crate::error::Result;
use crate::phys::NodeId;
use crate::platform::Platform;
use crate::slices;
use core::fmt;
use core::fmt::Write;
use core::mem;
use core::sync::atomic::Ordering::Relaxed;

/// The boot caches, as far as they have come.
struct Boot<'m> {
    nodes: &'m CacheCells,
    caches: &'m CacheCells,
}

impl<'m, P: Platform> SlabAllocator<'_, 'm, P> {
    /// Brings the layer up, if it is not yet.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`] and what else keeps the page allocator from giving
    /// pages; everything is as before then.
    pub(crate) fn bring_up(&self) -> Result<()> {
        let _lock = self.table().lock(self.platform());
        if self.table().is_up() {
            return Ok(());
        }
        let boot = self.make_boot_caches()?;
        let made = self.make_kmalloc();
        match made {
            Ok(()) => self.table().set_up(true),
            Err(_) => self.take_down(&boot),
        }
        made
    }

    /// Ends the layer, for those who want all its pages back: of its own objects
    /// nothing is left then, and the next use brings it up again.
    ///
    /// # Errors
    ///
    /// [`Error::CacheBusy`] when there is a cache besides its own, or an object of
    /// kmalloc's is alive.
    pub fn shut_down(&self) -> Result<()> {
        let _lock = self.table().lock(self.platform());
        if !self.table().is_up() {
            return Ok(());
        }
        let own = |id: CacheId| id.get() <= CACHE_CACHE || self.is_kmalloc(id);
        if self.table().caches().any(|(id, _)| !own(id)) {
            return Err(Error::CacheBusy);
        }
        let boot = Boot {
            nodes: self.boot_cache(NODE_CACHE)?.cells(),
            caches: self.boot_cache(CACHE_CACHE)?.cells(),
        };
        self.drop_all_cpus()?;
        let kmalloc = self.table().caches().filter(|(id, _)| self.is_kmalloc(*id));
        let alive = kmalloc.into_iter().any(|(_, cache)| {
            let mut nodes = self.nodes(cache);
            nodes.any(|node| node.partial.nr.load(Relaxed) | node.full.nr.load(Relaxed) != 0)
        });
        if alive {
            self.make_all_cpus()?;
            return Err(Error::CacheBusy);
        }
        self.table().set_up(false);
        self.take_down(&boot);
        Ok(())
    }

    /// A slab of a boot cache, and its first objects.
    fn boot_slab(&self, shape: &Shape, nid: NodeId, objects: &mut [ObjAddr]) -> Result<Slab<'m>> {
        let (slab, _) = self.new_slab(None, shape, gfp::GFP_KERNEL, nid)?;
        slab.begin(shape, slab.walk(shape, self.platform().random()), 0);
        slab.take(shape, &mut objects.iter_mut(), |place, object| {
            *place = object;
        });
        for &object in objects.iter() {
            self.activate(shape, &slab, object);
        }
        Ok(slab)
    }

    fn make_boot_caches(&self) -> Result<Boot<'m>> {
        let around = self.surroundings();
        let flags = SlabFlags::HWCACHE_ALIGN | SlabFlags::NO_OBJ_EXT | SlabFlags::NO_SHEAVES;
        let args = |name, size: usize| CacheArgs {
            flags,
            ..CacheArgs::new(name, size as u32)
        };
        let cache_size = mem::size_of::<CacheCells>() + 8 * self.table().nr_nodes();
        let nodes = args("kmem_cache_node", mem::size_of::<NodeCells>());
        let caches = args("kmem_cache", cache_size);
        let shape = |id, args| {
            Ok(Shape::new(
                id,
                boot_geometry(args, &around)?,
                self.platform().random(),
            ))
        };
        let (node_shape, cache_shape) = (shape(NODE_CACHE, &nodes)?, shape(CACHE_CACHE, &caches)?);

        // Of what there is already, nothing is left when something fails.
        let mut made = Discarded::NONE;
        let result = self.connect_boot_caches(&node_shape, &cache_shape, &mut made);
        if result.is_err() {
            for id in [NODE_CACHE, CACHE_CACHE]
                .into_iter()
                .filter_map(CacheId::new)
            {
                self.table().slot(id).cache.set(None);
            }
            self.free_discarded(made);
        }
        result
    }

    /// `made` gets all slabs, in case this fails; when it does not, they are on the
    /// nodes' lists.
    fn connect_boot_caches(
        &self,
        node_shape: &Shape,
        cache_shape: &Shape,
        made: &mut Discarded,
    ) -> Result<Boot<'m>> {
        let map = self.mm.sparse;
        let mut addrs = [ObjAddr::NULL; 2];
        let cache_slab = self.boot_slab(cache_shape, NodeId::NONE, &mut addrs)?;
        made.list.push_tail(map, cache_slab.pfn, cache_slab.page);
        let cells = |addr: ObjAddr, shape: &Shape, name| {
            let cache: &'m CacheCells = self.cells(addr.get()).ok_or(Error::Corrupt)?;
            let id = CacheId::new(shape.id).ok_or(Error::Corrupt)?;
            let name = CacheName::new(name)?;
            cache.init(addr.get(), id, &name, &shape.geometry, shape.random);
            cache.refcount.store(NEVER_SHARED, Relaxed);
            for nid in (0..self.table().nr_nodes() as u32).filter_map(NodeId::new) {
                self.set_node(cache, nid, 0).ok_or(Error::Corrupt)?;
            }
            Ok(cache)
        };
        let [caches, nodes] = addrs;
        let boot = Boot {
            caches: cells(caches, cache_shape, "kmem_cache")?,
            nodes: cells(nodes, node_shape, "kmem_cache_node")?,
        };
        let memory = self.mm.nodes.states().normal_memory;
        for nid in memory.iter() {
            let mut addrs = [ObjAddr::NULL; 2];
            let slab = self.boot_slab(node_shape, nid, &mut addrs)?;
            made.list.push_tail(map, slab.pfn, slab.page);
            for (cache, addr) in [boot.nodes, boot.caches].into_iter().zip(addrs) {
                let cells: &NodeCells = self.cells(addr.get()).ok_or(Error::Corrupt)?;
                cells.init(nid);
                self.set_node(cache, nid, addr.get())
                    .ok_or(Error::Corrupt)?;
            }
        }
        // All is there: from here on nothing fails.
        let mut next = cache_slab.page.next();
        while let Some(slab) = next.and_then(|pfn| self.slab(node_shape, pfn)) {
            next = slab.page.next();
            if let Some(node) = self.node(boot.nodes, slab.page.nid()) {
                self.lock_node(node_shape, node).enter(&slab);
            }
        }
        if let Some(node) = self.node(boot.caches, cache_slab.page.nid()) {
            self.lock_node(cache_shape, node).enter(&cache_slab);
        }
        for (id, cache) in [(NODE_CACHE, boot.nodes), (CACHE_CACHE, boot.caches)] {
            self.publish(CacheId::new(id).ok_or(Error::Corrupt)?, cache);
        }
        Ok(boot)
    }

    /// kmalloc's caches (`create_kmalloc_caches`), and what CPUs keep of them.
    fn make_kmalloc(&self) -> Result<()> {
        let around = self.surroundings();
        // As Linux does: row by row, the odd sizes where their turn is.
        for row in KmallocType::ALL {
            if !row.exists(&around) {
                continue;
            }
            for index in KmallocIndex::all() {
                let mut text = NameText::default();
                // It fits.
                let _ = write!(text, "{}", KmallocName(row, index));
                let name = CacheName::new(text.as_str())?;
                let args = kmalloc_args(name.as_str(), row, index, &around);
                let geometry = boot_geometry(&args, &around)?;
                let id = self.make_cache(&args, &name, &geometry)?;
                self.set_kmalloc(row, index, id)?;
            }
        }
        self.make_all_cpus()
    }

    /// What CPUs keep of all caches that have nothing of it yet
    /// (`bootstrap_kmalloc_sheaves`).
    fn make_all_cpus(&self) -> Result<()> {
        for (id, cache) in self.table().caches() {
            if self.cpus(id).is_empty() {
                self.make_cpus(id, cache)?;
            }
        }
        Ok(())
    }

    fn drop_all_cpus(&self) -> Result<()> {
        // The arrays are objects of kmalloc's: none may go to a magazine.
        for (id, cache) in self.table().caches() {
            let drained = self.drain_cpus(id, cache);
            self.table().set_cpus(id, &[], false);
            let _ = drained;
        }
        self.platform().synchronize();
        for (_, cache) in self.table().caches() {
            cache.capacity.store(0, Relaxed);
            let addr = cache.cpus.swap(0, Relaxed);
            if addr != 0 {
                // In a slab that is damaged it stays, as in Linux; the others go.
                let _ = self.kfree_slow(ObjAddr::new(addr));
            }
        }
        Ok(())
    }

    /// Gives back all pages of the layer: there is nothing else than its own.
    fn take_down(&self, boot: &Boot<'m>) {
        // An array that could not go back lies in a slab that goes now.
        let _ = self.drop_all_cpus();
        for (id, cache) in self.table().caches() {
            if id.get() > CACHE_CACHE {
                let discarded = self.unlist_all(cache);
                self.free_discarded(discarded);
                self.table().slot(id).cache.set(None);
            }
        }
        self.clear_kmalloc();
        // What these two consist of lies in their own slabs.
        let mut caches = self.unlist_all(boot.caches);
        let nodes = self.unlist_all(boot.nodes);
        for id in [NODE_CACHE, CACHE_CACHE]
            .into_iter()
            .filter_map(CacheId::new)
        {
            self.table().slot(id).cache.set(None);
        }
        let mut next = nodes.list.first();
        while let Some((pfn, page)) = next.and_then(|pfn| Some((pfn, self.page(pfn)?))) {
            next = page.next();
            caches.list.push_tail(self.mm.sparse, pfn, page);
        }
        self.free_discarded(caches);
        self.drop_depot();
    }
}

/// Room for a name.
struct NameText {
    text: [u8; MAX_CACHE_NAME],
    len: usize,
}

impl Default for NameText {
    fn default() -> Self {
        Self {
            text: [0; MAX_CACHE_NAME],
            len: 0,
        }
    }
}

impl NameText {
    fn as_str(&self) -> &str {
        let text = self.text.get(..self.len).unwrap_or_default();
        core::str::from_utf8(text).unwrap_or_default()
    }
}

impl fmt::Write for NameText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len.saturating_add(text.len());
        let place = self.text.get_mut(self.len..end).ok_or(fmt::Error)?;
        slices::copy(place, text.as_bytes());
        self.len = end;
        Ok(())
    }
}
