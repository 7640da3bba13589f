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
//! A block's pages stay on the lists of its page block's migrate type, both
//! halves of a split included. Above the page block's order, blocks of
//! different types meet: they become one, of the freed one's type, unless one
//! of them is CMA, isolated or kept for urgent requests.
//!
//! Only first pages of blocks change state, and only what changes is written:
//! the first page of the lower half stays first, that of the upper half
//! becomes `Tail` at a merge and `Buddy` at a split.

use super::free_area::FreeAreas;
use super::free_area::FreeBlock;
use super::free_area::FreeCounts;
use super::free_area::Placement;
use super::migratetype::MigrateType;
use super::pageset;
use super::stats::Statistics;
use super::MemMap;
use crate::page::PageDescriptor;
use crate::page::PageState;
use crate::page::ZoneId;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::MAX_PAGE_ORDER;
use crate::phys::PAGEBLOCK_ORDER;
use crate::platform::Platform;
use crate::trace::tell;
use crate::trace::TraceEvent;
use crate::trace::TracePoint;
use crate::zone::Zone;

/// A zone whose lock is held: the free lists, what counts them, and the page
/// descriptors that they run through.
pub(super) struct LockedZone<'a, P: Platform, M> {
    /// The lists; the exclusive borrow comes from the lock's guard.
    pub(super) areas: &'a mut FreeAreas,
    /// The zone; its counts are the lists'.
    pub(super) zone: &'a Zone<P>,
    /// Whom to tell what happens.
    pub(super) platform: &'a P,
    /// Where the descriptors are.
    pub(super) map: &'a M,
    /// Which zone this is; only its pages merge here.
    pub(super) id: ZoneId,
    /// The CPUs' pagesets, whose gates follow how much is free.
    pub(super) stats: &'a Statistics<'a>,
}

impl<P: Platform, M> Drop for LockedZone<'_, P, M> {
    /// The lock is still held: whoever held it last sets the gates.
    #[inline]
    fn drop(&mut self) {
        if let Some(tight) = self.zone.tight_changed() {
            set_tight(self.stats, self.id, tight);
        }
    }
}

#[cold]
#[inline(never)]
fn set_tight(stats: &Statistics<'_>, zone: ZoneId, tight: bool) {
    stats.for_each_pageset(zone, |pageset| pageset.set_tight(tight));
}

impl<'a, P: Platform, M: MemMap> LockedZone<'a, P, M> {
    #[inline]
    pub(super) fn counts(&self) -> &'a FreeCounts {
        &self.zone.free_counts
    }

    /// The migrate type of the page block that `pfn` lies in
    /// (`get_pfnblock_migratetype`); Unmovable where types are not kept.
    #[inline]
    pub(super) fn migratetype(&self, pfn: Pfn) -> MigrateType {
        migratetype_of(self.map, pfn)
    }

    /// Takes a block of `order` out: the first of the smallest list of type
    /// `mt` that has one large enough (`__rmqueue_smallest`).
    #[inline]
    pub(super) fn rmqueue_smallest(&mut self, order: PageOrder, mt: MigrateType) -> Option<Pfn> {
        let current = self.counts().smallest_from(order, mt)?;
        let pfn = self.areas.list(current, mt).first()?;
        let page = self.map.page(pfn)?;
        self.del_and_expand(pfn, page, order, current, mt);
        tell(self.platform, TracePoint::PageAllocZoneLocked, || {
            TraceEvent::PageAllocZoneLocked {
                pfn,
                order,
                migratetype: mt,
                percpu_refill: pageset::is_allowed(order) && mt.is_mergeable(),
            }
        });
        Some(pfn)
    }

    /// Takes up to `most` single pages at once: those that as many calls of
    /// [`LockedZone::rmqueue_smallest`] would give, in their order, without any of
    /// the halves that these would put on lists and take off again. Nobody is told.
    ///
    /// The smallest block of the type is used up from its start: the lists below it
    /// are empty, so each page that follows comes from the halves of those before.
    /// What is left of it in the end is one block at most for each order.
    pub(super) fn rmqueue_run(
        &mut self,
        most: u32,
        mt: MigrateType,
    ) -> Option<(Pfn, &'a [PageDescriptor])> {
        let high = self.counts().smallest_from(PageOrder::ZERO, mt)?;
        let pfn = self.areas.list(high, mt).first()?;
        let size = high.pages().0 as u32;
        let len = size.min(most);
        let block = self.map.pages(pfn, size)?;
        let (pages, rest) = block.split_at_checked(len as usize)?;
        let page = block.first()?;
        self.areas.remove(self.counts(), self.map, page, high, mt);
        let mut at = len;
        let mut rest = rest;
        while let Some(page) = rest.first() {
            // `pfn` is aligned to the whole block.
            let half = PageOrder::new(at.trailing_zeros())?;
            let upper = Pfn(pfn.0 | u64::from(at));
            let block = FreeBlock {
                pfn: upper,
                page,
                order: half,
                mt,
            };
            self.areas
                .add(self.counts(), self.map, block, Placement::Head);
            let pages = half.pages().0 as u32;
            at = at.wrapping_add(pages);
            rest = rest.get(pages as usize..).unwrap_or(&[]);
        }
        self.counts().remove_pages(Pages(len.into()), mt);
        Some((pfn, pages))
    }

    /// Takes a block as [`LockedZone::rmqueue_smallest`] does where there is one of
    /// that very order, which is left with nothing to split: `None`, and nothing is done, where there is none.
    #[inline(always)]
    pub(super) fn rmqueue_exact(
        &mut self,
        order: PageOrder,
        mt: MigrateType,
    ) -> Option<(Pfn, &'a PageDescriptor)> {
        if self.platform.is_traced(TracePoint::PageAllocZoneLocked) {
            return None;
        }
        let pfn = self.areas.list(order, mt).first()?;
        let page = self.map.page(pfn)?;
        self.areas
            .remove_first(self.counts(), self.map, page, order, mt);
        self.counts().remove_pages(order.pages(), mt);
        Some((pfn, page))
    }

    /// Takes the block of order `high` at `pfn` off its list and puts all but
    /// its first `low` back (`page_del_and_expand`).
    #[inline]
    pub(super) fn del_and_expand(
        &mut self,
        pfn: Pfn,
        page: &PageDescriptor,
        low: PageOrder,
        high: PageOrder,
        mt: MigrateType,
    ) {
        self.areas.remove(self.counts(), self.map, page, high, mt);
        self.expand(pfn, low, high, mt);
        self.counts().remove_pages(low.pages(), mt);
    }

    /// Takes a block off its list, pages and all (`del_page_from_free_list`).
    #[inline]
    pub(super) fn del(&mut self, page: &PageDescriptor, order: PageOrder, mt: MigrateType) {
        self.areas.remove(self.counts(), self.map, page, order, mt);
        self.counts().remove_pages(order.pages(), mt);
    }

    /// Halves the block at `pfn` until it is of order `low`. Each upper half
    /// goes to the head of its list, the largest first (`expand`).
    #[inline]
    pub(super) fn expand(&mut self, pfn: Pfn, low: PageOrder, high: PageOrder, mt: MigrateType) {
        let mut current = high;
        while let Some(half) = current.down().filter(|&half| half >= low) {
            current = half;
            // `pfn` is aligned to the whole block.
            let upper = Pfn(pfn.0 | half.pages().0);
            if let Some(page) = self.map.page(upper) {
                page.set_buddy_in(self.id, half, mt as u8);
                self.areas
                    .list_mut(half, mt)
                    .push_head(self.map, upper, page);
                self.counts().note_half(half, mt);
            }
        }
        self.counts().note_halves(low, high, mt);
    }

    /// Gives a block back that may be larger than a page block: page block by
    /// page block, each to its own type (`split_large_buddy`).
    #[inline]
    pub(super) fn split_large_buddy(
        &mut self,
        pfn: Pfn,
        page: &'a PageDescriptor,
        order: PageOrder,
        place: Option<Placement>,
    ) {
        if order <= PageOrder::PAGEBLOCK {
            let mt = self.migratetype(pfn);
            self.free_one_page(pfn, page, order, mt, place);
            return;
        }
        let end = pfn + order.pages();
        let mut pfn = pfn;
        while pfn < end {
            if let Some(page) = self.map.page(pfn) {
                // The first page of a part is the inside of no free block.
                page.set_state(PageState::Tail, PageOrder::ZERO);
                let mt = self.migratetype(pfn);
                self.free_one_page(pfn, page, PageOrder::PAGEBLOCK, mt, place);
            }
            pfn = pfn + PageOrder::PAGEBLOCK.pages();
        }
    }

    /// Gives the block of `order` at `pfn`, which is on no list, back to type
    /// `mt`: merges it as far as it goes and puts the result where `place`
    /// says, or, without a wish, where [`LockedZone::merge_likely`] says
    /// (`__free_one_page`).
    ///
    /// `pfn` is aligned to `order`, and `page` is its descriptor.
    #[inline]
    pub(super) fn free_one_page(
        &mut self,
        mut pfn: Pfn,
        mut page: &'a PageDescriptor,
        mut order: PageOrder,
        mt: MigrateType,
        place: Option<Placement>,
    ) {
        self.counts().add_pages(order.pages(), mt);
        while let Some(larger) = order.up() {
            let buddy_pfn = pfn.buddy(order);
            let Some(buddy) = self.map.page(buddy_pfn) else {
                break;
            };
            if !buddy.is_buddy(self.id, order) {
                break;
            }
            let mut buddy_mt = mt;
            if order.get() >= PAGEBLOCK_ORDER {
                buddy_mt = self.migratetype(buddy_pfn);
                if buddy_mt != mt && !(mt.is_mergeable() && buddy_mt.is_mergeable()) {
                    break;
                }
            }
            self.areas
                .remove(self.counts(), self.map, buddy, order, buddy_mt);
            if buddy_mt != mt {
                self.change_pageblock_range(buddy_pfn, order, mt);
                // Linux moves the pages to the freed block's type without a
                // word in the counts: both types are of the same account.
            }
            if buddy_pfn < pfn {
                page.set_tail_in(self.id);
                page = buddy;
                pfn = buddy_pfn;
            } else {
                buddy.set_tail_in(self.id);
            }
            order = larger;
        }
        let place = match place {
            Some(place) => place,
            None if self.merge_likely(pfn, order) => Placement::Tail,
            None => Placement::Head,
        };
        let block = FreeBlock {
            pfn,
            page,
            order,
            mt,
        };
        self.areas.add(self.counts(), self.map, block, place);
    }

    /// Gives a block of less than a page block back, as
    /// [`LockedZone::free_one_page`] does, where its buddy is not free; `false`, and
    /// nothing is done, where it is.
    #[inline(always)]
    pub(super) fn free_alone(
        &mut self,
        pfn: Pfn,
        page: &PageDescriptor,
        order: PageOrder,
        mt: MigrateType,
    ) -> bool {
        let buddy = self.map.page(pfn.buddy(order));
        if buddy.is_some_and(|buddy| buddy.is_buddy(self.id, order)) {
            return false;
        }
        self.counts().add_pages(order.pages(), mt);
        let place = match self.merge_likely(pfn, order) {
            true => Placement::Tail,
            false => Placement::Head,
        };
        let block = FreeBlock {
            pfn,
            page,
            order,
            mt,
        };
        self.areas.add(self.counts(), self.map, block, place);
        true
    }

    /// Gives the page blocks of a block of at least that order a type
    /// (`change_pageblock_range`).
    pub(super) fn change_pageblock_range(&self, pfn: Pfn, order: PageOrder, mt: MigrateType) {
        let blocks = order.pages().0 >> PAGEBLOCK_ORDER;
        for i in 0..blocks {
            self.set_migratetype(pfn + Pages(i << PAGEBLOCK_ORDER), mt);
        }
    }

    /// Gives one page block a type (`set_pageblock_migratetype`): Unmovable,
    /// whatever is asked for, where mobility is not looked at.
    pub(super) fn set_migratetype(&self, pfn: Pfn, mt: MigrateType) {
        let mt = match mt.is_mergeable() && self.map.is_mobility_disabled() {
            true => MigrateType::Unmovable,
            false => mt,
        };
        if let Some(block) = self.map.pageblock(pfn) {
            block.set_migratetype(mt);
        }
    }

    /// Whether the block above, that the block at `pfn` would merge into once
    /// its own buddy is free, has a free buddy itself. Such a block is better
    /// not given out soon (`buddy_merge_likely`).
    ///
    /// The zone asked for is that of the block above, as in Linux: where a zone
    /// ends inside it, that may be another than the freed block's.
    #[inline(always)]
    fn merge_likely(&self, pfn: Pfn, order: PageOrder) -> bool {
        if order.get() >= MAX_PAGE_ORDER - 1 {
            return false;
        }
        let Some(larger) = order.up() else {
            return false;
        };
        let above = pfn.align_down(larger);
        let zone = match above == pfn {
            true => self.id,
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

/// The migrate type of the page block that `pfn` lies in; Unmovable where types
/// are not kept.
#[inline]
pub(super) fn migratetype_of(map: &impl MemMap, pfn: Pfn) -> MigrateType {
    map.pageblock(pfn)
        .map_or(MigrateType::Unmovable, |block| block.migratetype())
}
