// SPDX-License-Identifier: GPL-2.0

//! Caches of the kernel's slab allocator: what it makes of a request; and pairs of
//! one there and one in the shadow.

use super::host_cache::is_harmless;
use super::host_cache::HostCache;
use super::no_memory;
use super::objects::Slots;
use crate::abi;
use crate::shadow::Shadow;
use crate::slab::PrivateCache;
use crate::uapi;
use crate::users::check_admin;
use kernel::prelude::*;
use kernel::str::CStr;
use kernel::sync::Arc;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::slab::CacheArgs;
use shadowmm_core::slab::Constructor;
use shadowmm_core::slab::SlabFlags;

/// How many caches one request may ask for.
const MAX_CACHES: u32 = 1024;

/// A cache of the kernel, and its like in the shadow. Both go with it: their objects have been
/// given back.
pub(super) struct Pair {
    pub(super) host: HostCache,
    shadow: Option<PrivateCache>,
}

impl Pair {
    /// The shadow's; none when the pair was asked for without.
    pub(super) fn shadow(&self) -> CoreResult<&PrivateCache> {
        self.shadow.as_ref().ok_or(Error::NoSuchCache)
    }
}

/// What an open file has of the kernel's caches, and of the shadow's to compare
/// them with.
pub(crate) struct SlabDiff {
    shadow: Arc<Shadow>,
    pub(super) slots: Slots,
    pub(super) pairs: KVVec<Pair>,
}

impl SlabDiff {
    /// Nothing yet.
    pub(crate) fn new(shadow: Arc<Shadow>) -> Self {
        Self {
            shadow,
            slots: Slots::NEW,
            pairs: KVVec::new(),
        }
    }

    /// DIFF_CACHES. How many pairs there were before is told for [`SlabDiff::drop_from`].
    pub(crate) fn caches(&mut self, request: &uapi::shadowmm_diff_caches) -> CoreResult<usize> {
        check_admin()?;
        if request.nr > MAX_CACHES {
            return Err(Error::BadSize);
        }
        match request.op {
            uapi::SHADOWMM_DIFF_MEASURE | uapi::SHADOWMM_DIFF_KEEP | uapi::SHADOWMM_DIFF_PAIR => {}
            uapi::SHADOWMM_DIFF_DROP if request.nr == 0 => {
                self.drop_from(0);
                return Ok(0);
            }
            _ => return Err(Error::BadKind),
        }
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
        let had = self.pairs.len();
        let mut ask_all = || {
            for cache in &wanted {
                let geometry = self.ask(cache, request.op)?;
                found.push(geometry, GFP_KERNEL).map_err(no_memory)?;
            }
            abi::write_array(request.geometries, &found)
        };
        let asked = ask_all();
        if asked.is_err() {
            self.drop_from(had);
        }
        asked.map(|()| had)
    }

    fn ask(
        &mut self,
        wanted: &uapi::shadowmm_diff_cache,
        op: u32,
    ) -> CoreResult<uapi::shadowmm_diff_geometry> {
        let name = CStr::from_bytes_until_nul(&wanted.name).map_err(|_| Error::BadText)?;
        let without = |asked| uapi::shadowmm_diff_geometry {
            asked,
            ..Default::default()
        };
        if !is_harmless(wanted) {
            return Ok(without(uapi::SHADOWMM_DIFF_NOT_ASKED));
        }
        let mut wanted = *wanted;
        if op == uapi::SHADOWMM_DIFF_PAIR {
            // On both sides: with a cache that others use, too, nothing is to be compared, and
            // what of it is ours could not be taken back.
            wanted.flags |= SlabFlags::NO_MERGE.bits();
        }
        let wanted = &wanted;
        self.pairs.reserve(1, GFP_KERNEL).map_err(no_memory)?;
        let Some(host) = HostCache::new(wanted, name)? else {
            return Ok(without(uapi::SHADOWMM_DIFF_REFUSED));
        };
        let geometry = host.geometry();
        let shadow = match op {
            uapi::SHADOWMM_DIFF_PAIR => Some(self.create(wanted, name)?),
            _ => None,
        };
        if op != uapi::SHADOWMM_DIFF_MEASURE {
            let pair = Pair { host, shadow };
            self.pairs.push(pair, GFP_KERNEL).map_err(no_memory)?;
        }
        Ok(geometry)
    }

    /// The same cache in the shadow.
    fn create(&self, wanted: &uapi::shadowmm_diff_cache, name: &CStr) -> CoreResult<PrivateCache> {
        let has = |option| wanted.options & option != 0;
        let args = CacheArgs {
            name: name.to_str().map_err(|_| Error::BadText)?,
            object_size: wanted.object_size,
            align: wanted.align,
            flags: SlabFlags::from_bits(wanted.flags)?,
            ctor: match has(uapi::SHADOWMM_DIFF_CTOR) {
                true => Constructor::Fill(0),
                false => Constructor::None,
            },
            useroffset: wanted.useroffset,
            usersize: wanted.usersize,
            freeptr_offset: has(uapi::SHADOWMM_DIFF_FREEPTR).then_some(wanted.freeptr_offset),
            sheaf_capacity: wanted.sheaf_capacity,
            of_core: false,
        };
        PrivateCache::new(&self.shadow, &args)
    }

    /// DIFF_OBJECTS.
    pub(crate) fn objects(&mut self, request: &mut uapi::shadowmm_diff_objects) -> CoreResult<()> {
        check_admin()?;
        let failed = self.slots.play(&self.pairs, request)?;
        request.failed = failed.all();
        request.shadow_short = failed.short;
        request.shadow_refused = failed.refused;
        Ok(())
    }

    /// DIFF_CACHE.
    pub(crate) fn look(&self, request: &mut uapi::shadowmm_diff_look) -> CoreResult<()> {
        check_admin()?;
        let pair = self.pairs.get(request.cache as usize);
        let pair = pair.ok_or(Error::NoSuchCache)?;
        self.slots.look(pair, request)
    }

    /// Gives the objects of all pairs from this one on back, and then the caches.
    pub(crate) fn drop_from(&mut self, first: usize) {
        self.slots.give_from(&self.pairs, first);
        self.pairs.truncate(first);
    }
}

impl Drop for SlabDiff {
    fn drop(&mut self) {
        self.drop_from(0);
    }
}
