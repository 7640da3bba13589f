// SPDX-License-Identifier: GPL-2.0

//! `fork`: an address space like another, VMA by VMA.
//!
//! ```text
//! DONTCOPY    not in the child
//! WIPEONFORK  there, and empty
//! the rest    there; its pages are everybody's until somebody writes
//! ```

use super::address_space::COMM_LEN;
use super::flags::VmFlags;
use super::host::HostTable;
use super::host::Nowhere;
use super::oom::MM_OOM_VICTIM;
use super::system::AddressSpace;
use super::system::MmapWrite;
use super::types::VirtRange;
use super::vma::Vma;
use crate::error::Result;
use crate::platform::Platform;
use core::sync::atomic::Ordering::Relaxed;

/// `VM_INIT_DEF_MASK`: what of `def_flags` a child has, too.
const INHERITED: VmFlags = VmFlags::NOHUGEPAGE;

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Makes a copy for a child process, which has one user (`dup_mm`). `host` is the
    /// parent's: what the two share from now on is written to by neither without a
    /// fault.
    ///
    /// # Errors
    ///
    /// [`Error::Overcommit`](crate::error::Error::Overcommit),
    /// [`Error::NoMemory`](crate::error::Error::NoMemory).
    pub fn fork(
        &self,
        host: &dyn HostTable,
        pid: u32,
        comm: [u8; COMM_LEN],
    ) -> Result<AddressSpace<'a, 'm, P>> {
        let child = self.system.new_space()?;
        self.copy_cells_to(&child);
        child.cells.set_pid(pid);
        child.cells.set_comm(comm);
        child.tree().begin(self.tree().kind());
        {
            let parent = self.write();
            let to = child.write();
            if let Err(error) = parent.dup_mmap(host, &to) {
                drop(to);
                // The parent has all shared objects still.
                child.exit_mmap(&Nowhere);
                child.forget();
                return Err(error);
            }
        }
        let cells = child.cells;
        cells.hiwater_rss.store(cells.resident(), Relaxed);
        cells
            .hiwater_vm
            .store(cells.total_vm.load(Relaxed), Relaxed);
        child.publish();
        Ok(child)
    }

    /// What a child has from its parent beside the VMAs (`mm_init`, `dup_mmap`).
    fn copy_cells_to(&self, child: &Self) {
        let (from, to) = (self.cells, child.cells);
        let pairs = [
            (&from.window_start, &to.window_start),
            (&from.window_end, &to.window_end),
            (&from.mmap_base, &to.mmap_base),
            (&from.mmap_legacy_base, &to.mmap_legacy_base),
            (&from.rlimit_as, &to.rlimit_as),
            (&from.rlimit_data, &to.rlimit_data),
            (&from.rlimit_data_max, &to.rlimit_data_max),
            (&from.rlimit_stack, &to.rlimit_stack),
            (&from.rlimit_memlock, &to.rlimit_memlock),
            (&from.policy, &to.policy),
            (&from.oom_score_adj, &to.oom_score_adj),
        ];
        for (from, to) in pairs {
            to.store(from.load(Relaxed), Relaxed);
        }
        to.policy.fetch_and(!MM_OOM_VICTIM, Relaxed);
        child.set_segments(&self.segments());
        let default = from.def_flags.load(Relaxed) & INHERITED.0;
        to.def_flags.store(default, Relaxed);
    }
}

impl<'a, 'm: 'a, P: Platform> MmapWrite<'a, 'm, P> {
    /// `dup_mmap`. What was made of the child before an error is in it.
    fn dup_mmap(&self, host: &dyn HostTable, child: &Self) -> Result<()> {
        let (from, to) = (self.space.cells, child.space.cells);
        let counts = [
            (&from.total_vm, &to.total_vm),
            (&from.data_vm, &to.data_vm),
            (&from.exec_vm, &to.exec_vm),
            (&from.stack_vm, &to.stack_vm),
        ];
        for (from, to) in counts {
            to.store(from.load(Relaxed), Relaxed);
        }
        for vma in self.space.vmas_in(VirtRange::new(0, u64::MAX)) {
            self.space.start_write(vma);
            if vma.flags().has(VmFlags::DONTCOPY) {
                child.space.stat_account(vma.flags(), -(vma.pages() as i64));
                continue;
            }
            self.dup_to(host, child, vma)?;
        }
        Ok(())
    }

    fn dup_to(&self, host: &dyn HostTable, child: &Self, vma: Vma<'m>) -> Result<()> {
        let system = &self.space.system;
        let mut reserve = child.space.tree().reserve(1)?;
        let promised = match vma.flags().has(VmFlags::ACCOUNT) {
            true => vma.pages(),
            false => 0,
        };
        if promised != 0 {
            self.space.charge(promised)?;
        }
        let new = system
            .dup_vma(vma)
            .inspect_err(|_| system.account(-(promised as i64)))?;
        let is_wiped = new.flags().has(VmFlags::WIPEONFORK);
        match (is_wiped, vma.anon()) {
            (true, _) | (_, 0) => new.unlink_anon(),
            // A region of its own, which its parent's chain leads to
            // (`anon_vma_fork`).
            (false, _) => {
                let region = system.table().next_anon.fetch_add(1, Relaxed);
                let chains = vma.cells().chains.load(Relaxed);
                new.cells().chains.store(chains.wrapping_add(1), Relaxed);
                new.cells().anon.store(region, Relaxed);
            }
        }
        new.set_flags(new.flags().without(VmFlags::LOCKED_MASK));
        system.get_backing(new);
        child.link_vma(new, &mut reserve);
        if is_wiped {
            return Ok(());
        }
        let to = &child.space;
        self.space.copy_range(to, host, vma.cells(), new.cells())
    }
}
