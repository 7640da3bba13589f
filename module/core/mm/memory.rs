// SPDX-License-Identifier: GPL-2.0

//! What is in pages: zeroes, and copies.

use super::system::AddressSpaces;
use crate::buddy::PageRef;
use crate::error::Error;
use crate::error::Result;
use crate::phys::NodeId;
use crate::phys::PageOrder;
use crate::phys::Pfn;
use crate::phys::PhysRange;
use crate::phys::Window;
use crate::platform::Platform;
use crate::slab::SlabAllocator;

impl<'a, 'm: 'a, P: Platform> AddressSpaces<'a, 'm, P> {
    #[inline]
    fn window(&self, nid: NodeId) -> Option<&'m Window<'m>> {
        SlabAllocator::new(self.mm).window(nid)
    }

    /// Fills a block with zeroes that the caller has just been given (`clear_highpage`).
    ///
    /// # Errors
    ///
    /// [`Error::ForeignPfn`] where there is no such memory.
    #[inline]
    pub(super) fn zero_pages(&self, pfn: Pfn, order: PageOrder) -> Result<()> {
        let page = self.mm.sparse.page(pfn).ok_or(Error::ForeignPfn)?;
        let range = PhysRange::new(pfn.addr(), order.pages().bytes());
        match self.window(page.nid()) {
            Some(window) if window.zero(range) => Ok(()),
            _ => self.mm.region.zero(range),
        }
    }

    /// The same for a page at hand.
    #[inline(always)]
    pub(super) fn zero_page_at(&self, page: PageRef<'_>) -> Result<()> {
        let range = PhysRange::new(page.pfn().addr(), PageOrder::ZERO.pages().bytes());
        match self.window(page.page.nid()) {
            Some(window) if window.zero(range) => Ok(()),
            _ => self.mm.region.zero(range),
        }
    }

    /// Copies a page to another that the caller has just been given
    /// (`copy_user_highpage`). Processes may have the first mapped for reading.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignPfn`] where there is no such memory.
    pub(super) fn copy_page(&self, from: Pfn, to: Pfn) -> Result<()> {
        let range = PhysRange::new(from.addr(), PageOrder::ZERO.pages().bytes());
        let window_of = |pfn| self.window(self.mm.sparse.page(pfn)?.nid());
        match (window_of(from), window_of(to)) {
            (Some(source), Some(target)) if source.copy(range, target, to.addr()) => Ok(()),
            _ => self.mm.region.copy(range, to.addr()),
        }
    }
}
