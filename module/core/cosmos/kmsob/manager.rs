// SPDX-License-Identifier: GPL-2.0

//! The head of it all (`kmsobmgrhed_t`): the lock, a list of containers for each
//! size, and which caches there are.
//!
//! ```text
//! ks_lock      one for everything
//! ks_msoblst   32 [ ol_emplst -> container -> container, ol_cahe, counts ]
//!              64 [ ... ]
//!              ...
//!            2048 [ ... ]
//! caches       number -> record, an object of the pool itself
//! ```
//!
//! It lies in memory of memblock's, as Cosmos's lies in its memory manager's
//! head; all else is in the containers' pages.

use super::layout::SizeIndex;
use super::layout::KOBLST_MAX;
use crate::error::Result;
use crate::phys::placed_size;
use crate::phys::Bytes;
use crate::phys::PhysAddr;
use crate::phys::PhysRange;
use crate::phys::Region;
use crate::platform::Lock;
use crate::platform::Platform;
use crate::slab::MAX_CACHES;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// The containers of one size (`koblst_t`). Belongs to the lock; a report may
/// look at any time.
#[derive(Default)]
pub(super) struct Koblst {
    /// The first container (`ol_emplst`).
    pub(super) emplst: AtomicU64,
    /// The container that was used last (`ol_cahe`).
    pub(super) cahe: AtomicU64,
    /// How many containers there are (`ol_emnr`).
    pub(super) emnr: AtomicU64,
    /// Extensions of all of them.
    pub(super) extensions: AtomicU64,
    /// Objects in all of them.
    pub(super) objects: AtomicU64,
    /// Of them, those that somebody has.
    pub(super) used: AtomicU64,
    /// Of those, the ones that were asked for by size alone.
    pub(super) by_size: AtomicU64,
    /// Objects given out so far, and given back.
    pub(super) allocs: AtomicU64,
    pub(super) frees: AtomicU64,
    /// Containers made so far, and given back.
    pub(super) created: AtomicU64,
    pub(super) destroyed: AtomicU64,
    /// Extensions made so far.
    pub(super) extended: AtomicU64,
    /// Objects that could not be had.
    pub(super) failed: AtomicU64,
    /// Free objects that were found to be written to.
    pub(super) overwritten: AtomicU64,
}

/// What the lock guards that is of no size: the rest stands beside it, since it
/// is large, and is reached through [`Locked`](super::locked::Locked) alone.
#[derive(Debug, Default)]
pub(super) struct Kmsobmgrhed {
    /// Containers of all sizes (`ks_msobnr`).
    pub(super) msobnr: u64,
    /// The container that was used last (`ks_msobche`).
    pub(super) msobche: u64,
    /// Blocks that are one object each: the frame number of the first, plus one;
    /// 0 for none.
    pub(super) large: u32,
    /// How many those are, and their pages.
    pub(super) large_blocks: u64,
    pub(super) large_pages: u64,
    /// Named caches.
    pub(super) caches: u64,
}

/// The object pool.
pub struct KmsobPool<'m, P: Platform> {
    pub(super) lock: &'m P::Lock<Kmsobmgrhed>,
    pub(super) lists: &'m [Koblst],
    /// Where the record of each cache lies, by its number; 0 for none.
    pub(super) caches: &'m [AtomicU64],
}

impl<'m, P: Platform> KmsobPool<'m, P> {
    /// How much memory the head takes.
    pub fn size() -> Bytes {
        let [lock, lists, caches] = Self::parts();
        lock + lists + caches
    }

    /// What each of its parts takes, in whole pages: each is placed on its own.
    fn parts() -> [Bytes; 3] {
        [
            placed_size::<P::Lock<Kmsobmgrhed>>(1),
            placed_size::<Koblst>(KOBLST_MAX),
            placed_size::<AtomicU64>(MAX_CACHES),
        ]
        .map(|size| size.pages_up().bytes())
    }

    /// Places the head at the start of `range`, which is [`KmsobPool::size`] long
    /// at least and begins with a page (`kmsobmgrhed_t_init`).
    ///
    /// # Errors
    ///
    /// Those of [`Region::place_slice`].
    pub fn place(region: &mut Region<'m>, range: PhysRange) -> Result<Self> {
        let [lock, lists, caches] = Self::parts();
        let part = |start: PhysAddr, size| PhysRange::new(start, size);
        let lock = part(range.start, lock);
        let lists = part(lock.end, lists);
        let caches = part(lists.end, caches);
        Ok(Self {
            lock: region.place(lock, P::Lock::new(Kmsobmgrhed::default()))?,
            lists: region.place_slice(lists, KOBLST_MAX, |_| Koblst::default())?,
            caches: region.place_slice(caches, MAX_CACHES, |_| AtomicU64::new(0))?,
        })
    }

    /// What the head takes of the region.
    pub fn bytes(&self) -> Bytes {
        Self::size()
    }

    /// The list of a size.
    pub(super) fn list(&self, size: SizeIndex) -> Option<&'m Koblst> {
        self.lists.get(size.index())
    }
}

/// More; wraps, as all counts do.
pub(super) fn add(count: &AtomicU64, by: u64) {
    count.store(count.load(Relaxed).wrapping_add(by), Relaxed);
}

/// Fewer.
pub(super) fn sub(count: &AtomicU64, by: u64) {
    count.store(count.load(Relaxed).wrapping_sub(by), Relaxed);
}
