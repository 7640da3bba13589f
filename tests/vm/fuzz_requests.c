// SPDX-License-Identifier: GPL-2.0
/*
 * The requests of the ABI: each is filled so that it may well succeed, and then, now and then, spoilt.
 */
#include "fuzz.h"
#include "requests.h"

/* What makes sense where a request needs flags for an allocation; the last are any. */
static uint32_t gfp(void)
{
	static const uint32_t usual[] = { 0, 0xcc0, 0xcc0, 0xcca, 0x820, 0x2800, 0x10cca, 0xdc0, 0x500cc0, 0x20cc0, 0x240cc0 };

	return dice(24) ? ONE_OF(usual) : (uint32_t)draw();
}

static int32_t node(void)
{
	return dice(16) ? (int32_t)dice(4) - 1 : (int32_t)draw();
}

/* A buffer of so many bytes for the module to use; at times one that is too short, or none. */
static uint64_t buffer(size_t bytes)
{
	static __thread char *large;
	size_t len;

	if (!large) {
		large = far_away(1 << 20);
	}
	switch (dice(20)) {
	case 0:
		return (uintptr_t)me.page + PAGE - dice(64);
	case 1:
		return (uintptr_t)me.fixed;
	case 2:
		return number();
	case 3:
		return (uintptr_t)somewhere(&len);
	default:
		return (uintptr_t)(large + (bytes < (1 << 19) ? dice(4096) : 0));
	}
}

static struct held *some(struct held *held)
{
	return &held[dice(HELD)];
}

static uint64_t window_address(void)
{
	size_t len;
	char *at = somewhere(&len);

	return dice(16) ? (uintptr_t)at + (len ? draw() % len : 0) / PAGE * PAGE : number();
}

static uint64_t window_length(void)
{
	static const uint64_t usual[] = { PAGE, 2 * PAGE, 16 * PAGE, 100 * PAGE, 2 << 20, 5 << 20 };

	return dice(16) ? ONE_OF(usual) : number();
}

/* --- what is asked for ------------------------------------------------------------- */

static void fill_stage(union any *r)
{
	r->stage.op = dice(4);
	if (!me.boots && r->stage.op == SHADOWMM_STAGE_RESET)
		r->stage.op = SHADOWMM_STAGE_GET;
}

/* As long as it may be, and more. */
static const char too_long[] = "1G-2G:16M,2G-3G:16M,3G-4G:16M,4G-5G:16M,5G-6G:16M,6G-7G:16M,7G-8G:16M,8G-9G:16M,9G-10G:16M,10G-11G:16M,"
			       "11G-12G:16M,12G-13G:16M,13G-14G:16M,14G-15G:16M,15G-16G:16M,16G-17G:16M,17G-18G:16M,18G-19G:16M,19G-:16M";

static uint64_t crashkernel(void)
{
	static const char *const texts[] = {
		"16M", "64M", "1G", "16M@16M", "16M@1G", "4096@4097", "0", "2G-64G:256M,64G-:512M", "0-1G:8M,1G-:16M", "1G-1G:8M",
		"16M,high", "16M,low", "16M,high crashkernel=8M,low", "x", "-1", ":", "1-", "18446744073709551615", "99999999999999999999G", too_long,
	};

	/* What there is no room for ends the boot, with which most of the rest would be refused. */
	switch (dice(4)) {
	case 0:
		return dice(16) ? (uintptr_t)ONE_OF(texts) : buffer(1);
	case 1:		/* the last one stays */
		return 0;
	default:
		return (uintptr_t)"";
	}
}

/* An end of a range: of a page or not, and at times nowhere. */
static uint64_t map_address(void)
{
	return dice(16) ? (draw() & 0xffffffffff) >> dice(20) << (dice(2) ? 12 : 0) : number();
}

static void fill_map(union any *r)
{
	static struct shadowmm_e820 ranges[8];
	static struct shadowmm_affinity memory[4];
	static struct shadowmm_cpu cpus[4];
	static uint8_t distances[16];
	bool neat = dice(2);

	r->map.source = dice(3);
	r->map.crashkernel = crashkernel();
	if (r->map.source != SHADOWMM_MAP_LOG && dice(8))
		return;
	for (int i = 0; i < 8; i++) {
		ranges[i] = (struct shadowmm_e820){ .addr = (uint64_t)i << 28, .size = 1 + (draw() & 0xfffffff), .type = 1 + dice(3) };
		/* Holes, what overlaps, one within another, in no order. */
		if (!neat && dice(2))
			ranges[i] = (struct shadowmm_e820){ .addr = map_address(), .size = map_address(), .type = dice(3) ? 1 : dice(14) };
	}
	for (int i = 0; i < 4; i++) {
		memory[i] = (struct shadowmm_affinity){ .addr = (uint64_t)i << 29, .size = 1 << 29, .nid = i };
		cpus[i] = (struct shadowmm_cpu){ .cpu = i, .nid = dice(4) };
		if (!neat && dice(2))
			memory[i] = (struct shadowmm_affinity){ .addr = map_address(), .size = map_address(), .nid = dice(5), .flags = dice(2) };
		if (!neat && !dice(4))
			cpus[i] = (struct shadowmm_cpu){ .cpu = dice(2) ? dice(9) : (uint32_t)number(), .nid = (int)dice(70) - 2 };
	}
	for (int i = 0; i < 16; i++)
		distances[i] = i % 5 ? 20 + dice(4) : 10;
	r->map.nr_e820 = 1 + dice(8);
	r->map.nr_memory = dice(5);
	r->map.nr_cpus = dice(5);
	r->map.nr_nodes = dice(5);
	r->map.e820 = (uintptr_t)ranges;
	r->map.memory = (uintptr_t)memory;
	r->map.cpus = (uintptr_t)cpus;
	r->map.distances = (uintptr_t)distances;
}

static void fill_alloc(union any *r)
{
	r->head.flags = dice(2) ? 0 : dice(4);
	r->alloc.gfp = gfp();
	r->alloc.order = dice(3) ? 0 : dice(12);
	r->alloc.nid = node();
}

static void fill_free(union any *r)
{
	struct held *held = some(me.blocks);

	r->head.flags = dice(2);
	if (r->head.flags)
		held = some(me.handles);
	r->free.pfn = dice(8) ? held->what : number();
	r->free.order = dice(8) ? held->order : dice(12);
}

static void fill_page(union any *r)
{
	r->page.pfn = dice(2) ? some(me.blocks)->what : draw() % (1 << 18);
}

static void fill_bulk(union any *r)
{
	r->bulk.op = dice(2);
	r->bulk.gfp = r->bulk.op ? 0 : gfp();
	r->bulk.nid = r->bulk.op ? 0 : node();
	r->bulk.count = 1 + dice(200);
	r->bulk.pfns = buffer(r->bulk.count * 8);
}

static void fill_exact(union any *r)
{
	struct held *held = some(me.blocks);

	r->exact.op = dice(2);
	r->exact.gfp = r->exact.op ? 0 : gfp();
	r->exact.nid = r->exact.op ? 0 : node();
	r->exact.bytes = dice(8) ? 1 + dice(300000) : number();
	r->exact.pfn = r->exact.op ? held->what : 0;
}

static void fill_block(union any *r)
{
	struct held *held = some(me.blocks);

	r->block.op = dice(4);
	r->block.order = r->block.op < 2 ? held->order + (r->block.op == SHADOWMM_BLOCK_MERGE) : 0;
	r->block.to = r->block.op == SHADOWMM_BLOCK_SPLIT ? dice(held->order + 1) : 0;
	r->block.pfn = dice(8) ? held->what : draw() % (1 << 18);
}

static void fill_contig(union any *r)
{
	r->contig.op = dice(3);
	r->contig.gfp = r->contig.op == SHADOWMM_CONTIG_FREE ? 0 : gfp();
	r->contig.nid = r->contig.op ? 0 : node();
	r->contig.pages = dice(8) ? 1 + dice(3000) : number();
	r->contig.pfn = r->contig.op ? draw() % (1 << 18) : 0;
}

/*
 * It writes wherever it is told to, where the kernel or page_poison=1 looks for that: the byte would be another's, and
 * found as damage. So what is in order is asked for by those alone who may not; forbidden() sees to that.
 */
static void fill_misuse(union any *r)
{
	r->misuse.addr = dice(2) ? (draw() % (1 << 18)) * PAGE + dice(PAGE) : number();
	r->misuse.byte = dice(2) ? dice(256) : (uint32_t)number();
	r->misuse.how = dice(4);
}

static void fill_policy(union any *r)
{
	r->policy.op = dice(2);
	r->policy.mode = r->policy.op ? dice(4) : 0;
	r->policy.nodes = r->policy.mode ? dice(8) : 0;
}

/* SLAB_*, as 7.3 numbers them: those that a creator may ask for (module/core/slab/flags.rs). */
enum {
	CONSISTENCY_CHECKS = 1 << 0, RED_ZONE = 1 << 1, POISON = 1 << 2, KMALLOC = 1 << 3, HWCACHE_ALIGN = 1 << 4,
	CACHE_DMA = 1 << 5, CACHE_DMA32 = 1 << 6, STORE_USER = 1 << 7, PANIC = 1 << 8, TYPESAFE_BY_RCU = 1 << 9,
	TRACED = 1 << 10, NOLEAKTRACE = 1 << 11, NO_MERGE = 1 << 12, ACCOUNT = 1 << 13, NO_USER_FLAGS = 1 << 15,
	RECLAIM_ACCOUNT = 1 << 17,
};

/* One alone, some together, and at times a bit that is the layer's own, or none at all. */
static uint32_t cache_flags(void)
{
	static const uint32_t known[] = {
		CONSISTENCY_CHECKS, RED_ZONE, POISON, KMALLOC, HWCACHE_ALIGN, CACHE_DMA, CACHE_DMA32, STORE_USER, PANIC,
		TYPESAFE_BY_RCU, TRACED, NOLEAKTRACE, NO_MERGE, ACCOUNT, NO_USER_FLAGS, RECLAIM_ACCOUNT,
		CONSISTENCY_CHECKS | RED_ZONE | POISON | STORE_USER,
	};
	uint32_t flags = 0;

	if (!dice(4))
		return 0;
	for (uint32_t i = 1 + dice(dice(2) ? 1 : 5); i; i--)
		flags |= ONE_OF(known);
	return dice(16) ? flags : flags | 1u << dice(32);
}

static void fill_create(union any *r)
{
	r->head.flags = !dice(8);
	r->create.object_size = dice(8) ? 8 + dice(3000) : number();
	r->create.align = dice(3) ? 0 : 1u << dice(14);
	r->create.flags = cache_flags();
	r->create.ctor = dice(4) ? 0 : dice(4);
	r->create.ctor_arg = r->create.ctor ? dice(40) : 0;
	if (!dice(4)) {
		r->create.useroffset = dice(64);
		r->create.usersize = dice(64);
	}
	if (r->create.flags & TRACED)
		r->create.object_size = 8 + dice(57);
	r->create.freeptr_offset = r->head.flags ? dice(32) * 8 : 0;
	r->create.sheaf_capacity = dice(4) ? 0 : dice(100);
	snprintf(r->create.name, sizeof(r->create.name), "fuzz-%u", dice(40));
}

static void fill_cache(union any *r)
{
	static char text[512];

	r->cache.op = dice(6);
	if (r->cache.op == SHADOWMM_CACHE_FIND)
		snprintf(r->cache.name, sizeof(r->cache.name), "fuzz-%u", dice(40));
	else
		r->cache.cache = dice(8) ? me.caches[dice(HELD)] : dice(60);
	/* Those of others, and of the module, stay. */
	if (r->cache.op == SHADOWMM_CACHE_DESTROY && r->cache.cache < 30 && !dice(2))
		r->cache.op = SHADOWMM_CACHE_VALIDATE;
	if (r->cache.op == SHADOWMM_CACHE_MIN_PARTIAL)
		r->cache.value = dice(20);
	if (dice(2) && r->cache.op != SHADOWMM_CACHE_FIND) {
		r->cache.capacity = dice(512);
		r->cache.text = (uintptr_t)text;
	}
}

static void fill_object(union any *r)
{
	r->object.op = dice(2);
	r->object.cache = dice(8) ? me.caches[dice(HELD)] : dice(60);
	if (r->object.op == SHADOWMM_OBJECT_FREE) {
		r->object.object = some(me.objects)->what;
		r->object.cache = dice(8) ? some(me.objects)->order : r->object.cache;
		return;
	}
	r->head.flags = dice(2);
	r->object.gfp = gfp();
	r->object.nid = node();
	r->object.asked = dice(4) ? 0 : dice(100);
}

static void fill_objects(union any *r)
{
	r->objects.op = dice(2);
	r->objects.cache = dice(8) ? me.caches[dice(HELD)] : dice(60);
	r->objects.gfp = r->objects.op ? 0 : gfp();
	r->objects.nid = r->objects.op ? 0 : node();
	r->objects.count = 1 + dice(300);
	r->objects.objects = buffer(r->objects.count * 8);
}

static void fill_kmalloc(union any *r)
{
	r->kmalloc.op = dice(5);
	if (r->kmalloc.op < 2) {
		r->kmalloc.gfp = gfp();
		r->kmalloc.nid = node();
	}
	if (r->kmalloc.op != SHADOWMM_KMALLOC_FREE && r->kmalloc.op != SHADOWMM_KMALLOC_SIZE)
		r->kmalloc.size = dice(8) ? dice(20000) : number();
	if (r->kmalloc.op >= 1 && r->kmalloc.op <= 3)
		r->kmalloc.object = some(me.objects)->what;
}

static void fill_bytes(union any *r)
{
	r->bytes.op = dice(2);
	r->bytes.object = some(me.objects)->what;
	/* With the right to do it, one may write what is others'. */
	if (!me.admin || r->bytes.op == SHADOWMM_BYTES_READ)
		r->bytes.offset = (int64_t)dice(300) - 30;
	r->bytes.len = me.admin && r->bytes.op ? 1 : 1 + dice(300);
	r->bytes.buf = buffer(r->bytes.len);
}

static void fill_mm_config(union any *r)
{
	r->mm_config.op = dice(3);
	if (r->mm_config.op) {
		r->mm_config.tree = dice(4);
		r->mm_config.layout = dice(16) ? dice(8) : dice(32);
		r->mm_config.seed = dice(2) ? 0 : dice(2) ? draw() : number();
		/* What the module draws by lot is not the same the next time. */
		if (me.alone && !r->mm_config.seed)
			r->mm_config.layout &= ~SHADOWMM_MM_RANDOM;
	}
}

#define DROPPABLE 0x08 /* MAP_DROPPABLE */

static void fill_mm_mmap(union any *r)
{
	static const uint32_t more[] = {
		0, 0, 0, MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_GROWSDOWN, MAP_LOCKED, MAP_NORESERVE, MAP_POPULATE, MAP_STACK, MAP_HUGETLB,
		MAP_HUGETLB | 21 << 26, MAP_SYNC, MAP_32BIT, MAP_NONBLOCK | MAP_POPULATE,
	};
	static const uint32_t types[] = {
		MAP_PRIVATE, MAP_PRIVATE, MAP_PRIVATE, MAP_PRIVATE, MAP_SHARED, MAP_SHARED, MAP_SHARED_VALIDATE, DROPPABLE, DROPPABLE,
	};

	r->mm_mmap.addr = dice(2) ? 0 : window_address();
	r->mm_mmap.len = window_length();
	r->mm_mmap.prot = dice(3) ? 3 : dice(8);
	r->mm_mmap.flags = ONE_OF(types) | MAP_ANONYMOUS | ONE_OF(more);
	if (!dice(32))
		r->mm_mmap.flags = (uint32_t)draw();
	r->mm_mmap.fd = -1;
	if (!dice(4)) {
		r->mm_mmap.flags &= ~MAP_ANONYMOUS;
		if (dice(4))
			r->mm_mmap.flags = (r->mm_mmap.flags & ~MAP_TYPE) | MAP_PRIVATE;
		r->mm_mmap.fd = dice(8) ? ONE_OF(me.mappable) : (int)dice(8);
		r->mm_mmap.offset = dice(16) ? dice(24) * PAGE : number();
	}
	/* All memory is not touched at once, too often. */
	if (r->mm_mmap.len > 4 << 20 && dice(64))
		r->mm_mmap.flags &= ~(MAP_POPULATE | MAP_LOCKED);
}

static void fill_range(union any *r)
{
	r->mm_range.addr = window_address();
	r->mm_range.len = window_length();
	r->mm_range.arg = 0;
}

static void fill_protect(union any *r)
{
	fill_range(r);
	r->mm_range.arg = dice(8) ? dice(8) : (uint32_t)number();
}

static void fill_advise(union any *r)
{
	fill_range(r);
	r->mm_range.arg = advice(true);
}

static void fill_mremap(union any *r)
{
	r->mm_mremap.addr = window_address();
	r->mm_mremap.old_len = window_length();
	r->mm_mremap.new_len = window_length();
	r->mm_mremap.flags = dice(8) ? dice(8) : (uint32_t)number();
	r->mm_mremap.new_addr = window_address();
}

static void fill_brk(union any *r)
{
	r->mm_brk.brk = dice(2) ? 0 : window_address();
}

static void fill_mlock(union any *r)
{
	r->mm_mlock.op = dice(5);
	r->mm_mlock.flags = dice(4);
	if (r->mm_mlock.op < 2) {
		r->mm_mlock.addr = window_address();
		r->mm_mlock.len = window_length();
	}
}

static void fill_mincore(union any *r)
{
	r->mm_mincore.addr = window_address();
	r->mm_mincore.len = window_length();
	r->mm_mincore.vec = buffer(4096);
}

static void fill_limits(union any *r)
{
	r->mm_limits.op = dice(4);
	r->mm_limits.limit = dice(SHADOWMM_MM_NR_LIMITS + 1);
	if (r->mm_limits.op == SHADOWMM_MM_LIMITS_SET) {
		r->mm_limits.value = dice(3) ? ~0ull : number();
		r->mm_limits.max = dice(3) ? ~0ull : number();
	}
}

static void fill_walk(union any *r)
{
	r->mm_walk.id = dice(4) ? 0 : dice(100);
	r->mm_walk.addr = window_address();
}

static void fill_vmas(union any *r)
{
	r->mm_vmas.id = dice(4) ? 0 : dice(100);
	r->mm_vmas.record_size = sizeof(struct shadowmm_rec_vma);
	r->mm_vmas.capacity = dice(40);
	r->mm_vmas.buf = buffer(40 * sizeof(struct shadowmm_rec_vma));
}

static void fill_report(union any *r)
{
	struct report_kind of = ONE_OF(report_kinds);

	r->report.kind = of.kind;
	r->report.record_size = of.size;
	r->report.capacity = dice(2) ? 0 : dice(200);
	r->report.buf = buffer((size_t)r->report.capacity * of.size);
}

static void fill_reclaim(union any *r)
{
	r->reclaim.op = dice(3);
	r->reclaim.nid = node();
}

static void fill_bench(union any *r)
{
	r->head.flags = SHADOWMM_BENCH_NO_HOST | !dice(8);
	r->bench.shape = dice(12);
	r->bench.order = r->bench.shape < 2 ? dice(11) : 0;
	r->bench.blocks = 1 + dice(2);
	r->bench.cpu = r->bench.shape == SHADOWMM_BENCH_EXCHANGE ? dice(3) : 0;
	r->bench.shadow_ticks = buffer(4096 * 8);
}

static void fill_bench_slab(union any *r)
{
	r->head.flags = SHADOWMM_BENCH_NO_HOST;
	r->bench_slab.shape = dice(16);
	r->bench_slab.size = 1 + dice(SHADOWMM_BENCH_SLAB_MAX_SIZE);
	r->bench_slab.blocks = 1;
	if (r->bench_slab.shape == SHADOWMM_BENCH_SLAB_REMOTE || r->bench_slab.shape == SHADOWMM_BENCH_SLAB_EXCHANGE)
		r->bench_slab.cpu = dice(3);
	r->bench_slab.shadow_ticks = buffer(4096 * 8);
}

static void fill_bench_lookup(union any *r)
{
	r->bench_lookup.blocks = 1 + dice(2);
	r->bench_lookup.shadow_ticks = buffer(4096 * 8);
	r->bench_lookup.host_ticks = buffer(4096 * 8);
}

static void fill_diff_open(union any *r)
{
	r->diff_open.nid = me.idle;
	r->head.flags = dice(4);
	r->diff_open.seed = dice(3);
}

static void fill_diff_play(union any *r)
{
	static struct shadowmm_diff_step steps[64];
	static uint64_t results[64];

	for (int i = 0; i < 64; i++)
		steps[i] = (struct shadowmm_diff_step){ dice(10), dice(4) ? 0x2000 : gfp(), dice(12), dice(200) };
	r->diff_play.nr_steps = dice(64);
	r->diff_play.steps = (uintptr_t)steps;
	r->diff_play.results = (uintptr_t)results;
}

static void fill_diff_state(union any *r)
{
	r->diff_state.side = dice(3);
	r->diff_state.capacity = dice(100000);
	r->diff_state.buf = buffer(100000);
}

static void fill_diff_caches(union any *r)
{
	static struct shadowmm_diff_cache caches[4];
	static struct shadowmm_diff_geometry geometries[4];

	for (int i = 0; i < 4; i++) {
		caches[i] = (struct shadowmm_diff_cache){ .object_size = 8 + dice(2000), .align = dice(3) ? 0 : 1u << dice(8) };
		snprintf(caches[i].name, sizeof(caches[i].name), "diff-fuzz-%d-%u", i, (uint32_t)getpid());
	}
	r->diff_caches.op = dice(4);
	r->diff_caches.nr = r->diff_caches.op == SHADOWMM_DIFF_DROP ? 0 : dice(5);
	r->diff_caches.caches = (uintptr_t)caches;
	r->diff_caches.geometries = (uintptr_t)geometries;
}

static void fill_diff_objects(union any *r)
{
	static struct shadowmm_diff_objects_step steps[16];

	for (int i = 0; i < 16; i++)
		steps[i] = (struct shadowmm_diff_objects_step){ dice(6), dice(5), dice(1000), dice(100) };
	r->diff_objects.nr = dice(16);
	r->diff_objects.steps = (uintptr_t)steps;
}

static void fill_diff_look(union any *r)
{
	r->diff_look.cache = dice(5);
}

/* --- what is remembered -------------------------------------------------------------- */

static void keep_block(union any *r)
{
	struct held *held = some(r->head.flags ? me.handles : me.blocks);

	*held = (struct held){ r->head.flags ? r->alloc.handle : r->alloc.pfn, r->alloc.order };
}

static void keep_exact(union any *r)
{
	if (r->exact.op == SHADOWMM_PAGES_ALLOC)
		*some(me.blocks) = (struct held){ r->exact.pfn, 0 };
}

static void keep_contig(union any *r)
{
	if (r->contig.op != SHADOWMM_CONTIG_FREE)
		*some(me.blocks) = (struct held){ r->contig.pfn, 0 };
}

static void keep_cache(union any *r)
{
	me.caches[dice(HELD)] = r->create.cache;
}

static void keep_object(union any *r)
{
	if (r->object.op == SHADOWMM_OBJECT_ALLOC)
		*some(me.objects) = (struct held){ r->object.object, r->object.cache };
}

static void keep_kmalloc(union any *r)
{
	if (r->kmalloc.op < 2)
		*some(me.objects) = (struct held){ r->kmalloc.object, 0 };
}

static const struct kind {
	const char *name;
	uint32_t number, size, weight;
	void (*fill)(union any *request);
	void (*keep)(union any *request);
} kinds[] = {
#define KIND(name, type, weight, fill, keep) { #name, SHADOWMM_IOC_##name, sizeof(struct shadowmm_##type), weight, fill, keep }
	KIND(VERSION, version, 1, NULL, NULL),
	KIND(STAGE, stage, 1, fill_stage, NULL),
	KIND(MAP, map, 1, fill_map, NULL),
	KIND(ALLOC, alloc, 12, fill_alloc, keep_block),
	KIND(FREE, free, 12, fill_free, NULL),
	KIND(PAGE, page, 3, fill_page, NULL),
	KIND(REPORT, report, 4, fill_report, NULL),
	KIND(VALIDATE, validate, 1, NULL, NULL),
	KIND(BULK, bulk, 5, fill_bulk, NULL),
	KIND(EXACT, exact, 4, fill_exact, keep_exact),
	KIND(BLOCK, block, 8, fill_block, NULL),
	KIND(POLICY, policy, 2, fill_policy, NULL),
	KIND(CONTIG, contig, 2, fill_contig, keep_contig),
	KIND(MISUSE, misuse, 1, fill_misuse, NULL),
	KIND(BENCH, bench, 1, fill_bench, NULL),
	KIND(BENCH_SLAB, bench_slab, 1, fill_bench_slab, NULL),
	KIND(BENCH_LOOKUP, bench_lookup, 1, fill_bench_lookup, NULL),
	KIND(RECLAIM, reclaim, 1, fill_reclaim, NULL),
	KIND(CREATE, create, 5, fill_create, keep_cache),
	KIND(CACHE, cache, 4, fill_cache, NULL),
	KIND(OBJECT, object, 16, fill_object, keep_object),
	KIND(OBJECTS, objects, 5, fill_objects, NULL),
	KIND(KMALLOC, kmalloc, 12, fill_kmalloc, keep_kmalloc),
	KIND(BYTES, bytes, 5, fill_bytes, NULL),
	KIND(MM_CONFIG, mm_config, 2, fill_mm_config, NULL),
	KIND(MM_INFO, mm_info, 2, NULL, NULL),
	KIND(MM_MMAP, mm_mmap, 14, fill_mm_mmap, NULL),
	KIND(MM_MUNMAP, mm_range, 6, fill_range, NULL),
	KIND(MM_MPROTECT, mm_range, 6, fill_protect, NULL),
	KIND(MM_MREMAP, mm_mremap, 6, fill_mremap, NULL),
	KIND(MM_MADVISE, mm_range, 6, fill_advise, NULL),
	KIND(MM_BRK, mm_brk, 3, fill_brk, NULL),
	KIND(MM_MLOCK, mm_mlock, 3, fill_mlock, NULL),
	KIND(MM_MINCORE, mm_mincore, 2, fill_mincore, NULL),
	KIND(MM_MSYNC, mm_range, 2, fill_advise, NULL),
	KIND(MM_LIMITS, mm_limits, 1, fill_limits, NULL),
	KIND(MM_WALK, mm_walk, 2, fill_walk, NULL),
	KIND(MM_VMAS, mm_vmas, 2, fill_vmas, NULL),
	KIND(DIFF_OPEN, diff_open, 1, fill_diff_open, NULL),
	KIND(DIFF_PLAY, diff_play, 1, fill_diff_play, NULL),
	KIND(DIFF_STATE, diff_state, 1, fill_diff_state, NULL),
	KIND(DIFF_CACHES, diff_caches, 1, fill_diff_caches, NULL),
	KIND(DIFF_OBJECTS, diff_objects, 1, fill_diff_objects, NULL),
	KIND(DIFF_CACHE, diff_look, 1, fill_diff_look, NULL),
#undef KIND
};

static const struct kind *choose(void)
{
	uint32_t sum = 0, at;

	for (uint32_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		sum += kinds[i].weight;
	at = dice(sum);
	for (uint32_t i = 0;; i++) {
		if (at < kinds[i].weight)
			return &kinds[i];
		at -= kinds[i].weight;
	}
}

static bool is_known(uint32_t number)
{
	for (uint32_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (kinds[i].number == number)
			return true;
	return false;
}

/* Something in it becomes something else. */
static void spoil(union any *r, const struct kind *kind)
{
	for (uint32_t i = 0; i <= dice(3); i++) {
		uint32_t at = dice(kind->size / 4);

		switch (dice(4)) {
		case 0:
			r->words[at] = (uint32_t)number();
			break;
		case 1:
			r->words[at] ^= 1u << dice(32);
			break;
		case 2:
			r->head.flags = 1u << dice(32);
			break;
		default:
			r->head.size = dice(2) ? dice(kind->size + 64) : (uint32_t)number();
		}
	}
}

/* What must not be asked for, however it came about. */
static bool forbidden(const union any *r, const struct kind *kind)
{
	switch (kind->number) {
	case SHADOWMM_IOC_STAGE:
	case SHADOWMM_IOC_MAP:
		return !me.boots && kind->number == SHADOWMM_IOC_STAGE && r->stage.op == SHADOWMM_STAGE_RESET;
	/* It says each object in the log, byte by byte. */
	case SHADOWMM_IOC_CREATE:
		return (r->create.flags & TRACED) && r->create.object_size > 64;
	/* It breaks what it is told to break. */
	case SHADOWMM_IOC_OBJECT:
	case SHADOWMM_IOC_BYTES:
		return me.admin && ((r->head.flags & SHADOWMM_OBJECT_FORCE) ||
				    (kind->number == SHADOWMM_IOC_BYTES && r->bytes.op == SHADOWMM_BYTES_WRITE &&
				     (r->bytes.offset != 0 || r->bytes.len > 1)));
	/* No shadow has memory so far up, whatever its map. */
	case SHADOWMM_IOC_MISUSE:
		return me.admin && r->misuse.how <= SHADOWMM_MISUSE_PLAIN && r->misuse.byte < 256 && r->misuse.addr < 1UL << 52;
	/* It takes all of a node's memory. */
	case SHADOWMM_IOC_DIFF_OPEN:
		return me.admin && (me.idle < 0 || r->diff_open.nid != me.idle);
	/* They take their time. */
	case SHADOWMM_IOC_BENCH:
		return r->bench.blocks > 4;
	case SHADOWMM_IOC_BENCH_SLAB:
		return r->bench_slab.blocks > 4;
	case SHADOWMM_IOC_BENCH_LOOKUP:
		return r->bench_lookup.blocks > 4;
	}
	return false;
}

/* Where the request lies: mostly where it can be read and written. */
static void *place(const union any *r, uint32_t size)
{
	char *at;
	size_t len;

	switch (dice(40)) {
	case 0:		/* only a part of it is there */
		at = me.page + PAGE - (size > 4 ? 4 * dice(size / 4) : 0);
		memcpy(at, r, me.page + PAGE - at);
		return at;
	case 1:
		return me.fixed;
	case 2:
		return (void *)(uintptr_t)number();
	case 3:		/* where the shadow has to find the page itself */
		return somewhere(&len);
	case 4:		/* not aligned */
		memcpy(me.page + 1, r, size);
		return me.page + 1;
	default:	/* to the very end of the page */
		at = me.page + PAGE - size;
		memcpy(at, r, size);
		return at;
	}
}

void request(void)
{
	const struct kind *kind = choose();
	union any r;
	uint32_t number = kind->number, size = kind->size;
	int fd = me.fds[dice(FILES)], done;
	void *at;

	memset(&r, 0, sizeof(r));
	r.head.size = size;
	if (kind->fill)
		kind->fill(&r);
	if (!dice(6))
		spoil(&r, kind);
	if (forbidden(&r, kind))
		return;
	if (!dice(50)) {
		number = dice(4) ? _IO(SHADOWMM_IOC_MAGIC, dice(256)) : (uint32_t)draw();
		/* As another request it may be one of those, which who has no rights is refused. */
		if (me.admin && is_known(number))
			number |= 0x80;
	}
	at = place(&r, size);
	note("%s number %x fd %d size %u flags %x words %x %x %x %x %x %x at %p", kind->name, number, fd, r.head.size, r.head.flags,
	     r.words[4], r.words[5], r.words[6], r.words[7], r.words[8], r.words[9], at);
	done = ioctl(fd, number, at);
	if (done > 0)
		wrong("%s has answered %d", kind->name, done);
	if (done < 0 && (errno < 1 || errno > 133))
		wrong("%s has answered errno %d", kind->name, errno);
	/* A struct at the end of the page is whole, and nobody else's. */
	if (at != me.page + PAGE - size || number != kind->number)
		return;
	if (done == 0) {
		memcpy(&r, at, size);
		if (r.head.reason)
			wrong("%s has succeeded with reason %u", kind->name, r.head.reason);
		if (kind->number == SHADOWMM_IOC_VALIDATE && r.validate.what[0])
			wrong("validate: %.112s", r.validate.what);
		if (kind->keep)
			kind->keep(&r);
	} else if (errno != EFAULT && errno != EINTR && errno != EBADF && errno != ENOTTY) {
		uint32_t reason = ((struct shadowmm_head *)at)->reason;

		if (!reason)
			wrong("%s was refused without a reason, errno %d", kind->name, errno);
	}
}
