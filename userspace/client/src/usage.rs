// SPDX-License-Identifier: GPL-2.0

//! How the page allocator's memory is used: by CPU, by migrate type, by node.
//!
//! As in `report.rs` the names of the fields are the keys of `--json`.

use crate::NR_ORDERS;
use serde::Serialize;
use shadowmm_abi as abi;
use shadowmm_core::buddy::MigrateType;
use shadowmm_core::page::ZoneType;

/// What a CPU keeps of a zone (`struct per_cpu_pages`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pageset {
    /// The node.
    pub nid: i32,
    /// The zone's name, as `/proc` has it.
    pub name: &'static str,
    /// The CPU.
    pub cpu: u32,
    /// Pages that it keeps.
    pub count: u32,
    /// Above so many, some go back to the zone.
    pub high: u32,
    /// How many move at once.
    pub batch: u32,
    /// The least that `high` adapts to.
    pub high_min: u32,
    /// The most that `high` adapts to.
    pub high_max: u32,
    /// How far the CPU's counters may run ahead of the zone's.
    pub stat_threshold: u32,
}

impl From<&abi::shadowmm_rec_pageset> for Pageset {
    fn from(record: &abi::shadowmm_rec_pageset) -> Self {
        Self {
            nid: record.nid,
            name: zone_name(record.zone),
            cpu: record.cpu,
            count: record.count,
            high: record.high,
            batch: record.batch,
            high_min: record.high_min,
            high_max: record.high_max,
            stat_threshold: record.stat_threshold,
        }
    }
}

/// The pages of a zone that are for the same purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PageType {
    /// The node.
    pub nid: i32,
    /// The zone's name, as `/proc` has it.
    pub name: &'static str,
    /// The purpose, as `/proc/pagetypeinfo` names it.
    pub migratetype: &'static str,
    /// Page blocks of this type.
    pub blocks: u64,
    /// Free blocks by order, none counted beyond 100,000.
    pub nr_free: [u64; NR_ORDERS],
}

impl From<&abi::shadowmm_rec_pagetype> for PageType {
    fn from(record: &abi::shadowmm_rec_pagetype) -> Self {
        Self {
            nid: record.nid,
            name: zone_name(record.zone),
            migratetype: type_name(record.migratetype).unwrap_or("?"),
            blocks: record.blocks,
            nr_free: record.nr_free,
        }
    }
}

/// How fragmented free memory is, in thousandths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fragmentation {
    /// The node.
    pub nid: i32,
    /// The zone's name, as `/proc` has it.
    pub name: &'static str,
    /// Whose free memory in the zone; `None` for all of it.
    pub migratetype: Option<&'static str>,
    /// By order: how much of it a request can't use.
    pub unusable: [i32; NR_ORDERS],
    /// By order: why a request would fail; -1000 where it would not.
    pub index: [i32; NR_ORDERS],
}

impl From<&abi::shadowmm_rec_fragmentation> for Fragmentation {
    fn from(record: &abi::shadowmm_rec_fragmentation) -> Self {
        Self {
            nid: record.nid,
            name: zone_name(record.zone),
            migratetype: type_name(record.migratetype),
            unusable: record.unusable,
            index: record.index,
        }
    }
}

/// Where a node's pages were wanted, in allocations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Numastat {
    /// The node.
    pub nid: i32,
    /// Given out here, and wanted here.
    pub numa_hit: u64,
    /// Given out here, wanted elsewhere.
    pub numa_miss: u64,
    /// Wanted here, given out elsewhere.
    pub numa_foreign: u64,
    /// Given out where interleaving wanted them.
    pub interleave_hit: u64,
    /// Given out to a CPU of this node.
    pub local_node: u64,
    /// Given out to a CPU of another node.
    pub other_node: u64,
}

impl From<&abi::shadowmm_rec_numastat> for Numastat {
    fn from(record: &abi::shadowmm_rec_numastat) -> Self {
        Self {
            nid: record.nid,
            numa_hit: record.hit,
            numa_miss: record.miss,
            numa_foreign: record.foreign,
            interleave_hit: record.interleave,
            local_node: record.local,
            other_node: record.other,
        }
    }
}

/// How often requests of one type took from page blocks of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fallback {
    /// The node.
    pub nid: i32,
    /// The zone's name, as `/proc` has it.
    pub name: &'static str,
    /// Whose page blocks.
    pub from: &'static str,
    /// Whose requests.
    pub to: &'static str,
    /// Page blocks that changed their type.
    pub claimed: u64,
    /// Blocks taken from page blocks that kept theirs.
    pub stolen: u64,
}

impl From<&abi::shadowmm_rec_fallback> for Fallback {
    fn from(record: &abi::shadowmm_rec_fallback) -> Self {
        Self {
            nid: record.nid,
            name: zone_name(record.zone),
            from: type_name(record.from).unwrap_or("?"),
            to: type_name(record.to).unwrap_or("?"),
            claimed: record.claimed,
            stolen: record.stolen,
        }
    }
}

/// A zone's name; one that a newer module may have is a question mark.
fn zone_name(zone: u32) -> &'static str {
    let kind = ZoneType::ALL.get(zone as usize);
    kind.map_or("?", |kind| kind.name())
}

fn type_name(mt: u32) -> Option<&'static str> {
    Some(MigrateType::ALL.get(mt as usize)?.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_names_of_proc() {
        let record = abi::shadowmm_rec_fallback {
            zone: 2,
            from: abi::SHADOWMM_MIGRATE_MOVABLE,
            to: abi::SHADOWMM_MIGRATE_UNMOVABLE,
            ..Default::default()
        };
        let fallback = Fallback::from(&record);
        assert_eq!(
            (fallback.name, fallback.from, fallback.to),
            ("Normal", "Movable", "Unmovable")
        );
        let all = abi::shadowmm_rec_fragmentation {
            zone: 9,
            migratetype: abi::SHADOWMM_MIGRATE_ANY,
            ..Default::default()
        };
        let all = Fragmentation::from(&all);
        assert_eq!((all.name, all.migratetype), ("?", None));
    }
}
