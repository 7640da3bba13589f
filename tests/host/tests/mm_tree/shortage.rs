// SPDX-License-Identifier: GPL-2.0

//! No memory: a reserve can't be had, and what was reserved is enough.

use crate::model::Model;
use crate::world::spaces;
use crate::world::tree;
use crate::world::Cpus;
use crate::world::Tree;
use crate::world::World;
use crate::world::PAGE;
use shadowmm_core::buddy::gfp;
use shadowmm_core::error::Error;
use shadowmm_core::mm::CacheOf;
use shadowmm_core::mm::TreeKind;
use shadowmm_core::slab::Cache;
use shadowmm_core::slab::ObjAddr;
use shadowmm_core::slab::ObjRequest;

/// All nodes that there could be.
struct Hold {
    cache: Cache<'static, 'static, Cpus>,
    held: Vec<ObjAddr>,
}

impl Hold {
    fn new(world: &World) -> Self {
        let cache = spaces(world).cache(CacheOf::Node).unwrap();
        let mut hold = Self {
            cache,
            held: Vec::new(),
        };
        hold.take_all();
        hold
    }

    fn take_all(&mut self) {
        let request = ObjRequest::new(gfp::GFP_NOWAIT);
        while let Ok(node) = self.cache.alloc(&request) {
            self.held.push(node);
        }
    }

    fn give(&mut self, count: usize) {
        for _ in 0..count {
            let node = self.held.pop().unwrap();
            self.cache.free(node).unwrap();
        }
    }
}

fn draw(state: &mut u64, bound: u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1);
    (*state >> 33) % bound
}

/// Stores with no node anywhere but in the reserve.
fn what_was_reserved_is_enough(kind: TreeKind, stores: usize, sizes: u64) {
    let world = World::new(&[8, 8]);
    let tree = tree(&world, kind);
    let mut model = Model::default();
    let mut hold = Hold::new(&world);
    let mut state = stores as u64;
    for round in 0..400u64 {
        let mut given = 8 * stores;
        hold.give(given);
        let mut reserve = loop {
            match tree.reserve(stores) {
                Ok(reserve) => break reserve,
                Err(error) => assert_eq!(error, Error::NoMemory),
            }
            given += 1;
            assert!(given < 16 * stores + 64);
            hold.give(1);
        };
        hold.take_all();
        for _ in 0..stores {
            let start = draw(&mut state, 1000);
            // A tree that fills up, and is emptied by long stretches.
            let pages = match draw(&mut state, 40) {
                0 => 1 + draw(&mut state, sizes),
                _ => 1 + draw(&mut state, 2),
            };
            let value = (draw(&mut state, 3) != 0).then_some(round + 1);
            let (start, end) = (start * PAGE, (start + pages) * PAGE);
            tree.store(start, end, value, &mut reserve);
            assert!(!reserve.is_spent());
            model.store(start, end, value);
        }
        drop(reserve);
        hold.take_all();
    }
    tree.validate().unwrap();
    assert!(tree.iter(0, u64::MAX).eq(model.entries()));
    tree.destroy();
    hold.give(hold.held.len());
    world.finish();
}

#[test]
fn a_maple_tree_gets_by_with_its_reserve() {
    for (stores, sizes) in [(1, 1000), (2, 100), (5, 100)] {
        what_was_reserved_is_enough(TreeKind::Maple, stores, sizes);
    }
}

#[test]
fn a_red_black_tree_gets_by_with_its_reserve() {
    what_was_reserved_is_enough(TreeKind::RbList, 1, 100);
    what_was_reserved_is_enough(TreeKind::RbList, 3, 100);
}

/// Stores beyond the reserve, with no memory: some are done, and the others change
/// nothing.
fn without_nodes_nothing_changes(kind: TreeKind) {
    let world = World::new(&[8, 8]);
    let tree: Tree = tree(&world, kind);
    let mut model = Model::default();
    let mut reserve = tree.reserve(1).unwrap();
    let mut hold = Hold::new(&world);
    assert_eq!(tree.reserve(100_000).err(), Some(Error::NoMemory));
    hold.take_all();
    let mut refused = 0;
    for n in 0..2000 {
        let (start, end) = (3 * n * PAGE, (3 * n + 2) * PAGE);
        tree.store(start, end, Some(n + 1), &mut reserve);
        match tree.lookup(start) {
            Some(value) => {
                assert_eq!(value, n + 1);
                model.store(start, end, Some(value));
            }
            None => {
                assert!(reserve.is_spent());
                refused += 1;
            }
        }
    }
    assert!(refused > 0);
    tree.validate().unwrap();
    assert!(tree.iter(0, u64::MAX).eq(model.entries()));
    drop(reserve);
    tree.destroy();
    hold.give(hold.held.len());
    world.finish();
}

#[test]
fn a_maple_tree_without_nodes_stays_as_it_is() {
    without_nodes_nothing_changes(TreeKind::Maple);
}

#[test]
fn a_red_black_tree_without_nodes_stays_as_it_is() {
    without_nodes_nothing_changes(TreeKind::RbList);
}
