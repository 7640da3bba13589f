// SPDX-License-Identifier: GPL-2.0

//! How many entries map each page of a block of 2 MiB.
//!
//! Address spaces that share a block may have it whole or in pages, each as it likes, and a
//! page that one has copied or unmapped is still the others'. So there are two counts, and
//! a page's is the sum of both (`folio_precise_page_mapcount`):
//!
//! ```text
//! _mapcount           entries that map this page alone (Entry::PART), in its descriptor
//! _entire_mapcount    entries that map all of the block, in that of its first page
//!
//! first write                    1 of all of it
//! fork                           1 more of what the entry is of
//! split in the tables alone      1 more of each page, then 1 less of all of it
//! the entry goes                 1 less of what it is of
//! ```
//!
//! Whoever changes one has the lock of the entry's table, but other entries of the block are
//! in other tables, so the counts are changed by atomic steps. References are another
//! matter: who copies a page has one to its block, and maps nothing with it. When the block
//! itself is split into pages, or goes, the counts mean nothing any more.

use super::page_table::Entry;
use super::page_table::Translation;
use super::system::AddressSpaces;
use crate::buddy::MemMap;
use crate::error::Error;
use crate::error::Result;
use crate::page::PageDescriptor;
use crate::phys::PageOrder;
use crate::phys::Pfn;
use crate::platform::Platform;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::Release;

/// Pages in 2 MiB.
const HUGE_PAGES: u32 = PageOrder::PAGEBLOCK.pages().0 as u32;

impl<'a, 'm: 'a, P: Platform> AddressSpaces<'a, 'm, P> {
    /// The descriptors of a block's pages, the first one's first.
    fn block_pages(&self, head: Pfn) -> &'m [PageDescriptor] {
        let pages = MemMap::pages(self.mm.sparse, head, HUGE_PAGES);
        // A section has whole page blocks.
        pages.unwrap_or(&[])
    }

    /// A block that nobody has mapped yet has one entry soon, of all of it
    /// (`folio_add_new_anon_rmap`).
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] where there is no such block.
    pub(super) fn begin_mapcounts(&self, head: Pfn) -> Result<()> {
        let pages = self.block_pages(head);
        let first = pages.first().ok_or(Error::Corrupt)?;
        for page in pages {
            page.mapcount().store(0, Relaxed);
        }
        first.entire_mapcount().store(1, Relaxed);
        Ok(())
    }

    /// Where the entries like this one are counted, if it is one of a block.
    #[inline]
    fn mapcount_of(&self, entry: Entry) -> Option<&'m AtomicU32> {
        if !entry.has(Entry::HUGE | Entry::PART) {
            return None;
        }
        let page = self.mm.sparse.page(entry.pfn())?;
        Some(match entry.has(Entry::PART) {
            true => page.mapcount(),
            false => page.entire_mapcount(),
        })
    }

    /// There is one more entry like this one (`folio_dup_anon_rmap_ptes`,
    /// `folio_try_dup_anon_rmap_pmd`).
    #[inline]
    pub(super) fn note_mapped(&self, entry: Entry) {
        if let Some(count) = self.mapcount_of(entry) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// There is one less; its reference is there still (`folio_remove_rmap_ptes`,
    /// `folio_remove_rmap_pmd`).
    #[inline]
    pub(super) fn note_unmapped(&self, entry: Entry) {
        if let Some(count) = self.mapcount_of(entry) {
            count.fetch_sub(1, Relaxed);
        }
    }

    /// An entry of all of a block becomes one of each page. Nobody finds a page meanwhile
    /// that is mapped less than it is (`__split_huge_pmd_locked`).
    pub(super) fn note_parted(&self, head: Pfn) {
        let pages = self.block_pages(head);
        for page in pages {
            page.mapcount().fetch_add(1, Relaxed);
        }
        if let Some(first) = pages.first() {
            first.entire_mapcount().fetch_sub(1, Release);
        }
    }

    /// How many entries map a page; `None` for one that is not part of a block. The count
    /// that others make less is looked at first: where it is less, the other is more.
    pub(super) fn block_mapcount(&self, page: &Translation) -> Option<u32> {
        if !page.leaf.has(Entry::HUGE | Entry::PART) {
            return None;
        }
        let sparse = self.mm.sparse;
        let head = page.leaf.pfn().align_down(PageOrder::PAGEBLOCK);
        let entire = sparse.page(head)?.entire_mapcount().load(Acquire);
        let own = sparse.page(page.pfn?)?.mapcount().load(Relaxed);
        Some(own.saturating_add(entire))
    }
}
