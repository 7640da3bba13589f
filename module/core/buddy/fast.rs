// SPDX-License-Identifier: GPL-2.0

//! The short way: a single page out of the running CPU's magazine, or back.
//!
//! Linux asks the same questions for every page: which zonelist, which zone, is
//! it above its watermark, which list, how many pages are there, how many may
//! be. Here their answers are kept where they change, and one comparison tells
//! whether all of them are the ordinary ones:
//!
//! ```text
//! alloc   the request is plain            one page, from here, not to be zeroed
//!         the gate is open                the zone has far more than its
//!                                         watermarks, nobody drains
//!         the magazine has a page
//! free    the descriptor is as the gate   of this zone, allocated, one page, one
//!                                         reference, no flag; the gate is open
//!         its page block's magazine has   of a type that pages are kept for; no
//!         not reached its limit           surplus in sight
//! ```
//!
//! Where one answer is another, nothing has been done, and the page goes the way
//! of `alloc.rs` and `pcp.rs`, which takes the same decisions step by step.

use super::alloc::AllocRequest;
use super::gfp;
use super::local::Route;
use super::migratetype::MigrateType;
use super::system::BuddySystem;
use super::MemMap;
use super::ZoneTable;
use crate::page::PageDescriptor;
use crate::page::ZoneType;
use crate::phys::NodeId;
use crate::phys::PageOrder;
use crate::phys::Pfn;
use crate::platform::Platform;

impl AllocRequest {
    /// For a single page that needs no more than to be given out: the highest
    /// kind of zone and the mobility.
    #[inline]
    fn plain(&self) -> Option<(ZoneType, MigrateType)> {
        if self.order != PageOrder::ZERO
            || self.nid != NodeId::NONE
            || self.nodes.is_some()
            || self.gfp.has(gfp::NOT_PLAIN)
        {
            return None;
        }
        Some((self.gfp.zone().ok()?, self.gfp.migratetype().ok()?))
    }
}

impl<'a, P, M, Z> BuddySystem<'a, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// Gives out the hottest page of the zone that the request likes best; `None`
    /// when it must go the long way.
    #[inline]
    pub(super) fn alloc_fast(&self, request: &AllocRequest) -> Option<(Pfn, &'a PageDescriptor)> {
        let (highest, mt) = request.plain()?;
        let (local, _pinned) = self.platform.pin_local(self.stats.locals())?;
        let route = local.route(highest);
        let (set, mt) = (route.set, mt.index());
        if !set.is_open() {
            return None;
        }
        let magazines = set.magazines();
        let len = magazines.len(mt);
        if len == 0 {
            return None;
        }
        let len = len.wrapping_sub(1);
        let pfn = magazines.get(mt, len);
        let page = route.page(pfn)?;
        magazines.set_len(mt, len);
        page.toggle_owner();
        set.note_hot_alloc();
        Some((Pfn(pfn.into()), page))
    }

    /// Takes a page back from its only owner; `false` when it must go the long
    /// way.
    #[inline]
    pub(super) fn free_fast(&self, pfn: Pfn, page: &PageDescriptor) -> bool {
        let Some((local, _pinned)) = self.platform.pin_local(self.stats.locals()) else {
            return false;
        };
        let bits = page.bits();
        [ZoneType::Normal, ZoneType::Movable]
            .into_iter()
            .map(|highest| local.route(highest))
            .find(|route| route.set.gate() == bits)
            .is_some_and(|route| {
                Self::push_hot(route, pfn.0 as u32, || {
                    page.toggle_owner();
                    true
                })
            })
    }

    /// Takes a page back from somebody who says that it is his: of several who
    /// do so at once, one is right. `false` when it must go the long way.
    #[inline]
    pub(super) fn free_fast_checked(&self, pfn: Pfn, order: PageOrder) -> bool {
        if order != PageOrder::ZERO || pfn.0 > u64::from(u32::MAX) {
            return false;
        }
        let Some((local, _pinned)) = self.platform.pin_local(self.stats.locals()) else {
            return false;
        };
        let pfn = pfn.0 as u32;
        for highest in [ZoneType::Normal, ZoneType::Movable] {
            let route = local.route(highest);
            if let Some(page) = route.page(pfn) {
                let bits = page.bits();
                if bits == route.set.gate() {
                    return Self::push_hot(route, pfn, || page.take_plain(bits));
                }
            }
        }
        false
    }

    /// Puts a page into its magazine, if that has not reached its limit and
    /// `take` gets the page from its owner.
    #[inline]
    fn push_hot(route: &Route<'_>, pfn: u32, take: impl FnOnce() -> bool) -> bool {
        let Some(mt) = route.migratetype(pfn) else {
            return false;
        };
        let magazines = route.set.magazines();
        let len = magazines.len(mt);
        if len >= magazines.limit(mt) || !take() {
            return false;
        }
        magazines.put(mt, len, pfn);
        magazines.set_len(mt, len.wrapping_add(1));
        route.set.note_hot_free();
        true
    }
}
