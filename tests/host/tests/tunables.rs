// SPDX-License-Identifier: GPL-2.0

//! tunables: what the knobs take, and what follows when one is turned in a
//! running shadow. That they take what the kernel's do is tested beside those, in
//! the guest.

use proptest::prelude::*;
use shadowmm_core::boot::Boot;
use shadowmm_core::boot::Config;
use shadowmm_core::boot::Store;
use shadowmm_core::boot::Text;
use shadowmm_core::buddy::gfp;
use shadowmm_core::buddy::AllocRequest;
use shadowmm_core::buddy::Kcompactd;
use shadowmm_core::buddy::PageAllocator;
use shadowmm_core::buddy::Rest;
use shadowmm_core::error::Error;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::CpuId;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::PageOrder;
use shadowmm_core::phys::Pages;
use shadowmm_core::tunables::Tunable;
use shadowmm_core::tunables::Tunables;
use shadowmm_core::watermark::zone_marks;
use shadowmm_core::zone::Watermark;
use shadowmm_host_tests::machine::backing;
use shadowmm_host_tests::machine::builtin;
use shadowmm_host_tests::machine::text;
use shadowmm_host_tests::HostPlatform;

type HostBoot = Boot<'static, HostPlatform>;

fn boot(mb: &[usize], config: Config) -> HostBoot {
    let backing = backing(mb);
    let store = Box::leak(Box::new(Store::new()));
    let platform = HostPlatform::default();
    let mut boot = Boot::detect(store, &builtin(&backing), &backing, &config, platform).unwrap();
    boot.run().unwrap();
    boot
}

fn running() -> HostBoot {
    let config = Config {
        pagesets: true,
        ..Config::default()
    };
    boot(&[256, 256], config)
}

fn read(which: Tunable, text: &str) -> Result<(usize, String), Error> {
    let mut tunables = Tunables::DEFAULT;
    let read = tunables.read(which, text);
    if read.is_err() {
        assert_eq!(tunables, Tunables::DEFAULT, "{text:?}");
    }
    Ok((read?, tunables.values(which).to_string()))
}

#[test]
fn names_and_places_are_those_of_the_glue() {
    let names: Vec<_> = Tunable::ALL.iter().map(|which| which.name()).collect();
    let expected = [
        "min_free_kbytes",
        "watermark_boost_factor",
        "watermark_scale_factor",
        "percpu_pagelist_high_fraction",
        "lowmem_reserve_ratio",
        "compaction_proactiveness",
        "extfrag_threshold",
        "transparent_hugepages",
    ];
    assert_eq!(names, expected);
    for (place, which) in Tunable::ALL.into_iter().enumerate() {
        assert_eq!(which as usize, place);
        assert_eq!(Tunable::from_name(which.name()), Some(which));
    }
    assert_eq!(Tunable::from_name("swappiness"), None);
    assert_eq!(Tunables::DEFAULT.check(), Ok(()));
}

#[test]
fn a_text_is_read_as_the_kernel_reads_it() {
    let which = Tunable::ExtfragThreshold;
    let value = |text: &str, value: &str| {
        assert_eq!(
            read(which, text),
            Ok((text.len(), value.to_owned())),
            "{text:?}"
        );
    };
    value("7", "7");
    value(" \t\r 8\n", "8");
    value("0x1F ", "31");
    value("0X1f", "31");
    value("017", "15");
    value("-0", "0");
    value("00000000000000000017", "15");
    // What follows the value stays.
    assert_eq!(read(which, "5 x"), Ok((2, "5".to_owned())));
    assert_eq!(read(which, "5\n\0"), Ok((2, "5".to_owned())));
    for bad in [
        "",
        " ",
        "x",
        "5x",
        "5\r",
        "5,6",
        "0x",
        "0xg",
        "018",
        "-",
        "-1",
        "--1",
        "+1",
        "1.5",
        "1\0",
        "1001",
        "2147483648",
        "4294967296",
        "18446744073709551616",
        "000000000000000000017",
    ] {
        assert_eq!(read(which, bad), Err(Error::BadParameter), "{bad:?}");
    }
}

#[test]
fn each_knob_has_its_range() {
    let least_and_most = |which: Tunable, good: &[u32], bad: &[u32]| {
        for value in good {
            let text = value.to_string();
            assert!(read(which, &text).is_ok(), "{which:?} {value}");
        }
        for value in bad {
            assert_eq!(
                read(which, &value.to_string()),
                Err(Error::BadParameter),
                "{which:?} {value}"
            );
        }
    };
    let most = i32::MAX as u32;
    least_and_most(Tunable::MinFreeKbytes, &[0, most], &[most + 1]);
    least_and_most(Tunable::WatermarkBoostFactor, &[0, most], &[most + 1]);
    least_and_most(Tunable::WatermarkScaleFactor, &[1, 3000], &[0, 3001]);
    least_and_most(
        Tunable::PercpuPagelistHighFraction,
        &[0, 8, most],
        &[1, 7, most + 1],
    );
    least_and_most(Tunable::LowmemReserveRatio, &[0, most], &[most + 1]);
    least_and_most(Tunable::CompactionProactiveness, &[0, 100], &[101]);
    least_and_most(Tunable::ExtfragThreshold, &[0, 1000], &[1001]);
    least_and_most(Tunable::TransparentHugepages, &[0, 1], &[2]);
}

#[test]
fn ratios_are_read_one_after_the_other() {
    let which = Tunable::LowmemReserveRatio;
    let values = |text: &str| read(which, text).map(|(_, values)| values);
    assert_eq!(values("1").as_deref(), Ok("1\t256\t32\t0\t0"));
    assert_eq!(values("1 2\t3\n4 5").as_deref(), Ok("1\t2\t3\t4\t5"));
    assert_eq!(
        read(which, "1 2 3 4 5 6"),
        Ok((10, "1\t2\t3\t4\t5".to_owned()))
    );
    assert_eq!(values("1 2 x"), Err(Error::BadParameter));
    assert_eq!(values("1 -2"), Err(Error::BadParameter));
}

#[test]
fn watermarks_follow_and_the_shadow_stays_sound() {
    let mut boot = running();
    let before = text(&boot, Text::Zoneinfo);
    let fresh = boot.tunable(Tunable::MinFreeKbytes).unwrap().to_string();
    for (which, value) in [
        (Tunable::MinFreeKbytes, "20001"),
        (Tunable::WatermarkScaleFactor, "500"),
        (Tunable::MinFreeKbytes, "0"),
    ] {
        assert_eq!(boot.tune(which, value), Ok(value.len()));
        assert_eq!(boot.tunable(which).unwrap().to_string(), value);
        boot.validate().unwrap().unwrap();
        let mm = boot.mm().unwrap();
        let lowmem = mm
            .nodes
            .zones()
            .filter(|zone| zone.kind != ZoneType::Movable);
        let lowmem: Pages = lowmem.map(|zone| zone.managed()).sum();
        let kbytes = mm.reserves.min_free_kbytes;
        for zone in mm.nodes.zones() {
            let factor = mm.tunables.watermark_scale_factor;
            let marks = zone_marks(zone.kind, zone.managed(), lowmem, kbytes, factor);
            assert_eq!(zone.watermark(Watermark::Min), marks.min);
            assert_eq!(zone.watermark(Watermark::High), marks.high);
            assert_eq!(zone.boost(), Pages::ZERO);
        }
    }
    assert_ne!(text(&boot, Text::Zoneinfo), before);
    boot.tune(Tunable::WatermarkScaleFactor, "10").unwrap();
    boot.tune(Tunable::MinFreeKbytes, &fresh).unwrap();
    assert_eq!(text(&boot, Text::Zoneinfo), before);
    // A refused text leaves all as it was.
    assert_eq!(
        boot.tune(Tunable::MinFreeKbytes, "much"),
        Err(Error::BadParameter)
    );
    assert_eq!(text(&boot, Text::Zoneinfo), before);
}

#[test]
fn what_is_kept_free_is_refused_at_once() {
    let mut boot = running();
    let request = AllocRequest::new(gfp::GFP_KERNEL | gfp::__GFP_NOWARN, PageOrder::ZERO);
    let one = |boot: &HostBoot| boot.mm().unwrap().buddy().alloc(&request);
    // The CPU has pages at hand, which Linux does not give out either below the mark.
    let held: Vec<_> = (0..3).map(|_| one(&boot).unwrap()).collect();
    boot.tune(Tunable::MinFreeKbytes, "100000000").unwrap();
    assert_eq!(one(&boot), Err(Error::NoMemory));
    boot.tune(Tunable::MinFreeKbytes, "1000").unwrap();
    let again = one(&boot).unwrap();
    let mm = boot.mm().unwrap();
    for pfn in held.into_iter().chain([again]) {
        mm.buddy().free(pfn, PageOrder::ZERO).unwrap();
    }
    boot.validate().unwrap().unwrap();
}

#[test]
fn reserves_follow_the_ratios() {
    let mut boot = running();
    let dma = |boot: &HostBoot| {
        let mm = boot.mm().unwrap();
        let zone = mm.nodes.zone(NodeId(0), ZoneType::Dma).unwrap();
        (
            zone.lowmem_reserve(ZoneType::Normal),
            mm.reserves.totalreserve,
        )
    };
    let (before, total) = dma(&boot);
    boot.tune(Tunable::LowmemReserveRatio, "128 128").unwrap();
    let (twice, more) = dma(&boot);
    assert!((2 * before.0..=2 * before.0 + 1).contains(&twice.0) && !before.is_zero());
    assert!(more > total);
    boot.validate().unwrap().unwrap();
    boot.tune(Tunable::LowmemReserveRatio, "0 0 0 0 0").unwrap();
    assert_eq!(dma(&boot).0, Pages::ZERO);
    boot.validate().unwrap().unwrap();
}

#[test]
fn cpus_keep_the_fraction_that_they_are_told() {
    let mut boot = running();
    let limits = |boot: &HostBoot| {
        let mm = boot.mm().unwrap();
        let zone = mm.nodes.zone(NodeId(0), ZoneType::Normal).unwrap();
        let id = shadowmm_core::page::ZoneId::new(NodeId(0), ZoneType::Normal);
        let state = mm.stats.pageset(CpuId(0), id).unwrap().state();
        (zone.managed().0, state.high_min, state.high_max)
    };
    let before = limits(&boot);
    assert!(before.1 < before.2);
    boot.tune(Tunable::PercpuPagelistHighFraction, "10")
        .unwrap();
    let (managed, least, most) = limits(&boot);
    assert_eq!(least, most);
    let nodes_cpus = managed / 10 / most as u64;
    assert!(nodes_cpus >= 1, "{managed} {most}");
    boot.validate().unwrap().unwrap();
    boot.tune(Tunable::PercpuPagelistHighFraction, "0").unwrap();
    assert_eq!(limits(&boot), before);
}

#[test]
fn huge_pages_want_more_kept_free() {
    let mut boot = running();
    let kbytes = |boot: &HostBoot| boot.tunable(Tunable::MinFreeKbytes).unwrap().first();
    assert_eq!(
        boot.tunable(Tunable::TransparentHugepages).unwrap().first(),
        0
    );
    let without = kbytes(&boot);
    boot.tune(Tunable::TransparentHugepages, "1").unwrap();
    assert!(kbytes(&boot) > without);
    boot.tune(Tunable::TransparentHugepages, "0").unwrap();
    assert!(kbytes(&boot) <= without);
    // What the user has set stays, where it is more than the root.
    boot.tune(Tunable::MinFreeKbytes, "9000").unwrap();
    boot.tune(Tunable::TransparentHugepages, "0").unwrap();
    assert_eq!(kbytes(&boot), 9000);
    boot.validate().unwrap().unwrap();
}

#[test]
fn who_is_not_to_compact_unasked_sleeps_until_the_knob_is_turned() {
    let mut boot = running();
    let mut kcompactd = Kcompactd::new(NodeId(0));
    let mut step = |boot: &HostBoot| kcompactd.step(&boot.mm().unwrap().buddy());
    let turn = |boot: &mut HostBoot, text: &str| {
        let turned = boot.tune(Tunable::CompactionProactiveness, text);
        assert_eq!(turned, Ok(text.len()));
    };
    turn(&mut boot, "0");
    assert_eq!([step(&boot), step(&boot)], [Rest::UntilWoken; 2]);
    turn(&mut boot, "20");
    assert_eq!([step(&boot), step(&boot)], [Rest::Nap(500); 2]);
    turn(&mut boot, "0");
    assert_eq!(step(&boot), Rest::UntilWoken);
    // A thread that has just begun does not miss it either.
    turn(&mut boot, "30");
    kcompactd = Kcompactd::new(NodeId(0));
    let mut step = |boot: &HostBoot| kcompactd.step(&boot.mm().unwrap().buddy());
    assert_eq!([step(&boot), step(&boot)], [Rest::No, Rest::Nap(500)]);
}

#[test]
fn a_boot_starts_with_what_its_owner_wants() {
    let mut config = Config {
        pagesets: true,
        ..Config::default()
    };
    for (which, text) in [
        (Tunable::MinFreeKbytes, "12345"),
        (Tunable::WatermarkScaleFactor, "77"),
        (Tunable::LowmemReserveRatio, "100 50"),
        (Tunable::ExtfragThreshold, "400"),
    ] {
        config.set_tunable(which, text).unwrap();
    }
    for bad in ["", "x", "1 2", "1001"] {
        let refused = config.set_tunable(Tunable::ExtfragThreshold, bad);
        assert_eq!(refused, Err(Error::BadParameter), "{bad:?}");
    }
    let boot = boot(&[64, 64], config);
    let value = |which| boot.tunable(which).unwrap().to_string();
    assert_eq!(value(Tunable::MinFreeKbytes), "12345");
    assert_eq!(value(Tunable::WatermarkScaleFactor), "77");
    assert_eq!(value(Tunable::LowmemReserveRatio), "100\t50\t32\t0\t0");
    assert_eq!(value(Tunable::ExtfragThreshold), "400");
    assert_eq!(value(Tunable::CompactionProactiveness), "20");
    boot.validate().unwrap().unwrap();
}

#[test]
fn before_the_hand_off_there_is_nothing_to_turn() {
    let backing = backing(&[64]);
    let store = Box::leak(Box::new(Store::new()));
    let map = builtin(&backing);
    let platform = HostPlatform::default();
    let mut boot: HostBoot =
        Boot::detect(store, &map, &backing, &Config::default(), platform).unwrap();
    assert_eq!(
        boot.tune(Tunable::MinFreeKbytes, "1"),
        Err(Error::StageOrder)
    );
    assert_eq!(boot.tunable(Tunable::MinFreeKbytes), Err(Error::StageOrder));
}

proptest! {
    #[test]
    fn any_text_is_a_value_or_refused(text in "[ \t\n0-9xa-f-]{0,30}|\\PC{0,12}") {
        for which in Tunable::ALL {
            if let Ok((read, values)) = read(which, &text) {
                prop_assert!(read >= 1 && read <= text.len());
                // What a file shows can be written to it.
                let mut again = Tunables::DEFAULT;
                prop_assert_eq!(again.read(which, &values), Ok(values.len()));
                prop_assert_eq!(again.values(which).to_string(), values);
            }
        }
    }
}
