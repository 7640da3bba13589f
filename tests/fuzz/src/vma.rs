// SPDX-License-Identifier: GPL-2.0

//! An address space beside an array with the permissions of each page
//! (tests/host/tests/mm_ops/model.rs): where nothing was touched, the VMAs are the longest
//! runs of pages that are alike; where something was, all must be whole and come back.

use arbitrary::Result;
use arbitrary::Unstructured;
use model::Model;
use model::Op;
use model::PAGES;
use shadowmm_core::mm::Advice;
use shadowmm_core::mm::TreeKind;
use std::cell::OnceCell;
use world::TestMm;
use world::World;

#[allow(dead_code, reason = "strategies for proptest are there, too")]
#[path = "../../host/tests/mm_ops/model.rs"]
mod model;
#[allow(dead_code, reason = "of the tests beside it")]
#[path = "../../host/tests/mm_ops/world.rs"]
pub(crate) mod world;

/// How many requests an input makes at most.
const OPS: usize = 200;

fn range(u: &mut Unstructured<'_>) -> Result<(u64, u64)> {
    let at = u.int_in_range(0..=PAGES - 1)?;
    Ok((at, u.int_in_range(1..=11u64)?.min(PAGES - at)))
}

/// What the array knows.
fn plain(u: &mut Unstructured<'_>) -> Result<Op> {
    let kind = u.int_in_range(0..=17u8)?;
    let (at, len) = range(u)?;
    let advice = [
        Advice::DontFork,
        Advice::DoFork,
        Advice::NoHugePage,
        Advice::Normal,
    ];
    Ok(match kind {
        0..=4 => Op::Map {
            at,
            len,
            prot: u.int_in_range(0..=3)?,
            shared: u.ratio(1, 5)?,
            noreserve: u.ratio(1, 5)?,
        },
        5 | 6 => Op::Unmap { at, len },
        7..=10 => Op::Protect {
            at,
            len,
            prot: u.int_in_range(0..=3)?,
        },
        11 | 12 => Op::Advise {
            at,
            len,
            advice: *u.choose(&advice)?,
        },
        13 => Op::Lock {
            at,
            len,
            on: u.arbitrary()?,
        },
        16 | 17 => Op::MapFile {
            at,
            len,
            prot: u.int_in_range(0..=3)?,
            index: match u.arbitrary()? {
                true => at,
                false => at + u.int_in_range(0..=PAGES)?,
            },
        },
        _ => Op::Move {
            at,
            len,
            to: u.int_in_range(0..=PAGES - 1)?.min(PAGES - len),
        },
    })
}

fn wild(u: &mut Unstructured<'_>) -> Result<Op> {
    if u.int_in_range(0..=15u8)? < 7 {
        return plain(u);
    }
    let kind = u.int_in_range(0..=15u8)?;
    let (at, len) = range(u)?;
    Ok(match kind {
        0..=4 => Op::Touch { at, len },
        5 => Op::Leave {
            at,
            len,
            to: u.int_in_range(0..=PAGES - 1)?.min(PAGES - len),
        },
        6..=8 => Op::Resize {
            at,
            old: len,
            new: u.int_in_range(1..=11)?,
            may_move: u.arbitrary()?,
        },
        9..=11 => Op::Advise {
            at,
            len,
            advice: *u.choose(Advice::ALL)?,
        },
        12 => Op::Brk {
            pages: u.int_in_range(0..=PAGES - 1)?,
        },
        13 => Op::Stack { at, len },
        _ => Op::Fork,
    })
}

thread_local! {
    static MACHINE: OnceCell<&'static TestMm> = const { OnceCell::new() };
}

/// The one machine of all inputs, on which there is nothing.
pub(crate) fn machine() -> &'static TestMm {
    MACHINE.with(|machine| *machine.get_or_init(|| world::boot_with(24)))
}

/// Which tree an input's VMAs are in.
pub(crate) fn tree(u: &mut Unstructured<'_>) -> TreeKind {
    match u.arbitrary() {
        Ok(true) => TreeKind::RbList,
        _ => TreeKind::Maple,
    }
}

/// See the head of this file.
pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let world = World::on(machine(), &model::on(tree(&mut u)));
    let touches = u.arbitrary().unwrap_or(false);
    let mut model = Model::new();
    for _ in 0..OPS {
        if u.is_empty() {
            break;
        }
        let op = if touches { wild(&mut u) } else { plain(&mut u) };
        let Ok(op) = op else { break };
        model::play(&world, op).unwrap();
        if !touches {
            model.apply(op);
            assert_eq!(model::vmas(&world), model.runs(), "after {op:?}");
            let promised = world.mm.spaces().committed().0;
            assert_eq!(promised, model.promised(), "after {op:?}");
        }
    }
    world.finish();
}
