// SPDX-License-Identifier: GPL-2.0

//! Zones (`struct zone`): the pages of one node that serve the same purpose.
//!
//! A zone is made when the boot reaches the zones stage, with its span and its
//! present pages; it manages nothing until the hand-off gives it blocks.
//!
//! ```text
//! spanned   zone_start_pfn up to zone_end_pfn, holes included
//! present   spanned without the holes
//! managed   present without what memblock keeps: what the buddy system has had
//! ```

mod config;
mod limits;

pub use config::Amount;
pub use config::Limit;
pub use config::ZoneConfig;
pub use config::MAX_DMA32_PFN;
pub use config::MAX_DMA_PFN;
pub use limits::ZoneLimits;

use crate::buddy::CompactState;
use crate::buddy::FallbackCounts;
use crate::buddy::FreeAreas;
use crate::buddy::FreeCounts;
use crate::buddy::MigrateType;
use crate::page::ZoneType;
use crate::page::NR_ZONE_TYPES;
use crate::phys::NodeId;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::PfnRange;
use crate::platform::Lock;
use crate::platform::Platform;
use crate::tunables::Tunable;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// The watermarks of a zone, lowest first (`enum zone_watermarks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Watermark {
    /// Below it, only those who free memory or may dig deep get any.
    Min = 0,
    /// Below it, background reclaim wakes up.
    Low = 1,
    /// Above it, background reclaim sleeps.
    High = 2,
    /// Above it, pages are promoted from slower memory.
    Promo = 3,
}

/// How many watermarks there are (`NR_WMARK`).
pub const NR_WATERMARKS: usize = 4;

/// The zone was below its high watermark (`ZONE_BELOW_HIGH`).
const BELOW_HIGH: u32 = 1 << 0;
/// The boost of the watermarks awaits reclaim (`ZONE_BOOSTED_WATERMARK`).
const BOOSTED: u32 = 1 << 1;
/// kswapd may be at work on it (`ZONE_RECLAIM_ACTIVE`).
const RECLAIM_ACTIVE: u32 = 1 << 2;

/// What of a zone's state lowers how many pages CPUs keep.
#[derive(Clone, Copy)]
pub(crate) struct Pressure(u32);

impl Pressure {
    /// See [`Zone::is_below_high`].
    #[inline]
    pub(crate) const fn is_below_high(self) -> bool {
        self.0 & BELOW_HIGH != 0
    }

    /// See [`Zone::set_reclaim_active`].
    #[inline]
    pub(crate) const fn is_reclaim_active(self) -> bool {
        self.0 & RECLAIM_ACTIVE != 0
    }
}

/// One zone of one node.
pub struct Zone<P: Platform> {
    /// Which kind.
    pub kind: ZoneType,
    /// The node it belongs to.
    pub nid: NodeId,
    /// The span: from `zone_start_pfn`, `spanned_pages` long.
    pub span: PfnRange,
    /// Pages of the span that are RAM (`present_pages`).
    pub present: Pages,
    managed: AtomicU64,
    cma: AtomicU64,
    reserved_highatomic: AtomicU64,
    watermark_boost: AtomicU64,
    boost_factor: AtomicU32,
    flags: AtomicU32,
    /// With no more free pages than this, requests go through every check.
    floor: AtomicU64,
    /// Whether it was so when the lock was last released.
    tight: AtomicBool,
    watermarks: [AtomicU64; NR_WATERMARKS],
    lowmem_reserve: [AtomicU64; NR_ZONE_TYPES],
    /// The free blocks, under the zone's lock (`zone->lock`).
    pub free: P::Lock<FreeAreas>,
    /// How much is free, read without the lock and written under it.
    pub free_counts: FreeCounts,
    /// How often requests took from page blocks of other types.
    pub fallbacks: FallbackCounts,
    /// Where compaction goes on, and whether it is put off.
    pub compact: CompactState,
}

impl<P: Platform> Zone<P> {
    /// A zone that manages no page yet (`zone_init_internals`).
    #[inline(never)]
    pub fn new(kind: ZoneType, nid: NodeId, span: PfnRange, present: Pages) -> Self {
        Self {
            kind,
            nid,
            span,
            present,
            managed: AtomicU64::new(0),
            cma: AtomicU64::new(0),
            reserved_highatomic: AtomicU64::new(0),
            watermark_boost: AtomicU64::new(0),
            boost_factor: AtomicU32::new(Tunable::WatermarkBoostFactor.default_value()),
            flags: AtomicU32::new(0),
            floor: AtomicU64::new(0),
            tight: AtomicBool::new(false),
            watermarks: [const { AtomicU64::new(0) }; NR_WATERMARKS],
            lowmem_reserve: [const { AtomicU64::new(0) }; NR_ZONE_TYPES],
            free: P::Lock::new(FreeAreas::new()),
            free_counts: FreeCounts::new(),
            fallbacks: FallbackCounts::new(),
            compact: CompactState::new(),
        }
    }

    /// Pages that were handed to the buddy system (`zone_managed_pages`).
    pub fn managed(&self) -> Pages {
        Pages(self.managed.load(Relaxed))
    }

    /// Counts `pages` more as managed.
    pub fn add_managed(&self, pages: Pages) {
        self.managed.fetch_add(pages.0, Relaxed);
    }

    /// Pages of CMA page blocks (`zone_cma_pages`).
    pub fn cma(&self) -> Pages {
        Pages(self.cma.load(Relaxed))
    }

    /// Counts `pages` more as those of CMA page blocks.
    pub fn add_cma(&self, pages: Pages) {
        self.cma.fetch_add(pages.0, Relaxed);
        self.set_floor();
    }

    /// Pages of page blocks that are kept for urgent requests
    /// (`nr_reserved_highatomic`).
    pub fn reserved_highatomic(&self) -> Pages {
        Pages(self.reserved_highatomic.load(Relaxed))
    }

    /// Sets them, for the holder of the zone's lock.
    pub(crate) fn set_reserved_highatomic(&self, pages: Pages) {
        self.reserved_highatomic.store(pages.0, Relaxed);
        self.set_floor();
    }

    /// What every watermark is raised by at the moment (`watermark_boost`).
    #[inline]
    pub fn boost(&self) -> Pages {
        Pages(self.watermark_boost.load(Relaxed))
    }

    /// Raises the watermarks after a fallback, up to a limit; whether that is
    /// done in this zone (`boost_watermark`). For the holder of the zone's lock.
    pub(crate) fn boost_watermark(&self) -> bool {
        let pageblock = PageOrder::PAGEBLOCK.pages().0;
        if pageblock * 4 > self.managed().0 {
            return false;
        }
        // mult_frac(high, factor, 10000)
        let factor = u64::from(self.boost_factor.load(Relaxed));
        let high = self.watermark(Watermark::High).0;
        let rest = (high % 10_000).saturating_mul(factor) / 10_000;
        let max = (high / 10_000).saturating_mul(factor).saturating_add(rest);
        if max == 0 {
            return false;
        }
        let boost = self.boost().0.saturating_add(pageblock);
        self.watermark_boost
            .store(boost.min(max.max(pageblock)), Relaxed);
        self.set_floor();
        true
    }

    /// Sets how far fallbacks raise the watermarks at most, in ten-thousandths of
    /// the high one; 0 is not at all (`watermark_boost_factor`).
    pub fn set_boost_factor(&self, factor: u32) {
        self.boost_factor.store(factor, Relaxed);
    }

    /// Sets what every watermark is raised by, for the holder of the zone's lock.
    pub(crate) fn set_boost(&self, pages: Pages) {
        self.watermark_boost.store(pages.0, Relaxed);
        self.set_floor();
    }

    /// Takes the boost back, as background reclaim does when it is through. For
    /// the holder of the zone's lock.
    pub(crate) fn end_boost(&self) {
        self.watermark_boost.store(0, Relaxed);
        self.set_floor();
    }

    /// Takes a part of the boost back. For the holder of the zone's lock.
    pub(crate) fn lower_boost(&self, by: Pages) {
        self.watermark_boost.store((self.boost() - by).0, Relaxed);
        self.set_floor();
    }

    /// Whether a boost awaits background reclaim.
    #[inline]
    pub(crate) fn is_boosted(&self) -> bool {
        self.flags.load(Relaxed) & BOOSTED != 0
    }

    /// Notes whether a boost awaits background reclaim. For the holder of the
    /// zone's lock.
    pub(crate) fn set_boosted(&self, boosted: bool) {
        self.set_flag(BOOSTED, boosted);
        self.set_floor();
    }

    /// Whether the zone was seen below its high watermark, and not above it
    /// since.
    #[inline]
    pub(crate) fn is_below_high(&self) -> bool {
        self.flags.load(Relaxed) & BELOW_HIGH != 0
    }

    /// Notes whether the zone is below its high watermark.
    pub(crate) fn set_below_high(&self, below: bool) {
        self.set_flag(BELOW_HIGH, below);
    }

    /// Notes whether kswapd is at work on the zone.
    pub(crate) fn set_reclaim_active(&self, active: bool) {
        self.set_flag(RECLAIM_ACTIVE, active);
    }

    /// Whether it is short, and whether kswapd is at work on it, in one load.
    #[inline]
    pub(crate) fn pressure(&self) -> Pressure {
        Pressure(self.flags.load(Relaxed))
    }

    fn set_flag(&self, flag: u32, set: bool) {
        if set {
            self.flags.fetch_or(flag, Relaxed);
        } else {
            self.flags.fetch_and(!flag, Relaxed);
        }
    }

    /// Sets how many free pages are so many that no check of a single page could
    /// fail, nor do anything but succeed: the high watermark with all that may
    /// come to it, and no end where a boost is still to be told to background
    /// reclaim. Whoever may not be alone holds the zone's lock.
    fn set_floor(&self) {
        let reserves = self.lowmem_reserve.iter();
        let reserve = reserves.map(|reserve| reserve.load(Relaxed)).max();
        let floor = self.wmark(Watermark::High) + Pages(reserve.unwrap_or(0));
        let floor = floor + self.reserved_highatomic() + self.cma();
        let floor = if self.is_boosted() { u64::MAX } else { floor.0 };
        self.floor.store(floor, Relaxed);
    }

    /// Whether a block of `order` for pages of type `mt` may be taken without
    /// another question: the zone has far more than its watermarks even then, and
    /// a block that large (`zone_watermark_fast`). Whether it has one is only asked
    /// where the CPUs may have one when the zone does not.
    #[inline]
    pub(crate) fn has_far_more(&self, order: PageOrder, mt: MigrateType) -> bool {
        let floor = self.floor.load(Relaxed);
        let more = order.pages().0 - 1;
        self.free_counts.free_pages().0 > floor.saturating_add(more)
            && (order == PageOrder::ZERO
                || !crate::buddy::is_kept_by_cpus(order)
                || self
                    .free_counts
                    .has_block(order, mt == MigrateType::Movable, false))
    }

    /// Whether so many free pages are far more than the watermarks of the zone.
    #[inline(always)]
    pub(crate) fn is_far_more(&self, free: u64) -> bool {
        free > self.floor.load(Relaxed)
    }

    /// Whether single pages need every check, if that has changed since it was
    /// last asked. For the holder of the zone's lock, before it lets go.
    #[inline]
    pub(crate) fn tight_changed(&self) -> Option<bool> {
        let tight = self.free_counts.free_pages().0 <= self.floor.load(Relaxed);
        if tight == self.tight.load(Relaxed) {
            return None;
        }
        self.tight.store(tight, Relaxed);
        Some(tight)
    }

    /// Whether the zone has RAM at all (`populated_zone`).
    pub fn is_populated(&self) -> bool {
        !self.present.is_zero()
    }

    /// A watermark, in pages, without boost.
    pub fn watermark(&self, mark: Watermark) -> Pages {
        Pages(self.watermarks[mark as usize].load(Relaxed))
    }

    /// A watermark as it holds at the moment, with the boost (`wmark_pages`).
    #[inline]
    pub fn wmark(&self, mark: Watermark) -> Pages {
        self.watermark(mark) + self.boost()
    }

    /// Sets a watermark, in pages, without boost.
    pub fn set_watermark(&self, mark: Watermark, pages: Pages) {
        self.watermarks[mark as usize].store(pages.0, Relaxed);
        self.set_floor();
    }

    /// How many pages must stay free for requests that could also be served
    /// by a zone of kind `highest` (`lowmem_reserve[]`).
    pub fn lowmem_reserve(&self, highest: ZoneType) -> Pages {
        Pages(self.lowmem_reserve[highest.index()].load(Relaxed))
    }

    /// Sets the reserve against requests for `highest`.
    pub fn set_lowmem_reserve(&self, highest: ZoneType, pages: Pages) {
        self.lowmem_reserve[highest.index()].store(pages.0, Relaxed);
        self.set_floor();
    }
}
