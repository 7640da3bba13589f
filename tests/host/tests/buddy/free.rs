// SPDX-License-Identifier: GPL-2.0

//! Giving blocks back: merging, where the result is put, and what is refused.

use crate::world::*;
use shadowmm_core::buddy::gfp::*;
use shadowmm_core::buddy::*;
use shadowmm_core::error::Error;
use shadowmm_core::page::*;
use shadowmm_core::phys::*;

const NORMAL: ZoneType = ZoneType::Normal;

#[test]
fn the_hand_off_fills_the_lists_from_the_head_on() {
    let world = World::new(&[(0, NORMAL, 0, 4096)], false);
    let blocks = world.hand_off(1, 3075);
    let orders: Vec<_> = blocks.iter().map(|block| block.1).collect();
    assert_eq!(orders[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(orders[10..], [10, 10, 1, 0]);
    let expected = lists(&[
        (0, &[1, 3074]),
        (1, &[2, 3072]),
        (2, &[4]),
        (3, &[8]),
        (4, &[16]),
        (5, &[32]),
        (6, &[64]),
        (7, &[128]),
        (8, &[256]),
        (9, &[512]),
        (10, &[1024, 2048]),
    ]);
    assert_eq!(world.lists(0, NORMAL), expected);
    assert_eq!(world.zone(0, NORMAL).managed(), Pages(3074));
    assert_eq!(world.stats.vm_event(VmEvent::PgFree), 3074);
    world.buddy().validate().unwrap();
}

#[test]
fn a_free_block_merges_as_far_as_it_goes() {
    let world = World::one_zone(1024);
    let pages: Vec<_> = (0..1024)
        .map(|_| world.alloc(GFP_KERNEL, 0).unwrap())
        .collect();
    assert_eq!(pages, (0..1024).collect::<Vec<_>>());
    for pfn in (0..1024).rev().filter(|&pfn| pfn != 512) {
        world.free(pfn, 0).unwrap();
    }
    world.buddy().validate().unwrap();
    world.free(512, 0).unwrap();
    assert_eq!(world.lists(0, NORMAL), lists(&[(10, &[0])]));
    assert_eq!(world.page(512).state(), PageState::Tail);
    world.buddy().validate().unwrap();
}

#[test]
fn a_block_goes_to_the_tail_where_a_larger_merge_is_near() {
    let world = World::one_zone(1024);
    for _ in 0..8 {
        world.alloc(GFP_KERNEL, 0).unwrap();
    }
    world.free(6, 0).unwrap();
    world.free(7, 0).unwrap();
    assert_eq!(world.lists(0, NORMAL)[1], [6]);
    // 0: the block above is 0..2, and 2..4 is not free.
    world.free(0, 0).unwrap();
    // 4: the block above is 4..6, and 6..8 is free: both could become 4..8.
    world.free(4, 0).unwrap();
    assert_eq!(world.lists(0, NORMAL)[0], [0, 4]);
    // 2: the block above is 2..4, and 0..2 is not free as one block.
    world.free(2, 0).unwrap();
    assert_eq!(world.lists(0, NORMAL)[0], [2, 0, 4]);
    // 5 merges with 4, then with 6..8: 0..4 is not one block: to the head.
    world.free(5, 0).unwrap();
    assert_eq!(world.lists(0, NORMAL)[0], [2, 0]);
    assert_eq!(world.lists(0, NORMAL)[2], [4]);
    world.buddy().validate().unwrap();
}

#[test]
fn the_tail_rule_ends_below_the_second_largest_order() {
    let world = World::one_zone(4096);
    let taken: Vec<_> = (0..2)
        .map(|_| world.alloc(GFP_KERNEL, 10).unwrap())
        .collect();
    assert_eq!(taken, [0, 1024]);
    world.free(0, 10).unwrap();
    world.free(1024, 10).unwrap();
    assert_eq!(world.lists(0, NORMAL)[10], [1024, 0, 2048, 3072]);

    // Order 8 at 1024, its twin taken, 1536 free at order 9: to the tail.
    let order_8: Vec<_> = (0..6)
        .map(|_| world.alloc(GFP_KERNEL, 8).unwrap())
        .collect();
    assert_eq!(order_8, [1024, 1280, 1536, 1792, 0, 256]);
    world.free(1536, 8).unwrap();
    world.free(1792, 8).unwrap();
    assert_eq!(world.lists(0, NORMAL)[9], [1536, 512]);
    world.free(0, 8).unwrap();
    world.free(1024, 8).unwrap();
    assert_eq!(world.lists(0, NORMAL)[8], [0, 1024]);
    world.free(1280, 8).unwrap();
    assert_eq!(world.lists(0, NORMAL)[10], [1024, 2048, 3072]);
    world.buddy().validate().unwrap();
}

#[test]
fn order_9_goes_to_the_head_whatever_is_near() {
    let world = World::one_zone(4096);
    for pfn in (0..3072).step_by(512) {
        assert_eq!(world.alloc(GFP_KERNEL, 9), Ok(pfn));
    }
    world.free(0, 9).unwrap();
    // 2560 is taken; 3072, beside the block above, is free at order 10.
    world.free(2048, 9).unwrap();
    assert_eq!(world.lists(0, NORMAL)[9], [2048, 0]);
    assert_eq!(world.lists(0, NORMAL)[10], [3072]);
}

#[test]
fn blocks_do_not_merge_across_zones() {
    let specs = [(0, NORMAL, 0, 512), (0, ZoneType::Movable, 512, 1024)];
    let world = World::new(&specs, false);
    world.hand_off(0, 512);
    world.hand_off(512, 1024);
    assert_eq!(world.lists(0, NORMAL), lists(&[(9, &[0])]));
    assert_eq!(world.lists(0, ZoneType::Movable), lists(&[(9, &[512])]));
    world.buddy().validate().unwrap();
}

#[test]
fn where_a_zone_ends_inside_the_block_above_that_zone_is_asked() {
    // For 2..4, the block above is 0..4, which starts in another zone; so
    // Linux asks whether 4..8 is free in that zone, which it never is.
    let specs = [(0, ZoneType::Dma, 0, 2), (0, NORMAL, 2, 1024)];
    let world = World::new(&specs, false);
    world.hand_off(2, 1024);
    assert_eq!(world.alloc(GFP_KERNEL, 1), Ok(2));
    assert_eq!(world.alloc(GFP_KERNEL, 2), Ok(4));
    assert_eq!(world.alloc(GFP_KERNEL, 1), Ok(8));
    world.free(4, 2).unwrap();
    world.free(2, 1).unwrap();
    assert_eq!(world.lists(0, NORMAL)[1], [2, 10]);
    world.buddy().validate().unwrap();
}

#[test]
fn every_wrong_free_is_named_and_changes_nothing() {
    let world = World::new(&[(0, NORMAL, 0, 2048), (1, NORMAL, 2048, 3072)], false);
    world.hand_off(1024, 2048);
    world.hand_off(2048, 3072);
    world
        .map
        .page(Pfn(7))
        .unwrap()
        .set_state(PageState::Hole, PageOrder::ZERO);
    let block = world.alloc(GFP_KERNEL, 3).unwrap();
    assert_eq!(block, 1024);
    let before = world.snapshot();
    let cases = [
        (1 << 40, 0, Error::ForeignPfn),
        (u64::MAX, 10, Error::ForeignPfn),
        (3072, 0, Error::ForeignPfn),
        (7, 0, Error::ForeignPfn),
        (0, 10, Error::PageReserved),
        (1023, 0, Error::PageReserved),
        (1024, 0, Error::WrongOrder),
        (1024, 2, Error::WrongOrder),
        (1024, 10, Error::WrongOrder),
        (1025, 0, Error::NotBlockHead),
        (1028, 2, Error::NotBlockHead),
        (1031, 3, Error::NotBlockHead),
        (1032, 3, Error::DoubleFree),
        (1033, 0, Error::DoubleFree),
        (2047, 0, Error::DoubleFree),
        (2048, 10, Error::DoubleFree),
        (2048, 0, Error::DoubleFree),
        (3071, 0, Error::DoubleFree),
    ];
    for (pfn, order, error) in cases {
        let refused = world.stats.refusals(error);
        assert_eq!(
            world.free(pfn, order),
            Err(error),
            "page {pfn} order {order}"
        );
        assert_eq!(
            world.buddy().check_free(Pfn(pfn), order_of(order)),
            Err(error)
        );
        assert_eq!(world.stats.refusals(error), refused + 1);
        assert_eq!(world.snapshot(), before);
    }
    let block = (Pfn(1024), order_of(3));
    assert_eq!(world.buddy().check_free(block.0, block.1), Ok(()));
    world.free(1024, 3).unwrap();
    assert_eq!(world.free(1024, 3), Err(Error::DoubleFree));
    assert_eq!(world.stats.refusals(Error::NoMemory), 0);
    world.buddy().validate().unwrap();
}

#[test]
fn pages_are_accepted_once_and_whole() {
    let specs = [(0, ZoneType::Dma, 0, 1536), (0, NORMAL, 1536, 4096)];
    let world = World::new(&specs, false);
    world.page(3000).set_state(PageState::Hole, PageOrder::ZERO);
    world.hand_off(0, 1024);
    let before = world.snapshot();
    let accept = |pfn, order| world.buddy().accept(Pfn(pfn), order_of(order));
    assert_eq!(accept(0, 10), Err(Error::DoubleFree));
    assert_eq!(accept(17, 0), Err(Error::DoubleFree));
    assert_eq!(accept(1025, 1), Err(Error::WrongOrder), "not aligned");
    assert_eq!(accept(1024, 10), Err(Error::WrongOrder), "in two zones");
    assert_eq!(accept(2048, 10), Err(Error::ForeignPfn), "a hole inside");
    assert_eq!(accept(3000, 0), Err(Error::ForeignPfn));
    assert_eq!(accept(4096, 0), Err(Error::ForeignPfn));
    assert_eq!(world.snapshot(), before);
    assert_eq!(world.zone(0, ZoneType::Dma).managed(), Pages(1024));
    assert_eq!(world.page(1024).state(), PageState::Reserved);
    assert_eq!(world.stats.refusals(Error::WrongOrder), 2);
    world.buddy().validate().unwrap();
}

#[test]
fn an_owned_block_goes_back_by_itself() {
    let world = World::one_zone(1024);
    let buddy = world.buddy();
    let before = world.snapshot();
    let block = buddy.alloc_block(&request(GFP_KERNEL, 4)).unwrap();
    assert_eq!((block.pfn(), block.order()), (Pfn(0), order_of(4)));
    assert_eq!(world.page(0).count(), 1);
    drop(block);
    assert_eq!(world.snapshot(), before);
    assert_eq!(world.page(0).count(), 0);

    buddy
        .alloc_block(&request(GFP_KERNEL, 0))
        .unwrap()
        .free()
        .unwrap();
    assert_eq!(world.snapshot(), before);

    let (pfn, order) = buddy
        .alloc_block(&request(GFP_KERNEL, 5))
        .unwrap()
        .into_raw();
    assert_ne!(world.snapshot(), before);
    buddy.free(pfn, order).unwrap();
    assert_eq!(world.snapshot(), before);

    let block = buddy.alloc_block(&request(GFP_KERNEL, 0)).unwrap();
    buddy.free(block.pfn(), block.order()).unwrap();
    assert_eq!(block.free(), Err(Error::DoubleFree));
}

#[test]
fn a_page_names_its_block() {
    let world = World::one_zone(1024);
    world.alloc(GFP_KERNEL, 3).unwrap();
    let block_of = |pfn| world.buddy().block_of(Pfn(pfn));
    let info = |head, order, state| {
        Some(BlockInfo {
            head: Pfn(head),
            order: order_of(order),
            state,
        })
    };
    assert_eq!(block_of(0), info(0, 3, PageState::Allocated));
    assert_eq!(block_of(7), info(0, 3, PageState::Allocated));
    assert_eq!(block_of(8), info(8, 3, PageState::Buddy));
    assert_eq!(block_of(1000), info(512, 9, PageState::Buddy));
    assert_eq!(block_of(1024), None);
}
