// SPDX-License-Identifier: GPL-2.0

//! Random workloads: the same objects from caches of the kernel and of the shadow,
//! and what both have of slabs and objects now and then.
//!
//! Phases have a cache, a way of taking (one by one, at once), a mark up to which they
//! fill, and an order of giving back; in between the process goes to another CPU, and
//! caches are shrunk.

use super::around::Host;
use super::bounds::HostState;
use super::bounds::Look;
use super::bounds::Machine;
use super::cases;
use super::cases::Case;
use super::sysfs;
use crate::args::Cli;
use crate::args::Slab;
use crate::cpus::numbers;
use crate::cpus::Cpus;
use crate::output;
use crate::random::Random;
use crate::told;
use crate::Result;
use serde::Serialize;
use shadowmm_client::Asked;
use shadowmm_client::Device;
use shadowmm_client::FailedObjects;
use shadowmm_client::HostAnswer;
use shadowmm_client::ObjectStep;
use shadowmm_client::NR_OBJECT_SLOTS;
use shadowmm_core::slab::geometry;
use shadowmm_core::slab::CacheArgs;
use shadowmm_core::slab::Geometry;
use std::fs;
use std::io;
use std::io::Write;

/// Caches that a run has; each has its own slots.
const PAIRS: u32 = 8;
/// Slots of a pair.
const SLOTS: u32 = NR_OBJECT_SLOTS / PAIRS;
/// Steps that are played at once.
const BATCH: usize = 200;
/// What all live objects of a run have at most, in bytes.
const ROOM: u32 = 48 << 20;
/// The largest bulk request.
const BULK: u32 = 256;

/// A pair of caches.
struct Pair {
    number: u32,
    name: String,
    case: String,
    geometry: Geometry,
    /// Slots that have objects, and those that have none, as far as they may be used.
    live: Vec<u32>,
    free: Vec<u32>,
    /// What the phase is about.
    phase: Phase,
    /// Whether it was shrunk last of all.
    shrunk: bool,
}

/// What is being done with a pair.
#[derive(Clone, Copy)]
struct Phase {
    fill: bool,
    steps: u32,
    bulk: bool,
    order: Order,
}

/// Which object goes back next.
#[derive(Clone, Copy)]
enum Order {
    Newest,
    Oldest,
    Any,
}

/// What was done, and what came of it.
#[derive(Debug, Default, Serialize)]
struct Report {
    seed: u64,
    cpus: usize,
    nodes: u64,
    steps: u64,
    taken: u64,
    given: u64,
    failed: u64,
    /// Of these, those that the shadow alone had no memory for.
    shadow_short: u64,
    shrunk: u64,
    moves: u64,
    looks: u64,
    /// Looks at which both sides had the same slabs and objects.
    equal_looks: u64,
    /// The same, of caches that keep nothing per CPU.
    debug_looks: u64,
    equal_debug_looks: u64,
    /// Looks at which the shadow had or has had smaller slabs than it should: what depends
    /// on their size was judged less closely.
    smaller_looks: u64,
    /// The farthest that the numbers of slabs were apart, and how many the kernel had
    /// then.
    slabs_apart: u64,
    slabs_then: u64,
    /// Slabs of all looks, on both sides.
    host_slabs: u64,
    shadow_slabs: u64,
    flaw: Option<Flaw>,
}

impl Report {
    /// Counts what could not be had. The kernel may have none; the shadow, which has less
    /// memory, none when that is at an end.
    fn note(&mut self, failed: FailedObjects) {
        self.failed += u64::from(failed.all);
        self.shadow_short += u64::from(failed.shadow_short);
        let refused = failed.shadow_refused;
        if refused != 0 && self.flaw.is_none() {
            self.flaw = Some(Flaw {
                cache: None,
                step: self.steps,
                what: format!(
                    "{refused} objects that the kernel gave the shadow refused, with memory for them"
                ),
                look: None,
            });
        }
    }

    /// Whether there was something to compare.
    fn is_about_something(&self) -> bool {
        self.looks != 0 && self.taken > self.failed
    }
}

/// What did not hold.
#[derive(Debug, Serialize)]
struct Flaw {
    /// None where it is not known which.
    cache: Option<String>,
    step: u64,
    what: String,
    look: Option<Look>,
}

/// Runs the test; whether everything held.
pub fn run(cli: &Cli, args: &Slab) -> Result<bool> {
    let host = Host::new()?;
    let around = host.surroundings()?;
    let cpus = Cpus::new()?;
    cpus.run_on(0)?;
    let nodes = fs::read_to_string("/sys/devices/system/node/has_memory");
    let nodes = nodes.map_or(1, |list| numbers(&list).len() as u64);
    let seed = args.seed.unwrap_or(1);
    let mut random = Random::new(seed);
    let names: Vec<&str> = match &args.flags[..] {
        [] => cases::ALL.to_vec(),
        given => given.iter().map(String::as_str).collect(),
    };
    let kinds: Vec<Case> = names.into_iter().map(Case::new).collect::<Result<_>>()?;
    let chosen: Vec<_> = (0..PAIRS)
        .map(|number| {
            let case = kinds[random.below(kinds.len())].clone();
            let size = args.sizes.0[random.below(args.sizes.0.len())];
            let align = args.aligns[random.below(args.aligns.len())].min(256);
            (format!("diff-pair-{number}"), case, size, align)
        })
        .collect();
    let wanted: Vec<CacheArgs<'_>> = chosen
        .iter()
        .map(|(name, case, size, align)| case.args(name, *size, *align))
        .collect();
    let device = Device::open(&cli.device).map_err(told)?;
    let answers = device.host_caches(&wanted, Asked::Pair).map_err(told)?;
    let mut pairs = Vec::new();
    for ((number, (args, answer)), (name, case, ..)) in
        (0..).zip(wanted.iter().zip(answers)).zip(&chosen)
    {
        let ours = geometry(args, &around).map_err(|error| error.to_string())?;
        if !matches!(answer, HostAnswer::Cache(_)) {
            return Err(format!("the kernel has not created {name}: {answer:?}"));
        }
        let first = number * SLOTS;
        let room = (ROOM / PAIRS / ours.size).clamp(16, SLOTS);
        pairs.push(Pair {
            number,
            name: name.clone(),
            case: format!("{} of {} bytes", case.name, ours.object_size),
            geometry: ours,
            live: Vec::new(),
            free: (first..first + room).collect(),
            phase: Phase {
                fill: true,
                steps: 0,
                bulk: false,
                order: Order::Any,
            },
            shrunk: false,
        });
    }
    let mut run = Run {
        device: &device,
        cpus: &cpus,
        machine: Machine {
            cpus: around.nr_cpus.max(cpus.count() as u32).into(),
            nodes,
        },
        random,
        pairs,
        report: Report {
            seed,
            cpus: cpus.count(),
            nodes,
            ..Report::default()
        },
    };
    run.go(args)?;
    let Run { report, .. } = run;
    device.drop_host_caches().map_err(told)?;
    if report.flaw.is_none() && !report.is_about_something() {
        return Err("no object could be had on both sides: nothing was compared".to_owned());
    }
    output::show(cli, &report, |out| print(out, &report))?;
    Ok(report.flaw.is_none())
}

/// A run, as far as it has come.
struct Run<'r> {
    device: &'r Device,
    cpus: &'r Cpus,
    machine: Machine,
    random: Random,
    pairs: Vec<Pair>,
    report: Report,
}

impl Run<'_> {
    fn go(&mut self, args: &Slab) -> Result<()> {
        let mut since_look = 0;
        while self.report.steps < args.steps && self.report.flaw.is_none() {
            if self.random.chance(10) {
                let cpu = self.random.below(self.cpus.count());
                self.cpus.run_on(cpu)?;
                self.report.moves += 1;
            }
            let count = BATCH.min((args.steps - self.report.steps) as usize);
            let steps: Vec<ObjectStep> = (0..count).map(|_| self.step()).collect();
            self.play(&steps)?;
            since_look += count as u64;
            if since_look >= args.look {
                since_look = 0;
                self.look()?;
            }
        }
        if self.report.flaw.is_none() {
            self.end()?;
        }
        Ok(())
    }

    /// All goes back, and nothing is left on either side.
    fn end(&mut self) -> Result<()> {
        let mut steps = Vec::new();
        for pair in &mut self.pairs {
            self.report.given += pair.live.len() as u64;
            pair.live.clear();
            steps.push(ObjectStep::Give {
                bulk: None,
                slot: pair.number * SLOTS,
                count: SLOTS,
            });
        }
        self.play(&steps)?;
        for pair in &mut self.pairs {
            pair.shrunk = false;
        }
        self.look()?;
        let shrink = |pair: &mut Pair| {
            pair.shrunk = true;
            ObjectStep::Shrink { pair: pair.number }
        };
        let steps: Vec<_> = self.pairs.iter_mut().map(shrink).collect();
        self.play(&steps)?;
        self.look()
    }

    fn play(&mut self, steps: &[ObjectStep]) -> Result<()> {
        self.report.steps += steps.len() as u64;
        let failed = self.device.play_objects(steps).map_err(told)?;
        self.report.note(failed);
        Ok(())
    }

    fn step(&mut self) -> ObjectStep {
        let index = self.random.below(self.pairs.len());
        let (pair, random) = (&mut self.pairs[index], &mut self.random);
        if random.below(2000) == 0 {
            self.report.shrunk += 1;
            pair.shrunk = true;
            return ObjectStep::Shrink { pair: pair.number };
        }
        pair.shrunk = false;
        if pair.phase.steps == 0 || (pair.phase.fill && pair.free.is_empty()) {
            pair.phase = Phase {
                fill: random.chance(55) && !pair.free.is_empty(),
                steps: 1 + random.below(400) as u32,
                bulk: random.chance(30),
                order: random.pick(&[Order::Newest, Order::Oldest, Order::Any]),
            };
        }
        pair.phase.steps -= 1;
        let phase = pair.phase;
        let most = if phase.bulk {
            random.within(1, BULK as usize) as u32
        } else {
            1
        };
        if phase.fill || pair.live.is_empty() {
            let (slot, count) = run_of(&mut pair.free, most, Order::Any, random);
            pair.live.extend(slot..slot + count);
            self.report.taken += u64::from(count);
            return ObjectStep::Take {
                pair: pair.number,
                slot,
                count,
                bulk: phase.bulk,
            };
        }
        let (slot, count) = run_of(&mut pair.live, most, phase.order, random);
        pair.free.extend(slot..slot + count);
        self.report.given += u64::from(count);
        ObjectStep::Give {
            bulk: phase.bulk.then_some(pair.number),
            slot,
            count,
        }
    }

    fn look(&mut self) -> Result<()> {
        for pair in &self.pairs {
            let shadow = self.device.look_at_pair(pair.number).map_err(told)?;
            let host = HostState {
                slabs: sysfs::count(&pair.name, "slabs")?,
                total: sysfs::count(&pair.name, "total_objects")?,
                objects: sysfs::count(&pair.name, "objects")?,
                partial: sysfs::count(&pair.name, "partial")?,
            };
            let look = Look { host, shadow };
            let report = &mut self.report;
            report.looks += 1;
            report.smaller_looks += u64::from(look.has_fallbacks());
            let equal = u64::from(look.is_equal());
            report.equal_looks += equal;
            if pair.geometry.sheaf_capacity == 0 {
                report.debug_looks += 1;
                report.equal_debug_looks += equal;
            }
            report.host_slabs += host.slabs;
            report.shadow_slabs += shadow.slabs;
            if look.slabs_apart() > report.slabs_apart {
                report.slabs_apart = look.slabs_apart();
                report.slabs_then = host.slabs;
            }
            if let Some(what) = look.flaw(&pair.geometry, &self.machine, pair.shrunk) {
                report.flaw = Some(Flaw {
                    cache: Some(pair.case.clone()),
                    step: report.steps,
                    what,
                    look: Some(look),
                });
                break;
            }
        }
        Ok(())
    }
}

/// Takes up to `most` slots that lie side by side from the list: the first of them,
/// and how many. The list is not empty.
fn run_of(list: &mut Vec<u32>, most: u32, order: Order, random: &mut Random) -> (u32, u32) {
    let last = list.len() - 1;
    let at = match order {
        Order::Newest => last,
        Order::Oldest => 0,
        Order::Any => random.below(list.len()),
    };
    if most == 1 {
        let slot = match order {
            Order::Oldest => list.remove(0),
            Order::Newest | Order::Any => list.swap_remove(at),
        };
        return (slot, 1);
    }
    // A run of neighbours that follow each other in the list, too.
    let slot = list[at];
    let rest = list[at..].iter().zip(slot..).take(most as usize);
    let count = rest
        .take_while(|(found, expected)| **found == *expected)
        .count();
    list.drain(at..at + count);
    (slot, count as u32)
}

fn print(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    writeln!(
        out,
        "seed {}: {} CPU(s), {} node(s), {} pairs of caches; {} moves to another CPU, {} times shrunk",
        report.seed, report.cpus, report.nodes, PAIRS, report.moves, report.shrunk
    )?;
    writeln!(
        out,
        "{} objects taken and {} given back on both sides, {} could not be had, {} of them for lack of the shadow's memory",
        report.taken, report.given, report.failed, report.shadow_short
    )?;
    writeln!(
        out,
        "{} looks, at {} of them both had the same slabs and objects ({} of {} without per-CPU caching)",
        report.looks, report.equal_looks, report.equal_debug_looks, report.debug_looks
    )?;
    if report.smaller_looks != 0 {
        writeln!(
            out,
            "{} looks were judged without the size of the shadow's slabs: some were smaller, as memory was short",
            report.smaller_looks
        )?;
    }
    writeln!(
        out,
        "slabs of all looks: the kernel {}, the shadow {}; farthest apart by {} of {}",
        report.host_slabs, report.shadow_slabs, report.slabs_apart, report.slabs_then
    )?;
    let Some(flaw) = &report.flaw else {
        writeln!(out, "{} steps, all within the bounds", report.steps)?;
        return Ok(());
    };
    let cache = flaw.cache.as_deref().unwrap_or("one of the caches");
    writeln!(out, "after {} steps, {cache}: {}", flaw.step, flaw.what)?;
    if let Some(look) = &flaw.look {
        writeln!(out, "  the kernel: {:?}", look.host)?;
        writeln!(out, "  the shadow: {:?}", look.shadow)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_shadow_alone_refuses_is_a_flaw_and_what_it_has_no_memory_for_is_none() {
        let mut report = Report {
            taken: 10,
            looks: 1,
            ..Report::default()
        };
        let failed = |all, shadow_short, shadow_refused| FailedObjects {
            all,
            shadow_short,
            shadow_refused,
        };
        report.note(failed(3, 2, 0));
        assert!(report.flaw.is_none());
        assert_eq!((report.failed, report.shadow_short), (3, 2));
        assert!(report.is_about_something());
        report.note(failed(7, 7, 0));
        // All that was asked for.
        assert!(!report.is_about_something());
        report.note(failed(1, 0, 1));
        assert!(report.flaw.is_some());
    }
}
