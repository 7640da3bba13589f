// SPDX-License-Identifier: GPL-2.0

//! `shadowmm page alloc`: blocks, many single pages, so many bytes.

use super::interact;
use super::zone_name;
use crate::args;
use crate::context::Context;
use crate::context::Report;
use crate::error::Error;
use crate::error::Result;
use crate::render::pages;
use crate::render::plural;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use clap::error::ErrorKind;
use clap::CommandFactory;
use serde::Serialize;
use shadowmm_client::AllocRequest;
use shadowmm_client::Block;
use shadowmm_client::Device;
use shadowmm_client::Reason;
use std::thread;
use std::time::Duration;

/// The blocks that were allocated.
#[derive(Debug, Serialize)]
struct Blocks {
    blocks: Vec<BlockReport>,
    #[serde(skip)]
    end: String,
}

#[derive(Debug, Serialize)]
struct BlockReport {
    pfn: u64,
    order: u32,
    nid: i32,
    zone: u32,
    zone_name: &'static str,
}

impl From<&Block<'_>> for BlockReport {
    fn from(block: &Block<'_>) -> Self {
        Self {
            pfn: block.pfn(),
            order: block.order(),
            nid: block.nid(),
            zone: block.zone(),
            zone_name: zone_name(block.zone()),
        }
    }
}

impl Report for Blocks {
    fn print(&self, screen: &mut Screen) {
        let mut table = Table::new([
            Column::number("pfn"),
            Column::number("order"),
            Column::number("size"),
            Column::number("node"),
            Column::text("zone"),
        ]);
        for block in &self.blocks {
            table.row([
                block.pfn.to_string(),
                block.order.to_string(),
                pages(1u64.checked_shl(block.order).unwrap_or(0)),
                block.nid.to_string(),
                block.zone_name.to_owned(),
            ]);
        }
        table.print(screen);
        screen.blank();
        screen.para(&self.end);
    }
}

/// Single pages that were allocated at once.
#[derive(Debug, Serialize)]
struct Pages {
    pages: u64,
    stopped: Option<&'static str>,
    runs: Vec<Run>,
    #[serde(skip)]
    wanted: u64,
    #[serde(skip)]
    end: String,
}

/// Pages that follow one another, as they came.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Run {
    pfn: u64,
    pages: u64,
    nid: i32,
    zone: u32,
    zone_name: &'static str,
}

/// A range in one piece.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Range(Run);

impl Report for Range {
    fn print(&self, screen: &mut Screen) {
        let run = &self.0;
        screen.para(&format!(
            "{} in a row, {}, from page {} on: node {}, zone {}.",
            plural(run.pages, "page"),
            pages(run.pages),
            run.pfn,
            run.nid,
            run.zone_name
        ));
    }
}

impl Report for Pages {
    fn print(&self, screen: &mut Screen) {
        let mut table = Table::new([
            Column::number("pfn"),
            Column::number("pages"),
            Column::number("size"),
            Column::number("node"),
            Column::text("zone"),
        ]);
        for run in &self.runs {
            table.row([
                run.pfn.to_string(),
                run.pages.to_string(),
                pages(run.pages),
                run.nid.to_string(),
                run.zone_name.to_owned(),
            ]);
        }
        table.print(screen);
        screen.blank();
        if self.pages < self.wanted {
            screen.para(&format!(
                "These are {} of the {} that were asked for.",
                plural(self.pages, "page"),
                self.wanted
            ));
        }
        screen.para(&self.end);
    }
}

/// The pages as runs. `place` tells a page's node and zone.
fn runs(pfns: &[u64], place: impl Fn(u64) -> Result<(i32, u32)>) -> Result<Vec<Run>> {
    let mut runs: Vec<Run> = Vec::new();
    for &pfn in pfns {
        let (nid, zone) = place(pfn)?;
        match runs.last_mut() {
            Some(run) if run.pfn + run.pages == pfn && (run.nid, run.zone) == (nid, zone) => {
                run.pages += 1;
            }
            _ => runs.push(Run {
                pfn,
                pages: 1,
                nid,
                zone,
                zone_name: zone_name(zone),
            }),
        }
    }
    Ok(runs)
}

/// Allocates what the arguments ask for, shows it, and keeps it as long.
pub fn run(context: &Context, args: &args::Alloc) -> Result<()> {
    let policy = args.policy().unwrap_or_else(|told| {
        let kind = ErrorKind::ArgumentConflict;
        args::Cli::command().error(kind, told).exit()
    });
    let device = context.open()?;
    if let Some(policy) = policy {
        device.set_policy(&policy)?;
    }
    let request = AllocRequest {
        gfp: args.gfp,
        order: args.order,
        nid: args.node,
    };
    if let Some(bytes) = args.bytes {
        let exact = device.alloc_exact(&request, bytes)?;
        let pages = exact.pages();
        let report = Pages {
            pages,
            stopped: None,
            runs: vec![Run {
                pfn: exact.pfn(),
                pages,
                nid: exact.nid(),
                zone: exact.zone(),
                zone_name: zone_name(exact.zone()),
            }],
            wanted: pages,
            end: end(args),
        };
        exact.leave();
        keep(context, &device, args, &report)
    } else if args.bulk {
        let bulk = device.alloc_bulk(&request, args.count as usize)?;
        let place = |pfn| {
            let page = device.page(pfn)?;
            Ok((page.nid, page.zone))
        };
        let report = Pages {
            pages: bulk.pfns().len() as u64,
            stopped: bulk.stopped().map(Reason::name),
            runs: runs(bulk.pfns(), place)?,
            wanted: args.count.into(),
            end: end(args),
        };
        bulk.leave();
        keep(context, &device, args, &report)
    } else {
        let blocks = blocks(&device, &request, args.count)?;
        let report = Blocks {
            blocks: blocks.iter().map(BlockReport::from).collect(),
            end: end(args),
        };
        blocks.into_iter().for_each(Block::leave);
        keep(context, &device, args, &report)
    }
}

/// Allocates a range, shows it, and keeps it as long as was asked for.
pub fn contig(context: &Context, args: &args::Contig) -> Result<()> {
    let device = context.open()?;
    let request = AllocRequest {
        gfp: args.gfp,
        order: 0,
        nid: args.node,
    };
    let range = match args.at {
        Some(pfn) => device.alloc_range(args.gfp, pfn, args.pages)?,
        None => device.alloc_contig(&request, args.pages)?,
    };
    context.show(&Range(Run {
        pfn: range.pfn(),
        pages: range.pages(),
        nid: range.nid(),
        zone: range.zone(),
        zone_name: zone_name(range.zone()),
    }))?;
    thread::sleep(Duration::from_secs(args.hold.unwrap_or(0)));
    Ok(range.free()?)
}

fn blocks<'d>(device: &'d Device, request: &AllocRequest, count: u32) -> Result<Vec<Block<'d>>> {
    let mut blocks = Vec::new();
    for number in 1..=count {
        match device.alloc(request) {
            Ok(block) => blocks.push(block),
            Err(error) if number > 1 => {
                return Err(Error::of_one(&format!("block {number} of {count}"), error));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(blocks)
}

/// What becomes of them.
fn end(args: &args::Alloc) -> String {
    if args.interactive {
        format!(
            "They are held until the end of stdin. Lines may be: {}.",
            interact::LINES
        )
    } else if args.hold.is_some() {
        "They are held for the time named, or until this command is ended.".to_owned()
    } else {
        "They return now, with the end of this command; --hold SECS or --interactive keep them."
            .to_owned()
    }
}

/// Shows what the device holds, and keeps the device open as long as was asked
/// for: what it holds goes back with it.
fn keep(
    context: &Context,
    device: &Device,
    args: &args::Alloc,
    report: &impl Report,
) -> Result<()> {
    if args.interactive {
        context.show_line(report)?;
        return interact::run(context, device);
    }
    context.show(report)?;
    thread::sleep(Duration::from_secs(args.hold.unwrap_or(0)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn they_fit_and_their_keys_stay() {
        let blocks = Blocks {
            blocks: vec![BlockReport {
                pfn: 1,
                order: 10,
                nid: 0,
                zone: 2,
                zone_name: "Normal",
            }],
            end: "They return.".to_owned(),
        };
        testing::fits(&blocks);
        testing::keys(
            &blocks,
            "blocks blocks[].nid blocks[].order blocks[].pfn blocks[].zone blocks[].zone_name",
        );
        let pages = Pages {
            pages: 3,
            stopped: Some(Reason::NoMemory.name()),
            runs: runs(&[5, 6, 9], |_| Ok((1, 2))).expect("runs"),
            wanted: 4000,
            end: "They return.".to_owned(),
        };
        testing::fits(&pages);
        testing::keys(
            &pages,
            "pages runs runs[].nid runs[].pages runs[].pfn runs[].zone runs[].zone_name stopped",
        );
        assert!(testing::text(&pages, 100).contains("3 pages of the 4000"));
    }

    #[test]
    fn a_range_fits_and_its_keys_stay() {
        let range = Range(Run {
            pfn: 32_768,
            pages: 5000,
            nid: 1,
            zone: 3,
            zone_name: zone_name(3),
        });
        testing::fits(&range);
        testing::keys(&range, "nid pages pfn zone zone_name");
    }

    #[test]
    fn pages_that_follow_one_another_are_one_run() {
        let place = |pfn| Ok((i32::from(pfn >= 8), 2));
        let runs = runs(&[5, 6, 7, 8, 9, 3, 2, 2], place).expect("runs");
        let found: Vec<_> = runs
            .iter()
            .map(|run| (run.pfn, run.pages, run.nid))
            .collect();
        assert_eq!(
            found,
            [(5, 3, 0), (8, 2, 1), (3, 1, 0), (2, 1, 0), (2, 1, 0)]
        );
    }
}
