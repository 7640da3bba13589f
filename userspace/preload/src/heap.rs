// SPDX-License-Identifier: GPL-2.0

//! brk and sbrk. The C library's own heap is not moved by them: it makes the system call.

use crate::counters::count;
use crate::counters::Counter;
use crate::kernel;
use crate::kernel::pointer;
use crate::window;
use nix::libc;
use nix::libc::c_int;
use nix::libc::c_void;
use shadowmm_abi as abi;

/// Moves the end of the heap: where it is then, which is where it was if that can't be
/// had (brk(2) as the kernel has it).
///
/// # Safety
///
/// As the system call.
pub(crate) unsafe fn move_end(brk: u64) -> u64 {
    if !window::is_there() {
        // SAFETY: By this function's own.
        return unsafe { kernel::syscall(libc::SYS_brk, [brk, 0, 0, 0, 0, 0]) } as u64;
    }
    let mut request = abi::shadowmm_mm_brk {
        brk,
        ..Default::default()
    };
    count(Counter::Brk);
    match window::ask(abi::REQUEST_MM_BRK, &mut request) {
        0 => request.brk,
        _ => 0,
    }
}

/// Whether brk(2) of the C library has what it asked for: only an end that is lower has
/// failed (`__brk`). 0 is no end: the window has not answered.
fn is_moved(end: u64, wanted: u64) -> bool {
    end != 0 && end >= wanted
}

/// brk(2).
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn brk(addr: *mut c_void) -> c_int {
    let wanted = addr as u64;
    // SAFETY: By this function's own.
    if is_moved(unsafe { move_end(wanted) }, wanted) {
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
    // SAFETY: Asks where it is.
    let now = unsafe { move_end(0) };
    let end = now.checked_add_signed(increment as i64);
    // SAFETY: By this function's own.
    let moves = |end| end == now || is_moved(unsafe { move_end(end) }, end);
    if now != 0 && end.is_some_and(moves) {
        return pointer(now as i64);
    }
    kernel::set_errno(libc::ENOMEM);
    libc::MAP_FAILED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_c_library_minds_an_end_that_is_too_low() {
        assert!(is_moved(0x5000, 0x5000));
        assert!(is_moved(0x5000, 0x1000));
        assert!(is_moved(0x5000, 0));
        assert!(!is_moved(0x5000, 0x5001));
        assert!(!is_moved(0, 0));
    }
}
