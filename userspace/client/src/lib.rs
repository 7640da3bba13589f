// SPDX-License-Identifier: GPL-2.0

//! A safe library over `/dev/shadowmm`.
//!
//! ```text
//! Device          an open file: requests, and the pages that it owns
//!   request.rs    what crosses the ABI: one struct and one number each
//!   boot.rs       the stages of the boot, and the map for the next one
//!   page.rs       blocks of pages that free themselves, and what a page is
//!   contig.rs     ranges in one piece
//!   pages.rs      many at once, exact sizes; blocks split, merged, shared
//!   policy.rs     from which nodes pages come
//!   caches.rs     caches of objects: made, found, shrunk, destroyed, told of
//!   objects.rs    objects of caches, and by their size; what is in them
//!   mm/           windows: address spaces of this process in the shadow
//!   areas.rs      what the page manager after Cosmos tells about itself
//!   bench.rs      the shadow's page allocator measured beside the host's
//!   diff.rs       the same steps on the kernel's zones and on copies of them
//!   diff_slab.rs  caches of the kernel's slab allocator, and pairs with the shadow's
//!   report.rs     the model: what shadowmm tells about itself, as plain data
//!   usage.rs      of it, how the page allocator's memory is used
//!   error.rs      why a request failed, in a sentence
//! ```
//!
//! Everything that a process takes through a [`Device`] belongs to it and
//! returns when it is dropped, however the process ends.

mod areas;
mod bench;
mod bench_lookup;
mod bench_slab;
mod boot;
mod caches;
mod contig;
mod device;
mod diff;
mod diff_slab;
mod error;
pub mod mm;
mod objects;
mod page;
mod pages;
mod policy;
mod report;
mod request;
mod usage;

pub use areas::Area;
pub use areas::AreaList;
pub use bench::Bench;
pub use bench::BenchShape;
pub use bench::BenchSides;
pub use bench::HostOptions;
pub use bench::Measured;
pub use bench_lookup::LookupMeasured;
pub use bench_slab::SlabBench;
pub use bench_slab::SlabBenchShape;
pub use bench_slab::SlabMeasured;
pub use boot::Boot;
pub use boot::CpuAffinity;
pub use boot::E820Range;
pub use boot::Map;
pub use boot::MapSource;
pub use boot::MemoryAffinity;
pub use boot::Stage;
pub use caches::Cache;
pub use caches::CacheArgs;
pub use caches::CacheNode;
pub use caches::Constructor;
pub use caches::Created;
pub use caches::NotDestroyed;
pub use caches::ObjectsBy;
pub use caches::SlabLayer;
pub use contig::Contig;
pub use device::Device;
pub use device::Validation;
pub use device::Version;
pub use device::ABI_VERSION;
pub use device::DEFAULT_PATH;
pub use diff::Diff;
pub use diff::DiffOptions;
pub use diff::Divergence;
pub use diff::Outcome;
pub use diff::Side;
pub use diff::Step;
pub use diff::Verdict;
pub use diff::MAX_STEPS;
pub use diff_slab::Asked;
pub use diff_slab::FailedObjects;
pub use diff_slab::HostAnswer;
pub use diff_slab::ObjectStep;
pub use diff_slab::PairState;
pub use diff_slab::MAX_HOST_CACHES;
pub use diff_slab::NR_OBJECT_SLOTS;
pub use error::Error;
pub use error::Result;
pub use objects::Freed;
pub use objects::Kmalloced;
pub use objects::Object;
pub use objects::ObjectRequest;
pub use objects::MAX_OBJECTS;
pub use page::AllocRequest;
pub use page::Block;
pub use page::Page;
pub use page::PageOwner;
pub use page::PageState;
pub use pages::Bulk;
pub use pages::Exact;
pub use pages::MAX_BULK;
pub use policy::Policy;
pub use report::Account;
pub use report::Counter;
pub use report::MemblockArray;
pub use report::MemblockRegion;
pub use report::Node;
pub use report::RegionSource;
pub use report::Resource;
pub use report::Section;
pub use report::Segment;
pub use report::Status;
pub use report::Zone;
pub use shadowmm_core::error::Error as Reason;
pub use usage::Fallback;
pub use usage::Fragmentation;
pub use usage::Numastat;
pub use usage::PageType;
pub use usage::Pageset;

/// Orders of the buddy system: 0 to 10.
pub const NR_ORDERS: usize = shadowmm_abi::SHADOWMM_NR_ORDERS as usize;
/// Kinds of zones.
pub const NR_ZONES: usize = shadowmm_abi::SHADOWMM_NR_ZONES as usize;
/// Bytes in a page.
pub const PAGE_SIZE: u64 = shadowmm_core::phys::PAGE_SIZE;
