// SPDX-License-Identifier: GPL-2.0

//! `mremap`: a range gets longer, shorter or another place.
//!
//! ```text
//! no address given      shorter: its end is unmapped
//!                       longer:  in place, if nothing is behind it; else it moves
//! FIXED                 what is there goes, then it moves; many VMAs at once, if the
//!                       length stays
//! DONTUNMAP             its pages move, and it stays, empty
//! ```

use super::flags::VmFlags;
use super::host::HostTable;
use super::merge::Merge;
use super::munmap::page_align;
use super::placement::PlaceRequest;
use super::placement::MAP_FIXED;
use super::populate::Told;
use super::system::AddressSpace;
use super::system::MmapWrite;
use super::types::VirtAddr;
use super::types::VirtRange;
use super::types::TASK_SIZE;
use super::vma::Vma;
use crate::error::Error;
use crate::error::Result;
use crate::phys::PAGE_SHIFT;
use crate::platform::Platform;
use core::sync::atomic::Ordering::Relaxed;

const MREMAP_MAYMOVE: u32 = 1;
const MREMAP_FIXED: u32 = 2;
const MREMAP_DONTUNMAP: u32 = 4;

/// What a process wants to have moved or resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MremapRequest {
    /// Where it is.
    pub addr: VirtAddr,
    /// Its length, in bytes; 0 makes another mapping of what is shared.
    pub old_len: u64,
    /// The length that it is to have.
    pub new_len: u64,
    /// `MREMAP_*`.
    pub flags: u32,
    /// Where it is to be, with `MREMAP_FIXED`, or where it might.
    pub new_addr: VirtAddr,
}

/// A request under way (`struct vma_remap_struct`).
#[derive(Clone, Copy)]
struct Remap {
    addr: u64,
    old_len: u64,
    new_len: u64,
    flags: u32,
    new_addr: u64,
    /// It has got longer and is locked: what is new is to be faulted in.
    populate: bool,
    /// Pages that were promised for it.
    charged: u64,
}

impl Remap {
    fn delta(&self) -> u64 {
        self.old_len.abs_diff(self.new_len)
    }

    fn has(&self, flags: u32) -> bool {
        self.flags & flags != 0
    }

    /// `vrm_implies_new_addr`.
    fn implies_new_addr(&self) -> bool {
        self.has(MREMAP_FIXED | MREMAP_DONTUNMAP)
    }

    fn source(&self) -> VirtRange {
        VirtRange::new(self.addr, self.addr.saturating_add(self.old_len))
    }

    /// `check_mremap_params`.
    fn check(&self, window: VirtRange) -> Result<()> {
        let known = MREMAP_FIXED | MREMAP_MAYMOVE | MREMAP_DONTUNMAP;
        if self.has(!known) {
            return Err(Error::BadRemap);
        }
        if !VirtAddr(self.addr).is_page_aligned() {
            return Err(Error::NotPageAligned);
        }
        if self.new_len == 0 || self.new_len > TASK_SIZE {
            return Err(Error::BadLength);
        }
        if !self.implies_new_addr() {
            return Ok(());
        }
        let last = window.end.0.checked_sub(self.new_len);
        let is_inside = last.is_some_and(|last| self.new_addr <= last);
        // Without MREMAP_FIXED it is a hint, and 0 is none.
        let is_below = self.has(MREMAP_FIXED) && self.new_addr < window.start.0;
        if !is_inside || is_below {
            return Err(Error::BadRange);
        }
        if !VirtAddr(self.new_addr).is_page_aligned() {
            return Err(Error::NotPageAligned);
        }
        let overlaps = self.addr.wrapping_add(self.old_len) > self.new_addr
            && self.new_addr + self.new_len > self.addr;
        let resizes = self.has(MREMAP_DONTUNMAP) && self.old_len != self.new_len;
        if !self.has(MREMAP_MAYMOVE) || resizes || overlaps {
            return Err(Error::BadRemap);
        }
        Ok(())
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Moves or resizes a mapping, and says where it is (`do_mremap`).
    ///
    /// # Errors
    ///
    /// [`Error::BadRemap`], [`Error::NotPageAligned`], [`Error::BadLength`],
    /// [`Error::BadRange`], [`Error::TooManyMaps`], [`Error::NothingThere`],
    /// [`Error::LockLimit`], [`Error::AddressSpaceLimit`], [`Error::NoAddressRoom`],
    /// [`Error::Overcommit`], [`Error::NoMemory`].
    pub fn mremap(&self, host: &dyn HostTable, request: &MremapRequest) -> Result<VirtAddr> {
        let mut remap = Remap {
            addr: request.addr.0,
            old_len: page_align(request.old_len),
            new_len: page_align(request.new_len),
            flags: request.flags,
            new_addr: request.new_addr.0,
            populate: false,
            charged: 0,
        };
        remap.check(self.window())?;
        let moved = self.write().mremap(host, &mut remap)?;
        if remap.populate {
            let start = remap.new_addr.saturating_add(remap.old_len);
            let range = VirtRange::new(start, start.saturating_add(remap.delta()));
            let _ = self.mm_populate(host, range, Told::Nothing);
        }
        Ok(VirtAddr(moved))
    }
}

impl<'a, 'm: 'a, P: Platform> MmapWrite<'a, 'm, P> {
    fn mremap(&self, host: &dyn HostTable, remap: &mut Remap) -> Result<u64> {
        let splits = remap.has(MREMAP_DONTUNMAP);
        self.check_map_count(4 + u64::from(splits))?;
        if remap.has(MREMAP_FIXED) && remap.old_len == remap.new_len {
            return self.move_many(host, remap);
        }
        let vma = self.space.vma_lookup(remap.addr);
        let vma = self.check_vma(remap, vma)?;
        match remap.implies_new_addr() {
            true => self.move_to(host, remap, vma),
            false => self.resize(host, remap, vma),
        }
    }

    /// Whether as many VMAs may come (`check_map_count_against_split`).
    fn check_map_count(&self, more: u64) -> Result<()> {
        let space = &self.space;
        match space.map_count() + more <= space.system.max_map_count() {
            true => Ok(()),
            false => Err(Error::TooManyMaps),
        }
    }

    /// `check_prep_vma`.
    fn check_vma(&self, remap: &mut Remap, vma: Option<Vma<'m>>) -> Result<Vma<'m>> {
        let space = &self.space;
        let vma = vma.ok_or(Error::NothingThere)?;
        if !remap.implies_new_addr() {
            remap.new_addr = remap.addr;
        }
        let (mut old_len, new_len) = (remap.old_len, remap.new_len);
        if old_len >= new_len && !remap.implies_new_addr() {
            return Ok(vma);
        }
        let flags = vma.flags();
        if old_len == 0 && !flags.any(VmFlags::SHARED.with(VmFlags::MAYSHARE)) {
            return Err(Error::BadRemap);
        }
        let fixed = VmFlags::DONTEXPAND.with(VmFlags::PFNMAP);
        if remap.has(MREMAP_DONTUNMAP) && flags.any(fixed) {
            return Err(Error::BadRemap);
        }
        // What is cut off may go beyond the VMA.
        old_len = old_len.min(new_len);
        if old_len > vma.end() - remap.addr {
            return Err(Error::NothingThere);
        }
        if new_len == old_len {
            return Ok(vma);
        }
        let is_locked = flags.has(VmFlags::LOCKED);
        remap.populate |= is_locked;
        let pgoff = vma.pgoff_at(remap.addr);
        if pgoff.checked_add(new_len >> PAGE_SHIFT).is_none() {
            return Err(Error::BadRemap);
        }
        if flags.any(fixed) {
            return Err(Error::NothingThere);
        }
        if !space.mlock_future_ok(is_locked, remap.delta()) {
            return Err(Error::LockLimit);
        }
        if !space.may_expand(flags, remap.delta() >> PAGE_SHIFT) {
            return Err(Error::AddressSpaceLimit);
        }
        Ok(vma)
    }

    /// All VMAs of a range to another place, with the holes between them
    /// (`remap_move`). Those before one that can't be moved have moved.
    fn move_many(&self, host: &dyn HostTable, remap: &mut Remap) -> Result<u64> {
        let start = remap.addr;
        let end = start.saturating_add(remap.old_len);
        let mut target = remap.new_addr;
        let mut at = start;
        let mut moved = None;
        while let Some(vma) = self.space.find_intersection(at, end).filter(|_| at < end) {
            if moved.is_none() && start < vma.start() {
                return Err(Error::NothingThere);
            }
            let addr = vma.start().max(start);
            let len = vma.end().min(end) - addr;
            let hole = match moved {
                Some(_) => vma.start() - at,
                None => 0,
            };
            at = vma.end();
            remap.addr = addr;
            remap.new_addr = target.saturating_add(hole);
            remap.old_len = len;
            remap.new_len = len;
            let vma = self.check_vma(remap, Some(vma))?;
            let here = self.move_to(host, remap, vma)?;
            moved = moved.or(Some(here));
            target = here + len;
        }
        moved.ok_or(Error::NothingThere)
    }

    /// `mremap_to`.
    fn move_to(&self, host: &dyn HostTable, remap: &mut Remap, vma: Vma<'m>) -> Result<u64> {
        let space = &self.space;
        let mut vma = vma;
        let source = |addr| space.vma_lookup(addr).ok_or(Error::NothingThere);
        if remap.has(MREMAP_FIXED) {
            self.munmap(host, VirtAddr(remap.new_addr), remap.new_len, Ok(()))?;
            vma = source(remap.addr)?;
        }
        if remap.old_len > remap.new_len {
            self.cut(host, remap)?;
            vma = source(remap.addr)?;
            remap.old_len = remap.new_len;
        }
        if remap.has(MREMAP_DONTUNMAP)
            && !space.may_expand(vma.flags(), remap.old_len >> PAGE_SHIFT)
        {
            return Err(Error::AddressSpaceLimit);
        }
        self.choose_addr(remap, vma)?;
        self.move_vma(host, remap, vma)
    }

    /// Unmaps what is too much (`shrink_vma`).
    fn cut(&self, host: &dyn HostTable, remap: &Remap) -> Result<()> {
        let start = remap.addr.wrapping_add(remap.new_len);
        self.munmap(host, VirtAddr(start), remap.delta(), Ok(()))
    }

    /// `vrm_set_new_addr`.
    fn choose_addr(&self, remap: &mut Remap, vma: Vma<'m>) -> Result<()> {
        let addr = match remap.implies_new_addr() {
            true => remap.new_addr,
            false => 0,
        };
        let flags = match remap.has(MREMAP_FIXED) {
            true => MAP_FIXED,
            false => 0,
        };
        let place = self.space.unmapped_area(&PlaceRequest {
            addr,
            len: remap.new_len,
            flags,
            is_anonymous: vma.is_anonymous(),
        })?;
        remap.new_addr = place.0;
        Ok(())
    }

    /// `mremap_at`.
    fn resize(&self, host: &dyn HostTable, remap: &mut Remap, vma: Vma<'m>) -> Result<u64> {
        if remap.old_len == remap.new_len {
            return Ok(remap.addr);
        }
        if remap.old_len > remap.new_len {
            self.cut(host, remap)?;
            return Ok(remap.addr);
        }
        if vma.end() - remap.addr == remap.old_len && self.can_expand(vma, remap.delta()) {
            return self.expand_in_place(remap, vma);
        }
        if !remap.has(MREMAP_MAYMOVE) {
            return Err(Error::NoAddressRoom);
        }
        self.choose_addr(remap, vma)?;
        self.move_vma(host, remap, vma)
    }

    /// Whether there is nothing behind a VMA for as many bytes
    /// (`vma_expandable`).
    fn can_expand(&self, vma: Vma<'m>, delta: u64) -> bool {
        let start = vma.end();
        let end = start.checked_add(delta);
        let window = self.space.window();
        end.is_some_and(|end| {
            end <= window.end.0 && self.space.find_intersection(start, end).is_none()
        })
    }

    /// `expand_vma_in_place`, `vma_merge_extend`.
    fn expand_in_place(&self, remap: &mut Remap, vma: Vma<'m>) -> Result<u64> {
        let space = &self.space;
        let delta = remap.delta();
        self.charge_remap(remap, vma)?;
        let start = vma.end();
        let mut merge = Merge::of(Some(vma), vma, start, start + delta);
        merge.middle = None;
        merge.next = space.find_vma(start);
        let merged = self.merge_new_range(&merge);
        let Ok(Some(vma)) = merged else {
            space.system.account(-(remap.charged as i64));
            return Err(Error::NoMemory);
        };
        self.account_remap(vma.flags(), delta);
        Ok(remap.addr)
    }

    /// Promises what is new (`vrm_calc_charge`).
    fn charge_remap(&self, remap: &mut Remap, vma: Vma<'m>) -> Result<()> {
        remap.charged = 0;
        if !vma.flags().has(VmFlags::ACCOUNT) {
            return Ok(());
        }
        let bytes = match remap.has(MREMAP_DONTUNMAP) {
            true => remap.new_len,
            false => remap.delta(),
        };
        self.space.charge(bytes >> PAGE_SHIFT)?;
        remap.charged = bytes >> PAGE_SHIFT;
        Ok(())
    }

    /// `vrm_stat_account`.
    fn account_remap(&self, flags: VmFlags, bytes: u64) {
        let pages = (bytes >> PAGE_SHIFT) as i64;
        self.space.stat_account(flags, pages);
        if flags.has(VmFlags::LOCKED) {
            self.space.add_locked(pages);
        }
    }

    /// Moves a part of a VMA to a place where nothing is (`move_vma`).
    fn move_vma(&self, host: &dyn HostTable, remap: &mut Remap, vma: Vma<'m>) -> Result<u64> {
        let space = &self.space;
        let stays = remap.has(MREMAP_DONTUNMAP);
        // What stays of a locked one is not locked: it becomes a VMA of its own first.
        let splits = stays && vma.flags().has(VmFlags::LOCKED);
        self.check_map_count(2 + u64::from(splits))?;
        if splits {
            let source = remap.source();
            if vma.start() != source.start.0 {
                self.split(host, vma, source.start.0, true)?;
            }
            if vma.end() != source.end.0 {
                self.split(host, vma, source.end.0, false)?;
            }
        }
        self.charge_remap(remap, vma)?;
        space.start_write(vma);
        let (vma, new) = match self.copy_vma(remap, vma) {
            Ok(pair) => pair,
            Err(error) => {
                space.system.account(-(remap.charged as i64));
                return Err(error);
            }
        };
        let moved = self.move_pages(host, remap, vma, new);
        // For a moment there is more than before and after.
        let hiwater = space.cells.hiwater_vm.load(Relaxed);
        let source = match moved {
            Ok(()) => vma,
            Err(_) => new,
        };
        if stays && moved.is_ok() {
            self.leave_empty(remap, vma);
        }
        let place = remap.new_addr;
        if moved.is_err() {
            if !stays {
                space.system.account(-(remap.charged as i64));
            }
            remap.addr = remap.new_addr;
            remap.old_len = remap.new_len;
        }
        self.account_remap(source.flags(), remap.new_len);
        if !stays || moved.is_err() {
            self.unmap_source(host, remap, source);
        }
        space.cells.hiwater_vm.store(hiwater, Relaxed);
        moved.map(|()| place)
    }

    /// The VMA at the new place, and the old one, which may have become the same
    /// (`copy_vma`).
    fn copy_vma(&self, remap: &Remap, vma: Vma<'m>) -> Result<(Vma<'m>, Vma<'m>)> {
        let space = &self.space;
        let (start, end) = (remap.new_addr, remap.new_addr + remap.new_len);
        let old_start = vma.start();
        if space.find_intersection(start, end).is_some() {
            return Err(Error::RangeTaken);
        }
        let mut merge = Merge::of(space.prev_vma(start), vma, start, end);
        merge.pgoff = vma.pgoff_at(remap.addr);
        merge.anon_pgoff = vma.anon_pgoff_at(remap.addr);
        merge.middle = None;
        merge.copied_from = Some(vma);
        merge.next = space.find_vma(end);
        if vma.anon() == 0 {
            // Nothing was written there: it may begin anew.
            merge.anon_pgoff = start >> PAGE_SHIFT;
            if vma.is_anonymous() {
                merge.pgoff = merge.anon_pgoff;
                if remap.has(MREMAP_DONTUNMAP) {
                    merge.prev = merge.prev.filter(|&prev| prev != vma);
                    merge.next = merge.next.filter(|&next| next != vma);
                }
            }
        }
        if let Some(new) = self.merge_new_range(&merge).unwrap_or(None) {
            let has_taken_it = new.start() < old_start && new.end() > old_start;
            return Ok((if has_taken_it { new } else { vma }, new));
        }
        let mut reserve = space.tree().reserve(1)?;
        let new = space.system.dup_vma(vma)?;
        space.system.get_backing(new);
        new.set_range(start, end);
        new.set_pgoff(merge.pgoff, merge.anon_pgoff);
        self.link_vma(new, &mut reserve);
        Ok((vma, new))
    }

    /// Moves the pages; on an error all are where they were
    /// (`move_page_tables`).
    fn move_pages(
        &self,
        host: &dyn HostTable,
        remap: &Remap,
        vma: Vma<'m>,
        new: Vma<'m>,
    ) -> Result<()> {
        let source = remap.source();
        if source.is_empty() {
            return Ok(());
        }
        let target = VirtAddr(remap.new_addr);
        let space = &self.space;
        space
            .move_range(host, vma.cells(), new.cells(), source, target)
            .inspect_err(|_| {
                let back = VirtRange::new(target.0, target.0 + source.len());
                // The tables that it needs are there.
                let _ = space.move_range(host, new.cells(), vma.cells(), back, source.start);
            })
    }

    /// What a move with DONTUNMAP leaves (`dontunmap_complete`).
    fn leave_empty(&self, remap: &Remap, vma: Vma<'m>) {
        vma.set_flags(vma.flags().without(VmFlags::LOCKED_MASK));
        if vma.range() == remap.source() {
            vma.unlink_anon();
            let first = vma.start() >> PAGE_SHIFT;
            let pgoff = match vma.is_anonymous() {
                true => first,
                false => vma.pgoff(),
            };
            vma.set_pgoff(pgoff, first);
        }
    }

    /// The range that has moved goes, but what was promised for it stays
    /// (`unmap_source_vma`).
    fn unmap_source(&self, host: &dyn HostTable, remap: &Remap, vma: Vma<'m>) {
        let space = &self.space;
        let flags = vma.flags();
        let (start, end) = (vma.start(), vma.end());
        let keeps = flags.has(VmFlags::ACCOUNT) && !remap.has(MREMAP_DONTUNMAP);
        if keeps {
            vma.set_flags(flags.without(VmFlags::ACCOUNT));
        }
        let unmapped = self.munmap(host, VirtAddr(remap.addr), remap.old_len, Ok(()));
        if unmapped.is_err() {
            space.system.account((remap.old_len >> PAGE_SHIFT) as i64);
            return;
        }
        if !keeps {
            return;
        }
        let (from, to) = (remap.addr, remap.addr + remap.old_len);
        let left = space.prev_vma(from).filter(|_| start < from);
        let right = space.find_vma(to).filter(|_| end > to);
        for part in [left, right].into_iter().flatten() {
            space.start_write(part);
            part.set_flags(part.flags().with(VmFlags::ACCOUNT));
        }
    }
}
