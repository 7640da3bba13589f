// SPDX-License-Identifier: GPL-2.0

//! `shadowmm boot`: runs the stages, or takes another map and starts anew.

use super::buddy::BuddyReport;
use super::cosmos;
use super::e820::E820Report;
use super::iomem::IomemReport;
use super::memblock::MemblockReport;
use super::sections::SectionsReport;
use super::zones::ZonesReport;
use crate::args;
use crate::context::Context;
use crate::context::Report;
use crate::error::Error;
use crate::error::Result;
use crate::host;
use crate::host::machine::Clock;
use crate::render::address;
use crate::render::bytes;
use crate::render::pages;
use crate::render::plural;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_client::Boot;
use shadowmm_client::Device;
use shadowmm_client::Map;
use shadowmm_client::Reason;
use shadowmm_client::Stage;
use shadowmm_core::allocator::AllocatorKind;
use std::collections::BTreeSet;

/// Where the boot is, and what the stages that were run have made.
#[derive(Debug, Serialize)]
pub struct BootReport {
    stage: Stage,
    stage_ns: [u64; 5],
    stages: Vec<StageReport>,
    #[serde(skip)]
    step: bool,
    /// Who has the pages, once they are handed over.
    #[serde(skip)]
    allocator: Option<&'static str>,
    #[serde(skip)]
    clock: Clock,
}

/// What a stage has made.
#[derive(Debug, Serialize)]
struct StageReport {
    stage: Stage,
    ns: u64,
    summary: String,
    report: Made,
}

/// The report that a stage's work shows in.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Made {
    E820(E820Report),
    Memblock(MemblockReport),
    Sections(SectionsReport),
    Zones(ZonesReport),
    Buddy(BuddyReport),
}

impl StageReport {
    /// Asks for what `stage` has made.
    fn read(device: &Device, stage: Stage, ns: u64) -> Result<Self> {
        let (summary, report) = match stage {
            Stage::Detect => {
                let report = E820Report::read(device)?;
                let status = device.status()?;
                // There are no nodes yet, but the region is laid out by them.
                let nids = device.segments()?.into_iter().map(|segment| segment.nid);
                let summary = format!(
                    "{} with {} of RAM on {}, scaled from {}; the map is {}",
                    plural(report.len() as u64, "range"),
                    bytes(report.ram_bytes()),
                    plural(nids.collect::<BTreeSet<_>>().len() as u64, "node"),
                    bytes(status.original_ram_bytes),
                    status.map_source.text(),
                );
                (summary, Made::E820(report))
            }
            Stage::Memblock => {
                let report = MemblockReport::read(device)?;
                let mut summary = format!(
                    "{} of memory in {}; {} reserved in {}",
                    bytes(report.memory.total_size_bytes),
                    plural(report.memory.cnt as u64, "region"),
                    bytes(report.reserved.total_size_bytes),
                    plural(report.reserved.cnt as u64, "region"),
                );
                if let Some(crash) = IomemReport::read(device)?.crash_kernel() {
                    summary += &format!(
                        "; the crash kernel has {} at {}",
                        bytes(crash.end.saturating_sub(crash.start).saturating_add(1)),
                        address(crash.start),
                    );
                } else if let Some(refusal) = device.status()?.crash_refusal {
                    summary += &format!("; no crash kernel, because {refusal}");
                }
                (summary, Made::Memblock(report))
            }
            Stage::Paging => {
                let report = SectionsReport::read(device)?;
                let status = device.status()?;
                let summary = format!(
                    "{} of {}; page descriptors of {} bytes take {}, Linux's of {} would take {}",
                    plural(report.len() as u64, "section"),
                    pages(report.section_pages()),
                    status.descriptor_size,
                    bytes(status.descriptor_bytes),
                    status.host_descriptor_size,
                    bytes(status.linux_descriptor_bytes()),
                );
                (summary, Made::Sections(report))
            }
            Stage::Zones => {
                let report = ZonesReport::read(device)?;
                let populated = report.zones.iter().filter(|zone| zone.present_pages > 0);
                let names: Vec<String> = populated
                    .map(|zone| format!("{} {}", zone.nid, zone.name))
                    .collect();
                let number = plural(names.len() as u64, "zone");
                let summary = format!("{number}: {}", names.join(", "));
                (summary, Made::Zones(report))
            }
            Stage::Handoff => {
                let report = BuddyReport::read(device)?;
                let blocks: u64 = report.zones.iter().flat_map(|zone| zone.nr_free).sum();
                let summary = format!(
                    "{} ({}) as {}",
                    plural(report.free_pages(), "page"),
                    pages(report.free_pages()),
                    plural(blocks, "free block"),
                );
                (summary, Made::Buddy(report))
            }
        };
        Ok(Self {
            stage,
            ns,
            summary,
            report,
        })
    }
}

impl Report for BootReport {
    fn print(&self, screen: &mut Screen) {
        for report in &self.stages {
            let number = report.stage as usize + 1;
            screen.heading(&format!(
                "{number}. {}: {} ({})",
                report.stage.name(),
                cosmos::stage_text(report.stage, self.allocator),
                self.clock.tell(report.ns)
            ));
            screen.para(&format!("{}.", report.summary));
            if self.step {
                screen.blank();
                match &report.report {
                    Made::E820(report) => report.print(screen),
                    Made::Memblock(report) => report.print(screen),
                    Made::Sections(report) => report.print(screen),
                    Made::Zones(report) => report.print(screen),
                    Made::Buddy(report) => report.print(screen),
                }
            }
        }
        if self.stages.is_empty() {
            let mut table = Table::new([
                Column::text("stage"),
                Column::number("took"),
                Column::text("now"),
            ]);
            for (stage, ns) in Stage::ALL.into_iter().zip(self.stage_ns) {
                table.row([
                    stage.name().to_owned(),
                    self.clock.tell(ns),
                    cosmos::stage_text(stage, self.allocator).to_owned(),
                ]);
            }
            table.print(screen);
            screen.blank();
            screen.para("The boot has reached its last stage. To boot again, name a map: --builtin, --host, --dmesg FILE; or --reset for the one that is there.");
        } else {
            screen.blank();
            match self.stage.next() {
                Some(next) => screen.para(&format!(
                    "Next is {}: 'shadowmm boot --step'; 'shadowmm boot' runs all that are left.",
                    next.name()
                )),
                None => screen.para(&format!(
                    "The boot is done, in {}.",
                    self.clock.tell(self.stage_ns.iter().sum())
                )),
            }
        }
    }
}

/// Where the next boot's map comes from.
enum Source {
    /// What is there already.
    Present,
    /// This one.
    New(Box<Map>),
}

/// The map that the options name, if they name one.
fn source(context: &Context, args: &args::Boot) -> Result<Option<Source>> {
    let map = if let Some(path) = &args.dmesg {
        let (map, report) = host::dmesg::read(path)?;
        if let Some((line, error)) = report.first_bad_line {
            eprintln!("shadowmm: line {line} of the boot log was left out: {error}");
        }
        Some(map)
    } else if args.host {
        Some(host::map::host(&context.root)?)
    } else if args.builtin || args.crashkernel.is_some() {
        Some(Map::builtin())
    } else {
        None
    };
    Ok(match map {
        Some(map) => Some(Source::New(Box::new(Map {
            crashkernel: args.crashkernel.clone(),
            ..map
        }))),
        None => args.reset.then_some(Source::Present),
    })
}

/// Takes the shadow back to its first stage, with the map from `source`. If the
/// map is refused the shadow is brought back to where it was.
fn start_anew(device: &Device, source: &Source) -> Result<Boot> {
    let before = device.boot()?.stage;
    let boot = device.boot_reset()?;
    let Source::New(map) = source else {
        return Ok(boot);
    };
    if let Err(refusal) = device.upload(map) {
        let mut stage = boot.stage;
        while stage < before {
            match device.boot_next() {
                Ok(boot) => stage = boot.stage,
                Err(_) => break,
            }
        }
        return Err(refusal.into());
    }
    Ok(device.boot()?)
}

/// Goes one stage on, and says how far it came where it fails.
fn next(device: &Device, boot: &Boot) -> Result<Boot> {
    device.boot_next().map_err(|error| {
        let advice = match (error.reason(), error.advice()) {
            (Some(Reason::StageDone), _) => {
                "'shadowmm boot --step --builtin' starts anew (or --host, --dmesg FILE, --reset)"
                    .to_owned()
            }
            (_, advice) => format!(
                "{}stage {} was the last that was done; 'shadowmm boot --builtin --crashkernel \"\"' boots the built-in map without a crash kernel",
                advice.map_or(String::new(), |advice| format!("{advice}; ")),
                boot.stage.name()
            ),
        };
        Error::from(error).with_advice(advice)
    })
}

/// A map that was taken but does not boot: leaves a shadow that runs, if there
/// is any way, and says which.
fn recover(device: &Device, source: &Source, error: Error) -> Error {
    // An empty text is no crash kernel, and not the last one again.
    let without = |map: &Map| Map {
        crashkernel: Some(String::new()),
        ..map.clone()
    };
    let boots = |map: &Map| {
        let booted = device.boot_reset().and_then(|_| device.upload(map));
        booted.and_then(|()| device.boot_run()).is_ok()
    };
    match source {
        Source::New(map) if map.crashkernel.is_some() && boots(&without(map)) => {
            error.with_advice("the map has been booted without a crash kernel")
        }
        _ if boots(&without(&Map::builtin())) => {
            error.with_advice("the built-in map has been booted in its place")
        }
        _ => error,
    }
}

/// Boots.
pub fn run(context: &Context, args: &args::Boot) -> Result<()> {
    let device = context.open()?;
    let mut ran = Vec::new();
    let mut boot;
    match source(context, args)? {
        Some(source) => {
            boot = start_anew(&device, &source)?;
            ran.push(boot.stage);
            if !args.step {
                run_rest(&device, &mut boot, &mut ran)
                    .map_err(|error| recover(&device, &source, error))?;
            }
        }
        None => {
            boot = device.boot()?;
            if args.step {
                boot = next(&device, &boot)?;
                ran.push(boot.stage);
            } else {
                run_rest(&device, &mut boot, &mut ran)?;
            }
        }
    }
    let mut stages = Vec::with_capacity(ran.len());
    for stage in ran {
        let ns = boot.ns.get(stage as usize).copied().unwrap_or(0);
        stages.push(StageReport::read(&device, stage, ns)?);
    }
    context.show(&BootReport {
        stage: boot.stage,
        stage_ns: boot.ns,
        stages,
        step: args.step,
        allocator: cosmos::allocator(&device)?.map(AllocatorKind::name),
        clock: Clock::read(&context.root),
    })
}

/// Runs the stages that are left, and says which they were.
pub fn run_rest(device: &Device, boot: &mut Boot, ran: &mut Vec<Stage>) -> Result<()> {
    while boot.stage < Stage::Handoff {
        *boot = next(device, boot)?;
        ran.push(boot.stage);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn sample(step: bool) -> BootReport {
        BootReport {
            stage: Stage::Zones,
            stage_ns: [1_000, 2_000, 3_000, 4_000, 0],
            stages: vec![StageReport {
                stage: Stage::Zones,
                ns: 4_000,
                summary: "3 zones: 0 DMA, 0 Normal, 1 Movable".to_owned(),
                report: Made::Zones(super::super::zones::tests::sample()),
            }],
            step,
            allocator: None,
            clock: Clock::Emulator,
        }
    }

    #[test]
    fn it_fits_and_only_a_step_shows_the_whole_report() {
        testing::fits(&sample(true));
        testing::fits(&sample(false));
        testing::fits(&BootReport {
            stages: Vec::new(),
            ..sample(false)
        });
        assert!(testing::text(&sample(false), 80).contains("4.0 µs under emulation"));
        assert!(testing::text(&sample(true), 80).contains("first page"));
        assert!(!testing::text(&sample(false), 80).contains("first page"));
    }

    #[test]
    fn its_keys_stay() {
        let report = BootReport {
            stages: vec![StageReport {
                stage: Stage::Handoff,
                ns: 1,
                summary: String::new(),
                report: Made::Buddy(BuddyReport::from_zones(&[])),
            }],
            ..sample(false)
        };
        testing::keys(
            &report,
            "stage stage_ns stages stages[].ns stages[].report stages[].report.zones \
             stages[].stage stages[].summary",
        );
    }
}
