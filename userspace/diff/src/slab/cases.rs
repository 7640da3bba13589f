// SPDX-License-Identifier: GPL-2.0

//! The kinds of caches that are asked for, by name: words with `+` between them.
//!
//! ```text
//! none                     nothing but a size and an alignment
//! F Z P U T                letters of slab_debug=, several as one word
//! hwcache rcu dma dma32 reclaim account noleaktrace nouserflags kmalloc
//! ctor                     a constructor
//! freeptr                  the free pointer may lie in the middle of the object
//! user                     the whole object may be copied to user space
//! sheaf=N                  sheaves of so many objects
//! ```

use crate::Result;
use shadowmm_core::slab::CacheArgs;
use shadowmm_core::slab::Constructor;
use shadowmm_core::slab::SlabFlags;

/// The kinds that the whole table has.
pub const ALL: &[&str] = &[
    "none",
    "hwcache",
    "rcu",
    "ctor",
    "rcu+freeptr",
    "FZPU",
    "F",
    "Z",
    "P",
    "U",
    "ZP+rcu",
    "Z+ctor+freeptr",
    "FZPU+hwcache",
    "ZU+kmalloc",
    "noleaktrace",
    "sheaf=100",
];

/// Kinds that change nothing that is visible of the layout; random subsets have
/// them, too.
pub const MORE: &[&str] = &[
    "dma",
    "dma32",
    "reclaim",
    "account",
    "nouserflags",
    "user",
    "T",
    "FT+hwcache",
    "kmalloc",
    "U+kmalloc",
    "FZPU+kmalloc",
    "FZPUT+rcu",
    "FZPU+ctor",
    "hwcache+rcu",
    "hwcache+ctor+freeptr",
    "P+ctor+freeptr",
    "Z+rcu+freeptr",
    "hwcache+reclaim+account+user",
    "sheaf=7",
    "FZPU+sheaf=32",
];

/// A kind of cache.
#[derive(Clone, Debug)]
pub struct Case {
    /// As it was written.
    pub name: String,
    flags: SlabFlags,
    ctor: Constructor,
    freeptr: bool,
    user: bool,
    sheaf: u32,
}

impl Case {
    /// The kind of this name.
    pub fn new(name: &str) -> Result<Self> {
        let mut case = Self {
            name: name.to_owned(),
            flags: SlabFlags::NO_MERGE,
            ctor: Constructor::None,
            freeptr: false,
            user: false,
            sheaf: 0,
        };
        for word in name.split('+') {
            let flags = match word {
                "none" => SlabFlags::NONE,
                "hwcache" => SlabFlags::HWCACHE_ALIGN,
                "rcu" => SlabFlags::TYPESAFE_BY_RCU,
                "dma" => SlabFlags::CACHE_DMA,
                "dma32" => SlabFlags::CACHE_DMA32,
                "reclaim" => SlabFlags::RECLAIM_ACCOUNT,
                "account" => SlabFlags::ACCOUNT,
                "noleaktrace" => SlabFlags::NOLEAKTRACE,
                "nouserflags" => SlabFlags::NO_USER_FLAGS,
                "kmalloc" => SlabFlags::KMALLOC,
                _ => case.word(word)?,
            };
            case.flags |= flags;
        }
        Ok(case)
    }

    fn word(&mut self, word: &str) -> Result<SlabFlags> {
        if let Some(capacity) = word.strip_prefix("sheaf=") {
            self.sheaf = capacity
                .parse()
                .map_err(|_| format!("{word}: no number of objects"))?;
            return Ok(SlabFlags::NONE);
        }
        match word {
            "ctor" => self.ctor = Constructor::Fill(0),
            "freeptr" => self.freeptr = true,
            "user" => self.user = true,
            _ => {
                let mut flags = SlabFlags::NONE;
                for letter in word.bytes() {
                    let flag = match letter.is_ascii_uppercase() {
                        true => SlabFlags::from_letter(letter),
                        false => None,
                    };
                    flags |= flag.ok_or_else(|| format!("{word}: no such kind of cache"))?;
                }
                return Ok(flags);
            }
        }
        Ok(SlabFlags::NONE)
    }

    /// A cache of this kind.
    pub fn args<'a>(&self, name: &'a str, size: u32, align: u32) -> CacheArgs<'a> {
        CacheArgs {
            align,
            flags: self.flags,
            ctor: self.ctor,
            usersize: if self.user { size } else { 0 },
            freeptr_offset: self.freeptr.then_some(size / 2 / 8 * 8),
            sheaf_capacity: self.sheaf,
            ..CacheArgs::new(name, size)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_the_lists_is_one() {
        for name in ALL.iter().chain(MORE) {
            Case::new(name).unwrap();
        }
        assert!(Case::new("silly").is_err());
        assert!(Case::new("FX").is_err());
        let case = Case::new("ZU+hwcache+freeptr").unwrap();
        let args = case.args("a", 100, 32);
        assert!(args
            .flags
            .has_all(SlabFlags::RED_ZONE | SlabFlags::STORE_USER));
        assert_eq!(args.freeptr_offset, Some(48));
    }
}
