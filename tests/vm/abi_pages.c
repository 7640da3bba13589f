// SPDX-License-Identifier: GPL-2.0
/* The ABI test: blocks are allocated, looked at and freed, by those who may and by those who may not. */
#include "abi.h"

enum { GFP_DMA = 1 << 0, GFP_HIGHMEM = 1 << 1, GFP_DMA32 = 1 << 2, GFP_MOVABLE = 1 << 3, GFP_THISNODE = 1 << 21 };

static struct shadowmm_alloc block_of(__u32 order)
{
	struct shadowmm_alloc block = REQUEST(shadowmm_alloc);

	block.order = order;
	block.nid = -1;
	return block;
}

static long free_block(int fd, __u64 pfn, __u32 order)
{
	struct shadowmm_free request = REQUEST(shadowmm_free);

	request.pfn = pfn;
	request.order = order;
	return ask(fd, SHADOWMM_IOC_FREE, &request);
}

static void not_freed(const char *name, int fd, __u64 pfn, __u32 order, const struct reason *why)
{
	struct shadowmm_free request = REQUEST(shadowmm_free);

	request.pfn = pfn;
	request.order = order;
	refused(name, fd, SHADOWMM_IOC_FREE, &request, why);
}

static struct shadowmm_page look(int fd, __u64 pfn)
{
	struct shadowmm_page page = REQUEST(shadowmm_page);

	page.pfn = pfn;
	if (ask(fd, SHADOWMM_IOC_PAGE, &page))
		expect("a page can be looked at", 0);
	return page;
}

static __u64 held(void)
{
	struct shadowmm_rec_status now;

	status(&now);
	return now.held_pages;
}

/* --- requests that are refused ---------------------------------------------------- */

static void bad_requests(int fd)
{
	static const __u32 orders[] = { SHADOWMM_NR_ORDERS, 31, 32, 64, 0x80000000, 0xffffffff };
	static const __s32 nodes[] = { -2, 7, 63, 64, 1024, 0x7fffffff, (__s32)0x80000000 };
	static const __u32 flags[] = {
		1u << 31, 1u << 30, 0x01000000, 0xffffffff, GFP_DMA | GFP_DMA32, GFP_DMA | GFP_HIGHMEM,
		GFP_HIGHMEM | GFP_DMA32, GFP_MOVABLE | GFP_DMA | GFP_DMA32, GFP_DMA | GFP_HIGHMEM | GFP_DMA32 | GFP_MOVABLE,
	};
	struct shadowmm_alloc request;
	unsigned int i;

	for (i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		request = block_of(orders[i]);
		refused("ALLOC: an order too large", fd, SHADOWMM_IOC_ALLOC, &request, &OrderTooLarge);
		not_freed("FREE: an order too large", fd, 4096, orders[i], &OrderTooLarge);
	}
	for (i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
		request = block_of(0);
		request.nid = nodes[i];
		refused("ALLOC: a node that is not there", fd, SHADOWMM_IOC_ALLOC, &request, &NodeOffline);
	}
	for (i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		request = block_of(0);
		request.gfp = flags[i];
		refused("ALLOC: flags unknown or against each other", fd, SHADOWMM_IOC_ALLOC, &request, &BadGfp);
	}
}

static void foreign_pages(int fd)
{
	static const __u64 foreign[] = { 0xffffffff, 0x100000000, 0x100000001, 1ULL << 52, 1ULL << 63, ~0ULL, ~0ULL - 1023 };
	struct shadowmm_page page = REQUEST(shadowmm_page);
	unsigned int i;

	for (i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
		not_freed("FREE: a page frame that is not there", fd, foreign[i], 0, &ForeignPfn);
		not_freed("FREE: a block that is not there", fd, foreign[i], 10, &ForeignPfn);
		page.pfn = foreign[i];
		refused("PAGE: a page frame that is not there", fd, SHADOWMM_IOC_PAGE, &page, &ForeignPfn);
	}
}

/* The first page frame in a state; the shadow has all of them below 16 MiB. */
static __u64 first_in(int fd, __u32 state)
{
	__u64 pfn = 0;

	while (pfn < 65536) {
		struct shadowmm_page page = REQUEST(shadowmm_page);

		page.pfn = pfn;
		if (ask(fd, SHADOWMM_IOC_PAGE, &page) == 0 && page.state == state)
			return pfn;
		pfn++;
	}
	expect("there is a page in each state", 0);
	return 0;
}

static void pages_of_others(int fd)
{
	__u64 free = first_in(fd, SHADOWMM_PAGE_BUDDY);
	__u32 order = look(fd, free).order;

	not_freed("FREE: a reserved page", fd, first_in(fd, SHADOWMM_PAGE_RESERVED), 0, &PageReserved);
	not_freed("FREE: a hole of the map", fd, first_in(fd, SHADOWMM_PAGE_HOLE), 0, &ForeignPfn);
	not_freed("FREE: a page that is free", fd, free, order, &DoubleFree);
	not_freed("FREE: a page that is free, at another order", fd, free, order ? order - 1 : 1, &DoubleFree);
	free = first_in(fd, SHADOWMM_PAGE_TAIL);
	not_freed("FREE: a page inside a free block", fd, free, 0, &DoubleFree);
}

/* --- a block's life ------------------------------------------------------------------ */

static void life(int fd, int other, __u32 order)
{
	struct shadowmm_alloc block = block_of(order);
	__u64 before = everything(), pages = 1ULL << order;
	struct shadowmm_page page;

	accepted("ALLOC", fd, SHADOWMM_IOC_ALLOC, &block);
	expect("the pages are held", held() == pages);
	expect("the block is aligned", (block.pfn & (pages - 1)) == 0);

	page = look(fd, block.pfn);
	expect("its first page", page.state == SHADOWMM_PAGE_ALLOCATED && page.head_state == page.state &&
	       page.order == order && page.head_pfn == block.pfn && page.count == 1 &&
	       page.nid == block.page_nid && page.zone == block.page_zone && page.owner == SHADOWMM_OWNER_SELF);
	page = look(other, block.pfn);
	expect("its first page, seen by another", page.owner == SHADOWMM_OWNER_OTHER && page.count == 1);
	if (order) {
		page = look(other, block.pfn + pages - 1);
		expect("its last page", page.state == SHADOWMM_PAGE_TAIL && page.head_state == SHADOWMM_PAGE_ALLOCATED &&
		       page.order == order && page.head_pfn == block.pfn && page.owner == SHADOWMM_OWNER_OTHER);
		not_freed("FREE: a page inside the block", fd, block.pfn + pages - 1, 0, &NotBlockHead);
		not_freed("FREE: half of the block", fd, block.pfn, order - 1, &WrongOrder);
	}
	if (order < 10)
		not_freed("FREE: more than the block", fd, block.pfn, order + 1, &WrongOrder);
	not_freed("FREE: the block of another", other, block.pfn, order, &NotOwner);
	not_freed("FREE: the block of another, at a wrong order", other, block.pfn, order ? 0 : 1, &WrongOrder);

	expect("FREE", free_block(fd, block.pfn, order) == 0);
	expect("all is as it was", everything() == before);
	not_freed("FREE: twice", fd, block.pfn, order, &DoubleFree);
	page = look(fd, block.pfn);
	expect("a free page has no owner", page.owner == SHADOWMM_OWNER_NONE && page.count == 0 &&
	       (page.state == SHADOWMM_PAGE_BUDDY || page.state == SHADOWMM_PAGE_TAIL));
}

static void zones(int fd)
{
	static const struct { const char *name; __u32 gfp, zone; } wanted[] = {
		{ "a page of ZONE_DMA", GFP_DMA, 0 },
		{ "a page of ZONE_DMA32", GFP_DMA32, 1 },
		{ "a page for the kernel", 0, 2 },
		{ "a movable page", GFP_HIGHMEM | GFP_MOVABLE, 3 },
	};
	struct shadowmm_alloc block;

	for (unsigned int i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		block = block_of(0);
		block.gfp = wanted[i].gfp;
		block.nid = 0;
		expect(wanted[i].name, ask(fd, SHADOWMM_IOC_ALLOC, &block) == 0 && block.page_nid == 0 &&
		       block.page_zone == wanted[i].zone && free_block(fd, block.pfn, 0) == 0);
	}
	for (__s32 nid = 0; nid < 2; nid++) {
		block = block_of(3);
		block.gfp = GFP_HIGHMEM | GFP_MOVABLE | GFP_THISNODE;
		block.nid = nid;
		expect("a block of that node", ask(fd, SHADOWMM_IOC_ALLOC, &block) == 0 && block.page_nid == nid &&
		       free_block(fd, block.pfn, 3) == 0);
	}
}

/* Takes all that can be had; closing the file brings it back, and nothing else does. */
static void all_of_it(int other)
{
	__u64 before = everything(), blocks = 0;
	struct shadowmm_rec_status now;
	int fd = open_device();

	/* As often as a round takes something: what CPUs kept in the last can be had in the next. */
	for (__u64 taken = ~0ULL; taken != blocks; everything()) {
		taken = blocks;
		for (__u32 order = 10; order <= 10; order--) {
			struct shadowmm_alloc block = block_of(order);

			block.gfp = GFP_HIGHMEM | GFP_MOVABLE;
			while (ask(fd, SHADOWMM_IOC_ALLOC, &block) == 0) {
				blocks++;
				block.head.reason = 0;
			}
		}
	}
	struct shadowmm_alloc block = block_of(0);

	block.gfp = GFP_HIGHMEM | GFP_MOVABLE;
	refused("ALLOC: no memory is left", fd, SHADOWMM_IOC_ALLOC, &block, &NoMemory);
	refused("ALLOC: no memory is left for another", other, SHADOWMM_IOC_ALLOC, &block, &NoMemory);
	status(&now);
	expect("what is held and what is free is all there is", blocks > 100 && now.held_pages > now.managed_pages / 2 &&
	       now.held_pages + now.free_pages == now.managed_pages);
	struct shadowmm_stage reset = REQUEST(shadowmm_stage);

	reset.op = SHADOWMM_STAGE_RESET;
	refused("STAGE: back while pages are held", other, SHADOWMM_IOC_STAGE, &reset, &PagesHeld);
	sys_close(fd);
	expect("closing the file gives all of it back", everything() == before && held() == 0);
}

/* Where pages lie in the host is told to those with CAP_SYS_ADMIN only, whoever opened the file. */
static void secrets(int fd)
{
	struct shadowmm_rec_segment segments[16];
	__u64 pfn = first_in(fd, SHADOWMM_PAGE_BUDDY);
	__u32 count = records(SHADOWMM_REPORT_SEGMENTS, sizeof(segments[0]), segments, 16);
	int result = 1;
	long child;

	expect("root sees the host's frames", look(fd, pfn).host_pfn != ~0ULL && count && segments[0].host_pfn != ~0ULL);
	child = sys_fork();
	if (child == 0) {
		sys_setuid_for_good(65534);
		count = records(SHADOWMM_REPORT_SEGMENTS, sizeof(segments[0]), segments, 16);
		sys_exit(!(look(fd, pfn).host_pfn == ~0ULL && count && segments[0].host_pfn == ~0ULL));
	}
	sys_wait(child, &result);
	expect("nobody does not see them", result == 0);
}

/* A child's copy of the descriptor is the same open file: its blocks live until the last is closed. */
static void shared_files(void)
{
	__u64 before = everything();
	struct shadowmm_alloc block = block_of(4);
	int fd = open_device(), result = 1;
	long child = sys_fork();

	if (child == 0)
		sys_exit(ask(fd, SHADOWMM_IOC_ALLOC, &block) != 0);
	sys_wait(child, &result);
	expect("what a child allocated stays while its parent has the file", result == 0 && held() == 16);
	sys_close(fd);
	expect("and goes with the last", held() == 0 && everything() == before);
}

/* Blocks that the file knows by a handle. */
static void handles(int fd, int other)
{
	__u64 before = everything();
	struct shadowmm_alloc block = block_of(3);
	struct shadowmm_free free = REQUEST(shadowmm_free);
	struct shadowmm_page page = REQUEST(shadowmm_page);
	struct shadowmm_block get = REQUEST(shadowmm_block);
	struct shadowmm_reclaim reclaim = REQUEST(shadowmm_reclaim);

	block.head.flags = SHADOWMM_ALLOC_MOVABLE;
	block.head.size = __builtin_offsetof(struct shadowmm_alloc, handle);
	refused("ALLOC: no room for the handle", fd, SHADOWMM_IOC_ALLOC, &block, &BadSize);
	block = block_of(3);
	accepted("ALLOC: without a handle", fd, SHADOWMM_IOC_ALLOC, &block);
	expect("there is none", block.handle == 0 && free_block(fd, block.pfn, 3) == 0);
	block.head.flags = SHADOWMM_ALLOC_MOVABLE;
	accepted("ALLOC: a block that may move", fd, SHADOWMM_IOC_ALLOC, &block);
	expect("it has a handle, and its pages are held", block.handle != 0 && held() == 8);

	page.head.flags = free.head.flags = SHADOWMM_BY_HANDLE;
	page.pfn = free.pfn = block.handle;
	free.order = 3;
	accepted("PAGE: by its handle", fd, SHADOWMM_IOC_PAGE, &page);
	expect("it is where it was", page.head_pfn == block.pfn && page.pfn == block.handle && page.order == 3 &&
	       page.owner == SHADOWMM_OWNER_SELF && page.state == SHADOWMM_PAGE_ALLOCATED);
	expect("seen by its place, too", look(fd, block.pfn).owner == SHADOWMM_OWNER_SELF &&
	       look(other, block.pfn).owner == SHADOWMM_OWNER_OTHER);
	refused("PAGE: by the handle of another", other, SHADOWMM_IOC_PAGE, &page, &NoSuchHandle);
	refused("FREE: by the handle of another", other, SHADOWMM_IOC_FREE, &free, &NoSuchHandle);
	not_freed("FREE: by its place", fd, block.pfn, 3, &NotOwner);
	free.order = 2;
	refused("FREE: by its handle at another order", fd, SHADOWMM_IOC_FREE, &free, &WrongOrder);
	get.op = SHADOWMM_BLOCK_GET;
	get.pfn = block.pfn;
	refused("BLOCK: a reference to what may move", other, SHADOWMM_IOC_BLOCK, &get, &MayMove);
	free.order = 3;
	accepted("FREE: by its handle", fd, SHADOWMM_IOC_FREE, &free);
	refused("FREE: by its handle, twice", fd, SHADOWMM_IOC_FREE, &free, &NoSuchHandle);
	refused("PAGE: by a handle that was", fd, SHADOWMM_IOC_PAGE, &page, &NoSuchHandle);
	expect("all is as it was", everything() == before);

	block.head.flags = SHADOWMM_ALLOC_CACHE;
	accepted("ALLOC: a block that may be given up", fd, SHADOWMM_IOC_ALLOC, &block);
	reclaim.op = SHADOWMM_RECLAIM_SHRINK;
	refused("RECLAIM: caches of one node", fd, SHADOWMM_IOC_RECLAIM, &reclaim, &BadKind);
	reclaim.nid = -1;
	accepted("RECLAIM: caches", fd, SHADOWMM_IOC_RECLAIM, &reclaim);
	expect("it was given up", reclaim.pages == 8 && held() == 0 && everything() == before);
	free.pfn = block.handle;
	refused("FREE: what was given up", fd, SHADOWMM_IOC_FREE, &free, &NoSuchHandle);
	for (__u32 op = 0; op < 2; op++) {
		reclaim.op = op;
		reclaim.nid = 9;
		refused("RECLAIM: of a node that is not there", fd, SHADOWMM_IOC_RECLAIM, &reclaim, &NodeOffline);
	}
	reclaim.op = 99;
	reclaim.nid = -1;
	refused("RECLAIM: an operation that there is not", fd, SHADOWMM_IOC_RECLAIM, &reclaim, &BadKind);
}

void test_pages(void)
{
	int fd = open_device(), other = open_device();

	bad_requests(fd);
	foreign_pages(fd);
	pages_of_others(fd);
	for (__u32 order = 0; order < SHADOWMM_NR_ORDERS; order++)
		life(fd, other, order);
	zones(fd);
	all_of_it(other);
	secrets(fd);
	shared_files();
	handles(fd, other);
	sys_close(other);
	sys_close(fd);
}
