// SPDX-License-Identifier: GPL-2.0

//! System calls about memory, to a window in place of the process: named as they are,
//! with nix's types.

use super::raw::RawLock;
use super::raw::RawMmap;
use super::window::Window;
use crate::error::Result;
use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::MRemapFlags;
use nix::sys::mman::MapFlags;
use nix::sys::mman::MlockAllFlags;
use nix::sys::mman::MmapAdvise;
use nix::sys::mman::MsFlags;
use nix::sys::mman::ProtFlags;
use shadowmm_abi as abi;
use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::ptr;
use std::ptr::NonNull;

/// What a window's limits are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `RLIMIT_AS`.
    AddressSpace,
    /// `RLIMIT_DATA`.
    Data,
    /// `RLIMIT_STACK`.
    Stack,
    /// `RLIMIT_MEMLOCK`.
    Memlock,
}

impl Limit {
    fn number(self) -> u32 {
        match self {
            Self::AddressSpace => abi::SHADOWMM_MM_LIMIT_AS,
            Self::Data => abi::SHADOWMM_MM_LIMIT_DATA,
            Self::Stack => abi::SHADOWMM_MM_LIMIT_STACK,
            Self::Memlock => abi::SHADOWMM_MM_LIMIT_MEMLOCK,
        }
    }
}

/// What mlockall locks.
pub type LockAll = MlockAllFlags;

/// A pointer that the module has given: where it is 0 there is none.
fn pointer(addr: u64) -> Result<NonNull<c_void>> {
    NonNull::new(ptr::with_exposed_provenance_mut(addr as usize)).ok_or(crate::Error::Unexpected {
        what: "map memory",
        value: addr,
    })
}

fn address(pointer: NonNull<c_void>) -> u64 {
    pointer.as_ptr().expose_provenance() as u64
}

impl Window<'_> {
    /// Maps memory, or with `file` a private copy of it from `offset` on (mmap(2)).
    pub fn mmap(
        &self,
        addr: Option<NonZeroUsize>,
        length: NonZeroUsize,
        prot: ProtFlags,
        flags: MapFlags,
        file: Option<(BorrowedFd<'_>, u64)>,
    ) -> Result<NonNull<c_void>> {
        let anonymous = match file {
            None => MapFlags::MAP_ANONYMOUS,
            Some(_) => MapFlags::empty(),
        };
        let addr = self.device().calls().mmap(&RawMmap {
            addr: addr.map_or(0, NonZeroUsize::get) as u64,
            len: length.get() as u64,
            prot: prot.bits() as u32,
            flags: (flags | anonymous).bits() as u32,
            fd: file.map_or(-1, |(file, _)| file.as_raw_fd()),
            offset: file.map_or(0, |(_, offset)| offset),
        })?;
        pointer(addr)
    }

    /// The same of private anonymous memory, somewhere, to be read and written.
    pub fn mmap_anonymous(&self, length: NonZeroUsize) -> Result<NonNull<c_void>> {
        let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        self.mmap(None, length, prot, MapFlags::MAP_PRIVATE, None)
    }

    /// munmap(2).
    pub fn munmap(&self, addr: NonNull<c_void>, length: usize) -> Result<()> {
        let calls = self.device().calls();
        calls.munmap(address(addr), length as u64)
    }

    /// mprotect(2).
    pub fn mprotect(&self, addr: NonNull<c_void>, length: usize, prot: ProtFlags) -> Result<()> {
        let calls = self.device().calls();
        calls.mprotect(address(addr), length as u64, prot.bits() as u32)
    }

    /// mremap(2).
    pub fn mremap(
        &self,
        addr: NonNull<c_void>,
        old_size: usize,
        new_size: usize,
        flags: MRemapFlags,
        new_addr: Option<NonNull<c_void>>,
    ) -> Result<NonNull<c_void>> {
        let moved = self.device().calls().mremap(
            address(addr),
            old_size as u64,
            new_size as u64,
            flags.bits() as u32,
            new_addr.map_or(0, address),
        )?;
        pointer(moved)
    }

    /// madvise(2).
    pub fn madvise(&self, addr: NonNull<c_void>, length: usize, advise: MmapAdvise) -> Result<()> {
        let calls = self.device().calls();
        calls.madvise(address(addr), length as u64, advise as i32)
    }

    /// msync(2).
    pub fn msync(&self, addr: NonNull<c_void>, length: usize, flags: MsFlags) -> Result<()> {
        let calls = self.device().calls();
        calls.msync(address(addr), length as u64, flags.bits() as u32)
    }

    /// Moves the end of the heap (brk(2)), or asks where it is: where it is then, which may
    /// be higher than asked for.
    ///
    /// # Errors
    ///
    /// [`Errno::ENOMEM`] where it can't be as high.
    pub fn brk(&self, addr: Option<usize>) -> Result<usize> {
        let calls = self.device().calls();
        let end = calls.set_brk(addr.unwrap_or(0) as u64)?;
        Ok(end as usize)
    }

    /// Grows the heap, or lets it shrink, and says where its end was (sbrk(3)).
    pub fn sbrk(&self, increment: isize) -> Result<usize> {
        let old = self.device().calls().sbrk(increment as i64)?;
        Ok(old as usize)
    }

    /// mlock(2).
    pub fn mlock(&self, addr: NonNull<c_void>, length: usize) -> Result<()> {
        self.lock(RawLock::Lock(address(addr), length as u64, 0))
    }

    /// mlock2(2) with `MLOCK_ONFAULT`.
    pub fn mlock_on_fault(&self, addr: NonNull<c_void>, length: usize) -> Result<()> {
        let flags = libc::MLOCK_ONFAULT;
        self.lock(RawLock::Lock(address(addr), length as u64, flags))
    }

    /// munlock(2).
    pub fn munlock(&self, addr: NonNull<c_void>, length: usize) -> Result<()> {
        self.lock(RawLock::Unlock(address(addr), length as u64))
    }

    /// mlockall(2).
    pub fn mlockall(&self, flags: LockAll) -> Result<()> {
        self.lock(RawLock::LockAll(flags.bits() as u32))
    }

    /// munlockall(2).
    pub fn munlockall(&self) -> Result<()> {
        self.lock(RawLock::UnlockAll)
    }

    fn lock(&self, what: RawLock) -> Result<()> {
        self.device().calls().lock(what)
    }

    /// Which pages are there (mincore(2)).
    pub fn mincore(&self, addr: NonNull<c_void>, length: usize) -> Result<Vec<bool>> {
        let pages = length.div_ceil(crate::PAGE_SIZE as usize);
        let mut vec: Vec<u8> = Vec::new();
        vec.try_reserve_exact(pages)
            .map_err(|_| crate::Error::Failed {
                what: "see which pages are there",
                errno: Errno::ENOMEM,
            })?;
        vec.resize(pages, 0);
        let calls = self.device().calls();
        // SAFETY: There are as many bytes.
        unsafe { calls.mincore(address(addr), length as u64, vec.as_mut_ptr()) }?;
        Ok(vec.into_iter().map(|byte| byte & 1 != 0).collect())
    }

    /// A limit of the window's, in bytes; `None`: there is none.
    pub fn getrlimit(&self, limit: Limit) -> Result<Option<u64>> {
        let mut request = abi::shadowmm_mm_limits {
            op: abi::SHADOWMM_MM_LIMITS_GET,
            limit: limit.number(),
            ..Default::default()
        };
        self.device().request("ask for a limit", &mut request)?;
        Ok((request.value != u64::MAX).then_some(request.value))
    }

    /// Gives the window a limit of its own; before, it is its process's.
    pub fn setrlimit(&self, limit: Limit, bytes: Option<u64>) -> Result<()> {
        let value = bytes.unwrap_or(u64::MAX);
        let mut request = abi::shadowmm_mm_limits {
            op: abi::SHADOWMM_MM_LIMITS_SET,
            limit: limit.number(),
            value,
            max: value,
            ..Default::default()
        };
        self.device().request("set a limit", &mut request)
    }

    /// The limit is the process's again, as it is at each moment (setrlimit(2)).
    pub fn follow_rlimit(&self, limit: Limit) -> Result<()> {
        let mut request = abi::shadowmm_mm_limits {
            op: abi::SHADOWMM_MM_LIMITS_FOLLOW,
            limit: limit.number(),
            ..Default::default()
        };
        self.device().request("set a limit", &mut request)
    }
}
