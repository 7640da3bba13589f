// SPDX-License-Identifier: GPL-2.0

//! `shadowmm bench slab`: what the shadow's slab layer costs beside the host's,
//! and how many pages it needs for the same objects.

use super::costs;
use super::few;
use super::together;
use super::BenchSubject;
use super::Missing;
use super::RatioOf;
use super::Row;
use super::Subject;
use super::Ticks;
use super::Unit;
use crate::args::BenchOptions;
use crate::context::Context;
use crate::context::Report;
use crate::error::Error;
use crate::error::Result;
use crate::host;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_client::BenchSides;
use shadowmm_client::Device;
use shadowmm_client::HostOptions;
use shadowmm_client::SlabBench;
use shadowmm_client::SlabBenchShape as Shape;
use shadowmm_client::SlabMeasured;
use std::path::Path;

/// The measurements.
#[derive(Debug, Serialize)]
struct SlabReport {
    accelerator: String,
    kernel: Option<String>,
    unit: Unit,
    magazine: u32,
    host_options: HostOptions,
    rows: Vec<Row>,
    missing: Vec<Missing>,
    differences: &'static [&'static str],
}

/// What the host's path does that the shadow's does not.
const DIFFERENCES: &[&str] = &[
    "It is called, each half through two functions; the shadow's way through the CPU's objects is \
     inlined where a cache is at hand. In the row 'by call' the shadow is called, too.",
    "It takes a lock of the CPU's sheaves, which an interrupt that came in between would find \
     taken; the shadow turns preemption off, and is not asked by interrupts.",
    "It looks whether the object is to be charged to a memory cgroup, and when it goes, whether it \
     was. These requests do not ask for it.",
    "It looks whether KFENCE is to give out this object, and whether a freed one was KFENCE's. Its \
     sampling is off in this kernel.",
    "It zeroes objects where init_on_alloc or init_on_free is on. The shadow zeroes for \
     __GFP_ZERO.",
    "It carries static keys for debugging, fault injection, KASAN and KMSAN, and tracepoints: off, \
     they cost a nop or nothing.",
];

const PAIRS: u32 = 2000;
const BULKS: u32 = 200;
const PAGES: u32 = 4;

/// The rows: name, what an operation is, what is done, with objects of which
/// size, in how many blocks.
const ROWS: [(&str, &str, Shape, u32, u32); 18] = [
    ("kmalloc pair, 8", "pair", Shape::KmallocPair, 8, PAIRS),
    ("kmalloc pair, 64", "pair", Shape::KmallocPair, 64, PAIRS),
    ("kmalloc pair, 256", "pair", Shape::KmallocPair, 256, PAIRS),
    (
        "kmalloc pair, 1024",
        "pair",
        Shape::KmallocPair,
        1024,
        PAIRS,
    ),
    (
        "kmalloc pair, 64, by call",
        "pair",
        Shape::CalledPair,
        64,
        PAIRS,
    ),
    ("cache pair, 64", "pair", Shape::Pair, 64, PAIRS),
    ("cache pair, 256", "pair", Shape::Pair, 256, PAIRS),
    ("take 1,000 of 256", "object", Shape::Alloc, 256, BULKS),
    (
        "free 1,000 in order",
        "object",
        Shape::FreeInOrder,
        256,
        BULKS,
    ),
    (
        "free 1,000 shuffled",
        "object",
        Shape::FreeShuffled,
        256,
        BULKS,
    ),
    (
        "1,000 taken, freed in order",
        "object",
        Shape::InOrder,
        256,
        BULKS,
    ),
    (
        "1,000 taken, freed shuffled",
        "object",
        Shape::Shuffled,
        256,
        BULKS,
    ),
    (
        "take 1,000 in one call",
        "object",
        Shape::AllocBulk,
        256,
        BULKS,
    ),
    (
        "free 1,000 in one call",
        "object",
        Shape::FreeBulk,
        256,
        BULKS,
    ),
    ("mixed sizes among 256", "pair", Shape::Mixed, 64, BULKS),
    ("10,000 of 64", "all", Shape::Pages, 64, PAGES),
    ("10,000 of 256", "all", Shape::Pages, 256, PAGES),
    ("10,000 of 1024", "all", Shape::Pages, 1024, PAGES),
];

/// The rows where most have gone.
const LEFT: [(&str, &str, Shape, u32, u32); 3] = [
    (
        "1,000 that stay of 10,000 of 64",
        "all",
        Shape::PagesLeft,
        64,
        PAGES,
    ),
    (
        "1,000 that stay of 10,000 of 256",
        "all",
        Shape::PagesLeft,
        256,
        PAGES,
    ),
    (
        "1,000 that stay of 10,000 of 1024",
        "all",
        Shape::PagesLeft,
        1024,
        PAGES,
    ),
];

/// The rows that take another CPU: of the same node, and of another.
const SAME_NODE: [(&str, Remote); 2] = [
    ("freed on another CPU of the node", Shape::Remote),
    ("taken there, freed here: one node", Shape::Exchange),
];
const OTHER_NODE: [(&str, Remote); 2] = [
    ("freed on a CPU of another node", Shape::Remote),
    ("taken there, freed here: two nodes", Shape::Exchange),
];

type Remote = fn(u32) -> Shape;

/// The rows of CPUs that are busy at once.
const AT_ONCE: [(&str, Shape, u32, u32); 3] = [
    (
        "CPUs at once: kmalloc pair, 64",
        Shape::KmallocPair,
        64,
        PAIRS,
    ),
    ("CPUs at once: 1,000 shuffled", Shape::Shuffled, 256, BULKS),
    ("CPUs at once: mixed sizes", Shape::Mixed, 64, BULKS),
];

const NO_SAME: &str = "no other CPU is of this one's node (make guest NODES=1 CPUS=2)";
const NO_OTHER: &str = "all CPUs are of one node (make guest NODES=2 CPUS=2)";

impl SlabReport {
    fn row(
        name: &'static str,
        per: &'static str,
        shape: Shape,
        unit: Unit,
        ratio_of: RatioOf,
        measured: &SlabMeasured,
    ) -> Result<Row> {
        let subject = Subject {
            bench: "slab",
            shape: name,
            per,
            unit: match shape {
                Shape::Pages | Shape::PagesLeft => Unit::Pages,
                _ => unit,
            },
            ratio_of,
        };
        let ticks = Ticks {
            shadow: &measured.shadow,
            host: &measured.host,
            operations: measured.operations,
            tsc_khz: measured.tsc_khz,
        };
        Row::of(subject, &ticks)
    }
}

impl Report for SlabReport {
    fn print(&self, screen: &mut Screen) {
        BenchSubject {
            what: "slab layer",
            unit: self.unit,
            kernel: self.kernel.as_deref(),
            accelerator: &self.accelerator,
            shadow: &format!("keeps up to {} objects of 256 bytes per CPU", self.magazine),
            host_options: &self.host_options,
        }
        .print(screen);
        let (pages, rest): (Vec<&Row>, Vec<&Row>) =
            self.rows.iter().partition(|row| row.unit == Unit::Pages);
        costs(screen, rest);
        screen.blank();
        screen.para("Pages of the cache for the same objects, with all that is kept for later:");
        screen.blank();
        let mut table = Table::new([
            Column::text("objects"),
            Column::number("shadow"),
            Column::number("host"),
            Column::number("ratio"),
        ])
        .tight();
        for row in pages {
            table.row([
                row.shape.to_owned(),
                format!("{}", row.shadow.min),
                format!("{}", row.host.min),
                format!("{:.1} %", row.ratio * 100.0),
            ]);
        }
        table.print(screen);
        super::footer(screen, &self.host_options, self.differences, &self.missing);
    }
}

/// Another CPU of this one's node, and one of another.
fn others(root: &Path, here: u32) -> [Option<u32>; 2] {
    let nodes = together::nodes(root);
    let is_mine = |cpus: &&Vec<u32>| cpus.contains(&here);
    let same = nodes.iter().find(is_mine);
    let same = same.and_then(|cpus| cpus.iter().find(|&&cpu| cpu != here));
    let other = nodes.iter().filter(|cpus| !is_mine(cpus));
    let other = other.flatten().next();
    [same.copied(), other.copied()]
}

/// Measures, and makes a row of it.
struct Bencher<'a> {
    device: &'a Device,
    unit: Unit,
    quick: bool,
    rows: Vec<Row>,
    host_options: HostOptions,
    magazine: u32,
}

impl Bencher<'_> {
    fn push(
        &mut self,
        name: &'static str,
        per: &'static str,
        shape: Shape,
        ratio_of: RatioOf,
        measured: &SlabMeasured,
    ) -> Result<()> {
        let row = SlabReport::row(name, per, shape, self.unit, ratio_of, measured)?;
        self.rows.push(row);
        Ok(())
    }

    fn measure(
        &mut self,
        name: &'static str,
        per: &'static str,
        shape: Shape,
        size: u32,
        blocks: u32,
    ) -> Result<()> {
        let measured = self.device.bench_slab(&SlabBench {
            shape,
            size,
            blocks: few(blocks, self.quick),
            sides: BenchSides::Both,
        })?;
        self.host_options = measured.host_options;
        if size == 256 {
            self.magazine = measured.magazine;
        }
        self.push(name, per, shape, RatioOf::Min, &measured)
    }

    /// All CPUs do the same at once, on one side after the other.
    fn at_once(&mut self, context: &Context, cpus: &[u32]) -> Result<()> {
        for (name, shape, size, blocks) in AT_ONCE {
            let blocks = few(blocks, self.quick);
            let side = |sides| {
                together::on_all(context, cpus, |device| {
                    Ok(device.bench_slab(&SlabBench {
                        shape,
                        size,
                        blocks,
                        sides,
                    })?)
                })
            };
            let ours = side(BenchSides::Shadow)?;
            let theirs = side(BenchSides::Host)?;
            let mut all = ours.into_iter();
            let mut measured = all
                .next()
                .ok_or_else(|| Error::failed("there are no CPUs"))?;
            measured.shadow.extend(all.flat_map(|one| one.shadow));
            measured.host = theirs.into_iter().flat_map(|one| one.host).collect();
            let per = if shape == Shape::Shuffled {
                "object"
            } else {
                "pair"
            };
            self.push(name, per, shape, RatioOf::Median, &measured)?;
        }
        Ok(())
    }
}

/// Measures the slab layers.
pub fn slab(context: &Context, args: &BenchOptions) -> Result<()> {
    let device = context.open()?;
    let (accelerator, unit) = super::unit(context, "slab")?;
    let here = together::here(&context.root)?;
    together::stay_on(here)?;
    let mut bencher = Bencher {
        device: &device,
        unit,
        quick: args.quick,
        rows: Vec::new(),
        host_options: HostOptions::default(),
        magazine: 0,
    };
    for (name, per, shape, size, blocks) in ROWS.into_iter().chain(LEFT) {
        bencher.measure(name, per, shape, size, blocks)?;
    }
    let mut missing = Vec::new();
    let [same, other] = others(&context.root, here);
    for (rows, cpu, why) in [(SAME_NODE, same, NO_SAME), (OTHER_NODE, other, NO_OTHER)] {
        for (name, shape) in rows {
            match cpu {
                Some(cpu) => bencher.measure(name, "object", shape(cpu), 256, BULKS)?,
                None => missing.push(Missing {
                    shape: name,
                    why: why.into(),
                }),
            }
        }
    }
    let cpus = together::online(&context.root)?;
    let why = match (unit, cpus.len()) {
        (Unit::Ns, 2..) => None,
        (Unit::Ns, _) => Some(together::ONE_CPU),
        _ => Some(together::TURNS),
    };
    match why {
        None => bencher.at_once(context, &cpus)?,
        Some(why) => missing.extend(AT_ONCE.map(|(shape, ..)| Missing {
            shape,
            why: why.into(),
        })),
    }
    context.show(&SlabReport {
        accelerator,
        kernel: host::read(&context.root, "proc/sys/kernel/osrelease").ok(),
        unit,
        magazine: bencher.magazine,
        host_options: bencher.host_options,
        rows: bencher.rows,
        missing,
        differences: DIFFERENCES,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn sample() -> SlabReport {
        let measured = |numbers: [u64; 2]| SlabMeasured {
            operations: 1,
            tsc_khz: 1_000_000,
            host_options: HostOptions::default(),
            magazine: 30,
            shadow: vec![numbers[0], numbers[0] + 2, numbers[0] + 9],
            host: vec![numbers[1] + 5, numbers[1], numbers[1] + 1],
        };
        let row = |(name, per, shape, ..): (&'static str, &'static str, Shape, u32, u32)| {
            SlabReport::row(
                name,
                per,
                shape,
                Unit::Instructions,
                RatioOf::Min,
                &measured([40, 200]),
            )
            .unwrap()
        };
        SlabReport {
            accelerator: "icount".to_owned(),
            kernel: Some("7.3.4+deb13-cloud-amd64".to_owned()),
            unit: Unit::Instructions,
            magazine: 30,
            host_options: HostOptions::default(),
            rows: ROWS.into_iter().chain(LEFT).map(row).collect(),
            missing: vec![Missing {
                shape: SAME_NODE[0].0,
                why: NO_SAME.into(),
            }],
            differences: DIFFERENCES,
        }
    }

    #[test]
    fn it_fits_and_its_keys_stay() {
        let report = sample();
        testing::fits(&report);
        testing::keys(
            &report,
            "accelerator differences host_options host_options.debug_pagealloc \
             host_options.init_on_alloc host_options.init_on_free host_options.page_poison kernel \
             magazine missing missing[].shape missing[].why rows rows[].bench rows[].blocks \
             rows[].host rows[].host.median rows[].host.min rows[].per rows[].ratio \
             rows[].ratio_of rows[].shadow rows[].shadow.median rows[].shadow.min rows[].shape rows[].unit unit",
        );
    }

    #[test]
    fn pages_are_no_instructions() {
        let report = sample();
        let units: Vec<_> = report.rows.iter().map(|row| row.unit).collect();
        assert_eq!(units[0], Unit::Instructions);
        assert_eq!(units[units.len() - 1], Unit::Pages);
        let row = &report.rows[0];
        assert_eq!((row.bench, row.ratio, row.blocks), ("slab", 0.2, 3));
        assert_eq!((row.shadow.min, row.shadow.median), (40.0, 42.0));
        assert_eq!((row.host.min, row.host.median), (200.0, 201.0));
    }
}
