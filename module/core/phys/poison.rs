// SPDX-License-Identifier: GPL-2.0

//! The memory behind pages that are nobody's: to be watched by the surroundings,
//! or filled with a pattern that is looked for when they are given out again
//! (`mm/kasan`, `mm/page_poison.c`).

use super::PhysAddr;
use super::PhysRange;
use super::Region;
use crate::platform::Platform;
use core::mem;
use core::ptr::NonNull;

/// What free pages are filled with (`PAGE_POISON`).
const PAGE_POISON: u8 = 0xaa;

/// Eight of them.
const PATTERN: u64 = u64::from_ne_bytes([PAGE_POISON; 8]);

impl Region<'_> {
    /// Calls `each` with the host memory behind `range`, piece by piece, its
    /// shadow address and its bytes. What is no RAM is left out.
    fn for_each_piece(&self, range: PhysRange, mut each: impl FnMut(PhysAddr, NonNull<u8>, usize)) {
        let mut at = range.start;
        while at < range.end {
            let part = self.part(at, range.end);
            let found = part.and_then(|part| Some((part, self.pointer(part)?)));
            let Some((part, pointer)) = found else { return };
            each(at, pointer, part.size().0 as usize);
            at = part.end;
        }
    }

    /// Tells the surroundings that nobody may touch `range`, or that its new owner
    /// may ([`Platform::watch`]).
    pub(crate) fn watch(&self, platform: &impl Platform, range: PhysRange, free: bool) {
        self.for_each_piece(range, |_, pointer, bytes| {
            platform.watch(pointer, bytes, free);
        });
    }

    /// Fills `range`, whole pages that are nobody's, with the pattern
    /// (`poison_page`). What is placed is left alone.
    pub(crate) fn fill_poison(&self, range: PhysRange) {
        if self.is_placed(range) {
            return;
        }
        self.for_each_piece(range, |_, pointer, bytes| {
            // SAFETY: The piece lies inside one segment, whose memory nobody
            // outside the region touches, and no reference leads into it,
            // because nothing is placed there.
            unsafe { pointer.write_bytes(PAGE_POISON, bytes) };
        });
    }

    /// Where `range`, whole pages that were filled, is not as it was left: from the
    /// first word that has changed to the last one's end (`check_poison_mem`).
    pub(crate) fn find_unpoisoned(&self, range: PhysRange) -> Option<PhysRange> {
        const WORD: u64 = mem::size_of::<u64>() as u64;
        let mut found: Option<PhysRange> = None;
        self.for_each_piece(range, |start, pointer, bytes| {
            let words: NonNull<u64> = pointer.cast();
            for i in 0..bytes / mem::size_of::<u64>() {
                // SAFETY: As above. The piece is whole pages, hence aligned.
                // Volatile, because whoever should not write there may do so now.
                if unsafe { words.add(i).read_volatile() } != PATTERN {
                    let at = PhysAddr(start.0.saturating_add(WORD.saturating_mul(i as u64)));
                    let first = found.map_or(at, |range| range.start);
                    found = Some(PhysRange {
                        start: first,
                        end: PhysAddr(at.0.saturating_add(WORD)),
                    });
                }
            }
        });
        found
    }

    /// The word at `addr`, whatever is there; `None` where there is no RAM.
    pub(crate) fn peek(&self, addr: PhysAddr) -> Option<u64> {
        let end = PhysAddr(addr.0.checked_add(mem::size_of::<u64>() as u64)?);
        let pointer = self.pointer(PhysRange { start: addr, end })?;
        // SAFETY: The word lies inside one segment. Read as it may come:
        // somebody may write to it meanwhile.
        Some(unsafe { pointer.cast::<u64>().read_unaligned() })
    }

    /// Writes a byte to a page, whosever it is: the misuse that is looked for.
    /// `plain` is a race with whoever else accesses it now, and for that alone.
    /// Whether there is RAM where nothing is placed.
    pub fn misuse(&self, addr: PhysAddr, byte: u8, plain: bool) -> bool {
        let Some(end) = addr.0.checked_add(1).map(PhysAddr) else {
            return false;
        };
        let range = PhysRange { start: addr, end };
        let Some(pointer) = self.pointer(range).filter(|_| !self.is_placed(range)) else {
            return false;
        };
        // SAFETY: The byte lies inside one segment, and no reference leads to it but
        // to cells, because nothing is placed there: it is no worse than what a
        // process writes to a page that it has mapped still.
        // A plain write is what KCSAN is to see, in kernels that have it.
        unsafe {
            if plain {
                pointer.write(byte);
            } else {
                pointer.write_volatile(byte);
            }
        }
        true
    }
}
