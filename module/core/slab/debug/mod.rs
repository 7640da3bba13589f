// SPDX-License-Identifier: GPL-2.0

//! Debugging of caches: SLUB's checks and reports, on the slow path alone and
//! under the lock of the node that the slab is on.
//!
//! ```text
//! pattern.rs   the bytes that slabs are filled with; a slab as bytes
//! layout.rs    where the parts of an object lie
//! track.rs     who has allocated and freed an object
//! depot.rs     each stack once, in the shadow's memory
//! inspect.rs   a cache and a slab, as the checks see them
//! check.rs     objects, freelists, slabs; what is wrong is mended
//! process.rs   a new slab, an allocation, a free
//! finding.rs   what can be found, counted
//! report.rs    what is said of it, in SLUB's form
//! hexdump.rs   bytes as text
//! traces.rs    alloc_traces and free_traces
//! witness.rs   who asks; the depot's pages
//! slowpath.rs  where the slab layer calls all that
//! ```
//!
//! What is found is an error for whoever asked, a line of a counter, and a
//! report through [`Platform::slab_report`](crate::platform::Platform). Nothing
//! stops: where Linux would run into a `BUG_ON`, there is an error and a report
//! here, too.

mod check;
mod depot;
mod finding;
mod hexdump;
mod inspect;
mod layout;
mod pattern;
mod process;
mod report;
mod slowpath;
mod traces;
mod track;
mod witness;

pub use depot::Depot;
pub use depot::DepotMemory;
pub use depot::DepotRoot;
pub use finding::Finding;
pub use finding::Findings;
pub use finding::NR_FINDINGS;
pub use inspect::Cache;
pub use inspect::Slab;
pub use inspect::Taint;
pub use layout::Layout;
pub use layout::TrackItem;
pub use pattern::SlabBytes;
pub use pattern::POISON_END;
pub use pattern::POISON_FREE;
pub use pattern::POISON_INUSE;
pub use pattern::SLUB_RED_ACTIVE;
pub use pattern::SLUB_RED_INACTIVE;
pub(super) use slowpath::Asked;
pub use traces::Location;
pub use traces::Locations;
pub use track::StackHandle;
pub use track::Stacks;
pub use track::Track;
pub use track::TRACK_ADDRS_COUNT;
pub(super) use witness::DebugState;

/// What the red zones of an object are filled with.
pub const fn red_zone(is_free: bool) -> u8 {
    match is_free {
        true => SLUB_RED_INACTIVE,
        false => SLUB_RED_ACTIVE,
    }
}
