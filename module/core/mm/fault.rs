// SPDX-License-Identifier: GPL-2.0

//! A page fault, once its VMA is found (`handle_mm_fault`).
//!
//! ```text
//! Fault::handle
//!   pmd    none      and 2 MiB will do       huge.rs   anonymous memory of 2 MiB
//!          huge      it is entered again, or written to, or split
//!   pte    none      private, anonymous      anon.rs   zero page, or a zeroed page
//!                    private, of a file      file.rs   its content, or a copy of that
//!                    shared                  shared.rs the object's page
//!          read-only and it is written to    cow.rs    made writable, or copied
//!          there     the host had lost it              entered again
//! ```
//!
//! Whatever has to be allocated or read is, before the table's lock is taken; then the
//! entry is looked at again, and if another has changed it meanwhile, all begins anew.

use super::cells::VmaCells;
use super::flags::VmFlags;
use super::host::Access;
use super::host::HostTable;
use super::lock::VmaRead;
use super::page_table::Entry;
use super::page_table::Level;
use super::page_table::Table;
use super::system::AddressSpace;
use super::types::VirtAddr;
use crate::error::Error;
use crate::phys::Pfn;
use crate::platform::Platform;

/// What a fault has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultResult {
    /// The process may go on.
    Mapped(Mapped),
    /// It gets SIGSEGV.
    Segv(SegvCode),
    /// It gets SIGBUS.
    Bus,
    /// There is no memory, and nobody who could be killed to have some
    /// (`VM_FAULT_OOM`).
    Oom,
    /// It is to try again: somebody changes what it needs, or is about to die.
    Retry,
}

/// The `si_code` of a SIGSEGV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SegvCode {
    /// No VMA is there (`SEGV_MAPERR`).
    MapErr = 1,
    /// The VMA does not allow it (`SEGV_ACCERR`).
    AccErr = 2,
}

/// A page that was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// Its frame.
    pub pfn: Pfn,
    /// Whether the process may write to it now.
    pub writable: bool,
    /// Whether it was entered as part of 2 MiB.
    pub huge: bool,
    /// Whether its content had to be read from a file (`VM_FAULT_MAJOR`).
    pub major: bool,
}

impl Mapped {
    #[inline]
    fn of(entry: Entry) -> Self {
        Self {
            pfn: entry.pfn(),
            writable: entry.is_writable() && entry.has(Entry::DIRTY),
            huge: false,
            major: false,
        }
    }
}

/// Why nothing was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Segv(SegvCode),
    Bus,
    Oom,
    /// The mmap lock is needed.
    NeedsMmapLock,
    /// Another has changed the entry: from the start.
    Again,
}

/// What a fault can't have is memory; anything else that is refused is a bug, which
/// another try does not mend.
impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        match error {
            Error::Corrupt | Error::ForeignPfn => Self::Bus,
            // A huge entry has come where a table was to be.
            Error::Shared => Self::Again,
            _ => Self::Oom,
        }
    }
}

/// Whether a VMA allows it (`access_error`).
#[inline]
pub(super) fn is_allowed(flags: VmFlags, access: Access) -> bool {
    match access {
        Access::Write => flags.has(VmFlags::WRITE),
        // Whoever may write or execute may read, as far as the CPU knows.
        Access::Read => flags.any(VmFlags::ACCESS),
        Access::Execute => flags.has(VmFlags::EXEC),
    }
}

/// A fault at work (`struct vm_fault`).
pub(super) struct Fault<'f, 'a, 'm, P: Platform, H: HostTable + ?Sized> {
    pub(super) space: AddressSpace<'a, 'm, P>,
    pub(super) host: &'f H,
    pub(super) vma: &'f VmaCells,
    pub(super) flags: VmFlags,
    /// Of the page.
    pub(super) addr: VirtAddr,
    pub(super) write: bool,
    /// Whether the VMA's lock is all that the caller has: not the mmap lock.
    pub(super) vma_lock_only: bool,
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Serves a fault in a VMA that is locked and holds the address.
    #[inline]
    pub(super) fn fault_in<H: HostTable + ?Sized>(
        &self,
        host: &H,
        vma: &VmaCells,
        addr: VirtAddr,
        access: Access,
        vma_lock_only: bool,
    ) -> Result<Mapped, Stop> {
        let flags = vma.vm_flags();
        if !is_allowed(flags, access) {
            return Err(Stop::Segv(SegvCode::AccErr));
        }
        let fault = Fault {
            space: *self,
            host,
            vma,
            flags,
            addr: addr.page_down(),
            write: access == Access::Write,
            vma_lock_only,
        };
        fault.handle()
    }

    /// Serves a fault for somebody who has locked the VMA that holds the address.
    pub fn fault_locked<H: HostTable + ?Sized>(
        &self,
        host: &H,
        vma: &VmaRead<'_, P>,
        addr: VirtAddr,
        access: Access,
    ) -> FaultResult {
        match self.fault_in(host, vma.cells(), addr, access, true) {
            Ok(mapped) => FaultResult::Mapped(mapped),
            Err(Stop::Segv(code)) => FaultResult::Segv(code),
            Err(Stop::Bus) => FaultResult::Bus,
            Err(Stop::Oom) => FaultResult::Oom,
            Err(Stop::NeedsMmapLock | Stop::Again) => FaultResult::Retry,
        }
    }
}

impl<'a, 'm: 'a, P: Platform, H: HostTable + ?Sized> Fault<'_, 'a, 'm, P, H> {
    /// Sees to it that the page is there. The caller has the VMA's lock or the mmap lock
    /// for reading, and has seen that the VMA allows the access.
    pub(super) fn handle(&self) -> Result<Mapped, Stop> {
        loop {
            match self.once() {
                Err(Stop::Again) => {}
                done => return done,
            }
        }
    }

    fn once(&self) -> Result<Mapped, Stop> {
        let tables = self.space.tables();
        let pmd = tables.table_for(self.addr, Level::Pmd)?;
        let mut entry = pmd.get(Level::Pmd.index(self.addr));
        if entry.is_none() {
            if let Some(mapped) = self.huge(pmd)? {
                return Ok(mapped);
            }
            entry = pmd.get(Level::Pmd.index(self.addr));
        }
        if entry.is_huge() {
            if let Some(mapped) = self.huge_there(pmd)? {
                return Ok(mapped);
            }
            return Err(Stop::Again);
        }
        let table = match entry.is_table() {
            true => self.space.system.table_in(entry.pfn())?,
            false => tables.table_for(self.addr, Level::Pte)?,
        };
        let entry = table.get(Level::Pte.index(self.addr));
        match () {
            () if entry.is_none() => self.missing(table),
            () if self.write && !entry.is_writable() => self.write_protected(table),
            () => self.lost(table),
        }
    }

    /// There is no page yet (`do_pte_missing`).
    #[inline]
    fn missing(&self, table: Table<'m>) -> Result<Mapped, Stop> {
        match () {
            () if self.flags.has(VmFlags::SHARED) => self.shared(table),
            () if self.vma.is_of_file() => self.file(table),
            () => self.anonymous(table),
        }
    }

    /// The page is there, and all is allowed that is wanted: the host has lost its entry,
    /// or somebody else was quicker (`fix_spurious_fault`).
    fn lost(&self, table: Table<'m>) -> Result<Mapped, Stop> {
        let index = Level::Pte.index(self.addr);
        let _lock = table.lock(self.space.system.platform());
        let entry = table.get(index);
        if !entry.is_present() || (self.write && !entry.is_writable()) {
            return Err(Stop::Again);
        }
        let entry = entry.with(self.touched());
        table.set(index, entry);
        self.enter(entry)
    }

    /// The bits that an access leaves.
    #[inline]
    pub(super) fn touched(&self) -> u64 {
        match self.write {
            true => Entry::ACCESSED | Entry::DIRTY,
            false => Entry::ACCESSED,
        }
    }

    /// Has the host enter what is in the table, whose lock is held. A page that nobody
    /// has written to is entered without write permission, so that the first write is
    /// seen (`ptep_set_access_flags`).
    #[inline]
    pub(super) fn enter(&self, entry: Entry) -> Result<Mapped, Stop> {
        let mapped = Mapped::of(entry);
        self.host.enter(self.addr, mapped.pfn, mapped.writable)?;
        Ok(mapped)
    }

    /// The same in the place of another page.
    pub(super) fn replace(&self, entry: Entry) -> Result<Mapped, Stop> {
        let mapped = Mapped::of(entry);
        self.host.replace(self.addr, mapped.pfn, mapped.writable)?;
        Ok(mapped)
    }
}

impl VmaCells {
    /// Whether there is a file behind it, or a shared object.
    #[inline]
    pub(super) fn is_of_file(&self) -> bool {
        self.file.load(core::sync::atomic::Ordering::Relaxed) != 0
    }
}
