// SPDX-License-Identifier: GPL-2.0
/*
 * Processes that allocate and free blocks at random:
 *
 *     storm PROCESSES OPERATIONS SEED    each does so many, then frees all it holds
 *     storm PROCESSES forever SEED       until they are killed
 *
 * Each process writes its mark to the first word of what it believes to own (an entry of a table in
 * memory that all share), so that a page given to two at once is seen. The exit status is 0 when no
 * request failed but for want of memory, and no page had two owners.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shadowmm.h"

#define HELD 256
#define FRAMES (1u << 22)

static _Atomic unsigned char *owners;
static unsigned int seed;

static unsigned int dice(unsigned int sides)
{
	/* xorshift */
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return seed % sides;
}

struct block {
	unsigned long pfn;
	unsigned int order;
};

static void bad(const char *what, unsigned long pfn)
{
	fprintf(stderr, "storm: %s at page %lu: %s\n", what, pfn, strerror(errno));
	exit(1);
}

/* Marks the block's pages as taken or left; `expected` is what they must have been. */
static void mark(const struct block *block, unsigned char expected, unsigned char now)
{
	for (unsigned long pfn = block->pfn; pfn < block->pfn + (1ul << block->order); pfn++) {
		unsigned char was = expected;

		if (pfn >= FRAMES || !atomic_compare_exchange_strong(&owners[pfn], &was, now))
			bad("a page with two owners, or none", pfn);
	}
}

static int take(int fd, struct block *block)
{
	struct shadowmm_alloc request = { .head.size = sizeof(request), .nid = -1 };

	/* Mostly single pages, as in life; movable or not, from any node or a named one. */
	request.order = dice(4) ? 0 : dice(SHADOWMM_NR_ORDERS);
	request.gfp = dice(2) ? 0xcc0 : 0xcca;
	request.nid = (int)dice(3) - 1;
	if (ioctl(fd, SHADOWMM_IOC_ALLOC, &request)) {
		if (errno == ENOMEM || (errno == EINVAL && request.nid > 0))
			return 0;
		bad("allocating", 0);
	}
	block->pfn = request.pfn;
	block->order = request.order;
	return 1;
}

static void give_back(int fd, const struct block *block)
{
	struct shadowmm_free request = { .head.size = sizeof(request), .pfn = block->pfn, .order = block->order };

	if (ioctl(fd, SHADOWMM_IOC_FREE, &request))
		bad("freeing", block->pfn);
}

/* A process that will be killed can't take its marks away, and makes none. */
static void work(unsigned char me, long operations)
{
	struct block held[HELD];
	unsigned int count = 0;
	int fd = open(SHADOWMM_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		bad("opening the device", 0);
	for (long done = 0; operations < 0 || done < operations; done++) {
		if (count < HELD && dice(5) < 3) {
			if (take(fd, &held[count])) {
				if (operations >= 0)
					mark(&held[count], 0, me);
				count++;
			}
		} else if (count) {
			struct block *block = &held[dice(count)];

			if (operations >= 0)
				mark(block, me, 0);
			give_back(fd, block);
			*block = held[--count];
		}
	}
	while (count--) {
		mark(&held[count], me, 0);
		give_back(fd, &held[count]);
	}
	exit(0);
}

int main(int argc, char **argv)
{
	int processes = argc == 4 ? atoi(argv[1]) : 0, failed = 0, status;
	long operations;

	if (processes < 1 || processes > 200) {
		fprintf(stderr, "usage: storm PROCESSES OPERATIONS|forever SEED\n");
		return 2;
	}
	operations = strcmp(argv[2], "forever") ? atol(argv[2]) : -1;
	owners = mmap(NULL, FRAMES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (owners == MAP_FAILED)
		bad("mapping", 0);
	for (int i = 0; i < processes; i++) {
		seed = (unsigned int)atol(argv[3]) * 2654435761u + (unsigned int)i + 1;
		seed |= 1;
		if (fork() == 0)
			work((unsigned char)(i + 1), operations);
	}
	while (wait(&status) > 0)
		failed |= status != 0;
	return failed;
}
