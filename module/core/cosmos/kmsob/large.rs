// SPDX-License-Identifier: GPL-2.0

//! What is larger than the largest size: a block of pages, on one list of all
//! such. Cosmos's `kmsob_new` refuses it, and its callers ask for pages.

use super::links;
use super::locked::Locked;
use super::Owner;
use crate::buddy::PageAllocator;
use crate::error::Result;
use crate::phys::PageOrder;
use crate::phys::Pfn;
use crate::platform::Platform;

impl<P: Platform, A: PageAllocator> Locked<'_, P, A> {
    /// Makes the block somebody's object.
    pub(super) fn add_large(&mut self, pfn: Pfn, order: PageOrder, owner: Owner) -> Result<()> {
        // The cache may have gone while the block was asked for.
        self.count_owner(owner, true)?;
        self.pool.mark(pfn, owner)?;
        self.head.large = links::push(&self.pool.pages, self.head.large, pfn)?;
        self.head.large_blocks = self.head.large_blocks.wrapping_add(1);
        self.head.large_pages = self.head.large_pages.wrapping_add(order.pages().0);
        Ok(())
    }

    /// The block is nobody's object any more.
    pub(super) fn remove_large(&mut self, pfn: Pfn, order: PageOrder) -> Result<()> {
        self.head.large = links::remove(&self.pool.pages, self.head.large, pfn)?;
        self.head.large_blocks = self.head.large_blocks.wrapping_sub(1);
        self.head.large_pages = self.head.large_pages.wrapping_sub(order.pages().0);
        Ok(())
    }

    /// Calls `each` with those blocks and who has them, the youngest first, until it
    /// gives something.
    pub(super) fn find_large<R>(
        &self,
        mut each: impl FnMut(Pfn, PageOrder, Owner) -> Option<R>,
    ) -> Option<R> {
        let mut next = links::first(self.head.large);
        // A broken list may run in a circle; the count ends it.
        for _ in 0..self.head.large_blocks {
            let pfn = next?;
            let found = self.pool.block_at(pfn)?;
            if let Some(found) = each(pfn, found.order, found.owner) {
                return Some(found);
            }
            next = self.pool.pages.descriptor(pfn)?.next();
        }
        None
    }
}
