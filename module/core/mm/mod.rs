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

mod accounting;
mod address_space;
mod anon;
mod anon_region;
mod around;
mod backing;
mod brk;
mod cells;
mod collapse;
mod counted;
mod cow;
mod dup_mmap;
mod exit;
mod fault;
mod file;
mod flags;
mod fork;
mod guard;
mod handle;
mod host;
mod huge;
mod lock;
mod madvise;
mod mapcount;
mod memory;
mod merge;
mod mincore;
mod mlock;
mod mmap;
mod move_tables;
mod mprotect;
mod mremap;
mod munmap;
mod oom;
pub mod page_table;
mod parts;
mod placement;
mod populate;
mod protect;
mod reclaim;
mod resident;
mod rlimit;
mod rss;
mod shared;
mod split;
mod stack;
mod sysctl;
mod system;
mod types;
mod usage;
mod validate;
mod vma;
mod vma_tree;
mod zap;
mod zero;

pub use accounting::MmNumbers;
pub use address_space::MmConfig;
pub use address_space::Segments;
pub use address_space::COMM_LEN;
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
pub use madvise::Advice;
pub use mincore::mincore_pages;
pub use mmap::FileKind;
pub use mmap::MmapFile;
pub use mmap::MmapRequest;
pub use mremap::MremapRequest;
pub use oom::OomTask;
pub use oom::OOM_SCORE_ADJ_MIN;
pub use placement::Layout;
pub use placement::LayoutRequest;
pub use populate::Populate;
pub use rlimit::Rlimit;
pub use rlimit::Rlimits;
pub use rlimit::CAPS;
pub use rlimit::CAP_IPC_LOCK;
pub use rlimit::CAP_SYS_ADMIN;
pub use rlimit::CAP_SYS_RAWIO;
pub use rlimit::MM_LEGACY;
pub use rlimit::RLIM_INFINITY;
pub use rss::Rss;
pub use sysctl::MmKnob;
pub use system::AddressSpace;
pub use system::AddressSpaces;
pub use system::CacheOf;
pub use system::MmapRead;
pub use system::MmapWrite;
pub use system::SpacesTable;
pub use types::VirtAddr;
pub use types::VirtRange;
pub use types::TASK_SIZE;
pub use usage::Looked;
pub use usage::Usage;
pub use vma::Vma;
pub use vma::VmaInfo;
pub use vma_tree::Entries;
pub use vma_tree::Entry;
pub use vma_tree::Reserve;
pub use vma_tree::TreeKind;
pub use vma_tree::VmaTree;
pub use zap::Guards;

/// How large a node of a VMA tree is, in bytes (`struct maple_node`).
pub const NODE_SIZE: usize = 256;
