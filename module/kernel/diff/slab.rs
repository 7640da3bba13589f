// SPDX-License-Identifier: GPL-2.0

//! Caches of the kernel's slab allocator: what it makes of a request.

use super::no_memory;
use super::permitted;
use crate::abi;
use crate::bindings;
use crate::uapi;
use core::ptr::NonNull;
use kernel::prelude::*;
use kernel::str::CStr;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::slab::calculate_alignment;
use shadowmm_core::slab::SlabFlags;

/// How many caches one request may ask for.
const MAX_CACHES: u32 = 1024;
/// No cache that could be has larger objects or alignments, in bytes. Above, the
/// kernel's arithmetic may overflow.
const SANE: u32 = 16 << 20;
/// The size of a cache line of the kernel's alignment.
const CACHE_LINE: u32 = 64;

/// A cache of the kernel, which is ours.
struct HostCache(NonNull<kernel::bindings::kmem_cache>);

// SAFETY: Caches may be used and destroyed by any task.
unsafe impl Send for HostCache {}

impl HostCache {
    /// Asks the kernel for a cache; `None` when it has refused.
    fn new(wanted: &uapi::shadowmm_diff_cache, name: &CStr) -> Option<Self> {
        let args = bindings::shadowmm_host_cache_args {
            object_size: wanted.object_size,
            align: wanted.align,
            flags: wanted.flags,
            useroffset: wanted.useroffset,
            usersize: wanted.usersize,
            freeptr_offset: wanted.freeptr_offset,
            sheaf_capacity: wanted.sheaf_capacity,
            use_freeptr_offset: wanted.options & uapi::SHADOWMM_DIFF_FREEPTR != 0,
            ctor: wanted.options & uapi::SHADOWMM_DIFF_CTOR != 0,
        };
        // SAFETY: Both live until it returns; the kernel copies the name. The
        // caller has looked at the request.
        NonNull::new(unsafe {
            bindings::shadowmm_host_cache_create(name.as_char_ptr(), &raw const args)
        })
        .map(Self)
    }

    fn geometry(&self) -> uapi::shadowmm_diff_geometry {
        let mut of = bindings::shadowmm_host_geometry::default();
        // SAFETY: The cache is there as long as `self`.
        unsafe { bindings::shadowmm_host_cache_geometry(self.0.as_ptr(), &raw mut of) };
        uapi::shadowmm_diff_geometry {
            asked: uapi::SHADOWMM_DIFF_CREATED,
            object_size: of.object_size,
            size: of.size,
            inuse: of.inuse,
            offset: of.offset,
            align: of.align,
            red_left_pad: of.red_left_pad,
            flags: of.flags,
            order: of.order,
            objects: of.objects,
            min_order: of.min_order,
            min_objects: of.min_objects,
            min_partial: of.min_partial,
            sheaf_capacity: of.sheaf_capacity,
        }
    }
}

impl Drop for HostCache {
    fn drop(&mut self) {
        // SAFETY: It is ours, none of its objects is allocated, and nobody has it
        // any more.
        unsafe { bindings::shadowmm_host_cache_destroy(self.0.as_ptr()) };
    }
}

/// Whether the kernel can be asked for this cache without harm to itself.
fn is_harmless(wanted: &uapi::shadowmm_diff_cache) -> bool {
    let hwcache = match wanted.flags & SlabFlags::HWCACHE_ALIGN.bits() {
        0 => SlabFlags::NONE,
        _ => SlabFlags::HWCACHE_ALIGN,
    };
    let align = calculate_alignment(hwcache, wanted.align, wanted.object_size, CACHE_LINE);
    let behind = wanted.object_size.checked_sub(wanted.usersize);
    wanted.object_size <= SANE
        && align.is_ok_and(|align| align <= SANE)
        && (wanted.usersize != 0 || wanted.useroffset == 0)
        && behind.is_some_and(|behind| wanted.useroffset <= behind)
}

/// What an open file has of the kernel's caches.
#[derive(Default)]
pub(crate) struct SlabDiff {
    kept: KVVec<HostCache>,
}

impl SlabDiff {
    /// DIFF_CACHES.
    pub(crate) fn caches(&mut self, request: &uapi::shadowmm_diff_caches) -> CoreResult<()> {
        permitted()?;
        if request.nr > MAX_CACHES {
            return Err(Error::BadSize);
        }
        let keep = match request.op {
            uapi::SHADOWMM_DIFF_MEASURE => false,
            uapi::SHADOWMM_DIFF_KEEP => true,
            uapi::SHADOWMM_DIFF_DROP if request.nr == 0 => {
                self.kept = KVVec::new();
                return Ok(());
            }
            _ => return Err(Error::BadKind),
        };
        let mut wanted = KVVec::new();
        abi::read_array(
            request.caches,
            request.nr,
            |cache: uapi::shadowmm_diff_cache| {
                if cache.flags & SlabFlags::PANIC.bits() != 0 {
                    return Err(Error::BadFlags);
                }
                wanted.push(cache, GFP_KERNEL).map_err(no_memory)
            },
        )?;
        let mut found = KVVec::with_capacity(wanted.len(), GFP_KERNEL).map_err(no_memory)?;
        for cache in &wanted {
            let geometry = self.ask(cache, keep)?;
            found.push(geometry, GFP_KERNEL).map_err(no_memory)?;
        }
        abi::write_array(request.geometries, &found)
    }

    fn ask(
        &mut self,
        wanted: &uapi::shadowmm_diff_cache,
        keep: bool,
    ) -> CoreResult<uapi::shadowmm_diff_geometry> {
        let name = CStr::from_bytes_until_nul(&wanted.name).map_err(|_| Error::BadText)?;
        let without = |asked| uapi::shadowmm_diff_geometry {
            asked,
            ..Default::default()
        };
        if !is_harmless(wanted) {
            return Ok(without(uapi::SHADOWMM_DIFF_NOT_ASKED));
        }
        if keep {
            self.kept.reserve(1, GFP_KERNEL).map_err(no_memory)?;
        }
        let Some(cache) = HostCache::new(wanted, name) else {
            return Ok(without(uapi::SHADOWMM_DIFF_REFUSED));
        };
        let geometry = cache.geometry();
        if keep {
            self.kept.push(cache, GFP_KERNEL).map_err(no_memory)?;
        }
        Ok(geometry)
    }
}
