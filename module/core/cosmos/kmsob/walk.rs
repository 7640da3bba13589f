// SPDX-License-Identifier: GPL-2.0

//! Over all blocks of a size, a few at a time: who only counts keeps nobody waiting who
//! wants an object, however many blocks there are.
//!
//! ```text
//! lock    STEP blocks, from where the walk stands
//! free    containers and extensions come and go
//! lock    where the walk stands is there still?   --no--> anew, with nothing counted
//! ```
//!
//! What comes meanwhile comes at the head of its list, which the walk may be past; so
//! this is no picture of one moment, but for a pool that is left alone.

use super::layout::SizeIndex;
use super::locked::Block;
use super::locked::Container;
use super::locked::Locked;
use super::manager::Koblst;
use super::Kmsob;
use crate::buddy::PageAllocator;
use crate::error::Error;
use crate::error::Result;
use crate::phys::Pages;
use crate::platform::Platform;
use core::sync::atomic::Ordering::Relaxed;

/// How many blocks are looked at with the lock held.
const STEP: u64 = 64;
/// How often a walk is begun at most. With the last it is over where it is lost.
const TRIES: u32 = 4;

/// Where a walk stands: which block of which container is next.
#[derive(Clone, Copy)]
struct At {
    container: u64,
    block: u64,
}

impl At {
    /// The own block of the container that begins here, which is its first.
    const fn container(start: u64) -> Self {
        Self {
            container: start,
            block: start,
        }
    }

    /// Whether there is no container here, but the end of the list.
    const fn is_end(self) -> bool {
        self.container == 0
    }
}

impl<P: Platform, A: PageAllocator> Kmsob<'_, P, A> {
    /// Pages of those blocks of a size that `counts` names. What is behind a header that
    /// says nonsense is not counted.
    pub(super) fn pages_of_blocks(
        &self,
        size: SizeIndex,
        counts: impl Fn(&Locked<'_, P, A>, &Container<'_>, &Block<'_>) -> bool,
    ) -> Pages {
        let mut pages = Pages::ZERO;
        for _ in 0..TRIES {
            pages = Pages::ZERO;
            let counted = |locked: &Locked<'_, P, A>, of: &Container<'_>, block: &Block<'_>| {
                if counts(locked, of, block) {
                    pages += size.order().pages();
                }
            };
            if self.walk(size, counted).is_ok() {
                break;
            }
        }
        pages
    }

    /// Walks once.
    ///
    /// # Errors
    ///
    /// [`Error::SlabDamaged`] where the next block is none of its container's: it may have
    /// gone.
    fn walk(
        &self,
        size: SizeIndex,
        mut each: impl FnMut(&Locked<'_, P, A>, &Container<'_>, &Block<'_>),
    ) -> Result<()> {
        let (mut at, before, there) = {
            let locked = self.lock();
            let list = locked.list(size)?;
            let containers = list.emnr.load(Relaxed);
            let there = containers.wrapping_add(list.extensions.load(Relaxed));
            let first = At::container(list.emplst.load(Relaxed));
            (first, made(list), there)
        };
        let mut walked = 0u64;
        while !at.is_end() {
            let locked = self.lock();
            // A broken list may run in a circle; what was there and what has come end it.
            let came = made(locked.list(size)?).wrapping_sub(before);
            if walked > there.wrapping_add(came) {
                return Err(Error::SlabDamaged);
            }
            for _ in 0..STEP {
                if at.is_end() {
                    break;
                }
                let container = locked.container(at.container, size)?;
                let block = locked.block(&container, at.block)?;
                each(&locked, &container, &block);
                walked = walked.wrapping_add(1);
                at = behind(&container, &block);
            }
        }
        Ok(())
    }
}

/// How many blocks of a size have come so far.
fn made(list: &Koblst) -> u64 {
    let (created, extended) = (&list.created, &list.extended);
    created.load(Relaxed).wrapping_add(extended.load(Relaxed))
}

/// What comes behind a block: the container's next extension, or the next container.
fn behind(container: &Container<'_>, block: &Block<'_>) -> At {
    let extension = match block.start == container.start {
        true => &container.cells.mextlst,
        false => &block.cells.list,
    };
    match extension.load(Relaxed) {
        0 => At::container(container.cells.next.load(Relaxed)),
        extension => At {
            container: container.start,
            block: extension,
        },
    }
}
