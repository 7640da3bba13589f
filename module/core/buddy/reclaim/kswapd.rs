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

use super::ScanControl;
use super::DEF_PRIORITY;
use super::MAX_RECLAIM_RETRIES;
use super::SWAP_CLUSTER_MAX;
use crate::buddy::alloc::AllocContext;
use crate::buddy::compaction::compact_gap;
use crate::buddy::gfp;
use crate::buddy::watermark_ok::zone_watermark_ok;
use crate::buddy::watermark_ok::AllocFlags;
use crate::buddy::BuddySystem;
use crate::buddy::Gfp;
use crate::buddy::MemMap;
use crate::buddy::VmEvent;
use crate::buddy::ZoneTable;
use crate::nodemask::NodeMask;
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
use crate::zone::Zone;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU8;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::SeqCst;

/// How long kswapd naps before it sleeps, in milliseconds (`HZ / 10`).
const NAP_MS: u64 = 100;
/// No kind of zone (`MAX_NR_ZONES`).
const NO_ZONE: u8 = NR_ZONE_TYPES as u8;

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

/// What a node's threads are asked to do, by whoever finds memory short (what
/// `pg_data_t` has for `kswapd` and `kcompactd`).
#[derive(Debug)]
pub struct Daemons {
    kswapd_order: AtomicU8,
    kswapd_highest: AtomicU8,
    kswapd_failures: AtomicU32,
    kswapd_waits: AtomicBool,
    kswapd_works: AtomicBool,
    pub(in crate::buddy) kcompactd_max_order: AtomicU8,
    pub(in crate::buddy) kcompactd_highest: AtomicU8,
    pub(in crate::buddy) kcompactd_waits: AtomicBool,
    pub(in crate::buddy) proactive_compact_trigger: AtomicBool,
}

impl Daemons {
    /// Nobody asks for anything.
    pub const fn new() -> Self {
        Self {
            kswapd_order: AtomicU8::new(0),
            kswapd_highest: AtomicU8::new(NO_ZONE),
            kswapd_failures: AtomicU32::new(0),
            kswapd_waits: AtomicBool::new(false),
            kswapd_works: AtomicBool::new(false),
            kcompactd_max_order: AtomicU8::new(0),
            kcompactd_highest: AtomicU8::new(ZoneType::Movable as u8),
            kcompactd_waits: AtomicBool::new(false),
            proactive_compact_trigger: AtomicBool::new(false),
        }
    }

    /// How often in a row the node could not be balanced (`kswapd_failures`).
    pub fn kswapd_failures(&self) -> u32 {
        self.kswapd_failures.load(Relaxed)
    }

    /// Whether background reclaim is at work at the moment (`kswapd_is_running`).
    pub(in crate::buddy) fn kswapd_is_running(&self) -> bool {
        self.kswapd_works.load(Relaxed)
    }

    /// Whether the node is left to direct reclaim (`kswapd_test_hopeless`).
    pub fn is_hopeless(&self) -> bool {
        self.kswapd_failures() >= MAX_RECLAIM_RETRIES
    }
}

impl Default for Daemons {
    fn default() -> Self {
        Self::new()
    }
}

/// An order as an atomic keeps it.
pub(in crate::buddy) fn order_of(raw: u8) -> PageOrder {
    PageOrder::new(raw.into()).unwrap_or(PageOrder::ZERO)
}

/// A kind of zone as an atomic keeps it.
pub(in crate::buddy) fn zone_of(raw: u8) -> Option<ZoneType> {
    ZoneType::ALL.get(usize::from(raw)).copied()
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
                // Whoever asks from now on finds it waiting, and whoever has
                // asked before is heard below.
                daemons.kswapd_waits.store(true, SeqCst);
                if buddy.may_kswapd_sleep(daemons, nid, order, self.highest) {
                    buddy.reset_isolation_suitable(nid);
                    buddy.wakeup_kcompactd(nid, self.alloc_order, self.highest);
                    self.phase = Phase::Napped;
                    return Rest::Nap(NAP_MS);
                }
                buddy.count_event(VmEvent::KswapdHighWmarkHitQuickly, 1);
            }
            Phase::Napped if woken => {
                let highest = self.requested(daemons);
                daemons.kswapd_highest.store(highest as u8, Relaxed);
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
        self.highest = self.requested(daemons);
        self.alloc_order = order_of(daemons.kswapd_order.swap(0, Relaxed));
        daemons.kswapd_highest.store(NO_ZONE, Relaxed);
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
            self.alloc_order = order_of(daemons.kswapd_order.load(Relaxed));
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
    /// Whether a zone of the node is above its high watermark, and could give
    /// out a block of `order` (`pgdat_balanced`).
    pub fn pgdat_balanced(&self, nid: NodeId, order: PageOrder, highest: ZoneType) -> bool {
        let mut zones = self.managed_zones(nid, highest).peekable();
        zones.peek().is_none()
            || zones.any(|(_, zone)| {
                let mark = zone.wmark(Watermark::High);
                let reserve = zone.lowmem_reserve(highest);
                let flags = AllocFlags::WMARK_MIN;
                zone_watermark_ok(&zone.free_counts, order, mark, reserve, flags)
            })
    }

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

    /// Asks the zone's node for background reclaim (`wakeup_kswapd`). Where
    /// nobody does it, what it ends with is done at once: the boost of the
    /// watermarks is taken back.
    #[cold]
    pub(in crate::buddy) fn wakeup_kswapd(
        &self,
        zone: &Zone<P>,
        gfp: Gfp,
        order: PageOrder,
        highest: ZoneType,
    ) {
        let nid = zone.nid;
        let Some(daemons) = self.zones.daemons(nid) else {
            return zone.end_boost();
        };
        if zone.managed().is_zero() {
            return;
        }
        let current = daemons.kswapd_highest.load(Relaxed);
        if current == NO_ZONE || current < highest as u8 {
            daemons.kswapd_highest.store(highest as u8, Relaxed);
        }
        daemons.kswapd_order.fetch_max(order.get(), Relaxed);
        if !daemons.kswapd_waits.load(SeqCst) {
            // Busy, and it will see; or not there.
            if !self.platform.has_kswapd(nid) {
                zone.end_boost();
            }
            return;
        }
        let boosted = || {
            let mut zones = self.managed_zones(nid, highest);
            zones.any(|(_, zone)| !zone.boost().is_zero())
        };
        if daemons.is_hopeless() || (self.pgdat_balanced(nid, order, highest) && !boosted()) {
            if !gfp.has(gfp::__GFP_DIRECT_RECLAIM) {
                self.wakeup_kcompactd(nid, order, highest);
            }
            return;
        }
        tell(self.platform, TracePoint::VmscanWakeupKswapd, || {
            TraceEvent::VmscanWakeupKswapd {
                wakeup: Wakeup {
                    nid,
                    order: Some(order),
                    highest,
                },
                gfp,
            }
        });
        self.platform.wake_kswapd(nid);
    }

    /// Asks each node of a request for background reclaim once
    /// (`wake_all_kswapds`).
    pub(in crate::buddy) fn wake_all_kswapds(
        &self,
        context: &AllocContext<'_, P>,
        gfp: Gfp,
        nodes: Option<NodeMask>,
    ) {
        let mut last = NodeId::NONE;
        for zref in context.zonelist.iter(context.highest) {
            let allowed = nodes.is_none_or(|nodes| nodes.contains(zref.nid()));
            if allowed && !zref.zone.managed().is_zero() && zref.nid() != last {
                last = zref.nid();
                self.wakeup_kswapd(zref.zone, gfp, context.order, context.highest);
            }
        }
    }

    /// Reclaim has found something: a hopeless node that is balanced by it gets
    /// its background reclaim back (`kswapd_try_clear_hopeless`).
    pub(super) fn try_clear_hopeless(&self, nid: NodeId, order: PageOrder, highest: ZoneType) {
        let Some(daemons) = self.zones.daemons(nid) else {
            return;
        };
        if !self.pgdat_balanced(nid, order, highest) {
            return;
        }
        daemons.kswapd_failures.store(0, Relaxed);
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
            self.note_failure(nid);
        }
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

    fn note_failure(&self, nid: NodeId) {
        let Some(daemons) = self.zones.daemons(nid) else {
            return;
        };
        let failures = daemons.kswapd_failures.load(Relaxed).saturating_add(1);
        daemons.kswapd_failures.store(failures, Relaxed);
    }

    /// Takes back what the watermarks were boosted by when the reclaim began.
    fn end_boosts(&self, nid: NodeId, highest: ZoneType, boosts: &[Pages; NR_ZONE_TYPES]) {
        for (id, zone) in self.managed_zones(nid, highest) {
            let boost = boosts.get(id.kind().index()).copied().unwrap_or_default();
            if !boost.is_zero() {
                let _areas = zone.free.lock();
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
