// SPDX-License-Identifier: GPL-2.0

//! memblock: memory management before there is any (`mm/memblock.c`).
//!
//! Two sorted arrays of ranges say it all: `memory` is what the firmware gave,
//! `reserved` is what somebody took, be it memory or not. What is in the first
//! and not in the second is free.
//!
//! ```text
//! memory    [=======RAM=======]     [=============RAM=============]
//! reserved    [k]        [res------------]        [k][k]     [k]
//! free      [=]  [=======]              [=========]     [====]   []
//! ```
//!
//! The rooms, in the order in which a boot meets them:
//!
//! ```text
//! flags.rs     what is noted about a region
//! regions.rs   a region, and the array of regions
//! edit.rs      add, remove, reserve: what isolates and merges
//! marks.rs     flags and nodes of the regions in a range
//! resize.rs    doubling a full array inside the memory it describes
//! limit.rs     trim, cap, enforce a limit
//! iter.rs      iterators over memory, reserved and free ranges
//! alloc.rs     the search for a free range, and the allocations
//! query.rs     questions about addresses and sums
//! dump.rs      the texts of memblock=debug and of debugfs
//! handoff.rs   what is left becomes blocks for the buddy system
//! ```
//!
//! Before the hand-off memblock is an [`EarlyMemory`], which can be changed;
//! [`EarlyMemory::free_all`] consumes that and leaves a [`RetiredMemblock`],
//! which can only be read. Both read as a [`Memblock`].
//!
//! All sums saturate at the end of the address space; where Linux's wrap
//! there, and only there, the outcome is another one.

mod alloc;
mod dump;
mod edit;
mod flags;
mod handoff;
mod iter;
mod limit;
mod marks;
mod query;
mod regions;
mod resize;

pub use alloc::ALLOC_ACCESSIBLE;
pub use alloc::ALLOC_ANYWHERE;
pub use alloc::ALLOC_NOLEAKTRACE;
pub use alloc::ARCH_LOW_ADDRESS_LIMIT;
pub use alloc::SMP_CACHE_BYTES;
pub use flags::MemblockFlags;
pub use handoff::HandOffSink;
pub use handoff::RetiredMemblock;
pub use iter::next_mem_range;
pub use iter::next_mem_range_rev;
pub use iter::MemPfnRanges;
pub use iter::MemRanges;
pub use iter::RangeFilter;
pub use regions::MemblockRegion;
pub use regions::MemblockType;

use crate::error::Result;
use crate::phys::Bytes;
use crate::phys::CName;
use crate::phys::PhysAddr;
use crate::phys::Region;
use core::mem;
use core::ops::Deref;

/// How many regions each array has room for at first, on x86-64
/// (`INIT_MEMBLOCK_MEMORY_REGIONS`, `INIT_MEMBLOCK_RESERVED_REGIONS`).
pub const INIT_MEMBLOCK_REGIONS: usize = 128;

/// Which of the two arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemblockKind {
    /// What the firmware gave.
    Memory,
    /// What somebody took.
    Reserved,
}

/// The two arrays, and how to search them (`struct memblock`).
///
/// Everyone may read the fields; only an [`EarlyMemory`] changes them.
#[repr(C)]
pub struct Memblock<'m> {
    /// Search for free ranges from the lowest address up.
    pub bottom_up: bool,
    /// Allocations stay below this, unless they say otherwise.
    pub current_limit: PhysAddr,
    /// Usable memory.
    pub memory: MemblockType<'m>,
    /// What is taken.
    pub reserved: MemblockType<'m>,
}

const _: () = assert!(mem::size_of::<Memblock<'_>>() == 96);
const _: () = assert!(mem::offset_of!(Memblock<'_>, current_limit) == 8);
const _: () = assert!(mem::offset_of!(Memblock<'_>, memory) == 16);
const _: () = assert!(mem::offset_of!(Memblock<'_>, reserved) == 56);

impl<'m> Memblock<'m> {
    /// One of the two arrays.
    pub fn table(&self, kind: MemblockKind) -> &MemblockType<'m> {
        match kind {
            MemblockKind::Memory => &self.memory,
            MemblockKind::Reserved => &self.reserved,
        }
    }

    /// Checks what must hold for both arrays.
    ///
    /// # Errors
    ///
    /// [`crate::error::Error::Corrupt`] when something does not.
    pub fn validate(&self) -> Result<()> {
        self.memory.validate()?;
        self.reserved.validate()
    }
}

/// How often something happened that Linux warns of in its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Warnings {
    /// A range was added that overlaps one of another node. Counted for each
    /// pass over the array, as Linux prints it.
    pub node_mismatch: u64,
    /// The same with flags.
    pub flags_mismatch: u64,
    /// The last region went and `total_size` was not zero: it had been trimmed.
    pub leftover_size: u64,
    /// An allocation had no alignment; [`SMP_CACHE_BYTES`] was taken.
    pub no_align: u64,
    /// Mirrored memory was wanted and something else was given.
    pub mirror_fallback: u64,
}

/// memblock while it may be changed, with the region that larger arrays are
/// placed in.
///
/// Besides `struct memblock` it has what `mm/memblock.c` keeps in variables
/// of its own.
pub struct EarlyMemory<'a, 'm> {
    memblock: Memblock<'m>,
    region: Option<&'a mut Region<'m>>,
    /// Where the arrays are, if memblock gave them their place.
    memory_array: Option<PhysAddr>,
    reserved_array: Option<PhysAddr>,
    can_resize: bool,
    has_some_mirror: bool,
    mirrored_kernelcore: bool,
    movable_node: bool,
    kho_scratch_only: bool,
    warnings: Warnings,
}

impl<'a, 'm> EarlyMemory<'a, 'm> {
    /// A memblock that knows of no memory yet, with its arrays in borrowed
    /// storage (Linux has [`INIT_MEMBLOCK_REGIONS`] entries for each).
    ///
    /// `region` is the memory behind the addresses. Without it, ranges can be
    /// reserved and allocated, but not zeroed, and the arrays cannot grow.
    pub fn new(
        memory: &'m mut [MemblockRegion],
        reserved: &'m mut [MemblockRegion],
        region: Option<&'a mut Region<'m>>,
    ) -> Self {
        Self {
            memblock: Memblock {
                bottom_up: false,
                current_limit: ALLOC_ANYWHERE,
                memory: MemblockType::new(memory, CName::new(c"memory")),
                reserved: MemblockType::new(reserved, CName::new(c"reserved")),
            },
            region,
            memory_array: None,
            reserved_array: None,
            can_resize: false,
            has_some_mirror: false,
            mirrored_kernelcore: false,
            movable_node: false,
            kho_scratch_only: false,
            warnings: Warnings::default(),
        }
    }

    fn table_mut(&mut self, kind: MemblockKind) -> &mut MemblockType<'m> {
        match kind {
            MemblockKind::Memory => &mut self.memblock.memory,
            MemblockKind::Reserved => &mut self.memblock.reserved,
        }
    }

    /// The two arrays, to be read.
    pub fn memblock(&self) -> &Memblock<'m> {
        &self.memblock
    }

    /// The memory behind the addresses.
    pub fn region(&self) -> Option<&Region<'m>> {
        self.region.as_deref()
    }

    /// The memory behind the addresses, to place objects in what was allocated.
    pub fn region_mut(&mut self) -> Option<&mut Region<'m>> {
        self.region.as_deref_mut()
    }

    /// Takes the memory away: from here on the arrays can't grow, and ranges
    /// can be reserved but not zeroed.
    pub fn take_region(&mut self) -> Option<&'a mut Region<'m>> {
        self.region.take()
    }

    /// From now on full arrays may be doubled, because all that must not be
    /// used is reserved (`memblock_allow_resize`).
    pub fn allow_resize(&mut self) {
        self.can_resize = true;
    }

    /// Searches go upwards, or downwards (`memblock_set_bottom_up`).
    pub fn set_bottom_up(&mut self, enable: bool) {
        self.memblock.bottom_up = enable;
    }

    /// Allocations stay below `limit` (`memblock_set_current_limit`).
    pub fn set_current_limit(&mut self, limit: PhysAddr) {
        self.memblock.current_limit = limit;
    }

    /// The kernel shall lie in mirrored memory (`kernelcore=mirror`).
    pub fn set_mirrored_kernelcore(&mut self, enable: bool) {
        self.mirrored_kernelcore = enable;
    }

    /// Hotpluggable memory shall stay free for `ZONE_MOVABLE` (`movable_node`).
    pub fn set_movable_node(&mut self, enable: bool) {
        self.movable_node = enable;
    }

    /// Allocations come from the memory that kexec handed over alone
    /// (`memblock_set_kho_scratch_only`, `memblock_clear_kho_scratch_only`).
    pub fn set_kho_scratch_only(&mut self, enable: bool) {
        self.kho_scratch_only = enable;
    }

    /// Whether some memory was marked as mirrored (`memblock_has_mirror`).
    pub fn has_mirror(&self) -> bool {
        self.has_some_mirror
    }

    /// How often something questionable happened.
    pub fn warnings(&self) -> Warnings {
        self.warnings
    }

    /// Checks what must hold: both arrays, and that the place of an array
    /// which memblock gave is reserved.
    ///
    /// # Errors
    ///
    /// [`crate::error::Error::Corrupt`] when something does not.
    pub fn validate(&self) -> Result<()> {
        self.memblock.validate()?;
        for kind in [MemblockKind::Memory, MemblockKind::Reserved] {
            if let Some(place) = self.array_range(kind) {
                self.validate_reserved(place.start, place.size())?;
            }
        }
        Ok(())
    }

    fn validate_reserved(&self, base: PhysAddr, size: Bytes) -> Result<()> {
        let end = base + size;
        let mut at = base;
        while at < end {
            let reserved = &self.memblock.reserved;
            let index = reserved.search(at);
            let region = index.and_then(|index| reserved.as_slice().get(index));
            at = region.ok_or(crate::error::Error::Corrupt)?.end();
        }
        Ok(())
    }
}

/// Reading needs no permission.
impl<'m> Deref for EarlyMemory<'_, 'm> {
    type Target = Memblock<'m>;

    fn deref(&self) -> &Memblock<'m> {
        &self.memblock
    }
}
