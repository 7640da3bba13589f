// SPDX-License-Identifier: GPL-2.0

//! The side of the shadow: a window of this process. Requests are made as they are, as
//! system calls would be, with whatever a step asks for.

use super::arena;
use super::arena::Answer;
use super::generate::PAGE;
use super::look::Sizes;
use super::op::Limit;
use super::op::Op;
use super::side::Files;
use nix::libc;
use shadowmm_abi as abi;
use std::ffi::CStr;
use std::io::Write;
use std::os::fd::RawFd;
use std::ptr;

/// A window's pages for each of the arena: the rest is left to a stack (`mmap_base`).
const PARTS: u64 = 6;

/// A window.
#[derive(Debug)]
pub struct Window {
    device: RawFd,
    /// Where it begins, and the arena.
    pub base: u64,
    /// What there is already when the test begins, and of that, data; in bytes.
    had: [u64; 2],
}

/// A request: a struct of the ABI with a number.
///
/// # Safety
///
/// The struct is the one that the module reads and writes for that number.
unsafe trait Request: Default {
    const NUMBER: u32;
    fn head(&mut self) -> &mut abi::shadowmm_head;
}

macro_rules! requests {
    ($($name:ident = $number:ident,)*) => {
        $(
            // SAFETY: The header has the number with this struct.
            unsafe impl Request for abi::$name {
                const NUMBER: u32 = abi::$number as u32;
                fn head(&mut self) -> &mut abi::shadowmm_head {
                    &mut self.head
                }
            }
        )*
    };
}

requests! {
    shadowmm_mm_config = REQUEST_MM_CONFIG,
    shadowmm_mm_info = REQUEST_MM_INFO,
    shadowmm_mm_mmap = REQUEST_MM_MMAP,
    shadowmm_mm_mremap = REQUEST_MM_MREMAP,
    shadowmm_mm_brk = REQUEST_MM_BRK,
    shadowmm_mm_mlock = REQUEST_MM_MLOCK,
    shadowmm_mm_mincore = REQUEST_MM_MINCORE,
    shadowmm_mm_limits = REQUEST_MM_LIMITS,
    shadowmm_mm_vmas = REQUEST_MM_VMAS,
}

impl Window {
    /// Opens a window whose mappings all go to an arena of so many pages.
    pub fn new(device: &CStr, base: u64, pages: u64) -> Result<Self, &'static str> {
        // SAFETY: The path ends with a zero.
        let fd = unsafe { libc::open(device.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
        if fd < 0 {
            return Err("the module's device could not be opened");
        }
        let window = Self {
            device: fd,
            base,
            had: [0; 2],
        };
        let len = PARTS * pages * PAGE;
        // SAFETY: Nothing is replaced.
        let got = unsafe {
            libc::mmap(
                ptr::without_provenance_mut(base as usize),
                len as usize,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE | libc::MAP_NORESERVE,
                fd,
                0,
            )
        };
        if got.addr() as u64 != base {
            return Err("no window could be opened");
        }
        let space = window
            .info()
            .ok_or("the window does not tell about itself")?;
        let end = base + pages * PAGE;
        if space.mmap_base != end || space.start_brk != base {
            return Err("the window's mappings and heap are not where they were expected");
        }
        // Nothing is placed above the arena.
        let wall = window.mmap(
            end,
            base + len - end,
            libc::PROT_NONE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
            -1,
            0,
        );
        match wall as u64 == end {
            true => Ok(window),
            false => Err("the window could not be walled in"),
        }
    }

    fn ask<R: Request>(&self, request: &mut R) -> Answer {
        request.head().size = size_of::<R>() as u32;
        // SAFETY: The struct is the request's, by the trait's contract, and addresses in
        // it are the arena's or of memory that the caller has borrowed.
        let done = unsafe { libc::ioctl(self.device, R::NUMBER as _, ptr::from_mut(request)) };
        arena::answer(i64::from(done))
    }

    fn info(&self) -> Option<abi::shadowmm_rec_space> {
        let mut request = abi::shadowmm_mm_info::default();
        (self.ask(&mut request) == 0).then_some(request.space)
    }

    /// The files that tell about this process's window.
    pub fn files(&self) -> Files {
        let id = self.info().map_or(0, |space| space.id);
        let open = |name: &str| {
            let mut path = [0u8; 64];
            let room = &mut path[..];
            let mut rest = room;
            // There is room for it and a zero behind it.
            let _ = write!(rest, "/proc/shadowmm/mm/{id}/{name}");
            CStr::from_bytes_until_nul(&path).map_or(-1, arena::open)
        };
        Files {
            maps: open("maps"),
            smaps: open("smaps"),
            pagemap: open("pagemap"),
            status: open("status"),
        }
    }

    /// The VMAs of this process's window: how many there are, of which as many as there
    /// is room for are in `records`; `None` if they are not told.
    pub fn vmas(&self, records: &mut [abi::shadowmm_rec_vma]) -> Option<usize> {
        let mut request = abi::shadowmm_mm_vmas {
            record_size: size_of::<abi::shadowmm_rec_vma>() as u32,
            capacity: records.len() as u32,
            buf: records.as_mut_ptr().expose_provenance() as u64,
            ..Default::default()
        };
        (self.ask(&mut request) == 0).then_some(request.count as usize)
    }

    /// What it has, if it tells.
    pub fn sizes(&self) -> Option<Sizes> {
        let space = self.info()?;
        let kib = |pages| pages * (PAGE >> 10);
        Some(Sizes {
            total: kib(space.total_vm),
            // It is noted before the size falls, and not before (`task_mem`).
            peak: kib(space.hiwater_vm.max(space.total_vm)),
            data: kib(space.data_vm),
            stack: kib(space.stack_vm),
            locked: kib(space.locked_vm),
        })
    }

    /// Its resident pages, and how many they have been at most.
    pub fn resident(&self) -> Option<[u64; 2]> {
        let space = self.info()?;
        let [file, anon, _, shmem] = space.rss;
        let rss = file + anon + shmem;
        Some([rss, rss.max(space.hiwater_rss)])
    }

    /// What there was when the test began, in bytes: limits are above that.
    pub fn remember(&mut self, total: u64, data: u64) {
        self.had = [total, data];
    }

    fn mmap(&self, addr: u64, len: u64, prot: i32, flags: i32, fd: RawFd, offset: u64) -> Answer {
        let mut request = abi::shadowmm_mm_mmap {
            addr,
            len,
            prot: prot as u32,
            flags: flags as u32,
            fd,
            offset,
            ..Default::default()
        };
        match self.ask(&mut request) {
            0 => request.addr as Answer,
            error => error,
        }
    }

    /// The requests that are a range and a number.
    fn range(&self, number: u32, addr: u64, len: u64, arg: i32) -> Answer {
        let mut request = abi::shadowmm_mm_range {
            addr,
            len,
            arg: arg as u32,
            ..Default::default()
        };
        request.head.size = size_of_val(&request) as u32;
        // SAFETY: The header has this struct for all four numbers.
        let done = unsafe { libc::ioctl(self.device, number as _, &raw mut request) };
        arena::answer(i64::from(done))
    }

    fn lock(&self, op: u32, addr: u64, len: u64, flags: i32) -> Answer {
        self.ask(&mut abi::shadowmm_mm_mlock {
            op,
            flags: flags as u32,
            addr,
            len,
            ..Default::default()
        })
    }

    /// mincore, with its answer in `vec`.
    pub fn mincore(&self, addr: u64, len: u64, vec: &mut [u8]) -> Answer {
        self.ask(&mut abi::shadowmm_mm_mincore {
            addr,
            len,
            vec: vec.as_mut_ptr().expose_provenance() as u64,
            ..Default::default()
        })
    }

    /// A step that is a system call, with the test's file; an address is one of this
    /// process's.
    pub fn call(&self, op: &Op, file: RawFd) -> Answer {
        let base = self.base;
        match *op {
            Op::Mmap {
                at,
                len,
                prot,
                flags,
                file: page,
            } => {
                let at = at.map_or(0, |at| base + at);
                let fd = page.map_or(-1, |_| file);
                self.mmap(at, len, prot, flags, fd, page.unwrap_or(0) * PAGE)
            }
            Op::Munmap { at, len } => self.range(abi::REQUEST_MM_MUNMAP, base + at, len, 0),
            Op::Mprotect { at, len, prot } => {
                self.range(abi::REQUEST_MM_MPROTECT, base + at, len, prot)
            }
            Op::Madvise { at, len, advice } => {
                self.range(abi::REQUEST_MM_MADVISE, base + at, len, advice)
            }
            Op::Msync { at, len, flags } => {
                self.range(abi::REQUEST_MM_MSYNC, base + at, len, flags)
            }
            Op::Mremap {
                at,
                old,
                new,
                flags,
                to,
            } => {
                let mut request = abi::shadowmm_mm_mremap {
                    addr: base + at,
                    old_len: old,
                    new_len: new,
                    new_addr: base + to,
                    flags: flags as u32,
                    ..Default::default()
                };
                match self.ask(&mut request) {
                    0 => request.addr as Answer,
                    error => error,
                }
            }
            Op::Brk { to } => {
                let mut request = abi::shadowmm_mm_brk {
                    brk: base + to,
                    ..Default::default()
                };
                match self.ask(&mut request) {
                    0 => request.brk as Answer,
                    error => error,
                }
            }
            Op::Mlock { at, len, flags } => {
                self.lock(abi::SHADOWMM_MM_MLOCK, base + at, len, flags)
            }
            Op::Munlock { at, len } => self.lock(abi::SHADOWMM_MM_MUNLOCK, base + at, len, 0),
            Op::Mlockall { flags } => self.lock(abi::SHADOWMM_MM_MLOCKALL, 0, 0, flags),
            Op::Munlockall => self.lock(abi::SHADOWMM_MM_MUNLOCKALL, 0, 0, 0),
            Op::Limit { which, bytes } => {
                let (limit, had) = match which {
                    Limit::As => (abi::SHADOWMM_MM_LIMIT_AS, self.had[0]),
                    Limit::Data => (abi::SHADOWMM_MM_LIMIT_DATA, self.had[1]),
                    Limit::Stack => (abi::SHADOWMM_MM_LIMIT_STACK, 0),
                    Limit::Memlock => (abi::SHADOWMM_MM_LIMIT_MEMLOCK, 0),
                };
                self.ask(&mut abi::shadowmm_mm_limits {
                    op: abi::SHADOWMM_MM_LIMITS_SET,
                    limit,
                    value: bytes.map_or(u64::MAX, |bytes| had + bytes),
                    max: u64::MAX,
                    ..Default::default()
                })
            }
            _ => 0,
        }
    }
}
