// SPDX-License-Identifier: GPL-2.0

//! The files of a cache, as `/sys/kernel/slab/NAME` has them (`slab_attrs`).
//!
//! ```text
//! geometry   slab_size object_size objs_per_slab order align sheaf_capacity min_partial
//! flags      hwcache_align reclaim_account destroy_by_rcu cache_dma sanity_checks trace red_zone
//!            poison store_user
//! creation   aliases ctor usersize
//! slabs      slabs total_objects objects partial objects_partial, by node: "12 N0=7 N1=5"
//! counters   alloc_fastpath and so on, as with CONFIG_SLUB_STATS
//! to write   min_partial shrink validate
//! ```
//!
//! `cpu_slabs`, `cpu_partial` and `slabs_cpu_partial` say 0, as in Linux since
//! CPUs keep objects and no slabs.

use crate::phys::NodeId;
use crate::phys::MAX_NODES;
use crate::slab::CacheNodeReport;
use crate::slab::CacheReport;
use crate::slab::Constructor;
use crate::slab::ObjectAllocator;
use crate::slab::SlabFlags;
use core::fmt;
use core::fmt::Write;

macro_rules! files {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// The files that there are. Their numbers are those of the table in
        /// kernel/procfs_slab.c.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum CacheFile { $($(#[$doc])* $name,)* }

        impl CacheFile {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

files! {
    /// Bytes from one object to the next.
    SlabSize = "slab_size";
    /// Bytes of an object.
    ObjectSize = "object_size";
    /// Objects in a slab.
    ObjsPerSlab = "objs_per_slab";
    /// The order of a slab.
    Order = "order";
    /// Objects that a CPU keeps.
    SheafCapacity = "sheaf_capacity";
    /// Empty slabs that a node keeps.
    MinPartial = "min_partial";
    /// Nothing since 7.0.
    CpuPartial = "cpu_partial";
    /// Objects in use on the partial lists.
    ObjectsPartial = "objects_partial";
    /// Slabs on the partial lists.
    Partial = "partial";
    /// Nothing since 7.0.
    CpuSlabs = "cpu_slabs";
    /// The constructor.
    Ctor = "ctor";
    /// How many other names the cache has.
    Aliases = "aliases";
    /// The alignment of objects.
    Align = "align";
    /// `SLAB_HWCACHE_ALIGN`.
    HwcacheAlign = "hwcache_align";
    /// `SLAB_RECLAIM_ACCOUNT`.
    ReclaimAccount = "reclaim_account";
    /// `SLAB_TYPESAFE_BY_RCU`.
    DestroyByRcu = "destroy_by_rcu";
    /// Written to, it gives empty slabs back.
    Shrink = "shrink";
    /// Nothing since 7.0.
    SlabsCpuPartial = "slabs_cpu_partial";
    /// Objects of all slabs.
    TotalObjects = "total_objects";
    /// Objects in use.
    Objects = "objects";
    /// Slabs.
    Slabs = "slabs";
    /// `SLAB_CONSISTENCY_CHECKS`.
    SanityChecks = "sanity_checks";
    /// `SLAB_TRACE`.
    Trace = "trace";
    /// `SLAB_RED_ZONE`.
    RedZone = "red_zone";
    /// `SLAB_POISON`.
    Poison = "poison";
    /// `SLAB_STORE_USER`.
    StoreUser = "store_user";
    /// Written to, it checks the cache.
    Validate = "validate";
    /// `SLAB_CACHE_DMA`.
    CacheDma = "cache_dma";
    /// Bytes of an object that may be copied to users.
    Usersize = "usersize";
    /// Objects from what CPUs keep.
    AllocFastpath = "alloc_fastpath";
    /// Objects from slabs.
    AllocSlowpath = "alloc_slowpath";
    /// Objects to what CPUs keep.
    FreeFastpath = "free_fastpath";
    /// Objects to slabs.
    FreeSlowpath = "free_slowpath";
    /// Slabs that were made.
    AllocSlab = "alloc_slab";
    /// Slabs that went back.
    FreeSlab = "free_slab";
    /// Slabs of the smaller order.
    OrderFallback = "order_fallback";
    /// What CPUs keep, filled from slabs.
    SheafRefill = "sheaf_refill";
    /// What CPUs keep, emptied.
    SheafFlush = "sheaf_flush";
}

impl CacheFile {
    /// Writes the file of the cache that `cache` reports on.
    pub fn write(
        self,
        out: &mut dyn Write,
        cache: &CacheReport,
        objects: &dyn ObjectAllocator,
    ) -> fmt::Result {
        let geometry = &cache.geometry;
        let counts = &cache.counts;
        let flag = |flag: SlabFlags| u64::from(geometry.flags.has(flag));
        let by_node = |out: &mut dyn Write, of: fn(&CacheNodeReport) -> u64| {
            write_by_node(out, cache, objects, of)
        };
        let number: u64 = match self {
            Self::SlabSize => geometry.size.into(),
            Self::ObjectSize => geometry.object_size.into(),
            Self::ObjsPerSlab => geometry.objects.into(),
            Self::Order => geometry.order.get().into(),
            Self::SheafCapacity => geometry.sheaf_capacity.into(),
            Self::MinPartial => geometry.min_partial.into(),
            Self::CpuPartial | Self::CpuSlabs => 0,
            Self::SlabsCpuPartial => return out.write_str("0(0)\n"),
            Self::ObjectsPartial => {
                // Full slabs are on no list, and all of their objects are in use. One
                // that is smaller for lack of memory counts as a whole one.
                let in_full = |node: &CacheNodeReport| node.full * u64::from(geometry.objects);
                return write_by_node(out, cache, objects, |node| {
                    node.objects.saturating_sub(in_full(node))
                });
            }
            Self::Partial => return by_node(out, CacheNodeReport::nr_partial),
            Self::TotalObjects => return by_node(out, |node| node.total_objects),
            Self::Objects => return by_node(out, |node| node.objects),
            Self::Slabs => return by_node(out, |node| node.slabs),
            Self::Ctor => return write_ctor(out, cache.ctor),
            Self::Shrink | Self::Validate => return Ok(()),
            Self::Aliases => u64::try_from(cache.refcount.saturating_sub(1)).unwrap_or(0),
            Self::Align => geometry.align.into(),
            Self::HwcacheAlign => flag(SlabFlags::HWCACHE_ALIGN),
            Self::ReclaimAccount => flag(SlabFlags::RECLAIM_ACCOUNT),
            Self::DestroyByRcu => flag(SlabFlags::TYPESAFE_BY_RCU),
            Self::SanityChecks => flag(SlabFlags::CONSISTENCY_CHECKS),
            Self::Trace => flag(SlabFlags::TRACE),
            Self::RedZone => flag(SlabFlags::RED_ZONE),
            Self::Poison => flag(SlabFlags::POISON),
            Self::StoreUser => flag(SlabFlags::STORE_USER),
            Self::CacheDma => flag(SlabFlags::CACHE_DMA),
            Self::Usersize => cache.usersize.into(),
            Self::AllocFastpath => counts.alloc_fastpath,
            Self::AllocSlowpath => counts.alloc_slowpath,
            Self::FreeFastpath => counts.free_fastpath,
            Self::FreeSlowpath => counts.free_slowpath,
            Self::AllocSlab => counts.alloc_slab,
            Self::FreeSlab => counts.free_slab,
            Self::OrderFallback => counts.order_fallback,
            Self::SheafRefill => counts.refills,
            Self::SheafFlush => counts.flushes,
        };
        writeln!(out, "{number}")
    }
}

/// The sum, and the nodes that have some of it (`show_slab_objects`).
fn write_by_node(
    out: &mut dyn Write,
    cache: &CacheReport,
    objects: &dyn ObjectAllocator,
    of: impl Fn(&CacheNodeReport) -> u64,
) -> fmt::Result {
    let nodes = || {
        let nids = (0..MAX_NODES as i32).map(NodeId);
        nids.filter_map(|nid| Some((nid, of(&objects.node_report(cache.id, nid)?))))
    };
    let sum: u64 = nodes().map(|(_, count)| count).sum();
    write!(out, "{sum}")?;
    for (nid, count) in nodes().filter(|&(_, count)| count != 0) {
        write!(out, " N{}={count}", nid.0)?;
    }
    writeln!(out)
}

/// Linux prints the function's name; a constructor of the shadow has none, and
/// what it does in its place (`ctor_show`).
fn write_ctor(out: &mut dyn Write, ctor: Constructor) -> fmt::Result {
    match ctor {
        Constructor::None => Ok(()),
        Constructor::Fill(byte) => writeln!(out, "fill:{byte:#04x}"),
        Constructor::FailAfter(objects) => writeln!(out, "fail:{objects}"),
    }
}
