// SPDX-License-Identifier: GPL-2.0

//! Which of the map's addresses have memory behind them: the accounting starts
//! with what dmidecode would say, and a firmware map does not say that.
//!
//! ```text
//! 0      1M                    top of low RAM         4G
//! [ DIMM ][ RAM, ACPI, NVS, stolen | largest gap ... MMIO ][ RAM | tail ] .. [far]
//!   all     all                      nothing                 touching RAM  nothing
//! ```
//!
//! Below 1 MiB everything is DIMM, the legacy hole included. From there to the
//! largest gap below 4 GiB every entry is memory that the firmware keeps;
//! behind it the entries are devices. Above 4 GiB an entry is memory if it
//! touches RAM, or another entry that does.

use crate::firmware::E820Type;
use crate::firmware::FirmwareMap;
use crate::phys::PhysAddr;
use crate::phys::PhysRange;
use crate::report::Accounting;

/// Enters what the firmware keeps of the DIMMs. `mib` and `border` are where
/// 1 MiB and 4 GiB lie in this map.
pub(super) fn account(
    map: &FirmwareMap,
    mib: PhysAddr,
    border: PhysAddr,
    accounting: &mut Accounting,
) {
    let entries = || map.e820.entries().iter().map(|e| (e.range(), e.kind));
    let mmio = mmio_start(map, mib, border);
    let below = |range: PhysRange, end| {
        range.intersect(PhysRange {
            start: PhysAddr::ZERO,
            end,
        })
    };
    let mut listed_below_mib = crate::phys::Bytes::ZERO;
    // The end of the last entry above the border that touches RAM.
    let mut touching = PhysAddr::ZERO;
    for (range, kind) in entries() {
        listed_below_mib += below(range, mib).size();
        let size = if range.start >= border {
            if kind == E820Type::RAM || range.start == touching {
                touching = range.end;
                range.size()
            } else {
                continue;
            }
        } else {
            below(range, mmio).size()
        };
        let account = match kind {
            E820Type::RAM => &mut accounting.usable,
            E820Type::RESERVED => &mut accounting.firmware_reserved,
            E820Type::ACPI => &mut accounting.firmware_acpi,
            E820Type::NVS => &mut accounting.firmware_nvs,
            _ => &mut accounting.firmware_other,
        };
        *account += size;
    }
    // RAM counts wherever it is.
    accounting.usable = map.e820.ram_bytes();
    if map.e820.end_of_ram_pfn().addr() > mib {
        accounting.firmware_holes = (mib - PhysAddr::ZERO) - listed_below_mib;
    }
}

/// Where the largest gap between 1 MiB and 4 GiB starts; the border itself when
/// RAM goes on across it.
fn mmio_start(map: &FirmwareMap, mib: PhysAddr, border: PhysAddr) -> PhysAddr {
    let mut largest = PhysRange {
        start: border,
        end: border,
    };
    let mut reached = mib;
    for entry in map.e820.entries() {
        let range = entry.range();
        let gap = PhysRange {
            start: reached,
            end: range.start.min(border),
        };
        if gap.size() > largest.size() {
            largest = gap;
        }
        reached = reached.max(range.end);
    }
    // What lies between the last entry and the border is no gap in anything.
    largest.start
}
