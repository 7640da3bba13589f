// SPDX-License-Identifier: GPL-2.0

//! The caches by number, and what the layer has only one of.

use super::cache::CacheCells;
use crate::buddy::CpuLocal;
use crate::buddy::Deferred;
use crate::error::Error;
use crate::error::Result;
use crate::phys::CellSlot;
use crate::phys::CellsSlot;
use crate::phys::NodeId;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::PhysRange;
use crate::phys::Region;
use crate::phys::Window;
use crate::phys::MAX_NODES;
use crate::platform::Platform;
use crate::slab::debug::DebugState;
use crate::slab::kmalloc_info::NR_KMALLOC_INDICES;
use crate::slab::magazine::CpuSlab;
use crate::slab::near::NearCpu;
use crate::slab::near::NEAR_CPUS;
use crate::slab::object::CacheId;
use crate::slab::object::MAX_CACHES;
use crate::sparse::Sparse;
use crate::sparse::Stretch;
use core::sync::atomic::AtomicU16;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::Release;

/// The rows of kmalloc's caches.
const KMALLOC_ROWS: usize = 4;

/// Where a cache is.
pub(in crate::slab) struct Slot<'m> {
    pub(in crate::slab) cache: CellSlot<'m, CacheCells>,
    /// What each CPU keeps of it.
    pub(in crate::slab) cpus: CellsSlot<'m, CpuSlab>,
}

impl Slot<'_> {
    const fn new() -> Self {
        Self {
            cache: CellSlot::new(),
            cpus: CellsSlot::new(),
        }
    }
}

/// The caches by number, and what the layer has only one of.
pub struct SlabTable<'m> {
    pub(in crate::slab) slots: [Slot<'m>; MAX_CACHES],
    /// The main window of each node.
    windows: [Window<'m>; MAX_NODES],
    /// Most of the descriptors of its pages.
    maps: [Stretch<'m>; MAX_NODES],
    nr_nodes: AtomicU32,
    /// Whether the layer is up (`slab_state`).
    up: AtomicU32,
    lock: AtomicU32,
    /// How many caches have come.
    pub(in crate::slab) sequence: AtomicU64,
    /// No number from here on is in use.
    pub(in crate::slab) nr_ids: AtomicU32,
    /// The numbers of kmalloc's caches.
    pub(in crate::slab) kmalloc: [[AtomicU16; NR_KMALLOC_INDICES]; KMALLOC_ROWS],
    /// Whether slabs wait for a grace period to be over.
    pub(in crate::slab) waiting: AtomicU32,
    /// Pages that kmalloc has given out whole, by node.
    large: [AtomicU64; MAX_NODES],
    /// What CPUs have near; the last is for all others.
    near: [NearCpu<'m>; NEAR_CPUS + 1],
    /// What reclaim has put off.
    deferred: Deferred,
    /// What debugging has for all caches.
    pub(in crate::slab) debug: DebugState,
}

impl Default for SlabTable<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'m> SlabTable<'m> {
    /// No cache, and no memory.
    pub const fn new() -> Self {
        Self {
            slots: [const { Slot::new() }; MAX_CACHES],
            windows: [Window::EMPTY; MAX_NODES],
            maps: [Stretch::EMPTY; MAX_NODES],
            nr_nodes: AtomicU32::new(0),
            up: AtomicU32::new(0),
            lock: AtomicU32::new(0),
            sequence: AtomicU64::new(0),
            nr_ids: AtomicU32::new(1),
            kmalloc: [const { [const { AtomicU16::new(0) }; NR_KMALLOC_INDICES] }; KMALLOC_ROWS],
            waiting: AtomicU32::new(0),
            large: [const { AtomicU64::new(0) }; MAX_NODES],
            near: [const { NearCpu::new() }; NEAR_CPUS + 1],
            deferred: Deferred::new(),
            debug: DebugState::new(),
        }
    }

    /// Looks where the memory is, of nodes below `nr_nodes`: for each the largest
    /// window; and what each CPU has near.
    pub(crate) fn open(
        &mut self,
        region: &'m Region<'m>,
        sparse: &Sparse<'m>,
        nr_nodes: usize,
        locals: &'m [CpuLocal<'m>],
    ) {
        self.nr_nodes = AtomicU32::new(nr_nodes as u32);
        for window in region.windows() {
            let segment = region.segment(window.range().start.pfn_down());
            let nid = segment.and_then(|segment| segment.nid.index());
            if let Some(main) = nid.and_then(|nid| self.windows.get_mut(nid)) {
                if main.range().size() < window.range().size() {
                    *main = window;
                }
            }
        }
        for (map, window) in self.maps.iter_mut().zip(&self.windows) {
            let range = window.range().whole_pages();
            *map = sparse.stretch(range).unwrap_or(Stretch::EMPTY);
        }
        for (near, local) in self.near.iter_mut().take(NEAR_CPUS).zip(locals) {
            near.open(local, &self.maps);
        }
    }

    /// Has the surroundings know where each CPU finds what it has near.
    pub(crate) fn tell_near(&'m self, platform: &impl Platform) {
        platform.set_near(&self.near);
    }

    /// What reclaim has put off.
    pub(crate) const fn deferred(&self) -> &Deferred {
        &self.deferred
    }

    /// Node numbers are below this.
    #[inline]
    pub(in crate::slab) fn nr_nodes(&self) -> usize {
        self.nr_nodes.load(Relaxed) as usize
    }

    /// The window of a node that most of its memory is in.
    #[inline]
    pub(in crate::slab) fn window(&self, nid: NodeId) -> Option<&Window<'m>> {
        self.windows.get(nid.index()?)
    }

    /// The main window of this number.
    #[inline(always)]
    pub(in crate::slab) fn window_at(&self, number: usize) -> Option<&Window<'m>> {
        self.windows.get(number)
    }

    /// Those of the first two nodes; of no memory where there is no such node.
    #[inline(always)]
    pub(in crate::slab) fn first_windows(&self) -> [&Window<'m>; 2] {
        let [first, second, ..] = &self.windows;
        [first, second]
    }

    /// Most of the descriptors of the pages that are in it.
    #[inline]
    pub(in crate::slab) fn map(&self, nid: NodeId) -> Option<&Stretch<'m>> {
        self.maps.get(nid.index()?)
    }

    /// The windows of all nodes.
    pub(in crate::slab) fn windows(&self) -> impl Iterator<Item = &Window<'m>> {
        self.windows.iter().take(self.nr_nodes())
    }

    /// Whether a window shows all of `range`.
    pub(in crate::slab) fn window_of(&self, range: PhysRange) -> Option<&Window<'m>> {
        self.windows().find(|window| {
            let seen = window.range();
            seen.start <= range.start && range.end <= seen.end
        })
    }

    /// Pages that kmalloc has given out whole, on a node or for none on all.
    pub(in crate::slab) fn large_pages(&self, nid: NodeId) -> Pages {
        let nodes = self.large.iter().enumerate();
        let wanted = nodes.filter(|(node, _)| nid == NodeId::NONE || nid.index() == Some(*node));
        wanted.map(|(_, pages)| Pages(pages.load(Relaxed))).sum()
    }

    /// kmalloc has given such a block out.
    pub(in crate::slab) fn note_large(&self, nid: NodeId, order: PageOrder) {
        if let Some(pages) = nid.index().and_then(|nid| self.large.get(nid)) {
            pages.fetch_add(order.pages().0, Relaxed);
        }
    }

    /// It has come back.
    pub(in crate::slab) fn note_large_gone(&self, nid: NodeId, order: PageOrder) {
        if let Some(pages) = nid.index().and_then(|nid| self.large.get(nid)) {
            pages.fetch_sub(order.pages().0, Relaxed);
        }
    }

    /// Whether the layer is up.
    #[inline]
    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Acquire) != 0
    }

    /// It is from now on, or is so no more.
    pub(in crate::slab) fn set_up(&self, up: bool) {
        self.up.store(up.into(), Release);
    }

    /// Where the cache of this number is.
    #[inline]
    pub(in crate::slab) fn slot(&self, id: CacheId) -> &Slot<'m> {
        &self.slots[id.index()]
    }

    /// Says what each CPU keeps of a cache, an empty slice for nothing; and near,
    /// if it is open.
    pub(in crate::slab) fn set_cpus(&self, id: CacheId, cpus: &'m [CpuSlab], open: bool) {
        self.slot(id).cpus.set(cpus);
        for cpu in 0..NEAR_CPUS {
            self.set_near(id, cpu, cpus.get(cpu).filter(|_| open));
        }
    }

    /// Has a cache's magazine of a CPU near, or not.
    pub(in crate::slab) fn set_near(&self, id: CacheId, cpu: usize, to: Option<&'m CpuSlab>) {
        let near = self.near.get(..NEAR_CPUS).and_then(|near| near.get(cpu));
        if let Some(near) = near {
            near.set(id, to);
        }
    }

    /// What each CPU has near.
    #[inline(always)]
    pub(in crate::slab) fn near(&self) -> &[NearCpu<'m>] {
        &self.near
    }

    /// The cache of this number.
    pub(in crate::slab) fn cache(&self, id: CacheId) -> Result<&'m CacheCells> {
        self.slot(id).cache.get().ok_or(Error::NoSuchCache)
    }

    /// The numbers of all caches, and some that may be no cache's.
    pub(in crate::slab) fn ids(&self) -> impl Iterator<Item = CacheId> {
        let nr_ids = self.nr_ids.load(Relaxed) as u16;
        (1..nr_ids).filter_map(CacheId::new)
    }

    /// All caches, in the order of the numbers: for the holder of the layer's lock, or
    /// for who does not look at what is in them.
    pub(in crate::slab) fn caches(&self) -> impl Iterator<Item = (CacheId, &'m CacheCells)> + '_ {
        let ids = self.ids();
        ids.filter_map(|id| Some((id, self.slot(id).cache.get()?)))
    }

    /// Waits for the layer's lock. The caller may sleep, and is not pinned.
    pub(in crate::slab) fn lock<P: Platform>(&self, platform: &P) -> TableLock<'_> {
        loop {
            match self.try_lock() {
                Some(lock) => return lock,
                None => platform.relax(),
            }
        }
    }

    /// The lock, if it is free.
    pub(in crate::slab) fn try_lock(&self) -> Option<TableLock<'_>> {
        let taken = self.lock.compare_exchange(0, 1, Acquire, Relaxed);
        // Made only then: one that is dropped frees the lock.
        taken.is_ok().then(|| TableLock(&self.lock))
    }
}

/// The layer's lock is held while this lives (`slab_mutex`).
#[must_use = "the lock is free again at once"]
pub(in crate::slab) struct TableLock<'t>(&'t AtomicU32);

impl Drop for TableLock<'_> {
    fn drop(&mut self) {
        self.0.store(0, Release);
    }
}
