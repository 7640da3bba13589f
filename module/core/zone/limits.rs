// SPDX-License-Identifier: GPL-2.0

//! Which pages belong to which kind of zone (the first half of
//! `free_area_init()`).
//!
//! ```text
//!          lowest possible pfn of each kind is the highest of the one before
//!          |            |                  |
//! address  [ DMA       )[ DMA32           )[ Normal                        )
//!
//! node 0   ############# ################# ########|#######
//! node 1                                           |        ########|#######
//!                                                  movable_pfn[0]   movable_pfn[1]
//! ```
//!
//! ZONE_MOVABLE has no addresses of its own: it takes the upper part of each
//! node, cut off from the highest of the other kinds, so that what is left for
//! the kernel is spread evenly over the nodes.

use super::config::ZoneConfig;
use crate::early;
use crate::early::on_node;
use crate::early::pfn_range_for_nid;
use crate::early::MemoryRanges;
use crate::error::Result;
use crate::nodemask::NodeMask;
use crate::page::ZoneType;
use crate::page::NR_ZONE_TYPES;
use crate::phys::NodeId;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PfnRange;
use crate::phys::MAX_NODES;

/// Where zones can lie, for all nodes.
pub struct ZoneLimits {
    possible: [PfnRange; NR_ZONE_TYPES],
    movable_zone: ZoneType,
    movable_pfn: [Option<Pfn>; MAX_NODES],
}

impl Default for ZoneLimits {
    fn default() -> Self {
        Self::new()
    }
}

impl ZoneLimits {
    /// No page lies in any zone yet.
    pub const fn new() -> Self {
        Self {
            possible: [PfnRange {
                start: Pfn(0),
                end: Pfn(0),
            }; NR_ZONE_TYPES],
            movable_zone: ZoneType::Normal,
            movable_pfn: [None; MAX_NODES],
        }
    }

    /// Finds the limits for `memory` (the first half of `free_area_init`).
    ///
    /// # Errors
    ///
    /// Those of [`early::check_memory`].
    pub fn find(&mut self, config: &ZoneConfig, memory: impl MemoryRanges) -> Result<()> {
        let total = early::check_memory(memory.clone())?;
        let mut ranges = early::whole(memory.clone()).map(|(_, range)| range);
        // Memory is sorted, so it starts with the first range and ends with
        // the last; `check_memory` has seen at least one.
        let start = ranges.next().unwrap_or_default();
        let max_pfn = ranges.last().unwrap_or(start).end;
        let mut lowest = start.start;
        let ends = config.max_zone_pfns(max_pfn);
        for ((kind, end), possible) in ZoneType::ALL.iter().zip(ends).zip(&mut self.possible) {
            *possible = PfnRange::default();
            if *kind == ZoneType::Movable {
                continue;
            }
            let end = end.max(lowest);
            *possible = PfnRange { start: lowest, end };
            lowest = end;
        }
        // find_usable_zone_for_movable
        self.movable_zone = ZoneType::ALL
            .into_iter()
            .rev()
            .find(|&kind| !self.possible(kind).is_empty())
            .unwrap_or(ZoneType::Normal);
        self.movable_pfn = [None; MAX_NODES];
        self.find_movable(config, total, memory);
        Ok(())
    }

    /// Finds where ZONE_MOVABLE starts on each node: what is kept for the
    /// kernel is spread as evenly as the nodes' sizes allow
    /// (`find_zone_movable_pfns_for_nodes`).
    fn find_movable(&mut self, config: &ZoneConfig, total: Pages, memory: impl MemoryRanges) {
        let mut required = config.kernelcore.map_or(Pages::ZERO, |k| k.pages(total));
        let movablecore = config.movablecore.map_or(Pages::ZERO, |m| m.pages(total));
        if !movablecore.is_zero() {
            let movablecore = Pages(Pfn(movablecore.0).align_up(PageOrder::MAX).0).min(total);
            required = required.max(total - movablecore);
        }
        if required.is_zero() || required >= total {
            return;
        }
        let nodes: NodeMask = early::whole(memory.clone()).map(|(nid, _)| nid).collect();
        let mut usable_nodes = nodes.len() as u64;
        // While some nodes are too small for their share, the others take what
        // is left in another round.
        while usable_nodes > 0 {
            self.spread(&mut required, usable_nodes, nodes, memory.clone());
            usable_nodes -= 1;
            if required.0 <= usable_nodes {
                break;
            }
        }
        for nid in nodes.iter() {
            let end = pfn_range_for_nid(memory.clone(), nid).end;
            if let Some(movable) = self.movable_slot(nid) {
                *movable = movable
                    .map(|pfn| pfn.align_up(PageOrder::MAX))
                    .filter(|pfn| *pfn < end && pfn.0 != 0);
            }
        }
    }

    /// One round: moves each node's start of ZONE_MOVABLE up by an even share
    /// of the pages that are still `required` for the kernel.
    fn spread(
        &mut self,
        required: &mut Pages,
        usable_nodes: u64,
        nodes: NodeMask,
        memory: impl MemoryRanges,
    ) {
        let usable_start = self.possible(self.movable_zone).start;
        let share = |required: Pages| Pages(required.0.checked_div(usable_nodes).unwrap_or(0));
        let mut kernelcore_node = share(*required);
        for nid in nodes.iter() {
            if *required < kernelcore_node {
                kernelcore_node = share(*required);
            }
            let mut remaining = kernelcore_node;
            let Some(movable) = self.movable_slot(nid) else {
                continue;
            };
            for range in on_node(memory.clone(), nid) {
                let mut start = range.start.max(movable.unwrap_or_default());
                if start >= range.end {
                    continue;
                }
                // What lies below can only be the kernel's.
                if start < usable_start {
                    let kernel = range.end.min(usable_start) - start;
                    remaining -= kernel;
                    *required -= kernel;
                    if range.end <= usable_start {
                        *movable = Some(range.end);
                        continue;
                    }
                    start = usable_start;
                }
                let kernel = (range.end - start).min(remaining);
                *movable = Some(start + kernel);
                *required -= kernel;
                remaining -= kernel;
                if remaining.is_zero() {
                    break;
                }
            }
        }
    }

    fn movable_slot(&mut self, nid: NodeId) -> Option<&mut Option<Pfn>> {
        self.movable_pfn.get_mut(nid.index()?)
    }

    /// The addresses that a kind of zone may have
    /// (`arch_zone_lowest_possible_pfn`, `arch_zone_highest_possible_pfn`);
    /// empty for ZONE_MOVABLE.
    pub fn possible(&self, kind: ZoneType) -> PfnRange {
        self.possible.get(kind.index()).copied().unwrap_or_default()
    }

    /// The kind that ZONE_MOVABLE's pages are taken from (`movable_zone`).
    pub fn movable_zone(&self) -> ZoneType {
        self.movable_zone
    }

    /// Where ZONE_MOVABLE starts on a node, if it is there
    /// (`zone_movable_pfn`).
    pub fn movable_pfn(&self, nid: NodeId) -> Option<Pfn> {
        self.movable_pfn.get(nid.index()?).copied().flatten()
    }

    /// The span of a zone on a node whose memory lies in `node`; empty at 0
    /// where the node has no such zone (`zone_spanned_pages_in_node`).
    pub fn zone_span(&self, nid: NodeId, kind: ZoneType, node: PfnRange) -> PfnRange {
        let possible = self.possible(kind);
        let clamp = |pfn: Pfn| pfn.max(possible.start).min(possible.end);
        let clamped = PfnRange {
            start: clamp(node.start),
            end: clamp(node.end),
        };
        let span = self.adjust_for_movable(nid, kind, node, clamped);
        if span.end < node.start || span.start > node.end {
            return PfnRange::default();
        }
        let span = span.intersect(node);
        if span.is_empty() {
            PfnRange::default()
        } else {
            span
        }
    }

    /// Cuts ZONE_MOVABLE off the other zones
    /// (`adjust_zone_range_for_zone_movable`).
    fn adjust_for_movable(
        &self,
        nid: NodeId,
        kind: ZoneType,
        node: PfnRange,
        span: PfnRange,
    ) -> PfnRange {
        let PfnRange { start, end } = span;
        match self.movable_pfn(nid) {
            None => span,
            Some(movable) if kind == ZoneType::Movable => PfnRange {
                start: movable,
                end: node.end.min(self.possible(self.movable_zone).end),
            },
            Some(movable) if start < movable && end > movable => PfnRange {
                start,
                end: movable,
            },
            Some(movable) if start >= movable => PfnRange { start: end, end },
            Some(_) => span,
        }
    }
}
