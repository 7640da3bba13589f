// SPDX-License-Identifier: GPL-2.0

//! Blocks, on their way from the page allocator to the pool and back.
//!
//! ```text
//! take_block --> Allocated --mark--> Slab --Chain::add--> Allocated --> give_back
//! no lock                   lock held                               no lock
//! ```
//!
//! Only while a block is marked does its descriptor lead anybody to what its pages
//! say, and only under the lock; so they say something by then, and nothing is left
//! to find when the block goes.

use super::Kmsob;
use super::Owner;
use crate::buddy::gfp;
use crate::buddy::AllocRequest;
use crate::buddy::Gfp;
use crate::buddy::PageAllocator;
use crate::error::Error;
use crate::error::Result;
use crate::page::PageState;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PhysRange;
use crate::platform::Platform;

/// How many blocks that lie on two pieces of host memory may come in a row; there
/// are few such places.
const MAX_TORN: usize = 16;

/// A block of the pool's.
pub(super) struct Found {
    /// Its first page.
    pub(super) head: Pfn,
    pub(super) order: PageOrder,
    /// The size of its objects, or who has it as a whole.
    pub(super) owner: Owner,
}

impl<P: Platform, A: PageAllocator> Kmsob<'_, P, A> {
    /// The pool's block that a page lies in.
    pub(super) fn block_at(&self, pfn: Pfn) -> Option<Found> {
        let head = self.pages.descriptor(pfn)?.slab_head(pfn)?;
        let page = self.pages.descriptor(head)?;
        let (state, order) = page.state_and_order();
        let inside = head <= pfn && pfn < head + order.pages();
        let owner = Owner::from_tag(page.slab_cache()?)?;
        (state == PageState::Slab && inside).then_some(Found { head, order, owner })
    }

    /// Makes an allocated block the pool's own.
    pub(super) fn mark(&self, head: Pfn, owner: Owner) -> Result<()> {
        let page = self.pages.descriptor(head).ok_or(Error::ForeignPfn)?;
        let order = page.order();
        page.set_slab(order, owner.tag());
        for i in 1..order.pages().0 {
            let tail = self.pages.descriptor(head + Pages(i));
            tail.ok_or(Error::ForeignPfn)?
                .set_slab_tail(head, owner.tag());
        }
        Ok(())
    }

    /// Takes a block that lies in one piece of host memory, as an object must
    /// (`mm_division_pages`).
    pub(super) fn take_block(&self, order: PageOrder, gfp: Gfp) -> Result<Pfn> {
        let request = AllocRequest::new(gfp.without(gfp::__GFP_ZERO), order);
        let mut torn = Chain::EMPTY;
        let mut result = Err(Error::NoMemory);
        for _ in 0..MAX_TORN {
            result = self.pages.alloc(&request);
            let Ok(pfn) = result else { break };
            let range = PhysRange::new(pfn.addr(), order.pages().bytes());
            if self.memory.is_contiguous(range) {
                break;
            }
            torn.link(self, pfn)?;
            result = Err(Error::NoMemory);
        }
        self.give_back(torn)?;
        result
    }

    /// Gives a block back that is not marked (`mm_merge_pages`).
    pub(super) fn give_block(&self, pfn: Pfn, order: PageOrder) -> Result<()> {
        self.pages.free(pfn, order)
    }

    /// Gives all blocks of a chain back, and says how many pages those were. One that is
    /// refused keeps none of the others.
    pub(super) fn give_back(&self, chain: Chain) -> Result<Pages> {
        let (mut pages, mut refused) = (Pages::ZERO, Ok(()));
        let mut next = chain.first;
        for _ in 0..chain.blocks {
            let pfn = next.ok_or(Error::SlabDamaged)?;
            let page = self.pages.descriptor(pfn).ok_or(Error::SlabDamaged)?;
            let order = page.order();
            next = page.next();
            page.set_next(None);
            match self.pages.free(pfn, order) {
                Ok(()) => pages += order.pages(),
                Err(error) => refused = Err(error),
            }
        }
        refused.map(|()| pages)
    }
}

/// Allocated blocks that are nobody's but the caller's, linked through their
/// descriptors, until they go back.
#[must_use]
pub(super) struct Chain {
    first: Option<Pfn>,
    blocks: u64,
}

impl Chain {
    /// No block.
    pub(super) const EMPTY: Self = Self {
        first: None,
        blocks: 0,
    };

    /// How many blocks there are.
    pub(super) const fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Adds a block of the pool's, which is an allocated one then. Nobody has an
    /// object of it, and no list has it.
    pub(super) fn add<P: Platform, A: PageAllocator>(
        &mut self,
        pool: &Kmsob<'_, P, A>,
        head: Pfn,
    ) -> Result<()> {
        let page = pool.pages.descriptor(head).ok_or(Error::ForeignPfn)?;
        let order = page.order();
        for i in 1..order.pages().0 {
            let tail = pool.pages.descriptor(head + Pages(i));
            let tail = tail.ok_or(Error::ForeignPfn)?;
            tail.set_state(PageState::Tail, PageOrder::ZERO);
            tail.set_next(None);
        }
        page.set_state(PageState::Allocated, order);
        self.link(pool, head)
    }

    /// Adds an allocated block.
    fn link<P: Platform, A: PageAllocator>(
        &mut self,
        pool: &Kmsob<'_, P, A>,
        pfn: Pfn,
    ) -> Result<()> {
        let page = pool.pages.descriptor(pfn).ok_or(Error::ForeignPfn)?;
        page.set_next(self.first);
        page.set_prev(None);
        self.first = Some(pfn);
        self.blocks = self.blocks.wrapping_add(1);
        Ok(())
    }
}
