// SPDX-License-Identifier: GPL-2.0

//! The free blocks of a zone, by order (`struct free_area`).
//!
//! ```text
//! order    FreeAreas (under the zone's lock)          FreeCounts (read by all)
//!   0      head -> page -> page -> tail               nr_free[0]  = 2
//!   1      (empty)                                    nr_free[1]  = 0
//!   ...
//!  10      head -> page -> page -> page -> tail       nr_free[10] = 3
//!                                                     free_pages  = 3074
//! ```
//!
//! The lists and their counts live apart, because their readers differ: the
//! lists are touched by the holder of the zone's lock alone, the counts are
//! also read without it, by every watermark check and every report, as Linux
//! reads `nr_free` and `NR_FREE_PAGES`. Only the holder of the lock writes
//! either, so a count needs no atomic addition.
//!
//! One list for each order: the lists by migrate type will stand in the same
//! place, inside `FreeArea`.

use super::list::PageList;
use super::MemMap;
use crate::page::PageDescriptor;
use crate::page::PageState;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::NR_PAGE_ORDERS;
use crate::phys::PAGEBLOCK_ORDER;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// The free blocks of one order.
#[derive(Debug)]
struct FreeArea {
    free_list: PageList,
}

/// The free blocks of one zone.
#[derive(Debug)]
pub struct FreeAreas {
    areas: [FreeArea; NR_PAGE_ORDERS],
}

impl FreeAreas {
    /// No free block.
    pub const fn new() -> Self {
        Self {
            areas: [const {
                FreeArea {
                    free_list: PageList::NEW,
                }
            }; NR_PAGE_ORDERS],
        }
    }

    /// The list of free blocks of `order`.
    #[inline]
    pub fn list(&self, order: PageOrder) -> &PageList {
        // The type's invariant keeps the index in bounds; `min` tells the
        // compiler, so that no panic is left in the code.
        &self.areas[order.index().min(NR_PAGE_ORDERS - 1)].free_list
    }

    #[inline]
    fn list_mut(&mut self, order: PageOrder) -> &mut PageList {
        &mut self.areas[order.index().min(NR_PAGE_ORDERS - 1)].free_list
    }

    /// Makes `page` the first page of a free block of `order` and puts it on
    /// the list (`set_buddy_order` and `__add_to_free_list`). The caller
    /// accounts the pages.
    #[inline]
    pub(super) fn add(
        &mut self,
        counts: &FreeCounts,
        map: &impl MemMap,
        pfn: Pfn,
        page: &PageDescriptor,
        order: PageOrder,
        place: Placement,
    ) {
        page.set_state(PageState::Buddy, order);
        let list = self.list_mut(order);
        match place {
            Placement::Head => list.push_head(map, pfn, page),
            Placement::Tail => list.push_tail(map, pfn, page),
        }
        counts.add_block(order);
    }

    /// Takes `page` off the list of `order` (`__del_page_from_free_list`).
    /// The caller sets the page's new state and accounts the pages.
    #[inline]
    pub(super) fn remove(
        &mut self,
        counts: &FreeCounts,
        map: &impl MemMap,
        page: &PageDescriptor,
        order: PageOrder,
    ) {
        self.list_mut(order).remove(map, page);
        counts.remove_block(order);
    }
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
    nr_free: [AtomicU64; NR_PAGE_ORDERS],
    free_pages: AtomicU64,
}

impl FreeCounts {
    /// Nothing is free.
    pub const fn new() -> Self {
        Self {
            nr_free: [const { AtomicU64::new(0) }; NR_PAGE_ORDERS],
            free_pages: AtomicU64::new(0),
        }
    }

    /// How many free blocks of `order` there are (`free_area[].nr_free`).
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

    /// How many pages are free (`NR_FREE_PAGES`).
    #[inline]
    pub fn free_pages(&self) -> Pages {
        Pages(self.free_pages.load(Relaxed))
    }

    /// How many pages are free in blocks of at least a page block
    /// (`NR_FREE_PAGES_BLOCKS`).
    pub fn free_pages_blocks(&self) -> Pages {
        PageOrder::all()
            .filter(|order| order.get() >= PAGEBLOCK_ORDER)
            .map(|order| Pages(self.nr_free(order) << order.get()))
            .sum()
    }

    /// Whether a block of at least `order` is free.
    #[inline]
    pub fn has_block(&self, order: PageOrder) -> bool {
        self.nr_free
            .iter()
            .skip(order.index())
            .any(|nr_free| nr_free.load(Relaxed) != 0)
    }

    /// Counts `pages` more as free. For the holder of the zone's lock.
    #[inline]
    pub(super) fn add_pages(&self, pages: Pages) {
        bump(&self.free_pages, pages.0);
    }

    /// Counts `pages` fewer as free. For the holder of the zone's lock.
    #[inline]
    pub(super) fn remove_pages(&self, pages: Pages) {
        bump(&self.free_pages, pages.0.wrapping_neg());
    }

    #[inline]
    fn add_block(&self, order: PageOrder) {
        bump(self.slot(order), 1);
    }

    #[inline]
    fn remove_block(&self, order: PageOrder) {
        bump(self.slot(order), 1u64.wrapping_neg());
    }

    #[inline]
    fn slot(&self, order: PageOrder) -> &AtomicU64 {
        &self.nr_free[order.index().min(NR_PAGE_ORDERS - 1)]
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
