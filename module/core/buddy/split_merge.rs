// SPDX-License-Identifier: GPL-2.0

//! The buddy algorithm: splitting downwards, merging upwards, in one zone
//! whose lock is held.
//!
//! A block of order `n` at page `p` has its buddy at `p ^ 2^n`; together they
//! are a block of order `n + 1`. Taking order 0 out of a block of order 3:
//!
//! ```text
//!  page   0   1   2   3   4   5   6   7
//!       [              3               ]     taken off list 3
//!       [      2       ][      2       ]     upper half to the head of list 2
//!       [  1   ][  1   ]                     upper half to the head of list 1
//!       [0][ 0 ]                             upper half to the head of list 0
//!        ^ given out
//! ```
//!
//! Freeing it runs the same way back: while the buddy is free at the same
//! order, it leaves its list and both become one.
//!
//! Only first pages of blocks change state, and only what changes is written:
//! the first page of the lower half stays first, that of the upper half
//! becomes `Tail` at a merge and `Buddy` at a split.

use super::free_area::FreeAreas;
use super::free_area::FreeCounts;
use super::free_area::Placement;
use super::MemMap;
use crate::page::PageDescriptor;
use crate::page::PageState;
use crate::page::ZoneId;
use crate::phys::PageOrder;
use crate::phys::Pfn;
use crate::phys::MAX_PAGE_ORDER;

/// A zone whose lock is held: the free lists, what counts them, and the page
/// descriptors that they run through.
pub(super) struct LockedZone<'a, M> {
    /// The lists; the exclusive borrow comes from the lock's guard.
    pub(super) areas: &'a mut FreeAreas,
    /// Their counts.
    pub(super) counts: &'a FreeCounts,
    /// Where the descriptors are.
    pub(super) map: &'a M,
    /// Which zone this is; only its pages merge here.
    pub(super) zone: ZoneId,
}

impl<'a, M: MemMap> LockedZone<'a, M> {
    /// Takes a block of `order` out: the first of the smallest list that has
    /// one large enough (`__rmqueue_smallest`). The block is `Allocated` then,
    /// with one reference.
    #[inline]
    pub(super) fn rmqueue_smallest(&mut self, order: PageOrder) -> Option<Pfn> {
        let mut current = order;
        loop {
            if let Some(pfn) = self.areas.list(current).first() {
                let page = self.map.page(pfn)?;
                self.del_and_expand(pfn, page, order, current);
                page.set_state(PageState::Allocated, order);
                page.set_count(1);
                return Some(pfn);
            }
            current = current.up()?;
        }
    }

    /// Takes the block of order `high` at `pfn` off its list and puts all but
    /// its first `low` back (`page_del_and_expand`).
    #[inline]
    fn del_and_expand(&mut self, pfn: Pfn, page: &PageDescriptor, low: PageOrder, high: PageOrder) {
        self.areas.remove(self.counts, self.map, page, high);
        self.expand(pfn, low, high);
        self.counts.remove_pages(low.pages());
    }

    /// Halves the block at `pfn` until it is of order `low`. Each upper half
    /// goes to the head of its list, the largest first (`expand`).
    #[inline]
    fn expand(&mut self, pfn: Pfn, low: PageOrder, mut high: PageOrder) {
        while high > low {
            let Some(half) = high.down() else { return };
            high = half;
            let upper = pfn + high.pages();
            if let Some(page) = self.map.page(upper) {
                self.areas
                    .add(self.counts, self.map, upper, page, high, Placement::Head);
            }
        }
    }

    /// Gives the block of `order` at `pfn`, which is on no list, back: merges it
    /// as far as it goes and puts the result where `place` says, or, without
    /// a wish, where [`LockedZone::merge_likely`] says (`__free_one_page`).
    ///
    /// `pfn` is aligned to `order`, and `page` is its descriptor. A block above
    /// the page block's order is not cut into page blocks first, as
    /// `split_large_buddy()` does: with one list an order, the halves would
    /// merge again and land in the same place.
    #[inline]
    pub(super) fn free_one_page(
        &mut self,
        mut pfn: Pfn,
        mut page: &'a PageDescriptor,
        mut order: PageOrder,
        place: Option<Placement>,
    ) {
        self.counts.add_pages(order.pages());
        while let Some(larger) = order.up() {
            let buddy_pfn = pfn.buddy(order);
            let Some(buddy) = self.map.page(buddy_pfn) else {
                break;
            };
            if !buddy.is_buddy(self.zone, order) {
                break;
            }
            self.areas.remove(self.counts, self.map, buddy, order);
            if buddy_pfn < pfn {
                page.set_state(PageState::Tail, PageOrder::ZERO);
                page = buddy;
                pfn = buddy_pfn;
            } else {
                buddy.set_state(PageState::Tail, PageOrder::ZERO);
            }
            order = larger;
        }
        let place = match place {
            Some(place) => place,
            None if self.merge_likely(pfn, order) => Placement::Tail,
            None => Placement::Head,
        };
        self.areas
            .add(self.counts, self.map, pfn, page, order, place);
    }

    /// Whether the block above, that the block at `pfn` would merge into once
    /// its own buddy is free, has a free buddy itself. Such a block is better
    /// not given out soon (`buddy_merge_likely`).
    ///
    /// The zone asked for is that of the block above, as in Linux: where a zone
    /// ends inside it, that may be another than the freed block's.
    #[inline]
    fn merge_likely(&self, pfn: Pfn, order: PageOrder) -> bool {
        if order.get() >= MAX_PAGE_ORDER - 1 {
            return false;
        }
        let Some(larger) = order.up() else {
            return false;
        };
        let above = pfn.align_down(larger);
        let zone = match above == pfn {
            true => self.zone,
            false => match self.map.page(above) {
                Some(page) => page.zone_id(),
                None => return false,
            },
        };
        self.map
            .page(above.buddy(larger))
            .is_some_and(|page| page.is_buddy(zone, larger))
    }
}
