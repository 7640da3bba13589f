// SPDX-License-Identifier: GPL-2.0

//! How much a process may have: `setrlimit` and capabilities.

use super::accounting::is_data;
use super::flags::VmFlags;
use super::system::AddressSpace;
use super::system::MmapWrite;
use crate::error::Error;
use crate::error::Result;
use crate::phys::PAGE_SHIFT;
use crate::platform::Platform;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

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

fn pages(limit: &AtomicU64) -> u64 {
    limit.load(Relaxed) >> PAGE_SHIFT
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Sets a limit; what there is already stays (`setrlimit`). For `RLIMIT_DATA`
    /// `max` is noted, too.
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
    }

    /// The limits.
    pub fn rlimits(&self) -> Rlimits {
        let cells = self.cells;
        Rlimits {
            address_space: cells.rlimit_as.load(Relaxed),
            data: cells.rlimit_data.load(Relaxed),
            data_max: cells.rlimit_data_max.load(Relaxed),
            stack: cells.rlimit_stack.load(Relaxed),
            memlock: cells.rlimit_memlock.load(Relaxed),
        }
    }

    /// What the process may do ([`CAPS`]), from now on.
    pub fn set_caps(&self, caps: u64) {
        let caps = caps & CAPS;
        self.cells.policy.fetch_and(!CAPS | caps, Relaxed);
        self.cells.policy.fetch_or(caps, Relaxed);
    }

    /// Whether the process may do this (`capable`).
    pub(super) fn is_capable(&self, cap: u64) -> bool {
        self.cells.policy.load(Relaxed) & cap != 0
    }

    /// Whether so many pages of such VMAs may be added (`may_expand_vm`).
    pub(super) fn may_expand(&self, flags: VmFlags, more: u64) -> bool {
        let cells = self.cells;
        let total = cells.total_vm.load(Relaxed);
        if total.wrapping_add(more) > pages(&cells.rlimit_as) {
            return false;
        }
        if !is_data(flags) {
            return true;
        }
        let data = cells.data_vm.load(Relaxed).wrapping_add(more);
        let is_zero = cells.rlimit_data.load(Relaxed) == 0;
        // Who has set it to 0 is Valgrind, which means its highest value.
        data <= pages(&cells.rlimit_data) || (is_zero && data <= pages(&cells.rlimit_data_max))
    }

    /// Whether the process may lock memory at all (`can_do_mlock`).
    pub(super) fn can_do_mlock(&self) -> bool {
        self.cells.rlimit_memlock.load(Relaxed) != 0 || self.is_capable(CAP_IPC_LOCK)
    }

    /// Whether so many bytes may be locked in addition, if they are to be at all
    /// (`mlock_future_ok`).
    pub(super) fn mlock_future_ok(&self, is_locked: bool, bytes: u64) -> bool {
        if !is_locked || self.is_capable(CAP_IPC_LOCK) {
            return true;
        }
        let locked = self.cells.locked_vm.load(Relaxed);
        let locked = locked.wrapping_add(bytes >> PAGE_SHIFT);
        locked <= pages(&self.cells.rlimit_memlock)
    }

    /// How many pages may be locked.
    pub(super) fn memlock_pages(&self) -> u64 {
        pages(&self.cells.rlimit_memlock)
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
        if size > space.cells.rlimit_stack.load(Relaxed) {
            return Err(Error::StackLimit);
        }
        if !space.mlock_future_ok(flags.has(VmFlags::LOCKED), grow << PAGE_SHIFT) {
            return Err(Error::LockLimitNoMemory);
        }
        space.charge(grow)
    }
}
