// SPDX-License-Identifier: GPL-2.0

//! The operations: as a line for Linux's side, and applied to ours.

use crate::digest::Digest;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result;
use shadowmm_core::memblock::next_mem_range;
use shadowmm_core::memblock::next_mem_range_rev;
use shadowmm_core::memblock::EarlyMemory;
use shadowmm_core::memblock::MemblockFlags;
use shadowmm_core::memblock::MemblockKind;
use shadowmm_core::phys::Bytes;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::Pfn;
use shadowmm_core::phys::PhysAddr;
use std::fmt;

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

/// What came of an operation, in the words of `driver.c`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A value.
    Value(u64),
    /// Linux would have panicked, because an array is full before it may grow.
    Panic,
    /// Ours refused what Linux does half or stops at; nothing can be compared.
    Void,
}

impl From<Result<()>> for Outcome {
    fn from(result: Result<()>) -> Self {
        match result {
            Ok(()) => Self::Value(0),
            Err(Error::MemblockNoMemory) => Self::Value(-12i64 as u64),
            Err(Error::MemblockArrayFull) => Self::Panic,
            Err(_) => Self::Void,
        }
    }
}

impl From<Result<PhysAddr>> for Outcome {
    fn from(result: Result<PhysAddr>) -> Self {
        match result {
            Ok(addr) => Self::Value(addr.0),
            Err(Error::MemblockNoMemory) => Self::Value(0),
            Err(Error::MemblockArrayFull) => Self::Panic,
            Err(_) => Self::Void,
        }
    }
}

impl From<bool> for Outcome {
    fn from(yes: bool) -> Self {
        Self::Value(yes as u64)
    }
}

/// A function of Linux that returns nothing may fail half-way; ours does not.
fn unless_half_way(result: Result<()>) -> Outcome {
    match result {
        Ok(()) | Err(Error::MapEmpty) => Outcome::Value(0),
        Err(_) => Outcome::Void,
    }
}

fn kind_of(number: u64) -> MemblockKind {
    if number == 0 {
        MemblockKind::Reserved
    } else {
        MemblockKind::Memory
    }
}

/// All positions and ranges of an iterator.
fn walk(early: &EarlyMemory<'_, '_>, numbers: [u64; 4], digest: &mut Digest) -> u64 {
    let [kind, down, nid, flags] = numbers;
    let filter = early.filter(NodeId(nid as i32), MemblockFlags(flags as u32));
    let (taken, filter) = match kind {
        0 => (early.reserved_regions(), None),
        _ => (early.mem_regions(), Some(&filter)),
    };
    let excluded = (kind == 2).then_some(early.reserved_regions());
    let mut position = if down == 0 { 0 } else { u64::MAX };
    let mut count = 0;
    loop {
        let next = if down == 0 {
            next_mem_range(&mut position, filter, taken, excluded)
        } else {
            next_mem_range_rev(&mut position, filter, taken, excluded)
        };
        let Some((range, nid)) = next else {
            return count;
        };
        digest.fold(position);
        digest.fold_all([range.start.0, range.end.0, nid.0 as i64 as u64]);
        count += 1;
    }
}

impl Op {
    /// Does it to ours. Results that are more than one number go to `digest`.
    pub fn apply(&self, early: &mut EarlyMemory<'_, '_>, digest: &mut Digest) -> Outcome {
        let number = |i: usize| self.1.get(i).copied().unwrap_or(0);
        let base = PhysAddr(number(0));
        let (first, size) = (Bytes(number(0)), Bytes(number(1)));
        let (min, max) = (PhysAddr(number(2)), PhysAddr(number(3)));
        let nid = |i| NodeId(number(i) as i32);
        let flags = |i| MemblockFlags(number(i) as u32);
        match self.0 {
            "flags" => {
                early.set_mirrored_kernelcore(number(0) != 0);
                early.set_movable_node(number(1) != 0);
                early.set_kho_scratch_only(number(2) != 0);
                Outcome::Value(0)
            }
            "bottom_up" => {
                early.set_bottom_up(number(0) != 0);
                Outcome::Value(0)
            }
            "limit" => {
                early.set_current_limit(base);
                Outcome::Value(0)
            }
            "add" => early.add_node(base, size, nid(2), flags(3)).into(),
            "remove" => early.remove(base, size).into(),
            "reserve" => early.reserve_node(base, size, nid(2), flags(3)).into(),
            "free" => early.phys_free(base, size).into(),
            "mark_hotplug" => early.mark_hotplug(base, size).into(),
            "clear_hotplug" => early.clear_hotplug(base, size).into(),
            "mark_mirror" => early.mark_mirror(base, size).into(),
            "mark_nomap" => early.mark_nomap(base, size).into(),
            "clear_nomap" => early.clear_nomap(base, size).into(),
            "mark_kho" => early.mark_kho_scratch(base, size).into(),
            "clear_kho" => early.clear_kho_scratch(base, size).into(),
            "mark_noinit" => early.reserved_mark_noinit(base, size).into(),
            "mark_kern" => early.reserved_mark_kern(base, size).into(),
            "set_node" => early
                .set_node(base, size, kind_of(number(2)), nid(3))
                .into(),
            "alloc_range" => early
                .alloc_range_nid(first, size, min, max, nid(4), number(5) != 0)
                .into(),
            "alloc_exact" => early
                .alloc_exact_nid_raw(first, size, min, max, nid(4))
                .into(),
            "alloc_try_raw" => early
                .alloc_try_nid_raw(first, size, min, max, nid(4))
                .into(),
            "alloc_try" => early.alloc_try_nid(first, size, min, max, nid(4)).into(),
            "alloc_hugetlb" => early.alloc_hugetlb(first, nid(1), number(2) != 0).into(),
            "trim" => {
                early.trim_memory(first);
                Outcome::Value(0)
            }
            "cap" => unless_half_way(early.cap_memory_range(base, size)),
            "enforce" => unless_half_way(early.enforce_memory_limit(first)),
            "remove_map" => unless_half_way(early.mem_limit_remove_map(first)),
            "is_reserved" => early.is_reserved(base).into(),
            "is_memory" => early.is_memory(base).into(),
            "is_map_memory" => early.is_map_memory(base).into(),
            "is_region_memory" => early.is_region_memory(base, size).into(),
            "is_region_reserved" => early.is_region_reserved(base, size).into(),
            "overlaps" => early.table(kind_of(number(2))).overlaps(base, size).into(),
            "search_pfn" => {
                let found = early.search_pfn_nid(Pfn(number(0)));
                let (pfns, nid) = found.unwrap_or((Default::default(), NodeId::NONE));
                digest.fold_all([pfns.start.0, pfns.end.0, nid.0 as i64 as u64]);
                // -1 is the node of what was not found.
                (nid != NodeId::NONE).into()
            }
            "kern_size" => Outcome::Value(early.reserved_kern_size(base, nid(1)).0),
            "hugetlb_size" => Outcome::Value(early.reserved_hugetlb_size(base, nid(1)).0),
            "estimate" => Outcome::Value(early.estimated_nr_free_pages().0),
            "start" => Outcome::Value(early.start_of_dram().0),
            "end" => Outcome::Value(early.end_of_dram().0),
            "coverage" => early.validate_numa_coverage(first).into(),
            "walk" => {
                let numbers = [number(0), number(1), number(2), number(3)];
                Outcome::Value(walk(early, numbers, digest))
            }
            "walk_pfns" => {
                let mut count = 0;
                for (pfns, nid) in early.mem_pfn_ranges(nid(0)) {
                    digest.fold_all([pfns.start.0, pfns.end.0, nid.0 as i64 as u64]);
                    count += 1;
                }
                Outcome::Value(count)
            }
            "dump" => {
                let written = early
                    .dump_all(digest)
                    .and_then(|()| early.memory.show(digest))
                    .and_then(|()| early.reserved.show(digest));
                written.map_or(Outcome::Void, |()| Outcome::Value(0))
            }
            _ => Outcome::Void,
        }
    }
}
