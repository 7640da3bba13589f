// SPDX-License-Identifier: GPL-2.0

//! Linux's memblock and ours, side by side.
//!
//! ```text
//! generate --op--> ours ------------------ result, digest of both arrays --+
//!             \                                                            |= ?
//!              +--line--> driver (C, mm/memblock.c) -- the same, a line ---+
//! ```
//!
//! An episode starts with an empty memblock and ends with the hand-off. When
//! something differs, the operations up to there and both arrays are printed.

mod digest;
mod generate;
mod op;

use digest::Digest;
use generate::Episode;
use generate::Random;
use generate::WINDOW;
use op::Op;
use op::Outcome;
use shadowmm_core::memblock::EarlyMemory;
use shadowmm_core::memblock::MemblockRegion;
use shadowmm_core::phys::Backing;
use shadowmm_core::phys::BackingRun;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::PageBytes;
use shadowmm_core::phys::PageOrder;
use shadowmm_core::phys::Pfn;
use shadowmm_core::phys::PfnRange;
use shadowmm_core::phys::Region;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write as _;
use std::process::Child;
use std::process::ChildStdin;
use std::process::ChildStdout;
use std::process::Command;
use std::process::ExitCode;
use std::process::Stdio;

/// Operations in an episode, at most.
const EPISODE: u64 = 400;

/// Linux's side.
struct Driver {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Driver {
    fn start(path: &str) -> Self {
        let mut child = Command::new(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        Self {
            input: child.stdin.take().expect("stdin is a pipe"),
            output: BufReader::new(child.stdout.take().expect("stdout is a pipe")),
            child,
        }
    }

    /// Sends operations; answers are a line each, if none is `dump_aloud`.
    fn answers(mut self, script: &str, lines: &mut Vec<String>) {
        let mut input = self.input;
        std::thread::scope(|scope| {
            scope.spawn(move || input.write_all(script.as_bytes()));
            lines.extend(self.output.lines().map_while(Result::ok));
        });
        let status = self.child.wait().expect("the driver ends");
        if !status.success() {
            lines.push(format!("the driver ended with {status}"));
        }
    }
}

/// What ours said: the operation, and the line that Linux's side should say.
struct Step {
    op: Op,
    answer: String,
}

impl Step {
    /// Whether ours said ENOMEM, or 0 for an address.
    fn refused(&self) -> bool {
        self.answer.starts_with("v fffffffffffffff4 ") || self.answer.starts_with("v 0 ")
    }
}

fn answer(outcome: Outcome, digest: &Digest) -> String {
    match outcome {
        Outcome::Value(value) => format!("v {value:x} {:x}", digest.0),
        Outcome::Panic => format!("p 0 {:x}", digest.0),
        Outcome::Void => String::new(),
    }
}

/// Runs ours through an episode of at most `most` operations.
fn play(random: &mut Random, pages: &mut [PageBytes], most: u64) -> Vec<Step> {
    let episode = Episode::new(random);
    let mut backing = Backing::new();
    let run = BackingRun::from_pages(pages, NodeId(0));
    backing.push(run).expect("one run fits");
    let mut region = Box::new(Region::EMPTY);
    let window = PfnRange {
        start: WINDOW.start.pfn_down(),
        end: WINDOW.end.pfn_down(),
    };
    let laid = region.lay(&backing, [(NodeId(0), window)].into_iter());
    laid.expect("the window has its memory");
    let mut memory = vec![MemblockRegion::EMPTY; episode.memory_max as usize];
    let mut reserved = vec![MemblockRegion::EMPTY; episode.reserved_max as usize];
    let region = episode.backed.then_some(&mut *region);
    let mut early = EarlyMemory::new(&mut memory, &mut reserved, region);
    if episode.backed {
        early.allow_resize();
    }
    let mut digest = Digest::default();
    digest.fold_state(&early);
    let mut steps = vec![Step {
        op: episode.reset(),
        answer: answer(Outcome::Value(0), &digest),
    }];
    for _ in 0..random.below(EPISODE).min(most) {
        let op = episode.op(random, &early);
        let mut digest = Digest::default();
        let outcome = op.apply(&mut early, &mut digest);
        if let Err(error) = early.validate() {
            panic!("after {op}: {error}");
        }
        if outcome == Outcome::Void {
            return steps;
        }
        digest.fold_state(&early);
        steps.push(Step {
            op,
            answer: answer(outcome, &digest),
        });
    }
    if episode.may_hand_over(&early) {
        steps.push(hand_over(early, random));
    }
    steps
}

/// The hand-off: every block and every reserved range, in order.
fn hand_over(early: EarlyMemory<'_, '_>, random: &mut Random) -> Step {
    // Far enough to matter, near enough to be quick.
    let start = early.start_of_dram().pfn_down().0;
    let end = early.end_of_dram().pfn_up().0;
    let limit = end.min(start + (4 << 18)) + 1 - random.below(2);
    let digest = RefCell::new(Digest::default());
    let reserved = |pfns: PfnRange, nid: NodeId| {
        let nid = nid.0 as i64 as u64;
        let words = [2, pfns.start.0, pfns.end.0, nid];
        words
            .into_iter()
            .for_each(|word| digest.borrow_mut().fold(word));
    };
    let free = |pfn: Pfn, order: PageOrder| {
        digest.borrow_mut().fold_all([1, pfn.0, order.get() as u64]);
    };
    let retired = early.free_all(Pfn(limit), &mut (reserved, free));
    let mut digest = digest.into_inner();
    digest.fold_retired(&retired);
    Step {
        op: Op("free_all", vec![limit]),
        answer: answer(Outcome::Value(retired.free_pages().0), &digest),
    }
}

fn script_of(steps: &[Step]) -> String {
    steps.iter().fold(String::new(), |mut script, step| {
        writeln!(script, "{}", step.op).expect("a string takes all");
        script
    })
}

/// Says what differs, with all that led there.
fn report(path: &str, steps: &[Step], theirs: &str) {
    let Some((last, before)) = steps.split_last() else {
        return;
    };
    script_of(steps)
        .lines()
        .for_each(|line| println!("#   {line}"));
    println!("# ours:  {}", last.answer);
    println!("# Linux: {theirs}");
    println!("# Linux's arrays before it:");
    let mut lines = Vec::new();
    let script = format!("{}dump_aloud\n", script_of(before));
    Driver::start(path).answers(&script, &mut lines);
    lines
        .iter()
        .skip(before.len())
        .for_each(|line| println!("#   {line}"));
}

/// What was compared so far.
#[derive(Default)]
struct Tally {
    equal: u64,
    full: u64,
    stopped: u64,
    by_name: BTreeMap<&'static str, u64>,
}

/// Lets Linux answer a number of episodes, and compares.
fn compare(path: &str, batch: &[Step], tally: &mut Tally) -> bool {
    let mut lines = Vec::new();
    Driver::start(path).answers(&script_of(batch), &mut lines);
    let mut episode = 0;
    let mut stopped = false;
    for (at, step) in batch.iter().enumerate() {
        if step.op.0 == "reset" {
            episode = at;
        }
        let theirs = lines.get(at).map_or("nothing", String::as_str);
        // With arrays that are full, Linux panics in the hand-off; ours goes on.
        if step.op.0 == "free_all" && theirs.starts_with(['p', 'b']) {
            continue;
        }
        // Where Linux stops at a BUG, ours refuses; the rest of the episode is void.
        stopped = (stopped && step.op.0 != "reset") || (theirs.starts_with('b') && step.refused());
        if stopped {
            tally.stopped += 1;
            continue;
        }
        if theirs != step.answer {
            report(path, &batch[episode..=at], theirs);
            return false;
        }
        *tally.by_name.entry(step.op.0).or_default() += 1;
        tally.full += step.answer.starts_with('p') as u64;
        tally.equal += 1;
    }
    true
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let path = args.next().expect("the driver's path comes first");
    let (mut seed, mut wanted) = (1u64, 200_000u64);
    while let Some(arg) = args.next() {
        let number = args.next().and_then(|n| n.parse().ok());
        match (arg.as_str(), number) {
            ("--seed", Some(number)) => seed = number,
            ("--steps", Some(number)) => wanted = number,
            _ => {
                eprintln!("usage: run [--seed S] [--steps N]");
                return ExitCode::from(2);
            }
        }
    }
    let mut pages = vec![PageBytes([0; 4096]); (WINDOW.size().0 >> 12) as usize];
    let mut random = Random(seed);
    let mut tally = Tally::default();
    while tally.equal < wanted {
        // Some episodes to one run of the driver.
        let mut batch = Vec::new();
        while batch.len() < 20_000 && tally.equal + (batch.len() as u64) < wanted {
            let most = wanted - tally.equal - batch.len() as u64;
            batch.extend(play(&mut random, &mut pages, most));
        }
        if !compare(&path, &batch, &mut tally) {
            println!(
                "not ok memblock differs from Linux's, seed {seed}, after {} operations",
                tally.equal
            );
            return ExitCode::FAILURE;
        }
    }
    let by_name: Vec<_> = tally
        .by_name
        .iter()
        .map(|(op, n)| format!("{op} {n}"))
        .collect();
    println!("# {}", by_name.join(", "));
    println!(
        "# refused because an array was full and could not grow: {}",
        tally.full
    );
    println!(
        "# not compared, because Linux had stopped at a BUG: {}",
        tally.stopped
    );
    println!(
        "ok memblock: {} operations equal to Linux's, with both arrays after each, seed {seed}",
        tally.equal
    );
    ExitCode::SUCCESS
}
