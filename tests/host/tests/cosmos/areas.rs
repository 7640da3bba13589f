// SPDX-License-Identifier: GPL-2.0

//! Where areas lie, which of them a request goes to, how blocks are divided and
//! merged, and what the report says.

use crate::machine::*;
use crate::world::*;
use shadowmm_core::buddy::gfp::*;
use shadowmm_core::buddy::*;
use shadowmm_core::cosmos::*;
use shadowmm_core::error::Error;
use shadowmm_core::nodemask::NodeMask;
use shadowmm_core::page::*;
use shadowmm_core::phys::*;

const SPECS: [ZoneSpec; 5] = [
    (0, ZoneType::Dma, 0, 512),
    (0, ZoneType::Dma32, 512, 4096),
    (0, ZoneType::Movable, 4096, 6144),
    (1, ZoneType::Normal, 6144, 8192),
    (1, ZoneType::Movable, 8192, 9216),
];

/// All zones whole, the hardware area up to page 1024.
fn two_nodes() -> Cosmos {
    let cosmos = Cosmos::new(&SPECS, true, 1024);
    for (_, _, start, end) in SPECS {
        cosmos.hand_off(start, end);
    }
    cosmos
}

#[test]
fn zones_are_cut_where_the_hardware_area_ends() {
    let cosmos = two_nodes();
    let found: Vec<_> = cosmos
        .areas
        .iter()
        .map(|area| {
            let (nid, zone) = (area.zone.nid().0, area.zone.kind().name());
            (nid, zone, area.kind.name(), area.span)
        })
        .collect();
    assert_eq!(
        found,
        [
            (0, "DMA", "hardware", range(0, 512)),
            (0, "DMA32", "hardware", range(512, 1024)),
            (0, "DMA32", "kernel", range(1024, 4096)),
            (0, "Movable", "application", range(4096, 6144)),
            (1, "Normal", "kernel", range(6144, 8192)),
            (1, "Movable", "application", range(8192, 9216)),
        ]
    );
    for pfn in [0, 511, 512, 1023, 1024, 4095, 4096, 6143, 6144, 9215] {
        let page = cosmos.world.page(pfn);
        let area = cosmos.areas.area_of(page.zone_id(), Pfn(pfn)).unwrap();
        assert!(area.span.contains(Pfn(pfn)), "page {pfn}");
    }
    let dma = ZoneId::new(NodeId(0), ZoneType::Dma);
    assert!(cosmos.areas.area_of(dma, Pfn(512)).is_none());
    let beyond = ZoneId::new(NodeId(60), ZoneType::Normal);
    assert!(cosmos.areas.area_of(beyond, Pfn(0)).is_none());
    cosmos.system().validate().unwrap();
}

#[test]
fn a_movable_zone_is_the_applications_wherever_it_lies() {
    let specs = [
        (0, ZoneType::Normal, 0, 1024),
        (0, ZoneType::Movable, 1024, 2048),
    ];
    let areas = areas_of(&specs, 4096);
    let kinds: Vec<_> = areas.iter().map(|area| (area.kind, area.span)).collect();
    assert_eq!(
        kinds,
        [
            (AreaKind::Hardware, range(0, 1024)),
            (AreaKind::Application, range(1024, 2048)),
        ]
    );
}

#[test]
fn the_hardware_area_ends_at_32_mib_scaled_or_at_a_quarter() {
    let end = |scaled, end| hardware_end(PhysAddr(scaled), Pfn(end)).0;
    assert_eq!(HARDWARE_END.pfn_down(), Pfn(8192));
    assert_eq!(end(32 << 20, 1 << 20), 8192);
    assert_eq!(end(1 << 20, 1 << 17), 1024);
    assert_eq!(end((4 << 20) + 1, 1 << 17), 2048);
    assert_eq!(end(32 << 20, 8192), 2048);
    assert_eq!(end(32 << 20, 0), 0);
}

#[test]
fn a_request_goes_to_the_areas_of_its_type() {
    let cosmos = two_nodes();
    Threads::run_on(0);
    let drain = |gfp: Gfp| {
        let mut pages = vec![];
        while let Ok(pfn) = cosmos.alloc(gfp, 9) {
            pages.push(pfn);
        }
        for &pfn in &pages {
            cosmos.free(pfn, 9).unwrap();
        }
        pages
    };
    assert_eq!(drain(GFP_DMA), [0]);
    assert_eq!(
        drain(GFP_DMA32),
        [512, 0, 3072, 3584, 2048, 2560, 1024, 1536]
    );
    // Freed in the order taken: what came back last goes out first.
    let kernel = drain(GFP_KERNEL);
    assert_eq!(kernel.len(), 6 + 4);
    assert!(kernel[..6].iter().all(|pfn| (1024..4096).contains(pfn)));
    assert!(kernel[6..].iter().all(|pfn| (6144..8192).contains(pfn)));
    // The node's own application and kernel areas come before the other node's.
    let user = drain(GFP_HIGHUSER_MOVABLE);
    let spans = [4096..6144, 1024..4096, 8192..9216, 6144..8192];
    let mut rest = &user[..];
    for span in spans {
        let (here, behind) = rest.split_at((span.end - span.start) as usize / 512);
        assert!(
            here.iter().all(|pfn| span.contains(pfn)),
            "{here:?} {span:?}"
        );
        rest = behind;
    }
    assert!(rest.is_empty());
    // Movable alone, without high memory, is the kernel's, as in Linux.
    assert!(drain(GFP_KERNEL | __GFP_MOVABLE)
        .iter()
        .all(|&pfn| !(4096..6144).contains(&pfn)));
    cosmos.system().validate().unwrap();
}

#[test]
fn nodes_are_kept_to() {
    let cosmos = two_nodes();
    Threads::run_on(0);
    let all = |request: AllocRequest| {
        let mut pages = vec![];
        while let Ok(pfn) = cosmos.system().alloc(&request) {
            pages.push(pfn);
        }
        for &pfn in &pages {
            cosmos.system().free(pfn, request.order()).unwrap();
        }
        pages
    };
    let there = all(request(GFP_KERNEL, 10).on(NodeId(1)));
    assert_eq!(there.len(), 2 + 3);
    assert!(there[..2].iter().all(|&pfn| pfn >= Pfn(6144)));
    let only = all(request(GFP_KERNEL | __GFP_THISNODE, 10).on(NodeId(1)));
    assert_eq!(only.len(), 2);
    let masked = request(GFP_HIGHUSER_MOVABLE, 10).within(NodeMask::from_iter([NodeId(1)]));
    assert_eq!(all(masked).len(), 3);
    assert_eq!(all(request(GFP_DMA, 0).on(NodeId(1))).len(), 512);
    let dma_there = request(GFP_DMA | __GFP_THISNODE, 0).on(NodeId(1));
    assert_eq!(cosmos.system().alloc(&dma_there), Err(Error::NoMemory));
    // A CPU of node 1 asks for none in particular.
    Threads::run_on(1);
    assert!(all(request(GFP_KERNEL, 10))[0] >= Pfn(6144));
    Threads::run_on(0);

    let stat = |nid, zone, stat| {
        let id = ZoneId::new(NodeId(nid), zone);
        cosmos.world.stats.numa(id, stat)
    };
    assert_eq!(stat(0, ZoneType::Dma, NumaStat::Miss), 0);
    // What was wanted on node 1 and came from node 0.
    assert_eq!(stat(0, ZoneType::Dma32, NumaStat::Miss), 3 + 3);
    assert_eq!(stat(1, ZoneType::Normal, NumaStat::Foreign), 3 + 3);
}

#[test]
fn a_block_is_halved_down_and_merged_up() {
    let cosmos = Cosmos::one_area(1024);
    let area = cosmos.area(0, ZoneType::Normal, AreaKind::Kernel);
    assert_eq!(cosmos.alloc(GFP_KERNEL, 1), Ok(0));
    let upper: Vec<_> = (1..10).map(|order| (order, vec![1u64 << order])).collect();
    let slices: Vec<_> = upper
        .iter()
        .map(|(order, list)| (*order, &list[..]))
        .collect();
    assert_eq!(cosmos.lists(area), lists(&slices));
    assert_eq!((area.report().divisions, area.report().merges), (9, 0));
    // The same size lies ready: nothing is halved.
    assert_eq!(cosmos.alloc(GFP_KERNEL, 1), Ok(2));
    assert_eq!(area.report().divisions, 9);
    cosmos.free(0, 1).unwrap();
    assert_eq!(area.report().merges, 0);
    cosmos.free(2, 1).unwrap();
    assert_eq!(cosmos.lists(area), lists(&[(10, &[0])]));
    assert_eq!((area.report().divisions, area.report().merges), (9, 9));
    cosmos.system().validate().unwrap();
}

#[test]
fn what_came_back_last_goes_out_first() {
    let cosmos = Cosmos::one_area(1024);
    let area = cosmos.area(0, ZoneType::Normal, AreaKind::Kernel);
    for pfn in 0..8 {
        assert_eq!(cosmos.alloc(GFP_KERNEL, 0), Ok(pfn));
    }
    for pfn in [0, 6, 2, 4] {
        cosmos.free(pfn, 0).unwrap();
    }
    assert_eq!(cosmos.lists(area)[0], [4, 2, 6, 0]);
    assert_eq!(cosmos.alloc(GFP_KERNEL, 0), Ok(4));
}

#[test]
fn neighbours_of_two_areas_stay_apart() {
    // Pages 0 to 2048 are one zone, but 0 to 1024 are the hardware's.
    let cosmos = Cosmos::new(&[(0, ZoneType::Normal, 0, 2048)], false, 1024);
    cosmos.hand_off(512, 1536);
    let kinds = [AreaKind::Hardware, AreaKind::Kernel];
    let [low, high] = kinds.map(|kind| cosmos.area(0, ZoneType::Normal, kind));
    assert_eq!(cosmos.lists(low), lists(&[(9, &[512])]));
    assert_eq!(cosmos.lists(high), lists(&[(9, &[1024])]));
    let id = ZoneId::new(NodeId(0), ZoneType::Normal);
    let report = cosmos.system().free_report(id).unwrap();
    assert_eq!(report.blocks[9], 2);
    assert_eq!(report.free, Pages(1024));
    assert_eq!(report.free_pages_blocks, Pages(1024));
    assert_eq!(
        cosmos.world.zone(0, ZoneType::Normal).managed(),
        Pages(1024)
    );
    // The kernel has its half and no more.
    assert_eq!(cosmos.alloc(GFP_KERNEL, 9), Ok(1024));
    assert_eq!(cosmos.alloc(GFP_KERNEL, 0), Err(Error::NoMemory));
    cosmos.system().validate().unwrap();
}

#[test]
fn zeroed_pages_read_as_zero_and_unbacked_ones_go_back() {
    let cosmos = two_nodes();
    let pfn = cosmos.alloc(GFP_KERNEL | __GFP_ZERO, 3).unwrap();
    let bytes = PhysRange::new(Pfn(pfn).addr(), Bytes(8 << 12));
    assert_eq!(cosmos.world.memory.is_zero(bytes), Ok(true));

    let cosmos = Cosmos::one_area(1024);
    let before = cosmos.lists(cosmos.areas.iter().next().unwrap());
    let refused = cosmos.alloc(GFP_KERNEL | __GFP_ZERO, 3);
    assert_eq!(refused, Err(Error::ForeignPfn));
    assert_eq!(cosmos.lists(cosmos.areas.iter().next().unwrap()), before);
    cosmos.system().validate().unwrap();
}

#[test]
fn the_report_shows_lists_and_counts() {
    let specs = [
        (0, ZoneType::Dma32, 0, 2048),
        (1, ZoneType::Movable, 2048, 4096),
    ];
    let cosmos = Cosmos::new(&specs, false, 1024);
    cosmos.hand_off(1024, 2048);
    Threads::run_on(0);
    let taken = cosmos.alloc(GFP_KERNEL, 9).unwrap();
    cosmos.alloc(GFP_KERNEL, 8).unwrap();
    cosmos.free(taken, 9).unwrap();
    let mut text = String::new();
    cosmos.areas.write(&mut text).unwrap();
    let area = |head: &str, rows: [u64; 7], lists: &[(usize, [u64; 4])]| {
        let names = "start_pfn end_pfn maxpages allocpages freepages divnr mernr";
        let mut text = format!("\n{head}\n");
        for (name, row) in names.split(' ').zip(rows) {
            text += &format!("  {name} {row}\n");
        }
        text += "      pages   objects      free    allocs     frees\n";
        for order in 0..11 {
            let found = lists.iter().find(|(at, _)| *at == order);
            let [objects, free, allocs, frees] = found.map_or([0; 4], |(_, row)| *row);
            let pages = 1 << order;
            text += &format!("  {pages:>9} {objects:>9} {free:>9} {allocs:>9} {frees:>9}\n");
        }
        text
    };
    let expected = "hardware_end 1024\n".to_string()
        + &area(
            "Node 0, zone    DMA32, area hardware",
            [0, 1024, 0, 0, 0, 0, 0],
            &[],
        )
        + &area(
            "Node 0, zone    DMA32, area kernel",
            [1024, 2048, 1024, 256, 768, 2, 0],
            &[(8, [2, 1, 1, 0]), (9, [1, 1, 1, 1])],
        )
        + &area(
            "Node 1, zone  Movable, area application",
            [2048, 4096, 0, 0, 0, 0, 0],
            &[],
        );
    assert_eq!(text, expected);
}
