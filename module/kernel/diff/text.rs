// SPDX-License-Identifier: GPL-2.0

//! One side's state as a text, in the shape of `pagetypeinfo`, `zoneinfo` and
//! the lists behind them; both sides by the same function, so that they can be
//! laid side by side.

use super::host_zone;
use super::host_zone::HostZone;
use super::host_zone::ZoneNumbers;
use super::twin::online_cpus;
use super::twin::View;
use crate::failure::Text;
use core::fmt;
use core::fmt::Write;
use shadowmm_core::buddy::MigrateType;
use shadowmm_core::buddy::PagesetState;
use shadowmm_core::buddy::NR_PCP_LISTS;
use shadowmm_core::page::ZoneId;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::CpuId;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::PageOrder;
use shadowmm_core::phys::Pages;
use shadowmm_core::phys::Pfn;

/// So many blocks of a list are named.
const NAMED: usize = 12;

/// A side, as far as it can be looked at.
pub(crate) trait Side {
    /// The counts of a zone.
    fn numbers(&self, kind: ZoneType) -> ZoneNumbers;
    /// The numbers of a CPU's pageset of a zone.
    fn pageset(&self, kind: ZoneType, cpu: CpuId) -> PagesetState;
    /// The blocks of a free list, as far as `room` holds them, and their number.
    fn free_list<'r>(
        &self,
        kind: ZoneType,
        order: PageOrder,
        mt: MigrateType,
        room: &'r mut [u32],
    ) -> (&'r [u32], usize);
    /// The same of a list of a pageset.
    fn pageset_list<'r>(
        &self,
        kind: ZoneType,
        cpu: CpuId,
        index: usize,
        room: &'r mut [u32],
    ) -> (&'r [u32], usize);
    /// The type of a page block and whether it is isolated.
    fn pageblock(&self, pfn: Pfn) -> Option<(MigrateType, bool)>;
}

/// The kernel's zones.
pub(crate) struct Host<'a>(pub(crate) &'a [HostZone]);

impl Host<'_> {
    fn zone(&self, kind: ZoneType) -> Option<&HostZone> {
        self.0.iter().find(|zone| zone.kind == kind)
    }
}

impl Side for Host<'_> {
    fn numbers(&self, kind: ZoneType) -> ZoneNumbers {
        self.zone(kind).map(HostZone::numbers).unwrap_or_default()
    }

    fn pageset(&self, kind: ZoneType, cpu: CpuId) -> PagesetState {
        let zone = self.zone(kind);
        zone.map(|zone| zone.pageset(cpu)).unwrap_or_default()
    }

    fn free_list<'r>(
        &self,
        kind: ZoneType,
        order: PageOrder,
        mt: MigrateType,
        room: &'r mut [u32],
    ) -> (&'r [u32], usize) {
        match self.zone(kind) {
            Some(zone) => zone.free_list(order, mt, room),
            None => (&[], 0),
        }
    }

    fn pageset_list<'r>(
        &self,
        kind: ZoneType,
        cpu: CpuId,
        index: usize,
        room: &'r mut [u32],
    ) -> (&'r [u32], usize) {
        match self.zone(kind) {
            Some(zone) => zone.pageset_list(cpu, index, room),
            None => (&[], 0),
        }
    }

    fn pageblock(&self, pfn: Pfn) -> Option<(MigrateType, bool)> {
        host_zone::pageblock(pfn)
    }
}

/// The copies.
pub(crate) struct Copies<'a, 'v> {
    pub(crate) nid: NodeId,
    pub(crate) view: &'v View<'a>,
}

/// Collects what is called with blocks.
fn collect<'r>(room: &'r mut [u32], each: impl FnOnce(&mut dyn FnMut(Pfn))) -> (&'r [u32], usize) {
    let mut count = 0;
    each(&mut |pfn| {
        if let Some(slot) = room.get_mut(count) {
            *slot = pfn.0 as u32;
        }
        count += 1;
    });
    (room.get(..count).unwrap_or(room), count)
}

impl Side for Copies<'_, '_> {
    fn numbers(&self, kind: ZoneType) -> ZoneNumbers {
        self.view.numbers(kind)
    }

    fn pageset(&self, kind: ZoneType, cpu: CpuId) -> PagesetState {
        let buddy = self.view.buddy();
        let pageset = buddy.stats.pageset(cpu, ZoneId::new(self.nid, kind));
        pageset.map(|pageset| pageset.state()).unwrap_or_default()
    }

    fn free_list<'r>(
        &self,
        kind: ZoneType,
        order: PageOrder,
        mt: MigrateType,
        room: &'r mut [u32],
    ) -> (&'r [u32], usize) {
        let id = ZoneId::new(self.nid, kind);
        let buddy = self.view.buddy();
        collect(room, |each| buddy.for_each_free_of(id, order, mt, each))
    }

    fn pageset_list<'r>(
        &self,
        kind: ZoneType,
        cpu: CpuId,
        index: usize,
        room: &'r mut [u32],
    ) -> (&'r [u32], usize) {
        let id = ZoneId::new(self.nid, kind);
        let buddy = self.view.buddy();
        collect(room, |each| buddy.for_each_in_pageset(cpu, id, index, each))
    }

    fn pageblock(&self, pfn: Pfn) -> Option<(MigrateType, bool)> {
        self.view.pageblock(pfn)
    }
}

/// Writes all that can be seen of a side's zones.
pub(crate) fn write(
    side: &impl Side,
    zones: &[HostZone],
    room: &mut [u32],
    out: &mut Text,
) -> fmt::Result {
    zones
        .iter()
        .try_for_each(|zone| write_zone(side, zone, room, out))
}

fn write_zone(side: &impl Side, zone: &HostZone, room: &mut [u32], out: &mut Text) -> fmt::Result {
    let kind = zone.kind;
    let shape = zone.shape();
    let numbers = side.numbers(kind);
    let state = numbers.state;
    writeln!(out, "zone {}", kind.name())?;
    writeln!(
        out,
        "  pages free {} (CMA {}, high-atomic {}, in whole page blocks {})",
        numbers.free, numbers.free_cma, numbers.free_highatomic, numbers.free_blocks
    )?;
    writeln!(
        out,
        "  boost {}, kept for urgent requests {}, {} the high watermark",
        state.boost.0,
        state.reserved_highatomic.0,
        if state.below_high { "below" } else { "above" }
    )?;
    write!(out, "  watermarks")?;
    for mark in shape.watermark {
        write!(out, " {mark}")?;
    }
    writeln!(out, ", managed {}", shape.managed)?;
    write!(out, "  nr_free     ")?;
    for count in numbers.nr_free {
        write!(out, " {count:>6}")?;
    }
    writeln!(out)?;
    for mt in MigrateType::ALL {
        write!(out, "  {:<12}", mt.name())?;
        for order in PageOrder::all() {
            let (_, count) = side.free_list(kind, order, mt, room);
            write!(out, " {count:>6}")?;
        }
        writeln!(out)?;
    }
    write_blocks(side, &shape, out)?;
    for mt in MigrateType::ALL {
        for order in PageOrder::all() {
            let (list, count) = side.free_list(kind, order, mt, room);
            if count != 0 {
                write!(out, "  list {} order {}:", mt.name(), order.get())?;
                write_list(list, count, out)?;
            }
        }
    }
    online_cpus().try_for_each(|cpu| write_pageset(side, kind, cpu, room, out))
}

fn write_blocks(
    side: &impl Side,
    shape: &crate::bindings::shadowmm_host_zone_shape,
    out: &mut Text,
) -> fmt::Result {
    let mut counts = [0u64; MigrateType::ALL.len()];
    let end = Pfn(shape.start_pfn) + Pages(shape.spanned);
    let mut pfn = Pfn(shape.start_pfn);
    while pfn < end {
        if let Some((mt, isolated)) = side.pageblock(pfn) {
            let mt = if isolated { MigrateType::Isolate } else { mt };
            if let Some(count) = counts.get_mut(mt.index()) {
                *count += 1;
            }
        }
        pfn = pfn + PageOrder::PAGEBLOCK.pages();
    }
    write!(out, "  page blocks")?;
    for (mt, count) in MigrateType::ALL.into_iter().zip(counts) {
        write!(out, " {} {count}", mt.name())?;
    }
    writeln!(out)
}

fn write_pageset(
    side: &impl Side,
    kind: ZoneType,
    cpu: CpuId,
    room: &mut [u32],
    out: &mut Text,
) -> fmt::Result {
    let set = side.pageset(kind, cpu);
    writeln!(
        out,
        "  cpu {}: count {} high {} ({} to {}) batch {} free_count {} alloc_factor {}{}{}",
        cpu.0,
        set.count,
        set.high,
        set.high_min,
        set.high_max,
        set.batch,
        set.free_count,
        set.alloc_factor,
        if set.prev_free_high_order {
            " prev_free_high_order"
        } else {
            ""
        },
        if set.free_high_batch {
            " free_high_batch"
        } else {
            ""
        }
    )?;
    for index in 0..NR_PCP_LISTS {
        let (list, count) = side.pageset_list(kind, cpu, index, room);
        if count != 0 {
            write!(out, "    list {index}:")?;
            write_list(list, count, out)?;
        }
    }
    Ok(())
}

fn write_list(list: &[u32], count: usize, out: &mut Text) -> fmt::Result {
    write!(out, " {count} blocks,")?;
    for pfn in list.iter().take(NAMED) {
        write!(out, " {pfn:#x}")?;
    }
    if count > NAMED {
        let last = list.last().copied().unwrap_or(0);
        write!(out, " ... {last:#x}")?;
    }
    writeln!(out)
}
