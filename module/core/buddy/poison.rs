// SPDX-License-Identifier: GPL-2.0

//! Pages that are nobody's are poisoned, so that a use after free is seen.
//!
//! ```text
//!            given back                            given out
//! watched    nobody may touch it           ...     its owner may        Platform::WATCHES
//! filled     with a pattern                ...     is it still there?   Platform::poisons_pages()
//! ```
//!
//! A page is poisoned when it has been taken from its owner and nobody else can
//! reach it yet, and the other way round when it is given out, wherever that
//! happens. To watch costs what the surroundings charge, and where they don't,
//! nothing: the question is a constant. To fill pages is asked for at load; the
//! short ways are closed then, and ask nothing.

use super::system::BuddySystem;
use super::MemMap;
use super::ZoneTable;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PhysAddr;
use crate::phys::PhysRange;
use crate::platform::Platform;
use core::fmt;

impl<P, M, Z> BuddySystem<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// A block has been taken from its owner (`kernel_poison_pages`).
    #[inline(always)]
    pub(super) fn poison(&self, pfn: Pfn, order: PageOrder) {
        if P::WATCHES || self.platform.poisons_pages() {
            self.poison_pages(pfn, order.pages());
        }
    }

    /// The same in a short way, which is closed where pages are filled.
    #[inline(always)]
    pub(super) fn poison_here(&self, pfn: Pfn, order: PageOrder) {
        if P::WATCHES {
            self.poison_pages(pfn, order.pages());
        }
    }

    /// A block is given out (`kernel_unpoison_pages`).
    #[inline(always)]
    pub(super) fn unpoison(&self, pfn: Pfn, order: PageOrder) {
        if P::WATCHES || self.platform.poisons_pages() {
            self.unpoison_pages(pfn, order.pages());
        }
    }

    /// The same in a short way.
    #[inline(always)]
    pub(super) fn unpoison_here(&self, pfn: Pfn, order: PageOrder) {
        if P::WATCHES {
            self.unpoison_pages(pfn, order.pages());
        }
    }

    #[cold]
    #[inline(never)]
    fn poison_pages(&self, pfn: Pfn, pages: Pages) {
        let range = PhysRange::new(pfn.addr(), pages.bytes());
        if self.platform.poisons_pages() {
            self.memory.fill_poison(range);
        }
        self.memory.watch(self.platform, range, true);
    }

    #[cold]
    #[inline(never)]
    fn unpoison_pages(&self, pfn: Pfn, pages: Pages) {
        let range = PhysRange::new(pfn.addr(), pages.bytes());
        self.memory.watch(self.platform, range, false);
        if !self.platform.poisons_pages() {
            return;
        }
        for i in 0..pages.0 {
            let pfn = pfn + Pages(i);
            let page = PhysRange::new(pfn.addr(), PageOrder::ZERO.pages().bytes());
            if let Some(found) = self.memory.find_unpoisoned(page) {
                let text = |out: &mut dyn fmt::Write| self.write_corruption(out, pfn, found);
                self.platform.page_report(pfn, &text);
            }
        }
    }

    /// What was found in a page (`check_poison_mem`): where, and the words there.
    fn write_corruption(
        &self,
        out: &mut dyn fmt::Write,
        pfn: Pfn,
        found: PhysRange,
    ) -> fmt::Result {
        writeln!(out, "pagealloc: memory corruption")?;
        writeln!(
            out,
            "page {pfn}: {} bytes at offset {}",
            found.size().0,
            found.start.0.wrapping_sub(pfn.addr().0),
        )?;
        for i in 0..(found.size().0 / 8).min(8) {
            let at = PhysAddr(found.start.0.saturating_add(8u64.saturating_mul(i)));
            if let Some(word) = self.memory.peek(at) {
                writeln!(out, "{:08x}: {word:016x}", at.0)?;
            }
        }
        Ok(())
    }
}
