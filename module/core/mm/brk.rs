// SPDX-License-Identifier: GPL-2.0

//! `brk`: the end of the heap moves, or stays where it is and is told.

use super::flags::VmFlags;
use super::host::HostTable;
use super::merge::Merge;
use super::munmap::page_align;
use super::placement::PlaceRequest;
use super::placement::MAP_FIXED;
use super::populate::Told;
use super::rlimit::Rlimit;
use super::system::AddressSpace;
use super::system::MmapWrite;
use super::types::VirtAddr;
use super::types::VirtRange;
use super::vma::NewVma;
use super::vma::Vma;
use crate::error::Error;
use crate::error::Result;
use crate::phys::PAGE_SHIFT;
use crate::phys::PAGE_SIZE;
use crate::platform::Platform;
use core::sync::atomic::Ordering::Relaxed;

/// What is left to do after the mmap lock.
struct Moved {
    brk: VirtAddr,
    populate: VirtRange,
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Moves the end of the heap to `brk`, and says where it is then: where it was, if
    /// it can't be moved so (`brk`). It has no errors.
    pub fn brk(&self, host: &dyn HostTable, brk: VirtAddr) -> VirtAddr {
        let moved = {
            let mm = self.write();
            match mm.brk(host, brk.0) {
                Ok(moved) => moved,
                Err(_) => return VirtAddr(self.cells.brk.load(Relaxed)),
            }
        };
        if !moved.populate.is_empty() {
            let _ = self.mm_populate(host, moved.populate, Told::Nothing);
        }
        moved.brk
    }
}

impl<'a, 'm: 'a, P: Platform> MmapWrite<'a, 'm, P> {
    fn brk(&self, host: &dyn HostTable, brk: u64) -> Result<Moved> {
        let space = &self.space;
        let cells = space.cells;
        let now = cells.brk.load(Relaxed);
        let moved = |populate| Moved {
            brk: VirtAddr(brk),
            populate,
        };
        let start = cells.start_brk.load(Relaxed);
        if brk < start {
            return Err(Error::BadRange);
        }
        // `check_data_rlimit`: the heap and the data segment.
        let data = cells
            .end_data
            .load(Relaxed)
            .wrapping_sub(cells.start_data.load(Relaxed));
        let limit = space.limit(Rlimit::Data);
        if limit != u64::MAX && (brk - start).saturating_add(data) > limit {
            return Err(Error::AddressSpaceLimit);
        }
        let (new, old) = (page_align(brk), page_align(now));
        if new == old {
            cells.brk.store(brk, Relaxed);
            return Ok(moved(VirtRange::new(0, 0)));
        }
        if brk <= now {
            // It is not the heap any more, if somebody has mapped something there.
            space.find_intersection(new, old).ok_or(Error::NotMapped)?;
            cells.brk.store(brk, Relaxed);
            let unmapped = self.munmap_aligned(host, VirtRange::new(new, old));
            return match unmapped {
                Ok(()) => Ok(moved(VirtRange::new(0, 0))),
                Err(error) => {
                    cells.brk.store(now, Relaxed);
                    Err(error)
                }
            };
        }
        let len = new.checked_sub(old).ok_or(Error::BadRange)?;
        let default = VmFlags(cells.def_flags.load(Relaxed));
        let is_locked = default.has(VmFlags::LOCKED);
        space.unmapped_area(&PlaceRequest {
            addr: old,
            len,
            flags: MAP_FIXED,
            is_anonymous: true,
        })?;
        if !space.mlock_future_ok(is_locked, len) {
            return Err(Error::LockLimit);
        }
        let gap = space.system.stack_guard_gap();
        let next = space.find_intersection(old, new + PAGE_SIZE + gap);
        if next.is_some_and(|next| new + PAGE_SIZE > next.start_gap(gap)) {
            return Err(Error::RangeTaken);
        }
        let before = space.prev_vma(old).filter(|vma| vma.end() > start);
        self.extend_heap(before, VirtRange::new(old, new), default)?;
        cells.brk.store(brk, Relaxed);
        Ok(moved(match is_locked {
            true => VirtRange::new(old, new),
            false => VirtRange::new(0, 0),
        }))
    }

    /// Maps more of the heap (`do_brk_flags`).
    fn extend_heap(
        &self,
        before: Option<Vma<'m>>,
        range: VirtRange,
        default: VmFlags,
    ) -> Result<()> {
        let space = &self.space;
        let pages = range.pages();
        let flags = VmFlags::DATA_DEFAULT.with(VmFlags::ACCOUNT).with(default);
        if !space.may_expand(flags, pages) {
            return Err(Error::AddressSpaceLimit);
        }
        if space.map_count() > space.system.max_map_count() {
            return Err(Error::TooManyMaps);
        }
        space.charge(pages)?;
        let vma = self.heap_vma(before, range, flags).inspect_err(|_| {
            space.system.account(-(pages as i64));
        })?;
        space.cells.total_vm.fetch_add(pages, Relaxed);
        space.cells.data_vm.fetch_add(pages, Relaxed);
        if flags.has(VmFlags::LOCKED) {
            space.add_locked(pages as i64);
        }
        vma.set_flags(vma.flags().with(VmFlags::SOFTDIRTY));
        Ok(())
    }

    fn heap_vma(
        &self,
        before: Option<Vma<'m>>,
        range: VirtRange,
        flags: VmFlags,
    ) -> Result<Vma<'m>> {
        let pgoff = range.start.0 >> PAGE_SHIFT;
        let new = NewVma {
            start: range.start.0,
            end: range.end.0,
            flags,
            pgoff,
            anon_pgoff: pgoff,
            file: 0,
        };
        if let Some(prev) = before.filter(|vma| vma.end() == new.start) {
            let merged = self.merge_new_range(&Merge {
                prev: Some(prev),
                middle: None,
                next: None,
                copied_from: None,
                start: new.start,
                end: new.end,
                pgoff,
                anon_pgoff: pgoff,
                flags,
                file: 0,
                anon: 0,
                just_expand: true,
            })?;
            if let Some(vma) = merged {
                return Ok(vma);
            }
        }
        self.insert_vma(&new)
    }
}
