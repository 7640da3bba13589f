// SPDX-License-Identifier: GPL-2.0

//! Background compaction of one node (`kcompactd`): for an order that was asked
//! for, or, twice a second, because the node is too fragmented. Where nobody wants that
//! (`compaction_proactiveness` is 0), it sleeps until it is woken.
//!
//! ```text
//! wakeup_kcompactd(order)  ---> step: compact each zone for that order
//! 500 ms have passed       ---> step: score above 90 of 100? compact all zones
//!                               until their scores are 80; no better? in 32 s
//! the knob is turned       ---> step: the same at once
//! ```

use super::CompactControl;
use super::CompactResult;
use crate::buddy::gfp;
use crate::buddy::reclaim::daemons::order_of;
use crate::buddy::reclaim::daemons::zone_of;
use crate::buddy::stats::VmEvent;
use crate::buddy::watermark_ok::AllocFlags;
use crate::buddy::BuddySystem;
use crate::buddy::Daemons;
use crate::buddy::MemMap;
use crate::buddy::Rest;
use crate::buddy::ZoneTable;
use crate::page::ZoneId;
use crate::page::ZoneType;
use crate::phys::NodeId;
use crate::phys::PageOrder;
use crate::platform::Platform;
use crate::trace::tell;
use crate::trace::TraceEvent;
use crate::trace::TracePoint;
use crate::trace::Wakeup;
use crate::tunables::Tunable;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::SeqCst;

/// How often fragmentation is looked at, in milliseconds
/// (`HPAGE_FRAG_CHECK_INTERVAL_MSEC`).
const CHECK_MS: u64 = 500;

/// One node's background compaction, as its thread keeps it from step to step.
#[derive(Debug)]
pub struct Kcompactd {
    nid: NodeId,
    started: bool,
}

impl Kcompactd {
    /// That of node `nid`.
    pub const fn new(nid: NodeId) -> Self {
        Self {
            nid,
            started: false,
        }
    }

    /// What is to be done now, and how to rest after it (a turn of the loop of
    /// `kcompactd`).
    pub fn step<P, M, Z>(&mut self, buddy: &BuddySystem<'_, P, M, Z>) -> Rest
    where
        P: Platform,
        M: MemMap,
        Z: ZoneTable<P>,
    {
        let nid = self.nid;
        let Some(daemons) = buddy.zones.daemons(nid) else {
            return Rest::UntilWoken;
        };
        daemons.kcompactd_waits.store(false, SeqCst);
        let mut timeout = CHECK_MS;
        // A thread that begins sleeps first, unless somebody asks.
        if self.started {
            let trigger = daemons.proactive_compact_trigger.load(Relaxed);
            if daemons.kcompactd_max_order.load(Relaxed) != 0 && !trigger {
                buddy.kcompactd_do_work(nid, daemons);
            } else if buddy.should_proactive_compact(nid, daemons) {
                let before = buddy.fragmentation_score_node(nid);
                buddy.compact_node_mode(nid, true);
                if buddy.fragmentation_score_node(nid) >= before {
                    timeout = CHECK_MS << super::state::MAX_DEFER_SHIFT;
                }
            }
            if trigger {
                // Whoever found it set has turned the knob before, which is seen below.
                daemons.proactive_compact_trigger.swap(false, SeqCst);
            }
        }
        self.started = true;
        tell(buddy.platform, TracePoint::CompactionKcompactdSleep, || {
            TraceEvent::CompactionKcompactdSleep { nid }
        });
        daemons.kcompactd_waits.store(true, SeqCst);
        // Who asked in between found nobody waiting (`kcompactd_work_requested`).
        let asked = daemons.kcompactd_max_order.load(SeqCst) != 0
            || daemons.proactive_compact_trigger.load(SeqCst);
        match buddy.zones.tunable(Tunable::CompactionProactiveness) {
            _ if asked => Rest::No,
            0 => Rest::UntilWoken,
            _ => Rest::Nap(timeout),
        }
    }
}

impl<P, M, Z> BuddySystem<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// Tells kcompactd that a block of `order` was wanted, if it could do
    /// something about it (`wakeup_kcompactd`).
    pub(in crate::buddy) fn wakeup_kcompactd(
        &self,
        nid: NodeId,
        order: PageOrder,
        highest: ZoneType,
    ) {
        let Some(daemons) = self.zones.daemons(nid) else {
            return;
        };
        if order == PageOrder::ZERO || self.platform.owners().is_none() {
            return;
        }
        daemons.kcompactd_max_order.fetch_max(order.get(), SeqCst);
        daemons.kcompactd_highest.fetch_min(highest as u8, Relaxed);
        if !daemons.kcompactd_waits.load(SeqCst) || !self.kcompactd_node_suitable(nid, daemons) {
            return;
        }
        self.trace_wakeup(nid, Some(order), highest);
        self.platform.wake_kcompactd(nid);
    }

    /// Has kcompactd look at the node's fragmentation now, as a write to
    /// `compaction_proactiveness` does.
    pub fn trigger_proactive_compaction(&self, nid: NodeId) {
        if let Some(daemons) = self.zones.daemons(nid) {
            if !daemons.proactive_compact_trigger.swap(true, SeqCst) {
                self.trace_wakeup(nid, None, ZoneType::Movable);
                self.platform.wake_kcompactd(nid);
            }
        }
    }

    fn trace_wakeup(&self, nid: NodeId, order: Option<PageOrder>, highest: ZoneType) {
        tell(self.platform, TracePoint::CompactionWakeupKcompactd, || {
            TraceEvent::CompactionWakeupKcompactd(Wakeup {
                nid,
                order,
                highest,
            })
        });
    }

    /// Compacts the node's zones so that a block of the order asked for can be
    /// had from each (`kcompactd_do_work`).
    fn kcompactd_do_work(&self, nid: NodeId, daemons: &Daemons) {
        let order = order_of(daemons.kcompactd_max_order.load(Relaxed));
        let highest = zone_of(daemons.kcompactd_highest.load(Relaxed));
        let highest = highest.unwrap_or(ZoneType::Movable);
        tell(self.platform, TracePoint::CompactionKcompactdWake, || {
            TraceEvent::CompactionKcompactdWake(Wakeup {
                nid,
                order: Some(order),
                highest,
            })
        });
        self.count_event(VmEvent::CompactDaemonWake, 1);
        let mut before: Option<CompactControl<'_, P, M, Z>> = None;
        for kind in ZoneType::ALL.into_iter().filter(|&kind| kind <= highest) {
            let id = ZoneId::new(nid, kind);
            let Some(zone) = self.zone_of(id).filter(|zone| zone.is_populated()) else {
                continue;
            };
            if self.compaction_deferred(zone, id, order) {
                continue;
            }
            let flags = AllocFlags::WMARK_MIN;
            let suit = self.suit_allocation_order(zone, order, kind, flags, false);
            if suit != CompactResult::Continue {
                continue;
            }
            if self.platform.fatal_signal_pending() {
                return;
            }
            let mut cc = CompactControl::new(*self, zone, gfp::GFP_KERNEL, Some(order));
            cc.highest = highest;
            if let Some(before) = &before {
                cc.take_over(before);
            }
            match cc.compact_zone() {
                CompactResult::Success => self.compaction_defer_reset(zone, id, order, false),
                CompactResult::PartialSkipped | CompactResult::Complete => {
                    // Pages that would make a larger block may be a CPU's.
                    self.drain_zone(id);
                    self.defer_compaction(zone, id, order);
                }
                _ => {}
            }
            let (migrate, free) = (cc.migrate_scanned.0, cc.free_scanned.0);
            self.count_event(VmEvent::CompactDaemonMigrateScanned, migrate);
            self.count_event(VmEvent::CompactDaemonFreeScanned, free);
            before = Some(cc);
        }
        // What was asked for meanwhile and is larger stays.
        let max = &daemons.kcompactd_max_order;
        // In one step: it may come at this moment, and its asker find nobody waiting.
        let _ = max.compare_exchange(order.get(), 0, Relaxed, Relaxed);
        let limit = &daemons.kcompactd_highest;
        let all = |now: u8| (now >= highest as u8).then_some(ZoneType::Movable as u8);
        let _ = limit.fetch_update(Relaxed, Relaxed, all);
    }
}
