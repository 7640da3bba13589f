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
use crate::buddy::migratetype::MigrateType;
use crate::buddy::stats::VmEvent;
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
    fn keep(&mut self, pfn: Pfn, order: PageOrder, last: bool) {
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

    /// Gives the zone back what was taken and not needed; the highest of these
    /// blocks (`release_free_list`).
    pub(super) fn release_free_list(&mut self) -> Option<Pfn> {
        let mut highest = None;
        while let Some((pfn, order)) = self.take_kept(PageOrder::ZERO) {
            highest = highest.max(Some(pfn));
            if let Some(page) = self.buddy.map.page(pfn) {
                self.buddy.free_taken(pfn, page, order, None);
            }
        }
        self.nr_free = Pages::ZERO;
        highest
    }

    /// Whether blocks should be moved to this page block
    /// (`suitable_migration_target`).
    fn suitable_target(&self, pfn: Pfn) -> bool {
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
        tell(
            buddy.platform,
            TracePoint::CompactionIsolateFreepages,
            || {
                TraceEvent::CompactionIsolateFreepages(trace::Isolated {
                    range: PfnRange {
                        start,
                        end: pfn.min(end),
                    },
                    scanned,
                    taken,
                })
            },
        );
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

    /// Looks at the rest of the page block that a free block was taken from
    /// (`fast_isolate_around`).
    fn fast_isolate_around(&mut self, pfn: Pfn) {
        if self.nr_free >= self.nr_migrate || (self.direct && self.mode == MigrateMode::Async) {
            return;
        }
        let start = pfn
            .align_down(PageOrder::PAGEBLOCK)
            .max(self.zone.span.start);
        let end = pageblock_end(pfn).min(self.zone.span.end);
        if !self.is_of_zone(start, end) {
            return;
        }
        let (_, reached) = self.isolate_freepages_block(start, end, Pages(1), false);
        if reached == end && !self.no_set_skip_hint {
            self.set_skip(start);
        }
    }

    /// The next order whose list is searched, round and round; -1 when all were
    /// (`next_search_order`).
    fn next_search_order(&mut self, order: i32) -> i32 {
        let top = self.order_raw() - 1;
        let next = if order < 1 { top } else { order - 1 };
        if next == self.search_order {
            self.search_order -= 1;
            if self.search_order < 0 {
                self.search_order = top;
            }
            return -1;
        }
        next
    }

    /// Takes a free block in the upper part of what is between the scanners, by
    /// way of the free lists (`fast_isolate_freepages`).
    fn fast_isolate_freepages(&mut self) {
        let Some(wanted) = self.order.filter(|&order| order > PageOrder::ZERO) else {
            return;
        };
        let block = PageOrder::PAGEBLOCK.pages();
        let state = &self.zone.compact;
        let mut limit = (self.freelist_scan_limit() >> 1).max(1);
        let scan_start = self.free_pfn >= state.init_free_pfn();
        if scan_start {
            limit = block.0 >> 1;
        }
        let distance = (self.free_pfn - self.migrate_pfn).0;
        let below = |part| before(self.free_pfn, Pages(part)).align_down(PageOrder::PAGEBLOCK);
        let (low, min) = (below(distance >> 2), below(distance >> 1));
        let mut search = Search {
            low,
            min,
            highest: Pfn(0),
            limit,
            scanned: 0,
            taken: Pages::ZERO,
        };
        self.search_order = self.search_order.min(i32::from(wanted.get()) - 1);
        let mut found = None;
        let mut order = self.search_order;
        while found.is_none() && order >= 0 {
            let current = PageOrder::new(order as u32).unwrap_or(PageOrder::ZERO);
            if self.zone.free_counts.nr_free(current) != 0 {
                let (page, failed) = self.search_free_list(current, &mut search);
                found = page;
                if failed {
                    order = self.search_order + 1;
                }
                if self.nr_free >= self.nr_migrate {
                    break;
                }
            }
            order = self.next_search_order(order);
        }
        let end = self.free_pfn;
        let (scanned, taken) = (Pages(search.scanned), search.taken);
        let point = TracePoint::CompactionFastIsolateFreepages;
        tell(self.buddy.platform, point, || {
            TraceEvent::CompactionFastIsolateFreepages(trace::Isolated {
                range: PfnRange { start: min, end },
                scanned,
                taken,
            })
        });
        let mut around = found;
        if found.is_none() {
            self.fast_search_fail = self.fast_search_fail.saturating_add(1);
            if scan_start && search.highest >= min {
                around = Some(search.highest);
                self.free_pfn = search.highest;
            } else if scan_start && self.direct && self.buddy.map.page(min).is_some() {
                let end = pageblock_end(min).min(self.zone.span.end);
                let ok = self.is_of_zone(min, end) && self.suitable_target(min);
                around = ok.then_some(min);
                self.free_pfn = min;
            }
        }
        let state = &self.zone.compact;
        if search.highest != Pfn(0) && search.highest >= state.cached_free_pfn() {
            state.set_cached_free_pfn(before(search.highest, block));
        }
        self.free_scanned += Pages(search.scanned);
        if let Some(pfn) = around {
            self.fast_isolate_around(pfn);
        }
    }

    /// Looks through one list from its end; the block that was taken, and
    /// whether the watermark forbade it.
    fn search_free_list(&mut self, order: PageOrder, search: &mut Search) -> (Option<Pfn>, bool) {
        let buddy = self.buddy;
        let map = buddy.map;
        let mut areas = self.zone.free.lock();
        let list = areas.list_mut(order, MigrateType::Movable);
        let (mut order_scanned, mut candidate) = (0u64, Pfn(0));
        let (mut found, mut rotate) = (None, None);
        let mut next = list.last();
        let mut left = self.zone.free_counts.nr_free(order);
        while let Some(pfn) = next.filter(|_| left != 0) {
            left -= 1;
            order_scanned += 1;
            search.scanned += 1;
            if pfn >= search.highest {
                let start = pfn.align_down(PageOrder::PAGEBLOCK);
                search.highest = start.max(self.zone.span.start);
            }
            if pfn >= search.low {
                self.fast_search_fail = 0;
                self.search_order = i32::from(order.get());
                found = Some(pfn);
                rotate = found;
                break;
            }
            if pfn >= search.min && pfn > candidate {
                candidate = pfn;
                search.limit >>= 1;
            }
            if order_scanned >= search.limit {
                rotate = Some(pfn);
                break;
            }
            next = map.page(pfn).and_then(|page| page.prev());
        }
        if found.is_none() && candidate != Pfn(0) {
            found = Some(candidate);
            rotate = found;
        }
        // The next search looks at others first.
        if let Some(pfn) = rotate {
            list.rotate_to_head(map, pfn);
        }
        let mut failed = false;
        if let Some(pfn) = found {
            let mut locked = buddy.locked(self.zone, self.id, &mut areas);
            if locked.isolate_free_page(pfn, order) {
                self.keep(pfn, order, true);
                search.scanned += order.pages().0 - 1;
                search.taken += order.pages();
                self.nr_free += order.pages();
                buddy.count_event(VmEvent::CompactIsolated, order.pages().0);
            } else {
                found = None;
                failed = true;
            }
        }
        drop(areas);
        if order_scanned >= search.limit && self.nr_free < self.nr_migrate {
            search.limit = (search.limit >> 1).max(1);
        }
        (found, failed)
    }
}

/// A search of the free lists.
struct Search {
    /// From here on a block is what is wanted.
    low: Pfn,
    /// From here on it will do.
    min: Pfn,
    /// The highest page block that was seen.
    highest: Pfn,
    limit: u64,
    scanned: u64,
    taken: Pages,
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
        let (pfn, mut current) = found?;
        while current > order {
            let Some(half) = current.down() else { break };
            current = half;
            self.keep(pfn + half.pages(), half, false);
        }
        self.buddy.make_allocated(pfn, order);
        self.nr_free -= order.pages();
        self.nr_migrate -= order.pages();
        Some(pfn)
    }

    /// `compaction_free()`
    fn put_back(&mut self, pfn: Pfn, order: PageOrder) {
        self.keep(pfn, order, false);
        self.nr_free += order.pages();
        self.nr_migrate += order.pages();
    }
}
