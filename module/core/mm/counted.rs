// SPDX-License-Identifier: GPL-2.0

//! What `/proc/meminfo` and `/proc/vmstat` tell of address spaces.
//!
//! ```text
//! pages     by zone and CPU (UserStat): a page counts once, from its first use to its
//!           end, however many address spaces have it
//! faults    by address space, and of those that are gone together
//! events    by CPU (VmEvent)
//! ```

use super::cells::MmCells;
use super::flags::VmFlags;
use super::lock::WriteLock;
use super::page_table::Entry;
use super::page_table::Translation;
use super::system::AddressSpace;
use super::system::AddressSpaces;
use super::types::VirtRange;
use crate::buddy::PageAllocator;
use crate::buddy::PageRef;
use crate::buddy::UserStat;
use crate::buddy::VmEvent;
use crate::page::PageDescriptor;
use crate::page::ZoneId;
use crate::phys::PageOrder;
use crate::phys::Pfn;
use crate::platform::Platform;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// Pages in 2 MiB.
const HUGE_PAGES: i64 = PageOrder::PAGEBLOCK.pages().0 as i64;

impl<'a, 'm: 'a, P: Platform> AddressSpaces<'a, 'm, P> {
    /// Counts pages of a zone that have come, or gone.
    #[inline]
    pub(super) fn count_pages(&self, zone: ZoneId, stat: UserStat, by: i64) {
        let (cpu, _pinned) = self.platform().pin_cpu();
        self.mm.stats.count_user(cpu, zone, stat, by);
    }

    /// The same for single pages, each of its own zone.
    #[inline]
    pub(super) fn count_each(&self, pages: &[PageRef<'_>], stat: UserStat, by: i64) {
        let (cpu, _pinned) = self.platform().pin_cpu();
        for page in pages {
            let zone = page.page.zone_id();
            self.mm.stats.count_user(cpu, zone, stat, by);
        }
    }

    /// The same for the block that begins with a frame.
    pub(super) fn count_frame(&self, pfn: Pfn, stat: UserStat, by: i64) {
        if let Some(page) = self.mm.sparse.page(pfn) {
            self.count_pages(page.zone_id(), stat, by);
        }
    }

    /// Counts that something has happened.
    pub(super) fn count_event(&self, event: VmEvent) {
        let (cpu, _pinned) = self.platform().pin_cpu();
        self.mm.stats.count(cpu, event, 1);
    }

    /// A block of 2 MiB is private memory, or is none any more.
    pub(super) fn count_huge(&self, zone: ZoneId, by: i64) {
        let pages = by.wrapping_mul(HUGE_PAGES);
        self.count_pages(zone, UserStat::Anon, pages);
        self.count_pages(zone, UserStat::AnonHuge, pages);
    }

    /// A page that is mapped where memory is locked; for the zero page nothing.
    pub(super) fn count_locked(&self, entry: Entry, by: i64) {
        let page = self.mm.sparse.page(self.block_of_entry(entry));
        if let Some(page) = page.filter(|_| !entry.is_zero_page()) {
            self.count_pages(page.zone_id(), UserStat::Locked, by);
        }
    }

    /// The page of one entry that has just gone, here and in the host's table, loses its
    /// reference.
    pub(super) fn put_entry(&self, entry: Entry) {
        self.note_unmapped(entry);
        self.put_reference(entry);
    }

    /// The page of an entry loses a reference that was not the entry's.
    pub(super) fn put_reference(&self, entry: Entry) {
        let pfn = self.block_of_entry(entry);
        if let Some(page) = self.mm.sparse.page(pfn).filter(|_| !entry.is_zero_page()) {
            self.put_page_of(entry, pfn, page);
        }
    }

    /// The same of a block that is known already.
    pub(super) fn put_page_of(&self, entry: Entry, pfn: Pfn, page: &PageDescriptor) {
        let zone = page.zone_id();
        let is_shmem = page.is_shmem();
        // What the entry knew the page knows from now on (zap_present_folio_ptes()).
        if is_shmem && entry.has(Entry::DIRTY) {
            page.mark_dirty();
        }
        if is_shmem && page.count() > 1 {
            // One is the object's.
            if page.put_not_last() == 1 {
                self.count_pages(zone, UserStat::Mapped, -1);
            }
            return;
        }
        let is_huge = entry.has(Entry::HUGE | Entry::PART);
        // The allocator counts a refusal.
        if !matches!(self.mm.allocator().put(pfn), Ok(true)) {
            return;
        }
        if is_huge {
            self.count_huge(zone, -1);
        } else if is_shmem {
            self.count_pages(zone, UserStat::Shmem, -1);
        } else if entry.has(Entry::FILE) {
            self.count_pages(zone, UserStat::File, -1);
            self.count_pages(zone, UserStat::Mapped, -1);
        } else {
            self.count_pages(zone, UserStat::Anon, -1);
        }
    }

    /// How many faults there have been, those that failed among them, and how many had to
    /// read something (`PGFAULT`, `PGMAJFAULT` of `mm_account_fault`). Neither falls.
    pub fn faults(&self) -> (u64, u64) {
        let table = self.table();
        let _lock = WriteLock::lock(self.platform(), &table.lock);
        let past = &table.past_faults;
        let [mut all, mut major] = past.each_ref().map(|count| count.load(Relaxed));
        self.walk_all(&mut |cells| {
            let [its, its_major] = cells.all_faults();
            all = all.wrapping_add(its);
            major = major.wrapping_add(its_major);
        });
        (all, major)
    }
}

impl MmCells {
    /// Faults that were served without reading anything, and the others (`min_flt`,
    /// `maj_flt` of all tasks that have had it).
    pub(super) fn faults(&self) -> (u64, u64) {
        let major = self.maj_flt.load(Relaxed);
        (self.served().saturating_sub(major), major)
    }

    fn served(&self) -> u64 {
        let of = [
            &self.faults_vma_lock,
            &self.faults_mmap_lock,
            &self.populated,
        ];
        let add = |sum: u64, count: &AtomicU64| sum.wrapping_add(count.load(Relaxed));
        of.into_iter().fold(0, add)
    }

    /// All, those that failed among them, and the major ones.
    fn all_faults(&self) -> [u64; 2] {
        let failed = self.faults_error.load(Relaxed);
        [
            self.served().wrapping_add(failed),
            self.maj_flt.load(Relaxed),
        ]
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// The faults of one that is about to go stay counted. With the table's lock.
    pub(super) fn keep_faults(&self) {
        let past = &self.system.table().past_faults;
        for (past, count) in past.iter().zip(self.cells.all_faults()) {
            past.fetch_add(count, Relaxed);
        }
    }

    /// Counts the pages of a range that are there: they are locked from now on, or are
    /// not any more. The caller keeps all others from the range.
    pub(super) fn count_locked_in(&self, range: VirtRange, by: i64) {
        for (_, page) in self.resident_in(range) {
            let Translation {
                leaf, pfn, huge, ..
            } = page;
            let entry = match (huge, pfn) {
                (true, Some(pfn)) => Entry::page(pfn, VmFlags::READ),
                _ => leaf,
            };
            self.system.count_locked(entry, by);
        }
    }
}
