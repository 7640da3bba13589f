// SPDX-License-Identifier: GPL-2.0

//! A child gets its parent's pages (`copy_page_range`).
//!
//! Both have the same pages then, neither for writing; the first who writes gets a copy,
//! and the last who is left the page itself. What a fault can find again is not copied:
//! shared memory, files, and memory that nobody has written to; unless guards may be among
//! it, which a fault can't find.

use super::cells::VmaCells;
use super::flags::VmFlags;
use super::host::HostTable;
use super::page_table::entries_of;
use super::page_table::Entry;
use super::page_table::Level;
use super::page_table::Table;
use super::page_table::HUGE_SIZE;
use super::parts::RestBefore;
use super::rss::Rss;
use super::rss::RssDelta;
use super::system::AddressSpace;
use super::types::VirtRange;
use super::zap::pages_of;
use crate::error::Error;
use crate::error::Result;
use crate::phys::PAGE_SIZE;
use crate::platform::Platform;
use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Has `child` have the pages of `parent`, a VMA of this space, for the same VMA of
    /// its own. The caller has both spaces' mmap locks for writing and has marked the
    /// parent's VMA; `host` is the parent's table.
    ///
    /// # Errors
    ///
    /// Those of the page allocator. The child has a part of the pages then, which go
    /// with it.
    pub fn copy_range(
        &self,
        child: &Self,
        host: &dyn HostTable,
        parent: &VmaCells,
        child_vma: &VmaCells,
    ) -> Result<()> {
        // vma_needs_copy(), and what dup_mmap() does with VM_WIPEONFORK.
        let flags = child_vma.vm_flags();
        let needed = parent.anon.load(Relaxed) != 0 || flags.has(VmFlags::MAYBE_GUARD);
        if !needed || flags.has(VmFlags::WIPEONFORK) {
            return Ok(());
        }
        let (start, end) = (parent.start.load(Relaxed), parent.end.load(Relaxed));
        let copy = Copy {
            parent: *self,
            child: *child,
            host,
            shared: parent.is_shared(),
        };
        let mut more = RssDelta::default();
        let tables = self.tables();
        let done = tables.for_each_pmd(start, end, |pmd, part| copy.pmds(pmd, part, &mut more));
        child.cells.add_all_rss(&more);
        done
    }
}

/// A copy at work.
struct Copy<'c, 'a, 'm, P: Platform> {
    parent: AddressSpace<'a, 'm, P>,
    child: AddressSpace<'a, 'm, P>,
    host: &'c dyn HostTable,
    shared: bool,
}

impl<'a, 'm: 'a, P: Platform> Copy<'_, 'a, 'm, P> {
    fn pmds(&self, pmd: Table<'m>, range: VirtRange, more: &mut RssDelta) -> Result<()> {
        for part in Level::Pmd.parts(range) {
            let entry = pmd.get(Level::Pmd.index(part.start));
            if entry.is_huge() {
                self.huge(pmd, part, more)?;
            } else if entry.is_table() {
                let table = self.parent.system.table_in(entry.pfn())?;
                self.pages(table, part, more)?;
            }
            self.parent.system.platform().cond_resched();
        }
        Ok(())
    }

    /// One reference more to the block that an entry leads to, and one entry more like it.
    #[inline]
    fn get(&self, entry: Entry) -> Result<()> {
        if entry.is_zero_page() {
            return Ok(());
        }
        let spaces = &self.parent.system;
        let page = spaces.mm.sparse.page(spaces.block_of_entry(entry));
        page.ok_or(Error::Corrupt)?.try_get()?;
        spaces.note_mapped(entry);
        Ok(())
    }

    /// What the child gets of an entry (`__copy_present_ptes`).
    #[inline]
    fn for_child(&self, entry: Entry) -> Entry {
        let dirty = match self.shared {
            true => Entry::DIRTY,
            false => 0,
        };
        entry.without(Entry::ACCESSED | dirty)
    }

    /// What the parent keeps of it.
    #[inline]
    fn for_parent(&self, entry: Entry) -> Entry {
        match self.shared {
            true => entry,
            false => entry.without(Entry::WRITE),
        }
    }

    /// Copies the entries of a table (`copy_pte_range`).
    fn pages(&self, table: Table<'m>, part: VirtRange, more: &mut RssDelta) -> Result<()> {
        let Range { start, end } = entries_of(part);
        let is_there = |index: &usize| !table.get(*index).is_none();
        let Some(from) = (start..end).find(is_there) else {
            return Ok(());
        };
        let target = self.child.tables().table_for(part.start, Level::Pte)?;
        let _lock = table.lock(self.parent.system.platform());
        let loses = |index: &usize| {
            let entry = table.get(*index);
            entry.is_writable() && !self.for_parent(entry).is_writable()
        };
        if let Some(lost) = (from..end).find(loses) {
            let last = (lost..end).rev().find(loses).unwrap_or(lost);
            self.host.zap(pages_of(part.start, start, lost, last));
        }
        let mut rest = RestBefore::new();
        for index in from..end {
            let entry = table.get(index);
            if entry.is_none() {
                continue;
            }
            self.get(entry)?;
            // The child's: nobody else knows of it.
            rest.note(&self.parent.system, entry, &[target]);
            let entry = self.for_parent(entry);
            table.set(index, entry);
            target.set(index, self.for_child(entry));
            more.note(Rss::of(entry, self.shared), 1);
        }
        rest.settle(&self.child, &[target]);
        Ok(())
    }

    /// Copies a huge entry, with a table laid by for it (`copy_huge_pmd`).
    fn huge(&self, pmd: Table<'m>, part: VirtRange, more: &mut RssDelta) -> Result<()> {
        let spaces = &self.parent.system;
        let tables = self.child.tables();
        let target = tables.table_for(part.start, Level::Pmd)?;
        let table = spaces.make_table()?;
        let index = Level::Pmd.index(part.start);
        let _lock = pmd.lock(spaces.platform());
        let entry = pmd.get(index);
        if let Err(error) = self.get(entry) {
            spaces.give_table_back(table);
            return Err(error);
        }
        if entry.is_writable() {
            self.host.zap(part);
        }
        let entry = self.for_parent(entry);
        pmd.set(index, entry);
        target.set(index, self.for_child(entry));
        target.lay_by(table);
        tables.count_table();
        more.note(Rss::of(entry, self.shared), HUGE_SIZE / PAGE_SIZE);
        Ok(())
    }
}
