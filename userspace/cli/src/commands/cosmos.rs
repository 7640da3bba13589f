// SPDX-License-Identifier: GPL-2.0

//! `shadowmm cosmos`: the areas of the page manager after Cosmos, and what they
//! have done.

use super::page::zone_name;
use crate::context::Context;
use crate::context::Report;
use crate::error::Result;
use crate::render::pages;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_client::Area;

/// All areas.
#[derive(Debug, Serialize)]
struct CosmosReport {
    allocator: &'static str,
    areas: Vec<AreaReport>,
}

/// One area.
#[derive(Debug, Serialize)]
struct AreaReport {
    #[serde(flatten)]
    area: Area,
    zone_name: &'static str,
    allocated_pages: u64,
}

impl From<Vec<Area>> for CosmosReport {
    fn from(areas: Vec<Area>) -> Self {
        let report = |area: Area| AreaReport {
            zone_name: zone_name(area.zone),
            allocated_pages: area.max_pages.saturating_sub(area.free_pages),
            area,
        };
        Self {
            allocator: if areas.is_empty() { "buddy" } else { "cosmos" },
            areas: areas.into_iter().map(report).collect(),
        }
    }
}

impl CosmosReport {
    fn areas(&self) -> Table {
        let mut table = Table::new([
            Column::number("node"),
            Column::text("zone"),
            Column::text("area"),
            Column::number("first page"),
            Column::number("memory"),
            Column::number("free"),
            Column::number("halved"),
            Column::number("merged"),
        ]);
        for report in &self.areas {
            let area = &report.area;
            table.row([
                area.nid.to_string(),
                report.zone_name.to_owned(),
                area.kind.clone(),
                area.start_pfn.to_string(),
                pages(area.max_pages),
                pages(area.free_pages),
                area.divisions.to_string(),
                area.merges.to_string(),
            ]);
        }
        table
    }

    /// The lists of all areas of one kind together would hide which area has
    /// what, so each has its own lines; lists that never had a block have none.
    fn lists(&self) -> Table {
        let mut table = Table::new([
            Column::number("node"),
            Column::text("zone"),
            Column::text("area"),
            Column::number("pages"),
            Column::number("blocks"),
            Column::number("free"),
            Column::number("given out"),
            Column::number("back"),
        ]);
        for report in &self.areas {
            let area = &report.area;
            let used = |list: &&shadowmm_client::AreaList| list.objects != 0 || list.allocs != 0;
            for list in area.lists.iter().filter(used) {
                table.row([
                    area.nid.to_string(),
                    report.zone_name.to_owned(),
                    area.kind.clone(),
                    list.block_pages.to_string(),
                    list.objects.to_string(),
                    list.free.to_string(),
                    list.allocs.to_string(),
                    list.frees.to_string(),
                ]);
            }
        }
        table
    }
}

impl Report for CosmosReport {
    fn print(&self, screen: &mut Screen) {
        if self.areas.is_empty() {
            screen.para("The buddy system has the pages. Load the module with allocator=cosmos to have Cosmos's manager in its place.");
            return;
        }
        screen.heading("The areas");
        self.areas().print(screen);
        screen.blank();
        screen.heading("Their lists, one for each power of two");
        self.lists().print(screen);
        screen.blank();
        screen.para("A request halves the smallest block that fits; a block that is freed merges with its neighbour, as far up as that goes.");
    }
}

/// Shows the areas.
pub fn run(context: &Context) -> Result<()> {
    context.show(&CosmosReport::from(context.open()?.areas()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use shadowmm_client::AreaList;

    fn area(kind: &str) -> Area {
        let list = |order: u32| AreaList {
            block_pages: 1 << order,
            objects: u64::from(order == 10) * 23,
            free: u64::from(order == 10) * 21,
            allocs: u64::from(order < 2) * 12345,
            frees: u64::from(order < 2) * 12345,
        };
        Area {
            nid: 0,
            zone: 2,
            kind: kind.to_owned(),
            start_pfn: 4096,
            end_pfn: 28_672,
            max_pages: 23_552,
            free_pages: 21_504,
            divisions: 24_690,
            merges: 24_690,
            lists: (0..11).map(list).collect(),
        }
    }

    #[test]
    fn it_fits_and_its_keys_stay() {
        let report = CosmosReport::from(vec![area("kernel"), area("application")]);
        testing::fits(&report);
        testing::keys(
            &report,
            "allocator areas areas[].allocated_pages areas[].divisions areas[].end_pfn \
             areas[].free_pages areas[].kind areas[].lists areas[].lists[].allocs \
             areas[].lists[].block_pages areas[].lists[].free areas[].lists[].frees \
             areas[].lists[].objects areas[].max_pages areas[].merges areas[].nid \
             areas[].start_pfn areas[].zone areas[].zone_name",
        );
        assert_eq!(report.areas[0].allocated_pages, 2048);
    }

    #[test]
    fn with_the_buddy_system_it_says_so() {
        let report = CosmosReport::from(vec![]);
        testing::fits(&report);
        assert_eq!(report.allocator, "buddy");
        assert!(testing::text(&report, 100).contains("allocator=cosmos"));
    }
}
