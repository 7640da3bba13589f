// SPDX-License-Identifier: GPL-2.0
/*
 * A library to be preloaded: each call of a program that reaches shadowmm is made again and again, and in
 * the Nth time the kernel's Nth chance to fail it is taken (/proc/thread-self/fail-nth), until there
 * are no more:
 *
 *     open(2)   of /dev/shadowmm and of files below /proc/shadowmm
 *     read(2)   of the latter, write(2) to them
 *     mmap(2)   of the device
 *     ioctl(2)  on it
 *
 * The program sees the last call alone, which was left in peace. So what it expects must hold for it as if
 * nothing had been before: a call that was refused has changed nothing.
 *
 * Refused is a call with ENOMEM, an open also with ENFILE; any other error is told as not clean. A call that succeeds
 * in spite of the fault is the program's; the next of its kind goes on behind that place.
 *
 * What was done is told at the end of each process in the file FAULTS_LOG, a line for each kind of call:
 * NAME CALLS INJECTED REFUSED SURVIVED UNCLEAN.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "chance.h"
#include "shadowmm.h"

/* Chances in one call at most: it would never end where each try makes one more. */
#define MOST 5000
/* No argument is larger, but for those that are refused for that. */
#define MOST_BYTES 4096

struct kind {
	_Atomic unsigned int next;
	_Atomic unsigned long calls, injected, refused, survived, unclean;
};

static struct kind ioctls[256], opens, reads, writes, mmaps;
static const char *log_path;

/* Raw, for the names are ours. */
static long raw(long nr, long a, long b, long c, long d)
{
	return syscall(nr, a, b, c, d, 0, 0);
}

static void tell(const struct kind *kind, const char *name)
{
	char line[160];
	int len, file;

	if (!kind->calls || !log_path)
		return;
	len = snprintf(line, sizeof(line), "%s %lu %lu %lu %lu %lu\n", name, kind->calls, kind->injected, kind->refused,
		       kind->survived, kind->unclean);
	file = (int)raw(SYS_openat, AT_FDCWD, (long)log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	raw(SYS_write, file, (long)line, len, 0);
	raw(SYS_close, file, 0, 0, 0);
}

/* A child begins anew: what its parent has done is told by that. */
static void forget(void)
{
	struct kind *one[] = { &opens, &reads, &writes, &mmaps };
	unsigned int i;

	for (i = 0; i < 256 + 4; i++)
		*(i < 256 ? &ioctls[i] : one[i - 256]) = (struct kind){ 0 };
}

__attribute__((constructor)) static void begin(void)
{
	log_path = getenv("FAULTS_LOG");
	pthread_atfork(NULL, NULL, forget);
}

__attribute__((destructor)) static void end(void)
{
	char name[16];
	int i;

	for (i = 0; i < 256; i++) {
		snprintf(name, sizeof(name), "ioctl-0x%02x", i);
		tell(&ioctls[i], name);
	}
	tell(&opens, "open");
	tell(&reads, "read");
	tell(&writes, "write");
	tell(&mmaps, "mmap");
	forget();
}

/* --- the walk -------------------------------------------------------------------- */

/* A call, and what of the program's memory is to be put back before it is made again. */
struct call {
	long nr, args[6];
	void *arg;
	unsigned long size;
};

static long make(const struct call *call)
{
	long result = syscall(call->nr, call->args[0], call->args[1], call->args[2], call->args[3], call->args[4],
			      call->args[5]);

	return result == -1 ? -errno : result;
}

/* Between the program's memory and ours, whatever the address is worth. */
static bool copy_arg(long nr, void *ours, void *theirs, unsigned long size)
{
	struct iovec here = { ours, size }, there = { theirs, size };

	return !size || syscall(nr, getpid(), &here, 1, &there, 1, 0) == (long)size;
}

static void complain(struct kind *kind, const char *name, unsigned int nth, long result, unsigned int reason)
{
	char line[160];
	int len = snprintf(line, sizeof(line), "not clean: %s, chance %u: %ld, reason %u\n", name, nth, result, reason);

	kind->unclean++;
	raw(SYS_write, 2, (long)line, len, 0);
}

static long walk(struct kind *kind, const char *name, struct call *call)
{
	int file = open_chance();
	char saved[MOST_BYTES];
	unsigned int nth;
	long result;

	if (file < 0 || call->size > sizeof(saved) || !copy_arg(SYS_process_vm_readv, saved, call->arg, call->size)) {
		raw(SYS_close, file, 0, 0, 0);
		result = make(call);
		goto out;
	}
	kind->calls++;
	for (nth = kind->next ? kind->next : 1;; nth++) {
		struct shadowmm_head head = { 0 };
		bool taken;

		set_chance(file, nth);
		result = make(call);
		taken = was_taken(file);
		set_chance(file, 0);
		if (!taken || nth == MOST) {
			kind->next = 0;
			break;
		}
		kind->injected++;
		if (result >= 0) {
			kind->survived++;
			kind->next = nth + 1;
			break;
		}
		if (call->size >= sizeof(head))
			copy_arg(SYS_process_vm_readv, &head, call->arg, sizeof(head));
		if (result == -ENOMEM || (call->nr == SYS_openat && result == -ENFILE))
			kind->refused++;
		else
			complain(kind, name, nth, result, head.reason);
		copy_arg(SYS_process_vm_writev, saved, call->arg, call->size);
	}
	raw(SYS_close, file, 0, 0, 0);
out:
	if (result < 0) {
		errno = (int)-result;
		return -1;
	}
	return result;
}

/* --- which calls ------------------------------------------------------------------ */

static bool is_ours(const char *path)
{
	return !strcmp(path, SHADOWMM_DEVICE) || !strncmp(path, "/proc/shadowmm", 14);
}

static bool is_our_file(int fd)
{
	char link[32], path[PATH_MAX];
	long len;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = raw(SYS_readlink, (long)link, (long)path, sizeof(path) - 1, 0);
	if (len <= 0)
		return false;
	path[len] = 0;
	return is_ours(path);
}

static long plain(long nr, long a, long b, long c, long d, long e, long f)
{
	return syscall(nr, a, b, c, d, e, f);
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list list;
	void *arg;

	va_start(list, request);
	arg = va_arg(list, void *);
	va_end(list);
	if (_IOC_TYPE(request) != SHADOWMM_IOC_MAGIC || !is_our_file(fd))
		return (int)plain(SYS_ioctl, fd, (long)request, (long)arg, 0, 0, 0);

	struct shadowmm_head head = { 0 };
	struct call call = { SYS_ioctl, { fd, (long)request, (long)arg }, arg, 0 };
	char name[16];

	/* As much as the program says that there is. */
	if (copy_arg(SYS_process_vm_readv, &head, arg, sizeof(head)))
		call.size = head.size < sizeof(head) ? sizeof(head) : head.size;
	snprintf(name, sizeof(name), "ioctl-0x%02x", (unsigned int)_IOC_NR(request));
	return (int)walk(&ioctls[_IOC_NR(request)], name, &call);
}

static int open_at(int dir, const char *path, int flags, unsigned int mode)
{
	struct call call = { SYS_openat, { dir, (long)path, flags, mode }, NULL, 0 };

	if (!is_ours(path))
		return (int)plain(SYS_openat, dir, (long)path, flags, mode, 0, 0);
	return (int)walk(&opens, "open", &call);
}

#define OPEN(name)                                      \
	int name(const char *path, int flags, ...)      \
	{                                               \
		va_list list;                           \
		unsigned int mode;                      \
							\
		va_start(list, flags);                  \
		mode = va_arg(list, unsigned int);      \
		va_end(list);                           \
		return open_at(AT_FDCWD, path, flags, mode); \
	}
OPEN(open)
OPEN(open64)

int openat(int dir, const char *path, int flags, ...)
{
	va_list list;
	unsigned int mode;

	va_start(list, flags);
	mode = va_arg(list, unsigned int);
	va_end(list);
	return open_at(dir, path, flags, mode);
}

ssize_t read(int fd, void *buf, size_t len)
{
	struct call call = { SYS_read, { fd, (long)buf, (long)len }, NULL, 0 };

	return is_our_file(fd) ? walk(&reads, "read", &call) : plain(SYS_read, fd, (long)buf, (long)len, 0, 0, 0);
}

ssize_t write(int fd, const void *buf, size_t len)
{
	struct call call = { SYS_write, { fd, (long)buf, (long)len }, NULL, 0 };

	return is_our_file(fd) ? walk(&writes, "write", &call) : plain(SYS_write, fd, (long)buf, (long)len, 0, 0, 0);
}

void *mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
	struct call call = { SYS_mmap, { (long)at, (long)len, prot, flags, fd, offset }, NULL, 0 };

	if (fd < 0 || !is_our_file(fd))
		return (void *)plain(SYS_mmap, (long)at, (long)len, prot, flags, fd, offset);
	return (void *)walk(&mmaps, "mmap", &call);
}

void *mmap64(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
	return mmap(at, len, prot, flags, fd, offset);
}
