// SPDX-License-Identifier: GPL-2.0

//! Who has an object: the two bytes of a tag.
//!
//! ```text
//! 0            nobody
//! 1 ..   64    somebody who asked for this size: 32, 64 .. 2048 bytes
//! 65           the pool: a cache's record
//! 66           somebody who asked for more than 2 KiB, and has pages
//! 67 .. 2047   the cache of this number
//! ```

use super::layout::SizeIndex;
use super::layout::KOBLST_MAX;
use crate::slab::CacheId;
use crate::slab::MAX_CACHES;

/// Who has an object. All but the pages are caches to the seam's users, by the
/// same number.
///
/// # Invariants
///
/// A number that a cache can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner(u16);

/// The numbers of the two that are neither a size nor a named cache.
const RECORDS: u16 = KOBLST_MAX as u16 + 1;
const PAGES: u16 = RECORDS + 1;

/// The number of the first named cache.
pub(super) const FIRST_NAMED: u16 = PAGES + 1;

const _: () = assert!((FIRST_NAMED as usize) < MAX_CACHES);

// INVARIANT: All numbers here are from 1 to `FIRST_NAMED`, or those of caches.
impl Owner {
    /// The pool itself, for the records of caches.
    pub(super) const RECORDS: Self = Self(RECORDS);

    /// Whoever asked for more than the largest size.
    pub(super) const PAGES: Self = Self(PAGES);

    /// Whoever asked for this size.
    pub(super) const fn size(size: SizeIndex) -> Self {
        Self(size.index() as u16 + 1)
    }

    /// Who is the cache of this number to the seam's users; whether there is one
    /// is another question.
    pub(super) const fn cache(id: CacheId) -> Self {
        Self(id.get())
    }

    /// The number of the cache.
    pub(super) const fn id(self) -> Option<CacheId> {
        CacheId::new(self.0)
    }

    /// What a tag says; `None` for a free object.
    pub(super) const fn from_tag(tag: u16) -> Option<Self> {
        match CacheId::new(tag) {
            Some(id) => Some(Self::cache(id)),
            None => None,
        }
    }

    /// As a tag says it.
    pub(super) const fn tag(self) -> u16 {
        self.0
    }

    /// The size, if that is all that was asked for.
    pub(super) const fn of_size(self) -> Option<SizeIndex> {
        SizeIndex::new((self.0 as usize).wrapping_sub(1))
    }

    /// Whether this is a cache that somebody has made.
    pub(super) const fn is_named(self) -> bool {
        self.0 >= FIRST_NAMED
    }
}
