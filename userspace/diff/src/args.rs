// SPDX-License-Identifier: GPL-2.0

//! The command line.

use clap::Args;
use clap::Parser;
use clap::Subcommand;
use std::path::PathBuf;

/// Plays the same random requests on the running kernel and on the shadow, and
/// compares every decision.
///
/// Ends with 0 when all steps were equal, with 1 when something differed, and
/// with 2 when the test could not be made.
#[derive(Debug, Parser)]
#[command(name = "shadowmm-diff", version)]
pub struct Cli {
    /// The module's device.
    #[arg(long, global = true, value_name = "PATH", default_value = shadowmm_client::DEFAULT_PATH)]
    pub device: PathBuf,
    /// The result as JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// What is compared.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be compared.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The page allocator: every block, all counts, all free lists.
    Buddy(Buddy),
}

/// How the page allocator is compared.
#[derive(Debug, Args)]
pub struct Buddy {
    /// Which steps are played; the same number gives the same steps.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// How many steps.
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub steps: u64,
    /// The kernel's node whose zones are used; without it, the highest one
    /// with memory and without CPUs.
    #[arg(long, value_name = "NID")]
    pub node: Option<u32>,
    /// Pagesets keep nothing, on both sides: every request goes to the zone.
    #[arg(long)]
    pub no_pagesets: bool,
    /// The node's zones as they are, not emptied and given back before.
    #[arg(long)]
    pub as_is: bool,
    /// After so many steps all lists and page blocks are compared.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub look: u64,
}
