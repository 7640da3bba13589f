// SPDX-License-Identifier: GPL-2.0

//! Both scanners' short cuts: the zone's free lists say where free memory is.
//!
//! ```text
//! migrate  a page block near the scanner that has large free blocks already, so
//!          that less has to move (for costly orders)
//! free     a free block in the upper quarter, or at least the upper half, of what
//!          is between the scanners
//! ```
//!
//! How many blocks are looked at halves with each search in vain. A list is turned
//! so that the next search looks at others first; what is given out next changes
//! with that, as it does in Linux.

use super::state::before;
use super::state::pageblock_end;
use super::CompactControl;
use super::CLUSTER_MAX;
use crate::buddy::migrate::MigrateMode;
use crate::buddy::migratetype::MigrateType;
use crate::buddy::slowpath::COSTLY_ORDER;
use crate::buddy::stats::VmEvent;
use crate::buddy::MemMap;
use crate::buddy::ZoneTable;
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
    /// How many blocks of the free lists are looked at
    /// (`freelist_scan_limit`).
    fn freelist_scan_limit(&self) -> u64 {
        (CLUSTER_MAX.0 >> self.fast_search_fail.min(63)) + 1
    }

    /// The lowest page block found so, once (`reinit_migrate_pfn`).
    fn reinit_migrate_pfn(&mut self) -> Pfn {
        if self.fast_start != Pfn(0) && self.fast_start != Pfn(u64::MAX) {
            self.migrate_pfn = self.fast_start;
            self.fast_start = Pfn(u64::MAX);
        }
        self.migrate_pfn
    }

    /// `update_fast_start_pfn()`
    fn update_fast_start(&mut self, pfn: Pfn) {
        if self.fast_start == Pfn(u64::MAX) {
            return;
        }
        if self.fast_start == Pfn(0) || pfn < self.fast_start {
            self.fast_start = pfn;
        }
    }

    /// For larger orders: a page block near the scanner that has large free
    /// blocks already, so that less has to move (`fast_find_migrateblock`).
    pub(super) fn fast_find_migrateblock(&mut self) -> Pfn {
        let pfn = self.migrate_pfn;
        let span = self.zone.span;
        let begun = pfn != span.start && !pfn.is_aligned(PageOrder::PAGEBLOCK);
        if self.ignore_skip_hint || self.finish_pageblock || begun {
            return pfn;
        }
        let Some(order) = self.order.filter(|order| order.get() > COSTLY_ORDER) else {
            return pfn;
        };
        let whole = order >= PageOrder::PAGEBLOCK;
        if self.direct && self.migratetype != MigrateType::Movable && !whole {
            return pfn;
        }
        let mut distance = Pages((self.free_pfn - pfn).0 >> 1);
        if pfn != span.start {
            distance = Pages(distance.0 >> 2);
        }
        let high = (pfn + distance).align_down(PageOrder::PAGEBLOCK);
        let limit = self.freelist_scan_limit();
        let (mut scanned, mut found) = (0u64, None);
        let orders = PageOrder::all().rev();
        for order in orders.filter(|&o| o < order && o.get() >= COSTLY_ORDER) {
            if found.is_some() || scanned >= limit {
                break;
            }
            if self.zone.free_counts.nr_free(order) != 0 {
                found = self.search_list(order, high, limit, &mut scanned);
            }
        }
        self.migrate_scanned += Pages(scanned);
        match found {
            Some(free) => {
                self.update_fast_start(free);
                self.fast_search_fail = 0;
                free.align_down(PageOrder::PAGEBLOCK).max(span.start)
            }
            None => {
                self.fast_search_fail = self.fast_search_fail.saturating_add(1);
                self.reinit_migrate_pfn()
            }
        }
    }

    /// The first free block of one list below `high` whose page block is not
    /// marked; the next search begins behind it.
    fn search_list(
        &self,
        order: PageOrder,
        high: Pfn,
        limit: u64,
        scanned: &mut u64,
    ) -> Option<Pfn> {
        let map = self.buddy.map;
        let mut areas = self.zone.free.lock();
        let list = areas.list_mut(order, MigrateType::Movable);
        let mut found = None;
        let mut last = None;
        for (pfn, _) in list.iter(map) {
            let over = *scanned >= limit;
            *scanned += 1;
            if over {
                last = Some(pfn);
                break;
            }
            let skip = || map.pageblock(pfn).is_some_and(|block| block.skip());
            if pfn < high && !skip() {
                found = Some(pfn);
                last = found;
                break;
            }
        }
        if let Some(last) = last {
            list.rotate_to_tail(map, last);
        }
        found
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
    pub(super) fn fast_isolate_freepages(&mut self) {
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
