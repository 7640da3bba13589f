// SPDX-License-Identifier: GPL-2.0

//! What the measurements on the host share.
//!
//! ```text
//! platform.rs   CPUs that are threads, as cheap as a kernel's
//! shadow.rs     a booted shadow, with pagesets
//! frames.rs     a public crate's frame allocator
//! threads.rs    several CPUs at once
//! callgrind.rs  counts instructions under valgrind
//! shapes        the loops, shared with the module
//! ```

pub mod callgrind;
pub mod frames;
pub mod platform;
pub mod shadow;
#[path = "../../../module/kernel/bench/shapes.rs"]
pub mod shapes;
pub mod threads;
