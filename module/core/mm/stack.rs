// SPDX-License-Identifier: GPL-2.0

//! The first stack (`setup_arg_pages`), and how a stack grows with the first access
//! below it (`expand_downwards`).
//!
//! ```text
//!     VMA        gap           stack
//!  [        ]<--------->|    [          ]     the gap stays free (stack_guard_gap), but
//!                       ^addr                 below another stack or what nobody may touch
//! ```

use super::flags::VmFlags;
use super::rlimit::Rlimit;
use super::sysctl::MmKnob;
use super::system::AddressSpace;
use super::system::MmapWrite;
use super::types::VirtAddr;
use super::vma::NewVma;
use super::vma::Vma;
use crate::error::Error;
use crate::error::Result;
use crate::phys::PAGE_SHIFT;
use crate::phys::PAGE_SIZE;
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

/// What a first stack has below what exec has put on it (`stack_expand`), which is one
/// page here, too.
const STACK_EXPAND: u64 = 128 << 10;

impl<'a, 'm: 'a, P: Platform> MmapWrite<'a, 'm, P> {
    /// Maps the stack that a process begins with, below `top`: as large as Linux's, or
    /// an eighth of a small window; of a tiny one there is none.
    ///
    /// # Errors
    ///
    /// [`Error::AddressSpaceLimit`], [`Error::Overcommit`], [`Error::NoMemory`].
    pub(super) fn set_up_stack(&self, top: u64) -> Result<()> {
        let space = &self.space;
        let window = space.window();
        let share = (window.len() / 8).min(space.limit(Rlimit::Stack));
        let size = STACK_EXPAND.saturating_add(PAGE_SIZE).min(share) & !(PAGE_SIZE - 1);
        let start = top.saturating_sub(size);
        if size == 0 || start < window.start.0 {
            return Ok(());
        }
        let pages = size >> PAGE_SHIFT;
        if !space.may_expand(VmFlags::STACK, pages) {
            return Err(Error::AddressSpaceLimit);
        }
        space.charge(pages)?;
        let pgoff = start >> PAGE_SHIFT;
        let new = NewVma {
            start,
            end: top,
            flags: VmFlags::STACK.with(VmFlags::SOFTDIRTY),
            pgoff,
            anon_pgoff: pgoff,
            file: 0,
        };
        self.insert_vma(&new)
            .inspect_err(|_| space.system.account(-(pages as i64)))?;
        space.stat_account(VmFlags::STACK, pages as i64);
        space
            .cells
            .start_stack
            .store(top.saturating_sub(PAGE_SIZE), Relaxed);
        Ok(())
    }

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
