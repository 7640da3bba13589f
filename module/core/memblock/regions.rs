// SPDX-License-Identifier: GPL-2.0

//! A region, and the sorted array of regions (`struct memblock_type`).
//!
//! ```text
//! cnt = 3, max = 8, total_size = 0x1f000 + 0x4000 + 0x10000
//!
//!   regions  [0x1000..0x20000 node 0][0x20000..0x24000 node 1][0x80000..0x90000 node 1] . . . . .
//! ```
//!
//! What holds for every array, and what [`MemblockType::validate`] checks: no
//! region is empty or runs past the end of the address space, each begins at
//! or behind the end of the one before it, and `total_size` is the sum of the
//! sizes. (The last one holds for `memory` only until it is trimmed:
//! `memblock_trim_memory()` does not correct the sum, and neither does this.)
//!
//! The functions here change one array within its storage. What may need
//! larger storage is in `edit.rs` and `resize.rs`.

use super::MemblockFlags;
use crate::error::Error;
use crate::error::Result;
use crate::phys::Bytes;
use crate::phys::CTable;
use crate::phys::NodeId;
use crate::phys::PfnRange;
use crate::phys::PhysAddr;
use crate::phys::PhysRange;
use core::mem;
use core::ops::Range;

/// One range with its attributes (`struct memblock_region`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct MemblockRegion {
    /// The first address.
    pub base: PhysAddr,
    /// The length.
    pub size: Bytes,
    /// The attributes.
    pub flags: MemblockFlags,
    /// The node, or [`NodeId::UNSET`] or [`NodeId::NONE`].
    pub nid: NodeId,
}

const _: () = assert!(mem::size_of::<MemblockRegion>() == 24);
const _: () = assert!(mem::offset_of!(MemblockRegion, size) == 8);
const _: () = assert!(mem::offset_of!(MemblockRegion, flags) == 16);
const _: () = assert!(mem::offset_of!(MemblockRegion, nid) == 20);

impl MemblockRegion {
    /// An unused slot of an array.
    pub const EMPTY: Self = Self {
        base: PhysAddr::ZERO,
        size: Bytes::ZERO,
        flags: MemblockFlags::NONE,
        nid: NodeId::UNSET,
    };

    /// The address behind the last one.
    pub fn end(&self) -> PhysAddr {
        self.base + self.size
    }

    /// The addresses of the region.
    pub fn range(&self) -> PhysRange {
        PhysRange {
            start: self.base,
            end: self.end(),
        }
    }

    /// The pages that lie in it whole (`memblock_region_memory_base_pfn` and
    /// `_end_pfn`); empty when there is none.
    pub fn memory_pfns(&self) -> PfnRange {
        self.range().whole_pages()
    }

    /// The pages that it touches (`memblock_region_reserved_base_pfn` and
    /// `_end_pfn`).
    pub fn reserved_pfns(&self) -> PfnRange {
        PfnRange {
            start: self.base.pfn_down(),
            end: self.end().pfn_up(),
        }
    }
}

/// A sorted array of regions (`struct memblock_type`).
pub type MemblockType<'m> = CTable<'m, MemblockRegion>;

const _: () = assert!(mem::size_of::<MemblockType<'_>>() == 40);

/// `size`, cut so that `base + size` stays an address (`memblock_cap_size`).
pub(super) fn cap_size(base: PhysAddr, size: Bytes) -> Bytes {
    size.min(PhysAddr::MAX - base)
}

impl MemblockType<'_> {
    /// The index of the region that holds `addr` (`memblock_search`).
    pub fn search(&self, addr: PhysAddr) -> Option<usize> {
        let at = self.first_ending_after(addr);
        let region = self.as_slice().get(at)?;
        (region.base <= addr).then_some(at)
    }

    /// Whether a region meets the `size` bytes at `base`
    /// (`memblock_overlaps_region`). An empty range meets a region that it
    /// lies inside of.
    pub fn overlaps(&self, base: PhysAddr, size: Bytes) -> bool {
        let end = base + cap_size(base, size);
        let region = self.as_slice().get(self.first_ending_after(base));
        region.is_some_and(|r| r.base < end)
    }

    /// The index of the lowest region that ends above `addr`.
    pub(super) fn first_ending_after(&self, addr: PhysAddr) -> usize {
        self.as_slice().partition_point(|r| r.end() <= addr)
    }

    /// Enters a region at `index` (`memblock_insert_region`).
    pub(super) fn insert_region(&mut self, index: usize, region: MemblockRegion) -> Result<()> {
        if !self.insert(index, region) {
            return Err(Error::Corrupt);
        }
        self.total_size += region.size;
        Ok(())
    }

    /// Takes the region at `index` out (`memblock_remove_region`).
    pub(super) fn remove_region(&mut self, index: usize) {
        if let Some(region) = self.remove(index) {
            self.total_size -= region.size;
        }
    }

    /// Merges neighbours that touch and have the same node and flags, as far
    /// as the regions `changed`, and one on each side of them, are concerned
    /// (`memblock_merge_regions`).
    pub(super) fn merge_regions(&mut self, changed: Range<usize>) {
        let mut at = changed.start.saturating_sub(1);
        let mut end = changed.end.min(self.cnt().saturating_sub(1));
        while at < end {
            let [this, next] = match self.as_mut_slice().get_mut(at..) {
                Some([this, next, ..]) => [this, next],
                _ => return,
            };
            if this.end() != next.base || this.nid != next.nid || this.flags != next.flags {
                at += 1;
                continue;
            }
            this.size += next.size;
            self.remove(at + 1);
            end -= 1;
        }
    }

    /// Checks what must hold for the array.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] when something does not.
    pub fn validate(&self) -> Result<()> {
        let mut sum = Bytes::ZERO;
        let mut end = PhysAddr::ZERO;
        for region in self.as_slice() {
            let region_end = region.base.checked_add(region.size);
            if region.size.is_zero() || region.base < end || region_end.is_none() {
                return Err(Error::Corrupt);
            }
            end = region.end();
            sum += region.size;
        }
        if self.cnt() > self.max() || self.total_size < sum {
            return Err(Error::Corrupt);
        }
        Ok(())
    }
}
