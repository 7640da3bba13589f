// SPDX-License-Identifier: GPL-2.0

//! Where a window goes: into the largest room between the process's mappings, so that as
//! many as can be of the fixed places that programs ask for lie in it.
//!
//! ```text
//! mmap_min_addr              program, heap →         ← libraries, stack
//! │ the window         │ gap │              │ gap ... │
//! ```
//!
//! What the host places itself (heap, libraries, what is left to it) grows into the gaps.

use crate::kernel;
use crate::kernel::TASK_SIZE;
use nix::libc;
use std::ops::Range;

/// Left free before and behind what is there: 2 TiB.
const GAP: u64 = 1 << 41;
/// The lowest place (`vm.mmap_min_addr`).
const LOWEST: u64 = 1 << 16;
/// Windows begin and end at places like that, so that huge pages fit: 2 MiB.
const GRAIN: u64 = 1 << 21;

/// The lines of `/proc/self/maps`, of which the addresses are read.
#[derive(Clone, Copy)]
enum State {
    Start(u64),
    End(u64, u64),
    Rest,
}

/// What is found on the way through the mappings.
struct Search {
    state: State,
    /// Where the last mapping ends; 0 before the first.
    last: u64,
    best: Range<u64>,
}

impl Search {
    const fn new() -> Self {
        Self {
            state: State::Start(0),
            last: 0,
            best: 0..0,
        }
    }

    fn byte(&mut self, byte: u8) {
        let digit = char::from(byte).to_digit(16).map(u64::from);
        self.state = match (self.state, digit, byte) {
            (State::Start(addr), Some(digit), _) => State::Start((addr << 4) | digit),
            (State::Start(start), None, b'-') => State::End(start, 0),
            (State::End(start, addr), Some(digit), _) => State::End(start, (addr << 4) | digit),
            (State::End(start, end), None, _) => {
                self.mapping(start..end);
                State::Rest
            }
            (_, _, b'\n') => State::Start(0),
            _ => State::Rest,
        };
    }

    fn mapping(&mut self, mapping: Range<u64>) {
        let start = match self.last {
            0 => LOWEST,
            end => end.saturating_add(GAP).next_multiple_of(GRAIN),
        };
        // `[vsyscall]`, which the kernel tells of as well, lies behind all of a process's addresses.
        let end = mapping.start.min(TASK_SIZE).saturating_sub(GAP) / GRAIN * GRAIN;
        if end.saturating_sub(start) > self.best.end - self.best.start {
            self.best = start..end;
        }
        self.last = mapping.end;
    }
}

/// The largest room; `None` where nobody tells what there is.
pub(crate) fn largest() -> Option<Range<u64>> {
    let mut search = Search::new();
    let mut text = [0u8; 1024];
    // SAFETY: The path is a C string.
    let file = unsafe { kernel::open(c"/proc/self/maps".as_ptr(), libc::O_RDONLY) }?;
    loop {
        let read = [file, text.as_mut_ptr() as u64, text.len() as u64, 0, 0, 0];
        // SAFETY: There is room for as many bytes.
        let got = unsafe { kernel::syscall(libc::SYS_read, read) };
        if got <= 0 {
            break;
        }
        for &byte in text.iter().take(got as usize) {
            search.byte(byte);
        }
    }
    kernel::close(file);
    (!search.best.is_empty()).then_some(search.best)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(text: &str) -> Range<u64> {
        let mut search = Search::new();
        for byte in text.bytes() {
            search.byte(byte);
        }
        search.best
    }

    #[test]
    fn the_window_goes_below_a_program_that_may_lie_anywhere() {
        let best = search(
            "555555554000-555555559000 r--p 00000000 fe:00 1 /usr/bin/cat\n\
             555555560000-555555581000 rw-p 00000000 00:00 0 [heap]\n\
             7ffff7d80000-7ffff7da8000 r--p 00000000 fe:00 2 /usr/lib/libc.so.6\n\
             7ffffffde000-7ffffffff000 rw-p 00000000 00:00 0 [stack]\n\
             ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n",
        );
        assert_eq!(best, 0x1_0000..0x5355_5540_0000);
    }

    #[test]
    fn and_between_one_that_may_not_and_its_libraries() {
        let best = search(
            "00400000-0041f000 r--p 00000000 fe:00 1 /usr/bin/python3\n\
             01000000-01021000 rw-p 00000000 00:00 0 [heap]\n\
             7ffff7d80000-7ffff7da8000 r--p 00000000 fe:00 2 /usr/lib/libc.so.6\n",
        );
        assert_eq!(best, 0x200_0120_0000..0x7dff_f7c0_0000);
    }

    #[test]
    fn the_kernel_tells_of_this_process() {
        let room = largest().unwrap();
        assert!(room.end - room.start > 1 << 40, "{room:x?}");
        assert!(room.end < 1 << 47, "{room:x?}");
    }
}
