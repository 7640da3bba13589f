// SPDX-License-Identifier: GPL-2.0

//! What the pages of a VMA are, whose, and how many have them, as `/proc/PID/smaps` and
//! `pagemap` tell it.

use super::flags::VmFlags;
use super::huge::has_huge_room;
use super::page_table::Entry;
use super::page_table::Translation;
use super::rss::Rss;
use super::system::AddressSpace;
use super::types::VirtAddr;
use super::types::VirtRange;
use super::types::TASK_SIZE;
use super::vma::Vma;
use super::vma::VmaInfo;
use super::ThpMode;
use crate::page::PageDescriptor;
use crate::phys::PAGE_SIZE;
use crate::platform::Platform;

/// By how many bits a share of a page is finer than a byte (`PSS_SHIFT`).
const PSS_SHIFT: u32 = 12;

/// `PM_SOFT_DIRTY` and the others: an entry of a pagemap.
const PM_SOFT_DIRTY: u64 = 1 << 55;
const PM_MMAP_EXCLUSIVE: u64 = 1 << 56;
const PM_GUARD_REGION: u64 = 1 << 58;
const PM_FILE: u64 = 1 << 61;
const PM_SWAP: u64 = 1 << 62;
const PM_PRESENT: u64 = 1 << 63;
const PM_PFRAME_MASK: u64 = (1 << 55) - 1;
/// What a guard has in the place of a frame: its kind of swap entry and which marker it is
/// (`SWP_PTE_MARKER`, `PTE_MARKER_GUARD`).
const GUARD_FRAME: u64 = 31 | (4 << 5);

/// What a range has in memory, in bytes (`struct mem_size_stats`). Shares of pages are
/// finer by [`Usage::share`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // The names are Linux's.
pub struct Usage {
    pub resident: u64,
    pub shared_clean: u64,
    pub shared_dirty: u64,
    pub private_clean: u64,
    pub private_dirty: u64,
    pub referenced: u64,
    pub anonymous: u64,
    pub lazyfree: u64,
    pub anonymous_thp: u64,
    pub pss: u64,
    pub pss_anon: u64,
    pub pss_file: u64,
    pub pss_shmem: u64,
    pub pss_dirty: u64,
    pub pss_locked: u64,
}

/// What becomes of an address, and the VMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looked<T> {
    /// Whether a VMA holds the address.
    pub is_mapped: bool,
    /// What the caller says of the one that does, or of the next one behind.
    pub vma: Option<T>,
    /// The way through the tables.
    pub translation: Translation,
}

impl Usage {
    /// A share in bytes.
    pub const fn share(fine: u64) -> u64 {
        fine >> PSS_SHIFT
    }

    /// With what another range has.
    pub fn add_all(&mut self, more: &Self) {
        let pairs = [
            (&mut self.resident, more.resident),
            (&mut self.shared_clean, more.shared_clean),
            (&mut self.shared_dirty, more.shared_dirty),
            (&mut self.private_clean, more.private_clean),
            (&mut self.private_dirty, more.private_dirty),
            (&mut self.referenced, more.referenced),
            (&mut self.anonymous, more.anonymous),
            (&mut self.lazyfree, more.lazyfree),
            (&mut self.anonymous_thp, more.anonymous_thp),
            (&mut self.pss, more.pss),
            (&mut self.pss_anon, more.pss_anon),
            (&mut self.pss_file, more.pss_file),
            (&mut self.pss_shmem, more.pss_shmem),
            (&mut self.pss_dirty, more.pss_dirty),
            (&mut self.pss_locked, more.pss_locked),
        ];
        for (sum, more) in pairs {
            *sum += more;
        }
    }

    /// `smaps_account`, `smaps_page_accumulate`.
    fn add(&mut self, page: &Translation, flags: VmFlags, count: u32, is_dirty: bool) {
        let Some(kind) = Rss::of(page.leaf, flags.has(VmFlags::SHARED)) else {
            return;
        };
        let size = PAGE_SIZE;
        self.resident += size;
        if page.leaf.has(Entry::ACCESSED) {
            self.referenced += size;
        }
        let share = (size << PSS_SHIFT) / u64::from(count.max(1));
        self.pss += share;
        match kind {
            Rss::File => self.pss_file += share,
            Rss::Shmem => self.pss_shmem += share,
            Rss::Anon | Rss::Swap => {
                self.anonymous += size;
                // Who made it has written to it, and said then that he does not need it.
                if !page.leaf.has(Entry::DIRTY) {
                    self.lazyfree += size;
                }
                self.pss_anon += share;
                if page.huge {
                    self.anonymous_thp += size;
                }
            }
        }
        if flags.has(VmFlags::LOCKED) {
            self.pss_locked += share;
        }
        if is_dirty {
            self.pss_dirty += share;
        }
        let place = match (count < 2, is_dirty) {
            (true, true) => &mut self.private_dirty,
            (true, false) => &mut self.private_clean,
            (false, true) => &mut self.shared_dirty,
            (false, false) => &mut self.shared_clean,
        };
        *place += size;
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Shows each VMA, lowest first, as long as `each` likes. Has the mmap lock for
    /// reading meanwhile.
    ///
    /// # Errors
    ///
    /// Those of `each`.
    pub fn try_for_each_vma<E>(
        &self,
        mut each: impl FnMut(&VmaInfo) -> Result<(), E>,
    ) -> Result<(), E> {
        let _mm = self.read();
        let mut all = self.vmas_in(VirtRange::new(0, u64::MAX));
        all.try_for_each(|vma| each(&vma.info()))
    }

    /// The same with what each has in memory (`smap_gather_stats`).
    ///
    /// # Errors
    ///
    /// As above.
    pub fn try_for_each_usage<E>(
        &self,
        mut each: impl FnMut(&VmaInfo, &Usage) -> Result<(), E>,
    ) -> Result<(), E> {
        let _mm = self.read();
        let mut all = self.vmas_in(VirtRange::new(0, u64::MAX));
        all.try_for_each(|vma| each(&vma.info(), &self.usage_of(vma)))
    }

    /// Shows the first VMA that ends behind an address, if there is one: the next is to be
    /// looked for where it ends (`m_start`, `proc_get_vma`). Has the mmap lock for reading
    /// meanwhile, and not between two.
    pub fn with_vma_from<R>(&self, addr: VirtAddr, show: impl FnOnce(&VmaInfo) -> R) -> Option<R> {
        let _mm = self.read();
        self.find_vma(addr.0).map(|vma| show(&vma.info()))
    }

    /// The same with what it has in memory.
    pub fn with_usage_from<R>(
        &self,
        addr: VirtAddr,
        show: impl FnOnce(&VmaInfo, &Usage) -> R,
    ) -> Option<R> {
        let _mm = self.read();
        let vma = self.find_vma(addr.0)?;
        Some(show(&vma.info(), &self.usage_of(vma)))
    }

    fn usage_of(&self, vma: Vma<'m>) -> Usage {
        let mut usage = Usage::default();
        let flags = vma.flags();
        for (_, page) in self.resident_in(vma.range()) {
            let count = self.map_count_of(&page, flags);
            usage.add(&page, flags, count, self.is_dirty(&page));
        }
        usage
    }

    /// Whether a page was written to: through this entry, or it is shared memory and others
    /// have (`pte_dirty`, `folio_test_dirty`).
    fn is_dirty(&self, page: &Translation) -> bool {
        let descriptor = || self.system.mm.sparse.page(page.leaf.pfn());
        page.leaf.has(Entry::DIRTY) || descriptor().is_some_and(PageDescriptor::is_dirty)
    }

    /// How many entries map a page: of a block of 2 MiB it is counted, of others as far as
    /// the references say (`folio_precise_page_mapcount`).
    pub(super) fn map_count_of(&self, page: &Translation, flags: VmFlags) -> u32 {
        if let Some(count) = self.system.block_mapcount(page) {
            return count;
        }
        let Some(descriptor) = self.system.mm.sparse.page(page.leaf.pfn()) else {
            return 0;
        };
        let count = descriptor.count();
        match flags.has(VmFlags::SHARED) {
            // One is the object's.
            true => count.saturating_sub(1),
            false => count,
        }
    }

    /// Whether 2 MiB may be mapped in a VMA (`thp_vma_allowable_orders`).
    pub fn is_huge_eligible(&self, vma: &VmaInfo) -> bool {
        let wanted = match self.system.thp() {
            ThpMode::Always => true,
            ThpMode::Madvise => vma.flags.has(VmFlags::HUGEPAGE),
            ThpMode::Never => false,
        };
        wanted && vma.file == 0 && !vma.flags.has(VmFlags::NOHUGEPAGE) && has_huge_room(vma.range)
    }

    /// Looks an address up. A VMA is told to `of` while it is there, and with it the file
    /// that it maps.
    pub fn look<T>(&self, addr: VirtAddr, of: impl FnOnce(&VmaInfo) -> T) -> Looked<T> {
        let _mm = self.read();
        let vma = self.find_vma(addr.0).map(Vma::info);
        Looked {
            is_mapped: vma.is_some_and(|vma| vma.range.contains(addr)),
            vma: vma.as_ref().map(of),
            translation: self.page_at(addr),
        }
    }

    /// Fills entries of a pagemap, from the page of `addr` on, and says how many there
    /// were: none behind the last address of a process. Frames are told with `frames`
    /// alone (`pagemap_read`).
    pub fn pagemap(&self, addr: VirtAddr, entries: &mut [u64], frames: bool) -> usize {
        let _mm = self.read();
        let mut at = addr.page_down();
        let mut vma = None;
        let mut told = 0;
        for entry in entries {
            if at.0 >= TASK_SIZE {
                break;
            }
            let holds = |vma: &VmaInfo| vma.range.end > at;
            if !vma.as_ref().is_some_and(holds) {
                vma = self.find_vma(at.0).map(Vma::info);
            }
            *entry = match vma.as_ref().filter(|vma| vma.range.contains(at)) {
                Some(vma) => self.pagemap_entry(at, vma.flags, frames),
                None => 0,
            };
            told += 1;
            at = VirtAddr(at.0 + PAGE_SIZE);
        }
        told
    }

    /// `pte_to_pagemap_entry`.
    fn pagemap_entry(&self, at: VirtAddr, flags: VmFlags, frames: bool) -> u64 {
        let mut entry = 0;
        if flags.has(VmFlags::SOFTDIRTY) {
            entry |= PM_SOFT_DIRTY;
        }
        let page = self.page_at(at);
        let [.., last] = page.levels;
        if last.is_guard() {
            let frame = if frames { GUARD_FRAME } else { 0 };
            return entry | PM_SWAP | PM_GUARD_REGION | frame;
        }
        let Some(pfn) = page.pfn.filter(|_| page.leaf.is_present()) else {
            return entry;
        };
        entry |= PM_PRESENT;
        if frames {
            entry |= pfn.0 & PM_PFRAME_MASK;
        }
        match Rss::of(page.leaf, flags.has(VmFlags::SHARED)) {
            None => return entry,
            Some(Rss::File | Rss::Shmem) => entry |= PM_FILE,
            Some(Rss::Anon | Rss::Swap) => {}
        }
        if self.map_count_of(&page, flags) == 1 {
            entry |= PM_MMAP_EXCLUSIVE;
        }
        entry
    }
}
