// SPDX-License-Identifier: GPL-2.0

//! Nodes (`pg_data_t`): memory by its distance from the CPUs.
//!
//! A node's data lies on the node itself, reserved early and filled in when
//! the zones are known:
//!
//! ```text
//! NODE_DATA(nid)  [ zones x 4 | fallback | nofallback | distances | Node ]
//!                      ^             |         |                      |
//!                      +-------------+---------+----------------------+
//! ```
//!
//! The way of a node through the boot:
//!
//! ```text
//! possible --register()--> online --init_zones()--> memory, normal_memory
//!            node data on the       zones, zonelists,
//!            node that has memory   distances
//! ```
//!
//! A node without memory that has CPUs is online too: it has empty zones, and
//! its zonelist starts with another node.

pub mod bootlog;
mod layout;
mod validate;

use self::layout::place_refs;
use self::layout::Layout;
use crate::buddy::Daemons;
use crate::buddy::ZoneTable;
use crate::early;
use crate::early::absent_pages_in_range;
use crate::early::alloc_in_one_piece;
use crate::early::memory_ranges;
use crate::early::pfn_range_for_nid;
use crate::early::EarlyAlloc;
use crate::early::SMP_CACHE_BYTES;
use crate::error::Error;
use crate::error::Result;
use crate::nodemask::NodeMask;
use crate::page::ZoneId;
use crate::page::ZoneType;
use crate::page::NR_ZONE_TYPES;
use crate::phys::Bytes;
use crate::phys::NodeId;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PfnRange;
use crate::phys::PhysAddr;
use crate::phys::PhysRange;
use crate::phys::MAX_NODES;
use crate::platform::Platform;
use crate::tunables::Tunable;
use crate::tunables::Tunables;
use crate::tunables::NR_TUNABLES;
use crate::zone::Zone;
use crate::zone::ZoneConfig;
use crate::zone::ZoneLimits;
use crate::zonelist::FallbackOrder;
use crate::zonelist::Zonelist;
use crate::zonelist::ZonelistKind;
use crate::zonelist::LOCAL_DISTANCE;
use crate::zonelist::REMOTE_DISTANCE;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// One node.
pub struct Node<'m, P: Platform> {
    /// Its number (`node_id`).
    pub node_id: NodeId,
    /// From `node_start_pfn`, `node_spanned_pages` long; empty without memory.
    pub span: PfnRange,
    /// Pages of the span that are this node's RAM (`node_present_pages`).
    pub present: Pages,
    /// Where the node's data lies.
    pub data: PhysRange,
    zones: &'m [Zone<P>],
    zonelists: [Zonelist<'m, P>; 2],
    distances: &'m [u8],
    totalreserve: AtomicU64,
    /// What its threads for reclaim and compaction are asked to do.
    pub daemons: Daemons,
}

impl<'m, P: Platform> Node<'m, P> {
    /// The node's zones, lowest first, also those without pages
    /// (`node_zones`).
    pub fn zones(&self) -> &'m [Zone<P>] {
        self.zones
    }

    /// One zone.
    pub fn zone(&self, kind: ZoneType) -> Option<&'m Zone<P>> {
        self.zones.get(kind.index())
    }

    /// The zones that have RAM (`populated_zone`).
    pub fn populated_zones(&self) -> impl DoubleEndedIterator<Item = &'m Zone<P>> {
        self.zones.iter().filter(|zone| zone.is_populated())
    }

    /// One of its zonelists (`node_zonelist`).
    pub fn zonelist(&self, kind: ZonelistKind) -> Zonelist<'m, P> {
        let [fallback, nofallback] = self.zonelists;
        match kind {
            ZonelistKind::Fallback => fallback,
            ZonelistKind::NoFallback => nofallback,
        }
    }

    /// The distance to another node (`node_distance`).
    pub fn distance(&self, to: NodeId) -> u8 {
        let known = to.index().and_then(|index| self.distances.get(index));
        known
            .copied()
            .unwrap_or_else(|| default_distance(self.node_id, to))
    }

    /// Pages that are not for user space (`totalreserve_pages`).
    pub fn totalreserve(&self) -> Pages {
        Pages(self.totalreserve.load(Relaxed))
    }

    /// Sets the pages that are not for user space.
    pub fn set_totalreserve(&self, pages: Pages) {
        self.totalreserve.store(pages.0, Relaxed);
    }
}

/// What `node_distance()` answers where no SLIT says more.
pub fn default_distance(from: NodeId, to: NodeId) -> u8 {
    if from == to {
        LOCAL_DISTANCE
    } else {
        REMOTE_DISTANCE
    }
}

/// Which nodes are what (`node_states`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeStates {
    /// Could exist: the firmware names them (`N_POSSIBLE`).
    pub possible: NodeMask,
    /// Have memory or CPUs (`N_ONLINE`).
    pub online: NodeMask,
    /// Have memory (`N_MEMORY`).
    pub memory: NodeMask,
    /// Have memory that is not only movable (`N_NORMAL_MEMORY`).
    pub normal_memory: NodeMask,
    /// Have CPUs (`N_CPU`).
    pub cpu: NodeMask,
}

/// All nodes of the shadow.
pub struct Nodes<'m, P: Platform> {
    states: NodeStates,
    limits: ZoneLimits,
    data: [PhysRange; MAX_NODES],
    zones: [&'m [Zone<P>]; MAX_NODES],
    /// The same, by [`ZoneId`]: what every block of pages asks for.
    by_id: [Option<&'m Zone<P>>; ZoneId::COUNT],
    nodes: [Option<&'m Node<'m, P>>; MAX_NODES],
    /// What the page allocator looks up as it goes, by [`Tunable`].
    tunables: [AtomicU32; NR_TUNABLES],
}

impl<P: Platform> Default for Nodes<'_, P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'m, P: Platform> Nodes<'m, P> {
    /// No node yet.
    pub const fn new() -> Self {
        Self {
            states: NodeStates {
                possible: NodeMask::NONE,
                online: NodeMask::NONE,
                memory: NodeMask::NONE,
                normal_memory: NodeMask::NONE,
                cpu: NodeMask::NONE,
            },
            limits: ZoneLimits::new(),
            data: [PhysRange {
                start: PhysAddr::ZERO,
                end: PhysAddr::ZERO,
            }; MAX_NODES],
            zones: [&[]; MAX_NODES],
            by_id: [None; ZoneId::COUNT],
            nodes: [None; MAX_NODES],
            tunables: [const { AtomicU32::new(0) }; NR_TUNABLES],
        }
    }

    /// Has the page allocator know where the knobs are.
    pub fn set_tunables(&self, tunables: &Tunables) {
        for (slot, which) in self.tunables.iter().zip(Tunable::ALL) {
            slot.store(tunables.values(which).first(), Relaxed);
        }
        for zone in self.zones() {
            zone.set_boost_factor(tunables.watermark_boost_factor);
        }
    }

    /// Reserves the data of each node that has memory, on that node if there is
    /// room, and sets the nodes online that have memory or CPUs
    /// (`numa_register_nodes`, `alloc_node_data`, `init_cpu_to_node`).
    ///
    /// `possible` are the nodes that the firmware names, `cpus` those that it
    /// gives CPUs to; nodes with memory are possible in any case.
    ///
    /// # Errors
    ///
    /// [`Error::StageOrder`] when this was done before; those of
    /// [`early::check_memory`]; memblock's when it has no room.
    pub fn register(
        &mut self,
        early: &mut impl EarlyAlloc<'m>,
        possible: NodeMask,
        cpus: NodeMask,
    ) -> Result<()> {
        if !self.states.possible.is_empty() {
            return Err(Error::StageOrder);
        }
        early::check_memory(memory_ranges(early))?;
        let memory: NodeMask = early::whole(memory_ranges(early))
            .map(|(nid, _)| nid)
            .collect();
        self.states.possible = possible.union(cpus).union(memory);
        self.states.memory = memory;
        self.states.cpu = cpus;
        self.states.online = memory.union(cpus);
        for nid in memory.iter() {
            self.alloc_node_data(early, nid, nid)?;
        }
        Ok(())
    }

    /// Reserves room for a node's data, on `on` if there is room.
    fn alloc_node_data(
        &mut self,
        early: &mut impl EarlyAlloc<'m>,
        nid: NodeId,
        on: NodeId,
    ) -> Result<()> {
        let size = Layout::<P>::new(&self.states).total();
        let range = alloc_in_one_piece(early, size, SMP_CACHE_BYTES, PhysAddr::ZERO, on)?;
        *nid.index()
            .and_then(|index| self.data.get_mut(index))
            .ok_or(Error::NodeOffline)? = range;
        Ok(())
    }

    /// Sizes the zones of all nodes and builds their zonelists
    /// (`free_area_init`, `build_all_zonelists`). `distance` is the SLIT's, or
    /// [`default_distance`].
    ///
    /// # Errors
    ///
    /// [`Error::StageOrder`] before [`Nodes::register`], or when this was done
    /// before; those of [`early::check_memory`]; memblock's when it has no
    /// room for the data of a node without memory.
    pub fn init_zones(
        &mut self,
        early: &mut impl EarlyAlloc<'m>,
        config: &ZoneConfig,
        distance: impl Fn(NodeId, NodeId) -> u8,
    ) -> Result<()> {
        if self.states.possible.is_empty() || self.online().next().is_some() {
            return Err(Error::StageOrder);
        }
        self.limits.find(config, memory_ranges(early))?;
        for nid in self.states.possible.iter() {
            if self.node_data(nid).is_empty() {
                // alloc_offline_node_data
                self.alloc_node_data(early, nid, NodeId::NONE)?;
            }
            self.place_zones(early, nid)?;
        }
        // Linux's order at boot: see FallbackOrder::new.
        let mut fallback = FallbackOrder::new(self.states.memory, NodeMask::NONE);
        for nid in self.states.possible.iter() {
            self.place_node(early, nid, &mut fallback, &distance)?;
        }
        Ok(())
    }

    /// Makes the zones of one node (`calculate_node_totalpages`,
    /// `free_area_init_core`).
    #[inline(never)]
    fn place_zones(&mut self, early: &mut impl EarlyAlloc<'m>, nid: NodeId) -> Result<()> {
        let node = pfn_range_for_nid(memory_ranges(early), nid);
        let mut spans = [(PfnRange::default(), Pages::ZERO); NR_ZONE_TYPES];
        for (kind, (span, present)) in ZoneType::ALL.into_iter().zip(&mut spans) {
            *span = self.limits.zone_span(nid, kind, node);
            *present = span.pages() - absent_pages_in_range(memory_ranges(early), nid, *span);
            if kind < ZoneType::Movable && !present.is_zero() {
                self.states.normal_memory.insert(nid);
            }
        }
        let range = Layout::<P>::new(&self.states).zones(self.node_data(nid));
        let zones = early.region()?.place_slice(range, NR_ZONE_TYPES, |i| {
            let kind = ZoneType::ALL.get(i).copied().unwrap_or(ZoneType::Movable);
            let (span, present) = spans.get(i).copied().unwrap_or_default();
            Zone::new(kind, nid, span, present)
        })?;
        let zones: &'m [Zone<P>] = zones;
        if let Some(slot) = nid.index().and_then(|index| self.zones.get_mut(index)) {
            *slot = zones;
            for zone in zones {
                self.by_id[ZoneId::new(nid, zone.kind).index()] = Some(zone);
            }
        }
        Ok(())
    }

    /// Makes a node's zonelists and the node itself (`build_zonelists`).
    fn place_node(
        &mut self,
        early: &mut impl EarlyAlloc<'m>,
        nid: NodeId,
        fallback: &mut FallbackOrder,
        distance: impl Fn(NodeId, NodeId) -> u8,
    ) -> Result<()> {
        let layout = Layout::<P>::new(&self.states);
        let data = self.node_data(nid);
        let mut order = [NodeId::NONE; MAX_NODES];
        let nr = fallback.next(nid, &distance, &mut order);
        let order = order.get(..nr).unwrap_or(&[]);

        let refs = layout.fallback(data);
        let all = place_refs(early, refs, || order.iter().map(|&nid| self.zones_of(nid)))?;
        let refs = layout.nofallback(data);
        let own = place_refs(early, refs, || core::iter::once(self.zones_of(nid)))?;
        let to = |index| distance(nid, NodeId(index as i32));
        let distances = early.region()?.place_slice(
            layout.distances(data),
            self.states.possible.nr_ids(),
            to,
        )?;
        let zones = self.zones_of(nid);
        let node = Node {
            node_id: nid,
            span: pfn_range_for_nid(memory_ranges(early), nid),
            present: zones.iter().map(|zone| zone.present).sum(),
            data,
            zones,
            zonelists: [Zonelist::new(all), Zonelist::new(own)],
            distances,
            totalreserve: AtomicU64::new(0),
            daemons: Daemons::new(),
        };
        let node = early.region()?.place(layout.node(data), node)?;
        if let Some(slot) = nid.index().and_then(|index| self.nodes.get_mut(index)) {
            *slot = Some(node);
        }
        Ok(())
    }

    fn zones_of(&self, nid: NodeId) -> &'m [Zone<P>] {
        let zones = nid.index().and_then(|index| self.zones.get(index));
        zones.copied().unwrap_or(&[])
    }

    /// Where a node's data lies; empty where none is reserved.
    pub fn node_data(&self, nid: NodeId) -> PhysRange {
        let data = nid.index().and_then(|index| self.data.get(index));
        data.copied().unwrap_or_default()
    }

    /// A node, once its zones are made (`NODE_DATA`).
    #[inline]
    pub fn get(&self, nid: NodeId) -> Option<&'m Node<'m, P>> {
        self.nodes.get(nid.index()?).copied().flatten()
    }

    /// A node that is online (`node_online`).
    pub fn get_online(&self, nid: NodeId) -> Option<&'m Node<'m, P>> {
        self.get(nid).filter(|_| self.states.online.contains(nid))
    }

    /// One zone of one node.
    #[inline]
    pub fn zone(&self, nid: NodeId, kind: ZoneType) -> Option<&'m Zone<P>> {
        self.zones.get(nid.index()?)?.get(kind.index())
    }

    /// All nodes, lowest first, also those that are not online.
    pub fn possible(&self) -> impl Iterator<Item = &'m Node<'m, P>> + use<'_, 'm, P> {
        self.nodes.iter().copied().flatten()
    }

    /// The nodes that are online (`for_each_online_pgdat`).
    pub fn online(&self) -> impl Iterator<Item = &'m Node<'m, P>> + use<'_, 'm, P> {
        let online = self.states.online;
        self.possible()
            .filter(move |node| online.contains(node.node_id))
    }

    /// The zones of all online nodes (`for_each_zone`).
    pub fn zones(&self) -> impl Iterator<Item = &'m Zone<P>> + use<'_, 'm, P> {
        self.online().flat_map(|node| node.zones.iter())
    }

    /// Those of them that have RAM (`for_each_populated_zone`).
    pub fn populated_zones(&self) -> impl Iterator<Item = &'m Zone<P>> + use<'_, 'm, P> {
        self.zones().filter(|zone| zone.is_populated())
    }

    /// The zone that `pfn` lies in, by the zones' spans and `nid`.
    pub fn zone_of_pfn(&self, nid: NodeId, pfn: Pfn) -> Option<&'m Zone<P>> {
        self.zones_of(nid)
            .iter()
            .find(|zone| zone.span.contains(pfn))
    }

    /// Which nodes are what.
    pub fn states(&self) -> &NodeStates {
        &self.states
    }

    /// Where zones can lie.
    pub fn limits(&self) -> &ZoneLimits {
        &self.limits
    }

    /// All RAM (`get_num_physpages`).
    pub fn present(&self) -> Pages {
        self.online().map(|node| node.present).sum()
    }

    /// What the nodes' data take, zones and zonelists included.
    pub fn data_bytes(&self) -> Bytes {
        self.data.iter().map(|range| range.size()).sum()
    }
}

impl<P: Platform> ZoneTable<P> for Nodes<'_, P> {
    #[inline]
    fn zone(&self, id: ZoneId) -> Option<&Zone<P>> {
        self.by_id[id.index()]
    }

    #[inline]
    fn zonelist(&self, nid: NodeId, kind: ZonelistKind) -> Option<Zonelist<'_, P>> {
        Some(self.get(nid)?.zonelist(kind))
    }

    fn daemons(&self, nid: NodeId) -> Option<&Daemons> {
        // A node that is not online has no threads.
        Some(&self.get_online(nid)?.daemons)
    }

    fn tunable(&self, which: Tunable) -> u32 {
        let slot = self.tunables.get(which as usize);
        slot.map_or(0, |slot| slot.load(Relaxed))
    }

    #[inline]
    fn nr_online_nodes(&self) -> usize {
        self.states.online.len()
    }
}
