// SPDX-License-Identifier: GPL-2.0

//! What was redirected and what was not. `SHADOWMM_STATS=PATH` names a file of
//! [`SLOTS`] slots ([`shadowmm_abi::stats`]), which all processes of `shadowmm run`
//! have mapped: what one has counted is there, however it ends. What is read from the
//! window, and from the kernel about what the host gave, is added when a process ends by itself.
//! The allocator can't be asked then: who ends in a signal handler may have its lock.

use crate::kernel;
use crate::window;
use nix::libc;
use shadowmm_abi::stats::NAME;
use shadowmm_abi::stats::SIZE;
use shadowmm_abi::stats::SLOT;
use shadowmm_abi::stats::SLOTS;
use std::mem::offset_of;
use std::ptr;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

macro_rules! counters {
    ($($name:ident = $text:literal,)*) => {
        /// What is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Counter { $($name,)* }

        const ALL: &[(Counter, &str)] = &[$((Counter::$name, $text),)*];
    };
}

counters! {
    Processes = "processes",
    Windows = "windows",
    Mmap = "mmap",
    Munmap = "munmap",
    Mprotect = "mprotect",
    Mremap = "mremap",
    Madvise = "madvise",
    Brk = "brk",
    Mlock = "mlock",
    Mincore = "mincore",
    Msync = "msync",
    LeftFile = "left_file",
    LeftShared = "left_shared",
    LeftExecutable = "left_executable",
    LeftHugetlb = "left_hugetlb",
    LeftFixed = "left_fixed",
    LeftStack = "left_stack",
    LeftOther = "left_other",
    MovedOut = "moved_out",
    Faults = "faults",
    FaultsMmapLock = "faults_mmap_lock",
    HiwaterRss = "hiwater_rss_pages",
    HostDataBytes = "host_data_bytes",
    LibcHeapBytes = "libc_heap_bytes",
}

/// One in the file.
#[repr(C)]
struct Slot {
    name: [u8; NAME],
    value: AtomicU64,
}

const _: () = assert!(ALL.len() <= SLOTS);
const _: () = assert!(size_of::<Slot>() == SLOT && offset_of!(Slot, value) == NAME);

/// Those of the file, or null.
static SHARED: AtomicPtr<Slot> = AtomicPtr::new(ptr::null_mut());
/// How many faults of this process are counted already.
static TOLD: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
/// What the host had given when the library began.
static BEGAN: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

fn slot(counter: Counter) -> Option<&'static AtomicU64> {
    let slots = SHARED.load(Relaxed);
    // SAFETY: `begin` has mapped as many, and they stay.
    (!slots.is_null()).then(|| unsafe { &(*slots.add(counter as usize)).value })
}

fn add(counter: Counter, more: u64) {
    if let Some(value) = slot(counter) {
        value.fetch_add(more, Relaxed);
    }
}

pub(crate) fn count(counter: Counter) {
    add(counter, 1);
}

/// Finds the file.
pub(crate) fn begin() {
    // SAFETY: The environment is read alone, before the program runs.
    let path = unsafe { libc::getenv(c"SHADOWMM_STATS".as_ptr()) };
    if path.is_null() {
        return;
    }
    // SAFETY: The path is a C string.
    let Some(file) = (unsafe { kernel::open(path, libc::O_RDWR) }) else {
        return;
    };
    let prot = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    let map = [0, SIZE as u64, prot, libc::MAP_SHARED as u64, file, 0];
    // SAFETY: The kernel chooses a place where nothing is.
    let place = unsafe { kernel::syscall(libc::SYS_mmap, map) };
    kernel::close(file);
    if place < 0 {
        return;
    }
    let slots: *mut Slot = ptr::with_exposed_provenance_mut(place as usize);
    for &(counter, text) in ALL {
        // SAFETY: So many slots were just mapped. Others write the same names.
        let name = unsafe { &raw mut (*slots.add(counter as usize)).name };
        for (at, byte) in text.bytes().enumerate().take(NAME - 1) {
            // SAFETY: As above.
            unsafe { (*name)[at] = byte };
        }
    }
    SHARED.store(slots, Relaxed);
    for (began, now) in BEGAN.iter().zip(host()) {
        began.store(now, Relaxed);
    }
    count(Counter::Processes);
}

/// A child has an address space of its own, in which nothing has happened.
pub(crate) fn forked() {
    for told in &TOLD {
        told.store(0, Relaxed);
    }
    count(Counter::Processes);
}

/// Adds what the window knows. Calls nothing of the C library's: the process may end in a
/// signal handler, or be one that shares its memory with its parent.
pub(crate) fn tell_window() {
    if slot(Counter::Faults).is_none() {
        return;
    }
    let Some(space) = window::space() else {
        return;
    };
    let faults = [
        space.faults_vma_lock + space.faults_mmap_lock,
        space.faults_mmap_lock,
    ];
    let counters = [Counter::Faults, Counter::FaultsMmapLock];
    for ((counter, told), now) in counters.into_iter().zip(&TOLD).zip(faults) {
        add(counter, now.saturating_sub(told.swap(now, Relaxed)));
    }
    if let Some(value) = slot(Counter::HiwaterRss) {
        value.fetch_max(space.hiwater_rss, Relaxed);
    }
}

/// Bytes of data of `/proc/PID/statm`: what is private and writable, and the stack.
fn data(statm: &[u8]) -> u64 {
    let number = statm.split(|byte| *byte == b' ').nth(5).unwrap_or_default();
    let digits = number
        .iter()
        .filter_map(|byte| char::from(*byte).to_digit(10));
    let pages = digits.fold(0u64, |number, digit| {
        number.wrapping_mul(10).wrapping_add(digit.into())
    });
    pages.wrapping_mul(4096)
}

/// Bytes of the host's data, and where the heap of the C library ends. A window is none of it.
fn host() -> [u64; 2] {
    let mut text = [0u8; 256];
    // SAFETY: The path is a C string.
    if let Some(file) = unsafe { kernel::open(c"/proc/self/statm".as_ptr(), libc::O_RDONLY) } {
        let read = [file, text.as_mut_ptr() as u64, text.len() as u64, 0, 0, 0];
        // SAFETY: There is room for as many bytes.
        unsafe { kernel::syscall(libc::SYS_read, read) };
        kernel::close(file);
    }
    // SAFETY: It asks alone.
    let heap = unsafe { kernel::syscall(libc::SYS_brk, [0; 6]) };
    [data(&text), heap as u64]
}

/// Adds what the host has given since the library began. Calls nothing of the C library's, as above.
pub(crate) fn tell_host() {
    if slot(Counter::HostDataBytes).is_none() {
        return;
    }
    let counters = [Counter::HostDataBytes, Counter::LibcHeapBytes];
    for ((counter, began), now) in counters.into_iter().zip(&BEGAN).zip(host()) {
        add(counter, now.saturating_sub(began.load(Relaxed)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_has_given_is_told_by_the_kernel() {
        assert_eq!(data(b"900 800 700 60 0 12 0\n"), 12 * 4096);
        assert_eq!(data(b""), 0);
        let before = host();
        let more = vec![1u8; 64 << 20];
        let now = host();
        assert!(now[0] >= before[0] + (32 << 20) && now[1] >= before[1]);
        drop(more);
    }
}
