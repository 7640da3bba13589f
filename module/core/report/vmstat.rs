// SPDX-License-Identifier: GPL-2.0

//! `/proc/vmstat`: every counter, one a line.

use super::totals::add_nodes;
use super::CounterModel;
use super::Event;
use super::NodeStat;
use super::NodeStats;
use super::NumaStat;
use super::Snapshot;
use super::SystemStat;
use super::Totals;
use super::Walk;
use super::ZoneStat;
use core::fmt;
use core::fmt::Write;

/// Shows the counters in the order of `/proc/vmstat` (`vmstat_start`,
/// `vmstat_next`).
pub fn for_each_counter(
    snapshot: &dyn Snapshot,
    visit: &mut dyn FnMut(&CounterModel) -> Walk,
) -> Walk {
    let mut show = |name, value| visit(&CounterModel { name, value });
    show_zones(snapshot, &mut show)?;
    show_nodes(snapshot, &mut show)?;
    for &item in SystemStat::ALL {
        show(item.name(), snapshot.system_stat(item))?;
    }
    for &item in Event::ALL {
        show(item.name(), snapshot.event(item))?;
    }
    // Linux keeps the line for programs that expect it (`vmstat_show`).
    show("nr_unstable", 0)
}

fn show_zones(snapshot: &dyn Snapshot, show: &mut dyn FnMut(&'static str, u64) -> Walk) -> Walk {
    let totals = Totals::of(snapshot);
    for &item in ZoneStat::ALL {
        show(item.name(), totals.stats.get(item))?;
    }
    for &item in NumaStat::ALL {
        show(item.name(), totals.numa.get(item))?;
    }
    Ok(())
}

fn show_nodes(snapshot: &dyn Snapshot, show: &mut dyn FnMut(&'static str, u64) -> Walk) -> Walk {
    let mut sums = NodeStats::ZERO;
    add_nodes(snapshot, &mut sums);
    for &item in NodeStat::ALL {
        show(item.name(), item.printed(sums.get(item)))?;
    }
    Ok(())
}

/// Writes `/proc/vmstat` (`vmstat_show`).
pub fn write(out: &mut dyn Write, snapshot: &dyn Snapshot) -> fmt::Result {
    for_each_counter(snapshot, &mut |counter| {
        Ok(writeln!(out, "{} {}", counter.name, counter.value)?)
    })?;
    Ok(())
}
