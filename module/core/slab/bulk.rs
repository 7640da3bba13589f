// SPDX-License-Identifier: GPL-2.0

//! Many objects at once (`kmem_cache_alloc_bulk`, `kmem_cache_free_bulk`): what
//! the magazine has or has room for, then the node's store and its slabs, many
//! under one lock.

use super::allocator::ObjRequest;
use super::handle::Cache;
use super::node::Discarded;
use super::object::ObjAddr;
use super::system::SlabAllocator;
use crate::buddy::gfp;
use crate::error::Error;
use crate::error::Result;
use crate::phys::NodeId;
use crate::platform::Platform;

/// How many objects go to a node's slabs in one section, in which no other task
/// runs.
const RUN: usize = 64;

impl<P: Platform> Cache<'_, '_, P> {
    /// Takes as many objects as there are places, or none.
    ///
    /// # Errors
    ///
    /// Those of [`ObjectAllocator::alloc_bulk`](super::ObjectAllocator::alloc_bulk);
    /// the places are null then.
    pub fn alloc_bulk(&self, request: &ObjRequest, objects: &mut [ObjAddr]) -> Result<()> {
        let (system, cells) = (self.system(), self.cells());
        let zeroed = request.gfp.has(gfp::__GFP_ZERO);
        if zeroed && cells.ctor().is_some() {
            return Err(Error::ZeroWithConstructor);
        }
        let mut done = 0usize;
        if request.nid == NodeId::NONE {
            done = self.pop_many(objects);
        }
        let rest = objects.get_mut(done..).unwrap_or_default();
        if !rest.is_empty() {
            let (taken, result) = system.take_objects(cells, &cells.shape(), request, rest);
            if let Err(error) = result {
                let taken = objects.get_mut(..done.saturating_add(taken));
                for object in taken.unwrap_or_default() {
                    // It was just taken.
                    let _ = self.free_untold(*object);
                    *object = ObjAddr::NULL;
                }
                return Err(error);
            }
        }
        for &object in objects.iter() {
            system.given_out(object);
        }
        if zeroed {
            let shape = cells.shape();
            for &object in objects.iter() {
                system.zero_if_asked(&shape, request.gfp, object);
            }
        }
        Ok(())
    }

    /// What the CPU's magazine has, up to all that is wanted
    /// (`alloc_from_pcs_bulk`).
    fn pop_many(&self, objects: &mut [ObjAddr]) -> usize {
        let (cpu, _pinned) = self.system().platform().pin_cpu();
        let cpu = self.cpus().get(cpu.0 as usize);
        let Some(cpu) = cpu.filter(|cpu| cpu.is_open()) else {
            return 0;
        };
        let kept = cpu.highest(objects.len());
        for (place, object) in objects.iter_mut().zip(kept) {
            *place = ObjAddr::new(object.load(core::sync::atomic::Ordering::Relaxed));
        }
        cpu.take_highest(kept.len());
        kept.len()
    }

    /// Gives objects of the cache back, and says how many were taken.
    pub fn free_bulk(&self, objects: &[ObjAddr]) -> usize {
        for &object in objects {
            self.system().given_back(Some(self.id()), object);
        }
        let mut rest = objects;
        let mut freed = 0usize;
        while let Some(&first) = rest.first() {
            let pushed = self.push_many(rest);
            let run = match rest.get(pushed..) {
                Some(more @ [_, ..]) => self.give_run(more),
                _ => Run::default(),
            };
            freed = freed.saturating_add(pushed).saturating_add(run.freed);
            let mut seen = pushed.saturating_add(run.seen);
            if seen == 0 {
                freed = freed.saturating_add(self.free_untold(first).is_ok().into());
                seen = 1;
            }
            rest = rest.get(seen..).unwrap_or_default();
        }
        freed
    }

    /// Puts objects into the CPU's magazine, from the first on, as long as they
    /// belong there and there is room (`__free_to_pcs_batch`).
    fn push_many(&self, objects: &[ObjAddr]) -> usize {
        let near = self.system().table().near();
        let Some((near, _pinned)) = self.system().platform().pin_near(near) else {
            return 0;
        };
        let cpu = near.magazine(self.near_index());
        let pushed = objects.iter().take_while(|object| {
            let page = near.page(object.pfn());
            page.is_some_and(|page| cpu.push(page.slab_key(), object.get()))
        });
        pushed.count()
    }

    /// Gives objects of one node back, from the first on: to its store, and to its
    /// slabs.
    fn give_run(&self, objects: &[ObjAddr]) -> Run {
        let (system, cells) = (self.system(), self.cells());
        let shape = cells.shape();
        let key = |object: &ObjAddr| system.page(object.pfn()).map(|page| page.slab_key());
        let first = objects.first().and_then(|object| system.page(object.pfn()));
        let first = first.filter(|page| page.slab_cache() == Some(shape.id));
        let node = first.and_then(|page| system.node(cells, page.nid()));
        let Some(node) = node.filter(|_| !SlabAllocator::<P>::is_checked(&shape)) else {
            return Run::default();
        };
        let its = first.map(|page| page.slab_key());
        let mut discarded = Discarded::NONE;
        let mut run = Run::default();
        {
            let (cpu, _pinned) = system.platform().pin_cpu();
            let cpu = self.cpus().get(cpu.0 as usize);
            // Whoever has closed the magazine wants nothing to be kept.
            let is_open = cpu.is_some_and(|cpu| cpu.is_open());
            if is_open {
                system.want_barn(&shape, node);
            }
            let locked = system.lock_node(&shape, node);
            if let Some(barn) = locked.barn().filter(|_| is_open) {
                let is_its = |object: &&ObjAddr| key(object) == its;
                run.seen = barn.put_some(objects.iter().take_while(is_its));
                run.freed = run.seen;
            }
            let ways = locked.ways();
            let rest = objects.get(run.seen..).unwrap_or_default();
            let mut rest = rest.get(..RUN).unwrap_or(rest);
            while !rest.is_empty() {
                let given = locked.give_usual(&ways, rest, |object| object.get(), &mut discarded);
                run.freed = run.freed.wrapping_add(given);
                run.seen = run.seen.wrapping_add(given);
                rest = rest.get(given..).unwrap_or_default();
                let Some((unusual, more)) = rest.split_first() else {
                    break;
                };
                if key(unusual) != its {
                    break;
                }
                let given = locked.give_any(*unusual, &mut discarded);
                run.freed = run.freed.wrapping_add(given.is_ok().into());
                run.seen = run.seen.wrapping_add(1);
                rest = more;
            }
            super::node::add(&node.free_slow, run.freed as u64);
        }
        system.free_discarded(discarded);
        run
    }
}

/// Objects that were looked at one after the other.
#[derive(Default)]
struct Run {
    seen: usize,
    freed: usize,
}
