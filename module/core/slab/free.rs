// SPDX-License-Identifier: GPL-2.0

//! Giving objects back, the long way (`slab_free`, `__slab_free`).
//!
//! ```text
//! CPU's magazine     handle.rs          no lock
//!   | full               | another node's       | nothing is kept per CPU
//!   v                    v                      |
//! flush              gather 32                  |
//!   what was put       |                        |
//!   first, seven       | of one node   of many  |
//!   eighths            |                  |     |
//!   |                  v                  |     |
//!   +-----> the node's store (barn.rs)    |     |
//!             | no room                   |     |
//!             v                           v     v
//!           the objects' slabs, under their node's lock
//! ```

use super::allocator::ObjRequest;
use super::barn::BarnWord;
use super::magazine::CpuSlab;
use super::near::NearIndex;
use super::node::Discarded;
use super::object::CacheId;
use super::object::ObjAddr;
use super::state::CacheCells;
use super::state::NodeCells;
use super::state::Shape;
use super::system::SlabAllocator;
use crate::buddy::gfp;
use crate::error::Error;
use crate::error::Result;
use crate::phys::NodeId;
use crate::phys::Pages;
use crate::platform::Platform;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// Where what a CPU has too much of may go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Into {
    /// To the node's store first.
    Barn,
    /// To its slabs alone.
    Slabs,
}

impl<'m, P: Platform> SlabAllocator<'_, 'm, P> {
    /// Gives an object back that is the cache's and for which there was no place near.
    /// What can be seen at once of its not being the cache's is refused. An object of
    /// another node goes to those that are gathered, which is cheap as long as there
    /// is room.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignPfn`], [`Error::NotAnObject`], [`Error::WrongCache`];
    /// [`Error::ObjectFree`] where that is seen.
    #[cold]
    #[inline(never)]
    pub(super) fn free_slow(
        &self,
        id: CacheId,
        cache: &'m CacheCells,
        object: ObjAddr,
    ) -> Result<()> {
        let page = self.page(object.pfn());
        if let Some(page) = page.filter(|page| page.slab_cache() == Some(id.get())) {
            let near = self.table().near();
            if let Some((near, pinned)) = self.platform().pin_near(near) {
                let cpu = near.magazine(NearIndex::of(id));
                let key = page.slab_key();
                if cpu.is_set_up() {
                    if !cpu.keeps(key) && cpu.put_remote(key, object.get()) {
                        return Ok(());
                    }
                    return self.free_to(cache, cpu, key, object, pinned);
                }
            }
        }
        self.free_with_cpu(id, cache, object)
    }

    /// The same, whatever is to be done.
    #[inline(never)]
    fn free_with_cpu(&self, id: CacheId, cache: &'m CacheCells, object: ObjAddr) -> Result<()> {
        let page = self.page(object.pfn());
        let Some(page) = page.filter(|page| page.slab_cache() == Some(id.get())) else {
            self.tell_bad_free(&cache.shape(), object);
            return Err(match self.cache_of(object) {
                Ok(_) => Error::WrongCache,
                Err(error) => error,
            });
        };
        // Of a cache that is checked nothing is kept.
        let (cpu, pinned) = self.platform().pin_cpu();
        let cpu = self.cpus(id).get(cpu.0 as usize);
        if let Some(cpu) = cpu.filter(|cpu| cpu.is_open()) {
            self.set_up_cpu(cache, cpu);
            return self.free_to(cache, cpu, page.slab_key(), object, pinned);
        }
        drop(pinned);
        let shape = cache.shape();
        if Self::is_checked(&shape) {
            return self.free_checked(cache, &shape, object, 0);
        }
        self.free_direct(cache, &shape, page.nid(), object)
    }

    /// Puts an object of a page with this key into the magazine of the pinned CPU, or to
    /// those of other nodes, and makes room for it first if there is none.
    #[inline(never)]
    fn free_to(
        &self,
        cache: &'m CacheCells,
        cpu: &'m CpuSlab,
        key: u32,
        object: ObjAddr,
        pinned: P::CpuGuard<'_>,
    ) -> Result<()> {
        if cpu.keeps(key) {
            return self.free_own(cache, cpu, object, pinned);
        }
        self.free_remote(cache, cpu, key, object, pinned)
    }

    /// The same for an object of another node.
    #[inline]
    pub(super) fn free_remote(
        &self,
        cache: &'m CacheCells,
        cpu: &'m CpuSlab,
        key: u32,
        object: ObjAddr,
        pinned: P::CpuGuard<'_>,
    ) -> Result<()> {
        // It may be closed by now, but who has closed it waits.
        if cpu.put_remote(key, object.get()) {
            return Ok(());
        }
        let discarded = self.flush_remote(cache, &cache.shape(), cpu, Into::Barn);
        cpu.put_remote(key, object.get());
        drop(pinned);
        self.free_discarded(discarded);
        Ok(())
    }

    /// The same for an object of which the magazine is known to be that where it belongs.
    #[inline]
    pub(super) fn free_own(
        &self,
        cache: &'m CacheCells,
        cpu: &'m CpuSlab,
        object: ObjAddr,
        pinned: P::CpuGuard<'_>,
    ) -> Result<()> {
        if cpu.put(object.get()) {
            return Ok(());
        }
        // Some stay for whoever takes one next.
        let most = cpu.capacity().saturating_sub(cpu.capacity() / 8).max(1);
        let discarded = self.flush(cache, &cache.shape(), cpu, most, Into::Barn);
        cpu.put(object.get());
        drop(pinned);
        self.free_discarded(discarded);
        Ok(())
    }

    /// Gives an object back to its slab at once.
    pub(super) fn free_direct(
        &self,
        cache: &'m CacheCells,
        shape: &Shape,
        nid: NodeId,
        object: ObjAddr,
    ) -> Result<()> {
        let node = self.node(cache, nid).ok_or(Error::NotAnObject)?;
        let mut discarded = Discarded::NONE;
        let given = {
            let locked = self.lock_node(shape, node);
            super::node::add(&node.free_slow, 1);
            locked.give_any(object, &mut discarded)
        };
        self.free_discarded(discarded);
        given
    }

    /// Gives the objects of a magazine back that were put first, so many: for the
    /// pinned CPU, or whoever has closed it.
    pub(super) fn flush(
        &self,
        cache: &'m CacheCells,
        shape: &Shape,
        cpu: &'m CpuSlab,
        count: u32,
        into: Into,
    ) -> Discarded {
        let node = self.node_of_cpu(cache, cpu);
        self.want_barn_for(shape, node, into);
        let lowest = cpu.lowest(count);
        let discarded = match node {
            Some(node) => self.give_up(shape, node, lowest, into),
            None => Discarded::NONE,
        };
        cpu.take_lowest(lowest.len() as u32);
        discarded
    }

    /// Gives all objects of other nodes back: the same.
    pub(super) fn flush_remote(
        &self,
        cache: &'m CacheCells,
        shape: &Shape,
        cpu: &'m CpuSlab,
        into: Into,
    ) -> Discarded {
        self.want_barn_for(shape, self.node_of_remote(cache, cpu), into);
        let (objects, _) = cpu.remote();
        let discarded = match self.node_of_remote(cache, cpu) {
            Some(node) => self.give_up(shape, node, objects, into),
            None => {
                self.give_by_node(cache, shape, objects);
                Discarded::NONE
            }
        };
        cpu.take_remote();
        discarded
    }

    /// Where the objects of other nodes belong that the CPU has, if they all belong to one.
    fn node_of_remote(&self, cache: &'m CacheCells, cpu: &CpuSlab) -> Option<&'m NodeCells> {
        let (objects, are_alike) = cpu.remote();
        let first = objects.first().filter(|_| are_alike)?;
        let page = self.page(ObjAddr::new(first.load(Relaxed)).pfn())?;
        self.node(cache, page.nid())
    }

    /// Objects of one node go there; into its store as long as the pinned CPU's
    /// magazine is open.
    fn give_up(
        &self,
        shape: &Shape,
        node: &'m NodeCells,
        objects: &[AtomicU64],
        into: Into,
    ) -> Discarded {
        let mut discarded = Discarded::NONE;
        if objects.is_empty() {
            return discarded;
        }
        let locked = self.lock_node(shape, node);
        let barn = locked.barn().filter(|_| into == Into::Barn);
        let stored = barn.map_or(0, |barn| barn.put_all(objects));
        let rest = objects.get(stored..).unwrap_or_default();
        locked.give_all(rest, &mut discarded);
        discarded
    }

    /// Sees that there is a store, if there is memory at hand (`alloc_empty_sheaf`).
    /// For the pinned CPU, whose magazine is open: whoever closes it waits, and so
    /// finds the store.
    #[inline]
    pub(super) fn want_barn(&self, shape: &Shape, node: &'m NodeCells) {
        if !BarnWord::of(&node.barn).is_some() {
            self.make_barn(shape, node);
        }
    }

    /// The same for somebody who is about to give up what the CPU keeps, before he looks what
    /// that is: a store is an object itself, of a cache that may be this one, and whatever
    /// becomes of it may change what the CPU keeps.
    fn want_barn_for(&self, shape: &Shape, node: Option<&'m NodeCells>, into: Into) {
        if let (Some(node), Into::Barn) = (node, into) {
            self.want_barn(shape, node);
        }
    }

    #[cold]
    #[inline(never)]
    fn make_barn(&self, shape: &Shape, node: &'m NodeCells) {
        let size = shape.barn_size();
        let request = ObjRequest::new(gfp::__GFP_NOWARN).on(node.nid());
        let Ok(addr) = self.kmalloc_slow(size, &request) else {
            return;
        };
        if let Some(word) = BarnWord::new(addr.get(), size) {
            let _locked = self.lock_node(shape, node);
            if node.barn.load(Relaxed) == 0 {
                node.barn.store(word.get(), Relaxed);
                return;
            }
        }
        // It was just taken.
        let _ = self.kfree_slow(addr);
    }

    /// Ends a cache's stores: what is in them goes back to its slabs (`barn_shrink`).
    /// For whoever has closed all magazines.
    pub(super) fn drop_barns(&self, cache: &'m CacheCells) -> Pages {
        let shape = cache.shape();
        let mut pages = Pages::ZERO;
        for node in self.nodes(cache) {
            let mut discarded = Discarded::NONE;
            let word = {
                let locked = self.lock_node(&shape, node);
                if let Some(barn) = locked.barn() {
                    locked.give_all(barn.highest(barn.len()), &mut discarded);
                }
                BarnWord::take(&node.barn)
            };
            pages += self.free_discarded(discarded);
            if word.is_some() {
                let addr = word.range(shape.barn_size()).start;
                // kmalloc gave it.
                let _ = self.kfree_slow(ObjAddr::new(addr.0));
            }
        }
        pages
    }

    /// Gives objects of any nodes back, with each node locked once.
    fn give_by_node(&self, cache: &'m CacheCells, shape: &Shape, objects: &[AtomicU64]) {
        for node in self.nodes(cache) {
            let discarded = self.give_those_of(shape, node, objects);
            self.free_discarded(discarded);
        }
    }

    fn give_those_of(
        &self,
        shape: &Shape,
        node: &'m NodeCells,
        objects: &[AtomicU64],
    ) -> Discarded {
        let mut discarded = Discarded::NONE;
        let nid = node.nid();
        let objects = objects
            .iter()
            .map(|object| ObjAddr::new(object.load(Relaxed)));
        let is_here = |object: &ObjAddr| {
            let page = self.page(object.pfn());
            page.is_some_and(|page| page.nid() == nid)
        };
        let mut here = objects.filter(is_here).peekable();
        if here.peek().is_none() {
            return discarded;
        }
        let locked = self.lock_node(shape, node);
        for object in here {
            // One that is refused was no object when it was freed.
            let _ = locked.give_any(object, &mut discarded);
        }
        discarded
    }

    /// Gives the pages of slabs back that are on no list any more, and says how
    /// many. No lock is held.
    pub(super) fn free_discarded(&self, discarded: Discarded) -> Pages {
        let mut pages = Pages::ZERO;
        let mut next = discarded.list.first();
        while let Some(pfn) = next {
            let Some(page) = self.page(pfn) else {
                break;
            };
            next = page.next();
            pages += self.free_slab(pfn, page);
        }
        pages
    }

    /// The same for objects that somebody may still look at
    /// (`SLAB_TYPESAFE_BY_RCU`): only once nobody does. Sleeps then.
    pub(super) fn free_discarded_later(&self, shape: &Shape, discarded: Discarded) -> Pages {
        let rcu = super::flags::SlabFlags::TYPESAFE_BY_RCU;
        if shape.geometry.flags.has(rcu) && !discarded.list.is_empty() {
            self.platform().synchronize();
        }
        self.free_discarded(discarded)
    }
}
