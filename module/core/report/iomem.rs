// SPDX-License-Identifier: GPL-2.0

//! `/proc/iomem`: what lies where in the physical address space.
//!
//! A shadow has no devices, so its resources are two levels deep:
//!
//! ```text
//! 00100000-7ffd6fff : System RAM        an entry of the e820 table
//!   65000000-6affffff : Crash kernel    what the crash kernel has of it
//! ```
//!
//! What else memblock reserves does not show, as on x86-64: the descriptors of
//! pages lie in System RAM like any other allocation of the kernel.

use super::ResourceModel;
use super::Snapshot;
use super::Walk;
use crate::phys::PhysAddr;
use crate::phys::PhysRange;
use core::fmt;
use core::fmt::Write;

/// No deeper than this is a resource indented (`MAX_IORES_LEVEL`).
const MAX_LEVEL: u32 = 8;

/// The name of the crash kernel's memory (`crashk_res`, `crashk_low_res`).
const CRASH_KERNEL: &str = "Crash kernel";

/// Shows the resources of a firmware map: its entries, and in them what is
/// reserved for the crash kernel (`e820__reserve_resources`,
/// `insert_crashkernel_resources`).
///
/// `e820` gives the table's entries, sorted and without overlaps, with the
/// names that `/proc/iomem` has for their types. `crash` gives the crash
/// kernel's ranges, in any order; one that lies in no entry is not shown.
pub fn for_each_resource(
    e820: impl Iterator<Item = (PhysRange, &'static str)>,
    crash: &[PhysRange],
    visit: &mut dyn FnMut(&ResourceModel) -> Walk,
) -> Walk {
    for (range, name) in e820 {
        let Some(end) = last_byte(range) else {
            continue;
        };
        visit(&ResourceModel {
            start: range.start,
            end,
            depth: 0,
            name,
        })?;
        // The ranges are few: find the next one each time instead of sorting.
        let mut from = range.start;
        while let Some((inner, end)) = first_inside(crash, from, range) {
            visit(&ResourceModel {
                start: inner.start,
                end,
                depth: 1,
                name: CRASH_KERNEL,
            })?;
            from = inner.end;
        }
    }
    Ok(())
}

/// The lowest of `ranges` that starts at or after `from` and lies in `outer`.
fn first_inside(
    ranges: &[PhysRange],
    from: PhysAddr,
    outer: PhysRange,
) -> Option<(PhysRange, PhysAddr)> {
    let inner = ranges
        .iter()
        .filter(|r| !r.is_empty() && r.start >= from && r.end <= outer.end)
        .min_by_key(|r| r.start)?;
    Some((*inner, last_byte(*inner)?))
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
