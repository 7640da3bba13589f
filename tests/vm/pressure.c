// SPDX-License-Identifier: GPL-2.0
/*
 * Memory is short: blocks that may move, blocks that may be given up and blocks that may neither.
 *
 *     pressure mix PROCESSES OPERATIONS SEED    all kinds of requests at random; OPERATIONS may be 'forever'
 *     pressure cache PROCESSES                  each fills more than there is with what may be given up
 *     pressure fragment                         free memory in single pages, then large blocks are asked for
 *     pressure race PROCESSES ROUNDS SEED       the same again and again, while others take and free small blocks
 *
 * The exit status is 0 when no request failed that must not, and every block that is not a cache was
 * there until it was freed, of its order and the process's own, wherever it was moved to.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "children.h"
#include "shadowmm.h"

/* Of the running kernel; the last may use all reserves. */
enum { KERNEL = 0xcc0, MOVABLE = 0xcca, ATOMIC = 0x820, NOWAIT = 0x2800, NORETRY = 0x10cca, MEMALLOC = 0x20cc0 };

static unsigned int seed;
static int fd;

static unsigned int dice(unsigned int sides)
{
	/* xorshift */
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return seed % sides;
}

struct block {
	__u64 name;		/* the handle, or the first page */
	unsigned int order, flags;
};

static void bad(const char *what, const struct block *block)
{
	fprintf(stderr, "pressure: %s: %s", what, strerror(errno));
	if (block)
		fprintf(stderr, " (block %llu, order %u, flags %u)", block->name, block->order, block->flags);
	fprintf(stderr, "\n");
	exit(1);
}

static void open_device(void)
{
	fd = open(SHADOWMM_DEVICE, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		bad("opening the device", NULL);
}

static int take(struct block *block, unsigned int order, unsigned int gfp, unsigned int flags)
{
	struct shadowmm_alloc request = { .head.size = sizeof(request), .head.flags = flags,
					  .order = order, .gfp = gfp, .nid = -1 };

	if (ioctl(fd, SHADOWMM_IOC_ALLOC, &request)) {
		if (errno != ENOMEM)
			bad("allocating", NULL);
		return 0;
	}
	if (!flags != !request.handle)
		bad("a handle where none belongs, or none", NULL);
	*block = (struct block){ flags ? request.handle : request.pfn, order, flags };
	return 1;
}

/* Whether the block was still there, as all must be but those of a cache. */
static int give_back(const struct block *block)
{
	struct shadowmm_free request = { .head.size = sizeof(request), .head.flags = block->flags ? SHADOWMM_BY_HANDLE : 0,
					 .pfn = block->name, .order = block->order };

	if (!ioctl(fd, SHADOWMM_IOC_FREE, &request))
		return 1;
	if (errno != ENOENT || !(block->flags & SHADOWMM_ALLOC_CACHE))
		bad("freeing", block);
	return 0;
}

static void look(const struct block *block)
{
	/* It may move while it is looked at. */
	for (int try = 0; try < 100; try++) {
		struct shadowmm_page page = { .head.size = sizeof(page), .pfn = block->name,
					      .head.flags = block->flags ? SHADOWMM_BY_HANDLE : 0 };

		if (ioctl(fd, SHADOWMM_IOC_PAGE, &page)) {
			if (errno == ENOENT && block->flags & SHADOWMM_ALLOC_CACHE)
				return;
			bad("looking", block);
		}
		if (page.state == SHADOWMM_PAGE_ALLOCATED && page.order == block->order &&
		    page.owner == SHADOWMM_OWNER_SELF)
			return;
	}
	bad("a block that is not there", block);
}

static __u64 by_hand(unsigned int op)
{
	struct shadowmm_reclaim request = { .head.size = sizeof(request), .op = op, .nid = -1 };

	if (ioctl(fd, SHADOWMM_IOC_RECLAIM, &request))
		bad("reclaiming by hand", NULL);
	return request.pages;
}

/* --- all kinds at random ----------------------------------------------------------- */

#define HELD 4096

static void mix(long operations)
{
	static const unsigned int kinds[] = { KERNEL, MOVABLE, MOVABLE, ATOMIC, NOWAIT, NORETRY, MEMALLOC };
	static struct block held[HELD];
	unsigned int count = 0;

	for (long done = 0; operations < 0 || done < operations; done++) {
		unsigned int what = dice(1000);

		if (what < 550 && count < HELD) {
			unsigned int order = dice(3) ? dice(4) : dice(SHADOWMM_NR_ORDERS);
			unsigned int flags = dice(4) ? dice(4) : SHADOWMM_ALLOC_CACHE | SHADOWMM_ALLOC_MOVABLE;

			count += take(&held[count], order, kinds[dice(7)], flags);
		} else if (what < 900 && count) {
			unsigned int which = dice(count);

			give_back(&held[which]);
			held[which] = held[--count];
		} else if (what < 990 && count) {
			look(&held[dice(count)]);
		} else if (what >= 997) {
			by_hand(what - 997);
		}
	}
	while (count)
		give_back(&held[--count]);
}

/* --- more than there is, of what may be given up ---------------------------------------- */

static void cache(void)
{
	/* A region has 131,072 pages. */
	enum { BLOCKS = 140000 };
	struct block *held = calloc(BLOCKS, sizeof(*held));
	unsigned int lost = 0;

	for (unsigned int i = 0; i < BLOCKS; i++)
		if (!take(&held[i], 0, MOVABLE, SHADOWMM_ALLOC_CACHE))
			bad("no memory, although all of it may be given up", NULL);
	/* The last one is the newest of all at this moment or close to it. */
	look(&held[BLOCKS - 1]);
	for (unsigned int i = 0; i < BLOCKS; i++)
		lost += !give_back(&held[i]);
	if (!lost)
		bad("nothing was given up", NULL);
	free(held);
}

/* --- fragmentation ------------------------------------------------------------------- */

enum { LARGE = 32 };
/*
 * So many requests in a row may be refused: those that do not compact because it has failed the last times
 * (COMPACT_MAX_DEFER_SHIFT), as many again where the page blocks are marked as passed over by the compaction
 * before, which ends when kswapd goes to sleep (reset_isolation_suitable). On a slow machine that takes its time.
 */
enum { DEFERRED = 2 << 6, PATIENCE = 10 };

/* How many large blocks there were, up to LARGE. */
static unsigned int fragment(void)
{
	enum { BLOCKS = 1 << 17 };
	struct block *held = calloc(BLOCKS, sizeof(*held)), large[LARGE];
	unsigned int count = 0, left = 0, got = 0, refused = 0, in_a_row = 0;
	time_t last;
	__u64 moved;

	/* All of it, so that every page block has some. */
	while (count < BLOCKS && take(&held[count], 0, MOVABLE, SHADOWMM_ALLOC_MOVABLE))
		count++;
	/*
	 * Of sixteen pages one stays, now this and now that: where all have the same place, a look at every eighth
	 * page finds none of them, and no page block is given another chance (__reset_isolation_pfn).
	 */
	for (unsigned int i = 0; i < count; i++) {
		if (i % 16 == i / 16 * 2654435761u >> 28)
			held[left++] = held[i];
		else
			give_back(&held[i]);
	}
	by_hand(SHADOWMM_RECLAIM_DRAIN);
	/* There is no block of this order, and much room: some must be made. */
	last = time(NULL);
	while (got < LARGE && (in_a_row < DEFERRED || time(NULL) - last < PATIENCE)) {
		if (take(&large[got], 9, MOVABLE, SHADOWMM_ALLOC_MOVABLE)) {
			got++;
			in_a_row = 0;
			last = time(NULL);
		} else {
			refused++;
			in_a_row++;
			usleep(1000);
		}
	}
	printf("%u single pages, %u left, %u blocks of order 9 from between them, %u refused\n", count, left, got, refused);
	for (unsigned int i = 0; i < left; i++)
		look(&held[i]);
	for (unsigned int i = 0; i < got; i++)
		give_back(&large[i]);
	moved = by_hand(SHADOWMM_RECLAIM_COMPACT);
	printf("%llu pages moved by hand\n", moved);
	for (unsigned int i = 0; i < left; i++) {
		look(&held[i]);
		give_back(&held[i]);
	}
	free(held);
	return got;
}

/* --- compaction beside those who allocate ------------------------------------------------- */

/* Small blocks that may not move, until it is killed. */
static void nibble(void)
{
	enum { FEW = 128 };
	struct block held[FEW];
	unsigned int count = 0;

	for (;;) {
		if (count < FEW && dice(2)) {
			count += take(&held[count], dice(4), dice(2) ? KERNEL : ATOMIC, 0);
		} else if (count) {
			unsigned int which = dice(count);

			look(&held[which]);
			give_back(&held[which]);
			held[which] = held[--count];
		}
	}
}

static int race(int processes, int rounds)
{
	int failed = 0, status;
	pid_t pids[200];

	for (int i = 0; i < processes; i++) {
		seed += 2;
		pids[i] = fork_child();
		if (!pids[i]) {
			open_device();
			nibble();
		}
	}
	open_device();
	for (int round = 0; round < rounds; round++)
		failed |= !fragment();
	for (int i = 0; i < processes; i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], &status, 0);
		failed |= !WIFSIGNALED(status);
	}
	return failed;
}

int main(int argc, char **argv)
{
	int processes = argc > 2 ? atoi(argv[2]) : 1;
	int is_mix = argc == 5 && !strcmp(argv[1], "mix"), is_cache = argc == 3 && !strcmp(argv[1], "cache"), forever;

	if (argc == 2 && !strcmp(argv[1], "fragment")) {
		open_device();
		return fragment() != LARGE;
	}
	if (argc == 5 && !strcmp(argv[1], "race") && processes >= 1 && processes <= 200) {
		seed = (unsigned int)atol(argv[4]) * 2654435761u | 1;
		return race(processes, atoi(argv[3]));
	}
	if ((!is_mix && !is_cache) || processes < 1 || processes > 200) {
		fprintf(stderr, "usage: pressure mix PROCESSES OPERATIONS|forever SEED; cache PROCESSES; fragment; race PROCESSES ROUNDS SEED\n");
		return 2;
	}
	forever = is_mix && !strcmp(argv[3], "forever");
	for (int i = 0; i < processes; i++) {
		seed = (unsigned int)atol(argv[argc - 1]) * 2654435761u + (unsigned int)i * 40503u + 1;
		seed |= 1;
		if (fork_child() == 0) {
			open_device();
			if (is_mix)
				mix(forever ? -1 : atol(argv[3]));
			else
				cache();
			exit(0);
		}
	}
	return wait_for_children(forever);
}
