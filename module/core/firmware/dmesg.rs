// SPDX-License-Identifier: GPL-2.0

//! A machine's map out of its boot log.
//!
//! ```text
//! BIOS-e820: [mem 0x0000000000100000-0x00000000bfffffff] usable      an entry
//! BIOS-e820: [gap 0x00000000000a0000-0x00000000000effff]             (7.3)
//! ACPI: SRAT: Node 1 PXM 1 [mem 0x100000000-0x13fffffff] hotplug     a node's range
//! SRAT: PXM 1 -> APIC 0x02 -> Node 1                                 a CPU
//! .... node  #1, CPUs:   #2  #3                                      CPUs, better
//! NUMA: distance[node0 -> node1] = 21                                a distance
//! ```
//!
//! The lines may come in any order, with or without time stamps, from dmesg,
//! a journal or a serial console. The kernel tells some things several times
//! over; of the tables in a log the one nearest to the firmware counts:
//!
//! - ranges: what the firmware gave (BIOS-e820, also BIOS-88, BIOS-e801, Xen),
//!   else the table extended by setup data, else the user's, else the kernel's
//!   modified one. The kernel's own `e820: update` and `e820: remove` are its
//!   doing, not the firmware's, and the shadow does its own;
//! - nodes: SRAT, else early memory nodes, else what the kernel joined
//!   (`NUMA: Node 0 [mem …] + [mem …] -> [mem …]`), else the nodes' spans;
//! - CPUs: the lists of the CPUs' start, else the SRAT's lines in their order.
//!
//! Linux prints no SLIT. Distances are read from the few lines that name them
//! (device-tree kernels do), from `SLIT: Node 0: 10 21` and from the table
//! that `numactl --hardware` appends; else they are the defaults. A log of
//! several boots gives the last one.

use super::e820::E820Type;
use super::lines::node;
use super::lines::read_entry;
use super::lines::read_srat_cpu;
use super::lines::read_srat_range;
use super::map::FirmwareMap;
use super::map::MapSource;
use super::text::message;
use super::text::Reader;
use crate::error::Error;
use crate::error::Result;
use crate::phys::NodeId;
use crate::phys::PhysAddr;
use crate::phys::MAX_NODES;

/// What a log gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParseReport {
    /// Lines read.
    pub lines: u32,
    /// e820 entries taken.
    pub e820: u32,
    /// Of these, entries of a type unknown to Linux, taken as reserved.
    pub unknown_types: u32,
    /// Nodes' ranges taken.
    pub srat_mem: u32,
    /// CPUs that have a node.
    pub cpus: u32,
    /// Distances taken.
    pub distances: u32,
    /// Lines of a map that were not taken: gaps, the kernel's changes,
    /// repetitions, tables that a better one replaces.
    pub skipped: u32,
    /// The first line, counted from 1, that is part of a map but cannot be
    /// used, and why.
    pub first_bad_line: Option<(u32, Error)>,
}

/// Reads `text` into `map`, which is cleared before. The map is not resolved.
/// `report` tells what was taken, also after an error.
///
/// # Errors
///
/// The error of [`ParseReport::first_bad_line`]: [`Error::MapMalformed`] for a
/// line that looks like a map but cannot be read, [`Error::MapTooManyEntries`],
/// [`Error::MapEntryOverflow`], [`Error::MapBadNode`],
/// [`Error::MapBadDistance`]; else [`Error::MapMissing`] for a log without a
/// map. The map is empty then.
pub fn parse(text: &str, map: &mut FirmwareMap, report: &mut ParseReport) -> Result<()> {
    *report = ParseReport::default();
    let mut parser = Parser {
        map,
        report,
        state: State::new(),
    };
    parser.restart();
    for line in text.lines() {
        parser.report.lines = parser.report.lines.saturating_add(1);
        let number = parser.report.lines;
        if let Err(error) = parser.line(message(line).trim_start()) {
            parser.report.first_bad_line.get_or_insert((number, error));
        }
    }
    parser.finish();
    let result = match report.first_bad_line {
        Some((_, error)) => Err(error),
        None if map.e820.is_empty() => Err(Error::MapMissing),
        None => Ok(()),
    };
    if result.is_err() {
        map.clear();
    }
    result
}

/// Tables that the kernel prints, and how near to the firmware each is.
const TABLES: [(&str, u8); 8] = [
    ("BIOS-e820: ", 0),
    ("BIOS-e801: ", 0),
    ("BIOS-88: ", 0),
    ("Xen: ", 0),
    ("extended: ", 1),
    ("reserve setup_data: ", 1),
    ("user: ", 2),
    ("modified: ", 3),
];

/// Where nodes' ranges come from; the first counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum MemRank {
    Srat,
    EarlyNodes,
    Joined,
    Spans,
    Nothing,
}

/// Where CPUs' nodes come from; the first counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum CpuRank {
    Started,
    Srat,
    Nothing,
}

/// How far the log has been understood.
pub(super) struct State {
    /// The rank of the e820 table that is being taken.
    table: u8,
    mem: MemRank,
    cpu: CpuRank,
    /// The SRAT's CPU lines so far.
    apics: u32,
    /// The lowest APIC id in them, most likely the boot CPU's, and its node.
    boot: Option<(u64, i32)>,
    /// The node whose CPUs are being listed.
    starting: Option<i32>,
    /// The kernel had no use for the SRAT.
    rejected: bool,
    /// A boot has begun.
    booted: bool,
    /// In numactl's table of distances: its columns.
    pub(super) columns: Option<([u8; MAX_NODES], usize)>,
}

impl State {
    const fn new() -> Self {
        Self {
            table: u8::MAX,
            mem: MemRank::Nothing,
            cpu: CpuRank::Nothing,
            apics: 0,
            boot: None,
            starting: None,
            rejected: false,
            booted: false,
            columns: None,
        }
    }
}

pub(super) struct Parser<'a> {
    pub(super) map: &'a mut FirmwareMap,
    pub(super) report: &'a mut ParseReport,
    pub(super) state: State,
}

impl Parser<'_> {
    /// Forgets everything but the number of lines.
    fn restart(&mut self) {
        self.map.clear();
        self.map.source = MapSource::Log;
        *self.report = ParseReport {
            lines: self.report.lines,
            ..ParseReport::default()
        };
        self.state = State::new();
    }

    pub(super) fn skip(&mut self) {
        self.report.skipped = self.report.skipped.saturating_add(1);
    }

    fn line(&mut self, text: &str) -> Result<()> {
        if self.matrix_line(text)? {
            return Ok(());
        }
        if text.starts_with("Linux version ") {
            if self.state.booted && !self.map.e820.is_empty() {
                self.restart();
            }
            self.state.booted = true;
            return Ok(());
        }
        for (name, rank) in TABLES {
            // The firmware's own is found behind any unknown prefix.
            let after = match rank {
                0 if name.starts_with("BIOS") => text.split_once(name).map(|(_, after)| after),
                _ => text.strip_prefix(name),
            };
            if let Some(after) = after {
                return self.e820_line(after.trim_start(), rank, name.starts_with("BIOS"));
            }
        }
        if text.starts_with("e820: update ") || text.starts_with("e820: remove ") {
            self.skip();
            return Ok(());
        }
        if let Some((_, after)) = text.split_once("SRAT: ") {
            return self.srat_line(after);
        }
        if text.starts_with("Faking a node at ") {
            self.state.rejected = true;
            return Ok(());
        }
        if self.cpus_line(text) || self.node_line(text)? {
            return Ok(());
        }
        self.distance_line(text)
    }

    /// What follows a table's name: a gap, or a range and its type.
    fn e820_line(&mut self, text: &str, rank: u8, strict: bool) -> Result<()> {
        if text.starts_with("[gap ") || rank > self.state.table {
            self.skip();
            return Ok(());
        }
        let (start, end, kind) = match read_entry(text) {
            Ok(entry) => entry,
            Err(error) if strict => return Err(error),
            // Some other line that starts with that word.
            Err(_) => return Ok(()),
        };
        if rank < self.state.table {
            // A table nearer to the firmware: it replaces the other.
            self.report.skipped = self.report.skipped.saturating_add(self.report.e820);
            self.report.e820 = 0;
            self.report.unknown_types = 0;
            self.map.e820.clear();
            self.state.table = rank;
        }
        if start == end {
            self.skip();
            return Ok(());
        }
        let kind = E820Type::from_raw(kind).unwrap_or_else(|_| {
            self.report.unknown_types += 1;
            E820Type::RESERVED
        });
        let size = end - start;
        self.map.e820.range_add(start, size, kind)?;
        self.report.e820 += 1;
        Ok(())
    }

    /// What follows `SRAT: `.
    fn srat_line(&mut self, text: &str) -> Result<()> {
        let mut t = Reader(text);
        if text.starts_with("SRAT not used") {
            self.state.rejected = true;
        } else if t.word("Node ").is_some() {
            let Some(nid) = t.blanks().decimal() else {
                return Ok(());
            };
            if t.blanks().word("PXM ").is_none() {
                return Ok(());
            }
            t.blanks().decimal().ok_or(Error::MapMalformed)?;
            let (start, end) = read_srat_range(t.blanks())?;
            let hotplug = t.0.contains("hotplug");
            self.memory(MemRank::Srat, nid, start, end, hotplug)?;
        } else if t.word("PXM ").is_some() {
            if text.contains("ignored") || text.contains("skipped") {
                self.skip();
                return Ok(());
            }
            let (apic, nid) = read_srat_cpu(&mut t).ok_or(Error::MapMalformed)?;
            let nid = node(nid)?;
            let cpu = self.state.apics;
            self.state.apics = cpu.saturating_add(1);
            let boot = self.state.boot.get_or_insert((apic, nid));
            *boot = (*boot).min((apic, nid));
            self.cpu(CpuRank::Srat, u64::from(cpu), nid);
        }
        Ok(())
    }

    /// Lines that name a node's memory after the SRAT was read.
    fn node_line(&mut self, text: &str) -> Result<bool> {
        let mut t = Reader(text);
        let found = if t.word("node ").is_some() {
            // Early memory node ranges
            let nid = t.blanks().decimal();
            let colon = t.word(":").and_then(|()| t.blanks().mem());
            nid.zip(colon).map(|(n, m)| (MemRank::EarlyNodes, n, m))
        } else if t.word("NUMA: Node ").is_some() {
            let nid = t.blanks().decimal();
            let joined = t.0.split_once("-> ").map(|(_, after)| Reader(after));
            let joined = joined.and_then(|mut t| t.blanks().mem());
            nid.zip(joined).map(|(n, m)| (MemRank::Joined, n, m))
        } else if t.word("Initmem setup node ").is_some() {
            let nid = t.blanks().decimal();
            let span = t.blanks().mem();
            nid.zip(span).map(|(n, m)| (MemRank::Spans, n, m))
        } else {
            None
        };
        let Some((rank, nid, range)) = found else {
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
        self.report.srat_mem += 1;
        Ok(())
    }

    /// The CPUs as they were started, node by node:
    /// `.... node  #1, CPUs:   #2  #3`, in older kernels
    /// `Booting Node   1, Processors  #2 #3 OK`, and lines that go on with it.
    fn cpus_line(&mut self, text: &str) -> bool {
        let mut t = Reader(text);
        if let Some((_, after)) = text.split_once(".... node") {
            t = Reader(after);
            let nid = t.blanks().word("#").and_then(|()| t.decimal());
            let list = t.word(",").and_then(|()| t.blanks().word("CPUs:"));
            self.state.starting = nid.zip(list).and_then(|(n, ())| node(n).ok());
        } else if let Some((_, after)) = text.split_once("Booting Node ") {
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

    /// What can only be said at the end of the log.
    fn finish(&mut self) {
        if self.state.rejected {
            let dropped = self.report.srat_mem;
            self.report.skipped = self.report.skipped.saturating_add(dropped);
            self.report.srat_mem = 0;
            self.map.meminfo.clear();
            self.map.slit.clear();
            self.map.cpus.set_all(NodeId(0));
        }
        if self.state.cpu == CpuRank::Started {
            // The boot CPU started by itself and is in no list.
            let boot = if self.state.rejected {
                0
            } else {
                self.state.boot.map_or(0, |(_, nid)| nid)
            };
            let _ = self.map.cpus.push(0, boot);
        }
        self.report.cpus = self.map.cpus.count() as u32;
    }
}
