// SPDX-License-Identifier: GPL-2.0

//! The command `shadowmm`.
//!
//! ```text
//! args.rs       the command line
//! commands/     one file for each command: its report, and how it is made
//! host/         what is read of the host: its map, its free blocks
//! render/       how things look: width, colour, tables, units
//! context.rs    what every command is given
//! error.rs      what happened, and what to do about it
//! interrupt.rs  signals, where something has to be put back first
//! ```
//!
//! Each report is one model, which is printed as text or written as JSON.

mod args;
mod commands;
mod context;
mod e820;
mod error;
mod flag_names;
mod fragmentation;
mod gfp;
mod host;
mod interrupt;
mod render;
mod slab_flags;
#[cfg(test)]
mod testing;

use args::Cli;
use args::Command;
use clap::CommandFactory;
use clap::FromArgMatches;
use context::Context;
use error::Result;
use nix::sys::signal;
use nix::sys::signal::SigHandler;
use nix::sys::signal::Signal;
use render::Look;
use std::io;
use std::io::Write;
use std::process::ExitCode;

/// Wider than this help is not read well.
const HELP_WIDTH: usize = 100;

fn main() -> ExitCode {
    // Rust's run time ignores SIGPIPE; a command whose reader has gone ends
    // quietly, as any other does.
    //
    // SAFETY: No other thread runs yet, and the default action is no handler
    // that could run in the middle of anything.
    let restored = unsafe { signal::signal(Signal::SIGPIPE, SigHandler::SigDfl) };
    debug_assert!(restored.is_ok());

    let look = Look::of_stdout();
    let matches = Cli::command()
        .term_width(look.width.min(HELP_WIDTH))
        .try_get_matches();
    let cli = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(told) => return tell(&told),
    };
    let context = Context {
        device: cli.device,
        root: cli.root,
        json: cli.json,
        look,
    };
    end(run(&context, &cli.command))
}

/// Says what went wrong, if anything has.
fn end(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error::Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("shadowmm: {error}");
            if let Some(advice) = error.advice() {
                eprintln!("          {advice}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Prints what clap has to say: help where it was asked for, or what is wrong with the command line.
fn tell(told: &clap::Error) -> ExitCode {
    let written = told.print().and_then(|()| io::stdout().flush());
    match told.use_stderr() {
        // Who can't be told has the exit status.
        true => ExitCode::from(2),
        false => end(written.map_err(error::Error::Output)),
    }
}

fn run(context: &Context, command: &Command) -> Result<()> {
    match command {
        Command::Status => commands::status::run(context),
        Command::Boot(args) => commands::boot::run(context, args),
        Command::E820 => commands::e820::run(context),
        Command::Iomem => commands::iomem::run(context),
        Command::Memblock => commands::memblock::run(context),
        Command::Sections => commands::sections::run(context),
        Command::Nodes => commands::nodes::run(context),
        Command::Zones => commands::zones::run(context),
        Command::Buddy => commands::buddy::run(context),
        Command::Pagesets => commands::pagesets::run(context),
        Command::Pagetypes => commands::pagetypes::run(context),
        Command::Fragmentation => commands::fragmentation::run(context),
        Command::Numastat => commands::numastat::run(context),
        Command::Vmstat { all } => commands::vmstat::run(context, *all),
        Command::Accounting { host } => commands::accounting::run(context, *host),
        Command::Page(page) => commands::page::run(context, page),
        Command::Slab(slab) => commands::slab::run(context, slab),
        Command::Mm(mm) => commands::mm::run(context, mm),
        Command::Run(args) => commands::mm::run_program(context, args),
        Command::Users => commands::users::run(context),
        Command::Cosmos => commands::cosmos::run(context),
        Command::Compare(args) => commands::compare::run(context, args),
        Command::Tour(args) => commands::tour::run(context, args),
        Command::Bench(args::Bench::Page(args)) => commands::bench::page(context, args),
        Command::Bench(args::Bench::Slab(args)) => commands::bench::slab(context, args),
        Command::Bench(args::Bench::Mm(args)) => commands::bench::mm(context, args),
        Command::Drain { node } => commands::reclaim::drain(context, *node),
        Command::Compact { node } => commands::reclaim::compact(context, *node),
        Command::Tune { what } => commands::tune::run(context, what.as_deref()),
        Command::Shrink => commands::reclaim::shrink(context),
        Command::Validate => commands::validate::run(context),
        Command::Completions { shell } => commands::shell::completions(context, *shell),
        Command::Man { dir } => commands::shell::man(context, dir.as_deref()),
    }
}
