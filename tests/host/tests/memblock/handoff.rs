// SPDX-License-Identifier: GPL-2.0

//! The hand-off: which blocks, and what stays reserved.

use crate::machine::add;
use crate::machine::numbers;
use crate::machine::K;
use crate::machine::M;
use shadowmm_core::memblock::*;
use shadowmm_core::phys::*;

/// What a hand-off said: reserved page ranges with nodes, and blocks.
#[derive(Default)]
struct Log {
    reserved: Vec<(u64, u64, i32)>,
    blocks: Vec<(u64, u8)>,
}

impl HandOffSink for Log {
    fn reserved(&mut self, pfns: PfnRange, nid: NodeId) {
        self.reserved.push((pfns.start.0, pfns.end.0, nid.0));
    }

    fn free(&mut self, pfn: Pfn, order: PageOrder) {
        self.blocks.push((pfn.0, order.get()));
    }
}

#[test]
fn the_hand_off_gives_aligned_blocks_in_order() {
    numbers(16, |mut early| {
        add(&mut early, 0, 0x9f000, 0);
        add(&mut early, 0x100000, 0xf00000, 1);
        early.reserve_kern(PhysAddr(0), Bytes(0x1800)).unwrap();
        early.reserve(PhysAddr(0x9e800), Bytes(0x800)).unwrap();
        early
            .reserve_node(
                PhysAddr(0x400000),
                Bytes(0x800000),
                NodeId(1),
                MemblockFlags::NONE,
            )
            .unwrap();
        early.reserve(PhysAddr(0xd00000), Bytes(0x1000)).unwrap();
        early
            .reserved_mark_noinit(PhysAddr(0xd00000), Bytes(0x1000))
            .unwrap();
        early
            .mark_nomap(PhysAddr(0xf00000), Bytes(0x100000))
            .unwrap();
        early
            .mark_hotplug(PhysAddr(0xe00000), Bytes(0x1000))
            .unwrap();
        early.set_movable_node(true);
        let mut log = Log::default();
        let retired = early.free_all(Pfn(0xe80), &mut log);
        // What must not be mapped comes first; what initialises itself not at all.
        let reserved = [
            (0xf00, 0x1000, 1),
            (0, 2, 0),
            (0x9e, 0x9f, 0),
            (0x400, 0xc00, 1),
        ];
        assert_eq!(log.reserved, reserved);
        let blocks = [
            (0x2, 1),
            (0x4, 2),
            (0x8, 3),
            (0x10, 4),
            (0x20, 5),
            (0x40, 6),
            (0x80, 4),
            (0x90, 3),
            (0x98, 2),
            (0x9c, 1),
            (0x100, 8),
            (0x200, 9),
            (0xc00, 8),
            (0xd01, 0),
            (0xd02, 1),
            (0xd04, 2),
            (0xd08, 3),
            (0xd10, 4),
            (0xd20, 5),
            (0xd40, 6),
            (0xd80, 7),
            (0xe00, 7),
        ];
        assert_eq!(log.blocks, blocks);
        let pages = blocks.iter().map(|(_, order)| 1 << order).sum();
        assert_eq!(retired.free_pages(), Pages(pages));
        // It can still be read: the reserved regions have their nodes now.
        let nodes: Vec<_> = retired.reserved_regions().iter().map(|r| r.nid.0).collect();
        assert_eq!(nodes, [0, 0, 1, 1]);
        assert!(retired
            .mem_regions()
            .iter()
            .all(|r| !r.flags.intersects(MemblockFlags::HOTPLUG)));
    });
}

#[test]
fn block_zero_and_odd_ends() {
    for (start, end, expected) in [
        (0, 1024, vec![(0, 10)]),
        (
            0,
            1023,
            vec![
                (0, 9),
                (512, 8),
                (768, 7),
                (896, 6),
                (960, 5),
                (992, 4),
                (1008, 3),
                (1016, 2),
                (1020, 1),
                (1022, 0),
            ],
        ),
        (1023, 2049, vec![(1023, 0), (1024, 10), (2048, 0)]),
        (3, 3, vec![]),
    ] {
        numbers(4, |mut early| {
            add(&mut early, start << 12, (end - start) << 12, 0);
            let mut log = Log::default();
            early.free_all(Pfn(1 << 40), &mut log);
            assert_eq!(log.blocks, expected);
        });
    }
    // Less than a page is not handed over, nor what lies behind the limit.
    numbers(4, |mut early| {
        add(&mut early, 4 * K + 1, 8 * K - 2, 0);
        let mut blocks = Vec::new();
        let mut sink = (|_, _| (), |pfn: Pfn, _| blocks.push(pfn));
        assert_eq!(
            early.free_all(Pfn(1 << 40), &mut sink).free_pages(),
            Pages(0)
        );
        assert_eq!(blocks, []);
    });
    numbers(4, |mut early| {
        add(&mut early, 0, M, 0);
        let mut log = Log::default();
        early.free_all(Pfn(0), &mut log);
        assert_eq!(log.blocks, []);
    });
}

#[test]
fn a_reservation_outside_of_memory_is_on_the_first_node() {
    numbers(4, |mut early| {
        add(&mut early, M, M, 3);
        early.reserve(PhysAddr(0), Bytes(4 * K)).unwrap();
        let mut log = Log::default();
        early.free_all(Pfn(512), &mut log);
        assert_eq!(log.reserved, [(0, 1, 3)]);
    });
}
