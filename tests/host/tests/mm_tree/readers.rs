// SPDX-License-Identifier: GPL-2.0

//! Who looks without a lock, while another stores: what he gets is an entry that is or
//! was there, soon, and of what nobody touches nearly always the right one.

use crate::world::run_on;
use crate::world::tree;
use crate::world::Tree;
use crate::world::World;
use crate::world::PAGE;
use shadowmm_core::mm::TreeKind;
use shadowmm_core::platform::Platform;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

/// Every so many pages one stays what it is.
const STEP: u64 = 16;
const STEADY: u64 = 600;
const STORES: u64 = 300_000;

const fn steady_value(n: u64) -> u64 {
    (1 << 40) | (n + 1)
}

fn store(tree: Tree, start: u64, end: u64, value: Option<u64>) {
    let mut reserve = tree.reserve(1).unwrap();
    tree.store(start * PAGE, end * PAGE, value, &mut reserve);
    assert!(!reserve.is_spent());
}

/// Changes all that is between, by any number of entries at once, but for the steady.
fn write(tree: Tree) {
    let mut draw = 5u64;
    for n in 0..STORES {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let random = draw >> 20;
        let at = random % STEADY * STEP + 1;
        let start = at + (random >> 12) % (STEP - 2);
        let end = start + 1 + (random >> 20) % (at + STEP - 1 - start);
        let value = ((random >> 30) % 3 != 0).then_some(n + 1);
        store(tree, start, end, value);
        if n % 512 == 0 {
            // All of a stretch is filled, so that leaves are split, and emptied.
            let first = (random >> 32) % (STEADY - 40);
            for steady in first..first + 40 {
                let at = steady * STEP;
                for page in at + 1..at + STEP {
                    store(tree, page, page + 1, Some(page));
                }
            }
            for steady in first..first + 40 {
                store(tree, steady * STEP + 1, (steady + 1) * STEP, None);
            }
        }
    }
}

/// How often what was found was not it, of how many.
fn read(world: &World, tree: Tree, cpu: u32, is_done: &AtomicBool) -> (u64, u64) {
    run_on(cpu);
    let (mut wrong, mut all, mut n) = (0, 0, cpu.into());
    while !is_done.load(Relaxed) {
        n = (n + 7) % STEADY;
        let found = {
            let (_, _pinned) = world.mm.platform.pin_cpu();
            tree.lookup(n * STEP * PAGE + 5)
        };
        all += 1;
        wrong += u64::from(found != Some(steady_value(n)));
        // Between them anything may be, and nothing.
        let (_, _pinned) = world.mm.platform.pin_cpu();
        tree.lookup((n * STEP + 1 + all % (STEP - 1)) * PAGE);
    }
    (wrong, all)
}

fn readers_beside_a_writer(kind: TreeKind) {
    let world = World::two_nodes();
    let tree = tree(&world, kind);
    for n in 0..STEADY {
        store(tree, n * STEP, n * STEP + 1, Some(steady_value(n)));
    }
    let is_done = AtomicBool::new(false);
    let (wrong, all) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for cpu in 1..3 {
            let (world, is_done, wrong, all) = (&world, &is_done, &wrong, &all);
            scope.spawn(move || {
                let (w, a) = read(world, tree, cpu, is_done);
                wrong.fetch_add(w, Relaxed);
                all.fetch_add(a, Relaxed);
            });
        }
        write(tree);
        is_done.store(true, Relaxed);
    });
    tree.validate().unwrap();
    for n in 0..STEADY {
        assert_eq!(tree.lookup(n * STEP * PAGE), Some(steady_value(n)));
    }
    let (wrong, all) = (wrong.into_inner(), all.into_inner());
    println!("{kind:?}: {wrong} of {all} looks found something else");
    assert!(all > 1000);
    assert!(wrong * 100 < all, "{wrong} of {all}");
    tree.destroy();
    world.finish();
}

#[test]
fn readers_of_a_maple_tree_beside_a_writer() {
    readers_beside_a_writer(TreeKind::Maple);
}

#[test]
fn readers_of_a_red_black_tree_beside_a_writer() {
    readers_beside_a_writer(TreeKind::RbList);
}
