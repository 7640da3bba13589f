// SPDX-License-Identifier: GPL-2.0

//! Allocations on a machine of eight nodes, 8, 2, 4, 4, 2, 2, 8 and 2 KiB.

use crate::machine::*;
use shadowmm_core::memblock::MemblockFlags;
use shadowmm_core::phys::Bytes;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::PhysAddr;

/// What the two directions give: where any node will do in the end, and where
/// it must be the one that was asked for.
struct Expected {
    /// Top-down and bottom-up.
    any: [Option<u64>; 2],
    exact: [Option<u64>; 2],
}

const NOWHERE: [Option<u64>; 2] = [None, None];

/// `reserved` is plain; the new block stays a region of its own, because its
/// flags differ.
fn check(name: &str, reserved: &[(u64, u64)], request: Request, expected: Expected) {
    for (call, places) in [
        (Call::Zeroed, expected.any),
        (Call::Raw, expected.any),
        (Call::Exact, expected.exact),
    ] {
        for (bottom_up, place) in [(false, places[0]), (true, places[1])] {
            numa(|early| {
                early.set_bottom_up(bottom_up);
                for &(base, size) in reserved {
                    early.reserve(PhysAddr(base), Bytes(size)).unwrap();
                }
                let what = format!("{name}, {call:?}, bottom_up {bottom_up}");
                assert_eq!(allocate(early, call, request), place, "{what}");
                let mut after = reserved.to_vec();
                after.extend(place.map(|place| (place, request.size)));
                after.sort();
                assert_eq!(ranges(early.reserved_regions()), after, "{what}");
            });
        }
    }
}

fn on(nid: i32, size: u64, min: u64, max: u64) -> Request {
    Request {
        size,
        min,
        max,
        nid,
        ..ANY
    }
}

fn anywhere_on(nid: i32, size: u64) -> Request {
    on(nid, size, BASE, END)
}

/// A block of `size` at the end and at the start of a node.
fn ends_of(nid: usize, size: u64) -> [Option<u64>; 2] {
    [Some(node(nid).1 - size), Some(node(nid).0)]
}

#[test]
fn the_node_has_enough() {
    let places = ends_of(3, 1024);
    let expected = Expected {
        any: places,
        exact: places,
    };
    check("simple", &[], anywhere_on(3, 1024), expected);
}

#[test]
fn the_node_is_too_small() {
    let expected = Expected {
        any: [Some(node(6).1 - 4096), Some(BASE)],
        exact: NOWHERE,
    };
    check("small node", &[], anywhere_on(1, 4096), expected);
}

#[test]
fn the_node_is_reserved() {
    let expected = Expected {
        any: [Some(node(6).1 - 4096), Some(BASE)],
        exact: NOWHERE,
    };
    let all = (node(2).0, 4096);
    check("node reserved", &[all], anywhere_on(2, 4096), expected);
}

#[test]
fn the_node_is_half_reserved() {
    let half = (node(4).0, 1024);
    let places = [Some(node(4).1 - 256), Some(node(4).0 + 1024)];
    let expected = Expected {
        any: places,
        exact: places,
    };
    check("part reserved", &[half], anywhere_on(4, 256), expected);
    let middle = (node(4).0 + 512, 1024);
    let expected = Expected {
        any: [Some(node(7).1 - 1024), Some(BASE)],
        exact: NOWHERE,
    };
    check("fallback", &[middle], anywhere_on(4, 1024), expected);
}

#[test]
fn the_range_lies_across_two_nodes() {
    let border = node(2).1;
    let (min, max) = (border - 256, border + 256);
    let expected = Expected {
        any: ends_of(2, 512),
        exact: ends_of(2, 512),
    };
    check("the first is wanted", &[], on(2, 512, min, max), expected);
    let expected = Expected {
        any: [Some(border - 512), Some(BASE)],
        exact: NOWHERE,
    };
    check("the second is wanted", &[], on(3, 512, min, max), expected);
    let border = node(6).0;
    let (min, max) = (border - 256, border + 256);
    let expected = Expected {
        any: ends_of(2, 512),
        exact: ends_of(2, 512),
    };
    check("another is wanted", &[], on(2, 512, min, max), expected);
}

#[test]
fn the_range_and_the_node_do_not_meet() {
    let (min, max) = (node(2).0, node(5).1);
    let within = [Some(max - 64), Some(min)];
    let expected = Expected {
        any: within,
        exact: ends_of(0, 64),
    };
    check("node below", &[], on(0, 64, min, max), expected);
    let expected = Expected {
        any: within,
        exact: NOWHERE,
    };
    check("node above", &[], on(7, 64, min, max), expected);
}

#[test]
fn no_node_has_enough() {
    let expected = Expected {
        any: NOWHERE,
        exact: NOWHERE,
    };
    check("large region", &[], anywhere_on(3, SIZE / 2), expected);
}

#[test]
fn a_hole_across_two_nodes_is_no_place() {
    let hole = node(7).0 + 128 - 256;
    let reserved = [(BASE, hole - BASE), (hole + 256, END - hole - 256)];
    let expected = Expected {
        any: NOWHERE,
        exact: NOWHERE,
    };
    let request = on(-1, 256, hole, hole + 256);
    check("split, all reserved", &reserved, request, expected);
}

#[test]
fn reservations_of_the_same_node_merge() {
    for call in [Call::Zeroed, Call::Raw, Call::Exact] {
        for bottom_up in [false, true] {
            numa(|early| {
                early.set_bottom_up(bottom_up);
                let (start, end) = node(6);
                let (nid, kern) = (NodeId(6), MemblockFlags::RSRV_KERN);
                for base in [end, start - 128] {
                    early
                        .reserve_node(PhysAddr(base), Bytes(128), nid, kern)
                        .unwrap();
                }
                let request = on(6, end - start, start, end);
                assert_eq!(allocate(early, call, request), Some(start));
                let merged = [(start - 128, end - start + 256)];
                assert_eq!(ranges(early.reserved_regions()), merged);
            });
        }
    }
}

#[test]
fn alloc_node_notes_the_node() {
    for bottom_up in [false, true] {
        numa(|early| {
            early.set_bottom_up(bottom_up);
            let addr = early.alloc_node(Bytes(512), Bytes(64), NodeId(2)).unwrap();
            assert!((node(2).0..node(2).1).contains(&addr.0));
            assert_eq!(early.reserved_regions()[0].nid, NodeId(2));
        });
    }
}
