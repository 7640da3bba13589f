// SPDX-License-Identifier: GPL-2.0

//! Which anonymous region a VMA's private pages belong to (`anon_vma`).
//!
//! Nothing here needs to find the entries of a page, which is what Linux has them for. But
//! whether two VMAs are merged depends on them, so every VMA gets its region when Linux
//! would give it one: with its first private page.

use super::cells::VmaCells;
use super::fault::Stop;
use super::flags::VmFlags;
use super::handle::Fault;
use super::host::HostTable;
use super::lock::ReadLock;
use super::system::AddressSpace;
use crate::phys::PAGE_SIZE;
use crate::platform::Platform;
use crate::slab::ObjAddr;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::Release;

impl<'a, 'm: 'a, P: Platform, H: HostTable + ?Sized> Fault<'_, 'a, 'm, P, H> {
    /// Sees to it that the VMA has a region (`vmf_anon_prepare`).
    #[inline]
    pub(super) fn prepare_anon(&self) -> Result<(), Stop> {
        match self.vma.anon.load(Relaxed) {
            0 => self.join_region(),
            _ => Ok(()),
        }
    }

    /// The neighbours are looked at for theirs, which takes the mmap lock: if it is to be
    /// had at once, the fault goes on with the VMA's alone.
    #[cold]
    #[inline(never)]
    fn join_region(&self) -> Result<(), Stop> {
        let space = &self.space;
        let _lock = match self.vma_lock_only {
            false => None,
            true => {
                let lock = ReadLock::try_lock(space.system.platform(), &space.cells.lock);
                Some(lock.ok_or(Stop::NeedsMmapLock)?)
            }
        };
        space.join_region(self.vma);
        Ok(())
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Gives a VMA that has none the region of a neighbour, or a new one
    /// (`__anon_vma_prepare`). The caller has the mmap lock.
    pub(super) fn join_region(&self, vma: &VmaCells) {
        if vma.anon.load(Relaxed) != 0 {
            return;
        }
        let region = self.region_near(vma).unwrap_or_else(|| {
            let next = &self.system.table().next_anon;
            next.fetch_add(1, Relaxed)
        });
        vma.chains.store(1, Relaxed);
        // Whoever else has come this far has another number for it, perhaps.
        let _ = vma.anon.compare_exchange(0, region, Release, Relaxed);
    }

    /// The region of the next VMA, or of the one before, if they might be merged one day
    /// (`find_mergeable_anon_vma`).
    fn region_near(&self, vma: &VmaCells) -> Option<u64> {
        let tree = self.tree();
        let at = |value: u64| self.system.cells::<VmaCells>(ObjAddr::new(value)).ok();
        let next = tree.find(vma.end.load(Relaxed)).and_then(|e| at(e.value));
        let from_next = next.and_then(|next| region_of(next, vma, next));
        from_next.or_else(|| {
            let prev = at(tree.prev(vma.start.load(Relaxed))?.value)?;
            region_of(prev, prev, vma)
        })
    }
}

/// The region of `old`, which is one of two neighbours, if no fork has passed it on and
/// they might be merged (`reusable_anon_vma`).
fn region_of(old: &VmaCells, low: &VmaCells, high: &VmaCells) -> Option<u64> {
    let region = old.anon.load(Acquire);
    let may = is_compatible(low, high) && region != 0 && old.chains.load(Relaxed) == 1;
    may.then_some(region)
}

/// Whether two VMAs are neighbours that could be one, but for what `mprotect` changes
/// (`anon_vma_compatible`).
fn is_compatible(low: &VmaCells, high: &VmaCells) -> bool {
    let of = |count: &AtomicU64| count.load(Relaxed);
    let pages = of(&low.end).wrapping_sub(of(&low.start)) / PAGE_SIZE;
    let differs = VmFlags(of(&low.flags) ^ of(&high.flags));
    let ignored = VmFlags::ACCESS.with(VmFlags::STICKY);
    of(&low.end) == of(&high.start)
        && of(&low.file) == of(&high.file)
        && differs.without(ignored) == VmFlags::NONE
        && of(&low.pgoff).wrapping_add(pages) == of(&high.pgoff)
        && of(&low.anon_pgoff).wrapping_add(pages) == of(&high.anon_pgoff)
}
