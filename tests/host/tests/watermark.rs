// SPDX-License-Identifier: GPL-2.0

//! watermark.rs: what is kept free, against kernels that have booted.

use proptest::prelude::*;
use shadowmm_core::error::Error;
use shadowmm_core::node::default_distance;
use shadowmm_core::nodemask::NodeMask;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::*;
use shadowmm_core::sparse::SectionOrder;
use shadowmm_core::tunables::Tunables;
use shadowmm_core::watermark;
use shadowmm_core::watermark::init_reserves;
use shadowmm_core::watermark::int_sqrt;
use shadowmm_core::watermark::lowmem_reserve;
use shadowmm_core::watermark::min_free_kbytes;
use shadowmm_core::watermark::recommended_min_free_kbytes;
use shadowmm_core::watermark::setup_per_zone_lowmem_reserve;
use shadowmm_core::watermark::zone_marks;
use shadowmm_core::zone::Watermark;
use shadowmm_core::zone::Zone;
use shadowmm_core::zone::ZoneConfig;
use shadowmm_host_tests::early::memory;
use shadowmm_host_tests::early::scratch;
use shadowmm_host_tests::early::scratch_for;
use shadowmm_host_tests::early::Shadow;
use shadowmm_host_tests::recorded::boots;
use shadowmm_host_tests::recorded::parse_zoneinfo;
use shadowmm_host_tests::recorded::Boot;
use shadowmm_host_tests::recorded::ZoneInfo;
use shadowmm_host_tests::HostPlatform;

fn kind(zone: &ZoneInfo) -> Option<ZoneType> {
    ZoneType::ALL.into_iter().find(|k| k.name() == zone.name)
}

fn marks(zone: &Zone<HostPlatform>) -> [u64; 4] {
    use Watermark::*;
    [Min, Low, High, Promo].map(|mark| zone.watermark(mark).0)
}

/// Boots the shadow of a recorded machine and gives its zones the pages that
/// the kernel managed, except that `later` of those of `home` come behind.
fn with_boot<R>(
    boot: &Boot,
    home: Option<(i32, ZoneType)>,
    test: impl FnOnce(&Shadow<'_>) -> R,
) -> R {
    let order = SectionOrder::MAX;
    let mut scratch = scratch(scratch_for(&boot.memory, order));
    let distance = |a, b| boot.distance(a, b);
    let (config, cpus) = (&boot.config, boot.cpus);
    let shadow = Shadow::boot(&boot.memory, &mut scratch, order, config, cpus, distance).unwrap();
    for zone in &boot.zones {
        let Some(kind) = kind(zone) else { continue };
        let later = match home == Some((zone.nid, kind)) {
            true => boot.freed_later,
            false => Pages::ZERO,
        };
        let ours = shadow.nodes.zone(NodeId(zone.nid), kind).unwrap();
        ours.add_managed(Pages(zone.managed) - later);
    }
    test(&shadow)
}

#[test]
fn watermarks_are_those_of_recorded_boots() {
    for boot in boots() {
        // The kernel gives back the pages of its own start-up code when the
        // watermarks are made already. Where they lie is not recorded, so it
        // must be true of exactly one zone.
        let tunables = Tunables::DEFAULT;
        let fits = |home| {
            with_boot(&boot, Some(home), |shadow| {
                let reserves = init_reserves(&shadow.nodes, &tunables).unwrap();
                let valid = watermark::validate(&shadow.nodes, &tunables, &reserves);
                assert_eq!(valid, Ok(()));
                boot.min_free_kbytes == reserves.min_free_kbytes
                    && boot.zones.iter().all(|zone| match kind(zone) {
                        Some(kind) => {
                            let ours = shadow.nodes.zone(NodeId(zone.nid), kind).unwrap();
                            marks(ours) == zone.marks
                        }
                        None => zone.marks == [0; 4],
                    })
            })
        };
        let homes = boot
            .zones
            .iter()
            .filter_map(|z| Some((z.nid, kind(z)?, z.managed)));
        let homes = homes.filter(|(.., managed)| *managed > boot.freed_later.0);
        let fitting: Vec<_> = homes.map(|(n, k, _)| (n, k)).filter(|&h| fits(h)).collect();
        assert_eq!(fitting.len(), 1, "{}: {fitting:?}", boot.name);
    }
}

#[test]
fn reserves_are_those_of_recorded_boots() {
    for boot in boots() {
        with_boot(&boot, None, |shadow| {
            setup_per_zone_lowmem_reserve(&shadow.nodes, &Tunables::DEFAULT);
            for zone in &boot.zones {
                let Some(kind) = kind(zone) else {
                    assert!(zone.protection.iter().all(|&pages| pages == 0));
                    continue;
                };
                let ours = shadow.nodes.zone(NodeId(zone.nid), kind).unwrap();
                let reserve = ZoneType::ALL.map(|highest| ours.lowmem_reserve(highest).0);
                assert_eq!(reserve, zone.protection[..4], "{}: {zone:?}", boot.name);
                // ZONE_DEVICE has no pages, so it adds nothing to Movable's.
                assert_eq!(zone.protection[4], zone.protection[3]);
            }
        });
    }
}

#[test]
fn the_running_kernel_computes_the_same() {
    // What can be said of any kernel: the reserves follow from the managed
    // pages of now, the gaps between the watermarks are equal, and
    // ZONE_MOVABLE's minimum follows from its own size.
    let Ok(text) = std::fs::read_to_string("/proc/zoneinfo") else {
        return;
    };
    let zones = parse_zoneinfo(&text);
    assert!(!zones.is_empty());
    for zone in &zones {
        let Some(kind) = kind(zone) else { continue };
        let managed = ZoneType::ALL.map(|kind| {
            let found = zones
                .iter()
                .find(|z| z.nid == zone.nid && z.name == kind.name());
            Pages(found.map_or(0, |z| z.managed))
        });
        // HighMem or other kinds of zones are not the shadow's to know.
        if zone.protection.len() != 5 {
            continue;
        }
        let reserve = lowmem_reserve(kind, &managed, &[256, 256, 32, 0]);
        assert_eq!(
            reserve.map(|pages| pages.0),
            zone.protection[..4],
            "{zone:?}"
        );
        let [min, low, high, promo] = zone.marks;
        assert!(
            low - min == high - low && promo - high == high - low,
            "{zone:?}"
        );
        if kind == ZoneType::Movable {
            let ours = zone_marks(kind, Pages(zone.managed), Pages(1), 0, 10);
            assert_eq!(ours.min.0, min);
        }
    }
}

#[test]
fn min_free_kbytes_is_as_the_kernels_own_table_says() {
    for (mib, kbytes) in [
        (16, 512),
        (32, 724),
        (64, 1024),
        (128, 1448),
        (256, 2048),
        (512, 2896),
        (1024, 4096),
        (2048, 5792),
        (4096, 8192),
        (8192, 11585),
        (16384, 16384),
    ] {
        assert_eq!(min_free_kbytes(Pages(mib << 8)).kbytes, kbytes, "{mib} MiB");
    }
    assert_eq!(min_free_kbytes(Pages::ZERO).kbytes, 128);
    assert_eq!(min_free_kbytes(Pages(1 << 34)).kbytes, 262_144);
    assert_eq!(min_free_kbytes(Pages::MAX).kbytes, 262_144);
    assert_eq!(min_free_kbytes(Pages(1)).root, 8);
}

proptest! {
    #[test]
    fn the_root_is_the_largest_whose_square_fits(x in any::<u64>(), shift in 0u32..64) {
        let x = x >> shift;
        let root = int_sqrt(x);
        prop_assert!(root.checked_mul(root).is_some_and(|square| square <= x));
        prop_assert!((root + 1).checked_mul(root + 1).is_none_or(|square| square > x));
    }

    #[test]
    fn marks_rise_evenly_whatever_comes(
        managed in any::<u64>(), lowmem in any::<u64>(), kbytes in any::<u64>(),
        factor in any::<u32>(), kind in 0usize..4, shift in 0u32..64,
    ) {
        let kind = ZoneType::ALL[kind];
        let marks = zone_marks(kind, Pages(managed >> shift), Pages(lowmem >> shift), kbytes, factor);
        prop_assert!(marks.min <= marks.low && marks.low <= marks.high && marks.high <= marks.promo);
        if marks.promo < Pages::MAX {
            prop_assert_eq!(marks.low - marks.min, marks.promo - marks.high);
        }
    }
}

#[test]
fn watermarks_of_known_zones() {
    // Worked out by hand: 16896 pages of min_free over 2348709 of low memory.
    let marks = |kind, managed, lowmem| {
        let m = zone_marks(kind, Pages(managed), Pages(lowmem), 67584, 10);
        [m.min.0, m.low.0, m.high.0, m.promo.0]
    };
    assert_eq!(marks(ZoneType::Dma, 3840, 2348709), [27, 33, 39, 45]);
    assert_eq!(
        marks(ZoneType::Normal, 1572864, 2348709),
        [11314, 14142, 16970, 19798]
    );
    // ZONE_MOVABLE: the minimum from its size, the gap from its share.
    assert_eq!(marks(ZoneType::Movable, 0, 2348709), [32, 32, 32, 32]);
    assert_eq!(
        marks(ZoneType::Movable, 65536, 65536),
        [64, 4288, 8512, 12736]
    );
    assert_eq!(marks(ZoneType::Movable, 1 << 20, 1 << 30)[0], 128);
    // All memory movable: no division by zero.
    assert_eq!(marks(ZoneType::Movable, 65536, 0), [64, 129, 194, 259]);
    assert_eq!(marks(ZoneType::Normal, 0, 0), [0, 0, 0, 0]);
}

#[test]
fn khugepaged_wants_eleven_page_blocks_a_zone() {
    assert_eq!(recommended_min_free_kbytes(3, Pages(1 << 30)), 67584);
    assert_eq!(recommended_min_free_kbytes(1, Pages(20_000)), 4000);
    assert_eq!(recommended_min_free_kbytes(0, Pages(1 << 30)), 0);
}

/// A shadow of two nodes with `pages` each, all of them managed.
fn with_shadow<R>(pages: u64, test: impl FnOnce(&Shadow<'_>) -> R) -> R {
    let ranges = [memory(0, 0, pages), memory(1, pages, 2 * pages)];
    let order = SectionOrder::MAX;
    let mut scratch = scratch(scratch_for(&ranges, order));
    let shadow = Shadow::boot(
        &ranges,
        &mut scratch,
        order,
        &ZoneConfig::DEFAULT,
        NodeMask::NONE,
        default_distance,
    )
    .unwrap();
    for zone in shadow.nodes.zones() {
        zone.add_managed(zone.present);
    }
    test(&shadow)
}

#[test]
fn huge_pages_raise_it_from_512_mib_on() {
    let reserves = |pages, tunables: Tunables| {
        with_shadow(pages, |shadow| {
            let reserves = init_reserves(&shadow.nodes, &tunables).unwrap();
            let valid = watermark::validate(&shadow.nodes, &tunables, &reserves);
            assert_eq!(valid, Ok(()));
            reserves
        })
    };
    let small = reserves(65536 - 1, Tunables::DEFAULT);
    assert_eq!(small.recommended_kbytes, None);
    assert_eq!(small.min_free_kbytes, small.calculated_kbytes);
    let large = reserves(65536, Tunables::DEFAULT);
    // A twentieth of the low memory is less than what four zones want.
    let recommended = large.recommended_kbytes.unwrap();
    assert!(recommended < 4 * 11 * 2048 && recommended > large.calculated_kbytes);
    assert_eq!(large.min_free_kbytes, recommended);
    assert!(!large.totalreserve.is_zero());
    let off = Tunables {
        transparent_hugepages: false,
        ..Tunables::DEFAULT
    };
    assert_eq!(
        reserves(65536, off).min_free_kbytes,
        large.calculated_kbytes
    );
    // What the user has set stays, unless the root is larger, or khugepaged
    // wants more.
    let user = |kbytes| {
        let mut tunables = off;
        tunables.user_min_free_kbytes = Some(kbytes);
        tunables
    };
    assert_eq!(reserves(65536, user(50_000)).min_free_kbytes, 50_000);
    assert_eq!(
        reserves(65536, user(1)).min_free_kbytes,
        large.calculated_kbytes
    );
    let both = Tunables {
        transparent_hugepages: true,
        ..user(50)
    };
    assert_eq!(reserves(65536, both).min_free_kbytes, recommended);
}

#[test]
fn tunables_are_checked_and_watermarks_come_out_the_same_twice() {
    with_shadow(65536, |shadow| {
        let bad = [
            Tunables {
                watermark_scale_factor: 0,
                ..Tunables::DEFAULT
            },
            Tunables {
                watermark_scale_factor: 3001,
                ..Tunables::DEFAULT
            },
            Tunables {
                user_min_free_kbytes: Some(1 << 31),
                ..Tunables::DEFAULT
            },
        ];
        for tunables in bad {
            let refused = init_reserves(&shadow.nodes, &tunables);
            assert_eq!(refused, Err(Error::BadParameter));
        }
        let all = || -> Vec<_> { shadow.nodes.zones().map(marks).collect() };
        assert!(all().into_iter().flatten().all(|mark| mark == 0));
        let first = init_reserves(&shadow.nodes, &Tunables::DEFAULT);
        let before = all();
        assert_eq!(init_reserves(&shadow.nodes, &Tunables::DEFAULT), first);
        assert_eq!(all(), before);
        // A larger scale factor widens the gaps and leaves the minimum.
        let wide = Tunables {
            watermark_scale_factor: 3000,
            ..Tunables::DEFAULT
        };
        init_reserves(&shadow.nodes, &wide).unwrap();
        for (zone, before) in shadow.nodes.populated_zones().zip(&before) {
            assert!(marks(zone)[1] - marks(zone)[0] >= before[1] - before[0]);
        }
        // The reserves of all nodes: the sum of what validate recomputes.
        let sum: Pages = shadow.nodes.online().map(|node| node.totalreserve()).sum();
        let reserves = init_reserves(&shadow.nodes, &Tunables::DEFAULT).unwrap();
        assert!(sum > reserves.totalreserve);
        let wrong = watermark::Reserves {
            totalreserve: sum,
            ..reserves
        };
        assert!(watermark::validate(&shadow.nodes, &Tunables::DEFAULT, &wrong).is_err());
        let zone = shadow.nodes.zone(NodeId(0), ZoneType::Dma).unwrap();
        zone.set_lowmem_reserve(ZoneType::Normal, Pages(1));
        assert!(watermark::validate(&shadow.nodes, &Tunables::DEFAULT, &reserves).is_err());
    });
}
