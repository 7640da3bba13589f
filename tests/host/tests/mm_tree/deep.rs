// SPDX-License-Identifier: GPL-2.0

//! Many entries: both kinds say the same, and go back to nothing.

use crate::world::tree;
use crate::world::Tree;
use crate::world::World;
use crate::world::PAGE;
use shadowmm_core::mm::TreeKind;

const MANY: u64 = 60_000;

/// Numbers that look random; the same in every run.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

fn store(trees: &[Tree], start: u64, end: u64, value: Option<u64>) {
    for tree in trees {
        let mut reserve = tree.reserve(1).unwrap();
        tree.store(start * PAGE, end * PAGE, value, &mut reserve);
        assert!(!reserve.is_spent());
    }
}

#[track_caller]
fn agree(trees: &[Tree], draw: &mut Draw) {
    let [maple, red_black] = trees else {
        unreachable!("two trees");
    };
    maple.validate().unwrap();
    red_black.validate().unwrap();
    assert!(maple.iter(0, u64::MAX).eq(red_black.iter(0, u64::MAX)));
    assert_eq!(maple.first(), red_black.first());
    assert_eq!(maple.last(), red_black.last());
    for _ in 0..2000 {
        let addr = draw.below(4 * MANY) * PAGE;
        let size = (1 + draw.below(5)) * PAGE;
        assert_eq!(maple.lookup(addr), red_black.lookup(addr));
        assert_eq!(maple.find(addr), red_black.find(addr));
        assert_eq!(maple.prev(addr), red_black.prev(addr));
        assert_eq!(maple.next(addr), red_black.next(addr));
        let high = addr + draw.below(MANY) * PAGE;
        let ask = |tree: &Tree| {
            (
                tree.gap_above(addr, high, size),
                tree.gap_below(addr, high, size),
            )
        };
        assert_eq!(ask(maple), ask(red_black));
    }
    maple.validate().unwrap();
}

fn both(world: &World) -> [Tree; 2] {
    [TreeKind::Maple, TreeKind::RbList].map(|kind| tree(world, kind))
}

/// No node is anybody's any more.
fn end(world: &World, trees: &[Tree]) {
    for tree in trees {
        tree.destroy();
        tree.validate().unwrap();
        assert!(tree.is_empty());
    }
    world.finish();
}

#[test]
fn entries_side_by_side_upwards_downwards_and_anywhere() {
    for order in 0..3 {
        let world = World::two_nodes();
        let trees = both(&world);
        let mut draw = Draw(1);
        for n in 0..MANY {
            let at = match order {
                0 => n,
                1 => MANY - 1 - n,
                // Any odd factor hits each once.
                _ => n.wrapping_mul(40_503) % 65_536,
            };
            store(&trees, 2 * at, 2 * at + 1 + n % 2, Some(at + 1));
        }
        agree(&trees, &mut draw);
        assert_eq!(trees[0].len() as u64, MANY);
        // Every other one goes, then stretches, then all.
        for n in (0..65_536).step_by(2) {
            store(&trees, 2 * n, 2 * n + 2, None);
        }
        agree(&trees, &mut draw);
        for _ in 0..100 {
            let start = draw.below(2 * MANY);
            store(&trees, start, start + draw.below(3000), None);
        }
        agree(&trees, &mut draw);
        store(&trees, 7, 3 * MANY, Some(9));
        agree(&trees, &mut draw);
        store(&trees, 0, 1 << 40, None);
        assert!(trees.iter().all(Tree::is_empty));
        end(&world, &trees);
    }
}

#[test]
fn a_million_stores_of_any_size() {
    let world = World::two_nodes();
    let trees = both(&world);
    let mut draw = Draw(7);
    for n in 0..1_000_000 {
        let start = draw.below(2 * MANY);
        let pages = match draw.below(2000) {
            0 => draw.below(20_000),
            1..200 => 1 + draw.below(20),
            _ => 1 + draw.below(2),
        };
        let value = (draw.below(5) != 0).then_some(n + 1);
        store(&trees, start, start + pages, value);
        if n % 100_000 == 0 {
            agree(&trees, &mut draw);
        }
    }
    agree(&trees, &mut draw);
    end(&world, &trees);
}
