// SPDX-License-Identifier: GPL-2.0

//! `/proc/buddyinfo`: the free blocks of each zone, by order.

use super::Snapshot;
use core::fmt;
use core::fmt::Write;

/// Writes `/proc/buddyinfo`: the populated zones only (`frag_show_print`).
pub fn write(out: &mut dyn Write, snapshot: &dyn Snapshot) -> fmt::Result {
    snapshot.for_each_zone(&mut |zone| {
        if !zone.is_populated() {
            return Ok(());
        }
        write!(out, "Node {}, zone {:>8} ", zone.nid, zone.kind.name())?;
        for nr_free in zone.nr_free {
            write!(out, "{nr_free:>6} ")?;
        }
        Ok(writeln!(out)?)
    })?;
    Ok(())
}
