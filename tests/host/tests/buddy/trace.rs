// SPDX-License-Identifier: GPL-2.0

//! What core tells those who listen: each event once, with its numbers.

use crate::typed::*;
use crate::world::*;
use shadowmm_core::buddy::gfp::*;
use shadowmm_core::buddy::*;
use shadowmm_core::error::Error;
use shadowmm_core::phys::*;
use shadowmm_core::trace::TraceEvent;
use std::sync::atomic::Ordering::Relaxed;

/// What is told of fallbacks, locked zones and drained pagesets.
fn heard(work: impl FnOnce()) -> Vec<TraceEvent> {
    let told = |event: &TraceEvent| {
        matches!(
            event,
            TraceEvent::PageAllocZoneLocked { .. }
                | TraceEvent::PagePcpuDrain { .. }
                | TraceEvent::PageAllocExtfrag { .. }
        )
    };
    let events = Threads::heard(work);
    events.into_iter().filter(told).collect()
}

fn alloc(world: &TypedWorld, gfp: Gfp, order: u32) -> Pfn {
    world.buddy().alloc(&request(gfp, order)).unwrap()
}

#[test]
fn a_claimed_page_block_is_told_with_both_types() {
    let world = TypedWorld::new(0, 4096, false);
    world.hand_off(0, 4096);
    let mut pfn = Pfn(0);
    let events = heard(|| pfn = alloc(&world, GFP_KERNEL, 0));
    let claimed = TraceEvent::PageAllocExtfrag {
        pfn,
        alloc_order: order_of(0),
        fallback_order: order_of(10),
        alloc_migratetype: MigrateType::Unmovable,
        fallback_migratetype: MigrateType::Movable,
        change_ownership: true,
    };
    assert_eq!(events, [claimed]);

    // The next one comes from the request's own lists.
    let events = heard(|| pfn = alloc(&world, GFP_KERNEL, 1));
    let own = TraceEvent::PageAllocZoneLocked {
        pfn,
        order: order_of(1),
        migratetype: MigrateType::Unmovable,
        percpu_refill: true,
    };
    assert_eq!(events, [own]);
    let events = heard(|| pfn = alloc(&world, GFP_KERNEL, 5));
    let larger = TraceEvent::PageAllocZoneLocked {
        pfn,
        order: order_of(5),
        migratetype: MigrateType::Unmovable,
        percpu_refill: false,
    };
    assert_eq!(events, [larger]);
}

#[test]
fn a_stolen_block_is_told_with_its_page_blocks_type() {
    let world = TypedWorld::new(0, 1024, false);
    world.set_type(0, MigrateType::Unmovable);
    // No block is large enough for a request that can be moved to claim.
    world.hand_off(0, 8);
    let mut pfn = Pfn(0);
    let events = heard(|| pfn = alloc(&world, GFP_HIGHUSER_MOVABLE, 0));
    let stolen = TraceEvent::PageAllocExtfrag {
        pfn,
        alloc_order: order_of(0),
        fallback_order: order_of(3),
        alloc_migratetype: MigrateType::Movable,
        fallback_migratetype: MigrateType::Unmovable,
        change_ownership: false,
    };
    assert_eq!(events, [stolen]);
    let fallbacks = &world.zone().fallbacks;
    let (to, from) = (MigrateType::Movable, MigrateType::Unmovable);
    assert_eq!(
        (fallbacks.claimed(to, from), fallbacks.stolen(to, from)),
        (0, 1)
    );
}

#[test]
fn each_drained_block_is_told_once() {
    let world = TypedWorld::new(0, 8192, false);
    world.hand_off(0, 8192);
    let buddy = world.buddy();
    buddy.setup_pagesets(|_| 1);
    let pages: Vec<Pfn> = (0..20)
        .map(|_| alloc(&world, GFP_HIGHUSER_MOVABLE, 0))
        .collect();
    for &pfn in &pages {
        buddy.free(pfn, order_of(0)).unwrap();
    }
    let (kept, _) = world.pageset(0);
    assert!(kept >= 20);
    let mut drained = Pages(0);
    let events = heard(|| drained = buddy.drain_all_pages());
    assert_eq!(drained.0, u64::from(kept));
    let mut told: Vec<u64> = events
        .iter()
        .map(|event| match event {
            TraceEvent::PagePcpuDrain {
                pfn,
                order,
                migratetype: MigrateType::Movable,
            } if *order == order_of(0) => pfn.0,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told.len() as u32, kept);
    told.sort();
    told.dedup();
    assert_eq!(told.len() as u32, kept);
    for pfn in pages {
        assert!(told.binary_search(&pfn.0).is_ok());
    }
}

#[test]
fn each_block_is_told_when_it_is_given_out_and_taken_back() {
    let world = TypedWorld::new(0, 8192, false);
    world.hand_off(0, 8192);
    let buddy = world.buddy();
    buddy.setup_pagesets(|_| 1);
    let only = |events: Vec<TraceEvent>| -> Vec<TraceEvent> {
        let asked = |event: &TraceEvent| {
            matches!(
                event,
                TraceEvent::PageAlloc { .. } | TraceEvent::PageFree { .. }
            )
        };
        events.into_iter().filter(asked).collect()
    };
    for order in [0, 0, 3, 5, 9] {
        let mut pfn = Pfn(0);
        let events = Threads::heard(|| pfn = alloc(&world, GFP_HIGHUSER_MOVABLE, order));
        let given = TraceEvent::PageAlloc {
            pfn: Some(pfn),
            order: order_of(order),
            gfp: GFP_HIGHUSER_MOVABLE,
            migratetype: MigrateType::Movable,
        };
        assert_eq!(only(events), [given]);
        let events = Threads::heard(|| buddy.free(pfn, order_of(order)).unwrap());
        let freed = TraceEvent::PageFree {
            pfn,
            order: order_of(order),
        };
        assert_eq!(only(events), [freed]);
    }
    let pfns = [0, 0, 0].map(|order| alloc(&world, GFP_KERNEL, order));
    let freed = |pfn: &Pfn| TraceEvent::PageFree {
        pfn: *pfn,
        order: order_of(0),
    };
    let events = Threads::heard(|| {
        buddy.get(pfns[0]).unwrap();
        assert_eq!(buddy.put(pfns[0]), Ok(false));
        assert_eq!(buddy.put(pfns[0]), Ok(true));
        assert_eq!(buddy.free_bulk(&pfns[1..]), 2);
    });
    assert_eq!(
        only(events),
        pfns.each_ref().map(freed),
        "the last reference, and many at once"
    );
    let events = Threads::heard(|| while buddy.alloc(&request(GFP_KERNEL, 10)).is_ok() {});
    let failed = |event: &&TraceEvent| matches!(event, TraceEvent::PageAlloc { pfn: None, .. });
    assert_eq!(events.iter().filter(failed).count(), 1);
}

#[test]
fn what_is_given_up_together_is_told_as_a_batch_too() {
    let world = TypedWorld::new(0, 8192, false);
    world.hand_off(0, 8192);
    let buddy = world.buddy();
    buddy.setup_pagesets(|_| 1);
    // More than one batch, with blocks that no CPU keeps, and one that is shared.
    let orders = [0, 3, 5, 9].into_iter().cycle().take(38);
    let blocks: Vec<(Pfn, u32)> = orders
        .map(|order| (alloc(&world, GFP_HIGHUSER_MOVABLE, order), order))
        .collect();
    let shared = blocks[4].0;
    buddy.get(shared).unwrap();
    let mut pfns: Vec<Pfn> = blocks.iter().map(|&(pfn, _)| pfn).collect();
    // Not an allocated block.
    pfns.push(Pfn(1 << 40));
    let mut said = vec![];
    let events = Threads::heard(|| buddy.put_batch(&pfns, &mut |pfn, put| said.push((pfn, put))));
    let expected = pfns.iter().map(|&pfn| match pfn {
        Pfn(0x100_0000_0000) => (pfn, Err(Error::ForeignPfn)),
        pfn => (pfn, Ok(pfn != shared)),
    });
    assert_eq!(said, expected.collect::<Vec<_>>());
    let freed = |event: &TraceEvent| match *event {
        TraceEvent::PageFree { pfn, order } => Some((pfn, u32::from(order.get()))),
        _ => None,
    };
    let batched = |event: &TraceEvent| match *event {
        TraceEvent::PageFreeBatched { pfn } => Some(pfn),
        _ => None,
    };
    let gone: Vec<_> = blocks
        .iter()
        .copied()
        .filter(|&(pfn, _)| pfn != shared)
        .collect();
    assert_eq!(events.iter().filter_map(freed).collect::<Vec<_>>(), gone);
    let kept = gone
        .iter()
        .filter(|&&(_, order)| order != 5)
        .map(|&(pfn, _)| pfn);
    assert_eq!(
        events.iter().filter_map(batched).collect::<Vec<_>>(),
        kept.collect::<Vec<_>>()
    );
    assert_eq!(buddy.put(shared), Ok(true));
    buddy.validate().unwrap();
    buddy.drain_all_pages();
    assert_eq!(world.zone().free_counts.free_pages(), Pages(8192));
}

#[test]
fn who_begins_to_listen_while_pagesets_are_set_up_is_told_of_every_page() {
    let world = TypedWorld::new(0, 8192, false);
    let world: &'static TypedWorld = Box::leak(Box::new(world));
    world.hand_off(0, 8192);
    let stats = world.own_pagesets(true);
    let buddy = world.buddy_with(&stats);
    let told = || {
        let events = Threads::heard(|| {
            let pfn = buddy.alloc(&request(GFP_HIGHUSER_MOVABLE, 0)).unwrap();
            buddy.free(pfn, order_of(0)).unwrap();
        });
        let given = |event: &&TraceEvent| matches!(event, TraceEvent::PageAlloc { .. });
        events.iter().filter(given).count()
    };
    // While the gate is open nobody asks.
    buddy.setup_pagesets(|_| 1);
    let pages: Vec<Pfn> = (0..20)
        .map(|_| buddy.alloc(&request(GFP_HIGHUSER_MOVABLE, 0)).unwrap())
        .collect();
    for pfn in pages {
        buddy.free(pfn, order_of(0)).unwrap();
    }
    assert_eq!(told(), 0);
    world.world.platform.comes.store(true, Relaxed);
    buddy.setup_pagesets(|_| 1);
    assert_eq!(told(), 1);
    world.world.platform.listens.store(false, Relaxed);
    buddy.refresh_told();
    assert_eq!(told(), 0);
    buddy.drain_all_pages();
}
