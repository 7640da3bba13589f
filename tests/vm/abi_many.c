// SPDX-License-Identifier: GPL-2.0
/* The ABI test: many pages at once, exact sizes, blocks that are split, merged and shared, policies. */
#include "abi.h"

enum { GFP_DMA = 1 << 0, GFP_HIGHMEM = 1 << 1, GFP_DMA32 = 1 << 2, GFP_MOVABLE = 1 << 3, GFP_THISNODE = 1 << 21 };

/* Numbers of pages: as many as a request can name, and a page more. */
static __u64 *pfns;

static __u64 held(void)
{
	struct shadowmm_rec_status now;

	status(&now);
	return now.held_pages;
}

static __u32 state_of(int fd, __u64 pfn, struct shadowmm_page *page)
{
	memset(page, 0, sizeof(*page));
	page->head.size = sizeof(*page);
	page->pfn = pfn;
	if (ask(fd, SHADOWMM_IOC_PAGE, page))
		expect("a page can be looked at", 0);
	return page->state;
}

static __u64 first_in(int fd, __u32 state)
{
	struct shadowmm_page page;

	for (__u64 pfn = 0; pfn < 65536; pfn++)
		if (state_of(fd, pfn, &page) == state)
			return pfn;
	expect("there is a page in each state", 0);
	return 0;
}

static __u64 alloc(int fd, __u32 order)
{
	struct shadowmm_alloc block = REQUEST(shadowmm_alloc);

	block.order = order;
	block.nid = -1;
	if (ask(fd, SHADOWMM_IOC_ALLOC, &block))
		expect("a block can be allocated", 0);
	return block.pfn;
}

static long release(int fd, __u64 pfn, __u32 order)
{
	struct shadowmm_free request = REQUEST(shadowmm_free);

	request.pfn = pfn;
	request.order = order;
	return ask(fd, SHADOWMM_IOC_FREE, &request);
}

/* --- BULK ------------------------------------------------------------------------ */

static struct shadowmm_bulk bulk_of(__u32 op, __u32 count)
{
	struct shadowmm_bulk bulk = REQUEST(shadowmm_bulk);

	bulk.op = op;
	bulk.count = count;
	bulk.nid = op == SHADOWMM_PAGES_ALLOC ? -1 : 0;
	bulk.pfns = address(pfns);
	return bulk;
}

static void not_freed_from(const char *name, int fd, __u32 count, const struct reason *why)
{
	struct shadowmm_bulk bulk = bulk_of(SHADOWMM_PAGES_FREE, count);

	refused(name, fd, SHADOWMM_IOC_BULK, &bulk, why);
}

static void bad_bulk(int fd)
{
	static const __u32 counts[] = { SHADOWMM_MAX_BULK + 1, 65536, 0x20000000, 0x80000000, 0xffffffff };
	static const __u32 ops[] = { 2, 3, 0x80000000, 0xffffffff };
	static const __s32 nodes[] = { -2, 7, 64, 0x7fffffff, (__s32)0x80000000 };
	struct shadowmm_bulk bulk;

	for (__u32 op = 0; op < 2; op++) {
		bulk = bulk_of(op, 0);
		refused("BULK: no pages", fd, SHADOWMM_IOC_BULK, &bulk, &NoPages);
		for (unsigned int i = 0; i < COUNT(counts); i++) {
			bulk = bulk_of(op, counts[i]);
			refused("BULK: more than a request may name", fd, SHADOWMM_IOC_BULK, &bulk, &TooManyPages);
		}
		bulk = bulk_of(op, 4);
		bulk.pfns = 0;
		refused("BULK: no memory for the numbers", fd, SHADOWMM_IOC_BULK, &bulk, &BadPointer);
		bulk.pfns = 1ULL << 63;
		refused("BULK: an address of the kernel's", fd, SHADOWMM_IOC_BULK, &bulk, &BadPointer);
		bulk.pfns = ~0ULL - 7;
		refused("BULK: an address at the end of all", fd, SHADOWMM_IOC_BULK, &bulk, &BadPointer);
	}
	for (unsigned int i = 0; i < COUNT(ops); i++) {
		bulk = bulk_of(0, 1);
		bulk.op = ops[i];
		refused("BULK: an unknown operation", fd, SHADOWMM_IOC_BULK, &bulk, &BadKind);
	}
	for (unsigned int i = 0; i < COUNT(nodes); i++) {
		bulk = bulk_of(SHADOWMM_PAGES_ALLOC, 8);
		bulk.nid = nodes[i];
		refused("BULK: a node that is not there", fd, SHADOWMM_IOC_BULK, &bulk, &NodeOffline);
	}
	bulk = bulk_of(SHADOWMM_PAGES_ALLOC, 8);
	bulk.gfp = 1u << 31;
	refused("BULK: unknown flags", fd, SHADOWMM_IOC_BULK, &bulk, &BadGfp);
	bulk.gfp = GFP_DMA | GFP_DMA32;
	refused("BULK: flags against each other", fd, SHADOWMM_IOC_BULK, &bulk, &BadGfp);
	bulk = bulk_of(SHADOWMM_PAGES_FREE, 1);
	bulk.gfp = 1;
	refused("BULK: flags where pages are freed", fd, SHADOWMM_IOC_BULK, &bulk, &BadReserved);
	bulk = bulk_of(SHADOWMM_PAGES_FREE, 1);
	bulk.nid = -1;
	refused("BULK: a node where pages are freed", fd, SHADOWMM_IOC_BULK, &bulk, &BadReserved);
}

/* Where the last number has no room, or none can be written, nothing is allocated. */
static void bulk_at_the_end(int fd)
{
	unsigned char *pages = sys_pages(2);
	struct shadowmm_bulk bulk = bulk_of(SHADOWMM_PAGES_ALLOC, 5);

	sys_mprotect(pages + PAGE, PAGE, PROT_NONE);
	bulk.pfns = address(pages + PAGE - 39);
	refused("BULK: room for four numbers and seven bytes", fd, SHADOWMM_IOC_BULK, &bulk, &BadPointer);
	bulk.op = SHADOWMM_PAGES_FREE;
	bulk.nid = 0;
	refused("BULK: four numbers and seven bytes to read", fd, SHADOWMM_IOC_BULK, &bulk, &BadPointer);
	sys_mprotect(pages, PAGE, PROT_READ);
	bulk = bulk_of(SHADOWMM_PAGES_ALLOC, 5);
	bulk.pfns = address(pages);
	refused("BULK: read-only room for the numbers", fd, SHADOWMM_IOC_BULK, &bulk, &BadPointer);
	sys_munmap(pages, 2 * PAGE);
}

static void bulk_life(int fd, int other, __u32 count, int order_of_free)
{
	struct shadowmm_bulk bulk = bulk_of(SHADOWMM_PAGES_ALLOC, count);
	__u64 before = everything();
	struct shadowmm_page page;
	int good = 1;

	accepted("BULK: allocate", fd, SHADOWMM_IOC_BULK, &bulk);
	expect("all pages came", bulk.done == count && bulk.stopped == 0 && held() == count);
	for (__u32 i = 0; i < count; i += 1 + count / 7)
		good &= state_of(fd, pfns[i], &page) == SHADOWMM_PAGE_ALLOCATED && page.order == 0 && page.count == 1 &&
			page.owner == SHADOWMM_OWNER_SELF;
	expect("they are single pages of this file", good);
	not_freed_from("BULK: pages of another", other, count, &NotOwner);
	for (__u32 i = 0; i < count / 2 && order_of_free; i++) {
		/* Backwards, or the second half between the first. */
		__u32 j = order_of_free == 1 ? count - 1 - i : (i | 1) + count / 2 - 1;
		__u64 pfn = pfns[i];

		pfns[i] = pfns[j];
		pfns[j] = pfn;
	}
	bulk = bulk_of(SHADOWMM_PAGES_FREE, count);
	accepted("BULK: free", fd, SHADOWMM_IOC_BULK, &bulk);
	expect("all pages went", bulk.done == count && bulk.stopped == 0 && held() == 0 && everything() == before);
	not_freed_from("BULK: pages that are free", fd, count, &DoubleFree);
}

/* Up to the first page that can't be freed; what is behind it stays. */
static void bulk_in_part(int fd, int other)
{
	__u64 before = everything(), block = alloc(fd, 3), theirs = alloc(other, 0);
	const struct { __u64 pfn; const struct reason *why; const char *name; } bad[] = {
		{ 1ULL << 52, &ForeignPfn, "a page frame that is not there" },
		{ ~0ULL, &ForeignPfn, "the last number of all" },
		{ first_in(fd, SHADOWMM_PAGE_RESERVED), &PageReserved, "a reserved page" },
		{ first_in(fd, SHADOWMM_PAGE_HOLE), &ForeignPfn, "a hole" },
		{ first_in(fd, SHADOWMM_PAGE_BUDDY), &DoubleFree, "a free page" },
		{ block, &WrongOrder, "a block of 8 pages" },
		{ block + 1, &NotBlockHead, "a page inside a block" },
		{ theirs, &NotOwner, "a page of another" },
	};

	for (unsigned int i = 0; i < COUNT(bad); i++) {
		struct shadowmm_bulk bulk = bulk_of(SHADOWMM_PAGES_ALLOC, 7);
		__u64 one;

		expect("seven pages", ask(fd, SHADOWMM_IOC_BULK, &bulk) == 0 && bulk.done == 7);
		one = pfns[4];
		pfns[4] = bad[i].pfn;
		bulk = bulk_of(SHADOWMM_PAGES_FREE, 7);
		accepted(bad[i].name, fd, SHADOWMM_IOC_BULK, &bulk);
		expect("it stops there and says why", bulk.done == 4 && bulk.stopped == bad[i].why->code && held() == 12);
		bulk = bulk_of(SHADOWMM_PAGES_FREE, 3);
		bulk.pfns = address(&pfns[4]);
		refused(bad[i].name, fd, SHADOWMM_IOC_BULK, &bulk, bad[i].why);
		pfns[4] = one;
		bulk.head.reason = 0;
		accepted("the rest", fd, SHADOWMM_IOC_BULK, &bulk);
		expect("the rest was still there", bulk.done == 3 && bulk.stopped == 0 && held() == 9);
	}
	struct shadowmm_bulk bulk = bulk_of(SHADOWMM_PAGES_ALLOC, 2);

	ask(fd, SHADOWMM_IOC_BULK, &bulk);
	pfns[2] = pfns[0];
	bulk = bulk_of(SHADOWMM_PAGES_FREE, 3);
	accepted("a page that is named twice", fd, SHADOWMM_IOC_BULK, &bulk);
	expect("is freed once", bulk.done == 2 && bulk.stopped == DoubleFree.code && held() == 9);
	release(fd, block, 3);
	release(other, theirs, 0);
	expect("all is as it was", everything() == before);
}

/* More than a zone has: what there is comes, and the answer says so. */
static void bulk_of_little(void)
{
	struct shadowmm_bulk bulk = bulk_of(SHADOWMM_PAGES_ALLOC, SHADOWMM_MAX_BULK);
	__u64 before = everything(), pages = 0;
	int fd = open_device();

	bulk.gfp = GFP_DMA;
	/* As often as a round takes something: what CPUs kept in the last can be had in the next. */
	for (__u64 taken = ~0ULL; taken != pages; everything()) {
		taken = pages;
		while (ask(fd, SHADOWMM_IOC_BULK, &bulk) == 0 && bulk.done) {
			pages += bulk.done;
			if (bulk.done > bulk.count || (bulk.done < bulk.count) != (bulk.stopped == NoMemory.code))
				expect("the number says whether it stopped", 0);
			/* A page each time, in the end: the room that is made for more would take most of the time. */
			bulk.count = 64;
		}
	}
	expect("some pages for devices", pages && pages == held());
	refused("BULK: none is left", fd, SHADOWMM_IOC_BULK, &bulk, &NoMemory);
	sys_close(fd);
	expect("closing the file gives them back", held() == 0 && everything() == before);
}

/* --- EXACT ----------------------------------------------------------------------- */

static struct shadowmm_exact exact_of(__u32 op, __u64 bytes)
{
	struct shadowmm_exact exact = REQUEST(shadowmm_exact);

	exact.op = op;
	exact.bytes = bytes;
	exact.nid = op == SHADOWMM_PAGES_ALLOC ? -1 : 0;
	return exact;
}

static void bad_exact(int fd)
{
	static const __u64 large[] = { (4 << 20) + 1, 8 << 20, 1ULL << 32, 1ULL << 44, 1ULL << 63, ~0ULL, ~0ULL - 4095 };
	struct shadowmm_exact exact;

	for (__u32 op = 0; op < 2; op++) {
		exact = exact_of(op, 0);
		refused("EXACT: no bytes", fd, SHADOWMM_IOC_EXACT, &exact, &NoPages);
		for (unsigned int i = 0; i < COUNT(large); i++) {
			exact = exact_of(op, large[i]);
			refused("EXACT: more than the largest block", fd, SHADOWMM_IOC_EXACT, &exact, &OrderTooLarge);
		}
	}
	exact = exact_of(2, 4096);
	refused("EXACT: an unknown operation", fd, SHADOWMM_IOC_EXACT, &exact, &BadKind);
	exact = exact_of(0, 4096);
	exact.nid = 64;
	refused("EXACT: a node that is not there", fd, SHADOWMM_IOC_EXACT, &exact, &NodeOffline);
	exact = exact_of(0, 4096);
	exact.gfp = 1u << 30;
	refused("EXACT: unknown flags", fd, SHADOWMM_IOC_EXACT, &exact, &BadGfp);
	exact = exact_of(1, 4096);
	exact.gfp = 1;
	refused("EXACT: flags where pages are freed", fd, SHADOWMM_IOC_EXACT, &exact, &BadReserved);
	exact = exact_of(1, 4096);
	exact.nid = 1;
	refused("EXACT: a node where pages are freed", fd, SHADOWMM_IOC_EXACT, &exact, &BadReserved);
	exact = exact_of(1, 2 << 20);
	exact.pfn = ~0ULL;
	refused("EXACT: from the last number of all on", fd, SHADOWMM_IOC_EXACT, &exact, &ForeignPfn);
}

static void exact_life(int fd, int other, __u64 bytes)
{
	struct shadowmm_exact exact = exact_of(SHADOWMM_PAGES_ALLOC, bytes), back;
	__u64 before = everything(), pages = (bytes + 4095) >> 12;
	struct shadowmm_page page;
	int good = 1;

	accepted("EXACT: allocate", fd, SHADOWMM_IOC_EXACT, &exact);
	expect("as many pages as the bytes need", held() == pages);
	for (__u64 i = 0; i < pages; i++)
		good &= state_of(fd, exact.pfn + i, &page) == SHADOWMM_PAGE_ALLOCATED && page.order == 0 &&
			page.owner == SHADOWMM_OWNER_SELF;
	expect("they are single pages in a row", good && page.nid == exact.page_nid && page.zone == exact.page_zone);
	back = exact_of(SHADOWMM_PAGES_FREE, bytes);
	back.pfn = exact.pfn;
	refused("EXACT: pages of another", other, SHADOWMM_IOC_EXACT, &back, &NotOwner);
	if (pages > 1) {
		expect("one of them on its own", release(fd, exact.pfn + pages - 1, 0) == 0);
		refused("EXACT: one of them is free", fd, SHADOWMM_IOC_EXACT, &back, &DoubleFree);
		back.bytes -= 4096;
	}
	back.head.reason = 0;
	accepted("EXACT: free", fd, SHADOWMM_IOC_EXACT, &back);
	expect("all is as it was", held() == 0 && everything() == before);
	refused("EXACT: twice", fd, SHADOWMM_IOC_EXACT, &back, &DoubleFree);
}

/* --- CONTIG ---------------------------------------------------------------------- */

static struct shadowmm_contig contig_of(__u32 op, __u64 pfn, __u64 pages)
{
	struct shadowmm_contig contig = REQUEST(shadowmm_contig);

	contig.op = op;
	contig.pfn = pfn;
	contig.pages = pages;
	contig.nid = op == SHADOWMM_CONTIG_ALLOC ? -1 : 0;
	return contig;
}

static void not_in_a_row(const char *name, int fd, struct shadowmm_contig contig, const struct reason *why)
{
	refused(name, fd, SHADOWMM_IOC_CONTIG, &contig, why);
}

enum { TAKE = SHADOWMM_CONTIG_ALLOC, BACK = SHADOWMM_CONTIG_FREE, THERE = SHADOWMM_CONTIG_RANGE };
enum { GFP_HIGH = 1 << 5, GFP_ZERO = 1 << 8, GFP_COMP = 1 << 18 };

static void bad_contig(int fd, int other)
{
	static const __u64 many[] = { SHADOWMM_MAX_CONTIG + 1, 1 << 20, 1ULL << 32, 1ULL << 52, 1ULL << 63, ~0ULL };
	static const __u64 nowhere[] = { 0xffffffff, 0x100000000, 1ULL << 52, 1ULL << 63, ~0ULL - 511, ~0ULL };
	__u64 before = everything(), mine = alloc(fd, 3);
	struct shadowmm_contig contig;

	for (__u32 op = 0; op < 3; op++) {
		not_in_a_row("CONTIG: no pages", fd, contig_of(op, mine, 0), &NoPages);
		for (unsigned int i = 0; i < COUNT(many); i++)
			not_in_a_row("CONTIG: more than a request may name", fd, contig_of(op, mine, many[i]), &TooManyPages);
	}
	not_in_a_row("CONTIG: an unknown operation", fd, contig_of(3, mine, 1), &BadKind);
	for (__u32 op = BACK; op <= THERE; op++) {
		contig = contig_of(op, mine, 1);
		contig.nid = -1;
		not_in_a_row("CONTIG: a node where none is asked for", fd, contig, &BadReserved);
		for (unsigned int i = 0; i < COUNT(nowhere); i++)
			not_in_a_row("CONTIG: page frames that are not there", fd, contig_of(op, nowhere[i], 4), &ForeignPfn);
	}
	contig = contig_of(BACK, mine, 1);
	contig.gfp = 1;
	not_in_a_row("CONTIG: flags where pages are freed", fd, contig, &BadReserved);
	for (__u32 op = TAKE; op <= THERE; op += THERE) {
		contig = contig_of(op, mine, 3);
		contig.gfp = 1u << 31;
		not_in_a_row("CONTIG: unknown flags", fd, contig, &BadGfp);
		contig.gfp = GFP_DMA | GFP_DMA32;
		not_in_a_row("CONTIG: flags against each other", fd, contig, &BadGfp);
		contig.gfp = 0xcc0 | GFP_HIGH;
		not_in_a_row("CONTIG: a flag that makes no sense here", fd, contig, &BadGfp);
		contig.gfp = 0xcc0 | GFP_COMP;
		not_in_a_row("CONTIG: one block of three pages", fd, contig, &OrderTooLarge);
	}
	contig = contig_of(TAKE, 0, 1);
	contig.nid = 64;
	not_in_a_row("CONTIG: a node that is not there", fd, contig, &NodeOffline);
	contig.nid = 7;
	not_in_a_row("CONTIG: another node that is not there", fd, contig, &NodeOffline);
	not_in_a_row("CONTIG: pages that are held", fd, contig_of(THERE, mine, 8), &NotMovable);
	not_in_a_row("CONTIG: a reserved page", fd, contig_of(THERE, first_in(fd, SHADOWMM_PAGE_RESERVED), 1), &NotMovable);
	not_in_a_row("CONTIG: a hole", fd, contig_of(THERE, first_in(fd, SHADOWMM_PAGE_HOLE), 1), &ForeignPfn);
	not_in_a_row("CONTIG: a block, freed as pages", fd, contig_of(BACK, mine, 8), &WrongOrder);
	not_in_a_row("CONTIG: the inside of a block", fd, contig_of(BACK, mine + 1, 7), &NotBlockHead);
	not_in_a_row("CONTIG: free pages", fd, contig_of(BACK, first_in(fd, SHADOWMM_PAGE_BUDDY), 1), &DoubleFree);
	not_in_a_row("CONTIG: somebody else's block", other, contig_of(BACK, mine, 8), &WrongOrder);
	release(fd, mine, 3);
	expect("all is as it was", everything() == before);
}

static void contig_life(int fd, int other, __u64 pages)
{
	struct shadowmm_contig contig = contig_of(TAKE, 0, pages);
	__u64 before = everything(), pfn;
	struct shadowmm_page page;
	int good = 1;

	accepted("CONTIG: anywhere", fd, SHADOWMM_IOC_CONTIG, &contig);
	expect("the pages are held", held() == pages);
	pfn = contig.pfn;
	for (__u64 i = 0; i < pages; i += 1 + pages / 50)
		good &= state_of(fd, pfn + i, &page) == SHADOWMM_PAGE_ALLOCATED && page.order == 0 && page.count == 1 &&
			page.owner == SHADOWMM_OWNER_SELF;
	expect("they are single pages in a row", good && page.nid == contig.page_nid && page.zone == contig.page_zone);
	not_in_a_row("CONTIG: what is held", other, contig_of(THERE, pfn, pages), &NotMovable);
	not_in_a_row("CONTIG: pages of another, freed", other, contig_of(BACK, pfn, pages), &NotOwner);
	if (pages > 1) {
		expect("one of them on its own", release(fd, pfn + pages / 2, 0) == 0);
		not_in_a_row("CONTIG: one of them is free", fd, contig_of(BACK, pfn, pages), &DoubleFree);
		contig = contig_of(BACK, pfn, pages / 2);
		accepted("CONTIG: those before it", fd, SHADOWMM_IOC_CONTIG, &contig);
	}
	if (pages != 2) {
		contig = contig_of(BACK, pages > 1 ? pfn + pages / 2 + 1 : pfn, pages > 1 ? pages - pages / 2 - 1 : 1);
		accepted("CONTIG: free", fd, SHADOWMM_IOC_CONTIG, &contig);
	}
	expect("all is as it was", held() == 0 && everything() == before);
	contig = contig_of(THERE, pfn, pages);
	contig.gfp = 0xcc0 | GFP_ZERO;
	accepted("CONTIG: the same pages, by their number", fd, SHADOWMM_IOC_CONTIG, &contig);
	expect("they are these", contig.pfn == pfn && held() == pages);
	contig = contig_of(BACK, pfn, pages);
	accepted("CONTIG: and back", fd, SHADOWMM_IOC_CONTIG, &contig);
	expect("all is as it was", held() == 0 && everything() == before);
	not_in_a_row("CONTIG: twice", fd, contig_of(BACK, pfn, pages), &DoubleFree);
}

static void contig_block(int fd)
{
	struct shadowmm_contig contig = contig_of(TAKE, 0, 512);
	__u64 before = everything();
	struct shadowmm_page page;

	contig.gfp = 0xcc0 | GFP_COMP;
	accepted("CONTIG: one block", fd, SHADOWMM_IOC_CONTIG, &contig);
	expect("it is one", state_of(fd, contig.pfn, &page) == SHADOWMM_PAGE_ALLOCATED && page.order == 9 &&
	       page.owner == SHADOWMM_OWNER_SELF && held() == 512);
	expect("and freed as one", release(fd, contig.pfn, 9) == 0 && everything() == before);
}

/* --- BLOCK ----------------------------------------------------------------------- */

static struct shadowmm_block block_of(__u32 op, __u64 pfn, __u32 order, __u32 to)
{
	struct shadowmm_block block = REQUEST(shadowmm_block);

	block.op = op;
	block.pfn = pfn;
	block.order = order;
	block.to = to;
	return block;
}

static void not_done(const char *name, int fd, struct shadowmm_block block, const struct reason *why)
{
	refused(name, fd, SHADOWMM_IOC_BLOCK, &block, why);
}

/* What it answered, or ~0. */
static __u32 done(int fd, struct shadowmm_block block)
{
	return ask(fd, SHADOWMM_IOC_BLOCK, &block) ? ~0u : block.count;
}

enum { SPLIT = SHADOWMM_BLOCK_SPLIT, MERGE = SHADOWMM_BLOCK_MERGE, GET = SHADOWMM_BLOCK_GET, PUT = SHADOWMM_BLOCK_PUT };

static void bad_blocks(int fd, int other)
{
	static const __u32 orders[] = { 11, 31, 32, 63, 64, 0x80000000, 0xffffffff };
	__u64 before = everything(), mine = alloc(fd, 4), free, reserved, hole, tail;

	free = first_in(fd, SHADOWMM_PAGE_BUDDY);
	reserved = first_in(fd, SHADOWMM_PAGE_RESERVED);
	hole = first_in(fd, SHADOWMM_PAGE_HOLE);
	tail = mine + 1;
	for (__u32 op = 4; op; op <<= 9)
		not_done("BLOCK: an unknown operation", fd, block_of(op, mine, 0, 0), &BadKind);
	for (unsigned int i = 0; i < COUNT(orders); i++) {
		not_done("SPLIT: an order too large", fd, block_of(SPLIT, mine, orders[i], 0), &OrderTooLarge);
		not_done("SPLIT: pieces too large", fd, block_of(SPLIT, mine, 4, orders[i]), &OrderTooLarge);
		not_done("MERGE: an order too large", fd, block_of(MERGE, mine, orders[i], 0), &OrderTooLarge);
	}
	not_done("MERGE: pieces named", fd, block_of(MERGE, mine, 4, 1), &BadReserved);
	not_done("GET: an order named", fd, block_of(GET, mine, 4, 0), &BadReserved);
	not_done("PUT: an order named", fd, block_of(PUT, mine, 4, 0), &BadReserved);
	not_done("GET: pieces named", fd, block_of(GET, mine, 0, 1), &BadReserved);

	for (__u32 to = 4; to <= 10; to++)
		not_done("SPLIT: to what is not smaller", fd, block_of(SPLIT, mine, 4, to), &BadPieces);
	not_done("SPLIT: another order than it has", fd, block_of(SPLIT, mine, 5, 0), &WrongOrder);
	not_done("SPLIT: a page inside", fd, block_of(SPLIT, tail, 1, 0), &NotBlockHead);
	not_done("SPLIT: somebody else's", other, block_of(SPLIT, mine, 4, 0), &NotOwner);
	not_done("SPLIT: somebody else's, at another order", other, block_of(SPLIT, mine, 3, 0), &WrongOrder);
	not_done("MERGE: one block", fd, block_of(MERGE, mine, 4, 0), &BadPieces);
	not_done("MERGE: to a single page", fd, block_of(MERGE, mine, 0, 0), &BadPieces);
	not_done("MERGE: half of a block", fd, block_of(MERGE, mine, 3, 0), &BadPieces);
	not_done("MERGE: where no such block starts", fd, block_of(MERGE, mine + 16, 10, 0), &BadPieces);
	not_done("MERGE: somebody else's", other, block_of(MERGE, mine, 4, 0), &NotOwner);
	not_done("PUT: somebody else's", other, block_of(PUT, mine, 0, 0), &NotOwner);
	not_done("PUT: a page inside", fd, block_of(PUT, tail, 0, 0), &NotBlockHead);

	static const __u64 nowhere[] = { 0xffffffff, 0x100000000, 1ULL << 52, 1ULL << 63, ~0ULL - 1023, ~0ULL };

	for (unsigned int i = 0; i < COUNT(nowhere); i++) {
		not_done("SPLIT: a page frame that is not there", fd, block_of(SPLIT, nowhere[i], 1, 0), &ForeignPfn);
		not_done("GET: a page frame that is not there", fd, block_of(GET, nowhere[i], 0, 0), &ForeignPfn);
		not_done("PUT: a page frame that is not there", fd, block_of(PUT, nowhere[i], 0, 0), &ForeignPfn);
		not_done("MERGE: a page frame that is not there", fd, block_of(MERGE, nowhere[i] & ~1ULL, 1, 0), &ForeignPfn);
	}
	for (__u32 op = GET; op <= PUT; op++) {
		not_done("GET, PUT: a free page", fd, block_of(op, free, 0, 0), &DoubleFree);
		not_done("GET, PUT: a reserved page", fd, block_of(op, reserved, 0, 0), &PageReserved);
		not_done("GET, PUT: a hole", fd, block_of(op, hole, 0, 0), &ForeignPfn);
	}
	not_done("GET: a page inside a block", other, block_of(GET, tail, 0, 0), &NotBlockHead);
	not_done("SPLIT: a reserved page", fd, block_of(SPLIT, reserved, 1, 0), &PageReserved);
	not_done("MERGE: free pages", fd, block_of(MERGE, free & ~1ULL, 1, 0), &DoubleFree);
	release(fd, mine, 4);
	expect("all is as it was", everything() == before);
}

static void split_and_merge(int fd, int other)
{
	__u64 before = everything(), pfn = alloc(fd, 5);
	struct shadowmm_page page;

	expect("SPLIT to order 3", done(fd, block_of(SPLIT, pfn, 5, 3)) == 4 && held() == 32);
	expect("and one of those to single pages", done(fd, block_of(SPLIT, pfn + 8, 3, 0)) == 8 && held() == 32);
	expect("what a piece is", state_of(other, pfn + 24, &page) == SHADOWMM_PAGE_ALLOCATED && page.order == 3 &&
	       page.count == 1 && page.owner == SHADOWMM_OWNER_OTHER);
	not_done("SPLIT: twice", fd, block_of(SPLIT, pfn, 5, 3), &WrongOrder);
	not_done("MERGE: somebody else's pieces", other, block_of(MERGE, pfn, 5, 0), &NotOwner);
	expect("a piece is freed on its own", release(fd, pfn + 9, 0) == 0 && held() == 31);
	not_done("MERGE: a piece is free", fd, block_of(MERGE, pfn, 5, 0), &DoubleFree);
	not_done("MERGE: across a smaller block's border", fd, block_of(MERGE, pfn + 8 + 3, 1, 0), &BadPieces);
	expect("MERGE of single pages", done(fd, block_of(MERGE, pfn + 12, 2, 0)) == 4 && held() == 31);
	expect("MERGE of two blocks", done(fd, block_of(MERGE, pfn + 16, 4, 0)) == 2 && held() == 31);
	expect("what it became", state_of(other, pfn + 16, &page) == SHADOWMM_PAGE_ALLOCATED && page.order == 4 &&
	       page.count == 1 && page.owner == SHADOWMM_OWNER_OTHER &&
	       state_of(fd, pfn + 24, &page) == SHADOWMM_PAGE_TAIL && page.owner == SHADOWMM_OWNER_SELF);
	expect("the pieces go back", release(fd, pfn, 3) == 0 && release(fd, pfn + 8, 0) == 0 &&
	       release(fd, pfn + 10, 0) == 0 && release(fd, pfn + 11, 0) == 0 && release(fd, pfn + 12, 2) == 0 &&
	       release(fd, pfn + 16, 4) == 0);
	expect("all is as it was", held() == 0 && everything() == before);

	pfn = alloc(fd, 10);
	expect("the largest to single pages", done(fd, block_of(SPLIT, pfn, 10, 0)) == 1024 && held() == 1024);
	expect("and back", done(fd, block_of(MERGE, pfn, 10, 0)) == 1024 && held() == 1024);
	expect("it is one block", release(fd, pfn, 10) == 0 && everything() == before);
}

static void references(int fd, int other)
{
	__u64 before = everything(), pfn = alloc(fd, 3);
	struct shadowmm_block block = block_of(GET, pfn, 0, 0);
	struct shadowmm_page page;
	int third = open_device();

	accepted("GET: another's block", other, SHADOWMM_IOC_BLOCK, &block);
	expect("its order and its references", block.order == 3 && block.count == 2);
	expect("GET: one's own", done(fd, block_of(GET, pfn, 0, 0)) == 3);
	expect("GET: of a third", done(third, block_of(GET, pfn, 0, 0)) == 4);
	expect("the pages are held once", held() == 8);
	expect("it belongs to each of them", state_of(other, pfn, &page) == SHADOWMM_PAGE_ALLOCATED && page.count == 4 &&
	       page.owner == SHADOWMM_OWNER_SELF && state_of(fd, pfn, &page) && page.owner == SHADOWMM_OWNER_SELF);
	not_done("SPLIT: a block that others hold", fd, block_of(SPLIT, pfn, 3, 0), &Shared);
	not_done("SPLIT: likewise, by another holder", other, block_of(SPLIT, pfn, 3, 0), &Shared);
	sys_close(third);
	expect("PUT of one", done(fd, block_of(PUT, pfn, 0, 0)) == 2 && held() == 8);
	expect("FREE is one reference less", release(fd, pfn, 3) == 0 && held() == 8);
	not_done("PUT: more often than GET", fd, block_of(PUT, pfn, 0, 0), &NotOwner);
	expect("the second holder still has it", state_of(other, pfn, &page) == SHADOWMM_PAGE_ALLOCATED && page.count == 1 &&
	       page.owner == SHADOWMM_OWNER_SELF);
	expect("who has it alone can split it", done(other, block_of(SPLIT, pfn, 3, 2)) == 2);
	expect("GET: a piece", done(fd, block_of(GET, pfn + 4, 0, 0)) == 2);
	not_done("MERGE: a piece that others hold", other, block_of(MERGE, pfn, 3, 0), &Shared);
	expect("PUT: the piece", done(other, block_of(PUT, pfn + 4, 0, 0)) == 1);
	expect("the last one frees it", done(fd, block_of(PUT, pfn + 4, 0, 0)) == 0 &&
	       done(other, block_of(PUT, pfn, 0, 0)) == 0);
	expect("all is as it was", held() == 0 && everything() == before);
	not_done("PUT: a block that went back", other, block_of(PUT, pfn, 0, 0), &DoubleFree);

	/* Pages that are freed many at once, and of which others need some. */
	struct shadowmm_bulk bulk = bulk_of(SHADOWMM_PAGES_ALLOC, 64);

	accepted("BULK: to be shared", fd, SHADOWMM_IOC_BULK, &bulk);
	for (int i = 0; i < 64; i += 5)
		if (done(other, block_of(GET, pfns[i], 0, 0)) != 2)
			expect("GET: a page of many", 0);
	bulk = bulk_of(SHADOWMM_PAGES_FREE, 64);
	accepted("BULK: shared pages are given up", fd, SHADOWMM_IOC_BULK, &bulk);
	expect("those of the others stay", bulk.done == 64 && held() == 13);
	for (int i = 0; i < 64; i += 5)
		if (done(other, block_of(PUT, pfns[i], 0, 0)) != 0)
			expect("PUT: a page of many", 0);
	expect("all is as it was", held() == 0 && everything() == before);

	/* One after the other dies. */
	int one = open_device(), two = open_device();

	pfn = alloc(one, 6);
	for (int i = 0; i < 1000; i++)
		done(one, block_of(GET, pfn, 0, 0));
	expect("a thousand references and one of another's", done(two, block_of(GET, pfn, 0, 0)) == 1002);
	sys_close(one);
	expect("the owner's end", held() == 64 && state_of(two, pfn, &page) == SHADOWMM_PAGE_ALLOCATED && page.count == 1);
	sys_close(two);
	expect("the last holder's end", held() == 0 && everything() == before);

	pfn = alloc(fd, 0);
	for (int i = 1; i < 65536; i++)
		if (done(fd, block_of(GET, pfn, 0, 0)) != (__u32)i + 1)
			expect("GET: as often as one likes", 0);
	not_done("GET: too often", fd, block_of(GET, pfn, 0, 0), &TooManyReferences);
	for (int i = 0; i < 65535; i++)
		done(fd, block_of(PUT, pfn, 0, 0));
	expect("as often back", release(fd, pfn, 0) == 0 && everything() == before);
}

/* --- POLICY ---------------------------------------------------------------------- */

static struct shadowmm_policy policy_of(__u32 mode, __u64 nodes)
{
	struct shadowmm_policy policy = REQUEST(shadowmm_policy);

	policy.op = SHADOWMM_POLICY_SET;
	policy.mode = mode;
	policy.nodes = nodes;
	return policy;
}

static void bad_policies(int fd)
{
	static const __u32 modes[] = { 4, 5, 0x80000000, 0xffffffff };
	static const __u64 offline[] = { 1ULL << 7, 1ULL << 63, ~0ULL, 1 | 1ULL << 40 };
	struct shadowmm_policy policy = policy_of(SHADOWMM_POLICY_BIND, 1);

	policy.op = 2;
	refused("POLICY: an unknown operation", fd, SHADOWMM_IOC_POLICY, &policy, &BadKind);
	for (unsigned int i = 0; i < COUNT(modes); i++)
		for (__u64 nodes = 0; nodes < 2; nodes++) {
			policy = policy_of(modes[i], nodes);
			refused("POLICY: an unknown mode", fd, SHADOWMM_IOC_POLICY, &policy, &BadKind);
		}
	policy = policy_of(SHADOWMM_POLICY_LOCAL, 1);
	refused("POLICY: local, and nodes", fd, SHADOWMM_IOC_POLICY, &policy, &BadPolicy);
	for (__u32 mode = SHADOWMM_POLICY_PREFERRED; mode <= SHADOWMM_POLICY_INTERLEAVE; mode++) {
		policy = policy_of(mode, 0);
		refused("POLICY: no nodes", fd, SHADOWMM_IOC_POLICY, &policy, &BadPolicy);
		for (unsigned int i = 0; i < COUNT(offline); i++) {
			policy = policy_of(mode, offline[i]);
			refused("POLICY: a node that is not there", fd, SHADOWMM_IOC_POLICY, &policy, &NodeOffline);
		}
	}
	policy.op = SHADOWMM_POLICY_GET;
	accepted("POLICY: ask", fd, SHADOWMM_IOC_POLICY, &policy);
	expect("no refusal has changed it", policy.mode == SHADOWMM_POLICY_LOCAL && policy.nodes == 0);
}

/* The nodes of eight pages, one digit each, the first highest. */
static __u32 eight(int fd, __s32 nid)
{
	__u32 nodes = 0;
	__u64 pages[8];

	for (int i = 0; i < 8; i++) {
		struct shadowmm_alloc block = REQUEST(shadowmm_alloc);

		block.nid = nid;
		if (ask(fd, SHADOWMM_IOC_ALLOC, &block))
			return ~0u;
		pages[i] = block.pfn;
		nodes = nodes << 4 | (__u32)block.page_nid;
	}
	for (int i = 0; i < 8; i++)
		release(fd, pages[i], 0);
	return nodes;
}

static void policies(int other)
{
	__u64 before = everything();
	int fd = open_device();
	struct shadowmm_policy policy = policy_of(SHADOWMM_POLICY_INTERLEAVE, 3);
	struct shadowmm_bulk bulk = bulk_of(SHADOWMM_PAGES_ALLOC, 5);
	struct shadowmm_page page;
	__u32 nodes = 0;

	accepted("POLICY: interleave", fd, SHADOWMM_IOC_POLICY, &policy);
	expect("the nodes in turn", eight(fd, -1) == 0x01010101);
	expect("a request that names its node", eight(fd, 1) == 0x11111111);
	policy = policy_of(0, 0);
	policy.op = SHADOWMM_POLICY_GET;
	accepted("POLICY: ask", fd, SHADOWMM_IOC_POLICY, &policy);
	expect("what was set", policy.mode == SHADOWMM_POLICY_INTERLEAVE && policy.nodes == 3);
	accepted("POLICY: ask for another's", other, SHADOWMM_IOC_POLICY, &policy);
	expect("it has its own", policy.mode == SHADOWMM_POLICY_LOCAL && policy.nodes == 0);
	accepted("BULK: shared out", fd, SHADOWMM_IOC_BULK, &bulk);
	for (int i = 0; i < 5; i++) {
		state_of(fd, pfns[i], &page);
		nodes = nodes << 4 | (__u32)page.nid;
	}
	expect("each node its share", bulk.done == 5 && nodes == 0x00011);
	bulk = bulk_of(SHADOWMM_PAGES_FREE, 5);
	accepted("BULK: and back", fd, SHADOWMM_IOC_BULK, &bulk);
	policy = policy_of(SHADOWMM_POLICY_BIND, 2);
	accepted("POLICY: bind", fd, SHADOWMM_IOC_POLICY, &policy);
	expect("that node", eight(fd, -1) == 0x11111111);
	policy = policy_of(SHADOWMM_POLICY_PREFERRED, 2);
	accepted("POLICY: preferred", fd, SHADOWMM_IOC_POLICY, &policy);
	expect("that node", eight(fd, -1) == 0x11111111);
	policy = policy_of(SHADOWMM_POLICY_PREFERRED, 3);
	accepted("POLICY: preferred, two", fd, SHADOWMM_IOC_POLICY, &policy);
	expect("the first of them", eight(fd, -1) == 0);
	policy = policy_of(SHADOWMM_POLICY_LOCAL, 0);
	accepted("POLICY: local", fd, SHADOWMM_IOC_POLICY, &policy);
	sys_close(fd);
	expect("all is as it was", held() == 0 && everything() == before);
}

/* The areas of the other page allocator: none here, and as for any report their size must be known. */
static void areas(int fd)
{
	struct shadowmm_report report = REQUEST(shadowmm_report);

	report.kind = SHADOWMM_REPORT_AREAS;
	report.record_size = sizeof(struct shadowmm_rec_area);
	accepted("REPORT: areas", fd, SHADOWMM_IOC_REPORT, &report);
	expect("the buddy system has none", report.count == 0);
	report.record_size--;
	refused("REPORT: areas of another size", fd, SHADOWMM_IOC_REPORT, &report, &BadSize);
}

void test_many(void)
{
	static const __u64 rows[] = { 1, 2, 5, 512, 777, 1024, 5000 };
	static const __u32 counts[] = { 1, 2, 63, 1024, SHADOWMM_MAX_BULK };
	static const __u64 sizes[] = { 1, 4096, 4097, 12345, 100000, 1 << 20, (2 << 20) + 1, 4 << 20 };
	int fd = open_device(), other = open_device();

	pfns = sys_pages(SHADOWMM_MAX_BULK * sizeof(*pfns) / PAGE + 1);
	bad_bulk(fd);
	bulk_at_the_end(fd);
	for (unsigned int i = 0; i < COUNT(counts); i++)
		for (int order = 0; order < 3; order++)
			bulk_life(fd, other, counts[i], order);
	bulk_in_part(fd, other);
	bulk_of_little();
	bad_exact(fd);
	for (unsigned int i = 0; i < COUNT(sizes); i++)
		exact_life(fd, other, sizes[i]);
	bad_contig(fd, other);
	for (unsigned int i = 0; i < COUNT(rows); i++)
		contig_life(fd, other, rows[i]);
	contig_block(fd);
	bad_blocks(fd, other);
	split_and_merge(fd, other);
	references(fd, other);
	bad_policies(fd);
	policies(other);
	areas(fd);
	sys_close(other);
	sys_close(fd);
}
