// SPDX-License-Identifier: GPL-2.0

//! The side of the running kernel: the calling process's own address space.

use super::arena;
use super::arena::call;
use super::arena::Answer;
use super::generate::PAGE;
use super::op::Limit;
use super::op::Op;
use super::text::Text;
use nix::libc;
use std::os::fd::RawFd;

/// What of a process's memory `PR_SET_MM` sets.
const START_DATA: u64 = 3;
const END_DATA: u64 = 4;
const START_BRK: u64 = 6;
const BRK: u64 = 7;
/// An address that is always good.
const SOMEWHERE: u64 = 0x1_0000;

/// A part of this process's addresses, with walls around it.
#[derive(Debug)]
pub struct Host {
    /// Where the arena begins.
    pub base: u64,
    /// All that the process had when the test began, and its data, in bytes.
    had: [u64; 2],
    has_heap: bool,
}

impl Host {
    /// Walls the arena in and has the heap begin where it begins. From here on this
    /// process allocates nothing.
    pub fn new(base: u64, pages: u64, text: &mut Text) -> Result<Self, &'static str> {
        // Whether there is a huge page depends on what else the machine has done.
        // SAFETY: Nothing in memory changes.
        unsafe {
            call(
                libc::SYS_prctl,
                [libc::PR_SET_THP_DISABLE as u64, 1, 0, 0, 0, 0],
            )
        };
        arena::wall_in(base, pages, text)?;
        // The heap goes down to the arena. Nothing of the old one is given up; it only
        // grows no more.
        let has_heap = set_mm(START_BRK, base) && set_mm(BRK, base);
        Ok(Self {
            base,
            had: [0; 2],
            has_heap,
        })
    }

    /// What the process had when the test began, in bytes: limits are above that.
    pub fn remember(&mut self, total: u64, data: u64) {
        self.had = [total, data];
        // The limit of data is compared with the heap and what was loaded, too.
        self.has_heap &= set_mm(START_DATA, SOMEWHERE) && set_mm(END_DATA, SOMEWHERE + data);
    }

    /// brk, where the heap is in the arena: that takes CAP_SYS_RESOURCE.
    fn brk(&self, addr: u64) -> Answer {
        match self.has_heap {
            true => self.ask(libc::SYS_brk, [addr, 0, 0, 0, 0, 0]),
            false => -i64::from(libc::EPERM),
        }
    }

    fn ask(&self, number: i64, args: [u64; 6]) -> Answer {
        // SAFETY: Steps are made for the arena alone.
        unsafe { call(number, args) }
    }

    /// mincore, with its answer in `vec`.
    pub fn mincore(&self, addr: u64, len: u64, vec: &mut [u8]) -> Answer {
        let vec = vec.as_mut_ptr().expose_provenance() as u64;
        self.ask(libc::SYS_mincore, [addr, len, vec, 0, 0, 0])
    }

    /// A step that is a system call, with the test's file; an address is one of this
    /// process's.
    pub fn call(&self, op: &Op, file: RawFd) -> Answer {
        let base = self.base;
        let range = |number, at: u64, len| self.ask(number, [base + at, len, 0, 0, 0, 0]);
        let range_and = |number, at: u64, len, more: i32| {
            self.ask(number, [base + at, len, more as u64, 0, 0, 0])
        };
        match *op {
            Op::Mmap {
                at,
                len,
                prot,
                flags,
                file: page,
            } => {
                let at = at.map_or(0, |at| base + at);
                let fd = page.map_or(u64::MAX, |_| file as u64);
                let offset = page.unwrap_or(0) * PAGE;
                let args = [at, len, prot as u64, flags as u64, fd, offset];
                self.ask(libc::SYS_mmap, args)
            }
            Op::Munmap { at, len } => range(libc::SYS_munmap, at, len),
            Op::Mprotect { at, len, prot } => range_and(libc::SYS_mprotect, at, len, prot),
            Op::Mremap {
                at,
                old,
                new,
                flags,
                to,
            } => {
                let args = [base + at, old, new, flags as u64, base + to, 0];
                self.ask(libc::SYS_mremap, args)
            }
            Op::Madvise { at, len, advice } => range_and(libc::SYS_madvise, at, len, advice),
            Op::Brk { to } => self.brk(base + to),
            Op::Mlock { at, len, flags: 0 } => range(libc::SYS_mlock, at, len),
            Op::Mlock { at, len, flags } => range_and(libc::SYS_mlock2, at, len, flags),
            Op::Munlock { at, len } => range(libc::SYS_munlock, at, len),
            Op::Mlockall { flags } => self.ask(libc::SYS_mlockall, [flags as u64, 0, 0, 0, 0, 0]),
            Op::Munlockall => self.ask(libc::SYS_munlockall, [0; 6]),
            Op::Msync { at, len, flags } => range_and(libc::SYS_msync, at, len, flags),
            Op::Limit { which, bytes } => self.limit(which, bytes),
            _ => 0,
        }
    }

    /// Sets a limit, in bytes above what the process had; without, there is none.
    fn limit(&self, which: Limit, bytes: Option<u64>) -> Answer {
        let (resource, had) = match which {
            Limit::As => (libc::RLIMIT_AS, self.had[0]),
            Limit::Data => (libc::RLIMIT_DATA, self.had[1]),
            Limit::Stack => (libc::RLIMIT_STACK, 0),
            Limit::Memlock => (libc::RLIMIT_MEMLOCK, 0),
        };
        let limit = libc::rlimit {
            rlim_cur: bytes.map_or(libc::RLIM_INFINITY, |bytes| had + bytes),
            rlim_max: libc::RLIM_INFINITY,
        };
        // SAFETY: The struct is there to be read.
        arena::answer(i64::from(unsafe { libc::setrlimit(resource, &limit) }))
    }
}

/// Whether the kernel takes it.
fn set_mm(what: u64, to: u64) -> bool {
    let args = [libc::PR_SET_MM as u64, what, to, 0, 0, 0];
    // SAFETY: Only where the kernel believes the heap to be changes.
    unsafe { call(libc::SYS_prctl, args) == 0 }
}
