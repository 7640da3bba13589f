// SPDX-License-Identifier: GPL-2.0

//! What is mapped already gets another protection (`change_protection`).
//!
//! Write permission comes back where a fault would give it without a look at anything else
//! (`can_change_pte_writable`, `can_change_pmd_writable`):
//!
//! ```text
//! private     the entry has the only reference to the page
//! shared      somebody has written to it by this entry
//! ```
//!
//! All others find out with their next write, also parts of 2 MiB that others had (cow.rs). The
//! host's entry was zapped when the permission went: the next access is a fault all the same, that
//! enters what is here, with its neighbours. A page that is clean is not entered for writing.

use super::cells::VmaCells;
use super::flags::VmFlags;
use super::host::HostTable;
use super::page_table::entries_of;
use super::page_table::Entry;
use super::page_table::Level;
use super::page_table::Table;
use super::page_table::HUGE_SIZE;
use super::system::AddressSpace;
use super::types::VirtRange;
use super::zap::pages_of;
use crate::platform::Platform;
use core::convert::Infallible;
use core::ops::Range;
use core::ops::RangeInclusive;

impl Entry {
    /// The entry with the protection of a VMA with these flags.
    fn protected(self, flags: VmFlags) -> Self {
        let write = match flags.has(VmFlags::WRITE) {
            true => self.0 & Entry::WRITE,
            false => 0,
        };
        self.modify(flags).with(write)
    }

    /// The entry of a page that nobody needs, unless somebody writes to it
    /// (`madvise_free_pte_range`). A part of 2 MiB that others have, or had, is left as it is.
    fn lazily_freed(self) -> Self {
        match self.has(Entry::ZERO | Entry::FILE | Entry::PART) {
            true => self,
            false => self.without(Entry::DIRTY | Entry::ACCESSED),
        }
    }

    /// Whether the host allows more than `to` does, where it has a copy of this. What is
    /// not dirty is not written to without a fault.
    fn allows_more_than(self, to: Self) -> bool {
        self.0 & !to.0 & (Entry::PRESENT | Entry::WRITE | Entry::DIRTY) != 0
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Changes the protection of the pages in a range of `vma` to that of `flags`. The
    /// caller has the mmap lock for writing and has marked the VMA.
    pub fn protect_range(
        &self,
        host: &dyn HostTable,
        _vma: &VmaCells,
        range: VirtRange,
        flags: VmFlags,
    ) {
        let all = |_| true;
        self.change_range(host, range, all, &|entry| {
            let new = entry.protected(flags);
            let comes_back = flags.has(VmFlags::WRITE)
                && !new.is_writable()
                && self.would_be_written(entry, flags);
            match comes_back {
                true => new.with(Entry::WRITE),
                false => new,
            }
        });
    }

    /// Whether a write by an entry of a VMA with these flags needs no look at anything else.
    fn would_be_written(&self, entry: Entry, flags: VmFlags) -> bool {
        match flags.has(VmFlags::SHARED) {
            true => entry.has(Entry::DIRTY),
            false => self.system.is_sole(entry),
        }
    }

    /// Forgets of the anonymous pages in a range that somebody has written to them
    /// (`madvise_free_single_vma`). The caller has the mmap lock, or the VMA's.
    pub(super) fn lazy_free(&self, host: &dyn HostTable, range: VirtRange) {
        // 2 MiB that others have, too, are passed over as a whole (`madvise_free_huge_pmd`).
        let alone = |entry: Entry| self.system.is_alone(entry);
        self.change_range(host, range, alone, &Entry::lazily_freed);
        self.system.note_unneeded();
    }

    /// Changes the entries in a range: of 2 MiB those that are `wanted`.
    fn change_range(
        &self,
        host: &dyn HostTable,
        range: VirtRange,
        wanted: impl Fn(Entry) -> bool,
        change: &impl Fn(Entry) -> Entry,
    ) {
        let tables = self.tables();
        let Ok(()) = tables.for_each_pmd(range.start.0, range.end.0, |pmd, part| {
            self.change_pmds(host, pmd, part, &wanted, change);
            Ok::<(), Infallible>(())
        });
    }

    fn change_pmds(
        &self,
        host: &dyn HostTable,
        pmd: Table<'m>,
        range: VirtRange,
        wanted: &impl Fn(Entry) -> bool,
        change: &impl Fn(Entry) -> Entry,
    ) {
        for part in Level::Pmd.parts(range) {
            let index = Level::Pmd.index(part.start);
            let huge = Some(pmd.get(index)).filter(|entry| entry.is_huge());
            if huge.is_some_and(|entry| !wanted(entry)) {
                continue;
            }
            if huge.is_some() {
                match part.len() {
                    HUGE_SIZE => {
                        self.change_entries(host, (pmd, Level::Pmd), index..=index, part, change)
                    }
                    _ => self.split_huge(host, pmd, part.start),
                }
            }
            let entry = pmd.get(index);
            if entry.is_table() {
                if let Ok(table) = self.system.table_in(entry.pfn()) {
                    let Range { start, end } = entries_of(part);
                    let which = start..=end.saturating_sub(1);
                    self.change_entries(host, (table, Level::Pte), which, part, change);
                }
            }
            self.system.platform().cond_resched();
        }
    }

    /// Changes entries of a table, which are those of `part`
    /// (`change_pte_range`, `change_huge_pmd`).
    fn change_entries(
        &self,
        host: &dyn HostTable,
        (table, at): (Table<'m>, Level),
        which: RangeInclusive<usize>,
        part: VirtRange,
        change: &impl Fn(Entry) -> Entry,
    ) {
        let (first, last) = which.into_inner();
        let _lock = table.lock(self.system.platform());
        // What was of 2 MiB a moment ago may have been split.
        let is_page = |entry: Entry| entry.is_present() && entry.is_huge() == (at == Level::Pmd);
        let loses = |&index: &usize| {
            let entry = table.get(index);
            is_page(entry) && entry.allows_more_than(change(entry))
        };
        let lost = (first..=last).find(loses);
        if let Some(from) = lost {
            let to = (from..=last).rev().find(loses).unwrap_or(from);
            match table.get(from).is_huge() {
                true => host.zap(part),
                false => host.zap(pages_of(part.start, first, from, to)),
            }
        }
        for index in first..=last {
            let entry = table.get(index);
            if is_page(entry) {
                table.set(index, change(entry));
            }
        }
    }
}
