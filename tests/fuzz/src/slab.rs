// SPDX-License-Identifier: GPL-2.0

//! Caches and objects beside sets of what is held (tests/host/tests/slab/model.rs).

use arbitrary::Result;
use arbitrary::Unstructured;
use model::Model;
use model::Step;
use model::Wanted;
use model::FLAGS;
use shadowmm_core::allocator::AllocatorKind;
use shadowmm_core::boot::Config;
use shadowmm_core::phys::PageOrder;
use shadowmm_core::slab::Constructor;
use shadowmm_core::slab::DebugParameter;
use shadowmm_core::slab::SlabConfig;
use shadowmm_core::slab::SlabFlags;
use std::cell::RefCell;
use world::run_on;
use world::Cpus;
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
        Step::Alloc(..) | Step::Bulk(..) | Step::Kmalloc(..) | Step::Realloc(..)
    )
}

/// Any cache that can be asked for, most often one that is to be had.
fn wanted(u: &mut Unstructured<'_>, size: u32) -> Result<Wanted> {
    let mut wanted = Wanted {
        size,
        align: u.int_in_range(0..=10)?,
        ..Wanted::default()
    };
    if u.arbitrary()? {
        wanted.align = 0;
    }
    for _ in 0..u.int_in_range(0..=4)? {
        wanted.flags |= *u.choose(&FLAGS)?;
    }
    let rest: u8 = u.arbitrary()?;
    if rest & 1 != 0 && u.arbitrary()? {
        wanted.flags |= SlabFlags::DEBUG_DEFAULT;
    }
    wanted.ctor = match rest & 0xe {
        2 => Constructor::Fill(u.arbitrary()?),
        4 => Constructor::FailAfter(u.int_in_range(0..=200)?),
        _ => Constructor::None,
    };
    if rest & 0x30 == 0x10 {
        wanted.users.0 = u.int_in_range(0..=size)?;
        // At times beyond the end.
        wanted.users.1 = u.int_in_range(0..=size - wanted.users.0 + 8)?;
    }
    if rest & 0x40 != 0 {
        let at = u.int_in_range(0..=size + 8)?;
        wanted.freeptr_offset = Some(if u.ratio(1, 8)? { at } else { at & !7 });
    }
    if rest & 0x80 != 0 {
        wanted.sheaf_capacity = u.int_in_range(0..=300)?;
    }
    Ok(wanted)
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
    Ok(match u.int_in_range(0..=24u8)? {
        0 | 1 => Step::RunOn(cpu(u)?),
        2 | 3 => {
            let size = size(u, 8999)?.max(1) as u32;
            Step::Create(wanted(u, size)?)
        }
        4..=8 => Step::Alloc(at, u.int_in_range(-1..=1)?, u.arbitrary()?),
        9 | 10 => Step::Bulk(at, u.int_in_range(0..=299)?),
        11..=14 => Step::Free(at),
        15 => Step::FreeWrong(at, u.int_in_range(1..=63)?),
        16 | 17 => Step::FreeMany(at, u.int_in_range(0..=299)?),
        18 | 19 => Step::Kmalloc(size(u, 19_999)?, u.arbitrary()?),
        20 => Step::Realloc(at, size(u, 19_999)?),
        21 => Step::Shrink(at),
        22 => match u.arbitrary()? {
            true => Step::ShrinkAll,
            false => Step::Drain(cpu(u)?),
        },
        23 => Step::Destroy(at),
        _ => Step::Ksize(at),
    })
}

/// The machines: Linux's parameters of the slab layer as they are without, with debugging of
/// all caches, and with others that change how slabs look; and one whose pages are Cosmos's.
const CONFIGS: usize = 5;

fn config(which: usize) -> Config {
    let debug = |text| DebugParameter::new(text).unwrap();
    let mut slab = SlabConfig::default();
    let mut allocator = AllocatorKind::Buddy;
    match which {
        0 => {}
        1 => slab.debug = debug("FZPU"),
        2 => slab.debug = debug("FZ,kmalloc-*,model-1*;U,kmalloc-1k;P,model-2*"),
        3 => {
            slab.merge = false;
            slab.min_objects = 3;
            slab.max_order = PageOrder::new(1);
        }
        _ => allocator = AllocatorKind::Cosmos,
    }
    Config {
        slab,
        allocator,
        ..Config::default()
    }
}

thread_local! {
    /// Between two inputs: one that ends well leaves its machine as it was.
    static WORLDS: RefCell<[Option<World>; CONFIGS]> = const { RefCell::new([const { None }; CONFIGS]) };
}

/// See the head of this file.
pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let which = u.choose_index(CONFIGS).unwrap_or(0);
    let kept = WORLDS.with_borrow_mut(|worlds| worlds[which].take());
    let world = kept.unwrap_or_else(|| World::with(&[48, 48], &config(which), Cpus::default()));
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
    for cache in &model.caches {
        let active = world.report(cache.id).active_objects;
        assert_eq!(active, model.active(cache.id));
    }
    run_on(0);
    for held in std::mem::take(&mut model.held) {
        model::free(&world, held).unwrap();
    }
    while !model.caches.is_empty() {
        model.destroy(&world, 0);
    }
    world.finish();
    WORLDS.with_borrow_mut(|worlds| worlds[which] = Some(world));
}
