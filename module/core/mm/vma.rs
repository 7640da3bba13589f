// SPDX-License-Identifier: GPL-2.0

//! A VMA at hand, and how one is found.
//!
//! What is read here is what somebody wrote who had the mmap lock for writing;
//! whoever reads has the mmap lock, or the VMA's own.

use super::cells::VmaCells;
use super::flags::VmFlags;
use super::lock::start_write;
use super::lock::UNMARKED;
use super::system::AddressSpace;
use super::system::AddressSpaces;
use super::system::CacheOf;
use super::system::MmapWrite;
use super::types::VirtAddr;
use super::types::VirtRange;
use super::vma_tree::Entries;
use super::vma_tree::Entry;
use super::vma_tree::Reserve;
use crate::buddy::gfp;
use crate::error::Error;
use crate::error::Result;
use crate::phys::PAGE_SHIFT;
use crate::platform::Platform;
use crate::slab::ObjAddr;
use crate::slab::ObjRequest;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::Release;

/// A VMA (`struct vm_area_struct *`).
#[derive(Clone, Copy)]
pub struct Vma<'m> {
    addr: ObjAddr,
    cells: &'m VmaCells,
}

/// What a VMA is, as it was when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmaInfo {
    /// Where.
    pub range: VirtRange,
    /// What may be done there, and what it is.
    pub flags: VmFlags,
    /// Where its first page lies in what is behind it, in pages (`vm_pgoff`).
    pub pgoff: u64,
    /// What is behind it; 0 for private anonymous memory.
    pub file: u64,
    /// Its anonymous region (`anon_vma`), or 0.
    pub anon: u64,
}

impl PartialEq for Vma<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.addr == other.addr
    }
}

impl<'m> Vma<'m> {
    /// Where it lies itself.
    #[inline]
    pub fn addr(self) -> ObjAddr {
        self.addr
    }

    /// Its cells.
    #[inline]
    pub fn cells(self) -> &'m VmaCells {
        self.cells
    }

    /// As it is now.
    pub fn info(self) -> VmaInfo {
        VmaInfo {
            range: self.range(),
            flags: self.flags(),
            pgoff: self.pgoff(),
            file: self.file(),
            anon: self.anon(),
        }
    }

    /// Its first address (`vm_start`).
    #[inline]
    pub fn start(self) -> u64 {
        self.cells.start.load(Relaxed)
    }

    /// Behind its last (`vm_end`).
    #[inline]
    pub fn end(self) -> u64 {
        self.cells.end.load(Relaxed)
    }

    /// From its first address up to its last.
    #[inline]
    pub fn range(self) -> VirtRange {
        VirtRange::new(self.start(), self.end())
    }

    /// How many pages it has (`vma_pages`).
    #[inline]
    pub fn pages(self) -> u64 {
        self.range().pages()
    }

    /// `vm_flags`.
    #[inline]
    pub fn flags(self) -> VmFlags {
        VmFlags(self.cells.flags.load(Relaxed))
    }

    /// Where its first page lies in what is behind it (`vma_start_pgoff`).
    #[inline]
    pub fn pgoff(self) -> u64 {
        self.cells.pgoff.load(Relaxed)
    }

    /// Where its first page would lie if it were anonymous
    /// (`vma_start_anon_pgoff`).
    #[inline]
    pub fn anon_pgoff(self) -> u64 {
        self.cells.anon_pgoff.load(Relaxed)
    }

    /// The page behind the one at `addr` (`linear_page_index`).
    #[inline]
    pub fn pgoff_at(self, addr: u64) -> u64 {
        let pages = addr.wrapping_sub(self.start()) >> PAGE_SHIFT;
        self.pgoff().wrapping_add(pages)
    }

    /// The same of the anonymous one (`__linear_anon_page_index`).
    #[inline]
    pub fn anon_pgoff_at(self, addr: u64) -> u64 {
        let pages = addr.wrapping_sub(self.start()) >> PAGE_SHIFT;
        self.anon_pgoff().wrapping_add(pages)
    }

    /// What is behind it (`vm_file`); 0 for private anonymous memory.
    #[inline]
    pub fn file(self) -> u64 {
        self.cells.file.load(Relaxed)
    }

    /// Its anonymous region (`anon_vma`); 0 for none.
    #[inline]
    pub fn anon(self) -> u64 {
        self.cells.anon.load(Relaxed)
    }

    /// Whether it is private anonymous memory (`vma_is_anonymous`).
    #[inline]
    pub fn is_anonymous(self) -> bool {
        self.file() == 0
    }

    /// Whether a fork has passed its anonymous region on to it
    /// (`vma_is_fork_child`).
    #[inline]
    pub fn is_fork_child(self) -> bool {
        self.anon() != 0 && self.cells.chains.load(Relaxed) != 1
    }

    /// Whether anything may be done there (`vma_is_accessible`).
    #[inline]
    pub fn is_accessible(self) -> bool {
        self.flags().any(VmFlags::ACCESS)
    }

    /// Whether `mlock` does anything there (`vma_supports_mlock`).
    #[inline]
    pub fn supports_mlock(self) -> bool {
        !self.flags().any(VmFlags::SPECIAL.with(VmFlags::DROPPABLE))
    }

    /// Its start, with the gap before a stack that grows (`vm_start_gap`).
    #[inline]
    pub fn start_gap(self, stack_guard_gap: u64) -> u64 {
        match self.flags().has(VmFlags::GROWSDOWN) {
            true => self.start().saturating_sub(stack_guard_gap),
            false => self.start(),
        }
    }

    /// Has these flags. The VMA is marked for its writer.
    #[inline]
    pub(super) fn set_flags(self, flags: VmFlags) {
        self.cells.flags.store(flags.0, Relaxed);
    }

    /// There may be guards in it from now on (`vma_set_atomic_flag`). The caller has the mmap
    /// lock, for reading at least.
    pub(super) fn note_guards(self) {
        self.cells.flags.fetch_or(VmFlags::MAYBE_GUARD.0, Relaxed);
    }

    /// Goes from `start` to `end` (`__vma_set_range`). Marked.
    #[inline]
    pub(super) fn set_range(self, start: u64, end: u64) {
        self.cells.start.store(start, Relaxed);
        self.cells.end.store(end, Relaxed);
    }

    /// Has these offsets (`vma_set_pgoff`, `vma_set_anon_pgoff`). Marked.
    #[inline]
    pub(super) fn set_pgoff(self, pgoff: u64, anon_pgoff: u64) {
        self.cells.pgoff.store(pgoff, Relaxed);
        self.cells.anon_pgoff.store(anon_pgoff, Relaxed);
    }

    /// Its first page is another: as many pages further on (`vma_add_pgoff`), or
    /// back by a wrapped number (`vma_sub_pgoff`). Marked.
    #[inline]
    pub(super) fn add_pgoff(self, pages: u64) {
        self.set_pgoff(
            self.pgoff().wrapping_add(pages),
            self.anon_pgoff().wrapping_add(pages),
        );
    }

    /// Belongs to the anonymous region of another (`anon_vma_clone`). Marked.
    #[inline]
    pub(super) fn clone_anon(self, from: Self) {
        let chains = from.cells.chains.load(Relaxed);
        self.cells.chains.store(chains, Relaxed);
        self.cells.anon.store(from.anon(), Release);
    }

    /// Belongs to none any more (`unlink_anon_vmas`). Marked.
    #[inline]
    pub(super) fn unlink_anon(self) {
        self.cells.anon.store(0, Relaxed);
        self.cells.chains.store(0, Relaxed);
    }

    /// Is in the address space (`vma_mark_attached`), or in none with 0
    /// (`vma_mark_detached`). Marked.
    #[inline]
    pub(super) fn set_mm(self, mm: ObjAddr) {
        self.cells.mm.store(mm.get(), Release);
    }
}

/// What a new VMA begins as.
#[derive(Clone, Copy)]
pub(super) struct NewVma {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) flags: VmFlags,
    pub(super) pgoff: u64,
    pub(super) anon_pgoff: u64,
    pub(super) file: u64,
}

impl<'m, P: Platform> AddressSpaces<'_, 'm, P> {
    /// The VMA of this number in a tree.
    #[inline]
    pub(super) fn vma(&self, value: u64) -> Option<Vma<'m>> {
        let addr = ObjAddr::new(value);
        let cells = self.cells(addr).ok()?;
        Some(Vma { addr, cells })
    }

    /// Takes a VMA that is in no tree yet (`vm_area_alloc`).
    ///
    /// # Errors
    ///
    /// Those of [`Cache::alloc`](crate::slab::Cache::alloc).
    pub(super) fn new_vma(&self, new: &NewVma) -> Result<Vma<'m>> {
        let request = ObjRequest::new(gfp::GFP_KERNEL);
        let addr = self.cache(CacheOf::Vma)?.alloc(&request)?;
        let vma = self.vma(addr.get()).ok_or(Error::Corrupt)?;
        vma.set_mm(ObjAddr::NULL);
        // What marked it in another address space may be this one's number now, and whoever
        // has the lock of what it was is waited for (`vma_lock_init`). He sees that it is in
        // none.
        vma.cells.lock_seq.store(UNMARKED, Release);
        vma.set_range(new.start, new.end);
        vma.set_flags(new.flags);
        vma.set_pgoff(new.pgoff, new.anon_pgoff);
        vma.cells.file.store(new.file, Relaxed);
        vma.unlink_anon();
        Ok(vma)
    }

    /// Takes a VMA that is as another (`vm_area_dup`, `anon_vma_clone`); what is
    /// behind it is not held by it yet.
    ///
    /// # Errors
    ///
    /// As above.
    pub(super) fn dup_vma(&self, vma: Vma<'m>) -> Result<Vma<'m>> {
        let new = self.new_vma(&NewVma {
            start: vma.start(),
            end: vma.end(),
            flags: vma.flags(),
            pgoff: vma.pgoff(),
            anon_pgoff: vma.anon_pgoff(),
            file: vma.file(),
        })?;
        new.clone_anon(vma);
        Ok(new)
    }

    /// Gives a VMA back that is in no tree (`vm_area_free`).
    pub(super) fn free_vma(&self, vma: Vma<'m>) {
        let Ok(cache) = self.cache(CacheOf::Vma) else {
            return;
        };
        // Nothing to be done about an object that its cache does not know.
        let _ = cache.free(vma.addr);
    }
}

impl<'a, 'm: 'a, P: Platform> MmapWrite<'a, 'm, P> {
    /// A VMA where nothing is (`vma_link`).
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`]; nothing has changed then.
    pub(super) fn insert_vma(&self, new: &NewVma) -> Result<Vma<'m>> {
        let mut reserve = self.space.tree().reserve(1)?;
        let vma = self.space.system.new_vma(new)?;
        self.link_vma(vma, &mut reserve);
        Ok(vma)
    }

    /// The VMA is in the address space from now on.
    pub(super) fn link_vma(&self, vma: Vma<'m>, reserve: &mut Reserve<'a, 'm, P>) {
        let space = &self.space;
        space.start_write(vma);
        vma.set_mm(space.addr);
        let value = Some(vma.addr().get());
        space.tree().store(vma.start(), vma.end(), value, reserve);
        space.cells.map_count.fetch_add(1, Relaxed);
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    #[inline]
    fn of_entry(&self, entry: Option<Entry>) -> Option<Vma<'m>> {
        self.system.vma(entry?.value)
    }

    /// The first VMA that ends behind `addr` (`find_vma`). With the mmap lock, as all
    /// of these.
    #[inline]
    pub(super) fn find_vma(&self, addr: u64) -> Option<Vma<'m>> {
        self.of_entry(self.tree().find(addr))
    }

    /// The VMA that holds `addr` (`vma_lookup`).
    #[inline]
    pub(super) fn vma_lookup(&self, addr: u64) -> Option<Vma<'m>> {
        self.find_vma(addr).filter(|vma| vma.start() <= addr)
    }

    /// The first VMA that has something of `start..end` (`find_vma_intersection`).
    #[inline]
    pub(super) fn find_intersection(&self, start: u64, end: u64) -> Option<Vma<'m>> {
        self.find_vma(start).filter(|vma| vma.start() < end)
    }

    /// Has `change` change each VMA of a range that begins in `first`, one after the other:
    /// it is told the VMA before, the VMA, and what of that is in the range, and says which
    /// VMA that part is in then.
    ///
    /// # Errors
    ///
    /// What `change` says; [`Error::NotMapped`] where the range has a gap. What lies before
    /// that has been changed.
    pub(super) fn change_vmas(
        &self,
        first: Vma<'m>,
        range: VirtRange,
        mut change: impl FnMut(Option<Vma<'m>>, Vma<'m>, VirtRange) -> Result<Vma<'m>>,
    ) -> Result<()> {
        let (start, end) = (range.start.0, range.end.0);
        let mut prev = match start > first.start() {
            true => Some(first),
            false => self.prev_vma(first.start()),
        };
        let mut from = start;
        let mut next = Some(first);
        while let Some(vma) = next {
            if from != start && vma.start() != from {
                return Err(Error::NotMapped);
            }
            let part = VirtRange::new(from, vma.end().min(end));
            let done = change(prev, vma, part)?;
            prev = Some(done);
            from = done.end();
            next = match from < end {
                true => self.find_intersection(from, end),
                false => None,
            };
        }
        match from < end {
            true => Err(Error::NotMapped),
            false => Ok(()),
        }
    }

    /// The last VMA that begins before `addr` (`vma_prev`).
    #[inline]
    pub(super) fn prev_vma(&self, addr: u64) -> Option<Vma<'m>> {
        self.of_entry(self.tree().prev(addr))
    }

    /// Marks a VMA for the one who has the mmap lock for writing.
    #[inline]
    pub(super) fn start_write(&self, vma: Vma<'m>) {
        start_write(self.system.platform(), self.cells, vma.cells);
    }

    /// Shows each VMA, lowest first. Has the mmap lock for reading meanwhile.
    pub fn for_each_vma(&self, mut each: impl FnMut(&VmaInfo)) {
        let _mm = self.read();
        for vma in self.vmas_in(VirtRange::new(0, u64::MAX)) {
            each(&vma.info());
        }
    }

    /// The VMA that holds an address, as it is now (`vma_lookup`).
    pub fn vma_at(&self, addr: VirtAddr) -> Option<VmaInfo> {
        let _mm = self.read();
        self.vma_lookup(addr.0).map(Vma::info)
    }

    /// Each VMA that has something of the range, in order, as it is when its turn
    /// comes (`for_each_vma_range`).
    pub(super) fn vmas_in(&self, range: VirtRange) -> VmasIn<'a, 'm, P> {
        VmasIn {
            system: self.system,
            entries: self.tree().iter(range.start.0, range.end.0),
        }
    }
}

/// See [`AddressSpace::vmas_in`].
pub(super) struct VmasIn<'a, 'm, P: Platform> {
    system: AddressSpaces<'a, 'm, P>,
    entries: Entries<'a, 'm, P>,
}

impl<'a, 'm: 'a, P: Platform> Iterator for VmasIn<'a, 'm, P> {
    type Item = Vma<'m>;

    fn next(&mut self) -> Option<Vma<'m>> {
        let entry = self.entries.next()?;
        self.system.vma(entry.value)
    }
}
