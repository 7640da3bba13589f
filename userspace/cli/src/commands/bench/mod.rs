// SPDX-License-Identifier: GPL-2.0

//! `shadowmm bench page`: what the shadow's page allocator costs beside the
//! host's, in the same boot, by the same loops.

mod mm;
mod slab;
mod together;

pub use mm::mm;
pub use slab::slab;

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
use shadowmm_client::Bench;
use shadowmm_client::BenchShape;
use shadowmm_client::BenchSides;
use shadowmm_client::HostOptions;
use shadowmm_client::Measured;
use std::borrow::Cow;

/// What the time-stamp counter counts here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Unit {
    /// Under `-icount`.
    Instructions,
    /// On a processor.
    Ns,
    /// Not of time: memory.
    Pages,
}

impl Unit {
    /// What it is under this accelerator; `None` where the counter tells nothing.
    fn of(accelerator: &str) -> Option<Self> {
        match accelerator {
            "icount" => Some(Self::Instructions),
            "tcg" => None,
            _ => Some(Self::Ns),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Instructions => "instructions",
            Self::Ns => "nanoseconds",
            Self::Pages => "pages",
        }
    }

    /// What makes units of the counter's ticks.
    fn scale(self, tsc_khz: u32) -> f64 {
        match self {
            Self::Instructions | Self::Pages => 1.0,
            Self::Ns => 1e6 / f64::from(tsc_khz.max(1)),
        }
    }
}

/// What one operation took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Cost {
    /// In the smallest block.
    min: f64,
    /// In the block in the middle.
    median: f64,
}

impl Cost {
    /// Of blocks; of an even number the middle is between the two in the middle.
    fn of(blocks: &[u64]) -> Option<Self> {
        let mut blocks = blocks.to_vec();
        blocks.sort_unstable();
        let above = *blocks.get(blocks.len() / 2)? as f64;
        let below = *blocks.get((blocks.len() - 1) / 2)? as f64;
        Some(Self {
            min: *blocks.first()? as f64,
            median: (below + above) / 2.0,
        })
    }

    /// What is shown of it where each block had `operations`; `scale` makes units of ticks.
    fn each(self, operations: u32, scale: f64) -> Self {
        let each = |ticks: f64| {
            let cost = ticks * scale / f64::from(operations.max(1));
            (cost * 100.0).round() / 100.0
        };
        Self {
            min: each(self.min),
            median: each(self.median),
        }
    }

    fn get(self, which: RatioOf) -> f64 {
        match which {
            RatioOf::Min => self.min,
            RatioOf::Median => self.median,
        }
    }
}

/// Which blocks the ratio is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum RatioOf {
    /// The smallest: what disturbs only adds.
    Min,
    /// Those in the middle: where CPUs work at once, the smallest are those of a CPU that has
    /// begun before the others, or goes on after them.
    Median,
}

/// How often what takes so many blocks is done with `--quick`, or without it.
fn few(blocks: u32, quick: bool) -> u32 {
    match quick {
        true => (blocks / 20).max(5).min(blocks),
        false => blocks,
    }
}

/// A shape, measured on both sides.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Row {
    bench: &'static str,
    shape: &'static str,
    /// What an operation is: a pair or a page.
    per: &'static str,
    unit: Unit,
    /// Those of the shadow that were measured.
    blocks: u32,
    shadow: Cost,
    host: Cost,
    /// Shadow to host.
    ratio: f64,
    ratio_of: RatioOf,
}

/// What a row is about.
#[derive(Clone, Copy)]
struct Subject {
    bench: &'static str,
    shape: &'static str,
    per: &'static str,
    unit: Unit,
    ratio_of: RatioOf,
}

/// What was measured of it: ticks of blocks.
struct Ticks<'a> {
    shadow: &'a [u64],
    host: &'a [u64],
    operations: u32,
    tsc_khz: u32,
}

impl Row {
    /// The row.
    ///
    /// # Errors
    ///
    /// Where a side has no block.
    fn of(subject: Subject, ticks: &Ticks<'_>) -> Result<Self> {
        let Subject {
            bench,
            shape,
            per,
            unit,
            ratio_of,
        } = subject;
        let (Some(shadow), Some(host)) = (Cost::of(ticks.shadow), Cost::of(ticks.host)) else {
            return Err(Error::failed(format!("nothing was measured of: {shape}")));
        };
        let scale = unit.scale(ticks.tsc_khz);
        let ratio = shadow.get(ratio_of) / host.get(ratio_of);
        Ok(Self {
            bench,
            shape,
            per,
            unit,
            blocks: ticks.shadow.len() as u32,
            shadow: shadow.each(ticks.operations, scale),
            host: host.each(ticks.operations, scale),
            ratio: (ratio * 10_000.0).round() / 10_000.0,
            ratio_of,
        })
    }
}

/// What can't be measured here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Missing {
    shape: &'static str,
    why: Cow<'static, str>,
}

/// The measurements.
#[derive(Debug, Serialize)]
struct BenchReport {
    accelerator: String,
    kernel: Option<String>,
    unit: Unit,
    pagesets: bool,
    host_options: HostOptions,
    rows: Vec<Row>,
    missing: Vec<Missing>,
    differences: &'static [&'static str],
}

/// What the host's path does that the shadow's does not.
const DIFFERENCES: &[&str] = &[
    "It prepares every page of a block that is freed: it clears flags in each descriptor, 512 of \
     them at order 9. The shadow keeps what there is to know in the first descriptor.",
    "It looks in the first descriptor for what the last user may have left, and clears it: \
     mlocked, poisoned, mapping, page type, private data, the last CPU.",
    "It looks whether the page is charged to a memory cgroup. It would charge it with \
     __GFP_ACCOUNT, for which these requests do not ask.",
    "It looks at the task's memory policy, its cpuset and its allocation flags (PF_MEMALLOC and \
     the like).",
    "It takes a lock for the CPU's pageset, because other CPUs may drain it; the shadow's drain \
     waits until the CPU has left it.",
    "It carries static keys for checks of pages, page_owner, page_table_check, poisoning and \
     fault injection: off, they cost a nop or nothing.",
    "It zeroes pages where init_on_alloc or init_on_free is on. The shadow zeroes for __GFP_ZERO.",
    "It is called; the shadow is inlined where that is of use. In the row 'by call' the shadow is \
     called, too.",
];

const PAIRS: u32 = 2000;
const PAGES: u32 = 200;
const MANY: u32 = 40;

/// The rows: name, what an operation is, what is done, in how many blocks, and
/// whether memory is in fragments meanwhile.
const ROWS: [(&str, &str, BenchShape, u32, bool); 17] = [
    (
        "hot pair, order 0",
        "pair",
        BenchShape::Pair(0),
        PAIRS,
        false,
    ),
    (
        "hot pair, order 0, by call",
        "pair",
        BenchShape::CalledPair(0),
        PAIRS,
        false,
    ),
    (
        "hot pair, order 3",
        "pair",
        BenchShape::Pair(3),
        PAIRS,
        false,
    ),
    (
        "hot pair, order 4",
        "pair",
        BenchShape::Pair(4),
        PAIRS,
        false,
    ),
    (
        "hot pair, order 9",
        "pair",
        BenchShape::Pair(9),
        PAIRS,
        false,
    ),
    ("alloc 1,024", "page", BenchShape::Alloc, PAGES, false),
    (
        "free 1,024 in order",
        "page",
        BenchShape::FreeInOrder,
        PAGES,
        false,
    ),
    (
        "free 1,024 reversed",
        "page",
        BenchShape::FreeReversed,
        PAGES,
        false,
    ),
    (
        "free 1,024 random",
        "page",
        BenchShape::FreeRandom,
        PAGES,
        false,
    ),
    (
        "alloc 1,024 in one call",
        "page",
        BenchShape::AllocBulk,
        PAGES,
        false,
    ),
    (
        "free 1,024 in one call",
        "page",
        BenchShape::FreeBulk,
        PAGES,
        false,
    ),
    (
        "refill: alloc 4,096 after a drain",
        "page",
        BenchShape::Refill,
        MANY,
        false,
    ),
    (
        "return: free 4,096",
        "page",
        BenchShape::Return,
        MANY,
        false,
    ),
    (
        "fragmented: hot pair, order 0",
        "pair",
        BenchShape::Pair(0),
        PAIRS,
        true,
    ),
    (
        "fragmented: alloc 1,024",
        "page",
        BenchShape::Alloc,
        PAGES,
        true,
    ),
    (
        "fragmented: free 1,024 random",
        "page",
        BenchShape::FreeRandom,
        PAGES,
        true,
    ),
    ("fragmented: refill", "page", BenchShape::Refill, MANY, true),
];

impl BenchReport {
    fn row(
        shape: &'static str,
        per: &'static str,
        unit: Unit,
        ratio_of: RatioOf,
        measured: &Measured,
    ) -> Result<Row> {
        let subject = Subject {
            bench: "page",
            shape,
            per,
            unit,
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

/// What is measured, and where.
struct BenchSubject<'a> {
    what: &'a str,
    unit: Unit,
    kernel: Option<&'a str>,
    accelerator: &'a str,
    /// How the shadow is set.
    shadow: &'a str,
    host_options: &'a HostOptions,
}

impl BenchSubject<'_> {
    fn print(&self, screen: &mut Screen) {
        screen.heading(&format!(
            "The {} of shadow and host, in {}",
            self.what,
            self.unit.name()
        ));
        screen.para(&format!(
            "{}, accelerator {}; the shadow {}; the host {}.",
            self.kernel.unwrap_or("an unknown kernel"),
            self.accelerator,
            self.shadow,
            options(self.host_options)
        ));
        screen.blank();
    }
}

/// The table of what operations cost, and how it came.
fn costs<'a>(screen: &mut Screen, rows: impl IntoIterator<Item = &'a Row>) {
    let mut at_once = false;
    let mut table = Table::new([
        Column::text("shape"),
        Column::text("per"),
        Column::number("shadow"),
        Column::number("median"),
        Column::number("host"),
        Column::number("median"),
        Column::number("ratio"),
    ])
    .tight();
    for row in rows {
        at_once |= row.ratio_of == RatioOf::Median;
        let min = |cost: Cost| match row.ratio_of {
            RatioOf::Min => format!("{:.1}", cost.min),
            RatioOf::Median => "-".to_owned(),
        };
        table.row([
            row.shape.to_owned(),
            row.per.to_owned(),
            min(row.shadow),
            format!("{:.1}", row.shadow.median),
            min(row.host),
            format!("{:.1}", row.host.median),
            format!("{:.1} %", row.ratio * 100.0),
        ]);
    }
    table.print(screen);
    screen.blank();
    screen.para(
        "Blocks of shadow and host in turn, on one CPU; the smallest block and the one in the \
         middle; the ratio is that of the smallest.",
    );
    if at_once {
        screen.para(
            "Where CPUs work at once, each side has its turn, and the ratio is that of the blocks \
             in the middle: the smallest are of a CPU that begins before the others, or goes on \
             after them.",
        );
    }
}

/// What the figures do not say.
fn footer(
    screen: &mut Screen,
    host_options: &HostOptions,
    differences: &[&str],
    missing: &[Missing],
) {
    if *host_options != HostOptions::default() {
        screen.warning(
            "The host does more than the shadow by its boot parameters. For the like of \
             both: init_on_alloc=0 init_on_free=0, without page_poison and debug_pagealloc.",
        );
    }
    screen.blank();
    screen.para("What the host's path does that the shadow's does not:");
    for difference in differences {
        screen.para(&format!("- {difference}"));
    }
    if !missing.is_empty() {
        screen.blank();
        screen.para("Not measured here:");
    }
    for missing in missing {
        screen.para(&format!("- {}: {}", missing.shape, missing.why));
    }
}

impl Report for BenchReport {
    fn print(&self, screen: &mut Screen) {
        BenchSubject {
            what: "page allocator",
            unit: self.unit,
            kernel: self.kernel.as_deref(),
            accelerator: &self.accelerator,
            shadow: match self.pagesets {
                true => "has pagesets on",
                false => "has pagesets off: every page comes from the zone and goes back there",
            },
            host_options: &self.host_options,
        }
        .print(screen);
        costs(screen, &self.rows);
        footer(screen, &self.host_options, self.differences, &self.missing);
    }
}

fn options(options: &HostOptions) -> String {
    let all = [
        ("init_on_alloc", options.init_on_alloc),
        ("init_on_free", options.init_on_free),
        ("page_poison", options.page_poison),
        ("debug_pagealloc", options.debug_pagealloc),
    ];
    let texts = all.map(|(name, on)| format!("{name}={}", u8::from(on)));
    texts.join(" ")
}

/// The accelerator, and what can be counted under it.
fn unit(context: &Context, bench: &str) -> Result<(String, Unit)> {
    let accelerator = host::machine::accelerator(&context.root);
    match Unit::of(&accelerator) {
        Some(unit) => Ok((accelerator, unit)),
        None => Err(Error::Failed {
            what: "under emulation time tells nothing about the code that is measured".to_owned(),
            advice: Some(format!(
                "Count instructions in its place: make guest ACCEL=icount CMD='shadowmm bench \
                 {bench}', or run it with KVM."
            )),
        }),
    }
}

/// Measures the page allocators.
pub fn page(context: &Context, args: &BenchOptions) -> Result<()> {
    let device = context.open()?;
    let (accelerator, unit) = unit(context, "page")?;
    together::stay_on(together::here(&context.root)?)?;
    let mut rows = Vec::new();
    let mut pagesets = false;
    let mut host_options = HostOptions::default();
    for (name, per, shape, blocks, fragmented) in ROWS {
        let measured = device.bench(&Bench {
            shape,
            blocks: few(blocks, args.quick),
            fragmented,
            sides: BenchSides::Both,
        })?;
        rows.push(BenchReport::row(name, per, unit, RatioOf::Min, &measured)?);
        pagesets = measured.pagesets;
        host_options = measured.host_options;
    }
    let missing = together::measure(context, &device, unit, args.quick, &mut rows)?;
    context.show(&BenchReport {
        accelerator,
        kernel: host::read(&context.root, "proc/sys/kernel/osrelease").ok(),
        unit,
        pagesets,
        host_options,
        rows,
        missing,
        differences: DIFFERENCES,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn sample() -> BenchReport {
        let measured = Measured {
            operations: 64,
            tsc_khz: 1_000_000,
            host_options: HostOptions::default(),
            pagesets: true,
            shadow: vec![64 * 60, 64 * 58, 64 * 90],
            host: vec![64 * 1000, 64 * 980, 64 * 979],
        };
        let rows = ROWS.map(|(name, per, ..)| {
            BenchReport::row(name, per, Unit::Instructions, RatioOf::Min, &measured).unwrap()
        });
        let missing = Missing {
            shape: "CPUs at once",
            why: "there is one".into(),
        };
        BenchReport {
            accelerator: "icount".to_owned(),
            kernel: Some("7.3.4+deb13-cloud-amd64".to_owned()),
            unit: Unit::Instructions,
            pagesets: true,
            host_options: HostOptions::default(),
            rows: rows.into(),
            missing: vec![missing],
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
             missing missing[].shape missing[].why pagesets rows rows[].bench rows[].blocks \
             rows[].host rows[].host.median rows[].host.min rows[].per rows[].ratio \
             rows[].ratio_of rows[].shadow rows[].shadow.median rows[].shadow.min rows[].shape rows[].unit unit",
        );
    }

    #[test]
    fn a_row_has_the_smallest_block_the_middle_one_and_the_ratio() {
        let report = sample();
        let row = &report.rows[0];
        assert_eq!(
            row.shadow,
            Cost {
                min: 58.0,
                median: 60.0
            }
        );
        assert_eq!(
            row.host,
            Cost {
                min: 979.0,
                median: 980.0
            }
        );
        assert_eq!(row.ratio, 0.0592);
        assert_eq!(row.blocks, 3);
    }

    fn row_of(ratio_of: RatioOf, shadow: &[u64], host: &[u64]) -> Result<Row> {
        let subject = Subject {
            bench: "page",
            shape: "a shape",
            per: "pair",
            unit: Unit::Ns,
            ratio_of,
        };
        let ticks = Ticks {
            shadow,
            host,
            operations: 64,
            tsc_khz: 2_000_000,
        };
        Row::of(subject, &ticks)
    }

    #[test]
    fn ticks_become_nanoseconds_by_the_counters_rate() {
        let row = row_of(RatioOf::Min, &[6400], &[6400]).unwrap();
        let cost = Cost {
            min: 50.0,
            median: 50.0,
        };
        assert_eq!((row.shadow, row.host), (cost, cost));
        assert!(row_of(RatioOf::Min, &[], &[1]).is_err());
        assert!(row_of(RatioOf::Min, &[1], &[]).is_err());
    }

    #[test]
    fn the_middle_of_an_even_number_is_between_the_two_in_the_middle() {
        let median = |blocks: &[u64]| Cost::of(blocks).map(|cost| cost.median);
        assert_eq!(median(&[9, 1, 3, 5]), Some(4.0));
        assert_eq!(median(&[2, 1]), Some(1.5));
        assert_eq!(median(&[9, 1, 3]), Some(3.0));
        assert_eq!(median(&[7]), Some(7.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn the_ratio_is_that_of_the_ticks_and_not_of_what_is_shown() {
        // 0.01 ns each is shown of both.
        let row = row_of(RatioOf::Min, &[1], &[2]).unwrap();
        assert_eq!((row.shadow.min, row.host.min), (0.01, 0.02));
        let row = row_of(RatioOf::Min, &[100], &[301]).unwrap();
        assert_eq!(row.ratio, 0.3322);
    }

    #[test]
    fn where_cpus_work_at_once_the_blocks_in_the_middle_count() {
        // The first and the last of a CPU are measured while the others do nothing.
        let (shadow, host) = ([10, 400, 400, 400, 11], [100, 800, 800, 800, 101]);
        let alone = row_of(RatioOf::Min, &shadow, &host).unwrap();
        let at_once = row_of(RatioOf::Median, &shadow, &host).unwrap();
        assert_eq!((alone.ratio, at_once.ratio), (0.1, 0.5));
        let report = BenchReport {
            rows: vec![at_once],
            ..sample()
        };
        testing::fits(&report);
        let text = testing::text(&report, 1000);
        assert!(
            text.contains("50.0 %") && text.contains("Where CPUs work at once"),
            "{text}"
        );
        assert!(!testing::text(&sample(), 1000).contains("Where CPUs work at once"));
    }

    #[test]
    fn quick_is_a_twentieth_but_has_a_middle() {
        assert_eq!(few(2000, true), 100);
        assert_eq!(few(20, true), 5);
        assert_eq!(few(4, true), 4);
        assert_eq!(few(20, false), 20);
    }

    #[test]
    fn emulated_time_is_no_unit() {
        assert_eq!(Unit::of("tcg"), None);
        assert_eq!(Unit::of("icount"), Some(Unit::Instructions));
        assert_eq!(Unit::of("kvm"), Some(Unit::Ns));
        assert_eq!(Unit::of("none"), Some(Unit::Ns));
    }
}
