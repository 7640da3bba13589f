// SPDX-License-Identifier: GPL-2.0

//! What x86 does to memblock before anybody allocates (`setup_arch`).
//!
//! ```text
//! 1. trim_bios_range        page 0 and the BIOS area are no RAM, whatever
//!                           the firmware says (on the original map)
//! 2. reserve_real_mode      the first MiB stays reserved
//! 3. e820__memblock_setup   RAM is added, soft-reserved memory reserved
//! 4. numa_memblks_init      RAM gets its nodes, hotpluggable memory its mark
//! 5. reserve_crashkernel    the crash kernel's memory
//! ```

use super::Machine;
use crate::error::Error;
use crate::error::Result;
use crate::firmware::CrashKernel;
use crate::firmware::E820Type;
use crate::firmware::FirmwareMap;
use crate::firmware::MemblockUse;
use crate::firmware::CRASH_ADDR_LOW_MAX;
use crate::firmware::CRASH_ALIGN;
use crate::firmware::DEFAULT_CRASH_KERNEL_LOW_SIZE;
use crate::memblock::EarlyMemory;
use crate::memblock::MemblockKind;
use crate::nodemask::NodeMask;
use crate::phys::Bytes;
use crate::phys::PhysAddr;
use crate::phys::PhysRange;
use crate::phys::PAGE_SIZE;

/// Where the legacy BIOS area ends (`ISA_END_ADDRESS`).
const MIB: PhysAddr = PhysAddr(1 << 20);
/// Where it starts (`BIOS_BEGIN`).
const BIOS_BEGIN: PhysAddr = PhysAddr(0xa0000);

/// The crash kernel's memory, in shadow addresses; empty where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CrashRanges {
    /// Where it will run (`crashk_res`).
    pub main: PhysRange,
    /// What it needs below 4 GiB besides (`crashk_low_res`).
    pub low: PhysRange,
    /// Why there is none although one was asked for. As Linux, the shadow
    /// boots without it then.
    pub refused: Option<Error>,
}

impl CrashRanges {
    /// Both together.
    pub fn size(&self) -> Bytes {
        self.main.size() + self.low.size()
    }

    /// Those that there are, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = PhysRange> {
        [self.low, self.main]
            .into_iter()
            .filter(|range| !range.is_empty())
    }
}

/// Takes from the original map what a PC's firmware can't be trusted with
/// (`trim_bios_range`).
///
/// # Errors
///
/// Those of [`FirmwareMap::resolve`].
pub(super) fn trim_bios_range(map: &mut FirmwareMap) -> Result<()> {
    let page = Bytes(PAGE_SIZE);
    map.resolve()?;
    map.e820
        .range_update(PhysAddr::ZERO, page, E820Type::RAM, E820Type::RESERVED)?;
    map.e820
        .range_remove(BIOS_BEGIN, MIB - BIOS_BEGIN, Some(E820Type::RAM))?;
    map.resolve()
}

/// Makes memblock know the scaled map.
///
/// # Errors
///
/// Memblock's, when an array is full and can't grow.
pub(super) fn e820_memblock_setup(
    memblock: &mut EarlyMemory<'_, '_>,
    machine: &Machine<'_>,
) -> Result<()> {
    let mib = machine.scaled.to_scaled(MIB);
    memblock.reserve(PhysAddr::ZERO, mib - PhysAddr::ZERO)?;
    memblock.allow_resize();
    for entry in machine.map.e820.entries() {
        match entry.memblock_use() {
            MemblockUse::Add => memblock.add(entry.addr, entry.size)?,
            MemblockUse::Reserve => memblock.reserve(entry.addr, entry.size)?,
            MemblockUse::Ignore => {}
        }
    }
    memblock.trim_memory(Bytes(PAGE_SIZE));
    Ok(())
}

/// Tells memblock which RAM belongs to which node (`numa_register_meminfo`).
///
/// # Errors
///
/// Memblock's, when an array is full and can't grow.
pub(super) fn register_nodes(
    memblock: &mut EarlyMemory<'_, '_>,
    machine: &Machine<'_>,
) -> Result<()> {
    for block in machine.map.meminfo.blocks() {
        let size = block.end - block.start;
        memblock.set_node(block.start, size, MemblockKind::Memory, block.nid)?;
        if block.hotplug {
            memblock.mark_hotplug(block.start, size)?;
        }
    }
    clear_kernel_node_hotplug(memblock, machine)?;
    let end = memblock.end_of_dram();
    memblock.set_current_limit(end);
    Ok(())
}

/// What is reserved by now can't be taken out, and neither can the nodes that it
/// is on, as wholes (`numa_clear_kernel_node_hotplug`).
fn clear_kernel_node_hotplug(
    memblock: &mut EarlyMemory<'_, '_>,
    machine: &Machine<'_>,
) -> Result<()> {
    let blocks = machine.map.meminfo.blocks();
    for block in blocks {
        let size = block.end - block.start;
        memblock.set_node(block.start, size, MemblockKind::Reserved, block.nid)?;
    }
    let reserved = memblock.reserved_regions().iter();
    let reserved: NodeMask = reserved.map(|region| region.nid).collect();
    for block in blocks.iter().filter(|block| reserved.contains(block.nid)) {
        memblock.clear_hotplug(block.start, block.end - block.start)?;
    }
    Ok(())
}

/// Reserves the crash kernel's memory (`reserve_crashkernel_generic`): its
/// size, its place and the border of low memory are scaled as the map is. A place
/// that is not aligned to [`CRASH_ALIGN`] leaves no room: what is searched is
/// exactly as long as the reservation.
///
/// # Errors
///
/// [`Error::CrashKernelNoRoom`] when no free range is large enough; nothing is
/// reserved then.
pub(super) fn reserve_crashkernel(
    memblock: &mut EarlyMemory<'_, '_>,
    machine: &Machine<'_>,
    wanted: CrashKernel,
) -> Result<CrashRanges> {
    let scaled = &machine.scaled;
    let align = scaled
        .to_scaled_size(CRASH_ALIGN)
        .0
        .next_power_of_two()
        .max(PAGE_SIZE);
    let align = Bytes(align.min(CRASH_ALIGN.0));
    let size = whole_pages(scaled.to_scaled_size(wanted.size));
    let border = scaled.to_scaled(CRASH_ADDR_LOW_MAX);
    let mut find = |start, end| {
        let found = memblock.phys_alloc_range(size, align, start, end);
        found.map(|base| PhysRange::new(base, size)).ok()
    };
    let low = (PhysAddr::ZERO, border);
    let high = (border, PhysAddr::MAX);
    let (main, low_size) = if let Some(offset) = wanted.offset {
        let base = scaled.to_scaled(offset).align_down(align);
        let aligned = offset.align_down(CRASH_ALIGN) == offset;
        let found = aligned.then(|| find(base, base + size)).flatten();
        (found, wanted.low_size)
    } else if wanted.high {
        (
            find(high.0, high.1).or_else(|| find(low.0, low.1)),
            wanted.low_size,
        )
    } else if let Some(found) = find(low.0, low.1) {
        (Some(found), Bytes::ZERO)
    } else {
        (find(high.0, high.1), DEFAULT_CRASH_KERNEL_LOW_SIZE)
    };
    let main = main.ok_or(Error::CrashKernelNoRoom)?;
    let mut ranges = CrashRanges {
        main,
        ..CrashRanges::default()
    };
    if main.start >= border && !low_size.is_zero() {
        let size = whole_pages(scaled.to_scaled_size(low_size));
        let Ok(base) = memblock.phys_alloc_range(size, align, low.0, low.1) else {
            memblock.phys_free(main.start, main.size())?;
            return Err(Error::CrashKernelNoRoom);
        };
        ranges.low = PhysRange::new(base, size);
    }
    Ok(ranges)
}

/// Rounded up to pages, and at least one.
fn whole_pages(size: Bytes) -> Bytes {
    Bytes(size.pages_up().bytes().0.max(PAGE_SIZE))
}
