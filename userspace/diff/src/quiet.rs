// SPDX-License-Identifier: GPL-2.0

//! The kernel's periodic work on a zone, put off while the test runs: what it
//! does depends on when it runs, which no seed can tell.

use crate::signals;
use crate::Result;
use std::fs;
use std::thread;
use std::time::Duration;

/// The sysctls that are set, what to, and why.
const SYSCTLS: [(&str, &str); 4] = [
    // The refresh of the statistics lets pagesets shrink.
    ("vm/stat_interval", "1000000"),
    // Compaction moves pages and drains pagesets.
    ("vm/compaction_proactiveness", "0"),
    // Pages could move to the node, and reclaim could start there.
    ("kernel/numa_balancing", "0"),
    ("vm/zone_reclaim_mode", "0"),
];

/// Work that was waiting for its old time has run after this.
const SETTLE: Duration = Duration::from_millis(2500);

/// The sysctls as they were; they are so again when this is dropped, for which signals are put
/// off ([`signals`]).
#[derive(Debug)]
pub struct Quiet(Vec<(String, String)>);

impl Quiet {
    /// Puts the work off, and has the kernel let go of what it may let go of
    /// later.
    pub fn new() -> Result<Self> {
        write("/proc/sys/vm/drop_caches", "3")?;
        signals::put_off();
        let mut quiet = Self(Vec::new());
        let mut changed = false;
        for (name, value) in SYSCTLS {
            let path = format!("/proc/sys/{name}");
            let Ok(old) = fs::read_to_string(&path) else {
                // A kernel without it does not do it.
                continue;
            };
            let old = old.trim().to_owned();
            if old != value {
                write(&path, value)?;
                quiet.0.push((path, old));
                changed = true;
            }
        }
        if changed {
            thread::sleep(SETTLE);
        }
        Ok(quiet)
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        for (path, value) in &self.0 {
            if let Err(error) = write(path, value) {
                eprintln!("shadowmm-diff: {error}");
            }
        }
    }
}

/// Has the kernel refresh its statistics now, on every CPU.
pub fn refresh() -> Result<()> {
    write("/proc/sys/vm/stat_refresh", "1")
}

fn write(path: &str, value: &str) -> Result<()> {
    fs::write(path, value).map_err(|error| format!("could not write {value} to {path}: {error}"))
}
