// SPDX-License-Identifier: GPL-2.0

//! Calls about a range of addresses. One that is partly in the window is taken apart; as
//! in Linux, what was done before an error stays, and madvise and msync go on where nothing
//! is mapped.

use crate::counters::count;
use crate::counters::Counter;
use crate::kernel;
use crate::kernel::told;
use crate::original::Original;
use crate::window;
use crate::window::Part;
use nix::libc;
use nix::libc::c_int;
use nix::libc::c_long;
use nix::libc::c_void;
use nix::libc::size_t;
use shadowmm_abi as abi;
use std::mem;

const HOLE: i64 = -(libc::ENOMEM as i64);

/// What a call does about addresses at which nothing is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holes {
    /// Goes no further.
    End,
    /// Goes on behind them, and tells of them in the end.
    Told,
}

impl Holes {
    /// Of madvise, which tells of holes, but stops where it populates.
    fn of_advice(advice: c_int) -> Self {
        match advice {
            libc::MADV_POPULATE_READ | libc::MADV_POPULATE_WRITE => Self::End,
            _ => Self::Told,
        }
    }

    /// Does `part` for each of the parts: 0, or a negative errno.
    fn walk(self, parts: impl Iterator<Item = Part>, part: impl Fn(Part) -> i64) -> i64 {
        let mut told = 0;
        for done in parts.map(part) {
            match done {
                0 => {}
                HOLE if self == Self::Told => told = HOLE,
                error => return error,
            }
        }
        told
    }
}

/// Does `window` for what is in the window, and system call `number` for the rest: 0, or
/// a negative errno.
///
/// # Safety
///
/// As the system call.
unsafe fn each(
    counter: Counter,
    (number, holes): (c_long, Holes),
    (addr, len): (u64, u64),
    arg: impl Fn(Part) -> u64,
    window: impl Fn(Part) -> i64,
) -> i64 {
    holes.walk(window::parts(addr, len), |part| {
        if part.inside {
            count(counter);
            return window(part);
        }
        // SAFETY: By this function's own.
        unsafe { kernel::syscall(number, [part.addr, part.len, arg(part), 0, 0, 0]) }
    })
}

/// A call whose request is a range and one argument.
///
/// # Safety
///
/// As the system call.
unsafe fn range_call(
    counter: Counter,
    (request, number, holes): (u32, c_long, Holes),
    addr: *const c_void,
    len: size_t,
    arg: c_int,
) -> i64 {
    let range = (addr as u64, len as u64);
    let ask = |part: Part| window::ask_range(request, part.addr, part.len, arg as u32);
    // SAFETY: By this function's own.
    unsafe { each(counter, (number, holes), range, |_| arg as u64, ask) }
}

/// munmap(2).
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn munmap(addr: *mut c_void, len: size_t) -> c_int {
    let numbers = (abi::REQUEST_MM_MUNMAP, libc::SYS_munmap, Holes::End);
    // SAFETY: By this function's own.
    told(unsafe { range_call(Counter::Munmap, numbers, addr, len, 0) }) as c_int
}

/// mprotect(2).
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn mprotect(addr: *mut c_void, len: size_t, prot: c_int) -> c_int {
    let numbers = (abi::REQUEST_MM_MPROTECT, libc::SYS_mprotect, Holes::End);
    // SAFETY: By this function's own.
    told(unsafe { range_call(Counter::Mprotect, numbers, addr, len, prot) }) as c_int
}

/// madvise(2).
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn madvise(addr: *mut c_void, len: size_t, advice: c_int) -> c_int {
    // SAFETY: By this function's own.
    told(unsafe { advise(addr, len, advice) }) as c_int
}

unsafe fn advise(addr: *mut c_void, len: size_t, advice: c_int) -> i64 {
    let holes = Holes::of_advice(advice);
    let numbers = (abi::REQUEST_MM_MADVISE, libc::SYS_madvise, holes);
    // SAFETY: By the caller's function.
    unsafe { range_call(Counter::Madvise, numbers, addr, len, advice) }
}

/// posix_madvise(3): the errno is what it returns. The C library ignores
/// POSIX_MADV_DONTNEED, since MADV_DONTNEED loses what is there.
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn posix_madvise(addr: *mut c_void, len: size_t, advice: c_int) -> c_int {
    if advice == libc::POSIX_MADV_DONTNEED {
        return 0;
    }
    // SAFETY: By this function's own.
    -unsafe { advise(addr, len, advice) } as c_int
}

type Msync = unsafe extern "C-unwind" fn(*mut c_void, size_t, c_int) -> c_int;

/// Which is a cancellation point.
pub(crate) static MSYNC: Original = Original::new(c"msync");

/// msync(2). A thread may be cancelled here, as in close, but where something is in the window.
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C-unwind" fn msync(addr: *mut c_void, len: size_t, flags: c_int) -> c_int {
    let found = MSYNC.get();
    if found.is_null() || window::parts(addr as u64, len as u64).any(|part| part.inside) {
        // SAFETY: By this function's own.
        return unsafe { sync(addr, len, flags) };
    }
    // SAFETY: This is what the C library has by that name.
    let msync: Msync = unsafe { mem::transmute(found) };
    // SAFETY: By this function's own.
    unsafe { msync(addr, len, flags) }
}

/// The same, which is no cancellation point.
///
/// # Safety
///
/// As above.
pub(crate) unsafe fn sync(addr: *mut c_void, len: size_t, flags: c_int) -> c_int {
    let numbers = (abi::REQUEST_MM_MSYNC, libc::SYS_msync, Holes::Told);
    // SAFETY: By this function's own.
    told(unsafe { range_call(Counter::Msync, numbers, addr, len, flags) }) as c_int
}

/// mincore(2).
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn mincore(addr: *mut c_void, len: size_t, vec: *mut u8) -> c_int {
    let (start, vec) = (addr as u64, vec as u64);
    let vec_of = |part: Part| vec.wrapping_add((part.addr - start) / 4096);
    let ask = |part: Part| {
        let mut request = abi::shadowmm_mm_mincore {
            addr: part.addr,
            len: part.len,
            vec: vec_of(part),
            ..Default::default()
        };
        window::ask(abi::REQUEST_MM_MINCORE, &mut request)
    };
    let range = (start, len as u64);
    let number = (libc::SYS_mincore, Holes::End);
    // SAFETY: By this function's own.
    told(unsafe { each(Counter::Mincore, number, range, vec_of, ask) }) as c_int
}

fn lock(op: u32, addr: u64, len: u64, flags: u32) -> i64 {
    let mut request = abi::shadowmm_mm_mlock {
        op,
        flags,
        addr,
        len,
        ..Default::default()
    };
    window::ask(abi::REQUEST_MM_MLOCK, &mut request)
}

/// Locks or unlocks a range. What the kernel locks begins and ends with pages, wherever
/// `addr` is in one.
///
/// # Safety
///
/// As the system call.
unsafe fn lock_range(
    (op, number): (u32, c_long),
    addr: *const c_void,
    len: size_t,
    flags: u32,
) -> c_int {
    let (addr, len) = (addr as u64, len as u64);
    let inside = addr & 4095;
    let range = match len.checked_add(inside) {
        Some(whole) if len != 0 => (addr - inside, whole),
        _ => (addr, len),
    };
    let number = (number, Holes::End);
    let of_window = |part: Part| lock(op, part.addr, part.len, flags);
    // SAFETY: By this function's own.
    told(unsafe { each(Counter::Mlock, number, range, |_| flags.into(), of_window) }) as c_int
}

/// mlock(2).
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn mlock(addr: *const c_void, len: size_t) -> c_int {
    let numbers = (abi::SHADOWMM_MM_MLOCK, libc::SYS_mlock);
    // SAFETY: By this function's own.
    unsafe { lock_range(numbers, addr, len, 0) }
}

/// mlock2(2).
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn mlock2(addr: *const c_void, len: size_t, flags: u32) -> c_int {
    let numbers = (abi::SHADOWMM_MM_MLOCK, libc::SYS_mlock2);
    // SAFETY: By this function's own.
    unsafe { lock_range(numbers, addr, len, flags) }
}

/// munlock(2).
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn munlock(addr: *const c_void, len: size_t) -> c_int {
    let numbers = (abi::SHADOWMM_MM_MUNLOCK, libc::SYS_munlock);
    // SAFETY: By this function's own.
    unsafe { lock_range(numbers, addr, len, 0) }
}

/// Both, the host first: to its limit (`RLIMIT_MEMLOCK`) the window counts with its whole length, and
/// what it refuses is not to be locked in the window.
///
/// # Safety
///
/// As the system call.
unsafe fn lock_all((op, number): (u32, c_long), flags: c_int) -> c_int {
    // SAFETY: By this function's own.
    let mut done = unsafe { kernel::syscall(number, [flags as u64, 0, 0, 0, 0, 0]) };
    if done == 0 && window::is_there() {
        count(Counter::Mlock);
        done = lock(op, 0, 0, flags as u32);
        if done != 0 {
            // SAFETY: What is locked or not is there all the same.
            unsafe { kernel::syscall(libc::SYS_munlockall, [0; 6]) };
        }
    }
    told(done) as c_int
}

/// mlockall(2).
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn mlockall(flags: c_int) -> c_int {
    // SAFETY: By this function's own.
    unsafe { lock_all((abi::SHADOWMM_MM_MLOCKALL, libc::SYS_mlockall), flags) }
}

/// munlockall(2).
///
/// # Safety
///
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn munlockall() -> c_int {
    // SAFETY: By this function's own.
    unsafe { lock_all((abi::SHADOWMM_MM_MUNLOCKALL, libc::SYS_munlockall), 0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const BUSY: i64 = -(libc::EBUSY as i64);

    /// What is said in the end, and how many parts were come to.
    fn walk(holes: Holes, said: &[i64]) -> (i64, usize) {
        let come_to = Cell::new(0);
        let parts = (0..said.len() as u64).map(|at| Part {
            inside: at % 2 == 1,
            addr: at * 4096,
            len: 4096,
        });
        let told = holes.walk(parts, |part| {
            come_to.set(come_to.get() + 1);
            said[(part.addr / 4096) as usize]
        });
        (told, come_to.get())
    }

    #[test]
    fn madvise_goes_on_behind_a_hole_and_tells_of_it() {
        let holes = Holes::of_advice(libc::MADV_DONTNEED);
        assert_eq!(walk(holes, &[0, 0, 0]), (0, 3));
        assert_eq!(walk(holes, &[HOLE, 0, 0]), (HOLE, 3));
        assert_eq!(walk(holes, &[0, HOLE, 0]), (HOLE, 3));
        assert_eq!(walk(holes, &[HOLE, BUSY, 0]), (BUSY, 2));
    }

    #[test]
    fn others_end_there() {
        assert_eq!(walk(Holes::End, &[0, HOLE, 0]), (HOLE, 2));
        let holes = Holes::of_advice(libc::MADV_POPULATE_WRITE);
        assert_eq!(walk(holes, &[HOLE, 0, 0]), (HOLE, 1));
    }
}
