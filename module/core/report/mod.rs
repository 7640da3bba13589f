// SPDX-License-Identifier: GPL-2.0

//! The texts of `/proc`, to the byte, and the numbers behind them.
//!
//! ```text
//!   the running shadow
//!        | implements
//!   Snapshot (snapshot.rs) ---> the ABI's records ---> tables and JSON
//!        |
//!        v  one model, many texts
//!   buddyinfo pagetypeinfo              as the running kernel prints them
//!   zoneinfo meminfo vmstat             as the running kernel prints them
//!   node_files extfrag                  as the running kernel prints them
//!   iomem memblock                      as the running kernel prints them
//!   nodes accounting fallbacks          shadowmm's own
//! ```
//!
//! `slabinfo` and `slab_cache` are made of what the allocator of objects reports,
//! as the running kernel prints them.
//!
//! `maps`, `smaps` and `mm_status` are made of an address space, as the running kernel prints
//! them for a process.
//!
//! The e820 table prints itself (`firmware::E820Table::print`).
//!
//! Every writer takes a [`Snapshot`] and a [`core::fmt::Write`], keeps no more
//! than one zone or node at a time, and stops at the first error of the output.
//! A number stands in the model once: what can be computed from others is.

pub mod accounting;
pub mod buddyinfo;
mod events;
pub mod extfrag;
pub mod failure;
pub mod fallbacks;
pub mod iomem;
mod items;
pub mod maps;
pub mod memblock;
pub mod meminfo;
pub mod mm_status;
mod model;
mod node_files;
pub mod nodes;
pub mod oom;
pub mod pagetypeinfo;
pub mod slab_cache;
pub mod slabinfo;
pub mod smaps;
mod snapshot;
mod space;
mod totals;
mod unsaid;
pub mod vmstat;
pub mod zoneinfo;

pub use accounting::Accounting;
pub use events::Event;
pub use events::Events;
pub use extfrag::Indices;
pub use failure::AllocFailure;
pub use failure::RateLimit;
pub use fallbacks::Fallback;
pub use fallbacks::FallbackModel;
pub use items::NodeStat;
pub use items::NodeStats;
pub use items::NumaStat;
pub use items::NumaStats;
pub use items::SystemStat;
pub use items::SystemStats;
pub use items::ZoneStat;
pub use items::ZoneStats;
pub use items::HPAGE_PMD_NR;
pub use model::AccountModel;
pub use model::CounterModel;
pub use model::CpuSet;
pub use model::HugePages;
pub use model::MemoryTotals;
pub use model::NodeModel;
pub use model::PageTypeModel;
pub use model::PagesetModel;
pub use model::ResourceModel;
pub use model::ZoneModel;
pub use node_files::NodeFile;
pub use node_files::NUMASTAT;
pub use oom::write_oom;
pub use slab_cache::CacheFile;
pub use snapshot::Snapshot;
pub use snapshot::Stop;
pub use snapshot::Walk;
pub use space::SpaceFile;
pub use totals::Totals;
pub use unsaid::Unsaid;
