// SPDX-License-Identifier: GPL-2.0

//! Many pages at once, exact sizes, splitting and references.

use crate::world::*;
use shadowmm_core::buddy::gfp::*;
use shadowmm_core::error::Error;
use shadowmm_core::page::*;
use shadowmm_core::phys::*;
use shadowmm_core::zone::Watermark;

fn world(pagesets: bool) -> World {
    Threads::run_on(0);
    let world = World::one_zone(4096);
    if pagesets {
        world.buddy().setup_pagesets(|_| 1);
    }
    world
}

/// Everything has come back: four blocks of the largest order.
fn is_whole(world: &World) {
    world.buddy().validate().unwrap();
    world.buddy().drain_all_pages();
    world.buddy().validate().unwrap();
    let lists = world.lists(0, ZoneType::Normal);
    assert_eq!(lists[10].len(), 4);
    assert!(lists[..10].iter().all(|list| list.is_empty()));
}

use shadowmm_core::buddy::PageAllocator;

#[test]
fn many_pages_come_in_order_and_go_as_blocks() {
    for pagesets in [false, true] {
        let world = world(pagesets);
        let buddy = world.buddy();
        let mut pages = [Pfn(0); 1000];
        let request = request(GFP_KERNEL, 7);
        assert_eq!(buddy.alloc_bulk(&request, &mut pages), Ok(1000));
        let expected: Vec<_> = (0..1000).map(Pfn).collect();
        assert_eq!(pages.to_vec(), expected);
        buddy.validate().unwrap();
        assert_eq!(buddy.free_bulk(&pages), 1000);
        assert_eq!(buddy.free_bulk(&pages), 0);
        assert_eq!(world.stats.refusals(Error::DoubleFree), 1000);
        is_whole(&world);
    }
}

#[test]
fn pages_in_any_order_can_be_freed_at_once() {
    let world = world(true);
    let buddy = world.buddy();
    let mut pages = [Pfn(0); 257];
    assert_eq!(
        buddy.alloc_bulk(&request(GFP_KERNEL, 0), &mut pages),
        Ok(257)
    );
    pages.reverse();
    pages[3..90].reverse();
    assert_eq!(buddy.free_bulk(&pages), 257);
    is_whole(&world);
}

#[test]
fn fewer_come_when_the_zone_would_fall_below_its_mark() {
    let world = world(false);
    let buddy = world.buddy();
    let zone = world.zone(0, ZoneType::Normal);
    zone.set_watermark(Watermark::Low, Pages(4000));
    let mut pages = [Pfn(7); 96];
    // 4096 is not above 4000 + 96: one page, as from a single request.
    assert_eq!(buddy.alloc_bulk(&request(GFP_KERNEL, 0), &mut pages), Ok(1));
    assert_eq!(pages[..2], [Pfn(0), Pfn(7)]);
    assert_eq!(
        buddy.alloc_bulk(&request(GFP_KERNEL, 0), &mut pages[1..90]),
        Ok(89)
    );
    assert_eq!(buddy.alloc_bulk(&request(GFP_KERNEL, 0), &mut []), Ok(0));
    assert_eq!(buddy.free_bulk(&pages[..90]), 90);
    zone.set_watermark(Watermark::Low, Pages(0));
    is_whole(&world);
}

#[test]
fn what_is_too_much_of_an_exact_size_goes_back_at_once() {
    for pagesets in [false, true] {
        let world = world(pagesets);
        let buddy = world.buddy();
        let request = request(GFP_KERNEL, 0);
        for pages in [1, 3, 5, 129, 1000, 1024] {
            let pfn = buddy.alloc_exact(&request, Pages(pages)).unwrap();
            let counts = &world.zone(0, ZoneType::Normal).free_counts;
            if pages > 8 {
                assert_eq!(counts.free_pages(), Pages(4096 - pages));
            }
            buddy.validate().unwrap();
            for i in 0..pages {
                assert!(world.page(pfn.0 + i).is_allocated(PageOrder::ZERO));
            }
            buddy.free_exact(pfn, Pages(pages)).unwrap();
            assert!(buddy.free_exact(pfn, Pages(pages)).is_err());
            is_whole(&world);
        }
        for pages in [0, 1025, u64::MAX] {
            let refused = buddy.alloc_exact(&request, Pages(pages));
            assert_eq!(refused, Err(Error::OrderTooLarge));
        }
    }
}

#[test]
fn a_block_is_split_once_and_by_whom_it_belongs_to() {
    let world = world(true);
    let buddy = world.buddy();
    let pfn = world.alloc(GFP_KERNEL, 4).unwrap();
    let split = |pfn, order, to| buddy.split(Pfn(pfn), order_of(order), order_of(to));
    assert_eq!(split(pfn, 3, 0), Err(Error::WrongOrder));
    assert_eq!(split(pfn + 1, 1, 0), Err(Error::NotBlockHead));
    for to in [4, 5, 10] {
        assert_eq!(split(pfn, 4, to), Err(Error::BadPieces));
    }
    split(pfn, 4, 0).unwrap();
    assert_eq!(split(pfn, 4, 0), Err(Error::WrongOrder));
    buddy.validate().unwrap();
    for i in (0..16).rev() {
        world.free(pfn + i, 0).unwrap();
    }
    is_whole(&world);
}

#[test]
fn a_split_goes_to_any_lower_order() {
    for pagesets in [false, true] {
        let world = world(pagesets);
        let buddy = world.buddy();
        for order in 1..=10 {
            for to in 0..order {
                let pfn = world.alloc(GFP_KERNEL, order).unwrap();
                buddy
                    .split(Pfn(pfn), order_of(order), order_of(to))
                    .unwrap();
                buddy.validate().unwrap();
                for first in (pfn..pfn + (1 << order)).step_by(1 << to) {
                    assert!(world.page(first).is_allocated(order_of(to)));
                    assert_eq!(world.page(first).count(), 1);
                    world.free(first, to).unwrap();
                }
            }
        }
        is_whole(&world);
    }
}

#[test]
fn what_fills_a_block_becomes_one() {
    let world = world(true);
    let buddy = world.buddy();
    let pfn = world.alloc(GFP_KERNEL, 5).unwrap();
    let merge = |pfn, order| buddy.merge(Pfn(pfn), order_of(order));
    let split = |pfn, order, to| buddy.split(Pfn(pfn), order_of(order), order_of(to));
    // One already, and as large as can be had of it.
    assert_eq!(merge(pfn, 5), Err(Error::BadPieces));
    assert_eq!(merge(pfn, 4), Err(Error::BadPieces));
    split(pfn, 5, 4).unwrap();
    split(pfn, 4, 2).unwrap();
    split(pfn + 4, 2, 0).unwrap();
    // 4, 1 1 1 1, 4, 4, 16
    assert_eq!(merge(pfn, 0), Err(Error::BadPieces));
    assert_eq!(merge(pfn + 5, 1), Err(Error::BadPieces));
    assert_eq!(merge(pfn + 4, 3), Err(Error::BadPieces));
    assert_eq!(merge(pfn + 1, 0), Err(Error::NotBlockHead));
    buddy.get(Pfn(pfn + 6)).unwrap();
    assert_eq!(merge(pfn, 5), Err(Error::Shared));
    assert_eq!(buddy.put(Pfn(pfn + 6)), Ok(false));
    merge(pfn + 4, 1).unwrap();
    merge(pfn, 5).unwrap();
    buddy.validate().unwrap();
    assert!(world.page(pfn).is_allocated(order_of(5)));
    assert_eq!(world.free(pfn + 4, 1), Err(Error::NotBlockHead));
    world.free(pfn, 5).unwrap();
    assert_eq!(merge(pfn, 5), Err(Error::DoubleFree));
    is_whole(&world);
}

#[test]
fn a_merge_stays_in_its_zone_and_takes_no_free_page() {
    Threads::run_on(0);
    let specs = [(0, ZoneType::Dma, 0, 516), (0, ZoneType::Normal, 516, 1024)];
    let world = World::new(&specs, false);
    world.hand_off(0, 516);
    world.hand_off(516, 1024);
    let buddy = world.buddy();
    while world.alloc(GFP_KERNEL, 0).is_ok() {}
    let merge = |pfn, order| buddy.merge(Pfn(pfn), order_of(order));
    assert_eq!(merge(512, 3), Err(Error::BadPieces));
    merge(512, 2).unwrap();
    merge(516, 2).unwrap();
    assert_eq!(merge(512, 3), Err(Error::BadPieces));
    assert_eq!(merge(1 << 20, 3), Err(Error::ForeignPfn));
    world.free(7, 0).unwrap();
    assert_eq!(merge(0, 3), Err(Error::DoubleFree));
    assert!((0..7).all(|pfn| world.page(pfn).is_allocated(PageOrder::ZERO)));
    buddy.validate().unwrap();
}

#[test]
fn a_page_that_others_need_is_neither_split_nor_freed() {
    let world = world(true);
    let buddy = world.buddy();
    let pfn = world.alloc(GFP_KERNEL, 2).unwrap();
    buddy.get(Pfn(pfn)).unwrap();
    let split = buddy.split(Pfn(pfn), order_of(2), PageOrder::ZERO);
    assert_eq!(split, Err(Error::Shared));
    assert_eq!(buddy.put(Pfn(pfn)), Ok(false));
    let split = buddy.split(Pfn(pfn), order_of(2), PageOrder::ZERO);
    assert_eq!(split, Ok(()));
    buddy.get(Pfn(pfn + 1)).unwrap();
    let pages = [0, 1, 2, 3].map(|i| Pfn(pfn + i));
    assert_eq!(buddy.free_bulk(&pages), 4);
    assert!(world.page(pfn + 1).is_allocated(PageOrder::ZERO));
    assert_eq!(buddy.put(Pfn(pfn + 1)), Ok(true));
    is_whole(&world);
}

#[test]
fn references_do_not_overflow() {
    let world = world(false);
    let buddy = world.buddy();
    let pfn = world.alloc(GFP_KERNEL, 0).unwrap();
    world.page(pfn).set_count(u32::MAX / 2);
    assert_eq!(buddy.get(Pfn(pfn)), Ok(()));
    assert_eq!(buddy.get(Pfn(pfn)), Err(Error::TooManyReferences));
    world.page(pfn).set_count(1);
    world.free(pfn, 0).unwrap();
    is_whole(&world);
}

#[test]
fn the_last_reference_frees_the_block() {
    for pagesets in [false, true] {
        let world = world(pagesets);
        let buddy = world.buddy();
        for order in [0, 4] {
            let pfn = world.alloc(GFP_KERNEL, order).unwrap();
            assert_eq!(world.page(pfn).count(), 1);
            buddy.get(Pfn(pfn)).unwrap();
            buddy.get(Pfn(pfn)).unwrap();
            assert_eq!(world.page(pfn).count(), 3);
            assert_eq!(buddy.put(Pfn(pfn)), Ok(false));
            world.free(pfn, order).unwrap();
            assert!(world.page(pfn).is_allocated(order_of(order)));
            buddy.validate().unwrap();
            assert_eq!(buddy.put(Pfn(pfn)), Ok(true));
            assert_eq!(buddy.put(Pfn(pfn)), Err(Error::DoubleFree));
            assert_eq!(buddy.get(Pfn(pfn)), Err(Error::DoubleFree));
        }
        is_whole(&world);
    }
}
