// SPDX-License-Identifier: GPL-2.0
/*
 * Who may do what, how much of it, and what he sees of others: access PART [DESCRIPTOR]. The suite
 * runs the parts as root, as a member of the group that the module was loaded for, and as nobody.
 */
#include "mm.h"

#include <setjmp.h>
#include <signal.h>


/* Codes of core's errors. */
enum { NOT_SUPPORTED = 92, NOT_PERMITTED = 110, USER_LIMIT = 118, FILE_LIMIT = 119, LARGE_OBJECT = 120 };

/* What the suite loads the module with. */
enum { FILE_PAGES = 600, USER_PAGES = 1000, USER_OBJECTS = 100, USER_SPACES = 2, USER_VMAS = 20, TOLD = 64 };

static sigjmp_buf back;

static void on_signal(int number)
{
	siglongjmp(back, number);
}

/* Writes to places so far apart, or reads there, up to the first that gives a signal: how many, and the signal. */
static unsigned long touch_each(volatile char *at, unsigned long step, unsigned long count, bool write, int *signal)
{
	static volatile unsigned long done;
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_NODEFER };

	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
	done = 0;
	*signal = sigsetjmp(back, 1);
	if (!*signal)
		for (; done < count; done++) {
			if (write)
				at[done * step] = 1;
			else
				(void)at[done * step];
		}
	return done;
}

/* Writes to pages. */
static unsigned long touch_all(volatile char *at, unsigned long pages, int *signal)
{
	return touch_each(at, PAGE, pages, true, signal);
}

/* The status of a child that writes to a page: 7 for a signal. */
static int child_touches(volatile char *place)
{
	int signal, status = 0;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (!child) {
		touch_all(place, 1, &signal);
		_exit(signal ? 7 : 0);
	}
	waitpid(child, &status, 0);
	return WEXITSTATUS(status);
}

static void refused(const char *name, long done, int error, unsigned int code)
{
	bool good = done == -1 && errno == error && reason == code;

	if (!good)
		printf("# %ld, errno %d, reason %u\n", done, errno, reason);
	expect(name, good);
}

static long take(int fd, unsigned int order, __u64 *pfn)
{
	struct shadowmm_alloc request = { .order = order, .nid = -1 };
	long done = ASK(fd, SHADOWMM_IOC_ALLOC, request);

	*pfn = request.pfn;
	return done;
}

static long give(int fd, unsigned int order, __u64 pfn)
{
	struct shadowmm_free request = { .pfn = pfn, .order = order };

	return ASK(fd, SHADOWMM_IOC_FREE, request);
}

static long kmalloc(int fd, __u64 size, unsigned int flags, __u64 *object)
{
	struct shadowmm_kmalloc request = { .op = SHADOWMM_KMALLOC_ALLOC, .nid = -1, .size = size };

	request.head.flags = flags;
	long done = ASK(fd, SHADOWMM_IOC_KMALLOC, request);

	*object = request.object;
	return done;
}

static long kfree(int fd, __u64 object)
{
	struct shadowmm_kmalloc request = { .op = SHADOWMM_KMALLOC_FREE, .object = object };

	return ASK(fd, SHADOWMM_IOC_KMALLOC, request);
}

static long bytes(int fd, int op, __u64 object, void *buf, __u64 len)
{
	struct shadowmm_bytes request = { .op = op, .object = object, .len = len, .buf = (uintptr_t)buf };

	return ASK(fd, SHADOWMM_IOC_BYTES, request);
}

/* A number of the caller's line in /proc/shadowmm/users; 0 where there is none. */
static unsigned long counted(int column)
{
	unsigned long field[6], found = 0;
	char line[200];
	FILE *file = fopen("/proc/shadowmm/users", "r");

	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%lu %lu %lu %lu %lu %lu", &field[0], &field[1], &field[2], &field[3],
			   &field[4], &field[5]) == 6 && field[0] == geteuid())
			found = field[column];
	fclose(file);
	return found;
}
enum { FILES = 1, PAGES = 2, OBJECTS = 3, SPACES = 4, VMAS = 5 };

/* --- limits, as a user who is not above them ----------------------------------------- */

static void pages_are_limited(void)
{
	__u64 pfn[4], many[1024];
	int one = open_device(), two = open_device();
	struct shadowmm_bulk bulk = { .nid = -1, .count = 1024, .pfns = (uintptr_t)many };

	same("a file may have as many pages as its limit is", 0, take(one, 9, &pfn[0]));
	refused("and not more", take(one, 7, &pfn[1]), EDQUOT, FILE_LIMIT);
	same("another file of the user's has its own limit", 0, take(two, 8, &pfn[1]));
	refused("but all of his files have one, too", take(two, 8, &pfn[2]), EDQUOT, USER_LIMIT);
	refused("many pages at once are as many", ASK(two, SHADOWMM_IOC_BULK, bulk), EDQUOT, FILE_LIMIT);
	same("what was refused is not counted", 768, counted(PAGES));
	same("the user's files", 2, counted(FILES));
	same("what was given back", 0, give(one, 9, pfn[0]));
	same("may be had again", 0, take(two, 8, &pfn[2]));
	bulk.count = 88;
	same("up to the limit", 0, ASK(two, SHADOWMM_IOC_BULK, bulk));
	same("which is the file's", 600, counted(PAGES));
	close(two);
	same("a file that is closed has nothing", 0, counted(PAGES));
	close(one);
}

static void objects_are_limited(void)
{
	struct shadowmm_cache large = { .op = SHADOWMM_CACHE_FIND };
	struct shadowmm_object one = { .op = SHADOWMM_OBJECT_ALLOC, .nid = -1 };
	struct shadowmm_objects many = { .op = SHADOWMM_OBJECT_ALLOC, .nid = -1, .count = 1 };
	__u64 object, first = 0;
	int fd = open_device(), had = 0;

	while (had < USER_OBJECTS && !kmalloc(fd, 32, 0, &object)) {
		first = first ?: object;
		had++;
	}
	same("a user may have as many objects as his limit is", USER_OBJECTS, had);
	refused("and not more", kmalloc(fd, 32, 0, &object), EDQUOT, USER_LIMIT);
	same("what was freed", 0, kfree(fd, first));
	same("may be had again", 0, kmalloc(fd, 32, 0, &object));
	refused("objects of more than two pages are for others", kmalloc(fd, 8193, 0, &object), EPERM, LARGE_OBJECT);
	/* The suite has made it. */
	strcpy(large.name, "access-large");
	same("a cache of such is found", 0, ASK(fd, SHADOWMM_IOC_CACHE, large));
	one.cache = many.cache = large.cache;
	refused("but an object of it is not to be had", ASK(fd, SHADOWMM_IOC_OBJECT, one), EPERM, LARGE_OBJECT);
	many.objects = (uintptr_t)&object;
	refused("nor are several", ASK(fd, SHADOWMM_IOC_OBJECTS, many), EPERM, LARGE_OBJECT);
	close(fd);
	same("they go with the file", 0, counted(OBJECTS));
}

static void spaces_are_limited(void)
{
	int fds[USER_SPACES + 1], i;
	char *windows[USER_SPACES], *place;

	for (i = 0; i <= USER_SPACES; i++)
		fds[i] = open_device();
	for (i = 0; i < USER_SPACES; i++)
		windows[i] = open_window(fds[i], WINDOW);
	errno = 0;
	expect("no more windows than the limit is",
	       mmap(NULL, WINDOW, RW, MAP_SHARED | MAP_NORESERVE, fds[i], 0) == MAP_FAILED && errno == EDQUOT);
	place = w_mmap(fds[USER_SPACES - 1], NULL, PAGE, RW, PRIVATE);
	*place = 1;
	same("a child for whose window there is no room has none", 7, child_touches(place));
	same("its parent's is as it was", 1, *place);
	for (i = 0; i < USER_SPACES; i++)
		munmap(windows[i], WINDOW);
	for (i = 0; i <= USER_SPACES; i++)
		close(fds[i]);
	same("they go with the windows", 0, counted(SPACES));
}

static void vmas_are_limited(void)
{
	int one = open_device(), had, status = 0;
	char *window = open_window(one, WINDOW), *place = NULL, *all;
	/* The stack of the window is one. */
	long first = counted(VMAS);

	/* Each of three pages, with a gap behind it: neighbours would be merged. */
	all = w_mmap(one, NULL, 128 * PAGE, PROT_NONE, PRIVATE);
	same("a reservation", 0, w_munmap(one, all, 128 * PAGE));
	for (had = 0; had < 128 / 4; had++) {
		place = w_mmap(one, all + 4 * had * PAGE, 3 * PAGE, RW, PRIVATE | MAP_FIXED);
		if (place == MAP_FAILED)
			break;
	}
	same("a user may have as many VMAs as his limit is", USER_VMAS - first, had);
	refused("and not more", place == MAP_FAILED ? -1 : 0, EDQUOT, USER_LIMIT);
	same("all are counted", USER_VMAS, counted(VMAS));
	refused("nor may one be split", w_mprotect(one, all, PAGE, PROT_READ), EDQUOT, USER_LIMIT);
	refused("nor have a hole", w_munmap(one, all + PAGE, PAGE), EDQUOT, USER_LIMIT);
	same("an end of it may go", 0, w_munmap(one, all + 2 * PAGE, PAGE));
	*all = 1;
	same("what is there can be used", 1, *all);
	same("and its pages given back", 0, w_madvise(one, all, PAGE, MADV_DONTNEED));
	same("which is so", 0, *all);
	fflush(stdout);
	pid_t child = fork();
	if (!child) {
		int signal;

		touch_all(all, 1, &signal);
		_exit(signal ? 7 : 0);
	}
	waitpid(child, &status, 0);
	same("a child for whose VMAs there is no room has no window", 7, WEXITSTATUS(status));
	same("what is unmapped", 0, w_munmap(one, all, 60 * PAGE));
	same("does not count", USER_VMAS - 15, counted(VMAS));
	place = w_mmap(one, all, 2 * PAGE, RW, PRIVATE | MAP_FIXED);
	expect("and may be had again", place == all);
	same("a part that differs", 0, w_mprotect(one, all, PAGE, PROT_READ));
	same("is one more", USER_VMAS - 13, counted(VMAS));
	munmap(window, WINDOW);
	same("they go with the window", 0, counted(VMAS));
	close(one);
}

/* Whether so many pages are as many as a file may have, as far as the count knows. */
static bool is_limit(unsigned long pages)
{
	bool good = pages >= FILE_PAGES - TOLD && pages <= FILE_PAGES + TOLD;

	if (!good)
		printf("# %lu pages\n", pages);
	return good;
}

static void touches_are_limited(void)
{
	int fd = open_device(), signal;
	char *window = open_window(fd, WINDOW);
	char *place = w_mmap(fd, NULL, 4096 * PAGE, RW, PRIVATE);
	unsigned long done;

	w_madvise(fd, place, 4096 * PAGE, MADV_NOHUGEPAGE);
	done = touch_all(place, 4096, &signal);
	expect("pages can be touched up to the limit", is_limit(done));
	same("and then there is SIGBUS", SIGBUS, signal);
	same("what is unmapped", 0, w_munmap(fd, place, 4096 * PAGE));
	place = w_mmap(fd, NULL, 4096 * PAGE, RW, PRIVATE | MAP_POPULATE);
	struct shadowmm_rec_space space = w_space(fd);
	unsigned long had = space.rss[0] + space.rss[1] + space.rss[3];
	if (had < FILE_PAGES - TOLD || had > FILE_PAGES + 512 + TOLD)
		printf("# %lu pages\n", had);
	expect("may be had again, in advance, and no more", had >= FILE_PAGES - TOLD && had <= FILE_PAGES + 512 + TOLD);
	munmap(window, WINDOW);
	close(fd);
	same("with the window its pages are gone", 0, counted(PAGES));
	same("and its space", 0, counted(SPACES));
}

/* What others write to a window counts as well. */
static void written_from_outside(void)
{
	int fd = open_device(), mem = open("/proc/self/mem", O_RDWR);
	char *window = open_window(fd, WINDOW);
	char *place = w_mmap(fd, NULL, 4096 * PAGE, RW, PRIVATE);
	unsigned long done = 0;

	w_madvise(fd, place, 4096 * PAGE, MADV_NOHUGEPAGE);
	while (done < 4096 && pwrite(mem, "", 1, (uintptr_t)place + done * PAGE) == 1)
		done++;
	expect("through /proc/self/mem pages can be made up to the limit", is_limit(done));
	munmap(window, WINDOW);
	close(mem);
	close(fd);
	same("which are gone with the window, too", 0, counted(PAGES));
}

/* A page of shared memory stays when nobody has it mapped, as long as somebody may map it again. */
static void shared_memory_is_limited(void)
{
	enum { PART = 64, PARTS = 4096 / PART };
	int fd = open_device(), signal = 0, wait[2], status = 0;
	char *window = open_window(fd, WINDOW), byte;
	char *place = w_mmap(fd, NULL, 4096 * PAGE, RW, MAP_SHARED);
	unsigned long done = 0;

	for (int part = 0; part < PARTS && !signal; part++) {
		char *at = place + part * PART * PAGE;

		done += touch_all(at, PART, &signal);
		w_madvise(fd, at, PART * PAGE, MADV_DONTNEED);
	}
	expect("pages of shared memory count also when they are not mapped", is_limit(done));
	same("and then there is SIGBUS", SIGBUS, signal);
	same("though none is resident", 0, w_space(fd).rss[3]);
	if (pipe(wait)) {
		perror("a pipe");
		exit(1);
	}
	fflush(stdout);
	pid_t child = fork();
	if (!child) {
		close(wait[1]);
		_exit(read(wait[0], &byte, 1) != 0);
	}
	close(wait[0]);
	same("they have a window each", 2, counted(SPACES));
	same("who has made them may give them up", 0, w_munmap(fd, place, 4096 * PAGE));
	expect("but while a child has them they count", is_limit(counted(PAGES)));
	close(wait[1]);
	waitpid(child, &status, 0);
	same("when the child ends", 0, status);
	expect("they do not any more", counted(PAGES) < TOLD);
	place = w_mmap(fd, NULL, 256 * PAGE, RW, MAP_SHARED);
	same("and others may be had", 256, touch_all(place, 256, &signal));
	munmap(window, WINDOW);
	close(fd);
	same("that go with the window", 0, counted(PAGES));
}

/* A table is a page. */
static void tables_are_limited(void)
{
	enum { TABLES = 2048 };
	const unsigned long step = 2UL << 20, len = TABLES * step;
	int fd = open_device(), signal, install = 102 /* MADV_GUARD_INSTALL */;
	char *window = open_window(fd, WINDOW);
	char *place = w_mmap(fd, NULL, len, PROT_READ, PRIVATE | MAP_NORESERVE);
	unsigned long done;

	w_madvise(fd, place, len, MADV_NOHUGEPAGE);
	done = touch_each(place, step, TABLES, false, &signal);
	expect("what is read of sparse memory counts by its tables", is_limit(done));
	same("and then there is SIGBUS", SIGBUS, signal);
	same("what is unmapped", 0, w_munmap(fd, place, len));
	expect("does not count", counted(PAGES) < TOLD);
	place = w_mmap(fd, NULL, len, PROT_READ, PRIVATE | MAP_NORESERVE);
	refused("tables for guards are refused as well", w_madvise(fd, place, len, install), EDQUOT, USER_LIMIT);
	expect("at the limit", is_limit(counted(PAGES)));
	munmap(window, WINDOW);
	close(fd);
	same("with the window its tables are gone", 0, counted(PAGES));
}

/* A child has its parent's pages, and they count as its own. */
static void forks_are_limited(void)
{
	enum { MOST = FILE_PAGES * 2 / 3, MORE = FILE_PAGES / 6 };
	int fd = open_device(), signal;
	char *window = open_window(fd, WINDOW);
	char *place = w_mmap(fd, NULL, 4096 * PAGE, RW, PRIVATE);

	w_madvise(fd, place, 4096 * PAGE, MADV_NOHUGEPAGE);
	same("most of the pages that a file may have", MOST, touch_all(place, MOST, &signal));
	same("a child for whose pages there is no room has no window", 7, child_touches(place));
	same("nor is it counted", 1, counted(SPACES));
	same("its parent may have more", MORE, touch_all(place + MOST * PAGE, MORE, &signal));
	munmap(window, WINDOW);
	close(fd);
	same("all is given back", 0, counted(PAGES));
}

/* --- what is for CAP_SYS_ADMIN ------------------------------------------------------ */

static void forbidden(int fd)
{
	struct shadowmm_stage stage = { .op = SHADOWMM_STAGE_RESET };
	struct shadowmm_map map = { 0 };
	struct shadowmm_create create = { .name = "access", .object_size = 64 };
	struct shadowmm_cache cache = { .op = SHADOWMM_CACHE_SHRINK };
	struct shadowmm_reclaim reclaim = { 0 };
	struct shadowmm_validate validate = { 0 };
	struct shadowmm_bench bench = { .blocks = 1 };
	struct shadowmm_diff_open diff = { 0 };
	struct shadowmm_contig contig = { .op = SHADOWMM_CONTIG_ALLOC, .pages = 3, .nid = -1 };
	/* GFP_KERNEL | __GFP_MEMALLOC */
	struct shadowmm_alloc reserves = { .gfp = 0x20cc0, .nid = -1 };
	struct shadowmm_kmalloc reserved = { .op = SHADOWMM_KMALLOC_ALLOC, .gfp = 0x20cc0, .nid = -1, .size = 32 };

	refused("the boot is not his to begin anew", ASK(fd, SHADOWMM_IOC_STAGE, stage), EPERM, NOT_PERMITTED);
	stage.op = SHADOWMM_STAGE_NEXT;
	refused("nor to go on with", ASK(fd, SHADOWMM_IOC_STAGE, stage), EPERM, NOT_PERMITTED);
	stage.op = SHADOWMM_STAGE_GET;
	same("but to ask about", 0, ASK(fd, SHADOWMM_IOC_STAGE, stage));
	refused("nor the map", ASK(fd, SHADOWMM_IOC_MAP, map), EPERM, NOT_PERMITTED);
	refused("nor are caches to be made", ASK(fd, SHADOWMM_IOC_CREATE, create), EPERM, NOT_PERMITTED);
	refused("or shrunk", ASK(fd, SHADOWMM_IOC_CACHE, cache), EPERM, NOT_PERMITTED);
	cache.op = SHADOWMM_CACHE_DESTROY;
	cache.cache = 1;
	refused("or destroyed", ASK(fd, SHADOWMM_IOC_CACHE, cache), EPERM, NOT_PERMITTED);
	refused("nor is memory to be reclaimed", ASK(fd, SHADOWMM_IOC_RECLAIM, reclaim), EPERM, NOT_PERMITTED);
	refused("nor all to be checked", ASK(fd, SHADOWMM_IOC_VALIDATE, validate), EPERM, NOT_PERMITTED);
	refused("nor to be measured", ASK(fd, SHADOWMM_IOC_BENCH, bench), EPERM, NOT_PERMITTED);
	refused("nor the host's zones to be looked at", ASK(fd, SHADOWMM_IOC_DIFF_OPEN, diff), EPERM, NOT_PERMITTED);
	refused("nor is what others have to be moved", ASK(fd, SHADOWMM_IOC_CONTIG, contig), EPERM, NOT_PERMITTED);
	contig.op = SHADOWMM_CONTIG_RANGE;
	contig.nid = 0;
	refused("wherever it is", ASK(fd, SHADOWMM_IOC_CONTIG, contig), EPERM, NOT_PERMITTED);
	refused("nor are reserves his", ASK(fd, SHADOWMM_IOC_ALLOC, reserves), EPERM, NOT_PERMITTED);
	refused("for objects either", ASK(fd, SHADOWMM_IOC_KMALLOC, reserved), EPERM, NOT_PERMITTED);
}

/* All that a user may have where no limits were set, until the end of the input. */
static void greedy(void)
{
	static __u64 pfns[1024];
	int fd = open_device();
	__u64 pfn, object;
	long done;

	do {
		struct shadowmm_bulk bulk = { .nid = -1, .count = 1024, .pfns = (uintptr_t)pfns };

		done = ASK(fd, SHADOWMM_IOC_BULK, bulk);
	} while (!done);
	while (!take(fd, 0, &pfn))
		;
	refused("one user has all pages that he may", take(fd, 0, &pfn), EDQUOT, USER_LIMIT);
	while (!kmalloc(fd, 8192, 0, &object))
		;
	refused("and all objects", kmalloc(fd, 8192, 0, &object), EDQUOT, USER_LIMIT);
	printf("# access: he has %lu pages and %lu objects\n", counted(PAGES), counted(OBJECTS));
	fflush(stdout);
	getchar();
}

/* What another one gets meanwhile. */
static void modest(void)
{
	static __u64 pfns[1000];
	struct shadowmm_bulk bulk = { .nid = -1, .count = 1000, .pfns = (uintptr_t)pfns };
	int fd = open_device(), had = 0, signal;
	char *window = open_window(fd, WINDOW), *place;
	__u64 object;

	same("another user gets pages", 0, ASK(fd, SHADOWMM_IOC_BULK, bulk));
	while (had < 1000 && !kmalloc(fd, 1024, 0, &object))
		had++;
	same("and objects", 1000, had);
	place = w_mmap(fd, NULL, 1000 * PAGE, RW, PRIVATE);
	same("and a window with memory", 1000, touch_all(place, 1000, &signal));
	munmap(window, WINDOW);
	close(fd);
}

/* --- what others have left ---------------------------------------------------------- */

static const __u64 sizes[] = { 8, 24, 96, 192, 512, 2048, 8192 };
enum { OF_EACH = 16, LEFT_PAGES = 6144 };

/* Memory of every kind, in a window: each place, and its pages. */
static int windows_memory(int fd, char **place, unsigned long *pages)
{
	uintptr_t brk = w_brk(fd, 0);

	place[0] = w_mmap(fd, NULL, LEFT_PAGES * PAGE, RW, PRIVATE);
	place[1] = w_mmap(fd, NULL, 512 * PAGE, RW, MAP_SHARED);
	place[2] = w_mmap(fd, NULL, 1024 * PAGE, RW, PRIVATE);
	w_madvise(fd, place[2], 1024 * PAGE, MADV_HUGEPAGE);
	place[3] = (char *)brk;
	pages[0] = LEFT_PAGES;
	pages[1] = 512;
	pages[2] = 1024;
	pages[3] = w_brk(fd, brk + 256 * PAGE) == brk + 256 * PAGE ? 256 : 0;
	return 4;
}

/* Leaves memory full of what nobody else is to see. */
static void leave(void)
{
	int fd = open_device(), nr;
	char *window = open_window(fd, WINDOW), *place[4];
	unsigned long pages[4], bad = 0;
	__u64 objects[OF_EACH];
	char secret[8192];

	nr = windows_memory(fd, place, pages);
	for (int i = 0; i < nr; i++)
		memset(place[i], 0xa5, pages[i] * PAGE);
	memset(secret, 0xa5, sizeof(secret));
	for (size_t s = 0; s < sizeof(sizes) / sizeof(*sizes); s++) {
		for (int i = 0; i < OF_EACH; i++)
			if (kmalloc(fd, sizes[s], 0, &objects[i]) ||
			    bytes(fd, SHADOWMM_BYTES_WRITE, objects[i], secret, sizes[s]))
				bad++;
		for (int i = 0; i < OF_EACH; i++)
			kfree(fd, objects[i]);
	}
	munmap(window, WINDOW);
	same("memory was filled and given back", 0, bad);
}

/* Takes as many objects as `leave` had: how many bytes they have, and how many that are not 0. */
static unsigned long objects_left(int fd, unsigned long *seen)
{
	unsigned long bad = 0, stale = 0;
	char content[8192];
	__u64 object;

	for (size_t s = 0; s < sizeof(sizes) / sizeof(*sizes); s++)
		for (int i = 0; i < OF_EACH; i++) {
			memset(content, 0xaa, sizeof(content));
			if (kmalloc(fd, sizes[s], 0, &object) ||
			    bytes(fd, SHADOWMM_BYTES_READ, object, content, sizes[s]))
				bad++;
			for (size_t at = 0; at < sizes[s]; at++, ++*seen)
				stale += content[at] != 0;
		}
	same("objects can be read", 0, bad);
	return stale;
}

/* Looks for it in as much memory as `leave` had. */
static void look(void)
{
	int fd = open_device(), nr;
	unsigned long pages[4], stale, seen = 0;
	char *window, *place[4];

	/* The objects first: they were freed last. */
	same("and have nothing in them", 0, objects_left(fd, &seen));
	window = open_window(fd, WINDOW);
	nr = windows_memory(fd, place, pages);
	stale = 0;
	for (int i = 0; i < nr; i++)
		for (unsigned long at = 0; at < pages[i] * PAGE; at += sizeof(long), seen += sizeof(long))
			stale += *(volatile long *)(place[i] + at) != 0;
	same("nor have pages", 0, stale);
	/* And pages that are written to first. */
	for (int i = 0; i < nr; i++)
		w_madvise(fd, place[i], pages[i] * PAGE, MADV_DONTNEED);
	for (unsigned long at = 0; at < LEFT_PAGES; at++) {
		place[0][at * PAGE] = 0;
		for (unsigned long in = 0; in < PAGE; in += sizeof(long))
			stale += *(volatile long *)(place[0] + at * PAGE + in) != 0;
	}
	same("nor those that were written to first", 0, stale);
	printf("# %lu bytes\n", seen);
	munmap(window, WINDOW);
}

/* --- structures are written whole ---------------------------------------------------- */

static bool is_filled(const void *at, size_t len)
{
	const unsigned char *byte = at;

	for (size_t i = 0; i + 4 <= len; i++)
		if (byte[i] == 0xaa && byte[i + 1] == 0xaa && byte[i + 2] == 0xaa && byte[i + 3] == 0xaa)
			return true;
	return false;
}

/* The size of a record of a report, found by trying. */
static unsigned int record_size(int fd, unsigned int kind)
{
	for (unsigned int size = 4; size <= 4096; size += 4) {
		struct shadowmm_report request = { .kind = kind, .record_size = size };

		if (!ASK(fd, SHADOWMM_IOC_REPORT, request))
			return size;
	}
	return 0;
}

static void structures(void)
{
	static unsigned char buf[4 << 20];
	int fd = open_device(), kinds = 0, left = 0;
	struct shadowmm_version version;
	struct shadowmm_alloc alloc;
	struct shadowmm_page page;
	struct shadowmm_stage stage;
	struct shadowmm_mm_info info;
	char *window = open_window(fd, WINDOW);

	expect("a window can be had", window != MAP_FAILED && w_mmap(fd, NULL, PAGE, RW, PRIVATE) != MAP_FAILED);
	memset(&version, 0xaa, sizeof(version));
	memset(&version.head, 0, sizeof(version.head));
	version.reserved = 0;
	same("VERSION", 0, ASK(fd, SHADOWMM_IOC_VERSION, version));
	expect("is written whole", !is_filled(&version, sizeof(version)));
	memset(&stage, 0xaa, sizeof(stage));
	memset(&stage.head, 0, sizeof(stage.head));
	stage.op = SHADOWMM_STAGE_GET;
	same("STAGE", 0, ASK(fd, SHADOWMM_IOC_STAGE, stage));
	expect("is written whole", !is_filled(&stage, sizeof(stage)));
	memset(&alloc, 0xaa, sizeof(alloc));
	memset(&alloc.head, 0, sizeof(alloc.head));
	alloc.head.flags = SHADOWMM_ALLOC_MOVABLE;
	alloc.gfp = alloc.order = alloc.reserved = 0;
	alloc.nid = -1;
	same("ALLOC", 0, ASK(fd, SHADOWMM_IOC_ALLOC, alloc));
	expect("is written whole", !is_filled(&alloc, sizeof(alloc)));
	memset(&page, 0xaa, sizeof(page));
	memset(&page.head, 0, sizeof(page.head));
	page.pfn = alloc.pfn;
	page.reserved = 0;
	same("PAGE", 0, ASK(fd, SHADOWMM_IOC_PAGE, page));
	expect("is written whole", !is_filled(&page, sizeof(page)));
	memset(&info, 0xaa, sizeof(info));
	memset(&info.head, 0, sizeof(info.head));
	same("MM_INFO", 0, ASK(fd, SHADOWMM_IOC_MM_INFO, info));
	expect("is written whole", !is_filled(&info, sizeof(info)));
	for (unsigned int kind = 0; kind < 64; kind++) {
		unsigned int size = record_size(fd, kind);
		struct shadowmm_report request = {
			.kind = kind, .record_size = size, .buf = (uintptr_t)buf,
		};

		if (!size)
			continue;
		request.capacity = sizeof(buf) / size;
		memset(buf, 0xaa, sizeof(buf));
		if (ASK(fd, SHADOWMM_IOC_REPORT, request))
			continue;
		kinds++;
		if (request.count > request.capacity)
			request.count = request.capacity;
		if (is_filled(buf, (size_t)request.count * size)) {
			printf("# report %u\n", kind);
			left++;
		}
		if (buf[(size_t)request.count * size] != 0xaa && (size_t)request.count * size < sizeof(buf)) {
			printf("# report %u writes behind its last record\n", kind);
			left++;
		}
	}
	printf("# %d reports\n", kinds);
	expect("there are reports", kinds > 10);
	same("all of whose records are written whole", 0, left);
}

/* Who may not look at an address space is told that it is there, but not where. */
static void seen(void)
{
	int fds[2] = { open_device(), open_device() }, status = 0;
	char *window = open_window(fds[0], WINDOW);
	pid_t child;

	expect("a window can be had", window != MAP_FAILED);
	fflush(stdout);
	child = fork();
	if (!child) {
		struct shadowmm_rec_space spaces[16];
		struct shadowmm_report request = {
			.kind = SHADOWMM_REPORT_SPACES, .record_size = sizeof(*spaces), .capacity = 16,
			.buf = (uintptr_t)spaces,
		};
		unsigned int own = 0, others = 0, told = 0;
		char *mine;

		if (setgid(65534) || setuid(65534))
			_exit(2);
		mine = open_window(fds[1], WINDOW);
		if (ASK(fds[0], SHADOWMM_IOC_REPORT, request) || request.count > 16)
			_exit(3);
		for (unsigned int i = 0; i < request.count; i++) {
			struct shadowmm_rec_space *space = &spaces[i];

			if (space->window_start == (uintptr_t)mine) {
				own++;
				continue;
			}
			others++;
			told += (space->window_start | space->window_end | space->mmap_base | space->start_brk |
				 space->brk | space->start_stack) != 0;
		}
		_exit(own != 1 ? 4 : others < 2 ? 5 : told ? 6 : 0);
	}
	waitpid(child, &status, 0);
	same("of others' address spaces nobody is told where they are, of his own he is", 0, status);
	munmap(window, WINDOW);
	close(fds[0]);
	close(fds[1]);
}

/* --- numbers at the ends of their ranges --------------------------------------------- */

/* Every request with every field all ones, and with each word of it in turn at an end. */
static void extremes(void)
{
	static const __u64 ends[] = { 0, 1, ~0ULL, ~0ULL - 4095, 1ULL << 63, (1ULL << 63) - 1, 1ULL << 47,
				      0xffffffffULL, 0x80000000ULL, 0x7fffffffULL };
	enum { NR_ENDS = sizeof(ends) / sizeof(*ends) };
	unsigned long asked = 0, strange = 0;
	int fd = open_device();
	char *window = open_window(fd, WINDOW);

	w_mmap(fd, NULL, 64 * PAGE, RW, PRIVATE);
	for (unsigned int number = 0; number < 0x60; number++) {
		/* Those that begin the boot anew, and those that look at all of it and take their time. */
		if ((number >= 0x01 && number <= 0x02) || number == 0x07 || (number >= 0x10 && number <= 0x18))
			continue;
		for (unsigned int size = 16; size <= 96; size += 8)
			for (unsigned int word = 2; word < size / 8; word++)
				for (unsigned int end = 0; end < NR_ENDS; end++) {
					__u64 request[16] = { 0 };

					request[0] = size;
					request[word] = ends[end];
					strange += ioctl(fd, _IO(SHADOWMM_IOC_MAGIC, number), request) > 0;
					request[0] = size;
					request[1] = 0;
					for (unsigned int i = 2; i < size / 8; i++)
						request[i] = ends[(end + i) % NR_ENDS];
					strange += ioctl(fd, _IO(SHADOWMM_IOC_MAGIC, number), request) > 0;
					asked += 2;
				}
	}
	printf("# %lu requests\n", asked);
	munmap(window, WINDOW);
	close(fd);
	same("requests with numbers at the ends of their ranges are answered by 0 or an errno", 0, strange);
}

int main(int argc, char **argv)
{
	const char *part = argc > 1 ? argv[1] : "";

	if (!strcmp(part, "limits")) {
		pages_are_limited();
		objects_are_limited();
		spaces_are_limited();
		vmas_are_limited();
		touches_are_limited();
		written_from_outside();
		shared_memory_is_limited();
		tables_are_limited();
		forks_are_limited();
	} else if (!strcmp(part, "forbidden")) {
		forbidden(argc > 2 ? atoi(argv[2]) : open_device());
	} else if (!strcmp(part, "passed")) {
		int fd = atoi(argv[2]);
		__u64 pfn;

		same("through a descriptor that was passed pages can be had", 0, take(fd, 0, &pfn));
		same("and given back", 0, give(fd, 0, pfn));
		forbidden(fd);
	} else if (!strcmp(part, "greedy")) {
		greedy();
	} else if (!strcmp(part, "modest")) {
		modest();
	} else if (!strcmp(part, "leave")) {
		leave();
	} else if (!strcmp(part, "stale")) {
		/* That what is looked for would be found: it is not kept from whoever has CAP_SYS_ADMIN. */
		unsigned long seen = 0;

		expect("and have in them what was left there", objects_left(open_device(), &seen) > 0);
	} else if (!strcmp(part, "look")) {
		look();
	} else if (!strcmp(part, "caches")) {
		struct shadowmm_alloc alloc = { .head.flags = SHADOWMM_ALLOC_CACHE, .nid = -1 };

		refused("blocks that may be given up", ASK(open_device(), SHADOWMM_IOC_ALLOC, alloc), EOPNOTSUPP, NOT_SUPPORTED);
	} else if (!strcmp(part, "seen")) {
		seen();
	} else if (!strcmp(part, "structures")) {
		structures();
	} else if (!strcmp(part, "extremes")) {
		extremes();
	} else {
		fprintf(stderr, "access: no part '%s'\n", part);
		return 2;
	}
	return failures != 0;
}
