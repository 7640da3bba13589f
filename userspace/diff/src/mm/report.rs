// SPDX-License-Identifier: GPL-2.0

//! What came out: how many steps were equal, or where both sides came apart, with as
//! few steps as lead there.

use super::episode::Split;
use super::episode::Stage;
use super::generate::Shape;
use super::look::Aspect;
use super::op::Op;
use super::side::Outcome;
use crate::args::Cli;
use crate::args::Mm;
use crate::output;
use crate::Result;
use nix::errno::Errno;
use serde::Deserialize;
use serde::Serialize;
use std::collections::BTreeMap;
use std::collections::HashSet;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

/// Steps that are shown.
const LAST: usize = 30;
/// Lists up to this length are shown as a whole.
const SHOWN: usize = 24;
/// Of longer ones, what is this near to a line that differs.
const NEAR: usize = 2;

/// Steps that lead to a divergence, as a file has them.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    shape: Shape,
    ops: Vec<Op>,
}

/// Where both sides came apart.
#[derive(Debug, Serialize)]
struct First {
    episode: u64,
    seed: u64,
    step: usize,
    op: String,
    host: String,
    shadow: String,
    /// What was seen to differ.
    aspects: Vec<&'static str>,
    /// The fewest steps that were found to come apart.
    steps: Vec<String>,
    text: String,
}

/// How often a kind of step was taken.
#[derive(Debug, Default, Serialize)]
struct Calls {
    made: u64,
    /// Of these, with an error, or a signal.
    refused: u64,
}

/// What came out.
#[derive(Debug, Serialize)]
pub struct Report {
    seed: u64,
    steps: u64,
    equal_steps: u64,
    episodes: u64,
    /// How often each step was taken, and how often it was refused.
    calls: BTreeMap<String, Calls>,
    /// How often each aspect was compared.
    looks: BTreeMap<&'static str, u64>,
    divergence: Option<First>,
    #[serde(skip)]
    saved: Option<Saved>,
    #[serde(skip)]
    budget: Duration,
}

/// Steps that were saved.
pub fn load(path: &Path) -> Result<(Shape, Vec<Op>)> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let saved: Saved = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    match saved.ops.is_empty() {
        true => Err(format!("{}: there is no step to play", path.display())),
        false => Ok((saved.shape, saved.ops)),
    }
}

impl Report {
    /// Nothing was played.
    pub fn new(args: &Mm) -> Self {
        Self {
            seed: args.seed,
            steps: 0,
            equal_steps: 0,
            episodes: 0,
            calls: BTreeMap::new(),
            looks: BTreeMap::new(),
            divergence: None,
            saved: None,
            budget: Duration::from_secs(args.shrink),
        }
    }

    /// Whether nothing differed.
    pub fn is_equal(&self) -> bool {
        self.divergence.is_none()
    }

    /// Plays an episode.
    pub fn play(
        &mut self,
        stage: &Stage<'_>,
        seed: u64,
        shape: &Shape,
        ops: Vec<Op>,
    ) -> Result<()> {
        self.episodes += 1;
        self.steps += ops.len() as u64;
        let played = stage.play(shape, &ops, None)?;
        for (op, refused) in ops.iter().zip(&played.refused) {
            let name = op.to_string();
            let name = name.split(['(', ' ']).next().unwrap_or_default();
            let calls = self.calls.entry(name.to_owned()).or_default();
            calls.made += 1;
            calls.refused += u64::from(*refused);
        }
        for (aspect, looks) in Aspect::ALL.into_iter().zip(played.looks) {
            *self.looks.entry(aspect.name()).or_default() += looks;
        }
        self.equal_steps += played.refused.len() as u64;
        let Some(split) = played.split else {
            return Ok(());
        };
        let first = split.at;
        let op = ops[first].to_string();
        let mut ops = ops;
        ops.truncate(first + 1);
        // A step that is left out is told by its number.
        let ops = match stage.alone {
            None => shrink(stage, shape, ops, self.budget)?,
            Some(_) => ops,
        };
        let last = ops.len() - 1;
        let again = stage.play(shape, &ops, Some(last))?;
        let is_again = again.split.is_some();
        let split = again.split.unwrap_or(split);
        let [host, shadow] = [0, 1].map(|side| answer(&split, side));
        let mut text = describe(&split, &again.texts);
        if !is_again {
            text.push_str("It did not happen again with the same steps.\n");
        }
        self.divergence = Some(First {
            episode: self.episodes,
            seed,
            step: first,
            op,
            host,
            shadow,
            aspects: aspects(&split),
            steps: ops.iter().map(Op::to_string).collect(),
            text,
        });
        self.saved = Some(Saved { shape: *shape, ops });
        Ok(())
    }

    /// Prints it, and saves the steps where that is asked for.
    pub fn print(&self, cli: &Cli, args: &Mm) -> Result<()> {
        if let (Some(path), Some(saved)) = (&args.save, &self.saved) {
            let text = serde_json::to_string_pretty(saved).map_err(|error| error.to_string())?;
            fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        output::show(cli, self, |out| self.write(out))
    }

    fn write(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let Some(first) = &self.divergence else {
            writeln!(
                out,
                "{} steps in {} episodes, all equal",
                self.equal_steps, self.episodes
            )?;
            let counted = |(name, Calls { made, refused }): (&String, &Calls)| {
                format!("{name} {made} ({refused} refused)")
            };
            let calls: Vec<String> = self.calls.iter().map(counted).collect();
            writeln!(out, "{}", calls.join(", "))?;
            let looks = self
                .looks
                .iter()
                .map(|(name, count)| format!("{name} {count} times"));
            return writeln!(out, "compared: {}", looks.collect::<Vec<_>>().join(", "));
        };
        writeln!(out, "{} steps were equal", self.equal_steps)?;
        writeln!(
            out,
            "episode {}, step {}: {} differs: {}",
            first.episode,
            first.step,
            first.op,
            first.aspects.join(", ")
        )?;
        writeln!(out, "the fewest steps that were found:")?;
        let left_out = first.steps.len().saturating_sub(LAST);
        if left_out > 0 {
            writeln!(out, "    ... {left_out} steps (--save has all of them)")?;
        }
        for step in &first.steps[left_out..] {
            writeln!(out, "    {step}")?;
        }
        writeln!(out, "host:   {}", first.host)?;
        writeln!(out, "shadow: {}", first.shadow)?;
        write!(out, "{}", first.text)
    }
}

/// Leaves out as many steps as can be left out.
fn shrink(stage: &Stage<'_>, shape: &Shape, ops: Vec<Op>, budget: Duration) -> Result<Vec<Op>> {
    let begin = Instant::now();
    // Whatever differs is seen at once.
    let close = Stage { look: 1, ..*stage };
    let mut ops = ops;
    if let Some(split) = close.play(shape, &ops, None)?.split {
        ops.truncate(split.at + 1);
    }
    let mut part = ops.len() / 2;
    while part > 0 {
        let mut at = 0;
        while at < ops.len() && begin.elapsed() < budget {
            let mut fewer = ops.clone();
            fewer.drain(at..(at + part).min(ops.len()));
            if fewer.is_empty() {
                break;
            }
            match stage.play(shape, &fewer, None)?.split {
                Some(split) => {
                    fewer.truncate(split.at + 1);
                    ops = fewer;
                }
                None => at += part,
            }
        }
        part /= 2;
    }
    Ok(ops)
}

fn aspects(split: &Split) -> Vec<&'static str> {
    let [host, shadow] = &split.records;
    let mut names = Vec::new();
    if split.ends.iter().any(Option::is_some) {
        names.push("end");
    }
    if host.outcome != shadow.outcome {
        names.push("answer");
    }
    for aspect in Aspect::ALL {
        if host.differs(shadow)[aspect as usize] {
            names.push(aspect.name());
        }
    }
    names
}

fn answer(split: &Split, side: usize) -> String {
    if let Some(end) = &split.ends[side] {
        return end.clone();
    }
    let Outcome { answer, value } = split.records[side].outcome;
    match split.records[side].outcome.signal() {
        Some((signal, code)) => format!("signal {signal}, si_code {code}, si_addr {value:#x}"),
        // What was told before it failed.
        None if answer < 0 && value != 0 => {
            format!("{}, {value:#x}", Errno::from_raw(-answer as i32))
        }
        None if answer < 0 => format!("{}", Errno::from_raw(-answer as i32)),
        None => format!("{answer:#x}, {value:#x}"),
    }
}

fn describe(split: &Split, texts: &[(Aspect, [[String; 2]; 2])]) -> String {
    let mut text = String::new();
    for (aspect, [before, after]) in texts {
        let [host, shadow] = &split.records;
        let differs = host.differs(shadow)[*aspect as usize];
        if !differs && *aspect != Aspect::Maps {
            continue;
        }
        for (when, [host, shadow]) in [("before", before), ("after", after)] {
            if host.is_empty() && shadow.is_empty() {
                continue;
            }
            // Writing to a string does not fail.
            let _ = writeln!(text, "{} {when} it:", aspect.name());
            beside(&mut text, host, shadow);
        }
        for (side, record) in [("host", host), ("shadow", shadow)] {
            if differs && record.seen[*aspect as usize] == 0 {
                let _ = writeln!(text, "the {side}'s {} could not be read", aspect.name());
            }
        }
    }
    text
}

/// Two lists: what one has alone, and what both have near that.
fn beside(text: &mut String, host: &str, shadow: &str) {
    let theirs: HashSet<&str> = shadow.lines().collect();
    let ours: HashSet<&str> = host.lines().collect();
    let mut lines: Vec<(&str, &str)> = Vec::new();
    let mut others = shadow.lines().peekable();
    for line in host.lines() {
        if theirs.contains(line) {
            while let Some(other) = others.next_if(|&other| other != line) {
                lines.push(("shadow", other));
            }
            others.next();
            lines.push(("", line));
        } else {
            lines.push(("host", line));
        }
    }
    for other in others {
        let mark = match ours.contains(other) {
            true => "",
            false => "shadow",
        };
        lines.push((mark, other));
    }
    let is_all = lines.len() <= SHOWN;
    let mut was_shown = true;
    for (index, (mark, line)) in lines.iter().enumerate() {
        let near = index.saturating_sub(NEAR)..(index + NEAR + 1).min(lines.len());
        let is_shown = is_all || lines[near].iter().any(|(mark, _)| !mark.is_empty());
        if is_shown {
            let _ = writeln!(text, "  {mark:6} {line}");
        } else if was_shown {
            text.push_str("  ...\n");
        }
        was_shown = is_shown;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_steps_is_nothing_to_play() {
        let path = std::env::temp_dir().join(format!("shadowmm-diff-{}", std::process::id()));
        let load_these = |ops: Vec<Op>| {
            let shape = Shape::of(1);
            fs::write(&path, serde_json::to_string(&Saved { shape, ops }).unwrap()).unwrap();
            load(&path)
        };
        assert!(load_these(Vec::new()).is_err());
        assert_eq!(load_these(vec![Op::Munlockall]).unwrap().1.len(), 1);
        fs::remove_file(&path).unwrap();
    }
}
