// SPDX-License-Identifier: GPL-2.0

//! Who has allocated, or freed before, the objects that are in use: the files
//! `alloc_traces` and `free_traces` of `/sys/kernel/debug/slab` (`process_slab`,
//! `slab_debugfs_show`).
//!
//! ```text
//!       3 function+0x1/0x2 waste=42/14 age=0/13/40 pid=7-9 cpus=0-1 nodes=0
//!         function+0x1/0x2
//!         caller+0x3/0x4
//! ```
//!
//! A line for each place that allocates: how many of its objects there are, how
//! much of them kmalloc gave in vain, their ages, and by whom, where and on which
//! nodes. Objects that are free are not looked at.

use super::inspect::Cache;
use super::inspect::Slab;
use super::layout::TrackItem;
use super::track::StackHandle;
use super::track::Track;
use super::track::TRACK_ADDRS_COUNT;
use crate::nodemask::NodeMask;
use crate::phys::CpuId;
use crate::phys::NodeId;
use crate::platform::Platform;
use crate::report::CpuSet;
use crate::slices;
use core::cmp::Reverse;
use core::fmt;
use core::fmt::Write;

/// A place that allocates or frees (`struct location`).
#[derive(Clone, Copy, Debug)]
pub struct Location {
    addr: u64,
    stack: StackHandle,
    waste: u64,
    count: u64,
    sum_time: u64,
    time: (u64, u64),
    pids: (u32, u32),
    cpus: CpuSet,
    nodes: NodeMask,
}

impl Location {
    /// Nowhere.
    pub const NONE: Self = Self {
        addr: 0,
        stack: StackHandle(0),
        waste: 0,
        count: 0,
        sum_time: 0,
        time: (0, 0),
        pids: (0, 0),
        cpus: CpuSet::EMPTY,
        nodes: NodeMask::NONE,
    };

    /// What locations are sorted by while they are gathered.
    const fn key(&self) -> (u64, u32, u64) {
        (self.addr, self.stack.0, self.waste)
    }
}

/// Locations that are gathered, in memory of the caller's (`struct loc_track`).
pub struct Locations<'t> {
    table: &'t mut [Location],
    len: usize,
    left_out: u64,
}

impl<'t> Locations<'t> {
    /// None yet, and room for as many as `table` has.
    pub fn new(table: &'t mut [Location]) -> Self {
        Self {
            table,
            len: 0,
            left_out: 0,
        }
    }

    /// How many objects there was no room for: with a larger table there is.
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }

    /// `add_location`
    fn add(&mut self, track: &Track, waste: u64, nid: NodeId, now: u64) {
        let age = now.wrapping_sub(track.when);
        let key = (track.addr, track.stack.0, waste);
        let used = self.table.get(..self.len).unwrap_or_default();
        let found = used.binary_search_by_key(&key, Location::key);
        let at = match found {
            Ok(at) => at,
            Err(at) if self.len < self.table.len() => {
                self.len += 1;
                let new = Location {
                    addr: track.addr,
                    stack: track.stack,
                    waste,
                    time: (age, age),
                    pids: (track.pid, track.pid),
                    ..Location::NONE
                };
                let used = self.table.get_mut(..self.len);
                slices::insert(used.unwrap_or_default(), at, new);
                at
            }
            Err(_) => {
                self.left_out += 1;
                return;
            }
        };
        let Some(location) = self.table.get_mut(at) else {
            return;
        };
        location.count += 1;
        // A track that was never written has no time.
        if track.when != 0 || location.count == 1 {
            let (time, pids) = (location.time, location.pids);
            location.sum_time = location.sum_time.saturating_add(age);
            location.time = (time.0.min(age), time.1.max(age));
            location.pids = (pids.0.min(track.pid), pids.1.max(track.pid));
            location.cpus.insert(CpuId(track.cpu));
        }
        location.nodes.insert(nid);
    }
}

impl<P: Platform> Cache<'_, P> {
    /// Gathers the objects in use of a slab (`process_slab`).
    pub fn gather(&self, slab: &Slab<'_>, item: TrackItem, into: &mut Locations<'_>) {
        let now = self.platform.jiffies();
        self.each_object(slab, |object, is_free| {
            if !is_free {
                let track = Track::load(slab.bytes, &self.layout, object, item);
                let orig = self.layout.orig_size().filter(|_| item == TrackItem::Alloc);
                let waste = orig.map_or(0, |at| {
                    u64::from(self.layout.object_size).saturating_sub(slab.bytes.word(object + at))
                });
                into.add(&track, waste, slab.zone.nid(), now);
            }
            true
        });
    }

    /// Writes what was gathered, the largest counts first. `nodes` are those that
    /// there are.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write_traces(
        &self,
        out: &mut dyn Write,
        from: &mut Locations<'_>,
        nodes: usize,
    ) -> fmt::Result {
        let used = from.table.get_mut(..from.len).unwrap_or_default();
        slices::sort_by_key(used, |location| (Reverse(location.count), location.key()));
        if used.is_empty() {
            return writeln!(out, "No data");
        }
        let cpus = (0..self.platform.nr_cpus()).map(CpuId);
        let cpus = cpus.filter(|&cpu| self.platform.is_online(cpu)).count();
        for location in used.iter() {
            self.write_location(out, location, cpus > 1, nodes > 1)?;
        }
        Ok(())
    }

    /// `slab_debugfs_show`
    fn write_location(
        &self,
        out: &mut dyn Write,
        location: &Location,
        cpus: bool,
        nodes: bool,
    ) -> fmt::Result {
        let count = location.count;
        write!(out, "{count:>7} ")?;
        match location.addr {
            0 => out.write_str("<not-available>")?,
            addr => self.platform.write_symbol(out, addr)?,
        }
        if location.waste != 0 {
            let waste = location.waste;
            write!(out, " waste={}/{waste}", count.saturating_mul(waste))?;
        }
        let (sum, (min, max)) = (location.sum_time, location.time);
        match sum == min {
            true => write!(out, " age={min}")?,
            false => write!(out, " age={min}/{}/{max}", sum / count.max(1))?,
        }
        match location.pids {
            (min, max) if min == max => write!(out, " pid={min}")?,
            (min, max) => write!(out, " pid={min}-{max}")?,
        }
        if cpus && !location.cpus.is_empty() {
            write!(out, " cpus={}", location.cpus)?;
        }
        if nodes && !location.nodes.is_empty() {
            write!(out, " nodes={}", location.nodes)?;
        }
        if location.stack != StackHandle(0) {
            out.write_char('\n')?;
            let mut entries = [0; TRACK_ADDRS_COUNT];
            let len = self.stacks.fetch(location.stack, &mut entries);
            for &entry in entries.iter().take(len) {
                out.write_str("        ")?;
                self.platform.write_symbol(out, entry)?;
                out.write_char('\n')?;
            }
        }
        out.write_char('\n')
    }
}
