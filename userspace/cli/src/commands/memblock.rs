// SPDX-License-Identifier: GPL-2.0

//! `shadowmm memblock`: all memory, and what of it has a use already.

use super::iomem::CRASH_KERNEL;
use crate::context::Context;
use crate::context::Report;
use crate::error::Result;
use crate::render::address;
use crate::render::bytes;
use crate::render::plural;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_client::Device;
use shadowmm_client::MemblockArray;
use shadowmm_client::MemblockRegion;
use shadowmm_client::Resource;
use shadowmm_client::Section;
use shadowmm_client::Stage;
use shadowmm_client::Status;
use shadowmm_client::PAGE_SIZE;
use std::ops::Range;

/// The names of the flags' bits, lowest first (`enum memblock_flags`).
const FLAGS: [&str; 6] = [
    "hotplug",
    "mirror",
    "nomap",
    "driver_managed",
    "rsrv_noinit",
    "rsrv_kern",
];

const KDUMP: &str = "When a kernel crashes, kexec boots a second one in such memory, which nobody else has touched, and that saves the state of the first.";

/// The two arrays.
#[derive(Debug, Serialize)]
pub struct MemblockReport {
    /// `memblock.memory`.
    pub memory: Array,
    /// `memblock.reserved`.
    pub reserved: Array,
}

/// `struct memblock_type`.
#[derive(Debug, Serialize)]
pub struct Array {
    /// Regions.
    pub cnt: usize,
    /// Bytes in all of them.
    pub total_size_bytes: u64,
    /// The regions.
    pub regions: Vec<MemblockRegion>,
    /// For whom each is, where that is asked.
    #[serde(skip)]
    owners: Vec<Owners>,
}

/// What of a reserved region has a known use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Owners {
    /// Bytes of the crash kernel.
    crash_kernel: u64,
    /// Bytes of page descriptors.
    descriptors: u64,
    /// Whether there is anything else. memblock merges neighbours.
    others: bool,
}

impl Owners {
    fn of(region: &MemblockRegion, uses: &Uses) -> Self {
        let end = region.base.saturating_add(region.size_bytes);
        let shared = |ranges: &[Range<u64>]| {
            let parts = ranges.iter().map(|range| {
                let first = range.start.max(region.base);
                range.end.min(end).saturating_sub(first)
            });
            parts.fold(0, u64::saturating_add)
        };
        let crash_kernel = shared(&uses.crash_kernel);
        let descriptors = shared(&uses.descriptors);
        Self {
            crash_kernel,
            descriptors,
            others: crash_kernel.saturating_add(descriptors) < region.size_bytes,
        }
    }

    fn text(self) -> String {
        let mut names = Vec::new();
        if self.crash_kernel > 0 {
            names.push("crash kernel");
        }
        if self.descriptors > 0 {
            names.push("descriptors");
        }
        match (names.is_empty(), self.others) {
            (true, _) => "the boot's own".to_owned(),
            (false, true) => format!("{} and others", names.join(", ")),
            (false, false) => names.join(" and "),
        }
    }
}

/// Who has asked memblock for memory, as far as it can be seen elsewhere.
#[derive(Debug, Default)]
struct Uses {
    /// The resources of that name.
    crash_kernel: Vec<Range<u64>>,
    /// Where the sections' descriptors lie.
    descriptors: Vec<Range<u64>>,
}

impl Uses {
    fn read(device: &Device) -> Result<Self> {
        let status = device.status()?;
        let sections = match status.stage >= Stage::Paging {
            true => device.sections()?,
            false => Vec::new(),
        };
        Ok(Self::new(&device.resources()?, &sections, &status))
    }

    fn new(resources: &[Resource], sections: &[Section], status: &Status) -> Self {
        let pages = 1u64.checked_shl(status.section_order).unwrap_or(0);
        let bytes = pages.saturating_mul(status.descriptor_size.into());
        let descriptors = sections.iter().map(|section| {
            let start = section.memmap_pfn.saturating_mul(PAGE_SIZE);
            start..start.saturating_add(bytes)
        });
        Self {
            crash_kernel: resources
                .iter()
                .filter(|resource| resource.name == CRASH_KERNEL)
                .map(|resource| resource.start..resource.end.saturating_add(1))
                .collect(),
            descriptors: descriptors.collect(),
        }
    }
}

impl Array {
    fn of(regions: &[MemblockRegion], array: MemblockArray) -> Self {
        let ours = regions.iter().filter(|region| region.array == array);
        let regions: Vec<MemblockRegion> = ours.cloned().collect();
        Self {
            cnt: regions.len(),
            total_size_bytes: regions.iter().map(|region| region.size_bytes).sum(),
            regions,
            owners: Vec::new(),
        }
    }

    /// The table, of at most `rows` regions.
    pub fn table(&self, rows: usize) -> Table {
        let mut columns = vec![
            Column::number("#"),
            Column::text("first byte"),
            Column::text("last byte"),
            Column::number("size"),
            Column::number("node"),
            Column::text("flags"),
        ];
        if !self.owners.is_empty() {
            columns.push(Column::text("for"));
        }
        let mut table = Table::new(columns);
        for (number, region) in self.regions.iter().take(rows).enumerate() {
            let last = region
                .base
                .saturating_add(region.size_bytes.saturating_sub(1));
            let mut row = vec![
                number.to_string(),
                address(region.base),
                address(last),
                bytes(region.size_bytes),
                region.nid.map_or("-".to_owned(), |nid| nid.to_string()),
                flags(region.flags),
            ];
            row.extend(self.owners.get(number).map(|owners| owners.text()));
            table.row(row);
        }
        table
    }
}

fn flags(bits: u32) -> String {
    if bits == 0 {
        return "-".to_owned();
    }
    let named = FLAGS
        .iter()
        .enumerate()
        .filter(|(bit, _)| bits & (1 << bit) != 0)
        .map(|(_, name)| (*name).to_owned());
    let rest = (bits >> FLAGS.len()) << FLAGS.len();
    let unknown = (rest != 0).then(|| format!("{rest:#x}"));
    named.chain(unknown).collect::<Vec<_>>().join(" ")
}

impl MemblockReport {
    /// Asks for the regions.
    pub fn read(device: &Device) -> Result<Self> {
        Ok(Self::new(&device.memblock()?, &Uses::read(device)?))
    }

    fn new(regions: &[MemblockRegion], uses: &Uses) -> Self {
        let mut reserved = Array::of(regions, MemblockArray::Reserved);
        let owners = reserved.regions.iter();
        reserved.owners = owners.map(|region| Owners::of(region, uses)).collect();
        Self {
            memory: Array::of(regions, MemblockArray::Memory),
            reserved,
        }
    }
}

impl Report for MemblockReport {
    fn print(&self, screen: &mut Screen) {
        for (name, array) in [("memory", &self.memory), ("reserved", &self.reserved)] {
            if name == "reserved" {
                screen.blank();
            }
            screen.heading(&format!(
                "{name}: {}, {}",
                plural(array.cnt as u64, "region"),
                bytes(array.total_size_bytes)
            ));
            array.table(usize::MAX).print(screen);
        }
        let sum = |bytes: fn(&Owners) -> u64| {
            let parts = self.reserved.owners.iter().map(bytes);
            parts.fold(0, u64::saturating_add)
        };
        let crash_kernel = sum(|owners| owners.crash_kernel);
        let descriptors = sum(|owners| owners.descriptors);
        screen.blank();
        screen.para(&match crash_kernel {
            0 => format!("No memory is kept for a crash kernel ('shadowmm boot --crashkernel SIZE'). {KDUMP}"),
            size => format!("The crash kernel's {} are kept for kdump. {KDUMP}", bytes(size)),
        });
        if descriptors > 0 {
            screen.para(&format!(
                "The descriptors of all pages are {}, for each section in one piece.",
                bytes(descriptors)
            ));
        }
        screen.para(
            "/proc/shadowmm/memblock has both arrays as Linux prints them with memblock=debug.",
        );
    }
}

/// Shows memblock.
pub fn run(context: &Context) -> Result<()> {
    context.show(&MemblockReport::read(&context.open()?)?)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn flags_are_named_and_unknown_ones_shown() {
        assert_eq!(flags(0), "-");
        assert_eq!(flags(0x1 | 0x4), "hotplug nomap");
        assert_eq!(flags(0x20 | 0x100), "rsrv_kern 0x100");
    }

    pub fn sample() -> MemblockReport {
        let region = |array, base, nid| MemblockRegion {
            array,
            base,
            size_bytes: 0x10000,
            flags: 0,
            nid,
        };
        let regions = [
            region(MemblockArray::Memory, 0, Some(0)),
            region(MemblockArray::Memory, 0x10000, Some(1)),
            region(MemblockArray::Reserved, 0, None),
        ];
        MemblockReport::new(&regions, &Uses::default())
    }

    #[test]
    fn a_reserved_region_says_for_whom_it_is() {
        const MIB: u64 = 1 << 20;
        let resource = |start, size, name: &str| Resource {
            start,
            end: start + size - 1,
            depth: 1,
            name: name.to_owned(),
        };
        let section = |memmap: u64| Section {
            number: 0,
            start_pfn: 0,
            memmap_pfn: memmap / PAGE_SIZE,
            nid: 0,
        };
        // Sections of 8,192 pages, whose descriptors are 128 KiB.
        let uses = Uses::new(
            &[
                resource(0, 64 * MIB, "System RAM"),
                resource(16 * MIB, 4 * MIB, CRASH_KERNEL),
                resource(32 * MIB, MIB, CRASH_KERNEL),
            ],
            &[
                section(24 * MIB),
                section(24 * MIB + (128 << 10)),
                section(33 * MIB),
            ],
            &crate::testing::status(),
        );
        let reserved = |base, size_bytes| MemblockRegion {
            array: MemblockArray::Reserved,
            base,
            size_bytes,
            flags: 0x20,
            nid: None,
        };
        let report = MemblockReport::new(
            &[
                reserved(0, MIB),
                reserved(16 * MIB, 4 * MIB),
                reserved(24 * MIB, 256 << 10),
                reserved(32 * MIB, 2 * MIB),
                reserved(33 * MIB, 129 << 10),
                reserved(31 * MIB, MIB),
            ],
            &uses,
        );
        let found: Vec<_> = report.reserved.owners.iter().map(|it| it.text()).collect();
        assert_eq!(
            found,
            [
                "the boot's own",
                "crash kernel",
                "descriptors",
                "crash kernel, descriptors and others",
                "descriptors and others",
                "the boot's own",
            ]
        );
        testing::fits(&report);
        let text = testing::text(&report, 80);
        assert!(text.contains("  rsrv_kern  crash kernel\n"), "{text}");
        assert!(text.contains("The crash kernel's 5 MiB"), "{text}");
        assert!(text.contains("memblock=debug"), "{text}");
        let none = testing::text(&sample(), 80);
        assert!(
            none.contains("No memory is kept for a crash kernel"),
            "{none}"
        );
        assert!(!none.contains("descriptors of all pages"), "{none}");
    }

    #[test]
    fn it_fits_and_its_keys_stay() {
        let report = sample();
        assert_eq!((report.memory.cnt, report.reserved.cnt), (2, 1));
        assert_eq!(report.memory.total_size_bytes, 0x20000);
        testing::fits(&report);
        testing::keys(
            &report,
            "memory memory.cnt memory.regions memory.regions[].array memory.regions[].base \
             memory.regions[].flags memory.regions[].nid memory.regions[].size_bytes \
             memory.total_size_bytes reserved reserved.cnt reserved.regions \
             reserved.regions[].array reserved.regions[].base reserved.regions[].flags \
             reserved.regions[].nid reserved.regions[].size_bytes reserved.total_size_bytes",
        );
    }
}
