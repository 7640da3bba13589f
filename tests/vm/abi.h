/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the parts of the ABI test share.
 *
 *     accepted()   the request must succeed
 *     refused()    the request must fail with this errno and reason, must have changed nothing that
 *                  can be seen, and must be counted once, under its name and no other
 *     expect()     anything else that must hold
 *
 * Each prints one line, 'ok NAME' or 'not ok NAME: what is wrong'.
 */
#ifndef ABI_H
#define ABI_H

#include "shadowmm.h"
#include "sys.h"

/* A reason as the module's documentation has it: the code, the errno, the name of the counter. */
struct reason {
	__u32 code;
	int error;
	const char *name;
};

#define REASONS(REASON)                   \
	REASON(MapEmpty, 1, ENODATA)          \
	REASON(MapTooManyEntries, 2, E2BIG)   \
	REASON(MapEntryEmpty, 3, EINVAL)      \
	REASON(MapEntryOverflow, 4, EOVERFLOW)\
	REASON(MapUnknownType, 5, EINVAL)     \
	REASON(MapBadNode, 6, EINVAL)         \
	REASON(MapNodeOverlap, 7, EINVAL)     \
	REASON(MapBadDistance, 8, EINVAL)     \
	REASON(MapTooSparse, 9, ERANGE)       \
	REASON(RegionTooSmall, 20, ENOSPC)    \
	REASON(StageOrder, 22, EBUSY)         \
	REASON(StageDone, 23, EALREADY)       \
	REASON(BadParameter, 25, EINVAL)      \
	REASON(CrashKernelNoRoom, 26, ENOMEM) \
	REASON(PagesHeld, 27, EBUSY)          \
	REASON(OrderTooLarge, 60, EINVAL)     \
	REASON(NoMemory, 61, ENOMEM)          \
	REASON(BadGfp, 62, EINVAL)            \
	REASON(NodeOffline, 63, EINVAL)       \
	REASON(ForeignPfn, 64, ENXIO)         \
	REASON(DoubleFree, 65, EALREADY)      \
	REASON(WrongOrder, 66, EINVAL)        \
	REASON(NotBlockHead, 67, EINVAL)      \
	REASON(PageReserved, 68, EBUSY)       \
	REASON(NotOwner, 69, EPERM)           \
	REASON(BadPieces, 70, EINVAL)         \
	REASON(Shared, 71, EBUSY)             \
	REASON(TooManyReferences, 72, EOVERFLOW) \
	REASON(MayMove, 74, EBUSY)            \
	REASON(NotMovable, 76, EBUSY)         \
	REASON(NoSuchHandle, 78, ENOENT)      \
	REASON(BadFlags, 80, EINVAL)          \
	REASON(BadReserved, 81, EINVAL)       \
	REASON(BadSize, 82, EINVAL)           \
	REASON(TooNew, 83, E2BIG)             \
	REASON(BadPointer, 84, EFAULT)        \
	REASON(BadKind, 85, EINVAL)           \
	REASON(BadText, 86, EINVAL)           \
	REASON(UnknownRequest, 88, ENOTTY)    \
	REASON(TooManyPages, 89, E2BIG)       \
	REASON(NoPages, 90, EINVAL)           \
	REASON(BadPolicy, 91, EINVAL)         \
	REASON(NotPermitted, 110, EPERM)      \
	REASON(BadBlocks, 111, EINVAL)        \
	REASON(BadCacheName, 130, EINVAL)     \
	REASON(CacheExists, 131, EEXIST)      \
	REASON(NoSuchCache, 132, ENOENT)      \
	REASON(CacheBusy, 133, EBUSY)         \
	REASON(WrongCache, 136, EINVAL)       \
	REASON(ObjectFree, 137, EALREADY)     \
	REASON(AllocTooLarge, 140, E2BIG)     \
	REASON(CacheNeeded, 141, EBUSY)       \
	REASON(AskedTooLarge, 155, EINVAL)    \
	REASON(ObjectsHeld, 165, EBUSY)       \
	REASON(ObjectNotHeld, 166, EPERM)     \
	REASON(BadObjectCount, 167, EINVAL)   \
	REASON(OutsideObject, 168, ERANGE)    \
	REASON(NeedsDebugging, 169, EOPNOTSUPP) \
	REASON(NoSuchSpace, 180, ESRCH)       \
	REASON(BadLength, 182, EINVAL)        \
	REASON(NotPageAligned, 183, EINVAL)   \
	REASON(BadProtection, 184, EINVAL)    \
	REASON(BadMapFlags, 185, EINVAL)      \
	REASON(OutsideWindow, 186, ENOMEM)    \
	REASON(BadRange, 188, EINVAL)         \
	REASON(NotMapped, 198, ENOMEM)        \
	REASON(NothingThere, 199, EFAULT)     \
	REASON(BadAdvice, 202, EINVAL)        \
	REASON(OffsetOverflow, 203, EOVERFLOW)\
	REASON(BadRemap, 207, EINVAL)         \
	REASON(NotMappable, 209, ENODEV)      \
	REASON(NoWindow, 230, ENXIO)          \
	REASON(WindowTaken, 231, EBUSY)       \
	REASON(WindowPrivate, 232, EINVAL)    \
	REASON(WindowExecutable, 233, EPERM)  \
	REASON(WindowAccess, 234, EACCES)     \
	REASON(WindowOffset, 235, EINVAL)     \
	REASON(WindowsOpen, 236, EBUSY)       \
	REASON(Interrupted, 237, EINTR)       \
	REASON(BadDescriptor, 238, EBADF)     \
	REASON(SpaceForeign, 239, EACCES)     \
	REASON(TooManySpaces, 240, ENOSPC)    \
	REASON(FileGuarded, 241, EPERM)

#define DECLARE(name, code, error) extern const struct reason name;
REASONS(DECLARE)
#undef DECLARE

/* The device, opened once for asking, and by each test for what it does. */
extern int watcher;

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A request with its head filled in, the rest zero. */
#define REQUEST(type) { .head = { .size = sizeof(struct type) } }

/* The number of an address, as the ABI has it. */
static inline __u64 address(const void *at)
{
	return (__u64)(unsigned long)at;
}

/* Writes a cache's name into a field of zeroes. */
static inline void name_it(char name[SHADOWMM_CACHE_NAME], const char *text)
{
	for (int i = 0; i < SHADOWMM_CACHE_NAME && text[i]; i++)
		name[i] = text[i];
}

int open_device(void);
long ask(int fd, unsigned int request, void *arg);

void accepted(const char *name, int fd, unsigned int request, void *arg);
void refused(const char *name, int fd, unsigned int request, void *arg, const struct reason *why);
/* The same where the argument is at an address of which `head`, if any, can be read. */
void refused_at(const char *name, int fd, unsigned int request, unsigned long at,
		const struct shadowmm_head *head, const struct reason *why);
/* The same of a call that has no request, and so no place for a reason. */
void refused_call(const char *name, long (*call)(int fd), int fd, const struct reason *why);
void expect(const char *name, int holds);

void status(struct shadowmm_rec_status *status);
__u32 records(__u32 kind, __u32 record_size, void *buf, __u32 capacity);
/* A mark of all that can be seen: texts, stage, pages held and free. */
__u64 everything(void);
/* One stage on, or another way through the boot. */
void stage(const char *name, int fd, __u32 op, __u32 reached);

/* The parts. */
void test_requests(void);	/* abi_requests.c: heads, sizes, pointers */
void test_pages(void);		/* abi_pages.c: allocate, free, look */
void test_many(void);		/* abi_many.c: bulk, exact sizes, split, merge, references, policies */
void test_reports(void);	/* abi_reports.c: records, room for them, the stages' order */
void test_slab(void);	/* abi_slab.c: caches, objects, what is in them */
void test_mm(void);		/* abi_mm.c: windows, and what is done in them */
void test_maps(void);		/* abi_maps.c: maps and crash kernels */

#endif
