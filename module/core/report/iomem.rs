// SPDX-License-Identifier: GPL-2.0

//! `/proc/iomem`: what lies where in the physical address space.
//!
//! A shadow has no devices, so its resources are two levels deep:
//!
//! ```text
//! 100000000-1bfdfffff : System RAM      an entry of the e820 table
//!   133000000-13effffff : Crash kernel  what the crash kernel has of it
//! 1bfe00000-1bfffffff : RAM buffer      up to the next round address
//! ```
//!
//! What else memblock reserves does not show, as on x86-64: the descriptors of
//! pages lie in System RAM like any other allocation of the kernel. Memory of
//! the type "Soft Reserved" shows as on a Linux whose driver has taken it.

use super::ResourceModel;
use super::Snapshot;
use super::Walk;
use crate::firmware::E820Type;
use crate::phys::Bytes;
use crate::phys::PhysAddr;
use crate::phys::PhysRange;
use core::fmt;
use core::fmt::Write;

/// No deeper than this is a resource indented (`MAX_IORES_LEVEL`).
const MAX_LEVEL: u32 = 8;

/// The name of the crash kernel's memory (`crashk_res`, `crashk_low_res`).
const CRASH_KERNEL: &str = "Crash kernel";

/// The name of the addresses behind memory, which no device should get.
const RAM_BUFFER: &str = "RAM buffer";

/// Shows the resources of a firmware map: its entries, and in them what is
/// reserved for the crash kernel (`e820__reserve_resources`,
/// `insert_crashkernel_resources`); behind RAM that ends at an odd address the
/// gap up to a round one (`e820__reserve_resources_late`).
///
/// `e820` gives the table's entries, sorted and without overlaps, with the
/// names that `/proc/iomem` has for their types. `crash` gives the crash
/// kernel's ranges, in any order; one that lies in no entry is not shown.
pub fn for_each_resource(
    e820: impl Iterator<Item = (PhysRange, &'static str)>,
    crash: &[PhysRange],
    visit: &mut dyn FnMut(&ResourceModel) -> Walk,
) -> Walk {
    let mut show = |range: PhysRange, depth, name| match last_byte(range) {
        Some(end) => visit(&ResourceModel {
            start: range.start,
            end,
            depth,
            name,
        }),
        None => Ok(()),
    };
    // From the end of the entry before up to the round address behind the RAM
    // so far: what of it no entry takes is shown.
    let mut buffer = PhysRange::default();
    for (range, name) in e820.filter(|(range, _)| !range.is_empty()) {
        let gap = PhysRange {
            start: PhysAddr::ZERO,
            end: range.start,
        };
        show(buffer.intersect(gap), 0, RAM_BUFFER)?;
        show(range, 0, name)?;
        // The ranges are few: find the next one each time instead of sorting.
        let mut rest = range;
        while let Some(inner) = first_inside(crash, rest) {
            show(inner, 1, CRASH_KERNEL)?;
            rest.start = inner.end;
        }
        buffer.start = range.end;
        if name == E820Type::RAM.resource_name() {
            buffer.end = buffer.end.max(ram_buffer_end(range.end));
        }
    }
    show(buffer, 0, RAM_BUFFER)
}

/// Where the gap behind RAM that ends at `end` ends (`ram_alignment`).
fn ram_buffer_end(end: PhysAddr) -> PhysAddr {
    let align = match end.0 >> 20 {
        0 => Bytes(64 << 10),
        1..16 => Bytes(1 << 20),
        _ => Bytes(64 << 20),
    };
    // Linux wraps around here, and then has no gap.
    end.align_up(align).unwrap_or(end)
}

/// The lowest of `ranges` that lies in `outer`.
fn first_inside(ranges: &[PhysRange], outer: PhysRange) -> Option<PhysRange> {
    ranges
        .iter()
        .filter(|r| !r.is_empty() && r.start >= outer.start && r.end <= outer.end)
        .min_by_key(|r| r.start)
        .copied()
}

/// Resources end with their last byte; an empty range is none.
fn last_byte(range: PhysRange) -> Option<PhysAddr> {
    if range.is_empty() {
        return None;
    }
    range.end.0.checked_sub(1).map(PhysAddr)
}

/// Writes `/proc/iomem` as root reads it (`r_show`).
pub fn write(out: &mut dyn Write, snapshot: &dyn Snapshot) -> fmt::Result {
    snapshot.for_each_resource(&mut |resource| Ok(write_resource(out, resource)?))?;
    Ok(())
}

/// Writes one line of `/proc/iomem`.
pub fn write_resource(out: &mut dyn Write, resource: &ResourceModel) -> fmt::Result {
    for _ in 0..resource.depth.min(MAX_LEVEL) {
        out.write_str("  ")?;
    }
    writeln!(
        out,
        "{:08x}-{:08x} : {}",
        resource.start.0, resource.end.0, resource.name
    )
}
