// SPDX-License-Identifier: GPL-2.0

//! The direct way: a block out of the zone that a request likes best, or of the
//! running CPU's lists of it, and back.
//!
//! It is for the blocks that `fast.rs` has no magazine for, where the questions
//! that go with them have their ordinary answers still: the gate is open, so the
//! zone is far above its watermarks and nobody drains; the zone has a block of
//! the very type that is asked for; the block that comes back is whole, has one
//! owner and no flag. Then nothing of the zonelist, the fallbacks or the
//! watermarks is looked at, and descriptors are found in the zone's own table.
//!
//! Where one answer is another, nothing has been done, and the block goes the way
//! of `alloc.rs`, which takes the same decisions step by step.

use super::alloc::AllocRequest;
use super::allocator::PageRef;
use super::local::list_of;
use super::local::Back;
use super::local::FlatFirst;
use super::local::Out;
use super::migratetype::MigrateType;
use super::pageset;
use super::system::BuddySystem;
use super::MemMap;
use super::ZoneTable;
use crate::page::PageDescriptor;
use crate::phys::PageOrder;
use crate::phys::Pfn;
use crate::platform::Lock;
use crate::platform::Platform;
use crate::zone::Zone;

impl<'a, P, M, Z> BuddySystem<'a, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// Takes a block the direct way; `None` when it must go the long one.
    #[inline]
    pub(super) fn alloc_direct(&self, request: &AllocRequest) -> Option<PageRef<'a>> {
        let (local, _pinned) = self.platform.pin_local(self.stats.locals())?;
        let out = local.out(request.kind())?;
        let zone = self.zones.zone(out.zone)?;
        let order = request.order;
        let mt = MigrateType::of_list(list_of(request.kind()))?;
        if !out.set().is_open() || !zone.has_far_more(order, mt) {
            return None;
        }
        if !pageset::is_allowed(order) {
            return self.direct_from_zone(out, zone, order, mt);
        }
        let pfn = self.direct_from_set(out, order, mt)?;
        let page = out.flat.page(pfn).or_else(|| self.map.page(pfn))?;
        self.unpoison_here(pfn, order);
        page.set_allocated_in(out.zone, order);
        out.slot.count_direct_alloc(order.pages());
        Some(PageRef { pfn, page })
    }

    /// Takes a block from the CPU's own lists (`rmqueue_pcplist`).
    #[inline]
    fn direct_from_set(&self, out: &Out<'a>, order: PageOrder, mt: MigrateType) -> Option<Pfn> {
        let set = out.set();
        let index = pageset::index_of(order, mt);
        if set.is_empty(index) {
            return None;
        }
        let map = FlatFirst {
            flat: &out.flat,
            all: self.map,
        };
        // The magazines' limits hold when blocks go that are not in them.
        let for_magazines = order == PageOrder::ZERO || set.is_full();
        if for_magazines {
            set.unsettle();
        }
        set.note_alloc();
        let taken = set.pop_head(index, &map);
        if for_magazines {
            set.settle(mt.index());
        }
        taken.map(|(pfn, _)| pfn)
    }

    /// Takes a block from the zone, under its lock (`rmqueue_buddy`).
    #[inline]
    fn direct_from_zone(
        &self,
        out: &Out<'a>,
        zone: &Zone<P>,
        order: PageOrder,
        mt: MigrateType,
    ) -> Option<PageRef<'a>> {
        if mt == MigrateType::Movable && !zone.free_counts.free_cma().is_zero() {
            // It might be for CMA to give.
            return None;
        }
        let map = FlatFirst {
            flat: &out.flat,
            all: self.map,
        };
        let mut areas = zone.free.lock();
        let mut locked = self.locked_on(zone, out.zone, &mut areas, &map);
        let pfn = match locked.rmqueue_exact(order, mt) {
            Some((pfn, _)) => pfn,
            None => locked.rmqueue_smallest(order, mt)?,
        };
        // It is no longer a free block before the lock is released.
        let page = out.flat.page(pfn).or_else(|| self.map.page(pfn))?;
        page.set_allocated_in(out.zone, order);
        page.set_count(1);
        drop(locked);
        self.unpoison_here(pfn, order);
        out.slot.count_direct_alloc(order.pages());
        Some(PageRef { pfn, page })
    }

    /// Gives a block back the direct way; `false` when it must go the long one.
    /// Of several who say that it is theirs, one is right.
    #[inline]
    pub(super) fn free_direct(&self, pfn: Pfn, order: PageOrder) -> bool {
        let Some((local, _pinned)) = self.platform.pin_local(self.stats.locals()) else {
            return false;
        };
        let [normal, _] = local.back();
        let other;
        let (back, page) = match normal.flat.page(pfn) {
            Some(page) if page.zone_id() == normal.zone => (normal, page),
            page => {
                let Some(page) = page.or_else(|| self.map.page(pfn)) else {
                    return false;
                };
                let id = page.zone_id();
                let Some(back) = local.back_to(id, self.stats.flat(id)) else {
                    return false;
                };
                other = back;
                (&other, page)
            }
        };
        let Some(zone) = self.zones.zone(back.zone) else {
            return false;
        };
        let freed = match pageset::is_allowed(order) {
            true => self.direct_to_set(back, zone, pfn, page, order),
            false => self.direct_to_zone(back, zone, pfn, page, order),
        };
        if freed {
            back.slot.count_direct_free(order.pages());
        }
        freed
    }

    /// Gives a block to the CPU's own lists (`free_frozen_page_commit`).
    #[inline]
    fn direct_to_set(
        &self,
        back: &Back<'a>,
        zone: &Zone<P>,
        pfn: Pfn,
        page: &PageDescriptor,
        order: PageOrder,
    ) -> bool {
        let set = back.set();
        let mt = back.list(pfn).and_then(MigrateType::of_list);
        let (Some(mt), true, true) = (mt, set.is_mine(), set.is_enabled()) else {
            return false;
        };
        if !page.take_whole(back.zone, order) {
            return false;
        }
        let map = FlatFirst {
            flat: &back.flat,
            all: self.map,
        };
        self.poison_here(pfn, order);
        set.unsettle();
        let index = pageset::index_of(order, mt);
        set.push_head(index, &map, pfn, page);
        let surplus = set.note_free(order, zone.pressure());
        if surplus > 0 {
            self.free_surplus(zone, back.zone, set, surplus, index);
        }
        set.settle(mt.index());
        true
    }

    /// Gives a block to the zone, under its lock (`free_one_page`).
    #[inline]
    fn direct_to_zone(
        &self,
        back: &Back<'a>,
        zone: &Zone<P>,
        pfn: Pfn,
        page: &PageDescriptor,
        order: PageOrder,
    ) -> bool {
        if order > PageOrder::PAGEBLOCK || !page.take_whole(back.zone, order) {
            return false;
        }
        page.set_count(0);
        self.poison_here(pfn, order);
        let map = FlatFirst {
            flat: &back.flat,
            all: self.map,
        };
        let mut areas = zone.free.lock();
        let mut locked = self.locked_on(zone, back.zone, &mut areas, &map);
        let mt = locked.migratetype(pfn);
        if order == PageOrder::PAGEBLOCK || !locked.free_alone(pfn, page, order, mt) {
            locked.free_one_page(pfn, page, order, mt, None);
        }
        true
    }
}
