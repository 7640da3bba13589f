// SPDX-License-Identifier: GPL-2.0

//! What there is of a cache, counted without a lock: sums of what each node and
//! each CPU says, which may be of different moments.
//!
//! Who ends a cache waits for those who are pinned: whoever looks is so from where he
//! finds it to the last that he reads of it.

use super::allocator::CacheCounts;
use super::allocator::CacheNodeReport;
use super::allocator::CacheReport;
use super::barn::stored;
use super::flags::SlabFlags;
use super::magazine::CpuSlab;
use super::object::CacheId;
use super::state::CacheCells;
use super::state::NodeCells;
use super::system::SlabAllocator;
use crate::phys::NodeId;
use crate::phys::Pages;
use crate::platform::Platform;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

impl NodeCells {
    fn report(&self) -> CacheNodeReport {
        let total = self.total.load(Relaxed);
        CacheNodeReport {
            slabs: self.nr_slabs(),
            partial: self.partial.nr.load(Relaxed),
            full: self.full.nr.load(Relaxed),
            empty: self.empty.nr.load(Relaxed),
            total_objects: total,
            objects: total.saturating_sub(self.free.load(Relaxed)),
        }
    }
}

impl<'m, P: Platform> SlabAllocator<'_, 'm, P> {
    /// See [`ObjectAllocator::node_report`](super::ObjectAllocator::node_report).
    pub(super) fn report_node(&self, id: CacheId, nid: NodeId) -> Option<CacheNodeReport> {
        let _pinned = self.platform().pin_cpu();
        let cache = self.table().cache(id).ok()?;
        Some(self.node(cache, nid)?.report())
    }

    /// Pages of slabs on a node, or on all for none: of caches whose objects can be
    /// reclaimed, or of the others, to which what kmalloc gives out whole belongs
    /// (`NR_SLAB_RECLAIMABLE_B`, `NR_SLAB_UNRECLAIMABLE_B`).
    pub(crate) fn slab_pages(&self, nid: NodeId, reclaimable: bool) -> Pages {
        let mut slabs = Pages::ZERO;
        self.look_at_caches(|_, cache| {
            let flags = cache.geometry().flags;
            if flags.has(SlabFlags::RECLAIM_ACCOUNT) == reclaimable {
                let nodes = self.nodes(cache);
                let wanted = nodes.filter(|node| nid == NodeId::NONE || node.nid() == nid);
                let pages: Pages = wanted.map(|node| Pages(node.pages.load(Relaxed))).sum();
                slabs += pages;
            }
        });
        match reclaimable {
            true => slabs,
            false => slabs + self.table().large_pages(nid),
        }
    }

    /// Calls `look`, pinned, with each cache, which does not end meanwhile.
    pub(super) fn look_at_caches(&self, mut look: impl FnMut(CacheId, &'m CacheCells)) {
        for id in self.table().ids() {
            let _pinned = self.platform().pin_cpu();
            if let Ok(cache) = self.table().cache(id) {
                look(id, cache);
            }
        }
    }

    /// See [`ObjectAllocator::report`](super::ObjectAllocator::report).
    pub(super) fn report_cache(&self, id: CacheId) -> Option<CacheReport> {
        let _pinned = self.platform().pin_cpu();
        let cache = self.table().cache(id).ok()?;
        let mut nodes = CacheNodeReport::default();
        let mut pages = Pages::ZERO;
        for node in self.nodes(cache) {
            let one = node.report();
            nodes.slabs = nodes.slabs.saturating_add(one.slabs);
            nodes.partial = nodes.partial.saturating_add(one.partial);
            nodes.full = nodes.full.saturating_add(one.full);
            nodes.empty = nodes.empty.saturating_add(one.empty);
            nodes.total_objects = nodes.total_objects.saturating_add(one.total_objects);
            nodes.objects = nodes.objects.saturating_add(one.objects);
            pages += Pages(node.pages.load(Relaxed));
        }
        let (counts, cached) = self.counts(id, cache);
        Some(CacheReport {
            id,
            name: cache.name.get()?,
            refcount: cache.refcount.load(Relaxed) as i32,
            geometry: cache.geometry(),
            ctor: cache.ctor(),
            useroffset: cache.useroffset.load(Relaxed),
            usersize: cache.usersize.load(Relaxed),
            nodes,
            cached,
            active_objects: nodes.objects.saturating_sub(cached),
            pages,
            counts,
        })
    }

    /// What has happened to a cache, and how many objects CPUs and nodes keep of it.
    fn counts(&self, id: CacheId, cache: &'m CacheCells) -> (CacheCounts, u64) {
        let mut counts = CacheCounts {
            cpu_flush: cache.cpu_flush.load(Relaxed),
            failed: cache.failed.load(Relaxed),
            ..CacheCounts::default()
        };
        let mut cached = 0u64;
        for cpu in self.cpus(id).iter().map(CpuSlab::counts) {
            counts.alloc_fastpath = counts.alloc_fastpath.wrapping_add(cpu.allocs);
            counts.free_fastpath = counts.free_fastpath.wrapping_add(cpu.frees);
            counts.free_remote = counts.free_remote.wrapping_add(cpu.remote_freed);
            counts.remote_batches = counts.remote_batches.wrapping_add(cpu.remote_batches);
            counts.refills = counts.refills.wrapping_add(cpu.refills);
            counts.flushes = counts.flushes.wrapping_add(cpu.flushes);
            cached = cached.wrapping_add(cpu.cached);
        }
        let size = cache.shape().barn_size();
        for node in self.nodes(cache) {
            cached = cached.wrapping_add(stored(&node.barn, size) as u64);
            let add = |to: &mut u64, from: &AtomicU64| *to = to.wrapping_add(from.load(Relaxed));
            add(&mut counts.alloc_slowpath, &node.alloc_slow);
            add(&mut counts.free_slowpath, &node.free_slow);
            add(&mut counts.alloc_slab, &node.alloc_slab);
            add(&mut counts.free_slab, &node.free_slab);
            add(&mut counts.order_fallback, &node.order_fallback);
        }
        (counts, cached)
    }
}
