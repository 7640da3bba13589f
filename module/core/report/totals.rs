// SPDX-License-Identifier: GPL-2.0

//! Sums over zones and nodes, and what Linux computes from them.

use super::NodeStat;
use super::NodeStats;
use super::NumaStat;
use super::NumaStats;
use super::Snapshot;
use super::ZoneModel;
use super::ZoneStat;
use super::ZoneStats;
use crate::page::ZoneType;
use crate::phys::NodeId;
use crate::phys::Pages;
use crate::zone::Watermark;

/// What zones have together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Pages that are RAM.
    pub present: Pages,
    /// Pages that the buddy system was given (`totalram_pages`).
    pub managed: Pages,
    /// Pages that nobody but the kernel may have (`totalreserve_pages`).
    pub reserve: Pages,
    /// The sum of the low watermarks.
    pub low_watermarks: Pages,
    /// The zones' counters (`global_zone_page_state`).
    pub stats: ZoneStats,
    /// The zones' counters (`global_numa_event_state`).
    pub numa: NumaStats,
}

impl Totals {
    /// The sums over all zones of `snapshot`.
    pub fn of(snapshot: &dyn Snapshot) -> Self {
        Self::over(snapshot, |_| true)
    }

    /// The sums over the zones of one node (`sum_zone_node_page_state`).
    pub fn of_node(snapshot: &dyn Snapshot, nid: NodeId) -> Self {
        Self::over(snapshot, |zone| zone.nid == nid)
    }

    fn over(snapshot: &dyn Snapshot, wanted: impl Fn(&ZoneModel) -> bool) -> Self {
        let mut totals = Self {
            present: Pages::ZERO,
            managed: Pages::ZERO,
            reserve: Pages::ZERO,
            low_watermarks: Pages::ZERO,
            stats: ZoneStats::ZERO,
            numa: NumaStats::ZERO,
        };
        // The visitor never stops the walk.
        let _ = snapshot.for_each_zone(&mut |zone| {
            if wanted(zone) {
                totals.add(zone);
            }
            Ok(())
        });
        totals
    }

    fn add(&mut self, zone: &ZoneModel) {
        self.present += zone.present;
        self.managed += zone.managed;
        self.reserve += reserve(zone);
        self.low_watermarks += zone.wmark(Watermark::Low);
        for &item in ZoneStat::ALL {
            self.stats.add(item, zone.stats.get(item));
        }
        for &item in NumaStat::ALL {
            self.numa.add(item, zone.numa.get(item));
        }
    }

    /// Free pages (`global_zone_page_state(NR_FREE_PAGES)`).
    pub fn free(&self) -> Pages {
        Pages(self.stats.get(ZoneStat::FreePages))
    }

    /// What can be had without swapping, as far as one can tell
    /// (`si_mem_available`): the free pages without the reserve, and of page
    /// cache and reclaimable memory what exceeds a half or the low watermarks.
    pub fn available(&self, nodes: &NodeStats) -> Pages {
        let keep = |pages: u64| pages - (pages / 2).min(self.low_watermarks.0);
        let cache = nodes
            .get(NodeStat::ActiveFile)
            .saturating_add(nodes.get(NodeStat::InactiveFile));
        let reclaimable = nodes
            .get(NodeStat::SlabReclaimable)
            .saturating_add(nodes.get(NodeStat::KernelMiscReclaimable));
        // The reserve may exceed the free pages by what the rest makes good.
        let all = self.free() + Pages(keep(cache)) + Pages(keep(reclaimable));
        all - self.reserve
    }
}

/// What of a zone is out of reach of user requests: its largest reserve against
/// higher zones and its high watermark, but no more than it manages
/// (`calculate_totalreserve_pages`; a boost is not part of it).
fn reserve(zone: &ZoneModel) -> Pages {
    let against_higher = ZoneType::ALL
        .iter()
        .filter(|&&kind| kind > zone.kind)
        .filter_map(|kind| zone.lowmem_reserve.get(kind.index()))
        .rfind(|reserve| !reserve.is_zero())
        .copied()
        .unwrap_or_default();
    (against_higher + zone.wmark_base(Watermark::High)).min(zone.managed)
}

/// The counters of all nodes (`global_node_page_state_pages`).
pub(super) fn add_nodes(snapshot: &dyn Snapshot, sums: &mut NodeStats) {
    for &item in NodeStat::ALL {
        sums.add(item, snapshot.node_stat(NodeId::NONE, item));
    }
    // The visitor never stops the walk.
    let _ = snapshot.for_each_node(&mut |node| {
        for &item in NodeStat::ALL {
            sums.add(item, snapshot.node_stat(node.nid, item));
        }
        Ok(())
    });
}
