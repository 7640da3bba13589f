// SPDX-License-Identifier: GPL-2.0

//! Making memory smaller: to aligned borders, to a range, to a total.

use super::regions::cap_size;
use super::EarlyMemory;
use super::Memblock;
use super::MemblockFlags;
use super::MemblockKind;
use crate::error::Error;
use crate::error::Result;
use crate::phys::Bytes;
use crate::phys::PhysAddr;

impl EarlyMemory<'_, '_> {
    /// Shrinks all memory to borders that are multiples of `align`, a power of
    /// two; what has no room then goes (`memblock_trim_memory`). As in Linux,
    /// what regions lose is still counted in `total_size`.
    pub fn trim_memory(&mut self, align: Bytes) {
        let mut at = 0;
        while let Some(region) = self.memblock.memory.as_mut_slice().get_mut(at) {
            let end = region.end().align_down(align);
            match region.base.align_up(align).filter(|start| *start < end) {
                Some(start) => {
                    region.base = start;
                    region.size = end - start;
                    at += 1;
                }
                None => self.remove_region(MemblockKind::Memory, at),
            }
        }
    }

    /// Keeps the memory in a range, and what is not to be mapped outside of
    /// it, and ends all reservations outside (`memblock_cap_memory_range`).
    ///
    /// # Errors
    ///
    /// [`Error::MapEmpty`] when there is no memory yet, and those of
    /// [`EarlyMemory::add`].
    pub fn cap_memory_range(&mut self, base: PhysAddr, size: Bytes) -> Result<()> {
        if size.is_zero() {
            return Ok(());
        }
        if self.memblock.memory.total_size.is_zero() {
            return Err(Error::MapEmpty);
        }
        self.check_room_for_cuts()?;
        let inside = self.isolate_range(MemblockKind::Memory, base, size)?;
        let behind = inside.end..self.memblock.memory.cnt();
        for at in behind.rev().chain((0..inside.start).rev()) {
            let region = self.memblock.memory.as_slice().get(at);
            if region.is_some_and(|r| !r.flags.intersects(MemblockFlags::NOMAP)) {
                self.remove_region(MemblockKind::Memory, at);
            }
        }
        // Linux goes on when these fail, too: what stays reserved does no harm.
        let _ = self.remove_range(
            MemblockKind::Reserved,
            PhysAddr::ZERO,
            base - PhysAddr::ZERO,
        );
        let end = base + cap_size(base, size);
        let _ = self.remove_range(MemblockKind::Reserved, end, Bytes::MAX);
        self.keep_arrays()
    }

    /// Keeps the lowest `limit` bytes of memory, and no reservation above
    /// (`memblock_enforce_memory_limit`). Does nothing when there is less, or
    /// when `limit` is zero.
    ///
    /// # Errors
    ///
    /// Those of [`EarlyMemory::add`].
    pub fn enforce_memory_limit(&mut self, limit: Bytes) -> Result<()> {
        let Some(max_addr) = self.memblock.find_max_addr(limit) else {
            return Ok(());
        };
        self.check_room_for_cuts()?;
        self.remove_range(MemblockKind::Memory, max_addr, Bytes::MAX)?;
        // As above.
        let _ = self.remove_range(MemblockKind::Reserved, max_addr, Bytes::MAX);
        self.keep_arrays()
    }

    /// The same, but memory that is not to be mapped stays
    /// (`memblock_mem_limit_remove_map`).
    ///
    /// # Errors
    ///
    /// Those of [`EarlyMemory::add`].
    pub fn mem_limit_remove_map(&mut self, limit: Bytes) -> Result<()> {
        let Some(max_addr) = self.memblock.find_max_addr(limit) else {
            return Ok(());
        };
        self.cap_memory_range(PhysAddr::ZERO, max_addr - PhysAddr::ZERO)
    }

    /// Reserves the places of arrays again if they lie outside of the limit.
    /// Linux would hand them out as free.
    fn keep_arrays(&mut self) -> Result<()> {
        for kind in [MemblockKind::Memory, MemblockKind::Reserved] {
            if let Some(place) = self.array_range(kind) {
                if self.validate_reserved(place.start, place.size()).is_err() {
                    self.reserve_kern(place.start, place.size())?;
                }
            }
        }
        Ok(())
    }

    /// Refuses before anything has changed what would fail half-way, because a
    /// region of either array may have to be cut and there is no room for that.
    fn check_room_for_cuts(&self) -> Result<()> {
        let is_full = |kind| self.table(kind).cnt().saturating_add(2) > self.table(kind).max();
        let full = is_full(MemblockKind::Memory) || is_full(MemblockKind::Reserved);
        if full && (!self.can_resize || self.region.is_none()) {
            return Err(Error::MemblockArrayFull);
        }
        Ok(())
    }
}

impl Memblock<'_> {
    /// The address below which there are `limit` bytes of memory; `None` when
    /// there are not so many, or `limit` is zero (`__find_max_addr`).
    fn find_max_addr(&self, limit: Bytes) -> Option<PhysAddr> {
        if limit.is_zero() {
            return None;
        }
        let mut rest = limit;
        for region in self.memory.as_slice() {
            if rest <= region.size {
                return Some(region.base + rest).filter(|max| *max != PhysAddr::MAX);
            }
            rest -= region.size;
        }
        None
    }
}
