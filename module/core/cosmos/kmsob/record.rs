// SPDX-License-Identifier: GPL-2.0

//! What is kept about a named cache.

use super::layout::SizeIndex;
use super::Owner;
use crate::error::Error;
use crate::error::Result;
use crate::phys::cells;
use crate::slab::CacheArgs;
use crate::slab::CacheName;
use crate::slab::SlabFlags;
use core::fmt;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// A name in words: 63 bytes, and at least one 0 behind them.
const NAME_WORDS: usize = 8;

cells! {
    /// A named cache. Belongs to the pool's lock.
    pub(super) struct CacheCells {
        /// The name, eight bytes a word.
        pub(super) name: [AtomicU64; NAME_WORDS],
        /// The size that was asked for, in bytes.
        pub(super) object_size: AtomicU32,
        /// The alignment that was asked for, in bytes.
        pub(super) align: AtomicU32,
        /// The flags.
        pub(super) flags: AtomicU32,
        /// Objects that could not be had.
        pub(super) failed: AtomicU32,
        /// Objects given out so far.
        pub(super) allocs: AtomicU64,
        /// Objects given back so far.
        pub(super) frees: AtomicU64,
    }
}

impl CacheCells {
    /// What it takes, in bytes.
    pub(super) const SIZE: u64 = core::mem::size_of::<Self>() as u64;

    /// Makes this the record of a new cache.
    pub(super) fn init(&self, name: &CacheName, args: &CacheArgs<'_>) {
        let mut bytes = name.as_str().bytes();
        for word in &self.name {
            let mut chunk = [0u8; 8];
            for (place, byte) in chunk.iter_mut().zip(&mut bytes) {
                *place = byte;
            }
            word.store(u64::from_le_bytes(chunk), Relaxed);
        }
        self.object_size.store(args.object_size, Relaxed);
        self.align.store(args.align, Relaxed);
        self.flags.store(args.flags.bits(), Relaxed);
        self.failed.store(0, Relaxed);
        self.allocs.store(0, Relaxed);
        self.frees.store(0, Relaxed);
    }

    /// The name.
    ///
    /// # Errors
    ///
    /// [`Error::SlabDamaged`] when it is none.
    pub(super) fn name(&self) -> Result<CacheName> {
        let mut text = [0u8; NAME_WORDS * 8];
        for (chunk, word) in text.chunks_exact_mut(8).zip(&self.name) {
            chunk.copy_from_slice(&word.load(Relaxed).to_le_bytes());
        }
        let len = text.iter().position(|&byte| byte == 0);
        let text = text.get(..len.unwrap_or(0)).unwrap_or_default();
        let text = core::str::from_utf8(text).map_err(|_| Error::SlabDamaged)?;
        CacheName::new(text).map_err(|_| Error::SlabDamaged)
    }

    /// Objects that somebody has.
    pub(super) fn in_use(&self) -> u64 {
        self.allocs
            .load(Relaxed)
            .wrapping_sub(self.frees.load(Relaxed))
    }

    /// The flags.
    pub(super) fn flags(&self) -> SlabFlags {
        SlabFlags::from_bits(self.flags.load(Relaxed)).unwrap_or_default()
    }
}

/// The name of the cache that stands for a size, or for the records themselves.
pub(super) fn builtin_name(owner: Owner) -> Result<CacheName> {
    let mut name = Text::default();
    let written = match owner.of_size() {
        Some(size) => fmt::write(&mut name, format_args!("{PREFIX}{}", size.size().0)),
        None => fmt::Write::write_str(&mut name, RECORDS),
    };
    written.map_err(|_| Error::SlabDamaged)?;
    CacheName::new(name.as_str())
}

/// The cache of such a name.
pub(super) fn builtin(name: &str) -> Option<Owner> {
    if name == RECORDS {
        return Some(Owner::RECORDS);
    }
    let number = name.strip_prefix(PREFIX)?;
    let named = SizeIndex::all().map(Owner::size);
    let mut named = named.filter(|&owner| {
        builtin_name(owner).is_ok_and(|its| its.as_str().strip_prefix(PREFIX) == Some(number))
    });
    named.next()
}

/// What the names of sizes begin with.
const PREFIX: &str = "kmsob-";
/// The name of the cache of records.
const RECORDS: &str = "kmsob_cache";

/// A short text.
#[derive(Default)]
struct Text {
    bytes: [u8; 16],
    len: usize,
}

impl Text {
    fn as_str(&self) -> &str {
        let text = self.bytes.get(..self.len).unwrap_or_default();
        core::str::from_utf8(text).unwrap_or_default()
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len.checked_add(text.len()).ok_or(fmt::Error)?;
        let place = self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}
