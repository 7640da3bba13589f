// SPDX-License-Identifier: GPL-2.0

//! The lists of an area (`memdivmer_t`): one per power of two, with the counts
//! of its blocks.
//!
//! ```text
//! pages   BlockList (bafhlst_t)
//!   1     free -> page -> page       objects 5 = 2 free + 3 given out
//!   2     free -> page               objects 1
//!   4     free                       objects 2 = 0 free + 2 given out
//!  ...
//! 1024    free -> page -> page       objects 2
//! ```
//!
//! What was put on a list last is taken from it first. All of it is behind the
//! area's lock.

use crate::buddy::MemMap;
use crate::buddy::PageList;
use crate::page::PageDescriptor;
use crate::page::PageState;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::NR_PAGE_ORDERS;

/// The blocks of one size (`bafhlst_t`).
#[derive(Debug)]
pub struct BlockList {
    pub(super) free: PageList,
    nr_free: u64,
    objects: u64,
    allocs: u64,
    frees: u64,
}

impl BlockList {
    const NEW: Self = Self {
        free: PageList::NEW,
        nr_free: 0,
        objects: 0,
        allocs: 0,
        frees: 0,
    };

    /// Free blocks of this size (`af_fobjnr`).
    pub fn nr_free(&self) -> u64 {
        self.nr_free
    }

    /// Blocks of this size, free or given out (`af_mobjnr`).
    pub fn objects(&self) -> u64 {
        self.objects
    }

    /// How many blocks of this size were given out so far (`af_alcindx`).
    pub fn allocs(&self) -> u64 {
        self.allocs
    }

    /// How many blocks of this size were given back so far (`af_freindx`).
    pub fn frees(&self) -> u64 {
        self.frees
    }
}

/// All lists of an area, and what has happened to its blocks (`memdivmer_t`).
#[derive(Debug)]
pub struct DivideMerge {
    lists: [BlockList; NR_PAGE_ORDERS],
    /// Pages that the area has had from memblock (`ma_maxpages`).
    pub(super) max: Pages,
    /// How often a block was halved (`dm_divnr`).
    pub(super) divisions: u64,
    /// How often two blocks became one (`dm_mernr`).
    pub(super) merges: u64,
}

impl DivideMerge {
    /// No block.
    pub const fn new() -> Self {
        Self {
            lists: [const { BlockList::NEW }; NR_PAGE_ORDERS],
            max: Pages::ZERO,
            divisions: 0,
            merges: 0,
        }
    }

    /// The list of blocks of `order`.
    #[inline]
    pub fn list(&self, order: PageOrder) -> &BlockList {
        // The type's invariant keeps the index in bounds; `min` tells the
        // compiler, so that no panic is left in the code.
        &self.lists[order.index().min(NR_PAGE_ORDERS - 1)]
    }

    #[inline]
    fn list_mut(&mut self, order: PageOrder) -> &mut BlockList {
        &mut self.lists[order.index().min(NR_PAGE_ORDERS - 1)]
    }

    /// The lists, smallest blocks first.
    pub fn iter(&self) -> impl Iterator<Item = (PageOrder, &BlockList)> {
        PageOrder::all().zip(&self.lists)
    }

    /// The free blocks by order: the area's part of a line of
    /// `/proc/buddyinfo`.
    pub fn free_blocks(&self) -> [u64; NR_PAGE_ORDERS] {
        let mut blocks = [0; NR_PAGE_ORDERS];
        for (count, list) in blocks.iter_mut().zip(&self.lists) {
            *count = list.nr_free;
        }
        blocks
    }

    /// Pages in free blocks (`ma_freepages`).
    pub fn free_pages(&self) -> Pages {
        self.iter()
            .map(|(order, list)| Pages(list.nr_free << order.get()))
            .sum()
    }

    /// The order of the smallest free block that has room for `order`
    /// (`onmpgs_retn_bafhlst`).
    #[inline]
    pub(super) fn smallest(&self, order: PageOrder) -> Option<PageOrder> {
        let mut lists = self.iter().skip(order.index());
        lists
            .find(|(_, list)| list.nr_free != 0)
            .map(|(order, _)| order)
    }

    /// Makes `page` the first page of a free block of `order` and puts it on
    /// its list (`mrdmb_add_msa_bafh`, `mpobf_add_msadsc`).
    #[inline]
    pub(super) fn put(
        &mut self,
        map: &impl MemMap,
        pfn: Pfn,
        page: &PageDescriptor,
        order: PageOrder,
    ) {
        page.set_state(PageState::Buddy, order);
        let list = self.list_mut(order);
        list.free.push_head(map, pfn, page);
        list.nr_free = list.nr_free.wrapping_add(1);
        list.objects = list.objects.wrapping_add(1);
    }

    /// Takes `page`, the first of a free block of `order`, off its list
    /// (`mm_retnmsaob_onbafhlst`). The caller sets the page's new state.
    #[inline]
    pub(super) fn take(&mut self, map: &impl MemMap, page: &PageDescriptor, order: PageOrder) {
        let list = self.list_mut(order);
        list.free.remove(map, page);
        list.nr_free = list.nr_free.wrapping_sub(1);
        list.objects = list.objects.wrapping_sub(1);
    }

    /// Makes `page`, which is on no list, the first of a block that somebody
    /// owns (`mm_divpages_opmsadsc`).
    #[inline]
    pub(super) fn give_out(&mut self, page: &PageDescriptor, order: PageOrder) {
        page.set_state(PageState::Allocated, order);
        page.set_count(1);
        let list = self.list_mut(order);
        list.objects = list.objects.wrapping_add(1);
        list.allocs = list.allocs.wrapping_add(1);
    }

    /// Takes the block that `page` is the first of back from its owner
    /// (`mm_merpages_opmsadsc`). The caller puts it on a list.
    #[inline]
    pub(super) fn take_back(&mut self, page: &PageDescriptor, order: PageOrder) {
        page.set_count(0);
        let list = self.list_mut(order);
        list.objects = list.objects.wrapping_sub(1);
        list.frees = list.frees.wrapping_add(1);
    }

    /// A block of `order` that somebody owns becomes blocks of order `to`: it
    /// counts as given back, and they as given out.
    pub(super) fn split(&mut self, order: PageOrder, to: PageOrder) {
        let pieces = order.pages().0.checked_shr(to.get().into()).unwrap_or(0);
        self.join(order);
        let list = self.list_mut(to);
        list.objects = list.objects.wrapping_add(pieces);
        list.allocs = list.allocs.wrapping_add(pieces);
        self.divisions = self.divisions.wrapping_add(pieces.wrapping_sub(1));
    }

    /// A block of `order` that somebody owns is one no more.
    pub(super) fn join(&mut self, order: PageOrder) {
        let list = self.list_mut(order);
        list.objects = list.objects.wrapping_sub(1);
        list.frees = list.frees.wrapping_add(1);
    }

    /// What was joined is a block of `order`, of `pieces` that there were.
    pub(super) fn joined(&mut self, order: PageOrder, pieces: u64) {
        let list = self.list_mut(order);
        list.objects = list.objects.wrapping_add(1);
        list.allocs = list.allocs.wrapping_add(1);
        self.merges = self.merges.wrapping_add(pieces.wrapping_sub(1));
    }
}

impl Default for DivideMerge {
    fn default() -> Self {
        Self::new()
    }
}
