// SPDX-License-Identifier: GPL-2.0

//! A read-write semaphore whose readers touch nothing but their own CPU's memory.
//!
//! For what is read by every request and every page fault, and written once in a
//! while: a reader costs the same however many CPUs there are, a writer waits for
//! a grace period (`include/linux/percpu-rwsem.h`).

use crate::bindings;
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ops::DerefMut;
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::types::NotThreadSafe;
use kernel::types::Opaque;

/// Many readers or one writer. Taking it may sleep.
///
/// # Invariants
///
/// `raw` is initialised and pinned.
#[pin_data(PinnedDrop)]
pub(crate) struct PercpuRwSemaphore<T> {
    #[pin]
    raw: Opaque<kernel::bindings::percpu_rw_semaphore>,
    data: UnsafeCell<T>,
}

// SAFETY: A semaphore has no thread affinity while nobody holds it.
unsafe impl<T: Send> Send for PercpuRwSemaphore<T> {}
// SAFETY: Readers share the data, a writer has it alone.
unsafe impl<T: Send + Sync> Sync for PercpuRwSemaphore<T> {}

impl<T> PercpuRwSemaphore<T> {
    /// A free semaphore around `data`.
    pub(crate) fn new(data: T) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            raw <- Opaque::try_ffi_init(|slot| {
                // SAFETY: The slot is valid for writing and pinned.
                to_result(unsafe { bindings::shadowmm_percpu_init_rwsem(slot) })
            }),
            data: UnsafeCell::new(data),
        })
    }

    /// Waits until there is no writer.
    #[inline]
    pub(crate) fn read(&self) -> ReadGuard<'_, T> {
        // SAFETY: By the type's invariant.
        unsafe { bindings::shadowmm_percpu_down_read(self.raw.get()) };
        ReadGuard(self, PhantomData)
    }

    /// The value, for somebody within what a holder does.
    ///
    /// # Safety
    ///
    /// Somebody holds it, for reading at least, while the reference is used.
    pub(crate) unsafe fn held(&self) -> &T {
        // SAFETY: Nobody writes, by this function's own.
        unsafe { &*self.data.get() }
    }

    /// Waits until there is nobody else.
    pub(crate) fn write(&self) -> WriteGuard<'_, T> {
        // SAFETY: By the type's invariant.
        unsafe { kernel::bindings::percpu_down_write(self.raw.get()) };
        WriteGuard(self, PhantomData)
    }
}

#[pinned_drop]
impl<T> PinnedDrop for PercpuRwSemaphore<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type's invariant, and nobody holds it any more.
        unsafe { kernel::bindings::percpu_free_rwsem(self.raw.get()) };
    }
}

/// The value may be read while this lives.
pub(crate) struct ReadGuard<'a, T>(&'a PercpuRwSemaphore<T>, NotThreadSafe);

impl<T> Drop for ReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The guard is the proof that it is held for reading.
        unsafe { bindings::shadowmm_percpu_up_read(self.0.raw.get()) };
    }
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: It is held for reading, so nobody writes.
        unsafe { &*self.0.data.get() }
    }
}

/// The value may be changed while this lives.
pub(crate) struct WriteGuard<'a, T>(&'a PercpuRwSemaphore<T>, NotThreadSafe);

impl<T> Drop for WriteGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: The guard is the proof that it is held for writing.
        unsafe { kernel::bindings::percpu_up_write(self.0.raw.get()) };
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
