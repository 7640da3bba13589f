// SPDX-License-Identifier: GPL-2.0

//! Core under a fuzzer. Each target makes requests of an input's bytes and sends them to
//! core and to a model at once; what differs, an invariant that does not hold, a page that
//! does not come back and a panic are failures.
//!
//! ```text
//! firmware   boot logs, memory maps, parameters      a byte array for each map
//! memblock   regions, searches, the hand-off         a word for each page
//! buddy      blocks of a booted machine, some move   an owner for each page
//! slab       caches of any kind and their objects    a set for each cache
//! vma        requests to an address space            permissions of each page
//! numbers    the same with whatever numbers          all must be whole, and files go back
//! ```
//!
//! The models are those of tests/host where there were any.

pub mod buddy;
pub mod firmware;
pub mod memblock;
pub mod numbers;
pub mod slab;
pub mod vma;
