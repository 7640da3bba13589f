// SPDX-License-Identifier: GPL-2.0

//! `shadowmm run`: a program whose anonymous private memory goes into a window.

use crate::args;
use crate::context::Context;
use crate::error::Error;
use crate::error::Result;
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::PathBuf;
use std::process;
use std::process::Command;

const LIBRARY: &str = "libshadowmm_preload.so";

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
    let stats = env::temp_dir().join(format!("shadowmm-run-{}", process::id()));
    if args.stats {
        fs::write(&stats, "").map_err(Error::Output)?;
        command.env("SHADOWMM_STATS", &stats);
    }
    let status = command.status().map_err(|error| {
        Error::failed(format!(
            "could not run {}: {error}",
            program.to_string_lossy()
        ))
    })?;
    if args.stats {
        tell(&fs::read_to_string(&stats).map_err(Error::Output)?);
        let _ = fs::remove_file(&stats);
    }
    process::exit(status.code().unwrap_or(1))
}

/// Adds up what the processes have told.
fn tell(text: &str) {
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    let mut order = Vec::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            if !order.contains(&name) {
                order.push(name);
            }
            *sums.entry(name).or_default() += value.parse::<u64>().unwrap_or(0);
        }
    }
    for name in order {
        let sum = sums.get(name).copied().unwrap_or(0);
        eprintln!("shadowmm run: {name} {sum}");
    }
}
