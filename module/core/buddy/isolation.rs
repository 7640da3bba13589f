// SPDX-License-Identifier: GPL-2.0

//! Isolating the page blocks of a range (`mm/page_isolation.c`): what is free in
//! them is given to nobody, and what is freed in them stays.
//!
//! ```text
//! may it be isolated?   free, or in a pageset, or allocated and movable: yes
//!                       reserved, a hole, allocated to stay: no
//!                       all of ZONE_MOVABLE: yes, but for what is reserved
//! ```

use super::free_area::Placement;
use super::migratetype::MigrateType;
use super::split_merge::LockedZone;
use super::system::BuddySystem;
use super::MemMap;
use super::PageAllocator;
use super::ZoneTable;
use crate::error::Error;
use crate::error::Result;
use crate::page::PageState;
use crate::page::ZoneId;
use crate::page::ZoneType;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PfnRange;
use crate::platform::Lock;
use crate::platform::Platform;
use crate::zone::Zone;

/// For whom a range is taken (`enum pb_isolate_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContigFor {
    /// Anybody: the range has no page block of CMA.
    Other,
    /// CMA, out of its own page blocks (`ACR_FLAGS_CMA`).
    Cma,
}

impl<P, M, Z> BuddySystem<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// Isolates the page blocks of a range, if nothing in them has to stay
    /// (`start_isolate_page_range`). Those at its ends are isolated first, and
    /// are looked at as a whole.
    pub(super) fn isolate_range(
        &self,
        zone: &Zone<P>,
        id: ZoneId,
        range: PfnRange,
        whom: ContigFor,
    ) -> Result<()> {
        let blocks = whole_pageblocks(range);
        let size = PageOrder::PAGEBLOCK.pages();
        let last = Pfn(blocks.end.0.saturating_sub(size.0));
        let whole = |start| PfnRange {
            start,
            end: start + size,
        };
        self.isolate_one(zone, id, whole(blocks.start), whom)?;
        if last != blocks.start {
            if let Err(error) = self.isolate_one(zone, id, whole(last), whom) {
                self.undo_isolate(zone, id, whole(blocks.start));
                return Err(error);
            }
        }
        let mut failed = match self.is_straddled(blocks.start) || self.is_straddled(blocks.end) {
            true => Err(Error::NotMovable),
            false => Ok(()),
        };
        let mut at = blocks.start + size;
        while failed.is_ok() && at < last {
            failed = self.isolate_one(zone, id, whole(at), whom);
            if failed.is_ok() {
                at = at + size;
            }
        }
        if failed.is_err() {
            let begun = PfnRange {
                start: blocks.start,
                end: at,
            };
            self.undo_isolate(zone, id, begun);
            if last != blocks.start {
                // A page block that was let go may be somebody else's by now.
                self.undo_isolate(zone, id, whole(last));
            }
        }
        failed
    }

    /// Whether an allocated block reaches over `boundary`, where page blocks
    /// meet: what is in it would be of both (`isolate_single_pageblock`).
    fn is_straddled(&self, boundary: Pfn) -> bool {
        let head = boundary.align_down(PageOrder::MAX);
        head < boundary
            && self.map.page(head).is_some_and(|page| {
                page.state() == PageState::Allocated && head + page.order().pages() > boundary
            })
    }

    /// Isolates one page block (`set_migratetype_isolate`).
    fn isolate_one(
        &self,
        zone: &Zone<P>,
        id: ZoneId,
        block: PfnRange,
        whom: ContigFor,
    ) -> Result<()> {
        let mut areas = zone.free.lock();
        let mut locked = self.locked(zone, id, &mut areas);
        let isolated = !self.has_unmovable(id, block, whom)
            && locked.move_freepages_isolate(block.start, true);
        match isolated {
            true => Ok(()),
            false => Err(Error::NotMovable),
        }
    }

    /// Whether something in a page block has to stay (`has_unmovable_pages`).
    fn has_unmovable(&self, id: ZoneId, block: PfnRange, whom: ContigFor) -> bool {
        if self.migratetype_of(block.start) == MigrateType::Cma {
            return whom != ContigFor::Cma;
        }
        let mut pfn = block.start;
        while pfn < block.end {
            match self.movable_step(id, pfn) {
                Some(step) => pfn = pfn + step,
                None => return true,
            }
        }
        false
    }

    /// How many pages from `pfn` on can be had, by moving them if need be;
    /// `None` where one has to stay (`page_is_unmovable`).
    pub(super) fn movable_step(&self, id: ZoneId, pfn: Pfn) -> Option<Pages> {
        let page = self.map.page(pfn).filter(|page| page.zone_id() == id)?;
        let (state, order) = page.state_and_order();
        let movable = id.kind() == ZoneType::Movable || page.is_movable();
        match state {
            PageState::Hole | PageState::Reserved => None,
            PageState::Slab | PageState::SlabTail => None,
            PageState::Buddy => Some(order.pages()),
            PageState::Pageset => Some(Pages(1)),
            PageState::Allocated => movable.then_some(order.pages()),
            PageState::Tail => {
                // Inside a block that began before.
                let block = self.block_of(pfn)?;
                let head = self.map.page(block.head)?;
                let held = block.state == PageState::Allocated;
                let stays = held && !head.is_movable() && id.kind() != ZoneType::Movable;
                let rest = (block.head + block.order.pages()) - pfn;
                (!stays).then_some(rest.max(Pages(1)))
            }
        }
    }

    /// Ends the isolation of page blocks (`undo_isolate_page_range`).
    pub(super) fn undo_isolate(&self, zone: &Zone<P>, id: ZoneId, blocks: PfnRange) {
        let mut pfn = blocks.start;
        while pfn < blocks.end {
            let mut areas = zone.free.lock();
            self.locked(zone, id, &mut areas).unset_isolate(pfn);
            drop(areas);
            pfn = pfn + PageOrder::PAGEBLOCK.pages();
        }
    }
}

impl<P: Platform, M: MemMap> LockedZone<'_, P, M> {
    /// Ends the isolation of a page block (`unset_migratetype_isolate`). One that
    /// is free as a whole merges with its buddy, if that is not isolated.
    fn unset_isolate(&mut self, pfn: Pfn) {
        let (Some(block), Some(page)) = (self.map.pageblock(pfn), self.map.page(pfn)) else {
            return;
        };
        if !block.is_isolated() {
            return;
        }
        let (state, order) = page.state_and_order();
        let whole = state == PageState::Buddy && order >= PageOrder::PAGEBLOCK;
        if whole && order < PageOrder::MAX {
            let buddy = pfn.buddy(order);
            let is_free = |buddy| {
                let page = self.map.page(buddy);
                page.is_some_and(|page| page.is_buddy(self.id, order))
            };
            if is_free(buddy) && self.migratetype(buddy) != MigrateType::Isolate {
                self.del(page, order, MigrateType::Isolate);
                block.set_isolated(false);
                let mt = block.migratetype();
                self.free_one_page(pfn, page, order, mt, Some(Placement::Tail));
                return;
            }
        }
        self.move_freepages_isolate(pfn, false);
    }
}

/// The page blocks that a range touches.
pub(super) fn whole_pageblocks(range: PfnRange) -> PfnRange {
    PfnRange {
        start: range.start.align_down(PageOrder::PAGEBLOCK),
        end: range.end.align_up(PageOrder::PAGEBLOCK),
    }
}
