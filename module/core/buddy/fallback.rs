// SPDX-License-Identifier: GPL-2.0

//! Which list a request is served from: its own, and what follows when that is
//! used up.
//!
//! ```text
//! mode     where                                     and then
//! Normal   the request's own lists
//! Cma      the CMA lists, for movable requests       stays here for the next
//! Claim    the largest block of another type: the    the block's rest is on the
//!          whole page block changes its type         request's lists: Normal
//! Steal    the smallest block of another type: one   stays here for the next
//!          block is taken, its page block keeps
//!          its type
//! ```
//!
//! Claiming keeps the damage in one place, so the largest block is sought; what
//! is stolen does damage, so the smallest is. A request that must not mix types
//! (`ALLOC_NOFRAGMENT`) claims page blocks that are free as a whole, and steals
//! nothing.

use super::free_area::FreeCounts;
use super::migratetype::MigrateType;
use super::migratetype::MIGRATE_PCPTYPES;
use super::split_merge::LockedZone;
use super::watermark_ok::AllocFlags;
use super::MemMap;
use crate::page::PageDescriptor;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PAGEBLOCK_ORDER;
use crate::platform::Platform;
use crate::trace::tell;
use crate::trace::TraceEvent;
use crate::trace::TracePoint;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// Where the last block was found (`enum rmqueue_mode`). Whoever takes several
/// blocks under one hold of the lock keeps it from one to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RmqueueMode {
    Normal,
    Cma,
    Claim,
    Steal,
}

/// What the lists of one order have for a request of another type
/// (`enum fallback_result`).
enum Fallback {
    Found(MigrateType),
    Empty,
    NoClaim,
}

/// How often requests took from another type, by their own type and that one.
/// Written under the zone's lock, read by anybody.
#[derive(Debug)]
pub struct FallbackCounts {
    claimed: [AtomicU64; MIGRATE_PCPTYPES * MIGRATE_PCPTYPES],
    stolen: [AtomicU64; MIGRATE_PCPTYPES * MIGRATE_PCPTYPES],
}

impl FallbackCounts {
    /// None yet.
    pub const fn new() -> Self {
        Self {
            claimed: [const { AtomicU64::new(0) }; MIGRATE_PCPTYPES * MIGRATE_PCPTYPES],
            stolen: [const { AtomicU64::new(0) }; MIGRATE_PCPTYPES * MIGRATE_PCPTYPES],
        }
    }

    /// Page blocks of type `from` that requests of type `to` claimed.
    pub fn claimed(&self, to: MigrateType, from: MigrateType) -> u64 {
        read(&self.claimed, to, from)
    }

    /// Blocks in page blocks of type `from` that requests of type `to` took
    /// without claiming them.
    pub fn stolen(&self, to: MigrateType, from: MigrateType) -> u64 {
        read(&self.stolen, to, from)
    }
}

impl Default for FallbackCounts {
    fn default() -> Self {
        Self::new()
    }
}

type Table = [AtomicU64; MIGRATE_PCPTYPES * MIGRATE_PCPTYPES];

fn slot(table: &Table, to: MigrateType, from: MigrateType) -> Option<&AtomicU64> {
    if !to.is_mergeable() || !from.is_mergeable() {
        return None;
    }
    table.get(to.index() * MIGRATE_PCPTYPES + from.index())
}

fn read(table: &Table, to: MigrateType, from: MigrateType) -> u64 {
    slot(table, to, from).map_or(0, |count| count.load(Relaxed))
}

fn bump(table: &Table, to: MigrateType, from: MigrateType) {
    if let Some(count) = slot(table, to, from) {
        count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
    }
}

impl<'a, P: Platform, M: MemMap> LockedZone<'a, P, M> {
    /// Takes a block of `order` for a request of type `mt` (`__rmqueue`). Its
    /// descriptor still says `Buddy`: the caller makes it what it is to be.
    #[inline]
    pub(super) fn rmqueue(
        &mut self,
        order: PageOrder,
        mt: MigrateType,
        flags: AllocFlags,
        mode: &mut RmqueueMode,
    ) -> Option<Pfn> {
        if flags.has(AllocFlags::CMA) {
            // Movable requests keep CMA and the rest in balance.
            let free = self.counts().free_pages();
            if self.counts().free_cma().0 > free.0 / 2 {
                let pfn = self.rmqueue_smallest(order, MigrateType::Cma);
                if pfn.is_some() {
                    return pfn;
                }
            }
        }
        if *mode == RmqueueMode::Normal {
            let pfn = self.rmqueue_smallest(order, mt);
            if pfn.is_some() {
                return pfn;
            }
        }
        self.rmqueue_fallback(order, mt, flags, mode)
    }

    /// The modes after Normal.
    #[cold]
    #[inline(never)]
    fn rmqueue_fallback(
        &mut self,
        order: PageOrder,
        mt: MigrateType,
        flags: AllocFlags,
        mode: &mut RmqueueMode,
    ) -> Option<Pfn> {
        if *mode <= RmqueueMode::Cma && flags.has(AllocFlags::CMA) {
            let pfn = self.rmqueue_smallest(order, MigrateType::Cma);
            if pfn.is_some() {
                *mode = RmqueueMode::Cma;
                return pfn;
            }
        }
        if *mode <= RmqueueMode::Claim {
            let pfn = self.rmqueue_claim(order, mt, flags);
            if pfn.is_some() {
                *mode = RmqueueMode::Normal;
                return pfn;
            }
        }
        if flags.has(AllocFlags::NOFRAGMENT) {
            return None;
        }
        let pfn = self.rmqueue_steal(order, mt)?;
        *mode = RmqueueMode::Steal;
        Some(pfn)
    }

    /// Takes a block by claiming its whole page block (`__rmqueue_claim`).
    fn rmqueue_claim(
        &mut self,
        order: PageOrder,
        start: MigrateType,
        flags: AllocFlags,
    ) -> Option<Pfn> {
        let mut min = order;
        if order < PageOrder::PAGEBLOCK && flags.has(AllocFlags::NOFRAGMENT) {
            min = PageOrder::PAGEBLOCK;
        }
        for current in PageOrder::all().rev().take_while(|&o| o >= min) {
            let from = match self.find_suitable_fallback(current, start, true) {
                Fallback::Empty => continue,
                Fallback::NoClaim => break,
                Fallback::Found(from) => from,
            };
            let pfn = self.areas.list(current, from).first()?;
            let page = self.map.page(pfn)?;
            let claimed = self.try_to_claim_block(pfn, page, current, order, start, from, flags);
            if let Some(pfn) = claimed {
                bump(&self.zone.fallbacks.claimed, start, from);
                self.tell_fallback(pfn, order, current, start, from);
                return claimed;
            }
        }
        None
    }

    /// Takes the smallest block that fits from another type
    /// (`__rmqueue_steal`).
    fn rmqueue_steal(&mut self, order: PageOrder, start: MigrateType) -> Option<Pfn> {
        for current in PageOrder::all().filter(|&o| o >= order) {
            let Fallback::Found(from) = self.find_suitable_fallback(current, start, false) else {
                continue;
            };
            let pfn = self.areas.list(current, from).first()?;
            let page = self.map.page(pfn)?;
            self.del_and_expand(pfn, page, order, current, from);
            bump(&self.zone.fallbacks.stolen, start, from);
            self.tell_fallback(pfn, order, current, start, from);
            return Some(pfn);
        }
        None
    }

    /// Tells that a request of type `start` got `pfn` out of a block of order
    /// `current` and type `from`.
    fn tell_fallback(
        &self,
        pfn: Pfn,
        order: PageOrder,
        current: PageOrder,
        start: MigrateType,
        from: MigrateType,
    ) {
        tell(self.platform, TracePoint::PageAllocExtfrag, || {
            TraceEvent::PageAllocExtfrag {
                pfn,
                alloc_order: order,
                fallback_order: current,
                alloc_migratetype: start,
                fallback_migratetype: from,
                change_ownership: self.migratetype(pfn) == start,
            }
        });
    }

    fn find_suitable_fallback(
        &self,
        order: PageOrder,
        start: MigrateType,
        claimable: bool,
    ) -> Fallback {
        let disabled = self.map.is_mobility_disabled();
        find_suitable_fallback(self.counts(), disabled, order, start, claimable)
    }

    /// Turns the page block of a free block of `current` into one of type
    /// `start`, if enough of it is free or alike, and takes a block of `order`
    /// (`try_to_claim_block`).
    #[expect(clippy::too_many_arguments)] // Those of Linux.
    fn try_to_claim_block(
        &mut self,
        pfn: Pfn,
        page: &'a PageDescriptor,
        current: PageOrder,
        order: PageOrder,
        start: MigrateType,
        from: MigrateType,
        flags: AllocFlags,
    ) -> Option<Pfn> {
        if current >= PageOrder::PAGEBLOCK {
            self.del(page, current, from);
            self.change_pageblock_range(pfn, current, start);
            self.expand(pfn, order, current, start);
            let added = current.pages() - order.pages();
            self.counts().add_pages(added, start);
            return Some(pfn);
        }
        // Fewer fallbacks will follow if reclaim makes room early.
        if self.zone.boost_watermark() && flags.has(AllocFlags::KSWAPD) {
            self.zone.set_boosted(true);
        }
        let block = self.whole_pageblock(pfn)?;
        let (free, movable) = self.count_free_and_movable(block);
        let pageblock = PageOrder::PAGEBLOCK.pages();
        let alike = match (start, from) {
            (MigrateType::Movable, _) => movable,
            // What is neither free nor movable is as unmovable as the request.
            (_, MigrateType::Movable) => pageblock - (free + movable),
            // Unmovable and Reclaimable pages can't be told apart.
            _ => Pages::ZERO,
        };
        if (free + alike).0 < pageblock.0 / 2 && !self.map.is_mobility_disabled() {
            return None;
        }
        self.move_free_pages(block, from, start);
        self.set_migratetype(block, start);
        self.rmqueue_smallest(order, start)
    }
}

/// Whether a request of type `start` would rather claim a whole page block
/// than take a part of one (`should_try_claim_block`).
fn should_try_claim(order: PageOrder, start: MigrateType, mobility_disabled: bool) -> bool {
    order.get() >= PAGEBLOCK_ORDER / 2
        || matches!(start, MigrateType::Reclaimable | MigrateType::Unmovable)
        || mobility_disabled
}

/// The best other type that has a free block of `order`
/// (`find_suitable_fallback`).
fn find_suitable_fallback(
    counts: &FreeCounts,
    mobility_disabled: bool,
    order: PageOrder,
    start: MigrateType,
    claimable: bool,
) -> Fallback {
    if claimable && !should_try_claim(order, start, mobility_disabled) {
        return Fallback::NoClaim;
    }
    let has = |mt: MigrateType| (counts.orders(mt) >> (order.get() & 31)) & 1 != 0;
    match start.fallbacks().iter().copied().find(|&mt| has(mt)) {
        Some(mt) => Fallback::Found(mt),
        None => Fallback::Empty,
    }
}

/// Whether a request of `order` and type `start` would find a block on a list
/// that it takes from without doing damage (the end of `__compact_finished`).
pub(super) fn would_serve(
    counts: &FreeCounts,
    mobility_disabled: bool,
    order: PageOrder,
    start: MigrateType,
) -> bool {
    let has =
        |mt: MigrateType, order: PageOrder| (counts.orders(mt) >> (order.get() & 31)) & 1 != 0;
    PageOrder::all().filter(|&o| o >= order).any(|order| {
        let fallback = find_suitable_fallback(counts, mobility_disabled, order, start, true);
        has(start, order)
            || (start == MigrateType::Movable && has(MigrateType::Cma, order))
            || matches!(fallback, Fallback::Found(_))
    })
}
