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
