// SPDX-License-Identifier: GPL-2.0

//! The flags of a request for pages (`gfp_t`, `include/linux/gfp_types.h`).
//!
//! Names and values are those of the kernel that shadowmm runs in: 7.3, with
//! neither `CONFIG_LOCKDEP` nor `CONFIG_KASAN_HW_TAGS`. So a value that a
//! tracepoint of the host prints means the same here.
//!
//! ```text
//! bits 0..3   which zone          DMA, HIGHMEM, DMA32, MOVABLE -> gfp_zone()
//! bit  4      mobility            RECLAIMABLE (with MOVABLE)
//! bits 5..    how hard to try, how to fail, what to do with the block
//! ```

use super::migratetype::MigrateType;
use crate::error::Error;
use crate::error::Result;
use crate::page::ZoneType;
use core::ops::BitOr;

/// The flags of a request.
///
/// # Invariants
///
/// Only bits that Linux defines are set. Whether the zone bits go together is
/// seen by [`Gfp::zone`], because it changes when flags are joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Gfp(u32);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal;)*) => {
        $(
            $(#[$doc])*
            pub const $name: Gfp = Gfp(1 << $bit);
        )*

        /// Every flag that exists.
        const KNOWN: u32 = 0 $(| 1 << $bit)*;
    };
}

flags! {
    /// From `ZONE_DMA`.
    __GFP_DMA = 0;
    /// High memory will do. There is none on x86-64, but without this flag
    /// `__GFP_MOVABLE` does not reach `ZONE_MOVABLE`.
    __GFP_HIGHMEM = 1;
    /// From `ZONE_DMA32` or below.
    __GFP_DMA32 = 2;
    /// The pages can be moved away.
    __GFP_MOVABLE = 3;
    /// The pages can be reclaimed (slab caches with shrinkers).
    __GFP_RECLAIMABLE = 4;
    /// The request is urgent: half of the min watermark may be used.
    __GFP_HIGH = 5;
    /// I/O may be started to get memory.
    __GFP_IO = 6;
    /// File systems may be called to get memory.
    __GFP_FS = 7;
    /// The pages are zeroed.
    __GFP_ZERO = 8;
    /// The caller may reclaim memory itself, hence sleep.
    __GFP_DIRECT_RECLAIM = 10;
    /// Background reclaim may be woken.
    __GFP_KSWAPD_RECLAIM = 11;
    /// The caller means to dirty the pages soon.
    __GFP_WRITE = 12;
    /// A failure is not worth a line in the log.
    __GFP_NOWARN = 13;
    /// Try hard, but fail rather than kill a process.
    __GFP_RETRY_MAYFAIL = 14;
    /// The caller can't cope with a failure.
    __GFP_NOFAIL = 15;
    /// Fail after one round of reclaim.
    __GFP_NORETRY = 16;
    /// The request will free memory: it may use all there is.
    __GFP_MEMALLOC = 17;
    /// The block is to be a compound page.
    __GFP_COMP = 18;
    /// Never use the reserves, whatever else says so.
    __GFP_NOMEMALLOC = 19;
    /// Keep to the nodes of the task's cpuset.
    __GFP_HARDWALL = 20;
    /// From this node or not at all.
    __GFP_THISNODE = 21;
    /// Charge the pages to the task's memory cgroup.
    __GFP_ACCOUNT = 22;
    /// Zero the pages' memory tags.
    __GFP_ZEROTAGS = 23;
}

/// Both kinds of reclaim.
pub const __GFP_RECLAIM: Gfp = Gfp(__GFP_DIRECT_RECLAIM.0 | __GFP_KSWAPD_RECLAIM.0);
/// The flags that choose the zone.
pub const GFP_ZONEMASK: Gfp = Gfp(__GFP_DMA.0 | __GFP_HIGHMEM.0 | __GFP_DMA32.0 | __GFP_MOVABLE.0);

/// May not sleep; has access to some of the reserves.
pub const GFP_ATOMIC: Gfp = Gfp(__GFP_HIGH.0 | __GFP_KSWAPD_RECLAIM.0);
/// The kernel's ordinary request.
pub const GFP_KERNEL: Gfp = Gfp(__GFP_RECLAIM.0 | __GFP_IO.0 | __GFP_FS.0);
/// The same, charged to a memory cgroup.
pub const GFP_KERNEL_ACCOUNT: Gfp = Gfp(GFP_KERNEL.0 | __GFP_ACCOUNT.0);
/// May not sleep, and has no access to the reserves.
pub const GFP_NOWAIT: Gfp = Gfp(__GFP_KSWAPD_RECLAIM.0 | __GFP_NOWARN.0);
/// May reclaim, without starting I/O.
pub const GFP_NOIO: Gfp = __GFP_RECLAIM;
/// May reclaim, without calling file systems.
pub const GFP_NOFS: Gfp = Gfp(__GFP_RECLAIM.0 | __GFP_IO.0);
/// For user space, reached by the kernel or a device too.
pub const GFP_USER: Gfp = Gfp(GFP_KERNEL.0 | __GFP_HARDWALL.0);
/// From `ZONE_DMA`, without sleeping.
pub const GFP_DMA: Gfp = __GFP_DMA;
/// From `ZONE_DMA32` or below, without sleeping.
pub const GFP_DMA32: Gfp = __GFP_DMA32;
/// For user space, mapped by the kernel only when needed.
pub const GFP_HIGHUSER: Gfp = Gfp(GFP_USER.0 | __GFP_HIGHMEM.0);
/// For user space, movable: what a page fault asks for.
pub const GFP_HIGHUSER_MOVABLE: Gfp = Gfp(GFP_HIGHUSER.0 | __GFP_MOVABLE.0);
/// For transparent huge pages, without reclaim.
pub const GFP_TRANSHUGE_LIGHT: Gfp = Gfp((GFP_HIGHUSER_MOVABLE.0
    | __GFP_COMP.0
    | __GFP_NOMEMALLOC.0
    | __GFP_NOWARN.0)
    & !__GFP_RECLAIM.0);
/// For transparent huge pages, with reclaim by the caller.
pub const GFP_TRANSHUGE: Gfp = Gfp(GFP_TRANSHUGE_LIGHT.0 | __GFP_DIRECT_RECLAIM.0);

/// With any of these a request needs more than a page from its zone of choice.
pub(super) const NOT_PLAIN: Gfp = Gfp(__GFP_ZERO.0 | __GFP_THISNODE.0 | __GFP_ZEROTAGS.0);

/// The zone for each value of the four zone bits, two bits each
/// (`GFP_ZONE_TABLE`).
const ZONE_TABLE: u32 = zone_entry(0, ZoneType::Normal)
    | zone_entry(__GFP_DMA.0, ZoneType::Dma)
    | zone_entry(__GFP_HIGHMEM.0, ZoneType::Normal)
    | zone_entry(__GFP_DMA32.0, ZoneType::Dma32)
    | zone_entry(__GFP_MOVABLE.0, ZoneType::Normal)
    | zone_entry(__GFP_MOVABLE.0 | __GFP_DMA.0, ZoneType::Dma)
    | zone_entry(__GFP_MOVABLE.0 | __GFP_HIGHMEM.0, ZoneType::Movable)
    | zone_entry(__GFP_MOVABLE.0 | __GFP_DMA32.0, ZoneType::Dma32);

const fn zone_entry(bits: u32, zone: ZoneType) -> u32 {
    (zone as u32) << (2 * bits)
}

impl Gfp {
    /// No flag at all: from `ZONE_NORMAL` or below, without sleeping.
    pub const NONE: Self = Self(0);

    /// The flags with these bits.
    ///
    /// # Errors
    ///
    /// [`Error::BadGfp`] when a bit is unknown, or when the bits of zone or
    /// mobility contradict each other.
    pub const fn from_bits(bits: u32) -> Result<Self> {
        if bits & !KNOWN != 0 {
            return Err(Error::BadGfp);
        }
        match (Self(bits).zone(), Self(bits).migratetype()) {
            (Ok(_), Ok(_)) => Ok(Self(bits)),
            _ => Err(Error::BadGfp),
        }
    }

    /// The bits, as Linux has them.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether any flag of `other` is set.
    #[inline]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether all flags of `other` are set (`gfp_has_flags`).
    pub const fn has_all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These flags and those of `other`.
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These flags without those of `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The highest zone that may serve the request (`gfp_zone`).
    ///
    /// # Errors
    ///
    /// [`Error::BadGfp`] when more than one of DMA, HIGHMEM and DMA32 is asked
    /// for (`GFP_ZONE_BAD`).
    #[inline]
    pub const fn zone(self) -> Result<ZoneType> {
        let zone = self.0 & GFP_ZONEMASK.0;
        let choice = zone & !__GFP_MOVABLE.0;
        if choice & choice.wrapping_sub(1) != 0 {
            return Err(Error::BadGfp);
        }
        Ok(match (ZONE_TABLE >> (2 * zone)) & 3 {
            0 => ZoneType::Dma,
            1 => ZoneType::Dma32,
            2 => ZoneType::Normal,
            _ => ZoneType::Movable,
        })
    }
}

impl Gfp {
    /// What kind of page blocks the request is to be served from, where pages
    /// are grouped by mobility (`gfp_migratetype`).
    ///
    /// # Errors
    ///
    /// [`Error::BadGfp`] for pages that can both be moved and be reclaimed.
    #[inline]
    pub const fn migratetype(self) -> Result<MigrateType> {
        Ok(match (self.0 >> 3) & 3 {
            0 => MigrateType::Unmovable,
            1 => MigrateType::Movable,
            2 => MigrateType::Reclaimable,
            _ => return Err(Error::BadGfp),
        })
    }
}

impl BitOr for Gfp {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
