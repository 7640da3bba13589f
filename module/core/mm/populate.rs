// SPDX-License-Identifier: GPL-2.0

//! Pages are made before anybody touches them (`populate_vma_page_range`,
//! `faultin_page_range`).

use super::fault::Stop;
use super::flags::VmFlags;
use super::host::Access;
use super::host::HostTable;
use super::oom::Relief;
use super::system::AddressSpace;
use super::types::VirtAddr;
use super::types::VirtRange;
use super::vma::Vma;
use crate::error::Errno;
use crate::error::Error;
use crate::error::Result;
use crate::phys::PAGE_SIZE;
use crate::platform::Platform;
use core::sync::atomic::Ordering::Relaxed;

/// Which pages are to be made, and who is told what has kept them from being.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Populate {
    pub(super) range: VirtRange,
    pub(super) told: Told,
    /// Whether the first page was read for it.
    pub(super) tried: bool,
}

/// What the caller is told of pages that could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing: they are made by their faults.
    Nothing,
    /// What `mlock` tells (`__mlock_posix_error_return`).
    Mlock,
    /// The error, of pages that are to be read (`MADV_POPULATE_READ`).
    Read,
    /// The error, of pages that are to be written to (`MADV_POPULATE_WRITE`).
    Write,
}

impl Populate {
    /// # Errors
    ///
    /// What its caller is told where `error` has kept a page from being made.
    pub fn refused(self, error: Error) -> Result<()> {
        match (self.told, error.errno()) {
            (Told::Nothing, _) => Ok(()),
            (Told::Mlock, Errno::EFAULT) => Err(Error::NotMapped),
            (Told::Mlock, Errno::ENOMEM) => Err(Error::TryAgain),
            _ => Err(error),
        }
    }
}

/// How often memory is waited for that somebody has who is about to die, a moment each time.
const VICTIM_ROUNDS: u32 = 1000;

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Has each page of a range there, as if somebody read from or wrote to each, and
    /// says how many they are. The caller has the mmap lock for reading.
    ///
    /// # Errors
    ///
    /// [`Error::NotMapped`] where there is no VMA, [`Error::NothingThere`] where one does
    /// not allow it, a guard is there, or what is behind it has ended, [`Error::NoMemory`],
    /// [`Error::NoHostMemory`], [`Error::UserLimit`], [`Error::FileNotRead`]. The pages
    /// before stay.
    pub fn populate(&self, host: &dyn HostTable, range: VirtRange, write: bool) -> Result<u64> {
        self.populate_from(host, &mut range.start.page_down().0, range.end.0, write)
    }

    /// The same up to `end`; what could not be made begins at `at` then.
    pub(super) fn populate_from(
        &self,
        host: &dyn HostTable,
        at: &mut u64,
        end: u64,
        write: bool,
    ) -> Result<u64> {
        let access = match write {
            true => Access::Write,
            false => Access::Read,
        };
        let mut done = 0u64;
        let mut rounds = 0u32;
        while *at < end {
            let vma = self.vma_lookup(*at).ok_or(Error::NotMapped)?;
            // What is there is no fault (`follow_page_mask`); the host may have lost it.
            let there = self.page_at(VirtAddr(*at)).leaf;
            let faults = !there.is_present() || (write && !there.is_writable());
            match self.fault_in(host, vma.cells(), VirtAddr(*at), access, false) {
                Ok(_) => {
                    self.cells.populated.fetch_add(u64::from(faults), Relaxed);
                    done = done.wrapping_add(1);
                    *at = at.wrapping_add(PAGE_SIZE);
                    rounds = 0;
                    self.system.platform().cond_resched();
                }
                Err(Stop::Again | Stop::NeedsMmapLock) => {}
                Err(Stop::Segv(_) | Stop::Bus) => return Err(Error::NothingThere),
                Err(Stop::Full) if self.split_all_parts(&mut false) != 0 => {}
                Err(Stop::Full) => return Err(Error::UserLimit),
                Err(Stop::HostOom) => return Err(Error::NoHostMemory),
                Err(Stop::NotRead) => return Err(Error::FileNotRead),
                // Linux waits for as long as it takes. Here who is about to die may need
                // what the caller has: all that wait for a writer wait for both then.
                Err(Stop::Oom) if rounds >= VICTIM_ROUNDS => return Err(Error::NoMemory),
                Err(Stop::Oom) => {
                    rounds = rounds.wrapping_add(1);
                    self.wait_for_memory()?;
                }
            }
            if self.system.platform().fatal_signal_pending() {
                return Err(Error::NoMemory);
            }
        }
        Ok(done)
    }

    /// Has the pages of a range there, as somebody wants it who does not hold the mmap
    /// lock. Where the host is to read one first, the rest is left to
    /// [`AddressSpace::go_on`].
    ///
    /// # Errors
    ///
    /// Those that its caller is told.
    pub(super) fn mm_populate(
        &self,
        host: &dyn HostTable,
        range: VirtRange,
        told: Told,
    ) -> Result<()> {
        let tried = false;
        self.go_on(host, Populate { range, told, tried })
    }

    /// Goes on with what was left until a page was read.
    ///
    /// # Errors
    ///
    /// Those that its caller is told.
    pub fn go_on(&self, host: &dyn HostTable, populate: Populate) -> Result<()> {
        let mm = self.read();
        let mut at = populate.range.start.0;
        let end = populate.range.end.0;
        let done = match populate.told {
            Told::Nothing | Told::Mlock => mm.space.populate_mapped(host, &mut at, populate),
            Told::Read => mm.space.populate_all(host, &mut at, end, false),
            Told::Write => mm.space.populate_all(host, &mut at, end, true),
        };
        // That one was waited for (`mm_account_fault`, `FAULT_FLAG_TRIED`).
        if populate.tried && self.page_at(populate.range.start).leaf.is_present() {
            self.cells.maj_flt.fetch_add(1, Relaxed);
        }
        match done {
            Err(Error::FileNotRead) => {
                let range = VirtRange::new(at, end);
                let (told, tried) = (populate.told, true);
                host.populate_later(Populate { range, told, tried });
                Ok(())
            }
            Err(error) => populate.refused(error),
            Ok(()) => Ok(()),
        }
    }

    /// Goes on where the page could not be read: behind its VMA, if nobody is told (`__mm_populate`).
    ///
    /// # Errors
    ///
    /// What its caller is told of `error`.
    pub fn go_on_without(
        &self,
        host: &dyn HostTable,
        populate: Populate,
        error: Error,
    ) -> Result<()> {
        populate.refused(error)?;
        let Populate { range, told, .. } = populate;
        let next = {
            let mm = self.read();
            let vma = mm.space.find_vma(range.start.0);
            vma.map_or(range.end.0, |vma| vma.end().min(range.end.0))
        };
        self.mm_populate(host, VirtRange::new(next, range.end.0), told)
    }

    /// The mapped parts of a range, as their VMAs are to be (`__mm_populate`). Where
    /// nobody is told of a page that can't be had, the next VMA is gone on with.
    fn populate_mapped(
        &self,
        host: &dyn HostTable,
        at: &mut u64,
        populate: Populate,
    ) -> Result<()> {
        let range = populate.range;
        for vma in self.vmas_in(range) {
            if vma.flags().any(VmFlags::IO.with(VmFlags::PFNMAP)) {
                continue;
            }
            let part = vma.range().intersect(range);
            *at = part.start.0;
            match self.populate_vma(host, vma, at, part.end.0) {
                Err(error) if populate.told != Told::Nothing || error == Error::FileNotRead => {
                    return Err(error)
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A part of a VMA: for writing what is private and writable
    /// (`populate_vma_page_range`). With the mmap lock.
    ///
    /// # Errors
    ///
    /// [`Error::NothingThere`] where nothing may be done with it, and those of
    /// [`AddressSpace::populate`].
    pub(super) fn populate_vma(
        &self,
        host: &dyn HostTable,
        vma: Vma<'m>,
        at: &mut u64,
        end: u64,
    ) -> Result<()> {
        let flags = vma.flags();
        if flags.has(VmFlags::LOCKONFAULT) {
            return Ok(());
        }
        // Nobody reads what may be executed alone, where that can be had.
        let is_hidden = VmFlags(flags.0 & VmFlags::ACCESS.0) == VmFlags::EXEC
            && self.system.platform().has_pkeys();
        if !vma.is_accessible() || is_hidden {
            return Err(Error::NothingThere);
        }
        let of = VmFlags::WRITE.with(VmFlags::SHARED);
        let write = VmFlags(flags.0 & of.0) == VmFlags::WRITE;
        self.populate_from(host, at, end, write).map(|_| ())
    }

    /// A part of a VMA that is locked, by who has the mmap lock: what is to be read first is
    /// left to [`AddressSpace::go_on`], what can't be had to faults.
    pub(super) fn populate_locked(&self, host: &dyn HostTable, vma: Vma<'m>, part: VirtRange) {
        let (mut at, end) = (part.start.0, part.end.0);
        if let Err(Error::FileNotRead) = self.populate_vma(host, vma, &mut at, end) {
            host.populate_later(Populate {
                range: VirtRange::new(at, end),
                told: Told::Nothing,
                tried: true,
            });
        }
    }

    /// A range that must all be mapped and allow it (`madvise_populate`).
    fn populate_all(
        &self,
        host: &dyn HostTable,
        at: &mut u64,
        end: u64,
        write: bool,
    ) -> Result<()> {
        let needed = match write {
            true => VmFlags::WRITE,
            false => VmFlags::READ,
        };
        while *at < end {
            let vma = self.vma_lookup(*at).ok_or(Error::NotMapped)?;
            let special = VmFlags::IO.with(VmFlags::PFNMAP);
            if !vma.flags().has(needed) || vma.flags().any(special) {
                return Err(Error::BadAdvice);
            }
            self.populate_from(host, at, vma.end().min(end), write)?;
        }
        Ok(())
    }

    /// Somebody is killed to have memory, if there is anybody.
    fn wait_for_memory(&self) -> Result<()> {
        match self.out_of_memory(true) {
            Relief::Expected => {
                self.system.platform().relax();
                Ok(())
            }
            Relief::None => Err(Error::NoMemory),
        }
    }
}
