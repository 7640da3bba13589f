// SPDX-License-Identifier: GPL-2.0

//! Every invariant of the layer, checked (`validate_slab_cache`, and what Linux
//! has no check for).

use super::allocator::SlabFlaw;
use super::object::CacheId;
use super::object::ObjAddr;
use super::page::Fullness;
use super::page::Slab;
use super::state::CacheCells;
use super::state::NodeCells;
use super::state::Shape;
use super::system::SlabAllocator;
use crate::buddy::is_slab;
use crate::page::PageDescriptor;
use crate::platform::Platform;
use core::sync::atomic::Ordering::Relaxed;

/// Where a flaw was found.
struct At {
    cache: Option<CacheId>,
    object: Option<ObjAddr>,
}

impl At {
    fn check(&self, holds: bool, what: &'static str) -> Result<(), SlabFlaw> {
        match holds {
            true => Ok(()),
            false => Err(SlabFlaw {
                what,
                cache: self.cache,
                at: self.object,
            }),
        }
    }
}

impl<'m, P: Platform> SlabAllocator<'_, 'm, P> {
    /// See [`ObjectAllocator::validate`](super::ObjectAllocator::validate).
    pub(super) fn validate_all(&self) -> Result<(), SlabFlaw> {
        if !self.table().is_up() {
            return Ok(());
        }
        let _lock = self.table().lock(self.platform());
        self.with_closed(None, || {
            let mut caches = self.table().caches();
            caches.try_for_each(|(id, cache)| self.validate_cache(id, cache))
        })
    }

    fn validate_cache(&self, id: CacheId, cache: &'m CacheCells) -> Result<(), SlabFlaw> {
        let at = At {
            cache: Some(id),
            object: None,
        };
        at.check(cache.id() == Some(id), "the cache has another number")?;
        at.check(cache.name.get().is_some(), "the cache has no name")?;
        let shape = cache.shape();
        for node in self.nodes(cache) {
            self.validate_node(id, &shape, node)?;
        }
        self.validate_cpus(id, &shape)
    }

    /// `validate_slab_node`.
    fn validate_node(
        &self,
        id: CacheId,
        shape: &Shape,
        node: &'m NodeCells,
    ) -> Result<(), SlabFlaw> {
        let at = At {
            cache: Some(id),
            object: None,
        };
        let locked = self.lock_node(shape, node);
        let (mut total, mut free, mut pages) = (0u64, 0u64, 0u64);
        for (fullness, list) in [
            (Fullness::Empty, &node.empty),
            (Fullness::Partial, &node.partial),
            (Fullness::Full, &node.full),
        ] {
            let mut count = 0u64;
            for slab in locked.slabs(fullness) {
                count += 1;
                let at = At {
                    cache: Some(id),
                    object: Some(ObjAddr::new(slab.pfn.addr().0)),
                };
                at.check(slab.is_of(shape), "a slab on the list is not the cache's")?;
                at.check(
                    slab.page.nid() == node.nid(),
                    "a slab is on another node's list",
                )?;
                at.check(slab.fullness() == fullness, "a slab is on the wrong list")?;
                let order = slab.page.order();
                at.check(
                    is_slab(self.mm.sparse, slab.pfn, order),
                    "a slab's pages do not belong together",
                )?;
                free += self.validate_slab(shape, &slab, &at)?;
                total += u64::from(slab.objects);
                pages += order.pages().0;
            }
            at.check(count == list.nr.load(Relaxed), "a list has another length")?;
            let last = list.get().last();
            let ends = last.is_none_or(|pfn| {
                let page = self.page(pfn);
                page.is_some_and(|page| page.next().is_none())
            });
            at.check(ends, "a list does not end at its end")?;
        }
        let mut waiting = 0;
        for (_, page) in node.waiting.get().iter(self.mm.sparse) {
            waiting += 1;
            let is_one = page.slab_key() == PageDescriptor::slab_key_of(node.nid(), shape.id);
            at.check(is_one, "a slab that waits is not the cache's")?;
            at.check(
                waiting <= node.waiting.nr.load(Relaxed),
                "more slabs wait than were counted",
            )?;
            pages += page.order().pages().0;
        }
        let barn = locked.barn();
        let stored = barn
            .as_ref()
            .map_or(&[][..], |barn| barn.highest(barn.len()));
        let holds = barn.is_none_or(|barn| stored.len() == barn.len());
        at.check(holds, "a store has more than it holds")?;
        for object in stored {
            let object = ObjAddr::new(object.load(Relaxed));
            let at = At {
                cache: Some(id),
                object: Some(object),
            };
            let found = self.find_object(shape, object);
            let is_its = found.is_ok_and(|(slab, _)| slab.page.nid() == node.nid());
            at.check(is_its, "a node stores what is no object of the cache there")?;
        }
        at.check(
            total == node.total.load(Relaxed),
            "objects are not counted right",
        )?;
        at.check(
            free == node.free.load(Relaxed),
            "free objects are not counted right",
        )?;
        at.check(
            pages == node.pages.load(Relaxed),
            "pages are not counted right",
        )
    }

    /// Checks a slab's freelist and says how long it is.
    fn validate_slab(&self, shape: &Shape, slab: &Slab<'m>, at: &At) -> Result<u64, SlabFlaw> {
        let (mut next, inuse) = slab.page.slab_counts();
        let wanted = slab.objects.checked_sub(inuse.into());
        at.check(wanted.is_some(), "more objects are in use than there are")?;
        let mut found = 0u32;
        while let Some(index) = next {
            found += 1;
            at.check(found <= slab.objects, "a freelist runs in a circle")?;
            let behind = slab.next_free(shape, index.into());
            at.check(behind.is_ok(), "a free pointer leads nowhere")?;
            next = behind.ok().flatten().map(|next| next as u16);
        }
        at.check(Some(found) == wanted, "a freelist has another length")?;
        Ok(found.into())
    }

    /// Checks that what CPUs keep is of the cache and in use by its slabs' word.
    fn validate_cpus(&self, id: CacheId, shape: &Shape) -> Result<(), SlabFlaw> {
        for cpu in self.cpus(id) {
            let mut result = Ok(());
            cpu.for_each(|object| {
                let object = ObjAddr::new(object);
                let at = At {
                    cache: Some(id),
                    object: Some(object),
                };
                let found = self.find_object(shape, object).is_ok();
                let sound = at.check(found, "a CPU keeps what is no object of the cache");
                if result.is_ok() {
                    result = sound;
                }
            });
            result?;
        }
        Ok(())
    }
}
