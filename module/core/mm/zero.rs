// SPDX-License-Identifier: GPL-2.0

//! The zero page: what whoever reads memory that nobody has written to gets.
//!
//! There is one for all address spaces, and each that has tables has a reference to it.
//! No entry of it is writable, and nobody counts it as his. Linux also has one of 2 MiB
//! (`huge_zero_folio`); here memory that is read first is mapped by single pages.

use super::lock::WriteLock;
use super::system::AddressSpaces;
use crate::buddy::gfp;
use crate::buddy::AllocRequest;
use crate::buddy::PageAllocator;
use crate::error::Result;
use crate::phys::PageOrder;
use crate::phys::Pfn;
use crate::platform::Platform;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::Release;

const REQUEST: AllocRequest = AllocRequest::new(gfp::GFP_KERNEL, PageOrder::ZERO);

impl<'a, 'm: 'a, P: Platform> AddressSpaces<'a, 'm, P> {
    /// The zero page. The caller's address space has a reference.
    #[inline]
    pub(super) fn zero_page(&self) -> Pfn {
        Pfn(self.table().zero_page.load(Relaxed))
    }

    /// One address space more has a reference; the first one makes it.
    ///
    /// # Errors
    ///
    /// Those of the page allocator.
    pub(super) fn get_zero_page(&self) -> Result<()> {
        let table = self.table();
        let _lock = WriteLock::lock(self.platform(), &table.zero_lock);
        let users = table.zero_users.load(Relaxed);
        if users == 0 {
            let allocator = self.mm.allocator();
            let pfn = allocator.alloc(&REQUEST)?;
            if let Err(error) = self.zero_pages(pfn, PageOrder::ZERO) {
                allocator.free(pfn, PageOrder::ZERO)?;
                return Err(error);
            }
            table.zero_page.store(pfn.0, Release);
        }
        table.zero_users.store(users.wrapping_add(1), Relaxed);
        Ok(())
    }

    /// One address space less; the last one gives it back.
    pub(super) fn put_zero_page(&self) {
        let table = self.table();
        let _lock = WriteLock::lock(self.platform(), &table.zero_lock);
        let users = table.zero_users.load(Relaxed).saturating_sub(1);
        table.zero_users.store(users, Relaxed);
        if users == 0 {
            let pfn = Pfn(table.zero_page.swap(0, Relaxed));
            // The allocator counts a refusal.
            let _ = self.mm.allocator().free(pfn, PageOrder::ZERO);
        }
    }
}
