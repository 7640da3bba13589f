// SPDX-License-Identifier: GPL-2.0

//! Nodes in a boot log: whose the memory and the CPUs are.
//!
//! ```text
//! SRAT: Node 1 PXM 1 [mem 0x100000000-0x13fffffff] hotplug            memory, the SRAT's
//! Node 1 MemBase 0000000100000000 Limit 0000000140000000              the northbridge's
//!   node   1: [mem 0x0000000100000000-0x000000013fffffff]             RAM of a node
//!     1: 0x00100000 -> 0x00140000                                     in page frames
//! NUMA: Node 0 [mem ...] + [mem ...] -> [mem 0x00000000-0xbfffffff]   joined
//! Initmem setup node 1 [mem 0x0000000100000000-0x000000013fffffff]    a node's span
//! SRAT: PXM 1 -> APIC 0x02 -> Node 1                                  a CPU
//! .... node  #1, CPUs:   #2  #3                                       CPUs as they start
//! ```

use super::dmesg::Parser;
use super::dmesg::EARLY_NODES;
use super::e820::E820Type;
use super::lines::node;
use super::lines::node_range;
use super::lines::read_node_range;
use super::lines::read_pfn_range;
use super::lines::read_srat_cpu;
use super::text::Reader;
use crate::error::Error;
use crate::error::Result;
use crate::phys::NodeId;
use crate::phys::PhysAddr;
use crate::slices;

/// Where nodes' ranges come from; the first counts. What the northbridge says
/// is asked for only when there is no SRAT, or none of use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum MemRank {
    Northbridge,
    Srat,
    EarlyNodes,
    Joined,
    Spans,
    Nothing,
}

/// Where CPUs' nodes come from; the first counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CpuRank {
    Started,
    Srat,
    Nothing,
}

impl Parser<'_> {
    /// What follows `SRAT: `.
    pub(super) fn srat_line(&mut self, text: &str) -> Result<()> {
        let mut t = Reader(text);
        if text.starts_with("SRAT not used") {
            self.state.srat_unused = true;
        } else if t.word("Node ").is_some() {
            let Some(nid) = t.blanks().decimal() else {
                return Ok(());
            };
            if t.blanks().word("PXM ").is_none() {
                return Ok(());
            }
            t.blanks().decimal().ok_or(Error::MapMalformed)?;
            let (start, end) = read_node_range(t.blanks())?;
            // Until 3.11 it was "Hot Pluggable".
            let hotplug = ["hotplug", "Hot Pluggable"];
            let hotplug = hotplug.iter().any(|word| slices::contains(t.0, word));
            self.memory(MemRank::Srat, nid, start, end, hotplug)?;
        } else if t.word("PXM ").is_some() {
            if slices::contains(text, "ignored") || slices::contains(text, "skipped") {
                self.skip();
                return Ok(());
            }
            let cpu = read_srat_cpu(&mut t).ok_or(Error::MapMalformed)?;
            let Some((id, nid)) = cpu else {
                self.skip();
                return Ok(());
            };
            let nid = node(nid)?;
            let cpu = self.state.apics;
            self.state.apics = cpu.saturating_add(1);
            let boot = self.state.boot.get_or_insert((id, nid));
            *boot = (*boot).min((id, nid));
            self.cpu(CpuRank::Srat, u64::from(cpu), nid);
        }
        Ok(())
    }

    /// Lines that name a node's memory after the SRAT was read.
    pub(super) fn node_line(&mut self, text: &str) -> Result<bool> {
        let frames = core::mem::take(&mut self.state.frames);
        if frames
            || text.starts_with("early_node_map[")
            || slices::contains(text, "Early memory PFN ranges")
        {
            if let Some((nid, start, end)) = read_pfn_range(&mut Reader(text)) {
                self.state.frames = true;
                self.memory(MemRank::EarlyNodes, nid, start, end, false)?;
                return Ok(true);
            }
            self.state.frames = !frames;
            if !frames {
                return Ok(true);
            }
        }
        // Found behind any unknown prefix.
        let behind = |word: &str| slices::split_once(text, word).map(|(_, after)| Reader(after));
        if let Some(mut t) = behind("NUMA: Node ") {
            let nid = t.blanks().decimal();
            let joined = slices::split_once(t.0, "-> ").map(|(_, after)| Reader(after));
            let joined = joined.and_then(|mut t| t.blanks().mem());
            return self.named(MemRank::Joined, nid, joined);
        }
        for word in ["Initmem setup node ", "Bootmem setup node "] {
            if let Some(mut t) = behind(word) {
                let nid = t.blanks().decimal();
                // Newer kernels add "as memoryless".
                let span = read_node_range(t.blanks()).ok();
                return self.named(MemRank::Spans, nid, span.map(Some));
            }
        }
        if let Some(mut t) = behind("node ") {
            // Early memory node ranges
            let nid = t.blanks().decimal();
            let range = t.word(":").and_then(|()| t.blanks().mem());
            if let (Some(nid), Some(range)) = (nid, range) {
                let (start, end) = range.ok_or(Error::MapEntryOverflow)?;
                self.memory(MemRank::EarlyNodes, nid, start, end, false)?;
                self.entry(EARLY_NODES, start, end, E820Type::RAM)?;
                return Ok(true);
            }
        }
        let Some((_, limit)) = slices::split_once(text, " MemBase ") else {
            return Ok(false);
        };
        let mut t = Reader(limit);
        let start = t.blanks().hex();
        let end = t.blanks().word("Limit").and_then(|()| t.blanks().hex());
        let nid = behind("Node ").and_then(|mut t| t.blanks().decimal());
        let (Some(start), Some(end), Some(nid)) = (start, end, nid) else {
            return Ok(false);
        };
        let (start, end) = node_range(start, end)?;
        self.memory(MemRank::Northbridge, nid, start, end, false)?;
        Ok(true)
    }

    /// A line that names a node's range, if both could be read.
    fn named(
        &mut self,
        rank: MemRank,
        nid: Option<u64>,
        range: Option<Option<(PhysAddr, PhysAddr)>>,
    ) -> Result<bool> {
        let (Some(nid), Some(range)) = (nid, range) else {
            return Ok(false);
        };
        let (start, end) = range.ok_or(Error::MapEntryOverflow)?;
        self.memory(rank, nid, start, end, false)?;
        Ok(true)
    }

    fn memory(
        &mut self,
        rank: MemRank,
        nid: u64,
        start: PhysAddr,
        end: PhysAddr,
        hotplug: bool,
    ) -> Result<()> {
        let nid = node(nid)?;
        if rank > self.state.mem || start == end {
            self.skip();
            return Ok(());
        }
        if rank < self.state.mem {
            self.report.skipped = self.report.skipped.saturating_add(self.report.srat_mem);
            self.report.srat_mem = 0;
            self.map.meminfo.clear();
            self.state.mem = rank;
        }
        self.map.meminfo.add(NodeId(nid), start, end, hotplug)?;
        self.report.srat_mem = self.report.srat_mem.saturating_add(1);
        Ok(())
    }

    /// The CPUs as they were started, node by node:
    /// `.... node  #1, CPUs:   #2  #3`, in older kernels
    /// `Booting Node   1, Processors  #2 #3 OK`, and lines that go on with it.
    pub(super) fn cpus_line(&mut self, text: &str) -> bool {
        let mut t = Reader(text);
        if let Some((_, after)) = slices::split_once(text, ".... node") {
            t = Reader(after);
            let nid = t.blanks().word("#").and_then(|()| t.decimal());
            let list = t.word(",").and_then(|()| t.blanks().word("CPUs:"));
            self.state.starting = nid.zip(list).and_then(|(n, ())| node(n).ok());
        } else if let Some((_, after)) = slices::split_once(text, "Booting Node ") {
            t = Reader(after);
            let nid = t.blanks().decimal();
            let _ = t.word(",");
            self.state.starting = nid.and_then(|n| node(n).ok());
            if t.blanks().word("Processors").is_none() {
                let one = t.word("Processor ").and_then(|()| t.decimal());
                if let Some((cpu, nid)) = one.zip(self.state.starting.take()) {
                    self.cpu(CpuRank::Started, cpu, nid);
                }
                return true;
            }
        } else if !text.starts_with('#') {
            self.state.starting = None;
            return false;
        }
        let Some(nid) = self.state.starting else {
            return true;
        };
        while t.blanks().word("#").is_some() {
            let Some(cpu) = t.decimal() else { break };
            self.cpu(CpuRank::Started, cpu, nid);
        }
        true
    }

    fn cpu(&mut self, rank: CpuRank, cpu: u64, nid: i32) {
        if rank > self.state.cpu {
            self.skip();
            return;
        }
        if rank < self.state.cpu {
            self.map.cpus.clear();
            self.state.cpu = rank;
        }
        let cpu = u32::try_from(cpu).unwrap_or(u32::MAX);
        if self.map.cpus.push(cpu, nid).is_err() {
            // More CPUs than the map holds.
            self.skip();
        }
    }
}
