// SPDX-License-Identifier: GPL-2.0

//! The invariants of the buddy system, checked one by one.
//!
//! Each zone is looked at twice with its lock held: along the lists, and along
//! the pages of its span. Both must tell the same story:
//!
//! ```text
//! lists   links go there and back, counts are right, blocks are aligned, lie
//!         in the zone, say so themselves, and could not have been merged
//! span    blocks don't overlap, all pages inside are Tail, each free block is
//!         on a list, each allocated one has one reference or is shared; what is
//!         free, allocated and in pagesets is all that is managed
//! ```
//!
//! Each CPU's pageset of the zone is looked at on its own, while it is claimed.

use super::free_area::FreeAreas;
use super::migratetype::MigrateType;
use super::migratetype::MIGRATE_TYPES;
use super::split_merge::migratetype_of;
use super::system::BuddySystem;
use super::MemMap;
use super::ZoneTable;
use crate::page::PageDescriptor;
use crate::page::PageState;
use crate::page::ZoneId;
use crate::page::ZoneType;
use crate::phys::NodeId;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::MAX_NODES;
use crate::phys::NR_PAGE_ORDERS;
use crate::phys::PAGEBLOCK_ORDER;
use crate::platform::Lock;
use crate::platform::Platform;
use crate::zone::Zone;
use core::fmt;

/// An invariant that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// In which zone.
    pub zone: ZoneId,
    /// At which page, if at one.
    pub pfn: Option<Pfn>,
    /// What is wrong, for a person.
    pub what: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (nid, zone) = (self.zone.nid(), self.zone.kind().name());
        write!(f, "node {nid}, zone {zone}: {}", self.what)?;
        match self.pfn {
            Some(pfn) => write!(f, " (page {pfn})"),
            None => Ok(()),
        }
    }
}

impl<P, M, Z> BuddySystem<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// Checks all zones, one at a time.
    pub(super) fn validate_zones(&self) -> Result<(), Violation> {
        for nid in (0..MAX_NODES as u32).filter_map(NodeId::new) {
            for kind in ZoneType::ALL {
                let id = ZoneId::new(nid, kind);
                if let Some(zone) = self.zones.zone(id) {
                    let areas = zone.free.lock();
                    ZoneCheck {
                        map: self.map,
                        zone,
                        id,
                    }
                    .check(&areas)?;
                }
            }
        }
        self.check_pagesets()
    }

    /// Checks all CPUs' pagesets, while they are claimed.
    fn check_pagesets(&self) -> Result<(), Violation> {
        let mut result = Ok(());
        self.with_pagesets(0..self.platform.nr_cpus(), None, |id, _, pageset| {
            if result.is_ok() {
                result = pageset
                    .check(self.map, id)
                    .map_err(|(pfn, what)| Violation {
                        zone: id,
                        pfn,
                        what,
                    });
            }
        });
        result
    }
}

/// One zone under check, its lock held.
struct ZoneCheck<'a, P: Platform, M> {
    map: &'a M,
    zone: &'a Zone<P>,
    id: ZoneId,
}

impl<P: Platform, M: MemMap> ZoneCheck<'_, P, M> {
    fn check(&self, areas: &FreeAreas) -> Result<(), Violation> {
        let counts = &self.zone.free_counts;
        let mut free = [Pages::ZERO; MIGRATE_TYPES];
        let mut whole = Pages::ZERO;
        for order in PageOrder::all() {
            let mut found = 0u64;
            for (mt, free) in MigrateType::ALL.into_iter().zip(&mut free) {
                let left = counts.nr_free(order).wrapping_sub(found);
                let blocks = self.check_list(areas, order, mt, left)?;
                found = found.wrapping_add(blocks);
                *free += Pages(blocks << order.get());
                if order >= PageOrder::PAGEBLOCK && mt != MigrateType::Isolate {
                    whole += Pages(blocks << order.get());
                }
            }
            if found != counts.nr_free(order) {
                let mut last = MigrateType::ALL.iter().rev();
                let last = last.find_map(|&mt| areas.list(order, mt).last());
                return self.fail(last, "a list has fewer blocks than it counts");
            }
        }
        let all: Pages = free.iter().copied().sum();
        let of = |mt: MigrateType| free.get(mt.index()).copied().unwrap_or_default();
        if all - of(MigrateType::Isolate) != counts.free_pages() {
            return self.fail(None, "the free pages are not the sum of the free blocks");
        }
        if of(MigrateType::Cma) != counts.free_cma()
            || of(MigrateType::HighAtomic) != counts.free_highatomic()
            || whole != counts.free_pages_blocks()
        {
            return self.fail(
                None,
                "the free pages of a kind are not the sum of its blocks",
            );
        }
        self.check_span(all)
    }

    fn fail<T>(&self, pfn: Option<Pfn>, what: &'static str) -> Result<T, Violation> {
        Err(Violation {
            zone: self.id,
            pfn,
            what,
        })
    }

    /// Walks a list and returns how many blocks it has, `most` at most.
    fn check_list(
        &self,
        areas: &FreeAreas,
        order: PageOrder,
        mt: MigrateType,
        most: u64,
    ) -> Result<u64, Violation> {
        let list = areas.list(order, mt);
        let mut found = 0;
        let mut before = None;
        for (pfn, page) in list.iter(self.map) {
            if page.prev() != before {
                return self.fail(Some(pfn), "a free block does not link back");
            }
            if found >= most {
                return self.fail(Some(pfn), "a list has more blocks than it counts");
            }
            self.check_free_block(pfn, page, order, mt)?;
            found = found.wrapping_add(1);
            before = Some(pfn);
        }
        let marked = (self.zone.free_counts.orders(mt) >> order.get()) & 1 != 0;
        if marked == list.is_empty() {
            return self.fail(before, "a list is empty and marked as not, or the reverse");
        }
        if list.last() != before {
            return self.fail(before, "a list does not end at its tail");
        }
        Ok(found)
    }

    fn check_free_block(
        &self,
        pfn: Pfn,
        page: &PageDescriptor,
        order: PageOrder,
        mt: MigrateType,
    ) -> Result<(), Violation> {
        let at = Some(pfn);
        if !pfn.is_aligned(order) {
            return self.fail(at, "a free block is not aligned to its order");
        }
        let span = self.zone.span;
        if pfn < span.start || pfn + order.pages() > span.end {
            return self.fail(at, "a free block reaches out of its zone");
        }
        if !page.is_buddy(self.id, order) {
            return self.fail(at, "the descriptor of a free block tells another story");
        }
        if page.buddy_list() != mt as u8 {
            return self.fail(at, "a free block believes itself on another list");
        }
        if page.count() != 0 {
            return self.fail(at, "a free block has references");
        }
        for i in 0..(order.pages().0 >> PAGEBLOCK_ORDER).max(1) {
            let block_mt = migratetype_of(self.map, pfn + Pages(i << PAGEBLOCK_ORDER));
            let alike =
                self.map.is_mobility_disabled() && block_mt.is_mergeable() && mt.is_mergeable();
            if block_mt != mt && !alike {
                return self.fail(at, "a free block is on the list of another type");
            }
        }
        let buddy = self.map.page(pfn.buddy(order));
        // Page blocks that were of different types once may stay apart until
        // one of them is freed again.
        let types = self.map.pageblock(pfn).is_some();
        let mergeable = order < PageOrder::PAGEBLOCK || !types;
        if order < PageOrder::MAX
            && mergeable
            && buddy.is_some_and(|buddy| buddy.is_buddy(self.id, order))
        {
            return self.fail(at, "two free buddies were not merged");
        }
        Ok(())
    }

    /// Walks the pages of the span, block by block.
    fn check_span(&self, free: Pages) -> Result<(), Violation> {
        let mut blocks = [0u64; NR_PAGE_ORDERS];
        let mut allocated = Pages::ZERO;
        let mut kept = Pages::ZERO;
        let mut pfn = self.zone.span.start;
        while pfn < self.zone.span.end {
            let order = match self.map.page(pfn) {
                Some(page) if page.zone_id() == self.id => match page.state_and_order() {
                    (PageState::Buddy, order) => {
                        if let Some(count) = blocks.get_mut(order.index()) {
                            *count = count.wrapping_add(1);
                        }
                        self.check_inside(pfn, order)?;
                        order
                    }
                    (PageState::Allocated | PageState::Slab, order) => {
                        allocated += order.pages();
                        self.check_held(pfn, order)?;
                        order
                    }
                    (PageState::Pageset, order) => {
                        kept += order.pages();
                        self.check_inside(pfn, order)?;
                        order
                    }
                    (PageState::Tail | PageState::SlabTail, _) => {
                        return self.fail(Some(pfn), "a page is inside a block that is not there");
                    }
                    (PageState::Reserved | PageState::Hole, _) => PageOrder::ZERO,
                },
                _ => PageOrder::ZERO,
            };
            pfn = pfn + order.pages();
        }
        if blocks != self.zone.free_counts.blocks() {
            return self.fail(None, "a free block is on no list");
        }
        if free + allocated + kept != self.zone.managed() {
            return self.fail(None, "free and allocated pages are not all that is managed");
        }
        Ok(())
    }

    /// Checks an allocated block, or a slab.
    fn check_held(&self, head: Pfn, order: PageOrder) -> Result<(), Violation> {
        if !head.is_aligned(order) {
            return self.fail(Some(head), "a block is not aligned to its order");
        }
        match flaw_of_held(self.map, head, order) {
            None => Ok(()),
            Some((at, what)) => self.fail(Some(at), what),
        }
    }

    /// Checks the pages of a block that is free, or that a CPU keeps, behind its first.
    fn check_inside(&self, head: Pfn, order: PageOrder) -> Result<(), Violation> {
        if !head.is_aligned(order) {
            return self.fail(Some(head), "a block is not aligned to its order");
        }
        for i in 1..order.pages().0 {
            let pfn = head + Pages(i);
            let ours = |page: &PageDescriptor| {
                page.state() == PageState::Tail && page.zone_id() == self.id
            };
            if !self.map.page(pfn).is_some_and(ours) {
                return self.fail(Some(pfn), "two blocks overlap");
            }
        }
        Ok(())
    }
}

/// What is wrong with the allocated block of `order` at `head`, or the slab there, if
/// something is, and at which page.
pub(crate) fn flaw_of_held(
    map: &impl MemMap,
    head: Pfn,
    order: PageOrder,
) -> Option<(Pfn, &'static str)> {
    match map.page(head) {
        Some(page) if !page.is_counted() => {
            Some((head, "a block that nobody shares has several references"))
        }
        _ => strange_page(map, head, order).map(|at| (at, "two blocks overlap")),
    }
}

/// The first page of the allocated block of `order` at `head`, or of the slab there, that
/// does not lie in it.
///
/// A slab is made of a block, and a block of a slab, page by page, and with no lock that
/// the caller has (`allocate_slab`, `__free_slab`): each page may be of the one or of the
/// other. Whether a slab that is on a list is whole is seen with the lock of that
/// ([`is_slab`]).
fn strange_page(map: &impl MemMap, head: Pfn, order: PageOrder) -> Option<Pfn> {
    let zone = map.page(head).map(PageDescriptor::zone_id);
    let is_inside = |page: &PageDescriptor| {
        let inside = match page.state() {
            PageState::Tail => true,
            PageState::SlabTail => page.next().is_none_or(|first| first == head),
            _ => false,
        };
        inside && Some(page.zone_id()) == zone
    };
    let mut pages = (1..order.pages().0).map(|i| head + Pages(i));
    pages.find(|&pfn| !map.page(pfn).is_some_and(is_inside))
}

/// Whether one slab fills the block of `order` at `head`.
pub(crate) fn is_slab(map: &impl MemMap, head: Pfn, order: PageOrder) -> bool {
    let Some(first) = map.page(head) else {
        return false;
    };
    head.is_aligned(order)
        && (1..order.pages().0).all(|i| {
            map.page(head + Pages(i)).is_some_and(|page| {
                page.state() == PageState::SlabTail
                    && page.slab_key() == first.slab_key()
                    && page.zone_id() == first.zone_id()
                    && page.next() == Some(head)
            })
        })
}
