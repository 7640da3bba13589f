// SPDX-License-Identifier: GPL-2.0
/* Requests about windows, each with all of its chances to fail; see fault_walk.c. */
#include "fault_walk.h"

static void config_set(union any *r) { r->mm_config.op = SHADOWMM_MM_CONFIG_SET; r->mm_config.tree = SHADOWMM_MM_TREE_RBTREE; }
static void mm_mmap(union any *r) { r->mm_mmap.len = 8 * PAGE; r->mm_mmap.prot = 1; r->mm_mmap.fd = -1; r->mm_mmap.flags = MAP_PRIVATE | MAP_ANONYMOUS; }
static void mmap_populate(union any *r) { mm_mmap(r); r->mm_mmap.addr = fresh_place(); r->mm_mmap.prot = 3; r->mm_mmap.flags |= MAP_POPULATE; }
static void mmap_file(union any *r) { mm_mmap(r); r->mm_mmap.flags = MAP_PRIVATE | MAP_POPULATE; r->mm_mmap.fd = self; }
static void in_the_middle(union any *r) { r->mm_range.addr = area + 4 * PAGE; r->mm_range.len = 4 * PAGE; }
static void whole(union any *r) { r->mm_range.addr = area; r->mm_range.len = 16 * PAGE; }
static void mprotect_middle(union any *r) { in_the_middle(r); r->mm_range.arg = PROT_READ; }
static void dontneed(union any *r) { whole(r); r->mm_range.arg = MADV_DONTNEED; }
static void populate_write(union any *r) { in_the_middle(r); r->mm_range.arg = MADV_POPULATE_WRITE; }
static void populate_table(union any *r) { fresh_area(r); populate_write(r); }
static void dontfork(union any *r) { in_the_middle(r); r->mm_range.arg = MADV_DONTFORK; }
static void msync_all(union any *r) { whole(r); r->mm_range.arg = MS_SYNC; }
static void mremap_grow(union any *r) { r->mm_mremap.addr = area; r->mm_mremap.old_len = 16 * PAGE; r->mm_mremap.new_len = 64 * PAGE; r->mm_mremap.flags = MREMAP_MAYMOVE; }
static void mremap_shrink(union any *r) { mremap_grow(r); r->mm_mremap.new_len = 2 * PAGE; }
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
	CALL(MM_MMAP, mm_mmap, " of a file", WINDOWED, mmap_file),
	CALL(MM_MUNMAP, mm_range, "", WINDOWED | DONE, in_the_middle),
	CALL(MM_MPROTECT, mm_range, "", WINDOWED | DONE, mprotect_middle),
	CALL(MM_MREMAP, mm_mremap, ", larger", WINDOWED | DONE, mremap_grow),
	CALL(MM_MREMAP, mm_mremap, ", smaller", WINDOWED | DONE, mremap_shrink),
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
