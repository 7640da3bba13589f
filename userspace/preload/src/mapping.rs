// SPDX-License-Identifier: GPL-2.0

//! mmap and mremap.

use crate::counters::count;
use crate::counters::Counter;
use crate::kernel;
use crate::kernel::call;
use crate::kernel::pointer;
use crate::kernel::told;
use crate::kernel::TASK_SIZE;
use crate::outside;
use crate::window;
use crate::window::Part;
use nix::libc;
use nix::libc::c_int;
use nix::libc::c_void;
use nix::libc::off_t;
use nix::libc::size_t;
use shadowmm_abi as abi;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

/// What MAP_32BIT chooses from.
const LOW: (u64, u64) = (0x4000_0000, 0x4000_0000);

/// Whether shared anonymous memory goes into the window, too (`shadowmm run --shared`).
static SHARED: AtomicBool = AtomicBool::new(false);

/// Reads what is wanted from the environment, before the program runs.
pub(crate) fn begin() {
    // SAFETY: The environment is read alone.
    let wanted = unsafe { libc::getenv(c"SHADOWMM_SHARED".as_ptr()) };
    SHARED.store(!wanted.is_null(), Relaxed);
}

/// Whether what several processes have may be in the window.
pub(crate) fn is_shared() -> bool {
    SHARED.load(Relaxed)
}

/// What a call to mmap asks for.
#[derive(Clone, Copy)]
struct Wanted {
    addr: u64,
    len: u64,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    offset: u64,
}

impl Wanted {
    fn has(&self, flags: c_int) -> bool {
        self.flags & flags != 0
    }

    fn is_fixed(&self) -> bool {
        self.has(libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE)
    }

    /// Whether it takes the place of what is there.
    fn is_replacing(&self) -> bool {
        self.has(libc::MAP_FIXED) && !self.has(libc::MAP_FIXED_NOREPLACE)
    }

    fn is_anonymous(&self) -> bool {
        self.has(libc::MAP_ANONYMOUS)
    }

    fn is_private(&self) -> bool {
        self.flags & libc::MAP_TYPE == libc::MAP_PRIVATE
    }

    /// Whether anonymous memory of its kind goes into the window.
    fn is_wanted(&self) -> bool {
        let kind = self.flags & libc::MAP_TYPE;
        let is_shared = kind == libc::MAP_SHARED || kind == libc::MAP_SHARED_VALIDATE;
        self.is_private() || (is_shared && self::is_shared())
    }

    /// Why it is not for the window, if it is not. `is_inside`: its fixed place is there.
    ///
    /// What is to be executed is the host's, since no CPU executes anything in a window. Only
    /// what replaces a part of the window can't be: the host would refuse it. It can be read
    /// and written there, as after mprotect with `PROT_EXEC`, and a jump to it is SIGSEGV.
    /// With `MAP_FIXED_NOREPLACE` the host says EEXIST, and whoever asks looks elsewhere.
    ///
    /// A stack is the host's, too: where a thread ends, the kernel wakes whoever waits for it with
    /// a key for several processes (`mm_release`), and no such key is of a window.
    fn left(&self, is_inside: bool) -> Option<Counter> {
        if self.prot & libc::PROT_EXEC != 0 && !(is_inside && self.is_replacing()) {
            return Some(Counter::LeftExecutable);
        }
        if self.has(libc::MAP_HUGETLB) {
            return Some(Counter::LeftHugetlb);
        }
        if is_inside {
            // Nobody else can have that place: whatever the window knows.
            let known = self.is_anonymous() || self.is_private();
            return (!known).then_some(Counter::LeftFile);
        }
        match () {
            () if !self.is_anonymous() => Some(Counter::LeftFile),
            () if !self.is_wanted() => Some(Counter::LeftShared),
            () if self.has(libc::MAP_STACK) => Some(Counter::LeftStack),
            () if !window::is_there() => Some(Counter::LeftOther),
            () if self.is_fixed() => Some(Counter::LeftFixed),
            () if self.has(libc::MAP_32BIT) && !window::has(LOW.0, LOW.1) => {
                Some(Counter::LeftOther)
            }
            () => None,
        }
    }

    /// Asks the window, or the kernel: what mmap returns.
    ///
    /// # Safety
    ///
    /// As mmap.
    unsafe fn map(&self) -> i64 {
        let is_inside = self.is_fixed() && window::has(self.addr, self.len);
        if let Some(reason) = self.left(is_inside) {
            count(reason);
            let [prot, flags, fd] = [self.prot, self.flags, self.fd].map(|value| value as u64);
            let args = [self.addr, self.len, prot, flags, fd, self.offset];
            // SAFETY: By this function's own.
            return unsafe { kernel::syscall(libc::SYS_mmap, args) };
        }
        let is_hint = !self.is_fixed() && !window::has(self.addr, self.len);
        let mut request = abi::shadowmm_mm_mmap {
            addr: if is_hint { 0 } else { self.addr },
            len: self.len,
            prot: self.prot as u32,
            flags: self.flags as u32,
            fd: if self.is_anonymous() { -1 } else { self.fd },
            offset: if self.is_anonymous() { 0 } else { self.offset },
            ..Default::default()
        };
        count(Counter::Mmap);
        match window::ask(abi::REQUEST_MM_MMAP, &mut request) {
            0 => request.addr as i64,
            error => error,
        }
    }
}

/// mmap(2). At a fixed place that is partly in the window it is two calls, or three.
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
    if offset & 4095 != 0 {
        kernel::set_errno(libc::EINVAL);
        return libc::MAP_FAILED;
    }
    let wanted = Wanted {
        addr: addr as u64,
        len: len as u64,
        prot,
        flags,
        fd,
        offset: offset as u64,
    };
    let is_whole = !wanted.is_fixed() || window::parts(wanted.addr, wanted.len).count() == 1;
    if is_whole {
        // SAFETY: By this function's own.
        return pointer(told(unsafe { wanted.map() }));
    }
    for Part { addr, len, .. } in window::parts(wanted.addr, wanted.len) {
        let before = addr - wanted.addr;
        let part = Wanted {
            addr,
            len,
            offset: wanted.offset.wrapping_add(before),
            ..wanted
        };
        // SAFETY: By this function's own: all of the range is the caller's to replace.
        let mapped = told(unsafe { part.map() });
        if mapped < 0 {
            let error = kernel::errno();
            if wanted.has(libc::MAP_FIXED_NOREPLACE) {
                // SAFETY: What was free before it was just mapped.
                unsafe { crate::ranges::munmap(pointer(wanted.addr as i64), before as usize) };
            }
            kernel::set_errno(error);
            return libc::MAP_FAILED;
        }
    }
    addr
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

/// Whether a move to a fixed place may be asked for (`check_mremap_params`).
fn is_accepted(flags: c_int, addr: u64, (old_len, new_len): (u64, u64), new_addr: u64) -> bool {
    let known = libc::MREMAP_FIXED | libc::MREMAP_MAYMOVE | libc::MREMAP_DONTUNMAP;
    let resizes = old_len.div_ceil(4096) != new_len.div_ceil(4096);
    let end = new_addr.checked_add(new_len);
    flags & !known == 0
        && flags & libc::MREMAP_MAYMOVE != 0
        && !(flags & libc::MREMAP_DONTUNMAP != 0 && resizes)
        && (addr | new_addr) % 4096 == 0
        && new_len != 0
        && end.is_some_and(|end| end <= TASK_SIZE)
}

/// mremap(2). Its last argument is there with some flags alone. What moves to a fixed place
/// outside of the window is copied where that can be had ([`outside`]); all else that is to
/// move from one to the other is told as a lack of room.
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
    let mut new_addr = match flags & with_place {
        0 => 0,
        _ => new_addr as u64,
    };
    let (addr, old_len, new_len) = (addr as u64, old_len as u64, new_len as u64);
    let inside = window::has(addr, 0);
    let stays = match inside {
        true => window::has(new_addr, new_len),
        false => window::parts(new_addr, new_len).all(|part| !part.inside),
    };
    if !stays && flags & libc::MREMAP_FIXED != 0 {
        // What is not accepted anywhere, whoever is asked below says.
        if is_accepted(flags, addr, (old_len, new_len), new_addr) {
            if let Some(error) = outside::refused(inside, addr, old_len) {
                kernel::set_errno(error);
                return libc::MAP_FAILED;
            }
            let is_outside = window::parts(new_addr, new_len).all(|part| !part.inside);
            if inside && is_outside && flags == libc::MREMAP_FIXED | libc::MREMAP_MAYMOVE {
                let lengths = (old_len, new_len);
                // SAFETY: By this function's own: both ranges are the caller's.
                if let Some(done) = unsafe { outside::move_to(addr, lengths, new_addr) } {
                    return pointer(told(done));
                }
            }
            count(Counter::LeftFixed);
            kernel::set_errno(libc::ENOMEM);
            return libc::MAP_FAILED;
        }
    } else if !stays {
        new_addr = 0;
    }
    if inside {
        let mut request = abi::shadowmm_mm_mremap {
            addr,
            old_len,
            new_len,
            new_addr,
            flags: flags as u32,
            ..Default::default()
        };
        count(Counter::Mremap);
        return match told(window::ask(abi::REQUEST_MM_MREMAP, &mut request)) {
            0 => pointer(request.addr as i64),
            _ => libc::MAP_FAILED,
        };
    }
    let args = [addr, old_len, new_len, flags as u64, new_addr, 0];
    // SAFETY: By this function's own.
    pointer(unsafe { call(libc::SYS_mremap, args) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXEC: c_int = libc::PROT_READ | libc::PROT_EXEC;
    const ANON: c_int = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;

    /// Why it is left to the host at a place in the window, and elsewhere.
    fn left(prot: c_int, flags: c_int) -> [Option<Counter>; 2] {
        let wanted = Wanted {
            addr: 0x10000,
            len: 0x1000,
            prot,
            flags,
            fd: -1,
            offset: 0,
        };
        [wanted.is_fixed(), false].map(|is_inside| wanted.left(is_inside))
    }

    #[test]
    fn what_is_executed_goes_to_the_window_only_in_place_of_a_part_of_it() {
        let host = Some(Counter::LeftExecutable);
        let file = libc::MAP_PRIVATE;
        for kind in [ANON, file] {
            assert_eq!(left(EXEC, kind), [host; 2]);
            assert_eq!(left(EXEC, kind | libc::MAP_FIXED), [None, host]);
            assert_eq!(left(EXEC, kind | libc::MAP_FIXED_NOREPLACE), [host; 2]);
        }
        let both = libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE;
        assert_eq!(left(EXEC, ANON | both), [host; 2]);
        let shared = libc::MAP_SHARED | libc::MAP_FIXED;
        assert_eq!(left(EXEC, shared), [Some(Counter::LeftFile), host]);
    }

    #[test]
    fn a_stack_goes_to_the_window_only_where_its_place_is_there() {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let stack = ANON | libc::MAP_STACK;
        let host = Some(Counter::LeftStack);
        assert_eq!(left(prot, stack), [host; 2]);
        assert_eq!(left(prot, stack | libc::MAP_FIXED), [None, host]);
    }

    #[test]
    fn an_offset_is_in_pages_also_where_there_is_no_file() {
        // SAFETY: Nothing is mapped.
        let place = unsafe { mmap(std::ptr::null_mut(), 4096, 0, ANON, -1, 123) };
        assert_eq!((place, kernel::errno()), (libc::MAP_FAILED, libc::EINVAL));
    }

    #[test]
    fn a_move_that_linux_does_not_accept_is_none() {
        let both = libc::MREMAP_FIXED | libc::MREMAP_MAYMOVE;
        let keeping = both | libc::MREMAP_DONTUNMAP;
        let page = (4096, 4096);
        assert!(is_accepted(both, 0x10000, (4096, 8192), 0x20000));
        assert!(is_accepted(keeping, 0x10000, (4095, 4096), 0x20000));
        for (flags, addr, lengths, new_addr) in [
            (libc::MREMAP_FIXED, 0x10000, page, 0x20000),
            (both | 8, 0x10000, page, 0x20000),
            (both, 0x10001, page, 0x20000),
            (both, 0x10000, page, 0x20001),
            (both, 0x10000, (4096, 0), 0x20000),
            (both, 0x10000, page, TASK_SIZE),
            (keeping, 0x10000, (4096, 8192), 0x20000),
        ] {
            assert!(!is_accepted(flags, addr, lengths, new_addr));
        }
    }

    #[test]
    fn what_is_not_executed_goes_to_the_window_wherever_its_place_is_there() {
        let fixed = [libc::MAP_FIXED, libc::MAP_FIXED_NOREPLACE];
        for fixed in fixed.map(|fixed| ANON | fixed) {
            assert_eq!(left(libc::PROT_READ, fixed)[0], None);
        }
    }
}
