// SPDX-License-Identifier: GPL-2.0

//! The buddy system: free memory as blocks of 2^order pages, per zone.
//!
//! ```text
//! gfp.rs           the flags of a request
//! fast.rs          a single page, when nothing stands in its way
//! block.rs         a block that no CPU keeps, likewise
//! direct.rs        a block of any size, when nothing stands in its way
//!   local.rs          what one CPU needs for that
//!   magazine.rs       the hot ends of its pagesets
//! alloc.rs         request -> zonelist -> watermark -> zone
//!   watermark_ok.rs   may this request take from this zone?
//!   pcp.rs            through the CPU's pageset, and back to the zone
//!     pageset.rs      the pages that a CPU keeps, and how many
//!     expire.rs       ... and what becomes of them while it is idle
//!   slowpath.rs       when no zone has room: reclaim, compact, retry, reserves
//!     slowpath/         is another turn worth it?
//!     reclaim/          shrinkers, direct reclaim, kswapd
//!     compaction/       two scanners, from both ends of a zone; kcompactd
//!     migrate.rs        a block moves elsewhere, with its owner's help
//!   fallback.rs       own lists, CMA, claim a page block, steal from one
//!   split_merge.rs    the algorithm inside one locked zone
//!   pageblock.rs      a page block's free pages move to another type
//!   highatomic.rs     page blocks kept for urgent requests
//!     migratetype.rs  the types, and what is kept about a page block
//!     free_area.rs    the lists by order and type, and their counts
//!       list.rs       the list, linked through the page descriptors
//! system.rs        giving back, the hand-off's end, what is refused
//! bulk.rs          many pages, exact sizes, splitting, merging, references
//!   pieces.rs       what a split and a merge change in the descriptors
//! contig.rs        any range of pages, in one piece
//!   isolation.rs      its page blocks, kept from everybody
//! lookup.rs        what a page is, from the descriptors alone
//! policy.rs        on which nodes a request is served
//! allocator.rs     the seam: the trait, and the owned block
//! load.rs          the state of another allocator, taken over and looked at
//! stats.rs         per-CPU counts
//! fragmentation.rs indices computed from the counts
//! page_types.rs    blocks counted by migrate type
//! validate.rs      all invariants, checked
//! ```
//!
//! # The states of a block
//!
//! ```text
//!              accept               rmqueue
//!   reserved ---------> on a list ----------> allocated
//!                        |    ^  ^               |
//!                  split |    |  | merge         | free
//!                        v    |  |               |
//!                      halves-+  +---------------+
//! ```
//!
//! # Locks
//!
//! 1. A zone's lock (`zone.free`) guards its lists, the counts of them (which
//!    may be read without it), and the links, state and order of every
//!    descriptor of the zone. No two zones are locked at once.
//! 2. A pageset belongs to its CPU, while that is pinned, or to whoever has
//!    claimed it (`pageset.rs`). A zone may be locked under it, not the reverse.
//! 3. The pin to a CPU guards that CPU's statistics.
//!
//! What an allocated block's owner does with its links and its count is the
//! owner's affair until the block is freed.
//!
mod alloc;
mod allocator;
mod block;
mod bulk;
mod compaction;
mod contig;
mod direct;
mod expire;
mod fallback;
mod fast;
mod fragmentation;
mod free_area;
pub mod gfp;
mod gfp_names;
mod highatomic;
mod isolation;
mod list;
mod load;
mod local;
pub(crate) mod lookup;
mod magazine;
mod migrate;
mod migratetype;
mod page_types;
mod pageblock;
mod pageset;
mod pcp;
pub(crate) mod pieces;
pub(crate) mod poison;
mod policy;
mod reclaim;
mod slowpath;
mod split_merge;
mod stats;
mod system;
mod validate;
mod watermark_ok;

pub use alloc::AllocRequest;
pub use allocator::BlockInfo;
pub use allocator::FreeReport;
pub use allocator::PageAllocator;
pub use allocator::PageBlock;
pub use allocator::PageRef;
pub use compaction::CompactPriority;
pub use compaction::CompactResult;
pub use compaction::CompactState;
pub use compaction::Kcompactd;
pub use fallback::FallbackCounts;
pub use fragmentation::extfrag_for_order;
pub use fragmentation::fragmentation_index;
pub use fragmentation::unusable_free_index;
pub use free_area::FreeAreas;
pub use free_area::FreeCounts;
pub use gfp::Gfp;
pub use isolation::ContigFor;
pub use list::PageList;
pub use load::ZoneState;
pub use local::CpuLocal;
pub use migrate::Migrate;
pub use migrate::MigrateMode;
pub use migrate::Moved;
pub use migratetype::MigrateType;
pub use migratetype::Pageblock;
pub use migratetype::MIGRATE_PCPTYPES;
pub use migratetype::MIGRATE_TYPES;
pub use page_types::page_types;
pub(crate) use pageset::is_allowed as is_kept_by_cpus;
pub use pageset::Pageset;
pub use pageset::PagesetLimits;
pub use pageset::PagesetState;
pub use pageset::NR_PCP_LISTS;
pub use policy::InterleavePrev;
pub use policy::Policies;
pub use policy::Policy;
pub use reclaim::daemons::Daemons;
pub use reclaim::kswapd::Kswapd;
pub use reclaim::kswapd::Rest;
pub use reclaim::shrinker::Deferred;
pub use reclaim::shrinker::ShrinkControl;
pub use reclaim::shrinker::Shrinker;
pub use reclaim::shrinker::DEFAULT_SEEKS;
pub use stats::CpuStats;
pub use stats::NumaStat;
pub use stats::Statistics;
pub use stats::UserStat;
pub use stats::VmEvent;
pub use stats::ZoneStats;
pub use stats::NR_NUMA_STATS;
pub use system::BuddySystem;
pub(crate) use validate::flaw_of_held;
pub(crate) use validate::is_slab;
pub use validate::Violation;
pub use watermark_ok::is_above;
pub use watermark_ok::zone_watermark_ok;
pub use watermark_ok::AllocFlags;

use crate::error::Error;
use crate::error::Result;
use crate::nodemask::NodeMask;
use crate::page::PageDescriptor;
use crate::page::ZoneId;
use crate::phys::NodeId;
use crate::phys::Pfn;
use crate::phys::MAX_NODES;
use crate::platform::Platform;
use crate::tunables::Tunable;
use crate::zone::Zone;
use crate::zonelist::Zonelist;
use crate::zonelist::ZonelistKind;

/// Where the page descriptors are (`mem_map`).
pub trait MemMap {
    /// The descriptor of `pfn`, if it has one (`pfn_to_page`). The same for the
    /// same page, always: the lists run through them.
    fn page(&self, pfn: Pfn) -> Option<&PageDescriptor>;

    /// The descriptors of `len` pages from `pfn` on, if these lie side by side.
    #[inline]
    fn pages(&self, _pfn: Pfn, _len: u32) -> Option<&[PageDescriptor]> {
        None
    }

    /// What is kept about the page block that `pfn` lies in. A map that keeps
    /// nothing has Unmovable page blocks throughout.
    #[inline]
    fn pageblock(&self, _pfn: Pfn) -> Option<&Pageblock> {
        None
    }

    /// Whether all requests are served as Unmovable, because there are too few
    /// page blocks to keep their types apart
    /// (`page_group_by_mobility_disabled`).
    #[inline]
    fn is_mobility_disabled(&self) -> bool {
        true
    }
}

/// Where the zones are (`node_data`).
pub trait ZoneTable<P: Platform> {
    /// The zone with this number, if the node has it.
    fn zone(&self, id: ZoneId) -> Option<&Zone<P>>;

    /// The populated zones that requests on node `nid` try, best first
    /// (`node_zonelist`); `None` when there is no such node.
    fn zonelist(&self, nid: NodeId, kind: ZonelistKind) -> Option<Zonelist<'_, P>>;

    /// What the node's threads for reclaim and compaction are asked to do;
    /// `None` where that is not kept.
    fn daemons(&self, _nid: NodeId) -> Option<&Daemons> {
        None
    }

    /// Where a knob with one value is; where nobody turns any, where they were at
    /// first.
    fn tunable(&self, which: Tunable) -> u32 {
        which.default_value()
    }

    /// How many nodes are online (`nr_online_nodes`).
    fn nr_online_nodes(&self) -> usize {
        let nodes = (0..MAX_NODES as u32).filter_map(NodeId::new);
        nodes
            .filter(|&nid| self.zonelist(nid, ZonelistKind::Fallback).is_some())
            .count()
    }

    /// The zones to try for a request (`node_zonelist`): those of `nid`, or for
    /// none in particular those of the running CPU's node (`numa_mem_id`). A CPU
    /// whose node the shadow does not have gets the lowest that it has.
    ///
    /// # Errors
    ///
    /// [`Error::NodeOffline`] when there is no such node.
    #[inline]
    fn node_zonelist(&self, platform: &P, nid: NodeId, gfp: Gfp) -> Result<Zonelist<'_, P>> {
        let kind = match gfp.has(gfp::__GFP_THISNODE) {
            true => ZonelistKind::NoFallback,
            false => ZonelistKind::Fallback,
        };
        let wanted = match nid {
            NodeId::NONE => platform.local_node(),
            _ => nid,
        };
        if let Some(zonelist) = self.zonelist(wanted, kind) {
            return Ok(zonelist);
        }
        if nid != NodeId::NONE {
            return Err(Error::NodeOffline);
        }
        NodeMask::ALL
            .iter()
            .find_map(|nid| self.zonelist(nid, kind))
            .ok_or(Error::NodeOffline)
    }
}
