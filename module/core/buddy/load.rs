// SPDX-License-Identifier: GPL-2.0

//! The state of another allocator, taken over: the same blocks on the same
//! lists in the same order, and the same numbers beside them.
//!
//! ```text
//! what                                    how it is taken over
//! page blocks' types                      Pageblock::set_migratetype
//! managed pages, watermarks, reserves     Zone's setters
//! boost, kept page blocks, marks          load_zone
//! free lists, each from its head          load_free, block by block
//! pagesets, each list from its head       load_pageset_block, block by block
//! pagesets' numbers                       load_pageset
//! ```
//!
//! Nothing is merged, split or tuned on the way. The pages are reserved before,
//! and what is not loaded stays so: a page that somebody else has for ever. Zone
//! and pagesets are idle meanwhile. What is loaded is an ordinary zone from then on.

use super::free_area::FreeBlock;
use super::free_area::Placement;
use super::migratetype::MigrateType;
use super::pageset;
use super::pageset::PagesetState;
use super::pageset::NR_PCP_LISTS;
use super::system::BuddySystem;
use super::MemMap;
use super::ZoneTable;
use crate::error::Error;
use crate::error::Result;
use crate::page::PageState;
use crate::page::ZoneId;
use crate::phys::CpuId;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::platform::Lock;
use crate::platform::Platform;

/// The numbers of a zone that change by themselves, besides its counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZoneState {
    /// By what the watermarks are raised (`watermark_boost`).
    pub boost: Pages,
    /// Pages of page blocks kept for urgent requests
    /// (`nr_reserved_highatomic`).
    pub reserved_highatomic: Pages,
    /// The zone was seen below its high watermark (`ZONE_BELOW_HIGH`).
    pub below_high: bool,
    /// A boost awaits background reclaim (`ZONE_BOOSTED_WATERMARK`).
    pub boosted: bool,
}

impl<P, M, Z> BuddySystem<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// Makes a block of reserved pages the last free block of a list.
    ///
    /// # Errors
    ///
    /// [`Error::WrongOrder`] when the block is not aligned,
    /// [`Error::ForeignPfn`] when a page is none of one zone's,
    /// [`Error::DoubleFree`] when one is not reserved any more.
    pub fn load_free(&self, pfn: Pfn, order: PageOrder, mt: MigrateType) -> Result<()> {
        let id = self.reserved_block(pfn, order)?;
        let zone = self.zones.zone(id).ok_or(Error::ForeignPfn)?;
        let page = self.map.page(pfn).ok_or(Error::ForeignPfn)?;
        let mut areas = zone.free.lock();
        let locked = self.locked(zone, id, &mut areas);
        self.take_reserved(pfn, order);
        let block = FreeBlock {
            pfn,
            page,
            order,
            mt,
        };
        let map = self.map;
        locked
            .areas
            .add(&zone.free_counts, map, block, Placement::Tail);
        zone.free_counts.add_pages(order.pages(), mt);
        Ok(())
    }

    /// Makes a block of reserved pages the last one of a list of a CPU's pageset
    /// of its zone. `index` is the list's number (`pindex`), below
    /// [`NR_PCP_LISTS`], and says what order the block has.
    ///
    /// # Errors
    ///
    /// Those of [`BuddySystem::load_free`]; [`Error::BadKind`] when there is no
    /// such list or CPU.
    pub fn load_pageset_block(&self, cpu: CpuId, index: usize, pfn: Pfn) -> Result<()> {
        if index >= NR_PCP_LISTS {
            return Err(Error::BadKind);
        }
        let order = pageset::order_of(index);
        let id = self.reserved_block(pfn, order)?;
        let pageset = self.stats.pageset(cpu, id).ok_or(Error::BadKind)?;
        let page = self.map.page(pfn).ok_or(Error::ForeignPfn)?;
        self.take_reserved(pfn, order);
        page.set_state(PageState::Pageset, order);
        // As every block in a pageset has it.
        page.set_count(1);
        pageset.push_tail(index, self.map, pfn, page);
        Ok(())
    }

    /// Takes over the numbers of a pageset, but for `count`, which is that of
    /// the blocks in it. Whether there is such a pageset.
    pub fn load_pageset(&self, cpu: CpuId, id: ZoneId, state: &PagesetState) -> bool {
        let Some(pageset) = self.stats.pageset(cpu, id) else {
            return false;
        };
        pageset.set_zone(id);
        pageset.set_state(state);
        true
    }

    /// Takes over a zone's own numbers. Whether there is such a zone.
    pub fn load_zone(&self, id: ZoneId, state: &ZoneState) -> bool {
        let Some(zone) = self.zones.zone(id) else {
            return false;
        };
        {
            let mut areas = zone.free.lock();
            let _locked = self.locked(zone, id, &mut areas);
            zone.set_boost(state.boost);
            zone.set_reserved_highatomic(state.reserved_highatomic);
            zone.set_boosted(state.boosted);
        }
        self.set_below_high(zone, id, state.below_high);
        true
    }

    /// A zone's own numbers.
    pub fn zone_state(&self, id: ZoneId) -> Option<ZoneState> {
        let zone = self.zones.zone(id)?;
        Some(ZoneState {
            boost: zone.boost(),
            reserved_highatomic: zone.reserved_highatomic(),
            below_high: zone.is_below_high(),
            boosted: zone.is_boosted(),
        })
    }

    /// Calls `each` with the blocks of a list of a CPU's pageset, the next one to
    /// be given out first. Nobody uses the pageset meanwhile.
    pub fn for_each_in_pageset(&self, cpu: CpuId, id: ZoneId, index: usize, each: impl FnMut(Pfn)) {
        let Some(pageset) = self.stats.pageset(cpu, id) else {
            return;
        };
        pageset.for_each(index, self.map, each);
    }

    /// Whose zone a block lies in that is aligned and reserved as a whole.
    fn reserved_block(&self, pfn: Pfn, order: PageOrder) -> Result<ZoneId> {
        if !pfn.is_aligned(order) {
            return Err(Error::WrongOrder);
        }
        let id = self.map.page(pfn).ok_or(Error::ForeignPfn)?.zone_id();
        for i in 0..order.pages().0 {
            let page = self.map.page(pfn + Pages(i)).ok_or(Error::ForeignPfn)?;
            match page.state() {
                PageState::Reserved if page.zone_id() == id => {}
                PageState::Reserved | PageState::Hole => return Err(Error::ForeignPfn),
                _ => return Err(Error::DoubleFree),
            }
        }
        Ok(id)
    }

    /// Makes a reserved block's pages the inside of a block.
    fn take_reserved(&self, pfn: Pfn, order: PageOrder) {
        for i in 0..order.pages().0 {
            if let Some(page) = self.map.page(pfn + Pages(i)) {
                page.set_state(PageState::Tail, PageOrder::ZERO);
                page.set_count(0);
            }
        }
    }
}
