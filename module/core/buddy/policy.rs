// SPDX-License-Identifier: GPL-2.0

//! NUMA policies: on which nodes a request is served (`mm/mempolicy.c`).
//!
//! ```text
//! Local        the running CPU's node first       falls back everywhere
//! Preferred    this node first                    falls back everywhere
//! Bind         these nodes only, the nearest first
//! Interleave   these nodes in turn                falls back everywhere
//! ```
//!
//! A policy stands above the allocators: it makes one request of another, and
//! any [`PageAllocator`] serves it.

use super::alloc::AllocRequest;
use super::allocator::PageAllocator;
use super::gfp;
use super::gfp::Gfp;
use super::stats::NumaStat;
use super::stats::Statistics;
use super::system::BuddySystem;
use super::MemMap;
use super::ZoneTable;
use crate::error::Error;
use crate::error::Result;
use crate::nodemask::NodeMask;
use crate::page::ZoneId;
use crate::page::ZoneType;
use crate::phys::NodeId;
use crate::phys::PageOrder;
use crate::phys::Pfn;
use crate::platform::Platform;
use core::sync::atomic::AtomicI32;
use core::sync::atomic::Ordering::Relaxed;

/// Where to take pages from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// From the running CPU's node (`MPOL_LOCAL`).
    #[default]
    Local,
    /// From this node if it has some (`MPOL_PREFERRED`).
    Preferred(NodeId),
    /// From these nodes and no others (`MPOL_BIND`).
    Bind(NodeMask),
    /// From these nodes, one after the other (`MPOL_INTERLEAVE`).
    Interleave(NodeMask),
}

/// The node that was last in turn, for whom pages are interleaved
/// (`task->il_prev`).
#[derive(Debug)]
pub struct InterleavePrev(AtomicI32);

impl InterleavePrev {
    /// The lowest node is first.
    pub const fn new() -> Self {
        Self(AtomicI32::new(-1))
    }

    /// The next node of `nodes` (`interleave_nodes`); none when it is empty.
    pub fn next(&self, nodes: NodeMask) -> Option<NodeId> {
        let previous = NodeId(self.0.load(Relaxed));
        let after = nodes.iter().find(|&nid| nid > previous);
        let nid = after.or(nodes.first())?;
        self.0.store(nid.0, Relaxed);
        Some(nid)
    }
}

impl Default for InterleavePrev {
    fn default() -> Self {
        Self::new()
    }
}

/// What a policy looks at, and where it counts: a view, made anew wherever it
/// is needed.
pub struct Policies<'a, P, M, Z> {
    /// The running CPU.
    pub platform: &'a P,
    /// The page descriptors.
    pub map: &'a M,
    /// The zones of each node.
    pub zones: &'a Z,
    /// Where hits of interleaving are counted.
    pub stats: &'a Statistics<'a>,
}

impl<P, M, Z> Policies<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// Takes a block of `from` where `policy` says; node and nodes of the
    /// request are not looked at (`alloc_pages_mpol`).
    ///
    /// # Errors
    ///
    /// Those of [`PageAllocator::alloc`].
    pub fn alloc(
        &self,
        from: &impl PageAllocator,
        request: &AllocRequest,
        policy: Policy,
        prev: &InterleavePrev,
    ) -> Result<Pfn> {
        self.alloc_by(request, policy, prev, |request| from.alloc(request))
    }

    /// The same with any other way to take one block or range.
    ///
    /// # Errors
    ///
    /// Those of `take`.
    pub fn alloc_by(
        &self,
        request: &AllocRequest,
        policy: Policy,
        prev: &InterleavePrev,
        take: impl FnOnce(&AllocRequest) -> Result<Pfn>,
    ) -> Result<Pfn> {
        let (request, turn) = self.place(request, policy, prev);
        let pfn = take(&request)?;
        if let Some(nid) = turn {
            self.count_turn(pfn, nid);
        }
        Ok(pfn)
    }

    /// Takes single pages of `from` where `policy` says, and says how many.
    /// Interleaving gives each node in turn its share of them
    /// (`alloc_pages_bulk_mempolicy`).
    ///
    /// # Errors
    ///
    /// Those of [`PageAllocator::alloc`], when there is not one page.
    pub fn alloc_bulk(
        &self,
        from: &impl PageAllocator,
        request: &AllocRequest,
        policy: Policy,
        prev: &InterleavePrev,
        pages: &mut [Pfn],
    ) -> Result<usize> {
        let nodes = match policy {
            Policy::Interleave(nodes) if is_policy_heard(request.gfp) => nodes,
            _ => NodeMask::NONE,
        };
        if nodes.is_empty() {
            let (request, _) = self.place(request, policy, prev);
            return from.alloc_bulk(&request, pages);
        }
        let share = pages.len().checked_div(nodes.len()).unwrap_or(0);
        let more = pages
            .len()
            .saturating_sub(share.saturating_mul(nodes.len()));
        let request = AllocRequest::new(request.gfp, PageOrder::ZERO);
        let mut done = 0usize;
        let mut refused = Error::NoMemory;
        for i in 0..nodes.len() {
            let wanted = share.saturating_add(usize::from(i < more));
            let Some(nid) = prev.next(nodes) else { break };
            let room = pages.get_mut(done..done.saturating_add(wanted));
            match from.alloc_bulk(&request.on(nid), room.unwrap_or_default()) {
                Ok(taken) => done = done.saturating_add(taken),
                Err(error) => refused = error,
            }
        }
        match done {
            0 if !pages.is_empty() => Err(refused),
            _ => Ok(done),
        }
    }

    /// The request as the policy has it, and the node whose turn it is
    /// (`policy_nodemask`).
    fn place(
        &self,
        request: &AllocRequest,
        policy: Policy,
        prev: &InterleavePrev,
    ) -> (AllocRequest, Option<NodeId>) {
        let request = AllocRequest::new(request.gfp, request.order);
        if !is_policy_heard(request.gfp) {
            return (request, None);
        }
        match policy {
            Policy::Bind(nodes) if self.is_bound(request.gfp, nodes) => {
                (request.within(nodes), None)
            }
            Policy::Local | Policy::Bind(_) => (request, None),
            Policy::Preferred(nid) => (request.on(nid), None),
            Policy::Interleave(nodes) => match prev.next(nodes) {
                Some(nid) => (request.on(nid), Some(nid)),
                None => (request, None),
            },
        }
    }

    /// Whether a request is kept to the nodes that it is bound to: not one for
    /// a zone below the highest that any node has, the movable one aside, and
    /// where the nodes have movable memory only, none but one for that
    /// (`apply_policy_zone`).
    fn is_bound(&self, gfp: Gfp, nodes: NodeMask) -> bool {
        let Ok(highest) = gfp.zone() else {
            return true;
        };
        let is_populated = |nid, kind| {
            let zone = self.zones.zone(ZoneId::new(nid, kind));
            zone.is_some_and(|zone| zone.is_populated())
        };
        let has =
            |nid| ZoneType::ALL.map(|kind| kind < ZoneType::Movable && is_populated(nid, kind));
        let has_lower = nodes.iter().any(|nid| has(nid).contains(&true));
        if highest == ZoneType::Movable || !has_lower {
            return highest == ZoneType::Movable;
        }
        let above = ZoneType::ALL.into_iter().filter(|&kind| kind > highest);
        let mut above = above.filter(|&kind| kind < ZoneType::Movable);
        !above.any(|kind| NodeMask::ALL.iter().any(|nid| is_populated(nid, kind)))
    }

    fn count_turn(&self, pfn: Pfn, nid: NodeId) {
        let zone = self.map.page(pfn).map(|page| page.zone_id());
        if let Some(zone) = zone.filter(|zone| zone.nid() == nid) {
            let (cpu, _pinned) = self.platform.pin_cpu();
            self.stats.count_numa(cpu, zone, NumaStat::InterleaveHit);
        }
    }
}

/// Whether a request is served as a policy says: not one that names its node
/// and no other (`alloc_pages`).
fn is_policy_heard(gfp: Gfp) -> bool {
    !gfp.has(gfp::__GFP_THISNODE)
}

impl<P, M, Z> BuddySystem<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// Takes a block where `policy` says. See [`Policies::alloc`].
    ///
    /// # Errors
    ///
    /// Those of [`PageAllocator::alloc`].
    pub fn alloc_policy(
        &self,
        request: &AllocRequest,
        policy: Policy,
        prev: &InterleavePrev,
    ) -> Result<Pfn> {
        let policies = Policies {
            platform: self.platform,
            map: self.map,
            zones: self.zones,
            stats: self.stats,
        };
        policies.alloc(self, request, policy, prev)
    }
}
