// SPDX-License-Identifier: GPL-2.0

//! The invariants of the areas, checked one by one.
//!
//! Each area is looked at twice with its lock held: along its lists, and along
//! the pages of its span. Both must tell the same story:
//!
//! ```text
//! lists   links go there and back, counts are right, blocks are aligned, lie
//!         in the area, say so themselves, and could not have been merged
//! span    blocks don't overlap, all pages inside are Tail, each free block is
//!         on a list, free and allocated pages are all that the area has had
//! zone    what its areas have had is what it manages
//! ```

use super::allocator::CosmosSystem;
use super::area::MemArea;
use super::lists::DivideMerge;
use crate::buddy::flaw_of_held;
use crate::buddy::MemMap;
use crate::buddy::Violation;
use crate::buddy::ZoneTable;
use crate::page::PageDescriptor;
use crate::page::PageState;
use crate::page::ZoneId;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::NR_PAGE_ORDERS;
use crate::platform::Lock;
use crate::platform::Platform;

impl<P, M, Z> CosmosSystem<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// Checks all areas, one at a time.
    pub(super) fn validate_areas(&self) -> Result<(), Violation> {
        let mut before = None;
        for area in self.areas.iter() {
            let lists = area.lists.lock();
            AreaCheck {
                map: self.map,
                area,
                lists: &lists,
            }
            .check()?;
            drop(lists);
            // The areas of a zone follow one another.
            if before.replace(area.zone) != Some(area.zone) {
                self.check_zone(area.zone)?;
            }
        }
        Ok(())
    }

    /// Checks that the areas of a zone have had all that it manages.
    fn check_zone(&self, id: ZoneId) -> Result<(), Violation> {
        let areas = self.areas.of_zone(id);
        let had: Pages = areas.map(|area| area.lists.lock().max).sum();
        match self.zones.zone(id) {
            Some(zone) if zone.managed() == had => Ok(()),
            _ => Err(Violation {
                zone: id,
                pfn: None,
                what: "the areas have not had all that the zone manages",
            }),
        }
    }
}

/// One area under check, its lock held.
struct AreaCheck<'a, P: Platform, M> {
    map: &'a M,
    area: &'a MemArea<P>,
    lists: &'a DivideMerge,
}

impl<P: Platform, M: MemMap> AreaCheck<'_, P, M> {
    fn check(&self) -> Result<(), Violation> {
        for order in PageOrder::all() {
            self.check_list(order)?;
        }
        self.check_span()
    }

    fn fail<T>(&self, pfn: Option<Pfn>, what: &'static str) -> Result<T, Violation> {
        Err(Violation {
            zone: self.area.zone,
            pfn,
            what,
        })
    }

    /// Walks the list of blocks of `order`.
    fn check_list(&self, order: PageOrder) -> Result<(), Violation> {
        let list = self.lists.list(order);
        let mut found = 0u64;
        let mut before = None;
        for (pfn, page) in list.free.iter(self.map) {
            if page.prev() != before {
                return self.fail(Some(pfn), "a free block does not link back");
            }
            if found >= list.nr_free() {
                return self.fail(Some(pfn), "a list has more blocks than it counts");
            }
            self.check_free_block(pfn, page, order)?;
            found = found.wrapping_add(1);
            before = Some(pfn);
        }
        if found != list.nr_free() {
            return self.fail(before, "a list has fewer blocks than it counts");
        }
        if list.free.last() != before {
            return self.fail(before, "a list does not end at its tail");
        }
        Ok(())
    }

    fn check_free_block(
        &self,
        pfn: Pfn,
        page: &PageDescriptor,
        order: PageOrder,
    ) -> Result<(), Violation> {
        let at = Some(pfn);
        if !pfn.is_aligned(order) {
            return self.fail(at, "a free block is not aligned to its size");
        }
        let span = self.area.span;
        if pfn < span.start || pfn + order.pages() > span.end {
            return self.fail(at, "a free block reaches out of its area");
        }
        if !page.is_buddy(self.area.zone, order) {
            return self.fail(at, "the descriptor of a free block tells another story");
        }
        if page.count() != 0 {
            return self.fail(at, "a free block has references");
        }
        let neighbour = pfn.buddy(order);
        let is_free = |page: &PageDescriptor| page.is_buddy(self.area.zone, order);
        if order < PageOrder::MAX && self.map.page(neighbour).is_some_and(is_free) {
            return self.fail(at, "two free neighbours were not merged");
        }
        Ok(())
    }

    /// Walks the pages of the span, block by block.
    fn check_span(&self) -> Result<(), Violation> {
        let mut free = [0u64; NR_PAGE_ORDERS];
        let mut objects = [0u64; NR_PAGE_ORDERS];
        let mut pages = Pages::ZERO;
        let mut pfn = self.area.span.start;
        while pfn < self.area.span.end {
            let order = match self.map.page(pfn) {
                Some(page) if page.zone_id() == self.area.zone => match page.state_and_order() {
                    (PageState::Buddy, order) => {
                        count(&mut free, order);
                        count(&mut objects, order);
                        pages += order.pages();
                        self.check_inside(pfn, order)?;
                        order
                    }
                    (PageState::Allocated | PageState::Slab, order) => {
                        count(&mut objects, order);
                        pages += order.pages();
                        self.check_held(pfn, order)?;
                        order
                    }
                    (PageState::Tail | PageState::SlabTail, _) => {
                        return self.fail(Some(pfn), "a page is inside a block that is not there");
                    }
                    _ => PageOrder::ZERO,
                },
                _ => PageOrder::ZERO,
            };
            pfn = pfn + order.pages();
        }
        if free != self.lists.free_blocks() {
            return self.fail(None, "a free block is on no list");
        }
        let counted = self.lists.iter().map(|(_, list)| list.objects());
        if !counted.eq(objects) {
            return self.fail(None, "a list counts other blocks than there are");
        }
        if pages != self.lists.max {
            return self.fail(None, "free and allocated pages are not all of the area");
        }
        Ok(())
    }

    /// Checks an allocated block, or a slab.
    fn check_held(&self, head: Pfn, order: PageOrder) -> Result<(), Violation> {
        if !head.is_aligned(order) {
            return self.fail(Some(head), "a block is not aligned to its size");
        }
        match flaw_of_held(self.map, head, order) {
            None => Ok(()),
            Some((at, what)) => self.fail(Some(at), what),
        }
    }

    /// Checks the pages of a free block behind its first.
    fn check_inside(&self, head: Pfn, order: PageOrder) -> Result<(), Violation> {
        if !head.is_aligned(order) {
            return self.fail(Some(head), "a block is not aligned to its size");
        }
        for i in 1..order.pages().0 {
            let pfn = head + Pages(i);
            let ours = |page: &PageDescriptor| {
                page.state() == PageState::Tail && page.zone_id() == self.area.zone
            };
            if !self.map.page(pfn).is_some_and(ours) {
                return self.fail(Some(pfn), "two blocks overlap");
            }
        }
        Ok(())
    }
}

fn count(counts: &mut [u64; NR_PAGE_ORDERS], order: PageOrder) {
    if let Some(count) = counts.get_mut(order.index()) {
        *count = count.wrapping_add(1);
    }
}
