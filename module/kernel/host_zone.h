/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A zone of the running kernel, looked at from outside: for the differential
 * test, which plays the same requests on it and on the shadow. helpers.c has
 * what the shadow itself needs; nothing of this is used for it.
 */
#ifndef SHADOWMM_HOST_ZONE_H
#define SHADOWMM_HOST_ZONE_H

#include <linux/mmzone.h>
#include <linux/types.h>

#define SHADOWMM_HOST_ZONES 4
#define SHADOWMM_HOST_ORDERS 11

/* What does not change while the test runs. */
struct shadowmm_host_zone_shape {
	u64 start_pfn;
	u64 spanned;
	u64 present;
	u64 managed;
	u64 cma;
	u64 watermark[4];
	u64 lowmem_reserve[SHADOWMM_HOST_ZONES];
};

/* What does. */
struct shadowmm_host_zone_state {
	u64 free;
	u64 free_cma;
	u64 free_highatomic;
	u64 free_blocks;
	u64 reserved_highatomic;
	u64 boost;
	u64 nr_free[SHADOWMM_HOST_ORDERS];
	bool below_high;
	bool boosted;
	bool reclaim_active;
};

struct shadowmm_host_pageset {
	s32 count;
	s32 high;
	s32 high_min;
	s32 high_max;
	s32 batch;
	s32 free_count;
	s32 alloc_factor;
	bool prev_free_high_order;
	bool free_high_batch;
};

struct zone *shadowmm_host_zone(int nid, unsigned int kind);
void shadowmm_host_zone_shape(const struct zone *zone, struct shadowmm_host_zone_shape *shape);
void shadowmm_host_zone_state(struct zone *zone, struct shadowmm_host_zone_state *state);
void shadowmm_host_zone_set_boost(struct zone *zone, u64 pages);
void shadowmm_host_pageset(const struct zone *zone, unsigned int cpu, struct shadowmm_host_pageset *state);
void shadowmm_host_pageset_limits(struct zone *zone, unsigned int cpu, int high_min, int high_max, int batch);
void shadowmm_host_pageset_expire(struct zone *zone, unsigned int cpu, unsigned int refreshes);
int shadowmm_host_stat_threshold(struct zone *zone, int threshold);
size_t shadowmm_host_free_list(struct zone *zone, unsigned int order, unsigned int mt, u32 *pfns, size_t room);
size_t shadowmm_host_pageset_list(struct zone *zone, unsigned int cpu, unsigned int list, u32 *pfns, size_t room);
int shadowmm_host_pageblock(u64 pfn);
int shadowmm_host_page_kind(const struct zone *zone, u64 pfn);
unsigned int shadowmm_host_nr_online_nodes(void);

u64 shadowmm_host_alloc(int nid, u32 gfp, unsigned int order);
size_t shadowmm_host_alloc_bulk(int nid, u32 gfp, struct page **scratch, u64 *pfns, size_t count);
void shadowmm_host_free(u64 pfn, unsigned int order);
void shadowmm_host_free_bulk(const u64 *pfns, size_t count);
void shadowmm_host_split(u64 pfn, unsigned int order);

#endif
