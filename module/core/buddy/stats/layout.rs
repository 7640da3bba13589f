// SPDX-License-Identifier: GPL-2.0

//! Where the slots lie: in the region, or in a caller's hands.

use super::slots::CpuStats;
use super::slots::ZoneStats;
use super::Statistics;
use crate::buddy::local::CpuLocal;
use crate::buddy::local::Flat;
use crate::buddy::migratetype::Pageblock;
use crate::error::Error;
use crate::error::Result;
use crate::page::ZoneId;
use crate::page::ZoneType;
use crate::page::NR_ZONE_TYPES;
use crate::phys::placed_size;
use crate::phys::Bytes;
use crate::phys::CpuId;
use crate::phys::PhysRange;
use crate::phys::Region;
use crate::sparse::Stretch;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::Relaxed;

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
            CpuLocal::new(row(zones, zones_per_cpu, cpu), |highest| {
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
}

/// See [`Statistics::local`].
fn local<'m>(
    zones: &'m [ZoneStats],
    zones_per_cpu: usize,
    cpu: CpuId,
    blocks: &'m [Pageblock],
    zone: impl Fn(ZoneType) -> Option<(ZoneId, bool, Stretch<'m>)>,
) -> CpuLocal<'m> {
    CpuLocal::new(row(zones, zones_per_cpu, cpu), |highest| {
        let (id, local, stretch) = zone(highest)?;
        let slot = slot(zones, zones_per_cpu, cpu, id)?;
        slot.local.store(local, Relaxed);
        Some((id, slot, Flat::of(stretch, blocks)))
    })
}

/// What a CPU has of all zones.
fn row(zones: &[ZoneStats], zones_per_cpu: usize, cpu: CpuId) -> &[ZoneStats] {
    let first = (cpu.0 as usize).wrapping_mul(zones_per_cpu);
    let row = zones.get(first..first.saturating_add(zones_per_cpu));
    row.unwrap_or(&[])
}

/// What a CPU has of a zone.
fn slot(zones: &[ZoneStats], zones_per_cpu: usize, cpu: CpuId, id: ZoneId) -> Option<&ZoneStats> {
    row(zones, zones_per_cpu, cpu).get(id.index())
}
