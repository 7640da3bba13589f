// SPDX-License-Identifier: GPL-2.0

//! memblock/: marks, limits, mirrors, texts, errors and the hand-off, one by one.

use shadowmm_core::error::Error;
use shadowmm_core::memblock::*;
use shadowmm_core::phys::*;

const K: u64 = 1 << 10;
const M: u64 = 1 << 20;
const CACHE: Bytes = Bytes(64);

/// A memblock of numbers alone, with arrays of `max` entries.
fn numbers(max: usize, test: impl FnOnce(EarlyMemory<'_, '_>)) {
    let mut memory = vec![MemblockRegion::EMPTY; max];
    let mut reserved = vec![MemblockRegion::EMPTY; max];
    test(EarlyMemory::new(&mut memory, &mut reserved, None));
}

/// A memblock with arrays of `max` entries and host memory behind `[start, end)`.
fn backed(max: usize, runs: &[u64], start: u64, test: impl FnOnce(EarlyMemory<'_, '_>)) {
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
    let mut region = Box::new(Region::empty());
    region
        .lay(&backing, [(NodeId(0), range)].into_iter())
        .unwrap();
    test(EarlyMemory::new(
        &mut memory,
        &mut reserved,
        Some(&mut region),
    ));
}

fn add(early: &mut EarlyMemory<'_, '_>, base: u64, size: u64, nid: i32) {
    let flags = MemblockFlags::NONE;
    early
        .add_node(PhysAddr(base), Bytes(size), NodeId(nid), flags)
        .unwrap();
}

/// The regions as (base, size, node, flags).
fn list(regions: &[MemblockRegion]) -> Vec<(u64, u64, i32, u32)> {
    let row = |r: &MemblockRegion| (r.base.0, r.size.0, r.nid.0, r.flags.0);
    regions.iter().map(row).collect()
}

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
fn zeroed_memory_needs_memory() {
    numbers(8, |mut early| {
        add(&mut early, 0, M, 0);
        assert_eq!(early.alloc(Bytes(64), CACHE), Err(Error::RegionMissing));
        assert_eq!(early.reserved.cnt(), 0);
        assert_eq!(early.alloc_raw(Bytes(64), CACHE), Ok(PhysAddr(M - 64)));
    });
    backed(8, &[16], M, |mut early| {
        add(&mut early, M, 2 * M, 0);
        assert_eq!(early.alloc(Bytes(64), CACHE), Err(Error::ForeignPfn));
        assert_eq!(early.reserved.cnt(), 0);
        early.set_current_limit(PhysAddr(M + 64 * K));
        let addr = early.alloc(Bytes(100), CACHE).unwrap();
        assert_eq!(addr, PhysAddr(M + 64 * K - 128));
        let range = PhysRange::new(addr, Bytes(100));
        assert_eq!(early.region().unwrap().is_zero(range), Ok(true));
        let behind = PhysRange::new(range.end, Bytes(28));
        assert_eq!(early.region().unwrap().is_zero(behind), Ok(false));
    });
}

#[test]
fn low_memory_is_below_four_gib() {
    backed(8, &[16], (4 << 30) - 32 * K, |mut early| {
        add(&mut early, (4 << 30) - 32 * K, 64 * K, 0);
        let low = early.alloc_low(Bytes(64), CACHE).unwrap();
        // The limit is the last byte below 4 GiB, not 4 GiB.
        assert_eq!(low, PhysAddr((4 << 30) - 128));
        let any = early.alloc(Bytes(64), CACHE).unwrap();
        assert_eq!(any, PhysAddr((4 << 30) + 32 * K - 64));
    });
}

#[test]
fn the_first_page_is_never_given() {
    numbers(8, |mut early| {
        add(&mut early, 0, 8 * K, 0);
        early.set_bottom_up(true);
        assert_eq!(early.phys_alloc(Bytes(1), Bytes(1)), Ok(PhysAddr(4 * K)));
        let rest = early.phys_alloc(Bytes(4 * K), Bytes(1));
        assert_eq!(rest, Err(Error::MemblockNoMemory));
    });
}

#[test]
fn no_alignment_means_a_cache_line() {
    numbers(8, |mut early| {
        add(&mut early, M, M, 0);
        assert_eq!(
            early.phys_alloc(Bytes(1), Bytes(0)),
            Ok(PhysAddr(2 * M - 64))
        );
        assert_eq!(early.warnings().no_align, 1);
    });
}

#[test]
fn mirrored_memory_first() {
    numbers(8, |mut early| {
        early.set_mirrored_kernelcore(true);
        add(&mut early, M, 4 * M, 0);
        early.mark_mirror(PhysAddr(2 * M), Bytes(M)).unwrap();
        assert!(early.has_mirror());
        let alloc = |early: &mut EarlyMemory<'_, '_>, size| early.phys_alloc(Bytes(size), CACHE);
        assert_eq!(alloc(&mut early, M / 2), Ok(PhysAddr(2 * M + M / 2)));
        assert_eq!(early.warnings().mirror_fallback, 0);
        assert_eq!(alloc(&mut early, M), Ok(PhysAddr(4 * M)));
        assert_eq!(early.warnings().mirror_fallback, 1);
        // Huge pages are for users and don't take mirrored memory.
        let huge = early.alloc_hugetlb(Bytes(256 * K), NodeId::NONE, false);
        assert_eq!(huge, Ok(PhysAddr(4 * M - 256 * K)));
    });
}

#[test]
fn hotpluggable_memory_is_left_alone_with_movable_node() {
    numbers(8, |mut early| {
        add(&mut early, M, M, 0);
        let hotplug = MemblockFlags::HOTPLUG;
        early
            .add_node(PhysAddr(4 * M), Bytes(M), NodeId(1), hotplug)
            .unwrap();
        assert_eq!(early.phys_alloc(Bytes(64), CACHE), Ok(PhysAddr(5 * M - 64)));
        early.set_movable_node(true);
        assert_eq!(early.phys_alloc(Bytes(64), CACHE), Ok(PhysAddr(2 * M - 64)));
        let exact = (PhysAddr(0), ALLOC_ACCESSIBLE, NodeId(1));
        let result = early.alloc_exact_nid_raw(Bytes(64), CACHE, exact.0, exact.1, exact.2);
        assert_eq!(result, Err(Error::MemblockNoMemory));
    });
}

#[test]
fn kexec_scratch_memory_alone() {
    numbers(8, |mut early| {
        add(&mut early, M, 4 * M, 0);
        early.mark_kho_scratch(PhysAddr(2 * M), Bytes(M)).unwrap();
        early.set_kho_scratch_only(true);
        assert_eq!(early.phys_alloc(Bytes(64), CACHE), Ok(PhysAddr(3 * M - 64)));
        early.set_kho_scratch_only(false);
        assert_eq!(early.phys_alloc(Bytes(64), CACHE), Ok(PhysAddr(5 * M - 64)));
    });
}

#[test]
fn huge_pages_are_aligned_to_their_size() {
    numbers(8, |mut early| {
        add(&mut early, M, 8 * M, 0);
        add(&mut early, 16 * M, M, 1);
        let huge = |early: &mut EarlyMemory<'_, '_>, nid, exact| {
            early.alloc_hugetlb(Bytes(2 * M), NodeId(nid), exact)
        };
        assert_eq!(huge(&mut early, 1, true), Err(Error::MemblockNoMemory));
        assert_eq!(huge(&mut early, 1, false), Ok(PhysAddr(6 * M)));
        let flags = MemblockFlags::RSRV_KERN | MemblockFlags::RSRV_HUGETLB;
        assert_eq!(early.reserved_regions()[0].flags, flags);
        // The node that was tried last: none in particular.
        assert_eq!(early.reserved_regions()[0].nid, NodeId::NONE);
    });
}

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

#[test]
fn questions() {
    numbers(8, |mut early| {
        assert_eq!(early.start_of_dram(), PhysAddr(0));
        assert_eq!(early.end_of_dram(), PhysAddr(0));
        assert!(!early.is_memory(PhysAddr(0)));
        add(&mut early, 4 * K + 1, 16 * K, 1);
        add(&mut early, M, M, 64);
        early.reserve(PhysAddr(M), Bytes(K)).unwrap();
        assert_eq!(early.start_of_dram(), PhysAddr(4 * K + 1));
        assert_eq!(early.end_of_dram(), PhysAddr(2 * M));
        assert!(early.is_reserved(PhysAddr(M)) && !early.is_reserved(PhysAddr(M + K)));
        assert!(early.is_region_memory(PhysAddr(M), Bytes(M)));
        assert!(!early.is_region_memory(PhysAddr(M), Bytes(M + 1)));
        assert!(early.is_region_reserved(PhysAddr(0), Bytes(M + 1)));
        assert!(!early.is_region_reserved(PhysAddr(0), Bytes(M)));
        // A page is searched by its first byte, and the range is cut downwards.
        assert_eq!(early.search_pfn_nid(Pfn(1)), None);
        let pfns = PfnRange {
            start: Pfn(1),
            end: Pfn(5),
        };
        assert_eq!(early.search_pfn_nid(Pfn(2)), Some((pfns, NodeId(1))));
        assert_eq!(early.search_pfn_nid(Pfn(u64::MAX)), None);
        assert!(early.validate_numa_coverage(Bytes(M)));
        assert!(!early.validate_numa_coverage(Bytes(M - 1)));
        assert_eq!(early.estimated_nr_free_pages(), Pages(260));
        early.reserved_mark_kern(PhysAddr(0), Bytes::MAX).unwrap();
        assert_eq!(early.estimated_nr_free_pages(), Pages(259));
    });
}

#[test]
fn iterators_go_both_ways() {
    numbers(8, |mut early| {
        add(&mut early, 0, M, 0);
        add(&mut early, 2 * M, M, 1);
        early.mark_nomap(PhysAddr(0), Bytes(4 * K)).unwrap();
        early.reserve(PhysAddr(M / 2), Bytes(2 * M)).unwrap();
        let starts = |ranges: MemRanges<'_>| -> Vec<_> {
            ranges
                .map(|(range, nid)| (range.start.0, range.size().0, nid.0))
                .collect()
        };
        let filter = early.filter(NodeId::NONE, MemblockFlags::NONE);
        let mut free = vec![(4 * K, M / 2 - 4 * K, 0), (2 * M + M / 2, M / 2, 1)];
        assert_eq!(starts(early.free_ranges(filter)), free);
        free.reverse();
        assert_eq!(starts(early.free_ranges(filter).downwards()), free);
        let filter = early.filter(NodeId(1), MemblockFlags::NONE);
        assert_eq!(starts(early.free_ranges(filter)), free[..1]);
        assert_eq!(
            starts(early.mem_ranges()),
            [(4 * K, M - 4 * K, 0), (2 * M, M, 1)]
        );
        assert_eq!(starts(early.reserved_ranges()), [(M / 2, 2 * M, -1)]);
        let pfns: Vec<_> = early
            .mem_pfn_ranges(NodeId(0))
            .map(|(r, _)| r.pages().0)
            .collect();
        assert_eq!(pfns, [1, 255]);
    });
    numbers(8, |early| {
        let filter = early.filter(NodeId::NONE, MemblockFlags::NONE);
        assert_eq!(early.free_ranges(filter).count(), 0);
        assert_eq!(early.free_ranges(filter).downwards().count(), 0);
        // A position from nowhere ends the walk.
        let (memory, reserved) = (early.mem_regions(), early.reserved_regions());
        for mut position in [7, 7 << 32, 0x8000_0000_8000_0000] {
            let up = next_mem_range(&mut position.clone(), None, memory, Some(reserved));
            assert_eq!(up, None);
            let down = next_mem_range_rev(&mut position, None, memory, Some(reserved));
            assert_eq!((down, position), (None, u64::MAX));
        }
    });
}

#[test]
fn the_dump_is_linux_s_to_the_byte() {
    numbers(8, |mut early| {
        add(&mut early, 0x1000, 0x9e000, 0);
        early.add(PhysAddr(0x100000), Bytes(0x3fedc000)).unwrap();
        early
            .mark_nomap(PhysAddr(0x3ffdb000), Bytes(0x1000))
            .unwrap();
        early.reserve_kern(PhysAddr(0), Bytes(0x10000)).unwrap();
        let mut text = String::new();
        early.dump_all(&mut text).unwrap();
        let expected = "MEMBLOCK configuration:\n\
            \x20memory size = 0x000000003ff7a000 reserved size = 0x0000000000010000\n\
            \x20memory.cnt  = 0x3\n\
            \x20memory[0x0]\t[0x0000000000001000-0x000000000009efff], 0x000000000009e000 bytes on node 0 flags: 0x0\n\
            \x20memory[0x1]\t[0x0000000000100000-0x000000003ffdafff], 0x000000003fedb000 bytes flags: 0x0\n\
            \x20memory[0x2]\t[0x000000003ffdb000-0x000000003ffdbfff], 0x0000000000001000 bytes flags: 0x4\n\
            \x20reserved.cnt  = 0x1\n\
            \x20reserved[0x0]\t[0x0000000000000000-0x000000000000ffff], 0x0000000000010000 bytes flags: 0x20\n";
        assert_eq!(text, expected);
        let mut text = String::new();
        early
            .reserved_mark_noinit(PhysAddr(0x8000), Bytes(0x1000))
            .unwrap();
        early.memory.show(&mut text).unwrap();
        early.reserved.show(&mut text).unwrap();
        let expected = "   0: 0x0000000000001000..0x000000000009efff    0 NONE\n\
            \x20  1: 0x0000000000100000..0x000000003ffdafff    x NONE\n\
            \x20  2: 0x000000003ffdb000..0x000000003ffdbfff    x NOMAP\n\
            \x20  0: 0x0000000000000000..0x0000000000007fff    x RSV_KERN\n\
            \x20  1: 0x0000000000008000..0x0000000000008fff    x RSV_NIT|RSV_KERN\n\
            \x20  2: 0x0000000000009000..0x000000000000ffff    x RSV_KERN\n";
        assert_eq!(text, expected);
        assert_eq!(MemblockFlags(0x101).to_string(), "HOTPLUG|UNKNOWN");
    });
}

/// What a hand-off said: reserved page ranges with nodes, and blocks.
#[derive(Default)]
struct Log {
    reserved: Vec<(u64, u64, i32)>,
    blocks: Vec<(u64, u8)>,
}

impl HandOffSink for Log {
    fn reserved(&mut self, pfns: PfnRange, nid: NodeId) {
        self.reserved.push((pfns.start.0, pfns.end.0, nid.0));
    }

    fn free(&mut self, pfn: Pfn, order: PageOrder) {
        self.blocks.push((pfn.0, order.get()));
    }
}

#[test]
fn the_hand_off_gives_aligned_blocks_in_order() {
    numbers(16, |mut early| {
        add(&mut early, 0, 0x9f000, 0);
        add(&mut early, 0x100000, 0xf00000, 1);
        early.reserve_kern(PhysAddr(0), Bytes(0x1800)).unwrap();
        early.reserve(PhysAddr(0x9e800), Bytes(0x800)).unwrap();
        early
            .reserve_node(
                PhysAddr(0x400000),
                Bytes(0x800000),
                NodeId(1),
                MemblockFlags::NONE,
            )
            .unwrap();
        early.reserve(PhysAddr(0xd00000), Bytes(0x1000)).unwrap();
        early
            .reserved_mark_noinit(PhysAddr(0xd00000), Bytes(0x1000))
            .unwrap();
        early
            .mark_nomap(PhysAddr(0xf00000), Bytes(0x100000))
            .unwrap();
        early
            .mark_hotplug(PhysAddr(0xe00000), Bytes(0x1000))
            .unwrap();
        early.set_movable_node(true);
        let mut log = Log::default();
        let retired = early.free_all(Pfn(0xe80), &mut log);
        // What must not be mapped comes first; what initialises itself not at all.
        let reserved = [
            (0xf00, 0x1000, 1),
            (0, 2, 0),
            (0x9e, 0x9f, 0),
            (0x400, 0xc00, 1),
        ];
        assert_eq!(log.reserved, reserved);
        let blocks = [
            (0x2, 1),
            (0x4, 2),
            (0x8, 3),
            (0x10, 4),
            (0x20, 5),
            (0x40, 6),
            (0x80, 4),
            (0x90, 3),
            (0x98, 2),
            (0x9c, 1),
            (0x100, 8),
            (0x200, 9),
            (0xc00, 8),
            (0xd01, 0),
            (0xd02, 1),
            (0xd04, 2),
            (0xd08, 3),
            (0xd10, 4),
            (0xd20, 5),
            (0xd40, 6),
            (0xd80, 7),
            (0xe00, 7),
        ];
        assert_eq!(log.blocks, blocks);
        let pages = blocks.iter().map(|(_, order)| 1 << order).sum();
        assert_eq!(retired.free_pages(), Pages(pages));
        // It can still be read: the reserved regions have their nodes now.
        let nodes: Vec<_> = retired.reserved_regions().iter().map(|r| r.nid.0).collect();
        assert_eq!(nodes, [0, 0, 1, 1]);
        assert!(retired
            .mem_regions()
            .iter()
            .all(|r| !r.flags.intersects(MemblockFlags::HOTPLUG)));
    });
}

#[test]
fn block_zero_and_odd_ends() {
    for (start, end, expected) in [
        (0, 1024, vec![(0, 10)]),
        (
            0,
            1023,
            vec![
                (0, 9),
                (512, 8),
                (768, 7),
                (896, 6),
                (960, 5),
                (992, 4),
                (1008, 3),
                (1016, 2),
                (1020, 1),
                (1022, 0),
            ],
        ),
        (1023, 2049, vec![(1023, 0), (1024, 10), (2048, 0)]),
        (3, 3, vec![]),
    ] {
        numbers(4, |mut early| {
            add(&mut early, start << 12, (end - start) << 12, 0);
            let mut log = Log::default();
            early.free_all(Pfn(1 << 40), &mut log);
            assert_eq!(log.blocks, expected);
        });
    }
    // Less than a page is not handed over, nor what lies behind the limit.
    numbers(4, |mut early| {
        add(&mut early, 4 * K + 1, 8 * K - 2, 0);
        let mut blocks = Vec::new();
        let mut sink = (|_, _| (), |pfn: Pfn, _| blocks.push(pfn));
        assert_eq!(
            early.free_all(Pfn(1 << 40), &mut sink).free_pages(),
            Pages(0)
        );
        assert_eq!(blocks, []);
    });
    numbers(4, |mut early| {
        add(&mut early, 0, M, 0);
        let mut log = Log::default();
        early.free_all(Pfn(0), &mut log);
        assert_eq!(log.blocks, []);
    });
}

#[test]
fn a_reservation_outside_of_memory_is_on_the_first_node() {
    numbers(4, |mut early| {
        add(&mut early, M, M, 3);
        early.reserve(PhysAddr(0), Bytes(4 * K)).unwrap();
        let mut log = Log::default();
        early.free_all(Pfn(512), &mut log);
        assert_eq!(log.reserved, [(0, 1, 3)]);
    });
}
