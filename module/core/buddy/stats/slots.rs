// SPDX-License-Identifier: GPL-2.0

//! What one CPU counts, and where.

use super::events::NR_VM_EVENTS;
use super::numa::NumaStat;
use super::numa::NR_NUMA_STATS;
use super::user::UserStat;
use super::user::NR_USER_STATS;
use crate::buddy::pageset::Pageset;
use crate::error::Refusals;
use crate::phys::Pages;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// One CPU's counts.
#[repr(C, align(64))]
pub struct CpuStats {
    pub(super) events: [AtomicU64; NR_VM_EVENTS],
    pub(super) refusals: Refusals,
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
    pub(super) pageset: Pageset,
    /// Blocks that went the direct way out, and how many pages these had.
    direct_allocs: AtomicU64,
    pub(super) direct_pages: AtomicU64,
    /// Pages that went the direct way back.
    pub(super) direct_freed: AtomicU64,
    numa: [AtomicU64; NR_NUMA_STATS],
    /// Pages of address spaces, by [`UserStat`]; wraps below zero.
    user: [AtomicU64; NR_USER_STATS],
    /// Whether this is a zone of the CPU's own node.
    pub(super) local: AtomicBool,
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
            user: [const { AtomicU64::new(0) }; NR_USER_STATS],
            local: AtomicBool::new(false),
        }
    }

    /// The pageset.
    #[inline(always)]
    pub(in crate::buddy) fn pageset(&self) -> &Pageset {
        &self.pageset
    }

    /// Counts a block that went the direct way out.
    #[inline]
    pub(in crate::buddy) fn count_direct_alloc(&self, pages: Pages) {
        bump(&self.direct_allocs, 1);
        bump(&self.direct_pages, pages.0);
    }

    /// Counts pages that went the direct way back.
    #[inline]
    pub(in crate::buddy) fn count_direct_free(&self, pages: Pages) {
        bump(&self.direct_freed, pages.0);
    }

    /// A count. What goes through the magazines or the direct way is counted
    /// there alone: always from the zone that was wanted.
    pub(super) fn numa(&self, stat: NumaStat) -> u64 {
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
    pub(super) fn add_user(&self, stat: UserStat, by: i64) {
        if let Some(count) = self.user.get(stat as usize) {
            bump(count, by as u64);
        }
    }

    pub(super) fn user(&self, stat: UserStat) -> u64 {
        let count = self.user.get(stat as usize);
        count.map_or(0, |count| count.load(Relaxed))
    }

    #[inline]
    pub(super) fn bump(&self, stat: NumaStat) {
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

/// Adds without a locked instruction: the pinned CPU is the only writer.
#[inline]
pub(super) fn bump(count: &AtomicU64, by: u64) {
    count.store(count.load(Relaxed).wrapping_add(by), Relaxed);
}
