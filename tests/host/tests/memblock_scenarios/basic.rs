// SPDX-License-Identifier: GPL-2.0

//! Adding and removing: the arrays alone, most of them far from any memory.

use crate::machine::*;
use shadowmm_core::error::Result;
use shadowmm_core::memblock::EarlyMemory;
use shadowmm_core::memblock::MemblockFlags;
use shadowmm_core::memblock::MemblockKind;
use shadowmm_core::memblock::ALLOC_ANYWHERE;
use shadowmm_core::memblock::INIT_MEMBLOCK_REGIONS;
use shadowmm_core::phys::Bytes;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::PhysAddr;

const K: u64 = 1 << 10;
const M: u64 = 1 << 20;
const G: u64 = 1 << 30;
const MAX: u64 = u64::MAX;
/// What a doubled array of the first size takes, in whole pages.
const DOUBLED: u64 = 8 * K;

type Change = fn(&mut EarlyMemory<'_, '_>, PhysAddr, Bytes) -> Result<()>;

/// The same for `memory` and for `reserved`: enter `entered`, take `taken`
/// out, and see what is left.
fn check(entered: &[(u64, u64)], taken: &[(u64, u64)], left: &[(u64, u64)]) {
    let kinds: [(MemblockKind, Change, Change); 2] = [
        (
            MemblockKind::Memory,
            |early, base, size| early.add(base, size),
            |early, base, size| early.remove(base, size),
        ),
        (
            MemblockKind::Reserved,
            |early, base, size| early.reserve(base, size),
            |early, base, size| early.phys_free(base, size),
        ),
    ];
    for (kind, enter, take) in kinds {
        empty(|early| {
            for &(base, size) in entered {
                enter(early, PhysAddr(base), Bytes(size)).unwrap();
            }
            for &(base, size) in taken {
                take(early, PhysAddr(base), Bytes(size)).unwrap();
            }
            let what = format!("{kind:?}: {entered:x?} - {taken:x?}");
            assert_eq!(ranges(early.table(kind).as_slice()), left, "{what}");
            let sum = left.iter().map(|(_, size)| size).sum();
            assert_eq!(early.table(kind).total_size, Bytes(sum), "{what}");
            early.validate().unwrap();
        });
    }
}

#[test]
fn the_beginning() {
    empty(|early| {
        for (kind, name) in [
            (MemblockKind::Memory, "memory"),
            (MemblockKind::Reserved, "reserved"),
        ] {
            assert_eq!(early.table(kind).cnt(), 0);
            assert_eq!(early.table(kind).max(), INIT_MEMBLOCK_REGIONS);
            assert_eq!(early.table(kind).name(), name);
        }
        assert!(!early.bottom_up);
        assert_eq!(early.current_limit, ALLOC_ANYWHERE);
        early.set_bottom_up(true);
        assert!(early.bottom_up);
        early.set_bottom_up(false);
        assert!(!early.bottom_up);
    });
}

#[test]
fn entering() {
    check(&[(G, 4 * M)], &[], &[(G, 4 * M)]);
    let apart = [(G, 8 * K), (G + 16 * K, 8 * K)];
    check(&apart, &[], &apart);
    // Over the start, over the end, inside, twice, in between.
    check(
        &[(512 * M, G), (256 * M, 512 * M)],
        &[],
        &[(256 * M, G + 256 * M)],
    );
    check(
        &[(128 * M, 512 * M), (256 * M, G)],
        &[],
        &[(128 * M, G + 128 * M)],
    );
    check(&[(8 * M, 32 * M), (16 * M, M)], &[], &[(8 * M, 32 * M)]);
    check(&[(16 * K, 2 * M), (16 * K, 2 * M)], &[], &[(16 * K, 2 * M)]);
    let between = (G + 8 * K, 8 * K);
    check(&[apart[0], apart[1], between], &[], &[(G, 24 * K)]);
    // Over several, with what lies between them.
    check(&[apart[0], apart[1], (G - K, G)], &[], &[(G - K, G)]);
    // Past the end of the address space, and nothing at all.
    check(&[(MAX - M, 2 * M)], &[], &[(MAX - M, M)]);
    check(&[(G, 0), (MAX, 1)], &[], &[]);
}

#[test]
fn a_node_and_flags_are_kept() {
    empty(|early| {
        early
            .add_node(
                PhysAddr(M),
                Bytes(16 * M),
                NodeId(1),
                MemblockFlags::HOTPLUG,
            )
            .unwrap();
        let region = early.mem_regions()[0];
        assert_eq!((region.base, region.size), (PhysAddr(M), Bytes(16 * M)));
        assert_eq!(region.nid, NodeId(1));
        assert_eq!(region.flags, MemblockFlags::HOTPLUG);
    });
}

#[test]
fn removing() {
    check(
        &[(2 * K, 4 * K), (128 * K, 4 * M)],
        &[(2 * K, 4 * K)],
        &[(128 * K, 4 * M)],
    );
    check(&[(512 * K, 4 * M)], &[(64 * M, G)], &[(512 * K, 4 * M)]);
    // Over the start, over the end, inside, all of it.
    check(
        &[(32 * M, 32 * M)],
        &[(16 * M, 32 * M)],
        &[(48 * M, 16 * M)],
    );
    check(&[(2 * M, 64 * M)], &[(32 * M, 256 * M)], &[(2 * M, 30 * M)]);
    check(
        &[(M, 32 * M)],
        &[(16 * M, M)],
        &[(M, 15 * M), (17 * M, 16 * M)],
    );
    check(&[(2 * K, 4 * K)], &[(2 * K, 4 * K)], &[]);
    // From one into the next; past the end of the address space.
    check(
        &[(16 * M, 32 * M), (64 * M, 64 * M)],
        &[(32 * M, 64 * M)],
        &[(16 * M, 16 * M), (96 * M, 32 * M)],
    );
    check(
        &[(MAX - 2 * M, 2 * M)],
        &[(MAX - M, 2 * M)],
        &[(MAX - 2 * M, M)],
    );
    check(&[(G, M)], &[(G, 0), (G + K, 0)], &[(G, M)]);
}

#[test]
fn the_memory_array_grows_into_the_memory_it_describes() {
    empty(|early| {
        early.allow_resize();
        early.add(PhysAddr(BASE), Bytes(DOUBLED)).unwrap();
        let mut base = BASE + DOUBLED + 64;
        for i in 0..INIT_MEMBLOCK_REGIONS {
            early.add(PhysAddr(base), Bytes(64)).unwrap();
            base += 128;
            assert_eq!(early.memory.cnt(), i + 2);
        }
        assert_eq!(early.memory.max(), 2 * INIT_MEMBLOCK_REGIONS);
        assert_eq!(ranges(early.reserved_regions()), [(BASE, DOUBLED)]);
        assert_eq!(early.reserved_regions()[0].flags, MemblockFlags::RSRV_KERN);
        let place = early.array_range(MemblockKind::Memory).unwrap();
        assert_eq!((place.start.0, place.size().0), (BASE, DOUBLED));
        early.add(PhysAddr(16 * K), Bytes(16 * K)).unwrap();
        assert_eq!(early.mem_regions()[0].base, PhysAddr(16 * K));
        assert_eq!(early.memory.cnt(), INIT_MEMBLOCK_REGIONS + 2);
        assert_eq!(early.memory.max(), 2 * INIT_MEMBLOCK_REGIONS);
        early.validate().unwrap();
    });
}

/// 129 reservations, that at `skip` last; and one more behind.
fn reserve_one_too_many(early: &mut EarlyMemory<'_, '_>, skip: u64, place: impl Fn(u64) -> u64) {
    let reserve = |early: &mut EarlyMemory<'_, '_>, i| {
        early.reserve(PhysAddr(place(i)), Bytes(SIZE)).unwrap();
    };
    let last = INIT_MEMBLOCK_REGIONS as u64;
    for (n, i) in (0..=last).filter(|i| *i != skip).enumerate() {
        reserve(early, i);
        assert_eq!(early.reserved.cnt(), n + 1);
    }
    assert_eq!(early.reserved.max(), INIT_MEMBLOCK_REGIONS);
    reserve(early, skip);
    assert_eq!(early.reserved.max(), 2 * INIT_MEMBLOCK_REGIONS);
    assert_eq!(early.reserved.cnt(), INIT_MEMBLOCK_REGIONS + 2);
    let sum = (last + 1) * SIZE + DOUBLED;
    assert_eq!(early.reserved_size(), Bytes(sum));
    early.reserve(PhysAddr(16 * K), Bytes(16 * K)).unwrap();
    assert_eq!(early.reserved_regions()[0].base, PhysAddr(16 * K));
    assert_eq!(early.reserved_size(), Bytes(sum + 16 * K));
    early.validate().unwrap();
}

#[test]
fn the_reserved_array_grows_wherever_the_last_one_goes() {
    for skip in 0..=INIT_MEMBLOCK_REGIONS as u64 {
        plain(|early| {
            early.allow_resize();
            reserve_one_too_many(early, skip, |i| 128 * K + i * 2 * SIZE);
        });
    }
}

#[test]
fn the_reserved_array_keeps_out_of_what_is_being_reserved() {
    for skip in (0..=INIT_MEMBLOCK_REGIONS as u64).step_by(16) {
        // The first and the last place are 130 times 64 KiB apart.
        backed(131 * 16, |early| {
            early.add(PhysAddr(BASE), Bytes(SIZE)).unwrap();
            early.allow_resize();
            // The range that comes last is memory, too, and above the other.
            let place = |i| BASE + (i + 1) * 2 * SIZE;
            early.add(PhysAddr(place(skip)), Bytes(SIZE)).unwrap();
            reserve_one_too_many(early, skip, place);
            let array = early.reserved_regions()[1];
            assert_eq!(array.end(), PhysAddr(END));
            assert_eq!(array.size, Bytes(DOUBLED));
        });
    }
}

#[test]
fn trimming() {
    let check = |entered: &[(u64, u64)], left: &[(u64, u64)]| {
        empty(|early| {
            for &(base, size) in entered {
                early.add(PhysAddr(base), Bytes(size)).unwrap();
            }
            early.trim_memory(Bytes(64));
            assert_eq!(ranges(early.mem_regions()), left);
        });
    };
    check(&[(64, 256)], &[(64, 256)]);
    check(&[(64, 128), (256, 62)], &[(64, 128)]);
    check(&[(64, 128), (258, 126)], &[(64, 128), (320, 64)]);
    check(&[(64, 128), (256, 126)], &[(64, 128), (256, 64)]);
}

#[test]
fn overlapping() {
    empty(|early| {
        early.add(PhysAddr(G), Bytes(4 * M)).unwrap();
        let meets = |base, size| early.memory.overlaps(PhysAddr(base), Bytes(size));
        for (base, size) in [(M, M), (2 * G, M), (G - M, M), (G + 4 * M, M), (G, 0)] {
            assert!(!meets(base, size), "{base:x} {size:x}");
        }
        for (base, size) in [
            (G - M, 2 * M),
            (G + 2 * M, 2 * M),
            (G, 4 * M),
            (G - 2 * M, 8 * M),
            (G + M, M),
            (G + M, 0),
        ] {
            assert!(meets(base, size), "{base:x} {size:x}");
        }
    });
}

#[test]
fn nodes_of_reserved_regions_survive_a_growing_array() {
    plain(|early| {
        early.allow_resize();
        let half = Bytes(SIZE / 2);
        let middle = BASE + SIZE / 2;
        for (base, nid) in [(BASE, 0), (middle, 1)] {
            let kind = MemblockKind::Memory;
            early
                .set_node(PhysAddr(base), half, kind, NodeId(nid))
                .unwrap();
        }
        let memory: Vec<_> = early
            .mem_regions()
            .iter()
            .map(|r| (r.base.0, r.nid.0))
            .collect();
        assert_eq!(memory, [(BASE, 0), (middle, 1)]);
        for i in 0..125 {
            early.reserve(PhysAddr(BASE + 16 * i), Bytes(8)).unwrap();
        }
        early.reserve(PhysAddr(middle - 8), Bytes(16)).unwrap();
        // As memmap_init_reserved_pages() does it.
        loop {
            let max = early.reserved.max();
            let memory = early.mem_regions().to_vec();
            for region in memory {
                let kind = MemblockKind::Reserved;
                early
                    .set_node(region.base, region.size, kind, region.nid)
                    .unwrap();
            }
            if max == early.reserved.max() {
                break;
            }
        }
        assert_eq!(early.reserved.max(), 2 * INIT_MEMBLOCK_REGIONS);
        for region in early.reserved_regions() {
            let nid = (region.base.0 >= middle) as i32;
            assert_eq!(region.nid, NodeId(nid), "{region:?}");
        }
    });
}
