// SPDX-License-Identifier: GPL-2.0

//! The pages that are there, one after the other (`walk_page_range`).

use super::page_table::Translation;
use super::system::AddressSpace;
use super::types::VirtAddr;
use super::types::VirtRange;
use crate::phys::PAGE_SIZE;
use crate::platform::Platform;

/// See [`AddressSpace::resident_in`].
pub(super) struct Resident<'a, 'm, P: Platform> {
    space: AddressSpace<'a, 'm, P>,
    at: VirtAddr,
    end: VirtAddr,
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// The pages of a range that are mapped, lowest first, with the way to each. The
    /// caller has the mmap lock.
    pub(super) fn resident_in(&self, range: VirtRange) -> Resident<'a, 'm, P> {
        Resident {
            space: *self,
            at: range.start,
            end: range.end,
        }
    }
}

impl<'a, 'm: 'a, P: Platform> Iterator for Resident<'a, 'm, P> {
    type Item = (VirtAddr, Translation);

    fn next(&mut self) -> Option<Self::Item> {
        while self.at < self.end {
            let at = self.at;
            let page = self.space.page_at(at);
            if page.leaf.is_present() {
                self.at = VirtAddr(at.0 + PAGE_SIZE);
                return Some((at, page));
            }
            self.at = page.hole_end(at);
        }
        None
    }
}
