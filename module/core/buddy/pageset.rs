// SPDX-License-Identifier: GPL-2.0

//! A CPU's pageset: free pages of one zone that this CPU keeps at hand
//! (`struct per_cpu_pages`), and how many it keeps.
//!
//! ```text
//! lists by order and migrate type            the hot page is at the head
//!   order 0   Unmovable Movable Reclaimable    head -> page -> page -> tail
//!   ...                                         ^ given out, taken back   ^
//!   order 3   Unmovable Movable Reclaimable                given to the zone
//!   order 9   the rest, Movable
//! ```
//!
//! `high` is how many pages may be here. It grows from `high_min` to `high_max`
//! while the CPU takes or frees many pages in a row, and falls when the zone is
//! short.
//!
//! # Who may touch it
//!
//! The CPU itself, held there by the pin, without a lock, a fence or even a note
//! that it is there. Whoever drains it from elsewhere claims it, and waits until
//! every CPU has left the pinned section that it was in:
//!
//! ```text
//! the CPU, pinned                       a claimer, not pinned
//!   claimed? -> go elsewhere              gate |= CLAIMED
//!   ... the lists ...                     Platform::synchronize()
//!                                         ... the lists ...
//!                                         gate &= !CLAIMED (release)
//! ```
//!
//! A section that began before the claim has ended when `synchronize` returns;
//! one that begins later sees the claim. So never both go on. The CPU never
//! waits: with its pageset claimed it goes to the zone, as Linux does when
//! `pcp_spin_trylock()` fails. A CPU that is gone is in no section. One claimer
//! is at work at a time (`Statistics::begin_claims`). A zone's lock may be taken
//! inside, never the other way round.
//!
//! # The gate
//!
//! A word that says in one comparison whether a single page may be given out or
//! taken back without any further check: it is what the third word of such a
//! page's descriptor is, and some bits more where something forbids it.
//!
//! All fields are atomics, read and written relaxed by whoever has the pageset;
//! reports read them at any time.

mod state;

pub use state::PagesetState;

use super::magazine::Magazines;
use super::magazine::ROOM;
use super::migratetype::MigrateType;
use super::migratetype::MIGRATE_PCPTYPES;
use super::MemMap;
use crate::page::PageDescriptor;
use crate::page::PageLink;
use crate::page::PageState;
use crate::page::ZoneId;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PAGEBLOCK_ORDER;
use crate::tunables::MIN_PERCPU_PAGELIST_HIGH_FRACTION;
use crate::zone::Pressure;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicI32;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::AcqRel;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::Release;

/// The largest order of the small lists (`PAGE_ALLOC_COSTLY_ORDER`).
const COSTLY_ORDER: u8 = 3;
/// How many lists the orders up to that have (`NR_LOWORDER_PCP_LISTS`).
const NR_LOWORDER_LISTS: usize = MIGRATE_PCPTYPES * (COSTLY_ORDER as usize + 1);
/// How many lists there are (`NR_PCP_LISTS`).
pub const NR_PCP_LISTS: usize = NR_LOWORDER_LISTS + 2;
/// How far batches are scaled up (`CONFIG_PCP_BATCH_SCALE_MAX`).
const BATCH_SCALE_MAX: i32 = 5;
/// A remote zone's pages expire after so many looks without traffic.
const IDLE_LOOKS: i32 = 3;

/// The last block freed was of a higher order (`PCPF_PREV_FREE_HIGH_ORDER`).
const PREV_FREE_HIGH_ORDER: u32 = 1 << 0;
/// The CPU's share of the cache holds three batches, so one of them stays when
/// many blocks of higher orders come back (`PCPF_FREE_HIGH_BATCH`). That is so
/// on all but very old machines, and taken to be so where nobody says otherwise.
const FREE_HIGH_BATCH: u32 = 1 << 1;

/// Whether blocks of this order are kept by CPUs (`pcp_allowed_order`).
#[inline]
pub(crate) const fn is_allowed(order: PageOrder) -> bool {
    order.get() <= COSTLY_ORDER || order.get() == PAGEBLOCK_ORDER
}

/// The list for blocks of an allowed order (`order_to_pindex`).
#[inline]
pub(super) const fn index_of(order: PageOrder, mt: MigrateType) -> usize {
    if order.get() > COSTLY_ORDER {
        return NR_LOWORDER_LISTS + matches!(mt, MigrateType::Movable) as usize;
    }
    MIGRATE_PCPTYPES * order.index() + mt.index()
}

/// The order of a list's blocks (`pindex_to_order`).
#[inline]
pub(super) fn order_of(index: usize) -> PageOrder {
    if index >= NR_LOWORDER_LISTS {
        return PageOrder::PAGEBLOCK;
    }
    PageOrder::new((index / MIGRATE_PCPTYPES) as u32).unwrap_or(PageOrder::ZERO)
}

/// How many pages move at once, and between what bounds `high` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PagesetLimits {
    /// The batch.
    pub batch: u32,
    /// The least `high`.
    pub high_min: u32,
    /// The most.
    pub high_max: u32,
}

impl PagesetLimits {
    /// Those of a zone with `managed` pages and a low watermark of `low`, whose
    /// node has `cpus` CPUs that are up; where `high_fraction` is not 0, all of them
    /// keep that fraction of the zone at most (`zone_batchsize`, `zone_highsize`,
    /// `zone_set_pageset_high_and_batch`).
    pub fn of(managed: Pages, low: Pages, cpus: u64, high_fraction: u32) -> Self {
        let batch = (managed.0 >> 12).min((256 << 10) / 4096);
        let batch = match batch {
            0 | 1 => 1,
            _ => (1u64 << (batch + batch / 2).ilog2()) - 1,
        };
        let high = |pages: u64| {
            let high = pages.checked_div(cpus).unwrap_or(pages).max(batch << 2);
            high.min(i32::MAX as u64) as u32
        };
        let most = |fraction: u32| high(managed.0 / u64::from(fraction));
        let (high_min, high_max) = match high_fraction {
            0 => (high(low.0), most(MIN_PERCPU_PAGELIST_HIGH_FRACTION)),
            fraction => (most(fraction), most(fraction)),
        };
        Self {
            batch: batch as u32,
            high_min,
            high_max,
        }
    }
}

/// A list of a pageset's blocks.
#[repr(C)]
struct PcpList {
    head: AtomicU32,
    tail: AtomicU32,
}

/// The end of a list, as a link keeps it.
const NIL: u32 = u32::MAX;

/// Somebody else has claimed the pageset.
const CLAIMED: u32 = 1 << 15;
/// The zone has so few free pages that every check is needed.
const TIGHT: u32 = 1 << 14;
/// The zone was below its high watermark.
const BELOW_HIGH: u32 = 1 << 13;
/// Somebody wants to be told of every page.
const TOLD: u32 = 1 << 11;
/// kswapd is at work on the zone.
const RECLAIM_ACTIVE: u32 = 1 << 10;
/// No pages are kept here.
const DISABLED: u32 = 1 << 12;
/// How many pages are put into an empty magazine: not as many as it has room
/// for, so that what comes back has a place.
const FILL: u32 = ROOM * 3 / 4;
/// How many pages a full magazine gives to its list: most, because where many come
/// back, many follow.
const SPILL: u32 = ROOM * 3 / 4;
/// How many pages all magazines have room for.
const ALL_ROOM: i32 = MIGRATE_PCPTYPES as i32 * ROOM as i32;
/// Any of them. No page has these bits together with `Allocated`.
const CLOSED: u32 = 0xffff;

/// Whether such a word of a gate forbids anything.
#[inline(always)]
pub(super) const fn is_closed(gate: u32) -> bool {
    gate & CLOSED != 0
}

/// The pages of one zone on one CPU. See the file's head for who may touch it.
#[repr(C)]
pub struct Pageset {
    gate: AtomicU32,
    free_count: AtomicI32,
    /// Single pages that were given out of the magazines.
    allocs: AtomicU64,
    magazines: Magazines,
    /// Single pages that came back to them, up to when it was last settled; how
    /// many had been given out then, and how many were in them.
    frees: AtomicU64,
    allocs_settled: AtomicU64,
    total_settled: AtomicU32,
    /// What `free_count` was when it was full; -1 when it is not.
    full_at: AtomicI32,
    /// Pages on the lists, those in the magazines left out.
    listed: AtomicI32,
    high: AtomicI32,
    high_min: AtomicI32,
    high_max: AtomicI32,
    batch: AtomicI32,
    alloc_factor: AtomicI32,
    flags: AtomicU32,
    lists: [PcpList; NR_PCP_LISTS],
    /// After so many more looks without traffic some pages go back; 0 is never.
    expire: AtomicI32,
    /// Pages have come from the zone or gone to it since the last look.
    traffic: AtomicBool,
}

impl Pageset {
    /// One that keeps nothing (`boot_pageset`).
    pub(super) const fn new() -> Self {
        Self {
            gate: AtomicU32::new(DISABLED),
            free_count: AtomicI32::new(0),
            allocs: AtomicU64::new(0),
            magazines: Magazines::new(),
            frees: AtomicU64::new(0),
            allocs_settled: AtomicU64::new(0),
            total_settled: AtomicU32::new(0),
            full_at: AtomicI32::new(-1),
            listed: AtomicI32::new(0),
            high: AtomicI32::new(0),
            high_min: AtomicI32::new(0),
            high_max: AtomicI32::new(0),
            batch: AtomicI32::new(1),
            alloc_factor: AtomicI32::new(0),
            flags: AtomicU32::new(FREE_HIGH_BATCH),
            lists: [const {
                PcpList {
                    head: AtomicU32::new(NIL),
                    tail: AtomicU32::new(NIL),
                }
            }; NR_PCP_LISTS],
            expire: AtomicI32::new(0),
            traffic: AtomicBool::new(false),
        }
    }

    /// Says whose pages come here. The gate opens when there are limits, too.
    pub(super) fn set_zone(&self, zone: ZoneId) {
        let open = PageDescriptor::plain_bits(zone);
        // Others may close it just now.
        let with = |gate: u32| Some(open | gate & CLOSED);
        let _ = self.gate.fetch_update(AcqRel, Relaxed, with);
    }

    /// What the third word of a single page's descriptor must be, for it to be
    /// taken back without a check.
    #[inline]
    pub(super) fn gate(&self) -> u32 {
        self.gate.load(Acquire)
    }

    /// Whether a single page may be given out without a check.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.gate.load(Acquire) & CLOSED == 0
    }

    /// Closes the gate for a zone that is short, or ends that. For the holder
    /// of the zone's lock.
    pub(super) fn set_tight(&self, tight: bool) {
        self.set_gate(TIGHT, tight);
    }

    /// Closes the gate for a zone that is below its high watermark, or ends
    /// that. For the holder of the zone's lock.
    pub(super) fn set_below_high(&self, below: bool) {
        self.set_gate(BELOW_HIGH, below);
    }

    /// Closes the gate for a zone that kswapd is at work on, or ends that. For the
    /// holder of the zone's lock.
    pub(super) fn set_reclaim_active(&self, active: bool) {
        self.set_gate(RECLAIM_ACTIVE, active);
    }

    /// Closes the gate for somebody who wants to be told of every page, or ends
    /// that.
    pub(super) fn set_told(&self, told: bool) {
        self.set_gate(TOLD, told);
    }

    fn set_gate(&self, flag: u32, closed: bool) {
        // Who finds what another has written knows what that one knew.
        match closed {
            true => self.gate.fetch_or(flag, AcqRel),
            false => self.gate.fetch_and(!flag, AcqRel),
        };
    }

    /// The magazines.
    #[inline]
    pub(super) fn magazines(&self) -> &Magazines {
        &self.magazines
    }

    /// A single page was given out of a magazine.
    #[inline]
    pub(super) fn note_hot_alloc(&self) {
        let free_count = self.free_count.load(Relaxed);
        self.free_count.store(free_count >> 1, Relaxed);
        bump(&self.allocs);
    }

    /// A single page came back to a magazine.
    #[inline]
    pub(super) fn note_hot_free(&self) {
        let free_count = self.free_count.load(Relaxed);
        self.free_count.store(free_count.wrapping_add(1), Relaxed);
    }

    /// So many single pages were given out of a magazine.
    #[inline]
    pub(super) fn note_hot_allocs(&self, pages: u32) {
        let free_count = self.free_count.load(Relaxed);
        self.free_count.store(free_count >> pages.min(31), Relaxed);
        let allocs = self.allocs.load(Relaxed);
        self.allocs
            .store(allocs.wrapping_add(pages.into()), Relaxed);
    }

    /// So many single pages came back to magazines.
    #[inline]
    pub(super) fn note_hot_frees(&self, pages: u32) {
        let free_count = self.free_count.load(Relaxed);
        self.free_count
            .store(free_count.wrapping_add(pages as i32), Relaxed);
    }

    /// How many single pages were given out of the magazines.
    pub(super) fn hot_allocs(&self) -> u64 {
        self.allocs.load(Relaxed)
    }

    /// How many came back to them.
    pub(super) fn hot_frees(&self) -> u64 {
        self.frees.load(Relaxed).wrapping_add(self.new_frees())
    }

    /// How many came back since it was last settled: as many as were given out,
    /// and those that the magazines have more.
    #[inline]
    fn new_frees(&self) -> u64 {
        let allocs = self.allocs.load(Relaxed);
        let new = allocs.wrapping_sub(self.allocs_settled.load(Relaxed));
        let total = self.magazines.total();
        let more = total.wrapping_sub(self.total_settled.load(Relaxed)) as i32;
        new.wrapping_add(i64::from(more) as u64)
    }

    /// Whether pages are kept here at all: not before the pagesets are set up.
    #[inline]
    pub(super) fn is_enabled(&self) -> bool {
        self.high_max.load(Relaxed) != 0
    }

    /// Whether the pageset is the caller's, who is pinned to its CPU, until the
    /// pin ends; not while somebody else has claimed it.
    #[inline]
    pub(super) fn is_mine(&self) -> bool {
        self.gate.load(Acquire) & CLAIMED == 0
    }

    /// Claims the pageset of any CPU: it is the caller's after the next
    /// [`Platform::synchronize`](crate::platform::Platform::synchronize).
    pub(super) fn claim(&self) {
        self.gate.fetch_or(CLAIMED, Relaxed);
    }

    /// Ends a claim.
    pub(super) fn release(&self) {
        self.gate.fetch_and(!CLAIMED, Release);
    }

    /// Pages on the lists.
    #[inline]
    pub fn count(&self) -> u32 {
        self.total().max(0) as u32
    }

    #[inline]
    fn total(&self) -> i32 {
        let hot = self.magazines.total() as i32;
        self.listed.load(Relaxed).wrapping_add(hot)
    }

    /// Above so many pages, some go back to the zone.
    pub fn high(&self) -> u32 {
        self.high.load(Relaxed).max(0) as u32
    }

    /// The batch, and the bounds of `high`.
    pub fn limits(&self) -> PagesetLimits {
        PagesetLimits {
            batch: self.batch.load(Relaxed) as u32,
            high_min: self.high_min.load(Relaxed) as u32,
            high_max: self.high_max.load(Relaxed) as u32,
        }
    }

    /// Sets these (`pageset_update`).
    pub(super) fn set_limits(&self, limits: PagesetLimits) {
        self.batch.store(limits.batch as i32, Relaxed);
        self.high_min.store(limits.high_min as i32, Relaxed);
        self.high_max.store(limits.high_max as i32, Relaxed);
        self.set_gate(DISABLED, limits.high_max == 0);
        self.settle(0);
    }

    /// Works out what the single pages that came back since the last time have
    /// changed. Before anything is done that is not for the magazines alone.
    #[inline]
    pub(super) fn unsettle(&self) {
        let full_at = self.full_at.load(Relaxed);
        if full_at >= 0 {
            self.free_count.store(full_at, Relaxed);
        }
        let new = self.new_frees();
        // Also where none came back: what was given out is known from here on.
        self.allocs_settled
            .store(self.allocs.load(Relaxed), Relaxed);
        self.total_settled.store(self.magazines.total(), Relaxed);
        if new != 0 {
            let frees = self.frees.load(Relaxed);
            self.frees.store(frees.wrapping_add(new), Relaxed);
            let factor = self.alloc_factor.load(Relaxed) >> new.min(31);
            self.alloc_factor.store(factor, Relaxed);
            let flags = self.flags.load(Relaxed) & !PREV_FREE_HIGH_ORDER;
            self.flags.store(flags, Relaxed);
        }
    }

    /// Sets the magazines' limits anew, in favour of that of type `mt` where not
    /// all can have room. After anything that is not for the magazines alone.
    #[inline]
    pub(super) fn settle(&self, mt: usize) {
        let hot = self.magazines.total();
        self.total_settled.store(hot, Relaxed);
        self.allocs_settled
            .store(self.allocs.load(Relaxed), Relaxed);
        let was = self.high.load(Relaxed);
        let high = clamp(
            was,
            self.high_min.load(Relaxed),
            self.high_max.load(Relaxed),
        );
        let total = self.listed.load(Relaxed).wrapping_add(hot as i32);
        let mut more = high.wrapping_sub(1).wrapping_sub(total);
        if high != was {
            // The next page that comes back brings `high` within its bounds.
            more = more.min(0);
        }
        let full = self.batch.load(Relaxed) << BATCH_SCALE_MAX;
        let free_count = self.free_count.load(Relaxed);
        let is_full = free_count >= full;
        if is_full != (self.full_at.load(Relaxed) >= 0) || is_full {
            self.settle_full(is_full, free_count);
        }
        if !is_full {
            let mut left = full.wrapping_sub(free_count);
            if full < ALL_ROOM {
                left = left.wrapping_sub(hot as i32);
            }
            more = more.min(left);
        }
        if more >= ALL_ROOM {
            for mt in 0..MIGRATE_PCPTYPES {
                self.magazines.set_limit(mt, ROOM);
            }
        } else {
            for other in 0..MIGRATE_PCPTYPES {
                // Where there are too many already, some must go out before others
                // may come back.
                let more = if other == mt { more } else { more.min(0) };
                let limit = self.magazines.len(other).saturating_add_signed(more);
                self.magazines.set_limit(other, limit);
            }
        }
    }

    /// Whether `free_count` is full.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.full_at.load(Relaxed) >= 0
    }

    /// Notes that `free_count` is full, or no longer.
    #[cold]
    fn settle_full(&self, is_full: bool, free_count: i32) {
        let at = if is_full { free_count } else { -1 };
        self.full_at.store(at, Relaxed);
        self.magazines.set_closed(is_full);
    }

    /// An allocation: fewer pages will be freed at once (`rmqueue_pcplist`).
    #[inline]
    pub(super) fn note_alloc(&self) {
        let free_count = self.free_count.load(Relaxed);
        self.free_count.store(free_count >> 1, Relaxed);
    }

    /// A block of `order` has come back: fewer pages will be taken at once, and
    /// how many are to go to the zone, and whether they are higher orders that
    /// nobody asks for (the first half of `free_frozen_page_commit`). The block is
    /// on its list already.
    #[inline]
    pub(super) fn note_free(&self, order: PageOrder, pressure: Pressure) -> i32 {
        self.alloc_factor
            .store(self.alloc_factor.load(Relaxed) >> 1, Relaxed);
        let pages = 1i32 << (order.get() & 15);
        let batch = self.batch.load(Relaxed);
        let count = self.total();
        let free_count = self.free_count.load(Relaxed);
        let flags = self.flags.load(Relaxed);
        let mut free_high = false;
        if order > PageOrder::ZERO && order.get() <= COSTLY_ORDER {
            free_high = free_count >= batch.saturating_add(self.high_min.load(Relaxed) / 2)
                && flags & PREV_FREE_HIGH_ORDER != 0
                && (flags & FREE_HIGH_BATCH == 0 || count >= batch);
            self.flags.store(flags | PREV_FREE_HIGH_ORDER, Relaxed);
        } else if flags & PREV_FREE_HIGH_ORDER != 0 {
            self.flags.store(flags & !PREV_FREE_HIGH_ORDER, Relaxed);
        }
        if free_count < batch << BATCH_SCALE_MAX {
            // Linux keeps it in a short.
            let more = free_count.wrapping_add(pages) as i16;
            self.free_count.store(i32::from(more), Relaxed);
        }
        let high = self.nr_high(batch, free_high, pressure);
        if count < high {
            return 0;
        }
        self.nr_free(batch, high, free_high)
    }

    /// Up to how many pages may stay, and tunes that (`nr_pcp_high`).
    #[inline]
    fn nr_high(&self, batch: i32, free_high: bool, pressure: Pressure) -> i32 {
        let min = self.high_min.load(Relaxed);
        let max = self.high_max.load(Relaxed);
        let high = clamp(self.high.load(Relaxed), min, max);
        self.high.store(high, Relaxed);
        if high == 0 {
            return 0;
        }
        if free_high {
            self.high
                .store((high - (batch << BATCH_SCALE_MAX)).max(min), Relaxed);
            return 0;
        }
        let free_count = self.free_count.load(Relaxed);
        if pressure.is_reclaim_active() {
            let high = (high - free_count.max(batch)).max(min);
            self.high.store(high, Relaxed);
            return high.min(batch << 2);
        }
        if min == max {
            return high;
        }
        let count = self.total();
        if pressure.is_below_high() {
            self.high
                .store((high - free_count.max(batch)).max(min), Relaxed);
            return count.max(min);
        }
        if count >= high {
            let need = free_count.saturating_add(batch);
            if high < need {
                self.high.store(clamp(need, min, max), Relaxed);
            }
        }
        high
    }

    /// How many pages go when there are too many (`nr_pcp_free`).
    #[inline]
    fn nr_free(&self, batch: i32, high: i32, free_high: bool) -> i32 {
        if free_high {
            return self.total().min(batch << BATCH_SCALE_MAX);
        }
        if high < batch {
            return 1;
        }
        clamp(self.free_count.load(Relaxed), batch, high - batch)
    }

    /// How many blocks of `order` are taken from the zone at once, and tunes
    /// that (`nr_pcp_alloc`).
    pub(super) fn nr_alloc(&self, order: PageOrder, is_below_high: bool) -> i32 {
        let base = self.batch.load(Relaxed);
        let min = self.high_min.load(Relaxed);
        let max = self.high_max.load(Relaxed);
        let mut high = clamp(self.high.load(Relaxed), min, max);
        self.high.store(high, Relaxed);
        if high < base {
            return 1;
        }
        let factor = self.alloc_factor.load(Relaxed);
        let mut batch = match order {
            PageOrder::ZERO => base << factor.clamp(0, BATCH_SCALE_MAX),
            _ => base,
        };
        if min != max && !is_below_high {
            high = high.saturating_add(batch).min(max);
            self.high.store(high, Relaxed);
        }
        if order == PageOrder::ZERO {
            let most = (high - self.total() - base).max(base);
            if batch <= most && factor < BATCH_SCALE_MAX {
                self.alloc_factor.store(factor + 1, Relaxed);
            }
            batch = batch.min(most);
        }
        if batch > 1 {
            batch = (batch >> (order.get() & 15)).max(2);
        }
        batch
    }

    /// Lets `high` fall towards its least, and says how many pages are too many
    /// then and whether there is more to do (`decay_pcp_high`).
    pub(super) fn decay(&self) -> (i32, bool) {
        let min = self.high_min.load(Relaxed);
        let batch = self.batch.load(Relaxed);
        let count = self.total();
        let mut high = self.high.load(Relaxed);
        let mut more = false;
        if high > min {
            let capped = count - (batch << BATCH_SCALE_MAX);
            high = capped.max(high - (high >> 3)).max(min);
            self.high.store(high, Relaxed);
            more = high > min;
        }
        (count - high, more)
    }

    /// Whether [`Pageset::decay`] would change anything.
    pub(super) fn wants_refresh(&self) -> bool {
        let high = self.high.load(Relaxed);
        let idle = self.traffic.load(Relaxed) || self.expire.load(Relaxed) != 0;
        (idle && self.total() != 0) || high > self.high_min.load(Relaxed) || self.total() > high
    }

    /// Pages come from the zone, or go to it.
    #[inline]
    pub(super) fn note_traffic(&self) {
        self.traffic.store(true, Relaxed);
    }

    /// Whether there was traffic since this was last asked. If so, what is kept
    /// expires three looks after it (`refresh_cpu_vm_stats`).
    pub(super) fn take_traffic(&self) -> bool {
        let traffic = self.traffic.load(Relaxed);
        if traffic {
            self.traffic.store(false, Relaxed);
            self.expire.store(IDLE_LOOKS, Relaxed);
        }
        traffic
    }

    /// One look more at the pages of a zone, which is of the CPU's own node or
    /// not: whether some of them expire with it, and whether they will with a
    /// later one.
    pub(super) fn count_down(&self, local: bool) -> (bool, bool) {
        let left = self.expire.load(Relaxed);
        if left == 0 || self.total() == 0 {
            return (false, false);
        }
        let left = if local { 0 } else { left - 1 };
        self.expire.store(left, Relaxed);
        (!local && left == 0, left != 0)
    }

    /// How many pages a drain gives back under one hold of the zone's lock.
    #[inline]
    pub(super) fn drain_batch(&self) -> i32 {
        self.batch.load(Relaxed) << BATCH_SCALE_MAX
    }

    /// The batch.
    #[inline]
    pub(super) fn batch(&self) -> i32 {
        self.batch.load(Relaxed)
    }

    /// Whether there is nothing on a list.
    #[inline]
    pub(super) fn is_empty(&self, index: usize) -> bool {
        self.head(index).is_none() && (index >= MIGRATE_PCPTYPES || self.magazines.len(index) == 0)
    }

    /// The first block that is linked.
    #[inline]
    fn head(&self, index: usize) -> Option<Pfn> {
        link(self.list(index).head.load(Relaxed))
    }

    /// The last block that is linked.
    fn tail(&self, index: usize) -> Option<Pfn> {
        link(self.list(index).tail.load(Relaxed))
    }

    /// Whether the lists are in order and hold as many pages as are counted; if
    /// not, at which page and why not. The magazines are empty afterwards.
    pub(super) fn check(
        &self,
        map: &impl MemMap,
        zone: ZoneId,
    ) -> Result<(), (Option<Pfn>, &'static str)> {
        self.flush(map);
        let count = u64::from(self.count());
        let mut pages = 0;
        for index in 0..NR_PCP_LISTS {
            let order = order_of(index);
            let mut before = None;
            let mut next = self.head(index);
            while let Some(pfn) = next {
                let Some(page) = map.page(pfn) else {
                    return Err((next, "a page on a pageset has no descriptor"));
                };
                if page.zone_id() != zone || page.state_and_order() != (PageState::Pageset, order) {
                    return Err((next, "a page on a pageset tells another story"));
                }
                if before.is_some() && page.prev() != before {
                    return Err((next, "a page on a pageset does not link back"));
                }
                if page.count() != 1 {
                    return Err((next, "a page on a pageset has not the count for its owner"));
                }
                pages += order.pages().0;
                if pages > count {
                    return Err((next, "a pageset has more pages than it counts"));
                }
                before = next;
                next = page.next();
            }
            if self.tail(index) != before {
                return Err((before, "a pageset's list does not end at its tail"));
            }
        }
        match pages == count {
            true => Ok(()),
            false => Err((None, "a pageset has fewer pages than it counts")),
        }
    }

    #[inline]
    fn list(&self, index: usize) -> &PcpList {
        &self.lists[index.min(NR_PCP_LISTS - 1)]
    }

    #[inline]
    fn add_listed(&self, order: PageOrder, blocks: i32) {
        let pages = blocks << (order.get() & 15);
        let listed = self.listed.load(Relaxed).wrapping_add(pages);
        self.listed.store(listed, Relaxed);
    }

    /// Puts a block, which is `Pageset` already, before all others. Its count stays
    /// 1, as its next owner will find it.
    #[inline]
    pub(super) fn push_head(
        &self,
        index: usize,
        map: &impl MemMap,
        pfn: Pfn,
        page: &PageDescriptor,
    ) {
        if index >= MIGRATE_PCPTYPES {
            self.link_head(index, map, pfn, page);
            return;
        }
        if self.magazines.len(index) >= ROOM {
            self.spill(index, map, SPILL);
        }
        let len = self.magazines.len(index);
        self.magazines.put(index, len, pfn.0 as u32);
        self.magazines.push(index);
    }

    /// Takes the first block; its count is 1 and its state the caller's to set.
    #[inline]
    pub(super) fn pop_head<'a, M: MemMap>(
        &self,
        index: usize,
        map: &'a M,
    ) -> Option<(Pfn, &'a PageDescriptor)> {
        if index >= MIGRATE_PCPTYPES {
            return self.unlink_head(index, map);
        }
        if self.magazines.len(index) == 0 {
            self.reload(index, map);
        }
        let pfn = Pfn(self.magazines.top(index)?.into());
        let page = map.page(pfn)?;
        self.magazines.pop(index);
        Some((pfn, page))
    }

    /// Gives the lowest `pages` of a magazine to the head of its list: the lowest
    /// of them comes last there.
    #[cold]
    #[inline(never)]
    fn spill(&self, index: usize, map: &impl MemMap, pages: u32) {
        let len = self.magazines.len(index);
        let pages = pages.min(len);
        let mut lowest = self.magazines.lowest(index, pages).iter();
        let mut next = || lowest.next().map(|pfn| pfn.load(Relaxed));
        let Some(mut top) = next() else { return };
        let list = self.list(index);
        // A page of a pageset has a descriptor.
        let Some(mut below) = map.page(Pfn(top.into())) else {
            return;
        };
        let head = list.head.load(Relaxed);
        match link(head).and_then(|head| map.page(head)) {
            Some(head) => head.set_prev_link(PageLink::of(top)),
            None => list.tail.store(top, Relaxed),
        }
        below.set_next_link(PageLink::of(head));
        while let Some(this) = next() {
            let Some(page) = map.page(Pfn(this.into())) else {
                break;
            };
            page.set_next_link(PageLink::of(top));
            below.set_prev_link(PageLink::of(this));
            below = page;
            top = this;
        }
        below.set_prev_link(PageLink::NONE);
        list.head.store(top, Relaxed);
        self.add_listed(PageOrder::ZERO, pages as i32);
        self.magazines.lower(index, pages, len);
    }

    /// Fills an empty magazine from its list.
    #[cold]
    #[inline(never)]
    fn reload(&self, index: usize, map: &impl MemMap) {
        let list = self.list(index);
        let mut head = list.head.load(Relaxed);
        let mut at = FILL;
        while at > 0 {
            let Some(page) = link(head).and_then(|head| map.page(head)) else {
                break;
            };
            at = at.wrapping_sub(1);
            self.magazines.put(index, at, head);
            head = page.next_link().raw();
        }
        list.head.store(head, Relaxed);
        if head == NIL {
            list.tail.store(NIL, Relaxed);
        }
        self.add_listed(PageOrder::ZERO, at as i32 - FILL as i32);
        self.magazines.lower(index, at, FILL);
    }

    /// Empties the magazines into their lists.
    pub(super) fn flush(&self, map: &impl MemMap) {
        for index in 0..MIGRATE_PCPTYPES {
            self.spill(index, map, ROOM);
        }
    }

    #[inline]
    fn link_head(&self, index: usize, map: &impl MemMap, pfn: Pfn, page: &PageDescriptor) {
        let list = self.list(index);
        let head = link(list.head.load(Relaxed));
        page.set_prev_link(PageLink::NONE);
        page.set_next_link(head.into());
        match head.and_then(|head| map.page(head)) {
            Some(head) => head.set_prev_link(pfn.into()),
            None => list.tail.store(pfn.0 as u32, Relaxed),
        }
        list.head.store(pfn.0 as u32, Relaxed);
        self.add_listed(order_of(index), 1);
    }

    /// Puts a block, which is `Pageset` already and has a count of 1, behind all
    /// others.
    #[inline]
    pub(super) fn push_tail(
        &self,
        index: usize,
        map: &impl MemMap,
        pfn: Pfn,
        page: &PageDescriptor,
    ) {
        let list = self.list(index);
        let tail = link(list.tail.load(Relaxed));
        page.set_prev_link(tail.into());
        page.set_next_link(PageLink::NONE);
        match tail.and_then(|tail| map.page(tail)) {
            Some(tail) => tail.set_next_link(pfn.into()),
            None => list.head.store(pfn.0 as u32, Relaxed),
        }
        list.tail.store(pfn.0 as u32, Relaxed);
        self.add_listed(order_of(index), 1);
    }

    #[inline]
    fn unlink_head<'a, M: MemMap>(
        &self,
        index: usize,
        map: &'a M,
    ) -> Option<(Pfn, &'a PageDescriptor)> {
        let list = self.list(index);
        let pfn = link(list.head.load(Relaxed))?;
        let page = map.page(pfn)?;
        // Its own link back is not looked at while it is the first.
        let next = page.next_link().raw();
        list.head.store(next, Relaxed);
        if next == NIL {
            list.tail.store(NIL, Relaxed);
        }
        self.add_listed(order_of(index), -1);
        Some((pfn, page))
    }

    /// Fills an empty list with up to `blocks` blocks that `take` gives, in their
    /// order. They are `Pageset` already.
    #[inline]
    pub(super) fn fill<'a, M: MemMap>(
        &self,
        index: usize,
        blocks: i32,
        map: &'a M,
        mut take: impl FnMut() -> Option<(Pfn, &'a PageDescriptor)>,
    ) {
        let mut left = blocks.max(0) as u32;
        if index < MIGRATE_PCPTYPES {
            // The first is the head, so it goes to the top.
            let room = left.min(FILL);
            let mut at = room;
            while at > 0 {
                let Some((pfn, page)) = take() else {
                    left = 0;
                    break;
                };
                page.set_count(1);
                at = at.wrapping_sub(1);
                self.magazines.put(index, at, pfn.0 as u32);
            }
            self.magazines.lower(index, at, room);
            left = left.saturating_sub(room);
        }
        for _ in 0..left {
            let Some((pfn, page)) = take() else { break };
            page.set_count(1);
            self.push_tail(index, map, pfn, page);
        }
    }

    /// Fills an empty list with up to `pages` single pages, which `take` gives in
    /// runs of neighbours, in their order: it is told how many more there may be.
    #[inline]
    pub(super) fn fill_runs<'a, M: MemMap>(
        &self,
        index: usize,
        pages: i32,
        map: &'a M,
        zone: ZoneId,
        mut take: impl FnMut(u32) -> Option<(Pfn, &'a [PageDescriptor])>,
    ) {
        let mut left = pages.max(0) as u32;
        // The first is the head, so it goes to the top.
        let room = left.min(FILL);
        let mut at = room;
        while left > 0 {
            let Some((pfn, run)) = take(left) else { break };
            left = left.saturating_sub(run.len() as u32);
            let hot = run.len().min(at as usize);
            let (hot, cold) = run.split_at_checked(hot).unwrap_or((&[], run));
            let mut this = pfn.0 as u32;
            for page in hot {
                page.set_kept_in(zone);
                at = at.wrapping_sub(1);
                self.magazines.put(index, at, this);
                this = this.wrapping_add(1);
            }
            self.link_run_tail(index, map, zone, this, cold);
        }
        self.magazines.lower(index, at, room);
    }

    /// Puts neighbours, of which the first is `first`, behind all others.
    #[inline]
    fn link_run_tail(
        &self,
        index: usize,
        map: &impl MemMap,
        zone: ZoneId,
        first: u32,
        run: &[PageDescriptor],
    ) {
        let Some(end) = run.last() else { return };
        let list = self.list(index);
        let mut before = list.tail.load(Relaxed);
        match link(before).and_then(|tail| map.page(tail)) {
            Some(tail) => tail.set_next_link(PageLink::of(first)),
            None => list.head.store(first, Relaxed),
        }
        let mut this = first;
        for page in run {
            let next = this.wrapping_add(1);
            page.set_kept_in(zone);
            page.set_prev_link(PageLink::of(before));
            page.set_next_link(PageLink::of(next));
            before = this;
            this = next;
        }
        end.set_next_link(PageLink::NONE);
        list.tail.store(before, Relaxed);
        self.add_listed(PageOrder::ZERO, run.len() as i32);
    }

    /// Takes blocks off a list's end, the last one first, as long as there are
    /// some and not more than `most` pages are gone; how many pages those were.
    #[inline]
    pub(super) fn take_tail<'a, M: MemMap>(
        &self,
        index: usize,
        map: &'a M,
        most: i32,
        mut each: impl FnMut(Pfn, &'a PageDescriptor),
    ) -> i32 {
        let taken = self.take_linked(index, map, most, &mut each);
        if taken >= most || index >= MIGRATE_PCPTYPES || self.magazines.len(index) == 0 {
            return taken;
        }
        // What is left of the list is in the magazine.
        self.spill(index, map, ROOM);
        let more = self.take_linked(index, map, most.wrapping_sub(taken), &mut each);
        taken.wrapping_add(more)
    }

    #[inline]
    fn take_linked<'a, M: MemMap>(
        &self,
        index: usize,
        map: &'a M,
        most: i32,
        each: &mut impl FnMut(Pfn, &'a PageDescriptor),
    ) -> i32 {
        let list = self.list(index);
        let order = order_of(index);
        let step = 1i32 << (order.get() & 15);
        let head = list.head.load(Relaxed);
        let mut tail = list.tail.load(Relaxed);
        let mut taken = 0i32;
        while taken < most {
            let Some((pfn, page)) = link(tail).and_then(|pfn| Some((pfn, map.page(pfn)?))) else {
                break;
            };
            let last = tail == head;
            tail = if last { NIL } else { page.prev_link().raw() };
            taken = taken.wrapping_add(step);
            page.set_count(0);
            each(pfn, page);
        }
        list.tail.store(tail, Relaxed);
        match link(tail).and_then(|tail| map.page(tail)) {
            Some(tail) => tail.set_next_link(PageLink::NONE),
            None => list.head.store(NIL, Relaxed),
        }
        let listed = self.listed.load(Relaxed).wrapping_sub(taken);
        self.listed.store(listed, Relaxed);
        taken
    }
}

/// Adds one without a locked instruction: whoever has the pageset is the only
/// writer.
#[inline]
fn bump(count: &AtomicU64) {
    count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
}

/// `clamp()` of Linux, also where `low` is above `high`, as in a zone whose low
/// watermark is a large part of it.
#[inline]
fn clamp(value: i32, low: i32, high: i32) -> i32 {
    if value >= high {
        high
    } else {
        value.max(low)
    }
}

#[inline]
fn link(raw: u32) -> Option<Pfn> {
    match raw {
        NIL => None,
        pfn => Some(Pfn(pfn.into())),
    }
}
