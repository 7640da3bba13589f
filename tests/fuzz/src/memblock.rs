// SPDX-License-Identifier: GPL-2.0

//! memblock beside an array with a word for each page (tests/host/tests/memblock_model.rs).

use arbitrary::Result;
use arbitrary::Unstructured;
use model::Model;
use model::Op;
use model::PAGES;
use shadowmm_core::memblock::EarlyMemory;
use shadowmm_core::memblock::MemblockRegion;

#[allow(dead_code, reason = "strategies for proptest are there, too")]
#[path = "../../host/tests/memblock_model.rs"]
mod model;

/// How many requests an input makes at most.
const OPS: usize = 200;

fn op(u: &mut Unstructured<'_>) -> Result<Op> {
    let (page, len) = (u.int_in_range(0..=PAGES - 1)?, u.int_in_range(0..=47)?);
    let node = |u: &mut Unstructured<'_>| u.int_in_range(-1..=3);
    Ok(match u.int_in_range(0..=15u8)? {
        0..=2 => Op::Add(
            page,
            len,
            u.int_in_range(0..=3)?,
            *u.choose(&[0, 0, 0, 1, 4, 8])?,
        ),
        3 => Op::Remove(page, len),
        4 | 5 => Op::Reserve(page, len / 4, node(u)?, *u.choose(&[0, 0x10, 0x20])?),
        6 => Op::Free(page, len),
        7 => Op::Hotplug(page, len, u.arbitrary()?),
        8 => Op::Nomap(page, len, u.arbitrary()?),
        9 => Op::NoInit(page, len),
        10 => Op::SetNode(page, len, u.arbitrary()?, u.int_in_range(0..=3)?),
        11 => Op::BottomUp(u.arbitrary()?),
        12 => Op::MovableNode(u.arbitrary()?),
        _ => Op::Alloc(
            u.int_in_range(1..=11)?,
            1 << u.int_in_range(0..=3)?,
            page,
            page + 2 * len,
            node(u)?,
            u.arbitrary()?,
        ),
    })
}

/// See the head of this file.
pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let mut memory = vec![MemblockRegion::EMPTY; 2 * PAGES + 2];
    let mut reserved = vec![MemblockRegion::EMPTY; 2 * PAGES + 2];
    let mut early = EarlyMemory::new(&mut memory, &mut reserved, None);
    let mut model = Model::default();
    for _ in 0..OPS {
        if u.is_empty() {
            break;
        }
        let Ok(op) = op(&mut u) else { break };
        model::step(&op, &mut early, &mut model);
        model::compare(&early, &model);
    }
    model::hand_over(early, &model);
}
