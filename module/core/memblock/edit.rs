// SPDX-License-Identifier: GPL-2.0

//! Changes to the arrays: add and remove, and how a range is isolated.
//!
//! ```text
//! add      [--r0--)      [--r1--)            new range fills what is free,
//!              [====new=======)              then equal neighbours merge
//!          [--r0--)======[--r1--)
//!
//! isolate  [-----r0-----)[---r1---)          regions are cut at the borders,
//!              [====range====)               so that some lie in it whole
//!          [-r0)[--r1---)[-r2-)[r3)
//! ```

use super::regions::cap_size;
use super::EarlyMemory;
use super::MemblockFlags;
use super::MemblockKind;
use super::MemblockRegion;
use crate::error::Error;
use crate::error::Result;
use crate::phys::Bytes;
use crate::phys::NodeId;
use crate::phys::PhysAddr;
use core::ops::Range;

/// What one pass over an array found to insert, or inserted.
struct Filled {
    /// How many regions.
    nr_new: usize,
    /// From the first inserted one to the last.
    changed: Range<usize>,
}

impl EarlyMemory<'_, '_> {
    /// Adds usable memory of no node yet (`memblock_add`).
    ///
    /// What runs past the end of the address space is cut off, and an empty
    /// range changes nothing; so it is in all functions here.
    ///
    /// # Errors
    ///
    /// Those of an array that cannot grow: [`Error::MemblockArrayFull`] when
    /// it may not be resized yet or there is no memory behind the addresses,
    /// [`Error::MemblockNoMemory`] when no free range is large enough for it.
    /// So it is in all functions here.
    pub fn add(&mut self, base: PhysAddr, size: Bytes) -> Result<()> {
        self.add_node(base, size, NodeId::UNSET, MemblockFlags::NONE)
    }

    /// Adds usable memory of a node (`memblock_add_node`). What is there
    /// already stays as it is.
    ///
    /// # Errors
    ///
    /// Those of [`EarlyMemory::add`].
    pub fn add_node(
        &mut self,
        base: PhysAddr,
        size: Bytes,
        nid: NodeId,
        flags: MemblockFlags,
    ) -> Result<()> {
        self.add_range(MemblockKind::Memory, base, size, nid, flags)
    }

    /// Takes usable memory away (`memblock_remove`).
    ///
    /// # Errors
    ///
    /// Those of [`EarlyMemory::add`].
    pub fn remove(&mut self, base: PhysAddr, size: Bytes) -> Result<()> {
        self.remove_range(MemblockKind::Memory, base, size)
    }

    /// Reserves a range, be it memory or not (`memblock_reserve`).
    ///
    /// # Errors
    ///
    /// Those of [`EarlyMemory::add`].
    pub fn reserve(&mut self, base: PhysAddr, size: Bytes) -> Result<()> {
        self.reserve_node(base, size, NodeId::NONE, MemblockFlags::NONE)
    }

    /// Reserves a range for the kernel's own use (`memblock_reserve_kern`).
    ///
    /// # Errors
    ///
    /// Those of [`EarlyMemory::add`].
    pub fn reserve_kern(&mut self, base: PhysAddr, size: Bytes) -> Result<()> {
        self.reserve_node(base, size, NodeId::NONE, MemblockFlags::RSRV_KERN)
    }

    /// Reserves a range with a node and flags (`__memblock_reserve`). What is
    /// reserved already keeps its own.
    ///
    /// # Errors
    ///
    /// Those of [`EarlyMemory::add`].
    pub fn reserve_node(
        &mut self,
        base: PhysAddr,
        size: Bytes,
        nid: NodeId,
        flags: MemblockFlags,
    ) -> Result<()> {
        self.add_range(MemblockKind::Reserved, base, size, nid, flags)
    }

    /// Ends a reservation, or a part of it (`memblock_phys_free`).
    ///
    /// # Errors
    ///
    /// Those of [`EarlyMemory::add`]: a part may have to be split off.
    pub fn phys_free(&mut self, base: PhysAddr, size: Bytes) -> Result<()> {
        self.remove_range(MemblockKind::Reserved, base, size)
    }

    /// Adds a range to an array (`memblock_add_range`): first counts what it
    /// takes, unless there is room for the worst case, then inserts.
    fn add_range(
        &mut self,
        kind: MemblockKind,
        base: PhysAddr,
        size: Bytes,
        nid: NodeId,
        flags: MemblockFlags,
    ) -> Result<()> {
        let size = cap_size(base, size);
        if size.is_zero() {
            return Ok(());
        }
        let region = MemblockRegion {
            base,
            size,
            flags,
            nid,
        };
        let table = self.table_mut(kind);
        if table.cnt() == 0 {
            if !table.insert(0, region) {
                return Err(Error::MemblockArrayFull);
            }
            let leftover = !table.total_size.is_zero();
            table.total_size = size;
            self.warnings.leftover_size += u64::from(leftover);
            return Ok(());
        }
        // The worst case is a range that fills a gap before, between and
        // behind all regions.
        let mut insert = table.cnt().saturating_mul(2) < table.max();
        loop {
            let filled = self.fill(kind, region, insert)?;
            if filled.nr_new == 0 {
                return Ok(());
            }
            if insert {
                self.table_mut(kind).merge_regions(filled.changed);
                return Ok(());
            }
            while self.table(kind).cnt().saturating_add(filled.nr_new) > self.table(kind).max() {
                self.double_array(kind, base, size)?;
            }
            insert = true;
        }
    }

    /// Walks the gaps that `new` covers, and fills them if `insert` says so.
    fn fill(&mut self, kind: MemblockKind, new: MemblockRegion, insert: bool) -> Result<Filled> {
        let end = new.end();
        let mut base = new.base;
        let mut at = self.table(kind).first_ending_after(base);
        let mut filled = Filled {
            nr_new: 0,
            changed: 0..0,
        };
        loop {
            let region = self.table(kind).as_slice().get(at).copied();
            let region = region.filter(|r| r.base < end);
            let gap_end = region.map_or(end, |r| r.base);
            if base < gap_end {
                if let Some(region) = region {
                    self.warn_of_overlap(&new, &region);
                }
                if insert {
                    let piece = MemblockRegion {
                        base,
                        size: gap_end - base,
                        ..new
                    };
                    self.table_mut(kind).insert_region(at, piece)?;
                    if filled.nr_new == 0 {
                        filled.changed.start = at;
                    }
                    at += 1;
                    filled.changed.end = at;
                }
                filled.nr_new += 1;
            }
            let Some(region) = region else {
                return Ok(filled);
            };
            base = region.end().min(end);
            at += 1;
        }
    }

    fn warn_of_overlap(&mut self, new: &MemblockRegion, old: &MemblockRegion) {
        self.warnings.node_mismatch += u64::from(new.nid != old.nid);
        let flags_differ = !new.flags.is_none() && new.flags != old.flags;
        self.warnings.flags_mismatch += u64::from(flags_differ);
    }

    /// Cuts regions at the borders of a range, and returns the indices of
    /// those that lie in it (`memblock_isolate_range`).
    pub(super) fn isolate_range(
        &mut self,
        kind: MemblockKind,
        base: PhysAddr,
        size: Bytes,
    ) -> Result<Range<usize>> {
        let size = cap_size(base, size);
        if size.is_zero() {
            return Ok(0..0);
        }
        // Two borders make at most two regions more.
        while self.table(kind).cnt().saturating_add(2) > self.table(kind).max() {
            self.double_array(kind, base, size)?;
        }
        let end = base + size;
        let table = self.table_mut(kind);
        let mut at = table.first_ending_after(base);
        let mut inside = 0..0;
        while let Some(&region) = table.as_slice().get(at).filter(|r| r.base < end) {
            let cut = if region.base < base {
                base
            } else if region.end() > end {
                end
            } else {
                if inside.is_empty() {
                    inside.start = at;
                }
                at += 1;
                inside.end = at;
                continue;
            };
            let lower = MemblockRegion {
                size: cut - region.base,
                ..region
            };
            if let Some(upper) = table.as_mut_slice().get_mut(at) {
                upper.base = cut;
                upper.size -= lower.size;
            }
            table.total_size -= lower.size;
            table.insert_region(at, lower)?;
            // Below the range: go on behind the cut. Else: what lies before
            // the cut is inside the range now.
            if region.base < base {
                at += 1;
            }
        }
        Ok(inside)
    }

    /// Takes a range out of an array (`memblock_remove_range`).
    pub(super) fn remove_range(
        &mut self,
        kind: MemblockKind,
        base: PhysAddr,
        size: Bytes,
    ) -> Result<()> {
        let inside = self.isolate_range(kind, base, size)?;
        for at in inside.rev() {
            self.remove_region(kind, at);
        }
        Ok(())
    }

    /// Takes a region out; an array that is empty then should have no size
    /// left.
    pub(super) fn remove_region(&mut self, kind: MemblockKind, at: usize) {
        let table = self.table_mut(kind);
        table.remove_region(at);
        if table.cnt() == 0 && !table.total_size.is_zero() {
            self.warnings.leftover_size += 1;
        }
    }
}
