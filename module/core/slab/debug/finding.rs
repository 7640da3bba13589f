// SPDX-License-Identifier: GPL-2.0

//! What debugging can find, and how often it did.

use crate::phys::cells;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

macro_rules! findings {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// A misuse, or what it left behind.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Finding { $($(#[$doc])* $name,)* }

        impl Finding {
            /// All of them, in the order in which they are counted.
            pub const ALL: &'static [Finding] = &[$(Finding::$name,)*];

            /// The name in counters: that of the report in lower case.
            pub const fn name(self) -> &'static str {
                match self { $(Finding::$name => $text,)* }
            }
        }
    };
}

findings! {
    /// Something was written before an object.
    LeftRedzone = "left_redzone";
    /// Something was written behind an object.
    RightRedzone = "right_redzone";
    /// Something was written behind what kmalloc was asked for.
    KmallocRedzone = "kmalloc_redzone";
    /// Something was written between an object and its free pointer.
    AlignmentPadding = "alignment_padding";
    /// A free object was written to.
    Poison = "poison";
    /// The last byte of a free object was written to.
    EndPoison = "end_poison";
    /// Something was written behind an object's tracks.
    ObjectPadding = "object_padding";
    /// Something was written behind the last object of a slab.
    SlabPadding = "slab_padding";
    /// A free pointer leads to no object of the slab.
    FreePointer = "freepointer";
    /// A list of free objects leads to no object of the slab.
    FreeChain = "freechain";
    /// A list of free objects has no end.
    FreelistCycle = "freelist_cycle";
    /// A slab counts other objects in use than those that are not free.
    ObjectCount = "object_count";
    /// What a slab says of itself is impossible, or it was given up before.
    SlabState = "slab_state";
    /// No object begins there.
    InvalidPointer = "invalid_pointer";
    /// The object is free already.
    AlreadyFree = "already_free";
    /// The object is of another cache.
    WrongCache = "wrong_cache";
    /// There is no slab.
    NotSlab = "not_slab";
    /// Objects were left when their cache was to go.
    Remaining = "remaining";
}

/// How many kinds there are.
pub const NR_FINDINGS: usize = Finding::ALL.len();

cells! {
    /// How often each was found. All zero: never.
    pub struct Findings {
        counts: [AtomicU32; NR_FINDINGS],
    }
}

impl Default for Findings {
    fn default() -> Self {
        Self::new()
    }
}

impl Findings {
    /// Nothing was found yet.
    pub const fn new() -> Self {
        Self {
            counts: [const { AtomicU32::new(0) }; NR_FINDINGS],
        }
    }

    /// Forgets them all.
    pub fn clear(&self) {
        self.counts.iter().for_each(|count| count.store(0, Relaxed));
    }

    /// Counts one.
    pub fn count(&self, finding: Finding) {
        if let Some(count) = self.counts.get(finding as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// How often one was found.
    pub fn of(&self, finding: Finding) -> u32 {
        let count = self.counts.get(finding as usize);
        count.map_or(0, |count| count.load(Relaxed))
    }

    /// How often anything was.
    pub fn total(&self) -> u64 {
        let counts = self
            .counts
            .iter()
            .map(|count| u64::from(count.load(Relaxed)));
        counts.fold(0, u64::saturating_add)
    }

    /// Each with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Finding, u32)> + '_ {
        Finding::ALL
            .iter()
            .map(|&finding| (finding, self.of(finding)))
    }
}
