// SPDX-License-Identifier: GPL-2.0

//! Migrate types: who can be moved out of the way, page block by page block.
//!
//! A page block is the 2 MiB that one huge page would need. Blocks of pages
//! that can't be moved are kept together, so that the others stay whole:
//!
//! ```text
//! page block   0            1            2            3
//!              Unmovable    Movable      Movable      Reclaimable
//!
//! bits of a Pageblock   7 unused | 6..4 migrate type | 3 skip | 2 isolated | 1..0 list
//! ```
//!
//! A block's type says on which list its free pages stand; what is allocated in
//! it may be of any type. Isolation is a bit beside the type, so that the type is
//! there again when it ends. The list is what both come to for a CPU that takes
//! a page back: that of Unmovable, Movable or Reclaimable, or 3 for none.

use core::sync::atomic::AtomicU8;
use core::sync::atomic::Ordering::Relaxed;

/// What the pages of a page block are for (`enum migratetype`, in its order).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum MigrateType {
    /// Pages that stay where they are: the kernel's own.
    Unmovable = 0,
    /// Pages that can be moved: user memory.
    Movable = 1,
    /// Pages that can be given up: slab caches with shrinkers.
    Reclaimable = 2,
    /// Kept for urgent requests of higher orders.
    HighAtomic = 3,
    /// Of a contiguous memory area: for movable pages alone.
    Cma = 4,
    /// Nothing may be taken from here.
    Isolate = 5,
}

/// How many types there are (`MIGRATE_TYPES`).
pub const MIGRATE_TYPES: usize = 6;
/// How many of them have lists in pagesets (`MIGRATE_PCPTYPES`): the first.
pub const MIGRATE_PCPTYPES: usize = 3;

impl MigrateType {
    /// All types, in their order.
    pub const ALL: [Self; MIGRATE_TYPES] = [
        Self::Unmovable,
        Self::Movable,
        Self::Reclaimable,
        Self::HighAtomic,
        Self::Cma,
        Self::Isolate,
    ];

    /// The name that `/proc/pagetypeinfo` uses (`migratetype_names`).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unmovable => "Unmovable",
            Self::Movable => "Movable",
            Self::Reclaimable => "Reclaimable",
            Self::HighAtomic => "HighAtomic",
            Self::Cma => "CMA",
            Self::Isolate => "Isolate",
        }
    }

    /// As an index below [`MIGRATE_TYPES`].
    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether blocks of this type may become one with, and be turned into,
    /// blocks of another (`migratetype_is_mergeable`).
    #[inline]
    pub const fn is_mergeable(self) -> bool {
        (self as usize) < MIGRATE_PCPTYPES
    }

    /// Whose free pages requests of this type may take when their own are used
    /// up, best first (`fallbacks`).
    #[inline]
    pub const fn fallbacks(self) -> &'static [Self] {
        match self {
            Self::Unmovable => &[Self::Reclaimable, Self::Movable],
            Self::Movable => &[Self::Reclaimable, Self::Unmovable],
            Self::Reclaimable => &[Self::Unmovable, Self::Movable],
            Self::HighAtomic | Self::Cma | Self::Isolate => &[],
        }
    }

    /// The type whose pages a pageset's list has; none above them.
    #[inline]
    pub(super) const fn of_list(list: usize) -> Option<Self> {
        match list {
            0 => Some(Self::Unmovable),
            1 => Some(Self::Movable),
            2 => Some(Self::Reclaimable),
            _ => None,
        }
    }

    /// The type in the lowest three bits; what no type has is Unmovable.
    #[inline]
    const fn from_bits(bits: u8) -> Self {
        match bits & TYPE_MASK {
            1 => Self::Movable,
            2 => Self::Reclaimable,
            3 => Self::HighAtomic,
            4 => Self::Cma,
            _ => Self::Unmovable,
        }
    }
}

const TYPE_MASK: u8 = 7;
const LIST_MASK: u8 = 3;
const ISOLATED: u8 = 1 << 2;
const SKIP: u8 = 1 << 3;
const BASE_SHIFT: u8 = 4;

/// The bits of a block of this type, isolated or not.
const fn bits(mt: MigrateType, isolated: bool) -> u8 {
    let list = match mt.is_mergeable() && !isolated {
        true => mt as u8,
        false => LIST_MASK,
    };
    ((mt as u8) << BASE_SHIFT) | if isolated { ISOLATED } else { 0 } | list
}

/// What is kept about a page block (`enum pageblock_bits`).
///
/// Anybody may read it; the type and the isolation are written with the lock of
/// the block's zone held, the skip bit by anybody.
#[repr(transparent)]
pub struct Pageblock(AtomicU8);

impl Pageblock {
    /// As a fresh section has it: Unmovable.
    pub const fn new() -> Self {
        Self(AtomicU8::new(0))
    }

    /// The block's type (`get_pageblock_migratetype`); [`MigrateType::Isolate`]
    /// while it is isolated.
    #[inline]
    pub fn migratetype(&self) -> MigrateType {
        let bits = self.0.load(Relaxed);
        if bits & ISOLATED != 0 {
            return MigrateType::Isolate;
        }
        MigrateType::from_bits(bits >> BASE_SHIFT)
    }

    /// Which list of a pageset a page of the block goes to; 3 for none.
    #[inline]
    pub(super) fn list(&self) -> usize {
        usize::from(self.0.load(Relaxed) & LIST_MASK)
    }

    /// The type that it has when it is not isolated.
    #[inline]
    pub fn base_migratetype(&self) -> MigrateType {
        MigrateType::from_bits(self.0.load(Relaxed) >> BASE_SHIFT)
    }

    /// Gives the block a type and ends its isolation
    /// (`set_pageblock_migratetype`). `Isolate` is not a type to be given.
    pub fn set_migratetype(&self, mt: MigrateType) {
        if mt != MigrateType::Isolate {
            self.change(|old| old & SKIP | bits(mt, false));
        }
    }

    /// Whether it is isolated (`get_pageblock_isolate`).
    pub fn is_isolated(&self) -> bool {
        self.0.load(Relaxed) & ISOLATED != 0
    }

    /// Isolates it or ends that (`set_pageblock_isolate`).
    pub fn set_isolated(&self, isolated: bool) {
        self.change(|old| old & SKIP | bits(MigrateType::from_bits(old >> BASE_SHIFT), isolated));
    }

    /// Whether compaction passes it over (`get_pageblock_skip`).
    pub fn skip(&self) -> bool {
        self.0.load(Relaxed) & SKIP != 0
    }

    /// Makes compaction pass it over or not (`set_pageblock_skip`).
    pub fn set_skip(&self, skip: bool) {
        self.change(|bits| bits & !SKIP | if skip { SKIP } else { 0 });
    }

    fn change(&self, to: impl Fn(u8) -> u8) {
        // The two writers, zone's lock and skip bit, know nothing of each other.
        let _ = self.0.fetch_update(Relaxed, Relaxed, |bits| Some(to(bits)));
    }
}

impl Default for Pageblock {
    fn default() -> Self {
        Self::new()
    }
}
