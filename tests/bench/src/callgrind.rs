// SPDX-License-Identifier: GPL-2.0

//! Client requests of valgrind's callgrind (its manual, "The Client Request
//! mechanism"): under valgrind a certain row of instructions that does nothing
//! is a request, elsewhere it does nothing.

use std::arch::asm;
use std::ffi::CStr;

/// `VG_USERREQ_TOOL_BASE('C', 'T')`, and what follows it.
const ZERO_STATS: u64 = 0x4354_0001;
const DUMP_STATS_AT: u64 = 0x4354_0003;
const TOGGLE_COLLECT: u64 = 0x4354_0002;
const RUNNING_ON_VALGRIND: u64 = 0x1001;

fn request(number: u64, argument: u64) -> u64 {
    let arguments = [number, argument, 0, 0, 0, 0];
    let mut result = 0u64;
    // SAFETY: The rotations add up to whole turns and the exchange is one of a
    // register with itself; valgrind reads the arguments and writes the result.
    unsafe {
        asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") arguments.as_ptr(),
            inout("rdx") result,
            options(nostack),
        );
    }
    result
}

/// Whether somebody counts.
pub fn is_running() -> bool {
    request(RUNNING_ON_VALGRIND, 0) != 0
}

/// Counts from here on, from nothing.
pub fn start() {
    request(ZERO_STATS, 0);
    request(TOGGLE_COLLECT, 0);
}

/// Counts no more, and writes what was counted under this name.
pub fn stop(name: &CStr) {
    request(TOGGLE_COLLECT, 0);
    request(DUMP_STATS_AT, name.as_ptr() as u64);
}
