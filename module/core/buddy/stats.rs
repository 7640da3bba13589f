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
//!
//! ```text
//! events.rs   what is counted, and what it is called
//! numa.rs     where pages came from
//! user.rs     what pages of address spaces are for
//! slots.rs    one CPU's counts, and its pageset of a zone
//! layout.rs   where the slots lie
//! ```

mod events;
mod layout;
mod numa;
mod slots;
mod user;

pub use events::VmEvent;
pub use numa::NumaStat;
pub use numa::NR_NUMA_STATS;
pub use slots::CpuStats;
pub use slots::ZoneStats;
pub use user::UserStat;

use self::slots::bump;
use super::local::CpuLocal;
use super::local::Flat;
use super::pageset::Pageset;
use crate::error::Error;
use crate::page::ZoneId;
use crate::page::ZoneType;
use crate::page::NR_ZONE_TYPES;
use crate::phys::CpuId;
use crate::phys::NodeId;
use crate::phys::Pages;
use crate::platform::Platform;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::Release;

/// The slots of all CPUs.
pub struct Statistics<'m> {
    /// Whether somebody claims pagesets of other CPUs.
    claiming: AtomicBool,
    cpus: &'m [CpuStats],
    zones: &'m [ZoneStats],
    zones_per_cpu: usize,
    locals: &'m [CpuLocal<'m>],
    /// The descriptors of each zone, as far as they lie in one piece.
    flats: &'m [Flat<'m>],
}

impl<'m> Statistics<'m> {
    /// The descriptors of a zone, as far as they lie in one piece.
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

    /// Counts pages of a zone that have come, or with a negative number gone. The caller
    /// is pinned to `cpu`.
    #[inline]
    pub(crate) fn count_user(&self, cpu: CpuId, zone: ZoneId, stat: UserStat, by: i64) {
        if let Some(slot) = self.zone_slot(cpu.0 as usize, zone) {
            slot.add_user(stat, by);
        }
        if matches!(stat, UserStat::Locked) {
            self.count_lock_events(cpu, by);
        }
    }

    /// What is locked or unlocked is an event, too (`mlock_folio`, `mlock_new_folio`,
    /// `__munlock_folio`).
    #[cold]
    fn count_lock_events(&self, cpu: CpuId, by: i64) {
        let event = match by > 0 {
            true => VmEvent::UnevictablePgsMlocked,
            false => VmEvent::UnevictablePgsMunlocked,
        };
        self.count(cpu, event, by.unsigned_abs());
    }

    /// How many there are in a zone. What one CPU has counted and another not yet may be
    /// missing.
    pub fn user(&self, zone: ZoneId, stat: UserStat) -> Pages {
        let slots = (0..self.cpus.len()).filter_map(|cpu| self.zone_slot(cpu, zone));
        let sum = slots.fold(0u64, |sum, slot| sum.wrapping_add(slot.user(stat)));
        // One CPU may have counted more that have gone than come; all together never.
        Pages((sum as i64).max(0) as u64)
    }

    /// The same of all zones of a node.
    pub fn user_on(&self, nid: NodeId, stat: UserStat) -> Pages {
        let zones = ZoneType::ALL.into_iter();
        zones
            .map(|kind| self.user(ZoneId::new(nid, kind), stat))
            .sum()
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
