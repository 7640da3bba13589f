// SPDX-License-Identifier: GPL-2.0

//! A page fault, from the address to its VMA (`do_user_addr_fault`).
//!
//! ```text
//! pinned    the tree says which VMA it may be, and its lock is taken (lock.rs)
//!           is it this space's, and is the address in it?
//!   yes     ------------------------------------------------> handle.rs
//!   no      it is given back, still pinned; another two tries, then
//! mmap lock the VMA is looked for; counted
//!   found   ------------------------------------------------> handle.rs
//!   none    a stack above it grows (stack.rs), or SIGSEGV
//! ```

use super::cells::VmaCells;
use super::flags::VmFlags;
use super::handle::Fault;
use super::host::Access;
use super::host::HostTable;
use super::lock::VmaRead;
use super::oom::Relief;
use super::page_table::Entry;
use super::system::AddressSpace;
use super::types::VirtAddr;
use super::types::VirtRange;
use crate::error::Error;
use crate::phys::Pfn;
use crate::platform::Platform;
use crate::slab::ObjAddr;
use crate::trace::tell;
use crate::trace::TraceEvent;
use crate::trace::TracePoint;
use core::sync::atomic::Ordering::Relaxed;

/// How often the VMA's lock is tried for.
const TRIES: u32 = 3;

/// What a fault has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultResult {
    /// The process may go on.
    Mapped(Mapped),
    /// It gets SIGSEGV.
    Segv(SegvCode),
    /// It gets SIGBUS.
    Bus,
    /// There is no memory, and nobody who could be killed to have some
    /// (`VM_FAULT_OOM`).
    Oom,
    /// The host has no memory for its own table. That is the host's to mend: to kill
    /// anybody here gives it nothing.
    HostOom,
    /// It is to try again: somebody changes what it needs, or is about to die.
    Retry,
    /// It is to try again when the host has read the page of a file that it has noted.
    NotRead,
}

/// The `si_code` of a SIGSEGV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SegvCode {
    /// No VMA is there, or a guard is (`SEGV_MAPERR`).
    MapErr = 1,
    /// The VMA does not allow it (`SEGV_ACCERR`).
    AccErr = 2,
}

/// A page that was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// Its frame.
    pub pfn: Pfn,
    /// Whether the process may write to it now.
    pub writable: bool,
    /// Whether it was entered as part of 2 MiB.
    pub huge: bool,
}

impl Mapped {
    #[inline]
    pub(super) fn of(entry: Entry) -> Self {
        Self {
            pfn: entry.pfn(),
            writable: entry.is_writable() && entry.has(Entry::DIRTY),
            huge: false,
        }
    }
}

/// Why nothing was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Segv(SegvCode),
    Bus,
    /// Its user has as many pages as he may: it gets SIGBUS.
    Full,
    Oom,
    /// As [`FaultResult::HostOom`].
    HostOom,
    /// The mmap lock is needed.
    NeedsMmapLock,
    /// Another has changed the entry: from the start.
    Again,
    /// As [`FaultResult::NotRead`].
    NotRead,
}

impl Stop {
    /// What an entry says that is not there, or not as it was a moment ago
    /// (`handle_pte_marker`).
    #[cold]
    pub(super) fn at(entry: Entry) -> Self {
        match entry.is_guard() {
            true => Self::Segv(SegvCode::MapErr),
            false => Self::Again,
        }
    }
}

/// What a fault can't have is memory; anything else that is refused is a bug, which
/// another try does not mend.
impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        match error {
            Error::Corrupt | Error::ForeignPfn => Self::Bus,
            // As where no huge page is left of a process's share (`hugetlb_no_page`).
            Error::UserLimit => Self::Full,
            // A huge entry has come where a table was to be.
            Error::Shared => Self::Again,
            Error::NoHostMemory => Self::HostOom,
            _ => Self::Oom,
        }
    }
}

/// Whether a VMA allows it (`access_error`).
#[inline]
pub(super) fn is_allowed(flags: VmFlags, access: Access) -> bool {
    match access {
        Access::Write => flags.has(VmFlags::WRITE),
        // Whoever may write or execute may read, as far as the CPU knows.
        Access::Read => flags.any(VmFlags::ACCESS),
        Access::Execute => flags.has(VmFlags::EXEC),
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Serves a fault of a process, who has `tried` before if the page was to be read first
    /// (`FAULT_FLAG_TRIED`, which makes the fault a major one). Whoever comes has one of the
    /// host's locks, so that the window stays where it is.
    #[inline]
    pub fn fault<H: HostTable + ?Sized>(
        &self,
        host: &H,
        addr: VirtAddr,
        access: Access,
        tried: bool,
    ) -> FaultResult {
        let cells = self.cells;
        let vma_lock = [&cells.faults_vma_lock, &cells.failed_vma_lock];
        let mmap_lock = [&cells.faults_mmap_lock, &cells.failed_mmap_lock];
        let (done, [served, failed]) = match self.lock_vma(addr) {
            Some(vma) => match self.fault_in(host, vma.cells(), addr, access, true) {
                Err(Stop::NeedsMmapLock) => {
                    drop(vma);
                    (self.fault_under_mmap_lock(host, addr, access), mmap_lock)
                }
                done => (done, vma_lock),
            },
            None => (self.fault_under_mmap_lock(host, addr, access), mmap_lock),
        };
        match done {
            Ok(mapped) => {
                served.fetch_add(1, Relaxed);
                if tried {
                    cells.maj_flt.fetch_add(1, Relaxed);
                }
                FaultResult::Mapped(mapped)
            }
            Err(stop) => {
                failed.fetch_add(1, Relaxed);
                self.stopped(stop)
            }
        }
    }

    /// What a process is told whose fault was not served. All locks are free again.
    #[cold]
    #[inline(never)]
    fn stopped(&self, stop: Stop) -> FaultResult {
        // What nobody has counts, too.
        if matches!(stop, Stop::Full) && self.gives_rest_back() {
            return FaultResult::Retry;
        }
        if matches!(stop, Stop::Bus | Stop::Full | Stop::Oom | Stop::HostOom) {
            self.cells.faults_error.fetch_add(1, Relaxed);
        }
        match stop {
            Stop::Segv(code) => FaultResult::Segv(code),
            Stop::Bus | Stop::Full => FaultResult::Bus,
            Stop::HostOom => FaultResult::HostOom,
            Stop::NeedsMmapLock | Stop::Again => FaultResult::Retry,
            Stop::NotRead => FaultResult::NotRead,
            Stop::Oom => match self.out_of_memory(false) {
                Relief::Expected => FaultResult::Retry,
                Relief::None => FaultResult::Oom,
            },
        }
    }

    /// Finds the VMA that holds an address and takes its lock, without the mmap lock
    /// (`lock_vma_under_rcu`).
    #[inline]
    fn lock_vma(&self, addr: VirtAddr) -> Option<VmaRead<'a, P>>
    where
        'm: 'a,
    {
        let platform = self.system.platform();
        for _ in 0..TRIES {
            let locked = {
                let (_cpu, _pinned) = platform.pin_cpu();
                let value = self.tree().lookup(addr.0)?;
                let vma = self.system.cells(ObjAddr::new(value)).ok()?;
                // One that was freed meanwhile is nobody's but this section's: it is given
                // back before that ends, or its memory is another's by then.
                VmaRead::try_lock(platform, self.cells, vma)
                    .filter(|vma| self.has_there(vma.cells(), addr))
            };
            // Now it stays what it is.
            if let Some(vma) = locked {
                self.tell_vma(vma.cells(), addr, true);
                return Some(vma);
            }
        }
        None
    }

    /// Whether a VMA that is locked is one of this space and holds the address.
    #[inline]
    fn has_there(&self, vma: &VmaCells, addr: VirtAddr) -> bool {
        vma.mm.load(Relaxed) == self.addr.get()
            && vma.start.load(Relaxed) <= addr.0
            && addr.0 < vma.end.load(Relaxed)
    }

    fn tell_vma(&self, vma: &VmaCells, addr: VirtAddr, vma_lock: bool) {
        tell(self.system.platform(), TracePoint::FaultVma, || {
            TraceEvent::FaultVma {
                mm: self.cells.id.load(Relaxed),
                addr,
                vma: VirtRange::new(vma.start.load(Relaxed), vma.end.load(Relaxed)),
                flags: vma.vm_flags(),
                vma_lock,
            }
        });
    }

    /// The way with the mmap lock (`lock_mm_and_find_vma`).
    #[cold]
    #[inline(never)]
    fn fault_under_mmap_lock<H: HostTable + ?Sized>(
        &self,
        host: &H,
        addr: VirtAddr,
        access: Access,
    ) -> Result<Mapped, Stop> {
        loop {
            {
                let _read = self.read();
                let vma = self.find_vma(addr.0);
                let vma = vma.ok_or(Stop::Segv(SegvCode::MapErr))?;
                if vma.start() <= addr.0 {
                    self.tell_vma(vma.cells(), addr, false);
                    return self.fault_in(host, vma.cells(), addr, access, false);
                }
                if !vma.flags().has(VmFlags::GROWSDOWN) {
                    return Err(Stop::Segv(SegvCode::MapErr));
                }
            }
            // Another may have come between: it is looked at again from the start.
            self.expand_stack(addr)
                .map_err(|_| Stop::Segv(SegvCode::MapErr))?;
        }
    }

    /// Serves a fault in a VMA that holds the address and stays as it is.
    #[inline]
    pub(super) fn fault_in<H: HostTable + ?Sized>(
        &self,
        host: &H,
        vma: &VmaCells,
        addr: VirtAddr,
        access: Access,
        vma_lock_only: bool,
    ) -> Result<Mapped, Stop> {
        let flags = vma.vm_flags();
        if !is_allowed(flags, access) {
            return Err(Stop::Segv(SegvCode::AccErr));
        }
        let fault = Fault {
            space: *self,
            host,
            vma,
            flags,
            addr: addr.page_down(),
            write: access == Access::Write,
            vma_lock_only,
        };
        fault.handle()
    }
}
