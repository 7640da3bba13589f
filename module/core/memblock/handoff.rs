// SPDX-License-Identifier: GPL-2.0

//! The end of memblock: what is free becomes blocks for the buddy system
//! (`memblock_free_all`).
//!
//! ```text
//! memory     [===========================================]   NOMAP [======]
//! reserved      [k--]              [noinit-]
//!
//! reserved()    [k--]                                              [======]
//! free()     [0][   ][0][1][ 2  ][1]      [0][1][  2  ]
//! ```
//!
//! A block is as large as the alignment of its first page and the end of the
//! free range allow, and goes over in the order of the addresses. It is told
//! first which pages stay reserved, so that whoever keeps page descriptors can
//! note it.

use super::EarlyMemory;
use super::Memblock;
use super::MemblockFlags;
use super::MemblockKind;
use crate::phys::Bytes;
use crate::phys::NodeId;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PfnRange;
use crate::phys::PhysAddr;
use crate::phys::PhysRange;
use core::ops::Deref;

/// Takes what memblock hands over.
pub trait HandOffSink {
    /// The pages of `pfns` stay reserved (`memmap_init_reserved_range`). Some
    /// of them may be no memory at all; a range may come more than once.
    fn reserved(&mut self, pfns: PfnRange, nid: NodeId);

    /// The block of `order` at `pfn` is the buddy system's now
    /// (`memblock_free_pages`).
    fn free(&mut self, pfn: Pfn, order: PageOrder);
}

/// Two closures, the first for what stays reserved, the second for free blocks.
impl<R: FnMut(PfnRange, NodeId), F: FnMut(Pfn, PageOrder)> HandOffSink for (R, F) {
    fn reserved(&mut self, pfns: PfnRange, nid: NodeId) {
        (self.0)(pfns, nid)
    }

    fn free(&mut self, pfn: Pfn, order: PageOrder) {
        (self.1)(pfn, order)
    }
}

/// What memblock is after the hand-off: two arrays to be read and printed.
pub struct RetiredMemblock<'m> {
    memblock: Memblock<'m>,
    free_pages: Pages,
}

impl RetiredMemblock<'_> {
    /// How many pages were handed over.
    pub fn free_pages(&self) -> Pages {
        self.free_pages
    }
}

impl<'m> Deref for RetiredMemblock<'m> {
    type Target = Memblock<'m>;

    fn deref(&self) -> &Memblock<'m> {
        &self.memblock
    }
}

impl<'m> EarlyMemory<'_, 'm> {
    /// Hands all free pages below `max_low_pfn` over to `sink`, and names the
    /// reserved ones before (`memblock_free_all`). On x86-64 `max_low_pfn` is
    /// the page behind the last one of memory.
    pub fn free_all(
        mut self,
        max_low_pfn: Pfn,
        sink: &mut impl HandOffSink,
    ) -> RetiredMemblock<'m> {
        self.kho_scratch_only = false;
        // As in Linux: if the array had no room to cut a region, the mark stays.
        let _ = self.clear_hotplug(PhysAddr::ZERO, Bytes::MAX);
        self.init_reserved_pages(sink);
        let mut free_pages = Pages::ZERO;
        let filter = self.filter(NodeId::NONE, MemblockFlags::NONE);
        for (range, _) in self.memblock.free_ranges(filter) {
            free_pages += free_range(range, max_low_pfn, sink);
        }
        RetiredMemblock {
            memblock: self.memblock,
            free_pages,
        }
    }

    /// Names what stays reserved: memory that must not be mapped, and what is
    /// reserved unless its owner cares for the page descriptors
    /// (`memmap_init_reserved_pages`). Reserved regions get the node of the
    /// memory that they lie on.
    fn init_reserved_pages(&mut self, sink: &mut impl HandOffSink) {
        loop {
            let max_reserved = self.memblock.reserved.max();
            let mut at = 0;
            while let Some(&region) = self.memblock.memory.as_slice().get(at) {
                if region.flags.intersects(MemblockFlags::NOMAP) {
                    sink.reserved(region.reserved_pfns(), region.nid);
                }
                // As in Linux: if there is no room for it, the node stays open.
                let reserved = MemblockKind::Reserved;
                let _ = self.set_node(region.base, region.size, reserved, region.nid);
                at += 1;
            }
            // A larger array means a new reservation, maybe on memory that was
            // passed already.
            if self.memblock.reserved.max() == max_reserved {
                break;
            }
        }
        for region in self.memblock.reserved.as_slice() {
            if region.flags.intersects(MemblockFlags::RSRV_NOINIT) {
                continue;
            }
            let nid = if region.nid.is_none() {
                self.memblock.early_pfn_to_nid(region.base.pfn_down())
            } else {
                region.nid
            };
            sink.reserved(region.reserved_pfns(), nid);
        }
    }
}

impl Memblock<'_> {
    /// The node of the memory that a page starts in; where there is none, the
    /// lowest node with memory (`early_pfn_to_nid`).
    pub fn early_pfn_to_nid(&self, pfn: Pfn) -> NodeId {
        let found = self.search_pfn_nid(pfn).map(|(_, nid)| nid);
        found.filter(|nid| nid.0 >= 0).unwrap_or_else(|| {
            let nodes = self.memory.as_slice().iter().map(|region| region.nid);
            let lowest = nodes.filter(|nid| !nid.is_none()).min();
            lowest.unwrap_or(NodeId(0))
        })
    }
}

/// Hands over the whole pages of a free range (`__free_memory_core`) and
/// returns their number.
fn free_range(range: PhysRange, max_low_pfn: Pfn, sink: &mut impl HandOffSink) -> Pages {
    let pages = range.whole_pages();
    let end = pages.end.min(max_low_pfn);
    let mut at = pages.start;
    while at < end {
        let order = largest_order(at, end);
        sink.free(at, order);
        at = at + order.pages();
    }
    end - pages.start
}

/// The order of the largest block that may start at `start` and does not run
/// past `end` (`__free_pages_memory`). `start` is below `end`.
fn largest_order(start: Pfn, end: Pfn) -> PageOrder {
    let fits = |order: &PageOrder| start.is_aligned(*order) && start + order.pages() <= end;
    PageOrder::all().rev().find(fits).unwrap_or(PageOrder::ZERO)
}
