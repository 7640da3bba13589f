// SPDX-License-Identifier: GPL-2.0

//! How fragmented the zones' free memory is, as `/sys/kernel/debug/extfrag`
//! shows it, and the same for the free memory of each migrate type, which Linux
//! does not.
//!
//! ```text
//! unusable_index   how much of the free memory a request of this order can't use
//! extfrag_index    why it would fail: towards 0 for lack of memory, towards 1
//!                  because of fragmentation; -1 where it would not
//! ```

use super::PageTypeModel;
use super::Snapshot;
use super::Walk;
use super::ZoneModel;
use crate::buddy::fragmentation_index;
use crate::buddy::unusable_free_index;
use crate::buddy::MigrateType;
use crate::phys::PageOrder;
use crate::phys::NR_PAGE_ORDERS;
use core::fmt;
use core::fmt::Write;

/// The two indices of one zone, or of one migrate type in it, by order; in
/// thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Indices {
    /// See [`unusable_free_index`].
    pub unusable: [u32; NR_PAGE_ORDERS],
    /// See [`fragmentation_index`].
    pub fragmentation: [i32; NR_PAGE_ORDERS],
}

impl Indices {
    /// Those of these free blocks.
    pub fn of(blocks: &[u64; NR_PAGE_ORDERS]) -> Self {
        let mut indices = Self {
            unusable: [0; NR_PAGE_ORDERS],
            fragmentation: [0; NR_PAGE_ORDERS],
        };
        for (order, index) in PageOrder::all().zip(&mut indices.unusable) {
            *index = unusable_free_index(order, blocks);
        }
        for (order, index) in PageOrder::all().zip(&mut indices.fragmentation) {
            *index = fragmentation_index(order, blocks);
        }
        indices
    }
}

/// Writes `extfrag/unusable_index` (`unusable_show_print`).
pub fn write_unusable(out: &mut dyn Write, snapshot: &dyn Snapshot) -> fmt::Result {
    for_each_populated(snapshot, &mut |zone| {
        write_zone(out, zone)?;
        Ok(write_unusable_line(out, &Indices::of(&zone.nr_free))?)
    })
}

/// Writes `extfrag/extfrag_index` (`extfrag_show_print`).
pub fn write_extfrag(out: &mut dyn Write, snapshot: &dyn Snapshot) -> fmt::Result {
    for_each_populated(snapshot, &mut |zone| {
        write_zone(out, zone)?;
        Ok(write_extfrag_line(out, &Indices::of(&zone.nr_free))?)
    })
}

/// Writes both indices of each migrate type: what a request could do with the
/// free pages of its own type alone.
pub fn write_types(out: &mut dyn Write, snapshot: &dyn Snapshot) -> fmt::Result {
    write_head(out, "Unusable free space index per type at order")?;
    for_each_type(snapshot, &mut |zone, mt, blocks| {
        write_type(out, zone, mt)?;
        Ok(write_unusable_line(out, &Indices::of(blocks))?)
    })?;
    writeln!(out)?;
    write_head(out, "Fragmentation index per type at order")?;
    for_each_type(snapshot, &mut |zone, mt, blocks| {
        write_type(out, zone, mt)?;
        Ok(write_extfrag_line(out, &Indices::of(blocks))?)
    })
}

fn for_each_populated(
    snapshot: &dyn Snapshot,
    visit: &mut dyn FnMut(&ZoneModel) -> Walk,
) -> fmt::Result {
    snapshot.for_each_zone(&mut |zone| match zone.is_populated() {
        true => visit(zone),
        false => Ok(()),
    })?;
    Ok(())
}

fn for_each_type(
    snapshot: &dyn Snapshot,
    visit: &mut dyn FnMut(&ZoneModel, MigrateType, &[u64; NR_PAGE_ORDERS]) -> Walk,
) -> fmt::Result {
    for_each_populated(snapshot, &mut |zone| {
        let types = snapshot.page_types(zone.nid, zone.kind);
        let types = types.unwrap_or(PageTypeModel::NONE);
        let mut each = MigrateType::ALL.into_iter().zip(&types.free);
        each.try_for_each(|(mt, blocks)| visit(zone, mt, blocks))
    })
}

fn write_zone(out: &mut dyn Write, zone: &ZoneModel) -> fmt::Result {
    write!(out, "Node {}, zone {:>8} ", zone.nid.0, zone.kind.name())
}

/// As `/proc/pagetypeinfo` starts such a line.
fn write_type(out: &mut dyn Write, zone: &ZoneModel, mt: MigrateType) -> fmt::Result {
    let (nid, name, mt) = (zone.nid.0, zone.kind.name(), mt.name());
    write!(out, "Node {nid:>4}, zone {name:>8}, type {mt:>12} ")
}

fn write_head(out: &mut dyn Write, title: &str) -> fmt::Result {
    write!(out, "{title:<43} ")?;
    for order in PageOrder::all() {
        write!(out, "{:>6} ", order.get())?;
    }
    writeln!(out)
}

fn write_unusable_line(out: &mut dyn Write, indices: &Indices) -> fmt::Result {
    for index in indices.unusable {
        write!(out, "{}.{:03} ", index / 1000, index % 1000)?;
    }
    writeln!(out)
}

fn write_extfrag_line(out: &mut dyn Write, indices: &Indices) -> fmt::Result {
    for index in indices.fragmentation {
        // Both parts are signed, as in Linux.
        write!(out, "{:>2}.{:03} ", index / 1000, index % 1000)?;
    }
    writeln!(out)
}
