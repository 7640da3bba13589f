// SPDX-License-Identifier: GPL-2.0

//! `/proc/zoneinfo`: all that is known about each zone.
//!
//! Linux has one kind of zone more than the shadow: Device, last of all, whose
//! pages belong to drivers. It is printed as a zone without pages, so that the
//! zones and the columns of `protection` are the host's. A request that may
//! use Device zones finds no page there, so what is reserved against it is
//! what is reserved against requests for Movable.

use super::NodeStat;
use super::NumaStat;
use super::PagesetModel;
use super::Snapshot;
use super::Walk;
use super::ZoneModel;
use super::ZoneStat;
use crate::page::ZoneType;
use crate::phys::CpuId;
use crate::phys::NodeId;
use crate::phys::Pages;
use crate::zone::Watermark;
use core::fmt;
use core::fmt::Write;

/// Writes `/proc/zoneinfo` (`zoneinfo_show_print`).
pub fn write(out: &mut dyn Write, snapshot: &dyn Snapshot) -> fmt::Result {
    // The node whose own counters have been written last: they stand in its
    // first populated zone (`is_zone_first_populated`).
    let mut shown = NodeId::NONE;
    snapshot.for_each_zone(&mut |zone| {
        write!(out, "Node {}, zone {:>8}", zone.nid, zone.kind.name())?;
        if zone.is_populated() && shown != zone.nid {
            shown = zone.nid;
            write_node(out, snapshot, zone.nid)?;
        }
        write_pages(out, zone)?;
        if zone.is_populated() {
            write_counters(out, zone)?;
            write_pagesets(out, snapshot, zone)?;
            write_tail(out, zone)?;
        }
        writeln!(out)?;
        if zone.kind == ZoneType::Movable {
            write!(out, "Node {}, zone {:>8}", zone.nid, "Device")?;
            write_pages(out, &ZoneModel::empty(zone.nid, zone.kind))?;
            writeln!(out)?;
        }
        Ok(())
    })?;
    Ok(())
}

fn write_node(out: &mut dyn Write, snapshot: &dyn Snapshot, nid: NodeId) -> Walk {
    write!(out, "\n  per-node stats")?;
    for &item in NodeStat::ALL {
        let value = item.printed(snapshot.node_stat(nid, item));
        write!(out, "\n      {:<12} {value}", item.name())?;
    }
    Ok(())
}

fn write_pages(out: &mut dyn Write, zone: &ZoneModel) -> Walk {
    let rows: [(&str, Pages); 10] = [
        ("  pages free    ", zone.free()),
        ("        boost   ", zone.boost),
        ("        min     ", zone.wmark(Watermark::Min)),
        ("        low     ", zone.wmark(Watermark::Low)),
        ("        high    ", zone.wmark(Watermark::High)),
        ("        promo   ", zone.wmark(Watermark::Promo)),
        ("        spanned ", zone.spanned),
        ("        present ", zone.present),
        ("        managed ", zone.managed),
        ("        cma     ", zone.cma),
    ];
    for (label, pages) in rows {
        write!(out, "\n{label} {}", pages.0)?;
    }
    write!(out, "\n        protection: (")?;
    let mut last = Pages::ZERO;
    for reserve in zone.lowmem_reserve {
        write!(out, "{}, ", reserve.0)?;
        last = reserve;
    }
    Ok(write!(out, "{})", last.0)?)
}

fn write_counters(out: &mut dyn Write, zone: &ZoneModel) -> Walk {
    for &item in ZoneStat::ALL {
        write!(out, "\n      {:<12} {}", item.name(), zone.stats.get(item))?;
    }
    for &item in NumaStat::ALL {
        write!(out, "\n      {:<12} {}", item.name(), zone.numa.get(item))?;
    }
    Ok(())
}

fn write_pagesets(out: &mut dyn Write, snapshot: &dyn Snapshot, zone: &ZoneModel) -> Walk {
    write!(out, "\n  pagesets")?;
    for cpu in 0..snapshot.nr_cpus() {
        if let Some(pageset) = snapshot.pageset(zone.nid, zone.kind, CpuId(cpu)) {
            write_pageset(out, &pageset)?;
        }
    }
    Ok(())
}

fn write_pageset(out: &mut dyn Write, pageset: &PagesetModel) -> Walk {
    write!(out, "\n    cpu: {}", pageset.cpu.0)?;
    let rows = [
        ("count:   ", pageset.count),
        ("high:    ", pageset.high),
        ("batch:   ", pageset.batch),
        ("high_min:", pageset.high_min),
        ("high_max:", pageset.high_max),
    ];
    for (label, value) in rows {
        write!(out, "\n              {label} {value}")?;
    }
    Ok(write!(
        out,
        "\n  vm stats threshold: {}",
        pageset.stat_threshold
    )?)
}

fn write_tail(out: &mut dyn Write, zone: &ZoneModel) -> Walk {
    let rows = [
        ("node_unreclaimable: ", u64::from(zone.node_unreclaimable)),
        ("start_pfn:          ", zone.start_pfn.0),
        ("reserved_highatomic:", zone.reserved_highatomic.0),
        ("free_highatomic:    ", zone.free_highatomic.0),
    ];
    for (label, value) in rows {
        write!(out, "\n  {label} {value}")?;
    }
    Ok(())
}
