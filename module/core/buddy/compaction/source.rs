// SPDX-License-Identifier: GPL-2.0

//! The migrate scanner: finds movable blocks from the zone's start on and takes
//! them off their owners.
//!
//! ```text
//! page block    skip? of another type? filled by one block?   -> the next one
//!   page        free: past it | allocated and movable: isolate | other: past it
//!   until       32 pages are taken, or the page block ends
//! ```
//!
//! A request's first try (async) gives up on an aligned block of its order as
//! soon as one page of it can't be moved: that block will not be free.

use super::state::before;
use super::state::pageblock_end;
use super::state::skips_for_ever;
use super::CompactControl;
use super::CLUSTER_MAX;
use crate::buddy::migrate::MigrateMode;
use crate::buddy::migratetype::MigrateType;
use crate::buddy::stats::VmEvent;
use crate::buddy::watermark_ok::AllocFlags;
use crate::buddy::MemMap;
use crate::buddy::ZoneTable;
use crate::page::PageState;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PfnRange;
use crate::platform::Platform;
use crate::trace;
use crate::trace::tell;
use crate::trace::TraceEvent;
use crate::trace::TracePoint;

/// What the scanner came back with (`isolate_migrate_t`).
pub(super) enum Isolated {
    Abort,
    Nothing,
    Some,
}

impl<P, M, Z> CompactControl<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// Whether a page block was not marked to be passed over
    /// (`isolation_suitable`).
    pub(super) fn isolation_suitable(&self, pfn: Pfn) -> bool {
        let skip = || self.buddy.map.pageblock(pfn).is_some_and(|b| b.skip());
        self.ignore_skip_hint || !skip()
    }

    /// Marks a page block to be passed over.
    pub(super) fn set_skip(&self, pfn: Pfn) {
        if let Some(block) = self.buddy.map.pageblock(pfn) {
            block.set_skip(true);
        }
    }

    /// The next migrate scanner starts behind `pfn`'s page block
    /// (`update_cached_migrate`).
    fn update_cached_migrate(&self, pfn: Pfn) {
        if self.no_set_skip_hint {
            return;
        }
        let pfn = pageblock_end(pfn);
        let state = &self.zone.compact;
        if pfn > state.cached_migrate_pfn(false) {
            state.set_cached_migrate_pfn(false, pfn);
        }
        if self.mode != MigrateMode::Async && pfn > state.cached_migrate_pfn(true) {
            state.set_cached_migrate_pfn(true, pfn);
        }
    }

    /// Whether the part of a page block belongs to the zone
    /// (`pageblock_pfn_to_page`).
    pub(super) fn is_of_zone(&self, start: Pfn, end: Pfn) -> bool {
        let ours = |pfn| {
            let page = self.buddy.map.page(pfn);
            page.is_some_and(|page| page.state() != PageState::Hole && page.zone_id() == self.id)
        };
        ours(start) && ours(before(end, Pages(1)))
    }

    /// Whether blocks of this page block should be moved
    /// (`suitable_migration_source`): for a first try, only those of the
    /// request's own type.
    fn suitable_source(&self, pfn: Pfn) -> bool {
        if skips_for_ever(self.buddy.map, pfn) {
            return false;
        }
        if !self.direct {
            return true;
        }
        let mt = self.buddy.migratetype_of(pfn);
        if mt == MigrateType::Cma && !self.flags.has(AllocFlags::CMA) {
            return false;
        }
        if self.mode != MigrateMode::Async {
            return true;
        }
        let whole = self
            .order
            .is_some_and(|order| order >= PageOrder::PAGEBLOCK);
        match self.migratetype == MigrateType::Movable || whole {
            true => is_migrate_movable(mt),
            false => mt == self.migratetype,
        }
    }

    /// Takes the movable blocks of the next page block that is worth it
    /// (`isolate_migratepages`).
    pub(super) fn isolate_migratepages(&mut self) -> Isolated {
        let mut low = self.fast_find_migrateblock();
        let mut fast = low != self.migrate_pfn && self.fast_search_fail == 0;
        let mut start = low
            .align_down(PageOrder::PAGEBLOCK)
            .max(self.zone.span.start);
        let mut end = pageblock_end(low);
        while end <= self.free_pfn {
            self.buddy.platform.cond_resched();
            let first = low.is_aligned(PageOrder::PAGEBLOCK) || low == self.zone.span.start;
            let marked = first && !fast && !self.isolation_suitable(low);
            if self.is_of_zone(start, end) && !marked {
                if self.suitable_source(start) {
                    if !self.isolate_migratepages_block(low, end) {
                        return Isolated::Abort;
                    }
                    break;
                }
                self.update_cached_migrate(end);
            }
            fast = false;
            low = end;
            self.migrate_pfn = end;
            start = end;
            end = end + PageOrder::PAGEBLOCK.pages();
        }
        match self.nr_migrate.is_zero() {
            true => Isolated::Nothing,
            false => Isolated::Some,
        }
    }

    /// Whether a block of this order is not worth moving
    /// (`skip_isolation_on_order`).
    fn skips_order(&self, order: PageOrder) -> bool {
        self.order.is_some_and(|wanted| order >= wanted) || order >= PageOrder::PAGEBLOCK
    }

    /// Takes the movable blocks from `low` to `end`, within one page block;
    /// `false` when the caller is about to be killed
    /// (`isolate_migratepages_block`). The scanner's place is where it got to.
    pub(super) fn isolate_migratepages_block(&mut self, start: Pfn, end: Pfn) -> bool {
        let buddy = self.buddy;
        let mut low = start;
        self.migrate_pfn = low;
        // In a first try, where the aligned block of the order ends that is
        // being cleared.
        let clearing = match self.mode {
            MigrateMode::Async if self.direct => self.order,
            _ => None,
        };
        let mut next_skip = clearing.map_or(Pfn(0), |order| low.align_down(order) + order.pages());
        let (mut scanned, mut isolated) = (Pages::ZERO, Pages::ZERO);
        let mut valid = None;
        let mut skip_updated = false;
        while low < end {
            if let Some(order) = clearing.filter(|_| low >= next_skip) {
                if !isolated.is_zero() {
                    break;
                }
                next_skip = low.align_down(order) + order.pages();
            }
            if low.0 % CLUSTER_MAX.0 == 0 {
                if buddy.platform.fatal_signal_pending() {
                    self.end_of_block(scanned, isolated, low);
                    return false;
                }
                buddy.platform.cond_resched();
            }
            scanned += Pages(1);
            let first = low.is_aligned(PageOrder::PAGEBLOCK) || low == self.zone.span.start;
            if valid.is_none() && first {
                if !self.isolation_suitable(low) {
                    low = end;
                    break;
                }
                valid = Some(low);
            }
            let (state, order, page) = match buddy.map.page(low) {
                Some(page) => {
                    let (state, order) = page.state_and_order();
                    (state, order, Some(page))
                }
                None => (PageState::Hole, PageOrder::ZERO, None),
            };
            let rest = order.pages() - Pages(1);
            if state == PageState::Buddy {
                scanned += rest;
                low = low + order.pages();
                continue;
            }
            let mut step = Pages(1);
            let mut taken = false;
            if let Some(page) = page.filter(|_| state == PageState::Allocated) {
                let fits =
                    self.alloc_contig || order == PageOrder::ZERO || !self.skips_order(order);
                if !fits {
                    step = order.pages();
                    scanned += rest;
                } else if buddy.isolate_movable(low, page, order, self.mode, &mut self.migrate) {
                    if let Some(valid) = valid.filter(|_| !skip_updated) {
                        skip_updated = true;
                        if self.test_and_set_skip(valid) && !self.finish_pageblock {
                            // Another is at work in this page block.
                            self.put_last_back();
                            low = end;
                            break;
                        }
                    }
                    taken = true;
                    step = order.pages();
                }
            }
            if taken {
                self.nr_migrate += step;
                isolated += step;
                scanned += rest;
                low = low + step;
                if self.nr_migrate >= CLUSTER_MAX && !self.finish_pageblock {
                    break;
                }
                continue;
            }
            low = low + step;
            let Some(order) = clearing else {
                continue;
            };
            // The aligned block will not be free: what was taken of it goes
            // back, and the rest is passed over.
            if !isolated.is_zero() {
                buddy.putback_movable(&mut self.migrate);
                self.nr_migrate = Pages::ZERO;
                isolated = Pages::ZERO;
            }
            if before(low, Pages(1)) < next_skip {
                low = next_skip;
                next_skip = next_skip + order.pages();
            }
        }
        low = low.min(end);
        if low == end && (isolated.is_zero() || self.finish_pageblock) {
            if let Some(valid) = valid.filter(|_| !skip_updated && !self.no_set_skip_hint) {
                self.set_skip(valid);
            }
            self.update_cached_migrate(low);
        }
        tell(
            buddy.platform,
            TracePoint::CompactionIsolateMigratepages,
            || {
                TraceEvent::CompactionIsolateMigratepages(trace::Isolated {
                    range: PfnRange { start, end: low },
                    scanned,
                    taken: isolated,
                })
            },
        );
        self.end_of_block(scanned, isolated, low);
        true
    }

    fn end_of_block(&mut self, scanned: Pages, isolated: Pages, low: Pfn) {
        self.migrate_scanned += scanned;
        self.migrate_pfn = low;
        self.buddy.count_event(VmEvent::CompactIsolated, isolated.0);
    }

    /// The block that was taken last goes back to its owner.
    fn put_last_back(&mut self) {
        let map = self.buddy.map;
        let mut last = crate::buddy::list::PageList::NEW;
        if let Some(pfn) = self.migrate.first() {
            if let Some(page) = map.page(pfn) {
                self.migrate.remove(map, page);
                last.push_head(map, pfn, page);
            }
        }
        self.buddy.putback_movable(&mut last);
    }

    /// Marks a page block to be passed over by others; whether it was
    /// (`test_and_set_skip`).
    fn test_and_set_skip(&self, pfn: Pfn) -> bool {
        if self.ignore_skip_hint {
            return false;
        }
        let Some(block) = self.buddy.map.pageblock(pfn) else {
            return false;
        };
        let skip = block.skip();
        if !skip && !self.no_set_skip_hint {
            block.set_skip(true);
        }
        skip
    }
}

/// Whether blocks of this type are for movable pages (`is_migrate_movable`).
pub(super) fn is_migrate_movable(mt: MigrateType) -> bool {
    matches!(mt, MigrateType::Movable | MigrateType::Cma)
}
