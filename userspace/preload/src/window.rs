// SPDX-License-Identifier: GPL-2.0

//! The process's window, which comes with the first call that needs it, and requests to it.

use crate::kernel;
use nix::libc;
use shadowmm_abi as abi;
use std::sync::atomic::AtomicI32;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Acquire;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::Ordering::Release;

const NONE: u32 = 0;
const COMING: u32 = 1;
const THERE: u32 = 2;
const FAILED: u32 = 3;

static STATE: AtomicU32 = AtomicU32::new(NONE);
static FILE: AtomicI32 = AtomicI32::new(-1);
static START: AtomicU64 = AtomicU64::new(0);
static END: AtomicU64 = AtomicU64::new(0);

/// 16 TiB.
const SIZE: u64 = 1 << 44;
/// Out of the way of programs that count their files.
const HIGH_FILE: u64 = 900;

/// Whether there is a window.
pub(crate) fn is_there() -> bool {
    match STATE.load(Acquire) {
        THERE => true,
        NONE => open(),
        // Whoever comes while another opens it goes to the host.
        _ => false,
    }
}

#[cold]
fn open() -> bool {
    if STATE
        .compare_exchange(NONE, COMING, Acquire, Relaxed)
        .is_err()
    {
        return is_there();
    }
    let opened = map();
    STATE.store(if opened { THERE } else { FAILED }, Release);
    opened
}

fn map() -> bool {
    let flags = (libc::O_RDWR | libc::O_CLOEXEC) as u64;
    let path = abi::SHADOWMM_DEVICE.as_ptr() as u64;
    // SAFETY: The path is a C string; a place is chosen where nothing is.
    unsafe {
        let open = [libc::AT_FDCWD as u64, path, flags, 0, 0, 0];
        let low = kernel::syscall(libc::SYS_openat, open);
        if low < 0 {
            return false;
        }
        let high = [low as u64, libc::F_DUPFD_CLOEXEC as u64, HIGH_FILE, 0, 0, 0];
        let mut file = kernel::syscall(libc::SYS_fcntl, high);
        if file >= 0 {
            kernel::syscall(libc::SYS_close, [low as u64, 0, 0, 0, 0, 0]);
        } else {
            file = low;
        }
        let prot = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        let flags = (libc::MAP_SHARED | libc::MAP_NORESERVE) as u64;
        let start = kernel::syscall(libc::SYS_mmap, [0, SIZE, prot, flags, file as u64, 0]);
        if start < 0 {
            kernel::syscall(libc::SYS_close, [file as u64, 0, 0, 0, 0, 0]);
            return false;
        }
        FILE.store(file as i32, Relaxed);
        START.store(start as u64, Relaxed);
        END.store(start as u64 + SIZE, Relaxed);
    }
    true
}

/// Whether all of a range is in the window. Does not open one.
pub(crate) fn has(addr: u64, len: u64) -> bool {
    STATE.load(Acquire) == THERE
        && addr >= START.load(Relaxed)
        && addr < END.load(Relaxed)
        && len <= END.load(Relaxed) - addr
}

/// Asks: 0, or a negative errno.
pub(crate) fn ask<T>(number: u32, request: &mut T) -> i64 {
    // Each request begins with its head, of which the size is the first field.
    // SAFETY: As the header says; the module writes what the struct has room for.
    unsafe {
        let head = std::ptr::from_mut(request).cast::<abi::shadowmm_head>();
        (*head).size = size_of::<T>() as u32;
        let args = [
            FILE.load(Relaxed) as u64,
            number.into(),
            head as u64,
            0,
            0,
            0,
        ];
        kernel::syscall(libc::SYS_ioctl, args)
    }
}

/// What is known of it.
pub(crate) fn space() -> Option<abi::shadowmm_rec_space> {
    if STATE.load(Acquire) != THERE {
        return None;
    }
    let mut request = abi::shadowmm_mm_info::default();
    (ask(abi::REQUEST_MM_INFO, &mut request) == 0).then_some(request.space)
}
