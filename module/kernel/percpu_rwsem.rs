// SPDX-License-Identifier: GPL-2.0

//! A read-write semaphore whose readers touch nothing but their own CPU's memory.
//!
//! For what is read by every request and every page fault, and written once in a
//! while: a reader costs the same however many CPUs there are, a writer waits for
//! a grace period (`include/linux/percpu-rwsem.h`).

use crate::bindings;
use crate::rwsem::Raw;
use crate::rwsem::Semaphore;
use core::cell::UnsafeCell;
use kernel::bindings::percpu_rw_semaphore;
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::types::Opaque;

/// Many readers, cheaply, or one writer. Taking it may sleep.
pub(crate) type PercpuRwSemaphore<T> = Semaphore<percpu_rw_semaphore, T>;

// SAFETY: It is what a read-write semaphore is.
unsafe impl Raw for percpu_rw_semaphore {
    #[inline]
    unsafe fn down_read(this: *mut Self) {
        // SAFETY: By this function's own.
        unsafe { bindings::shadowmm_percpu_down_read(this) }
    }

    #[inline]
    unsafe fn up_read(this: *mut Self) {
        // SAFETY: By this function's own.
        unsafe { bindings::shadowmm_percpu_up_read(this) }
    }

    unsafe fn down_write(this: *mut Self) {
        // SAFETY: By this function's own.
        unsafe { kernel::bindings::percpu_down_write(this) }
    }

    unsafe fn up_write(this: *mut Self) {
        // SAFETY: By this function's own.
        unsafe { kernel::bindings::percpu_up_write(this) }
    }

    unsafe fn destroy(this: *mut Self) {
        // SAFETY: By this function's own.
        unsafe { kernel::bindings::percpu_free_rwsem(this) }
    }
}

impl<T> PercpuRwSemaphore<T> {
    /// A free semaphore around `data`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(data: T) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            raw <- Opaque::try_ffi_init(|slot| {
                // SAFETY: The slot is valid for writing and pinned.
                to_result(unsafe { bindings::shadowmm_percpu_init_rwsem(slot) })
            }),
            data: UnsafeCell::new(data),
        })
    }

    /// The value, for somebody within what a holder does, or who keeps all writers out otherwise.
    ///
    /// # Safety
    ///
    /// Nobody writes while the reference is used.
    pub(crate) unsafe fn held(&self) -> &T {
        // SAFETY: Nobody writes, by this function's own.
        unsafe { &*self.data.get() }
    }
}
