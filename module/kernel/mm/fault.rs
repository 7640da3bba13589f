// SPDX-License-Identifier: GPL-2.0

//! Faults in a window, and others who look into it.

use super::host::Notes;
use super::window::Window;
use crate::bindings;
use core::ffi::c_void;
use kernel::prelude::*;
use shadowmm_core::mm::Access;
use shadowmm_core::mm::FaultResult;
use shadowmm_core::mm::SegvCode;
use shadowmm_core::mm::VirtAddr;
use shadowmm_core::phys::PAGE_SIZE;

/// How often a page is faulted in that goes again before it is read.
const TRIES: u32 = 16;

/// Serves a fault, and says what the process is told.
///
/// The shadow's state is held for reading meanwhile, which costs the CPU an increment
/// of its own and nobody else anything: knobs may be turned while processes fault. The
/// boot does not begin anew, because there is a window ([`super::window::Pinned`]).
///
/// # Safety
///
/// Called by window.c with a VMA's window and the fault in it, with the VMA's lock or
/// the mmap lock, and with room for the page that it is to read; `tried` where it has done so.
#[no_mangle]
unsafe extern "C" fn shadowmm_window_fault(
    window: *mut c_void,
    table: *mut bindings::shadowmm_table,
    addr: usize,
    access: u32,
    tried: bool,
    unread: *mut bindings::shadowmm_unread,
) -> u32 {
    // SAFETY: By this function's own.
    let (window, table) = unsafe { (Window::of(window), &*table) };
    let access = match access {
        bindings::SHADOWMM_WRITE => Access::Write,
        bindings::SHADOWMM_EXECUTE => Access::Execute,
        _ => Access::Read,
    };
    let notes = Notes::default();
    // SAFETY: The caller's lock is held until this returns.
    let result = unsafe {
        window.with_table(table, &notes, |space, table| {
            let result = space.fault(table, VirtAddr(addr as u64), access, tried);
            window.count_pages(|| space.cells().charged());
            Ok(result)
        })
    };
    match result {
        Ok(FaultResult::Mapped(_)) => bindings::SHADOWMM_FAULT_DONE,
        Ok(FaultResult::Retry) => bindings::SHADOWMM_FAULT_RETRY,
        Ok(FaultResult::Segv(SegvCode::MapErr)) => bindings::SHADOWMM_FAULT_MAPERR,
        Ok(FaultResult::Segv(SegvCode::AccErr)) => bindings::SHADOWMM_FAULT_ACCERR,
        Ok(FaultResult::NotRead) => match notes.unread() {
            Some(page) => {
                // SAFETY: By this function's own.
                unsafe { unread.write(page.into_raw()) };
                bindings::SHADOWMM_FAULT_READ
            }
            None => bindings::SHADOWMM_FAULT_BUS,
        },
        Ok(FaultResult::HostOom) => bindings::SHADOWMM_FAULT_HOST_OOM,
        Ok(FaultResult::Bus) if notes.is_poisoned() => bindings::SHADOWMM_FAULT_POISON,
        Ok(FaultResult::Bus | FaultResult::Oom) | Err(_) => bindings::SHADOWMM_FAULT_BUS,
    }
}

/// Somebody else reads or writes what the process has there (`/proc/PID/mem`, ptrace):
/// how many bytes, or a negative errno.
///
/// # Safety
///
/// As above, with the mmap lock; `buf` has `len` bytes.
#[no_mangle]
unsafe extern "C" fn shadowmm_window_access(
    window: *mut c_void,
    table: *mut bindings::shadowmm_table,
    addr: usize,
    buf: *mut u8,
    len: usize,
    write: bool,
) -> i32 {
    // SAFETY: By this function's own.
    let (window, table) = unsafe { (Window::of(window), &*table) };
    let access = match write {
        true => Access::Write,
        false => Access::Read,
    };
    let notes = Notes::default();
    let (mut done, mut tries, mut tried) = (0, 0, false);
    while done < len && tries < TRIES {
        let at = addr + done;
        let part = (len - done).min(PAGE_SIZE as usize - at % PAGE_SIZE as usize);
        // SAFETY: `buf` has as many bytes; the VMA stays while its lock is held.
        if unsafe { bindings::shadowmm_window_copy(table, at, buf.add(done).cast(), part, write) } {
            (done, tries, tried) = (done + part, 0, false);
            continue;
        }
        // The entry is not there, or not any more.
        // SAFETY: The caller's lock is held until this returns.
        let result = unsafe {
            window.with_table(table, &notes, |space, table| {
                let result = space.fault(table, VirtAddr(at as u64), access, tried);
                window.count_pages(|| space.cells().charged());
                Ok(result)
            })
        };
        match result {
            Ok(FaultResult::Mapped(_) | FaultResult::Retry) => tries += 1,
            // Nobody waits for the caller but who changes the process's mappings.
            Ok(FaultResult::NotRead) if notes.unread().is_some_and(|page| page.read().is_ok()) => {
                (tries, tried) = (tries + 1, true)
            }
            _ => break,
        }
    }
    match done {
        0 => EFAULT.to_errno(),
        done => done as i32,
    }
}
