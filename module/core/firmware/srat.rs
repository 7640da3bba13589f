// SPDX-License-Identifier: GPL-2.0

//! Which memory and which CPU belongs to which node: what the SRAT says.
//!
//! Follows `mm/numa_memblks.c` for memory, `arch/x86/mm/srat.c` for CPUs and
//! `drivers/acpi/numa/srat.c` for the numbering of nodes.

use super::e820::E820Table;
use crate::error::Error;
use crate::error::Result;
use crate::phys::CpuId;
use crate::phys::NodeId;
use crate::phys::PhysAddr;
use crate::phys::PhysRange;
use crate::phys::MAX_CPUS;
use crate::phys::MAX_NODES;

/// How many ranges all nodes have together (`NR_NODE_MEMBLKS`).
pub const NR_NODE_MEMBLKS: usize = MAX_NODES * 2;
/// Proximity domains are below it (`MAX_PXM_DOMAINS`).
pub const MAX_PXM_DOMAINS: usize = 256;

/// A range of one node (`struct numa_memblk`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumaMemblk {
    /// The first byte.
    pub start: PhysAddr,
    /// The byte behind the last one.
    pub end: PhysAddr,
    /// Whose it is.
    pub nid: NodeId,
    /// Whether the memory can be taken out of the running machine.
    pub hotplug: bool,
}

impl NumaMemblk {
    const NONE: Self = Self {
        start: PhysAddr::ZERO,
        end: PhysAddr::ZERO,
        nid: NodeId::NONE,
        hotplug: false,
    };

    /// The bytes.
    pub const fn range(&self) -> PhysRange {
        PhysRange {
            start: self.start,
            end: self.end,
        }
    }
}

/// The nodes' ranges (`struct numa_meminfo`), 4 KB.
pub struct NumaMeminfo {
    nr_blks: usize,
    blk: [NumaMemblk; NR_NODE_MEMBLKS],
}

impl Clone for NumaMeminfo {
    fn clone(&self) -> Self {
        Self {
            nr_blks: self.nr_blks,
            blk: self.blk,
        }
    }

    /// In place: nothing of it passes over the stack.
    fn clone_from(&mut self, source: &Self) {
        self.nr_blks = source.nr_blks;
        self.blk.copy_from_slice(&source.blk);
    }
}

impl Default for NumaMeminfo {
    fn default() -> Self {
        Self::NEW
    }
}

impl NumaMeminfo {
    /// No ranges.
    pub const NEW: Self = Self {
        nr_blks: 0,
        blk: [NumaMemblk::NONE; NR_NODE_MEMBLKS],
    };

    /// The ranges.
    pub fn blocks(&self) -> &[NumaMemblk] {
        self.blk.get(..self.nr_blks).unwrap_or(&[])
    }

    pub(super) fn blocks_mut(&mut self) -> &mut [NumaMemblk] {
        self.blk.get_mut(..self.nr_blks).unwrap_or(&mut [])
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.nr_blks == 0
    }

    /// Drops all ranges.
    pub fn clear(&mut self) {
        self.nr_blks = 0;
    }

    /// Appends a range of plain numbers, as they come from outside.
    ///
    /// # Errors
    ///
    /// [`Error::MapBadNode`], [`Error::MapEntryEmpty`],
    /// [`Error::MapEntryOverflow`], [`Error::MapTooManyEntries`]; nothing has
    /// changed then.
    pub fn push(&mut self, addr: u64, size: u64, nid: i32, hotplug: bool) -> Result<()> {
        if size == 0 {
            return Err(Error::MapEntryEmpty);
        }
        let end = addr.checked_add(size).ok_or(Error::MapEntryOverflow)?;
        self.add(NodeId(nid), PhysAddr(addr), PhysAddr(end), hotplug)
    }

    /// Appends a range; one that is empty or upside down is ignored
    /// (`numa_add_memblk()`).
    ///
    /// # Errors
    ///
    /// [`Error::MapBadNode`], [`Error::MapTooManyEntries`].
    pub fn add(
        &mut self,
        nid: NodeId,
        start: PhysAddr,
        end: PhysAddr,
        hotplug: bool,
    ) -> Result<()> {
        if nid.is_none() {
            return Err(Error::MapBadNode);
        }
        if start >= end {
            return Ok(());
        }
        let slot = self.blk.get_mut(self.nr_blks);
        *slot.ok_or(Error::MapTooManyEntries)? = NumaMemblk {
            start,
            end,
            nid,
            hotplug,
        };
        self.nr_blks += 1;
        Ok(())
    }

    fn get(&self, i: usize) -> NumaMemblk {
        self.blocks().get(i).copied().unwrap_or(NumaMemblk::NONE)
    }

    fn set(&mut self, i: usize, block: NumaMemblk) {
        if let Some(b) = self.blocks_mut().get_mut(i) {
            *b = block;
        }
    }

    /// Takes range `i` out and closes the gap (`numa_remove_memblk_from()`).
    fn remove(&mut self, i: usize) {
        if i < self.nr_blks {
            self.blk.copy_within(i + 1..self.nr_blks, i);
            self.nr_blks -= 1;
        }
    }

    /// Drops what holds no RAM, cuts the rest to where RAM starts and ends,
    /// and joins the ranges of a node where no other node lies between
    /// (`numa_cleanup_meminfo()`). Unlike Linux it keeps hot-pluggable ranges
    /// apart from others, because it has no memblock to mark them in, and
    /// leaves the ranges sorted.
    ///
    /// # Errors
    ///
    /// [`Error::MapNodeOverlap`] when two nodes claim the same bytes.
    pub fn cleanup(&mut self, e820: &E820Table) -> Result<()> {
        let low = e820.ram().map(|r| r.start).min().unwrap_or_default();
        let high = e820.ram().map(|r| r.end).max().unwrap_or_default();
        let mut i = 0;
        while i < self.nr_blks {
            let mut b = self.get(i);
            let has_ram = e820.ram().any(|r| !r.intersect(b.range()).is_empty());
            b.start = b.start.max(low);
            b.end = b.end.min(high);
            if !has_ram || b.start >= b.end {
                self.remove(i);
            } else {
                self.set(i, b);
                i += 1;
            }
        }
        let mut i = 0;
        while i < self.nr_blks {
            let mut j = i + 1;
            while j < self.nr_blks {
                if !self.join(i, j)? {
                    j += 1;
                }
            }
            i += 1;
        }
        self.sort();
        Ok(())
    }

    /// Sorts the ranges by where they start.
    pub(super) fn sort(&mut self) {
        self.blocks_mut()
            .sort_unstable_by_key(|b| (b.start, b.end, b.nid, b.hotplug));
    }

    /// Joins range `j` to range `i` if that takes in nothing of another node.
    fn join(&mut self, i: usize, j: usize) -> Result<bool> {
        let (a, b) = (self.get(i), self.get(j));
        if a.nid != b.nid {
            if a.start < b.end && b.start < a.end {
                return Err(Error::MapNodeOverlap);
            }
            return Ok(false);
        }
        let whole = NumaMemblk {
            start: a.start.min(b.start),
            end: a.end.max(b.end),
            ..a
        };
        let between = |k: &NumaMemblk| {
            let other = k.nid != a.nid || k.hotplug != a.hotplug;
            other && k.start < whole.end && whole.start < k.end
        };
        if a.hotplug != b.hotplug || self.blocks().iter().any(between) {
            return Ok(false);
        }
        self.set(i, whole);
        self.remove(j);
        Ok(true)
    }

    /// The node of `addr` (`meminfo_to_nid()`).
    pub fn node_of(&self, addr: PhysAddr) -> NodeId {
        let found = self.blocks().iter().find(|b| b.range().contains(addr));
        found.map_or(NodeId::NONE, |b| b.nid)
    }
}

/// One CPU and its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuAffinity {
    /// The CPU.
    pub cpu: CpuId,
    /// Its node.
    pub nid: NodeId,
}

/// The nodes of the CPUs (`x86_cpu_to_node_map`), 1 KB.
pub struct CpuMap {
    /// A node for each CPU number; negative for none.
    nid: [i16; MAX_CPUS],
}

impl Clone for CpuMap {
    fn clone(&self) -> Self {
        Self { nid: self.nid }
    }

    /// In place: nothing of it passes over the stack.
    fn clone_from(&mut self, source: &Self) {
        self.nid.copy_from_slice(&source.nid);
    }
}

impl Default for CpuMap {
    fn default() -> Self {
        Self::NEW
    }
}

impl CpuMap {
    /// No CPU has a node.
    pub const NEW: Self = Self {
        nid: [-1; MAX_CPUS],
    };

    /// Forgets all CPUs.
    pub fn clear(&mut self) {
        self.nid.fill(-1);
    }

    /// Gives a CPU a node, again if it had one (`numa_set_node()`).
    ///
    /// # Errors
    ///
    /// [`Error::MapBadNode`] for a node out of range,
    /// [`Error::MapTooManyEntries`] for a CPU number of [`MAX_CPUS`] or more.
    pub fn push(&mut self, cpu: u32, nid: i32) -> Result<()> {
        if NodeId(nid).is_none() {
            return Err(Error::MapBadNode);
        }
        let slot = self.nid.get_mut(cpu as usize);
        *slot.ok_or(Error::MapTooManyEntries)? = nid as i16;
        Ok(())
    }

    /// The node of a CPU (`early_cpu_to_node()`).
    pub fn node(&self, cpu: CpuId) -> NodeId {
        let nid = self.nid.get(cpu.0 as usize);
        nid.map_or(NodeId::NONE, |&nid| NodeId(i32::from(nid)))
    }

    /// The CPUs that have a node, in their order.
    pub fn iter(&self) -> impl Iterator<Item = CpuAffinity> + Clone + '_ {
        let all = (0..MAX_CPUS as u32).map(CpuId);
        let all = all.map(|cpu| CpuAffinity {
            cpu,
            nid: self.node(cpu),
        });
        all.filter(|c| !c.nid.is_none())
    }

    /// How many CPUs have a node.
    pub fn count(&self) -> usize {
        self.iter().count()
    }

    /// Puts every CPU that has a node on node `nid`.
    pub(super) fn set_all(&mut self, nid: NodeId) {
        for slot in self.nid.iter_mut().filter(|n| **n >= 0) {
            *slot = nid.0 as i16;
        }
    }
}

/// Which node a proximity domain of the firmware is: nodes are numbered in
/// the order in which domains are first met (`acpi_map_pxm_to_node()`).
#[derive(Clone)]
pub struct ProximityMap {
    node: [i8; MAX_PXM_DOMAINS],
    next: i8,
}

impl Default for ProximityMap {
    fn default() -> Self {
        Self::new()
    }
}

impl ProximityMap {
    /// No domain met yet.
    pub const fn new() -> Self {
        Self {
            node: [-1; MAX_PXM_DOMAINS],
            next: 0,
        }
    }

    /// The node of a domain, a new one when it is met first.
    ///
    /// # Errors
    ///
    /// [`Error::MapBadNode`] for a domain out of range or when there are too
    /// many ("Too many proximity domains").
    pub fn map(&mut self, pxm: u32) -> Result<NodeId> {
        let slot = self.node.get_mut(pxm as usize).ok_or(Error::MapBadNode)?;
        if *slot < 0 {
            if self.next as usize >= MAX_NODES {
                return Err(Error::MapBadNode);
            }
            *slot = self.next;
            self.next += 1;
        }
        Ok(NodeId(i32::from(*slot)))
    }

    /// The node of a domain that was met before (`pxm_to_node()`).
    pub fn node(&self, pxm: u32) -> NodeId {
        let node = self.node.get(pxm as usize);
        node.map_or(NodeId::NONE, |&n| NodeId(i32::from(n)))
    }
}
