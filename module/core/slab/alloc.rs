// SPDX-License-Identifier: GPL-2.0

//! Taking objects, the long way: from the slabs of a node, of another, or from a
//! new slab (`___slab_alloc`).
//!
//! ```text
//! CPU's magazine       handle.rs         no lock
//!   | empty
//!   v
//! refill               a magazine from the node's store, or from its slabs, pinned,
//!   | none there       under its lock
//!   v
//! take_objects         not pinned:
//!   the wished-for node's store, and its slabs
//!   the slabs of other nodes that have more than they keep anyway
//!   a new slab         on the wished-for node with little effort, then anywhere;
//!                      the magazine gets what it has room for besides
//! ```

use super::allocator::ObjRequest;
use super::barn::stored;
use super::debug::Asked;
use super::flags::SlabFlags;
use super::magazine::CpuSlab;
use super::new_slab::page_gfp;
use super::object::CacheId;
use super::object::ObjAddr;
use super::state::CacheCells;
use super::state::Shape;
use super::system::SlabAllocator;
use crate::buddy::gfp;
use crate::buddy::Gfp;
use crate::error::Error;
use crate::error::Result;
use crate::page::PageDescriptor;
use crate::page::ZoneType;
use crate::phys::Bytes;
use crate::phys::NodeId;
use crate::phys::PageOrder;
use crate::platform::Platform;
use crate::zonelist::ZonelistKind;
use core::sync::atomic::Ordering::Relaxed;

impl<'m, P: Platform> SlabAllocator<'_, 'm, P> {
    /// Fills the pinned CPU's magazine from its node's store, and when that has
    /// nothing, from the node's slabs (`__pcs_replace_empty_main`, `refill_sheaf`).
    pub(super) fn refill(&self, cache: &'m CacheCells, shape: &Shape, cpu: &'m CpuSlab) {
        let Some(node) = self.node_of_cpu(cache, cpu) else {
            return;
        };
        // A look without the lock spares taking it in vain.
        if node.nr_partial() == 0 && stored(&node.barn, shape.barn_size()) == 0 {
            return;
        }
        let places = cpu.places();
        let locked = self.lock_node(shape, node);
        let barn = locked.barn().filter(|barn| barn.len() > 0);
        let taken = match barn {
            Some(barn) => barn.take_all(places) as u32,
            None => locked.take(&mut places.iter(), |place, object| {
                place.store(object.get(), Relaxed);
            }),
        };
        if taken > 0 {
            cpu.filled(taken);
        }
    }

    /// Has the pinned CPU's magazine set up, if it is not yet.
    #[inline]
    pub(super) fn set_up_cpu(&self, cache: &'m CacheCells, cpu: &CpuSlab) {
        if !cpu.is_set_up() {
            let near = self.platform().pin_near(self.table().near());
            let near = near.and_then(|(near, _pinned)| near.nid());
            let nid = near.unwrap_or_else(|| self.local_mem_node());
            let key = PageDescriptor::slab_key_of(nid, cache.id.load(Relaxed) as u16);
            let node = self.node_addr(cache, nid).unwrap_or(0);
            cpu.set_up(cache.capacity.load(Relaxed), key, nid, node);
        }
    }

    /// Takes `objects.len()` objects past the magazines and says how many there
    /// were: fewer only with the reason. The caller is not pinned and holds no
    /// lock.
    pub(super) fn take_objects(
        &self,
        cache: &'m CacheCells,
        shape: &Shape,
        request: &ObjRequest,
        objects: &mut [ObjAddr],
    ) -> (usize, Result<()>) {
        let asked = Asked {
            size: request.size,
            track: self.witness(shape, request.caller),
        };
        let mut taken = 0usize;
        // First on the wished-for node alone, and with little effort.
        let prefers = !request.nid.is_none() && !request.gfp.has(gfp::__GFP_THISNODE);
        let mut here_only = prefers;
        // Once there is nothing more in the slabs there are, new ones follow each other.
        let mut looks = true;
        while let Some(rest) = objects.get_mut(taken..).filter(|rest| !rest.is_empty()) {
            let gfp = match here_only {
                false => request.gfp,
                true => {
                    let kept = gfp::GFP_NOWAIT | gfp::__GFP_NOMEMALLOC | gfp::__GFP_ACCOUNT;
                    let dropped = request.gfp.without(kept);
                    request.gfp.without(dropped) | gfp::__GFP_NOWARN | gfp::__GFP_THISNODE
                }
            };
            if looks {
                let some = self.take_partial(cache, shape, gfp, request.nid, &asked, rest);
                looks = some > 0;
                taken = taken.saturating_add(some);
                continue;
            }
            match self.take_new(cache, shape, gfp, request.nid, &asked, rest) {
                Ok(some) => {
                    taken = taken.saturating_add(some);
                    // One that is checked has given one only.
                    looks = Self::is_checked(shape);
                }
                Err(_) if here_only => (here_only, looks) = (false, true),
                Err(error) => {
                    cache.failed.fetch_add(1, Relaxed);
                    return (taken, Err(error));
                }
            }
        }
        (taken, Ok(()))
    }

    /// From the slabs that there are (`get_from_partial`): on the wished-for node,
    /// and unless it is that or none, on others (`get_from_any_partial`).
    fn take_partial(
        &self,
        cache: &'m CacheCells,
        shape: &Shape,
        gfp: Gfp,
        nid: NodeId,
        asked: &Asked,
        objects: &mut [ObjAddr],
    ) -> usize {
        let wanted = match nid.is_none() {
            true => self.local_mem_node(),
            false => nid,
        };
        let taken = self.take_from(cache, shape, (wanted, 0), asked, objects);
        if taken > 0 || gfp.has(gfp::__GFP_THISNODE) {
            return taken;
        }
        let Some(node) = self.mm.nodes.get(self.mem_node(wanted)) else {
            return 0;
        };
        let highest = page_gfp(gfp, shape.geometry.flags, PageOrder::ZERO).zone();
        let highest = highest.unwrap_or(ZoneType::Normal);
        let mut last = wanted;
        for zone in node.zonelist(ZonelistKind::Fallback).iter(highest) {
            if zone.nid() == last {
                continue;
            }
            last = zone.nid();
            let more_than = shape.geometry.min_partial.into();
            let taken = self.take_from(cache, shape, (last, more_than), asked, objects);
            if taken > 0 {
                return taken;
            }
        }
        0
    }

    /// From a node's slabs, if it has more partial ones than `more_than`.
    fn take_from(
        &self,
        cache: &'m CacheCells,
        shape: &Shape,
        (nid, more_than): (NodeId, u64),
        asked: &Asked,
        objects: &mut [ObjAddr],
    ) -> usize {
        let Some(node) = self.node(cache, nid) else {
            return 0;
        };
        // As in Linux, a look without the lock spares taking it in vain. What others
        // have in store is theirs.
        let may_store = more_than == 0 && !Self::is_checked(shape);
        let stores = may_store && stored(&node.barn, shape.barn_size()) > 0;
        if node.nr_partial() <= more_than && !stores {
            return 0;
        }
        let locked = self.lock_node(shape, node);
        if Self::is_checked(shape) {
            // One for now: the caller asks again.
            let object = locked.take_checked(asked);
            let taken = object.zip(objects.first_mut());
            super::node::add(&node.alloc_slow, taken.is_some().into());
            return taken.map_or(0, |(object, place)| {
                *place = object;
                1
            });
        }
        let mut places = objects.iter_mut();
        let mut taken = 0u32;
        if let Some(barn) = locked.barn().filter(|_| stores) {
            let stored = barn.highest(places.len());
            for (object, place) in stored.iter().zip(places.by_ref()) {
                *place = ObjAddr::new(object.load(Relaxed));
            }
            barn.take_highest(stored.len());
            taken = stored.len() as u32;
        }
        taken = taken.wrapping_add(locked.take(&mut places, |place, object| *place = object));
        super::node::add(&node.alloc_slow, taken.into());
        taken as usize
    }

    /// From a new slab (`alloc_from_new_slab`).
    fn take_new(
        &self,
        cache: &'m CacheCells,
        shape: &Shape,
        gfp: Gfp,
        nid: NodeId,
        asked: &Asked,
        objects: &mut [ObjAddr],
    ) -> Result<usize> {
        let (slab, fell_back) = self.new_slab(Some(cache), shape, gfp, nid)?;
        let (cpu, pinned) = self.platform().pin_cpu();
        let cpus = CacheId::new(shape.id).map_or(&[][..], |id| self.cpus(id));
        let nid = slab.page.nid();
        let is_its = |cpu: &&CpuSlab| cpu.is_open() && cpu.nid() == nid;
        let cpu = cpus.get(cpu.0 as usize).filter(is_its);
        let node = match cpu {
            Some(cpu) => self.node_of_cpu(cache, cpu),
            None => self.node(cache, nid),
        };
        let Some(node) = node else {
            drop(pinned);
            // Of a node that the cache does not know: it can't be kept.
            self.free_slab(slab.pfn, slab.page);
            return Err(Error::NodeOffline);
        };
        let random = shape.order_of(slab.pfn, node.alloc_slab.load(Relaxed));
        let mut walk = slab.walk(shape, random);
        if Self::is_checked(shape) {
            drop(pinned);
            slab.begin(shape, walk, 0);
            let locked = self.lock_node(shape, node);
            let object = locked.take_first_checked(&slab, asked);
            locked.enter(&slab);
            super::node::add(&node.order_fallback, fell_back.into());
            let (object, place) = object.zip(objects.first_mut()).ok_or(Error::SlabDamaged)?;
            super::node::add(&node.alloc_slow, 1);
            *place = object;
            return Ok(1);
        }
        // `Take::len` has a way to a panic.
        let taken = objects.len().min(slab.objects as usize) as u32;
        for place in objects.iter_mut().take(taken as usize) {
            *place = walk.step();
        }
        let more = slab.objects.saturating_sub(taken) as usize;
        let mut kept = 0u32;
        if let Some(cpu) = cpu.filter(|_| more > 0) {
            let places = cpu.places();
            kept = places.len().min(more) as u32;
            for place in places.iter().take(more) {
                place.store(walk.step().get(), Relaxed);
            }
            if kept > 0 {
                cpu.filled(kept);
            }
        }
        slab.begin(shape, walk, taken.saturating_add(kept));
        let locked = self.lock_node(shape, node);
        locked.enter(&slab);
        super::node::add(&node.alloc_slow, taken.into());
        super::node::add(&node.order_fallback, fell_back.into());
        Ok(taken as usize)
    }

    /// Fills an object that was just taken with zeroes, if that is wished for
    /// (`slab_post_alloc_hook`).
    #[inline]
    pub(super) fn zero_if_asked(&self, shape: &Shape, gfp: Gfp, object: ObjAddr) {
        if gfp.has(gfp::__GFP_ZERO) {
            self.zero(shape, object);
        }
    }

    fn zero(&self, shape: &Shape, object: ObjAddr) {
        if let Some(slab) = self.slab_around(shape, object) {
            if let Some(index) = slab.index(shape, object.get()) {
                let geometry = &shape.geometry;
                // All of it, for a krealloc that does not know what was asked for; else
                // what lies behind that stays red or poisoned. Where it is neither,
                // whoever had the object before has left it, and it may be read: also what
                // lies behind it, once a cache of larger objects is merged into this one.
                let filled = SlabFlags::RED_ZONE | SlabFlags::OBJECT_POISON;
                let size = match self.asked_size(shape, object) {
                    Some(asked) if geometry.flags.has(filled) => asked,
                    None if !geometry.flags.has(SlabFlags::DEBUG_METADATA) => {
                        let outside = geometry.free_pointer_is_outside();
                        let size = if outside {
                            geometry.inuse
                        } else {
                            geometry.size
                        };
                        Bytes(size.into())
                    }
                    _ => Bytes(geometry.object_size.into()),
                };
                slab.fill(shape, index, size, 0);
            }
        }
    }
}
