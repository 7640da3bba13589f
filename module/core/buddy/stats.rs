// SPDX-License-Identifier: GPL-2.0

//! Statistics: per CPU, in memory of the region, summed when read.
//!
//! ```text
//! CPU 0   [ CpuStats: events, refusals ]   [ ZoneStats node 0 DMA ][ DMA32 ] ...
//! CPU 1   [ CpuStats                   ]   [ ZoneStats node 0 DMA ][ DMA32 ] ...
//! ```
//!
//! Each slot starts on a cache line of its own and is written by its CPU alone,
//! while the writer is pinned there: a plain load and store, nothing locked.
//! A reader adds the slots up and may see one CPU's event and not yet another's.

use super::local::CpuLocal;
use super::local::Flat;
use super::migratetype::Pageblock;
use super::pageset::Pageset;
use crate::error::Error;
use crate::error::Refusals;
use crate::error::Result;
use crate::page::ZoneId;
use crate::page::ZoneType;
use crate::page::NR_ZONE_TYPES;
use crate::phys::placed_size;
use crate::phys::Bytes;
use crate::phys::CpuId;
use crate::phys::Pages;
use crate::phys::PhysRange;
use crate::phys::Region;
use crate::platform::Platform;
use crate::sparse::Stretch;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::Release;

/// Declares the events: those of each kind of zone, and the table of the others,
/// each with the name that `/proc/vmstat` prints.
macro_rules! vm_events {
    ($($(#[$doc:meta])* $event:ident = $name:literal,)*) => {
        /// The events that `/proc/vmstat` counts (`enum vm_event_item`), as far
        /// as they happen here.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum VmEvent {
            /// Pages given out by zones of this kind (`pgalloc_dma` ...).
            PgAlloc(ZoneType),
            /// Requests for this kind of zone that had to reclaim memory
            /// themselves (`allocstall_dma` ...).
            AllocStall(ZoneType),
            $($(#[$doc])* $event,)*
        }

        /// The places of the table.
        #[repr(usize)]
        enum Place { $($event,)* }

        /// How many events there are.
        const NR_VM_EVENTS: usize = 2 * NR_ZONE_TYPES + [$($name,)*].len();

        impl VmEvent {
            const fn index(self) -> usize {
                match self {
                    Self::PgAlloc(zone) => zone.index(),
                    Self::AllocStall(zone) => NR_ZONE_TYPES + zone.index(),
                    $(Self::$event => 2 * NR_ZONE_TYPES + Place::$event as usize,)*
                }
            }

            /// The event that `/proc/vmstat` prints under this name, if it can
            /// happen here.
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    "pgalloc_dma" => Some(Self::PgAlloc(ZoneType::Dma)),
                    "pgalloc_dma32" => Some(Self::PgAlloc(ZoneType::Dma32)),
                    "pgalloc_normal" => Some(Self::PgAlloc(ZoneType::Normal)),
                    "pgalloc_movable" => Some(Self::PgAlloc(ZoneType::Movable)),
                    "allocstall_dma" => Some(Self::AllocStall(ZoneType::Dma)),
                    "allocstall_dma32" => Some(Self::AllocStall(ZoneType::Dma32)),
                    "allocstall_normal" => Some(Self::AllocStall(ZoneType::Normal)),
                    "allocstall_movable" => Some(Self::AllocStall(ZoneType::Movable)),
                    $($name => Some(Self::$event),)*
                    _ => None,
                }
            }

            /// The names of the table's events.
            pub const NAMES: &'static [&'static str] = &[$($name,)*];
        }
    };
}

vm_events! {
    /// Pages given back, those of the hand-off included.
    PgFree = "pgfree",
    /// Objects that shrinkers were told to look at.
    SlabsScanned = "slabs_scanned",
    /// kswapd was woken from its nap.
    KswapdLowWmarkHitQuickly = "kswapd_low_wmark_hit_quickly",
    /// kswapd found its node unbalanced when it was about to sleep.
    KswapdHighWmarkHitQuickly = "kswapd_high_wmark_hit_quickly",
    /// Rounds of kswapd.
    Pageoutrun = "pageoutrun",
    /// Shrinkers were told to give up all they can.
    DropSlab = "drop_slab",
    /// Pages that kswapd got back from shrinkers of whole pages.
    PgstealKswapd = "pgsteal_kswapd",
    /// Pages that requests got back from these.
    PgstealDirect = "pgsteal_direct",
    /// Pages of these that kswapd looked at.
    PgscanKswapd = "pgscan_kswapd",
    /// Pages of these that requests looked at.
    PgscanDirect = "pgscan_direct",
    /// Pages that were moved.
    PgmigrateSuccess = "pgmigrate_success",
    /// Pages that could not be moved.
    PgmigrateFail = "pgmigrate_fail",
    /// Pages that migrate scanners looked at.
    CompactMigrateScanned = "compact_migrate_scanned",
    /// Pages that free scanners looked at.
    CompactFreeScanned = "compact_free_scanned",
    /// Pages that either of them took.
    CompactIsolated = "compact_isolated",
    /// Requests that compacted.
    CompactStall = "compact_stall",
    /// Of these, those that got no block for it.
    CompactFail = "compact_fail",
    /// Of these, those that got one.
    CompactSuccess = "compact_success",
    /// kcompactd started to work.
    CompactDaemonWake = "compact_daemon_wake",
    /// Pages that its migrate scanner looked at.
    CompactDaemonMigrateScanned = "compact_daemon_migrate_scanned",
    /// Pages that its free scanner looked at.
    CompactDaemonFreeScanned = "compact_daemon_free_scanned",
}

/// Where pages came from, seen from where they were wanted
/// (`enum numa_stat_item`, in its order).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum NumaStat {
    /// Given out on the node where they were wanted.
    Hit = 0,
    /// Given out here, wanted elsewhere.
    Miss = 1,
    /// Wanted here, given out elsewhere.
    Foreign = 2,
    /// Given out where interleaving wanted them.
    InterleaveHit = 3,
    /// Given out to a CPU of the same node.
    Local = 4,
    /// Given out to a CPU of another node.
    Other = 5,
}

/// How many there are (`NR_VM_NUMA_EVENT_ITEMS`).
pub const NR_NUMA_STATS: usize = 6;

impl NumaStat {
    /// All of them, in the order of `/proc/zoneinfo`.
    pub const ALL: [NumaStat; NR_NUMA_STATS] = [
        Self::Hit,
        Self::Miss,
        Self::Foreign,
        Self::InterleaveHit,
        Self::Local,
        Self::Other,
    ];

    /// The name that `/proc` uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "numa_hit",
            Self::Miss => "numa_miss",
            Self::Foreign => "numa_foreign",
            Self::InterleaveHit => "numa_interleave",
            Self::Local => "numa_local",
            Self::Other => "numa_other",
        }
    }
}

/// One CPU's counts.
#[repr(C, align(64))]
pub struct CpuStats {
    events: [AtomicU64; NR_VM_EVENTS],
    refusals: Refusals,
}

impl CpuStats {
    /// Nothing has happened.
    pub const fn new() -> Self {
        Self {
            events: [const { AtomicU64::new(0) }; NR_VM_EVENTS],
            refusals: Refusals::new(),
        }
    }
}

impl Default for CpuStats {
    fn default() -> Self {
        Self::new()
    }
}

/// What one CPU has of one zone: its counts (`struct per_cpu_zonestat`) and its
/// pageset (`struct per_cpu_pages`).
#[repr(C, align(64))]
pub struct ZoneStats {
    pageset: Pageset,
    /// Blocks that went the direct way out, and how many pages these had.
    direct_allocs: AtomicU64,
    direct_pages: AtomicU64,
    /// Pages that went the direct way back.
    direct_freed: AtomicU64,
    numa: [AtomicU64; NR_NUMA_STATS],
    /// Whether this is a zone of the CPU's own node.
    local: AtomicBool,
}

impl ZoneStats {
    /// Nothing has happened.
    pub const fn new() -> Self {
        Self {
            pageset: Pageset::new(),
            direct_allocs: AtomicU64::new(0),
            direct_pages: AtomicU64::new(0),
            direct_freed: AtomicU64::new(0),
            numa: [const { AtomicU64::new(0) }; NR_NUMA_STATS],
            local: AtomicBool::new(false),
        }
    }

    /// The pageset.
    #[inline(always)]
    pub(super) fn pageset(&self) -> &Pageset {
        &self.pageset
    }

    /// Counts a block that went the direct way out.
    #[inline]
    pub(super) fn count_direct_alloc(&self, pages: Pages) {
        bump(&self.direct_allocs, 1);
        bump(&self.direct_pages, pages.0);
    }

    /// Counts pages that went the direct way back.
    #[inline]
    pub(super) fn count_direct_free(&self, pages: Pages) {
        bump(&self.direct_freed, pages.0);
    }

    /// A count. What goes through the magazines or the direct way is counted
    /// there alone: always from the zone that was wanted.
    fn numa(&self, stat: NumaStat) -> u64 {
        let count = self
            .numa
            .get(stat as usize)
            .map_or(0, |count| count.load(Relaxed));
        let hot = match (stat, self.local.load(Relaxed)) {
            (NumaStat::Hit, _) | (NumaStat::Local, true) | (NumaStat::Other, false) => {
                let direct = self.direct_allocs.load(Relaxed);
                self.pageset.hot_allocs().wrapping_add(direct)
            }
            _ => 0,
        };
        count.wrapping_add(hot)
    }

    #[inline]
    fn bump(&self, stat: NumaStat) {
        if let Some(count) = self.numa.get(stat as usize) {
            bump(count, 1);
        }
    }
}

impl Default for ZoneStats {
    fn default() -> Self {
        Self::new()
    }
}

/// The slots of all CPUs.
pub struct Statistics<'m> {
    /// Whether somebody claims pagesets of other CPUs.
    claiming: AtomicBool,
    cpus: &'m [CpuStats],
    zones: &'m [ZoneStats],
    zones_per_cpu: usize,
    locals: &'m [CpuLocal<'m>],
    /// The descriptors of each zone, where these lie in one piece.
    flats: &'m [Flat<'m>],
}

impl<'m> Statistics<'m> {
    /// How much memory the slots of `nr_cpus` CPUs and `nr_nodes` nodes take.
    /// It must be aligned to a cache line. Saturates.
    pub fn size(nr_cpus: usize, nr_nodes: usize) -> Bytes {
        let zones = nr_cpus.saturating_mul(nr_nodes.saturating_mul(NR_ZONE_TYPES));
        let zones = placed_size::<ZoneStats>(zones);
        Bytes(placed_size::<CpuStats>(nr_cpus).0.saturating_add(zones.0))
    }

    /// What the slots take of the region.
    pub fn bytes(&self) -> Bytes {
        placed_size::<CpuStats>(self.cpus.len())
            + placed_size::<ZoneStats>(self.zones.len())
            + placed_size::<CpuLocal<'_>>(self.locals.len())
            + placed_size::<Flat<'_>>(self.flats.len())
    }

    /// Places the slots at the start of `range`, which is
    /// [`Statistics::size`] long at least. Node numbers are below `nr_nodes`.
    ///
    /// # Errors
    ///
    /// Those of [`Region::place_slice`].
    pub fn place(
        region: &mut Region<'m>,
        range: PhysRange,
        nr_cpus: usize,
        nr_nodes: usize,
    ) -> Result<Self> {
        if range.size() < Self::size(nr_cpus, nr_nodes) {
            return Err(Error::ForeignPfn);
        }
        let zones_per_cpu = nr_nodes.saturating_mul(NR_ZONE_TYPES);
        let nr_zones = nr_cpus.saturating_mul(zones_per_cpu);
        let cpus = PhysRange::new(range.start, placed_size::<CpuStats>(nr_cpus));
        let zones = PhysRange::new(cpus.end, placed_size::<ZoneStats>(nr_zones));
        let cpu_slots = region.place_slice(cpus, nr_cpus, |_| CpuStats::new())?;
        let zone_slots = match region.place_slice(zones, nr_zones, |_| ZoneStats::new()) {
            Ok(slots) => slots,
            Err(error) => {
                region.release(cpus, cpu_slots)?;
                return Err(error);
            }
        };
        Ok(Self {
            claiming: AtomicBool::new(false),
            cpus: cpu_slots,
            zones: zone_slots,
            zones_per_cpu,
            locals: &[],
            flats: &[],
        })
    }

    /// What [`Statistics::connect`] needs for `nr_cpus` CPUs and `nr_nodes` nodes,
    /// aligned to a cache line. Saturates.
    pub fn locals_size(nr_cpus: usize, nr_nodes: usize) -> Bytes {
        let flats = placed_size::<Flat<'_>>(nr_nodes.saturating_mul(NR_ZONE_TYPES));
        Bytes(
            placed_size::<CpuLocal<'_>>(nr_cpus)
                .0
                .saturating_add(flats.0),
        )
    }

    /// Places what each CPU has of the zones that it likes best at the start of
    /// `range`, so that pages can go the short ways. `zone` tells, for a CPU and
    /// the highest kind of zone that it may use, which zone it would try first and
    /// whether that is of its own node; `stretch` where a zone's descriptors are,
    /// and `blocks` is what is kept about page blocks, from frame 0 on.
    ///
    /// # Errors
    ///
    /// Those of [`Region::place_slice`].
    pub fn connect(
        &mut self,
        region: &mut Region<'m>,
        range: PhysRange,
        blocks: &'m [Pageblock],
        stretch: impl Fn(ZoneId) -> Option<Stretch<'m>>,
        zone: impl Fn(CpuId, ZoneType) -> Option<(ZoneId, bool)>,
    ) -> Result<()> {
        let (zones, zones_per_cpu) = (self.zones, self.zones_per_cpu);
        let locals = placed_size::<CpuLocal<'_>>(self.cpus.len());
        let flats = PhysRange::new(range.start + locals, range.size() - locals);
        let flats = region.place_slice(flats, zones_per_cpu, |index| {
            let stretch = ZoneId::from_index(index).and_then(&stretch);
            stretch.map_or(Flat::EMPTY, |stretch| Flat::of(stretch, blocks))
        })?;
        let flats: &'m [Flat<'m>] = flats;
        let locals = PhysRange::new(range.start, locals);
        self.locals = region.place_slice(locals, self.cpus.len(), |cpu| {
            let cpu = CpuId(cpu as u32);
            CpuLocal::new(cpu, |highest| {
                let (id, local) = zone(cpu, highest)?;
                let flat = *flats.get(id.index())?;
                if flat.is_empty() {
                    // A page of such a zone has to be looked up.
                    return None;
                }
                let slot = slot(zones, zones_per_cpu, cpu, id)?;
                slot.local.store(local, Relaxed);
                Some((id, slot, flat))
            })
        })?;
        self.flats = flats;
        Ok(())
    }

    /// The descriptors of a zone, where these lie in one piece.
    #[inline]
    pub(super) fn flat(&self, zone: ZoneId) -> &Flat<'m> {
        self.flats.get(zone.index()).unwrap_or(&Flat::EMPTY)
    }

    /// Has the surroundings know where each CPU finds its own.
    pub fn tell_locals(&self, platform: &impl Platform) {
        platform.set_locals(self.locals);
    }

    /// What each CPU has of the zones that it likes best.
    #[inline]
    pub(crate) fn locals(&self) -> &'m [CpuLocal<'m>] {
        self.locals
    }

    /// Statistics in slots that lie elsewhere: one of `cpus` for each CPU, and of
    /// `zones` for each CPU [`NR_ZONE_TYPES`] times `nr_nodes`.
    /// Single pages go the short way with [`Statistics::with_locals`] alone.
    pub fn on(cpus: &'m [CpuStats], zones: &'m [ZoneStats], nr_nodes: usize) -> Self {
        Self {
            claiming: AtomicBool::new(false),
            cpus,
            zones,
            zones_per_cpu: nr_nodes.saturating_mul(NR_ZONE_TYPES),
            locals: &[],
            flats: &[],
        }
    }

    /// What a CPU has of the zones that it likes best; see
    /// [`Statistics::connect`].
    pub fn local(
        &self,
        cpu: CpuId,
        blocks: &'m [Pageblock],
        zone: impl Fn(ZoneType) -> Option<(ZoneId, bool, Stretch<'m>)>,
    ) -> CpuLocal<'m> {
        local(self.zones, self.zones_per_cpu, cpu, blocks, zone)
    }

    /// The same with what each CPU has of the zones that it likes best.
    pub fn with_locals(self, locals: &'m [CpuLocal<'m>]) -> Self {
        Self { locals, ..self }
    }

    /// Counts `by` more of `event`. The caller is pinned to `cpu`.
    #[inline]
    pub(crate) fn count(&self, cpu: CpuId, event: VmEvent, by: u64) {
        let slot = self.cpus.get(cpu.0 as usize);
        if let Some(count) = slot.and_then(|slot| slot.events.get(event.index())) {
            bump(count, by);
        }
    }

    /// Counts a block that `zone` gave out, of `pages` pages, and that would
    /// best have come from `preferred`; `local` when the running CPU is of the
    /// zone's node (`__count_zid_vm_events` and `zone_statistics`). The caller
    /// is pinned to `cpu`.
    #[inline]
    pub(crate) fn count_alloc(
        &self,
        cpu: CpuId,
        zone: ZoneId,
        preferred: ZoneId,
        local: bool,
        pages: Pages,
    ) {
        self.count(cpu, VmEvent::PgAlloc(zone.kind()), pages.0);
        let hit = zone.nid() == preferred.nid();
        if let Some(slot) = self.zone_slot(cpu.0 as usize, zone) {
            slot.bump(if hit { NumaStat::Hit } else { NumaStat::Miss });
            slot.bump(if local {
                NumaStat::Local
            } else {
                NumaStat::Other
            });
        }
        if !hit {
            if let Some(slot) = self.zone_slot(cpu.0 as usize, preferred) {
                slot.bump(NumaStat::Foreign);
            }
        }
    }

    /// Counts one refusal more. The caller is pinned to `cpu`.
    #[cold]
    pub(crate) fn count_refusal(&self, cpu: CpuId, error: Error) {
        if let Some(slot) = self.cpus.get(cpu.0 as usize) {
            slot.refusals.count(error);
        }
    }

    /// How often `event` happened, on all CPUs (`all_vm_events`).
    pub fn vm_event(&self, event: VmEvent) -> u64 {
        let counts = self
            .cpus
            .iter()
            .filter_map(|slot| slot.events.get(event.index()));
        let sum = counts.fold(0u64, |sum, count| sum.wrapping_add(count.load(Relaxed)));
        sum.wrapping_add(self.hot_events(event))
    }

    /// How often it happened to single pages in magazines, and on the direct way.
    fn hot_events(&self, event: VmEvent) -> u64 {
        let kind_at = |index: usize| index % NR_ZONE_TYPES;
        let slots = self.zones.iter().enumerate();
        slots.fold(0u64, |sum, (index, slot)| {
            let hot = match event {
                VmEvent::PgFree => {
                    let direct = slot.direct_freed.load(Relaxed);
                    slot.pageset.hot_frees().wrapping_add(direct)
                }
                VmEvent::PgAlloc(kind) if kind_at(index) == kind.index() => {
                    let direct = slot.direct_pages.load(Relaxed);
                    slot.pageset.hot_allocs().wrapping_add(direct)
                }
                _ => 0,
            };
            sum.wrapping_add(hot)
        })
    }

    /// How often a request was refused with `error`, on all CPUs.
    pub fn refusals(&self, error: Error) -> u64 {
        let counts = self.cpus.iter().flat_map(|slot| slot.refusals.iter());
        counts
            .filter(|&(counted, _)| counted == error)
            .fold(0u64, |sum, (_, count)| sum.wrapping_add(count))
    }

    /// A count of one zone, of all CPUs (`zone_numa_event_state`).
    pub fn numa(&self, zone: ZoneId, stat: NumaStat) -> u64 {
        (0..self.cpus.len())
            .filter_map(|cpu| self.zone_slot(cpu, zone))
            .fold(0u64, |sum, slot| sum.wrapping_add(slot.numa(stat)))
    }

    /// Counts one more of a zone. The caller is pinned to `cpu`.
    pub(super) fn count_numa(&self, cpu: CpuId, zone: ZoneId, stat: NumaStat) {
        if let Some(slot) = self.zone_slot(cpu.0 as usize, zone) {
            slot.bump(stat);
        }
    }

    /// A CPU's pageset of a zone.
    #[inline]
    pub fn pageset(&self, cpu: CpuId, zone: ZoneId) -> Option<&Pageset> {
        Some(&self.zone_slot(cpu.0 as usize, zone)?.pageset)
    }

    /// Calls `visit` with all CPUs' pagesets of a zone.
    pub(super) fn for_each_pageset(&self, zone: ZoneId, mut visit: impl FnMut(&Pageset)) {
        for cpu in 0..self.cpus.len() {
            if let Some(slot) = self.zone_slot(cpu, zone) {
                visit(&slot.pageset);
            }
        }
    }

    /// Waits for the turn to claim pagesets of other CPUs.
    pub(super) fn begin_claims(&self, platform: &impl Platform) {
        let take = || {
            self.claiming
                .compare_exchange(false, true, Acquire, Relaxed)
        };
        while take().is_err() {
            platform.relax();
        }
    }

    /// What follows [`Statistics::begin_claims`].
    pub(super) fn end_claims(&self) {
        self.claiming.store(false, Release);
    }

    #[inline]
    fn zone_slot(&self, cpu: usize, zone: ZoneId) -> Option<&ZoneStats> {
        if zone.index() >= self.zones_per_cpu {
            return None;
        }
        self.zones.get(
            cpu.wrapping_mul(self.zones_per_cpu)
                .wrapping_add(zone.index()),
        )
    }
}

/// Adds without a locked instruction: the pinned CPU is the only writer.
#[inline]
fn bump(count: &AtomicU64, by: u64) {
    count.store(count.load(Relaxed).wrapping_add(by), Relaxed);
}

/// See [`Statistics::local`].
fn local<'m>(
    zones: &'m [ZoneStats],
    zones_per_cpu: usize,
    cpu: CpuId,
    blocks: &'m [Pageblock],
    zone: impl Fn(ZoneType) -> Option<(ZoneId, bool, Stretch<'m>)>,
) -> CpuLocal<'m> {
    CpuLocal::new(cpu, |highest| {
        let (id, local, stretch) = zone(highest)?;
        let slot = slot(zones, zones_per_cpu, cpu, id)?;
        slot.local.store(local, Relaxed);
        Some((id, slot, Flat::of(stretch, blocks)))
    })
}

/// What a CPU has of a zone.
fn slot(zones: &[ZoneStats], zones_per_cpu: usize, cpu: CpuId, id: ZoneId) -> Option<&ZoneStats> {
    let first = (cpu.0 as usize).wrapping_mul(zones_per_cpu);
    let own = id.index() < zones_per_cpu;
    let slot = own.then(|| zones.get(first.wrapping_add(id.index())));
    slot.flatten()
}
