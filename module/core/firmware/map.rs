// SPDX-License-Identifier: GPL-2.0

//! The whole map of a machine, and what Linux concludes from it.

use super::cpus::CpuMap;
use super::e820::E820Table;
use super::slit::Slit;
use super::srat::NumaMemblk;
use super::srat::NumaMeminfo;
use crate::error::Error;
use crate::error::Result;
use crate::phys::Bytes;
use crate::phys::NodeId;
use crate::phys::Pages;
use crate::phys::PfnRange;
use crate::phys::PhysAddr;
use crate::phys::MAX_NODES;

/// Where DMA memory ends on the original machine: the 24 bits of ISA
/// (`MAX_DMA_PFN`).
pub const DMA_LIMIT: PhysAddr = PhysAddr(16 << 20);
/// Where 32-bit DMA memory ends on the original machine (`MAX_DMA32_PFN`).
pub const DMA32_LIMIT: PhysAddr = PhysAddr(4 << 30);

/// How much RAM may lack a node before Linux throws the whole SRAT away
/// (`memblock_validate_numa_coverage(SZ_1M)`).
const NODELESS_LIMIT: Bytes = Bytes(1 << 20);

/// Where a map comes from. The numbers are those of the ABI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum MapSource {
    /// Made up by [`super::builtin()`].
    #[default]
    Builtin = 0,
    /// The machine that the shadow runs on.
    Host = 1,
    /// A boot log.
    Log = 2,
}

impl MapSource {
    /// The source with this number.
    pub const fn from_raw(raw: u32) -> Option<Self> {
        match raw {
            0 => Some(Self::Builtin),
            1 => Some(Self::Host),
            2 => Some(Self::Log),
            _ => None,
        }
    }
}

/// What the nodes of a resolved map rest on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NumaSource {
    /// The map is not resolved.
    #[default]
    Unresolved,
    /// The SRAT's ranges.
    Srat,
    /// There was no SRAT: one node has everything (`dummy_numa_init()`).
    Dummy,
    /// The SRAT leaves more than 1 MiB of RAM without a node, so Linux
    /// ignores it, and one node has everything.
    Rejected,
}

/// The firmware's description of a machine. About 25 KB: it lives in its
/// owner's storage, starts as [`FirmwareMap::NEW`], and does not travel by
/// value.
pub struct FirmwareMap {
    /// The ranges and their types.
    pub e820: E820Table,
    /// The nodes' ranges.
    pub meminfo: NumaMeminfo,
    /// The CPUs' nodes.
    pub cpus: CpuMap,
    /// The nodes' distances.
    pub slit: Slit,
    /// Where it comes from.
    pub source: MapSource,
    /// What the nodes rest on.
    pub numa: NumaSource,
}

impl Clone for FirmwareMap {
    fn clone(&self) -> Self {
        Self {
            e820: self.e820.clone(),
            meminfo: self.meminfo.clone(),
            cpus: self.cpus.clone(),
            slit: self.slit.clone(),
            source: self.source,
            numa: self.numa,
        }
    }

    /// In place: nothing of it passes over the stack.
    fn clone_from(&mut self, source: &Self) {
        self.e820.clone_from(&source.e820);
        self.meminfo.clone_from(&source.meminfo);
        self.cpus.clone_from(&source.cpus);
        self.slit.clone_from(&source.slit);
        self.source = source.source;
        self.numa = source.numa;
    }
}

impl Default for FirmwareMap {
    fn default() -> Self {
        Self::NEW
    }
}

impl FirmwareMap {
    /// A map with nothing in it.
    pub const NEW: Self = Self {
        e820: E820Table::NEW,
        meminfo: NumaMeminfo::NEW,
        cpus: CpuMap::NEW,
        slit: Slit::NEW,
        source: MapSource::Builtin,
        numa: NumaSource::Unresolved,
    };

    /// Drops everything.
    pub fn clear(&mut self) {
        self.e820.clear();
        self.clear_numa();
        self.source = MapSource::Builtin;
    }

    pub(super) fn clear_numa(&mut self) {
        self.meminfo.clear();
        self.cpus.clear();
        self.slit.clear();
        self.numa = NumaSource::Unresolved;
    }

    /// Decides what Linux decides from such a map: overlaps of the e820 table
    /// ([`E820Table::update`]), the nodes' ranges ([`NumaMeminfo::cleanup`]),
    /// and what to do without nodes (`x86_numa_init()`). After it every byte
    /// of RAM belongs to exactly one node. Doing it again changes nothing.
    ///
    /// RAM that the SRAT forgot goes to the neighbouring node if it is 1 MiB
    /// or less (Linux leaves it without a node); if it is more, the SRAT is
    /// ignored.
    ///
    /// # Errors
    ///
    /// [`Error::MapEmpty`] without RAM, [`Error::MapEntryOverflow`] when an
    /// entry runs past the end of the address space, and
    /// [`Error::MapNodeOverlap`] when two nodes claim the same memory (Linux
    /// would go on with one node).
    pub fn resolve(&mut self) -> Result<()> {
        if !self.e820.update() {
            // Fewer than two entries need no settling, but must make sense.
            let wraps = |r: &super::E820Entry| r.addr.checked_add(r.size).is_none();
            if self.e820.entries().iter().any(wraps) {
                return Err(Error::MapEntryOverflow);
            }
        }
        let Some(top) = self.e820.ram().map(|r| r.end).max() else {
            return Err(Error::MapEmpty);
        };
        let was_empty = self.meminfo.is_empty();
        self.meminfo.cleanup(&self.e820)?;
        if self.meminfo.is_empty() || self.nodeless() > NODELESS_LIMIT {
            self.numa = if was_empty {
                NumaSource::Dummy
            } else {
                NumaSource::Rejected
            };
            self.meminfo.clear();
            self.slit.clear();
            self.cpus.set_all(NodeId(0));
            self.meminfo.add(NodeId(0), PhysAddr::ZERO, top, false)?;
            return self.meminfo.cleanup(&self.e820);
        }
        if self.numa == NumaSource::Unresolved {
            self.numa = NumaSource::Srat;
        }
        self.adopt_nodeless();
        Ok(())
    }

    /// How much RAM lies in no node's range.
    fn nodeless(&self) -> Bytes {
        let blocks = self.meminfo.blocks();
        let has = |r: crate::phys::PhysRange| -> Bytes {
            // Ranges of one node may overlap; count each byte once.
            let mut at = r.start;
            let mut covered = Bytes::ZERO;
            for b in blocks {
                let part = b.range().intersect(r);
                let from = part.start.max(at);
                covered += part.end - from;
                at = at.max(part.end);
            }
            covered
        };
        self.e820.ram().map(|r| r.size() - has(r)).sum()
    }

    /// Gives RAM without a node to the range below it, else to the one above.
    /// The ranges are sorted.
    fn adopt_nodeless(&mut self) {
        let mut reached = PhysAddr::ZERO;
        let mut prev: Option<usize> = None;
        for i in 0..self.meminfo.blocks().len() {
            let Some(block) = self.meminfo.blocks().get(i).copied() else {
                break;
            };
            self.adopt_gap(reached, block.start, prev, i);
            if block.end > reached {
                reached = block.end;
                prev = Some(i);
            }
        }
        self.adopt_gap(reached, PhysAddr::MAX, prev, 0);
        self.meminfo.sort();
    }

    /// Extends range `prev` over the RAM from `from` to `to`, or range `next`
    /// down to it where there is no range below.
    fn adopt_gap(&mut self, from: PhysAddr, to: PhysAddr, prev: Option<usize>, next: usize) {
        let gap = crate::phys::PhysRange {
            start: from,
            end: to,
        };
        let in_gap = |r: crate::phys::PhysRange| Some(r.intersect(gap)).filter(|r| !r.is_empty());
        let lost = self.e820.ram().filter_map(in_gap);
        let first = lost.clone().map(|r| r.start).min();
        let last = lost.map(|r| r.end).max();
        let (Some(first), Some(last)) = (first, last) else {
            return;
        };
        match prev {
            Some(i) => {
                if let Some(b) = self.meminfo.blocks_mut().get_mut(i) {
                    b.end = last;
                }
            }
            None => {
                let mut here = self.meminfo.blocks_mut().iter_mut().skip(next);
                let Some(b) = here.next() else { return };
                let start = core::mem::replace(&mut b.start, first);
                // Of a hot-pluggable range and its node's other one, that.
                let plain = |o: &&mut NumaMemblk| o.start == start && o.nid == b.nid && !o.hotplug;
                if let Some(o) = here.find(plain).filter(|_| b.hotplug) {
                    b.start = start;
                    o.start = first;
                }
            }
        }
    }

    /// Checks a resolved map: e820 entries sorted, disjoint, not empty; the
    /// nodes' ranges disjoint, and all RAM in one of them.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] for a table that contradicts itself,
    /// [`Error::MapEmpty`] without RAM, [`Error::MapNodeOverlap`],
    /// [`Error::MapBadNode`] for RAM without a node.
    pub fn validate(&self) -> Result<()> {
        let mut reached = PhysAddr::ZERO;
        for e in self.e820.entries() {
            let end = e.addr.checked_add(e.size).ok_or(Error::Corrupt)?;
            if e.addr < reached || e.size.is_zero() || e.kind.0 == 0 {
                return Err(Error::Corrupt);
            }
            reached = end;
        }
        if self.e820.ram().next().is_none() {
            return Err(Error::MapEmpty);
        }
        let blocks = self.meminfo.blocks();
        for (i, a) in blocks.iter().enumerate() {
            if a.start >= a.end || a.nid.is_none() {
                return Err(Error::Corrupt);
            }
            let mut others = blocks.iter().skip(i + 1).filter(|b| b.nid != a.nid);
            if others.any(|b| a.start < b.end && b.start < a.end) {
                return Err(Error::MapNodeOverlap);
            }
        }
        if !self.nodeless().is_zero() {
            return Err(Error::MapBadNode);
        }
        Ok(())
    }

    /// The nodes that have memory or CPUs, in order.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        let all = (0..MAX_NODES as i32).map(NodeId);
        all.filter(|&n| self.has_memory(n) || self.cpus.iter().any(|c| c.nid == n))
    }

    /// Whether the node has ranges.
    pub fn has_memory(&self, nid: NodeId) -> bool {
        self.meminfo.blocks().iter().any(|b| b.nid == nid)
    }

    /// The whole pages of RAM, node by node, in each by address: the order in
    /// which a region is laid. The map is resolved.
    pub fn ram_ranges(&self) -> impl Iterator<Item = (NodeId, PfnRange)> + Clone + '_ {
        let nodes = (0..MAX_NODES as i32).map(NodeId);
        let nodes = nodes.filter(|&n| self.has_memory(n));
        nodes.flat_map(move |nid| {
            self.e820.ram().flat_map(move |ram| {
                let own = self.meminfo.blocks().iter().filter(move |b| b.nid == nid);
                // Ranges of one node may overlap where only one is
                // hot-pluggable; no page may come twice.
                let parts = own.scan(PhysAddr::ZERO, move |reached, b| {
                    let mut part = b.range().intersect(ram);
                    part.start = part.start.max(*reached);
                    *reached = (*reached).max(part.end);
                    Some((nid, part.whole_pages()))
                });
                parts.filter(|(_, pages)| !pages.is_empty())
            })
        })
    }

    /// The whole pages of a node's RAM.
    pub fn node_pages(&self, nid: NodeId) -> Pages {
        let own = self.ram_ranges().filter(|&(n, _)| n == nid);
        own.map(|(_, range)| range.pages()).sum()
    }
}
