// SPDX-License-Identifier: GPL-2.0

//! Blocks of 2 MiB that address spaces have in parts, because others had them, too, when they
//! were split ([`Entry::PART`]).
//!
//! ```text
//! the block       stays one as long as there is a part of it, or somebody has it whole
//! its rest        the pages of it that a table with a part of it has not: they are nobody's,
//!                 and nobody gets them
//! ```
//!
//! The rest counts where pages are limited, as a cgroup is charged for all of a block
//! ([`MmCells::charged`](super::MmCells::charged)); each table counts what it has of a block by
//! itself. Where memory is out, a block whose parts are all of one table becomes single pages,
//! and the rest of it goes (`deferred_split_scan`, `__folio_split`).

use super::flags::VmFlags;
use super::huge::HUGE_PAGES;
use super::page_table::Entry;
use super::page_table::Table;
use super::page_table::ENTRIES;
use super::system::AddressSpace;
use super::system::AddressSpaces;
use super::zap::Puts;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::platform::Platform;
use core::sync::atomic::Ordering::Relaxed;

/// What the rest of tables was before their parts become more or fewer.
#[must_use]
pub(super) struct RestBefore(Option<u64>);

impl RestBefore {
    /// Before anything has changed.
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// Before an entry comes or goes. The caller has the tables' locks.
    #[inline]
    pub(super) fn note<'a, 'm: 'a, P: Platform>(
        &mut self,
        spaces: &AddressSpaces<'a, 'm, P>,
        entry: Entry,
        tables: &[Table<'m>],
    ) {
        if entry.has(Entry::PART) && self.0.is_none() {
            self.0 = Some(spaces.rest_of(tables));
        }
    }

    /// When all have: the space counts what is different. The caller has the locks still.
    #[inline]
    pub(super) fn settle<'a, 'm: 'a, P: Platform>(
        self,
        space: &AddressSpace<'a, 'm, P>,
        tables: &[Table<'m>],
    ) {
        let Some(before) = self.0 else { return };
        let now = space.system.rest_of(tables);
        let more = now.wrapping_sub(before);
        space.cells.rest_pages.fetch_add(more, Relaxed);
        if now > before {
            space.system.note_unneeded();
        }
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpaces<'a, 'm, P> {
    /// How many pages a table keeps of the blocks that it has parts of, and has not. With its
    /// lock, or where it does not matter whether it changes.
    pub(super) fn rest_in(&self, table: Table<'m>) -> u64 {
        let (mut rest, mut last) = (0u64, None);
        for index in 0..ENTRIES {
            let entry = table.get(index);
            if !entry.has(Entry::PART) {
                continue;
            }
            let head = self.block_of_entry(entry);
            if last != Some(head) && !self.has_part_before(table, index, head) {
                rest = rest.wrapping_add(HUGE_PAGES);
            }
            last = Some(head);
            rest = rest.wrapping_sub(1);
        }
        rest
    }

    /// Whether an entry before this one is a part of a block, too.
    fn has_part_before(&self, table: Table<'m>, index: usize, head: Pfn) -> bool {
        let first = self.parts_in(table, head).next();
        first.is_some_and(|(first, _)| first < index)
    }

    fn rest_of(&self, tables: &[Table<'m>]) -> u64 {
        let each = tables.iter().map(|table| self.rest_in(*table));
        each.fold(0, u64::wrapping_add)
    }

    /// The parts of a block in a table. With its lock.
    pub(super) fn parts_in(
        &self,
        table: Table<'m>,
        head: Pfn,
    ) -> impl Iterator<Item = (usize, Entry)> + use<'_, 'a, 'm, P> {
        let all = (0..ENTRIES).map(move |index| (index, table.get(index)));
        all.filter(move |(_, entry)| entry.has(Entry::PART) && self.block_of_entry(*entry) == head)
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Makes single pages of all blocks that one of its tables has all parts of: how many pages
    /// have come back. `left` is told of those that others have, too. The caller has the mmap
    /// lock.
    pub(super) fn split_all_parts(&self, left: &mut bool) -> u64 {
        let mut gone = 0u64;
        if self.cells.rest_pages.load(Relaxed) == 0 {
            return gone;
        }
        self.tables().for_each_table(self.window(), |table, _| {
            if self.system.rest_in(table) != 0 {
                gone = gone.wrapping_add(self.split_parts(table, left));
            }
            self.system.platform().cond_resched();
        });
        gone
    }

    /// The same for who may have no more pages: whether some have come back. The caller has no
    /// lock.
    pub(super) fn gives_rest_back(&self) -> bool {
        let mm = self.read();
        mm.space.split_all_parts(&mut false) != 0
    }

    fn split_parts(&self, table: Table<'m>, left: &mut bool) -> u64 {
        let _lock = table.lock(self.system.platform());
        let (mut before, mut gone, mut refused) = (RestBefore::new(), 0u64, None);
        for index in 0..ENTRIES {
            let entry = table.get(index);
            if !entry.has(Entry::PART) {
                continue;
            }
            before.note(&self.system, entry, &[table]);
            let head = self.system.block_of_entry(entry);
            // One that is a part still was refused.
            if refused == Some(head) || self.system.has_part_before(table, index, head) {
                continue;
            }
            match self.system.split_block_of(table, head) {
                Some(pages) => gone = gone.wrapping_add(pages),
                None => refused = Some(head),
            }
        }
        before.settle(self, &[table]);
        *left |= refused.is_some();
        gone
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpaces<'a, 'm, P> {
    /// Makes single pages of a block, if a table has all references to it: how many it has not.
    /// With the table's lock: nobody else comes to the block, who could make another reference.
    fn split_block_of(&self, table: Table<'m>, head: Pfn) -> Option<u64> {
        let page = self.mm.sparse.page(head)?;
        let parts = self.parts_in(table, head).count();
        if page.count_acquire() as usize != parts {
            return None;
        }
        let others = (parts as u32).saturating_sub(1);
        for _ in 0..others {
            page.put_not_last();
        }
        if !self.split_pages(head, page) {
            page.get_more(others);
            return None;
        }
        // A bit for each page that the table has.
        let mut has = [0u64; ENTRIES / u64::BITS as usize];
        for (index, entry) in self.parts_in(table, head) {
            let (word, bit) = place_in(entry.pfn(), head);
            if let Some(word) = has.get_mut(word) {
                *word |= bit;
            }
            table.set(index, entry.without(Entry::PART));
        }
        let mut puts = Puts::new(self);
        for page in 0..HUGE_PAGES {
            let pfn = head + Pages(page);
            let (word, bit) = place_in(pfn, head);
            if has.get(word).is_some_and(|word| word & bit == 0) {
                puts.put(Entry::page(pfn, VmFlags::READ));
            }
        }
        Some(HUGE_PAGES.saturating_sub(parts as u64))
    }
}

/// The word and the bit for a page of a block.
fn place_in(pfn: Pfn, head: Pfn) -> (usize, u64) {
    let page = pfn.0.wrapping_sub(head.0);
    ((page / 64) as usize, 1 << (page % 64))
}
