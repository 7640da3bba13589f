// SPDX-License-Identifier: GPL-2.0

//! The objects that somebody holds, by their address.
//!
//! An open file may hold millions of objects and give them back in any order,
//! so it must be cheap to find one: an open-addressing hash table of one word
//! for each object, in memory that the owner lends.
//!
//! ```text
//!  63      48 47 46            41 40                   0
//! ┌──────────┬──┬────────────────┬──────────────────────┐
//! │ cache    │ 1│ 0              │ address / 8          │   0: an empty place
//! └──────────┴──┴────────────────┴──────────────────────┘
//! ```
//!
//! An object lies at its hash's place or, without a gap, behind it. At most
//! three quarters of the places are taken.

use super::object::CacheId;
use super::object::ObjAddr;
use crate::slices;
use core::ops::DerefMut;

/// The smallest table, in words.
const MIN_WORDS: usize = 16;

const PRESENT: u64 = 1 << 47;
const CACHE_SHIFT: u32 = 48;
/// Addresses are multiples of this.
const ALIGN_SHIFT: u32 = 3;
/// 2^64 divided by the golden ratio: neighbours are spread over the table.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// An object that somebody holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The object.
    pub object: ObjAddr,
    /// The cache that it was taken from; `None` for one that was asked for by
    /// its size.
    pub cache: Option<CacheId>,
}

impl Holding {
    /// `None` where no object can be.
    fn to_word(self) -> Option<u64> {
        let addr = self.object.get();
        let number = addr >> ALIGN_SHIFT;
        if number >= PRESENT || number << ALIGN_SHIFT != addr {
            return None;
        }
        let cache = self.cache.map_or(0, CacheId::get);
        Some((u64::from(cache) << CACHE_SHIFT) | PRESENT | number)
    }

    fn from_word(word: u64) -> Option<Self> {
        (word & PRESENT != 0).then_some(Self {
            object: ObjAddr::new((word & (PRESENT - 1)) << ALIGN_SHIFT),
            cache: CacheId::new((word >> CACHE_SHIFT) as u16),
        })
    }
}

/// The objects that somebody holds.
///
/// # Invariants
///
/// The number of words is 0 or a power of two, and one at least is empty; there
/// is no empty word between an object's own place and where it lies; `len` are
/// not empty.
pub struct Holdings<W> {
    words: W,
    len: usize,
}

impl<W: DerefMut<Target = [u64]>> Holdings<W> {
    /// Nothing, in no memory.
    pub fn new(none: W) -> Self {
        let mut holdings = Self {
            words: none,
            len: 0,
        };
        holdings.words.fill(0);
        holdings
    }

    /// How many objects.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Words that it has.
    pub fn capacity(&self) -> usize {
        self.words.len()
    }

    /// How many words it needs to hold `more` objects besides, if it has too
    /// few; `None` when there is room.
    pub fn wants(&self, more: usize) -> Option<usize> {
        let objects = self.len.saturating_add(more);
        let words = objects.saturating_add(objects / 3).saturating_add(1);
        if words <= self.words.len() {
            return None;
        }
        // What can't be had is for the owner to find out.
        let words = words.checked_next_power_of_two().unwrap_or(usize::MAX);
        Some(words.max(MIN_WORDS))
    }

    /// Moves to these words, of which there are as many as
    /// [`Holdings::wants`] has said, and gives the old ones back. With too few
    /// nothing is done, and the new ones are given back.
    pub fn move_to(&mut self, words: W) -> W {
        let fits = words.len().is_power_of_two() && self.len < words.len();
        let none = words.is_empty() && self.len == 0;
        if !(fits || none) {
            return words;
        }
        let old = core::mem::replace(self, Self::new(words)).words;
        for holding in old.iter().filter_map(|&word| Holding::from_word(word)) {
            self.insert(holding);
        }
        old
    }

    fn mask(&self) -> usize {
        self.words.len().wrapping_sub(1)
    }

    /// Where an object would lie if nothing else did.
    fn place(&self, object: ObjAddr) -> usize {
        let hash = (object.get() >> ALIGN_SHIFT).wrapping_mul(SPREAD);
        (hash >> 32) as usize & self.mask()
    }

    fn word(&self, place: usize) -> u64 {
        self.words.get(place).copied().unwrap_or(0)
    }

    fn set(&mut self, place: usize, word: u64) {
        if let Some(at) = self.words.get_mut(place) {
            *at = word;
        }
    }

    /// Where the object lies.
    fn find(&self, object: ObjAddr) -> Option<usize> {
        let mut place = self.place(object);
        // It ends: one word is empty.
        loop {
            let there = Holding::from_word(self.word(place))?;
            if there.object == object {
                return Some(place);
            }
            place = (place + 1) & self.mask();
        }
    }

    /// The object's entry, if it is held.
    pub fn get(&self, object: ObjAddr) -> Option<Holding> {
        Holding::from_word(self.word(self.find(object)?))
    }

    /// Enters an object that is not there. `false` where there is no room
    /// ([`Holdings::wants`]) or no object can be: nothing is entered.
    pub fn insert(&mut self, holding: Holding) -> bool {
        let Some(word) = holding.to_word() else {
            return false;
        };
        if self.wants(1).is_some() {
            return false;
        }
        let mut place = self.place(holding.object);
        while self.word(place) != 0 {
            place = (place + 1) & self.mask();
        }
        self.set(place, word);
        self.len += 1;
        true
    }

    /// Takes an object out; what it was.
    pub fn remove(&mut self, object: ObjAddr) -> Option<Holding> {
        let mut gap = self.find(object)?;
        let removed = Holding::from_word(self.word(gap));
        // Those behind close up, as far as their own places let them.
        let mut next = gap;
        loop {
            next = (next + 1) & self.mask();
            let word = self.word(next);
            let Some(there) = Holding::from_word(word) else {
                break;
            };
            let home = self.place(there.object);
            // Whether the gap lies between its own place and where it is.
            if next.wrapping_sub(home) & self.mask() >= next.wrapping_sub(gap) & self.mask() {
                self.set(gap, word);
                gap = next;
            }
        }
        self.set(gap, 0);
        self.len -= 1;
        removed
    }

    /// Takes every object out, and shows them by cache and address, up to
    /// `batch.len()` of one cache at a time: that is the order in which they are
    /// cheapest to give back.
    pub fn take_all(
        &mut self,
        batch: &mut [ObjAddr],
        mut each: impl FnMut(Option<CacheId>, &[ObjAddr]),
    ) {
        // Empty words come first.
        slices::sort_by_key(&mut self.words, |&word| word);
        let mut taken = 0;
        let mut of = None;
        for holding in self
            .words
            .iter()
            .filter_map(|&word| Holding::from_word(word))
        {
            if taken > 0 && (taken == batch.len() || of != holding.cache) {
                each(of, batch.get(..taken).unwrap_or(&[]));
                taken = 0;
            }
            of = holding.cache;
            if let Some(place) = batch.get_mut(taken) {
                *place = holding.object;
                taken += 1;
            }
        }
        if taken > 0 {
            each(of, batch.get(..taken).unwrap_or(&[]));
        }
        self.words.fill(0);
        self.len = 0;
    }
}
