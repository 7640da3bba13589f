// SPDX-License-Identifier: GPL-2.0

//! The buddy system over all nodes and zones: giving blocks back, taking over
//! memblock's, and the seam to the rest.
//!
//! A free takes the block from its owner in one step, so that of two who free
//! the same block at once exactly one is told so:
//!
//! ```text
//! the page is       at that order    at another      so the answer is
//! Allocated         yes              -               freed
//! Allocated         -                yes             WrongOrder
//! Buddy, Pageset                                     DoubleFree
//! Tail              of a free block                  DoubleFree
//! Tail              of an allocated block            NotBlockHead
//! Slab, SlabTail                                     SlabPage
//! Reserved                                           PageReserved
//! Hole, or nothing                                   ForeignPfn
//! ```

use super::alloc::AllocRequest;
use super::allocator::BlockInfo;
use super::allocator::FreeReport;
use super::allocator::PageAllocator;
use super::allocator::PageRef;
use super::block;
use super::free_area::FreeAreas;
use super::free_area::Placement;
use super::gfp::Gfp;
use super::isolation::ContigFor;
use super::lookup;
use super::migratetype::MigrateType;
use super::reclaim::shrinker::Shrinker;
use super::split_merge::migratetype_of;
use super::split_merge::LockedZone;
use super::stats::Statistics;
use super::stats::VmEvent;
use super::validate::Violation;
use super::MemMap;
use super::ZoneTable;
use crate::error::Error;
use crate::error::Result;
use crate::page::PageDescriptor;
use crate::page::PageState;
use crate::page::ZoneId;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PfnRange;
use crate::phys::Region;
use crate::platform::Lock;
use crate::platform::Platform;
use crate::trace::tell;
use crate::trace::TraceEvent;
use crate::trace::TracePoint;
use crate::zone::Zone;
use core::slice;

/// The buddy system: a view of what it works on, made anew wherever it is
/// needed. All of its state lives in the zones, the descriptors and the slots.
pub struct BuddySystem<'a, P, M, Z> {
    /// The CPU and its node.
    pub platform: &'a P,
    /// The page descriptors.
    pub map: &'a M,
    /// The zones and the order in which requests walk them.
    pub zones: &'a Z,
    /// The memory, for those who want it zeroed.
    pub memory: &'a Region<'a>,
    /// Where events are counted.
    pub stats: &'a Statistics<'a>,
    /// Who of the shadow's own keeps memory that is not needed.
    pub shrinker: Option<&'a dyn Shrinker>,
}

impl<P, M, Z> Clone for BuddySystem<'_, P, M, Z> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P, M, Z> Copy for BuddySystem<'_, P, M, Z> {}

impl<P, M, Z> BuddySystem<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// The zone with its lists, for the holder of its lock.
    #[inline]
    pub(super) fn locked<'l>(
        &'l self,
        zone: &'l Zone<P>,
        id: ZoneId,
        areas: &'l mut FreeAreas,
    ) -> LockedZone<'l, P, M> {
        self.locked_on(zone, id, areas, self.map)
    }

    /// The same, with descriptors looked up in `map`.
    #[inline]
    pub(super) fn locked_on<'l, N: MemMap>(
        &'l self,
        zone: &'l Zone<P>,
        id: ZoneId,
        areas: &'l mut FreeAreas,
        map: &'l N,
    ) -> LockedZone<'l, P, N> {
        LockedZone {
            areas,
            zone,
            platform: self.platform,
            map,
            id,
            stats: self.stats,
        }
    }

    /// Gives a block back, and says whether it is free then or somebody else
    /// needs it still (`__free_pages`). See [`PageAllocator::free`].
    #[inline]
    pub(super) fn try_free(&self, pfn: Pfn, order: PageOrder) -> Result<bool> {
        let taken = self.take_block(pfn, order)?;
        if let Some(page) = taken {
            self.free_taken(pfn, page, order, None);
        }
        Ok(taken.is_some())
    }

    /// Takes a block from its owner; `None` when somebody else needs it still.
    #[inline]
    pub(super) fn take_block(&self, pfn: Pfn, order: PageOrder) -> Result<Option<&PageDescriptor>> {
        let page = self.map.page(pfn).ok_or(Error::ForeignPfn)?;
        let id = page.zone_id();
        let Some(zone) = self.zones.zone(id) else {
            return Err(lookup::free_refusal(self.map, pfn, page));
        };
        if page.is_allocated(order) && !page.put_testzero() {
            return Ok(None);
        }
        if !page.take_from_owner(order) {
            // With the lock held no block is half-way between two states.
            let _areas = zone.free.lock();
            return Err(match page.is_allocated(order) {
                true => Error::DoubleFree,
                false => lookup::free_refusal(self.map, pfn, page),
            });
        }
        page.set_count(0);
        self.poison(pfn, order);
        Ok(Some(page))
    }

    /// Tells that a block goes back.
    #[inline]
    pub(super) fn tell_free(&self, pfn: Pfn, order: PageOrder) {
        tell(self.platform, TracePoint::PageFree, || {
            TraceEvent::PageFree { pfn, order }
        });
    }

    /// Frees a block that was taken from its owner: to the CPU's pageset, or to
    /// the zone where that is full or a place is wished for
    /// (`__free_frozen_pages`). Whether it went to the pageset.
    #[inline]
    pub(super) fn free_taken(
        &self,
        pfn: Pfn,
        page: &PageDescriptor,
        order: PageOrder,
        place: Option<Placement>,
    ) -> bool {
        let id = page.zone_id();
        let Some(zone) = self.zones.zone(id) else {
            return false;
        };
        let kept = place.is_none() && self.free_to_pageset(zone, id, pfn, page, order);
        if !kept {
            let mut areas = zone.free.lock();
            self.locked(zone, id, &mut areas)
                .split_large_buddy(pfn, page, order, place);
        }
        let (cpu, _pinned) = self.platform.pin_cpu();
        self.stats.count(cpu, VmEvent::PgFree, order.pages().0);
        kept
    }

    /// Takes reserved pages over. See [`PageAllocator::accept`].
    fn try_accept(&self, pfn: Pfn, order: PageOrder) -> Result<()> {
        if !pfn.is_aligned(order) {
            return Err(Error::WrongOrder);
        }
        let page = self.map.page(pfn).ok_or(Error::ForeignPfn)?;
        let id = page.zone_id();
        let zone = self.zones.zone(id).ok_or(Error::ForeignPfn)?;
        {
            let mut areas = zone.free.lock();
            for i in 0..order.pages().0 {
                let page = self.map.page(pfn + Pages(i)).ok_or(Error::ForeignPfn)?;
                match page.state() {
                    PageState::Reserved if page.zone_id() == id => {}
                    PageState::Reserved => return Err(Error::WrongOrder),
                    PageState::Hole => return Err(Error::ForeignPfn),
                    _ => return Err(Error::DoubleFree),
                }
            }
            for i in 0..order.pages().0 {
                if let Some(page) = self.map.page(pfn + Pages(i)) {
                    page.set_state(PageState::Tail, PageOrder::ZERO);
                    page.set_count(0);
                }
            }
            zone.add_managed(order.pages());
            self.poison(pfn, order);
            self.locked(zone, id, &mut areas).split_large_buddy(
                pfn,
                page,
                order,
                Some(Placement::Tail),
            );
        }
        let (cpu, _pinned) = self.platform.pin_cpu();
        self.stats.count(cpu, VmEvent::PgFree, order.pages().0);
        Ok(())
    }

    /// What an allocation does that has no page at hand.
    #[inline(never)]
    fn alloc_page_slow(&self, request: &AllocRequest) -> Result<PageRef<'_>> {
        if let Some(page) = self.alloc_block_fast(request) {
            return Ok(page);
        }
        let mut page = PageRef::none();
        if self.alloc_fast_run(request, slice::from_mut(&mut page)) == 1 {
            // Its descriptor does not lie with those of its zone.
            return Ok(page);
        }
        let taken = match self.alloc_direct(request) {
            Some(page) => Ok(page),
            None => self.alloc_long(request),
        };
        tell(self.platform, TracePoint::PageAlloc, || {
            TraceEvent::PageAlloc {
                pfn: taken.as_ref().ok().map(|page| page.pfn),
                order: request.order,
                gfp: request.gfp,
                migratetype: self
                    .migratetype(request.gfp)
                    .unwrap_or(MigrateType::Unmovable),
            }
        });
        taken
    }

    fn alloc_slow(&self, request: &AllocRequest) -> Result<Pfn> {
        Ok(self.alloc_page_slow(request)?.pfn)
    }

    /// The long way of an allocation.
    #[inline(never)]
    fn alloc_long(&self, request: &AllocRequest) -> Result<PageRef<'_>> {
        let taken = self.try_alloc(request);
        let pfn = taken.map_err(|error| self.refuse(error))?;
        let page = self.map.page(pfn).ok_or(Error::Corrupt)?;
        Ok(PageRef { pfn, page })
    }

    /// A page that is not of the zone that most are of, or that has no place at
    /// hand.
    #[cold]
    #[inline(never)]
    fn free_page_slow(&self, page: PageRef<'_>) -> Result<()> {
        match self.free_fast_other(page) {
            true => Ok(()),
            false => self.free_slow(page.pfn, PageOrder::ZERO),
        }
    }

    /// A block that is no single page goes back from its only owner.
    #[inline(never)]
    fn free_block(&self, page: PageRef<'_>, order: PageOrder) -> Result<()> {
        match block::is_for_zone(order) && self.free_block_fast(page, order) {
            true => Ok(()),
            false => self.free_slow(page.pfn, order),
        }
    }

    /// What a free does that has no place at hand.
    #[inline(never)]
    pub(super) fn free_slow(&self, pfn: Pfn, order: PageOrder) -> Result<()> {
        self.tell_free(pfn, order);
        match !self.platform.poisons_pages() && self.free_direct(pfn, order) {
            true => Ok(()),
            false => self.free_long(pfn, order),
        }
    }

    /// The long way of a free.
    #[inline(never)]
    fn free_long(&self, pfn: Pfn, order: PageOrder) -> Result<()> {
        let freed = self.try_free(pfn, order);
        freed.map(|_| ()).map_err(|error| self.refuse(error))
    }

    /// Counts a refusal and hands it on.
    #[cold]
    pub(super) fn refuse(&self, error: Error) -> Error {
        let (cpu, _pinned) = self.platform.pin_cpu();
        self.stats.count_refusal(cpu, error);
        error
    }

    /// Calls `each` with the free blocks of `zone` at `order`, type by type, in
    /// the order of the lists, under the zone's lock: the first of its type is
    /// the next to be given out.
    pub fn for_each_free(&self, zone: ZoneId, order: PageOrder, mut each: impl FnMut(Pfn)) {
        for mt in MigrateType::ALL {
            self.for_each_free_of(zone, order, mt, &mut each);
        }
    }

    /// The same for the free blocks of one type.
    pub fn for_each_free_of(
        &self,
        zone: ZoneId,
        order: PageOrder,
        mt: MigrateType,
        mut each: impl FnMut(Pfn),
    ) {
        if let Some(zone) = self.zones.zone(zone) {
            let areas = zone.free.lock();
            // A broken list may run in a circle; the count ends it.
            let nr_free = zone.free_counts.nr_free(order) as usize;
            for (pfn, _) in areas.list(order, mt).iter(self.map).take(nr_free) {
                each(pfn);
            }
        }
    }

    /// The type of the page block that `pfn` lies in.
    pub fn migratetype_of(&self, pfn: Pfn) -> MigrateType {
        migratetype_of(self.map, pfn)
    }

    /// Keeps the page block around `pfn` from being given out, or ends that
    /// (`pageblock_isolate_and_move_free_pages`,
    /// `pageblock_unisolate_and_move_free_pages`). Whether anything was done: not
    /// where it is so already, or where the page block reaches out of its zone.
    pub fn isolate_pageblock(&self, pfn: Pfn, isolate: bool) -> bool {
        let Some(id) = self.map.page(pfn).map(|page| page.zone_id()) else {
            return false;
        };
        let Some(zone) = self.zones.zone(id) else {
            return false;
        };
        let mut areas = zone.free.lock();
        let mut locked = self.locked(zone, id, &mut areas);
        locked.move_freepages_isolate(pfn, isolate)
    }

    /// Takes a reserved page block over as one of CMA
    /// (`init_cma_reserved_pageblock`).
    ///
    /// # Errors
    ///
    /// Those of [`PageAllocator::accept`]; [`Error::NotBlockHead`] where no page
    /// block starts or none is kept.
    pub fn accept_cma(&self, pfn: Pfn) -> Result<()> {
        let block = self.map.pageblock(pfn).ok_or(Error::NotBlockHead)?;
        let was = block.base_migratetype();
        block.set_migratetype(MigrateType::Cma);
        let accepted = self.accept(pfn, PageOrder::PAGEBLOCK);
        if accepted.is_err() {
            block.set_migratetype(was);
            return accepted;
        }
        let zone = self.map.page(pfn).map(|page| page.zone_id());
        if let Some(zone) = zone.and_then(|id| self.zones.zone(id)) {
            let _areas = zone.free.lock();
            zone.add_cma(PageOrder::PAGEBLOCK.pages());
        }
        Ok(())
    }
}

impl<P, M, Z> PageAllocator for BuddySystem<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    #[inline]
    fn alloc(&self, request: &AllocRequest) -> Result<Pfn> {
        match self.alloc_fast(request) {
            Some(page) => Ok(page.pfn),
            None => self.alloc_slow(request),
        }
    }

    #[inline]
    fn free(&self, pfn: Pfn, order: PageOrder) -> Result<()> {
        match self.free_fast_checked(pfn, order) {
            true => Ok(()),
            false => self.free_slow(pfn, order),
        }
    }

    #[inline(always)]
    fn alloc_page(&self, request: &AllocRequest) -> Result<PageRef<'_>> {
        match self.alloc_fast(request) {
            Some(page) => Ok(page),
            None => self.alloc_page_slow(request),
        }
    }

    #[inline(always)]
    fn free_page(&self, page: PageRef<'_>, order: PageOrder) -> Result<()> {
        if order != PageOrder::ZERO {
            return self.free_block(page, order);
        }
        match self.free_fast(page) {
            true => Ok(()),
            false => self.free_page_slow(page),
        }
    }

    #[inline(always)]
    fn alloc_page_here(&self, request: &AllocRequest) -> Result<PageRef<'_>> {
        match self.alloc_block_fast(request) {
            Some(page) => Ok(page),
            None => self.alloc_page(request),
        }
    }

    #[inline(always)]
    fn free_page_here(&self, page: PageRef<'_>, order: PageOrder) -> Result<()> {
        match block::is_for_zone(order) && self.free_block_fast(page, order) {
            true => Ok(()),
            false => self.free_page(page, order),
        }
    }

    fn alloc_page_bulk<'p>(
        &'p self,
        request: &AllocRequest,
        pages: &mut [PageRef<'p>],
    ) -> Result<usize> {
        self.take_page_refs(&request.of_order(PageOrder::ZERO), pages)
    }

    fn free_page_bulk(&self, pages: &[PageRef<'_>]) -> usize {
        self.free_page_refs(pages)
    }

    fn descriptor(&self, pfn: Pfn) -> Option<&PageDescriptor> {
        self.map.page(pfn)
    }

    fn check_free(&self, pfn: Pfn, order: PageOrder) -> Result<()> {
        lookup::check_free(self.map, pfn, order)
    }

    fn allocated_order(&self, pfn: Pfn) -> Result<PageOrder> {
        lookup::allocated_order(self.map, pfn)
    }

    fn accept(&self, pfn: Pfn, order: PageOrder) -> Result<()> {
        self.try_accept(pfn, order)
            .map_err(|error| self.refuse(error))
    }

    fn free_report(&self, zone: ZoneId) -> Option<FreeReport> {
        let zone = self.zones.zone(zone)?;
        let _areas = zone.free.lock();
        Some(FreeReport {
            blocks: zone.free_counts.blocks(),
            free: zone.free_counts.free_pages(),
            free_pages_blocks: zone.free_counts.free_pages_blocks(),
        })
    }

    fn block_of(&self, pfn: Pfn) -> Option<BlockInfo> {
        lookup::block_of(self.map, pfn)
    }

    fn validate(&self) -> Result<(), Violation> {
        self.validate_zones()
    }

    fn split(&self, pfn: Pfn, order: PageOrder, to: PageOrder) -> Result<()> {
        self.try_split(pfn, order, to)
            .map_err(|error| self.refuse(error))
    }

    fn merge(&self, pfn: Pfn, order: PageOrder) -> Result<()> {
        self.try_merge(pfn, order)
            .map_err(|error| self.refuse(error))
    }

    fn get(&self, pfn: Pfn) -> Result<()> {
        self.try_get(pfn).map_err(|error| self.refuse(error))
    }

    fn put(&self, pfn: Pfn) -> Result<bool> {
        self.try_put(pfn).map_err(|error| self.refuse(error))
    }

    fn put_batch(&self, blocks: &[Pfn], each: &mut dyn FnMut(Pfn, Result<bool>)) {
        self.put_batches(blocks, each);
    }

    fn alloc_bulk(&self, request: &AllocRequest, pages: &mut [Pfn]) -> Result<usize> {
        self.take_pages(request, pages)
    }

    fn free_bulk(&self, pages: &[Pfn]) -> usize {
        self.free_pages(pages)
    }

    fn alloc_contig(&self, request: &AllocRequest, pages: Pages) -> Result<Pfn> {
        self.alloc_contig_pages(pages, request.gfp(), request.nid(), request.nodes())
    }

    fn alloc_range(&self, range: PfnRange, gfp: Gfp) -> Result<()> {
        self.alloc_contig_range(range, gfp, ContigFor::Other)
    }

    fn alloc_exact(&self, request: &AllocRequest, pages: Pages) -> Result<Pfn> {
        self.take_exact(request, pages)
    }
}
