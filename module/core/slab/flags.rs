// SPDX-License-Identifier: GPL-2.0

//! The flags of a cache (`slab_flags_t`, `include/linux/slab.h`).
//!
//! Names and values are those of the kernel that shadowmm runs in: 7.3 with
//! `CONFIG_MEMCG`, `CONFIG_KFENCE` and `CONFIG_SLAB_OBJ_EXT`, without
//! `CONFIG_DEBUG_OBJECTS`, `CONFIG_FAILSLAB` and `CONFIG_KASAN_GENERIC`.
//!
//! ```text
//! debug     CONSISTENCY_CHECKS RED_ZONE POISON STORE_USER TRACE     letters F Z P U T
//! creator   KMALLOC HWCACHE_ALIGN CACHE_DMA CACHE_DMA32 PANIC TYPESAFE_BY_RCU NOLEAKTRACE
//!           NO_MERGE ACCOUNT NO_USER_FLAGS RECLAIM_ACCOUNT
//! internal  MAY_ACCOUNT SKIP_KFENCE OBJECT_POISON CMPXCHG_DOUBLE NO_OBJ_EXT OBJ_EXT_IN_OBJ NO_SHEAVES
//! ```

use crate::error::Error;
use crate::error::Result;
use core::fmt;
use core::ops::BitOr;
use core::ops::BitOrAssign;

/// The flags of a cache.
///
/// # Invariants
///
/// Only bits that Linux defines are set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct SlabFlags(u32);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal;)*) => {
        impl SlabFlags {
            $(
                $(#[$doc])*
                pub const $name: Self = Self(1 << $bit);
            )*

            /// Every flag that exists.
            pub const KNOWN: Self = Self(0 $(| 1 << $bit)*);

            /// The flags with their names, in the order of the bits.
            pub const NAMES: &'static [(Self, &'static str)] =
                &[$((Self::$name, stringify!($name)),)*];
        }
    };
}

flags! {
    /// Debug: everything that can be checked is, at each allocation and free.
    CONSISTENCY_CHECKS = 0;
    /// Debug: bytes around each object tell writes beyond it.
    RED_ZONE = 1;
    /// Debug: free objects are filled, which tells writes after the free.
    POISON = 2;
    /// One of kmalloc's caches.
    KMALLOC = 3;
    /// Objects that are large enough begin at a cache line.
    HWCACHE_ALIGN = 4;
    /// Pages from `ZONE_DMA`.
    CACHE_DMA = 5;
    /// Pages from `ZONE_DMA32` or below.
    CACHE_DMA32 = 6;
    /// Debug: each object knows who has allocated it and who has freed it.
    STORE_USER = 7;
    /// A kernel that can't create the cache ends. Here the error is the answer.
    PANIC = 8;
    /// Pages of free objects go back after a grace period only.
    TYPESAFE_BY_RCU = 9;
    /// Debug: each allocation and free is told.
    TRACE = 10;
    /// Not seen by kmemleak, and without sheaves.
    NOLEAKTRACE = 11;
    /// Shares its slabs with no other cache.
    NO_MERGE = 12;
    /// All objects are charged to the memory cgroup of who allocates them.
    ACCOUNT = 13;
    /// Single objects may be charged so (`__GFP_ACCOUNT`).
    MAY_ACCOUNT = 14;
    /// `slab_debug=` does not reach this cache.
    NO_USER_FLAGS = 15;
    /// No object of it comes from KFENCE.
    SKIP_KFENCE = 16;
    /// The objects can be reclaimed: their pages are grouped with such.
    RECLAIM_ACCOUNT = 17;
    /// The object itself is filled too, not only what surrounds it
    /// (`__OBJECT_POISON`).
    OBJECT_POISON = 18;
    /// The slab's freelist is exchanged by one instruction
    /// (`__CMPXCHG_DOUBLE`); nothing of the shadow has that.
    CMPXCHG_DOUBLE = 19;
    /// No object of it is charged or profiled.
    NO_OBJ_EXT = 20;
    /// The charge is noted in the padding of the object.
    OBJ_EXT_IN_OBJ = 21;
    /// Nothing of it is kept per CPU: the boot caches.
    NO_SHEAVES = 22;
}

impl SlabFlags {
    /// No flag at all.
    pub const NONE: Self = Self(0);

    /// Those that make a cache take the slow path with checks
    /// (`SLAB_DEBUG_FLAGS`).
    pub const DEBUG: Self = Self(
        Self::RED_ZONE.0
            | Self::POISON.0
            | Self::STORE_USER.0
            | Self::TRACE.0
            | Self::CONSISTENCY_CHECKS.0,
    );

    /// Those that `slab_debug` without letters sets (`DEBUG_DEFAULT_FLAGS`).
    pub const DEBUG_DEFAULT: Self =
        Self(Self::CONSISTENCY_CHECKS.0 | Self::RED_ZONE.0 | Self::POISON.0 | Self::STORE_USER.0);

    /// Those that need room in the slab (`DEBUG_METADATA_FLAGS`).
    pub const DEBUG_METADATA: Self = Self(Self::RED_ZONE.0 | Self::POISON.0 | Self::STORE_USER.0);

    /// Those that a creator may ask for (`SLAB_FLAGS_PERMITTED`).
    pub const PERMITTED: Self = Self(
        Self::HWCACHE_ALIGN.0
            | Self::CACHE_DMA.0
            | Self::CACHE_DMA32.0
            | Self::PANIC.0
            | Self::TYPESAFE_BY_RCU.0
            | Self::NOLEAKTRACE.0
            | Self::RECLAIM_ACCOUNT.0
            | Self::ACCOUNT.0
            | Self::NO_USER_FLAGS.0
            | Self::KMALLOC.0
            | Self::NO_MERGE.0
            | Self::DEBUG.0,
    );

    /// With any of them a cache is never merged (`SLAB_NEVER_MERGE`).
    pub const NEVER_MERGE: Self = Self(
        Self::DEBUG.0
            | Self::TYPESAFE_BY_RCU.0
            | Self::NOLEAKTRACE.0
            | Self::NO_MERGE.0
            | Self::OBJ_EXT_IN_OBJ.0,
    );

    /// Caches that are merged have the same of these (`SLAB_MERGE_SAME`).
    pub const MERGE_SAME: Self = Self(
        Self::RECLAIM_ACCOUNT.0
            | Self::CACHE_DMA.0
            | Self::CACHE_DMA32.0
            | Self::ACCOUNT.0
            | Self::MAY_ACCOUNT.0,
    );

    /// The flags with these bits.
    ///
    /// # Errors
    ///
    /// [`Error::BadFlags`] when a bit is unknown.
    pub const fn from_bits(bits: u32) -> Result<Self> {
        match bits & !Self::KNOWN.0 {
            0 => Ok(Self(bits)),
            _ => Err(Error::BadFlags),
        }
    }

    /// The bits, as Linux has them.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether no flag is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether any flag of `other` is set.
    #[inline]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether all flags of `other` are set.
    pub const fn has_all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These flags without those of `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those of these flags that `other` has, too.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether the objects keep the size that kmalloc was asked for
    /// (`slub_debug_orig_size`).
    pub const fn keeps_request_size(self) -> bool {
        self.has_all(Self(Self::STORE_USER.0 | Self::KMALLOC.0))
    }

    /// The debug flag of a letter of `slab_debug=`, in either case. `A` (faults
    /// are injected) stands for no flag in a kernel without `CONFIG_FAILSLAB`.
    /// `None` for any other letter, and for `-` and `O`, which set none.
    pub const fn from_letter(letter: u8) -> Option<Self> {
        Some(match letter.to_ascii_uppercase() {
            b'F' => Self::CONSISTENCY_CHECKS,
            b'Z' => Self::RED_ZONE,
            b'P' => Self::POISON,
            b'U' => Self::STORE_USER,
            b'T' => Self::TRACE,
            b'A' => Self::NONE,
            _ => return None,
        })
    }

    /// The debug flags as letters of `slab_debug=`, `-` for none.
    pub const fn letters(self) -> Letters {
        Letters(self)
    }
}

impl BitOr for SlabFlags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for SlabFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// The names with `|` between them, as tracepoints write flags; `none` for no
/// flag.
impl fmt::Display for SlabFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for (_, name) in Self::NAMES.iter().filter(|&&(flag, _)| self.has(flag)) {
            write!(f, "{between}{name}")?;
            between = "|";
        }
        match between {
            "" => f.write_str("none"),
            _ => Ok(()),
        }
    }
}

/// Debug flags, written as letters.
#[derive(Clone, Copy, Debug)]
pub struct Letters(SlabFlags);

impl fmt::Display for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut some = false;
        for letter in ["F", "Z", "P", "U", "T"] {
            let flag = letter.bytes().next().and_then(SlabFlags::from_letter);
            if flag.is_some_and(|flag| self.0.has(flag)) {
                f.write_str(letter)?;
                some = true;
            }
        }
        match some {
            true => Ok(()),
            false => f.write_str("-"),
        }
    }
}
