// SPDX-License-Identifier: GPL-2.0

//! The slab layer of a running shadow, and how it finds its way about: from
//! numbers and addresses to caches, nodes and slabs.

use super::magazine::CpuSlab;
use super::object::CacheId;
use super::object::ObjAddr;
use super::page::Slab;
use super::state::CacheCells;
use super::state::NodeCells;
use super::state::Shape;
use super::state::SlabTable;
use crate::boot::Mm;
use crate::error::Error;
use crate::error::Result;
use crate::page::PageDescriptor;
use crate::page::PageState;
use crate::phys::Cells;
use crate::phys::NodeId;
use crate::phys::Pfn;
use crate::phys::PhysAddr;
use crate::phys::PhysRange;
use crate::phys::Window;
use crate::platform::Platform;
use core::mem;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// The slab layer: a view of the memory manager, made anew wherever it is needed
/// ([`Mm::slab`]). All of its state lives in pages and in the table.
pub struct SlabAllocator<'a, 'm, P: Platform> {
    pub(super) mm: &'a Mm<'m, P>,
}

impl<P: Platform> Clone for SlabAllocator<'_, '_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Platform> Copy for SlabAllocator<'_, '_, P> {}

impl<'a, 'm, P: Platform> SlabAllocator<'a, 'm, P> {
    /// The layer of this memory manager, which is to come up first
    /// ([`SlabAllocator::bring_up`]).
    pub(crate) const fn new(mm: &'a Mm<'m, P>) -> Self {
        Self { mm }
    }

    #[inline]
    pub(super) fn table(&self) -> &'m SlabTable<'m> {
        self.mm.slab
    }

    #[inline]
    pub(super) fn platform(&self) -> &'a P {
        &self.mm.platform
    }

    /// The cells at an address; `None` where there is no such memory, or
    /// something is placed.
    #[inline]
    pub(crate) fn cells<T: Cells>(&self, addr: u64) -> Option<&'m T> {
        let addr = PhysAddr(addr);
        let mut windows = self.table().windows();
        windows
            .find_map(|window| window.cells(addr))
            .or_else(|| self.mm.region.window(addr)?.cells(addr))
    }

    /// The cells at the start of a page, for those who look often: most pages lie in
    /// the main windows of the first two nodes.
    #[inline(always)]
    pub(crate) fn page_cells<T: Cells>(&self, pfn: Pfn) -> Option<&'m T> {
        let [first, second] = self.table().first_windows();
        let addr = pfn.addr();
        if let Some(cells) = first.cells(addr) {
            return Some(cells);
        }
        match second.cells(addr) {
            Some(cells) => Some(cells),
            None => self.far_cells(addr),
        }
    }

    #[cold]
    #[inline(never)]
    fn far_cells<T: Cells>(&self, addr: PhysAddr) -> Option<&'m T> {
        self.cells(addr.0)
    }

    /// The window that most of a node's memory is seen through.
    #[inline]
    pub(crate) fn window(&self, nid: NodeId) -> Option<&'m Window<'m>> {
        self.table().window(nid)
    }

    /// The number of the main window that an address is in; 0 also where it is in
    /// none.
    pub(crate) fn window_number(&self, addr: u64) -> usize {
        let is_in = |window: &Window<'_>| window.range().contains(PhysAddr(addr));
        self.table().windows().position(is_in).unwrap_or(0)
    }

    /// The main window of a number.
    #[inline(always)]
    pub(crate) fn window_at(&self, number: usize) -> Option<&'m Window<'m>> {
        self.table().window_at(number)
    }

    /// The cells that fill a range.
    pub(super) fn cell_slice<T: Cells>(&self, range: PhysRange) -> Option<&'m [T]> {
        match self.table().window_of(range) {
            Some(window) => window.slice(range),
            None => self.mm.region.window(range.start)?.slice(range),
        }
    }

    /// The words of a range that lies on this node; `None` also where it is not
    /// one piece of host memory.
    #[inline]
    pub(super) fn words(&self, nid: NodeId, range: PhysRange) -> Option<&'m [AtomicU64]> {
        let window = self.table().window(nid);
        match window.and_then(|window| window.slice(range)) {
            Some(words) => Some(words),
            None => self.other_words(range),
        }
    }

    #[cold]
    #[inline(never)]
    fn other_words(&self, range: PhysRange) -> Option<&'m [AtomicU64]> {
        self.mm.region.window(range.start)?.slice(range)
    }

    /// Where a cache notes where it has what it has on a node.
    #[inline]
    fn node_place(&self, cache: &CacheCells, nid: NodeId) -> Option<&'m AtomicU64> {
        let index = nid
            .index()
            .filter(|&index| index < self.table().nr_nodes())?;
        let behind = mem::size_of::<CacheCells>().wrapping_add(index.wrapping_mul(8));
        self.cells(cache.addr().wrapping_add(behind as u64))
    }

    /// Where a cache has what it has on a node.
    #[inline]
    pub(super) fn node_addr(&self, cache: &'m CacheCells, nid: NodeId) -> Option<u64> {
        match self.node_place(cache, nid)?.load(Relaxed) {
            0 => None,
            addr => Some(addr),
        }
    }

    /// What a cache has on a node.
    #[inline]
    pub(super) fn node(&self, cache: &'m CacheCells, nid: NodeId) -> Option<&'m NodeCells> {
        let addr = self.node_addr(cache, nid)?;
        let window = self.table().window(nid);
        match window.and_then(|window| window.cells(PhysAddr(addr))) {
            Some(node) => Some(node),
            None => self.cells(addr),
        }
    }

    /// What a cache has on the node whose objects this magazine keeps.
    #[inline]
    pub(super) fn node_of_cpu(
        &self,
        cache: &'m CacheCells,
        cpu: &CpuSlab,
    ) -> Option<&'m NodeCells> {
        let (nid, addr) = (cpu.nid(), cpu.node_addr());
        let window = self.table().window(nid).filter(|_| addr != 0);
        match window.and_then(|window| window.cells(PhysAddr(addr))) {
            Some(node) => Some(node),
            None => self.node(cache, nid),
        }
    }

    /// Notes where a cache has what it has on a node; 0 for nowhere.
    pub(super) fn set_node(&self, cache: &'m CacheCells, nid: NodeId, addr: u64) -> Option<()> {
        self.node_place(cache, nid)?.store(addr, Relaxed);
        Some(())
    }

    /// What a cache has on all nodes.
    pub(super) fn nodes(
        &self,
        cache: &'m CacheCells,
    ) -> impl Iterator<Item = &'m NodeCells> + use<'a, 'm, P> {
        let system = *self;
        let ids = (0..self.table().nr_nodes() as u32).filter_map(NodeId::new);
        ids.filter_map(move |nid| system.node(cache, nid))
    }

    /// What each CPU keeps of a cache; nothing where none keeps any.
    #[inline]
    pub(super) fn cpus(&self, id: CacheId) -> &'m [CpuSlab] {
        self.table().slot(id).cpus.get()
    }

    /// The descriptor of a page.
    #[inline]
    pub(super) fn page(&self, pfn: Pfn) -> Option<&'m PageDescriptor> {
        self.mm.sparse.page(pfn)
    }

    /// The slab whose first page is `pfn`, if it is one.
    #[inline]
    pub(super) fn slab(&self, shape: &Shape, pfn: Pfn) -> Option<Slab<'m>> {
        let page = self.page(pfn)?;
        if page.state() != PageState::Slab {
            return None;
        }
        let words = self.words(page.nid(), Slab::range(pfn, page))?;
        Some(Slab::new(pfn, page, words, shape))
    }

    /// The slab that an address of one of the cache's slabs lies in.
    #[inline]
    pub(super) fn slab_around(&self, shape: &Shape, object: ObjAddr) -> Option<Slab<'m>> {
        let pfn = object.pfn();
        let page = self.page(pfn)?;
        self.slab(shape, page.slab_head(pfn)?)
    }

    /// The slab and the index in it of an object that a cache's user says is one.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignPfn`] where there is no such page, [`Error::NotAnObject`]
    /// where it is part of no slab or no object begins there,
    /// [`Error::WrongCache`].
    pub(super) fn find_object(&self, shape: &Shape, object: ObjAddr) -> Result<(Slab<'m>, u32)> {
        let id = self.cache_of(object)?;
        if id.get() != shape.id {
            return Err(Error::WrongCache);
        }
        let slab = self.slab_around(shape, object).ok_or(Error::NotAnObject)?;
        let index = slab.index(shape, object.get()).ok_or(Error::NotAnObject)?;
        Ok((slab, index))
    }

    /// The cache whose slab an address lies in (`virt_to_cache`).
    ///
    /// # Errors
    ///
    /// [`Error::ForeignPfn`] and [`Error::NotAnObject`].
    pub fn cache_of(&self, object: ObjAddr) -> Result<CacheId> {
        let page = self.page(object.pfn()).ok_or(Error::ForeignPfn)?;
        match page.slab_cache() {
            Some(id) => CacheId::new(id).ok_or(Error::NotAnObject),
            None if page.state() == PageState::Hole => Err(Error::ForeignPfn),
            None => Err(Error::NotAnObject),
        }
    }

    /// The node of the running CPU, or the next best that has memory
    /// (`numa_mem_id`).
    pub(super) fn local_mem_node(&self) -> NodeId {
        let local = self.platform().local_node();
        self.mem_node(local)
    }

    /// The node whose memory is first in another's zonelist.
    pub(super) fn mem_node(&self, nid: NodeId) -> NodeId {
        let node = self
            .mm
            .nodes
            .get(nid)
            .or_else(|| self.mm.nodes.online().next());
        let first = node.and_then(|node| {
            let zonelist = node.zonelist(crate::zonelist::ZonelistKind::Fallback);
            zonelist.first(crate::page::ZoneType::Normal, None)
        });
        first.map_or(nid, |first| first.nid())
    }
}
