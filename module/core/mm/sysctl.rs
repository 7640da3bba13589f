// SPDX-License-Identifier: GPL-2.0

//! The knobs of `/proc/sys/vm` that address spaces have.
//!
//! ```text
//! overcommit_memory     0 guess, 1 always, 2 never
//! overcommit_ratio      percent of the memory that may be promised in mode 2
//! overcommit_kbytes     the same in KiB, in its place where it is not 0
//! user_reserve_kbytes   what one process leaves to others in mode 2
//! admin_reserve_kbytes  what all leave to an administrator in mode 2
//! max_map_count         how many VMAs an address space may have
//! mmap_min_addr         the lowest address that may be mapped
//! legacy_va_layout      whether new address spaces are filled from below
//! mmap_rnd_bits         by how many bits of pages their base is shifted
//! stack_guard_gap       what stays free before a stack, in pages (a boot parameter)
//! fault_around_bytes    how much of anonymous memory the first write to a page makes:
//!                       a page, as in Linux, or a power of two up to 16 pages
//! transparent_hugepage_enabled
//!                       who gets 2 MiB: 0 always, 1 madvise, 2 never
//!                       (/sys/kernel/mm/transparent_hugepage/enabled)
//! ```

use super::around::AROUND_BYTES;
use super::system::AddressSpaces;
use super::system::SpacesTable;
use crate::error::Error;
use crate::error::Result;
use crate::phys::Pages;
use crate::phys::PAGE_SHIFT;
use crate::phys::PAGE_SIZE;
use crate::platform::Platform;
use crate::tunables;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// The largest value of those without a limit of their own (`INT_MAX`).
const INT_MAX: u64 = i32::MAX as u64;
/// A reserve that nobody has set: it is a part of the memory that there is.
const UNSET: u64 = u64::MAX;
/// The most that is kept for others without being told, in KiB
/// (`init_user_reserve`, `init_admin_reserve`).
const USER_RESERVE_MAX: u64 = 128 << 10;
const ADMIN_RESERVE_MAX: u64 = 8 << 10;

macro_rules! knobs {
    ($($(#[$doc:meta])* $knob:ident = $name:literal, $least:expr, $most:expr, $first:expr;)*) => {
        /// A knob.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum MmKnob { $($(#[$doc])* $knob,)* }

        /// How many there are.
        const NR_KNOBS: usize = [$($name,)*].len();

        impl MmKnob {
            /// All of them: their places are their numbers in the glue.
            pub const ALL: [Self; NR_KNOBS] = [$(Self::$knob,)*];

            /// The name of its file.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$knob => $name,)* }
            }

            /// The least and the largest value that it takes.
            pub const fn range(self) -> (u64, u64) {
                match self { $(Self::$knob => ($least, $most),)* }
            }
        }

        /// The values.
        pub(super) struct Knobs([AtomicU64; NR_KNOBS]);

        impl Knobs {
            /// Those of a booted Debian kernel.
            pub(super) const fn new() -> Self {
                Self([$(AtomicU64::new($first),)*])
            }
        }
    };
}

knobs! {
    /// How requests for more than there is are judged.
    OvercommitMemory = "overcommit_memory", 0, 2, 0;
    /// In percent.
    OvercommitRatio = "overcommit_ratio", 0, INT_MAX, 50;
    /// In KiB.
    OvercommitKbytes = "overcommit_kbytes", 0, UNSET, 0;
    /// In KiB.
    UserReserveKbytes = "user_reserve_kbytes", 0, UNSET, UNSET;
    /// In KiB.
    AdminReserveKbytes = "admin_reserve_kbytes", 0, UNSET, UNSET;
    /// A count.
    MaxMapCount = "max_map_count", 0, INT_MAX, 65_530;
    /// In bytes.
    MmapMinAddr = "mmap_min_addr", 0, UNSET, 65_536;
    /// 0 or 1.
    LegacyVaLayout = "legacy_va_layout", 0, 1, 0;
    /// A count.
    MmapRndBits = "mmap_rnd_bits", 28, 32, 28;
    /// In pages.
    StackGuardGap = "stack_guard_gap", 0, INT_MAX, 256;
    /// In bytes.
    FaultAroundBytes = "fault_around_bytes", PAGE_SIZE, AROUND_BYTES, PAGE_SIZE;
    /// As [`ThpMode`](super::ThpMode) numbers them.
    TransparentHugepage = "transparent_hugepage_enabled", 0, 2, 0;
}

impl MmKnob {
    /// The knob of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|knob| knob.name() == name)
    }
}

impl SpacesTable {
    fn knob(&self, which: MmKnob) -> &AtomicU64 {
        // There are as many places as knobs.
        &self.knobs.0[which as usize % NR_KNOBS]
    }
}

impl<P: Platform> AddressSpaces<'_, '_, P> {
    /// The value of a knob.
    #[inline]
    pub fn knob(&self, which: MmKnob) -> u64 {
        let value = self.table().knob(which).load(Relaxed);
        let part = |most: u64| (self.mm.managed().kib() / 32).min(most);
        match (which, value) {
            (MmKnob::UserReserveKbytes, UNSET) => part(USER_RESERVE_MAX),
            (MmKnob::AdminReserveKbytes, UNSET) => part(ADMIN_RESERVE_MAX),
            (_, value) => value,
        }
    }

    /// Turns a knob. What is promised, mapped and placed already stays so.
    ///
    /// # Errors
    ///
    /// [`Error::BadParameter`] for a value that is out of its range.
    pub fn set_knob(&self, which: MmKnob, value: u64) -> Result<()> {
        let (least, most) = which.range();
        let fits = which != MmKnob::FaultAroundBytes || value.is_power_of_two();
        if value < least || value > most || !fits {
            return Err(Error::BadParameter);
        }
        self.table().knob(which).store(value, Relaxed);
        match which {
            // Each of the two takes the other's place (`overcommit_ratio_handler`).
            MmKnob::OvercommitRatio => self
                .table()
                .knob(MmKnob::OvercommitKbytes)
                .store(0, Relaxed),
            MmKnob::OvercommitKbytes => {
                self.table().knob(MmKnob::OvercommitRatio).store(0, Relaxed)
            }
            _ => {}
        }
        Ok(())
    }

    /// Turns a knob as the text says that is written to its file, and says how much of
    /// the text was read (`proc_dointvec_minmax`).
    ///
    /// # Errors
    ///
    /// [`Error::BadParameter`] for what is no number or not in the range.
    pub fn read_knob(&self, which: MmKnob, text: &str) -> Result<usize> {
        let (value, rest) = tunables::first_number(text).ok_or(Error::BadParameter)?;
        self.set_knob(which, value.into())?;
        Ok(text.len().saturating_sub(rest.len()))
    }

    /// `sysctl_max_map_count`.
    #[inline]
    pub(super) fn max_map_count(&self) -> u64 {
        self.knob(MmKnob::MaxMapCount)
    }

    /// What stays free before a stack, in bytes.
    #[inline]
    pub(super) fn stack_guard_gap(&self) -> u64 {
        self.knob(MmKnob::StackGuardGap) << PAGE_SHIFT
    }

    /// The pages of a knob that is in KiB.
    pub(super) fn knob_pages(&self, which: MmKnob) -> Pages {
        Pages(self.knob(which) >> (PAGE_SHIFT - 10))
    }
}
