// SPDX-License-Identifier: GPL-2.0
/*
 * Windows by the kernel's own calls, what is touched in them, and the files of /proc/shadowmm.
 */
#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>

/* Always at the same places, so that a run can be played again. */
#define BASE 0x100000000000UL
#define APART 0x10000000000UL

/*
 * What is written says who has written it: its family, in front of a number that follows from that. A word of which
 * the kernel has written a part, with bytes from elsewhere, is nobody's.
 */
static uint64_t mark(uint32_t family)
{
	return (uint64_t)family << 32 | (family * 0x9e3779b1u ^ 0x5eed5eed);
}

static __thread sigjmp_buf back;
static __thread volatile sig_atomic_t armed;

static void on_signal(int number)
{
	if (!armed) {
		signal(number, SIG_DFL);
		raise(number);
		return;
	}
	siglongjmp(back, 1);
}

void catch_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_NODEFER };

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
}

char *somewhere(size_t *len)
{
	int which = dice(WINDOWS);
	char *at = me.windows[which].at;
	size_t space = me.windows[which].len;

	if (!at) {
		*len = 16 * PAGE;
		return (char *)(BASE + which * APART);
	}
	/* Where mappings are found: near its end, where they go by themselves, at its start and in its middle. */
	*len = space < 64 * PAGE ? space : 64 * PAGE;
	switch (dice(4)) {
	case 0:
		return at;
	case 1:
		return at + space / 2 / PAGE * PAGE;
	default:
		return at + space - *len;
	}
}

#ifndef MADV_HWPOISON
#define MADV_HWPOISON 100
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif
/* MADV_GUARD_INSTALL, MADV_GUARD_REMOVE */
#define GUARD_INSTALL 102
#define GUARD_REMOVE 103

int advice(bool breaks)
{
	static const int far[] = { GUARD_INSTALL, GUARD_INSTALL, GUARD_REMOVE, MADV_HWPOISON, MADV_SOFT_OFFLINE };
	int said = dice(4) ? (int)dice(26) : dice(4) ? ONE_OF(far) : (int)number();

	return breaks || (said != MADV_HWPOISON && said != MADV_SOFT_OFFLINE) ? said : MADV_NORMAL;
}

/* A child has no window that its parent has kept from it. */
static bool is_mapped(char *at)
{
	unsigned char seen;

	return mincore(at, PAGE, &seen) == 0;
}

void window_call(void)
{
	static const size_t sizes[] = { PAGE, 64 * PAGE, 16 << 20, 1UL << 30, 1UL << 40 };
	int which = dice(WINDOWS), fd = me.fds[dice(FILES)];
	size_t len = me.windows[which].len;
	char *at = me.windows[which].at, *got;

	if (!at || !dice(12)) {
		static const int odd[] = { 0, PROT_READ, PROT_WRITE, PROT_READ | PROT_WRITE | PROT_EXEC };
		int prot = dice(8) ? PROT_READ | PROT_WRITE : ONE_OF(odd);
		int flags = (dice(12) ? MAP_SHARED : MAP_PRIVATE) | MAP_NORESERVE | MAP_FIXED_NOREPLACE;

		len = ONE_OF(sizes);
		note("mmap window %d fd %d len %zx prot %x flags %x", which, fd, len, prot, flags);
		got = mmap((char *)(BASE + which * APART), len, prot, flags, fd, dice(12) ? 0 : PAGE * dice(4));
		if (got == MAP_FAILED)
			return;
		if (prot != (PROT_READ | PROT_WRITE) || !(flags & MAP_SHARED))
			wrong("a window that should not be: prot %x flags %x", prot, flags);
		me.windows[which].at = got;
		me.windows[which].len = len;
		me.windows[which].fd = fd;
		return;
	}
	switch (dice(10)) {
	case 0:
		note("munmap window %d", which);
		if (munmap(at, len) == 0)
			me.windows[which].at = NULL;
		break;
	case 1:		/* it is neither split nor moved */
		note("munmap a part of window %d", which);
		if (len > PAGE && is_mapped(at) && munmap(at + (dice(2) ? 0 : PAGE), len - PAGE) == 0 && !me.threads)
			wrong("a window was split by munmap");
		break;
	case 2:
		note("mremap window %d", which);
		got = mremap(at, len, len / (1 + dice(3)) + PAGE * dice(3), dice(8), at + APART / 2);
		if (got != MAP_FAILED && got != at && !me.threads)
			wrong("a window was moved");
		if (got != MAP_FAILED) {
			/* Of the same length, or it grew where it may: it is looked for no more. */
			munmap(at, len);
			me.windows[which].at = NULL;
		}
		break;
	case 3:
		note("mprotect window %d", which);
		mprotect(at, dice(2) ? len : PAGE, dice(2) ? 3 : dice(8));
		break;
	case 4:
		note("madvise window %d", which);
		/* A thread may have put other memory there, of which the host would lose a page to who may ask for that. */
		madvise(at + len - (len < 64 * PAGE ? len : 64 * PAGE), PAGE * (1 + dice(64)), advice(!me.admin));
		break;
	case 5:
		note("mlock window %d", which);
		if (len <= 16 << 20)
			dice(2) ? mlock(at, len) : munlock(at, len);
		break;
	case 6:
		note("msync window %d", which);
		msync(at, PAGE, (int)dice(8));
		break;
	case 7: {
		unsigned char seen[64];

		note("mincore window %d", which);
		mincore(at + len - (len < 64 * PAGE ? len : 64 * PAGE), len < 64 * PAGE ? len : 64 * PAGE, seen);
		break;
	}
	default:	/* another one over it */
		note("mmap over window %d", which);
		got = mmap(at, dice(2) ? len : PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
			   dice(2) ? fd : -1, 0);
		if (got != MAP_FAILED) {
			/* The whole of it: of a part it is refused. */
			munmap(at, len);
			me.windows[which].at = NULL;
		}
	}
}

/* Reads and writes, by the CPU and by the kernel; a signal or EFAULT is an answer, too. */
void touch(void)
{
	size_t len;
	char *at = somewhere(&len);
	int pipes[2];

	note("touch %p", (void *)at);
	switch (dice(8)) {
	case 0:		/* the kernel reads it, and writes it */
		if (pipe(pipes))
			return;
		if (write(pipes[1], at + dice(PAGE), 1 + dice(PAGE)) > 0 && read(pipes[0], at, PAGE) < 0)
			errno = 0;
		close(pipes[0]);
		close(pipes[1]);
		return;
	case 1: {	/* as a debugger does */
		char own[256];
		struct iovec here = { own, sizeof(own) }, there = { at, sizeof(own) };

		process_vm_readv(getpid(), &here, 1, &there, 1, 0);
		return;
	}
	}
	armed = 1;
	if (sigsetjmp(back, 0) == 0)
		for (size_t off = dice(4) * PAGE; off < len; off += PAGE * (1 + dice(3))) {
			volatile uint64_t *word = (volatile uint64_t *)(at + off);
			/* Once: another thread may give the page up meanwhile. */
			uint64_t found = *word;

			/* Whatever was written there was written by this process or its parents. */
			if (found == mark(found >> 32) && found >> 32 != me.family)
				wrong("%p has what a stranger has written: %lx", (void *)word, (unsigned long)found);
			if (dice(2))
				*word = mark(me.family);
		}
	armed = 0;
}

/* --- /proc/shadowmm --------------------------------------------------------------------- */

/* A file below `path`, by lot. */
static bool choose(char *path, size_t size)
{
	for (int depth = 0; depth < 4; depth++) {
		struct dirent *entry;
		DIR *dir = opendir(path);
		char name[256] = "";
		uint32_t seen = 0;

		if (!dir)
			return depth > 0;
		while ((entry = readdir(dir)))
			if (entry->d_name[0] != '.' && dice(++seen) == 0)
				snprintf(name, sizeof(name), "%s", entry->d_name);
		closedir(dir);
		if (!name[0] || strlen(path) + strlen(name) + 2 > size)
			return false;
		strcat(path, "/");
		strcat(path, name);
	}
	return true;
}

void read_proc(void)
{
	static char text[1 << 16];
	char path[512] = "/proc/shadowmm";
	int fd;

	if (!choose(path, sizeof(path)))
		return;
	note("read %s", path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	for (int i = 0; i < 40; i++) {
		if (!dice(4))
			lseek(fd, dice(2) ? dice(100000) : (off_t)number(), SEEK_SET);
		if (read(fd, text, 1 + dice(sizeof(text) - 1)) <= 0)
			break;
	}
	close(fd);
}

#define VM "/proc/shadowmm/vm"
#define KNOBS 24
static struct knob { char path[512], value[128]; } knobs[KNOBS];
static int nr_knobs;

void keep_knobs(void)
{
	struct dirent *entry;
	DIR *dir = opendir(VM);

	while (dir && (entry = readdir(dir)) && nr_knobs < KNOBS) {
		int fd;
		ssize_t len;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(knobs[nr_knobs].path, sizeof(knobs->path), VM "/%s", entry->d_name);
		fd = open(knobs[nr_knobs].path, O_RDONLY);
		if (fd < 0)
			continue;
		len = read(fd, knobs[nr_knobs].value, sizeof(knobs->value) - 1);
		close(fd);
		if (len > 0 && access(knobs[nr_knobs].path, W_OK) == 0)
			nr_knobs++;
	}
	if (dir)
		closedir(dir);
}

/* First what was 0: of two knobs for the same thing, the one that is written makes the other 0. */
void restore_knobs(void)
{
	for (int i = 0; i < 2 * nr_knobs; i++) {
		struct knob *knob = &knobs[i % nr_knobs];
		int fd;

		if ((i < nr_knobs) != !strcmp(knob->value, "0\n"))
			continue;
		fd = open(knob->path, O_WRONLY);
		if (fd < 0 || write(fd, knob->value, strlen(knob->value)) < 0)
			fprintf(stderr, "fuzz: %s is not what it was: %s\n", knob->path, strerror(errno));
		if (fd >= 0)
			close(fd);
	}
}

/* A file of a cache that may be there. What a cache keeps by min_partial goes when it is shrunk: it stays as it was said. */
static void cache_file(char *path, size_t size, const char **value)
{
	static const char *const files[] = { "min_partial", "shrink", "validate", "objects" };
	static const char *const others[] = { "kmalloc-8", "kmalloc-64", "kmalloc-192", "kmalloc-1k", "kmalloc-8k" };
	static const char *const numbers[] = { "1", "1", "1\n", "5", "10", "0" };
	const char *file = dice(16) ? ONE_OF(files) : ".";

	if (dice(4))
		*value = strcmp(file, "min_partial") ? "1" : ONE_OF(numbers);
	if (dice(2))
		snprintf(path, size, "/proc/shadowmm/slab/%s/%s", ONE_OF(others), file);
	else
		snprintf(path, size, "/proc/shadowmm/slab/fuzz-%u/%s", dice(40), file);
}

void write_knob(void)
{
	static const char *const values[] = { "0", "1", "20", "100", "3000", "10000", "-1", "4294967296", "x", "", "1 2 3",
					      "256 256 32 0", "20\n", "  7", "0x10", "99999999999999999999" };
	const char *value = ONE_OF(values);
	char path[512];
	int fd;

	if (dice(2)) {
		cache_file(path, sizeof(path), &value);
	} else {
		if (!nr_knobs)
			return;
		strcpy(path, knobs[dice(nr_knobs)].path);
	}
	note("write %s to %s", value, path);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (write(fd, value, strlen(value)) < 0)
		errno = 0;
	close(fd);
}
