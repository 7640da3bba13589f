// SPDX-License-Identifier: GPL-2.0

//! `shadowmm pagetypes`: free blocks and page blocks by migrate type.

use super::buddy::ORDERS;
use super::cosmos;
use crate::context::Context;
use crate::context::Report;
use crate::error::Result;
use crate::fragmentation::free_pages;
use crate::render::pages;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_client::Device;
use shadowmm_client::PageType;
use shadowmm_core::allocator::AllocatorKind;

/// What pages are for.
#[derive(Debug, Serialize)]
pub struct PageTypesReport {
    types: Vec<PageType>,
    /// Who has the pages, where that is known.
    #[serde(skip)]
    allocator: Option<AllocatorKind>,
}

impl PageTypesReport {
    /// Asks for the types.
    pub fn read(device: &Device) -> Result<Self> {
        Ok(Self {
            types: device.page_types()?,
            allocator: cosmos::allocator(device)?,
        })
    }
}

impl Report for PageTypesReport {
    fn print(&self, screen: &mut Screen) {
        screen.heading("Free blocks by order and migrate type, and the page blocks of each type");
        let mut columns = vec![
            Column::number("node"),
            Column::text("zone"),
            Column::text("type"),
            Column::number("blocks"),
        ];
        columns.extend(ORDERS.map(Column::number));
        columns.push(Column::number("free"));
        let mut table = Table::new(columns).tight();
        let has_some = |it: &&PageType| it.blocks > 0 || free_pages(&it.nr_free) > 0;
        for it in self.types.iter().filter(has_some) {
            let mut row = vec![
                it.nid.to_string(),
                it.name.to_owned(),
                it.migratetype.to_owned(),
                it.blocks.to_string(),
            ];
            row.extend(it.nr_free.iter().map(u64::to_string));
            row.push(pages(free_pages(&it.nr_free)));
            table.row(row);
        }
        table.print(screen);
        if self.allocator != Some(AllocatorKind::Cosmos) {
            screen.blank();
            screen.para("Pages are grouped by mobility, so that what can't be moved does not sit everywhere: each page block of 2 MiB has a type, and a request takes from blocks of its own. A fallback is a request that finds none there and takes from another type, the whole page block where it may ('shadowmm fragmentation' counts them).");
        }
        cosmos::note(
            self.allocator,
            "it knows no types, and Linux's free lists are empty: free blocks are in 'shadowmm cosmos' and 'shadowmm buddy'.",
            screen,
        );
    }
}

/// Shows the types.
pub fn run(context: &Context) -> Result<()> {
    context.show(&PageTypesReport::read(&context.open()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn it_fits_and_its_keys_stay() {
        let of = |migratetype, blocks| PageType {
            nid: 0,
            name: "Normal",
            migratetype,
            blocks,
            nr_free: [blocks; 11],
        };
        let report = PageTypesReport {
            types: vec![of("Unmovable", 3), of("Movable", 100), of("Isolate", 0)],
            allocator: Some(AllocatorKind::Buddy),
        };
        testing::fits(&report);
        assert!(testing::text(&report, 400).contains("A fallback is"));
        // A type that has nothing is not shown, but JSON has it.
        assert!(!testing::text(&report, 100).contains("Isolate"));
        testing::keys(
            &report,
            "types types[].blocks types[].migratetype types[].name types[].nid types[].nr_free",
        );
        let cosmos = PageTypesReport {
            allocator: Some(AllocatorKind::Cosmos),
            ..report
        };
        testing::fits(&cosmos);
        let text = testing::text(&cosmos, 400);
        assert!(
            text.contains("knows no types") && !text.contains("A fallback is"),
            "{text}"
        );
    }
}
