// SPDX-License-Identifier: GPL-2.0

//! Physical memory: its numbers, and the one place that turns a number into
//! memory.
//!
//! ```text
//! addr.rs    PhysAddr, Bytes, Pfn, Pages, PageOrder, node and CPU numbers
//! backing.rs the host memory that there is, in runs
//! region.rs  the region: that memory laid under the shadow's map
//!   placed.rs      which parts of it hold objects
//!   fixed_list.rs  what both keep their tables in
//! cells.rs   structures in pages that the page allocator has given out
//! array.rs   a C array as the C structs have it (pointer here, length there)
//! poison.rs  the pattern in free pages, and looking for it
//! ```
//!
//! `unsafe` stands in `backing`, `region`, `cells`, `array` and `poison`, and nowhere else
//! in core: above them everything works on references whose lifetime `'m` is that
//! of the region's memory.

mod addr;
mod array;
mod backing;
mod cells;
mod fixed_list;
mod placed;
mod poison;
mod region;

pub use addr::Bytes;
pub use addr::CpuId;
pub use addr::NodeId;
pub use addr::PageOrder;
pub use addr::Pages;
pub use addr::Pfn;
pub use addr::PfnRange;
pub use addr::PhysAddr;
pub use addr::PhysRange;
pub use addr::MAX_CPUS;
pub use addr::MAX_NODES;
pub use addr::MAX_PAGE_ORDER;
pub use addr::NR_PAGE_ORDERS;
pub use addr::PAGEBLOCK_ORDER;
pub use addr::PAGE_SHIFT;
pub use addr::PAGE_SIZE;
pub use array::CName;
pub use array::CTable;
pub use backing::Backing;
pub use backing::BackingRun;
pub use backing::PageBytes;
pub use backing::MAX_BACKING_RUNS;
pub(crate) use cells::cells;
pub use cells::CellRef;
pub use cells::CellSlot;
pub use cells::Cells;
pub use cells::CellsSlot;
pub use cells::Window;
pub(crate) use fixed_list::FixedList;
pub use region::placed_size;

pub use region::Region;
pub use region::Segment;
pub use region::MAX_SEGMENTS;
