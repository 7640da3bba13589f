// SPDX-License-Identifier: GPL-2.0

//! A read-write semaphore around a value; the kernel crate has none yet.

use crate::bindings;
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ops::DerefMut;
use kernel::prelude::*;
use kernel::types::NotThreadSafe;
use kernel::types::Opaque;

/// Many readers or one writer. Taking it may sleep.
///
/// # Invariants
///
/// `raw` is initialised and pinned.
#[pin_data]
pub(crate) struct RwSemaphore<T> {
    #[pin]
    raw: Opaque<kernel::bindings::rw_semaphore>,
    data: UnsafeCell<T>,
}

// SAFETY: A semaphore has no thread affinity while nobody holds it.
unsafe impl<T: Send> Send for RwSemaphore<T> {}
// SAFETY: Readers share the data, a writer has it alone.
unsafe impl<T: Send + Sync> Sync for RwSemaphore<T> {}

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

    /// Waits until there is no writer.
    pub(crate) fn read(&self) -> ReadGuard<'_, T> {
        // SAFETY: By the type's invariant.
        unsafe { kernel::bindings::down_read(self.raw.get()) };
        ReadGuard(self, PhantomData)
    }

    /// Waits until there is nobody else.
    pub(crate) fn write(&self) -> WriteGuard<'_, T> {
        // SAFETY: By the type's invariant.
        unsafe { kernel::bindings::down_write(self.raw.get()) };
        WriteGuard(self, PhantomData)
    }
}

/// The value may be read while this lives.
pub(crate) struct ReadGuard<'a, T>(&'a RwSemaphore<T>, NotThreadSafe);

impl<T> Drop for ReadGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: The guard is the proof that it is held for reading.
        unsafe { kernel::bindings::up_read(self.0.raw.get()) };
    }
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: It is held for reading, so nobody writes.
        unsafe { &*self.0.data.get() }
    }
}

/// The value may be changed while this lives.
pub(crate) struct WriteGuard<'a, T>(&'a RwSemaphore<T>, NotThreadSafe);

impl<T> Drop for WriteGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: The guard is the proof that it is held for writing.
        unsafe { kernel::bindings::up_write(self.0.raw.get()) };
    }
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: It is held for writing, so nobody else is there.
        unsafe { &*self.0.data.get() }
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: As above, and the guard is borrowed exclusively.
        unsafe { &mut *self.0.data.get() }
    }
}
