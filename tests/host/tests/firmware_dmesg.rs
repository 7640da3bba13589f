// SPDX-License-Identifier: GPL-2.0

//! firmware/: boot logs of many kernels, and text that is none.

use proptest::prelude::*;
use shadowmm_core::error::Error;
use shadowmm_core::firmware::*;
use shadowmm_core::phys::*;

const LAPTOP: &str = include_str!("../../data/dmesg/laptop.log");
const SERVER: &str = include_str!("../../data/dmesg/server-snc.log");
const VM: &str = include_str!("../../data/dmesg/vm.log");

fn read(text: &str) -> (Result<(), Error>, Box<FirmwareMap>, ParseReport) {
    let mut map = Box::new(FirmwareMap::NEW);
    let mut report = ParseReport::default();
    let result = parse(text, &mut map, &mut report);
    (result, map, report)
}

fn good(text: &str) -> (Box<FirmwareMap>, ParseReport) {
    let (result, map, report) = read(text);
    assert_eq!((result, report.first_bad_line), (Ok(()), None));
    assert_eq!(map.source, MapSource::Log);
    (map, report)
}

fn e820(map: &FirmwareMap) -> Vec<(u64, u64, u32)> {
    let entries = map.e820.entries().iter();
    entries
        .map(|e| (e.addr.0, e.range().end.0, e.kind.0))
        .collect()
}

fn nodes(map: &FirmwareMap) -> Vec<(u64, u64, i32)> {
    let blocks = map.meminfo.blocks().iter();
    blocks.map(|b| (b.start.0, b.end.0, b.nid.0)).collect()
}

fn cpus(map: &FirmwareMap) -> Vec<(u32, i32)> {
    map.cpus.iter().map(|c| (c.cpu.0, c.nid.0)).collect()
}

#[test]
fn the_laptop() {
    let (mut map, report) = good(LAPTOP);
    assert_eq!((report.lines, report.e820, report.srat_mem), (121, 20, 0));
    assert_eq!(report.cpus, 8);
    map.resolve().unwrap();
    map.validate().unwrap();
    assert_eq!(map.numa, NumaSource::Dummy);
    let kinds = |k| e820(&map).iter().filter(|e| e.2 == k).count();
    assert_eq!((kinds(1), kinds(2), kinds(3), kinds(4)), (6, 11, 1, 2));
    // The kernel's own last_pfn and its pages.
    assert_eq!(map.e820.end_of_ram_pfn(), Pfn(0x48b800));
    let early = [
        (0, 0x58),
        (0x59, 0x9e),
        (0x100, 0x5f1e0),
        (0x5f1e2, 0x6a5cb),
        (0x6ceff, 0x6cf00),
        (0x100000, 0x48b800),
    ];
    let ranges: Vec<_> = map
        .ram_ranges()
        .map(|(_, r)| (r.start.0, r.end.0))
        .collect();
    assert_eq!(ranges, early);
}

#[test]
fn the_server_with_clusters() {
    let (mut map, report) = good(SERVER);
    assert_eq!((report.e820, report.srat_mem, report.cpus), (15, 5, 32));
    map.resolve().unwrap();
    map.validate().unwrap();
    assert_eq!(map.numa, NumaSource::Srat);
    assert_eq!(
        nodes(&map),
        [
            (0, 0x20_8000_0000, 0),
            (0x20_8000_0000, 0x40_8000_0000, 1),
            (0x40_8000_0000, 0x60_8000_0000, 2),
            (0x60_8000_0000, 0x80_8000_0000, 3),
        ]
    );
    // As they were started: four a node, then the second threads.
    let want: Vec<_> = (0..32).map(|cpu| (cpu, cpu as i32 / 4 % 4)).collect();
    assert_eq!(cpus(&map), want);
    assert!(!map.slit.is_set());
    assert_eq!(map.node_pages(NodeId(3)), Pages(128 << 18));
}

#[test]
fn the_vm() {
    let (mut map, report) = good(VM);
    assert_eq!((report.e820, report.cpus), (11, 2));
    map.resolve().unwrap();
    // Six gaps of the new format are no entries.
    let ram = map.e820.ram_bytes();
    assert_eq!(ram.0, 0x9fc00 + 0x7fedc000 + 0x8000_0000);
    // What is printed of it is what was read.
    let mut text = String::new();
    map.e820.print("BIOS-e820", &mut text).unwrap();
    let log: Vec<_> = VM
        .lines()
        .filter_map(|l| l.split_once("] ").map(|(_, m)| m))
        .filter(|m| m.starts_with("BIOS-e820"))
        .collect();
    assert_eq!(text.lines().collect::<Vec<_>>(), log);
}

#[test]
fn any_order_and_any_prefix_give_the_same() {
    for log in [LAPTOP, SERVER, VM] {
        let (mut map, report) = good(log);
        map.resolve().unwrap();
        let same = |text: &str| {
            let (mut other, r) = good(text);
            other.resolve().unwrap();
            assert_eq!(r.e820, report.e820, "{text}");
            assert_eq!(e820(&other), e820(&map));
            assert_eq!(nodes(&other), nodes(&map));
            assert_eq!(cpus(&other), cpus(&map));
        };
        let lines: Vec<&str> = log.lines().collect();
        let reversed: Vec<&str> = lines.iter().rev().copied().collect();
        same(&reversed.join("\n"));
        same(&lines.join("\r\n"));
        let bare = |l: &&str| {
            let l = l.split_once(" kernel: ").map_or(*l, |(_, m)| m);
            let stamp = l.starts_with("[ ");
            let l = if stamp {
                l.split_once("] ").unwrap().1
            } else {
                l
            };
            l.to_string()
        };
        let bare: Vec<String> = lines.iter().map(bare).collect();
        same(&bare.join("\n"));
        for prefix in [
            "[    0.000000][    T0] ",
            "<6>[    0.000000] ",
            "<6>",
            "kern  :info  : [    0.000000] ",
            "[Fri Nov 20 16:50:11 2026] ",
            "2026-11-20T16:50:11+0100 host kernel: ",
            "Nov 20 16:50:11 host kernel: [    0.000000] ",
            "kernel: ",
            "20:55:42,615 INFO kernel:",
            "[    0.000000] host.example kernel: ",
            "[<    0.000000>] ",
            "2026-11-20T16:50:11,000000+01:00 ",
            "6,12,0,-;",
            "MESSAGE=",
            "> > [    0.000000] ",
            "(early) [    0.000000] ",
            "[2026-11-20 16:50:11] ",
            "\x1b[32m[    0.000000] \x1b[0m\x1b[1;33m",
        ] {
            let lines: Vec<String> = bare.iter().map(|l| format!("{prefix}{l}")).collect();
            same(&lines.join("\n"));
        }
    }
}

/// What programs put around a message and into it.
#[test]
fn exports_and_colours_give_the_same() {
    let (map, report) = good(SERVER);
    let bare: Vec<&str> = SERVER
        .lines()
        .map(|l| l.split_once(" kernel: ").map_or(l, |(_, m)| m))
        .collect();
    let json = |m: &&str| format!("{{\"_PID\":\"1\",\"MESSAGE\":\"{m}\",\"PRIORITY\":\"6\"}}\n");
    let pretty = |m: &&str| format!("{{ \"PRIORITY\" : \"6\", \"MESSAGE\" : \"{m}\" }}\n");
    // A line for each key, as json-pretty and dmesg -J have it.
    let journal = |m: &&str| format!("\t\"MESSAGE\" : \"{m}\",\n");
    let dmesg = |m: &&str| format!("         \"msg\": \"{m}\"\n");
    let stamped = |m: &&str| format!("{{\"pri\":6,\"msg\":\"[    0.1] {m}\"}}\n");
    // The part before the colon has one colour, the rest another.
    let colours = |m: &&str| match m.split_once(": ") {
        Some((a, b)) => format!("\x1b[32m[    0.1] \x1b[0m\x1b[33m{a}: \x1b[0m{b}\x1b[0m\n"),
        None => format!("\x1b[32m[    0.1] \x1b[0m{m}\n"),
    };
    let nuls = |m: &&str| format!("{m}\0\0\n");
    let forms: [&dyn Fn(&&str) -> String; 7] =
        [&json, &pretty, &journal, &dmesg, &stamped, &colours, &nuls];
    for form in forms {
        let text: String = bare.iter().map(form).collect();
        let (other, r) = good(&text);
        assert_eq!(r, report, "{}", &text[..400]);
        assert_eq!(e820(&other), e820(&map));
        assert_eq!(nodes(&other), nodes(&map));
        assert_eq!(cpus(&other), cpus(&map));
    }
    // What is cut, and what never ends, is no reason to panic.
    for text in ["\x1b", "\x1b[", "\x1b[0", "x\x1b[31;", "\x1bé"] {
        assert_eq!(read(text).0, Err(Error::MapMissing));
    }
    let long = format!("\x1b[0m{}é{BIOS}", "a".repeat(1087));
    assert_eq!(read(&long).0, Err(Error::MapMissing));
}

/// The list of a node's CPUs is the longest line, and no number of it is cut.
#[test]
fn long_lists_in_colour_are_read() {
    let list = |cpus: std::ops::Range<u32>| -> String {
        let numbers: String = cpus
            .map(|cpu| format!("{:>5}", format!("#{cpu}")))
            .collect();
        format!(".... node  #1, CPUs: {numbers}")
    };
    let text = list(300..500);
    assert!((1000..1024).contains(&text.len()));
    let (map, _) = good(&format!("{BIOS}\x1b[32m[    0.123456] \x1b[0m{text}\n"));
    assert_eq!(cpus(&map).len(), 201);
    // Longer than any record: what is cut is left out, what is whole is not.
    for blanks in 0..10 {
        let text = format!("{}{}", " ".repeat(blanks), list(100..400));
        let (map, _) = good(&format!("{BIOS}\x1b[0m{text}\n"));
        let whole = (1088 - text.find("#100").unwrap() + 1) / 5;
        let last = 99 + whole as u32;
        assert_eq!(cpus(&map).last(), Some(&(last, 1)), "{blanks}");
        assert_eq!(cpus(&map).len(), 1 + whole, "{blanks}");
    }
}

#[test]
fn words_of_all_kernels() {
    let text = "\
 BIOS-e820: 0000000000000000 - 000000000009fc00 (usable)
 BIOS-e820: 000000000009fc00 - 00000000000a0000 (reserved)
 BIOS-e820: 0000000000100000 - 0000000000200000 (ACPI data)
 BIOS-e820: 0000000000200000 - 0000000000300000 (ACPI NVS)
BIOS-e820: [mem 0x0000000000300000-0x00000000003fffff] unusable
BIOS-e820: [mem 0x0000000000400000-0x00000000004fffff] persistent (type 12)
BIOS-e820: [mem 0x0000000000500000-0x00000000005fffff]  persistent RAM (type 7)
BIOS-e820: [mem 0x0000000000600000-0x00000000006fffff] soft reserved
BIOS-e820: [mem 0x0000000000700000-0x00000000007fffff] type 20
BIOS-e820: [mem 0x0000000000800000-0x00000000007fffff] usable
BIOS-e820: [mem 0x0000000000900000-0x00000000009fffff]  device reserved
BIOS-e820: [mem 0x0000000000a00000-0x0000000000afffff]  System RAM
";
    let (map, report) = good(text);
    let kinds: Vec<u32> = e820(&map).iter().map(|e| e.2).collect();
    assert_eq!(kinds, [1, 2, 3, 4, 5, 12, 7, 0xefff_ffff, 2, 2, 1]);
    assert_eq!((report.unknown_types, report.skipped), (1, 1));
    assert_eq!(e820(&map)[1], (0x9fc00, 0xa0000, 2));
}

const BIOS: &str = "BIOS-e820: [mem 0x0000000000000000-0x000000003fffffff] usable\n";

#[test]
fn the_firmware_goes_before_the_kernel_and_the_user() {
    let others = "\
e820: update [mem 0x00000000-0x00000fff] usable ==> reserved
e820: remove [mem 0x000a0000-0x000fffff] usable
modified: [mem 0x0000000000001000-0x000000000009ffff] usable
user: [mem 0x0000000000000000-0x000000000fffffff] usable
reserve setup_data: [mem 0x0000000000000000-0x000000001fffffff] usable
";
    let all = (0, 0x4000_0000, 1);
    let (map, report) = good(&format!("{others}{BIOS}"));
    assert_eq!((e820(&map), report.e820), (vec![all], 1));
    let (map, _) = good(&format!("{BIOS}{others}"));
    assert_eq!(e820(&map), [all]);
    // Without the firmware's table, the next best.
    let (map, _) = good(others);
    assert_eq!(e820(&map), [(0, 0x2000_0000, 1)]);
    let (map, _) = good("Xen: [mem 0x0000000000000000-0x0000000000000fff] usable\n");
    assert_eq!(e820(&map), [(0, 0x1000, 1)]);
    // A word is no table.
    assert_eq!(
        read("user: [mem nonsense\nXen: version 4\n").0,
        Err(Error::MapMissing)
    );
}

/// What has no room in the zero page comes with the setup data, and then the
/// whole table is printed again.
#[test]
fn the_extended_table_is_the_complete_one() {
    let first = "BIOS-provided physical RAM map:\n";
    let extended = "\
extended physical RAM map:
extended: [mem 0x0000000000000000-0x000000003fffffff] usable
extended: [mem 0x0000000040000000-0x000000007fffffff] usable
";
    let reserved = "\
extended physical RAM map:
reserve setup_data: [mem 0x0000000000000000-0x0000000000000fff] usable
";
    for text in [
        format!("{first}{BIOS}{extended}{reserved}"),
        format!("{reserved}{extended}{BIOS}{first}"),
    ] {
        let (mut map, report) = good(&text);
        assert_eq!((e820(&map).len(), report.e820, report.skipped), (2, 2, 2));
        map.resolve().unwrap();
        assert_eq!(map.e820.ram_bytes(), Bytes(0x8000_0000));
    }
    let (map, _) = good(&format!("{first}{BIOS}{reserved}"));
    assert_eq!(e820(&map), [(0, 0x4000_0000, 1)]);
}

#[test]
fn nodes_from_old_and_new_lines() {
    let srat = "\
SRAT: Node 0 PXM 0 0-20000000
SRAT: Node 1 PXM 5 [mem 0x20000000-0x2fffffff]
ACPI: SRAT: Node 1 PXM 5 [mem 0x30000000-0x3fffffff] hotplug non-volatile
ACPI: SRAT: Node 1 PXM 5 [mem 0x50000000-0x4fffffff]
SRAT: Node 2 PXM 6 [mem 0x40000000-0x4fffffff] Hot Pluggable
SRAT: PXM 0 -> APIC 0 -> Node 0
SRAT: PXM 5 -> APIC 0x0104 -> Node 1
SRAT: PXM 5 -> X2APIC 0x0108 ignored
SRAT: PXM 5 -> APIC 0x9999 -> Node 1 skipped apicid that is too big
ACPI: SRAT: Failed to mark hotplug range
";
    let early = "  node   0: [mem 0x0000000000000000-0x000000003fffffff]\n";
    for text in [
        format!("{BIOS}{srat}{early}"),
        format!("{early}{srat}{BIOS}"),
    ] {
        let (map, report) = good(&text);
        let want = [
            (0, 0x2000_0000, 0),
            (0x2000_0000, 0x3000_0000, 1),
            (0x3000_0000, 0x4000_0000, 1),
            (0x4000_0000, 0x5000_0000, 2),
        ];
        assert_eq!((nodes(&map), report.srat_mem), (want.to_vec(), 4));
        let hot: Vec<_> = map.meminfo.blocks().iter().map(|b| b.hotplug).collect();
        assert_eq!(hot, [false, false, true, true]);
        assert_eq!(cpus(&map), [(0, 0), (1, 1)]);
    }
    let spans = "\
Initmem setup node 0 [mem 0x0000000000001000-0x000000001fffffff]
Initmem setup node 1 [mem 0x0000000020000000-0x000000003fffffff]
";
    let (map, _) = good(&format!("{spans}{BIOS}"));
    assert_eq!(nodes(&map).len(), 2);
    let joined = "NUMA: Node 0 [mem 0x00000000-0x0009ffff] + [mem 0x00100000-0x1fffffff] -> [mem 0x00000000-0x1fffffff]\n";
    let (map, _) = good(&format!("{spans}{joined}{BIOS}"));
    assert_eq!(nodes(&map), [(0, 0x2000_0000, 0)]);
    let (map, _) = good(&format!("{joined}{early}{spans}{BIOS}"));
    assert_eq!(nodes(&map), [(0, 0x4000_0000, 0)]);
    // The kernel had no use for it.
    for no in [
        "SRAT: SRAT not used.\n",
        "Faking a node at [mem 0x0-0x1]\n",
        "NUMA: Faking a node at [mem 0x0-0x1]\n",
    ] {
        let (map, report) = good(&format!("{BIOS}{srat}{no}"));
        assert!(map.meminfo.is_empty() && report.srat_mem == 0);
        assert_eq!(cpus(&map), [(0, 0), (1, 0)]);
    }
}

/// The first years of 2.6: the last byte is part of a range, a node's range
/// grows with each line, and CPUs have a number in between.
#[test]
fn the_srat_of_early_kernels() {
    let text = "\
SRAT: PXM 0 -> APIC 0 -> CPU 0 -> Node 0
SRAT: PXM 1 -> APIC 1 -> CPU 1 -> Node 1
SRAT: Node 0 PXM 0 0-9ffff
SRAT: Node 0 PXM 0 0-1fffffff
SRAT: Node 1 PXM 1 20000000-3fffffff
SRAT: Node 1 PXM 1 20000000-40000000
";
    let (mut map, report) = good(&format!("{BIOS}{text}"));
    let want = [
        (0, 0xa0000, 0),
        (0, 0x2000_0000, 0),
        (0x2000_0000, 0x4000_0000, 1),
        (0x2000_0000, 0x4000_0000, 1),
    ];
    assert_eq!((nodes(&map), report.srat_mem), (want.to_vec(), 4));
    assert_eq!(cpus(&map), [(0, 0), (1, 1)]);
    map.resolve().unwrap();
    assert_eq!(nodes(&map), [(0, 0x2000_0000, 0), want[2]]);
}

/// Where the SRAT was of no use, the northbridge was asked.
#[test]
fn nodes_of_the_northbridge() {
    let srat = "SRAT: Node 0 PXM 0 0-3fffffff\nSRAT: PXM 1 -> APIC 1 -> Node 1\n";
    let bridge = "\
Node 0 MemBase 0000000000000000 Limit 000000001fffffff
Skipping disabled node 2
Node 1 MemBase 0000000020000000 Limit 0000000040000000
";
    let spans = "\
Bootmem setup node 0 0000000000000000-000000001fffffff
Bootmem setup node 1 0000000020000000-0000000040000000
";
    let two = [(0, 0x2000_0000, 0), (0x2000_0000, 0x4000_0000, 1)];
    for text in [
        format!("{BIOS}{srat}SRAT: SRAT not used.\n{bridge}{spans}"),
        format!("{bridge}{spans}SRAT: SRAT not used.\n{srat}{BIOS}"),
        format!("{BIOS}{bridge}"),
        format!("{BIOS}{spans}"),
    ] {
        let (map, _) = good(&text);
        assert_eq!(nodes(&map), two, "{text}");
    }
    let fake = "Faking a node at [mem 0x0-0x1]\n";
    let (map, _) = good(&format!("{BIOS}{srat}{bridge}{fake}"));
    assert!(map.meminfo.is_empty());
}

#[test]
fn nodes_by_their_page_frames() {
    for list in [
        "early_node_map[3] active PFN ranges\n    0:        0 ->      159\n    0:      256 ->   131072\n    1:   131072 ->   262144\n",
        "[    0.000000] Early memory PFN ranges\n[    0.000000]     0: 0x00000000 -> 0x0000009f\n    0: 0x00000100 -> 0x00020000\n    1: 0x00020000 -> 0x00040000\n",
    ] {
        let more = "On node 0 totalpages: 131071\n    1: 0x00000000 -> 0x00000001\n";
        let (map, _) = good(&format!("{BIOS}{list}{more}"));
        let want = [(0, 0x9f000, 0), (0x100000, 0x2000_0000, 0), (0x2000_0000, 0x4000_0000, 1)];
        assert_eq!(nodes(&map), want, "{list}");
        // The size of a page is not said: no RAM comes of them.
        assert_eq!(read(list).0, Err(Error::MapMissing));
    }
}

/// A log that has lost its beginning, or a machine that has no e820.
#[test]
fn ram_of_the_nodes_when_there_is_no_table() {
    let text = "\
ACPI: SRAT: Node 0 PXM 0 [mem 0x80000000-0xffffffff]
ACPI: SRAT: Node 1 PXM 8 [mem 0x00000000-0xffffffffffffffff] hotplug
ACPI: NUMA: SRAT: PXM 0 -> MPIDR 0x20000 -> Node 0
ACPI: NUMA: SRAT: PXM 1 -> HARTID 0x1 -> Node 1
ACPI: NUMA: SRAT: PXM 0 -> MPIDR 0x0 -> Node -1
ACPI: SRAT: PXM 0 -> ITS 0 -> Node 0
  node   0: [mem 0x0000000080000000-0x00000000febeffff]
  node   0: [mem 0x00000000fec00000-0x00000000ffffffff]
Initmem setup node 2 as memoryless
";
    let (mut map, report) = good(text);
    let ram = [(0x8000_0000, 0xfebf_0000, 1), (0xfec0_0000, 1 << 32, 1)];
    assert_eq!((e820(&map), report.e820), (ram.to_vec(), 2));
    assert_eq!(nodes(&map), [(0x8000_0000, 1 << 32, 0)]);
    assert_eq!(cpus(&map), [(0, 0), (1, 1)]);
    map.resolve().unwrap();
    assert_eq!(map.numa, NumaSource::Srat);
    // Any table is better, wherever it stands.
    for text in [format!("{text}{BIOS}"), format!("{BIOS}{text}")] {
        let (map, report) = good(&text);
        assert_eq!((e820(&map).len(), report.e820), (1, 1));
    }
    // The SRAT alone says nothing of RAM.
    let srat = text.split_once("  node").unwrap().0;
    assert_eq!(read(srat).0, Err(Error::MapMissing));
}

/// The hypervisor below has a map and nodes of its own.
#[test]
fn xen_before_its_guest() {
    let text = "\
(XEN) Xen-e820 RAM map:
(XEN)  [0000000000000000, 000000000009dfff] (usable)
(XEN) SRAT: PXM 3 -> APIC 6a -> Node 3
(XEN) SRAT: Node 0 PXM 0 [0000000000000000, 000000007fffffff]
Oct  4 12:05:25.087 (XEN) SRAT: Node 1 PXM 1 880000000-1080000000
[    0.000000] Xen: [mem 0x0000000000000000-0x000000000009ffff] usable
a prefix that nobody knows Xen: [mem 0x0000000000100000-0x000000001fffffff] usable
";
    let (map, report) = good(text);
    let want = [(0, 0xa0000, 1), (0x100000, 0x2000_0000, 1)];
    assert_eq!(e820(&map), want);
    assert_eq!((report.srat_mem, report.cpus), (0, 0));
}

#[test]
fn cpus_as_they_are_started() {
    for list in [
        ".... node  #0, CPUs:        #1\n.... node  #1, CPUs:    #2  #3\n",
        ".... node  #0, CPUs:        #1\n.... node  #1, CPUs:    #2\n  #3\n",
        "Booting Node   0, Processors  #1 OK\nsmpboot: Booting Node   1, Processors  #2 #3 OK\n",
        "Booting Node 0 Processor 1 APIC 0x2\nBooting Node 1 Processor 2 APIC 0x3\nsmpboot: Booting Node 1 Processor 3 APIC 0x4\n",
    ] {
        let (map, report) = good(&format!("{BIOS}{list}"));
        assert_eq!(cpus(&map), [(0, 0), (1, 0), (2, 1), (3, 1)], "{list}");
        assert_eq!(report.cpus, 4);
    }
    // The boot CPU's node is the SRAT's first.
    let text = "SRAT: PXM 3 -> APIC 0x10 -> Node 3\n.... node  #1, CPUs:   #1\n";
    let (map, _) = good(&format!("{BIOS}{text}"));
    assert_eq!(cpus(&map), [(0, 3), (1, 1)]);
    // More than the map holds, and no list at all: the log is good.
    let (map, _) = good(&format!("{BIOS}.... node #0, CPUs: #1 #511 #512 #99999999999\n.... node #77, CPUs: #4\n#5\nBooting Node x\n"));
    assert_eq!(cpus(&map), [(0, 0), (1, 0), (511, 0)]);
}

#[test]
fn distances_from_the_lines_that_have_them() {
    let d = |map: &FirmwareMap, a, b| map.slit.distance(NodeId(a), NodeId(b));
    for text in [
        "OF: NUMA: distance[node0 -> node1] = 21\nOF: NUMA: distance[node1 -> node0] = 31\n",
        "NUMA: Distance from node 0 to node 1 is 21\nSLIT: distance 1 0 31\n",
        "ACPI: SLIT: Node 0: 10 21\nACPI: SLIT: Node 1: 31 10\n",
        "node distances:\nnode   0   1 \n  0:  10  21 \n  1:  31  10 \n\n",
    ] {
        let (map, report) = good(&format!("{BIOS}{text}"));
        assert_eq!((d(&map, 0, 1), d(&map, 1, 0)), (21, 31), "{text}");
        assert!(report.distances >= 2);
    }
    let nothing = "\
NUMA: Initialized distance table, cnt=2
NUMA: Warning: invalid distance parameter, from=0 to=1 distance=999
ACPI: SLIT 0x000000006F979000 00003C (v01 SUPERM SMCI--MB 00000001 INTL 20210331)
ACPI: SLIT table looks invalid. Not used.
the distance to the moon is 1 2 3
";
    let (map, report) = good(&format!("{BIOS}{nothing}"));
    assert!(!map.slit.is_set() && report.distances == 0);
    assert_eq!(
        read(&format!("{BIOS}NUMA: distance 0 1 9\n")).0,
        Err(Error::MapBadDistance)
    );
}

#[test]
fn the_last_boot_counts() {
    let old = LAPTOP.replace("0x000000048b7fffff", "0x00000002ffffffff");
    let (map, _) = good(&format!("{old}{LAPTOP}"));
    assert_eq!(map.e820.end_of_ram_pfn(), Pfn(0x48b800));
    assert_eq!(map.e820.len(), 20);
}

#[test]
fn bad_lines_are_named() {
    let bad = [
        (
            "BIOS-e820: [mem 0x0000000000000000-0x0000000",
            Error::MapMalformed,
        ),
        ("BIOS-e820: [mem 0x0-0xfff]", Error::MapMalformed),
        ("BIOS-e820: [mem 0x0-0xfff] cheese", Error::MapMalformed),
        ("BIOS-e820: [mem 0x0-0xfff] type 0", Error::MapMalformed),
        ("BIOS-e820: [mem 0x2000-0xfff] usable", Error::MapMalformed),
        ("BIOS-e820: [mem 0x-0xfff] usable", Error::MapMalformed),
        ("BIOS-e820: 2000 - 1000 (usable)", Error::MapMalformed),
        (
            "BIOS-e820: [mem 0x0-0x1ffffffffffffffff] usable",
            Error::MapMalformed,
        ),
        (
            "BIOS-e820: [mem 0x1-0xffffffffffffffff] usable",
            Error::MapEntryOverflow,
        ),
        ("BIOS-e820: ", Error::MapMalformed),
        ("SRAT: Node 0 PXM 0 [mem 0x0-0xff", Error::MapMalformed),
        ("SRAT: Node 0 PXM 0 ", Error::MapMalformed),
        ("SRAT: Node 64 PXM 0 [mem 0x0-0xff]", Error::MapBadNode),
        (
            "SRAT: Node 99999999999 PXM 0 [mem 0x0-0xff]",
            Error::MapBadNode,
        ),
        ("SRAT: PXM 0 -> APIC zz -> Node 0", Error::MapMalformed),
        ("SRAT: PXM 0 -> APIC 0 -> Node 64", Error::MapBadNode),
    ];
    for (line, error) in bad {
        let (result, map, report) = read(&format!("{BIOS}[    0.000000] {line}\n{BIOS}"));
        let want = match line {
            // Nothing behind the colon is nothing.
            "BIOS-e820: " => read(&format!("{BIOS}{line}")).0,
            _ => Err(error),
        };
        assert_eq!(result, want, "{line}");
        if result.is_err() {
            assert_eq!(report.first_bad_line, Some((2, error)), "{line}");
            assert_eq!((report.lines, report.e820), (3, 2));
            assert!(map.e820.is_empty(), "a refused log leaves nothing");
        }
    }
    assert_eq!(read("").0, Err(Error::MapMissing));
    assert_eq!(read(&"noise\n".repeat(999)).0, Err(Error::MapMissing));
    let many = BIOS.repeat(E820_MAX_ENTRIES + 1);
    let (result, _, report) = read(&many);
    assert_eq!(result, Err(Error::MapTooManyEntries));
    assert_eq!(
        report.first_bad_line,
        Some((E820_MAX_ENTRIES as u32 + 1, Error::MapTooManyEntries))
    );
}

fn log() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![LAPTOP, SERVER, VM])
}

/// Reads, and goes on as a boot would: whatever comes, nothing panics, and
/// what is resolved is valid.
pub fn survive(text: &str) {
    let (result, mut map, report) = read(text);
    assert_eq!(report.lines as usize, text.lines().count());
    if result.is_err() {
        assert!(map.e820.is_empty() && map.meminfo.is_empty());
        return;
    }
    if map.resolve().is_ok() {
        map.validate().unwrap();
        let mut scaled = Box::new(Scaled::NEW);
        if scale(&mut map, Pages(65536), &mut scaled).is_ok() {
            map.validate().unwrap();
        }
    }
}

proptest! {
    #[test]
    fn random_text(text in "\\PC{0,200}") {
        survive(&text);
    }

    #[test]
    fn random_words(words in prop::collection::vec(prop::sample::select(vec![
        "BIOS-e820: ", "[mem ", "0x", "0x1000", "-", "-0xffffff", "]", " usable", " reserved", "\n",
        "SRAT: ", "Node ", "PXM ", "0 ", "1 ", "63 ", "18446744073709551616 ", "-> APIC ", "[gap ",
        "node distances:\n", "node ", ": ", "#", ".... node", ", CPUs:", "user: ", "é", "[", "<", ">",
        "kernel: ", " kernel: ", "kern ", "NUMA: ", "distance ", "SLIT: ", "ffffffffffffffff", "(usable)",
    ]), 0..60)) {
        survive(&words.concat());
    }

    #[test]
    fn flipped_bits(log in log(), flips in prop::collection::vec((any::<prop::sample::Index>(), 0..7u8), 1..40)) {
        let mut bytes = log.as_bytes().to_vec();
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        survive(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn cut_logs(log in log(), from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>()) {
        let (a, b) = (from.index(log.len()), to.index(log.len()));
        survive(&log[a.min(b)..a.max(b)]);
    }

    #[test]
    fn shuffled_logs(log in log().prop_flat_map(|l| Just(l.lines().collect::<Vec<_>>()).prop_shuffle())) {
        let text = log.join("\n");
        let (result, _, report) = read(&text);
        prop_assert_eq!(result, Ok(()));
        prop_assert!(report.e820 == 20 || report.e820 == 15 || report.e820 == 11);
    }
}
