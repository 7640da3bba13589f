// SPDX-License-Identifier: GPL-2.0

//! What follows when no zone is above its low watermark
//! (`__alloc_pages_slowpath`).

use super::alloc::AllocContext;
use super::alloc::Taken;
use super::gfp;
use super::gfp::Gfp;
use super::stats::VmEvent;
use super::system::BuddySystem;
use super::watermark_ok::AllocFlags;
use super::MemMap;
use super::ZoneTable;
use crate::nodemask::NodeMask;
use crate::page::ZoneId;
use crate::page::ZoneType;
use crate::phys::PageOrder;
use crate::platform::Lock;
use crate::platform::Platform;

/// Above this order Linux does not try forever (`PAGE_ALLOC_COSTLY_ORDER`).
const COSTLY_ORDER: u8 = 3;

impl<P, M, Z> BuddySystem<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
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

    /// What follows when no zone is above its low watermark
    /// (`__alloc_pages_slowpath`).
    #[cold]
    #[inline(never)]
    pub(super) fn slowpath(
        &self,
        context: &AllocContext<'_, P>,
        gfp: Gfp,
        mut nodes: Option<NodeMask>,
    ) -> Option<Taken> {
        let mut flags = AllocFlags::slowpath(gfp, context.order);
        if flags.has(AllocFlags::KSWAPD) {
            let zones = context.zonelist.iter(context.highest);
            zones.for_each(|zref| Self::wakeup_kswapd(zref.zone));
        }
        let taken = self.get_page_from_freelist(context, flags, nodes);
        if taken.is_some() {
            return taken;
        }
        // Those who will free memory may use all of it; and neither they nor
        // the urgent ones that can't sleep are held to the allowed nodes.
        let no_watermarks = gfp.has(gfp::__GFP_MEMALLOC) && !gfp.has(gfp::__GFP_NOMEMALLOC);
        if no_watermarks {
            flags = AllocFlags::NO_WATERMARKS | flags.only(AllocFlags::CMA | AllocFlags::KSWAPD);
        }
        if no_watermarks || (nodes.is_some() && !flags.has(AllocFlags::CPUSET)) {
            nodes = None;
            let taken = self.get_page_from_freelist(context, flags, nodes);
            if taken.is_some() {
                return taken;
            }
        }
        if !gfp.has(gfp::__GFP_DIRECT_RECLAIM) {
            return None;
        }
        if enters_direct_reclaim(gfp, context.order) {
            let (cpu, pinned) = self.platform.pin_cpu();
            self.stats
                .count(cpu, VmEvent::AllocStall(context.highest), 1);
            drop(pinned);
            // What can be reclaimed are the pages that CPUs keep.
            if !self.drain_all_pages().is_zero() {
                let taken = self.get_page_from_freelist(context, flags, nodes);
                if taken.is_some() {
                    return taken;
                }
            }
        }
        // Before somebody would be killed, what is kept for the urgent goes
        // (should_reclaim_retry). Who does not retry does not get there.
        while !gives_up_early(gfp, context.order) && self.unreserve_highatomic(context, nodes, true)
        {
            let taken = self.get_page_from_freelist(context, flags, nodes);
            if taken.is_some() {
                return taken;
            }
        }
        if !gfp.has(gfp::__GFP_NOFAIL) {
            return None;
        }
        let flags = match asks_oom_killer(gfp, context.order, context.highest) {
            true => AllocFlags::NO_WATERMARKS,
            false => AllocFlags::MIN_RESERVE,
        };
        self.get_page_from_freelist(context, flags, nodes)
    }
}

/// Whether compaction may help the request (`gfp_compaction_allowed`).
fn can_compact(gfp: Gfp) -> bool {
    gfp.has_all(gfp::__GFP_DIRECT_RECLAIM | gfp::__GFP_IO)
}

/// Whether the request, which may sleep, gets as far as direct reclaim: one
/// that compaction is tried for first may give up before
/// (`__alloc_pages_slowpath`).
fn enters_direct_reclaim(gfp: Gfp, order: PageOrder) -> bool {
    let movable = gfp.has(gfp::__GFP_MOVABLE) && !gfp.has(gfp::__GFP_RECLAIMABLE);
    let compact_first =
        can_compact(gfp) && (order.get() > COSTLY_ORDER || (order > PageOrder::ZERO && !movable));
    !(compact_first && gfp.has_all(gfp::__GFP_NORETRY | gfp::__GFP_THISNODE))
}

/// Whether the request fails after one round of reclaim
/// (`__alloc_pages_slowpath`).
fn gives_up_early(gfp: Gfp, order: PageOrder) -> bool {
    let retries = gfp.has(gfp::__GFP_RETRY_MAYFAIL) && can_compact(gfp);
    gfp.has(gfp::__GFP_NORETRY) || (order.get() > COSTLY_ORDER && !retries)
}

/// Whether the request would have a process killed for it
/// (`__alloc_pages_slowpath` and `__alloc_pages_may_oom`).
fn asks_oom_killer(gfp: Gfp, order: PageOrder, highest: ZoneType) -> bool {
    let keep = gfp::__GFP_NORETRY | gfp::__GFP_RETRY_MAYFAIL | gfp::__GFP_THISNODE;
    !gfp.has(keep) && order.get() <= COSTLY_ORDER && highest >= ZoneType::Normal
}
