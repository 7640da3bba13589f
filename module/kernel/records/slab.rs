// SPDX-License-Identifier: GPL-2.0

//! The layer of caches: as a whole, by cache, by cache and node.

use crate::abi;
use crate::abi::Plain;
use crate::abi::Records;
use crate::shadow::Shadow;
use crate::uapi;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::MAX_NODES;
use shadowmm_core::slab::CacheId;
use shadowmm_core::slab::CacheReport;
use shadowmm_core::slab::Constructor;
use shadowmm_core::slab::ObjectAllocator;
use shadowmm_core::slab::ObjectAllocatorKind;

/// Shows every cache; none where the layer is not up.
fn caches(
    shadow: &Shadow,
    mut each: impl FnMut(&dyn ObjectAllocator, &CacheReport) -> CoreResult<()>,
) -> CoreResult<()> {
    shadow.with_mm(|mm| {
        let Some(objects) = mm.objects_if_up() else {
            return Ok(());
        };
        let mut last: Option<CacheId> = None;
        while let Some(id) = objects.next(last) {
            if let Some(cache) = objects.report(id) {
                each(&*objects, &cache)?;
            }
            last = Some(id);
        }
        Ok(())
    })
}

pub(super) fn layer(shadow: &Shadow, out: &mut Records) -> CoreResult<()> {
    let mut record = uapi::shadowmm_rec_slab::zeroed();
    shadow.with_mm(|mm| {
        record.up = mm.objects_if_up().is_some().into();
        record.by = match mm.objects_kind() {
            ObjectAllocatorKind::Slab => uapi::SHADOWMM_OBJECTS_BY_SLAB,
            ObjectAllocatorKind::Kmsob => uapi::SHADOWMM_OBJECTS_BY_KMSOB,
        };
        Ok(())
    })?;
    record.held_objects = shadow.slab.held();
    caches(shadow, |_, cache| {
        record.caches += 1;
        record.pages += cache.pages.0;
        Ok(())
    })?;
    out.push(&record)
}

pub(super) fn all(shadow: &Shadow, out: &mut Records) -> CoreResult<()> {
    caches(shadow, |_, cache| {
        let geometry = &cache.geometry;
        let mut record = uapi::shadowmm_rec_cache::zeroed();
        record.cache = cache.id.get().into();
        record.refcount = cache.refcount;
        abi::fill_text(&mut record.name, cache.name.as_str());
        record.object_size = geometry.object_size;
        record.size = geometry.size;
        record.inuse = geometry.inuse;
        record.offset = geometry.offset;
        record.align = geometry.align;
        record.red_left_pad = geometry.red_left_pad;
        record.flags = geometry.flags.bits();
        record.order = geometry.order.get().into();
        record.objects_per_slab = geometry.objects;
        record.min_order = geometry.min_order.get().into();
        record.min_objects = geometry.min_objects;
        record.min_partial = geometry.min_partial;
        record.sheaf_capacity = geometry.sheaf_capacity;
        (record.ctor, record.ctor_arg) = match cache.ctor {
            Constructor::None => (uapi::SHADOWMM_CTOR_NONE, 0),
            Constructor::Fill(byte) => (uapi::SHADOWMM_CTOR_FILL, byte.into()),
            Constructor::FailAfter(objects) => (uapi::SHADOWMM_CTOR_FAIL, objects),
        };
        record.useroffset = cache.useroffset;
        record.usersize = cache.usersize;
        record.active_objects = cache.active_objects;
        record.total_objects = cache.nodes.total_objects;
        record.cached_objects = cache.cached;
        record.slabs = cache.nodes.slabs;
        record.pages = cache.pages.0;
        let counts = &cache.counts;
        record.alloc_fastpath = counts.alloc_fastpath;
        record.alloc_slowpath = counts.alloc_slowpath;
        record.free_fastpath = counts.free_fastpath;
        record.free_slowpath = counts.free_slowpath;
        record.free_remote = counts.free_remote;
        record.remote_batches = counts.remote_batches;
        record.refills = counts.refills;
        record.flushes = counts.flushes;
        record.cpu_flush = counts.cpu_flush;
        record.alloc_slab = counts.alloc_slab;
        record.free_slab = counts.free_slab;
        record.order_fallback = counts.order_fallback;
        record.failed = counts.failed;
        out.push(&record)
    })
}

pub(super) fn nodes(shadow: &Shadow, out: &mut Records) -> CoreResult<()> {
    caches(shadow, |objects, cache| {
        for nid in (0..MAX_NODES as i32).map(NodeId) {
            let Some(node) = objects.node_report(cache.id, nid) else {
                continue;
            };
            let mut record = uapi::shadowmm_rec_cache_node::zeroed();
            record.cache = cache.id.get().into();
            record.nid = nid.0;
            record.full = node.full;
            record.partial = node.partial;
            record.empty = node.empty;
            record.total_objects = node.total_objects;
            record.objects = node.objects;
            out.push(&record)?;
        }
        Ok(())
    })
}
