// SPDX-License-Identifier: GPL-2.0

//! `shadowmm pagesets`: the pages that CPUs keep at hand.

use super::cosmos;
use crate::context::Context;
use crate::context::Report;
use crate::error::Result;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_client::Device;
use shadowmm_client::Pageset;
use shadowmm_core::allocator::AllocatorKind;

/// The pagesets.
#[derive(Debug, Serialize)]
pub struct PagesetsReport {
    pagesets: Vec<Pageset>,
    /// Who has the pages, where that is known.
    #[serde(skip)]
    allocator: Option<AllocatorKind>,
}

impl PagesetsReport {
    /// Asks for them.
    pub fn read(device: &Device) -> Result<Self> {
        Ok(Self {
            pagesets: device.pagesets()?,
            allocator: cosmos::allocator(device)?,
        })
    }
}

impl Report for PagesetsReport {
    fn print(&self, screen: &mut Screen) {
        let kept: u64 = self.pagesets.iter().map(|set| u64::from(set.count)).sum();
        screen.heading("Pages that CPUs keep of each zone, and how many they may");
        let mut table = Table::new([
            Column::number("node"),
            Column::text("zone"),
            Column::number("CPU"),
            Column::number("count"),
            Column::number("high"),
            Column::number("batch"),
            Column::number("high_min"),
            Column::number("high_max"),
            Column::number("threshold"),
        ]);
        for set in &self.pagesets {
            table.row([
                set.nid.to_string(),
                set.name.to_owned(),
                set.cpu.to_string(),
                set.count.to_string(),
                set.high.to_string(),
                set.batch.to_string(),
                set.high_min.to_string(),
                set.high_max.to_string(),
                set.stat_threshold.to_string(),
            ]);
        }
        table.print(screen);
        screen.para(&format!("In all, {kept} pages are kept."));
        if self.pagesets.iter().any(|set| set.high_max > 0) {
            screen.blank();
            screen.para("A page that is freed is kept by its CPU, without a lock, and merges with its neighbours only later: when the CPU has more than high, batch pages at a time go back to the zone, and as many come from it when the CPU has none. high moves between high_min and high_max, and 'shadowmm drain' gives the zones all pages back.");
        } else if self.allocator != Some(AllocatorKind::Cosmos) {
            screen.para("Every page that is freed goes to its zone and merges at once.");
        }
        cosmos::note(self.allocator, "it keeps no page for a CPU.", screen);
    }
}

/// Shows the pagesets.
pub fn run(context: &Context) -> Result<()> {
    context.show(&PagesetsReport::read(&context.open()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn it_fits_and_its_keys_stay() {
        let pageset = |nid, cpu| Pageset {
            nid,
            name: "Normal",
            cpu,
            count: 186,
            high: 261,
            batch: 63,
            high_min: 252,
            high_max: 8192,
            stat_threshold: 10,
        };
        let report = PagesetsReport {
            pagesets: vec![pageset(0, 0), pageset(0, 1), pageset(1, 0)],
            allocator: Some(AllocatorKind::Buddy),
        };
        testing::fits(&report);
        let text = testing::text(&report, 400);
        assert!(text.contains("In all, 558 pages"), "{text}");
        assert!(
            text.contains("'shadowmm drain'") && !text.contains("Cosmos"),
            "{text}"
        );
        // A CPU that has kept nothing yet.
        let fresh = PagesetsReport {
            pagesets: vec![Pageset {
                high: 0,
                count: 0,
                ..pageset(0, 0)
            }],
            allocator: Some(AllocatorKind::Buddy),
        };
        assert!(testing::text(&fresh, 400).contains("merges with its neighbours only later"));
        let none = |allocator| PagesetsReport {
            pagesets: Vec::new(),
            allocator,
        };
        let text = testing::text(&none(Some(AllocatorKind::Cosmos)), 400);
        assert!(
            text.contains("keeps no page") && !text.contains("drain"),
            "{text}"
        );
        let text = testing::text(&none(Some(AllocatorKind::Buddy)), 400);
        assert!(text.contains("merges at once"), "{text}");
        testing::keys(
            &report,
            "pagesets pagesets[].batch pagesets[].count pagesets[].cpu pagesets[].high \
             pagesets[].high_max pagesets[].high_min pagesets[].name pagesets[].nid \
             pagesets[].stat_threshold",
        );
    }
}
