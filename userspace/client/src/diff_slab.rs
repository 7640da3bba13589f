// SPDX-License-Identifier: GPL-2.0

//! The differential test of the slab layer: caches of the running kernel, and
//! pairs of one there and one in the shadow.

use crate::device::Device;
use crate::error::Error;
use crate::error::Result;
use serde::Serialize;
use shadowmm_abi as abi;
use shadowmm_core::phys::PageOrder;
use shadowmm_core::slab::CacheArgs;
use shadowmm_core::slab::Geometry;
use shadowmm_core::slab::SlabFlags;
use std::ffi::c_char;

/// How many caches can be asked for at once.
pub const MAX_HOST_CACHES: usize = 1024;

/// How many slots there are for objects.
pub const NR_OBJECT_SLOTS: u32 = 1 << 16;

/// What becomes of the caches that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// They are looked at and destroyed.
    Measure,
    /// They are kept.
    Keep,
    /// They are kept, and the shadow has the same.
    Pair,
}

/// A step with objects, on both sides of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectStep {
    /// An object for each of so many slots.
    Take {
        /// The pair.
        pair: u32,
        /// The first slot.
        slot: u32,
        /// How many.
        count: u32,
        /// All at once, up to 256.
        bulk: bool,
    },
    /// The objects of so many slots go back.
    Give {
        /// The pair, whose alone they are, if that is to be done at once, for up
        /// to 256.
        bulk: Option<u32>,
        /// The first slot.
        slot: u32,
        /// How many.
        count: u32,
    },
    /// Both give up what nobody uses of a pair.
    Shrink {
        /// The pair.
        pair: u32,
    },
}

impl From<&ObjectStep> for abi::shadowmm_diff_objects_step {
    fn from(step: &ObjectStep) -> Self {
        let with = |op, cache, slot, count| Self {
            op,
            cache,
            slot,
            count,
        };
        match *step {
            ObjectStep::Take {
                pair,
                slot,
                count,
                bulk,
            } => match bulk {
                true => with(abi::SHADOWMM_DIFF_TAKE_BULK, pair, slot, count),
                false => with(abi::SHADOWMM_DIFF_TAKE, pair, slot, count),
            },
            ObjectStep::Give { bulk, slot, count } => match bulk {
                Some(pair) => with(abi::SHADOWMM_DIFF_GIVE_BULK, pair, slot, count),
                None => with(abi::SHADOWMM_DIFF_GIVE, 0, slot, count),
            },
            ObjectStep::Shrink { pair } => with(abi::SHADOWMM_DIFF_SHRINK, pair, 0, 0),
        }
    }
}

/// Objects that could not be had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FailedObjects {
    /// All that one side or both could not give.
    pub all: u32,
    /// Those that the shadow alone had no memory for.
    pub shadow_short: u32,
    /// Those that the shadow alone did not give all the same.
    pub shadow_refused: u32,
}

/// What there is of a pair; what the kernel counts stands in sysfs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PairState {
    /// Objects that slots have.
    pub live: u64,
    /// Slabs of the kernel that they lie in.
    pub host_used: u64,
    /// Slabs of the shadow that they lie in.
    pub shadow_used: u64,
    /// Slabs of the shadow that are smaller than they should be, so far.
    pub fallbacks: u32,
    /// Slabs of the shadow.
    pub slabs: u64,
    /// Of these, those with free and other objects.
    pub partial: u64,
    /// And those with free objects only.
    pub empty: u64,
    /// Objects in the shadow's slabs.
    pub total: u64,
    /// Those of them that are in no slab's freelist.
    pub objects: u64,
    /// Those of them that CPUs keep.
    pub cached: u64,
    /// Those that somebody has.
    pub active: u64,
    /// Pages of the slabs.
    pub pages: u64,
    /// Of the live objects, those that begin where no other of the shadow's lies.
    pub apart: u64,
}

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
    /// Has the kernel create each of up to [`MAX_HOST_CACHES`] caches. Those that are
    /// kept go with [`Device::drop_host_caches`], and when the device is closed; pairs
    /// are numbered from 0.
    pub fn host_caches(&self, wanted: &[CacheArgs<'_>], what: Asked) -> Result<Vec<HostAnswer>> {
        let caches: Vec<abi::shadowmm_diff_cache> = wanted.iter().map(asked).collect();
        let mut found = vec![abi::shadowmm_diff_geometry::default(); wanted.len()];
        let mut request = abi::shadowmm_diff_caches {
            op: match what {
                Asked::Measure => abi::SHADOWMM_DIFF_MEASURE,
                Asked::Keep => abi::SHADOWMM_DIFF_KEEP,
                Asked::Pair => abi::SHADOWMM_DIFF_PAIR,
            },
            nr: caches.len().try_into().unwrap_or(u32::MAX),
            caches: caches.as_ptr() as u64,
            geometries: found.as_mut_ptr() as u64,
            ..Default::default()
        };
        self.request(WHAT, &mut request)?;
        found.iter().map(answer).collect()
    }

    /// Plays steps on both sides of pairs; what one of them or both could not give.
    pub fn play_objects(&self, steps: &[ObjectStep]) -> Result<FailedObjects> {
        let steps: Vec<abi::shadowmm_diff_objects_step> = steps.iter().map(Into::into).collect();
        let mut play = abi::shadowmm_diff_objects {
            nr: steps.len().try_into().unwrap_or(u32::MAX),
            steps: steps.as_ptr() as u64,
            ..Default::default()
        };
        self.request("play steps with objects on both sides", &mut play)?;
        Ok(FailedObjects {
            all: play.failed,
            shadow_short: play.shadow_short,
            shadow_refused: play.shadow_refused,
        })
    }

    /// What there is of a pair.
    pub fn look_at_pair(&self, pair: u32) -> Result<PairState> {
        let mut look = abi::shadowmm_diff_look {
            cache: pair,
            ..Default::default()
        };
        self.request("look at a pair of caches", &mut look)?;
        Ok(PairState {
            live: look.live,
            host_used: look.host_used,
            shadow_used: look.shadow_used,
            fallbacks: look.fallbacks,
            slabs: look.slabs,
            partial: look.partial,
            empty: look.empty,
            total: look.total,
            objects: look.objects,
            cached: look.cached,
            active: look.active,
            pages: look.pages,
            apart: look.apart,
        })
    }

    /// Has the kernel destroy the caches that are kept, and the shadow those of
    /// pairs, once all objects have gone back.
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
