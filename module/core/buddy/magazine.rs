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
//! place   0 | 1 ..  63 | 64 | 65 .. 127 | 128 | 129 .. 191 | 192 ..
//!         - | Unmovable|  - | Movable   |  -  | Reclaimable|  -
//!         ^ top, when empty               top + 1 is always a place
//! ```
//!
//! # What is not looked at for each page
//!
//! Linux looks at `high` with every free, and counts how many pages were freed in
//! a row, up to some number. So that neither needs a comparison of its own, each
//! magazine has a `limit`, which is below its last place where that many pages
//! more would make a difference, and all else is worked out when the limit is
//! reached:
//!
//! ```text
//! sum of (limit - top)   never above high - 1 - count: no free in sight of the
//!                        magazines reaches high; nor above what is left until
//!                        free_count is full
//! ```
//!
//! It stays true while single pages come and go, for `top` and `count` move
//! together, and `free_count` falls with every page that is given out as much as
//! `top` does, until it is 0: and from 0 all magazines can't fill it, or else the
//! limits count from their bases (`Pageset::settle`).
//!
//! Once `free_count` is full it does not grow any more, but falls with the next
//! page that is given out. That one has to go the long way, so `floor` is above
//! all places then.

use super::migratetype::MIGRATE_PCPTYPES;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU8;
use core::sync::atomic::Ordering::Relaxed;

/// How many pages a magazine has room for.
pub(super) const ROOM: u32 = STRIDE as u32 - 1;
/// From one magazine's places to the next one's.
const STRIDE: u8 = 64;
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
    /// Above it pages may be given out without a thought.
    floor: AtomicU8,
    unused: u8,
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
                floor: AtomicU8::new(base),
                unused: 0,
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

    /// The page that comes next, if it may be given out without a thought. It
    /// stays where it is.
    #[inline]
    pub(super) fn peek(&self, mt: usize) -> Option<u32> {
        let magazine = self.magazine(mt);
        let top = magazine.top.load(Relaxed);
        let has = top > magazine.floor.load(Relaxed);
        has.then(|| self.pages[usize::from(top)].load(Relaxed))
    }

    /// The pages that may be given out without a thought, the next one last. They
    /// stay where they are.
    #[inline]
    pub(super) fn hottest(&self, mt: usize) -> &[AtomicU32] {
        let magazine = self.magazine(mt);
        let top = usize::from(magazine.top.load(Relaxed));
        let floor = usize::from(magazine.floor.load(Relaxed));
        let pages = self.pages.get(floor.wrapping_add(1)..=top);
        pages.unwrap_or(&[])
    }

    /// Takes so many of the pages that [`Magazines::hottest`] has found.
    #[inline]
    pub(super) fn pop_many(&self, mt: usize, pages: u8) {
        let top = &self.magazine(mt).top;
        top.store(top.load(Relaxed).wrapping_sub(pages), Relaxed);
    }

    /// The page that comes next.
    #[inline]
    pub(super) fn top(&self, mt: usize) -> Option<u32> {
        let last = self.len(mt).checked_sub(1)?;
        Some(self.get(mt, last))
    }

    /// Has no page given out without a thought, or ends that.
    pub(super) fn set_closed(&self, closed: bool) {
        for mt in 0..MIGRATE_PCPTYPES {
            let floor = if closed { u8::MAX } else { Self::base(mt) };
            self.magazine(mt).floor.store(floor, Relaxed);
        }
    }

    /// Takes the page that [`Magazines::peek`] has found.
    #[inline]
    pub(super) fn pop(&self, mt: usize) {
        let top = &self.magazine(mt).top;
        top.store(top.load(Relaxed).wrapping_sub(1), Relaxed);
    }

    /// Where a page would go that can be added without a thought.
    #[inline]
    pub(super) fn place(&self, mt: usize) -> Option<u8> {
        let magazine = self.magazine(mt);
        let top = magazine.top.load(Relaxed);
        (top < magazine.limit.load(Relaxed)).then_some(top)
    }

    /// Puts a page where [`Magazines::place`] has told.
    #[inline]
    pub(super) fn push_at(&self, mt: usize, place: u8, pfn: u32) {
        self.pages[usize::from(place) + 1].store(pfn, Relaxed);
        let top = &self.magazine(mt).top;
        top.store(top.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Says that there is one page more.
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

    /// The places of the lowest `len` pages.
    #[inline]
    pub(super) fn lowest(&self, mt: usize, len: u32) -> &[AtomicU32] {
        let first = usize::from(Self::base(mt)) + 1;
        let behind = first + len.min(ROOM) as usize;
        self.pages.get(first..behind).unwrap_or(&[])
    }

    /// Moves the pages that stand from `first` up to `behind` to the bottom: they
    /// are all there are then.
    #[inline]
    pub(super) fn lower(&self, mt: usize, first: u32, behind: u32) {
        let left = behind.saturating_sub(first);
        if first > 0 {
            let from = self.lowest(mt, behind);
            let from = from.get(first as usize..).unwrap_or(&[]);
            for (to, from) in self.lowest(mt, left).iter().zip(from) {
                to.store(from.load(Relaxed), Relaxed);
            }
        }
        self.set_len(mt, left);
    }

    #[inline]
    fn entry(&self, mt: usize, at: u32) -> &AtomicU32 {
        let first = usize::from(Self::base(mt)) + 1;
        &self.pages[(first + at as usize).min(PLACES - 1)]
    }
}
