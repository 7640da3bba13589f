// SPDX-License-Identifier: GPL-2.0
/* Requests about caches and objects, each with all of its chances to fail; see fault_walk.c. */
#include "fault_walk.h"

static uint32_t cache;

static void create(union any *r)
{
	r->create.object_size = 200;
	r->create.flags = DEBUGGED;
	strcpy(r->create.name, "fault-walk");
}
/* Whether there was one of that name. */
static bool destroy_named(const char *name)
{
	struct shadowmm_cache find = { .head.size = sizeof(find), .op = SHADOWMM_CACHE_FIND };
	struct shadowmm_cache gone = { .head.size = sizeof(gone), .op = SHADOWMM_CACHE_DESTROY };

	strcpy(find.name, name);
	if (ask(watcher, SHADOWMM_IOC_CACHE, &find))
		return false;
	gone.cache = find.cache;
	must(watcher, "CACHE", SHADOWMM_IOC_CACHE, &gone);
	return true;
}
static void destroy_cache(bool done)
{
	(void)done;
	/* Its objects go with their file. */
	close_all();
	destroy_named("fault-walk");
}
/* One that is shared, and its other name, of which no number tells. */
static void create_first(union any *r)
{
	MUST(fd, CREATE, .create = { .object_size = 200, .name = "fault-first" });
	create(r);
	r->create.flags = 0;
}
static void destroy_alias(bool done)
{
	if (done && !request.create.aliases)
		not_so("the cache is no other name of another");
	if (destroy_named("fault-walk") != done)
		not_so(done ? "the alias is not there" : "refused, and the alias is there");
	if (!destroy_named("fault-first"))
		not_so("the first cache is not there");
}
static void create_ctor(union any *r) { create(r); r->create.flags = 0; r->create.ctor = SHADOWMM_CTOR_FILL; r->create.ctor_arg = 0x5a; }
/* A cache, and an object of it. */
static uint64_t with_cache(void)
{
	union any any = { .create.head.size = sizeof(any.create) };

	create(&any);
	must(fd, "CREATE", SHADOWMM_IOC_CREATE, &any);
	cache = any.create.cache;
	return MUST(fd, OBJECT, .object = { .cache = cache, .nid = -1 }).object.object;
}

static void alloc_traces(union any *r) { with_cache(); path = "/proc/shadowmm/slab/fault-walk/alloc_traces"; (void)r; }
static void free_traces(union any *r) { with_cache(); path = "/proc/shadowmm/slab/fault-walk/free_traces"; (void)r; }
static void cache_files(union any *r) { with_cache(); (void)r; }
static long write_min_partial(void) { path = "/proc/shadowmm/slab/fault-walk/min_partial"; return write_text("7"); }
static long write_shrink(void) { path = "/proc/shadowmm/slab/fault-walk/shrink"; return write_text("1"); }
static long write_validate(void) { path = "/proc/shadowmm/slab/fault-walk/validate"; return write_text("1"); }
static void find(union any *r) { with_cache(); strcpy(r->cache.name, "fault-walk"); }
static void with_text(union any *r)
{
	r->cache.cache = cache;
	r->cache.capacity = 1000;
	r->cache.text = (uintptr_t)bytes;
}
static void destroy(union any *r)
{
	union any free = { .object = { .head.size = sizeof(free.object), .op = SHADOWMM_OBJECT_FREE } };

	free.object.object = with_cache();
	free.object.cache = cache;
	must(fd, "OBJECT", SHADOWMM_IOC_OBJECT, &free);
	with_text(r);
	r->cache.op = SHADOWMM_CACHE_DESTROY;
}
static void cache_shrink(union any *r) { with_cache(); r->cache.op = SHADOWMM_CACHE_SHRINK; r->cache.cache = cache; }
static void shrink_all(union any *r) { r->cache.op = SHADOWMM_CACHE_SHRINK; }
static void cache_validate(union any *r) { with_cache(); with_text(r); r->cache.op = SHADOWMM_CACHE_VALIDATE; }
static void min_partial(union any *r)
{
	with_cache();
	r->cache.op = SHADOWMM_CACHE_MIN_PARTIAL;
	r->cache.cache = cache;
	r->cache.value = 7;
}

static void object(union any *r) { with_cache(); r->object.cache = cache; r->object.nid = -1; }
static void object_free(union any *r)
{
	r->object.op = SHADOWMM_OBJECT_FREE;
	r->object.object = with_cache();
	r->object.cache = cache;
}
static void object_force(union any *r) { object_free(r); r->head.flags = SHADOWMM_OBJECT_FORCE; }
static void objects(union any *r)
{
	with_cache();
	r->objects.cache = cache;
	r->objects.nid = -1;
	/* More than there is room for in the file's first table. */
	r->objects.count = 60;
	r->objects.objects = (uintptr_t)numbers;
}
static void objects_free(union any *r)
{
	objects(r);
	must(fd, "OBJECTS", SHADOWMM_IOC_OBJECTS, r);
	r->objects.op = SHADOWMM_OBJECT_FREE;
	r->objects.nid = 0;
}

static uint64_t bytes_of_100(void)
{
	return MUST(fd, KMALLOC, .kmalloc = { .size = 100, .nid = -1 }).kmalloc.object;
}
static void kmalloc(union any *r) { r->kmalloc.size = 100; r->kmalloc.nid = -1; }
static void krealloc(union any *r) { r->kmalloc.op = SHADOWMM_KMALLOC_REALLOC; r->kmalloc.size = 3000; r->kmalloc.nid = -1; r->kmalloc.object = bytes_of_100(); }
static void krealloc_new(union any *r) { kmalloc(r); r->kmalloc.op = SHADOWMM_KMALLOC_REALLOC; }
static void kfree(union any *r) { r->kmalloc.op = SHADOWMM_KMALLOC_FREE; r->kmalloc.object = bytes_of_100(); }
static void ksize(union any *r) { r->kmalloc.op = SHADOWMM_KMALLOC_SIZE; r->kmalloc.object = bytes_of_100(); }
static void roundup(union any *r) { r->kmalloc.op = SHADOWMM_KMALLOC_ROUNDUP; r->kmalloc.size = 100; }

/* The first object of all, which brings the layer up. */
static void first_object(union any *r) { begin_anew(); kmalloc(r); }
static void free_first(bool done)
{
	struct shadowmm_kmalloc free = { .head.size = sizeof(free), .op = SHADOWMM_KMALLOC_FREE, .object = request.kmalloc.object };

	if (done)
		must(watcher, "KMALLOC", SHADOWMM_IOC_KMALLOC, &free);
}

static void bytes_read(union any *r) { r->bytes.object = bytes_of_100(); r->bytes.len = 90; r->bytes.buf = (uintptr_t)bytes; }
static void bytes_write(union any *r) { bytes_read(r); r->bytes.op = SHADOWMM_BYTES_WRITE; }
static void bytes_force(union any *r)
{
	bytes_write(r);
	r->bytes.object = with_cache();
	r->bytes.cache = cache;
	r->head.flags = SHADOWMM_OBJECT_FORCE;
}

/* --- measuring, and the differential test ---------------------------------------------------------------- */

static void bench_slab(union any *r) { r->bench_slab.blocks = 1; r->bench_slab.size = 100; r->head.flags = SHADOWMM_BENCH_NO_HOST; r->bench_slab.shadow_ticks = (uintptr_t)numbers; }

static const struct shadowmm_diff_cache twins[] = {
	{ .name = "diff-fault-1", .object_size = 100, .flags = DEBUGGED }, { .name = "diff-fault-2", .object_size = 300, .flags = DEBUGGED },
};
static struct shadowmm_diff_geometry geometries[2];

static void diff_caches(union any *r)
{
	r->diff_caches.nr = 2;
	r->diff_caches.caches = (uintptr_t)twins;
	r->diff_caches.geometries = (uintptr_t)geometries;
}
static void diff_pair(union any *r) { diff_caches(r); r->diff_caches.op = SHADOWMM_DIFF_PAIR; }
static void pairs(void)
{
	union any any = { .diff_caches.head.size = sizeof(any.diff_caches) };

	diff_pair(&any);
	must(fd, "DIFF_CACHES", SHADOWMM_IOC_DIFF_CACHES, &any);
}
static void diff_keep(union any *r) { diff_caches(r); r->diff_caches.op = SHADOWMM_DIFF_KEEP; }
static void diff_drop(union any *r) { pairs(); r->diff_caches.op = SHADOWMM_DIFF_DROP; }
static void diff_objects(union any *r)
{
	static const struct shadowmm_diff_objects_step steps[] = {
		{ SHADOWMM_DIFF_TAKE, 0, 0, 3 }, { SHADOWMM_DIFF_TAKE_BULK, 1, 3, 9 }, { SHADOWMM_DIFF_GIVE, 0, 0, 3 },
		{ SHADOWMM_DIFF_GIVE_BULK, 1, 5, 4 }, { SHADOWMM_DIFF_SHRINK, 0, 0, 0 }, { SHADOWMM_DIFF_SHRINK, 1, 0, 0 },
	};

	pairs();
	r->diff_objects.nr = COUNT(steps);
	r->diff_objects.steps = (uintptr_t)steps;
}
/* A pair with objects. */
static void diff_cache(union any *r)
{
	static const struct shadowmm_diff_objects_step take = { SHADOWMM_DIFF_TAKE, 0, 0, 3 };
	struct shadowmm_diff_objects play = { .head.size = sizeof(play), .nr = 1, .steps = (uintptr_t)&take };

	(void)r;
	pairs();
	must(fd, "DIFF_OBJECTS", SHADOWMM_IOC_DIFF_OBJECTS, &play);
}

static const struct call requests[] = {
	CALL(BENCH_SLAB, bench_slab, "", 0, bench_slab),
	CALL(CREATE, create, "", 0, create, .after = destroy_cache),
	CALL(CREATE, create, " of an alias", 0, create_first, .after = destroy_alias),
	CALL(CREATE, create, " with a constructor", 0, create_ctor, .after = destroy_cache),
	CALL(CACHE, cache, " FIND", 0, find, .after = destroy_cache),
	CALL(CACHE, cache, " DESTROY", DONE, destroy, .after = destroy_cache),
	CALL(CACHE, cache, " SHRINK", 0, cache_shrink, .after = destroy_cache),
	CALL(CACHE, cache, " SHRINK of all", 0, shrink_all),
	CALL(CACHE, cache, " VALIDATE", 0, cache_validate, .after = destroy_cache),
	CALL(CACHE, cache, " MIN_PARTIAL", DONE, min_partial, .after = destroy_cache),
	CALL(OBJECT, object, " ALLOC", 0, object, .after = destroy_cache),
	CALL(OBJECT, object, " FREE", DONE, object_free, .after = destroy_cache),
	CALL(OBJECT, object, " FREE by force", DONE, object_force, .after = destroy_cache),
	CALL(OBJECTS, objects, " ALLOC", 0, objects, .after = destroy_cache),
	CALL(OBJECTS, objects, " FREE", DONE, objects_free, .after = destroy_cache),
	CALL(KMALLOC, kmalloc, " ALLOC", 0, kmalloc),
	CALL(KMALLOC, kmalloc, " REALLOC", DONE, krealloc),
	CALL(KMALLOC, kmalloc, " REALLOC of nothing", 0, krealloc_new),
	CALL(KMALLOC, kmalloc, " FREE", DONE, kfree),
	CALL(KMALLOC, kmalloc, " SIZE", 0, ksize),
	CALL(KMALLOC, kmalloc, " ROUNDUP", 0, roundup),
	CALL(BYTES, bytes, " READ", 0, bytes_read),
	CALL(BYTES, bytes, " WRITE", DONE, bytes_write),
	CALL(BYTES, bytes, " WRITE by force", DONE, bytes_force, .after = destroy_cache),
	{ .name = "alloc_traces", .before = alloc_traces, .after = destroy_cache, .make = read_file },
	{ .name = "free_traces", .before = free_traces, .after = destroy_cache, .make = read_file },
	{ .name = "min_partial, written", .before = cache_files, .after = destroy_cache, .make = write_min_partial },
	{ .name = "shrink, written", .before = cache_files, .after = destroy_cache, .make = write_shrink },
	{ .name = "validate, written", .before = cache_files, .after = destroy_cache, .make = write_validate },
	CALL(DIFF_CACHES, diff_caches, " MEASURE", 0, diff_caches),
	CALL(DIFF_CACHES, diff_caches, " KEEP", 0, diff_keep),
	CALL(DIFF_CACHES, diff_caches, " PAIR", 0, diff_pair),
	CALL(DIFF_CACHES, diff_caches, " DROP", DONE, diff_drop),
	CALL(DIFF_OBJECTS, diff_objects, "", DONE, diff_objects),
	CALL(DIFF_CACHE, diff_look, "", 0, diff_cache),
};

void walk_objects(void)
{
	/* The directories of all caches, with 41 files each, come with it: these take their time. */
	static const struct call first =
		CALL(KMALLOC, kmalloc, " of the first object", ALONE | BOOTS, first_object, .after = free_first, .most = 20);

	for (unsigned int i = 0; i < COUNT(requests); i++)
		walk(&requests[i]);
	walk(&first);
}
