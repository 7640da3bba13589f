// SPDX-License-Identifier: GPL-2.0

//! Shrinkers: who keeps memory only as long as nobody needs it more
//! (`mm/shrinker.c`).
//!
//! ```text
//! freeable objects >> priority, times 4 / seeks   = what is to be scanned now
//!   + what was put off before  >> priority          (the deferred)
//!   at most twice the freeable
//!        |  in batches of 128, as long as a batch is left
//!        v
//! Shrinker::scan() ... what is left of it is deferred until the next time
//! ```

use crate::buddy::Gfp;
use crate::page::ZoneId;
use crate::phys::NodeId;
use crate::phys::Pages;
use crate::phys::MAX_NODES;
use crate::platform::Platform;
use crate::trace::tell;
use crate::trace::TraceEvent;
use crate::trace::TracePoint;
use core::sync::atomic::AtomicI64;
use core::sync::atomic::Ordering::Relaxed;

/// How hard an object is to make again, by default (`DEFAULT_SEEKS`).
pub const DEFAULT_SEEKS: u32 = 2;
/// How many objects are scanned at a time, by default (`SHRINK_BATCH`).
const SHRINK_BATCH: u64 = 128;

/// What is asked of a shrinker, and what it answers (`struct shrink_control`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShrinkControl {
    /// How much the request that needs memory allows.
    pub gfp: Gfp,
    /// On which node memory is needed.
    pub nid: NodeId,
    /// How many objects are to be looked at.
    pub nr_to_scan: u64,
    /// How many were: the same, unless the shrinker says otherwise.
    pub nr_scanned: u64,
    /// Pages that have gone back to the page allocator
    /// (`mm_account_reclaimed_pages`), for the shrinker to add to.
    pub reclaimed: Pages,
}

/// Somebody who can give memory back (`struct shrinker`).
///
/// Called without a lock and not pinned. A lock that is taken in here must not
/// be one that is held while core is asked for pages with direct reclaim.
pub trait Shrinker: Sync {
    /// What tracing calls it.
    fn name(&self) -> &'static str;

    /// How many objects could be given up, about (`count_objects`).
    fn count(&self, control: &ShrinkControl) -> u64;

    /// Looks at `nr_to_scan` objects, gives up those that it can, and says how
    /// many those were; `None` when nothing can be done now (`scan_objects`,
    /// `SHRINK_STOP`).
    fn scan(&self, control: &mut ShrinkControl) -> Option<u64>;

    /// What was put off, kept from one time to the next.
    fn deferred(&self) -> &Deferred;

    /// How hard an object is to make again; 0 for no effort at all
    /// (`seeks`).
    fn seeks(&self) -> u32 {
        DEFAULT_SEEKS
    }

    /// How many objects are looked at in one go; 0 for the default (`batch`).
    fn batch(&self) -> u64 {
        0
    }

    /// Whether it tells nodes apart (`SHRINKER_NUMA_AWARE`): what it puts off is
    /// kept for each node then.
    fn is_numa_aware(&self) -> bool {
        false
    }

    /// Pages of `zone` that its objects are, if they are whole pages: they stand
    /// for what Linux has on the zone's LRU lists (`zone_reclaimable_pages`), and
    /// are counted as such. No pages for any other shrinker.
    fn reclaimable(&self, _zone: ZoneId) -> Pages {
        Pages::ZERO
    }

    /// Whether its objects are whole pages.
    fn keeps_pages(&self) -> bool {
        false
    }

    /// Pages of slabs, of caches whose objects can be reclaimed or of the others: what
    /// the slab layer tells in reports (`NR_SLAB_RECLAIMABLE_B`,
    /// `NR_SLAB_UNRECLAIMABLE_B`).
    fn slab_pages(&self, _reclaimable: bool) -> Pages {
        Pages::ZERO
    }
}

/// What was put off, by node (`nr_deferred`).
#[derive(Debug)]
pub struct Deferred([AtomicI64; MAX_NODES]);

impl Deferred {
    /// Nothing.
    pub const fn new() -> Self {
        Self([const { AtomicI64::new(0) }; MAX_NODES])
    }

    fn slot(&self, nid: NodeId) -> Option<&AtomicI64> {
        self.0.get(nid.index()?)
    }

    /// How much is put off on a node.
    pub fn get(&self, nid: NodeId) -> i64 {
        self.slot(nid).map_or(0, |slot| slot.load(Relaxed))
    }

    /// Takes all of it, so that nobody else works it off too
    /// (`xchg_nr_deferred`).
    fn take(&self, nid: NodeId) -> i64 {
        self.slot(nid).map_or(0, |slot| slot.swap(0, Relaxed))
    }

    /// Puts more off (`add_nr_deferred`); how much there is then.
    fn add(&self, nid: NodeId, more: i64) -> i64 {
        let before = self
            .slot(nid)
            .map_or(0, |slot| slot.fetch_add(more, Relaxed));
        before.saturating_add(more)
    }
}

impl Default for Deferred {
    fn default() -> Self {
        Self::new()
    }
}

/// What one call has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shrunk {
    /// Objects that were given up.
    pub(super) freed: u64,
    /// Objects that were looked at.
    pub(super) scanned: u64,
    /// Pages that went back.
    pub(super) reclaimed: Pages,
}

/// Has one shrinker give up what `priority` asks for (`do_shrink_slab`).
pub(super) fn do_shrink_slab<P: Platform>(
    platform: &P,
    shrinker: &dyn Shrinker,
    gfp: Gfp,
    nid: NodeId,
    priority: u32,
) -> Shrunk {
    // The nodes without a count of their own share the first one's.
    let slot = match shrinker.is_numa_aware() {
        true => nid,
        false => NodeId(0),
    };
    let mut control = ShrinkControl {
        gfp,
        nid,
        nr_to_scan: 0,
        nr_scanned: 0,
        reclaimed: Pages::ZERO,
    };
    let mut shrunk = Shrunk::default();
    // More than so many make no sense, and can't be put off either.
    let freeable = shrinker.count(&control).min(i64::MAX as u64 / 4) as i64;
    if freeable == 0 {
        return shrunk;
    }
    let batch = match shrinker.batch() {
        0 => SHRINK_BATCH,
        batch => batch,
    };
    let batch = batch.min(i64::MAX as u64) as i64;
    let deferred = shrinker.deferred().take(slot);
    let delta = match shrinker.seeks() {
        0 => freeable / 2,
        seeks => (freeable >> priority.min(62)).saturating_mul(4) / i64::from(seeks),
    };
    let most = freeable.saturating_mul(2);
    let mut total = (deferred >> priority.min(62))
        .saturating_add(delta)
        .min(most);
    tell(platform, TracePoint::ShrinkSlabStart, || {
        TraceEvent::ShrinkSlabStart {
            shrinker: shrinker.name(),
            nid,
            objects_to_shrink: deferred.max(0) as u64,
            gfp,
            cache_items: freeable as u64,
            delta: delta as u64,
            total_scan: total.max(0) as u64,
            priority,
        }
    });
    let mut scanned = 0i64;
    while total >= batch || total >= freeable {
        let now = total.min(batch);
        control.nr_to_scan = now as u64;
        control.nr_scanned = now as u64;
        let Some(freed) = shrinker.scan(&mut control) else {
            break;
        };
        shrunk.freed = shrunk.freed.saturating_add(freed);
        let looked_at = control.nr_scanned.min(i64::MAX as u64) as i64;
        scanned = scanned.saturating_add(looked_at);
        total = total.saturating_sub(looked_at);
        platform.cond_resched();
        if looked_at == 0 {
            // In Linux a shrinker that looks at nothing and does not say so is
            // called for ever.
            break;
        }
    }
    let put_off = deferred
        .saturating_add(delta)
        .saturating_sub(scanned)
        .max(0)
        .min(most);
    let new_deferred = shrinker.deferred().add(slot, put_off);
    tell(platform, TracePoint::ShrinkSlabEnd, || {
        TraceEvent::ShrinkSlabEnd {
            shrinker: shrinker.name(),
            nid,
            freed: shrunk.freed,
            unused_scan: deferred.max(0) as u64,
            new_scan: new_deferred.max(0) as u64,
            total_scan: total,
        }
    });
    shrunk.scanned = scanned as u64;
    shrunk.reclaimed = control.reclaimed;
    shrunk
}
