// SPDX-License-Identifier: GPL-2.0

//! Compaction: free blocks grow large again because what is between them moves
//! away (`mm/compaction.c`).
//!
//! ```text
//! zone   | m . m | . m . . | m m . m |     ...     | . m . . | . . . m |
//!          migrate scanner -->                  <-- free scanner
//!          takes movable blocks                     takes free ones, page
//!          off their owners, page                   block by page block, and
//!          block by page block                      puts them on lists by order
//!                  \______________  migrate_pages _____________/
//!
//! ends when   a block as large as asked for is free            Success
//!             the scanners meet                                Complete, or
//!                 PartialSkipped where not all of the zone was seen
//!             there is nowhere to move blocks to               Contended
//! ```
//!
//! ```text
//! state.rs      what is kept about a zone; putting off; marks of page blocks
//! suitable.rs   does it make sense? how fragmented is it?
//! source.rs     the migrate scanner
//! target.rs     the free scanner
//! fast.rs       their short cuts through the free lists
//! finish.rs     is it done?
//! direct.rs     a request compacts its zones; a whole node is compacted
//! kcompactd.rs  a node's thread
//! range.rs      emptying a range of pages
//! ```
//!
//! # Races
//!
//! A block between scanners and target is owned like any other: what the migrate
//! scanner has taken is kept from being freed by its owner, and what the free
//! scanner has taken is on no list of the zone (its state is `Pageset`, as that
//! of every free block on its way). So others may take and free whatever they
//! like meanwhile; the worst is that the freed block is given to somebody else
//! before the request that compacts can take it, which then tries again.
//!
//! # Where it differs from Linux
//!
//! - A block that comes free is not captured for the request on its way to the
//!   list (`compaction_capture`): that would cost every free a look.
//! - No lock is given up for others' sake in async mode (`cc->contended`): locks
//!   here can't be tried.
//! - Every allocated block of more than one page is treated as a compound page.

mod direct;
mod fast;
mod finish;
mod kcompactd;
mod range;
mod source;
mod state;
mod suitable;
mod target;

pub use crate::trace::CompactResult;
pub use kcompactd::Kcompactd;
pub use state::CompactState;

use self::source::Isolated;
use self::state::before;
use self::state::last_pageblock;
use super::gfp::Gfp;
use super::list::PageList;
use super::migrate::MigrateMode;
use super::migratetype::MigrateType;
use super::stats::VmEvent;
use super::system::BuddySystem;
use super::watermark_ok::AllocFlags;
use super::MemMap;
use super::ZoneTable;
use crate::page::ZoneId;
use crate::page::ZoneType;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::NR_PAGE_ORDERS;
use crate::platform::Platform;
use crate::trace::tell;
use crate::trace::CompactionRun;
use crate::trace::TraceEvent;
use crate::trace::TracePoint;
use crate::zone::Zone;

/// How many pages are isolated at a time (`COMPACT_CLUSTER_MAX`).
const CLUSTER_MAX: Pages = Pages(32);

/// How hard a request compacts (`enum compact_priority`): the lower, the
/// harder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum CompactPriority {
    /// The whole zone, whatever was found there before.
    SyncFull = 0,
    /// May wait.
    SyncLight = 1,
    /// As a first try.
    Async = 2,
}

/// How many free pages there should be above a watermark for blocks to be moved
/// to (`compact_gap`).
pub(super) fn compact_gap(order: PageOrder) -> Pages {
    (order.pages() + order.pages()).min(CLUSTER_MAX)
}

/// One compaction of one zone (`struct compact_control`).
struct CompactControl<'a, P: Platform, M, Z> {
    buddy: BuddySystem<'a, P, M, Z>,
    zone: &'a Zone<P>,
    id: ZoneId,
    /// What is wanted; `None` for as much as possible
    /// (`is_via_compact_memory`).
    order: Option<PageOrder>,
    migratetype: MigrateType,
    flags: AllocFlags,
    highest: ZoneType,
    mode: MigrateMode,
    ignore_skip_hint: bool,
    no_set_skip_hint: bool,
    ignore_block_suitable: bool,
    direct: bool,
    proactive: bool,
    whole_zone: bool,
    alloc_contig: bool,

    /// Free blocks that were taken, by order; what a move frees of them is here
    /// again.
    free: [PageList; NR_PAGE_ORDERS],
    nr_free: Pages,
    /// Blocks that were taken off their owners.
    migrate: PageList,
    nr_migrate: Pages,
    migrate_pfn: Pfn,
    free_pfn: Pfn,
    /// The lowest page block that was found by way of the free lists;
    /// `u64::MAX` once it has been used.
    fast_start: Pfn,
    fast_search_fail: u32,
    search_order: i32,
    finish_pageblock: bool,
    migrate_scanned: Pages,
    free_scanned: Pages,
}

impl<'a, P, M, Z> CompactControl<'a, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// A compaction of a zone as kcompactd does it, for `order`.
    fn new(
        buddy: BuddySystem<'a, P, M, Z>,
        zone: &'a Zone<P>,
        gfp: Gfp,
        order: Option<PageOrder>,
    ) -> Self {
        let migratetype = gfp.migratetype().unwrap_or(MigrateType::Unmovable);
        Self {
            buddy,
            zone,
            id: ZoneId::new(zone.nid, zone.kind),
            order,
            migratetype: match buddy.map.is_mobility_disabled() {
                true => MigrateType::Unmovable,
                false => migratetype,
            },
            flags: AllocFlags::WMARK_MIN,
            highest: zone.kind,
            mode: MigrateMode::SyncLight,
            // Where nothing is kept about page blocks there are no marks.
            ignore_skip_hint: buddy.map.pageblock(zone.span.start).is_none(),
            no_set_skip_hint: false,
            ignore_block_suitable: false,
            direct: false,
            proactive: false,
            whole_zone: false,
            alloc_contig: false,
            free: [PageList::NEW; NR_PAGE_ORDERS],
            nr_free: Pages::ZERO,
            migrate: PageList::NEW,
            nr_migrate: Pages::ZERO,
            migrate_pfn: zone.span.start,
            free_pfn: last_pageblock(zone.span),
            fast_start: Pfn(0),
            fast_search_fail: 0,
            search_order: order.map_or(-1, |order| i32::from(order.get())),
            finish_pageblock: false,
            migrate_scanned: Pages::ZERO,
            free_scanned: Pages::ZERO,
        }
    }

    /// Goes on with what the compaction of another zone has found out: what
    /// `compact_zone` does not begin anew where one `compact_control` is for several.
    fn take_over(&mut self, other: &Self) {
        self.whole_zone = other.whole_zone;
        self.fast_search_fail = other.fast_search_fail;
        self.search_order = other.search_order;
    }

    /// Where its scanners are, for tracing.
    fn where_it_is(&self) -> CompactionRun {
        CompactionRun {
            zone: self.zone.span,
            migrate_pfn: self.migrate_pfn,
            free_pfn: self.free_pfn,
            sync: self.mode != MigrateMode::Async,
        }
    }

    /// The order, -1 for as much as possible.
    fn order_raw(&self) -> i32 {
        self.order.map_or(-1, |order| i32::from(order.get()))
    }

    /// Whether both scanners are in the same page block, or past each other
    /// (`compact_scanners_met`).
    fn scanners_met(&self) -> bool {
        self.free_pfn.align_down(PageOrder::PAGEBLOCK)
            <= self.migrate_pfn.align_down(PageOrder::PAGEBLOCK)
    }

    /// Moves blocks from the zone's start to its end until a block of the order
    /// is free, or the scanners meet (`compact_zone`).
    fn compact_zone(&mut self) -> CompactResult {
        if let Some(order) = self.order {
            let is_async = self.mode == MigrateMode::Async;
            let suit = self.buddy.suit_allocation_order(
                self.zone,
                order,
                self.highest,
                self.flags,
                is_async,
            );
            if suit != CompactResult::Continue {
                return suit;
            }
            if self.zone.compact.is_restarting(order) {
                self.buddy.reset_isolation_suitable_zone(self.zone, self.id);
            }
        }
        self.place_scanners();
        let sync = self.mode != MigrateMode::Async;
        tell(self.buddy.platform, TracePoint::CompactionBegin, || {
            TraceEvent::CompactionBegin(self.where_it_is())
        });
        let ret = self.run(sync);
        // What was taken and not needed goes back, and the next free scanner
        // starts no lower than that.
        if let Some(highest) = self.release_free_list() {
            let highest = highest.align_down(PageOrder::PAGEBLOCK);
            if highest > self.zone.compact.cached_free_pfn() {
                self.zone.compact.set_cached_free_pfn(highest);
            }
        }
        let buddy = &self.buddy;
        buddy.count_event(VmEvent::CompactMigrateScanned, self.migrate_scanned.0);
        buddy.count_event(VmEvent::CompactFreeScanned, self.free_scanned.0);
        tell(buddy.platform, TracePoint::CompactionEnd, || {
            TraceEvent::CompactionEnd {
                run: self.where_it_is(),
                result: ret,
            }
        });
        ret
    }

    /// Where the scanners start: at the zone's ends, or where the last ones
    /// were.
    fn place_scanners(&mut self) {
        let span = self.zone.span;
        let state = &self.zone.compact;
        self.fast_start = Pfn(0);
        if self.whole_zone {
            self.migrate_pfn = span.start;
            self.free_pfn = last_pageblock(span);
            return;
        }
        let sync = self.mode != MigrateMode::Async;
        self.migrate_pfn = state.cached_migrate_pfn(sync);
        self.free_pfn = state.cached_free_pfn();
        if !span.contains(self.free_pfn) {
            self.free_pfn = last_pageblock(span);
            state.set_cached_free_pfn(self.free_pfn);
        }
        if !span.contains(self.migrate_pfn) {
            self.migrate_pfn = span.start;
            state.set_both_migrate_pfns(span.start);
        }
        if self.migrate_pfn <= state.init_migrate_pfn() {
            self.whole_zone = true;
        }
    }

    /// The loop of `compact_zone()`. Each turn moves the migrate scanner on, or
    /// it ends.
    fn run(&mut self, sync: bool) -> CompactResult {
        let state = &self.zone.compact;
        let mut update_cached =
            !sync && state.cached_migrate_pfn(false) == state.cached_migrate_pfn(true);
        // The page block that was last moved from, 0 for none.
        let mut last_migrated = Pfn(0);
        // A scanner that is sent back to an earlier page block again and again
        // must not keep the caller for ever, as it could Linux's.
        let mut turns = self.zone.span.pages().0.saturating_add(64);
        loop {
            let ret = self.compact_finished();
            turns = turns.saturating_sub(1);
            if ret != CompactResult::Continue {
                return ret;
            }
            if turns == 0 {
                return CompactResult::Contended;
            }
            let start = self.migrate_pfn.align_down(PageOrder::PAGEBLOCK);
            self.finish_pageblock = last_migrated.align_down(PageOrder::PAGEBLOCK) == start;
            loop {
                match self.isolate_migratepages() {
                    Isolated::Abort => {
                        self.buddy.putback_movable(&mut self.migrate);
                        self.nr_migrate = Pages::ZERO;
                        return CompactResult::Contended;
                    }
                    Isolated::Nothing => {
                        if update_cached {
                            state.set_cached_migrate_pfn(true, state.cached_migrate_pfn(false));
                        }
                        break;
                    }
                    Isolated::Some => {}
                }
                update_cached = false;
                let block = before(self.migrate_pfn, Pages(1)).align_down(PageOrder::PAGEBLOCK);
                last_migrated = block.max(self.zone.span.start);
                match self.migrate_isolated() {
                    MigrateEnd::Done => break,
                    MigrateEnd::Abort => return CompactResult::Contended,
                    MigrateEnd::Failed => {}
                }
                let again = !self.migrate_pfn.is_aligned(PageOrder::PAGEBLOCK)
                    && !self.ignore_skip_hint
                    && !self.finish_pageblock
                    && self.mode < MigrateMode::Sync;
                if !again {
                    break;
                }
                // The rest of the page block, so that it is marked.
                self.finish_pageblock = true;
                if self.order == Some(PageOrder::PAGEBLOCK) {
                    last_migrated = Pfn(0);
                }
            }
            // What has come free is merged as soon as the scanner has left the
            // block that is to be made.
            if let Some(order) = self.order.filter(|&order| order > PageOrder::ZERO) {
                if last_migrated != Pfn(0) && last_migrated < self.migrate_pfn.align_down(order) {
                    self.buddy.drain_local_pages(self.zone, self.id);
                    last_migrated = Pfn(0);
                }
            }
        }
    }

    /// Moves what was taken.
    fn migrate_isolated(&mut self) -> MigrateEnd {
        let wanted = self.nr_migrate;
        let buddy = self.buddy;
        let mut list = core::mem::replace(&mut self.migrate, PageList::NEW);
        let migrated = buddy.migrate_pages(&mut list, self);
        tell(buddy.platform, TracePoint::CompactionMigratepages, || {
            TraceEvent::CompactionMigratepages {
                migrated: Pages(migrated.succeeded),
                failed: wanted - Pages(migrated.succeeded),
            }
        });
        self.nr_migrate = Pages::ZERO;
        if list.is_empty() {
            return MigrateEnd::Done;
        }
        buddy.putback_movable(&mut list);
        match migrated.no_memory && !self.scanners_met() {
            true => MigrateEnd::Abort,
            false => MigrateEnd::Failed,
        }
    }
}

/// What came of moving what the scanner had taken.
enum MigrateEnd {
    Done,
    Failed,
    Abort,
}
