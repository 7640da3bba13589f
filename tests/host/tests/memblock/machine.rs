// SPDX-License-Identifier: GPL-2.0

//! Machines for the tests, with and without host memory, and how to look at them.

use shadowmm_core::memblock::*;
use shadowmm_core::phys::*;

pub const K: u64 = 1 << 10;
pub const M: u64 = 1 << 20;
pub const CACHE: Bytes = Bytes(64);

/// A memblock of numbers alone, with arrays of `max` entries.
pub fn numbers(max: usize, test: impl FnOnce(EarlyMemory<'_, '_>)) {
    let mut memory = vec![MemblockRegion::EMPTY; max];
    let mut reserved = vec![MemblockRegion::EMPTY; max];
    test(EarlyMemory::new(&mut memory, &mut reserved, None));
}

/// A memblock with arrays of `max` entries and host memory behind `[start, end)`.
pub fn backed(max: usize, runs: &[u64], start: u64, test: impl FnOnce(EarlyMemory<'_, '_>)) {
    let mut memory = vec![MemblockRegion::EMPTY; max];
    let mut reserved = vec![MemblockRegion::EMPTY; max];
    let mut pages: Vec<_> = runs
        .iter()
        .map(|&pages| vec![PageBytes([1; 4096]); pages as usize])
        .collect();
    let mut backing = Backing::new();
    for run in &mut pages {
        backing
            .push(BackingRun::from_pages(run, NodeId(0)))
            .unwrap();
    }
    let size = Pages(runs.iter().sum()).bytes();
    let range = PhysRange::new(PhysAddr(start), size).whole_pages();
    let mut region = Box::new(Region::EMPTY);
    region
        .lay(&backing, [(NodeId(0), range)].into_iter())
        .unwrap();
    test(EarlyMemory::new(
        &mut memory,
        &mut reserved,
        Some(&mut region),
    ));
}

pub fn add(early: &mut EarlyMemory<'_, '_>, base: u64, size: u64, nid: i32) {
    let flags = MemblockFlags::NONE;
    early
        .add_node(PhysAddr(base), Bytes(size), NodeId(nid), flags)
        .unwrap();
}

/// The regions as (base, size, node, flags).
pub fn list(regions: &[MemblockRegion]) -> Vec<(u64, u64, i32, u32)> {
    let row = |r: &MemblockRegion| (r.base.0, r.size.0, r.nid.0, r.flags.0);
    regions.iter().map(row).collect()
}
