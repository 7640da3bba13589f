// SPDX-License-Identifier: GPL-2.0

//! The ABI of `/dev/shadowmm`, as bindgen reads it from `module/uapi/shadowmm.h`.
//!
//! Nothing is added here but what has to hold: that every layout is the same
//! for 32-bit and 64-bit callers. The sizes and offsets below are written down
//! by hand, so that a change of the header that moves a field does not compile.
//! [`stats`] is no part of the device: two of our programs share it.

#![no_std]
#![allow(
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    clippy::undocumented_unsafe_blocks,
    reason = "generated; the header has the documentation"
)]

pub mod stats;

include!(concat!(env!("OUT_DIR"), "/abi.rs"));

/// Checks sizes, alignments and offsets while compiling.
macro_rules! layout {
    ($($name:ident = $size:literal { $($field:ident: $offset:literal),* $(,)? })*) => {
        $(
            const _: () = assert!(core::mem::size_of::<$name>() == $size);
            $(const _: () = assert!(core::mem::offset_of!($name, $field) == $offset);)*
        )*
    };
}

layout! {
    shadowmm_head = 16 { size: 0, flags: 4, reason: 8, reserved: 12 }
    shadowmm_version = 152 { head: 0, abi: 16, reserved: 20, release: 24, kernel: 88 }
    shadowmm_stage = 64 { op: 16, stage: 20, ns: 24 }
    shadowmm_e820 = 24 { addr: 0, size: 8, type_: 16, reserved: 20 }
    shadowmm_affinity = 24 { addr: 0, size: 8, nid: 16, flags: 20 }
    shadowmm_cpu = 8 { cpu: 0, nid: 4 }
    shadowmm_map = 80 {
        source: 16, nr_e820: 20, nr_memory: 24, nr_cpus: 28, nr_nodes: 32, reserved: 36,
        e820: 40, memory: 48, cpus: 56, distances: 64, crashkernel: 72,
    }
    shadowmm_alloc = 56 {
        gfp: 16, order: 20, nid: 24, reserved: 28, pfn: 32, page_nid: 40, page_zone: 44, handle: 48,
    }
    shadowmm_free = 32 { pfn: 16, order: 24, reserved: 28 }
    shadowmm_page = 80 {
        pfn: 16, head_pfn: 24, host_pfn: 32, section: 40, state: 48, head_state: 52, order: 56,
        zone: 60, nid: 64, count: 68, owner: 72, reserved: 76,
    }
    shadowmm_report = 40 { kind: 16, record_size: 20, capacity: 24, count: 28, buf: 32 }
    shadowmm_validate = 136 { checks: 16, what: 24 }
    shadowmm_misuse = 32 { head: 0, addr: 16, byte: 24, how: 28 }
    shadowmm_reclaim = 32 { op: 16, nid: 20, pages: 24 }
    shadowmm_bulk = 48 { op: 16, gfp: 20, nid: 24, count: 28, done: 32, stopped: 36, pfns: 40 }
    shadowmm_exact = 56 {
        op: 16, gfp: 20, nid: 24, page_nid: 28, bytes: 32, pfn: 40, page_zone: 48, reserved: 52,
    }
    shadowmm_block = 40 { op: 16, order: 20, to: 24, count: 28, pfn: 32 }
    shadowmm_policy = 32 { op: 16, mode: 20, nodes: 24 }
    shadowmm_contig = 56 {
        op: 16, gfp: 20, nid: 24, page_nid: 28, pages: 32, pfn: 40, page_zone: 48, reserved: 52,
    }
    shadowmm_mm_config = 40 { op: 16, tree: 20, layout: 24, reserved: 28, seed: 32 }
    shadowmm_mm_mmap = 56 { addr: 16, len: 24, prot: 32, flags: 36, fd: 40, reserved: 44, offset: 48 }
    shadowmm_mm_range = 40 { addr: 16, len: 24, arg: 32, reserved: 36 }
    shadowmm_mm_mremap = 56 { addr: 16, old_len: 24, new_len: 32, new_addr: 40, flags: 48, reserved: 52 }
    shadowmm_mm_brk = 32 { brk: 16, start: 24 }
    shadowmm_mm_mlock = 40 { op: 16, flags: 20, addr: 24, len: 32 }
    shadowmm_mm_mincore = 40 { addr: 16, len: 24, vec: 32 }
    shadowmm_mm_limits = 40 { op: 16, limit: 20, value: 24, max: 32 }
    shadowmm_rec_space = 208 {
        id: 0, pid: 4, comm: 8, window_start: 24, window_end: 32, mmap_base: 40, start_brk: 48, brk: 56,
        start_stack: 64, total_vm: 72, locked_vm: 80, data_vm: 88, stack_vm: 96, hiwater_vm: 104,
        hiwater_rss: 112, rss: 120, pgtables_bytes: 152, min_flt: 160, maj_flt: 168,
        faults_vma_lock: 176, faults_mmap_lock: 184, map_count: 192, tree: 196, oom_score_adj: 200,
        reserved: 204,
    }
    shadowmm_mm_info = 224 { space: 16 }
    shadowmm_rec_vma = 48 { start: 0, end: 8, flags: 16, pgoff: 24, file: 32, anon: 40 }
    shadowmm_mm_vmas = 40 { id: 16, record_size: 20, capacity: 24, count: 28, buf: 32 }
    shadowmm_mm_walk = 160 {
        id: 16, levels: 20, addr: 24, entry: 32, table: 64, pfn: 96, mapped: 104, reserved: 108, vma: 112,
    }
    shadowmm_create = 128 {
        head: 0, object_size: 16, align: 20, flags: 24, ctor: 28, ctor_arg: 32, useroffset: 36,
        usersize: 40, freeptr_offset: 44, sheaf_capacity: 48, cache: 52, aliases: 56, reserved: 60,
        name: 64,
    }
    shadowmm_cache = 112 {
        head: 0, op: 16, cache: 20, value: 24, capacity: 32, reserved: 36, text: 40, name: 48,
    }
    shadowmm_object = 48 {
        head: 0, op: 16, cache: 20, gfp: 24, nid: 28, object: 32, object_nid: 40, asked: 44,
    }
    shadowmm_objects = 56 {
        head: 0, op: 16, cache: 20, gfp: 24, nid: 28, count: 32, done: 36, stopped: 40, reserved: 44,
        objects: 48,
    }
    shadowmm_kmalloc = 56 {
        head: 0, op: 16, gfp: 20, nid: 24, object_nid: 28, size: 32, object: 40, usable: 48,
    }
    shadowmm_bytes = 56 { head: 0, op: 16, cache: 20, object: 24, offset: 32, len: 40, buf: 48 }
    shadowmm_bench = 72 {
        head: 0, shape: 16, order: 20, blocks: 24, done: 28, operations: 32, tsc_khz: 36, host: 40,
        pagesets: 44, cpu: 48, reserved: 52, shadow_ticks: 56, host_ticks: 64,
    }
    shadowmm_bench_slab = 72 {
        head: 0, shape: 16, size: 20, blocks: 24, done: 28, operations: 32, tsc_khz: 36, host: 40,
        magazine: 44, cpu: 48, reserved: 52, shadow_ticks: 56, host_ticks: 64,
    }
    shadowmm_bench_lookup = 56 {
        blocks: 16, done: 20, operations: 24, tsc_khz: 28, vmas: 32, reserved: 36, shadow_ticks: 40,
        host_ticks: 48,
    }
    shadowmm_diff_open = 56 { nid: 16, nr_zones: 20, seed: 24, nr_slots: 32, managed: 40, free: 48 }
    shadowmm_diff_step = 16 { op: 0, gfp: 4, order: 8, slot: 12 }
    shadowmm_diff_play = 176 {
        nr_steps: 16, done: 20, verdict: 24, reserved: 28, steps: 32, results: 40, host: 48,
        shadow: 56, what: 64,
    }
    shadowmm_diff_state = 40 { side: 16, capacity: 20, size: 24, buf: 32 }
    shadowmm_diff_cache = 96 {
        name: 0, object_size: 64, align: 68, flags: 72, options: 76, useroffset: 80, usersize: 84,
        freeptr_offset: 88, sheaf_capacity: 92,
    }
    shadowmm_diff_geometry = 56 {
        asked: 0, object_size: 4, size: 8, inuse: 12, offset: 16, align: 20, red_left_pad: 24,
        flags: 28, order: 32, objects: 36, min_order: 40, min_objects: 44, min_partial: 48,
        sheaf_capacity: 52,
    }
    shadowmm_diff_caches = 40 { head: 0, op: 16, nr: 20, caches: 24, geometries: 32 }
    shadowmm_diff_objects_step = 16 { op: 0, cache: 4, slot: 8, count: 12 }
    shadowmm_diff_objects = 40 {
        head: 0, nr: 16, failed: 20, steps: 24, shadow_short: 32, shadow_refused: 36,
    }
    shadowmm_diff_look = 120 {
        head: 0, cache: 16, fallbacks: 20, live: 24, host_used: 32, shadow_used: 40, slabs: 48,
        partial: 56, empty: 64, total: 72, objects: 80, cached: 88, active: 96, pages: 104,
        apart: 112,
    }
    shadowmm_rec_status = 144 {
        stage: 0, map_source: 4, region_source: 8, nr_nodes: 12, backing_pages: 16, ram_pages: 24,
        original_ram: 32, metadata_bytes: 40, descriptor_bytes: 48, managed_pages: 56,
        free_pages: 64, held_pages: 72, open_files: 80, section_order: 84, descriptor_size: 88,
        host_descriptor_size: 92, ns: 96, crash_reason: 136, reserved: 140,
    }
    shadowmm_rec_segment = 32 { start_pfn: 0, pages: 8, host_pfn: 16, nid: 24, host_nid: 28 }
    shadowmm_rec_e820 = 24 { addr: 0, size: 8, type_: 16, reserved: 20 }
    shadowmm_rec_resource = 64 { start: 0, end: 8, depth: 16, reserved: 20, name: 24 }
    shadowmm_rec_memblock = 32 { base: 0, size: 8, flags: 16, nid: 20, array: 24, reserved: 28 }
    shadowmm_rec_node = 168 {
        nid: 0, host_nid: 4, nr_cpus: 8, nr_fallback: 12, start_pfn: 16, spanned: 24, present: 32,
        distance: 40, fallback: 104,
    }
    shadowmm_rec_zone = 216 {
        nid: 0, zone: 4, name: 8, start_pfn: 24, spanned: 32, present: 40, managed: 48, free: 56,
        watermark: 64, lowmem_reserve: 96, nr_free: 128,
    }
    shadowmm_rec_account = 112 { bytes: 0, depth: 8, reserved: 12, key: 16, text: 48 }
    shadowmm_rec_counter = 48 { name: 0, value: 40 }
    shadowmm_rec_section = 32 { number: 0, start_pfn: 8, memmap_pfn: 16, nid: 24, reserved: 28 }
    shadowmm_rec_pageset = 40 {
        nid: 0, zone: 4, cpu: 8, count: 12, high: 16, batch: 20, high_min: 24, high_max: 28,
        stat_threshold: 32, reserved: 36,
    }
    shadowmm_rec_pagetype = 112 {
        nid: 0, zone: 4, migratetype: 8, reserved: 12, blocks: 16, nr_free: 24,
    }
    shadowmm_rec_fragmentation = 104 {
        nid: 0, zone: 4, migratetype: 8, reserved: 12, unusable: 16, index: 60,
    }
    shadowmm_rec_numastat = 56 {
        nid: 0, reserved: 4, hit: 8, miss: 16, foreign: 24, interleave: 32, local: 40, other: 48,
    }
    shadowmm_rec_fallback = 32 { nid: 0, zone: 4, from: 8, to: 12, claimed: 16, stolen: 24 }
    shadowmm_rec_area = 424 {
        nid: 0, zone: 4, kind: 8, start_pfn: 24, end_pfn: 32, max: 40, free: 48, divisions: 56,
        merges: 64, objects: 72, nr_free: 160, allocs: 248, frees: 336,
    }
    shadowmm_rec_slab = 32 { up: 0, by: 4, held_objects: 8, caches: 16, pages: 24 }
    shadowmm_rec_cache = 288 {
        cache: 0, refcount: 4, name: 8, object_size: 72, size: 76, inuse: 80, offset: 84, align: 88,
        red_left_pad: 92, flags: 96, order: 100, objects_per_slab: 104, min_order: 108,
        min_objects: 112, min_partial: 116, sheaf_capacity: 120, ctor: 124, ctor_arg: 128,
        useroffset: 132, usersize: 136, reserved: 140, active_objects: 144, total_objects: 152,
        cached_objects: 160, slabs: 168, pages: 176, alloc_fastpath: 184, alloc_slowpath: 192,
        free_fastpath: 200, free_slowpath: 208, free_remote: 216, remote_batches: 224,
        refills: 232, flushes: 240, cpu_flush: 248, alloc_slab: 256, free_slab: 264,
        order_fallback: 272, failed: 280,
    }
    shadowmm_rec_cache_node = 48 {
        cache: 0, nid: 4, full: 8, partial: 16, empty: 24, total_objects: 32, objects: 40,
    }
}
