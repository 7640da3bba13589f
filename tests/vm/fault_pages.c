// SPDX-License-Identifier: GPL-2.0
/* Requests about the boot, pages and reports, each with all of its chances to fail; see fault_walk.c. */
#include "fault_walk.h"

/* --- the boot -------------------------------------------------------------------------------------------- */

static void reset(union any *r) { r->stage.op = SHADOWMM_STAGE_RESET; }
static void reset_for_map(union any *r) { MUST(watcher, STAGE, .stage.op = SHADOWMM_STAGE_RESET); r->map.source = SHADOWMM_MAP_BUILTIN; }
static void run(union any *r)
{
	MUST(watcher, STAGE, .stage.op = SHADOWMM_STAGE_RESET);
	r->stage.op = SHADOWMM_STAGE_RUN;
}
static unsigned int stages;
static void next(union any *r)
{
	MUST(watcher, STAGE, .stage.op = SHADOWMM_STAGE_RESET);
	for (unsigned int i = 0; i < stages; i++)
		MUST(watcher, STAGE, .stage.op = SHADOWMM_STAGE_NEXT);
	r->stage.op = SHADOWMM_STAGE_NEXT;
}

static void map_log(union any *r)
{
	static const struct shadowmm_e820 ranges[] = { { 0, 0x9fc00, 1, 0 }, { 0x100000, 2UL << 30, 1, 0 } };
	static const struct shadowmm_affinity memory[] = { { 0, 1UL << 30, 0, 0 }, { 1UL << 30, 2UL << 30, 1, 0 } };
	static const struct shadowmm_cpu cpus[] = { { 0, 0 }, { 1, 1 } };
	static const uint8_t distances[] = { 10, 20, 20, 10 };

	MUST(watcher, STAGE, .stage.op = SHADOWMM_STAGE_RESET);
	r->map = (struct shadowmm_map){ .head = r->head, .source = SHADOWMM_MAP_LOG, .nr_e820 = 2, .nr_memory = 2,
		.nr_cpus = 2, .nr_nodes = 2, .e820 = (uintptr_t)ranges, .memory = (uintptr_t)memory,
		.cpus = (uintptr_t)cpus, .distances = (uintptr_t)distances, .crashkernel = (uintptr_t)"16M" };
}
static void map_host(union any *r) { map_log(r); r->map.source = SHADOWMM_MAP_HOST; }
/* The machine's own again. */
static void unmap_log(bool done)
{
	struct shadowmm_map map = { .head.size = sizeof(map), .source = SHADOWMM_MAP_BUILTIN, .crashkernel = (uintptr_t)"" };

	(void)done;
	MUST(watcher, STAGE, .stage.op = SHADOWMM_STAGE_RESET);
	must(watcher, "MAP", SHADOWMM_IOC_MAP, &map);
}

static const struct call boots[] = {
	CALL(STAGE, stage, " GET", 0, NULL),
	CALL(STAGE, stage, " RESET", ALONE | BOOTS, reset),
	CALL(STAGE, stage, " RUN", ALONE | BOOTS, run),
	CALL(MAP, map, " of a PC", ALONE | BOOTS, reset_for_map),
	CALL(MAP, map, " of the host", ALONE | BOOTS, map_host, .after = unmap_log),
	CALL(MAP, map, " of a log", ALONE | BOOTS, map_log, .after = unmap_log),
};

void walk_boot(void)
{
	struct call call = CALL(STAGE, stage, " NEXT", ALONE | BOOTS, next);
	char name[64];

	for (unsigned int i = 0; i < COUNT(boots); i++)
		walk(&boots[i]);
	for (stages = 0; stages < SHADOWMM_NR_STAGES - 1; stages++) {
		snprintf(name, sizeof(name), "STAGE NEXT %u", stages);
		call.name = name;
		walk(&call);
	}
}

/* --- pages ----------------------------------------------------------------------------------------------- */

static uint64_t page_of(int file, uint32_t order)
{
	return MUST(file, ALLOC, .alloc.order = order, .alloc.nid = -1).alloc.pfn;
}

static void alloc(union any *r) { r->alloc.order = 3; r->alloc.nid = -1; }
static void alloc_movable(union any *r) { alloc(r); r->head.flags = SHADOWMM_ALLOC_MOVABLE; }
static void alloc_cache(union any *r) { alloc(r); r->head.flags = SHADOWMM_ALLOC_CACHE; }
static void free_block(union any *r) { r->free.pfn = page_of(fd, 2); r->free.order = 2; }
static void page(union any *r) { r->page.pfn = page_of(fd, 0); }

static void free_handle(union any *r)
{
	r->free.pfn = MUST(fd, ALLOC, .alloc = { .head.flags = SHADOWMM_ALLOC_MOVABLE, .nid = -1 }).alloc.handle;
	r->head.flags = SHADOWMM_BY_HANDLE;
}

static void bulk(union any *r) { r->bulk.count = 5; r->bulk.nid = -1; r->bulk.pfns = (uintptr_t)numbers; }
static void bulk_free(union any *r)
{
	MUST(fd, BULK, .bulk = { .count = 5, .nid = -1, .pfns = (uintptr_t)numbers });
	r->bulk.op = SHADOWMM_PAGES_FREE;
	r->bulk.count = 5;
	r->bulk.pfns = (uintptr_t)numbers;
}

static void exact(union any *r) { r->exact.bytes = 3 * PAGE; r->exact.nid = -1; }
static void exact_free(union any *r)
{
	r->exact.pfn = MUST(fd, EXACT, .exact = { .bytes = 3 * PAGE, .nid = -1 }).exact.pfn;
	r->exact.bytes = 3 * PAGE;
	r->exact.op = SHADOWMM_PAGES_FREE;
}

static void split(union any *r) { r->block = (struct shadowmm_block){ r->head, SHADOWMM_BLOCK_SPLIT, 2, 0, 0, page_of(fd, 2) }; }
static void merge(union any *r)
{
	uint64_t pfn = page_of(fd, 2);
	struct shadowmm_block request = { { .size = sizeof(request) }, SHADOWMM_BLOCK_SPLIT, 2, 1, 0, pfn };

	must(fd, "BLOCK", SHADOWMM_IOC_BLOCK, &request);
	r->block = (struct shadowmm_block){ r->head, SHADOWMM_BLOCK_MERGE, 2, 0, 0, pfn };
}
static void get(union any *r) { r->block.op = SHADOWMM_BLOCK_GET; r->block.pfn = page_of(fd, 1); }
static void get_others(union any *r) { r->block.op = SHADOWMM_BLOCK_GET; r->block.pfn = page_of(other, 1); }
static void put(union any *r) { r->block.op = SHADOWMM_BLOCK_PUT; r->block.pfn = page_of(fd, 1); }

static void contig(union any *r) { r->contig.pages = 6; r->contig.nid = -1; }
static void contig_free(union any *r)
{
	r->contig.pfn = MUST(fd, CONTIG, .contig = { .pages = 6, .nid = -1 }).contig.pfn;
	r->contig.pages = 6;
	r->contig.op = SHADOWMM_CONTIG_FREE;
}
static void contig_range(union any *r)
{
	union any again = { .contig.head.size = sizeof(again.contig) };

	contig_free(&again);
	must(fd, "CONTIG", SHADOWMM_IOC_CONTIG, &again);
	r->contig.pfn = again.contig.pfn;
	r->contig.pages = 6;
	r->contig.op = SHADOWMM_CONTIG_RANGE;
}

static void policy_set(union any *r) { r->policy.op = SHADOWMM_POLICY_SET; r->policy.mode = SHADOWMM_POLICY_BIND; r->policy.nodes = 1; }
static void misuse(union any *r) { r->misuse.addr = page_of(fd, 0) * PAGE; }
static void compact(union any *r) { r->reclaim.op = SHADOWMM_RECLAIM_COMPACT; r->reclaim.nid = -1; }
static void drain(union any *r) { r->reclaim.op = SHADOWMM_RECLAIM_DRAIN; r->reclaim.nid = -1; }
static void shrink(union any *r) { r->reclaim.op = SHADOWMM_RECLAIM_SHRINK; r->reclaim.nid = -1; }

/* --- reports --------------------------------------------------------------------------------------------- */

static unsigned int kind;

static void report(union any *r)
{
	r->report.kind = report_kinds[kind].kind;
	r->report.record_size = report_kinds[kind].size;
	r->report.capacity = sizeof(bytes) / report_kinds[kind].size;
	r->report.buf = (uintptr_t)bytes;
}

/* --- measuring, and the differential test ---------------------------------------------------------------- */

static void bench(union any *r) { r->bench.blocks = 1; r->head.flags = SHADOWMM_BENCH_NO_HOST; r->bench.shadow_ticks = (uintptr_t)numbers; }
static void diff_open(union any *r) { r->diff_open.nid = idle; }
static void diff_play(union any *r)
{
	static const struct shadowmm_diff_step steps[] = { { SHADOWMM_DIFF_ALLOC, 0x2000, 0, 0 }, { SHADOWMM_DIFF_FREE, 0, 0, 0 }, { SHADOWMM_DIFF_LOOK, 0, 0, 0 } };

	MUST(fd, DIFF_OPEN, .diff_open.nid = idle);
	r->diff_play.nr_steps = 3;
	r->diff_play.steps = (uintptr_t)steps;
	r->diff_play.results = (uintptr_t)numbers;
}
static void diff_state(union any *r)
{
	MUST(fd, DIFF_OPEN, .diff_open.nid = idle);
	r->diff_state.side = SHADOWMM_DIFF_SHADOW;
	r->diff_state.capacity = sizeof(bytes);
	r->diff_state.buf = (uintptr_t)bytes;
}

static const struct call requests[] = {
	CALL(VERSION, version, "", 0, NULL),
	CALL(ALLOC, alloc, "", 0, alloc),
	CALL(ALLOC, alloc, " movable", 0, alloc_movable),
	CALL(ALLOC, alloc, " cache", 0, alloc_cache),
	CALL(FREE, free, "", DONE, free_block),
	CALL(FREE, free, " by handle", DONE, free_handle),
	CALL(PAGE, page, "", 0, page),
	CALL(VALIDATE, validate, "", 0, NULL),
	CALL(BULK, bulk, " ALLOC", 0, bulk),
	CALL(BULK, bulk, " FREE", DONE, bulk_free),
	CALL(EXACT, exact, " ALLOC", 0, exact),
	CALL(EXACT, exact, " FREE", DONE, exact_free),
	CALL(BLOCK, block, " SPLIT", DONE, split),
	CALL(BLOCK, block, " MERGE", DONE, merge),
	CALL(BLOCK, block, " GET", 0, get),
	CALL(BLOCK, block, " GET of another's", OTHER, get_others),
	CALL(BLOCK, block, " PUT", DONE, put),
	CALL(POLICY, policy, " GET", 0, NULL),
	CALL(POLICY, policy, " SET", DONE, policy_set),
	CALL(CONTIG, contig, " ALLOC", 0, contig),
	CALL(CONTIG, contig, " RANGE", 0, contig_range),
	CALL(CONTIG, contig, " FREE", DONE, contig_free),
	CALL(MISUSE, misuse, "", 0, misuse),
	CALL(RECLAIM, reclaim, " DRAIN", 0, drain),
	CALL(RECLAIM, reclaim, " COMPACT", 0, compact),
	CALL(RECLAIM, reclaim, " SHRINK", 0, shrink),
	CALL(BENCH, bench, "", 0, bench),
	CALL(DIFF_OPEN, diff_open, "", 0, diff_open),
	CALL(DIFF_PLAY, diff_play, "", 0, diff_play),
	CALL(DIFF_STATE, diff_state, "", 0, diff_state),
};

void walk_pages(void)
{
	struct call call = CALL(REPORT, report, "", 0, report);
	char name[64];

	for (unsigned int i = 0; i < COUNT(requests); i++)
		walk(&requests[i]);
	for (kind = 0; kind < COUNT(report_kinds); kind++) {
		snprintf(name, sizeof(name), "REPORT %u", report_kinds[kind].kind);
		call.name = name;
		walk(&call);
	}
}
