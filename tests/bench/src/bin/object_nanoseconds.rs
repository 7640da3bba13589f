// SPDX-License-Identifier: GPL-2.0

//! The shapes of objects in nanoseconds, beside the allocators of public crates:
//! the smallest block and the one in the middle.

use shadowmm_bench::drawn::Drawn;
use shadowmm_bench::figures::cost;
use shadowmm_bench::figures::row;
use shadowmm_bench::figures::Cost;
use shadowmm_bench::heaps::Heap;
use shadowmm_bench::heaps::Pool;
use shadowmm_bench::object_shapes;
use shadowmm_bench::object_shapes::ObjectShape;
use shadowmm_bench::object_shapes::ObjectSide;
use shadowmm_bench::object_shapes::Plan;
use shadowmm_bench::objects::Objects;
use shadowmm_bench::shadow;
use shadowmm_bench::shadow::HostMm;
use shadowmm_bench::threads;
use shadowmm_bench::threads::Cpu;
use std::time::Instant;

const SHAPES: [(&str, ObjectShape, usize); 15] = [
    ("kmalloc pair, 8", ObjectShape::KmallocPair, 8),
    ("kmalloc pair, 64", ObjectShape::KmallocPair, 64),
    ("kmalloc pair, 256", ObjectShape::KmallocPair, 256),
    ("kmalloc pair, 1024", ObjectShape::KmallocPair, 1024),
    ("kmalloc pair, 64, by call", ObjectShape::CalledPair, 64),
    ("cache pair, 64", ObjectShape::CachePair, 64),
    ("cache pair, 256", ObjectShape::CachePair, 256),
    ("take 1,000 of 256", ObjectShape::Alloc, 256),
    ("free 1,000 in order", ObjectShape::FreeInOrder, 256),
    ("free 1,000 shuffled", ObjectShape::FreeShuffled, 256),
    ("1,000 taken, freed in order", ObjectShape::InOrder, 256),
    ("1,000 taken, freed shuffled", ObjectShape::Shuffled, 256),
    ("take 1,000 in one call", ObjectShape::AllocBulk, 256),
    ("free 1,000 in one call", ObjectShape::FreeBulk, 256),
    ("mixed sizes among 256", ObjectShape::Mixed, 64),
];

const CPU0: Cpu = Cpu { number: 0, nid: 0 };
const CPU1: Cpu = Cpu { number: 2, nid: 0 };
const CPU1_FAR: Cpu = Cpu { number: 1, nid: 1 };

/// A clock's reading takes about as long as a few pairs: those are read once for
/// so many blocks.
const RUNS: usize = 64;

fn measure<S: ObjectSide>(side: &S, shape: ObjectShape, size: usize, plan: &Plan<'_>) -> Cost {
    let mut objects = vec![S::none(); object_shapes::BULK];
    let start = Instant::now();
    let now = || start.elapsed().as_nanos() as u64;
    let operations = shape.operations();
    if operations != object_shapes::PAIRS {
        let times = (0..300).map(|_| shape.run(side, size, &mut objects, plan, &now));
        let times: Option<Vec<_>> = times.collect();
        return cost(times.expect("memory"), operations);
    }
    let times = (0..200).map(|_| {
        let start = now();
        for _ in 0..RUNS {
            let done = shape.run(side, size, &mut objects, plan, &|| 0);
            done.expect("memory");
        }
        now() - start
    });
    cost(times.collect(), RUNS * operations)
}

fn alone(mm: &'static HostMm, plan: &Plan<'_>) {
    let beside = |shape, size: usize| {
        vec![
            Some(measure(
                &Heap::new(mimalloc::MiMalloc, size),
                shape,
                size,
                plan,
            )),
            #[cfg(feature = "jemalloc")]
            Some(measure(
                &Heap::new(tikv_jemallocator::Jemalloc, size),
                shape,
                size,
                plan,
            )),
            match size {
                64 if shape != ObjectShape::Mixed => {
                    Some(measure(&Pool::<64>::new(), shape, size, plan))
                }
                256 => Some(measure(&Pool::<256>::new(), shape, size, plan)),
                _ => None,
            },
        ]
    };
    for (name, shape, size) in SHAPES {
        let objects = Objects::new(mm, size as u32);
        let ours = measure(&objects, shape, size, plan);
        row(name, ours, &beside(shape, size));
        objects.destroy();
    }
}

fn together(mm: &'static HostMm, plan: &Plan<'_>) {
    let objects = Objects::new(mm, 256);
    for (name, shape) in [
        ("cache pair, 256", ObjectShape::CachePair),
        ("1,000 taken, freed shuffled", ObjectShape::Shuffled),
    ] {
        let one = || measure(&objects, shape, 256, plan);
        row(&format!("{name}: one CPU"), one(), &[]);
        for (who, other) in [("the same node", CPU1), ("another node", CPU1_FAR)] {
            let make = || {
                let side = Objects::with(mm, objects.id());
                let mut places = vec![Objects::none(); object_shapes::BULK];
                move || {
                    let done = shape.run(&side, 256, &mut places, plan, &|| 0);
                    done.expect("memory for all");
                }
            };
            let cost = threads::beside_each(&[other], make, one);
            row(&format!("{name}: beside one of {who}"), cost, &[]);
        }
    }
    for (who, other) in [("one node", CPU1), ("two nodes", CPU1_FAR)] {
        let ours =
            threads::exchange_objects([CPU0, other], 300, || Objects::with(mm, objects.id()));
        let theirs =
            threads::exchange_objects([CPU0, other], 300, || Heap::new(mimalloc::MiMalloc, 256));
        CPU0.run_here();
        let freeing = |rounds: &[(u64, u64)]| {
            let frees = rounds.iter().map(|round| round.1).collect();
            cost(frees, object_shapes::BULK)
        };
        row(
            &format!("two CPUs free each other's: a free, {who}"),
            freeing(&ours),
            &[Some(freeing(&theirs))],
        );
    }
    objects.destroy();
}

fn main() {
    CPU0.run_here();
    let mm = shadow::boot(&[128, 128], true);
    let mut drawn = Drawn::new();
    let plan = drawn.plan();
    print!(
        "{:<46} {:>17} {:>18}",
        "nanoseconds: smallest and middle block", "shadow", "mimalloc"
    );
    #[cfg(feature = "jemalloc")]
    print!("{:>18}", "jemalloc");
    println!("{:>18}", "the crate slab");
    alone(mm, &plan);
    println!();
    together(mm, &plan);
    mm.buddy().drain_all_pages();
    if let Err(flaw) = mm.validate() {
        panic!("{flaw}");
    }
}
