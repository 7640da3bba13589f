// SPDX-License-Identifier: GPL-2.0

//! Zonelists: where else to look when a zone has no free page.
//!
//! Each node has two. One has all zones of all nodes that have memory, the
//! nearest node first and within a node the highest zone first; the other, for
//! `__GFP_THISNODE`, has the node's own zones alone.
//!
//! ```text
//! node 0, fallback    0:Movable 0:Normal 0:DMA32 0:DMA 1:Movable 1:Normal
//! node 0, nofallback  0:Movable 0:Normal 0:DMA32 0:DMA
//! node 1, fallback    1:Movable 1:Normal 0:Movable 0:Normal 0:DMA32 0:DMA
//! ```
//!
//! A request names the highest kind of zone that it may use; walking the list
//! skips what lies above.

use crate::nodemask::NodeMask;
use crate::page::ZoneType;
use crate::phys::NodeId;
use crate::phys::MAX_NODES;
use crate::platform::Platform;
use crate::zone::Zone;

/// A node's distance to itself (`LOCAL_DISTANCE`).
pub const LOCAL_DISTANCE: u8 = 10;
/// The distance of two nodes that nothing else is known about
/// (`REMOTE_DISTANCE`).
pub const REMOTE_DISTANCE: u8 = 20;
/// What a node with CPUs counts as further away (`PENALTY_FOR_NODE_WITH_CPUS`).
const PENALTY_FOR_NODE_WITH_CPUS: u32 = 1;
/// Debian's `MAX_NUMNODES`: how much a step of distance outweighs the load.
const MAX_NUMNODES: u32 = 1024;

/// Which of a node's two zonelists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZonelistKind {
    /// All zones (`ZONELIST_FALLBACK`).
    Fallback = 0,
    /// The node's own zones (`ZONELIST_NOFALLBACK`, `__GFP_THISNODE`).
    NoFallback = 1,
}

/// An entry of a zonelist (`struct zoneref`).
pub struct ZoneRef<'m, P: Platform> {
    /// The zone.
    pub zone: &'m Zone<P>,
    // Beside the pointer, so that skipping an entry does not touch its zone.
    kind: ZoneType,
    nid: NodeId,
}

impl<P: Platform> Clone for ZoneRef<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Platform> Copy for ZoneRef<'_, P> {}

impl<'m, P: Platform> ZoneRef<'m, P> {
    /// The entry for `zone` (`zoneref_set_zone`).
    pub fn new(zone: &'m Zone<P>) -> Self {
        Self {
            zone,
            kind: zone.kind,
            nid: zone.nid,
        }
    }

    /// The kind of the zone (`zonelist_zone_idx`).
    pub fn kind(&self) -> ZoneType {
        self.kind
    }

    /// The node of the zone (`zonelist_node_idx`).
    pub fn nid(&self) -> NodeId {
        self.nid
    }
}

/// Zones in the order in which they are tried (`struct zonelist`).
pub struct Zonelist<'m, P: Platform> {
    refs: &'m [ZoneRef<'m, P>],
}

impl<P: Platform> Clone for Zonelist<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Platform> Copy for Zonelist<'_, P> {}

impl<'m, P: Platform> Zonelist<'m, P> {
    /// A list of these zones.
    pub const fn new(refs: &'m [ZoneRef<'m, P>]) -> Self {
        Self { refs }
    }

    /// All entries.
    pub fn refs(&self) -> &'m [ZoneRef<'m, P>] {
        self.refs
    }

    /// The zones up to `highest`, in the order to try them
    /// (`for_each_zone_zonelist`).
    #[inline]
    pub fn iter(&self, highest: ZoneType) -> impl Iterator<Item = &'m ZoneRef<'m, P>> {
        self.refs.iter().filter(move |zref| zref.kind <= highest)
    }

    /// The same, only on the nodes in `nodes`
    /// (`for_each_zone_zonelist_nodemask`).
    #[inline]
    pub fn iter_on(
        &self,
        highest: ZoneType,
        nodes: NodeMask,
    ) -> impl Iterator<Item = &'m ZoneRef<'m, P>> {
        self.iter(highest)
            .filter(move |zref| nodes.contains(zref.nid))
    }

    /// The zone to try first (`first_zones_zonelist`); all nodes for `None`.
    pub fn first(&self, highest: ZoneType, nodes: Option<NodeMask>) -> Option<&'m ZoneRef<'m, P>> {
        match nodes {
            None => self.iter(highest).next(),
            Some(nodes) => self.iter_on(highest, nodes).next(),
        }
    }
}

/// The order in which nodes fall back on each other.
///
/// The lists of all nodes are made one after the other, lowest node first,
/// because each takes into account how often the others have chosen a node
/// (`node_load`).
pub struct FallbackOrder {
    memory: NodeMask,
    cpus: NodeMask,
    load: [u32; MAX_NODES],
}

impl FallbackOrder {
    /// The order for a shadow where the nodes in `memory` have memory and those
    /// in `cpus` have CPUs that are up.
    ///
    /// When x86 builds the zonelists at boot, no CPU is entered in its node
    /// yet (`numa_add_cpu` runs later), so Linux's own order there is that of
    /// [`NodeMask::NONE`].
    pub const fn new(memory: NodeMask, cpus: NodeMask) -> Self {
        Self {
            memory,
            cpus,
            load: [0; MAX_NODES],
        }
    }

    /// The nodes with memory, as `local` falls back on them: into `order`, and
    /// how many they are (the first half of `build_zonelists`).
    pub fn next(
        &mut self,
        local: NodeId,
        distance: impl Fn(NodeId, NodeId) -> u8,
        order: &mut [NodeId; MAX_NODES],
    ) -> usize {
        let mut used = NodeMask::NONE;
        let mut previous = local;
        let mut nr = 0;
        while let Some(nid) = self.find_next_best_node(local, &mut used, &distance) {
            // The first of several nodes at the same distance is charged, so
            // that the next list starts with another of them.
            if distance(local, nid) != distance(local, previous) {
                if let Some(load) = self.load_mut(nid) {
                    *load = load.saturating_add(1);
                }
            }
            previous = nid;
            if let Some(slot) = order.get_mut(nr) {
                *slot = nid;
                nr += 1;
            }
        }
        nr
    }

    /// The nearest node that is not in `used` yet, and enters it there
    /// (`find_next_best_node`). Among nodes at the same distance, those above
    /// `local` come first, then those without CPUs, then those that fewer
    /// lists have chosen.
    pub fn find_next_best_node(
        &self,
        local: NodeId,
        used: &mut NodeMask,
        distance: impl Fn(NodeId, NodeId) -> u8,
    ) -> Option<NodeId> {
        if self.memory.contains(local) && !used.contains(local) {
            used.insert(local);
            return Some(local);
        }
        let cost = |nid: NodeId| {
            let mut cost = u32::from(distance(local, nid)) + u32::from(nid < local);
            if self.cpus.contains(nid) {
                cost += PENALTY_FOR_NODE_WITH_CPUS;
            }
            let load = nid.index().and_then(|index| self.load.get(index));
            (cost * MAX_NUMNODES).saturating_add(load.copied().unwrap_or(0))
        };
        let unused = self.memory.iter().filter(|&nid| !used.contains(nid));
        // The lowest of equals, as min_by_key finds it.
        let best = unused.min_by_key(|&nid| cost(nid))?;
        used.insert(best);
        Some(best)
    }

    fn load_mut(&mut self, nid: NodeId) -> Option<&mut u32> {
        self.load.get_mut(nid.index()?)
    }
}
