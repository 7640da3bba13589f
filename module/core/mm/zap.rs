// SPDX-License-Identifier: GPL-2.0

//! Pages go out of a range (`unmap_page_range`).
//!
//! ```text
//! with a table's lock     the host's entries of the table go
//!                         its own entries go
//!                         the pages lose the references that were these
//! ```
//!
//! Guards go with their VMA alone, and sometimes only pages go that nobody would miss.
//!
//! The host's table takes no reference to what is in it, hence the order; and nobody
//! enters a page there while the lock is held.

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
use super::system::AddressSpaces;
use super::types::VirtAddr;
use super::types::VirtRange;
use super::vma::Vma;
use crate::buddy::PageAllocator;
use crate::buddy::PageRef;
use crate::buddy::UserStat;
use crate::phys::PageOrder;
use crate::phys::Pfn;
use crate::phys::PAGE_SIZE;
use crate::platform::Platform;
use core::cell::Cell;
use core::convert::Infallible;
use core::ops::Range;

/// How many pages lose their references at once (`PAGEVEC_SIZE`).
const BATCH: usize = 31;

/// What becomes of the guards in a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guards {
    /// They stay, as its pages alone are meant.
    Stay,
    /// They go (`ZAP_FLAG_DROP_MARKER`).
    Go,
}

/// How pages go.
#[derive(Clone, Copy)]
struct Zap<'h> {
    host: &'h dyn HostTable,
    /// The VMA's.
    flags: VmFlags,
}

/// Pages that lose a reference soon.
pub(super) struct Puts<'s, 'a, 'm, P: Platform> {
    spaces: &'s AddressSpaces<'a, 'm, P>,
    /// Single pages of private memory that nobody else has.
    sole: Batch<PageRef<'m>>,
    /// Those that somebody else may have. All others go at once.
    others: Batch<Pfn>,
}

/// The first `len` of these.
struct Batch<T> {
    pages: [T; BATCH],
    len: usize,
}

impl<T: Copy> Batch<T> {
    const fn new(empty: T) -> Self {
        Self {
            pages: [empty; BATCH],
            len: 0,
        }
    }

    /// Adds one, after `flush` if there is no room.
    #[inline]
    fn push(&mut self, page: T, flush: impl FnOnce(&[T])) {
        if self.len == BATCH {
            flush(&self.pages);
            self.len = 0;
        }
        if let Some(place) = self.pages.get_mut(self.len) {
            *place = page;
            self.len = self.len.wrapping_add(1);
        }
    }

    fn all(&self) -> &[T] {
        self.pages.get(..self.len).unwrap_or(&[])
    }
}

impl<'s, 'a, 'm: 'a, P: Platform> Puts<'s, 'a, 'm, P> {
    pub(super) fn new(spaces: &'s AddressSpaces<'a, 'm, P>) -> Self {
        Self {
            spaces,
            sole: Batch::new(PageRef::none()),
            others: Batch::new(Pfn(0)),
        }
    }

    /// The page of an entry that has just gone, here and in the host's table.
    #[inline]
    pub(super) fn put(&mut self, entry: Entry) {
        let spaces = self.spaces;
        if entry.is_zero_page() {
            return;
        }
        let pfn = spaces.block_of_entry(entry);
        let Some(page) = spaces.mm.sparse.page(pfn) else {
            return;
        };
        if entry.has(Entry::FILE | Entry::HUGE | Entry::PART) || page.is_shmem() {
            spaces.note_unmapped(entry);
            spaces.put_page_of(entry, pfn, page);
        } else if page.is_sole() && page.is_allocated(PageOrder::ZERO) {
            // Who has the only reference is the only one who could make another.
            let flush = |pages: &[PageRef<'_>]| give_back(spaces, pages);
            self.sole.push(PageRef { pfn, page }, flush);
        } else {
            self.others.push(pfn, |pages| put_all(spaces, pages));
        }
    }
}

/// A refusal means that somebody has freed a page behind our back; the allocator has
/// counted it.
fn give_back<'a, 'm: 'a, P: Platform>(spaces: &AddressSpaces<'a, 'm, P>, pages: &[PageRef<'_>]) {
    spaces.count_each(pages, UserStat::Anon, -1);
    spaces.mm.allocator().free_page_bulk(pages);
}

fn put_all<'a, 'm: 'a, P: Platform>(spaces: &AddressSpaces<'a, 'm, P>, pages: &[Pfn]) {
    let mut each = |pfn, put| {
        if matches!(put, Ok(true)) {
            spaces.count_frame(pfn, UserStat::Anon, -1);
        }
    };
    spaces.mm.allocator().put_batch(pages, &mut each);
}

impl<P: Platform> Drop for Puts<'_, '_, '_, P> {
    fn drop(&mut self) {
        if self.sole.len != 0 {
            give_back(self.spaces, self.sole.all());
        }
        if self.others.len != 0 {
            put_all(self.spaces, self.others.all());
        }
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpaces<'a, 'm, P> {
    /// The first page of the block that an entry leads to.
    #[inline]
    pub(super) fn block_of_entry(&self, entry: Entry) -> Pfn {
        match entry.has(Entry::PART) {
            false => entry.pfn(),
            // Blocks that were split in the tables alone are of 2 MiB.
            true => entry.pfn().align_down(PageOrder::PAGEBLOCK),
        }
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Takes all pages of a range out of the tables, which is part of `vma`. The caller
    /// has the mmap lock, or the VMA's (`zap_vma_range`, `unmap_vmas`).
    pub fn zap(&self, host: &dyn HostTable, vma: &VmaCells, range: VirtRange, guards: Guards) {
        self.cells.note_hiwater_rss();
        let flags = vma.vm_flags();
        let zap = Zap { host, flags };
        let stay = match guards {
            Guards::Stay => Entry::GUARDED,
            Guards::Go => 0,
        };
        let mut gone = RssDelta::default();
        let tables = self.tables();
        let Ok(()) = tables.for_each_pmd(range.start.0, range.end.0, |pmd, part| {
            self.zap_pmds(zap, pmd, part, &mut gone, &|entry| entry.has(stay));
            Ok::<(), Infallible>(())
        });
        self.cells.sub_all_rss(&gone);
    }

    /// Takes those pages of private anonymous memory that nobody would miss
    /// ([`reclaim`](super::reclaim)), until `gone` has `enough`; `left` is told of those that
    /// others have, too. The caller has the mmap lock.
    pub(super) fn zap_unneeded(
        &self,
        host: &dyn HostTable,
        vma: Vma<'m>,
        enough: u64,
        gone: &mut u64,
        left: &mut bool,
    ) {
        self.cells.note_hiwater_rss();
        let (range, flags) = (vma.range(), vma.flags());
        let zap = Zap { host, flags };
        let needed = match flags.has(VmFlags::DROPPABLE) {
            true => 0,
            false => Entry::DIRTY,
        } | Entry::ZERO
            | Entry::FILE
            | Entry::PART
            | Entry::GUARDED;
        let others = Cell::new(false);
        let stays = |entry: Entry| {
            if !entry.is_present() || entry.has(needed) {
                return true;
            }
            let is_alone = self.system.is_alone(entry);
            others.set(others.get() || !is_alone);
            !is_alone
        };
        // Where there is enough, the rest is left.
        *left |= self
            .tables()
            .for_each_pmd(range.start.0, range.end.0, |pmd, part| {
                for piece in Level::Pmd.parts(part) {
                    let mut pages = RssDelta::default();
                    self.zap_pmds(zap, pmd, piece, &mut pages, &stays);
                    self.cells.sub_all_rss(&pages);
                    *gone = gone.wrapping_add(pages.all());
                    if *gone >= enough {
                        return Err(());
                    }
                }
                Ok(())
            })
            .is_err();
        *left |= others.get();
    }

    fn zap_pmds(
        &self,
        zap: Zap<'_>,
        pmd: Table<'m>,
        range: VirtRange,
        gone: &mut RssDelta,
        stays: &impl Fn(Entry) -> bool,
    ) {
        for part in Level::Pmd.parts(range) {
            let index = Level::Pmd.index(part.start);
            if pmd.get(index).is_huge() && !self.zap_huge(zap, pmd, part, gone, stays) {
                self.split_huge(zap.host, pmd, part.start);
            }
            let entry = pmd.get(index);
            if entry.is_table() {
                if let Ok(table) = self.system.table_in(entry.pfn()) {
                    self.zap_pages(zap, table, part, gone, stays);
                }
            }
            self.system.platform().cond_resched();
        }
    }

    /// Takes a huge entry away, unless it stays; `false` where only a part of it is to go
    /// (`zap_huge_pmd`).
    fn zap_huge(
        &self,
        zap: Zap<'_>,
        pmd: Table<'m>,
        part: VirtRange,
        gone: &mut RssDelta,
        stays: &impl Fn(Entry) -> bool,
    ) -> bool {
        if part.len() != HUGE_SIZE {
            return false;
        }
        let _lock = pmd.lock(self.system.platform());
        let index = Level::Pmd.index(part.start);
        let entry = pmd.get(index);
        if !entry.is_huge() || stays(entry) {
            return true;
        }
        zap.host.zap(part);
        pmd.set(index, Entry::NONE);
        if let Some(table) = self.take_laid_by(pmd) {
            self.tables().drop_table(table);
        }
        if zap.flags.has(VmFlags::LOCKED) {
            let pages = -((HUGE_SIZE / PAGE_SIZE) as i64);
            self.system
                .count_frame(entry.pfn(), UserStat::Locked, pages);
        }
        self.system.put_entry(entry);
        let kind = Rss::of(entry, zap.flags.has(VmFlags::SHARED));
        gone.note(kind, HUGE_SIZE / PAGE_SIZE);
        true
    }

    /// Takes single pages away (`zap_pte_range`).
    fn zap_pages(
        &self,
        zap: Zap<'_>,
        table: Table<'m>,
        part: VirtRange,
        gone: &mut RssDelta,
        stays: &impl Fn(Entry) -> bool,
    ) {
        let Range { start, end } = entries_of(part);
        let _lock = table.lock(self.system.platform());
        let stays = |entry: Entry| entry.is_none() || stays(entry);
        let is_there = |index: &usize| !stays(table.get(*index));
        let Some(from) = (start..end).find(is_there) else {
            return;
        };
        let last = (from..end).rev().find(is_there).unwrap_or(from);
        zap.host.zap(pages_of(part.start, start, from, last));
        let (shared, locked) = (
            zap.flags.has(VmFlags::SHARED),
            zap.flags.has(VmFlags::LOCKED),
        );
        let mut puts = Puts::new(&self.system);
        let mut rest = RestBefore::new();
        for index in from..=last {
            let entry = table.get(index);
            if stays(entry) {
                continue;
            }
            rest.note(&self.system, entry, &[table]);
            table.set(index, Entry::NONE);
            gone.note(Rss::of(entry, shared), 1);
            if locked {
                self.system.count_locked(entry, -1);
            }
            puts.put(entry);
        }
        rest.settle(self, &[table]);
    }
}

/// The addresses of the entries `from` up to and with `last`, where entry `first` is for
/// `start`.
pub(super) fn pages_of(start: VirtAddr, first: usize, from: usize, last: usize) -> VirtRange {
    let addr = |index: usize| {
        let pages = index.wrapping_sub(first) as u64;
        start.0.wrapping_add(pages.wrapping_mul(PAGE_SIZE))
    };
    VirtRange::new(addr(from), addr(last).wrapping_add(PAGE_SIZE))
}
