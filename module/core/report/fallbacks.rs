// SPDX-License-Identifier: GPL-2.0

//! How often requests of each migrate type took from page blocks of another:
//! what Linux tells by `mm_page_alloc_extfrag` alone, counted.

use super::Snapshot;
use super::Walk;
use crate::buddy::MigrateType;
use crate::buddy::MIGRATE_PCPTYPES;
use crate::page::ZoneType;
use crate::phys::NodeId;
use core::fmt;
use core::fmt::Write;

/// The counts of one zone, by the request's type and then by the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FallbackModel {
    /// Page blocks that were claimed as a whole.
    pub claimed: [[u64; MIGRATE_PCPTYPES]; MIGRATE_PCPTYPES],
    /// Blocks that were taken out of page blocks, which kept their type.
    pub stolen: [[u64; MIGRATE_PCPTYPES]; MIGRATE_PCPTYPES],
}

/// One kind of fallback in one zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// The node.
    pub nid: NodeId,
    /// The zone.
    pub kind: ZoneType,
    /// Whose page blocks.
    pub from: MigrateType,
    /// Who took from them.
    pub to: MigrateType,
    /// How many page blocks were claimed as a whole.
    pub claimed: u64,
    /// How many blocks were taken otherwise.
    pub stolen: u64,
}

/// Shows all pairs of types in all populated zones, in the order in which a
/// request tries them (`fallbacks`).
pub fn for_each(snapshot: &dyn Snapshot, visit: &mut dyn FnMut(&Fallback) -> Walk) -> Walk {
    snapshot.for_each_zone(&mut |zone| {
        if !zone.is_populated() {
            return Ok(());
        }
        let counts = snapshot.fallbacks(zone.nid, zone.kind).unwrap_or_default();
        let rows = MigrateType::ALL.into_iter().zip(counts.claimed);
        for ((to, claimed), stolen) in rows.zip(counts.stolen) {
            for &from in to.fallbacks() {
                let of = |row: &[u64]| row.get(from.index()).copied().unwrap_or(0);
                visit(&Fallback {
                    nid: zone.nid,
                    kind: zone.kind,
                    from,
                    to,
                    claimed: of(&claimed),
                    stolen: of(&stolen),
                })?;
            }
        }
        Ok(())
    })
}

/// Writes a line for each.
pub fn write(out: &mut dyn Write, snapshot: &dyn Snapshot) -> fmt::Result {
    for_each(snapshot, &mut |it| {
        let (nid, zone) = (it.nid.0, it.kind.name());
        let (from, to) = (it.from.name(), it.to.name());
        let (claimed, stolen) = (it.claimed, it.stolen);
        Ok(writeln!(
            out,
            "Node {nid:>4}, zone {zone:>8}, from {from:>12}, to {to:>12}, claimed {claimed:>8}, stolen {stolen:>8}"
        )?)
    })?;
    Ok(())
}
