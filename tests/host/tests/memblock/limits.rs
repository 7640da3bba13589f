// SPDX-License-Identifier: GPL-2.0

//! Trimming, capping and enforcing a limit.

use crate::machine::add;
use crate::machine::backed;
use crate::machine::list;
use crate::machine::numbers;
use crate::machine::K;
use crate::machine::M;
use shadowmm_core::error::Error;
use shadowmm_core::memblock::*;
use shadowmm_core::phys::*;

#[test]
fn limits() {
    numbers(16, |mut early| {
        add(&mut early, 0, 4 * M, 0);
        add(&mut early, 8 * M, 8 * M, 1);
        early.reserve(PhysAddr(M), Bytes(M)).unwrap();
        early.reserve(PhysAddr(9 * M), Bytes(2 * M)).unwrap();
        early.enforce_memory_limit(Bytes(0)).unwrap();
        early.enforce_memory_limit(Bytes(1 << 40)).unwrap();
        assert_eq!(early.phys_mem_size(), Bytes(12 * M));
        early.enforce_memory_limit(Bytes(6 * M)).unwrap();
        assert_eq!(early.end_of_dram(), PhysAddr(10 * M));

        let reserved = [(M, M, -1, 0), (9 * M, M, -1, 0)];
        assert_eq!(list(early.reserved_regions()), reserved);
    });
    numbers(16, |mut early| {
        assert_eq!(
            early.cap_memory_range(PhysAddr(0), Bytes(M)),
            Err(Error::MapEmpty)
        );
        add(&mut early, 0, 8 * M, 0);
        early.mark_nomap(PhysAddr(0), Bytes(4 * K)).unwrap();
        early.mark_nomap(PhysAddr(7 * M), Bytes(M)).unwrap();
        early.reserve(PhysAddr(0), Bytes(8 * M)).unwrap();
        early.cap_memory_range(PhysAddr(2 * M), Bytes(M)).unwrap();
        // What is not to be mapped stays, reservations don't.
        let memory = [(0, 4 * K, 0, 4), (2 * M, M, 0, 0), (7 * M, M, 0, 4)];
        assert_eq!(list(early.mem_regions()), memory);
        assert_eq!(list(early.reserved_regions()), [(2 * M, M, -1, 0)]);
    });
    numbers(16, |mut early| {
        add(&mut early, 0, 8 * M, 0);
        early.mark_nomap(PhysAddr(7 * M), Bytes(M)).unwrap();
        early.mem_limit_remove_map(Bytes(2 * M)).unwrap();
        let memory = [(0, 2 * M, 0, 0), (7 * M, M, 0, 4)];
        assert_eq!(list(early.mem_regions()), memory);
    });
}

#[test]
fn a_limit_at_the_end_of_a_region_is_that_end() {
    numbers(16, |mut early| {
        add(&mut early, 0, 4 * M, 0);
        add(&mut early, 8 * M, 8 * M, 1);
        early.reserve(PhysAddr(5 * M), Bytes(M)).unwrap();
        early.enforce_memory_limit(Bytes(4 * M)).unwrap();
        assert_eq!(early.end_of_dram(), PhysAddr(4 * M));
        assert_eq!(list(early.reserved_regions()), []);
    });
}

#[test]
fn a_limit_keeps_the_places_of_arrays() {
    backed(4, &[64], M, |mut early| {
        early.allow_resize();
        add(&mut early, 0, M + 256 * K, 0);
        for i in 0..8 {
            early.reserve(PhysAddr(4 * i * K), Bytes(K)).unwrap();
        }
        let place = early.array_range(MemblockKind::Reserved).unwrap();
        early.enforce_memory_limit(Bytes(M)).unwrap();
        assert!(early.is_region_reserved(place.start, place.size()));
        early.validate().unwrap();
    });
}

#[test]
fn what_trimming_takes_is_still_counted() {
    numbers(8, |mut early| {
        add(&mut early, 100, 8 * K, 0);
        early.trim_memory(Bytes(4 * K));
        assert_eq!(list(early.mem_regions()), [(4 * K, 4 * K, 0, 0)]);
        assert_eq!(early.phys_mem_size(), Bytes(8 * K));
        early.validate().unwrap();
        early.remove(PhysAddr(0), Bytes(M)).unwrap();
        assert_eq!(early.warnings().leftover_size, 1);
        assert_eq!(early.phys_mem_size(), Bytes(4 * K));
        add(&mut early, 0, M, 0);
        assert_eq!(early.phys_mem_size(), Bytes(M));
        // At the very end there is no border to round up to.
        add(&mut early, u64::MAX - 100, 100, 0);
        early.trim_memory(Bytes(4 * K));
        assert_eq!(list(early.mem_regions()), [(0, M, 0, 0)]);
    });
}
