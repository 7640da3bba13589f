// SPDX-License-Identifier: GPL-2.0

//! report/: each text from a model of a few numbers, to the byte.

mod report_fixture;

use proptest::prelude::*;
use report_fixture::text;
use report_fixture::Fixture;
use shadowmm_core::error::Error;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::Bytes;
use shadowmm_core::phys::CpuId;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::Pages;
use shadowmm_core::phys::Pfn;
use shadowmm_core::phys::PhysAddr;
use shadowmm_core::phys::PhysRange;
use shadowmm_core::phys::MAX_NODES;
use shadowmm_core::report::*;
use std::fmt;
use std::fmt::Write;

/// Two nodes with a DMA zone on the first and a Normal zone on both; node 1 has
/// no CPU.
fn two_nodes() -> Fixture {
    let mut fixture = Fixture::with_nodes(&[0, 1]);
    let dma = fixture.zone(0, ZoneType::Dma);
    dma.start_pfn = Pfn(1);
    dma.spanned = Pages(4095);
    dma.present = Pages(3998);
    dma.managed = Pages(3840);
    dma.watermark = [Pages(10), Pages(20), Pages(30), Pages(40)];
    dma.lowmem_reserve = [Pages(0), Pages(0), Pages(50), Pages(60)];
    dma.nr_free = [1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3];
    dma.stats.set(ZoneStat::FreePages, 3081);
    for nid in [0, 1] {
        let normal = fixture.zone(nid, ZoneType::Normal);
        normal.start_pfn = Pfn(4096 + 28672 * nid as u64);
        normal.spanned = Pages(28672);
        normal.present = Pages(28672);
        normal.managed = Pages(28000);
        normal.watermark = [Pages(100), Pages(125), Pages(150), Pages(175)];
        normal.boost = Pages(7);
        normal.nr_free = [0, 1234567, 0, 0, 0, 0, 0, 0, 0, 0, 27];
        normal.stats.set(ZoneStat::FreePages, 27648);
    }
    fixture.nodes[0].cpus.insert(CpuId(0));
    fixture.nodes[0].cpus.insert(CpuId(3));
    fixture
}

#[test]
fn buddyinfo_shows_populated_zones() {
    let expected = "\
Node 0, zone      DMA      1      0      2      0      0      0      0      0      0      0      3 
Node 0, zone   Normal      0 1234567      0      0      0      0      0      0      0      0     27 
Node 1, zone   Normal      0 1234567      0      0      0      0      0      0      0      0     27 
";
    assert_eq!(text(|out| buddyinfo::write(out, &two_nodes())), expected);
}

#[test]
fn zoneinfo_shows_every_zone_and_the_node_once() {
    let text = text(|out| zoneinfo::write(out, &two_nodes()));
    let heads: Vec<&str> = text.lines().filter(|l| l.starts_with("Node")).collect();
    assert_eq!(
        heads,
        [
            "Node 0, zone      DMA",
            "Node 0, zone    DMA32",
            "Node 0, zone   Normal",
            "Node 0, zone  Movable",
            "Node 0, zone   Device",
            "Node 1, zone      DMA",
            "Node 1, zone    DMA32",
            "Node 1, zone   Normal",
            "Node 1, zone  Movable",
            "Node 1, zone   Device",
        ]
    );
    let zones: Vec<&str> = text.split("Node ").skip(1).collect();
    let with_node: Vec<usize> = (0..zones.len())
        .filter(|&i| zones[i].contains("per-node stats"))
        .collect();
    assert_eq!(with_node, [0, 7]);
    let populated: Vec<usize> = (0..zones.len())
        .filter(|&i| zones[i].contains("pagesets"))
        .collect();
    assert_eq!(populated, [0, 2, 7]);
    // The boost raises what is printed; the reserve against Device is Movable's.
    assert!(zones[7].contains("\n        min      107\n        low      132\n"));
    assert!(zones[0].contains("\n        protection: (0, 0, 50, 60, 60)\n"));
    assert!(zones[4].ends_with("\n        cma      0\n        protection: (0, 0, 0, 0, 0)\n"));
    assert!(zones[0].contains(
        "
  pagesets
    cpu: 0
              count:    0
              high:     0
              batch:    1
              high_min: 0
              high_max: 0
  vm stats threshold: 0
    cpu: 1
"
    ));
}

#[test]
fn a_node_without_memory_shows_its_zones_without_counters() {
    let text = text(|out| zoneinfo::write(out, &Fixture::with_nodes(&[3])));
    assert_eq!(text.matches("Node 3, zone ").count(), 5);
    assert!(!text.contains("per-node stats"));
    assert!(!text.contains("start_pfn"));
}

#[test]
fn meminfo_of_plain_memory() {
    let text = text(|out| meminfo::write(out, &two_nodes()));
    let kib = |name: &str| -> u64 {
        let line = text.lines().find(|l| l.starts_with(name)).expect(name);
        line[16..]
            .trim()
            .trim_end_matches(" kB")
            .trim()
            .parse()
            .unwrap()
    };
    assert_eq!(kib("MemTotal:"), (3840 + 56000) * 4);
    assert_eq!(kib("MemFree:"), (3081 + 2 * 27648) * 4);
    // The reserve is DMA's 60 against Movable and its high watermark, and the
    // high watermarks of the others without their boost.
    let reserve = 60 + 30 + 150 + 150;
    assert_eq!(kib("MemAvailable:"), (3081 + 2 * 27648 - reserve) * 4);
    assert_eq!(text.lines().count(), 59);
}

#[test]
fn a_zone_reserves_no_more_than_it_manages() {
    let mut fixture = two_nodes();
    fixture.zone(0, ZoneType::Dma).lowmem_reserve[3] = Pages(1 << 40);
    assert_eq!(Totals::of(&fixture).reserve, Pages(3840 + 300));
    // Reserves for zones that are not above do not count.
    let dma = fixture.zone(0, ZoneType::Dma);
    dma.lowmem_reserve = [Pages(1000), Pages(5), Pages(0), Pages(0)];
    assert_eq!(Totals::of(&fixture).reserve, Pages(5 + 30 + 300));
}

#[test]
fn available_counts_half_the_cache_or_all_above_the_watermarks() {
    let fixture = two_nodes();
    let totals = Totals::of(&fixture);
    let free = totals.free() - totals.reserve;
    let low = 20 + 132 + 132;
    assert_eq!(totals.low_watermarks, Pages(low));
    let mut nodes = NodeStats::ZERO;
    nodes.set(NodeStat::ActiveFile, 5);
    assert_eq!(totals.available(&nodes), free + Pages(3));
    nodes.set(NodeStat::InactiveFile, 100_000);
    assert_eq!(totals.available(&nodes), free + Pages(100_005 - low));
    nodes.set(NodeStat::SlabReclaimable, 9);
    nodes.set(NodeStat::KernelMiscReclaimable, 1);
    assert_eq!(totals.available(&nodes), free + Pages(100_005 - low + 5));
    // Less than the reserve is nothing.
    let mut poor = totals;
    poor.stats.set(ZoneStat::FreePages, poor.reserve.0 - 1);
    assert_eq!(poor.available(&NodeStats::ZERO), Pages::ZERO);
}

#[test]
fn sums_saturate() {
    let mut fixture = two_nodes();
    for nid in [0, 1] {
        let zone = fixture.zone(nid, ZoneType::Normal);
        zone.managed = Pages::MAX;
        zone.boost = Pages::MAX;
        zone.watermark = [Pages::MAX; 4];
        zone.lowmem_reserve = [Pages::MAX; 4];
        zone.stats.set(ZoneStat::FreePages, u64::MAX);
        fixture.set_node_stat(nid, NodeStat::InactiveFile, u64::MAX);
    }
    for write in [
        meminfo::write,
        zoneinfo::write,
        vmstat::write,
        buddyinfo::write,
    ] {
        assert!(!text(|out| write(out, &fixture)).is_empty());
    }
}

#[test]
fn vmstat_sums_zones_and_nodes() {
    let mut fixture = two_nodes();
    fixture.zone(0, ZoneType::Dma).numa.set(NumaStat::Hit, 3);
    fixture.zone(1, ZoneType::Normal).numa.set(NumaStat::Hit, 4);
    fixture.set_node_stat(0, NodeStat::Vmalloc, 10);
    fixture.set_node_stat(1, NodeStat::Vmalloc, 11);
    fixture.set_node_stat(0, NodeStat::ShmemHugepages, 1023);
    fixture.events.set(Event::pgalloc(ZoneType::Dma32), 12);
    fixture.events.set(Event::allocstall(ZoneType::Movable), 13);
    let text = text(|out| vmstat::write(out, &fixture));
    for line in [
        "nr_free_pages 58377",
        "numa_hit 7",
        "nr_vmalloc 21",
        "nr_shmem_hugepages 1",
        "pgalloc_dma32 12",
        "allocstall_movable 13",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}");
    }
    assert!(text.ends_with("\nnr_unstable 0\n"));
}

#[test]
fn counters_have_one_name_each() {
    let mut names = Vec::new();
    vmstat::for_each_counter(&two_nodes(), &mut |counter| {
        names.push(counter.name);
        Ok(())
    })
    .unwrap();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
    for &item in NodeStat::ALL {
        assert_eq!(NodeStat::from_name(item.name()), Some(item));
    }
    for &item in Event::ALL {
        assert_eq!(Event::from_name(item.name()), Some(item));
    }
    assert_eq!(ZoneStat::from_name("nr_free_page"), None);
    // As long as the ABI's record of a counter has room for.
    assert!(names.iter().all(|name| name.len() < 40));
}

fn range(start: u64, end: u64) -> PhysRange {
    PhysRange {
        start: PhysAddr(start),
        end: PhysAddr(end),
    }
}

fn iomem_of(e820: &[(PhysRange, &'static str)], crash: &[PhysRange]) -> String {
    let mut out = String::new();
    iomem::for_each_resource(e820.iter().copied(), crash, &mut |resource| {
        Ok(iomem::write_resource(&mut out, resource)?)
    })
    .unwrap();
    out
}

#[test]
fn iomem_puts_the_crash_kernel_into_its_memory() {
    let e820 = [
        (range(0, 0x1000), "Reserved"),
        (range(0x1000, 0x9fc00), "System RAM"),
        (range(0x100000, 0x7000_0000), "System RAM"),
        (range(0x9000_0000, 0x9000_0000), "Reserved"),
        (range(0x1_0000_0000, 0x1_8000_0000), "System RAM"),
        (range(0xfd_0000_0000, u64::MAX), "Reserved"),
    ];
    let crash = [
        range(0x1_1000_0000, 0x1_2000_0000),
        range(0x4000_0000, 0x5000_0000),
        range(0x3000_0000, 0x3000_0000),
        range(0x2000_0000, 0x3000_0000),
        range(0x6fff_f000, 0x7000_1000),
    ];
    assert_eq!(
        iomem_of(&e820, &crash),
        "\
00000000-00000fff : Reserved
00001000-0009fbff : System RAM
0009fc00-0009ffff : RAM buffer
00100000-6fffffff : System RAM
  20000000-2fffffff : Crash kernel
  40000000-4fffffff : Crash kernel
100000000-17fffffff : System RAM
  110000000-11fffffff : Crash kernel
fd00000000-fffffffffffffffe : Reserved
"
    );
}

#[test]
fn iomem_takes_a_crash_kernel_as_large_as_its_memory() {
    let all = range(0x100000, 0x200000);
    assert_eq!(
        iomem_of(&[(all, "System RAM")], &[all]),
        "00100000-001fffff : System RAM\n  00100000-001fffff : Crash kernel\n"
    );
}

#[test]
fn iomem_buffers_odd_ends_of_ram() {
    // Up to 64 KiB below 1 MiB, 1 MiB below 16 MiB, 64 MiB above; around what
    // lies there, and once only where two ends have the same border.
    let e820 = [
        (range(0, 0x8000), "System RAM"),
        (range(0x9000, 0xa000), "Reserved"),
        (range(0xb000, 0xc000), "System RAM"),
        (range(0xd000, 0xe000), "ACPI Tables"),
        (range(0x10_0000, 0xff_f000), "System RAM"),
        (range(0x100_0000, 0x100_1000), "System RAM"),
        (range(0x3ff_f000, 0x500_0000), "Reserved"),
        (range(0x1000_0000, 0x1400_0000), "System RAM"),
        (range(0xff_0000_0000, u64::MAX - 1), "System RAM"),
    ];
    assert_eq!(
        iomem_of(&e820, &[]),
        "\
00000000-00007fff : System RAM
00008000-00008fff : RAM buffer
00009000-00009fff : Reserved
0000a000-0000afff : RAM buffer
0000b000-0000bfff : System RAM
0000c000-0000cfff : RAM buffer
0000d000-0000dfff : ACPI Tables
0000e000-0000ffff : RAM buffer
00100000-00ffefff : System RAM
00fff000-00ffffff : RAM buffer
01000000-01000fff : System RAM
01001000-03ffefff : RAM buffer
03fff000-04ffffff : Reserved
10000000-13ffffff : System RAM
ff00000000-fffffffffffffffd : System RAM
"
    );
}

#[test]
fn iomem_indents_no_deeper_than_linux() {
    let deep = ResourceModel {
        start: PhysAddr(1),
        end: PhysAddr(2),
        depth: u32::MAX,
        name: "deep",
    };
    assert_eq!(
        text(|out| iomem::write_resource(out, &deep)),
        format!("{:16}00000001-00000002 : deep\n", "")
    );
}

#[test]
fn nodes_as_numactl_prints_them() {
    let mut fixture = two_nodes();
    for node in &mut fixture.nodes {
        node.start_pfn = Pfn(1 + node.nid.0 as u64);
        node.spanned = Pages(40000);
        node.present = Pages(39000);
        node.managed = Pages(38911);
        node.free = Pages(255);
        node.push_fallback(node.nid);
        node.push_fallback(NodeId(1 - node.nid.0));
    }
    assert_eq!(
        text(|out| nodes::write(out, &fixture)),
        "\
available: 2 nodes (0-1)
node 0 cpus: 0 3
node 0 size: 151 MB
node 0 free: 0 MB
node 1 cpus:
node 1 size: 151 MB
node 1 free: 0 MB
node distances:
node     0    1 
   0:   10   20 
   1:   20   10 

node 0 start_pfn: 1
node 0 spanned: 40000
node 0 present: 39000
node 0 managed: 38911
node 0 zones: DMA Normal
node 0 fallback: 0 1

node 1 start_pfn: 2
node 1 spanned: 40000
node 1 present: 39000
node 1 managed: 38911
node 1 zones: Normal
node 1 fallback: 1 0
"
    );
}

#[test]
fn nodes_are_listed_as_ranges() {
    let list = |nids: &[i32]| -> String {
        let text = text(|out| nodes::write(out, &Fixture::with_nodes(nids)));
        text.lines().next().unwrap().to_string()
    };
    assert_eq!(list(&[0]), "available: 1 nodes (0)");
    assert_eq!(
        list(&[0, 2, 3, 4, 7, 63]),
        "available: 6 nodes (0,2-4,7,63)"
    );
    assert_eq!(list(&[]), "available: 0 nodes ()");
}

#[test]
fn a_node_keeps_within_its_arrays() {
    let mut node = NodeModel::empty(NodeId(63));
    assert_eq!(node.distance_to(NodeId(63)), 10);
    assert_eq!(node.distance_to(NodeId(0)), 20);
    assert_eq!(node.distance_to(NodeId::NONE), 0);
    node.push_fallback(NodeId::NONE);
    for nid in 0..MAX_NODES as i32 + 5 {
        node.push_fallback(NodeId(nid % MAX_NODES as i32));
    }
    assert_eq!(node.fallback().count(), MAX_NODES);
    node.cpus.insert(CpuId(511));
    node.cpus.insert(CpuId(512));
    node.cpus.insert(CpuId(64));
    let cpus: Vec<u32> = node.cpus.iter().map(|cpu| cpu.0).collect();
    assert_eq!(cpus, [64, 511]);
    assert!(!node.cpus.contains(CpuId(u32::MAX)));
}

fn accounting_of_a_vm() -> Accounting {
    Accounting {
        firmware_reserved: Bytes(0x400 + 0x29000),
        firmware_holes: Bytes(0x60000),
        usable: Bytes((2 << 30) - 0x400 - 0x29000 - 0x60000),
        crash_kernel: Bytes(96 << 20),
        page_descriptors: Bytes(8 << 20),
        section_tables: Bytes(100),
        nodes: Bytes(20_000),
        statistics: Bytes(1_500),
        managed: Bytes((2 << 30) - (110 << 20)),
        ..Accounting::default()
    }
}

#[test]
fn accounting_adds_up() {
    let fixture = Fixture {
        accounting: accounting_of_a_vm(),
        ..Fixture::with_nodes(&[0])
    };
    assert_eq!(fixture.accounting.check(), Ok(()));
    assert_eq!(
        text(|out| accounting::write(out, &fixture)),
        "\
where the memory went                              KiB         %
installed                                      2097152    100.00
  - reserved by the firmware                       165      0.00
  - ACPI tables                                      0      0.00
  - ACPI non-volatile storage                        0      0.00
  - other types of the firmware                      0      0.00
  - under holes of the firmware map                384      0.01
usable: System RAM                             2096603     99.97
  - crash kernel                                 98304      4.68
  - page descriptors                              8192      0.39
  - section tables                                   1      0.00
  - nodes, zones and zonelists                      19      0.00
  - statistics of each CPU                           2      0.00
  - other reservations                            5573      0.26
managed: MemTotal                              1984512     94.62
"
    );
}

#[test]
fn accounting_finds_what_does_not_add_up() {
    let good = accounting_of_a_vm();
    let broken = |change: fn(&mut Accounting)| {
        let mut accounting = good;
        change(&mut accounting);
        accounting.check()
    };
    assert_eq!(broken(|a| a.managed = a.usable), Err(Error::Corrupt));
    assert_eq!(broken(|a| a.usable = Bytes::MAX), Err(Error::Corrupt));
    assert_eq!(broken(|a| a.nodes = Bytes::MAX), Err(Error::Corrupt));
    assert_eq!(
        broken(|a| a.crash_kernel += a.other_reserved()),
        Ok(()),
        "nothing else is reserved"
    );
    assert_eq!(
        broken(|a| a.crash_kernel += a.other_reserved() + Bytes(1)),
        Err(Error::Corrupt)
    );
}

proptest! {
    /// What is printed adds up as what is counted does, whatever the numbers.
    #[test]
    fn printed_accounting_adds_up(
        parts in prop::array::uniform10(0u64..1 << 44),
        managed in 0u64..1 << 50,
        other in 0u64..1 << 44,
    ) {
        let kept: u64 = parts[5..].iter().sum();
        let fixture = Fixture {
            accounting: Accounting {
                firmware_reserved: Bytes(parts[0]),
                firmware_acpi: Bytes(parts[1]),
                firmware_nvs: Bytes(parts[2]),
                firmware_other: Bytes(parts[3]),
                firmware_holes: Bytes(parts[4]),
                usable: Bytes(kept + other + managed),
                crash_kernel: Bytes(parts[5]),
                page_descriptors: Bytes(parts[6]),
                section_tables: Bytes(parts[7]),
                nodes: Bytes(parts[8]),
                statistics: Bytes(parts[9]),
                managed: Bytes(managed),
            },
            ..Fixture::with_nodes(&[0])
        };
        prop_assert_eq!(fixture.accounting.check(), Ok(()));
        prop_assert_eq!(fixture.accounting.other_reserved(), Bytes(other));
        // In the model, in bytes.
        let mut left = None;
        let mut lines = 0;
        fixture.accounting.for_each_account(&mut |account| {
            lines += 1;
            left = Some(match (account.depth, left) {
                (0, None) => account.bytes.0,
                (0, Some(left)) if left == account.bytes.0 => left,
                (1, Some(left)) => left - account.bytes.0,
                _ => return Err(Stop),
            });
            Ok(())
        }).expect("each sum is what is left");
        prop_assert_eq!((left, lines), (Some(managed), 14));
        // In the text, in KiB.
        let mut left = None;
        for line in text(|out| accounting::write(out, &fixture)).lines().skip(1) {
            let kib: u64 = line.split_whitespace().rev().nth(1).unwrap().parse().unwrap();
            left = Some(match left {
                Some(left) if line.starts_with("  - ") => left - kib,
                Some(left) => { prop_assert_eq!(left, kib); left }
                None => kib,
            });
        }
        prop_assert_eq!(left, Some(managed >> 10));
    }
}

/// An output that takes so many bytes and no more.
struct Full(usize);

impl Write for Full {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.0 = self.0.checked_sub(s.len()).ok_or(fmt::Error)?;
        Ok(())
    }
}

#[test]
fn every_text_stops_when_its_output_is_full() {
    let fixture = two_nodes();
    type Writer = fn(&mut dyn Write, &dyn Snapshot) -> fmt::Result;
    let writers: [Writer; 7] = [
        buddyinfo::write,
        zoneinfo::write,
        meminfo::write,
        vmstat::write,
        iomem::write,
        nodes::write,
        accounting::write,
    ];
    for write in writers {
        let length = text(|out| write(out, &fixture)).len();
        for room in 0..length {
            assert_eq!(write(&mut Full(room), &fixture), Err(fmt::Error));
        }
        assert_eq!(write(&mut Full(length), &fixture), Ok(()));
    }
}

#[test]
fn the_models_fit_a_kernel_stack() {
    let sizes = [
        size_of::<ZoneModel>(),
        size_of::<NodeModel>(),
        size_of::<MemoryTotals>(),
        size_of::<NodeStats>(),
        size_of::<Totals>(),
        size_of::<Accounting>(),
    ];
    assert!(sizes.iter().all(|&size| size <= 640), "{sizes:?}");
    // What the largest text keeps at once.
    let meminfo = size_of::<NodeStats>() + size_of::<Totals>() + size_of::<MemoryTotals>();
    assert!(meminfo <= 1024, "{meminfo}");
}
