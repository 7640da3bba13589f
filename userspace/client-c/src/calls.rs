// SPDX-License-Identifier: GPL-2.0

//! The calls in a window. Whatever addresses they are given, nothing of the program's own
//! lies in a window; what a program has there goes as it does with the system calls.

use crate::answer;
use crate::fail;
use crate::status;
use crate::Shadowmm;
use crate::MAP_FAILED;
use nix::errno::Errno;
use nix::libc::off_t;
use nix::libc::ssize_t;
use shadowmm_client::mm::RawCalls;
use shadowmm_client::mm::RawLock;
use shadowmm_client::mm::RawMmap;
use shadowmm_client::Result;
use std::ffi::c_char;
use std::ffi::c_int;
use std::ffi::c_uint;
use std::ffi::c_void;
use std::fs;
use std::io::ErrorKind;
use std::ptr;
use std::slice;

/// The calls of a handle.
///
/// # Safety
///
/// `s` is a handle of `shadowmm_open`.
unsafe fn calls<'s>(s: *const Shadowmm) -> RawCalls<'s> {
    // SAFETY: By this function's own.
    unsafe { &*s }.device().calls()
}

fn number(addr: *const c_void) -> u64 {
    addr.expose_provenance() as u64
}

/// Where something is mapped, for C.
fn place(result: Result<u64>) -> *mut c_void {
    let place = result.map(|addr| ptr::with_exposed_provenance_mut(addr as usize));
    answer(place, MAP_FAILED)
}

/// mmap(2).
///
/// # Safety
///
/// `s` is a handle; with `MAP_FIXED`, what was there is nobody's.
#[no_mangle]
pub unsafe extern "C" fn shadowmm_mmap(
    s: *const Shadowmm,
    addr: *mut c_void,
    len: usize,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    offset: off_t,
) -> *mut c_void {
    // SAFETY: By this function's own.
    place(unsafe { calls(s) }.mmap(&RawMmap {
        addr: number(addr),
        len: len as u64,
        prot: prot as u32,
        flags: flags as u32,
        fd,
        offset: offset as u64,
    }))
}

/// munmap(2).
///
/// # Safety
///
/// `s` is a handle; what was there is nobody's.
#[no_mangle]
pub unsafe extern "C" fn shadowmm_munmap(
    s: *const Shadowmm,
    addr: *mut c_void,
    len: usize,
) -> c_int {
    // SAFETY: By this function's own.
    status(unsafe { calls(s) }.munmap(number(addr), len as u64))
}

/// mprotect(2).
///
/// # Safety
///
/// `s` is a handle.
#[no_mangle]
pub unsafe extern "C" fn shadowmm_mprotect(
    s: *const Shadowmm,
    addr: *mut c_void,
    len: usize,
    prot: c_int,
) -> c_int {
    // SAFETY: By this function's own.
    status(unsafe { calls(s) }.mprotect(number(addr), len as u64, prot as u32))
}

/// mremap(2).
///
/// # Safety
///
/// As for [`shadowmm_mmap`]; what has moved is where it was no more.
#[no_mangle]
pub unsafe extern "C" fn shadowmm_mremap(
    s: *const Shadowmm,
    addr: *mut c_void,
    old_len: usize,
    new_len: usize,
    flags: c_int,
    new_addr: *mut c_void,
) -> *mut c_void {
    // SAFETY: By this function's own.
    let calls = unsafe { calls(s) };
    place(calls.mremap(
        number(addr),
        old_len as u64,
        new_len as u64,
        flags as u32,
        number(new_addr),
    ))
}

/// madvise(2).
///
/// # Safety
///
/// `s` is a handle; what is given up is nobody's.
#[no_mangle]
pub unsafe extern "C" fn shadowmm_madvise(
    s: *const Shadowmm,
    addr: *mut c_void,
    len: usize,
    advice: c_int,
) -> c_int {
    // SAFETY: By this function's own.
    status(unsafe { calls(s) }.madvise(number(addr), len as u64, advice))
}

/// msync(2).
///
/// # Safety
///
/// `s` is a handle.
#[no_mangle]
pub unsafe extern "C" fn shadowmm_msync(
    s: *const Shadowmm,
    addr: *mut c_void,
    len: usize,
    flags: c_int,
) -> c_int {
    // SAFETY: By this function's own.
    status(unsafe { calls(s) }.msync(number(addr), len as u64, flags as u32))
}

/// brk(2), as the C library has it.
///
/// # Safety
///
/// `s` is a handle; what is given up is nobody's.
#[no_mangle]
pub unsafe extern "C" fn shadowmm_brk(s: *const Shadowmm, end: *mut c_void) -> c_int {
    // SAFETY: By this function's own.
    status(unsafe { calls(s) }.set_brk(number(end)).map(|_| ()))
}

/// sbrk(2).
///
/// # Safety
///
/// As above.
#[no_mangle]
pub unsafe extern "C" fn shadowmm_sbrk(s: *const Shadowmm, increment: isize) -> *mut c_void {
    // SAFETY: By this function's own.
    place(unsafe { calls(s) }.sbrk(increment as i64))
}

/// mlock(2).
///
/// # Safety
///
/// `s` is a handle.
#[no_mangle]
pub unsafe extern "C" fn shadowmm_mlock(
    s: *const Shadowmm,
    addr: *const c_void,
    len: usize,
) -> c_int {
    // SAFETY: By this function's own.
    unsafe { shadowmm_mlock2(s, addr, len, 0) }
}

/// mlock2(2).
///
/// # Safety
///
/// `s` is a handle.
#[no_mangle]
pub unsafe extern "C" fn shadowmm_mlock2(
    s: *const Shadowmm,
    addr: *const c_void,
    len: usize,
    flags: c_uint,
) -> c_int {
    let what = RawLock::Lock(number(addr), len as u64, flags);
    // SAFETY: By this function's own.
    status(unsafe { calls(s) }.lock(what))
}

/// munlock(2).
///
/// # Safety
///
/// `s` is a handle.
#[no_mangle]
pub unsafe extern "C" fn shadowmm_munlock(
    s: *const Shadowmm,
    addr: *const c_void,
    len: usize,
) -> c_int {
    let what = RawLock::Unlock(number(addr), len as u64);
    // SAFETY: By this function's own.
    status(unsafe { calls(s) }.lock(what))
}

/// mlockall(2).
///
/// # Safety
///
/// `s` is a handle.
#[no_mangle]
pub unsafe extern "C" fn shadowmm_mlockall(s: *const Shadowmm, flags: c_int) -> c_int {
    // SAFETY: By this function's own.
    status(unsafe { calls(s) }.lock(RawLock::LockAll(flags as u32)))
}

/// munlockall(2).
///
/// # Safety
///
/// `s` is a handle.
#[no_mangle]
pub unsafe extern "C" fn shadowmm_munlockall(s: *const Shadowmm) -> c_int {
    // SAFETY: By this function's own.
    status(unsafe { calls(s) }.lock(RawLock::UnlockAll))
}

/// mincore(2).
///
/// # Safety
///
/// `s` is a handle; `vec` has a byte for each page that is begun.
#[no_mangle]
pub unsafe extern "C" fn shadowmm_mincore(
    s: *const Shadowmm,
    addr: *mut c_void,
    len: usize,
    vec: *mut u8,
) -> c_int {
    // SAFETY: By this function's own.
    status(unsafe { calls(s).mincore(number(addr), len as u64, vec) })
}

/// The number of the window's address space.
///
/// # Safety
///
/// `s` is a handle.
#[no_mangle]
pub unsafe extern "C" fn shadowmm_id(s: *const Shadowmm) -> c_int {
    // SAFETY: By this function's own.
    let space = unsafe { &*s }.device().own_space();
    answer(space.map(|space| space.id as c_int), -1)
}

/// The window's maps, as text.
///
/// # Safety
///
/// `s` is a handle; `buf` has `size` bytes.
#[no_mangle]
pub unsafe extern "C" fn shadowmm_maps(
    s: *const Shadowmm,
    buf: *mut c_char,
    size: usize,
) -> ssize_t {
    // SAFETY: By this function's own.
    let space = match unsafe { &*s }.device().own_space() {
        Ok(space) => space,
        Err(error) => return answer(Err(error), -1),
    };
    let text = match fs::read(format!("/proc/shadowmm/mm/{}/maps", space.id)) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return fail(Errno::ENXIO, "there is no window", -1);
        }
        Err(error) => {
            let errno = Errno::from_raw(error.raw_os_error().unwrap_or(nix::libc::EIO));
            return fail(errno, "the maps can't be read", -1);
        }
    };
    if size > 0 {
        // SAFETY: By this function's own.
        let room = unsafe { slice::from_raw_parts_mut(buf.cast::<u8>(), size) };
        let last = text.len().min(size - 1);
        room[..last].copy_from_slice(&text[..last]);
        room[last] = 0;
    }
    text.len() as ssize_t
}
