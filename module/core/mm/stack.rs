// SPDX-License-Identifier: GPL-2.0

//! A stack grows with the first access below it (`expand_downwards`).
//!
//! ```text
//!     VMA        gap           stack
//!  [        ]<--------->|    [          ]     the gap stays free (stack_guard_gap), but
//!                       ^addr                 below another stack or what nobody may touch
//! ```

use super::flags::VmFlags;
use super::sysctl::MmKnob;
use super::system::AddressSpace;
use super::system::MmapWrite;
use super::types::VirtAddr;
use super::vma::Vma;
use crate::error::Error;
use crate::error::Result;
use crate::phys::PAGE_SHIFT;
use crate::platform::Platform;
use crate::trace::tell;
use crate::trace::TraceEvent;
use crate::trace::TracePoint;
use core::sync::atomic::Ordering::Relaxed;

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Has the stack above an address grow down to it, unless the address is in a VMA
    /// already (`expand_stack`). Waits for the mmap lock.
    ///
    /// # Errors
    ///
    /// [`Error::NotAStack`] where there is none above, [`Error::LowAddress`],
    /// [`Error::StackLimit`], [`Error::AddressSpaceLimit`],
    /// [`Error::LockLimitNoMemory`], [`Error::Overcommit`], [`Error::NoMemory`].
    #[cold]
    #[inline(never)]
    pub fn expand_stack(&self, addr: VirtAddr) -> Result<()> {
        let write = self.write();
        let vma = self.find_vma(addr.0).ok_or(Error::NotAStack)?;
        match vma.start() <= addr.0 {
            true => Ok(()),
            false => write.expand_downwards(vma, addr),
        }
    }
}

impl<'a, 'm: 'a, P: Platform> MmapWrite<'a, 'm, P> {
    /// Has a stack begin with the page of `addr`, which lies below it.
    ///
    /// # Errors
    ///
    /// As above.
    fn expand_downwards(&self, vma: Vma<'m>, addr: VirtAddr) -> Result<()> {
        let space = &self.space;
        if !vma.flags().has(VmFlags::GROWSDOWN) {
            return Err(Error::NotAStack);
        }
        let start = addr.page_down().0;
        let lowest = space.cells.window_start.load(Relaxed);
        if start < lowest.max(space.system.knob(MmKnob::MmapMinAddr)) {
            return Err(Error::LowAddress);
        }
        if let Some(prev) = space.prev_vma(vma.start()) {
            let is_near = start.wrapping_sub(prev.end()) < space.system.stack_guard_gap();
            if is_near && prev.is_accessible() && !prev.flags().has(VmFlags::GROWSDOWN) {
                return Err(Error::StackLimit);
            }
        }
        let mut reserve = space.tree().reserve(1)?;
        space.join_region(vma.cells());
        space.start_write(vma);
        let was = vma.start();
        let grow = was.wrapping_sub(start) >> PAGE_SHIFT;
        if grow > vma.pgoff() {
            return Err(Error::StackLimit);
        }
        self.charge_stack(vma.flags(), vma.end().wrapping_sub(start), grow)?;
        if vma.flags().has(VmFlags::LOCKED) {
            space.add_locked(grow as i64);
        }
        space.stat_account(vma.flags(), grow as i64);
        vma.set_range(start, vma.end());
        vma.add_pgoff(grow.wrapping_neg());
        let value = Some(vma.addr().get());
        space.tree().store(start, vma.end(), value, &mut reserve);
        tell(space.system.platform(), TracePoint::FaultExpand, || {
            TraceEvent::FaultExpand {
                mm: space.cells.id.load(Relaxed),
                start: VirtAddr(start),
                was: VirtAddr(was),
            }
        });
        Ok(())
    }
}
