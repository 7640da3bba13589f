// SPDX-License-Identifier: GPL-2.0

//! `shadowmm fragmentation`: how fragmented free memory is, zone by zone and
//! migrate type by migrate type, and what caused it.

use super::buddy::ORDERS;
use super::cosmos;
use crate::context::Context;
use crate::context::Report;
use crate::error::Result;
use crate::fragmentation::Indices;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_client::Device;
use shadowmm_client::Fallback;
use shadowmm_client::Fragmentation;
use shadowmm_core::allocator::AllocatorKind;

/// The indices, and the fallbacks.
#[derive(Debug, Serialize)]
pub struct FragmentationReport {
    zones: Vec<Part>,
    fallbacks: Vec<Fallback>,
    /// Who has the pages, where that is known.
    #[serde(skip)]
    allocator: Option<AllocatorKind>,
}

/// The free memory of a zone, or of one type in it.
#[derive(Debug, Serialize)]
struct Part {
    nid: i32,
    name: &'static str,
    /// `None` for all types together.
    migratetype: Option<&'static str>,
    unusable_index: Indices,
    fragmentation_index: Indices,
}

impl Part {
    fn of(it: &Fragmentation) -> Self {
        Self {
            nid: it.nid,
            name: it.name,
            migratetype: it.migratetype,
            unusable_index: Indices(it.unusable.map(i64::from)),
            fragmentation_index: Indices(it.index.map(i64::from)),
        }
    }

    /// Of nothing, all is unusable even to a request of one page.
    fn has_memory(&self) -> bool {
        self.unusable_index.0.first() == Some(&0)
    }
}

impl FragmentationReport {
    /// Asks for both.
    pub fn read(device: &Device) -> Result<Self> {
        Ok(Self {
            zones: device.fragmentation()?.iter().map(Part::of).collect(),
            fallbacks: device.fallbacks()?,
            allocator: cosmos::allocator(device)?,
        })
    }

    /// The indices of all that has memory, in percent; `-` for -1.
    fn table(&self, indices: impl Fn(&Part) -> &Indices) -> Table {
        let mut columns = vec![
            Column::number("node"),
            Column::text("zone"),
            Column::text("type"),
        ];
        columns.extend(ORDERS.map(Column::number));
        let mut table = Table::new(columns).tight();
        for part in self.zones.iter().filter(|part| part.has_memory()) {
            let mut row = vec![
                part.nid.to_string(),
                part.name.to_owned(),
                part.migratetype.unwrap_or("all").to_owned(),
            ];
            row.extend(indices(part).0.map(|index| match index {
                -1000 => "-".to_owned(),
                index => (index / 10).to_string(),
            }));
            table.row(row);
        }
        table
    }

    fn print_fallbacks(&self, screen: &mut Screen) {
        let mut table = Table::new([
            Column::number("node"),
            Column::text("zone"),
            Column::text("from"),
            Column::text("to"),
            Column::number("claimed"),
            Column::number("stolen"),
        ]);
        let happened = |it: &&Fallback| it.claimed > 0 || it.stolen > 0;
        let mut happened = self.fallbacks.iter().filter(happened).peekable();
        if happened.peek().is_none() {
            return screen.para("Every request was served from page blocks of its own type.");
        }
        for it in happened {
            table.row([
                it.nid.to_string(),
                it.name.to_owned(),
                it.from.to_owned(),
                it.to.to_owned(),
                it.claimed.to_string(),
                it.stolen.to_string(),
            ]);
        }
        table.print(screen);
    }
}

impl Report for FragmentationReport {
    fn print(&self, screen: &mut Screen) {
        screen.heading("Unusable free space by order, in percent");
        screen.para("How much of the free memory a request can't use.");
        self.table(|part| &part.unusable_index).print(screen);
        screen.blank();
        screen.heading("Fragmentation index by order, in percent");
        screen.para(
            "Why a request would fail: towards 0 for lack of memory, towards 100 because of \
             fragmentation; - where it would not.",
        );
        self.table(|part| &part.fragmentation_index).print(screen);
        if self.allocator != Some(AllocatorKind::Cosmos) {
            screen.blank();
            screen.heading("Page blocks claimed and blocks stolen from other types");
            self.print_fallbacks(screen);
        }
        cosmos::note(
            self.allocator,
            "the indices are those of its areas' free blocks, added up for each zone. It knows no types, so nothing is taken from another one.",
            screen,
        );
    }
}

/// Shows all of it.
pub fn run(context: &Context) -> Result<()> {
    context.show(&FragmentationReport::read(&context.open()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn sample(claimed: u64) -> FragmentationReport {
        let part = |migratetype, first| {
            let mut unusable = [77; 11];
            unusable[0] = first;
            Part::of(&Fragmentation {
                nid: 1,
                name: "Movable",
                migratetype,
                unusable,
                index: [-1000; 11],
            })
        };
        FragmentationReport {
            zones: vec![
                part(None, 0),
                part(Some("Movable"), 0),
                part(Some("Unmovable"), 1000),
            ],
            fallbacks: vec![Fallback {
                nid: 1,
                name: "Movable",
                from: "Movable",
                to: "Unmovable",
                claimed,
                stolen: 0,
            }],
            allocator: None,
        }
    }

    #[test]
    fn it_fits_and_its_keys_stay() {
        let report = sample(3);
        testing::fits(&report);
        testing::keys(
            &report,
            "zones zones[].nid zones[].name zones[].migratetype zones[].unusable_index \
             zones[].fragmentation_index fallbacks fallbacks[].nid fallbacks[].name \
             fallbacks[].from fallbacks[].to fallbacks[].claimed fallbacks[].stolen",
        );
    }

    #[test]
    fn what_has_no_memory_and_did_not_happen_is_left_out() {
        let text = testing::text(&sample(0), 100);
        assert!(text.contains("all"), "{text}");
        assert!(!text.contains("Unmovable"), "{text}");
        assert!(text.contains("page blocks of its own type"), "{text}");
    }

    #[test]
    fn who_knows_no_types_has_taken_nothing_from_another() {
        let cosmos = FragmentationReport {
            allocator: Some(AllocatorKind::Cosmos),
            ..sample(3)
        };
        testing::fits(&cosmos);
        let text = testing::text(&cosmos, 400);
        assert!(text.contains("It knows no types"), "{text}");
        assert!(!text.contains("claimed"), "{text}");
    }
}
