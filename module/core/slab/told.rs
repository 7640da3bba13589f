// SPDX-License-Identifier: GPL-2.0

//! What whoever listens is told of objects (`include/trace/events/kmem.h`).
//!
//! The short ways tell nothing: while somebody listens no CPU keeps objects, so
//! that each request takes the long way ([`SlabAllocator::refresh_told`]). As in
//! Linux, many objects at once are not told, nor is a size of 0; a free is told
//! before it is known what comes of it.

use super::allocator::ObjRequest;
use super::flags::SlabFlags;
use super::object::CacheId;
use super::object::ObjAddr;
use super::state::CacheCells;
use super::system::SlabAllocator;
use crate::buddy::gfp;
use crate::error::Result;
use crate::phys::Bytes;
use crate::platform::Platform;
use crate::trace::tell;
use crate::trace::TraceEvent;
use crate::trace::TracePoint;

/// An object of a cache was asked for (`trace_kmem_cache_alloc`).
#[inline(always)]
pub(super) fn cache_alloc<P: Platform>(
    system: &SlabAllocator<'_, '_, P>,
    cache: &CacheCells,
    request: &ObjRequest,
    result: Result<ObjAddr>,
) {
    tell(system.platform(), TracePoint::KmemCacheAlloc, || {
        let geometry = cache.geometry();
        TraceEvent::KmemCacheAlloc {
            call_site: request.caller,
            object: result.ok(),
            name: cache.name.get().unwrap_or_default(),
            bytes_req: Bytes(geometry.object_size.into()),
            bytes_alloc: Bytes(geometry.size.into()),
            gfp: request.gfp,
            nid: request.nid,
            accounted: request.gfp.has(gfp::__GFP_ACCOUNT)
                || geometry.flags.has(SlabFlags::ACCOUNT),
        }
    });
}

/// An object is to go back to a cache, if it is from there
/// (`trace_kmem_cache_free`).
#[inline(always)]
pub(super) fn cache_free<P: Platform>(
    system: &SlabAllocator<'_, '_, P>,
    id: CacheId,
    object: ObjAddr,
    call_site: u64,
) {
    let platform = system.platform();
    if platform.is_traced(TracePoint::KmemCacheFree) && system.cache_of(object) == Ok(id) {
        tell(platform, TracePoint::KmemCacheFree, || {
            let _pinned = platform.pin_cpu();
            let cache = system.table().cache(id).ok();
            TraceEvent::KmemCacheFree {
                call_site,
                object,
                name: cache.and_then(|cache| cache.name.get()).unwrap_or_default(),
            }
        });
    }
}

/// An object was asked for by its size: of a cache, or whole pages
/// (`trace_kmalloc`).
#[inline(always)]
pub(super) fn kmalloc<P: Platform>(
    system: &SlabAllocator<'_, '_, P>,
    size: Bytes,
    cache: Option<&CacheCells>,
    request: &ObjRequest,
    result: Result<ObjAddr>,
) {
    tell(system.platform(), TracePoint::Kmalloc, || {
        let pages = || {
            size.pages_up()
                .order_up()
                .map_or(Bytes::ZERO, |order| order.pages().bytes())
        };
        TraceEvent::Kmalloc {
            call_site: request.caller,
            object: result.ok(),
            bytes_req: size,
            bytes_alloc: cache.map_or_else(pages, |cache| Bytes(cache.geometry().size.into())),
            gfp: request.gfp,
            nid: request.nid,
        }
    });
}

/// An object is to go back (`trace_kfree`).
#[inline(always)]
pub(super) fn kfree<P: Platform>(
    system: &SlabAllocator<'_, '_, P>,
    object: ObjAddr,
    call_site: u64,
) {
    tell(system.platform(), TracePoint::Kfree, || TraceEvent::Kfree {
        call_site,
        object,
    });
}
