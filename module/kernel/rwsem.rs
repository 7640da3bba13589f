// SPDX-License-Identifier: GPL-2.0

//! Read-write semaphores around a value; the kernel crate has none yet. What is common
//! to all kinds is here, with the plain one; `percpu_rwsem.rs` has the other.

use crate::bindings;
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ops::DerefMut;
use kernel::bindings::rw_semaphore;
use kernel::prelude::*;
use kernel::types::NotThreadSafe;
use kernel::types::Opaque;

/// A semaphore of the kernel's.
///
/// # Safety
///
/// Between the two calls for reading nobody is between those for writing, and between
/// these nobody else is anywhere.
pub(crate) unsafe trait Raw {
    /// Waits until there is no writer.
    ///
    /// # Safety
    ///
    /// `this` is initialised and pinned; so for all of these.
    unsafe fn down_read(this: *mut Self);
    /// # Safety
    ///
    /// The caller has it for reading.
    unsafe fn up_read(this: *mut Self);
    /// Waits until there is nobody else.
    ///
    /// # Safety
    ///
    /// As for reading.
    unsafe fn down_write(this: *mut Self);
    /// # Safety
    ///
    /// The caller has it for writing.
    unsafe fn up_write(this: *mut Self);
    /// Gives back what it has of its own.
    ///
    /// # Safety
    ///
    /// Nobody holds it any more.
    unsafe fn destroy(_this: *mut Self) {}
}

// SAFETY: It is what a read-write semaphore is.
unsafe impl Raw for rw_semaphore {
    unsafe fn down_read(this: *mut Self) {
        // SAFETY: By this function's own.
        unsafe { kernel::bindings::down_read(this) }
    }

    unsafe fn up_read(this: *mut Self) {
        // SAFETY: By this function's own.
        unsafe { kernel::bindings::up_read(this) }
    }

    unsafe fn down_write(this: *mut Self) {
        // SAFETY: By this function's own.
        unsafe { kernel::bindings::down_write(this) }
    }

    unsafe fn up_write(this: *mut Self) {
        // SAFETY: By this function's own.
        unsafe { kernel::bindings::up_write(this) }
    }
}

/// Many readers or one writer. Taking it may sleep.
///
/// # Invariants
///
/// `raw` is initialised and pinned.
#[pin_data(PinnedDrop)]
pub(crate) struct Semaphore<R: Raw, T> {
    #[pin]
    pub(crate) raw: Opaque<R>,
    pub(crate) data: UnsafeCell<T>,
}

/// The plain kind.
pub(crate) type RwSemaphore<T> = Semaphore<rw_semaphore, T>;

// SAFETY: A semaphore has no thread affinity while nobody holds it.
unsafe impl<R: Raw, T: Send> Send for Semaphore<R, T> {}
// SAFETY: Readers share the data, a writer has it alone.
unsafe impl<R: Raw, T: Send + Sync> Sync for Semaphore<R, T> {}

impl<T> RwSemaphore<T> {
    /// A free semaphore around `data`.
    pub(crate) fn new(data: T) -> impl PinInit<Self> {
        pin_init!(Self {
            raw <- Opaque::ffi_init(|slot| {
                // SAFETY: The slot is valid for writing and pinned.
                unsafe { bindings::shadowmm_init_rwsem(slot) }
            }),
            data: UnsafeCell::new(data),
        })
    }
}

impl<R: Raw, T> Semaphore<R, T> {
    /// Waits until there is no writer.
    #[inline]
    pub(crate) fn read(&self) -> ReadGuard<'_, R, T> {
        // SAFETY: By the type's invariant.
        unsafe { R::down_read(self.raw.get()) };
        ReadGuard(self, PhantomData)
    }

    /// Waits until there is nobody else.
    pub(crate) fn write(&self) -> WriteGuard<'_, R, T> {
        // SAFETY: By the type's invariant.
        unsafe { R::down_write(self.raw.get()) };
        WriteGuard(self, PhantomData)
    }
}

#[pinned_drop]
impl<R: Raw, T> PinnedDrop for Semaphore<R, T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type's invariant, and nobody holds it any more.
        unsafe { R::destroy(self.raw.get()) };
    }
}

/// The value may be read while this lives.
pub(crate) struct ReadGuard<'a, R: Raw, T>(&'a Semaphore<R, T>, NotThreadSafe);

impl<R: Raw, T> Drop for ReadGuard<'_, R, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The guard is the proof that it is held for reading.
        unsafe { R::up_read(self.0.raw.get()) };
    }
}

impl<R: Raw, T> Deref for ReadGuard<'_, R, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: It is held for reading, so nobody writes.
        unsafe { &*self.0.data.get() }
    }
}

/// The value may be changed while this lives.
pub(crate) struct WriteGuard<'a, R: Raw, T>(&'a Semaphore<R, T>, NotThreadSafe);

impl<R: Raw, T> Drop for WriteGuard<'_, R, T> {
    fn drop(&mut self) {
        // SAFETY: The guard is the proof that it is held for writing.
        unsafe { R::up_write(self.0.raw.get()) };
    }
}

impl<R: Raw, T> Deref for WriteGuard<'_, R, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: It is held for writing, so nobody else is there.
        unsafe { &*self.0.data.get() }
    }
}

impl<R: Raw, T> DerefMut for WriteGuard<'_, R, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: As above, and the guard is borrowed exclusively.
        unsafe { &mut *self.0.data.get() }
    }
}
