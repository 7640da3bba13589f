// SPDX-License-Identifier: GPL-2.0

//! `shadowmm e820`: the firmware's map, scaled to the region.

use crate::context::Context;
use crate::context::Report;
use crate::e820;
use crate::error::Result;
use crate::render::address;
use crate::render::bytes;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_client::Device;
use shadowmm_client::E820Range;

/// The map.
#[derive(Debug, Serialize)]
pub struct E820Report {
    e820: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    start: u64,
    end: u64,
    size_bytes: u64,
    #[serde(rename = "type")]
    kind: u32,
    name: &'static str,
}

impl E820Report {
    /// Asks for the map.
    pub fn read(device: &Device) -> Result<Self> {
        Ok(Self::from_ranges(&device.e820()?))
    }

    fn from_ranges(ranges: &[E820Range]) -> Self {
        let entry = |range: &E820Range| Entry {
            start: range.addr,
            end: range.addr.saturating_add(range.size.saturating_sub(1)),
            size_bytes: range.size,
            kind: range.kind,
            name: e820::name(range.kind),
        };
        Self {
            e820: ranges.iter().map(entry).collect(),
        }
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.e820.len()
    }

    /// Bytes of RAM.
    pub fn ram_bytes(&self) -> u64 {
        let ram = self.e820.iter().filter(|entry| entry.kind == e820::RAM);
        ram.map(|entry| entry.size_bytes).sum()
    }

    /// The table, of at most `rows` entries.
    pub fn table(&self, rows: usize) -> Table {
        let mut table = Table::new([
            Column::text("first byte"),
            Column::text("last byte"),
            Column::number("size"),
            Column::text("type"),
        ]);
        for entry in self.e820.iter().take(rows) {
            table.row([
                address(entry.start),
                address(entry.end),
                bytes(entry.size_bytes),
                entry.name.to_owned(),
            ]);
        }
        table
    }
}

impl Report for E820Report {
    fn print(&self, screen: &mut Screen) {
        self.table(usize::MAX).print(screen);
    }
}

/// Shows the map.
pub fn run(context: &Context) -> Result<()> {
    context.show(&E820Report::read(&context.open()?)?)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::testing;

    pub fn sample() -> E820Report {
        E820Report::from_ranges(&[
            E820Range {
                addr: 0,
                size: 0x9fc00,
                kind: 1,
            },
            E820Range {
                addr: 0x9fc00,
                size: 0x400,
                kind: 2,
            },
        ])
    }

    #[test]
    fn it_fits_and_its_keys_stay() {
        let report = sample();
        assert_eq!(report.ram_bytes(), 0x9fc00);
        assert_eq!(report.e820[0].end, 0x9fbff);
        testing::fits(&report);
        testing::keys(
            &report,
            "e820 e820[].end e820[].name e820[].size_bytes e820[].start e820[].type",
        );
    }
}
