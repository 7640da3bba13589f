// SPDX-License-Identifier: GPL-2.0

//! Changes to the regions of a range: their flags and their nodes.
//!
//! ```text
//! before   [-------------- node 0 --------------]
//! mark             [======NOMAP======]
//! after    [ node 0 )[ node 0, NOMAP )[ node 0  ]
//! ```
//!
//! The range is isolated, the regions in it are changed, and equal neighbours
//! merge again.

use super::EarlyMemory;
use super::MemblockFlags;
use super::MemblockKind;
use super::MemblockRegion;
use crate::error::Result;
use crate::phys::Bytes;
use crate::phys::NodeId;
use crate::phys::PhysAddr;

impl EarlyMemory<'_, '_> {
    /// Marks memory as hotpluggable (`memblock_mark_hotplug`).
    ///
    /// # Errors
    ///
    /// Those of [`EarlyMemory::add`], because regions may have to be split; so
    /// it is for all marks.
    pub fn mark_hotplug(&mut self, base: PhysAddr, size: Bytes) -> Result<()> {
        self.set_flag(MemblockKind::Memory, base, size, MemblockFlags::HOTPLUG)
    }

    /// Takes that mark back (`memblock_clear_hotplug`).
    pub fn clear_hotplug(&mut self, base: PhysAddr, size: Bytes) -> Result<()> {
        self.clear_flag(MemblockKind::Memory, base, size, MemblockFlags::HOTPLUG)
    }

    /// Marks memory as mirrored (`memblock_mark_mirror`). Does nothing unless
    /// mirrored memory was asked for ([`EarlyMemory::set_mirrored_kernelcore`]).
    pub fn mark_mirror(&mut self, base: PhysAddr, size: Bytes) -> Result<()> {
        if !self.mirrored_kernelcore {
            return Ok(());
        }
        self.has_some_mirror = true;
        self.set_flag(MemblockKind::Memory, base, size, MemblockFlags::MIRROR)
    }

    /// Marks memory as not to be mapped (`memblock_mark_nomap`).
    pub fn mark_nomap(&mut self, base: PhysAddr, size: Bytes) -> Result<()> {
        self.set_flag(MemblockKind::Memory, base, size, MemblockFlags::NOMAP)
    }

    /// Takes that mark back (`memblock_clear_nomap`).
    pub fn clear_nomap(&mut self, base: PhysAddr, size: Bytes) -> Result<()> {
        self.clear_flag(MemblockKind::Memory, base, size, MemblockFlags::NOMAP)
    }

    /// Marks memory as handed over by kexec (`memblock_mark_kho_scratch`).
    pub fn mark_kho_scratch(&mut self, base: PhysAddr, size: Bytes) -> Result<()> {
        self.set_flag(MemblockKind::Memory, base, size, MemblockFlags::KHO_SCRATCH)
    }

    /// Takes that mark back (`memblock_clear_kho_scratch`).
    pub fn clear_kho_scratch(&mut self, base: PhysAddr, size: Bytes) -> Result<()> {
        self.clear_flag(MemblockKind::Memory, base, size, MemblockFlags::KHO_SCRATCH)
    }

    /// Marks what is reserved in the range as initialised by its owner
    /// (`memblock_reserved_mark_noinit`).
    pub fn reserved_mark_noinit(&mut self, base: PhysAddr, size: Bytes) -> Result<()> {
        let flag = MemblockFlags::RSRV_NOINIT;
        self.set_flag(MemblockKind::Reserved, base, size, flag)
    }

    /// Marks what is reserved in the range as the kernel's own
    /// (`memblock_reserved_mark_kern`).
    pub fn reserved_mark_kern(&mut self, base: PhysAddr, size: Bytes) -> Result<()> {
        let flag = MemblockFlags::RSRV_KERN;
        self.set_flag(MemblockKind::Reserved, base, size, flag)
    }

    /// Sets the node of all regions in the range; regions that cross its
    /// border are split (`memblock_set_node`).
    ///
    /// # Errors
    ///
    /// Those of [`EarlyMemory::add`].
    pub fn set_node(
        &mut self,
        base: PhysAddr,
        size: Bytes,
        kind: MemblockKind,
        nid: NodeId,
    ) -> Result<()> {
        self.change(kind, base, size, |region| region.nid = nid)
    }

    fn set_flag(
        &mut self,
        kind: MemblockKind,
        base: PhysAddr,
        size: Bytes,
        flag: MemblockFlags,
    ) -> Result<()> {
        self.change(kind, base, size, |region| region.flags |= flag)
    }

    fn clear_flag(
        &mut self,
        kind: MemblockKind,
        base: PhysAddr,
        size: Bytes,
        flag: MemblockFlags,
    ) -> Result<()> {
        self.change(kind, base, size, |region| {
            region.flags = region.flags & !flag
        })
    }

    /// Changes all regions in a range, then merges (`memblock_setclr_flag`).
    fn change(
        &mut self,
        kind: MemblockKind,
        base: PhysAddr,
        size: Bytes,
        change: impl FnMut(&mut MemblockRegion),
    ) -> Result<()> {
        let inside = self.isolate_range(kind, base, size)?;
        let table = self.table_mut(kind);
        if let Some(regions) = table.as_mut_slice().get_mut(inside.clone()) {
            regions.iter_mut().for_each(change);
        }
        table.merge_regions(inside);
        Ok(())
    }
}
