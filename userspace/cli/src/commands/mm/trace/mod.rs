// SPDX-License-Identifier: GPL-2.0

//! `shadowmm mm fault-trace`: what faults find and do, from the kernel's tracepoints.
//!
//! ```text
//! instance.rs   where the events are listened to
//! line.rs       a line of trace_pipe, taken apart
//! collect.rs    the events of many threads, sorted into faults
//! fault.rs      a fault, and what is said of it
//! ```

mod collect;
mod fault;
mod instance;
mod line;

use crate::args;
use crate::context::Context;
use crate::error::Error;
use crate::error::Result;
use crate::interrupt;
use clap::error::ErrorKind as Wrong;
use clap::CommandFactory;
use collect::Collector;
use collect::Told;
use instance::Listening;
use nix::libc;
use std::fs;
use std::io;
use std::io::ErrorKind;
use std::io::Read;
use std::os::fd::AsRawFd;

/// Waits until there is something to read, or a signal has come, or for a moment: one that
/// comes before the wait begins does not end it.
fn wait(pipe: &fs::File) {
    let mut wanted = libc::pollfd {
        fd: pipe.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: One file, which is open.
    unsafe { libc::poll(&raw mut wanted, 1, 200) };
}

/// Shows what comes until a signal does, and what had happened by then: `more` text, or none
/// for a moment.
fn read(
    listening: &mut Listening,
    mut more: impl FnMut(Option<&[u8]>) -> Result<()>,
) -> Result<()> {
    let mut text = [0; 4096];
    let mut is_ending = false;
    loop {
        if !is_ending && interrupt::came() {
            is_ending = listening.stop();
            if !is_ending {
                return Ok(());
            }
        }
        let Some(pipe) = listening.pipe() else {
            return Ok(());
        };
        match pipe.read(&mut text) {
            Ok(0) => return Ok(()),
            Ok(len) => more(Some(&text[..len]))?,
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => {}
                ErrorKind::WouldBlock if !is_ending => {
                    more(None)?;
                    wait(pipe);
                }
                _ => return Ok(()),
            },
        }
    }
}

fn show(context: &Context, told: Vec<Told>) -> Result<()> {
    for one in told {
        match one {
            Told::Fault(fault) => context.show_line(fault.as_ref())?,
            Told::Alone(alone) => context.show_line(&alone)?,
            Told::Lost(lost) => context.show_line(&lost)?,
        }
    }
    Ok(())
}

/// Puts lines together of what is read, and shows the faults that they tell of.
fn tell(context: &Context, listening: &mut Listening) -> Result<()> {
    let mut collector = Collector::default();
    let mut rest = Vec::new();
    let is_there = |pid: u32| context.root.join(format!("proc/{pid}")).exists();
    read(listening, |more| {
        let Some(more) = more else {
            return show(context, collector.sweep(is_there));
        };
        rest.extend_from_slice(more);
        while let Some(at) = rest.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=at).collect();
            if let Some(line) = line::parse(String::from_utf8_lossy(&line).trim_end()) {
                show(context, collector.take(line))?;
            }
        }
        Ok(())
    })?;
    show(context, collector.sweep(|_| false))
}

/// Tells of faults until SIGINT or SIGTERM.
pub fn run(context: &Context, args: &args::FaultTrace) -> Result<()> {
    if args.raw && context.json {
        let told = "--raw has the kernel's lines, --json has none of them";
        args::Cli::command()
            .error(Wrong::ArgumentConflict, told)
            .exit();
    }
    drop(context.open()?);
    let tracing = context.root.join("sys/kernel/tracing");
    let failed = |error: io::Error| {
        let error = Error::failed(format!("could not trace faults: {error}"));
        error.with_advice("mount -t tracefs tracefs /sys/kernel/tracing")
    };
    let prefixes = match args.pages {
        true => &["mm_fault_", "mm_page_"][..],
        false => &["mm_fault_"],
    };
    // The instance is removed then, too.
    interrupt::catch();
    let (mut listening, refused) = Listening::begin(&tracing, prefixes).map_err(failed)?;
    match refused {
        Some(error) => eprintln!("shadowmm: no tracing instance could be made ({error}), so events come from the trace_pipe that all share: who else reads it misses them."),
        None => eprintln!("Listening to faults in windows, until Ctrl-C."),
    }
    match args.raw {
        true => read(&mut listening, |more| match more {
            Some(text) => context.write(&String::from_utf8_lossy(text)),
            None => Ok(()),
        }),
        false => tell(context, &mut listening),
    }
}
