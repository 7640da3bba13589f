// SPDX-License-Identifier: GPL-2.0

//! The seam, the rest of it: blocks that are split, merged and shared, many at
//! once and exact sizes, on every page allocator that there is.

use crate::machine::*;
use crate::world::*;
use shadowmm_core::buddy::gfp::*;
use shadowmm_core::buddy::*;
use shadowmm_core::cosmos::AreaKind;
use shadowmm_core::error::Error;
use shadowmm_core::nodemask::NodeMask;
use shadowmm_core::page::*;
use shadowmm_core::phys::*;

const SPECS: [ZoneSpec; 2] = [
    (0, ZoneType::Normal, 0, 8192),
    (1, ZoneType::Normal, 8192, 16384),
];

fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

fn free(allocator: &impl PageAllocator) -> Vec<FreeReport> {
    let ids = SPECS.map(|spec| ZoneId::new(NodeId(spec.0), spec.1));
    let reports = ids.iter().map(|&id| allocator.free_report(id).unwrap());
    reports.collect()
}

/// Splits, merges, shares and frees at random; `held` is all that is held, in
/// order of the pages.
fn pieces(allocator: &impl PageAllocator, world: &World, settle: &dyn Fn()) {
    Threads::run_on(0);
    for (_, _, start, end) in SPECS {
        hand_over(allocator, start, end);
    }
    settle();
    let fresh = free(allocator);
    let mut seed = 0x6a09_e667_f3bc_c909;
    let mut held: Vec<(Pfn, PageOrder, u32)> = vec![];
    let (mut splits, mut merges) = (0, 0);
    for step in 0..6000 {
        let dice = next(&mut seed);
        let at = (dice >> 32) as usize % held.len().max(1);
        match (dice % 8, held.get_mut(at)) {
            (0 | 1, _) | (_, None) => {
                let order = order_of((dice >> 8) as u32 % 8);
                let pfn = allocator.alloc(&request(GFP_KERNEL, order.get().into()));
                if let Ok(pfn) = pfn {
                    let place = held.partition_point(|&(other, _, _)| other < pfn);
                    held.insert(place, (pfn, order, 1));
                }
            }
            (2 | 3, Some(&mut (pfn, order, count))) => {
                let to = order_of((dice >> 8) as u32 % 8);
                let expected = match () {
                    () if to >= order => Err(Error::BadPieces),
                    () if count > 1 => Err(Error::Shared),
                    () => Ok(()),
                };
                assert_eq!(allocator.split(pfn, order, to), expected);
                if expected.is_ok() {
                    splits += 1;
                    let step = 1usize << to.get();
                    let heads = (0..order.pages().0).step_by(step);
                    let new = heads.map(|i| (pfn + Pages(i), to, 1));
                    held.splice(at..=at, new);
                }
            }
            (4 | 5, Some(&mut (pfn, order, _))) => {
                let to = order_of((u32::from(order.get()) + 1 + (dice >> 8) as u32 % 2).min(10));
                let head = pfn.align_down(to);
                let inside = |&(other, order, _): &(Pfn, PageOrder, u32)| {
                    other >= head && other + order.pages() <= head + to.pages()
                };
                let parts: Vec<_> = held.iter().filter(|block| inside(block)).collect();
                let pages: u64 = parts.iter().map(|block| block.1.pages().0).sum();
                let is_whole = Pages(pages) == to.pages();
                let is_shared = parts.iter().any(|block| block.2 > 1);
                let merged = allocator.merge(head, to);
                match (is_whole, is_shared) {
                    (true, false) => {
                        assert_eq!(merged, Ok(()));
                        merges += 1;
                        held.retain(|block| !inside(block));
                        let place = held.partition_point(|&(other, _, _)| other < head);
                        held.insert(place, (head, to, 1));
                    }
                    (true, true) => assert_eq!(merged, Err(Error::Shared)),
                    _ => assert!(merged.is_err()),
                }
            }
            (6, Some((pfn, _, count))) => {
                allocator.get(*pfn).unwrap();
                *count += 1;
            }
            (_, Some((pfn, order, count))) => {
                if *count > 1 && dice & 0x100 != 0 {
                    allocator.free(*pfn, *order).unwrap();
                } else {
                    assert_eq!(allocator.put(*pfn), Ok(*count == 1));
                }
                *count -= 1;
                if *count == 0 {
                    held.remove(at);
                }
            }
        }
        if step % 100 == 0 {
            allocator.validate().unwrap();
            for &(pfn, order, count) in &held {
                assert!(world.page(pfn.0).is_allocated(order));
                assert_eq!(world.page(pfn.0).count(), count);
            }
            let keep = held.len().min(40);
            for (pfn, _, count) in held.drain(keep..) {
                for left in (0..count).rev() {
                    assert_eq!(allocator.put(pfn), Ok(left == 0));
                }
            }
        }
    }
    assert!(splits > 100 && merges > 100, "{splits} {merges}");
    for (pfn, order, count) in held {
        for _ in 0..count {
            allocator.free(pfn, order).unwrap();
        }
        assert_eq!(allocator.put(pfn), Err(Error::DoubleFree));
        assert_eq!(allocator.get(pfn), Err(Error::DoubleFree));
    }
    many(allocator, world);
    settle();
    allocator.validate().unwrap();
    assert_eq!(free(allocator), fresh);
}

/// Bulk, exact sizes and policies.
fn many(allocator: &impl PageAllocator, world: &World) {
    let wanted = request(GFP_KERNEL, 3);
    let mut pages = vec![Pfn(0); 700];
    assert_eq!(allocator.alloc_bulk(&wanted, &mut pages), Ok(700));
    pages.reverse();
    assert_eq!(allocator.free_bulk(&pages), 700);
    assert_eq!(allocator.free_bulk(&pages[..10]), 0);
    for pages in [1, 2, 7, 512, 700, 1024] {
        let pfn = allocator.alloc_exact(&wanted, Pages(pages)).unwrap();
        let all: Vec<_> = (0..pages).map(|i| pfn + Pages(i)).collect();
        let single = |pfn: &Pfn| world.page(pfn.0).is_allocated(PageOrder::ZERO);
        assert!(all.iter().all(single));
        assert!(allocator
            .check_free(pfn + Pages(pages), PageOrder::ZERO)
            .is_err());
        assert_eq!(allocator.free_bulk(&all) as u64, pages);
    }
    for pages in [0, 1025, u64::MAX] {
        let refused = allocator.alloc_exact(&wanted, Pages(pages));
        assert_eq!(refused, Err(Error::OrderTooLarge));
    }
    let policies = Policies {
        platform: &world.platform,
        map: &world.map,
        zones: &world.zones,
        stats: &world.stats,
    };
    let both: NodeMask = [NodeId(0), NodeId(1)].into_iter().collect();
    let policy = Policy::Interleave(both);
    let prev = InterleavePrev::new();
    let zone = ZoneId::new(NodeId(1), ZoneType::Normal);
    let before = world.stats.numa(zone, NumaStat::InterleaveHit);
    for turn in 0..4 {
        let pfn = policies.alloc(allocator, &wanted, policy, &prev).unwrap();
        assert_eq!(world.page(pfn.0).nid(), NodeId(turn & 1));
        allocator.free(pfn, wanted.order()).unwrap();
    }
    let after = world.stats.numa(zone, NumaStat::InterleaveHit);
    assert_eq!(after - before, 2);
    let some = &mut pages[..5];
    let taken = policies.alloc_bulk(allocator, &wanted, policy, &prev, some);
    assert_eq!(taken, Ok(5));
    let nodes: Vec<_> = some.iter().map(|pfn| world.page(pfn.0).nid().0).collect();
    assert_eq!(nodes, [0, 0, 0, 1, 1]);
    assert_eq!(allocator.free_bulk(some), 5);
}

#[test]
fn the_buddy_system_divides_and_joins() {
    let world = World::new(&SPECS, false);
    pieces(&world.buddy(), &world, &|| ());
    let world = World::new(&SPECS, false);
    pieces(&world.buddy(), &world, &|| {
        world.buddy().setup_pagesets(|_| 4);
        world.buddy().drain_all_pages();
    });
}

#[test]
fn cosmos_divides_and_joins() {
    let cosmos = Cosmos::new(&SPECS, false, 0);
    pieces(&cosmos.system(), &cosmos.world, &|| ());
}

#[test]
fn a_split_counts_as_given_back_and_given_out() {
    let cosmos = Cosmos::one_area(1024);
    let pfn = Pfn(cosmos.alloc(GFP_KERNEL, 3).unwrap());
    let area = cosmos.area(0, ZoneType::Normal, AreaKind::Kernel);
    let divisions = area.report().divisions;
    let system = cosmos.system();
    system.split(pfn, order_of(3), order_of(1)).unwrap();
    let report = area.report();
    assert_eq!(report.divisions, divisions + 3);
    let given_out = |order: usize| report.lists[order].allocs - report.lists[order].frees;
    assert_eq!([given_out(1), given_out(3)], [4, 0]);
    system.merge(pfn, order_of(3)).unwrap();
    let report = area.report();
    assert_eq!(report.merges, 3);
    let given_out = |order: usize| report.lists[order].allocs - report.lists[order].frees;
    assert_eq!([given_out(1), given_out(3)], [0, 1]);
    system.validate().unwrap();
    system.free(pfn, order_of(3)).unwrap();
}
