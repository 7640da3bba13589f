// SPDX-License-Identifier: GPL-2.0

//! Pages go to other addresses (`move_page_tables`).
//!
//! ```text
//! 2 MiB, and both addresses are such that a table covers them    the table goes
//!                                                or a huge entry    it goes
//! everything else                                                single entries go
//! ```

use super::cells::VmaCells;
use super::host::HostTable;
use super::page_table::entries_of;
use super::page_table::Entry;
use super::page_table::Level;
use super::page_table::Table;
use super::page_table::HUGE_SIZE;
use super::parts::RestBefore;
use super::system::AddressSpace;
use super::types::VirtAddr;
use super::types::VirtRange;
use super::zap::pages_of;
use crate::error::Error;
use crate::error::Result;
use crate::platform::Platform;
use core::ops::Range;

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Moves what is mapped in `old`, a part of one VMA, to `new_start` on, in another,
    /// where nothing is mapped. The caller has the mmap lock for writing and has marked
    /// both.
    ///
    /// # Errors
    ///
    /// Those of the page allocator, [`Error::UserLimit`]; all is where it was then.
    pub fn move_range(
        &self,
        host: &dyn HostTable,
        _old_vma: &VmaCells,
        _new_vma: &VmaCells,
        old: VirtRange,
        new_start: VirtAddr,
    ) -> Result<()> {
        let moved = self.move_some(host, old, new_start);
        moved.map_err(|(error, bytes)| {
            // The tables that this needs are there.
            let back = VirtRange::new(new_start.0, new_start.0.wrapping_add(bytes));
            let _ = self.move_some(host, back, old.start);
            error
        })
    }

    /// Moves as far as there is memory; how far, where that is not all.
    fn move_some(
        &self,
        host: &dyn HostTable,
        old: VirtRange,
        new_start: VirtAddr,
    ) -> Result<(), (Error, u64)> {
        let mut done = 0u64;
        while done < old.len() {
            let from = old.start.0.wrapping_add(done);
            let to = new_start.0.wrapping_add(done);
            let rest = old.len().wrapping_sub(done);
            // Up to the next border of 2 MiB on either side (get_extent()).
            let near = |addr: u64| HUGE_SIZE.wrapping_sub(addr & (HUGE_SIZE - 1));
            let extent = rest.min(near(from)).min(near(to));
            let part = VirtRange::new(from, from.wrapping_add(extent));
            let moved = self.move_extent(host, part, VirtAddr(to));
            moved.map_err(|error| (error, done))?;
            self.system.platform().cond_resched();
            done = done.wrapping_add(extent);
        }
        Ok(())
    }

    /// Moves what is below one entry of the second level on both sides.
    fn move_extent(&self, host: &dyn HostTable, part: VirtRange, to: VirtAddr) -> Result<()> {
        let tables = self.tables();
        let Some(pmd) = tables.table_at(part.start, Level::Pmd) else {
            return Ok(());
        };
        let index = Level::Pmd.index(part.start);
        if pmd.get(index).is_none() {
            return Ok(());
        }
        // What is moved may leave its tables behind (`MREMAP_DONTUNMAP`).
        if tables.table_at(to, Level::Pmd).is_none() {
            self.check_room(host)?;
        }
        let new_pmd = tables.table_for(to, Level::Pmd)?;
        if part.len() == HUGE_SIZE && self.move_whole(host, (pmd, part), (new_pmd, to)) {
            return Ok(());
        }
        if pmd.get(index).is_huge() {
            self.split_huge(host, pmd, part.start);
        }
        let entry = pmd.get(index);
        if !entry.is_table() {
            return Err(Error::Corrupt);
        }
        let table = self.system.table_in(entry.pfn())?;
        let Range { start, end } = entries_of(part);
        let is_there = |index: &usize| !table.get(*index).is_none();
        let Some(from) = (start..end).find(is_there) else {
            return Ok(());
        };
        let last = (from..end).rev().find(is_there).unwrap_or(from);
        if new_pmd.get(Level::Pmd.index(to)).is_none() {
            self.check_room(host)?;
        }
        let target = tables.table_for(to, Level::Pte)?;
        self.move_pages(host, (table, part.start), (target, to), from..=last);
        Ok(())
    }

    /// Moves an entry of the second level, if there is nothing where it goes
    /// (`move_normal_pmd`, `move_huge_pmd`).
    fn move_whole(
        &self,
        host: &dyn HostTable,
        (pmd, part): (Table<'m>, VirtRange),
        (new_pmd, to): (Table<'m>, VirtAddr),
    ) -> bool {
        let platform = self.system.platform();
        let (index, target) = (Level::Pmd.index(part.start), Level::Pmd.index(to));
        if !new_pmd.get(target).is_none() {
            return false;
        }
        let _lock = pmd.lock(platform);
        let _other = (pmd.pfn != new_pmd.pfn).then(|| new_pmd.lock(platform));
        let entry = pmd.get(index);
        host.zap(part);
        if entry.is_huge() && pmd.pfn != new_pmd.pfn {
            if let Some(table) = self.take_laid_by(pmd) {
                new_pmd.lay_by(table);
            }
        }
        pmd.set(index, Entry::NONE);
        new_pmd.set(target, entry);
        true
    }

    /// Moves single entries (`move_ptes`).
    fn move_pages(
        &self,
        host: &dyn HostTable,
        (table, start): (Table<'m>, VirtAddr),
        (target, to): (Table<'m>, VirtAddr),
        which: core::ops::RangeInclusive<usize>,
    ) {
        let platform = self.system.platform();
        let (first, new_first) = (Level::Pte.index(start), Level::Pte.index(to));
        let _lock = table.lock(platform);
        let _other = (table.pfn != target.pfn).then(|| target.lock(platform));
        host.zap(pages_of(start, first, *which.start(), *which.end()));
        let both = [table, target];
        let tables = match table.pfn == target.pfn {
            true => &both[..1],
            false => &both[..],
        };
        let mut rest = RestBefore::new();
        for index in which {
            let entry = table.get(index);
            if entry.is_none() {
                continue;
            }
            rest.note(&self.system, entry, tables);
            table.set(index, Entry::NONE);
            let place = index.wrapping_sub(first).wrapping_add(new_first);
            target.set(place, entry);
        }
        rest.settle(self, tables);
    }
}
