// SPDX-License-Identifier: GPL-2.0

//! What is refused: the same errors as from the buddy system, and nothing
//! changes but their counts.

use crate::machine::*;
use crate::world::*;
use shadowmm_core::buddy::gfp::*;
use shadowmm_core::buddy::*;
use shadowmm_core::error::Error;
use shadowmm_core::page::*;
use shadowmm_core::phys::*;

const SPECS: [ZoneSpec; 2] = [
    (0, ZoneType::Normal, 0, 2048),
    (1, ZoneType::Normal, 2048, 3072),
];

/// Half of node 0, pages 0 to 4 and 8 to 16 of it given out, and one hole.
fn cosmos() -> Cosmos {
    let cosmos = Cosmos::new(&SPECS, false, 0);
    Threads::run_on(0);
    cosmos.hand_off(0, 1024);
    assert_eq!(cosmos.alloc(GFP_KERNEL, 2), Ok(0));
    assert_eq!(cosmos.alloc(GFP_KERNEL, 3), Ok(8));
    cosmos
        .world
        .page(1500)
        .init(NodeId(0), ZoneType::Normal, PageState::Hole);
    cosmos
}

#[test]
fn every_wrong_free_is_named_and_changes_nothing() {
    let cosmos = cosmos();
    let before = cosmos.snapshot();
    let wrong = [
        (0, 1, Error::WrongOrder),
        (0, 3, Error::WrongOrder),
        (1, 0, Error::NotBlockHead),
        (12, 2, Error::NotBlockHead),
        (4, 2, Error::DoubleFree),
        (5, 0, Error::DoubleFree),
        (900, 0, Error::DoubleFree),
        (1024, 0, Error::PageReserved),
        (2048, 10, Error::PageReserved),
        (1500, 0, Error::ForeignPfn),
        (3072, 0, Error::ForeignPfn),
        (u64::MAX, 10, Error::ForeignPfn),
    ];
    for (pfn, order, error) in wrong {
        let system = cosmos.system();
        assert_eq!(system.check_free(Pfn(pfn), order_of(order)), Err(error));
        let counted = cosmos.world.stats.refusals(error);
        assert_eq!(cosmos.free(pfn, order), Err(error), "page {pfn}");
        assert_eq!(cosmos.world.stats.refusals(error), counted + 1);
        assert_eq!(cosmos.snapshot(), before, "page {pfn}");
    }
    assert_eq!(cosmos.system().check_free(Pfn(0), order_of(2)), Ok(()));
    cosmos.free(0, 2).unwrap();
    assert_eq!(cosmos.free(0, 2), Err(Error::DoubleFree));
    cosmos.system().validate().unwrap();
}

#[test]
fn every_wrong_block_of_memblock_is_named_and_changes_nothing() {
    let cosmos = cosmos();
    let before = cosmos.snapshot();
    let wrong = [
        (1025, 1, Error::WrongOrder),
        (1500, 0, Error::ForeignPfn),
        (1496, 3, Error::ForeignPfn),
        (3072, 0, Error::ForeignPfn),
        (0, 0, Error::DoubleFree),
        (512, 9, Error::DoubleFree),
        (4, 0, Error::DoubleFree),
    ];
    for (pfn, order, error) in wrong {
        let refused = cosmos.system().accept(Pfn(pfn), order_of(order));
        assert_eq!(refused, Err(error), "page {pfn}");
        assert_eq!(cosmos.snapshot(), before, "page {pfn}");
    }
    assert_eq!(
        cosmos.world.zone(0, ZoneType::Normal).managed(),
        Pages(1024)
    );

    // In two zones.
    let specs = [(0, ZoneType::Dma, 0, 2), (0, ZoneType::Normal, 2, 1024)];
    let cosmos = Cosmos::new(&specs, false, 0);
    let refused = cosmos.system().accept(Pfn(0), order_of(2));
    assert_eq!(refused, Err(Error::WrongOrder));
    assert_eq!(cosmos.world.page(3).state(), PageState::Reserved);
}

#[test]
fn impossible_requests_are_named_and_change_nothing() {
    let cosmos = cosmos();
    let before = cosmos.snapshot();
    let bad = GFP_DMA | __GFP_HIGHMEM;
    for (request, error) in [
        (request(bad, 0), Error::BadGfp),
        (request(GFP_KERNEL, 0).on(NodeId(7)), Error::NodeOffline),
        (request(GFP_KERNEL, 10), Error::NoMemory),
        (
            request(GFP_KERNEL | __GFP_THISNODE, 0).on(NodeId(1)),
            Error::NoMemory,
        ),
        // There is no zone for it.
        (request(GFP_DMA, 0), Error::NoMemory),
        // Nothing to reclaim, and nothing held back either.
        (request(GFP_KERNEL | __GFP_NOFAIL, 10), Error::NoMemory),
        (request(GFP_ATOMIC | __GFP_MEMALLOC, 10), Error::NoMemory),
    ] {
        let counted = cosmos.world.stats.refusals(error);
        assert_eq!(cosmos.system().alloc(&request), Err(error), "{request:?}");
        assert_eq!(cosmos.world.stats.refusals(error), counted + 1);
        assert_eq!(cosmos.snapshot(), before, "{request:?}");
    }
}

#[test]
fn areas_that_blocks_could_cross_are_refused() {
    let mut region = Box::new(Region::EMPTY);
    let nowhere = PhysRange::default();
    let place = shadowmm_core::cosmos::MemAreas::<Threads>::place;
    let refused = place(&mut region, nowhere, 1, Pfn(512), |_| PfnRange::default());
    assert_eq!(refused.err(), Some(Error::WrongOrder));
}
