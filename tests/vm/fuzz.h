/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guest's fuzzer:
 *
 *     fuzz.c           processes, threads, kills; what is checked at the end
 *     fuzz_requests.c  ioctls: each request with fields that make sense, and then with some that do not
 *     fuzz_windows.c   mmap() and its kin on the device, what is touched, the files of /proc/shadowmm
 */
#ifndef FUZZ_H
#define FUZZ_H

#define _GNU_SOURCE
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shadowmm.h"

#define PAGE 4096UL

/* --- chance ---------------------------------------------------------------------- */

/* Each thread draws its own. */
extern __thread uint64_t seed;

static inline uint64_t draw(void)
{
	uint64_t x = seed += 0x9e3779b97f4a7c15;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
	return x ^ (x >> 31);
}

static inline uint32_t dice(uint32_t sides)
{
	return draw() % sides;
}

#define ONE_OF(array) ((array)[dice(sizeof(array) / sizeof(*(array)))])

/* A number near an end of something. */
uint64_t number(void);

/* --- a process ------------------------------------------------------------------------ */

#define FILES 4
#define HELD 64
#define WINDOWS 3
#define MAPPABLE 4

/* What was given to it, as far as it remembers: others may have it by now. */
struct held {
	uint64_t what;
	uint32_t order;
};

struct process {
	bool admin;	/* with CAP_SYS_ADMIN */
	bool boots;	/* it may begin the boot anew */
	bool alone;	/* whatever happens must happen again with the same seed */
	int threads;	/* others that are at the same windows */
	int idle;	/* a node that nobody else uses, or -1 */
	uint32_t family; /* that of no process that is not its parent or child */
	int fds[FILES];
	struct held blocks[HELD], handles[HELD], objects[HELD];
	uint32_t caches[HELD];
	struct { char *at; size_t len; int fd; } windows[WINDOWS];
	int mappable[MAPPABLE];	/* files of which a window may have copies */
	char *page;	/* readable and writable; what follows is not mapped */
	char *fixed;	/* readable alone */
};

extern struct process me;

/* The last operations of this process go to memory that its parent has, too. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Something that must not be: said with the seed, and the end. */
void wrong(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* One operation. */
void request(void);
void window_call(void);
void touch(void);
void read_proc(void);
void write_knob(void);

/*
 * Memory for requests and what they write, at a place from which no wrong bit or length leads to anything
 * else of the process.
 */
char *far_away(size_t len);

/* An advice (MADV_*); with what breaks memory, where a window takes it. */
int advice(bool breaks);

/* Where a window is, or somewhere near. */
char *somewhere(size_t *len);

/* The knobs as they were. */
void keep_knobs(void);
void restore_knobs(void);

/* Makes the process catch what an access may get. */
void catch_signals(void);

#endif
