// SPDX-License-Identifier: GPL-2.0

//! boot/: whole boots, from a map to the buddy system.

use proptest::prelude::*;
use shadowmm_core::boot::Boot;
use shadowmm_core::boot::Config;
use shadowmm_core::boot::CrashParameter;
use shadowmm_core::boot::Stage;
use shadowmm_core::boot::Store;
use shadowmm_core::boot::Text;
use shadowmm_core::buddy::gfp;
use shadowmm_core::buddy::AllocRequest;
use shadowmm_core::buddy::PageAllocator;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result;
use shadowmm_core::firmware::FirmwareMap;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::Backing;
use shadowmm_core::phys::BackingRun;
use shadowmm_core::phys::Bytes;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::PageBytes;
use shadowmm_core::phys::PageOrder;
use shadowmm_core::phys::Pages;
use shadowmm_core::phys::PhysAddr;
use shadowmm_core::report::failure::write_mem_info;
use shadowmm_core::report::NodeFile;
use shadowmm_core::report::Snapshot;
use shadowmm_host_tests::machine::backing;
use shadowmm_host_tests::machine::builtin;
use shadowmm_host_tests::machine::from_log;
use shadowmm_host_tests::machine::text;
use shadowmm_host_tests::HostPlatform;

type HostBoot = Boot<'static, HostPlatform>;

fn detect(map: &FirmwareMap, backing: &Backing<'static>, config: Config) -> Result<HostBoot> {
    let store = Box::leak(Box::new(Store::new()));
    Boot::detect(store, map, backing, &config, HostPlatform::default())
}

fn validate(boot: &Boot<'_, HostPlatform>) {
    match boot.validate().unwrap() {
        Ok(pages) => assert!(pages > Pages::ZERO),
        Err(flaw) => panic!("{flaw}"),
    }
}

/// Everything that must hold after any successful boot.
fn check_booted(boot: &Boot<'_, HostPlatform>) {
    validate(boot);
    let mm = boot.mm().unwrap();
    boot.accounting().check().unwrap();
    assert_eq!(boot.accounting().managed, mm.managed().bytes());
    assert_eq!(boot.accounting().usable, boot.machine.map.e820.ram_bytes());
    let mut free = Pages::ZERO;
    boot.for_each_zone(&mut |zone| {
        free += zone.free();
        Ok(())
    })
    .unwrap();
    assert_eq!(
        free,
        mm.managed(),
        "everything that was handed over is free"
    );
    assert_eq!(mm.memblock.free_pages(), mm.managed());
}

#[test]
fn built_in_machine_boots_on_two_nodes() {
    let backing = backing(&[256, 256]);
    let crashkernel = CrashParameter::new("256M").unwrap();
    let config = Config {
        crashkernel,
        ..Config::default()
    };
    let mut boot = detect(&builtin(&backing), &backing, config).unwrap();
    assert_eq!(boot.stage(), Stage::Detect);
    assert_eq!(
        boot.write(Text::Memblock, &mut String::new()),
        Err(Error::StageOrder)
    );
    for (stage, texts) in [
        (
            Stage::Memblock,
            &[Text::E820, Text::Iomem, Text::Memblock][..],
        ),
        (Stage::Paging, &[Text::Memblock]),
        (
            Stage::Zones,
            &[Text::Nodes, Text::Buddyinfo, Text::Zoneinfo],
        ),
        (Stage::HandOff, &Text::ALL),
    ] {
        assert_eq!(boot.advance(), Ok(stage));
        for &kind in texts {
            println!("--- {stage:?} {kind:?}\n{}", text(&boot, kind));
        }
    }
    assert_eq!(boot.advance(), Err(Error::StageDone));
    check_booted(&boot);
    let mm = boot.mm().unwrap();
    assert_eq!(mm.nodes.online().count(), 2);
    assert!(
        text(&boot, Text::Iomem).contains("  : Crash kernel")
            || text(&boot, Text::Iomem).contains(" : Crash kernel")
    );
    for name in ["DMA", "DMA32", "Normal", "Movable"] {
        assert!(
            text(&boot, Text::Buddyinfo).contains(name),
            "no zone {name}"
        );
    }
    // The promise of the README: metadata below half a percent of the region.
    assert!(
        mm.metadata().0 * 200 < backing.pages().bytes().0,
        "{:?}",
        mm.metadata()
    );
}

#[test]
fn each_node_of_the_built_in_machine_lies_on_one_of_the_host() {
    // In smaller regions the last node may take some pages of the one before:
    // node borders move to page blocks, and there is little to spare.
    for sizes in [&[64usize, 64][..], &[256, 256], &[64, 128, 64], &[128, 96]] {
        let backing = backing(sizes);
        let boot = detect(&builtin(&backing), &backing, Config::default()).unwrap();
        let segments = boot.region().unwrap().segments();
        let strays = segments.iter().filter(|s| s.nid != s.host_node);
        assert_eq!(strays.count(), 0, "{sizes:?}: {segments:?}");
    }
}

#[test]
fn other_machines_boot_from_their_logs() {
    for log in ["laptop.log", "server-snc.log", "vm.log"] {
        for sizes in [&[256usize, 256][..], &[64], &[96, 160]] {
            let backing = backing(sizes);
            let mut boot = detect(&from_log(log), &backing, Config::default()).unwrap();
            boot.run()
                .unwrap_or_else(|error| panic!("{log} on {sizes:?}: {error}"));
            check_booted(&boot);
            let nodes = boot
                .machine
                .map
                .meminfo
                .blocks()
                .iter()
                .map(|b| b.nid.0)
                .max()
                .unwrap()
                + 1;
            assert_eq!(
                boot.mm().unwrap().nodes.online().count(),
                nodes as usize,
                "{log}"
            );
        }
    }
}

/// The glue numbers the files in C and has core write the text of that number.
#[test]
fn the_files_of_proc_stand_in_the_order_of_the_texts() {
    let path = format!(
        "{}/../../module/kernel/procfs.c",
        env!("CARGO_MANIFEST_DIR")
    );
    let source = std::fs::read_to_string(path).unwrap();
    let table = source.split("files[] = {").nth(1).unwrap();
    let table = table.split("};").next().unwrap();
    let names: Vec<_> = table.split('"').skip(1).step_by(2).collect();
    let mut expected: Vec<_> = Text::ALL.iter().map(|text| text.name()).collect();
    expected.extend(["refusals", "failure", "slab_report", "users"]);
    assert_eq!(names, expected);
    for (i, text) in Text::ALL.into_iter().enumerate() {
        assert_eq!(text as usize, i);
    }
}

fn crash_boot(text: &str) -> Result<HostBoot> {
    let backing = backing(&[64, 64]);
    let config = Config {
        crashkernel: CrashParameter::new(text)?,
        ..Config::default()
    };
    let mut boot = detect(&builtin(&backing), &backing, config)?;
    boot.run()?;
    check_booted(&boot);
    Ok(boot)
}

#[test]
fn a_crash_kernel_without_room_is_left_out_as_linux_does() {
    // The last starts where no crash kernel may (`CRASH_ALIGN`).
    for text in ["15G", "256M@3G", "256M@64P", "256M@1025M"] {
        let boot = crash_boot(text).unwrap();
        assert_eq!(
            boot.crash().refused,
            Some(Error::CrashKernelNoRoom),
            "{text}"
        );
        assert_eq!(boot.accounting().crash_kernel, Bytes::ZERO);
        assert!(!self::text(&boot, Text::Iomem).contains("Crash kernel"));
    }
    assert_eq!(crash_boot("1000G").err(), Some(Error::BadParameter));
    assert_eq!(crash_boot("a lot").err(), Some(Error::BadParameter));
}

#[test]
fn a_crash_kernel_lies_where_it_was_asked_for() {
    // The shadow of a 16 GiB machine on 124 MiB of RAM.
    let boot = crash_boot("512M@1G").unwrap();
    let crash = boot.crash();
    assert_eq!((crash.refused, crash.low.is_empty()), (None, true));
    let there = boot.machine.scaled.to_scaled(PhysAddr(1 << 30));
    assert!(crash.main.contains(there), "{crash:?} {there:?}");
    let half_gib = boot.machine.scaled.to_scaled_size(Bytes(512 << 20));
    assert_eq!(crash.main.size().pages_down(), half_gib.pages_up());

    let boot = crash_boot("crashkernel=512M,high crashkernel=128M,low").unwrap();
    let border = boot.machine.scaled.to_scaled(PhysAddr(4 << 30));
    assert!(boot.crash().main.start >= border && boot.crash().low.end <= border);
    assert_eq!(
        self::text(&boot, Text::Iomem)
            .matches("Crash kernel")
            .count(),
        2
    );

    let boot = crash_boot("1G-8G:64M,8G-:256M").unwrap();
    let quarter_gib = boot.machine.scaled.to_scaled_size(Bytes(256 << 20));
    assert_eq!(boot.crash().size().pages_down(), quarter_gib.pages_up());
    assert_eq!(crash_boot("1G-8G:64M").unwrap().crash().size(), Bytes::ZERO);
}

#[test]
fn all_memory_can_be_taken_and_comes_back() {
    let backing = backing(&[32, 32]);
    let mut boot = detect(&builtin(&backing), &backing, Config::default()).unwrap();
    boot.run().unwrap();
    let before = text(&boot, Text::Buddyinfo);
    let mm = boot.mm().unwrap();
    let mut taken = Vec::new();
    for order in PageOrder::all().rev() {
        while let Ok(block) = mm
            .buddy()
            .alloc_block(&AllocRequest::new(gfp::GFP_ATOMIC, order))
        {
            taken.push(block.into_raw());
        }
        while let Ok(pfn) = mm
            .buddy()
            .alloc(&AllocRequest::new(gfp::GFP_HIGHUSER_MOVABLE, order))
        {
            taken.push((pfn, order));
        }
    }
    let pages: u64 = taken.iter().map(|(_, order)| order.pages().0).sum();
    assert!(pages * 10 > mm.managed().0 * 9, "nearly all of it");
    validate(&boot);
    for (pfn, order) in taken {
        mm.buddy().free(pfn, order).unwrap();
        assert_eq!(mm.buddy().free(pfn, order), Err(Error::DoubleFree));
    }
    validate(&boot);
    assert_eq!(text(&boot, Text::Buddyinfo), before);
}

#[test]
fn nodes_with_reserved_memory_are_not_hotpluggable() {
    let mut map = Box::new(FirmwareMap::NEW);
    map.e820.push(0, 4 << 30, 1).unwrap();
    map.meminfo.push(0, 1 << 30, 0, false).unwrap();
    map.meminfo.push(1 << 30, 1 << 30, 0, true).unwrap();
    map.meminfo.push(2 << 30, 2 << 30, 1, true).unwrap();
    let backing = backing(&[32, 32]);
    let mut boot = detect(&map, &backing, Config::default()).unwrap();
    boot.advance().unwrap();
    let dump = text(&boot, Text::Memblock);
    // The first MiB is reserved, and node 0 stays with it.
    let of = |array: &str| -> Vec<(bool, bool)> {
        let lines = dump.lines().filter(|line| line.contains(array));
        lines
            .map(|line| (line.contains("on node 0"), line.ends_with("flags: 0x1")))
            .collect()
    };
    let memory = of(" memory[0x");
    assert!(memory.contains(&(true, false)), "{dump}");
    assert!(!memory.contains(&(true, true)), "{dump}");
    assert!(memory.contains(&(false, true)), "{dump}");
    // Page 0 is not RAM and has no node.
    let reserved = of(" reserved[0x");
    assert_eq!(reserved, [(false, false), (true, false)], "{dump}");
    boot.run().unwrap();
    check_booted(&boot);
}

/// Two nodes with memory, one with CPUs only between them.
fn with_a_memoryless_node() -> Box<FirmwareMap> {
    let mut map = Box::new(FirmwareMap::NEW);
    map.e820.push(0, 4 << 30, 1).unwrap();
    map.meminfo.push(0, 2 << 30, 0, false).unwrap();
    map.meminfo.push(2 << 30, 2 << 30, 2, false).unwrap();
    for (cpu, nid) in [(0, 0), (1, 1), (3, 2)] {
        map.cpus.push(cpu, nid).unwrap();
    }
    map
}

#[test]
fn cpus_that_the_map_does_not_know_take_turns_on_nodes_with_memory() {
    let backing = backing(&[32, 32]);
    let store = Box::leak(Box::new(Store::new()));
    let platform = HostPlatform::with_cpus(6);
    let (map, config) = (with_a_memoryless_node(), Config::default());
    let mut boot = Boot::detect(store, &map, &backing, &config, platform).unwrap();
    boot.run().unwrap();
    check_booted(&boot);
    let nodes = boot.mm().unwrap().platform.cpu_nodes.lock().unwrap();
    // Those that it knows have had their turn, too.
    assert_eq!(nodes[..], [0, 1, 0, 2, 0, 2].map(NodeId));
}

#[test]
fn nodes_that_the_srat_names_are_possible() {
    // Node 4 is for memory to be plugged in, and its range ends above all RAM.
    let mut map = with_a_memoryless_node();
    map.meminfo.push(1 << 40, 1 << 40, 4, true).unwrap();
    let backing = backing(&[32, 32]);
    let mut boot = detect(&map, &backing, Config::default()).unwrap();
    boot.run().unwrap();
    check_booted(&boot);
    for kind in Text::ALL {
        assert!(!text(&boot, kind).contains("Node 4"), "{kind:?}");
    }
    let mm = boot.mm().unwrap();
    let states = mm.nodes.states();
    assert_eq!(states.possible.to_string(), "0-2,4");
    assert_eq!(states.online.to_string(), "0-2");
    assert!(mm.nodes.get(NodeId(4)).is_some());
    // What is not online is not there for those who ask.
    let offline = Some(NodeId(4));
    assert_eq!(mm.drain(offline), Err(Error::NodeOffline));
    assert_eq!(mm.compact(offline), Err(Error::NodeOffline));
    let mut out = String::new();
    let written = boot.write_node(NodeId(4), NodeFile::Meminfo, &mut out);
    assert_eq!(written, Err(Error::NodeOffline));

    // An SRAT that is not believed names nobody.
    map.meminfo.clear();
    map.meminfo.push(0, 1 << 30, 3, false).unwrap();
    let backing = self::backing(&[32, 32]);
    let mut boot = detect(&map, &backing, Config::default()).unwrap();
    boot.run().unwrap();
    let states = boot.mm().unwrap().nodes.states();
    assert_eq!(states.possible.to_string(), "0");
}

#[test]
fn a_failure_tells_of_all_nodes_that_are_online() {
    let mut map = with_a_memoryless_node();
    map.meminfo.push(1 << 40, 1 << 40, 4, true).unwrap();
    let backing = backing(&[32, 32]);
    let mut boot = detect(&map, &backing, Config::default()).unwrap();
    boot.run().unwrap();
    let mm = boot.mm().unwrap();
    let mut told = String::new();
    write_mem_info(&mut told, &mm.buddy(), ZoneType::Movable, None).unwrap();
    for (nid, online) in [(0, true), (1, true), (2, true), (3, false), (4, false)] {
        let line = format!("Node {nid} hugepages_total=0 ");
        assert_eq!(told.contains(&line), online, "{told}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any map either boots, and then everything holds, or is refused.
    #[test]
    fn any_map_boots_or_is_refused(
        entries in prop::collection::vec((0u64..1 << 22, 1u64..1 << 20, 1u32..6), 1..24),
        nodes in prop::collection::vec((0u64..1 << 22, 1u64..1 << 21, 0i32..5), 0..6),
        mib in 8usize..48,
    ) {
        let mut map = Box::new(FirmwareMap::NEW);
        for &(addr, size, kind) in &entries {
            map.e820.push(addr << 12, size << 12, kind).unwrap();
        }
        for &(addr, size, nid) in &nodes {
            // What the map refuses as it comes is not in it.
            let _ = map.meminfo.push(addr << 12, size << 12, nid, false);
        }
        // Not leaked memory: there may be any number of cases.
        let mut pages = vec![PageBytes([0; 4096]); mib << 8];
        let mut store = Box::new(Store::new());
        let mut backing = Backing::new();
        backing.push(BackingRun::from_pages(&mut pages, NodeId(0))).unwrap();
        let platform = HostPlatform::default();
        let config = Config::default();
        if let Ok(mut boot) = Boot::detect(&mut store, &map, &backing, &config, platform) {
            match boot.run() {
                Ok(()) => check_booted(&boot),
                // Metadata may not fit where the holes are much larger than the RAM.
                Err(error) => prop_assert!(
                    matches!(error, Error::MemblockNoMemory | Error::BootFailed | Error::MapTooManyEntries),
                    "{error:?}"
                ),
            }
        }
    }
}

#[test]
fn cpus_keep_pages_until_they_are_drained() {
    let backing = backing(&[64, 64]);
    let config = Config {
        pagesets: true,
        ..Config::default()
    };
    let mut boot = detect(&builtin(&backing), &backing, config).unwrap();
    boot.run().unwrap();
    let before = [Text::Buddyinfo, Text::Pagetypeinfo].map(|kind| text(&boot, kind));
    assert!(before[1].contains("Movable"));
    let mm = boot.mm().unwrap();
    let buddy = mm.buddy();
    let mut held = Vec::new();
    for gfp in [gfp::GFP_HIGHUSER_MOVABLE, gfp::GFP_KERNEL] {
        for order in [4, 0, 0, 0, 1, 2, 3] {
            let order = PageOrder::new(order).unwrap();
            let request = AllocRequest::new(gfp, order);
            held.push(buddy.alloc_block(&request).unwrap());
        }
    }
    boot.validate().unwrap().unwrap();
    drop(held);
    boot.validate().unwrap().unwrap();
    let zoneinfo = text(&boot, Text::Zoneinfo);
    assert!(zoneinfo.contains("high_min: "), "{zoneinfo}");
    let kept = zoneinfo.lines().filter(|line| line.contains("count:"));
    assert!(kept.clone().any(|line| !line.ends_with(" 0")), "{zoneinfo}");
    assert_ne!(text(&boot, Text::Buddyinfo), before[0]);
    assert!(!mm.buddy().drain_all_pages().is_zero());
    assert_eq!(text(&boot, Text::Buddyinfo), before[0]);
    boot.validate().unwrap().unwrap();
}
