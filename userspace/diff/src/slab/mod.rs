// SPDX-License-Identifier: GPL-2.0

//! The slab layer beside the running kernel's.

mod around;
mod cases;
mod geometry;
mod sysfs;

use crate::args::Cli;
use crate::args::Slab;
use crate::Result;

/// Runs the test; whether nothing differed.
pub fn run(cli: &Cli, args: &Slab) -> Result<bool> {
    geometry::run(cli, args)
}
