// SPDX-License-Identifier: GPL-2.0

//! The buddy system: free memory as blocks of 2^order pages, per zone.
//!
//! ```text
//! gfp.rs           the flags of a request
//! alloc.rs         request -> zonelist -> watermark -> zone
//!   watermark_ok.rs   may this request take from this zone?
//!   split_merge.rs    the algorithm inside one locked zone
//!     free_area.rs    the lists by order, and their counts
//!       list.rs       the list, linked through the page descriptors
//! system.rs        giving back, the hand-off's end, what is refused
//! allocator.rs     the seam: the trait, and the owned block
//! stats.rs         per-CPU counts
//! fragmentation.rs indices computed from the counts
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
//! 2. The pin to a CPU guards that CPU's statistics. It is taken when no zone is
//!    locked, and no lock is taken under it.
//!
//! What an allocated block's owner does with its links and its count is the
//! owner's affair until the block is freed.
//!
//! # What is not here yet
//!
//! Lists by migrate type stand inside `FreeArea` once there are any; a CPU's
//! pageset stands before `rmqueue_buddy()` and `try_free()`; compaction follows
//! the second try of the slow path.

mod alloc;
mod allocator;
mod fragmentation;
mod free_area;
pub mod gfp;
mod list;
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
pub use fragmentation::extfrag_for_order;
pub use fragmentation::fragmentation_index;
pub use fragmentation::unusable_free_index;
pub use free_area::FreeAreas;
pub use free_area::FreeCounts;
pub use gfp::Gfp;
pub use list::PageList;
pub use stats::CpuStats;
pub use stats::NumaStat;
pub use stats::Statistics;
pub use stats::VmEvent;
pub use stats::ZoneStats;
pub use stats::NR_NUMA_STATS;
pub use system::BuddySystem;
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
use crate::platform::Platform;
use crate::zone::Zone;
use crate::zonelist::Zonelist;
use crate::zonelist::ZonelistKind;

/// Where the page descriptors are (`mem_map`).
pub trait MemMap {
    /// The descriptor of `pfn`, if it has one (`pfn_to_page`). The same for the
    /// same page, always: the lists run through them.
    fn page(&self, pfn: Pfn) -> Option<&PageDescriptor>;
}

/// Where the zones are (`node_data`).
pub trait ZoneTable<P: Platform> {
    /// The zone with this number, if the node has it.
    fn zone(&self, id: ZoneId) -> Option<&Zone<P>>;

    /// The populated zones that requests on node `nid` try, best first
    /// (`node_zonelist`); `None` when there is no such node.
    fn zonelist(&self, nid: NodeId, kind: ZonelistKind) -> Option<Zonelist<'_, P>>;

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
