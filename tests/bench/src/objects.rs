// SPDX-License-Identifier: GPL-2.0

//! The slab layer of a booted shadow as a side that is measured.

use crate::object_shapes::ObjectSide;
use crate::platform::Threads;
use crate::shadow::HostMm;
use shadowmm_core::buddy::gfp::GFP_KERNEL;
use shadowmm_core::phys::Bytes;
use shadowmm_core::slab::Cache;
use shadowmm_core::slab::CacheArgs;
use shadowmm_core::slab::CacheId;
use shadowmm_core::slab::Kmalloc;
use shadowmm_core::slab::ObjAddr;
use shadowmm_core::slab::ObjRequest;
use shadowmm_core::slab::ObjectAllocator;
use shadowmm_core::slab::SlabAllocator;
use shadowmm_core::slab::SlabFlags;

const REQUEST: ObjRequest = ObjRequest::new(GFP_KERNEL);

/// The shadow's slab layer, with a cache.
pub struct Objects {
    slab: SlabAllocator<'static, 'static, Threads>,
    cache: Cache<'static, 'static, Threads>,
    sized: Kmalloc<'static, 'static, Threads>,
    id: CacheId,
}

impl Objects {
    /// With a new cache of objects of this size.
    pub fn new(mm: &'static HostMm, size: u32) -> Self {
        let slab = mm.slab().expect("the slab layer comes up");
        let mut args = CacheArgs::new("bench", size);
        args.flags = SlabFlags::NO_MERGE;
        let id = slab.create(&args).expect("a cache");
        Self::with(mm, id)
    }

    /// With a cache that is there.
    pub fn with(mm: &'static HostMm, id: CacheId) -> Self {
        let slab = mm.slab().expect("the slab layer is up");
        let cache = slab.cache(id).expect("the cache is there");
        Self {
            slab,
            cache,
            sized: slab.by_size(),
            id,
        }
    }

    /// The cache's number.
    pub fn id(&self) -> CacheId {
        self.id
    }

    /// Ends the cache.
    pub fn destroy(self) {
        let mut alive = String::new();
        self.slab
            .destroy(self.id, &mut alive)
            .unwrap_or_else(|error| panic!("{}: {alive}", error.sentence()));
    }
}

impl ObjectSide for Objects {
    type Object = ObjAddr;

    fn none() -> ObjAddr {
        ObjAddr::NULL
    }

    #[inline(always)]
    fn alloc(&self) -> Option<ObjAddr> {
        self.cache.alloc(&REQUEST).ok()
    }

    #[inline(always)]
    fn free(&self, object: ObjAddr) {
        self.cache.free(object).expect("what was taken goes back");
    }

    #[inline(always)]
    fn kmalloc<const SIZE: usize>(&self) -> Option<ObjAddr> {
        self.sized.alloc(Bytes(SIZE as u64), &REQUEST).ok()
    }

    #[inline]
    fn kmalloc_any(&self, size: usize) -> Option<ObjAddr> {
        self.sized.alloc(Bytes(size as u64), &REQUEST).ok()
    }

    #[inline(always)]
    fn kfree(&self, object: ObjAddr, _size: usize) {
        self.sized.free(object).expect("what was taken goes back");
    }

    #[inline]
    fn alloc_bulk(&self, objects: &mut [ObjAddr]) -> bool {
        self.cache.alloc_bulk(&REQUEST, objects).is_ok()
    }

    #[inline]
    fn free_bulk(&self, objects: &mut [ObjAddr]) {
        assert_eq!(self.cache.free_bulk(objects), objects.len());
    }

    fn shrink(&self) {
        self.slab.shrink(self.id).expect("the cache is there");
    }

    fn pages(&self) -> Option<u64> {
        Some(self.slab.report(self.id)?.pages.0)
    }
}
