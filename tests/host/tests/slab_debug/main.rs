// SPDX-License-Identifier: GPL-2.0

//! Debugging of slabs, in plain memory.
//!
//! `live.rs` misuses the caches of a whole machine.
//!
//! `reports.rs` commits each misuse that `tests/vm/slub` commits to the running
//! kernel's caches, and compares what is said of it with what that kernel said;
//! `checks.rs` has what can't be provoked there, and what is mended.

mod checks;
mod depot;
mod live;
mod recorded;
mod reports;
mod traces;
mod world;
