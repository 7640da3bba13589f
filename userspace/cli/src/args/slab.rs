// SPDX-License-Identifier: GPL-2.0

//! The command line of `slab`.

use super::page::size;
use clap::Args;
use clap::Subcommand;
use clap::ValueEnum;
use shadowmm_client::Constructor;

/// Objects belong to the open file, and a command has it open only while it runs.
const HELD: &str = "\
Objects belong to the open file that took them, and every run of this command opens the device \
anew: on its own it shows the refusal. 'slab alloc --interactive' does it to what it holds.";

/// The keys of a cache, which two commands have.
macro_rules! cache_keys {
    () => {
        "cache, name, aliases, mergeable, object_size, size, inuse, offset, align, red_left_pad, \
flags, flag_names, order, objects_per_slab, min_order, min_objects, min_partial, sheaf_capacity, constructor, \
useroffset, usersize, active_objects, total_objects, cached_objects, slabs, slab_pages, \
alloc_fastpath, alloc_slowpath, free_fastpath, free_slowpath, free_remote, remote_batches, \
refills, flushes, cpu_flush, alloc_slab, free_slab, order_fallback, failed"
    };
}

/// What to do with caches and objects.
#[derive(Debug, Subcommand)]
pub enum Slab {
    /// The caches, as slabtop shows them
    #[command(
        after_long_help = concat!("JSON: up, by (slab or kmsob), held_objects, slab_pages; caches: [{", cache_keys!(), "}], in the order of --sort.")
    )]
    List(List),
    /// A cache: its objects, its slabs, what each node and the CPUs have
    #[command(
        after_long_help = concat!("JSON: ", cache_keys!(), "; nodes: [{cache, nid, full_slabs, partial_slabs, empty_slabs, total_objects, objects}].")
    )]
    Show {
        /// Its name
        cache: String,
    },
    /// Make a cache; it stays until it is destroyed
    #[command(
        after_long_help = "Where a cache is there already that does as well, that one gets the name as another of its own, unless --flags has SLAB_NO_MERGE or one for debugging.\n\nJSON: cache, aliases; name; geometry: the keys of slab show."
    )]
    Create(Create),
    /// Take objects of a cache; they return when this command ends
    #[command(after_long_help = ALLOC_HELP)]
    Alloc(Alloc),
    /// Take objects of the general caches, by their size; they return when this command ends
    #[command(after_long_help = KMALLOC_HELP)]
    Kmalloc(Kmalloc),
    /// Free an object, which only the open file that took it may
    #[command(after_long_help = format!("{HELD}\n\nJSON: cache, object, freed."))]
    Free {
        /// The name of its cache
        cache: String,
        /// The object's address
        #[arg(value_parser = address)]
        object: u64,
    },
    /// Give back the slabs without objects in use, of a cache or of all
    #[command(after_long_help = "JSON: freed_pages.")]
    Shrink {
        /// Its name; all caches where none is named
        cache: Option<String>,
    },
    /// Check a cache
    #[command(
        after_long_help = "JSON: ok, violated. Exit status 1 where something does not hold."
    )]
    Validate {
        /// Its name
        cache: String,
    },
    /// Destroy a cache, or take it one of its names
    #[command(
        after_long_help = "Refused while objects are alive; it is said which those are, but for those in full slabs, which Linux does not name either.\n\nJSON: name, destroyed; where it was refused for that, error and alive, a text in the form of Linux's report, and exit status 1."
    )]
    Destroy {
        /// Its name
        cache: String,
    },
    /// The caches, again and again
    #[command(after_long_help = "JSON: an object on each line, with the keys of slab list.")]
    Top(Top),
}

const ALLOC_HELP: &str = "\
Lines of --interactive: alloc [COUNT], free OBJECT, read OBJECT, write OBJECT OFFSET BYTE..., quit. \
Numbers may be hexadecimal with 0x. write goes beyond the object with the right to, for debugging \
to find; so do, in a cache with debugging, force free OBJECT [CACHE] and force write OBJECT OFFSET \
BYTE..., for which OBJECT need be none.

JSON: cache, name, objects: [{object, nid}]; with --bulk nid is null. Each line of --interactive is \
answered by an object on a line: alloc as this command; free with cache, object, freed; read with object, \
bytes; write with object, offset, written; one that is refused with error (the name of the reason, as \
ObjectNotHeld, or of the errno; BadLine where the line makes no sense) and text.

Exit status 1 also where stdin is no terminal and a line was refused.";

const KMALLOC_HELP: &str = "\
Lines of --interactive: realloc OBJECT SIZE, free OBJECT, size OBJECT, write OBJECT OFFSET BYTE..., quit. \
Numbers may be hexadecimal with 0x. With debugging, size is what lets all of an object be used; write \
before that goes beyond what was asked for, for debugging to find.

JSON: size; objects: [{object, usable_bytes, nid}]. Each line of --interactive is answered by an object on \
a line: realloc with object, usable_bytes, nid; free with object, freed; size with object, usable_bytes; \
write with object, offset, written; one that is refused with error and text, and with the exit status, \
as of slab alloc.";

/// What the caches are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// Objects that there are
    #[default]
    Objects,
    /// Objects that somebody has
    Active,
    /// The part of the objects that somebody has
    Use,
    /// Bytes of an object
    Size,
    /// Slabs
    Slabs,
    /// Objects in a slab
    PerSlab,
    /// Bytes of all slabs
    Cache,
    /// The name
    Name,
}

/// Options of `slab list`.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct List {
    /// What to sort by; the most first, names from A to Z
    #[arg(long, value_name = "KEY", value_enum, default_value_t)]
    pub sort: Sort,

    /// Those without a slab, too
    #[arg(long)]
    pub all: bool,
}

/// Options of `slab top`.
#[derive(Args, Debug)]
pub struct Top {
    /// How it is shown.
    #[command(flatten)]
    pub list: List,

    /// Look again every SECS seconds
    #[arg(long, value_name = "SECS", default_value_t = 3)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub delay: u64,

    /// Stop after so many looks
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

/// Options of `slab create`.
#[derive(Args, Debug)]
pub struct Create {
    /// Its name
    pub name: String,

    /// Bytes of an object
    #[arg(long, value_name = "BYTES", value_parser = small_size)]
    pub size: u32,

    /// The alignment of objects, a power of two
    #[arg(long, value_name = "BYTES", value_parser = small_size, default_value = "0")]
    pub align: u32,

    /// Linux's names of the flags, like SLAB_HWCACHE_ALIGN or RED_ZONE, joined by | or commas; numbers
    /// with 0x are passed on
    #[arg(long, value_name = "NAMES", value_parser = crate::slab_flags::parse)]
    pub flags: Option<u32>,

    /// Debugging, by the letters of slab_debug=: F checks, Z red zones, P poison, U owners, T trace
    #[arg(long, value_name = "LETTERS", value_parser = crate::slab_flags::letters)]
    pub debug: Option<u32>,

    /// What is done to objects when their slab is made: fill:BYTE, or fail:N, which works for N of
    /// them
    #[arg(long, value_name = "WHAT", value_parser = constructor)]
    pub ctor: Option<Constructor>,

    /// The part of an object that may be copied to users
    #[arg(long, value_name = "OFFSET:BYTES", value_parser = window)]
    pub usercopy: Option<(u32, u32)>,

    /// Where in the object the free pointer goes
    #[arg(long, value_name = "OFFSET", value_parser = small_size)]
    pub freeptr: Option<u32>,

    /// Objects that each CPU keeps; as many as Linux would where none is named
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub sheaf: u32,
}

/// How objects are taken.
#[derive(Args, Debug)]
pub struct Take {
    /// How many
    #[arg(long, default_value_t = 1, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub count: u32,

    /// The preferred node; the local one where none is named
    #[arg(long, value_name = "N")]
    pub node: Option<u32>,

    /// Linux's names of the flags, like GFP_ATOMIC, joined by | or commas; numbers with 0x are passed
    /// on
    #[arg(long, value_name = "NAMES", value_parser = crate::gfp::parse, default_value = "GFP_KERNEL")]
    pub gfp: u32,

    /// Their bytes are zero
    #[arg(long)]
    pub zero: bool,

    /// Keep them for this many seconds
    #[arg(long, value_name = "SECS", conflicts_with = "interactive")]
    pub hold: Option<u64>,

    /// Keep them until the end of stdin, whose lines say what to do with them
    #[arg(long)]
    pub interactive: bool,
}

/// Options of `slab alloc`.
#[derive(Args, Debug)]
pub struct Alloc {
    /// The name of the cache
    pub cache: String,

    /// Take them by kmem_cache_alloc_bulk(), up to 4096 at once
    #[arg(long)]
    pub bulk: bool,

    /// How many bytes of an object are asked for: in a cache with SLAB_KMALLOC debugging looks
    /// whether more are written
    #[arg(long, value_name = "BYTES", conflicts_with = "bulk")]
    pub asked: Option<u32>,

    /// How.
    #[command(flatten)]
    pub take: Take,
}

/// Options of `slab kmalloc`.
#[derive(Args, Debug)]
pub struct Kmalloc {
    /// How many bytes each; K and M after the number are units
    #[arg(value_parser = size)]
    pub size: u64,

    /// How.
    #[command(flatten)]
    pub take: Take,
}

/// An address in the shadow's memory.
pub fn address(text: &str) -> Result<u64, String> {
    super::pfn(text).map_err(|_| "an address is decimal, or hexadecimal with 0x".to_owned())
}

/// A number of bytes for a field of 32 bits. The module judges whether it makes
/// sense.
fn small_size(text: &str) -> Result<u32, String> {
    u32::try_from(size(text)?).map_err(|_| "it is a number below 4G".to_owned())
}

fn window(text: &str) -> Result<(u32, u32), String> {
    let (offset, bytes) = text
        .split_once(':')
        .ok_or("it is an offset and a number of bytes, like 16:64")?;
    Ok((small_size(offset)?, small_size(bytes)?))
}

fn constructor(text: &str) -> Result<Constructor, String> {
    let told = || "it is fill:BYTE, like fill:0x5a, or fail:N".to_owned();
    let (kind, value) = text.split_once(':').ok_or_else(told)?;
    let value = super::pfn(value).map_err(|_| told())?;
    match kind {
        "fill" => u8::try_from(value)
            .map(Constructor::Fill)
            .map_err(|_| "a byte is at most 255".to_owned()),
        "fail" => u32::try_from(value)
            .map(Constructor::FailAfter)
            .map_err(|_| "it is a number of objects below 4G".to_owned()),
        _ => Err(told()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constructors_and_windows_are_read() {
        assert_eq!(constructor("fill:0x5a"), Ok(Constructor::Fill(0x5a)));
        assert_eq!(constructor("fail:3"), Ok(Constructor::FailAfter(3)));
        for text in [
            "",
            "fill",
            "fill:256",
            "fill:-1",
            "fail:",
            "pour:1",
            "fail:0x100000000",
        ] {
            assert!(constructor(text).is_err(), "{text}");
        }
        assert_eq!(window("16:64"), Ok((16, 64)));
        assert_eq!(window("0:1K"), Ok((0, 1024)));
        for text in ["", "16", ":", "16:-1", "4G:1"] {
            assert!(window(text).is_err(), "{text}");
        }
    }
}
