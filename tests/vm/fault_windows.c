// SPDX-License-Identifier: GPL-2.0
/* Requests about windows, and faults in them, each with all of its chances to fail; see fault_walk.c. */
#include "fault_walk.h"

#define HUGE (2UL << 20)

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif

static void config_set(union any *r) { r->mm_config.op = SHADOWMM_MM_CONFIG_SET; r->mm_config.tree = SHADOWMM_MM_TREE_RBTREE; }
static void mm_mmap(union any *r) { r->mm_mmap.len = 8 * PAGE; r->mm_mmap.prot = 1; r->mm_mmap.fd = -1; r->mm_mmap.flags = MAP_PRIVATE | MAP_ANONYMOUS; }
static void mmap_populate(union any *r) { mm_mmap(r); r->mm_mmap.addr = fresh_place(); r->mm_mmap.prot = 3; r->mm_mmap.flags |= MAP_POPULATE; }
static void mmap_shared(union any *r) { mmap_populate(r); r->mm_mmap.flags = MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE; }
static void mmap_file(union any *r) { mm_mmap(r); r->mm_mmap.flags = MAP_PRIVATE | MAP_POPULATE; r->mm_mmap.fd = self; }
static void in_the_middle(union any *r) { r->mm_range.addr = area + 4 * PAGE; r->mm_range.len = 4 * PAGE; }
static void whole(union any *r) { r->mm_range.addr = area; r->mm_range.len = 16 * PAGE; }
static void mprotect_middle(union any *r) { in_the_middle(r); r->mm_range.arg = PROT_READ; }
static void dontneed(union any *r) { whole(r); r->mm_range.arg = MADV_DONTNEED; }
static void all_pages(union any *r) { whole(r); advise(area, 16 * PAGE, MADV_POPULATE_WRITE); }
static void free_pages(union any *r) { all_pages(r); r->mm_range.arg = MADV_FREE; }
static void remove_pages(union any *r) { map_area(16 * PAGE, 3, MAP_SHARED, -1); all_pages(r); r->mm_range.arg = MADV_REMOVE; }
static void hugepage(union any *r) { in_the_middle(r); r->mm_range.arg = MADV_HUGEPAGE; }
static void guard_install(union any *r) { in_the_middle(r); r->mm_range.arg = MADV_GUARD_INSTALL; }
static void guard_table(union any *r) { fresh_area(r); guard_install(r); }
static void guard_over_pages(union any *r) { all_pages(r); guard_install(r); }
static void guard_remove(union any *r) { in_the_middle(r); advise(area, 16 * PAGE, MADV_GUARD_INSTALL); r->mm_range.arg = MADV_GUARD_REMOVE; }
static void dontneed_locked(union any *r)
{
	in_the_middle(r);
	MUST(fd, MM_MLOCK, .mm_mlock = { .addr = area + 4 * PAGE, .len = 4 * PAGE });
	r->mm_range.arg = MADV_DONTNEED_LOCKED;
}
/* Pages that could be 2 MiB. */
static void collapse(union any *r)
{
	map_area(HUGE, 3, MAP_PRIVATE, -1);
	advise(area, HUGE, MADV_NOHUGEPAGE);
	advise(area, HUGE, MADV_POPULATE_WRITE);
	advise(area, HUGE, MADV_HUGEPAGE);
	r->mm_range.addr = area;
	r->mm_range.len = HUGE;
	r->mm_range.arg = MADV_COLLAPSE;
}
static void collapsed(bool done)
{
	/* Refused, they may be: when it is the answer that could not be told. */
	if (done && !is_huge(area))
		not_so("the pages are not 2 MiB");
}
static void populate_write(union any *r) { in_the_middle(r); r->mm_range.arg = MADV_POPULATE_WRITE; }
static void populate_table(union any *r) { fresh_area(r); populate_write(r); }
static void dontfork(union any *r) { in_the_middle(r); r->mm_range.arg = MADV_DONTFORK; }
static void msync_all(union any *r) { whole(r); r->mm_range.arg = MS_SYNC; }
static void mremap_grow(union any *r) { r->mm_mremap.addr = area; r->mm_mremap.old_len = 16 * PAGE; r->mm_mremap.new_len = 64 * PAGE; r->mm_mremap.flags = MREMAP_MAYMOVE; }
static void mremap_shrink(union any *r) { mremap_grow(r); r->mm_mremap.new_len = 2 * PAGE; }
static void mremap_fixed(union any *r) { mremap_grow(r); r->mm_mremap.new_len = 16 * PAGE; r->mm_mremap.flags |= MREMAP_FIXED; r->mm_mremap.new_addr = fresh_place(); }
static void mremap_over(union any *r) { mremap_fixed(r); MUST(fd, MM_MMAP, .mm_mmap = { .addr = fresh_place(), .len = 4 * PAGE, .prot = 3, .fd = -1, .flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED }); }
static void mremap_dontunmap(union any *r) { mremap_fixed(r); r->mm_mremap.flags = MREMAP_MAYMOVE | MREMAP_DONTUNMAP; r->mm_mremap.new_addr = 0; }
static void brk_grow(union any *r) { r->mm_brk.brk = MUST(fd, MM_BRK, .mm_brk.brk = 0).mm_brk.brk + 5 * PAGE; }
static void mlock_middle(union any *r) { r->mm_mlock.addr = area + 4 * PAGE; r->mm_mlock.len = 4 * PAGE; }
static void unlock_middle(union any *r) { mlock_middle(r); r->mm_mlock.op = SHADOWMM_MM_MUNLOCK; }
static void mlockall_now(union any *r) { r->mm_mlock.op = SHADOWMM_MM_MLOCKALL; r->mm_mlock.flags = MCL_CURRENT; }
static void munlockall_now(union any *r) { r->mm_mlock.op = SHADOWMM_MM_MUNLOCKALL; }
static void mincore_all(union any *r) { r->mm_mincore.addr = area; r->mm_mincore.len = 16 * PAGE; r->mm_mincore.vec = (uintptr_t)bytes; }
static void limits_set(union any *r) { r->mm_limits.op = SHADOWMM_MM_LIMITS_SET; r->mm_limits.value = r->mm_limits.max = 1 << 30; }
static void limits_follow(union any *r) { r->mm_limits.op = SHADOWMM_MM_LIMITS_FOLLOW; }
static void mm_walk(union any *r) { r->mm_walk.addr = area; }
static void vmas(union any *r) { r->mm_vmas.record_size = sizeof(struct shadowmm_rec_vma); r->mm_vmas.capacity = 100; r->mm_vmas.buf = (uintptr_t)bytes; }
static void bench_lookup(union any *r) { r->bench_lookup.blocks = 1; r->bench_lookup.shadow_ticks = (uintptr_t)numbers; r->bench_lookup.host_ticks = (uintptr_t)(numbers + 1); }

static const struct call requests[] = {
	CALL(BENCH_LOOKUP, bench_lookup, "", WINDOWED, bench_lookup),
	CALL(MM_CONFIG, mm_config, " GET", 0, NULL),
	CALL(MM_CONFIG, mm_config, " SET", DONE, config_set),
	CALL(MM_INFO, mm_info, "", WINDOWED, NULL),
	CALL(MM_MMAP, mm_mmap, "", WINDOWED, mm_mmap),
	CALL(MM_MMAP, mm_mmap, " populated", WINDOWED, mmap_populate),
	CALL(MM_MMAP, mm_mmap, " of shared memory, populated", WINDOWED, mmap_shared),
	CALL(MM_MMAP, mm_mmap, " of a file", WINDOWED, mmap_file),
	CALL(MM_MUNMAP, mm_range, "", WINDOWED | DONE, in_the_middle),
	CALL(MM_MPROTECT, mm_range, "", WINDOWED | DONE, mprotect_middle),
	CALL(MM_MREMAP, mm_mremap, ", larger", WINDOWED | DONE, mremap_grow),
	CALL(MM_MREMAP, mm_mremap, ", smaller", WINDOWED | DONE, mremap_shrink),
	CALL(MM_MREMAP, mm_mremap, " FIXED", WINDOWED | DONE, mremap_fixed),
	/* What was there goes first. */
	CALL(MM_MREMAP, mm_mremap, " FIXED over something", WINDOWED | PARTLY, mremap_over),
	CALL(MM_MREMAP, mm_mremap, " DONTUNMAP", WINDOWED | DONE, mremap_dontunmap),
	CALL(MM_MADVISE, mm_range, " FREE", WINDOWED | DONE, free_pages),
	CALL(MM_MADVISE, mm_range, " REMOVE", WINDOWED | DONE, remove_pages),
	CALL(MM_MADVISE, mm_range, " HUGEPAGE", WINDOWED | DONE, hugepage),
	CALL(MM_MADVISE, mm_range, " COLLAPSE", WINDOWED | DONE, collapse, .after = collapsed),
	CALL(MM_MADVISE, mm_range, " DONTNEED_LOCKED", WINDOWED | DONE, dontneed_locked),
	CALL(MM_MADVISE, mm_range, " GUARD_INSTALL", WINDOWED | DONE, guard_install),
	CALL(MM_MADVISE, mm_range, " GUARD_INSTALL, with the table", WINDOWED | DONE, guard_table),
	CALL(MM_MADVISE, mm_range, " GUARD_INSTALL over pages", WINDOWED | PARTLY, guard_over_pages),
	CALL(MM_MADVISE, mm_range, " GUARD_REMOVE", WINDOWED | DONE, guard_remove),
	CALL(MM_MADVISE, mm_range, " DONTNEED", WINDOWED | DONE, dontneed),
	CALL(MM_MADVISE, mm_range, " POPULATE_WRITE", WINDOWED | DONE, populate_write),
	CALL(MM_MADVISE, mm_range, " POPULATE_WRITE, with the table", WINDOWED | PARTLY, populate_table),
	CALL(MM_MADVISE, mm_range, " DONTFORK", WINDOWED | DONE, dontfork),
	CALL(MM_BRK, mm_brk, "", WINDOWED | DONE, brk_grow),
	CALL(MM_MLOCK, mm_mlock, " MLOCK", WINDOWED | DONE, mlock_middle),
	CALL(MM_MLOCK, mm_mlock, " MUNLOCK", WINDOWED | DONE, unlock_middle),
	CALL(MM_MLOCK, mm_mlock, " MLOCKALL", WINDOWED | DONE, mlockall_now),
	CALL(MM_MLOCK, mm_mlock, " MUNLOCKALL", WINDOWED | DONE, munlockall_now),
	CALL(MM_MINCORE, mm_mincore, "", WINDOWED, mincore_all),
	CALL(MM_MSYNC, mm_range, "", WINDOWED, msync_all),
	CALL(MM_LIMITS, mm_limits, " GET", WINDOWED, NULL),
	CALL(MM_LIMITS, mm_limits, " SET", WINDOWED | DONE, limits_set),
	CALL(MM_LIMITS, mm_limits, " FOLLOW", WINDOWED | DONE, limits_follow),
	CALL(MM_WALK, mm_walk, "", WINDOWED, mm_walk),
	CALL(MM_VMAS, mm_vmas, "", WINDOWED, vmas),
};

void walk_windows(void)
{
	for (unsigned int i = 0; i < COUNT(requests); i++)
		walk(&requests[i]);
}

/* --- faults ---------------------------------------------------------------------------------------------- */

static void shared_area(union any *r) { (void)r; map_area(16 * PAGE, 3, MAP_SHARED, -1); }
static void file_area(union any *r) { (void)r; map_area(16 * PAGE, 3, MAP_PRIVATE, self); spot = area + PAGE; }
/* Two pages of 2 MiB, the second of which is there. */
static void huge_area(union any *r)
{
	(void)r;
	map_area(2 * HUGE, 3, MAP_PRIVATE, -1);
	advise(area, 2 * HUGE, MADV_HUGEPAGE);
	*(volatile char *)(area + HUGE) = 1;
	if (!is_huge(area + HUGE))
		not_so("a page is not 2 MiB");
}
/* Below a mapping that grows down. */
static void stack_area(union any *r) { (void)r; map_area(16 * PAGE, 3, MAP_PRIVATE | MAP_GROWSDOWN, -1); spot = area - 3 * PAGE; }
/* What a child has, too. */
static void copied(union any *r) { fresh_area(r); *(volatile char *)spot = 1; with_child(); }
static void copied_huge(union any *r) { huge_area(r); spot = area + HUGE + 9 * PAGE; with_child(); }

/* A page that is there stays, for the next touch, where its host entry is what failed; a stack has grown then. */
static const struct call faults[] = {
	{ .name = "a fault", .needs = WINDOWED, .before = fresh_area, .make = touch },
	{ .name = "a fault to read", .needs = WINDOWED, .before = fresh_area, .make = touch_to_read },
	{ .name = "a fault of the kernel's", .needs = WINDOWED | PARTLY, .before = fresh_area, .make = touch_by_read },
	{ .name = "a fault of the kernel's to read", .needs = WINDOWED | PARTLY, .before = fresh_area, .make = touch_by_write },
	{ .name = "a fault in shared memory", .needs = WINDOWED, .before = shared_area, .make = touch },
	{ .name = "a fault in shared memory, of the kernel's", .needs = WINDOWED | PARTLY, .before = shared_area, .make = touch_by_read },
	{ .name = "a fault of a file's page", .needs = WINDOWED, .before = file_area, .make = touch_to_read },
	{ .name = "a fault of a file's page, of the kernel's", .needs = WINDOWED | PARTLY, .before = file_area, .make = touch_by_write },
	{ .name = "a copy of a file's page", .needs = WINDOWED, .before = file_area, .make = touch },
	{ .name = "a copy of a file's page, for the kernel", .needs = WINDOWED | PARTLY, .before = file_area, .make = touch_by_read },
	{ .name = "a fault of 2 MiB", .needs = WINDOWED, .before = huge_area, .make = touch },
	{ .name = "a fault of 2 MiB to read", .needs = WINDOWED, .before = huge_area, .make = touch_to_read },
	{ .name = "a fault of 2 MiB, of the kernel's", .needs = WINDOWED | PARTLY, .before = huge_area, .make = touch_by_read },
	{ .name = "a copy behind a fork", .needs = WINDOWED, .before = copied, .after = end_child, .make = touch },
	{ .name = "a copy behind a fork, for the kernel", .needs = WINDOWED | PARTLY, .before = copied, .after = end_child, .make = touch_by_read },
	{ .name = "a copy of 2 MiB behind a fork", .needs = WINDOWED, .before = copied_huge, .after = end_child, .make = touch },
	{ .name = "a copy of 2 MiB behind a fork, for the kernel", .needs = WINDOWED | PARTLY, .before = copied_huge, .after = end_child, .make = touch_by_read },
	{ .name = "a stack that grows", .needs = WINDOWED | PARTLY, .before = stack_area, .make = touch },
	{ .name = "a stack that grows for the kernel", .needs = WINDOWED | PARTLY, .before = stack_area, .make = touch_by_read },
};

void walk_faults(void)
{
	for (unsigned int i = 0; i < COUNT(faults); i++)
		walk(&faults[i]);
}
