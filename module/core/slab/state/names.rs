// SPDX-License-Identifier: GPL-2.0

//! The names of caches, in cells.

use crate::phys::cells;
use crate::slab::object::CacheName;
use crate::slab::object::MAX_CACHE_NAME;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// Words of a name: its bytes, and in the last byte how many they are.
const NAME_WORDS: usize = 8;

const _: () = assert!(NAME_WORDS * 8 == MAX_CACHE_NAME + 1);

cells! {
    /// A name.
    pub(in crate::slab) struct NameCells {
        words: [AtomicU64; NAME_WORDS],
    }
}

impl NameCells {
    pub(in crate::slab) fn set(&self, name: &CacheName) {
        let mut bytes = [0u8; NAME_WORDS * 8];
        let text = name.as_str().as_bytes();
        for (to, from) in bytes.iter_mut().zip(text) {
            *to = *from;
        }
        if let Some(last) = bytes.last_mut() {
            *last = text.len() as u8;
        }
        for (word, bytes) in self.words.iter().zip(bytes.chunks_exact(8)) {
            let bytes = <[u8; 8]>::try_from(bytes).unwrap_or_default();
            word.store(u64::from_le_bytes(bytes), Relaxed);
        }
    }

    pub(in crate::slab) fn get(&self) -> Option<CacheName> {
        let mut bytes = [0u8; NAME_WORDS * 8];
        for (word, bytes) in self.words.iter().zip(bytes.chunks_exact_mut(8)) {
            bytes.copy_from_slice(&word.load(Relaxed).to_le_bytes());
        }
        let len = usize::from(*bytes.last()?);
        let text = core::str::from_utf8(bytes.get(..len)?).ok()?;
        CacheName::new(text).ok()
    }
}

cells! {
    /// Another name of a cache, linked from the newest to the oldest.
    pub(in crate::slab) struct AliasCells {
        /// Where the next one lies; 0 behind the last.
        pub(in crate::slab) next: AtomicU64,
        /// The name.
        pub(in crate::slab) name: NameCells,
    }
}
