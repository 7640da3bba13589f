// SPDX-License-Identifier: GPL-2.0

//! What the stages between memblock and the buddy system ask of memblock.
//!
//! They walk the memory ranges over and over, and allocate while they walk.
//! [`EarlyAlloc`] is all that they see of memblock and of the region:
//!
//! ```text
//!            memory(i)   the ranges of RAM, with their nodes, lowest first
//! memblock --            alloc, free: descriptors, section tables, node data
//!                        region(): where the objects are placed
//!   sparse, node, zone
//! ```
//!
//! The ranges are asked for by index, as `for_each_mem_pfn_range()` does, so
//! that no borrow of memblock lasts from one range to the next.

use crate::error::Error;
use crate::error::Result;
use crate::memblock::EarlyMemory;
use crate::memblock::ALLOC_ACCESSIBLE;
use crate::phys::Bytes;
use crate::phys::NodeId;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PfnRange;
use crate::phys::PhysAddr;
use crate::phys::PhysRange;
use crate::phys::Region;

/// A cache line: what early objects are aligned to (`SMP_CACHE_BYTES`).
pub const SMP_CACHE_BYTES: Bytes = Bytes(64);

/// A shadow has fewer frames than this ([`Pfn`]).
const MAX_PFN: Pfn = Pfn(u32::MAX as u64);

/// How many allocations that are in two pieces of host memory are put aside
/// before the attempt is given up.
const MAX_ASIDE: usize = 8;

/// memblock and the region, as the early stages see them.
pub trait EarlyAlloc<'m> {
    /// The whole pages of the `index`-th range of memory and its node; `None`
    /// behind the last. Ranges are sorted and disjoint; one that has no whole
    /// page may come as an empty range. (`__next_mem_pfn_range`)
    fn memory(&self, index: usize) -> Option<(NodeId, PfnRange)>;

    /// Reserves memory at or above `min` if there is some, on `nid` if there
    /// is some, else anywhere (`memblock_alloc_try_nid_raw`).
    ///
    /// # Errors
    ///
    /// Memblock's, when there is no free range of that size.
    fn alloc(&mut self, size: Bytes, align: Bytes, min: PhysAddr, nid: NodeId)
        -> Result<PhysRange>;

    /// Gives back what [`EarlyAlloc::alloc`] returned (`memblock_phys_free`).
    ///
    /// # Errors
    ///
    /// Memblock's, when its arrays are full.
    fn free(&mut self, range: PhysRange) -> Result<()>;

    /// The region, to place objects in.
    ///
    /// # Errors
    ///
    /// [`Error::RegionMissing`] when there is no memory behind the addresses.
    fn region(&mut self) -> Result<&mut Region<'m>>;
}

impl<'m> EarlyAlloc<'m> for EarlyMemory<'_, 'm> {
    fn memory(&self, index: usize) -> Option<(NodeId, PfnRange)> {
        let region = self.mem_regions().get(index)?;
        Some((region.nid, region.memory_pfns()))
    }

    fn alloc(
        &mut self,
        size: Bytes,
        align: Bytes,
        min: PhysAddr,
        nid: NodeId,
    ) -> Result<PhysRange> {
        let start = self.alloc_try_nid_raw(size, align, min, ALLOC_ACCESSIBLE, nid)?;
        Ok(PhysRange::new(start, size))
    }

    fn free(&mut self, range: PhysRange) -> Result<()> {
        self.phys_free(range.start, range.size())
    }

    fn region(&mut self) -> Result<&mut Region<'m>> {
        self.region_mut().ok_or(Error::RegionMissing)
    }
}

/// Ranges of memory with their nodes, sorted and disjoint, to be walked as
/// often as needed.
pub trait MemoryRanges: Iterator<Item = (NodeId, PfnRange)> + Clone {}

impl<I: Iterator<Item = (NodeId, PfnRange)> + Clone> MemoryRanges for I {}

/// The ranges of `early` (`for_each_mem_pfn_range`).
pub fn memory_ranges<'a, 'm, E: EarlyAlloc<'m>>(
    early: &'a E,
) -> impl MemoryRanges + use<'a, 'm, E> {
    (0..).map_while(|index| early.memory(index))
}

/// Checks what all stages rely on, and returns how many pages there are.
///
/// # Errors
///
/// [`Error::MapEmpty`] without memory, [`Error::MapBadNode`] for memory
/// without a node, [`Error::MapNodeOverlap`] for ranges that are not sorted
/// and disjoint, [`Error::MapTooSparse`] for frames that 32 bits can't name.
pub fn check_memory(memory: impl MemoryRanges) -> Result<Pages> {
    let mut end = Pfn(0);
    let mut pages = Pages::ZERO;
    for (nid, range) in whole(memory) {
        if nid.is_none() {
            return Err(Error::MapBadNode);
        }
        if range.start < end {
            return Err(Error::MapNodeOverlap);
        }
        if range.end > MAX_PFN {
            return Err(Error::MapTooSparse);
        }
        end = range.end;
        pages += range.pages();
    }
    if pages.is_zero() {
        return Err(Error::MapEmpty);
    }
    Ok(pages)
}

/// The ranges that hold at least one page.
pub fn whole(memory: impl MemoryRanges) -> impl MemoryRanges {
    memory.filter(|(_, range)| !range.is_empty())
}

/// The ranges of one node.
pub fn on_node(memory: impl MemoryRanges, nid: NodeId) -> impl Iterator<Item = PfnRange> + Clone {
    whole(memory)
        .filter(move |&(on, _)| on == nid)
        .map(|(_, range)| range)
}

/// From the first to the last page of a node; empty at 0 for a node without
/// memory (`get_pfn_range_for_nid`).
pub fn pfn_range_for_nid(memory: impl MemoryRanges, nid: NodeId) -> PfnRange {
    on_node(memory, nid)
        .reduce(|a, b| PfnRange {
            start: a.start.min(b.start),
            end: a.end.max(b.end),
        })
        .unwrap_or_default()
}

/// The pages of `range` that are no memory of `nid`
/// (`__absent_pages_in_range`).
pub fn absent_pages_in_range(memory: impl MemoryRanges, nid: NodeId, range: PfnRange) -> Pages {
    let present = on_node(memory, nid)
        .map(|r| r.intersect(range).pages())
        .sum();
    range.pages() - present
}

/// Allocates memory that is one piece in the host too, so that an object can
/// be placed in it.
///
/// # Errors
///
/// Those of [`EarlyAlloc::alloc`]; [`Error::BootFailed`] when all that could
/// be had lies in two pieces.
pub fn alloc_in_one_piece<'m>(
    early: &mut impl EarlyAlloc<'m>,
    size: Bytes,
    align: Bytes,
    min: PhysAddr,
    nid: NodeId,
) -> Result<PhysRange> {
    let mut aside = [PhysRange::default(); MAX_ASIDE];
    let mut result = Err(Error::BootFailed);
    // What straddles two pieces is kept until another range is found, or the
    // search would find it again.
    for slot in &mut aside {
        match early.alloc(size, align, min, nid) {
            Ok(range) if !early.region()?.is_contiguous(range) => *slot = range,
            found => {
                result = found;
                break;
            }
        }
    }
    for range in aside.into_iter().filter(|range| !range.is_empty()) {
        early.free(range)?;
    }
    result
}
