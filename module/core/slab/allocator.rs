// SPDX-License-Identifier: GPL-2.0

//! The seam: what an allocator of objects is to the rest of shadowmm.
//!
//! ```text
//! parameter objects=          ObjectAllocatorKind::{Slab, Kmsob}
//!      |
//!      v
//! Mm::objects()  ->  one of them, behind ObjectAllocator
//! ```
//!
//! All that comes in here is checked, since it may come from anywhere: a free of
//! what is no object, of another cache's object or of one that is free already is
//! refused, and has changed nothing.

use super::debug::Location;
use super::debug::TrackItem;
use super::geometry::CacheArgs;
use super::geometry::Geometry;
use super::object::CacheId;
use super::object::CacheName;
use super::object::Constructor;
use super::object::ObjAddr;
use crate::buddy::gfp;
use crate::buddy::Gfp;
use crate::error::Error;
use crate::error::Result;
use crate::phys::Bytes;
use crate::phys::NodeId;
use crate::phys::Pages;
use core::fmt;

/// The allocators of objects that there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ObjectAllocatorKind {
    /// Linux's slab layer.
    #[default]
    Slab,
    /// The containers of objects of Cosmos.
    Kmsob,
}

impl ObjectAllocatorKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Slab, Self::Kmsob];

    /// The name: the parameter's text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slab => "slab",
            Self::Kmsob => "kmsob",
        }
    }

    /// The allocator of that name; the slab layer for an empty text.
    ///
    /// # Errors
    ///
    /// [`Error::BadParameter`] when there is none.
    pub fn parse(text: &str) -> Result<Self> {
        match text.trim() {
            "" => Ok(Self::default()),
            name => Self::ALL
                .into_iter()
                .find(|kind| kind.name() == name)
                .ok_or(Error::BadParameter),
        }
    }
}

/// How an object is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjRequest {
    /// What may be done to get it, and whether it is to be zeroed.
    pub gfp: Gfp,
    /// The node that it is to lie on, if there is room; [`NodeId::NONE`] for
    /// that of the running CPU. With `__GFP_THISNODE` on no other.
    pub nid: NodeId,
    /// Who asks, for owner tracking: a return address; 0 when it is not known.
    pub caller: u64,
    /// How many bytes of the object are asked for, which debugging may hold the
    /// owner to; 0 for all (`orig_size`).
    pub size: u32,
}

impl ObjRequest {
    /// Whether a node is another than the one that is asked for, where no other will do.
    pub(crate) fn is_away(&self, nid: NodeId) -> bool {
        self.gfp.has(gfp::__GFP_THISNODE) && !self.nid.is_none() && self.nid != nid
    }

    /// A request from the running CPU's node, by nobody in particular.
    pub const fn new(gfp: Gfp) -> Self {
        Self {
            gfp,
            nid: NodeId::NONE,
            caller: 0,
            size: 0,
        }
    }

    /// The same on a node.
    pub const fn on(self, nid: NodeId) -> Self {
        Self { nid, ..self }
    }

    /// The same for some of an object's bytes.
    pub const fn of_size(self, size: u32) -> Self {
        Self { size, ..self }
    }

    /// The same by somebody.
    pub const fn by(self, caller: u64) -> Self {
        Self { caller, ..self }
    }
}

/// An allocator of objects. A refused call changes nothing but counters.
pub trait ObjectAllocator {
    /// Makes a cache, or gives the number of one whose slabs the new one can
    /// share, which has one user more then (`kmem_cache_create_args`).
    ///
    /// # Errors
    ///
    /// [`Error::BadCacheName`], [`Error::CacheExists`],
    /// [`Error::TooManyCaches`], [`Error::NoMemory`], those of
    /// [`geometry`](super::geometry::geometry).
    fn create(&self, args: &CacheArgs<'_>) -> Result<CacheId>;

    /// Has the cache one user less; the last one's leave ends it
    /// (`kmem_cache_destroy`).
    ///
    /// # Errors
    ///
    /// [`Error::CacheBusy`] when objects are alive: `alive` is told of those that the
    /// kernel tells of, in the form of SLUB's report; [`Error::NoSuchCache`], [`Error::CacheNeeded`].
    fn destroy(&self, id: CacheId, alive: &mut dyn fmt::Write) -> Result<()>;

    /// The cache of this name, or the one that was created under it.
    fn find(&self, name: &str) -> Option<CacheId>;

    /// Takes an object (`kmem_cache_alloc`, `kmem_cache_alloc_node`; with
    /// `__GFP_ZERO` `kmem_cache_zalloc`).
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchCache`], [`Error::BadGfp`], [`Error::NodeOffline`],
    /// [`Error::NoMemory`], [`Error::ConstructorFailed`],
    /// [`Error::ZeroWithConstructor`], [`Error::AskedTooLarge`].
    fn alloc(&self, id: CacheId, request: &ObjRequest) -> Result<ObjAddr>;

    /// Gives an object back (`kmem_cache_free`).
    ///
    /// # Errors
    ///
    /// [`Error::ForeignPfn`] and [`Error::NotAnObject`] for an address that is
    /// no object's, [`Error::WrongCache`], [`Error::ObjectFree`].
    fn free(&self, id: CacheId, object: ObjAddr, caller: u64) -> Result<()>;

    /// Takes as many objects as there are places, or none
    /// (`kmem_cache_alloc_bulk`).
    ///
    /// # Errors
    ///
    /// Those of [`ObjectAllocator::alloc`]; no object is taken then.
    fn alloc_bulk(&self, id: CacheId, request: &ObjRequest, objects: &mut [ObjAddr]) -> Result<()>;

    /// Gives objects back, of one cache or of any, and says how many were taken;
    /// those that can't be freed are passed over (`kmem_cache_free_bulk`,
    /// `kfree_bulk`).
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchCache`].
    fn free_bulk(&self, id: Option<CacheId>, objects: &[ObjAddr], caller: u64) -> Result<usize>;

    /// Takes an object of at least this size: from the smallest of kmalloc's
    /// caches whose objects have it, or as whole pages (`kmalloc`, `kzalloc`). A
    /// size of 0 gives [`ObjAddr::NULL`], which is nobody's.
    ///
    /// # Errors
    ///
    /// [`Error::AllocTooLarge`], and those of [`ObjectAllocator::alloc`].
    fn kmalloc(&self, size: Bytes, request: &ObjRequest) -> Result<ObjAddr>;

    /// Gives back an object of any cache, or whole pages (`kfree`). Nothing is
    /// done about [`ObjAddr::NULL`].
    ///
    /// # Errors
    ///
    /// Those of [`ObjectAllocator::free`].
    fn kfree(&self, object: ObjAddr, caller: u64) -> Result<()>;

    /// Makes the object larger or smaller: the same one where it has the size and
    /// does not lie on another node than `__GFP_THISNODE` asks for, else another
    /// with what fits of its contents. None is a new one, and of size 0 the object
    /// goes. With `__GFP_ZERO` in this and all requests before, what its owner gets
    /// more of is zeroed (`krealloc`).
    ///
    /// # Errors
    ///
    /// Those of [`ObjectAllocator::kmalloc`] and [`ObjectAllocator::kfree`]; the
    /// object is as it was then.
    fn krealloc(
        &self,
        object: Option<ObjAddr>,
        size: Bytes,
        request: &ObjRequest,
    ) -> Result<ObjAddr>;

    /// How many bytes of the object its owner may use, were he to ask for that with
    /// [`ObjectAllocator::ksize`] (`slab_ksize`).
    ///
    /// # Errors
    ///
    /// [`Error::ForeignPfn`] and [`Error::NotAnObject`].
    fn usable(&self, object: ObjAddr) -> Result<Bytes>;

    /// The same for its owner, whom debugging holds to what he has asked for no
    /// longer (`ksize`).
    ///
    /// # Errors
    ///
    /// Those of [`ObjectAllocator::usable`].
    fn ksize(&self, object: ObjAddr) -> Result<Bytes> {
        self.usable(object)
    }

    /// Gives up what nobody uses of the cache, and says how many pages went back
    /// (`kmem_cache_shrink`).
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchCache`].
    fn shrink(&self, id: CacheId) -> Result<Pages>;

    /// The same for all caches.
    fn shrink_all(&self) -> Pages;

    /// How large a cache's objects are, as its creator wants them; `None` when there is no such
    /// cache.
    fn object_size(&self, id: CacheId) -> Option<Bytes> {
        let report = self.report(id)?;
        Some(Bytes(report.geometry.object_size.into()))
    }

    /// What there is of a cache; `None` when there is no such cache.
    fn report(&self, id: CacheId) -> Option<CacheReport>;

    /// What there is of it on one node; `None` where it has nothing.
    fn node_report(&self, id: CacheId, nid: NodeId) -> Option<CacheNodeReport>;

    /// The name of the `nth` cache that was created under another name and shares
    /// this one's slabs.
    fn alias(&self, id: CacheId, nth: usize) -> Option<CacheName>;

    /// The cache behind this one, in the order of the numbers; the first behind
    /// none.
    fn next(&self, after: Option<CacheId>) -> Option<CacheId>;

    /// Checks every invariant of the layer, for all caches.
    ///
    /// # Errors
    ///
    /// The first [`SlabFlaw`] found.
    fn validate(&self) -> Result<(), SlabFlaw>;

    /// Checks one cache, and writes to `told` what does not hold
    /// (`validate_slab_cache`).
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchCache`].
    fn validate_cache(&self, id: CacheId, told: &mut dyn fmt::Write) -> Result<()> {
        self.report(id).ok_or(Error::NoSuchCache)?;
        match self.validate() {
            Err(flaw) if flaw.cache.is_none_or(|cache| cache == id) => {
                // What does not fit is left out.
                let _ = write!(told, "{flaw}");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Writes what debugging has found in a cache so far, a kind and its count on
    /// each line.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchCache`]; [`Error::NotSupported`] where nothing is debugged;
    /// [`Error::Corrupt`] for one of `out`.
    fn write_findings(&self, _id: CacheId, _out: &mut dyn fmt::Write) -> Result<()> {
        Err(Error::NotSupported)
    }

    /// Writes who has allocated, or freed before, the objects of a cache that are
    /// in use (`alloc_traces`, `free_traces`); `table` is where that is gathered. How
    /// many objects there was no room for.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchCache`]; [`Error::NotSupported`] where owners are not tracked;
    /// [`Error::Corrupt`] for one of `out`.
    fn write_traces(
        &self,
        _id: CacheId,
        _item: TrackItem,
        _table: &mut [Location],
        _out: &mut dyn fmt::Write,
    ) -> Result<u64> {
        Err(Error::NotSupported)
    }

    /// Says how many empty slabs of the cache a node may keep (`min_partial` of
    /// `/sys/kernel/slab`).
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchCache`]; [`Error::NotSupported`] where nothing is kept so.
    fn set_min_partial(&self, id: CacheId, _slabs: u32) -> Result<()> {
        match self.report(id) {
            Some(_) => Err(Error::NotSupported),
            None => Err(Error::NoSuchCache),
        }
    }
}

/// What there is of a cache on one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheNodeReport {
    /// Slabs, of any kind.
    pub slabs: u64,
    /// Slabs some of whose objects are in use.
    pub partial: u64,
    /// Slabs all of whose objects are.
    pub full: u64,
    /// Slabs none of whose objects is.
    pub empty: u64,
    /// Objects in these slabs.
    pub total_objects: u64,
    /// Objects that are not in a slab's freelist: somebody has them, or a CPU
    /// keeps them.
    pub objects: u64,
}

impl CacheNodeReport {
    /// What Linux has on its partial list, which holds the empty slabs, too
    /// (`nr_partial`).
    pub const fn nr_partial(&self) -> u64 {
        self.partial + self.empty
    }
}

/// How often something has happened to a cache (`enum stat_item`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// Objects that came from the CPU's magazine.
    pub alloc_fastpath: u64,
    /// Objects that came from a slab directly.
    pub alloc_slowpath: u64,
    /// Objects that went to the CPU's magazine.
    pub free_fastpath: u64,
    /// Objects that went to their slab directly.
    pub free_slowpath: u64,
    /// Objects that went back to another node.
    pub free_remote: u64,
    /// How many batches those went in.
    pub remote_batches: u64,
    /// How often a magazine was filled.
    pub refills: u64,
    /// How often a full one was emptied, in part.
    pub flushes: u64,
    /// How often a CPU's magazines were taken from it.
    pub cpu_flush: u64,
    /// Slabs that were made.
    pub alloc_slab: u64,
    /// Slabs that were given back.
    pub free_slab: u64,
    /// Slabs that are smaller than the geometry says, for lack of memory.
    pub order_fallback: u64,
    /// Objects that could not be had.
    pub failed: u64,
}

/// What there is of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheReport {
    /// Its number.
    pub id: CacheId,
    /// Its name.
    pub name: CacheName,
    /// How many caches it is, with those that share its slabs; -1 for one that
    /// is never shared (`refcount`).
    pub refcount: i32,
    /// How its slabs are laid out.
    pub geometry: Geometry,
    /// What is done to the objects of a new slab.
    pub ctor: Constructor,
    /// Where in an object the part starts that may be copied to users
    /// (`useroffset`).
    pub useroffset: u32,
    /// How long that is (`usersize`).
    pub usersize: u32,
    /// The sum over all nodes.
    pub nodes: CacheNodeReport,
    /// Free objects that CPUs keep.
    pub cached: u64,
    /// Objects that somebody has: what the slabs think is in use, without what
    /// CPUs keep.
    pub active_objects: u64,
    /// Pages of all slabs.
    pub pages: Pages,
    /// What has happened.
    pub counts: CacheCounts,
}

/// An invariant of the slab layer that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlabFlaw {
    /// What does not hold.
    pub what: &'static str,
    /// The cache that it was found in.
    pub cache: Option<CacheId>,
    /// Where it was found.
    pub at: Option<ObjAddr>,
}

impl fmt::Display for SlabFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(cache) = self.cache {
            write!(f, "cache {cache}: ")?;
        }
        f.write_str(self.what)?;
        match self.at {
            Some(at) => write!(f, " at {at}"),
            None => Ok(()),
        }
    }
}
