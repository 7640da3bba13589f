// SPDX-License-Identifier: GPL-2.0

//! The buddy tests' small machine, with Cosmos's areas beside its zones.

use crate::machine::*;
use shadowmm_core::buddy::*;
use shadowmm_core::cosmos::*;
use shadowmm_core::error::Error;
use shadowmm_core::page::*;
use shadowmm_core::phys::*;
use shadowmm_host_tests::leaked_pages;

pub type System<'a> = CosmosSystem<'a, Threads, VecMap, Zones>;

pub struct Cosmos {
    pub world: World,
    pub areas: MemAreas<'static, Threads>,
}

/// Areas for zones, in memory of their own.
pub fn areas_of(specs: &[ZoneSpec], hardware_end: u64) -> MemAreas<'static, Threads> {
    let nr_nodes = specs.iter().map(|spec| spec.0 as usize + 1).max().unwrap();
    let size = MemAreas::<Threads>::size(nr_nodes);
    let own = range(0, size.pages_up().0);
    let mut backing = Backing::new();
    let run = BackingRun::from_pages(leaked_pages(own.pages().0 as usize), NodeId(0));
    backing.push(run).unwrap();
    let mut region = Box::new(Region::EMPTY);
    region
        .lay(&backing, [(NodeId(0), own)].into_iter())
        .unwrap();
    let span = |id: ZoneId| {
        let mut specs = specs.iter();
        let spec = specs.find(|spec| NodeId(spec.0) == id.nid() && spec.1 == id.kind());
        spec.map_or(PfnRange::default(), |spec| range(spec.2, spec.3))
    };
    MemAreas::place(&mut region, own.bytes(), nr_nodes, Pfn(hardware_end), span).unwrap()
}

impl Cosmos {
    /// A machine with these zones and nothing handed off.
    pub fn new(specs: &[ZoneSpec], memory: bool, hardware_end: u64) -> Self {
        Self {
            world: World::new(specs, memory),
            areas: areas_of(specs, hardware_end),
        }
    }

    /// One kernel area, all of it free.
    pub fn one_area(pages: u64) -> Self {
        let cosmos = Self::new(&[(0, ZoneType::Normal, 0, pages)], false, 0);
        cosmos.hand_off(0, pages);
        cosmos
    }

    pub fn system(&self) -> System<'_> {
        CosmosSystem {
            platform: &self.world.platform,
            map: &self.world.map,
            zones: &self.world.zones,
            memory: &self.world.memory,
            stats: &self.world.stats,
            areas: &self.areas,
        }
    }

    /// Frees a range as memblock does, and returns the blocks.
    pub fn hand_off(&self, start: u64, end: u64) -> Vec<(u64, u32)> {
        hand_over(&self.system(), start, end)
    }

    /// The only area of this kind in a zone.
    pub fn area(&self, nid: i32, zone: ZoneType, kind: AreaKind) -> &MemArea<Threads> {
        let id = ZoneId::new(NodeId(nid), zone);
        let mut areas = self.areas.of_zone(id);
        areas.find(|area| area.kind == kind).unwrap()
    }

    /// The free blocks of an area, each list from its head.
    pub fn lists(&self, area: &MemArea<Threads>) -> Vec<Vec<u64>> {
        PageOrder::all()
            .map(|order| {
                let mut list = vec![];
                self.system()
                    .for_each_free(area, order, |pfn| list.push(pfn.0));
                list
            })
            .collect()
    }

    /// All that a refused request must leave as it was.
    pub fn snapshot(&self) -> Vec<(Vec<Vec<u64>>, AreaReport)> {
        let areas = self.areas.iter();
        areas
            .map(|area| (self.lists(area), area.report()))
            .collect()
    }

    pub fn alloc(&self, gfp: Gfp, order: u32) -> Result<u64, Error> {
        self.system().alloc(&request(gfp, order)).map(|pfn| pfn.0)
    }

    pub fn free(&self, pfn: u64, order: u32) -> Result<(), Error> {
        self.system().free(Pfn(pfn), order_of(order))
    }
}

/// Frees a range as memblock does, in the largest blocks that alignment and
/// length allow, and returns them.
pub fn hand_over(allocator: &impl PageAllocator, mut start: u64, end: u64) -> Vec<(u64, u32)> {
    let mut blocks = vec![];
    while start < end {
        let mut order = start.trailing_zeros().min(10);
        while start + (1 << order) > end {
            order -= 1;
        }
        allocator.accept(Pfn(start), order_of(order)).unwrap();
        blocks.push((start, order));
        start += 1 << order;
    }
    blocks
}
