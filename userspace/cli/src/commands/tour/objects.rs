// SPDX-License-Identifier: GPL-2.0

//! The tour's screen about objects that are smaller than pages: a cache is made,
//! used and destroyed, and its slabs say what happened.

use crate::commands::slab::CacheDetails;
use crate::error::Result;
use crate::render::bytes;
use crate::render::count;
use crate::render::plural;
use crate::render::Screen;
use shadowmm_client::CacheArgs;
use shadowmm_client::Device;
use shadowmm_client::ObjectRequest;
use shadowmm_client::ObjectsBy;
use shadowmm_client::Reason;
use shadowmm_client::PAGE_SIZE;
use shadowmm_core::slab::SlabFlags;
use std::collections::BTreeMap;

/// The cache's name.
const NAME: &str = "tour_inode";
/// Bytes of its objects: those of an inode.
const SIZE: u32 = 600;
/// Slabs that are filled.
const SLABS: usize = 6;
/// Objects that are taken at a time where there are no slabs.
const CONTAINER: usize = 100;

/// Makes the cache, or takes it over from a tour that was ended in the middle.
fn cache(device: &Device) -> Result<u32> {
    let args = CacheArgs {
        name: NAME.to_owned(),
        object_size: SIZE,
        flags: SlabFlags::NO_MERGE.bits(),
        ..CacheArgs::default()
    };
    match device.create_cache(&args) {
        Ok(created) => Ok(created.cache),
        Err(error) if error.reason() == Some(Reason::CacheExists) => Ok(device.find_cache(NAME)?),
        Err(error) => Err(error.into()),
    }
}

/// Tells it while doing it.
pub fn tell(device: &Device, cosmos: bool, screen: &mut Screen) -> Result<()> {
    let number = cache(device)?;
    let told = match device.slab_layer()?.by {
        ObjectsBy::Slab => with_cache(device, number, cosmos, screen),
        ObjectsBy::Kmsob => with_container(device, number, screen),
    };
    // Whatever has come of it, the cache goes.
    let gone = device
        .destroy_cache(number)
        .map_err(|refused| refused.error);
    told.and(gone.map_err(Into::into))
}

fn with_cache(device: &Device, number: u32, cosmos: bool, screen: &mut Screen) -> Result<()> {
    let details = CacheDetails::of(device, number)?;
    let cache = details.cache();
    let per_slab = cache.objects_per_slab as usize;
    let slab_bytes = PAGE_SIZE << cache.order.min(10);
    screen.para(&format!(
        "Most of what a kernel keeps is far smaller than a page: an inode has some {SIZE} bytes, and a page for each would waste most of it. kmem_cache_create() makes a cache for objects of one size; it takes slabs of the {}, blocks of {} here, and parts each into {} objects.",
        match cosmos {
            true => "page manager",
            false => "buddy system",
        },
        bytes(slab_bytes),
        cache.objects_per_slab,
    ));
    screen.blank();
    details.object(screen);

    let request = ObjectRequest::default();
    let mut slabs: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for _ in 0..SLABS {
        let taken = device.alloc_objects(number, &request, per_slab);
        let taken = taken.inspect_err(|_| {
            // What was had goes back, or the cache could not go.
            for objects in slabs.values() {
                let _ = device.free_objects(Some(number), objects);
            }
        });
        for object in taken? {
            slabs.entry(object / slab_bytes).or_default().push(object);
        }
    }
    // One slab loses all, one half of its objects.
    let mut freed: Vec<u64> = Vec::new();
    for (index, objects) in slabs.values().enumerate() {
        freed.extend(match index {
            0 => objects.as_slice(),
            1 => &objects[objects.len() / 2..],
            _ => &[],
        });
    }
    for objects in freed.chunks(per_slab.max(1)) {
        device.free_objects(Some(number), objects)?;
    }
    screen.blank();
    screen.para(&format!(
        "{} were taken, which fills {}, and then {} given back: all of one slab, half of another. What a CPU gets back it keeps for the next who asks, without a lock; the rest goes to its slab:",
        plural((SLABS * per_slab) as u64, "object"),
        plural(slabs.len() as u64, "slab"),
        count(freed.len() as u64),
    ));
    screen.blank();
    CacheDetails::of(device, number)?.picture(screen);
    let shrunk = device.shrink_cache(Some(number))?;
    for objects in slabs.values() {
        let left: Vec<u64> = objects
            .iter()
            .filter(|object| !freed.contains(object))
            .copied()
            .collect();
        for objects in left.chunks(per_slab.max(1)) {
            device.free_objects(Some(number), objects)?;
        }
    }
    screen.blank();
    screen.para(&format!(
        "When memory is short, the CPUs give up what they keep, and slabs without an object in use go back: {} just did. /proc/shadowmm/slabinfo has all caches, for slabtop and vmstat -m; shadowmm slab list shows them.",
        plural(shrunk, "page"),
    ));
    Ok(())
}

/// The same where containers after Cosmos make the objects, which have no slabs and keep
/// nothing for a CPU.
fn with_container(device: &Device, number: u32, screen: &mut Screen) -> Result<()> {
    screen.para(&format!(
        "Most of what a kernel keeps is far smaller than a page: an inode has some {SIZE} bytes, and a page for each would waste most of it. Here the objects are not Linux's slabs' but those of Cosmos's containers (objects=kmsob): one for each size, which is found by that size, grows by extensions of several pages, and is given back when it is empty."
    ));
    let free = || Ok::<u64, crate::error::Error>(device.status()?.free_pages);
    let before = free()?;
    let request = ObjectRequest::default();
    let mut objects = Vec::new();
    for _ in 0..SLABS {
        objects.push(device.alloc_objects(number, &request, CONTAINER)?);
    }
    let (held, with) = (device.slab_layer()?.held_objects, free()?);
    for objects in &objects {
        device.free_objects(Some(number), objects)?;
    }
    let after = free()?;
    screen.blank();
    screen.para(&format!(
        "{} were taken ({} are held now), and free pages went from {} to {}; all were given back, and {} were free again. /proc/shadowmm/kmsob has all containers.",
        plural((SLABS * CONTAINER) as u64, "object"),
        count(held),
        count(before),
        count(with),
        count(after),
    ));
    Ok(())
}
