// SPDX-License-Identifier: GPL-2.0

//! The shapes in nanoseconds, with the smallest block and the one in the
//! middle: what holds on a machine where others work, too.

use shadowmm_bench::figures::cost;
use shadowmm_bench::figures::row;
use shadowmm_bench::figures::Cost;
use shadowmm_bench::frames::Frames;
use shadowmm_bench::shadow;
use shadowmm_bench::shadow::HostMm;
use shadowmm_bench::shadow::Shadow;
use shadowmm_bench::shapes;
use shadowmm_bench::shapes::Lots;
use shadowmm_bench::shapes::Shape;
use shadowmm_bench::shapes::Side;
use shadowmm_bench::threads;
use shadowmm_bench::threads::Cpu;
use std::time::Instant;

const SHAPES: [(&str, Shape); 14] = [
    ("hot pair, order 0", Shape::HotPair(0)),
    ("hot pair, order 0, by call", Shape::CalledPair(0)),
    ("hot pair, order 3", Shape::HotPair(3)),
    ("hot pair, order 4", Shape::HotPair(4)),
    ("hot pair, order 9", Shape::HotPair(9)),
    // Before the others: the CPU's blocks of 512 pages have gone after it.
    ("refill: alloc 4,096 after a drain", Shape::Refill),
    ("return: free 4,096", Shape::Return),
    ("alloc 1,024", Shape::Alloc),
    ("free 1,024 in order", Shape::FreeInOrder),
    ("free 1,024 reversed", Shape::FreeReversed),
    ("free 1,024 random", Shape::FreeRandom),
    ("alloc 1,024 in one call", Shape::AllocBulk),
    ("free 1,024 in one call", Shape::FreeBulk),
    ("hot pair, order 0, again", Shape::HotPair(0)),
];

const FRAGMENTED: [(&str, Shape); 2] = [
    ("fragmented: alloc 1,024", Shape::Alloc),
    ("fragmented: free 1,024 random", Shape::FreeRandom),
];

const CPU0: Cpu = Cpu { number: 0, nid: 0 };
const CPU1: Cpu = Cpu { number: 2, nid: 0 };
const CPU1_FAR: Cpu = Cpu { number: 1, nid: 1 };

/// A clock's reading takes about as long as a few pairs: those are read once for
/// so many blocks.
const RUNS: usize = 64;

fn measure<S: Side>(side: &S, shape: Shape, blocks: &mut [S::Block]) -> Cost {
    let mut lots = Lots::new(7);
    let start = Instant::now();
    let now = || start.elapsed().as_nanos() as u64;
    match shape {
        Shape::HotPair(_) | Shape::CalledPair(_) => {
            let mut run = || shape.run(side, blocks, &mut lots, &|| 0).expect("memory");
            let times = (0..200).map(|_| {
                let start = now();
                (0..RUNS).for_each(|_| _ = run());
                now() - start
            });
            cost(times.collect(), RUNS * shape.operations())
        }
        _ => {
            let times = (0..300).map(|_| shape.run(side, blocks, &mut lots, &now));
            let times: Option<Vec<_>> = times.collect();
            cost(times.expect("memory"), shape.operations())
        }
    }
}

fn alone(mm: &HostMm) {
    let side = Shadow::of(mm);
    let frames = Frames::new(1 << 16);
    let mut pages = vec![Shadow::none(); shapes::ROOM];
    let mut numbers = vec![Frames::none(); shapes::ROOM];
    for (name, shape) in SHAPES {
        let ours = measure(&side, shape, &mut pages);
        let theirs = measure(&frames, shape, &mut numbers);
        row(name, ours, &[Some(theirs)]);
    }
    let held = shapes::fragment(&side, &mut pages);
    let (held, rest) = pages.split_at_mut(held);
    let also_held = shapes::fragment(&frames, &mut numbers);
    for (name, shape) in FRAGMENTED {
        let ours = measure(&side, shape, rest);
        let theirs = measure(&frames, shape, &mut numbers[also_held..]);
        row(name, ours, &[Some(theirs)]);
    }
    shapes::give_back(&side, &side.request(0), held);
    side.drain();
}

fn together(mm: &HostMm) {
    let side = Shadow::of(mm);
    let mut pages = vec![Shadow::none(); shapes::ROOM];
    for shape in [Shape::HotPair(0), Shape::Alloc, Shape::HotPair(4)] {
        let what = match shape {
            Shape::HotPair(0) => "hot pair, order 0",
            Shape::HotPair(_) => "hot pair, order 4 (the zone's)",
            _ => "alloc 1,024",
        };
        let mut one = || measure(&side, shape, &mut pages);
        row(&format!("{what}: one CPU"), one(), &[]);
        for (who, other) in [("the same node", CPU1), ("another node", CPU1_FAR)] {
            let cost = threads::beside(mm, &[other], shape, &mut one);
            row(&format!("{what}: beside one of {who}"), cost, &[]);
        }
    }
    let rounds = threads::exchange(mm, [CPU0, CPU1], 300);
    row(
        "two CPUs free each other's: a page, both ways",
        cost(rounds, shapes::BULK),
        &[],
    );
}

fn main() {
    CPU0.run_here();
    let mm = shadow::boot(&shadow::MIB, true);
    println!(
        "nanoseconds                                    smallest  median   frame allocator of"
    );
    println!(
        "                                                  block   block   buddy_system_allocator"
    );
    alone(mm);
    println!();
    together(mm);
    CPU0.run_here();
    mm.buddy().drain_all_pages();
    if let Err(flaw) = mm.validate() {
        panic!("{flaw}");
    }
}
