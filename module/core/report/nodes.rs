// SPDX-License-Identifier: GPL-2.0

//! `/proc/shadowmm/nodes`: the nodes as `numactl --hardware` prints them, to
//! the byte, and below an empty line what it does not show.
//!
//! ```text
//! available: 2 nodes (0-1)
//! node 0 cpus: 0
//! node 0 size: 963 MB
//! node 0 free: 929 MB
//! ...
//! node distances:
//! node     0    1
//!    0:   10   20
//!    1:   20   10
//!
//! node 0 start_pfn: 1
//! node 0 spanned: 262143
//! node 0 present: 262046
//! node 0 managed: 246770
//! node 0 zones: DMA DMA32 Movable
//! node 0 fallback: 0 1
//! ```

use super::NodeModel;
use super::Snapshot;
use super::Walk;
use crate::phys::NodeId;
use crate::phys::Pages;
use core::fmt;
use core::fmt::Write;

/// Writes the report.
pub fn write(out: &mut dyn Write, snapshot: &dyn Snapshot) -> fmt::Result {
    write_available(out, snapshot)?;
    snapshot.for_each_node(&mut |node| write_hardware(out, node))?;
    write_distances(out, snapshot)?;
    snapshot.for_each_node(&mut |node| write_details(out, snapshot, node))?;
    Ok(())
}

/// How many nodes there are, and their numbers as ranges.
fn write_available(out: &mut dyn Write, snapshot: &dyn Snapshot) -> Walk {
    let mut count = 0u32;
    snapshot.for_each_node(&mut |_| {
        count = count.saturating_add(1);
        Ok(())
    })?;
    write!(out, "available: {count} nodes (")?;
    // The run of numbers that is being gathered, first and last.
    let mut run: Option<(NodeId, NodeId)> = None;
    let mut comma = "";
    snapshot.for_each_node(&mut |node| {
        match run {
            Some((_, ref mut last)) if last.0.checked_add(1) == Some(node.nid.0) => {
                *last = node.nid;
            }
            Some(done) => {
                write_run(out, comma, done)?;
                comma = ",";
                run = Some((node.nid, node.nid));
            }
            None => run = Some((node.nid, node.nid)),
        }
        Ok(())
    })?;
    if let Some(done) = run {
        write_run(out, comma, done)?;
    }
    Ok(writeln!(out, ")")?)
}

fn write_run(out: &mut dyn Write, comma: &str, (first, last): (NodeId, NodeId)) -> Walk {
    write!(out, "{comma}{first}")?;
    if first != last {
        write!(out, "-{last}")?;
    }
    Ok(())
}

fn write_hardware(out: &mut dyn Write, node: &NodeModel) -> Walk {
    let mib = |pages: Pages| pages.bytes().0 >> 20;
    let nid = node.nid;
    write!(out, "node {nid} cpus:")?;
    for cpu in node.cpus.iter() {
        write!(out, " {}", cpu.0)?;
    }
    writeln!(out)?;
    writeln!(out, "node {nid} size: {} MB", mib(node.managed))?;
    Ok(writeln!(out, "node {nid} free: {} MB", mib(node.free))?)
}

fn write_distances(out: &mut dyn Write, snapshot: &dyn Snapshot) -> Walk {
    write!(out, "node distances:\nnode  ")?;
    snapshot.for_each_node(&mut |node| Ok(write!(out, "{:>4} ", node.nid)?))?;
    writeln!(out)?;
    snapshot.for_each_node(&mut |node| {
        write!(out, "{:>4}: ", node.nid)?;
        snapshot
            .for_each_node(&mut |other| Ok(write!(out, "{:>4} ", node.distance_to(other.nid))?))?;
        Ok(writeln!(out)?)
    })
}

fn write_details(out: &mut dyn Write, snapshot: &dyn Snapshot, node: &NodeModel) -> Walk {
    let nid = node.nid;
    let rows = [
        ("start_pfn", node.start_pfn.0),
        ("spanned", node.spanned.0),
        ("present", node.present.0),
        ("managed", node.managed.0),
    ];
    writeln!(out)?;
    for (name, value) in rows {
        writeln!(out, "node {nid} {name}: {value}")?;
    }
    write!(out, "node {nid} zones:")?;
    snapshot.for_each_zone(&mut |zone| {
        if zone.nid == nid && zone.is_populated() {
            write!(out, " {}", zone.kind.name())?;
        }
        Ok(())
    })?;
    write!(out, "\nnode {nid} fallback:")?;
    for other in node.fallback() {
        write!(out, " {other}")?;
    }
    Ok(writeln!(out)?)
}
