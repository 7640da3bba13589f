// SPDX-License-Identifier: GPL-2.0

//! Taking from the CPUs what they keep of a cache, and from the nodes what they
//! have in store (`flush_all`, `pcs_flush_all`, `barn_shrink`): for shrinking it,
//! ending it, reclaiming, and from one CPU when that goes away.
//!
//! For the holder of the layer's lock, so that two never drain at once; sleeps
//! until no CPU is at work in a magazine. The protocol is in `magazine.rs`.

use super::free::Into;
use super::object::CacheId;
use super::state::CacheCells;
use super::system::SlabAllocator;
use crate::phys::CpuId;
use crate::phys::Pages;
use crate::platform::Platform;
use core::sync::atomic::Ordering::Relaxed;

/// The magazines of a cache, empty and closed.
#[must_use = "closed magazines keep nothing"]
pub(super) struct Drained {
    id: CacheId,
    /// Pages of slabs that were not kept.
    pub(super) pages: Pages,
}

impl<'m, P: Platform> SlabAllocator<'_, 'm, P> {
    /// Closes a cache's magazines, of one CPU or of all: once
    /// [`Platform::synchronize`] has waited nobody is at work in them.
    fn close(&self, id: CacheId, only: Option<CpuId>) {
        for (index, cpu) in self.cpus(id).iter().enumerate() {
            if only.is_none_or(|only| only.0 as usize == index) {
                self.table().set_near(id, index, None);
                cpu.close();
            }
        }
    }

    /// Opens them again, which were empty and waited for once more; but not while
    /// somebody wants to be told of every object.
    fn open(&self, id: CacheId, only: Option<CpuId>) {
        if self.platform().wants_objects() {
            return;
        }
        for (index, cpu) in self.cpus(id).iter().enumerate() {
            if only.is_none_or(|only| only.0 as usize == index) {
                cpu.open();
                self.table().set_near(id, index, Some(cpu));
            }
        }
    }

    /// Takes all that CPUs and nodes keep of a cache.
    pub(super) fn drain_cpus(&self, id: CacheId, cache: &'m CacheCells) -> Drained {
        let mut pages = Pages::ZERO;
        if !self.cpus(id).is_empty() {
            self.close(id, None);
            self.platform().synchronize();
            pages = self.empty(id, cache, None);
        }
        Drained { id, pages }
    }

    /// Lets the CPUs keep objects again. Sleeps.
    pub(super) fn end_drain(&self, drained: Drained) -> Pages {
        if !self.cpus(drained.id).is_empty() {
            self.platform().synchronize();
            self.open(drained.id, None);
        }
        drained.pages
    }

    /// What the CPU keeps of all caches goes back: it goes away
    /// (`slub_cpu_dead`), or is to have none for another reason.
    pub fn drain_cpu(&self, cpu: CpuId) {
        if self.table().is_up() {
            let _lock = self.table().lock(self.platform());
            self.drain_all(Some(cpu));
        }
    }

    /// Somebody begins to want to be told of every object, or nobody does any more:
    /// the CPUs' magazines, which tell nothing, are closed or opened. Sleeps.
    pub fn refresh_told(&self) {
        let _lock = self.table().lock(self.platform());
        if self.table().is_up() {
            self.drain_all(None);
        }
    }

    /// What CPUs keep of any cache goes back to its slabs, for the holder of the
    /// layer's lock; how many pages that were. All are closed first, so that two
    /// waits are enough.
    pub(super) fn drain_all(&self, only: Option<CpuId>) -> Pages {
        self.with_closed(only, || self.empty_all(only))
    }

    /// The same where all are closed.
    pub(super) fn empty_all(&self, only: Option<CpuId>) -> Pages {
        let caches = self.table().caches();
        caches.map(|(id, cache)| self.empty(id, cache, only)).sum()
    }

    /// Calls `work` while nobody is at work in the magazines of one CPU or of all,
    /// for the holder of the layer's lock. Sleeps.
    pub(super) fn with_closed<T>(&self, only: Option<CpuId>, work: impl FnOnce() -> T) -> T {
        for (id, _) in self.table().caches() {
            self.close(id, only);
        }
        self.platform().synchronize();
        let result = work();
        self.platform().synchronize();
        for (id, _) in self.table().caches() {
            self.open(id, only);
        }
        result
    }

    /// Empties closed magazines, and with those of all CPUs the nodes' stores.
    fn empty(&self, id: CacheId, cache: &'m CacheCells, only: Option<CpuId>) -> Pages {
        let shape = cache.shape();
        let mut pages = Pages::ZERO;
        for (index, cpu) in self.cpus(id).iter().enumerate() {
            let is_one = only.is_none_or(|only| only.0 as usize == index);
            if !is_one || cpu.counts().cached == 0 {
                continue;
            }
            cache.cpu_flush.fetch_add(1, Relaxed);
            for discarded in [
                self.flush(cache, &shape, cpu, u32::MAX, Into::Slabs),
                self.flush_remote(cache, &shape, cpu, Into::Slabs),
            ] {
                pages += self.free_discarded(discarded);
            }
        }
        // What nodes have in store is not one CPU's.
        if only.is_none() {
            pages += self.drop_barns(cache);
        }
        pages
    }
}
