// SPDX-License-Identifier: GPL-2.0

//! Shared memory: objects that have pages, for VMAs of several address spaces.
//!
//! ```text
//! VmaCells::file ---> ShmCells      users: VMAs (and whoever else keeps it)
//!                       tables      the object's pages by their numbers, in tables of
//!                                   the same format as those of address spaces
//! ```
//!
//! Who writes to a page has its entry be dirty. The page itself, for all others who map it,
//! is so from then on if that was the first access through the entry
//! (`fault_dirty_shared_page`); after a read it is so once the entry goes
//! (`zap_present_folio_ptes`), since the CPU has told the entry alone.
//!
//! A page has a reference from its object and one from each entry that maps it, and goes
//! when the object does and nobody maps it (`shmem`, without files or swap). Where it is to go
//! before (`MADV_REMOVE`) while others map it, it is emptied and stays: what maps an object is
//! not known to it (`i_mmap`), and who reads the page finds the same zeroes in it.

use super::fault::Mapped;
use super::fault::Stop;
use super::flags::VmFlags;
use super::handle::Fault;
use super::host::HostTable;
use super::page_table::entries_of;
use super::page_table::Entry;
use super::page_table::Level;
use super::page_table::Table;
use super::page_table::Tables;
use super::rss::Rss;
use super::system::AddressSpace;
use super::system::AddressSpaces;
use super::system::CacheOf;
use super::types::VirtAddr;
use super::types::VirtRange;
use super::vma::Vma;
use super::zap::Guards;
use super::zap::Puts;
use crate::buddy::gfp;
use crate::buddy::PageAllocator;
use crate::buddy::UserStat;
use crate::error::Error;
use crate::error::Result;
use crate::phys::cells;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PAGE_SHIFT;
use crate::phys::PAGE_SIZE;
use crate::platform::Platform;
use crate::slab::ObjAddr;
use crate::slab::ObjRequest;
use crate::trace::FaultKind;
use core::ops::Range;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::AcqRel;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::Release;

const REQUEST: ObjRequest = ObjRequest::new(gfp::GFP_KERNEL);

cells! {
    /// A shared object (`struct shmem_inode_info`).
    pub(super) struct ShmCells {
        users: AtomicU32,
        pad: AtomicU32,
        /// The top table.
        root: AtomicU64,
        /// What the others take, in bytes.
        tables: AtomicU64,
        /// In pages (`i_size`).
        size: AtomicU64,
        /// Pages that it has.
        pages: AtomicU64,
        /// Pages that were promised for it; 0 where each is when it comes (`MAP_NORESERVE`).
        promised: AtomicU64,
        /// Pages, those of its tables included, that somebody is charged with.
        charged: AtomicU64,
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpaces<'a, 'm, P> {
    /// A new object of so many pages, of which it has none yet; so many were promised for
    /// it. The caller has the only reference (`shmem_kernel_file_setup`).
    ///
    /// # Errors
    ///
    /// Those of the slab layer.
    pub fn new_shared(&self, size: Pages, promised: Pages) -> Result<ObjAddr> {
        let addr = self.cache(CacheOf::Shared)?.alloc(&REQUEST)?;
        let cells: &ShmCells = self.cells(addr)?;
        cells.root.store(0, Relaxed);
        cells.tables.store(0, Relaxed);
        cells.size.store(size.0, Relaxed);
        cells.pages.store(0, Relaxed);
        cells.promised.store(promised.0, Relaxed);
        cells.charged.store(0, Relaxed);
        cells.users.store(1, Release);
        Ok(addr)
    }

    /// One more has the object; the caller has it, too (`get_file`).
    pub fn get_shared(&self, object: ObjAddr) {
        if let Ok(cells) = self.cells::<ShmCells>(object) {
            cells.users.fetch_add(1, Relaxed);
        }
    }

    /// One less has it; the last one gives back its pages (`fput`, `shmem_evict_inode`),
    /// and is told how many were promised for it, and how many somebody was charged with.
    pub fn put_shared(&self, object: ObjAddr) -> (Pages, Pages) {
        let Ok(cells) = self.cells::<ShmCells>(object) else {
            return (Pages::ZERO, Pages::ZERO);
        };
        if cells.users.fetch_sub(1, AcqRel) != 1 {
            return (Pages::ZERO, Pages::ZERO);
        }
        let promised = match cells.promised.load(Relaxed) {
            0 => Pages(cells.pages.load(Relaxed)),
            all => Pages(all),
        };
        let charged = Pages(cells.charged.load(Relaxed));
        {
            let mut puts = Puts::new(self);
            self.tables_of(cells).drop_all(&mut |entry| puts.put(entry));
        }
        if let Ok(cache) = self.cache(CacheOf::Shared) {
            // The slab layer counts a refusal.
            let _ = cache.free(object);
        }
        (promised, charged)
    }

    /// The page of an object with this number, if it has it (`mincore_page`).
    pub fn shared_page(&self, object: ObjAddr, index: u64) -> Option<Pfn> {
        let cells = self.cells::<ShmCells>(object).ok()?;
        self.tables_of(cells).page_at(place_of(index)?).pfn
    }

    /// The pages of an object from `first` on go, or are zeroes where somebody maps them
    /// (`shmem_truncate_range`).
    fn punch_hole(&self, cells: &'m ShmCells, first: u64, pages: Pages) {
        let Some((start, end)) = place_of(first).zip(place_of(first.saturating_add(pages.0)))
        else {
            return;
        };
        let mut gone = 0u64;
        let range = VirtRange::new(start.0, end.0);
        self.tables_of(cells).for_each_table(range, |table, part| {
            gone = gone.wrapping_add(self.empty_pages(table, entries_of(part)));
            self.platform().cond_resched();
        });
        cells.pages.fetch_sub(gone, Relaxed);
        if cells.promised.load(Relaxed) == 0 {
            self.account(-(gone as i64));
        }
    }

    /// The same in a table: how many have gone.
    fn empty_pages(&self, table: Table<'m>, which: Range<usize>) -> u64 {
        let mut puts = Puts::new(self);
        let mut gone = 0u64;
        // Nobody finds a page there meanwhile, so one that is the object's alone stays that.
        let _lock = table.lock(self.platform());
        for index in which {
            let entry = table.get(index);
            let Some(page) = self
                .mm
                .sparse
                .page(entry.pfn())
                .filter(|_| !entry.is_none())
            else {
                continue;
            };
            match page.count() {
                1 => {
                    table.set(index, Entry::NONE);
                    puts.put(entry);
                    gone = gone.wrapping_add(1);
                }
                // It is a page of this memory, which is all that could be refused.
                _ => drop(self.zero_pages(entry.pfn(), PageOrder::ZERO)),
            }
        }
        gone
    }

    /// How large an object is.
    pub fn shared_size(&self, object: ObjAddr) -> Pages {
        let cells = self.cells::<ShmCells>(object);
        cells.map_or(Pages::ZERO, |cells| Pages(cells.size.load(Relaxed)))
    }

    fn tables_of(&self, cells: &'m ShmCells) -> Tables<'a, 'm, P> {
        Tables::new(*self, &cells.root, &cells.tables)
    }

    /// A page of an object, made where it has none, and there is `room` for that, with one reference
    /// more than it had.
    fn page_of_shared<'s>(
        &'s self,
        cells: &'m ShmCells,
        index: u64,
        room: impl FnOnce() -> Result<Option<Promise<'s, 'a, 'm, P>>, Stop>,
    ) -> Result<Pfn, Stop> {
        let place = place_of(index).ok_or(Stop::Bus)?;
        if index >= cells.size.load(Relaxed) {
            return Err(Stop::Bus);
        }
        let slot = Level::Pte.index(place);
        if let Some(pfn) = self.get_shared_page(cells, index) {
            return Ok(pfn);
        }
        let promise = room()?;
        let table = self.tables_of(cells).table_for(place, Level::Pte)?;
        if let Some(pfn) = self.get_there(table, slot)? {
            return Ok(pfn);
        }
        let page = self.new_zeroed_page()?;
        let pfn = page.pfn();
        let lock = table.lock(self.platform());
        if !table.get(slot).is_none() {
            drop(lock);
            return Err(Stop::Again);
        }
        // The page's first reference is the object's.
        self.mm.allocator().get(pfn)?;
        table.set(slot, Entry::page(pfn, VmFlags::READ));
        if let Some(page) = self.mm.sparse.page(pfn) {
            page.set_shmem();
        }
        page.count(UserStat::Mapped);
        page.keep(UserStat::Shmem);
        cells.pages.fetch_add(1, Relaxed);
        core::mem::forget(promise);
        Ok(pfn)
    }

    /// A page that an object has, with one reference more. May be called with the lock of
    /// a table that is not an object's.
    fn get_shared_page(&self, cells: &'m ShmCells, index: u64) -> Option<Pfn> {
        let place = place_of(index)?;
        let table = self.tables_of(cells).table_at(place, Level::Pte)?;
        self.get_there(table, Level::Pte.index(place)).ok()?
    }

    fn get_there(&self, table: Table<'m>, slot: usize) -> Result<Option<Pfn>> {
        let _lock = table.lock(self.platform());
        let entry = table.get(slot);
        if entry.is_none() {
            return Ok(None);
        }
        let page = self.mm.sparse.page(entry.pfn()).ok_or(Error::Corrupt)?;
        // One is the object's.
        if page.try_get_count()? == 2 {
            self.count_pages(page.zone_id(), UserStat::Mapped, 1);
        }
        Ok(Some(entry.pfn()))
    }
}

/// A page that was promised, until it is there.
struct Promise<'s, 'a, 'm, P: Platform>(&'s AddressSpaces<'a, 'm, P>);

impl<P: Platform> Drop for Promise<'_, '_, '_, P> {
    fn drop(&mut self) {
        self.0.account(-1);
    }
}

impl ShmCells {
    /// Pages that it takes, those of its tables included.
    fn taken(&self) -> u64 {
        let tables = self.tables.load(Relaxed) / PAGE_SIZE;
        let root = u64::from(self.root.load(Relaxed) != 0);
        let pages = self.pages.load(Relaxed);
        pages.wrapping_add(tables).wrapping_add(root)
    }
}

/// Where the tables of an object have the page of this number.
fn place_of(index: u64) -> Option<VirtAddr> {
    (index < 1 << (48 - PAGE_SHIFT)).then_some(VirtAddr(index << PAGE_SHIFT))
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Has shared memory forget a part of `vma`, for all who have it. The caller has the mmap
    /// lock, and a writable VMA of shared memory (`madvise_remove`).
    pub(super) fn remove_shared(&self, host: &dyn HostTable, vma: Vma<'m>, part: VirtRange) {
        self.zap(host, vma.cells(), part, Guards::Stay);
        let Ok(cells) = self.system.cells::<ShmCells>(ObjAddr::new(vma.file())) else {
            return;
        };
        let first = vma.pgoff_at(part.start.0);
        self.system.punch_hole(cells, first, Pages(part.pages()));
        self.charge_shared(cells);
    }

    /// Who touches a page first is charged with it (`shmem_alloc_and_add_folio`), and with the
    /// tables that it needs; who has it go, with so many fewer. Of two at once one may be charged
    /// with what the other has made.
    fn charge_shared(&self, cells: &ShmCells) {
        let taken = cells.taken();
        if cells.charged.load(Relaxed) != taken {
            let before = cells.charged.swap(taken, Relaxed);
            let more = taken.wrapping_sub(before);
            self.cells.object_pages.fetch_add(more, Relaxed);
        }
    }
}

impl<'a, 'm: 'a, P: Platform, H: HostTable + ?Sized> Fault<'_, 'a, 'm, P, H> {
    /// The first access to a page (`do_shared_fault`, and `do_read_fault` of shared
    /// memory).
    pub(super) fn shared(&self, table: Table<'m>) -> Result<Mapped, Stop> {
        let spaces = &self.space.system;
        let object = ObjAddr::new(self.vma.file.load(Relaxed));
        let cells = spaces.cells::<ShmCells>(object);
        let cells = cells.map_err(|_: Error| Stop::Bus)?;
        let index = Level::Pte.index(self.addr);
        let page = spaces.page_of_shared(cells, self.page_index(), || self.room_in(cells));
        self.space.charge_shared(cells);
        let pfn = match page {
            Ok(pfn) => pfn,
            Err(stop) => {
                // Linux maps what is around a page before it asks for the page itself, so
                // a read behind the object's end has its last pages mapped.
                if !self.write {
                    let _lock = table.lock(spaces.platform());
                    self.map_shared_around(table, cells);
                }
                return Err(stop);
            }
        };
        let bits = match self.write {
            true => Entry::DIRTY | Entry::WRITE,
            false => 0,
        };
        let entry = Entry::page(pfn, self.flags).with(bits);
        let lock = table.lock(spaces.platform());
        if !table.get(index).is_none() {
            drop(lock);
            // It was not entered, so nobody has written to the page.
            spaces.put_entry(entry.without(Entry::DIRTY));
            return Err(Stop::Again);
        }
        table.set(index, entry);
        if let Some(page) = spaces.mm.sparse.page(pfn).filter(|_| self.write) {
            page.mark_dirty();
        }
        self.space.cells.add_rss(Rss::Shmem, 1);
        self.note_locked(entry);
        self.tell_page(FaultKind::Shared, entry);
        let entered = self.enter(entry);
        if !self.write {
            self.map_shared_around(table, cells);
        }
        entered
    }

    /// Whether the object may have a page more: its user, and where all of it was not promised at
    /// first, everybody (`shmem_acct_blocks`).
    fn room_in(&self, cells: &ShmCells) -> Result<Option<Promise<'_, 'a, 'm, P>>, Stop> {
        self.check_room()?;
        if cells.promised.load(Relaxed) != 0 {
            return Ok(None);
        }
        self.space.charge(1).map_err(|_| Stop::Bus)?;
        Ok(Some(Promise(&self.space.system)))
    }

    /// Maps neighbours that the object has. The caller has the table's lock.
    fn map_shared_around(&self, table: Table<'m>, cells: &'m ShmCells) {
        let spaces = &self.space.system;
        let index = self.page_index();
        let there = |ahead| spaces.get_shared_page(cells, index.checked_add_signed(ahead)?);
        self.map_around(table, Rss::Shmem, there);
    }
}
