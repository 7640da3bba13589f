// SPDX-License-Identifier: GPL-2.0

//! What happens, told to whoever listens: the events behind the tracepoints.
//!
//! ```text
//! core                                        surroundings
//!   tell(platform, TracePoint::PageFree,
//!        || TraceEvent::PageFree { .. })
//!     platform.is_traced(point)?         ->   a jump label, patched in the kernel
//!       yes: the event is made, then
//!     platform.trace(&event)             ->   shadowmm:mm_page_free
//! ```
//!
//! Events are Linux's, with its names (without the `mm_`) and its fields
//! (`include/trace/events/{kmem,compaction,vmscan}.h`); those of the stages of a fault
//! are the shadow's own. Where nobody listens one
//! costs what [`Platform::is_traced`] costs, which in the kernel is one
//! instruction that does nothing: the point has to be a constant where it is
//! asked for, and what makes the event is kept out of the way.

use crate::buddy::Gfp;
use crate::buddy::MigrateType;
use crate::mm::page_table::Entry;
use crate::mm::page_table::Level;
use crate::mm::VirtAddr;
use crate::mm::VirtRange;
use crate::mm::VmFlags;
use crate::page::ZoneId;
use crate::page::ZoneType;
use crate::phys::Bytes;
use crate::phys::NodeId;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PfnRange;
use crate::platform::Platform;
use crate::slab::CacheName;
use crate::slab::ObjAddr;

/// Tells what `event` makes if somebody listens at `point`, which is the
/// event's own.
#[inline(always)]
pub fn tell<P: Platform>(platform: &P, point: TracePoint, event: impl FnOnce() -> TraceEvent) {
    if platform.is_traced(point) {
        tell_them(platform, event);
    }
}

#[cold]
#[inline(never)]
fn tell_them<P: Platform>(platform: &P, event: impl FnOnce() -> TraceEvent) {
    platform.trace(&event());
}

/// The tracepoints: one for each kind of [`TraceEvent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TracePoint {
    /// `mm_page_alloc`
    PageAlloc,
    /// `mm_page_free`
    PageFree,
    /// `mm_page_free_batched`
    PageFreeBatched,
    /// `mm_page_alloc_zone_locked`
    PageAllocZoneLocked,
    /// `mm_page_pcpu_drain`
    PagePcpuDrain,
    /// `mm_page_alloc_extfrag`
    PageAllocExtfrag,
    /// `mm_compaction_isolate_migratepages`
    CompactionIsolateMigratepages,
    /// `mm_compaction_isolate_freepages`
    CompactionIsolateFreepages,
    /// `mm_compaction_fast_isolate_freepages`
    CompactionFastIsolateFreepages,
    /// `mm_compaction_migratepages`
    CompactionMigratepages,
    /// `mm_compaction_begin`
    CompactionBegin,
    /// `mm_compaction_end`
    CompactionEnd,
    /// `mm_compaction_try_to_compact_pages`
    CompactionTryToCompactPages,
    /// `mm_compaction_finished`
    CompactionFinished,
    /// `mm_compaction_suitable`
    CompactionSuitable,
    /// `mm_compaction_deferred`
    CompactionDeferred,
    /// `mm_compaction_defer_compaction`
    CompactionDeferCompaction,
    /// `mm_compaction_defer_reset`
    CompactionDeferReset,
    /// `mm_compaction_kcompactd_sleep`
    CompactionKcompactdSleep,
    /// `mm_compaction_wakeup_kcompactd`
    CompactionWakeupKcompactd,
    /// `mm_compaction_kcompactd_wake`
    CompactionKcompactdWake,
    /// `mm_vmscan_kswapd_sleep`
    VmscanKswapdSleep,
    /// `mm_vmscan_kswapd_wake`
    VmscanKswapdWake,
    /// `mm_vmscan_balance_pgdat_begin`
    VmscanBalancePgdatBegin,
    /// `mm_vmscan_balance_pgdat_end`
    VmscanBalancePgdatEnd,
    /// `mm_vmscan_wakeup_kswapd`
    VmscanWakeupKswapd,
    /// `mm_vmscan_direct_reclaim_begin`
    VmscanDirectReclaimBegin,
    /// `mm_vmscan_direct_reclaim_end`
    VmscanDirectReclaimEnd,
    /// `mm_shrink_slab_start`
    ShrinkSlabStart,
    /// `mm_shrink_slab_end`
    ShrinkSlabEnd,
    /// `kmem_cache_alloc`
    KmemCacheAlloc,
    /// `kmem_cache_free`
    KmemCacheFree,
    /// `kmalloc`
    Kmalloc,
    /// `kfree`
    Kfree,
    /// `mm_fault_vma`
    FaultVma,
    /// `mm_fault_level`
    FaultLevel,
    /// `mm_fault_page`
    FaultPage,
    /// `mm_fault_expand`
    FaultExpand,
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceEvent {
    /// A request was served, or with no page it failed.
    PageAlloc {
        /// The block's first page.
        pfn: Option<Pfn>,
        /// log2 of the pages.
        order: PageOrder,
        /// The request's flags.
        gfp: Gfp,
        /// From which page blocks it was to be served.
        migratetype: MigrateType,
    },
    /// A block was given back.
    PageFree {
        /// The block's first page.
        pfn: Pfn,
        /// log2 of the pages.
        order: PageOrder,
    },
    /// A page was given back to a pageset as one of many.
    PageFreeBatched {
        /// The page.
        pfn: Pfn,
    },
    /// A block was taken off a zone's list.
    PageAllocZoneLocked {
        /// The block's first page.
        pfn: Pfn,
        /// log2 of the pages.
        order: PageOrder,
        /// Whose list.
        migratetype: MigrateType,
        /// Whether pagesets keep such blocks.
        percpu_refill: bool,
    },
    /// A block went from a pageset to its zone.
    PagePcpuDrain {
        /// The block's first page.
        pfn: Pfn,
        /// log2 of the pages.
        order: PageOrder,
        /// The type of its page block.
        migratetype: MigrateType,
    },
    /// A request was served from a page block of another type.
    PageAllocExtfrag {
        /// The first page of what it got.
        pfn: Pfn,
        /// log2 of the pages that it wanted.
        alloc_order: PageOrder,
        /// The order of the free block that was found.
        fallback_order: PageOrder,
        /// The request's type.
        alloc_migratetype: MigrateType,
        /// The other type.
        fallback_migratetype: MigrateType,
        /// Whether the page block is of the request's type now.
        change_ownership: bool,
    },
    /// The migrate scanner has looked at pages.
    CompactionIsolateMigratepages(Isolated),
    /// The free scanner has looked at pages.
    CompactionIsolateFreepages(Isolated),
    /// The free scanner has looked at the free lists.
    CompactionFastIsolateFreepages(Isolated),
    /// Pages were moved.
    CompactionMigratepages {
        /// How many were.
        migrated: Pages,
        /// How many could not be.
        failed: Pages,
    },
    /// Compaction of a zone starts.
    CompactionBegin(CompactionRun),
    /// Compaction of a zone has ended.
    CompactionEnd {
        /// Where its scanners are.
        run: CompactionRun,
        /// What came of it.
        result: CompactResult,
    },
    /// A request tries compaction.
    CompactionTryToCompactPages {
        /// log2 of the pages wanted.
        order: PageOrder,
        /// The request's flags.
        gfp: Gfp,
        /// `enum compact_priority`: 0 is the most thorough.
        priority: u32,
    },
    /// Whether compaction has reached its aim.
    CompactionFinished(Suitability),
    /// Whether compaction can help.
    CompactionSuitable(Suitability),
    /// Compaction is skipped, because it failed lately.
    CompactionDeferred(Deferral),
    /// Compaction failed, and will be skipped for longer.
    CompactionDeferCompaction(Deferral),
    /// Compaction has helped, and is skipped no more.
    CompactionDeferReset(Deferral),
    /// Background compaction of a node goes to sleep.
    CompactionKcompactdSleep {
        /// The node.
        nid: NodeId,
    },
    /// Background compaction is to wake up.
    CompactionWakeupKcompactd(Wakeup),
    /// Background compaction is awake.
    CompactionKcompactdWake(Wakeup),
    /// Background reclaim of a node goes to sleep.
    VmscanKswapdSleep {
        /// The node.
        nid: NodeId,
    },
    /// Background reclaim is awake.
    VmscanKswapdWake(Wakeup),
    /// Background reclaim starts.
    VmscanBalancePgdatBegin(Wakeup),
    /// Background reclaim has ended.
    VmscanBalancePgdatEnd {
        /// What it was for.
        wakeup: Wakeup,
        /// What it got.
        reclaimed: Pages,
    },
    /// Background reclaim is to wake up.
    VmscanWakeupKswapd {
        /// What for.
        wakeup: Wakeup,
        /// The flags of the request that needs it.
        gfp: Gfp,
    },
    /// A request reclaims memory itself.
    VmscanDirectReclaimBegin {
        /// log2 of the pages wanted.
        order: PageOrder,
        /// The request's flags.
        gfp: Gfp,
    },
    /// A request has reclaimed memory.
    VmscanDirectReclaimEnd {
        /// What it got.
        reclaimed: Pages,
    },
    /// A shrinker is asked to let go of objects.
    ShrinkSlabStart {
        /// Its name.
        shrinker: &'static str,
        /// The node.
        nid: NodeId,
        /// What it has put off so far.
        objects_to_shrink: u64,
        /// The flags of the request.
        gfp: Gfp,
        /// What it has.
        cache_items: u64,
        /// Its share of this round.
        delta: u64,
        /// How many it is asked for.
        total_scan: u64,
        /// How hard it is tried: 12 softly, 0 all.
        priority: u32,
    },
    /// A shrinker has done what it could.
    ShrinkSlabEnd {
        /// Its name.
        shrinker: &'static str,
        /// The node.
        nid: NodeId,
        /// What it let go of.
        freed: u64,
        /// What it had put off before.
        unused_scan: u64,
        /// What it puts off now.
        new_scan: u64,
        /// How many it is left asked for.
        total_scan: i64,
    },
    /// An object of a cache was asked for.
    KmemCacheAlloc {
        /// Who asked: an address of code; 0 for nobody known.
        call_site: u64,
        /// The object; none when there was none to be had.
        object: Option<ObjAddr>,
        /// The cache's name.
        name: CacheName,
        /// What of an object is its owner's.
        bytes_req: Bytes,
        /// What it takes up.
        bytes_alloc: Bytes,
        /// The request's flags.
        gfp: Gfp,
        /// The node that it was to lie on, if any.
        nid: NodeId,
        /// Whether it is charged to a group of processes.
        accounted: bool,
    },
    /// An object goes back to its cache.
    KmemCacheFree {
        /// Who gives it back.
        call_site: u64,
        /// The object.
        object: ObjAddr,
        /// The cache's name.
        name: CacheName,
    },
    /// An object was asked for by its size.
    Kmalloc {
        /// Who asked.
        call_site: u64,
        /// The object; none when there was none to be had.
        object: Option<ObjAddr>,
        /// The size that was asked for.
        bytes_req: Bytes,
        /// What it takes up.
        bytes_alloc: Bytes,
        /// The request's flags.
        gfp: Gfp,
        /// The node that it was to lie on, if any.
        nid: NodeId,
    },
    /// An object goes back, whosever it is.
    Kfree {
        /// Who gives it back.
        call_site: u64,
        /// The object, or [`ObjAddr::NULL`].
        object: ObjAddr,
    },
    /// A fault has found its VMA.
    FaultVma {
        /// The address space's number.
        mm: u32,
        /// The address.
        addr: VirtAddr,
        /// The VMA.
        vma: VirtRange,
        /// [`VmFlags`].
        flags: VmFlags,
        /// Whether its own lock was enough; the mmap lock otherwise.
        vma_lock: bool,
    },
    /// A fault has come by a table.
    FaultLevel {
        /// The address space's number.
        mm: u32,
        /// The address.
        addr: VirtAddr,
        /// The level.
        level: Level,
        /// The table's frame.
        table: Pfn,
        /// The entry that was there.
        entry: Entry,
    },
    /// A fault has put a page into a table, or entered one again.
    FaultPage {
        /// The address space's number.
        mm: u32,
        /// The address.
        addr: VirtAddr,
        /// What was done.
        how: FaultKind,
        /// The entry that is there now.
        entry: Entry,
    },
    /// A stack has grown.
    FaultExpand {
        /// The address space's number.
        mm: u32,
        /// Where it begins now.
        start: VirtAddr,
        /// Where it began before.
        was: VirtAddr,
    },
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FaultKind {
    /// The zero page, for whoever reads.
    Zero = 0,
    /// A zeroed page of anonymous memory.
    Anonymous = 1,
    /// 2 MiB of it.
    Huge = 2,
    /// A page with the content of a file.
    File = 3,
    /// A page of a shared object.
    Shared = 4,
    /// A copy, in the place of a page that others have, too.
    Cow = 5,
    /// The page was nobody else's, and may be written to from now on.
    Reuse = 6,
    /// The page was there, and the host had lost it.
    Spurious = 7,
}

/// Pages that a scanner of compaction has looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isolated {
    /// From where up to where.
    pub range: PfnRange,
    /// How many of them were looked at.
    pub scanned: Pages,
    /// How many of these were taken.
    pub taken: Pages,
}

/// A zone that is compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionRun {
    /// The zone's span.
    pub zone: PfnRange,
    /// Where pages to be moved are looked for.
    pub migrate_pfn: Pfn,
    /// Where free ones are.
    pub free_pfn: Pfn,
    /// Whether it may wait.
    pub sync: bool,
}

/// What compaction thinks of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suitability {
    /// The zone.
    pub zone: ZoneId,
    /// log2 of the pages wanted; `None` to compact all.
    pub order: Option<PageOrder>,
    /// The verdict.
    pub result: CompactResult,
}

/// How long compaction of a zone is put off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deferral {
    /// The zone.
    pub zone: ZoneId,
    /// log2 of the pages wanted.
    pub order: PageOrder,
    /// The lowest order that compaction failed for, one above the largest for
    /// none (`compact_order_failed`).
    pub order_failed: u32,
    /// How often it has been skipped (`compact_considered`).
    pub considered: u32,
    /// log2 of how often it is to be (`compact_defer_shift`).
    pub defer_shift: u32,
}

/// What a node's background work is woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wakeup {
    /// The node.
    pub nid: NodeId,
    /// log2 of the pages wanted; `None` to compact all.
    pub order: Option<PageOrder>,
    /// The highest zone that is of use.
    pub highest: ZoneType,
}

/// What came of compaction (`enum compact_result`, in its order).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum CompactResult {
    /// The zone's free memory is not so fragmented that it would help.
    NotSuitableZone = 0,
    /// There is too little free memory, or enough of it.
    Skipped = 1,
    /// It failed lately.
    Deferred = 2,
    /// No block is large enough yet.
    NoSuitablePage = 3,
    /// It goes on.
    Continue = 4,
    /// The whole zone was looked at in vain.
    Complete = 5,
    /// A part of the zone was looked at in vain.
    PartialSkipped = 6,
    /// Somebody else needed the lock or the CPU.
    Contended = 7,
    /// The request should be served now.
    Success = 8,
}
