// SPDX-License-Identifier: GPL-2.0

//! The same calls with plain numbers, as they cross the system call: for those who have
//! nothing better, as a library for C. What is no number of Linux's is refused by the
//! module as the kernel would.

use crate::device::Device;
use crate::error::Error;
use crate::error::Result;
use crate::request::Madvise;
use crate::request::Mprotect;
use crate::request::Msync;
use crate::request::Munmap;
use nix::errno::Errno;
use shadowmm_abi as abi;
use std::os::fd::RawFd;

const MOVE_BRK: &str = "move the end of the heap";

/// The calls of the window that this process has through a device.
#[derive(Clone, Copy, Debug)]
pub struct RawCalls<'d>(pub(super) &'d Device);

/// What is mapped (mmap(2)); all as it is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawMmap {
    /// Where, or a hint; 0: anywhere.
    pub addr: u64,
    /// Bytes.
    pub len: u64,
    /// `PROT_*`.
    pub prot: u32,
    /// `MAP_*`, with `MAP_ANONYMOUS` or a file.
    pub flags: u32,
    /// The file; not looked at with `MAP_ANONYMOUS`.
    pub fd: RawFd,
    /// Where in it, in bytes.
    pub offset: u64,
}

/// What is locked, or not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawLock {
    /// mlock2(2): address, bytes, flags.
    Lock(u64, u64, u32),
    /// munlock(2): address, bytes.
    Unlock(u64, u64),
    /// mlockall(2): `MCL_*`.
    LockAll(u32),
    /// munlockall(2).
    UnlockAll,
}

/// What brk(2) of the C library makes of the answer: only an end that is lower than the
/// one that was asked for has failed (`__brk`).
fn moved(end: u64, wanted: u64) -> Result<u64> {
    match end >= wanted {
        true => Ok(end),
        false => Err(Error::Failed {
            what: MOVE_BRK,
            errno: Errno::ENOMEM,
        }),
    }
}

fn range(addr: u64, len: u64, arg: u32) -> abi::shadowmm_mm_range {
    abi::shadowmm_mm_range {
        addr,
        len,
        arg,
        ..Default::default()
    }
}

impl Device {
    /// The calls of the window that this process has through the device, if it has one.
    pub fn calls(&self) -> RawCalls<'_> {
        RawCalls(self)
    }
}

impl RawCalls<'_> {
    /// mmap(2), and where it is.
    pub fn mmap(self, wanted: &RawMmap) -> Result<u64> {
        let mut request = abi::shadowmm_mm_mmap {
            addr: wanted.addr,
            len: wanted.len,
            prot: wanted.prot,
            flags: wanted.flags,
            fd: wanted.fd,
            offset: wanted.offset,
            ..Default::default()
        };
        self.0.request("map memory", &mut request)?;
        Ok(request.addr)
    }

    /// munmap(2).
    pub fn munmap(self, addr: u64, len: u64) -> Result<()> {
        let mut request = Munmap(range(addr, len, 0));
        self.0.request("unmap memory", &mut request)
    }

    /// mprotect(2).
    pub fn mprotect(self, addr: u64, len: u64, prot: u32) -> Result<()> {
        let mut request = Mprotect(range(addr, len, prot));
        self.0.request("protect memory", &mut request)
    }

    /// mremap(2), and where it is.
    pub fn mremap(
        self,
        addr: u64,
        old_len: u64,
        new_len: u64,
        flags: u32,
        new_addr: u64,
    ) -> Result<u64> {
        let mut request = abi::shadowmm_mm_mremap {
            addr,
            old_len,
            new_len,
            new_addr,
            flags,
            ..Default::default()
        };
        self.0.request("move a mapping", &mut request)?;
        Ok(request.addr)
    }

    /// madvise(2).
    pub fn madvise(self, addr: u64, len: u64, advice: i32) -> Result<()> {
        let mut request = Madvise(range(addr, len, advice as u32));
        self.0.request("give advice about memory", &mut request)
    }

    /// msync(2).
    pub fn msync(self, addr: u64, len: u64, flags: u32) -> Result<()> {
        let mut request = Msync(range(addr, len, flags));
        self.0.request("synchronize memory", &mut request)
    }

    /// brk(2), as the system call is: where the end of the heap is then.
    pub fn brk(self, brk: u64) -> Result<u64> {
        let mut request = abi::shadowmm_mm_brk {
            brk,
            ..Default::default()
        };
        self.0.request(MOVE_BRK, &mut request)?;
        Ok(request.brk)
    }

    /// brk(2), as the C library has it, and where the end of the heap is then. One that can't
    /// be lower stays where it is, which is no error.
    ///
    /// # Errors
    ///
    /// [`Errno::ENOMEM`] where the end of the heap can't be as high.
    pub fn set_brk(self, end: u64) -> Result<u64> {
        moved(self.brk(end)?, end)
    }

    /// sbrk(3): where the end of the heap was.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn sbrk(self, increment: i64) -> Result<u64> {
        let old = self.brk(0)?;
        if increment != 0 {
            let end = old.checked_add_signed(increment);
            self.set_brk(end.unwrap_or(u64::MAX))?;
        }
        Ok(old)
    }

    /// mlock(2) and its kin.
    pub fn lock(self, what: RawLock) -> Result<()> {
        let (op, addr, len, flags) = match what {
            RawLock::Lock(addr, len, flags) => (abi::SHADOWMM_MM_MLOCK, addr, len, flags),
            RawLock::Unlock(addr, len) => (abi::SHADOWMM_MM_MUNLOCK, addr, len, 0),
            RawLock::LockAll(flags) => (abi::SHADOWMM_MM_MLOCKALL, 0, 0, flags),
            RawLock::UnlockAll => (abi::SHADOWMM_MM_MUNLOCKALL, 0, 0, 0),
        };
        let mut request = abi::shadowmm_mm_mlock {
            op,
            flags,
            addr,
            len,
            ..Default::default()
        };
        self.0.request("lock memory", &mut request)
    }

    /// mincore(2): a byte for each page that is begun.
    ///
    /// # Safety
    ///
    /// `vec` has so many bytes, or lies where nothing of this program's is.
    pub unsafe fn mincore(self, addr: u64, len: u64, vec: *mut u8) -> Result<()> {
        let mut request = abi::shadowmm_mm_mincore {
            addr,
            len,
            vec: vec.expose_provenance() as u64,
            ..Default::default()
        };
        self.0.request("see which pages are there", &mut request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_c_library_minds_an_end_that_is_too_low() {
        for wanted in [0, 0x1000, 0x5000] {
            assert!(matches!(moved(0x5000, wanted), Ok(0x5000)));
        }
        let refused = moved(0x5000, 0x5001).unwrap_err();
        assert_eq!(refused.errno(), Errno::ENOMEM);
    }
}
