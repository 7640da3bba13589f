// SPDX-License-Identifier: GPL-2.0

//! Private memory with the content of a file (`do_read_fault`, `do_cow_fault`).
//!
//! There is no page cache: each address space reads a page of its own, and those that it
//! forks share it. Until somebody writes to it, it counts as the file's
//! ([`Entry::FILE`]); the first write makes a copy, as it would of a page of the page
//! cache.
//!
//! What the host has not in its page cache it reads when no lock is held, and the fault
//! comes again (`maybe_unlock_mmap_for_io`): a filesystem may take as long as it likes.

use super::fault::Mapped;
use super::fault::Stop;
use super::handle::Fault;
use super::host::HostTable;
use super::page_table::Entry;
use super::page_table::Level;
use super::page_table::Table;
use super::rss::Rss;
use crate::buddy::UserStat;
use crate::error::Error;
use crate::phys::PAGE_SIZE;
use crate::platform::Platform;
use crate::trace::FaultKind;
use core::sync::atomic::Ordering::Relaxed;

impl<'a, 'm: 'a, P: Platform, H: HostTable + ?Sized> Fault<'_, 'a, 'm, P, H> {
    /// The page's number in what is behind the VMA (`linear_page_index`).
    pub(super) fn page_index(&self) -> u64 {
        let start = self.vma.start.load(Relaxed);
        let pages = self.addr.0.wrapping_sub(start) / PAGE_SIZE;
        self.vma.pgoff.load(Relaxed).wrapping_add(pages)
    }

    /// The first access to a page.
    pub(super) fn file(&self, table: Table<'m>) -> Result<Mapped, Stop> {
        if self.write {
            self.prepare_anon()?;
        }
        let file = self.vma.file.load(Relaxed);
        let spaces = &self.space.system;
        self.check_room()?;
        let page = spaces.new_zeroed_page()?;
        match self.host.read_file(file, self.page_index(), page.pfn()) {
            Ok(true) => {}
            Err(Error::FileNotRead) => return Err(Stop::NotRead),
            Ok(false) | Err(_) => return Err(Stop::Bus),
        }
        let (bits, kind) = match self.write {
            true => (Entry::DIRTY | Entry::WRITE, Rss::Anon),
            false => (Entry::FILE, Rss::File),
        };
        let entry = Entry::page(page.pfn(), self.flags).with(bits);
        let index = Level::Pte.index(self.addr);
        let lock = table.lock(spaces.platform());
        if !table.get(index).is_none() {
            drop(lock);
            return Err(Stop::Again);
        }
        table.set(index, entry);
        match self.write {
            true => page.keep(UserStat::Anon),
            false => {
                page.count(UserStat::Mapped);
                page.keep(UserStat::File);
            }
        }
        self.space.cells.add_rss(kind, 1);
        self.note_locked(entry);
        self.tell_page(FaultKind::File, entry);
        self.enter(entry)
    }
}
