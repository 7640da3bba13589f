// SPDX-License-Identifier: GPL-2.0

//! `shadowmm sections`: where the page descriptors lie.

use crate::context::Context;
use crate::context::Report;
use crate::error::Result;
use crate::render::pages;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_client::Device;
use shadowmm_client::Section;

/// The sections.
#[derive(Debug, Serialize)]
pub struct SectionsReport {
    section_pages: u64,
    sections: Vec<Section>,
}

impl SectionsReport {
    /// Asks for the sections.
    pub fn read(device: &Device) -> Result<Self> {
        let order = device.status()?.section_order;
        Ok(Self {
            section_pages: 1u64.checked_shl(order).unwrap_or(0),
            sections: device.sections()?,
        })
    }

    /// How many are present.
    pub fn len(&self) -> usize {
        self.sections.len()
    }

    /// Pages in one.
    pub fn section_pages(&self) -> u64 {
        self.section_pages
    }

    /// The table, of at most `rows` sections.
    pub fn table(&self, rows: usize) -> Table {
        let mut table = Table::new([
            Column::number("section"),
            Column::number("node"),
            Column::number("first page"),
            Column::number("descriptors from page"),
        ]);
        for section in self.sections.iter().take(rows) {
            table.row([
                section.number.to_string(),
                section.nid.to_string(),
                section.start_pfn.to_string(),
                section.memmap_pfn.to_string(),
            ]);
        }
        table
    }
}

impl Report for SectionsReport {
    fn print(&self, screen: &mut Screen) {
        screen.heading(&format!(
            "{} sections of {} each",
            self.sections.len(),
            pages(self.section_pages)
        ));
        self.table(usize::MAX).print(screen);
    }
}

/// Shows the sections.
pub fn run(context: &Context) -> Result<()> {
    context.show(&SectionsReport::read(&context.open()?)?)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::testing;

    pub fn sample() -> SectionsReport {
        SectionsReport {
            section_pages: 1 << 15,
            sections: vec![Section {
                number: 3,
                start_pfn: 3 << 15,
                memmap_pfn: 123_456,
                nid: 1,
            }],
        }
    }

    #[test]
    fn it_fits_and_its_keys_stay() {
        let report = sample();
        testing::fits(&report);
        testing::keys(
            &report,
            "section_pages sections sections[].memmap_pfn sections[].nid sections[].number \
             sections[].start_pfn",
        );
    }
}
