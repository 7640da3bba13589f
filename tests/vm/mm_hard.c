// SPDX-License-Identifier: GPL-2.0
/*
 * Windows under load, for suite-mm-hard, which has the arguments:
 *
 *     faults N THREADS     so many faults of threads; what they needed the lock of the whole for
 *     eat MIB [ADJ]        touches so much, with that oom_score_adj; stays until stdin ends
 *     leave MIB            the same, with threads that touch more when they end
 *     huge ADVICE          touches a byte of each of four times 2 MiB; stays until stdin ends
 *     split                what is done to a part of 2 MiB
 *     passed               a window's file is passed to another process
 */
#include "mm.h"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>

#include "passing.h"

#define HUGE (2UL << 20)
#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 8
#endif

static int fd;
static char *window;

/* --- faults --------------------------------------------------------------------------- */

#define EACH 512

static unsigned long rounds;

/* Its own part, in the same VMA as all others'. */
static void *faulter(void *arg)
{
	char *part = arg;

	for (unsigned long round = 0; round < rounds; round++) {
		for (int i = 0; i < EACH; i++)
			*(volatile char *)(part + i * PAGE) = 1;
		if (w_madvise(fd, part, EACH * PAGE, MADV_DONTNEED))
			return "MADV_DONTNEED";
	}
	return NULL;
}

static int faults(unsigned long wanted, unsigned int nr)
{
	pthread_t threads[64];
	char *p = w_mmap(fd, NULL, nr * EACH * PAGE, RW, PRIVATE);
	bool good = true;
	void *failed;

	w_madvise(fd, p, nr * EACH * PAGE, MADV_NOHUGEPAGE);
	rounds = (wanted + nr * EACH - 1) / (nr * EACH);
	for (unsigned int i = 0; i < nr; i++)
		pthread_create(&threads[i], NULL, faulter, p + i * EACH * PAGE);
	for (unsigned int i = 0; i < nr; i++) {
		pthread_join(threads[i], &failed);
		good &= !failed;
	}
	struct shadowmm_rec_space space = w_space(fd);

	printf("%u threads: %llu faults with the lock of a VMA, %llu with that of the address space, %llu pages left\n",
	       nr, (unsigned long long)space.faults_vma_lock, (unsigned long long)space.faults_mmap_lock,
	       (unsigned long long)space.rss[1]);
	return good && space.faults_vma_lock >= wanted && !space.faults_mmap_lock && !space.rss[1] ? 0 : 1;
}

/* --- what others look at --------------------------------------------------------------- */

static void stay(void)
{
	char byte;

	printf("%u %d\n", w_space(fd).id, getpid());
	fflush(stdout);
	while (read(0, &byte, 1) > 0)
		;
}

static int eat(size_t mib, const char *adj)
{
	FILE *file = adj ? fopen("/proc/self/oom_score_adj", "w") : NULL;

	if (adj && (!file || fputs(adj, file) < 0 || fclose(file))) {
		perror("oom_score_adj");
		return 2;
	}
	char *p = w_mmap(fd, NULL, mib << 20, RW, PRIVATE | MAP_NORESERVE);

	if (p == MAP_FAILED)
		return 3;
	w_madvise(fd, p, mib << 20, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < mib << 20; i += PAGE)
		p[i] = 1;
	stay();
	return 0;
}

#define LEAVERS 4

static pthread_barrier_t all_there;

/* Its number is cleared where nothing is yet, when it ends (CLONE_CHILD_CLEARTID); nobody joins it. */
static void *leaver(void *place)
{
	syscall(SYS_set_tid_address, place);
	pthread_barrier_wait(&all_there);
	for (;;)
		pause();
	return NULL;
}

/* Killed for what it eats, it has threads that need memory to end. */
static int leave(size_t mib)
{
	char *places = w_mmap(fd, NULL, LEAVERS * HUGE, RW, PRIVATE | MAP_NORESERVE);
	pthread_t thread;

	if (places == MAP_FAILED)
		return 3;
	w_madvise(fd, places, LEAVERS * HUGE, MADV_NOHUGEPAGE);
	pthread_barrier_init(&all_there, NULL, LEAVERS + 1);
	for (int i = 0; i < LEAVERS; i++)
		if (pthread_create(&thread, NULL, leaver, places + i * HUGE))
			return 4;
	pthread_barrier_wait(&all_there);
	return eat(mib, NULL);
}

/*
 * Memory that nobody would miss, filled, of another process than the one that needs some then: how much of
 * it has gone when that has what it wants. It has `flags` and is given `advice`.
 */
static int unneeded(size_t mib, int flags, int advice)
{
	size_t len = mib << 20, gone = 0;
	char *p = w_mmap(fd, NULL, len, RW, flags | MAP_NORESERVE);
	int status;

	if (p == MAP_FAILED)
		return 3;
	w_madvise(fd, p, len, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < len; i += PAGE)
		p[i] = 1;
	if (advice && w_madvise(fd, p, len, advice))
		return 4;
	pid_t child = fork();

	if (child == 0) {
		/* What a fork shares stays. */
		w_munmap(fd, p, len);
		char *q = w_mmap(fd, NULL, len, RW, PRIVATE | MAP_NORESERVE);

		for (size_t i = 0; q != MAP_FAILED && i < len; i += PAGE)
			q[i] = 1;
		_exit(q == MAP_FAILED);
	}
	if (waitpid(child, &status, 0) != child || status)
		return 5;
	for (size_t i = 0; i < len; i += PAGE)
		gone += !p[i];
	printf("%zu of %zu have gone\n", gone, len / PAGE);
	return gone ? 0 : 6;
}

static int huge(const char *advice)
{
	char *p = w_mmap(fd, NULL, 4 * HUGE, RW, PRIVATE);

	if (!strcmp(advice, "hugepage"))
		w_madvise(fd, p, 4 * HUGE, MADV_HUGEPAGE);
	else if (!strcmp(advice, "nohugepage"))
		w_madvise(fd, p, 4 * HUGE, MADV_NOHUGEPAGE);
	for (int i = 0; i < 4; i++)
		p[i * HUGE + 12345] = i + 1;
	for (int i = 0; i < 4; i++)
		if (p[i * HUGE + 12345] != i + 1 || p[i * HUGE] || p[i * HUGE + HUGE - 1])
			return 2;
	stay();
	return 0;
}

/* --- parts of 2 MiB ---------------------------------------------------------------------- */

static void fill(char *p, size_t len)
{
	for (size_t i = 0; i < len; i += PAGE)
		*(size_t *)(p + i) = i + 1;
}

static size_t wrong(char *p, size_t from, size_t to)
{
	size_t bad = 0;

	for (size_t i = from; i < to; i += PAGE)
		bad += *(size_t *)(p + i) != i + 1;
	return bad;
}

static void part_split(void)
{
	char *p = w_mmap(fd, NULL, 2 * HUGE, RW, PRIVATE);
	int status;

	same("it begins where 2 MiB begin", 0, (uintptr_t)p % HUGE);
	w_madvise(fd, p, 2 * HUGE, MADV_HUGEPAGE);
	fill(p, 2 * HUGE);
	same("all is resident", 1024, w_space(fd).rss[1]);
	same("mprotect of a page", 0, w_mprotect(fd, p + 5 * PAGE, PAGE, PROT_READ));
	same("nothing is lost by it", 0, wrong(p, 0, 2 * HUGE));
	same("munmap of a page", 0, w_munmap(fd, p + 7 * PAGE, PAGE));
	same("a page less", 1023, w_space(fd).rss[1]);
	same("the rest is there", 0, wrong(p, 0, 7 * PAGE) + wrong(p, 8 * PAGE, 2 * HUGE));
	same("MADV_DONTNEED of a page of the other", 0, w_madvise(fd, p + HUGE + 3 * PAGE, PAGE, MADV_DONTNEED));
	same("two pages less", 1022, w_space(fd).rss[1]);
	same("it is zero then", 0, *(long *)(p + HUGE + 3 * PAGE));
	same("munmap", 0, w_munmap(fd, p, 2 * HUGE));

	p = w_mmap(fd, NULL, HUGE, RW, PRIVATE);
	w_madvise(fd, p, HUGE, MADV_HUGEPAGE);
	fill(p, HUGE);
	fflush(stdout);
	pid_t child = fork();

	if (child == 0) {
		size_t bad = wrong(p, 0, HUGE);

		memset(p + 9 * PAGE, 0xff, PAGE);
		_exit(bad + wrong(p, 0, 9 * PAGE) + wrong(p, 10 * PAGE, HUGE) != 0);
	}
	waitpid(child, &status, 0);
	same("a child writes to a page of 2 MiB", 0, status);
	same("its parent sees nothing of it", 0, wrong(p, 0, HUGE));
	fill(p, HUGE);
	char *q = w_mremap(fd, p, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, p - 3 * HUGE);

	same("moved", 0, q == MAP_FAILED ? 1 : wrong(q, 0, HUGE));
	same("all is resident still", 512, w_space(fd).rss[1]);
	q = w_mremap(fd, q, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, p - 6 * HUGE + PAGE);
	same("moved to where 2 MiB don't begin", 0, q == MAP_FAILED ? 1 : wrong(q, 0, HUGE));
	same("munmap of it", 0, w_munmap(fd, q, HUGE));
	same("nothing is left", 0, w_space(fd).rss[1]);
}

/* --- a file on its way ------------------------------------------------------------------- */

/* What somebody can do with another's file: have a window of his own. */
static void with_anothers(int other, char *place)
{
	same("requests to a window that one has not", -1, w_munmap(other, place, PAGE));
	same("are refused", ENXIO, errno);
	same("for want of a window", 230, reason);
	same("so is mmap", -1, (long)w_mmap(other, NULL, PAGE, RW, PRIVATE));
	same("and what is told of it", 0, w_space(other).id);
	char *own = open_window(other, WINDOW);
	char *p = w_mmap(other, NULL, PAGE, RW, PRIVATE);

	expect("a window of one's own can be had", p >= own && p < own + WINDOW);
	*p = 'r';
	same("with its own memory", 1, w_space(other).rss[1]);
	expect("its owner is who has mapped it", w_space(other).pid == (unsigned int)getpid());
	same("it ends", 0, munmap(own, WINDOW));
}

static void part_passed(void)
{
	char *p = w_mmap(fd, NULL, 4 * PAGE, RW, PRIVATE), byte = 0;
	int ends[2], status;

	memset(p, 's', 4 * PAGE);
	same("a socket", 0, socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends));
	unsigned int before = w_spaces(fd);

	/* To a child whose own window, which fork gave it, is gone. */
	fflush(stdout);
	pid_t child = fork();

	if (child == 0) {
		failures = 0;
		munmap(window, WINDOW);
		int own = fd, got = receive_file(ends[1]);

		fd = open_device();
		close(own);
		expect("the file arrives", got >= 0);
		with_anothers(got, p);
		same("the sender's window is the sender's", before, w_spaces(fd));
		_exit(write(ends[1], &byte, 1) != 1 || failures);
	}
	send_file(ends[0], fd);
	same("the receiver has had his way", 1, read(ends[0], &byte, 1));
	waitpid(child, &status, 0);
	same("and was content", 0, status);
	same("what the sender had in his window", 's', p[0]);
	same("he may still use it", 0, w_madvise(fd, p, PAGE, MADV_DONTNEED));
	same("as before", 0, p[0]);

	/* From a child that ends: its window ends with it, though its file is here. */
	fflush(stdout);
	child = fork();
	if (child == 0) {
		int own = open_device();
		char *theirs = open_window(own, 1 << 30);
		char *q = w_mmap(own, NULL, 16 * PAGE, RW, PRIVATE);

		memset(q, 1, 16 * PAGE);
		send_file(ends[1], own);
		_exit(q < theirs);
	}
	waitpid(child, &status, 0);
	same("a sender that ends", 0, status);
	int got = receive_file(ends[0]);

	expect("leaves his file", got >= 0);
	same("and no window", before, w_spaces(fd));
	with_anothers(got, p);
	close(got);
	close(ends[0]);
	close(ends[1]);
	same("munmap", 0, w_munmap(fd, p, 4 * PAGE));
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "", *first = argc > 2 ? argv[2] : "0";

	fd = open_device();
	window = open_window(fd, WINDOW);
	if (!strcmp(what, "faults"))
		return faults(strtoul(first, NULL, 10), argc > 3 ? strtoul(argv[3], NULL, 10) : 2);
	if (!strcmp(what, "eat"))
		return eat(strtoul(first, NULL, 10), argc > 3 ? argv[3] : NULL);
	if (!strcmp(what, "leave"))
		return leave(strtoul(first, NULL, 10));
	if (!strcmp(what, "droppable"))
		return unneeded(strtoul(first, NULL, 10), MAP_DROPPABLE, 0);
	if (!strcmp(what, "free"))
		return unneeded(strtoul(first, NULL, 10), MAP_PRIVATE, MADV_FREE);
	if (!strcmp(what, "huge"))
		return huge(first);
	if (!strcmp(what, "split"))
		part_split();
	else if (!strcmp(what, "passed"))
		part_passed();
	else
		return 2;
	return failures != 0;
}
