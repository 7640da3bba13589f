// SPDX-License-Identifier: GPL-2.0

//! All address spaces of a running shadow, and what they have in common.

use super::cells::MmCells;
use super::cells::VmaCells;
use super::lock::ReadLock;
use super::lock::WriteLock;
use super::reclaim::Unneeded;
use super::sysctl::Knobs;
use crate::boot::Mm;
use crate::error::Error;
use crate::error::Result;
use crate::phys::Cells;
use crate::phys::PhysAddr;
use crate::platform::Platform;
use crate::report::Unsaid;
use crate::slab::Cache;
use crate::slab::CacheArgs;
use crate::slab::CacheId;
use crate::slab::Constructor;
use crate::slab::ObjAddr;
use crate::slab::ObjectAllocator;
use crate::slab::SlabAllocator;
use crate::slab::SlabFlags;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::Release;

/// What all address spaces have in common; one in each running shadow.
pub struct SpacesTable {
    /// Held while the caches come up, and while an address space comes or goes.
    pub(super) lock: AtomicU32,
    /// The caches' numbers, by [`CacheOf`]; 0 before they are up.
    caches: [AtomicU32; NR_CACHES],
    /// The first of all address spaces; 0 for none. Changed with `lock`.
    pub(super) first: AtomicU64,
    /// What the user has said.
    pub(super) knobs: Knobs,
    /// Pages that nobody would miss.
    pub(super) unneeded: Unneeded,
    /// Promised pages (`vm_committed_as`).
    pub(super) committed: AtomicU64,
    /// Faults of those that are gone, and how many of them had to read something.
    pub(super) past_faults: [AtomicU64; 2],
    /// The number that the next one gets.
    pub(super) next_id: AtomicU32,
    /// The number that the next anonymous region gets (`anon_vma`).
    pub(super) next_anon: AtomicU64,
    /// How many there are.
    pub(super) count: AtomicU32,
    /// The zero page's frame, who has a reference to it, and who may change both.
    pub(super) zero_page: AtomicU64,
    pub(super) zero_users: AtomicU32,
    pub(super) zero_lock: AtomicU32,
}

/// The caches of this room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum CacheOf {
    /// Address spaces.
    Mm = 0,
    /// VMAs.
    Vma = 1,
    /// Nodes of VMA trees.
    Node = 2,
    /// Shared objects.
    Shared = 3,
}

const NR_CACHES: usize = 4;

/// Their names, which are Linux's, how large their objects are, and how they are
/// aligned; nodes by their size (`maple_tree_init`), since their names have no more room.
const CACHES: [(&str, usize, usize); NR_CACHES] = [
    ("mm_struct", core::mem::size_of::<MmCells>(), 0),
    ("vm_area_struct", core::mem::size_of::<VmaCells>(), 0),
    ("maple_node", super::NODE_SIZE, super::NODE_SIZE),
    (
        "shmem_inode_cache",
        core::mem::size_of::<super::shared::ShmCells>(),
        0,
    ),
];

impl SpacesTable {
    /// No address space.
    pub const fn new() -> Self {
        Self {
            lock: AtomicU32::new(0),
            caches: [const { AtomicU32::new(0) }; NR_CACHES],
            first: AtomicU64::new(0),
            knobs: Knobs::new(),
            unneeded: Unneeded::new(),
            committed: AtomicU64::new(0),
            past_faults: [const { AtomicU64::new(0) }; 2],
            next_id: AtomicU32::new(1),
            next_anon: AtomicU64::new(1),
            count: AtomicU32::new(0),
            zero_page: AtomicU64::new(0),
            zero_users: AtomicU32::new(0),
            zero_lock: AtomicU32::new(0),
        }
    }
}

impl Default for SpacesTable {
    fn default() -> Self {
        Self::new()
    }
}

/// The address spaces: a view of the memory manager ([`Mm::spaces`]).
pub struct AddressSpaces<'a, 'm, P: Platform> {
    pub(super) mm: &'a Mm<'m, P>,
}

impl<P: Platform> Clone for AddressSpaces<'_, '_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Platform> Copy for AddressSpaces<'_, '_, P> {}

impl<'a, 'm, P: Platform> AddressSpaces<'a, 'm, P> {
    /// The number that the next one gets. Each is given once.
    pub fn next_number(&self) -> u32 {
        self.table().next_id.load(Relaxed)
    }

    /// Numbers begin here, or where they would: those before are of a boot that was
    /// there before, and somebody may know them still.
    pub fn number_from(&self, first: u32) {
        self.table().next_id.fetch_max(first, Relaxed);
    }

    /// The address spaces of this memory manager.
    pub(crate) const fn new(mm: &'a Mm<'m, P>) -> Self {
        Self { mm }
    }

    /// The surroundings.
    #[inline]
    pub(super) fn platform(&self) -> &'a P {
        &self.mm.platform
    }

    #[inline]
    pub(super) fn table(&self) -> &'a SpacesTable {
        &self.mm.spaces
    }

    /// The cells at a shadow physical address.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] where there can't be any.
    #[inline]
    pub(super) fn cells<T: Cells>(&self, addr: ObjAddr) -> Result<&'m T> {
        self.page_cells(addr.addr())
    }

    /// The same in a page.
    #[inline]
    pub(super) fn page_cells<T: Cells>(&self, addr: PhysAddr) -> Result<&'m T> {
        SlabAllocator::new(self.mm)
            .cells(addr.0)
            .ok_or(Error::Corrupt)
    }

    /// A cache of this room. It is there with the slab layer; where there was no memory for it then, it is made now.
    ///
    /// # Errors
    ///
    /// Those of [`ObjectAllocator::create`].
    #[inline]
    pub fn cache(&self, of: CacheOf) -> Result<Cache<'a, 'm, P>> {
        let number = self.table().caches[of as usize].load(Acquire);
        match CacheId::new(number as u16) {
            Some(id) => self.mm.slab()?.cache(id),
            None => {
                self.make_caches()?;
                self.cache(of)
            }
        }
    }

    /// Makes the caches that are not there yet.
    ///
    /// # Errors
    ///
    /// Those of [`Mm::slab`](crate::boot::Mm::slab), and of making a cache; what was made stays.
    #[cold]
    #[inline(never)]
    pub(crate) fn make_caches(&self) -> Result<()> {
        let slab = self.mm.slab()?;
        let _lock = WriteLock::lock(self.platform(), &self.table().lock);
        for (place, (name, size, align)) in self.table().caches.iter().zip(CACHES) {
            if place.load(Relaxed) != 0 {
                continue;
            }
            let flags = SlabFlags::TYPESAFE_BY_RCU | SlabFlags::HWCACHE_ALIGN;
            let mut args = CacheArgs::new(name, size as u32);
            args.flags = flags;
            args.align = align as u32;
            args.of_core = true;
            // Locks outlive their objects, and are free in those of a new slab.
            if name != "maple_node" {
                args.ctor = Constructor::Fill(0);
            }
            let id = slab.create(&args)?;
            place.store(id.get().into(), Release);
        }
        Ok(())
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpaces<'a, 'm, P> {
    /// Gives the caches back; the next use makes them anew. Before the slab layer can go.
    ///
    /// # Errors
    ///
    /// [`Error::CacheBusy`] while there is an address space.
    pub fn shut_down(&self) -> Result<()> {
        let table = self.table();
        let _lock = WriteLock::lock(self.platform(), &table.lock);
        if table.count.load(Relaxed) != 0 {
            return Err(Error::CacheBusy);
        }
        for place in &table.caches {
            if let Some(id) = CacheId::new(place.load(Relaxed) as u16) {
                self.mm.slab()?.destroy(id, &mut Unsaid)?;
                place.store(0, Release);
            }
        }
        Ok(())
    }
}

/// An address space, as somebody uses it who has a reference.
pub struct AddressSpace<'a, 'm, P: Platform> {
    pub(super) system: AddressSpaces<'a, 'm, P>,
    pub(super) addr: ObjAddr,
    pub(super) cells: &'m MmCells,
}

impl<P: Platform> Clone for AddressSpace<'_, '_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Platform> Copy for AddressSpace<'_, '_, P> {}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// What is known of it.
    #[inline]
    pub fn cells(&self) -> &'m MmCells {
        self.cells
    }

    /// Waits for the mmap lock and takes it for reading (`mmap_read_lock`).
    pub fn read(&self) -> MmapRead<'a, 'm, P> {
        MmapRead {
            space: *self,
            _lock: ReadLock::lock(self.system.platform(), &self.cells.lock),
        }
    }

    /// Waits for the mmap lock and takes it for writing (`mmap_write_lock`).
    pub fn write(&self) -> MmapWrite<'a, 'm, P> {
        let lock = WriteLock::lock(self.system.platform(), &self.cells.lock);
        self.cells.seq.fetch_add(1, Release);
        MmapWrite {
            space: *self,
            _lock: lock,
        }
    }
}

/// An address space whose VMAs stay as they are.
pub struct MmapRead<'a, 'm, P: Platform> {
    pub(super) space: AddressSpace<'a, 'm, P>,
    _lock: ReadLock<'a, P>,
}

/// An address space for whoever changes it. Its end unlocks all VMAs that were marked
/// for it.
pub struct MmapWrite<'a, 'm, P: Platform> {
    pub(super) space: AddressSpace<'a, 'm, P>,
    _lock: WriteLock<'a, P>,
}

impl<P: Platform> Drop for MmapWrite<'_, '_, P> {
    fn drop(&mut self) {
        // Before the lock, which is dropped behind this.
        self.space.cells.seq.fetch_add(1, Release);
    }
}
