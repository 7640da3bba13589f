// SPDX-License-Identifier: GPL-2.0

//! Allocations: what is preferred, what is refused, what is zeroed.

use crate::machine::add;
use crate::machine::backed;
use crate::machine::numbers;
use crate::machine::CACHE;
use crate::machine::K;
use crate::machine::M;
use shadowmm_core::error::Error;
use shadowmm_core::memblock::*;
use shadowmm_core::phys::*;

#[test]
fn zeroed_memory_needs_memory() {
    numbers(8, |mut early| {
        add(&mut early, 0, M, 0);
        assert_eq!(early.alloc(Bytes(64), CACHE), Err(Error::RegionMissing));
        assert_eq!(early.reserved.cnt(), 0);
        assert_eq!(early.alloc_raw(Bytes(64), CACHE), Ok(PhysAddr(M - 64)));
    });
    backed(8, &[16], M, |mut early| {
        add(&mut early, M, 2 * M, 0);
        assert_eq!(early.alloc(Bytes(64), CACHE), Err(Error::ForeignPfn));
        assert_eq!(early.reserved.cnt(), 0);
        early.set_current_limit(PhysAddr(M + 64 * K));
        let addr = early.alloc(Bytes(100), CACHE).unwrap();
        assert_eq!(addr, PhysAddr(M + 64 * K - 128));
        let range = PhysRange::new(addr, Bytes(100));
        assert_eq!(early.region().unwrap().is_zero(range), Ok(true));
        let behind = PhysRange::new(range.end, Bytes(28));
        assert_eq!(early.region().unwrap().is_zero(behind), Ok(false));
    });
}

#[test]
fn low_memory_is_below_four_gib() {
    backed(8, &[16], (4 << 30) - 32 * K, |mut early| {
        add(&mut early, (4 << 30) - 32 * K, 64 * K, 0);
        let low = early.alloc_low(Bytes(64), CACHE).unwrap();
        // The limit is the last byte below 4 GiB, not 4 GiB.
        assert_eq!(low, PhysAddr((4 << 30) - 128));
        let any = early.alloc(Bytes(64), CACHE).unwrap();
        assert_eq!(any, PhysAddr((4 << 30) + 32 * K - 64));
    });
}

#[test]
fn the_first_page_is_never_given() {
    numbers(8, |mut early| {
        add(&mut early, 0, 8 * K, 0);
        early.set_bottom_up(true);
        assert_eq!(early.phys_alloc(Bytes(1), Bytes(1)), Ok(PhysAddr(4 * K)));
        let rest = early.phys_alloc(Bytes(4 * K), Bytes(1));
        assert_eq!(rest, Err(Error::MemblockNoMemory));
    });
}

#[test]
fn no_alignment_means_a_cache_line() {
    numbers(8, |mut early| {
        add(&mut early, M, M, 0);
        assert_eq!(
            early.phys_alloc(Bytes(1), Bytes(0)),
            Ok(PhysAddr(2 * M - 64))
        );
        assert_eq!(early.warnings().no_align, 1);
    });
}

#[test]
fn mirrored_memory_first() {
    numbers(8, |mut early| {
        early.set_mirrored_kernelcore(true);
        add(&mut early, M, 4 * M, 0);
        early.mark_mirror(PhysAddr(2 * M), Bytes(M)).unwrap();
        assert!(early.has_mirror());
        let alloc = |early: &mut EarlyMemory<'_, '_>, size| early.phys_alloc(Bytes(size), CACHE);
        assert_eq!(alloc(&mut early, M / 2), Ok(PhysAddr(2 * M + M / 2)));
        assert_eq!(early.warnings().mirror_fallback, 0);
        assert_eq!(alloc(&mut early, M), Ok(PhysAddr(4 * M)));
        assert_eq!(early.warnings().mirror_fallback, 1);
        // Huge pages are for users and don't take mirrored memory.
        let huge = early.alloc_hugetlb(Bytes(256 * K), NodeId::NONE, false);
        assert_eq!(huge, Ok(PhysAddr(4 * M - 256 * K)));
    });
}

#[test]
fn hotpluggable_memory_is_left_alone_with_movable_node() {
    numbers(8, |mut early| {
        add(&mut early, M, M, 0);
        let hotplug = MemblockFlags::HOTPLUG;
        early
            .add_node(PhysAddr(4 * M), Bytes(M), NodeId(1), hotplug)
            .unwrap();
        assert_eq!(early.phys_alloc(Bytes(64), CACHE), Ok(PhysAddr(5 * M - 64)));
        early.set_movable_node(true);
        assert_eq!(early.phys_alloc(Bytes(64), CACHE), Ok(PhysAddr(2 * M - 64)));
        let exact = (PhysAddr(0), ALLOC_ACCESSIBLE, NodeId(1));
        let result = early.alloc_exact_nid_raw(Bytes(64), CACHE, exact.0, exact.1, exact.2);
        assert_eq!(result, Err(Error::MemblockNoMemory));
    });
}

#[test]
fn kexec_scratch_memory_alone() {
    numbers(8, |mut early| {
        add(&mut early, M, 4 * M, 0);
        early.mark_kho_scratch(PhysAddr(2 * M), Bytes(M)).unwrap();
        early.set_kho_scratch_only(true);
        assert_eq!(early.phys_alloc(Bytes(64), CACHE), Ok(PhysAddr(3 * M - 64)));
        early.set_kho_scratch_only(false);
        assert_eq!(early.phys_alloc(Bytes(64), CACHE), Ok(PhysAddr(5 * M - 64)));
    });
}

#[test]
fn huge_pages_are_aligned_to_their_size() {
    numbers(8, |mut early| {
        add(&mut early, M, 8 * M, 0);
        add(&mut early, 16 * M, M, 1);
        let huge = |early: &mut EarlyMemory<'_, '_>, nid, exact| {
            early.alloc_hugetlb(Bytes(2 * M), NodeId(nid), exact)
        };
        assert_eq!(huge(&mut early, 1, true), Err(Error::MemblockNoMemory));
        assert_eq!(huge(&mut early, 1, false), Ok(PhysAddr(6 * M)));
        let flags = MemblockFlags::RSRV_KERN | MemblockFlags::RSRV_HUGETLB;
        assert_eq!(early.reserved_regions()[0].flags, flags);
        // The node that was tried last: none in particular.
        assert_eq!(early.reserved_regions()[0].nid, NodeId::NONE);
    });
}
