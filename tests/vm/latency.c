// SPDX-License-Identifier: GPL-2.0
/*
 * What a page, an object and a fault take, in the shadow and in the host beside it:
 *
 *     latency [BLOCKS]
 *
 * A line for each: its name, then median and 99th percentile of the shadow's blocks, and those of the
 * host's, in picoseconds an operation. The two take turns, a block of the one and a block of the other, so
 * that a machine that is busy is busy for both.
 */
#include "mm.h"

#include <x86intrin.h>

#define MOST 2000
#define PAGES 64

static uint64_t shadow[MOST], host[MOST];

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void tell(const char *name, unsigned int blocks, unsigned int operations, unsigned int khz)
{
	double unit = 1e9 / khz / operations;

	qsort(shadow, blocks, sizeof(*shadow), by_size);
	qsort(host, blocks, sizeof(*host), by_size);
	printf("%s %.0f %.0f %.0f %.0f\n", name, shadow[blocks / 2] * unit, shadow[blocks * 99 / 100] * unit,
	       host[blocks / 2] * unit, host[blocks * 99 / 100] * unit);
}

static void fail(const char *what)
{
	fprintf(stderr, "latency: %s: %s, reason %u\n", what, strerror(errno), reason);
	exit(1);
}

static uint64_t touch(char *at)
{
	uint64_t start = __rdtsc();

	for (int i = 0; i < PAGES; i++)
		*(volatile char *)(at + i * PAGE) = 1;
	return __rdtsc() - start;
}

int main(int argc, char **argv)
{
	unsigned int blocks = argc > 1 ? (unsigned int)atoi(argv[1]) : 500, khz;
	int fd = open_device();
	struct shadowmm_bench page = { .blocks = blocks, .shadow_ticks = (uintptr_t)shadow, .host_ticks = (uintptr_t)host };
	struct shadowmm_bench_slab object = {
		.size = 64, .blocks = blocks, .shadow_ticks = (uintptr_t)shadow, .host_ticks = (uintptr_t)host,
	};
	char *window, *ours, *theirs;

	if (!blocks || blocks > MOST)
		return 2;
	if (ASK(fd, SHADOWMM_IOC_BENCH, page))
		fail("a page");
	khz = page.tsc_khz;
	tell("page", page.done, page.operations, khz);
	if (ASK(fd, SHADOWMM_IOC_BENCH_SLAB, object))
		fail("an object");
	tell("object", object.done, object.operations, khz);

	window = open_window(fd, 1 << 30);
	ours = w_mmap(fd, NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	theirs = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (ours == MAP_FAILED || theirs == MAP_FAILED)
		fail("memory to touch");
	madvise(theirs, PAGES * PAGE, MADV_NOHUGEPAGE);
	for (unsigned int i = 0; i < blocks; i++) {
		if (w_madvise(fd, ours, PAGES * PAGE, MADV_DONTNEED) || madvise(theirs, PAGES * PAGE, MADV_DONTNEED))
			fail("pages to touch anew");
		shadow[i] = touch(ours);
		host[i] = touch(theirs);
	}
	tell("fault", blocks, PAGES, khz);
	munmap(window, 1 << 30);
	return 0;
}
