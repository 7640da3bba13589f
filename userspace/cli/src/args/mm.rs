// SPDX-License-Identifier: GPL-2.0

//! The command lines of `mm` and `run`.

use super::address;
use super::page::large_size;
use clap::Args;
use clap::Subcommand;
use clap::ValueEnum;
use std::ffi::OsString;

const LIST_HELP: &str = "\
badness is what the OOM killer ranks by: resident pages and pages of tables, and oom_score_adj \
thousandths of all pages.

JSON: spaces: [{id, pid, comm, window_start, window_end, mmap_base, start_brk, brk, start_stack, \
total_vm_pages, locked_vm_pages, data_vm_pages, stack_vm_pages, hiwater_vm_pages, \
hiwater_rss_pages, rss_file_pages, rss_anon_pages, rss_shmem_pages, pgtables_bytes, min_flt, \
maj_flt, faults_vma_lock, faults_mmap_lock, map_count, tree, oom_score_adj, badness (null: never \
killed)}]; next_victim (an id, or null), managed_pages, committed_bytes, commit_limit_bytes, \
overcommit_memory, oom_kills.";

const WALK_HELP: &str = "\
JSON: addr, vma ({start, end, flags, pgoff, file, anon}, that which holds it or the next one), \
mapped, levels: [{name, table_pfn, index, entry}], pfn; page: the keys of page show, or null; \
next: what the next access meets, one of outside (not the window's), unmapped, no_access, guard \
(SIGSEGV), stack (it grows, or SIGSEGV), file_end (SIGBUS), anonymous, file, object (a page comes), \
writable, read_only, and of what is not writable yet zero_page, file_page, part (of 2 MiB), copied, \
alone, shared.";

const TRACE_HELP: &str = "\
It has a tracing instance of its own, and takes no event from anybody else's trace_pipe.

JSON, an object on a line: kind. fault: pid, comm, cpu, mm (the address space's id), addr; \
access (read, write, or null where the events don't tell), vma ({start, end, flags}, or null), \
lock (vma, mmap, or null), rounds; grown ({start, was}) of a stack, or null; levels: [{name, \
table_pfn, entry}] as they were found, missing: the names of those that were not there, or null; \
outcome (zero, anonymous, huge, file, shared, cow, reuse, spurious, denied, none, lost), pfn, \
entry; allocator: [{event, pfn, order, text}], with --pages. allocator: the same of what belongs to no \
fault, with pid, comm, cpu. lost: cpu, events.";

const TOUCH_HELP: &str = "\
JSON: bytes, write, addr, ns (null under emulation, where time tells nothing); mapped, touched: \
{total_vm_pages, rss_pages, pgtables_bytes, faults, faults_mmap_lock}, what each has added; \
zero_page_pfn (null where the first page is not the zero page); space: the keys of mm list but \
badness, after the touch.";

/// What to do with address spaces.
#[derive(Debug, Subcommand)]
pub enum Mm {
    /// The address spaces: whose they are, how large, what of them is there
    #[command(after_long_help = LIST_HELP)]
    List,
    /// The VMAs of an address space, as /proc/PID/maps has them
    #[command(after_long_help = "JSON: id; vmas: [{start, end, flags, pgoff, file, anon}].")]
    Maps {
        /// Its number in the list
        id: u32,
    },
    /// What the VMAs have in memory, as /proc/PID/smaps tells it
    #[command(after_long_help = "JSON: id; text.")]
    Smaps {
        /// Its number in the list
        id: u32,
    },
    /// The sizes of an address space, as /proc/PID/status has them
    #[command(after_long_help = "JSON: id; text.")]
    Status {
        /// Its number in the list
        id: u32,
    },
    /// Every level of an address's translation, down to the page, its zone and its node
    #[command(after_long_help = WALK_HELP)]
    Walk {
        /// The address space's number in the list
        id: u32,
        /// The address
        #[arg(value_parser = address)]
        addr: u64,
    },
    /// What each fault finds and does, as it happens, until Ctrl-C (SIGINT) or SIGTERM
    #[command(after_long_help = TRACE_HELP)]
    FaultTrace(FaultTrace),
    /// Map memory in a window of this command's own, touch it, and tell what that was
    #[command(after_long_help = TOUCH_HELP)]
    Touch(Touch),
}

/// Options of `fault-trace`.
#[derive(Args, Debug)]
pub struct FaultTrace {
    /// The kernel's lines as they are
    #[arg(long)]
    pub raw: bool,
    /// Also what the page allocator does meanwhile: its short ways are closed then
    #[arg(long)]
    pub pages: bool,
}

/// Options of `touch`.
#[derive(Args, Debug)]
pub struct Touch {
    /// How much, like 64M or 1G
    #[arg(value_parser = large_size)]
    pub size: u64,
    /// Only read it
    #[arg(long)]
    pub read: bool,
    /// How VMAs are found; the module's own choice where none is named
    #[arg(long, value_enum)]
    pub tree: Option<TreeName>,
    /// Keep the window for this many seconds
    #[arg(long, value_name = "SECS")]
    pub hold: Option<u64>,
}

/// How VMAs are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TreeName {
    /// By a maple tree
    Maple,
    /// By a red-black tree and a list, as before Linux 6.1
    Rbtree,
}

/// Options of `run`.
#[derive(Args, Debug)]
pub struct Run {
    /// The program and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub command: Vec<OsString>,
    /// Also shared anonymous memory: processes can't wait for each other by futexes there
    #[arg(long)]
    pub shared: bool,
    /// Tell at the end, on stderr, what went into the window and what did not
    #[arg(long)]
    pub stats: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use crate::args::Command;
    use clap::Parser;

    fn mm(line: &str) -> Result<Mm, String> {
        let words = ["shadowmm", "mm"].into_iter();
        let cli = Cli::try_parse_from(words.chain(line.split_whitespace()));
        match cli.map_err(|error| error.to_string())?.command {
            Command::Mm(mm) => Ok(mm),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn touches_have_any_size_and_a_tree() {
        let Ok(Mm::Touch(touch)) = mm("touch 1G --read --tree rbtree --hold 5") else {
            panic!("no touch");
        };
        assert_eq!((touch.size, touch.read), (1 << 30, true));
        assert_eq!((touch.tree, touch.hold), (Some(TreeName::Rbtree), Some(5)));
        for line in ["touch", "touch much", "touch 1M --tree oak", "walk 1"] {
            assert!(mm(line).is_err(), "{line}");
        }
    }

    #[test]
    fn traces_are_plain_unless_asked_otherwise() {
        for (line, wanted) in [
            ("fault-trace", (false, false)),
            ("fault-trace --pages", (false, true)),
            ("fault-trace --raw --pages", (true, true)),
        ] {
            let Ok(Mm::FaultTrace(trace)) = mm(line) else {
                panic!("{line}");
            };
            assert_eq!((trace.raw, trace.pages), wanted, "{line}");
        }
    }
}
