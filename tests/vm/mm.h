/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A window, for C: requests of the ABI with the shape of the system calls that they stand for,
 * and lines 'ok NAME' and 'not ok NAME: what is wrong'.
 */
#ifndef MM_H
#define MM_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shadowmm.h"

#define PAGE 4096UL
#define WINDOW (1UL << 40)

#define RW (PROT_READ | PROT_WRITE)
/* Of a window's memory; that it is anonymous goes without saying. */
#define PRIVATE MAP_PRIVATE
/* Of the host's. */
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static int failures;

static inline void expect(const char *name, bool good)
{
	printf("%s %s\n", good ? "ok" : "not ok", name);
	fflush(stdout);
	failures += !good;
}

/* A value that must be another one. */
static inline void same(const char *name, long want, long got)
{
	if (want == got)
		printf("ok %s\n", name);
	else
		printf("not ok %s: %ld (0x%lx) in place of %ld (0x%lx)\n", name, got, got, want, want);
	fflush(stdout);
	failures += want != got;
}

/* A call that fails so, or with 0 does not. */
#define FAILS(name, want, call)                                 \
	do {                                                    \
		errno = 0;                                      \
		long done_ = (long)(call);                      \
		same(name, want, done_ == -1 ? errno : 0);      \
	} while (0)

/* What the window answers beside what the host does about memory of the same shape. */
#define BOTH(name, in_window, of_host)                                                    \
	do {                                                                              \
		errno = 0;                                                                \
		long host_ = (long)(of_host) == -1 ? errno : 0;                           \
		errno = 0;                                                                \
		long shadow_ = (long)(in_window) == -1 ? errno : 0;                       \
		same(name, host_, shadow_);                                               \
	} while (0)

/* What a request has left in head.reason. */
static unsigned int reason;

static inline long ask(int fd, unsigned int number, struct shadowmm_head *head, size_t size)
{
	head->size = size;
	long done = ioctl(fd, number, head);
	reason = head->reason;
	return done;
}
#define ASK(fd, number, request) ask(fd, number, &(request).head, sizeof(request))

static inline int open_device(void)
{
	int fd = open(SHADOWMM_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		perror(SHADOWMM_DEVICE);
		exit(1);
	}
	return fd;
}

/* What windows are like that are opened through it from now on. */
static inline void w_configure(int fd, unsigned int layout)
{
	struct shadowmm_mm_config request = { .op = SHADOWMM_MM_CONFIG_SET, .layout = layout };

	if (ASK(fd, SHADOWMM_IOC_MM_CONFIG, request)) {
		perror("MM_CONFIG");
		exit(1);
	}
}

static inline char *open_window(int fd, size_t len)
{
	char *window = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);

	if (window == MAP_FAILED) {
		perror("a window");
		exit(1);
	}
	return window;
}

static inline void *w_mmap_of(int fd, void *addr, size_t len, int prot, int flags, int file, off_t offset)
{
	struct shadowmm_mm_mmap request = {
		.addr = (uintptr_t)addr, .len = len, .prot = prot, .flags = flags, .fd = file, .offset = offset,
	};

	return ASK(fd, SHADOWMM_IOC_MM_MMAP, request) ? MAP_FAILED : (void *)(uintptr_t)request.addr;
}

static inline void *w_mmap(int fd, void *addr, size_t len, int prot, int flags)
{
	return w_mmap_of(fd, addr, len, prot, flags | MAP_ANONYMOUS, -1, 0);
}

/* A page of a file, mapped by the window and by the host. */
#define BOTH_OF(name, len, prot, flags, file) \
	BOTH(name, w_mmap_of(fd, NULL, len, prot, flags, file, 0), mmap(NULL, len, prot, flags, file, 0))

static inline int w_range(int fd, unsigned int number, void *addr, size_t len, int arg)
{
	struct shadowmm_mm_range request = { .addr = (uintptr_t)addr, .len = len, .arg = arg };

	return ASK(fd, number, request);
}

static inline int w_munmap(int fd, void *addr, size_t len)
{
	return w_range(fd, SHADOWMM_IOC_MM_MUNMAP, addr, len, 0);
}

static inline int w_mprotect(int fd, void *addr, size_t len, int prot)
{
	return w_range(fd, SHADOWMM_IOC_MM_MPROTECT, addr, len, prot);
}

static inline int w_madvise(int fd, void *addr, size_t len, int advice)
{
	return w_range(fd, SHADOWMM_IOC_MM_MADVISE, addr, len, advice);
}

static inline int w_msync(int fd, void *addr, size_t len, int flags)
{
	return w_range(fd, SHADOWMM_IOC_MM_MSYNC, addr, len, flags);
}

static inline void *w_mremap(int fd, void *addr, size_t old, size_t new, int flags, void *to)
{
	struct shadowmm_mm_mremap request = {
		.addr = (uintptr_t)addr, .old_len = old, .new_len = new, .flags = flags, .new_addr = (uintptr_t)to,
	};

	return ASK(fd, SHADOWMM_IOC_MM_MREMAP, request) ? MAP_FAILED : (void *)(uintptr_t)request.addr;
}

static inline uintptr_t w_brk(int fd, uintptr_t brk)
{
	struct shadowmm_mm_brk request = { .brk = brk };

	return ASK(fd, SHADOWMM_IOC_MM_BRK, request) ? 0 : request.brk;
}

static inline int w_lock(int fd, int op, void *addr, size_t len, int flags)
{
	struct shadowmm_mm_mlock request = { .op = op, .flags = flags, .addr = (uintptr_t)addr, .len = len };

	return ASK(fd, SHADOWMM_IOC_MM_MLOCK, request);
}

static inline int w_mincore(int fd, void *addr, size_t len, unsigned char *vec)
{
	struct shadowmm_mm_mincore request = { .addr = (uintptr_t)addr, .len = len, .vec = (uintptr_t)vec };

	return ASK(fd, SHADOWMM_IOC_MM_MINCORE, request);
}

static inline int w_limit(int fd, unsigned int limit, uint64_t value)
{
	struct shadowmm_mm_limits request = {
		.op = SHADOWMM_MM_LIMITS_SET, .limit = limit, .value = value, .max = value,
	};

	return ASK(fd, SHADOWMM_IOC_MM_LIMITS, request);
}

/* How many address spaces there are. */
static inline unsigned int w_spaces(int fd)
{
	struct shadowmm_report report = { .kind = SHADOWMM_REPORT_SPACES, .record_size = sizeof(struct shadowmm_rec_space) };

	ASK(fd, SHADOWMM_IOC_REPORT, report);
	return report.count;
}

static inline struct shadowmm_rec_space w_space(int fd)
{
	struct shadowmm_mm_info request = { 0 };

	if (ASK(fd, SHADOWMM_IOC_MM_INFO, request))
		memset(&request.space, 0, sizeof(request.space));
	return request.space;
}

static inline struct shadowmm_mm_walk w_walk(int fd, void *addr)
{
	struct shadowmm_mm_walk request = { .addr = (uintptr_t)addr };

	ASK(fd, SHADOWMM_IOC_MM_WALK, request);
	return request;
}

/* How many VMAs there are; up to `capacity` of them. */
static inline unsigned int w_vmas(int fd, struct shadowmm_rec_vma *vmas, unsigned int capacity)
{
	struct shadowmm_mm_vmas request = {
		.record_size = sizeof(*vmas), .capacity = capacity, .buf = (uintptr_t)vmas,
	};

	return ASK(fd, SHADOWMM_IOC_MM_VMAS, request) ? 0 : request.count;
}

#endif
