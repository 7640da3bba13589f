// SPDX-License-Identifier: GPL-2.0

//! Whole page blocks: moving their free pages from one type's lists to
//! another's, and isolating them.
//!
//! ```text
//!               page block of 512 pages
//! |  free 2^5  | allocated | free 2^7 |   allocated   | free 2^3 |
//!       |                       |                          |
//!       +-----------------------+--------------------------+--> tails of the
//!                                                 lists of the new type
//! ```
//!
//! What is allocated follows when it is freed: a free looks at its page block.
//!
//! A page block that is to be isolated may lie inside a larger free block.
//! That is taken apart at its page blocks first.

use super::free_area::FreeBlock;
use super::free_area::Placement;
use super::migratetype::MigrateType;
use super::split_merge::LockedZone;
use super::watermark_ok::zone_watermark_ok;
use super::watermark_ok::AllocFlags;
use super::MemMap;
use crate::page::PageState;
use crate::page::ZoneType;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PAGEBLOCK_ORDER;
use crate::platform::Platform;
use crate::zone::Watermark;

impl<P: Platform, M: MemMap> LockedZone<'_, P, M> {
    /// The first page of the page block that `pfn` lies in, if all of it is in
    /// this zone's span (`prep_move_freepages_block`): the lock of another
    /// zone is not held.
    pub(super) fn whole_pageblock(&self, pfn: Pfn) -> Option<Pfn> {
        let start = pfn.align_down(PageOrder::PAGEBLOCK);
        let last = start + (PageOrder::PAGEBLOCK.pages() - Pages(1));
        let span = self.zone.span;
        (span.contains(start) && span.contains(last)).then_some(start)
    }

    /// How many pages of the page block at `start` are free, and how many are
    /// allocated and could be moved (the counts of
    /// `prep_move_freepages_block`).
    pub(super) fn count_free_and_movable(&self, start: Pfn) -> (Pages, Pages) {
        let end = start + PageOrder::PAGEBLOCK.pages();
        let (mut free, mut movable) = (Pages::ZERO, Pages::ZERO);
        let mut pfn = start;
        while pfn < end {
            let mut step = Pages(1);
            if let Some(page) = self.map.page(pfn) {
                match page.state_and_order() {
                    (PageState::Buddy, order) => {
                        step = order.pages();
                        free += step;
                    }
                    (PageState::Allocated, order) if page.is_movable() => {
                        step = Pages(order.pages().0.min((end - pfn).0));
                        movable += step;
                    }
                    _ => {}
                }
            }
            pfn = pfn + step;
        }
        (free, movable)
    }

    /// Moves the free blocks of the page block at `start` to the tails of
    /// another type's lists, lowest first, and says how many pages that were
    /// (`__move_freepages_block`). The page block's own type is the caller's.
    pub(super) fn move_free_pages(
        &mut self,
        start: Pfn,
        from: MigrateType,
        to: MigrateType,
    ) -> Pages {
        let end = start + PageOrder::PAGEBLOCK.pages();
        let mut moved = Pages::ZERO;
        let mut pfn = start;
        while pfn < end {
            let mut step = Pages(1);
            if let Some((PageState::Buddy, order)) =
                self.map.page(pfn).map(|page| page.state_and_order())
            {
                self.move_to_free_list(pfn, order, from, to);
                step = order.pages();
                moved += step;
            }
            pfn = pfn + step;
        }
        moved
    }

    /// Moves one free block to the tail of another type's list
    /// (`move_to_free_list`).
    pub(super) fn move_to_free_list(
        &mut self,
        pfn: Pfn,
        order: PageOrder,
        from: MigrateType,
        to: MigrateType,
    ) {
        let Some(page) = self.map.page(pfn) else {
            return;
        };
        self.del(page, order, from);
        let block = FreeBlock {
            pfn,
            page,
            order,
            mt: to,
        };
        self.areas
            .add(self.counts(), self.map, block, Placement::Tail);
        self.counts().add_pages(order.pages(), to);
    }

    /// Moves the free pages of the page block around `pfn` and gives it the new
    /// type; `None`, and nothing is done, where it reaches out of the zone
    /// (`move_freepages_block`).
    pub(super) fn move_freepages_block(
        &mut self,
        pfn: Pfn,
        from: MigrateType,
        to: MigrateType,
    ) -> Option<Pages> {
        let start = self.whole_pageblock(pfn)?;
        let moved = self.move_free_pages(start, from, to);
        self.set_migratetype(start, to);
        Some(moved)
    }

    /// Isolates the page block around `pfn` or ends that, and moves its free
    /// pages (`__move_freepages_block_isolate`). Whether anything was done.
    pub(super) fn move_freepages_isolate(&mut self, pfn: Pfn, isolate: bool) -> bool {
        let Some(block) = self.map.pageblock(pfn) else {
            return false;
        };
        if block.is_isolated() == isolate {
            return false;
        }
        let Some(start) = self.whole_pageblock(pfn) else {
            return false;
        };
        if let Some((head, order)) = self.find_large_buddy(start) {
            if order > PageOrder::PAGEBLOCK {
                if let Some(page) = self.map.page(head) {
                    self.del(page, order, self.migratetype(head));
                    block.set_isolated(isolate);
                    self.split_large_buddy(head, page, order, None);
                }
                return true;
            }
        }
        let (from, to) = match isolate {
            true => (block.base_migratetype(), MigrateType::Isolate),
            false => (MigrateType::Isolate, block.base_migratetype()),
        };
        self.move_free_pages(start, from, to);
        block.set_isolated(isolate);
        true
    }

    /// Takes the free block of `order` at `pfn` off its list for somebody who
    /// keeps it apart, unless the zone would fall below its min watermark
    /// (`__isolate_free_page`). A page block of which so at least a half is used
    /// becomes one for movable pages.
    pub(super) fn isolate_free_page(&mut self, pfn: Pfn, order: PageOrder) -> bool {
        let Some(page) = self.map.page(pfn) else {
            return false;
        };
        let mt = self.migratetype(pfn);
        if mt != MigrateType::Isolate {
            let mark = self.zone.watermark(Watermark::Min) + order.pages();
            let reserve = self.zone.lowmem_reserve(ZoneType::Dma);
            let zero = PageOrder::ZERO;
            if !zone_watermark_ok(self.counts(), zero, mark, reserve, AllocFlags::CMA) {
                return false;
            }
        }
        self.del(page, order, mt);
        page.set_state(PageState::Pageset, order);
        if order.get() >= PAGEBLOCK_ORDER - 1 {
            let end = pfn + (order.pages() - Pages(1));
            let mut block = pfn;
            while block < end {
                let mt = self.migratetype(block);
                if mt.is_mergeable() {
                    self.move_freepages_block(block, mt, MigrateType::Movable);
                }
                block = block + PageOrder::PAGEBLOCK.pages();
            }
        }
        true
    }

    /// The free block that `start`, a page block's first page, lies in
    /// (`find_large_buddy`).
    pub(super) fn find_large_buddy(&self, start: Pfn) -> Option<(Pfn, PageOrder)> {
        PageOrder::all()
            .filter(|order| order.get() == 0 || *order >= PageOrder::PAGEBLOCK)
            .find_map(|order| {
                let head = start.align_down(order);
                let page = self.map.page(head)?;
                let (state, found) = page.state_and_order();
                let reaches = state == PageState::Buddy && start < head + found.pages();
                reaches.then_some((head, found))
            })
    }
}
