// SPDX-License-Identifier: GPL-2.0

//! Linux's e820 table and nodes and ours, side by side.
//!
//! ```text
//! generate --op--> ours -------------------- result, digest of the state --+
//!             \                                                            |= ?
//!              +--line--> driver (C, e820.c, numa_memblks.c) -- the same --+
//! ```
//!
//! An episode starts with an empty table. When something differs, the
//! operations up to there and Linux's table are printed.

mod digest;
mod generate;
mod op;

use digest::Digest;
use generate::Episode;
use generate::Random;
use op::Op;
use op::World;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write as _;
use std::process::Command;
use std::process::ExitCode;
use std::process::Stdio;

/// Operations in an episode, at most.
const EPISODE: u64 = 300;

/// Lets Linux's side do a script; answers are a line each, if no operation
/// speaks aloud.
fn answers(driver: &str, script: &str) -> Vec<String> {
    let mut child = Command::new(driver)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{driver}: {error}"));
    let mut input = child.stdin.take().expect("stdin is a pipe");
    let output = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
    let mut lines: Vec<String> = std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(script.as_bytes()));
        output.lines().map_while(Result::ok).collect()
    });
    let status = child.wait().expect("the driver ends");
    if !status.success() {
        lines.push(format!("the driver ended with {status}"));
    }
    lines
}

/// What ours said: the operation, and the line that Linux's side should say.
struct Step {
    op: Op,
    answer: String,
}

/// Ours, on its way through an episode.
struct Player {
    world: World,
    steps: Vec<Step>,
}

impl Player {
    /// False where ours refuses what Linux does half: the episode ends before.
    fn play(&mut self, op: Op) -> bool {
        let mut digest = Digest::default();
        let Some(value) = self.world.apply(&op, &mut digest) else {
            return false;
        };
        self.world.fold_state(&mut digest);
        let answer = format!("v {value:x} {:x}", digest.0);
        self.steps.push(Step { op, answer });
        true
    }
}

/// Runs ours through an episode of about `most` operations.
fn play(random: &mut Random, most: u64) -> Vec<Step> {
    let episode = Episode::new(random);
    let mut player = Player {
        world: World::new(),
        steps: Vec::new(),
    };
    player.play(Op("reset", vec![]));
    let length = random.pick(&[8, 40, EPISODE]);
    let length = (random.below(length) + 2).min(most);
    if !episode.numa {
        for _ in 0..length {
            let op = episode.op(random, &player.world);
            if !player.play(op) {
                break;
            }
        }
        return player.steps;
    }
    for _ in 0..length / 4 + 1 {
        let op = episode.table(random, &player.world);
        player.play(op);
    }
    player.play(Op("update", vec![]));
    let mut ranges = random.below(length / 2 + 2);
    while ranges > 0 || (episode.goes_on(&player.world) && !random.one_in(400)) {
        let op = episode.node(random, &player.world);
        player.play(op);
        ranges = ranges.saturating_sub(1);
    }
    if player.world.nodes() > 0 {
        for _ in 0..random.below(length / 4 + 2) {
            let op = episode.distance(random, &player.world);
            player.play(op);
        }
    }
    player.play(Op("distances", vec![]));
    player.play(episode.end(random));
    player.steps
}

fn script_of(steps: &[Step]) -> String {
    steps.iter().fold(String::new(), |mut script, step| {
        writeln!(script, "{}", step.op).expect("a string takes all");
        script
    })
}

/// Says what differs, with all that led there.
fn report(driver: &str, steps: &[Step], theirs: &str) {
    let Some((last, before)) = steps.split_last() else {
        return;
    };
    for line in script_of(steps).lines() {
        println!("#   {line}");
    }
    println!("# ours:  {}", last.answer);
    println!("# Linux: {theirs}");
    println!("# Linux's table before it:");
    let lines = answers(driver, &format!("{}print_aloud\n", script_of(before)));
    for line in lines.iter().skip(before.len()) {
        println!("#   {line}");
    }
}

/// What was compared so far.
#[derive(Default)]
struct Tally {
    equal: u64,
    by_name: BTreeMap<String, u64>,
}

/// Lets Linux answer a number of episodes, and compares.
fn compare(driver: &str, batch: &[Step], tally: &mut Tally) -> bool {
    let lines = answers(driver, &script_of(batch));
    let mut episode = 0;
    for (at, step) in batch.iter().enumerate() {
        if step.op.0 == "reset" {
            episode = at;
        }
        let theirs = lines.get(at).map_or("nothing", String::as_str);
        if theirs != step.answer {
            report(driver, &batch[episode..=at], theirs);
            return false;
        }
        // How each way to the nodes was met, too.
        let mut name = step.op.0.to_string();
        if name == "resolve" {
            let value = step.answer.split(' ').nth(1).unwrap_or("");
            name = match value {
                "1" => "resolve to the SRAT",
                "2" => "resolve without SRAT",
                "3" => "resolve to one node",
                "4" => "resolve without RAM",
                _ => "resolve with overlap",
            }
            .to_string();
        }
        *tally.by_name.entry(name).or_default() += 1;
        tally.equal += 1;
    }
    true
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let driver = args.next().expect("the driver's path comes first");
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
    let mut random = Random(seed);
    let mut tally = Tally::default();
    while tally.equal < wanted {
        // Some episodes to one run of the driver.
        let mut batch = Vec::new();
        while batch.len() < 20_000 && tally.equal + (batch.len() as u64) < wanted {
            let most = wanted - tally.equal - batch.len() as u64;
            batch.extend(play(&mut random, most));
        }
        if !compare(&driver, &batch, &mut tally) {
            println!(
                "not ok e820 differs from Linux's, seed {seed}, after {} operations",
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
        "ok e820: {} operations equal to Linux's, with the table and the nodes after each, seed {seed}",
        tally.equal
    );
    ExitCode::SUCCESS
}
