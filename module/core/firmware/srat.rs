// SPDX-License-Identifier: GPL-2.0

//! Which memory belongs to which node: what the SRAT says.
//!
//! Follows `mm/numa_memblks.c` for memory and `drivers/acpi/numa/srat.c` for
//! the numbering of nodes.

use super::e820::E820Table;
use crate::error::Error;
use crate::error::Result;
use crate::nodemask::NodeMask;
use crate::phys::NodeId;
use crate::phys::PhysAddr;
use crate::phys::PhysRange;
use crate::phys::MAX_NODES;
use crate::slices;

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
    /// Whose ranges were added, also where nothing is left of them.
    parsed: NodeMask,
    nr_blks: usize,
    blk: [NumaMemblk; NR_NODE_MEMBLKS],
}

impl Clone for NumaMeminfo {
    fn clone(&self) -> Self {
        Self {
            parsed: self.parsed,
            nr_blks: self.nr_blks,
            blk: self.blk,
        }
    }

    /// In place: nothing of it passes over the stack.
    fn clone_from(&mut self, source: &Self) {
        self.parsed = source.parsed;
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
        parsed: NodeMask::NONE,
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

    /// The nodes that ranges were added for, whether RAM lies in them or not
    /// (`numa_nodes_parsed`).
    pub fn parsed(&self) -> NodeMask {
        self.parsed
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.nr_blks == 0
    }

    /// Drops all ranges.
    pub fn clear(&mut self) {
        self.parsed = NodeMask::NONE;
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
            self.parsed.insert(nid);
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
        self.parsed.insert(nid);
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

    /// Puts a range before range `i`.
    fn insert(&mut self, i: usize, block: NumaMemblk) -> Result<()> {
        if i > self.nr_blks || self.nr_blks >= NR_NODE_MEMBLKS {
            return Err(Error::MapTooManyEntries);
        }
        self.nr_blks += 1;
        slices::insert(self.blocks_mut(), i, block);
        Ok(())
    }

    /// Takes range `i` out and closes the gap (`numa_remove_memblk_from()`).
    fn remove(&mut self, i: usize) {
        if slices::remove(self.blocks_mut(), i).is_some() {
            self.nr_blks -= 1;
        }
    }

    /// Drops what holds no RAM, cuts the rest to where RAM starts and ends,
    /// and joins the ranges of a node where no other node lies between, with
    /// the hole between them (`numa_cleanup_meminfo()`). The ranges are sorted
    /// then.
    ///
    /// Linux marks hot-pluggable memory in memblock; here it stays a range of
    /// its own, which may lie on the node's other one:
    ///
    /// ```text
    /// SRAT      0 ____    0 hhhh    1 ____    0 hhhh 0 hhhh
    /// joined    0 ______________    1 ____    0 hhhhhhhhhhh   no RAM in the hole
    ///                     0 hhhh
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::MapNodeOverlap`] when two nodes claim the same bytes;
    /// [`Error::MapTooManyEntries`] when the table is full of hot-pluggable
    /// ranges with forgotten RAM between them.
    pub fn cleanup(&mut self, e820: &E820Table) -> Result<()> {
        let low = e820.ram().map(|r| r.start).min().unwrap_or_default();
        let high = e820.ram().map(|r| r.end).max().unwrap_or_default();
        let mut i = 0;
        while i < self.nr_blks {
            let mut b = self.get(i);
            let has_ram = has_ram(e820, b.range());
            b.start = b.start.max(low);
            b.end = b.end.min(high);
            if !has_ram || b.start >= b.end {
                self.remove(i);
            } else {
                self.set(i, b);
                i += 1;
            }
        }
        self.sort();
        for (i, a) in self.blocks().iter().enumerate() {
            let mut others = self.blocks().iter().skip(i + 1).filter(|b| b.nid != a.nid);
            if others.any(|b| a.start < b.end && b.start < a.end) {
                return Err(Error::MapNodeOverlap);
            }
        }
        // Nodes do not overlap: what nothing parts stands together.
        let mut i = 0;
        while i < self.nr_blks {
            i = self.join_run(i, e820)?;
        }
        self.sort();
        Ok(())
    }

    /// Sorts the ranges by where they start.
    pub(super) fn sort(&mut self) {
        slices::sort_by_key(self.blocks_mut(), |b| (b.start, b.end, b.nid, b.hotplug));
    }

    /// Joins the ranges from `first` on that are of the same node; says where
    /// the next node's start.
    fn join_run(&mut self, first: usize, e820: &E820Table) -> Result<usize> {
        let mut whole = NumaMemblk {
            hotplug: false,
            ..self.get(first)
        };
        // Where the joined ranges of either kind are, so far.
        let (mut plain, mut hot) = (None, None);
        let mut parted = false;
        let mut i = first;
        while i < self.nr_blks && self.get(i).nid == whole.nid {
            let b = self.get(i);
            whole.end = whole.end.max(b.end);
            let last = if b.hotplug { &mut hot } else { &mut plain };
            let Some(k) = *last else {
                *last = Some(i);
                i += 1;
                continue;
            };
            let mut a = self.get(k);
            let hole = PhysRange {
                start: a.end,
                end: b.start,
            };
            if b.hotplug && has_ram(e820, hole) {
                parted = true;
                *last = Some(i);
                i += 1;
                continue;
            }
            a.end = a.end.max(b.end);
            self.set(k, a);
            self.remove(i);
        }
        if let Some(k) = plain {
            self.set(k, whole);
        } else if parted {
            self.insert(first, whole)?;
            i += 1;
        }
        Ok(i)
    }

    /// The node of `addr` (`meminfo_to_nid()`).
    pub fn node_of(&self, addr: PhysAddr) -> NodeId {
        let found = self.blocks().iter().find(|b| b.range().contains(addr));
        found.map_or(NodeId::NONE, |b| b.nid)
    }
}

/// Whether any RAM lies in the range.
fn has_ram(e820: &E820Table, range: PhysRange) -> bool {
    e820.ram().any(|r| !r.intersect(range).is_empty())
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
