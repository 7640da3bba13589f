// SPDX-License-Identifier: GPL-2.0

//! node.rs and sparse/memmap.rs: whole shadows at the end of the zones stage.

use proptest::prelude::*;
use shadowmm_core::error::Error;
use shadowmm_core::node::bootlog;
use shadowmm_core::node::default_distance;
use shadowmm_core::node::Nodes;
use shadowmm_core::nodemask::NodeMask;
use shadowmm_core::page::PageState;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::*;
use shadowmm_core::sparse::section_order;
use shadowmm_core::sparse::SectionOrder;
use shadowmm_core::zone::ZoneConfig;
use shadowmm_host_tests::early::memory;
use shadowmm_host_tests::early::scratch;
use shadowmm_host_tests::early::scratch_for;
use shadowmm_host_tests::early::CountingAlloc;
use shadowmm_host_tests::early::Memory;
use shadowmm_host_tests::early::Shadow;
use shadowmm_host_tests::recorded::boots;
use shadowmm_host_tests::HostPlatform;

fn text(write: impl FnOnce(&mut String) -> std::fmt::Result) -> String {
    let mut text = String::new();
    write(&mut text).unwrap();
    text
}

#[test]
fn says_what_linux_has_said_on_the_same_machines() {
    for boot in boots() {
        let order = SectionOrder::MAX;
        let mut scratch = scratch(scratch_for(&boot.memory, order));
        let shadow = Shadow::boot(
            &boot.memory,
            &mut scratch,
            order,
            &boot.config,
            boot.cpus,
            |a, b| boot.distance(a, b),
        )
        .unwrap();
        let (nodes, sparse) = (&shadow.nodes, &shadow.sparse);
        let name = boot.name;
        assert_eq!(nodes.validate(shadow.ranges()), Ok(()), "{name}");
        assert_eq!(sparse.validate(shadow.ranges()), Ok(()), "{name}");
        assert_eq!(
            text(|w| bootlog::zone_ranges(w, nodes)),
            boot.text(
                "Zone ranges:",
                &["  DMA", "  Normal", "  Device", "Movable zone", "  Node "]
            ),
            "{name}"
        );
        assert_eq!(
            text(|w| bootlog::early_ranges(w, shadow.ranges())),
            boot.text("Early memory", &["  node "]),
            "{name}"
        );
        assert_eq!(
            text(|w| bootlog::initmem(w, nodes)),
            boot.text("Initmem", &[]),
            "{name}"
        );
        assert_eq!(
            text(|w| bootlog::unavailable(w, sparse, nodes, shadow.ranges())),
            boot.text("On node", &[]),
            "{name}"
        );
        assert_eq!(
            text(|w| bootlog::fallback_order(w, nodes)),
            boot.text("Fallback order", &[]),
            "{name}"
        );
        assert_eq!(
            text(|w| bootlog::built_zonelists(w, nodes)),
            boot.text("Built", &["Policy zone"]),
            "{name}"
        );
        // What has no counterpart in a shadow is zero; the form and the
        // physical pages are the same.
        let form = |line: &str| -> String {
            let number = |c: char| c.is_ascii_digit();
            line.split(number).filter(|part| !part.is_empty()).collect()
        };
        let ours = text(|w| bootlog::memory(w, nodes, Pages(0), Pages(0)));
        let theirs = boot.text("Memory:", &[]);
        assert_eq!(form(&ours), form(&theirs));
        let physical = |line: &str| line.split(['/', ' ']).nth(2).unwrap().to_owned();
        assert_eq!(physical(&ours), physical(&theirs), "{name}");
        for zone in &boot.zones {
            let Some(kind) = ZoneType::ALL.into_iter().find(|k| k.name() == zone.name) else {
                continue;
            };
            let ours = nodes.zone(NodeId(zone.nid), kind).unwrap();
            assert_eq!(ours.present.0, zone.present, "{name}: {zone:?}");
            assert_eq!(ours.span.pages().0, zone.spanned, "{name}: {zone:?}");
        }
    }
}

#[test]
fn node_data_lies_where_it_was_reserved() {
    let ranges = [memory(0, 1, 8192), memory(3, 8192, 16384)];
    let mut scratch = scratch(1024);
    let mut early = CountingAlloc::new(&ranges, &mut scratch);
    let mut nodes = Box::new(Nodes::<HostPlatform>::new());
    let cpus: NodeMask = [NodeId(0), NodeId(1)].into_iter().collect();
    let possible: NodeMask = [NodeId(5)].into_iter().collect();
    assert_eq!(
        nodes.init_zones(&mut early, &ZoneConfig::DEFAULT, default_distance),
        Err(Error::StageOrder)
    );
    nodes.register(&mut early, possible, cpus).unwrap();
    assert_eq!(
        nodes.register(&mut early, possible, cpus),
        Err(Error::StageOrder)
    );
    let states = *nodes.states();
    assert_eq!(states.possible.to_string(), "0-1,3,5");
    assert_eq!(states.online.to_string(), "0-1,3");
    assert_eq!(states.memory.to_string(), "0,3");
    assert_eq!(states.cpu.to_string(), "0-1");
    let asked: Vec<_> = early.allocated.iter().map(|(_, nid)| nid.0).collect();
    assert_eq!(asked, [0, 3], "each node with memory on itself");

    nodes
        .init_zones(&mut early, &ZoneConfig::DEFAULT, |a, b| {
            10 + (a.0 - b.0).unsigned_abs() as u8
        })
        .unwrap();
    assert_eq!(
        nodes.init_zones(&mut early, &ZoneConfig::DEFAULT, default_distance),
        Err(Error::StageOrder)
    );
    let asked: Vec<_> = early.allocated.iter().map(|(_, nid)| nid.0).collect();
    assert_eq!(asked, [0, 3, -1, -1], "the others anywhere");
    assert_eq!(nodes.validate(ranges.into_iter()), Ok(()));
    assert_eq!(nodes.online().count(), 3);
    assert_eq!(nodes.possible().count(), 4);
    let total: u64 = early
        .allocated
        .iter()
        .map(|(range, _)| range.size().0)
        .sum();
    assert_eq!(nodes.data_bytes(), Bytes(total));
    for node in nodes.possible() {
        assert_eq!(node.data, nodes.node_data(node.node_id));
        for to in 0..6 {
            assert_eq!(
                i32::from(node.distance(NodeId(to))),
                10 + (node.node_id.0 - to).abs()
            );
        }
    }
    let empty = nodes.get(NodeId(1)).unwrap();
    assert!(empty.span.is_empty() && empty.present.is_zero());
    assert_eq!(empty.zones().len(), 4);
    assert_eq!(empty.populated_zones().count(), 0);
    assert!(nodes.get(NodeId(2)).is_none());
    assert!(nodes.get(NodeId::NONE).is_none());
    assert!(nodes.zone(NodeId(2), ZoneType::Dma).is_none());
}

#[test]
fn a_node_of_movable_memory_alone_is_not_normal() {
    // Node 0 takes all that the kernel needs.
    let ranges = [memory(0, 0, 65536), memory(1, 65536, 67584)];
    let config = ZoneConfig::parse("normal,kernelcore=1").unwrap();
    let mut early_scratch = scratch(4096);
    let shadow = Shadow::boot(
        &ranges,
        &mut early_scratch,
        SectionOrder::MIN,
        &config,
        NodeMask::NONE,
        default_distance,
    );
    // kernelcore=1 is less than a page: no movable zone at all.
    let shadow = shadow.unwrap();
    assert_eq!(shadow.nodes.states().normal_memory.to_string(), "0-1");
    let config = ZoneConfig::parse("normal,kernelcore=4K").unwrap();
    let mut early_scratch = scratch(4096);
    let shadow = Shadow::boot(
        &ranges,
        &mut early_scratch,
        SectionOrder::MIN,
        &config,
        NodeMask::NONE,
        default_distance,
    )
    .unwrap();
    assert_eq!(shadow.nodes.states().normal_memory.to_string(), "0");
    assert_eq!(shadow.nodes.validate(shadow.ranges()), Ok(()));
}

#[test]
fn validate_finds_what_is_wrong() {
    let ranges = [memory(0, 1, 8192), memory(1, 8192, 16384)];
    let mut scratch = scratch(1024);
    let shadow = Shadow::boot(
        &ranges,
        &mut scratch,
        SectionOrder::MIN,
        &ZoneConfig::DEFAULT,
        NodeMask::NONE,
        default_distance,
    )
    .unwrap();
    let pages = || shadow.nodes.validate_pages(&shadow.sparse, shadow.ranges());
    assert_eq!(pages(), Ok(()));
    let page = shadow.sparse.page(Pfn(9000)).unwrap();
    let (nid, zone) = (page.nid(), page.zone());
    let reserved = PageState::Reserved;
    page.init(NodeId(0), zone, reserved);
    assert!(pages().is_err(), "the wrong node");
    page.init(nid, ZoneType::Dma, reserved);
    assert!(pages().is_err(), "the wrong zone");
    page.init(nid, zone, PageState::Hole);
    assert!(pages().is_err(), "RAM as a hole");
    page.init(nid, zone, reserved);
    assert_eq!(pages(), Ok(()));
    let hole = shadow.sparse.page(Pfn(0)).unwrap();
    hole.init(NodeId(0), ZoneType::Dma, reserved);
    assert!(pages().is_err(), "a hole as RAM");

    let nodes = || shadow.nodes.validate(shadow.ranges());
    assert_eq!(nodes(), Ok(()));
    // Memory that the nodes do not know of.
    let more = [ranges[0], ranges[1], memory(1, 20000, 20001)];
    assert!(shadow.nodes.validate(more.into_iter()).is_err());
    assert!(shadow.sparse.validate(more.into_iter()).is_err());
    let zone = shadow.nodes.zone(nid, zone).unwrap();
    zone.add_managed(zone.present + Pages(1));
    assert!(nodes().is_err(), "more managed than present");
}

/// What a frame of a present section is, found by looking at all memory.
fn expected(shadow: &Shadow<'_>, pfn: Pfn) -> (i32, ZoneType, PageState) {
    let zone_of = |nid: NodeId, pfn: Pfn| {
        let mut zones = shadow.nodes.get(nid).unwrap().populated_zones();
        zones.find(|zone| zone.span.contains(pfn)).unwrap().kind
    };
    if let Some((nid, _)) = shadow.ranges().find(|(_, range)| range.contains(pfn)) {
        return (nid.0, zone_of(nid, pfn), PageState::Reserved);
    }
    // A hole: the zone of the next page of RAM above it, or the highest zone
    // of the last node.
    match shadow.ranges().find(|(_, range)| range.start > pfn) {
        Some((nid, range)) => (nid.0, zone_of(nid, range.start), PageState::Hole),
        None => {
            let nid = shadow.memory.last().unwrap().0;
            let last = shadow.nodes.get(nid).unwrap().populated_zones().last();
            (nid.0, last.unwrap().kind, PageState::Hole)
        }
    }
}

fn any_memory() -> impl Strategy<Value = Vec<Memory>> {
    let hole = prop_oneof![Just(0), 1u64..4000];
    prop::collection::vec((0i32..6, hole, 1u64..6000), 1..10).prop_map(|parts| {
        let mut at = 0;
        parts
            .into_iter()
            .map(|(nid, hole, pages)| {
                let start = at + hole;
                at = start + pages;
                memory(nid, start, at)
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_frame_is_in_its_node_and_zone(
        ranges in any_memory(),
        memoryless in prop::collection::btree_set(0i32..8, 0..3),
        zones in prop::sample::select(vec![
            "", "dma,normal", "dma=8M,dma32=50%,normal,movable=40%", "dma32,movable=60%",
            "normal,kernelcore=20M", "dma,dma32,normal,movable=8M,kernelcore=30%",
        ]),
        smallest in any::<bool>(),
    ) {
        let config = ZoneConfig::parse(zones).unwrap();
        let order = if smallest { SectionOrder::MIN } else { section_order(ranges.iter().copied()) };
        let mut scratch = scratch(scratch_for(&ranges, order));
        let cpus = memoryless.into_iter().map(NodeId).collect();
        let shadow =
            Shadow::boot(&ranges, &mut scratch, order, &config, cpus, default_distance).unwrap();
        prop_assert_eq!(shadow.sparse.validate(shadow.ranges()), Ok(()));
        prop_assert_eq!(shadow.nodes.validate(shadow.ranges()), Ok(()));
        prop_assert_eq!(shadow.nodes.validate_pages(&shadow.sparse, shadow.ranges()), Ok(()));
        for (nr, section) in shadow.sparse.sections() {
            let frames = shadow.sparse.frames(nr);
            for (pfn, page) in (frames.start.0..).map(Pfn).zip(section.map()) {
                let found = (page.nid().0, page.zone(), page.state());
                prop_assert_eq!(found, expected(&shadow, pfn), "{:?}", pfn);
                prop_assert_eq!(page.count(), 1);
            }
        }
        let ram: u64 = ranges.iter().map(|(_, range)| range.pages().0).sum();
        prop_assert_eq!(shadow.nodes.present(), Pages(ram));
    }
}
