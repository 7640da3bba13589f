// SPDX-License-Identifier: GPL-2.0

//! Threads on all zones at once: no page is given out twice, none is lost,
//! and of two who free the same block one is refused.

use crate::world::*;
use shadowmm_core::buddy::gfp::*;
use shadowmm_core::buddy::*;
use shadowmm_core::error::Error;
use shadowmm_core::page::ZoneId;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::*;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Acquire;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::Ordering::Release;
use std::sync::Barrier;

const SPECS: [ZoneSpec; 3] = [
    (0, ZoneType::Dma32, 0, 1024),
    (0, ZoneType::Normal, 1024, 4096),
    (1, ZoneType::Normal, 4096, 8192),
];

/// A small generator, so that a failure can be run again.
fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

#[test]
fn threads_share_the_zones_and_lose_nothing() {
    share_the_zones(false);
}

/// The same with pagesets, while another CPU drains them all the time.
#[test]
fn threads_keep_pages_and_lose_nothing() {
    share_the_zones(true);
}

fn share_the_zones(pagesets: bool) {
    let world = World::new(&SPECS, false);
    let kinds = [
        (0, ZoneType::Dma32),
        (0, ZoneType::Normal),
        (1, ZoneType::Normal),
    ];
    for (_, _, start, end) in SPECS {
        world.hand_off(start, end);
    }
    let reports = || {
        kinds.map(|(nid, kind)| {
            let id = ZoneId::new(NodeId(nid), kind);
            world.buddy().free_report(id).unwrap()
        })
    };
    if pagesets {
        world.buddy().setup_pagesets(|_| 4);
    }
    let before = reports();
    let drained = AtomicU64::new(0);
    let shared = world.buddy();
    let owner: Vec<_> = (0..8192).map(|_| AtomicU32::new(0)).collect();
    let away: std::sync::Mutex<Vec<Owned<'_>>> = Default::default();
    let (given, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let running = AtomicU32::new(4);

    std::thread::scope(|scope| {
        for cpu in 0..4 {
            let (owner, given, failed) = (&owner, &given, &failed);
            let (away, buddy, running, drained) = (&away, &shared, &running, &drained);
            scope.spawn(move || {
                let _running = Running::new(running);
                Threads::run_on(cpu);
                let mut seed = 0x9e37_79b9_7f4a_7c15 ^ u64::from(cpu + 1);
                let mut held = vec![];
                // Where another drains, until he has had something: he may come late.
                let is_over = |turn| match pagesets && drained.load(Relaxed) == 0 {
                    true => turn >= 2_000_000,
                    false => turn >= 20_000,
                };
                for _ in (0..).take_while(|&turn| !is_over(turn)) {
                    let dice = next(&mut seed);
                    if dice & 1 == 0 || held.is_empty() {
                        let order = order_of((dice >> 8) as u32 % 11 * ((dice >> 4) as u32 & 1));
                        let Ok(block) = buddy.alloc_block(&AllocRequest::new(GFP_KERNEL, order))
                        else {
                            failed.fetch_add(1, Relaxed);
                            held.truncate(held.len() / 2);
                            continue;
                        };
                        given.fetch_add(order.pages().0, Relaxed);
                        let first = block.pfn().0;
                        for pfn in first..first + order.pages().0 {
                            let was = owner[pfn as usize].swap(cpu + 1, Relaxed);
                            assert_eq!(was, 0, "page {pfn} was given out twice");
                        }
                        held.push(Owned { block, owner });
                        // Some are freed by another CPU than took them.
                        if dice & 0x700 == 0 {
                            let mut away = away.lock().unwrap();
                            away.extend(held.pop());
                            if away.len() > 16 {
                                held.push(away.swap_remove(0));
                            }
                        }
                    } else {
                        held.swap_remove((dice >> 16) as usize % held.len());
                    }
                }
            });
        }
        scope.spawn(|| {
            Threads::run_on(7);
            // As long as there is anybody; what they leave is the last to go.
            loop {
                let last = running.load(Acquire) == 0;
                world.buddy().validate().unwrap();
                for _ in 0..20 {
                    let pages = world.buddy().drain_all_pages();
                    drained.fetch_add(pages.0, Relaxed);
                }
                if last {
                    break;
                }
            }
        });
    });

    away.lock().unwrap().clear();
    world.buddy().validate().unwrap();
    assert_eq!(drained.into_inner() != 0, pagesets);
    world.buddy().drain_all_pages();
    world.buddy().validate().unwrap();
    assert_eq!(reports(), before);
    let pgalloc = |kind| world.stats.vm_event(VmEvent::PgAlloc(kind));
    let given = given.into_inner();
    assert!(given > 100_000, "the threads hardly ran: {given} pages");
    assert_eq!(ZoneType::ALL.map(pgalloc).iter().sum::<u64>(), given);
    assert_eq!(world.stats.vm_event(VmEvent::PgFree), 8192 + given);
    assert_eq!(world.stats.refusals(Error::NoMemory), failed.into_inner());
    assert_eq!(world.stats.refusals(Error::DoubleFree), 0);
}

/// One of those who run, until it ends.
struct Running<'a>(&'a AtomicU32);

impl<'a> Running<'a> {
    fn new(count: &'a AtomicU32) -> Self {
        Self(count)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Release);
    }
}

/// A block whose pages are marked as somebody's until it goes back.
struct Owned<'a> {
    block: PageBlock<'a, Buddy<'a>>,
    owner: &'a [AtomicU32],
}

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        let first = self.block.pfn().0;
        for pfn in first..first + self.block.order().pages().0 {
            self.owner[pfn as usize].store(0, Relaxed);
        }
    }
}

#[test]
fn of_two_who_free_a_block_one_is_refused() {
    let world = World::one_zone(1024);
    let rounds = 2_000;
    let barrier = Barrier::new(2);
    let block = AtomicU64::new(0);
    let freed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for cpu in 0..2 {
            let (world, barrier, block, freed) = (&world, &barrier, &block, &freed);
            scope.spawn(move || {
                Threads::run_on(cpu);
                for _ in 0..rounds {
                    if cpu == 0 {
                        block.store(world.alloc(GFP_KERNEL, 2).unwrap(), Relaxed);
                    }
                    barrier.wait();
                    match world.free(block.load(Relaxed), 2) {
                        Ok(()) => {
                            freed.fetch_add(1, Relaxed);
                        }
                        Err(error) => assert_eq!(error, Error::DoubleFree),
                    }
                    barrier.wait();
                }
            });
        }
    });
    assert_eq!(freed.into_inner(), rounds);
    assert_eq!(world.stats.refusals(Error::DoubleFree), rounds);
    world.buddy().validate().unwrap();
}
