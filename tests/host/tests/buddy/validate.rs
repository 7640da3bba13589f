// SPDX-License-Identifier: GPL-2.0

//! validate() finds what is broken: each invariant is broken once.

use crate::world::*;
use shadowmm_core::buddy::gfp::*;
use shadowmm_core::buddy::*;
use shadowmm_core::page::*;
use shadowmm_core::phys::*;

/// A zone with blocks 1..2, 2..4, 4..8 ... free and page 0 allocated.
fn world() -> World {
    let world = World::one_zone(1024);
    assert_eq!(world.alloc(GFP_KERNEL, 0), Ok(0));
    world.buddy().validate().unwrap();
    world
}

fn found(world: &World) -> (&'static str, Option<u64>) {
    let violation = world.buddy().validate().unwrap_err();
    assert_eq!(violation.zone, ZoneId::new(NodeId(0), ZoneType::Normal));
    (violation.what, violation.pfn.map(|pfn| pfn.0))
}

#[test]
fn a_changed_descriptor_is_found() {
    let world = world();
    world.page(4).set_state(PageState::Buddy, order_of(3));
    let what = "the descriptor of a free block tells another story";
    assert_eq!(found(&world), (what, Some(4)));
    world.page(4).set_state(PageState::Allocated, order_of(2));
    assert_eq!(found(&world), (what, Some(4)));
}

#[test]
fn a_referenced_free_page_is_found() {
    let world = world();
    world.page(64).set_count(1);
    assert_eq!(found(&world), ("a free block has references", Some(64)));
}

#[test]
fn references_that_nobody_took_are_found() {
    let world = world();
    let what = "a block that nobody shares has several references";
    world.page(0).set_count(0xffff);
    assert_eq!(found(&world), (what, Some(0)));
    world.page(0).set_count(1);
    world.buddy().validate().unwrap();
    world.buddy().get(Pfn(0)).unwrap();
    world.buddy().validate().unwrap();
    assert_eq!(world.buddy().put(Pfn(0)), Ok(false));
    world.buddy().validate().unwrap();
}

#[test]
fn a_broken_link_is_found() {
    let world = world();
    world.page(1).set_next(Some(Pfn(2)));
    assert_eq!(found(&world), ("a free block does not link back", Some(2)));
    world.page(2).set_prev(Some(Pfn(1)));
    assert_eq!(
        found(&world),
        ("a list has more blocks than it counts", Some(2))
    );
}

#[test]
fn a_circle_is_found() {
    let world = world();
    world.page(1).set_next(Some(Pfn(1)));
    world.page(1).set_prev(None);
    assert_eq!(found(&world), ("a free block does not link back", Some(1)));
}

#[test]
fn overlapping_blocks_are_found() {
    let world = world();
    world.page(37).set_state(PageState::Allocated, order_of(0));
    assert_eq!(found(&world), ("two blocks overlap", Some(37)));
}

#[test]
fn a_lost_page_is_found() {
    let world = world();
    world.page(0).set_state(PageState::Tail, order_of(0));
    let what = "a page is inside a block that is not there";
    assert_eq!(found(&world), (what, Some(0)));
    world.page(0).set_state(PageState::Reserved, order_of(0));
    let what = "free and allocated pages are not all that is managed";
    assert_eq!(found(&world), (what, None));
}

#[test]
fn unmerged_buddies_and_free_blocks_on_no_list_are_found() {
    let world = world();
    world.page(0).set_state(PageState::Buddy, order_of(0));
    assert_eq!(found(&world), ("two free buddies were not merged", Some(1)));
    let world = World::one_zone(1024);
    assert_eq!(world.alloc(GFP_KERNEL, 10), Ok(0));
    world.page(0).set_state(PageState::Buddy, order_of(10));
    assert_eq!(found(&world), ("a free block is on no list", None));
}

#[test]
fn a_violation_reads_as_a_sentence() {
    let world = world();
    world.page(64).set_count(1);
    assert_eq!(
        world.buddy().validate().unwrap_err().to_string(),
        "node 0, zone Normal: a free block has references (page 64)"
    );
}
