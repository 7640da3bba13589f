// SPDX-License-Identifier: GPL-2.0

//! The hot end of a pageset: the single pages that come next, as an array.
//!
//! ```text
//! a list of single pages   head -> page -> page -> ... -> page -> ... -> tail
//!                          |______________________|      |________________|
//! kept as                   the magazine: an array        links through the
//!                           whose last element is         descriptors
//!                           the head
//! ```
//!
//! Together they are one list, in Linux's order. Giving a page out and taking it
//! back move `len` and touch no other page's descriptor. An empty magazine is
//! filled from the list's head, a full one gives its lower half to it.
//!
//! # What is not looked at for each page
//!
//! Linux looks at `high` with every free, and remembers how many pages were freed
//! in a row. So that neither needs a comparison of its own, each magazine has a
//! `limit`, which is below its room where that many pages more would make a
//! difference, and all else is worked out when the limit is reached:
//!
//! ```text
//! sum of (limit - len)   never above high - 1 - count: no free in sight of the
//!                        magazines reaches high
//! limit                  never above what is left until free_count is full
//! ```
//!
//! Both stay true while single pages come and go, for `len` and `count` move
//! together, and `free_count` never grows by more than the magazine.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

/// How many pages a magazine has room for.
pub(super) const ROOM: u32 = 32;
/// How many magazines there are: one for each value that three bits have, and
/// those for which no pages are kept have a limit of 0.
const MAGAZINES: usize = 8;
/// How many of them have room, as a power of two.
const WITH_ROOM: usize = 4;
const ENTRIES: usize = WITH_ROOM * ROOM as usize;

/// A magazine's numbers.
#[repr(C)]
struct Magazine {
    len: AtomicU32,
    limit: AtomicU32,
}

/// The magazines of a pageset, by migrate type. Only whoever has the pageset
/// writes to them.
#[repr(C)]
pub(super) struct Magazines {
    magazines: [Magazine; MAGAZINES],
    pages: [AtomicU32; ENTRIES],
}

impl Magazines {
    /// Empty, and without room.
    pub(super) const fn new() -> Self {
        Self {
            magazines: [const {
                Magazine {
                    len: AtomicU32::new(0),
                    limit: AtomicU32::new(0),
                }
            }; MAGAZINES],
            pages: [const { AtomicU32::new(0) }; ENTRIES],
        }
    }

    #[inline]
    fn magazine(&self, mt: usize) -> &Magazine {
        &self.magazines[mt & (MAGAZINES - 1)]
    }

    #[inline]
    fn entry(&self, mt: usize, at: u32) -> &AtomicU32 {
        &self.pages[(mt * ROOM as usize + at as usize) & (ENTRIES - 1)]
    }

    /// How many pages a magazine has.
    #[inline]
    pub(super) fn len(&self, mt: usize) -> u32 {
        self.magazine(mt).len.load(Relaxed)
    }

    /// Sets how many; for those who have read or written the others.
    #[inline]
    pub(super) fn set_len(&self, mt: usize, len: u32) {
        self.magazine(mt).len.store(len, Relaxed);
    }

    /// Up to how many pages may be added without a thought.
    #[inline]
    pub(super) fn limit(&self, mt: usize) -> u32 {
        self.magazine(mt).limit.load(Relaxed)
    }

    /// Sets that.
    pub(super) fn set_limit(&self, mt: usize, limit: u32) {
        self.magazine(mt).limit.store(limit, Relaxed);
    }

    /// The page at a place, the lowest being 0.
    #[inline]
    pub(super) fn get(&self, mt: usize, at: u32) -> u32 {
        self.entry(mt, at).load(Relaxed)
    }

    /// Puts a page at a place.
    #[inline]
    pub(super) fn put(&self, mt: usize, at: u32, pfn: u32) {
        self.entry(mt, at).store(pfn, Relaxed);
    }
}
