// SPDX-License-Identifier: GPL-2.0

//! A machine and trees in it.

#[path = "../slab/world.rs"]
#[allow(dead_code)] // It is the world of the slab layer's tests.
mod slab;

use shadowmm_core::mm::AddressSpaces;
use shadowmm_core::mm::TreeKind;
use shadowmm_core::mm::VmaTree;
pub use slab::run_on;
pub use slab::Cpus;
pub use slab::World;
use std::sync::atomic::AtomicU64;

pub type Tree = VmaTree<'static, 'static, Cpus>;

pub const PAGE: u64 = 4096;

pub fn spaces(world: &World) -> AddressSpaces<'static, 'static, Cpus> {
    world.mm.spaces()
}

/// An empty tree, which lives as long as the test.
pub fn tree(world: &World, kind: TreeKind) -> Tree {
    let root: &'static [AtomicU64; 4] = Box::leak(Box::default());
    let tree = VmaTree::at(spaces(world), root);
    tree.begin(kind);
    tree
}
