// SPDX-License-Identifier: GPL-2.0

//! A write to a page that is there, but not for writing (`do_wp_page`).
//!
//! ```text
//! shared memory                       it is made writable
//! private, and nobody else has it     it is made writable
//! private, the zero page              a zeroed page takes its place
//! private, and others have it, too    a copy takes its place
//! or it is a file's
//! ```
//!
//! Nobody else has it if this entry is the only reference. No more come while the VMA is
//! locked, since only a fork of this address space could make them.
//!
//! Parts of 2 MiB have one reference each, all to the block. Those of this table stay while its
//! lock is held: if there are no others, the block is in no other table, and nobody copies a page
//! of it. Who moves some of them to another table gets copies, where Linux, which knows whose
//! each mapping is, lets him have the pages.

use super::fault::Mapped;
use super::fault::Stop;
use super::flags::VmFlags;
use super::handle::Fault;
use super::host::HostTable;
use super::page_table::Entry;
use super::page_table::Level;
use super::page_table::Table;
use super::page_table::ENTRIES;
use super::parts::RestBefore;
use super::rss::Rss;
use super::system::AddressSpaces;
use crate::buddy::PageAllocator;
use crate::buddy::UserStat;
use crate::buddy::VmEvent;
use crate::page::PageDescriptor;
use crate::platform::Platform;
use crate::trace::FaultKind;

/// A reference to the block of an entry, until it is dropped. It may be the last one then:
/// whoever else had the block may have given it up meanwhile.
struct Reference<'s, 'a, 'm, P: Platform>(&'s AddressSpaces<'a, 'm, P>, Entry);

impl<P: Platform> Drop for Reference<'_, '_, '_, P> {
    fn drop(&mut self) {
        self.0.put_reference(self.1);
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpaces<'a, 'm, P> {
    /// Whether an entry of private memory has the only reference to its page, or to its 2 MiB
    /// (`PageAnonExclusive`). With the table's lock.
    pub(super) fn is_sole(&self, entry: Entry) -> bool {
        !entry.has(Entry::ZERO | Entry::FILE | Entry::PART) && self.is_alone(entry)
    }

    /// Whether nobody else has a reference to an entry's page, or to its 2 MiB.
    pub(super) fn is_alone(&self, entry: Entry) -> bool {
        let page = self.mm.sparse.page(entry.pfn());
        page.is_some_and(PageDescriptor::is_sole)
    }
}

impl<'a, 'm: 'a, P: Platform, H: HostTable + ?Sized> Fault<'_, 'a, 'm, P, H> {
    /// See the head of this file.
    pub(super) fn write_protected(&self, table: Table<'m>) -> Result<Mapped, Stop> {
        let spaces = &self.space.system;
        let index = Level::Pte.index(self.addr);
        let (entry, old) = {
            let _lock = table.lock(spaces.platform());
            let entry = table.get(index);
            if !entry.is_present() || entry.is_writable() {
                return Err(Stop::at(entry));
            }
            if self.flags.has(VmFlags::SHARED) || self.is_alone(table, entry) {
                let entry = entry.with(self.touched() | Entry::WRITE);
                table.set(index, entry);
                self.tell_page(FaultKind::Reuse, entry);
                // Linux maps shared memory for writing at once, whoever touches it
                // (`vma_wants_writenotify`), so that what it counts is private
                // (`wp_page_reuse`).
                if !self.flags.has(VmFlags::SHARED) {
                    spaces.count_event(VmEvent::Pgreuse);
                }
                return self.enter(entry);
            }
            let old = match entry.is_zero_page() {
                true => None,
                false => {
                    let block = spaces.block_of_entry(entry);
                    spaces.mm.allocator().get(block)?;
                    Some(Reference(spaces, entry))
                }
            };
            (entry, old)
        };
        self.copy(table, entry, old)
    }

    /// Whether a private page is nobody else's (`wp_can_reuse_anon_folio`). With the table's
    /// lock.
    fn is_alone(&self, table: Table<'m>, entry: Entry) -> bool {
        match entry.has(Entry::PART) {
            true => self.has_all_parts(table, entry),
            false => self.space.system.is_sole(entry),
        }
    }

    /// Whether all references to the 2 MiB that an entry has a part of are of this table. The
    /// last part is copied, so that the block goes (`__wp_can_reuse_large_anon_folio`).
    #[inline(never)]
    fn has_all_parts(&self, table: Table<'m>, entry: Entry) -> bool {
        let spaces = &self.space.system;
        let head = spaces.block_of_entry(entry);
        let page = spaces.mm.sparse.page(head);
        let count = page.map_or(0, PageDescriptor::count_acquire) as usize;
        (2..=ENTRIES).contains(&count) && spaces.parts_in(table, head).count() == count
    }

    /// Has a page of its own take the place of another (`wp_page_copy`). `old` keeps that
    /// from going.
    fn copy(
        &self,
        table: Table<'m>,
        entry: Entry,
        old: Option<Reference<'_, 'a, 'm, P>>,
    ) -> Result<Mapped, Stop> {
        let spaces = &self.space.system;
        let index = Level::Pte.index(self.addr);
        self.prepare_anon()?;
        self.check_room()?;
        let page = match old {
            None => spaces.new_zeroed_page()?,
            Some(_) => {
                let page = spaces.new_page()?;
                spaces.copy_page(entry.pfn(), page.pfn())?;
                page
            }
        };
        let new = Entry::page(page.pfn(), self.flags).with(Entry::DIRTY | Entry::WRITE);
        let lock = table.lock(spaces.platform());
        if table.get(index) != entry {
            drop(lock);
            return Err(Stop::Again);
        }
        let entered = self.replace(new);
        let mut rest = RestBefore::new();
        rest.note(spaces, entry, &[table]);
        table.set(index, new);
        rest.settle(&self.space, &[table]);
        self.tell_page(FaultKind::Cow, new);
        page.keep(UserStat::Anon);
        if self.flags.has(VmFlags::LOCKED) {
            spaces.count_locked(entry, -1);
            spaces.count_locked(new, 1);
        }
        match Rss::of(entry, false) {
            Some(Rss::Anon) => {}
            was => {
                self.space.cells.add_rss(Rss::Anon, 1);
                if let Some(was) = was {
                    self.space.cells.sub_rss(was, 1);
                }
            }
        }
        drop(lock);
        spaces.put_entry(entry);
        entered
    }
}
