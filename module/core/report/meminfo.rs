// SPDX-License-Identifier: GPL-2.0

//! `/proc/meminfo`: how much memory there is, and what it is used for.
//!
//! A shadow that has only physical memory fills the lines of the buddy system;
//! what it does not have is zero, and its line is there.

use super::totals::add_nodes;
use super::MemoryTotals;
use super::NodeStat;
use super::NodeStats;
use super::Snapshot;
use super::Totals;
use super::ZoneStat;
use crate::phys::Pages;
use core::fmt;
use core::fmt::Write;

/// Writes `/proc/meminfo` (`meminfo_proc_show`, `hugetlb_report_meminfo`,
/// `arch_report_meminfo`).
pub fn write(out: &mut dyn Write, snapshot: &dyn Snapshot) -> fmt::Result {
    let mut nodes = NodeStats::ZERO;
    add_nodes(snapshot, &mut nodes);
    let zones = Totals::of(snapshot);
    let totals = snapshot.totals();
    write_use(out, &zones, &totals, &nodes)?;
    write_kernel(out, &totals, &nodes)?;
    write_huge(out, &nodes)?;
    pages(out, "CmaTotal:", totals.cma)?;
    pages(out, "CmaFree:", Pages(zones.stats.get(ZoneStat::FreeCma)))?;
    pages(
        out,
        "Unaccepted:",
        Pages(zones.stats.get(ZoneStat::Unaccepted)),
    )?;
    pages(out, "Balloon:", Pages(nodes.get(NodeStat::BalloonPages)))?;
    pages(out, "GPUActive:", Pages(nodes.get(NodeStat::GpuActive)))?;
    pages(out, "GPUReclaim:", Pages(nodes.get(NodeStat::GpuReclaim)))?;
    write_pools(out, &totals)?;
    kib(out, "DirectMap4k:", totals.direct_map_4k.kib())?;
    kib(out, "DirectMap2M:", totals.direct_map_2m.kib())?;
    match totals.direct_map_1g {
        Some(size) => kib(out, "DirectMap1G:", size.kib()),
        None => Ok(()),
    }
}

/// A line: the name, the number in eight columns or more, the unit
/// (`show_val_kb`).
fn kib(out: &mut dyn Write, name: &str, kib: u64) -> fmt::Result {
    writeln!(out, "{name:<16}{kib:>8} kB")
}

fn pages(out: &mut dyn Write, name: &str, pages: Pages) -> fmt::Result {
    kib(out, name, pages.kib())
}

/// From `MemTotal` to `SUnreclaim`.
fn write_use(
    out: &mut dyn Write,
    zones: &Totals,
    totals: &MemoryTotals,
    nodes: &NodeStats,
) -> fmt::Result {
    let stat = |item| Pages(nodes.get(item));
    let active_anon = stat(NodeStat::ActiveAnon);
    let active_file = stat(NodeStat::ActiveFile);
    let inactive_anon = stat(NodeStat::InactiveAnon);
    let inactive_file = stat(NodeStat::InactiveFile);
    let swap_cached = stat(NodeStat::Swapcached);
    let reclaimable = stat(NodeStat::SlabReclaimable);
    let unreclaimable = stat(NodeStat::SlabUnreclaimable);

    pages(out, "MemTotal:", zones.managed)?;
    pages(out, "MemFree:", zones.free())?;
    pages(out, "MemAvailable:", zones.available(nodes))?;
    pages(out, "Buffers:", totals.buffers)?;
    pages(
        out,
        "Cached:",
        stat(NodeStat::FilePages) - swap_cached - totals.buffers,
    )?;
    pages(out, "SwapCached:", swap_cached)?;
    pages(out, "Active:", active_anon + active_file)?;
    pages(out, "Inactive:", inactive_anon + inactive_file)?;
    pages(out, "Active(anon):", active_anon)?;
    pages(out, "Inactive(anon):", inactive_anon)?;
    pages(out, "Active(file):", active_file)?;
    pages(out, "Inactive(file):", inactive_file)?;
    pages(out, "Unevictable:", stat(NodeStat::Unevictable))?;
    pages(out, "Mlocked:", Pages(zones.stats.get(ZoneStat::Mlock)))?;
    pages(out, "SwapTotal:", totals.swap_total)?;
    pages(out, "SwapFree:", totals.swap_free)?;
    pages(out, "Zswap:", totals.zswap)?;
    pages(out, "Zswapped:", totals.zswapped)?;
    pages(out, "Dirty:", stat(NodeStat::Dirty))?;
    pages(out, "Writeback:", stat(NodeStat::Writeback))?;
    pages(out, "AnonPages:", stat(NodeStat::AnonPages))?;
    pages(out, "Mapped:", stat(NodeStat::Mapped))?;
    pages(out, "Shmem:", stat(NodeStat::Shmem))?;
    pages(
        out,
        "KReclaimable:",
        reclaimable + stat(NodeStat::KernelMiscReclaimable),
    )?;
    pages(out, "Slab:", reclaimable + unreclaimable)?;
    pages(out, "SReclaimable:", reclaimable)?;
    pages(out, "SUnreclaim:", unreclaimable)
}

/// From `KernelStack` to `HardwareCorrupted`.
fn write_kernel(out: &mut dyn Write, totals: &MemoryTotals, nodes: &NodeStats) -> fmt::Result {
    let stat = |item| Pages(nodes.get(item));
    kib(out, "KernelStack:", nodes.get(NodeStat::KernelStack))?;
    pages(out, "PageTables:", stat(NodeStat::PageTablePages))?;
    pages(out, "SecPageTables:", stat(NodeStat::SecPageTablePages))?;
    // Three lines that have been zero in Linux for long.
    kib(out, "NFS_Unstable:", 0)?;
    kib(out, "Bounce:", 0)?;
    kib(out, "WritebackTmp:", 0)?;
    pages(out, "CommitLimit:", totals.commit_limit)?;
    pages(out, "Committed_AS:", totals.committed)?;
    kib(out, "VmallocTotal:", totals.vmalloc_total.kib())?;
    pages(out, "VmallocUsed:", stat(NodeStat::Vmalloc))?;
    kib(out, "VmallocChunk:", 0)?;
    pages(out, "Percpu:", totals.percpu)?;
    writeln!(out, "HardwareCorrupted: {:>5} kB", totals.poisoned.kib())
}

/// From `AnonHugePages` to `FilePmdMapped`.
fn write_huge(out: &mut dyn Write, nodes: &NodeStats) -> fmt::Result {
    let stat = |item| Pages(nodes.get(item));
    pages(
        out,
        "AnonHugePages:",
        stat(NodeStat::AnonTransparentHugepages),
    )?;
    pages(out, "ShmemHugePages:", stat(NodeStat::ShmemHugepages))?;
    pages(out, "ShmemPmdMapped:", stat(NodeStat::ShmemPmdmapped))?;
    pages(out, "FileHugePages:", stat(NodeStat::FileHugepages))?;
    pages(out, "FilePmdMapped:", stat(NodeStat::FilePmdmapped))
}

/// From `HugePages_Total` to `Hugetlb`.
fn write_pools(out: &mut dyn Write, totals: &MemoryTotals) -> fmt::Result {
    let rows = [
        ("HugePages_Total:", totals.huge.total),
        ("HugePages_Free:", totals.huge.free),
        ("HugePages_Rsvd:", totals.huge.reserved),
        ("HugePages_Surp:", totals.huge.surplus),
    ];
    for (name, count) in rows {
        writeln!(out, "{name:<19}{count:>5}")?;
    }
    kib(out, "Hugepagesize:", totals.huge.size.kib())?;
    kib(out, "Hugetlb:", totals.hugetlb.kib())
}
