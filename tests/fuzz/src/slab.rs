// SPDX-License-Identifier: GPL-2.0

//! Caches and objects beside sets of what is held (tests/host/tests/slab/model.rs).

use arbitrary::Result;
use arbitrary::Unstructured;
use model::Model;
use model::Step;
use std::cell::RefCell;
use world::run_on;
use world::World;
use world::NR_CPUS;

#[allow(dead_code, reason = "of the tests beside it")]
#[path = "../../host/tests/slab/model.rs"]
mod model;
#[allow(dead_code, reason = "of the tests beside it")]
#[path = "../../host/tests/slab/world.rs"]
pub(crate) mod world;

/// How many steps an input makes at most.
const STEPS: usize = 300;

/// How many objects are held before it is time to free some: all of them fit.
const MOST: usize = 1500;

fn allocates(step: &Step) -> bool {
    matches!(
        step,
        Step::Alloc(..) | Step::Bulk(..) | Step::Kmalloc(_) | Step::Realloc(..)
    )
}

fn step(u: &mut Unstructured<'_>) -> Result<Step> {
    let at = usize::from(u.arbitrary::<u16>()?);
    let cpu = |u: &mut Unstructured<'_>| u.int_in_range(0..=NR_CPUS as u32 - 1);
    // Near the sizes of kmalloc's caches and of pages, and between them.
    let size = |u: &mut Unstructured<'_>, most: u64| -> Result<u64> {
        let size = match u.arbitrary()? {
            true => (1u64 << u.int_in_range(0..=14u32)?) + u.int_in_range(0..=16u64)?,
            false => u.int_in_range(0..=most)? + 8,
        };
        Ok((size - 8.min(size)).min(most))
    };
    Ok(match u.int_in_range(0..=23u8)? {
        0 | 1 => Step::RunOn(cpu(u)?),
        2 | 3 => Step::Create(
            size(u, 8999)?.max(1) as u32,
            u.int_in_range(0..=7)?,
            u.arbitrary()?,
        ),
        4..=8 => Step::Alloc(at, u.int_in_range(-1..=1)?, u.arbitrary()?),
        9 | 10 => Step::Bulk(at, u.int_in_range(0..=299)?),
        11..=14 => Step::Free(at),
        15 => Step::FreeWrong(at, u.int_in_range(1..=63)?),
        16 | 17 => Step::FreeMany(at, u.int_in_range(0..=299)?),
        18 | 19 => Step::Kmalloc(size(u, 19_999)?),
        20 => Step::Realloc(at, size(u, 19_999)?),
        21 => Step::Shrink(at),
        22 => match u.arbitrary()? {
            true => Step::ShrinkAll,
            false => Step::Drain(cpu(u)?),
        },
        _ => Step::Destroy(at),
    })
}

thread_local! {
    /// Between two inputs: one that ends well leaves the machine as it was.
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// See the head of this file.
pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let kept = WORLD.take();
    let world = kept.unwrap_or_else(|| World::new(&[48, 48]));
    run_on(0);
    let mut model = Model::default();
    for n in 0..STEPS {
        if u.is_empty() {
            break;
        }
        let Ok(mut step) = step(&mut u) else { break };
        if model.held.len() > MOST && allocates(&step) {
            step = Step::FreeMany(0, MOST);
        }
        model.step(&world, &step);
        if n % 50 == 49 {
            world.validate();
        }
    }
    for &(id, _) in &model.caches {
        assert_eq!(world.report(id).active_objects, model.active(id));
    }
    run_on(0);
    for (id, object) in std::mem::take(&mut model.held) {
        model::free(world.slab(), id, object).unwrap();
    }
    while !model.caches.is_empty() {
        model.destroy(&world, 0);
    }
    world.finish();
    WORLD.set(Some(world));
}
