// SPDX-License-Identifier: GPL-2.0

//! Text in memory that is there before a player begins: a player must not allocate, as
//! that would change the address space that is compared.

use std::fmt;
use std::fmt::Write;

/// Text of a limited length; what does not fit is left out and told.
#[derive(Debug)]
pub struct Text {
    bytes: Box<[u8]>,
    len: usize,
}

impl Text {
    /// An empty one that can hold so many bytes.
    pub fn new(capacity: usize) -> Self {
        Self {
            bytes: vec![0; capacity].into_boxed_slice(),
            len: 0,
        }
    }

    /// Nothing is in it any more.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// What is in it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Adds a number in hexadecimal; quicker than formatting it.
    pub fn hex(&mut self, number: u64) {
        let digits = (64 - number.leading_zeros()).div_ceil(4).max(1);
        for digit in (0..digits).rev() {
            let nibble = ((number >> (digit * 4)) & 15) as usize;
            self.push(&b"0123456789abcdef"[nibble..=nibble]);
        }
    }

    /// Adds these bytes, or as many as there is room for.
    pub fn push(&mut self, bytes: &[u8]) {
        let room = &mut self.bytes[self.len..];
        let count = bytes.len().min(room.len());
        room[..count].copy_from_slice(&bytes[..count]);
        self.len += count;
    }

    /// A number that stands for what is in it (FNV-1a, eight bytes at a time).
    pub fn digest(&self) -> u64 {
        digest(self.as_bytes())
    }

    /// The room for a file's content, which [`Text::set_len`] then says the length of.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// So many bytes of the room are in use.
    pub fn set_len(&mut self, len: usize) {
        self.len = len.min(self.bytes.len());
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

/// A number that stands for these bytes.
pub fn digest(bytes: &[u8]) -> u64 {
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
    let words = bytes.chunks_exact(8);
    let rest = words.remainder();
    let mut hash = 0xcbf2_9ce4_8422_2325;
    for word in words {
        let mut eight = [0; 8];
        eight.copy_from_slice(word);
        hash = mix(hash, u64::from_ne_bytes(eight));
    }
    let hash = rest
        .iter()
        .fold(hash, |hash, &byte| mix(hash, u64::from(byte)));
    mix(hash, bytes.len() as u64)
}
