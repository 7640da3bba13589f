// SPDX-License-Identifier: GPL-2.0

//! Tables go when nothing is left that they could be for (`free_pgd_range`).
//!
//! ```text
//!            floor                           ceiling
//! ... VMA |    |<------- range ------->|        | VMA ...
//!      [ a table ][ a table ][ a table ][ a table ]
//!        stays      goes       goes       stays
//! ```
//!
//! A table goes if all of what it covers lies between the end of the VMA before and the
//! start of the one behind.

use super::super::system::AddressSpace;
use super::super::types::VirtRange;
use super::entry::Entry;
use super::table::Table;
use super::walk::Tables;
use super::Level;
use super::ENTRIES;
use crate::platform::Platform;

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Gives the tables of a range back in which no page is left. `floor` is the end of
    /// the VMA before, `ceiling` the start of the one behind; 0 for no such VMA. The
    /// caller has the mmap lock for writing, has zapped the range, and has marked or
    /// taken away what VMAs were there (`free_pgtables`).
    pub fn free_tables(&self, range: VirtRange, floor: u64, ceiling: u64) {
        self.tables().free(range, floor, ceiling);
    }
}

impl<'a, 'm: 'a, P: Platform> Tables<'a, 'm, P> {
    fn free(&self, range: VirtRange, floor: u64, ceiling: u64) {
        let Some(root) = self.root() else { return };
        let allowed = Allowed {
            floor,
            last: ceiling.wrapping_sub(1),
        };
        self.free_below(root, Level::Pgd, range, allowed);
    }

    /// Gives those below a table of level `at` back.
    fn free_below(&self, table: Table<'m>, at: Level, range: VirtRange, allowed: Allowed) {
        for part in at.parts(range) {
            let index = at.index(part.start);
            if let Some(below) = self.below(table.get(index)) {
                if at > Level::Pmd {
                    self.free_below(below, at.below(), part, allowed);
                }
                if allowed.covers(part.start.0 & !(at.size() - 1), at) {
                    table.set(index, Entry::NONE);
                    self.drop_table(below);
                }
            }
        }
    }

    /// The table that an entry leads to.
    fn below(&self, entry: Entry) -> Option<Table<'m>> {
        match entry.is_table() {
            true => self.system.table_in(entry.pfn()).ok(),
            false => None,
        }
    }

    /// Gives all tables back, the top one too, and has each page that is left put by
    /// `page`. The caller is the last who has them.
    pub(in super::super) fn drop_all(&self, page: &mut dyn FnMut(Entry)) {
        let Some(root) = self.root() else { return };
        self.drop_below(root, Level::Pgd, page);
        self.forget_root();
        self.system.give_table_back(root);
        self.system.put_zero_page();
    }

    fn drop_below(&self, table: Table<'m>, at: Level, page: &mut dyn FnMut(Entry)) {
        for index in 0..ENTRIES {
            let entry = table.get(index);
            if entry.is_none() {
                continue;
            }
            table.set(index, Entry::NONE);
            if at == Level::Pte || entry.is_huge() {
                page(entry);
            } else if let Some(below) = self.below(entry) {
                self.drop_below(below, at.below(), page);
                self.drop_table(below);
            }
        }
        while let Some(by) = table
            .laid_by()
            .and_then(|pfn| self.system.table_in(pfn).ok())
        {
            table.forget(by);
            self.drop_table(by);
        }
        self.system.platform().cond_resched();
    }
}

/// Between which addresses there is no VMA.
#[derive(Clone, Copy)]
struct Allowed {
    floor: u64,
    last: u64,
}

impl Allowed {
    /// Whether all is between them that an entry of a table of level `at` covers.
    fn covers(self, first: u64, at: Level) -> bool {
        first >= self.floor && first | (at.size() - 1) <= self.last
    }
}
