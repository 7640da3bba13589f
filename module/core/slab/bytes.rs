// SPDX-License-Identifier: GPL-2.0

//! What is in an object, for those who have no pointer to it.
//!
//! ```text
//!      a slab
//! ┌──────────────────────────────────────────────────┐
//! │   │ red │ object, its owner's    │ red │   │      │
//! └──────────────────────────────────────────────────┘
//!           ├── read ──────────────┤
//!  ├── written, if beyond is allowed ──────────────────┤
//! ```
//!
//! Memory is read and written by words, as everybody does who shares it; a part
//! of a word that is not written is written as it was a moment ago.

use super::allocator::ObjectAllocator;
use super::holdings::Holding;
use super::object::CacheId;
use super::object::ObjAddr;
use crate::buddy::PageAllocator;
use crate::error::Error;
use crate::error::Result;
use crate::page::PageDescriptor;
use crate::page::PageState;
use crate::phys::Bytes;
use crate::phys::PhysAddr;
use crate::phys::Region;
use crate::sparse::Sparse;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// Bytes in a word.
const WORD: u64 = 8;

/// A way to the bytes of objects.
pub struct ObjectBytes<'a, 'm, A, O: ?Sized> {
    /// The memory.
    pub region: &'m Region<'m>,
    /// Its pages.
    pub map: &'a Sparse<'m>,
    /// Whose pages they are.
    pub pages: &'a A,
    /// Who knows how large an object is.
    pub objects: &'a O,
}

impl<A: PageAllocator, O: ObjectAllocator + ?Sized> ObjectBytes<'_, '_, A, O> {
    /// How many bytes are the object's own, asked for or not: debugging is to find who
    /// writes to those that were not, so nobody counts as told of them here.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchCache`], and those of [`ObjectAllocator::usable`].
    pub fn own(&self, holding: Holding) -> Result<Bytes> {
        match holding.cache {
            None => self.objects.usable(holding.object),
            Some(cache) => {
                let report = self.objects.report(cache).ok_or(Error::NoSuchCache)?;
                Ok(Bytes(report.geometry.object_size.into()))
            }
        }
    }

    /// Reads from an object, from byte `offset` on.
    ///
    /// # Errors
    ///
    /// [`Error::OutsideObject`] where that is not all its own, and those of
    /// [`ObjectBytes::own`].
    pub fn read(&self, holding: Holding, offset: i64, into: &mut [u8]) -> Result<()> {
        let at = inside(self.own(holding)?, offset, into.len())?;
        self.get(PhysAddr(holding.object.get().wrapping_add(at)), into)
    }

    /// Writes to an object, from byte `offset` on, which with `beyond` may lie
    /// outside of it, as far as its slab reaches.
    ///
    /// # Errors
    ///
    /// As above, and [`Error::NotPermitted`] where only `beyond` would do.
    pub fn write(&self, holding: Holding, offset: i64, from: &[u8], beyond: bool) -> Result<()> {
        match inside(self.own(holding)?, offset, from.len()) {
            Ok(at) => self.set(PhysAddr(holding.object.get().wrapping_add(at)), from),
            Err(_) => {
                let place = self.in_slab(holding.object, offset, from.len())?;
                if !beyond {
                    return Err(Error::NotPermitted);
                }
                self.set(place, from)
            }
        }
    }

    /// Writes to where an object of `cache` is or was.
    ///
    /// # Errors
    ///
    /// [`Error::OutsideObject`], and [`Error::NotAnObject`] where there is no
    /// slab of that cache.
    pub fn write_anywhere(
        &self,
        cache: CacheId,
        object: ObjAddr,
        offset: i64,
        from: &[u8],
    ) -> Result<()> {
        let page = self.map.page(object.pfn());
        if page.and_then(PageDescriptor::slab_cache) != Some(cache.get()) {
            return Err(Error::NotAnObject);
        }
        let place = self.in_slab(object, offset, from.len())?;
        self.set(place, from)
    }

    /// The address of the bytes, if they lie in the slab, or the block of pages,
    /// that the object lies in.
    fn in_slab(&self, object: ObjAddr, offset: i64, len: usize) -> Result<PhysAddr> {
        let block = self.pages.block_of(object.pfn());
        let block = block.ok_or(Error::OutsideObject)?;
        if !matches!(block.state, PageState::Allocated | PageState::Slab) {
            return Err(Error::OutsideObject);
        }
        let start = block.head.addr().0;
        let from_start = object.get().wrapping_sub(start) as i64;
        let offset = offset.checked_add(from_start).ok_or(Error::OutsideObject)?;
        let at = inside(block.order.pages().bytes(), offset, len)?;
        Ok(PhysAddr(start.wrapping_add(at)))
    }

    /// Shows the words that `len` bytes from `at` lie in: the word, where in it
    /// they begin, and which of the bytes they are.
    fn words(
        &self,
        at: PhysAddr,
        len: usize,
        mut each: impl FnMut(&AtomicU64, usize, core::ops::Range<usize>),
    ) -> Result<()> {
        let mut done = 0;
        while done < len {
            let here = at.0.wrapping_add(done as u64);
            let skip = (here % WORD) as usize;
            let window = self.region.window(PhysAddr(here));
            let window = window.ok_or(Error::OutsideObject)?;
            let word = window.cells::<AtomicU64>(PhysAddr(here - skip as u64));
            let word = word.ok_or(Error::OutsideObject)?;
            let end = len.min(done + WORD as usize - skip);
            each(word, skip, done..end);
            done = end;
        }
        Ok(())
    }

    fn get(&self, at: PhysAddr, into: &mut [u8]) -> Result<()> {
        self.words(at, into.len(), |word, skip, range| {
            let bytes = word.load(Relaxed).to_ne_bytes();
            let part = into.get_mut(range).unwrap_or_default();
            for (byte, there) in part.iter_mut().zip(bytes.iter().skip(skip)) {
                *byte = *there;
            }
        })
    }

    fn set(&self, at: PhysAddr, from: &[u8]) -> Result<()> {
        self.words(at, from.len(), |word, skip, range| {
            let mut bytes = word.load(Relaxed).to_ne_bytes();
            let part = from.get(range).unwrap_or_default();
            for (there, byte) in bytes.iter_mut().skip(skip).zip(part) {
                *there = *byte;
            }
            word.store(u64::from_ne_bytes(bytes), Relaxed);
        })
    }
}

/// `offset`, if `len` bytes from there on lie among `size`.
fn inside(size: Bytes, offset: i64, len: usize) -> Result<u64> {
    let at = u64::try_from(offset).map_err(|_| Error::OutsideObject)?;
    let end = at.checked_add(len as u64);
    if len > 0 && end.is_some_and(|end| end <= size.0) {
        Ok(at)
    } else {
        Err(Error::OutsideObject)
    }
}
