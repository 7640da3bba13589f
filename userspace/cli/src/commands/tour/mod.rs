// SPDX-License-Identifier: GPL-2.0

//! `shadowmm tour`: the whole story on live numbers.
//!
//! ```text
//! 1 machine -> 2 firmware -> 3 memblock -> 4 sparse -> 5 zones -> 6 buddy
//!                                 -> 7 accounting -> 8 a page's life -> 9 comparison
//! ```
//!
//! Each screen is some two dozen lines: two or three sentences, and the part
//! of a report that they are about (screens.rs). The eighth allocates pages and
//! looks at what that does to the free areas (life.rs).

mod life;
mod screens;

use super::accounting::AccountingReport;
use super::boot;
use super::compare::CompareReport;
use super::e820::E820Report;
use super::iomem::IomemReport;
use super::memblock::MemblockReport;
use super::nodes::NodesReport;
use super::sections::SectionsReport;
use super::zones::ZonesReport;
use crate::args;
use crate::context::json;
use crate::context::Context;
use crate::error::Error;
use crate::error::Result;
use crate::host::machine::Machine;
use crate::render::Screen;
use serde::Serialize;
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
            compare: CompareReport::read(context, device)?,
        })
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
        screen.title(&format!("{number}/9  {title}"));
        fill(&mut screen)?;
        context.write(screen.text())?;
        if pause && number < 9 {
            wait(context)?;
        }
        Ok::<(), Error>(())
    };
    let told = |tell: fn(&Facts, &mut Screen)| {
        let facts = &facts;
        move |screen: &mut Screen| {
            tell(facts, screen);
            Ok(())
        }
    };
    show(1, "The machine and its shadow", &told(screens::machine))?;
    show(2, "What the firmware says", &told(screens::firmware))?;
    show(
        3,
        "memblock: memory before there is an allocator",
        &told(screens::memblock),
    )?;
    show(4, "Sections and page descriptors", &told(screens::sparse))?;
    show(5, "Nodes and zones", &told(screens::zones))?;
    show(6, "The hand-off to the buddy system", &told(screens::buddy))?;
    show(7, "Where the memory went", &told(screens::accounting))?;
    show(8, "A page's life", &|screen| life::tell(&device, screen))?;
    show(9, "The shadow beside the host", &|screen| {
        // Not the look from before the pages were allocated and freed.
        screens::comparison(&CompareReport::read(context, &device)?, screen);
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
