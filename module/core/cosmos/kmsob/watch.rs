// SPDX-License-Identifier: GPL-2.0

//! Objects that are nobody's are watched, where the surroundings watch memory
//! ([`Platform::WATCHES`]): all of them but the header that links them. Pages
//! that are no container's are watched by who has the pages.

use super::cells::FreobjhCells;
use super::locked::Block;
use super::locked::Locked;
use crate::buddy::PageAllocator;
use crate::phys::PhysAddr;
use crate::phys::PhysRange;
use crate::platform::Platform;

impl<P: Platform, A: PageAllocator> Locked<'_, P, A> {
    /// The object `index` of a block has an owner.
    #[inline(always)]
    pub(super) fn given_out(&self, block: &Block<'_>, index: u32) {
        if P::WATCHES {
            self.watch(block, index, 0, false);
        }
    }

    /// The object `index` of a block is nobody's, and has its header.
    #[inline(always)]
    pub(super) fn given_back(&self, block: &Block<'_>, index: u32) {
        if P::WATCHES {
            self.watch(block, index, FreobjhCells::SIZE, true);
        }
    }

    #[cold]
    #[inline(never)]
    fn watch(&self, block: &Block<'_>, index: u32, from: u64, free: bool) {
        let object = block.object(index).get();
        let range = PhysRange {
            start: PhysAddr(object.saturating_add(from)),
            end: PhysAddr(object.saturating_add(block.layout.size)),
        };
        self.pool.memory.watch(self.pool.platform, range, free);
    }
}
