// SPDX-License-Identifier: GPL-2.0

//! A process begins, forks and ends; and makes system calls by their number.

use crate::counters;
use crate::files;
use crate::heap;
use crate::kernel;
use crate::kernel::call;
use crate::mapping;
use crate::original::Original;
use crate::ranges;
use crate::window;
use nix::libc;
use nix::libc::c_int;
use nix::libc::c_long;
use nix::libc::c_void;
use std::mem;
use std::ptr;

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
            libc::SYS_mmap => {
                mapping::mmap(at(a), len, third, fourth, e as c_int, f as i64) as c_long
            }
            libc::SYS_mremap => mapping::mremap(at(a), len, c as usize, fourth, at(e)) as c_long,
            libc::SYS_munmap => ranges::munmap(at(a), len).into(),
            libc::SYS_mprotect => ranges::mprotect(at(a), len, third).into(),
            libc::SYS_madvise => ranges::madvise(at(a), len, third).into(),
            libc::SYS_msync => ranges::sync(at(a), len, third).into(),
            libc::SYS_mlock => ranges::mlock(at(a), len).into(),
            libc::SYS_mlock2 => ranges::mlock2(at(a), len, c as u32).into(),
            libc::SYS_munlock => ranges::munlock(at(a), len).into(),
            libc::SYS_mlockall => ranges::mlockall(a as c_int).into(),
            libc::SYS_munlockall => ranges::munlockall().into(),
            libc::SYS_mincore => ranges::mincore(at(a), len, at(c).cast()).into(),
            libc::SYS_brk => heap::move_end(a) as c_long,
            libc::SYS_close => files::close_number(a as c_int).into(),
            libc::SYS_dup2 => files::dup2(a as c_int, b as c_int).into(),
            libc::SYS_dup3 => files::dup3(a as c_int, b as c_int, third).into(),
            libc::SYS_close_range => files::close_range(a as u32, b as u32, third).into(),
            libc::SYS_futex => {
                let op = futex_op(b as c_int, a, e);
                call(number, [a, op as u64, c, d, e, f])
            }
            libc::SYS_exit_group => _exit(a as c_int),
            _ => call(number, [a, b, c, d, e, f]),
        }
    }
}

/// The operation of futex(2), of one address or two, as a window has it: private. No key for
/// several processes is of a window's pages (`get_futex_key`: EFAULT), and memory that is the process's
/// alone needs none.
fn futex_op(op: c_int, addr: u64, second: u64) -> c_int {
    let has_second = matches!(
        op & libc::FUTEX_CMD_MASK,
        libc::FUTEX_REQUEUE
            | libc::FUTEX_CMP_REQUEUE
            | libc::FUTEX_WAKE_OP
            | libc::FUTEX_WAIT_REQUEUE_PI
            | libc::FUTEX_CMP_REQUEUE_PI
    );
    let is_inside = window::has(addr, 4) && (!has_second || window::has(second, 4));
    match is_inside && !mapping::is_shared() {
        true => op | libc::FUTEX_PRIVATE_FLAG,
        false => op,
    }
}

/// The end of a process that does not end by itself.
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn _exit(status: c_int) -> ! {
    counters::tell_window();
    loop {
        // SAFETY: By this function's own.
        unsafe { kernel::syscall(libc::SYS_exit_group, [status as u64, 0, 0, 0, 0, 0]) };
    }
}

/// The same.
///
/// # Safety
///
/// As above.
#[no_mangle]
pub unsafe extern "C" fn _Exit(status: c_int) -> ! {
    // SAFETY: By this function's own.
    unsafe { _exit(status) }
}

/// Which minds what else the C library knows of the process.
static FORK: Original = Original::new(c"_Fork");

/// fork(2) without what `pthread_atfork` has asked for. The C library's fork does not come
/// by here.
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn _Fork() -> libc::pid_t {
    let found = FORK.find();
    if found.is_null() {
        kernel::set_errno(libc::ENOSYS);
        return -1;
    }
    // SAFETY: This is what the C library has by that name.
    let fork: unsafe extern "C" fn() -> libc::pid_t = unsafe { mem::transmute(found) };
    // SAFETY: By this function's own.
    let child = unsafe { fork() };
    if child == 0 {
        forked();
    }
    child
}

/// What a child begins with. It may be in a signal handler.
extern "C" fn forked() {
    counters::forked();
    window::forked();
}

/// What happens when the library is there, and when the process ends.
extern "C" fn begin() {
    counters::begin();
    mapping::begin();
    // The window comes before the program asks for anything: what it is told first then
    // stays true.
    window::is_there();
    // A signal handler may fork, and can't look for it.
    FORK.find();
    files::CLOSE.find();
    ranges::MSYNC.find();
    // SAFETY: Both take no argument and touch nothing but counters and a file.
    unsafe {
        libc::atexit(end);
        libc::pthread_atfork(None, None, Some(forked));
    }
}

extern "C" fn end() {
    counters::tell_window();
    counters::tell_host();
}

#[used]
#[link_section = ".init_array"]
static BEGIN: extern "C" fn() = begin;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_the_c_library_tells_nobody_of_is_one() {
        // SAFETY: The child makes system calls alone.
        unsafe {
            let child = _Fork();
            if child == 0 {
                _exit(7);
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &mut status, 0), child);
            assert_eq!(libc::WEXITSTATUS(status), 7);
        }
    }
}
