// SPDX-License-Identifier: GPL-2.0

//! Giving objects back, the long way (`slab_free`, `__slab_free`).
//!
//! ```text
//! CPU's magazine     handle.rs          no lock
//!   | full               | another node's       | nothing is kept per CPU
//!   v                    v                      v
//! flush              gather             the object's slab, under its node's
//!   what was put       32 of them, then   lock
//!   first, three       node by node
//!   quarters
//! ```

use super::magazine::CpuSlab;
use super::magazine::REMOTE;
use super::node::Discarded;
use super::object::CacheId;
use super::object::ObjAddr;
use super::state::CacheCells;
use super::state::NodeCells;
use super::state::Shape;
use super::system::SlabAllocator;
use crate::error::Error;
use crate::error::Result;
use crate::phys::NodeId;
use crate::phys::Pages;
use crate::platform::Platform;

impl<'m, P: Platform> SlabAllocator<'_, 'm, P> {
    /// Gives an object back that is the cache's. What can be seen at once of its
    /// not being so is refused.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignPfn`], [`Error::NotAnObject`], [`Error::WrongCache`];
    /// [`Error::ObjectFree`] where that is seen.
    #[inline(never)]
    pub(super) fn free_slow(
        &self,
        id: CacheId,
        cache: &'m CacheCells,
        object: ObjAddr,
    ) -> Result<()> {
        let page = self.page(object.pfn());
        let Some(page) = page.filter(|page| page.slab_cache() == Some(id.get())) else {
            self.tell_bad_free(&cache.shape(), object);
            return Err(match self.cache_of(object) {
                Ok(_) => Error::WrongCache,
                Err(error) => error,
            });
        };
        let shape = cache.shape();
        if Self::is_checked(&shape) {
            return self.free_checked(cache, &shape, object, 0);
        }
        let (cpu, pinned) = self.platform().pin_cpu();
        if let Some(cpu) = self.cpus(id).get(cpu.0 as usize) {
            if cpu.is_open() {
                self.set_up_cpu(cache, cpu);
                let key = page.slab_key();
                if cpu.keeps(key) {
                    // Some stay for whoever takes one next.
                    let most = cpu.capacity().saturating_sub(cpu.capacity() / 4).max(1);
                    let discarded = self.flush(cache, &shape, cpu, most);
                    let kept = cpu.push(key, object.get());
                    drop(pinned);
                    self.free_discarded(discarded);
                    return match kept {
                        true => Ok(()),
                        false => self.free_direct(cache, &shape, page.nid(), object),
                    };
                }
                if !cpu.put_remote(object.get()) {
                    self.flush_remote(cache, &shape, cpu);
                    // There is room now.
                    cpu.put_remote(object.get());
                }
                return Ok(());
            }
        }
        drop(pinned);
        self.free_direct(cache, &shape, page.nid(), object)
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
            locked.give(object, &mut discarded)
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
    ) -> Discarded {
        let mut discarded = Discarded::NONE;
        if cpu.len() == 0 {
            return discarded;
        }
        if let Some(node) = self.node(cache, cpu.nid()) {
            let locked = self.lock_node(shape, node);
            cpu.take_lowest(count, |object| {
                // One that is refused was no object when it was freed.
                if locked.give(ObjAddr::new(object), &mut discarded).is_err() {
                    super::node::add(&node.damaged, 1);
                }
            });
        }
        discarded
    }

    /// Gives all objects of other nodes back, node by node: the same.
    pub(super) fn flush_remote(&self, cache: &'m CacheCells, shape: &Shape, cpu: &'m CpuSlab) {
        let mut objects = [ObjAddr::NULL; REMOTE];
        let mut len = 0usize;
        cpu.take_remote(|object| {
            if let Some(place) = objects.get_mut(len) {
                *place = ObjAddr::new(object);
                len = len.wrapping_add(1);
            }
        });
        let objects = objects.get(..len).unwrap_or_default();
        self.give_by_node(cache, shape, objects);
    }

    /// Gives objects of any nodes back, with each node locked once.
    pub(super) fn give_by_node(&self, cache: &'m CacheCells, shape: &Shape, objects: &[ObjAddr]) {
        for node in self.nodes(cache) {
            let discarded = self.give_those_of(shape, node, objects);
            self.free_discarded(discarded);
        }
    }

    fn give_those_of(&self, shape: &Shape, node: &'m NodeCells, objects: &[ObjAddr]) -> Discarded {
        let mut discarded = Discarded::NONE;
        let nid = node.nid();
        let is_here = |object: &&ObjAddr| {
            let page = self.page(object.pfn());
            page.is_some_and(|page| page.nid() == nid)
        };
        let mut here = objects.iter().filter(is_here).peekable();
        if here.peek().is_none() {
            return discarded;
        }
        let locked = self.lock_node(shape, node);
        for &object in here {
            if locked.give(object, &mut discarded).is_err() {
                super::node::add(&node.damaged, 1);
            }
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
