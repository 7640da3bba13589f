// SPDX-License-Identifier: GPL-2.0

//! report/ against the running kernel: files of `/proc` that a stock 7.3.4
//! kernel has written are read into the model, and the model must write them
//! again to the byte. `data/proc/` has two such guests: one with two nodes, and
//! one with three, a Movable zone, huge pages and pages of tmpfs.

mod report_fixture;

use procfs_core::FromBufRead;
use procfs_core::Iomem;
use procfs_core::Meminfo;
use procfs_core::VmStat;
use report_fixture::text;
use report_fixture::Fixture;
use shadowmm_core::firmware::E820Table;
use shadowmm_core::firmware::E820Type;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::Bytes;
use shadowmm_core::phys::CpuId;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::Pages;
use shadowmm_core::phys::Pfn;
use shadowmm_core::phys::PhysAddr;
use shadowmm_core::phys::PhysRange;
use shadowmm_core::report::*;
use std::collections::HashMap;
use std::str::FromStr;

/// The files of one guest.
struct Guest {
    vmstat: &'static str,
    meminfo: &'static str,
    zoneinfo: &'static str,
    buddyinfo: &'static str,
    iomem: &'static str,
    e820: &'static str,
    numactl: &'static str,
}

macro_rules! guest {
    ($($file:ident)*, $name:literal) => {
        Guest { $($file: include_str!(
            concat!("../../data/proc/", $name, "/", stringify!($file))
        ),)* }
    };
}

fn guests() -> [Guest; 2] {
    [
        guest!(vmstat meminfo zoneinfo buddyinfo iomem e820 numactl, "two-nodes"),
        guest!(vmstat meminfo zoneinfo buddyinfo iomem e820 numactl, "three-nodes"),
    ]
}

/// The number that a line ends with.
fn last<T: FromStr>(line: &str) -> T {
    let word = line.split_whitespace().last().expect("a word");
    word.parse().ok().unwrap_or_else(|| panic!("{line}"))
}

fn kind_of(name: &str) -> Option<ZoneType> {
    ZoneType::ALL.into_iter().find(|kind| kind.name() == name)
}

/// The node and the zone's name of a line "Node 0, zone   Normal".
fn zone_of(line: &str) -> (i32, &str) {
    let mut words = line.split_whitespace();
    let nid = words.nth(1).expect("a node").trim_end_matches(',');
    (nid.parse().expect(line), words.nth(1).expect("a zone"))
}

/// What `/proc/zoneinfo` tells, in the units of the model.
fn read_zoneinfo(file: &str) -> Fixture {
    let mut nids: Vec<i32> = file
        .lines()
        .filter(|line| line.starts_with("Node "))
        .map(|line| zone_of(line).0)
        .collect();
    nids.dedup();
    let mut fixture = Fixture::with_nodes(&nids);
    fixture.nr_cpus = 0;
    let mut zone = None;
    let mut cpu = 0;
    for line in file.lines() {
        if line.starts_with("Node ") {
            let (nid, name) = zone_of(line);
            zone = kind_of(name).map(|kind| (nid, kind));
            continue;
        }
        // A Device zone is the writer's own.
        let Some((nid, kind)) = zone else { continue };
        read_zone_line(&mut fixture, nid, kind, &mut cpu, line.trim());
    }
    fixture
}

fn read_zone_line(fixture: &mut Fixture, nid: i32, kind: ZoneType, cpu: &mut u32, line: &str) {
    let (key, _) = line.split_once(' ').unwrap_or((line, ""));
    if let Some(item) = NodeStat::from_name(key) {
        let unit = if item.prints_in_huge_pages() { 512 } else { 1 };
        return fixture.set_node_stat(nid, item, last::<u64>(line) * unit);
    }
    if key == "cpu:" {
        *cpu = last(line);
        fixture.nr_cpus = fixture.nr_cpus.max(*cpu + 1);
    }
    let cpu = *cpu;
    let pageset = fixture
        .pagesets
        .entry((NodeId(nid), kind, cpu))
        .or_insert(PagesetModel::boot(CpuId(cpu)));
    match key {
        "count:" => return pageset.count = last(line),
        "high:" => return pageset.high = last(line),
        "batch:" => return pageset.batch = last(line),
        "high_min:" => return pageset.high_min = last(line),
        "high_max:" => return pageset.high_max = last(line),
        "vm" => return pageset.stat_threshold = last(line),
        _ => {}
    }
    let zone = fixture.zone(nid, kind);
    if let Some(item) = ZoneStat::from_name(key) {
        return zone.stats.set(item, last(line));
    }
    if let Some(item) = NumaStat::from_name(key) {
        return zone.numa.set(item, last(line));
    }
    match key {
        "pages" => zone.stats.set(ZoneStat::FreePages, last(line)),
        "boost" => assert_eq!(last::<u64>(line), 0, "watermarks were recorded with it"),
        "min" => zone.watermark[0] = Pages(last(line)),
        "low" => zone.watermark[1] = Pages(last(line)),
        "high" => zone.watermark[2] = Pages(last(line)),
        "promo" => zone.watermark[3] = Pages(last(line)),
        "spanned" => zone.spanned = Pages(last(line)),
        "present" => zone.present = Pages(last(line)),
        "managed" => zone.managed = Pages(last(line)),
        "cma" => zone.cma = Pages(last(line)),
        "node_unreclaimable:" => zone.node_unreclaimable = last::<u32>(line) != 0,
        "start_pfn:" => zone.start_pfn = Pfn(last(line)),
        "reserved_highatomic:" => zone.reserved_highatomic = Pages(last(line)),
        "free_highatomic:" => zone.free_highatomic = Pages(last(line)),
        "protection:" => {
            let list = line
                .split_once('(')
                .expect("a list")
                .1
                .trim_end_matches(')');
            for (slot, word) in zone.lowmem_reserve.iter_mut().zip(list.split(", ")) {
                *slot = Pages(word.parse().expect(line));
            }
        }
        "per-node" | "pagesets" | "cpu:" => {}
        _ => panic!("unknown: {line}"),
    }
}

#[test]
fn zoneinfo_is_the_hosts() {
    for guest in guests() {
        let fixture = read_zoneinfo(guest.zoneinfo);
        assert_eq!(text(|out| zoneinfo::write(out, &fixture)), guest.zoneinfo);
    }
}

#[test]
fn buddyinfo_is_the_hosts() {
    for guest in guests() {
        let mut fixture = read_zoneinfo(guest.zoneinfo);
        for line in guest.buddyinfo.lines() {
            let (nid, name) = zone_of(line);
            let zone = fixture.zone(nid, kind_of(name).expect(line));
            let counts = line.split_whitespace().skip(4);
            zone.nr_free = counts
                .map(|word| word.parse().expect(line))
                .collect::<Vec<u64>>()
                .try_into()
                .expect("eleven orders");
        }
        assert_eq!(text(|out| buddyinfo::write(out, &fixture)), guest.buddyinfo);
    }
}

/// What `/proc/vmstat` tells. How the sums fall to zones and nodes it does not
/// tell: they are split unevenly, so that the writer has something to add up.
fn read_vmstat(file: &str) -> Fixture {
    let mut fixture = Fixture::with_nodes(&[0, 1]);
    for line in file.lines() {
        let name = line.split(' ').next().expect("a name");
        let value: u64 = last(line);
        let parts = [value / 3, value - value / 3];
        for (nid, part) in parts.into_iter().enumerate() {
            let zone = fixture.zone(nid as i32, ZoneType::Normal);
            if let Some(item) = ZoneStat::from_name(name) {
                zone.stats.set(item, part);
            } else if let Some(item) = NumaStat::from_name(name) {
                zone.numa.set(item, part);
            } else if let Some(item) = NodeStat::from_name(name) {
                let unit = if item.prints_in_huge_pages() { 512 } else { 1 };
                fixture.set_node_stat(nid as i32, item, part * unit);
            }
        }
        if let Some(item) = SystemStat::from_name(name) {
            fixture.system.set(item, value);
        } else if let Some(item) = Event::from_name(name) {
            fixture.events.set(item, value);
        }
    }
    fixture
}

#[test]
fn vmstat_is_the_hosts() {
    for guest in guests() {
        let fixture = read_vmstat(guest.vmstat);
        assert_eq!(text(|out| vmstat::write(out, &fixture)), guest.vmstat);
    }
}

/// What `/proc/meminfo` tells besides what it computes; the zones, from which
/// it computes MemTotal and with MemFree and the cache MemAvailable, are those
/// that the same boot shows in `/proc/zoneinfo`.
fn read_meminfo(guest: &Guest) -> Fixture {
    let values: HashMap<&str, u64> = guest
        .meminfo
        .lines()
        .map(|line| {
            let (name, rest) = line.split_once(':').expect(line);
            (name, last(rest.trim_end_matches(" kB")))
        })
        .collect();
    let bytes = |name: &str| Bytes(values[name] << 10);
    let pages = |name: &str| {
        assert_eq!(values[name] % 4, 0, "{name}");
        Pages(values[name] / 4)
    };
    let mut fixture = read_zoneinfo(guest.zoneinfo);
    for zone in &mut fixture.zones {
        zone.stats = ZoneStats::ZERO;
    }
    let first = fixture.zone(0, ZoneType::Dma);
    first.stats.set(ZoneStat::FreePages, pages("MemFree").0);
    first.stats.set(ZoneStat::Mlock, pages("Mlocked").0);
    first.stats.set(ZoneStat::FreeCma, pages("CmaFree").0);
    first.stats.set(ZoneStat::Unaccepted, pages("Unaccepted").0);
    fixture.node_stats.clear();
    let cached = pages("Cached") + pages("SwapCached") + pages("Buffers");
    let other_reclaimable = pages("KReclaimable") - pages("SReclaimable");
    for (item, value) in [
        (NodeStat::ActiveAnon, pages("Active(anon)")),
        (NodeStat::InactiveAnon, pages("Inactive(anon)")),
        (NodeStat::ActiveFile, pages("Active(file)")),
        (NodeStat::InactiveFile, pages("Inactive(file)")),
        (NodeStat::Unevictable, pages("Unevictable")),
        (NodeStat::FilePages, cached),
        (NodeStat::Swapcached, pages("SwapCached")),
        (NodeStat::Dirty, pages("Dirty")),
        (NodeStat::Writeback, pages("Writeback")),
        (NodeStat::AnonPages, pages("AnonPages")),
        (NodeStat::Mapped, pages("Mapped")),
        (NodeStat::Shmem, pages("Shmem")),
        (NodeStat::KernelMiscReclaimable, other_reclaimable),
        (NodeStat::SlabReclaimable, pages("SReclaimable")),
        (NodeStat::SlabUnreclaimable, pages("SUnreclaim")),
        (NodeStat::KernelStack, Pages(values["KernelStack"])),
        (NodeStat::PageTablePages, pages("PageTables")),
        (NodeStat::SecPageTablePages, pages("SecPageTables")),
        (NodeStat::Vmalloc, pages("VmallocUsed")),
        (NodeStat::AnonTransparentHugepages, pages("AnonHugePages")),
        (NodeStat::ShmemHugepages, pages("ShmemHugePages")),
        (NodeStat::ShmemPmdmapped, pages("ShmemPmdMapped")),
        (NodeStat::FileHugepages, pages("FileHugePages")),
        (NodeStat::FilePmdmapped, pages("FilePmdMapped")),
        (NodeStat::BalloonPages, pages("Balloon")),
        (NodeStat::GpuActive, pages("GPUActive")),
        (NodeStat::GpuReclaim, pages("GPUReclaim")),
    ] {
        fixture.set_node_stat(1, item, value.0);
    }
    fixture.totals = MemoryTotals {
        buffers: pages("Buffers"),
        swap_total: pages("SwapTotal"),
        swap_free: pages("SwapFree"),
        zswap: pages("Zswap"),
        zswapped: pages("Zswapped"),
        commit_limit: pages("CommitLimit"),
        committed: pages("Committed_AS"),
        vmalloc_total: bytes("VmallocTotal"),
        percpu: pages("Percpu"),
        poisoned: pages("HardwareCorrupted"),
        cma: pages("CmaTotal"),
        huge: HugePages {
            total: values["HugePages_Total"],
            free: values["HugePages_Free"],
            reserved: values["HugePages_Rsvd"],
            surplus: values["HugePages_Surp"],
            size: bytes("Hugepagesize"),
        },
        hugetlb: bytes("Hugetlb"),
        direct_map_4k: bytes("DirectMap4k"),
        direct_map_2m: bytes("DirectMap2M"),
        direct_map_1g: values.get("DirectMap1G").map(|&kib| Bytes(kib << 10)),
    };
    fixture
}

#[test]
fn meminfo_is_the_hosts() {
    for guest in guests() {
        let mut fixture = read_meminfo(&guest);
        assert_eq!(text(|out| meminfo::write(out, &fixture)), guest.meminfo);
        // A CPU without pages of 1 GiB has one line less.
        fixture.totals.direct_map_1g = None;
        let without = text(|out| meminfo::write(out, &fixture));
        assert!(guest.meminfo.starts_with(&without));
        assert!(guest.meminfo[without.len()..].starts_with("DirectMap1G:"));
    }
}

fn hex(word: &str) -> u64 {
    let digits = word.trim_start_matches("0x");
    u64::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("{word}"))
}

/// The firmware's table, from the lines of the boot log.
fn read_e820(file: &str) -> Box<E820Table> {
    let mut table = Box::new(E820Table::NEW);
    for line in file.lines().filter(|line| line.contains("[mem ")) {
        let (_, rest) = line.split_once("[mem ").expect(line);
        let (range, kind) = rest.split_once("]  ").expect(line);
        let (start, end) = range.split_once('-').expect(line);
        let kind = E820Type::ALL
            .into_iter()
            .find(|known| known.to_string() == kind)
            .expect(line);
        let size = hex(end) - hex(start) + 1;
        table
            .range_add(PhysAddr(hex(start)), Bytes(size), kind)
            .expect(line);
    }
    table
}

fn range(start: u64, end: u64) -> PhysRange {
    PhysRange {
        start: PhysAddr(start),
        end: PhysAddr(end),
    }
}

#[test]
fn iomem_has_the_hosts_memory() {
    for guest in guests() {
        let mut table = read_e820(guest.e820);
        assert_eq!(text(|out| table.print("BIOS-e820", out)), guest.e820);
        // What the kernel itself changes, as its log says.
        let low = range(0, 0x1000);
        table
            .range_update(low.start, low.size(), E820Type::RAM, E820Type::RESERVED)
            .unwrap();
        table.update();

        // Without the devices and the host's own image; what lies in a device
        // moves to the left.
        let ours = ["Reserved", "System RAM", "RAM buffer", "Crash kernel"];
        let mut expected = String::new();
        let mut crash = Vec::new();
        for line in guest.iomem.lines() {
            let (addresses, name) = line.trim().split_once(" : ").expect(line);
            let (start, end) = addresses.split_once('-').expect(line);
            if name == "Crash kernel" {
                crash.push(range(hex(start), hex(end) + 1));
                expected += &format!("{line}\n");
            } else if ours.contains(&name) {
                expected += &format!("{}\n", line.trim());
            }
        }
        assert_eq!(crash.len(), 1);

        let mut fixture = Fixture::with_nodes(&[]);
        let entries = table.entries().iter();
        let entries = entries.map(|entry| (entry.range(), entry.kind.resource_name()));
        iomem::for_each_resource(entries, &crash, &mut |resource| {
            fixture.resources.push(*resource);
            Ok(())
        })
        .unwrap();
        assert_eq!(text(|out| iomem::write(out, &fixture)), expected);
    }
}

#[test]
fn iomem_lines_are_the_hosts() {
    for guest in guests() {
        let mut fixture = Fixture::with_nodes(&[]);
        for line in guest.iomem.lines() {
            let (addresses, name) = line.trim().split_once(" : ").expect(line);
            let (start, end) = addresses.split_once('-').expect(line);
            fixture.resources.push(ResourceModel {
                start: PhysAddr(hex(start)),
                end: PhysAddr(hex(end)),
                depth: (line.len() - line.trim_start().len()) as u32 / 2,
                name,
            });
        }
        assert_eq!(text(|out| iomem::write(out, &fixture)), guest.iomem);
    }
}

#[test]
fn nodes_start_as_numactl_prints_the_host() {
    for guest in guests() {
        let nodes = guest.numactl.matches(" cpus:").count() as i32;
        let mut fixture = Fixture::with_nodes(&(0..nodes).collect::<Vec<_>>());
        for line in guest.numactl.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let mib = |word: &str| Pages(word.parse::<u64>().expect(line) << 8);
            match words[..] {
                ["node", nid, "cpus:", ref cpus @ ..] => {
                    for cpu in cpus {
                        let node = &mut fixture.nodes[nid.parse::<usize>().unwrap()];
                        node.cpus.insert(CpuId(cpu.parse().unwrap()));
                    }
                }
                ["node", nid, "size:", size, "MB"] => {
                    fixture.nodes[nid.parse::<usize>().unwrap()].managed = mib(size) + Pages(255);
                }
                ["node", nid, "free:", size, "MB"] => {
                    fixture.nodes[nid.parse::<usize>().unwrap()].free = mib(size);
                }
                [nid, ref distances @ ..] if nid.ends_with(':') && nid != "available:" => {
                    let nid: usize = nid.trim_end_matches(':').parse().expect(line);
                    for (other, distance) in distances.iter().enumerate() {
                        fixture.nodes[nid].distance[other] = distance.parse().expect(line);
                    }
                }
                _ => {}
            }
        }
        let text = text(|out| nodes::write(out, &fixture));
        assert_eq!(
            text.split_once("\n\n").unwrap().0,
            guest.numactl.trim_end_matches('\n')
        );
    }
}

#[test]
fn a_parser_of_proc_reads_ours() {
    let guest = &guests()[1];
    let fixture = read_meminfo(guest);
    let written = text(|out| meminfo::write(out, &fixture));
    let meminfo = Meminfo::from_buf_read(written.as_bytes()).expect("meminfo");
    let host = Meminfo::from_buf_read(guest.meminfo.as_bytes()).expect("the host's meminfo");
    assert_eq!(meminfo.mem_total, 4840616 << 10);
    assert_eq!(format!("{meminfo:?}"), format!("{host:?}"));

    let written = text(|out| vmstat::write(out, &read_vmstat(guest.vmstat)));
    let vmstat = VmStat::from_buf_read(written.as_bytes()).expect("vmstat");
    assert_eq!(vmstat.0.len(), written.lines().count());
    assert_eq!(vmstat.0["thp_file_alloc"], 20);

    let mut written = String::new();
    let ram = [
        (range(0x1000, 0x9fc00), "System RAM"),
        (range(0x10_0000, 0x1000_0000), "System RAM"),
    ];
    let crash = [range(0x80_0000, 0x100_0000)];
    iomem::for_each_resource(ram.into_iter(), &crash, &mut |resource| {
        Ok(iomem::write_resource(&mut written, resource)?)
    })
    .unwrap();
    let iomem = Iomem::from_buf_read(written.as_bytes()).expect("iomem");
    let lines: Vec<_> = iomem
        .0
        .iter()
        .map(|(depth, map)| (*depth, map.address, map.name.as_str()))
        .collect();
    assert_eq!(
        lines,
        [
            (0, (0x1000, 0x9fbff), "System RAM"),
            (0, (0x9fc00, 0x9ffff), "RAM buffer"),
            (0, (0x10_0000, 0xfff_ffff), "System RAM"),
            (1, (0x80_0000, 0xff_ffff), "Crash kernel"),
        ]
    );
}
