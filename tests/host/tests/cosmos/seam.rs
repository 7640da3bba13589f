// SPDX-License-Identifier: GPL-2.0

//! The seam: what holds for every page allocator, tried on all that there are,
//! by one function that knows the trait and no more.

use crate::machine::*;
use crate::world::*;
use shadowmm_core::allocator::Allocator;
use shadowmm_core::allocator::AllocatorKind;
use shadowmm_core::buddy::gfp::*;
use shadowmm_core::buddy::*;
use shadowmm_core::error::Error;
use shadowmm_core::page::*;
use shadowmm_core::phys::*;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

const SPECS: [ZoneSpec; 4] = [
    (0, ZoneType::Dma, 0, 1024),
    (0, ZoneType::Normal, 1024, 8192),
    (0, ZoneType::Movable, 8192, 12288),
    (1, ZoneType::Normal, 12288, 16384),
];

/// What memblock hands off.
const GIVEN: [(u64, u64); 4] = [(3, 1000), (1024, 8191), (8192, 12288), (12500, 16384)];

/// A small generator, so that a failure can be run again.
fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

fn reports(allocator: &impl PageAllocator) -> Vec<FreeReport> {
    let ids = SPECS.map(|spec| ZoneId::new(NodeId(spec.0), spec.1));
    let reports = ids.iter().map(|&id| allocator.free_report(id).unwrap());
    reports.collect()
}

fn random_request(seed: &mut u64) -> AllocRequest {
    let dice = next(seed);
    let flags = [GFP_KERNEL, GFP_HIGHUSER_MOVABLE, GFP_ATOMIC, GFP_DMA];
    let order = (dice >> 8) as u32 % 11 * ((dice >> 4) as u32 & 1);
    request(flags[(dice >> 16) as usize % 4], order)
}

/// Whether a zone may serve a request.
fn is_allowed(request: &AllocRequest, page: &PageDescriptor) -> bool {
    page.zone() <= request.gfp().zone().unwrap()
}

/// All that must hold, on a machine where nothing is handed off yet. `settle`
/// makes the allocator put everything back that it keeps aside for the CPUs.
fn seam(world: &World, allocator: &impl PageAllocator, settle: &dyn Fn()) {
    Threads::run_on(0);
    for (start, end) in GIVEN {
        hand_over(allocator, start, end);
    }
    allocator.validate().unwrap();
    let given: u64 = GIVEN.iter().map(|(start, end)| end - start).sum();
    settle();
    let fresh = reports(allocator);
    let free = |reports: &[FreeReport]| reports.iter().map(|r| r.free.0).sum::<u64>();
    assert_eq!(free(&fresh), given);
    assert_eq!(world.stats.vm_event(VmEvent::PgFree), given);
    let beyond = ZoneId::new(NodeId(9), ZoneType::Normal);
    assert_eq!(allocator.free_report(beyond), None);
    assert_eq!(allocator.block_of(Pfn(1 << 30)), None);

    let mut seed = 0x2545_f491_4f6c_dd1d;
    let mut held: Vec<(Pfn, PageOrder)> = vec![];
    let mut owned = vec![false; 16384];
    let mut refused = 0;
    for step in 0..4000 {
        if next(&mut seed) % 5 < 3 || held.is_empty() {
            let request = random_request(&mut seed);
            match allocator.alloc(&request) {
                Err(error) => {
                    assert_eq!(error, Error::NoMemory);
                    refused += 1;
                    // What is left is not enough for the larger half.
                    let keep = held.len() / 2;
                    for (pfn, order) in held.drain(keep..) {
                        allocator.free(pfn, order).unwrap();
                        owned[pfn.0 as usize..][..order.pages().0 as usize].fill(false);
                    }
                }
                Ok(pfn) => {
                    assert!(pfn.is_aligned(request.order()), "{pfn} {request:?}");
                    let pages = &mut owned[pfn.0 as usize..][..request.order().pages().0 as usize];
                    assert!(pages.iter().all(|owned| !owned), "{pfn} is somebody's");
                    pages.fill(true);
                    let page = world.page(pfn.0);
                    assert!(is_allowed(&request, page), "{pfn} {request:?}");
                    assert_eq!(page.count(), 1);
                    let info = BlockInfo {
                        head: pfn,
                        order: request.order(),
                        state: PageState::Allocated,
                    };
                    let inside = Pages(next(&mut seed) & (request.order().pages().0 - 1));
                    assert_eq!(allocator.block_of(pfn + inside), Some(info));
                    assert_eq!(allocator.check_free(pfn, request.order()), Ok(()));
                    if !inside.is_zero() {
                        let refused = allocator.free(pfn + inside, PageOrder::ZERO);
                        assert_eq!(refused, Err(Error::NotBlockHead));
                    }
                    let other = request.order().down().unwrap_or(order_of(1));
                    assert_eq!(allocator.free(pfn, other), Err(Error::WrongOrder));
                    held.push((pfn, request.order()));
                }
            }
        } else {
            let at = next(&mut seed) as usize % held.len();
            let (pfn, order) = held.swap_remove(at);
            allocator.free(pfn, order).unwrap();
            owned[pfn.0 as usize..][..order.pages().0 as usize].fill(false);
            assert_eq!(allocator.free(pfn, order), Err(Error::DoubleFree));
            assert_eq!(allocator.check_free(pfn, order), Err(Error::DoubleFree));
        }
        if step % 200 == 0 {
            allocator.validate().unwrap();
            settle();
            let now = reports(allocator);
            let used = owned.iter().filter(|&&owned| owned).count() as u64;
            assert_eq!(free(&now), given - used);
            for report in now {
                let blocks = report.blocks.iter().zip(0..);
                let pages: u64 = blocks.map(|(count, order)| count << order).sum();
                assert_eq!(report.free, Pages(pages));
            }
        }
    }
    assert!(refused > 10, "memory hardly ran out: {refused} times");
    assert_eq!(world.stats.refusals(Error::NoMemory), refused);
    for (pfn, order) in held {
        allocator.free(pfn, order).unwrap();
    }
    settle();
    assert_eq!(reports(allocator), fresh);

    // All of it, page by page, and back in another order.
    let mut all = vec![];
    for gfp in [GFP_DMA, GFP_KERNEL, GFP_HIGHUSER_MOVABLE] {
        while let Ok(pfn) = allocator.alloc(&request(gfp, 0)) {
            all.push(pfn);
        }
    }
    assert_eq!(all.len() as u64, given);
    assert_eq!(free(&reports(allocator)), 0);
    allocator.validate().unwrap();
    for i in (1..all.len()).rev() {
        all.swap(i, next(&mut seed) as usize % (i + 1));
    }
    for pfn in all {
        allocator.free(pfn, PageOrder::ZERO).unwrap();
    }
    settle();
    assert_eq!(reports(allocator), fresh);
    allocator.validate().unwrap();

    // An owned block goes back by itself, once.
    let block = allocator.alloc_block(&request(GFP_KERNEL, 4)).unwrap();
    let (pfn, order) = (block.pfn(), block.order());
    drop(block);
    assert_eq!(allocator.free(pfn, order), Err(Error::DoubleFree));
    let block = allocator.alloc_block(&request(GFP_KERNEL, 4)).unwrap();
    block.free().unwrap();
    let (pfn, order) = allocator
        .alloc_block(&request(GFP_KERNEL, 4))
        .unwrap()
        .into_raw();
    assert_ne!(reports(allocator), fresh);
    allocator.free(pfn, order).unwrap();

    // Only what is RAM and nobody's yet can be handed off.
    let page = PageOrder::ZERO;
    let accept = |pfn| allocator.accept(Pfn(pfn), page);
    assert_eq!(accept(3), Err(Error::DoubleFree));
    assert_eq!(accept(16384), Err(Error::ForeignPfn));
    assert_eq!(allocator.free(Pfn(1000), page), Err(Error::PageReserved));
    assert_eq!(accept(1000), Ok(()));
    assert_eq!(allocator.free(Pfn(1000), page), Err(Error::DoubleFree));
    allocator.validate().unwrap();
}

/// Threads on all zones at once: no page is given out twice, none is lost.
fn threads(allocator: &(impl PageAllocator + Sync), settle: &dyn Fn()) {
    for (start, end) in GIVEN {
        hand_over(allocator, start, end);
    }
    settle();
    let fresh = reports(allocator);
    let owner: Vec<_> = (0..16384).map(|_| AtomicU32::new(0)).collect();
    std::thread::scope(|scope| {
        for cpu in 0..3 {
            let owner = &owner;
            scope.spawn(move || {
                Threads::run_on(cpu);
                let mut seed = 0x9e37_79b9_7f4a_7c15 ^ u64::from(cpu + 1);
                let mut held = vec![];
                let pages = |pfn: Pfn, order: PageOrder| {
                    let first = pfn.0 as usize;
                    &owner[first..first + order.pages().0 as usize]
                };
                let release = |(pfn, order)| {
                    for page in pages(pfn, order) {
                        page.store(0, Relaxed);
                    }
                    allocator.free(pfn, order).unwrap();
                };
                for _ in 0..10_000 {
                    let mut keep = held.len();
                    if next(&mut seed) & 1 == 0 || held.is_empty() {
                        let request = random_request(&mut seed);
                        match allocator.alloc(&request) {
                            Ok(pfn) => {
                                for page in pages(pfn, request.order()) {
                                    assert_eq!(page.swap(cpu + 1, Relaxed), 0);
                                }
                                held.push((pfn, request.order()));
                                continue;
                            }
                            Err(_) => keep /= 2,
                        }
                    } else {
                        let last = held.len() - 1;
                        held.swap(next(&mut seed) as usize % (last + 1), last);
                        keep = last;
                    }
                    held.drain(keep..).for_each(release);
                }
                held.into_iter().for_each(release);
            });
        }
        scope.spawn(|| {
            for _ in 0..10 {
                allocator.validate().unwrap();
            }
        });
    });
    allocator.validate().unwrap();
    settle();
    assert_eq!(reports(allocator), fresh);
}

/// Nothing is kept aside.
fn settled() {}

#[test]
fn the_buddy_system_keeps_the_seam() {
    let world = World::new(&SPECS, false);
    seam(&world, &world.buddy(), &settled);
    let world = World::new(&SPECS, false);
    threads(&world.buddy(), &settled);
}

#[test]
fn the_buddy_system_with_pagesets_keeps_the_seam() {
    // How much a CPU may keep depends on what the zones have by then.
    let settle = |world: &World| {
        world.buddy().setup_pagesets(|_| 4);
        world.buddy().drain_all_pages();
    };
    let world = World::new(&SPECS, false);
    seam(&world, &world.buddy(), &|| settle(&world));
    let world = World::new(&SPECS, false);
    threads(&world.buddy(), &|| settle(&world));
    // The pagesets were in use.
    let page = world.alloc(GFP_KERNEL, 0).unwrap();
    world.free(page, 0).unwrap();
    assert!(!world.buddy().drain_all_pages().is_zero());
}

#[test]
fn cosmos_keeps_the_seam() {
    let cosmos = Cosmos::new(&SPECS, false, 1024);
    seam(&cosmos.world, &cosmos.system(), &settled);
    let cosmos = Cosmos::new(&SPECS, false, 1024);
    threads(&cosmos.system(), &settled);
}

#[test]
fn either_keeps_the_seam_behind_the_choice() {
    let world = World::new(&SPECS, false);
    let chosen: Allocator<'_, Threads, VecMap, Zones> = Allocator::Buddy(world.buddy());
    assert_eq!(chosen.kind(), AllocatorKind::Buddy);
    seam(&world, &chosen, &settled);
    let cosmos = Cosmos::new(&SPECS, false, 1024);
    let chosen = Allocator::Cosmos(cosmos.system());
    assert_eq!(chosen.kind(), AllocatorKind::Cosmos);
    seam(&cosmos.world, &chosen, &settled);
}

#[test]
fn the_choice_is_made_by_name() {
    for kind in AllocatorKind::ALL {
        assert_eq!(AllocatorKind::parse(kind.name()), Ok(kind));
    }
    assert_eq!(AllocatorKind::parse(""), Ok(AllocatorKind::Buddy));
    assert_eq!(AllocatorKind::parse(" cosmos\n"), Ok(AllocatorKind::Cosmos));
    for text in ["Cosmos", "slob", "buddy,cosmos", "cosmos1"] {
        assert_eq!(
            AllocatorKind::parse(text),
            Err(Error::BadParameter),
            "{text}"
        );
    }
}
