// SPDX-License-Identifier: GPL-2.0

//! The boot as reports see it: one model of it, and the texts made of that.

use super::installed;
use super::Boot;
use super::Stage;
use crate::buddy;
use crate::buddy::MigrateType;
use crate::buddy::PageAllocator;
use crate::buddy::UserStat;
use crate::buddy::VmEvent;
use crate::error::Error;
use crate::error::Result;
use crate::firmware::CRASH_ADDR_LOW_MAX;
use crate::node::Node;
use crate::page::ZoneId;
use crate::page::ZoneType;
use crate::phys::Bytes;
use crate::phys::CpuId;
use crate::phys::NodeId;
use crate::phys::Pages;
use crate::phys::PhysAddr;
use crate::platform::Platform;
use crate::report;
use crate::report::Accounting;
use crate::report::Event;
use crate::report::MemoryTotals;
use crate::report::NodeFile;
use crate::report::NodeModel;
use crate::report::NodeStat;
use crate::report::NumaStat;
use crate::report::ResourceModel;
use crate::report::Snapshot;
use crate::report::SystemStat;
use crate::report::Walk;
use crate::report::ZoneModel;
use crate::report::ZoneStat;
use crate::zone::Watermark;
use crate::zone::Zone;
use crate::zonelist::ZonelistKind;
use core::fmt;

/// The texts that a boot can tell; `/proc/shadowmm` has a file for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Text {
    /// The firmware map as the kernel's log prints it.
    E820 = 0,
    /// `/proc/iomem`.
    Iomem = 1,
    /// `memblock=debug`.
    Memblock = 2,
    /// Nodes, CPUs, distances.
    Nodes = 3,
    /// `/proc/buddyinfo`.
    Buddyinfo = 4,
    /// `/proc/zoneinfo`.
    Zoneinfo = 5,
    /// `/proc/meminfo`.
    Meminfo = 6,
    /// `/proc/vmstat`.
    Vmstat = 7,
    /// Where the memory went.
    Accounting = 8,
    /// `/proc/pagetypeinfo`.
    Pagetypeinfo = 9,
    /// Which allocator has the pages, and Cosmos's areas.
    Cosmos = 10,
    /// `/sys/kernel/debug/extfrag/unusable_index`.
    UnusableIndex = 11,
    /// `/sys/kernel/debug/extfrag/extfrag_index`.
    ExtfragIndex = 12,
    /// Both indices of each migrate type.
    Fragmentation = 13,
    /// How often requests took from other types' page blocks.
    Fallbacks = 14,
    /// Who makes objects, and Cosmos's containers.
    Kmsob = 15,
    /// `/proc/slabinfo`.
    Slabinfo = 16,
}

impl Text {
    /// All texts, in the order of their numbers.
    pub const ALL: [Text; 17] = [
        Self::E820,
        Self::Iomem,
        Self::Memblock,
        Self::Nodes,
        Self::Buddyinfo,
        Self::Zoneinfo,
        Self::Meminfo,
        Self::Vmstat,
        Self::Accounting,
        Self::Pagetypeinfo,
        Self::Cosmos,
        Self::UnusableIndex,
        Self::ExtfragIndex,
        Self::Fragmentation,
        Self::Fallbacks,
        Self::Kmsob,
        Self::Slabinfo,
    ];

    /// The name of its file in `/proc/shadowmm`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::E820 => "e820",
            Self::Iomem => "iomem",
            Self::Memblock => "memblock",
            Self::Nodes => "nodes",
            Self::Buddyinfo => "buddyinfo",
            Self::Zoneinfo => "zoneinfo",
            Self::Meminfo => "meminfo",
            Self::Vmstat => "vmstat",
            Self::Accounting => "accounting",
            Self::Pagetypeinfo => "pagetypeinfo",
            Self::Cosmos => "cosmos",
            Self::UnusableIndex => "extfrag/unusable_index",
            Self::ExtfragIndex => "extfrag/extfrag_index",
            Self::Fragmentation => "fragmentation",
            Self::Fallbacks => "fallbacks",
            Self::Kmsob => "kmsob",
            Self::Slabinfo => "slabinfo",
        }
    }

    /// The stage from which on the text can be told.
    pub const fn stage(self) -> Stage {
        match self {
            Self::E820 | Self::Iomem => Stage::Detect,
            Self::Memblock => Stage::Memblock,
            Self::Nodes | Self::Buddyinfo | Self::Zoneinfo | Self::Pagetypeinfo => Stage::Zones,
            Self::UnusableIndex | Self::ExtfragIndex | Self::Fragmentation => Stage::Zones,
            Self::Meminfo | Self::Vmstat | Self::Accounting => Stage::HandOff,
            Self::Cosmos | Self::Fallbacks | Self::Kmsob | Self::Slabinfo => Stage::HandOff,
        }
    }
}

impl<P: Platform> Boot<'_, P> {
    /// Writes `text`.
    ///
    /// # Errors
    ///
    /// [`Error::StageOrder`] before its stage, [`Error::BootFailed`] when that
    /// will not come, [`Error::Corrupt`] when `out` fails.
    pub fn write(&self, text: Text, out: &mut dyn fmt::Write) -> Result<()> {
        self.reached(text.stage())?;
        let written = match text {
            Text::E820 => self.machine.map.e820.print("BIOS-e820", out),
            Text::Iomem => report::iomem::write(out, self),
            Text::Memblock => report::memblock::write(out, self.memblock()?),
            Text::Nodes => report::nodes::write(out, self),
            Text::Buddyinfo => report::buddyinfo::write(out, self),
            Text::Zoneinfo => report::zoneinfo::write(out, self),
            Text::Meminfo => report::meminfo::write(out, self),
            Text::Vmstat => report::vmstat::write(out, self),
            Text::Accounting => report::accounting::write(out, self),
            Text::Pagetypeinfo => report::pagetypeinfo::write(out, self),
            Text::Cosmos => self.write_cosmos(out),
            Text::UnusableIndex => report::extfrag::write_unusable(out, self),
            Text::ExtfragIndex => report::extfrag::write_extfrag(out, self),
            Text::Fragmentation => report::extfrag::write_types(out, self),
            Text::Fallbacks => report::fallbacks::write(out, self),
            Text::Kmsob => self.write_kmsob(out),
            Text::Slabinfo => report::slabinfo::write(out, self.mm()?.objects_if_up().as_deref()),
        };
        written.map_err(|_| Error::Corrupt)
    }

    /// Writes a file of node `nid`, which Linux has in `/sys`.
    ///
    /// # Errors
    ///
    /// [`Error::NodeOffline`] when there is no such node, and those of
    /// [`Boot::write`].
    pub fn write_node(&self, nid: NodeId, file: NodeFile, out: &mut dyn fmt::Write) -> Result<()> {
        self.reached(Stage::Zones)?;
        self.nodes()?.get_online(nid).ok_or(Error::NodeOffline)?;
        file.write(out, self, nid).map_err(|_| Error::Corrupt)
    }

    /// Which allocator has the pages, and Cosmos's areas if that is it.
    fn write_cosmos(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let Ok(mm) = self.mm() else {
            return Ok(());
        };
        writeln!(out, "allocator {}", mm.allocator().kind().name())?;
        match &mm.areas {
            Some(areas) => areas.write(out),
            None => Ok(()),
        }
    }

    /// Who makes objects, and the containers of Cosmos's pool if that is it.
    fn write_kmsob(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let Ok(mm) = self.mm() else {
            return Ok(());
        };
        writeln!(out, "objects {}", self.machine.config.objects.name())?;
        match mm.kmsob() {
            Some(kmsob) => kmsob.write(out),
            None => Ok(()),
        }
    }

    /// Whether the boot has come as far as `stage`.
    ///
    /// # Errors
    ///
    /// [`Error::StageOrder`] or [`Error::BootFailed`] when it has not.
    pub fn reached(&self, stage: Stage) -> Result<()> {
        match &self.phase {
            super::Phase::Failed(_) => Err(Error::BootFailed),
            _ if self.stage() < stage => Err(Error::StageOrder),
            _ => Ok(()),
        }
    }

    /// How often the event of this name has happened; never, if it can't.
    fn vm_event(&self, name: &str) -> u64 {
        match (VmEvent::from_name(name), self.mm()) {
            (Some(event), Ok(mm)) => mm.stats.vm_event(event),
            _ => 0,
        }
    }

    fn zone_model(&self, zone: &Zone<P>) -> ZoneModel {
        let mut model = ZoneModel::empty(zone.nid, zone.kind);
        model.start_pfn = zone.span.start;
        model.spanned = zone.span.pages();
        model.present = zone.present;
        model.managed = zone.managed();
        let marks = [
            Watermark::Min,
            Watermark::Low,
            Watermark::High,
            Watermark::Promo,
        ];
        model.watermark = marks.map(|mark| zone.watermark(mark));
        model.cma = zone.cma();
        model.boost = zone.boost();
        model.reserved_highatomic = zone.reserved_highatomic();
        model.free_highatomic = zone.free_counts.free_highatomic();
        model.lowmem_reserve = ZoneType::ALL.map(|kind| zone.lowmem_reserve(kind));
        let node = self.nodes().ok().and_then(|nodes| nodes.get(zone.nid));
        model.node_unreclaimable = node.is_some_and(|node| node.daemons.is_hopeless());
        let Ok(mm) = self.mm() else {
            return model;
        };
        let id = ZoneId::new(zone.nid, zone.kind);
        let cma = zone.free_counts.free_cma();
        model.stats.set(ZoneStat::FreeCma, cma.0);
        if let Some(free) = mm.allocator().free_report(id) {
            model.nr_free = free.blocks;
            model.stats.set(ZoneStat::FreePages, free.free.0);
            let blocks = free.free_pages_blocks;
            model.stats.set(ZoneStat::FreePagesBlocks, blocks.0);
        }
        let locked = mm.stats.user(id, UserStat::Locked);
        model.stats.set(ZoneStat::Mlock, locked.0);
        let numa = [
            (NumaStat::Hit, buddy::NumaStat::Hit),
            (NumaStat::Miss, buddy::NumaStat::Miss),
            (NumaStat::Foreign, buddy::NumaStat::Foreign),
            (NumaStat::Interleave, buddy::NumaStat::InterleaveHit),
            (NumaStat::Local, buddy::NumaStat::Local),
            (NumaStat::Other, buddy::NumaStat::Other),
        ];
        for (item, stat) in numa {
            model.numa.set(item, mm.stats.numa(id, stat));
        }
        model
    }

    /// Pages of address spaces on a node; `None` for a counter of something else.
    fn user_stat(&self, nid: NodeId, item: NodeStat) -> Option<Pages> {
        let counted: &[UserStat] = match item {
            NodeStat::AnonPages => &[UserStat::Anon],
            NodeStat::AnonTransparentHugepages => &[UserStat::AnonHuge],
            NodeStat::Mapped => &[UserStat::Mapped],
            NodeStat::FilePages => &[UserStat::File, UserStat::Shmem],
            NodeStat::Shmem => &[UserStat::Shmem],
            NodeStat::PageTablePages => &[UserStat::Table],
            _ => return None,
        };
        let mm = self.mm().ok().filter(|_| nid != NodeId::NONE);
        let sum = mm.map_or(Pages::ZERO, |mm| {
            let counted = counted.iter();
            counted.map(|&stat| mm.stats.user_on(nid, stat)).sum()
        });
        Some(sum)
    }

    fn node_model(&self, node: &Node<'_, P>) -> NodeModel {
        let mut model = NodeModel::empty(node.node_id);
        model.start_pfn = node.span.start;
        model.spanned = node.span.pages();
        model.present = node.present;
        for zone in node.zones() {
            model.managed += zone.managed();
        }
        model.free = self.mm().map_or(Pages::ZERO, |mm| mm.free_on(node));
        for cpu in self.machine.map.cpus.iter() {
            if cpu.nid == node.node_id {
                model.cpus.insert(cpu.cpu);
            }
        }
        for (index, distance) in model.distance.iter_mut().enumerate() {
            *distance = node.distance(NodeId(index as i32));
        }
        let mut last = NodeId::NONE;
        for zone in node
            .zonelist(ZonelistKind::Fallback)
            .iter(ZoneType::Movable)
        {
            if zone.nid() != last {
                last = zone.nid();
                model.push_fallback(last);
            }
        }
        model
    }
}

impl<P: Platform> Snapshot for Boot<'_, P> {
    fn for_each_zone(&self, visit: &mut dyn FnMut(&ZoneModel) -> Walk) -> Walk {
        let Ok(nodes) = self.nodes() else {
            return Ok(());
        };
        for zone in nodes.zones() {
            visit(&self.zone_model(zone))?;
        }
        Ok(())
    }

    fn page_types(&self, nid: NodeId, kind: ZoneType) -> Option<report::PageTypeModel> {
        let zone = self.nodes().ok()?.zone(nid, kind)?;
        let sparse = self.sparse().ok()?;
        Some(buddy::page_types(sparse, zone))
    }

    fn fallbacks(&self, nid: NodeId, kind: ZoneType) -> Option<report::FallbackModel> {
        let zone = self.nodes().ok()?.zone(nid, kind)?;
        let mut model = report::FallbackModel::default();
        for (to, row) in MigrateType::ALL.into_iter().zip(&mut model.claimed) {
            for (from, count) in MigrateType::ALL.into_iter().zip(row) {
                *count = zone.fallbacks.claimed(to, from);
            }
        }
        for (to, row) in MigrateType::ALL.into_iter().zip(&mut model.stolen) {
            for (from, count) in MigrateType::ALL.into_iter().zip(row) {
                *count = zone.fallbacks.stolen(to, from);
            }
        }
        Some(model)
    }

    fn for_each_node(&self, visit: &mut dyn FnMut(&NodeModel) -> Walk) -> Walk {
        let Ok(nodes) = self.nodes() else {
            return Ok(());
        };
        for node in nodes.online() {
            visit(&self.node_model(node))?;
        }
        Ok(())
    }

    fn for_each_resource(&self, visit: &mut dyn FnMut(&ResourceModel) -> Walk) -> Walk {
        let entries = self.machine.map.e820.entries().iter();
        let entries = entries.map(|entry| (entry.range(), entry.kind.resource_name()));
        let crash = self.crash();
        report::iomem::for_each_resource(entries, &[crash.low, crash.main], visit)
    }

    fn accounting(&self) -> Accounting {
        let mut accounting = Accounting::default();
        let scaled = self.machine.scaled;
        let mib = scaled.to_scaled(PhysAddr(1 << 20));
        let border = scaled.to_scaled(CRASH_ADDR_LOW_MAX);
        installed::account(self.machine.map, mib, border, &mut accounting);
        accounting.crash_kernel = self.crash().size();
        if let Ok(mm) = self.mm() {
            accounting.page_descriptors = mm.sparse.map_bytes();
            accounting.section_tables = mm.sparse.table_bytes();
            accounting.nodes = mm.nodes.data_bytes() + mm.cosmos_bytes();
            accounting.statistics = mm.stats.bytes();
            accounting.managed = mm.managed().bytes();
        }
        accounting
    }

    fn totals(&self) -> MemoryTotals {
        let Ok(mm) = self.mm() else {
            return MemoryTotals::NONE;
        };
        MemoryTotals {
            commit_limit: mm.spaces().commit_limit(),
            committed: mm.spaces().committed(),
            direct_map_1g: mm.platform.has_gbpages().then_some(Bytes::ZERO),
            ..MemoryTotals::NONE
        }
    }

    fn nr_cpus(&self) -> u32 {
        self.mm().map_or(0, |mm| mm.platform.nr_cpus())
    }

    fn system_stat(&self, item: SystemStat) -> u64 {
        match (item, self.mm()) {
            (SystemStat::MemmapBootPages, Ok(mm)) => mm.sparse.map_bytes().pages_up().0,
            _ => 0,
        }
    }

    fn event(&self, item: Event) -> u64 {
        match (item, self.mm()) {
            (Event::Pgfault, Ok(mm)) => mm.spaces().faults().0,
            (Event::Pgmajfault, Ok(mm)) => mm.spaces().faults().1,
            _ => self.vm_event(item.name()),
        }
    }

    fn node_stat(&self, nid: NodeId, item: NodeStat) -> u64 {
        let slab = |reclaimable| {
            // Each page is one node's; what is counted without a node comes on top.
            let mm = self.mm().ok().filter(|_| nid != NodeId::NONE);
            mm.map_or(0, |mm| mm.slab_pages(nid, reclaimable).0)
        };
        match item {
            NodeStat::SlabReclaimable => return slab(true),
            NodeStat::SlabUnreclaimable => return slab(false),
            _ => {}
        }
        if let Some(pages) = self.user_stat(nid, item) {
            return pages.0;
        }
        // Of nodes' events, only those of reclaim happen here.
        let node = self.nodes().ok().and_then(|nodes| nodes.get(nid));
        node.map_or(0, |node| node.daemons.reclaimed(item))
    }

    fn pageset(&self, nid: NodeId, kind: ZoneType, cpu: CpuId) -> Option<report::PagesetModel> {
        let mm = self.mm().ok()?;
        if !mm.platform.is_online(cpu) {
            return None;
        }
        let mut model = report::PagesetModel::boot(cpu);
        if let Some(pageset) = mm.stats.pageset(cpu, ZoneId::new(nid, kind)) {
            let limits = pageset.limits();
            model.count = pageset.count();
            model.high = pageset.high();
            model.batch = limits.batch;
            model.high_min = limits.high_min;
            model.high_max = limits.high_max;
        }
        Some(model)
    }
}
