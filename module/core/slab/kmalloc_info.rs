// SPDX-License-Identifier: GPL-2.0

//! kmalloc's caches: their sizes, names and rows, and which of them serves a
//! request (`mm/slab_common.c`).
//!
//! ```text
//! index   1   2   3   4   5   6   7    8    9    10    11    12    13
//! size   96 192   8  16  32  64 128  256  512  1024  2048  4096  8192
//! ```
//!
//! Larger requests get pages of their own.

use super::flags::SlabFlags;
use super::geometry::CacheArgs;
use super::geometry::Surroundings;
use crate::buddy::gfp;
use crate::buddy::Gfp;
use crate::phys::Bytes;
use crate::phys::PageOrder;
use core::fmt;

/// How many indices there are; 0 stands for no cache (`KMALLOC_SHIFT_HIGH + 1`).
pub const NR_KMALLOC_INDICES: usize = 14;
/// The largest object of a cache, in bytes (`KMALLOC_MAX_CACHE_SIZE`).
pub const KMALLOC_MAX_CACHE_SIZE: Bytes = Bytes(8192);
/// The largest request, in bytes (`KMALLOC_MAX_SIZE`).
pub const KMALLOC_MAX_SIZE: Bytes = PageOrder::MAX.pages().bytes();

/// The sizes of the caches by index, in bytes.
const SIZES: [u32; NR_KMALLOC_INDICES] = [
    0, 96, 192, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192,
];

/// Which of kmalloc's caches of a row.
///
/// # Invariants
///
/// From 1 to 13.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct KmallocIndex(u8);

impl KmallocIndex {
    /// All of them, in the order in which Linux creates a row's caches.
    pub fn all() -> impl Iterator<Item = Self> + Clone {
        // INVARIANT: All indices but 0.
        (1..NR_KMALLOC_INDICES as u8).map(Self)
    }

    /// The cache with the smallest objects that hold `size` bytes
    /// (`kmalloc_slab`); `None` for no bytes and for more than any of them
    /// holds.
    #[inline]
    pub const fn of(size: Bytes) -> Option<Self> {
        // INVARIANT: Each number below is one from 1 to 13.
        Some(Self(match size.0 {
            0 => return None,
            1..=8 => 3,
            65..=96 => 1,
            129..=192 => 2,
            9..=8192 => (u64::BITS - (size.0 - 1).leading_zeros()) as u8,
            _ => return None,
        }))
    }

    /// As an index below [`NR_KMALLOC_INDICES`].
    #[inline]
    pub const fn index(self) -> usize {
        // The mask changes no index; it spares those who index their check.
        self.0 as usize & 15
    }

    /// The size of the cache's objects, in bytes.
    pub fn size(self) -> u32 {
        SIZES.get(self.index()).copied().unwrap_or(0)
    }
}

/// The rows of caches (`enum kmalloc_cache_type`). Linux's `KMALLOC_NO_OBJ_EXT`
/// is the normal row without `CONFIG_MEM_ALLOC_PROFILING`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum KmallocType {
    /// `kmalloc-N`: what nothing is said of.
    Normal = 0,
    /// `kmalloc-rcl-N`: can be reclaimed.
    Reclaim = 1,
    /// `dma-kmalloc-N`: in `ZONE_DMA`.
    Dma = 2,
    /// `kmalloc-cg-N`: charged to a memory cgroup.
    Cgroup = 3,
}

impl KmallocType {
    /// All of them, in the order of the numbers.
    pub const ALL: [Self; 4] = [Self::Normal, Self::Reclaim, Self::Dma, Self::Cgroup];

    /// The row for a request with these flags (`kmalloc_type`): DMA goes before
    /// reclaimable before accounted.
    #[inline]
    pub fn of(flags: Gfp) -> Self {
        if !flags.has(gfp::__GFP_DMA | gfp::__GFP_RECLAIMABLE | gfp::__GFP_ACCOUNT) {
            Self::Normal
        } else if flags.has(gfp::__GFP_DMA) {
            Self::Dma
        } else if flags.has(gfp::__GFP_RECLAIMABLE) {
            Self::Reclaim
        } else {
            Self::Cgroup
        }
    }

    /// As an index below 4.
    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// What the names of the row's caches begin with.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Normal => "kmalloc-",
            Self::Reclaim => "kmalloc-rcl-",
            Self::Dma => "dma-kmalloc-",
            Self::Cgroup => "kmalloc-cg-",
        }
    }

    /// The flags of the row's caches (`new_kmalloc_cache`). Where objects can be
    /// charged, those of the normal row never are, and share nothing with caches
    /// whose objects may be.
    pub fn flags(self, around: &Surroundings<'_>) -> SlabFlags {
        let row = match self {
            Self::Normal => SlabFlags::NONE,
            Self::Reclaim => SlabFlags::RECLAIM_ACCOUNT,
            Self::Dma => SlabFlags::CACHE_DMA,
            Self::Cgroup => SlabFlags::ACCOUNT,
        };
        let accounting = match (around.accounting, self) {
            (false, _) => SlabFlags::NONE,
            (true, Self::Normal) => SlabFlags::NO_MERGE,
            (true, _) => SlabFlags::MAY_ACCOUNT,
        };
        SlabFlags::KMALLOC | row | accounting
    }

    /// Whether the row has caches of its own; without accounting the accounted
    /// requests are served by the normal row.
    pub const fn exists(self, around: &Surroundings<'_>) -> bool {
        match self {
            Self::Cgroup => around.accounting,
            _ => true,
        }
    }
}

/// The name of one of kmalloc's caches: `kmalloc-rcl-96`, `dma-kmalloc-8k`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KmallocName(pub KmallocType, pub KmallocIndex);

impl fmt::Display for KmallocName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.prefix())?;
        match self.1.size() {
            size @ 1024.. => write!(f, "{}k", size / 1024),
            size => write!(f, "{size}"),
        }
    }
}

/// What one of kmalloc's caches is created from, for
/// [`boot_geometry`](super::geometry::boot_geometry); the whole object may be
/// copied to and from user space (`create_kmalloc_cache`).
pub fn kmalloc_args<'a>(
    name: &'a str,
    row: KmallocType,
    index: KmallocIndex,
    around: &Surroundings<'_>,
) -> CacheArgs<'a> {
    CacheArgs {
        flags: row.flags(around),
        usersize: index.size(),
        ..CacheArgs::new(name, index.size())
    }
}

/// How large the block is that kmalloc gives for `size` bytes
/// (`kmalloc_size_roundup`): the size of the cache's objects, or of whole pages;
/// `size` itself for no bytes and for what kmalloc can't give.
pub fn size_roundup(size: Bytes) -> Bytes {
    if let Some(index) = KmallocIndex::of(size) {
        return Bytes(index.size().into());
    }
    size.pages_up()
        .order_up()
        .map_or(size, |order| order.pages().bytes())
}
