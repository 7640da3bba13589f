// SPDX-License-Identifier: GPL-2.0

//! `shadowmm slab show`: a cache, what an object of it is made of, and a
//! picture of its slabs.
//!
//! ```text
//! node 0  full     ■■■■■■■■ 8      a box is a slab, or so many
//!         partial  ▣▣ 2
//!         free     □ 1
//! ```

use super::find;
use super::Named;
use crate::context::Report;
use crate::error::Error;
use crate::error::Result;
use crate::render::bytes;
use crate::render::count;
use crate::render::pages;
use crate::render::percent;
use crate::render::plural;
use crate::render::Column;
use crate::render::Fields;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_client::Cache;
use shadowmm_client::CacheNode;
use shadowmm_client::Constructor;
use shadowmm_client::Device;
use shadowmm_client::ObjectsBy;
use shadowmm_client::PAGE_SIZE;

/// Boxes that one line of the picture has.
const BOXES: u64 = 40;

/// A cache and what it has on each node.
#[derive(Debug, Serialize)]
pub struct CacheDetails {
    #[serde(flatten)]
    named: Named,
    nodes: Vec<CacheNode>,
    /// Who makes its objects of pages.
    #[serde(skip)]
    by: ObjectsBy,
}

impl CacheDetails {
    /// Looks at the cache of this name.
    pub fn read(device: &Device, name: &str) -> Result<Self> {
        let number = find(device, name)?;
        Self::of(device, number)
    }

    /// Looks at the cache of this number.
    pub fn of(device: &Device, number: u32) -> Result<Self> {
        let mut caches = device.caches()?.into_iter();
        let cache = caches.find(|cache| cache.cache == number);
        let cache = cache.ok_or_else(|| Error::failed("the cache has just been destroyed"))?;
        let mut nodes = device.cache_nodes()?;
        nodes.retain(|node| node.cache == number);
        let by = device.slab_layer()?.by;
        Ok(Self::new(cache, nodes, by))
    }

    fn new(cache: Cache, nodes: Vec<CacheNode>, by: ObjectsBy) -> Self {
        Self {
            named: cache.into(),
            nodes,
            by,
        }
    }

    /// The cache.
    pub fn cache(&self) -> &Cache {
        &self.named.cache
    }

    /// How an object lies in its slab.
    pub fn object(&self, screen: &mut Screen) {
        let cache = self.cache();
        let slab = PAGE_SIZE << cache.order.min(32);
        let objects = u64::from(cache.objects_per_slab) * u64::from(cache.size);
        let mut table = Table::new([
            Column::number("from"),
            Column::number("to"),
            Column::text("what"),
        ]);
        for (from, to, what) in layout(cache) {
            if to > from {
                table.row([from.to_string(), to.to_string(), what]);
            }
        }
        table.print(screen);
        screen.blank();
        screen.para(&format!(
            "A slab is {} of order {}, {}: {} of {} bytes, and {} left over ({}).",
            if cache.order == 0 {
                "a page"
            } else {
                "a block"
            },
            cache.order,
            bytes(slab),
            plural(cache.objects_per_slab.into(), "object"),
            cache.size,
            bytes(slab.saturating_sub(objects)),
            percent(slab.saturating_sub(objects), slab),
        ));
        if self.by == ObjectsBy::Kmsob {
            screen.blank();
            screen.warning("Cosmos's containers make the objects (objects=kmsob). All caches of a size share the containers of that size, so a cache that was made has objects but no slab; a slab is a block of a container, and its first block has fewer objects, for the container itself is there. 'shadowmm cosmos' shows them.");
        }
    }

    /// The slabs on each node, as boxes, and what CPUs keep.
    pub fn picture(&self, screen: &mut Screen) {
        let cache = self.cache();
        let kinds = |node: &CacheNode| {
            [
                ("full", "■", node.full_slabs),
                ("partial", "▣", node.partial_slabs),
                ("free", "□", node.empty_slabs),
            ]
        };
        let most = self.nodes.iter().flat_map(kinds).map(|(_, _, slabs)| slabs);
        // What fits beside the words and the number.
        let room = (screen.width() as u64).saturating_sub(32).clamp(1, BOXES);
        let each = most.max().unwrap_or(0).div_ceil(room).max(1);
        for node in &self.nodes {
            let mut named = format!("node {}", node.nid);
            for (kind, sign, slabs) in kinds(node) {
                let boxes = sign.repeat(slabs.div_ceil(each) as usize);
                let line = format!("{named:<8} {kind:<8} {boxes} {}", count(slabs));
                if line.chars().count() <= screen.width() {
                    screen.line(&line);
                } else {
                    screen.para(&line);
                }
                named.clear();
            }
        }
        if self.nodes.is_empty() {
            screen.para("It has no slab.");
        } else if each > 1 {
            screen.para(&format!("A box is up to {} slabs.", count(each)));
        }
        screen.para(&match (cache.sheaf_capacity, cache.cached_objects) {
            (0, _) => "No CPU keeps objects of it.".to_owned(),
            (room, kept) => format!(
                "The CPUs keep {} at hand, each up to two sheaves of {} of its own node's.",
                plural(kept, "free object"),
                count(room.into())
            ),
        });
    }
}

/// The parts of an object's place in a slab: where they begin and end.
fn layout(cache: &Cache) -> Vec<(u32, u32, String)> {
    let left = cache.red_left_pad;
    let object = left.saturating_add(cache.object_size);
    let inuse = left.saturating_add(cache.inuse);
    let freeptr = left.saturating_add(cache.offset);
    let freeptr_inside = cache.offset < cache.object_size;
    let mut parts = vec![
        (0, left, "red zone before the object".to_owned()),
        (left, object, "the object".to_owned()),
        (object, inuse, "red zone, or up to the next word".to_owned()),
    ];
    let end = freeptr.saturating_add(8);
    if freeptr_inside {
        let what = "of these, the free pointer while the object is free";
        parts.insert(2, (freeptr, end, what.to_owned()));
        parts.push((inuse, cache.size, "padding, or owners".to_owned()));
    } else {
        parts.push((freeptr, end, "the free pointer".to_owned()));
        parts.push((end, cache.size, "padding, or owners".to_owned()));
    }
    parts
}

/// The constructor in words.
fn constructor(cache: &Cache) -> String {
    match cache.constructor {
        Constructor::None => "none".to_owned(),
        Constructor::Fill(byte) => format!("fills objects with {byte:#04x}"),
        Constructor::FailAfter(objects) => {
            format!("fails after {}", plural(objects.into(), "object"))
        }
    }
}

impl Report for CacheDetails {
    fn print(&self, screen: &mut Screen) {
        let cache = self.cache();
        let mut fields = Fields::default();
        fields.add("cache", format!("{} (number {})", cache.name, cache.cache));
        fields.add(
            "other names",
            match (cache.mergeable, cache.aliases) {
                (false, _) => "none, it is never shared".to_owned(),
                (true, 0) => "none".to_owned(),
                (true, aliases) => aliases.to_string(),
            },
        );
        let flags = &self.named.flag_names;
        fields.add(
            "flags",
            if flags.is_empty() {
                "none".to_owned()
            } else {
                flags.join(" ")
            },
        );
        fields.add("alignment", cache.align.to_string());
        fields.add("constructor", constructor(cache));
        if cache.usersize > 0 {
            fields.add(
                "for users",
                format!("{} bytes from {}", cache.usersize, cache.useroffset),
            );
        }
        fields.add(
            "objects",
            format!(
                "{} of {} in use",
                count(cache.active_objects),
                count(cache.total_objects)
            ),
        );
        fields.add(
            "slabs",
            format!(
                "{}, {}; {} may stay on a node without an object in use",
                count(cache.slabs),
                pages(cache.slab_pages),
                cache.min_partial
            ),
        );
        fields.add(
            "taken",
            format!(
                "{} from what CPUs keep, {} from slabs",
                count(cache.alloc_fastpath),
                count(cache.alloc_slowpath)
            ),
        );
        fields.add(
            "given back",
            format!(
                "{} to what CPUs keep, {} to slabs, {} to other nodes in {}",
                count(cache.free_fastpath),
                count(cache.free_slowpath),
                count(cache.free_remote),
                plural(cache.remote_batches, "bundle")
            ),
        );
        fields.add(
            "made, gone",
            format!(
                "{}, {}",
                plural(cache.alloc_slab, "slab"),
                count(cache.free_slab)
            ),
        );
        fields.print(screen);
        screen.blank();
        screen.heading("An object, in bytes");
        self.object(screen);
        screen.blank();
        screen.heading("Its slabs");
        self.picture(screen);
    }
}

#[cfg(test)]
pub mod tests {
    use super::super::tests::cache;
    use super::super::tests::nodes;
    use super::super::tests::CACHE_KEYS;
    use super::*;
    use crate::testing;

    /// A cache with so many slabs on each of two nodes.
    pub fn sample(slabs: u64) -> CacheDetails {
        let cache = cache(7, "inode_cache", slabs);
        let nodes = nodes(&cache);
        CacheDetails::new(cache, nodes, ObjectsBy::Slab)
    }

    #[test]
    fn it_fits_and_its_keys_stay() {
        for slabs in [0, 1, 3, 1000, u64::MAX / 1000] {
            testing::fits(&sample(slabs));
        }
        testing::keys(
            &sample(3),
            &format!(
                "{CACHE_KEYS} nodes nodes[].cache nodes[].nid nodes[].full_slabs \
                 nodes[].partial_slabs nodes[].empty_slabs nodes[].total_objects nodes[].objects"
            ),
        );
    }

    #[test]
    fn blocks_of_containers_are_not_taken_for_slabs() {
        let mut details = sample(3);
        assert!(!testing::text(&details, 80).contains("Cosmos"));
        details.by = ObjectsBy::Kmsob;
        testing::fits(&details);
        let text = testing::text(&details, 400);
        assert!(text.contains("a slab is a block of a container"), "{text}");
    }

    #[test]
    fn a_box_is_a_slab_or_several() {
        let text = testing::text(&sample(5), 80);
        assert!(text.contains("node 0   full     ■■ 2\n"), "{text}");
        assert!(text.contains("         partial  ▣▣ 2\n"), "{text}");
        assert!(text.contains("         free     □ 1\n"), "{text}");
        assert!(!text.contains("A box"), "{text}");
        let text = testing::text(&sample(1000), 80);
        assert!(text.contains("A box is up to 13 slabs."), "{text}");
    }

    #[test]
    fn an_object_s_parts_follow_one_another() {
        let mut cache = cache(1, "a", 1);
        let parts: Vec<_> = layout(&cache).into_iter().map(|(a, b, _)| (a, b)).collect();
        assert_eq!(
            parts,
            [(0, 0), (0, 600), (304, 312), (600, 600), (600, 608)]
        );
        cache.red_left_pad = 64;
        cache.inuse = 608;
        cache.offset = 608;
        cache.size = 704;
        let parts: Vec<_> = layout(&cache).into_iter().map(|(a, b, _)| (a, b)).collect();
        assert_eq!(
            parts,
            [(0, 64), (64, 664), (664, 672), (672, 680), (680, 704)]
        );
    }
}
