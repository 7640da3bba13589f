// SPDX-License-Identifier: GPL-2.0

//! Taking from the CPUs what they keep of a cache (`flush_all`, `pcs_flush_all`):
//! for shrinking it, ending it, reclaiming, and when a CPU goes away.
//!
//! For the holder of the layer's lock, so that two never drain at once; sleeps
//! until no CPU is at work in a magazine. The protocol is in `magazine.rs`.

use super::magazine::CpuSlab;
use super::node::Discarded;
use super::object::CacheId;
use super::state::CacheCells;
use super::system::SlabAllocator;
use crate::phys::CpuId;
use crate::phys::Pages;
use crate::platform::Platform;
use core::sync::atomic::Ordering::Relaxed;

/// Magazines that are empty and closed.
#[must_use = "closed magazines keep nothing"]
pub(super) struct Drained<'m> {
    cpus: &'m [CpuSlab],
    /// Pages of slabs that were not kept.
    pub(super) pages: Pages,
}

impl Drained<'_> {
    /// Lets the CPUs keep objects again.
    pub(super) fn open(self) -> Pages {
        for cpu in self.cpus {
            cpu.open();
        }
        self.pages
    }
}

impl<'a, 'm, P: Platform> SlabAllocator<'a, 'm, P> {
    /// Takes all that CPUs keep of a cache.
    pub(super) fn drain_cpus(&self, id: CacheId, cache: &'m CacheCells) -> Drained<'m> {
        self.drain_some(cache, self.cpus(id))
    }

    /// What the CPU keeps of all caches goes back: it goes away
    /// (`slub_cpu_dead`), or is to have none for another reason.
    pub fn drain_cpu(&self, cpu: CpuId) {
        if !self.table().is_up() {
            return;
        }
        let _lock = self.table().lock(self.platform());
        // All are closed first, so that one wait is enough.
        let one = |id| {
            let cpus: &'m [CpuSlab] = self.cpus(id);
            let index = cpu.0 as usize;
            cpus.get(index..=index).unwrap_or_default()
        };
        for (id, _) in self.table().caches() {
            one(id).iter().for_each(CpuSlab::close);
        }
        self.platform().synchronize();
        for (id, cache) in self.table().caches() {
            let cpus = one(id);
            self.empty(cache, cpus);
            cpus.iter().for_each(CpuSlab::open);
        }
    }

    fn drain_some(&self, cache: &'m CacheCells, cpus: &'m [CpuSlab]) -> Drained<'m> {
        let mut pages = Pages::ZERO;
        if !cpus.is_empty() {
            cpus.iter().for_each(CpuSlab::close);
            self.platform().synchronize();
            pages = self.empty(cache, cpus);
        }
        Drained { cpus, pages }
    }

    /// Empties closed magazines.
    pub(super) fn empty(&self, cache: &'m CacheCells, cpus: &'m [CpuSlab]) -> Pages {
        let shape = cache.shape();
        let mut pages = Pages::ZERO;
        for cpu in cpus {
            if cpu.counts().cached == 0 {
                continue;
            }
            cache.cpu_flush.fetch_add(1, Relaxed);
            let discarded: Discarded = self.flush(cache, &shape, cpu, u32::MAX);
            pages += self.free_discarded(discarded);
            self.flush_remote(cache, &shape, cpu);
        }
        pages
    }
}
