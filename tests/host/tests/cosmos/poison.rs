// SPDX-License-Identifier: GPL-2.0

//! buddy/poison.rs with Cosmos's manager: its free pages are filled, too.

use crate::world::*;
use shadowmm_core::buddy::gfp::GFP_KERNEL;
use shadowmm_core::buddy::PageAllocator;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::Pfn;
use shadowmm_core::phys::PhysAddr;
use std::sync::atomic::Ordering::Relaxed;

const PAGES: u64 = 4096;

fn poisoned() -> Cosmos {
    let cosmos = Cosmos::new(&[(0, ZoneType::Normal, 0, PAGES)], true, 0);
    cosmos.world.platform.poisons.store(true, Relaxed);
    cosmos.hand_off(0, PAGES);
    cosmos
}

fn write(cosmos: &Cosmos, pfn: u64, offset: u64) {
    let at = PhysAddr(pfn * 4096 + offset);
    assert!(cosmos.world.memory.misuse(at, 0x5a, false));
}

/// The pages in which something was found.
fn corrupt(cosmos: &Cosmos) -> Vec<u64> {
    let found = std::mem::take(&mut *cosmos.world.platform.corrupt.lock().unwrap());
    found.into_iter().map(|(pfn, _)| pfn.0).collect()
}

#[test]
fn what_owners_write_is_never_found() {
    let cosmos = poisoned();
    for order in [0, 1, 3, 9, 10, 0] {
        let first = cosmos.alloc(GFP_KERNEL, order).unwrap();
        let second = cosmos.alloc(GFP_KERNEL, order).unwrap();
        for pfn in [first, second] {
            write(&cosmos, pfn, 0);
            write(&cosmos, pfn + (1 << order) - 1, 4095);
        }
        // One goes back for its order, the other with its last reference.
        cosmos.free(first, order).unwrap();
        assert_eq!(cosmos.system().put(Pfn(second)), Ok(true));
    }
    while cosmos.alloc(GFP_KERNEL, 0).is_ok() {}
    assert_eq!(corrupt(&cosmos), [0; 0]);
}

#[test]
fn a_use_after_free_is_found_when_the_page_is_given_out() {
    for (order, page, offset) in [(0, 0, 0), (0, 0, 4095), (3, 7, 100), (10, 1023, 8)] {
        let cosmos = poisoned();
        let pfn = cosmos.alloc(GFP_KERNEL, order).unwrap();
        cosmos.free(pfn, order).unwrap();
        write(&cosmos, pfn + page, offset);
        assert_eq!(corrupt(&cosmos), [0; 0], "nobody has looked yet");
        assert_eq!(cosmos.alloc(GFP_KERNEL, order), Ok(pfn));
        assert_eq!(corrupt(&cosmos), [pfn + page]);
    }
}
