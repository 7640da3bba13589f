// SPDX-License-Identifier: GPL-2.0

//! Whether a request that got nothing is worth another turn: by reclaim, by
//! compaction, harder, or not at all.

use super::Turns;
use super::COSTLY_ORDER;
use crate::buddy::alloc::AllocContext;
use crate::buddy::compaction::CompactPriority;
use crate::buddy::compaction::CompactResult;
use crate::buddy::reclaim::MAX_RECLAIM_RETRIES;
use crate::buddy::system::BuddySystem;
use crate::buddy::watermark_ok::zone_watermark_ok_with;
use crate::buddy::watermark_ok::AllocFlags;
use crate::buddy::MemMap;
use crate::buddy::ZoneTable;
use crate::nodemask::NodeMask;
use crate::page::ZoneId;
use crate::phys::PageOrder;
use crate::platform::Platform;
use crate::zone::Watermark;

/// How often a request repeats a compaction that went well without getting a
/// block (`MAX_COMPACT_RETRIES`).
const MAX_COMPACT_RETRIES: u32 = 16;

impl<P, M, Z> BuddySystem<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// Whether reclaiming again could help: if all there is to reclaim would
    /// do, or page blocks kept for urgent requests can be let go
    /// (`should_reclaim_retry`).
    pub(super) fn should_reclaim_retry(
        &self,
        context: &AllocContext<'_, P>,
        flags: AllocFlags,
        nodes: Option<NodeMask>,
        turns: &mut Turns,
    ) -> bool {
        let order = context.order;
        if turns.did_some_progress && order.get() <= COSTLY_ORDER {
            turns.no_progress_loops = 0;
        } else {
            turns.no_progress_loops += 1;
        }
        let would_do = turns.no_progress_loops <= MAX_RECLAIM_RETRIES
            && context.zonelist.iter(context.highest).any(|zref| {
                if nodes.is_some_and(|nodes| !nodes.contains(zref.nid())) {
                    return false;
                }
                let zone = zref.zone;
                let id = ZoneId::new(zref.nid(), zref.kind());
                let counts = &zone.free_counts;
                let available = self.reclaimable_pages(id) + counts.free_pages();
                let mark = zone.wmark(Watermark::Min);
                let reserve = zone.lowmem_reserve(context.highest);
                zone_watermark_ok_with(counts, available, order, mark, reserve, flags)
            });
        self.platform.cond_resched();
        would_do || self.unreserve_highatomic(context, nodes, true)
    }

    /// Whether compacting again could help, perhaps harder
    /// (`should_compact_retry`).
    pub(super) fn should_compact_retry(
        &self,
        context: &AllocContext<'_, P>,
        nodes: Option<NodeMask>,
        turns: &mut Turns,
    ) -> bool {
        let order = context.order;
        if order == PageOrder::ZERO || self.platform.fatal_signal_pending() {
            return false;
        }
        let costly = order.get() > COSTLY_ORDER;
        match turns.compact_result {
            // There was nowhere to move blocks to.
            CompactResult::Skipped => return self.compaction_zonelist_suitable(context, nodes),
            // A block was made, and somebody else got it.
            CompactResult::Success => {
                let max = match costly {
                    true => MAX_COMPACT_RETRIES / 4,
                    false => MAX_COMPACT_RETRIES,
                };
                turns.compaction_retries += 1;
                if turns.compaction_retries <= max {
                    return true;
                }
            }
            _ => {}
        }
        let harder = match turns.compact_priority {
            CompactPriority::Async => CompactPriority::SyncLight,
            CompactPriority::SyncLight if !costly => CompactPriority::SyncFull,
            _ => return false,
        };
        turns.compact_priority = harder;
        turns.compaction_retries = 0;
        true
    }
}
