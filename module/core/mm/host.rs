// SPDX-License-Identifier: GPL-2.0

//! What core asks of the host's page table.
//!
//! A window of the process is mapped by the host, and its entries are copies of
//! the shadow's: the host's table is a TLB, filled by faults and emptied before
//! something in the shadow's changes (`flush_tlb_range`).

use super::populate::Populate;
use super::types::VirtAddr;
use super::types::VirtRange;
use crate::error::Result;
use crate::phys::Pfn;
use crate::phys::PAGE_SIZE;

/// What a process wanted to do at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
    /// An instruction fetch.
    Execute,
}

/// The host's page table for one window. Whoever has it holds one of the host's
/// locks, so that the window stays where it is.
pub trait HostTable {
    /// Enters a page where no other page is entered; its write permission is added
    /// where it was entered without.
    ///
    /// # Errors
    ///
    /// [`Error::NoHostMemory`](crate::error::Error::NoHostMemory).
    fn enter(&self, addr: VirtAddr, pfn: Pfn, writable: bool) -> Result<()>;

    /// Enters 2 MiB that begin at `addr`; `false` where the host can't at the
    /// moment: the caller enters the one page that was asked for.
    fn enter_huge(&self, _addr: VirtAddr, _pfn: Pfn, _writable: bool) -> bool {
        false
    }

    /// Enters a page in the place of the one that is entered there, if one is.
    ///
    /// # Errors
    ///
    /// As for [`HostTable::enter`]; nothing is entered there then.
    fn replace(&self, addr: VirtAddr, pfn: Pfn, writable: bool) -> Result<()> {
        self.zap(VirtRange::new(addr.0, addr.0.saturating_add(PAGE_SIZE)));
        self.enter(addr, pfn, writable)
    }

    /// Copies a page of a file that was mapped, by its number in the file, into a page
    /// that is zeroed; `false` where the file has ended before it. The number of the file
    /// is [`VmaCells::file`](super::VmaCells). The caller has locks: a page whose
    /// content somebody has yet to deliver, who may take as long as he likes, is noted,
    /// and read when the locks are given up.
    ///
    /// # Errors
    ///
    /// [`Error::FileNotRead`](crate::error::Error::FileNotRead) for what was noted: the
    /// process comes again. Any other: it gets SIGBUS.
    fn read_file(&self, _file: u64, _index: u64, _into: Pfn) -> Result<bool> {
        Ok(false)
    }

    /// Notes what is left to populate behind a page that was noted
    /// ([`HostTable::read_file`]): when that is read, it goes on
    /// ([`AddressSpace::go_on`](super::AddressSpace::go_on)). Of several there is room for the
    /// first; pages of the others are made by their faults.
    fn populate_later(&self, _rest: Populate) {}

    /// Whether the process may not have `more` pages in its window, which counts for `charged`
    /// of them now ([`MmCells::charged`](super::MmCells::charged)).
    fn is_full(&self, _charged: i64, _more: u64) -> bool {
        false
    }

    /// Whether the process has said that it is to have no 2 MiB (`PR_SET_THP_DISABLE`), but
    /// maybe where it has asked for them, which `asked` says (`vma_thp_disabled`).
    fn has_no_huge(&self, _asked: bool) -> bool {
        false
    }

    /// Takes all entries of a range away (`zap_vma_range`). Sleeps.
    fn zap(&self, range: VirtRange);
}

/// The table of an address space that nobody has touched yet: there is nothing in it.
pub(super) struct Nowhere;

impl HostTable for Nowhere {
    fn enter(&self, _addr: VirtAddr, _pfn: Pfn, _writable: bool) -> Result<()> {
        Ok(())
    }

    fn zap(&self, _range: VirtRange) {}
}
