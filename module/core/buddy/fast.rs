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
//!                                         watermarks, nobody drains or listens
//!         the magazine has a page
//! free    the descriptor is as the gate   of this zone, allocated, one page, one
//!                                         reference, no flag; the gate is open
//!         its page block's magazine has   of a type that pages are kept for; no
//!         not reached its limit           surplus in sight
//! ```
//!
//! While kswapd reclaims from a zone its gate is closed: few pages may be kept then,
//! and requests look at other nodes first. Linux's look there from the moment that it
//! is woken; here a page of a zone that has far more than its watermarks is given
//! out until it begins.
//!
//! Where one answer is another, nothing has been done, and the page goes the way
//! of `alloc.rs` and `pcp.rs`, which takes the same decisions step by step.

use super::alloc::AllocRequest;
use super::allocator::PageRef;
use super::local::list_of;
use super::local::other_page;
use super::local::Back;
use super::local::PLAIN_KINDS;
use super::pageset::Pageset;
use super::system::BuddySystem;
use super::MemMap;
use super::ZoneTable;
use crate::phys::PageOrder;
use crate::phys::Pfn;
use crate::platform::Platform;
use core::sync::atomic::Ordering::Relaxed;

impl<'a, P, M, Z> BuddySystem<'a, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// Gives out the hottest page of the zone that the request likes best; `None`
    /// when it must go the long way.
    #[inline(always)]
    pub(super) fn alloc_fast(&self, request: &AllocRequest) -> Option<PageRef<'a>> {
        let kind = request.single();
        if usize::from(kind) >= PLAIN_KINDS {
            return None;
        }
        let (local, _pinned) = self.platform.pin_local(self.stats.locals())?;
        let out = local.out(kind)?;
        let (set, list) = (out.set(), list_of(kind));
        if !set.is_open() {
            return None;
        }
        let magazines = set.magazines();
        let pfn = magazines.peek(list)?;
        let pfn = Pfn(pfn.into());
        let page = out.flat.page(pfn)?;
        magazines.pop(list);
        self.unpoison_here(pfn, PageOrder::ZERO);
        page.toggle_owner();
        set.note_hot_alloc();
        Some(PageRef { pfn, page })
    }

    /// Gives out as many of the hottest pages as there are in the magazine, and says
    /// how many: as that many calls of [`BuddySystem::alloc_fast`] would.
    #[inline]
    pub(super) fn alloc_fast_run<'p>(
        &'p self,
        request: &AllocRequest,
        pages: &mut [PageRef<'p>],
    ) -> usize {
        let kind = request.single();
        if usize::from(kind) >= PLAIN_KINDS {
            return 0;
        }
        let Some((local, _pinned)) = self.platform.pin_local(self.stats.locals()) else {
            return 0;
        };
        let Some(out) = local.out(kind) else { return 0 };
        let (set, list) = (out.set(), list_of(kind));
        if !set.is_open() {
            return 0;
        }
        let magazines = set.magazines();
        let mut taken = 0u8;
        let hottest = magazines.hottest(list).iter().rev();
        for (place, pfn) in pages.iter_mut().zip(hottest) {
            let pfn = Pfn(pfn.load(Relaxed).into());
            let Some(page) = (match out.flat.page(pfn) {
                Some(page) => Some(page),
                None => other_page(self.map, pfn),
            }) else {
                break;
            };
            self.unpoison_here(pfn, PageOrder::ZERO);
            page.toggle_owner();
            *place = PageRef { pfn, page };
            taken = taken.wrapping_add(1);
        }
        magazines.pop_many(list, taken);
        set.note_hot_allocs(taken.into());
        taken.into()
    }

    /// Takes pages back, as long as each could go the short way, and says how many:
    /// as that many calls of [`BuddySystem::free_fast`] would.
    #[inline]
    pub(super) fn free_fast_run(&self, pages: &[PageRef<'_>]) -> usize {
        let Some((local, _pinned)) = self.platform.pin_local(self.stats.locals()) else {
            return 0;
        };
        let [normal, _] = local.back();
        let set = normal.set();
        let magazines = set.magazines();
        let mut freed = 0u32;
        for &PageRef { pfn, page } in pages {
            if set.gate() != page.bits() {
                break;
            }
            let Some(list) = normal.list(pfn) else { break };
            let Some(place) = magazines.place(list) else {
                break;
            };
            page.toggle_owner();
            self.poison_here(pfn, PageOrder::ZERO);
            magazines.push_at(list, place, pfn.0 as u32);
            freed = freed.wrapping_add(1);
        }
        set.note_hot_frees(freed);
        freed as usize
    }

    /// Takes a page back from its only owner; `false` when it must go the long
    /// way.
    #[inline(always)]
    pub(super) fn free_fast(&self, page: PageRef<'_>) -> bool {
        let PageRef { pfn, page } = page;
        let Some((local, _pinned)) = self.platform.pin_local(self.stats.locals()) else {
            return false;
        };
        let [normal, _] = local.back();
        let set = normal.set();
        set.gate() == page.bits() && self.push_hot(normal, set, pfn, || page.toggle_owner())
    }

    /// The same for a page of any other zone: each CPU keeps pages of all.
    pub(super) fn free_fast_other(&self, page: PageRef<'_>) -> bool {
        let PageRef { pfn, page } = page;
        let Some((local, _pinned)) = self.platform.pin_local(self.stats.locals()) else {
            return false;
        };
        let id = page.zone_id();
        let Some(back) = local.back_to(id, self.stats.flat(id)) else {
            return false;
        };
        let set = back.set();
        set.gate() == page.bits() && self.push_hot(&back, set, pfn, || page.toggle_owner())
    }

    /// Takes a page back from somebody who says that it is his: of several who
    /// do so at once, one is right. `false` when it must go the long way.
    #[inline(always)]
    pub(super) fn free_fast_checked(&self, pfn: Pfn, order: PageOrder) -> bool {
        if order != PageOrder::ZERO {
            return false;
        }
        let Some((local, _pinned)) = self.platform.pin_local(self.stats.locals()) else {
            return false;
        };
        for back in local.back() {
            if let Some(page) = back.flat.page(pfn) {
                let bits = page.bits();
                let set = back.set();
                if bits == set.gate() {
                    return self.push_hot(back, set, pfn, || page.take_plain(bits));
                }
            }
        }
        false
    }

    /// Puts a page into its magazine, if that has not reached its limit and
    /// `take` gets the page from its owner.
    #[inline(always)]
    fn push_hot(
        &self,
        back: &Back<'_>,
        set: &Pageset,
        pfn: Pfn,
        take: impl FnOnce() -> bool,
    ) -> bool {
        let Some(list) = back.list(pfn) else {
            return false;
        };
        let magazines = set.magazines();
        let Some(place) = magazines.place(list) else {
            return false;
        };
        if !take() {
            return false;
        }
        self.poison_here(pfn, PageOrder::ZERO);
        magazines.push_at(list, place, pfn.0 as u32);
        set.note_hot_free();
        true
    }
}
