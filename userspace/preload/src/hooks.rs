// SPDX-License-Identifier: GPL-2.0

//! The functions of the C library that are replaced.

use crate::counters;
use crate::counters::count;
use crate::kernel;
use crate::kernel::call;
use crate::kernel::told;
use crate::window;
use nix::libc;
use nix::libc::c_int;
use nix::libc::c_long;
use nix::libc::c_void;
use nix::libc::off_t;
use nix::libc::size_t;
use shadowmm_abi as abi;
use std::ptr;
use std::sync::atomic::AtomicU64;

/// A pointer that a call returns.
fn pointer(result: i64) -> *mut c_void {
    ptr::with_exposed_provenance_mut(result as usize)
}

/// Where a mapping goes that is not for the window.
enum Place {
    Window { hint: u64 },
    Host,
}

fn place(addr: u64, len: u64, prot: c_int, flags: c_int) -> Place {
    let left = |counter| {
        count(counter);
        Place::Host
    };
    if flags & libc::MAP_ANONYMOUS == 0 {
        return left(&counters::LEFT_FILE);
    }
    if flags & libc::MAP_TYPE != libc::MAP_PRIVATE {
        return left(&counters::LEFT_SHARED);
    }
    if prot & libc::PROT_EXEC != 0 {
        return left(&counters::LEFT_EXECUTABLE);
    }
    if flags & libc::MAP_HUGETLB != 0 {
        return left(&counters::LEFT_HUGETLB);
    }
    if flags & libc::MAP_32BIT != 0 || !window::is_there() {
        return left(&counters::LEFT_OTHER);
    }
    let inside = window::has(addr, len);
    let fixed = flags & (libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE) != 0;
    if fixed && !inside {
        return left(&counters::LEFT_FIXED);
    }
    Place::Window {
        hint: if inside { addr } else { 0 },
    }
}

/// mmap(2).
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn mmap(
    addr: *mut c_void,
    len: size_t,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    offset: off_t,
) -> *mut c_void {
    let (at, len) = (addr as u64, len as u64);
    let Place::Window { hint } = place(at, len, prot, flags) else {
        let args = [at, len, prot as u64, flags as u64, fd as u64, offset as u64];
        // SAFETY: By this function's own.
        return pointer(unsafe { call(libc::SYS_mmap, args) });
    };
    let mut request = abi::shadowmm_mm_mmap {
        addr: hint,
        len,
        prot: prot as u32,
        flags: flags as u32,
        fd: -1,
        ..Default::default()
    };
    count(&counters::MMAP);
    match told(window::ask(abi::REQUEST_MM_MMAP, &mut request)) {
        0 => pointer(request.addr as i64),
        _ => libc::MAP_FAILED,
    }
}

/// The same.
///
/// # Safety
///
/// As above.
#[no_mangle]
pub unsafe extern "C" fn mmap64(
    addr: *mut c_void,
    len: size_t,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    offset: off_t,
) -> *mut c_void {
    // SAFETY: By this function's own.
    unsafe { mmap(addr, len, prot, flags, fd, offset) }
}

fn range(number: u32, addr: u64, len: u64, arg: u32) -> c_int {
    let mut request = abi::shadowmm_mm_range {
        addr,
        len,
        arg,
        ..Default::default()
    };
    told(window::ask(number, &mut request)) as c_int
}

/// A call about a range: a request where that begins in the window, else the kernel's own.
/// `numbers` are those of the request and of the system call.
///
/// # Safety
///
/// As the system call.
unsafe fn range_call(
    counter: &AtomicU64,
    numbers: (u32, c_long),
    addr: *mut c_void,
    len: size_t,
    arg: c_int,
) -> c_int {
    let (addr, len) = (addr as u64, len as u64);
    if window::has(addr, 0) {
        count(counter);
        return range(numbers.0, addr, len, arg as u32);
    }
    // SAFETY: By this function's own.
    unsafe { call(numbers.1, [addr, len, arg as u64, 0, 0, 0]) as c_int }
}

/// munmap(2).
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn munmap(addr: *mut c_void, len: size_t) -> c_int {
    let numbers = (abi::REQUEST_MM_MUNMAP, libc::SYS_munmap);
    // SAFETY: By this function's own.
    unsafe { range_call(&counters::MUNMAP, numbers, addr, len, 0) }
}

/// mprotect(2).
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn mprotect(addr: *mut c_void, len: size_t, prot: c_int) -> c_int {
    let numbers = (abi::REQUEST_MM_MPROTECT, libc::SYS_mprotect);
    // SAFETY: By this function's own.
    unsafe { range_call(&counters::MPROTECT, numbers, addr, len, prot) }
}

/// mremap(2). Its last argument is there with some flags alone.
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn mremap(
    addr: *mut c_void,
    old_len: size_t,
    new_len: size_t,
    flags: c_int,
    new_addr: *mut c_void,
) -> *mut c_void {
    let with_place = libc::MREMAP_FIXED | libc::MREMAP_DONTUNMAP;
    let new_addr = match flags & with_place {
        0 => 0,
        _ => new_addr as u64,
    };
    let (addr, old_len, new_len) = (addr as u64, old_len as u64, new_len as u64);
    if window::has(addr, 0) {
        let mut request = abi::shadowmm_mm_mremap {
            addr,
            old_len,
            new_len,
            new_addr,
            flags: flags as u32,
            ..Default::default()
        };
        count(&counters::MREMAP);
        return match told(window::ask(abi::REQUEST_MM_MREMAP, &mut request)) {
            0 => pointer(request.addr as i64),
            _ => libc::MAP_FAILED,
        };
    }
    let args = [addr, old_len, new_len, flags as u64, new_addr, 0];
    // SAFETY: By this function's own.
    pointer(unsafe { call(libc::SYS_mremap, args) })
}

/// madvise(2).
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn madvise(addr: *mut c_void, len: size_t, advice: c_int) -> c_int {
    let numbers = (abi::REQUEST_MM_MADVISE, libc::SYS_madvise);
    // SAFETY: By this function's own.
    unsafe { range_call(&counters::MADVISE, numbers, addr, len, advice) }
}

/// msync(2).
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn msync(addr: *mut c_void, len: size_t, flags: c_int) -> c_int {
    let numbers = (abi::REQUEST_MM_MSYNC, libc::SYS_msync);
    // SAFETY: By this function's own.
    unsafe { range_call(&counters::MSYNC, numbers, addr, len, flags) }
}

fn lock(op: u32, addr: u64, len: u64, flags: u32) -> c_int {
    let mut request = abi::shadowmm_mm_mlock {
        op,
        flags,
        addr,
        len,
        ..Default::default()
    };
    count(&counters::MLOCK);
    told(window::ask(abi::REQUEST_MM_MLOCK, &mut request)) as c_int
}

/// mlock(2).
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn mlock(addr: *const c_void, len: size_t) -> c_int {
    // SAFETY: By this function's own.
    unsafe { mlock2(addr, len, 0) }
}

/// mlock2(2).
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn mlock2(addr: *const c_void, len: size_t, flags: u32) -> c_int {
    let (addr, len) = (addr as u64, len as u64);
    if window::has(addr, 0) {
        return lock(abi::SHADOWMM_MM_MLOCK, addr, len, flags);
    }
    // SAFETY: By this function's own.
    unsafe { call(libc::SYS_mlock2, [addr, len, flags.into(), 0, 0, 0]) as c_int }
}

/// munlock(2).
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn munlock(addr: *const c_void, len: size_t) -> c_int {
    let (addr, len) = (addr as u64, len as u64);
    if window::has(addr, 0) {
        return lock(abi::SHADOWMM_MM_MUNLOCK, addr, len, 0);
    }
    // SAFETY: By this function's own.
    unsafe { call(libc::SYS_munlock, [addr, len, 0, 0, 0, 0]) as c_int }
}

/// mlockall(2): of both.
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn mlockall(flags: c_int) -> c_int {
    if window::has(0, 0) && lock(abi::SHADOWMM_MM_MLOCKALL, 0, 0, flags as u32) != 0 {
        return -1;
    }
    // SAFETY: By this function's own.
    unsafe { call(libc::SYS_mlockall, [flags as u64, 0, 0, 0, 0, 0]) as c_int }
}

/// mincore(2).
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn mincore(addr: *mut c_void, len: size_t, vec: *mut u8) -> c_int {
    let (addr, len) = (addr as u64, len as u64);
    if window::has(addr, 0) {
        let mut request = abi::shadowmm_mm_mincore {
            addr,
            len,
            vec: vec as u64,
            ..Default::default()
        };
        count(&counters::MINCORE);
        return told(window::ask(abi::REQUEST_MM_MINCORE, &mut request)) as c_int;
    }
    // SAFETY: By this function's own.
    unsafe { call(libc::SYS_mincore, [addr, len, vec as u64, 0, 0, 0]) as c_int }
}

/// Moves the end of the window's heap: where it is then.
fn set_brk(brk: u64) -> Option<u64> {
    let mut request = abi::shadowmm_mm_brk {
        brk,
        ..Default::default()
    };
    count(&counters::BRK);
    (window::ask(abi::REQUEST_MM_BRK, &mut request) == 0).then_some(request.brk)
}

/// brk(2).
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn brk(addr: *mut c_void) -> c_int {
    let wanted = addr as u64;
    let end = match window::is_there() {
        true => set_brk(wanted),
        // SAFETY: By this function's own.
        false => Some(unsafe { kernel::syscall(libc::SYS_brk, [wanted, 0, 0, 0, 0, 0]) } as u64),
    };
    if end.is_some_and(|end| end == wanted) {
        return 0;
    }
    kernel::set_errno(libc::ENOMEM);
    -1
}

/// sbrk(3).
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn sbrk(increment: isize) -> *mut c_void {
    let now = match window::is_there() {
        true => set_brk(0),
        // SAFETY: Asks where it is.
        false => Some(unsafe { kernel::syscall(libc::SYS_brk, [0; 6]) } as u64),
    };
    let (Some(now), false) = (now, increment == 0) else {
        return pointer(now.map_or(-1, |now| now as i64));
    };
    let end = now.wrapping_add_signed(increment as i64);
    // SAFETY: By this function's own.
    match unsafe { brk(pointer(end as i64)) } {
        0 => pointer(now as i64),
        _ => libc::MAP_FAILED,
    }
}

/// syscall(2): programs make some of these calls without the C library's functions. In
/// C it takes a varying number of arguments, of which the last lies on the stack; one
/// that was not passed is what happens to lie there, and goes nowhere.
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn syscall(
    number: c_long,
    a: u64,
    b: u64,
    c: u64,
    d: u64,
    e: u64,
    f: u64,
) -> c_long {
    let at = |addr: u64| ptr::with_exposed_provenance_mut::<c_void>(addr as usize);
    let (len, third, fourth) = (b as usize, c as c_int, d as c_int);
    // SAFETY: By this function's own.
    unsafe {
        match number {
            libc::SYS_mmap => mmap(at(a), len, third, fourth, e as c_int, f as i64) as c_long,
            libc::SYS_munmap => munmap(at(a), len).into(),
            libc::SYS_mprotect => mprotect(at(a), len, third).into(),
            libc::SYS_mremap => mremap(at(a), len, c as usize, fourth, at(e)) as c_long,
            libc::SYS_madvise => madvise(at(a), len, third).into(),
            libc::SYS_msync => msync(at(a), len, third).into(),
            libc::SYS_mlock => mlock(at(a), len).into(),
            libc::SYS_mlock2 => mlock2(at(a), len, c as u32).into(),
            libc::SYS_munlock => munlock(at(a), len).into(),
            libc::SYS_mincore => mincore(at(a), len, at(c).cast()).into(),
            _ => call(number, [a, b, c, d, e, f]),
        }
    }
}

/// The end of a process that does not end by itself.
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn _exit(status: c_int) -> ! {
    counters::tell();
    loop {
        // SAFETY: By this function's own.
        unsafe { kernel::syscall(libc::SYS_exit_group, [status as u64, 0, 0, 0, 0, 0]) };
    }
}

/// What happens when the library is there, and when the process ends.
extern "C" fn begin() {
    extern "C" fn forked() {
        counters::forget();
    }
    // The window comes before the program asks for anything: what it is told first then
    // stays true.
    window::is_there();
    // SAFETY: Both take no argument and touch nothing but counters and a file.
    unsafe {
        libc::atexit(end);
        libc::pthread_atfork(None, None, Some(forked));
    }
}

extern "C" fn end() {
    counters::tell();
}

#[used]
#[link_section = ".init_array"]
static BEGIN: extern "C" fn() = begin;
