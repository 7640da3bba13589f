// SPDX-License-Identifier: GPL-2.0
/*
 * Processes that allocate and free blocks at random, alone or many at once, split and merge them, and
 * take and give up references to their own and to each other's:
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
#include <unistd.h>

#include "children.h"
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

/* Single pages at once, as many as there are and as there is room for. */
static unsigned int take_many(int fd, struct block *blocks, unsigned int room)
{
	__u64 pfns[64];
	struct shadowmm_bulk request = { .head.size = sizeof(request), .nid = -1, .pfns = (unsigned long)pfns };

	request.count = 1 + dice(room < 64 ? room : 64);
	request.gfp = dice(2) ? 0xcc0 : 0xcca;
	if (ioctl(fd, SHADOWMM_IOC_BULK, &request)) {
		if (errno == ENOMEM)
			return 0;
		bad("allocating many", 0);
	}
	if (request.done < 1 || request.done > request.count)
		bad("a number of pages that was not asked for", request.done);
	for (unsigned int i = 0; i < request.done; i++)
		blocks[i] = (struct block){ .pfn = pfns[i] };
	return request.done;
}

/* Gives the single pages back, at once, and says how many blocks are left. */
static unsigned int give_many(int fd, struct block *held, unsigned int count, unsigned char me)
{
	__u64 pfns[HELD];
	struct shadowmm_bulk request = { .head.size = sizeof(request), .op = SHADOWMM_PAGES_FREE,
					 .pfns = (unsigned long)pfns };
	unsigned int left = 0;

	for (unsigned int i = 0; i < count; i++) {
		if (held[i].order) {
			held[left++] = held[i];
			continue;
		}
		if (me)
			mark(&held[i], me, 0);
		pfns[request.count++] = held[i].pfn;
	}
	if (request.count && (ioctl(fd, SHADOWMM_IOC_BULK, &request) || request.done != request.count))
		bad("freeing many", pfns[request.done]);
	return left;
}

/* What the module answered, 0 if it did what was asked. */
static int block_op(int fd, unsigned int op, unsigned long pfn, unsigned int order, unsigned int to)
{
	struct shadowmm_block request = { .head.size = sizeof(request), .op = op, .pfn = pfn, .order = order, .to = to };

	return ioctl(fd, SHADOWMM_IOC_BLOCK, &request) ? errno : 0;
}

/* Makes two of a block, if there is room; somebody may hold it too at the moment. */
static unsigned int split(int fd, struct block *held, unsigned int count)
{
	struct block *block = &held[dice(count)];
	int error;

	if (count == HELD || !block->order)
		return count;
	error = block_op(fd, SHADOWMM_BLOCK_SPLIT, block->pfn, block->order, block->order - 1);
	if (error == EBUSY)
		return count;
	if (error)
		bad("splitting", block->pfn);
	block->order--;
	held[count] = (struct block){ block->pfn + (1ul << block->order), block->order };
	return count + 1;
}

/* Makes one of a block and its buddy, if both are there. */
static unsigned int merge(int fd, struct block *held, unsigned int count)
{
	struct block *one = &held[dice(count)], *two;
	unsigned long size = 1ul << one->order;
	int error;

	for (two = held; two != held + count; two++)
		if (two->pfn == (one->pfn ^ size) && two->order == one->order)
			break;
	if (two == held + count || one->order == 10)
		return count;
	error = block_op(fd, SHADOWMM_BLOCK_MERGE, one->pfn & ~size, one->order + 1, 0);
	/* Two buddies may lie in two zones, or the other be held by somebody else. */
	if (error == EBUSY || (error == EINVAL && one->order))
		return count;
	if (error)
		bad("merging", one->pfn);
	one->pfn &= ~size;
	one->order++;
	*two = held[count - 1];
	return count - 1;
}

/* Takes a reference to any block, and gives it up: whatever it is, it is whole then. */
static void share(int fd, unsigned long pfn)
{
	int error = block_op(fd, SHADOWMM_BLOCK_GET, pfn, 0, 0);

	if (error == 0 && block_op(fd, SHADOWMM_BLOCK_PUT, pfn, 0, 0))
		bad("giving a reference up", pfn);
	if (error && error != EALREADY && error != EINVAL && error != EBUSY && error != ENXIO && error != EPERM)
		bad("taking a reference", pfn);
}

/* A process that will be killed can't take its marks away, and makes none. */
static void work(unsigned char me, long operations)
{
	static struct block held[HELD];
	unsigned int count = 0;
	int fd = open(SHADOWMM_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		bad("opening the device", 0);
	for (long done = 0; operations < 0 || done < operations; done++) {
		unsigned int what = dice(16);

		if (what == 0 && count < HELD) {
			unsigned int more = take_many(fd, &held[count], HELD - count);

			for (; more; more--, count++)
				if (operations >= 0)
					mark(&held[count], 0, me);
		} else if (what == 1) {
			count = give_many(fd, held, count, operations < 0 ? 0 : me);
		} else if (what == 2 && count) {
			count = split(fd, held, count);
		} else if (what == 3 && count) {
			count = merge(fd, held, count);
		} else if (what == 4) {
			share(fd, count && dice(2) ? held[dice(count)].pfn : dice(1u << 17));
		} else if (count < HELD && dice(5) < 3) {
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
	int processes = argc == 4 ? atoi(argv[1]) : 0;
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
		if (fork_child() == 0)
			work((unsigned char)(i + 1), operations);
	}
	return wait_for_children(operations < 0);
}
