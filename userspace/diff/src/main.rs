// SPDX-License-Identifier: GPL-2.0

//! The command `shadowmm-diff`: the same requests to the running kernel and to
//! the shadow, and whether both decide the same.
//!
//! ```text
//! args.rs        the command line
//! random.rs      numbers by a seed
//! cpus.rs        the CPUs that a test runs on
//! output.rs      the result, as text or JSON
//! quiet.rs       the kernel's periodic work, put off
//! signals.rs     those that end it, put off meanwhile
//! buddy.rs       the page allocator: the run, and what is said of it
//!   generate.rs  the steps
//! slab/          the slab layer
//!   around.rs    what the kernel goes by
//!   cases.rs     the kinds of caches
//!   geometry.rs  every size, alignment and kind
//!   sysfs.rs     what the kernel shows
//!   workload.rs  random objects from caches on both sides
//!     bounds.rs  what must hold of both
//! mm/            address spaces
//! ```

mod args;
mod buddy;
mod cpus;
mod generate;
mod mm;
mod output;
mod quiet;
mod random;
mod signals;
mod slab;

use args::Cli;
use args::Command;
use clap::Parser;
use std::process::ExitCode;

/// Why the command could not do its work: a sentence.
type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Buddy(args) => buddy::run(&cli, args),
        Command::Slab(args) => slab::run(&cli, args),
        Command::Mm(args) => mm::run(&cli, args),
    };
    // What was changed of the kernel is as it was.
    if let Some(signal) = signals::asked() {
        signals::end_by(signal);
    }
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("shadowmm-diff: {error}");
            ExitCode::from(2)
        }
    }
}

fn told(error: shadowmm_client::Error) -> String {
    match error.advice() {
        Some(advice) => format!("{error}\n{:15}{advice}", ""),
        None => error.to_string(),
    }
}
