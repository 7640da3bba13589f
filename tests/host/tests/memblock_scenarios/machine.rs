// SPDX-License-Identifier: GPL-2.0

//! A machine for the scenarios: 32 KiB of memory at 1 GiB, filled with ones,
//! with host memory behind it and somewhat more.

use shadowmm_core::error::Error;
use shadowmm_core::memblock::EarlyMemory;
use shadowmm_core::memblock::MemblockFlags;
use shadowmm_core::memblock::MemblockRegion;
use shadowmm_core::memblock::INIT_MEMBLOCK_REGIONS;
use shadowmm_core::phys::*;

/// Where memory starts.
pub const BASE: u64 = 1 << 30;
/// How much there is.
pub const SIZE: u64 = 32 << 10;
/// Where it ends.
pub const END: u64 = BASE + SIZE;

/// The sizes of nodes 0 to 7, in bytes; together they are the memory.
pub const NODES: [u64; 8] = [8192, 2048, 4096, 4096, 2048, 2048, 8192, 2048];

/// The memory of node `nid`: start and end.
pub fn node(nid: usize) -> (u64, u64) {
    let start = BASE + NODES[..nid].iter().sum::<u64>();
    (start, start + NODES[nid])
}

/// Runs `test` with a memblock that knows of no memory yet.
pub fn empty(test: impl FnOnce(&mut EarlyMemory<'_, '_>)) {
    backed(16, test);
}

/// The same, with `backed` pages of host memory behind the addresses from
/// [`BASE`] on.
pub fn backed(backed: u64, test: impl FnOnce(&mut EarlyMemory<'_, '_>)) {
    let mut pages = vec![PageBytes([1; 4096]); backed as usize];
    let mut backing = Backing::new();
    let run = BackingRun::from_pages(&mut pages, NodeId(0));
    backing.push(run).unwrap();
    let mut region = Box::new(Region::EMPTY);
    let range = PhysRange::new(PhysAddr(BASE), Pages(backed).bytes());
    let ram = [(NodeId(0), range.whole_pages())];
    region.lay(&backing, ram.into_iter()).unwrap();
    let mut memory = [MemblockRegion::EMPTY; INIT_MEMBLOCK_REGIONS];
    let mut reserved = [MemblockRegion::EMPTY; INIT_MEMBLOCK_REGIONS];
    test(&mut EarlyMemory::new(
        &mut memory,
        &mut reserved,
        Some(&mut region),
    ));
}

/// Runs `test` with the memory of one node.
pub fn plain(test: impl FnOnce(&mut EarlyMemory<'_, '_>)) {
    empty(|early| {
        early.add(PhysAddr(BASE), Bytes(SIZE)).unwrap();
        test(early);
        early.validate().unwrap();
    });
}

/// Runs `test` with the memory of eight nodes.
pub fn numa(test: impl FnOnce(&mut EarlyMemory<'_, '_>)) {
    empty(|early| {
        for (nid, &size) in NODES.iter().enumerate() {
            let (base, flags) = (PhysAddr(node(nid).0), MemblockFlags::HOTPLUG);
            early
                .add_node(base, Bytes(size), NodeId(nid as i32), flags)
                .unwrap();
        }
        test(early);
        early.validate().unwrap();
    });
}

/// The regions as (base, size).
pub fn ranges(regions: &[MemblockRegion]) -> Vec<(u64, u64)> {
    regions.iter().map(|r| (r.base.0, r.size.0)).collect()
}

/// The functions that allocate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Call {
    /// `memblock_alloc_try_nid`, which zeroes.
    Zeroed,
    /// `memblock_alloc_try_nid_raw`.
    Raw,
    /// `memblock_alloc_exact_nid_raw`.
    Exact,
}

/// What is asked for; the default is 0 bytes anywhere, aligned to a cache line.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub size: u64,
    pub align: u64,
    pub min: u64,
    pub max: u64,
    pub nid: i32,
}

pub const ANY: Request = Request {
    size: 0,
    align: 64,
    min: 0,
    max: 0,
    nid: -1,
};

/// Allocates, checks whether the memory was zeroed as the function says, and
/// returns the address.
pub fn allocate(early: &mut EarlyMemory<'_, '_>, call: Call, request: Request) -> Option<u64> {
    let (size, align) = (Bytes(request.size), Bytes(request.align));
    let (min, max) = (PhysAddr(request.min), PhysAddr(request.max));
    let nid = NodeId(request.nid);
    let result = match call {
        Call::Zeroed => early.alloc_try_nid(size, align, min, max, nid),
        Call::Raw => early.alloc_try_nid_raw(size, align, min, max, nid),
        Call::Exact => early.alloc_exact_nid_raw(size, align, min, max, nid),
    };
    match result {
        Ok(addr) => {
            let range = PhysRange::new(addr, size);
            let zero = early.region().unwrap().is_zero(range).unwrap();
            assert_eq!(zero, call == Call::Zeroed, "{call:?} {request:?}");
            Some(addr.0)
        }
        Err(error) => {
            assert_eq!(error, Error::MemblockNoMemory, "{call:?} {request:?}");
            None
        }
    }
}
