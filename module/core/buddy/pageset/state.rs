// SPDX-License-Identifier: GPL-2.0

//! All numbers of a pageset in one value: to be looked at, and to be taken over
//! from another allocator's pageset.

use super::link;
use super::Pageset;
use super::DISABLED;
use super::FREE_HIGH_BATCH;
use super::PREV_FREE_HIGH_ORDER;
use crate::buddy::migratetype::MIGRATE_PCPTYPES;
use crate::buddy::MemMap;
use crate::phys::Pfn;
use core::sync::atomic::Ordering::Relaxed;

/// The numbers of a pageset, under Linux's names (`struct per_cpu_pages`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PagesetState {
    /// Pages on the lists.
    pub count: i32,
    /// Above so many, some go back.
    pub high: i32,
    /// The least `high`.
    pub high_min: i32,
    /// The most.
    pub high_max: i32,
    /// How many pages move at once.
    pub batch: i32,
    /// Pages freed in a row.
    pub free_count: i32,
    /// By how much the batch is scaled up for the next refill.
    pub alloc_factor: i32,
    /// The last block freed was of a higher order (`PCPF_PREV_FREE_HIGH_ORDER`).
    pub prev_free_high_order: bool,
    /// The CPU's cache is large enough to keep a batch (`PCPF_FREE_HIGH_BATCH`).
    pub free_high_batch: bool,
}

impl Pageset {
    /// The numbers at the moment, with what the magazines have not told yet.
    pub fn state(&self) -> PagesetState {
        let new = self.new_frees();
        let mut flags = self.flags.load(Relaxed);
        if new != 0 {
            flags &= !PREV_FREE_HIGH_ORDER;
        }
        PagesetState {
            count: self.total(),
            high: self.high.load(Relaxed),
            high_min: self.high_min.load(Relaxed),
            high_max: self.high_max.load(Relaxed),
            batch: self.batch.load(Relaxed),
            free_count: match self.full_at.load(Relaxed) {
                full @ 0.. => full,
                _ => self.free_count.load(Relaxed),
            },
            alloc_factor: self.alloc_factor.load(Relaxed) >> new.min(31),
            prev_free_high_order: flags & PREV_FREE_HIGH_ORDER != 0,
            free_high_batch: flags & FREE_HIGH_BATCH != 0,
        }
    }

    /// Takes over all but `count`, which is that of the lists.
    pub(in crate::buddy) fn set_state(&self, state: &PagesetState) {
        self.high.store(state.high, Relaxed);
        self.high_min.store(state.high_min, Relaxed);
        self.high_max.store(state.high_max, Relaxed);
        self.batch.store(state.batch, Relaxed);
        self.free_count.store(state.free_count, Relaxed);
        self.alloc_factor.store(state.alloc_factor, Relaxed);
        let flag = |set: bool, flag| if set { flag } else { 0 };
        let flags = flag(state.prev_free_high_order, PREV_FREE_HIGH_ORDER)
            | flag(state.free_high_batch, FREE_HIGH_BATCH);
        self.flags.store(flags, Relaxed);
        self.set_gate(DISABLED, state.high_max == 0);
        self.settle(0);
    }

    /// Calls `each` with the blocks of a list, the next one to be given out
    /// first. Nobody uses the pageset meanwhile.
    pub(in crate::buddy) fn for_each(
        &self,
        index: usize,
        map: &impl MemMap,
        mut each: impl FnMut(Pfn),
    ) {
        if index < MIGRATE_PCPTYPES {
            for at in (0..self.magazines.len(index)).rev() {
                each(Pfn(self.magazines.get(index, at).into()));
            }
        }
        let mut next = link(self.list(index).head.load(Relaxed));
        // A broken list may run in a circle; the count ends it.
        for _ in 0..self.count() {
            let Some(pfn) = next else { break };
            each(pfn);
            next = map.page(pfn).and_then(|page| page.next());
        }
    }
}
