// SPDX-License-Identifier: GPL-2.0

//! The first contents of the page descriptors.
//!
//! Every frame of a present section gets a node and a zone, whether there is
//! RAM behind it or not:
//!
//! ```text
//! frames   ....RRRRRRRR....RRRRRRRRRRRR|RRRRRRRR......    R RAM, . hole
//! zone     <- DMA      <--- DMA32       | Normal -->
//! ```
//!
//! A hole goes to the zone above it, the one behind all memory to the last.

use super::Sparse;
use crate::buddy::MigrateType;
use crate::early;
use crate::early::MemoryRanges;
use crate::node::Nodes;
use crate::page::PageDescriptor;
use crate::page::PageState;
use crate::page::ZoneType;
use crate::phys::NodeId;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PfnRange;
use crate::platform::Platform;

/// Frames that get the same node, zone and state.
struct Stretch {
    nid: NodeId,
    zone: ZoneType,
    range: PfnRange,
    state: PageState,
}

/// Enters every frame in its node and zone: RAM as reserved, because memblock
/// still has it, and the rest as holes (`memmap_init`).
pub fn memmap_init<P: Platform>(
    sparse: &Sparse<'_>,
    nodes: &Nodes<'_, P>,
    memory: impl MemoryRanges,
) {
    walk(sparse, nodes, memory, |stretch| {
        for page in valid_pages(sparse, stretch.range).flatten() {
            page.init(stretch.nid, stretch.zone, stretch.state);
        }
        if stretch.state == PageState::Reserved {
            init_pageblocks(sparse, stretch.range);
        }
    });
}

/// Makes the page blocks whose first page is RAM Movable, so that the kernel's
/// own pages will not be scattered over all of them. One that starts with a
/// hole stays Unmovable (`memmap_init_range`).
fn init_pageblocks(sparse: &Sparse<'_>, range: PfnRange) {
    let mut pfn = range.start.align_up(PageOrder::PAGEBLOCK);
    while pfn < range.end {
        if let Some(block) = sparse.pageblock(pfn) {
            block.set_migratetype(MigrateType::Movable);
        }
        pfn = pfn + PageOrder::PAGEBLOCK.pages();
    }
}

/// The holes that have descriptors, as `init_unavailable_range()` reports
/// them: node, zone and number of pages.
pub fn unavailable_ranges<P: Platform>(
    sparse: &Sparse<'_>,
    nodes: &Nodes<'_, P>,
    memory: impl MemoryRanges,
    mut report: impl FnMut(NodeId, ZoneType, Pages),
) {
    walk(sparse, nodes, memory, |stretch| {
        let pages = valid_pages(sparse, stretch.range)
            .map(|pages| Pages(pages.len() as u64))
            .sum::<Pages>();
        if stretch.state == PageState::Hole && !pages.is_zero() {
            report(stretch.nid, stretch.zone, pages);
        }
    });
}

/// All frames up to the end of the last section with memory, in stretches, in
/// the order in which Linux initialises them.
fn walk<P: Platform>(
    sparse: &Sparse<'_>,
    nodes: &Nodes<'_, P>,
    memory: impl MemoryRanges,
    mut visit: impl FnMut(Stretch),
) {
    let mut hole = Pfn(0);
    let mut end = Pfn(0);
    let mut last = None;
    for (nid, memory) in early::whole(memory) {
        end = memory.end;
        for zone in nodes.get(nid).into_iter().flat_map(|n| n.populated_zones()) {
            last = Some((nid, zone.kind));
            let range = memory.intersect(zone.span);
            if range.is_empty() {
                continue;
            }
            let stretch = |range, state| Stretch {
                nid,
                zone: zone.kind,
                range,
                state,
            };
            visit(stretch(range, PageState::Reserved));
            let before = PfnRange {
                start: hole,
                end: range.start,
            };
            if !before.is_empty() {
                visit(stretch(before, PageState::Hole));
            }
            hole = range.end;
        }
    }
    let behind = PfnRange {
        start: hole,
        end: sparse
            .frames(sparse.section_of(Pfn(end.0.saturating_sub(1))))
            .end,
    };
    if let (Some((nid, zone)), false) = (last, behind.is_empty()) {
        visit(Stretch {
            nid,
            zone,
            range: behind,
            state: PageState::Hole,
        });
    }
}

/// The descriptors of those parts of `range` that lie in present sections
/// (`for_each_valid_pfn`).
fn valid_pages<'a, 'm>(
    sparse: &'a Sparse<'m>,
    range: PfnRange,
) -> impl Iterator<Item = &'m [PageDescriptor]> + use<'a, 'm> {
    sparse.sections().filter_map(move |(nr, section)| {
        let frames = sparse.frames(nr);
        let part = frames.intersect(range);
        let first = (part.start - frames.start).0 as usize;
        let behind = first.checked_add(part.pages().0 as usize)?;
        section.map().get(first..behind)
    })
}
