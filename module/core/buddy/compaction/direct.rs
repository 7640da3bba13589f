// SPDX-License-Identifier: GPL-2.0

//! Who compacts: a request its zones, one after the other; or somebody a whole
//! node (`/proc/sys/vm/compact_memory`).

use super::state;
use super::CompactControl;
use super::CompactPriority;
use super::CompactResult;
use crate::buddy::alloc::AllocContext;
use crate::buddy::gfp;
use crate::buddy::gfp::Gfp;
use crate::buddy::migrate::MigrateMode;
use crate::buddy::slowpath::can_compact;
use crate::buddy::stats::VmEvent;
use crate::buddy::watermark_ok::AllocFlags;
use crate::buddy::BuddySystem;
use crate::buddy::MemMap;
use crate::buddy::ZoneTable;
use crate::nodemask::NodeMask;
use crate::page::ZoneId;
use crate::page::ZoneType;
use crate::phys::NodeId;
use crate::phys::PageOrder;
use crate::platform::Platform;
use crate::trace::tell;
use crate::trace::TraceEvent;
use crate::trace::TracePoint;
use crate::zone::Watermark;
use crate::zone::Zone;

impl<'a, P, M, Z> BuddySystem<'a, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// Compacts the zones that a request may use, until one should serve it
    /// (`try_to_compact_pages`).
    pub(in crate::buddy) fn try_to_compact_pages(
        &self,
        context: &AllocContext<'_, P>,
        gfp: Gfp,
        flags: AllocFlags,
        nodes: Option<NodeMask>,
        prio: CompactPriority,
    ) -> CompactResult {
        let mut result = CompactResult::Skipped;
        // Nothing would move where nobody is asked.
        if !can_compact(gfp) || self.platform.owners().is_none() {
            return result;
        }
        let order = context.order;
        tell(
            self.platform,
            TracePoint::CompactionTryToCompactPages,
            || TraceEvent::CompactionTryToCompactPages {
                order,
                gfp,
                priority: prio as u32,
            },
        );
        for zref in context.zonelist.iter(context.highest) {
            if nodes.is_some_and(|nodes| !nodes.contains(zref.nid())) {
                continue;
            }
            let id = ZoneId::new(zref.nid(), zref.kind());
            let Some(zone) = self.zone_of(id) else {
                continue;
            };
            if prio > CompactPriority::SyncFull && self.compaction_deferred(zone, id, order) {
                result = result.max(CompactResult::Deferred);
                continue;
            }
            let full = prio == CompactPriority::SyncFull;
            let mut cc = CompactControl::new(*self, zone, gfp, Some(order));
            cc.mode = match prio {
                CompactPriority::Async => MigrateMode::Async,
                _ => MigrateMode::SyncLight,
            };
            cc.flags = flags;
            cc.highest = context.highest;
            cc.direct = true;
            cc.whole_zone = full;
            cc.ignore_skip_hint |= full;
            cc.ignore_block_suitable = full;
            let status = cc.compact_zone();
            result = result.max(status);
            match status {
                CompactResult::Success => {
                    self.compaction_defer_reset(zone, id, order, false);
                    break;
                }
                CompactResult::Complete | CompactResult::PartialSkipped
                    if prio != CompactPriority::Async =>
                {
                    self.defer_compaction(zone, id, order);
                }
                _ => {}
            }
            let is_async = prio == CompactPriority::Async;
            if (is_async && self.platform.need_resched()) || self.platform.fatal_signal_pending() {
                break;
            }
        }
        result
    }

    /// Whether reclaim could make one of the zones suitable for compaction
    /// (`compaction_zonelist_suitable`).
    pub(in crate::buddy) fn compaction_zonelist_suitable(
        &self,
        context: &AllocContext<'_, P>,
        nodes: Option<NodeMask>,
    ) -> bool {
        let order = context.order;
        let mut zones = context.zonelist.iter(context.highest);
        zones.any(|zref| {
            if nodes.is_some_and(|nodes| !nodes.contains(zref.nid())) {
                return false;
            }
            let id = ZoneId::new(zref.nid(), zref.kind());
            let share = self.reclaimable_pages(id).0 / u64::from(order.get().max(1));
            let free = zref.zone.free_counts.free_pages() + crate::phys::Pages(share);
            let mark = zref.zone.wmark(Watermark::Min);
            Self::has_room_to_compact(zref.zone, order, mark, context.highest, free)
        })
    }

    /// Compacts all zones of a node, as far as that goes (`compact_node`).
    /// `proactive`: until each is fragmented little enough.
    pub(super) fn compact_node_mode(&self, nid: NodeId, proactive: bool) {
        if self.platform.owners().is_none() {
            return;
        }
        for id in ZoneType::ALL.map(|kind| ZoneId::new(nid, kind)) {
            let Some(zone) = self.zone_of(id).filter(|zone| zone.is_populated()) else {
                continue;
            };
            if self.platform.fatal_signal_pending() {
                return;
            }
            let mut cc = CompactControl::new(*self, zone, gfp::GFP_KERNEL, None);
            cc.mode = match proactive {
                true => MigrateMode::SyncLight,
                false => MigrateMode::Sync,
            };
            cc.ignore_skip_hint = true;
            cc.whole_zone = true;
            cc.proactive = proactive;
            cc.compact_zone();
            if proactive {
                let (migrate, free) = (cc.migrate_scanned.0, cc.free_scanned.0);
                self.count_event(VmEvent::CompactDaemonMigrateScanned, migrate);
                self.count_event(VmEvent::CompactDaemonFreeScanned, free);
            }
        }
    }

    /// Compacts all zones of a node, as far as that goes: what writing to
    /// `/sys/devices/system/node/nodeN/compact` does (`compact_node`).
    pub fn compact_node(&self, nid: NodeId) {
        self.compact_node_mode(nid, false);
    }

    /// A zone, for as long as the zones live.
    pub(super) fn zone_of(&self, id: ZoneId) -> Option<&'a Zone<P>> {
        let zones: &'a Z = self.zones;
        zones.zone(id)
    }

    /// Clears the marks of a node's page blocks, if its zones were compacted as a
    /// whole (`reset_isolation_suitable`).
    pub(in crate::buddy) fn reset_isolation_suitable(&self, nid: NodeId) {
        for id in ZoneType::ALL.map(|kind| ZoneId::new(nid, kind)) {
            if let Some(zone) = self.zone_of(id).filter(|zone| zone.is_populated()) {
                self.reset_isolation_suitable_zone(zone, id);
            }
        }
    }

    /// The same for one zone (`__reset_isolation_suitable`).
    pub(super) fn reset_isolation_suitable_zone(&self, zone: &Zone<P>, id: ZoneId) {
        state::reset_isolation_suitable(self.map, zone, id, || self.platform.cond_resched());
    }

    /// See [`state::CompactState::is_deferred`].
    pub(super) fn compaction_deferred(&self, zone: &Zone<P>, id: ZoneId, order: PageOrder) -> bool {
        let deferred = zone.compact.is_deferred(order);
        if deferred {
            tell(self.platform, TracePoint::CompactionDeferred, || {
                TraceEvent::CompactionDeferred(zone.compact.deferral(id, order))
            });
        }
        deferred
    }

    /// See [`state::CompactState::defer`].
    pub(super) fn defer_compaction(&self, zone: &Zone<P>, id: ZoneId, order: PageOrder) {
        zone.compact.defer(order);
        tell(self.platform, TracePoint::CompactionDeferCompaction, || {
            TraceEvent::CompactionDeferCompaction(zone.compact.deferral(id, order))
        });
    }

    /// See [`state::CompactState::defer_reset`].
    pub(in crate::buddy) fn compaction_defer_reset(
        &self,
        zone: &Zone<P>,
        id: ZoneId,
        order: PageOrder,
        alloc_success: bool,
    ) {
        zone.compact.defer_reset(order, alloc_success);
        tell(self.platform, TracePoint::CompactionDeferReset, || {
            TraceEvent::CompactionDeferReset(zone.compact.deferral(id, order))
        });
    }
}
