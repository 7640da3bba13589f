// SPDX-License-Identifier: GPL-2.0

//! The shapes under criterion: an element is a pair, or a page.

use criterion::criterion_group;
use criterion::criterion_main;
use criterion::measurement::WallTime;
use criterion::BenchmarkGroup;
use criterion::Criterion;
use shadowmm_bench::frames::Frames;
use shadowmm_bench::shadow;
use shadowmm_bench::shadow::Shadow;
use shadowmm_bench::shapes;
use shadowmm_bench::shapes::Lots;
use shadowmm_bench::shapes::Shape;
use shadowmm_bench::shapes::Side;
use shadowmm_bench::threads;
use shadowmm_bench::threads::Cpu;
use std::time::Duration;
use std::time::Instant;

const CPU0: Cpu = Cpu { number: 0, nid: 0 };
const CPU1: Cpu = Cpu { number: 2, nid: 0 };
const CPU1_FAR: Cpu = Cpu { number: 1, nid: 1 };

const SHAPES: [(&str, Shape); 11] = [
    ("pair of order 0", Shape::HotPair(0)),
    ("pair of order 3", Shape::HotPair(3)),
    ("pair of order 4", Shape::HotPair(4)),
    ("pair of order 9", Shape::HotPair(9)),
    ("alloc of 1,024", Shape::Alloc),
    ("free in order", Shape::FreeInOrder),
    ("free reversed", Shape::FreeReversed),
    ("free random", Shape::FreeRandom),
    ("alloc in one call", Shape::AllocBulk),
    ("free in one call", Shape::FreeBulk),
    ("refill", Shape::Refill),
];

/// Times so many operations, in whole blocks.
fn time<S: Side>(side: &S, shape: Shape, blocks: &mut [S::Block], operations: u64) -> Duration {
    let per_block = shape.operations() as u64;
    let runs = operations.div_ceil(per_block);
    let mut lots = Lots::new(7);
    let begun = Instant::now();
    let took = match shape {
        // Too short for a clock that is read at both ends of each.
        Shape::HotPair(_) | Shape::CalledPair(_) => {
            for _ in 0..runs {
                shape.run(side, blocks, &mut lots, &|| 0).expect("memory");
            }
            begun.elapsed().as_nanos() as u64
        }
        _ => {
            let now = || begun.elapsed().as_nanos() as u64;
            let blocks = (0..runs).map(|_| shape.run(side, blocks, &mut lots, &now));
            blocks.sum::<Option<u64>>().expect("memory")
        }
    };
    Duration::from_nanos((took as f64 * operations as f64 / (runs * per_block) as f64) as u64)
}

fn measure<S: Side>(group: &mut BenchmarkGroup<'_, WallTime>, who: &str, side: &S, shape: Shape) {
    let mut blocks = vec![S::none(); shapes::ROOM];
    group.bench_function(who, |bencher| {
        bencher.iter_custom(|operations| time(side, shape, &mut blocks, operations));
    });
}

fn alone(criterion: &mut Criterion) {
    CPU0.run_here();
    let mm = shadow::boot(&shadow::MIB, true);
    let side = Shadow::of(mm);
    let frames = Frames::new(1 << 16);
    for (name, shape) in SHAPES {
        let mut group = criterion.benchmark_group(name);
        measure(&mut group, "shadow", &side, shape);
        measure(&mut group, "buddy_system_allocator", &frames, shape);
    }
}

fn fragmented(criterion: &mut Criterion) {
    CPU0.run_here();
    let mm = shadow::boot(&shadow::MIB, true);
    let side = Shadow::of(mm);
    let mut pages = vec![Shadow::none(); shapes::ROOM];
    let frames = Frames::new(1 << 16);
    let mut numbers = vec![Frames::none(); shapes::ROOM];
    shapes::fragment(&side, &mut pages);
    shapes::fragment(&frames, &mut numbers);
    for (name, shape) in [
        ("every second page held, alloc of 1,024", Shape::Alloc),
        ("every second page held, free random", Shape::FreeRandom),
    ] {
        let mut group = criterion.benchmark_group(name);
        measure(&mut group, "shadow", &side, shape);
        measure(&mut group, "buddy_system_allocator", &frames, shape);
    }
}

fn together(criterion: &mut Criterion) {
    CPU0.run_here();
    let mm = shadow::boot(&shadow::MIB, true);
    let side = Shadow::of(mm);
    for (name, shape) in [
        ("CPUs at once, pair of order 0", Shape::HotPair(0)),
        ("CPUs at once, alloc of 1,024", Shape::Alloc),
        ("CPUs at once, pair of order 4", Shape::HotPair(4)),
    ] {
        let mut group = criterion.benchmark_group(name);
        measure(&mut group, "one CPU", &side, shape);
        threads::beside(mm, &[CPU1], shape, || {
            measure(&mut group, "beside one of the same node", &side, shape);
        });
        threads::beside(mm, &[CPU1_FAR], shape, || {
            measure(&mut group, "beside one of another node", &side, shape);
        });
    }
    let mut group = criterion.benchmark_group("CPUs at once, a page taken and another's freed");
    group.bench_function("two CPUs of one node", |bencher| {
        bencher.iter_custom(|pages| {
            let rounds = pages.div_ceil(shapes::BULK as u64);
            let took: u64 = threads::exchange(mm, [CPU0, CPU1], rounds as u32)
                .iter()
                .sum();
            let done = rounds * shapes::BULK as u64;
            Duration::from_nanos((took as f64 * pages as f64 / done as f64) as u64)
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30);
    targets = alone, fragmented, together
}
criterion_main!(benches);
