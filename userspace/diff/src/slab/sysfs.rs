// SPDX-License-Identifier: GPL-2.0

//! What the kernel shows of a cache: `/sys/kernel/slab/NAME` and
//! `/proc/slabinfo`.

use crate::Result;
use shadowmm_core::slab::CacheArgs;
use shadowmm_core::slab::Geometry;
use shadowmm_core::slab::SlabFlags;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// The numbers of `/proc/slabinfo` that are of the geometry: size, objects and
/// pages of a slab.
#[derive(Debug)]
pub struct SlabInfo(HashMap<String, [u32; 3]>);

impl SlabInfo {
    /// As it is now.
    pub fn read() -> Result<Self> {
        let path = "/proc/slabinfo";
        let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let mut caches = HashMap::new();
        for line in text.lines().skip(2) {
            let mut words = line.split_whitespace();
            let Some(name) = words.next() else { continue };
            let numbers: Vec<u32> = words.take(5).filter_map(|word| word.parse().ok()).collect();
            if let [_, _, size, objects, pages] = numbers[..] {
                caches.insert(name.to_owned(), [size, objects, pages]);
            }
        }
        Self(caches)
    }
}

/// The number that the kernel shows of a cache, for all nodes together.
pub fn count(cache: &str, attribute: &str) -> Result<u64> {
    let path = Path::new("/sys/kernel/slab").join(cache).join(attribute);
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = fs::read_to_string(&path).map_err(|error| told(&error))?;
    let first = text.split_whitespace().next().unwrap_or("");
    first.parse().map_err(|error| told(&error))
}

/// Compares what the kernel shows of the cache with what it should be: how many
/// numbers were the same, or what is not, with both.
pub fn compare(
    args: &CacheArgs<'_>,
    expected: &Geometry,
    info: &SlabInfo,
) -> Result<std::result::Result<usize, String>> {
    let dir = Path::new("/sys/kernel/slab").join(args.name);
    let has = |flag| u32::from(expected.flags.has(flag));
    let attributes = [
        ("object_size", expected.object_size),
        ("slab_size", expected.size),
        ("align", expected.align),
        ("order", expected.order.get().into()),
        ("objs_per_slab", expected.objects),
        ("min_partial", expected.min_partial),
        ("sheaf_capacity", expected.sheaf_capacity),
        ("usersize", args.usersize),
        ("hwcache_align", has(SlabFlags::HWCACHE_ALIGN)),
        ("reclaim_account", has(SlabFlags::RECLAIM_ACCOUNT)),
        ("cache_dma", has(SlabFlags::CACHE_DMA)),
        ("destroy_by_rcu", has(SlabFlags::TYPESAFE_BY_RCU)),
        ("sanity_checks", has(SlabFlags::CONSISTENCY_CHECKS)),
        ("red_zone", has(SlabFlags::RED_ZONE)),
        ("poison", has(SlabFlags::POISON)),
        ("store_user", has(SlabFlags::STORE_USER)),
        ("trace", has(SlabFlags::TRACE)),
    ];
    let mut equal = 0;
    for (name, expected) in attributes {
        let path = dir.join(name);
        let text =
            fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        if text.trim().parse() != Ok(expected) {
            return Ok(Err(format!("{name} is {}, not {expected}", text.trim())));
        }
        equal += 1;
    }
    let expected = [
        expected.size,
        expected.objects,
        1 << u32::from(expected.order.get()),
    ];
    match info.0.get(args.name) {
        Some(found) if *found == expected => Ok(Ok(equal + found.len())),
        found => Ok(Err(format!("slabinfo has {found:?}, not {expected:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slabinfo_is_read() {
        let text = "slabinfo - version: 2.1\n# name <active_objs> ...\n\
            kmalloc-64  1024 1088 64 64 1 : tunables 0 0 0 : slabdata 16 17 0\n";
        let info = SlabInfo::parse(text);
        assert_eq!(info.0.get("kmalloc-64"), Some(&[64, 64, 1]));
    }
}
