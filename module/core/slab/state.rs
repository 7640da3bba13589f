// SPDX-License-Identifier: GPL-2.0

//! What the slab layer is made of, all of it in the shadow's own pages but the
//! table of references.
//!
//! ```text
//! SlabTable        in the boot's store: by number, where a cache is
//!   | caches[id]
//!   v
//! CacheCells       object of `kmem_cache`: geometry, name, counts
//!   | then an address for each node
//!   v
//! NodeCells        object of `kmem_cache_node`: lists of slabs, their lock
//!   |
//!   v
//! Slab (page.rs)   descriptors of its pages; free pointers in its objects
//!
//! CpuSlab          array from kmalloc, one for each CPU (magazine.rs)
//! Barn             array from kmalloc, one for each node (barn.rs)
//! ```
//!
//! # Locks
//!
//! 1. `SlabTable::lock` is held while caches come and go and while CPUs' magazines
//!    are drained. Its holder may sleep; who must not wait tries it.
//! 2. A node's lock guards its lists and the links and counts of all slabs of the
//!    cache on that node, their freelists, and its store. No two are held at once.
//! 3. A magazine belongs to its CPU while that is pinned, or to whoever has closed
//!    it (`magazine.rs`). A node may be locked under it, not the reverse.

mod cache;
mod names;
mod node;
mod table;

pub(super) use cache::free_pointer_mask;
pub(super) use cache::CacheCells;
pub(super) use cache::Shape;
pub(super) use names::AliasCells;
pub(super) use node::ListCells;
pub(super) use node::NodeCells;
pub use table::SlabTable;
