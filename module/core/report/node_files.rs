// SPDX-License-Identifier: GPL-2.0

//! The files of a node, as `/sys/devices/system/node/nodeN` has them
//! (`drivers/base/node.c`): `numastat`, `vmstat` and `meminfo`.

use super::NodeStat;
use super::NodeStats;
use super::NumaStat;
use super::Snapshot;
use super::Totals;
use super::ZoneStat;
use crate::phys::NodeId;
use crate::phys::Pages;
use core::fmt;
use core::fmt::Write;

/// The files that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum NodeFile {
    /// Where its pages were wanted.
    Numastat = 0,
    /// Its counters.
    Vmstat = 1,
    /// What its memory is used for.
    Meminfo = 2,
}

impl NodeFile {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Numastat, Self::Vmstat, Self::Meminfo];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Numastat => "numastat",
            Self::Vmstat => "vmstat",
            Self::Meminfo => "meminfo",
        }
    }

    /// Writes the file of node `nid`.
    pub fn write(self, out: &mut dyn Write, snapshot: &dyn Snapshot, nid: NodeId) -> fmt::Result {
        match self {
            Self::Numastat => write_numastat(out, snapshot, nid),
            Self::Vmstat => write_vmstat(out, snapshot, nid),
            Self::Meminfo => write_meminfo(out, snapshot, nid),
        }
    }
}

/// The counters under the names that they have here, in this file's order
/// (`node_read_numastat`).
pub const NUMASTAT: [(&str, NumaStat); 6] = [
    ("numa_hit", NumaStat::Hit),
    ("numa_miss", NumaStat::Miss),
    ("numa_foreign", NumaStat::Foreign),
    ("interleave_hit", NumaStat::Interleave),
    ("local_node", NumaStat::Local),
    ("other_node", NumaStat::Other),
];

fn write_numastat(out: &mut dyn Write, snapshot: &dyn Snapshot, nid: NodeId) -> fmt::Result {
    let zones = Totals::of_node(snapshot, nid);
    NUMASTAT
        .into_iter()
        .try_for_each(|(name, item)| writeln!(out, "{name} {}", zones.numa.get(item)))
}

/// `node_read_vmstat()`
fn write_vmstat(out: &mut dyn Write, snapshot: &dyn Snapshot, nid: NodeId) -> fmt::Result {
    let zones = Totals::of_node(snapshot, nid);
    for &item in ZoneStat::ALL {
        writeln!(out, "{} {}", item.name(), zones.stats.get(item))?;
    }
    for &item in NumaStat::ALL {
        writeln!(out, "{} {}", item.name(), zones.numa.get(item))?;
    }
    for &item in NodeStat::ALL {
        let value = item.printed(snapshot.node_stat(nid, item));
        writeln!(out, "{} {value}", item.name())?;
    }
    Ok(())
}

/// `node_read_meminfo()`
fn write_meminfo(out: &mut dyn Write, snapshot: &dyn Snapshot, nid: NodeId) -> fmt::Result {
    let zones = Totals::of_node(snapshot, nid);
    let mut stats = NodeStats::ZERO;
    for &item in NodeStat::ALL {
        stats.set(item, snapshot.node_stat(nid, item));
    }
    let mut line = |name: &str, kib: u64| writeln!(out, "Node {} {name:<16}{kib:>8} kB", nid.0);
    let kib = |pages: u64| Pages(pages).kib();
    let stat = |item| kib(stats.get(item));
    let sum = |a, b| kib(stats.get(a).saturating_add(stats.get(b)));
    line("MemTotal:", zones.managed.kib())?;
    line("MemFree:", zones.free().kib())?;
    line("MemUsed:", (zones.managed - zones.free()).kib())?;
    line("SwapCached:", stat(NodeStat::Swapcached))?;
    line("Active:", sum(NodeStat::ActiveAnon, NodeStat::ActiveFile))?;
    line(
        "Inactive:",
        sum(NodeStat::InactiveAnon, NodeStat::InactiveFile),
    )?;
    line("Active(anon):", stat(NodeStat::ActiveAnon))?;
    line("Inactive(anon):", stat(NodeStat::InactiveAnon))?;
    line("Active(file):", stat(NodeStat::ActiveFile))?;
    line("Inactive(file):", stat(NodeStat::InactiveFile))?;
    line("Unevictable:", stat(NodeStat::Unevictable))?;
    line("Mlocked:", kib(zones.stats.get(ZoneStat::Mlock)))?;
    line("Dirty:", stat(NodeStat::Dirty))?;
    line("Writeback:", stat(NodeStat::Writeback))?;
    line("FilePages:", stat(NodeStat::FilePages))?;
    line("Mapped:", stat(NodeStat::Mapped))?;
    line("AnonPages:", stat(NodeStat::AnonPages))?;
    line("Shmem:", stat(NodeStat::Shmem))?;
    line("KernelStack:", stats.get(NodeStat::KernelStack))?;
    line("PageTables:", stat(NodeStat::PageTablePages))?;
    line("SecPageTables:", stat(NodeStat::SecPageTablePages))?;
    // Three lines that have been zero in Linux for long.
    line("NFS_Unstable:", 0)?;
    line("Bounce:", 0)?;
    line("WritebackTmp:", 0)?;
    let slab = NodeStat::SlabReclaimable;
    line("KReclaimable:", sum(slab, NodeStat::KernelMiscReclaimable))?;
    line("Slab:", sum(slab, NodeStat::SlabUnreclaimable))?;
    line("SReclaimable:", stat(slab))?;
    line("SUnreclaim:", stat(NodeStat::SlabUnreclaimable))?;
    line("AnonHugePages:", stat(NodeStat::AnonTransparentHugepages))?;
    line("ShmemHugePages:", stat(NodeStat::ShmemHugepages))?;
    line("ShmemPmdMapped:", stat(NodeStat::ShmemPmdmapped))?;
    line("FileHugePages:", stat(NodeStat::FileHugepages))?;
    line("FilePmdMapped:", stat(NodeStat::FilePmdmapped))?;
    line("Unaccepted:", kib(zones.stats.get(ZoneStat::Unaccepted)))?;
    line("Balloon:", stat(NodeStat::BalloonPages))?;
    line("GPUActive:", stat(NodeStat::GpuActive))?;
    line("GPUReclaim:", stat(NodeStat::GpuReclaim))?;
    // No node has huge pages (hugetlb_report_node_meminfo).
    for name in ["HugePages_Total:", "HugePages_Free: ", "HugePages_Surp: "] {
        writeln!(out, "Node {} {name} {:>5}", nid.0, 0)?;
    }
    Ok(())
}
