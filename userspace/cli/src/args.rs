// SPDX-License-Identifier: GPL-2.0

//! The command line.

mod mm;
mod page;
mod slab;

use clap::ArgGroup;
use clap::Args;
use clap::Parser;
use clap::Subcommand;
use std::path::PathBuf;

pub use mm::FaultTrace;
pub use mm::Mm;
pub use mm::Run;
pub use mm::Touch;
pub use mm::TreeName;
pub use page::Alloc;
pub use page::Contig;
pub use page::Page;
pub use slab::address;
pub use slab::Alloc as SlabAlloc;
pub use slab::Create;
pub use slab::Kmalloc;
pub use slab::List;
pub use slab::Slab;
pub use slab::Sort;
pub use slab::Take;
pub use slab::Top;

/// A second Linux memory manager, running inside this kernel: look at it, use it, compare it.
///
/// The module shadowmm takes memory of its own and boots a whole Linux mm on it. This command
/// shows each stage, from the firmware's map to the buddy system, and sets it beside the host's.
/// It needs the module loaded and, because the device is root's, root.
#[derive(Debug, Parser)]
#[command(name = "shadowmm", version, propagate_version = true)]
#[command(after_long_help = AFTER_HELP)]
pub struct Cli {
    /// Print JSON; each command's help names the keys
    #[arg(long, global = true)]
    pub json: bool,

    /// The device
    #[arg(
        long,
        global = true,
        hide = true,
        env = "SHADOWMM_DEVICE",
        hide_env = true
    )]
    #[arg(default_value = shadowmm_client::DEFAULT_PATH, value_name = "PATH")]
    pub device: PathBuf,

    /// What /proc and /sys lie below
    #[arg(
        long,
        global = true,
        hide = true,
        env = "SHADOWMM_ROOT",
        hide_env = true
    )]
    #[arg(default_value = "/", value_name = "DIR")]
    pub root: PathBuf,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
Exit status: 0 done; 1 it could not be done, and stderr says why and what helps; 2 the command \
line is wrong.

Environment: COLUMNS sets the width of the output; NO_COLOR, unless it is empty, turns colours off, \
which only a terminal gets anyway.

JSON: every report is one object. Its keys are stable: new ones may come, none goes away or \
changes its meaning. Keys that end in _pages, _bytes, _ns or _ms have that unit; pfn is a page \
frame number; addresses are numbers, not texts; null stands for what is unknown.";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// One look at everything important
    #[command(
        after_long_help = "JSON: abi, release, kernel; stage, map_source, region_source, nr_nodes, backing_pages, ram_pages, original_ram_bytes, metadata_bytes, descriptor_bytes, managed_pages, free_pages, held_pages, open_files, section_order, descriptor_size, host_descriptor_size, stage_ns; allocator (buddy or cosmos) and objects (slab or kmsob), null before the last stage; crash_refusal (why there is no crash kernel, or null); refusals: [{name, value, text}] of those that happened."
    )]
    Status,
    /// Show the boot's stage and run the stages that are left, or boot another map
    #[command(after_long_help = BOOT_HELP)]
    Boot(Boot),
    /// The firmware's map, scaled to the region
    #[command(
        after_long_help = "JSON: e820: [{start, end, size_bytes, type, name}], end is the last byte."
    )]
    E820,
    /// The resources, as /proc/iomem shows them
    #[command(
        after_long_help = "JSON: resources: [{start, end, depth, name}], end is the last byte."
    )]
    Iomem,
    /// memblock's two arrays: all memory, and what of it has a use
    #[command(
        after_long_help = "JSON: memory, reserved: each {cnt, total_size_bytes, regions: [{array, base, size_bytes, flags, nid}]}."
    )]
    Memblock,
    /// The sections of page descriptors
    #[command(
        after_long_help = "JSON: section_pages; sections: [{number, start_pfn, memmap_pfn, nid}]."
    )]
    Sections,
    /// The nodes: spans, distances, the order of fallback
    #[command(
        after_long_help = "JSON: nodes: [{nid, host_nid, nr_cpus, start_pfn, spanned_pages, present_pages, distances, fallback}]."
    )]
    Nodes,
    /// The zones: spans, watermarks, protection
    #[command(
        after_long_help = "JSON: zones: [{nid, zone, name, start_pfn, spanned_pages, present_pages, managed_pages, free_pages, watermark_min, watermark_low, watermark_high, watermark_promo, protection, nr_free}]; watermarks and protection are in pages."
    )]
    Zones,
    /// The buddy system: free blocks by order
    #[command(
        after_long_help = "JSON: zones: [{nid, name, free_pages, largest_free_order, nr_free}]."
    )]
    Buddy,
    /// The pages that CPUs keep at hand, and how many they may
    #[command(
        after_long_help = "JSON: pagesets: [{nid, name, cpu, count, high, batch, high_min, high_max, stat_threshold}], one for each zone with memory and CPU that is up; all but stat_threshold in pages."
    )]
    Pagesets,
    /// Free blocks and page blocks by migrate type
    #[command(
        after_long_help = "JSON: types: [{nid, name, migratetype, blocks, nr_free}], nr_free by order, up to 100,000 each; blocks counts page blocks of 512 pages."
    )]
    Pagetypes,
    /// How fragmented free memory is, by zone and migrate type, and the fallbacks between types
    #[command(
        after_long_help = "JSON: zones: [{nid, name, migratetype, unusable_index, fragmentation_index}], migratetype null for a whole zone, the indices by order as in compare; fallbacks: [{nid, name, from, to, claimed, stolen}]: page blocks of type from that requests of type to claimed, and blocks that they took from page blocks that kept their type."
    )]
    Fragmentation,
    /// Where each node's pages were wanted
    #[command(
        after_long_help = "JSON: nodes: [{nid, numa_hit, numa_miss, numa_foreign, interleave_hit, local_node, other_node}], in allocations, as numastat(8) has them."
    )]
    Numastat,
    /// The counters of /proc/vmstat
    #[command(after_long_help = "JSON: counters: [{name, value}], all of them, in order.")]
    Vmstat {
        /// Those that are zero too
        #[arg(long)]
        all: bool,
    },
    /// Where the memory went, from what dmidecode would say to what free says
    #[command(
        after_long_help = "JSON: accounts: [{key, text, depth, bytes}]. Those of depth 0 are sums: each is what is left of the one before after those of depth 1 between them. With --host the keys are installed (where the firmware tells it), firmware, usable, crash_kernel and kernel_image (where /proc/iomem shows addresses), page_descriptors, other and managed, of which page_descriptors is computed and other the rest; iomem_addresses: whether addresses are shown; exceeds: by how many bytes all that was found is more than there is, which memory that came after the boot is."
    )]
    Accounting {
        /// Of the machine that this runs on: why free shows less than dmidecode
        #[arg(long)]
        host: bool,
    },
    /// Allocate, split, merge, share, free and look at pages
    #[command(subcommand)]
    Page(Page),
    /// Caches of objects that are smaller than pages: make, look at, use and destroy them
    #[command(subcommand)]
    Slab(Slab),
    /// Address spaces of processes: list, look at, walk, touch and trace them
    #[command(subcommand)]
    Mm(Mm),
    /// Run a program with its anonymous private memory in a window
    ///
    /// A library is preloaded that sends its mmap, munmap, mprotect, mremap, madvise, brk and the
    /// like to the shadow. What it cannot redirect it leaves alone: files, shared memory (but see
    /// --shared), what is to be executed, and what the C library asks for itself.
    #[command(
        after_long_help = "It ends as the program does. stdout is the program's: with --stats --json one object comes on the last line of stderr.\n\nJSON: redirected (whether anything went into a window), stats: {NAME: number}."
    )]
    Run(Run),
    /// Give the zones back the free pages that CPUs keep at hand
    ///
    /// A page that was freed goes to its CPU's pageset first, and is in no free list until that is
    /// full, or memory short, or this command asks. Then it merges with its neighbours.
    #[command(after_long_help = "JSON: drained_pages.")]
    Drain {
        /// Only those of this node's zones
        #[arg(long, value_name = "N")]
        node: Option<u32>,
    },
    /// Move blocks that may be moved together, so that large free blocks arise
    ///
    /// Nothing else moves than what was allocated as movable; compaction does the same by itself
    /// when a large block is asked for.
    #[command(after_long_help = "JSON: moved_pages.")]
    Compact {
        /// Only on this node
        #[arg(long, value_name = "N")]
        node: Option<u32>,
    },
    /// Free all that is kept only as long as nobody needs the memory
    #[command(after_long_help = "JSON: freed_pages.")]
    Shrink,
    /// Show the knobs of /proc/shadowmm/vm beside the host's, or turn one
    ///
    /// Those of the page allocator, and those of address spaces: overcommit_memory, max_map_count and
    /// so on. They are named as those of /proc/sys/vm, take the same values, and have the same
    /// effects, at once. A boot starts with what the module's parameters of the names of the page
    /// allocator's say; what is promised and mapped in address spaces already stays so.
    #[command(
        after_long_help = "JSON: tunables: [{name, values, host_values, least, most, text}], one value, or one for each kind of zone (lowmem_reserve_ratio); host_values null where the host does not show it; text: what it is, and its unit."
    )]
    Tune {
        /// Which one, and where it is to be: min_free_kbytes=20000, overcommit_memory=2, lowmem_reserve_ratio=256,256,64
        #[arg(value_name = "NAME[=VALUE]")]
        what: Option<String>,
    },
    /// How much of the shadow each user has, of those who have the device open
    #[command(
        after_long_help = "JSON: users: [{uid, files, pages, objects, spaces, vmas}]. Limits are parameters of the module: user_pages=, file_pages= and so on."
    )]
    Users,
    /// The other page allocator's areas and containers of objects, after Cosmos
    ///
    /// They are there where they were chosen at load: allocator=cosmos, objects=kmsob.
    #[command(
        after_long_help = "JSON: allocator (buddy or cosmos); areas: [{nid, zone, zone_name, kind, start_pfn, end_pfn, max_pages, allocated_pages, free_pages, divisions, merges, lists: [{block_pages, objects, free, allocs, frees}]}], none with the buddy system; objects (slab or kmsob); kmsob: null with the slab layer, else {containers, large_blocks, large_pages, caches, sizes: [{size_bytes, containers, extensions, pages, objects, used, free, allocs, frees, created, destroyed}], list: [{address, size_bytes, own_pages, extensions, objects, free, blocks: [{pages, count}]}]}, list being the containers."
    )]
    Cosmos,
    /// The shadow's free memory beside the host's
    #[command(after_long_help = COMPARE_HELP)]
    Compare(Compare),
    /// The whole story on live numbers: memory from the firmware's map to objects, and from a
    /// process's address space to the OOM killer's choice
    #[command(
        after_long_help = "JSON: machine, version, status, segments, e820, resources, memblock, section_pages, sections, nodes, zones, accounts, slab, areas (none but with allocator=cosmos), compare: the reports that the screens are made of; and what is seen by doing it, or {failed, advice} where that could not be: process, touch, exec, stack, fork, malloc, promise.\n\nprocess: steps: [{what, map_count, vmas}], vmas, space, touched_pages, by_vma_lock, by_mmap_lock. touch: unmapped, byte, page, cosmos, and {space, walk} in mapped, read, written, further. exec: parts: [{segment, of, vma}], is_anywhere, interpreter, space. stack: grown: [{below, vma}], rlimit, limit, tried: [{what, ended: {status, signal}}], thread (VMAs). fork: {space_id, pfn, references, writable, table_pfn} in written, parent_forked, child_forked, child_written, parent_left, parent_written, thread. malloc: told, null where the C library does not tell: {usable_bytes, chunk_bytes, same_place, steps: [{what, in_use_bytes, heap_bytes, brk_moves, mmapped_bytes, arena_bytes}], fast_chunks, free_chunks, thread: {address, outside_heap}}. promise: managed_pages, knobs: {overcommit_memory, overcommit_ratio, commit_limit_kib} or null, steps: [{what, refused, committed_kib}], candidates: [{space, badness}], chosen. A VMA, a walk, a space and a page have the keys of mm maps, mm walk, mm list and page show."
    )]
    Tour(Tour),
    /// What the shadow costs beside the host, measured in turn
    #[command(subcommand)]
    Bench(Bench),
    /// Check every invariant of the running shadow
    #[command(
        after_long_help = "JSON: ok, checks, violated. Exit status 1 where one does not hold."
    )]
    Validate,
    /// Print a shell's completions
    #[command(
        after_long_help = "Install them with, for example:\n  shadowmm completions bash > /usr/share/bash-completion/completions/shadowmm\n  shadowmm completions zsh > /usr/share/zsh/vendor-completions/_shadowmm\n  shadowmm completions fish > /usr/share/fish/vendor_completions.d/shadowmm.fish"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the man page, or write the pages of all commands
    #[command(
        after_long_help = "Install them with, for example:\n  shadowmm man --dir /usr/share/man/man1"
    )]
    Man {
        /// Write shadowmm.1 and a page for each command into this directory
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

const BOOT_HELP: &str = "\
Without a map, the boot goes on from where it is. With one, it starts anew: the shadow is taken \
back to its first stage (refused while pages are held), the map is handed in, and the stages \
run. A map that is refused leaves the shadow with the one that it had. One \
that is taken and does not boot leaves it without a crash kernel, or with the built-in map; what \
was done is said. The crash kernel of the last boot stays until another is named; --crashkernel '' \
is none.

JSON: stage, stage_ns; stages: [{stage, ns, summary, report}] of those that were run; the keys of report are those of \
e820, memblock, sections, zones or buddy.";

/// Options of `boot`.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("source")))]
pub struct Boot {
    /// Go one stage on and show what it made
    #[arg(long)]
    pub step: bool,

    /// Boot the map of another machine, from its boot log; - reads stdin
    #[arg(long, value_name = "FILE", group = "source")]
    pub dmesg: Option<PathBuf>,

    /// Boot the host's own map, from sysfs
    #[arg(long, group = "source")]
    pub host: bool,

    /// Boot the built-in map, that of a PC
    #[arg(long, group = "source")]
    pub builtin: bool,

    /// Go back to the first stage and boot the map that is there
    #[arg(long, group = "source")]
    pub reset: bool,

    /// Reserve memory for a crash kernel, as on the kernel's command line: SIZE[@OFFSET], or by
    /// ranges of RAM: 512M-2G:64M,2G-:128M. Takes the built-in map where no other is named
    #[arg(long, value_name = "SIZE", conflicts_with = "reset")]
    pub crashkernel: Option<String>,
}

const COMPARE_HELP: &str = "\
The unusable free space index tells how much of the free memory a request of that order cannot \
use: 0 none of it, 1 all. The fragmentation index tells why such a request would fail: towards 0 \
for lack of memory, towards 1 because of fragmentation; -1 stands for one that would not fail. \
Both are Linux's own (/sys/kernel/debug/extfrag).

JSON: zones: [{nid, name, host, shadow, difference}], host and shadow {free_pages, \
largest_free_order, nr_free, unusable_index, fragmentation_index} or null where there is no such \
zone, difference {free_pages, nr_free, unusable_index, fragmentation_index} shadow less host. With \
--watch one object on each line.";

/// Options of `compare`.
#[derive(Args, Debug)]
pub struct Compare {
    /// Look again every SECS seconds
    #[arg(long, value_name = "SECS", num_args = 0..=1, default_missing_value = "2")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub watch: Option<u64>,

    /// Stop after so many looks
    #[arg(long, value_name = "N", requires = "watch")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

/// Options of `tour`.
#[derive(Args, Debug)]
pub struct Tour {
    /// Wait for Enter between the screens, where there is a terminal
    #[arg(long, overrides_with = "no_pause")]
    pub pause: bool,

    /// Print all screens at once, which is the default
    #[arg(long, overrides_with = "pause")]
    pub no_pause: bool,
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// The page allocator: pairs, bulks, refills, in fragments
    #[command(after_long_help = BENCH_HELP)]
    Page(BenchOptions),
    /// The slab layer: pairs, bulks, remote frees, mixed sizes, memory
    #[command(after_long_help = BENCH_SLAB_HELP)]
    Slab(BenchOptions),
    /// Address spaces: touches, copies, mmap, mprotect, lookups, fork
    #[command(after_long_help = BENCH_MM_HELP)]
    Mm(BenchOptions),
}

const BENCH_MM_HELP: &str = "\
As 'bench page', of memory that a program uses: in a window, and in its own address space, by the \
same loops. What the window costs has the host's part of each fault in it, and the ioctls that are \
there in place of system calls. Huge pages are asked for by madvise, on both sides, where they are \
measured, and forbidden elsewhere.

JSON: accelerator, kernel, unit (instructions or ns), host_options: {init_on_alloc, init_on_free, \
page_poison, debug_pagealloc}; faults: those of the windows, faults_mmap_lock: of these, those that \
took the lock of the whole address space; rows: [{bench, shape, per, unit, blocks, shadow, host, \
ratio, ratio_of}], shadow and host {min, median} of one operation, ratio shadow to host, ratio_of \
min: of the minima; missing: [{shape, why}]; differences: what the host does that the shadow does \
not.";

const BENCH_SLAB_HELP: &str = "\
As 'bench page', of objects; and the pages that the same objects take on both sides, with all that \
is kept for later. Each side has a cache of its own, which is merged with no other.

JSON: accelerator, kernel, unit (instructions or ns), magazine: objects of 256 bytes that a CPU of \
the shadow keeps, host_options: {init_on_alloc, init_on_free, page_poison, debug_pagealloc}; rows: \
[{bench, shape, per, unit, blocks, shadow, host, ratio, ratio_of}], unit also pages, shadow and host \
{min, median} of one operation, ratio shadow to host, ratio_of min or, where CPUs work at once, \
median: of which of them; missing: [{shape, why}]; differences: what the host does that the shadow \
does not.";

const BENCH_HELP: &str = "\
A block of operations of the shadow and one of the host in turn, on one CPU, many of each; shown \
are the smallest and the one in the middle. On a processor the unit is the nanosecond. Under \
emulation with QEMU's -icount (make guest ACCEL=icount) it is the instruction, the same in every \
run; under emulation without it nothing is shown. Nothing stays allocated.

JSON: accelerator, kernel, unit (instructions or ns), pagesets, host_options: {init_on_alloc, \
init_on_free, page_poison, debug_pagealloc}; rows: [{bench, shape, per, unit, blocks, shadow, host, \
ratio, ratio_of}], shadow and host {min, median} of one operation, ratio shadow to host, ratio_of \
min or, where CPUs work at once, median: of which of them; missing: [{shape, why}]; differences: \
what the host does that the shadow does not.";

/// Options of `bench`.
#[derive(Args, Debug)]
pub struct BenchOptions {
    /// A twentieth of the blocks, at least 5: rougher medians
    #[arg(long)]
    pub quick: bool,
}

/// A page frame number, decimal or hexadecimal.
pub fn pfn(text: &str) -> Result<u64, String> {
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| "a page frame number is decimal, or hexadecimal with 0x".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn page_frame_numbers_are_decimal_or_hexadecimal() {
        assert_eq!(pfn("4096"), Ok(4096));
        assert_eq!(pfn("0x1000"), Ok(4096));
        for text in ["", "0x", "-1", "1k", "18446744073709551616"] {
            assert!(pfn(text).is_err(), "{text}");
        }
    }
}
