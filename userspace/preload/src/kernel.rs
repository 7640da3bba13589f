// SPDX-License-Identifier: GPL-2.0

//! System calls as the kernel has them.

use nix::libc;
use nix::libc::c_char;
use nix::libc::c_int;
use nix::libc::c_long;
use nix::libc::c_void;
use std::arch::asm;
use std::ptr;

/// Where a process's addresses end (`TASK_SIZE`).
pub(crate) const TASK_SIZE: u64 = (1 << 47) - 4096;

/// A system call: what it returns, -errno for an error.
///
/// # Safety
///
/// As the call's own.
#[inline]
pub(crate) unsafe fn syscall(number: c_long, args: [u64; 6]) -> i64 {
    let mut result = number;
    // SAFETY: The kernel changes these registers alone; the rest is the caller's.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") result,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            in("r9") args[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack)
        );
    }
    result
}

/// The same as the C library has it: -1, and errno, for an error.
///
/// # Safety
///
/// As above.
pub(crate) unsafe fn call(number: c_long, args: [u64; 6]) -> i64 {
    // SAFETY: By this function's own.
    told(unsafe { syscall(number, args) })
}

/// Opens a file; `None` where that can't be.
///
/// # Safety
///
/// `path` is a C string.
pub(crate) unsafe fn open(path: *const c_char, flags: c_int) -> Option<u64> {
    let flags = (flags | libc::O_CLOEXEC) as u64;
    let args = [libc::AT_FDCWD as u64, path as u64, flags, 0, 0, 0];
    // SAFETY: By this function's own.
    let file = unsafe { syscall(libc::SYS_openat, args) };
    u64::try_from(file).ok()
}

/// Closes a file of ours.
pub(crate) fn close(file: u64) {
    // SAFETY: Nobody else knows of it.
    unsafe { syscall(libc::SYS_close, [file, 0, 0, 0, 0, 0]) };
}

/// Whether a file is open at a number.
pub(crate) fn is_open(fd: c_int) -> bool {
    let args = [fd as u64, libc::F_GETFD as u64, 0, 0, 0, 0];
    // SAFETY: It changes nothing.
    unsafe { syscall(libc::SYS_fcntl, args) >= 0 }
}

/// An errno in place of its negative.
pub(crate) fn told(result: i64) -> i64 {
    if (-4095..0).contains(&result) {
        set_errno(-result as i32);
        return -1;
    }
    result
}

/// Sets errno.
pub(crate) fn set_errno(errno: i32) {
    // SAFETY: The place is the thread's own.
    unsafe { *libc::__errno_location() = errno };
}

/// errno.
pub(crate) fn errno() -> i32 {
    // SAFETY: As above.
    unsafe { *libc::__errno_location() }
}

/// A pointer that a call returns.
pub(crate) fn pointer(result: i64) -> *mut c_void {
    ptr::with_exposed_provenance_mut(result as usize)
}
