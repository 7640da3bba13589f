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
    /// The slab layer: how caches are laid out, and what they come to have.
    Slab(Slab),
    /// Address spaces: every answer, all VMAs, pages and what is in them.
    Mm(Mm),
}

/// How address spaces are compared.
#[derive(Debug, Args)]
pub struct Mm {
    /// Which steps are played; the same number gives the same steps.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// How many steps.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub steps: u64,
    /// After so many steps address spaces of another size and mix are begun.
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub episode: u64,
    /// After so many steps pages, flags, mincore and counters are compared; after four times
    /// as many, contents. Answers and maps are after each.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub look: u64,
    /// Seconds to find fewer steps that lead to a difference.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub shrink: u64,
    /// Where they are written to.
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Plays the steps of such a file.
    #[arg(long, value_name = "FILE")]
    pub replay: Option<PathBuf>,
    /// The step of this number, from 0 on, is left out on the first side, in each episode:
    /// what then differs must be seen. A test of the test.
    #[arg(long, value_name = "STEP")]
    pub alone: Option<usize>,
    /// The running kernel beside itself, in two processes: a test of the test.
    #[arg(long)]
    pub host_only: bool,
}

/// How the page allocator is compared.
#[derive(Debug, Args)]
pub struct Buddy {
    /// Which steps are played; the same number gives the same steps.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// How many steps.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
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

/// How the slab layer is compared.
#[derive(Debug, Args)]
pub struct Slab {
    /// The layout of caches of every size, alignment and kind.
    #[arg(long)]
    pub geometry: bool,
    /// Sizes of objects, as in `8..8192:8` or `24,40`.
    #[arg(long, value_name = "LIST", default_value = "8..8192:8")]
    pub sizes: Numbers,
    /// Alignments.
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "8,16,32,64,128,256,512,1024,2048,4096"
    )]
    pub aligns: Vec<u32>,
    /// Kinds of caches: letters of slab_debug=, hwcache, rcu, dma, dma32,
    /// reclaim, account, noleaktrace, nouserflags, kmalloc, ctor, freeptr, user,
    /// sheaf=N, none; several with `+` between them.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub flags: Vec<String>,
    /// Begin with this entry of the table.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub from: usize,
    /// Compare so many entries at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// A random choice of entries, the same for the same number, of all kinds where
    /// none are named; without --geometry the workload's seed.
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Compare also what the kernel shows in /sys/kernel/slab and /proc/slabinfo,
    /// and kmalloc's caches.
    #[arg(long)]
    pub sysfs: bool,
    /// How many steps of a random workload, without --geometry.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub steps: u64,
    /// After so many steps both sides of all caches are compared.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pub look: u64,
    /// So many files ask at the same time; a cache's end takes the kernel long.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: u16,
}

/// Numbers: `8..8192:8`, `24,40`, or both.
#[derive(Clone, Debug)]
pub struct Numbers(pub Vec<u32>);

impl std::str::FromStr for Numbers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            text.parse::<u32>()
                .map_err(|error| format!("{text}: {error}"))
        };
        let mut numbers = Vec::new();
        for part in text.split(',') {
            let Some((first, rest)) = part.split_once("..") else {
                numbers.push(number(part)?);
                continue;
            };
            let (last, step) = rest.split_once(':').unwrap_or((rest, "1"));
            let step = number(step)?;
            if step == 0 {
                return Err(format!("{part}: a step of 0 goes nowhere"));
            }
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(format!("{part}: nothing lies between"));
            }
            numbers.extend((first..=last).step_by(step as usize));
        }
        Ok(Self(numbers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_taken(line: &str) -> bool {
        let words = line.split_whitespace();
        Cli::try_parse_from(std::iter::once("shadowmm-diff").chain(words)).is_ok()
    }

    #[test]
    fn numbers_are_read() {
        let numbers = |text: &str| text.parse::<Numbers>().map(|numbers| numbers.0);
        assert_eq!(numbers("8..32:8,5"), Ok(vec![8, 16, 24, 32, 5]));
        assert_eq!(numbers("8..8"), Ok(vec![8]));
        assert!(numbers("9..8").is_err());
        assert!(numbers("8..9:0").is_err());
        assert!(numbers("").is_err());
    }

    #[test]
    fn what_would_compare_nothing_is_no_command() {
        for line in [
            "slab --geometry --threads 0",
            "slab --geometry --limit 0",
            "slab --sizes 9..8",
            "slab --steps 0",
            "slab --look 0",
            "buddy --steps 0",
            "mm --steps 0",
        ] {
            assert!(!is_taken(line), "{line}");
        }
        assert!(is_taken("slab --geometry --threads 1 --limit 1"));
        assert!(is_taken("slab --sizes 8..8"));
        assert!(is_taken("slab --steps 1 --look 1"));
        assert!(is_taken("buddy --steps 1"));
        assert!(is_taken("mm --steps 1"));
    }
}
