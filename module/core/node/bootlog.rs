// SPDX-License-Identifier: GPL-2.0

//! What Linux says while it makes nodes and zones, in its own words.
//!
//! The texts are those that `dmesg` of a kernel 7.3 shows, without the time
//! stamps, in the order in which they appear there:
//!
//! ```text
//! node_data          NODE_DATA(0) allocated [mem 0x1ffd5000-0x1fffffff]
//! zone_ranges        Zone ranges: ... Movable zone start for each node
//! early_ranges       Early memory node ranges
//! initmem            Initmem setup node 0 [mem 0x...-0x...]
//! unavailable        On node 0, zone DMA: 97 pages in unavailable ranges
//! fallback_order     Fallback order for Node 0: 0 1
//! built_zonelists    Built 2 zonelists, mobility grouping on.  Total pages: ...
//! memory             Memory: 489012K/524152K available (...)
//! ```

use super::Nodes;
use crate::early;
use crate::early::MemoryRanges;
use crate::page::ZoneType;
use crate::phys::NodeId;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PfnRange;
use crate::platform::Platform;
use crate::sparse;
use crate::sparse::Sparse;
use crate::zonelist::ZonelistKind;
use core::fmt;
use core::fmt::Write;

/// Migrate types, all of them (`MIGRATE_TYPES`): unmovable, movable,
/// reclaimable, highatomic, CMA, isolate.
const MIGRATE_TYPES: u64 = 6;

/// A range of addresses as `[mem %#018Lx-%#018Lx]` prints it.
struct Mem(PfnRange);

impl fmt::Display for Mem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.bytes();
        let last = bytes.end.0.saturating_sub(1);
        write!(f, "[mem {:#018x}-{last:#018x}]", bytes.start.0)
    }
}

/// Where the nodes' data lie (`alloc_node_data`).
///
/// # Errors
///
/// The writer's.
pub fn node_data<P: Platform>(
    w: &mut impl Write,
    nodes: &Nodes<'_, P>,
    memory: impl MemoryRanges,
) -> fmt::Result {
    for nid in nodes.states().memory.iter() {
        let data = nodes.node_data(nid);
        let last = data.end.0.saturating_sub(1);
        writeln!(
            w,
            "NODE_DATA({nid}) allocated [mem {:#010x}-{last:#010x}]",
            data.start.0
        )?;
        let on = nid_of(memory.clone(), data.start.pfn_down());
        if on != nid {
            writeln!(w, "    NODE_DATA({nid}) on node {on}")?;
        }
    }
    Ok(())
}

fn nid_of(memory: impl MemoryRanges, pfn: Pfn) -> NodeId {
    early::whole(memory)
        .find(|(_, range)| range.contains(pfn))
        .map_or(NodeId::NONE, |(nid, _)| nid)
}

/// Which addresses each kind of zone has, and where ZONE_MOVABLE starts
/// (`free_area_init`). ZONE_DEVICE, which the shadow does not have, is always
/// empty at boot.
///
/// # Errors
///
/// The writer's.
pub fn zone_ranges<P: Platform>(w: &mut impl Write, nodes: &Nodes<'_, P>) -> fmt::Result {
    writeln!(w, "Zone ranges:")?;
    for kind in [ZoneType::Dma, ZoneType::Dma32, ZoneType::Normal] {
        let range = nodes.limits().possible(kind);
        if range.is_empty() {
            writeln!(w, "  {:<8} empty", kind.name())?;
        } else {
            writeln!(w, "  {:<8} {}", kind.name(), Mem(range))?;
        }
    }
    writeln!(w, "  Device   empty")?;
    writeln!(w, "Movable zone start for each node")?;
    for nid in nodes.states().memory.iter() {
        if let Some(pfn) = nodes.limits().movable_pfn(nid) {
            writeln!(w, "  Node {nid}: {:#018x}", pfn.addr().0)?;
        }
    }
    Ok(())
}

/// The ranges of memory with their nodes (`free_area_init`).
///
/// # Errors
///
/// The writer's.
pub fn early_ranges(w: &mut impl Write, memory: impl MemoryRanges) -> fmt::Result {
    writeln!(w, "Early memory node ranges")?;
    for (nid, range) in early::whole(memory) {
        writeln!(w, "  node {:>3}: {}", nid.0, Mem(range))?;
    }
    Ok(())
}

/// The span of each node (`free_area_init_node`).
///
/// # Errors
///
/// The writer's.
pub fn initmem<P: Platform>(w: &mut impl Write, nodes: &Nodes<'_, P>) -> fmt::Result {
    for node in nodes.possible() {
        let nid = node.node_id;
        if node.span.is_empty() {
            writeln!(w, "Initmem setup node {nid} as memoryless")?;
        } else {
            writeln!(w, "Initmem setup node {nid} {}", Mem(node.span))?;
        }
    }
    Ok(())
}

/// The holes that have descriptors (`init_unavailable_range`).
///
/// # Errors
///
/// The writer's.
pub fn unavailable<P: Platform>(
    w: &mut impl Write,
    sparse: &Sparse<'_>,
    nodes: &Nodes<'_, P>,
    memory: impl MemoryRanges,
) -> fmt::Result {
    let mut result = Ok(());
    sparse::unavailable_ranges(sparse, nodes, memory, |nid, zone, pages| {
        result = result.and_then(|()| {
            let zone = zone.name();
            let pages = pages.0;
            writeln!(
                w,
                "On node {nid}, zone {zone}: {pages} pages in unavailable ranges"
            )
        });
    });
    result
}

/// The order of each node's zonelist (`build_zonelists`).
///
/// # Errors
///
/// The writer's.
pub fn fallback_order<P: Platform>(w: &mut impl Write, nodes: &Nodes<'_, P>) -> fmt::Result {
    for node in nodes.possible() {
        write!(w, "Fallback order for Node {}: ", node.node_id)?;
        let mut previous = NodeId::NONE;
        for zref in node.zonelist(ZonelistKind::Fallback).refs() {
            if zref.nid() != previous {
                write!(w, "{} ", zref.nid())?;
                previous = zref.nid();
            }
        }
        writeln!(w)?;
    }
    Ok(())
}

/// How many zonelists there are, and of how many pages
/// (`build_all_zonelists`). All present pages count as managed then.
///
/// # Errors
///
/// The writer's.
pub fn built_zonelists<P: Platform>(w: &mut impl Write, nodes: &Nodes<'_, P>) -> fmt::Result {
    let total = nodes.present();
    let grouping = if is_mobility_disabled(total) {
        "off"
    } else {
        "on"
    };
    writeln!(
        w,
        "Built {} zonelists, mobility grouping {grouping}.  Total pages: {}",
        nodes.states().online.len(),
        total.0
    )?;
    // policy_zone: the highest kind that is there and not movable.
    let policy = nodes
        .populated_zones()
        .map(|zone| zone.kind)
        .filter(|&kind| kind != ZoneType::Movable)
        .max()
        .unwrap_or(ZoneType::Dma);
    writeln!(w, "Policy zone: {}", policy.name())
}

/// Whether there are too few pages to group them by mobility
/// (`page_group_by_mobility_disabled`).
pub fn is_mobility_disabled(total: Pages) -> bool {
    total.0 < PageOrder::PAGEBLOCK.pages().0 * MIGRATE_TYPES
}

/// How much memory is left after the hand-off, when `free` pages are free and
/// `managed` were handed over (`mem_init_print_info`). The shadow has no kernel
/// image and no CMA of its own.
///
/// # Errors
///
/// The writer's.
pub fn memory<P: Platform>(
    w: &mut impl Write,
    nodes: &Nodes<'_, P>,
    free: Pages,
    managed: Pages,
) -> fmt::Result {
    let physpages = nodes.present();
    writeln!(
        w,
        "Memory: {}K/{}K available (0K kernel code, 0K rwdata, 0K rodata, 0K init, 0K bss, \
         {}K reserved, 0K cma-reserved)",
        free.kib(),
        physpages.kib(),
        (physpages - managed).kib()
    )
}
