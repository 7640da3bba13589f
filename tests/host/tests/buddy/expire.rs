// SPDX-License-Identifier: GPL-2.0

//! buddy/expire.rs: what a CPU keeps of another node's zone goes back when it is
//! not used, a batch at a time; what it keeps of its own node's stays.

use super::typed::TypedWorld;
use super::world::order_of;
use super::world::request;
use super::world::Threads;
use shadowmm_core::buddy::gfp::GFP_KERNEL;
use shadowmm_core::buddy::PageAllocator;
use shadowmm_core::page::ZoneId;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::CpuId;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::Pages;
use shadowmm_core::phys::Pfn;

/// A zone of node 0 with 64 MiB, of which CPU `cpu` keeps some.
fn kept_by(cpu: u32) -> TypedWorld {
    let world = TypedWorld::new(0, 16384, false);
    world.hand_off(0, 16384);
    let buddy = world.buddy();
    buddy.setup_pagesets(|_| 1);
    Threads::run_on(cpu);
    let pages: Vec<Pfn> = (0..40)
        .map(|_| buddy.alloc(&request(GFP_KERNEL, 0)).unwrap())
        .collect();
    for pfn in pages {
        buddy.free(pfn, order_of(0)).unwrap();
    }
    assert!(world.pageset(cpu).0 >= 3, "{:?}", world.pageset(cpu));
    world
}

#[test]
fn pages_of_another_node_expire_a_batch_in_three_looks() {
    // Odd CPUs are on node 1.
    let world = kept_by(1);
    let buddy = world.buddy();
    let id = ZoneId::new(NodeId(0), ZoneType::Normal);
    let batch = buddy.stats.pageset(CpuId(1), id).unwrap().limits().batch;
    assert!(buddy.wants_refresh(CpuId(1)) && !buddy.wants_refresh(CpuId(3)));
    // What it keeps above its least size decays first, and that is traffic.
    while buddy.decay_pagesets() {}
    let mut kept = world.pageset(1).0;
    assert!(kept > 0);
    while kept > 0 {
        for _ in 0..2 {
            assert!(buddy.refresh_pagesets());
            assert_eq!(world.pageset(1).0, kept);
        }
        assert!(buddy.refresh_pagesets());
        kept = kept.saturating_sub(batch);
        assert_eq!(world.pageset(1).0, kept);
    }
    // A last look takes the traffic of the last batch in.
    assert!(buddy.refresh_pagesets());
    assert!(!buddy.refresh_pagesets());
    assert!(!buddy.wants_refresh(CpuId(1)));
    assert_eq!(world.zone().free_counts.free_pages(), Pages(16384));
    buddy.validate().unwrap();
}

#[test]
fn use_puts_it_off_and_what_is_local_stays() {
    let world = kept_by(1);
    let buddy = world.buddy();
    for _ in 0..10 {
        while buddy.decay_pagesets() {}
        let kept = world.pageset(1).0;
        buddy.refresh_pagesets();
        buddy.refresh_pagesets();
        assert_eq!(world.pageset(1).0, kept);
        // More than is kept, so that the zone is asked.
        let pages: Vec<Pfn> = (0..=world.pageset(1).0)
            .map(|_| buddy.alloc(&request(GFP_KERNEL, 0)).unwrap())
            .collect();
        for pfn in pages {
            buddy.free(pfn, order_of(0)).unwrap();
        }
    }

    let world = kept_by(0);
    let buddy = world.buddy();
    while buddy.decay_pagesets() {}
    let kept = world.pageset(0).0;
    assert!(buddy.refresh_pagesets());
    for _ in 0..10 {
        assert!(!buddy.refresh_pagesets());
    }
    assert_eq!(world.pageset(0).0, kept);
    assert!(!buddy.wants_refresh(CpuId(0)));
}
