// SPDX-License-Identifier: GPL-2.0

//! What is kept about a zone from one compaction to the next: where the
//! scanners were, whether it is put off, and which page blocks are passed over.
//!
//! ```text
//! zone start                                                       zone end
//! |    cached_migrate[async]   cached_migrate[sync]    cached_free        |
//! |         |---> migrate scanner                <---- free scanner       |
//!
//! put off: after a failure 1 compaction is left out, after the next 2, 4 ...
//!          at most 64; a success ends it. Only for orders from the lowest on
//!          that has failed.
//! ```
//!
//! All of it are hints: written without a lock, as in Linux.

use crate::buddy::MemMap;
use crate::buddy::MigrateType;
use crate::page::PageState;
use crate::page::ZoneId;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PfnRange;
use crate::platform::Platform;
use crate::trace::Deferral;
use crate::zone::Zone;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// At most 2 to the power of this many compactions are left out
/// (`COMPACT_MAX_DEFER_SHIFT`).
pub(in crate::buddy) const MAX_DEFER_SHIFT: u32 = 6;

/// A zone's compaction, from one to the next.
#[derive(Debug)]
pub struct CompactState {
    cached_migrate_pfn: [AtomicU64; 2],
    cached_free_pfn: AtomicU64,
    init_migrate_pfn: AtomicU64,
    init_free_pfn: AtomicU64,
    considered: AtomicU32,
    defer_shift: AtomicU32,
    order_failed: AtomicU32,
    blockskip_flush: AtomicBool,
}

impl CompactState {
    /// As a zone starts.
    pub const fn new() -> Self {
        Self {
            // Outside any zone: each starts at its end.
            cached_migrate_pfn: [const { AtomicU64::new(u64::MAX) }; 2],
            cached_free_pfn: AtomicU64::new(u64::MAX),
            init_migrate_pfn: AtomicU64::new(0),
            init_free_pfn: AtomicU64::new(0),
            considered: AtomicU32::new(0),
            defer_shift: AtomicU32::new(0),
            order_failed: AtomicU32::new(0),
            blockskip_flush: AtomicBool::new(false),
        }
    }

    /// How many compactions were left out since the last (`compact_considered`).
    pub fn considered(&self) -> u32 {
        self.considered.load(Relaxed)
    }

    /// log2 of how many are left out (`compact_defer_shift`).
    pub fn defer_shift(&self) -> u32 {
        self.defer_shift.load(Relaxed)
    }

    /// The lowest order that is put off (`compact_order_failed`).
    pub fn order_failed(&self) -> u32 {
        self.order_failed.load(Relaxed)
    }

    /// Where the next migrate scanner starts, one that may wait or one that may
    /// not (`compact_cached_migrate_pfn`).
    pub fn cached_migrate_pfn(&self, sync: bool) -> Pfn {
        let [no, yes] = &self.cached_migrate_pfn;
        Pfn(if sync { yes } else { no }.load(Relaxed))
    }

    pub(super) fn set_cached_migrate_pfn(&self, sync: bool, pfn: Pfn) {
        let [no, yes] = &self.cached_migrate_pfn;
        if sync { yes } else { no }.store(pfn.0, Relaxed);
    }

    pub(super) fn set_both_migrate_pfns(&self, pfn: Pfn) {
        self.set_cached_migrate_pfn(false, pfn);
        self.set_cached_migrate_pfn(true, pfn);
    }

    /// Where the next free scanner starts (`compact_cached_free_pfn`).
    pub fn cached_free_pfn(&self) -> Pfn {
        Pfn(self.cached_free_pfn.load(Relaxed))
    }

    pub(super) fn set_cached_free_pfn(&self, pfn: Pfn) {
        self.cached_free_pfn.store(pfn.0, Relaxed);
    }

    pub(super) fn init_migrate_pfn(&self) -> Pfn {
        Pfn(self.init_migrate_pfn.load(Relaxed))
    }

    pub(super) fn init_free_pfn(&self) -> Pfn {
        Pfn(self.init_free_pfn.load(Relaxed))
    }

    /// Both scanners start at their ends again (`reset_cached_positions`).
    pub(super) fn reset_cached_positions(&self, span: PfnRange) {
        self.set_both_migrate_pfns(span.start);
        self.set_cached_free_pfn(last_pageblock(span));
    }

    /// Whether the marks of page blocks may be cleared
    /// (`compact_blockskip_flush`).
    pub(in crate::buddy) fn set_blockskip_flush(&self, flush: bool) {
        self.blockskip_flush.store(flush, Relaxed);
    }

    /// Leaves out more from now on (`defer_compaction`).
    pub(super) fn defer(&self, order: PageOrder) {
        self.considered.store(0, Relaxed);
        let shift = self.defer_shift().saturating_add(1).min(MAX_DEFER_SHIFT);
        self.defer_shift.store(shift, Relaxed);
        let order = u32::from(order.get());
        if order < self.order_failed() {
            self.order_failed.store(order, Relaxed);
        }
    }

    /// Whether this one is left out (`compaction_deferred`).
    pub(super) fn is_deferred(&self, order: PageOrder) -> bool {
        if u32::from(order.get()) < self.order_failed() {
            return false;
        }
        let limit = 1 << self.defer_shift().min(MAX_DEFER_SHIFT);
        let considered = self.considered().saturating_add(1).min(limit);
        self.considered.store(considered, Relaxed);
        considered < limit
    }

    /// It is expected to help, or has (`compaction_defer_reset`).
    pub(in crate::buddy) fn defer_reset(&self, order: PageOrder, alloc_success: bool) {
        if alloc_success {
            self.considered.store(0, Relaxed);
            self.defer_shift.store(0, Relaxed);
        }
        let order = u32::from(order.get());
        if order >= self.order_failed() {
            self.order_failed.store(order + 1, Relaxed);
        }
    }

    /// Whether this is the first after many were left out
    /// (`compaction_restarting`).
    pub(super) fn is_restarting(&self, order: PageOrder) -> bool {
        u32::from(order.get()) >= self.order_failed()
            && self.defer_shift() == MAX_DEFER_SHIFT
            && self.considered() >= 1 << MAX_DEFER_SHIFT
    }

    /// As tracing wants it.
    pub(super) fn deferral(&self, zone: ZoneId, order: PageOrder) -> Deferral {
        Deferral {
            zone,
            order,
            considered: self.considered(),
            defer_shift: self.defer_shift(),
            order_failed: self.order_failed(),
        }
    }
}

impl Default for CompactState {
    fn default() -> Self {
        Self::new()
    }
}

/// The first page of the page block that a zone ends with
/// (`pageblock_start_pfn(zone_end_pfn(zone) - 1)`).
pub(super) fn last_pageblock(span: PfnRange) -> Pfn {
    Pfn(span.end.0.saturating_sub(1)).align_down(PageOrder::PAGEBLOCK)
}

/// The page block behind the one that `pfn` lies in (`pageblock_end_pfn`).
pub(super) fn pageblock_end(pfn: Pfn) -> Pfn {
    pfn.align_down(PageOrder::PAGEBLOCK) + PageOrder::PAGEBLOCK.pages()
}

/// So many pages before `pfn`; page 0 before that.
pub(super) fn before(pfn: Pfn, pages: Pages) -> Pfn {
    Pfn(pfn.0.saturating_sub(pages.0))
}

/// Whether a block that fills page blocks is allocated here: there is nothing to
/// gain (`pageblock_skip_persistent`).
pub(super) fn skips_for_ever(map: &impl MemMap, pfn: Pfn) -> bool {
    map.page(pfn).is_some_and(|page| {
        let (state, order) = page.state_and_order();
        state == PageState::Allocated && order >= PageOrder::PAGEBLOCK
    })
}

/// Clears the marks of the page blocks of a zone that a scanner could use, after
/// it has been compacted as a whole, and has the scanners start at the outermost
/// of them (`__reset_isolation_suitable`).
pub(super) fn reset_isolation_suitable<P: Platform>(
    map: &impl MemMap,
    zone: &Zone<P>,
    id: ZoneId,
    resched: impl Fn(),
) {
    let state = &zone.compact;
    if !state.blockskip_flush.swap(false, Relaxed) {
        return;
    }
    let block = PageOrder::PAGEBLOCK.pages();
    let reset = |pfn, source, target| reset_isolation_pfn(map, zone.span, id, pfn, source, target);
    let mut migrate_pfn = zone.span.start;
    let mut free_pfn = before(zone.span.end, Pages(1));
    let (mut reset_migrate, mut reset_free) = (free_pfn, migrate_pfn);
    let (mut source_set, mut free_set) = (false, false);
    while migrate_pfn < free_pfn {
        resched();
        if reset(migrate_pfn, true, source_set) && migrate_pfn < reset_migrate {
            source_set = true;
            reset_migrate = migrate_pfn;
            state.init_migrate_pfn.store(migrate_pfn.0, Relaxed);
            state.set_both_migrate_pfns(migrate_pfn);
        }
        if reset(free_pfn, free_set, true) && free_pfn > reset_free {
            free_set = true;
            reset_free = free_pfn;
            state.init_free_pfn.store(free_pfn.0, Relaxed);
            state.set_cached_free_pfn(free_pfn);
        }
        migrate_pfn = migrate_pfn + block;
        free_pfn = before(free_pfn, block);
    }
    if reset_migrate >= reset_free {
        state.set_both_migrate_pfns(migrate_pfn);
        state.set_cached_free_pfn(free_pfn);
    }
}

/// Clears the mark of one page block, if a sample of its pages shows one that
/// could be moved, or a free one; whether a scanner may start there
/// (`__reset_isolation_pfn`).
fn reset_isolation_pfn(
    map: &impl MemMap,
    span: PfnRange,
    id: ZoneId,
    pfn: Pfn,
    source: bool,
    target: bool,
) -> bool {
    let (Some(page), Some(block)) = (map.page(pfn), map.pageblock(pfn)) else {
        return false;
    };
    if page.zone_id() != id || skips_for_ever(map, pfn) {
        return false;
    }
    if source && target && !block.skip() {
        return true;
    }
    if !source && target && block.migratetype() != MigrateType::Movable {
        return false;
    }
    let first = pfn.align_down(PageOrder::PAGEBLOCK).max(span.start);
    let last = before(pageblock_end(pfn).min(span.end), Pages(1));
    if map.page(last).is_none() {
        return false;
    }
    let mut at = if map.page(first).is_some() {
        first
    } else {
        pfn
    };
    while at <= last {
        if let Some(page) = map.page(at) {
            let movable = source && page.is_movable();
            if movable || (target && page.state() == PageState::Buddy) {
                block.set_skip(false);
                return true;
            }
        }
        at = at + Pages(8);
    }
    false
}
