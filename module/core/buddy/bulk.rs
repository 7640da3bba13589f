// SPDX-License-Identifier: GPL-2.0

//! Many pages at once, sizes that are no power of two, and references.
//!
//! ```text
//! alloc_bulk   single pages, as many as one zone and the CPU's pageset have
//! free_bulk    single pages; neighbours go back as one block
//! split        a block becomes blocks of a lower order, each its own
//! merge        the other way round: what fills a block becomes one
//! alloc_exact  a block, split, and what is too much of it goes back at once
//! get, put     one more who needs a block, one less; the last one frees it
//! put_batch    one less for many blocks
//! ```

use super::alloc::AllocRequest;
use super::allocator::PageAllocator;
use super::allocator::PageRef;
use super::free_area::Placement;
use super::pieces;
use super::system::BuddySystem;
use super::MemMap;
use super::ZoneTable;
use crate::error::Error;
use crate::error::Result;
use crate::page::PageDescriptor;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::MAX_PAGE_ORDER;
use crate::platform::Lock;
use crate::platform::Platform;
use crate::trace::tell;
use crate::trace::TraceEvent;
use crate::trace::TracePoint;

/// How many blocks are freed in one go (`PAGEVEC_SIZE`).
const FOLIO_BATCH: usize = 31;

impl<P, M, Z> BuddySystem<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// Fills `pages` with single pages from its start on, and says how many
    /// those are: at least one, fewer than asked for where the best zone has no
    /// more (`alloc_pages_bulk`). The request's order is not looked at.
    ///
    /// # Errors
    ///
    /// Those of [`PageAllocator::alloc`], when there is not one page.
    pub(super) fn take_pages(&self, request: &AllocRequest, pages: &mut [Pfn]) -> Result<usize> {
        let request = request.of_order(PageOrder::ZERO);
        let Some((first, rest)) = pages.split_first_mut() else {
            return Ok(0);
        };
        if !rest.is_empty() {
            let taken = self.take_bulk(&request, pages)?;
            if taken != 0 {
                return Ok(taken);
            }
            let page = self.alloc(&request)?;
            if let Some(first) = pages.first_mut() {
                *first = page;
            }
            return Ok(1);
        }
        *first = self.alloc(&request)?;
        Ok(1)
    }

    /// Fills `pages` with single pages from its start on, each as one request
    /// would get it: many at once from the magazine, and where that is empty one
    /// that fills it.
    ///
    /// # Errors
    ///
    /// Those of [`PageAllocator::alloc`], when there is not one page.
    pub(super) fn take_page_refs<'p>(
        &'p self,
        request: &AllocRequest,
        pages: &mut [PageRef<'p>],
    ) -> Result<usize> {
        let mut done = 0usize;
        loop {
            let left = pages.get_mut(done..).unwrap_or_default();
            let taken = self.alloc_fast_run(request, left);
            done = done.saturating_add(taken);
            let Some(place) = left.get_mut(taken) else {
                return Ok(done);
            };
            match self.alloc_page(request) {
                Ok(page) => *place = page,
                Err(error) if done == 0 => return Err(error),
                Err(_) => return Ok(done),
            }
            done = done.saturating_add(1);
        }
    }

    /// Gives single pages back that are the caller's alone, each as one free would,
    /// and says how many were taken.
    pub(super) fn free_page_refs(&self, pages: &[PageRef<'_>]) -> usize {
        let (mut rest, mut freed) = (pages, 0usize);
        loop {
            let taken = self.free_fast_run(rest);
            freed = freed.saturating_add(taken);
            let Some((&page, others)) = rest.get(taken..).and_then(<[_]>::split_first) else {
                return freed;
            };
            let is_taken = self.free_page(page, PageOrder::ZERO).is_ok();
            freed = freed.saturating_add(usize::from(is_taken));
            rest = others;
        }
    }

    /// Gives single pages back; neighbours that stand side by side in `pages` go
    /// as one block (`free_pages_bulk`). Pages that can't be freed are passed
    /// over and counted as refused; how many were taken is returned, those
    /// that somebody else needs still included.
    pub(super) fn free_pages(&self, pages: &[Pfn]) -> usize {
        let mut freed = 0usize;
        let mut run: Option<(Pfn, Pages)> = None;
        for &pfn in pages {
            let was_last = match self.take_single(pfn) {
                Ok(was_last) => was_last,
                Err(error) => {
                    self.refuse(error);
                    continue;
                }
            };
            freed = freed.saturating_add(1);
            if !was_last {
                continue;
            }
            run = match run {
                Some((start, len)) if start + len == pfn && self.same_zone(start, pfn) => {
                    Some((start, len + Pages(1)))
                }
                _ => {
                    self.free_run(run);
                    Some((pfn, Pages(1)))
                }
            };
        }
        self.free_run(run);
        freed
    }

    /// One less needs this page; whether it was the last, and the page is
    /// nobody's then.
    pub(super) fn take_single(&self, pfn: Pfn) -> Result<bool> {
        self.check_free(pfn, PageOrder::ZERO)?;
        let page = self.map.page(pfn).ok_or(Error::ForeignPfn)?;
        if !page.put_testzero() {
            return Ok(false);
        }
        if !page.take_from_owner(PageOrder::ZERO) {
            return Err(Error::DoubleFree);
        }
        page.set_count(0);
        self.poison(pfn, PageOrder::ZERO);
        self.tell_free(pfn, PageOrder::ZERO);
        Ok(true)
    }

    fn same_zone(&self, a: Pfn, b: Pfn) -> bool {
        let zone = |pfn| self.map.page(pfn).map(|page| page.zone_id());
        zone(a) == zone(b)
    }

    /// Frees single pages that are nobody's any more, in the largest blocks that
    /// alignment and length allow (`free_prepared_contig_range`).
    pub(super) fn free_run(&self, run: Option<(Pfn, Pages)>) {
        let Some((mut pfn, mut left)) = run else {
            return;
        };
        while !left.is_zero() {
            let aligned = pfn.0.trailing_zeros().min(u32::from(MAX_PAGE_ORDER));
            let order = PageOrder::new(aligned.min(left.0.ilog2())).unwrap_or(PageOrder::ZERO);
            if let Some(page) = self.map.page(pfn) {
                if order != PageOrder::ZERO {
                    let zone = self.zones.zone(page.zone_id());
                    // With the lock held nobody walks the pages meanwhile.
                    let _areas = zone.map(|zone| zone.free.lock());
                    pieces::gather(self.map, pfn, order);
                }
                self.free_taken(pfn, page, order, None);
            }
            pfn = pfn + order.pages();
            left -= order.pages();
        }
    }

    /// Makes blocks of order `to` of an allocated block: each is the caller's,
    /// and is freed on its own (`split_page`, which goes to single pages).
    ///
    /// # Errors
    ///
    /// [`Error::BadPieces`] when `to` is not below `order`, [`Error::Shared`]
    /// when somebody else needs the block too, and those of
    /// [`PageAllocator::free`].
    pub(super) fn try_split(&self, pfn: Pfn, order: PageOrder, to: PageOrder) -> Result<()> {
        if to >= order {
            return Err(Error::BadPieces);
        }
        let page = self.map.page(pfn).ok_or(Error::ForeignPfn)?;
        let zone = self.zones.zone(page.zone_id());
        // With the lock held nobody walks the pages meanwhile.
        let _areas = zone.ok_or(Error::ForeignPfn)?.free.lock();
        self.check_free(pfn, order)?;
        pieces::check_sole(page)?;
        pieces::divide(self.map, pfn, order, to);
        Ok(())
    }

    /// Makes one block of the caller's blocks that fill it, as
    /// `prep_compound_page` does with a range of pages.
    ///
    /// # Errors
    ///
    /// [`Error::BadPieces`] when they don't fill an aligned block of one zone,
    /// or it is one already, [`Error::Shared`] when somebody else needs one of
    /// them too, and those of [`PageAllocator::free`].
    pub(super) fn try_merge(&self, pfn: Pfn, order: PageOrder) -> Result<()> {
        let page = self.map.page(pfn).ok_or(Error::ForeignPfn)?;
        let zone = self.zones.zone(page.zone_id());
        let _areas = zone.ok_or(Error::ForeignPfn)?.free.lock();
        pieces::for_each(self.map, pfn, order, |pfn, _| {
            self.allocated_order(pfn).map(drop)
        })?;
        pieces::join(self.map, pfn, order);
        Ok(())
    }

    /// Takes `pages` pages in a row, each to be freed on its own
    /// (`alloc_pages_exact`). The request's order is not looked at.
    ///
    /// # Errors
    ///
    /// [`Error::OrderTooLarge`] for none or more than the largest block has, and
    /// those of [`PageAllocator::alloc`].
    pub(super) fn take_exact(&self, request: &AllocRequest, pages: Pages) -> Result<Pfn> {
        let order = pages.order_up().ok_or(Error::OrderTooLarge)?;
        let pfn = self.alloc(&request.of_order(order))?;
        if order != PageOrder::ZERO {
            self.try_split(pfn, order, PageOrder::ZERO)?;
        }
        for i in pages.0..order.pages().0 {
            let pfn = pfn + Pages(i);
            self.take_single(pfn)?;
            if let Some(page) = self.map.page(pfn) {
                // Past the pageset, and not to be given out soon.
                self.free_taken(pfn, page, PageOrder::ZERO, Some(Placement::Tail));
            }
        }
        Ok(pfn)
    }

    /// Gives back what [`PageAllocator::alloc_exact`] took (`free_pages_exact`).
    ///
    /// # Errors
    ///
    /// Those of [`PageAllocator::free`] for the first page that can't be freed;
    /// those before it have been.
    pub fn free_exact(&self, pfn: Pfn, pages: Pages) -> Result<()> {
        (0..pages.0).try_for_each(|i| self.free(pfn + Pages(i), PageOrder::ZERO))
    }

    /// One more needs the block at `pfn`, which somebody has (`get_page`): it
    /// takes one free more until the block goes back.
    ///
    /// # Errors
    ///
    /// Those of [`PageAllocator::free`], where no allocated block starts;
    /// [`Error::TooManyReferences`].
    pub(super) fn try_get(&self, pfn: Pfn) -> Result<()> {
        let page = self.map.page(pfn).ok_or(Error::ForeignPfn)?;
        self.allocated_order(pfn)?;
        page.try_get()
    }

    /// One less needs the block at `pfn`; whether it was the last and the block
    /// went back (`put_page`).
    ///
    /// # Errors
    ///
    /// Those of [`PageAllocator::free`].
    pub(super) fn try_put(&self, pfn: Pfn) -> Result<bool> {
        let page = self.map.page(pfn).ok_or(Error::ForeignPfn)?;
        let order = page.order();
        let taken = self.take_block(pfn, order)?;
        if let Some(page) = taken {
            self.tell_free(pfn, order);
            self.free_taken(pfn, page, order, None);
        }
        Ok(taken.is_some())
    }

    /// One less needs each of these blocks; those that nobody needs then go back a
    /// folio batch at a time (`folios_put_refs`).
    pub(super) fn put_batches(&self, blocks: &[Pfn], each: &mut dyn FnMut(Pfn, Result<bool>)) {
        for blocks in blocks.chunks(FOLIO_BATCH) {
            let mut prepared = [None; FOLIO_BATCH];
            for (slot, &pfn) in prepared.iter_mut().zip(blocks) {
                let page = self.map.page(pfn).ok_or(Error::ForeignPfn);
                let order = page.map(PageDescriptor::order);
                let taken = order.and_then(|order| self.take_block(pfn, order));
                if let (Ok(Some(page)), Ok(order)) = (taken, order) {
                    self.tell_free(pfn, order);
                    *slot = Some((pfn, page, order));
                }
                let last = taken.map(|page| page.is_some());
                each(pfn, last.map_err(|error| self.refuse(error)));
            }
            for (pfn, page, order) in prepared.into_iter().flatten() {
                self.free_prepared(pfn, page, order);
            }
        }
    }

    /// Frees one block of a batch, and tells so where a CPU keeps it
    /// (`free_unref_folios`).
    fn free_prepared(&self, pfn: Pfn, page: &PageDescriptor, order: PageOrder) {
        if self.free_taken(pfn, page, order, None) {
            tell(self.platform, TracePoint::PageFreeBatched, || {
                TraceEvent::PageFreeBatched { pfn }
            });
        }
    }
}
