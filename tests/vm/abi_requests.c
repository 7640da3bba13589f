// SPDX-License-Identifier: GPL-2.0
/* The ABI test: what holds for every request, its head, its size and where it lies. */
#include "abi.h"

struct request {
	const char *name;
	unsigned int number;
	__u32 size;
	/* Where a reserved field lies, or 0. */
	__u32 reserved;
	/* The flags that it has, and the size of its first version where it has grown. */
	__u32 flags, first;
};

#define FIELD(type, field) __builtin_offsetof(struct type, field)

static const struct request requests[] = {
	{ "VERSION", SHADOWMM_IOC_VERSION, sizeof(struct shadowmm_version), FIELD(shadowmm_version, reserved), 0, 0 },
	{ "STAGE", SHADOWMM_IOC_STAGE, sizeof(struct shadowmm_stage), 0, 0, 0 },
	{ "MAP", SHADOWMM_IOC_MAP, sizeof(struct shadowmm_map), FIELD(shadowmm_map, reserved), 0, 0 },
	{ "ALLOC", SHADOWMM_IOC_ALLOC, sizeof(struct shadowmm_alloc), FIELD(shadowmm_alloc, reserved),
	  SHADOWMM_ALLOC_MOVABLE | SHADOWMM_ALLOC_CACHE, FIELD(shadowmm_alloc, handle) },
	{ "FREE", SHADOWMM_IOC_FREE, sizeof(struct shadowmm_free), FIELD(shadowmm_free, reserved), SHADOWMM_BY_HANDLE, 0 },
	{ "PAGE", SHADOWMM_IOC_PAGE, sizeof(struct shadowmm_page), FIELD(shadowmm_page, reserved), SHADOWMM_BY_HANDLE, 0 },
	{ "REPORT", SHADOWMM_IOC_REPORT, sizeof(struct shadowmm_report), 0, 0, 0 },
	{ "VALIDATE", SHADOWMM_IOC_VALIDATE, sizeof(struct shadowmm_validate), 0, 0, 0 },
	{ "RECLAIM", SHADOWMM_IOC_RECLAIM, sizeof(struct shadowmm_reclaim), 0, 0, 0 },
	{ "BULK", SHADOWMM_IOC_BULK, sizeof(struct shadowmm_bulk), 0, 0, 0 },
	{ "EXACT", SHADOWMM_IOC_EXACT, sizeof(struct shadowmm_exact), FIELD(shadowmm_exact, reserved), 0, 0 },
	{ "BLOCK", SHADOWMM_IOC_BLOCK, sizeof(struct shadowmm_block), 0, 0, 0 },
	{ "POLICY", SHADOWMM_IOC_POLICY, sizeof(struct shadowmm_policy), 0, 0, 0 },
	{ "DIFF_PLAY", SHADOWMM_IOC_DIFF_PLAY, sizeof(struct shadowmm_diff_play), FIELD(shadowmm_diff_play, reserved), 0, 0 },
	{ "DIFF_STATE", SHADOWMM_IOC_DIFF_STATE, sizeof(struct shadowmm_diff_state), 0, 0, 0 },
	{ "CREATE", SHADOWMM_IOC_CREATE, sizeof(struct shadowmm_create), FIELD(shadowmm_create, reserved), SHADOWMM_CREATE_FREEPTR, 0 },
	{ "CACHE", SHADOWMM_IOC_CACHE, sizeof(struct shadowmm_cache), FIELD(shadowmm_cache, reserved), 0, 0 },
	{ "OBJECT", SHADOWMM_IOC_OBJECT, sizeof(struct shadowmm_object), 0,
	  SHADOWMM_OBJECT_ZERO | SHADOWMM_OBJECT_FORCE, 0 },
	{ "OBJECTS", SHADOWMM_IOC_OBJECTS, sizeof(struct shadowmm_objects), FIELD(shadowmm_objects, reserved), SHADOWMM_OBJECT_ZERO, 0 },
	{ "KMALLOC", SHADOWMM_IOC_KMALLOC, sizeof(struct shadowmm_kmalloc), 0, SHADOWMM_OBJECT_ZERO, 0 },
	{ "BYTES", SHADOWMM_IOC_BYTES, sizeof(struct shadowmm_bytes), 0, SHADOWMM_OBJECT_FORCE, 0 },
	{ "CONTIG", SHADOWMM_IOC_CONTIG, sizeof(struct shadowmm_contig), FIELD(shadowmm_contig, reserved), 0, 0 },
	{ "MM_CONFIG", SHADOWMM_IOC_MM_CONFIG, sizeof(struct shadowmm_mm_config), FIELD(shadowmm_mm_config, reserved), 0, 0 },
	{ "MM_INFO", SHADOWMM_IOC_MM_INFO, sizeof(struct shadowmm_mm_info), 0, 0, 0 },
	{ "MM_MMAP", SHADOWMM_IOC_MM_MMAP, sizeof(struct shadowmm_mm_mmap), FIELD(shadowmm_mm_mmap, reserved), 0, 0 },
	{ "MM_MUNMAP", SHADOWMM_IOC_MM_MUNMAP, sizeof(struct shadowmm_mm_range), FIELD(shadowmm_mm_range, reserved), 0, 0 },
	{ "MM_MPROTECT", SHADOWMM_IOC_MM_MPROTECT, sizeof(struct shadowmm_mm_range), FIELD(shadowmm_mm_range, reserved), 0, 0 },
	{ "MM_MREMAP", SHADOWMM_IOC_MM_MREMAP, sizeof(struct shadowmm_mm_mremap), FIELD(shadowmm_mm_mremap, reserved), 0, 0 },
	{ "MM_MADVISE", SHADOWMM_IOC_MM_MADVISE, sizeof(struct shadowmm_mm_range), FIELD(shadowmm_mm_range, reserved), 0, 0 },
	{ "MM_BRK", SHADOWMM_IOC_MM_BRK, sizeof(struct shadowmm_mm_brk), 0, 0, 0 },
	{ "MM_MLOCK", SHADOWMM_IOC_MM_MLOCK, sizeof(struct shadowmm_mm_mlock), 0, 0, 0 },
	{ "MM_MINCORE", SHADOWMM_IOC_MM_MINCORE, sizeof(struct shadowmm_mm_mincore), 0, 0, 0 },
	{ "MM_MSYNC", SHADOWMM_IOC_MM_MSYNC, sizeof(struct shadowmm_mm_range), FIELD(shadowmm_mm_range, reserved), 0, 0 },
	{ "MM_LIMITS", SHADOWMM_IOC_MM_LIMITS, sizeof(struct shadowmm_mm_limits), 0, 0, 0 },
	{ "MM_WALK", SHADOWMM_IOC_MM_WALK, sizeof(struct shadowmm_mm_walk), FIELD(shadowmm_mm_walk, reserved), 0, 0 },
	{ "MM_VMAS", SHADOWMM_IOC_MM_VMAS, sizeof(struct shadowmm_mm_vmas), 0, 0, 0 },
	{ "BENCH_LOOKUP", SHADOWMM_IOC_BENCH_LOOKUP, sizeof(struct shadowmm_bench_lookup), FIELD(shadowmm_bench_lookup, reserved), 0, 0 },
};

#define FOR_EACH_REQUEST(r) \
	for (const struct request *r = requests; r != &requests[sizeof(requests) / sizeof(requests[0])]; r++)

static const char *named(const struct request *r, const char *what)
{
	static char text[160];
	char *to = text;
	const char *parts[] = { r->name, ": ", what };

	for (int i = 0; i < 3; i++)
		for (const char *from = parts[i]; *from && to < &text[sizeof(text) - 1]; from++)
			*to++ = *from;
	*to = 0;
	return text;
}

/* Two pages for requests, of which the second can be taken away. */
static unsigned char *pages;

static struct shadowmm_head *fresh(const struct request *r)
{
	struct shadowmm_head *head = (struct shadowmm_head *)pages;

	memset(pages, 0, 2 * PAGE);
	head->size = r->size;
	return head;
}

static void sizes(int fd)
{
	FOR_EACH_REQUEST(r) {
		static const __u32 small[] = { 0, 4, 15, 16 };
		struct shadowmm_head *head;

		for (int i = 0; i < 4; i++) {
			head = fresh(r);
			head->size = small[i];
			refused(named(r, "a size that has no request's room"), fd, r->number, head, &BadSize);
		}
		head = fresh(r);
		head->size = (r->first ? r->first : r->size) - 1;
		refused(named(r, "a size one byte short"), fd, r->number, head, &BadSize);
		head = fresh(r);
		head->size = r->size + 8;
		pages[r->size] = 1;
		refused(named(r, "a larger struct with something set behind"), fd, r->number, head, &TooNew);
		head = fresh(r);
		head->size = PAGE;
		pages[PAGE - 1] = 0x80;
		refused(named(r, "a struct of a page with its last byte set"), fd, r->number, head, &TooNew);
		head = fresh(r);
		head->size = PAGE + 1;
		refused(named(r, "a struct larger than any"), fd, r->number, head, &TooNew);
		head = fresh(r);
		head->size = 0xffffffff;
		refused(named(r, "the largest size that can be said"), fd, r->number, head, &TooNew);
	}
}

static void heads(int fd)
{
	FOR_EACH_REQUEST(r) {
		for (__u32 flag = r->flags + 1; flag; flag = flag >> 31 ? 0 : 1u << 31) {
			struct shadowmm_head *head = fresh(r);

			head->flags = flag;
			refused(named(r, "an unknown flag"), fd, r->number, head, &BadFlags);
		}
		struct shadowmm_head *head = fresh(r);

		head->reserved = 1;
		refused(named(r, "the head's reserved field"), fd, r->number, head, &BadReserved);
		if (r->reserved) {
			head = fresh(r);
			*(__u32 *)(pages + r->reserved) = 0x80000000;
			refused(named(r, "its own reserved field"), fd, r->number, head, &BadReserved);
		}
	}
}

static void unknown(int fd)
{
	static const unsigned int numbers[] = { _IO(SHADOWMM_IOC_MAGIC, 0x7f), _IO(SHADOWMM_IOC_MAGIC, 0xff),
						_IO('S', 0x00), _IOW(SHADOWMM_IOC_MAGIC, 0x03, __u32), 0, 0xffffffff };

	for (unsigned int i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		memset(pages, 0, PAGE);
		refused_at("an unknown ioctl", fd, numbers[i], (unsigned long)pages, 0, &UnknownRequest);
		expect("an unknown ioctl writes nothing", ((struct shadowmm_head *)pages)->reason == 0);
	}
}

/* A request that has all it needs in its first `part` bytes of memory, and no memory behind. */
static void at_the_end(const struct request *r, int fd, __u32 part, const char *what)
{
	unsigned char *at = pages + PAGE - part;
	struct shadowmm_head head = { .size = r->size };

	memset(pages, 0, PAGE);
	memcpy(at, &head, part < sizeof(head) ? part : sizeof(head));
	refused_at(named(r, what), fd, r->number, (unsigned long)at,
		   part < sizeof(head) ? 0 : (struct shadowmm_head *)at, &BadPointer);
}

static void pointers(int fd)
{
	static const unsigned long nowhere[] = {
		0, 1, PAGE - 4,
#ifdef __x86_64__
		0xffff888000000000, 0xffffffff81000000, 0x8000000000000000, 0x00007ffffffff000, -4UL, -1UL,
#else
		0xc0000000, 0xfffff000, 0xfffffffc, 0xffffffff,
#endif
	};
	FOR_EACH_REQUEST(r)
		for (unsigned int i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++)
			refused_at(named(r, "an address without memory"), fd, r->number, nowhere[i], 0, &BadPointer);

	sys_mprotect(pages + PAGE, PAGE, PROT_NONE);
	FOR_EACH_REQUEST(r) {
		at_the_end(r, fd, 3, "memory ends inside the size");
		at_the_end(r, fd, 8, "memory ends before the reason");
		at_the_end(r, fd, 16, "memory ends behind the head");
		at_the_end(r, fd, r->size - 1, "memory ends one byte early");
	}
	sys_mprotect(pages + PAGE, PAGE, PROT_READ | PROT_WRITE);

	/* What can be read but not written is refused before anything is done. */
	FOR_EACH_REQUEST(r) {
		struct shadowmm_head *head = fresh(r);

		if (r->number == SHADOWMM_IOC_STAGE)
			((struct shadowmm_stage *)head)->op = SHADOWMM_STAGE_RESET;
		else if (r->number == SHADOWMM_IOC_MAP || r->number == SHADOWMM_IOC_FREE ||
			 r->number == SHADOWMM_IOC_REPORT)
			continue;
		sys_mprotect(pages, PAGE, PROT_READ);
		refused_at(named(r, "memory that is read-only"), fd, r->number, (unsigned long)pages, 0, &BadPointer);
		sys_mprotect(pages, PAGE, PROT_READ | PROT_WRITE);
	}
}

static void good(int fd)
{
	struct shadowmm_version version = REQUEST(shadowmm_version);
	struct shadowmm_validate validate = REQUEST(shadowmm_validate);
	struct shadowmm_version *large = (struct shadowmm_version *)pages;

	accepted("VERSION", fd, SHADOWMM_IOC_VERSION, &version);
	expect("the ABI's version", version.abi == SHADOWMM_ABI_VERSION);
	expect("the releases are texts", version.release[0] && version.kernel[0] && !version.release[63] && !version.kernel[63]);
	accepted("VALIDATE", fd, SHADOWMM_IOC_VALIDATE, &validate);
	expect("all invariants hold, and some were looked at", validate.what[0] == 0 && validate.checks > 1000);

	memset(pages, 0, 2 * PAGE);
	memset(pages + PAGE, 0xa5, PAGE);
	large->head.size = PAGE;
	accepted("VERSION in a struct of a page", fd, SHADOWMM_IOC_VERSION, large);
	expect("it is answered", large->abi == SHADOWMM_ABI_VERSION && same_text(large->kernel, version.kernel));
	expect("nothing behind it is written", pages[PAGE] == 0xa5 && pages[sizeof(*large)] == 0);
}

void test_requests(void)
{
	int fd = open_device();

	pages = sys_pages(2);
	good(fd);
	unknown(fd);
	sizes(fd);
	heads(fd);
	pointers(fd);
	sys_close(fd);
}
