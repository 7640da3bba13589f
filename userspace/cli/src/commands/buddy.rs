// SPDX-License-Identifier: GPL-2.0

//! `shadowmm buddy`: free blocks by order.

use super::cosmos;
use crate::context::Context;
use crate::context::Report;
use crate::error::Result;
use crate::fragmentation::free_pages;
use crate::fragmentation::largest_free_order;
use crate::render::pages;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_client::Device;
use shadowmm_client::Zone;
use shadowmm_client::NR_ORDERS;
use shadowmm_core::allocator::AllocatorKind;

/// The free blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BuddyReport {
    /// Of each zone that has memory.
    pub zones: Vec<ZoneBlocks>,
    /// Whose blocks they are, where that is known.
    #[serde(skip)]
    allocator: Option<AllocatorKind>,
}

/// The free blocks of one zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ZoneBlocks {
    nid: i32,
    name: String,
    free_pages: u64,
    largest_free_order: Option<u32>,
    /// By order.
    pub nr_free: [u64; NR_ORDERS],
}

impl BuddyReport {
    /// Asks for the zones.
    pub fn read(device: &Device) -> Result<Self> {
        Ok(Self {
            allocator: cosmos::allocator(device)?,
            ..Self::from_zones(&device.zones()?)
        })
    }

    /// The free blocks of these zones.
    pub fn from_zones(zones: &[Zone]) -> Self {
        let blocks = |zone: &Zone| ZoneBlocks {
            nid: zone.nid,
            name: zone.name.clone(),
            free_pages: free_pages(&zone.nr_free),
            largest_free_order: largest_free_order(&zone.nr_free),
            nr_free: zone.nr_free,
        };
        Self {
            zones: zones
                .iter()
                .filter(|zone| zone.present_pages > 0)
                .map(blocks)
                .collect(),
            allocator: None,
        }
    }

    /// Pages in all blocks.
    pub fn free_pages(&self) -> u64 {
        self.zones.iter().map(|zone| zone.free_pages).sum()
    }

    /// The table.
    pub fn table(&self) -> Table {
        let mut columns = vec![Column::number("node"), Column::text("zone")];
        columns.extend(ORDERS.map(Column::number));
        columns.push(Column::number("free"));
        let mut table = Table::new(columns);
        for zone in &self.zones {
            let mut row = vec![zone.nid.to_string(), zone.name.clone()];
            row.extend(zone.nr_free.iter().map(u64::to_string));
            row.push(pages(zone.free_pages));
            table.row(row);
        }
        table
    }
}

/// The orders, as headings.
pub const ORDERS: [&str; NR_ORDERS] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"];

impl Report for BuddyReport {
    fn print(&self, screen: &mut Screen) {
        screen.heading("Free blocks by order: a block of order n is 2^n pages of 4 KiB");
        self.table().print(screen);
        cosmos::note(
            self.allocator,
            "these are the free blocks of its areas, added up for each zone. Linux's free lists are empty.",
            screen,
        );
    }
}

/// Shows the free blocks.
pub fn run(context: &Context) -> Result<()> {
    context.show(&BuddyReport::read(&context.open()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn it_fits_and_its_keys_stay() {
        let report = BuddyReport::from_zones(&testing::zones());
        // A zone without memory is not shown, as /proc/buddyinfo does not.
        assert_eq!(report.zones.len(), testing::zones().len() - 1);
        testing::fits(&report);
        testing::keys(
            &report,
            "zones zones[].free_pages zones[].largest_free_order zones[].name zones[].nid \
             zones[].nr_free",
        );
    }

    #[test]
    fn blocks_of_the_other_manager_are_not_taken_for_linuxs() {
        let report = |allocator| BuddyReport {
            allocator,
            ..BuddyReport::from_zones(&testing::zones())
        };
        let cosmos = report(Some(AllocatorKind::Cosmos));
        testing::fits(&cosmos);
        assert!(testing::text(&cosmos, 80).contains("Linux's free lists are empty"));
        for allocator in [None, Some(AllocatorKind::Buddy)] {
            assert!(!testing::text(&report(allocator), 80).contains("Cosmos"));
        }
    }
}
