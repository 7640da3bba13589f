// SPDX-License-Identifier: GPL-2.0

//! `madvise`: what a process says about its memory, VMA by VMA. Holes are noted and
//! passed over; an error ends it, and what was done before stays.
//!
//! ```text
//! the flags of VMAs     NORMAL RANDOM SEQUENTIAL DONTFORK DOFORK WIPEONFORK KEEPONFORK
//!                       DONTDUMP DODUMP HUGEPAGE NOHUGEPAGE MERGEABLE UNMERGEABLE
//! pages go              DONTNEED DONTNEED_LOCKED, and for all who have them REMOVE
//! pages and guards      GUARD_INSTALL GUARD_REMOVE (guard.rs)
//! pages are clean       FREE: they may go when memory is out (reclaim.rs)
//! pages come            POPULATE_READ POPULATE_WRITE
//! checked, no more      WILLNEED COLD PAGEOUT: nothing that is needed is reclaimed here
//! pages become 2 MiB    COLLAPSE (collapse.rs)
//! not to be had         HWPOISON SOFT_OFFLINE
//! ```

use super::flags::VmFlags;
use super::host::HostTable;
use super::munmap::page_align;
use super::populate::Told;
use super::system::AddressSpace;
use super::system::MmapWrite;
use super::types::VirtAddr;
use super::types::VirtRange;
use super::vma::Vma;
use super::zap::Guards;
use crate::error::Errno;
use crate::error::Error;
use crate::error::Result;
use crate::platform::Platform;

macro_rules! advice {
    ($($name:ident = $number:literal,)*) => {
        /// What is said (`MADV_*`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)] // The names are Linux's.
        pub enum Advice { $($name,)* }

        impl Advice {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The advice of this number.
            ///
            /// # Errors
            ///
            /// [`Error::BadAdvice`].
            pub const fn from_number(number: i32) -> Result<Self> {
                match number {
                    $($number => Ok(Self::$name),)*
                    _ => Err(Error::BadAdvice),
                }
            }

            /// Its number.
            pub const fn number(self) -> i32 {
                match self { $(Self::$name => $number,)* }
            }
        }
    };
}

advice! {
    Normal = 0,
    Random = 1,
    Sequential = 2,
    WillNeed = 3,
    DontNeed = 4,
    Free = 8,
    Remove = 9,
    DontFork = 10,
    DoFork = 11,
    Mergeable = 12,
    Unmergeable = 13,
    HugePage = 14,
    NoHugePage = 15,
    DontDump = 16,
    DoDump = 17,
    WipeOnFork = 18,
    KeepOnFork = 19,
    Cold = 20,
    PageOut = 21,
    PopulateRead = 22,
    PopulateWrite = 23,
    DontNeedLocked = 24,
    Collapse = 25,
    GuardInstall = 102,
    GuardRemove = 103,
}

impl Advice {
    /// What the flags of a VMA become; `None` where they stay.
    ///
    /// # Errors
    ///
    /// [`Error::BadAdvice`] where the VMA is not of the kind that is meant.
    fn flags(self, vma: Vma<'_>) -> Result<Option<VmFlags>> {
        let old = vma.flags();
        let is_private = vma.is_anonymous() && !old.has(VmFlags::SHARED);
        let for_ksm = VmFlags::SHARED
            .with(VmFlags::MAYSHARE)
            .with(VmFlags::HUGETLB)
            .with(VmFlags::DROPPABLE)
            .with(VmFlags::SPECIAL);
        let new = match self {
            Self::Normal => old.without(VmFlags::RAND_READ).without(VmFlags::SEQ_READ),
            Self::Sequential => old.without(VmFlags::RAND_READ).with(VmFlags::SEQ_READ),
            Self::Random => old.without(VmFlags::SEQ_READ).with(VmFlags::RAND_READ),
            Self::DontFork => old.with(VmFlags::DONTCOPY),
            Self::DoFork if old.any(VmFlags::SPECIAL) => return Err(Error::BadAdvice),
            Self::DoFork => old.without(VmFlags::DONTCOPY),
            Self::WipeOnFork if !is_private => return Err(Error::BadAdvice),
            Self::WipeOnFork => old.with(VmFlags::WIPEONFORK),
            Self::KeepOnFork if old.has(VmFlags::DROPPABLE) => return Err(Error::BadAdvice),
            Self::KeepOnFork => old.without(VmFlags::WIPEONFORK),
            Self::DontDump => old.with(VmFlags::DONTDUMP),
            Self::DoDump if old.any(VmFlags::SPECIAL.with(VmFlags::DROPPABLE)) => {
                return Err(Error::BadAdvice)
            }
            Self::DoDump => old.without(VmFlags::DONTDUMP),
            Self::Mergeable if old.any(for_ksm) => old,
            Self::Mergeable => old.with(VmFlags::MERGEABLE),
            Self::Unmergeable => old.without(VmFlags::MERGEABLE),
            Self::HugePage => old.without(VmFlags::NOHUGEPAGE).with(VmFlags::HUGEPAGE),
            Self::NoHugePage => old.without(VmFlags::HUGEPAGE).with(VmFlags::NOHUGEPAGE),
            _ => return Ok(None),
        };
        Ok(Some(new))
    }

    /// Whether it changes what VMAs are, and so may make more of them (`madvise_vma_behavior`).
    pub const fn changes_flags(self) -> bool {
        !matches!(
            self,
            Self::WillNeed
                | Self::DontNeed
                | Self::DontNeedLocked
                | Self::Free
                | Self::Remove
                | Self::Cold
                | Self::PageOut
                | Self::Collapse
                | Self::PopulateRead
                | Self::PopulateWrite
                | Self::GuardInstall
                | Self::GuardRemove
        )
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Takes advice about a range (`do_madvise`).
    ///
    /// # Errors
    ///
    /// [`Error::BadAdvice`], [`Error::NotPageAligned`], [`Error::BadRange`],
    /// [`Error::NotMapped`], [`Error::TryAgain`], of COLLAPSE [`Error::NoMemory`], and of
    /// POPULATE those of [`AddressSpace::populate`], of GUARD_INSTALL those of the page
    /// allocator and [`Error::UserLimit`].
    pub fn madvise(
        &self,
        host: &dyn HostTable,
        addr: VirtAddr,
        len: u64,
        advice: Advice,
    ) -> Result<()> {
        if !addr.is_page_aligned() {
            return Err(Error::NotPageAligned);
        }
        let whole = page_align(len);
        if len != 0 && whole == 0 {
            return Err(Error::BadRange);
        }
        let end = addr.0.checked_add(whole).ok_or(Error::BadRange)?;
        if len == 0 {
            return Ok(());
        }
        let range = VirtRange::new(addr.0, end);
        match advice {
            Advice::PopulateRead => self.mm_populate(host, range, Told::Read),
            Advice::PopulateWrite => self.mm_populate(host, range, Told::Write),
            Advice::Collapse => self.collapse(host, range),
            advice if advice.changes_flags() => self.write().advise_flags(host, range, advice),
            advice => self.advise_pages(host, range, advice),
        }
    }

    /// Those that leave the flags as they are.
    fn advise_pages(&self, host: &dyn HostTable, range: VirtRange, advice: Advice) -> Result<()> {
        let _mm = self.read();
        let mut hole = false;
        let mut at = range.start.0;
        for vma in self.vmas_in(range) {
            hole |= vma.start() > at;
            at = vma.end();
            self.advise_vma(host, vma, vma.range().intersect(range), advice)?;
        }
        match hole || at < range.end.0 {
            true => Err(Error::NotMapped),
            false => Ok(()),
        }
    }

    /// `madvise_vma_behavior`.
    fn advise_vma(
        &self,
        host: &dyn HostTable,
        vma: Vma<'m>,
        part: VirtRange,
        advice: Advice,
    ) -> Result<()> {
        let flags = vma.flags();
        let locked = VmFlags::LOCKED.with(VmFlags::PFNMAP);
        match advice {
            Advice::DontNeed if flags.any(locked) => Err(Error::BadAdvice),
            Advice::DontNeedLocked if flags.has(VmFlags::PFNMAP) => Err(Error::BadAdvice),
            Advice::DontNeed | Advice::DontNeedLocked => {
                self.zap(host, vma.cells(), part, Guards::Stay);
                Ok(())
            }
            Advice::Free if flags.any(locked) || !vma.is_anonymous() => Err(Error::BadAdvice),
            Advice::Free => {
                self.cells.note_hiwater_rss();
                self.lazy_free(host, part);
                Ok(())
            }
            Advice::Cold | Advice::PageOut if flags.any(locked.with(VmFlags::HUGETLB)) => {
                Err(Error::BadAdvice)
            }
            Advice::Remove if flags.has(VmFlags::LOCKED) || vma.is_anonymous() => {
                Err(Error::BadAdvice)
            }
            Advice::Remove if !flags.has(VmFlags::SHARED.with(VmFlags::MAYWRITE)) => {
                Err(Error::AccessDenied)
            }
            Advice::Remove => {
                self.remove_shared(host, vma, part);
                Ok(())
            }
            // is_valid_guard_vma(): guards may go where memory is locked, but not come, since
            // pages would go.
            Advice::GuardInstall if flags.has(VmFlags::LOCKED) => Err(Error::BadAdvice),
            Advice::GuardInstall | Advice::GuardRemove
                if flags.any(VmFlags::SPECIAL.with(VmFlags::HUGETLB)) =>
            {
                Err(Error::BadAdvice)
            }
            Advice::GuardInstall => self.install_guards(host, vma, part),
            Advice::GuardRemove => {
                self.remove_guards(part);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl<'a, 'm: 'a, P: Platform> MmapWrite<'a, 'm, P> {
    /// Those that change the flags (`madvise_walk_vmas`).
    fn advise_flags(&self, host: &dyn HostTable, range: VirtRange, advice: Advice) -> Result<()> {
        let space = &self.space;
        let end = range.end.0;
        let mut at = range.start.0;
        let mut hole = false;
        let mut next = space.find_vma(at);
        let mut prev = match next {
            Some(vma) if at > vma.start() => Some(vma),
            _ => space.prev_vma(at),
        };
        loop {
            let vma = next.ok_or(Error::NotMapped)?;
            if at < vma.start() {
                hole = true;
                at = vma.start();
                if at >= end {
                    break;
                }
            }
            let part = VirtRange::new(at, vma.end().min(end));
            let done = self.advise_vma_flags(host, prev, vma, part, advice)?;
            prev = Some(done);
            at = done.end();
            if at >= end {
                break;
            }
            next = space.find_vma(at);
        }
        match hole {
            true => Err(Error::NotMapped),
            false => Ok(()),
        }
    }

    /// `madvise_update_vma`.
    fn advise_vma_flags(
        &self,
        host: &dyn HostTable,
        prev: Option<Vma<'m>>,
        vma: Vma<'m>,
        part: VirtRange,
        advice: Advice,
    ) -> Result<Vma<'m>> {
        let Some(mut flags) = advice.flags(vma)? else {
            return Ok(vma);
        };
        if flags == vma.flags() {
            return Ok(vma);
        }
        let modified = self.modify_flags(host, prev, vma, part.start.0, part.end.0, &mut flags);
        let vma = modified.map_err(|error| match error.errno() {
            Errno::ENOMEM => Error::TryAgain,
            _ => error,
        })?;
        self.space.start_write(vma);
        vma.set_flags(flags);
        Ok(vma)
    }
}
