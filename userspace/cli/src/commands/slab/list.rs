// SPDX-License-Identifier: GPL-2.0

//! `shadowmm slab list` and `top`: all caches, as slabtop(1) shows them.

use super::Named;
use crate::args;
use crate::args::Sort;
use crate::context::Report;
use crate::error::Result;
use crate::render::bytes;
use crate::render::count;
use crate::render::pages;
use crate::render::percent;
use crate::render::plural;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_client::Cache;
use shadowmm_client::Device;
use shadowmm_client::SlabLayer;
use std::cmp::Reverse;

/// The caches.
#[derive(Debug, Serialize)]
pub struct ListReport {
    #[serde(flatten)]
    layer: SlabLayerReport,
    caches: Vec<Named>,
    /// How many are not shown, because they have no slab.
    #[serde(skip)]
    left_out: usize,
}

/// What is said of the layer as a whole: the number of caches is that of the
/// list.
#[derive(Debug, Serialize)]
struct SlabLayerReport {
    up: bool,
    by: &'static str,
    held_objects: u64,
    slab_pages: u64,
}

impl ListReport {
    /// Asks for them. Asking does not bring the layer up.
    pub fn read(device: &Device, args: &args::List) -> Result<Self> {
        let layer = device.slab_layer()?;
        Ok(Self::new(layer, device.caches()?, args))
    }

    fn new(layer: SlabLayer, mut caches: Vec<Cache>, args: &args::List) -> Self {
        let all = caches.len();
        if !args.all {
            caches.retain(|cache| cache.slabs > 0);
        }
        sort(&mut caches, args.sort);
        Self {
            layer: SlabLayerReport {
                up: layer.up,
                by: layer.by.name(),
                held_objects: layer.held_objects,
                slab_pages: layer.slab_pages,
            },
            left_out: all - caches.len(),
            caches: caches.into_iter().map(Named::from).collect(),
        }
    }

    /// The caches as a table, up to `rows`.
    pub fn table(&self, rows: usize) -> Table {
        let mut table = Table::new([
            Column::number("objects"),
            Column::number("active"),
            Column::number("use"),
            Column::number("size"),
            Column::number("slabs"),
            Column::number("obj/slab"),
            Column::number("cache"),
            Column::text("name"),
        ]);
        for Named { cache, .. } in self.caches.iter().take(rows) {
            table.row([
                cache.total_objects.to_string(),
                cache.active_objects.to_string(),
                percent_whole(cache.active_objects, cache.total_objects),
                cache.size.to_string(),
                cache.slabs.to_string(),
                cache.objects_per_slab.to_string(),
                pages(cache.slab_pages),
                cache.name.clone(),
            ]);
        }
        table
    }
}

/// In whole percent, as slabtop has it.
fn percent_whole(part: u64, whole: u64) -> String {
    let percent = u128::from(part) * 100 / u128::from(whole.max(1));
    format!("{percent}%")
}

fn sort(caches: &mut [Cache], by: Sort) {
    let most = |key: fn(&Cache) -> u64| {
        move |cache: &Cache| (Reverse(key(cache)), cache.name.clone(), cache.cache)
    };
    match by {
        Sort::Objects => caches.sort_by_key(most(|cache| cache.total_objects)),
        Sort::Active => caches.sort_by_key(most(|cache| cache.active_objects)),
        Sort::Use => caches.sort_by_key(most(|cache| {
            // In millionths, so that large numbers need no more room.
            let active = u128::from(cache.active_objects) * 1_000_000;
            (active / u128::from(cache.total_objects.max(1))) as u64
        })),
        Sort::Size => caches.sort_by_key(most(|cache| cache.size.into())),
        Sort::Slabs => caches.sort_by_key(most(|cache| cache.slabs)),
        Sort::PerSlab => caches.sort_by_key(most(|cache| cache.objects_per_slab.into())),
        Sort::Cache => caches.sort_by_key(most(|cache| cache.slab_pages)),
        Sort::Name => caches.sort_by_key(|cache| (cache.name.clone(), cache.cache)),
    }
}

impl Report for ListReport {
    fn print(&self, screen: &mut Screen) {
        let layer = &self.layer;
        if !layer.up {
            screen.para("There are no caches yet: nobody has asked for an object or a window, and the slab layer comes up with the first who does.");
            return;
        }
        let caches = || self.caches.iter().map(|named| &named.cache);
        let active: u64 = caches().map(|cache| cache.active_objects).sum();
        let total: u64 = caches().map(|cache| cache.total_objects).sum();
        let kept: u64 = caches().map(|cache| cache.cached_objects).sum();
        let slabs: u64 = caches().map(|cache| cache.slabs).sum();
        let used: u64 = caches()
            .map(|cache| cache.active_objects.saturating_mul(cache.size.into()))
            .fold(0, u64::saturating_add);
        let all = layer.slab_pages.saturating_mul(shadowmm_client::PAGE_SIZE);
        screen.para(&format!(
            "{} of {} are in use ({}), {} {} kept by CPUs; {} {} held by open files.",
            count(active),
            plural(total, "object"),
            percent(active, total),
            count(kept),
            if kept == 1 { "is" } else { "are" },
            count(layer.held_objects),
            if layer.held_objects == 1 { "is" } else { "are" },
        ));
        screen.para(&format!(
            "{} in {} take {}, {} of it for objects in use ({}).",
            plural(slabs, "slab"),
            plural(self.caches.len() as u64, "cache"),
            bytes(all),
            bytes(used),
            percent(used, all),
        ));
        screen.blank();
        self.table(usize::MAX).print(screen);
        if self.left_out > 0 {
            screen.blank();
            screen.para(&format!(
                "{} without a slab; --all shows them.",
                plural(self.left_out as u64, "more cache")
            ));
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::super::tests::cache;
    use super::super::tests::CACHE_KEYS;
    use super::*;
    use crate::testing;
    use shadowmm_client::ObjectsBy;

    fn layer(up: bool) -> SlabLayer {
        SlabLayer {
            up,
            by: ObjectsBy::Slab,
            held_objects: 1_234_567,
            caches: 3,
            slab_pages: 12_345,
        }
    }

    /// Three caches, one without a slab.
    pub fn sample(sort: Sort, all: bool) -> ListReport {
        let caches = vec![
            cache(1, "kmalloc-64", 10),
            cache(2, "inode_cache", 1_000_000),
            cache(3, "empty", 0),
        ];
        ListReport::new(layer(true), caches, &args::List { sort, all })
    }

    /// The same for other reports.
    pub fn sample_list() -> ListReport {
        sample(Sort::Objects, false)
    }

    fn names(report: &ListReport) -> Vec<&str> {
        let names = report.caches.iter();
        names.map(|named| named.cache.name.as_str()).collect()
    }

    #[test]
    fn it_fits_and_its_keys_stay() {
        let report = sample(Sort::Objects, true);
        testing::fits(&report);
        let caches = CACHE_KEYS.split_whitespace();
        let keys: Vec<String> = caches.map(|key| format!("caches[].{key}")).collect();
        let keys = format!("up by held_objects slab_pages caches {}", keys.join(" "));
        testing::keys(&report, &keys);
    }

    #[test]
    fn the_most_comes_first_and_names_from_a_to_z() {
        assert_eq!(
            names(&sample(Sort::Objects, false)),
            ["inode_cache", "kmalloc-64"]
        );
        for sort in [Sort::Active, Sort::Slabs, Sort::Cache] {
            assert_eq!(
                names(&sample(sort, true)),
                ["inode_cache", "kmalloc-64", "empty"]
            );
        }
        // All the same: by name.
        for sort in [Sort::Size, Sort::PerSlab, Sort::Name] {
            assert_eq!(
                names(&sample(sort, true)),
                ["empty", "inode_cache", "kmalloc-64"]
            );
        }
        assert_eq!(names(&sample(Sort::Use, true))[2], "empty");
    }

    #[test]
    fn what_is_left_out_is_said() {
        let text = testing::text(&sample(Sort::Name, false), 100);
        assert!(text.contains("1 more cache without a slab"), "{text}");
        let text = testing::text(&sample(Sort::Name, true), 100);
        assert!(!text.contains("without a slab"), "{text}");
        let down = ListReport::new(layer(false), vec![], &args::List::default());
        testing::fits(&down);
        assert!(testing::text(&down, 200).contains("no caches yet"));
    }
}
