// SPDX-License-Identifier: GPL-2.0

//! What the firmware says about the machine, before Linux touches it.
//!
//! ```text
//!   builtin ─┐                     E820Table    which ranges are RAM
//!   dmesg  ──┼─> FirmwareMap ──┬── NumaMeminfo  which range is which node's
//!   pushed ──┘       │         ├── CpuMap       which CPU is which node's
//!                    │         └── Slit         how far the nodes are apart
//!                 resolve      overlaps settled, every byte of RAM has a node
//!                    │
//!                  scale       the same machine, as large as the region
//!                    │
//!                ram_ranges    what the region is laid under
//! ```
//!
//! A map describes the original machine; it is filled entry by entry and each
//! entry is checked as it comes. [`FirmwareMap::resolve`] then decides what
//! Linux decides from such a map, and [`scale()`] shrinks or stretches all of
//! it, holes included, to the memory that the shadow really has.

mod builtin;
mod cpus;
mod crashkernel;
mod distances;
mod dmesg;
mod dmesg_nodes;
mod e820;
mod lines;
mod map;
mod pieces;
mod ratio;
mod sanitize;
mod scale;
mod slit;
mod srat;
mod text;

pub use builtin::builtin;
pub use cpus::CpuAffinity;
pub use cpus::CpuMap;
pub use crashkernel::memparse;
pub use crashkernel::parse_crashkernel;
pub use crashkernel::CrashKernel;
pub use crashkernel::CRASH_ADDR_LOW_MAX;
pub use crashkernel::CRASH_ALIGN;
pub use crashkernel::DEFAULT_CRASH_KERNEL_LOW_SIZE;
pub use dmesg::parse;
pub use dmesg::ParseReport;
pub use e820::E820Entry;
pub use e820::E820Table;
pub use e820::E820Type;
pub use e820::MemblockUse;
pub use e820::E820_MAX_ENTRIES;
pub use map::FirmwareMap;
pub use map::MapSource;
pub use map::NumaSource;
pub use map::DMA32_LIMIT;
pub use map::DMA_LIMIT;
pub use scale::scale;
pub use scale::Scaled;
pub use slit::slit_valid;
pub use slit::Slit;
pub use slit::LOCAL_DISTANCE;
pub use slit::REMOTE_DISTANCE;
pub use srat::NumaMemblk;
pub use srat::NumaMeminfo;
pub use srat::ProximityMap;
pub use srat::MAX_PXM_DOMAINS;
pub use srat::NR_NODE_MEMBLKS;
