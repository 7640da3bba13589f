// SPDX-License-Identifier: GPL-2.0

//! Whether a new cache can share the slabs of one that is there
//! (`find_mergeable` and what belongs to it in `mm/slab_common.c`).
//!
//! Of several that would do, Linux takes the oldest. The shared cache then has the
//! larger object of both.

use super::flags::SlabFlags;
use super::geometry::calculate_alignment;
use super::geometry::creation_flags;
use super::geometry::unmergeable;
use super::geometry::CacheArgs;
use super::geometry::Geometry;
use super::geometry::Surroundings;
use super::geometry::WORD;
use super::object::Constructor;
use crate::error::Error;
use crate::error::Result;

/// What of a cache that is there decides whether it can be shared.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its geometry.
    pub geometry: &'a Geometry,
    /// Its constructor.
    pub ctor: Constructor,
    /// How much of its objects may be copied to and from user space, in bytes.
    pub usersize: u32,
    /// Whether it is one that the layer itself lives on (`refcount < 0`).
    pub boot: bool,
}

impl Candidate<'_> {
    /// Whether nothing is ever merged with it (`slab_unmergeable`).
    fn is_alone(&self, around: &Surroundings<'_>) -> bool {
        !around.merge
            || self.geometry.flags.has(SlabFlags::NEVER_MERGE)
            || self.ctor.is_some()
            || self.usersize != 0
            || self.boot
    }
}

/// A request that can be served by an existing cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergeRequest {
    size: u32,
    align: u32,
    same: SlabFlags,
}

impl MergeRequest {
    /// What a cache must be to serve this request; `None` when it is to be alone.
    ///
    /// # Errors
    ///
    /// Those of [`creation_flags`] and [`calculate_alignment`], and
    /// [`Error::ObjectTooLarge`].
    pub fn new(args: &CacheArgs<'_>, around: &Surroundings<'_>) -> Result<Option<Self>> {
        let flags = creation_flags(args, around)?;
        let flags = around.debug.flags(flags, args.name);
        let up = |size: u32, align: u32| {
            let size = size.checked_next_multiple_of(align);
            size.ok_or(Error::ObjectTooLarge)
        };
        let size = up(args.object_size, WORD)?;
        let align = calculate_alignment(flags, args.align, size, around.cache_line)?;
        if unmergeable(args, flags, around) {
            return Ok(None);
        }
        Ok(Some(Self {
            size: up(size, align)?,
            align,
            same: flags.and(SlabFlags::MERGE_SAME),
        }))
    }

    /// Whether this cache can serve it: its objects are large enough, but by less
    /// than a word, they are aligned, and come from the same kind of pages.
    pub fn fits(&self, candidate: &Candidate<'_>, around: &Surroundings<'_>) -> bool {
        let of = candidate.geometry;
        let spare = of.size.checked_sub(self.size);
        !candidate.is_alone(around)
            && of.flags.and(SlabFlags::MERGE_SAME) == self.same
            && of.size.checked_rem(self.align) == Some(0)
            && spare.is_some_and(|spare| spare < WORD)
    }
}

impl Geometry {
    /// The geometry of a cache that serves objects of `object_size` bytes, too
    /// (`__kmem_cache_alias`): all that any of the caches uses is cleared where
    /// objects are cleared.
    pub fn merged(&self, object_size: u32) -> Self {
        let words = object_size.checked_next_multiple_of(WORD);
        Self {
            object_size: self.object_size.max(object_size),
            inuse: self.inuse.max(words.unwrap_or(object_size)),
            ..*self
        }
    }
}
