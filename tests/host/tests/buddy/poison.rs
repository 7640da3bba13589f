// SPDX-License-Identifier: GPL-2.0

//! buddy/poison.rs: free pages are filled, and whoever writes to one is found out
//! when it is given out.

use crate::world::*;
use shadowmm_core::buddy::gfp::*;
use shadowmm_core::buddy::*;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::*;
use std::sync::atomic::Ordering::Relaxed;

const PAGES: u64 = 4096;

fn poisoned() -> World {
    let world = World::new(&[(0, ZoneType::Normal, 0, PAGES)], true);
    world.platform.poisons.store(true, Relaxed);
    world.hand_off(0, PAGES);
    world
}

/// A write to a page of the world, whosever it is.
fn write(world: &World, pfn: u64, offset: u64) {
    assert!(world
        .memory
        .misuse(PhysAddr(pfn * 4096 + offset), 0x5a, false));
}

fn corrupt(world: &World) -> Vec<(Pfn, String)> {
    std::mem::take(&mut world.platform.corrupt.lock().unwrap())
}

#[test]
fn what_owners_write_is_never_found() {
    let world = poisoned();
    let mut held = vec![];
    let mut seed = 1u64;
    for _ in 0..3000 {
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        let order = (seed >> 40) as u32 % 6;
        if seed >> 62 == 0 && !held.is_empty() {
            let (pfn, order) = held.swap_remove((seed >> 20) as usize % held.len());
            world.free(pfn, order).unwrap();
        } else if let Ok(pfn) = world.alloc(GFP_KERNEL, order) {
            write(&world, pfn, (seed >> 50) % 4096);
            write(&world, pfn + (1 << order) - 1, 4095);
            held.push((pfn, order));
        } else if let Some((pfn, order)) = held.pop() {
            world.free(pfn, order).unwrap();
        }
    }
    let mut pages = [Pfn(0); 64];
    let taken = world
        .buddy()
        .alloc_bulk(&request(GFP_KERNEL, 0), &mut pages)
        .unwrap_or(0);
    pages[..taken]
        .iter()
        .for_each(|pfn| write(&world, pfn.0, 8));
    assert_eq!(world.buddy().free_bulk(&pages[..taken]), taken);
    for (pfn, order) in held {
        world.free(pfn, order).unwrap();
    }
    let many = world.buddy();
    let run = many
        .alloc_exact(&request(GFP_KERNEL, 0), Pages(600))
        .unwrap();
    write(&world, run.0 + 599, 0);
    many.free_exact(run, Pages(600)).unwrap();
    let block = world.alloc(GFP_KERNEL, 9).unwrap();
    world.free(block, 9).unwrap();
    assert_eq!(corrupt(&world), []);
}

#[test]
fn a_use_after_free_is_told_once_with_its_place() {
    let cases = [
        (0, 0, 0),
        (0, 0, 4095),
        (3, 7, 100),
        (9, 300, 2048),
        (10, 1023, 4088),
    ];
    for (order, page, offset) in cases {
        let world = poisoned();
        let pfn = world.alloc(GFP_KERNEL, order).unwrap();
        world.free(pfn, order).unwrap();
        write(&world, pfn + page, offset);
        assert_eq!(corrupt(&world), [], "nobody has looked yet");
        assert_eq!(world.alloc(GFP_KERNEL, order), Ok(pfn));
        let found = corrupt(&world);
        let [(at, text)] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!(at.0, pfn + page);
        let place = offset / 8 * 8;
        assert!(text.starts_with("pagealloc: memory corruption\n"), "{text}");
        assert!(
            text.contains(&format!("8 bytes at offset {place}\n")),
            "{text}"
        );
        let shift = offset % 8 * 8;
        let word = (0xaaaa_aaaa_aaaa_aaaau64 & !(0xff << shift)) | (0x5a << shift);
        let line = format!("{:08x}: {word:016x}\n", (pfn + page) * 4096 + place);
        assert!(text.ends_with(&line), "{text}");
        // Once given back it is as good as any.
        world.free(pfn, order).unwrap();
        assert_eq!(world.alloc(GFP_KERNEL, order), Ok(pfn));
        assert_eq!(corrupt(&world), []);
    }
}

#[test]
fn two_places_in_one_page_are_one_range() {
    let world = poisoned();
    let pfn = world.alloc(GFP_KERNEL, 0).unwrap();
    world.free(pfn, 0).unwrap();
    write(&world, pfn, 16);
    write(&world, pfn, 47);
    assert_eq!(world.alloc(GFP_KERNEL, 0), Ok(pfn));
    let found = corrupt(&world);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].1.contains("32 bytes at offset 16\n"),
        "{}",
        found[0].1
    );
}

#[test]
fn without_it_nothing_is_looked_at() {
    let world = World::new(&[(0, ZoneType::Normal, 0, PAGES)], true);
    world.hand_off(0, PAGES);
    let pfn = world.alloc(GFP_KERNEL, 0).unwrap();
    world.free(pfn, 0).unwrap();
    write(&world, pfn, 0);
    assert_eq!(world.alloc(GFP_KERNEL, 0), Ok(pfn));
    assert_eq!(corrupt(&world), []);
}
