// SPDX-License-Identifier: GPL-2.0

//! `mremap` of private anonymous memory from the window to a fixed place outside of it: a
//! window has its addresses and no others, so the memory becomes the process's own.
//!
//! ```text
//! the place      mapped anew, as MREMAP_FIXED replaces what is there
//! the old range  read-only: who still writes there gets SIGSEGV, as he would
//! its pages      those that are there are copied
//! the place      gets the old protection, and is locked if that was
//! the old range  is unmapped
//! ```
//!
//! What was advised (DONTFORK, guards) is lost with the old range.

use crate::counters::count;
use crate::counters::Counter;
use crate::kernel;
use crate::window;
use nix::libc;
use nix::libc::c_int;
use shadowmm_abi as abi;
use std::ptr;

const PAGE: u64 = 4096;
/// Pages that are asked for at once.
const CHUNK: u64 = 512;

/// `VM_*` of Linux.
const VM_ACCESS: u64 = 7;
const VM_MAYSHARE: u64 = 1 << 7;
const VM_GROWSDOWN: u64 = 1 << 8;
const VM_LOCKED: u64 = 1 << 13;
const VM_NORESERVE: u64 = 1 << 21;

/// The VMA of the window at an address.
fn vma_at(addr: u64) -> Option<abi::shadowmm_rec_vma> {
    let mut walk = abi::shadowmm_mm_walk {
        addr,
        ..Default::default()
    };
    let found = window::ask(abi::REQUEST_MM_WALK, &mut walk) == 0 && walk.mapped != 0;
    found.then_some(walk.vma)
}

/// Why nothing moves from an address, in the window or outside: the errno (`check_prep_vma`).
pub(crate) fn refused(inside: bool, addr: u64, old_len: u64) -> Option<c_int> {
    if inside {
        return match vma_at(addr) {
            None => Some(libc::EFAULT),
            // Only what is shared can be duplicated so.
            Some(vma) => (old_len == 0 && vma.flags & VM_MAYSHARE == 0).then_some(libc::EINVAL),
        };
    }
    let mut there = [0u8; 1];
    let args = [addr, PAGE, there.as_mut_ptr() as u64, 0, 0, 0];
    // SAFETY: There is room for what is said of a page.
    let told = unsafe { kernel::syscall(libc::SYS_mincore, args) };
    (told == -i64::from(libc::ENOMEM)).then_some(libc::EFAULT)
}

/// The flags of the VMA that holds all of a range, where that is private anonymous memory
/// of the ordinary kind.
fn flags_of(addr: u64, len: u64) -> Option<u64> {
    let vma = vma_at(addr)?;
    let is_ordinary = vma.file == 0 && vma.flags & (VM_MAYSHARE | VM_GROWSDOWN) == 0;
    (is_ordinary && len <= vma.end - addr).then_some(vma.flags)
}

/// Copies the pages of a range that are there.
///
/// # Safety
///
/// The range can be read, as much at `to` be written, and both are the caller's alone.
unsafe fn copy(from: u64, len: u64, to: u64) {
    let mut there = [0u8; CHUNK as usize];
    let mut done = 0;
    while done < len {
        let bytes = (len - done).min(CHUNK * PAGE);
        let mut request = abi::shadowmm_mm_mincore {
            addr: from + done,
            len: bytes,
            vec: there.as_mut_ptr().expose_provenance() as u64,
            ..Default::default()
        };
        // All of them, if that can't be told.
        if window::ask(abi::REQUEST_MM_MINCORE, &mut request) != 0 {
            there.fill(1);
        }
        let pages = (0..bytes / PAGE).zip(&there);
        for (page, _) in pages.filter(|(_, there)| **there & 1 != 0) {
            let at = done + page * PAGE;
            let source = ptr::with_exposed_provenance::<u8>((from + at) as usize);
            let target = ptr::with_exposed_provenance_mut::<u8>((to + at) as usize);
            // SAFETY: By this function's own; they don't overlap, as one is in the window.
            unsafe { ptr::copy_nonoverlapping(source, target, PAGE as usize) };
        }
        done += bytes;
    }
}

/// Moves a range of the window to a place that is all outside: what mremap returns, or
/// `None` for what can't be moved so, and nothing has changed then.
///
/// # Safety
///
/// Both ranges are the caller's, and whatever is at the place may be replaced.
pub(crate) unsafe fn move_to(addr: u64, (old_len, new_len): (u64, u64), to: u64) -> Option<i64> {
    let whole = |len: u64| len.checked_next_multiple_of(PAGE).filter(|len| *len != 0);
    let (old, new) = (whole(old_len)?, whole(new_len)?);
    if addr % PAGE != 0 {
        return None;
    }
    let flags = flags_of(addr, old)?;
    let reserve = match flags & VM_NORESERVE {
        0 => 0,
        _ => libc::MAP_NORESERVE,
    };
    let map = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | reserve) as u64;
    let prot = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    let (none, locked) = (u64::MAX, flags & VM_LOCKED != 0);
    // SAFETY: By this function's own.
    let mapped = unsafe { kernel::syscall(libc::SYS_mmap, [to, new, prot, map, none, 0]) };
    if mapped < 0 {
        return Some(mapped);
    }
    let readable = libc::PROT_READ as u32;
    let protected = window::ask_range(abi::REQUEST_MM_MPROTECT, addr, old, readable);
    if protected != 0 {
        // Linux has unmapped the place, too, when it finds no memory.
        // SAFETY: It was just mapped.
        unsafe { kernel::syscall(libc::SYS_munmap, [to, new, 0, 0, 0, 0]) };
        return Some(protected);
    }
    // SAFETY: The one was made readable, the other mapped for writing. Whoever unmaps them
    // meanwhile takes them from his own mremap.
    unsafe { copy(addr, old.min(new), to) };
    let protection = flags & VM_ACCESS;
    if protection != prot {
        // SAFETY: The range is the caller's.
        unsafe { kernel::syscall(libc::SYS_mprotect, [to, new, protection, 0, 0, 0]) };
    }
    if locked {
        // SAFETY: As above. What can't be locked is not, as for mremap.
        unsafe { kernel::syscall(libc::SYS_mlock, [to, new, 0, 0, 0, 0]) };
    }
    window::ask_range(abi::REQUEST_MM_MUNMAP, addr, old, 0);
    count(Counter::MovedOut);
    Some(to as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moves_from_where_nothing_is() {
        let page = ptr::from_ref(&VM_ACCESS) as u64 / PAGE * PAGE;
        assert_eq!(refused(false, page, PAGE), None);
        assert_eq!(refused(false, 0, PAGE), Some(libc::EFAULT));
    }
}
