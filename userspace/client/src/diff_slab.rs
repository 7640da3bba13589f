// SPDX-License-Identifier: GPL-2.0

//! The differential test of the slab layer: caches of the running kernel.

use crate::device::Device;
use crate::error::Error;
use crate::error::Result;
use shadowmm_abi as abi;
use shadowmm_core::phys::PageOrder;
use shadowmm_core::slab::CacheArgs;
use shadowmm_core::slab::Geometry;
use shadowmm_core::slab::SlabFlags;
use std::ffi::c_char;

/// How many caches can be asked for at once.
pub const MAX_HOST_CACHES: usize = 1024;

/// What the kernel has made of a request for a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostAnswer {
    /// A cache of this geometry.
    Cache(Geometry),
    /// It has refused.
    Refused,
    /// It was not asked, because it would have stumbled.
    NotAsked,
}

const WHAT: &str = "ask the kernel for caches";

impl Device {
    /// Has the kernel create each of up to [`MAX_HOST_CACHES`] caches; they are
    /// destroyed again at once, or with `keep`, by [`Device::drop_host_caches`] and when
    /// the device is closed.
    pub fn host_caches(&self, wanted: &[CacheArgs<'_>], keep: bool) -> Result<Vec<HostAnswer>> {
        let caches: Vec<abi::shadowmm_diff_cache> = wanted.iter().map(asked).collect();
        let mut found = vec![abi::shadowmm_diff_geometry::default(); wanted.len()];
        let mut request = abi::shadowmm_diff_caches {
            op: match keep {
                true => abi::SHADOWMM_DIFF_KEEP,
                false => abi::SHADOWMM_DIFF_MEASURE,
            },
            nr: caches.len().try_into().unwrap_or(u32::MAX),
            caches: caches.as_ptr() as u64,
            geometries: found.as_mut_ptr() as u64,
            ..Default::default()
        };
        self.request(WHAT, &mut request)?;
        found.iter().map(answer).collect()
    }

    /// Has the kernel destroy the caches that are kept.
    pub fn drop_host_caches(&self) -> Result<()> {
        let mut request = abi::shadowmm_diff_caches {
            op: abi::SHADOWMM_DIFF_DROP,
            ..Default::default()
        };
        self.request("have the kernel destroy caches", &mut request)
    }
}

fn asked(args: &CacheArgs<'_>) -> abi::shadowmm_diff_cache {
    let mut cache = abi::shadowmm_diff_cache {
        object_size: args.object_size,
        align: args.align,
        flags: args.flags.bits(),
        useroffset: args.useroffset,
        usersize: args.usersize,
        freeptr_offset: args.freeptr_offset.unwrap_or(0),
        sheaf_capacity: args.sheaf_capacity,
        ..Default::default()
    };
    if args.ctor.is_some() {
        cache.options |= abi::SHADOWMM_DIFF_CTOR;
    }
    if args.freeptr_offset.is_some() {
        cache.options |= abi::SHADOWMM_DIFF_FREEPTR;
    }
    let room = cache.name.len() - 1;
    for (to, from) in cache.name.iter_mut().zip(args.name.bytes().take(room)) {
        *to = from as c_char;
    }
    cache
}

fn answer(found: &abi::shadowmm_diff_geometry) -> Result<HostAnswer> {
    let strange = |value: u32| Error::Unexpected {
        what: WHAT,
        value: value.into(),
    };
    let order = |order| PageOrder::new(order).ok_or(strange(order));
    Ok(match found.asked {
        abi::SHADOWMM_DIFF_CREATED => HostAnswer::Cache(Geometry {
            object_size: found.object_size,
            size: found.size,
            inuse: found.inuse,
            offset: found.offset,
            align: found.align,
            red_left_pad: found.red_left_pad,
            flags: SlabFlags::from_bits(found.flags).map_err(|_| strange(found.flags))?,
            order: order(found.order)?,
            objects: found.objects,
            min_order: order(found.min_order)?,
            min_objects: found.min_objects,
            min_partial: found.min_partial,
            sheaf_capacity: found.sheaf_capacity,
        }),
        abi::SHADOWMM_DIFF_REFUSED => HostAnswer::Refused,
        abi::SHADOWMM_DIFF_NOT_ASKED => HostAnswer::NotAsked,
        asked => return Err(strange(asked)),
    })
}
