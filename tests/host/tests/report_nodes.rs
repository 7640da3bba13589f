// SPDX-License-Identifier: GPL-2.0

//! The files of nodes and the fragmentation of zones against the running kernel:
//! what a stock 7.3.4 kernel has written is read into the model, and the model
//! must write it again to the byte (`data/proc/node-files/`).

mod report_fixture;

use report_fixture::text;
use report_fixture::Fixture;
use shadowmm_core::buddy::MigrateType;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::Pages;
use shadowmm_core::report::*;
use std::collections::HashMap;

macro_rules! recorded {
    ($file:literal) => {
        include_str!(concat!("../../data/proc/node-files/", $file))
    };
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn number(word: &str) -> u64 {
    word.trim_end_matches(',').parse().expect(word)
}

fn kind_of(name: &str) -> ZoneType {
    let name = name.trim_end_matches(',');
    let mut kinds = ZoneType::ALL.into_iter();
    kinds.find(|kind| kind.name() == name).expect(name)
}

/// The zones of `/proc/buddyinfo` with their free blocks.
fn read_buddyinfo() -> Fixture {
    let mut fixture = Fixture::with_nodes(&[0, 1]);
    for line in recorded!("buddyinfo").lines() {
        let words = words(line);
        let zone = fixture.zone(number(words[1]) as i32, kind_of(words[3]));
        zone.present = Pages(1);
        for (slot, word) in zone.nr_free.iter_mut().zip(&words[4..]) {
            *slot = number(word);
        }
    }
    fixture
}

#[test]
fn the_indices_are_the_hosts() {
    let fixture = read_buddyinfo();
    let unusable = text(|out| extfrag::write_unusable(out, &fixture));
    assert_eq!(unusable, recorded!("extfrag/unusable_index"));
    let extfrag = text(|out| extfrag::write_extfrag(out, &fixture));
    assert_eq!(extfrag, recorded!("extfrag/extfrag_index"));
}

#[test]
fn indices_below_zero_are_printed_as_linux_does() {
    let mut fixture = Fixture::with_nodes(&[0]);
    let zone = fixture.zone(0, ZoneType::Normal);
    zone.present = Pages(1);
    // One page and nothing else: 1000 - (1000 / 2^order + 1000) / 1.
    zone.nr_free[0] = 1;
    let extfrag = text(|out| extfrag::write_extfrag(out, &fixture));
    let expected = "Node 0, zone   Normal -1.000  0.-500  0.-250  0.-125  0.-62  0.-31  \
                    0.-15  0.-07  0.-03  0.-01  0.000 \n";
    assert_eq!(extfrag, expected);
}

/// `/proc/pagetypeinfo` of both nodes.
fn read_pagetypeinfo() -> Fixture {
    let mut fixture = read_buddyinfo();
    for nid in [0, 1] {
        fixture.nodes[nid].present = Pages(1);
    }
    for line in recorded!("pagetypeinfo").lines() {
        let words = words(line);
        if words.first() != Some(&"Node") {
            continue;
        }
        let place = (NodeId(number(words[1]) as i32), kind_of(words[3]));
        let model = fixture
            .page_types
            .entry(place)
            .or_insert(PageTypeModel::NONE);
        if words[4] == "type" {
            let mut types = MigrateType::ALL.into_iter();
            let mt = types.find(|mt| mt.name() == words[5]).expect(line);
            for (slot, word) in model.free[mt.index()].iter_mut().zip(&words[6..]) {
                *slot = number(word);
            }
        } else {
            for (slot, word) in model.blocks.iter_mut().zip(&words[4..]) {
                *slot = number(word);
            }
        }
    }
    fixture
}

#[test]
fn pagetypeinfo_is_the_hosts() {
    let fixture = read_pagetypeinfo();
    let written = text(|out| pagetypeinfo::write(out, &fixture));
    assert_eq!(written, recorded!("pagetypeinfo"));
    // Its lists are those that buddyinfo counts: both are of one moment.
    for zone in fixture.zones.iter().filter(|zone| zone.is_populated()) {
        let types = fixture.page_types[&(zone.nid, zone.kind)];
        for (order, &blocks) in zone.nr_free.iter().enumerate() {
            let sum: u64 = types.free.iter().map(|free| free[order]).sum();
            assert_eq!(
                sum, blocks,
                "node {} {:?} order {order}",
                zone.nid, zone.kind
            );
        }
    }
}

#[test]
fn each_types_fragmentation_is_that_of_its_own_lists() {
    let fixture = read_pagetypeinfo();
    let written = text(|out| extfrag::write_types(out, &fixture));
    let (unusable, extfrag) = written.split_once("\n\n").expect("two tables");
    let populated = fixture.zones.iter().filter(|zone| zone.is_populated());
    let lines = populated.count() * MigrateType::ALL.len();
    for (table, width) in [(unusable, 5), (extfrag, 6)] {
        assert_eq!(table.lines().count(), 1 + lines);
        for line in table.lines().skip(1) {
            // As wide as a line of /proc/pagetypeinfo before the numbers.
            assert_eq!(line.find(", type ").map(|at| at + 20), Some(44), "{line}");
            assert!(words(line).len() == 6 + 11, "{line}");
            assert_eq!(line[44..].trim_end().len() + 1, 11 * (width + 1), "{line}");
        }
    }
    // Node 0's DMA zone has no movable block below order 9, and 3.5 blocks of
    // order 10 in all.
    let line = "Node    0, zone      DMA, type      Movable";
    let line = unusable.lines().find(|l| l.starts_with(line)).unwrap();
    assert!(line.ends_with(" 0.000 0.000 0.142 "), "{line}");
    // Nothing of it is Reclaimable: all of nothing is unusable.
    let line = "Node    0, zone      DMA, type  Reclaimable 1.000 1.000 ";
    assert!(unusable.lines().any(|l| l.starts_with(line)));
}

/// The counters of a node, from its own `vmstat`.
fn read_node(nid: i32, file: &str) -> Fixture {
    let mut fixture = Fixture::with_nodes(&[0, 1]);
    // What another node has is not to be seen.
    let other = fixture.zone(1 - nid, ZoneType::Normal);
    other.stats.set(ZoneStat::FreePages, 12345);
    other.numa.set(NumaStat::Hit, 12345);
    fixture.set_node_stat(1 - nid, NodeStat::Mapped, 12345);
    for line in file.lines() {
        let words = words(line);
        let value = number(words[1]);
        // The writer has to add up the zones.
        for (kind, part) in [
            (ZoneType::Dma32, value / 3),
            (ZoneType::Normal, value - value / 3),
        ] {
            let zone = fixture.zone(nid, kind);
            if let Some(item) = ZoneStat::from_name(words[0]) {
                zone.stats.set(item, part);
            } else if let Some(item) = NumaStat::from_name(words[0]) {
                zone.numa.set(item, part);
            }
        }
        if let Some(item) = NodeStat::from_name(words[0]) {
            let unit = if item.prints_in_huge_pages() { 512 } else { 1 };
            fixture.set_node_stat(nid, item, value * unit);
        }
    }
    fixture
}

#[test]
fn vmstat_and_numastat_of_a_node_are_the_hosts() {
    for (nid, vmstat, numastat) in [
        (0, recorded!("node0/vmstat"), recorded!("node0/numastat")),
        (1, recorded!("node1/vmstat"), recorded!("node1/numastat")),
    ] {
        let mut fixture = read_node(nid, vmstat);
        let written = text(|out| NodeFile::Vmstat.write(out, &fixture, NodeId(nid)));
        assert_eq!(written, vmstat);

        let values: HashMap<&str, u64> = numastat
            .lines()
            .map(|line| (words(line)[0], number(words(line)[1])))
            .collect();
        let zone = fixture.zone(nid, ZoneType::Normal);
        zone.numa = NumaStats::ZERO;
        for (name, item) in NUMASTAT {
            zone.numa.set(item, values[name]);
        }
        fixture.zone(nid, ZoneType::Dma32).numa = NumaStats::ZERO;
        let written = text(|out| NodeFile::Numastat.write(out, &fixture, NodeId(nid)));
        assert_eq!(written, numastat);
    }
}

#[test]
fn meminfo_of_a_node_is_the_hosts() {
    for (nid, file) in [
        (0, recorded!("node0/meminfo")),
        (1, recorded!("node1/meminfo")),
    ] {
        let values: HashMap<&str, u64> = file
            .lines()
            .map(|line| (words(line)[2], number(words(line)[3])))
            .collect();
        let pages = |name: &str| {
            assert_eq!(values[name] % 4, 0, "{name}");
            values[name] / 4
        };
        let mut fixture = Fixture::with_nodes(&[0, 1]);
        fixture.zone(1 - nid, ZoneType::Normal).managed = Pages(12345);
        let zone = fixture.zone(nid, ZoneType::Normal);
        zone.managed = Pages(pages("MemTotal:"));
        zone.stats.set(ZoneStat::FreePages, pages("MemFree:"));
        zone.stats.set(ZoneStat::Mlock, pages("Mlocked:"));
        zone.stats.set(ZoneStat::Unaccepted, pages("Unaccepted:"));
        let other_reclaimable = pages("KReclaimable:") - pages("SReclaimable:");
        for (item, value) in [
            (NodeStat::Swapcached, pages("SwapCached:")),
            (NodeStat::ActiveAnon, pages("Active(anon):")),
            (NodeStat::InactiveAnon, pages("Inactive(anon):")),
            (NodeStat::ActiveFile, pages("Active(file):")),
            (NodeStat::InactiveFile, pages("Inactive(file):")),
            (NodeStat::Unevictable, pages("Unevictable:")),
            (NodeStat::Dirty, pages("Dirty:")),
            (NodeStat::Writeback, pages("Writeback:")),
            (NodeStat::FilePages, pages("FilePages:")),
            (NodeStat::Mapped, pages("Mapped:")),
            (NodeStat::AnonPages, pages("AnonPages:")),
            (NodeStat::Shmem, pages("Shmem:")),
            (NodeStat::KernelStack, values["KernelStack:"]),
            (NodeStat::PageTablePages, pages("PageTables:")),
            (NodeStat::SecPageTablePages, pages("SecPageTables:")),
            (NodeStat::KernelMiscReclaimable, other_reclaimable),
            (NodeStat::SlabReclaimable, pages("SReclaimable:")),
            (NodeStat::SlabUnreclaimable, pages("SUnreclaim:")),
            (NodeStat::AnonTransparentHugepages, pages("AnonHugePages:")),
            (NodeStat::ShmemHugepages, pages("ShmemHugePages:")),
            (NodeStat::ShmemPmdmapped, pages("ShmemPmdMapped:")),
            (NodeStat::FileHugepages, pages("FileHugePages:")),
            (NodeStat::FilePmdmapped, pages("FilePmdMapped:")),
            (NodeStat::BalloonPages, pages("Balloon:")),
            (NodeStat::GpuActive, pages("GPUActive:")),
            (NodeStat::GpuReclaim, pages("GPUReclaim:")),
        ] {
            fixture.set_node_stat(nid, item, value);
        }
        let written = text(|out| NodeFile::Meminfo.write(out, &fixture, NodeId(nid)));
        assert_eq!(written, file);
    }
}

#[test]
fn fallbacks_are_listed_as_requests_try_them() {
    let mut fixture = Fixture::with_nodes(&[0]);
    fixture.zone(0, ZoneType::Normal).present = Pages(1);
    let mut model = FallbackModel::default();
    let (unmovable, movable) = (MigrateType::Unmovable, MigrateType::Movable);
    model.claimed[unmovable.index()][movable.index()] = 12;
    model.stolen[movable.index()][unmovable.index()] = 3;
    let place = (NodeId(0), ZoneType::Normal);
    fixture.fallbacks.insert(place, model);
    let written = text(|out| fallbacks::write(out, &fixture));
    let expected = "\
Node    0, zone   Normal, from  Reclaimable, to    Unmovable, claimed        0, stolen        0
Node    0, zone   Normal, from      Movable, to    Unmovable, claimed       12, stolen        0
Node    0, zone   Normal, from  Reclaimable, to      Movable, claimed        0, stolen        0
Node    0, zone   Normal, from    Unmovable, to      Movable, claimed        0, stolen        3
Node    0, zone   Normal, from    Unmovable, to  Reclaimable, claimed        0, stolen        0
Node    0, zone   Normal, from      Movable, to  Reclaimable, claimed        0, stolen        0
";
    assert_eq!(written, expected);
}
