// SPDX-License-Identifier: GPL-2.0

//! When a compaction is done.

use super::CompactControl;
use super::CompactResult;
use crate::buddy::fallback::would_serve;
use crate::buddy::BuddySystem;
use crate::buddy::Daemons;
use crate::buddy::MemMap;
use crate::buddy::ZoneTable;
use crate::phys::PageOrder;
use crate::platform::Platform;
use crate::trace::tell;
use crate::trace::Suitability;
use crate::trace::TraceEvent;
use crate::trace::TracePoint;

impl<P, M, Z> CompactControl<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// Whether it is done (`compact_finished`).
    pub(super) fn compact_finished(&self) -> CompactResult {
        let ret = self.look_whether_finished();
        let buddy = &self.buddy;
        tell(buddy.platform, TracePoint::CompactionFinished, || {
            TraceEvent::CompactionFinished(Suitability {
                zone: self.id,
                order: self.order,
                result: ret,
            })
        });
        match ret {
            CompactResult::NoSuitablePage => CompactResult::Continue,
            ret => ret,
        }
    }

    /// `__compact_finished()`
    fn look_whether_finished(&self) -> CompactResult {
        if self.scanners_met() {
            self.zone.compact.reset_cached_positions(self.zone.span);
            if self.direct {
                self.zone.compact.set_blockskip_flush(true);
            }
            return match self.whole_zone {
                true => CompactResult::Complete,
                false => CompactResult::PartialSkipped,
            };
        }
        let mut ret = CompactResult::Continue;
        if self.proactive {
            let works = |daemons: &Daemons| daemons.kswapd_is_running();
            if self.buddy.zones.daemons(self.zone.nid).is_some_and(works) {
                return CompactResult::PartialSkipped;
            }
            let score = BuddySystem::<P, M, Z>::fragmentation_score_zone(self.zone);
            if score <= self.buddy.fragmentation_score_wmark(true) {
                ret = CompactResult::Success;
            }
        } else if let Some(order) = self.order {
            // The page block that was begun is finished, so that no other has
            // to be spoilt soon.
            if !self.migrate_pfn.is_aligned(PageOrder::PAGEBLOCK) {
                return CompactResult::Continue;
            }
            let counts = &self.zone.free_counts;
            let disabled = self.buddy.map.is_mobility_disabled();
            if would_serve(counts, disabled, order, self.migratetype) {
                return CompactResult::Success;
            }
            ret = CompactResult::NoSuitablePage;
        } else {
            return CompactResult::Continue;
        }
        match self.buddy.platform.fatal_signal_pending() {
            true => CompactResult::Contended,
            false => ret,
        }
    }
}
