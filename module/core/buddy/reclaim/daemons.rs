// SPDX-License-Identifier: GPL-2.0

//! What others ask of a node's threads, and how these are woken.
//!
//! ```text
//! a request finds memory short                     the node's threads
//!   wakeup_kswapd() -- order, highest zone -->       Daemons
//!      it waits, and there is something to do?       ---> Platform::wake_kswapd
//! ```
//!
//! A thread says that it waits before it looks whether it may, and whoever asks
//! leaves word before he looks whether it waits; so one of them sees the other.

use super::MAX_RECLAIM_RETRIES;
use crate::buddy::alloc::AllocContext;
use crate::buddy::gfp;
use crate::buddy::watermark_ok::zone_watermark_ok;
use crate::buddy::watermark_ok::AllocFlags;
use crate::buddy::BuddySystem;
use crate::buddy::Gfp;
use crate::buddy::MemMap;
use crate::buddy::ZoneTable;
use crate::nodemask::NodeMask;
use crate::page::ZoneId;
use crate::page::ZoneType;
use crate::page::NR_ZONE_TYPES;
use crate::phys::NodeId;
use crate::phys::PageOrder;
use crate::platform::Lock;
use crate::platform::Platform;
use crate::report::NodeStat;
use crate::trace::tell;
use crate::trace::TraceEvent;
use crate::trace::TracePoint;
use crate::trace::Wakeup;
use crate::zone::Watermark;
use crate::zone::Zone;
use core::sync::atomic::fence;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::AtomicU8;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::Release;
use core::sync::atomic::Ordering::SeqCst;

/// No kind of zone (`MAX_NR_ZONES`).
pub(super) const NO_ZONE: u8 = NR_ZONE_TYPES as u8;

/// What a node's threads are asked to do, by whoever finds memory short (what
/// `pg_data_t` has for `kswapd` and `kcompactd`).
#[derive(Debug)]
pub struct Daemons {
    pub(super) kswapd_order: AtomicU8,
    pub(super) kswapd_highest: AtomicU8,
    pub(super) kswapd_failures: AtomicU32,
    pub(super) kswapd_waits: AtomicBool,
    pub(super) kswapd_works: AtomicBool,
    pub(in crate::buddy) kcompactd_max_order: AtomicU8,
    pub(in crate::buddy) kcompactd_highest: AtomicU8,
    pub(in crate::buddy) kcompactd_waits: AtomicBool,
    pub(in crate::buddy) proactive_compact_trigger: AtomicBool,
    reclaimed: [AtomicU64; NR_RECLAIM],
}

/// What is counted by node: `pgsteal` and `pgscan`, of kswapd and of requests.
const NR_RECLAIM: usize = 4;

/// The place of such a counter.
fn place_of(item: NodeStat) -> Option<usize> {
    match item {
        NodeStat::PgstealKswapd => Some(0),
        NodeStat::PgstealDirect => Some(1),
        NodeStat::PgscanKswapd => Some(2),
        NodeStat::PgscanDirect => Some(3),
        _ => None,
    }
}

impl Daemons {
    /// Nobody asks for anything.
    pub const fn new() -> Self {
        Self {
            kswapd_order: AtomicU8::new(0),
            kswapd_highest: AtomicU8::new(NO_ZONE),
            kswapd_failures: AtomicU32::new(0),
            kswapd_waits: AtomicBool::new(false),
            kswapd_works: AtomicBool::new(false),
            kcompactd_max_order: AtomicU8::new(0),
            kcompactd_highest: AtomicU8::new(ZoneType::Movable as u8),
            kcompactd_waits: AtomicBool::new(false),
            proactive_compact_trigger: AtomicBool::new(false),
            reclaimed: [const { AtomicU64::new(0) }; NR_RECLAIM],
        }
    }

    /// How many pages reclaim has looked at on the node, or got back
    /// (`node_page_state`); none for other counters. Linux counts each page by who
    /// reclaims and by what it is (`scan_folios`, `evict_folios`). Without swap,
    /// what can be reclaimed is a file's, and so is all that is counted here.
    pub fn reclaimed(&self, item: NodeStat) -> u64 {
        let sum = |items: [NodeStat; 2]| {
            let [kswapd, direct] = items.map(|item| self.reclaimed(item));
            kswapd.wrapping_add(direct)
        };
        match item {
            NodeStat::PgstealFile => sum([NodeStat::PgstealKswapd, NodeStat::PgstealDirect]),
            NodeStat::PgscanFile => sum([NodeStat::PgscanKswapd, NodeStat::PgscanDirect]),
            item => {
                let count = place_of(item).and_then(|place| self.reclaimed.get(place));
                count.map_or(0, |count| count.load(Relaxed))
            }
        }
    }

    /// Counts more of them.
    pub(super) fn count_reclaim(&self, item: NodeStat, by: u64) {
        if let Some(count) = place_of(item).and_then(|place| self.reclaimed.get(place)) {
            count.fetch_add(by, Relaxed);
        }
    }

    /// How often in a row the node could not be balanced (`kswapd_failures`).
    pub fn kswapd_failures(&self) -> u32 {
        self.kswapd_failures.load(Relaxed)
    }

    /// Whether background reclaim is at work at the moment (`kswapd_is_running`).
    pub(in crate::buddy) fn kswapd_is_running(&self) -> bool {
        self.kswapd_works.load(Relaxed)
    }

    /// Counts that the node could not be balanced once more.
    pub(super) fn note_failure(&self) {
        let more = |failures: u32| Some(failures.saturating_add(1));
        let _ = self.kswapd_failures.fetch_update(Relaxed, Relaxed, more);
    }

    /// Gives the node its background reclaim back (`kswapd_clear_hopeless`).
    fn clear_hopeless(&self) {
        self.kswapd_failures.store(0, Relaxed);
    }

    /// Whether the node is left to direct reclaim (`kswapd_test_hopeless`).
    pub fn is_hopeless(&self) -> bool {
        self.kswapd_failures() >= MAX_RECLAIM_RETRIES
    }
}

impl Default for Daemons {
    fn default() -> Self {
        Self::new()
    }
}

/// An order as an atomic keeps it.
pub(in crate::buddy) fn order_of(raw: u8) -> PageOrder {
    PageOrder::new(raw.into()).unwrap_or(PageOrder::ZERO)
}

/// A kind of zone as an atomic keeps it.
pub(in crate::buddy) fn zone_of(raw: u8) -> Option<ZoneType> {
    ZoneType::ALL.get(usize::from(raw)).copied()
}

impl<P, M, Z> BuddySystem<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// Whether the node's background reclaim is awake (`waitqueue_active` of
    /// `kswapd_wait`, the other way round); not where there is none. Who was woken
    /// waits until he runs; in Linux he is off the queue at once.
    #[inline]
    pub(in crate::buddy) fn is_kswapd_busy(&self, nid: NodeId) -> bool {
        let daemons = self.zones.daemons(nid);
        daemons.is_some_and(|daemons| !daemons.kswapd_waits.load(Relaxed))
            && self.platform.has_kswapd(nid)
    }

    /// Whether a zone of the node is above its high watermark, and could give
    /// out a block of `order` (`pgdat_balanced`).
    pub fn pgdat_balanced(&self, nid: NodeId, order: PageOrder, highest: ZoneType) -> bool {
        let mut zones = self.managed_zones(nid, highest).peekable();
        zones.peek().is_none()
            || zones.any(|(_, zone)| {
                let mark = zone.wmark(Watermark::High);
                let reserve = zone.lowmem_reserve(highest);
                let flags = AllocFlags::WMARK_MIN;
                zone_watermark_ok(&zone.free_counts, order, mark, reserve, flags)
            })
    }

    /// Asks the zone's node for background reclaim (`wakeup_kswapd`). Where
    /// nobody does it, what it ends with is done at once: the boost of the
    /// watermarks is taken back.
    #[cold]
    pub(in crate::buddy) fn wakeup_kswapd(
        &self,
        zone: &Zone<P>,
        gfp: Gfp,
        order: PageOrder,
        highest: ZoneType,
    ) {
        let nid = zone.nid;
        let Some(daemons) = self.zones.daemons(nid) else {
            return self.end_boost(zone);
        };
        if zone.managed().is_zero() {
            return;
        }
        let higher = |now: u8| now == NO_ZONE || now < highest as u8;
        let raised = |now| higher(now).then_some(highest as u8);
        let _ = daemons
            .kswapd_highest
            .fetch_update(Relaxed, Relaxed, raised);
        // Who takes this order finds the zone, too.
        daemons.kswapd_order.fetch_max(order.get(), Release);
        // With the thread's own, behind its note that it waits: it sees what memory is short
        // of, or is seen to wait.
        fence(SeqCst);
        if !self.platform.has_kswapd(nid) {
            self.end_boost(zone);
        }
        // Busy, and it will see; or not there, though one that was stopped in its sleep has
        // left the note.
        if !daemons.kswapd_waits.load(Relaxed) {
            return;
        }
        let boosted = || {
            let mut zones = self.managed_zones(nid, highest);
            zones.any(|(_, zone)| !zone.boost().is_zero())
        };
        if daemons.is_hopeless() || (self.pgdat_balanced(nid, order, highest) && !boosted()) {
            if !gfp.has(gfp::__GFP_DIRECT_RECLAIM) {
                self.wakeup_kcompactd(nid, order, highest);
            }
            return;
        }
        tell(self.platform, TracePoint::VmscanWakeupKswapd, || {
            TraceEvent::VmscanWakeupKswapd {
                wakeup: Wakeup {
                    nid,
                    order: Some(order),
                    highest,
                },
                gfp,
            }
        });
        self.platform.wake_kswapd(nid);
    }

    /// Notes that a boost was told to background reclaim. Whoever changes what a
    /// zone's floor is made of holds its lock, so that no older one comes last.
    #[cold]
    #[inline(never)]
    pub(in crate::buddy) fn clear_boosted(&self, zone: &Zone<P>, id: ZoneId) {
        let mut areas = zone.free.lock();
        let _locked = self.locked(zone, id, &mut areas);
        zone.set_boosted(false);
    }

    /// Takes the whole boost back.
    fn end_boost(&self, zone: &Zone<P>) {
        if !zone.boost().is_zero() {
            let mut areas = zone.free.lock();
            let id = ZoneId::new(zone.nid, zone.kind);
            let _locked = self.locked(zone, id, &mut areas);
            zone.end_boost();
        }
    }

    /// Asks each node of a request for background reclaim once
    /// (`wake_all_kswapds`).
    pub(in crate::buddy) fn wake_all_kswapds(
        &self,
        context: &AllocContext<'_, P>,
        gfp: Gfp,
        nodes: Option<NodeMask>,
    ) {
        let mut last = NodeId::NONE;
        for zref in context.zonelist.iter(context.highest) {
            let allowed = nodes.is_none_or(|nodes| nodes.contains(zref.nid()));
            if allowed && !zref.zone.managed().is_zero() && zref.nid() != last {
                last = zref.nid();
                self.wakeup_kswapd(zref.zone, gfp, context.order, context.highest);
            }
        }
    }

    /// Reclaim has found something: a hopeless node that is balanced by it gets
    /// its background reclaim back (`kswapd_try_clear_hopeless`).
    pub(super) fn try_clear_hopeless(&self, nid: NodeId, order: PageOrder, highest: ZoneType) {
        let Some(daemons) = self.zones.daemons(nid) else {
            return;
        };
        if !self.pgdat_balanced(nid, order, highest) {
            return;
        }
        daemons.clear_hopeless();
    }

    /// Memory is no longer short in a zone of the node, without any reclaim: a
    /// hopeless node gets its background reclaim back. Where requests can go to a
    /// node behind it, none may come to reclaim here (the end of
    /// `free_frozen_page_commit`).
    #[cold]
    #[inline(never)]
    pub(in crate::buddy) fn clear_hopeless_beside_others(&self, nid: NodeId) {
        let Some(daemons) = self.zones.daemons(nid) else {
            return;
        };
        if daemons.is_hopeless() && self.has_memory_behind(nid) {
            daemons.clear_hopeless();
        }
    }

    /// Whether a node of a higher number has memory (`next_memory_node`).
    fn has_memory_behind(&self, nid: NodeId) -> bool {
        let behind = NodeMask::ALL.iter().filter(|other| other.0 > nid.0);
        let mut zones = behind.flat_map(|nid| ZoneType::ALL.map(|kind| ZoneId::new(nid, kind)));
        zones.any(|id| self.zones.zone(id).is_some_and(Zone::is_populated))
    }
}
