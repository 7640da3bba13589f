// SPDX-License-Identifier: GPL-2.0

//! The slab layer beside the running kernel's.

mod around;
mod bounds;
mod cases;
mod geometry;
mod sysfs;
mod workload;

use crate::args::Cli;
use crate::args::Slab;
use crate::Result;

/// Runs the test; whether nothing differed.
pub fn run(cli: &Cli, args: &Slab) -> Result<bool> {
    match args.geometry {
        true => geometry::run(cli, args),
        false => workload::run(cli, args),
    }
}
