// SPDX-License-Identifier: GPL-2.0

//! Whole boots with `allocator=cosmos`, from every map.

use proptest::prelude::*;
use shadowmm_core::allocator::AllocatorKind;
use shadowmm_core::boot::Boot;
use shadowmm_core::boot::Config;
use shadowmm_core::boot::Stage;
use shadowmm_core::boot::Store;
use shadowmm_core::boot::Text;
use shadowmm_core::buddy::gfp;
use shadowmm_core::buddy::AllocRequest;
use shadowmm_core::buddy::Gfp;
use shadowmm_core::buddy::PageAllocator;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result;
use shadowmm_core::firmware::FirmwareMap;
use shadowmm_core::phys::Backing;
use shadowmm_core::phys::BackingRun;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::PageBytes;
use shadowmm_core::phys::PageOrder;
use shadowmm_core::phys::Pages;
use shadowmm_core::report::Snapshot;
use shadowmm_core::zone::ZoneConfig;
use shadowmm_host_tests::machine::backing;
use shadowmm_host_tests::machine::builtin;
use shadowmm_host_tests::machine::from_log;
use shadowmm_host_tests::machine::text;
use shadowmm_host_tests::HostPlatform;

type HostBoot = Boot<'static, HostPlatform>;

const ALL_GFPS: [Gfp; 4] = [
    gfp::GFP_DMA,
    gfp::GFP_DMA32,
    gfp::GFP_KERNEL,
    gfp::GFP_HIGHUSER_MOVABLE,
];

fn boot(
    map: &FirmwareMap,
    backing: &Backing<'static>,
    zones: &str,
    allocator: AllocatorKind,
) -> Result<HostBoot> {
    let config = Config {
        zones: ZoneConfig::parse(zones).unwrap(),
        allocator,
        ..Config::default()
    };
    let store = Box::leak(Box::new(Store::new()));
    let mut boot = Boot::detect(store, map, backing, &config, HostPlatform::default())?;
    boot.run()?;
    Ok(boot)
}

/// Everything that must hold after any successful boot.
fn check_booted(boot: &Boot<'_, HostPlatform>) {
    boot.validate()
        .unwrap()
        .unwrap_or_else(|flaw| panic!("{flaw}"));
    let mm = boot.mm().unwrap();
    assert_eq!(mm.allocator().kind(), AllocatorKind::Cosmos);
    boot.accounting().check().unwrap();
    assert_eq!(mm.memblock.free_pages(), mm.managed());
    assert_eq!(mm.free(), mm.managed(), "all that was handed over is free");
    let (mut zones, mut nodes) = (Pages::ZERO, Pages::ZERO);
    boot.for_each_zone(&mut |zone| {
        zones += zone.free();
        Ok(())
    })
    .unwrap();
    boot.for_each_node(&mut |node| {
        nodes += node.free;
        Ok(())
    })
    .unwrap();
    assert_eq!((zones, nodes), (mm.free(), mm.free()));
    let areas = mm.areas.as_ref().unwrap();
    let reports = areas.iter().map(|area| area.report().max);
    assert_eq!(reports.sum::<Pages>(), mm.managed());
}

/// Takes all memory, block by block of falling size, and gives it back.
fn take_and_return(boot: &HostBoot) {
    let mm = boot.mm().unwrap();
    let allocator = mm.allocator();
    let before = text(boot, Text::Buddyinfo);
    let mut taken = Vec::new();
    for order in PageOrder::all().rev() {
        for gfp in ALL_GFPS {
            while let Ok(block) = allocator.alloc_block(&AllocRequest::new(gfp, order)) {
                taken.push(block.into_raw());
            }
        }
    }
    let pages: Pages = taken.iter().map(|(_, order)| order.pages()).sum();
    assert_eq!(pages + mm.free(), mm.managed());
    boot.validate()
        .unwrap()
        .unwrap_or_else(|flaw| panic!("{flaw}"));
    for (i, (pfn, order)) in taken.iter().enumerate() {
        allocator.free(*pfn, *order).unwrap();
        if i % 64 == 0 {
            assert_eq!(allocator.free(*pfn, *order), Err(Error::DoubleFree));
        }
    }
    check_booted(boot);
    assert_eq!(text(boot, Text::Buddyinfo), before);
}

#[test]
fn the_built_in_machine_boots_with_cosmos() {
    let backing = backing(&[128, 128]);
    let boot = boot(&builtin(&backing), &backing, "", AllocatorKind::Cosmos).unwrap();
    assert_eq!(boot.stage(), Stage::HandOff);
    check_booted(&boot);
    for kind in Text::ALL {
        println!("--- {kind:?}\n{}", text(&boot, kind));
    }
    let report = text(&boot, Text::Cosmos);
    assert!(report.starts_with("allocator cosmos\nhardware_end "));
    for area in ["hardware", "kernel", "application"] {
        assert!(report.contains(&format!(", area {area}\n")), "{area}");
    }
    let mm = boot.mm().unwrap();
    assert!(mm.metadata().0 * 200 < backing.pages().bytes().0);
    // There is no other page, so all but the reserves of the devices is had.
    take_and_return(&boot);
    assert!(text(&boot, Text::Vmstat).contains("pgfree"));
}

#[test]
fn with_the_buddy_system_the_report_says_so() {
    let backing = backing(&[64]);
    let boot = boot(&builtin(&backing), &backing, "", AllocatorKind::Buddy).unwrap();
    assert_eq!(text(&boot, Text::Cosmos), "allocator buddy\n");
    assert!(boot.mm().unwrap().areas.is_none());
    assert_eq!(boot.mm().unwrap().allocator().kind(), AllocatorKind::Buddy);
    assert_eq!(boot.mm().unwrap().free(), boot.mm().unwrap().managed());
}

/// What is free by zone and order does not depend on who has it: both merge all
/// that can be merged, but for blocks that the areas' border keeps apart.
#[test]
fn both_allocators_start_from_the_same_pages() {
    let [buddy, cosmos] = AllocatorKind::ALL.map(|kind| {
        let backing = backing(&[64, 64]);
        let boot = boot(&builtin(&backing), &backing, "", kind).unwrap();
        let mut zones = vec![];
        boot.for_each_zone(&mut |zone| {
            zones.push((zone.nid, zone.kind, zone.start_pfn, zone.present));
            Ok(())
        })
        .unwrap();
        (zones, boot.mm().unwrap().managed(), boot.accounting().nodes)
    });
    assert_eq!(buddy.0, cosmos.0);
    // The areas' own memory, in pages.
    let areas = cosmos.2 - buddy.2;
    assert!(!areas.is_zero());
    assert!(buddy.1 - cosmos.1 <= areas.pages_up() + Pages(1));
    assert!(cosmos.1 <= buddy.1);
}

#[test]
fn other_machines_boot_from_their_logs() {
    for log in ["laptop.log", "server-snc.log", "vm.log"] {
        for sizes in [&[128usize, 128][..], &[64], &[96, 160]] {
            let backing = backing(sizes);
            let boot = boot(&from_log(log), &backing, "", AllocatorKind::Cosmos)
                .unwrap_or_else(|error| panic!("{log} on {sizes:?}: {error}"));
            check_booted(&boot);
        }
        let backing = backing(&[64]);
        let boot = boot(&from_log(log), &backing, "", AllocatorKind::Cosmos).unwrap();
        take_and_return(&boot);
    }
}

#[test]
fn all_memory_comes_back_whatever_zones_there_are() {
    for zones in [
        "normal",
        "dma=8M,normal",
        "dma32,normal,movable=50%",
        "dma,dma32,normal,movable",
    ] {
        let backing = backing(&[32, 16]);
        let boot = boot(&builtin(&backing), &backing, zones, AllocatorKind::Cosmos)
            .unwrap_or_else(|error| panic!("{zones}: {error}"));
        check_booted(&boot);
        take_and_return(&boot);
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
        let attempt = |allocator| -> Result<()> {
            let mut pages = vec![PageBytes([0; 4096]); mib << 8];
            let mut store = Box::new(Store::new());
            let mut backing = Backing::new();
            backing.push(BackingRun::from_pages(&mut pages, NodeId(0)))?;
            let config = Config { allocator, ..Config::default() };
            let platform = HostPlatform::default();
            let mut boot = Boot::detect(&mut store, &map, &backing, &config, platform)?;
            boot.run()?;
            check_booted(&boot);
            Ok(())
        };
        if let Err(error) = attempt(AllocatorKind::Cosmos) {
            // With the buddy system it would not boot either, except for want
            // of the areas' few pages.
            match attempt(AllocatorKind::Buddy) {
                Err(other) => prop_assert_eq!(error, other),
                Ok(()) => prop_assert!(
                    matches!(error, Error::MemblockNoMemory | Error::BootFailed | Error::MapTooManyEntries),
                    "{:?}", error
                ),
            }
        }
    }
}
