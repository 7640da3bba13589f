// SPDX-License-Identifier: GPL-2.0

//! A cache at hand: what somebody has who takes objects of one cache again and
//! again. All that leads to the running CPU's magazine was looked up once.
//!
//! ```text
//! alloc   pin; this CPU's magazine has an object        take it
//! free    pin; the page is of this CPU's node and cache put it
//!         and the magazine has room
//!         the page is one of nearly all of another       gather it
//!         node's, of the cache of those gathered,
//!         and there is room
//! ```
//!
//! Both look where a CPU has things near. A cache that is not near, of which there
//! are some only beyond the first 255, is served by the long ways.
//!
//! Who takes objects here knows what he has: an object that is freed twice, or an
//! address inside one, is seen no sooner than when it reaches its slab, as in
//! Linux. What comes from elsewhere goes through
//! [`ObjectAllocator`](super::ObjectAllocator).

use super::allocator::ObjRequest;
use super::magazine::CpuSlab;
use super::near::NearCpu;
use super::near::NearIndex;
use super::object::CacheId;
use super::object::ObjAddr;
use super::state::CacheCells;
use super::system::SlabAllocator;
use super::told;
use crate::buddy::gfp;
use crate::error::Error;
use crate::error::Result;
use crate::page::PageDescriptor;
use crate::phys::NodeId;
use crate::platform::Platform;

/// A cache (`struct kmem_cache *`). It is there as long as nobody destroys it, and
/// who has this sees to that; with a cache that was destroyed all requests are
/// answered, but by nobody who could say what they mean.
pub struct Cache<'a, 'm, P: Platform> {
    system: SlabAllocator<'a, 'm, P>,
    id: CacheId,
    near: NearIndex,
    cells: &'m CacheCells,
    cpus: &'m [CpuSlab],
}

impl<P: Platform> Clone for Cache<'_, '_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Platform> Copy for Cache<'_, '_, P> {}

/// An object with its page's descriptor, as long as its owner keeps both: spares
/// the search when it goes back.
#[derive(Clone, Copy)]
pub struct Object<'m> {
    addr: ObjAddr,
    page: &'m PageDescriptor,
}

impl Object<'_> {
    /// Where it lies.
    #[inline]
    pub const fn addr(&self) -> ObjAddr {
        self.addr
    }
}

/// A `Result<ObjAddr>` that two registers hold: it does not go through memory,
/// where the short way's would have to go, too.
#[derive(Clone, Copy)]
pub(super) struct Taken(ObjAddr, Option<Error>);

impl Taken {
    pub(super) fn of(result: Result<ObjAddr>) -> Self {
        match result {
            Ok(object) => Self(object, None),
            Err(error) => Self(ObjAddr::NULL, Some(error)),
        }
    }

    #[inline(always)]
    pub(super) fn result(self) -> Result<ObjAddr> {
        match self.1 {
            None => Ok(self.0),
            Some(error) => Err(error),
        }
    }
}

/// Whether any free object of the running CPU's node will do.
#[inline(always)]
pub(super) const fn is_plain(request: &ObjRequest) -> bool {
    request.nid.0 == NodeId::NONE.0 && !request.gfp.has(gfp::__GFP_ZERO)
}

impl<'a, 'm, P: Platform> SlabAllocator<'a, 'm, P> {
    /// The cache of this number, at hand.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchCache`].
    pub fn cache(&self, id: CacheId) -> Result<Cache<'a, 'm, P>> {
        Ok(Cache {
            system: *self,
            id,
            near: NearIndex::of(id),
            cells: self.table().cache(id)?,
            cpus: self.cpus(id),
        })
    }
}

impl<'a, 'm, P: Platform> Cache<'a, 'm, P> {
    /// Its number.
    #[inline]
    pub const fn id(&self) -> CacheId {
        self.id
    }

    /// Where its magazines are near.
    pub(super) const fn near_index(&self) -> NearIndex {
        self.near
    }

    pub(super) const fn system(&self) -> &SlabAllocator<'a, 'm, P> {
        &self.system
    }

    pub(super) const fn cpus(&self) -> &'m [CpuSlab] {
        self.cpus
    }

    pub(super) const fn cells(&self) -> &'m CacheCells {
        self.cells
    }

    /// Gives out the object at hand, if there is one.
    #[inline(always)]
    fn pop(&self) -> Option<ObjAddr> {
        let near = self.system.table().near();
        let (near, _pinned) = self.system.platform().pin_near(near)?;
        let object = ObjAddr::new(near.magazine(self.near).pop()?);
        self.system.given_out(object);
        Some(object)
    }

    /// Takes an object (`kmem_cache_alloc`).
    ///
    /// # Errors
    ///
    /// Those of [`ObjectAllocator::alloc`](super::ObjectAllocator::alloc).
    #[inline(always)]
    pub fn alloc(&self, request: &ObjRequest) -> Result<ObjAddr> {
        if is_plain(request) {
            if let Some(object) = self.pop() {
                return Ok(object);
            }
        }
        self.alloc_long(request).result()
    }

    /// The same without a word to whoever listens: he is told of kmalloc.
    #[inline]
    pub(super) fn alloc_untold(&self, request: &ObjRequest) -> Result<ObjAddr> {
        match is_plain(request).then(|| self.pop()).flatten() {
            Some(object) => Ok(object),
            None => self.alloc_slow(request),
        }
    }

    /// Takes an object with its page's descriptor, for [`Cache::free_object`].
    ///
    /// # Errors
    ///
    /// As above.
    #[inline(always)]
    pub fn alloc_object(&self, request: &ObjRequest) -> Result<Object<'m>> {
        let addr = self.alloc(request)?;
        let page = self.system.page(addr.pfn()).ok_or(Error::Corrupt)?;
        Ok(Object { addr, page })
    }

    /// Gives an object back (`kmem_cache_free`).
    ///
    /// # Errors
    ///
    /// [`Error::ForeignPfn`], [`Error::NotAnObject`] and [`Error::WrongCache`] for
    /// an address in no slab of the cache.
    #[inline(always)]
    pub fn free(&self, object: ObjAddr) -> Result<()> {
        self.system.given_back(Some(self.id), object);
        let near = self.system.table().near();
        let Some((near, pinned)) = self.system.platform().pin_near(near) else {
            return self.free_longer(object);
        };
        if let Some(page) = near.page(object.pfn()) {
            let magazine = near.magazine(self.near);
            if magazine.keeps(page.slab_key()) {
                return match magazine.put(object.get()) {
                    true => Ok(()),
                    false => self.free_full(magazine, object, pinned),
                };
            }
        }
        self.free_far(near, object, pinned)
    }

    /// The same without a word to whoever listens: he was told, or is not of one
    /// among many.
    #[inline]
    pub(super) fn free_untold(&self, object: ObjAddr) -> Result<()> {
        self.system.given_back(Some(self.id), object);
        match self.push(object) {
            true => Ok(()),
            false => self.system.free_slow(self.id, self.cells, object),
        }
    }

    /// Puts an object into the running CPU's magazine, if it belongs there and
    /// there is room.
    #[inline(always)]
    fn push(&self, object: ObjAddr) -> bool {
        let near = self.system.table().near();
        let Some((near, _pinned)) = self.system.platform().pin_near(near) else {
            return false;
        };
        let page = near.page(object.pfn());
        page.is_some_and(|page| {
            let magazine = near.magazine(self.near);
            magazine.push(page.slab_key(), object.get())
        })
    }

    /// The way of a free for which there was no room in the pinned CPU's magazine, where
    /// it belongs.
    #[cold]
    #[inline(never)]
    fn free_full(
        &self,
        magazine: &'m CpuSlab,
        object: ObjAddr,
        pinned: P::CpuGuard<'_>,
    ) -> Result<()> {
        // It keeps something, and so it is set up.
        (self.system).free_own(self.cells, magazine, object, pinned)
    }

    /// The way of an object whose page the pinned CPU has not near, or not for this cache:
    /// it is another node's, most likely, and goes to those that are gathered.
    #[cold]
    #[inline(never)]
    fn free_far(&self, near: &NearCpu<'m>, object: ObjAddr, pinned: P::CpuGuard<'_>) -> Result<()> {
        if let Some(page) = near.far_page(object.pfn()) {
            let cpu = near.magazine(self.near);
            if cpu.put_same_remote(page.slab_key(), object.get()) {
                return Ok(());
            }
        }
        // On its own, so that the shorter one need not keep registers for it.
        self.free_farther(near, object, pinned)
    }

    /// The same for the first object that is gathered, the last, or one of a third node.
    #[cold]
    #[inline(never)]
    fn free_farther(
        &self,
        near: &NearCpu<'m>,
        object: ObjAddr,
        pinned: P::CpuGuard<'_>,
    ) -> Result<()> {
        if let Some(page) = self.system.page(object.pfn()) {
            let (cpu, key) = (near.magazine(self.near), page.slab_key());
            if cpu.keeps_elsewhere(key) {
                return (self.system).free_remote(self.cells, cpu, key, object, pinned);
            }
        }
        drop(pinned);
        self.free_longer(object)
    }

    /// Gives back an object of [`Cache::alloc_object`].
    ///
    /// # Errors
    ///
    /// As above.
    #[inline(always)]
    pub fn free_object(&self, object: Object<'m>) -> Result<()> {
        let Object { addr, page } = object;
        self.system.given_back(Some(self.id), addr);
        let near = self.system.table().near();
        let Some((near, pinned)) = self.system.platform().pin_near(near) else {
            return self.free_longer(addr);
        };
        let cpu = near.magazine(self.near);
        if cpu.push(page.slab_key(), addr.get()) {
            return Ok(());
        }
        self.free_far(near, addr, pinned)
    }

    /// The long way of a free. While somebody listens nothing is near.
    #[cold]
    #[inline(never)]
    fn free_longer(&self, object: ObjAddr) -> Result<()> {
        told::cache_free(&self.system, self.id, object, 0);
        self.system.free_slow(self.id, self.cells, object)
    }

    /// The long way of an allocation.
    #[cold]
    #[inline(never)]
    fn alloc_long(&self, request: &ObjRequest) -> Taken {
        let result = self.alloc_slow(request);
        told::cache_alloc(&self.system, self.cells, request, result);
        Taken::of(result)
    }

    pub(super) fn alloc_slow(&self, request: &ObjRequest) -> Result<ObjAddr> {
        let (system, cells) = (&self.system, self.cells);
        let zeroed = request.gfp.has(gfp::__GFP_ZERO);
        if zeroed && cells.ctor().is_some() {
            return Err(Error::ZeroWithConstructor);
        }
        let object = match self.pop_or_refill(request.nid) {
            Some(object) => object,
            None => {
                let mut place = [ObjAddr::NULL];
                let (_, result) = system.take_objects(cells, &cells.shape(), request, &mut place);
                result?;
                let [object] = place;
                object
            }
        };
        system.given_out(object);
        if zeroed {
            system.zero_if_asked(&cells.shape(), request.gfp, object);
        }
        Ok(object)
    }

    /// From the CPU's magazine, filled first if it is empty and there is something
    /// in the node's slabs; `None` where nothing is kept, or not of this node.
    pub(super) fn pop_or_refill(&self, nid: NodeId) -> Option<ObjAddr> {
        let (cpu, _pinned) = self.system.platform().pin_cpu();
        let cpu = self.cpus.get(cpu.0 as usize)?;
        if !cpu.is_open() {
            return None;
        }
        self.system.set_up_cpu(self.cells, cpu);
        if !nid.is_none() && nid != cpu.nid() {
            return None;
        }
        let object = cpu.pop().or_else(|| {
            let shape = self.cells.shape();
            self.system.refill(self.cells, &shape, cpu);
            cpu.pop()
        });
        object.map(ObjAddr::new)
    }
}
