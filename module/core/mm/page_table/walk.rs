// SPDX-License-Identifier: GPL-2.0

//! The way from an address to its entry, and the tables that are made on it.

use super::super::system::AddressSpace;
use super::super::system::AddressSpaces;
use super::super::types::VirtAddr;
use super::super::types::VirtRange;
use super::entry::Entry;
use super::table::Entries;
use super::table::Table;
use super::table::ENTRIES;
use super::Level;
use super::INSTALL;
use crate::buddy::gfp;
use crate::buddy::AllocRequest;
use crate::buddy::PageAllocator;
use crate::buddy::UserStat;
use crate::error::Error;
use crate::error::Result;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PAGE_SIZE;
use crate::platform::Platform;
use crate::slab::SlabAllocator;
use core::convert::Infallible;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::Release;

/// What a table is asked for with (`GFP_PGTABLE_USER`); it is zeroed here.
const TABLE_REQUEST: AllocRequest =
    AllocRequest::new(gfp::GFP_KERNEL.or(gfp::__GFP_NOWARN), PageOrder::ZERO);

/// What becomes of an address (a walk of the tables).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Translation {
    /// The entries on the way, of the top level first; nothing behind the last one.
    pub levels: [Entry; 4],
    /// The frames of the tables that they are in.
    pub tables: [Pfn; 4],
    /// The entry that leads to a page; nothing where none does.
    pub leaf: Entry,
    /// The frame of the page, also inside 2 MiB.
    pub pfn: Option<Pfn>,
    /// Whether the page is mapped as a part of 2 MiB.
    pub huge: bool,
}

impl Translation {
    /// Behind the last address for which there is no page for the same reason as there is
    /// none for `addr`, of which this is.
    pub fn hole_end(&self, addr: VirtAddr) -> VirtAddr {
        let mut all = Level::ALL.into_iter().zip(self.levels);
        let missing = all.find(|(_, entry)| !entry.is_table());
        let level = missing.map_or(Level::Pte, |(level, _)| level);
        VirtAddr(level.end_of(addr.0, u64::MAX))
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpaces<'a, 'm, P> {
    /// The table in a page.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] where there can't be one.
    #[inline(always)]
    pub(in super::super) fn table_in(&self, pfn: Pfn) -> Result<Table<'m>> {
        match (self.entries_in(pfn), self.mm.sparse.page(pfn)) {
            (Some(entries), Some(page)) => Ok(Table { pfn, entries, page }),
            _ => Err(Error::Corrupt),
        }
    }

    /// The entries of the table in a page.
    #[inline(always)]
    fn entries_in(&self, pfn: Pfn) -> Option<&'m Entries> {
        SlabAllocator::new(self.mm).page_cells(pfn)
    }

    /// A new table without an entry, which nobody knows of (`pte_alloc_one`).
    ///
    /// # Errors
    ///
    /// Those of the page allocator.
    pub(in super::super) fn make_table(&self) -> Result<Table<'m>> {
        let allocator = self.mm.allocator();
        let pfn = allocator.alloc_page_here(&TABLE_REQUEST)?.pfn();
        let made = self.zero_pages(pfn, PageOrder::ZERO);
        match made.and_then(|()| self.table_in(pfn)) {
            Ok(table) => {
                table.init();
                self.count_pages(table.page.zone_id(), UserStat::Table, 1);
                Ok(table)
            }
            Err(error) => {
                allocator.free(pfn, PageOrder::ZERO)?;
                Err(error)
            }
        }
    }

    /// Gives a table back that nobody knows of any more.
    pub(in super::super) fn give_table_back(&self, table: Table<'m>) {
        self.count_pages(table.page.zone_id(), UserStat::Table, -1);
        // A refusal means that somebody has freed it behind our back; the allocator has
        // counted it.
        let _ = self.mm.allocator().free(table.pfn, PageOrder::ZERO);
    }
}

/// The tables below one root: an address space's, or those that a shared object has its
/// pages in.
pub(in super::super) struct Tables<'a, 'm, P: Platform> {
    pub(in super::super) system: AddressSpaces<'a, 'm, P>,
    /// The physical address of the top table; 0 for none.
    root: &'m AtomicU64,
    /// How many bytes all others take (`mm_pgtables_bytes`).
    bytes: &'m AtomicU64,
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Its tables.
    #[inline]
    pub(in super::super) fn tables(&self) -> Tables<'a, 'm, P> {
        Tables::new(self.system, &self.cells.pgd, &self.cells.pgtables_bytes)
    }

    /// What becomes of an address: every level down to the page. Nothing is locked; the
    /// caller keeps the tables from going by the mmap lock.
    pub fn page_at(&self, addr: VirtAddr) -> Translation {
        self.tables().page_at(addr)
    }
}

impl<'a, 'm: 'a, P: Platform> Tables<'a, 'm, P> {
    #[inline]
    pub(in super::super) fn new(
        system: AddressSpaces<'a, 'm, P>,
        root: &'m AtomicU64,
        bytes: &'m AtomicU64,
    ) -> Self {
        Self {
            system,
            root,
            bytes,
        }
    }

    /// Notes that a table has come (`mm_inc_nr_ptes` and its like).
    pub(in super::super) fn count_table(&self) {
        self.bytes.fetch_add(PAGE_SIZE, Relaxed);
    }

    /// Gives back a table that was counted.
    pub(in super::super) fn drop_table(&self, table: Table<'m>) {
        self.bytes.fetch_sub(PAGE_SIZE, Relaxed);
        self.system.give_table_back(table);
    }

    /// The top table, if there is one.
    #[inline]
    pub(in super::super) fn root(&self) -> Option<Table<'m>> {
        match self.root.load(Acquire) {
            0 => None,
            addr => self.system.table_in(Pfn(addr / PAGE_SIZE)).ok(),
        }
    }

    /// There is no top table any more.
    pub(super) fn forget_root(&self) {
        self.root.store(0, Release);
    }

    #[inline]
    fn root_or_make(&self) -> Result<Table<'m>> {
        match self.root() {
            Some(table) => Ok(table),
            None => self.make_root(),
        }
    }

    #[cold]
    #[inline(never)]
    fn make_root(&self) -> Result<Table<'m>> {
        self.system.get_zero_page()?;
        let table = match self.system.make_table() {
            Ok(table) => table,
            Err(error) => {
                self.system.put_zero_page();
                return Err(error);
            }
        };
        // Linux does not count it, either.
        match self.install(self.root, table, table.pfn.addr().0, || ()) {
            None => Ok(table),
            Some(addr) => {
                self.system.put_zero_page();
                self.system.table_in(Pfn(addr / PAGE_SIZE))
            }
        }
    }

    /// Enters a new table where nothing is; who comes second gives his back, and is told
    /// what is there.
    fn install(
        &self,
        slot: &AtomicU64,
        table: Table<'m>,
        value: u64,
        count: impl FnOnce(),
    ) -> Option<u64> {
        match slot.compare_exchange(0, value, INSTALL, Acquire) {
            Ok(_) => {
                count();
                None
            }
            Err(there) => {
                self.system.give_table_back(table);
                Some(there)
            }
        }
    }

    /// The entry of the second level for an address; nothing where there is no such table.
    #[inline(always)]
    pub(in super::super) fn pmd_entry(&self, addr: VirtAddr) -> Entry {
        let mut entry = match self.root.load(Acquire) {
            0 => return Entry::NONE,
            addr => Entry(addr | Entry::PRESENT),
        };
        for level in [Level::Pgd, Level::Pud, Level::Pmd] {
            if !entry.is_table() {
                return Entry::NONE;
            }
            let Some(entries) = self.system.entries_in(entry.pfn()) else {
                return Entry::NONE;
            };
            entry = Entry(entries[level.index(addr) & (ENTRIES - 1)].load(Acquire));
        }
        entry
    }

    /// The table of `level` for an address, made with all above it where it is not there.
    ///
    /// # Errors
    ///
    /// Those of the page allocator. A huge entry on the way is [`Error::Shared`]: another
    /// has put it there while the caller came here.
    #[inline]
    pub(in super::super) fn table_for(&self, addr: VirtAddr, level: Level) -> Result<Table<'m>> {
        let mut table = self.root_or_make()?;
        let mut at = Level::Pgd;
        while at > level {
            let entry = table.get(at.index(addr));
            table = match entry.is_table() {
                true => self.system.table_in(entry.pfn())?,
                false => self.make_below(table, at, addr)?,
            };
            at = at.below();
        }
        Ok(table)
    }

    /// The table below an entry of `table`, which is one of level `at`, where there was
    /// nothing a moment ago.
    #[cold]
    #[inline(never)]
    fn make_below(&self, table: Table<'m>, at: Level, addr: VirtAddr) -> Result<Table<'m>> {
        let made = self.system.make_table()?;
        let slot = table.slot(at.index(addr));
        let value = Entry::table(made.pfn).0;
        let there = self.install(slot, made, value, || self.count_table());
        match there.map(Entry) {
            None => Ok(made),
            Some(entry) if entry.is_table() => self.system.table_in(entry.pfn()),
            Some(_) => Err(Error::Shared),
        }
    }

    /// The table of `level` for an address, if it is there.
    #[inline]
    pub(in super::super) fn table_at(&self, addr: VirtAddr, level: Level) -> Option<Table<'m>> {
        let mut table = self.root()?;
        let mut at = Level::Pgd;
        while at > level {
            let entry = table.get(at.index(addr));
            if !entry.is_table() {
                return None;
            }
            table = self.system.table_in(entry.pfn()).ok()?;
            at = at.below();
        }
        Some(table)
    }

    /// Calls `each` with every table of the second level in a range and which part of the
    /// range it covers, as long as that says so; what is not there is left out.
    ///
    /// # Errors
    ///
    /// Those of `each`.
    pub(in super::super) fn for_each_pmd<E>(
        &self,
        start: u64,
        end: u64,
        mut each: impl FnMut(Table<'m>, VirtRange) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut addr = start;
        while addr < end {
            let next = Level::Pud.end_of(addr, end);
            match self.table_at(VirtAddr(addr), Level::Pmd) {
                Some(pmd) => {
                    each(pmd, VirtRange::new(addr, next))?;
                    addr = next;
                }
                None if self.table_at(VirtAddr(addr), Level::Pud).is_some() => addr = next,
                // Nothing is there as far as the top table's entry goes.
                None => addr = Level::Pgd.end_of(addr, end),
            }
        }
        Ok(())
    }

    /// Calls `each` with every table of pages in a range and the part that it covers.
    pub(in super::super) fn for_each_table(
        &self,
        range: VirtRange,
        mut each: impl FnMut(Table<'m>, VirtRange),
    ) {
        let Ok(()) = self.for_each_pmd(range.start.0, range.end.0, |pmd, part| {
            for piece in Level::Pmd.parts(part) {
                let entry = pmd.get(Level::Pmd.index(piece.start));
                if entry.is_table() {
                    if let Ok(table) = self.system.table_in(entry.pfn()) {
                        each(table, piece);
                    }
                }
            }
            Ok::<(), Infallible>(())
        });
    }

    /// See [`AddressSpace::page_at`].
    pub(in super::super) fn page_at(&self, addr: VirtAddr) -> Translation {
        let mut all = Translation::default();
        let mut table = self.root();
        let places = all.levels.iter_mut().zip(&mut all.tables);
        for (level, (place, frame)) in Level::ALL.into_iter().zip(places) {
            let Some(here) = table else { break };
            let entry = here.get(level.index(addr));
            (*place, *frame) = (entry, here.pfn);
            let is_leaf = level == Level::Pte || entry.is_huge();
            if is_leaf && entry.is_present() {
                let inside = (addr.0 & (level.size() - 1)) / PAGE_SIZE;
                all.leaf = entry;
                all.pfn = Some(entry.pfn() + Pages(inside));
                all.huge = level == Level::Pmd;
            }
            if is_leaf || !entry.is_table() {
                break;
            }
            table = self.system.table_in(entry.pfn()).ok();
        }
        all
    }
}
