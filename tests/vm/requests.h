/* SPDX-License-Identifier: GPL-2.0 */
/*
 * All requests of the ABI, for whoever makes one like the other.
 */
#ifndef REQUESTS_H
#define REQUESTS_H

#include <stdint.h>

#include "shadowmm.h"

/* Any request. */
union any {
	struct shadowmm_head head;
	uint32_t words[160];
	struct shadowmm_version version;
	struct shadowmm_stage stage;
	struct shadowmm_map map;
	struct shadowmm_alloc alloc;
	struct shadowmm_free free;
	struct shadowmm_page page;
	struct shadowmm_bulk bulk;
	struct shadowmm_exact exact;
	struct shadowmm_block block;
	struct shadowmm_contig contig;
	struct shadowmm_misuse misuse;
	struct shadowmm_policy policy;
	struct shadowmm_create create;
	struct shadowmm_cache cache;
	struct shadowmm_object object;
	struct shadowmm_objects objects;
	struct shadowmm_kmalloc kmalloc;
	struct shadowmm_bytes bytes;
	struct shadowmm_mm_config mm_config;
	struct shadowmm_mm_info mm_info;
	struct shadowmm_mm_mmap mm_mmap;
	struct shadowmm_mm_range mm_range;
	struct shadowmm_mm_mremap mm_mremap;
	struct shadowmm_mm_brk mm_brk;
	struct shadowmm_mm_mlock mm_mlock;
	struct shadowmm_mm_mincore mm_mincore;
	struct shadowmm_mm_limits mm_limits;
	struct shadowmm_mm_vmas mm_vmas;
	struct shadowmm_mm_walk mm_walk;
	struct shadowmm_report report;
	struct shadowmm_validate validate;
	struct shadowmm_reclaim reclaim;
	struct shadowmm_bench bench;
	struct shadowmm_bench_slab bench_slab;
	struct shadowmm_bench_lookup bench_lookup;
	struct shadowmm_diff_open diff_open;
	struct shadowmm_diff_play diff_play;
	struct shadowmm_diff_state diff_state;
	struct shadowmm_diff_caches diff_caches;
	struct shadowmm_diff_objects diff_objects;
	struct shadowmm_diff_look diff_look;
};

/* Any report but the VMAs, which have a request of their own, and how large a record of it is. */
static const struct report_kind { uint32_t kind, size; } report_kinds[] = {
	{ 0, sizeof(struct shadowmm_rec_status) }, { 1, sizeof(struct shadowmm_rec_segment) },
	{ 2, sizeof(struct shadowmm_rec_e820) }, { 3, sizeof(struct shadowmm_rec_resource) },
	{ 4, sizeof(struct shadowmm_rec_memblock) }, { 5, sizeof(struct shadowmm_rec_node) },
	{ 6, sizeof(struct shadowmm_rec_zone) }, { 7, sizeof(struct shadowmm_rec_account) },
	{ 8, sizeof(struct shadowmm_rec_counter) }, { 9, sizeof(struct shadowmm_rec_counter) },
	{ 10, sizeof(struct shadowmm_rec_section) }, { 11, sizeof(struct shadowmm_rec_pageset) },
	{ 12, sizeof(struct shadowmm_rec_pagetype) }, { 13, sizeof(struct shadowmm_rec_fragmentation) },
	{ 14, sizeof(struct shadowmm_rec_numastat) }, { 15, sizeof(struct shadowmm_rec_fallback) },
	{ 24, sizeof(struct shadowmm_rec_area) }, { 30, sizeof(struct shadowmm_rec_slab) },
	{ 31, sizeof(struct shadowmm_rec_cache) }, { 32, sizeof(struct shadowmm_rec_cache_node) },
	{ 40, sizeof(struct shadowmm_rec_space) },
};

#endif
