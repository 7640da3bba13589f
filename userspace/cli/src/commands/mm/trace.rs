// SPDX-License-Identifier: GPL-2.0

//! `shadowmm mm fault-trace`: the stages of faults, from the kernel's tracepoints.

use crate::context::Context;
use crate::error::Error;
use crate::error::Result;
use nix::sys::signal;
use nix::sys::signal::SigHandler;
use nix::sys::signal::Signal;
use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

static ENDED: AtomicBool = AtomicBool::new(false);

extern "C" fn end(_: i32) {
    ENDED.store(true, Relaxed);
}

fn set(events: &Path, on: bool) -> std::io::Result<()> {
    for entry in fs::read_dir(events)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("mm_fault_") {
            fs::write(path.join("enable"), if on { "1" } else { "0" })?;
        }
    }
    Ok(())
}

/// Prints events until SIGINT or SIGTERM.
pub fn run(context: &Context) -> Result<()> {
    let tracing = context.root.join("sys/kernel/tracing");
    let events = tracing.join("events/shadowmm");
    let failed = |error: std::io::Error| {
        let error = Error::failed(format!("could not trace faults: {error}"));
        error.with_advice("mount -t tracefs tracefs /sys/kernel/tracing")
    };
    let action = signal::SigAction::new(
        SigHandler::Handler(end),
        signal::SaFlags::empty(),
        signal::SigSet::empty(),
    );
    for number in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: The handler sets a flag alone.
        let _ = unsafe { signal::sigaction(number, &action) };
    }
    let pipe = fs::File::open(tracing.join("trace_pipe")).map_err(failed)?;
    set(&events, true).map_err(failed)?;
    let mut lines = BufReader::new(pipe);
    let mut line = String::new();
    let mut told = Ok(());
    while !ENDED.load(Relaxed) && told.is_ok() {
        line.clear();
        match lines.read_line(&mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => told = context.write(&line),
        }
    }
    set(&events, false).map_err(failed)?;
    told
}
