// SPDX-License-Identifier: GPL-2.0

//! In which order a request does what when memory is short.

use crate::typed::*;
use crate::world::*;
use shadowmm_core::buddy::gfp::*;
use shadowmm_core::buddy::*;
use shadowmm_core::error::Error;
use shadowmm_core::phys::*;
use shadowmm_core::trace::TraceEvent;
use shadowmm_core::zone::Watermark;
use shadowmm_host_tests::owner::Cache;
use shadowmm_host_tests::owner::Owner;
use std::sync::atomic::Ordering::Relaxed;

/// A step of the slow path, as it is heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Kswapd,
    Reclaim,
    /// With its priority.
    Compact(u32),
}
use Step::Compact;
use Step::Kswapd;
use Step::Reclaim;

/// Eight page blocks, full of single pages of which every other can move and is
/// free. All watermarks are met, but no larger block is free.
fn fragmented() -> (&'static TypedWorld, &'static Owner, &'static Cache) {
    let world: &'static TypedWorld = Box::leak(Box::new(TypedWorld::with_memory(512, 9 * 512)));
    world.hand_off(512, 9 * 512);
    let zone = world.zone();
    zone.set_watermark(Watermark::Min, Pages(32));
    zone.set_watermark(Watermark::Low, Pages(40));
    zone.set_watermark(Watermark::High, Pages(48));
    let (owner, cache) = (world.owner(), world.cache());
    let one = request(GFP_HIGHUSER_MOVABLE | __GFP_MEMALLOC, 0);
    while let Ok(pfn) = world.buddy().alloc(&one) {
        owner.adopt(world, pfn.0, 0);
    }
    for pfn in (512..9 * 512).step_by(2) {
        owner.take(pfn).unwrap();
        world.buddy().free(Pfn(pfn), PageOrder::ZERO).unwrap();
    }
    (world, owner, cache)
}

/// Nothing can move.
fn stuck() -> (&'static TypedWorld, &'static Owner, &'static Cache) {
    let (world, owner, cache) = fragmented();
    owner
        .blocks()
        .iter()
        .for_each(|pfn| owner.hold(*pfn, Moved::No));
    (world, owner, cache)
}

/// What a request does, and what it comes to.
fn steps(world: &TypedWorld, gfp: Gfp, order: u32) -> (Vec<Step>, Result<Pfn, Error>) {
    // A kswapd that waits, so that it is heard when it is woken.
    world.world.platform.has_kswapd.store(true, Relaxed);
    let mut kswapd = shadowmm_core::buddy::Kswapd::new(NodeId(0));
    kswapd.step(&world.buddy(), false);
    let mut result = Err(Error::Corrupt);
    let events = Threads::heard(|| result = world.buddy().alloc(&request(gfp, order)));
    let step = |event: &TraceEvent| match *event {
        TraceEvent::VmscanWakeupKswapd { .. } => Some(Kswapd),
        TraceEvent::VmscanDirectReclaimBegin { .. } => Some(Reclaim),
        TraceEvent::CompactionTryToCompactPages { priority, .. } => Some(Compact(priority)),
        _ => None,
    };
    (events.iter().filter_map(step).collect(), result)
}

#[test]
fn a_costly_order_is_compacted_for_before_anything_is_reclaimed() {
    let (world, _, _) = fragmented();
    let (steps, result) = steps(world, GFP_TRANSHUGE, 9);
    assert_eq!(steps, [Compact(2)]);
    assert!(result.is_ok());
}

#[test]
fn what_may_move_is_reclaimed_for_before_anything_is_compacted() {
    let (world, _, _) = fragmented();
    let (steps, result) = steps(world, GFP_HIGHUSER_MOVABLE, 2);
    assert_eq!(steps, [Kswapd, Reclaim, Compact(1)]);
    assert!(result.is_ok());
}

#[test]
fn what_stays_is_compacted_for_first_and_then_reclaimed_for() {
    // A first try looks at page blocks of its own type only, and there are none.
    let (world, _, _) = fragmented();
    let (steps, result) = steps(world, GFP_KERNEL, 2);
    assert_eq!(steps, [Kswapd, Compact(2), Kswapd, Reclaim, Compact(1)]);
    assert!(result.is_ok());
}

#[test]
fn a_request_gives_up_where_its_flags_say_so() {
    let cases: [(Gfp, u32, &[Step]); 7] = [
        // Can't sleep.
        (GFP_NOWAIT, 2, &[Kswapd]),
        (GFP_ATOMIC, 2, &[Kswapd, Kswapd]),
        // No I/O, no compaction.
        (GFP_NOIO | __GFP_NORETRY, 2, &[Kswapd, Reclaim]),
        // One round each.
        (
            GFP_KERNEL | __GFP_NORETRY,
            2,
            &[Kswapd, Compact(2), Kswapd, Reclaim, Compact(2)],
        ),
        // A huge page of this node: never reclaimed for.
        (
            GFP_TRANSHUGE | __GFP_NORETRY | __GFP_THISNODE,
            9,
            &[Compact(2)],
        ),
        // Costly: compacted harder, but not again.
        (GFP_TRANSHUGE, 9, &[Compact(2), Reclaim, Compact(1)]),
        // Nothing can be reclaimed, so it is not worth compacting again.
        (
            GFP_KERNEL,
            2,
            &[Kswapd, Compact(2), Kswapd, Reclaim, Compact(1)],
        ),
    ];
    for (gfp, order, expected) in cases {
        let (world, owner, _) = stuck();
        let (steps, result) = steps(world, gfp, order);
        assert_eq!(steps, expected, "{gfp} {order}");
        assert_eq!(result, Err(Error::NoMemory), "{gfp} {order}");
        owner.check_all(world);
        world.buddy().validate().unwrap();
    }
}

/// Gives the cache every eighth page, which can't move then.
fn fill_cache(world: &TypedWorld, owner: &Owner, cache: &Cache) -> u64 {
    for pfn in owner.blocks().into_iter().filter(|pfn| pfn % 8 == 1) {
        owner.take(pfn).unwrap();
        world.page(pfn).set_movable(false);
        cache.add(pfn);
    }
    cache.len()
}

#[test]
fn where_enough_is_free_to_compact_a_costly_order_reclaims_nothing() {
    let (world, owner, cache) = stuck();
    let had = fill_cache(world, owner, cache);
    let (steps, result) = steps(world, GFP_KERNEL | __GFP_RETRY_MAYFAIL, 6);
    assert_eq!(result, Err(Error::NoMemory));
    // Nor is it compacted for harder than this.
    let expected = [Kswapd, Compact(2), Kswapd, Reclaim, Compact(1)];
    assert_eq!(steps, expected);
    assert_eq!(cache.len(), had);
}

#[test]
fn as_long_as_something_comes_back_other_orders_are_compacted_for_harder() {
    let (world, owner, cache) = stuck();
    let had = fill_cache(world, owner, cache);
    let (steps, _) = steps(world, GFP_HIGHUSER_MOVABLE, 3);
    assert!(cache.len() < had);
    let expected = [Kswapd, Reclaim, Compact(1), Kswapd, Reclaim, Compact(0)];
    assert!(steps.starts_with(&expected), "{steps:?}");
    owner.check_all(world);
    world.buddy().validate().unwrap();
}

#[test]
fn one_page_is_never_compacted_for() {
    let (world, owner, _) = stuck();
    let mut held = vec![];
    let (steps, _) = loop {
        match steps(world, GFP_KERNEL, 0) {
            (steps, Ok(pfn)) if steps.is_empty() => held.push(pfn),
            other => break other,
        }
    };
    // The watermark is low, kswapd is woken; that is all there is to do.
    assert_eq!(steps, [Kswapd]);
    while let (_, Ok(pfn)) = self::steps(world, GFP_KERNEL, 0) {
        held.push(pfn);
    }
    // By now kswapd does not sleep any more.
    let (steps, result) = self::steps(world, GFP_KERNEL, 0);
    assert_eq!(result, Err(Error::NoMemory));
    assert_eq!(steps, [Reclaim]);
    owner.check_all(world);
}
