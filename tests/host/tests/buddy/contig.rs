// SPDX-License-Identifier: GPL-2.0

//! Ranges of pages in one piece: what is in the way moves, and what fails leaves
//! no trace.

use crate::typed::*;
use crate::world::*;
use proptest::prelude::*;
use shadowmm_core::buddy::gfp::*;
use shadowmm_core::buddy::*;
use shadowmm_core::error::Error;
use shadowmm_core::page::PageState;
use shadowmm_core::page::ZoneId;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::*;
use shadowmm_core::trace::TraceEvent;
use shadowmm_core::zone::Watermark;
use shadowmm_host_tests::between_locks;
use shadowmm_host_tests::owner::Owner;

const NODE: NodeId = NodeId(0);

/// Page blocks 1 to `blocks`, with an owner of what is movable.
fn machine(blocks: u64) -> (&'static TypedWorld, &'static Owner) {
    let end = 512 + 512 * blocks;
    let world: &'static TypedWorld = Box::leak(Box::new(TypedWorld::with_memory(512, end)));
    world.hand_off(512, end);
    let zone = world.zone();
    zone.set_watermark(Watermark::Min, Pages(16));
    zone.set_watermark(Watermark::Low, Pages(20));
    zone.set_watermark(Watermark::High, Pages(24));
    let owner = world.owner();
    (world, owner)
}

/// Takes single pages until `left` are free, then frees each that `lets_go`
/// chooses.
fn fill(world: &TypedWorld, owner: &Owner, left: u64, lets_go: impl Fn(u64) -> bool) {
    while world.zone().free_counts.free_pages().0 > left {
        let request = request(GFP_HIGHUSER_MOVABLE, 0);
        let pfn = world.buddy().alloc(&request).unwrap();
        owner.adopt(world, pfn.0, 0);
    }
    for pfn in owner.blocks() {
        if lets_go(pfn) {
            owner.take(pfn).unwrap();
            world.buddy().free(Pfn(pfn), PageOrder::ZERO).unwrap();
        }
    }
}

fn types(world: &TypedWorld, blocks: u64) -> Vec<MigrateType> {
    let pfns = (1..=blocks).map(|block| Pfn(block * 512));
    pfns.map(|pfn| world.buddy().migratetype_of(pfn)).collect()
}

fn take(world: &TypedWorld, start: u64, end: u64, gfp: Gfp) -> Result<(), Error> {
    let whom = ContigFor::Other;
    world
        .buddy()
        .alloc_contig_range(range(start, end), gfp, whom)
}

#[test]
fn a_free_range_is_taken_page_by_page_and_comes_back() {
    let (world, _) = machine(8);
    let before = world.lists();
    // Over three page blocks, from the inside of one to that of another.
    take(world, 1000, 2100, GFP_KERNEL).unwrap();
    world.buddy().validate().unwrap();
    for pfn in 1000..2100 {
        assert!(world.page(pfn).is_allocated(PageOrder::ZERO));
        assert_eq!(world.page(pfn).count(), 1);
    }
    assert_eq!(world.page(999).count(), 0);
    assert_eq!(types(world, 8), [MigrateType::Movable; 8]);
    let free = world.zone().free_counts.free_pages();
    assert_eq!(free, Pages(8 * 512 - 1100));
    // One page is somebody else's still.
    world.buddy().get(Pfn(1500)).unwrap();
    world
        .buddy()
        .free_contig_range(Pfn(1000), Pages(1100))
        .unwrap();
    assert_eq!(world.page(1500).count(), 1);
    assert_eq!(
        world.buddy().free_contig_range(Pfn(1499), Pages(2)),
        Err(Error::DoubleFree)
    );
    world.buddy().free(Pfn(1500), PageOrder::ZERO).unwrap();
    world.buddy().validate().unwrap();
    let free = |lists: &Vec<Vec<Vec<u64>>>| {
        lists
            .iter()
            .map(|l| l.iter().flatten().count())
            .collect::<Vec<_>>()
    };
    assert_eq!(free(&world.lists()), free(&before));
}

#[test]
fn what_is_in_the_way_moves() {
    let (world, owner) = machine(8);
    fill(world, owner, 100, |pfn| pfn % 3 == 0);
    let held = owner.blocks().len();
    take(world, 1024, 2048, GFP_KERNEL).unwrap();
    world.buddy().validate().unwrap();
    owner.check_all(world);
    let blocks = owner.blocks();
    assert_eq!(blocks.len(), held);
    assert!(blocks.iter().all(|pfn| !(1024..2048).contains(pfn)));
    let moved = world.world.stats.vm_event(VmEvent::PgmigrateSuccess);
    assert!((600..=700).contains(&moved), "{moved}");
    world
        .buddy()
        .free_contig_range(Pfn(1024), Pages(1024))
        .unwrap();
    world.buddy().validate().unwrap();
}

#[test]
fn what_is_larger_than_a_page_is_moved_as_huge_pages_are_asked_for() {
    let (world, owner) = machine(8);
    for _ in 0..600 {
        let block = world.buddy().alloc(&request(GFP_HIGHUSER_MOVABLE, 2));
        owner.adopt(world, block.unwrap().0, 2);
    }
    let first = owner.blocks()[0] / 512 * 512;
    let events = Threads::heard(|| take(world, first, first + 512, GFP_KERNEL).unwrap());
    let asked: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            TraceEvent::PageAlloc { order, gfp, .. } if *order == order_of(2) => Some(*gfp),
            _ => None,
        })
        .collect();
    assert_eq!(asked.len(), 128);
    // No word of it to kswapd, and from ZONE_MOVABLE first.
    let wanted = (GFP_KERNEL | __GFP_RETRY_MAYFAIL).without(__GFP_RECLAIM) | GFP_TRANSHUGE;
    assert!(asked.iter().all(|&gfp| gfp == wanted), "{asked:?}");
    world.buddy().validate().unwrap();
    owner.check_all(world);
}

#[test]
fn what_is_taken_is_told_and_counted_by_page_blocks() {
    let (world, _) = machine(8);
    let events = Threads::heard(|| take(world, 1000, 2100, GFP_KERNEL).unwrap());
    let mut next = 512;
    let mut ends = vec![];
    for event in &events {
        if let TraceEvent::CompactionIsolateFreepages(isolated) = event {
            assert_eq!(isolated.range.start, Pfn(next));
            assert_eq!(isolated.scanned, isolated.taken);
            next += isolated.taken.0;
            ends.push(isolated.range.end.0);
        }
    }
    // All of the blocks at both ends are taken at first.
    assert_eq!(next, 2560);
    let (last, others) = ends.split_last().unwrap();
    assert_eq!(*last, 2100);
    assert!(others.iter().all(|end| end % 512 == 0), "{ends:?}");
    let counted = world.world.stats.vm_event(VmEvent::CompactIsolated);
    assert_eq!(counted, 2560 - 512);
}

#[test]
fn a_range_can_be_one_block_and_zeroed() {
    let (world, owner) = machine(8);
    fill(world, owner, 3000, |_| false);
    let comp = GFP_KERNEL | __GFP_COMP | __GFP_ZERO;
    take(world, 1024, 2048, comp).unwrap();
    assert!(world.page(1024).is_allocated(order_of(10)));
    assert_eq!(
        world.world.memory.is_zero(range(1024, 2048).bytes()),
        Ok(true)
    );
    world.buddy().validate().unwrap();
    owner.check_all(world);
    world.buddy().free(Pfn(1024), order_of(10)).unwrap();
    world.buddy().validate().unwrap();
    // What is no block is refused before anything is done.
    let before = world.lists();
    for (start, end) in [(1024, 1024 + 768), (1030, 1038), (512, 512 + 2048)] {
        assert_eq!(take(world, start, end, comp), Err(Error::OrderTooLarge));
    }
    assert_eq!(world.lists(), before);
}

#[test]
fn what_has_to_stay_is_in_the_way_and_nothing_changes() {
    let (world, owner) = machine(8);
    fill(world, owner, 3000, |pfn| pfn % 2 == 0);
    let stays = world.buddy().alloc(&request(GFP_KERNEL, 0)).unwrap().0;
    let block = stays & !511;
    let (lists, kept) = (world.lists(), types(world, 8));
    let beside = if stays == block + 500 {
        block + 400
    } else {
        block + 500
    };
    for (start, end) in [
        (stays, stays + 1),
        (block, block + 512),
        // It is in the range's page block, though not in the range.
        (beside, beside + 4),
    ] {
        assert_eq!(take(world, start, end, GFP_KERNEL), Err(Error::NotMovable));
        assert_eq!(world.lists(), lists);
        assert_eq!(types(world, 8), kept);
    }
    owner.check_all(world);
    world.buddy().validate().unwrap();
}

#[test]
fn what_its_owner_keeps_is_in_the_way() {
    let (world, owner) = machine(8);
    fill(world, owner, 100, |pfn| pfn % 2 == 0);
    let kept = *owner.blocks().iter().find(|pfn| **pfn > 1500).unwrap();
    owner.hold(kept, Moved::No);
    let free = world.zone().free_counts.free_pages();
    let range = (kept & !511, (kept & !511) + 512);
    assert_eq!(
        take(world, range.0, range.1, GFP_KERNEL),
        Err(Error::NotMovable)
    );
    world.buddy().validate().unwrap();
    owner.check_all(world);
    assert!(owner.blocks().contains(&kept));
    assert_eq!(world.zone().free_counts.free_pages(), free);
    assert_eq!(types(world, 8), [MigrateType::Movable; 8]);
}

#[test]
fn bad_ranges_and_flags_are_refused() {
    let (world, _) = machine(4);
    let end = 512 * 5;
    for (start, stop) in [
        (600, 600),
        (700, 600),
        (0, 600),
        (2000, end + 1),
        (9999, 10001),
    ] {
        assert_eq!(take(world, start, stop, GFP_KERNEL), Err(Error::ForeignPfn));
    }
    for flag in [__GFP_NOFAIL, __GFP_NORETRY, __GFP_MEMALLOC, __GFP_HIGH] {
        assert_eq!(take(world, 512, 600, GFP_KERNEL | flag), Err(Error::BadGfp));
    }
    // Another has isolated the page block.
    assert!(world.buddy().isolate_pageblock(Pfn(1024), true));
    let sorted = |mut lists: Vec<Vec<Vec<u64>>>| {
        lists.iter_mut().flatten().for_each(|list| list.sort());
        lists
    };
    let lists = sorted(world.lists());
    assert_eq!(take(world, 600, 1100, GFP_KERNEL), Err(Error::NotMovable));
    // Isolated and let go, a page block is the last on its list.
    assert_eq!(sorted(world.lists()), lists);
    assert!(world.buddy().isolate_pageblock(Pfn(1024), false));
    world.buddy().validate().unwrap();
    assert_eq!(types(world, 4), [MigrateType::Movable; 4]);
    assert_eq!(world.page(600).state(), PageState::Tail);
}

#[test]
fn a_page_block_that_was_let_go_is_let_go_once() {
    let (world, owner) = machine(4);
    // A block over two page blocks, of which neither can be had alone.
    let request = request(GFP_HIGHUSER_MOVABLE, 10);
    let pfn = world.buddy().alloc(&request).unwrap().0;
    owner.adopt(world, pfn, 10);
    let second = Pfn(pfn + 512);
    let is_isolated = move || world.buddy().migratetype_of(second) == MigrateType::Isolate;
    // Somebody else isolates the second one as soon as it is let go, and once.
    let (mut was_isolated, mut others) = (false, false);
    let other = move || {
        if was_isolated && !is_isolated() && !others {
            others = world.buddy().isolate_pageblock(second, true);
            assert!(others);
        }
        was_isolated |= is_isolated();
    };
    let taken = between_locks(other, || {
        let taken = take(world, second.0 + 64, second.0 + 128, GFP_KERNEL);
        // Where no lock was taken after it was let go, now at the latest.
        let _ = world
            .buddy()
            .free_report(ZoneId::new(NODE, ZoneType::Normal));
        taken
    });
    assert_eq!(taken, Err(Error::NotMovable));
    assert!(is_isolated());
    assert!(world.buddy().isolate_pageblock(second, false));
    world.buddy().validate().unwrap();
    owner.check_all(world);
}

#[test]
fn a_place_for_many_pages_is_found() {
    let (world, owner) = machine(8);
    fill(world, owner, 100, |pfn| pfn % 3 != 0);
    let stays = world.buddy().alloc(&request(GFP_KERNEL, 0)).unwrap().0;
    let pages = Pages(1024);
    let find = |pages, gfp| world.buddy().alloc_contig_pages(pages, gfp, NODE, None);
    let pfn = find(pages, GFP_KERNEL).unwrap();
    assert!(pfn.is_aligned(order_of(10)));
    assert!(!(pfn.0..pfn.0 + 1024).contains(&stays));
    world.buddy().validate().unwrap();
    owner.check_all(world);
    assert_eq!(find(Pages(0), GFP_KERNEL), Err(Error::OrderTooLarge));
    assert_eq!(find(Pages(100_000), GFP_KERNEL), Err(Error::NoMemory));
    world.buddy().free_contig_range(pfn, pages).unwrap();
    world.buddy().validate().unwrap();
}

#[test]
fn a_block_is_looked_for_behind_where_more_is_free() {
    let (world, owner) = machine(4);
    fill(world, owner, 100, |pfn| pfn < 1024);
    // The first page block is free in one piece, which is more than is wanted.
    let first = world.page(512).state_and_order();
    assert_eq!(first, (PageState::Buddy, PageOrder::PAGEBLOCK));
    let comp = GFP_KERNEL | __GFP_COMP;
    let find = |pages| {
        world
            .buddy()
            .alloc_contig_pages(Pages(pages), comp, NODE, None)
    };
    let pfn = find(64).unwrap();
    assert!(pfn.0 >= 1024);
    assert!(world.page(pfn.0).is_allocated(order_of(6)));
    world.buddy().validate().unwrap();
    owner.check_all(world);
    world.buddy().free(pfn, order_of(6)).unwrap();
    // No place has a block of these.
    for pages in [96, 2048] {
        assert_eq!(find(pages), Err(Error::OrderTooLarge));
    }
    world.buddy().validate().unwrap();
}

#[test]
fn pages_of_cma_are_for_cma() {
    let (world, owner) = machine(4);
    for pfn in (1024..1536).step_by(512) {
        let taken = take(world, pfn, pfn + 512, GFP_KERNEL);
        taken.unwrap();
        world.set_type(pfn, MigrateType::Cma);
        world
            .buddy()
            .free_contig_range(Pfn(pfn), Pages(512))
            .unwrap();
    }
    world.buddy().validate().unwrap();
    assert_eq!(take(world, 1100, 1200, GFP_KERNEL), Err(Error::NotMovable));
    let buddy = world.buddy();
    let cma = buddy.alloc_contig_range(range(1100, 1200), GFP_KERNEL, ContigFor::Cma);
    cma.unwrap();
    assert_eq!(world.buddy().migratetype_of(Pfn(1100)), MigrateType::Cma);
    world
        .buddy()
        .free_contig_range(Pfn(1100), Pages(100))
        .unwrap();
    assert_eq!(world.zone().free_counts.free_cma(), Pages(512));
    world.buddy().validate().unwrap();
    owner.check_all(world);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever range is asked for of whatever zone: it is had as a whole, or
    /// nothing is lost and every page block is what it was.
    #[test]
    fn a_range_is_had_as_a_whole_or_not_at_all(
        seed in any::<u64>(),
        keep in 1u64..6,
        unmovable in 0usize..3,
        ranges in prop::collection::vec((0u64..8 * 512, 1u64..1500), 1..6),
    ) {
        let (world, owner) = machine(8);
        fill(world, owner, 600, |pfn| (pfn ^ seed) % keep != 0);
        for _ in 0..unmovable {
            let _ = world.buddy().alloc(&request(GFP_KERNEL, (seed % 3) as u32));
        }
        let mut taken: Vec<(u64, u64)> = vec![];
        for (start, len) in ranges {
            let (start, end) = (512 + start, (512 + start + len).min(9 * 512));
            let free = world.zone().free_counts.free_pages();
            let held = owner.blocks().len();
            match take(world, start, end, GFP_KERNEL) {
                Ok(()) => {
                    prop_assert_eq!(world.zone().free_counts.free_pages() + Pages(end - start), free);
                    taken.push((start, end));
                }
                Err(Error::NotMovable | Error::NoMemory) => {
                    prop_assert_eq!(world.zone().free_counts.free_pages(), free);
                }
                Err(error) => prop_assert!(false, "{:?}", error),
            }
            // What moves may have claimed page blocks where it went.
            prop_assert!(!types(world, 8).contains(&MigrateType::Isolate));
            prop_assert_eq!(owner.blocks().len(), held);
            owner.check_all(world);
            world.buddy().validate().unwrap();
        }
        for (start, end) in taken {
            world.buddy().free_contig_range(Pfn(start), Pages(end - start)).unwrap();
        }
        world.buddy().validate().unwrap();
    }
}
