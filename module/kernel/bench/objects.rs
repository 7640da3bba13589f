// SPDX-License-Identifier: GPL-2.0

//! The shadow's slab layer measured beside the host's, in the same boot and by
//! the same loops (object_shapes.rs), as bench.rs does it with pages.
//!
//! The shadow is asked as code in the kernel would, through a cache at hand and
//! by size; the host through `kmem_cache_alloc()`, `kmalloc()` and their kin, by
//! the functions that their inline parts call. Each side has a cache of its own
//! for it, which is merged with no other.

use super::object_shapes;
use super::object_shapes::ObjectShape;
use super::object_shapes::ObjectSide;
use super::object_shapes::Plan;
use super::object_shapes::Step;
use super::on_cpu;
use super::shapes::Lots;
use super::ticks;
use super::SEED;
use crate::abi;
use crate::bindings;
use crate::shadow::Mm;
use crate::shadow::Shadow;
use crate::slab::PrivateCache;
use crate::uapi;
use crate::users::check_admin;
use core::ptr;
use kernel::bindings::GFP_KERNEL as HOST_GFP;
use kernel::ffi::c_void;
use kernel::prelude::*;
use kernel::str::CStrExt;
use kernel::str::CString;
use kernel::sync::Arc;
use shadowmm_core::buddy::gfp;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result;
use shadowmm_core::phys::Bytes;
use shadowmm_core::slab::magazine_capacity;
use shadowmm_core::slab::Cache;
use shadowmm_core::slab::CacheArgs;
use shadowmm_core::slab::CacheId;
use shadowmm_core::slab::Kmalloc;
use shadowmm_core::slab::KmallocIndex;
use shadowmm_core::slab::ObjAddr;
use shadowmm_core::slab::ObjRequest;
use shadowmm_core::slab::ObjectAllocator;
use shadowmm_core::slab::SlabAllocator;
use shadowmm_core::slab::SlabFlags;

/// What both sides ask for.
const REQUEST: ObjRequest = ObjRequest::new(gfp::GFP_KERNEL);

/// The shadow's slab layer, with a cache.
struct Ours<'a, 'm> {
    slab: SlabAllocator<'a, 'm, crate::platform::Kernel>,
    cache: Cache<'a, 'm, crate::platform::Kernel>,
    sized: Kmalloc<'a, 'm, crate::platform::Kernel>,
    id: CacheId,
}

impl<'a, 'm> Ours<'a, 'm> {
    fn new(mm: &'a Mm<'m>, id: CacheId) -> Result<Self> {
        let slab = mm.slab()?;
        Ok(Self {
            slab,
            cache: slab.cache(id)?,
            sized: slab.by_size(),
            id,
        })
    }
}

#[cold]
fn not_freed(error: Error) {
    pr_err!(
        "bench: a held object could not be freed: {}\n",
        error.sentence()
    );
}

impl ObjectSide for Ours<'_, '_> {
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
        if let Err(error) = self.cache.free(object) {
            not_freed(error);
        }
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
        if let Err(error) = self.sized.free(object) {
            not_freed(error);
        }
    }

    #[inline]
    fn alloc_bulk(&self, objects: &mut [ObjAddr]) -> bool {
        self.cache.alloc_bulk(&REQUEST, objects).is_ok()
    }

    #[inline]
    fn free_bulk(&self, objects: &mut [ObjAddr]) {
        if self.cache.free_bulk(objects) != objects.len() {
            not_freed(Error::Corrupt);
        }
    }

    fn shrink(&self) {
        if let Err(error) = self.slab.shrink(self.id) {
            not_freed(error);
        }
    }

    fn pages(&self) -> Option<u64> {
        Some(self.slab.report(self.id)?.pages.0)
    }
}

/// The host's, with a cache.
struct Host {
    cache: *mut kernel::bindings::kmem_cache,
    slabs: CString,
    order: CString,
}

impl Host {
    fn new(size: u32, name: &str) -> Result<Self> {
        let no_memory = |_| Error::NoHostMemory;
        let file = |file| CString::try_from_fmt(fmt!("/sys/kernel/slab/{name}/{file}"));
        let slabs = file("slabs").map_err(no_memory)?;
        let order = file("order").map_err(no_memory)?;
        let name = CString::try_from_fmt(fmt!("{name}")).map_err(no_memory)?;
        // SAFETY: The name is copied; the caller may sleep.
        let cache = unsafe { bindings::shadowmm_bench_cache(name.as_char_ptr(), size) };
        match cache.is_null() {
            true => Err(Error::NoHostMemory),
            false => Ok(Self {
                cache,
                slabs,
                order,
            }),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // SAFETY: All objects have gone back, and nobody else knows it.
        unsafe { kernel::bindings::kmem_cache_destroy(self.cache) };
    }
}

fn some(object: *mut c_void) -> Option<*mut c_void> {
    (!object.is_null()).then_some(object)
}

impl ObjectSide for Host {
    type Object = *mut c_void;

    fn none() -> *mut c_void {
        ptr::null_mut()
    }

    #[inline(always)]
    fn alloc(&self) -> Option<*mut c_void> {
        // SAFETY: The cache is there, and the caller may sleep.
        some(unsafe { kernel::bindings::kmem_cache_alloc_noprof(self.cache, HOST_GFP) })
    }

    #[inline(always)]
    fn free(&self, object: *mut c_void) {
        // SAFETY: `alloc` gave it, and nobody else knows it.
        unsafe { kernel::bindings::kmem_cache_free(self.cache, object) };
    }

    /// What `kmalloc()` of a constant is.
    #[inline(always)]
    fn kmalloc<const SIZE: usize>(&self) -> Option<*mut c_void> {
        const NORMAL: usize = kernel::bindings::kmalloc_cache_type_KMALLOC_NORMAL as usize;
        let index = const {
            match KmallocIndex::of(Bytes(SIZE as u64)) {
                Some(index) => index.index(),
                None => panic!("of no cache of kmalloc's"),
            }
        };
        // SAFETY: The array does not change once the kernel is up; its rows have
        // a cache at each index from 1 on.
        some(unsafe {
            let cache = kernel::bindings::kmalloc_caches[NORMAL][index];
            kernel::bindings::__kmalloc_cache_noprof(cache, HOST_GFP, SIZE)
        })
    }

    #[inline]
    fn kmalloc_any(&self, size: usize) -> Option<*mut c_void> {
        // SAFETY: The caller may sleep.
        some(unsafe { kernel::bindings::__kmalloc_noprof(size, HOST_GFP) })
    }

    #[inline(always)]
    fn kfree(&self, object: *mut c_void, _size: usize) {
        // SAFETY: One of the above gave it, and nobody else knows it; or it is
        // null.
        unsafe { kernel::bindings::kfree(object) };
    }

    #[inline]
    fn alloc_bulk(&self, objects: &mut [*mut c_void]) -> bool {
        let (count, first) = (objects.len(), objects.as_mut_ptr());
        // SAFETY: There are so many places, and the caller may sleep.
        unsafe {
            kernel::bindings::kmem_cache_alloc_bulk_noprof(self.cache, HOST_GFP, count, first)
        }
    }

    #[inline]
    fn free_bulk(&self, objects: &mut [*mut c_void]) {
        let (count, first) = (objects.len(), objects.as_mut_ptr());
        // SAFETY: So many objects of the cache, which nobody else knows.
        unsafe { kernel::bindings::kmem_cache_free_bulk(self.cache, count, first) };
    }

    fn shrink(&self) {
        // SAFETY: The cache is there, and the caller may sleep.
        unsafe { kernel::bindings::kmem_cache_shrink(self.cache) };
    }

    /// As sysfs says it, the same for everybody who asks.
    fn pages(&self) -> Option<u64> {
        let read = |file: &CString| {
            // SAFETY: The path ends with a NUL; the caller may sleep.
            let number = unsafe { bindings::shadowmm_bench_read(file.as_char_ptr()) };
            u64::try_from(number).ok()
        };
        read(&self.slabs)?.checked_shl(read(&self.order)?.try_into().ok()?)
    }
}

/// What was drawn by lot, for both sides.
struct Drawn {
    order: KVVec<u16>,
    first: KVVec<u16>,
    steps: KVVec<Step>,
    last: KVVec<u16>,
}

impl Drawn {
    fn new() -> Result<Self> {
        let no_memory = |_| Error::NoHostMemory;
        let numbers = |count| {
            let mut numbers = KVVec::new();
            numbers.resize(count, 0, GFP_KERNEL).map_err(no_memory)?;
            Ok::<_, Error>(numbers)
        };
        let mut steps = KVVec::new();
        steps
            .resize(object_shapes::BULK, Step::default(), GFP_KERNEL)
            .map_err(no_memory)?;
        Ok(Self {
            order: numbers(object_shapes::BULK)?,
            first: numbers(object_shapes::WINDOW)?,
            steps,
            last: numbers(object_shapes::WINDOW)?,
        })
    }

    fn plan(&mut self) -> Plan<'_> {
        let mut lots = Lots::new(SEED);
        Plan::draw(
            &mut lots,
            &mut self.order,
            &mut self.first,
            &mut self.steps,
            &mut self.last,
        )
    }
}

/// A side with what its blocks need; none where it is not wanted.
struct Bench<S: ObjectSide> {
    side: Option<S>,
    objects: KVVec<S::Object>,
    lots: Lots,
    ticks: KVVec<u64>,
}

impl<S: ObjectSide> Bench<S> {
    fn new(side: Option<S>, what: What, blocks: u32) -> Result<Self> {
        let no_memory = |_| Error::NoHostMemory;
        let mut objects = KVVec::new();
        let mut ticks = KVVec::new();
        if side.is_some() {
            objects
                .resize(what.room(), S::none(), GFP_KERNEL)
                .map_err(no_memory)?;
            let blocks = blocks as usize;
            ticks.reserve(blocks, GFP_KERNEL).map_err(no_memory)?;
        }
        Ok(Self {
            side,
            objects,
            lots: Lots::new(SEED),
            ticks,
        })
    }

    /// One block, unless the side is not wanted.
    fn block(&mut self, what: What, size: u32, plan: &Plan<'_>) -> Result<()> {
        let Some(side) = &self.side else {
            return Ok(());
        };
        let objects = &mut self.objects;
        let number = match what {
            What::Here(shape) => shape.run(side, size as usize, objects, plan, &ticks),
            What::Remote { cpu, both } => remote(side, cpu, both, objects)?,
            What::Pages { few } => object_shapes::pages(side, objects, &mut self.lots)
                .map(|[many, left]| if few { left } else { many }),
        };
        let number = number.ok_or(Error::NoMemory)?;
        self.ticks
            .push(number, GFP_KERNEL)
            .map_err(|_| Error::NoHostMemory)
    }
}

/// What a block is.
#[derive(Clone, Copy)]
enum What {
    /// A shape, on this CPU.
    Here(ObjectShape),
    /// Objects are taken on that CPU and go back on this; `both` are measured or
    /// the second alone.
    Remote { cpu: u32, both: bool },
    /// The pages of many objects, or of the few that stay.
    Pages { few: bool },
}

impl What {
    fn of(request: &uapi::shadowmm_bench_slab) -> Result<Self> {
        let cpu = request.cpu;
        match request.shape {
            uapi::SHADOWMM_BENCH_SLAB_REMOTE => return Ok(Self::Remote { cpu, both: false }),
            uapi::SHADOWMM_BENCH_SLAB_EXCHANGE => return Ok(Self::Remote { cpu, both: true }),
            _ if cpu != 0 => return Err(Error::CpuOffline),
            _ => {}
        }
        Ok(Self::Here(match request.shape {
            uapi::SHADOWMM_BENCH_SLAB_PAIR => ObjectShape::CachePair,
            uapi::SHADOWMM_BENCH_SLAB_KMALLOC_PAIR => ObjectShape::KmallocPair,
            uapi::SHADOWMM_BENCH_SLAB_CALLED_PAIR => ObjectShape::CalledPair,
            uapi::SHADOWMM_BENCH_SLAB_ALLOC => ObjectShape::Alloc,
            uapi::SHADOWMM_BENCH_SLAB_FREE_IN_ORDER => ObjectShape::FreeInOrder,
            uapi::SHADOWMM_BENCH_SLAB_FREE_SHUFFLED => ObjectShape::FreeShuffled,
            uapi::SHADOWMM_BENCH_SLAB_IN_ORDER => ObjectShape::InOrder,
            uapi::SHADOWMM_BENCH_SLAB_SHUFFLED => ObjectShape::Shuffled,
            uapi::SHADOWMM_BENCH_SLAB_ALLOC_BULK => ObjectShape::AllocBulk,
            uapi::SHADOWMM_BENCH_SLAB_FREE_BULK => ObjectShape::FreeBulk,
            uapi::SHADOWMM_BENCH_SLAB_MIXED => ObjectShape::Mixed,
            uapi::SHADOWMM_BENCH_SLAB_PAGES => return Ok(Self::Pages { few: false }),
            uapi::SHADOWMM_BENCH_SLAB_PAGES_LEFT => return Ok(Self::Pages { few: true }),
            _ => return Err(Error::BadKind),
        }))
    }

    fn operations(self) -> usize {
        match self {
            Self::Here(shape) => shape.operations(),
            Self::Remote { .. } => object_shapes::BULK,
            Self::Pages { .. } => 1,
        }
    }

    fn room(self) -> usize {
        match self {
            Self::Pages { .. } => object_shapes::ROOM,
            _ => object_shapes::BULK,
        }
    }
}

/// A block of objects that are taken on `cpu` and freed on this CPU; `None` when
/// memory ran out.
fn remote<S: ObjectSide>(
    side: &S,
    cpu: u32,
    both: bool,
    objects: &mut [S::Object],
) -> Result<Option<u64>> {
    let objects = objects.get_mut(..object_shapes::BULK).unwrap_or_default();
    let mut taking = 0;
    let mut taken = None;
    on_cpu(cpu, || {
        let start = ticks();
        taken = object_shapes::take_all(side, objects);
        taking = ticks().wrapping_sub(start);
    })?;
    if taken.is_none() {
        return Ok(None);
    }
    let start = ticks();
    object_shapes::give_back(side, objects);
    let freeing = ticks().wrapping_sub(start);
    Ok(Some(match both {
        true => freeing.wrapping_add(taking),
        false => freeing,
    }))
}

/// Measures what `request` asks for.
pub(crate) fn run(shadow: &Arc<Shadow>, request: &mut uapi::shadowmm_bench_slab) -> Result<()> {
    check_admin()?;
    let what = What::of(request)?;
    let wanted = |without| request.head.flags & without == 0;
    let ours = wanted(uapi::SHADOWMM_BENCH_NO_SHADOW);
    let theirs = wanted(uapi::SHADOWMM_BENCH_NO_HOST);
    let in_range = (1..=uapi::SHADOWMM_BENCH_MAX_BLOCKS).contains(&request.blocks);
    if !in_range || !(ours || theirs) {
        return Err(Error::BadBlocks);
    }
    if !(1..=uapi::SHADOWMM_BENCH_SLAB_MAX_SIZE).contains(&request.size) {
        return Err(Error::AllocTooLarge);
    }
    let mut drawn = Drawn::new()?;
    let plan = drawn.plan();
    // Two may measure at once, and names are those of directories.
    let name = CString::try_from_fmt(fmt!("shadowmm-bench-{}", kernel::current!().pid()))
        .map_err(|_| Error::NoHostMemory)?;
    let name = name.to_str().map_err(|_| Error::BadCacheName)?;
    let mut args = CacheArgs::new(name, request.size);
    args.flags = SlabFlags::NO_MERGE;
    let cache = ours.then(|| PrivateCache::new(shadow, &args)).transpose()?;
    let theirs = theirs.then(|| Host::new(request.size, name)).transpose()?;
    let (ours, theirs, magazines) = shadow.with_mm_unchanged(|mm| {
        let ours = cache.as_ref().map(|cache| Ours::new(mm, cache.id()));
        measure(request, what, &plan, (ours.transpose()?, theirs))
    })?;
    abi::write_array(request.shadow_ticks, &ours)?;
    abi::write_array(request.host_ticks, &theirs)?;
    request.done = ours.len().max(theirs.len()) as u32;
    request.operations = what.operations() as u32;
    request.magazine = magazines;
    // SAFETY: Both read what the boot has set.
    unsafe {
        request.tsc_khz = kernel::bindings::tsc_khz;
        request.host = bindings::shadowmm_bench_host();
    }
    Ok(())
}

/// What the blocks of both sides took, and how many objects a CPU of the shadow
/// keeps.
fn measure(
    request: &uapi::shadowmm_bench_slab,
    what: What,
    plan: &Plan<'_>,
    (ours, theirs): (Option<Ours<'_, '_>>, Option<Host>),
) -> Result<(KVVec<u64>, KVVec<u64>, u32)> {
    let mut ours = Bench::new(ours, what, request.blocks)?;
    let mut theirs = Bench::new(theirs, what, request.blocks)?;
    for _ in 0..request.blocks {
        ours.block(what, request.size, plan)?;
        theirs.block(what, request.size, plan)?;
        if kernel::current!().signal_pending() {
            break;
        }
    }
    let magazine = ours.side.as_ref().and_then(|side| {
        let report = side.slab.report(side.id)?;
        Some(magazine_capacity(report.geometry.sheaf_capacity))
    });
    Ok((
        core::mem::take(&mut ours.ticks),
        core::mem::take(&mut theirs.ticks),
        magazine.unwrap_or(0),
    ))
}
