// SPDX-License-Identifier: GPL-2.0

//! Core's own VMA trees under a concurrency checker, as `tests/slab` has the slab
//! layer: readers without a lock beside a writer, interleaved access by access.
//!
//! In every schedule a reader gets something that was stored at some time, or nothing,
//! and he gets it in the end; the tree is what was stored last, and no node is lost.
//! Where all get their turn, what nobody touches is found at first sight.

extern crate shadowmm_core_checked as shadowmm_core;

#[path = "../slab/world.rs"]
#[allow(dead_code)] // It is the world of the slab layer's tests.
mod world;

use shadowmm_core::atomics::AtomicU64;
use shadowmm_core::mm::CacheOf;
use shadowmm_core::mm::TreeKind;
use shadowmm_core::mm::VmaTree;
use shadowmm_core::platform::Platform;
use shadowmm_core::slab::ObjectAllocator;
use shuttle::scheduler::PctScheduler;
use shuttle::scheduler::RandomScheduler;
use shuttle::thread;
use shuttle::Config;
use shuttle::Runner;
use world::*;

const SCHEDULES: usize = 100;
const PAGE: u64 = 4096;

/// What stays: a page at each of these places.
const STEADY: u64 = 14;
/// Pages from one to the next.
const STEP: u64 = 8;
/// What comes and goes has values from here on.
const OTHER: u64 = 1000;
const LAST: u64 = 1100;

type Tree<'a, 'm> = VmaTree<'a, 'm, Checked>;

fn store(tree: Tree<'_, '_>, start: u64, end: u64, value: Option<u64>) {
    let mut reserve = tree.reserve(1).unwrap();
    tree.store(start * PAGE, end * PAGE, value, &mut reserve);
    assert!(!reserve.is_spent());
}

/// Fills what is between the steady ones and empties it: leaves are changed, split and
/// joined.
fn write(tree: Tree<'_, '_>) {
    for n in 3..6 {
        for page in 1..STEP {
            let page = n * STEP + page;
            store(tree, page, page + 1, Some(OTHER + page));
        }
    }
    for n in 3..6 {
        store(tree, n * STEP + 1, (n + 1) * STEP, None);
    }
}

fn read(machine: &Machine<'_, '_>, tree: Tree<'_, '_>, cpu: u32, is_found: bool) {
    run_on(cpu);
    for n in [3, 4, 5, 12, u64::from(cpu)] {
        let look = |page: u64| {
            let (_, _pinned) = machine.mm.platform.pin_cpu();
            tree.lookup(page * PAGE)
        };
        let steady = look(n * STEP);
        if is_found {
            assert_eq!(steady, Some(n + 1));
        }
        for found in [steady, look(n * STEP + 2)].into_iter().flatten() {
            assert!((1..=STEADY).contains(&found) || (OTHER..LAST).contains(&found));
        }
    }
}

fn readers_and_a_writer(machine: &Machine<'_, '_>, kind: TreeKind, is_found: bool) {
    let root: &'static [AtomicU64; 4] = Box::leak(Box::default());
    let spaces = machine.mm.spaces();
    let tree = VmaTree::at(spaces, root);
    tree.begin(kind);
    for n in 0..STEADY {
        store(tree, n * STEP, n * STEP + 1, Some(n + 1));
    }
    thread::scope(|scope| {
        scope.spawn(|| {
            run_on(0);
            write(tree);
        });
        scope.spawn(|| read(machine, tree, 1, is_found));
        scope.spawn(|| read(machine, tree, 2, is_found));
    });
    tree.validate().unwrap();
    let steady = (0..STEADY).map(|n| (n * STEP * PAGE, n + 1));
    let entries = tree.iter(0, u64::MAX);
    assert!(entries.map(|entry| (entry.start, entry.value)).eq(steady));
    tree.destroy();
    for of in [CacheOf::Mm, CacheOf::Vma, CacheOf::Node, CacheOf::Shared] {
        let id = spaces.cache(of).unwrap().id();
        let mut alive = String::new();
        machine.slab.destroy(id, &mut alive).expect("no node lives");
    }
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    config
}

fn check(kind: TreeKind) {
    Runner::new(RandomScheduler::new(SCHEDULES), config()).run(move || {
        with_machine(Flaw::None, 64, |machine| {
            readers_and_a_writer(machine, kind, true);
        });
    });
    // Here the writer may have to stand still in the midst of a change while a reader
    // looks as often as he does.
    Runner::new(PctScheduler::new(4, SCHEDULES), config()).run(move || {
        with_machine(Flaw::None, 64, |machine| {
            readers_and_a_writer(machine, kind, false);
        });
    });
}

#[test]
fn a_maple_tree_is_read_while_it_is_changed() {
    check(TreeKind::Maple);
}

#[test]
fn a_red_black_tree_is_read_while_it_is_changed() {
    check(TreeKind::RbList);
}
