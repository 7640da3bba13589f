// SPDX-License-Identifier: GPL-2.0
/*
 * What becomes of pages by advice, and what is told of those that are there: in a window, and in
 * memory of the same shape that is the host's.
 */
#include "mm.h"

#include <sys/stat.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define HUGE (2UL << 20)
#define PS (1UL << 7)

static int fd;

/* Memory of both, of one shape: the window's, and the host's. */
struct both {
	char *shadow, *host;
};

static struct both map(size_t len, int prot, int flags)
{
	struct both both = {
		.shadow = w_mmap(fd, NULL, len, prot, flags),
		.host = mmap(NULL, len, prot, flags | MAP_ANONYMOUS, -1, 0),
	};

	if (both.shadow == MAP_FAILED || both.host == MAP_FAILED) {
		perror("not ok memory of both");
		exit(1);
	}
	return both;
}

static void unmap(struct both both, size_t len)
{
	w_munmap(fd, both.shadow, len);
	munmap(both.host, len);
}

#define ADVISE(name, both, offset, len, advice)                                \
	BOTH(name, w_madvise(fd, (both).shadow + (offset), len, advice),       \
	     madvise((both).host + (offset), len, advice))

/* Of 16 pages that a child has, too, some are removed: what each finds in them then, as bits. */
static long remove_in(char *p, bool window)
{
	int go[2], looked[2], status;
	long seen = 0;
	char byte = 0;

	for (int i = 0; i < 16; i++)
		p[i * PAGE] = 1;
	if (pipe(go) || pipe(looked))
		return -1;
	pid_t child = fork();

	if (child == 0) {
		int wrong = 0;

		for (int i = 0; i < 16; i++)
			wrong |= p[i * PAGE] != 1;
		wrong |= write(looked[1], &byte, 1) != 1;
		wrong |= read(go[0], &byte, 1) != 1;
		for (int i = 0; i < 16; i++)
			wrong |= p[i * PAGE] != !(i >= 3 && i < 9);
		p[4 * PAGE] = 5;
		_exit(wrong);
	}
	close(looked[1]);
	if (read(looked[0], &byte, 1) != 1)
		return -1;
	int done = window ? w_madvise(fd, p + 3 * PAGE, 6 * PAGE, MADV_REMOVE) : madvise(p + 3 * PAGE, 6 * PAGE, MADV_REMOVE);

	if (write(go[1], p, 1) != 1 || waitpid(child, &status, 0) != child)
		return -1;
	close(go[0]);
	close(go[1]);
	close(looked[0]);
	for (int i = 0; i < 16; i++)
		seen |= (long)(p[i * PAGE] & 7) << (i * 3);
	return done || status ? -1 : seen;
}

static void part_remove(void)
{
	struct both shared = map(16 * PAGE, RW, MAP_SHARED), own = map(4 * PAGE, RW, MAP_PRIVATE);
	struct both read_only = map(4 * PAGE, PROT_READ, MAP_SHARED);
	long seen = remove_in(shared.shadow, true);

	expect("MADV_REMOVE empties pages for all who have them", seen > 0);
	same("as the host's does", remove_in(shared.host, false), seen);
	ADVISE("MADV_REMOVE of private memory", own, 0, PAGE, MADV_REMOVE);
	ADVISE("MADV_REMOVE of what is read alone", read_only, 0, PAGE, MADV_REMOVE);
	BOTH("mlock", w_lock(fd, SHADOWMM_MM_MLOCK, shared.shadow, PAGE, 0), mlock(shared.host, PAGE));
	ADVISE("MADV_REMOVE of locked memory", shared, 0, 4 * PAGE, MADV_REMOVE);
	ADVISE("MADV_REMOVE behind it", shared, PAGE, 4 * PAGE, MADV_REMOVE);
	same("what nobody else maps has gone", 12, w_space(fd).rss[3]);
	BOTH("munmap", w_munmap(fd, shared.shadow + 15 * PAGE, PAGE), munmap(shared.host + 15 * PAGE, PAGE));
	ADVISE("MADV_REMOVE into a hole", shared, 14 * PAGE, 2 * PAGE, MADV_REMOVE);
	same("up to which it has gone", 10, w_space(fd).rss[3]);
	unmap(shared, 16 * PAGE);
	unmap(own, 4 * PAGE);
	unmap(read_only, 4 * PAGE);
}

static bool is_huge(char *p)
{
	struct shadowmm_mm_walk walk = w_walk(fd, p);

	return walk.levels == 3 && (walk.entry[2] & PS);
}

static void part_collapse(void)
{
	struct both all = map(4 * HUGE, RW, MAP_PRIVATE), at = all, shared = map(4 * PAGE, RW, MAP_SHARED);

	at.shadow = (char *)(((uintptr_t)at.shadow + HUGE - 1) & -HUGE);
	at.host = (char *)(((uintptr_t)at.host + HUGE - 1) & -HUGE);
	ADVISE("MADV_NOHUGEPAGE", at, 0, 3 * HUGE, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < HUGE / PAGE; i += 2) {
		at.shadow[i * PAGE] = at.host[i * PAGE] = i;
		at.shadow[i * PAGE + 1] = at.host[i * PAGE + 1] = 1;
	}
	ADVISE("MADV_COLLAPSE where none are wanted", at, 0, HUGE, MADV_COLLAPSE);
	ADVISE("MADV_HUGEPAGE", at, 0, 3 * HUGE, MADV_HUGEPAGE);
	expect("pages that are there stay pages", !is_huge(at.shadow));
	ADVISE("MADV_COLLAPSE of less than 2 MiB", at, PAGE, HUGE, MADV_COLLAPSE);
	ADVISE("MADV_COLLAPSE", at, 0, HUGE, MADV_COLLAPSE);
	expect("they are 2 MiB then", is_huge(at.shadow));
	same("with what was in them", 0, memcmp(at.shadow, at.host, HUGE));
	ADVISE("MADV_COLLAPSE of what is 2 MiB already", at, 0, HUGE, MADV_COLLAPSE);
	ADVISE("MADV_COLLAPSE of what nobody has touched", at, HUGE, HUGE, MADV_COLLAPSE);
	ADVISE("MADV_COLLAPSE of both", at, 0, 2 * HUGE, MADV_COLLAPSE);
	at.shadow[5 * PAGE] = at.host[5 * PAGE] = 6;
	fflush(stdout);
	pid_t child = fork();
	int status;

	if (child == 0) {
		at.shadow[7 * PAGE] = at.host[7 * PAGE] = 8;
		int wrong = w_madvise(fd, at.shadow, HUGE, MADV_COLLAPSE) || memcmp(at.shadow, at.host, HUGE);

		_exit(wrong || !is_huge(at.shadow));
	}
	waitpid(child, &status, 0);
	same("MADV_COLLAPSE of what a fork shares", 0, status);
	same("of which its parent sees nothing", at.host[7 * PAGE], at.shadow[7 * PAGE]);
	BOTH("munmap", w_munmap(fd, at.shadow + 9 * PAGE, PAGE), munmap(at.host + 9 * PAGE, PAGE));
	ADVISE("MADV_COLLAPSE with a hole", at, 0, HUGE, MADV_COLLAPSE);
	ADVISE("MADV_COLLAPSE where nothing is", at, 9 * PAGE, PAGE, MADV_COLLAPSE);
	FAILS("MADV_COLLAPSE of shared memory", EINVAL, w_madvise(fd, shared.shadow, PAGE, MADV_COLLAPSE));
	unmap(all, 4 * HUGE);
	unmap(shared, 4 * PAGE);
}

/* How a child ends that writes to a place. */
static int ends_at(char *place)
{
	int status;

	fflush(stdout);
	pid_t child = fork();

	if (child == 0) {
		*place = 1;
		_exit(0);
	}
	waitpid(child, &status, 0);
	return status;
}

static void part_zero(void)
{
	int zero = open("/dev/zero", O_RDWR), reads = open("/dev/zero", O_RDONLY), null = open("/dev/null", O_RDWR);
	char *p = w_mmap_of(fd, NULL, 4 * PAGE, RW, MAP_PRIVATE, zero, 0);
	char *q = w_mmap_of(fd, NULL, 4 * PAGE, RW, MAP_SHARED, zero, PAGE);
	int status;

	char *host = mmap(NULL, 4 * PAGE, RW, MAP_SHARED, zero, PAGE);

	expect("/dev/zero is mapped", p != MAP_FAILED && q != MAP_FAILED && host != MAP_FAILED);
	if (p == MAP_FAILED || q == MAP_FAILED)
		return;
	same("there are zeroes", 0, p[0] | q[0]);
	p[PAGE] = q[PAGE] = 1;
	fflush(stdout);
	pid_t child = fork();

	if (child == 0) {
		p[PAGE] = q[PAGE] = 2;
		_exit(0);
	}
	waitpid(child, &status, 0);
	same("a private one is everybody's own", 1, p[PAGE]);
	same("a shared one is not", 2, q[PAGE]);
	same("the last page of a shared one that begins behind its start", ends_at(host + 3 * PAGE), ends_at(q + 3 * PAGE));
	same("the one before", ends_at(host + 2 * PAGE), ends_at(q + 2 * PAGE));
	munmap(host, 4 * PAGE);
	same("no page of it is a file's", 0, w_space(fd).rss[0]);
	BOTH_OF("/dev/zero that is read alone, shared", PAGE, PROT_READ, MAP_SHARED, reads);
	BOTH_OF("/dev/zero that is read alone, shared, for writing", PAGE, RW, MAP_SHARED, reads);
	BOTH_OF("/dev/zero that is read alone, private, for writing", PAGE, RW, MAP_PRIVATE, reads);
	BOTH_OF("/dev/zero that grows", PAGE, RW, MAP_PRIVATE | MAP_GROWSDOWN, zero);
	BOTH_OF("/dev/zero of no type", PAGE, RW, 0, zero);
	BOTH_OF("/dev/zero with MAP_HUGETLB", PAGE, RW, MAP_PRIVATE | MAP_HUGETLB, zero);
	BOTH_OF("/dev/null", PAGE, PROT_READ, MAP_PRIVATE, null);
	close(zero);
	close(reads);
	close(null);
}

/* Faults of a page of a file that is in the page cache, and what is told of pages that are there. */
static void part_cached(void)
{
	char name[] = "/tmp/advice-XXXXXX", text[16 * PAGE];
	unsigned char vec[32], host_vec[32];
	int file = mkstemp(name), status;

	memset(text, 7, sizeof(text));
	same("a file", sizeof(text), write(file, text, sizeof(text)));
	same("with nothing behind", 0, ftruncate(file, 32 * PAGE));
	struct both of = {
		.shadow = w_mmap_of(fd, NULL, 32 * PAGE, RW, MAP_PRIVATE, file, 0),
		.host = mmap(NULL, 32 * PAGE, RW, MAP_PRIVATE, file, 0),
	};
	BOTH("mincore", w_mincore(fd, of.shadow, 32 * PAGE, vec), mincore(of.host, 32 * PAGE, host_vec));
	same("what the page cache has is there", 0, memcmp(vec, host_vec, sizeof(vec)));
	same("the first page is", 1, vec[0]);
	struct shadowmm_rec_space before = w_space(fd), now;
	int sum = 0;

	for (int i = 0; i < 16; i++)
		sum += of.shadow[i * PAGE];
	now = w_space(fd);
	same("its content", 16 * 7, sum);
	same("nobody waited for it", 0, now.maj_flt - before.maj_flt);
	expect("but there were faults", now.min_flt - before.min_flt >= 1);
	same("anybody may read it", 0, fchmod(file, 0644));
	fflush(stdout);
	pid_t child = fork();

	if (child == 0) {
		int wrong = setresuid(65534, 65534, 65534);

		memset(vec, 0, sizeof(vec));
		wrong |= w_mincore(fd, of.shadow, 32 * PAGE, vec);
		wrong |= mincore(of.host, 32 * PAGE, host_vec);
		_exit(wrong || vec[31] != 1 || memcmp(vec, host_vec, sizeof(vec)));
	}
	waitpid(child, &status, 0);
	same("who may not write to it is told that all is there", 0, status);
	unmap(of, 32 * PAGE);
	close(file);
	unlink(name);
}

int main(void)
{
	void (*const parts[])(void) = { part_remove, part_collapse, part_zero, part_cached };

	for (unsigned int i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		fd = open_device();
		w_configure(fd, SHADOWMM_MM_BARE);
		char *window = open_window(fd, WINDOW);

		parts[i]();
		munmap(window, WINDOW);
		close(fd);
	}
	return failures != 0;
}
