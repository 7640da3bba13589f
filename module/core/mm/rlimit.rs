// SPDX-License-Identifier: GPL-2.0

//! How much a process may have: `setrlimit` and capabilities.
//!
//! A limit is that of whoever calls or faults, as it is at that moment, unless the
//! address space was given one of its own ([`AddressSpace::set_rlimit`]); where the
//! surroundings know of no processes, what was noted at the start.

use super::accounting::is_data;
use super::flags::VmFlags;
use super::system::AddressSpace;
use super::system::MmapWrite;
use crate::error::Error;
use crate::error::Result;
use crate::phys::PAGE_SHIFT;
use crate::platform::Platform;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::Release;

/// No limit (`RLIM_INFINITY`).
pub const RLIM_INFINITY: u64 = u64::MAX;

/// Bits of [`MmCells`](super::MmCells)' policy: new mappings go above the base
/// instead of below (no `MMF_TOPDOWN`).
pub const MM_LEGACY: u64 = 1 << 0;
/// The process may lock as much as it likes.
pub const CAP_IPC_LOCK: u64 = 1 << 1;
/// What is kept for administrators is for it, too.
pub const CAP_SYS_ADMIN: u64 = 1 << 2;
/// It may map what lies below `mmap_min_addr`.
pub const CAP_SYS_RAWIO: u64 = 1 << 3;
/// The capabilities.
pub const CAPS: u64 = CAP_IPC_LOCK | CAP_SYS_ADMIN | CAP_SYS_RAWIO;

/// Where the bits are that say which limits are the address space's own.
const OWN_SHIFT: u32 = 16;

/// The limits of a process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rlimits {
    /// `RLIMIT_AS`: of all mappings together.
    pub address_space: u64,
    /// `RLIMIT_DATA`: of private writable memory.
    pub data: u64,
    /// What `RLIMIT_DATA` may be raised to, which counts where it is 0.
    pub data_max: u64,
    /// `RLIMIT_STACK`: of each stack.
    pub stack: u64,
    /// `RLIMIT_MEMLOCK`: of locked memory.
    pub memlock: u64,
}

impl Default for Rlimits {
    /// Those of a process of a booted kernel (`INIT_RLIMITS`).
    fn default() -> Self {
        Self {
            address_space: RLIM_INFINITY,
            data: RLIM_INFINITY,
            data_max: RLIM_INFINITY,
            stack: 8 << 20,
            memlock: 8 << 20,
        }
    }
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rlimit {
    /// `RLIMIT_AS`.
    As,
    /// `RLIMIT_DATA`.
    Data,
    /// `RLIMIT_STACK`.
    Stack,
    /// `RLIMIT_MEMLOCK`.
    Memlock,
}

impl Rlimit {
    /// The bit of the policy that says that the address space has one of its own.
    const fn own(self) -> u64 {
        1 << (OWN_SHIFT + self as u32)
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Gives the address space a limit of its own, which its process's does not change
    /// any more; what there is already stays (`setrlimit`). For `RLIMIT_DATA` `max` is
    /// noted, too.
    pub fn set_rlimit(&self, which: Rlimit, bytes: u64, max: u64) {
        let cells = self.cells;
        match which {
            Rlimit::As => cells.rlimit_as.store(bytes, Relaxed),
            Rlimit::Data => {
                cells.rlimit_data.store(bytes, Relaxed);
                cells.rlimit_data_max.store(max, Relaxed);
            }
            Rlimit::Stack => cells.rlimit_stack.store(bytes, Relaxed),
            Rlimit::Memlock => cells.rlimit_memlock.store(bytes, Relaxed),
        }
        // Who sees that it has one sees that one.
        cells.policy.fetch_or(which.own(), Release);
    }

    /// The limit is its process's again.
    pub fn follow_rlimit(&self, which: Rlimit) {
        self.cells.policy.fetch_and(!which.own(), Relaxed);
    }

    /// A limit as it is now, in bytes (`rlimit`).
    pub(super) fn limit(&self, which: Rlimit) -> u64 {
        let cells = self.cells;
        let noted = match which {
            Rlimit::As => &cells.rlimit_as,
            Rlimit::Data => &cells.rlimit_data,
            Rlimit::Stack => &cells.rlimit_stack,
            Rlimit::Memlock => &cells.rlimit_memlock,
        };
        self.limit_or(which, false, noted)
    }

    /// What `RLIMIT_DATA` may be raised to (`rlimit_max`).
    fn data_limit_max(&self) -> u64 {
        self.limit_or(Rlimit::Data, true, &self.cells.rlimit_data_max)
    }

    fn limit_or(&self, which: Rlimit, max: bool, noted: &AtomicU64) -> u64 {
        let its = match self.cells.policy.load(Acquire) & which.own() {
            0 => self.system.platform().rlimit(which, max),
            _ => None,
        };
        its.unwrap_or_else(|| noted.load(Relaxed))
    }

    fn limit_pages(&self, which: Rlimit) -> u64 {
        self.limit(which) >> PAGE_SHIFT
    }

    /// The limits as they are now.
    pub fn rlimits(&self) -> Rlimits {
        Rlimits {
            address_space: self.limit(Rlimit::As),
            data: self.limit(Rlimit::Data),
            data_max: self.data_limit_max(),
            stack: self.limit(Rlimit::Stack),
            memlock: self.limit(Rlimit::Memlock),
        }
    }

    /// What the process may do ([`CAPS`]), from now on, where the surroundings do not know.
    pub fn set_caps(&self, caps: u64) {
        let caps = caps & CAPS;
        self.cells.policy.fetch_and(!CAPS | caps, Relaxed);
        self.cells.policy.fetch_or(caps, Relaxed);
    }

    /// Whether the process may do this (`capable`).
    pub(super) fn is_capable(&self, cap: u64) -> bool {
        let noted = || self.cells.policy.load(Relaxed) & cap != 0;
        let known = self.system.platform().capable(cap);
        known.unwrap_or_else(noted)
    }

    /// Whether so many pages of such VMAs may be added (`may_expand_vm`).
    pub(super) fn may_expand(&self, flags: VmFlags, more: u64) -> bool {
        let cells = self.cells;
        let total = cells.total_vm.load(Relaxed);
        if total.wrapping_add(more) > self.limit_pages(Rlimit::As) {
            return false;
        }
        if !is_data(flags) {
            return true;
        }
        let data = cells.data_vm.load(Relaxed).wrapping_add(more);
        let limit = self.limit(Rlimit::Data);
        // Who has set it to 0 is Valgrind, which means its highest value.
        data <= limit >> PAGE_SHIFT || (limit == 0 && data <= self.data_limit_max() >> PAGE_SHIFT)
    }

    /// Whether the process may lock memory at all (`can_do_mlock`).
    pub(super) fn can_do_mlock(&self) -> bool {
        self.limit(Rlimit::Memlock) != 0 || self.is_capable(CAP_IPC_LOCK)
    }

    /// Whether so many bytes may be locked in addition, if they are to be at all
    /// (`mlock_future_ok`).
    pub(super) fn mlock_future_ok(&self, is_locked: bool, bytes: u64) -> bool {
        if !is_locked || self.is_capable(CAP_IPC_LOCK) {
            return true;
        }
        let locked = self.cells.locked_vm.load(Relaxed);
        let locked = locked.wrapping_add(bytes >> PAGE_SHIFT);
        locked <= self.memlock_pages()
    }

    /// How many pages may be locked.
    pub(super) fn memlock_pages(&self) -> u64 {
        self.limit_pages(Rlimit::Memlock)
    }
}

impl<'a, 'm: 'a, P: Platform> MmapWrite<'a, 'm, P> {
    /// Whether a stack may have `size` bytes, of which `grow` pages are new; promises
    /// those (`acct_stack_growth`).
    ///
    /// # Errors
    ///
    /// [`Error::AddressSpaceLimit`], [`Error::StackLimit`],
    /// [`Error::LockLimitNoMemory`], [`Error::Overcommit`].
    pub(super) fn charge_stack(&self, flags: VmFlags, size: u64, grow: u64) -> Result<()> {
        let space = &self.space;
        if !space.may_expand(flags, grow) {
            return Err(Error::AddressSpaceLimit);
        }
        if size > space.limit(Rlimit::Stack) {
            return Err(Error::StackLimit);
        }
        if !space.mlock_future_ok(flags.has(VmFlags::LOCKED), grow << PAGE_SHIFT) {
            return Err(Error::LockLimitNoMemory);
        }
        space.charge(grow)
    }
}
