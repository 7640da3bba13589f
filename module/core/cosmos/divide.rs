// SPDX-License-Identifier: GPL-2.0

//! Division: a block out of an area whose lock is held (`mm_divpages_core`).
//!
//! ```text
//! wanted: 2 pages; the lists of 1, 2 and 4 pages have none, that of 8 has
//!
//!  page   0   1   2   3   4   5   6   7
//!       [              8               ]    taken from its list
//!       [      4       ][      4       ]    upper half onto the list of 4
//!       [  2   ][  2   ]                    upper half onto the list of 2
//!        ^ given out
//! ```

use super::area::MemArea;
use super::lists::DivideMerge;
use crate::buddy::MemMap;
use crate::phys::PageOrder;
use crate::phys::Pfn;
use crate::platform::Platform;

/// An area whose lock is held, and the descriptors that its lists run through.
pub(super) struct LockedArea<'a, P: Platform, M> {
    /// Which area.
    pub(super) area: &'a MemArea<P>,
    /// Its lists; the exclusive borrow comes from the lock's guard.
    pub(super) lists: &'a mut DivideMerge,
    /// Where the descriptors are.
    pub(super) map: &'a M,
}

impl<P: Platform, M: MemMap> LockedArea<'_, P, M> {
    /// Takes a block of `order` out of the smallest one that has room for it
    /// (`mm_reldivpages_onmarea`); `None` when there is none.
    pub(super) fn divide(&mut self, order: PageOrder) -> Option<Pfn> {
        let mut size = self.lists.smallest(order)?;
        let pfn = self.lists.list(size).free.first()?;
        let page = self.map.page(pfn)?;
        self.lists.take(self.map, page, size);
        while let Some(half) = size.down().filter(|&half| half >= order) {
            size = half;
            let upper = pfn + half.pages();
            if let Some(page) = self.map.page(upper) {
                self.lists.put(self.map, upper, page, half);
            }
            self.lists.divisions = self.lists.divisions.wrapping_add(1);
        }
        self.lists.give_out(page, order);
        Some(pfn)
    }
}
