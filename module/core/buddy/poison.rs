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
//! short ways are closed then, and ask nothing. Pages of another manager
//! ([`crate::cosmos`]) are poisoned likewise.

use super::system::BuddySystem;
use super::MemMap;
use super::ZoneTable;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PhysAddr;
use crate::phys::PhysRange;
use crate::phys::Region;
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
        poison(self.platform, self.memory, pfn, order);
    }

    /// The same in a short way, which is closed where pages are filled.
    #[inline(always)]
    pub(super) fn poison_here(&self, pfn: Pfn, order: PageOrder) {
        if P::WATCHES {
            poison_pages(self.platform, self.memory, pfn, order.pages());
        }
    }

    /// A block is given out (`kernel_unpoison_pages`).
    #[inline(always)]
    pub(super) fn unpoison(&self, pfn: Pfn, order: PageOrder) {
        unpoison(self.platform, self.memory, pfn, order);
    }

    /// The same in a short way.
    #[inline(always)]
    pub(super) fn unpoison_here(&self, pfn: Pfn, order: PageOrder) {
        if P::WATCHES {
            unpoison_pages(self.platform, self.memory, pfn, order.pages());
        }
    }
}

/// A block has been taken from its owner, whoever has the pages now.
#[inline(always)]
pub(crate) fn poison<P: Platform>(platform: &P, memory: &Region<'_>, pfn: Pfn, order: PageOrder) {
    if P::WATCHES || platform.poisons_pages() {
        poison_pages(platform, memory, pfn, order.pages());
    }
}

/// A block is given out, whoever had the pages.
#[inline(always)]
pub(crate) fn unpoison<P: Platform>(platform: &P, memory: &Region<'_>, pfn: Pfn, order: PageOrder) {
    if P::WATCHES || platform.poisons_pages() {
        unpoison_pages(platform, memory, pfn, order.pages());
    }
}

#[cold]
#[inline(never)]
fn poison_pages<P: Platform>(platform: &P, memory: &Region<'_>, pfn: Pfn, pages: Pages) {
    let range = PhysRange::new(pfn.addr(), pages.bytes());
    if platform.poisons_pages() {
        // Of a slab's pages, what were free objects is watched already.
        memory.watch(platform, range, false);
        memory.fill_poison(range);
    }
    memory.watch(platform, range, true);
}

#[cold]
#[inline(never)]
fn unpoison_pages<P: Platform>(platform: &P, memory: &Region<'_>, pfn: Pfn, pages: Pages) {
    let range = PhysRange::new(pfn.addr(), pages.bytes());
    memory.watch(platform, range, false);
    if !platform.poisons_pages() {
        return;
    }
    for i in 0..pages.0 {
        let pfn = pfn + Pages(i);
        let page = PhysRange::new(pfn.addr(), PageOrder::ZERO.pages().bytes());
        if let Some(found) = memory.find_unpoisoned(page) {
            let text = |out: &mut dyn fmt::Write| write_corruption(memory, out, pfn, found);
            platform.page_report(pfn, &text);
        }
    }
}

/// What was found in a page (`check_poison_mem`): where, and the words there.
fn write_corruption(
    memory: &Region<'_>,
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
        if let Some(word) = memory.peek(at) {
            writeln!(out, "{:08x}: {word:016x}", at.0)?;
        }
    }
    Ok(())
}
