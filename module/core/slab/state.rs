// SPDX-License-Identifier: GPL-2.0

//! What the slab layer is made of, all of it in the shadow's own pages but the
//! table of references.
//!
//! ```text
//! SlabTable        in the boot's store: by number, where a cache is
//!   | caches[id]
//!   v
//! CacheCells       object of `kmem_cache`: geometry, name, counts
//!   | then an address for each node
//!   v
//! NodeCells        object of `kmem_cache_node`: lists of slabs, their lock
//!   |
//!   v
//! Slab (page.rs)   descriptors of its pages; free pointers in its objects
//!
//! CpuSlab          array from kmalloc, one for each CPU (magazine.rs)
//! Barn             array from kmalloc, one for each node (barn.rs)
//! ```
//!
//! # Locks
//!
//! 1. `SlabTable::lock` is held while caches come and go and while CPUs' magazines
//!    are drained. Its holder may sleep; who must not wait tries it.
//! 2. A node's lock guards its lists and the links and counts of all slabs of the
//!    cache on that node, their freelists, and its store. No two are held at once.
//! 3. A magazine belongs to its CPU while that is pinned, or to whoever has closed
//!    it (`magazine.rs`). A node may be locked under it, not the reverse.

use super::barn::barn_size;
use super::debug::DebugState;
use super::debug::Findings;
use super::geometry::Geometry;
use super::kmalloc_info::NR_KMALLOC_INDICES;
use super::magazine::CpuSlab;
use super::magazine::MAX_CAPACITY;
use super::near::NearCpu;
use super::near::NEAR_CPUS;
use super::object::CacheId;
use super::object::CacheName;
use super::object::Constructor;
use super::object::MAX_CACHES;
use super::object::MAX_CACHE_NAME;
use crate::buddy::CpuLocal;
use crate::buddy::Deferred;
use crate::buddy::PageList;
use crate::error::Error;
use crate::error::Result;
use crate::phys::cells;
use crate::phys::Bytes;
use crate::phys::CellSlot;
use crate::phys::CellsSlot;
use crate::phys::NodeId;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PhysRange;
use crate::phys::Region;
use crate::phys::Window;
use crate::phys::MAX_NODES;
use crate::platform::Platform;
use crate::sparse::Sparse;
use crate::sparse::Stretch;
use core::sync::atomic::AtomicU16;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::Release;

/// Words of a name: its bytes, and in the last byte how many they are.
const NAME_WORDS: usize = 8;
/// The rows of kmalloc's caches.
const KMALLOC_ROWS: usize = 4;

const _: () = assert!(NAME_WORDS * 8 == MAX_CACHE_NAME + 1);

cells! {
    /// A name.
    pub(super) struct NameCells {
        words: [AtomicU64; NAME_WORDS],
    }
}

impl NameCells {
    pub(super) fn set(&self, name: &CacheName) {
        let mut bytes = [0u8; NAME_WORDS * 8];
        let text = name.as_str().as_bytes();
        for (to, from) in bytes.iter_mut().zip(text) {
            *to = *from;
        }
        if let Some(last) = bytes.last_mut() {
            *last = text.len() as u8;
        }
        for (word, bytes) in self.words.iter().zip(bytes.chunks_exact(8)) {
            let bytes = <[u8; 8]>::try_from(bytes).unwrap_or_default();
            word.store(u64::from_le_bytes(bytes), Relaxed);
        }
    }

    pub(super) fn get(&self) -> Option<CacheName> {
        let mut bytes = [0u8; NAME_WORDS * 8];
        for (word, bytes) in self.words.iter().zip(bytes.chunks_exact_mut(8)) {
            bytes.copy_from_slice(&word.load(Relaxed).to_le_bytes());
        }
        let len = usize::from(*bytes.last()?);
        let text = core::str::from_utf8(bytes.get(..len)?).ok()?;
        CacheName::new(text).ok()
    }
}

cells! {
    /// Another name of a cache, linked from the newest to the oldest.
    pub(super) struct AliasCells {
        /// Where the next one lies; 0 behind the last.
        pub(super) next: AtomicU64,
        /// The name.
        pub(super) name: NameCells,
    }
}

cells! {
    /// A list of slabs of a node, and how many they are.
    pub(super) struct ListCells {
        head: AtomicU32,
        tail: AtomicU32,
        pub(super) nr: AtomicU64,
    }
}

impl ListCells {
    pub(super) fn clear(&self) {
        self.set(&PageList::NEW);
        self.nr.store(0, Relaxed);
    }

    /// The list, for the holder of the node's lock.
    pub(super) fn get(&self) -> PageList {
        PageList::of(self.head.load(Relaxed), self.tail.load(Relaxed))
    }

    /// What has become of it.
    pub(super) fn set(&self, list: &PageList) {
        let (head, tail) = list.ends();
        self.head.store(head, Relaxed);
        self.tail.store(tail, Relaxed);
    }
}

cells! {
    /// What a cache has on one node (`struct kmem_cache_node`).
    #[repr(align(64))]
    pub(super) struct NodeCells {
        pub(super) lock: AtomicU32,
        pub(super) nid: AtomicU32,
        /// Slabs some of whose objects are free.
        pub(super) partial: ListCells,
        /// Slabs all of whose objects are.
        pub(super) empty: ListCells,
        /// Slabs none of whose objects is.
        pub(super) full: ListCells,
        /// Slabs that are the node's no more, but whose pages have to wait.
        pub(super) waiting: ListCells,
        /// Objects in all slabs.
        pub(super) total: AtomicU64,
        /// Objects in the slabs' freelists.
        pub(super) free: AtomicU64,
        /// Pages of all slabs, those that wait among them.
        pub(super) pages: AtomicU64,
        /// Objects that were taken one by one.
        pub(super) alloc_slow: AtomicU64,
        /// Objects that were given back past the magazines.
        pub(super) free_slow: AtomicU64,
        /// Slabs that came.
        pub(super) alloc_slab: AtomicU64,
        /// Slabs that went.
        pub(super) free_slab: AtomicU64,
        /// Slabs that came smaller than wished for.
        pub(super) order_fallback: AtomicU64,
        /// Where the store of free objects is, and how many it has (`barn.rs`); 0
        /// for none.
        pub(super) barn: AtomicU64,
    }
}

impl NodeCells {
    /// Nothing is there yet.
    pub(super) fn init(&self, nid: NodeId) {
        self.lock.store(0, Relaxed);
        self.nid.store(nid.0 as u32, Relaxed);
        self.partial.clear();
        self.empty.clear();
        self.full.clear();
        self.waiting.clear();
        for count in [
            &self.total,
            &self.free,
            &self.pages,
            &self.alloc_slow,
            &self.free_slow,
            &self.alloc_slab,
            &self.free_slab,
            &self.order_fallback,
            &self.barn,
        ] {
            count.store(0, Relaxed);
        }
    }

    /// The node.
    #[inline]
    pub(super) fn nid(&self) -> NodeId {
        NodeId(self.nid.load(Relaxed) as i32)
    }

    /// What Linux has on its partial list, for which empty slabs are partial
    /// ones.
    #[inline]
    pub(super) fn nr_partial(&self) -> u64 {
        let (partial, empty) = (&self.partial.nr, &self.empty.nr);
        partial.load(Relaxed).wrapping_add(empty.load(Relaxed))
    }

    /// All slabs.
    pub(super) fn nr_slabs(&self) -> u64 {
        self.nr_partial().wrapping_add(self.full.nr.load(Relaxed))
    }
}

cells! {
    /// A cache (`struct kmem_cache`). Behind it lie the addresses of its
    /// [`NodeCells`], one for each node number, 0 where it has none.
    #[repr(align(8))]
    pub(super) struct CacheCells {
        pub(super) id: AtomicU32,
        /// Where it lies itself.
        pub(super) addr: AtomicU64,
        /// How many caches it is; as `i32`, -1 for one that is never shared.
        pub(super) refcount: AtomicU32,
        pub(super) name: NameCells,
        object_size: AtomicU32,
        size: AtomicU32,
        inuse: AtomicU32,
        offset: AtomicU32,
        align: AtomicU32,
        red_left_pad: AtomicU32,
        flags: AtomicU32,
        orders: AtomicU32,
        objects: AtomicU32,
        min_objects: AtomicU32,
        min_partial: AtomicU32,
        sheaf_capacity: AtomicU32,
        pub(super) useroffset: AtomicU32,
        pub(super) usersize: AtomicU32,
        /// See [`reciprocal`].
        inverse: AtomicU32,
        /// How many objects a CPU keeps; 0 for none.
        pub(super) capacity: AtomicU32,
        ctor: AtomicU64,
        /// For how many objects the constructor has run.
        pub(super) constructed: AtomicU64,
        /// What free pointers are hidden with (`random`).
        random: AtomicU64,
        /// Which cache it was, in the order in which they came.
        pub(super) sequence: AtomicU64,
        /// The newest alias.
        pub(super) aliases: AtomicU64,
        /// The CPUs' array; 0 for none.
        pub(super) cpus: AtomicU64,
        /// Requests that were not served.
        pub(super) failed: AtomicU64,
        /// How often CPUs' magazines were taken from them.
        pub(super) cpu_flush: AtomicU64,
        /// Requests from anywhere that are at work in it.
        pub(super) users: AtomicU64,
        /// What debugging has found.
        pub(super) findings: Findings,
    }
}

/// With which number an offset in a slab is multiplied for the upper half of the
/// product to be the object's index: 2^32 / size, rounded up. Exact for every
/// multiple of the size below 2^32.
const fn reciprocal(size: u32) -> u32 {
    match (1u64 << 32).checked_add(size as u64 - 1) {
        Some(sum) => (sum / size as u64) as u32,
        None => 0,
    }
}

impl CacheCells {
    /// A cache of this kind, with nothing in it.
    pub(super) fn init(
        &self,
        addr: u64,
        id: CacheId,
        name: &CacheName,
        geometry: &Geometry,
        random: u64,
    ) {
        self.addr.store(addr, Relaxed);
        self.id.store(id.get().into(), Relaxed);
        self.refcount.store(1, Relaxed);
        self.name.set(name);
        self.set_geometry(geometry);
        self.random.store(random, Relaxed);
        self.findings.clear();
        for zero in [&self.useroffset, &self.usersize, &self.capacity] {
            zero.store(0, Relaxed);
        }
        for zero in [
            &self.ctor,
            &self.constructed,
            &self.sequence,
            &self.aliases,
            &self.cpus,
            &self.failed,
            &self.cpu_flush,
            &self.users,
        ] {
            zero.store(0, Relaxed);
        }
    }

    /// Says how the slabs are laid out. With slabs there, only what a merge
    /// changes may be other than before.
    pub(super) fn set_geometry(&self, geometry: &Geometry) {
        let orders = u32::from(geometry.order.get()) | (u32::from(geometry.min_order.get()) << 8);
        for (cell, value) in [
            (&self.object_size, geometry.object_size),
            (&self.size, geometry.size),
            (&self.inuse, geometry.inuse),
            (&self.offset, geometry.offset),
            (&self.align, geometry.align),
            (&self.red_left_pad, geometry.red_left_pad),
            (&self.flags, geometry.flags.bits()),
            (&self.orders, orders),
            (&self.objects, geometry.objects),
            (&self.min_objects, geometry.min_objects),
            (&self.min_partial, geometry.min_partial),
            (&self.sheaf_capacity, geometry.sheaf_capacity),
            (&self.inverse, reciprocal(geometry.size.max(1))),
        ] {
            cell.store(value, Relaxed);
        }
    }

    /// Says how many empty slabs a node may keep.
    pub(super) fn set_min_partial(&self, slabs: u32) {
        self.min_partial.store(slabs, Relaxed);
    }

    /// How the slabs are laid out.
    #[inline]
    pub(super) fn geometry(&self) -> Geometry {
        let orders = self.orders.load(Relaxed);
        let order = |bits: u32| PageOrder::new(bits & 0xff).unwrap_or(PageOrder::ZERO);
        let flags = super::flags::SlabFlags::from_bits(self.flags.load(Relaxed));
        Geometry {
            object_size: self.object_size.load(Relaxed),
            size: self.size.load(Relaxed),
            inuse: self.inuse.load(Relaxed),
            offset: self.offset.load(Relaxed),
            align: self.align.load(Relaxed),
            red_left_pad: self.red_left_pad.load(Relaxed),
            flags: flags.unwrap_or_default(),
            order: order(orders),
            objects: self.objects.load(Relaxed),
            min_order: order(orders >> 8),
            min_objects: self.min_objects.load(Relaxed),
            min_partial: self.min_partial.load(Relaxed),
            sheaf_capacity: self.sheaf_capacity.load(Relaxed),
        }
    }

    /// Where it lies.
    #[inline]
    pub(super) fn addr(&self) -> u64 {
        self.addr.load(Relaxed)
    }

    /// Its number; `None` where there is no cache.
    #[inline]
    pub(super) fn id(&self) -> Option<CacheId> {
        CacheId::new(u16::try_from(self.id.load(Relaxed)).ok()?)
    }

    /// What is done to the objects of a new slab.
    #[inline]
    pub(super) fn ctor(&self) -> Constructor {
        Constructor::from_bits(self.ctor.load(Relaxed))
    }

    pub(super) fn set_ctor(&self, ctor: Constructor) {
        self.ctor.store(ctor.to_bits(), Relaxed);
    }

    /// All that whoever works on its slabs needs.
    #[inline]
    pub(super) fn shape(&self) -> Shape {
        Shape {
            id: self.id.load(Relaxed) as u16,
            addr: self.addr(),
            geometry: self.geometry(),
            inverse: self.inverse.load(Relaxed),
            random: self.random.load(Relaxed),
        }
    }
}

impl Shape {
    /// That of a cache which is still to be made.
    pub(super) fn new(id: u16, geometry: Geometry, random: u64) -> Self {
        Self {
            id,
            addr: 0,
            geometry,
            inverse: reciprocal(geometry.size.max(1)),
            random,
        }
    }

    /// How many objects a CPU may keep.
    #[inline]
    pub(super) fn capacity(&self) -> u32 {
        self.geometry.sheaf_capacity.min(MAX_CAPACITY)
    }

    /// How large a node's store is.
    #[inline]
    pub(super) fn barn_size(&self) -> Bytes {
        barn_size(self.capacity())
    }

    /// In which order the objects of a new slab come: a number that nobody knows who
    /// does not know the cache's own, another for each slab. Linux draws an order for
    /// each cache, and where it begins for each slab; a number drawn for each slab is
    /// what costs most of it.
    #[inline]
    pub(super) const fn order_of(&self, pfn: Pfn, sequence: u64) -> u64 {
        let mut mixed = self.random ^ (pfn.0 << 24) ^ sequence;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// With what the free pointer that lies at this address is hidden
    /// (`freelist_ptr_encode`).
    #[inline(always)]
    pub(super) const fn free_pointer_mask(&self, at: u64) -> u64 {
        self.random ^ at.swap_bytes()
    }
}

/// How a cache's slabs are read.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) id: u16,
    /// Where its cells are; 0 for a cache that is still to be made.
    pub(super) addr: u64,
    pub(super) geometry: Geometry,
    pub(super) inverse: u32,
    pub(super) random: u64,
}

/// Where a cache is.
pub(super) struct Slot<'m> {
    pub(super) cache: CellSlot<'m, CacheCells>,
    /// What each CPU keeps of it.
    pub(super) cpus: CellsSlot<'m, CpuSlab>,
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
    pub(super) slots: [Slot<'m>; MAX_CACHES],
    /// The main window of each node.
    windows: [Window<'m>; MAX_NODES],
    /// Most of the descriptors of its pages.
    maps: [Stretch<'m>; MAX_NODES],
    nr_nodes: AtomicU32,
    /// Whether the layer is up (`slab_state`).
    up: AtomicU32,
    lock: AtomicU32,
    /// How many caches have come.
    pub(super) sequence: AtomicU64,
    /// No number from here on is in use.
    pub(super) nr_ids: AtomicU32,
    /// The numbers of kmalloc's caches.
    pub(super) kmalloc: [[AtomicU16; NR_KMALLOC_INDICES]; KMALLOC_ROWS],
    /// Whether slabs wait for a grace period to be over.
    pub(super) waiting: AtomicU32,
    /// Pages that kmalloc has given out whole, by node.
    large: [AtomicU64; MAX_NODES],
    /// What CPUs have near; the last is for all others.
    near: [NearCpu<'m>; NEAR_CPUS + 1],
    /// What reclaim has put off.
    deferred: Deferred,
    /// What debugging has for all caches.
    pub(super) debug: DebugState,
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
        for (near, local) in self.near.iter_mut().take(NEAR_CPUS).zip(locals) {
            near.open(local);
        }
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
    pub(super) fn nr_nodes(&self) -> usize {
        self.nr_nodes.load(Relaxed) as usize
    }

    /// The window of a node that most of its memory is in.
    #[inline]
    pub(super) fn window(&self, nid: NodeId) -> Option<&Window<'m>> {
        self.windows.get(nid.index()?)
    }

    /// The main window of this number.
    #[inline(always)]
    pub(super) fn window_at(&self, number: usize) -> Option<&Window<'m>> {
        self.windows.get(number)
    }

    /// Those of the first two nodes; of no memory where there is no such node.
    #[inline(always)]
    pub(super) fn first_windows(&self) -> [&Window<'m>; 2] {
        let [first, second, ..] = &self.windows;
        [first, second]
    }

    /// Most of the descriptors of the pages that are in it.
    #[inline]
    pub(super) fn map(&self, nid: NodeId) -> Option<&Stretch<'m>> {
        self.maps.get(nid.index()?)
    }

    /// The windows of all nodes.
    pub(super) fn windows(&self) -> impl Iterator<Item = &Window<'m>> {
        self.windows.iter().take(self.nr_nodes())
    }

    /// Whether a window shows all of `range`.
    pub(super) fn window_of(&self, range: PhysRange) -> Option<&Window<'m>> {
        self.windows().find(|window| {
            let seen = window.range();
            seen.start <= range.start && range.end <= seen.end
        })
    }

    /// Pages that kmalloc has given out whole, on a node or for none on all.
    pub(super) fn large_pages(&self, nid: NodeId) -> Pages {
        let nodes = self.large.iter().enumerate();
        let wanted = nodes.filter(|(node, _)| nid == NodeId::NONE || nid.index() == Some(*node));
        wanted.map(|(_, pages)| Pages(pages.load(Relaxed))).sum()
    }

    /// kmalloc has given such a block out.
    pub(super) fn note_large(&self, nid: NodeId, order: PageOrder) {
        if let Some(pages) = nid.index().and_then(|nid| self.large.get(nid)) {
            pages.fetch_add(order.pages().0, Relaxed);
        }
    }

    /// It has come back.
    pub(super) fn note_large_gone(&self, nid: NodeId, order: PageOrder) {
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
    pub(super) fn set_up(&self, up: bool) {
        self.up.store(up.into(), Release);
    }

    /// Where the cache of this number is.
    #[inline]
    pub(super) fn slot(&self, id: CacheId) -> &Slot<'m> {
        &self.slots[id.index()]
    }

    /// Says what each CPU keeps of a cache, an empty slice for nothing; and near,
    /// if it is open.
    pub(super) fn set_cpus(&self, id: CacheId, cpus: &'m [CpuSlab], open: bool) {
        self.slot(id).cpus.set(cpus);
        for cpu in 0..NEAR_CPUS {
            self.set_near(id, cpu, cpus.get(cpu).filter(|_| open));
        }
    }

    /// Has a cache's magazine of a CPU near, or not.
    pub(super) fn set_near(&self, id: CacheId, cpu: usize, to: Option<&'m CpuSlab>) {
        let near = self.near.get(..NEAR_CPUS).and_then(|near| near.get(cpu));
        if let Some(near) = near {
            near.set(id, to);
        }
    }

    /// What each CPU has near.
    #[inline(always)]
    pub(super) fn near(&self) -> &[NearCpu<'m>] {
        &self.near
    }

    /// The cache of this number.
    pub(super) fn cache(&self, id: CacheId) -> Result<&'m CacheCells> {
        self.slot(id).cache.get().ok_or(Error::NoSuchCache)
    }

    /// All caches, in the order of the numbers.
    pub(super) fn caches(&self) -> impl Iterator<Item = (CacheId, &'m CacheCells)> + '_ {
        let nr_ids = self.nr_ids.load(Relaxed) as u16;
        let ids = (1..nr_ids).filter_map(CacheId::new);
        ids.filter_map(|id| Some((id, self.slot(id).cache.get()?)))
    }

    /// Waits for the layer's lock. The caller may sleep, and is not pinned.
    pub(super) fn lock<P: Platform>(&self, platform: &P) -> TableLock<'_> {
        loop {
            match self.try_lock() {
                Some(lock) => return lock,
                None => platform.relax(),
            }
        }
    }

    /// The lock, if it is free.
    pub(super) fn try_lock(&self) -> Option<TableLock<'_>> {
        let taken = self.lock.compare_exchange(0, 1, Acquire, Relaxed);
        // Made only then: one that is dropped frees the lock.
        taken.is_ok().then(|| TableLock(&self.lock))
    }
}

/// The layer's lock is held while this lives (`slab_mutex`).
#[must_use = "the lock is free again at once"]
pub(super) struct TableLock<'t>(&'t AtomicU32);

impl Drop for TableLock<'_> {
    fn drop(&mut self) {
        self.0.store(0, Release);
    }
}
