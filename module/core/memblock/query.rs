// SPDX-License-Identifier: GPL-2.0

//! Questions about addresses, nodes and sums. None of them changes anything.

use super::Memblock;
use super::MemblockFlags;
use super::MemblockRegion;
use crate::phys::Bytes;
use crate::phys::NodeId;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PfnRange;
use crate::phys::PhysAddr;
use crate::phys::PAGE_SHIFT;

impl Memblock<'_> {
    /// How much memory there is, in bytes (`memblock_phys_mem_size`).
    pub fn phys_mem_size(&self) -> Bytes {
        self.memory.total_size
    }

    /// How much is reserved (`memblock_reserved_size`).
    pub fn reserved_size(&self) -> Bytes {
        self.reserved.total_size
    }

    /// How much below `limit` is reserved for the kernel itself, on a node or,
    /// if `nid` names none, on all (`memblock_reserved_kern_size`).
    pub fn reserved_kern_size(&self, limit: PhysAddr, nid: NodeId) -> Bytes {
        self.reserved_flag_size(limit, nid, MemblockFlags::RSRV_KERN)
    }

    /// The same of what is reserved for huge pages
    /// (`memblock_reserved_hugetlb_size`).
    pub fn reserved_hugetlb_size(&self, limit: PhysAddr, nid: NodeId) -> Bytes {
        self.reserved_flag_size(limit, nid, MemblockFlags::RSRV_HUGETLB)
    }

    fn reserved_flag_size(&self, limit: PhysAddr, nid: NodeId, flag: MemblockFlags) -> Bytes {
        self.reserved
            .as_slice()
            .iter()
            .take_while(|r| r.base <= limit)
            .filter(|r| r.flags.intersects(flag) && (nid.is_none() || nid == r.nid))
            .map(|r| r.end().min(limit) - r.base)
            .sum()
    }

    /// The memory that is not the kernel's own, in pages
    /// (`memblock_estimated_nr_free_pages`).
    pub fn estimated_nr_free_pages(&self) -> Pages {
        let kern = self.reserved_kern_size(PhysAddr::MAX, NodeId::NONE);
        (self.phys_mem_size() - kern).pages_down()
    }

    /// The lowest address of memory, 0 without any (`memblock_start_of_DRAM`).
    pub fn start_of_dram(&self) -> PhysAddr {
        self.memory
            .as_slice()
            .first()
            .map_or(PhysAddr::ZERO, |r| r.base)
    }

    /// The address behind the highest of memory, 0 without any
    /// (`memblock_end_of_DRAM`).
    pub fn end_of_dram(&self) -> PhysAddr {
        let last = self.memory.as_slice().last();
        last.map_or(PhysAddr::ZERO, MemblockRegion::end)
    }

    fn memory_at(&self, addr: PhysAddr) -> Option<&MemblockRegion> {
        self.memory.as_slice().get(self.memory.search(addr)?)
    }

    /// Whether `addr` is reserved (`memblock_is_reserved`).
    pub fn is_reserved(&self, addr: PhysAddr) -> bool {
        self.reserved.search(addr).is_some()
    }

    /// Whether `addr` is memory (`memblock_is_memory`).
    pub fn is_memory(&self, addr: PhysAddr) -> bool {
        self.memory.search(addr).is_some()
    }

    /// Whether `addr` is memory that may be mapped (`memblock_is_map_memory`).
    pub fn is_map_memory(&self, addr: PhysAddr) -> bool {
        let region = self.memory_at(addr);
        region.is_some_and(|r| !r.flags.intersects(MemblockFlags::NOMAP))
    }

    /// Whether the `size` bytes at `base` lie in one region of memory
    /// (`memblock_is_region_memory`).
    pub fn is_region_memory(&self, base: PhysAddr, size: Bytes) -> bool {
        let region = self.memory_at(base);
        region.is_some_and(|r| r.end() >= base + size)
    }

    /// Whether any of the `size` bytes at `base` is reserved
    /// (`memblock_is_region_reserved`).
    pub fn is_region_reserved(&self, base: PhysAddr, size: Bytes) -> bool {
        self.reserved.overlaps(base, size)
    }

    /// The region of memory that a page starts in: its pages, cut short at
    /// both ends to page borders below, and its node
    /// (`memblock_search_pfn_nid`).
    pub fn search_pfn_nid(&self, pfn: Pfn) -> Option<(PfnRange, NodeId)> {
        let region = self.memory_at(pfn.addr())?;
        let pfns = PfnRange {
            start: region.base.pfn_down(),
            end: region.end().pfn_down(),
        };
        Some((pfns, region.nid))
    }

    /// Whether at most `threshold` bytes of memory belong to no node
    /// (`memblock_validate_numa_coverage`).
    pub fn validate_numa_coverage(&self, threshold: Bytes) -> bool {
        let lost: Pages = self
            .mem_pfn_ranges(NodeId::NONE)
            .filter(|(_, nid)| nid.is_none())
            .map(|(pfns, _)| pfns.pages())
            .sum();
        lost.0 << PAGE_SHIFT <= threshold.0
    }
}
