// SPDX-License-Identifier: GPL-2.0

//! What must hold of nodes, zones, zonelists and descriptors, at any time
//! after the zones stage.

use super::Node;
use super::Nodes;
use crate::early;
use crate::early::pfn_range_for_nid;
use crate::early::MemoryRanges;
use crate::error::Error;
use crate::nodemask::NodeMask;
use crate::page::PageState;
use crate::page::ZoneType;
use crate::page::NR_ZONE_TYPES;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::platform::Platform;
use crate::sparse::Sparse;
use crate::zonelist::ZonelistKind;

/// The error, and the invariant that does not hold.
type Verdict = Result<(), (Error, &'static str)>;

fn check(holds: bool, what: &'static str) -> Verdict {
    if holds {
        Ok(())
    } else {
        Err((Error::Corrupt, what))
    }
}

impl<P: Platform> Nodes<'_, P> {
    /// Checks nodes, zones and zonelists against `memory`.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] and the invariant that does not hold.
    pub fn validate(&self, memory: impl MemoryRanges) -> Verdict {
        let with_memory: NodeMask = early::whole(memory.clone()).map(|(nid, _)| nid).collect();
        check(
            self.states.memory == with_memory
                && self.states.normal_memory.is_subset(self.states.memory)
                && self.states.memory.is_subset(self.states.online)
                && self.states.online.is_subset(self.states.possible),
            "a node with memory is online, a node online is possible",
        )?;
        check(
            self.possible()
                .map(|node| node.node_id)
                .collect::<NodeMask>()
                == self.states.possible,
            "every possible node has its data",
        )?;
        for node in self.possible() {
            self.validate_node(node, memory.clone())?;
            self.validate_zonelists(node)?;
        }
        let ram: Pages = early::whole(memory).map(|(_, range)| range.pages()).sum();
        check(self.present() == ram, "every page of RAM is in a zone")
    }

    fn validate_node(&self, node: &Node<'_, P>, memory: impl MemoryRanges) -> Verdict {
        check(
            node.zones().len() == NR_ZONE_TYPES
                && node.zones().iter().map(|z| z.kind).eq(ZoneType::ALL)
                && node.zones().iter().all(|z| z.nid == node.node_id),
            "a node has one zone of each kind",
        )?;
        check(
            node.span == pfn_range_for_nid(memory.clone(), node.node_id),
            "a node spans its memory",
        )?;
        check(
            node.present == node.zones().iter().map(|z| z.present).sum(),
            "a node's pages are those of its zones",
        )?;
        let mut behind = Pfn(0);
        for zone in node.zones() {
            check(
                zone.present <= zone.span.pages(),
                "a zone spans its present pages",
            )?;
            check(
                zone.managed() <= zone.present,
                "a zone manages only pages that are present",
            )?;
            if zone.span.is_empty() {
                continue;
            }
            check(
                behind <= zone.span.start,
                "the zones of a node rise and don't overlap",
            )?;
            check(
                node.span.start <= zone.span.start && zone.span.end <= node.span.end,
                "a zone lies inside its node",
            )?;
            behind = zone.span.end;
            let present: Pages = early::on_node(memory.clone(), node.node_id)
                .map(|range| range.intersect(zone.span).pages())
                .sum();
            check(
                present == zone.present,
                "a zone's present pages are the node's memory in its span",
            )?;
        }
        Ok(())
    }

    fn validate_zonelists(&self, node: &Node<'_, P>) -> Verdict {
        let fallback = node.zonelist(ZonelistKind::Fallback);
        let own = node.zonelist(ZonelistKind::NoFallback);
        let populated = || self.possible().flat_map(|node| node.populated_zones());
        check(
            fallback.refs().len() == populated().count(),
            "a fallback list is as long as there are populated zones",
        )?;
        for zone in populated() {
            let mut entries = fallback.refs().iter();
            check(
                entries.by_ref().any(|zref| core::ptr::eq(zref.zone, zone))
                    && !entries.any(|zref| core::ptr::eq(zref.zone, zone)),
                "a fallback list has every populated zone exactly once",
            )?;
        }
        for pair in fallback.refs().windows(2) {
            let [before, after] = pair else { continue };
            let rising = node.distance(before.nid()) <= node.distance(after.nid());
            check(
                if before.nid() == after.nid() {
                    before.kind() > after.kind()
                } else {
                    rising || before.nid() == node.node_id
                },
                "a fallback list goes from near to far and from high to low",
            )?;
        }
        check(
            own.refs()
                .iter()
                .map(|zref| core::ptr::from_ref(zref.zone))
                .eq(node.populated_zones().rev().map(core::ptr::from_ref)),
            "a nofallback list has the node's own zones, highest first",
        )
    }

    /// Checks the descriptors of all frames in present sections against the
    /// zones and against `memory`: RAM is in the zone that spans it and is no
    /// hole, a hole is one.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] and the invariant that does not hold.
    pub fn validate_pages(&self, sparse: &Sparse<'_>, memory: impl MemoryRanges) -> Verdict {
        let mut ram = Pages::ZERO;
        for (nid, range) in early::whole(memory) {
            for pfn in (range.start.0..range.end.0).map(Pfn) {
                let Some(page) = sparse.page(pfn) else {
                    return check(false, "every page of RAM has a descriptor");
                };
                check(
                    page.nid() == nid && page.state() != PageState::Hole,
                    "the descriptor of RAM names its node and is no hole",
                )?;
                check(
                    self.zone(nid, page.zone())
                        .is_some_and(|zone| zone.span.contains(pfn)),
                    "a page's zone spans it",
                )?;
            }
            ram += range.pages();
        }
        let mut pages = Pages::ZERO;
        let mut holes = Pages::ZERO;
        for page in sparse.sections().flat_map(|(_, section)| section.map()) {
            pages += Pages(1);
            if page.state() == PageState::Hole {
                holes += Pages(1);
                check(
                    self.zone(page.nid(), page.zone())
                        .is_some_and(|zone| zone.is_populated()),
                    "a hole is entered in a zone that has pages",
                )?;
            }
        }
        check(
            ram + holes == pages,
            "every frame of a present section is RAM or a hole",
        )
    }
}
