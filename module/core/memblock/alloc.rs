// SPDX-License-Identifier: GPL-2.0

//! The search for a free range, and the allocations.
//!
//! ```text
//! top-down    free   [..........]      [....[got]..]   <- the highest place below
//!                                           ^align      `end` that is aligned
//! bottom-up   free   [.[got]....]      [...........]
//!                      ^align
//! ```
//!
//! What an allocation gives up, in this order, when nothing is free: the node
//! (unless it must be exact), mirrored memory, the lower limit (for
//! `alloc_*`; the `phys_alloc_*` insist on it).
//!
//! No allocation is at address 0, nor anywhere on the first page.

use super::EarlyMemory;
use super::MemblockFlags;
use crate::error::Error;
use crate::error::Result;
use crate::phys::Bytes;
use crate::phys::NodeId;
use crate::phys::PhysAddr;
use crate::phys::PhysRange;
use crate::phys::PAGE_SIZE;

/// As upper limit: none (`MEMBLOCK_ALLOC_ANYWHERE`).
pub const ALLOC_ANYWHERE: PhysAddr = PhysAddr::MAX;
/// As upper limit: `current_limit` (`MEMBLOCK_ALLOC_ACCESSIBLE`).
pub const ALLOC_ACCESSIBLE: PhysAddr = PhysAddr::ZERO;
/// As upper limit: the same (`MEMBLOCK_ALLOC_NOLEAKTRACE`).
pub const ALLOC_NOLEAKTRACE: PhysAddr = PhysAddr(1);
/// What `alloc_low` stays below (`ARCH_LOW_ADDRESS_LIMIT`).
pub const ARCH_LOW_ADDRESS_LIMIT: PhysAddr = PhysAddr(0xffff_ffff);
/// The alignment of an allocation that asks for none, in bytes: x86-64's
/// cache line.
pub const SMP_CACHE_BYTES: Bytes = Bytes(64);

/// `round_up()` with Linux's outcome for an alignment that is no power of two
/// and past the end of the address space.
fn round_up(addr: PhysAddr, align: Bytes) -> PhysAddr {
    let below = addr.0.wrapping_sub(1) | align.0.wrapping_sub(1);
    PhysAddr(below.wrapping_add(1))
}

/// `round_down()`, likewise.
fn round_down(addr: PhysAddr, align: Bytes) -> PhysAddr {
    PhysAddr(addr.0 & !align.0.wrapping_sub(1))
}

impl EarlyMemory<'_, '_> {
    /// What a search asks for at first (`choose_memblock_flags`).
    fn choose_flags(&self) -> MemblockFlags {
        if self.kho_scratch_only {
            MemblockFlags::KHO_SCRATCH
        } else if self.has_some_mirror {
            MemblockFlags::MIRROR
        } else {
            MemblockFlags::NONE
        }
    }

    /// A free range (`memblock_find_in_range_node`).
    fn find_in_range_node(
        &self,
        size: Bytes,
        align: Bytes,
        start: PhysAddr,
        end: PhysAddr,
        nid: NodeId,
        flags: MemblockFlags,
    ) -> Option<PhysAddr> {
        let end = if end == ALLOC_ACCESSIBLE || end == ALLOC_NOLEAKTRACE {
            self.memblock.current_limit
        } else {
            end
        };
        let start = start.max(PhysAddr(PAGE_SIZE));
        let end = end.max(start);
        let free = self.memblock.free_ranges(self.filter(nid, flags));
        let clamp = |range: PhysRange| PhysRange {
            start: range.start.max(start).min(end),
            end: range.end.max(start).min(end),
        };
        let found = if self.memblock.bottom_up {
            free.map(|(range, _)| clamp(range)).find_map(|range| {
                let place = round_up(range.start, align);
                (place < range.end && range.end - place >= size).then_some(place)
            })
        } else {
            free.downwards()
                .map(|(range, _)| clamp(range))
                .filter(|range| range.end >= PhysAddr::ZERO + size)
                .find_map(|range| {
                    let place = round_down(range.end - size, align);
                    (place >= range.start).then_some(place)
                })
        };
        // Address 0 stands for failure in Linux.
        found.filter(|place| *place != PhysAddr::ZERO)
    }

    /// A free range of any node, mirrored if possible
    /// (`memblock_find_in_range`).
    pub(super) fn find_in_range(
        &self,
        start: PhysAddr,
        end: PhysAddr,
        size: Bytes,
        align: Bytes,
    ) -> Option<PhysAddr> {
        let flags = self.choose_flags();
        let find = |flags| self.find_in_range_node(size, align, start, end, NodeId::NONE, flags);
        find(flags).or_else(|| {
            let mirror = flags.intersects(MemblockFlags::MIRROR);
            mirror.then(|| find(MemblockFlags::NONE)).flatten()
        })
    }

    /// Finds and reserves `size` bytes from `start` up to `end`, on `nid`
    /// (`memblock_alloc_range_nid`). The address is a multiple of `align`, a
    /// power of two. With `exact_nid` no other node will do.
    ///
    /// Nothing is written to the memory.
    ///
    /// # Errors
    ///
    /// [`Error::MemblockNoMemory`] when nothing is free that meets the request,
    /// [`Error::MemblockArrayFull`] when it could not be entered as reserved.
    pub fn alloc_range_nid(
        &mut self,
        size: Bytes,
        align: Bytes,
        start: PhysAddr,
        end: PhysAddr,
        nid: NodeId,
        exact_nid: bool,
    ) -> Result<PhysAddr> {
        let align = if align.is_zero() {
            self.warnings.no_align += 1;
            SMP_CACHE_BYTES
        } else {
            align
        };
        let mut error = Error::MemblockNoMemory;
        let mut flags = self.choose_flags();
        loop {
            let nodes = [(nid, true), (NodeId::NONE, !nid.is_none() && !exact_nid)];
            for (nid, _) in nodes.into_iter().filter(|(_, allowed)| *allowed) {
                let found = self.find_in_range_node(size, align, start, end, nid, flags);
                if let Some(found) = found {
                    match self.reserve_node(found, size, nid, MemblockFlags::RSRV_KERN) {
                        Ok(()) => return Ok(found),
                        Err(e) => error = e,
                    }
                }
            }
            if !flags.intersects(MemblockFlags::MIRROR) {
                return Err(error);
            }
            flags = flags & !MemblockFlags::MIRROR;
            self.warnings.mirror_fallback += 1;
        }
    }

    /// Allocates anywhere below `current_limit` (`memblock_phys_alloc`).
    ///
    /// # Errors
    ///
    /// Those of [`EarlyMemory::alloc_range_nid`]; so it is for all that follow.
    pub fn phys_alloc(&mut self, size: Bytes, align: Bytes) -> Result<PhysAddr> {
        self.phys_alloc_range(size, align, PhysAddr::ZERO, ALLOC_ACCESSIBLE)
    }

    /// Allocates from `start` up to `end`, on any node
    /// (`memblock_phys_alloc_range`).
    pub fn phys_alloc_range(
        &mut self,
        size: Bytes,
        align: Bytes,
        start: PhysAddr,
        end: PhysAddr,
    ) -> Result<PhysAddr> {
        self.alloc_range_nid(size, align, start, end, NodeId::NONE, false)
    }

    /// Allocates on a node, else on any (`memblock_phys_alloc_try_nid`).
    pub fn phys_alloc_try_nid(
        &mut self,
        size: Bytes,
        align: Bytes,
        nid: NodeId,
    ) -> Result<PhysAddr> {
        self.alloc_range_nid(size, align, PhysAddr::ZERO, ALLOC_ACCESSIBLE, nid, false)
    }

    /// Allocates, and drops the lower limit if it must
    /// (`memblock_alloc_internal`).
    fn alloc_internal(
        &mut self,
        size: Bytes,
        align: Bytes,
        min_addr: PhysAddr,
        max_addr: PhysAddr,
        nid: NodeId,
        exact_nid: bool,
    ) -> Result<PhysAddr> {
        let max_addr = max_addr.min(self.memblock.current_limit);
        let first = self.alloc_range_nid(size, align, min_addr, max_addr, nid, exact_nid);
        if first.is_ok() || min_addr == PhysAddr::ZERO {
            return first;
        }
        self.alloc_range_nid(size, align, PhysAddr::ZERO, max_addr, nid, exact_nid)
    }

    /// Allocates on exactly this node; the memory is not zeroed
    /// (`memblock_alloc_exact_nid_raw`). `min_addr` is a wish, `max_addr` is not.
    pub fn alloc_exact_nid_raw(
        &mut self,
        size: Bytes,
        align: Bytes,
        min_addr: PhysAddr,
        max_addr: PhysAddr,
        nid: NodeId,
    ) -> Result<PhysAddr> {
        self.alloc_internal(size, align, min_addr, max_addr, nid, true)
    }

    /// Allocates on this node, else on any; the memory is not zeroed
    /// (`memblock_alloc_try_nid_raw`).
    pub fn alloc_try_nid_raw(
        &mut self,
        size: Bytes,
        align: Bytes,
        min_addr: PhysAddr,
        max_addr: PhysAddr,
        nid: NodeId,
    ) -> Result<PhysAddr> {
        self.alloc_internal(size, align, min_addr, max_addr, nid, false)
    }

    /// Allocates zeroed memory on this node, else on any
    /// (`memblock_alloc_try_nid`).
    ///
    /// # Errors
    ///
    /// Besides those of [`EarlyMemory::alloc_range_nid`],
    /// [`Error::RegionMissing`] or [`Error::ForeignPfn`] when there is no
    /// memory behind the addresses, and [`Error::PageReserved`] when somebody
    /// placed objects there without a reservation. So it is for all that follow.
    pub fn alloc_try_nid(
        &mut self,
        size: Bytes,
        align: Bytes,
        min_addr: PhysAddr,
        max_addr: PhysAddr,
        nid: NodeId,
    ) -> Result<PhysAddr> {
        if self.region.is_none() {
            return Err(Error::RegionMissing);
        }
        let addr = self.alloc_internal(size, align, min_addr, max_addr, nid, false)?;
        let range = PhysRange::new(addr, size);
        let zeroed = match self.region.as_deref() {
            Some(region) if !range.is_empty() => region.zero(range),
            _ => Ok(()),
        };
        if let Err(error) = zeroed {
            self.phys_free(addr, size)?;
            return Err(error);
        }
        Ok(addr)
    }

    /// Allocates zeroed memory (`memblock_alloc`).
    pub fn alloc(&mut self, size: Bytes, align: Bytes) -> Result<PhysAddr> {
        self.alloc_from(size, align, PhysAddr::ZERO)
    }

    /// The same, not zeroed (`memblock_alloc_raw`).
    pub fn alloc_raw(&mut self, size: Bytes, align: Bytes) -> Result<PhysAddr> {
        self.alloc_try_nid_raw(size, align, PhysAddr::ZERO, ALLOC_ACCESSIBLE, NodeId::NONE)
    }

    /// Allocates zeroed memory, above `min_addr` if possible
    /// (`memblock_alloc_from`).
    pub fn alloc_from(
        &mut self,
        size: Bytes,
        align: Bytes,
        min_addr: PhysAddr,
    ) -> Result<PhysAddr> {
        self.alloc_try_nid(size, align, min_addr, ALLOC_ACCESSIBLE, NodeId::NONE)
    }

    /// Allocates zeroed memory below 4 GiB (`memblock_alloc_low`).
    pub fn alloc_low(&mut self, size: Bytes, align: Bytes) -> Result<PhysAddr> {
        let max = ARCH_LOW_ADDRESS_LIMIT;
        self.alloc_try_nid(size, align, PhysAddr::ZERO, max, NodeId::NONE)
    }

    /// Allocates zeroed memory on a node, else on any (`memblock_alloc_node`).
    pub fn alloc_node(&mut self, size: Bytes, align: Bytes, nid: NodeId) -> Result<PhysAddr> {
        self.alloc_try_nid(size, align, PhysAddr::ZERO, ALLOC_ACCESSIBLE, nid)
    }

    /// Allocates a huge page, aligned to its size, not from mirrored memory and
    /// not zeroed (`memblock_alloc_hugetlb`).
    ///
    /// # Errors
    ///
    /// Those of [`EarlyMemory::alloc_range_nid`].
    pub fn alloc_hugetlb(&mut self, size: Bytes, nid: NodeId, exact: bool) -> Result<PhysAddr> {
        let flags = self.choose_flags() & !MemblockFlags::MIRROR;
        let find = |nid| {
            let (start, end) = (PhysAddr::ZERO, ALLOC_ACCESSIBLE);
            self.find_in_range_node(size, size, start, end, nid, flags)
                .map(|found| (found, nid))
        };
        let any = || (!exact).then(|| find(NodeId::NONE)).flatten();
        let (found, nid) = find(nid).or_else(any).ok_or(Error::MemblockNoMemory)?;
        let flags = MemblockFlags::RSRV_KERN | MemblockFlags::RSRV_HUGETLB;
        self.reserve_node(found, size, nid, flags)?;
        Ok(found)
    }
}
