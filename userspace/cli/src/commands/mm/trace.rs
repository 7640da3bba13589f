// SPDX-License-Identifier: GPL-2.0

//! `shadowmm mm fault-trace`: the stages of faults, from the kernel's tracepoints.

use crate::context::Context;
use crate::error::Error;
use crate::error::Result;
use nix::libc;
use nix::sys::signal;
use nix::sys::signal::SigHandler;
use nix::sys::signal::Signal;
use std::fs;
use std::io::ErrorKind;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
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

/// Prints what comes.
fn tell(context: &Context, mut pipe: fs::File) -> Result<()> {
    let mut text = [0; 4096];
    while !ENDED.load(Relaxed) {
        match pipe.read(&mut text) {
            Ok(0) => break,
            Ok(len) => context.write(&String::from_utf8_lossy(&text[..len]))?,
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::Interrupted => wait(&pipe),
                _ => break,
            },
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
    let pipe = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(tracing.join("trace_pipe"))
        .map_err(failed)?;
    set(&events, true).map_err(failed)?;
    let told = tell(context, pipe);
    set(&events, false).map_err(failed)?;
    told
}
