// SPDX-License-Identifier: GPL-2.0

//! `/proc/pagetypeinfo`: the free blocks of each zone by migrate type and order,
//! and how many page blocks are of each type.
//!
//! Linux prints the report once for each node with memory. A third table, of
//! page blocks that have pages of other types in them, needs a kernel that
//! notes each page's owner (`CONFIG_PAGE_OWNER`); Debian's does not.

use super::NodeModel;
use super::PageTypeModel;
use super::Snapshot;
use super::Walk;
use super::ZoneModel;
use crate::buddy::MigrateType;
use crate::phys::PageOrder;
use crate::phys::PAGEBLOCK_ORDER;
use core::fmt;
use core::fmt::Write;

/// Writes `/proc/pagetypeinfo` (`pagetypeinfo_show`).
pub fn write(out: &mut dyn Write, snapshot: &dyn Snapshot) -> fmt::Result {
    snapshot.for_each_node(&mut |node| {
        if node.present.is_zero() {
            return Ok(());
        }
        writeln!(out, "Page block order: {PAGEBLOCK_ORDER}")?;
        writeln!(out, "Pages per block:  {}", PageOrder::PAGEBLOCK.pages().0)?;
        writeln!(out)?;
        write_free(out, snapshot, node)?;
        write_blocks(out, snapshot, node)
    })?;
    Ok(())
}

/// The zones of a node that have pages, with their types.
fn for_each_zone(
    snapshot: &dyn Snapshot,
    node: &NodeModel,
    visit: &mut dyn FnMut(&ZoneModel, &PageTypeModel) -> Walk,
) -> Walk {
    snapshot.for_each_zone(&mut |zone| {
        if zone.nid != node.nid || !zone.is_populated() {
            return Ok(());
        }
        let types = snapshot.page_types(zone.nid, zone.kind);
        visit(zone, &types.unwrap_or(PageTypeModel::NONE))
    })
}

/// `pagetypeinfo_showfree()`
fn write_free(out: &mut dyn Write, snapshot: &dyn Snapshot, node: &NodeModel) -> Walk {
    let title = "Free pages count per migrate type at order";
    write!(out, "{title:<43} ")?;
    for order in PageOrder::all() {
        write!(out, "{:>6} ", order.get())?;
    }
    writeln!(out)?;
    for_each_zone(snapshot, node, &mut |zone, types| {
        for (mt, free) in MigrateType::ALL.iter().zip(&types.free) {
            let (nid, name) = (zone.nid.0, zone.kind.name());
            let mt = mt.name();
            write!(out, "Node {nid:>4}, zone {name:>8}, type {mt:>12} ")?;
            for &blocks in free {
                let more = if blocks >= PageTypeModel::MOST {
                    ">"
                } else {
                    ""
                };
                write!(out, "{more}{blocks:>6} ")?;
            }
            writeln!(out)?;
        }
        Ok(())
    })
}

/// `pagetypeinfo_showblockcount()`
fn write_blocks(out: &mut dyn Write, snapshot: &dyn Snapshot, node: &NodeModel) -> Walk {
    write!(out, "\n{:<23}", "Number of blocks type ")?;
    for mt in MigrateType::ALL {
        write!(out, "{:>12} ", mt.name())?;
    }
    writeln!(out)?;
    for_each_zone(snapshot, node, &mut |zone, types| {
        write!(out, "Node {}, zone {:>8} ", zone.nid.0, zone.kind.name())?;
        for blocks in types.blocks {
            write!(out, "{blocks:>12} ")?;
        }
        Ok(writeln!(out)?)
    })
}
