// SPDX-License-Identifier: GPL-2.0

//! A zone that takes over another's state goes on as that one does.

use crate::typed::TypedWorld;
use crate::world::*;
use shadowmm_core::buddy::gfp::*;
use shadowmm_core::buddy::*;
use shadowmm_core::error::Error;
use shadowmm_core::page::ZoneId;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::*;
use shadowmm_core::zone::Watermark;

const END: u64 = 32 * 512;
const ID: ZoneId = ZoneId::new(NodeId(0), ZoneType::Normal);
const CPU: CpuId = CpuId(0);

/// A small generator, so that a failure can be run again.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

fn world() -> TypedWorld {
    let world = TypedWorld::new(0, END, false);
    let zone = world.zone();
    zone.set_watermark(Watermark::Min, Pages(300));
    zone.set_watermark(Watermark::Low, Pages(400));
    zone.set_watermark(Watermark::High, Pages(500));
    world
}

/// One random step; what it gave out, and what it gave back.
fn step(
    world: &TypedWorld,
    random: &mut Random,
    held: &mut Vec<(Pfn, PageOrder)>,
) -> Option<Result<Pfn, Error>> {
    let kinds = [
        __GFP_MOVABLE | __GFP_HIGHMEM,
        __GFP_RECLAIMABLE,
        Gfp::from_bits(0).unwrap(),
        __GFP_HIGH,
    ];
    let order = order_of([0, 0, 0, 1, 2, 3, 4, 6, 9, 10][random.below(10)]);
    let kind = kinds[random.below(4)];
    let at = random.below(held.len().max(1));
    if random.below(100) < 48 && !held.is_empty() {
        let (pfn, order) = held.swap_remove(at);
        world.buddy().free(pfn, order).unwrap();
        return None;
    }
    let taken = world.buddy().alloc(&AllocRequest::new(kind, order));
    if let Ok(pfn) = taken {
        held.push((pfn, order));
    }
    Some(taken)
}

fn copy(from: &TypedWorld, to: &TypedWorld) {
    for pfn in (0..END).step_by(512) {
        to.set_type(pfn, from.buddy().migratetype_of(Pfn(pfn)));
    }
    to.zone().add_managed(from.zone().managed());
    let state = from.buddy().zone_state(ID).unwrap();
    assert!(to.buddy().load_zone(ID, &state));
    for order in PageOrder::all() {
        for mt in MigrateType::ALL {
            let mut list = vec![];
            from.buddy()
                .for_each_free_of(ID, order, mt, |pfn| list.push(pfn));
            for pfn in list {
                to.buddy().load_free(pfn, order, mt).unwrap();
            }
        }
    }
    for index in 0..NR_PCP_LISTS {
        let mut list = vec![];
        from.buddy()
            .for_each_in_pageset(CPU, ID, index, |pfn| list.push(pfn));
        for pfn in list {
            to.buddy().load_pageset_block(CPU, index, pfn).unwrap();
        }
    }
    let pageset = from.buddy().stats.pageset(CPU, ID).unwrap().state();
    assert!(to.buddy().load_pageset(CPU, ID, &pageset));
}

#[test]
fn a_loaded_zone_goes_on_as_the_other_does() {
    for seed in 1..20 {
        let mut random = Random(u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15));
        let old = world();
        old.hand_off(0, END);
        old.buddy().setup_pagesets(|_| 1);
        let mut kept = vec![];
        for _ in 0..4000 {
            step(&old, &mut random, &mut kept);
        }
        let new = world();
        copy(&old, &new);
        assert_eq!(old.lists(), new.lists(), "seed {seed}");

        // What was allocated before stays so; the rest comes and goes on both.
        let (mut ours, mut theirs) = (vec![], vec![]);
        let mut again = Random(random.0);
        for i in 0..4000 {
            let a = step(&old, &mut random, &mut ours);
            let b = step(&new, &mut again, &mut theirs);
            assert_eq!(a, b, "seed {seed}, step {i}");
            if let Some(Ok(pfn)) = b {
                assert_eq!(new.page(pfn.0).count(), 1, "seed {seed}, step {i}");
            }
        }
        assert_eq!(old.lists(), new.lists(), "seed {seed}");
        assert_eq!(
            old.buddy().stats.pageset(CPU, ID).unwrap().state(),
            new.buddy().stats.pageset(CPU, ID).unwrap().state()
        );
        assert_eq!(old.buddy().zone_state(ID), new.buddy().zone_state(ID));
    }
}

#[test]
fn what_is_no_reserved_block_is_not_loaded() {
    let world = world();
    let buddy = world.buddy();
    let movable = MigrateType::Movable;
    let load = |pfn, order| buddy.load_free(Pfn(pfn), order_of(order), movable);
    assert_eq!(load(1, 1), Err(Error::WrongOrder));
    assert_eq!(load(END, 0), Err(Error::ForeignPfn));
    assert_eq!(load(8, 3), Ok(()));
    assert_eq!(load(8, 0), Err(Error::DoubleFree));
    assert_eq!(load(0, 4), Err(Error::DoubleFree));
    let kept = buddy.load_pageset_block(CPU, NR_PCP_LISTS, Pfn(0));
    assert_eq!(kept, Err(Error::BadKind));
    assert_eq!(buddy.load_pageset_block(CPU, 12, Pfn(512)), Ok(()));
    let kept = buddy.load_pageset_block(CPU, 0, Pfn(513));
    assert_eq!(kept, Err(Error::DoubleFree));
    assert_eq!(world.lists()[3][movable.index()], [8]);
    assert_eq!(world.pageset(0).0, 512);
}

/// Single pages that go the short way leave everything as if each had gone the
/// long one: what is chosen, the lists, and all that the pagesets remember.
#[test]
fn the_short_way_leaves_what_the_long_one_leaves() {
    let orders = [0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 9, 4];
    for seed in 1..30u64 {
        let worlds = [true, false].map(|short| {
            let world: &'static TypedWorld = Box::leak(Box::new(world()));
            let stats: &'static _ = Box::leak(Box::new(world.own_pagesets(short)));
            let buddy = world.buddy_with(stats);
            hand_off(&buddy, 0, END);
            buddy.setup_pagesets(|_| 1);
            (world, buddy)
        });
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut held: Vec<(Pfn, PageOrder)> = vec![];
        let mut freeing = false;
        for i in 0..6000 {
            if random.below([10, 40, 400][seed as usize % 3]) == 0 {
                freeing = !freeing;
            }
            if freeing && !held.is_empty() && random.below(10) != 0 {
                let at = random.below(held.len());
                let (pfn, order) = held.swap_remove(at);
                let freed = worlds.each_ref().map(|(_, buddy)| buddy.free(pfn, order));
                assert_eq!(freed, [Ok(()); 2], "seed {seed}, step {i}");
            } else {
                let kind = [__GFP_MOVABLE | __GFP_HIGHMEM, __GFP_RECLAIMABLE, Gfp::NONE];
                let order = order_of(orders[random.below(orders.len())]);
                let request = AllocRequest::new(kind[random.below(3)], order);
                let [a, b] = worlds.each_ref().map(|(_, buddy)| buddy.alloc(&request));
                assert_eq!(a, b, "seed {seed}, step {i}");
                held.extend(a.map(|pfn| (pfn, order)));
            }
            let [a, b] = worlds
                .each_ref()
                .map(|(_, buddy)| buddy.stats.pageset(CPU, ID).unwrap().state());
            assert_eq!(a, b, "seed {seed}, step {i}");
        }
        assert_eq!(worlds[0].0.lists(), worlds[1].0.lists(), "seed {seed}");
    }
}
