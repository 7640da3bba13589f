// SPDX-License-Identifier: GPL-2.0

//! The interface (`mm_division_pages`, `mm_merge_pages`): Cosmos's manager
//! behind the seam.
//!
//! A free is checked with the area's lock held, before anything changes, and
//! gets the same answers as from the buddy system:
//!
//! ```text
//! the page is       at that order    at another      so the answer is
//! Allocated         yes              -               freed
//! Allocated         -                yes             WrongOrder
//! Buddy (free)                                       DoubleFree
//! Tail              of a free block                  DoubleFree
//! Tail              of an allocated block            NotBlockHead
//! Reserved                                           PageReserved
//! Hole, or nothing                                   ForeignPfn
//! ```
//!
//! There are no watermarks and no reserves: a request fails when no area that
//! it goes to has a block, and nothing in its flags makes it dig deeper.

use super::area::AreaKind;
use super::area::MemArea;
use super::area::MemAreas;
use super::divide::LockedArea;
use super::lists::DivideMerge;
use crate::buddy::gfp;
use crate::buddy::lookup;
use crate::buddy::pieces;
use crate::buddy::poison;
use crate::buddy::AllocRequest;
use crate::buddy::BlockInfo;
use crate::buddy::FreeReport;
use crate::buddy::MemMap;
use crate::buddy::PageAllocator;
use crate::buddy::Statistics;
use crate::buddy::Violation;
use crate::buddy::VmEvent;
use crate::buddy::ZoneTable;
use crate::error::Error;
use crate::error::Result;
use crate::page::PageDescriptor;
use crate::page::PageState;
use crate::page::ZoneId;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PhysRange;
use crate::phys::Region;
use crate::phys::NR_PAGE_ORDERS;
use crate::platform::Lock;
use crate::platform::Platform;

/// The manager: a view of what it works on, made anew wherever it is needed.
/// All of its state lives in the areas, the descriptors and the slots.
pub struct CosmosSystem<'a, P: Platform, M, Z> {
    /// The CPU and its node.
    pub platform: &'a P,
    /// The page descriptors.
    pub map: &'a M,
    /// The zones that the areas are parts of, and the order of the nodes.
    pub zones: &'a Z,
    /// The memory, for those who want it zeroed.
    pub memory: &'a Region<'a>,
    /// Where events are counted.
    pub stats: &'a Statistics<'a>,
    /// The areas.
    pub areas: &'a MemAreas<'a, P>,
}

impl<P: Platform, M, Z> Clone for CosmosSystem<'_, P, M, Z> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Platform, M, Z> Copy for CosmosSystem<'_, P, M, Z> {}

/// A block that was just taken.
struct Taken {
    pfn: Pfn,
    zone: ZoneId,
    /// The zone of the area that was tried first.
    preferred: ZoneId,
}

impl<P, M, Z> CosmosSystem<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// Takes a block (`mm_division_pages`). See [`PageAllocator::alloc`].
    fn division_pages(&self, request: &AllocRequest) -> Result<Pfn> {
        let taken = self.divpages_fmwk(request)?;
        poison::unpoison(self.platform, self.memory, taken.pfn, request.order);
        if request.gfp.has(gfp::__GFP_ZERO) {
            let range = PhysRange::new(taken.pfn.addr(), request.order.pages().bytes());
            if let Err(error) = self.memory.zero(range) {
                self.merge_pages(taken.pfn, request.order)?;
                return Err(error);
            }
        }
        let (cpu, _pinned) = self.platform.pin_cpu();
        let local = taken.zone.nid() == self.platform.local_node();
        let pages = request.order.pages();
        self.stats
            .count_alloc(cpu, taken.zone, taken.preferred, local, pages);
        Ok(taken.pfn)
    }

    /// Finds an area that has a block for the request (`mm_divpages_fmwk`).
    fn divpages_fmwk(&self, request: &AllocRequest) -> Result<Taken> {
        let (zones, nid) = (self.zones, request.nid);
        let zonelist = zones.node_zonelist(self.platform, nid, request.gfp)?;
        let highest = request.gfp.zone()?;
        let allowed = |nid| request.nodes.is_none_or(|nodes| nodes.contains(nid));
        let mut preferred = None;
        for &kinds in AreaKind::tries(highest) {
            for zref in zonelist.iter(highest).filter(|zref| allowed(zref.nid())) {
                let zone = ZoneId::new(zref.nid(), zref.kind());
                for area in self.areas.of_zone(zone) {
                    if !kinds.contains(&area.kind) {
                        continue;
                    }
                    let preferred = *preferred.get_or_insert(zone);
                    if let Some(pfn) = self.divpages_core(area, request.order) {
                        return Ok(Taken {
                            pfn,
                            zone,
                            preferred,
                        });
                    }
                }
            }
        }
        Err(Error::NoMemory)
    }

    /// Takes a block from this area, under its lock (`mm_divpages_core`).
    fn divpages_core(&self, area: &MemArea<P>, order: PageOrder) -> Option<Pfn> {
        let mut lists = area.lists.lock();
        self.locked(area, &mut lists).divide(order)
    }

    /// Gives a block back (`mm_merge_pages`). See [`PageAllocator::free`].
    fn merge_pages(&self, pfn: Pfn, order: PageOrder) -> Result<()> {
        self.put_pages(pfn, Some(order)).map(|_| ())
    }

    /// Runs `job` on an allocated block's area, with its lock held.
    fn with_block<R>(
        &self,
        pfn: Pfn,
        job: impl for<'l> FnOnce(&mut LockedArea<'l, P, M>, &'l PageDescriptor) -> Result<R>,
    ) -> Result<R> {
        let page = self.map.page(pfn).ok_or(Error::ForeignPfn)?;
        let Some(area) = self.areas.area_of(page.zone_id(), pfn) else {
            return Err(lookup::free_refusal(self.map, pfn, page));
        };
        let mut lists = area.lists.lock();
        job(&mut self.locked(area, &mut lists), page)
    }

    /// Gives up one reference to a block, the last one with the block
    /// (`mm_merpages_opmsadsc`, which counts users too).
    fn put_pages(&self, pfn: Pfn, order: Option<PageOrder>) -> Result<bool> {
        let freed = self.with_block(pfn, |area, page| {
            let order = order.unwrap_or(page.order());
            self.check_free(pfn, order)?;
            if !page.put_testzero() {
                return Ok(None);
            }
            poison::poison(self.platform, self.memory, pfn, order);
            area.lists.take_back(page, order);
            area.merge(pfn, page, order);
            Ok(Some(order))
        })?;
        if let Some(order) = freed {
            self.count_freed(order);
        }
        Ok(freed.is_some())
    }

    /// Takes reserved pages over. See [`PageAllocator::accept`].
    fn try_accept(&self, pfn: Pfn, order: PageOrder) -> Result<()> {
        if !pfn.is_aligned(order) {
            return Err(Error::WrongOrder);
        }
        let page = self.map.page(pfn).ok_or(Error::ForeignPfn)?;
        let id = page.zone_id();
        let area = self.areas.area_of(id, pfn).ok_or(Error::ForeignPfn)?;
        let zone = self.zones.zone(id).ok_or(Error::ForeignPfn)?;
        {
            let mut lists = area.lists.lock();
            for i in 0..order.pages().0 {
                self.check_reserved(area, pfn + Pages(i))?;
            }
            for i in 0..order.pages().0 {
                if let Some(page) = self.map.page(pfn + Pages(i)) {
                    page.set_state(PageState::Tail, PageOrder::ZERO);
                    page.set_count(0);
                }
            }
            lists.max += order.pages();
            zone.add_managed(order.pages());
            poison::poison(self.platform, self.memory, pfn, order);
            self.locked(area, &mut lists).merge(pfn, page, order);
        }
        self.count_freed(order);
        Ok(())
    }

    /// Whether a page can become the area's own.
    fn check_reserved(&self, area: &MemArea<P>, pfn: Pfn) -> Result<()> {
        let page = self.map.page(pfn).ok_or(Error::ForeignPfn)?;
        match page.state() {
            PageState::Reserved if page.zone_id() != area.zone => Err(Error::WrongOrder),
            PageState::Reserved => Ok(()),
            PageState::Hole => Err(Error::ForeignPfn),
            _ => Err(Error::DoubleFree),
        }
    }

    /// The area with its lists, for the holder of its lock.
    fn locked<'l>(
        &'l self,
        area: &'l MemArea<P>,
        lists: &'l mut DivideMerge,
    ) -> LockedArea<'l, P, M> {
        LockedArea {
            area,
            lists,
            map: self.map,
        }
    }

    fn count_freed(&self, order: PageOrder) {
        let (cpu, _pinned) = self.platform.pin_cpu();
        self.stats.count(cpu, VmEvent::PgFree, order.pages().0);
    }

    /// Counts a refusal and hands it on.
    #[cold]
    fn refuse(&self, error: Error) -> Error {
        let (cpu, _pinned) = self.platform.pin_cpu();
        self.stats.count_refusal(cpu, error);
        error
    }

    /// Calls `each` with the free blocks of `area` at `order`, in the order of
    /// the list, under the area's lock: the first is the next to be given out.
    pub fn for_each_free(&self, area: &MemArea<P>, order: PageOrder, mut each: impl FnMut(Pfn)) {
        let lists = area.lists.lock();
        let list = lists.list(order);
        // A broken list may run in a circle; the count ends it.
        for (pfn, _) in list.free.iter(self.map).take(list.nr_free() as usize) {
            each(pfn);
        }
    }
}

// Nothing here is inlined: the seam's users are compiled for the buddy system,
// and find this behind one jump.
impl<P, M, Z> PageAllocator for CosmosSystem<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    #[inline(never)]
    fn alloc(&self, request: &AllocRequest) -> Result<Pfn> {
        self.division_pages(request)
            .map_err(|error| self.refuse(error))
    }

    #[inline(never)]
    fn free(&self, pfn: Pfn, order: PageOrder) -> Result<()> {
        self.merge_pages(pfn, order)
            .map_err(|error| self.refuse(error))
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

    /// What is free in the areas of a zone. Each area is one picture; a block
    /// never goes from one to another.
    fn free_report(&self, zone: ZoneId) -> Option<FreeReport> {
        self.zones.zone(zone)?;
        let mut blocks = [0u64; NR_PAGE_ORDERS];
        for area in self.areas.of_zone(zone) {
            let lists = area.lists.lock();
            for (sum, count) in blocks.iter_mut().zip(lists.free_blocks()) {
                *sum = sum.wrapping_add(count);
            }
        }
        Some(FreeReport::of_blocks(blocks))
    }

    fn block_of(&self, pfn: Pfn) -> Option<BlockInfo> {
        lookup::block_of(self.map, pfn)
    }

    fn validate(&self) -> Result<(), Violation> {
        self.validate_areas()
    }

    fn split(&self, pfn: Pfn, order: PageOrder, to: PageOrder) -> Result<()> {
        let split = self.with_block(pfn, |area, page| {
            if to >= order {
                return Err(Error::BadPieces);
            }
            self.check_free(pfn, order)?;
            pieces::check_sole(page)?;
            area.lists.split(order, to);
            pieces::divide(self.map, pfn, order, to);
            Ok(())
        });
        split.map_err(|error| self.refuse(error))
    }

    fn merge(&self, pfn: Pfn, order: PageOrder) -> Result<()> {
        let merged = self.with_block(pfn, |area, _| {
            pieces::for_each(self.map, pfn, order, |pfn, _| {
                self.allocated_order(pfn).map(drop)
            })?;
            let mut count = 0u64;
            pieces::for_each(self.map, pfn, order, |_, page| {
                area.lists.join(page.order());
                count = count.wrapping_add(1);
                Ok(())
            })?;
            area.lists.joined(order, count);
            pieces::join(self.map, pfn, order);
            Ok(())
        });
        merged.map_err(|error| self.refuse(error))
    }

    fn get(&self, pfn: Pfn) -> Result<()> {
        let got = self.with_block(pfn, |_, page| {
            self.allocated_order(pfn)?;
            page.try_get()
        });
        got.map_err(|error| self.refuse(error))
    }

    fn put(&self, pfn: Pfn) -> Result<bool> {
        self.put_pages(pfn, None)
            .map_err(|error| self.refuse(error))
    }
}
