// SPDX-License-Identifier: GPL-2.0

//! firmware/: a map keeps its face when it is scaled.

use proptest::prelude::*;
use shadowmm_core::error::Error;
use shadowmm_core::firmware::*;
use shadowmm_core::phys::*;
use shadowmm_host_tests::leaked_pages;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn log(text: &str) -> Box<FirmwareMap> {
    let mut map = Box::new(FirmwareMap::NEW);
    parse(text, &mut map, &mut ParseReport::default()).unwrap();
    map
}

fn pc(shares: &[u64], cpus: u32) -> Box<FirmwareMap> {
    let shares: Vec<Pages> = shares.iter().map(|&s| Pages(s)).collect();
    let mut map = Box::new(FirmwareMap::NEW);
    builtin(&mut map, &shares, cpus).unwrap();
    map
}

fn machines() -> Vec<(&'static str, Box<FirmwareMap>)> {
    vec![
        ("laptop", log(include_str!("../../data/dmesg/laptop.log"))),
        (
            "server",
            log(include_str!("../../data/dmesg/server-snc.log")),
        ),
        ("vm", log(include_str!("../../data/dmesg/vm.log"))),
        ("pc 1", pc(&[1], 1)),
        ("pc 2", pc(&[3, 3], 2)),
        ("pc 4", pc(&[1, 2, 3, 10], 16)),
        ("pc 64", pc(&[1; 64], 512)),
    ]
}

/// Entries and the gaps between them, as (type, size).
fn shape(map: &FirmwareMap) -> Vec<(u32, u64)> {
    let mut shape = Vec::new();
    let mut at = 0;
    for e in map.e820.entries() {
        if e.addr.0 > at {
            shape.push((0, e.addr.0 - at));
        }
        shape.push((e.kind.0, e.size.0));
        at = e.range().end.0;
    }
    shape
}

/// What must hold of any map that could be scaled.
fn check(before: &FirmwareMap, map: &FirmwareMap, scaled: &Scaled, backing: u64) {
    map.validate().unwrap();
    let ram: u64 = map.ram_ranges().map(|(_, r)| r.pages().0).sum();
    assert_eq!(Pages(ram), scaled.ram);
    assert!(ram <= backing, "{ram} of {backing}");
    assert!(
        ram * 100 >= backing * 98 || backing < 100,
        "{ram} of {backing}"
    );

    // Nothing vanishes, nothing changes its place, all is whole pages.
    let (old, new) = (shape(before), shape(map));
    assert_eq!(
        old.iter().map(|s| s.0).collect::<Vec<_>>(),
        new.iter().map(|s| s.0).collect::<Vec<_>>()
    );
    assert!(new.iter().all(|s| s.1 >= PAGE_SIZE && s.1 % PAGE_SIZE == 0));
    assert!(before.nodes().eq(map.nodes()));
    for nid in before.nodes().filter(|&n| before.has_memory(n)) {
        assert!(map.node_pages(nid) >= Pages(1));
    }
    let order = |m: &FirmwareMap| {
        let mut blocks: Vec<_> = m
            .meminfo
            .blocks()
            .iter()
            .map(|b| (b.start, b.nid))
            .collect();
        blocks.sort();
        blocks.into_iter().map(|b| b.1).collect::<Vec<_>>()
    };
    assert_eq!(order(before), order(map));

    // The function is the one that moved the boundaries, and is monotone.
    for (a, b) in before.e820.entries().iter().zip(map.e820.entries()) {
        assert_eq!(scaled.to_scaled(a.addr), b.addr);
        assert_eq!(scaled.to_scaled(a.range().end), b.range().end);
    }
    let mut points: Vec<u64> = before
        .e820
        .entries()
        .iter()
        .flat_map(|e| [e.addr.0, e.addr.0 + e.size.0 / 3, e.range().end.0 - 1])
        .chain([0, 1, 16 * MIB, 4 * GIB, 1 << 52, u64::MAX])
        .collect();
    points.sort();
    let images: Vec<_> = points
        .iter()
        .map(|&p| scaled.to_scaled(PhysAddr(p)))
        .collect();
    assert!(images.is_sorted());
    // The limits are the images of theirs but for a hole below.
    for (old, new) in [(16 * MIB, scaled.dma_limit), (4 * GIB, scaled.dma32_limit)] {
        let image = scaled.to_scaled(PhysAddr(old)).pfn_up();
        assert!(new <= image && (image - new).0 < 512);
        let between = PfnRange {
            start: new,
            end: image,
        };
        assert!(map
            .ram_ranges()
            .all(|(_, r)| r.intersect(between).is_empty()));
    }
    assert!(map.ram_ranges().all(|(_, r)| r.end.0 <= u32::MAX.into()));
}

/// The scaled map, how it was scaled, and the map before.
pub type Outcome = (Box<FirmwareMap>, Box<Scaled>, Box<FirmwareMap>);

pub fn scaled(map: &FirmwareMap, backing: u64) -> Result<Outcome, Error> {
    let mut before = Box::new(map.clone());
    before.resolve()?;
    let mut after = before.clone();
    let mut scaled = Box::new(Scaled::NEW);
    scale(&mut after, Pages(backing), &mut scaled)?;
    check(&before, &after, &scaled, backing);
    Ok((after, scaled, before))
}

#[test]
fn all_machines_at_all_sizes() {
    for (name, map) in machines() {
        for mib in [4, 16, 33, 64, 100, 128, 256, 512, 1000, 4096, 65536] {
            let backing = mib * MIB / PAGE_SIZE;
            if name == "pc 64" && mib < 16 {
                continue;
            }
            let (after, scaled, before) = scaled(&map, backing)
                .unwrap_or_else(|error| panic!("{name} at {mib} MiB: {error}"));
            if mib < 64 {
                continue;
            }
            // Nodes keep their shares: within the page block that a boundary
            // may move by, at either end.
            let total = before.e820.ram_bytes().0 as f64;
            for nid in before.nodes() {
                let own = before.ram_ranges().filter(|r| r.0 == nid);
                let own: u64 = own.map(|(_, r)| r.bytes().size().0).sum();
                let want = own as f64 / total * scaled.ram.0 as f64;
                let is = after.node_pages(nid).0 as f64;
                assert!((is - want).abs() < 600.0, "{name} {mib} {nid}: {is} {want}");
            }
            // Holes and RAM keep theirs: the large ones within 7 % or a block.
            let factor = scaled.ram.0 as f64 * 4096.0 / total;
            for (old, new) in shape(&before).iter().zip(shape(&after)) {
                if old.1 as f64 * factor > 16e6 {
                    let off = new.1 as f64 - old.1 as f64 * factor;
                    let allowed = 3e6 + 0.07 * old.1 as f64 * factor;
                    assert!(off.abs() < allowed, "{name} {mib}: {old:?} {new:?}");
                }
            }
            // There is a DMA zone, on a page block, of a MiB or more.
            let dma: u64 = after
                .ram_ranges()
                .map(|(_, r)| r.start.0..r.end.0.min(scaled.dma_limit.0))
                .map(|r| r.end.saturating_sub(r.start))
                .sum();
            let small_node = after.node_pages(NodeId(0)).0 < 2048;
            assert!(dma >= 256 || small_node, "{name} {mib}: DMA has {dma}");
            assert!(
                scaled.dma_limit.0 % 512 == 0 || small_node,
                "{name} {mib}: {}",
                scaled.dma_limit
            );
            let dma32 = scaled.dma32_limit.0;
            assert!(dma32 % 512 == 0 || small_node, "{name} {mib}: {dma32}");
            if !small_node {
                // The first MiB is what it was.
                assert_eq!(scaled.to_scaled(PhysAddr(MIB)), PhysAddr(MIB));
                assert_eq!(scaled.to_scaled(PhysAddr(0xa0000)), PhysAddr(0xa0000));
            }
        }
    }
}

#[test]
fn the_pc_in_two_times_128_mib() {
    let (after, scaled, _) = scaled(&pc(&[32768, 32768], 2), 65536).unwrap();
    let mut text = String::new();
    after.e820.print("shadow", &mut text).unwrap();
    let nodes: Vec<_> = after
        .ram_ranges()
        .map(|(n, r)| (n.0, r.start.0, r.end.0))
        .collect();
    // Large ranges lie on page blocks.
    for &(_, start, end) in nodes.iter().filter(|r| r.2 - r.1 >= 4096) {
        assert!(start % 512 == 0 || start == 256 || start == scaled.dma_limit.0);
        assert!(end % 512 == 0 || Some(end) == nodes.last().map(|n| n.2));
    }
    assert_eq!(nodes[0], (0, 0, 0x9f));
    assert_eq!(scaled.dma_limit, Pfn(512));
    assert_eq!(after.cpus.node(CpuId(1)), NodeId(1));
    assert_eq!(after.slit.distance(NodeId(0), NodeId(1)), 21);
    assert!(text.contains("ACPI data") && text.contains("ACPI NVS"));
}

#[test]
fn a_scaled_map_lies_on_its_backing() {
    for shares in [&[32768usize][..], &[16384, 16384], &[4096, 12288, 9000]] {
        for (name, map) in machines() {
            let mut backing = Backing::new();
            for (node, &pages) in shares.iter().enumerate() {
                let run = BackingRun::from_pages(leaked_pages(pages), NodeId(node as i32));
                backing.push(run).unwrap();
            }
            let (after, scaled, _) = scaled(&map, backing.pages().0).unwrap();
            let mut region = Box::new(Region::EMPTY);
            let laid = region.lay(&backing, after.ram_ranges());
            assert_eq!(laid, Ok(()), "{name}");
            assert_eq!(region.pages(), scaled.ram);
            // Page blocks of large ranges are the host's, while runs last.
            let large = region
                .segments()
                .iter()
                .filter(|s| s.range.pages().0 >= 4096);
            let congruent = |s: &&Segment| s.range.start.0 % 512 == s.host_pfn % 512;
            let (all, good) = (large.clone().count(), large.filter(congruent).count());
            if name.starts_with("pc") && name != "pc 64" && shares.len() < 3 {
                assert_eq!(good, all, "{name} {shares:?}");
            }
        }
    }
}

#[test]
fn each_node_of_the_pc_lies_on_one_of_the_host() {
    let mut backing = Backing::new();
    for node in 0..2 {
        let run = BackingRun::from_pages(leaked_pages(16384), NodeId(node));
        backing.push(run).unwrap();
    }
    let (after, _, _) = scaled(&pc(&[16384, 16384], 2), 32768).unwrap();
    let mut region = Box::new(Region::EMPTY);
    region.lay(&backing, after.ram_ranges()).unwrap();
    assert!(region.segments().iter().all(|s| s.nid == s.host_node));
}

#[test]
fn stretches_as_well() {
    let mut map = Box::new(FirmwareMap::NEW);
    map.e820.push(0, 0xa0000, 1).unwrap();
    map.e820.push(MIB, 255 * MIB, 1).unwrap();
    let (after, scaled, before) = scaled(&map, GIB / PAGE_SIZE).unwrap();
    assert!(after.e820.ram_bytes() > Bytes(before.e820.ram_bytes().0 * 39 / 10));
    assert!(scaled.factor_num > scaled.factor_den);
    let four = scaled.to_scaled_size(Bytes(MIB)).0;
    assert!((MIB * 398 / 100..MIB * 4).contains(&four), "{four}");
}

#[test]
fn what_cannot_be_scaled_is_refused() {
    let too_small = scaled(&pc(&[1], 1), 2).err();
    assert_eq!(too_small, Some(Error::RegionTooSmall));
    assert_eq!(scaled(&pc(&[1], 1), 0).err(), Some(Error::RegionTooSmall));
    let mut sparse = Box::new(FirmwareMap::NEW);
    assert_eq!(scaled(&sparse, 65536).err(), Some(Error::MapEmpty));
    sparse.e820.push(0, GIB, 1).unwrap();
    sparse.e820.push(1 << 52, GIB, 1).unwrap();
    assert_eq!(scaled(&sparse, 65536).err(), Some(Error::MapTooSparse));
    // The same far away, but no RAM there: cut short.
    let mut tail = Box::new(FirmwareMap::NEW);
    tail.e820.push(0, GIB, 1).unwrap();
    tail.e820.push(1 << 52, GIB, 2).unwrap();
    tail.e820.push(1 << 53, GIB, 3).unwrap();
    let (after, _, _) = scaled(&tail, 65536).unwrap();
    assert_eq!(after.e820.len(), 3);
    let end = after.e820.entries()[2].range().end;
    assert!(end <= Pfn(u32::MAX.into()).addr());
}

#[test]
fn absurd_maps() {
    let mut page = Box::new(FirmwareMap::NEW);
    page.e820.push(0x5000, 0x1000, 1).unwrap();
    scaled(&page, 65536).unwrap();
    scaled(&page, 1).unwrap();
    let mut bytes = Box::new(FirmwareMap::NEW);
    for i in 0..100 {
        bytes.e820.push(i * 3, 1, 1).unwrap();
    }
    scaled(&bytes, 65536).unwrap();
    scaled(&bytes, 101).unwrap();
    assert_eq!(scaled(&bytes, 99).err(), Some(Error::RegionTooSmall));
    let mut huge = Box::new(FirmwareMap::NEW);
    huge.e820.push(0, u64::MAX, 1).unwrap();
    scaled(&huge, 65536).unwrap();
    // As many pieces as there can be.
    let mut many = Box::new(FirmwareMap::NEW);
    for i in 0..E820_MAX_ENTRIES as u64 {
        many.e820.push(i * 64 * MIB + 7, 48 * MIB, 1).unwrap();
    }
    for i in 0..NR_NODE_MEMBLKS as u64 {
        let (start, nid) = (i * 160 * MIB + 4096, (i % 64) as i32);
        many.meminfo.push(start, 160 * MIB, nid, false).unwrap();
    }
    let (after, _, _) = scaled(&many, 65536).unwrap();
    assert_eq!(after.numa, NumaSource::Srat);
    assert_eq!(after.nodes().count(), 64);
}

#[test]
fn the_builtin_pc() {
    let map = pc(&[1, 3], 4);
    assert_eq!(map.numa, NumaSource::Srat);
    map.validate().unwrap();
    // The nodes' RAM is as the shares, to a MiB.
    let (one, three) = (map.node_pages(NodeId(0)).0, map.node_pages(NodeId(1)).0);
    assert!(
        (3 * one).abs_diff(three) <= 4 * MIB / PAGE_SIZE,
        "{one} {three}"
    );
    let nodes: Vec<_> = map.cpus.iter().map(|c| c.nid.0).collect();
    assert_eq!(nodes, [0, 0, 1, 1]);
    let kinds: Vec<_> = shape(&map).iter().map(|s| s.0).collect();
    assert_eq!(
        kinds,
        [1, 2, 0, 2, 1, 3, 4, 2, 0, 2, 0, 2, 0, 2, 0, 2, 1, 2]
    );
    let mut empty = Box::new(FirmwareMap::NEW);
    for bad in [&[][..], &[Pages(0)]] {
        assert_eq!(builtin(&mut empty, bad, 1), Err(Error::MapEmpty));
    }
    let many = [Pages(1); 65];
    assert_eq!(builtin(&mut empty, &many, 1), Err(Error::MapBadNode));
    // A node without a run of its own has CPUs and no memory.
    let map = pc(&[5, 0, 5], 6);
    assert!(!map.has_memory(NodeId(1)));
    assert_eq!(map.nodes().count(), 3);
    pc(&[1, u64::MAX / 2, 1], 10_000).validate().unwrap();
    pc(&[u64::MAX, u64::MAX], 0).validate().unwrap();
}

proptest! {
    #[test]
    fn sizes_scale_exactly(size: u64, num in 1..=u64::MAX, den in 1..=u64::MAX) {
        let mut scaled = Box::new(Scaled::NEW);
        scaled.factor_num = num;
        scaled.factor_den = den;
        let want = u128::from(size) * u128::from(num) / u128::from(den);
        let want = u64::try_from(want).unwrap_or(u64::MAX);
        prop_assert_eq!(scaled.to_scaled_size(Bytes(size)), Bytes(want));
    }

    #[test]
    fn any_map(
        e820 in prop::collection::vec((any::<u64>(), any::<u64>(), 0..52u32, 0..48u32, prop::sample::select(vec![1u32, 1, 1, 2, 3, 12, 0xefff_ffff])), 1..20),
        nodes in prop::collection::vec((any::<u64>(), any::<u64>(), 0..52u32, 0..48u32, 0..4i32), 0..4),
        backing in prop::sample::select(vec![1u64, 10, 100, 1000, 4096, 10_000, 16384, 70_000, 1 << 20, 1 << 32, u64::MAX]),
    ) {
        let mut map = Box::new(FirmwareMap::NEW);
        for (addr, size, a, s, kind) in e820 {
            let _ = map.e820.push(addr % (1 << a), size % (1 << s), kind);
        }
        for (addr, size, a, s, nid) in nodes {
            let _ = map.meminfo.push(addr % (1 << a), size % (1 << s), nid, false);
        }
        // Only what can't fit u32 frames leaves room unused.
        if backing > 1 << 31 {
            let mut scaled = Box::new(Scaled::NEW);
            if scale(&mut map, Pages(backing), &mut scaled).is_ok() {
                map.validate().unwrap();
            }
        } else {
            match scaled(&map, backing) {
                Ok(_) => {}
                Err(error) => prop_assert!(matches!(
                    error,
                    Error::MapEmpty | Error::MapNodeOverlap | Error::RegionTooSmall | Error::MapTooSparse
                )),
            }
        }
    }

    #[test]
    fn page_like_maps(
        sizes in prop::collection::vec((1..4096u64, prop::sample::select(vec![0u32, 1, 1, 2, 3])), 1..24),
        cuts in prop::collection::vec(1..40_000u64, 0..5),
        backing in 512..200_000u64,
    ) {
        let mut map = Box::new(FirmwareMap::NEW);
        let mut at = 0;
        for (size, kind) in sizes {
            if kind != 0 {
                map.e820.push(at * MIB, size * MIB, kind).unwrap();
            }
            at += size;
        }
        let mut cuts = cuts;
        cuts.sort();
        cuts.dedup();
        let mut from = 0;
        for (nid, &cut) in cuts.iter().chain([&(1 << 30)]).enumerate() {
            map.meminfo.push(from * MIB, (cut - from) * MIB, nid as i32, false).unwrap();
            from = cut;
        }
        match scaled(&map, backing) {
            Ok(_) => {}
            Err(error) => prop_assert_eq!(error, Error::MapEmpty),
        }
    }
}
