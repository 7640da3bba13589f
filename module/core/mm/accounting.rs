// SPDX-License-Identifier: GPL-2.0

//! What is counted of an address space, and what all of them together were
//! promised.

use super::cells::NR_RSS;
use super::flags::VmFlags;
use super::host::HostTable;
use super::sysctl::MmKnob;
use super::system::AddressSpace;
use super::system::AddressSpaces;
use crate::error::Error;
use crate::error::Result;
use crate::phys::Pages;
use crate::platform::Platform;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// `overcommit_memory`: all is promised.
const OVERCOMMIT_ALWAYS: u64 = 1;
/// `overcommit_memory`: what is not obviously too much.
const OVERCOMMIT_GUESS: u64 = 0;
/// `overcommit_memory`: no more than there is.
pub(super) const OVERCOMMIT_NEVER: u64 = 2;

/// As much memory as each shadow has, in pages: for less nobody needs to count it.
const ALWAYS_THERE: u64 = 256;

/// The numbers of an address space at one moment; pages, unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // The names are Linux's.
pub struct MmNumbers {
    /// How many VMAs there are.
    pub map_count: u32,
    pub oom_score_adj: i16,
    /// An address.
    pub mmap_base: u64,
    pub total_vm: u64,
    pub locked_vm: u64,
    pub pinned_vm: u64,
    pub data_vm: u64,
    pub exec_vm: u64,
    pub stack_vm: u64,
    pub hiwater_rss: u64,
    pub hiwater_vm: u64,
    /// By [`Rss`](super::Rss).
    pub rss: [u64; NR_RSS],
    /// In bytes.
    pub pgtables_bytes: u64,
    /// How many faults were served under a VMA's lock alone.
    pub faults_vma_lock: u64,
    /// How many needed the mmap lock.
    pub faults_mmap_lock: u64,
    pub min_flt: u64,
    pub maj_flt: u64,
}

/// Code that is not written to (`is_exec_mapping`).
pub(super) fn is_exec(flags: VmFlags) -> bool {
    let of = VmFlags::EXEC.with(VmFlags::WRITE).with(VmFlags::GROWSDOWN);
    VmFlags(flags.0 & of.0) == VmFlags::EXEC
}

/// A stack (`is_stack_mapping`).
pub(super) fn is_stack(flags: VmFlags) -> bool {
    flags.has(VmFlags::GROWSDOWN)
}

/// What is private and may be written to, and is no stack
/// (`is_data_mapping`).
pub(super) fn is_data(flags: VmFlags) -> bool {
    let of = VmFlags::WRITE
        .with(VmFlags::SHARED)
        .with(VmFlags::GROWSDOWN);
    VmFlags(flags.0 & of.0) == VmFlags::WRITE
}

/// Adds to a count that one alone changes at a time, or all in one step.
fn add(count: &AtomicU64, pages: i64) {
    count.fetch_add(pages as u64, Relaxed);
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// What is counted of it now.
    pub fn numbers(&self) -> MmNumbers {
        let cells = self.cells;
        let of = |count: &AtomicU64| count.load(Relaxed);
        let (faults_vma_lock, faults_mmap_lock) = cells.fault_counts();
        let (min_flt, maj_flt) = cells.faults();
        MmNumbers {
            map_count: cells.map_count.load(Relaxed),
            oom_score_adj: of(&cells.oom_score_adj) as i16,
            mmap_base: of(&cells.mmap_base),
            total_vm: of(&cells.total_vm),
            locked_vm: of(&cells.locked_vm),
            pinned_vm: of(&cells.pinned_vm),
            data_vm: of(&cells.data_vm),
            exec_vm: of(&cells.exec_vm),
            stack_vm: of(&cells.stack_vm),
            hiwater_rss: of(&cells.hiwater_rss),
            hiwater_vm: of(&cells.hiwater_vm),
            rss: cells.rss.each_ref().map(of),
            pgtables_bytes: of(&cells.pgtables_bytes),
            faults_vma_lock,
            faults_mmap_lock,
            min_flt,
            maj_flt,
        }
    }

    /// Counts pages of such VMAs, or fewer (`vm_stat_account`). With the mmap lock for
    /// writing.
    pub(super) fn stat_account(&self, flags: VmFlags, pages: i64) {
        add(&self.cells.total_vm, pages);
        self.stat_account_kind(flags, pages);
    }

    /// The same in the counts of kinds alone.
    pub(super) fn stat_account_kind(&self, flags: VmFlags, pages: i64) {
        if is_exec(flags) {
            add(&self.cells.exec_vm, pages);
        } else if is_stack(flags) {
            add(&self.cells.stack_vm, pages);
        } else if is_data(flags) {
            add(&self.cells.data_vm, pages);
        }
    }

    /// Counts locked pages, or fewer (`locked_vm`).
    pub(super) fn add_locked(&self, pages: i64) {
        add(&self.cells.locked_vm, pages);
    }

    /// Before there are fewer pages than there were (`update_hiwater_vm`).
    pub(super) fn update_hiwater_vm(&self) {
        let total = self.cells.total_vm.load(Relaxed);
        if self.cells.hiwater_vm.load(Relaxed) < total {
            self.cells.hiwater_vm.store(total, Relaxed);
        }
    }

    /// How many VMAs there are (`map_count`).
    pub fn map_count(&self) -> u64 {
        self.cells.map_count.load(Relaxed).into()
    }

    /// Whether it may have a page more, or a table.
    ///
    /// # Errors
    ///
    /// [`Error::UserLimit`].
    pub(super) fn check_room<H: HostTable + ?Sized>(&self, host: &H) -> Result<()> {
        self.check_room_for(host, 1)
    }

    /// Whether it may have so many pages more.
    ///
    /// # Errors
    ///
    /// [`Error::UserLimit`].
    pub(super) fn check_room_for<H: HostTable + ?Sized>(&self, host: &H, more: u64) -> Result<()> {
        match host.is_full(self.cells.charged(), more) {
            true => Err(Error::UserLimit),
            false => Ok(()),
        }
    }

    /// Promises pages, if they may be (`security_vm_enough_memory_mm`,
    /// `__vm_enough_memory`).
    ///
    /// # Errors
    ///
    /// [`Error::Overcommit`]; nothing is promised then.
    pub(super) fn charge(&self, pages: u64) -> Result<()> {
        let system = &self.system;
        system.account(pages as i64);
        let mode = system.knob(MmKnob::OvercommitMemory);
        let enough = match mode {
            OVERCOMMIT_ALWAYS => true,
            OVERCOMMIT_GUESS => pages <= ALWAYS_THERE || pages <= system.mm.managed().0,
            _ => self.is_below_limit(),
        };
        if !enough {
            system.account(-(pages as i64));
            return Err(Error::Overcommit);
        }
        Ok(())
    }

    fn is_below_limit(&self) -> bool {
        let system = &self.system;
        let mut allowed = system.commit_limit().0 as i64;
        if !self.is_capable(super::rlimit::CAP_SYS_ADMIN) {
            let reserve = system.knob_pages(MmKnob::AdminReserveKbytes);
            allowed = allowed.saturating_sub(reserve.0 as i64);
        }
        let reserve = system.knob_pages(MmKnob::UserReserveKbytes);
        let share = self.cells.total_vm.load(Relaxed) / 32;
        allowed = allowed.saturating_sub(share.min(reserve.0) as i64);
        (system.committed().0 as i64) < allowed
    }
}

impl<P: Platform> AddressSpaces<'_, '_, P> {
    /// Promises pages, or fewer (`vm_acct_memory`, `vm_unacct_memory`).
    #[inline]
    pub(super) fn account(&self, pages: i64) {
        add(&self.table().committed, pages);
    }

    /// How many pages are promised (`Committed_AS`).
    pub fn committed(&self) -> Pages {
        let committed = self.table().committed.load(Relaxed) as i64;
        Pages(committed.max(0) as u64)
    }

    /// How many may be in mode 2 (`CommitLimit`, `vm_commit_limit`).
    pub fn commit_limit(&self) -> Pages {
        match self.knob(MmKnob::OvercommitKbytes) {
            0 => {
                let ratio = self.knob(MmKnob::OvercommitRatio);
                Pages(self.mm.managed().0.saturating_mul(ratio) / 100)
            }
            _ => self.knob_pages(MmKnob::OvercommitKbytes),
        }
    }
}
