// SPDX-License-Identifier: GPL-2.0

//! Giving up what nobody uses: on request (`kmem_cache_shrink`), and by itself when
//! memory is short.
//!
//! Linux's slab caches give an empty slab back as soon as the node has enough of
//! them, and the rest only on request. Here those that are kept go, too, when
//! reclaim asks, and after them what CPUs keep.

use super::barn::stored;
use super::flags::SlabFlags;
use super::node::LockedNode;
use super::object::CacheId;
use super::page::Fullness;
use super::state::CacheCells;
use super::system::SlabAllocator;
use crate::buddy::Deferred;
use crate::buddy::ShrinkControl;
use crate::buddy::Shrinker;
use crate::error::Result;
use crate::phys::NodeId;
use crate::phys::Pages;
use crate::platform::Platform;
use core::sync::atomic::Ordering::Relaxed;

/// Slabs with up to so many free objects are sorted (`SHRINK_PROMOTE_MAX`).
const SHRINK_PROMOTE_MAX: u32 = 32;
/// So many objects that are kept at hand may come to a page.
const KEPT_FOR_A_PAGE: u64 = 16;

impl<'m, P: Platform> SlabAllocator<'_, 'm, P> {
    /// See [`ObjectAllocator::shrink`](super::ObjectAllocator::shrink).
    pub(super) fn shrink_cache(&self, id: CacheId) -> Result<Pages> {
        let _lock = self.table().lock(self.platform());
        let cache = self.table().cache(id)?;
        Ok(self.shrink_locked(id, cache))
    }

    /// The same for all caches.
    pub(super) fn shrink_caches(&self) -> Pages {
        let _lock = self.table().lock(self.platform());
        self.with_closed(None, || {
            // The stores are objects of kmalloc's caches: all of these go first.
            let kept = self.empty_all(None);
            let caches = self.table().caches();
            let shrunk: Pages = caches.map(|(_, cache)| self.shrink_slabs(cache)).sum();
            kept + shrunk
        })
    }

    /// `__kmem_cache_shrink`, for the holder of the layer's lock.
    fn shrink_locked(&self, id: CacheId, cache: &'m CacheCells) -> Pages {
        self.end_drain(self.drain_cpus(id, cache)) + self.shrink_slabs(cache)
    }

    /// The same for what neither CPUs nor nodes keep.
    fn shrink_slabs(&self, cache: &'m CacheCells) -> Pages {
        let mut pages = Pages::ZERO;
        let shape = cache.shape();
        for node in self.nodes(cache) {
            let discarded = {
                let locked = self.lock_node(&shape, node);
                locked.promote();
                locked.discard_empty(|| true)
            };
            pages += self.free_discarded_later(&shape, discarded);
        }
        pages
    }

    /// Pages of empty slabs on a node, and its objects that it and CPUs keep.
    fn reclaimable(&self, nid: NodeId) -> (u64, u64) {
        let mut pages = 0u64;
        let mut kept = 0u64;
        self.look_at_caches(|id, cache| {
            if let Some(node) = self.node(cache, nid) {
                let of_one = cache.geometry().order.pages().0;
                let (empty, waiting) = (&node.empty.nr, &node.waiting.nr);
                let empty = empty.load(Relaxed).saturating_add(waiting.load(Relaxed));
                pages = pages.saturating_add(empty.saturating_mul(of_one));
                kept = kept.saturating_add(stored(&node.barn, cache.shape().barn_size()) as u64);
            }
            let cpus = self.cpus(id).iter().filter(|cpu| cpu.nid() == nid);
            let cached: u64 = cpus.map(|cpu| u64::from(cpu.len())).sum();
            kept = kept.saturating_add(cached);
        });
        (pages, kept)
    }

    /// Gives back up to `want` pages of empty slabs on a node, or more where they have to be
    /// waited for; how many.
    fn reclaim_empty(&self, nid: NodeId, want: u64) -> Pages {
        let mut pages = Pages::ZERO;
        for (_, cache) in self.table().caches() {
            let Some(node) = self.node(cache, nid) else {
                continue;
            };
            if node.empty.nr.load(Relaxed) | node.waiting.nr.load(Relaxed) == 0 {
                continue;
            }
            let shape = cache.shape();
            let mut wanted = match shape.geometry.flags.has(SlabFlags::TYPESAFE_BY_RCU) {
                // One wait is for all of them.
                true => u64::MAX,
                false => want.saturating_sub(pages.0),
            };
            let of_one = shape.geometry.order.pages().0;
            let discarded = {
                let locked = self.lock_node(&shape, node);
                locked.discard_empty(|| {
                    let go_on = wanted > 0;
                    wanted = wanted.saturating_sub(of_one);
                    go_on
                })
            };
            pages += self.free_discarded_later(&shape, discarded);
            if pages.0 >= want {
                break;
            }
        }
        pages
    }
}

impl<P: Platform> LockedNode<'_, '_, '_, P> {
    /// Sorts the partial slabs so that the fullest come first, if they have few
    /// free objects, and of those that are equally full the last; those that have
    /// more stay behind them, in their order (`__kmem_cache_do_shrink`).
    fn promote(&self) {
        // The fullest are moved to the front last. Each round takes those with so
        // many free objects, and puts each in front of those before it.
        for free in (1..=SHRINK_PROMOTE_MAX).rev() {
            let mut next = self.cells.partial.get().first();
            // A broken list may run in a circle; the count ends it.
            for _ in 0..self.cells.partial.nr.load(Relaxed) {
                let Some(slab) = next.and_then(|pfn| self.system.slab(self.shape, pfn)) else {
                    break;
                };
                next = slab.page.next();
                if slab.objects.saturating_sub(slab.inuse()) == free {
                    self.remove(Fullness::Partial, slab.page);
                    self.add(Fullness::Partial, slab.pfn, slab.page, true);
                }
            }
        }
    }
}

/// Under pressure the layer gives up empty slabs, and when that was nothing, what
/// CPUs keep.
impl<P: Platform> Shrinker for SlabAllocator<'_, '_, P> {
    fn name(&self) -> &'static str {
        "shadowmm-slab"
    }

    fn count(&self, control: &ShrinkControl) -> u64 {
        if !self.table().is_up() {
            return 0;
        }
        let (pages, kept) = self.reclaimable(control.nid);
        // Linux counts what can be given up; how many pages come of what CPUs keep
        // is not known before.
        pages.saturating_add(kept / KEPT_FOR_A_PAGE)
    }

    fn scan(&self, control: &mut ShrinkControl) -> Option<u64> {
        // Who holds the lock may be the one who needs the memory.
        let _lock = self.table().try_lock()?;
        let want = control.nr_to_scan;
        let mut pages = self.reclaim_empty(control.nid, want);
        if pages.is_zero() {
            let (_, kept) = self.reclaimable(control.nid);
            if kept == 0 {
                return None;
            }
            pages += self.drain_all(None);
            pages += self.reclaim_empty(control.nid, want);
            if pages.is_zero() {
                return None;
            }
            // That was all of it, and need not be waited for once more.
            control.nr_scanned = want.max(kept / KEPT_FOR_A_PAGE);
        }
        control.nr_scanned = control.nr_scanned.max(pages.0);
        control.reclaimed += pages;
        Some(pages.0)
    }

    fn deferred(&self) -> &Deferred {
        self.table().deferred()
    }

    fn batch(&self) -> u64 {
        // A slab is worth it.
        1
    }

    fn is_numa_aware(&self) -> bool {
        true
    }
}
