// SPDX-License-Identifier: GPL-2.0

//! What follows when no zone is above its low watermark
//! (`__alloc_pages_slowpath`).
//!
//! ```text
//! retry: wake kswapd
//!        try at the min watermark          urgent requests: less
//!        try without the policy's nodes, __GFP_MEMALLOC: without watermarks
//!        can't sleep? ------------------------------------------------> nopage
//!        reclaim, try                      costly or unmovable blocks:
//!        compact, try                      compact first, then retry
//!        __GFP_NORETRY, or costly and not __GFP_RETRY_MAYFAIL? -------> nopage
//!        would reclaiming all there is do? or can the urgent requests'
//!        page blocks be had? ---------------------------------------->  retry
//!        is it worth compacting again, or harder? ------------------->  retry
//! nopage: __GFP_NOFAIL? the reserves, and retry
//!        the request fails, and that is told (warn_alloc)
//! ```
//!
//! # Where it differs from Linux
//!
//! - There is no process to be killed for its memory. A request that would get
//!   there ends at `nopage`; one that must not fail gets all there is then, as
//!   Linux gives it.
//! - Linux repeats a request that must not fail for ever. Its memory can come
//!   back from anywhere meanwhile; the shadow's can only come from the very
//!   programs that hold it, and the caller may be one of them, so a request that
//!   can't be served would hang where it is. It is repeated
//!   [`NOFAIL_ROUNDS`] times and refused then, with a sentence of its own.
//! - All loops end: after [`MAX_TURNS`] turns, or when the caller is being
//!   killed.

mod retry;

use super::alloc::AllocContext;
use super::alloc::Taken;
use super::compaction::CompactPriority;
use super::compaction::CompactResult;
use super::gfp;
use super::gfp::Gfp;
use super::migratetype::MigrateType;
use super::stats::VmEvent;
use super::system::BuddySystem;
use super::watermark_ok::AllocFlags;
use super::MemMap;
use super::ZoneTable;
use crate::error::Error;
use crate::error::Result;
use crate::nodemask::NodeMask;
use crate::page::ZoneId;
use crate::page::ZoneType;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::platform::Lock;
use crate::platform::Platform;
use crate::report::failure;
use crate::report::AllocFailure;

/// Above this order Linux does not try forever (`PAGE_ALLOC_COSTLY_ORDER`).
pub(super) const COSTLY_ORDER: u8 = 3;
/// How often a request that must not fail is repeated.
const NOFAIL_ROUNDS: u32 = 16;
/// After so many turns even a request that makes progress all the time, and
/// loses it to others, fails.
const MAX_TURNS: u32 = 1000;

/// What a request keeps from turn to turn (the locals of
/// `__alloc_pages_slowpath`).
struct Turns {
    compact_result: CompactResult,
    compact_priority: CompactPriority,
    compaction_retries: u32,
    no_progress_loops: u32,
    did_some_progress: bool,
}

impl<P, M, Z> BuddySystem<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// What follows when no zone is above its low watermark.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`], or [`Error::CannotFail`] for a request that must not
    /// fail.
    #[cold]
    #[inline(never)]
    pub(super) fn slowpath(
        &self,
        context: &AllocContext<'_, P>,
        gfp: Gfp,
        nodes: Option<NodeMask>,
    ) -> Result<Taken> {
        let nofail = gfp.has(gfp::__GFP_NOFAIL) && gfp.has(gfp::__GFP_DIRECT_RECLAIM);
        let rounds = if nofail { NOFAIL_ROUNDS } else { 1 };
        let mut allowed = nodes;
        for _ in 0..rounds {
            if let Some(taken) = self.try_hard(context, gfp, &mut allowed) {
                return Ok(taken);
            }
            if nofail {
                let flags = AllocFlags::WMARK_MIN | AllocFlags::MIN_RESERVE;
                if let Some(taken) = self.get_page_from_freelist(context, flags, allowed) {
                    return Ok(taken);
                }
                if self.platform.fatal_signal_pending() {
                    break;
                }
                self.platform.cond_resched();
            }
        }
        self.warn_alloc(context, gfp, nodes);
        Err(match nofail {
            true => Error::CannotFail,
            false => Error::NoMemory,
        })
    }

    /// From `retry` to `nopage`. `nodes` are forgotten for those who may take
    /// from all.
    fn try_hard(
        &self,
        context: &AllocContext<'_, P>,
        gfp: Gfp,
        nodes: &mut Option<NodeMask>,
    ) -> Option<Taken> {
        let order = context.order;
        let costly = order.get() > COSTLY_ORDER;
        let movable = context.migratetype == MigrateType::Movable;
        let mut compact_first =
            can_compact(gfp) && (costly || (order > PageOrder::ZERO && !movable));
        let mut turns = Turns {
            compact_result: CompactResult::Skipped,
            compact_priority: match compact_first {
                true => CompactPriority::Async,
                false => CompactPriority::SyncLight,
            },
            compaction_retries: 0,
            no_progress_loops: 0,
            did_some_progress: false,
        };
        let mut flags = AllocFlags::slowpath(gfp, order);
        let mut can_retry_reserves = true;
        context.zonelist.first(context.highest, *nodes)?;
        for _ in 0..MAX_TURNS {
            if flags.has(AllocFlags::KSWAPD) {
                self.wake_all_kswapds(context, gfp, *nodes);
            }
            let taken = self.get_page_from_freelist(context, flags, *nodes);
            if taken.is_some() {
                return taken;
            }
            // Those who will free memory may use all of it; and neither they
            // nor the urgent ones that can't sleep are held to the nodes.
            let reserves = gfp.has(gfp::__GFP_MEMALLOC) && !gfp.has(gfp::__GFP_NOMEMALLOC);
            if reserves {
                flags =
                    AllocFlags::NO_WATERMARKS | flags.only(AllocFlags::CMA | AllocFlags::KSWAPD);
            }
            if reserves || !flags.has(AllocFlags::CPUSET) {
                *nodes = None;
                if core::mem::take(&mut can_retry_reserves) {
                    continue;
                }
            }
            if !gfp.has(gfp::__GFP_DIRECT_RECLAIM) || self.platform.fatal_signal_pending() {
                return None;
            }
            if !compact_first {
                let taken = self.direct_reclaim(context, gfp, flags, *nodes, &mut turns);
                if taken.is_some() {
                    return taken;
                }
            }
            let taken = self.direct_compact(context, gfp, flags, *nodes, &mut turns);
            if taken.is_some() {
                return taken;
            }
            let noretry = gfp.has(gfp::__GFP_NORETRY);
            if compact_first {
                // Huge pages of one node are rather had from another than by
                // reclaim on this.
                if noretry && gfp.has(gfp::__GFP_THISNODE) {
                    return None;
                }
                if !noretry {
                    turns.compact_priority = CompactPriority::SyncLight;
                }
                compact_first = false;
                continue;
            }
            let mayfail = can_compact(gfp) && gfp.has(gfp::__GFP_RETRY_MAYFAIL);
            if noretry || (costly && !mayfail) {
                return None;
            }
            if self.should_reclaim_retry(context, flags, *nodes, &mut turns) {
                continue;
            }
            let progress = turns.did_some_progress && can_compact(gfp);
            if progress && self.should_compact_retry(context, *nodes, &mut turns) {
                continue;
            }
            return self.before_oom(context, gfp, *nodes);
        }
        None
    }

    /// Reclaims, and tries (`__alloc_pages_direct_reclaim`).
    fn direct_reclaim(
        &self,
        context: &AllocContext<'_, P>,
        gfp: Gfp,
        flags: AllocFlags,
        nodes: Option<NodeMask>,
        turns: &mut Turns,
    ) -> Option<Taken> {
        self.platform.cond_resched();
        let reclaimed = self.try_to_free_pages(context, gfp, nodes);
        turns.did_some_progress = !reclaimed.is_zero();
        if !turns.did_some_progress {
            return None;
        }
        let taken = self.get_page_from_freelist(context, flags, nodes);
        if taken.is_some() {
            return taken;
        }
        // It may be with the CPUs, or with what is kept for the urgent.
        self.unreserve_highatomic(context, nodes, false);
        self.drain_all_pages();
        self.get_page_from_freelist(context, flags, nodes)
    }

    /// Compacts, and tries (`__alloc_pages_direct_compact`).
    fn direct_compact(
        &self,
        context: &AllocContext<'_, P>,
        gfp: Gfp,
        flags: AllocFlags,
        nodes: Option<NodeMask>,
        turns: &mut Turns,
    ) -> Option<Taken> {
        let order = context.order;
        if order == PageOrder::ZERO {
            return None;
        }
        let prio = turns.compact_priority;
        turns.compact_result = self.try_to_compact_pages(context, gfp, flags, nodes, prio);
        if turns.compact_result <= CompactResult::Deferred {
            return None;
        }
        self.count_event(VmEvent::CompactStall, 1);
        let Some(taken) = self.get_page_from_freelist(context, flags, nodes) else {
            self.count_event(VmEvent::CompactFail, 1);
            self.platform.cond_resched();
            return None;
        };
        if let Some(zone) = self.zones.zone(taken.zone) {
            zone.compact.set_blockskip_flush(false);
            self.compaction_defer_reset(zone, taken.zone, order, true);
        }
        self.count_event(VmEvent::CompactSuccess, 1);
        Some(taken)
    }

    /// Where Linux kills a process (`__alloc_pages_may_oom`).
    fn before_oom(
        &self,
        context: &AllocContext<'_, P>,
        gfp: Gfp,
        nodes: Option<NodeMask>,
    ) -> Option<Taken> {
        // Somebody may have freed much meanwhile.
        let taken = self.get_page_from_freelist(context, AllocFlags::WMARK_HIGH, nodes);
        if taken.is_some() || !asks_oom_killer(gfp, context.order, context.highest) {
            return taken;
        }
        if !gfp.has(gfp::__GFP_NOFAIL) {
            return None;
        }
        self.get_page_from_freelist(context, AllocFlags::NO_WATERMARKS, nodes)
    }

    /// Lets go of page blocks kept for urgent requests, in the first zone that
    /// has some; with `force`, the last one too
    /// (`unreserve_highatomic_pageblock`).
    fn unreserve_highatomic(
        &self,
        context: &AllocContext<'_, P>,
        nodes: Option<NodeMask>,
        force: bool,
    ) -> bool {
        for zref in context.zonelist.iter(context.highest) {
            let zone = zref.zone;
            let allowed = nodes.is_none_or(|nodes| nodes.contains(zref.nid()));
            let least = PageOrder::PAGEBLOCK.pages();
            if !allowed || (!force && zone.reserved_highatomic() <= least) {
                continue;
            }
            let id = ZoneId::new(zref.nid(), zref.kind());
            let mut areas = zone.free.lock();
            let mut locked = self.locked(zone, id, &mut areas);
            if locked.unreserve_highatomic(context.migratetype) {
                return true;
            }
        }
        false
    }

    /// Tells the surroundings that a request has failed, if it wants that
    /// (`warn_alloc`).
    fn warn_alloc(&self, context: &AllocContext<'_, P>, gfp: Gfp, nodes: Option<NodeMask>) {
        let has_dma = || {
            let mut managed = Pages::ZERO;
            self.for_each_zone(|id, zone| {
                if id.kind() == ZoneType::Dma {
                    managed += zone.managed();
                }
            });
            !managed.is_zero()
        };
        if gfp.has(gfp::__GFP_NOWARN) || (gfp.has(gfp::__GFP_DMA) && !has_dma()) {
            return;
        }
        let failure = AllocFailure {
            gfp,
            order: context.order,
            nodes,
        };
        self.platform.warn_alloc(&failure, &|out| {
            failure::write_mem_info(out, self, context.highest, failure.shown_nodes())
        });
    }
}

/// Whether compaction may help the request (`gfp_compaction_allowed`).
pub(super) fn can_compact(gfp: Gfp) -> bool {
    gfp.has_all(gfp::__GFP_DIRECT_RECLAIM | gfp::__GFP_IO)
}

/// Whether the request would have a process killed for it
/// (`__alloc_pages_may_oom`).
fn asks_oom_killer(gfp: Gfp, order: PageOrder, highest: ZoneType) -> bool {
    let keep = gfp::__GFP_RETRY_MAYFAIL | gfp::__GFP_THISNODE;
    !gfp.has(keep) && order.get() <= COSTLY_ORDER && highest >= ZoneType::Normal
}
