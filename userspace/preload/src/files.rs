// SPDX-License-Identifier: GPL-2.0

//! Programs that close all files there are, or want one at some number: the window's is the
//! library's, and stays. To them it is not there.

use crate::kernel;
use crate::kernel::call;
use crate::original::Original;
use crate::window;
use nix::libc;
use nix::libc::c_int;
use nix::libc::c_long;
use nix::libc::c_uint;
use std::mem;

type Close = unsafe extern "C-unwind" fn(c_int) -> c_int;

/// Which is a cancellation point.
pub(crate) static CLOSE: Original = Original::new(c"close");

/// close(2). A thread may be cancelled here, which unwinds it: nothing here has anything to drop.
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C-unwind" fn close(fd: c_int) -> c_int {
    let found = CLOSE.get();
    if found.is_null() || window::is_file(fd) {
        // SAFETY: By this function's own.
        return unsafe { close_number(fd) };
    }
    // SAFETY: This is what the C library has by that name.
    let close: Close = unsafe { mem::transmute(found) };
    // SAFETY: By this function's own.
    unsafe { close(fd) }
}

/// The system call, which is no cancellation point.
///
/// # Safety
///
/// As the system call.
pub(crate) unsafe fn close_number(fd: c_int) -> c_int {
    if window::is_file(fd) {
        kernel::set_errno(libc::EBADF);
        return -1;
    }
    // SAFETY: By this function's own.
    unsafe { call(libc::SYS_close, [fd as u64, 0, 0, 0, 0, 0]) as c_int }
}

/// close_range(2).
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    // SAFETY: By this function's own.
    let close = |first: c_uint, last: c_uint| unsafe {
        let args = [first.into(), last.into(), flags as u64, 0, 0, 0];
        call(libc::SYS_close_range, args) as c_int
    };
    let own = window::file().map(|file| file as c_uint);
    let Some(own) = own.filter(|own| (first..=last).contains(own)) else {
        return close(first, last);
    };
    let below = match own > first {
        true => close(first, own - 1),
        false => 0,
    };
    match below == 0 && own < last {
        true => close(own + 1, last),
        false => below,
    }
}

/// closefrom(3).
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn closefrom(first: c_int) {
    // SAFETY: By this function's own.
    unsafe { close_range(first.max(0) as c_uint, c_uint::MAX, 0) };
}

/// dup2(2).
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn dup2(old: c_int, new: c_int) -> c_int {
    // SAFETY: By this function's own.
    unsafe { replace(libc::SYS_dup2, old, new, 0) }
}

/// dup3(2).
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn dup3(old: c_int, new: c_int, flags: c_int) -> c_int {
    // SAFETY: By this function's own.
    unsafe { replace(libc::SYS_dup3, old, new, flags) }
}

/// Makes `new` a descriptor of the file of `old`, by system call `number`.
///
/// # Safety
///
/// As the system call.
unsafe fn replace(number: c_long, old: c_int, new: c_int, flags: c_int) -> c_int {
    let dup3 = number == libc::SYS_dup3;
    // A call that fails leaves the window's file where it is.
    let done = match () {
        () if dup3 && (old == new || flags & !libc::O_CLOEXEC != 0) => Err(libc::EINVAL),
        () if window::is_file(old) => Err(libc::EBADF),
        () => window::leave_file(new, old),
    };
    if let Err(error) = done {
        kernel::set_errno(error);
        return -1;
    }
    let args = [old as u64, new as u64, flags as u64, 0, 0, 0];
    // SAFETY: By this function's own.
    unsafe { call(number, args) as c_int }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranges::msync;
    use nix::libc::c_void;
    use std::ptr;

    /// Whether a thread that is to be cancelled is, in a call.
    fn ends_in(body: extern "C-unwind" fn(*mut c_void) -> *mut c_void) -> bool {
        // SAFETY: They differ in whether they unwind, which the C library lets it; the thread has nothing to drop.
        let body: extern "C" fn(*mut c_void) -> *mut c_void = unsafe { mem::transmute(body) };
        let mut thread = 0;
        let mut end = ptr::null_mut();
        // SAFETY: There is room for the thread's number and its end.
        unsafe {
            let made = libc::pthread_create(&mut thread, ptr::null(), body, ptr::null_mut());
            assert_eq!(made, 0);
            assert_eq!(libc::pthread_join(thread, &mut end), 0);
        }
        // PTHREAD_CANCELED
        end.addr() == usize::MAX
    }

    fn cancel() {
        // SAFETY: The thread is there, and ends in its next cancellation point.
        unsafe { libc::pthread_cancel(libc::pthread_self()) };
    }

    #[test]
    fn close_and_msync_are_cancellation_points() {
        extern "C-unwind" fn closes(_: *mut c_void) -> *mut c_void {
            cancel();
            // SAFETY: No file has that number.
            unsafe { close(-1) };
            ptr::null_mut()
        }
        extern "C-unwind" fn syncs(_: *mut c_void) -> *mut c_void {
            cancel();
            // SAFETY: Nothing is there.
            unsafe { msync(ptr::null_mut(), 4096, libc::MS_ASYNC) };
            ptr::null_mut()
        }
        assert!(ends_in(closes) && ends_in(syncs));
    }
}
