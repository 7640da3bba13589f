// SPDX-License-Identifier: GPL-2.0
/*
 * Caches and objects in numbers:
 *
 *     slabs many COUNT       so many caches at once, with objects of each, in use and then not
 *     slabs million COUNT    so many objects in one open file, freed in no order, and some by its end
 *     slabs hold CACHE N     N objects of that cache and N by their size, until it is killed
 *     slabs short CACHE      objects until there is no memory, one by one and in bulk: all or none
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "shadowmm.h"

#define SLAB_NO_MERGE (1 << 12)

static int fd, failed;

static void expect(const char *name, int holds)
{
	printf("%s slabs: %s\n", holds ? "ok" : "not ok", name);
	fflush(stdout);
	failed |= !holds;
}

static unsigned int create(int file, const char *name, unsigned int size)
{
	struct shadowmm_create request = { .head.size = sizeof(request), .object_size = size, .flags = SLAB_NO_MERGE };

	strncpy(request.name, name, sizeof(request.name) - 1);
	return ioctl(file, SHADOWMM_IOC_CREATE, &request) ? 0 : request.cache;
}

static unsigned int find(const char *name)
{
	struct shadowmm_cache request = { .head.size = sizeof(request), .op = SHADOWMM_CACHE_FIND };

	strncpy(request.name, name, sizeof(request.name) - 1);
	return ioctl(fd, SHADOWMM_IOC_CACHE, &request) ? 0 : request.cache;
}

static int on_cache(unsigned int op, unsigned int cache)
{
	struct shadowmm_cache request = { .head.size = sizeof(request), .op = op, .cache = cache };

	return ioctl(fd, SHADOWMM_IOC_CACHE, &request);
}

static __u64 take(unsigned int cache)
{
	struct shadowmm_object request = { .head.size = sizeof(request), .cache = cache, .nid = -1 };

	return ioctl(fd, SHADOWMM_IOC_OBJECT, &request) ? 0 : request.object;
}

static int give(unsigned int cache, __u64 object)
{
	struct shadowmm_object request = { .head.size = sizeof(request), .op = SHADOWMM_OBJECT_FREE,
					   .cache = cache, .object = object };

	return ioctl(fd, SHADOWMM_IOC_OBJECT, &request);
}

static unsigned int bulk(int file, unsigned int op, unsigned int cache, __u64 *objects, unsigned int count)
{
	struct shadowmm_objects request = { .head.size = sizeof(request), .op = op, .cache = cache, .count = count,
					    .nid = op ? 0 : -1, .objects = (unsigned long)objects };

	return ioctl(file, SHADOWMM_IOC_OBJECTS, &request) ? 0 : request.done;
}

static __u64 by_size(__u64 size)
{
	struct shadowmm_kmalloc request = { .head.size = sizeof(request), .size = size, .nid = -1 };

	return ioctl(fd, SHADOWMM_IOC_KMALLOC, &request) ? 0 : request.object;
}

static struct shadowmm_rec_slab layer(void)
{
	struct shadowmm_rec_slab slab = { 0 };
	struct shadowmm_report report = { .head.size = sizeof(report), .kind = SHADOWMM_REPORT_SLAB,
					  .record_size = sizeof(slab), .capacity = 1, .buf = (unsigned long)&slab };

	if (ioctl(fd, SHADOWMM_IOC_REPORT, &report))
		expect("the layer can be looked at", 0);
	return slab;
}

static void many(unsigned int count)
{
	unsigned int *caches = calloc(count, sizeof(*caches)), made = 0, i, n;
	__u64(*objects)[4] = calloc(count, sizeof(*objects));
	__u64 before = layer().caches;
	char name[64];

	for (i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "many_%04u", i);
		caches[i] = create(fd, name, 8 + 8 * (i % 500));
		made += caches[i] != 0;
	}
	expect("as many caches as were asked for", made == count && layer().caches == before + count);
	for (i = 0; i < count; i++)
		for (n = 0; n < 4; n++) {
			objects[i][n] = take(caches[i]);
			made += objects[i][n] != 0;
		}
	expect("objects of each", made == 5 * count && layer().held_objects == 4 * count);
	for (made = i = 0; i < count; i++)
		made += on_cache(SHADOWMM_CACHE_DESTROY, caches[i]) != 0;
	expect("none can be destroyed meanwhile", made == count && layer().caches == before + count);
	for (made = i = 0; i < count; i++)
		for (n = 0; n < 4; n++)
			made += give(caches[(i + 1) % count], objects[i][n]) != 0;
	expect("none takes another's objects", made == 4 * count || count == 1);
	for (made = i = 0; i < count; i++)
		for (n = 0; n < 4; n++)
			made += give(caches[i], objects[i][n]) == 0;
	expect("each takes its own back", made == 4 * count && layer().held_objects == 0);
	for (made = i = 0; i < count; i++)
		made += on_cache(SHADOWMM_CACHE_DESTROY, caches[i]) == 0;
	expect("all are gone", made == count && layer().caches == before);
}

static void million(unsigned int count)
{
	unsigned int cache = create(fd, "million", 32), got = 0, went = 0, i;
	__u64 *objects = calloc(count + SHADOWMM_MAX_OBJECTS, sizeof(*objects)), part[64];

	while (got < count) {
		unsigned int now = bulk(fd, SHADOWMM_OBJECT_ALLOC, cache, objects + got, SHADOWMM_MAX_OBJECTS);

		if (now == 0)
			break;
		got += now;
	}
	expect("so many objects", got >= count && layer().held_objects == got);
	/* Some one by one, some together, from all over. */
	for (i = 0; i < 20000; i++)
		went += give(cache, objects[(i * 7919ULL) % got]) == 0;
	expect("each goes once", went == 20000);
	for (i = 0; i + 64 <= got && i < 64 * 1000; i += 64) {
		memcpy(part, objects + i, sizeof(part));
		went += bulk(fd, SHADOWMM_OBJECT_FREE, cache, part, 64);
	}
	expect("what is held is what is left", layer().held_objects == got - went);
	close(fd);
	fd = open(SHADOWMM_DEVICE, O_RDWR);
	expect("the rest goes with the file", layer().held_objects == 0);
	expect("the cache goes", on_cache(SHADOWMM_CACHE_DESTROY, cache) == 0);
}

static void hold(const char *name, unsigned int count)
{
	static const unsigned int sizes[] = { 8, 100, 1000, 5000, 20000 };
	unsigned int cache = find(name), i;

	for (i = 0; i < count; i++)
		if (!take(cache) || !by_size(sizes[i % 5]))
			_exit(3);
	puts("held");
	fflush(stdout);
	pause();
}

static void short_of_memory(const char *name)
{
	static __u64 objects[SHADOWMM_MAX_OBJECTS];
	unsigned int cache = find(name);
	__u64 held, single = 0;

	/* Bulk first: what does not fit is not begun. */
	while (bulk(fd, SHADOWMM_OBJECT_ALLOC, cache, objects, SHADOWMM_MAX_OBJECTS))
		;
	held = layer().held_objects;
	expect("a bulk that does not fit gives nothing", held % SHADOWMM_MAX_OBJECTS == 0 && held > 0);
	while (take(cache))
		single++;
	expect("one by one there are some left", layer().held_objects == held + single);
	printf("# %llu objects in bulks, %llu one by one\n", held, single);
	expect("nor is a bulk begun now", bulk(fd, SHADOWMM_OBJECT_ALLOC, cache, objects, 4096) == 0);
	expect("what is held is the same", layer().held_objects == held + single);
	close(fd);
	fd = open(SHADOWMM_DEVICE, O_RDWR);
	expect("all of it goes with the file", layer().held_objects == 0);
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[1] : "";

	fd = open(SHADOWMM_DEVICE, O_RDWR);
	if (fd < 0) {
		perror(SHADOWMM_DEVICE);
		return 2;
	}
	if (!strcmp(what, "many"))
		many(atoi(argv[2]));
	else if (!strcmp(what, "million"))
		million(atoi(argv[2]));
	else if (!strcmp(what, "hold") && argc > 3)
		hold(argv[2], atoi(argv[3]));
	else if (!strcmp(what, "short"))
		short_of_memory(argv[2]);
	else
		return 2;
	return failed;
}
