// SPDX-License-Identifier: GPL-2.0

//! A snapshot whose every number a test can set.

use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::CpuId;
use shadowmm_core::phys::NodeId;
use shadowmm_core::report::*;
use std::collections::HashMap;
use std::fmt;

/// What [`Snapshot`] asks for, in so many words.
pub struct Fixture {
    pub zones: Vec<ZoneModel>,
    pub nodes: Vec<NodeModel>,
    pub resources: Vec<ResourceModel>,
    pub accounting: Accounting,
    pub nr_cpus: u32,
    /// What is not here is a pageset of the boot.
    pub pagesets: HashMap<(NodeId, ZoneType, u32), PagesetModel>,
    pub totals: MemoryTotals,
    pub node_stats: HashMap<NodeId, NodeStats>,
    pub system: SystemStats,
    pub events: Events,
    pub page_types: HashMap<(NodeId, ZoneType), PageTypeModel>,
    pub fallbacks: HashMap<(NodeId, ZoneType), FallbackModel>,
}

impl Fixture {
    /// Nodes with these numbers, with zones of all kinds and without memory.
    pub fn with_nodes(nids: &[i32]) -> Self {
        let nids = nids.iter().copied().map(NodeId);
        Self {
            zones: nids
                .clone()
                .flat_map(|nid| ZoneType::ALL.map(|kind| ZoneModel::empty(nid, kind)))
                .collect(),
            nodes: nids.map(NodeModel::empty).collect(),
            resources: Vec::new(),
            accounting: Accounting::default(),
            nr_cpus: 2,
            pagesets: HashMap::new(),
            totals: MemoryTotals::NONE,
            node_stats: HashMap::new(),
            system: SystemStats::ZERO,
            events: Events::ZERO,
            page_types: HashMap::new(),
            fallbacks: HashMap::new(),
        }
    }

    pub fn zone(&mut self, nid: i32, kind: ZoneType) -> &mut ZoneModel {
        self.zones
            .iter_mut()
            .find(|zone| zone.nid.0 == nid && zone.kind == kind)
            .expect("a zone of the fixture")
    }

    pub fn set_node_stat(&mut self, nid: i32, item: NodeStat, value: u64) {
        let stats = self.node_stats.entry(NodeId(nid)).or_default();
        stats.set(item, value);
    }
}

impl Snapshot for Fixture {
    fn for_each_zone(&self, visit: &mut dyn FnMut(&ZoneModel) -> Walk) -> Walk {
        self.zones.iter().try_for_each(visit)
    }

    fn for_each_node(&self, visit: &mut dyn FnMut(&NodeModel) -> Walk) -> Walk {
        self.nodes.iter().try_for_each(visit)
    }

    fn for_each_resource(&self, visit: &mut dyn FnMut(&ResourceModel) -> Walk) -> Walk {
        self.resources.iter().try_for_each(visit)
    }

    fn page_types(&self, nid: NodeId, kind: ZoneType) -> Option<PageTypeModel> {
        self.page_types.get(&(nid, kind)).copied()
    }

    fn fallbacks(&self, nid: NodeId, kind: ZoneType) -> Option<FallbackModel> {
        self.fallbacks.get(&(nid, kind)).copied()
    }

    fn accounting(&self) -> Accounting {
        self.accounting
    }

    fn nr_cpus(&self) -> u32 {
        self.nr_cpus
    }

    fn pageset(&self, nid: NodeId, kind: ZoneType, cpu: CpuId) -> Option<PagesetModel> {
        let boot = PagesetModel::boot(cpu);
        Some(*self.pagesets.get(&(nid, kind, cpu.0)).unwrap_or(&boot))
    }

    fn totals(&self) -> MemoryTotals {
        self.totals
    }

    fn node_stat(&self, nid: NodeId, item: NodeStat) -> u64 {
        self.node_stats.get(&nid).map_or(0, |stats| stats.get(item))
    }

    fn system_stat(&self, item: SystemStat) -> u64 {
        self.system.get(item)
    }

    fn event(&self, item: Event) -> u64 {
        self.events.get(item)
    }
}

/// What a writer writes.
pub fn text(write: impl FnOnce(&mut dyn fmt::Write) -> fmt::Result) -> String {
    let mut out = String::new();
    write(&mut out).expect("a string takes everything");
    out
}
