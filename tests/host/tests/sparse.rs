// SPDX-License-Identifier: GPL-2.0

//! sparse.rs and early.rs: every frame finds its descriptor, and what that
//! costs.

use proptest::prelude::*;
use shadowmm_core::early::alloc_in_one_piece;
use shadowmm_core::early::check_memory;
use shadowmm_core::error::Error;
use shadowmm_core::memblock::EarlyMemory;
use shadowmm_core::memblock::MemblockFlags;
use shadowmm_core::memblock::MemblockRegion;
use shadowmm_core::phys::*;
use shadowmm_core::sparse::section_order;
use shadowmm_core::sparse::SectionNr;
use shadowmm_core::sparse::SectionOrder;
use shadowmm_core::sparse::Sparse;
use shadowmm_host_tests::early::memory;
use shadowmm_host_tests::early::scratch;
use shadowmm_host_tests::early::scratch_for;
use shadowmm_host_tests::early::CountingAlloc;
use shadowmm_host_tests::early::Memory;
use std::collections::BTreeMap;
use std::collections::HashSet;

/// The sections of `memory`, by the book: each page is looked at.
fn sections(memory: &[Memory], order: u8) -> BTreeMap<u64, NodeId> {
    let mut sections = BTreeMap::new();
    for (nid, range) in memory {
        for pfn in range.start.0..range.end.0 {
            sections.entry(pfn >> order).or_insert(*nid);
        }
    }
    sections
}

/// Up to eight ranges with holes between them, on up to four nodes.
fn any_memory() -> impl Strategy<Value = Vec<Memory>> {
    prop::collection::vec((0i32..4, 0u64..3000, 1u64..4000), 1..8).prop_map(|parts| {
        let mut at = 0;
        parts
            .into_iter()
            .map(|(nid, hole, pages)| {
                let start = at + hole;
                at = start + pages;
                memory(nid, start, at)
            })
            .collect()
    })
}

fn any_order() -> impl Strategy<Value = SectionOrder> {
    prop_oneof![Just(SectionOrder::MIN), Just(SectionOrder::MAX)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_frame_of_a_present_section_has_its_own_descriptor(
        memory in any_memory(),
        order in any_order(),
    ) {
        let model = sections(&memory, order.get());
        let mut scratch = scratch(scratch_for(&memory, order));
        let mut early = CountingAlloc::new(&memory, &mut scratch);
        let mut sparse = Sparse::new();
        sparse.init(&mut early, order, PhysAddr::ZERO).unwrap();
        let ranges = || memory.iter().copied();
        prop_assert_eq!(sparse.validate(ranges()), Ok(()));
        let found: BTreeMap<_, _> = sparse.sections().map(|(nr, s)| (nr.0, s.nid())).collect();
        prop_assert_eq!(&found, &model);
        prop_assert_eq!(sparse.present_sections(), model.len() as u64);
        prop_assert_eq!(
            sparse.highest_present_section(),
            model.keys().last().map(|nr| SectionNr(*nr))
        );
        let mut seen = HashSet::new();
        let end = memory.last().unwrap().1.end.0 + (2 << order.get());
        for pfn in 0..end {
            let page = sparse.page(Pfn(pfn));
            prop_assert_eq!(page.is_some(), model.contains_key(&(pfn >> order.get())));
            if let Some(page) = page {
                prop_assert!(seen.insert(page as *const _));
            }
        }
        prop_assert_eq!(sparse.map_bytes().0, seen.len() as u64 * 16);
        let asked: u64 = early.allocated.iter().map(|(range, _)| range.size().0).sum();
        prop_assert_eq!(sparse.map_bytes().0 + sparse.table_bytes().0, asked);
    }

    #[test]
    fn descriptors_and_tables_stay_in_the_budget_with_the_largest_sections(
        memory in any_memory(),
        scale in 0u32..6,
    ) {
        let memory: Vec<Memory> = memory
            .into_iter()
            .map(|(nid, r)| (nid, PfnRange {
                start: Pfn(r.start.0 << scale),
                end: Pfn(r.end.0 << scale),
            }))
            .collect();
        let order = section_order(memory.iter().copied());
        let ram: u64 = memory.iter().map(|(_, range)| range.pages().0).sum();
        let descriptors = |order: u8| (sections(&memory, order).len() as u64 * 16) << order;
        let budget = |bytes: u64| bytes * 10_000 <= ram * 4096 * 45;
        if order > SectionOrder::MIN {
            prop_assert!(budget(descriptors(order.get())));
            let mut scratch = scratch(scratch_for(&memory, order));
            let mut early = CountingAlloc::new(&memory, &mut scratch);
            let mut sparse = Sparse::new();
            sparse.init(&mut early, order, PhysAddr::ZERO).unwrap();
            prop_assert!(budget(sparse.map_bytes().0 + sparse.table_bytes().0));
        }
        // The tables are at most a root and a near table page for each of the
        // few sections that there are.
        if order < SectionOrder::MAX {
            let larger = order.get() + 1;
            let tables = 4096 * (2 + sections(&memory, larger).len() as u64);
            prop_assert!(!budget(descriptors(larger) + tables));
        }
    }
}

#[test]
fn the_section_size_follows_the_memory() {
    let order = |ranges: &[Memory]| section_order(ranges.iter().copied()).get();
    // A PC's two ranges, 16 GiB: as Linux.
    let pc = [
        memory(0, 1, 159),
        memory(0, 256, 0xbffd7),
        memory(0, 1 << 20, 5 << 20),
    ];
    assert_eq!(order(&pc), 15);
    // 512 MiB on two nodes, aligned: no waste, so as Linux too.
    assert_eq!(order(&[memory(0, 0, 65536), memory(1, 65536, 131072)]), 15);
    // With a tail cut off each, 128 MiB would waste a quarter: 16 MiB.
    let cut = [memory(0, 0, 49_500), memory(1, 65536, 115_036)];
    assert_eq!(order(&cut), 12);
    // Scattered memory gets the smallest, whatever it costs.
    let scattered: Vec<_> = (0..64)
        .map(|i| memory(0, i * 4096, i * 4096 + 64))
        .collect();
    assert_eq!(order(&scattered), 10);
}

#[test]
fn a_frame_beyond_the_near_table_is_found_through_the_roots() {
    // Sections 0, 255, 256 and one close to the last frame of all.
    let ranges = [0, 255 << 10, 256 << 10, 0xefff_f000].map(|pfn| memory(0, pfn, pfn + 8));
    let mut scratch = scratch(4096);
    let mut early = CountingAlloc::new(&ranges, &mut scratch);
    let mut sparse = Sparse::new();
    sparse
        .init(&mut early, SectionOrder::MIN, PhysAddr::ZERO)
        .unwrap();
    assert_eq!(sparse.validate(ranges.into_iter()), Ok(()));
    for (_, range) in ranges {
        let first = sparse.page(range.start).unwrap() as *const _ as usize;
        let next = sparse.page(range.start + Pages(1)).unwrap() as *const _ as usize;
        assert_eq!(next - first, 16);
        assert!(!sparse.pfn_valid(range.start + Pages(2 << 10)) || range.start.0 == 255 << 10);
    }
    assert!(!sparse.pfn_valid(Pfn(u64::MAX)));
    // Four sections of 16 KiB, and tables in proportion to the root table.
    assert_eq!(sparse.map_bytes(), Bytes(4 << 14));
    assert!(sparse.table_bytes().0 < (0xf000_0000u64 >> 10 >> 7) * 16 + 4 * 4096 + 8192);
}

#[test]
fn a_section_of_two_nodes_belongs_to_the_first() {
    let ranges = [memory(2, 0, 700), memory(1, 700, 2048)];
    let mut scratch = scratch(64);
    let mut early = CountingAlloc::new(&ranges, &mut scratch);
    let mut sparse = Sparse::new();
    sparse
        .init(&mut early, SectionOrder::MIN, PhysAddr::ZERO)
        .unwrap();
    let nids: Vec<_> = sparse.sections().map(|(_, s)| s.nid().0).collect();
    assert_eq!(nids, [2, 1]);
}

#[test]
fn sections_are_made_once_and_not_of_bad_memory() {
    let ranges = [memory(0, 0, 1024)];
    let mut room = scratch(64);
    let mut early = CountingAlloc::new(&ranges, &mut room);
    let mut sparse = Sparse::new();
    let order = SectionOrder::MIN;
    sparse.init(&mut early, order, PhysAddr::ZERO).unwrap();
    assert_eq!(
        sparse.init(&mut early, order, PhysAddr::ZERO),
        Err(Error::StageOrder)
    );

    let check = |ranges: &[Memory]| check_memory(ranges.iter().copied());
    assert_eq!(check(&ranges), Ok(Pages(1024)));
    assert_eq!(check(&[]), Err(Error::MapEmpty));
    assert_eq!(check(&[memory(0, 5, 5)]), Err(Error::MapEmpty));
    assert_eq!(check(&[memory(-1, 0, 9)]), Err(Error::MapBadNode));
    assert_eq!(check(&[memory(64, 0, 9)]), Err(Error::MapBadNode));
    assert_eq!(
        check(&[memory(0, 0, 9), memory(1, 8, 12)]),
        Err(Error::MapNodeOverlap)
    );
    assert_eq!(
        check(&[memory(0, 9, 12), memory(1, 0, 5)]),
        Err(Error::MapNodeOverlap)
    );
    assert_eq!(check(&[memory(0, 0, 1 << 32)]), Err(Error::MapTooSparse));
}

/// memblock over a region that has this memory, in runs of these lengths. A
/// range may leave up to a page block of its run unused.
fn with_memblock<R>(
    ranges: &[Memory],
    runs: &[usize],
    test: impl FnOnce(&mut EarlyMemory<'_, '_>) -> R,
) -> R {
    let mut pages: Vec<_> = runs.iter().map(|&pages| scratch(pages)).collect();
    let mut backing = Backing::new();
    for run in &mut pages {
        backing
            .push(BackingRun::from_pages(run, NodeId(0)))
            .unwrap();
    }
    let mut region = Box::new(Region::EMPTY);
    region.lay(&backing, ranges.iter().copied()).unwrap();
    let mut arrays = [[MemblockRegion::EMPTY; 128], [MemblockRegion::EMPTY; 128]];
    let [present, reserved] = &mut arrays;
    let mut early = EarlyMemory::new(present, reserved, Some(&mut region));
    for (nid, range) in ranges {
        let bytes = range.bytes();
        early
            .add_node(bytes.start, bytes.size(), *nid, MemblockFlags::NONE)
            .unwrap();
    }
    test(&mut early)
}

fn reserved_on(early: &EarlyMemory<'_, '_>, range: PfnRange) -> Bytes {
    early
        .reserved_regions()
        .iter()
        .map(|region| region.range().intersect(range.bytes()).size())
        .sum()
}

#[test]
fn descriptors_lie_on_their_own_node_or_where_there_is_room() {
    let ranges = [memory(0, 0, 4096), memory(1, 4096, 8192)];
    with_memblock(&ranges, &[8192 + 1024], |early| {
        let mut sparse = Sparse::new();
        let order = SectionOrder::MIN;
        sparse.init(early, order, PhysAddr::ZERO).unwrap();
        // Four sections each.
        assert!(reserved_on(early, ranges[0].1) >= Bytes(4 << 14));
        assert!(reserved_on(early, ranges[1].1) >= Bytes(4 << 14));
        let all = sparse.map_bytes() + sparse.table_bytes();
        assert_eq!(early.reserved_size(), all);
    });
    with_memblock(&ranges, &[8192 + 1024], |early| {
        // Node 1 is full but for its last page.
        let full = PhysRange {
            start: ranges[1].1.start.addr(),
            end: Pfn(8191).addr(),
        };
        early.reserve(full.start, full.size()).unwrap();
        let mut sparse = Sparse::new();
        sparse
            .init(early, SectionOrder::MIN, PhysAddr::ZERO)
            .unwrap();
        assert!(reserved_on(early, ranges[0].1) >= Bytes(8 << 14));
        assert_eq!(sparse.section(SectionNr(7)).unwrap().nid(), NodeId(1));
    });
    with_memblock(&ranges, &[8192 + 1024], |early| {
        early.reserve(PhysAddr::ZERO, Pages(8192).bytes()).unwrap();
        let refused = Sparse::new().init(early, SectionOrder::MIN, PhysAddr::ZERO);
        assert_eq!(refused, Err(Error::MemblockNoMemory));
    });
}

#[test]
fn descriptors_spare_the_memory_below_the_minimum() {
    let ranges = [memory(0, 0, 4096)];
    with_memblock(&ranges, &[4096 + 512], |early| {
        early.set_bottom_up(true);
        let mut sparse = Sparse::new();
        let min = Pfn(1024).addr();
        sparse.init(early, SectionOrder::MIN, min).unwrap();
        let low = PfnRange {
            start: Pfn(0),
            end: Pfn(1024),
        };
        assert_eq!(reserved_on(early, low), sparse.table_bytes());
    });
}

#[test]
fn what_straddles_two_runs_of_host_memory_is_put_aside_and_given_back() {
    // The highest 16 KiB lie two pages on each run.
    let ranges = [memory(0, 0, 1024)];
    with_memblock(&ranges, &[1022, 2], |early| {
        let size = Bytes(1 << 14);
        let range = alloc_in_one_piece(early, size, size, PhysAddr::ZERO, NodeId(0)).unwrap();
        assert_eq!(range.start, Pfn(1016).addr());
        assert_eq!(early.reserved_size(), size);
        assert!(early.region().unwrap().is_contiguous(range));
    });
}
