// SPDX-License-Identifier: GPL-2.0

//! What a state or a list of results is, as one number. `driver.c` has the same.

use shadowmm_core::memblock::EarlyMemory;
use shadowmm_core::memblock::Memblock;
use shadowmm_core::memblock::MemblockKind;
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

    /// Both arrays, where they lie, and how often Linux would have warned.
    pub fn fold_state(&mut self, early: &EarlyMemory<'_, '_>) {
        for kind in [MemblockKind::Memory, MemblockKind::Reserved] {
            let place = early.array_range(kind).map_or(0, |r| r.start.0);
            self.fold_table(early, kind, Some(place));
        }
        let warnings = early.warnings();
        self.fold(warnings.node_mismatch + warnings.flags_mismatch + warnings.leftover_size);
    }

    /// Both arrays.
    pub fn fold_retired(&mut self, memblock: &Memblock<'_>) {
        self.fold_table(memblock, MemblockKind::Memory, None);
        self.fold_table(memblock, MemblockKind::Reserved, None);
    }

    fn fold_table(&mut self, memblock: &Memblock<'_>, kind: MemblockKind, place: Option<u64>) {
        let table = memblock.table(kind);
        self.fold_all([table.cnt() as u64, table.max() as u64, table.total_size.0]);
        place.into_iter().for_each(|place| self.fold(place));
        for region in table.as_slice() {
            let nid = region.nid.0 as u32 as u64;
            let marks = ((region.flags.0 as u64) << 32) | nid;
            self.fold_all([region.base.0, region.size.0, marks]);
        }
    }
}

/// A text is folded byte by byte.
impl fmt::Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.fold(byte as u64));
        Ok(())
    }
}
