// SPDX-License-Identifier: GPL-2.0

//! Whether compaction makes sense: is there enough free memory to move blocks
//! to, and is it in pieces that are too small?
//!
//! ```text
//! free pages - taken from afar -     the index of fragmentation
//!   below mark + gap   SKIPPED         0 ... 500   lack of memory: not suitable
//!   above, and a block that large      500 .. 1000 fragmentation: CONTINUE
//!     is free          SUCCESS
//! ```

use super::compact_gap;
use super::CompactResult;
use crate::buddy::extfrag_for_order;
use crate::buddy::fragmentation_index;
use crate::buddy::reclaim::daemons::zone_of;
use crate::buddy::slowpath::COSTLY_ORDER;
use crate::buddy::watermark_ok::has_free_pages;
use crate::buddy::watermark_ok::zone_watermark_ok;
use crate::buddy::watermark_ok::AllocFlags;
use crate::buddy::BuddySystem;
use crate::buddy::Daemons;
use crate::buddy::MemMap;
use crate::buddy::ZoneTable;
use crate::page::ZoneId;
use crate::page::ZoneType;
use crate::phys::NodeId;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::platform::Platform;
use crate::trace::tell;
use crate::trace::Suitability;
use crate::trace::TraceEvent;
use crate::trace::TracePoint;
use crate::tunables::Tunable;
use crate::zone::Watermark;
use crate::zone::Zone;
use core::sync::atomic::Ordering::Relaxed;

impl<P, M, Z> BuddySystem<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// Whether a zone with `free` pages has enough of them for blocks to be
    /// moved to (`__compaction_suitable`). Costly orders must leave more, and
    /// pages of CMA count, because movable blocks may go there.
    pub(super) fn has_room_to_compact(
        zone: &Zone<P>,
        order: PageOrder,
        mark: Pages,
        highest: ZoneType,
        free: Pages,
    ) -> bool {
        let mut mark = mark + compact_gap(order);
        if order.get() > COSTLY_ORDER {
            mark += zone.wmark(Watermark::Low) - zone.wmark(Watermark::Min);
        }
        let reserve = zone.lowmem_reserve(highest);
        has_free_pages(&zone.free_counts, free, mark, reserve, AllocFlags::CMA)
    }

    /// Whether the zone is worth compacting now (`compaction_suitable`).
    pub(in crate::buddy) fn compaction_suitable(
        &self,
        zone: &Zone<P>,
        order: PageOrder,
        mark: Pages,
        highest: ZoneType,
    ) -> bool {
        let counts = &zone.free_counts;
        let mut ret = CompactResult::Skipped;
        if Self::has_room_to_compact(zone, order, mark, highest, counts.free_pages()) {
            ret = CompactResult::Continue;
            if order.get() > COSTLY_ORDER {
                let index = fragmentation_index(order, &counts.blocks());
                let threshold = self.zones.tunable(Tunable::ExtfragThreshold);
                if u32::try_from(index).is_ok_and(|index| index <= threshold) {
                    ret = CompactResult::NotSuitableZone;
                }
            }
        }
        tell(self.platform, TracePoint::CompactionSuitable, || {
            TraceEvent::CompactionSuitable(Suitability {
                zone: ZoneId::new(zone.nid, zone.kind),
                order: Some(order),
                result: ret,
            })
        });
        ret == CompactResult::Continue
    }

    /// Whether a request of this order would be served already, compaction is
    /// likely to fail, or is to be run (`compaction_suit_allocation_order`).
    pub(super) fn suit_allocation_order(
        &self,
        zone: &Zone<P>,
        order: PageOrder,
        highest: ZoneType,
        flags: AllocFlags,
        is_async: bool,
    ) -> CompactResult {
        let mark = zone.wmark(flags.watermark());
        let reserve = zone.lowmem_reserve(highest);
        let counts = &zone.free_counts;
        if zone_watermark_ok(counts, order, mark, reserve, flags) {
            return CompactResult::Success;
        }
        // What is only made of CMA's pages would not help this one.
        if order.get() > COSTLY_ORDER && is_async && !flags.has(AllocFlags::CMA) {
            let mark = mark + compact_gap(order);
            let free = counts.free_pages();
            if !has_free_pages(counts, free, mark, reserve, AllocFlags::WMARK_MIN) {
                return CompactResult::Skipped;
            }
        }
        match self.compaction_suitable(zone, order, mark, highest) {
            true => CompactResult::Continue,
            false => CompactResult::Skipped,
        }
    }

    /// A zone's external fragmentation with regard to huge pages, in percent
    /// (`fragmentation_score_zone`).
    pub(super) fn fragmentation_score_zone(zone: &Zone<P>) -> u32 {
        extfrag_for_order(PageOrder::PAGEBLOCK, &zone.free_counts.blocks())
    }

    /// The same for a node, each zone by its share of the node's pages
    /// (`fragmentation_score_node`).
    pub fn fragmentation_score_node(&self, nid: NodeId) -> u32 {
        let zones = || ZoneType::ALL.into_iter().map(|kind| ZoneId::new(nid, kind));
        let zones = || zones().filter_map(|id| self.zones.zone(id));
        let present: Pages = zones().map(|zone| zone.present).sum();
        zones()
            .filter(|zone| zone.is_populated())
            .map(|zone| {
                let score = u64::from(Self::fragmentation_score_zone(zone));
                (zone.present.0.saturating_mul(score) / (present + Pages(1)).0) as u32
            })
            .sum()
    }

    /// Whether the node is so fragmented that compaction is run without being
    /// asked for (`should_proactive_compact_node`).
    pub(super) fn should_proactive_compact(&self, nid: NodeId, daemons: &Daemons) -> bool {
        self.zones.tunable(Tunable::CompactionProactiveness) != 0
            && !daemons.kswapd_is_running()
            && self.fragmentation_score_node(nid) > self.fragmentation_score_wmark(false)
    }

    /// Below which score proactive compaction ends, above which it starts
    /// (`fragmentation_score_wmark`).
    pub(super) fn fragmentation_score_wmark(&self, low: bool) -> u32 {
        let proactiveness = self.zones.tunable(Tunable::CompactionProactiveness);
        let mark = 100u32.saturating_sub(proactiveness);
        let leeway = (mark / 2).min(10);
        match low {
            true => mark,
            false => (mark + leeway).min(100),
        }
    }

    /// Whether compaction could help a request that kcompactd was told of
    /// (`kcompactd_node_suitable`).
    pub(super) fn kcompactd_node_suitable(&self, nid: NodeId, daemons: &Daemons) -> bool {
        let order = PageOrder::new(daemons.kcompactd_max_order.load(Relaxed).into());
        let highest = zone_of(daemons.kcompactd_highest.load(Relaxed));
        let highest = highest.unwrap_or(ZoneType::Movable);
        let order = order.unwrap_or(PageOrder::ZERO);
        let flags = AllocFlags::WMARK_MIN;
        ZoneType::ALL
            .into_iter()
            .filter(|&kind| kind <= highest)
            .filter_map(|kind| self.zones.zone(ZoneId::new(nid, kind)))
            .filter(|zone| zone.is_populated())
            .any(|zone| {
                let suit = self.suit_allocation_order(zone, order, highest, flags, false);
                suit == CompactResult::Continue
            })
    }
}
