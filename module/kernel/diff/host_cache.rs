// SPDX-License-Identifier: GPL-2.0

//! A cache of the kernel's slab allocator, through host_slab.c.

use super::no_memory;
use crate::bindings;
use crate::uapi;
use core::ffi::c_void;
use core::ptr::NonNull;
use kernel::prelude::*;
use kernel::str::CStr;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::slab::calculate_alignment;
use shadowmm_core::slab::CacheName;
use shadowmm_core::slab::SlabFlags;

/// No cache that could be has larger objects or alignments, in bytes. Above, the
/// kernel's arithmetic may overflow.
const SANE: u32 = 16 << 20;
/// The largest sheaf, in objects. The kernel makes those as they are asked for, and warns
/// where kmalloc has no such size.
const SANE_SHEAF: u32 = 1 << 16;
/// The size of a cache line, which the kernel aligns by.
const CACHE_LINE: u32 = 64;

/// How all names begin: none of the kernel's own does.
const PREFIX: &str = "diff-";

kernel::sync::global_lock! {
    // SAFETY: Initialised in the module's init, before anything else.
    pub(super) unsafe(uninit) static NAMES: Mutex<KVVec<CacheName>> = KVVec::new();
}

/// A name that nobody else has while this is there: the kernel takes a second cache of the same
/// name for a mistake, and says so (`kmem_cache_sanity_check`, `sysfs_warn_dup`).
struct Name(CacheName);

impl Name {
    /// # Errors
    ///
    /// [`Error::BadCacheName`], [`Error::DiffCacheName`]; [`Error::CacheExists`] when somebody has it.
    fn take(name: &str) -> CoreResult<Self> {
        if !name.starts_with(PREFIX) {
            return Err(Error::DiffCacheName);
        }
        let name = CacheName::new(name)?;
        let mut names = NAMES.lock();
        if names.contains(&name) {
            return Err(Error::CacheExists);
        }
        names.push(name, GFP_KERNEL).map_err(no_memory)?;
        Ok(Self(name))
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let mut names = NAMES.lock();
        // The last one takes its place.
        let place = names.iter().position(|name| *name == self.0);
        let last = names.pop();
        if let (Some(slot), Some(last)) = (place.and_then(|at| names.get_mut(at)), last) {
            *slot = last;
        }
        if names.is_empty() {
            // With its memory: the module may be about to go.
            *names = KVVec::new();
        }
    }
}

/// A cache of the kernel, which is ours. The name goes behind it.
pub(super) struct HostCache {
    cache: NonNull<kernel::bindings::kmem_cache>,
    _name: Name,
}

// SAFETY: Caches may be used and destroyed by any task.
unsafe impl Send for HostCache {}

/// An object of one. It is not freed by itself.
#[derive(Clone, Copy)]
pub(super) struct HostObject(NonNull<c_void>);

// SAFETY: Objects may be given back by any task.
unsafe impl Send for HostObject {}

impl HostObject {
    /// None, for places that are to be filled.
    pub(super) const DANGLING: Self = Self(NonNull::dangling());

    /// The first page of the slab that it lies in.
    pub(super) fn slab(self) -> u64 {
        // SAFETY: It is an object of the kernel's.
        unsafe { bindings::shadowmm_host_object_slab(self.0.as_ptr()) as u64 }
    }
}

impl HostCache {
    /// Asks the kernel for a cache; `None` when it has refused. The caller has
    /// seen that the request [is harmless](is_harmless).
    ///
    /// # Errors
    ///
    /// [`Error::BadCacheName`] and [`Error::DiffCacheName`] for what is no such name,
    /// [`Error::CacheExists`] when there is one of that name.
    pub(super) fn new(wanted: &uapi::shadowmm_diff_cache, name: &CStr) -> CoreResult<Option<Self>> {
        let taken = Name::take(name.to_str().map_err(|_| Error::BadText)?)?;
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
        let cache = NonNull::new(unsafe {
            bindings::shadowmm_host_cache_create(name.as_char_ptr(), &raw const args)
        });
        Ok(cache.map(|cache| Self {
            cache,
            _name: taken,
        }))
    }

    /// What the kernel has made of the request.
    pub(super) fn geometry(&self) -> uapi::shadowmm_diff_geometry {
        let mut of = bindings::shadowmm_host_geometry::default();
        // SAFETY: The cache is there as long as `self`.
        unsafe { bindings::shadowmm_host_cache_geometry(self.cache.as_ptr(), &raw mut of) };
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

    /// Takes an object. May sleep.
    pub(super) fn alloc(&self) -> Option<HostObject> {
        // SAFETY: As above.
        NonNull::new(unsafe { bindings::shadowmm_host_object_alloc(self.cache.as_ptr()) })
            .map(HostObject)
    }

    /// Takes as many objects as there are places, or none. May sleep.
    pub(super) fn alloc_bulk(&self, objects: &mut [Option<HostObject>]) -> bool {
        // SAFETY: As above. An optional object is as large as a pointer, null for
        // none; all places are overwritten, or none counts.
        unsafe {
            bindings::shadowmm_host_object_alloc_bulk(
                self.cache.as_ptr(),
                objects.len(),
                objects.as_mut_ptr().cast(),
            )
        }
    }

    /// Gives an object back.
    ///
    /// # Safety
    ///
    /// It is this cache's, and nobody has it any more.
    pub(super) unsafe fn free(&self, object: HostObject) {
        // SAFETY: The caller's promise.
        unsafe { bindings::shadowmm_host_object_free(self.cache.as_ptr(), object.0.as_ptr()) };
    }

    /// Gives objects back.
    ///
    /// # Safety
    ///
    /// They are this cache's, none is there twice, and nobody has them any more.
    pub(super) unsafe fn free_bulk(&self, objects: &mut [HostObject]) {
        let (array, count) = (objects.as_mut_ptr().cast(), objects.len());
        // SAFETY: The caller's promise; an object is a pointer.
        unsafe { bindings::shadowmm_host_object_free_bulk(self.cache.as_ptr(), count, array) };
    }

    /// Has the kernel give up what nobody uses of it. May sleep.
    pub(super) fn shrink(&self) {
        // SAFETY: As above. Whether all slabs went is told by sysfs as well.
        unsafe { bindings::shadowmm_host_cache_shrink(self.cache.as_ptr()) };
    }
}

impl Drop for HostCache {
    fn drop(&mut self) {
        // SAFETY: It is ours, none of its objects is allocated, and nobody has it
        // any more.
        unsafe { bindings::shadowmm_host_cache_destroy(self.cache.as_ptr()) };
    }
}

/// Whether the kernel can be asked for this cache without harm to itself.
pub(super) fn is_harmless(wanted: &uapi::shadowmm_diff_cache) -> bool {
    let hwcache = match wanted.flags & SlabFlags::HWCACHE_ALIGN.bits() {
        0 => SlabFlags::NONE,
        _ => SlabFlags::HWCACHE_ALIGN,
    };
    let align = calculate_alignment(hwcache, wanted.align, wanted.object_size, CACHE_LINE);
    let behind = wanted.object_size.checked_sub(wanted.usersize);
    wanted.object_size <= SANE
        && wanted.sheaf_capacity <= SANE_SHEAF
        && align.is_ok_and(|align| align <= SANE)
        && (wanted.usersize != 0 || wanted.useroffset == 0)
        && behind.is_some_and(|behind| wanted.useroffset <= behind)
}
