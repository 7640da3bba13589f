// SPDX-License-Identifier: GPL-2.0

//! Core's events as tracepoints, which perf, trace-cmd and tracefs know as
//! `shadowmm:mm_*`, `shadowmm:kmalloc` and so on.
//!
//! ```text
//! is_traced(point)   the tracepoint's static key: a nop that the kernel patches
//!                    to a jump when somebody listens
//! wants_pages()      whether somebody listens for pages: core's short ways are
//! wants_objects()    closed then, and spare the question; likewise for objects
//! trace(event)       rust_do_trace_X() of tracepoints.c, in plain numbers
//! ```

use crate::bindings;
use crate::shadow;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::SeqCst;
use kernel::ffi::c_int;
use shadowmm_core::phys::PageOrder;
use shadowmm_core::slab::ObjAddr;
use shadowmm_core::trace::TraceEvent;
use shadowmm_core::trace::TracePoint;

/// Whether somebody listens to one tracepoint.
macro_rules! is_listened_to {
    ($key:ident) => {
        // SAFETY: It is a tracepoint's own static key.
        unsafe {
            kernel::jump_label::static_branch_unlikely!(
                bindings::$key,
                kernel::bindings::tracepoint,
                key
            )
        }
    };
}

/// Whether somebody listens at `point`. With a constant, one jump label.
#[inline(always)]
pub(crate) fn is_traced(point: TracePoint) -> bool {
    use TracePoint::*;
    match point {
        PageAlloc => is_listened_to!(__tracepoint_mm_page_alloc),
        PageFree => is_listened_to!(__tracepoint_mm_page_free),
        PageFreeBatched => is_listened_to!(__tracepoint_mm_page_free_batched),
        PageAllocZoneLocked => is_listened_to!(__tracepoint_mm_page_alloc_zone_locked),
        PagePcpuDrain => is_listened_to!(__tracepoint_mm_page_pcpu_drain),
        PageAllocExtfrag => is_listened_to!(__tracepoint_mm_page_alloc_extfrag),
        CompactionIsolateMigratepages => {
            is_listened_to!(__tracepoint_mm_compaction_isolate_migratepages)
        }
        CompactionIsolateFreepages => {
            is_listened_to!(__tracepoint_mm_compaction_isolate_freepages)
        }
        CompactionFastIsolateFreepages => {
            is_listened_to!(__tracepoint_mm_compaction_fast_isolate_freepages)
        }
        CompactionMigratepages => is_listened_to!(__tracepoint_mm_compaction_migratepages),
        CompactionBegin => is_listened_to!(__tracepoint_mm_compaction_begin),
        CompactionEnd => is_listened_to!(__tracepoint_mm_compaction_end),
        CompactionTryToCompactPages => {
            is_listened_to!(__tracepoint_mm_compaction_try_to_compact_pages)
        }
        CompactionFinished => is_listened_to!(__tracepoint_mm_compaction_finished),
        CompactionSuitable => is_listened_to!(__tracepoint_mm_compaction_suitable),
        CompactionDeferred => is_listened_to!(__tracepoint_mm_compaction_deferred),
        CompactionDeferCompaction => is_listened_to!(__tracepoint_mm_compaction_defer_compaction),
        CompactionDeferReset => is_listened_to!(__tracepoint_mm_compaction_defer_reset),
        CompactionKcompactdSleep => is_listened_to!(__tracepoint_mm_compaction_kcompactd_sleep),
        CompactionWakeupKcompactd => is_listened_to!(__tracepoint_mm_compaction_wakeup_kcompactd),
        CompactionKcompactdWake => is_listened_to!(__tracepoint_mm_compaction_kcompactd_wake),
        VmscanKswapdSleep => is_listened_to!(__tracepoint_mm_vmscan_kswapd_sleep),
        VmscanKswapdWake => is_listened_to!(__tracepoint_mm_vmscan_kswapd_wake),
        VmscanBalancePgdatBegin => is_listened_to!(__tracepoint_mm_vmscan_balance_pgdat_begin),
        VmscanBalancePgdatEnd => is_listened_to!(__tracepoint_mm_vmscan_balance_pgdat_end),
        VmscanWakeupKswapd => is_listened_to!(__tracepoint_mm_vmscan_wakeup_kswapd),
        VmscanDirectReclaimBegin => is_listened_to!(__tracepoint_mm_vmscan_direct_reclaim_begin),
        VmscanDirectReclaimEnd => is_listened_to!(__tracepoint_mm_vmscan_direct_reclaim_end),
        ShrinkSlabStart => is_listened_to!(__tracepoint_mm_shrink_slab_start),
        ShrinkSlabEnd => is_listened_to!(__tracepoint_mm_shrink_slab_end),
        KmemCacheAlloc => is_listened_to!(__tracepoint_kmem_cache_alloc),
        KmemCacheFree => is_listened_to!(__tracepoint_kmem_cache_free),
        Kmalloc => is_listened_to!(__tracepoint_kmalloc),
        Kfree => is_listened_to!(__tracepoint_kfree),
        FaultVma => is_listened_to!(__tracepoint_mm_fault_vma),
        FaultLevel => is_listened_to!(__tracepoint_mm_fault_level),
        FaultPage => is_listened_to!(__tracepoint_mm_fault_page),
        FaultExpand => is_listened_to!(__tracepoint_mm_fault_expand),
    }
}

/// Calls the C function of one tracepoint, with each argument as it takes it.
macro_rules! tell {
    ($function:ident, $($argument:expr),+) => {
        // SAFETY: It takes plain numbers, and texts with their length, which live
        // until it returns, and may be called in any context.
        unsafe { bindings::$function($($argument as _),+) }
    };
}

/// How many of the tracepoints for pages somebody listens to.
static LISTENERS: AtomicU32 = AtomicU32::new(0);

/// Whether somebody listens to one of them.
pub(crate) fn wants_pages() -> bool {
    LISTENERS.load(SeqCst) != 0
}

/// Has the short ways of the shadow that runs closed, or opened, if there is one. One that
/// is not there yet looks for listeners when it is ([`refresh`]).
fn tell_shadow() {
    if let Some(shadow) = shadow::current_if_ready() {
        // Without an allocator there is nothing to close.
        let _ = shadow.with_mm(|mm| {
            mm.buddy().refresh_told();
            Ok(())
        });
    }
}

/// Somebody begins to listen: called by the kernel, before the first is heard.
#[no_mangle]
extern "C" fn shadowmm_trace_reg() -> c_int {
    LISTENERS.fetch_add(1, SeqCst);
    tell_shadow();
    0
}

/// Nobody listens any more to one of the two.
#[no_mangle]
extern "C" fn shadowmm_trace_unreg() {
    LISTENERS.fetch_sub(1, SeqCst);
    tell_shadow();
}

/// How many of the tracepoints for objects somebody listens to.
static OBJECT_LISTENERS: AtomicU32 = AtomicU32::new(0);

/// Whether somebody listens to one of them.
pub(crate) fn wants_objects() -> bool {
    OBJECT_LISTENERS.load(SeqCst) != 0
}

/// Has what CPUs keep of the shadow's objects closed, or opened, if there is any.
fn tell_objects() {
    if let Some(shadow) = shadow::current_if_ready() {
        // As above; and where the layer is not up, nothing is kept.
        let _ = shadow.with_mm(|mm| {
            mm.refresh_told();
            Ok(())
        });
    }
}

/// A shadow is there from now on, which those who began to listen before could not tell: it
/// looks for them after it is found by those who come.
pub(crate) fn refresh() {
    tell_shadow();
    tell_objects();
}

/// Somebody begins to listen: called by the kernel, before the first is heard.
#[no_mangle]
extern "C" fn shadowmm_trace_objects_reg() -> c_int {
    OBJECT_LISTENERS.fetch_add(1, SeqCst);
    tell_objects();
    0
}

/// Nobody listens any more to one of them.
#[no_mangle]
extern "C" fn shadowmm_trace_objects_unreg() {
    OBJECT_LISTENERS.fetch_sub(1, SeqCst);
    tell_objects();
}

/// Hands an event to its tracepoint.
pub(crate) fn trace(event: &TraceEvent) {
    use TraceEvent::*;
    match *event {
        PageAlloc {
            pfn,
            order,
            gfp,
            migratetype,
        } => {
            // As Linux has it, the last of all frames stands for none.
            let pfn = pfn.map_or(u64::MAX, |pfn| pfn.0);
            tell!(
                rust_do_trace_mm_page_alloc,
                pfn,
                order.get(),
                gfp.bits(),
                migratetype
            );
        }
        PageFree { pfn, order } => tell!(rust_do_trace_mm_page_free, pfn.0, order.get()),
        PageFreeBatched { pfn } => tell!(rust_do_trace_mm_page_free_batched, pfn.0),
        PageAllocZoneLocked {
            pfn,
            order,
            migratetype,
            percpu_refill,
        } => tell!(
            rust_do_trace_mm_page_alloc_zone_locked,
            pfn.0,
            order.get(),
            migratetype,
            percpu_refill
        ),
        PagePcpuDrain {
            pfn,
            order,
            migratetype,
        } => tell!(
            rust_do_trace_mm_page_pcpu_drain,
            pfn.0,
            order.get(),
            migratetype
        ),
        PageAllocExtfrag {
            pfn,
            alloc_order,
            fallback_order,
            alloc_migratetype,
            fallback_migratetype,
            change_ownership,
        } => tell!(
            rust_do_trace_mm_page_alloc_extfrag,
            pfn.0,
            alloc_order.get(),
            fallback_order.get(),
            alloc_migratetype,
            fallback_migratetype,
            change_ownership
        ),
        CompactionIsolateMigratepages(it) => tell!(
            rust_do_trace_mm_compaction_isolate_migratepages,
            it.range.start.0,
            it.range.end.0,
            it.scanned.0,
            it.taken.0
        ),
        CompactionIsolateFreepages(it) => tell!(
            rust_do_trace_mm_compaction_isolate_freepages,
            it.range.start.0,
            it.range.end.0,
            it.scanned.0,
            it.taken.0
        ),
        CompactionFastIsolateFreepages(it) => tell!(
            rust_do_trace_mm_compaction_fast_isolate_freepages,
            it.range.start.0,
            it.range.end.0,
            it.scanned.0,
            it.taken.0
        ),
        CompactionMigratepages { migrated, failed } => tell!(
            rust_do_trace_mm_compaction_migratepages,
            migrated.0,
            failed.0
        ),
        CompactionBegin(run) => tell!(
            rust_do_trace_mm_compaction_begin,
            run.zone.start.0,
            run.migrate_pfn.0,
            run.free_pfn.0,
            run.zone.end.0,
            run.sync
        ),
        CompactionEnd { run, result } => tell!(
            rust_do_trace_mm_compaction_end,
            run.zone.start.0,
            run.migrate_pfn.0,
            run.free_pfn.0,
            run.zone.end.0,
            run.sync,
            result
        ),
        CompactionTryToCompactPages {
            order,
            gfp,
            priority,
        } => tell!(
            rust_do_trace_mm_compaction_try_to_compact_pages,
            order.get(),
            gfp.bits(),
            priority
        ),
        CompactionFinished(it) => tell!(
            rust_do_trace_mm_compaction_finished,
            it.zone.nid().0,
            it.zone.kind(),
            order_or_all(it.order),
            it.result
        ),
        CompactionSuitable(it) => tell!(
            rust_do_trace_mm_compaction_suitable,
            it.zone.nid().0,
            it.zone.kind(),
            order_or_all(it.order),
            it.result
        ),
        CompactionDeferred(it) => tell!(
            rust_do_trace_mm_compaction_deferred,
            it.zone.nid().0,
            it.zone.kind(),
            it.order.get(),
            it.considered,
            it.defer_shift,
            it.order_failed
        ),
        CompactionDeferCompaction(it) => tell!(
            rust_do_trace_mm_compaction_defer_compaction,
            it.zone.nid().0,
            it.zone.kind(),
            it.order.get(),
            it.considered,
            it.defer_shift,
            it.order_failed
        ),
        CompactionDeferReset(it) => tell!(
            rust_do_trace_mm_compaction_defer_reset,
            it.zone.nid().0,
            it.zone.kind(),
            it.order.get(),
            it.considered,
            it.defer_shift,
            it.order_failed
        ),
        CompactionKcompactdSleep { nid } => {
            tell!(rust_do_trace_mm_compaction_kcompactd_sleep, nid.0)
        }
        CompactionWakeupKcompactd(it) => tell!(
            rust_do_trace_mm_compaction_wakeup_kcompactd,
            it.nid.0,
            order_or_all(it.order),
            it.highest
        ),
        CompactionKcompactdWake(it) => tell!(
            rust_do_trace_mm_compaction_kcompactd_wake,
            it.nid.0,
            order_or_all(it.order),
            it.highest
        ),
        VmscanKswapdSleep { nid } => tell!(rust_do_trace_mm_vmscan_kswapd_sleep, nid.0),
        VmscanKswapdWake(it) => tell!(
            rust_do_trace_mm_vmscan_kswapd_wake,
            it.nid.0,
            it.highest,
            order_or_all(it.order)
        ),
        VmscanBalancePgdatBegin(it) => tell!(
            rust_do_trace_mm_vmscan_balance_pgdat_begin,
            it.nid.0,
            order_or_all(it.order),
            it.highest
        ),
        VmscanBalancePgdatEnd { wakeup, reclaimed } => tell!(
            rust_do_trace_mm_vmscan_balance_pgdat_end,
            wakeup.nid.0,
            order_or_all(wakeup.order),
            wakeup.highest,
            reclaimed.0
        ),
        VmscanWakeupKswapd { wakeup, gfp } => tell!(
            rust_do_trace_mm_vmscan_wakeup_kswapd,
            wakeup.nid.0,
            wakeup.highest,
            order_or_all(wakeup.order),
            gfp.bits()
        ),
        VmscanDirectReclaimBegin { order, gfp } => tell!(
            rust_do_trace_mm_vmscan_direct_reclaim_begin,
            gfp.bits(),
            order.get()
        ),
        VmscanDirectReclaimEnd { reclaimed } => {
            tell!(rust_do_trace_mm_vmscan_direct_reclaim_end, reclaimed.0)
        }
        ShrinkSlabStart {
            shrinker,
            nid,
            objects_to_shrink,
            gfp,
            cache_items,
            delta,
            total_scan,
            priority,
        } => tell!(
            rust_do_trace_mm_shrink_slab_start,
            shrinker.as_ptr(),
            shrinker.len(),
            nid.0,
            objects_to_shrink,
            gfp.bits(),
            cache_items,
            delta,
            total_scan,
            priority
        ),
        ShrinkSlabEnd {
            shrinker,
            nid,
            freed,
            unused_scan,
            new_scan,
            total_scan,
        } => tell!(
            rust_do_trace_mm_shrink_slab_end,
            shrinker.as_ptr(),
            shrinker.len(),
            nid.0,
            freed,
            unused_scan,
            new_scan,
            total_scan
        ),
        KmemCacheAlloc {
            call_site,
            object,
            name,
            bytes_req,
            bytes_alloc,
            gfp,
            nid,
            accounted,
        } => {
            let name = name.as_str();
            tell!(
                rust_do_trace_kmem_cache_alloc,
                call_site,
                object.unwrap_or(ObjAddr::NULL).get(),
                name.as_ptr(),
                name.len(),
                bytes_req.0,
                bytes_alloc.0,
                gfp.bits(),
                nid.0,
                accounted
            );
        }
        KmemCacheFree {
            call_site,
            object,
            name,
        } => {
            let name = name.as_str();
            tell!(
                rust_do_trace_kmem_cache_free,
                call_site,
                object.get(),
                name.as_ptr(),
                name.len()
            );
        }
        Kmalloc {
            call_site,
            object,
            bytes_req,
            bytes_alloc,
            gfp,
            nid,
        } => tell!(
            rust_do_trace_kmalloc,
            call_site,
            object.unwrap_or(ObjAddr::NULL).get(),
            bytes_req.0,
            bytes_alloc.0,
            gfp.bits(),
            nid.0
        ),
        Kfree { call_site, object } => tell!(rust_do_trace_kfree, call_site, object.get()),
        FaultVma {
            mm,
            addr,
            vma,
            flags,
            vma_lock,
        } => tell!(
            rust_do_trace_mm_fault_vma,
            mm,
            addr.0,
            vma.start.0,
            vma.end.0,
            flags.0,
            vma_lock
        ),
        FaultLevel {
            mm,
            addr,
            level,
            table,
            entry,
        } => tell!(
            rust_do_trace_mm_fault_level,
            mm,
            addr.0,
            level,
            table.0,
            entry.0
        ),
        FaultPage {
            mm,
            addr,
            how,
            entry,
        } => tell!(
            rust_do_trace_mm_fault_page,
            mm,
            addr.0,
            how,
            entry.pfn().0,
            entry.0
        ),
        FaultExpand { mm, start, was } => {
            tell!(rust_do_trace_mm_fault_expand, mm, start.0, was.0)
        }
    }
}

/// An order, or -1 where the whole zone is meant.
fn order_or_all(order: Option<PageOrder>) -> i32 {
    order.map_or(-1, |order| order.get().into())
}
