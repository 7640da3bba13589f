// SPDX-License-Identifier: GPL-2.0

//! Any range of pages, in one piece, wherever its pages can be moved away
//! (`alloc_contig_range`, `mm/page_isolation.c`).
//!
//! ```text
//!  page block            page block            page block
//! |  .  m  .  [  .  m  |  .  .  m  .  .  .   |  m  .  ]  .  m  |    the range
//!   1 isolate all three: nothing is taken from their lists any more
//!   2 move what is in the range, elsewhere
//! |  .  m  (  .  .  .  |  .  .  .  .  .  .   |  .  .  .  )  m  |    all free
//!   3 take the free blocks, and give back what of them is outside
//!   4 the page blocks are what they were
//! ```
//!
//! A page block is isolated only if nothing in it is there to stay. What fails
//! at any step leaves all as it was, but for blocks that have moved.

use super::gfp;
use super::gfp::Gfp;
use super::isolation::whole_pageblocks;
use super::isolation::ContigFor;
use super::migratetype::MigrateType;
use super::split_merge::LockedZone;
use super::stats::VmEvent;
use super::system::BuddySystem;
use super::AllocRequest;
use super::MemMap;
use super::PageAllocator;
use super::ZoneTable;
use crate::error::Error;
use crate::error::Result;
use crate::nodemask::NodeMask;
use crate::page::PageState;
use crate::page::ZoneId;
use crate::page::ZoneType;
use crate::phys::NodeId;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PfnRange;
use crate::platform::Lock;
use crate::platform::Platform;
use crate::zone::Zone;

impl<P, M, Z> BuddySystem<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// Takes all pages of `range`, which lies in one zone: as single pages, each
    /// to be freed on its own, or with `__GFP_COMP` as one block
    /// (`alloc_contig_range`). Zone, mobility and placement of the flags are not
    /// looked at.
    ///
    /// # Errors
    ///
    /// [`Error::BadGfp`] for a flag that makes no sense here,
    /// [`Error::ForeignPfn`] when the range is empty, has holes or lies in two
    /// zones, [`Error::OrderTooLarge`] when it is to be a block and is none,
    /// [`Error::NotMovable`] when something in it has to stay, or somebody else
    /// isolates it; [`Error::NoMemory`] when there is nowhere to move it.
    pub fn alloc_contig_range(&self, range: PfnRange, gfp: Gfp, whom: ContigFor) -> Result<()> {
        let taken = self.try_contig_range(range, gfp, whom);
        taken.map_err(|error| self.refuse(error))
    }

    fn try_contig_range(&self, range: PfnRange, gfp: Gfp, whom: ContigFor) -> Result<()> {
        let move_gfp = gfp_for_moving(gfp)?;
        let (zone, id) = self.zone_of_range(range)?;
        let block = match gfp.has(gfp::__GFP_COMP) {
            true => Some(block_of_range(range)?),
            false => None,
        };
        self.isolate_range(zone, id, range, whom)?;
        let taken = self.empty_and_take(zone, id, range, move_gfp, block);
        self.undo_isolate(zone, id, whole_pageblocks(range));
        taken?;
        if gfp.has(gfp::__GFP_ZERO) {
            if let Err(error) = self.memory.zero(range.bytes()) {
                match block {
                    Some(order) => self.free(range.start, order)?,
                    None => self.free_contig_range(range.start, range.pages())?,
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// The zone that all pages of a range lie in.
    fn zone_of_range(&self, range: PfnRange) -> Result<(&Zone<P>, ZoneId)> {
        let first = self.map.page(range.start).ok_or(Error::ForeignPfn)?;
        let id = first.zone_id();
        let zone = self.zones.zone(id).ok_or(Error::ForeignPfn)?;
        let (start, end) = (range.start, range.end);
        if range.is_empty() || start < zone.span.start || end > zone.span.end {
            return Err(Error::ForeignPfn);
        }
        let ours = |i| {
            let page = self.map.page(start + Pages(i));
            page.is_some_and(|page| page.state() != PageState::Hole && page.zone_id() == id)
        };
        match (0..range.pages().0).all(ours) {
            true => Ok((zone, id)),
            false => Err(Error::ForeignPfn),
        }
    }

    /// Moves what is in the isolated range, and takes all of it.
    fn empty_and_take(
        &self,
        zone: &Zone<P>,
        id: ZoneId,
        range: PfnRange,
        gfp: Gfp,
        block: Option<PageOrder>,
    ) -> Result<()> {
        self.drain_zone(id);
        // Movable zones are not for requests that do not say so.
        let gfp = match id.kind() {
            ZoneType::Movable => gfp | gfp::__GFP_HIGHMEM,
            _ => gfp,
        };
        let request = AllocRequest::new(gfp, PageOrder::ZERO).on(zone.nid);
        // What did not move may have been freed in the meantime.
        match self.migrate_range(zone, range, &request) {
            Ok(()) | Err(Error::NotMovable) => {}
            Err(error) => return Err(error),
        }
        let outside = self.take_range(zone, id, range, block)?;
        for (start, end) in outside {
            if start < end {
                self.free_run(Some((start, end - start)));
            }
        }
        Ok(())
    }

    /// Takes the free blocks of an isolated range, all or none, and says what of
    /// them lies before and behind it (`test_pages_isolated` and
    /// `isolate_freepages_range`).
    fn take_range(
        &self,
        zone: &Zone<P>,
        id: ZoneId,
        range: PfnRange,
        block: Option<PageOrder>,
    ) -> Result<[(Pfn, Pfn); 2]> {
        let mut areas = zone.free.lock();
        let mut locked = self.locked(zone, id, &mut areas);
        let first = locked.free_block_of(range.start).unwrap_or(range.start);
        let free = |pfn| {
            let page = self.map.page(pfn)?;
            let (state, order) = page.state_and_order();
            (state == PageState::Buddy).then_some((page, order))
        };
        let mut end = first;
        while end < range.end {
            let (_, order) = free(end).ok_or(Error::NotMovable)?;
            end = end + order.pages();
        }
        if block.is_some() && (first != range.start || end != range.end) {
            return Err(Error::OrderTooLarge);
        }
        let mut pfn = first;
        while pfn < end {
            // A page block at a time; the last block of it may reach further.
            let start = pfn;
            let stop = pfn.align_down(PageOrder::PAGEBLOCK) + PageOrder::PAGEBLOCK.pages();
            let stop = stop.min(range.end);
            while pfn < stop {
                let (page, order) = free(pfn).ok_or(Error::Corrupt)?;
                locked.del(page, order, MigrateType::Isolate);
                for i in 0..order.pages().0 {
                    self.make_one_of_range(pfn + Pages(i), range, block);
                }
                pfn = pfn + order.pages();
            }
            let (taken, end) = (pfn - start, stop);
            self.tell_isolated_free(PfnRange { start, end }, taken, taken);
            self.count_event(VmEvent::CompactIsolated, taken.0);
        }
        Ok([(first, range.start), (range.end, end)])
    }

    /// What a page becomes that was in a free block of the range.
    fn make_one_of_range(&self, pfn: Pfn, range: PfnRange, block: Option<PageOrder>) {
        let Some(page) = self.map.page(pfn) else {
            return;
        };
        match block {
            _ if !range.contains(pfn) => page.set_state(PageState::Pageset, PageOrder::ZERO),
            Some(_) if pfn != range.start => page.set_state(PageState::Tail, PageOrder::ZERO),
            _ => self.make_allocated(pfn, block.unwrap_or(PageOrder::ZERO)),
        }
    }

    /// Takes `pages` pages in a row, wherever they can be had: from the zones
    /// that a request of these flags may use, `nid`'s first, and aligned to their
    /// number if that is a power of two (`alloc_contig_pages`).
    ///
    /// # Errors
    ///
    /// [`Error::OrderTooLarge`] for no page, or for a number that is no block's
    /// with `__GFP_COMP`; those of [`PageAllocator::alloc`], and those of
    /// [`BuddySystem::alloc_contig_range`] for the flags.
    pub fn alloc_contig_pages(
        &self,
        pages: Pages,
        gfp: Gfp,
        nid: NodeId,
        nodes: Option<NodeMask>,
    ) -> Result<Pfn> {
        let found = self.find_contig_pages(pages, gfp, nid, nodes);
        found.map_err(|error| self.refuse(error))
    }

    fn find_contig_pages(
        &self,
        pages: Pages,
        gfp: Gfp,
        nid: NodeId,
        nodes: Option<NodeMask>,
    ) -> Result<Pfn> {
        let mask = pages.0.checked_sub(1).ok_or(Error::OrderTooLarge)?;
        gfp_for_moving(gfp)?;
        if gfp.has(gfp::__GFP_COMP) {
            // What is no block at its own alignment is none anywhere.
            let (start, end) = (Pfn(0), Pfn(pages.0));
            block_of_range(PfnRange { start, end })?;
        }
        let highest = gfp.zone()?;
        let zonelist = self.zones.node_zonelist(self.platform, nid, gfp)?;
        for zref in zonelist.iter(highest) {
            if nodes.is_some_and(|nodes| !nodes.contains(zref.nid())) {
                continue;
            }
            let id = ZoneId::new(zref.nid(), zref.kind());
            let span = zref.zone.span;
            // ALIGN(), also where the number is no power of two.
            let mut start = Pfn(span.start.0.saturating_add(mask) & !mask);
            while start + pages <= span.end {
                if self.platform.fatal_signal_pending() {
                    return Err(Error::NoMemory);
                }
                self.platform.cond_resched();
                let range = PfnRange {
                    start,
                    end: start + pages,
                };
                // Whatever is in the way, it need not be so at the next place.
                if self.could_be_had(zref.zone, id, range)
                    && self.try_contig_range(range, gfp, ContigFor::Other).is_ok()
                {
                    return Ok(start);
                }
                start = start + pages;
            }
        }
        Err(Error::NoMemory)
    }

    /// Whether nothing in a range has to stay (`pfn_range_valid_contig`).
    fn could_be_had(&self, zone: &Zone<P>, id: ZoneId, range: PfnRange) -> bool {
        let _areas = zone.free.lock();
        let mut pfn = range.start;
        while pfn < range.end {
            match self.movable_step(id, pfn) {
                Some(step) => pfn = pfn + step,
                None => return false,
            }
        }
        true
    }

    /// Gives single pages back that lie in a row (`free_contig_range`).
    ///
    /// # Errors
    ///
    /// Those of [`PageAllocator::free`] for the first page that can't be freed;
    /// none has been then, unless somebody else frees them at the same time.
    pub fn free_contig_range(&self, start: Pfn, pages: Pages) -> Result<()> {
        let pfns = || (0..pages.0).map(|i| start + Pages(i));
        let checked = pfns().try_for_each(|pfn| self.check_free(pfn, PageOrder::ZERO));
        checked.map_err(|error| self.refuse(error))?;
        let mut run: Option<(Pfn, Pages)> = None;
        let mut refused = Ok(());
        for pfn in pfns() {
            run = match (self.take_single(pfn), run) {
                (Ok(true), Some((start, len))) => Some((start, len + Pages(1))),
                (Ok(true), None) => Some((pfn, Pages(1))),
                (other, run) => {
                    // Somebody needs this one still, or has freed it.
                    self.free_run(run);
                    refused = refused.and(other.map(|_| ()));
                    None
                }
            };
        }
        self.free_run(run);
        refused.map_err(|error| self.refuse(error))
    }
}

impl<P: Platform, M: MemMap> LockedZone<'_, P, M> {
    /// The first page of the free block that `pfn` lies in
    /// (`find_large_buddy`).
    fn free_block_of(&self, pfn: Pfn) -> Option<Pfn> {
        PageOrder::all().find_map(|order| {
            let head = pfn.align_down(order);
            let (state, found) = self.map.page(head)?.state_and_order();
            let reaches = state == PageState::Buddy && pfn < head + found.pages();
            reaches.then_some(head)
        })
    }
}

/// The flags of the requests that find room for what moves, if these make sense
/// for a range (`__alloc_contig_verify_gfp_mask`).
fn gfp_for_moving(gfp: Gfp) -> Result<Gfp> {
    let reclaim = gfp::__GFP_IO | gfp::__GFP_FS | gfp::__GFP_RECLAIM;
    let both = gfp::__GFP_RETRY_MAYFAIL | gfp::__GFP_NOWARN;
    let action = gfp::__GFP_COMP | gfp::__GFP_ZERO | gfp::__GFP_ZEROTAGS | both;
    let ignored = gfp::GFP_ZONEMASK
        | gfp::__GFP_RECLAIMABLE
        | gfp::__GFP_WRITE
        | gfp::__GFP_HARDWALL
        | gfp::__GFP_THISNODE;
    if gfp.without(ignored | reclaim | action) != Gfp::NONE {
        return Err(Error::BadGfp);
    }
    let kept = gfp.without(ignored | gfp::__GFP_COMP | gfp::__GFP_ZERO | gfp::__GFP_ZEROTAGS);
    Ok(kept | gfp::__GFP_MOVABLE | gfp::__GFP_RETRY_MAYFAIL)
}

/// The order of the block that a range is.
fn block_of_range(range: PfnRange) -> Result<PageOrder> {
    let pages = range.pages().0;
    let order = PageOrder::new(pages.trailing_zeros()).ok_or(Error::OrderTooLarge)?;
    match pages == order.pages().0 && range.start.is_aligned(order) {
        true => Ok(order),
        false => Err(Error::OrderTooLarge),
    }
}
