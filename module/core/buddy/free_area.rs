// SPDX-License-Identifier: GPL-2.0

//! The free blocks of a zone, by order (`struct free_area`).
//!
//! ```text
//! order    FreeAreas (under the zone's lock)          FreeCounts (read by all)
//!   0      Unmovable    page -> page                  nr_free[0]  = 3
//!          Movable      page                          free_pages  = 3075
//!          Reclaimable  (empty)                       orders by type:
//!   ...                                                 Unmovable   bit 0
//!  10      Movable      page -> page -> page            Movable     bits 0, 10
//!                                                     nr_free[10] = 3
//! ```
//!
//! The lists and their counts live apart, because their readers differ: the
//! lists are touched by the holder of the zone's lock alone, the counts are
//! also read without it, by every watermark check and every report, as Linux
//! reads `nr_free` and `NR_FREE_PAGES`. Only the holder of the lock writes
//! either, so a count needs no atomic addition. Which lists are not empty is
//! kept as a bit for each order, so that the smallest block that fits is found
//! in one step instead of one for each order.

use super::list::PageList;
use super::migratetype::MigrateType;
use super::migratetype::MIGRATE_PCPTYPES;
use super::migratetype::MIGRATE_TYPES;
use super::MemMap;
use crate::page::PageDescriptor;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::NR_PAGE_ORDERS;
use crate::phys::PAGEBLOCK_ORDER;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// How many lists an order has room for, and how many orders there is room for:
/// powers of two, so that an index needs no more than a mask.
const LISTS: usize = MIGRATE_TYPES.next_power_of_two();
const ORDERS: usize = NR_PAGE_ORDERS.next_power_of_two();

/// The free blocks of one zone (`struct free_area`): a list for each order and
/// migrate type.
#[derive(Debug)]
pub struct FreeAreas {
    lists: [PageList; ORDERS * LISTS],
}

/// The list of an order and a type.
#[inline]
const fn list_index(order: PageOrder, mt: usize) -> usize {
    (order.index() & (ORDERS - 1)) * LISTS + (mt & (LISTS - 1))
}

impl FreeAreas {
    /// No free block.
    pub const fn new() -> Self {
        Self {
            lists: [PageList::NEW; ORDERS * LISTS],
        }
    }

    /// The list of free blocks of `order` and type `mt`.
    #[inline]
    pub fn list(&self, order: PageOrder, mt: MigrateType) -> &PageList {
        &self.lists[list_index(order, mt.index())]
    }

    /// The same list, to be changed.
    #[inline]
    pub(super) fn list_mut(&mut self, order: PageOrder, mt: MigrateType) -> &mut PageList {
        self.list_at(order, mt.index())
    }

    #[inline]
    fn list_at(&mut self, order: PageOrder, mt: usize) -> &mut PageList {
        &mut self.lists[list_index(order, mt)]
    }

    /// Makes `block` a free block and puts it on its list (`set_buddy_order` and
    /// `__add_to_free_list`). The caller accounts the pages.
    #[inline(always)]
    pub(super) fn add(
        &mut self,
        counts: &FreeCounts,
        map: &impl MemMap,
        block: FreeBlock<'_>,
        place: Placement,
    ) {
        block.page.set_buddy(block.order, block.mt as u8);
        self.link(counts, map, block, place);
    }

    /// The same for a block that is a free one already.
    #[inline(always)]
    pub(super) fn link(
        &mut self,
        counts: &FreeCounts,
        map: &impl MemMap,
        block: FreeBlock<'_>,
        place: Placement,
    ) {
        let FreeBlock {
            pfn,
            page,
            order,
            mt,
        } = block;
        let list = self.list_mut(order, mt);
        let is_only = match place {
            Placement::Head => list.link_head(map, pfn, page),
            Placement::Tail => list.link_tail(map, pfn, page),
        };
        if is_only {
            counts.set_order(order, mt.index());
        }
        counts.add_block(order, mt);
    }

    /// Takes a block off its list (`__del_page_from_free_list`). The caller
    /// sets the page's new state and accounts the pages as those of `mt`.
    ///
    /// The block knows its list, which can be another than that of `mt`: where
    /// mobility is not looked at, a page block's type may change under it.
    #[inline(always)]
    pub(super) fn remove(
        &mut self,
        counts: &FreeCounts,
        map: &impl MemMap,
        page: &PageDescriptor,
        order: PageOrder,
        mt: MigrateType,
    ) {
        let on = usize::from(page.buddy_list());
        let list = self.list_at(order, on);
        list.remove(map, page);
        if list.is_empty() {
            counts.clear_order(order, on);
        }
        counts.remove_block(order, mt);
    }
}

impl FreeAreas {
    /// Takes the first block of a list off it, `page` being its descriptor. The
    /// caller sets the page's new state and accounts the pages.
    #[inline(always)]
    pub(super) fn remove_first(
        &mut self,
        counts: &FreeCounts,
        map: &impl MemMap,
        page: &PageDescriptor,
        order: PageOrder,
        mt: MigrateType,
    ) {
        if self.list_at(order, mt.index()).remove_first(map, page) {
            counts.clear_order(order, mt.index());
        }
        counts.remove_block(order, mt);
    }
}

/// A block that is to become, or is, a free one.
pub(super) struct FreeBlock<'a> {
    /// Its first page.
    pub(super) pfn: Pfn,
    /// The descriptor of that.
    pub(super) page: &'a PageDescriptor,
    /// log2 of its pages.
    pub(super) order: PageOrder,
    /// On which list.
    pub(super) mt: MigrateType,
}

impl Default for FreeAreas {
    fn default() -> Self {
        Self::new()
    }
}

/// Where on its list a block is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    /// It will be the next to be given out.
    Head,
    /// It will be the last to be given out.
    Tail,
}

/// How much of a zone is free. Anybody may read it, without the lock; a reader
/// that needs one consistent picture takes the lock.
#[derive(Debug)]
pub struct FreeCounts {
    free_pages: AtomicU64,
    free_cma: AtomicU64,
    free_highatomic: AtomicU64,
    free_pages_blocks: AtomicU64,
    /// For each type, a bit for each order whose list is not empty.
    orders: [AtomicU32; LISTS],
    nr_free: [AtomicU64; ORDERS],
}

impl FreeCounts {
    /// Nothing is free.
    pub const fn new() -> Self {
        Self {
            free_pages: AtomicU64::new(0),
            free_cma: AtomicU64::new(0),
            free_highatomic: AtomicU64::new(0),
            free_pages_blocks: AtomicU64::new(0),
            orders: [const { AtomicU32::new(0) }; LISTS],
            nr_free: [const { AtomicU64::new(0) }; ORDERS],
        }
    }

    /// How many free blocks of `order` there are (`free_area[].nr_free`), also
    /// isolated ones.
    #[inline]
    pub fn nr_free(&self, order: PageOrder) -> u64 {
        self.slot(order).load(Relaxed)
    }

    /// The free blocks of every order, smallest first: a line of
    /// `/proc/buddyinfo`.
    pub fn blocks(&self) -> [u64; NR_PAGE_ORDERS] {
        let mut blocks = [0; NR_PAGE_ORDERS];
        for (count, nr_free) in blocks.iter_mut().zip(&self.nr_free) {
            *count = nr_free.load(Relaxed);
        }
        blocks
    }

    /// How many pages are free and not isolated (`NR_FREE_PAGES`).
    #[inline]
    pub fn free_pages(&self) -> Pages {
        Pages(self.free_pages.load(Relaxed))
    }

    /// How many of them are in CMA page blocks (`NR_FREE_CMA_PAGES`).
    #[inline]
    pub fn free_cma(&self) -> Pages {
        Pages(self.free_cma.load(Relaxed))
    }

    /// How many of them are kept for urgent requests (`nr_free_highatomic`).
    #[inline]
    pub fn free_highatomic(&self) -> Pages {
        Pages(self.free_highatomic.load(Relaxed))
    }

    /// How many pages are free, not isolated, and in blocks of at least a page
    /// block (`NR_FREE_PAGES_BLOCKS`).
    pub fn free_pages_blocks(&self) -> Pages {
        Pages(self.free_pages_blocks.load(Relaxed))
    }

    /// Whether a block of at least `order` is free, of a type that any request
    /// may take or fall back to, or of CMA or the urgent requests' if these are
    /// allowed (the loop at the end of `__zone_watermark_ok`).
    #[inline]
    pub fn has_block(&self, order: PageOrder, cma: bool, highatomic: bool) -> bool {
        let mut orders = 0;
        for mask in self.orders.iter().take(MIGRATE_PCPTYPES) {
            orders |= mask.load(Relaxed);
        }
        if cma {
            orders |= self.orders(MigrateType::Cma);
        }
        if highatomic {
            orders |= self.orders(MigrateType::HighAtomic);
        }
        orders >> (order.get() & 31) != 0
    }

    /// A bit for each order that has free blocks of type `mt`.
    #[inline]
    pub(super) fn orders(&self, mt: MigrateType) -> u32 {
        self.orders[mt.index() & (LISTS - 1)].load(Relaxed)
    }

    /// The smallest order from `order` on that has free blocks of type `mt`.
    #[inline]
    pub(super) fn smallest_from(&self, order: PageOrder, mt: MigrateType) -> Option<PageOrder> {
        let orders = self.orders(mt) & (u32::MAX << (order.get() & 31));
        PageOrder::new(orders.trailing_zeros())
    }

    /// Counts `pages` more of type `mt` as free (`account_freepages`). For the
    /// holder of the zone's lock.
    #[inline]
    pub(super) fn add_pages(&self, pages: Pages, mt: MigrateType) {
        self.account(pages.0, mt);
    }

    /// Counts so many pages as free, where those that have gone were of a type
    /// that can become another. For the holder of the zone's lock.
    #[inline(always)]
    pub(super) fn set_free_pages(&self, pages: u64) {
        self.free_pages.store(pages, Relaxed);
    }

    /// Counts `pages` fewer of type `mt` as free (`account_freepages`). For the
    /// holder of the zone's lock.
    #[inline]
    pub(super) fn remove_pages(&self, pages: Pages, mt: MigrateType) {
        self.account(pages.0.wrapping_neg(), mt);
    }

    #[inline]
    fn account(&self, by: u64, mt: MigrateType) {
        if mt.is_mergeable() {
            bump(&self.free_pages, by);
        } else {
            self.account_special(by, mt);
        }
    }

    #[cold]
    fn account_special(&self, by: u64, mt: MigrateType) {
        match mt {
            MigrateType::Isolate => return,
            MigrateType::Cma => bump(&self.free_cma, by),
            MigrateType::HighAtomic => bump(&self.free_highatomic, by),
            _ => {}
        }
        bump(&self.free_pages, by);
    }

    /// Counts the upper half of a block that was split. What concerns all halves
    /// is for [`FreeCounts::note_halves`].
    #[inline]
    pub(super) fn note_half(&self, order: PageOrder, mt: MigrateType) {
        bump(self.slot(order), 1);
        if order.get() >= PAGEBLOCK_ORDER && mt != MigrateType::Isolate {
            bump(&self.free_pages_blocks, order.pages().0);
        }
    }

    /// Notes that there are free blocks of all orders from `low` up to below
    /// `high`.
    #[inline]
    pub(super) fn note_halves(&self, low: PageOrder, high: PageOrder, mt: MigrateType) {
        let below = |order: PageOrder| (1u32 << (order.get() & 31)).wrapping_sub(1);
        let halves = below(high) & !below(low);
        let mask = &self.orders[mt.index() & (LISTS - 1)];
        mask.store(mask.load(Relaxed) | halves, Relaxed);
    }

    #[inline]
    fn add_block(&self, order: PageOrder, mt: MigrateType) {
        bump(self.slot(order), 1);
        if order.get() >= PAGEBLOCK_ORDER && mt != MigrateType::Isolate {
            bump(&self.free_pages_blocks, order.pages().0);
        }
    }

    #[inline]
    fn remove_block(&self, order: PageOrder, mt: MigrateType) {
        bump(self.slot(order), 1u64.wrapping_neg());
        if order.get() >= PAGEBLOCK_ORDER && mt != MigrateType::Isolate {
            bump(&self.free_pages_blocks, order.pages().0.wrapping_neg());
        }
    }

    #[inline]
    fn set_order(&self, order: PageOrder, list: usize) {
        let mask = &self.orders[list & (LISTS - 1)];
        mask.store(mask.load(Relaxed) | (1 << (order.get() & 31)), Relaxed);
    }

    #[inline]
    fn clear_order(&self, order: PageOrder, list: usize) {
        let mask = &self.orders[list & (LISTS - 1)];
        mask.store(mask.load(Relaxed) & !(1 << (order.get() & 31)), Relaxed);
    }

    #[inline]
    fn slot(&self, order: PageOrder) -> &AtomicU64 {
        &self.nr_free[order.index() & (ORDERS - 1)]
    }
}

impl Default for FreeCounts {
    fn default() -> Self {
        Self::new()
    }
}

/// Adds without a locked instruction: the caller is the only writer.
#[inline]
fn bump(count: &AtomicU64, by: u64) {
    count.store(count.load(Relaxed).wrapping_add(by), Relaxed);
}
