// SPDX-License-Identifier: GPL-2.0

//! Iterators over what is in `memory`, in `reserved`, or in the first and not
//! in the second.
//!
//! A position is a `u64` of two indices, as in Linux: the lower half is an
//! index into the array that ranges are taken from, the upper half names the
//! gap before a region of the array that they must not touch.
//!
//! ```text
//! excluded      0:[0..16)    1:[32..48)     2:[128..130)
//! gaps     0:[0..0)   1:[16..32)    2:[48..128)    3:[130..MAX)
//! ```
//!
//! Both arrays are sorted, so the two indices advance in lockstep, the one
//! first whose range ends first.

use super::EarlyMemory;
use super::Memblock;
use super::MemblockFlags;
use super::MemblockRegion;
use crate::phys::NodeId;
use crate::phys::PfnRange;
use crate::phys::PhysAddr;
use crate::phys::PhysRange;

/// The position behind the last range, and before the first for the way down.
const END: u64 = u64::MAX;

/// Which regions of `memory` an iterator goes over (`should_skip_region`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeFilter {
    /// Only those of this node; of all, if it names none.
    pub nid: NodeId,
    /// With `MIRROR` or `KHO_SCRATCH`, only those that have it; without
    /// `NOMAP` or `DRIVER_MANAGED`, only those that have it not.
    pub flags: MemblockFlags,
    /// With `movable_node`, hotpluggable ones are left out, too, unless
    /// `flags` has `HOTPLUG`.
    pub movable_node: bool,
}

impl RangeFilter {
    fn skips(&self, region: &MemblockRegion) -> bool {
        let wants = |flag| self.flags.intersects(flag);
        let has = |flag| region.flags.intersects(flag);
        (!self.nid.is_none() && self.nid != region.nid)
            || (self.movable_node && has(MemblockFlags::HOTPLUG) && !wants(MemblockFlags::HOTPLUG))
            || (wants(MemblockFlags::MIRROR) && !has(MemblockFlags::MIRROR))
            || (!wants(MemblockFlags::NOMAP) && has(MemblockFlags::NOMAP))
            || (!wants(MemblockFlags::DRIVER_MANAGED) && has(MemblockFlags::DRIVER_MANAGED))
            || (wants(MemblockFlags::KHO_SCRATCH) && !has(MemblockFlags::KHO_SCRATCH))
    }
}

/// The gap before the region `at` of `excluded`.
fn gap(excluded: &[MemblockRegion], at: usize) -> PhysRange {
    let below = at.checked_sub(1).and_then(|below| excluded.get(below));
    PhysRange {
        start: below.map_or(PhysAddr::ZERO, MemblockRegion::end),
        end: excluded.get(at).map_or(PhysAddr::MAX, |above| above.base),
    }
}

fn pack(at: usize, gap: usize) -> u64 {
    (at as u64 & 0xffff_ffff) | ((gap as u64) << 32)
}

/// The next range, upwards, of `taken` outside of `excluded`; `None`, and the
/// position [`u64::MAX`], behind the last (`__next_mem_range`). Start at 0.
///
/// Without a filter no region is skipped, as it is for `reserved`.
pub fn next_mem_range(
    position: &mut u64,
    filter: Option<&RangeFilter>,
    taken: &[MemblockRegion],
    excluded: Option<&[MemblockRegion]>,
) -> Option<(PhysRange, NodeId)> {
    let mut at = (*position & 0xffff_ffff) as usize;
    let mut gap_at = (*position >> 32) as usize;
    while let Some(region) = taken.get(at) {
        if filter.is_some_and(|filter| filter.skips(region)) {
            at += 1;
            continue;
        }
        let Some(excluded) = excluded else {
            *position = pack(at + 1, gap_at);
            return Some((region.range(), region.nid));
        };
        while gap_at <= excluded.len() {
            let gap = gap(excluded, gap_at);
            if gap.start >= region.end() {
                break;
            }
            if region.base < gap.end {
                // What ends first is done with.
                *position = if region.end() <= gap.end {
                    pack(at + 1, gap_at)
                } else {
                    pack(at, gap_at + 1)
                };
                return Some((gap.intersect(region.range()), region.nid));
            }
            gap_at += 1;
        }
        at += 1;
    }
    *position = END;
    None
}

/// The next range downwards (`__next_mem_range_rev`). Start at [`u64::MAX`].
pub fn next_mem_range_rev(
    position: &mut u64,
    filter: Option<&RangeFilter>,
    taken: &[MemblockRegion],
    excluded: Option<&[MemblockRegion]>,
) -> Option<(PhysRange, NodeId)> {
    // One above the index of the next region and of the next gap; the indices
    // themselves run down to -1, as 32-bit numbers.
    let mut above = (*position as u32).wrapping_add(1) as usize;
    let mut gap_above = ((*position >> 32) as u32).wrapping_add(1) as usize;
    if *position == END {
        above = taken.len();
        gap_above = excluded.map_or(1, |excluded| excluded.len() + 1);
    }
    let pack = |above: usize, gap_above: usize| {
        pack(
            above.wrapping_sub(1),
            gap_above.wrapping_sub(1) & 0xffff_ffff,
        )
    };
    while let Some(at) = above.checked_sub(1) {
        let Some(region) = taken.get(at) else {
            above = taken.len();
            continue;
        };
        if filter.is_some_and(|filter| filter.skips(region)) {
            above = at;
            continue;
        }
        let Some(excluded) = excluded else {
            *position = pack(at, gap_above);
            return Some((region.range(), region.nid));
        };
        while let Some(gap_at) = gap_above.checked_sub(1) {
            let gap = gap(excluded, gap_at);
            if gap.end <= region.base {
                break;
            }
            if region.end() > gap.start {
                // What begins last is done with.
                *position = if region.base >= gap.start {
                    pack(at, gap_above)
                } else {
                    pack(above, gap_at)
                };
                return Some((gap.intersect(region.range()), region.nid));
            }
            gap_above = gap_at;
        }
        above = at;
    }
    *position = END;
    None
}

/// Ranges of one array, or of what is in it and not in another; upwards or
/// downwards.
#[derive(Clone)]
pub struct MemRanges<'t> {
    taken: &'t [MemblockRegion],
    excluded: Option<&'t [MemblockRegion]>,
    filter: Option<RangeFilter>,
    position: u64,
    downwards: bool,
    done: bool,
}

impl<'t> MemRanges<'t> {
    fn new(
        taken: &'t [MemblockRegion],
        excluded: Option<&'t [MemblockRegion]>,
        filter: Option<RangeFilter>,
    ) -> Self {
        Self {
            taken,
            excluded,
            filter,
            position: 0,
            downwards: false,
            done: false,
        }
    }

    /// The same ranges, the highest first.
    pub fn downwards(self) -> Self {
        Self {
            position: END,
            downwards: true,
            ..self
        }
    }
}

impl Iterator for MemRanges<'_> {
    type Item = (PhysRange, NodeId);

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = if self.downwards {
            next_mem_range_rev
        } else {
            next_mem_range
        };
        let range = next(
            &mut self.position,
            self.filter.as_ref(),
            self.taken,
            self.excluded,
        );
        self.done = range.is_none();
        range
    }
}

/// The whole pages of `memory`, region by region (`__next_mem_pfn_range`).
#[derive(Clone)]
pub struct MemPfnRanges<'t> {
    regions: core::slice::Iter<'t, MemblockRegion>,
    nid: NodeId,
}

impl Iterator for MemPfnRanges<'_> {
    type Item = (PfnRange, NodeId);

    fn next(&mut self) -> Option<Self::Item> {
        let nid = self.nid;
        self.regions
            .by_ref()
            .filter(|r| nid.is_none() || nid == r.nid)
            .map(|r| (r.memory_pfns(), r.nid))
            .find(|(pfns, _)| !pfns.is_empty())
    }
}

impl Memblock<'_> {
    /// The ranges of memory, without those not to be mapped
    /// (`for_each_mem_range`, and `_rev` with [`MemRanges::downwards`]).
    pub fn mem_ranges(&self) -> MemRanges<'_> {
        let filter = RangeFilter {
            nid: NodeId::NONE,
            flags: MemblockFlags::HOTPLUG | MemblockFlags::DRIVER_MANAGED,
            movable_node: false,
        };
        MemRanges::new(self.memory.as_slice(), None, Some(filter))
    }

    /// The reserved ranges (`for_each_reserved_mem_range`).
    pub fn reserved_ranges(&self) -> MemRanges<'_> {
        MemRanges::new(self.reserved.as_slice(), None, None)
    }

    /// The ranges that are memory and not reserved, as `filter` selects them
    /// (`for_each_free_mem_range`, and `_reverse` with [`MemRanges::downwards`]).
    pub fn free_ranges(&self, filter: RangeFilter) -> MemRanges<'_> {
        let reserved = self.reserved.as_slice();
        MemRanges::new(self.memory.as_slice(), Some(reserved), Some(filter))
    }

    /// The whole pages of a node's memory, or of all (`for_each_mem_pfn_range`).
    pub fn mem_pfn_ranges(&self, nid: NodeId) -> MemPfnRanges<'_> {
        MemPfnRanges {
            regions: self.memory.as_slice().iter(),
            nid,
        }
    }

    /// The regions of memory (`for_each_mem_region`).
    pub fn mem_regions(&self) -> &[MemblockRegion] {
        self.memory.as_slice()
    }

    /// The reserved regions (`for_each_reserved_mem_region`).
    pub fn reserved_regions(&self) -> &[MemblockRegion] {
        self.reserved.as_slice()
    }
}

impl EarlyMemory<'_, '_> {
    /// The filter for a node and flags, on this boot.
    pub fn filter(&self, nid: NodeId, flags: MemblockFlags) -> RangeFilter {
        RangeFilter {
            nid,
            flags,
            movable_node: self.movable_node,
        }
    }
}
