// SPDX-License-Identifier: GPL-2.0

//! `shadowmm zones`: spans, watermarks and protection.

use super::cosmos;
use crate::context::Context;
use crate::context::Report;
use crate::error::Result;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_client::Device;
use shadowmm_client::Zone;
use shadowmm_core::allocator::AllocatorKind;

/// The zones.
#[derive(Debug, Serialize)]
pub struct ZonesReport {
    /// By node and kind.
    pub zones: Vec<Zone>,
    /// Who has their pages, where that is known.
    #[serde(skip)]
    allocator: Option<AllocatorKind>,
}

impl ZonesReport {
    /// Asks for the zones.
    pub fn read(device: &Device) -> Result<Self> {
        Ok(Self {
            zones: device.zones()?,
            allocator: cosmos::allocator(device)?,
        })
    }

    /// Where the zones lie.
    pub fn spans(&self) -> Table {
        let mut table = Table::new([
            Column::number("node"),
            Column::text("zone"),
            Column::number("first page"),
            Column::number("spanned"),
            Column::number("present"),
            Column::number("managed"),
            Column::number("free"),
        ]);
        for zone in self.populated() {
            table.row([
                zone.nid.to_string(),
                zone.name.clone(),
                zone.start_pfn.to_string(),
                zone.spanned_pages.to_string(),
                zone.present_pages.to_string(),
                zone.managed_pages.to_string(),
                zone.free_pages.to_string(),
            ]);
        }
        table
    }

    /// What the zones keep back, and from whom.
    pub fn reserves(&self) -> Table {
        let mut table = Table::new([
            Column::number("node"),
            Column::text("zone"),
            Column::number("min"),
            Column::number("low"),
            Column::number("high"),
            Column::number("promo"),
            Column::text("protection"),
        ]);
        for zone in self.populated() {
            let protection = zone.protection.map(|pages| pages.to_string());
            table.row([
                zone.nid.to_string(),
                zone.name.clone(),
                zone.watermark_min.to_string(),
                zone.watermark_low.to_string(),
                zone.watermark_high.to_string(),
                zone.watermark_promo.to_string(),
                protection.join(" "),
            ]);
        }
        table
    }

    fn populated(&self) -> impl Iterator<Item = &Zone> {
        self.zones.iter().filter(|zone| zone.present_pages > 0)
    }
}

impl Report for ZonesReport {
    fn print(&self, screen: &mut Screen) {
        screen.heading("Where they lie, in pages");
        self.spans().print(screen);
        screen.blank();
        screen.heading("What they keep back, in pages");
        self.reserves().print(screen);
        screen.blank();
        screen.para("min: below it only those get a page who free memory, and requests that must not wait. low: below it kswapd is woken, and it sleeps again above high. promo: above it pages of slower memory may be moved here.");
        screen.para("protection: what is kept, above the watermark, from requests that could also be served by DMA, DMA32, Normal, Movable.");
        cosmos::note(
            self.allocator,
            "it asks for no watermark and keeps nothing back: its hardware areas are for devices instead.",
            screen,
        );
        let empty: Vec<String> = self
            .zones
            .iter()
            .filter(|zone| zone.present_pages == 0)
            .map(|zone| format!("node {} {}", zone.nid, zone.name))
            .collect();
        if !empty.is_empty() {
            screen.blank();
            screen.para(&format!("Without memory: {}.", empty.join(", ")));
        }
    }
}

/// Shows the zones.
pub fn run(context: &Context) -> Result<()> {
    context.show(&ZonesReport::read(&context.open()?)?)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::testing;

    pub fn sample() -> ZonesReport {
        ZonesReport {
            zones: testing::zones(),
            allocator: None,
        }
    }

    #[test]
    fn watermarks_are_explained_and_nobody_is_told_that_cosmos_heeds_them() {
        let report = sample();
        let text = testing::text(&report, 200);
        assert!(text.contains("low: below it kswapd is woken"), "{text}");
        assert!(!text.contains("Cosmos"), "{text}");
        let cosmos = ZonesReport {
            allocator: Some(AllocatorKind::Cosmos),
            ..report
        };
        testing::fits(&cosmos);
        assert!(testing::text(&cosmos, 200).contains("no watermark"));
    }

    #[test]
    fn it_fits_and_its_keys_stay() {
        let report = sample();
        testing::fits(&report);
        testing::keys(
            &report,
            "zones zones[].free_pages zones[].managed_pages zones[].name zones[].nid \
             zones[].nr_free zones[].present_pages zones[].protection zones[].spanned_pages \
             zones[].start_pfn zones[].watermark_high zones[].watermark_low zones[].watermark_min \
             zones[].watermark_promo zones[].zone",
        );
    }
}
