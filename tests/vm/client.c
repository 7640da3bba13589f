// SPDX-License-Identifier: GPL-2.0
/*
 * The library for C, as somebody uses it who has its header and nothing else of this tree: each of its
 * functions, and errno.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <shadowmm_client.h>

#define PAGE 4096UL
#define WINDOW (1UL << 36)
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static int failures;

static void same(const char *name, long want, long got)
{
	if (want == got)
		printf("ok client: %s\n", name);
	else
		printf("not ok client: %s: %ld (0x%lx) in place of %ld (0x%lx): %s\n", name, got, got, want, want,
		       shadowmm_error());
	fflush(stdout);
	failures += want != got;
}

/* Refused with this errno, and a sentence. */
#define REFUSED(name, want, call)					\
	do {								\
		errno = 0;						\
		same(name, -1, (long)(call));				\
		same(name ": errno", want, errno);			\
		same(name ": a sentence", 1, *shadowmm_error() != 0);	\
	} while (0)

static long lines(struct shadowmm *s)
{
	char maps[4096];
	long count = 0;

	if (shadowmm_maps(s, maps, sizeof(maps)) < 0)
		return -1;
	for (const char *p = maps; *p; p++)
		count += *p == '\n';
	return count;
}

int main(void)
{
	unsigned char vec[8];
	char maps[4096], few[8], file[] = "/tmp/client-XXXXXX";
	struct shadowmm *s;
	char *window, *p, *q;
	ssize_t len;
	int pid, end, fd;

	same("no device", 1, !shadowmm_open("/dev/null/nothing"));
	same("another device", 1, !shadowmm_open("/dev/null"));
	same("another device: errno", ENOTTY, errno);
	s = shadowmm_open(NULL);
	if (!s) {
		printf("not ok client: open: %s\n", shadowmm_error());
		return 1;
	}
	REFUSED("no window yet", ENXIO, shadowmm_munmap(s, &pid, PAGE));
	REFUSED("no id", ENXIO, shadowmm_id(s));
	REFUSED("no maps", ENXIO, shadowmm_maps(s, maps, sizeof(maps)));
	REFUSED("no window to close", ENXIO, shadowmm_window_close(s));
	REFUSED("configure with bits", EINVAL, shadowmm_configure(s, 0x100, 0));
	same("configure", 0, shadowmm_configure(s, SHADOWMM_CLIENT_BARE, 0));
	window = shadowmm_window(s, NULL, WINDOW);
	same("window", 1, window != MAP_FAILED);
	REFUSED("a second window", EBUSY, shadowmm_window(s, NULL, WINDOW));
	same("id", 1, shadowmm_id(s) > 0);
	same("nothing in it", 0, lines(s));

	p = shadowmm_mmap(s, NULL, 16 * PAGE, RW, ANON, -1, 0);
	same("mmap", 1, p >= window && p + 16 * PAGE <= window + WINDOW);
	memset(p, 7, 8 * PAGE);
	same("mincore", 0, shadowmm_mincore(s, p + 4 * PAGE, 8 * PAGE, vec));
	same("what is there", 1, vec[0] == 1 && vec[3] == 1 && vec[4] == 0 && vec[7] == 0);
	REFUSED("mincore of too much", ENOMEM, shadowmm_mincore(s, p, -PAGE, vec));
	same("mprotect", 0, shadowmm_mprotect(s, p + 4 * PAGE, 4 * PAGE, PROT_READ));
	same("which makes three of one", 3, lines(s));
	len = shadowmm_maps(s, maps, sizeof(maps));
	same("maps", 1, len > 0 && len == (ssize_t)strlen(maps));
	same("maps into little room", len, shadowmm_maps(s, few, sizeof(few)));
	same("which ends there", 0, strncmp(maps, few, sizeof(few) - 1) || few[sizeof(few) - 1]);
	same("maps into none", len, shadowmm_maps(s, NULL, 0));
	same("madvise", 0, shadowmm_madvise(s, p, 2 * PAGE, MADV_DONTNEED));
	same("what is given up is zero", 0, p[0]);
	REFUSED("madvise that is none", EINVAL, shadowmm_madvise(s, p, PAGE, 99));
	same("mremap", 1, (q = shadowmm_mremap(s, p + 8 * PAGE, 8 * PAGE, 32 * PAGE, MREMAP_MAYMOVE, NULL)) != MAP_FAILED);
	REFUSED("mremap of nothing there", EFAULT, shadowmm_mremap(s, window, PAGE, 2 * PAGE, 0, NULL));
	same("mlock", 0, shadowmm_mlock(s, q, 4 * PAGE));
	same("mlock2", 0, shadowmm_mlock2(s, q + 4 * PAGE, PAGE, MLOCK_ONFAULT));
	same("munlock", 0, shadowmm_munlock(s, q, 5 * PAGE));
	same("mlockall", 0, shadowmm_mlockall(s, MCL_FUTURE));
	same("munlockall", 0, shadowmm_munlockall(s));
	REFUSED("mlockall of nothing", EINVAL, shadowmm_mlockall(s, 0));
	same("msync", 0, shadowmm_msync(s, q, PAGE, MS_SYNC));
	REFUSED("msync of a hole", ENOMEM, shadowmm_msync(s, window, PAGE, MS_SYNC));

	char *heap = shadowmm_sbrk(s, 4 * PAGE);

	same("sbrk", 1, heap != (void *)-1);
	heap[0] = 1;
	same("sbrk tells where it ended", (long)(heap + 4 * PAGE), (long)shadowmm_sbrk(s, 0));
	same("brk", 0, shadowmm_brk(s, heap));
	/* As in the C library, which minds only an end that is lower than it asked for. */
	same("brk to where there is no heap", 0, shadowmm_brk(s, (void *)1));
	same("brk to nowhere", 0, shadowmm_brk(s, NULL));
	same("sbrk below the heap", (long)heap, (long)shadowmm_sbrk(s, -(long)PAGE));
	same("none of which moves it", (long)heap, (long)shadowmm_sbrk(s, 0));
	REFUSED("brk to what no process has", ENOMEM, shadowmm_brk(s, (void *)-PAGE));
	REFUSED("sbrk beyond the window", ENOMEM, shadowmm_sbrk(s, 2 * WINDOW));
	REFUSED("sbrk below zero", ENOMEM, shadowmm_sbrk(s, INTPTR_MIN));
	same("and these neither", (long)heap, (long)shadowmm_sbrk(s, 0));

	fd = mkstemp(file);
	same("a file", 5, write(fd, "hello", 5));
	char *text = shadowmm_mmap(s, NULL, PAGE, RW, MAP_PRIVATE, fd, 0);

	same("its content", 1, text != MAP_FAILED && !strcmp(text, "hello"));
	REFUSED("no file", EBADF, shadowmm_mmap(s, NULL, PAGE, RW, MAP_PRIVATE, -1, 0));
	unlink(file);
	close(fd);

	p[2 * PAGE] = 1;
	pid = fork();
	if (!pid) {
		p[2 * PAGE] = 2;
		/* The handle is the child's own there. */
		bool good = shadowmm_munmap(s, text, PAGE) == 0 && p[2 * PAGE] == 2;

		shadowmm_close(s);
		_exit(!good);
	}
	waitpid(pid, &end, 0);
	same("a child has a copy, and the handle", 0, end);
	same("which the parent does not see", 1, p[2 * PAGE] == 1 && text[0] == 'h');
	same("munmap", 0, shadowmm_munmap(s, p, 8 * PAGE));
	REFUSED("munmap at no page's start", EINVAL, shadowmm_munmap(s, p + 1, PAGE));
	same("the window is closed", 0, shadowmm_window_close(s));
	same("configure again", 0, shadowmm_configure(s, SHADOWMM_CLIENT_RBTREE | SHADOWMM_CLIENT_LEGACY, 1));
	same("a window at a place", (long)window, (long)shadowmm_window(s, window, WINDOW));
	same("with a stack", 1, lines(s));
	shadowmm_close(s);
	shadowmm_close(NULL);
	return failures != 0;
}
