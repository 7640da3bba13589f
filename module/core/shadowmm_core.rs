// SPDX-License-Identifier: GPL-2.0

//! The memory manager of shadowmm, and nothing else.
//!
//! The modules stand in the order in which the data flows through them, so
//! that one page can be followed from the firmware's map to its user:
//!
//! ```text
//! firmware     e820 ranges, SRAT affinities, SLIT distances
//!   memblock   memory and reserved arrays, early allocations
//!   sparse     sections of page descriptors
//!   node zone  pglist_data, zones, zonelists, watermarks
//!   buddy      free areas by order; or cosmos, which can take its place
//!   slab       objects of one size each, in slabs of pages
//!   mm         address spaces: VMAs, page tables, faults
//! ```
//!
//! Beside the stream stand `phys` (addresses and the memory behind them),
//! `platform` (what core asks of its surroundings), `trace` (what it tells
//! them), `tunables` (what its owner may
//! tell it), `quota` (how much one user may have), `error`, `slices` (what cannot panic), `boot` (the stages, one type each), `allocator` (who has the pages in the end) and
//! `report` (the texts of `/proc`).
//!
//! The crate is pure: it allocates nothing but what it manages, calls no
//! kernel function, uses no floating point and does not panic; whatever goes
//! wrong is an [`error::Error`].

#![cfg_attr(not(MODULE), no_std)]
#![deny(unsafe_op_in_unsafe_fn)]

pub mod allocator;
pub mod barrier;
pub mod boot;
pub mod buddy;
pub mod cosmos;
pub mod early;
pub mod error;
pub mod firmware;
pub mod memblock;
pub mod mm;
pub mod node;
pub mod nodemask;
pub mod page;
pub mod phys;
pub mod platform;
pub mod quota;
pub mod report;
pub mod slab;
pub mod slices;
pub mod sparse;
pub mod trace;
pub mod tunables;
pub mod watermark;
pub mod zone;
pub mod zonelist;
