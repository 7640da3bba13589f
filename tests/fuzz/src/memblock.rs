// SPDX-License-Identifier: GPL-2.0

//! memblock beside an array with a word for each page (tests/host/tests/memblock_model.rs).

use arbitrary::Result;
use arbitrary::Unstructured;
use model::Arrays;
use model::Op;
use model::PAGES;

#[allow(dead_code, reason = "strategies for proptest are there, too")]
#[path = "../../host/tests/memblock_model.rs"]
mod model;

/// How many requests an input makes at most.
const OPS: usize = 200;

fn op(u: &mut Unstructured<'_>) -> Result<Op> {
    let (page, len) = (u.int_in_range(0..=PAGES - 1)?, u.int_in_range(0..=47)?);
    let node = |u: &mut Unstructured<'_>| u.int_in_range(-1..=3);
    Ok(match u.int_in_range(0..=17u8)? {
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
        16 => Op::Limit(page, u.arbitrary()?),
        17 => Op::Cap(page, 5 * len),
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

/// Of the size that always does, small ones that refuse, small ones that grow.
fn arrays(u: &mut Unstructured<'_>) -> Result<Arrays> {
    Ok(match u.int_in_range(0..=3u8)? {
        0 => Arrays::LARGE,
        1 => Arrays {
            max: u.int_in_range(0..=40)?,
            grow: false,
        },
        _ => Arrays {
            max: u.int_in_range(1..=16)?,
            grow: true,
        },
    })
}

/// See the head of this file.
pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok(arrays) = arrays(&mut u) else { return };
    let mut left = OPS;
    model::play(arrays, || {
        left = left.checked_sub(1)?;
        match u.is_empty() {
            true => None,
            false => op(&mut u).ok(),
        }
    });
}
