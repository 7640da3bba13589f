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
//! - ranges: the firmware's table once it is extended by the entries that had
//!   no room in the zero page (`e820__memory_setup_extended`), else what the
//!   firmware gave (BIOS-e820, also BIOS-88, BIOS-e801, Xen), else the one that
//!   setup data is reserved in, else the user's, else the kernel's modified
//!   one. The kernel's own `e820: update` and `e820: remove` are its
//!   doing, not the firmware's, and the shadow does its own. Of a log that has
//!   lost its beginning, or of a machine without e820, the early memory nodes;
//! - nodes: what the northbridge said when the SRAT was of no use, else the
//!   SRAT, else early memory nodes, else what the kernel joined
//!   (`NUMA: Node 0 [mem …] + [mem …] -> [mem …]`), else the nodes' spans;
//! - CPUs: the lists of the CPUs' start, else the SRAT's lines in their order.
//!
//! What Xen says of itself, before the kernel and in its own words, is left
//! alone. Nodes stand in `dmesg_nodes.rs`, distances in `distances.rs`.
//!
//! Linux prints no SLIT. Distances are read from the few lines that name them
//! (device-tree kernels do), from `SLIT: Node 0: 10 21` and from the table
//! that `numactl --hardware` appends; else they are the defaults. A log of
//! several boots gives the last one.

use super::dmesg_nodes::CpuRank;
use super::dmesg_nodes::MemRank;
use super::e820::E820Type;
use super::lines::read_entry;
use super::map::FirmwareMap;
use super::map::MapSource;
use super::text::message;
use super::text::plain;
use super::text::COLOURED;
use crate::error::Error;
use crate::error::Result;
use crate::phys::NodeId;
use crate::phys::PhysAddr;
use crate::phys::MAX_NODES;
use crate::slices;

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
    let mut buffer = [0; COLOURED];
    for line in slices::lines(text) {
        parser.report.lines = parser.report.lines.saturating_add(1);
        let number = parser.report.lines;
        let line = plain(line, &mut buffer);
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

/// How near to the firmware the RAM of "Early memory node ranges" is: it is
/// what was left of it when the kernel had taken its own.
pub(super) const EARLY_NODES: u8 = 5;

/// Tables that the kernel prints, and how near to the firmware each is.
const TABLES: [(&str, u8); 8] = [
    ("extended: ", 0),
    ("BIOS-e820: ", 1),
    ("BIOS-e801: ", 1),
    ("BIOS-88: ", 1),
    ("Xen: ", 1),
    ("reserve setup_data: ", 2),
    ("user: ", 3),
    ("modified: ", 4),
];

/// How far the log has been understood.
pub(super) struct State {
    /// The rank of the e820 table that is being taken.
    table: u8,
    pub(super) mem: MemRank,
    pub(super) cpu: CpuRank,
    /// The SRAT's CPU lines so far.
    pub(super) apics: u32,
    /// The lowest APIC id in them, most likely the boot CPU's, and its node.
    pub(super) boot: Option<(u64, i32)>,
    /// The node whose CPUs are being listed.
    pub(super) starting: Option<i32>,
    /// The kernel had no use for the SRAT.
    pub(super) srat_unused: bool,
    /// The kernel had no use for any nodes.
    one_node: bool,
    /// In the list of the nodes' page frames.
    pub(super) frames: bool,
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
            srat_unused: false,
            one_node: false,
            frames: false,
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

    // By itself: its frame and that of the coloured line are one too large.
    #[inline(never)]
    fn line(&mut self, text: &str) -> Result<()> {
        if slices::contains(text, "(XEN)") || self.matrix_line(text)? {
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
            let after = match name.starts_with("BIOS") {
                true => slices::split_once(text, name).map(|(_, after)| after),
                false => text.strip_prefix(name).or_else(|| {
                    let range = |(_, after): &(&str, &str)| after.starts_with("[mem ");
                    slices::split_once(text, name)
                        .filter(range)
                        .map(|(_, after)| after)
                }),
            };
            if let Some(after) = after {
                return self.e820_line(after.trim_start(), rank, name.starts_with("BIOS"));
            }
        }
        if text.starts_with("e820: update ") || text.starts_with("e820: remove ") {
            self.skip();
            return Ok(());
        }
        if let Some((_, after)) = slices::split_once(text, "SRAT: ") {
            return self.srat_line(after);
        }
        // arm64 has "NUMA: " before it.
        if slices::contains(text, "Faking a node at ") {
            self.state.one_node = true;
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
        let known = E820Type::from_raw(kind);
        self.entry(rank, start, end, known.unwrap_or(E820Type::RESERVED))?;
        if start != end && known.is_err() {
            self.report.unknown_types = self.report.unknown_types.saturating_add(1);
        }
        Ok(())
    }

    /// An entry of a table of that rank.
    pub(super) fn entry(
        &mut self,
        rank: u8,
        start: PhysAddr,
        end: PhysAddr,
        kind: E820Type,
    ) -> Result<()> {
        if rank > self.state.table {
            return Ok(());
        }
        if rank < self.state.table {
            // A table nearer to the firmware: it replaces the other. What the
            // nodes have was counted with them.
            if self.state.table != EARLY_NODES {
                self.report.skipped = self.report.skipped.saturating_add(self.report.e820);
            }
            self.report.e820 = 0;
            self.report.unknown_types = 0;
            self.map.e820.clear();
            self.state.table = rank;
        }
        if start == end {
            self.skip();
            return Ok(());
        }
        self.map.e820.range_add(start, end - start, kind)?;
        self.report.e820 = self.report.e820.saturating_add(1);
        Ok(())
    }

    /// What can only be said at the end of the log.
    fn finish(&mut self) {
        let unused = self.state.srat_unused && self.state.mem >= MemRank::Srat;
        let one_node = unused || self.state.one_node;
        if one_node {
            let dropped = self.report.srat_mem;
            self.report.skipped = self.report.skipped.saturating_add(dropped);
            self.report.srat_mem = 0;
            self.map.meminfo.clear();
            self.map.slit.clear();
            self.map.cpus.set_all(NodeId(0));
        }
        if self.state.cpu == CpuRank::Started {
            // The boot CPU started by itself and is in no list.
            let boot = if one_node {
                0
            } else {
                self.state.boot.map_or(0, |(_, nid)| nid)
            };
            let _ = self.map.cpus.push(0, boot);
        }
        self.report.cpus = self.map.cpus.count() as u32;
    }
}
