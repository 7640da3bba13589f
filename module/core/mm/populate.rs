// SPDX-License-Identifier: GPL-2.0

//! Pages are made before anybody touches them (`populate_vma_page_range`,
//! `faultin_page_range`).

use super::fault::Stop;
use super::host::Access;
use super::host::HostTable;
use super::oom::Relief;
use super::system::AddressSpace;
use super::types::VirtAddr;
use super::types::VirtRange;
use crate::error::Error;
use crate::error::Result;
use crate::phys::PAGE_SIZE;
use crate::platform::Platform;
use core::sync::atomic::Ordering::Relaxed;

/// How often memory is waited for that somebody has who is about to die, a moment each time.
const VICTIM_ROUNDS: u32 = 1000;

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Has each page of a range there, as if somebody read from or wrote to each, and
    /// says how many they are. The caller has the mmap lock for reading.
    ///
    /// # Errors
    ///
    /// [`Error::NotMapped`] where there is no VMA, [`Error::NothingThere`] where one does
    /// not allow it, a guard is there, or what is behind it has ended, [`Error::NoMemory`],
    /// [`Error::NoHostMemory`], [`Error::UserLimit`]. The pages before stay.
    pub fn populate(&self, host: &dyn HostTable, range: VirtRange, write: bool) -> Result<u64> {
        let access = match write {
            true => Access::Write,
            false => Access::Read,
        };
        let mut addr = range.start.page_down().0;
        let mut done = 0u64;
        let mut rounds = 0u32;
        while addr < range.end.0 {
            if host.is_full(self.cells.resident()) {
                return Err(Error::UserLimit);
            }
            let vma = self.vma_lookup(addr).ok_or(Error::NotMapped)?;
            match self.fault_in(host, vma.cells(), VirtAddr(addr), access, false) {
                Ok(mapped) => {
                    self.cells.populated.fetch_add(1, Relaxed);
                    if mapped.major {
                        self.cells.maj_flt.fetch_add(1, Relaxed);
                    }
                    done = done.wrapping_add(1);
                    addr = addr.wrapping_add(PAGE_SIZE);
                    rounds = 0;
                    self.system.platform().cond_resched();
                }
                Err(Stop::Again | Stop::NeedsMmapLock) => {}
                Err(Stop::Segv(_) | Stop::Bus) => return Err(Error::NothingThere),
                Err(Stop::HostOom) => return Err(Error::NoHostMemory),
                // Linux waits for as long as it takes. Here who is about to die may need
                // what the caller has: all that wait for a writer wait for both then.
                Err(Stop::Oom) if rounds >= VICTIM_ROUNDS => return Err(Error::NoMemory),
                Err(Stop::Oom) => {
                    rounds = rounds.wrapping_add(1);
                    self.wait_for_memory()?;
                }
            }
            if self.system.platform().fatal_signal_pending() {
                return Err(Error::NoMemory);
            }
        }
        Ok(done)
    }

    /// Somebody is killed to have memory, if there is anybody.
    fn wait_for_memory(&self) -> Result<()> {
        match self.out_of_memory() {
            Relief::Expected => {
                self.system.platform().relax();
                Ok(())
            }
            Relief::None => Err(Error::NoMemory),
        }
    }
}
