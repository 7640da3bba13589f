// SPDX-License-Identifier: GPL-2.0
/*
 * Processes that live in windows: they map, touch, protect, move and unmap, fork children and have threads,
 * and know of each page what must be in it.
 *
 *     torture PROCESSES SECONDS|forever SEED
 *
 * The exit status is 0 when each page had what was written to it, or nothing where it was new, and no call
 * failed but for want of memory. A process that the shadow has killed for memory begins anew.
 */
#include "mm.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>

#define AREAS 12

static uint64_t seed;
static int fd;
static time_t end;

static unsigned int dice(unsigned int sides)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 16) % sides;
}

/* `pages` from `at` on have `tag` in each, or nothing where they were not touched. */
static struct area {
	char *at;
	size_t pages;
	uint64_t tag;
	bool writable;
} areas[AREAS];

static uint64_t next_tag;

static void bad(const char *what, const volatile void *at)
{
	fprintf(stderr, "torture: %s at %p: %s, reason %u\n", what, (const void *)at, strerror(errno), reason);
	exit(1);
}

static void short_of_memory(const char *what)
{
	if (errno != ENOMEM && errno != EAGAIN)
		bad(what, NULL);
}

/* Reads each page, and writes some. */
static void use(struct area *area, unsigned int step)
{
	for (size_t i = dice(step); i < area->pages; i += step) {
		volatile uint64_t *word = (volatile uint64_t *)(area->at + i * PAGE);

		if (*word && *word != area->tag)
			bad("a page has what is not its own", word);
		if (area->writable)
			*word = area->tag;
	}
}

static void map(struct area *area)
{
	static const size_t sizes[] = { 1, 2, 7, 16, 60, 200, 513, 1025 };
	size_t pages = sizes[dice(8)];
	char *at = w_mmap(fd, NULL, pages * PAGE, RW, dice(4) ? MAP_PRIVATE : MAP_SHARED);

	if (at == MAP_FAILED)
		return short_of_memory("mapping");
	*area = (struct area){ at, pages, ++next_tag << 16 | 0x70, true };
	use(area, 1 + dice(4));
}

static void unmap(struct area *area)
{
	use(area, 1 + dice(4));
	if (w_munmap(fd, area->at, area->pages * PAGE)) {
		short_of_memory("unmapping");
		return;
	}
	area->at = NULL;
}

static void protect(struct area *area)
{
	if (w_mprotect(fd, area->at, area->pages * PAGE, area->writable ? PROT_READ : RW))
		return short_of_memory("protecting");
	area->writable = !area->writable;
}

static void move(struct area *area)
{
	size_t pages = 1 + dice(600);
	char *at = w_mremap(fd, area->at, area->pages * PAGE, pages * PAGE, MREMAP_MAYMOVE, NULL);

	if (at == MAP_FAILED) {
		/* What shares its pages has no more of them than it began with. */
		if (errno != EINVAL && errno != EFAULT)
			short_of_memory("moving");
		return;
	}
	area->at = at;
	if (pages < area->pages)
		area->pages = pages;
	else
		w_munmap(fd, at + area->pages * PAGE, (pages - area->pages) * PAGE);
}

static void *reader(void *arg)
{
	struct area *area = arg;

	for (size_t i = 0; i < area->pages; i++) {
		volatile uint64_t *word = (volatile uint64_t *)(area->at + i * PAGE);

		if (*word && *word != area->tag)
			bad("a thread sees what is not its own", word);
	}
	return NULL;
}

static void threads(struct area *area)
{
	pthread_t others[3];
	int started = 0;

	while (started < 3 && pthread_create(&others[started], NULL, reader, area) == 0)
		started++;
	use(area, 2);
	while (started)
		pthread_join(others[--started], NULL);
}

/* A child sees what there was, and what it writes is its own, but for what is shared. */
static void child(void)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return;
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (int i = 0; i < AREAS; i++)
			if (areas[i].at)
				use(&areas[i], 3);
		_exit(0);
	}
	for (int i = 0; i < AREAS; i++)
		if (areas[i].at)
			use(&areas[i], 5);
	if (!dice(4))
		kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) != pid)
		bad("waiting", NULL);
	/* SIGBUS: the parent's memory is there, but the child's tables could not be. */
	if (WIFSIGNALED(status) ? WTERMSIG(status) != SIGKILL && WTERMSIG(status) != SIGBUS && WTERMSIG(status) != SIGSEGV : WEXITSTATUS(status))
		bad("a child", NULL);
}

static void work(uint64_t first)
{
	char *window;

	seed = first | 1;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	fd = open_device();
	window = open_window(fd, 1UL << 36);
	while (!end || time(NULL) < end) {
		struct area *area = &areas[dice(AREAS)];
		unsigned int what = dice(20);

		if (!area->at)
			map(area);
		else if (what < 4)
			unmap(area);
		else if (what < 7)
			protect(area);
		else if (what < 10)
			move(area);
		else if (what < 12)
			threads(area);
		else if (what == 12)
			child();
		else
			use(area, 1 + dice(8));
		if (what == 13 && area->at && w_madvise(fd, area->at, area->pages * PAGE, MADV_DONTNEED))
			short_of_memory("advice");
	}
	munmap(window, 1UL << 36);
	exit(0);
}

static pid_t start(uint64_t first)
{
	pid_t pid = fork();

	if (pid == 0)
		work(first * 0x9e3779b97f4a7c15);
	return pid;
}

int main(int argc, char **argv)
{
	int running = argc == 4 ? atoi(argv[1]) : 0, status, killed = 0;
	uint64_t first = argc == 4 ? strtoull(argv[3], NULL, 0) * 1000 : 0;

	if (running < 1 || running > 64)
		return 2;
	if (strcmp(argv[2], "forever"))
		end = time(NULL) + atoi(argv[2]);
	for (int i = 0; i < running; i++)
		start(++first);
	while (running && wait(&status) > 0) {
		if (!WIFSIGNALED(status) && WEXITSTATUS(status))
			return 1;
		if (WIFSIGNALED(status)) {
			/* By the shadow, for memory; SIGBUS where it could not even do that. */
			if (WTERMSIG(status) != SIGKILL && WTERMSIG(status) != SIGBUS) {
				fprintf(stderr, "torture: signal %d\n", WTERMSIG(status));
				return 1;
			}
			killed++;
			if (!end || time(NULL) < end) {
				start(++first);
				continue;
			}
		}
		running--;
	}
	printf("torture: %d were killed for memory\n", killed);
	return 0;
}
