// SPDX-License-Identifier: GPL-2.0

//! A zone of the running kernel, for the differential test: what host_zone.c
//! reads of it, in core's words, and requests on its node.

use crate::bindings;
use core::ptr::NonNull;
use kernel::prelude::*;
use shadowmm_core::buddy::MigrateType;
use shadowmm_core::buddy::PagesetState;
use shadowmm_core::buddy::ZoneState;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::CpuId;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::PageOrder;
use shadowmm_core::phys::Pages;
use shadowmm_core::phys::Pfn;
use shadowmm_core::phys::NR_PAGE_ORDERS;

/// A populated zone of the running kernel. Those are never freed.
#[derive(Clone, Copy)]
pub(crate) struct HostZone {
    zone: NonNull<kernel::bindings::zone>,
    /// Which kind.
    pub(crate) kind: ZoneType,
}

// SAFETY: A zone is shared by all CPUs, and what is read and written of it here
// is so in the kernel's own way.
unsafe impl Send for HostZone {}
// SAFETY: As above.
unsafe impl Sync for HostZone {}

/// The counts of a zone that its allocator changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ZoneNumbers {
    pub(crate) free: u64,
    pub(crate) free_cma: u64,
    pub(crate) free_highatomic: u64,
    pub(crate) free_blocks: u64,
    pub(crate) state: ZoneState,
    pub(crate) nr_free: [u64; NR_PAGE_ORDERS],
}

/// What a page is to the test.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageKind {
    /// Not one of the zone.
    Foreign,
    /// One that stays where it is.
    Fixed,
    /// One that its owner can move.
    Movable,
}

impl HostZone {
    /// The zone of this kind on a node, if it has memory.
    pub(crate) fn find(nid: NodeId, kind: ZoneType) -> Option<Self> {
        // SAFETY: Any numbers may be asked for.
        let zone = unsafe { bindings::shadowmm_host_zone(nid.0, kind as u32) };
        NonNull::new(zone).map(|zone| Self { zone, kind })
    }

    /// What does not change while memory and sysctls stay as they are.
    pub(crate) fn shape(&self) -> bindings::shadowmm_host_zone_shape {
        let mut shape = bindings::shadowmm_host_zone_shape::default();
        // SAFETY: The zone is one, and the struct is ours to be written.
        unsafe { bindings::shadowmm_host_zone_shape(self.zone.as_ptr(), &raw mut shape) };
        shape
    }

    /// The counts at the moment.
    pub(crate) fn numbers(&self) -> ZoneNumbers {
        let mut state = bindings::shadowmm_host_zone_state::default();
        // SAFETY: As above.
        unsafe { bindings::shadowmm_host_zone_state(self.zone.as_ptr(), &raw mut state) };
        ZoneNumbers {
            free: state.free,
            free_cma: state.free_cma,
            free_highatomic: state.free_highatomic,
            free_blocks: state.free_blocks,
            state: ZoneState {
                boost: Pages(state.boost),
                reserved_highatomic: Pages(state.reserved_highatomic),
                below_high: state.below_high,
                boosted: state.boosted,
            },
            nr_free: state.nr_free,
        }
    }

    /// Ends the boost of the watermarks.
    pub(crate) fn end_boost(&self) {
        // SAFETY: As above; the zone's lock is taken there.
        unsafe { bindings::shadowmm_host_zone_set_boost(self.zone.as_ptr(), 0) };
    }

    /// The numbers of a CPU's pageset. The CPU is online.
    pub(crate) fn pageset(&self, cpu: CpuId) -> PagesetState {
        let mut state = bindings::shadowmm_host_pageset::default();
        // SAFETY: As above, and a CPU that is online has a pageset.
        unsafe { bindings::shadowmm_host_pageset(self.zone.as_ptr(), cpu.0, &raw mut state) };
        PagesetState {
            count: state.count,
            high: state.high,
            high_min: state.high_min,
            high_max: state.high_max,
            batch: state.batch,
            free_count: state.free_count,
            alloc_factor: state.alloc_factor,
            prev_free_high_order: state.prev_free_high_order,
            free_high_batch: state.free_high_batch,
        }
    }

    /// Sets the limits of a CPU's pageset to those in `state`. The CPU is online.
    pub(crate) fn set_pageset_limits(&self, cpu: CpuId, state: &PagesetState) {
        // SAFETY: As above.
        unsafe {
            bindings::shadowmm_host_pageset_limits(
                self.zone.as_ptr(),
                cpu.0,
                state.high_min,
                state.high_max,
                state.batch,
            )
        };
    }

    /// After so many refreshes of the statistics a part of a CPU's pageset goes
    /// back; 0 for never. The CPU is online.
    pub(crate) fn set_pageset_expire(&self, cpu: CpuId, refreshes: u32) {
        // SAFETY: As above.
        unsafe {
            bindings::shadowmm_host_pageset_expire(self.zone.as_ptr(), cpu.0, refreshes);
        }
    }

    /// How far CPUs' counts may stray from the zone's; returns how far they were
    /// allowed to. May sleep.
    pub(crate) fn set_stat_threshold(&self, threshold: i32) -> i32 {
        // SAFETY: As above; preemption is on.
        unsafe { bindings::shadowmm_host_stat_threshold(self.zone.as_ptr(), threshold) }
    }

    /// The blocks of a free list, the next one to be given out first, as far as
    /// `room` holds them, and how many there are.
    pub(crate) fn free_list<'r>(
        &self,
        order: PageOrder,
        mt: MigrateType,
        room: &'r mut [u32],
    ) -> (&'r [u32], usize) {
        // SAFETY: As above; `room` is ours to be written as far as it goes.
        let count = unsafe {
            bindings::shadowmm_host_free_list(
                self.zone.as_ptr(),
                order.get().into(),
                mt as u32,
                room.as_mut_ptr(),
                room.len(),
            )
        };
        (room.get(..count).unwrap_or(room), count)
    }

    /// The same of a list of a CPU's pageset. The CPU is online.
    pub(crate) fn pageset_list<'r>(
        &self,
        cpu: CpuId,
        index: usize,
        room: &'r mut [u32],
    ) -> (&'r [u32], usize) {
        // SAFETY: As above.
        let count = unsafe {
            bindings::shadowmm_host_pageset_list(
                self.zone.as_ptr(),
                cpu.0,
                index as u32,
                room.as_mut_ptr(),
                room.len(),
            )
        };
        (room.get(..count).unwrap_or(room), count)
    }

    /// What this page is.
    pub(crate) fn page_kind(&self, pfn: Pfn) -> PageKind {
        // SAFETY: Any number may be asked for.
        match unsafe { bindings::shadowmm_host_page_kind(self.zone.as_ptr(), pfn.0) } {
            0 => PageKind::Foreign,
            2 => PageKind::Movable,
            _ => PageKind::Fixed,
        }
    }
}

/// The type of the page block around `pfn`, and whether it is isolated; `None`
/// where there is no memory.
pub(crate) fn pageblock(pfn: Pfn) -> Option<(MigrateType, bool)> {
    // SAFETY: Any number may be asked for.
    let bits = unsafe { bindings::shadowmm_host_pageblock(pfn.0) };
    let mt = MigrateType::ALL.get((bits & 7) as usize)?;
    Some((*mt, bits & 16 != 0))
}

/// How many nodes are online.
pub(crate) fn nr_online_nodes() -> usize {
    // SAFETY: Reads a number.
    unsafe { bindings::shadowmm_host_nr_online_nodes() as usize }
}

/// Takes a block on this node. The request does not sleep.
pub(crate) fn alloc(nid: NodeId, gfp: u32, order: PageOrder) -> Option<Pfn> {
    // SAFETY: The order is one, and the caller has looked at the flags.
    let pfn = unsafe { bindings::shadowmm_host_alloc(nid.0, gfp, order.get().into()) };
    (pfn != u64::MAX).then_some(Pfn(pfn))
}

/// Room for the pages of a bulk request.
pub(crate) struct BulkRoom {
    pages: KVVec<usize>,
    pfns: KVVec<u64>,
}

impl BulkRoom {
    /// Room for `count` pages.
    pub(crate) fn new(count: usize) -> Result<Self> {
        Ok(Self {
            pages: KVVec::from_elem(0, count, GFP_KERNEL)?,
            pfns: KVVec::from_elem(0, count, GFP_KERNEL)?,
        })
    }

    /// Takes up to `count` single pages on this node, as far as there is room.
    pub(crate) fn alloc(&mut self, nid: NodeId, gfp: u32, count: usize) -> &[u64] {
        let count = count.min(self.pfns.len());
        // SAFETY: Both have room for `count`; a pointer is as large as a usize.
        let came = unsafe {
            bindings::shadowmm_host_alloc_bulk(
                nid.0,
                gfp,
                self.pages.as_mut_ptr().cast(),
                self.pfns.as_mut_ptr(),
                count,
            )
        };
        self.pfns.get(..came).unwrap_or(&[])
    }
}

/// Gives a block back that [`alloc`] gave out, or a single page of the others.
///
/// # Safety
///
/// The block is the caller's, and of this order.
pub(crate) unsafe fn free(pfn: Pfn, order: PageOrder) {
    // SAFETY: The caller's promise.
    unsafe { bindings::shadowmm_host_free(pfn.0, order.get().into()) };
}

/// Gives single pages back.
///
/// # Safety
///
/// They are the caller's, and each is there once.
pub(crate) unsafe fn free_bulk(pfns: &[u64]) {
    // SAFETY: The caller's promise.
    unsafe { bindings::shadowmm_host_free_bulk(pfns.as_ptr(), pfns.len()) };
}

/// Makes single pages of a block.
///
/// # Safety
///
/// The block is the caller's, and of this order.
pub(crate) unsafe fn split(pfn: Pfn, order: PageOrder) {
    // SAFETY: The caller's promise.
    unsafe { bindings::shadowmm_host_split(pfn.0, order.get().into()) };
}
