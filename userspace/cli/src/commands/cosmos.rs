// SPDX-License-Identifier: GPL-2.0

//! `shadowmm cosmos`: the areas of the page manager after Cosmos and the containers
//! of its objects, and what they have done.
//!
//! Cosmos's own names stand beside what is shown. What else in the shadow speaks of
//! Linux's allocator asks here whether that has the pages at all.

mod kmsob;

use super::page::zone_name;
use crate::context::Context;
use crate::context::Report;
use crate::error::Result;
use crate::render::count as count_of;
use crate::render::pages;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use kmsob::Kmsob;
use serde::Serialize;
use shadowmm_client::Area;
use shadowmm_client::Device;
use shadowmm_client::ObjectsBy;
use shadowmm_client::Reason;
use shadowmm_client::Stage;
use shadowmm_core::allocator::AllocatorKind;

/// What the module answers, or `None` where the boot has not come so far.
fn once_booted<T>(answer: shadowmm_client::Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.reason() == Some(Reason::StageOrder) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Who has the pages: nobody before the last stage.
pub fn allocator(device: &Device) -> Result<Option<AllocatorKind>> {
    let areas = once_booted(device.areas())?;
    Ok(areas.map(|areas| kind_of(&areas)))
}

/// Who makes objects of pages: nobody before the last stage.
pub fn objects(device: &Device) -> Result<Option<ObjectsBy>> {
    let layer = once_booted(device.slab_layer())?;
    Ok(layer.map(|layer| layer.by))
}

/// The buddy system has no areas.
fn kind_of(areas: &[Area]) -> AllocatorKind {
    match areas.is_empty() {
        true => AllocatorKind::Buddy,
        false => AllocatorKind::Cosmos,
    }
}

/// A word below a report on what Linux's allocator has, where the pages are
/// Cosmos's manager's.
pub fn note(allocator: Option<AllocatorKind>, says: &str, screen: &mut Screen) {
    if allocator == Some(AllocatorKind::Cosmos) {
        screen.blank();
        screen.warning(&format!(
            "Cosmos's manager has the pages (allocator=cosmos): {says}"
        ));
    }
}

/// What there is at a stage, with the allocator of this name.
pub fn stage_text(stage: Stage, allocator: Option<&str>) -> &'static str {
    if stage == Stage::Handoff && allocator == Some(AllocatorKind::Cosmos.name()) {
        "Cosmos's manager has the memory"
    } else {
        stage.text()
    }
}

/// All areas, and all containers.
#[derive(Debug, Serialize)]
struct CosmosReport {
    allocator: &'static str,
    areas: Vec<AreaReport>,
    objects: &'static str,
    /// Where objects are its.
    kmsob: Option<Kmsob>,
}

/// One area.
#[derive(Debug, Serialize)]
struct AreaReport {
    #[serde(flatten)]
    area: Area,
    zone_name: &'static str,
    allocated_pages: u64,
}

impl CosmosReport {
    fn new(areas: Vec<Area>, objects: ObjectsBy, kmsob: Option<Kmsob>) -> Self {
        let report = |area: Area| AreaReport {
            zone_name: zone_name(area.zone),
            allocated_pages: area.max_pages.saturating_sub(area.free_pages),
            area,
        };
        Self {
            allocator: kind_of(&areas).name(),
            areas: areas.into_iter().map(report).collect(),
            objects: objects.name(),
            kmsob,
        }
    }

    fn areas(&self) -> Table {
        let mut table = Table::new([
            Column::number("node"),
            Column::text("zone"),
            Column::text("area"),
            Column::number("first page"),
            Column::number("memory"),
            Column::number("free"),
            Column::number("halved"),
            Column::number("merged"),
        ]);
        for report in &self.areas {
            let area = &report.area;
            table.row([
                area.nid.to_string(),
                report.zone_name.to_owned(),
                area.kind.clone(),
                area.start_pfn.to_string(),
                pages(area.max_pages),
                pages(area.free_pages),
                area.divisions.to_string(),
                area.merges.to_string(),
            ]);
        }
        table
    }

    /// The lists of all areas of one kind together would hide which area has
    /// what, so each has its own lines; lists that never had a block have none.
    fn lists(&self) -> Table {
        let mut table = Table::new([
            Column::number("node"),
            Column::text("zone"),
            Column::text("area"),
            Column::number("pages"),
            Column::number("blocks"),
            Column::number("free"),
            Column::number("given out"),
            Column::number("back"),
        ]);
        for report in &self.areas {
            let area = &report.area;
            let used = |list: &&shadowmm_client::AreaList| list.objects != 0 || list.allocs != 0;
            for list in area.lists.iter().filter(used) {
                table.row([
                    area.nid.to_string(),
                    report.zone_name.to_owned(),
                    area.kind.clone(),
                    list.block_pages.to_string(),
                    list.objects.to_string(),
                    list.free.to_string(),
                    list.allocs.to_string(),
                    list.frees.to_string(),
                ]);
            }
        }
        table
    }
}

impl CosmosReport {
    fn print_pages(&self, screen: &mut Screen) {
        screen.heading("The areas (memarea_t)");
        self.areas().print(screen);
        screen.blank();
        screen.heading("Their lists (memdivmer_t), one for each power of two (bafhlst_t)");
        self.lists().print(screen);
        screen.blank();
        let sum = |count: fn(&Area) -> u64| {
            let counts = self.areas.iter().map(|report| count(&report.area));
            count_of(counts.fold(0, u64::saturating_add))
        };
        screen.para(&format!(
            "A request halves the smallest block that fits: {} halvings so far (dm_divnr). A block that is freed merges with its neighbour, as far up as that goes: {} so far (dm_mernr).",
            sum(|area| area.divisions),
            sum(|area| area.merges)
        ));
        screen.blank();
        screen.para("Three layers do it. mm_division_pages takes the request, mm_divpages_fmwk finds the area, by use and then by node, mm_divpages_core halves there, under the area's lock; mm_merge_pages, mm_merpages_fmwk and mm_merpages_core take back. What Cosmos's msadsc_t keeps of a page is in its 16-byte descriptor ('shadowmm page show PFN'). docs/cosmos.md has all names, and what differs.");
    }
}

impl Report for CosmosReport {
    fn print(&self, screen: &mut Screen) {
        if self.areas.is_empty() {
            screen.para("The buddy system has the pages. Load the module with allocator=cosmos to have Cosmos's manager in its place.");
        } else {
            self.print_pages(screen);
        }
        screen.blank();
        match &self.kmsob {
            Some(kmsob) => kmsob.print(screen),
            None => screen.para("The slab layer has the objects. Load the module with objects=kmsob to have Cosmos's containers in its place."),
        }
    }
}

/// Shows the areas and the containers.
pub fn run(context: &Context) -> Result<()> {
    let device = context.open()?;
    let areas = device.areas()?;
    let objects = device.slab_layer()?.by;
    let kmsob = match objects {
        ObjectsBy::Kmsob => Some(Kmsob::read(&context.root)?),
        ObjectsBy::Slab => None,
    };
    context.show(&CosmosReport::new(areas, objects, kmsob))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use shadowmm_client::AreaList;

    fn area(kind: &str) -> Area {
        let list = |order: u32| AreaList {
            block_pages: 1 << order,
            objects: u64::from(order == 10) * 23,
            free: u64::from(order == 10) * 21,
            allocs: u64::from(order < 2) * 12345,
            frees: u64::from(order < 2) * 12345,
        };
        Area {
            nid: 0,
            zone: 2,
            kind: kind.to_owned(),
            start_pfn: 4096,
            end_pfn: 28_672,
            max_pages: 23_552,
            free_pages: 21_504,
            divisions: 24_690,
            merges: 24_690,
            lists: (0..11).map(list).collect(),
        }
    }

    #[test]
    fn it_fits_and_its_keys_stay() {
        let report = CosmosReport::new(
            vec![area("kernel"), area("application")],
            ObjectsBy::Kmsob,
            Some(kmsob::tests::sample()),
        );
        testing::fits(&report);
        let text = testing::text(&report, 400);
        for name in [
            "memarea_t",
            "memdivmer_t",
            "bafhlst_t",
            "msadsc_t",
            "kmsob_t",
        ] {
            assert!(text.contains(name), "{name} is not in {text}");
        }
        assert!(text.contains("49,380 halvings"), "{text}");
        testing::keys(
            &report,
            "allocator areas areas[].allocated_pages areas[].divisions areas[].end_pfn \
             areas[].free_pages areas[].kind areas[].lists areas[].lists[].allocs \
             areas[].lists[].block_pages areas[].lists[].free areas[].lists[].frees \
             areas[].lists[].objects areas[].max_pages areas[].merges areas[].nid \
             areas[].start_pfn areas[].zone areas[].zone_name \
             objects kmsob kmsob.containers kmsob.large_blocks kmsob.large_pages kmsob.caches \
             kmsob.sizes kmsob.sizes[].size_bytes kmsob.sizes[].containers \
             kmsob.sizes[].extensions kmsob.sizes[].pages kmsob.sizes[].objects \
             kmsob.sizes[].used kmsob.sizes[].free kmsob.sizes[].allocs kmsob.sizes[].frees \
             kmsob.sizes[].created kmsob.sizes[].destroyed \
             kmsob.list kmsob.list[].address kmsob.list[].size_bytes kmsob.list[].own_pages \
             kmsob.list[].extensions kmsob.list[].objects kmsob.list[].free \
             kmsob.list[].blocks kmsob.list[].blocks[].pages kmsob.list[].blocks[].count",
        );
        assert_eq!(report.areas[0].allocated_pages, 2048);
    }

    #[test]
    fn with_the_buddy_system_it_says_so() {
        let report = CosmosReport::new(vec![], ObjectsBy::Slab, None);
        testing::fits(&report);
        assert_eq!((report.allocator, report.objects), ("buddy", "slab"));
        let text = testing::text(&report, 200);
        assert!(text.contains("allocator=cosmos") && text.contains("objects=kmsob"));
        assert!(!text.contains("memarea_t") && !text.contains("kmsob_t"));
    }

    #[test]
    fn the_last_stage_is_whose_the_memory_is() {
        let buddy = Some(AllocatorKind::Buddy.name());
        let cosmos = Some(AllocatorKind::Cosmos.name());
        assert_eq!(stage_text(Stage::Handoff, buddy), Stage::Handoff.text());
        assert!(stage_text(Stage::Handoff, cosmos).contains("Cosmos"));
        assert_eq!(stage_text(Stage::Zones, cosmos), Stage::Zones.text());
    }
}
