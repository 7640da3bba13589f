// SPDX-License-Identifier: GPL-2.0

//! Which page allocator has the pages: the owner chooses at boot.
//!
//! ```text
//! Config.allocator      AllocatorKind::{Buddy, Cosmos}
//!      | boot
//!      v
//! Mm::allocator()  ->   Allocator::{Buddy, Cosmos}  behind buddy::PageAllocator
//! ```
//!
//! For the buddy system the choice costs one comparison that always comes out
//! the same; its code is inlined behind it, and that of other allocators is
//! not.

use crate::buddy::AllocRequest;
use crate::buddy::BlockInfo;
use crate::buddy::BuddySystem;
use crate::buddy::FreeReport;
use crate::buddy::Gfp;
use crate::buddy::MemMap;
use crate::buddy::PageAllocator;
use crate::buddy::PageRef;
use crate::buddy::Violation;
use crate::buddy::ZoneTable;
use crate::cosmos::CosmosSystem;
use crate::error::Error;
use crate::error::Result;
use crate::page::PageDescriptor;
use crate::page::ZoneId;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PfnRange;
use crate::platform::Platform;

/// The page allocators that there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AllocatorKind {
    /// Linux's buddy system.
    #[default]
    Buddy,
    /// The division-and-merge manager of Cosmos.
    Cosmos,
}

impl AllocatorKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Buddy, Self::Cosmos];

    /// The name: the parameter's text, and the first line of the report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Buddy => "buddy",
            Self::Cosmos => "cosmos",
        }
    }

    /// The allocator of that name; the buddy system for an empty text.
    ///
    /// # Errors
    ///
    /// [`Error::BadParameter`] when there is none.
    pub fn parse(text: &str) -> Result<Self> {
        match text.trim() {
            "" => Ok(Self::default()),
            name => Self::ALL
                .into_iter()
                .find(|kind| kind.name() == name)
                .ok_or(Error::BadParameter),
        }
    }
}

/// The allocator that was chosen: a view, made anew wherever it is needed.
pub enum Allocator<'a, P: Platform, M, Z> {
    /// Linux's buddy system.
    Buddy(BuddySystem<'a, P, M, Z>),
    /// The division-and-merge manager of Cosmos.
    Cosmos(CosmosSystem<'a, P, M, Z>),
}

impl<P: Platform, M, Z> Allocator<'_, P, M, Z> {
    /// Which one it is.
    pub const fn kind(&self) -> AllocatorKind {
        match self {
            Self::Buddy(_) => AllocatorKind::Buddy,
            Self::Cosmos(_) => AllocatorKind::Cosmos,
        }
    }
}

impl<P, M, Z> PageAllocator for Allocator<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    #[inline]
    fn alloc(&self, request: &AllocRequest) -> Result<Pfn> {
        match self {
            Self::Buddy(buddy) => buddy.alloc(request),
            Self::Cosmos(cosmos) => cosmos.alloc(request),
        }
    }

    #[inline]
    fn free(&self, pfn: Pfn, order: PageOrder) -> Result<()> {
        match self {
            Self::Buddy(buddy) => buddy.free(pfn, order),
            Self::Cosmos(cosmos) => cosmos.free(pfn, order),
        }
    }

    #[inline]
    fn alloc_page(&self, request: &AllocRequest) -> Result<PageRef<'_>> {
        match self {
            Self::Buddy(buddy) => buddy.alloc_page(request),
            Self::Cosmos(cosmos) => cosmos.alloc_page(request),
        }
    }

    #[inline]
    fn free_page(&self, page: PageRef<'_>, order: PageOrder) -> Result<()> {
        match self {
            Self::Buddy(buddy) => buddy.free_page(page, order),
            Self::Cosmos(cosmos) => cosmos.free_page(page, order),
        }
    }

    #[inline]
    fn alloc_page_here(&self, request: &AllocRequest) -> Result<PageRef<'_>> {
        match self {
            Self::Buddy(buddy) => buddy.alloc_page_here(request),
            Self::Cosmos(cosmos) => cosmos.alloc_page(request),
        }
    }

    #[inline]
    fn free_page_here(&self, page: PageRef<'_>, order: PageOrder) -> Result<()> {
        match self {
            Self::Buddy(buddy) => buddy.free_page_here(page, order),
            Self::Cosmos(cosmos) => cosmos.free_page(page, order),
        }
    }

    fn alloc_page_bulk<'p>(
        &'p self,
        request: &AllocRequest,
        pages: &mut [PageRef<'p>],
    ) -> Result<usize> {
        match self {
            Self::Buddy(buddy) => buddy.alloc_page_bulk(request, pages),
            Self::Cosmos(cosmos) => cosmos.alloc_page_bulk(request, pages),
        }
    }

    fn free_page_bulk(&self, pages: &[PageRef<'_>]) -> usize {
        match self {
            Self::Buddy(buddy) => buddy.free_page_bulk(pages),
            Self::Cosmos(cosmos) => cosmos.free_page_bulk(pages),
        }
    }

    fn descriptor(&self, pfn: Pfn) -> Option<&PageDescriptor> {
        match self {
            Self::Buddy(buddy) => buddy.descriptor(pfn),
            Self::Cosmos(cosmos) => cosmos.descriptor(pfn),
        }
    }

    fn check_free(&self, pfn: Pfn, order: PageOrder) -> Result<()> {
        match self {
            Self::Buddy(buddy) => buddy.check_free(pfn, order),
            Self::Cosmos(cosmos) => cosmos.check_free(pfn, order),
        }
    }

    fn allocated_order(&self, pfn: Pfn) -> Result<PageOrder> {
        match self {
            Self::Buddy(buddy) => buddy.allocated_order(pfn),
            Self::Cosmos(cosmos) => cosmos.allocated_order(pfn),
        }
    }

    fn accept(&self, pfn: Pfn, order: PageOrder) -> Result<()> {
        match self {
            Self::Buddy(buddy) => buddy.accept(pfn, order),
            Self::Cosmos(cosmos) => cosmos.accept(pfn, order),
        }
    }

    fn free_report(&self, zone: ZoneId) -> Option<FreeReport> {
        match self {
            Self::Buddy(buddy) => buddy.free_report(zone),
            Self::Cosmos(cosmos) => cosmos.free_report(zone),
        }
    }

    fn block_of(&self, pfn: Pfn) -> Option<BlockInfo> {
        match self {
            Self::Buddy(buddy) => buddy.block_of(pfn),
            Self::Cosmos(cosmos) => cosmos.block_of(pfn),
        }
    }

    fn validate(&self) -> Result<(), Violation> {
        match self {
            Self::Buddy(buddy) => buddy.validate(),
            Self::Cosmos(cosmos) => cosmos.validate(),
        }
    }

    fn split(&self, pfn: Pfn, order: PageOrder, to: PageOrder) -> Result<()> {
        match self {
            Self::Buddy(buddy) => buddy.split(pfn, order, to),
            Self::Cosmos(cosmos) => cosmos.split(pfn, order, to),
        }
    }

    fn merge(&self, pfn: Pfn, order: PageOrder) -> Result<()> {
        match self {
            Self::Buddy(buddy) => buddy.merge(pfn, order),
            Self::Cosmos(cosmos) => cosmos.merge(pfn, order),
        }
    }

    fn get(&self, pfn: Pfn) -> Result<()> {
        match self {
            Self::Buddy(buddy) => buddy.get(pfn),
            Self::Cosmos(cosmos) => cosmos.get(pfn),
        }
    }

    fn put(&self, pfn: Pfn) -> Result<bool> {
        match self {
            Self::Buddy(buddy) => buddy.put(pfn),
            Self::Cosmos(cosmos) => cosmos.put(pfn),
        }
    }

    fn put_batch(&self, blocks: &[Pfn], each: &mut dyn FnMut(Pfn, Result<bool>)) {
        match self {
            Self::Buddy(buddy) => buddy.put_batch(blocks, each),
            Self::Cosmos(cosmos) => cosmos.put_batch(blocks, each),
        }
    }

    fn alloc_bulk(&self, request: &AllocRequest, pages: &mut [Pfn]) -> Result<usize> {
        match self {
            Self::Buddy(buddy) => buddy.alloc_bulk(request, pages),
            Self::Cosmos(cosmos) => cosmos.alloc_bulk(request, pages),
        }
    }

    fn free_bulk(&self, pages: &[Pfn]) -> usize {
        match self {
            Self::Buddy(buddy) => buddy.free_bulk(pages),
            Self::Cosmos(cosmos) => cosmos.free_bulk(pages),
        }
    }

    fn alloc_contig(&self, request: &AllocRequest, pages: Pages) -> Result<Pfn> {
        match self {
            Self::Buddy(buddy) => buddy.alloc_contig(request, pages),
            Self::Cosmos(cosmos) => cosmos.alloc_contig(request, pages),
        }
    }

    fn alloc_range(&self, range: PfnRange, gfp: Gfp) -> Result<()> {
        match self {
            Self::Buddy(buddy) => buddy.alloc_range(range, gfp),
            Self::Cosmos(cosmos) => cosmos.alloc_range(range, gfp),
        }
    }

    fn alloc_exact(&self, request: &AllocRequest, pages: Pages) -> Result<Pfn> {
        match self {
            Self::Buddy(buddy) => buddy.alloc_exact(request, pages),
            Self::Cosmos(cosmos) => cosmos.alloc_exact(request, pages),
        }
    }
}
