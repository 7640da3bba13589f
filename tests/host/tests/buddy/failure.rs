// SPDX-License-Identifier: GPL-2.0

//! What is said of a request that fails, in Linux's words.

use crate::world::*;
use shadowmm_core::buddy::gfp::*;
use shadowmm_core::buddy::*;
use shadowmm_core::nodemask::NodeMask;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::*;
use shadowmm_core::report::AllocFailure;
use shadowmm_core::report::RateLimit;
use shadowmm_core::zone::Watermark;

fn said(gfp: Gfp) -> String {
    format!("{gfp}")
}

#[test]
fn flags_have_their_names() {
    assert_eq!(said(GFP_KERNEL), "GFP_KERNEL");
    assert_eq!(said(Gfp::NONE), "");
    assert_eq!(said(GFP_ATOMIC), "GFP_ATOMIC");
    assert_eq!(
        said(GFP_TRANSHUGE | __GFP_THISNODE),
        "GFP_TRANSHUGE|__GFP_THISNODE"
    );
    assert_eq!(
        said(GFP_HIGHUSER_MOVABLE | __GFP_ZERO | __GFP_COMP),
        "GFP_HIGHUSER_MOVABLE|__GFP_ZERO|__GFP_COMP"
    );
    assert_eq!(said(GFP_NOWAIT | __GFP_NORETRY), "GFP_NOWAIT|__GFP_NORETRY");
    assert_eq!(said(__GFP_IO | __GFP_FS), "__GFP_IO|__GFP_FS");
    assert_eq!(said(GFP_KERNEL_ACCOUNT), "GFP_KERNEL_ACCOUNT");
    assert_eq!(said(GFP_DMA), "GFP_DMA");
    // A line of a real log: mode:0x40cc0(GFP_KERNEL|__GFP_COMP)
    let gfp = Gfp::from_bits(0x40cc0).unwrap();
    assert_eq!(said(gfp), "GFP_KERNEL|__GFP_COMP");
}

#[test]
fn the_headline_is_linuxs() {
    let mut failure = AllocFailure {
        gfp: GFP_KERNEL | __GFP_COMP,
        order: order_of(4),
        nodes: None,
    };
    assert_eq!(
        failure.to_string(),
        "page allocation failure: order:4, mode:0x40cc0(GFP_KERNEL|__GFP_COMP), nodemask=(null)"
    );
    failure.nodes = Some([NodeId(0), NodeId(1), NodeId(3)].into_iter().collect());
    failure.gfp = Gfp::NONE;
    failure.order = PageOrder::ZERO;
    assert_eq!(
        failure.to_string(),
        "page allocation failure: order:0, mode:0x0(), nodemask=0-1,3"
    );
}

#[test]
fn the_state_of_memory_is_told_with_it() {
    let world = World::new(
        &[
            (0, ZoneType::Dma, 1, 1024),
            (0, ZoneType::Normal, 1024, 3072),
            (1, ZoneType::Normal, 4096, 5120),
        ],
        false,
    );
    world.hand_off(4, 1024);
    world.hand_off(1024, 3072);
    world.hand_off(4096, 5120);
    let dma = world.zone(0, ZoneType::Dma);
    dma.set_watermark(Watermark::Min, Pages(10));
    dma.set_watermark(Watermark::Low, Pages(12));
    dma.set_watermark(Watermark::High, Pages(14));
    dma.set_lowmem_reserve(ZoneType::Normal, Pages(16));
    dma.set_lowmem_reserve(ZoneType::Movable, Pages(16));
    let request = request(GFP_ATOMIC | __GFP_DMA, 10);
    while world.buddy().alloc(&request).is_ok() {}
    let failures = world.platform.failures.lock().unwrap();
    let (headline, memory) = &failures[0];
    assert_eq!(
        headline,
        "page allocation failure: order:10, mode:0x821(GFP_ATOMIC|GFP_DMA), nodemask=(null)"
    );
    let counts = "active_anon:0kB inactive_anon:0kB active_file:0kB inactive_file:0kB \
        unevictable:0kB";
    let node = format!(
        "{counts} isolated(anon):0kB isolated(file):0kB mapped:0kB dirty:0kB writeback:0kB \
        shmem:0kB shmem_thp:0kB shmem_pmdmapped:0kB anon_thp:0kB kernel_stack:0kB pagetables:0kB \
        sec_pagetables:0kB all_unreclaimable? no Balloon:0kB gpu_active:0kB gpu_reclaim:0kB"
    );
    let expected = format!(
        "Mem-Info:\n\
        active_anon:0 inactive_anon:0 isolated_anon:0\n \
        active_file:0 inactive_file:0 isolated_file:0\n \
        unevictable:0 dirty:0 writeback:0\n \
        slab_reclaimable:0 slab_unreclaimable:0\n \
        mapped:0 shmem:0 pagetables:0\n \
        sec_pagetables:0 bounce:0\n \
        kernel_misc_reclaimable:0\n \
        free:4092 free_pcp:0 free_cma:0\n\
        Node 0 {node}\n\
        Node 0 DMA free:4080kB boost:0kB min:40kB low:48kB high:56kB reserved_highatomic:0kB \
        free_highatomic:0kB {counts} writepending:0kB zspages:0kB present:4092kB managed:4080kB \
        mlocked:0kB bounce:0kB free_pcp:0kB local_pcp:0kB free_cma:0kB\n\
        lowmem_reserve[]: 0 0 16 16 16\n\
        Node 0 DMA: 0*4kB 0*8kB 1*16kB (U) 1*32kB (U) 1*64kB (U) 1*128kB (U) 1*256kB (U) \
        1*512kB (U) 1*1024kB (U) 1*2048kB (U) 0*4096kB = 4080kB\n\
        Node 0 hugepages_total=0 hugepages_free=0 hugepages_surp=0 hugepages_size=2048kB\n\
        Node 1 hugepages_total=0 hugepages_free=0 hugepages_surp=0 hugepages_size=2048kB\n\
        0 total pagecache pages\n\
        0 pages in swap cache\n\
        Free swap  = 0kB\n\
        Total swap = 0kB\n\
        4095 pages RAM\n\
        0 pages HighMem/MovableOnly\n\
        3 pages reserved\n\
        0 pages cma reserved\n\
        0 pages hwpoisoned\n"
    );
    assert_eq!(memory, &expected);
}

#[test]
fn who_does_not_want_it_told_is_not_heard_of() {
    let world = World::one_zone(512);
    let normal = request(GFP_KERNEL, 9);
    world.buddy().alloc(&normal).unwrap();
    let said = || world.platform.failures.lock().unwrap().len();
    assert!(world.alloc(GFP_KERNEL | __GFP_NOWARN, 0).is_err());
    assert!(world.alloc(GFP_NOWAIT, 0).is_err());
    // There is no DMA zone, so that is no news.
    assert!(world.alloc(GFP_DMA, 0).is_err());
    assert_eq!(said(), 0);
    assert!(world.alloc(GFP_KERNEL, 0).is_err());
    assert_eq!(said(), 1);
    // Of other nodes nothing is told, unless the request could not sleep.
    let none = AllocRequest::new(GFP_KERNEL, PageOrder::ZERO).within(NodeMask::NONE);
    assert!(world.buddy().alloc(&none).is_err());
    let (headline, memory) = world.platform.failures.lock().unwrap()[1].clone();
    assert!(headline.ends_with("nodemask="), "{headline}");
    assert!(!memory.contains("Node 0"), "{memory}");
}

#[test]
fn failures_are_told_once_in_ten_seconds() {
    let limit = RateLimit::of_failures();
    let second = 1_000_000_000;
    assert_eq!(limit.allow(5 * second), Some(0));
    assert_eq!(limit.allow(6 * second), None);
    assert_eq!(limit.allow(14 * second), None);
    assert_eq!(limit.allow(15 * second), Some(2));
    assert_eq!(limit.allow(15 * second + 1), None);
    assert_eq!(limit.allow(100 * second), Some(1));
}
