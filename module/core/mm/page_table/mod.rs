// SPDX-License-Identifier: GPL-2.0

//! Page tables: four levels in x86-64's format, in pages of the page allocator.
//!
//! ```text
//! address   47..39   38..30   29..21   20..12   11..0
//!              |        |        |        |
//!   MmCells::pgd        |        |        |
//!      | [ Pgd ]-----+  |        |        |
//!                    [ Pud ]--+  |        |
//!                             [ Pmd ]--+  |          or 2 MiB
//!                                      [ Pte ]---->  a page
//! ```
//!
//! Tables come on demand: whoever needs one makes it and enters it where there is
//! none by compare-exchange, and who comes second gives his back. They go when no VMA
//! is left in what they cover ([`AddressSpace::free_tables`]), by somebody who has the
//! mmap lock for writing and has marked the VMAs that were there, so that nobody is on
//! his way through them.
//!
//! # Locks
//!
//! An entry that leads to a page is changed with the lock of its table, which is held
//! from there until the host's table has been changed likewise: whoever has it sees the
//! host's entries either as these or absent. The lock of a table of the second level is
//! for the huge entries in it. From no entry to one that leads to a table, the lock is
//! not needed; from a huge one it is. An entry that leads to a table stays as it is
//! while anybody is on his way through it.
//!
//! Two tables' locks are held at once by whoever moves pages, who has the mmap lock for
//! writing, and by a fault that takes those of a shared object inside its own.
//!
//! # Accessed and dirty
//!
//! Both bits are set by faults, because the CPU sets its own in the host's entries, which
//! nobody reads. A page is entered for writing when it is dirty, so the first write to a
//! clean one is always seen. That a page which is entered is read or written to once more
//! is not: where the bits were cleared and the host still has the entry, they stay so until
//! it has lost it.
//!
//! [`AddressSpace::free_tables`]: super::AddressSpace::free_tables

mod entry;
mod free;
mod table;
mod walk;

pub use entry::Entry;
pub(super) use table::Table;
pub use table::ENTRIES;
pub(super) use walk::Tables;
pub use walk::Translation;

use super::types::VirtAddr;
use super::types::VirtRange;
use crate::phys::PAGE_SHIFT;
use core::iter;
use core::ops::Range;
use core::sync::atomic::Ordering;

/// How an entry is put where others may look for it without a lock.
pub(super) const INSTALL: Ordering = Ordering::AcqRel;

/// log2 of the entries in a table.
const INDEX_BITS: u32 = 9;

/// Bytes that an entry of 2 MiB maps (`PMD_SIZE`).
pub const HUGE_SIZE: u64 = 1 << (PAGE_SHIFT + INDEX_BITS);

/// The levels, the top one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// The table of the address space.
    Pgd = 3,
    /// Its entries are of 1 GiB.
    Pud = 2,
    /// Its entries are of 2 MiB.
    Pmd = 1,
    /// Its entries are pages.
    Pte = 0,
}

impl Level {
    /// All of them, the top one first.
    pub const ALL: [Self; 4] = [Self::Pgd, Self::Pud, Self::Pmd, Self::Pte];

    const fn shift(self) -> u32 {
        PAGE_SHIFT + INDEX_BITS * self as u32
    }

    /// Bytes that an entry of such a table covers.
    #[inline]
    pub const fn size(self) -> u64 {
        1 << self.shift()
    }

    /// Which entry of such a table is for an address.
    #[inline]
    pub const fn index(self, addr: VirtAddr) -> usize {
        (addr.0 >> self.shift()) as usize & (ENTRIES - 1)
    }

    /// The next one below.
    #[inline]
    pub const fn below(self) -> Self {
        match self {
            Self::Pgd => Self::Pud,
            Self::Pud => Self::Pmd,
            Self::Pmd | Self::Pte => Self::Pte,
        }
    }

    /// Its name, as Linux has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pgd => "pgd",
            Self::Pud => "pud",
            Self::Pmd => "pmd",
            Self::Pte => "pte",
        }
    }

    /// The end of what the entry of such a table that is for `addr` covers
    /// (`pmd_addr_end`), at most `end`.
    #[inline]
    pub const fn end_of(self, addr: u64, end: u64) -> u64 {
        let next = (addr | (self.size() - 1)).wrapping_add(1);
        match next.wrapping_sub(1) < end.wrapping_sub(1) {
            true => next,
            false => end,
        }
    }

    /// The parts of a range that are for one entry each of tables of this level, in order.
    #[inline]
    pub(super) fn parts(self, range: VirtRange) -> impl Iterator<Item = VirtRange> {
        let mut addr = range.start.0;
        iter::from_fn(move || {
            let start = addr;
            if start >= range.end.0 {
                return None;
            }
            addr = self.end_of(start, range.end.0);
            Some(VirtRange::new(start, addr))
        })
    }
}

/// The entries of a table of the lowest level for a part of what it covers.
#[inline]
pub(super) fn entries_of(part: VirtRange) -> Range<usize> {
    let first = Level::Pte.index(part.start);
    first..first.saturating_add(part.pages() as usize)
}
