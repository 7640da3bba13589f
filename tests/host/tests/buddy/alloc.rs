// SPDX-License-Identifier: GPL-2.0

//! Taking blocks: which one, from which zone, how deep, and how it is counted.

use crate::world::*;
use shadowmm_core::buddy::gfp::*;
use shadowmm_core::buddy::*;
use shadowmm_core::error::Error;
use shadowmm_core::nodemask::NodeMask;
use shadowmm_core::page::*;
use shadowmm_core::phys::*;
use shadowmm_core::zone::Watermark;

const DMA: ZoneType = ZoneType::Dma;
const DMA32: ZoneType = ZoneType::Dma32;
const NORMAL: ZoneType = ZoneType::Normal;
const MOVABLE: ZoneType = ZoneType::Movable;

/// Two nodes; node 0 has all kinds of zones, node 1 the upper two.
const PC: [ZoneSpec; 6] = [
    (0, DMA, 0, 1024),
    (0, DMA32, 1024, 4096),
    (0, NORMAL, 4096, 8192),
    (0, MOVABLE, 8192, 10240),
    (1, NORMAL, 10240, 14336),
    (1, MOVABLE, 14336, 16384),
];

fn pc() -> World {
    let world = World::new(&PC, false);
    for (_, _, start, end) in PC {
        world.hand_off(start, end);
    }
    world
}

/// The zones that requests of order 10 are served from until none is left.
fn zones_in_turn(world: &World, request: AllocRequest) -> Vec<(i32, ZoneType)> {
    let mut zones = vec![];
    loop {
        match world.buddy().alloc(&request) {
            Ok(pfn) => {
                let zone = world.page(pfn.0).zone_id();
                zones.push((zone.nid().0, zone.kind()));
            }
            Err(error) => {
                assert_eq!(error, Error::NoMemory);
                zones.dedup();
                return zones;
            }
        }
    }
}

fn on(nid: i32, gfp: Gfp) -> AllocRequest {
    request(gfp, 10).on(NodeId(nid))
}

#[test]
fn the_smallest_block_that_fits_is_split_from_the_top() {
    let world = World::one_zone(2048);
    assert_eq!(world.alloc(GFP_KERNEL, 3), Ok(0));
    let left = lists(&[
        (3, &[8]),
        (4, &[16]),
        (5, &[32]),
        (6, &[64]),
        (7, &[128]),
        (8, &[256]),
        (9, &[512]),
        (10, &[1024]),
    ]);
    assert_eq!(world.lists(0, NORMAL), left);
    assert_eq!(world.alloc(GFP_KERNEL, 5), Ok(32));
    assert_eq!(world.alloc(GFP_KERNEL, 0), Ok(8));
    assert_eq!(world.lists(0, NORMAL)[..3], [vec![9], vec![10], vec![12]]);
    let report = world.buddy().free_report(ZoneId::new(NodeId(0), NORMAL));
    let report = report.unwrap();
    assert_eq!(report.blocks, [1, 1, 1, 0, 1, 0, 1, 1, 1, 1, 1]);
    assert_eq!(report.free, Pages(2048 - 8 - 32 - 1));
    let counts = &world.zone(0, NORMAL).free_counts;
    assert_eq!(counts.free_pages_blocks(), Pages(512 + 1024));
    assert_eq!(world.page(8).count(), 1);
    assert_eq!(world.page(9).count(), 0);
    world.buddy().validate().unwrap();
}

#[test]
fn all_of_a_zone_can_be_had_and_comes_back() {
    for order in 0..=10 {
        let world = World::one_zone(4096);
        let before = world.snapshot();
        let mut taken = vec![];
        while let Ok(pfn) = world.alloc(GFP_KERNEL, order) {
            taken.push(pfn);
        }
        assert_eq!(taken.len(), 4096 >> order);
        assert_eq!(world.alloc(GFP_KERNEL, 0), Err(Error::NoMemory));
        world.buddy().validate().unwrap();
        for &pfn in taken.iter().rev() {
            world.free(pfn, order).unwrap();
        }
        assert_eq!(world.snapshot()[0].1, before[0].1);
        world.buddy().validate().unwrap();
    }
}

#[test]
fn each_zone_falls_back_on_the_lower_ones_then_on_other_nodes() {
    let all_of_0 = [(0, MOVABLE), (0, NORMAL), (0, DMA32), (0, DMA)];
    let all_of_1 = [(1, MOVABLE), (1, NORMAL)];
    let cases = [
        (
            on(0, GFP_HIGHUSER_MOVABLE),
            [&all_of_0[..], &all_of_1].concat(),
        ),
        (
            on(1, GFP_HIGHUSER_MOVABLE),
            [&all_of_1[..], &all_of_0].concat(),
        ),
        (on(0, GFP_KERNEL), [&all_of_0[1..], &all_of_1[1..]].concat()),
        (on(1, GFP_KERNEL), [&all_of_1[1..], &all_of_0[1..]].concat()),
        (on(0, GFP_DMA32), all_of_0[2..].to_vec()),
        (on(1, GFP_DMA), all_of_0[3..].to_vec()),
        (on(1, GFP_KERNEL | __GFP_THISNODE), all_of_1[1..].to_vec()),
        (on(1, GFP_DMA | __GFP_THISNODE), vec![]),
        (on(0, GFP_HIGHUSER | __GFP_THISNODE), all_of_0[1..].to_vec()),
        // Movable without high memory stays out of ZONE_MOVABLE.
        (
            on(1, GFP_KERNEL | __GFP_MOVABLE | __GFP_THISNODE),
            all_of_1[1..].to_vec(),
        ),
    ];
    for (request, expected) in cases {
        let world = pc();
        assert_eq!(zones_in_turn(&world, request), expected, "{request:?}");
        world.buddy().validate().unwrap();
    }
}

#[test]
fn without_a_node_the_running_cpu_decides() {
    let world = pc();
    let from = |cpu| {
        Threads::run_on(cpu);
        let pfn = world.alloc(GFP_KERNEL, 0).unwrap();
        Threads::run_on(0);
        world.page(pfn).nid()
    };
    assert_eq!((from(0), from(1)), (NodeId(0), NodeId(1)));

    // CPU 1's node is not one of the shadow's: the lowest serves it.
    let world = World::new(&[(2, NORMAL, 0, 1024), (3, NORMAL, 1024, 2048)], false);
    world.hand_off(0, 2048);
    Threads::run_on(1);
    assert_eq!(world.alloc(GFP_KERNEL, 10), Ok(0));
    Threads::run_on(0);
}

#[test]
fn a_set_of_nodes_is_kept_to_except_by_the_urgent() {
    let only_1: NodeMask = [NodeId(1)].into_iter().collect();
    let world = pc();
    let request = on(0, GFP_KERNEL).within(only_1);
    assert_eq!(zones_in_turn(&world, request), [(1, NORMAL)]);
    let none = on(0, GFP_KERNEL).within(NodeMask::NONE);
    assert_eq!(world.buddy().alloc(&none), Err(Error::NoMemory));

    // The slow path lets GFP_ATOMIC look elsewhere, but not GFP_NOWAIT.
    let nowait = on(0, GFP_NOWAIT).within(only_1);
    assert_eq!(world.buddy().alloc(&nowait), Err(Error::NoMemory));
    let atomic = on(0, GFP_ATOMIC).within(only_1);
    assert_eq!(
        zones_in_turn(&world, atomic),
        [(0, NORMAL), (0, DMA32), (0, DMA)]
    );
    let this = on(1, GFP_ATOMIC | __GFP_THISNODE).within(NodeMask::NONE);
    assert_eq!(world.buddy().alloc(&this), Err(Error::NoMemory));
}

/// How many of 1024 pages a kind of request leaves, one page at a time.
fn leaves(gfp: Gfp, min: u64, reserve: u64) -> u64 {
    let world = World::one_zone(1024);
    let zone = world.zone(0, NORMAL);
    zone.set_watermark(Watermark::Min, Pages(min));
    zone.set_watermark(Watermark::Low, Pages(min * 5 / 4));
    zone.set_watermark(Watermark::High, Pages(min * 3 / 2));
    zone.set_lowmem_reserve(NORMAL, Pages(reserve));
    while world.alloc(gfp, 0).is_ok() {}
    world.buddy().validate().unwrap();
    zone.free_counts.free_pages().0
}

#[test]
fn how_deep_a_request_digs_depends_on_its_flags() {
    let nomemalloc = __GFP_NOMEMALLOC;
    assert_eq!(leaves(GFP_KERNEL, 100, 0), 100);
    assert_eq!(leaves(GFP_KERNEL, 100, 30), 130);
    assert_eq!(leaves(GFP_NOWAIT, 100, 0), 100);
    assert_eq!(leaves(GFP_KERNEL | __GFP_HIGH, 100, 0), 50);
    assert_eq!(leaves(GFP_ATOMIC, 100, 0), 38);
    assert_eq!(leaves(GFP_ATOMIC, 101, 7), 51 - 51 / 4 + 7);
    assert_eq!(leaves(GFP_ATOMIC | nomemalloc, 100, 0), 50);
    assert_eq!(leaves(GFP_KERNEL | __GFP_MEMALLOC, 100, 30), 0);
    assert_eq!(
        leaves(GFP_KERNEL | __GFP_MEMALLOC | nomemalloc, 100, 0),
        100
    );
    // Must not fail: all of it where Linux would have killed somebody, else
    // half of the min watermark.
    assert_eq!(leaves(GFP_KERNEL | __GFP_NOFAIL, 100, 30), 0);
    assert_eq!(
        leaves(GFP_KERNEL | __GFP_NOFAIL | __GFP_NORETRY, 100, 0),
        50
    );
    assert_eq!(
        leaves(GFP_KERNEL | __GFP_NOFAIL | __GFP_THISNODE, 100, 0),
        50
    );
    assert_eq!(leaves(GFP_NOWAIT | __GFP_NOFAIL, 100, 0), 100);
}

#[test]
fn nobody_is_killed_for_a_costly_order_or_a_low_zone() {
    // Where somebody is, all of the zone can be had; else half of the min
    // watermark stays, and at order 4 the last block would cross it.
    let cases = [
        (NORMAL, GFP_KERNEL, 3, 0),
        (NORMAL, GFP_KERNEL, 4, 64),
        (NORMAL, GFP_KERNEL | __GFP_RETRY_MAYFAIL, 0, 50),
        (DMA32, GFP_KERNEL | __GFP_DMA32, 0, 50),
    ];
    for (kind, gfp, order, left) in cases {
        let world = World::new(&[(0, kind, 0, 1024)], false);
        world.hand_off(0, 1024);
        let zone = world.zone(0, kind);
        zone.set_watermark(Watermark::Min, Pages(100));
        zone.set_watermark(Watermark::Low, Pages(125));
        zone.set_watermark(Watermark::High, Pages(150));
        while world.alloc(gfp | __GFP_NOFAIL, order).is_ok() {}
        assert_eq!(
            zone.free_counts.free_pages(),
            Pages(left),
            "{kind:?} {order}"
        );
    }
}

#[test]
fn the_reserve_of_a_lower_zone_holds_against_requests_for_higher_ones() {
    let world = pc();
    for kind in [NORMAL, MOVABLE] {
        world.zone(0, DMA).set_lowmem_reserve(kind, Pages(1024));
        world.zone(0, DMA32).set_lowmem_reserve(kind, Pages(2048));
    }
    let expected = [(0, NORMAL), (0, DMA32), (1, NORMAL)];
    assert_eq!(zones_in_turn(&world, on(0, GFP_KERNEL)), expected);
    assert_eq!(
        world.zone(0, DMA32).free_counts.free_pages(),
        Pages(3072 - 1024)
    );
    assert_eq!(
        zones_in_turn(&world, on(0, GFP_DMA32)),
        [(0, DMA32), (0, DMA)]
    );
}

#[test]
fn a_zone_without_a_large_block_is_passed_over() {
    let world = pc();
    // Node 1's normal zone keeps only every other page.
    let one = request(GFP_KERNEL | __GFP_THISNODE, 0).on(NodeId(1));
    let pages: Vec<_> = std::iter::from_fn(|| world.buddy().alloc(&one).ok()).collect();
    assert_eq!(pages.len(), 4096);
    for &pfn in pages.iter().filter(|pfn| pfn.0 % 2 == 0) {
        world.buddy().free(pfn, PageOrder::ZERO).unwrap();
    }
    let pair = request(GFP_KERNEL, 1).on(NodeId(1));
    let pfn = world.buddy().alloc(&pair).unwrap();
    assert_eq!(world.page(pfn.0).nid(), NodeId(0));
    let pair = request(GFP_KERNEL | __GFP_THISNODE, 1).on(NodeId(1));
    assert_eq!(world.buddy().alloc(&pair), Err(Error::NoMemory));
    // It is passed over without its lock being taken.
    let counts = &world.zone(1, NORMAL).free_counts;
    assert_eq!(counts.free_pages(), Pages(2048));
    let ok = |order| {
        let (mark, reserve) = (Pages(100), Pages(100));
        zone_watermark_ok(
            counts,
            order_of(order),
            mark,
            reserve,
            AllocFlags::WMARK_LOW,
        )
    };
    assert_eq!((ok(0), ok(1), ok(10)), (true, false, false));
    world.buddy().validate().unwrap();
}

#[test]
fn what_cannot_be_asked_for_is_refused_before_anything_changes() {
    let world = pc();
    let before = world.snapshot();
    let bad = Gfp::from_bits(0x1).unwrap() | Gfp::from_bits(0x4).unwrap();
    assert_eq!(world.alloc(bad, 0), Err(Error::BadGfp));
    assert_eq!(
        world.buddy().alloc(&on(2, GFP_KERNEL)),
        Err(Error::NodeOffline)
    );
    assert_eq!(
        world.buddy().alloc(&on(64, GFP_KERNEL)),
        Err(Error::NodeOffline)
    );
    assert_eq!(
        world.buddy().alloc(&on(-2, GFP_KERNEL)),
        Err(Error::NodeOffline)
    );
    assert_eq!(world.snapshot(), before);
    assert_eq!(world.stats.refusals(Error::NodeOffline), 3);
    assert_eq!(world.stats.refusals(Error::BadGfp), 1);

    let raw = AllocRequest::from_raw;
    assert_eq!(raw(0xcc0, 10, -1), Ok(request(GFP_KERNEL, 10)));
    assert_eq!(raw(0xcc0, 0, 63), Ok(request(GFP_KERNEL, 0).on(NodeId(63))));
    assert_eq!(raw(0xcc0, 11, -1), Err(Error::OrderTooLarge));
    assert_eq!(raw(0xcc0, u32::MAX, -1), Err(Error::OrderTooLarge));
    assert_eq!(raw(0xcc0, 0, 64), Err(Error::NodeOffline));
    assert_eq!(raw(0xcc0, 0, -2), Err(Error::NodeOffline));
    assert_eq!(raw(0xcc0, 0, i32::MIN), Err(Error::NodeOffline));
    assert_eq!(raw(0x200, 0, -1), Err(Error::BadGfp));
    assert_eq!(raw(1 << 24, 0, -1), Err(Error::BadGfp));
    assert_eq!(raw(0x3, 0, -1), Err(Error::BadGfp));
}

#[test]
fn zeroed_means_zeroed() {
    let world = World::new(&[(0, NORMAL, 0, 1024)], true);
    world.hand_off(0, 1024);
    let pfn = world.alloc(GFP_KERNEL | __GFP_ZERO, 2).unwrap();
    let bytes = range(pfn, pfn + 4).bytes();
    assert_eq!(world.memory.is_zero(bytes), Ok(true));
}

#[test]
fn memory_in_use_is_not_zeroed_and_not_given_out() {
    let mut world = World::new(&[(0, NORMAL, 0, 1024)], true);
    let here = range(3, 4).bytes();
    let dirt = world.memory.place_slice(here, 512, |_| !0u64).unwrap();
    world.hand_off(0, 1024);
    let before = world.snapshot();
    let zeroed = GFP_KERNEL | __GFP_ZERO;
    assert_eq!(world.alloc(zeroed, 2), Err(Error::PageReserved));
    assert_eq!(world.snapshot(), before);
    assert!(dirt.iter().all(|&word| word == !0));
    assert_eq!(world.stats.vm_event(VmEvent::PgAlloc(NORMAL)), 0);

    world.memory.release(here, dirt).unwrap();
    assert_eq!(world.memory.is_zero(here), Ok(false));
    assert_eq!(world.alloc(zeroed, 2), Ok(0));
    assert_eq!(world.memory.is_zero(here), Ok(true));
}

#[test]
fn pages_are_counted_where_they_came_from_and_where_they_were_wanted() {
    let world = pc();
    let numa = |nid, kind| {
        let id = ZoneId::new(NodeId(nid), kind);
        NumaStat::ALL.map(|stat| world.stats.numa(id, stat))
    };
    // CPU 0 is on node 0: 1 for itself, 2 for node 1.
    world.alloc(GFP_KERNEL, 3).unwrap();
    for _ in 0..2 {
        let request = request(GFP_HIGHUSER_MOVABLE, 0).on(NodeId(1));
        world.buddy().alloc(&request).unwrap();
    }
    //                                hit miss foreign interleave local other
    assert_eq!(numa(0, NORMAL), [1, 0, 0, 0, 1, 0]);
    assert_eq!(numa(1, MOVABLE), [2, 0, 0, 0, 0, 2]);
    // The rest of node 1's movable zone and all of its normal zone, then 1 more.
    let one = on(1, GFP_HIGHUSER_MOVABLE | __GFP_THISNODE);
    assert_eq!(zones_in_turn(&world, one), [(1, MOVABLE), (1, NORMAL)]);
    let movable = numa(1, MOVABLE);
    let more = world.buddy().alloc(&on(1, GFP_HIGHUSER_MOVABLE)).unwrap();
    assert_eq!(world.page(more.0).zone(), MOVABLE);
    assert_eq!(numa(0, MOVABLE), [0, 1, 0, 0, 1, 0]);
    assert_eq!(numa(1, MOVABLE)[2], movable[2] + 1);

    let pgalloc = |kind| world.stats.vm_event(VmEvent::PgAlloc(kind));
    assert_eq!(pgalloc(DMA), 0);
    assert_eq!(pgalloc(NORMAL), 8 + 4096);
    assert_eq!(pgalloc(MOVABLE), 2 + 1024 + 1024);
    world.buddy().free(more, PageOrder::MAX).unwrap();
    assert_eq!(world.stats.vm_event(VmEvent::PgFree), 16384 + 1024);

    // A lower zone of the node where the page was wanted is a hit too.
    let own = on(0, GFP_KERNEL | __GFP_THISNODE);
    assert_eq!(
        zones_in_turn(&world, own),
        [(0, NORMAL), (0, DMA32), (0, DMA)]
    );
    assert_eq!(numa(0, DMA32), [3, 0, 0, 0, 3, 0]);
    assert_eq!(numa(0, NORMAL)[2], 0);
}

#[test]
fn a_request_that_would_have_reclaimed_is_a_stall() {
    let world = World::new(&[(0, NORMAL, 0, 1024)], false);
    let stalls = |kind| world.stats.vm_event(VmEvent::AllocStall(kind));
    for gfp in [GFP_ATOMIC, GFP_NOWAIT, GFP_DMA] {
        assert_eq!(world.alloc(gfp, 0), Err(Error::NoMemory));
    }
    assert_eq!(ZoneType::ALL.map(stalls), [0, 0, 0, 0]);
    // A stall is counted twice: Linux looks at everything once more before it
    // gives up.
    assert_eq!(world.alloc(GFP_KERNEL, 0), Err(Error::NoMemory));
    assert_eq!(ZoneType::ALL.map(stalls), [0, 0, 2, 0]);
    // There is no zone to reclaim for.
    assert_eq!(
        world.alloc(GFP_KERNEL | __GFP_DMA32, 0),
        Err(Error::NoMemory)
    );
    assert_eq!(world.alloc(GFP_HIGHUSER_MOVABLE, 0), Err(Error::NoMemory));
    assert_eq!(ZoneType::ALL.map(stalls), [0, 0, 2, 2]);
    // A local huge page is compacted for, never reclaimed for.
    let local = __GFP_NORETRY | __GFP_THISNODE;
    assert_eq!(world.alloc(GFP_TRANSHUGE | local, 9), Err(Error::NoMemory));
    assert_eq!(ZoneType::ALL.map(stalls), [0, 0, 2, 2]);
    assert_eq!(world.alloc(GFP_TRANSHUGE, 9), Err(Error::NoMemory));
    assert_eq!(ZoneType::ALL.map(stalls), [0, 0, 2, 4]);
    assert_eq!(world.alloc(GFP_KERNEL | local, 1), Err(Error::NoMemory));
    assert_eq!(ZoneType::ALL.map(stalls), [0, 0, 2, 4]);
    // Nothing is compacted for one page, or without I/O. What may move is not
    // compacted for first, but types are not kept apart here.
    assert_eq!(world.alloc(GFP_KERNEL | local, 0), Err(Error::NoMemory));
    assert_eq!(world.alloc(GFP_NOIO | local, 1), Err(Error::NoMemory));
    assert_eq!(
        world.alloc(GFP_HIGHUSER_MOVABLE | local, 3),
        Err(Error::NoMemory)
    );
    assert_eq!(ZoneType::ALL.map(stalls), [0, 0, 6, 4]);
    assert_eq!(world.stats.refusals(Error::NoMemory), 12);
}
