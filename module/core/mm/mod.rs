// SPDX-License-Identifier: GPL-2.0

//! Private address spaces: what a process sees of the memory.
//!
//! ```text
//! AddressSpace (mm_struct)
//!   vma_tree      which range is which VMA           maple, or red-black tree and list
//!     Vma         range, flags, what is behind it
//!   page_table    four levels in x86-64's format, in shadow pages
//!   host          the host's page table, which serves as a TLB
//! ```
//!
//! All of it lies in the shadow's own memory: address spaces, VMAs and tree nodes
//! are objects of caches (`mm_struct`, `vm_area_struct`, `maple_node`), the tables
//! pages of the page allocator.
//!
//! # Lock order
//!
//! ```text
//! host's mmap_lock or VMA lock    whoever comes from a fault or a request has one
//!   mmap_lock                     MmCells::lock; sleeps
//!     a VMA's lock                VmaCells::lock; sleeps; faults have it for reading
//!       a page table's lock       sleeps; from an entry's change to the host's
//!         the page allocator's and the slab layer's
//! ```
//!
//! A fault takes its VMA's lock alone: it finds the VMA in a pinned section
//! ([`Platform::pin_cpu`](crate::platform::Platform::pin_cpu)), takes its lock, and
//! looks whether it is still what it was. VMAs and tree nodes are of caches whose
//! slabs stay slabs of that cache while somebody is pinned
//! (`SLAB_TYPESAFE_BY_RCU`), so what is found there may be wrong, but is a VMA or a
//! node.

mod anon;
mod cells;
mod cow;
mod exit;
mod fault;
mod file;
mod flags;
mod fork;
mod host;
mod huge;
mod lock;
mod memory;
mod move_tables;
pub mod page_table;
mod protect;
mod rss;
mod shared;
mod system;
mod types;
mod vma_tree;
mod zap;
mod zero;

pub use cells::MmCells;
pub use cells::VmaCells;
pub use cells::NR_RSS;
pub use fault::FaultResult;
pub use fault::Mapped;
pub use fault::SegvCode;
pub use flags::VmFlags;
pub use host::Access;
pub use host::HostTable;
pub use huge::ThpMode;
pub use lock::VmaRead;
pub use rss::Rss;
pub use system::AddressSpace;
pub use system::AddressSpaces;
pub use system::CacheOf;
pub use system::MmapRead;
pub use system::MmapWrite;
pub use system::SpacesTable;
pub use types::VirtAddr;
pub use types::VirtRange;
pub use types::TASK_SIZE;
pub use vma_tree::Entry;
pub use vma_tree::Reserve;
pub use vma_tree::TreeKind;
pub use vma_tree::VmaTree;

/// How large a node of a VMA tree is, in bytes (`struct maple_node`).
pub const NODE_SIZE: usize = 256;
