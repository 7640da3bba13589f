// SPDX-License-Identifier: GPL-2.0

//! What becomes of a CPU's pages while it does not need them, a look a second
//! (`refresh_cpu_vm_stats`):
//!
//! ```text
//! decay     above what it keeps at least?    high falls by an eighth, and what is
//!                                            above it goes back
//! expire    of another node's zone, and no   a batch goes back; that is traffic, so
//!           traffic with it for three looks? the next one follows in three looks
//! ```
//!
//! In Linux traffic is whatever has changed the CPU's counts of the zone; here it
//! is what went between the zone and this pageset. What a CPU takes from the zone
//! past its pageset, in blocks that these don't keep, does not put it off.

use super::pageset::Pageset;
use super::system::BuddySystem;
use super::MemMap;
use super::ZoneTable;
use crate::page::ZoneId;
use crate::phys::CpuId;
use crate::phys::Pages;
use crate::platform::Platform;
use crate::zone::Zone;

impl<P, M, Z> BuddySystem<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// The running CPU's look at what it keeps: it decays, and what is other
    /// nodes' expires (`refresh_cpu_vm_stats`, as far as pagesets go). Whether it
    /// should look again in a second.
    pub fn refresh_pagesets(&self) -> bool {
        let mut more = false;
        self.for_each_own(|id, zone, pageset| {
            let traffic = pageset.take_traffic();
            let decays = self.decay_pageset(id, zone, pageset);
            let local = id.nid() == self.platform.local_node();
            let (expired, expires) = pageset.count_down(local);
            if expired {
                self.free_pcppages_bulk(zone, id, pageset, pageset.batch(), 0);
            }
            more |= traffic || decays || expired || expires;
        });
        more
    }

    /// Lets the running CPU's pagesets shrink towards their least size
    /// (`decay_pcp_high`). Whether there is more to do.
    pub fn decay_pagesets(&self) -> bool {
        let mut more = false;
        self.for_each_own(|id, zone, pageset| more |= self.decay_pageset(id, zone, pageset));
        more
    }

    /// Gives a zone a batch of what the running CPU keeps of it
    /// (`drain_zone_pages`), and says how many pages that were.
    pub fn drain_zone_pages(&self, wanted: ZoneId) -> Pages {
        let drained = self.zones.zone(wanted).and_then(|zone| {
            self.on_own(wanted, |pageset| {
                let before = pageset.count();
                self.free_pcppages_bulk(zone, wanted, pageset, pageset.batch(), 0);
                before.saturating_sub(pageset.count())
            })
        });
        Pages(drained.unwrap_or(0).into())
    }

    /// Whether [`BuddySystem::refresh_pagesets`] would find something to do on
    /// that CPU (`need_update`). A look from anywhere, which may be old at once.
    pub fn wants_refresh(&self, cpu: CpuId) -> bool {
        let mut wants = false;
        self.for_each_zone(|id, _| {
            let pageset = self.stats.pageset(cpu, id);
            wants |= pageset.is_some_and(Pageset::wants_refresh);
        });
        wants
    }

    /// Does `job` with each of the running CPU's pagesets, one after the other.
    fn for_each_own(&self, mut job: impl FnMut(ZoneId, &Zone<P>, &Pageset)) {
        self.for_each_zone(|id, zone| {
            self.on_own(id, |pageset| job(id, zone, pageset));
        });
    }

    /// Does `job` with the running CPU's pageset of a zone, if it is in use and
    /// not claimed.
    pub(super) fn on_own<R>(&self, id: ZoneId, job: impl FnOnce(&Pageset) -> R) -> Option<R> {
        let (cpu, _pinned) = self.platform.pin_cpu();
        let pageset = self.stats.pageset(cpu, id);
        let pageset = pageset.filter(|pageset| pageset.is_enabled() && pageset.is_mine())?;
        pageset.unsettle();
        let done = job(pageset);
        pageset.settle(0);
        Some(done)
    }

    fn decay_pageset(&self, id: ZoneId, zone: &Zone<P>, pageset: &Pageset) -> bool {
        let (mut surplus, more) = pageset.decay();
        let decays = more || surplus > 0;
        while surplus > 0 && pageset.count() > 0 {
            let now = surplus.min(pageset.batch().max(1));
            self.free_pcppages_bulk(zone, id, pageset, now, 0);
            surplus -= now;
        }
        decays
    }
}
