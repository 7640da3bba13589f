// SPDX-License-Identifier: GPL-2.0

//! What the C library has by a name that is this library's, too.

use nix::libc;
use nix::libc::c_void;
use std::ffi::CStr;
use std::ptr;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::Relaxed;

/// A function of the C library's.
pub(crate) struct Original {
    name: &'static CStr,
    found: AtomicPtr<c_void>,
}

impl Original {
    /// That of this name, which nobody has looked for yet.
    pub(crate) const fn new(name: &'static CStr) -> Self {
        Self {
            name,
            found: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Looks for it, unless that was done: not where an allocator or a signal handler is at work.
    pub(crate) fn find(&self) -> *mut c_void {
        let mut found = self.get();
        if found.is_null() {
            // SAFETY: The name is a C string.
            found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
            self.found.store(found, Relaxed);
        }
        found
    }

    /// Where it is; null before somebody has looked for it.
    pub(crate) fn get(&self) -> *mut c_void {
        self.found.load(Relaxed)
    }
}
