// SPDX-License-Identifier: GPL-2.0

//! `shadowmm tour`: the whole story on live numbers.
//!
//! ```text
//! 1 machine -> 2 firmware -> 3 memblock -> 4 sparse -> 5 zones -> 6 buddy
//!               -> 7 accounting -> 8 a page's life -> 9 objects -> 10 comparison
//! ```
//!
//! Each screen is some two dozen lines: two or three sentences, and the part
//! of a report that they are about (screens.rs). The eighth allocates pages and
//! looks at what that does to the free areas (life.rs), the ninth does the same
//! with objects and the slabs of a cache (objects.rs).

mod life;
mod objects;
mod screens;

use super::accounting::AccountingReport;
use super::boot;
use super::compare::CompareReport;
use super::e820::E820Report;
use super::iomem::IomemReport;
use super::memblock::MemblockReport;
use super::nodes::NodesReport;
use super::sections::SectionsReport;
use super::slab::ListReport;
use super::zones::ZonesReport;
use crate::args;
use crate::context::json;
use crate::context::Context;
use crate::error::Error;
use crate::error::Result;
use crate::host::machine::Machine;
use crate::render::Screen;
use serde::Serialize;
use shadowmm_client::Area;
use shadowmm_client::Device;
use shadowmm_client::Segment;
use shadowmm_client::Stage;
use shadowmm_client::Status;
use shadowmm_client::Version;
use std::io;
use std::io::IsTerminal;

/// All that the screens are made of.
#[derive(Debug, Serialize)]
struct Facts {
    machine: Machine,
    version: Version,
    status: Status,
    segments: Vec<Segment>,
    #[serde(flatten)]
    e820: E820Report,
    #[serde(flatten)]
    resources: IomemReport,
    memblock: MemblockReport,
    #[serde(flatten)]
    sections: SectionsReport,
    #[serde(flatten)]
    nodes: NodesReport,
    #[serde(flatten)]
    zones: ZonesReport,
    #[serde(flatten)]
    accounting: AccountingReport,
    slab: ListReport,
    /// None, unless the pages are the manager's after Cosmos.
    areas: Vec<Area>,
    compare: CompareReport,
}

impl Facts {
    fn read(context: &Context, device: &Device) -> Result<Self> {
        Ok(Self {
            machine: Machine::read(&context.root),
            version: device.version()?,
            status: device.status()?,
            segments: device.segments()?,
            e820: E820Report::read(device)?,
            resources: IomemReport::read(device)?,
            memblock: MemblockReport::read(device)?,
            sections: SectionsReport::read(device)?,
            nodes: NodesReport::read(device)?,
            zones: ZonesReport::read(device)?,
            accounting: AccountingReport::read(device)?,
            slab: ListReport::read(device, &args::List::default())?,
            areas: device.areas()?,
            compare: CompareReport::read(context, device)?,
        })
    }

    /// Whether the pages are the manager's after Cosmos, and not the buddy system's.
    fn has_cosmos(&self) -> bool {
        !self.areas.is_empty()
    }
}

/// Takes the tour.
pub fn run(context: &Context, args: &args::Tour) -> Result<()> {
    let device = context.open()?;
    // A shadow that waits in the middle of its boot is brought to the end.
    let mut now = device.boot()?;
    if now.stage < Stage::Handoff {
        boot::run_rest(&device, &mut now, &mut Vec::new())?;
    }
    let facts = Facts::read(context, &device)?;
    if context.json {
        return context.write(&json(&facts, true)?);
    }

    let pause = args.pause && io::stdin().is_terminal() && io::stdout().is_terminal();
    let show = |number: usize, title: &str, fill: &dyn Fn(&mut Screen) -> Result<()>| {
        let mut screen = context.screen();
        if number > 1 {
            screen.blank();
        }
        screen.title(&format!("{number}/10  {title}"));
        fill(&mut screen)?;
        context.write(screen.text())?;
        if pause && number < 10 {
            wait(context)?;
        }
        Ok::<(), Error>(())
    };
    for (number, (title, tell)) in (1..).zip(screens::SCREENS) {
        show(number, title, &|screen| {
            tell(&facts, screen);
            Ok(())
        })?;
    }
    let cosmos = facts.has_cosmos();
    show(8, "A page's life", &|screen| {
        life::tell(&device, cosmos, screen)
    })?;
    show(9, "Objects smaller than a page", &|screen| {
        objects::tell(&device, cosmos, screen)
    })?;
    show(10, "The shadow beside the host", &|screen| {
        // Not the look from before the pages were allocated and freed.
        screens::comparison(&CompareReport::read(context, &device)?, cosmos, screen);
        Ok(())
    })
}

/// Waits for Enter.
fn wait(context: &Context) -> Result<()> {
    context.write("\n-- Enter: the next screen --")?;
    let mut line = String::new();
    io::stdin()
        .read_line(&mut line)
        .map_err(|error| Error::failed(format!("could not read the terminal: {error}")))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands;
    use crate::context::Report;
    use crate::testing;

    /// A screen of the tour, as a report that only has the screen.
    #[derive(Serialize)]
    struct Shown<'f>(#[serde(skip)] fn(&Facts, &mut Screen), &'f Facts);

    impl Report for Shown<'_> {
        fn print(&self, screen: &mut Screen) {
            self.0(self.1, screen);
        }
    }

    fn sample() -> Facts {
        Facts {
            machine: Machine::default(),
            version: Version {
                abi: 1,
                release: "0.1.0".to_owned(),
                kernel: "7.3.4".to_owned(),
            },
            status: testing::status(),
            segments: vec![Segment {
                start_pfn: 0,
                pages: 65536,
                host_pfn: Some(0x7_0000),
                nid: 0,
                host_nid: 0,
            }],
            e820: commands::e820::tests::sample(),
            resources: commands::iomem::tests::sample(),
            memblock: commands::memblock::tests::sample(),
            sections: commands::sections::tests::sample(),
            nodes: commands::nodes::tests::sample(),
            zones: commands::zones::tests::sample(),
            accounting: commands::accounting::tests::sample(),
            slab: commands::slab::sample(),
            areas: Vec::new(),
            compare: commands::compare::tests::sample(),
        }
    }

    #[test]
    fn every_screen_fits_into_a_terminal() {
        let facts = sample();
        for (title, tell) in screens::SCREENS {
            let shown = Shown(tell, &facts);
            testing::fits(&shown);
            let lines = testing::text(&shown, 80).lines().count();
            assert!(lines <= 24, "{title} has {lines} lines");
        }
    }

    #[test]
    fn the_reports_keep_their_keys_in_one_object() {
        let value = serde_json::to_value(sample()).expect("JSON");
        let keys: Vec<&String> = value.as_object().expect("an object").keys().collect();
        assert_eq!(
            keys,
            [
                "accounts",
                "areas",
                "compare",
                "e820",
                "machine",
                "memblock",
                "nodes",
                "resources",
                "section_pages",
                "sections",
                "segments",
                "slab",
                "status",
                "version",
                "zones",
            ]
        );
    }
}
