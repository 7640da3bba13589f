// SPDX-License-Identifier: GPL-2.0

//! The short way of a block that no CPU keeps: from the zone's list and back, with
//! one lock held and nothing split or merged.
//!
//! ```text
//! alloc   the request is plain            of this order, from here, not to be zeroed
//!         the gate is open                nobody listens or is short
//!         the list has a block            no larger one is to be split
//!         far more pages are left         than all watermarks together
//! free    the descriptor is as the gate   of this zone, allocated, one reference,
//!         wants it, and this order        no flag; the gate is open
//!         its page block's type           is one of the three
//!         its buddy is not free           no merge
//! ```
//!
//! Where one answer is another, nothing has been done, and the block goes the way
//! of `direct.rs`. That of `split_merge.rs` takes the same decisions step by step:
//! what is left of it here is `rmqueue_exact` and `free_alone`.
//!
//! The gate is written with the zone's lock held where it tells of a shortage
//! (`Pageset::set_tight`). So, seen open with the lock held, it tells that the
//! zone is not short now: after a free there is nothing to be noted. And after an
//! allocation that leaves more than the floor there is nothing, either.

use super::alloc::AllocRequest;
use super::allocator::PageRef;
use super::free_area::FreeAreas;
use super::free_area::FreeBlock;
use super::free_area::Placement;
use super::local::list_of;
use super::local::Back;
use super::local::FlatFirst;
use super::local::Out;
use super::local::PLAIN_KINDS;
use super::migratetype::MigrateType;
use super::pageset;
use super::system::BuddySystem;
use super::MemMap;
use super::ZoneTable;
use crate::page::PageDescriptor;
use crate::phys::PageOrder;
use crate::platform::Lock;
use crate::platform::Platform;
use crate::trace::TracePoint;
use crate::zone::Zone;

/// A zone's lists, while its lock is held.
type ZoneGuard<'g, P> = <<P as Platform>::Lock<FreeAreas> as Lock<FreeAreas>>::Guard<'g>;

/// Whether blocks of this order are for this way: no CPU keeps them, and they lie
/// within a page block.
#[inline(always)]
pub(super) const fn is_for_zone(order: PageOrder) -> bool {
    !pageset::is_allowed(order) && order.get() < PageOrder::PAGEBLOCK.get()
}

impl<'a, P, M, Z> BuddySystem<'a, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// Takes the first block of the list that the request likes best; `None` when
    /// it must go another way.
    #[inline(always)]
    pub(super) fn alloc_block_fast(&self, request: &AllocRequest) -> Option<PageRef<'a>> {
        let kind = request.block();
        if usize::from(kind) >= PLAIN_KINDS {
            return None;
        }
        let (local, _pinned) = self.platform.pin_local(self.stats.locals())?;
        let out = local.out(kind)?;
        let mt = MigrateType::of_list(list_of(kind))?;
        let gate = out.set().gate();
        let zone = self.zones.zone(out.zone)?;
        if pageset::is_closed(gate) || self.platform.is_traced(TracePoint::PageAllocZoneLocked) {
            return None;
        }
        if mt == MigrateType::Movable && !zone.free_counts.free_cma().is_zero() {
            // It might be for CMA to give.
            return None;
        }
        self.pop_block(out, zone, gate, request.order, mt)
    }

    #[inline(always)]
    fn pop_block(
        &self,
        out: &Out<'a>,
        zone: &Zone<P>,
        gate: u32,
        order: PageOrder,
        mt: MigrateType,
    ) -> Option<PageRef<'a>> {
        let counts = &zone.free_counts;
        let mut areas = zone.free.lock();
        let pfn = areas.list(order, mt).first()?;
        let page = out.flat.page(pfn)?;
        let left = counts.free_pages().0.wrapping_sub(order.pages().0);
        if !zone.is_far_more(left) {
            return None;
        }
        // Read no sooner: it is wanted only beyond the zone's own descriptors.
        let map = FlatFirst {
            flat: &out.flat,
            all: self.map,
        };
        areas.remove_first(counts, &map, page, order, mt);
        counts.set_free_pages(left);
        // It is no longer a free block before the lock is released.
        page.set_bits(PageDescriptor::with_order(gate, order));
        page.set_count(1);
        drop(areas);
        self.unpoison_here(pfn, order);
        out.slot.count_direct_alloc(order.pages());
        Some(PageRef { pfn, page })
    }

    /// Takes a block back from its only owner; `false` when it must go another
    /// way.
    #[inline(always)]
    pub(super) fn free_block_fast(&self, page: PageRef<'_>, order: PageOrder) -> bool {
        let Some((local, _pinned)) = self.platform.pin_local(self.stats.locals()) else {
            return false;
        };
        let [normal, _] = local.back();
        let Some(zone) = self.zones.zone(normal.zone) else {
            return false;
        };
        self.push_block(normal, zone, page, order).is_some()
    }

    #[inline(always)]
    fn push_block(
        &self,
        back: &Back<'a>,
        zone: &Zone<P>,
        page: PageRef<'_>,
        order: PageOrder,
    ) -> Option<()> {
        let PageRef { pfn, page } = page;
        let areas = zone.free.lock();
        let bits = PageDescriptor::with_order(back.set().gate(), order);
        if page.bits() != bits {
            return None;
        }
        let mt = MigrateType::of_list(back.list(pfn)?)?;
        let free = PageDescriptor::free_bits(bits);
        if back.flat.page(pfn.buddy(order))?.is_like(free) {
            return None;
        }
        let block = FreeBlock {
            pfn,
            page,
            order,
            mt,
        };
        // Where the block is put: behind all others if the block above has a free buddy
        // (`LockedZone::merge_likely`). Each place has a way of its own from here on, so
        // that nothing has to be kept at hand for the other's.
        let larger = order.up()?;
        let other = back.flat.page(pfn.align_down(larger).buddy(larger))?;
        if other.is_nearly(PageDescriptor::next_order(free)) {
            return self.push_behind(back, zone, areas, block, free);
        }
        self.push_at(back, zone, areas, block, free, Placement::Head);
        Some(())
    }

    /// The rest where the block above may have a free buddy; `None` where more has to
    /// be looked at.
    #[cold]
    #[inline(never)]
    fn push_behind(
        &self,
        back: &Back<'a>,
        zone: &Zone<P>,
        areas: ZoneGuard<'_, P>,
        block: FreeBlock<'_>,
        free: u32,
    ) -> Option<()> {
        let FreeBlock { pfn, order, .. } = block;
        let larger = order.up()?;
        let above = pfn.align_down(larger);
        let other = back.flat.page(above.buddy(larger))?;
        // Where zones meet, more has to be looked at.
        let near = above == pfn || back.flat.page(above)?.zone_id() == back.zone;
        if !near || !other.is_like(PageDescriptor::next_order(free)) {
            return None;
        }
        self.push_at(back, zone, areas, block, free, Placement::Tail);
        Some(())
    }

    /// Puts the block on its list, and counts it.
    #[inline(always)]
    fn push_at(
        &self,
        back: &Back<'a>,
        zone: &Zone<P>,
        mut areas: ZoneGuard<'_, P>,
        block: FreeBlock<'_>,
        free: u32,
        place: Placement,
    ) {
        let FreeBlock {
            pfn,
            page,
            order,
            mt,
        } = block;
        let map = FlatFirst {
            flat: &back.flat,
            all: self.map,
        };
        let counts = &zone.free_counts;
        self.poison_here(pfn, order);
        page.set_free_bits(free, mt as u8);
        page.set_count(0);
        areas.link(counts, &map, block, place);
        counts.add_pages(order.pages(), mt);
        drop(areas);
        back.slot.count_direct_free(order.pages());
    }
}
