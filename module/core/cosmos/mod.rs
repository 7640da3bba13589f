// SPDX-License-Identifier: GPL-2.0

//! Another page allocator behind the same seam: division and merging, as Peng
//! Dong's teaching kernel Cosmos manages its pages.
//!
//! ```text
//! allocator.rs  the interface: the seam's trait, counting, what is refused
//!   area.rs       the framework: which area a request goes to
//!     divide.rs     the core: the smallest block that fits, halved
//!     merge.rs      the core: a freed block and its neighbour become one
//!       lists.rs      the lists of an area, one per size
//! report.rs     /proc/shadowmm/cosmos
//! validate.rs   all invariants, checked
//! ```
//!
//! Cosmos has the same three layers: `mm_division_pages()` takes a request,
//! `mm_divpages_fmwk()` finds the area, `mm_divpages_core()` works in it under
//! its lock; `mm_merge_pages()` and its two likewise.
//!
//! # What stands for what
//!
//! ```text
//! Cosmos        here             what it is
//! memarea_t     MemArea          memory of one use, with one lock
//! memdivmer_t   DivideMerge      the lists of an area, one per power of two
//! bafhlst_t     BlockList        the blocks of one size, and their counts
//! msadsc_t      PageDescriptor   what is kept about one page
//! ```
//!
//! # Locks
//!
//! An area's lock guards its lists and counts, and the links, state and order
//! of every descriptor of the area. No two areas are locked at once. Zones'
//! locks and free areas are not used. The pin to a CPU, for its statistics, is
//! taken when no area is locked.
//!
//! # What differs from Cosmos, on purpose
//!
//! - There may be several nodes, and zones are what reports are made by. So an
//!   area never reaches over the border of a zone: each zone has its part of
//!   the hardware area, of the kernel area, or of the application area.
//! - A block is aligned to its size, because the seam's users count on it. So
//!   only the neighbour that it was divided from is merged with a block;
//!   Cosmos takes one on either side, and its blocks may start anywhere. Here
//!   all that was taken apart comes together again when it is freed, whatever
//!   the order.
//! - The neighbour is found by its descriptor, not by a search of its list.
//! - The largest block has the buddy system's largest order; Cosmos goes on to
//!   2^51 pages.
//! - A size that is no power of two can't be asked for; Cosmos rounds it up.
//! - The application area gives out blocks of every size; the last Cosmos keeps
//!   single pages there, which never merge.
//! - A block counts its users as a whole; Cosmos counts those of each page.
//! - A block that somebody owns can be split and merged. It counts as given back,
//!   and what it becomes as given out; Cosmos has no such call.
//! - No range of one's own choosing can be had: nothing moves, and what an area
//!   has is what its lists have.

mod allocator;
mod area;
mod divide;
pub mod kmsob;
mod lists;
mod merge;
mod report;
mod validate;

pub use allocator::CosmosSystem;
pub use area::hardware_end;
pub use area::AreaKind;
pub use area::MemArea;
pub use area::MemAreas;
pub use area::HARDWARE_END;
pub use lists::BlockList;
pub use lists::DivideMerge;
pub use report::AreaReport;
pub use report::ListReport;
