// SPDX-License-Identifier: GPL-2.0

//! The slab layer: objects of one size each, in slabs of pages.
//!
//! ```text
//! allocator.rs     the seam: what an allocator of objects is to the rest
//! object.rs        an object's address, a cache's number, what a constructor does
//! flags.rs         what a cache is to be
//! debug_option.rs  slab_debug=, which adds to that
//! geometry.rs      sizes, alignment and orders that follow from it
//! kmalloc_info.rs  the sizes, names and rows of kmalloc's caches
//! merge.rs         whether a new cache can share the slabs of another
//! debug/           what is checked and told when a cache is debugged
//!
//! system.rs        the layer: how it finds its way from numbers to things
//!   state.rs, state/  what it is made of
//!   bootstrap.rs      how it comes up
//! registry.rs      caches come and go
//! handle.rs        a cache at hand: objects from this CPU's magazine, and back
//!   near.rs           what a CPU finds with one step
//!   magazine.rs       what a CPU keeps of a cache
//!   barn.rs           what a node keeps of what CPUs have too many of
//! alloc.rs         the long way: a node's slabs, others', a new slab
//! free.rs          and back
//!   node.rs           the lists of a node's slabs
//!   give.rs           objects go back to them
//!   page.rs           a slab: objects in a block of pages
//!   new_slab.rs       a slab comes and goes
//! bulk.rs          many objects at once
//! kmalloc.rs       objects by size
//! drain.rs         what CPUs keep is taken from them
//! told.rs          what whoever listens is told of objects
//! shrink.rs        what nobody uses is given up
//! rcu.rs           what somebody may still look at, later
//! objects.rs       requests from anywhere
//! either.rs        whichever allocator of objects was chosen at load
//! report.rs        what there is of a cache
//! validate.rs      all invariants, checked
//! config.rs        the parameters of the layer
//! holdings.rs      the objects that somebody holds, found by their address
//! bytes.rs         what is in an object
//! ```

mod alloc;
mod allocator;
mod barn;
mod bootstrap;
mod bulk;
mod bytes;
mod config;
pub mod debug;
mod debug_option;
mod drain;
mod either;
mod flags;
mod free;
mod geometry;
mod give;
mod handle;
mod holdings;
mod kmalloc;
mod kmalloc_info;
mod magazine;
mod merge;
mod near;
mod new_slab;
mod node;
mod object;
mod objects;
mod page;
mod rcu;
mod registry;
mod report;
mod shrink;
mod state;
mod system;
mod told;
mod validate;
mod watch;

pub use allocator::CacheCounts;
pub use allocator::CacheNodeReport;
pub use allocator::CacheReport;
pub use allocator::ObjRequest;
pub use allocator::ObjectAllocator;
pub use allocator::ObjectAllocatorKind;
pub use allocator::SlabFlaw;
pub use barn::barn_capacity;
pub use bytes::ObjectBytes;
pub use config::DebugParameter;
pub use config::SlabConfig;
pub use config::MAX_SLAB_DEBUG;
pub use debug_option::SlabDebug;
pub use either::Objects;
pub use flags::Letters;
pub use flags::SlabFlags;
pub use geometry::boot_geometry;
pub use geometry::calculate_alignment;
pub use geometry::calculate_order;
pub use geometry::creation_flags;
pub use geometry::geometry;
pub use geometry::min_partial;
pub use geometry::nr_cpus;
pub use geometry::sheaf_capacity;
pub use geometry::unmergeable;
pub use geometry::CacheArgs;
pub use geometry::Geometry;
pub use geometry::Surroundings;
pub use geometry::KMALLOC_MINALIGN;
pub use geometry::MAX_OBJECTS;
pub use geometry::MAX_PARTIAL;
pub use geometry::MIN_PARTIAL;
pub use geometry::SLAB_MINALIGN;
pub use geometry::TRACK_SIZE;
pub use geometry::WORD;
pub use handle::Cache;
pub use handle::Object;
pub use holdings::Holding;
pub use holdings::Holdings;
pub use kmalloc::Kmalloc;
pub use kmalloc_info::kmalloc_args;
pub use kmalloc_info::size_roundup;
pub use kmalloc_info::KmallocIndex;
pub use kmalloc_info::KmallocName;
pub use kmalloc_info::KmallocType;
pub use kmalloc_info::KMALLOC_MAX_CACHE_SIZE;
pub use kmalloc_info::KMALLOC_MAX_SIZE;
pub use kmalloc_info::NR_KMALLOC_INDICES;
pub use magazine::cpu_capacity;
pub use magazine::magazine_capacity;
pub use merge::Candidate;
pub use merge::MergeRequest;
pub use object::CacheId;
pub use object::CacheName;
pub use object::Constructor;
pub use object::ObjAddr;
pub use object::MAX_CACHES;
pub use object::MAX_CACHE_NAME;
pub use state::SlabTable;
pub use system::SlabAllocator;
