// SPDX-License-Identifier: GPL-2.0

//! Address spaces beside the running kernel's: the same random system calls and touches
//! in a window and in a process's own address space.
//!
//! ```text
//! op.rs         a step                    generate.rs   steps by a seed
//! arena.rs      where is played           touch.rs      loads and stores that may fail
//! side.rs       who answers               host.rs       the running kernel
//!                                         window.rs     the shadow
//! look.rs       what is seen              text.rs       as text, without allocating
//! player.rs     a process that plays      memory.rs     what it shares with its parent
//! episode.rs    two of them               report.rs     where they came apart
//! ```

mod arena;
mod episode;
mod generate;
mod host;
mod look;
mod memory;
mod op;
mod player;
mod report;
mod side;
mod text;
mod touch;
mod window;

use crate::args::Cli;
use crate::args::Mm;
use crate::random::Random;
use crate::signals;
use crate::Result;
use episode::Kind;
use episode::Stage;
use generate::Shape;
use op::Op;
use report::Report;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;

/// Runs the test; whether nothing differed.
pub fn run(cli: &Cli, args: &Mm) -> Result<bool> {
    // Beside itself, the kernel does whatever it does twice.
    let _plain = match args.host_only {
        true => None,
        false => Some(Plain::new()?),
    };
    let device =
        CString::new(cli.device.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
    let stage = Stage {
        device: &device,
        kinds: [
            Kind::Host(episode::FIRST_ARENA),
            match args.host_only {
                true => Kind::Host(episode::SECOND_ARENA),
                false => Kind::Window(episode::FIRST_ARENA),
            },
        ],
        look: args.look as usize,
        alone: args.alone,
    };
    let mut report = Report::new(args);
    if let Some(path) = &args.replay {
        let (shape, ops) = report::load(path)?;
        report.play(&stage, 0, &shape, ops)?;
    } else {
        let mut left = args.steps;
        let mut seeds = Random::new(args.seed);
        while left > 0 && report.is_equal() {
            let seed = seeds.next();
            let shape = Shape::of(seed);
            let count = left.min(args.episode);
            let ops: Vec<Op> = (0..count)
                .map(|number| generate::step(&shape, seed, number))
                .collect();
            report.play(&stage, seed, &shape, ops)?;
            left -= count;
        }
    }
    report.print(cli, args)?;
    Ok(report.is_equal())
}

/// What both do more than what is compared, put off meanwhile: huge pages. It is as it was when
/// this is dropped, for which signals are put off ([`signals`]).
struct Plain(Vec<(&'static str, String)>);

/// The files, and what is written to them.
const PLAIN: [(&str, &str); 2] = [
    ("/proc/shadowmm/vm/transparent_hugepage_enabled", "2"),
    ("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "never"),
];

impl Plain {
    fn new() -> Result<Self> {
        signals::put_off();
        let mut plain = Self(Vec::new());
        for (path, value) in PLAIN {
            let old = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
            // Of several words, the one in brackets is chosen.
            let chosen = old
                .split_once('[')
                .and_then(|(_, rest)| rest.split_once(']'));
            let old = chosen.map_or(old.trim(), |(word, _)| word).to_owned();
            fs::write(path, value).map_err(|error| format!("{path}: {error}"))?;
            plain.0.push((path, old));
        }
        Ok(plain)
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        for (path, value) in &self.0 {
            if let Err(error) = fs::write(path, value) {
                eprintln!("shadowmm-diff: {path}: {error}");
            }
        }
    }
}
