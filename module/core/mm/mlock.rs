// SPDX-License-Identifier: GPL-2.0

//! `mlock` and its kin: flags of VMAs, a count, and pages that are faulted in at
//! once. Nothing of the shadow's is ever swapped out, so that is all there is to it.

use super::flags::VmFlags;
use super::host::HostTable;
use super::munmap::page_align;
use super::populate::Told;
use super::rlimit::CAP_IPC_LOCK;
use super::system::AddressSpace;
use super::system::MmapWrite;
use super::types::VirtAddr;
use super::types::VirtRange;
use super::vma::Vma;
use crate::error::Error;
use crate::error::Result;
use crate::phys::PAGE_SHIFT;
use crate::phys::PAGE_SIZE;
use crate::platform::Platform;
use core::sync::atomic::Ordering::Relaxed;

/// `MLOCK_ONFAULT`.
const MLOCK_ONFAULT: u32 = 1;
const MCL_CURRENT: u32 = 1;
const MCL_FUTURE: u32 = 2;
const MCL_ONFAULT: u32 = 4;

/// The pages that a range touches: where they begin, and their bytes, which wrap as
/// Linux's do.
fn whole_pages(addr: VirtAddr, len: u64) -> (u64, u64) {
    let offset = addr.0 & (PAGE_SIZE - 1);
    (addr.page_down().0, page_align(len.wrapping_add(offset)))
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Locks a range and faults it in (`mlock2`; `mlock` with no flags).
    ///
    /// # Errors
    ///
    /// [`Error::BadMapFlags`], [`Error::MayNotLock`], [`Error::LockLimitNoMemory`],
    /// [`Error::BadRange`], [`Error::NotMapped`], [`Error::TooManyMaps`],
    /// [`Error::NoMemory`], [`Error::TryAgain`] when there is no memory to fault in.
    pub fn mlock(&self, host: &dyn HostTable, addr: VirtAddr, len: u64, flags: u32) -> Result<()> {
        if flags & !MLOCK_ONFAULT != 0 {
            return Err(Error::BadMapFlags);
        }
        let add = match flags & MLOCK_ONFAULT {
            0 => VmFlags::LOCKED,
            _ => VmFlags::LOCKED_MASK,
        };
        if !self.can_do_mlock() {
            return Err(Error::MayNotLock);
        }
        let (start, len) = whole_pages(addr, len);
        {
            let mm = self.write();
            let limit = self.memlock_pages();
            let is_free = self.is_capable(CAP_IPC_LOCK);
            let now = self.cells.locked_vm.load(Relaxed);
            let mut locked = (len >> PAGE_SHIFT).wrapping_add(now);
            if locked > limit && !is_free {
                locked = locked.wrapping_sub(self.locked_pages(start, len));
            }
            if locked > limit && !is_free {
                return Err(Error::LockLimitNoMemory);
            }
            mm.apply_lock_flags(host, start, len, add)?;
        }
        let range = VirtRange::new(start, start.saturating_add(len));
        self.mm_populate(host, range, Told::Mlock)
    }

    /// Unlocks a range (`munlock`).
    ///
    /// # Errors
    ///
    /// [`Error::BadRange`], [`Error::NotMapped`], [`Error::TooManyMaps`],
    /// [`Error::NoMemory`].
    pub fn munlock(&self, host: &dyn HostTable, addr: VirtAddr, len: u64) -> Result<()> {
        let (start, len) = whole_pages(addr, len);
        self.write()
            .apply_lock_flags(host, start, len, VmFlags::NONE)
    }

    /// Locks what is mapped, what will be, or both (`mlockall`).
    ///
    /// # Errors
    ///
    /// [`Error::BadMapFlags`], [`Error::MayNotLock`], [`Error::LockLimitNoMemory`].
    pub fn mlockall(&self, host: &dyn HostTable, flags: u32) -> Result<()> {
        let unknown = flags & !(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
        if flags == 0 || unknown != 0 || flags == MCL_ONFAULT {
            return Err(Error::BadMapFlags);
        }
        if !self.can_do_mlock() {
            return Err(Error::MayNotLock);
        }
        {
            let mm = self.write();
            let fits = self.cells.total_vm.load(Relaxed) <= self.memlock_pages();
            if flags & MCL_CURRENT != 0 && !fits && !self.is_capable(CAP_IPC_LOCK) {
                return Err(Error::LockLimitNoMemory);
            }
            mm.apply_lock_all(host, flags);
        }
        if flags & MCL_CURRENT != 0 {
            let _ = self.mm_populate(host, self.window(), Told::Nothing);
        }
        Ok(())
    }

    /// Unlocks all, and what will be mapped (`munlockall`).
    pub fn munlockall(&self, host: &dyn HostTable) {
        self.write().apply_lock_all(host, 0);
    }

    /// How many pages of a range are locked already
    /// (`count_mm_mlocked_page_nr`).
    fn locked_pages(&self, start: u64, len: u64) -> u64 {
        let range = VirtRange::new(start, start.saturating_add(len));
        let locked = self
            .vmas_in(range)
            .filter(|vma| vma.flags().has(VmFlags::LOCKED));
        locked.map(|vma| vma.range().intersect(range).pages()).sum()
    }
}

impl<'a, 'm: 'a, P: Platform> MmapWrite<'a, 'm, P> {
    /// Each VMA of a range is locked as `add` says (`apply_vma_lock_flags`).
    fn apply_lock_flags(
        &self,
        host: &dyn HostTable,
        start: u64,
        len: u64,
        add: VmFlags,
    ) -> Result<()> {
        let space = &self.space;
        let end = start.wrapping_add(len);
        if end < start {
            return Err(Error::BadRange);
        }
        if end == start {
            return Ok(());
        }
        let first = space.vma_lookup(start).ok_or(Error::NotMapped)?;
        space.change_vmas(first, VirtRange::new(start, end), |prev, vma, part| {
            let flags = vma.flags().without(VmFlags::LOCKED_MASK).with(add);
            self.lock_vma(host, prev, vma, part, flags)
        })
    }

    /// `apply_mlockall_flags`.
    fn apply_lock_all(&self, host: &dyn HostTable, flags: u32) {
        let space = &self.space;
        let cells = space.cells;
        let locked = |on: u32| match (flags & on != 0, flags & MCL_ONFAULT != 0) {
            (false, _) => VmFlags::NONE,
            (true, false) => VmFlags::LOCKED,
            (true, true) => VmFlags::LOCKED_MASK,
        };
        let default = VmFlags(cells.def_flags.load(Relaxed)).without(VmFlags::LOCKED_MASK);
        let default = default.with(locked(MCL_FUTURE));
        cells.def_flags.store(default.0, Relaxed);
        if flags & MCL_FUTURE != 0 && flags & MCL_CURRENT == 0 {
            return;
        }
        let add = locked(MCL_CURRENT);
        let mut prev = None;
        let mut next = space.find_vma(0);
        while let Some(vma) = next {
            let flags = vma.flags().without(VmFlags::LOCKED_MASK).with(add);
            let done = self.lock_vma(host, prev, vma, vma.range(), flags);
            let done = done.unwrap_or(vma);
            prev = Some(done);
            next = space.find_vma(done.end());
        }
    }

    /// Gives a part of a VMA these flags, and says which VMA it is in then
    /// (`mlock_fixup`).
    fn lock_vma(
        &self,
        host: &dyn HostTable,
        prev: Option<Vma<'m>>,
        vma: Vma<'m>,
        part: VirtRange,
        flags: VmFlags,
    ) -> Result<Vma<'m>> {
        let old = vma.flags();
        let mut new = flags;
        if new == old || !vma.supports_mlock() {
            return Ok(vma);
        }
        let vma = self.modify_flags(host, prev, vma, part.start.0, part.end.0, &mut new)?;
        let pages = part.pages() as i64;
        let change = match (old.has(VmFlags::LOCKED), new.has(VmFlags::LOCKED)) {
            (_, false) => -pages,
            (false, true) => pages,
            (true, true) => 0,
        };
        self.space.add_locked(change);
        self.space.start_write(vma);
        if change != 0 {
            // mlock_vma_pages_range()
            self.space.count_locked_in(part, change.signum());
        }
        vma.set_flags(new);
        Ok(vma)
    }
}
