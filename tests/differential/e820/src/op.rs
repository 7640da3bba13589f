// SPDX-License-Identifier: GPL-2.0

//! The operations: as a line for Linux's side, and applied to ours.

use crate::digest::Digest;
use shadowmm_core::error::Error;
use shadowmm_core::firmware::E820Type;
use shadowmm_core::firmware::FirmwareMap;
use shadowmm_core::firmware::MemblockUse;
use shadowmm_core::firmware::NumaSource;
use shadowmm_core::phys::Bytes;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::PhysAddr;
use shadowmm_core::phys::PhysRange;
use std::fmt;
use std::fmt::Write as _;

/// An operation's name and its numbers, in the order of Linux's parameters.
#[derive(Clone)]
pub struct Op(pub &'static str, pub Vec<u64>);

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)?;
        self.1
            .iter()
            .try_for_each(|number| write!(f, " {number:x}"))
    }
}

/// What Linux answers to what it refuses.
const EINVAL: u64 = -22i64 as u64;
const FAILED: u64 = -1i64 as u64;

/// RAM of one node that can be taken out or cannot: start, end, and both
/// as a number.
type Owned = (u64, u64, u64);

/// Ours: a map, and what has been decided of it.
pub struct World {
    pub map: Box<FirmwareMap>,
    /// What the nodes rest on, in the numbers of `numa.c`; 0 for nothing yet.
    source: u64,
    /// Then: whose the RAM is, that Linux gives a node.
    owned: Vec<Owned>,
    /// The nodes that have a range, as bits.
    parsed: u64,
    /// How wide Linux's table of distances is.
    distances: u64,
}

impl World {
    pub fn new() -> Self {
        Self {
            map: Box::new(FirmwareMap::NEW),
            source: 0,
            owned: Vec::new(),
            parsed: 0,
            distances: 0,
        }
    }

    /// The node behind the last one that has a range.
    pub fn nodes(&self) -> u64 {
        u64::from(64 - self.parsed.leading_zeros())
    }

    /// Does it to ours, and returns what Linux would; `None` where ours
    /// refuses what Linux does half. Results that are more than one number go
    /// to `digest`.
    pub fn apply(&mut self, op: &Op, digest: &mut Digest) -> Option<u64> {
        let number = |i: usize| op.1.get(i).copied().unwrap_or(0);
        let (start, size) = (PhysAddr(number(0)), Bytes(number(1)));
        let range = PhysRange {
            start,
            end: PhysAddr(number(1)),
        };
        let kind = |i| E820Type(number(i) as u32);
        let filter = |i| Some(kind(i)).filter(|&kind| kind != E820Type(0));
        let e820 = &mut self.map.e820;
        Some(match op.0 {
            "add" => {
                // A full table stays as it is.
                let _ = e820.range_add(start, size, kind(2));
                0
            }
            "update" => {
                if e820.update() {
                    0
                } else {
                    FAILED
                }
            }
            "range_update" => {
                let updated = e820.range_update(start, size, kind(2), kind(3));
                updated.ok()?.0
            }
            "range_remove" => {
                e820.range_remove(start, size, filter(2)).ok()?;
                0
            }
            "mapped_any" => e820.mapped_any(range, filter(2)).into(),
            "mapped_all" => e820.mapped_all(range, filter(2)).into(),
            "entry_type" => e820
                .entry_type(range)
                .map_or(EINVAL, |t| t.0 as i32 as i64 as u64),
            "end_of_ram" => e820.end_of_ram_pfn().0,
            "end_of_low_ram" => e820.end_of_low_ram_pfn().0,
            "memblock_setup" => {
                for e in e820.entries() {
                    let what = match e.memblock_use() {
                        MemblockUse::Add => 1,
                        MemblockUse::Reserve => 2,
                        MemblockUse::Ignore => continue,
                    };
                    digest.fold_all([what, e.addr.0, e.size.0]);
                }
                0
            }
            "print" => {
                e820.print("BIOS-e820", digest).ok()?;
                0
            }
            "names" => {
                for e in e820.entries() {
                    writeln!(digest, "{}", e.kind.resource_name()).ok()?;
                }
                0
            }
            "reset" => {
                *self = Self::new();
                0
            }
            "node_add" => self.node_add(number(0), number(1), number(2), number(3) != 0),
            "set_distance" => {
                self.distances = self.nodes();
                let (from, to) = (number(0) as i32, number(1) as i32);
                // What makes no sense changes nothing.
                let _ = self.map.slit.set(from, to, number(2) as u32);
                0
            }
            "distances" => {
                for from in 0..self.distances as i32 {
                    for to in 0..self.distances as i32 {
                        let distance = self.map.slit.distance(NodeId(from), NodeId(to));
                        digest.fold(distance.into());
                    }
                }
                self.distances
            }
            "node_of" => self.map.meminfo.node_of(start).0 as i64 as u64,
            "cleanup" => match self.map.meminfo.cleanup(&self.map.e820) {
                Ok(()) => 0,
                // Linux has joined some of the ranges then.
                Err(_) => return None,
            },
            "resolve" => self.resolve()?,
            _ => return None,
        })
    }

    fn node_add(&mut self, nid: u64, start: u64, end: u64, hotplug: bool) -> u64 {
        let nid = nid as i32;
        let range = (PhysAddr(start), PhysAddr(end));
        let meminfo = &mut self.map.meminfo;
        match meminfo.add(NodeId(nid), range.0, range.1, hotplug) {
            Ok(()) => {
                self.parsed |= 1 << nid;
                0
            }
            Err(_) => EINVAL,
        }
    }

    fn resolve(&mut self) -> Option<u64> {
        // So little may lack a node, and Linux goes on without any.
        if (1..=1 << 20).contains(&self.map.e820.ram_bytes().0) {
            return None;
        }
        // What Linux leaves without a node goes to a neighbour here.
        let mut before = Box::new(FirmwareMap::NEW);
        before.clone_from(&self.map);
        let cleaned = before.meminfo.cleanup(&before.e820);
        self.source = match self.map.resolve() {
            Ok(()) => match self.map.numa {
                NumaSource::Unresolved => return None,
                NumaSource::Srat => 1,
                NumaSource::Dummy => 2,
                NumaSource::Rejected => 3,
            },
            Err(Error::MapEmpty) => 4,
            Err(Error::MapNodeOverlap) => 5,
            Err(_) => return None,
        };
        if self.source < 4 {
            let flaw = self.map.validate();
            assert_eq!(flaw, Ok(()), "a resolved map is whole");
            self.owned = owned(&self.map);
        }
        if self.source == 1 {
            cleaned.ok()?;
            let known = before.meminfo.blocks();
            let is_known = |at: u64| known.iter().any(|b| b.range().contains(PhysAddr(at)));
            self.owned = cut(&self.owned, known.iter().flat_map(|b| [b.start.0, b.end.0]));
            self.owned.retain(|&(start, ..)| is_known(start));
            join(&mut self.owned);
        }
        Some(self.source)
    }

    /// The table; the nodes' ranges, and once they are decided, the RAM.
    pub fn fold_state(&self, digest: &mut Digest) {
        let entries = self.map.e820.entries();
        digest.fold(entries.len() as u64);
        for e in entries {
            digest.fold_all([e.addr.0, e.size.0, e.kind.0.into()]);
        }
        digest.fold(self.source);
        if self.source == 0 {
            let blocks = self.map.meminfo.blocks();
            digest.fold(blocks.len() as u64);
            for b in blocks {
                digest.fold_all([b.start.0, b.end.0, b.nid.0 as i64 as u64]);
            }
        } else if self.source < 4 {
            for &(start, end, whose) in &self.owned {
                digest.fold_all([start, end, whose]);
            }
        }
    }
}

/// Whose the RAM of a resolved map is.
fn owned(map: &FirmwareMap) -> Vec<Owned> {
    let blocks = map.meminfo.blocks();
    let mut ram: Vec<Owned> = map.e820.ram().map(|r| (r.start.0, r.end.0, 0)).collect();
    ram.sort_unstable();
    let mut all = cut(&ram, blocks.iter().flat_map(|b| [b.start.0, b.end.0]));
    for part in &mut all {
        let here = || {
            blocks
                .iter()
                .filter(|b| b.range().contains(PhysAddr(part.0)))
        };
        let nid = here().next().map_or(-1, |b| b.nid.0);
        let hotplug = here().any(|b| b.hotplug);
        part.2 = ((nid as u64) << 1) | u64::from(hotplug);
    }
    join(&mut all);
    all
}

/// The same ranges, cut at some places.
fn cut(ranges: &[Owned], places: impl Iterator<Item = u64>) -> Vec<Owned> {
    let mut places: Vec<u64> = places.collect();
    places.sort_unstable();
    let mut all = Vec::new();
    for &(start, end, whose) in ranges {
        let mut at = start;
        for &place in places.iter().filter(|&&p| start < p && p < end) {
            if place > at {
                all.push((at, place, whose));
                at = place;
            }
        }
        all.push((at, end, whose));
    }
    all
}

/// Joins neighbours that are the same.
fn join(ranges: &mut Vec<Owned>) {
    ranges.dedup_by(|next, last| {
        let same = last.1 == next.0 && last.2 == next.2;
        if same {
            last.1 = next.1;
        }
        same
    });
}
