// SPDX-License-Identifier: GPL-2.0

//! Structures in pages that the page allocator has given out.
//!
//! What is placed ([`Region::place`](super::Region::place)) stays for ever, and
//! so it may hold references and needs no care. A structure in a page that was
//! allocated may be read while somebody frees the page by mistake, while
//! another takes it, or while a process that had it mapped writes to it. Hence
//! such a structure is made of **cells**: atomics alone, for which every pattern
//! of bits is a value. A reference to cells is sound wherever it leads in memory
//! that nothing is placed in, whatever happens there; what the cells say is to be
//! doubted, no more.
//!
//! ```text
//! cells! { pub struct X { a: AtomicU32, b: [AtomicU64; 4] } }
//!
//! Region --window()-->  Window    RAM in one piece of host memory, between what
//!                       |         is placed
//!                       |-- cells::<X>(addr)   -> Option<&X>
//!                       |-- slice::<X>(range)  -> Option<&[X]>
//!
//! CellSlot, CellsSlot   remember such references, in memory of any kind
//! ```

use super::Bytes;
use super::PhysAddr;
use super::PhysRange;
use core::marker::PhantomData;
use core::mem;
use core::ptr;
use core::ptr::NonNull;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::AtomicU16;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::AtomicU8;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::Release;

/// What is made of atomics alone.
///
/// # Safety
///
/// Every pattern of bits is a value, all of it is atomics, and nothing is done
/// when it is dropped.
pub unsafe trait Cells: Sync {}

// SAFETY: They are atomics of integers.
unsafe impl Cells for AtomicU8 {}
// SAFETY: As above.
unsafe impl Cells for AtomicU16 {}
// SAFETY: As above.
unsafe impl Cells for AtomicU32 {}
// SAFETY: As above.
unsafe impl Cells for AtomicU64 {}
// SAFETY: It is cells alone.
unsafe impl<T: Cells, const N: usize> Cells for [T; N] {}

/// Makes a structure of cells.
macro_rules! cells {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$meta])*
        #[repr(C)]
        $vis struct $name {
            $($(#[$field_meta])* $field_vis $field: $type,)*
        }

        // SAFETY: All fields are cells, as is checked below, and there is no
        // `Drop` for it: that would forbid `needs_drop` to be false.
        unsafe impl $crate::phys::Cells for $name {}

        const _: () = {
            const fn is_cells<T: $crate::phys::Cells>() {}
            $(is_cells::<$type>();)*
            assert!(!core::mem::needs_drop::<$name>());
        };
    };
}
pub(crate) use cells;

/// A stretch of RAM that lies in one piece of host memory and in which nothing is
/// placed.
///
/// # Invariants
///
/// `base` leads to `size` bytes that live for `'m`, to no byte of which a
/// reference is handed out during `'m` but to cells.
#[derive(Clone, Copy)]
pub struct Window<'m> {
    base: NonNull<u8>,
    start: u64,
    size: u64,
    _memory: PhantomData<&'m [AtomicU64]>,
}

// SAFETY: It gives out references to atomics alone.
unsafe impl Send for Window<'_> {}
// SAFETY: As above.
unsafe impl Sync for Window<'_> {}

impl<'m> Window<'m> {
    /// No memory.
    pub const EMPTY: Self = Self {
        base: NonNull::dangling(),
        start: 0,
        size: 0,
        _memory: PhantomData,
    };

    /// The window onto `range`.
    ///
    /// # Safety
    ///
    /// `base` leads to as many bytes, and they are as the type's invariants
    /// demand.
    pub(super) unsafe fn new(base: NonNull<u8>, range: PhysRange) -> Self {
        // INVARIANT: By the caller's promise.
        Self {
            base,
            start: range.start.0,
            size: range.size().0,
            _memory: PhantomData,
        }
    }

    /// What can be seen through it.
    #[inline]
    pub fn range(&self) -> PhysRange {
        PhysRange::new(PhysAddr(self.start), Bytes(self.size))
    }

    /// The memory from `addr` on, if `size` bytes of it are in the window.
    #[inline]
    fn pointer(&self, addr: PhysAddr, size: u64) -> Option<NonNull<u8>> {
        let offset = addr.0.wrapping_sub(self.start);
        if offset >= self.size || size > self.size - offset {
            return None;
        }
        // SAFETY: The offset is inside.
        Some(unsafe { self.base.add(offset as usize) })
    }

    /// Fills a range with zeroes; whether it is all in the window. The caller owns that
    /// memory, and nobody refers to cells in it.
    #[inline]
    pub fn zero(&self, range: PhysRange) -> bool {
        let size = range.size().0;
        let Some(pointer) = self.pointer(range.start, size) else {
            return false;
        };
        // SAFETY: All of it is inside, any pattern of bits is a value of cells, and who
        // else touches it does so through a mapping, by the caller's promise.
        unsafe { pointer.write_bytes(0, size as usize) };
        true
    }

    /// Copies a range to `to` in another window, or in this one, which the range does not
    /// overlap; whether both are all inside. The caller owns both, as for
    /// [`Window::zero`].
    #[inline]
    pub fn copy(&self, range: PhysRange, other: &Window<'_>, to: PhysAddr) -> bool {
        let size = range.size().0;
        let overlaps = !range.intersect(PhysRange::new(to, range.size())).is_empty();
        let places = (self.pointer(range.start, size), other.pointer(to, size));
        let ((Some(from), Some(into)), false) = (places, overlaps) else {
            return false;
        };
        // SAFETY: Both are inside for `size` bytes; different shadow addresses are
        // different memory. The rest as in `zero`.
        unsafe { from.copy_to_nonoverlapping(into, size as usize) };
        true
    }

    /// The cells at an address; `None` where they are not all in the window, or
    /// not aligned.
    #[inline]
    pub fn cells<T: Cells>(&self, addr: PhysAddr) -> Option<&'m T> {
        let pointer: NonNull<T> = self.pointer(addr, mem::size_of::<T>() as u64)?.cast();
        if !pointer.is_aligned() {
            return None;
        }
        // SAFETY: It is aligned and all inside; the memory lives for 'm, any
        // pattern of bits in it is a value, and who else refers to it does so as
        // to atomics, by the invariant.
        Some(unsafe { pointer.as_ref() })
    }

    /// All of it as cells of one kind, side by side from its start on; none where that
    /// is not aligned for them.
    #[inline(always)]
    pub fn all<T: Cells>(&self) -> &'m [T] {
        let base: NonNull<T> = self.base.cast();
        if !base.is_aligned() {
            return &[];
        }
        let len = self.size as usize / mem::size_of::<T>().max(1);
        // SAFETY: As in `cells`, for as many as there is room for.
        unsafe { core::slice::from_raw_parts(base.as_ptr(), len) }
    }

    /// The cells that fill the start of a range; the same.
    #[inline]
    pub fn slice<T: Cells>(&self, range: PhysRange) -> Option<&'m [T]> {
        let len = range.size().0 as usize / mem::size_of::<T>().max(1);
        let pointer: NonNull<T> = self.pointer(range.start, range.size().0)?.cast();
        if !pointer.is_aligned() {
            return None;
        }
        // SAFETY: As in `cells`, for `len` of them.
        Some(unsafe { core::slice::from_raw_parts(pointer.as_ptr(), len) })
    }
}

/// References of neither a longer nor a shorter life go in and come out.
type Lends<'m, T> = PhantomData<fn(&'m T) -> &'m T>;

/// A place for a reference to cells, which anybody may look at while another
/// changes it.
///
/// # Invariants
///
/// The pointer is null or a `&'m T`.
pub struct CellSlot<'m, T> {
    pointer: AtomicPtr<T>,
    _lends: Lends<'m, T>,
}

impl<'m, T: Cells> CellSlot<'m, T> {
    /// No reference.
    pub const fn new() -> Self {
        // INVARIANT: Null.
        Self {
            pointer: AtomicPtr::new(ptr::null_mut()),
            _lends: PhantomData,
        }
    }

    /// The reference, if there is one.
    #[inline]
    pub fn get(&self) -> Option<&'m T> {
        let pointer = self.pointer.load(Acquire);
        // SAFETY: By the invariant.
        unsafe { pointer.cast_const().as_ref() }
    }

    /// Has another reference, or none.
    pub fn set(&self, to: Option<&'m T>) {
        let pointer = to.map_or(ptr::null(), |to| to);
        // INVARIANT: Null, or what was just lent for 'm.
        self.pointer.store(pointer.cast_mut(), Release);
    }
}

impl<T: Cells> Default for CellSlot<'_, T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A place that always has a reference to cells.
///
/// # Invariants
///
/// The pointer is a `&'m T`.
pub struct CellRef<'m, T> {
    pointer: AtomicPtr<T>,
    _lends: Lends<'m, T>,
}

impl<'m, T: Cells> CellRef<'m, T> {
    /// With this reference.
    pub const fn new(to: &'m T) -> Self {
        // INVARIANT: It was just lent for 'm.
        Self {
            pointer: AtomicPtr::new((&raw const *to).cast_mut()),
            _lends: PhantomData,
        }
    }

    /// The reference.
    #[inline(always)]
    pub fn get(&self) -> &'m T {
        // SAFETY: By the invariant.
        unsafe { &*self.pointer.load(Acquire) }
    }

    /// Has another one.
    pub fn set(&self, to: &'m T) {
        // INVARIANT: It was just lent for 'm.
        self.pointer.store((&raw const *to).cast_mut(), Release);
    }
}

/// A place for a reference to a slice of cells. All that ever go into it have one
/// length.
///
/// # Invariants
///
/// The pointer is null or that of a `&'m [T]` whose length is `len`, which has not
/// changed since it was not 0.
pub struct CellsSlot<'m, T> {
    pointer: AtomicPtr<T>,
    len: AtomicUsize,
    _lends: Lends<'m, [T]>,
}

impl<'m, T: Cells> CellsSlot<'m, T> {
    /// No reference.
    pub const fn new() -> Self {
        // INVARIANT: Null.
        Self {
            pointer: AtomicPtr::new(ptr::null_mut()),
            len: AtomicUsize::new(0),
            _lends: PhantomData,
        }
    }

    /// The slice; empty where there is none.
    #[inline]
    pub fn get(&self) -> &'m [T] {
        let pointer = self.pointer.load(Acquire);
        if pointer.is_null() {
            return &[];
        }
        // SAFETY: By the invariant; the length was there before the pointer.
        unsafe { core::slice::from_raw_parts(pointer, self.len.load(Relaxed)) }
    }

    /// Has another slice, or an empty one; whether it could. It can't when the
    /// slice has another length than the one before.
    pub fn set(&self, to: &'m [T]) -> bool {
        if to.is_empty() {
            self.pointer.store(ptr::null_mut(), Release);
            return true;
        }
        let first = self
            .len
            .compare_exchange(0, to.len(), Relaxed, Relaxed)
            .unwrap_or_else(|len| len);
        if first != 0 && first != to.len() {
            return false;
        }
        // INVARIANT: The length is that of the slice, and stays so.
        self.pointer.store(to.as_ptr().cast_mut(), Release);
        true
    }
}

impl<T: Cells> Default for CellsSlot<'_, T> {
    fn default() -> Self {
        Self::new()
    }
}
