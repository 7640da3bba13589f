// SPDX-License-Identifier: GPL-2.0

//! The page allocator beside the running kernel's.

use crate::args::Buddy;
use crate::args::Cli;
use crate::cpus::numbers;
use crate::cpus::Cpus;
use crate::generate::Generator;
use crate::generate::AREA;
use crate::output;
use crate::quiet;
use crate::quiet::Quiet;
use crate::signals;
use crate::told;
use crate::Result;
use serde::Serialize;
use shadowmm_client::Device;
use shadowmm_client::Diff;
use shadowmm_client::DiffOptions;
use shadowmm_client::Divergence;
use shadowmm_client::Outcome;
use shadowmm_client::Side;
use shadowmm_client::Step;
use shadowmm_client::Verdict;
use std::fs;
use std::io;
use std::io::Write;

/// Steps that are played at once.
const BATCH: u64 = 1000;
/// So often somebody else may use the zone.
const DISTURBANCES: u64 = 20;
/// How many of the last steps are shown where something differs.
const SHOWN: usize = 20;

/// What was played.
#[derive(Debug, Default, Serialize)]
struct Counts {
    allocated: u64,
    refused: u64,
    freed: u64,
    bulk_pages: u64,
    bulk_freed: u64,
    split: u64,
    skipped: u64,
    /// How often somebody else used the zone, and the copies were made anew.
    disturbed: u64,
    looks: u64,
    blocks_compared: u64,
    refreshes: u64,
}

/// Where something differs.
#[derive(Debug, Serialize)]
struct First {
    #[serde(flatten)]
    divergence: Divergence,
    step: Option<Step>,
    steps_before: Vec<Step>,
    host_state: String,
    shadow_state: String,
}

/// What came out.
#[derive(Debug, Serialize)]
struct Report {
    seed: u64,
    steps: u64,
    equal_steps: u64,
    node: u32,
    zones: u32,
    pagesets: bool,
    pages: u64,
    cpus: usize,
    counts: Counts,
    divergence: Option<First>,
}

/// Runs the test; whether all steps were equal.
pub fn run(cli: &Cli, args: &Buddy) -> Result<bool> {
    let node = match args.node {
        Some(node) => node,
        None => idle_node()?,
    };
    let device = Device::open(&cli.device).map_err(told)?;
    let _quiet = Quiet::new()?;
    let cpus = Cpus::new()?;
    let options = DiffOptions {
        nid: node,
        empty: !args.as_is,
        without_pagesets: args.no_pagesets,
        seed: args.seed,
    };
    if args.no_pagesets {
        // What a CPU has kept can only be taken from it there; it all goes to
        // the zone.
        for index in 0..cpus.count() {
            cpus.run_on(index)?;
            device.diff(&options).map_err(told)?;
        }
    }
    cpus.run_on(0)?;
    let diff = device.diff(&options).map_err(told)?;
    let (zones, pages) = (diff.zones(), diff.managed());
    let mut run = Run {
        generator: Generator::new(
            args.seed,
            diff.free(),
            diff.slots(),
            diff.zones(),
            bulk_most(&fs::read_to_string("/proc/cmdline").unwrap_or_default()),
        ),
        look: args.look,
        since_look: 0,
        counts: Counts::default(),
        equal: 0,
        last: Vec::new(),
        device: &device,
        options,
        diff,
    };
    let divergence = run.go(args.steps, &cpus)?;
    let report = Report {
        seed: args.seed,
        steps: args.steps,
        equal_steps: run.equal,
        node,
        zones,
        pagesets: !args.no_pagesets,
        pages,
        cpus: cpus.count(),
        counts: run.counts,
        divergence,
    };
    output::show(cli, &report, |out| print(out, &report))?;
    Ok(report.divergence.is_none())
}

/// The highest node with memory and without CPUs.
fn idle_node() -> Result<u32> {
    let list = |what: &str| -> Result<Vec<u32>> {
        let path = format!("/sys/devices/system/node/{what}");
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        Ok(numbers(&text))
    };
    let cpus = list("has_cpu")?;
    let memory = list("has_memory")?;
    let idle = memory.into_iter().filter(|node| !cpus.contains(node));
    idle.max().ok_or_else(|| {
        "no node has memory and no CPUs: boot with one, as tests/differential/README.md says, or name another with --node"
            .to_owned()
    })
}

/// A run, as far as it has come.
struct Run<'d> {
    generator: Generator,
    look: u64,
    since_look: u64,
    counts: Counts,
    equal: u64,
    /// The steps that were played last.
    last: Vec<Step>,
    device: &'d Device,
    options: DiffOptions,
    diff: Diff<'d>,
}

impl Run<'_> {
    fn go(&mut self, steps: u64, cpus: &Cpus) -> Result<Option<First>> {
        if let Some(first) = self.play(&[Step::Look])? {
            return Ok(Some(first));
        }
        while self.equal < steps {
            if self.generator.random().chance(20) {
                let cpu = self.generator.random().below(cpus.count());
                cpus.run_on(cpu)?;
            }
            let now = (steps - self.equal).min(BATCH);
            if let Some(first) = self.batch(now)? {
                return Ok(Some(first));
            }
            if cpus.is_alone() && self.generator.random().chance(5) {
                let times = self.generator.random().pick(&[1, 1, 2, 5, 40]);
                for _ in 0..times {
                    if let Some(first) = self.refresh()? {
                        return Ok(Some(first));
                    }
                }
            }
        }
        self.play(&[Step::Look])
    }

    /// So many steps, and a look now and then.
    fn batch(&mut self, count: u64) -> Result<Option<First>> {
        let made = self.generator.batch(count as usize);
        let mut steps = Vec::with_capacity(made.len() + 16);
        for step in made {
            steps.push(step);
            self.since_look += 1;
            if self.since_look >= self.look {
                self.since_look = 0;
                steps.push(Step::Look);
            }
        }
        self.play(&steps)
    }

    /// The kernel's refresh of its statistics, which lets pagesets shrink, and
    /// the copies' part.
    fn refresh(&mut self) -> Result<Option<First>> {
        if self.generator.random().chance(50) {
            if let Some(first) = self.play(&[Step::Expire])? {
                return Ok(Some(first));
            }
        }
        quiet::refresh()?;
        self.counts.refreshes += 1;
        self.play(&[Step::Refresh, Step::Look])
    }

    fn play(&mut self, steps: &[Step]) -> Result<Option<First>> {
        signals::check()?;
        let (outcomes, divergence) = self.diff.play(steps).map_err(told)?;
        for (step, outcome) in steps.iter().zip(&outcomes) {
            self.count(step, *outcome);
        }
        self.generator.learn(steps, &outcomes);
        let played = &steps[..outcomes.len().min(steps.len())];
        self.last.extend_from_slice(played);
        let old = self.last.len().saturating_sub(SHOWN);
        self.last.drain(..old);
        let Some(divergence) = divergence else {
            return Ok(None);
        };
        if divergence.verdict == Verdict::Disturbed && self.counts.disturbed < DISTURBANCES {
            self.counts.disturbed += 1;
            self.begin_anew()?;
            return Ok(None);
        }
        Ok(Some(First {
            divergence,
            step: steps.get(outcomes.len()).copied(),
            steps_before: self.last.clone(),
            host_state: self.diff.state(Side::Host).map_err(told)?,
            shadow_state: self.diff.state(Side::Shadow).map_err(told)?,
        }))
    }

    /// New copies; nothing is held any more.
    fn begin_anew(&mut self) -> Result<()> {
        self.generator.forget();
        self.diff = self.device.diff(&self.options).map_err(told)?;
        Ok(())
    }

    fn count(&mut self, step: &Step, outcome: Outcome) {
        let counts = &mut self.counts;
        let done = match outcome {
            Outcome::Done(done) => done,
            Outcome::Nothing => 0,
            Outcome::Skipped => {
                counts.skipped += 1;
                self.equal += 1;
                return;
            }
        };
        match step {
            Step::Alloc { .. } if outcome == Outcome::Nothing => counts.refused += 1,
            Step::Alloc { .. } => counts.allocated += 1,
            Step::Free { .. } => counts.freed += 1,
            Step::Bulk { .. } => counts.bulk_pages += done,
            Step::FreeBulk { .. } => counts.bulk_freed += done,
            Step::Split { .. } => counts.split += 1,
            Step::Look => {
                counts.looks += 1;
                counts.blocks_compared += done;
                return;
            }
            Step::Unboost => {}
            Step::Expire | Step::Refresh => return,
        }
        self.equal += 1;
    }
}

fn print(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let counts = &report.counts;
    writeln!(
        out,
        "seed {}, node {}: {} zone(s), {} pages, {} CPU(s), {} pagesets",
        report.seed,
        report.node,
        report.zones,
        report.pages,
        report.cpus,
        if report.pagesets { "with" } else { "without" }
    )?;
    writeln!(
        out,
        "{} blocks allocated, {} requests refused, {} blocks freed, {} split; {} pages taken and {} given back in bulk; {} steps had nothing to do",
        counts.allocated,
        counts.refused,
        counts.freed,
        counts.split,
        counts.bulk_pages,
        counts.bulk_freed,
        counts.skipped
    )?;
    writeln!(
        out,
        "{} looks at all lists and page blocks, {} list entries compared; {} refreshes of the statistics; disturbed {} times",
        counts.looks, counts.blocks_compared, counts.refreshes, counts.disturbed
    )?;
    let Some(first) = &report.divergence else {
        writeln!(out, "{} steps, all equal", report.equal_steps)?;
        return Ok(());
    };
    writeln!(out, "{} steps were equal; then:", report.equal_steps)?;
    writeln!(
        out,
        "  {:?}: {}: the kernel has {:#x}, the shadow {:#x}",
        first.divergence.verdict,
        first.divergence.what,
        first.divergence.host,
        first.divergence.shadow
    )?;
    writeln!(out, "the steps before:")?;
    for step in &first.steps_before {
        writeln!(out, "  {step:x?}")?;
    }
    match &first.step {
        Some(step) => writeln!(out, "the step: {step:x?}")?,
        None => writeln!(out, "there was no step")?,
    }
    writeln!(out, "the kernel after it:\n{}", first.host_state)?;
    writeln!(out, "the shadow after it:\n{}", first.shadow_state)?;
    Ok(())
}

/// How many pages a kernel with such parameters gives in bulk: where it writes down who has each
/// page, one at a time (`alloc_pages_bulk_noprof` with `page_owner_inited`).
fn bulk_most(parameters: &str) -> u32 {
    match parameters
        .split_whitespace()
        .any(|one| one == "page_owner=on")
    {
        true => 1,
        false => AREA,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_notes_owners_gives_pages_one_by_one() {
        assert_eq!(bulk_most("quiet page_owner=on no5lvl\n"), 1);
        assert_eq!(bulk_most("quiet page_owner=off\n"), AREA);
        assert_eq!(bulk_most(""), AREA);
    }
}
