// SPDX-License-Identifier: GPL-2.0

//! One file for each command: its report, what it looks like, and how it is made.

pub mod accounting;
pub mod bench;
pub mod boot;
pub mod buddy;
pub mod compare;
pub mod cosmos;
pub mod e820;
pub mod fragmentation;
pub mod iomem;
mod lines;
pub mod memblock;
pub mod mm;
pub mod nodes;
pub mod numastat;
pub mod page;
pub mod pagesets;
pub mod pagetypes;
pub mod reclaim;
pub mod sections;
pub mod shell;
pub mod slab;
pub mod status;
pub mod tour;
pub mod tune;
pub mod users;
pub mod validate;
pub mod vmstat;
pub mod zones;
