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
    assert_eq!(buddy.split(Pfn(pfn), order_of(3)), Err(Error::WrongOrder));
    assert_eq!(
        buddy.split(Pfn(pfn + 1), order_of(0)),
        Err(Error::NotBlockHead)
    );
    buddy.split(Pfn(pfn), order_of(4)).unwrap();
    assert_eq!(buddy.split(Pfn(pfn), order_of(4)), Err(Error::WrongOrder));
    buddy.validate().unwrap();
    for i in (0..16).rev() {
        world.free(pfn + i, 0).unwrap();
    }
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
