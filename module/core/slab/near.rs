// SPDX-License-Identifier: GPL-2.0

//! What a CPU finds with one step: where the magazines of the first caches are,
//! kmalloc's among them, and the descriptors of the pages that most objects lie
//! in.
//!
//! ```text
//! pin --> NearCpu of the running CPU
//!           map, start    descriptors of its node's main zone
//!           own           what the keys of slab pages on that node have in common
//!           far           descriptors of nearly all of another node's pages
//!           magazines     [ - | 1 kmem_cache_node | 2 kmem_cache | 3 kmalloc-96 | ... 255 ]
//!                           by the cache's number; one that keeps nothing where
//!                           there is no such cache
//! ```
//!
//! It is a memory of where things are, no more: what a CPU has not got here, it
//! finds by the table. All CPUs beyond the first ones have one between them, in
//! which nothing is near.

use super::kmalloc_info::KmallocIndex;
use super::kmalloc_info::KmallocType;
use super::magazine::CpuSlab;
use super::object::CacheId;
use super::registry::CACHE_CACHE;
use crate::buddy::CpuLocal;
use crate::page::PageDescriptor;
use crate::page::ZoneId;
use crate::phys::CellRef;
use crate::phys::NodeId;
use crate::phys::Pfn;
use crate::sparse::Stretch;

/// Caches with numbers below this are near: those that a byte can tell apart.
const NEAR_CACHES: usize = 1 << u8::BITS;
/// So many CPUs have it; those beyond take the longer way.
pub(super) const NEAR_CPUS: usize = 64;

/// A magazine that keeps nothing, for all caches that have none.
static CLOSED: CpuSlab = CpuSlab::closed();

/// What one CPU has near.
#[repr(C, align(64))]
pub(super) struct NearCpu<'m> {
    map: &'m [PageDescriptor],
    start: u64,
    /// [`PageDescriptor::slab_key_of`] its node, without a cache's number.
    own: u32,
    far: [Stretch<'m>; 2],
    magazines: [CellRef<'m, CpuSlab>; NEAR_CACHES],
}

/// Where a cache's magazines are near.
#[derive(Clone, Copy)]
pub(super) struct NearIndex(u8);

impl NearIndex {
    /// Of this cache. Those that are not near have a place between them in which
    /// there is never a magazine.
    pub(super) const fn of(id: CacheId) -> Self {
        match (id.get() as usize) < NEAR_CACHES {
            true => Self(id.get() as u8),
            false => Self(0),
        }
    }
}

impl<'m> NearCpu<'m> {
    /// Nothing.
    pub(super) const fn new() -> Self {
        Self {
            map: &[],
            start: 0,
            own: PageDescriptor::slab_key_of(NodeId(0), 0),
            far: [Stretch::EMPTY; 2],
            magazines: [const { CellRef::new(&CLOSED) }; NEAR_CACHES],
        }
    }

    /// With the same descriptors as the page allocator has near, and of the first other
    /// node those that `maps` has: its own piece, and what of it lies in a section that
    /// this node begins.
    pub(super) fn open(&mut self, local: &CpuLocal<'m>, maps: &[Stretch<'m>]) {
        let (nid, start, map) = local.near_map();
        (self.start, self.map) = (start, map);
        self.own = PageDescriptor::slab_key_of(nid, 0);
        let others = maps.iter().enumerate();
        let mut others = others.filter(|(node, _)| nid.index() != Some(*node));
        let other = others.find(|(_, map)| !map.map.is_empty());
        let its = other.map_or(Stretch::EMPTY, |(_, map)| *map);
        let own = nid.index().and_then(|nid| maps.get(nid));
        self.far = [its, *own.unwrap_or(&Stretch::EMPTY)];
    }

    /// The node whose pages are near, if any are. It is that of the objects that its
    /// magazines keep.
    pub(super) fn nid(&self) -> Option<NodeId> {
        let nid = ZoneId::of_slab_key(self.own).nid();
        (!self.map.is_empty()).then_some(nid)
    }

    /// The descriptor of a page, if it is near.
    #[inline(always)]
    pub(super) fn page(&self, pfn: Pfn) -> Option<&'m PageDescriptor> {
        self.map.get(pfn.0.wrapping_sub(self.start) as usize)
    }

    /// The descriptor of a page that is one of nearly all of another node's, which of two
    /// nodes is the other; or any.
    #[inline(always)]
    pub(super) fn far_page(&self, pfn: Pfn) -> Option<&'m PageDescriptor> {
        let page = |map: &Stretch<'m>| map.map.get(pfn.0.wrapping_sub(map.start.0) as usize);
        let [its, own] = &self.far;
        page(its).or_else(|| page(own))
    }

    /// The magazine of a cache.
    #[inline(always)]
    pub(super) fn magazine(&self, index: NearIndex) -> &'m CpuSlab {
        self.magazines[usize::from(index.0)].get()
    }

    /// The magazine of the cache whose number is in a slab page's key, if that is of the
    /// node and near ([`NearCpu::has`]), or some other. Where there is no such cache, or
    /// its magazine was taken from the CPU, there is no room in it.
    #[inline(always)]
    pub(super) fn magazine_of_key(&self, key: u32) -> &'m CpuSlab {
        self.magazine(NearIndex(key as u8))
    }

    /// Whether a slab page with this key is of the node, and its cache has a number that
    /// is near.
    #[inline(always)]
    pub(super) fn has(&self, key: u32) -> bool {
        key & !(NEAR_CACHES as u32).wrapping_sub(1) == self.own
    }

    /// The magazine of one of kmalloc's caches.
    #[inline(always)]
    pub(super) fn kmalloc(&self, row: KmallocType, index: KmallocIndex) -> &'m CpuSlab {
        self.magazine(NearIndex(kmalloc_number(row, index) as u8))
    }

    /// Notes where the magazine of a cache is, or that it has none.
    pub(super) fn set(&self, id: CacheId, to: Option<&'m CpuSlab>) {
        if let Some(magazine) = self.magazines.get(usize::from(id.get())) {
            magazine.set(to.unwrap_or(&CLOSED));
        }
    }
}

/// The number that the layer gives to a cache of kmalloc's when it comes up: row
/// by row, behind its own two.
#[inline(always)]
pub(super) const fn kmalloc_number(row: KmallocType, index: KmallocIndex) -> usize {
    CACHE_CACHE as usize + row.index() * 13 + index.index()
}

// All of them are near.
const _: () = assert!(CACHE_CACHE as usize + 4 * 13 + 13 < NEAR_CACHES);
