// SPDX-License-Identifier: GPL-2.0

//! Windows for C, as `include/shadowmm_client.h` has them: each function is a call of the
//! client library, with errno in place of its errors.
//!
//! ```text
//! lib.rs      a handle: opened, its window, closed; what went wrong
//! calls.rs    the calls in a window
//! ```

mod calls;

use nix::errno::Errno;
use shadowmm_client::mm::Tree;
use shadowmm_client::mm::Window;
use shadowmm_client::mm::WindowConfig;
use shadowmm_client::Device;
use shadowmm_client::Result;
use shadowmm_client::DEFAULT_PATH;
use std::cell::RefCell;
use std::ffi::c_char;
use std::ffi::c_int;
use std::ffi::c_uint;
use std::ffi::c_void;
use std::ffi::CStr;
use std::ffi::CString;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

/// `MAP_FAILED`.
const MAP_FAILED: *mut c_void = ptr::without_provenance_mut(usize::MAX);

const LEGACY: c_uint = 0x1;
const RANDOM: c_uint = 0x2;
const BARE: c_uint = 0x4;
const RBTREE: c_uint = 0x8;

/// The open device, and the window of this process.
///
/// # Invariants
///
/// `device` is a box of our own, which nothing but `window` borrows; `window` goes before
/// it.
#[derive(Debug)]
pub struct Shadowmm {
    device: *mut Device,
    window: Option<Window<'static>>,
}

impl Shadowmm {
    fn device(&self) -> &'static Device {
        // SAFETY: By the type's invariant it is there while `self` is, which is longer
        // than anybody here keeps the reference.
        unsafe { &*self.device }
    }
}

impl Drop for Shadowmm {
    fn drop(&mut self) {
        self.window = None;
        // SAFETY: By the type's invariant; nobody borrows it any more.
        drop(unsafe { Box::from_raw(self.device) });
    }
}

thread_local! {
    /// Why the last call of this thread that failed did so.
    static LAST: RefCell<CString> = RefCell::default();
}

/// Notes why a call has failed, and sets errno.
fn fail<T>(errno: Errno, why: &str, value: T) -> T {
    let text = CString::new(why).unwrap_or_default();
    // A thread that ends has none to tell any more.
    let _ = LAST.try_with(|last| last.replace(text));
    errno.set();
    value
}

/// What C is told of a result.
fn answer<T>(result: Result<T>, failed: T) -> T {
    match result {
        Ok(value) => value,
        Err(error) => fail(error.errno(), &error.to_string(), failed),
    }
}

/// The same of one that has no value.
fn status(result: Result<()>) -> c_int {
    answer(result.map(|()| 0), -1)
}

/// Opens the device.
///
/// # Safety
///
/// `path` is null, or ends with a NUL.
#[no_mangle]
pub unsafe extern "C" fn shadowmm_open(path: *const c_char) -> *mut Shadowmm {
    let path = match path.is_null() {
        true => Path::new(DEFAULT_PATH),
        false => {
            // SAFETY: By this function's own.
            let path = unsafe { CStr::from_ptr(path) };
            Path::new(OsStr::from_bytes(path.to_bytes()))
        }
    };
    let opened = Device::open(path).map(|device| {
        Box::into_raw(Box::new(Shadowmm {
            device: Box::into_raw(Box::new(device)),
            window: None,
        }))
    });
    answer(opened, ptr::null_mut())
}

/// Closes it, and its window.
///
/// # Safety
///
/// `s` is null, or a handle of [`shadowmm_open`] that nobody uses any more.
#[no_mangle]
pub unsafe extern "C" fn shadowmm_close(s: *mut Shadowmm) {
    if !s.is_null() {
        // SAFETY: By this function's own.
        drop(unsafe { Box::from_raw(s) });
    }
}

/// Why the last call of this thread that failed did so. The text stays until the next
/// that fails.
#[no_mangle]
pub extern "C" fn shadowmm_error() -> *const c_char {
    let text = LAST.try_with(|last| last.borrow().as_ptr());
    text.unwrap_or(c"".as_ptr())
}

/// Says what windows are like that are opened from now on.
///
/// # Safety
///
/// `s` is a handle.
#[no_mangle]
pub unsafe extern "C" fn shadowmm_configure(s: *const Shadowmm, flags: c_uint, seed: u64) -> c_int {
    if flags & !(LEGACY | RANDOM | BARE | RBTREE) != 0 {
        return fail(Errno::EINVAL, "there is no such flag", -1);
    }
    let config = WindowConfig {
        tree: (flags & RBTREE != 0).then_some(Tree::Rbtree),
        legacy: flags & LEGACY != 0,
        seed,
        random: flags & RANDOM != 0,
        bare: flags & BARE != 0,
    };
    // SAFETY: By this function's own.
    status(unsafe { &*s }.device().configure_windows(&config))
}

/// Opens the window.
///
/// # Safety
///
/// `s` is a handle that nobody else uses meanwhile.
#[no_mangle]
pub unsafe extern "C" fn shadowmm_window(
    s: *mut Shadowmm,
    addr: *mut c_void,
    len: usize,
) -> *mut c_void {
    // SAFETY: By this function's own.
    let s = unsafe { &mut *s };
    if s.window.is_some() {
        return fail(Errno::EBUSY, "there is a window already", MAP_FAILED);
    }
    let opened = match addr.is_null() {
        true => s.device().window(len),
        false => s.device().window_at(addr.addr(), len),
    };
    let place = opened.map(|window| {
        let start = window.range().start;
        s.window = Some(window);
        ptr::with_exposed_provenance_mut(start)
    });
    answer(place, MAP_FAILED)
}

/// Unmaps it.
///
/// # Safety
///
/// `s` is a handle that nobody else uses meanwhile, and nobody has anything in the window.
#[no_mangle]
pub unsafe extern "C" fn shadowmm_window_close(s: *mut Shadowmm) -> c_int {
    // SAFETY: By this function's own.
    match unsafe { &mut *s }.window.take() {
        Some(_) => 0,
        None => fail(Errno::ENXIO, "there is no window", -1),
    }
}
