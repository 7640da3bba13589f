// SPDX-License-Identifier: GPL-2.0

//! Merging: a block goes back to an area whose lock is held
//! (`mm_merpages_core`).
//!
//! ```text
//!  page   0   1   2   3   4   5   6   7
//!       [  2   ]  ^      [      4       ]   page 2 comes back; 3 is free
//!       [  2   ][  2   ][      4       ]    0 and 1 are free as one block
//!       [      4       ][      4       ]    so are 4 to 7
//!       [              8               ]    onto the list of 8
//! ```
//!
//! The neighbour is the block of the same size that, with this one, is a block
//! of the next size, aligned to that: what [`LockedArea::divide`] had cut off.

use super::divide::LockedArea;
use crate::buddy::MemMap;
use crate::page::PageDescriptor;
use crate::page::PageState;
use crate::phys::PageOrder;
use crate::phys::Pfn;
use crate::platform::Platform;

impl<'a, P: Platform, M: MemMap> LockedArea<'a, P, M> {
    /// Merges the block of `order` at `pfn`, which is on no list, with its
    /// neighbour as far as it goes, and puts the result on its list
    /// (`mm_merpages_onmarea`). `page` is its first page's descriptor.
    pub(super) fn merge(
        &mut self,
        mut pfn: Pfn,
        mut page: &'a PageDescriptor,
        mut order: PageOrder,
    ) {
        while let Some((neighbour_pfn, neighbour)) = self.free_neighbour(pfn, order) {
            let Some(larger) = order.up() else { break };
            self.lists.take(self.map, neighbour, order);
            if neighbour_pfn < pfn {
                page.set_state(PageState::Tail, PageOrder::ZERO);
                (pfn, page) = (neighbour_pfn, neighbour);
            } else {
                neighbour.set_state(PageState::Tail, PageOrder::ZERO);
            }
            order = larger;
            self.lists.merges = self.lists.merges.wrapping_add(1);
        }
        self.lists.put(self.map, pfn, page, order);
    }

    /// The neighbour of a block, if it can be merged with it: it is free, whole,
    /// and of this zone (`mm_find_cmsa2blk`). So it is of this area too: where
    /// an area ends within a zone, it ends between two of the largest blocks.
    fn free_neighbour(&self, pfn: Pfn, order: PageOrder) -> Option<(Pfn, &'a PageDescriptor)> {
        order.up()?;
        let neighbour = pfn.buddy(order);
        let page = self.map.page(neighbour)?;
        page.is_buddy(self.area.zone, order)
            .then_some((neighbour, page))
    }
}
