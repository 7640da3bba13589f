// SPDX-License-Identifier: GPL-2.0

//! `shadowmm pagesets`: the pages that CPUs keep at hand.

use crate::context::Context;
use crate::context::Report;
use crate::error::Result;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_client::Device;
use shadowmm_client::Pageset;

/// The pagesets.
#[derive(Debug, Serialize)]
pub struct PagesetsReport {
    pagesets: Vec<Pageset>,
}

impl PagesetsReport {
    /// Asks for them.
    pub fn read(device: &Device) -> Result<Self> {
        Ok(Self {
            pagesets: device.pagesets()?,
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
        };
        testing::fits(&report);
        assert!(testing::text(&report, 80).contains("In all, 558 pages"));
        testing::keys(
            &report,
            "pagesets pagesets[].batch pagesets[].count pagesets[].cpu pagesets[].high \
             pagesets[].high_max pagesets[].high_min pagesets[].name pagesets[].nid \
             pagesets[].stat_threshold",
        );
    }
}
