// SPDX-License-Identifier: GPL-2.0

//! The table of geometries: the kernel is asked for caches of every size,
//! alignment and kind, and each is compared with what core computes.

use super::around::Host;
use super::cases;
use super::cases::Case;
use super::sysfs;
use super::sysfs::SlabInfo;
use crate::args::Cli;
use crate::args::Slab;
use crate::output;
use crate::random::Random;
use crate::told;
use crate::Result;
use serde::Serialize;
use shadowmm_client::Asked;
use shadowmm_client::Device;
use shadowmm_client::HostAnswer;
use shadowmm_core::slab::boot_geometry;
use shadowmm_core::slab::geometry;
use shadowmm_core::slab::kmalloc_args;
use shadowmm_core::slab::Geometry;
use shadowmm_core::slab::KmallocIndex;
use shadowmm_core::slab::KmallocName;
use shadowmm_core::slab::KmallocType;
use shadowmm_core::slab::SlabFlags;
use shadowmm_core::slab::Surroundings;
use std::io;
use std::io::Write;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Instant;

/// Caches that are asked for at once.
const BATCH: usize = 64;

/// What is compared: all sizes with all alignments of all kinds, or some of it.
struct Table {
    sizes: Vec<u32>,
    aligns: Vec<u32>,
    cases: Vec<Case>,
    /// Which entries, in which order.
    chosen: Vec<usize>,
}

/// One entry of the table.
struct Entry<'t> {
    case: &'t Case,
    size: u32,
    align: u32,
    name: String,
}

impl Table {
    fn new(args: &Slab) -> Result<Self> {
        let names: Vec<&str> = match (&args.flags[..], args.seed) {
            ([], None) => cases::ALL.to_vec(),
            ([], Some(_)) => cases::ALL.iter().chain(cases::MORE).copied().collect(),
            (given, _) => given.iter().map(String::as_str).collect(),
        };
        let mut table = Self {
            sizes: args.sizes.0.clone(),
            aligns: args.aligns.clone(),
            cases: names.into_iter().map(Case::new).collect::<Result<_>>()?,
            chosen: Vec::new(),
        };
        let all = table.sizes.len() * table.aligns.len() * table.cases.len();
        table.chosen = (args.from.min(all)..all).collect();
        if table.chosen.is_empty() {
            return Err(format!(
                "the table has {all} entries: from {} on there is none to compare",
                args.from
            ));
        }
        let limit = args.limit.map_or(all, |limit| limit as usize);
        let count = limit.min(table.chosen.len());
        if let Some(seed) = args.seed {
            let mut random = Random::new(seed);
            for i in 0..count {
                let other = random.within(i, table.chosen.len() - 1);
                table.chosen.swap(i, other);
            }
        }
        table.chosen.truncate(count);
        Ok(table)
    }

    fn entry(&self, number: usize) -> Entry<'_> {
        let (rest, align) = (number / self.aligns.len(), number % self.aligns.len());
        let (case, size) = (rest / self.sizes.len(), rest % self.sizes.len());
        let (case, size, align) = (&self.cases[case], self.sizes[size], self.aligns[align]);
        Entry {
            name: format!("diff-{}-{size}-{align}", case.name),
            case,
            size,
            align,
        }
    }
}

/// Where the kernel and core differ.
#[derive(Debug, Serialize)]
struct Difference {
    case: String,
    size: u32,
    align: u32,
    what: String,
    kernel: String,
    core: String,
}

/// What came out.
#[derive(Debug, Default, Serialize)]
struct Report {
    equal: usize,
    /// Requests that both have refused.
    refused: usize,
    /// Requests that core refuses and the kernel would have stumbled over.
    not_asked: usize,
    /// Numbers of sysfs and slabinfo that were compared besides.
    shown: usize,
    cpus: u32,
    seconds: f64,
    difference: Option<Difference>,
}

/// Runs the test; whether nothing differed.
pub fn run(cli: &Cli, args: &Slab) -> Result<bool> {
    let host = Host::new()?;
    let around = host.surroundings()?;
    let table = Table::new(args)?;
    let began = Instant::now();
    let work = Work {
        table: &table,
        around: &around,
        shown: args.sysfs,
        next: AtomicUsize::new(0),
        over: AtomicBool::new(false),
    };
    let mut report = thread::scope(|scope| {
        let helpers: Vec<_> = (0..args.threads)
            .map(|_| scope.spawn(|| work.go(&Device::open(&cli.device).map_err(told)?)))
            .collect();
        let mut report = Report::default();
        for helper in helpers {
            let part = helper
                .join()
                .map_err(|_| "a thread has ended".to_owned())??;
            report.equal += part.equal;
            report.refused += part.refused;
            report.not_asked += part.not_asked;
            report.shown += part.shown;
            report.difference = report.difference.or(part.difference);
        }
        Ok::<_, String>(report)
    })?;
    if args.sysfs && report.difference.is_none() {
        report.difference = kmalloc_caches(&around, &mut report.shown)?;
    }
    report.cpus = around.nr_cpus;
    report.seconds = began.elapsed().as_secs_f64();
    output::show(cli, &report, |out| print(out, &report, &table))?;
    Ok(report.difference.is_none())
}

/// The kernel's own caches for kmalloc, which
/// nobody has to create.
fn kmalloc_caches(around: &Surroundings<'_>, shown: &mut usize) -> Result<Option<Difference>> {
    let info = SlabInfo::read()?;
    for row in KmallocType::ALL {
        for index in KmallocIndex::all().filter(|_| row.exists(around)) {
            let name = KmallocName(row, index).to_string();
            let args = kmalloc_args(&name, row, index, around);
            let ours = boot_geometry(&args, around).map_err(|error| error.to_string())?;
            match sysfs::compare(&args, &ours, &info)? {
                Ok(count) => *shown += count,
                Err(what) => {
                    return Ok(Some(Difference {
                        case: name,
                        size: index.size(),
                        align: ours.align,
                        what,
                        kernel: "see sysfs".to_owned(),
                        core: format!("{ours:?}"),
                    }))
                }
            }
        }
    }
    Ok(None)
}

/// What the threads share.
struct Work<'w> {
    table: &'w Table,
    around: &'w Surroundings<'w>,
    shown: bool,
    next: AtomicUsize,
    over: AtomicBool,
}

impl Work<'_> {
    /// One batch after the other, until the table or its patience ends.
    fn go(&self, device: &Device) -> Result<Report> {
        let mut report = Report::default();
        while !self.over.load(Relaxed) {
            let from = self.next.fetch_add(BATCH, Relaxed);
            let chosen = &self.table.chosen;
            let Some(batch) = chosen.get(from..chosen.len().min(from + BATCH)) else {
                break;
            };
            if batch.is_empty() {
                break;
            }
            let entries: Vec<_> = batch.iter().map(|&n| self.table.entry(n)).collect();
            if let Some(difference) = self.batch(device, &entries, &mut report)? {
                self.over.store(true, Relaxed);
                report.difference = Some(difference);
            }
        }
        Ok(report)
    }

    fn batch(
        &self,
        device: &Device,
        entries: &[Entry<'_>],
        report: &mut Report,
    ) -> Result<Option<Difference>> {
        let args: Vec<_> = entries
            .iter()
            .map(|entry| entry.case.args(&entry.name, entry.size, entry.align))
            .collect();
        let what = match self.shown {
            true => Asked::Keep,
            false => Asked::Measure,
        };
        let answers = device.host_caches(&args, what).map_err(told)?;
        let info = match self.shown {
            true => Some(SlabInfo::read()?),
            false => None,
        };
        for ((entry, args), answer) in entries.iter().zip(&args).zip(answers) {
            let ours = geometry(args, self.around);
            let difference = |what: String, kernel: String, core: String| Difference {
                case: entry.case.name.clone(),
                size: entry.size,
                align: entry.align,
                what,
                kernel,
                core,
            };
            let core = match &ours {
                Ok(geometry) => format!("{geometry:?}"),
                Err(error) => format!("refuses: {error}"),
            };
            match (answer, ours) {
                (HostAnswer::Cache(kernel), Ok(ours)) => {
                    if let Some(what) = first_difference(&kernel, &ours) {
                        let kernel = format!("{kernel:?}");
                        return Ok(Some(difference(what.to_owned(), kernel, core)));
                    }
                    if let Some(info) = &info {
                        match sysfs::compare(args, &ours, info)? {
                            Ok(count) => report.shown += count,
                            Err(what) => {
                                let kernel = format!("{kernel:?}");
                                return Ok(Some(difference(what, kernel, core)));
                            }
                        }
                    }
                    report.equal += 1;
                }
                (HostAnswer::Refused, Err(_)) => report.refused += 1,
                (HostAnswer::NotAsked, Err(_)) => report.not_asked += 1,
                (answer, _) => {
                    let kernel = format!("{answer:?}");
                    let what = "whether there is a cache".to_owned();
                    return Ok(Some(difference(what, kernel, core)));
                }
            }
        }
        if self.shown {
            device.drop_host_caches().map_err(told)?;
        }
        Ok(None)
    }
}

/// The first field in which the two differ.
fn first_difference(kernel: &Geometry, ours: &Geometry) -> Option<&'static str> {
    // How a freelist is exchanged is the kernel's own affair.
    let flags = |of: &Geometry| of.flags.without(SlabFlags::CMPXCHG_DOUBLE);
    // Where slab_debug=O has taken the red zones back, the kernel's pad stays as
    // it was; nothing reads it then.
    let pad = |of: &Geometry| match of.flags.has(SlabFlags::RED_ZONE) {
        true => of.red_left_pad,
        false => 0,
    };
    let fields = [
        ("object_size", kernel.object_size == ours.object_size),
        ("size", kernel.size == ours.size),
        ("order", kernel.order == ours.order),
        ("objects per slab", kernel.objects == ours.objects),
        ("align", kernel.align == ours.align),
        ("min_partial", kernel.min_partial == ours.min_partial),
        ("inuse", kernel.inuse == ours.inuse),
        ("offset", kernel.offset == ours.offset),
        ("red_left_pad", pad(kernel) == pad(ours)),
        ("least order", kernel.min_order == ours.min_order),
        (
            "objects of the least order",
            kernel.min_objects == ours.min_objects,
        ),
        (
            "sheaf_capacity",
            kernel.sheaf_capacity == ours.sheaf_capacity,
        ),
        ("flags", flags(kernel) == flags(ours)),
    ];
    let differs = fields.into_iter().find(|(_, same)| !same);
    differs.map(|(name, _)| name)
}

fn print(out: &mut dyn Write, report: &Report, table: &Table) -> io::Result<()> {
    writeln!(
        out,
        "{} sizes x {} alignments x {} kinds, {} of them, sized for {} CPU(s); {:.1} s",
        table.sizes.len(),
        table.aligns.len(),
        table.cases.len(),
        table.chosen.len(),
        report.cpus,
        report.seconds
    )?;
    writeln!(
        out,
        "{} requests that both have refused, {} that the kernel was not asked for; {} numbers of sysfs and slabinfo besides",
        report.refused, report.not_asked, report.shown
    )?;
    let Some(first) = &report.difference else {
        writeln!(out, "{} caches, all equal", report.equal)?;
        return Ok(());
    };
    writeln!(out, "{} caches were equal; then:", report.equal)?;
    writeln!(
        out,
        "  {}, size {}, alignment {}: {} differs",
        first.case, first.size, first.align, first.what
    )?;
    writeln!(out, "  the kernel: {}", first.kernel)?;
    writeln!(out, "  core:       {}", first.core)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn table(line: &str) -> Result<Table> {
        let words = ["shadowmm-diff", "slab", "--geometry"].into_iter();
        let cli = Cli::try_parse_from(words.chain(line.split_whitespace())).unwrap();
        match &cli.command {
            crate::args::Command::Slab(args) => Table::new(args),
            _ => unreachable!("it is the slab layer's"),
        }
    }

    #[test]
    fn a_table_has_something_to_compare() {
        let few = "--sizes 8,16 --aligns 8 --flags none,rcu";
        assert_eq!(table(few).unwrap().chosen, [0, 1, 2, 3]);
        assert_eq!(table(&format!("{few} --from 3")).unwrap().chosen, [3]);
        assert_eq!(table(&format!("{few} --limit 2")).unwrap().chosen, [0, 1]);
        assert!(table(&format!("{few} --from 4")).is_err());
    }
}
