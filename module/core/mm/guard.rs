// SPDX-License-Identifier: GPL-2.0

//! Guards: pages that whoever touches them is killed for, without a VMA of their own
//! (`MADV_GUARD_INSTALL`, `MADV_GUARD_REMOVE`).
//!
//! ```text
//! none, a page --install--> guard --remove--> none
//!
//! stays      DONTNEED, FREE and the like, mprotect, mlock
//! goes along mremap, and fork, but where the child's memory is wiped
//! goes       munmap, and whatever is mapped in its place
//! ```
//!
//! A guard is an entry of a table and nothing else ([`Entry::GUARD`]), so a VMA that may
//! have some is marked (`VM_MAYBE_GUARD`), and its tables are copied by a fork even where a
//! fault would find all else again.

use super::host::HostTable;
use super::page_table::entries_of;
use super::page_table::Entry;
use super::page_table::Level;
use super::system::AddressSpace;
use super::types::VirtRange;
use super::vma::Vma;
use super::zap::Guards;
use crate::error::Error;
use crate::error::Result;
use crate::platform::Platform;

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Has guards all over a part of `vma`; the pages that are there go
    /// (`madvise_guard_install`). The caller has the mmap lock for reading, and has seen
    /// that the VMA is such as may have guards.
    ///
    /// # Errors
    ///
    /// Those of the page allocator, [`Error::UserLimit`], [`Error::NoMemory`] for somebody
    /// who is about to die. The guards before stay.
    pub(super) fn install_guards(
        &self,
        host: &dyn HostTable,
        vma: Vma<'m>,
        part: VirtRange,
    ) -> Result<()> {
        vma.note_guards();
        if vma.is_anonymous() {
            self.join_region(vma.cells());
        }
        for piece in Level::Pmd.parts(part) {
            // A table is all that guards take.
            if self.tables().pmd_entry(piece.start).is_none() {
                self.check_room(host)?;
            }
            while !self.set_guards(piece)? {
                self.zap(host, vma.cells(), piece, Guards::Stay);
            }
            let platform = self.system.platform();
            if platform.fatal_signal_pending() {
                return Err(Error::NoMemory);
            }
            platform.cond_resched();
        }
        Ok(())
    }

    /// Sets the entries of one table, if no page is there: whether that was so.
    fn set_guards(&self, part: VirtRange) -> Result<bool> {
        let tables = self.tables();
        if tables.pmd_entry(part.start).is_huge() {
            return Ok(false);
        }
        let table = match tables.table_for(part.start, Level::Pte) {
            Ok(table) => table,
            // 2 MiB have come meanwhile.
            Err(Error::Shared) => return Ok(false),
            Err(error) => return Err(error),
        };
        let _lock = table.lock(self.system.platform());
        let is_page = |index: usize| table.get(index).is_present();
        if entries_of(part).any(is_page) {
            return Ok(false);
        }
        for index in entries_of(part) {
            table.set(index, Entry::GUARD);
        }
        Ok(true)
    }

    /// Takes the guards of a range away (`madvise_guard_remove`). The caller has the mmap
    /// lock for reading.
    pub(super) fn remove_guards(&self, range: VirtRange) {
        self.tables().for_each_table(range, |table, part| {
            let _lock = table.lock(self.system.platform());
            for index in entries_of(part) {
                if table.get(index).is_guard() {
                    table.set(index, Entry::NONE);
                }
            }
            self.system.platform().cond_resched();
        });
    }

    /// Whether there is a guard in a range.
    pub(super) fn has_guards(&self, range: VirtRange) -> bool {
        let mut found = false;
        self.tables().for_each_table(range, |table, part| {
            found |= entries_of(part).any(|index| table.get(index).is_guard());
        });
        found
    }
}
