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
//! and so on     see slowpath.rs
//! ```

use super::block;
use super::fallback::RmqueueMode;
use super::gfp;
use super::gfp::Gfp;
use super::highatomic;
use super::local;
use super::migratetype::MigrateType;
use super::pageset;
use super::system::BuddySystem;
use super::watermark_ok::zone_watermark_ok;
use super::watermark_ok::AllocFlags;
use super::MemMap;
use super::ZoneTable;
use crate::error::Error;
use crate::error::Result;
use crate::nodemask::NodeMask;
use crate::page::PageState;
use crate::page::ZoneId;
use crate::page::ZoneType;
use crate::phys::NodeId;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PhysRange;
use crate::platform::Lock;
use crate::platform::Platform;
use crate::zone::Watermark;
use crate::zone::Zone;
use crate::zonelist::Zonelist;

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocRequest {
    /// Which zone, and how hard to try.
    pub(crate) gfp: Gfp,
    /// log2 of the pages.
    pub(crate) order: PageOrder,
    /// Whose list of zones to walk; [`NodeId::NONE`] for the running CPU's.
    pub(crate) nid: NodeId,
    /// Only from these nodes, if given.
    pub(crate) nodes: Option<NodeMask>,
    /// What kind of plain request it is; above all kinds when it is not plain.
    kind: u8,
    /// The same for a single page alone.
    single: u8,
    /// The same for a block of an order that no CPU keeps.
    block: u8,
}

impl AllocRequest {
    /// A block of `order` from the node at hand.
    #[inline]
    pub const fn new(gfp: Gfp, order: PageOrder) -> Self {
        Self {
            gfp,
            order,
            nid: NodeId::NONE,
            nodes: None,
            kind: Self::kind_of(gfp, order),
            single: match order.get() {
                0 => Self::kind_of(gfp, order),
                _ => u8::MAX,
            },
            block: match block::is_for_zone(order) {
                true => Self::kind_of(gfp, order),
                false => u8::MAX,
            },
        }
    }

    /// Plain is what needs no more than to be given out, from the node at hand.
    const fn kind_of(gfp: Gfp, order: PageOrder) -> u8 {
        // See AllocFlags::HIGHATOMIC.
        let urgent =
            order.get() > 0 && gfp.has(gfp::__GFP_HIGH) && !gfp.has(gfp::__GFP_DIRECT_RECLAIM);
        match (gfp.zone(), gfp.migratetype()) {
            (Ok(highest), Ok(mt)) if !gfp.has(gfp::NOT_PLAIN) && !urgent => {
                local::plain_kind(highest, mt)
            }
            _ => u8::MAX,
        }
    }

    /// What kind of plain request it is; one that there is not for others.
    #[inline]
    pub(super) const fn kind(&self) -> u8 {
        self.kind
    }

    /// The same for a single page alone.
    #[inline]
    pub(super) const fn single(&self) -> u8 {
        self.single
    }

    /// The same for a block of an order that no CPU keeps.
    #[inline]
    pub(super) const fn block(&self) -> u8 {
        self.block
    }

    /// Which zone, and how hard to try.
    pub const fn gfp(&self) -> Gfp {
        self.gfp
    }

    /// log2 of the pages.
    pub const fn order(&self) -> PageOrder {
        self.order
    }

    /// Whose list of zones to walk; [`NodeId::NONE`] for the running CPU's.
    pub const fn nid(&self) -> NodeId {
        self.nid
    }

    /// Only from these nodes, if given.
    pub const fn nodes(&self) -> Option<NodeMask> {
        self.nodes
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
        match nid.0 == self.nid.0 {
            true => self,
            false => Self {
                nid,
                kind: u8::MAX,
                single: u8::MAX,
                block: u8::MAX,
                ..self
            },
        }
    }

    /// The same, from these nodes only.
    pub const fn within(self, nodes: NodeMask) -> Self {
        Self {
            nodes: Some(nodes),
            kind: u8::MAX,
            single: u8::MAX,
            block: u8::MAX,
            ..self
        }
    }

    /// The same for a block of another order.
    pub const fn of_order(self, order: PageOrder) -> Self {
        self.anew(self.gfp, order)
    }

    /// The same for a block of another order, with other flags.
    pub(super) const fn anew(self, gfp: Gfp, order: PageOrder) -> Self {
        let anew = Self::new(gfp, order);
        match self.nid.0 == NodeId::NONE.0 && self.nodes.is_none() {
            true => anew,
            false => Self {
                nid: self.nid,
                nodes: self.nodes,
                kind: u8::MAX,
                single: u8::MAX,
                block: u8::MAX,
                ..anew
            },
        }
    }
}

/// What stays the same through all tries (`struct alloc_context`).
pub(super) struct AllocContext<'a, P: Platform> {
    pub(super) order: PageOrder,
    pub(super) zonelist: Zonelist<'a, P>,
    pub(super) highest: ZoneType,
    pub(super) migratetype: MigrateType,
}

/// A block that was just taken.
pub(super) struct Taken {
    pub(super) pfn: Pfn,
    pub(super) zone: ZoneId,
    /// The zone that the request would have liked best.
    pub(super) preferred: ZoneId,
}

/// How a walk of the zonelist ends.
enum Walk {
    /// With a block.
    Taken(Taken),
    /// Types were kept apart, and the next zone is another node's.
    Remote,
    /// No zone has room.
    End,
}

impl<P, M, Z> BuddySystem<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// Where a request looks, and for what (`prepare_alloc_pages`).
    #[inline(always)]
    fn context(&self, request: &AllocRequest) -> Result<AllocContext<'_, P>> {
        let gfp = request.gfp;
        Ok(AllocContext {
            order: request.order,
            zonelist: self.zones.node_zonelist(self.platform, request.nid, gfp)?,
            highest: gfp.zone()?,
            migratetype: self.migratetype(gfp)?,
        })
    }

    /// Takes a block (`__alloc_pages`). See [`super::PageAllocator::alloc`].
    #[inline]
    pub(super) fn try_alloc(&self, request: &AllocRequest) -> Result<Pfn> {
        let gfp = request.gfp;
        let context = self.context(request)?;
        let flags = AllocFlags::fastpath(gfp, request.order);
        let flags = flags | self.nofragment(&context, request.nodes);
        let taken = match self.get_page_from_freelist(&context, flags, request.nodes) {
            Some(taken) => taken,
            None => self.slowpath(&context, gfp, request.nodes)?,
        };
        self.unpoison(taken.pfn, request.order);
        if gfp.has(gfp::__GFP_ZERO) {
            self.zero(&taken, request.order)?;
        }
        self.count_taken(&taken, request.order);
        Ok(taken.pfn)
    }

    /// Whether a zone that the request may use has a free block of its order above the min
    /// watermark: whether it could be had.
    ///
    /// # Errors
    ///
    /// Those of a request that can't be.
    pub fn is_above_min(&self, request: &AllocRequest) -> Result<bool> {
        let context = self.context(request)?;
        let flags = AllocFlags::fastpath(request.gfp, request.order).only(AllocFlags::CMA);
        let allowed = |nid| request.nodes.is_none_or(|nodes| nodes.contains(nid));
        let mut zones = context.zonelist.iter(context.highest);
        Ok(zones.any(|zref| {
            let min = zref.zone.wmark(Watermark::Min);
            allowed(zref.nid()) && Self::watermark_ok(zref.zone, &context, min, flags)
        }))
    }

    /// Takes single pages from the first zone that has room for all of them, as
    /// long as it has some (the fast part of `alloc_pages_bulk`); how many, 0
    /// when a single request must do.
    pub(super) fn take_bulk(&self, request: &AllocRequest, pages: &mut [Pfn]) -> Result<usize> {
        let gfp = request.gfp;
        let highest = gfp.zone()?;
        let mt = self.migratetype(gfp)?;
        let zonelist = self.zones.node_zonelist(self.platform, request.nid, gfp)?;
        let flags = AllocFlags::fastpath(gfp, PageOrder::ZERO).only(AllocFlags::CMA);
        let flags = flags | AllocFlags::WMARK_LOW;
        let allowed = |nid| request.nodes.is_none_or(|nodes| nodes.contains(nid));
        let Some(preferred) = zonelist.first(highest, request.nodes) else {
            return Ok(0);
        };
        let wanted = Pages(pages.len() as u64);
        let mut zones = zonelist.iter(highest).filter(|zref| allowed(zref.nid()));
        let found = zones.find_map(|zref| {
            if zref.nid() != preferred.nid() {
                // Rather one page from near than many from afar.
                return Some(None);
            }
            let mark = zref.zone.wmark(Watermark::Low) + wanted;
            let reserve = zref.zone.lowmem_reserve(preferred.kind());
            let counts = &zref.zone.free_counts;
            zone_watermark_ok(counts, PageOrder::ZERO, mark, reserve, flags).then_some(Some(zref))
        });
        let Some(Some(zref)) = found else {
            return Ok(0);
        };
        let id = ZoneId::new(zref.nid(), zref.kind());
        let preferred = ZoneId::new(preferred.nid(), preferred.kind());
        let taken = self.rmqueue_pcplist_bulk(zref.zone, id, mt, flags, pages);
        for &pfn in pages.iter().take(taken) {
            let page = Taken {
                pfn,
                zone: id,
                preferred,
            };
            self.unpoison(pfn, PageOrder::ZERO);
            if gfp.has(gfp::__GFP_ZERO) && self.memory.zero(one_page(pfn)).is_err() {
                // There is no memory behind any page then.
                self.free_pages(pages.get(..taken).unwrap_or(&[]));
                return Err(Error::ForeignPfn);
            }
            self.count_taken(&page, PageOrder::ZERO);
        }
        Ok(taken)
    }

    /// From which page blocks the request is served (`gfp_migratetype`).
    #[inline]
    pub(super) fn migratetype(&self, gfp: Gfp) -> Result<MigrateType> {
        let mt = gfp.migratetype()?;
        Ok(match self.map.is_mobility_disabled() {
            true => MigrateType::Unmovable,
            false => mt,
        })
    }

    /// Whether types are kept apart until all local zones have been tried: if
    /// the best zone is Normal and the node has a DMA32 zone to go to instead
    /// (`alloc_flags_nofragment`).
    #[inline]
    fn nofragment(&self, context: &AllocContext<'_, P>, nodes: Option<NodeMask>) -> AllocFlags {
        const NONE: AllocFlags = AllocFlags::WMARK_MIN;
        let preferred = context.zonelist.first(context.highest, nodes);
        let Some(preferred) = preferred.filter(|zref| zref.kind() == ZoneType::Normal) else {
            return NONE;
        };
        let below = ZoneId::new(preferred.nid(), ZoneType::Dma32);
        let has_below = self.zones.zone(below).is_some_and(|z| z.is_populated());
        if !has_below && self.zones.nr_online_nodes() > 1 {
            return NONE;
        }
        AllocFlags::NOFRAGMENT
    }

    /// Walks the zonelist and takes a block from the first zone that has room
    /// (`get_page_from_freelist`). A walk that passes over nodes whose kswapd is at
    /// work is repeated without that when it finds nothing; one that keeps types
    /// apart is, when it finds nothing even so, or would have to leave the node.
    #[inline]
    pub(super) fn get_page_from_freelist(
        &self,
        context: &AllocContext<'_, P>,
        mut flags: AllocFlags,
        nodes: Option<NodeMask>,
    ) -> Option<Taken> {
        let mut skip_kswapd_nodes = self.zones.nr_online_nodes() > 1;
        let mut skipped_kswapd_nodes = false;
        loop {
            let skipped = skip_kswapd_nodes.then_some(&mut skipped_kswapd_nodes);
            match self.walk_zonelist(context, flags, nodes, skipped) {
                Walk::Taken(taken) => return Some(taken),
                Walk::Remote => flags = flags.without(AllocFlags::NOFRAGMENT),
                Walk::End if skip_kswapd_nodes && skipped_kswapd_nodes => {
                    skip_kswapd_nodes = false;
                }
                Walk::End if flags.has(AllocFlags::NOFRAGMENT) => {
                    flags = flags.without(AllocFlags::NOFRAGMENT);
                }
                Walk::End => return None,
            }
        }
    }

    /// One walk. With `skipped` it passes over nodes whose kswapd is at work, and
    /// notes that it did: others may be idle, where requests are bound to some.
    #[inline]
    fn walk_zonelist(
        &self,
        context: &AllocContext<'_, P>,
        flags: AllocFlags,
        nodes: Option<NodeMask>,
        mut skipped: Option<&mut bool>,
    ) -> Walk {
        let mut preferred = None;
        for zref in context.zonelist.iter(context.highest) {
            if nodes.is_some_and(|nodes| !nodes.contains(zref.nid())) {
                continue;
            }
            let zone = zref.zone;
            let id = ZoneId::new(zref.nid(), zref.kind());
            let preferred = *preferred.get_or_insert(id);
            if flags.has(AllocFlags::NOFRAGMENT) && id.nid() != preferred.nid() {
                // To be near matters more than to be tidy.
                return Walk::Remote;
            }
            if let Some(skipped) = &mut skipped {
                if self.is_kswapd_busy(id.nid()) {
                    **skipped = true;
                    continue;
                }
            }
            if !self.has_room(zone, id, context, flags) {
                continue;
            }
            if let Some(pfn) = self.rmqueue(zone, id, context, flags) {
                return Walk::Taken(Taken {
                    pfn,
                    zone: id,
                    preferred,
                });
            }
        }
        Walk::End
    }

    /// Whether the request may take from this zone. A zone that is found below
    /// its high watermark is marked so.
    #[inline]
    fn has_room(
        &self,
        zone: &Zone<P>,
        id: ZoneId,
        context: &AllocContext<'_, P>,
        flags: AllocFlags,
    ) -> bool {
        let mark = flags.watermark();
        if !zone.is_below_high() {
            // The high one is never below another, once they are set.
            let high = zone.wmark(Watermark::High).max(zone.wmark(mark));
            if Self::watermark_ok(zone, context, high, flags) {
                return true;
            }
            self.set_below_high(zone, id, true);
        }
        if Self::watermark_ok(zone, context, zone.wmark(mark), flags) {
            return true;
        }
        // An urgent request is not kept out by a boost (zone_watermark_fast).
        let urgent = context.order == PageOrder::ZERO
            && flags.has(AllocFlags::MIN_RESERVE)
            && mark == Watermark::Min
            && !zone.boost().is_zero();
        flags.has(AllocFlags::NO_WATERMARKS)
            || (urgent && Self::watermark_ok(zone, context, zone.watermark(mark), flags))
    }

    #[inline]
    fn watermark_ok(
        zone: &Zone<P>,
        context: &AllocContext<'_, P>,
        mark: Pages,
        flags: AllocFlags,
    ) -> bool {
        let reserve = zone.lowmem_reserve(context.highest);
        zone_watermark_ok(&zone.free_counts, context.order, mark, reserve, flags)
    }

    /// Takes a block from this zone, through the CPU's pageset where its order is
    /// kept there (`rmqueue`).
    #[inline]
    fn rmqueue(
        &self,
        zone: &Zone<P>,
        id: ZoneId,
        context: &AllocContext<'_, P>,
        flags: AllocFlags,
    ) -> Option<Pfn> {
        let mut pfn = None;
        if pageset::is_allowed(context.order) {
            pfn = self.rmqueue_pcplist(zone, id, context.order, context.migratetype, flags);
        }
        if pfn.is_none() {
            pfn = self.rmqueue_buddy(zone, id, context, flags);
        }
        if flags.has(AllocFlags::KSWAPD) && zone.is_boosted() {
            self.clear_boosted(zone, id);
            self.wakeup_kswapd(zone, Gfp::NONE, PageOrder::ZERO, id.kind());
        }
        pfn
    }

    /// Takes a block from this zone, under its lock (`rmqueue_buddy`).
    #[inline]
    fn rmqueue_buddy(
        &self,
        zone: &Zone<P>,
        id: ZoneId,
        context: &AllocContext<'_, P>,
        flags: AllocFlags,
    ) -> Option<Pfn> {
        let order = context.order;
        let mut areas = zone.free.lock();
        let mut locked = self.locked(zone, id, &mut areas);
        let mut pfn = None;
        if flags.has(AllocFlags::HIGHATOMIC) {
            pfn = locked.rmqueue_smallest(order, MigrateType::HighAtomic);
        }
        if pfn.is_none() {
            let mut mode = RmqueueMode::Normal;
            pfn = locked.rmqueue(order, context.migratetype, flags, &mut mode);
        }
        if pfn.is_none() && flags.has(AllocFlags::OOM | AllocFlags::NON_BLOCK) {
            // Better to fail an urgent request later than this one now.
            pfn = locked.rmqueue_smallest(order, MigrateType::HighAtomic);
        }
        let pfn = pfn?;
        let page = self.map.page(pfn)?;
        page.set_state(PageState::Allocated, order);
        page.set_count(1);
        if flags.has(AllocFlags::HIGHATOMIC) && flags.watermark() == Watermark::Min {
            if let Some(max) = highatomic::max_reserved(zone) {
                locked.reserve_highatomic(pfn, order, max);
            }
        }
        Some(pfn)
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

fn one_page(pfn: Pfn) -> PhysRange {
    PhysRange::new(pfn.addr(), PageOrder::ZERO.pages().bytes())
}
