// SPDX-License-Identifier: GPL-2.0

//! Policies: from which nodes pages come, and what is counted.

use crate::world::*;
use shadowmm_core::buddy::gfp::*;
use shadowmm_core::buddy::*;
use shadowmm_core::error::Error;
use shadowmm_core::nodemask::NodeMask;
use shadowmm_core::page::*;
use shadowmm_core::phys::*;

const SPECS: [ZoneSpec; 3] = [
    (0, ZoneType::Normal, 0, 1024),
    (1, ZoneType::Normal, 1024, 2048),
    (2, ZoneType::Normal, 2048, 3072),
];

fn world() -> World {
    Threads::run_on(1);
    let world = World::new(&SPECS, false);
    for (_, _, start, end) in SPECS {
        world.hand_off(start, end);
    }
    world
}

fn nodes(some: &[i32]) -> NodeMask {
    some.iter().copied().map(NodeId).collect()
}

/// The nodes that blocks of order 9 come from until none comes.
fn turn(world: &World, policy: Policy) -> Vec<i32> {
    let prev = InterleavePrev::new();
    let buddy = world.buddy();
    let mut from = vec![];
    loop {
        match buddy.alloc_policy(&request(GFP_KERNEL, 9), policy, &prev) {
            Ok(pfn) => from.push(world.page(pfn.0).nid().0),
            Err(error) => {
                assert_eq!(error, Error::NoMemory);
                return from;
            }
        }
    }
}

#[test]
fn each_policy_has_its_nodes() {
    assert_eq!(turn(&world(), Policy::Local), [1, 1, 0, 0, 2, 2]);
    let preferred = Policy::Preferred(NodeId(2));
    assert_eq!(turn(&world(), preferred), [2, 2, 0, 0, 1, 1]);
    let bind = Policy::Bind(nodes(&[0, 2]));
    assert_eq!(turn(&world(), bind), [0, 0, 2, 2]);
    let interleave = Policy::Interleave(nodes(&[0, 2]));
    assert_eq!(turn(&world(), interleave), [0, 2, 0, 2, 1, 1]);
    let interleave = Policy::Interleave(nodes(&[]));
    assert_eq!(turn(&world(), interleave), [1, 1, 0, 0, 2, 2]);
}

#[test]
fn a_page_from_the_node_in_turn_is_a_hit() {
    let world = world();
    turn(&world, Policy::Interleave(nodes(&[0, 2])));
    let hits = [0, 1, 2].map(|nid| {
        let zone = ZoneId::new(NodeId(nid), ZoneType::Normal);
        world.stats.numa(zone, NumaStat::InterleaveHit)
    });
    assert_eq!(hits, [2, 0, 2]);
}

#[test]
fn a_request_for_one_node_alone_hears_no_policy() {
    let world = world();
    let bind = Policy::Bind(nodes(&[2]));
    let prev = InterleavePrev::new();
    let this = request(GFP_KERNEL | __GFP_THISNODE, 0);
    let pfn = world.buddy().alloc_policy(&this, bind, &prev).unwrap();
    assert_eq!(world.page(pfn.0).nid(), NodeId(1));
    let interleave = Policy::Interleave(nodes(&[0, 2]));
    let pfn = world
        .buddy()
        .alloc_policy(&this, interleave, &prev)
        .unwrap();
    assert_eq!(world.page(pfn.0).nid(), NodeId(1));
}

#[test]
fn low_zones_are_not_bound_and_movable_memory_is_for_what_moves() {
    Threads::run_on(0);
    let specs = [
        (0, ZoneType::Dma, 0, 1024),
        (0, ZoneType::Normal, 1024, 2048),
        (1, ZoneType::Normal, 2048, 3072),
        (2, ZoneType::Movable, 3072, 4096),
    ];
    let world = World::new(&specs, false);
    for (_, _, start, end) in specs {
        world.hand_off(start, end);
    }
    let prev = InterleavePrev::new();
    let node = |gfp, some: &[i32]| {
        let bind = Policy::Bind(nodes(some));
        let pfn = world.buddy().alloc_policy(&request(gfp, 0), bind, &prev);
        pfn.map(|pfn| world.page(pfn.0).nid().0)
    };
    assert_eq!(node(GFP_KERNEL, &[1]), Ok(1));
    assert_eq!(node(GFP_HIGHUSER_MOVABLE, &[1]), Ok(1));
    assert_eq!(node(GFP_DMA, &[1]), Ok(0));
    assert_eq!(node(GFP_HIGHUSER_MOVABLE, &[2]), Ok(2));
    assert_eq!(node(GFP_KERNEL, &[2]), Ok(0));
}

/// How many of so many pages come from which node.
fn shares(world: &World, policy: Policy, prev: &InterleavePrev, wanted: usize) -> [usize; 3] {
    let mut pages = vec![Pfn(0); wanted];
    let policies = Policies {
        platform: &world.platform,
        map: &world.map,
        zones: &world.zones,
        stats: &world.stats,
    };
    let buddy = world.buddy();
    let request = request(GFP_KERNEL, 5);
    let taken = policies
        .alloc_bulk(&buddy, &request, policy, prev, &mut pages)
        .unwrap();
    let mut shares = [0; 3];
    for pfn in &pages[..taken] {
        shares[world.page(pfn.0).nid().0 as usize] += 1;
    }
    shares
}

#[test]
fn many_pages_are_shared_out_in_turn() {
    let world = world();
    let prev = InterleavePrev::new();
    let all = Policy::Interleave(nodes(&[0, 1, 2]));
    assert_eq!(shares(&world, all, &prev, 8), [3, 3, 2]);
    assert_eq!(shares(&world, all, &prev, 1), [1, 0, 0]);
    // It goes on where it was: three nodes were in turn, whatever they gave.
    let two = Policy::Interleave(nodes(&[1, 2]));
    assert_eq!(shares(&world, two, &prev, 3), [0, 2, 1]);
    let preferred = Policy::Preferred(NodeId(2));
    assert_eq!(shares(&world, preferred, &prev, 7), [0, 0, 7]);
    let bind = Policy::Bind(nodes(&[0]));
    assert_eq!(shares(&world, bind, &prev, 7), [7, 0, 0]);
    assert_eq!(shares(&world, Policy::Local, &prev, 7), [0, 7, 0]);
}
