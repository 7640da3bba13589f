// SPDX-License-Identifier: GPL-2.0

//! How the page allocator's memory is used: by CPU, by type, by node.

use super::walk;
use crate::abi::Plain;
use crate::abi::Records;
use crate::shadow::Boot;
use crate::uapi;
use shadowmm_core::buddy::MigrateType;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::phys::CpuId;
use shadowmm_core::report;
use shadowmm_core::report::Fallback;
use shadowmm_core::report::Indices;
use shadowmm_core::report::NumaStat;
use shadowmm_core::report::Snapshot;
use shadowmm_core::report::ZoneModel;

/// Runs `record` on each zone that has memory.
fn zones(
    boot: &Boot<'_>,
    out: &mut Records,
    record: impl Fn(&ZoneModel, &mut Records) -> CoreResult<()>,
) -> CoreResult<()> {
    boot.nodes()?;
    let record = |zone: &ZoneModel, out: &mut Records| match zone.is_populated() {
        true => record(zone, out),
        false => Ok(()),
    };
    walk(out, record, |visit| boot.for_each_zone(visit))
}

pub(super) fn pagesets(boot: &Boot<'_>, out: &mut Records) -> CoreResult<()> {
    boot.mm()?;
    zones(boot, out, |zone, out| {
        for cpu in (0..boot.nr_cpus()).map(CpuId) {
            let Some(pageset) = boot.pageset(zone.nid, zone.kind, cpu) else {
                continue;
            };
            let mut record = uapi::shadowmm_rec_pageset::zeroed();
            record.nid = zone.nid.0;
            record.zone = zone.kind as u32;
            record.cpu = cpu.0;
            record.count = pageset.count;
            record.high = pageset.high;
            record.batch = pageset.batch;
            record.high_min = pageset.high_min;
            record.high_max = pageset.high_max;
            record.stat_threshold = pageset.stat_threshold;
            out.push(&record)?;
        }
        Ok(())
    })
}

pub(super) fn page_types(boot: &Boot<'_>, out: &mut Records) -> CoreResult<()> {
    zones(boot, out, |zone, out| {
        let Some(types) = boot.page_types(zone.nid, zone.kind) else {
            return Ok(());
        };
        let each = MigrateType::ALL.into_iter().zip(types.free);
        for ((mt, nr_free), blocks) in each.zip(types.blocks) {
            let mut record = uapi::shadowmm_rec_pagetype::zeroed();
            record.nid = zone.nid.0;
            record.zone = zone.kind as u32;
            record.migratetype = mt as u32;
            record.blocks = blocks;
            record.nr_free = nr_free;
            out.push(&record)?;
        }
        Ok(())
    })
}

pub(super) fn fragmentation(boot: &Boot<'_>, out: &mut Records) -> CoreResult<()> {
    zones(boot, out, |zone, out| {
        let mut push = |migratetype, indices: Indices| {
            let mut record = uapi::shadowmm_rec_fragmentation::zeroed();
            record.nid = zone.nid.0;
            record.zone = zone.kind as u32;
            record.migratetype = migratetype;
            record.unusable = indices.unusable.map(|index| index as i32);
            record.index = indices.fragmentation;
            out.push(&record)
        };
        push(uapi::SHADOWMM_MIGRATE_ANY, Indices::of(&zone.nr_free))?;
        let Some(types) = boot.page_types(zone.nid, zone.kind) else {
            return Ok(());
        };
        let mut each = MigrateType::ALL.into_iter().zip(&types.free);
        each.try_for_each(|(mt, blocks)| push(mt as u32, Indices::of(blocks)))
    })
}

pub(super) fn numastat(boot: &Boot<'_>, out: &mut Records) -> CoreResult<()> {
    boot.mm()?;
    let record = |node: &report::NodeModel, out: &mut Records| {
        let numa = report::Totals::of_node(boot, node.nid).numa;
        let mut record = uapi::shadowmm_rec_numastat::zeroed();
        record.nid = node.nid.0;
        record.hit = numa.get(NumaStat::Hit);
        record.miss = numa.get(NumaStat::Miss);
        record.foreign = numa.get(NumaStat::Foreign);
        record.interleave = numa.get(NumaStat::Interleave);
        record.local = numa.get(NumaStat::Local);
        record.other = numa.get(NumaStat::Other);
        out.push(&record)
    };
    walk(out, record, |visit| boot.for_each_node(visit))
}

pub(super) fn fallbacks(boot: &Boot<'_>, out: &mut Records) -> CoreResult<()> {
    boot.mm()?;
    let record = |fallback: &Fallback, out: &mut Records| {
        let mut record = uapi::shadowmm_rec_fallback::zeroed();
        record.nid = fallback.nid.0;
        record.zone = fallback.kind as u32;
        record.from = fallback.from as u32;
        record.to = fallback.to as u32;
        record.claimed = fallback.claimed;
        record.stolen = fallback.stolen;
        out.push(&record)
    };
    walk(out, record, |visit| {
        report::fallbacks::for_each(boot, visit)
    })
}
