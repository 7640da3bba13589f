// SPDX-License-Identifier: GPL-2.0

//! Compaction: large blocks from fragmented memory, with nothing lost.

use crate::owner::Owner;
use crate::typed::*;
use crate::world::*;
use shadowmm_core::buddy::gfp::*;
use shadowmm_core::buddy::*;
use shadowmm_core::error::Error;
use shadowmm_core::phys::*;
use shadowmm_core::zone::Watermark;

const HUGE: Gfp = GFP_TRANSHUGE;

/// A zone of `blocks` page blocks, from the second on, with an owner for what is
/// movable. As on a PC, it does not start at page 0.
fn machine(blocks: u64) -> (&'static TypedWorld, &'static Owner) {
    let world: &'static TypedWorld =
        Box::leak(Box::new(TypedWorld::with_memory(512, 512 + 512 * blocks)));
    world.hand_off(512, 512 + 512 * blocks);
    let zone = world.zone();
    zone.set_watermark(Watermark::Min, Pages(32));
    zone.set_watermark(Watermark::Low, Pages(40));
    zone.set_watermark(Watermark::High, Pages(48));
    let owner = Owner::of(world.world);
    (world, owner)
}

/// Fills the zone with single movable pages, down to its min watermark.
fn fill(world: &TypedWorld, owner: &Owner) {
    let request = request(GFP_HIGHUSER_MOVABLE | __GFP_NORETRY, 0);
    while let Ok(pfn) = world.buddy().alloc(&request) {
        owner.adopt(world, pfn.0, 0);
    }
}

/// Frees the blocks of the owner that `which` chooses.
fn release(world: &TypedWorld, owner: &Owner, which: impl Fn(u64) -> bool) {
    for pfn in owner.blocks() {
        if which(pfn) {
            let (taken, order) = owner.take(pfn).unwrap();
            assert_eq!(taken, pfn);
            world.buddy().free(Pfn(pfn), order_of(order)).unwrap();
        }
    }
}

fn event(world: &TypedWorld, event: VmEvent) -> u64 {
    world.world.stats.vm_event(event)
}

#[test]
fn a_huge_page_is_had_from_fragmented_memory() {
    let (world, owner) = machine(16);
    fill(world, owner);
    release(world, owner, |pfn| pfn % 2 == 0);
    assert!(world.zone().free_counts.blocks()[1..]
        .iter()
        .all(|&n| n < 20));
    let pfn = world.buddy().alloc(&request(HUGE, 9)).unwrap();
    assert!(pfn.is_aligned(order_of(9)));
    world.buddy().validate().unwrap();
    owner.check_all(world);
    assert_eq!(event(world, VmEvent::CompactSuccess), 1);
    assert_eq!(event(world, VmEvent::CompactStall), 1);
    let moved = event(world, VmEvent::PgmigrateSuccess);
    assert!((1..=4 * 512).contains(&moved), "{moved} pages moved");
    assert_eq!(event(world, VmEvent::PgmigrateFail), 0);
    assert!(event(world, VmEvent::CompactIsolated) >= 2 * moved);
}

#[test]
fn a_whole_node_is_compacted_as_far_as_it_goes() {
    let (world, owner) = machine(16);
    fill(world, owner);
    release(world, owner, |pfn| pfn % 4 != 0);
    let held = owner.blocks().len() as u64;
    world.buddy().compact_node(NodeId(0));
    world.buddy().validate().unwrap();
    owner.check_all(world);
    assert_eq!(owner.blocks().len() as u64, held);
    // What is held fits into a quarter of the zone: most page blocks are free.
    let blocks = world.zone().free_counts.free_pages_blocks();
    assert!(blocks.0 >= 11 * 512, "{blocks:?} in whole page blocks");
}

#[test]
fn what_has_another_reference_stays_where_it_is() {
    let (world, owner) = machine(4);
    fill(world, owner);
    release(world, owner, |pfn| pfn % 2 == 0);
    for pfn in owner.blocks() {
        world.buddy().get(Pfn(pfn)).unwrap();
    }
    let before = owner.blocks();
    assert_eq!(world.buddy().alloc(&request(HUGE, 9)), Err(Error::NoMemory));
    assert_eq!(owner.blocks(), before);
    assert_eq!(event(world, VmEvent::PgmigrateSuccess), 0);
    for pfn in before {
        world.buddy().put(Pfn(pfn)).unwrap();
    }
    owner.check_all(world);
    world.buddy().validate().unwrap();
}

#[test]
fn what_its_owner_can_not_move_is_given_back() {
    for how in [Moved::Busy, Moved::No] {
        let (world, owner) = machine(4);
        fill(world, owner);
        release(world, owner, |pfn| pfn % 2 == 0);
        for pfn in owner.blocks() {
            owner.hold(pfn, how);
        }
        assert_eq!(world.buddy().alloc(&request(HUGE, 9)), Err(Error::NoMemory));
        assert_eq!(owner.moves.load(std::sync::atomic::Ordering::Relaxed), 0);
        assert!(event(world, VmEvent::PgmigrateFail) > 0);
        owner.check_all(world);
        world.buddy().validate().unwrap();
    }
}

#[test]
fn one_block_moves_to_where_a_request_finds_room() {
    let (world, owner) = machine(4);
    let pfn = world
        .buddy()
        .alloc(&request(GFP_HIGHUSER_MOVABLE, 2))
        .unwrap();
    owner.adopt(world, pfn.0, 2);
    let request = request(GFP_HIGHUSER_MOVABLE, 0);
    let to = world.buddy().migrate_block(pfn, &request).unwrap();
    assert_ne!(to, pfn);
    assert_eq!(owner.blocks(), [to.0]);
    owner.check_all(world);
    world.buddy().get(to).unwrap();
    let pinned = world.buddy().migrate_block(to, &request);
    assert_eq!(pinned, Err(Error::NotMovable));
    world.buddy().put(to).unwrap();
    owner.hold(to.0, Moved::No);
    let stubborn = world.buddy().migrate_block(to, &request);
    assert_eq!(stubborn, Err(Error::NotMovable));
    assert_eq!(
        world.buddy().migrate_block(pfn, &request),
        Err(Error::DoubleFree)
    );
    owner.check_all(world);
    world.buddy().validate().unwrap();
}
