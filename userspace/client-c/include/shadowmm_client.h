/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Windows of shadowmm for C: a process's own address space in the shadow, and what a
 * process does in it by system calls elsewhere.
 *
 *     struct shadowmm *s = shadowmm_open(NULL);
 *     shadowmm_window(s, NULL, 1UL << 40);
 *     char *p = shadowmm_mmap(s, NULL, 1 << 20, PROT_READ | PROT_WRITE,
 *                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
 *     p[0] = 1;
 *
 * Calls have the arguments, results and errno of the system calls that they are named
 * for; shadowmm_error() tells more. A child of fork() has a copy of the window, and calls
 * through the same handle there are its own. Calls on a handle may come from any thread
 * at any time; only shadowmm_close(), shadowmm_window() and shadowmm_window_close() must
 * be alone with it.
 *
 * Link with -lshadowmm_client_c (pkg-config shadowmm-client). docs/windows.md says what
 * windows are, and where they differ from a process's own memory.
 */
#ifndef SHADOWMM_CLIENT_H
#define SHADOWMM_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The open device, and the window of this process. */
struct shadowmm;

/*
 * Opens the device, or /dev/shadowmm for NULL. NULL with errno: ENODEV where there is none, EACCES,
 * EPROTO where the module is of another version.
 */
struct shadowmm *shadowmm_open(const char *path);

/* Unmaps the window of this process, if there is one, and closes the device; NULL is nothing. */
void shadowmm_close(struct shadowmm *s);

/* Why the last call of this thread that failed did so, in a sentence; "" before any has. */
const char *shadowmm_error(void);

enum {
	SHADOWMM_CLIENT_LEGACY = 0x1,	/* mappings from below upwards */
	SHADOWMM_CLIENT_RANDOM = 0x2,	/* places by lot where the seed is 0 */
	SHADOWMM_CLIENT_BARE = 0x4,	/* nothing is mapped at first, not even a stack */
	SHADOWMM_CLIENT_RBTREE = 0x8,	/* VMAs in a red-black tree and a list */
};

/* What windows are like that are opened from now on: flags, and what places are shifted by. */
int shadowmm_configure(struct shadowmm *s, unsigned int flags, uint64_t seed);

/*
 * Opens the window: `len` bytes, at `addr` where nothing may be, or anywhere for NULL. Its address, or
 * MAP_FAILED with errno: EBUSY where the process has one through this device.
 */
void *shadowmm_window(struct shadowmm *s, void *addr, size_t len);

/* Unmaps it, and all that is in it. */
int shadowmm_window_close(struct shadowmm *s);

void *shadowmm_mmap(struct shadowmm *s, void *addr, size_t len, int prot, int flags, int fd,
		    off_t offset);
int shadowmm_munmap(struct shadowmm *s, void *addr, size_t len);
int shadowmm_mprotect(struct shadowmm *s, void *addr, size_t len, int prot);
/* `new_addr` counts with MREMAP_FIXED and MREMAP_DONTUNMAP. */
void *shadowmm_mremap(struct shadowmm *s, void *addr, size_t old_len, size_t new_len, int flags,
		      void *new_addr);
int shadowmm_madvise(struct shadowmm *s, void *addr, size_t len, int advice);
int shadowmm_msync(struct shadowmm *s, void *addr, size_t len, int flags);
/* ENOMEM where the end can't be as high. One that can't be as low stays, which is no error. */
int shadowmm_brk(struct shadowmm *s, void *end);
/* Where the end of the heap was, or (void *)-1. */
void *shadowmm_sbrk(struct shadowmm *s, intptr_t increment);
int shadowmm_mlock(struct shadowmm *s, const void *addr, size_t len);
int shadowmm_mlock2(struct shadowmm *s, const void *addr, size_t len, unsigned int flags);
int shadowmm_munlock(struct shadowmm *s, const void *addr, size_t len);
int shadowmm_mlockall(struct shadowmm *s, int flags);
int shadowmm_munlockall(struct shadowmm *s);
int shadowmm_mincore(struct shadowmm *s, void *addr, size_t len, unsigned char *vec);

/* The number of the window's address space in /proc/shadowmm/mm, or -1. */
int shadowmm_id(struct shadowmm *s);

/*
 * The window's maps, as /proc/PID/maps has them: as many bytes as fit into `size`, with a NUL behind
 * where there is room for any. How many bytes there are, as snprintf() says it, or -1.
 */
ssize_t shadowmm_maps(struct shadowmm *s, char *buf, size_t size);

#ifdef __cplusplus
}
#endif

#endif
