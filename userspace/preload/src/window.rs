// SPDX-License-Identifier: GPL-2.0

//! The process's window, which comes with the first call that needs it, and requests to it.

use crate::counters::count;
use crate::counters::Counter;
use crate::fd::Descriptor;
use crate::kernel;
use crate::room;
use nix::libc;
use nix::libc::c_int;
use shadowmm_abi as abi;
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
static FILE: Descriptor = Descriptor::none();
static START: AtomicU64 = AtomicU64::new(0);
static END: AtomicU64 = AtomicU64::new(0);

/// Where the kernel chooses the place: 16 TiB.
const SIZE: u64 = 1 << 44;

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
    if opened {
        count(Counter::Windows);
    }
    STATE.store(if opened { THERE } else { FAILED }, Release);
    opened
}

/// Maps the device, in the largest room or where the kernel likes: where, and how much.
fn map_file(file: u64) -> Option<(u64, u64)> {
    let map = |addr, size, more| {
        let prot = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        let flags = (libc::MAP_SHARED | libc::MAP_NORESERVE | more) as u64;
        // SAFETY: A place is asked for where nothing is.
        let start = unsafe { kernel::syscall(libc::SYS_mmap, [addr, size, prot, flags, file, 0]) };
        (start >= 0).then_some((start as u64, size))
    };
    let wanted = room::largest();
    let wanted = wanted.and_then(|at| map(at.start, at.end - at.start, libc::MAP_FIXED_NOREPLACE));
    wanted.or_else(|| map(0, SIZE, 0))
}

fn map() -> bool {
    // SAFETY: The path is a C string.
    let file = unsafe { kernel::open(abi::SHADOWMM_DEVICE.as_ptr().cast(), libc::O_RDWR) };
    let Some(file) = file else {
        return false;
    };
    let Some((start, size)) = map_file(file) else {
        kernel::close(file);
        return false;
    };
    FILE.set(file);
    START.store(start, Relaxed);
    END.store(start + size, Relaxed);
    true
}

/// The addresses of the window; empty where there is none. Does not open one.
fn bounds() -> (u64, u64) {
    match STATE.load(Acquire) {
        THERE => (START.load(Relaxed), END.load(Relaxed)),
        _ => (0, 0),
    }
}

/// Whether all of a range is in the window.
pub(crate) fn has(addr: u64, len: u64) -> bool {
    let (start, end) = bounds();
    addr >= start && addr < end && len <= end - addr
}

/// The file through which it is mapped, where that is to be kept.
pub(crate) fn file() -> Option<c_int> {
    (STATE.load(Acquire) == THERE)
        .then(|| FILE.number())
        .flatten()
}

/// Whether it is that file.
pub(crate) fn is_file(fd: c_int) -> bool {
    STATE.load(Acquire) == THERE && FILE.is(fd)
}

/// Leaves the file's number, if it is that, to the program's file `old`: an errno where that can't be.
pub(crate) fn leave_file(fd: c_int, old: c_int) -> Result<(), c_int> {
    match STATE.load(Acquire) {
        THERE => FILE.leave(fd, old),
        _ => Ok(()),
    }
}

/// A child has files of its own.
pub(crate) fn forked() {
    FILE.forked();
}

/// A part of a range of addresses: all of it in the window, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) inside: bool,
    pub(crate) addr: u64,
    pub(crate) len: u64,
}

/// The parts of a range, from below. One that no call accepts is one part, which says so.
pub(crate) fn parts(addr: u64, len: u64) -> impl Iterator<Item = Part> {
    split(bounds(), addr, len).into_iter().flatten()
}

fn split((start, end): (u64, u64), addr: u64, len: u64) -> [Option<Part>; 3] {
    let part = |inside, from: u64, to: u64| {
        (from < to).then_some(Part {
            inside,
            addr: from,
            len: to.wrapping_sub(from),
        })
    };
    // Lengths are rounded up to pages.
    let behind = addr.checked_add(len).filter(|end| *end <= u64::MAX - 4095);
    match behind {
        Some(behind) if len != 0 && addr % 4096 == 0 => [
            part(false, addr, behind.min(start)),
            part(true, addr.max(start), behind.min(end)),
            part(false, addr.max(end), behind),
        ],
        _ => {
            let inside = addr >= start && addr < end;
            [Some(Part { inside, addr, len }), None, None]
        }
    }
}

/// Asks: 0, or a negative errno.
pub(crate) fn ask<T>(number: u32, request: &mut T) -> i64 {
    // Each request begins with its head, of which the size is the first field.
    // SAFETY: As the header says; the module writes what the struct has room for.
    unsafe {
        let head = std::ptr::from_mut(request).cast::<abi::shadowmm_head>();
        (*head).size = size_of::<T>() as u32;
        FILE.ioctl(number, head as u64)
    }
}

/// Asks what is of a range and one number: likewise.
pub(crate) fn ask_range(number: u32, addr: u64, len: u64, arg: u32) -> i64 {
    let mut request = abi::shadowmm_mm_range {
        addr,
        len,
        arg,
        ..Default::default()
    };
    ask(number, &mut request)
}

/// What is known of it.
pub(crate) fn space() -> Option<abi::shadowmm_rec_space> {
    if STATE.load(Acquire) != THERE {
        return None;
    }
    let mut request = abi::shadowmm_mm_info::default();
    (ask(abi::REQUEST_MM_INFO, &mut request) == 0).then_some(request.space)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(addr: u64, len: u64) -> Vec<(bool, u64, u64)> {
        let parts = split((0x10000, 0x50000), addr, len);
        let all = parts.into_iter().flatten();
        all.map(|part| (part.inside, part.addr, part.len)).collect()
    }

    #[test]
    fn a_range_is_taken_apart_where_the_window_begins_and_ends() {
        assert_eq!(of(0x20000, 0x1000), [(true, 0x20000, 0x1000)]);
        assert_eq!(of(0x1000, 0x1000), [(false, 0x1000, 0x1000)]);
        assert_eq!(of(0x50000, 0x1000), [(false, 0x50000, 0x1000)]);
        assert_eq!(
            of(0xf000, 0x2000),
            [(false, 0xf000, 0x1000), (true, 0x10000, 0x1000)]
        );
        let all = [
            (false, 0xf000, 0x1000),
            (true, 0x10000, 0x40000),
            (false, 0x50000, 0x1000),
        ];
        assert_eq!(of(0xf000, 0x42000), all);
    }

    #[test]
    fn what_no_call_accepts_stays_whole() {
        assert_eq!(of(0x20001, 0x1000), [(true, 0x20001, 0x1000)]);
        assert_eq!(of(0x20000, 0), [(true, 0x20000, 0)]);
        assert_eq!(of(0x20000, u64::MAX), [(true, 0x20000, u64::MAX)]);
        assert_eq!(of(0xf001, 0x2000), [(false, 0xf001, 0x2000)]);
        assert_eq!(
            of(0xf000, 0x1001),
            [(false, 0xf000, 0x1000), (true, 0x10000, 1)]
        );
    }

    #[test]
    fn without_a_window_all_is_outside() {
        let parts = split((0, 0), 0x1000, 0x1000);
        let all: Vec<Part> = parts.into_iter().flatten().collect();
        assert_eq!(all.len(), 1);
        assert!(!all[0].inside);
    }
}
