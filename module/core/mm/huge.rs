// SPDX-License-Identifier: GPL-2.0

//! Anonymous memory by 2 MiB (transparent huge pages).
//!
//! ```text
//! pmd  none --first write, all of it in the VMA, a block of 2 MiB to be had--> huge
//!      huge --a part is unmapped, protected, moved, or copied-->               512 pages
//! ```
//!
//! With each huge entry a table is laid by, so that it can be split without memory. A
//! block that nobody else has is split into pages then; one that others have, too, stays
//! one, and each of the pages has a reference to it (`Entry::PART`). A block of the host's
//! need not lie as one of the shadow's does: where the host can't enter 2 MiB it enters the
//! page that was asked for.
//!
//! Memory that is read first gets single zero pages: there is no huge one
//! ([`zero`](super::zero)). Pages that are there already become 2 MiB where their process asks
//! for it ([`collapse`](super::collapse)).

use super::fault::Mapped;
use super::fault::Stop;
use super::flags::VmFlags;
use super::handle::Fault;
use super::host::HostTable;
use super::page_table::Entry;
use super::page_table::Level;
use super::page_table::Table;
use super::page_table::ENTRIES;
use super::page_table::HUGE_SIZE;
use super::rss::Rss;
use super::sysctl::MmKnob;
use super::system::AddressSpace;
use super::system::AddressSpaces;
use super::types::VirtAddr;
use super::types::VirtRange;
use crate::buddy::gfp;
use crate::buddy::AllocRequest;
use crate::buddy::PageAllocator;
use crate::buddy::UserStat;
use crate::buddy::VmEvent;
use crate::error::Error;
use crate::error::Result;
use crate::page::PageDescriptor;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PAGE_SIZE;
use crate::platform::Platform;
use crate::trace::FaultKind;
use core::sync::atomic::Ordering::Relaxed;

/// Pages in 2 MiB (`HPAGE_PMD_NR`).
pub(super) const HUGE_PAGES: u64 = HUGE_SIZE / PAGE_SIZE;

/// As `defrag` is `madvise`: no effort, but for those who have asked for 2 MiB
/// (`vma_thp_gfp_mask`).
const LIGHT: AllocRequest = AllocRequest::new(gfp::GFP_TRANSHUGE_LIGHT, PageOrder::PAGEBLOCK);
pub(super) const DIRECT: AllocRequest = AllocRequest::new(gfp::GFP_TRANSHUGE, PageOrder::PAGEBLOCK);

/// Who gets 2 MiB (`/sys/kernel/mm/transparent_hugepage/enabled`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum ThpMode {
    /// Everybody who has not declined (`MADV_NOHUGEPAGE`).
    #[default]
    Always = 0,
    /// Who has asked for it (`MADV_HUGEPAGE`).
    Madvise = 1,
    /// Nobody.
    Never = 2,
}

impl ThpMode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Always, Self::Madvise, Self::Never];

    /// Its name in Linux's file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Madvise => "madvise",
            Self::Never => "never",
        }
    }

    /// The mode of this name.
    ///
    /// # Errors
    ///
    /// [`Error::BadParameter`].
    pub fn parse(text: &str) -> Result<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|mode| mode.name() == text.trim())
            .ok_or(Error::BadParameter)
    }
}

impl<P: Platform> AddressSpaces<'_, '_, P> {
    /// Who gets 2 MiB.
    pub fn thp(&self) -> ThpMode {
        match self.knob(MmKnob::TransparentHugepage) {
            0 => ThpMode::Always,
            1 => ThpMode::Madvise,
            _ => ThpMode::Never,
        }
    }

    /// Says who gets 2 MiB from now on.
    pub fn set_thp(&self, mode: ThpMode) {
        // Each of them is in the range.
        let _ = self.set_knob(MmKnob::TransparentHugepage, mode as u64);
    }
}

/// The 2 MiB around an address.
#[inline]
pub(super) fn around(addr: VirtAddr) -> VirtRange {
    let start = addr.0 & !(HUGE_SIZE - 1);
    VirtRange::new(start, start.saturating_add(HUGE_SIZE))
}

/// Whether 2 MiB that begin on a border lie in a range (`thp_vma_suitable_order` of its last ones).
pub(super) fn has_huge_room(range: VirtRange) -> bool {
    let last = (range.end.0 & !(HUGE_SIZE - 1)).checked_sub(HUGE_SIZE);
    last.is_some_and(|last| last >= range.start.0)
}

impl<'a, 'm: 'a, P: Platform, H: HostTable + ?Sized> Fault<'_, 'a, 'm, P, H> {
    /// Whether 2 MiB may be mapped here (`thp_vma_allowable_order`,
    /// `thp_vma_suitable_order`).
    #[inline]
    fn may_be_huge(&self) -> bool {
        let unwanted = VmFlags::SHARED.with(VmFlags::NOHUGEPAGE);
        if self.flags.any(unwanted) || self.vma.is_of_file() {
            return false;
        }
        let wanted = match self.space.system.thp() {
            ThpMode::Always => true,
            ThpMode::Madvise => self.flags.has(VmFlags::HUGEPAGE),
            ThpMode::Never => false,
        };
        let all = around(self.addr);
        let (start, end) = (self.vma.start.load(Relaxed), self.vma.end.load(Relaxed));
        let asked = self.flags.has(VmFlags::HUGEPAGE);
        wanted && start <= all.start.0 && all.end.0 <= end && !self.host.has_no_huge(asked)
    }

    /// The first write to memory of which the table of the second level has nothing:
    /// `None` where it is for single pages (`do_huge_pmd_anonymous_page`).
    #[inline]
    pub(super) fn huge(&self, pmd: Table<'m>) -> Result<Option<Mapped>, Stop> {
        match (self.may_be_huge(), self.write) {
            (true, true) => self.first_huge_write(pmd),
            // Who reads first has a region, too, where it might be 2 MiB.
            (true, false) => self.prepare_anon().map(|()| None),
            (false, _) => Ok(None),
        }
    }

    #[inline(never)]
    fn first_huge_write(&self, pmd: Table<'m>) -> Result<Option<Mapped>, Stop> {
        self.prepare_anon()?;
        let spaces = &self.space.system;
        let allocator = spaces.mm.allocator();
        let request = match self.flags.has(VmFlags::HUGEPAGE) {
            true => &DIRECT,
            false => &LIGHT,
        };
        // With the table that is laid by. Where these are too many, single pages may be had
        // (`vma_alloc_anon_folio_pmd`).
        let room = self.space.check_room_for(self.host, HUGE_PAGES + 1);
        let Ok(block) = room.and_then(|()| allocator.alloc_block(request)) else {
            spaces.count_event(VmEvent::ThpFaultFallback);
            return Ok(None);
        };
        spaces.zero_pages(block.pfn(), PageOrder::PAGEBLOCK)?;
        spaces.begin_mapcounts(block.pfn())?;
        let table = spaces.make_table()?;
        let index = Level::Pmd.index(self.addr);
        let bits = Entry::DIRTY | Entry::WRITE | Entry::HUGE;
        let entry = Entry::page(block.pfn(), self.flags).with(bits);
        let lock = pmd.lock(spaces.platform());
        let slot = pmd.slot(index);
        // Who enters a table there does without the lock.
        if slot
            .compare_exchange(0, entry.0, super::page_table::INSTALL, Relaxed)
            .is_err()
        {
            drop(lock);
            spaces.give_table_back(table);
            return Err(Stop::Again);
        }
        let _ = block.into_raw();
        pmd.lay_by(table);
        self.space.tables().count_table();
        self.space.cells.add_rss(Rss::Anon, HUGE_PAGES);
        self.note_huge(entry);
        self.tell_page(FaultKind::Huge, entry);
        self.enter_huge(entry).map(Some)
    }

    fn note_huge(&self, entry: Entry) {
        let spaces = &self.space.system;
        spaces.count_event(VmEvent::ThpFaultAlloc);
        if let Some(page) = spaces.mm.sparse.page(entry.pfn()) {
            spaces.count_huge(page.zone_id(), 1);
            if self.flags.has(VmFlags::LOCKED) {
                spaces.count_pages(page.zone_id(), UserStat::Locked, HUGE_PAGES as i64);
            }
        }
    }

    /// 2 MiB are there: entered again where the host has lost them, or made writable;
    /// `None` after they were split (`do_huge_pmd_wp_page`).
    pub(super) fn huge_there(&self, pmd: Table<'m>) -> Result<Option<Mapped>, Stop> {
        let spaces = &self.space.system;
        let index = Level::Pmd.index(self.addr);
        {
            let _lock = pmd.lock(spaces.platform());
            let was = pmd.get(index);
            if !was.is_huge() {
                return Err(Stop::Again);
            }
            if !self.write || was.is_writable() || spaces.is_alone(was) {
                let mut entry = was.with(self.touched());
                if self.write {
                    entry = entry.with(Entry::WRITE);
                }
                let how = match self.write && !was.is_writable() {
                    true => FaultKind::Reuse,
                    false => FaultKind::Spurious,
                };
                pmd.set(index, entry);
                self.tell_page(how, entry);
                return self.enter_huge(entry).map(Some);
            }
        }
        self.space.split_huge(self.host, pmd, self.addr);
        Ok(None)
    }

    /// Has the host enter 2 MiB, or the page that was asked for.
    fn enter_huge(&self, entry: Entry) -> Result<Mapped, Stop> {
        let all = around(self.addr);
        let writable = entry.is_writable() && entry.has(Entry::DIRTY);
        let inside = VirtRange::new(all.start.0, self.addr.0).pages();
        let pfn = entry.pfn() + Pages(inside);
        let huge = self.host.enter_huge(all.start, entry.pfn(), writable);
        if !huge {
            self.host.enter(self.addr, pfn, writable)?;
            self.enter_huge_around(entry.pfn(), writable);
        }
        Ok(Mapped {
            pfn,
            writable,
            huge,
        })
    }
}

impl<P: Platform> AddressSpaces<'_, '_, P> {
    /// Makes single pages of a block that has one reference, which is the caller's; `false` where
    /// that can't be (`__folio_split`).
    pub(super) fn split_pages(&self, head: Pfn, page: &PageDescriptor) -> bool {
        let (whole, single) = (PageOrder::PAGEBLOCK, PageOrder::ZERO);
        if self.mm.allocator().split(head, whole, single).is_err() {
            return false;
        }
        let pages = -(HUGE_PAGES as i64);
        self.count_pages(page.zone_id(), UserStat::AnonHuge, pages);
        self.count_event(VmEvent::ThpSplitPage);
        true
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// A table that was laid by; the caller has the lock.
    pub(super) fn take_laid_by(&self, pmd: Table<'m>) -> Option<Table<'m>> {
        let table = self.system.table_in(pmd.laid_by()?).ok()?;
        pmd.forget(table);
        Some(table)
    }

    /// Makes 512 entries of a huge one, if there is one still (`split_huge_pmd`).
    pub(super) fn split_huge<H: HostTable + ?Sized>(
        &self,
        host: &H,
        pmd: Table<'m>,
        addr: VirtAddr,
    ) {
        let _lock = pmd.lock(self.system.platform());
        let index = Level::Pmd.index(addr);
        let entry = pmd.get(index);
        if !entry.is_huge() {
            return;
        }
        // There is one with each huge entry.
        let Some(table) = self.take_laid_by(pmd) else {
            return;
        };
        host.zap(around(addr));
        self.system.count_event(VmEvent::ThpSplitPmd);
        let part = self.split_block(entry.pfn());
        let first = entry.without(Entry::HUGE).with(part);
        for (page, index) in (0..ENTRIES).enumerate() {
            table.set(index, first.ahead(Pages(page as u64)));
        }
        pmd.set(index, Entry::table(table.pfn));
    }

    /// Makes single pages of a block, or has each of its pages be a reference to it where
    /// others have it, too: then that is the bit for their entries.
    fn split_block(&self, head: Pfn) -> u64 {
        let Some(page) = self.system.mm.sparse.page(head) else {
            return Entry::PART;
        };
        if page.is_sole() && self.system.split_pages(head, page) {
            return 0;
        }
        page.get_more(HUGE_PAGES as u32 - 1);
        self.system.note_parted(head);
        Entry::PART
    }
}
