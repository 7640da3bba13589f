// SPDX-License-Identifier: GPL-2.0

//! The seam: what a page allocator is to the rest of shadowmm.
//!
//! Whoever takes pages, gives them back or reports on them knows this trait
//! and no more, so that another allocator can stand in the buddy system's
//! place and be measured under the same load.

use super::alloc::AllocRequest;
use super::gfp::Gfp;
use super::validate::Violation;
use crate::error::Error;
use crate::error::Result;
use crate::page::PageDescriptor;
use crate::page::PageState;
use crate::page::ZoneId;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PfnRange;
use crate::phys::NR_PAGE_ORDERS;
use crate::phys::PAGEBLOCK_ORDER;
use core::fmt;
use core::mem;

/// An allocator of page blocks. A refused call changes nothing but the
/// counters of refusals.
pub trait PageAllocator {
    /// Takes a block and returns its first page (`alloc_pages`). The block is
    /// aligned to its order, and the caller's until it is given to
    /// [`PageAllocator::free`].
    ///
    /// # Errors
    ///
    /// [`BadGfp`], [`NodeOffline`], or [`NoMemory`] when no zone that the
    /// request may use has a block.
    ///
    /// [`BadGfp`]: crate::error::Error::BadGfp
    /// [`NodeOffline`]: crate::error::Error::NodeOffline
    /// [`NoMemory`]: crate::error::Error::NoMemory
    fn alloc(&self, request: &AllocRequest) -> Result<Pfn>;

    /// Gives a block back: `pfn` and `order` are checked, so they may come from
    /// anywhere (`free_pages`).
    ///
    /// # Errors
    ///
    /// [`ForeignPfn`], [`PageReserved`], [`DoubleFree`], [`WrongOrder`] or
    /// [`NotBlockHead`].
    ///
    /// [`ForeignPfn`]: crate::error::Error::ForeignPfn
    /// [`PageReserved`]: crate::error::Error::PageReserved
    /// [`DoubleFree`]: crate::error::Error::DoubleFree
    /// [`WrongOrder`]: crate::error::Error::WrongOrder
    /// [`NotBlockHead`]: crate::error::Error::NotBlockHead
    fn free(&self, pfn: Pfn, order: PageOrder) -> Result<()>;

    /// Whether [`PageAllocator::free`] would take this block; nothing is done
    /// or counted, and without a lock the answer may be old at once.
    ///
    /// # Errors
    ///
    /// Those of [`PageAllocator::free`].
    fn check_free(&self, pfn: Pfn, order: PageOrder) -> Result<()>;

    /// The order of the allocated block that starts at `pfn`; without a lock the answer
    /// may be old at once.
    ///
    /// # Errors
    ///
    /// Those of [`PageAllocator::free`], but for an order that is not the block's.
    fn allocated_order(&self, pfn: Pfn) -> Result<PageOrder>;

    /// Makes reserved pages the allocator's own: memblock's hand-off
    /// (`__free_pages_core`).
    ///
    /// # Errors
    ///
    /// [`WrongOrder`] when the block is not aligned or lies in two zones,
    /// [`ForeignPfn`] when a page is not RAM, [`DoubleFree`] when a page is the
    /// allocator's already.
    ///
    /// [`ForeignPfn`]: crate::error::Error::ForeignPfn
    /// [`DoubleFree`]: crate::error::Error::DoubleFree
    /// [`WrongOrder`]: crate::error::Error::WrongOrder
    fn accept(&self, pfn: Pfn, order: PageOrder) -> Result<()>;

    /// What is free in a zone, in one consistent picture; `None` when there is
    /// no such zone.
    fn free_report(&self, zone: ZoneId) -> Option<FreeReport>;

    /// The block that a page lies in, as far as it can be seen without a lock;
    /// `None` when there is no such page.
    fn block_of(&self, pfn: Pfn) -> Option<BlockInfo>;

    /// Checks every invariant, one zone after the other.
    ///
    /// # Errors
    ///
    /// The first [`Violation`] found.
    fn validate(&self) -> Result<(), Violation>;

    /// Makes blocks of order `to` of an allocated block (`split_page`); the
    /// caller's, each to be freed on its own.
    ///
    /// # Errors
    ///
    /// [`BadPieces`], [`Shared`], and those of [`PageAllocator::free`].
    ///
    /// [`BadPieces`]: Error::BadPieces
    /// [`Shared`]: Error::Shared
    fn split(&self, pfn: Pfn, order: PageOrder, to: PageOrder) -> Result<()>;

    /// Makes one block of the caller's blocks that fill it.
    ///
    /// # Errors
    ///
    /// Those of [`PageAllocator::split`].
    fn merge(&self, pfn: Pfn, order: PageOrder) -> Result<()>;

    /// One more needs the allocated block at `pfn` (`get_page`). The caller
    /// needs it too, or keeps those who do from giving it back meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyReferences`], and those of [`PageAllocator::free`].
    fn get(&self, pfn: Pfn) -> Result<()>;

    /// One less needs the block at `pfn`; whether it was the last, and the
    /// block went back (`put_page`).
    ///
    /// # Errors
    ///
    /// Those of [`PageAllocator::free`].
    fn put(&self, pfn: Pfn) -> Result<bool>;

    /// One less needs each of these blocks, as when a process ends that has many
    /// (`folios_put`); `each` is told in turn what [`PageAllocator::put`] says of
    /// one. A block may be there more than once.
    fn put_batch(&self, blocks: &[Pfn], each: &mut dyn FnMut(Pfn, Result<bool>)) {
        for &pfn in blocks {
            each(pfn, self.put(pfn));
        }
    }

    /// Fills `pages` with single pages from its start on, and says how many
    /// those are (`alloc_pages_bulk`). The request's order is not looked at.
    ///
    /// # Errors
    ///
    /// Those of [`PageAllocator::alloc`], when there is not one page.
    fn alloc_bulk(&self, request: &AllocRequest, pages: &mut [Pfn]) -> Result<usize> {
        let request = request.of_order(PageOrder::ZERO);
        let mut done = 0usize;
        for page in pages {
            match self.alloc(&request) {
                Ok(pfn) => *page = pfn,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
            done = done.saturating_add(1);
        }
        Ok(done)
    }

    /// Gives single pages back, and says how many were taken
    /// (`free_pages_bulk`). Those that can't be freed are passed over.
    fn free_bulk(&self, pages: &[Pfn]) -> usize {
        let freed = pages.iter().map(|&pfn| self.free(pfn, PageOrder::ZERO));
        freed.filter(Result::is_ok).count()
    }

    /// Takes `pages` pages in a row, each to be freed on its own
    /// (`alloc_pages_exact`). The request's order is not looked at.
    ///
    /// # Errors
    ///
    /// [`Error::OrderTooLarge`] for none or more than the largest block has,
    /// and those of [`PageAllocator::alloc`].
    fn alloc_exact(&self, request: &AllocRequest, pages: Pages) -> Result<Pfn> {
        let order = pages.order_up().ok_or(Error::OrderTooLarge)?;
        let pfn = self.alloc(&request.of_order(order))?;
        if order != PageOrder::ZERO {
            self.split(pfn, order, PageOrder::ZERO)?;
        }
        for i in pages.0..order.pages().0 {
            self.free(pfn + Pages(i), PageOrder::ZERO)?;
        }
        Ok(pfn)
    }

    /// Takes `pages` pages in a row, more than a block has, wherever they can be
    /// had: each is freed on its own, or with `__GFP_COMP` the block that they
    /// are (`alloc_contig_pages`). The request's order is not looked at.
    ///
    /// # Errors
    ///
    /// [`Error::NotSupported`] where nothing is moved.
    fn alloc_contig(&self, _request: &AllocRequest, _pages: Pages) -> Result<Pfn> {
        Err(Error::NotSupported)
    }

    /// Takes these pages, in the same way (`alloc_contig_range`).
    ///
    /// # Errors
    ///
    /// [`Error::NotSupported`] where nothing is moved.
    fn alloc_range(&self, _range: PfnRange, _gfp: Gfp) -> Result<()> {
        Err(Error::NotSupported)
    }

    /// Takes a block as an owned value, which goes back when it is dropped.
    ///
    /// # Errors
    ///
    /// Those of [`PageAllocator::alloc`].
    #[inline]
    fn alloc_block(&self, request: &AllocRequest) -> Result<PageBlock<'_, Self>>
    where
        Self: Sized,
    {
        Ok(PageBlock {
            allocator: self,
            page: self.alloc_page(request)?,
            order: request.order,
        })
    }

    /// Takes a block as Linux gives it: by its first page's descriptor, which
    /// spares whoever keeps it the search when it goes back.
    ///
    /// # Errors
    ///
    /// Those of [`PageAllocator::alloc`].
    #[inline]
    fn alloc_page(&self, request: &AllocRequest) -> Result<PageRef<'_>> {
        let pfn = self.alloc(request)?;
        let page = self.descriptor(pfn).ok_or(Error::Corrupt)?;
        Ok(PageRef { pfn, page })
    }

    /// Gives a block back that [`PageAllocator::alloc_page`] gave to the caller
    /// alone (`__free_pages`). A second free is refused; of two at the same moment
    /// only [`PageAllocator::free`] is sure to refuse one.
    ///
    /// # Errors
    ///
    /// Those of [`PageAllocator::free`].
    #[inline]
    fn free_page(&self, page: PageRef<'_>, order: PageOrder) -> Result<()> {
        self.free(page.pfn, order)
    }

    /// [`PageAllocator::alloc_page`] with more of it inlined: for a request that is
    /// a constant where it is made, so that what is not for its order falls away.
    ///
    /// # Errors
    ///
    /// Those of [`PageAllocator::alloc`].
    #[inline(always)]
    fn alloc_page_here(&self, request: &AllocRequest) -> Result<PageRef<'_>> {
        self.alloc_page(request)
    }

    /// [`PageAllocator::free_page`], likewise where the order is a constant.
    ///
    /// # Errors
    ///
    /// Those of [`PageAllocator::free`].
    #[inline(always)]
    fn free_page_here(&self, page: PageRef<'_>, order: PageOrder) -> Result<()> {
        self.free_page(page, order)
    }

    /// Fills `pages` with single pages from its start on, as
    /// [`PageAllocator::alloc_bulk`] does (`alloc_pages_bulk`).
    ///
    /// # Errors
    ///
    /// Those of [`PageAllocator::alloc`], when there is not one page.
    fn alloc_page_bulk<'a>(
        &'a self,
        request: &AllocRequest,
        pages: &mut [PageRef<'a>],
    ) -> Result<usize> {
        let request = request.of_order(PageOrder::ZERO);
        let mut done = 0usize;
        for page in pages {
            match self.alloc_page(&request) {
                Ok(taken) => *page = taken,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
            done = done.saturating_add(1);
        }
        Ok(done)
    }

    /// Gives single pages back that [`PageAllocator::alloc_page`] gave to the
    /// caller alone, and says how many were taken.
    fn free_page_bulk(&self, pages: &[PageRef<'_>]) -> usize {
        let freed = pages
            .iter()
            .map(|&page| self.free_page(page, PageOrder::ZERO));
        freed.filter(Result::is_ok).count()
    }

    /// The descriptor of a page (`pfn_to_page`).
    fn descriptor(&self, pfn: Pfn) -> Option<&PageDescriptor>;
}

/// What is free in a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeReport {
    /// Free blocks by order, isolated ones among them: a line of `/proc/buddyinfo`.
    pub blocks: [u64; NR_PAGE_ORDERS],
    /// Free pages that are not isolated (`NR_FREE_PAGES`).
    pub free: Pages,
    /// Of these, those in blocks of at least a page block (`NR_FREE_PAGES_BLOCKS`).
    pub free_pages_blocks: Pages,
}

impl FreeReport {
    /// What an allocator has that isolates nothing.
    pub fn of_blocks(blocks: [u64; NR_PAGE_ORDERS]) -> Self {
        let from = |least: u8| {
            let orders = PageOrder::all().zip(blocks);
            let wanted = orders.filter(|(order, _)| order.get() >= least);
            wanted
                .map(|(order, count)| Pages(count << order.get()))
                .sum()
        };
        Self {
            blocks,
            free: from(0),
            free_pages_blocks: from(PAGEBLOCK_ORDER),
        }
    }
}

/// The block that a page lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockInfo {
    /// The block's first page; the page itself where no block is.
    pub head: Pfn,
    /// The block's order; 0 where no block is.
    pub order: PageOrder,
    /// What the first page is: `Buddy` or `Allocated`, or the page's own state
    /// where no block is.
    pub state: PageState,
}

/// A page with its descriptor (`struct page *`).
#[derive(Clone, Copy)]
pub struct PageRef<'a> {
    pub(crate) pfn: Pfn,
    pub(crate) page: &'a PageDescriptor,
}

/// What [`PageRef::none`] refers to.
static HOLE: PageDescriptor = PageDescriptor::hole();

impl PageRef<'_> {
    /// No page: for places that are to be filled. Freeing it is refused.
    pub fn none() -> Self {
        Self {
            pfn: Pfn(u64::MAX),
            page: &HOLE,
        }
    }

    /// Which page it is (`page_to_pfn`).
    #[inline]
    pub const fn pfn(&self) -> Pfn {
        self.pfn
    }
}

/// An allocated block, owned: it goes back to its allocator when it is dropped.
///
/// # Invariants
///
/// `page` is the first page of a block of `order` that `allocator` gave out and
/// has not got back.
#[must_use = "a block that nobody keeps goes back at once"]
pub struct PageBlock<'a, A: PageAllocator + ?Sized> {
    allocator: &'a A,
    page: PageRef<'a>,
    order: PageOrder,
}

impl<A: PageAllocator + ?Sized> PageBlock<'_, A> {
    /// The first page.
    pub fn pfn(&self) -> Pfn {
        self.page.pfn
    }

    /// log2 of the pages.
    pub fn order(&self) -> PageOrder {
        self.order
    }

    /// Gives the block back and tells whether the allocator took it.
    ///
    /// # Errors
    ///
    /// Those of [`PageAllocator::free`], if somebody else freed the block.
    pub fn free(self) -> Result<()> {
        let (allocator, page) = (self.allocator, self.page);
        let (_, order) = self.into_raw();
        allocator.free_page(page, order)
    }

    /// Gives the ownership to whoever keeps the numbers.
    #[must_use = "the numbers are all that is left of the block"]
    pub fn into_raw(self) -> (Pfn, PageOrder) {
        let raw = (self.page.pfn, self.order);
        mem::forget(self);
        raw
    }
}

impl<A: PageAllocator + ?Sized> Drop for PageBlock<'_, A> {
    #[inline]
    fn drop(&mut self) {
        // A refusal can only mean that somebody freed the numbers behind the
        // owner's back. The allocator has counted it.
        let _ = self.allocator.free_page(self.page, self.order);
    }
}

impl<A: PageAllocator + ?Sized> fmt::Debug for PageBlock<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageBlock({} order {})", self.page.pfn, self.order.get())
    }
}
