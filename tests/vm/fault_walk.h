/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The walker through all that can fail:
 *
 *     fault_walk.c      how a call is walked, and what is compared; what is no request; files
 *     fault_pages.c     the boot, pages, reports, the differential test of pages
 *     fault_objects.c   caches and objects, and their differential test
 *     fault_windows.c   what is asked of a window, and what is touched in it
 */
#ifndef FAULT_WALK_H
#define FAULT_WALK_H

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
#include <unistd.h>

#include "requests.h"

#define PAGE 4096UL

/* SLAB_CONSISTENCY_CHECKS and SLAB_STORE_USER, by which a cache also is nobody else's. */
enum { DEBUGGED = 1 << 0 | 1 << 7 };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* What a call is made with: made anew for each. */
extern int fd, other;
extern char *window;	/* as the process sees it, or NULL */
extern uint64_t area;	/* a mapping of 16 pages in it, the first of which is there */
extern uint64_t spot;	/* what is touched there */
extern union any request;

extern const char *path; /* of the file that is read */

extern int watcher;	/* for whatever must not fail */
extern int self;	/* this program's file */
extern int idle;	/* a node that nobody uses */
extern uint64_t numbers[64];
extern char bytes[1 << 16];

/* The end, for the test itself has failed. */
void die(const char *what) __attribute__((noreturn));

/* A request: 0, or -1 with errno. */
int ask(int file, unsigned int number, void *arg);

/* A request that must succeed: MUST() makes it of its fields, and is what became of it. */
void must(int file, const char *name, unsigned int number, void *arg);
#define MUST(file, NAME, ...)                                                                       \
	({                                                                                          \
		union any any = { __VA_ARGS__ };                                                    \
		any.head.size = sizeof(any.NAME_OF_##NAME);                                         \
		must(file, #NAME, SHADOWMM_IOC_##NAME, &any);                                       \
		any;                                                                                \
	})
#define NAME_OF_STAGE stage
#define NAME_OF_ALLOC alloc
#define NAME_OF_FREE free
#define NAME_OF_EXACT exact
#define NAME_OF_BULK bulk
#define NAME_OF_CONTIG contig
#define NAME_OF_CREATE create
#define NAME_OF_OBJECT object
#define NAME_OF_OBJECTS objects
#define NAME_OF_KMALLOC kmalloc
#define NAME_OF_MM_MMAP mm_mmap
#define NAME_OF_MM_MUNMAP mm_range
#define NAME_OF_MM_BRK mm_brk
#define NAME_OF_MM_MADVISE mm_range
#define NAME_OF_MM_MLOCK mm_mlock
#define NAME_OF_MM_WALK mm_walk
#define NAME_OF_DIFF_OPEN diff_open
#define NAME_OF_DIFF_CACHES diff_caches

/* What a call needs. */
enum {
	WINDOWED = 1,	/* has a window, with the area in it */
	ALONE = 2,	/* no other file is open */
	DONE = 4,	/* may have been done although its answer could not be told */
	BOOTS = 8,	/* the boot begins anew when it is over; it may have stopped half-way */
	OTHER = 16,	/* needs a second file */
	PARTLY = 32,	/* a refusal may have come half-way, as Linux's own */
};

struct call {
	const char *name;
	uint32_t number, size;
	unsigned int needs;
	/* Makes what the request needs, and fills in the request; the head is there. */
	void (*before)(union any *r);
	/* Undoes what a file's end does not. */
	void (*after)(bool done);
	/* In place of the request: 0, or a negative errno. */
	long (*make)(void);
	/* So many chances are walked, where it is not all of them, as it must be elsewhere. */
	unsigned int most;
};

/* A call with each of its chances in turn, and a line about it. */
void walk(const struct call *call);

/* Gives the file and the window of a call back. */
void close_all(void);

/* A place in the window for which the host has no table yet, with nothing there; and the area there. */
uint64_t fresh_place(void);
void fresh_area(union any *r);

/* The area anew, at that place: so many bytes, mapped so, of the file where it is one. */
void map_area(uint64_t len, uint32_t prot, uint32_t flags, int file);

/* What is done to pages of the window without a fault: by the name of the advice. */
void advise(uint64_t addr, uint64_t len, uint32_t advice);

/* A child with a copy of the window, which waits until it is ended. */
void with_child(void);
void end_child(bool done);

/* Whether an address is in a page of 2 MiB. */
bool is_huge(uint64_t addr);

/*
 * The spot is touched: written to and read by the process itself, which never learns that the host had no memory for it,
 * for it tries again, and by the kernel for it.
 */
long touch(void);
long touch_to_read(void);
long touch_by_read(void);
long touch_by_write(void);

/* Reads the whole of a file, or writes a text to it: 0, or a negative errno. */
long read_file(void);
long write_text(const char *text);

/* Something is not as it should be, in the call that is made. */
void not_so(const char *what);

/* The boot from its beginning to its end. Nobody has anything. */
void begin_anew(void);

#define CALL(NAME, type, what, with, ...) \
	{ .name = #NAME what, .number = SHADOWMM_IOC_##NAME, .size = sizeof(struct shadowmm_##type), .needs = with, .before = __VA_ARGS__ }


/* The requests. */
void walk_boot(void);
void walk_pages(void);
void walk_objects(void);
void walk_windows(void);

/* Pages that come and go by faults. */
void walk_faults(void);

#endif
