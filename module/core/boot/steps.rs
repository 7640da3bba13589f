// SPDX-License-Identifier: GPL-2.0

//! The stages before the hand-off, and the steps between them.

use super::setup;
use super::CrashRanges;
use super::Machine;
use super::Mm;
use crate::allocator::Allocator;
use crate::allocator::AllocatorKind;
use crate::buddy::BuddySystem;
use crate::buddy::PageAllocator;
use crate::buddy::Statistics;
use crate::cosmos;
use crate::cosmos::kmsob::KmsobPool;
use crate::cosmos::CosmosSystem;
use crate::cosmos::MemAreas;
use crate::early;
use crate::early::alloc_in_one_piece;
use crate::early::SMP_CACHE_BYTES;
use crate::error::Error;
use crate::error::Result;
use crate::firmware::CpuMap;
use crate::memblock::EarlyMemory;
use crate::memblock::HandOffSink;
use crate::memblock::MemblockRegion;
use crate::mm::SpacesTable;
use crate::node::bootlog::is_mobility_disabled;
use crate::node::Nodes;
use crate::nodemask::NodeMask;
use crate::page::ZoneId;
use crate::phys::Bytes;
use crate::phys::CpuId;
use crate::phys::NodeId;
use crate::phys::PageOrder;
use crate::phys::Pfn;
use crate::phys::PfnRange;
use crate::phys::PhysAddr;
use crate::phys::Region;
use crate::platform::Platform;
use crate::slab::ObjectAllocatorKind;
use crate::slab::SlabTable;
use crate::sparse;
use crate::sparse::memmap_init;
use crate::sparse::Sparse;
use crate::tunables::Tunables;
use crate::watermark;
use crate::zone::Limit;
use crate::zone::ZoneConfig;
use crate::zonelist::ZonelistKind;

/// The map is known, and the region lies under it.
pub struct Detected<'m, P: Platform> {
    pub(super) platform: P,
    pub(super) region: &'m mut Region<'m>,
    pub(super) memory: &'m mut [MemblockRegion],
    pub(super) reserved: &'m mut [MemblockRegion],
    pub(super) sparse: &'m mut Sparse<'m>,
    pub(super) nodes: &'m mut Nodes<'m, P>,
    pub(super) slab: &'m mut SlabTable<'m>,
}

/// memblock knows the memory and what is reserved; nothing else is there.
pub struct Early<'m, P: Platform> {
    pub(super) platform: P,
    pub(super) memblock: EarlyMemory<'m, 'm>,
    pub(super) sparse: &'m mut Sparse<'m>,
    pub(super) nodes: &'m mut Nodes<'m, P>,
    pub(super) slab: &'m mut SlabTable<'m>,
}

/// There are sections and page descriptors, without contents.
pub struct Paged<'m, P: Platform>(pub(super) Early<'m, P>);

/// There are nodes, zones and zonelists, and every descriptor is in its zone.
pub struct Zoned<'m, P: Platform> {
    pub(super) early: Early<'m, P>,
    pub(super) stats: Statistics<'m>,
    /// Cosmos's areas, if its manager is to have the pages.
    pub(super) areas: Option<MemAreas<'m, P>>,
    /// The head of Cosmos's object pool, if that is to make objects.
    pub(super) kmsob: Option<KmsobPool<'m, P>>,
}

impl<'m, P: Platform> Detected<'m, P> {
    /// Fills memblock from the map and makes the first reservations
    /// (`setup_arch` up to `initmem_init`).
    ///
    /// # Errors
    ///
    /// Memblock's.
    #[inline(never)]
    pub fn setup_memblock(self, machine: &Machine<'m>) -> Result<(Early<'m, P>, CrashRanges)> {
        let mut memblock = EarlyMemory::new(self.memory, self.reserved, Some(self.region));
        setup::e820_memblock_setup(&mut memblock, machine)?;
        setup::register_nodes(&mut memblock, machine)?;
        let crash = match machine.crashkernel {
            Some(wanted) => setup::reserve_crashkernel(&mut memblock, machine, wanted)
                .unwrap_or_else(|error| CrashRanges {
                    refused: Some(error),
                    ..CrashRanges::default()
                }),
            None => CrashRanges::default(),
        };
        let early = Early {
            platform: self.platform,
            memblock,
            sparse: self.sparse,
            nodes: self.nodes,
            slab: self.slab,
        };
        Ok((early, crash))
    }
}

impl<'m, P: Platform> Early<'m, P> {
    /// Reserves the nodes' data and the page descriptors (`initmem_init`,
    /// `paging_init`, `sparse_init`).
    ///
    /// # Errors
    ///
    /// Those of [`Nodes::register`] and [`Sparse::init`].
    #[inline(never)]
    pub fn paging_init(mut self, machine: &Machine<'m>) -> Result<Paged<'m, P>> {
        let firmware = machine.map.meminfo.parsed();
        let cpus: NodeMask = machine.map.cpus.iter().map(|cpu| cpu.nid).collect();
        self.nodes.register(&mut self.memblock, firmware, cpus)?;
        let order = sparse::section_order(early::memory_ranges(&self.memblock));
        let min = machine.scaled.dma_limit.addr();
        self.sparse.init(&mut self.memblock, order, min)?;
        Ok(Paged(self))
    }
}

impl<'m, P: Platform> Paged<'m, P> {
    /// Makes nodes, zones, zonelists, the statistics and what the allocator
    /// needs besides, and enters every descriptor in its zone (`free_area_init`, `setup_per_cpu_pageset`).
    ///
    /// # Errors
    ///
    /// Those of [`Nodes::init_zones`], [`Statistics::place`],
    /// [`MemAreas::place`] and [`KmsobPool::place`].
    #[inline(never)]
    pub fn free_area_init(self, machine: &Machine<'m>) -> Result<Zoned<'m, P>> {
        let mut early = self.0;
        let config = zone_config(machine);
        let distance = |from, to| machine.map.slit.distance(from, to);
        early
            .nodes
            .init_zones(&mut early.memblock, &config, distance)?;
        memmap_init(
            early.sparse,
            early.nodes,
            early::memory_ranges(&early.memblock),
        );

        // build_all_zonelists: all present pages count as managed then.
        let present = early.nodes.present();
        early
            .sparse
            .set_mobility_disabled(is_mobility_disabled(present));

        set_cpu_nodes(&early.platform, early.nodes, &machine.map.cpus);
        let nr_cpus = early.platform.nr_cpus() as usize;
        let nr_nodes = early.nodes.states().possible.nr_ids();
        let size = Statistics::size(nr_cpus, nr_nodes);
        let range = alloc_in_one_piece(
            &mut early.memblock,
            size,
            SMP_CACHE_BYTES,
            PhysAddr::ZERO,
            NodeId::NONE,
        )?;
        let mut stats = Statistics::place(
            early.memblock.region_mut().ok_or(Error::RegionMissing)?,
            range,
            nr_cpus,
            nr_nodes,
        )?;
        connect_cpus(&mut early, machine, &mut stats)?;
        let areas = match machine.config.allocator {
            AllocatorKind::Buddy => None,
            AllocatorKind::Cosmos => Some(place_areas(&mut early, machine)?),
        };
        let kmsob = match machine.config.objects {
            ObjectAllocatorKind::Slab => None,
            ObjectAllocatorKind::Kmsob => Some(place_kmsob(&mut early)?),
        };
        Ok(Zoned {
            early,
            stats,
            areas,
            kmsob,
        })
    }
}

impl<'m, P: Platform> Zoned<'m, P> {
    /// Gives the page allocator what memblock has left, and sets the watermarks
    /// (`memblock_free_all`, `init_per_zone_wmark_min`).
    ///
    /// # Errors
    ///
    /// What the allocator says to a block that it can't take.
    #[inline(never)]
    pub fn hand_off(self, machine: &Machine<'m>) -> Result<Mm<'m, P>> {
        let Early {
            platform,
            mut memblock,
            sparse,
            nodes,
            slab,
        } = self.early;
        // From here on the region is only read and zeroed, so the arrays can't
        // grow any more. All that is left to memblock is to tell.
        let region = memblock.take_region().ok_or(Error::RegionMissing)?;
        let end = memblock.end_of_dram().pfn_up();
        let (sparse, nodes, region) = (&*sparse, &*nodes, &*region);
        let nr_nodes = nodes.states().possible.nr_ids();
        slab.open(region, sparse, nr_nodes, self.stats.locals());
        let slab: &'m SlabTable<'m> = slab;
        slab.tell_near(&platform);
        let stats = &self.stats;
        let allocator = match &self.areas {
            None => Allocator::Buddy(BuddySystem {
                platform: &platform,
                map: sparse,
                zones: nodes,
                memory: region,
                stats,
                shrinker: None,
            }),
            Some(areas) => Allocator::Cosmos(CosmosSystem {
                platform: &platform,
                map: sparse,
                zones: nodes,
                memory: region,
                stats,
                areas,
            }),
        };
        let mut handing = HandOff {
            allocator,
            result: Ok(()),
        };
        let memblock = memblock.free_all(end, &mut handing);
        handing.result?;
        let mut tunables = Tunables::DEFAULT;
        let reserves = watermark::init_reserves(nodes, &tunables)?;
        // On a small machine they are off (`hugepage_init`).
        tunables.transparent_hugepages = reserves.recommended_kbytes.is_some();
        nodes.set_tunables(&tunables);
        Ok(Mm {
            platform,
            region,
            sparse,
            nodes,
            stats: self.stats,
            areas: self.areas,
            slab,
            kmsob: self.kmsob,
            slab_config: &machine.config.slab,
            spaces: SpacesTable::new(),
            memblock,
            tunables,
            reserves,
        })
    }
}

/// Memblock's blocks on their way to the page allocator. Descriptors are
/// reserved from the start, so nothing has to be done for those that stay so.
struct HandOff<A> {
    allocator: A,
    result: Result<()>,
}

impl<A: PageAllocator> HandOffSink for HandOff<A> {
    fn reserved(&mut self, _pfns: PfnRange, _nid: NodeId) {}

    fn free(&mut self, pfn: Pfn, order: PageOrder) {
        if let (Ok(()), Err(error)) = (self.result, self.allocator.accept(pfn, order)) {
            self.result = Err(error);
        }
    }
}

/// Makes Cosmos's areas, on any node.
fn place_areas<'m, P: Platform>(
    early: &mut Early<'m, P>,
    machine: &Machine<'m>,
) -> Result<MemAreas<'m, P>> {
    let nr_nodes = early.nodes.states().possible.nr_ids();
    let end = early.memblock.end_of_dram().pfn_up();
    let border = machine.scaled.to_scaled(cosmos::HARDWARE_END);
    let size = MemAreas::<P>::size(nr_nodes);
    let (align, min) = (SMP_CACHE_BYTES, PhysAddr::ZERO);
    let range = alloc_in_one_piece(&mut early.memblock, size, align, min, NodeId::NONE)?;
    let nodes = &*early.nodes;
    let region = early.memblock.region_mut().ok_or(Error::RegionMissing)?;
    let border = cosmos::hardware_end(border, end);
    MemAreas::place(region, range, nr_nodes, border, |id| {
        let zone = nodes.zone(id.nid(), id.kind());
        zone.map_or(PfnRange::default(), |zone| zone.span)
    })
}

/// Makes the head of Cosmos's object pool, on any node.
fn place_kmsob<'m, P: Platform>(early: &mut Early<'m, P>) -> Result<KmsobPool<'m, P>> {
    let (size, align) = (KmsobPool::<P>::size(), PageOrder::ZERO.pages().bytes());
    let memblock = &mut early.memblock;
    let range = alloc_in_one_piece(memblock, size, align, PhysAddr::ZERO, NodeId::NONE)?;
    let region = memblock.region_mut().ok_or(Error::RegionMissing)?;
    KmsobPool::place(region, range)
}

/// Places what each CPU has of the zones that it likes best, which is the first
/// of its node's zonelist for each kind of request.
#[inline(never)]
fn connect_cpus<'m, P: Platform>(
    early: &mut Early<'m, P>,
    machine: &Machine<'m>,
    stats: &mut Statistics<'m>,
) -> Result<()> {
    let nr_nodes = early.nodes.states().possible.nr_ids();
    let size = Statistics::locals_size(early.platform.nr_cpus() as usize, nr_nodes);
    let (align, min) = (SMP_CACHE_BYTES, PhysAddr::ZERO);
    let range = alloc_in_one_piece(&mut early.memblock, size, align, min, NodeId::NONE)?;
    let (platform, nodes, sparse) = (&early.platform, &*early.nodes, &*early.sparse);
    let region = early.memblock.region_mut().ok_or(Error::RegionMissing)?;
    let stretch = |id: ZoneId| sparse.stretch(nodes.zone(id.nid(), id.kind())?.span);
    let first = |cpu, highest| {
        if sparse.is_mobility_disabled() {
            // Requests are not served from the lists that they name then.
            return None;
        }
        let mut on = NodeId::NONE;
        for_each_cpu_node(platform, nodes, &machine.map.cpus, |each, nid| {
            if each == cpu {
                on = nid;
            }
        });
        let zonelist = nodes.get(on)?.zonelist(ZonelistKind::Fallback);
        let first = zonelist.first(highest, None)?;
        let id = ZoneId::new(first.nid(), first.kind());
        Some((id, first.nid() == on))
    };
    stats.connect(region, range, sparse.near_blocks(), stretch, first)?;
    stats.tell_locals(platform);
    Ok(())
}

/// Tells the platform the CPUs' nodes (`init_cpu_to_node`).
fn set_cpu_nodes<P: Platform>(platform: &P, nodes: &Nodes<'_, P>, cpus: &CpuMap) {
    for_each_cpu_node(platform, nodes, cpus, |cpu, nid| {
        platform.set_cpu_node(cpu, nid)
    });
}

/// Calls `visit` with all CPUs and their nodes. All take turns on the nodes with
/// memory (`numa_init_array`), and then those that the map knows have its node
/// instead, if that is there (`init_cpu_to_node`).
pub(super) fn for_each_cpu_node<P: Platform>(
    platform: &P,
    nodes: &Nodes<'_, P>,
    cpus: &CpuMap,
    mut visit: impl FnMut(CpuId, NodeId),
) {
    let memory = nodes.states().memory;
    let mut turn = NodeId::NONE;
    for cpu in (0..platform.nr_cpus()).map(CpuId) {
        let next = memory.iter().find(|&nid| nid > turn);
        turn = next.or(memory.first()).unwrap_or(NodeId(0));
        let known = cpus.node(cpu);
        let there = nodes.get(known).is_some();
        visit(cpu, if there { known } else { turn });
    }
}

/// The owner's zones, with the limits of the original machine, scaled, where
/// the owner has not said otherwise.
fn zone_config(machine: &Machine<'_>) -> ZoneConfig {
    let mut config = machine.config.zones;
    let end = |limit: &mut Option<Limit>, scaled: PhysAddr| {
        if *limit == Some(Limit::Auto) {
            *limit = Some(Limit::Size(Bytes(scaled.0)));
        }
    };
    end(&mut config.dma, machine.scaled.dma_limit.addr());
    end(&mut config.dma32, machine.scaled.dma32_limit.addr());
    config
}
