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
//! back move `top` and touch no other page's descriptor. An empty magazine is
//! filled from the list's head, a full one gives its lower half to it.
//!
//! The magazines of a pageset share one array, whose places have eight bits:
//!
//! ```text
//! place   0 | 1 ..  84 | 85 | 86 .. 169 | 170 | 171 .. 254 | 255 256
//!         - | Unmovable|  - | Movable   |  -  | Reclaimable|  -   -
//!         ^ top, when empty               top + 1 is always a place
//! ```
//!
//! # What is not looked at for each page
//!
//! Linux looks at `high` with every free, and remembers how many pages were freed
//! in a row. So that neither needs a comparison of its own, each magazine has a
//! `limit`, which is below its last place where that many pages more would make
//! a difference, and all else is worked out when the limit is reached:
//!
//! ```text
//! sum of (limit - top)   never above high - 1 - count: no free in sight of the
//!                        magazines reaches high
//! limit                  no more above the magazine's base than is left until
//!                        free_count is full
//! ```
//!
//! Both stay true while single pages come and go, for `top` and `count` move
//! together, and `free_count` never grows by more than the magazine.

use super::migratetype::MIGRATE_PCPTYPES;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU8;
use core::sync::atomic::Ordering::Relaxed;

/// How many pages a magazine has room for.
pub(super) const ROOM: u32 = STRIDE as u32 - 1;
/// From one magazine's places to the next one's.
const STRIDE: u8 = 85;
/// How many magazines there are: one for each value that a page block's list
/// has, the last for those whose pages are not kept.
const MAGAZINES: usize = 4;
/// One more than what eight bits can name.
const PLACES: usize = 257;

const _: () = assert!(MIGRATE_PCPTYPES * (STRIDE as usize) < PLACES - 1);

/// A magazine's places.
#[repr(C)]
struct Magazine {
    /// Where the next page is; the place below the first when there is none.
    top: AtomicU8,
    /// Up to where pages may be added without a thought.
    limit: AtomicU8,
}

/// The magazines of a pageset, by migrate type. Only whoever has the pageset
/// writes to them.
#[repr(C)]
pub(super) struct Magazines {
    magazines: [Magazine; MAGAZINES],
    pages: [AtomicU32; PLACES],
}

impl Magazines {
    /// Empty, and without room.
    pub(super) const fn new() -> Self {
        const fn at(base: u8) -> Magazine {
            Magazine {
                top: AtomicU8::new(base),
                limit: AtomicU8::new(base),
            }
        }
        Self {
            magazines: [at(0), at(STRIDE), at(2 * STRIDE), at(3 * STRIDE)],
            pages: [const { AtomicU32::new(0) }; PLACES],
        }
    }

    /// The place below a magazine's first.
    #[inline]
    const fn base(mt: usize) -> u8 {
        (mt & (MAGAZINES - 1)) as u8 * STRIDE
    }

    #[inline]
    fn magazine(&self, mt: usize) -> &Magazine {
        &self.magazines[mt & (MAGAZINES - 1)]
    }

    /// The page that comes next. It stays where it is.
    #[inline]
    pub(super) fn peek(&self, mt: usize) -> Option<u32> {
        let magazine = self.magazine(mt);
        let top = magazine.top.load(Relaxed);
        (top != Self::base(mt)).then(|| self.pages[usize::from(top)].load(Relaxed))
    }

    /// Takes the page that [`Magazines::peek`] has found.
    #[inline]
    pub(super) fn pop(&self, mt: usize) {
        let top = &self.magazine(mt).top;
        top.store(top.load(Relaxed).wrapping_sub(1), Relaxed);
    }

    /// Where a page would go that can be added without a thought.
    #[inline]
    pub(super) fn place(&self, mt: usize) -> Option<&AtomicU32> {
        let magazine = self.magazine(mt);
        let top = magazine.top.load(Relaxed);
        (top < magazine.limit.load(Relaxed)).then(|| &self.pages[usize::from(top) + 1])
    }

    /// Says that a page was put there.
    #[inline]
    pub(super) fn push(&self, mt: usize) {
        let top = &self.magazine(mt).top;
        top.store(top.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// How many pages a magazine has.
    #[inline]
    pub(super) fn len(&self, mt: usize) -> u32 {
        let magazine = self.magazine(mt);
        u32::from(magazine.top.load(Relaxed).wrapping_sub(Self::base(mt)))
    }

    /// How many all of them have.
    #[inline]
    pub(super) fn total(&self) -> u32 {
        // The bases are the same in every sum.
        let [a, b, c, _] = &self.magazines;
        let top = |magazine: &Magazine| u32::from(magazine.top.load(Relaxed));
        (top(a) + top(b) + top(c)).wrapping_sub(3 * u32::from(STRIDE))
    }

    /// Sets how many there are, for those who have set the pages.
    #[inline]
    pub(super) fn set_len(&self, mt: usize, len: u32) {
        let magazine = self.magazine(mt);
        let len = len.min(ROOM) as u8;
        magazine
            .top
            .store(Self::base(mt).wrapping_add(len), Relaxed);
    }

    /// Sets up to how many pages may be added without a thought.
    #[inline]
    pub(super) fn set_limit(&self, mt: usize, limit: u32) {
        let magazine = self.magazine(mt);
        let limit = limit.min(ROOM) as u8;
        let limit = Self::base(mt).wrapping_add(limit);
        magazine.limit.store(limit, Relaxed);
    }

    /// One of the pages, the lowest being 0.
    #[inline]
    pub(super) fn get(&self, mt: usize, at: u32) -> u32 {
        self.entry(mt, at).load(Relaxed)
    }

    /// Sets one of the pages.
    #[inline]
    pub(super) fn put(&self, mt: usize, at: u32, pfn: u32) {
        self.entry(mt, at).store(pfn, Relaxed);
    }

    #[inline]
    fn entry(&self, mt: usize, at: u32) -> &AtomicU32 {
        let first = usize::from(Self::base(mt)) + 1;
        &self.pages[(first + at as usize).min(PLACES - 1)]
    }
}
