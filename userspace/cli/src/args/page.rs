// SPDX-License-Identifier: GPL-2.0

//! The command line of `page`.

use super::pfn;
use clap::Args;
use clap::Subcommand;
use shadowmm_client::Policy;

/// Pages belong to the open file, and a command has it open only while it runs.
const HELD: &str = "\
Pages belong to the open file that allocated them, and every run of this command opens the device \
anew: on its own it shows the refusal. 'page alloc --interactive' does it to what it holds.";

/// What to do with pages.
#[derive(Debug, Subcommand)]
pub enum Page {
    /// Allocate blocks; they return when this command ends
    #[command(after_long_help = ALLOC_HELP)]
    Alloc(Alloc),
    /// Free a block, or give up a reference to it, which only the open file that owns it may
    #[command(after_long_help = format!("{HELD}\n\nJSON: pfn, order, freed."))]
    Free {
        /// The block's first page
        #[arg(value_parser = pfn)]
        pfn: u64,
        /// The order at which it was allocated
        #[arg(long, default_value_t = 0)]
        order: u32,
    },
    /// Make smaller blocks of a block
    #[command(after_long_help = format!("{HELD}\n\nJSON: pfn, order, to, pieces."))]
    Split {
        /// The block's first page
        #[arg(value_parser = pfn)]
        pfn: u64,
        /// Its order
        #[arg(long, value_name = "N")]
        order: u32,
        /// The order of the pieces
        #[arg(long, default_value_t = 0, value_name = "N")]
        to: u32,
    },
    /// Make one block of the blocks that fill it
    #[command(after_long_help = format!("{HELD}\n\nJSON: pfn, order, pieces."))]
    Merge {
        /// The first page of them all, a multiple of 2^N
        #[arg(value_parser = pfn)]
        pfn: u64,
        /// The order that they are to have together
        #[arg(long, value_name = "N")]
        order: u32,
    },
    /// Allocate pages in a row, more than a block has, or exactly these
    #[command(
        after_long_help = "They are single pages, and return with the end of this command.\n\nJSON: pfn, pages, nid, zone, zone_name."
    )]
    Contig(Contig),
    /// Take a reference to a block of another process: it stays until that is given up too
    #[command(
        after_long_help = "The reference goes with the end of this command; --hold SECS keeps it.\n\nJSON: pfn, order, nid, zone, zone_name, references."
    )]
    Get {
        /// The block's first page
        #[arg(value_parser = pfn)]
        pfn: u64,
        /// Keep it for this many seconds
        #[arg(long, value_name = "SECS")]
        hold: Option<u64>,
    },
    /// Give up a reference to a block, the last one with the block
    #[command(after_long_help = format!("{HELD}\n\nJSON: pfn, references."))]
    Put {
        /// The block's first page
        #[arg(value_parser = pfn)]
        pfn: u64,
    },
    /// What is known about a page
    #[command(
        after_long_help = "JSON: pfn, state, head_pfn, head_state, order, nid, zone, zone_name, section, count, owner, host_pfn. state is one of hole, reserved, buddy, allocated, tail, slab; owner one of none, self, other, kernel."
    )]
    Show {
        /// Its number, decimal or 0x…
        #[arg(value_parser = pfn)]
        pfn: u64,
    },
}

const ALLOC_HELP: &str = "\
Lines of --interactive: show PFN, free PFN [ORDER], split PFN TO, merge PFN ORDER, get PFN, put PFN, \
quit.

JSON: blocks: [{pfn, order, nid, zone, zone_name}]. With --bulk or --bytes: pages, stopped (null, or \
the name of the reason why there are no more), runs: [{pfn, pages, nid, zone, zone_name}] of pages \
that follow one another. Each line of --interactive is answered by an object on a line, with the \
keys of the command of that name; one that is refused with error (the name of the reason, as \
NotOwner, or of the errno; BadLine where the line makes no sense) and text.

Exit status 1 also where stdin is no terminal and a line was refused.";

/// Options of `page alloc`.
#[derive(Args, Debug)]
pub struct Alloc {
    /// The order of a block: it has 2^N pages; 0 to 10
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub order: u32,

    /// The preferred node; what the policy says where none is named
    #[arg(long, value_name = "N")]
    pub node: Option<u32>,

    /// Linux's names of the flags, like GFP_ATOMIC or __GFP_DMA32, joined by | or commas; numbers
    /// with 0x are passed on
    #[arg(long, value_name = "NAMES", value_parser = crate::gfp::parse, default_value = "GFP_KERNEL")]
    pub gfp: u32,

    /// How many blocks
    #[arg(long, default_value_t = 1, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub count: u32,

    /// So many single pages at once, as alloc_pages_bulk() does: there may be fewer
    #[arg(long, conflicts_with = "order")]
    pub bulk: bool,

    /// So many bytes in a row, as alloc_pages_exact() does; K and M after the number are units
    #[arg(long, value_name = "BYTES", value_parser = size, conflicts_with_all = ["order", "count", "bulk"])]
    pub bytes: Option<u64>,

    /// Where pages come from: local, or preferred, bind or interleave with nodes, like
    /// interleave:0,1
    #[arg(long, value_name = "MODE[:NODES]", value_parser = policy, conflicts_with = "node")]
    pub policy: Option<PolicyWish>,

    /// The policy's nodes, like 0,2 or 0-3
    #[arg(long, value_name = "NODES", value_parser = nodes, requires = "policy")]
    pub nodes: Option<Nodes>,

    /// Keep them for this many seconds
    #[arg(long, value_name = "SECS", conflicts_with = "interactive")]
    pub hold: Option<u64>,

    /// Keep them until the end of stdin, whose lines say what to do with them
    #[arg(long)]
    pub interactive: bool,
}

/// Options of `page contig`.
#[derive(Args, Debug)]
pub struct Contig {
    /// How many pages
    pub pages: u64,

    /// These pages and no others, from PFN on: what is there and may be moved is moved
    #[arg(long, value_name = "PFN", value_parser = pfn, conflicts_with = "node")]
    pub at: Option<u64>,

    /// The preferred node; the local one where none is named
    #[arg(long, value_name = "N")]
    pub node: Option<u32>,

    /// Linux's names of the flags, joined by | or commas
    #[arg(long, value_name = "NAMES", value_parser = crate::gfp::parse, default_value = "GFP_KERNEL")]
    pub gfp: u32,

    /// Keep them for this many seconds
    #[arg(long, value_name = "SECS")]
    pub hold: Option<u64>,
}

impl Alloc {
    /// The policy that is wished for.
    ///
    /// # Errors
    ///
    /// A sentence where nodes are named twice or too many, or are missing.
    pub fn policy(&self) -> Result<Option<Policy>, String> {
        let Some(wish) = &self.policy else {
            return Ok(None);
        };
        let Nodes(nodes) = match (&wish.nodes, &self.nodes) {
            (Some(_), Some(_)) => return Err("the policy's nodes are named twice".to_owned()),
            (Some(nodes), None) | (None, Some(nodes)) => nodes.clone(),
            (None, None) => Nodes(Vec::new()),
        };
        match (wish.mode, nodes.as_slice()) {
            (Mode::Local, []) => Ok(Some(Policy::Local)),
            (Mode::Local, _) => Err("the policy 'local' has no nodes".to_owned()),
            (Mode::Preferred, &[nid]) => Ok(Some(Policy::Preferred(nid))),
            (Mode::Preferred, _) => Err("the policy 'preferred' needs one node".to_owned()),
            (mode, []) => Err(format!(
                "the policy '{}' needs nodes, like {0}:0,1",
                mode.name()
            )),
            (Mode::Bind, _) => Ok(Some(Policy::Bind(nodes))),
            (Mode::Interleave, _) => Ok(Some(Policy::Interleave(nodes))),
        }
    }
}

/// What kind of policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Local,
    Preferred,
    Bind,
    Interleave,
}

impl Mode {
    const ALL: [Self; 4] = [Self::Local, Self::Preferred, Self::Bind, Self::Interleave];

    fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Preferred => "preferred",
            Self::Bind => "bind",
            Self::Interleave => "interleave",
        }
    }
}

/// A policy as it was typed.
#[derive(Clone, Debug)]
pub struct PolicyWish {
    mode: Mode,
    nodes: Option<Nodes>,
}

/// Numbers of nodes, each once, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nodes(Vec<u32>);

fn policy(text: &str) -> Result<PolicyWish, String> {
    let (mode, list) = match text.split_once(':') {
        Some((mode, list)) => (mode, Some(list)),
        None => (text, None),
    };
    let mode = Mode::ALL.into_iter().find(|known| known.name() == mode);
    Ok(PolicyWish {
        mode: mode.ok_or("it is one of local, preferred, bind, interleave")?,
        nodes: list.map(nodes).transpose()?,
    })
}

/// A list of nodes, as the kernel prints them: `0-1,4`.
fn nodes(text: &str) -> Result<Nodes, String> {
    let number = |text: &str| {
        let number = text.parse().ok().filter(|&nid: &u32| nid < 64);
        number.ok_or_else(|| format!("{text:?} is no node: they are numbered from 0 to 63"))
    };
    let mut nodes = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(format!("{part:?} runs backwards"));
        }
        nodes.extend(first..=last);
    }
    nodes.sort_unstable();
    nodes.dedup();
    Ok(Nodes(nodes))
}

/// A number of bytes, with K or M for its unit: blocks and objects end at a few MiB.
pub(super) fn size(text: &str) -> Result<u64, String> {
    in_units(text, "KM").ok_or_else(|| "it is a number of bytes, K or M".to_owned())
}

/// The same of an address space, which may be as large as it likes.
pub(super) fn large_size(text: &str) -> Result<u64, String> {
    in_units(text, "KMGT").ok_or_else(|| "it is a number of bytes, K, M, G or T".to_owned())
}

/// A number with one of these units behind it, each 1024 of the one before, or none.
fn in_units(text: &str, units: &str) -> Option<u64> {
    let last = text.chars().last()?.to_ascii_uppercase();
    let (digits, shift) = match units.find(last) {
        Some(at) => (&text[..text.len() - 1], 10 * (at + 1)),
        None => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use crate::args::Command;
    use clap::Parser;

    fn alloc(line: &str) -> Result<Option<Policy>, String> {
        let words = ["shadowmm", "page", "alloc"].into_iter();
        let cli = Cli::try_parse_from(words.chain(line.split_whitespace()));
        match cli.map_err(|error| error.to_string())?.command {
            Command::Page(Page::Alloc(alloc)) => alloc.policy(),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn policies_are_read() {
        assert_eq!(alloc(""), Ok(None));
        assert_eq!(alloc("--policy local"), Ok(Some(Policy::Local)));
        let interleave = Ok(Some(Policy::Interleave(vec![0, 1])));
        assert_eq!(alloc("--policy interleave:1,0,1"), interleave);
        assert_eq!(alloc("--policy interleave --nodes 0-1"), interleave);
        let bind = Ok(Some(Policy::Bind(vec![0, 2, 3, 4])));
        assert_eq!(alloc("--policy bind:2-4,0"), bind);
        assert_eq!(
            alloc("--policy preferred:3"),
            Ok(Some(Policy::Preferred(3)))
        );
    }

    #[test]
    fn policies_that_make_no_sense_are_told_apart() {
        for (line, told) in [
            ("--policy cheese", "one of local"),
            ("--policy bind", "needs nodes"),
            ("--policy interleave", "needs nodes"),
            ("--policy local:0", "has no nodes"),
            ("--policy preferred:0,1", "needs one node"),
            ("--policy preferred", "needs one node"),
            ("--policy bind:0 --nodes 1", "named twice"),
            ("--policy bind:64", "from 0 to 63"),
            ("--policy bind:0-4294967295", "from 0 to 63"),
            ("--policy bind:3-1", "backwards"),
            ("--policy bind:", "is no node"),
            ("--nodes 1", "--policy"),
            ("--policy local --node 1", "cannot be used with"),
            ("--bytes 1 --count 2", "cannot be used with"),
            ("--bulk --order 1", "cannot be used with"),
        ] {
            let error = alloc(line).expect_err(line);
            assert!(error.contains(told), "{line}: {error}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("0"), Ok(0));
        assert_eq!(size("12345"), Ok(12345));
        assert_eq!(size("100K"), Ok(102_400));
        assert_eq!(size("4m"), Ok(4 << 20));
        for text in ["", "K", "-1", "1G", "1.5M", "18446744073709551615K"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(large_size("100K"), Ok(102_400));
        assert_eq!(large_size("1G"), Ok(1 << 30));
        assert_eq!(large_size("2t"), Ok(2 << 40));
        for text in ["", "G", "1P", "1.5G", "-1G", "16777216T", "1é"] {
            assert!(large_size(text).is_err(), "{text}");
        }
    }
}
