// SPDX-License-Identifier: GPL-2.0

//! What the measurements on the host share.
//!
//! ```text
//! platform.rs   CPUs that are threads, as cheap as a kernel's
//! shadow.rs     a booted shadow, with pagesets
//! frames.rs     a public crate's frame allocator
//! threads.rs    several CPUs at once
//! callgrind.rs  counts instructions under valgrind
//! figures.rs    the smallest block and the one in the middle
//! shapes        the loops, shared with the module
//!
//! objects.rs    the slab layer of such a shadow
//! heaps.rs      public crates' allocators of objects
//! drawn.rs      what was drawn by lot for their loops
//! trees.rs      VMA trees and public crates' maps of ranges
//! faults.rs     faults of an address space
//! object_shapes the loops, shared with the module; sizes: how large objects are
//! ```

pub mod callgrind;
pub mod drawn;
pub mod faults;
pub mod figures;
pub mod frames;
pub mod heaps;
#[path = "../../../module/kernel/bench/object_shapes.rs"]
pub mod object_shapes;
pub mod objects;
pub mod platform;
pub mod shadow;
#[path = "../../../module/kernel/bench/shapes.rs"]
pub mod shapes;
#[path = "../../../module/kernel/bench/sizes.rs"]
pub mod sizes;
pub mod threads;
pub mod trees;
