// SPDX-License-Identifier: GPL-2.0

//! Between the CPUs' pagesets and the zones: taking and freeing through the
//! running CPU's pageset, refilling it, and giving its pages back.
//!
//! ```text
//! alloc  <- head of the list     empty: nr_alloc() blocks from the zone
//! free   -> head of the list     full:  nr_free() pages from the lists' tails,
//!                                       list by list, to the zone
//! drain                          all of them, of one CPU or of all
//! ```

use super::fallback::RmqueueMode;
use super::local::FlatFirst;
use super::migratetype::MigrateType;
use super::pageset;
use super::pageset::Pageset;
use super::pageset::PagesetLimits;
use super::pageset::NR_PCP_LISTS;
use super::split_merge::migratetype_of;
use super::system::BuddySystem;
use super::watermark_ok::zone_watermark_ok;
use super::watermark_ok::AllocFlags;
use super::MemMap;
use super::ZoneTable;
use crate::page::PageDescriptor;
use crate::page::PageState;
use crate::page::ZoneId;
use crate::page::ZoneType;
use crate::phys::CpuId;
use crate::phys::NodeId;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::MAX_NODES;
use crate::platform::Lock;
use crate::platform::Platform;
use crate::trace::tell;
use crate::trace::TraceEvent;
use crate::trace::TracePoint;
use crate::tunables::Tunable;
use crate::zone::Watermark;
use crate::zone::Zone;
use core::ops::Range;
use core::slice;

impl<P, M, Z> BuddySystem<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// Takes a block of an allowed order from the running CPU's pageset
    /// (`rmqueue_pcplist`); `None` when neither that nor the zone has one, or
    /// the request is for the zone itself.
    #[inline]
    pub(super) fn rmqueue_pcplist(
        &self,
        zone: &Zone<P>,
        id: ZoneId,
        order: PageOrder,
        mt: MigrateType,
        flags: AllocFlags,
    ) -> Option<Pfn> {
        let (cpu, _pinned) = self.platform.pin_cpu();
        let pageset = self.stats.pageset(cpu, id)?;
        if !pageset.is_enabled() || !pageset.is_mine() {
            return None;
        }
        pageset.unsettle();
        pageset.note_alloc();
        let index = pageset::index_of(order, mt);
        if pageset.is_empty(index) {
            self.refill(zone, id, pageset, order, mt, flags);
        }
        let taken = pageset.pop_head(index, self.map);
        if let Some((_, page)) = taken {
            page.set_state(PageState::Allocated, order);
        }
        pageset.settle(mt.index());
        taken.map(|(pfn, _)| pfn)
    }

    /// Takes single pages into `pages` as long as the running CPU's pageset and
    /// the zone have some, and says how many (the loop of `alloc_pages_bulk`).
    pub(super) fn rmqueue_pcplist_bulk(
        &self,
        zone: &Zone<P>,
        id: ZoneId,
        mt: MigrateType,
        flags: AllocFlags,
        pages: &mut [Pfn],
    ) -> usize {
        let order = PageOrder::ZERO;
        let (cpu, _pinned) = self.platform.pin_cpu();
        let Some(pageset) = self.stats.pageset(cpu, id) else {
            return 0;
        };
        if !pageset.is_mine() {
            return 0;
        }
        pageset.unsettle();
        let index = pageset::index_of(order, mt);
        let mut taken = 0;
        for slot in pages {
            if pageset.is_empty(index) {
                self.refill(zone, id, pageset, order, mt, flags);
            }
            let Some((pfn, page)) = pageset.pop_head(index, self.map) else {
                break;
            };
            page.set_state(PageState::Allocated, order);
            *slot = pfn;
            taken += 1;
        }
        pageset.settle(mt.index());
        taken
    }

    /// Fills an empty list (`rmqueue_bulk`). Urgent requests of higher orders
    /// are left to the zone, which keeps page blocks for them.
    #[cold]
    #[inline(never)]
    fn refill(
        &self,
        zone: &Zone<P>,
        id: ZoneId,
        pageset: &Pageset,
        order: PageOrder,
        mt: MigrateType,
        flags: AllocFlags,
    ) {
        let batch = pageset.nr_alloc(order, zone.is_below_high());
        if flags.has(AllocFlags::HIGHATOMIC) {
            return;
        }
        let index = pageset::index_of(order, mt);
        let map = FlatFirst {
            flat: self.stats.flat(id),
            all: self.map,
        };
        let mut mode = RmqueueMode::Normal;
        pageset.note_traffic();
        let mut areas = zone.free.lock();
        let mut locked = self.locked_on(zone, id, &mut areas, &map);
        if order == PageOrder::ZERO && !self.platform.is_traced(TracePoint::PageAllocZoneLocked) {
            pageset.fill_runs(index, batch, &map, id, |most| {
                // CMA might be asked first.
                let cma = flags.has(AllocFlags::CMA) && !zone.free_counts.free_cma().is_zero();
                if mode == RmqueueMode::Normal && !cma {
                    let run = locked.rmqueue_run(most, mt);
                    if run.is_some() {
                        return run;
                    }
                }
                let pfn = locked.rmqueue(order, mt, flags, &mut mode)?;
                Some((pfn, slice::from_ref(map.page(pfn)?)))
            });
            return;
        }
        pageset.fill(index, batch, &map, || {
            let pfn = locked.rmqueue(order, mt, flags, &mut mode)?;
            let page = map.page(pfn)?;
            page.set_state(PageState::Pageset, order);
            Some((pfn, page))
        });
    }

    /// Puts a block, which is `Pageset` already, into the running CPU's pageset;
    /// `false` when it is for the zone (`__free_frozen_pages`).
    #[inline]
    pub(super) fn free_to_pageset(
        &self,
        zone: &Zone<P>,
        id: ZoneId,
        pfn: Pfn,
        page: &PageDescriptor,
        order: PageOrder,
    ) -> bool {
        if !pageset::is_allowed(order) {
            return false;
        }
        // What is kept for others goes with the movable: it comes back sooner
        // than if all of it went to the zone at once.
        let mt = match migratetype_of(self.map, pfn) {
            MigrateType::Isolate => return false,
            mt if mt.is_mergeable() => mt,
            _ => MigrateType::Movable,
        };
        let (cpu, _pinned) = self.platform.pin_cpu();
        let Some(pageset) = self.stats.pageset(cpu, id) else {
            return false;
        };
        if !pageset.is_enabled() {
            self.free_through(zone, id, pfn, page, order);
            return true;
        }
        if !pageset.is_mine() {
            return false;
        }
        pageset.unsettle();
        let index = pageset::index_of(order, mt);
        page.set_count(1);
        pageset.push_head(index, self.map, pfn, page);
        let to_free = pageset.note_free(order, zone.pressure());
        if to_free > 0 {
            self.free_surplus(zone, id, pageset, to_free, index);
        }
        pageset.settle(mt.index());
        true
    }

    /// Gives the zone what is too much, a batch at a time, and looks whether the
    /// zone is above its high watermark again (the second half of
    /// `free_frozen_page_commit`).
    #[cold]
    #[inline(never)]
    pub(super) fn free_surplus(
        &self,
        zone: &Zone<P>,
        id: ZoneId,
        pageset: &Pageset,
        mut to_free: i32,
        index: usize,
    ) {
        let batch = pageset.batch().max(1);
        while to_free > 0 && pageset.count() > 0 {
            let now = to_free.min(batch);
            self.free_pcppages_bulk(zone, id, pageset, now, index);
            to_free -= now;
        }
        self.recheck_high(zone, id);
    }

    /// Frees a block where CPUs keep nothing: Linux's pageset has no room then,
    /// and what comes to it goes on to the zone at once.
    fn free_through(
        &self,
        zone: &Zone<P>,
        id: ZoneId,
        pfn: Pfn,
        page: &PageDescriptor,
        order: PageOrder,
    ) {
        let mut areas = zone.free.lock();
        let mut locked = self.locked(zone, id, &mut areas);
        let mt = locked.migratetype(pfn);
        locked.free_one_page(pfn, page, order, mt, None);
        drop(locked);
        drop(areas);
        self.recheck_high(zone, id);
    }

    /// Looks whether a zone that was below its high watermark is above it again
    /// (the end of `free_frozen_page_commit`).
    #[inline]
    fn recheck_high(&self, zone: &Zone<P>, id: ZoneId) {
        if zone.is_below_high() {
            let mark = zone.wmark(Watermark::High);
            let reserve = zone.lowmem_reserve(ZoneType::Movable);
            let flags = AllocFlags::WMARK_MIN;
            let order = PageOrder::ZERO;
            if zone_watermark_ok(&zone.free_counts, order, mark, reserve, flags) {
                self.set_below_high(zone, id, false);
                self.clear_hopeless_beside_others(zone.nid);
            }
        }
    }

    /// Gives the zone `count` pages from the tails of the lists, list by list
    /// from `index` on (`free_pcppages_bulk`).
    pub(super) fn free_pcppages_bulk(
        &self,
        zone: &Zone<P>,
        id: ZoneId,
        pageset: &Pageset,
        count: i32,
        index: usize,
    ) {
        let map = FlatFirst {
            flat: self.stats.flat(id),
            all: self.map,
        };
        let mut count = count.min(pageset.count() as i32);
        let mut index = index;
        pageset.note_traffic();
        let mut areas = zone.free.lock();
        let mut locked = self.locked_on(zone, id, &mut areas, &map);
        let mut empty = 0;
        while count > 0 && empty < NR_PCP_LISTS {
            let order = pageset::order_of(index);
            let taken = pageset.take_tail(index, &map, count, |pfn, page| {
                let mt = locked.migratetype(pfn);
                if order == PageOrder::PAGEBLOCK || !locked.free_alone(pfn, page, order, mt) {
                    locked.free_one_page(pfn, page, order, mt, None);
                }
                tell(self.platform, TracePoint::PagePcpuDrain, || {
                    TraceEvent::PagePcpuDrain {
                        pfn,
                        order,
                        migratetype: mt,
                    }
                });
            });
            count = count.wrapping_sub(taken);
            empty = if taken == 0 { empty + 1 } else { 0 };
            index = match index + 1 {
                NR_PCP_LISTS.. => 0,
                index => index,
            };
        }
    }

    /// Does `job` with the pagesets of these CPUs, of this zone or of all, while
    /// they are the caller's, who is not pinned.
    pub(super) fn with_pagesets(
        &self,
        cpus: Range<u32>,
        only: Option<ZoneId>,
        mut job: impl FnMut(ZoneId, &Zone<P>, &Pageset),
    ) {
        let each = |job: &mut dyn FnMut(ZoneId, &Zone<P>, &Pageset)| {
            for cpu in cpus.clone().map(CpuId) {
                self.for_each_zone(|id, zone| match self.stats.pageset(cpu, id) {
                    Some(pageset) if only.is_none_or(|only| only == id) => job(id, zone, pageset),
                    _ => {}
                });
            }
        };
        self.stats.begin_claims(self.platform);
        each(&mut |_, _, pageset| pageset.claim());
        self.platform.synchronize();
        each(&mut |id, zone, pageset| {
            pageset.unsettle();
            job(id, zone, pageset);
            pageset.settle(0);
        });
        each(&mut |_, _, pageset| pageset.release());
        self.stats.end_claims();
    }

    fn drain(&self, cpus: Range<u32>, only: Option<ZoneId>) -> Pages {
        let mut drained = Pages::ZERO;
        let has_pages = |cpu, id| {
            let pageset = self.stats.pageset(cpu, id);
            pageset.is_some_and(|pageset| pageset.count() != 0)
        };
        let mut any = false;
        for cpu in cpus.clone().map(CpuId) {
            self.for_each_zone(|id, _| {
                any |= only.is_none_or(|only| only == id) && has_pages(cpu, id);
            });
        }
        if !any {
            return drained;
        }
        self.with_pagesets(cpus, only, |id, zone, pageset| loop {
            let before = pageset.count();
            if before == 0 {
                break;
            }
            self.free_pcppages_bulk(zone, id, pageset, pageset.drain_batch(), 0);
            let given = before.saturating_sub(pageset.count());
            drained += Pages(u64::from(given));
            if given == 0 {
                break;
            }
        });
        drained
    }

    /// Gives all pages of a zone that a CPU keeps back (`drain_pages_zone`), and
    /// says how many those were. From any CPU; the other need not be up. The
    /// caller is not pinned and may sleep, as for the next two.
    pub fn drain_pages_zone(&self, cpu: CpuId, id: ZoneId) -> Pages {
        self.drain(cpu.0..cpu.0.saturating_add(1), Some(id))
    }

    /// Gives all pages that a CPU keeps back (`drain_pages`): also what is to be
    /// done when it goes away (`page_alloc_cpu_dead`).
    pub fn drain_pages(&self, cpu: CpuId) -> Pages {
        self.drain(cpu.0..cpu.0.saturating_add(1), None)
    }

    /// Gives all pages of a zone that any CPU keeps back (`drain_all_pages` of
    /// that zone).
    pub fn drain_zone(&self, id: ZoneId) -> Pages {
        self.drain(0..self.platform.nr_cpus(), Some(id))
    }

    /// Gives back what the running CPU keeps of a zone, without waiting for
    /// anybody (`drain_local_pages`).
    pub(super) fn drain_local_pages(&self, zone: &Zone<P>, id: ZoneId) {
        self.on_own(id, |pageset| {
            let mut before = u32::MAX;
            while pageset.count() != 0 && pageset.count() != before {
                before = pageset.count();
                self.free_pcppages_bulk(zone, id, pageset, pageset.drain_batch(), 0);
            }
        });
    }

    /// Gives all pages that any CPU keeps back (`drain_all_pages`).
    pub fn drain_all_pages(&self) -> Pages {
        self.drain(0..self.platform.nr_cpus(), None)
    }

    /// Lets the CPUs keep pages, as many as the zones' size, watermarks and the
    /// number of CPUs of their nodes allow (`setup_per_cpu_pageset`,
    /// `zone_pcp_update`): once after the watermarks are set, and whenever these
    /// or the CPUs change.
    pub fn setup_pagesets(&self, cpus_of: impl Fn(NodeId) -> u64) {
        let online = (0..self.platform.nr_cpus()).map(CpuId);
        let online = online.filter(|&cpu| self.platform.is_online(cpu)).count() as u64;
        let fraction = self.zones.tunable(Tunable::PercpuPagelistHighFraction);
        self.with_pagesets(0..self.platform.nr_cpus(), None, |id, zone, pageset| {
            if !zone.is_populated() {
                return;
            }
            let cpus = match cpus_of(zone.nid) {
                0 => online,
                cpus => cpus,
            };
            let low = zone.wmark(Watermark::Low);
            pageset.set_zone(id);
            self.close_if_told(pageset);
            pageset.set_limits(PagesetLimits::of(zone.managed(), low, cpus, fraction));
        });
    }

    /// Has the short ways of single pages closed or opened as the zones'
    /// watermarks are now, after these have changed.
    pub fn refresh_gates(&self) {
        self.for_each_zone(|id, zone| {
            let mut areas = zone.free.lock();
            // Who lets go of a zone looks at that.
            drop(self.locked(zone, id, &mut areas));
        });
    }

    /// Somebody begins to want to be told of every page, or nobody does any more: the
    /// short ways of single pages are closed or opened.
    pub fn refresh_told(&self) {
        self.for_each_zone(|id, _| {
            self.stats
                .for_each_pageset(id, |pageset| self.close_if_told(pageset));
        });
    }

    /// Closes the short ways of a pageset, or opens them, as is wanted now. Two may do so
    /// at once: who writes last has seen, after it, that this is still wanted.
    fn close_if_told(&self, pageset: &Pageset) {
        loop {
            let told = self.platform.wants_pages();
            pageset.set_told(told);
            if self.platform.wants_pages() == told {
                return;
            }
        }
    }

    /// Notes whether a zone is below its high watermark, and has the CPUs look
    /// at every page then: each one freed lowers what they may keep
    /// (`nr_pcp_high`).
    #[cold]
    #[inline(never)]
    pub(super) fn set_below_high(&self, zone: &Zone<P>, id: ZoneId, below: bool) {
        // The lock keeps flag and gates in step.
        let _areas = zone.free.lock();
        zone.set_below_high(below);
        self.stats
            .for_each_pageset(id, |pageset| pageset.set_below_high(below));
    }

    /// Notes whether kswapd is at work on a zone, and has the CPUs look at every page
    /// that comes back meanwhile: they may keep few then (`nr_pcp_high`).
    #[cold]
    #[inline(never)]
    pub(super) fn set_reclaim_active(&self, zone: &Zone<P>, id: ZoneId, active: bool) {
        // As above.
        let _areas = zone.free.lock();
        zone.set_reclaim_active(active);
        self.stats
            .for_each_pageset(id, |pageset| pageset.set_reclaim_active(active));
    }

    /// All zones that there are.
    pub(super) fn for_each_zone(&self, mut visit: impl FnMut(ZoneId, &Zone<P>)) {
        for nid in (0..MAX_NODES as u32).filter_map(NodeId::new) {
            for kind in ZoneType::ALL {
                let id = ZoneId::new(nid, kind);
                if let Some(zone) = self.zones.zone(id) {
                    visit(id, zone);
                }
            }
        }
    }
}
