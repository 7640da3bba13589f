// SPDX-License-Identifier: GPL-2.0

//! Any stores in any order: the tree is the model after each.

use crate::model::Model;
use crate::world::tree;
use crate::world::Tree;
use crate::world::World;
use crate::world::PAGE;
use proptest::prelude::*;
use shadowmm_core::mm::TreeKind;

#[derive(Clone, Debug)]
enum Op {
    Store {
        start: u64,
        pages: u64,
        is_gap: bool,
    },
    Look {
        addr: u64,
    },
    Room {
        low: u64,
        pages: u64,
        size: u64,
    },
    Destroy,
}

/// In pages: places that come up again and again, whatever `span` is.
fn op(span: u64) -> impl Strategy<Value = Op> {
    let length = prop_oneof![8 => 1..4u64, 2 => 1..span / 4, 1 => 1..=span];
    prop_oneof![
        20 => (0..span, length, prop::bool::weighted(0.35))
            .prop_map(|(start, pages, is_gap)| Op::Store { start, pages, is_gap }),
        4 => (0..span + 2).prop_map(|addr| Op::Look { addr }),
        6 => (0..span, 1..span, 1..span / 8).prop_map(|(low, pages, size)| Op::Room { low, pages, size }),
        1 => prop::bool::weighted(0.05).prop_map(|all| match all {
            true => Op::Destroy,
            false => Op::Look { addr: 0 },
        }),
    ]
}

thread_local! {
    /// Each test's own: its CPUs are threads, too.
    static WORLD: World = World::two_nodes();
}

#[track_caller]
fn same(tree: Tree, model: &Model) {
    assert_eq!(tree.validate(), Ok(()));
    assert!(tree.iter(0, u64::MAX).eq(model.entries()));
}

fn look(tree: Tree, model: &Model, addr: u64) {
    assert_eq!(tree.lookup(addr), model.lookup(addr));
    assert_eq!(tree.find(addr), model.find(addr));
    assert_eq!(tree.prev(addr), model.prev(addr));
    let next = model.entries().find(|entry| entry.start >= addr);
    assert_eq!(tree.next(addr), next);
}

fn play(kind: TreeKind, ops: &[Op]) {
    let tree = WORLD.with(|world| tree(world, kind));
    let mut model = Model::default();
    for (n, op) in ops.iter().enumerate() {
        match *op {
            Op::Store {
                start,
                pages,
                is_gap,
            } => {
                let (start, end) = (start * PAGE, (start + pages) * PAGE);
                let value = (!is_gap).then_some(n as u64 + 1);
                let mut reserve = tree.reserve(1).unwrap();
                tree.store(start, end, value, &mut reserve);
                assert!(!reserve.is_spent());
                drop(reserve);
                model.store(start, end, value);
                same(tree, &model);
                for addr in [start.saturating_sub(1), start, end - 1, end] {
                    look(tree, &model, addr);
                }
            }
            Op::Look { addr } => {
                look(tree, &model, addr * PAGE);
                look(tree, &model, addr * PAGE + 1);
            }
            Op::Room { low, pages, size } => {
                let (low, high) = (low * PAGE, (low + pages) * PAGE);
                for size in [size * PAGE, size * PAGE - 1] {
                    assert_eq!(
                        tree.gap_above(low, high, size),
                        model.gap_above(low, high, size)
                    );
                    assert_eq!(
                        tree.gap_below(low, high, size),
                        model.gap_below(low, high, size)
                    );
                }
                assert_eq!(tree.validate(), Ok(()));
            }
            Op::Destroy => {
                tree.destroy();
                model = Model::default();
            }
        }
    }
    assert_eq!(tree.len(), model.len());
    tree.destroy();
    same(tree, &Model::default());
}

/// Stores while somebody goes through all: he sees what is there when he comes.
fn go_through(kind: TreeKind, ops: &[Op]) {
    let tree = WORLD.with(|world| tree(world, kind));
    let mut model = Model::default();
    let store = |model: &mut Model, n: usize, op: &Op| {
        if let Op::Store {
            start,
            pages,
            is_gap,
        } = *op
        {
            let (start, end) = (start * PAGE, (start + pages.min(9)) * PAGE);
            let value = (!is_gap).then_some(n as u64 + 1);
            tree.store(start, end, value, &mut tree.reserve(1).unwrap());
            model.store(start, end, value);
        }
    };
    let (first, rest) = ops.split_at(ops.len() / 2);
    for (n, op) in first.iter().enumerate() {
        store(&mut model, n, op);
    }
    let (mut entries, mut at) = (tree.iter(0, u64::MAX), 0);
    let mut rest = rest.iter().enumerate();
    loop {
        let entry = entries.next();
        assert_eq!(entry, model.find(at));
        let Some(entry) = entry else {
            break;
        };
        at = entry.end;
        // Now and then nothing happens for a few entries.
        if at / PAGE % 3 != 0 {
            if let Some((n, op)) = rest.next() {
                store(&mut model, first.len() + n, op);
            }
        }
    }
    tree.destroy();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_maple_tree_of_few_addresses_is_the_model(ops in prop::collection::vec(op(120), 1..300)) {
        play(TreeKind::Maple, &ops);
    }

    #[test]
    fn a_maple_tree_of_many_addresses_is_the_model(ops in prop::collection::vec(op(4000), 1..900)) {
        play(TreeKind::Maple, &ops);
    }

    #[test]
    fn a_red_black_tree_of_few_addresses_is_the_model(ops in prop::collection::vec(op(120), 1..300)) {
        play(TreeKind::RbList, &ops);
    }

    #[test]
    fn a_red_black_tree_of_many_addresses_is_the_model(ops in prop::collection::vec(op(4000), 1..900)) {
        play(TreeKind::RbList, &ops);
    }

    #[test]
    fn who_goes_through_a_tree_sees_what_is_stored_meanwhile(
        ops in prop::collection::vec(op(400), 1..600),
    ) {
        go_through(TreeKind::Maple, &ops);
        go_through(TreeKind::RbList, &ops);
    }
}
