// SPDX-License-Identifier: GPL-2.0

//! May this request take from this zone? The watermark check, and the flags
//! that say how deep a request may dig.
//!
//! ```text
//! free pages
//!    |
//!    |  ---- high    above it background reclaim sleeps
//!    |  ---- low     the first try stops here
//!    |  ---- min     the second try stops here
//!    |  - -  1/2     ... with __GFP_HIGH
//!    |  - -  3/8     ... and without direct reclaim (GFP_ATOMIC)
//!    |
//!    0               with __GFP_MEMALLOC
//! ```
//!
//! To each mark comes the zone's reserve against requests that could be served
//! from a higher zone (`lowmem_reserve`). The marks themselves are set by the
//! watermarks stage; this file only compares.

use super::free_area::FreeCounts;
use super::gfp;
use super::gfp::Gfp;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::zone::Watermark;
use core::ops::BitOr;

/// How a request is served inside the allocator (`ALLOC_*` of
/// `mm/page_alloc.h`, with its values).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct AllocFlags(u32);

impl AllocFlags {
    /// Stop at the min watermark.
    pub const WMARK_MIN: Self = Self(Watermark::Min as u32);
    /// Stop at the low watermark.
    pub const WMARK_LOW: Self = Self(Watermark::Low as u32);
    /// Stop at the high watermark.
    pub const WMARK_HIGH: Self = Self(Watermark::High as u32);
    /// Do not look at watermarks.
    pub const NO_WATERMARKS: Self = Self(0x04);
    /// The request is of a process that is being killed for its memory.
    pub const OOM: Self = Self(0x08);
    /// The caller can't sleep.
    pub const NON_BLOCK: Self = Self(0x10);
    /// `__GFP_HIGH`: half of the min watermark may be used.
    pub const MIN_RESERVE: Self = Self(0x20);
    /// Keep to the allowed nodes.
    pub const CPUSET: Self = Self(0x40);
    /// Page blocks of CMA may be used.
    pub const CMA: Self = Self(0x80);
    /// Do not mix types in a page block.
    pub const NOFRAGMENT: Self = Self(0x100);
    /// The page blocks kept for urgent requests may be used.
    pub const HIGHATOMIC: Self = Self(0x200);
    /// Background reclaim may be woken.
    pub const KSWAPD: Self = Self(0x800);

    /// The bits that hold a watermark's index.
    const WMARK_MASK: u32 = Self::NO_WATERMARKS.0 - 1;
    /// Any of these opens part of the reserves (`ALLOC_RESERVES`).
    const RESERVES: Self =
        Self(Self::NON_BLOCK.0 | Self::MIN_RESERVE.0 | Self::HIGHATOMIC.0 | Self::OOM.0);

    /// The flags of the first try (`__alloc_frozen_pages`), without
    /// [`AllocFlags::NOFRAGMENT`], which depends on the zones.
    #[inline]
    pub fn fastpath(gfp: Gfp, order: PageOrder) -> Self {
        let mut flags = Self::WMARK_LOW | Self::cma(gfp);
        if gfp.has(gfp::__GFP_KSWAPD_RECLAIM) {
            flags = flags | Self::KSWAPD;
        }
        flags | Self(Self::nonblocking(gfp, order).0 & Self::HIGHATOMIC.0)
    }

    /// The flags of the second try, at the min watermark
    /// (`alloc_flags_slowpath`). The caller's scheduling class is not looked
    /// at: a real-time task digs no deeper.
    pub fn slowpath(gfp: Gfp, order: PageOrder) -> Self {
        let mut flags = Self::WMARK_MIN | Self::CPUSET | Self::cma(gfp);
        if gfp.has(gfp::__GFP_HIGH) {
            flags = flags | Self::MIN_RESERVE;
        }
        if gfp.has(gfp::__GFP_KSWAPD_RECLAIM) {
            flags = flags | Self::KSWAPD;
        }
        flags = flags | Self::nonblocking(gfp, order);
        if !gfp.has(gfp::__GFP_DIRECT_RECLAIM) && flags.has(Self::MIN_RESERVE) {
            flags = Self(flags.0 & !Self::CPUSET.0);
        }
        flags
    }

    /// Movable requests may use CMA (`alloc_flags_cma`).
    #[inline]
    fn cma(gfp: Gfp) -> Self {
        let movable = gfp.has(gfp::__GFP_MOVABLE) && !gfp.has(gfp::__GFP_RECLAIMABLE);
        Self(if movable { Self::CMA.0 } else { 0 })
    }

    /// What a request that can't sleep may do more (`alloc_flags_nonblocking`).
    #[inline]
    fn nonblocking(gfp: Gfp, order: PageOrder) -> Self {
        if gfp.has(gfp::__GFP_DIRECT_RECLAIM | gfp::__GFP_NOMEMALLOC) {
            return Self(0);
        }
        if order > PageOrder::ZERO && gfp.has(gfp::__GFP_HIGH) {
            return Self::NON_BLOCK | Self::HIGHATOMIC;
        }
        Self::NON_BLOCK
    }

    /// These flags without those of `other`.
    #[inline]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those of these flags that are in `other` too.
    #[inline]
    pub const fn only(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether any flag of `other` is set.
    #[inline]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The watermark to stop at.
    #[inline]
    pub const fn watermark(self) -> Watermark {
        match self.0 & Self::WMARK_MASK {
            0 => Watermark::Min,
            1 => Watermark::Low,
            2 => Watermark::High,
            _ => Watermark::Promo,
        }
    }
}

impl BitOr for AllocFlags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Whether `free` pages leave more than `mark` and `reserve` when a block of
/// `order` is taken: the first half of `__zone_watermark_ok()`.
#[inline]
pub fn is_above(
    free: Pages,
    order: PageOrder,
    mark: Pages,
    reserve: Pages,
    flags: AllocFlags,
) -> bool {
    let mut min = mark.0;
    if flags.has(AllocFlags::RESERVES) {
        if flags.has(AllocFlags::MIN_RESERVE) {
            min -= min / 2;
            if flags.has(AllocFlags::NON_BLOCK) {
                min -= min / 4;
            }
        }
        if flags.has(AllocFlags::OOM) {
            min -= min / 2;
        }
    }
    // Linux subtracts the block's other pages from the free ones and lets the
    // difference go negative; here they are added to the other side.
    let taken = order.pages().0 - 1;
    free.0 > min.saturating_add(reserve.0).saturating_add(taken)
}

/// Whether a zone with `counts` may give out a block of `order`: the free pages
/// that the request may use are above the mark, and a block that large is free
/// (`zone_watermark_ok`).
///
/// `reserve` is the zone's `lowmem_reserve` against the request's highest zone.
/// The fast variants of Linux come to the same answer.
#[inline]
pub fn zone_watermark_ok(
    counts: &FreeCounts,
    order: PageOrder,
    mark: Pages,
    reserve: Pages,
    flags: AllocFlags,
) -> bool {
    let reserve = reserve + unusable_free(counts, flags);
    is_above(counts.free_pages(), order, mark, reserve, flags)
        && (order == PageOrder::ZERO || {
            let highatomic = flags.has(AllocFlags::HIGHATOMIC | AllocFlags::OOM);
            counts.has_block(order, flags.has(AllocFlags::CMA), highatomic)
        })
}

/// Whether a zone would be above `mark` with `free` pages, of which the request
/// may use those that it may use now (`__zone_watermark_ok` of order 0).
pub(super) fn has_free_pages(
    counts: &FreeCounts,
    free: Pages,
    mark: Pages,
    reserve: Pages,
    flags: AllocFlags,
) -> bool {
    zone_watermark_ok_with(counts, free, PageOrder::ZERO, mark, reserve, flags)
}

/// [`zone_watermark_ok`] with another number of free pages
/// (`__zone_watermark_ok`).
pub(super) fn zone_watermark_ok_with(
    counts: &FreeCounts,
    free: Pages,
    order: PageOrder,
    mark: Pages,
    reserve: Pages,
    flags: AllocFlags,
) -> bool {
    let reserve = reserve + unusable_free(counts, flags);
    is_above(free, order, mark, reserve, flags)
        && (order == PageOrder::ZERO || {
            let highatomic = flags.has(AllocFlags::HIGHATOMIC | AllocFlags::OOM);
            counts.has_block(order, flags.has(AllocFlags::CMA), highatomic)
        })
}

/// Free pages that are not for this request
/// (`__zone_watermark_unusable_free`, without the block's own pages).
#[inline]
fn unusable_free(counts: &FreeCounts, flags: AllocFlags) -> Pages {
    let mut unusable = Pages::ZERO;
    if !flags.has(AllocFlags::RESERVES) {
        unusable += counts.free_highatomic();
    }
    if !flags.has(AllocFlags::CMA) {
        unusable += counts.free_cma();
    }
    unusable
}
