// SPDX-License-Identifier: GPL-2.0

//! The shapes, one dump of callgrind each: `tests/bench/instructions` runs this
//! and reads the dumps.

use rangemap::RangeMap;
use shadowmm_bench::callgrind;
use shadowmm_bench::drawn::Drawn;
use shadowmm_bench::faults;
use shadowmm_bench::faults::FaultShape;
use shadowmm_bench::object_shapes;
use shadowmm_bench::object_shapes::ObjectShape;
use shadowmm_bench::object_shapes::ObjectSide;
use shadowmm_bench::objects::Objects;
use shadowmm_bench::platform::Threads;
use shadowmm_bench::shadow;
use shadowmm_bench::shadow::HostMm;
use shadowmm_bench::shadow::Shadow;
use shadowmm_bench::shapes;
use shadowmm_bench::shapes::Lots;
use shadowmm_bench::shapes::Shape;
use shadowmm_bench::trees;
use shadowmm_bench::trees::TreeSide;
use shadowmm_core::buddy::PageRef;
use shadowmm_core::mm::TreeKind;
use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::CString;

const SHAPES: [(&str, Shape); 14] = [
    ("pair of order 0", Shape::HotPair(0)),
    ("pair of order 0, called", Shape::CalledPair(0)),
    ("pair of order 1", Shape::HotPair(1)),
    ("pair of order 3", Shape::HotPair(3)),
    ("pair of order 4", Shape::HotPair(4)),
    ("pair of order 9", Shape::HotPair(9)),
    ("alloc, a page", Shape::Alloc),
    ("free in order, a page", Shape::FreeInOrder),
    ("free reversed, a page", Shape::FreeReversed),
    ("free random, a page", Shape::FreeRandom),
    ("alloc in bulk, a page", Shape::AllocBulk),
    ("free in bulk, a page", Shape::FreeBulk),
    ("refill, a page", Shape::Refill),
    ("return, a page", Shape::Return),
];

/// Another CPU of the same node.
const NEAR_CPU: u32 = 1;
/// A CPU of the other node.
const FAR_CPU: u32 = shadowmm_bench::platform::NR_CPUS - 1;

const OBJECT_SHAPES: [(&str, ObjectShape, u32); 15] = [
    ("kmalloc pair, 8", ObjectShape::KmallocPair, 8),
    ("kmalloc pair, 64", ObjectShape::KmallocPair, 64),
    ("kmalloc pair, 256", ObjectShape::KmallocPair, 256),
    ("kmalloc pair, 1024", ObjectShape::KmallocPair, 1024),
    ("kmalloc pair, 64, called", ObjectShape::CalledPair, 64),
    ("cache pair, 64", ObjectShape::CachePair, 64),
    ("cache pair, 256", ObjectShape::CachePair, 256),
    ("take 1,000 of 256, an object", ObjectShape::Alloc, 256),
    ("free in order, an object", ObjectShape::FreeInOrder, 256),
    ("free shuffled, an object", ObjectShape::FreeShuffled, 256),
    ("both in order, an object", ObjectShape::InOrder, 256),
    ("both shuffled, an object", ObjectShape::Shuffled, 256),
    ("take in one call, an object", ObjectShape::AllocBulk, 256),
    ("free in one call, an object", ObjectShape::FreeBulk, 256),
    ("mixed sizes, a pair", ObjectShape::Mixed, 64),
];

const FAULT_SHAPES: [(&str, FaultShape); 7] = [
    ("first write, a page", FaultShape::Write),
    ("first write of 16, a page", FaultShape::Around(16)),
    ("first read, a page", FaultShape::Read),
    ("write after a fork, a page", FaultShape::Copy),
    ("the same without the child, a page", FaultShape::Reuse),
    ("fork, a page", FaultShape::Fork),
    ("munmap, a page", FaultShape::Unmap),
];

fn main() {
    let counts = callgrind::is_running();
    Threads::run_on(0, 0);
    let mm = shadow::boot(&shadow::MIB, true);
    let side = Shadow::of(mm);
    let mut lots = Lots::new(0x9e37_79b9);
    let mut blocks = vec![PageRef::none(); shapes::ROOM];
    measure("", &SHAPES, &side, &mut blocks, &mut lots);
    exchange(&side, &mut blocks);
    let held = shapes::fragment(&side, &mut blocks);
    let (held, rest) = blocks.split_at_mut(held);
    let some = [
        ("alloc, a page", Shape::Alloc),
        ("free random, a page", Shape::FreeRandom),
    ];
    measure("in fragments: ", &some, &side, rest, &mut lots);
    shapes::give_back(&side, &shapes::Side::request(&side, 0), held);
    let mut drawn = Drawn::new();
    let plan = drawn.plan();
    for (name, shape, size) in OBJECT_SHAPES {
        let objects = Objects::new(mm, size);
        let mut places = vec![Objects::none(); object_shapes::ROOM];
        measured(name, shape.operations(), |clock| {
            shape
                .run(&objects, size as usize, &mut places, &plan, &clock)
                .expect("memory");
        });
        objects.destroy();
    }
    for (name, cpu) in [("here", NEAR_CPU), ("of another node", FAR_CPU)] {
        exchange_objects(name, cpu, Objects::new(mm, 256));
    }
    trees(mm);
    for (name, shape) in FAULT_SHAPES {
        measured(name, shape.operations(), |clock| {
            faults::run(mm, shape, clock)
        });
    }
    mm.spaces().shut_down().expect("no address space");
    mm.buddy().drain_all_pages();
    if let Err(flaw) = mm.validate() {
        panic!("{flaw}");
    }
    if !counts {
        println!("Nothing was counted: run tests/bench/instructions.");
    }
}

/// Both kinds of VMA tree, and public crates' maps.
fn trees(mm: &'static HostMm) {
    for (many, has_gaps) in [
        (10, false),
        (1000, false),
        (60_000, false),
        (1000, true),
        (60_000, true),
    ] {
        let gaps = if has_gaps { ", gaps" } else { "" };
        let of = format!("of {many}{gaps}");
        for (name, kind) in [("maple", TreeKind::Maple), ("rb+list", TreeKind::RbList)] {
            let tree = trees::tree(mm, kind);
            tree_rows(&format!("{name} {of}"), &tree, many, has_gaps);
            measured(&format!("{name} {of}: room"), trees::OPERATIONS, |clock| {
                trees::rooms(&tree, many, has_gaps, &clock);
            });
            tree.validate().expect("a sound tree");
            tree.destroy();
        }
        let map = RefCell::new(RangeMap::new());
        tree_rows(&format!("crate rangemap {of}"), &map, many, has_gaps);
        let map = RefCell::new(BTreeMap::new());
        tree_rows(&format!("std BTreeMap {of}"), &map, many, has_gaps);
    }
}

fn tree_rows(name: &str, side: &impl TreeSide, many: u64, has_gaps: bool) {
    trees::fill(side, many, has_gaps);
    measured(&format!("{name}: lookup"), trees::OPERATIONS, |clock| {
        trees::lookups(side, many, has_gaps, &clock);
    });
    measured(&format!("{name}: pair below"), trees::OPERATIONS, |clock| {
        trees::pairs(side, many, has_gaps, &clock);
    });
    measured(
        &format!("{name}: pair inside"),
        trees::OPERATIONS,
        |clock| {
            trees::inner_pairs(side, many, has_gaps, &clock);
        },
    );
}

/// Pages are taken on a CPU of the other node and freed on this one, as often as
/// the pagesets of both need to get used to it.
fn exchange<'m>(side: &Shadow<'m>, blocks: &mut [PageRef<'m>]) {
    let request = shapes::Side::request(side, 0);
    let blocks = &mut blocks[..shapes::BULK];
    for round in 0..16 {
        let counts = round == 15;
        let start = || {
            if counts {
                callgrind::start()
            }
        };
        let stop = |what: &str| {
            let name = CString::new(format!("{what} /{}", shapes::BULK));
            if counts {
                callgrind::stop(&name.expect("a name without a NUL"));
            }
        };
        Threads::run_on(FAR_CPU, 1);
        start();
        let taken = shapes::take(side, &request, blocks);
        stop("exchange: alloc, a page");
        assert_eq!(taken, blocks.len());
        Threads::run_on(0, 0);
        start();
        shapes::give_back(side, &request, blocks);
        stop("exchange: free, a page");
    }
}

/// Objects are taken on another CPU and freed on this one.
fn exchange_objects(whose: &str, cpu: u32, side: Objects) {
    let mut objects = vec![Objects::none(); object_shapes::BULK];
    for round in 0..4 {
        Threads::run_on(cpu, (cpu == FAR_CPU).into());
        object_shapes::take_all(&side, &mut objects).expect("memory");
        Threads::run_on(0, 0);
        if round == 3 {
            callgrind::start();
        }
        object_shapes::give_back(&side, &objects);
        if round == 3 {
            let name = format!("objects of a CPU {whose}, freed /{}", objects.len());
            callgrind::stop(&CString::new(name).expect("a name without a NUL"));
        }
    }
    side.destroy();
}

fn measure<'m>(
    prefix: &str,
    shapes: &[(&str, Shape)],
    side: &Shadow<'m>,
    blocks: &mut [PageRef<'m>],
    lots: &mut Lots,
) {
    for &(name, shape) in shapes {
        measured(&format!("{prefix}{name}"), shape.operations(), |clock| {
            shape.run(side, blocks, lots, &clock).expect("memory");
        });
    }
}

/// Runs a block a few times, and counts the last.
fn measured(name: &str, operations: usize, mut block: impl FnMut(&dyn Fn() -> u64)) {
    let name = CString::new(format!("{name} /{operations}")).expect("a name without a NUL");
    // The clock's two readings: count from the first to the second.
    let begun = Cell::new(false);
    let counting = Cell::new(false);
    let clock = || {
        if counting.get() {
            if begun.replace(!begun.get()) {
                callgrind::stop(&name);
            } else {
                callgrind::start();
            }
        }
        0
    };
    for round in 0..4 {
        counting.set(round == 3);
        block(&clock);
    }
}
