// SPDX-License-Identifier: GPL-2.0

//! Background reclaim of one node (`kswapd`): it wakes when a request finds no
//! zone above its low watermark, and works until one is above the high one.
//!
//! ```text
//!          +--> try to sleep --- balanced? ---> nap, 100 ms
//!          |         | no                         | not woken, still balanced
//!          |         v                            v
//!          +---- balance_pgdat <--- woken --- sleep until woken
//! ```
//!
//! The thread is the surroundings': it calls [`Kswapd::step`] and rests as it is
//! told. What others ask of it is kept with the node, in [`Daemons`]. When a node
//! could not be balanced [`MAX_RECLAIM_RETRIES`] times it is hopeless, and left
//! to direct reclaim until that finds something.

use super::daemons::order_of;
use super::daemons::zone_of;
use super::daemons::Daemons;
use super::daemons::NO_ZONE;
use super::ScanControl;
use super::DEF_PRIORITY;
use super::SWAP_CLUSTER_MAX;
use crate::buddy::compaction::compact_gap;
use crate::buddy::gfp;
use crate::buddy::BuddySystem;
use crate::buddy::MemMap;
use crate::buddy::VmEvent;
use crate::buddy::ZoneTable;
use crate::page::ZoneType;
use crate::page::NR_ZONE_TYPES;
use crate::phys::NodeId;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::platform::Lock;
use crate::platform::Platform;
use crate::trace::tell;
use crate::trace::TraceEvent;
use crate::trace::TracePoint;
use crate::trace::Wakeup;
use crate::zone::Watermark;
use core::sync::atomic::fence;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::SeqCst;

/// How long kswapd naps before it sleeps, in milliseconds (`HZ / 10`).
const NAP_MS: u64 = 100;

/// How a thread rests until its next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Not at all.
    No,
    /// So many milliseconds, or until it is woken.
    Nap(u64),
    /// Until it is woken.
    UntilWoken,
}

/// What the thread does at its next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    TrySleep,
    Napped,
    Work,
}

/// One node's background reclaim, as its thread keeps it from step to step
/// (the locals of `kswapd()`).
#[derive(Debug)]
pub struct Kswapd {
    nid: NodeId,
    alloc_order: PageOrder,
    reclaim_order: PageOrder,
    highest: ZoneType,
    phase: Phase,
}

impl Kswapd {
    /// That of node `nid`.
    pub const fn new(nid: NodeId) -> Self {
        Self {
            nid,
            alloc_order: PageOrder::ZERO,
            reclaim_order: PageOrder::ZERO,
            highest: ZoneType::Movable,
            phase: Phase::TrySleep,
        }
    }

    /// What is to be done now, and how to rest after it; `woken` says whether
    /// the last rest ended because the thread was woken (a turn of the loops of
    /// `kswapd` and `kswapd_try_to_sleep`).
    pub fn step<P, M, Z>(&mut self, buddy: &BuddySystem<'_, P, M, Z>, woken: bool) -> Rest
    where
        P: Platform,
        M: MemMap,
        Z: ZoneTable<P>,
    {
        let Some(daemons) = buddy.zones.daemons(self.nid) else {
            return Rest::UntilWoken;
        };
        let (nid, order) = (self.nid, self.reclaim_order);
        match self.phase {
            Phase::TrySleep => {
                // Whoever asks from now on finds it waiting, and what memory whoever
                // has asked before is short of is seen below. A larger order than that
                // looked after stays for who asks next, as in Linux.
                daemons.kswapd_waits.store(true, Relaxed);
                fence(SeqCst);
                if buddy.may_kswapd_sleep(daemons, nid, order, self.highest) {
                    buddy.reset_isolation_suitable(nid);
                    buddy.wakeup_kcompactd(nid, self.alloc_order, self.highest);
                    self.phase = Phase::Napped;
                    return Rest::Nap(NAP_MS);
                }
                buddy.count_event(VmEvent::KswapdHighWmarkHitQuickly, 1);
            }
            Phase::Napped if woken => {
                // Not over one that was asked for meanwhile.
                let (word, own) = (&daemons.kswapd_highest, self.highest as u8);
                let _ = word.compare_exchange(NO_ZONE, own, Relaxed, Relaxed);
                daemons.kswapd_order.fetch_max(order.get(), Relaxed);
                buddy.count_event(VmEvent::KswapdLowWmarkHitQuickly, 1);
            }
            Phase::Napped => {
                if buddy.may_kswapd_sleep(daemons, nid, order, self.highest) {
                    tell(buddy.platform, TracePoint::VmscanKswapdSleep, || {
                        TraceEvent::VmscanKswapdSleep { nid }
                    });
                    self.phase = Phase::Work;
                    return Rest::UntilWoken;
                }
                buddy.count_event(VmEvent::KswapdHighWmarkHitQuickly, 1);
            }
            Phase::Work => {}
        }
        self.work(buddy, daemons);
        Rest::No
    }

    /// Up to which kind of zone memory is asked for (`kswapd_highest_zoneidx`).
    fn requested(&self, daemons: &Daemons) -> ZoneType {
        zone_of(daemons.kswapd_highest.load(Relaxed)).unwrap_or(self.highest)
    }

    fn work<P, M, Z>(&mut self, buddy: &BuddySystem<'_, P, M, Z>, daemons: &Daemons)
    where
        P: Platform,
        M: MemMap,
        Z: ZoneTable<P>,
    {
        let nid = self.nid;
        daemons.kswapd_waits.store(false, SeqCst);
        // The order first: the zone that came with it was noted before.
        self.alloc_order = order_of(daemons.kswapd_order.swap(0, Acquire));
        let highest = zone_of(daemons.kswapd_highest.swap(NO_ZONE, Relaxed));
        self.highest = highest.unwrap_or(self.highest);
        tell(buddy.platform, TracePoint::VmscanKswapdWake, || {
            TraceEvent::VmscanKswapdWake(Wakeup {
                nid,
                order: Some(self.alloc_order),
                highest: self.highest,
            })
        });
        daemons.kswapd_works.store(true, Relaxed);
        self.reclaim_order = buddy.balance_pgdat(nid, self.alloc_order, self.highest);
        daemons.kswapd_works.store(false, Relaxed);
        if self.reclaim_order >= self.alloc_order {
            self.alloc_order = order_of(daemons.kswapd_order.load(Acquire));
            self.reclaim_order = self.alloc_order;
            self.highest = self.requested(daemons);
        }
        self.phase = Phase::TrySleep;
    }
}

impl<P, M, Z> BuddySystem<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// `prepare_kswapd_sleep()`
    fn may_kswapd_sleep(
        &self,
        daemons: &Daemons,
        nid: NodeId,
        order: PageOrder,
        highest: ZoneType,
    ) -> bool {
        daemons.is_hopeless() || self.pgdat_balanced(nid, order, highest)
    }

    /// Reclaims until a zone of the node up to `highest` is above its high
    /// watermark, or nothing more can be had (`balance_pgdat`). Returns the order
    /// that it has looked after in the end: 0 where the rest of a larger one is
    /// compaction's.
    pub fn balance_pgdat(&self, nid: NodeId, order: PageOrder, highest: ZoneType) -> PageOrder {
        tell(self.platform, TracePoint::VmscanBalancePgdatBegin, || {
            TraceEvent::VmscanBalancePgdatBegin(Wakeup {
                nid,
                order: Some(order),
                highest,
            })
        });
        self.count_event(VmEvent::Pageoutrun, 1);
        let mut boosts = [Pages::ZERO; NR_ZONE_TYPES];
        for (id, zone) in self.managed_zones(nid, highest) {
            if let Some(boost) = boosts.get_mut(id.kind().index()) {
                *boost = zone.boost();
            }
        }
        // The boosts stay, so that others near the mark wait for this.
        let mut boost: Pages = boosts.iter().copied().sum();
        let boosted = !boost.is_zero();
        let mut sc = ScanControl::new(gfp::GFP_KERNEL, order, highest);
        sc.is_kswapd = true;
        self.update_reclaim_active(nid, highest, true);
        let mut balanced = false;
        while sc.priority >= 1 {
            let before = sc.nr_reclaimed;
            balanced = self.pgdat_balanced(nid, sc.order, highest);
            if !balanced && !boost.is_zero() {
                // There is more to do than to make up for fallbacks.
                boost = Pages::ZERO;
                sc.priority = DEF_PRIORITY;
                continue;
            }
            if boost.is_zero() && balanced {
                break;
            }
            let mut raise = boost.is_zero() || sc.priority != DEF_PRIORITY - 2;
            sc.may_writepage = boost.is_zero();
            if self.kswapd_shrink_node(nid, &mut sc) {
                raise = false;
            }
            if self.platform.fatal_signal_pending() {
                break;
            }
            let reclaimed = sc.nr_reclaimed - before;
            boost -= reclaimed;
            if !boost.is_zero() && reclaimed.is_zero() {
                break;
            }
            if raise || reclaimed.is_zero() {
                sc.priority -= 1;
            }
        }
        if !balanced && sc.nr_reclaimed.is_zero() && !boosted {
            if let Some(daemons) = self.zones.daemons(nid) {
                daemons.note_failure();
            }
        }
        self.update_reclaim_active(nid, highest, false);
        if boosted {
            self.end_boosts(nid, highest, &boosts);
            self.wakeup_kcompactd(nid, PageOrder::PAGEBLOCK, highest);
        }
        tell(self.platform, TracePoint::VmscanBalancePgdatEnd, || {
            TraceEvent::VmscanBalancePgdatEnd {
                wakeup: Wakeup {
                    nid,
                    order: Some(sc.order),
                    highest,
                },
                reclaimed: sc.nr_reclaimed,
            }
        });
        sc.order
    }

    /// Notes whether reclaim is at work on the node's zones
    /// (`update_reclaim_active`).
    fn update_reclaim_active(&self, nid: NodeId, highest: ZoneType, active: bool) {
        for (id, zone) in self.managed_zones(nid, highest) {
            self.set_reclaim_active(zone, id, active);
        }
    }

    /// Takes back what the watermarks were boosted by when the reclaim began.
    fn end_boosts(&self, nid: NodeId, highest: ZoneType, boosts: &[Pages; NR_ZONE_TYPES]) {
        for (id, zone) in self.managed_zones(nid, highest) {
            let boost = boosts.get(id.kind().index()).copied().unwrap_or_default();
            if !boost.is_zero() {
                let mut areas = zone.free.lock();
                let _locked = self.locked(zone, id, &mut areas);
                zone.lower_boost(boost);
            }
        }
    }

    /// One round (`kswapd_shrink_node`); whether so much was looked at, or came
    /// back, that looking harder makes no sense.
    fn kswapd_shrink_node(&self, nid: NodeId, sc: &mut ScanControl) -> bool {
        let before = sc.nr_reclaimed;
        let zones = self.managed_zones(nid, sc.highest);
        sc.nr_to_reclaim = zones
            .map(|(_, zone)| zone.wmark(Watermark::High).max(SWAP_CLUSTER_MAX))
            .sum();
        sc.nr_scanned = 0;
        self.shrink_node(nid, sc);
        if sc.order > PageOrder::ZERO && sc.nr_reclaimed >= compact_gap(sc.order) {
            sc.order = PageOrder::ZERO;
        }
        Pages(sc.nr_scanned).max(sc.nr_reclaimed - before) >= sc.nr_to_reclaim
    }
}
