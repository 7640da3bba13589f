// SPDX-License-Identifier: GPL-2.0
/*
 * A zone of the running kernel, looked at from outside; see host_zone.h.
 *
 * The lists and counts are read as the kernel itself reads them: under the
 * zone's lock, or, for the running CPU's pageset, with preemption off and
 * nobody else using the zone.
 */
#include <linux/cpumask.h>
#include <linux/gfp.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/nodemask.h>
#include <linux/page-flags.h>
#include <linux/pageblock-flags.h>
#include <linux/percpu.h>
#include <linux/smp.h>
#include <linux/topology.h>
#include <linux/vmstat.h>

#include "host_zone.h"

static_assert(SHADOWMM_HOST_ORDERS == NR_PAGE_ORDERS);
static_assert(SHADOWMM_HOST_ZONES <= MAX_NR_ZONES);

/* The zone of this kind on a node, if it has memory. Zones are never freed. */
struct zone *shadowmm_host_zone(int nid, unsigned int kind)
{
	struct zone *zone;

	if (nid < 0 || nid >= nr_node_ids || !node_online(nid) || kind >= SHADOWMM_HOST_ZONES)
		return NULL;
	zone = &NODE_DATA(nid)->node_zones[kind];
	return populated_zone(zone) ? zone : NULL;
}

void shadowmm_host_zone_shape(const struct zone *zone, struct shadowmm_host_zone_shape *shape)
{
	unsigned int i;

	shape->start_pfn = zone->zone_start_pfn;
	shape->spanned = zone->spanned_pages;
	shape->present = zone->present_pages;
	shape->managed = zone_managed_pages((struct zone *)zone);
	shape->cma = zone_cma_pages((struct zone *)zone);
	for (i = 0; i < NR_WMARK; i++)
		shape->watermark[i] = zone->_watermark[i];
	for (i = 0; i < SHADOWMM_HOST_ZONES; i++)
		shape->lowmem_reserve[i] = zone->lowmem_reserve[i];
}

/* As the allocator reads it: without what a CPU has not told yet. */
void shadowmm_host_zone_state(struct zone *zone, struct shadowmm_host_zone_state *state)
{
	unsigned int order;

	state->free = zone_page_state(zone, NR_FREE_PAGES);
	state->free_cma = zone_page_state(zone, NR_FREE_CMA_PAGES);
	state->free_blocks = zone_page_state(zone, NR_FREE_PAGES_BLOCKS);
	state->free_highatomic = READ_ONCE(zone->nr_free_highatomic);
	state->reserved_highatomic = READ_ONCE(zone->nr_reserved_highatomic);
	state->boost = READ_ONCE(zone->watermark_boost);
	for (order = 0; order < NR_PAGE_ORDERS; order++)
		state->nr_free[order] = READ_ONCE(zone->free_area[order].nr_free);
	state->below_high = test_bit(ZONE_BELOW_HIGH, &zone->flags);
	state->boosted = test_bit(ZONE_BOOSTED_WATERMARK, &zone->flags);
	state->reclaim_active = test_bit(ZONE_RECLAIM_ACTIVE, &zone->flags);
}

/* What kswapd does to the boost when it is through. */
void shadowmm_host_zone_set_boost(struct zone *zone, u64 pages)
{
	unsigned long flags;

	spin_lock_irqsave(&zone->lock, flags);
	zone->watermark_boost = pages;
	spin_unlock_irqrestore(&zone->lock, flags);
}

void shadowmm_host_pageset(const struct zone *zone, unsigned int cpu, struct shadowmm_host_pageset *state)
{
	const struct per_cpu_pages *pcp = per_cpu_ptr(zone->per_cpu_pageset, cpu);

	state->count = READ_ONCE(pcp->count);
	state->high = READ_ONCE(pcp->high);
	state->high_min = READ_ONCE(pcp->high_min);
	state->high_max = READ_ONCE(pcp->high_max);
	state->batch = READ_ONCE(pcp->batch);
	state->free_count = READ_ONCE(pcp->free_count);
	state->alloc_factor = READ_ONCE(pcp->alloc_factor);
	state->prev_free_high_order = pcp->flags & PCPF_PREV_FREE_HIGH_ORDER;
	state->free_high_batch = pcp->flags & PCPF_FREE_HIGH_BATCH;
}

/* As pageset_update() sets them, which nobody does meanwhile: it takes a change of the CPUs, the memory or a sysctl. */
void shadowmm_host_pageset_limits(struct zone *zone, unsigned int cpu, int high_min, int high_max, int batch)
{
	struct per_cpu_pages *pcp = per_cpu_ptr(zone->per_cpu_pageset, cpu);

	WRITE_ONCE(pcp->batch, batch);
	WRITE_ONCE(pcp->high_min, high_min);
	WRITE_ONCE(pcp->high_max, high_max);
}

/* After so many refreshes of the statistics on this CPU a part of its pageset goes back; 0 for never. */
void shadowmm_host_pageset_expire(struct zone *zone, unsigned int cpu, unsigned int refreshes)
{
	WRITE_ONCE(per_cpu_ptr(zone->per_cpu_pageset, cpu)->expire, refreshes);
}

struct stat_threshold {
	struct zone *zone;
	int threshold;
};

static void set_stat_threshold(void *data)
{
	const struct stat_threshold *wanted = data;
	struct per_cpu_zonestat *stat = this_cpu_ptr(wanted->zone->per_cpu_zonestats);
	unsigned int item;

	stat->stat_threshold = wanted->threshold;
	for (item = 0; item < NR_VM_ZONE_STAT_ITEMS; item++) {
		int stray = stat->vm_stat_diff[item];

		stat->vm_stat_diff[item] = 0;
		if (stray)
			zone_page_state_add(stray, wanted->zone, item);
	}
}

/*
 * How far a CPU's counts may stray before it tells the zone; returns how far
 * they were allowed to. At 0 the zone's count of free pages, which the
 * allocator's decisions rest on, is exact.
 */
int shadowmm_host_stat_threshold(struct zone *zone, int threshold)
{
	struct stat_threshold wanted = { .zone = zone, .threshold = threshold };
	int old = per_cpu_ptr(zone->per_cpu_zonestats, raw_smp_processor_id())->stat_threshold;

	on_each_cpu(set_stat_threshold, &wanted, true);
	return old;
}

/* The blocks of a free list, the next one to be given out first; how many there are. */
size_t shadowmm_host_free_list(struct zone *zone, unsigned int order, unsigned int mt, u32 *pfns, size_t room)
{
	const struct page *page;
	unsigned long flags;
	size_t count = 0;

	spin_lock_irqsave(&zone->lock, flags);
	list_for_each_entry(page, &zone->free_area[order].free_list[mt], buddy_list) {
		if (count < room)
			pfns[count] = page_to_pfn(page);
		count++;
	}
	spin_unlock_irqrestore(&zone->lock, flags);
	return count;
}

/* The same of a list of a pageset. */
size_t shadowmm_host_pageset_list(struct zone *zone, unsigned int cpu, unsigned int list, u32 *pfns, size_t room)
{
	struct per_cpu_pages *pcp = per_cpu_ptr(zone->per_cpu_pageset, cpu);
	const struct page *page;
	size_t count = 0;

	if (list >= NR_PCP_LISTS)
		return 0;
	spin_lock(&pcp->lock);
	list_for_each_entry(page, &pcp->lists[list], pcp_list) {
		if (count < room)
			pfns[count] = page_to_pfn(page);
		count++;
	}
	spin_unlock(&pcp->lock);
	return count;
}

/* The bits of a page block (enum pageblock_bits), as __get_pfnblock_flags_mask() finds them; -1 for no memory. */
int shadowmm_host_pageblock(u64 pfn)
{
	unsigned long *bitmap, bit;

	if (!pfn_valid(pfn))
		return -1;
	bitmap = section_to_usemap(__pfn_to_section(pfn));
	bit = ((pfn & (PAGES_PER_SECTION - 1)) >> pageblock_order) * NR_PAGEBLOCK_BITS;
	return (READ_ONCE(bitmap[bit / BITS_PER_LONG]) >> (bit % BITS_PER_LONG)) & ((1 << NR_PAGEBLOCK_BITS) - 1);
}

/* 0: not a page of the zone; 1: one that stays where it is; 2: one that its owner can move. */
int shadowmm_host_page_kind(const struct zone *zone, u64 pfn)
{
	const struct page *page = pfn_to_online_page(pfn);

	if (!page || page_zone(page) != zone)
		return 0;
	return PageLRU(page) || page_has_movable_ops(page) ? 2 : 1;
}

unsigned int shadowmm_host_nr_online_nodes(void)
{
	return nr_online_nodes;
}

/* The first page of a block on this node, or ~0. */
u64 shadowmm_host_alloc(int nid, u32 gfp, unsigned int order)
{
	struct page *page = alloc_pages_node(nid, (__force gfp_t)gfp, order);

	return page ? page_to_pfn(page) : ~0ULL;
}

/* Single pages; how many came. `scratch` has room for as many. */
size_t shadowmm_host_alloc_bulk(int nid, u32 gfp, struct page **scratch, u64 *pfns, size_t count)
{
	size_t i, came;

	memset(scratch, 0, count * sizeof(*scratch));
	came = alloc_pages_bulk_node((__force gfp_t)gfp, nid, count, scratch);
	for (i = 0; i < came; i++)
		pfns[i] = page_to_pfn(scratch[i]);
	return came;
}

void shadowmm_host_free(u64 pfn, unsigned int order)
{
	__free_pages(pfn_to_page(pfn), order);
}

/* free_pages_bulk(), which is not exported: neighbours go as one range. */
void shadowmm_host_free_bulk(const u64 *pfns, size_t count)
{
	while (count) {
		size_t run = 1;

		while (run < count && pfns[run] == pfns[0] + run)
			run++;
		free_contig_range(pfns[0], run);
		pfns += run;
		count -= run;
	}
}

void shadowmm_host_split(u64 pfn, unsigned int order)
{
	split_page(pfn_to_page(pfn), order);
}
