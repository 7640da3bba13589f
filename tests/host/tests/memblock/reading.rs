// SPDX-License-Identifier: GPL-2.0

//! Questions, iterators and texts.

use crate::machine::add;
use crate::machine::numbers;
use crate::machine::K;
use crate::machine::M;
use shadowmm_core::memblock::*;
use shadowmm_core::phys::*;

#[test]
fn questions() {
    numbers(8, |mut early| {
        assert_eq!(early.start_of_dram(), PhysAddr(0));
        assert_eq!(early.end_of_dram(), PhysAddr(0));
        assert!(!early.is_memory(PhysAddr(0)));
        add(&mut early, 4 * K + 1, 16 * K, 1);
        add(&mut early, M, M, 64);
        early.reserve(PhysAddr(M), Bytes(K)).unwrap();
        assert_eq!(early.start_of_dram(), PhysAddr(4 * K + 1));
        assert_eq!(early.end_of_dram(), PhysAddr(2 * M));
        assert!(early.is_reserved(PhysAddr(M)) && !early.is_reserved(PhysAddr(M + K)));
        assert!(early.is_region_memory(PhysAddr(M), Bytes(M)));
        assert!(!early.is_region_memory(PhysAddr(M), Bytes(M + 1)));
        assert!(early.is_region_reserved(PhysAddr(0), Bytes(M + 1)));
        assert!(!early.is_region_reserved(PhysAddr(0), Bytes(M)));
        // A page is searched by its first byte, and the range is cut downwards.
        assert_eq!(early.search_pfn_nid(Pfn(1)), None);
        let pfns = PfnRange {
            start: Pfn(1),
            end: Pfn(5),
        };
        assert_eq!(early.search_pfn_nid(Pfn(2)), Some((pfns, NodeId(1))));
        assert_eq!(early.search_pfn_nid(Pfn(u64::MAX)), None);
        assert!(early.validate_numa_coverage(Bytes(M)));
        assert!(!early.validate_numa_coverage(Bytes(M - 1)));
        assert_eq!(early.estimated_nr_free_pages(), Pages(260));
        early.reserved_mark_kern(PhysAddr(0), Bytes::MAX).unwrap();
        assert_eq!(early.estimated_nr_free_pages(), Pages(259));
    });
}

#[test]
fn iterators_go_both_ways() {
    numbers(8, |mut early| {
        add(&mut early, 0, M, 0);
        add(&mut early, 2 * M, M, 1);
        early.mark_nomap(PhysAddr(0), Bytes(4 * K)).unwrap();
        early.reserve(PhysAddr(M / 2), Bytes(2 * M)).unwrap();
        let starts = |ranges: MemRanges<'_>| -> Vec<_> {
            ranges
                .map(|(range, nid)| (range.start.0, range.size().0, nid.0))
                .collect()
        };
        let filter = early.filter(NodeId::NONE, MemblockFlags::NONE);
        let mut free = vec![(4 * K, M / 2 - 4 * K, 0), (2 * M + M / 2, M / 2, 1)];
        assert_eq!(starts(early.free_ranges(filter)), free);
        free.reverse();
        assert_eq!(starts(early.free_ranges(filter).downwards()), free);
        let filter = early.filter(NodeId(1), MemblockFlags::NONE);
        assert_eq!(starts(early.free_ranges(filter)), free[..1]);
        assert_eq!(
            starts(early.mem_ranges()),
            [(4 * K, M - 4 * K, 0), (2 * M, M, 1)]
        );
        assert_eq!(starts(early.reserved_ranges()), [(M / 2, 2 * M, -1)]);
        let pfns: Vec<_> = early
            .mem_pfn_ranges(NodeId(0))
            .map(|(r, _)| r.pages().0)
            .collect();
        assert_eq!(pfns, [1, 255]);
    });
    numbers(8, |early| {
        let filter = early.filter(NodeId::NONE, MemblockFlags::NONE);
        assert_eq!(early.free_ranges(filter).count(), 0);
        assert_eq!(early.free_ranges(filter).downwards().count(), 0);
        // A position from nowhere ends the walk.
        let (memory, reserved) = (early.mem_regions(), early.reserved_regions());
        for mut position in [7, 7 << 32, 0x8000_0000_8000_0000] {
            let up = next_mem_range(&mut position.clone(), None, memory, Some(reserved));
            assert_eq!(up, None);
            let down = next_mem_range_rev(&mut position, None, memory, Some(reserved));
            assert_eq!((down, position), (None, u64::MAX));
        }
    });
}

#[test]
fn the_dump_is_linux_s_to_the_byte() {
    numbers(8, |mut early| {
        add(&mut early, 0x1000, 0x9e000, 0);
        early.add(PhysAddr(0x100000), Bytes(0x3fedc000)).unwrap();
        early
            .mark_nomap(PhysAddr(0x3ffdb000), Bytes(0x1000))
            .unwrap();
        early.reserve_kern(PhysAddr(0), Bytes(0x10000)).unwrap();
        let mut text = String::new();
        early.dump_all(&mut text).unwrap();
        let expected = "MEMBLOCK configuration:\n\
            \x20memory size = 0x000000003ff7a000 reserved size = 0x0000000000010000\n\
            \x20memory.cnt  = 0x3\n\
            \x20memory[0x0]\t[0x0000000000001000-0x000000000009efff], 0x000000000009e000 bytes on node 0 flags: 0x0\n\
            \x20memory[0x1]\t[0x0000000000100000-0x000000003ffdafff], 0x000000003fedb000 bytes flags: 0x0\n\
            \x20memory[0x2]\t[0x000000003ffdb000-0x000000003ffdbfff], 0x0000000000001000 bytes flags: 0x4\n\
            \x20reserved.cnt  = 0x1\n\
            \x20reserved[0x0]\t[0x0000000000000000-0x000000000000ffff], 0x0000000000010000 bytes flags: 0x20\n";
        assert_eq!(text, expected);
        let mut text = String::new();
        early
            .reserved_mark_noinit(PhysAddr(0x8000), Bytes(0x1000))
            .unwrap();
        early.memory.show(&mut text).unwrap();
        early.reserved.show(&mut text).unwrap();
        let expected = "   0: 0x0000000000001000..0x000000000009efff    0 NONE\n\
            \x20  1: 0x0000000000100000..0x000000003ffdafff    x NONE\n\
            \x20  2: 0x000000003ffdb000..0x000000003ffdbfff    x NOMAP\n\
            \x20  0: 0x0000000000000000..0x0000000000007fff    x RSV_KERN\n\
            \x20  1: 0x0000000000008000..0x0000000000008fff    x RSV_NIT|RSV_KERN\n\
            \x20  2: 0x0000000000009000..0x000000000000ffff    x RSV_KERN\n";
        assert_eq!(text, expected);
        assert_eq!(MemblockFlags(0x101).to_string(), "HOTPLUG|UNKNOWN");
    });
}
