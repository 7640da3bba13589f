// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel's mm/numa_memblks.c as it is, on its own mm/memblock.c; the
 * headers around them are those of the kernel's tools/testing/memblock.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/kernel.h>
#include <linux/slab.h>
#include <linux/memblock.h>
#include "internal.h"
#include "mm_init.h"
#include "driver.h"

static inline void no_print(const char *fmt, ...)
{
}

#undef pr_info
#undef pr_err
#undef pr_warn
#undef pr_debug
#undef pr_warn_once
#undef pr_warn_ratelimited
#undef BUG_ON
#undef WARN_ON
#undef WARN_ON_ONCE
#define pr_info no_print
#define pr_err no_print
#define pr_warn no_print
#define pr_debug no_print
#define pr_warn_once no_print
#define pr_warn_ratelimited no_print
#define BUG_ON(condition) do { if (condition) stop_here(); } while (0)
#define WARN_ON(condition) (!!(condition))
#define WARN_ON_ONCE WARN_ON
#define panic(...) stop_here()
#define early_pfn_to_nid(pfn) 0

#include "memblock.c"

/* ---- what numa_memblks.c needs more ---- */

typedef struct { num bits; } nodemask_t;
#define NODE_MASK_NONE ((nodemask_t) { 0 })
#define nodes_clear(mask) ((mask).bits = 0)
#define nodes_empty(mask) ((mask).bits == 0)
#define node_set(nid, mask) ((mask).bits |= 1ULL << (nid))
#define node_isset(nid, mask) (((mask).bits >> (nid)) & 1)
#define for_each_node_mask(nid, mask) \
	for ((nid) = 0; (nid) < MAX_NUMNODES; (nid)++) \
		if (node_isset(nid, mask))
static nodemask_t node_possible_map, node_online_map;

#define LOCAL_DISTANCE 10
#define REMOTE_DISTANCE 20
#define __initdata_or_meminfo
#define EXPORT_SYMBOL(name)
#define EXPORT_SYMBOL_GPL(name)
#define NUMA_NO_MEMBLK (-1)
#define node_map_pfn_alignment() 0
#define PAGES_PER_SECTION 0x8000UL
#define SZ_1M 0x100000UL

static void sort(void *base, size_t n, size_t size, int (*compare)(const void *, const void *), void *swap)
{
	qsort(base, n, size, compare);
}

/* The table of distances is the only thing that it allocates. */
static u8 distances[MAX_NUMNODES * MAX_NUMNODES];
#define memblock_alloc(size, align) ((void *)memset(distances, 0, size))
#define memblock_free(address, size) ((void)(address))

#define CONFIG_NUMA_KEEP_MEMINFO 1
#include "numa_memblks.c"

bool movable_node_enabled;

void *kmalloc(size_t size, gfp_t gfp)
{
	return NULL;
}

void kfree(void *p)
{
}

unsigned long long memparse(const char *ptr, char **retptr)
{
	return 0;
}

/* ---- the operations ---- */

/* The SRAT, as it is taken again by each attempt. */
static struct { int nid; num start, end; bool hotplug; } srat[NR_NODE_MEMBLKS];
static int nr_srat;
/*
 * What the nodes rest on: 0, nothing yet; 1, the SRAT; 2, there is none, one
 * node for all; 3, too much RAM is in none of its ranges, the same; 4, there
 * is no RAM; 5, it gives the same memory to two nodes.
 */
static num source;
/* More than the kernel starts with: nothing of its sources is to be lost. */
static struct memblock_region memory[2048], reserved[16];

static void reset(void)
{
	nr_srat = 0;
	source = 0;
	memset(&numa_meminfo, 0, sizeof(numa_meminfo));
	memset(&numa_reserved_meminfo, 0, sizeof(numa_reserved_meminfo));
	nodes_clear(numa_nodes_parsed);
	numa_reset_distance();
	memset(memory, 0, sizeof(memory));
	memset(reserved, 0, sizeof(reserved));
	memblock.memory = (struct memblock_type) { .regions = memory, .max = 2048, .name = "memory" };
	memblock.reserved = (struct memblock_type) { .regions = reserved, .max = 16, .name = "reserved" };
	memblock.current_limit = ~0ULL;
}

static int add(int nid, num start, num end, bool hotplug)
{
	int error = numa_add_memblk(nid, start, end);

	if (!error && start < end) {
		srat[nr_srat].nid = nid;
		srat[nr_srat].start = start;
		srat[nr_srat].end = end;
		srat[nr_srat++].hotplug = hotplug;
	}
	return error;
}

/* As acpi_parse_memory_affinity() does it. */
static int srat_init(void)
{
	for (int i = 0; i < nr_srat; i++) {
		numa_add_memblk(srat[i].nid, srat[i].start, srat[i].end);
		if (srat[i].hotplug)
			memblock_mark_hotplug(srat[i].start, srat[i].end - srat[i].start);
	}
	return nr_srat ? 0 : -ENOENT;
}

/* As dummy_numa_init() does it. */
static int dummy_init(void)
{
	return numa_add_memblk(0, 0, memblock_end_of_DRAM());
}

/* As the first steps of numa_init() in arch/x86/mm/numa.c. */
static int init(int (*how)(void))
{
	int error;

	memset(&numa_reserved_meminfo, 0, sizeof(numa_reserved_meminfo));
	error = numa_memblks_init(how, true);
	if (!error && !memblock_validate_numa_coverage(SZ_1M))
		error = -EINVAL;
	return error;
}

static void add_ram(void)
{
	num start, size;

	for (int i = 0; e820_ram(i, &start, &size); i++)
		memblock_add(start, size);
	memblock_trim_memory(PAGE_SIZE);
}

/*
 * As x86_numa_init() has it. An SRAT that contradicts itself is one that
 * Linux passes over; ours refuses the map, and that is told apart here.
 */
static num resolve(void)
{
	add_ram();
	if (!memblock.memory.total_size)
		return source = 4;
	source = 1;
	if (!init(srat_init))
		return source;
	memset(&numa_meminfo, 0, sizeof(numa_meminfo));
	memset(&numa_reserved_meminfo, 0, sizeof(numa_reserved_meminfo));
	srat_init();
	source = numa_cleanup_meminfo(&numa_meminfo) ? 5 : nr_srat ? 3 : 2;
	init(dummy_init);
	return source;
}

/* The nodes' ranges by where they start: Linux's are in no order, ours are sorted. */
static int by_start(const void *a, const void *b)
{
	const struct numa_memblk *x = a, *y = b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return (x->nid > y->nid) - (x->nid < y->nid);
}

static num cleanup(void)
{
	int error;

	add_ram();
	error = numa_cleanup_meminfo(&numa_meminfo);
	qsort(numa_meminfo.blk, numa_meminfo.nr_blks, sizeof(numa_meminfo.blk[0]), by_start);
	return error;
}

static num all_distances(void)
{
	for (int i = 0; i < numa_distance_cnt; i++)
		for (int j = 0; j < numa_distance_cnt; j++)
			fold(__node_distance(i, j));
	return numa_distance_cnt;
}

#define DO(name, call) if (!strcmp(op, name)) { *value = (num)(long long)(call); return true; }
#define DO_VOID(name, call) if (!strcmp(op, name)) { call; *value = 0; return true; }

bool numa_run(const char *op, const num *a, num *value)
{
	DO_VOID("reset", reset());
	DO("node_add", add((int)a[0], a[1], a[2], a[3]));
	DO_VOID("set_distance", numa_set_distance((int)a[0], (int)a[1], (int)a[2]));
	DO("distance", __node_distance((int)a[0], (int)a[1]));
	DO("distances", all_distances());
	DO("node_of", meminfo_to_nid(&numa_meminfo, a[0]));
	DO("cleanup", cleanup());
	DO("resolve", resolve());
	return false;
}

static void fold_ranges(void)
{
	fold(numa_meminfo.nr_blks);
	for (int i = 0; i < numa_meminfo.nr_blks; i++) {
		fold(numa_meminfo.blk[i].start);
		fold(numa_meminfo.blk[i].end);
		fold(numa_meminfo.blk[i].nid);
	}
}

/* Whose the RAM is, and whether it can be taken out. What is nobody's is left out. */
static void fold_ram(void)
{
	struct memblock_region *r;

	for_each_mem_region(r) {
		if (!numa_valid_node(r->nid))
			continue;
		fold(r->base);
		fold(r->base + r->size);
		fold(r->nid << 1 | !!(r->flags & MEMBLOCK_HOTPLUG));
	}
}

/* The ranges, and once they are decided, what became of them. */
void numa_fold_state(void)
{
	fold(source);
	if (!source)
		fold_ranges();
	else if (source < 4)
		fold_ram();
}
