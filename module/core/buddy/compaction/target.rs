// SPDX-License-Identifier: GPL-2.0

//! The free scanner: takes free blocks from the zone's end backwards, for
//! blocks to be moved to.
//!
//! ```text
//! first    a look at the free lists of smaller orders, for a block in the upper
//!          quarter (or half) of what is between the scanners
//! then     page block by page block from the end, the pages inside upwards:
//!          every 32nd in a first try, all where some were found
//! until    as many pages are taken as there are to be moved
//! ```
//!
//! A block is taken only while the zone stays above its min watermark.

use super::source::is_migrate_movable;
use super::state::before;
use super::state::pageblock_end;
use super::CompactControl;
use super::CLUSTER_MAX;
use crate::buddy::migrate::MigrateMode;
use crate::buddy::migrate::Target;
use crate::buddy::stats::VmEvent;
use crate::buddy::BuddySystem;
use crate::buddy::MemMap;
use crate::buddy::ZoneTable;
use crate::page::PageState;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PfnRange;
use crate::platform::Lock;
use crate::platform::Platform;
use crate::trace;
use crate::trace::tell;
use crate::trace::TraceEvent;
use crate::trace::TracePoint;

impl<P, M, Z> CompactControl<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// Puts a block on the list of what was taken, last or first.
    pub(super) fn keep(&mut self, pfn: Pfn, order: PageOrder, last: bool) {
        let map = self.buddy.map;
        let list = self.free.get_mut(order.index());
        if let (Some(list), Some(page)) = (list, map.page(pfn)) {
            page.set_state(PageState::Pageset, order);
            page.set_count(0);
            match last {
                true => list.push_tail(map, pfn, page),
                false => list.push_head(map, pfn, page),
            }
        }
    }

    /// The first block of the smallest order that fits, off its list.
    fn take_kept(&mut self, order: PageOrder) -> Option<(Pfn, PageOrder)> {
        let map = self.buddy.map;
        PageOrder::all().filter(|&o| o >= order).find_map(|order| {
            let list = self.free.get_mut(order.index())?;
            let pfn = list.first()?;
            list.remove(map, map.page(pfn)?);
            Some((pfn, order))
        })
    }

    /// Halves a block that is off its list until it is of order `low`, and keeps the
    /// upper halves.
    fn split_kept(&mut self, pfn: Pfn, high: PageOrder, low: PageOrder) {
        let zone = self.zone;
        // With the lock held nobody walks the pages meanwhile.
        let _areas = zone.free.lock();
        if let Some(page) = self.buddy.map.page(pfn) {
            page.set_state(PageState::Pageset, low);
        }
        let mut current = high;
        while let Some(half) = current.down().filter(|&half| half >= low) {
            current = half;
            self.keep(pfn + half.pages(), half, false);
        }
    }

    /// Gives the zone back what was taken and not needed; the highest of these
    /// blocks (`release_free_list`).
    pub(super) fn release_free_list(&mut self) -> Option<Pfn> {
        let mut highest = None;
        while let Some((pfn, order)) = self.take_kept(PageOrder::ZERO) {
            highest = highest.max(Some(pfn));
            if let Some(page) = self.buddy.map.page(pfn) {
                self.buddy.tell_free(pfn, order);
                self.buddy.free_taken(pfn, page, order, None);
            }
        }
        self.nr_free = Pages::ZERO;
        highest
    }

    /// Whether blocks should be moved to this page block
    /// (`suitable_migration_target`).
    pub(super) fn suitable_target(&self, pfn: Pfn) -> bool {
        let large = match self.order {
            Some(order) if order > PageOrder::ZERO => order,
            _ => PageOrder::PAGEBLOCK,
        };
        let page = self.buddy.map.page(pfn);
        let is_large = |(state, order)| state == PageState::Buddy && order >= large;
        if page.is_some_and(|page| is_large(page.state_and_order())) {
            return false;
        }
        // Where types are not kept all page blocks are alike.
        self.ignore_block_suitable
            || self.buddy.map.is_mobility_disabled()
            || is_migrate_movable(self.buddy.migratetype_of(pfn))
    }

    /// Takes the free blocks from `start` to `end`, within one page block, until
    /// there are enough; how many pages, and where it got to
    /// (`isolate_freepages_block`). `strict`: all of it must be free, and all of
    /// it is taken; 0 otherwise.
    pub(super) fn isolate_freepages_block(
        &mut self,
        start: Pfn,
        end: Pfn,
        stride: Pages,
        strict: bool,
    ) -> (Pages, Pfn) {
        let buddy = self.buddy;
        let stride = if strict { Pages(1) } else { stride };
        let (mut scanned, mut taken) = (Pages::ZERO, Pages::ZERO);
        let mut pfn = start;
        let mut ended = false;
        while pfn < end && !ended {
            if buddy.platform.fatal_signal_pending() {
                break;
            }
            buddy.platform.cond_resched();
            // One hold of the lock for 32 pages.
            let pause = Pfn((pfn.0 / CLUSTER_MAX.0 + 1).saturating_mul(CLUSTER_MAX.0));
            let mut areas = self.zone.free.lock();
            while pfn < end.min(pause) {
                scanned += Pages(1);
                let page = buddy.map.page(pfn);
                match page.map(|page| page.state_and_order()) {
                    Some((PageState::Buddy, order)) => {
                        let mut locked = buddy.locked(self.zone, self.id, &mut areas);
                        if !locked.isolate_free_page(pfn, order) {
                            ended = true;
                            break;
                        }
                        self.keep(pfn, order, true);
                        scanned += order.pages() - Pages(1);
                        taken += order.pages();
                        self.nr_free += order.pages();
                        if !strict && self.nr_migrate <= self.nr_free {
                            pfn = pfn + order.pages();
                            ended = true;
                            break;
                        }
                        // To the end of the block, and a stride on.
                        pfn = pfn + (order.pages() - Pages(1)) + stride;
                    }
                    Some((PageState::Allocated, order)) if order > PageOrder::ZERO && !strict => {
                        let rest = order.pages() - Pages(1);
                        if pfn + order.pages() <= end {
                            scanned += rest;
                            pfn = pfn + rest;
                        }
                        pfn = pfn + stride;
                    }
                    _ if strict => {
                        ended = true;
                        break;
                    }
                    _ => pfn = pfn + stride,
                }
            }
        }
        pfn = if strict { pfn } else { pfn.min(end) };
        let range = PfnRange {
            start,
            end: pfn.min(end),
        };
        buddy.tell_isolated_free(range, scanned, taken);
        if strict && pfn < end {
            taken = Pages::ZERO;
        }
        self.free_scanned += scanned;
        buddy.count_event(VmEvent::CompactIsolated, taken.0);
        (taken, pfn)
    }

    /// Takes free blocks until there are as many pages as are to be moved, or
    /// the scanners meet (`isolate_freepages`).
    fn isolate_freepages(&mut self) {
        self.fast_isolate_freepages();
        if !self.nr_free.is_zero() {
            return;
        }
        let block = PageOrder::PAGEBLOCK.pages();
        let mut at = self.free_pfn;
        let mut start = at.align_down(PageOrder::PAGEBLOCK);
        let mut end = (start + block).min(self.zone.span.end);
        let low = pageblock_end(self.migrate_pfn);
        let mut stride = match self.mode {
            MigrateMode::Async => CLUSTER_MAX,
            _ => Pages(1),
        };
        while start >= low {
            self.buddy.platform.cond_resched();
            let use_it = self.is_of_zone(start, end)
                && self.suitable_target(start)
                && self.isolation_suitable(start);
            if use_it {
                let (taken, reached) = self.isolate_freepages_block(at, end, stride, false);
                at = reached;
                if at == end {
                    self.update_pageblock_skip(start);
                }
                if self.nr_free >= self.nr_migrate {
                    if at >= end {
                        at = before(start, block);
                    }
                    break;
                }
                if at < end {
                    break;
                }
                stride = match taken.is_zero() {
                    true => Pages((stride.0 << 1).min(CLUSTER_MAX.0)),
                    false => Pages(1),
                };
            }
            end = start;
            start = before(start, block);
            at = start;
            if end == Pfn(0) {
                break;
            }
        }
        self.free_pfn = at;
    }

    /// A page block has nothing more: it is passed over from now on, and the
    /// next free scanner starts below it (`update_pageblock_skip`).
    fn update_pageblock_skip(&self, start: Pfn) {
        if self.no_set_skip_hint {
            return;
        }
        self.set_skip(start);
        let below = before(start, PageOrder::PAGEBLOCK.pages());
        if below < self.zone.compact.cached_free_pfn() {
            self.zone.compact.set_cached_free_pfn(below);
        }
    }
}

impl<P, M, Z> BuddySystem<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// Tells that free pages of a page block were taken, of those that were looked at
    /// (`trace_mm_compaction_isolate_freepages`).
    pub(in crate::buddy) fn tell_isolated_free(
        &self,
        range: PfnRange,
        scanned: Pages,
        taken: Pages,
    ) {
        tell(
            self.platform,
            TracePoint::CompactionIsolateFreepages,
            || {
                TraceEvent::CompactionIsolateFreepages(trace::Isolated {
                    range,
                    scanned,
                    taken,
                })
            },
        );
    }
}

impl<P, M, Z> Target for CompactControl<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// A block of what was taken, split if need be (`compaction_alloc`).
    fn get(&mut self, order: PageOrder) -> Option<Pfn> {
        let found = match self.take_kept(order) {
            Some(found) => Some(found),
            None => {
                self.isolate_freepages();
                self.take_kept(order)
            }
        };
        let (pfn, current) = found?;
        if current > order {
            self.split_kept(pfn, current, order);
        }
        self.buddy.make_allocated(pfn, order);
        self.nr_free -= order.pages();
        self.nr_migrate -= order.pages();
        Some(pfn)
    }

    /// `compaction_free()`
    fn put_back(&mut self, pfn: Pfn, order: PageOrder) {
        self.buddy.poison(pfn, order);
        self.buddy.tell_free(pfn, order);
        self.keep(pfn, order, false);
        self.nr_free += order.pages();
        self.nr_migrate += order.pages();
    }
}
