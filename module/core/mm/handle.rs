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
//!          guard                                       SIGSEGV
//! ```
//!
//! Whatever has to be allocated or read is, before the table's lock is taken; then the
//! entry is looked at again, and if another has changed it meanwhile, all begins anew.

use super::cells::VmaCells;
use super::fault::Mapped;
use super::fault::Stop;
use super::flags::VmFlags;
use super::host::HostTable;
use super::page_table::Entry;
use super::page_table::Level;
use super::page_table::Table;
use super::system::AddressSpace;
use super::types::VirtAddr;
use crate::phys::Pfn;
use crate::platform::Platform;
use crate::trace::tell;
use crate::trace::FaultKind;
use crate::trace::TraceEvent;
use crate::trace::TracePoint;
use core::sync::atomic::Ordering::Relaxed;

/// How a fault goes on.
enum Way<'m> {
    /// With a table of pages.
    Table(Table<'m>),
    /// 2 MiB were mapped.
    Done(Mapped),
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
        if self
            .space
            .system
            .platform()
            .is_traced(TracePoint::FaultLevel)
        {
            self.tell_levels();
        }
        let entry = self.space.tables().pmd_entry(self.addr);
        let table = match entry.is_table() {
            true => self.space.system.table_in(entry.pfn())?,
            false => match self.without_table(entry)? {
                Way::Table(table) => table,
                Way::Done(mapped) => return Ok(mapped),
            },
        };
        let entry = table.get(Level::Pte.index(self.addr));
        match () {
            () if entry.is_none() => self.missing(table),
            () if self.write && !entry.is_writable() => self.write_protected(table),
            () => self.lost(table),
        }
    }

    /// There is no table of pages: 2 MiB are there, or may be, or it is made.
    #[cold]
    #[inline(never)]
    fn without_table(&self, was: Entry) -> Result<Way<'m>, Stop> {
        if was.is_none() {
            self.check_room()?;
        }
        let tables = self.space.tables();
        let pmd = tables.table_for(self.addr, Level::Pmd)?;
        let mut entry = pmd.get(Level::Pmd.index(self.addr));
        if entry.is_none() {
            if let Some(mapped) = self.huge(pmd)? {
                return Ok(Way::Done(mapped));
            }
            entry = pmd.get(Level::Pmd.index(self.addr));
        }
        if entry.is_huge() {
            let mapped = self.huge_there(pmd)?;
            return mapped.map(Way::Done).ok_or(Stop::Again);
        }
        Ok(Way::Table(tables.table_for(self.addr, Level::Pte)?))
    }

    /// Before there is a page more, or a table, of which it is known that it has to be.
    ///
    /// # Errors
    ///
    /// [`Stop::Full`].
    #[inline]
    pub(super) fn check_room(&self) -> Result<(), Stop> {
        Ok(self.space.check_room(self.host)?)
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
            return Err(Stop::at(entry));
        }
        let entry = entry.with(self.touched());
        table.set(index, entry);
        self.tell_page(FaultKind::Spurious, entry);
        let entered = self.enter(entry);
        self.enter_around(table);
        entered
    }

    /// Tells of what was put into a table.
    #[inline(always)]
    pub(super) fn tell_page(&self, how: FaultKind, entry: Entry) {
        tell(self.space.system.platform(), TracePoint::FaultPage, || {
            TraceEvent::FaultPage {
                mm: self.space.cells.id.load(Relaxed),
                addr: self.addr,
                how,
                entry,
            }
        });
    }

    /// Tells of the entries on the way, as they are before.
    #[cold]
    #[inline(never)]
    fn tell_levels(&self) {
        let found = self.space.page_at(self.addr);
        let levels = Level::ALL.into_iter().zip(found.levels).zip(found.tables);
        for ((level, entry), table) in levels {
            if table == Pfn(0) {
                break;
            }
            self.space.system.platform().trace(&TraceEvent::FaultLevel {
                mm: self.space.cells.id.load(Relaxed),
                addr: self.addr,
                level,
                table,
                entry,
            });
        }
    }

    /// A page has come, which counts where memory is locked (`mlock_new_folio`).
    #[inline]
    pub(super) fn note_locked(&self, entry: Entry) {
        if self.flags.has(VmFlags::LOCKED) {
            self.space.system.count_locked(entry, 1);
        }
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
        self.file.load(Relaxed) != 0
    }
}
