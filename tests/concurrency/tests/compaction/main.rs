// SPDX-License-Identifier: GPL-2.0

//! Core's own compaction and contiguous ranges under a concurrency checker, as `tests/slab`
//! has the slab layer: blocks that move beside owners who free and split them, others who
//! have references, and who validates, interleaved access by access.
//!
//! In every schedule: no page is given out twice, nothing that an owner frees is refused,
//! wherever it has moved, all invariants hold, and all pages are back in the end.

extern crate shadowmm_core_checked as shadowmm_core;

#[path = "../slab/world.rs"]
#[allow(dead_code)] // It is the world of the slab layer's tests.
mod world;

use shadowmm_core::buddy::gfp;
use shadowmm_core::buddy::AllocRequest;
use shadowmm_core::buddy::PageAllocator;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::PageOrder;
use shadowmm_core::phys::Pages;
use shadowmm_core::phys::Pfn;
use shadowmm_core::phys::PfnRange;
use shuttle::rand::thread_rng;
use shuttle::rand::Rng;
use shuttle::scheduler::PctScheduler;
use shuttle::scheduler::RandomScheduler;
use shuttle::sync::Mutex;
use shuttle::thread;
use shuttle::Config;
use shuttle::Runner;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use world::*;

const SCHEDULES: usize = 15;

/// How many blocks have moved in all schedules.
static MOVED: AtomicU64 = AtomicU64::new(0);

/// A machine, and which pages are somebody's.
struct Model<'w, 'a, 'm> {
    machine: &'w Machine<'a, 'm>,
    /// Blocks that stay until the end.
    kept: Mutex<Vec<Pfn>>,
    /// References that are others'.
    shared: Mutex<Vec<Pfn>>,
    /// Blocks that may move: the handles, and their orders.
    handles: Mutex<Vec<(u64, PageOrder)>>,
    last: AtomicU64,
}

impl Model<'_, '_, '_> {
    /// A new block that may move; another has a reference to some.
    fn take(&self, order: PageOrder, shares: bool) -> Option<Pfn> {
        let allocator = self.machine.mm.allocator();
        let request = AllocRequest::new(gfp::GFP_HIGHUSER_MOVABLE, order);
        let pfn = allocator.alloc(&request).ok()?;
        self.own(pfn, order, shares);
        Some(pfn)
    }

    /// An allocated block may move from now on.
    fn own(&self, pfn: Pfn, order: PageOrder, shares: bool) {
        let allocator = self.machine.mm.allocator();
        let page = self.machine.mm.sparse.page(pfn).unwrap();
        assert_eq!((page.count(), page.is_isolated()), (1, false));
        page.set_held();
        if shares {
            allocator.get(pfn).unwrap();
            self.shared.lock().unwrap().push(pfn);
        }
        page.set_movable(true);
        let handle = self.last.fetch_add(1, Relaxed);
        self.machine.owner.enter(handle, pfn, order);
        self.handles.lock().unwrap().push((handle, order));
    }

    /// The owner frees one, as a whole or in pieces.
    fn free(&self, splits: bool) -> bool {
        let Some((handle, order)) = self.handles.lock().unwrap().pop() else {
            return false;
        };
        let pfn = self.machine.owner.take(handle);
        let allocator = self.machine.mm.allocator();
        if splits && allocator.split(pfn, order, PageOrder::ZERO).is_ok() {
            for page in pfn.0..pfn.0 + order.pages().0 {
                self.put(Pfn(page));
            }
        } else {
            self.put(pfn);
        }
        true
    }

    fn put(&self, pfn: Pfn) {
        let put = self.machine.mm.allocator().put(pfn);
        assert!(put.is_ok(), "a free was refused: {put:?}");
    }

    /// Another gives his reference up.
    fn put_shared(&self) -> bool {
        let pfn = self.shared.lock().unwrap().pop();
        pfn.inspect(|&pfn| self.put(pfn)).is_some()
    }

    /// Takes and frees at random on one CPU.
    fn churn(&self, cpu: u32, steps: usize) {
        run_on(cpu);
        for _ in 0..steps {
            let mut dice = thread_rng();
            match dice.gen_range(0..5) {
                0 | 1 => {
                    let order = PageOrder::new(dice.gen_range(0..3)).unwrap();
                    let _ = self.take(order, dice.gen_bool(0.3));
                }
                2 | 3 => drop(self.free(dice.gen_bool(0.5))),
                _ => drop(self.put_shared()),
            }
        }
    }

    /// Compacts the nodes.
    fn compact(&self, cpu: u32) {
        run_on(cpu);
        for nid in [0, 1] {
            self.machine.mm.buddy().compact_node(NodeId(nid));
        }
    }

    /// Empties a range in which a block is.
    fn empty(&self, cpu: u32, pfn: Pfn) {
        run_on(cpu);
        let start = pfn.align_down(PageOrder::new(1).unwrap());
        let (pages, buddy) = (Pages(2), self.machine.mm.buddy());
        let end = start + pages;
        let range = PfnRange { start, end };
        if buddy.alloc_range(range, gfp::GFP_KERNEL).is_ok() {
            let counts = [start, start + Pages(1)].map(|pfn| {
                let page = self.machine.mm.sparse.page(pfn).unwrap();
                (page.count(), page.is_movable())
            });
            assert_eq!(counts, [(1, false); 2], "a page is another's");
            buddy.free_contig_range(start, pages).unwrap();
        }
    }
}

/// Threads beside one another, in many schedules.
fn check(work: fn(&Model<'_, '_, '_>)) {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    config.max_steps = shuttle::MaxSteps::None;
    let once = move || {
        with_machine(Flaw::None, 64, |machine| {
            let model = Model {
                machine,
                kept: Mutex::default(),
                shared: Mutex::default(),
                handles: Mutex::default(),
                last: AtomicU64::new(0),
            };
            work(&model);
            run_on(LAST_CPU);
            while model.put_shared() || model.free(false) {}
            model
                .kept
                .lock()
                .unwrap()
                .drain(..)
                .for_each(|pfn| model.put(pfn));
            MOVED.fetch_add(machine.owner.moved.load(Relaxed), Relaxed);
        });
    };
    Runner::new(RandomScheduler::new(SCHEDULES), config.clone()).run(once);
    Runner::new(PctScheduler::new(4, SCHEDULES), config).run(once);
    assert!(MOVED.load(Relaxed) > 0, "nothing has moved");
}

/// Some blocks to begin with, a part of them shared, where compaction moves them away from:
/// in the lowest page block that is free as a whole. Those above have room, but are not free
/// as a whole: compaction leaves such ones alone. Where the first block is.
fn some(model: &Model<'_, '_, '_>) -> Pfn {
    let allocator = model.machine.mm.allocator();
    let (whole, piece) = (PageOrder::PAGEBLOCK, PageOrder::new(4).unwrap());
    let request = AllocRequest::new(gfp::GFP_HIGHUSER_MOVABLE, whole);
    let mut blocks: Vec<_> = std::iter::from_fn(|| allocator.alloc(&request).ok()).collect();
    blocks.sort_unstable();
    let rest = blocks.split_off(1);
    let (first, four) = (blocks[0], PageOrder::new(2).unwrap());
    allocator.split(first, whole, four).unwrap();
    for at in 0..whole.pages().0 / 4 {
        let pfn = first + Pages(4 * at);
        let order = PageOrder::new(at as u32 % 3).unwrap();
        if at >= 8 {
            allocator.free(pfn, four).unwrap();
        } else if order == four {
            model.own(pfn, order, false);
        } else {
            allocator.split(pfn, four, order).unwrap();
            model.own(pfn, order, at % 4 == 3);
            for at in (0..4).step_by(1 << order.get()).skip(1) {
                allocator.free(pfn + Pages(at), order).unwrap();
            }
        }
    }
    for block in rest {
        allocator.split(block, whole, piece).unwrap();
        model.kept.lock().unwrap().push(block);
        for at in (0..whole.pages().0).step_by(1 << piece.get()).skip(1) {
            allocator.free(block + Pages(at), piece).unwrap();
        }
    }
    first
}

#[test]
fn compaction_beside_owners_and_others() {
    check(|model| {
        some(model);
        thread::scope(|scope| {
            scope.spawn(|| model.churn(0, 12));
            scope.spawn(|| model.compact(1));
            scope.spawn(|| model.churn(2, 8));
        });
    });
}

#[test]
fn two_compact_while_another_validates() {
    check(|model| {
        some(model);
        thread::scope(|scope| {
            scope.spawn(|| model.compact(0));
            scope.spawn(|| model.compact(1));
            scope.spawn(|| {
                model.churn(2, 6);
                model.machine.mm.buddy().validate().unwrap();
            });
        });
    });
}

#[test]
fn a_range_is_emptied_beside_owners_and_compaction() {
    check(|model| {
        let pfn = some(model);
        thread::scope(|scope| {
            scope.spawn(|| model.churn(0, 10));
            scope.spawn(|| model.empty(1, pfn));
            scope.spawn(|| model.compact(2));
        });
    });
}
