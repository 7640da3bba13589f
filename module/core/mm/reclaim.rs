// SPDX-License-Identifier: GPL-2.0

//! Pages that nobody would miss go before anybody is killed to have memory.
//!
//! ```text
//! MADV_FREE, and nobody has written to the page since    its entry is clean
//! MAP_DROPPABLE                                          whatever its entry says
//! nobody has it, but a part of its block                 the block becomes single pages (parts.rs)
//! ```
//!
//! They go where this entry has the only reference to them, and its memory is not locked
//! (`shrink_folio_list`, `try_to_unmap_one`). Linux takes them when it reclaims anything; here
//! nothing else is reclaimed of processes, and that is when a fault finds no memory.
//!
//! Whose they are is another process mostly, in the middle of anything: a space in which
//! somebody has VMAs changed is waited for, but not for ever, and the host's entries are zapped
//! from outside ([`Platform::zap_window`]). One does it at a time; who comes meanwhile, or had
//! found no memory just before, has what the other found (`oom_lock`).

use super::flags::VmFlags;
use super::host::HostTable;
use super::lock::ReadLock;
use super::lock::WriteLock;
use super::system::AddressSpace;
use super::system::AddressSpaces;
use super::types::VirtAddr;
use super::types::VirtRange;
use crate::buddy::VmEvent;
use crate::error::Error;
use crate::error::Result;
use crate::phys::Pfn;
use crate::platform::Platform;
use crate::slab::ObjAddr;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// So many pages are enough for a while.
const ENOUGH: u64 = 512;

/// Who had found no memory this long before some came back tries again.
const RECENT_NS: u64 = 10_000_000;

/// How long spaces are waited for in which somebody has VMAs changed.
const PATIENCE_NS: u64 = 1_000_000_000;

/// What is known of pages that nobody would miss.
pub(super) struct Unneeded {
    /// Whether there may be some.
    any: AtomicU32,
    /// Held by who takes some.
    lock: AtomicU32,
    /// When some were taken last; 0 for never.
    taken: AtomicU64,
    /// Since when none were, because of spaces that could not be looked at; 0 where there were
    /// no such.
    waiting: AtomicU64,
}

impl Unneeded {
    /// None.
    pub(super) const fn new() -> Self {
        Self {
            any: AtomicU32::new(0),
            lock: AtomicU32::new(0),
            taken: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
        }
    }
}

/// What came of a look at all spaces.
#[derive(Default)]
struct Found {
    /// Pages that have gone.
    gone: u64,
    /// Pages that have come back, and that nobody had.
    rest: u64,
    /// Whether others may go some day.
    left: bool,
    /// Whether a space could not be looked at.
    busy: bool,
}

impl Found {
    /// All that have come back.
    fn all(&self) -> u64 {
        self.gone.wrapping_add(self.rest)
    }
}

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
        self.table().unneeded.any.store(1, Relaxed);
    }

    /// Takes pages that nobody would miss, as many as are enough for a while: whether it is
    /// worth to try again. The caller may have the mmap lock of `own`.
    #[inline(never)]
    pub(super) fn drop_unneeded(&self, own: Option<ObjAddr>) -> bool {
        let (platform, known) = (self.platform(), &self.table().unneeded);
        let _lock = WriteLock::lock(platform, &known.lock);
        let now = platform.now_ns().max(1);
        let taken = known.taken.load(Relaxed);
        if taken != 0 && now.saturating_sub(taken) < RECENT_NS {
            return true;
        }
        if known.any.load(Relaxed) == 0 {
            return false;
        }
        // What is noted meanwhile stays noted.
        known.any.store(0, Relaxed);
        let found = self.take_unneeded(own);
        if found.left || found.busy || found.all() != 0 {
            self.note_unneeded();
        }
        if found.all() != 0 {
            known.taken.store(platform.now_ns().max(1), Relaxed);
            known.waiting.store(0, Relaxed);
            return true;
        }
        if !found.busy {
            known.waiting.store(0, Relaxed);
            return false;
        }
        let first = known.waiting.compare_exchange(0, now, Relaxed, Relaxed);
        let waits = now.saturating_sub(first.err().unwrap_or(now)) < PATIENCE_NS;
        if waits {
            platform.relax();
        }
        waits
    }

    #[inline(never)]
    fn take_unneeded(&self, own: Option<ObjAddr>) -> Found {
        let (platform, mut found, mut id) = (self.platform(), Found::default(), 0);
        while found.all() < ENOUGH {
            let Some(space) = self.next(id) else { break };
            id = space.cells.id();
            let (host, before) = (Elsewhere(platform, id), found.all());
            space.take_its_unneeded(&host, own == Some(space.addr), &mut found);
            if found.all() != before {
                platform.tell_charged(id, &|| space.cells.charged());
            }
            space.put(&host);
        }
        // What a CPU keeps counts for no watermark (`__alloc_pages_direct_reclaim`).
        if found.all() != 0 {
            self.mm.buddy().drain_all_pages();
        }
        let (cpu, _pinned) = platform.pin_cpu();
        let stats = &self.mm.stats;
        stats.count(cpu, VmEvent::Pglazyfreed, found.gone);
        found
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Takes some of a space, whose mmap lock the caller may have.
    #[inline(never)]
    fn take_its_unneeded(&self, host: &dyn HostTable, locked: bool, found: &mut Found) {
        let lock = match locked {
            true => None,
            false => {
                let lock = ReadLock::try_lock(self.system.platform(), &self.cells.lock);
                found.busy |= lock.is_none();
                lock
            }
        };
        if lock.is_none() && !locked {
            return;
        }
        let rest = self.split_all_parts(&mut found.left);
        found.rest = found.rest.wrapping_add(rest);
        for vma in self.vmas_in(VirtRange::new(0, u64::MAX)) {
            let flags = vma.flags();
            if found.all() >= ENOUGH {
                found.left = true;
                return;
            }
            if !vma.is_anonymous() {
                continue;
            }
            found.left |= flags.any(VmFlags::DROPPABLE.with(VmFlags::LOCKED));
            if !flags.has(VmFlags::LOCKED) {
                self.zap_unneeded(host, vma, ENOUGH, &mut found.gone, &mut found.left);
            }
        }
    }
}
