// SPDX-License-Identifier: GPL-2.0

//! Allocations on a machine of one node.

use crate::machine::*;
use shadowmm_core::memblock::MemblockFlags;
use shadowmm_core::phys::Bytes;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::PhysAddr;

const KERN: bool = true;
const PLAIN: bool = false;

/// A scenario for one direction of the search.
struct Scenario {
    name: &'static str,
    bottom_up: bool,
    /// Reserved before: base, size, for the kernel's own use.
    reserved: Vec<(u64, u64, bool)>,
    request: Request,
    /// The address, and what is reserved then.
    outcome: Option<(u64, Vec<(u64, u64)>)>,
}

fn check(scenario: &Scenario) {
    for call in [Call::Zeroed, Call::Raw, Call::Exact] {
        plain(|early| {
            early.set_bottom_up(scenario.bottom_up);
            for &(base, size, kern) in &scenario.reserved {
                let flags = if kern {
                    MemblockFlags::RSRV_KERN
                } else {
                    MemblockFlags::NONE
                };
                early
                    .reserve_node(PhysAddr(base), Bytes(size), NodeId::NONE, flags)
                    .unwrap();
            }
            let before = ranges(early.reserved_regions());
            let name = (scenario.name, scenario.bottom_up, call);
            let found = allocate(early, call, scenario.request);
            let (addr, after) = match &scenario.outcome {
                Some((addr, after)) => (Some(*addr), after.clone()),
                None => (None, before),
            };
            assert_eq!(found, addr, "{name:?}");
            assert_eq!(ranges(early.reserved_regions()), after, "{name:?}");
            let sum: u64 = after.iter().map(|(_, size)| size).sum();
            assert_eq!(early.reserved_size(), Bytes(sum), "{name:?}");
        });
    }
}

/// Different outcomes for the two directions, each with its own reservations.
fn both(
    name: &'static str,
    request: [Request; 2],
    reserved: [&[(u64, u64, bool)]; 2],
    outcome: [(u64, &[(u64, u64)]); 2],
) {
    for i in 0..2 {
        check(&Scenario {
            name,
            bottom_up: i == 1,
            reserved: reserved[i].to_vec(),
            request: request[i],
            outcome: Some((outcome[i].0, outcome[i].1.to_vec())),
        });
    }
}

/// The same outcome in both directions.
fn same(
    name: &'static str,
    request: Request,
    reserved: &[(u64, u64, bool)],
    outcome: Option<(u64, &[(u64, u64)])>,
) {
    for bottom_up in [false, true] {
        check(&Scenario {
            name,
            bottom_up,
            reserved: reserved.to_vec(),
            request,
            outcome: outcome.map(|(addr, after)| (addr, after.to_vec())),
        });
    }
}

fn bytes(size: u64) -> Request {
    Request { size, ..ANY }
}

fn within(size: u64, min: u64, max: u64) -> Request {
    Request {
        size,
        min,
        max,
        ..ANY
    }
}

#[test]
fn a_small_block_goes_to_the_end_of_the_search() {
    let (top, low) = (END - 64, BASE);
    both(
        "simple",
        [bytes(2); 2],
        [&[]; 2],
        [(top, &[(top, 2)]), (low, &[(low, 2)])],
    );
}

#[test]
fn a_misaligned_neighbour_is_kept_apart() {
    let request = Request {
        size: 16,
        align: 128,
        ..ANY
    };
    both(
        "disjoint",
        [request; 2],
        [&[(END - 2, 2, PLAIN)], &[(BASE + 2, 2, PLAIN)]],
        [
            (END - 128, &[(END - 128, 16), (END - 2, 2)]),
            (BASE + 128, &[(BASE + 2, 2), (BASE + 128, 16)]),
        ],
    );
}

#[test]
fn what_touches_merges() {
    both(
        "before",
        [bytes(512); 2],
        [&[(END - 576, 64, KERN)], &[(BASE + 512, 128, KERN)]],
        [(END - 512, &[(END - 576, 576)]), (BASE, &[(BASE, 640)])],
    );
    both(
        "after",
        [bytes(512); 2],
        [&[(END - 64, 8, KERN)], &[(BASE + 64, 64, KERN)]],
        [
            (END - 576, &[(END - 576, 520)]),
            (BASE + 128, &[(BASE + 64, 576)]),
        ],
    );
    let reserved = (SIZE - 2 * 64 - 128) / 2;
    same(
        "in between",
        bytes(128),
        &[
            (END - 64 - reserved, reserved, KERN),
            (BASE + 64, reserved, KERN),
        ],
        Some((BASE + 64 + reserved, &[(BASE + 64, 2 * reserved + 128)])),
    );
}

#[test]
fn what_differs_in_flags_does_not_merge() {
    both(
        "flags",
        [bytes(512); 2],
        [&[(END - 576, 64, PLAIN)], &[(BASE + 512, 128, PLAIN)]],
        [
            (END - 512, &[(END - 576, 64), (END - 512, 512)]),
            (BASE, &[(BASE, 512), (BASE + 512, 128)]),
        ],
    );
}

#[test]
fn a_gap_too_small_is_passed_over() {
    both(
        "second fit",
        [bytes(1024); 2],
        [
            &[(END - 512, 512, KERN), (END - 1024, 256, KERN)],
            &[(BASE, 512, KERN), (BASE + 1024, 256, KERN)],
        ],
        [
            (END - 2048, &[(END - 2048, 1280), (END - 512, 512)]),
            (BASE + 1280, &[(BASE, 512), (BASE + 1024, 1280)]),
        ],
    );
}

#[test]
fn nothing_is_given_where_nothing_fits() {
    let gaps: Vec<_> = (0..SIZE / 1280)
        .map(|i| (BASE + i * 1280 + 256, 1024, PLAIN))
        .collect();
    same("small gaps", bytes(1024), &gaps, None);
    same("all reserved", bytes(256), &[(BASE, SIZE, PLAIN)], None);
    same("no space", bytes(1024), &[(BASE, SIZE - 256, PLAIN)], None);
    same("too large", bytes(SIZE + 2), &[], None);
    empty(|early| {
        assert_eq!(allocate(early, Call::Zeroed, bytes(1024)), None);
        early.set_bottom_up(true);
        assert_eq!(allocate(early, Call::Raw, bytes(1024)), None);
        assert_eq!(early.reserved_regions(), []);
    });
}

#[test]
fn the_last_gap_is_used_up() {
    same(
        "limited space",
        bytes(256),
        &[(BASE, SIZE - 256, KERN)],
        Some((END - 256, &[(BASE, SIZE)])),
    );
}

#[test]
fn limits_hold_when_there_is_room() {
    let (min, max) = (BASE + 128, BASE + 640);
    both(
        "simple",
        [within(128, min, max); 2],
        [&[]; 2],
        [(max - 128, &[(max - 128, 128)]), (min, &[(min, 128)])],
    );
    both(
        "misaligned",
        [within(128, min, max + 2), within(128, BASE + 2, BASE + 514)],
        [&[]; 2],
        [
            (max - 128, &[(max - 128, 128)]),
            (BASE + 64, &[(BASE + 64, 128)]),
        ],
    );
    same(
        "exact address",
        within(1024, BASE + 64, BASE + 1088),
        &[],
        Some((BASE + 64, &[(BASE + 64, 1024)])),
    );
}

#[test]
fn the_lower_limit_is_dropped_and_the_upper_is_not() {
    let (min, max) = (BASE + 512, BASE + 576);
    both(
        "narrow range",
        [within(256, min, max); 2],
        [&[]; 2],
        [(max - 256, &[(max - 256, 256)]), (BASE, &[(BASE, 256)])],
    );
    same("low max", within(1024, BASE, BASE + 64), &[], None);
}

#[test]
fn limits_outside_of_memory_are_no_obstacle() {
    both(
        "cap max",
        [
            within(256, END - 1024, END + 256),
            within(256, BASE + 1024, END + 256),
        ],
        [&[]; 2],
        [
            (END - 256, &[(END - 256, 256)]),
            (BASE + 1024, &[(BASE + 1024, 256)]),
        ],
    );
    both(
        "cap min",
        [within(1024, BASE - 256, END), within(1024, BASE, END - 256)],
        [&[]; 2],
        [(END - 1024, &[(END - 1024, 1024)]), (BASE, &[(BASE, 1024)])],
    );
}

#[test]
fn between_limits_and_reservations() {
    same(
        "min reserved",
        within(64, END - 64, END),
        &[(END - 192, 128, KERN)],
        Some((END - 64, &[(END - 192, 192)])),
    );
    same(
        "max reserved",
        within(128, END - 192, END - 64),
        &[(END - 64, 64, KERN)],
        Some((END - 192, &[(END - 192, 192)])),
    );
    let reserved: &[_] = &[(END - 128, 64, KERN), (END - 384, 128, KERN)];
    both(
        "with space",
        [within(64, END - 256, END - 128); 2],
        [reserved; 2],
        [
            (END - 192, &[(END - 384, 128), (END - 192, 128)]),
            (END - 256, &[(END - 384, 192), (END - 128, 64)]),
        ],
    );
    same(
        "full merge",
        within(64, END - 192, END - 128),
        &[(END - 128, 64, KERN), (END - 320, 128, KERN)],
        Some((END - 192, &[(END - 320, 256)])),
    );
    both(
        "no space",
        [within(256, END - 192, END - 128); 2],
        [
            &[(END - 128, 64, KERN), (END - 320, 128, KERN)],
            &[(END - 128, 64, PLAIN), (END - 320, 128, PLAIN)],
        ],
        [
            (END - 576, &[(END - 576, 384), (END - 128, 64)]),
            (BASE, &[(BASE, 256), (END - 320, 128), (END - 128, 64)]),
        ],
    );
    same(
        "all reserved",
        within(256, END - 128, END - 64),
        &[(END - 64, 64, PLAIN), (BASE, SIZE - 128, PLAIN)],
        None,
    );
}

#[test]
fn from_an_address_if_possible() {
    let from = |size, min| within(size, min, 0);
    let top: (u64, &[(u64, u64)]) = (END - 64, &[(END - 64, 32)]);
    same("simple", from(32, END - 64), &[], Some(top));
    same("misaligned", from(32, END - 127), &[], Some(top));
    both(
        "high address",
        [from(32, END - 16), from(32, END - 8)],
        [&[]; 2],
        [top, (BASE, &[(BASE, 32)])],
    );
    both(
        "no space above",
        [from(64, END - 64), from(64, BASE + 128)],
        [&[(END - 64, 2, KERN)], &[(BASE + 96, SIZE - 128, PLAIN)]],
        [
            (END - 128, &[(END - 128, 66)]),
            (BASE, &[(BASE, 64), (BASE + 96, SIZE - 128)]),
        ],
    );
    both(
        "address below memory",
        [from(64, BASE - 192); 2],
        [&[(BASE + 64, SIZE - 64, KERN)], &[]],
        [(BASE, &[(BASE, SIZE)]), (BASE, &[(BASE, 64)])],
    );
}
