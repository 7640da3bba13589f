// SPDX-License-Identifier: GPL-2.0

//! Stacks grow, up to their limits.

use crate::world::*;
use shadowmm_core::mm::FaultResult;
use shadowmm_core::mm::MmConfig;
use shadowmm_core::mm::Rlimits;
use shadowmm_core::mm::SegvCode;

const MISSING: Result<(), FaultResult> = Err(FaultResult::Segv(SegvCode::MapErr));
const FLAGS: u32 = MAP_PRIVATE | MAP_FIXED | MAP_GROWSDOWN;
const TOP: u64 = WINDOW.start.0 + (1 << 30);

fn process(machine: &Machine, stack: u64) -> Process {
    let limits = Rlimits {
        stack,
        ..Rlimits::default()
    };
    machine.process_with(&MmConfig {
        limits,
        ..MmConfig::default()
    })
}

#[test]
fn it_grows_to_its_limit() {
    let machine = Machine::two_nodes();
    let process = process(&machine, 100 * PAGE);
    process.map_at(TOP - 4 * PAGE, 4, RW, FLAGS);
    process.write(TOP - 8, 1);
    process.write(TOP - 50 * PAGE, 2);
    process.write(TOP - 100 * PAGE, 3);
    assert_eq!(process.try_write(TOP - 101 * PAGE, 4), MISSING);
    assert_eq!(process.rss(), [0, 3, 0]);
    assert_eq!(process.read(TOP - 51 * PAGE), 0);
    assert_eq!(process.read(TOP - 8), 1);
    process.exit();
    machine.finish();
}

#[test]
fn it_keeps_away_from_what_is_below() {
    let machine = Machine::two_nodes();
    let process = process(&machine, 8 << 20);
    let gap = 256;
    process.map_at(TOP - 600 * PAGE, 1, RW, MAP_PRIVATE | MAP_FIXED);
    process.map_at(TOP - PAGE, 1, RW, FLAGS);
    let lowest = TOP - 599 * PAGE + gap * PAGE;
    assert_eq!(process.try_write(lowest - PAGE, 1), MISSING);
    process.write(lowest, 1);
    // Nobody minds what may not be touched anyway.
    process.protect(TOP - 600 * PAGE, 1, PROT_NONE);
    process.write(TOP - 599 * PAGE, 1);
    process.exit();
    machine.finish();
}

#[test]
fn what_does_not_grow_does_not() {
    let machine = Machine::two_nodes();
    let process = process(&machine, 8 << 20);
    process.map_at(TOP - PAGE, 1, RW, MAP_PRIVATE | MAP_FIXED);
    assert_eq!(process.try_write(TOP - 2 * PAGE, 1), MISSING);
    process.exit();
    machine.finish();
}
