// SPDX-License-Identifier: GPL-2.0

//! Zones (`struct zone`): the pages of one node that serve the same purpose.
//!
//! A zone is made when the boot reaches the zones stage, with its span and its
//! present pages; it manages nothing until the hand-off gives it blocks.
//!
//! ```text
//! spanned   zone_start_pfn up to zone_end_pfn, holes included
//! present   spanned without the holes
//! managed   present without what memblock keeps: what the buddy system has had
//! ```

mod config;
mod limits;

pub use config::Amount;
pub use config::Limit;
pub use config::ZoneConfig;
pub use config::MAX_DMA32_PFN;
pub use config::MAX_DMA_PFN;
pub use limits::ZoneLimits;

use crate::buddy::FreeAreas;
use crate::buddy::FreeCounts;
use crate::page::ZoneType;
use crate::page::NR_ZONE_TYPES;
use crate::phys::NodeId;
use crate::phys::Pages;
use crate::phys::PfnRange;
use crate::platform::Lock;
use crate::platform::Platform;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// The watermarks of a zone, lowest first (`enum zone_watermarks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Watermark {
    /// Below it, only those who free memory or may dig deep get any.
    Min = 0,
    /// Below it, background reclaim wakes up.
    Low = 1,
    /// Above it, background reclaim sleeps.
    High = 2,
    /// Above it, pages are promoted from slower memory.
    Promo = 3,
}

/// How many watermarks there are (`NR_WMARK`).
pub const NR_WATERMARKS: usize = 4;

/// One zone of one node.
pub struct Zone<P: Platform> {
    /// Which kind.
    pub kind: ZoneType,
    /// The node it belongs to.
    pub nid: NodeId,
    /// The span: from `zone_start_pfn`, `spanned_pages` long.
    pub span: PfnRange,
    /// Pages of the span that are RAM (`present_pages`).
    pub present: Pages,
    managed: AtomicU64,
    watermarks: [AtomicU64; NR_WATERMARKS],
    lowmem_reserve: [AtomicU64; NR_ZONE_TYPES],
    /// The free blocks, under the zone's lock (`zone->lock`).
    pub free: P::Lock<FreeAreas>,
    /// How much is free, read without the lock and written under it.
    pub free_counts: FreeCounts,
}

impl<P: Platform> Zone<P> {
    /// A zone that manages no page yet (`zone_init_internals`).
    pub fn new(kind: ZoneType, nid: NodeId, span: PfnRange, present: Pages) -> Self {
        Self {
            kind,
            nid,
            span,
            present,
            managed: AtomicU64::new(0),
            watermarks: [const { AtomicU64::new(0) }; NR_WATERMARKS],
            lowmem_reserve: [const { AtomicU64::new(0) }; NR_ZONE_TYPES],
            free: P::Lock::new(FreeAreas::new()),
            free_counts: FreeCounts::new(),
        }
    }

    /// Pages that were handed to the buddy system (`zone_managed_pages`).
    pub fn managed(&self) -> Pages {
        Pages(self.managed.load(Relaxed))
    }

    /// Counts `pages` more as managed.
    pub fn add_managed(&self, pages: Pages) {
        self.managed.fetch_add(pages.0, Relaxed);
    }

    /// Whether the zone has RAM at all (`populated_zone`).
    pub fn is_populated(&self) -> bool {
        !self.present.is_zero()
    }

    /// A watermark, in pages, without boost.
    pub fn watermark(&self, mark: Watermark) -> Pages {
        Pages(self.watermarks[mark as usize].load(Relaxed))
    }

    /// Sets a watermark, in pages.
    pub fn set_watermark(&self, mark: Watermark, pages: Pages) {
        self.watermarks[mark as usize].store(pages.0, Relaxed);
    }

    /// How many pages must stay free for requests that could also be served
    /// by a zone of kind `highest` (`lowmem_reserve[]`).
    pub fn lowmem_reserve(&self, highest: ZoneType) -> Pages {
        Pages(self.lowmem_reserve[highest.index()].load(Relaxed))
    }

    /// Sets the reserve against requests for `highest`.
    pub fn set_lowmem_reserve(&self, highest: ZoneType, pages: Pages) {
        self.lowmem_reserve[highest.index()].store(pages.0, Relaxed);
    }
}
