// SPDX-License-Identifier: GPL-2.0
/*
 * Random requests to the module from several processes, which fork, have threads and are killed:
 *
 *     fuzz --seed S [--ops N] [--seconds T] [--processes P] [--idle NODE] [--boots] [--trace]
 *
 * Each process makes up to N operations, and new ones come until T seconds are over. Every second one
 * has lost CAP_SYS_ADMIN. With --boots they begin the boot anew, too. One process without --seconds does the
 * same every time with the same seed; --trace says each operation before it is done.
 *
 * The exit status is 0 when no answer was one that must not be: a refusal without a reason, a success with
 * one, an invariant that does not hold, a byte of a stranger's. What processes hold goes with them; the
 * caches that they have left are destroyed, and the knobs are what they were.
 */
#include "fuzz.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <linux/capability.h>

__thread uint64_t seed;
struct process me;

static unsigned long first_seed;
static long most_ops = 20000;
static bool trace;

/* --- what was done last, for whoever outlives it -------------------------------------- */

#define NOTES 16
#define CHILDREN 16
static struct notes {
	_Atomic unsigned long done, good;
	char last[NOTES][160];
} *all_notes, *notes;

void note(const char *format, ...)
{
	unsigned long at = notes->done++;
	va_list args;

	va_start(args, format);
	vsnprintf(notes->last[at % NOTES], sizeof(notes->last[0]), format, args);
	va_end(args);
	if (trace)
		fprintf(stderr, "%d %lu: %s\n", getpid(), at, notes->last[at % NOTES]);
}

void wrong(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "fuzz: seed %lu, family %x: ", first_seed, me.family);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	for (unsigned long i = notes->done > NOTES ? notes->done - NOTES : 0; i < notes->done; i++)
		fprintf(stderr, "    %lu: %s\n", i, notes->last[i % NOTES]);
	_exit(3);
}

uint64_t number(void)
{
	static const uint64_t near[] = { 0, 1, 8, PAGE, 1 << 20, 1ul << 31, 1ul << 32, 1ul << 40, 0x100000000000, 1ul << 47, 1ul << 63, ~0ul,
					 0xffff888000000000, 0xffffffff81000000 };

	switch (dice(4)) {
	case 0:
		return draw() >> dice(64);
	case 1:
		return 1ul << dice(64);
	default:
		return ONE_OF(near) + dice(5) - 2;
	}
}

char *far_away(size_t len)
{
	static uintptr_t nr;
	char *at = (char *)(0x200005eed000 + 0x10000000000 * nr++);

	if (mmap(at, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0) != at)
		wrong("no memory for a buffer");
	return at;
}

/* --- files and threads --------------------------------------------------------------------- */

static void open_file(void)
{
	int at = dice(FILES), fd = dice(8) ? open(SHADOWMM_DEVICE, O_RDWR | O_CLOEXEC) : dup(me.fds[dice(FILES)]), old = me.fds[at];

	note("open %d in place of %d", fd, old);
	me.fds[at] = fd;
	if (old >= 0)
		close(old);
}

/* It has its own chance, but the files, windows and pages are those of all. */
static void *thread(void *arg)
{
	seed = (uintptr_t)arg;
	for (int i = 0; i < 100; i++) {
		switch (dice(6)) {
		case 0:
			touch();
			break;
		case 1:
			window_call();
			break;
		default: {
			/* A request of its own, so that nobody else's is looked at. */
			struct shadowmm_alloc alloc = { .head.size = sizeof(alloc), .nid = -1, .order = dice(4) };
			struct shadowmm_mm_mmap map = { .head.size = sizeof(map), .len = PAGE * (1 + dice(64)), .prot = 3,
							.flags = MAP_PRIVATE | MAP_ANONYMOUS, .fd = -1 };
			struct shadowmm_free free = { .head.size = sizeof(free) };

			if (dice(2)) {
				ioctl(me.fds[dice(FILES)], SHADOWMM_IOC_MM_MMAP, &map);
			} else if (ioctl(me.fds[dice(FILES)], SHADOWMM_IOC_ALLOC, &alloc) == 0 && dice(4)) {
				free.pfn = alloc.pfn;
				free.order = alloc.order;
				ioctl(me.fds[dice(FILES)], SHADOWMM_IOC_FREE, &free);
			}
		}
		}
	}
	return NULL;
}

/* Threads at it while this one closes their files and unmaps their windows. */
static void threads(void)
{
	pthread_t others[3];
	int count = 1 + dice(3), started = 0;

	note("%d threads", count);
	me.threads = count;
	for (int i = 0; i < count; i++)
		started += pthread_create(&others[started], NULL, thread, (void *)(uintptr_t)draw()) == 0;
	for (int i = 0; i < 20; i++)
		dice(2) ? open_file() : window_call();
	for (int i = 0; i < started; i++)
		pthread_join(others[i], NULL);
	me.threads = 0;
}

static void operations(long count);

static void forks(void)
{
	static __thread int depth;
	uint64_t next = draw();
	bool killed = !dice(4) && !me.alone;
	pid_t child;
	int status;

	if (depth > 2)
		return;
	note("fork");
	child = fork();
	if (child < 0)
		return;
	if (child == 0) {
		depth++;
		seed = next;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		operations(dice(60));
		_exit(0);
	}
	if (killed) {
		usleep(dice(5000));
		kill(child, SIGKILL);
	} else {
		/* Both at once. */
		for (int i = dice(20); i; i--)
			me.alone ? (void)0 : dice(2) ? touch() : request();
	}
	if (waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status))
		_exit(WEXITSTATUS(status));
}

static void operations(long count)
{
	for (long i = 0; i < count; i++) {
		uint32_t what = dice(200);

		if (what < 150)
			request();
		else if (what < 170)
			touch();
		else if (what < 182)
			window_call();
		else if (what < 187)
			open_file();
		else if (what < 192)
			me.alone ? request() : read_proc();
		else if (what < 196)
			write_knob();
		else if (what < 199 || me.alone)
			what == 198 ? forks() : touch();
		else
			threads();
		notes->good++;
	}
}

/* --- processes --------------------------------------------------------------------------------- */

static void drop_admin(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data))
		wrong("capget");
	for (int i = 0; i < 2; i++) {
		uint32_t gone = i == CAP_SYS_ADMIN / 32 ? 1u << (CAP_SYS_ADMIN % 32) : 0;

		data[i].effective &= ~gone;
		data[i].permitted &= ~gone;
		data[i].inheritable &= ~gone;
	}
	if (syscall(SYS_capset, &header, data))
		wrong("capset");
}

/*
 * A regular file, one in memory, which ends within a page, zeroes, and one that can't be read. What they have is
 * nobody's mark, and they are the process's own.
 */
static void open_mappable(void)
{
	int in_memory = memfd_create("fuzz", MFD_CLOEXEC);

	if (in_memory < 0 || ftruncate(in_memory, 20 * PAGE + 100) || pwrite(in_memory, "\x01\x02\x03", 3, 3 * PAGE) != 3)
		wrong("no file in memory");
	me.mappable[0] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	me.mappable[1] = in_memory;
	me.mappable[2] = open("/dev/zero", O_RDWR | O_CLOEXEC);
	me.mappable[3] = open("/proc/self/fd", O_PATH | O_CLOEXEC);
	for (int i = 0; i < MAPPABLE; i++)
		if (me.mappable[i] < 0)
			wrong("no file to map");
}

static pid_t start(int index, unsigned long generation)
{
	pid_t child = fork();

	if (child)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	notes = &all_notes[index];
	me.family = generation << 8 | index;
	me.admin = index % 2 == 0;
	seed = first_seed;
	for (int i = 0; i < 2; i++)
		seed = draw() ^ me.family;
	if (!me.admin)
		drop_admin();
	catch_signals();
	me.page = far_away(PAGE);
	me.fixed = far_away(PAGE);
	memset(me.fixed, 0, PAGE);
	mprotect(me.fixed, PAGE, PROT_READ);
	for (int i = 0; i < FILES; i++)
		me.fds[i] = open(SHADOWMM_DEVICE, O_RDWR | O_CLOEXEC);
	open_mappable();
	operations(most_ops);
	_exit(0);
}

/* Caches that processes have left. Those that are somebody else's now are his. */
static int destroy_caches(void)
{
	static struct shadowmm_rec_cache records[512];
	int fd = open(SHADOWMM_DEVICE, O_RDWR | O_CLOEXEC), left = 0;

	for (int round = 0; round < 200; round++) {
		struct shadowmm_report report = { .head.size = sizeof(report), .kind = SHADOWMM_REPORT_CACHES,
						  .record_size = sizeof(*records), .capacity = 512, .buf = (uintptr_t)records };

		if (ioctl(fd, SHADOWMM_IOC_REPORT, &report))
			break;
		left = 0;
		for (uint32_t i = 0; i < report.count && i < 512; i++) {
			struct shadowmm_cache cache = { .head.size = sizeof(cache), .op = SHADOWMM_CACHE_DESTROY,
							.cache = records[i].cache };

			if (strncmp(records[i].name, "fuzz-", 5))
				continue;
			left++;
			if (ioctl(fd, SHADOWMM_IOC_CACHE, &cache) && round == 199)
				fprintf(stderr, "fuzz: %s stays: reason %u\n", records[i].name, cache.head.reason);
		}
		if (!left)
			break;
	}
	close(fd);
	return left;
}

static unsigned long option(int argc, char **argv, const char *name, unsigned long value)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], name))
			value = i + 1 < argc ? strtoul(argv[i + 1], NULL, 0) : 1;
	return value;
}

static bool given(int argc, char **argv, const char *name)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], name))
			return true;
	return false;
}

int main(int argc, char **argv)
{
	unsigned int processes = option(argc, argv, "--processes", 4), kills = 0, ends = 0;
	time_t end = time(NULL) + option(argc, argv, "--seconds", 0);
	bool timed = given(argc, argv, "--seconds"), bad = false;
	unsigned long generation = 0, done = 0;
	pid_t children[CHILDREN];
	unsigned int running = 0;

	first_seed = option(argc, argv, "--seed", 1);
	most_ops = option(argc, argv, "--ops", 20000);
	me.idle = given(argc, argv, "--idle") ? (int)option(argc, argv, "--idle", 0) : -1;
	me.boots = given(argc, argv, "--boots");
	trace = given(argc, argv, "--trace");
	if (!processes || processes > CHILDREN)
		return 2;
	me.alone = processes == 1 && !timed;
	all_notes = mmap(NULL, CHILDREN * sizeof(*all_notes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (all_notes == MAP_FAILED)
		return 2;
	notes = all_notes;
	seed = first_seed;
	keep_knobs();
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (unsigned int i = 0; i < processes; i++, running++)
		children[i] = start(i, ++generation);
	while (running) {
		int status, index;
		pid_t child;

		/* Somebody dies in the middle of something. */
		if (timed && time(NULL) < end && !dice(3)) {
			index = dice(processes);
			if (children[index] > 0)
				kills += kill(children[index], SIGKILL) == 0;
		}
		if (timed && time(NULL) >= end + 5)
			for (unsigned int i = 0; i < processes; i++)
				if (children[i] > 0)
					kill(children[i], SIGKILL);
		child = waitpid(-1, &status, timed ? WNOHANG : 0);
		if (child == 0) {
			usleep(20000 + dice(50000));
			continue;
		}
		if (child < 0)
			break;
		for (index = 0; index < (int)processes && children[index] != child;)
			index++;
		if (index == (int)processes)
			continue;
		ends++;
		bad |= WIFEXITED(status) && WEXITSTATUS(status);
		if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL) {
			fprintf(stderr, "fuzz: seed %lu: signal %d after: %s\n", first_seed, WTERMSIG(status),
				all_notes[index].last[(all_notes[index].done - 1) % NOTES]);
			bad = true;
		}
		if (timed && time(NULL) < end && !bad) {
			children[index] = start(index, ++generation);
		} else {
			children[index] = 0;
			running--;
		}
	}
	/* Those that the killed have left. */
	while (wait(NULL) > 0)
		;
	restore_knobs();
	for (unsigned int i = 0; i < processes; i++)
		done += all_notes[i].good;
	printf("fuzz: seed %lu: %lu operations, %u processes, %u of them killed\n", first_seed, done, ends, kills);
	return destroy_caches() || bad;
}
