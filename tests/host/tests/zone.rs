// SPDX-License-Identifier: GPL-2.0

//! zone.rs: which pages lie in which zone.

use proptest::prelude::*;
use shadowmm_core::error::Error;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::*;
use shadowmm_core::zone::Amount;
use shadowmm_core::zone::Limit;
use shadowmm_core::zone::ZoneConfig;
use shadowmm_core::zone::ZoneLimits;
use shadowmm_host_tests::early::memory;
use shadowmm_host_tests::early::Memory;
use shadowmm_host_tests::recorded::boots;
use std::collections::BTreeSet;

const BLOCK: u64 = 1024;

fn limits(config: &ZoneConfig, memory: &[Memory]) -> ZoneLimits {
    let mut limits = ZoneLimits::new();
    limits.find(config, memory.iter().copied()).unwrap();
    limits
}

fn ends(config: &str, max_pfn: u64) -> [u64; 4] {
    let config = ZoneConfig::parse(config).unwrap();
    config.max_zone_pfns(Pfn(max_pfn)).map(|pfn| pfn.0)
}

#[test]
fn reads_what_zones_says() {
    let parse = |text| ZoneConfig::parse(text).unwrap();
    assert_eq!(parse(""), ZoneConfig::DEFAULT);
    assert_eq!(parse(" dma, dma32 ,normal,MOVABLE "), ZoneConfig::DEFAULT);
    assert_eq!(parse("dma=16M,dma32=4G,normal"), ZoneConfig::PC);
    assert_eq!(
        parse("dma=0x400000,normal,kernelcore=50%,movable=010k"),
        ZoneConfig {
            dma: Some(Limit::Size(Bytes(4 << 20))),
            dma32: None,
            normal: true,
            movablecore: Some(Amount::Size(Bytes(8 << 10))),
            kernelcore: Some(Amount::Percent(50)),
        }
    );
    assert_eq!(parse("dma32=100%").dma32, Some(Limit::Percent(100)));
    for kind in ZoneType::ALL {
        assert!(ZoneConfig::DEFAULT.has(kind));
    }
    assert!(!parse("dma32,normal").has(ZoneType::Dma));
    assert!(!parse("dma32,normal").has(ZoneType::Movable));
}

#[test]
fn refuses_what_zones_cannot_mean() {
    for text in [
        "movable",
        "kernelcore=5M",
        ",",
        "dma,",
        "dma,,normal",
        "dma,dma",
        "normal,normal",
        "normal=5M",
        "dma=",
        "dma=0",
        "dma=0%",
        "dma=101%",
        "dma=5X",
        "dma=M",
        "dma=-5",
        "dma=+5",
        "dma=5 M",
        "dma=99999999999999999999",
        "dma=16777216T",
        "dma=08",
        "dma=0x",
        "dma=5%%",
        "kernelcore,normal",
        "device",
        "highmem",
        "dma==5",
        "d\u{e4}",
        "dma=1\u{e4}",
        "=",
        "%",
    ] {
        assert_eq!(ZoneConfig::parse(text), Err(Error::BadParameter), "{text}");
    }
}

#[test]
fn limits_are_a_pcs_in_proportion_and_split_no_block() {
    // A PC of 16 GiB is what the proportions come from.
    assert_eq!(ends("", 4 << 20), [4096, 1 << 20, 4 << 20, 0]);
    assert_eq!(ends("", 64 << 20), [4096, 1 << 20, 64 << 20, 0]);
    assert_eq!(ends("", 131072), [BLOCK, 32768, 131072, 0]);
    assert_eq!(ends("", 16384), [BLOCK, 4096, 16384, 0]);
    // Too small for all kinds.
    assert_eq!(ends("", 1500), [BLOCK, 1500, 1500, 0]);
    assert_eq!(ends("", 500), [500, 500, 500, 0]);
    // What is left out has no pages, and the highest has the rest.
    assert_eq!(ends("dma32,normal", 131072), [0, 32768, 131072, 0]);
    assert_eq!(ends("dma,dma32", 131072), [BLOCK, 131072, 0, 0]);
    assert_eq!(ends("dma", 131072), [131072, 0, 0, 0]);
    assert_eq!(
        ends("dma=5M,dma32=50%,normal", 131072),
        [2048, 65536, 131072, 0]
    );
    assert_eq!(ends("dma=4T,normal", 131072), [131072, 0, 131072, 0]);
}

#[test]
fn the_limits_of_a_scaled_machine_keep_their_share() {
    // A machine of 64 GiB in 512 MiB: 16 MiB and 4 GiB shrink to 1/128.
    let scaled = ZoneConfig::DEFAULT.scaled(Pages(131072), Pages(16 << 20));
    assert_eq!(
        scaled.max_zone_pfns(Pfn(131072)).map(|p| p.0),
        [BLOCK, 8192, 131072, 0]
    );
    // A machine of 2 GiB has no Normal zone, and its shadow none.
    let small = ZoneConfig::DEFAULT.scaled(Pages(131072), Pages(524288));
    assert_eq!(
        small.max_zone_pfns(Pfn(131072)).map(|p| p.0),
        [BLOCK, 131072, 131072, 0]
    );
    let given = ZoneConfig::PC.scaled(Pages(1), Pages(1 << 30));
    assert_eq!(given, ZoneConfig::PC);
    // No machine to scale from: a PC's own limits.
    let none = ZoneConfig::DEFAULT.scaled(Pages(1), Pages(0));
    assert_eq!(
        none.max_zone_pfns(Pfn(4 << 20)).map(|p| p.0),
        [4096, 1 << 20, 4 << 20, 0]
    );
}

#[test]
fn zones_are_those_of_recorded_boots() {
    for boot in boots() {
        let limits = limits(&boot.config, &boot.memory);
        for zone in &boot.zones {
            let Some(kind) = ZoneType::ALL.into_iter().find(|k| k.name() == zone.name) else {
                assert_eq!(zone.name, "Device");
                continue;
            };
            let on_node = boot.memory.iter().filter(|(nid, _)| nid.0 == zone.nid);
            let pfns: Vec<_> = on_node.flat_map(|(_, r)| [r.start, r.end]).collect();
            let node = PfnRange {
                start: pfns.iter().copied().min().unwrap_or_default(),
                end: pfns.iter().copied().max().unwrap_or_default(),
            };
            let span = limits.zone_span(NodeId(zone.nid), kind, node);
            let what = format!("{}: node {} {}", boot.name, zone.nid, zone.name);
            assert_eq!(span.pages().0, zone.spanned, "{what}");
            assert_eq!(span.start.0, zone.start_pfn, "{what}");
        }
    }
}

/// `find_zone_movable_pfns_for_nodes()` as the C program does it, in C's own
/// way: numbers, an array by node, zero for nothing.
fn movable_pfns_in_c(
    memory: &[(usize, u64, u64)],
    usable_startpfn: u64,
    mut required_kernelcore: u64,
    mut required_movablecore: u64,
) -> [u64; 8] {
    let mut movable = [0u64; 8];
    let totalpages: u64 = memory.iter().map(|(_, start, end)| end - start).sum();
    let nodes: BTreeSet<usize> = memory.iter().map(|m| m.0).collect();
    let mut usable_nodes = nodes.len() as u64;
    if required_movablecore != 0 {
        required_movablecore = required_movablecore.next_multiple_of(BLOCK).min(totalpages);
        required_kernelcore = required_kernelcore.max(totalpages - required_movablecore);
    }
    if required_kernelcore == 0 || required_kernelcore >= totalpages {
        return movable;
    }
    loop {
        let mut kernelcore_node = required_kernelcore / usable_nodes;
        for &nid in &nodes {
            if required_kernelcore < kernelcore_node {
                kernelcore_node = required_kernelcore / usable_nodes;
            }
            let mut kernelcore_remaining = kernelcore_node;
            for &(_, start, end_pfn) in memory.iter().filter(|m| m.0 == nid) {
                let mut start_pfn = start.max(movable[nid]);
                if start_pfn >= end_pfn {
                    continue;
                }
                if start_pfn < usable_startpfn {
                    let kernel_pages = end_pfn.min(usable_startpfn) - start_pfn;
                    kernelcore_remaining -= kernel_pages.min(kernelcore_remaining);
                    required_kernelcore -= kernel_pages.min(required_kernelcore);
                    if end_pfn <= usable_startpfn {
                        movable[nid] = end_pfn;
                        continue;
                    }
                    start_pfn = usable_startpfn;
                }
                let mut size_pages = end_pfn - start_pfn;
                if size_pages > kernelcore_remaining {
                    size_pages = kernelcore_remaining;
                }
                movable[nid] = start_pfn + size_pages;
                required_kernelcore -= required_kernelcore.min(size_pages);
                kernelcore_remaining -= size_pages;
                if kernelcore_remaining == 0 {
                    break;
                }
            }
        }
        usable_nodes -= 1;
        if usable_nodes == 0 || required_kernelcore <= usable_nodes {
            break;
        }
    }
    for &nid in &nodes {
        movable[nid] = movable[nid].next_multiple_of(BLOCK);
        let ends = memory.iter().filter(|m| m.0 == nid).map(|m| m.2);
        if movable[nid] >= ends.max().unwrap() {
            movable[nid] = 0;
        }
    }
    movable
}

/// Up to twelve ranges on up to eight nodes, which may take turns.
fn any_memory() -> impl Strategy<Value = Vec<(usize, u64, u64)>> {
    let range = (0usize..8, prop_oneof![Just(0), 1u64..9000], 1u64..30_000);
    prop::collection::vec(range, 1..12).prop_map(|parts| {
        let mut at = 0;
        parts
            .into_iter()
            .map(|(nid, hole, pages)| {
                let start = at + hole;
                at = start + pages;
                (nid, start, at)
            })
            .collect()
    })
}

fn any_amount() -> impl Strategy<Value = Option<Amount>> {
    prop_oneof![
        Just(None),
        (1u8..=100).prop_map(|p| Some(Amount::Percent(p))),
        (1u64..400_000).prop_map(|p| Some(Amount::Size(Pages(p).bytes()))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn movable_starts_where_the_c_program_finds_it(
        ranges in any_memory(),
        movablecore in any_amount(),
        kernelcore in any_amount(),
        kinds in 1u8..8,
    ) {
        let config = ZoneConfig {
            dma: (kinds & 1 != 0).then_some(Limit::Auto),
            dma32: (kinds & 2 != 0).then_some(Limit::Auto),
            normal: kinds & 4 != 0,
            movablecore,
            kernelcore,
        };
        let memory: Vec<_> = ranges.iter().map(|&(n, s, e)| memory(n as i32, s, e)).collect();
        let total: u64 = ranges.iter().map(|(_, start, end)| end - start).sum();
        let amount = |amount: Option<Amount>| match amount {
            None => 0,
            Some(Amount::Size(size)) => size.0 / 4096,
            Some(Amount::Percent(percent)) => total * 100 * u64::from(percent) / 10_000,
        };
        let limits = limits(&config, &memory);
        let usable = limits.possible(limits.movable_zone()).start.0;
        let (kernelcore, movablecore) = (amount(kernelcore), amount(movablecore));
        let expected = movable_pfns_in_c(&ranges, usable, kernelcore, movablecore);
        for (nid, expected) in expected.into_iter().enumerate() {
            let found = limits.movable_pfn(NodeId(nid as i32)).map_or(0, |pfn| pfn.0);
            prop_assert_eq!(found, expected, "node {}", nid);
        }
        // Every page of RAM lies in exactly one zone of its node.
        for &(nid, range) in &memory {
            let starts = memory.iter().filter(|m| m.0 == nid).map(|m| m.1);
            let node = starts.reduce(|a, b| PfnRange { start: a.start, end: b.end }).unwrap();
            for pfn in [range.start, Pfn(range.start.0.midpoint(range.end.0)), Pfn(range.end.0 - 1)] {
                let zones = ZoneType::ALL.into_iter();
                let spans = zones.map(|kind| limits.zone_span(nid, kind, node));
                prop_assert_eq!(spans.filter(|span| span.contains(pfn)).count(), 1);
            }
        }
    }
}

#[test]
fn a_remainder_of_one_page_a_node_is_not_spread() {
    // Three nodes, three blocks and two pages for the kernel: each gets one
    // block, and the two pages are let go.
    let ranges = [0, 1, 2].map(|nid| memory(nid, nid as u64 * 4096, (nid as u64 + 1) * 4096));
    let config = ZoneConfig {
        kernelcore: Some(Amount::Size(Pages(3 * BLOCK + 2).bytes())),
        ..ZoneConfig::parse("normal").unwrap()
    };
    let limits = limits(&config, &ranges);
    let found = [0, 1, 2].map(|nid| limits.movable_pfn(NodeId(nid)).unwrap().0);
    assert_eq!(found, [BLOCK, 4096 + BLOCK, 8192 + BLOCK]);
}

#[test]
fn by_default_every_kind_is_there() {
    // Two nodes like those of a PC, from 128 MiB to 16 GiB.
    for half in [16384, 65536, 1 << 20, 2 << 20] {
        let ranges = [
            memory(0, 1, 159),
            memory(0, 256, half),
            memory(1, half, 2 * half),
        ];
        let limits = limits(&ZoneConfig::DEFAULT, &ranges);
        let node = |start, end| PfnRange {
            start: Pfn(start),
            end: Pfn(end),
        };
        for kind in ZoneType::ALL {
            let spans = [
                limits.zone_span(NodeId(0), kind, node(1, half)),
                limits.zone_span(NodeId(1), kind, node(half, 2 * half)),
            ];
            assert!(
                spans.iter().any(|span| !span.is_empty()),
                "{half}: {kind:?}"
            );
        }
        // A quarter is movable, half of it on each node, but for rounding.
        let movable: Vec<_> = [(0, half), (1, 2 * half)]
            .map(|(nid, end)| end - limits.movable_pfn(NodeId(nid)).unwrap().0)
            .to_vec();
        let quarter = half / 2;
        let sum: u64 = movable.iter().sum();
        assert!(sum.abs_diff(quarter) <= 2 * BLOCK, "{half}: {movable:?}");
    }
}
