// SPDX-License-Identifier: GPL-2.0

//! The running memory manager: what the boot ends in.

use crate::buddy::BuddySystem;
use crate::buddy::Statistics;
use crate::early::MemoryRanges;
use crate::memblock::RetiredMemblock;
use crate::node::Nodes;
use crate::phys::Bytes;
use crate::phys::Pages;
use crate::phys::Region;
use crate::platform::Platform;
use crate::sparse::Sparse;
use crate::watermark;
use crate::watermark::Reserves;
use crate::watermark::Tunables;
use core::fmt;

/// A booted shadow. Everybody may use it at once: what changes is behind the
/// zones' locks or belongs to one CPU.
pub struct Mm<'m, P: Platform> {
    /// The surroundings.
    pub platform: P,
    /// The memory.
    pub region: &'m Region<'m>,
    /// The page descriptors.
    pub sparse: &'m Sparse<'m>,
    /// Nodes and zones.
    pub nodes: &'m Nodes<'m, P>,
    /// What has happened.
    pub stats: Statistics<'m>,
    /// What memblock was at the hand-off.
    pub memblock: RetiredMemblock<'m>,
    /// The knobs of `/proc/sys/vm`.
    pub tunables: Tunables,
    /// What was decided from them.
    pub reserves: Reserves,
}

impl<'m, P: Platform> Mm<'m, P> {
    /// The page allocator.
    #[inline]
    pub fn buddy(&self) -> BuddySystem<'_, P, Sparse<'m>, Nodes<'m, P>> {
        BuddySystem {
            platform: &self.platform,
            map: self.sparse,
            zones: self.nodes,
            memory: self.region,
            stats: &self.stats,
        }
    }

    /// The ranges of RAM with their nodes.
    pub fn memory(&self) -> impl MemoryRanges + '_ {
        let regions = self.memblock.memory.as_slice().iter();
        regions.map(|region| (region.nid, region.memory_pfns()))
    }

    /// Pages that the buddy system was given (`totalram_pages`).
    pub fn managed(&self) -> Pages {
        self.nodes.zones().map(|zone| zone.managed()).sum()
    }

    /// Pages that are free (`NR_FREE_PAGES`).
    pub fn free(&self) -> Pages {
        let zones = self.nodes.zones();
        zones.map(|zone| zone.free_counts.free_pages()).sum()
    }

    /// What the manager itself takes of the region: descriptors, section
    /// tables, nodes with their zones, statistics.
    pub fn metadata(&self) -> Bytes {
        let sparse = self.sparse.map_bytes() + self.sparse.table_bytes();
        sparse + self.nodes.data_bytes() + self.stats.bytes()
    }

    /// Checks every invariant, from memblock to the free lists. A sentence goes
    /// to `what` when one does not hold. Returns how many pages were looked at.
    ///
    /// # Errors
    ///
    /// Those of `what`, when something was found or it can't be written.
    pub fn validate(&self, what: &mut dyn fmt::Write) -> Result<u64, fmt::Error> {
        let mut say = |room: &str, text: &dyn fmt::Display| {
            write!(what, "{room}: {text}")?;
            Err(fmt::Error)
        };
        if let Err(error) = self.memblock.validate() {
            return say("memblock", &error);
        }
        if let Err((_, text)) = self.sparse.validate(self.memory()) {
            return say("sparse", &text);
        }
        if let Err((_, text)) = self.nodes.validate(self.memory()) {
            return say("node", &text);
        }
        if let Err((_, text)) = self.nodes.validate_pages(self.sparse, self.memory()) {
            return say("page", &text);
        }
        if let Err((_, text)) = watermark::validate(self.nodes, &self.tunables, &self.reserves) {
            return say("watermark", &text);
        }
        use crate::buddy::PageAllocator;
        if let Err(violation) = self.buddy().validate() {
            return say("buddy", &violation);
        }
        Ok(self.nodes.present().0)
    }
}
