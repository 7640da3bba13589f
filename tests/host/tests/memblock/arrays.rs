// SPDX-License-Identifier: GPL-2.0

//! What becomes of the arrays: marks, overlaps, growth.

use crate::machine::add;
use crate::machine::backed;
use crate::machine::list;
use crate::machine::numbers;
use crate::machine::CACHE;
use crate::machine::K;
use crate::machine::M;
use shadowmm_core::error::Error;
use shadowmm_core::memblock::*;
use shadowmm_core::phys::*;

#[test]
fn marks_cut_and_merge_again() {
    numbers(8, |mut early| {
        add(&mut early, 0, 4 * M, 0);
        early.mark_nomap(PhysAddr(M), Bytes(M)).unwrap();
        let cut = [(0, M, 0, 0), (M, M, 0, 4), (2 * M, 2 * M, 0, 0)];
        assert_eq!(list(early.mem_regions()), cut);
        assert!(early.is_memory(PhysAddr(M)) && !early.is_map_memory(PhysAddr(M)));
        assert!(early.is_map_memory(PhysAddr(M - 1)));
        early.clear_nomap(PhysAddr(0), Bytes(4 * M)).unwrap();
        assert_eq!(list(early.mem_regions()), [(0, 4 * M, 0, 0)]);
        // Mirrors are ignored unless they were asked for.
        early.mark_mirror(PhysAddr(0), Bytes(M)).unwrap();
        assert!(!early.has_mirror());
        assert_eq!(early.memory.cnt(), 1);
    });
}

#[test]
fn nodes_of_reserved_regions_stay_apart_and_count_by_node() {
    numbers(8, |mut early| {
        let kern = MemblockFlags::RSRV_KERN;
        let huge = kern | MemblockFlags::RSRV_HUGETLB;
        for (base, nid, flags) in [(0, 0, kern), (M, 1, kern), (2 * M, 1, huge)] {
            early
                .reserve_node(PhysAddr(base), Bytes(M), NodeId(nid), flags)
                .unwrap();
        }
        early.reserve(PhysAddr(3 * M), Bytes(M)).unwrap();
        assert_eq!(early.reserved.cnt(), 4);
        let kern = |limit, nid| early.reserved_kern_size(PhysAddr(limit), NodeId(nid)).0;
        assert_eq!(kern(u64::MAX, -1), 3 * M);
        assert_eq!(kern(u64::MAX, 1), 2 * M);
        assert_eq!(kern(M + 7, -1), M + 7);
        let huge = early.reserved_hugetlb_size(PhysAddr::MAX, NodeId::NONE);
        assert_eq!(huge, Bytes(M));
    });
}

#[test]
fn a_full_array_without_leave_to_grow_refuses_and_changes_nothing() {
    numbers(3, |mut early| {
        for i in 0..3 {
            early.reserve(PhysAddr(2 * i * M), Bytes(M)).unwrap();
        }
        add(&mut early, 0, 16 * M, 0);
        let before = list(early.reserved_regions());
        let full = Err(Error::MemblockArrayFull);
        assert_eq!(early.reserve(PhysAddr(8 * M), Bytes(M)), full);
        assert_eq!(early.phys_free(PhysAddr(0), Bytes(1)), full);
        assert_eq!(early.enforce_memory_limit(Bytes(M)), full);
        assert_eq!(early.cap_memory_range(PhysAddr(M), Bytes(M)), full);
        assert_eq!(
            early.phys_alloc(Bytes(1), CACHE),
            Err(Error::MemblockArrayFull)
        );
        // Leave alone is not enough: there is no memory behind the addresses.
        early.allow_resize();
        assert_eq!(early.reserve(PhysAddr(8 * M), Bytes(M)), full);
        assert_eq!(list(early.reserved_regions()), before);
        assert_eq!(list(early.mem_regions()), [(0, 16 * M, 0, 0)]);
        // What needs no entry more is fine.
        early.reserve(PhysAddr(0), Bytes(M)).unwrap();
    });
    numbers(0, |mut early| {
        let full = Err(Error::MemblockArrayFull);
        assert_eq!(early.add(PhysAddr(0), Bytes(M)), full);
        early.allow_resize();
        assert_eq!(early.add(PhysAddr(0), Bytes(M)), full);
    });
}

#[test]
fn a_grown_array_moves_on_and_gives_its_old_place_back() {
    backed(4, &[256], M, |mut early| {
        add(&mut early, M, M, 0);
        early.allow_resize();
        for i in 0..300 {
            early
                .reserve(PhysAddr(16 * M + 2 * i * K), Bytes(K))
                .unwrap();
            early.validate().unwrap();
        }
        assert_eq!(early.reserved.max(), 512);
        // 512 entries of 24 bytes are three pages; the smaller arrays went.
        let place = early.array_range(MemblockKind::Reserved).unwrap();
        assert_eq!(place.size(), Bytes(12 * K));
        let at = early.reserved.search(place.start).unwrap();
        assert_eq!(early.reserved_regions()[at].range(), place);
        assert_eq!(early.reserved.cnt(), 301);
        assert_eq!(early.region().unwrap().placed(), [place]);
    });
}

#[test]
fn an_array_without_a_place_stays_as_it_is() {
    backed(4, &[16], M, |mut early| {
        early.allow_resize();
        add(&mut early, M, 2 * K, 0);
        for i in 0..4 {
            early
                .reserve(PhysAddr(16 * M + 2 * i * K), Bytes(K))
                .unwrap();
        }
        let before = list(early.reserved_regions());
        let result = early.reserve(PhysAddr(0), Bytes(K));
        assert_eq!(result, Err(Error::MemblockNoMemory));
        assert_eq!(list(early.reserved_regions()), before);
        assert_eq!(early.array_range(MemblockKind::Reserved), None);
    });
}

#[test]
fn an_array_whose_place_cannot_be_reserved_goes_back() {
    // Room for one array and not for two, and reserved is full already.
    backed(4, &[1], M, |mut early| {
        early.allow_resize();
        add(&mut early, M, 4 * K, 0);
        for i in 1..4 {
            add(&mut early, 16 * M * i, K, 0);
        }
        for i in 0..4 {
            early
                .reserve(PhysAddr(512 * M + 2 * i * K), Bytes(K))
                .unwrap();
        }
        let before = list(early.mem_regions());
        let result = early.add(PhysAddr(0), Bytes(K));
        assert_eq!(result, Err(Error::MemblockNoMemory));
        assert_eq!(list(early.mem_regions()), before);
        assert_eq!(early.memory.max(), 4);
        assert_eq!(early.array_range(MemblockKind::Memory), None);
        assert_eq!(early.region().unwrap().placed(), []);
        early.validate().unwrap();
    });
}

#[test]
fn an_array_does_not_straddle_two_pieces_of_host_memory() {
    // 256 entries are two pages. Three are free, and the seam is before the
    // last or behind the first.
    for (runs, bottom_up, place) in [([2, 1], false, M), ([1, 2], true, M + 4 * K)] {
        backed(128, &runs, M, |mut early| {
            early.allow_resize();
            early.set_bottom_up(bottom_up);
            add(&mut early, M, 12 * K, 0);
            for i in 0..129 {
                early
                    .reserve(PhysAddr(512 * M + 2 * i * K), Bytes(K))
                    .unwrap();
            }
            let array = early.array_range(MemblockKind::Reserved).unwrap();
            assert_eq!(array.start, PhysAddr(place));
            early.validate().unwrap();
        });
    }
    backed(128, &[1, 1, 1], M, |mut early| {
        early.allow_resize();
        add(&mut early, M, 12 * K, 0);
        for i in 0..128 {
            early
                .reserve(PhysAddr(512 * M + 2 * i * K), Bytes(K))
                .unwrap();
        }
        let result = early.reserve(PhysAddr(0), Bytes(K));
        assert_eq!(result, Err(Error::MemblockNoMemory));
        assert_eq!(early.reserved.max(), 128);
    });
}

#[test]
fn overlaps_of_other_nodes_and_flags_are_counted() {
    numbers(8, |mut early| {
        add(&mut early, M, M, 0);
        let hotplug = MemblockFlags::HOTPLUG;
        early
            .add_node(PhysAddr(0), Bytes(3 * M), NodeId(1), hotplug)
            .unwrap();
        let expected = [(0, M, 1, 1), (M, M, 0, 0), (2 * M, M, 1, 1)];
        assert_eq!(list(early.mem_regions()), expected);
        assert_eq!(early.warnings().node_mismatch, 1);
        assert_eq!(early.warnings().flags_mismatch, 1);
    });
}
