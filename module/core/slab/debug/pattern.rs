// SPDX-License-Identifier: GPL-2.0

//! The bytes that debugging fills slabs with (`include/linux/poison.h`), and a
//! slab's memory as bytes.
//!
//! A slab is a row of 64-bit words that anybody may be writing to, so bytes are
//! read out of words and exchanged in them; none is ever lent out.

use core::ops::Range;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// The red zones of an object that is free.
pub const SLUB_RED_INACTIVE: u8 = 0xbb;
/// The red zones of an object that somebody has.
pub const SLUB_RED_ACTIVE: u8 = 0xcc;
/// What belongs to no object.
pub const POISON_INUSE: u8 = 0x5a;
/// An object that is free, or was not written to yet.
pub const POISON_FREE: u8 = 0x6b;
/// The last byte of such an object.
pub const POISON_END: u8 = 0xa5;

/// Eight times the same byte.
const fn repeat(value: u8) -> u64 {
    u64::from_ne_bytes([value; 8])
}

/// The memory of a slab. Places are in bytes from its start; what lies beyond
/// its end reads as 0 and can't be written.
#[derive(Clone, Copy)]
pub struct SlabBytes<'a>(&'a [AtomicU64]);

impl<'a> SlabBytes<'a> {
    /// The slab that these words are.
    pub const fn new(words: &'a [AtomicU64]) -> Self {
        Self(words)
    }

    /// How many bytes there are.
    pub const fn len(self) -> u32 {
        (self.0.len() * 8) as u32
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The word that holds the byte at `at`.
    fn holding(self, at: u32) -> Option<&'a AtomicU64> {
        self.0.get(at as usize / 8)
    }

    /// The word at `at`, a multiple of 8.
    pub fn word(self, at: u32) -> u64 {
        self.holding(at).map_or(0, |word| word.load(Relaxed))
    }

    /// Stores a word at `at`, a multiple of 8.
    pub fn set_word(self, at: u32, value: u64) {
        if let Some(word) = self.holding(at) {
            word.store(value, Relaxed);
        }
    }

    /// The byte at `at`.
    pub fn byte(self, at: u32) -> u8 {
        let bytes = self.word(at).to_ne_bytes();
        bytes.get(at as usize % 8).copied().unwrap_or(0)
    }

    /// Stores a byte at `at`; its neighbours stay what they are, whoever writes
    /// to them meanwhile.
    pub fn set_byte(self, at: u32, value: u8) {
        let Some(word) = self.holding(at) else {
            return;
        };
        // Always succeeds: the closure refuses nothing.
        let _ = word.fetch_update(Relaxed, Relaxed, |old| {
            let mut bytes = old.to_ne_bytes();
            if let Some(byte) = bytes.get_mut(at as usize % 8) {
                *byte = value;
            }
            Some(u64::from_ne_bytes(bytes))
        });
    }

    /// Fills a range (`memset`).
    pub fn fill(self, range: Range<u32>, value: u8) {
        let mut at = range.start;
        while at < range.end {
            if at % 8 == 0 && range.end - at >= 8 {
                self.set_word(at, repeat(value));
                at += 8;
            } else {
                self.set_byte(at, value);
                at += 1;
            }
        }
    }

    /// From the first byte of the range that is not `value` to behind the last
    /// one (`memchr_inv`, and back from the end); `None` when all are.
    pub fn other_than(self, range: Range<u32>, value: u8) -> Option<Range<u32>> {
        let mut at = range.start;
        while at < range.end {
            if at % 8 == 0 && range.end - at >= 8 && self.word(at) == repeat(value) {
                at += 8;
            } else if self.byte(at) == value {
                at += 1;
            } else {
                break;
            }
        }
        if at >= range.end {
            return None;
        }
        let mut end = range.end;
        while end > at + 1 && self.byte(end - 1) == value {
            end -= 1;
        }
        Some(at..end)
    }
}
