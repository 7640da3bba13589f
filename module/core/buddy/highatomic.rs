// SPDX-License-Identifier: GPL-2.0

//! Page blocks kept for urgent requests of higher orders.
//!
//! When such a request (`GFP_ATOMIC`, order above 0) was served with the zone
//! already below its low mark, the page block that served it becomes
//! `HighAtomic`: its free pages are for the next ones like it. At most about a
//! hundredth of a zone is kept so, and nothing of a zone that is too small.
//!
//! ```text
//!             reserve: an urgent request was served at the min mark
//! mergeable  ------------------------------------------------------> HighAtomic
//!            <------------------------------------------------------
//!             unreserve: another request is about to fail
//! ```

use super::migratetype::MigrateType;
use super::split_merge::LockedZone;
use super::MemMap;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::platform::Platform;
use crate::zone::Zone;

/// How many pages of this zone may be kept, if any
/// (`reserve_highatomic_pageblock`).
pub(super) fn max_reserved<P: Platform>(zone: &Zone<P>) -> Option<Pages> {
    let pageblock = PageOrder::PAGEBLOCK;
    let hundredth = Pages(zone.managed().0 / 100);
    if hundredth < pageblock.pages() {
        return None;
    }
    Some(Pages(Pfn(hundredth.0).align_up(pageblock).0))
}

impl<P: Platform, M: MemMap> LockedZone<'_, P, M> {
    /// Keeps the page block, or blocks, around a block that was just taken
    /// (`reserve_highatomic_pageblock`).
    pub(super) fn reserve_highatomic(&mut self, pfn: Pfn, order: PageOrder, max: Pages) {
        let reserved = self.zone.reserved_highatomic();
        if reserved >= max {
            return;
        }
        let mt = self.migratetype(pfn);
        if !mt.is_mergeable() {
            return;
        }
        if order < PageOrder::PAGEBLOCK {
            let moved = self.move_freepages_block(pfn, mt, MigrateType::HighAtomic);
            if moved.is_some() {
                let pages = PageOrder::PAGEBLOCK.pages();
                self.zone.set_reserved_highatomic(reserved + pages);
            }
        } else {
            self.change_pageblock_range(pfn, order, MigrateType::HighAtomic);
            self.zone.set_reserved_highatomic(reserved + order.pages());
        }
    }

    /// Gives free pages that were kept to type `to`, from the first page block
    /// that has some; whether there were any (one zone's turn in
    /// `unreserve_highatomic_pageblock`).
    pub(super) fn unreserve_highatomic(&mut self, to: MigrateType) -> bool {
        for order in PageOrder::all() {
            let Some(pfn) = self.areas.list(order, MigrateType::HighAtomic).first() else {
                continue;
            };
            let size = order.pages().max(PageOrder::PAGEBLOCK.pages());
            // Saturates: other page blocks may have become one with this.
            let reserved = self.zone.reserved_highatomic();
            self.zone.set_reserved_highatomic(reserved - size);
            if order < PageOrder::PAGEBLOCK {
                let moved = self.move_freepages_block(pfn, MigrateType::HighAtomic, to);
                if moved.is_some_and(|pages| !pages.is_zero()) {
                    return true;
                }
            } else {
                self.move_to_free_list(pfn, order, MigrateType::HighAtomic, to);
                self.change_pageblock_range(pfn, order, to);
                return true;
            }
        }
        false
    }
}
