// SPDX-License-Identifier: GPL-2.0

//! `shadowmm run`: a program whose anonymous private memory goes into a window.

use crate::args;
use crate::context::Context;
use crate::error::Error;
use crate::error::Result;
use std::env;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process;
use std::process::Command;

const LIBRARY: &str = "libshadowmm_preload.so";

/// What the processes count in: a name and a number in each of its slots.
const STATS_SIZE: usize = 4096;
const SLOT: usize = 32;
const NAME: usize = 24;

/// Where the library is.
fn library() -> Result<PathBuf> {
    let beside = env::current_exe().ok();
    let beside = beside.as_deref().and_then(|path| path.parent());
    let places = [
        env::var_os("SHADOWMM_PRELOAD").map(PathBuf::from),
        beside.map(|dir| dir.join(LIBRARY)),
        beside.map(|dir| dir.join("../lib/shadowmm").join(LIBRARY)),
    ];
    let found = places.into_iter().flatten().find(|path| path.exists());
    found.ok_or_else(|| {
        Error::failed(format!("there is no {LIBRARY}"))
            .with_advice("install it beside this command, or name it in SHADOWMM_PRELOAD")
    })
}

/// Runs the program, and ends as it does.
pub fn run(context: &Context, args: &args::Run) -> Result<()> {
    // What is wrong with the device is said here, not by each program.
    drop(context.open()?);
    let library = library()?;
    let Some((program, rest)) = args.command.split_first() else {
        return Err(Error::failed("there is no program to run"));
    };
    let mut command = Command::new(program);
    command.args(rest).env("LD_PRELOAD", &library);
    if args.shared {
        command.env("SHADOWMM_SHARED", "1");
    }
    let stats = env::temp_dir().join(format!("shadowmm-run-{}", process::id()));
    if args.stats {
        fs::write(&stats, [0; STATS_SIZE]).map_err(Error::Output)?;
        command.env("SHADOWMM_STATS", &stats);
    }
    let status = command.status().map_err(|error| {
        Error::failed(format!(
            "could not run {}: {error}",
            program.to_string_lossy()
        ))
    })?;
    if args.stats {
        for (name, value) in counters(&fs::read(&stats).map_err(Error::Output)?) {
            eprintln!("shadowmm run: {name} {value}");
        }
        let _ = fs::remove_file(&stats);
    }
    // As a shell has it, where a signal has ended it.
    let signal = || 128 + status.signal().unwrap_or(0);
    process::exit(status.code().unwrap_or_else(signal))
}

/// What was counted, in the library's order.
fn counters(stats: &[u8]) -> Vec<(String, u64)> {
    let slots = stats.chunks_exact(SLOT);
    let named = slots.filter_map(|slot| {
        let (name, value) = slot.split_at(NAME);
        let name = name.split(|&byte| byte == 0).next()?;
        let value = u64::from_le_bytes(value.try_into().ok()?);
        (!name.is_empty()).then(|| (String::from_utf8_lossy(name).into_owned(), value))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_have_names() {
        let mut stats = [0; STATS_SIZE];
        stats[..4].copy_from_slice(b"mmap");
        stats[NAME] = 7;
        stats[SLOT..SLOT + 3].copy_from_slice(b"brk");
        stats[SLOT + NAME + 1] = 1;
        let all = [("mmap".to_owned(), 7), ("brk".to_owned(), 256)];
        assert_eq!(counters(&stats), all);
    }
}
