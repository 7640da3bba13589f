// SPDX-License-Identifier: GPL-2.0

//! Who asks: the depot in the shadow's pages, and the tracks that speak of its
//! stacks.

use super::depot::Depot;
use super::depot::DepotMemory;
use super::depot::DepotRoot;
use super::inspect::Taint;
use super::track::StackHandle;
use super::track::Track;
use super::track::TRACK_ADDRS_COUNT;
use crate::buddy::gfp;
use crate::buddy::AllocRequest;
use crate::buddy::PageAllocator;
use crate::phys::PageOrder;
use crate::phys::Pfn;
use crate::phys::PhysAddr;
use crate::phys::PhysRange;
use crate::platform::Platform;
use crate::slab::state::Shape;
use crate::slab::system::SlabAllocator;
use crate::slab::SlabFlags;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::AcqRel;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Relaxed;

/// The pages of the depot's root.
const ROOT_ORDER: PageOrder = match PageOrder::new(1) {
    Some(order) => order,
    None => PageOrder::ZERO,
};

const _: () = assert!(core::mem::size_of::<DepotRoot>() as u64 <= ROOT_ORDER.pages().bytes().0);

/// What debugging has for all caches.
#[derive(Default)]
pub(in crate::slab) struct DebugState {
    pub(super) taint: Taint,
    /// Where the depot's root is; 0 for nowhere.
    depot: AtomicU64,
}

impl DebugState {
    /// Nothing was found, and no stack is kept.
    pub(in crate::slab) const fn new() -> Self {
        Self {
            taint: Taint::new(),
            depot: AtomicU64::new(0),
        }
    }
}

/// The depot's pages.
pub(super) struct DepotPages<'a, 'm, P: Platform>(SlabAllocator<'a, 'm, P>);

impl<P: Platform> DepotMemory for DepotPages<'_, '_, P> {
    fn take(&self) -> Option<Pfn> {
        let request = AllocRequest::new(gfp::GFP_NOWAIT | gfp::__GFP_NOWARN, PageOrder::ZERO);
        self.0.mm.allocator().alloc(&request).ok()
    }

    fn give_back(&self, pfn: Pfn) {
        // It was just taken.
        let _ = self.0.mm.allocator().free(pfn, PageOrder::ZERO);
    }

    fn words(&self, pfn: Pfn) -> Option<&[AtomicU64]> {
        let range = PhysRange::new(pfn.addr(), PageOrder::ZERO.pages().bytes());
        self.0.cell_slice(range)
    }
}

impl<'a, 'm, P: Platform> SlabAllocator<'a, 'm, P> {
    pub(super) fn depot(&self) -> Depot<'m, DepotPages<'a, 'm, P>> {
        let root = match self.table().debug.depot.load(Acquire) {
            0 => None,
            addr => self.cells(addr),
        };
        Depot::new(root, DepotPages(*self))
    }

    /// Makes the depot's root, if there is none yet and there is memory for it.
    fn make_depot(&self) {
        let pages = self.mm.allocator();
        let flags = gfp::GFP_NOWAIT | gfp::__GFP_NOWARN | gfp::__GFP_ZERO;
        let Ok(pfn) = pages.alloc(&AllocRequest::new(flags, ROOT_ORDER)) else {
            return;
        };
        let addr = pfn.addr().0;
        let usable = self.cells::<DepotRoot>(addr).is_some();
        let depot = &self.table().debug.depot;
        if !usable || depot.compare_exchange(0, addr, AcqRel, Acquire).is_err() {
            // It was just taken.
            let _ = pages.free(pfn, ROOT_ORDER);
        }
    }

    /// Gives the depot's pages back, for the end of the layer: no track is left
    /// that speaks of a stack.
    pub(in crate::slab) fn drop_depot(&self) {
        let depot = self.depot();
        let addr = self.table().debug.depot.swap(0, AcqRel);
        if addr == 0 {
            return;
        }
        let pages = self.mm.allocator();
        for pfn in depot.pages() {
            // They are the depot's.
            let _ = pages.free(pfn, PageOrder::ZERO);
        }
        let _ = pages.free(PhysAddr(addr).pfn_down(), ROOT_ORDER);
    }

    /// How many stacks the depot has, in how many pages besides its own two, and
    /// how many there was no memory for.
    pub fn depot_counts(&self) -> (u32, u32, u32) {
        self.depot().counts()
    }

    /// Who calls, with the stack, if the cache is to know (`set_track_prepare`).
    /// No lock is held: the depot may take a page.
    pub(in crate::slab) fn witness(&self, shape: &Shape, caller: u64) -> Track {
        if !shape.geometry.flags.has(SlabFlags::STORE_USER) {
            return Track::default();
        }
        if self.table().debug.depot.load(Relaxed) == 0 {
            self.make_depot();
        }
        let mut entries = [0; TRACK_ADDRS_COUNT];
        let len = self.platform().save_stack(&mut entries);
        let mut entries = entries.get(..len).unwrap_or_default();
        // What lies below the caller is the slab layer itself.
        if let Some(at) = entries.iter().position(|&entry| entry == caller) {
            entries = entries.get(at..).unwrap_or_default();
        }
        let stack = match entries {
            [] => StackHandle(0),
            entries => self.depot().save(entries),
        };
        let addr = match caller {
            0 => entries.first().copied().unwrap_or(0),
            caller => caller,
        };
        Track::now(self.platform(), addr, stack)
    }
}
