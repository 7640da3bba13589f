// SPDX-License-Identifier: GPL-2.0

//! `shadowmm memblock`: all memory, and what of it has a use already.

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

/// The names of the flags' bits, lowest first (`enum memblock_flags`).
const FLAGS: [&str; 6] = [
    "hotplug",
    "mirror",
    "nomap",
    "driver_managed",
    "rsrv_noinit",
    "rsrv_kern",
];

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
}

impl Array {
    fn of(regions: &[MemblockRegion], array: MemblockArray) -> Self {
        let ours = regions.iter().filter(|region| region.array == array);
        let regions: Vec<MemblockRegion> = ours.cloned().collect();
        Self {
            cnt: regions.len(),
            total_size_bytes: regions.iter().map(|region| region.size_bytes).sum(),
            regions,
        }
    }

    /// The table, of at most `rows` regions.
    pub fn table(&self, rows: usize) -> Table {
        let mut table = Table::new([
            Column::number("#"),
            Column::text("first byte"),
            Column::text("last byte"),
            Column::number("size"),
            Column::number("node"),
            Column::text("flags"),
        ]);
        for (number, region) in self.regions.iter().take(rows).enumerate() {
            let last = region
                .base
                .saturating_add(region.size_bytes.saturating_sub(1));
            table.row([
                number.to_string(),
                address(region.base),
                address(last),
                bytes(region.size_bytes),
                region.nid.map_or("-".to_owned(), |nid| nid.to_string()),
                flags(region.flags),
            ]);
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
        Ok(Self::from_regions(&device.memblock()?))
    }

    fn from_regions(regions: &[MemblockRegion]) -> Self {
        Self {
            memory: Array::of(regions, MemblockArray::Memory),
            reserved: Array::of(regions, MemblockArray::Reserved),
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
        MemblockReport::from_regions(&[
            region(MemblockArray::Memory, 0, Some(0)),
            region(MemblockArray::Memory, 0x10000, Some(1)),
            region(MemblockArray::Reserved, 0, None),
        ])
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
