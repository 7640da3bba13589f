// SPDX-License-Identifier: GPL-2.0

//! The frame allocator of the crate buddy_system_allocator as a side that is
//! measured: a buddy system over frame numbers, kept in B-trees behind a
//! spinlock.

use crate::shapes::Side;
use buddy_system_allocator::LockedFrameAllocator;

/// Frames from 0 up to some number.
pub struct Frames(LockedFrameAllocator);

impl Frames {
    /// So many frames.
    pub fn new(frames: usize) -> Self {
        let allocator = LockedFrameAllocator::new();
        allocator.lock().add_frame(0, frames);
        Self(allocator)
    }
}

impl Side for Frames {
    type Block = usize;
    type Request = u32;

    fn none() -> usize {
        usize::MAX
    }

    fn request(&self, order: u32) -> u32 {
        order
    }

    #[inline]
    fn alloc(&self, order: &u32) -> Option<usize> {
        self.0.lock().alloc(1 << order)
    }

    #[inline]
    fn free(&self, block: usize, order: &u32) {
        self.0.lock().dealloc(block, 1 << order);
    }

    /// The crate has no such call: under one hold of the lock.
    fn alloc_bulk(&self, order: &u32, blocks: &mut [usize]) -> usize {
        let mut frames = self.0.lock();
        let mut taken = 0;
        for place in blocks {
            let Some(block) = frames.alloc(1 << order) else {
                break;
            };
            *place = block;
            taken += 1;
        }
        taken
    }

    /// Nor this.
    fn free_bulk(&self, blocks: &[usize], order: &u32) {
        let mut frames = self.0.lock();
        for &block in blocks {
            frames.dealloc(block, 1 << order);
        }
    }

    fn drain(&self) {}
}
