// SPDX-License-Identifier: GPL-2.0

//! firmware/: nodes, CPUs, distances, and what a map is resolved to.

use proptest::prelude::*;
use shadowmm_core::error::Error;
use shadowmm_core::firmware::*;
use shadowmm_core::phys::*;

const MIB: u64 = 1 << 20;

fn map(e820: &[(u64, u64, u32)], nodes: &[(u64, u64, i32)]) -> Box<FirmwareMap> {
    let mut map = Box::new(FirmwareMap::NEW);
    for &(start, end, kind) in e820 {
        map.e820.push(start, end - start, kind).unwrap();
    }
    for &(start, end, nid) in nodes {
        map.meminfo.push(start, end - start, nid, false).unwrap();
    }
    map
}

fn blocks(map: &FirmwareMap) -> Vec<(u64, u64, i32)> {
    let blocks = map.meminfo.blocks().iter();
    blocks.map(|b| (b.start.0, b.end.0, b.nid.0)).collect()
}

#[test]
fn joins_what_no_other_node_parts_and_cuts_to_ram() {
    let e820 = [(0, 0xa0000, 1), (MIB, 96 * MIB, 1)];
    let mut m = map(
        &e820,
        &[
            (0, 0xa0000, 0),
            (MIB, 32 * MIB, 0),
            (32 * MIB, 48 * MIB, 1),
            (48 * MIB, 64 * MIB, 0),
            (64 * MIB, 1 << 40, 1),
            (2 << 40, 3 << 40, 2),
        ],
    );
    m.resolve().unwrap();
    assert_eq!(m.numa, NumaSource::Srat);
    assert_eq!(
        blocks(&m),
        [
            (0, 32 * MIB, 0),
            (32 * MIB, 48 * MIB, 1),
            (48 * MIB, 64 * MIB, 0),
            (64 * MIB, 96 * MIB, 1),
        ]
    );
    m.validate().unwrap();
    // Node 2 had no RAM and no CPU: it is gone.
    assert_eq!(m.nodes().map(|n| n.0).collect::<Vec<_>>(), [0, 1]);
    let ranges: Vec<_> = m.ram_ranges().map(|(n, r)| (n.0, r.start.0)).collect();
    assert_eq!(
        ranges,
        [(0, 0), (0, 256), (0, 12288), (1, 8192), (1, 16384)]
    );
    assert_eq!(m.node_pages(NodeId(1)), Pages(48 * 256));
}

#[test]
fn hot_pluggable_ranges_stay_apart() {
    let mut m = map(&[(0, 64 * MIB, 1), (MIB, 2 * MIB, 2)], &[]);
    m.meminfo.push(0, 32 * MIB, 0, false).unwrap();
    m.meminfo.push(16 * MIB, 48 * MIB, 0, true).unwrap();
    m.resolve().unwrap();
    let hot: Vec<_> = m.meminfo.blocks().iter().map(|b| b.hotplug).collect();
    assert_eq!(hot, [false, true]);
    // They overlap, and still no page comes twice.
    let pages: u64 = m.ram_ranges().map(|(_, r)| r.pages().0).sum();
    assert_eq!(pages, 63 * 256);
    m.validate().unwrap();
}

/// Linux joins a node's ranges whether they can be taken out or not, and what
/// lies in the hole between them is the node's.
#[test]
fn ram_between_hot_pluggable_ranges_is_the_nodes() {
    let hot = |m: &FirmwareMap| -> Vec<(u64, u64, i32, bool)> {
        let blocks = m.meminfo.blocks().iter();
        let plain = blocks.map(|b| (b.start.0 / MIB, b.end.0 / MIB, b.nid.0, b.hotplug));
        plain.collect()
    };
    let e820 = [(0, 64 * MIB, 1), (96 * MIB, 128 * MIB, 1)];
    let ranges = |of: &[(u64, u64, i32, bool)]| {
        let mut m = map(&e820, &[]);
        for &(start, end, nid, hotplug) in of {
            let (start, size) = (start * MIB, (end - start) * MIB);
            m.meminfo.push(start, size, nid, hotplug).unwrap();
        }
        m.resolve().unwrap();
        assert_eq!(m.numa, NumaSource::Srat);
        m.validate().unwrap();
        hot(&m)
    };
    let parted = [(0, 8, 0, false), (32, 64, 0, true), (96, 128, 1, true)];
    let whole = [(0, 64, 0, false), (32, 64, 0, true), (96, 128, 1, true)];
    assert_eq!(ranges(&parted), whole);
    // What was forgotten between two of them cannot be taken out.
    let parted = [(0, 8, 0, true), (32, 64, 0, true), (96, 128, 1, false)];
    let whole = [
        (0, 8, 0, true),
        (0, 64, 0, false),
        (32, 64, 0, true),
        (96, 128, 1, false),
    ];
    assert_eq!(ranges(&parted), whole);
    // A hole in the RAM makes no difference.
    let parted = [(0, 64, 0, true), (96, 128, 0, true)];
    assert_eq!(ranges(&parted), [(0, 128, 0, true)]);
    // Another node between them does.
    let parted = [(0, 8, 0, false), (8, 64, 1, true), (96, 128, 0, true)];
    assert_eq!(ranges(&parted), parted);
}

#[test]
fn ranges_stay_sorted_when_one_takes_in_lost_ram() {
    let mut m = map(&[(0, 64 * MIB, 1), (64 * MIB, 65 * MIB, 2)], &[]);
    m.meminfo.push(0, 63 * MIB, 1, true).unwrap();
    m.meminfo.push(0, 63 * MIB + 4096, 1, false).unwrap();
    m.resolve().unwrap();
    let once = blocks(&m);
    m.resolve().unwrap();
    assert_eq!(blocks(&m), once);
    assert_eq!(m.node_pages(NodeId(1)), Pages(64 * 256));
}

#[test]
fn nodes_that_claim_the_same_are_refused() {
    let mut m = map(
        &[(0, 64 * MIB, 1), (64 * MIB, 65 * MIB, 2)],
        &[(0, 33 * MIB, 0), (32 * MIB, 64 * MIB, 1)],
    );
    assert_eq!(m.resolve(), Err(Error::MapNodeOverlap));
}

#[test]
fn without_an_srat_there_is_one_node() {
    let mut m = map(&[(0, 64 * MIB, 1), (65 * MIB, 80 * MIB, 1)], &[]);
    m.cpus.push(3, 5).unwrap();
    m.slit.set(0, 1, 30).unwrap();
    m.resolve().unwrap();
    assert_eq!(m.numa, NumaSource::Dummy);
    assert_eq!(blocks(&m), [(0, 80 * MIB, 0)]);
    assert_eq!(m.cpus.node(CpuId(3)), NodeId(0));
    assert!(!m.slit.is_set());
    let before = blocks(&m);
    m.resolve().unwrap();
    assert_eq!((m.numa, blocks(&m)), (NumaSource::Dummy, before));
}

#[test]
fn an_srat_with_a_small_gap_is_used_and_one_with_a_large_gap_is_not() {
    let e820 = [(0, 8 * MIB, 1), (9 * MIB, 64 * MIB, 1)];
    let nodes = |gap| [(gap, 8 * MIB, 1), (9 * MIB, 64 * MIB, 0)];
    let mut m = map(&e820, &nodes(MIB));
    m.resolve().unwrap();
    assert_eq!(m.numa, NumaSource::Srat);
    assert_eq!(blocks(&m), [(0, 8 * MIB, 1), (9 * MIB, 64 * MIB, 0)]);
    m.validate().unwrap();
    let mut m = map(&e820, &nodes(MIB + 4096));
    m.resolve().unwrap();
    assert_eq!(m.numa, NumaSource::Rejected);
    assert_eq!(blocks(&m), [(0, 64 * MIB, 0)]);
}

#[test]
fn a_map_without_ram_is_refused() {
    assert_eq!(map(&[], &[]).resolve(), Err(Error::MapEmpty));
    assert_eq!(map(&[(0, MIB, 2)], &[]).resolve(), Err(Error::MapEmpty));
    let mut hidden = map(&[(0, MIB, 1), (0, MIB, 2)], &[]);
    assert_eq!(hidden.resolve(), Err(Error::MapEmpty));
    let mut m = Box::new(FirmwareMap::NEW);
    m.e820
        .range_add(PhysAddr(4096), Bytes(u64::MAX), E820Type::RAM)
        .unwrap();
    assert_eq!(m.resolve(), Err(Error::MapEntryOverflow));
}

#[test]
fn validate_finds_what_is_wrong() {
    let good = [(0, MIB, 1), (MIB, 2 * MIB, 2)];
    assert_eq!(map(&good, &[(0, MIB, 0)]).validate(), Ok(()));
    let overlap = [(0, MIB, 1), (0, 2 * MIB, 2)];
    assert_eq!(
        map(&overlap, &[(0, MIB, 0)]).validate(),
        Err(Error::Corrupt)
    );
    assert_eq!(
        map(&good, &[(0, MIB, 0), (0, 10, 1)]).validate(),
        Err(Error::MapNodeOverlap)
    );
    assert_eq!(
        map(&good, &[(0, 0xff000, 0)]).validate(),
        Err(Error::MapBadNode)
    );
}

#[test]
fn push_checks_nodes_and_cpus() {
    let mut m = Box::new(FirmwareMap::NEW);
    for bad in [-1, 64, i32::MAX, i32::MIN] {
        assert_eq!(m.meminfo.push(0, 1, bad, false), Err(Error::MapBadNode));
        assert_eq!(m.cpus.push(0, bad), Err(Error::MapBadNode));
        assert_eq!(m.slit.set(0, bad, 20), Err(Error::MapBadNode));
    }
    assert_eq!(m.meminfo.push(0, 0, 0, false), Err(Error::MapEntryEmpty));
    assert_eq!(
        m.meminfo.push(2, u64::MAX, 0, false),
        Err(Error::MapEntryOverflow)
    );
    assert_eq!(
        m.cpus.push(MAX_CPUS as u32, 0),
        Err(Error::MapTooManyEntries)
    );
    for i in 0..NR_NODE_MEMBLKS as u64 {
        m.meminfo.push(i * 16, 8, 63, false).unwrap();
    }
    assert_eq!(
        m.meminfo.push(0, 1, 0, false),
        Err(Error::MapTooManyEntries)
    );
    m.cpus.push(511, 63).unwrap();
    m.cpus.push(511, 2).unwrap();
    assert_eq!((m.cpus.count(), m.cpus.node(CpuId(511))), (1, NodeId(2)));
    assert_eq!(m.cpus.node(CpuId(u32::MAX)), NodeId::NONE);
    m.clear();
    assert!(m.meminfo.is_empty() && m.cpus.count() == 0);
}

#[test]
fn distances() {
    let mut slit = Box::new(Slit::NEW);
    let d = |s: &Slit, a, b| s.distance(NodeId(a), NodeId(b));
    assert_eq!((d(&slit, 3, 3), d(&slit, 3, 4)), (10, 20));
    for (from, to, bad) in [(0, 0, 11), (0, 1, 9), (0, 1, 0), (0, 1, 256)] {
        assert_eq!(slit.set(from, to, bad), Err(Error::MapBadDistance));
    }
    assert!(!slit.is_set());
    slit.set(0, 1, 255).unwrap();
    slit.set(2, 1, 10).unwrap();
    assert_eq!((d(&slit, 0, 1), d(&slit, 1, 0)), (255, 20));
    let old = (*slit).clone();
    assert_eq!(
        slit.set_rows(2, &[10, 21, 21, 11]),
        Err(Error::MapBadDistance)
    );
    assert_eq!(slit.set_rows(2, &[10, 21, 21]), Err(Error::MapBadNode));
    assert_eq!(slit.set_rows(65, &[10; 65 * 65]), Err(Error::MapBadNode));
    assert_eq!(d(&slit, 0, 1), d(&old, 0, 1));
    slit.set_rows(2, &[10, 21, 31, 10]).unwrap();
    assert_eq!((d(&slit, 0, 1), d(&slit, 1, 0)), (21, 31));
    slit.set_rows(0, &[]).unwrap();
    assert!(slit_valid(2, &[10, 21, 31, 10]) && slit_valid(0, &[]));
    assert!(!slit_valid(2, &[10, 10, 10, 10]) && !slit_valid(2, &[10, 21, 31]));
}

#[test]
fn proximity_domains_are_numbered_as_they_are_met() {
    let mut pxm = ProximityMap::new();
    assert_eq!(pxm.node(7), NodeId::NONE);
    let met: Vec<_> = [7, 0, 7, 255, 1].map(|p| pxm.map(p).unwrap().0).to_vec();
    assert_eq!(met, [0, 1, 0, 2, 3]);
    assert_eq!(
        (pxm.node(255), pxm.node(1 << 20)),
        (NodeId(2), NodeId::NONE)
    );
    assert_eq!(pxm.map(256), Err(Error::MapBadNode));
    for p in 100..160 {
        pxm.map(p).unwrap();
    }
    assert_eq!(pxm.map(200), Err(Error::MapBadNode));
}

proptest! {
    /// Whatever is pushed, a resolved map is valid, gives every page of RAM
    /// one node, and is resolved for good.
    #[test]
    fn resolved_maps_are_valid(
        e820 in prop::collection::vec((0..256u64, 1..64u64, prop::sample::select(vec![1u32, 1, 1, 2, 3, 12])), 1..12),
        nodes in prop::collection::vec((0..256u64, 1..128u64, 0..4i32, any::<bool>()), 0..8),
    ) {
        let unit = 64 << 10;
        let mut m = Box::new(FirmwareMap::NEW);
        for (addr, size, kind) in e820 {
            m.e820.push(addr * unit, size * unit, kind).unwrap();
        }
        for (addr, size, nid, hotplug) in nodes {
            m.meminfo.push(addr * unit, size * unit, nid, hotplug).unwrap();
        }
        match m.resolve() {
            Ok(()) => {
                m.validate().unwrap();
                let pages: u64 = m.ram_ranges().map(|(_, r)| r.pages().0).sum();
                prop_assert_eq!(Pages(pages), m.e820.ram_pages());
                let before = blocks(&m);
                m.resolve().unwrap();
                prop_assert_eq!(blocks(&m), before);
            }
            Err(error) => prop_assert!(matches!(error, Error::MapEmpty | Error::MapNodeOverlap)),
        }
    }
}
