// SPDX-License-Identifier: GPL-2.0

//! Pages that nobody would miss go before anybody is killed to have memory.
//!
//! ```text
//! MADV_FREE, and nobody has written to the page since    its entry is clean
//! MAP_DROPPABLE                                          whatever its entry says
//! ```
//!
//! They go where this entry has the only reference to them, and its memory is not locked
//! (`shrink_folio_list`, `try_to_unmap_one`). Linux takes them when it reclaims anything; here
//! nothing else is reclaimed of processes, and that is when memory is out.
//!
//! Whose they are is another process mostly, in the middle of anything: a space in which
//! somebody has VMAs changed is passed over, and the host's entries are zapped from outside
//! ([`Platform::zap_window`]).

use super::flags::VmFlags;
use super::host::HostTable;
use super::lock::ReadLock;
use super::system::AddressSpace;
use super::system::AddressSpaces;
use super::types::VirtAddr;
use super::types::VirtRange;
use crate::buddy::VmEvent;
use crate::error::Error;
use crate::error::Result;
use crate::phys::Pfn;
use crate::platform::Platform;
use core::sync::atomic::Ordering::Relaxed;

/// So many pages are enough for a while.
const ENOUGH: u64 = 512;

/// The host's table of a process that need not be the running one: nothing is entered there.
struct Elsewhere<'p, P: Platform>(&'p P, u32);

impl<P: Platform> HostTable for Elsewhere<'_, P> {
    fn enter(&self, _addr: VirtAddr, _pfn: Pfn, _writable: bool) -> Result<()> {
        Err(Error::NoWindow)
    }

    fn zap(&self, range: VirtRange) {
        self.0.zap_window(self.1, range);
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpaces<'a, 'm, P> {
    /// Somebody has pages now, or may come to have some, that he would not miss.
    pub(super) fn note_unneeded(&self) {
        self.table().unneeded.store(1, Relaxed);
    }

    /// Takes pages that nobody would miss, as many as are enough for a while: how many.
    pub(super) fn drop_unneeded(&self) -> u64 {
        if self.table().unneeded.swap(0, Relaxed) == 0 {
            return 0;
        }
        let (mut gone, mut left, mut id) = (0, false, 0);
        while gone < ENOUGH {
            let Some(space) = self.next(id) else { break };
            id = space.cells.id();
            let host = Elsewhere(self.platform(), id);
            space.drop_its_unneeded(&host, &mut gone, &mut left);
            space.put(&host);
        }
        if left || gone != 0 {
            self.note_unneeded();
        }
        // What a CPU keeps counts for no watermark (`__alloc_pages_direct_reclaim`).
        if gone != 0 {
            self.mm.buddy().drain_all_pages();
        }
        let (cpu, _pinned) = self.platform().pin_cpu();
        self.mm.stats.count(cpu, VmEvent::Pglazyfreed, gone);
        gone
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Takes some of a space: how many `gone` has then, and whether there may be more.
    fn drop_its_unneeded(&self, host: &dyn HostTable, gone: &mut u64, left: &mut bool) {
        let Some(_mm) = ReadLock::try_lock(self.system.platform(), &self.cells.lock) else {
            *left = true;
            return;
        };
        for vma in self.vmas_in(VirtRange::new(0, u64::MAX)) {
            let flags = vma.flags();
            if *gone >= ENOUGH {
                *left = true;
                return;
            }
            if vma.is_anonymous() && !flags.has(VmFlags::LOCKED) {
                *left |= flags.has(VmFlags::DROPPABLE);
                self.zap_unneeded(host, vma, ENOUGH, gone, left);
            }
        }
    }
}
