// SPDX-License-Identifier: GPL-2.0

//! Reclaim: shrinkers, direct reclaim, kswapd, and the order of things in the
//! slow path.

use crate::typed::*;
use crate::world::*;
use shadowmm_core::buddy::gfp::*;
use shadowmm_core::buddy::*;
use shadowmm_core::error::Error;
use shadowmm_core::page::ZoneId;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::*;
use shadowmm_core::report::NodeStat;
use shadowmm_core::trace::TraceEvent;
use shadowmm_core::zone::Watermark;
use shadowmm_host_tests::owner::Cache;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Mutex;

const NODE: NodeId = NodeId(0);

/// A zone of `blocks` page blocks with watermarks of 64, 80 and 96 pages, and a
/// cache of pages.
fn machine(blocks: u64) -> (&'static TypedWorld, &'static Cache) {
    let world: &'static TypedWorld =
        Box::leak(Box::new(TypedWorld::new(512, 512 + 512 * blocks, false)));
    world.hand_off(512, 512 + 512 * blocks);
    let zone = world.zone();
    zone.set_watermark(Watermark::Min, Pages(64));
    zone.set_watermark(Watermark::Low, Pages(80));
    zone.set_watermark(Watermark::High, Pages(96));
    let cache = world.cache();
    (world, cache)
}

/// Takes pages for the cache until `left` are free.
fn cache_all_but(world: &TypedWorld, cache: &Cache, left: u64) {
    while world.zone().free_counts.free_pages().0 > left {
        let taken = world.buddy().alloc(&request(GFP_NOWAIT, 0));
        match taken.or_else(|_| {
            world
                .buddy()
                .alloc(&request(GFP_ATOMIC | __GFP_MEMALLOC, 0))
        }) {
            Ok(pfn) => cache.add(pfn.0),
            Err(_) => break,
        }
    }
}

/// The node's kswapd, which has found nothing to do and waits to be woken.
fn asleep(world: &TypedWorld) -> Kswapd {
    world.world.platform.has_kswapd.store(true, Relaxed);
    let mut kswapd = Kswapd::new(NODE);
    assert_eq!(kswapd.step(&world.buddy(), false), Rest::Nap(100));
    assert_eq!(kswapd.step(&world.buddy(), false), Rest::UntilWoken);
    kswapd
}

fn event(world: &TypedWorld, event: VmEvent) -> u64 {
    world.world.stats.vm_event(event)
}

/// How many pages reclaim had of the only node.
fn on_node(world: &TypedWorld, item: NodeStat) -> u64 {
    let daemons = world.buddy().zones.daemons(NODE);
    daemons.unwrap().reclaimed(item)
}

#[test]
fn a_request_reclaims_32_pages_and_is_served() {
    let (world, cache) = machine(4);
    cache_all_but(world, cache, 64);
    let kept = cache.len();
    assert_eq!(
        world.buddy().alloc(&request(GFP_NOWAIT, 0)),
        Err(Error::NoMemory)
    );
    assert_eq!(cache.len(), kept);
    world.buddy().alloc(&request(GFP_KERNEL, 0)).unwrap();
    let back = kept - cache.len();
    // In batches of 128: the last one may be of what was put off.
    assert!(back == 128 || back == 256, "{back} pages");
    assert_eq!(on_node(world, NodeStat::PgstealDirect), back);
    assert_eq!(on_node(world, NodeStat::PgscanDirect), back);
    assert_eq!(on_node(world, NodeStat::PgstealKswapd), 0);
    assert_eq!(event(world, VmEvent::AllocStall(ZoneType::Normal)), 1);
    assert_eq!(event(world, VmEvent::SlabsScanned), 0);
    world.buddy().validate().unwrap();
}

#[test]
fn a_shrinker_is_asked_for_its_share_in_batches() {
    let (world, cache) = machine(8);
    cache_all_but(world, cache, 64);
    let events = Threads::heard(|| {
        world.buddy().alloc(&request(GFP_KERNEL, 0)).unwrap();
    });
    // With about 4000 objects and 2 seeks, 2 of 2^12 are asked for at first; a
    // batch of 128 is reached as that is put off, and the priority falls.
    let mut expected = 12;
    let mut put_off = 0;
    for event in &events {
        match *event {
            TraceEvent::ShrinkSlabStart {
                objects_to_shrink,
                cache_items,
                delta,
                total_scan,
                priority,
                ..
            } => {
                assert_eq!(priority, expected);
                assert_eq!(delta, (cache_items >> priority) * 4 / 2);
                assert_eq!(objects_to_shrink, put_off);
                assert_eq!(total_scan, (put_off >> priority) + delta);
                expected -= 1;
            }
            TraceEvent::ShrinkSlabEnd { new_scan, .. } => put_off = new_scan,
            _ => {}
        }
    }
    assert!(expected < 8, "{expected}");
    let asked = cache.asked.lock().unwrap();
    assert!(asked.iter().all(|&n| n == 128), "{asked:?}");
}

#[test]
fn pages_of_other_cpus_are_reclaimed_when_no_shrinker_has_any() {
    let (world, cache) = machine(4);
    assert_eq!(cache.len(), 0);
    world.buddy().setup_pagesets(|_| 1);
    Threads::run_on(3);
    let pages: Vec<_> = (0..1500)
        .map(|_| world.buddy().alloc(&request(GFP_KERNEL, 0)).unwrap())
        .collect();
    for pfn in &pages[..60] {
        world.buddy().free(*pfn, PageOrder::ZERO).unwrap();
    }
    let kept = u64::from(world.pageset(3).0);
    assert!(kept > 0);
    Threads::run_on(0);
    let mut taken = 0;
    while world.buddy().alloc(&request(GFP_KERNEL, 0)).is_ok() {
        taken += 1;
    }
    assert_eq!(world.pageset(3).0, 0);
    assert_eq!(1500 - 60 + taken, 2048 - 64);
    world.buddy().validate().unwrap();
}

#[test]
fn kswapd_works_until_the_node_is_above_its_high_watermark() {
    let (world, cache) = machine(4);
    let mut kswapd = asleep(world);
    cache_all_but(world, cache, 81);
    let woken = || world.world.platform.kswapd_woken.lock().unwrap().len();
    assert_eq!(woken(), 0);
    // The next request does not find the low watermark kept.
    cache.add(world.buddy().alloc(&request(GFP_KERNEL, 0)).unwrap().0);
    cache.add(world.buddy().alloc(&request(GFP_KERNEL, 0)).unwrap().0);
    assert_eq!(woken(), 1);
    assert_eq!(kswapd.step(&world.buddy(), true), Rest::No);
    let free = world.zone().free_counts.free_pages();
    assert!(free > Pages(96), "{free:?}");
    assert_eq!(event(world, VmEvent::Pageoutrun), 1);
    assert!(on_node(world, NodeStat::PgstealKswapd) > 0);
    assert_eq!(on_node(world, NodeStat::PgstealDirect), 0);
    assert_eq!(kswapd.step(&world.buddy(), false), Rest::Nap(100));
    // Woken from its nap it works again, and finds nothing to do.
    assert_eq!(kswapd.step(&world.buddy(), true), Rest::No);
    assert_eq!(event(world, VmEvent::KswapdLowWmarkHitQuickly), 1);
    assert_eq!(kswapd.step(&world.buddy(), false), Rest::Nap(100));
    assert_eq!(kswapd.step(&world.buddy(), false), Rest::UntilWoken);
    world.buddy().validate().unwrap();
}

#[test]
fn a_node_that_can_not_be_balanced_is_left_to_direct_reclaim() {
    let (world, cache) = machine(2);
    let mut kswapd = asleep(world);
    let mut held = vec![];
    while let Ok(pfn) = world.buddy().alloc(&request(GFP_NOWAIT, 0)) {
        held.push(pfn);
    }
    let daemons = ZoneTable::<Threads>::daemons(&world.world.zones, NODE).unwrap();
    let mut rounds = 0;
    while kswapd.step(&world.buddy(), true) == Rest::No {
        rounds += 1;
        assert!(rounds < 100);
    }
    assert!(daemons.is_hopeless());
    assert_eq!(daemons.kswapd_failures(), 16);
    // It is not woken any more ...
    let before = world.world.platform.kswapd_woken.lock().unwrap().len();
    assert_eq!(
        world.buddy().alloc(&request(GFP_NOWAIT, 0)),
        Err(Error::NoMemory)
    );
    assert_eq!(
        world.world.platform.kswapd_woken.lock().unwrap().len(),
        before
    );
    // ... until direct reclaim balances the node.
    for pfn in held.drain(..) {
        cache.add(pfn.0);
    }
    while daemons.is_hopeless() && cache.len() > 0 {
        let pfn = world.buddy().alloc(&request(GFP_KERNEL, 0)).unwrap();
        held.push(pfn);
    }
    assert!(!daemons.is_hopeless());
    world.buddy().validate().unwrap();
}

#[test]
fn a_hopeless_node_is_not_so_when_its_owners_free_and_others_are_behind_it() {
    let nodes = [
        (0, ZoneType::Normal, 0, 1024),
        (1, ZoneType::Normal, 1024, 2048),
    ];
    let world = World::new(&nodes, false);
    world.platform.has_kswapd.store(true, Relaxed);
    for (nid, kind, start, end) in nodes {
        world.hand_off(start, end);
        let zone = world.zone(nid, kind);
        zone.set_watermark(Watermark::Min, Pages(64));
        zone.set_watermark(Watermark::Low, Pages(80));
        zone.set_watermark(Watermark::High, Pages(96));
    }
    let buddy = world.buddy();
    for (nid, behind) in [(NodeId(0), true), (NodeId(1), false)] {
        let mut kswapd = Kswapd::new(nid);
        kswapd.step(&buddy, false);
        kswapd.step(&buddy, false);
        let here = request(GFP_NOWAIT | __GFP_THISNODE, 0).on(nid);
        let mut held = vec![];
        while let Ok(pfn) = buddy.alloc(&here) {
            held.push(pfn);
        }
        while kswapd.step(&buddy, true) == Rest::No {}
        let daemons = buddy.zones.daemons(nid).unwrap();
        assert!(daemons.is_hopeless());
        // Up to the high watermark nothing changes.
        for pfn in held.drain(..32) {
            buddy.free(pfn, PageOrder::ZERO).unwrap();
            assert!(daemons.is_hopeless());
        }
        for pfn in held {
            buddy.free(pfn, PageOrder::ZERO).unwrap();
        }
        assert_eq!(daemons.is_hopeless(), !behind);
    }
}

#[test]
fn nodes_whose_kswapd_is_awake_are_passed_over_as_long_as_others_have_room() {
    let nodes = [
        (0, ZoneType::Normal, 0, 1024),
        (1, ZoneType::Normal, 1024, 2048),
    ];
    let world = World::new(&nodes, false);
    for (_, _, start, end) in nodes {
        world.hand_off(start, end);
    }
    let buddy = world.buddy();
    let node_of = |gfp| {
        let pfn = buddy.alloc(&request(gfp, 0).on(NODE)).unwrap();
        buddy.free(pfn, PageOrder::ZERO).unwrap();
        world.page(pfn.0).nid().0
    };
    // Nobody is awake where there is nobody.
    assert_eq!(node_of(GFP_KERNEL), 0);
    world.platform.has_kswapd.store(true, Relaxed);
    // Both are awake still, so none is better than the other.
    assert_eq!(node_of(GFP_KERNEL), 0);
    let mut kswapd = Kswapd::new(NodeId(1));
    assert_eq!(kswapd.step(&buddy, false), Rest::Nap(100));
    assert_eq!(node_of(GFP_KERNEL), 1);
    assert_eq!(node_of(GFP_KERNEL | __GFP_THISNODE), 0);
    // With no room there, it is the first again.
    let there = request(GFP_NOWAIT | __GFP_THISNODE, 0).on(NodeId(1));
    let held: Vec<_> = std::iter::from_fn(|| buddy.alloc(&there).ok()).collect();
    assert_eq!(held.len(), 1024);
    assert_eq!(node_of(GFP_KERNEL), 0);
    for pfn in held {
        buddy.free(pfn, PageOrder::ZERO).unwrap();
    }
    // And when it waits, the first is the better one.
    assert_eq!(node_of(GFP_KERNEL), 1);
    let mut kswapd = Kswapd::new(NODE);
    assert_eq!(kswapd.step(&buddy, false), Rest::Nap(100));
    assert_eq!(node_of(GFP_KERNEL), 0);
}

/// Of a machine of 16 page blocks: unmovable pages mix in with others.
fn mix(world: &TypedWorld) {
    // Of every page block a page is taken: unmovable requests must mix in.
    let mut held = vec![];
    for _ in 0..16 * 512 - 200 {
        held.push(
            world
                .buddy()
                .alloc(&request(GFP_HIGHUSER_MOVABLE, 0))
                .unwrap(),
        );
    }
    for pfn in held.iter().filter(|pfn| pfn.0 % 4 == 0) {
        world.page(pfn.0).set_movable(true);
        world.buddy().free(*pfn, PageOrder::ZERO).unwrap();
    }
    world.buddy().alloc(&request(GFP_KERNEL, 0)).unwrap();
}

#[test]
fn a_boost_ends_with_the_round_that_saw_it() {
    let (world, _) = machine(16);
    asleep(world);
    mix(world);
    assert!(!world.zone().boost().is_zero());
    assert_eq!(*world.world.platform.kswapd_woken.lock().unwrap(), [0]);
    let order = world
        .buddy()
        .balance_pgdat(NODE, PageOrder::ZERO, ZoneType::Normal);
    assert_eq!(order, PageOrder::ZERO);
    assert!(world.zone().boost().is_zero());
    let daemons = ZoneTable::<Threads>::daemons(&world.world.zones, NODE).unwrap();
    assert_eq!(daemons.kswapd_failures(), 0);
}

#[test]
fn a_boost_ends_at_once_where_the_thread_was_stopped_in_its_sleep() {
    let (world, _) = machine(16);
    asleep(world);
    world.world.platform.has_kswapd.store(false, Relaxed);
    mix(world);
    assert!(world.zone().boost().is_zero());
    assert!(world.world.platform.kswapd_woken.lock().unwrap().is_empty());
}

/// Gives pages back when it is asked, and notes how many the CPU keeps then.
struct Watcher {
    world: &'static TypedWorld,
    stats: &'static Statistics<'static>,
    held: Mutex<Vec<Pfn>>,
    most: AtomicU32,
    deferred: Deferred,
}

impl Watcher {
    fn pageset(&self) -> &Pageset {
        let id = ZoneId::new(NODE, ZoneType::Normal);
        self.stats.pageset(CpuId(0), id).unwrap()
    }

    /// Frees so many, and says how many the CPU had at most meanwhile.
    fn free(&self, pages: u64) -> u32 {
        self.most.store(0, Relaxed);
        for _ in 0..pages {
            let Some(pfn) = self.held.lock().unwrap().pop() else {
                break;
            };
            let buddy = self.world.buddy_with(self.stats);
            buddy.free(pfn, PageOrder::ZERO).unwrap();
            self.most.fetch_max(self.pageset().count(), Relaxed);
        }
        self.most.load(Relaxed)
    }
}

impl Shrinker for Watcher {
    fn name(&self) -> &'static str {
        "watcher"
    }

    fn count(&self, _control: &ShrinkControl) -> u64 {
        self.held.lock().unwrap().len() as u64
    }

    fn scan(&self, control: &mut ShrinkControl) -> Option<u64> {
        self.free(control.nr_to_scan);
        control.reclaimed += Pages(control.nr_to_scan);
        Some(control.nr_to_scan)
    }

    fn deferred(&self) -> &Deferred {
        &self.deferred
    }
}

#[test]
fn while_kswapd_is_at_work_cpus_keep_few_pages() {
    for short in [false, true] {
        let (world, _) = machine(64);
        let stats: &'static _ = Box::leak(Box::new(world.own_pagesets(short)));
        let buddy = world.buddy_with(stats);
        buddy.setup_pagesets(|_| 1);
        let get = |_| buddy.alloc(&request(GFP_KERNEL, 0)).unwrap();
        let watcher: &'static Watcher = Box::leak(Box::new(Watcher {
            world,
            stats,
            held: Mutex::new((0..20_000).map(get).collect()),
            most: AtomicU32::new(0),
            deferred: Deferred::new(),
        }));
        let shrinkers = &world.world.platform.shrinkers;
        shrinkers.lock().unwrap().push(watcher);
        let limits = watcher.pageset().limits();
        let few = limits.batch << 2;
        assert!(few < limits.high_min, "{limits:?}");
        assert!(watcher.free(300) > few);
        // The zone is short from now on, though no request has seen it.
        let free = world.zone().free_counts.free_pages();
        let high = |pages| world.zone().set_watermark(Watermark::High, pages);
        high(free + Pages(2000));
        buddy.balance_pgdat(NODE, PageOrder::ZERO, ZoneType::Normal);
        let id = ZoneId::new(NODE, ZoneType::Normal);
        assert!(!buddy.zone_state(id).unwrap().below_high);
        assert!(world.zone().free_counts.free_pages() > free + Pages(2000));
        // What it was asked for last found few at all times.
        assert!(watcher.most.load(Relaxed) <= few);
        high(Pages(96));
        assert!(watcher.free(300) > few);
        buddy.validate().unwrap();
    }
}

#[test]
fn all_that_shrinkers_have_can_be_dropped() {
    let (world, cache) = machine(4);
    cache_all_but(world, cache, 100);
    let kept = cache.len();
    assert_eq!(world.buddy().drop_slab(), Pages(kept));
    assert_eq!(cache.len(), 0);
    assert_eq!(event(world, VmEvent::DropSlab), 1);
    assert_eq!(world.zone().free_counts.free_pages(), Pages(4 * 512));
}

#[test]
fn what_must_not_fail_ends_with_a_sentence() {
    let (world, _) = machine(1);
    let nofail = request(GFP_KERNEL | __GFP_NOFAIL, 0);
    let mut held = 0;
    let refused = loop {
        match world.buddy().alloc(&nofail) {
            Ok(_) => held += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(held, 512);
    assert_eq!(refused, Error::CannotFail);
    // Nobody can wait here, so it is an ordinary failure.
    let nowait = request(GFP_NOWAIT | __GFP_NOFAIL, 0);
    assert_eq!(world.buddy().alloc(&nowait), Err(Error::NoMemory));
}
