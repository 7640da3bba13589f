// SPDX-License-Identifier: GPL-2.0

//! A zone whose page blocks have types, beside the machine of `world.rs`, which
//! keeps none.

use crate::world::*;
use shadowmm_core::buddy::*;
use shadowmm_core::page::*;
use shadowmm_core::phys::*;
use shadowmm_core::sparse::Stretch;
use shadowmm_core::zone::Zone;
use shadowmm_host_tests::owner::Cache;
use shadowmm_host_tests::owner::Owner;

/// Descriptors and page blocks.
pub struct TypedMap<'a> {
    pages: &'a VecMap,
    blocks: Vec<Pageblock>,
    disabled: bool,
}

impl MemMap for TypedMap<'_> {
    fn page(&self, pfn: Pfn) -> Option<&PageDescriptor> {
        self.pages.page(pfn)
    }

    fn pageblock(&self, pfn: Pfn) -> Option<&Pageblock> {
        self.blocks.get((pfn.0 >> PAGEBLOCK_ORDER) as usize)
    }

    fn is_mobility_disabled(&self) -> bool {
        self.disabled
    }
}

pub struct TypedWorld {
    pub world: &'static World,
    pub map: TypedMap<'static>,
}

impl MemMap for TypedWorld {
    fn page(&self, pfn: Pfn) -> Option<&PageDescriptor> {
        self.map.page(pfn)
    }

    fn pageblock(&self, pfn: Pfn) -> Option<&Pageblock> {
        self.map.pageblock(pfn)
    }
}

pub type TypedBuddy<'a> = BuddySystem<'a, Threads, TypedMap<'static>, Zones>;

impl TypedWorld {
    /// One zone, with all page blocks Movable.
    pub fn new(start: u64, end: u64, disabled: bool) -> Self {
        Self::make(start, end, disabled, false)
    }

    /// The same with memory behind the pages.
    pub fn with_memory(start: u64, end: u64) -> Self {
        Self::make(start, end, false, true)
    }

    /// These zones, with memory behind the pages.
    pub fn of_zones(specs: &[ZoneSpec]) -> Self {
        Self::make_of(specs, false, true)
    }

    fn make(start: u64, end: u64, disabled: bool, memory: bool) -> Self {
        Self::make_of(&[(0, ZoneType::Normal, start, end)], disabled, memory)
    }

    fn make_of(specs: &[ZoneSpec], disabled: bool, memory: bool) -> Self {
        let end = specs.iter().map(|spec| spec.3).max().unwrap();
        let world: &'static World = Box::leak(Box::new(World::new(specs, memory)));
        let blocks = (0..end.div_ceil(512) + 2)
            .map(|_| Pageblock::new())
            .collect();
        let map = TypedMap {
            pages: &world.map,
            blocks,
            disabled,
        };
        let typed = Self { world, map };
        for pfn in (0..end).step_by(512) {
            typed.set_type(pfn, MigrateType::Movable);
        }
        typed
    }

    /// The owner of all movable blocks of a world with memory.
    pub fn owner(&self) -> &'static Owner {
        let owner = Owner::new(&self.world.memory);
        assert!(self.world.platform.owner.set(owner).is_ok());
        owner
    }

    /// A cache that is registered.
    pub fn cache(&'static self) -> &'static Cache {
        let cache = Cache::new(|pfn| self.buddy().free(pfn, PageOrder::ZERO).unwrap());
        self.world.platform.shrinkers.lock().unwrap().push(cache);
        cache
    }

    pub fn set_type(&self, pfn: u64, mt: MigrateType) {
        self.map.pageblock(Pfn(pfn)).unwrap().set_migratetype(mt);
    }

    pub fn buddy(&self) -> TypedBuddy<'_> {
        BuddySystem {
            platform: &self.world.platform,
            map: &self.map,
            zones: &self.world.zones,
            memory: &self.world.memory,
            stats: &self.world.stats,
            shrinker: None,
        }
    }

    /// Pagesets of its own for a buddy system over the same zone, in which single
    /// pages go the short way or, without `short`, the long one.
    pub fn own_pagesets(&'static self, short: bool) -> Statistics<'static> {
        let cpus = (0..NR_CPUS).map(|_| CpuStats::new()).collect::<Vec<_>>();
        let zones = (0..4 * NR_CPUS).map(|_| ZoneStats::new());
        let stats = Statistics::on(cpus.leak(), zones.collect::<Vec<_>>().leak(), 1);
        if !short {
            return stats;
        }
        let stretch = Stretch {
            start: Pfn(0),
            map: self.world.map.all(),
        };
        let id = ZoneId::new(NodeId(0), ZoneType::Normal);
        let locals = (0..NR_CPUS).map(|cpu| {
            stats.local(CpuId(cpu), &self.map.blocks, |highest| {
                (highest >= ZoneType::Normal).then_some((id, true, stretch))
            })
        });
        let locals = locals.collect::<Vec<_>>();
        stats.with_locals(locals.leak())
    }

    /// A buddy system over the zone with these pagesets.
    pub fn buddy_with<'a>(&'a self, stats: &'a Statistics<'static>) -> TypedBuddy<'a> {
        BuddySystem {
            stats,
            ..self.buddy()
        }
    }

    pub fn zone(&self) -> &Zone<Threads> {
        self.world.zone(0, ZoneType::Normal)
    }

    /// How many pages a CPU keeps, and how many it may.
    pub fn pageset(&self, cpu: u32) -> (u32, u32) {
        let id = ZoneId::new(NodeId(0), ZoneType::Normal);
        let pageset = self.world.stats.pageset(CpuId(cpu), id).unwrap();
        (pageset.count(), pageset.high())
    }

    pub fn page(&self, pfn: u64) -> &PageDescriptor {
        self.map.page(Pfn(pfn)).unwrap()
    }

    pub fn hand_off(&self, start: u64, end: u64) -> Vec<(u64, u32)> {
        hand_off(&self.buddy(), start, end)
    }

    /// The free blocks by order and type, each list from its head.
    pub fn lists(&self) -> Vec<Vec<Vec<u64>>> {
        let id = ZoneId::new(NodeId(0), ZoneType::Normal);
        let list = |order, mt| {
            let mut list = vec![];
            self.buddy()
                .for_each_free_of(id, order, mt, |pfn| list.push(pfn.0));
            list
        };
        PageOrder::all()
            .map(|order| MigrateType::ALL.map(|mt| list(order, mt)).to_vec())
            .collect()
    }
}
