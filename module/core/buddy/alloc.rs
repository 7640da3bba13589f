// SPDX-License-Identifier: GPL-2.0

//! Taking a block: from the request to the zone that serves it.
//!
//! ```text
//! AllocRequest
//!    | gfp -> highest zone, list of zones      nid -> whose list
//!    v
//! first try     low watermark                           alloc_pages()
//!    | no zone has room
//!    v
//! second try    min watermark, less for the urgent      slow path
//!    | no zone has room
//!    v
//! third try     all nodes, for those who may ignore the policy;
//!    |          no watermark at all for __GFP_MEMALLOC
//!    v
//! here Linux reclaims, compacts and kills. There is nothing to reclaim in
//! the shadow and nobody to kill, so the request fails; only a request that
//! must not fail (__GFP_NOFAIL) has a last try at the reserves.
//! ```

use super::gfp;
use super::gfp::Gfp;
use super::stats::VmEvent;
use super::system::BuddySystem;
use super::watermark_ok::zone_watermark_ok;
use super::watermark_ok::AllocFlags;
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
use crate::phys::PhysRange;
use crate::platform::Lock;
use crate::platform::Platform;
use crate::zone::Zone;
use crate::zonelist::Zonelist;

/// Above this order Linux does not try forever (`PAGE_ALLOC_COSTLY_ORDER`).
const COSTLY_ORDER: u8 = 3;

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocRequest {
    /// Which zone, and how hard to try.
    pub gfp: Gfp,
    /// log2 of the pages.
    pub order: PageOrder,
    /// Whose list of zones to walk; [`NodeId::NONE`] for the running CPU's.
    pub nid: NodeId,
    /// Only from these nodes, if given.
    pub nodes: Option<NodeMask>,
}

impl AllocRequest {
    /// A block of `order` from the node at hand.
    pub const fn new(gfp: Gfp, order: PageOrder) -> Self {
        Self {
            gfp,
            order,
            nid: NodeId::NONE,
            nodes: None,
        }
    }

    /// The request as it crosses the ABI: bare numbers, all checked.
    ///
    /// # Errors
    ///
    /// [`Error::BadGfp`], [`Error::OrderTooLarge`], or [`Error::NodeOffline`]
    /// for a node number that is neither -1 nor below [`MAX_NODES`](crate::phys::MAX_NODES).
    pub fn from_raw(gfp: u32, order: u32, nid: i32) -> Result<Self> {
        let gfp = Gfp::from_bits(gfp)?;
        let order = PageOrder::new(order).ok_or(Error::OrderTooLarge)?;
        let nid = NodeId(nid);
        if nid != NodeId::NONE && nid.is_none() {
            return Err(Error::NodeOffline);
        }
        Ok(Self::new(gfp, order).on(nid))
    }

    /// The same, from this node first.
    pub const fn on(self, nid: NodeId) -> Self {
        Self { nid, ..self }
    }

    /// The same, from these nodes only.
    pub const fn within(self, nodes: NodeMask) -> Self {
        Self {
            nodes: Some(nodes),
            ..self
        }
    }
}

/// What stays the same through all tries (`struct alloc_context`).
struct AllocContext<'a, P: Platform> {
    order: PageOrder,
    zonelist: Zonelist<'a, P>,
    highest: ZoneType,
}

/// A block that was just taken.
struct Taken {
    pfn: Pfn,
    zone: ZoneId,
    /// The zone that the request would have liked best.
    preferred: ZoneId,
}

impl<P, M, Z> BuddySystem<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// Takes a block (`__alloc_pages`). See [`super::PageAllocator::alloc`].
    #[inline]
    pub(super) fn try_alloc(&self, request: &AllocRequest) -> Result<Pfn> {
        let gfp = request.gfp;
        let context = AllocContext {
            order: request.order,
            zonelist: self.zones.node_zonelist(self.platform, request.nid, gfp)?,
            highest: gfp.zone()?,
        };
        let taken =
            match self.get_page_from_freelist(&context, AllocFlags::WMARK_LOW, request.nodes) {
                Some(taken) => taken,
                None => self
                    .slowpath(&context, gfp, request.nodes)
                    .ok_or(Error::NoMemory)?,
            };
        if gfp.has(gfp::__GFP_ZERO) {
            self.zero(&taken, request.order)?;
        }
        self.count_taken(&taken, request.order);
        Ok(taken.pfn)
    }

    /// Walks the zonelist and takes a block from the first zone that has room
    /// (`get_page_from_freelist`).
    #[inline]
    fn get_page_from_freelist(
        &self,
        context: &AllocContext<'_, P>,
        flags: AllocFlags,
        nodes: Option<NodeMask>,
    ) -> Option<Taken> {
        let mut preferred = None;
        for zref in context.zonelist.iter(context.highest) {
            if nodes.is_some_and(|nodes| !nodes.contains(zref.nid())) {
                continue;
            }
            let zone = zref.zone;
            let id = ZoneId::new(zref.nid(), zref.kind());
            let preferred = *preferred.get_or_insert(id);
            if !flags.has(AllocFlags::NO_WATERMARKS) && !Self::has_room(zone, context, flags) {
                continue;
            }
            if let Some(pfn) = self.rmqueue_buddy(zone, id, context.order) {
                return Some(Taken {
                    pfn,
                    zone: id,
                    preferred,
                });
            }
        }
        None
    }

    #[inline]
    fn has_room(zone: &Zone<P>, context: &AllocContext<'_, P>, flags: AllocFlags) -> bool {
        zone_watermark_ok(
            &zone.free_counts,
            context.order,
            zone.watermark(flags.watermark()),
            zone.lowmem_reserve(context.highest),
            flags,
        )
    }

    /// Takes a block from this zone, under its lock (`rmqueue_buddy`).
    #[inline]
    fn rmqueue_buddy(&self, zone: &Zone<P>, id: ZoneId, order: PageOrder) -> Option<Pfn> {
        let mut areas = zone.free.lock();
        self.locked(zone, id, &mut areas).rmqueue_smallest(order)
    }

    /// What follows when no zone is above its low watermark
    /// (`__alloc_pages_slowpath`).
    #[cold]
    #[inline(never)]
    fn slowpath(
        &self,
        context: &AllocContext<'_, P>,
        gfp: Gfp,
        mut nodes: Option<NodeMask>,
    ) -> Option<Taken> {
        let mut flags = AllocFlags::slowpath(gfp);
        let taken = self.get_page_from_freelist(context, flags, nodes);
        if taken.is_some() {
            return taken;
        }
        // Those who will free memory may use all of it; and neither they nor
        // the urgent ones that can't sleep are held to the allowed nodes.
        let no_watermarks = gfp.has(gfp::__GFP_MEMALLOC) && !gfp.has(gfp::__GFP_NOMEMALLOC);
        if no_watermarks {
            flags = AllocFlags::NO_WATERMARKS;
        }
        if no_watermarks || (nodes.is_some() && !flags.has(AllocFlags::CPUSET)) {
            nodes = None;
            let taken = self.get_page_from_freelist(context, flags, nodes);
            if taken.is_some() {
                return taken;
            }
        }
        if !gfp.has(gfp::__GFP_DIRECT_RECLAIM) {
            return None;
        }
        if enters_direct_reclaim(gfp, context.order) {
            let (cpu, _pinned) = self.platform.pin_cpu();
            self.stats
                .count(cpu, VmEvent::AllocStall(context.highest), 1);
        }
        if !gfp.has(gfp::__GFP_NOFAIL) {
            return None;
        }
        let flags = match asks_oom_killer(gfp, context.order, context.highest) {
            true => AllocFlags::NO_WATERMARKS,
            false => AllocFlags::MIN_RESERVE,
        };
        self.get_page_from_freelist(context, flags, nodes)
    }

    /// Zeroes a block that was just taken; puts it back if that is refused.
    fn zero(&self, taken: &Taken, order: PageOrder) -> Result<()> {
        let range = PhysRange::new(taken.pfn.addr(), order.pages().bytes());
        let zeroed = self.memory.zero(range);
        if zeroed.is_err() {
            self.try_free(taken.pfn, order)?;
        }
        zeroed
    }

    /// Counts a block that was given out.
    #[inline]
    fn count_taken(&self, taken: &Taken, order: PageOrder) {
        let (cpu, _pinned) = self.platform.pin_cpu();
        let local = taken.zone.nid() == self.platform.local_node();
        let pages = order.pages();
        self.stats
            .count_alloc(cpu, taken.zone, taken.preferred, local, pages);
    }
}

/// Whether compaction may help the request (`gfp_compaction_allowed`).
fn can_compact(gfp: Gfp) -> bool {
    gfp.has_all(gfp::__GFP_DIRECT_RECLAIM | gfp::__GFP_IO)
}

/// Whether the request, which may sleep, gets as far as direct reclaim: one
/// that compaction is tried for first may give up before
/// (`__alloc_pages_slowpath`).
fn enters_direct_reclaim(gfp: Gfp, order: PageOrder) -> bool {
    let movable = gfp.has(gfp::__GFP_MOVABLE) && !gfp.has(gfp::__GFP_RECLAIMABLE);
    let compact_first =
        can_compact(gfp) && (order.get() > COSTLY_ORDER || (order > PageOrder::ZERO && !movable));
    !(compact_first && gfp.has_all(gfp::__GFP_NORETRY | gfp::__GFP_THISNODE))
}

/// Whether the request would have a process killed for it
/// (`__alloc_pages_slowpath` and `__alloc_pages_may_oom`).
fn asks_oom_killer(gfp: Gfp, order: PageOrder, highest: ZoneType) -> bool {
    let keep = gfp::__GFP_NORETRY | gfp::__GFP_RETRY_MAYFAIL | gfp::__GFP_THISNODE;
    !gfp.has(keep) && order.get() <= COSTLY_ORDER && highest >= ZoneType::Normal
}
