// SPDX-License-Identifier: GPL-2.0

//! Where a side plays: a range of a process's addresses, with nothing free around it.
//!
//! ```text
//! the process   wall │ arena                                        │ wall
//!               what it is made of, and maps without access in all gaps between:
//!               a mapping goes into the arena or nowhere
//!
//! a window           │ arena: up to mmap_base │ wall: up to its end │
//! ```
//!
//! So both place alike, and what the two give can be compared by the distance from the
//! arena's beginning. The pages of the wall next to the arena are shared memory, which
//! merges with nothing.

use super::generate::PAGE;
use super::text::Text;
use nix::libc;
use std::ffi::CStr;
use std::ptr;

/// What a system call comes to: a value, or minus an error number.
pub type Answer = i64;

/// The end of the addresses that a process has (`DEFAULT_MAP_WINDOW`).
const END: u64 = 0x7fff_ffff_f000;
/// The lowest that is ever given out (`vm.mmap_min_addr` as it comes).
const LOWEST: u64 = 0x1_0000;
/// What stays free below a stack: nothing is placed there (`stack_guard_gap`).
const STACK_GAP: u64 = 256 * PAGE;

/// The answer of a raw system call.
pub fn answer(result: i64) -> Answer {
    match result {
        -1 => {
            // SAFETY: Reads this thread's errno.
            -i64::from(unsafe { *libc::__errno_location() })
        }
        result => result,
    }
}

/// A system call whose arguments are all numbers.
///
/// # Safety
///
/// What it does to the process's memory, it does where nothing of this program lies.
pub unsafe fn call(number: i64, args: [u64; 6]) -> Answer {
    let [a, b, c, d, e, f] = args;
    // SAFETY: By this function's own.
    answer(unsafe { libc::syscall(number, a, b, c, d, e, f) })
}

/// Reads a file from its beginning, until it ends or `enough` says so: whether there was
/// something, and all of it could be read.
pub fn read(fd: i32, text: &mut Text, mut enough: impl FnMut(&[u8]) -> bool) -> bool {
    let mut len = 0;
    let mut is_whole;
    let room = text.room();
    loop {
        let rest = &mut room[len..];
        // SAFETY: The bytes are there to be written.
        let got =
            unsafe { libc::pread(fd, rest.as_mut_ptr().cast(), rest.len(), len as libc::off_t) };
        is_whole = got == 0 && !rest.is_empty();
        match got {
            ..=0 => break,
            _ => len += got as usize,
        }
        if enough(&room[..len]) {
            is_whole = true;
            break;
        }
    }
    text.set_len(len);
    is_whole && len != 0
}

/// Opens a file; the calling process's own is another after a fork.
pub fn open(path: &CStr) -> i32 {
    // SAFETY: The path ends with a zero.
    unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) }
}

/// A number in hexadecimal.
pub fn hex(text: &[u8]) -> Option<u64> {
    let digit = |value: u64, &byte: &u8| {
        let digit = char::from(byte).to_digit(16)?;
        Some(value.checked_mul(16)? | u64::from(digit))
    };
    match text {
        [] => None,
        _ => text.iter().try_fold(0, digit),
    }
}

/// The range that a line of maps begins with.
pub fn range_of(line: &[u8]) -> Option<(u64, u64)> {
    let space = line.iter().position(|&byte| byte == b' ')?;
    let dash = line[..space].iter().position(|&byte| byte == b'-')?;
    Some((hex(&line[..dash])?, hex(&line[dash + 1..space])?))
}

/// The part of the calling process's address space that a test has.
pub fn wall_in(base: u64, pages: u64, text: &mut Text) -> Result<(), &'static str> {
    let end = base + pages * PAGE;
    let fd = open(c"/proc/self/maps");
    // The text is the last thing that may be allocated; nothing is from here on.
    if !read(fd, text, |_| false) {
        return Err("could not read /proc/self/maps");
    }
    // SAFETY: It is ours.
    unsafe { libc::close(fd) };
    let shared = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    map(base - PAGE, PAGE, shared)?;
    map(end, PAGE, shared)?;
    let mut at = LOWEST;
    for line in text.as_bytes().split(|&byte| byte == b'\n') {
        let Some((start, stop)) = range_of(line) else {
            continue;
        };
        if start >= END {
            break;
        }
        let gap = match line.ends_with(b"[stack]") {
            true => STACK_GAP,
            false => 0,
        };
        fill(at, start - gap, base - PAGE, end + PAGE)?;
        at = stop;
    }
    fill(at, END, base - PAGE, end + PAGE)
}

/// Fills a gap, but for a range of it.
fn fill(from: u64, to: u64, but_from: u64, but_to: u64) -> Result<(), &'static str> {
    let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    if from >= to {
        return Ok(());
    }
    if to <= but_from || from >= but_to {
        return map(from, to - from, private);
    }
    if from > but_from || to < but_to {
        return Err("the arena's place is taken");
    }
    fill(from, but_from, 0, 0)?;
    fill(but_to, to, 0, 0)
}

fn map(at: u64, len: u64, flags: i32) -> Result<(), &'static str> {
    let flags = flags | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: Nothing is replaced.
    let got = unsafe {
        libc::mmap(
            ptr::without_provenance_mut(at as usize),
            len as usize,
            libc::PROT_NONE,
            flags,
            -1,
            0,
        )
    };
    match got.addr() as u64 == at {
        true => Ok(()),
        false => Err("the process's addresses could not be walled in"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        let line = b"7f00-7fff00 rw-p 00000000 00:00 0  [heap]";
        assert_eq!(range_of(line), Some((0x7f00, 0x7f_ff00)));
        assert_eq!(range_of(b""), None);
        assert_eq!(range_of(b"Size:    4 kB"), None);
    }

    #[test]
    fn what_cannot_be_read_as_a_whole_is_told() {
        let fd = open(c"/proc/self/maps");
        assert!(read(fd, &mut Text::new(1 << 20), |_| false));
        // Whoever has enough needs no more.
        assert!(read(fd, &mut Text::new(1 << 20), |_| true));
        assert!(!read(fd, &mut Text::new(16), |_| false));
        assert!(!read(-1, &mut Text::new(16), |_| false));
    }
}
