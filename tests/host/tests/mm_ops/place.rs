// SPDX-License-Identifier: GPL-2.0

//! Where mappings go that have no place of their own.

use super::world::*;
use shadowmm_core::error::Error;
use shadowmm_core::mm::Layout;
use shadowmm_core::mm::LayoutRequest;
use shadowmm_core::mm::MmConfig;
use shadowmm_core::mm::VirtRange;

/// The window of all addresses of a process.
const ALL: LayoutRequest = LayoutRequest {
    window: VirtRange::new(0, (1 << 47) - PAGE),
    seed: 0,
    is_legacy: false,
    stack: 8 << 20,
    guard_gap: 1 << 20,
    rnd_bits: 28,
};

#[test]
fn the_bases_of_all_addresses_are_linux_bases() {
    // As with norandmaps: 128 MiB below the end, and a third of it.
    let layout = Layout::pick(&ALL);
    assert_eq!(layout.base, (1 << 47) - PAGE - (128 << 20));
    assert_eq!(layout.legacy_base, 0x2aaa_aaaa_b000);
    let large = Layout::pick(&LayoutRequest {
        stack: 1 << 30,
        ..ALL
    });
    assert_eq!(large.base, (1 << 47) - PAGE - (1 << 30) - (1 << 20));
    let endless = Layout::pick(&LayoutRequest {
        stack: u64::MAX,
        ..ALL
    });
    let size = (1u64 << 47) - PAGE;
    assert_eq!(endless.base, (size - size / 6 * 5 + PAGE - 1) & !(PAGE - 1));
}

#[test]
fn a_seed_shifts_the_bases_and_always_by_the_same() {
    let of = |seed| Layout::pick(&LayoutRequest { seed, ..ALL });
    assert_eq!(of(7), of(7));
    assert_ne!(of(7), of(8));
    let shift = of(0).base - of(7).base;
    assert!(shift <= (1 << 40) + (16 << 30) + (8 << 20), "{shift:x}");
}

#[test]
fn from_above_below_the_last_and_into_the_highest_hole() {
    let world = World::new();
    let top = (SIZE - (128 << 20)) / PAGE;
    let map = |pages| world.anywhere(pages, READ, PRIVATE).unwrap();
    assert_eq!(map(2), top - 2);
    assert_eq!(map(3), top - 5);
    world.unmap(top - 4, 2).unwrap();
    assert_eq!(map(3), top - 8);
    assert_eq!(map(2), top - 4);
    world.finish();
}

#[test]
fn from_below_in_the_legacy_layout() {
    let world = World::with(&MmConfig {
        is_legacy: true,
        ..MmConfig::default()
    });
    let third = (SIZE / 3).div_ceil(PAGE);
    let map = |pages| world.anywhere(pages, READ, PRIVATE).unwrap();
    assert_eq!(map(2), third);
    assert_eq!(map(3), third + 2);
    world.unmap(third, 2).unwrap();
    assert_eq!(map(3), third + 5);
    assert_eq!(map(1), third);
    world.finish();
}

#[test]
fn a_hint_is_followed_where_it_is_free() {
    let world = World::new();
    let map = |page, pages| world.request(page, pages, READ, PRIVATE).unwrap();
    assert_eq!(map(100, 4), 100);
    assert_ne!(map(102, 4), 102);
    assert_eq!(map(104, 4), 104);
    world.finish();
}

#[test]
fn before_a_stack_a_gap_stays_free() {
    let world = World::new();
    let stack = PRIVATE | FIXED | GROWSDOWN;
    world.request(1000, 10, READ | WRITE, stack).unwrap();
    // 256 pages.
    let map = |page, pages| world.request(page, pages, READ, PRIVATE).unwrap();
    assert_eq!(map(740, 4), 740);
    assert_ne!(map(750, 4), 750);
    // A place that is asked for is had.
    world.map(990, 1, READ);
    world.finish();
}

#[test]
fn huge_ones_begin_huge_pages() {
    let world = World::new();
    world.anywhere(1, READ, PRIVATE).unwrap();
    // Shared memory is placed as it comes.
    let page = world.anywhere(512, READ, SHARED).unwrap();
    assert_ne!((BASE / PAGE + page) % 512, 0);
    let page = world.anywhere(512, READ, PRIVATE).unwrap();
    assert_eq!((BASE / PAGE + page) % 512, 0);
    world.finish();
}

#[test]
fn when_there_is_no_room_below_the_base_it_is_looked_for_above_the_other() {
    let world = World::new();
    let top = (SIZE - (128 << 20)) / PAGE;
    world.map(0, top, READ);
    let page = world.anywhere(4, READ | EXEC, PRIVATE).unwrap();
    assert_eq!(page, top);
    let rest = SIZE / PAGE - top - 4;
    world.anywhere(rest, READ, PRIVATE).unwrap();
    let none = world.anywhere(1, READ, PRIVATE);
    assert_eq!(none, Err(Error::NoAddressRoom));
    world.finish();
}
