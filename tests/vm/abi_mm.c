// SPDX-License-Identifier: GPL-2.0
/*
 * The ABI test: windows, and what is asked of them by those who have one and by those who have none. What
 * calls in a window come to is for mm.c, beside the host's own; here it is how they are asked.
 */
#include "abi.h"

/* Small enough for 32 bits. */
#define WINDOW (64UL << 20)

enum { RW = PROT_READ | PROT_WRITE, ANON = MAP_PRIVATE | MAP_ANONYMOUS };
enum { MREMAP_MAYMOVE = 1, MREMAP_FIXED = 2, MCL_CURRENT = 1, MADV_DONTNEED = 4 };

/* --- requests ------------------------------------------------------------------------- */

static struct shadowmm_mm_mmap mmap_of(__u64 addr, __u64 len, __u32 prot, __u32 flags, int file)
{
	struct shadowmm_mm_mmap request = REQUEST(shadowmm_mm_mmap);

	request.addr = addr;
	request.len = len;
	request.prot = prot;
	request.flags = flags;
	request.fd = file;
	return request;
}

static struct shadowmm_mm_range range_of(__u64 addr, __u64 len, __u32 arg)
{
	struct shadowmm_mm_range request = REQUEST(shadowmm_mm_range);

	request.addr = addr;
	request.len = len;
	request.arg = arg;
	return request;
}

static struct shadowmm_mm_mlock lock_of(__u32 op, __u64 addr, __u64 len, __u32 flags)
{
	struct shadowmm_mm_mlock request = REQUEST(shadowmm_mm_mlock);

	request.op = op;
	request.addr = addr;
	request.len = len;
	request.flags = flags;
	return request;
}

static struct shadowmm_mm_limits limits_of(__u32 op, __u32 limit, __u64 value, __u64 max)
{
	struct shadowmm_mm_limits request = REQUEST(shadowmm_mm_limits);

	request.op = op;
	request.limit = limit;
	request.value = value;
	request.max = max;
	return request;
}

static struct shadowmm_mm_config config_of(__u32 op, __u32 tree, __u32 layout, __u64 seed)
{
	struct shadowmm_mm_config request = REQUEST(shadowmm_mm_config);

	request.op = op;
	request.tree = tree;
	request.layout = layout;
	request.seed = seed;
	return request;
}

/* --- who has no window ------------------------------------------------------------------ */

static void without_window(int fd)
{
	struct shadowmm_mm_info info = REQUEST(shadowmm_mm_info);
	struct shadowmm_mm_mmap mmap = mmap_of(0, PAGE, RW, ANON, -1);
	struct shadowmm_mm_range range = range_of(PAGE, PAGE, 0);
	struct shadowmm_mm_mremap mremap = REQUEST(shadowmm_mm_mremap);
	struct shadowmm_mm_brk brk = REQUEST(shadowmm_mm_brk);
	struct shadowmm_mm_mlock lock = lock_of(SHADOWMM_MM_MLOCK, PAGE, PAGE, 0);
	struct shadowmm_mm_mincore mincore = REQUEST(shadowmm_mm_mincore);
	struct shadowmm_mm_limits limits = limits_of(SHADOWMM_MM_LIMITS_GET, 0, 0, 0);
	struct shadowmm_mm_walk walk = REQUEST(shadowmm_mm_walk);
	struct shadowmm_mm_vmas vmas = REQUEST(shadowmm_mm_vmas);
	struct shadowmm_bench_lookup lookup = REQUEST(shadowmm_bench_lookup);

	vmas.record_size = sizeof(struct shadowmm_rec_vma);
	lookup.blocks = 1;
	refused("MM_INFO without a window", fd, SHADOWMM_IOC_MM_INFO, &info, &NoWindow);
	refused("MM_MMAP without a window", fd, SHADOWMM_IOC_MM_MMAP, &mmap, &NoWindow);
	refused("MM_MUNMAP without a window", fd, SHADOWMM_IOC_MM_MUNMAP, &range, &NoWindow);
	refused("MM_MPROTECT without a window", fd, SHADOWMM_IOC_MM_MPROTECT, &range, &NoWindow);
	refused("MM_MREMAP without a window", fd, SHADOWMM_IOC_MM_MREMAP, &mremap, &NoWindow);
	range.arg = MADV_DONTNEED;
	refused("MM_MADVISE without a window", fd, SHADOWMM_IOC_MM_MADVISE, &range, &NoWindow);
	refused("MM_MSYNC without a window", fd, SHADOWMM_IOC_MM_MSYNC, &range, &NoWindow);
	refused("MM_BRK without a window", fd, SHADOWMM_IOC_MM_BRK, &brk, &NoWindow);
	refused("MM_MLOCK without a window", fd, SHADOWMM_IOC_MM_MLOCK, &lock, &NoWindow);
	refused("MM_MINCORE without a window", fd, SHADOWMM_IOC_MM_MINCORE, &mincore, &NoWindow);
	refused("MM_LIMITS without a window", fd, SHADOWMM_IOC_MM_LIMITS, &limits, &NoWindow);
	refused("MM_WALK without a window", fd, SHADOWMM_IOC_MM_WALK, &walk, &NoWindow);
	refused("MM_VMAS without a window", fd, SHADOWMM_IOC_MM_VMAS, &vmas, &NoWindow);
	refused("BENCH_LOOKUP without a window", fd, SHADOWMM_IOC_BENCH_LOOKUP, &lookup, &NoWindow);
	walk.id = vmas.id = 0x7fffffff;
	refused("MM_WALK of nobody", fd, SHADOWMM_IOC_MM_WALK, &walk, &NoSuchSpace);
	refused("MM_VMAS of nobody", fd, SHADOWMM_IOC_MM_VMAS, &vmas, &NoSuchSpace);
}

/* --- windows that can't be -------------------------------------------------------------- */

static long map(int fd, int prot, int flags, unsigned long offset)
{
	return sys_mmap(0, WINDOW, prot, flags, fd, offset);
}

static long map_private(int fd) { return map(fd, RW, MAP_PRIVATE, 0); }
static long map_executable(int fd) { return map(fd, RW | PROT_EXEC, MAP_SHARED, 0); }
static long map_read_only(int fd) { return map(fd, PROT_READ, MAP_SHARED, 0); }
static long map_nothing(int fd) { return map(fd, PROT_NONE, MAP_SHARED, 0); }
static long map_offset(int fd) { return map(fd, RW, MAP_SHARED, PAGE); }
static long map_well(int fd) { return map(fd, RW, MAP_SHARED, 0); }

static void bad_windows(int fd)
{
	refused_call("a private window", map_private, fd, &WindowPrivate);
	refused_call("an executable window", map_executable, fd, &WindowExecutable);
	refused_call("a window that is read-only", map_read_only, fd, &WindowAccess);
	refused_call("a window of no access", map_nothing, fd, &WindowAccess);
	refused_call("a window with an offset", map_offset, fd, &WindowOffset);
}

static void bad_config(int fd)
{
	static const __u32 ops[] = { 2, 0x80000000, 0xffffffff };
	static const __u32 layouts[] = { 0x8, 0x80000000, 0xffffffff };
	struct shadowmm_mm_config config;

	for (unsigned int i = 0; i < COUNT(ops); i++) {
		config = config_of(ops[i], 0, 0, 0);
		refused("MM_CONFIG: an unknown operation", fd, SHADOWMM_IOC_MM_CONFIG, &config, &BadKind);
		config = config_of(SHADOWMM_MM_CONFIG_SET, 0, layouts[i], 0);
		refused("MM_CONFIG: an unknown layout", fd, SHADOWMM_IOC_MM_CONFIG, &config, &BadFlags);
		config = config_of(SHADOWMM_MM_CONFIG_SET, 3 + ops[i] / 2, 0, 0);
		refused("MM_CONFIG: an unknown tree", fd, SHADOWMM_IOC_MM_CONFIG, &config, &BadKind);
	}
	config = config_of(SHADOWMM_MM_CONFIG_GET, 1, 0, 0);
	refused("MM_CONFIG GET with a tree", fd, SHADOWMM_IOC_MM_CONFIG, &config, &BadReserved);
	config = config_of(SHADOWMM_MM_CONFIG_GET, 0, 1, 0);
	refused("MM_CONFIG GET with a layout", fd, SHADOWMM_IOC_MM_CONFIG, &config, &BadReserved);
	config = config_of(SHADOWMM_MM_CONFIG_GET, 0, 0, 1);
	refused("MM_CONFIG GET with a seed", fd, SHADOWMM_IOC_MM_CONFIG, &config, &BadReserved);
	config = config_of(SHADOWMM_MM_CONFIG_SET, SHADOWMM_MM_TREE_RBTREE, SHADOWMM_MM_BARE, 7);
	accepted("MM_CONFIG SET", fd, SHADOWMM_IOC_MM_CONFIG, &config);
	config = config_of(SHADOWMM_MM_CONFIG_GET, 0, 0, 0);
	accepted("MM_CONFIG GET", fd, SHADOWMM_IOC_MM_CONFIG, &config);
	expect("it is as it was set", config.tree == SHADOWMM_MM_TREE_RBTREE &&
	       config.layout == SHADOWMM_MM_BARE && config.seed == 7);
	config = config_of(SHADOWMM_MM_CONFIG_SET, 0, SHADOWMM_MM_BARE, 0);
	accepted("MM_CONFIG SET again", fd, SHADOWMM_IOC_MM_CONFIG, &config);
}

/* --- in a window -------------------------------------------------------------------------- */

static void bad_mappings(int fd, __u64 p)
{
	struct shadowmm_mm_mmap mmap = mmap_of(0, 0, RW, ANON, -1);
	struct shadowmm_mm_range range;
	struct shadowmm_mm_mremap mremap = REQUEST(shadowmm_mm_mremap);

	refused("MM_MMAP of nothing", fd, SHADOWMM_IOC_MM_MMAP, &mmap, &BadLength);
	mmap = mmap_of(0, WINDOW + PAGE, RW, ANON, -1);
	refused("MM_MMAP of more than the window", fd, SHADOWMM_IOC_MM_MMAP, &mmap, &OutsideWindow);
	mmap = mmap_of(p + 1, PAGE, RW, ANON | MAP_FIXED, -1);
	refused("MM_MMAP at no page's start", fd, SHADOWMM_IOC_MM_MMAP, &mmap, &NotPageAligned);
	mmap = mmap_of(1ULL << 47, PAGE, RW, ANON | MAP_FIXED, -1);
	refused("MM_MMAP where no process has anything", fd, SHADOWMM_IOC_MM_MMAP, &mmap, &OutsideWindow);
	mmap = mmap_of(0, PAGE, RW, MAP_ANONYMOUS, -1);
	refused("MM_MMAP neither shared nor private", fd, SHADOWMM_IOC_MM_MMAP, &mmap, &BadMapFlags);
	mmap = mmap_of(0, PAGE, RW, MAP_PRIVATE, -1);
	refused("MM_MMAP of no file", fd, SHADOWMM_IOC_MM_MMAP, &mmap, &BadDescriptor);
	mmap = mmap_of(0, PAGE, RW, MAP_PRIVATE, 0x7fffffff);
	refused("MM_MMAP of a file that is not open", fd, SHADOWMM_IOC_MM_MMAP, &mmap, &BadDescriptor);
	mmap = mmap_of(0, PAGE, RW, MAP_PRIVATE, fd);
	refused("MM_MMAP of the device", fd, SHADOWMM_IOC_MM_MMAP, &mmap, &NotMappable);
	mmap.offset = 1;
	refused("MM_MMAP at an offset in a page", fd, SHADOWMM_IOC_MM_MMAP, &mmap, &NotPageAligned);

	range = range_of(p, PAGE, 1);
	refused("MM_MUNMAP with an argument", fd, SHADOWMM_IOC_MM_MUNMAP, &range, &BadReserved);
	range = range_of(p, 0, 0);
	refused("MM_MUNMAP of nothing", fd, SHADOWMM_IOC_MM_MUNMAP, &range, &BadLength);
	range = range_of(~0ULL - PAGE + 1, PAGE, 0);
	refused("MM_MUNMAP of the last page of all", fd, SHADOWMM_IOC_MM_MUNMAP, &range, &BadRange);
	range = range_of(p + 1, PAGE, RW);
	refused("MM_MPROTECT at no page's start", fd, SHADOWMM_IOC_MM_MPROTECT, &range, &NotPageAligned);
	range = range_of(p, PAGE, 0x40000000);
	refused("MM_MPROTECT with unknown bits", fd, SHADOWMM_IOC_MM_MPROTECT, &range, &BadProtection);
	range = range_of(p, PAGE, 0xffffffff);
	refused("MM_MADVISE that is none", fd, SHADOWMM_IOC_MM_MADVISE, &range, &BadAdvice);
	range = range_of(p + 32 * PAGE, PAGE, MADV_DONTNEED);
	refused("MM_MADVISE of a hole", fd, SHADOWMM_IOC_MM_MADVISE, &range, &NotMapped);
	range = range_of(p, PAGE, 0x100);
	refused("MM_MSYNC with unknown bits", fd, SHADOWMM_IOC_MM_MSYNC, &range, &BadMapFlags);

	mremap.addr = p;
	mremap.old_len = PAGE;
	refused("MM_MREMAP to nothing", fd, SHADOWMM_IOC_MM_MREMAP, &mremap, &BadLength);
	mremap.new_len = PAGE;
	mremap.flags = 0x80;
	refused("MM_MREMAP with unknown bits", fd, SHADOWMM_IOC_MM_MREMAP, &mremap, &BadRemap);
	mremap.flags = MREMAP_FIXED;
	mremap.new_addr = p + 40 * PAGE;
	refused("MM_MREMAP with FIXED alone", fd, SHADOWMM_IOC_MM_MREMAP, &mremap, &BadRemap);
	mremap.flags = MREMAP_MAYMOVE;
	mremap.new_addr = 0;
	mremap.addr = p + 32 * PAGE;
	mremap.new_len = 2 * PAGE;
	refused("MM_MREMAP of a hole", fd, SHADOWMM_IOC_MM_MREMAP, &mremap, &NothingThere);
}

static void bad_locks(int fd, __u64 p)
{
	static const __u32 ops[] = { 4, 0x80000000, 0xffffffff };
	struct shadowmm_mm_mlock lock;

	for (unsigned int i = 0; i < COUNT(ops); i++) {
		lock = lock_of(ops[i], p, PAGE, 0);
		refused("MM_MLOCK: an unknown operation", fd, SHADOWMM_IOC_MM_MLOCK, &lock, &BadKind);
	}
	lock = lock_of(SHADOWMM_MM_MLOCK, p, PAGE, 2);
	refused("MM_MLOCK with unknown bits", fd, SHADOWMM_IOC_MM_MLOCK, &lock, &BadMapFlags);
	lock = lock_of(SHADOWMM_MM_MUNLOCK, p, PAGE, 1);
	refused("MUNLOCK with flags", fd, SHADOWMM_IOC_MM_MLOCK, &lock, &BadReserved);
	lock = lock_of(SHADOWMM_MM_MLOCKALL, p, 0, MCL_CURRENT);
	refused("MLOCKALL with an address", fd, SHADOWMM_IOC_MM_MLOCK, &lock, &BadReserved);
	lock = lock_of(SHADOWMM_MM_MLOCKALL, 0, PAGE, MCL_CURRENT);
	refused("MLOCKALL with a length", fd, SHADOWMM_IOC_MM_MLOCK, &lock, &BadReserved);
	lock = lock_of(SHADOWMM_MM_MLOCKALL, 0, 0, 0);
	refused("MLOCKALL of nothing", fd, SHADOWMM_IOC_MM_MLOCK, &lock, &BadMapFlags);
	lock = lock_of(SHADOWMM_MM_MUNLOCKALL, 0, 0, 1);
	refused("MUNLOCKALL with flags", fd, SHADOWMM_IOC_MM_MLOCK, &lock, &BadReserved);
	lock = lock_of(SHADOWMM_MM_MUNLOCKALL, 1, 0, 0);
	refused("MUNLOCKALL with an address", fd, SHADOWMM_IOC_MM_MLOCK, &lock, &BadReserved);
}

static void bad_limits(int fd)
{
	struct shadowmm_mm_limits limits;

	limits = limits_of(3, 0, 0, 0);
	refused("MM_LIMITS: an unknown operation", fd, SHADOWMM_IOC_MM_LIMITS, &limits, &BadKind);
	for (__u32 op = SHADOWMM_MM_LIMITS_GET; op <= SHADOWMM_MM_LIMITS_FOLLOW; op++) {
		limits = limits_of(op, SHADOWMM_MM_NR_LIMITS, 0, 0);
		refused("MM_LIMITS: an unknown limit", fd, SHADOWMM_IOC_MM_LIMITS, &limits, &BadKind);
		limits = limits_of(op, 0xffffffff, 0, 0);
		refused("MM_LIMITS: the largest limit", fd, SHADOWMM_IOC_MM_LIMITS, &limits, &BadKind);
		if (op == SHADOWMM_MM_LIMITS_SET)
			continue;
		limits = limits_of(op, 0, 1, 0);
		refused("MM_LIMITS with a value", fd, SHADOWMM_IOC_MM_LIMITS, &limits, &BadReserved);
		limits = limits_of(op, 0, 0, 1);
		refused("MM_LIMITS with a highest value", fd, SHADOWMM_IOC_MM_LIMITS, &limits, &BadReserved);
	}
	for (__u32 limit = 0; limit < SHADOWMM_MM_NR_LIMITS; limit++) {
		limits = limits_of(SHADOWMM_MM_LIMITS_SET, limit, 1 << 20, 1 << 20);
		accepted("MM_LIMITS SET", fd, SHADOWMM_IOC_MM_LIMITS, &limits);
		limits = limits_of(SHADOWMM_MM_LIMITS_GET, limit, 0, 0);
		accepted("MM_LIMITS GET", fd, SHADOWMM_IOC_MM_LIMITS, &limits);
		expect("it is what was set", limits.value == 1 << 20);
		limits = limits_of(SHADOWMM_MM_LIMITS_FOLLOW, limit, 0, 0);
		accepted("MM_LIMITS FOLLOW", fd, SHADOWMM_IOC_MM_LIMITS, &limits);
	}
}

static void bad_looks(int fd, __u64 p)
{
	struct shadowmm_mm_mincore mincore = REQUEST(shadowmm_mm_mincore);
	struct shadowmm_mm_vmas vmas = REQUEST(shadowmm_mm_vmas);
	struct shadowmm_bench_lookup lookup = REQUEST(shadowmm_bench_lookup);
	struct shadowmm_rec_vma vma;
	unsigned char *end = sys_pages(2);
	static const __u64 nowhere[] = { 8, 1ULL << 63, ~0ULL - 7 };

	sys_mprotect(end + PAGE, PAGE, PROT_NONE);
	mincore.addr = p;
	mincore.len = 4 * PAGE;
	vmas.record_size = sizeof(vma);
	vmas.capacity = 1;
	for (unsigned int i = 0; i < COUNT(nowhere); i++) {
		mincore.vec = nowhere[i];
		refused("MM_MINCORE to nowhere", fd, SHADOWMM_IOC_MM_MINCORE, &mincore, &BadPointer);
		vmas.buf = nowhere[i];
		refused("MM_VMAS to nowhere", fd, SHADOWMM_IOC_MM_VMAS, &vmas, &BadPointer);
	}
	mincore.vec = address(end + PAGE - 3);
	refused("MM_MINCORE with room for three of four", fd, SHADOWMM_IOC_MM_MINCORE, &mincore, &BadPointer);
	mincore.vec = address(end);
	mincore.addr = p + 1;
	refused("MM_MINCORE at no page's start", fd, SHADOWMM_IOC_MM_MINCORE, &mincore, &NotPageAligned);
	mincore.addr = p + 32 * PAGE;
	refused("MM_MINCORE of a hole", fd, SHADOWMM_IOC_MM_MINCORE, &mincore, &NotMapped);

	vmas.buf = address(end + PAGE - 8);
	refused("MM_VMAS where a record has no room", fd, SHADOWMM_IOC_MM_VMAS, &vmas, &BadPointer);
	vmas.buf = address(&vma);
	for (__s32 off = -8; off <= 8; off += 16) {
		vmas.record_size = sizeof(vma) + off;
		refused("MM_VMAS with records of another size", fd, SHADOWMM_IOC_MM_VMAS, &vmas, &BadSize);
	}
	vmas.record_size = sizeof(vma);
	accepted("MM_VMAS", fd, SHADOWMM_IOC_MM_VMAS, &vmas);
	expect("there is one", vmas.count == 1 && vma.start == p && vma.end == p + 16 * PAGE);
	lookup.blocks = 0;
	refused("BENCH_LOOKUP of no blocks", fd, SHADOWMM_IOC_BENCH_LOOKUP, &lookup, &BadBlocks);
	lookup.blocks = 0xffffffff;
	refused("BENCH_LOOKUP of too many", fd, SHADOWMM_IOC_BENCH_LOOKUP, &lookup, &BadBlocks);
	sys_munmap(end, 2 * PAGE);
}

/* --- other processes -------------------------------------------------------------------- */

static void stranger(int fd, __u32 id)
{
	struct shadowmm_mm_vmas vmas = REQUEST(shadowmm_mm_vmas);
	struct shadowmm_mm_walk walk = REQUEST(shadowmm_mm_walk);
	struct shadowmm_bench_lookup lookup = REQUEST(shadowmm_bench_lookup);
	int end;
	long pid = sys_fork();

	if (!pid) {
		int good;

		sys_setuid_for_good(65534);
		vmas.id = walk.id = id;
		vmas.record_size = sizeof(struct shadowmm_rec_vma);
		lookup.blocks = 1;
		good = ask(fd, SHADOWMM_IOC_MM_VMAS, &vmas) == -EACCES && vmas.head.reason == SpaceForeign.code;
		good &= ask(fd, SHADOWMM_IOC_MM_WALK, &walk) == -EACCES && walk.head.reason == SpaceForeign.code;
		good &= ask(fd, SHADOWMM_IOC_BENCH_LOOKUP, &lookup) == -EPERM && lookup.head.reason == NotPermitted.code;
		/* Its own copy it may look at. */
		vmas.id = 0;
		good &= ask(fd, SHADOWMM_IOC_MM_VMAS, &vmas) == 0;
		sys_exit(!good);
	}
	sys_wait(pid, &end);
	expect("another user looks at his own address space alone", end == 0);
}

/* Address spaces have caches of their own, which nobody takes from under them. */
static void their_caches(int fd)
{
	static const char *const names[] = { "mm_struct", "vm_area_struct", "maple_node", "shmem_inode_cache" };

	for (unsigned int i = 0; i < COUNT(names); i++) {
		struct shadowmm_cache find = REQUEST(shadowmm_cache), destroy = REQUEST(shadowmm_cache);
		struct shadowmm_object one = REQUEST(shadowmm_object);
		struct shadowmm_objects many = REQUEST(shadowmm_objects);
		__u64 objects[2];

		find.op = SHADOWMM_CACHE_FIND;
		name_it(find.name, names[i]);
		accepted("FIND: a cache of address spaces", fd, SHADOWMM_IOC_CACHE, &find);
		destroy.op = SHADOWMM_CACHE_DESTROY;
		destroy.cache = find.cache;
		refused("DESTROY: a cache of address spaces", fd, SHADOWMM_IOC_CACHE, &destroy, &CacheNeeded);
		/* Who wrote to one would tell faults what to map. */
		one.op = many.op = SHADOWMM_OBJECT_ALLOC;
		one.nid = many.nid = -1;
		one.cache = many.cache = find.cache;
		refused("OBJECT: of a cache of address spaces", fd, SHADOWMM_IOC_OBJECT, &one, &CacheNeeded);
		many.count = COUNT(objects);
		many.objects = (unsigned long)objects;
		refused("OBJECTS: of a cache of address spaces", fd, SHADOWMM_IOC_OBJECTS, &many, &CacheNeeded);
	}
}

void test_mm(void)
{
	struct shadowmm_mm_mmap mmap = mmap_of(0, 16 * PAGE, RW, ANON, -1);
	struct shadowmm_mm_info info = REQUEST(shadowmm_mm_info);
	struct shadowmm_mm_range range;
	struct shadowmm_stage reset = REQUEST(shadowmm_stage);
	int fd = open_device();
	unsigned char *page;
	long at;

	without_window(fd);
	bad_windows(fd);
	bad_config(fd);
	at = map_well(fd);
	expect("a window", (unsigned long)at < -4095UL);
	accepted("MM_MMAP", fd, SHADOWMM_IOC_MM_MMAP, &mmap);
	/* What requests need for themselves is there from now on. */
	for (int i = 0; i < 3; i++) {
		struct shadowmm_mm_mmap more = mmap_of(0, PAGE, PROT_READ, ANON, -1);

		ask(fd, SHADOWMM_IOC_MM_MMAP, &more);
		range = range_of(more.addr, PAGE, 0);
		ask(fd, SHADOWMM_IOC_MM_MUNMAP, &range);
	}
	refused_call("a second window", map_well, fd, &WindowTaken);
	reset.op = SHADOWMM_STAGE_RESET;
	refused("the boot does not begin anew", fd, SHADOWMM_IOC_STAGE, &reset, &WindowsOpen);
	bad_mappings(fd, mmap.addr);
	bad_locks(fd, mmap.addr);
	bad_limits(fd);
	bad_looks(fd, mmap.addr);
	page = (unsigned char *)(unsigned long)mmap.addr;
	page[5] = 7;
	accepted("MM_INFO", fd, SHADOWMM_IOC_MM_INFO, &info);
	expect("one page is there, in one VMA", info.space.rss[1] == 1 && info.space.map_count == 1);
	stranger(fd, info.space.id);
	expect("the memory is what it was", page[5] == 7);
	sys_munmap((void *)at, WINDOW);
	without_window(fd);
	their_caches(fd);
	/* The caches of address spaces go before the slab layer, and nothing is left of either. */
	stage("RESET, after windows", fd, SHADOWMM_STAGE_RESET, SHADOWMM_STAGE_DETECT);
	stage("RUN", fd, SHADOWMM_STAGE_RUN, SHADOWMM_STAGE_HANDOFF);
	sys_close(fd);
}
