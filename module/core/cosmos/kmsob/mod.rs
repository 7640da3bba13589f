// SPDX-License-Identifier: GPL-2.0

//! Another allocator of objects behind the seam: Cosmos's containers, one kind for
//! each size from 32 bytes to 2 KiB.
//!
//! ```text
//! allocator.rs   the interface: the seam's trait
//!   new.rs         kmsob_new: a container of the size; without a free object, pages
//!   delete.rs      kmsob_delete: back to its container, which goes when all are free
//!   caches.rs      named caches: record.rs, and owner.rs for who has an object
//!   large.rs       what is larger than 2 KiB is pages
//!     manager.rs     the head: the lock, the lists of containers by size
//!     locked.rs      which container and which block an address lies in
//!     containers.rs  containers come, grow and go
//!     objects.rs     a container's free list
//!       layout.rs      where things lie in a block
//!       cells.rs       the headers in the pages
//!       pages.rs       blocks from the page allocator, whichever that is, and back
//!       links.rs       lists of blocks through their descriptors
//!       watch.rs       free objects, where KASAN watches
//! shrink.rs      extensions that nobody uses go back
//! walk.rs        over all blocks of a size, with the lock held for a few at a time
//! tally.rs       what there is of a cache; alive.rs for one that can't be destroyed
//! report.rs      /proc/shadowmm/kmsob
//! validate.rs    all invariants, checked
//! ```
//!
//! # A container
//!
//! ```text
//! koblst_t 64 -> kmsob_t -------------------+
//!                  | so_mextlst             | so_frelst
//!                  v                        v
//!                kmbext_t -> kmbext_t     freobjh_t -> freobjh_t -> ...
//!                  objects     objects      in any of the blocks
//! ```
//!
//! The container's header lies at the start of its own pages, an extension's at the
//! start of the extension's, and a free object's in the object. The blocks'
//! descriptors are linked to `msclst_t` lists by their number of pages (`msomdc_t`).
//!
//! # What stands for what
//!
//! ```text
//! Cosmos          here          what it is
//! kmsobmgrhed_t   KmsobPool     the head
//! koblst_t        Koblst        the containers of one size
//! kmsob_t         KmsobCells    a container
//! kmbext_t        KmbextCells   an extension
//! freobjh_t       FreobjhCells  a free object
//! msomdc_t        mc            a container's blocks
//! msclst_t        MsclstCells   those of one number of pages
//! so_alclst       tags          which objects are given out, and to whom
//! ```
//!
//! # Locks
//!
//! One lock guards everything. Nothing is locked under it, and the page
//! allocator is called without it.
//!
//! To give an object out or take it back looks at no more than one container and one
//! block, and at the containers before one with a free object, of which two CPUs make
//! more than one only when they find none at the same moment. What reclaim asks for at
//! every turn is counted a few blocks at a time (walk.rs). These hold the lock for as
//! long as the list is that they walk:
//!
//! - a container that goes, or is shrunk: all of its blocks, and for the free list made
//!   anew all objects, so that nobody finds half of one. Each block was made by a request
//!   of its own, and goes once;
//! - a report on a cache, the objects left in one that can't end, and large blocks: they
//!   are asked for by a person, and are of one moment;
//! - `validate`.
//!
//! # What differs from Cosmos, on purpose
//!
//! - Pages are asked for and given back without the lock, since whoever waits for
//!   memory may sleep. So two CPUs may make two containers of one size; an object
//!   comes from one that has a free object, before another is extended.
//! - Cosmos takes any address that is aligned as an object is, and an object that is
//!   freed twice is in its free list twice. Here a tag for each object says
//!   whether and by whom it was taken; it costs two bytes.
//! - An object is found by its page's descriptor, so it can be freed and looked at
//!   without its size being told.
//! - Each block begins with a `kmbext_t`, the container's own too.
//! - A free object that was written to is noticed, and the list of free objects is
//!   made anew from the tags.
//! - Named caches, and objects beyond 2 KiB as pages, are additions for the seam.
//! - What a container can't give is refused with
//!   [`NotSupported`](crate::error::Error::NotSupported): an alignment above 32
//!   bytes or to cache lines, constructors, debugging, windows for user copies, RCU, a
//!   node, DMA zones.

mod alive;
mod allocator;
mod caches;
mod cells;
mod containers;
mod delete;
mod large;
mod layout;
mod links;
mod locked;
mod manager;
mod new;
mod objects;
mod owner;
mod pages;
mod record;
mod report;
mod shrink;
mod tally;
mod validate;
mod walk;
mod watch;

pub use layout::Layout;
pub use layout::SizeIndex;
pub use layout::KMSOB_MAX;
pub use layout::KOBLST_MAX;
pub use layout::KOBLST_STEP;
pub use layout::MSCLST_MAX;
pub use manager::KmsobPool;
pub use report::ContainerReport;
pub use report::ListReport;
pub use report::PoolReport;

use crate::phys::Region;
use crate::platform::Platform;
use owner::Owner;

/// The object pool: a view of what it works on, made anew wherever it is needed.
/// All of its state lies in the head and in the shadow's pages.
pub struct Kmsob<'a, P: Platform, A> {
    /// Where blocks come from and go to.
    pub pages: A,
    /// Who watches memory that is nobody's.
    pub platform: &'a P,
    /// The memory.
    pub memory: &'a Region<'a>,
    /// The head.
    pub pool: &'a KmsobPool<'a, P>,
}
