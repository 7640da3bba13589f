// SPDX-License-Identifier: GPL-2.0

//! Private memory of no file: it reads as zeroes until it is written to
//! (`do_anonymous_page`).

use super::fault::Mapped;
use super::fault::Stop;
use super::handle::Fault;
use super::host::HostTable;
use super::page_table::Entry;
use super::page_table::Level;
use super::page_table::Table;
use super::rss::Rss;
use super::system::AddressSpaces;
use crate::buddy::gfp;
use crate::buddy::AllocRequest;
use crate::buddy::Gfp;
use crate::buddy::PageAllocator;
use crate::buddy::PageRef;
use crate::buddy::UserStat;
use crate::error::Result;
use crate::page::ZoneId;
use crate::phys::PageOrder;
use crate::phys::Pfn;
use crate::platform::Platform;
use crate::trace::FaultKind;

/// Nobody is told of a failure: what follows says enough.
const USER_GFP: Gfp = gfp::GFP_HIGHUSER_MOVABLE.or(gfp::__GFP_NOWARN);
/// What a page for a process is asked for with; it is filled here.
pub(super) const USER_REQUEST: AllocRequest = AllocRequest::new(USER_GFP, PageOrder::ZERO);

/// A page for a process, which nobody has yet: it goes back unless it is kept.
pub(super) struct NewPage<'s, 'a, 'm, P: Platform> {
    spaces: &'s AddressSpaces<'a, 'm, P>,
    pfn: Pfn,
    zone: ZoneId,
}

impl<'a, 'm: 'a, P: Platform> NewPage<'_, 'a, 'm, P> {
    #[inline]
    pub(super) fn pfn(&self) -> Pfn {
        self.pfn
    }

    /// It counts as this, besides.
    #[inline]
    pub(super) fn count(&self, stat: UserStat) {
        self.spaces.count_pages(self.zone, stat, 1);
    }

    /// It is in a table now, and counts as this.
    #[inline]
    pub(super) fn keep(self, stat: UserStat) {
        self.count(stat);
        core::mem::forget(self);
    }
}

impl<P: Platform> Drop for NewPage<'_, '_, '_, P> {
    fn drop(&mut self) {
        // The allocator counts a refusal.
        let _ = self.spaces.mm.allocator().free(self.pfn, PageOrder::ZERO);
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpaces<'a, 'm, P> {
    /// A page for a process, with whatever is in it.
    #[inline]
    pub(super) fn new_page(&self) -> Result<NewPage<'_, 'a, 'm, P>> {
        let allocator = self.mm.allocator();
        let page = allocator.alloc_page_here(&USER_REQUEST)?;
        Ok(self.own(page))
    }

    /// A page for a process, zeroed (`vma_alloc_zeroed_movable_folio`).
    #[inline]
    pub(super) fn new_zeroed_page(&self) -> Result<NewPage<'_, 'a, 'm, P>> {
        let allocator = self.mm.allocator();
        let page = allocator.alloc_page_here(&USER_REQUEST)?;
        let new = self.own(page);
        self.zero_page_at(page)?;
        Ok(new)
    }

    #[inline]
    fn own(&self, page: PageRef<'_>) -> NewPage<'_, 'a, 'm, P> {
        NewPage {
            spaces: self,
            pfn: page.pfn,
            zone: page.page.zone_id(),
        }
    }
}

impl<'a, 'm: 'a, P: Platform, H: HostTable + ?Sized> Fault<'_, 'a, 'm, P, H> {
    /// The first access to a page.
    #[inline]
    pub(super) fn anonymous(&self, table: Table<'m>) -> Result<Mapped, Stop> {
        match self.write {
            true => self.first_write(table),
            false => self.first_read(table),
        }
    }

    fn first_read(&self, table: Table<'m>) -> Result<Mapped, Stop> {
        let index = Level::Pte.index(self.addr);
        let entry = Entry::page(self.space.system.zero_page(), self.flags).with(Entry::ZERO);
        let _lock = table.lock(self.space.system.platform());
        if !table.get(index).is_none() {
            return Err(Stop::Again);
        }
        table.set(index, entry);
        self.tell_page(FaultKind::Zero, entry);
        let entered = self.enter(entry);
        match self.space.system.fault_around() {
            0 | 1 => {}
            pages => self.zero_around(table, entry, pages),
        }
        entered
    }

    #[inline]
    fn first_write(&self, table: Table<'m>) -> Result<Mapped, Stop> {
        self.prepare_anon()?;
        self.check_room()?;
        let index = Level::Pte.index(self.addr);
        let page = self.space.system.new_zeroed_page()?;
        let entry = Entry::page(page.pfn(), self.flags).with(Entry::DIRTY | Entry::WRITE);
        let lock = table.lock(self.space.system.platform());
        if !table.get(index).is_none() {
            drop(lock);
            return Err(Stop::Again);
        }
        table.set(index, entry);
        page.keep(UserStat::Anon);
        self.space.cells.add_rss(Rss::Anon, 1);
        self.note_locked(entry);
        self.tell_page(FaultKind::Anonymous, entry);
        let entered = self.enter(entry);
        drop(lock);
        match self.space.system.fault_around() {
            0 | 1 => {}
            pages => self.make_around(table, pages),
        }
        entered
    }
}
