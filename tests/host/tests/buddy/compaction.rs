// SPDX-License-Identifier: GPL-2.0

//! Compaction: large blocks from fragmented memory, with nothing lost.

use crate::typed::*;
use crate::world::*;
use shadowmm_core::buddy::gfp::*;
use shadowmm_core::buddy::*;
use shadowmm_core::error::Error;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::*;
use shadowmm_core::report::NodeStat;
use shadowmm_core::trace::CompactResult;
use shadowmm_core::trace::TraceEvent;
use shadowmm_core::zone::Watermark;
use shadowmm_host_tests::owner::Owner;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

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
    let owner = world.owner();
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
fn where_a_moved_block_was_is_told_as_free() {
    let (world, owner) = machine(16);
    fill(world, owner);
    release(world, owner, |pfn| pfn % 2 == 0);
    let before = owner.blocks();
    let mut huge = Pfn(0);
    let events = Threads::heard(|| huge = world.buddy().alloc(&request(HUGE, 9)).unwrap());
    let after = owner.blocks();
    let told = |pfn: &u64| {
        let freed = TraceEvent::PageFree {
            pfn: Pfn(*pfn),
            order: order_of(0),
        };
        events.iter().filter(|&&event| event == freed).count()
    };
    let moved: Vec<u64> = before
        .into_iter()
        .filter(|pfn| !after.contains(pfn))
        .collect();
    assert_eq!(moved.len() as u64, event(world, VmEvent::PgmigrateSuccess));
    assert!(!moved.is_empty() && moved.iter().all(|pfn| told(pfn) >= 1));
    // What was taken for them and not needed is told as free, too, and nothing
    // is told as given out but the huge page.
    let given = |event: &&TraceEvent| matches!(event, TraceEvent::PageAlloc { .. });
    assert_eq!(events.iter().filter(given).count(), 1);
}

/// What it takes out of the running CPU's magazines was counted when it was freed.
#[test]
fn what_a_cpu_keeps_is_counted_once_when_it_is_drained() {
    let (world, owner) = machine(16);
    world.buddy().setup_pagesets(|_| 1);
    fill(world, owner);
    release(world, owner, |pfn| pfn % 2 == 0);
    let counts = || {
        let moved = event(world, VmEvent::PgmigrateSuccess);
        // Of what was isolated, what has not moved is what was free.
        let free = event(world, VmEvent::CompactIsolated) - moved;
        (event(world, VmEvent::PgFree), free)
    };
    let before = counts();
    world.buddy().alloc(&request(HUGE, 9)).unwrap();
    // The next one settles what the magazines have done.
    world.buddy().alloc(&request(GFP_KERNEL, 0)).unwrap();
    let after = counts();
    assert_eq!(event(world, VmEvent::PgmigrateFail), 0);
    assert_eq!(after.0 - before.0, after.1 - before.1);
    world.buddy().validate().unwrap();
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
        assert_eq!(owner.moves.load(Relaxed), 0);
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
    world.page(pfn.0).set_held();
    let request = request(GFP_HIGHUSER_MOVABLE, 0);
    let to = world.buddy().migrate_block(pfn, &request).unwrap();
    // It is to its owner what it was, and nothing is left where it was.
    assert!(world.page(to.0).is_held() && !world.page(to.0).is_isolated());
    assert!(!world.page(pfn.0).is_held() && !world.page(pfn.0).is_movable());
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

#[test]
fn a_zone_that_fails_is_put_off_twice_as_long_each_time() {
    let (world, owner) = machine(8);
    fill(world, owner);
    release(world, owner, |pfn| pfn % 2 == 0);
    for pfn in owner.blocks() {
        owner.hold(pfn, Moved::No);
    }
    // Sync compactions only: a huge page that may be reclaimed for.
    let state = &world.zone().compact;
    let runs = |event: &TraceEvent| matches!(event, TraceEvent::CompactionBegin(run) if run.sync);
    let mut compacted = vec![];
    for attempt in 0..200 {
        let events = Threads::heard(|| {
            assert!(world.buddy().alloc(&request(HUGE, 9)).is_err());
        });
        if events.iter().any(runs) {
            compacted.push(attempt);
        }
    }
    assert_eq!(state.defer_shift(), 6);
    // It has never succeeded for any order.
    assert_eq!(state.order_failed(), 0);
    // Each attempt asks twice, once async and once sync; both count.
    let gaps: Vec<_> = compacted.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.len() >= 5, "{compacted:?}");
    assert!(gaps.windows(2).all(|pair| pair[0] <= pair[1]), "{gaps:?}");
    assert_eq!(gaps.iter().max(), Some(&32), "{gaps:?}");
    // A success ends it, and lower orders are not put off by the next failure.
    release(world, owner, |pfn| (1024..1536).contains(&pfn));
    assert!(world.buddy().alloc(&request(HUGE, 9)).is_ok());
    owner.check_all(world);
    world.buddy().validate().unwrap();
}

#[test]
fn a_lack_of_memory_is_not_compacted_for() {
    let (world, owner) = machine(8);
    fill(world, owner);
    // A few pages are free, in single pages: fragmented, but too few to move to.
    release(world, owner, |pfn| pfn % 512 == 0);
    let events = Threads::heard(|| {
        assert!(world.buddy().alloc(&request(HUGE, 9)).is_err());
    });
    let ran = |event: &TraceEvent| matches!(event, TraceEvent::CompactionBegin(_));
    assert!(!events.iter().any(ran));
    let skipped = |event: &TraceEvent| matches!(event, TraceEvent::CompactionSuitable(s) if s.result == CompactResult::Skipped);
    assert!(events.iter().any(skipped));
    assert_eq!(event(world, VmEvent::CompactStall), 0);
    assert_eq!(owner.moves.load(Relaxed), 0);
}

/// What `compact_zone()` does not begin anew goes with kcompactd from a node's zone to the next:
/// that all of a zone was looked at, too.
#[test]
fn kcompactd_takes_what_it_knows_from_zone_to_zone() {
    let zones = [
        (0, ZoneType::Dma32, 0, 4096),
        (0, ZoneType::Normal, 4096, 8192),
    ];
    let world: &'static TypedWorld = Box::leak(Box::new(TypedWorld::of_zones(&zones)));
    world.hand_off(0, 8192);
    for (_, kind, ..) in zones {
        let zone = world.world.zone(0, kind);
        zone.set_watermark(Watermark::Min, Pages(32));
        zone.set_watermark(Watermark::Low, Pages(40));
        zone.set_watermark(Watermark::High, Pages(48));
    }
    let _nobodys = world.owner();
    // Every other page has to stay.
    let buddy = world.buddy();
    let mut taken = vec![];
    while let Ok(pfn) = buddy.alloc(&request(GFP_KERNEL | __GFP_NORETRY, 0)) {
        taken.push(pfn);
    }
    for pfn in taken.iter().filter(|pfn| pfn.0 % 2 == 0) {
        buddy.free(*pfn, PageOrder::ZERO).unwrap();
    }
    let node = NodeId(0);
    let mut kcompactd = Kcompactd::new(node);
    kcompactd.step(&buddy);
    world.world.platform.has_kswapd.store(true, Relaxed);
    let mut kswapd = Kswapd::new(node);
    kswapd.step(&buddy, false);
    let woken = || {
        !world
            .world
            .platform
            .kcompactd_woken
            .lock()
            .unwrap()
            .is_empty()
    };
    for _ in 0..100 {
        assert!(buddy.alloc(&request(GFP_NOWAIT, 9)).is_err());
        if woken() {
            break;
        }
        kswapd.step(&buddy, true);
    }
    assert!(woken());
    let events = Threads::heard(|| {
        kcompactd.step(&buddy);
    });
    let ends: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            TraceEvent::CompactionEnd { run, result } => Some((run.zone.start, *result)),
            _ => None,
        })
        .collect();
    // The first zone's scanner has begun where the first of all could, so it has seen it whole.
    assert_eq!(
        ends,
        [
            (Pfn(0), CompactResult::Complete),
            (Pfn(4096), CompactResult::Complete)
        ]
    );
}

#[test]
fn kcompactd_makes_a_block_that_was_asked_for() {
    let (world, owner) = machine(16);
    fill(world, owner);
    release(world, owner, |pfn| pfn % 2 == 0);
    let buddy = world.buddy();
    let node = NodeId(0);
    let mut kcompactd = Kcompactd::new(node);
    assert_eq!(kcompactd.step(&buddy), Rest::Nap(500));
    // An urgent request can't compact itself. kswapd, which it wakes, reclaims as
    // much as compaction needs, and leaves the rest to that.
    let cache = world.cache();
    for pfn in owner
        .blocks()
        .into_iter()
        .filter(|pfn| *pfn > 8192 && pfn % 4 == 1)
    {
        owner.take(pfn).unwrap();
        world.page(pfn).set_movable(false);
        cache.add(pfn);
    }
    world.world.platform.has_kswapd.store(true, Relaxed);
    let mut kswapd = Kswapd::new(node);
    assert_eq!(kswapd.step(&buddy, false), Rest::Nap(100));
    let urgent = GFP_NOWAIT | __GFP_MOVABLE | __GFP_HIGHMEM;
    assert!(buddy.alloc(&request(urgent, 6)).is_err());
    assert_eq!(*world.world.platform.kswapd_woken.lock().unwrap(), [0]);
    assert_eq!(kswapd.step(&buddy, true), Rest::No);
    let daemons = buddy.zones.daemons(node).unwrap();
    assert!(daemons.reclaimed(NodeStat::PgstealKswapd) >= 32);
    assert_eq!(kswapd.step(&buddy, false), Rest::Nap(100));
    assert_eq!(*world.world.platform.kcompactd_woken.lock().unwrap(), [0]);
    assert_eq!(kcompactd.step(&buddy), Rest::Nap(500));
    assert_eq!(event(world, VmEvent::CompactDaemonWake), 1);
    assert!(event(world, VmEvent::CompactDaemonMigrateScanned) > 0);
    assert!(event(world, VmEvent::CompactDaemonFreeScanned) > 0);
    assert_eq!(event(world, VmEvent::CompactStall), 0);
    assert!(buddy.alloc(&request(urgent, 6)).is_ok());
    owner.check_all(world);
    buddy.validate().unwrap();
}

#[test]
fn a_node_in_pieces_is_compacted_without_being_asked() {
    let (world, owner) = machine(16);
    fill(world, owner);
    release(world, owner, |pfn| pfn % 4 != 0);
    let buddy = world.buddy();
    let score = buddy.fragmentation_score_node(NodeId(0));
    assert!(score > 90, "{score}");
    let mut kcompactd = Kcompactd::new(NodeId(0));
    kcompactd.step(&buddy);
    assert_eq!(kcompactd.step(&buddy), Rest::Nap(500));
    let score = buddy.fragmentation_score_node(NodeId(0));
    assert!(score <= 80, "{score}");
    owner.check_all(world);
    // Below 90 nothing is done.
    let moves = owner.moves.load(Relaxed);
    assert_eq!(kcompactd.step(&buddy), Rest::Nap(500));
    assert_eq!(owner.moves.load(Relaxed), moves);
    // Where nothing helps, it is left alone for 64 times as long.
    let (world, owner) = machine(16);
    fill(world, owner);
    release(world, owner, |pfn| pfn % 4 != 0);
    for pfn in owner.blocks() {
        owner.hold(pfn, Moved::No);
    }
    let mut kcompactd = Kcompactd::new(NodeId(0));
    kcompactd.step(&world.buddy());
    assert_eq!(kcompactd.step(&world.buddy()), Rest::Nap(32_000));
    world.buddy().validate().unwrap();
}

/// A small generator, so that a failure can be run again.
fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// Four threads take and free movable and other blocks of all small orders,
/// huge pages among them, while one compacts the node and another takes ranges:
/// nothing is given out twice, no content is lost, and in the end all is free.
#[test]
fn compaction_races_with_everybody_and_loses_nothing() {
    let (world, owner) = machine(8);
    fill(world, owner);
    release(world, owner, |pfn| pfn % 3 == 0);
    world.buddy().setup_pagesets(|_| 4);
    let managed = world.zone().managed();
    let done = AtomicBool::new(false);
    let (huge, ranges) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|cpu| {
                let huge = &huge;
                scope.spawn(move || {
                    Threads::run_on(cpu);
                    let buddy = world.buddy();
                    let mut seed = 0x9e37_79b9_7f4a_7c15 ^ u64::from(cpu + 1);
                    let mut fixed: Vec<(Pfn, PageOrder)> = vec![];
                    for _ in 0..1_500 {
                        let dice = next(&mut seed);
                        match dice % 16 {
                            0..=8 => {
                                let order = (dice >> 8) as u32 % 4;
                                let request = request(GFP_HIGHUSER_MOVABLE, order);
                                if let Ok(pfn) = buddy.alloc(&request) {
                                    owner.adopt(world, pfn.0, order);
                                }
                            }
                            9 => {
                                let order = order_of((dice >> 8) as u32 % 4);
                                let request = AllocRequest::new(GFP_KERNEL, order);
                                if let Ok(pfn) = buddy.alloc(&request) {
                                    fixed.push((pfn, order));
                                }
                            }
                            10 => {
                                if let Ok(pfn) = buddy.alloc(&request(HUGE, 9)) {
                                    huge.fetch_add(1, Relaxed);
                                    buddy.free(pfn, order_of(9)).unwrap();
                                }
                            }
                            _ => {
                                let from = (dice >> 8) % (9 * 512);
                                if let Some((pfn, order)) = owner.take(from) {
                                    buddy.free(Pfn(pfn), order_of(order)).unwrap();
                                }
                            }
                        }
                        if fixed.len() > 8 {
                            let (pfn, order) = fixed.swap_remove((dice >> 16) as usize % 8);
                            buddy.free(pfn, order).unwrap();
                        }
                    }
                    for (pfn, order) in fixed {
                        buddy.free(pfn, order).unwrap();
                    }
                })
            })
            .collect();
        let (done, ranges) = (&done, &ranges);
        scope.spawn(move || {
            Threads::run_on(6);
            while !done.load(Relaxed) {
                world.buddy().compact_node(NodeId(0));
                world.buddy().validate().unwrap();
            }
        });
        scope.spawn(move || {
            Threads::run_on(7);
            let mut seed = 77;
            while !done.load(Relaxed) {
                let start = 512 + next(&mut seed) % (7 * 512);
                let pages = range(start, start + 1 + next(&mut seed) % 512);
                let buddy = world.buddy();
                let taken = buddy.alloc_contig_range(pages, GFP_KERNEL, ContigFor::Other);
                if taken.is_ok() {
                    ranges.fetch_add(1, Relaxed);
                    buddy.free_contig_range(pages.start, pages.pages()).unwrap();
                }
            }
        });
        let results: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        done.store(true, Relaxed);
        results.into_iter().for_each(|result| result.unwrap());
    });
    owner.check_all(world);
    release(world, owner, |_| true);
    world.buddy().drain_all_pages();
    world.buddy().validate().unwrap();
    let counts = &world.zone().free_counts;
    assert_eq!(counts.free_pages(), managed);
    let moved = event(world, VmEvent::PgmigrateSuccess);
    let (huge, ranges) = (huge.into_inner(), ranges.into_inner());
    assert!(moved > 1000, "{moved} pages moved");
    assert!(huge + ranges > 0, "{huge} huge pages, {ranges} ranges");
    assert_eq!(world.world.stats.refusals(Error::DoubleFree), 0);
}
