// SPDX-License-Identifier: GPL-2.0

//! validate() finds what is broken: each invariant is broken once.

use crate::machine::*;
use crate::world::*;
use shadowmm_core::buddy::gfp::*;
use shadowmm_core::buddy::*;
use shadowmm_core::page::*;
use shadowmm_core::phys::*;

/// An area with blocks 1..2, 2..4, 4..8 ... free and page 0 given out.
fn cosmos() -> Cosmos {
    let cosmos = Cosmos::one_area(1024);
    assert_eq!(cosmos.alloc(GFP_KERNEL, 0), Ok(0));
    cosmos.system().validate().unwrap();
    cosmos
}

fn found(cosmos: &Cosmos) -> (&'static str, Option<u64>) {
    let violation = cosmos.system().validate().unwrap_err();
    assert_eq!(violation.zone, ZoneId::new(NodeId(0), ZoneType::Normal));
    (violation.what, violation.pfn.map(|pfn| pfn.0))
}

fn set(cosmos: &Cosmos, pfn: u64, state: PageState, order: u32) {
    cosmos.world.page(pfn).set_state(state, order_of(order));
}

#[test]
fn broken_lists_are_found() {
    let story = "the descriptor of a free block tells another story";
    let broken = cosmos();
    set(&broken, 4, PageState::Buddy, 3);
    assert_eq!(found(&broken), (story, Some(4)));
    set(&broken, 4, PageState::Allocated, 2);
    assert_eq!(found(&broken), (story, Some(4)));

    let broken = cosmos();
    broken.world.page(64).set_count(1);
    assert_eq!(found(&broken), ("a free block has references", Some(64)));

    let broken = cosmos();
    broken.world.page(1).set_next(Some(Pfn(2)));
    assert_eq!(found(&broken), ("a free block does not link back", Some(2)));
    broken.world.page(2).set_prev(Some(Pfn(1)));
    assert_eq!(
        found(&broken),
        ("a list has more blocks than it counts", Some(2))
    );
}

#[test]
fn broken_pages_are_found() {
    let broken = cosmos();
    set(&broken, 37, PageState::Allocated, 0);
    assert_eq!(found(&broken), ("two blocks overlap", Some(37)));

    let broken = cosmos();
    broken.world.page(0).set_count(0xffff);
    let several = "a block that nobody shares has several references";
    assert_eq!(found(&broken), (several, Some(0)));

    let broken = cosmos();
    set(&broken, 0, PageState::Tail, 0);
    let nowhere = "a page is inside a block that is not there";
    assert_eq!(found(&broken), (nowhere, Some(0)));
    set(&broken, 0, PageState::Reserved, 0);
    let counts = "a list counts other blocks than there are";
    assert_eq!(found(&broken), (counts, None));

    let broken = cosmos();
    set(&broken, 0, PageState::Buddy, 0);
    let apart = "two free neighbours were not merged";
    assert_eq!(found(&broken), (apart, Some(1)));

    let broken = Cosmos::one_area(1024);
    assert_eq!(broken.alloc(GFP_KERNEL, 10), Ok(0));
    set(&broken, 0, PageState::Buddy, 10);
    assert_eq!(found(&broken), ("a free block is on no list", None));
}

#[test]
fn a_zone_that_has_had_more_is_found() {
    let broken = cosmos();
    broken.world.zone(0, ZoneType::Normal).add_managed(Pages(1));
    let what = "the areas have not had all that the zone manages";
    assert_eq!(found(&broken), (what, None));
}
