// SPDX-License-Identifier: GPL-2.0

//! A counted C array, laid out as `struct memblock_type` is.
//!
//! The pointer to the elements and the two lengths stand in one struct whose
//! fields only this file can touch, so the lengths can be trusted wherever
//! the elements are reached.

use super::Bytes;
use crate::slices;
use core::ffi::c_char;
use core::ffi::CStr;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;

/// A growing array of `T` in storage that is lent to it for `'m`.
///
/// The layout is that of `struct memblock_type` for its `T`: `cnt`, `max`,
/// `total_size`, `regions`, `name`.
///
/// # Invariants
///
/// `regions` points to `max` initialised `T`, exclusively borrowed for `'m`;
/// `cnt <= max`.
#[repr(C)]
pub struct CTable<'m, T> {
    cnt: usize,
    max: usize,
    /// The sum of the elements' sizes. The owner of the table keeps it.
    pub total_size: Bytes,
    regions: NonNull<T>,
    name: CName,
    _storage: PhantomData<&'m mut [T]>,
}

// SAFETY: A table is an exclusive borrow of a slice, which may cross threads
// whenever its elements may.
unsafe impl<T: Send> Send for CTable<'_, T> {}
// SAFETY: Shared access to a table only hands out shared slices.
unsafe impl<T: Sync> Sync for CTable<'_, T> {}

impl<'m, T: Copy> CTable<'m, T> {
    /// An empty table that keeps its elements in `storage`.
    pub fn new(storage: &'m mut [T], name: CName) -> Self {
        // INVARIANT: The slice is exclusively borrowed for 'm, `max` is its
        // length, and 0 is at most any length.
        Self {
            cnt: 0,
            max: storage.len(),
            total_size: Bytes::ZERO,
            regions: NonNull::from(storage).cast(),
            name,
            _storage: PhantomData,
        }
    }

    /// How many elements there are.
    pub fn cnt(&self) -> usize {
        self.cnt
    }

    /// How many elements the storage holds.
    pub fn max(&self) -> usize {
        self.max
    }

    /// The table's name.
    pub fn name(&self) -> &'static str {
        self.name.as_str()
    }

    /// The elements.
    pub fn as_slice(&self) -> &[T] {
        // SAFETY: `cnt <= max`, and `max` elements are there and borrowed.
        unsafe { core::slice::from_raw_parts(self.regions.as_ptr(), self.cnt) }
    }

    /// The elements, to be changed in place.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: As in `as_slice`; `&mut self` makes the access exclusive.
        unsafe { core::slice::from_raw_parts_mut(self.regions.as_ptr(), self.cnt) }
    }

    /// Puts `element` before the one at `index` (at the end, if `index` is the
    /// count). Returns false, and changes nothing, when the storage is full or
    /// `index` lies behind the end.
    pub fn insert(&mut self, index: usize, element: T) -> bool {
        if self.cnt >= self.max || index > self.cnt {
            return false;
        }
        // INVARIANT: `cnt < max` was just checked.
        self.cnt += 1;
        slices::insert(self.as_mut_slice(), index, element);
        true
    }

    /// Takes the element at `index` out and closes the gap.
    pub fn remove(&mut self, index: usize) -> Option<T> {
        let element = slices::remove(self.as_mut_slice(), index)?;
        self.cnt -= 1;
        Some(element)
    }

    /// Drops all elements behind the first `cnt`.
    pub fn truncate(&mut self, cnt: usize) {
        self.cnt = self.cnt.min(cnt);
    }

    /// Moves the elements to larger storage and gives the old storage back, or
    /// gives `storage` back as the error when it is too small for them.
    pub fn replace_storage(&mut self, storage: &'m mut [T]) -> Result<&'m mut [T], &'m mut [T]> {
        let Some(head) = storage.get_mut(..self.cnt) else {
            return Err(storage);
        };
        head.copy_from_slice(self.as_slice());
        let old = self.regions;
        let old_max = self.max;
        // INVARIANT: The new slice is exclusively borrowed for 'm, `max` is its
        // length, and it was just found to hold `cnt` elements.
        self.max = storage.len();
        self.regions = NonNull::from(storage).cast();
        // SAFETY: By the invariant until a moment ago, and the table has
        // forgotten it now, so nobody else can reach the old storage.
        Ok(unsafe { core::slice::from_raw_parts_mut(old.as_ptr(), old_max) })
    }
}

/// The `char *` name of a C struct: one machine word.
///
/// # Invariants
///
/// Points to a NUL-terminated string that lives for ever.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct CName(NonNull<c_char>);

// SAFETY: The string is never written and never freed.
unsafe impl Send for CName {}
// SAFETY: As above.
unsafe impl Sync for CName {}

// Only the kernel's settings disallow these, for its `char`, which core does not name.
#[allow(clippy::disallowed_methods)]
impl CName {
    /// The field that points to `name`.
    pub const fn new(name: &'static CStr) -> Self {
        // SAFETY: A reference's pointer is not null. The cast to `*mut` is for
        // the layout alone: nothing writes through it.
        // INVARIANT: A `CStr` is NUL-terminated, and this one is 'static.
        Self(unsafe { NonNull::new_unchecked(name.as_ptr().cast_mut()) })
    }

    /// The name; empty if it is not UTF-8.
    pub fn as_str(self) -> &'static str {
        // SAFETY: By the type's invariant.
        let name = unsafe { CStr::from_ptr(self.0.as_ptr()) };
        name.to_str().unwrap_or("")
    }
}

impl fmt::Debug for CName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
