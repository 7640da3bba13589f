// SPDX-License-Identifier: GPL-2.0

//! NUMA policies: on which nodes a request is served (`mm/mempolicy.c`).
//!
//! ```text
//! Local        the running CPU's node first       falls back everywhere
//! Preferred    this node first                    falls back everywhere
//! Bind         these nodes only, the nearest first
//! Interleave   these nodes in turn                falls back everywhere
//! ```

use super::alloc::AllocRequest;
use super::allocator::PageAllocator;
use super::stats::NumaStat;
use super::system::BuddySystem;
use super::MemMap;
use super::ZoneTable;
use crate::error::Result;
use crate::nodemask::NodeMask;
use crate::phys::NodeId;
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

impl<P, M, Z> BuddySystem<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// Takes a block where `policy` says; node and nodes of the request are not
    /// looked at (`alloc_pages_mpol`).
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
        let request = AllocRequest::new(request.gfp, request.order);
        match policy {
            Policy::Local => self.alloc(&request),
            Policy::Preferred(nid) => self.alloc(&request.on(nid)),
            Policy::Bind(nodes) => self.alloc(&request.within(nodes)),
            Policy::Interleave(nodes) => {
                let Some(nid) = prev.next(nodes) else {
                    return self.alloc(&request);
                };
                let pfn = self.alloc(&request.on(nid))?;
                let zone = self.map.page(pfn).map(|page| page.zone_id());
                if let Some(zone) = zone.filter(|zone| zone.nid() == nid) {
                    let (cpu, _pinned) = self.platform.pin_cpu();
                    self.stats.count_numa(cpu, zone, NumaStat::InterleaveHit);
                }
                Ok(pfn)
            }
        }
    }
}
