// SPDX-License-Identifier: GPL-2.0

//! Neighbours of a page that is faulted in, as far as one table goes and 16 pages around
//! (`do_fault_around`).
//!
//! ```text
//! the host had lost the page     it has lost its neighbours likewise: they are entered
//! shared memory is read          neighbours that the object has are mapped, too
//! anonymous memory is written    neighbours are made, too, if somebody has asked for
//!                                that (fault_around_bytes): it is not what Linux does,
//!                                and they count as resident
//! anonymous memory is read       neighbours are the zero page, too, if he has
//! ```

use super::handle::Fault;
use super::host::HostTable;
use super::page_table::Entry;
use super::page_table::Level;
use super::page_table::Table;
use super::page_table::ENTRIES;
use super::rss::Rss;
use super::sysctl::MmKnob;
use super::system::AddressSpaces;
use super::types::VirtAddr;
use crate::buddy::PageAllocator;
use crate::buddy::PageRef;
use crate::buddy::UserStat;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PAGE_SIZE;
use crate::platform::Platform;
use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;

/// Pages around a page (`fault_around_pages`).
const AROUND: usize = 16;

/// The same in bytes: what `fault_around_bytes` may be at most.
pub(super) const AROUND_BYTES: u64 = AROUND as u64 * PAGE_SIZE;

impl<P: Platform> AddressSpaces<'_, '_, P> {
    /// How many pages the first access to anonymous memory makes.
    #[inline]
    pub(super) fn fault_around(&self) -> usize {
        (self.knob(MmKnob::FaultAroundBytes) / PAGE_SIZE) as usize
    }
}

impl<'a, 'm: 'a, P: Platform, H: HostTable + ?Sized> Fault<'_, 'a, 'm, P, H> {
    /// The entries of the table around the page's, so many at most, which are the VMA's.
    pub(super) fn around(&self, pages: usize) -> Range<usize> {
        let index = Level::Pte.index(self.addr);
        let (start, end) = (self.vma.start.load(Relaxed), self.vma.end.load(Relaxed));
        let before = (self.addr.0.wrapping_sub(start) / PAGE_SIZE) as usize;
        let behind = (end.wrapping_sub(self.addr.0) / PAGE_SIZE) as usize;
        let aligned = index & !pages.wrapping_sub(1);
        let from = aligned.max(index.wrapping_sub(index.min(before)));
        let to = from.wrapping_add(pages).min(ENTRIES);
        from..to.min(index.saturating_add(behind))
    }

    /// The address of a neighbour.
    fn addr_of(&self, index: usize) -> VirtAddr {
        let table = self.addr.0 & !(Level::Pmd.size() - 1);
        VirtAddr(table.wrapping_add((index as u64).wrapping_mul(PAGE_SIZE)))
    }

    /// Has the host enter what is in the table around the page; what it has no memory for
    /// waits for its own fault. The caller has the table's lock.
    pub(super) fn enter_around(&self, table: Table<'m>) {
        let own = Level::Pte.index(self.addr);
        for index in self.around(AROUND) {
            let entry = table.get(index);
            if index == own || !entry.has(Entry::PRESENT) {
                continue;
            }
            let writable = entry.is_writable() && entry.has(Entry::DIRTY);
            if self
                .host
                .enter(self.addr_of(index), entry.pfn(), writable)
                .is_err()
            {
                return;
            }
        }
    }

    /// The same of 2 MiB that begin with `first`, which the host can't enter as such.
    pub(super) fn enter_huge_around(&self, first: Pfn, writable: bool) {
        let own = Level::Pte.index(self.addr);
        for index in self.around(AROUND).filter(|&index| index != own) {
            let pfn = first + Pages(index as u64);
            if self.host.enter(self.addr_of(index), pfn, writable).is_err() {
                return;
            }
        }
    }

    /// Maps pages around that `find` knows of, by how far they are behind the page, and
    /// has counted one reference more to (`filemap_map_pages`). The caller has the table's
    /// lock.
    pub(super) fn map_around(
        &self,
        table: Table<'m>,
        kind: Rss,
        mut find: impl FnMut(i64) -> Option<Pfn>,
    ) {
        let own = Level::Pte.index(self.addr);
        let mut more = 0;
        for index in self.around(AROUND) {
            if index == own || !table.get(index).is_none() {
                continue;
            }
            let Some(pfn) = find((index as i64).wrapping_sub(own as i64)) else {
                continue;
            };
            let entry = Entry::page(pfn, self.flags);
            table.set(index, entry);
            more = u64::wrapping_add(more, 1);
            self.note_locked(entry);
            // What the host has no memory for waits for its own fault.
            let _ = self.host.enter(self.addr_of(index), pfn, false);
        }
        self.space.cells.add_rss(kind, more);
    }

    /// Has neighbours of an address be the zero page, of which `entry` is. The caller has
    /// the table's lock.
    #[inline(never)]
    pub(super) fn zero_around(&self, table: Table<'m>, entry: Entry, pages: usize) {
        let entry = entry.without(Entry::ACCESSED);
        for index in self.around(pages) {
            if !table.get(index).is_none() {
                continue;
            }
            table.set(index, entry);
            let _ = self.host.enter(self.addr_of(index), entry.pfn(), false);
        }
    }

    /// Makes neighbours of a page that has just been made.
    #[inline(never)]
    pub(super) fn make_around(&self, table: Table<'m>, pages: usize) {
        let around = self.around(pages);
        let is_free = |index: &usize| table.get(*index).is_none();
        let wanted = around.clone().filter(is_free).count();
        let mut place = [PageRef::none(); AROUND];
        let spaces = &self.space.system;
        let allocator = spaces.mm.allocator();
        let Some(place) = place.get_mut(..wanted) else {
            return;
        };
        // Without memory there are no neighbours, and that is all.
        let made = allocator.alloc_page_bulk(&super::anon::USER_REQUEST, place);
        let made = place.get(..made.unwrap_or(0)).unwrap_or(&[]);
        let zero = |page: &PageRef<'_>| spaces.zero_pages(page.pfn(), PageOrder::ZERO);
        if made.iter().map(zero).any(|zeroed| zeroed.is_err()) {
            allocator.free_page_bulk(made);
            return;
        }
        let mut pages = made.iter();
        let entered = {
            let _lock = table.lock(spaces.platform());
            for index in around.filter(is_free) {
                let Some(page) = pages.next() else { break };
                let entry = Entry::page(page.pfn(), self.flags);
                table.set(index, entry.with(Entry::DIRTY | Entry::WRITE));
                self.note_locked(entry);
                let _ = self.host.enter(self.addr_of(index), page.pfn(), true);
            }
            // Before another can take them away.
            let kept = made.len().wrapping_sub(pages.len());
            self.space.cells.add_rss(Rss::Anon, kept as u64);
            made.get(..kept).unwrap_or(&[])
        };
        spaces.count_each(entered, UserStat::Anon, 1);
        allocator.free_page_bulk(pages.as_slice());
    }
}
