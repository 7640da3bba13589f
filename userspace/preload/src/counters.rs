// SPDX-License-Identifier: GPL-2.0

//! What was redirected and what was not. With `SHADOWMM_STATS=PATH` a line is written
//! there when a process ends: names and numbers, which `shadowmm run` adds up.

use crate::kernel;
use crate::window;
use nix::libc;
use std::io::Write;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

macro_rules! counters {
    ($($name:ident = $text:literal;)*) => {
        $(pub(crate) static $name: AtomicU64 = AtomicU64::new(0);)*
        static ALL: &[(&str, &AtomicU64)] = &[$(($text, &$name),)*];
    };
}

counters! {
    MMAP = "mmap";
    MUNMAP = "munmap";
    MPROTECT = "mprotect";
    MREMAP = "mremap";
    MADVISE = "madvise";
    BRK = "brk";
    MLOCK = "mlock";
    MINCORE = "mincore";
    MSYNC = "msync";
    LEFT_FILE = "left_file";
    LEFT_SHARED = "left_shared";
    LEFT_EXECUTABLE = "left_executable";
    LEFT_HUGETLB = "left_hugetlb";
    LEFT_FIXED = "left_fixed";
    LEFT_OTHER = "left_other";
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// A child begins with nothing.
pub(crate) fn forget() {
    for (_, counter) in ALL {
        counter.store(0, Relaxed);
    }
}

/// A line on the stack.
struct Line {
    bytes: [u8; 1024],
    len: usize,
}

impl Write for Line {
    fn write(&mut self, from: &[u8]) -> std::io::Result<usize> {
        let free = self.bytes.get_mut(self.len..).unwrap_or_default();
        let len = from.len().min(free.len());
        for (to, from) in free.iter_mut().zip(from) {
            *to = *from;
        }
        self.len += len;
        Ok(len)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Writes the line.
pub(crate) fn tell() {
    // SAFETY: The environment is read alone, at the end of the process.
    let path = unsafe { libc::getenv(c"SHADOWMM_STATS".as_ptr()) };
    if path.is_null() {
        return;
    }
    let mut line = Line {
        bytes: [0; 1024],
        len: 0,
    };
    let _ = write!(line, "processes 1");
    for (name, counter) in ALL {
        let _ = write!(line, " {name} {}", counter.load(Relaxed));
    }
    if let Some(space) = window::space() {
        let faults = space.faults_vma_lock + space.faults_mmap_lock;
        let _ = write!(
            line,
            " faults {faults} faults_mmap_lock {} hiwater_rss_pages {}",
            space.faults_mmap_lock, space.hiwater_rss
        );
    }
    // SAFETY: Reads the allocator's own counters.
    let libc_own = unsafe { libc::mallinfo2() };
    let _ = writeln!(
        line,
        " libc_mmaps {} libc_mmap_bytes {} libc_heap_bytes {}",
        libc_own.hblks, libc_own.hblkhd, libc_own.arena
    );
    let flags = libc::O_WRONLY | libc::O_APPEND | libc::O_CLOEXEC;
    // SAFETY: The path is a C string, the line has so many bytes.
    unsafe {
        let open = [libc::AT_FDCWD as u64, path as u64, flags as u64, 0, 0, 0];
        let file = kernel::syscall(libc::SYS_openat, open);
        if file >= 0 {
            let bytes = line.bytes.as_ptr() as u64;
            kernel::syscall(
                libc::SYS_write,
                [file as u64, bytes, line.len as u64, 0, 0, 0],
            );
            kernel::syscall(libc::SYS_close, [file as u64, 0, 0, 0, 0, 0]);
        }
    }
}
