// SPDX-License-Identifier: GPL-2.0

//! Reclaim: getting pages back from those who can do without (`mm/vmscan.c`).
//!
//! ```text
//! who                         until
//! direct  try_to_free_pages   32 pages are back, or compaction can go on
//! kswapd  balance_pgdat       a zone of the node is above its high watermark
//!              \   /
//!            shrink_node      priority 12 (a 4096th) down to 0 (all)
//!              |   |
//!   shrinkers -+   +- the pages that CPUs keep, when no shrinker has any
//! ```
//!
//! There are no LRU lists in the shadow: a shrinker whose objects are whole
//! pages stands in for them, and is counted as they are (`pgscan`, `pgsteal`).
//! That pages in pagesets are reclaimed is the shadow's own: Linux always finds
//! a page on some LRU list, and drains the pagesets after that.
//!
//! ```text
//! shrinker.rs   one shrinker's share
//! kswapd.rs     background reclaim of one node
//! ```
//!
//! # Not here
//!
//! Nobody waits for writeback, for congestion or because too much is isolated
//! (`reclaim_throttle`, `throttle_direct_reclaim`): there is nothing to write
//! back, and what a shrinker gives up it gives up at once. There are no memory
//! cgroups.

pub(super) mod daemons;
pub(super) mod kswapd;
pub(super) mod shrinker;

use self::shrinker::do_shrink_slab;
use self::shrinker::Shrinker;
use super::alloc::AllocContext;
use super::gfp;
use super::gfp::Gfp;
use super::slowpath::can_compact;
use super::slowpath::COSTLY_ORDER;
use super::stats::VmEvent;
use super::system::BuddySystem;
use super::watermark_ok::zone_watermark_ok;
use super::watermark_ok::AllocFlags;
use super::MemMap;
use super::ZoneTable;
use crate::nodemask::NodeMask;
use crate::page::ZoneId;
use crate::page::ZoneType;
use crate::phys::CpuId;
use crate::phys::NodeId;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::MAX_NODES;
use crate::platform::Platform;
use crate::report::NodeStat;
use crate::trace::tell;
use crate::trace::TraceEvent;
use crate::trace::TracePoint;
use crate::zone::Watermark;
use crate::zone::Zone;

/// Pages that direct reclaim wants (`SWAP_CLUSTER_MAX`).
pub(super) const SWAP_CLUSTER_MAX: Pages = Pages(32);
/// How much of what there is is looked at first: 1 in 2^12 (`DEF_PRIORITY`).
pub(super) const DEF_PRIORITY: u32 = 12;
/// After so many rounds without progress reclaim is given up
/// (`MAX_RECLAIM_RETRIES`).
pub(super) const MAX_RECLAIM_RETRIES: u32 = 16;

/// What one reclaim wants, and what it has come to (`struct scan_control`).
pub(super) struct ScanControl {
    pub(super) gfp: Gfp,
    pub(super) order: PageOrder,
    /// Up to which kind of zone memory is needed (`reclaim_idx`).
    pub(super) highest: ZoneType,
    pub(super) priority: u32,
    pub(super) nr_to_reclaim: Pages,
    pub(super) nr_reclaimed: Pages,
    pub(super) nr_scanned: u64,
    /// Background reclaim on behalf of a boost may not write back, and Linux's
    /// multi-generational LRU does nothing then (`lru_gen_shrink_node`).
    pub(super) may_writepage: bool,
    pub(super) is_kswapd: bool,
    /// Whether pages count as stolen; those that are dropped on request do not.
    counts: bool,
    /// A zone has enough free memory to be compacted instead.
    pub(super) compaction_ready: bool,
}

impl ScanControl {
    /// What direct reclaim wants (`try_to_free_pages`).
    fn new(gfp: Gfp, order: PageOrder, highest: ZoneType) -> Self {
        Self {
            gfp,
            order,
            highest,
            priority: DEF_PRIORITY,
            nr_to_reclaim: SWAP_CLUSTER_MAX,
            nr_reclaimed: Pages::ZERO,
            nr_scanned: 0,
            may_writepage: true,
            is_kswapd: false,
            counts: true,
            compaction_ready: false,
        }
    }
}

impl<'a, P, M, Z> BuddySystem<'a, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// The zones of a node that manage pages, up to `highest`, lowest first
    /// (`for_each_managed_zone_pgdat`).
    pub(super) fn managed_zones(
        &self,
        nid: NodeId,
        highest: ZoneType,
    ) -> impl Iterator<Item = (ZoneId, &'a Zone<P>)> {
        let zones = self.zones;
        let kinds = ZoneType::ALL.into_iter().filter(move |&k| k <= highest);
        kinds.filter_map(move |kind| {
            let id = ZoneId::new(nid, kind);
            let zone = zones.zone(id)?;
            (!zone.managed().is_zero()).then_some((id, zone))
        })
    }

    /// Shows each shrinker: those that the surroundings have, and the shadow's own.
    fn for_each_shrinker(&self, each: &mut dyn FnMut(&dyn Shrinker)) {
        self.platform.for_each_shrinker(each);
        if let Some(shrinker) = self.shrinker {
            each(shrinker);
        }
    }

    /// Pages of a zone that could be reclaimed (`zone_reclaimable_pages`): what
    /// shrinkers keep as whole pages, and what CPUs keep.
    pub(super) fn reclaimable_pages(&self, id: ZoneId) -> Pages {
        let mut pages = self.pageset_pages(id);
        self.for_each_shrinker(&mut |shrinker| pages += shrinker.reclaimable(id));
        pages
    }

    /// Pages of a zone that CPUs keep.
    pub(super) fn pageset_pages(&self, id: ZoneId) -> Pages {
        let cpus = (0..self.platform.nr_cpus()).map(CpuId);
        let kept = cpus.filter_map(|cpu| Some(self.stats.pageset(cpu, id)?.count()));
        kept.map(|count| Pages(u64::from(count))).sum()
    }

    /// Has every shrinker give up its share on a node; how many objects that
    /// were (`shrink_slab`). Pages of those that stand for the LRU lists are what
    /// was scanned and stolen; of slabs Linux counts objects alone, and their pages
    /// help whoever reclaims (`flush_reclaim_state`).
    fn shrink_slab(&self, nid: NodeId, sc: &mut ScanControl) -> u64 {
        let (gfp, priority, is_kswapd, counts) = (sc.gfp, sc.priority, sc.is_kswapd, sc.counts);
        let (mut reclaimed, mut scanned, mut freed) = (Pages::ZERO, 0u64, 0u64);
        self.for_each_shrinker(&mut |shrinker| {
            let shrunk = do_shrink_slab(self.platform, shrinker, gfp, nid, priority);
            if shrinker.keeps_pages() {
                scanned = scanned.saturating_add(shrunk.scanned);
                let (scan, steal) = match is_kswapd {
                    true => (NodeStat::PgscanKswapd, NodeStat::PgstealKswapd),
                    false => (NodeStat::PgscanDirect, NodeStat::PgstealDirect),
                };
                if let Some(daemons) = self.zones.daemons(nid).filter(|_| counts) {
                    daemons.count_reclaim(scan, shrunk.scanned);
                    daemons.count_reclaim(steal, shrunk.reclaimed.0);
                }
            } else {
                self.count_event(VmEvent::SlabsScanned, shrunk.scanned);
            }
            reclaimed += shrunk.reclaimed;
            freed = freed.saturating_add(shrunk.freed);
        });
        sc.nr_reclaimed += reclaimed;
        sc.nr_scanned = sc.nr_scanned.saturating_add(scanned);
        freed
    }

    /// Reclaims from a node, as hard as the priority says (`shrink_node`, as
    /// `lru_gen_shrink_node` does it).
    pub(super) fn shrink_node(&self, nid: NodeId, sc: &mut ScanControl) {
        if !sc.may_writepage {
            return;
        }
        let before = sc.nr_reclaimed;
        self.shrink_slab(nid, sc);
        if sc.nr_reclaimed == before {
            sc.nr_reclaimed += self.drain_node(nid);
        }
        if sc.nr_reclaimed > before {
            self.try_clear_hopeless(nid, sc.order, sc.highest);
        }
    }

    /// Gives back what CPUs keep of a node's zones; how many pages.
    fn drain_node(&self, nid: NodeId) -> Pages {
        let ids = ZoneType::ALL.map(|kind| ZoneId::new(nid, kind));
        ids.into_iter().map(|id| self.drain_zone(id)).sum()
    }

    /// Whether the zone has enough free memory for compaction to do the rest
    /// (`compaction_ready`).
    fn compaction_ready(&self, zone: &Zone<P>, sc: &ScanControl) -> bool {
        if !can_compact(sc.gfp) {
            return false;
        }
        let reserve = zone.lowmem_reserve(sc.highest);
        let min = zone.wmark(Watermark::Min);
        let flags = AllocFlags::WMARK_MIN;
        zone_watermark_ok(&zone.free_counts, sc.order, min, reserve, flags)
            || self.compaction_suitable(zone, sc.order, zone.wmark(Watermark::High), sc.highest)
    }

    /// Reclaims from each node of a zonelist once (`shrink_zones`).
    fn shrink_zones(
        &self,
        context: &AllocContext<'_, P>,
        nodes: Option<NodeMask>,
        sc: &mut ScanControl,
    ) {
        let mut last = NodeId::NONE;
        for zref in context.zonelist.iter(sc.highest) {
            if nodes.is_some_and(|nodes| !nodes.contains(zref.nid())) {
                continue;
            }
            if sc.order.get() > COSTLY_ORDER && self.compaction_ready(zref.zone, sc) {
                sc.compaction_ready = true;
                continue;
            }
            if zref.nid() != last {
                last = zref.nid();
                self.shrink_node(last, sc);
            }
        }
    }

    /// Reclaims for a request, and says how many pages: none means that it would
    /// not help to do so again (`try_to_free_pages`).
    pub(super) fn try_to_free_pages(
        &self,
        context: &AllocContext<'_, P>,
        gfp: Gfp,
        nodes: Option<NodeMask>,
    ) -> Pages {
        let mut sc = ScanControl::new(gfp, context.order, context.highest);
        tell(self.platform, TracePoint::VmscanDirectReclaimBegin, || {
            TraceEvent::VmscanDirectReclaimBegin {
                order: context.order,
                gfp,
            }
        });
        // Linux walks the cgroups a second time before it gives up, also when
        // there is only one of them.
        for _ in 0..2 {
            self.count_event(VmEvent::AllocStall(context.highest), 1);
            for priority in (0..=DEF_PRIORITY).rev() {
                sc.priority = priority;
                sc.nr_scanned = 0;
                self.shrink_zones(context, nodes, &mut sc);
                let enough = sc.nr_reclaimed >= sc.nr_to_reclaim;
                if enough || sc.compaction_ready || self.platform.fatal_signal_pending() {
                    break;
                }
            }
            if !sc.nr_reclaimed.is_zero() || sc.compaction_ready {
                break;
            }
        }
        tell(self.platform, TracePoint::VmscanDirectReclaimEnd, || {
            TraceEvent::VmscanDirectReclaimEnd {
                reclaimed: sc.nr_reclaimed,
            }
        });
        match sc.nr_reclaimed {
            Pages::ZERO if sc.compaction_ready => Pages(1),
            reclaimed => reclaimed,
        }
    }

    /// Has every shrinker give up all that it can, as `echo 2 >
    /// /proc/sys/vm/drop_caches` does, and says how many pages came back
    /// (`drop_slab`).
    pub fn drop_slab(&self) -> Pages {
        let mut all = Pages::ZERO;
        self.count_event(VmEvent::DropSlab, 1);
        for round in 0..u64::BITS {
            let mut freed = 0u64;
            for nid in (0..MAX_NODES as u32).filter_map(NodeId::new) {
                if self.managed_zones(nid, ZoneType::Movable).next().is_none() {
                    continue;
                }
                if self.platform.fatal_signal_pending() {
                    return all;
                }
                let mut sc = ScanControl::new(gfp::GFP_KERNEL, PageOrder::ZERO, ZoneType::Movable);
                sc.priority = 0;
                sc.counts = false;
                freed = freed.saturating_add(self.shrink_slab(nid, &mut sc));
                all += sc.nr_reclaimed;
            }
            if freed >> round <= 1 {
                break;
            }
        }
        all
    }
}
