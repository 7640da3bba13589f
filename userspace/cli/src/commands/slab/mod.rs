// SPDX-License-Identifier: GPL-2.0

//! `shadowmm slab`: caches of objects, and the objects.
//!
//! ```text
//! list.rs       all caches, once or again and again
//! show.rs       one cache, with a picture of its slabs
//! make.rs       caches are made, shrunk, checked, destroyed
//! alloc.rs      objects are taken and given back
//! interact.rs   the same, line by line
//! ```

mod alloc;
mod interact;
mod list;
mod make;
mod show;

use crate::args;
use crate::args::Slab;
use crate::context::Context;
use crate::error::Error;
use crate::error::Result;
use crate::slab_flags;
use serde::Serialize;
use shadowmm_client::Cache;
use shadowmm_client::Device;
use shadowmm_client::Reason;

#[cfg(test)]
pub use list::tests::sample_list as sample;
pub use list::ListReport;
pub use show::CacheDetails;

/// A cache, and its flags by name.
#[derive(Debug, Serialize)]
pub struct Named {
    #[serde(flatten)]
    cache: Cache,
    flag_names: Vec<String>,
}

impl From<Cache> for Named {
    fn from(cache: Cache) -> Self {
        Self {
            flag_names: slab_flags::names(cache.flags),
            cache,
        }
    }
}

/// The cache of this name; the advice is about names where there is none.
fn find(device: &Device, name: &str) -> Result<u32> {
    device.find_cache(name).map_err(|error| {
        let no_such = error.reason() == Some(Reason::NoSuchCache);
        let error = Error::from(error);
        if no_such {
            error.with_advice("'shadowmm slab list --all' names all caches")
        } else {
            error
        }
    })
}

/// Does what is to be done with caches and objects.
pub fn run(context: &Context, command: &Slab) -> Result<()> {
    match command {
        Slab::List(args) => context.show(&ListReport::read(&context.open()?, args)?),
        Slab::Show { cache } => context.show(&CacheDetails::read(&context.open()?, cache)?),
        Slab::Create(args) => make::create(context, args),
        Slab::Alloc(args) => alloc::run(context, args),
        Slab::Kmalloc(args) => alloc::kmalloc(context, args),
        Slab::Free { cache, object } => {
            let device = context.open()?;
            let id = find(&device, cache)?;
            context.show(&alloc::Freed::of(&device, id, *object)?)
        }
        Slab::Shrink { cache } => make::shrink(context, cache.as_deref()),
        Slab::Validate { cache } => make::validate(context, cache),
        Slab::Destroy { cache } => make::destroy(context, cache),
        Slab::Top(args) => top(context, args),
    }
}

/// Shows the caches again and again.
fn top(context: &Context, args: &args::Top) -> Result<()> {
    let device = context.open()?;
    context.watch(args.delay, args.count, || {
        ListReport::read(&device, &args.list)
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use shadowmm_client::CacheNode;
    use shadowmm_client::Constructor;

    /// The keys of a cache.
    pub const CACHE_KEYS: &str =
        "cache name aliases mergeable object_size size inuse offset align \
        red_left_pad flags flag_names order objects_per_slab min_order min_objects min_partial \
        sheaf_capacity constructor useroffset usersize active_objects total_objects \
        cached_objects slabs slab_pages alloc_fastpath alloc_slowpath free_fastpath free_slowpath \
        free_remote remote_batches refills flushes cpu_flush alloc_slab free_slab order_fallback \
        failed";

    /// A cache with so many slabs on each of two nodes.
    pub fn cache(number: u32, name: &str, slabs: u64) -> Cache {
        Cache {
            cache: number,
            name: name.to_owned(),
            aliases: 1,
            mergeable: true,
            object_size: 600,
            size: 608,
            inuse: 600,
            offset: 304,
            align: 8,
            red_left_pad: 0,
            flags: 0x2_0010,
            order: 3,
            objects_per_slab: 53,
            min_order: 0,
            min_objects: 6,
            min_partial: 5,
            sheaf_capacity: 60,
            constructor: Constructor::None,
            useroffset: 0,
            usersize: 0,
            active_objects: slabs * 2 * 40,
            total_objects: slabs * 2 * 53,
            cached_objects: slabs,
            slabs: slabs * 2,
            slab_pages: slabs * 16,
            alloc_fastpath: 12_345,
            alloc_slowpath: 123,
            free_fastpath: 12_000,
            free_slowpath: 99,
            free_remote: 7,
            remote_batches: 2,
            refills: 100,
            flushes: 90,
            cpu_flush: 1,
            alloc_slab: 20,
            free_slab: 3,
            order_fallback: 0,
            failed: 0,
        }
    }

    /// What it has on the nodes.
    pub fn nodes(cache: &Cache) -> Vec<CacheNode> {
        let slabs = cache.slabs / 2;
        (0..2)
            .map(|nid| CacheNode {
                cache: cache.cache,
                nid,
                full_slabs: slabs / 2,
                partial_slabs: slabs - slabs / 2 - u64::from(slabs > 1),
                empty_slabs: u64::from(slabs > 1),
                total_objects: slabs * 53,
                objects: slabs * 41,
            })
            .collect()
    }
}
