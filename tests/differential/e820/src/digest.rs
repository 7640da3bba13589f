// SPDX-License-Identifier: GPL-2.0

//! What a state or a text is, as one number. `driver.c` has the same.

use std::fmt;

#[derive(Default)]
pub struct Digest(pub u64);

impl Digest {
    pub fn fold(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x100_0000_01b3);
        self.0 ^= self.0 >> 29;
    }

    pub fn fold_all(&mut self, words: [u64; 3]) {
        words.into_iter().for_each(|word| self.fold(word));
    }
}

/// A text is folded byte by byte.
impl fmt::Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.fold(byte as u64));
        Ok(())
    }
}
