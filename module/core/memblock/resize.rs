// SPDX-License-Identifier: GPL-2.0

//! Doubling a full array inside the memory that memblock itself describes
//! (`memblock_double_array`).
//!
//! ```text
//! 1. find a free range for twice the entries: for `reserved`, above the range
//!    that is about to be reserved, else below it
//! 2. move the regions there
//! 3. end the reservation of the old array, if memblock had given it
//! 4. reserve the new one
//! ```
//!
//! Step 4 comes last because it may be the reserved array itself that was
//! full; step 3 and 4 may in turn double the other array.

use super::EarlyMemory;
use super::MemblockKind;
use super::MemblockRegion;
use super::ALLOC_ACCESSIBLE;
use crate::error::Error;
use crate::error::Result;
use crate::phys::placed_size;
use crate::phys::Bytes;
use crate::phys::PhysAddr;
use crate::phys::PhysRange;
use crate::phys::MAX_BACKING_RUNS;
use crate::phys::PAGE_SIZE;

const PAGE: Bytes = Bytes(PAGE_SIZE);

/// How many whole pages' bytes an array of `len` regions takes.
fn array_size(len: usize) -> Bytes {
    placed_size::<MemblockRegion>(len).pages_up().bytes()
}

impl EarlyMemory<'_, '_> {
    /// Where an array lies, if memblock gave it its place.
    pub fn array_range(&self, kind: MemblockKind) -> Option<PhysRange> {
        let base = match kind {
            MemblockKind::Memory => self.memory_array,
            MemblockKind::Reserved => self.reserved_array,
        }?;
        Some(PhysRange::new(base, array_size(self.table(kind).max())))
    }

    fn set_array(&mut self, kind: MemblockKind, base: Option<PhysAddr>) {
        match kind {
            MemblockKind::Memory => self.memory_array = base,
            MemblockKind::Reserved => self.reserved_array = base,
        }
    }

    /// Doubles an array. If it is `reserved`, the `size` bytes at `base` are
    /// about to be entered in it and are no place for it.
    ///
    /// # Errors
    ///
    /// [`Error::MemblockArrayFull`] when arrays may not be resized yet or no
    /// memory lies behind the addresses, [`Error::MemblockNoMemory`] when no
    /// free range is large enough. The array is as it was then.
    pub(super) fn double_array(
        &mut self,
        kind: MemblockKind,
        base: PhysAddr,
        size: Bytes,
    ) -> Result<()> {
        let len = self.table(kind).max().saturating_mul(2);
        if !self.can_resize || self.region.is_none() || len == 0 {
            return Err(Error::MemblockArrayFull);
        }
        let avoid = match kind {
            MemblockKind::Memory => PhysRange::default(),
            MemblockKind::Reserved => PhysRange::new(base, size),
        };
        let new = PhysRange::new(self.find_array_place(avoid, len)?, array_size(len));
        let old = self.array_range(kind);

        let Some(region) = self.region.as_deref_mut() else {
            return Err(Error::MemblockArrayFull);
        };
        let storage = region.place_slice(new, len, |_| MemblockRegion::EMPTY)?;
        let table = match kind {
            MemblockKind::Memory => &mut self.memblock.memory,
            MemblockKind::Reserved => &mut self.memblock.reserved,
        };
        let mut lent = Some(table.replace_storage(storage).map_err(|_| Error::Corrupt)?);
        self.set_array(kind, Some(new.start));

        if let Some(old) = old {
            if let (Some(region), Some(storage)) = (self.region.as_deref_mut(), lent.take()) {
                region.release(old, storage)?;
            }
            // As in Linux: if this fails, the old array's place is lost, and
            // nothing else.
            let _ = self.phys_free(old.start, old.size());
        }
        let reserved = self.reserve_kern(new.start, new.size());
        if reserved.is_err() {
            // Linux stops here (`BUG_ON`). The regions go back to where they were.
            if let Some(old) = old {
                let region = self.region.as_deref_mut().ok_or(Error::Corrupt)?;
                let len = len / 2;
                lent = Some(region.place_slice(old, len, |_| MemblockRegion::EMPTY)?);
                self.reserve_kern(old.start, old.size())?;
            }
            let storage = lent.ok_or(Error::Corrupt)?;
            let storage = self.table_mut(kind).replace_storage(storage);
            let storage = storage.map_err(|_| Error::Corrupt)?;
            self.set_array(kind, old.map(|old| old.start));
            let region = self.region.as_deref_mut().ok_or(Error::Corrupt)?;
            region.release(new, storage)?;
        }
        reserved
    }

    /// A free range for an array of `len` regions: above `avoid`, else below.
    fn find_array_place(&self, avoid: PhysRange, len: usize) -> Result<PhysAddr> {
        let limit = self.memblock.current_limit;
        let mut place = self.find_backed(avoid.end, limit, len);
        if place.is_none() && !avoid.is_empty() {
            place = self.find_backed(PhysAddr::ZERO, avoid.start.min(limit), len);
        }
        place.ok_or(Error::MemblockNoMemory)
    }

    /// `memblock_find_in_range()`, but goes on where a range can't hold an
    /// array: where two of the region's runs of host memory meet, or where the
    /// other array was just put and is not reserved yet.
    fn find_backed(&self, mut start: PhysAddr, mut end: PhysAddr, len: usize) -> Option<PhysAddr> {
        let region = self.region.as_deref()?;
        let size = array_size(len);
        // Page by page past each seam.
        let tries = size.pages_up().0.saturating_mul(MAX_BACKING_RUNS as u64);
        for _ in 0..tries {
            let found = self.find_in_range(start, end, size, PAGE)?;
            let range = PhysRange::new(found, size);
            if region.is_contiguous(range) && !region.is_placed(range) {
                return Some(found);
            }
            if self.memblock.bottom_up {
                start = range.start + PAGE;
            } else {
                end = range.end - PAGE;
            }
            // An empty search would read as one without an upper limit.
            if start.max(PhysAddr::ZERO + PAGE) >= end && end != ALLOC_ACCESSIBLE {
                return None;
            }
        }
        None
    }
}
