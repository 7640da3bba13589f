// SPDX-License-Identifier: GPL-2.0

//! Every shape runs on the shadow and leaves nothing behind.

use shadowmm_bench::platform::Threads;
use shadowmm_bench::shadow;
use shadowmm_bench::shadow::Shadow;
use shadowmm_bench::shapes;
use shadowmm_bench::shapes::Lots;
use shadowmm_bench::shapes::Shape;
use shadowmm_bench::shapes::Side;
use shadowmm_core::buddy::PageRef;
use shadowmm_core::phys::Pages;
use std::cell::Cell;

const SHAPES: [Shape; 13] = [
    Shape::HotPair(0),
    Shape::HotPair(3),
    Shape::HotPair(4),
    Shape::HotPair(9),
    Shape::CalledPair(0),
    Shape::Alloc,
    Shape::FreeInOrder,
    Shape::FreeReversed,
    Shape::FreeRandom,
    Shape::AllocBulk,
    Shape::FreeBulk,
    Shape::Refill,
    Shape::Return,
];

fn run_all(pagesets: bool) {
    Threads::run_on(0, 0);
    let mm = shadow::boot(&[64, 64], pagesets);
    let side = Shadow::of(mm);
    let mut blocks = vec![PageRef::none(); shapes::ROOM];
    let before = mm.free();
    let readings = Cell::new(0u64);
    let clock = || {
        readings.set(readings.get() + 1);
        readings.get()
    };
    for shape in SHAPES {
        let mut lots = Lots::new(7);
        for _ in 0..3 {
            // Between the two readings there is no other.
            assert_eq!(shape.run(&side, &mut blocks, &mut lots, &clock), Some(1));
        }
        if let Err(flaw) = mm.validate() {
            panic!("{shape:?}: {flaw}");
        }
        side.drain();
        assert_eq!(mm.free(), before, "{shape:?}");
    }
    assert_eq!(readings.get(), 2 * 3 * SHAPES.len() as u64);

    let held = shapes::fragment(&side, &mut blocks);
    assert_eq!(mm.free() + Pages(held as u64), before);
    assert_eq!(held, shapes::ROOM / 2);
    for pair in blocks[..held].windows(2) {
        assert_ne!(pair[0].pfn().0 ^ 1, pair[1].pfn().0, "two buddies are held");
    }
    shapes::give_back(&side, &side.request(0), &blocks[..held]);
    side.drain();
    assert_eq!(mm.free(), before);
    if let Err(flaw) = mm.validate() {
        panic!("{flaw}");
    }
}

#[test]
fn every_shape_leaves_nothing_behind() {
    run_all(true);
}

#[test]
fn without_pagesets_too() {
    run_all(false);
}

/// A shape that finds too few pages says so, and keeps none.
#[test]
fn a_shape_that_runs_out_of_pages_keeps_none() {
    Threads::run_on(0, 0);
    let mm = shadow::boot(&[64], true);
    let side = Shadow::of(mm);
    let request = side.request(0);
    let before = mm.free();
    let mut all = vec![];
    while let Some(page) = side.alloc(&request) {
        all.push(page);
    }
    for page in all.drain(..100) {
        side.free(page, &request);
    }
    side.drain();
    let left = mm.free();
    let mut blocks = vec![PageRef::none(); shapes::ROOM];
    let mut lots = Lots::new(7);
    for shape in SHAPES {
        if shape.operations() > 100 {
            assert_eq!(shape.run(&side, &mut blocks, &mut lots, &|| 0), None);
        }
    }
    side.drain();
    assert_eq!(mm.free(), left);
    shapes::give_back(&side, &request, &all);
    side.drain();
    assert_eq!(mm.free(), before);
}
