/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The ABI of /dev/shadowmm.
 *
 * Every request is an ioctl whose argument points to a struct that starts with
 * a struct shadowmm_head:
 *
 *   size      the size of the struct as the caller knows it. A larger struct
 *             than the module's is accepted if what it has more is zero
 *             (else E2BIG, as above 4096 bytes); a smaller one is accepted
 *             down to the size of the first version (else EINVAL), and what
 *             it lacks counts as zero.
 *   flags     bits that the request defines; any other is EINVAL.
 *   reason    written by the module: 0, or the code of the error, finer than
 *             errno. The codes and their sentences are those of core/error.rs.
 *   reserved  zero, as every other field of that name (else EINVAL).
 *
 * A refused request has changed nothing. The exceptions are a step of the boot
 * that fails half-way: the stage stays at the last one that was done, and only
 * SHADOWMM_STAGE_RESET leads on; pages that were made before memory ran out
 * (MM_MADVISE, as madvise(2)); the steps of DIFF_PLAY and DIFF_OBJECTS before
 * one that makes no sense; and CACHE_DESTROY and DIFF_OPEN, as said there.
 * Where the struct can be written before the
 * request is served and not any more behind that (EFAULT), whatever the request
 * has taken goes back, for nobody knows of it; what it has freed or changed
 * stays so. All numbers are in the byte order of the machine; all layouts are
 * the same for 32-bit and 64-bit callers.
 *
 * STAGE but for GET, MAP, RECLAIM, VALIDATE, CREATE, CACHE but for FIND, and
 * what says so below are for CAP_SYS_ADMIN (else EPERM). What one user, or one
 * open file, may not have more of is EDQUOT (docs/access.md).
 */
#ifndef _UAPI_SHADOWMM_H
#define _UAPI_SHADOWMM_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define SHADOWMM_DEVICE "/dev/shadowmm"

/* Raised when a caller of the old version would misunderstand the new one. */
#define SHADOWMM_ABI_VERSION 1

#define SHADOWMM_IOC_MAGIC 0xb5

#define SHADOWMM_IOC_VERSION  _IO(SHADOWMM_IOC_MAGIC, 0x00) /* struct shadowmm_version */
#define SHADOWMM_IOC_STAGE    _IO(SHADOWMM_IOC_MAGIC, 0x01) /* struct shadowmm_stage */
#define SHADOWMM_IOC_MAP      _IO(SHADOWMM_IOC_MAGIC, 0x02) /* struct shadowmm_map */
#define SHADOWMM_IOC_ALLOC    _IO(SHADOWMM_IOC_MAGIC, 0x03) /* struct shadowmm_alloc */
#define SHADOWMM_IOC_FREE     _IO(SHADOWMM_IOC_MAGIC, 0x04) /* struct shadowmm_free */
#define SHADOWMM_IOC_PAGE     _IO(SHADOWMM_IOC_MAGIC, 0x05) /* struct shadowmm_page */
#define SHADOWMM_IOC_REPORT   _IO(SHADOWMM_IOC_MAGIC, 0x06) /* struct shadowmm_report */
#define SHADOWMM_IOC_VALIDATE _IO(SHADOWMM_IOC_MAGIC, 0x07) /* struct shadowmm_validate */
#define SHADOWMM_IOC_BULK     _IO(SHADOWMM_IOC_MAGIC, 0x08) /* struct shadowmm_bulk */
#define SHADOWMM_IOC_EXACT    _IO(SHADOWMM_IOC_MAGIC, 0x09) /* struct shadowmm_exact */
#define SHADOWMM_IOC_BLOCK    _IO(SHADOWMM_IOC_MAGIC, 0x0a) /* struct shadowmm_block */
#define SHADOWMM_IOC_POLICY   _IO(SHADOWMM_IOC_MAGIC, 0x0b) /* struct shadowmm_policy */
#define SHADOWMM_IOC_CONTIG   _IO(SHADOWMM_IOC_MAGIC, 0x0c) /* struct shadowmm_contig */
#define SHADOWMM_IOC_MISUSE   _IO(SHADOWMM_IOC_MAGIC, 0x0d) /* struct shadowmm_misuse */
#define SHADOWMM_IOC_BENCH    _IO(SHADOWMM_IOC_MAGIC, 0x10) /* struct shadowmm_bench */
#define SHADOWMM_IOC_BENCH_SLAB _IO(SHADOWMM_IOC_MAGIC, 0x11) /* struct shadowmm_bench_slab */
#define SHADOWMM_IOC_BENCH_LOOKUP _IO(SHADOWMM_IOC_MAGIC, 0x12) /* struct shadowmm_bench_lookup */

#define SHADOWMM_IOC_RECLAIM  _IO(SHADOWMM_IOC_MAGIC, 0x18) /* struct shadowmm_reclaim */

/* Objects that are smaller than pages. */
#define SHADOWMM_IOC_CREATE   _IO(SHADOWMM_IOC_MAGIC, 0x20) /* struct shadowmm_create */
#define SHADOWMM_IOC_CACHE    _IO(SHADOWMM_IOC_MAGIC, 0x21) /* struct shadowmm_cache */
#define SHADOWMM_IOC_OBJECT   _IO(SHADOWMM_IOC_MAGIC, 0x22) /* struct shadowmm_object */
#define SHADOWMM_IOC_OBJECTS  _IO(SHADOWMM_IOC_MAGIC, 0x23) /* struct shadowmm_objects */
#define SHADOWMM_IOC_KMALLOC  _IO(SHADOWMM_IOC_MAGIC, 0x24) /* struct shadowmm_kmalloc */
#define SHADOWMM_IOC_BYTES    _IO(SHADOWMM_IOC_MAGIC, 0x25) /* struct shadowmm_bytes */

/* Address spaces: what the calling process does in the window that it has through this file. */
#define SHADOWMM_IOC_MM_CONFIG   _IO(SHADOWMM_IOC_MAGIC, 0x40) /* struct shadowmm_mm_config */
#define SHADOWMM_IOC_MM_INFO     _IO(SHADOWMM_IOC_MAGIC, 0x41) /* struct shadowmm_mm_info */
#define SHADOWMM_IOC_MM_MMAP     _IO(SHADOWMM_IOC_MAGIC, 0x42) /* struct shadowmm_mm_mmap */
#define SHADOWMM_IOC_MM_MUNMAP   _IO(SHADOWMM_IOC_MAGIC, 0x43) /* struct shadowmm_mm_range */
#define SHADOWMM_IOC_MM_MPROTECT _IO(SHADOWMM_IOC_MAGIC, 0x44) /* struct shadowmm_mm_range */
#define SHADOWMM_IOC_MM_MREMAP   _IO(SHADOWMM_IOC_MAGIC, 0x45) /* struct shadowmm_mm_mremap */
#define SHADOWMM_IOC_MM_MADVISE  _IO(SHADOWMM_IOC_MAGIC, 0x46) /* struct shadowmm_mm_range */
#define SHADOWMM_IOC_MM_BRK      _IO(SHADOWMM_IOC_MAGIC, 0x47) /* struct shadowmm_mm_brk */
#define SHADOWMM_IOC_MM_MLOCK    _IO(SHADOWMM_IOC_MAGIC, 0x48) /* struct shadowmm_mm_mlock */
#define SHADOWMM_IOC_MM_MINCORE  _IO(SHADOWMM_IOC_MAGIC, 0x49) /* struct shadowmm_mm_mincore */
#define SHADOWMM_IOC_MM_MSYNC    _IO(SHADOWMM_IOC_MAGIC, 0x4a) /* struct shadowmm_mm_range */
#define SHADOWMM_IOC_MM_LIMITS   _IO(SHADOWMM_IOC_MAGIC, 0x4b) /* struct shadowmm_mm_limits */
#define SHADOWMM_IOC_MM_WALK     _IO(SHADOWMM_IOC_MAGIC, 0x4c) /* struct shadowmm_mm_walk */
#define SHADOWMM_IOC_MM_VMAS     _IO(SHADOWMM_IOC_MAGIC, 0x4d) /* struct shadowmm_mm_vmas */

/* For the differential test; CAP_SYS_ADMIN (else EPERM). */
#define SHADOWMM_IOC_DIFF_OPEN  _IO(SHADOWMM_IOC_MAGIC, 0x14) /* struct shadowmm_diff_open */
#define SHADOWMM_IOC_DIFF_PLAY  _IO(SHADOWMM_IOC_MAGIC, 0x15) /* struct shadowmm_diff_play */
#define SHADOWMM_IOC_DIFF_STATE _IO(SHADOWMM_IOC_MAGIC, 0x16) /* struct shadowmm_diff_state */
#define SHADOWMM_IOC_DIFF_CACHES _IO(SHADOWMM_IOC_MAGIC, 0x34) /* struct shadowmm_diff_caches */
#define SHADOWMM_IOC_DIFF_OBJECTS _IO(SHADOWMM_IOC_MAGIC, 0x35) /* struct shadowmm_diff_objects */
#define SHADOWMM_IOC_DIFF_CACHE _IO(SHADOWMM_IOC_MAGIC, 0x36) /* struct shadowmm_diff_look */

#define SHADOWMM_NR_ORDERS 11
#define SHADOWMM_NR_ZONES 4
#define SHADOWMM_MAX_NODES 64
#define SHADOWMM_NR_STAGES 5

struct shadowmm_head {
	__u32 size;
	__u32 flags;
	__u32 reason;
	__u32 reserved;
};

/* VERSION: who is there. */
struct shadowmm_version {
	struct shadowmm_head head;
	__u32 abi;		/* out: SHADOWMM_ABI_VERSION of the module */
	__u32 reserved;
	char release[64];	/* out: the module's version */
	char kernel[64];	/* out: the kernel it runs in */
};

/* The stages of the boot, in order: what has been reached. */
enum shadowmm_boot_stage {
	SHADOWMM_STAGE_DETECT = 0,	/* the firmware map is there */
	SHADOWMM_STAGE_MEMBLOCK = 1,	/* memblock has memory and reservations */
	SHADOWMM_STAGE_PAGING = 2,	/* sections and page descriptors */
	SHADOWMM_STAGE_ZONES = 3,	/* nodes, zones, zonelists */
	SHADOWMM_STAGE_HANDOFF = 4,	/* the buddy system has the memory */
};

enum shadowmm_stage_op {
	SHADOWMM_STAGE_GET = 0,		/* only ask */
	SHADOWMM_STAGE_NEXT = 1,	/* go one stage on; EALREADY at the last */
	SHADOWMM_STAGE_RUN = 2,		/* go to the last; EALREADY if there */
	/*
	 * Back to the first; EBUSY while pages, objects, windows, pairs of caches or caches that
	 * are measured are held.
	 */
	SHADOWMM_STAGE_RESET = 3,
};

/* STAGE: the boot. */
struct shadowmm_stage {
	struct shadowmm_head head;
	__u32 op;		/* enum shadowmm_stage_op */
	__u32 stage;		/* out: enum shadowmm_boot_stage, the stage reached */
	__aligned_u64 ns[SHADOWMM_NR_STAGES]; /* out: what each stage took */
};

enum shadowmm_map_source {
	SHADOWMM_MAP_BUILTIN = 0,	/* a PC; no entries are read */
	SHADOWMM_MAP_HOST = 1,		/* the host's own */
	SHADOWMM_MAP_LOG = 2,		/* another machine's boot log */
};

/* One range of the firmware's memory map. */
struct shadowmm_e820 {
	__aligned_u64 addr;
	__aligned_u64 size;
	__u32 type;		/* as e820 numbers them */
	__u32 reserved;
};

#define SHADOWMM_AFFINITY_HOTPLUG 0x1

/* One memory affinity of the SRAT. */
struct shadowmm_affinity {
	__aligned_u64 addr;
	__aligned_u64 size;
	__s32 nid;
	__u32 flags;		/* SHADOWMM_AFFINITY_* */
};

/* One CPU affinity of the SRAT. */
struct shadowmm_cpu {
	__u32 cpu;
	__s32 nid;
};

/*
 * MAP: the map for the next boot. Only at the first stage (else EBUSY). The
 * map is the machine's own; the module scales it to the region.
 */
struct shadowmm_map {
	struct shadowmm_head head;
	__u32 source;		/* enum shadowmm_map_source */
	__u32 nr_e820;
	__u32 nr_memory;
	__u32 nr_cpus;
	__u32 nr_nodes;		/* distances are an array of nr_nodes * nr_nodes bytes */
	__u32 reserved;
	__aligned_u64 e820;	/* struct shadowmm_e820 * */
	__aligned_u64 memory;	/* struct shadowmm_affinity * */
	__aligned_u64 cpus;	/* struct shadowmm_cpu * */
	__aligned_u64 distances; /* __u8 *, row by row; ignored when nr_nodes is 0 */
	__aligned_u64 crashkernel; /* char *, NUL-terminated, as on the command line, empty
				    * for none; or 0 to keep the last one */
};

/*
 * Flags of ALLOC: the file knows the block by a handle, and by that alone can it be freed. It is not
 * shared, split or merged.
 */
#define SHADOWMM_ALLOC_MOVABLE 0x1	/* it may be moved to another place */
#define SHADOWMM_ALLOC_CACHE 0x2	/* it may be given up when memory is short, the oldest first; EOPNOTSUPP with allocator=cosmos */

/* Flag of FREE and PAGE: the block is named by its handle, in the place of its first page. */
#define SHADOWMM_BY_HANDLE 0x1

/* ALLOC: a block, owned by the open file until it is freed or the file closed. */
struct shadowmm_alloc {
	struct shadowmm_head head;
	__u32 gfp;		/* Linux's __GFP_* bits of the running kernel; 0 means GFP_KERNEL;
				   __GFP_MEMALLOC with CAP_SYS_ADMIN (else EPERM) */
	__u32 order;		/* 0 to 10 */
	__s32 nid;		/* preferred node, or -1 for what the file's policy says */
	__u32 reserved;
	__aligned_u64 pfn;	/* out */
	__s32 page_nid;		/* out */
	__u32 page_zone;	/* out */
	__aligned_u64 handle;	/* out, with a flag, for which the struct must have this field: never 0 */
};

/* FREE: gives a block back, or one of the file's references to it. */
struct shadowmm_free {
	struct shadowmm_head head;
	__aligned_u64 pfn;
	__u32 order;		/* the order at which it was allocated */
	__u32 reserved;
};

enum shadowmm_page_state {
	SHADOWMM_PAGE_HOLE = 0,
	SHADOWMM_PAGE_RESERVED = 1,
	SHADOWMM_PAGE_BUDDY = 2,
	SHADOWMM_PAGE_ALLOCATED = 3,
	SHADOWMM_PAGE_TAIL = 4,
	SHADOWMM_PAGE_SLAB = 5,		/* the first page of a slab */
};

enum shadowmm_page_owner {
	SHADOWMM_OWNER_NONE = 0,
	SHADOWMM_OWNER_SELF = 1,	/* this open file */
	SHADOWMM_OWNER_OTHER = 2,	/* another open file */
	SHADOWMM_OWNER_KERNEL = 3,	/* the module itself */
};

/* PAGE: what is known about a page frame. */
struct shadowmm_page {
	struct shadowmm_head head;
	__aligned_u64 pfn;	/* in */
	__aligned_u64 head_pfn;	/* out: first page of its block; pfn itself if in none */
	__aligned_u64 host_pfn;	/* out: the host's frame behind it; ~0 for none or without CAP_SYS_ADMIN */
	__aligned_u64 section;	/* out: section number */
	__u32 state;		/* out: enum shadowmm_page_state, of the page itself */
	__u32 head_state;	/* out: enum shadowmm_page_state, of the block's first page */
	__u32 order;		/* out: order of the block */
	__u32 zone;		/* out */
	__s32 nid;		/* out */
	__u32 count;		/* out: references to the block */
	__u32 owner;		/* out: enum shadowmm_page_owner */
	__u32 reserved;
};

/* What BULK and EXACT do. */
enum shadowmm_pages_op {
	SHADOWMM_PAGES_ALLOC = 0,
	SHADOWMM_PAGES_FREE = 1,
};

#define SHADOWMM_MAX_BULK 4096

/*
 * BULK: many single pages. ALLOC fills `pfns` from its start on; as Linux's
 * alloc_pages_bulk(), it may find fewer than were asked for. FREE goes through
 * `pfns` up to the first page that can't be freed. The request is refused when
 * there is not one page; else `done` says how many there were, and `stopped`
 * why there were no more.
 */
struct shadowmm_bulk {
	struct shadowmm_head head;
	__u32 op;		/* enum shadowmm_pages_op */
	__u32 gfp;		/* ALLOC: as in struct shadowmm_alloc; FREE: 0 */
	__s32 nid;		/* likewise */
	__u32 count;		/* entries of pfns: 1 to SHADOWMM_MAX_BULK */
	__u32 done;		/* out: pages that were allocated or freed */
	__u32 stopped;		/* out: 0, or the reason's code */
	__aligned_u64 pfns;	/* __u64 *; ALLOC writes it, FREE reads it */
};

/*
 * EXACT: pages in a row, as many as the bytes need and no more, up to a block
 * of order 10 (4 MiB). They are single pages then, to be freed at once or one
 * by one; FREE frees all of them or, when one is not the file's, none.
 */
struct shadowmm_exact {
	struct shadowmm_head head;
	__u32 op;		/* enum shadowmm_pages_op */
	__u32 gfp;		/* ALLOC: as in struct shadowmm_alloc; FREE: 0 */
	__s32 nid;		/* likewise */
	__s32 page_nid;		/* out, ALLOC */
	__aligned_u64 bytes;
	__aligned_u64 pfn;	/* the first page; ALLOC: out */
	__u32 page_zone;	/* out, ALLOC */
	__u32 reserved;
};

enum shadowmm_block_op {
	/* The file's block becomes blocks of order `to`. */
	SHADOWMM_BLOCK_SPLIT = 0,
	/* The file's blocks that fill one of `order` at `pfn` become that. */
	SHADOWMM_BLOCK_MERGE = 1,
	/*
	 * One reference more, for this file. It may be the first: a block that
	 * another file holds belongs to both then, and goes back with the last
	 * reference of the last file. Blocks of the module's own, and those
	 * that may be moved, are not shared.
	 */
	SHADOWMM_BLOCK_GET = 2,
	/* One of this file's references less; the last one frees the block. */
	SHADOWMM_BLOCK_PUT = 3,
};

/* BLOCK: what is done with allocated blocks. */
struct shadowmm_block {
	struct shadowmm_head head;
	__u32 op;		/* enum shadowmm_block_op */
	__u32 order;		/* SPLIT, MERGE: in; GET, PUT: out, zero before */
	__u32 to;		/* SPLIT: of the pieces, below `order`; else 0 */
	__u32 count;		/* out: SPLIT, MERGE: pieces; GET, PUT: references to the block */
	__aligned_u64 pfn;	/* the block's first page */
};

enum shadowmm_contig_op {
	SHADOWMM_CONTIG_ALLOC = 0,	/* so many pages in a row, wherever they can be had */
	SHADOWMM_CONTIG_FREE = 1,	/* all of them, or none when one is not the file's */
	SHADOWMM_CONTIG_RANGE = 2,	/* these pages: what is there and may be moved is moved */
};

#define SHADOWMM_MAX_CONTIG 32768

/*
 * CONTIG: pages in a row, more than a block has. They are single pages then,
 * to be freed at once or one by one; with __GFP_COMP, and as many as a block
 * has, they are that block. EOPNOTSUPP where the page allocator that was chosen
 * at load moves nothing. What others have is moved for it, and every CPU gives
 * back what it keeps: ALLOC and RANGE need CAP_SYS_ADMIN (else EPERM).
 */
struct shadowmm_contig {
	struct shadowmm_head head;
	__u32 op;		/* enum shadowmm_contig_op */
	__u32 gfp;		/* as in struct shadowmm_alloc; FREE: 0 */
	__s32 nid;		/* ALLOC: likewise; else 0 */
	__s32 page_nid;		/* out, but for FREE */
	__aligned_u64 pages;	/* 1 to SHADOWMM_MAX_CONTIG */
	__aligned_u64 pfn;	/* the first page; ALLOC: out */
	__u32 page_zone;	/* out, but for FREE */
	__u32 reserved;
};

enum shadowmm_misuse_how {
	SHADOWMM_MISUSE_ONCE = 0,	/* as WRITE_ONCE() */
	SHADOWMM_MISUSE_PLAIN = 1,	/* a race with any other access; with KCSAN only */
};

/*
 * MISUSE: writes a byte to the shadow's memory, whosever it is, so that what looks for
 * such a thing can be seen to find it. For who may administer the machine, and only with page_poison=1 or in
 * a kernel with KASAN or KCSAN (else EOPNOTSUPP). ENXIO where there is no memory, or something of the shadow's that
 * never moves.
 */
struct shadowmm_misuse {
	struct shadowmm_head head;
	__aligned_u64 addr;	/* of the shadow's physical memory */
	__u32 byte;		/* 0 to 255 */
	__u32 how;		/* enum shadowmm_misuse_how */
};

enum shadowmm_policy_op {
	SHADOWMM_POLICY_GET = 0,
	SHADOWMM_POLICY_SET = 1,
};

/* As set_mempolicy(2) has them. */
enum shadowmm_policy_mode {
	SHADOWMM_POLICY_LOCAL = 0,	/* the running CPU's node first */
	SHADOWMM_POLICY_PREFERRED = 1,	/* the first of the nodes first */
	SHADOWMM_POLICY_BIND = 2,	/* the nodes only */
	SHADOWMM_POLICY_INTERLEAVE = 3,	/* the nodes in turn */
};

/*
 * POLICY: where this open file's pages come from when a request names no node.
 * A new file has SHADOWMM_POLICY_LOCAL.
 */
struct shadowmm_policy {
	struct shadowmm_head head;
	__u32 op;		/* enum shadowmm_policy_op */
	__u32 mode;		/* enum shadowmm_policy_mode; GET: out */
	__aligned_u64 nodes;	/* bit n for node n; 0 for LOCAL; GET: out */
};

/*
 * Caches of objects. A cache is there for everybody from CREATE until somebody
 * destroys it, or the boot starts anew. Objects belong to the open file that
 * took them, until it frees them or is closed. The first of these requests, or
 * the first window, brings the layer up, which takes some pages for itself.
 */
#define SHADOWMM_CACHE_NAME 64	/* bytes of a cache's name, with the NUL */

enum shadowmm_ctor {
	SHADOWMM_CTOR_NONE = 0,
	SHADOWMM_CTOR_FILL = 1,	/* fills the object with the byte `ctor_arg` */
	SHADOWMM_CTOR_FAIL = 2,	/* works for `ctor_arg` objects, and fails from then on */
};

/* Flag of CREATE: `freeptr_offset` says where the free pointer goes. */
#define SHADOWMM_CREATE_FREEPTR 0x1

/*
 * CREATE: a cache. Where one that is there already does as well, it is that
 * one under another name, as in Linux; it is gone when it was destroyed as
 * often as it was created.
 */
struct shadowmm_create {
	struct shadowmm_head head;
	__u32 object_size;
	__u32 align;		/* a power of two, or 0 */
	__u32 flags;		/* Linux's SLAB_* bits of the running kernel */
	__u32 ctor;		/* enum shadowmm_ctor */
	__u32 ctor_arg;		/* 0 for SHADOWMM_CTOR_NONE */
	__u32 useroffset;	/* the part of an object that may be copied to users */
	__u32 usersize;
	__u32 freeptr_offset;	/* 0 without its flag */
	__u32 sheaf_capacity;	/* how many objects a CPU keeps; 0: as Linux would */
	__u32 cache;		/* out: its number, never 0 */
	__u32 aliases;		/* out: 0, or how many other names the cache has */
	__u32 reserved;
	char name[SHADOWMM_CACHE_NAME];	/* printable, without blanks and slashes; zero behind it */
};

enum shadowmm_cache_op {
	SHADOWMM_CACHE_FIND = 0,	/* by its name */
	/*
	 * Refused with EBUSY while objects are alive: what is alive is said in `text` then,
	 * which is written although the request is refused, and slabs without an object in
	 * use have gone back. As in Linux full slabs are passed over, so that the text may be
	 * empty, and so is what other nodes have when one has some.
	 */
	SHADOWMM_CACHE_DESTROY = 1,
	SHADOWMM_CACHE_SHRINK = 2,	/* its free slabs go back; with cache 0 those of all */
	SHADOWMM_CACHE_VALIDATE = 3,	/* checks it; `text` says what does not hold */
	SHADOWMM_CACHE_MIN_PARTIAL = 4,	/* how many slabs a node keeps although they are free */
};

/* CACHE: what is done with caches. A field that the operation does not need is zero. */
struct shadowmm_cache {
	struct shadowmm_head head;
	__u32 op;		/* enum shadowmm_cache_op */
	__u32 cache;		/* FIND: out */
	__aligned_u64 value;	/* SHRINK: out: pages given back; MIN_PARTIAL: in */
	__u32 capacity;		/* bytes that fit into text; what is longer is cut */
	__u32 reserved;
	__aligned_u64 text;	/* char *, gets a text with a NUL; unused when capacity is 0 */
	char name[SHADOWMM_CACHE_NAME];	/* FIND */
};

/* Flag of OBJECT, OBJECTS and KMALLOC, where they allocate: the bytes are zero (__GFP_ZERO). */
#define SHADOWMM_OBJECT_ZERO 0x1
/*
 * Flag of OBJECT where it frees, and of BYTES: `object` need not be the file's. For those who try out
 * debugging: CAP_SYS_ADMIN (else EPERM); in a cache with SLAB_CONSISTENCY_CHECKS, red zones or poison
 * that was made by CREATE; not an object that another file has.
 */
#define SHADOWMM_OBJECT_FORCE 0x2

enum shadowmm_object_op {
	SHADOWMM_OBJECT_ALLOC = 0,
	SHADOWMM_OBJECT_FREE = 1,
};

/*
 * OBJECT: an object of a cache, owned by the open file until it is freed or the file closed. A cache that
 * BENCH_SLAB measures or DIFF_CACHES compares gives none (EBUSY).
 */
struct shadowmm_object {
	struct shadowmm_head head;
	__u32 op;		/* enum shadowmm_object_op */
	__u32 cache;
	__u32 gfp;		/* ALLOC: as in struct shadowmm_alloc; FREE: 0 */
	__s32 nid;		/* ALLOC: the preferred node or -1; FREE: 0 */
	__aligned_u64 object;	/* its shadow physical address; ALLOC: out */
	__s32 object_nid;	/* out, ALLOC */
	__u32 asked;		/* ALLOC: bytes of the object that are asked for, 0 for all: where the cache has
				   SLAB_KMALLOC, debugging holds the owner to them; FREE: 0 */
};

#define SHADOWMM_MAX_OBJECTS 4096

/*
 * OBJECTS: many objects. ALLOC takes all or, where that can't be, none. FREE goes through `objects` up
 * to the first that can't be freed, as BULK does with pages; with cache 0 each goes to the cache that it
 * is from.
 */
struct shadowmm_objects {
	struct shadowmm_head head;
	__u32 op;		/* enum shadowmm_object_op */
	__u32 cache;
	__u32 gfp;		/* as in struct shadowmm_object */
	__s32 nid;		/* likewise */
	__u32 count;		/* entries of objects: 1 to SHADOWMM_MAX_OBJECTS */
	__u32 done;		/* out: objects that were allocated or freed */
	__u32 stopped;		/* out: 0, or the reason's code */
	__u32 reserved;
	__aligned_u64 objects;	/* __u64 *; ALLOC writes it, FREE reads it */
};

enum shadowmm_kmalloc_op {
	SHADOWMM_KMALLOC_ALLOC = 0,	/* kmalloc(), kzalloc() */
	SHADOWMM_KMALLOC_REALLOC = 1,	/* krealloc(): `object` may be 0; with size 0 it is freed */
	SHADOWMM_KMALLOC_FREE = 2,	/* kfree(): an object of whatever cache */
	SHADOWMM_KMALLOC_SIZE = 3,	/* ksize(): debugging lets all of it be used from now on */
	SHADOWMM_KMALLOC_ROUNDUP = 4,	/* kmalloc_size_roundup(): what `size` would get */
};

/* KMALLOC: an object of the general caches, by its size. A field that the operation does not need is zero. */
struct shadowmm_kmalloc {
	struct shadowmm_head head;
	__u32 op;		/* enum shadowmm_kmalloc_op */
	__u32 gfp;		/* ALLOC, REALLOC: as in struct shadowmm_alloc */
	__s32 nid;		/* likewise */
	__s32 object_nid;	/* out, ALLOC and REALLOC; -1 for no object */
	__aligned_u64 size;	/* bytes; ALLOC, REALLOC: more than 8 KiB with CAP_SYS_RESOURCE (else EPERM); ROUNDUP */
	__aligned_u64 object;	/* ALLOC, REALLOC: out, 0 where nothing is left */
	__aligned_u64 usable;	/* out, but for FREE: bytes that it has, as ksize() says */
};

enum shadowmm_bytes_op {
	SHADOWMM_BYTES_READ = 0,
	SHADOWMM_BYTES_WRITE = 1,
};

/*
 * BYTES: an object's content. READ gives what is the object's own, and nothing else. WRITE may go
 * beyond it with CAP_SYS_ADMIN (else EPERM), as far as its slab reaches: an overflow, to be found by
 * debugging.
 */
struct shadowmm_bytes {
	struct shadowmm_head head;	/* flags: SHADOWMM_OBJECT_FORCE */
	__u32 op;		/* enum shadowmm_bytes_op */
	__u32 cache;		/* with the flag: the cache that the object is or was of; else 0 */
	__aligned_u64 object;
	__aligned_s64 offset;	/* from the object's first byte */
	__aligned_u64 len;	/* at least 1 */
	__aligned_u64 buf;
};

/*
 * Address spaces. mmap(2) of the device, shared, readable and writable, and not executable, gives the
 * process a window: as many addresses as it has asked for, behind which an address space of the shadow's
 * lies. Loads and stores in it are the shadow's page faults; the requests below are to the shadow what
 * the system calls of their names are to Linux, and answer with the same errno. fork(2) gives the child
 * a copy of the address space, in a window at the same place. It ends with the window: by munmap(2) of
 * all of it, exec, or the end of the process.
 *
 * A process has one window through an open file (mmap: EBUSY); through another file it may have
 * another. A request without a window is ENXIO. A window that is private is EINVAL, one that is
 * executable EPERM, one that is not readable and writable EACCES, one with an offset EINVAL. It is
 * neither split nor moved: munmap(2) and mremap(2) of a part of it are EINVAL.
 */

enum shadowmm_mm_tree {
	SHADOWMM_MM_TREE_DEFAULT = 0,	/* the maple tree */
	SHADOWMM_MM_TREE_MAPLE = 1,
	SHADOWMM_MM_TREE_RBTREE = 2,	/* a red-black tree and a list, as before Linux 6.1 */
};

#define SHADOWMM_MM_LEGACY 0x1	/* mappings from a third of the window up, in place of from its end down */
#define SHADOWMM_MM_RANDOM 0x2	/* with a seed of 0: places are shifted by lot */
#define SHADOWMM_MM_BARE 0x4	/* nothing is mapped at first, not even a stack */

enum shadowmm_mm_config_op {
	SHADOWMM_MM_CONFIG_GET = 0,
	SHADOWMM_MM_CONFIG_SET = 1,
};

/* MM_CONFIG: what windows are like that are mapped through this file from now on. */
struct shadowmm_mm_config {
	struct shadowmm_head head;
	__u32 op;		/* enum shadowmm_mm_config_op */
	__u32 tree;		/* enum shadowmm_mm_tree */
	__u32 layout;		/* SHADOWMM_MM_LEGACY, SHADOWMM_MM_RANDOM, SHADOWMM_MM_BARE */
	__u32 reserved;
	__aligned_u64 seed;	/* other than 0: places are shifted by it, whatever `layout` has; 0: not, but for RANDOM */
};

/* MM_MMAP: mmap(2). */
struct shadowmm_mm_mmap {
	struct shadowmm_head head;
	__aligned_u64 addr;	/* as mmap's; out: where it is */
	__aligned_u64 len;
	__u32 prot;		/* PROT_* */
	__u32 flags;		/* MAP_*, with MAP_ANONYMOUS, or a file */
	__s32 fd;		/* without MAP_ANONYMOUS: a file, of which private copies are mapped */
	__u32 reserved;
	__aligned_u64 offset;	/* in bytes; a multiple of the page size */
};

/* MM_MUNMAP, MM_MPROTECT, MM_MADVISE, MM_MSYNC: munmap(2), mprotect(2), madvise(2), msync(2). */
struct shadowmm_mm_range {
	struct shadowmm_head head;
	__aligned_u64 addr;
	__aligned_u64 len;
	__u32 arg;		/* MPROTECT: PROT_*; MADVISE: MADV_*; MSYNC: MS_*; else 0 */
	__u32 reserved;
};

/* MM_MREMAP: mremap(2). */
struct shadowmm_mm_mremap {
	struct shadowmm_head head;
	__aligned_u64 addr;	/* out: where it is now */
	__aligned_u64 old_len;
	__aligned_u64 new_len;
	__aligned_u64 new_addr;	/* for MREMAP_FIXED and MREMAP_DONTUNMAP */
	__u32 flags;		/* MREMAP_* */
	__u32 reserved;
};

/* MM_BRK: brk(2), as the system call is: never refused, it says where the end is then. */
struct shadowmm_mm_brk {
	struct shadowmm_head head;
	__aligned_u64 brk;	/* the wanted end, or 0; out: the end */
	__aligned_u64 start;	/* out: where it begins */
};

enum shadowmm_mm_mlock_op {
	SHADOWMM_MM_MLOCK = 0,	/* mlock2(2): flags 0 or MLOCK_ONFAULT */
	SHADOWMM_MM_MUNLOCK = 1,
	SHADOWMM_MM_MLOCKALL = 2,	/* flags: MCL_* */
	SHADOWMM_MM_MUNLOCKALL = 3,
};

/* MM_MLOCK: the calls that lock and unlock memory. */
struct shadowmm_mm_mlock {
	struct shadowmm_head head;
	__u32 op;		/* enum shadowmm_mm_mlock_op */
	__u32 flags;
	__aligned_u64 addr;	/* MLOCK, MUNLOCK */
	__aligned_u64 len;
};

/* MM_MINCORE: mincore(2). */
struct shadowmm_mm_mincore {
	struct shadowmm_head head;
	__aligned_u64 addr;
	__aligned_u64 len;
	__aligned_u64 vec;	/* __u8 *, one for each page that is begun */
};

enum shadowmm_mm_limits_op {
	SHADOWMM_MM_LIMITS_GET = 0,
	SHADOWMM_MM_LIMITS_SET = 1,	/* the window has one of its own from now on */
	SHADOWMM_MM_LIMITS_FOLLOW = 2,	/* it has that of its process again; `value` and `max` are 0 */
};

/*
 * What LIMITS has, by number: as RLIMIT_* of the same names. Those of a window are its process's, as
 * they are at the moment, until SET.
 */
enum shadowmm_mm_limit {
	SHADOWMM_MM_LIMIT_AS = 0,
	SHADOWMM_MM_LIMIT_DATA = 1,
	SHADOWMM_MM_LIMIT_STACK = 2,
	SHADOWMM_MM_LIMIT_MEMLOCK = 3,
	SHADOWMM_MM_NR_LIMITS = 4,
};

/* MM_LIMITS: setrlimit(2), getrlimit(2) of the window's address space. */
struct shadowmm_mm_limits {
	struct shadowmm_head head;
	__u32 op;		/* enum shadowmm_mm_limits_op */
	__u32 limit;		/* enum shadowmm_mm_limit */
	__aligned_u64 value;	/* in bytes; all ones: none */
	__aligned_u64 max;	/* rlim_max, which is noted of DATA alone; GET: else as `value` */
};

/* An address space. Counts are of pages where no unit is said. */
struct shadowmm_rec_space {
	__u32 id;		/* its number, under which it is in /proc/shadowmm/mm */
	__u32 pid;		/* the process's, in the first pid namespace; 0 when it is gone */
	char comm[16];
	__aligned_u64 window_start;	/* this and the next five: 0 for whom MM_VMAS would refuse */
	__aligned_u64 window_end;
	__aligned_u64 mmap_base;
	__aligned_u64 start_brk;
	__aligned_u64 brk;
	__aligned_u64 start_stack;
	__aligned_u64 total_vm;
	__aligned_u64 locked_vm;
	__aligned_u64 data_vm;
	__aligned_u64 stack_vm;
	__aligned_u64 hiwater_vm;
	__aligned_u64 hiwater_rss;
	__aligned_u64 rss[4];		/* of files, anonymous, swapped out, shared */
	__aligned_u64 pgtables_bytes;
	__aligned_u64 min_flt;
	__aligned_u64 maj_flt;
	__aligned_u64 faults_vma_lock;	/* faults that took the VMA's lock alone, */
	__aligned_u64 faults_mmap_lock;	/* and the mmap lock */
	__u32 map_count;
	__u32 tree;			/* enum shadowmm_mm_tree */
	__s32 oom_score_adj;
	__u32 reserved;
};

/* MM_INFO: the address space of the caller's window. */
struct shadowmm_mm_info {
	struct shadowmm_head head;
	struct shadowmm_rec_space space;	/* out */
};

/* A VMA. */
struct shadowmm_rec_vma {
	__aligned_u64 start;
	__aligned_u64 end;
	__aligned_u64 flags;	/* VM_*, as Linux numbers them on this machine */
	__aligned_u64 pgoff;
	__aligned_u64 file;	/* 0: private anonymous memory */
	__aligned_u64 anon;	/* the anonymous region that it belongs to (anon_vma), or 0 */
};

/*
 * MM_VMAS: the VMAs of an address space, as REPORT has its records: of a process of the caller's user, or, with
 * CAP_SYS_PTRACE, of anybody's (else EACCES; ESRCH where there is none of that id).
 */
struct shadowmm_mm_vmas {
	struct shadowmm_head head;
	__u32 id;		/* 0: that of the caller's window */
	__u32 record_size;	/* of a struct shadowmm_rec_vma, as the caller knows it; must match */
	__u32 capacity;		/* records that fit into buf */
	__u32 count;		/* out: records that there are */
	__aligned_u64 buf;
};

#define SHADOWMM_MM_LEVELS 4

/* MM_WALK: how an address is translated. */
struct shadowmm_mm_walk {
	struct shadowmm_head head;
	__u32 id;		/* as of MM_VMAS */
	__u32 levels;		/* out: entries that were looked at, from the top: the last is the page's, or empty */
	__aligned_u64 addr;
	__aligned_u64 entry[SHADOWMM_MM_LEVELS];	/* out: pgd, pud, pmd, pte, as x86-64 has them */
	__aligned_u64 table[SHADOWMM_MM_LEVELS];	/* out: the frame of the table that each stands in */
	__aligned_u64 pfn;	/* out: the page's frame; ~0 where there is none */
	__u32 mapped;		/* out: 1 where there is a VMA */
	__u32 reserved;
	struct shadowmm_rec_vma vma;	/* out: that which holds the address, or the next one behind it */
};

/* What REPORT can tell, and the records in which it does. */
enum shadowmm_report_kind {
	SHADOWMM_REPORT_STATUS = 0,	/* one struct shadowmm_rec_status */
	SHADOWMM_REPORT_SEGMENTS = 1,	/* struct shadowmm_rec_segment: the region */
	SHADOWMM_REPORT_E820 = 2,	/* struct shadowmm_rec_e820 */
	SHADOWMM_REPORT_RESOURCES = 3,	/* struct shadowmm_rec_resource: iomem */
	SHADOWMM_REPORT_MEMBLOCK = 4,	/* struct shadowmm_rec_memblock */
	SHADOWMM_REPORT_NODES = 5,	/* struct shadowmm_rec_node */
	SHADOWMM_REPORT_ZONES = 6,	/* struct shadowmm_rec_zone */
	SHADOWMM_REPORT_ACCOUNTING = 7,	/* struct shadowmm_rec_account */
	SHADOWMM_REPORT_VMSTAT = 8,	/* struct shadowmm_rec_counter */
	SHADOWMM_REPORT_REFUSALS = 9,	/* struct shadowmm_rec_counter, one per error */
	SHADOWMM_REPORT_SECTIONS = 10,	/* struct shadowmm_rec_section */
	SHADOWMM_REPORT_PAGESETS = 11,	/* struct shadowmm_rec_pageset */
	SHADOWMM_REPORT_PAGETYPES = 12,	/* struct shadowmm_rec_pagetype */
	SHADOWMM_REPORT_FRAGMENTATION = 13, /* struct shadowmm_rec_fragmentation */
	SHADOWMM_REPORT_NUMASTAT = 14,	/* struct shadowmm_rec_numastat */
	SHADOWMM_REPORT_FALLBACKS = 15,	/* struct shadowmm_rec_fallback */
	SHADOWMM_REPORT_AREAS = 24,	/* struct shadowmm_rec_area; none but with allocator=cosmos */
	SHADOWMM_REPORT_SLAB = 30,	/* one struct shadowmm_rec_slab */
	SHADOWMM_REPORT_CACHES = 31,	/* struct shadowmm_rec_cache; none before the layer is up */
	SHADOWMM_REPORT_CACHE_NODES = 32, /* struct shadowmm_rec_cache_node, by cache and node */
	SHADOWMM_REPORT_SPACES = 40,	/* struct shadowmm_rec_space */
};

/*
 * REPORT: copies up to `capacity` records into `buf` and says in `count` how
 * many there are. capacity 0 asks for the number alone. EBUSY when the boot
 * has not reached the stage that the report is about.
 */
struct shadowmm_report {
	struct shadowmm_head head;
	__u32 kind;		/* enum shadowmm_report_kind */
	__u32 record_size;	/* of one record, as the caller knows it; must match */
	__u32 capacity;		/* records that fit into buf */
	__u32 count;		/* out: records that there are */
	__aligned_u64 buf;
};

enum shadowmm_region_source {
	SHADOWMM_SOURCE_CMA = 0,
	SHADOWMM_SOURCE_CONTIG = 1,
};

struct shadowmm_rec_status {
	__u32 stage;		/* enum shadowmm_boot_stage */
	__u32 map_source;	/* enum shadowmm_map_source */
	__u32 region_source;	/* enum shadowmm_region_source */
	__u32 nr_nodes;
	__aligned_u64 backing_pages;	/* host memory that was taken */
	__aligned_u64 ram_pages;	/* the shadow's RAM on it */
	__aligned_u64 original_ram;	/* bytes of RAM of the map before scaling */
	__aligned_u64 metadata_bytes;	/* page descriptors, section tables, nodes, statistics */
	__aligned_u64 descriptor_bytes;	/* of these, page descriptors */
	__aligned_u64 managed_pages;
	__aligned_u64 free_pages;
	__aligned_u64 held_pages;	/* owned by open files */
	__u32 open_files;
	__u32 section_order;		/* log2 of the pages in a section */
	__u32 descriptor_size;		/* bytes per page of ours */
	__u32 host_descriptor_size;	/* sizeof(struct page) */
	__aligned_u64 ns[SHADOWMM_NR_STAGES]; /* what each boot stage took */
	__u32 crash_reason;	/* why there is no crash kernel although one was asked for; 0: all well */
	__u32 reserved;
};

struct shadowmm_rec_segment {
	__aligned_u64 start_pfn;
	__aligned_u64 pages;
	__aligned_u64 host_pfn;	/* ~0 without CAP_SYS_ADMIN */
	__s32 nid;
	__s32 host_nid;
};

struct shadowmm_rec_e820 {
	__aligned_u64 addr;
	__aligned_u64 size;
	__u32 type;
	__u32 reserved;
};

struct shadowmm_rec_resource {
	__aligned_u64 start;
	__aligned_u64 end;	/* the last byte, as /proc/iomem has it */
	__u32 depth;
	__u32 reserved;
	char name[40];
};

enum shadowmm_memblock_array {
	SHADOWMM_MEMBLOCK_MEMORY = 0,
	SHADOWMM_MEMBLOCK_RESERVED = 1,
};

struct shadowmm_rec_memblock {
	__aligned_u64 base;
	__aligned_u64 size;
	__u32 flags;		/* enum memblock_flags */
	__s32 nid;
	__u32 array;		/* enum shadowmm_memblock_array */
	__u32 reserved;
};

struct shadowmm_rec_node {
	__s32 nid;
	__s32 host_nid;		/* of its first page */
	__u32 nr_cpus;
	__u32 nr_fallback;	/* nodes in fallback[] */
	__aligned_u64 start_pfn;
	__aligned_u64 spanned;
	__aligned_u64 present;
	__u8 distance[SHADOWMM_MAX_NODES];
	__s8 fallback[SHADOWMM_MAX_NODES];	/* the zonelist's order of nodes */
};

struct shadowmm_rec_zone {
	__s32 nid;
	__u32 zone;
	char name[16];
	__aligned_u64 start_pfn;
	__aligned_u64 spanned;
	__aligned_u64 present;
	__aligned_u64 managed;
	__aligned_u64 free;
	__aligned_u64 watermark[4];		/* min, low, high, promo */
	__aligned_u64 lowmem_reserve[SHADOWMM_NR_ZONES];
	__aligned_u64 nr_free[SHADOWMM_NR_ORDERS];
};

/*
 * Where the memory went. The entries with depth 0 are sums; each one is what
 * is left of the one before after the entries of depth 1 between them.
 */
struct shadowmm_rec_account {
	__aligned_u64 bytes;
	__u32 depth;
	__u32 reserved;
	char key[32];		/* stable, for programs */
	char text[64];		/* for people */
};

struct shadowmm_rec_counter {
	char name[40];
	__aligned_u64 value;
};

struct shadowmm_rec_section {
	__aligned_u64 number;
	__aligned_u64 start_pfn;
	__aligned_u64 memmap_pfn;	/* the page of its first descriptor */
	__s32 nid;
	__u32 reserved;
};

/* What a CPU that is up keeps of a zone with memory. */
struct shadowmm_rec_pageset {
	__s32 nid;
	__u32 zone;
	__u32 cpu;
	__u32 count;		/* pages kept */
	__u32 high;		/* above so many, some go back */
	__u32 batch;		/* how many move at once */
	__u32 high_min;		/* between these two `high` adapts itself */
	__u32 high_max;
	__u32 stat_threshold;	/* how far the CPU's counters may run ahead */
	__u32 reserved;
};

/* As enum migratetype of the running kernel numbers them. */
enum shadowmm_migratetype {
	SHADOWMM_MIGRATE_UNMOVABLE = 0,
	SHADOWMM_MIGRATE_MOVABLE = 1,
	SHADOWMM_MIGRATE_RECLAIMABLE = 2,
	SHADOWMM_MIGRATE_HIGHATOMIC = 3,
	SHADOWMM_MIGRATE_CMA = 4,
	SHADOWMM_MIGRATE_ISOLATE = 5,
	SHADOWMM_MIGRATE_ANY = 0xffffffff,	/* all types together */
};

/* The pages of a zone with memory by what they are for. */
struct shadowmm_rec_pagetype {
	__s32 nid;
	__u32 zone;
	__u32 migratetype;		/* enum shadowmm_migratetype */
	__u32 reserved;
	__aligned_u64 blocks;		/* page blocks of this type */
	__aligned_u64 nr_free[SHADOWMM_NR_ORDERS]; /* free blocks, up to 100,000 of each order */
};

/* How fragmented a zone's free memory is, and that of each type in it; in thousandths. */
struct shadowmm_rec_fragmentation {
	__s32 nid;
	__u32 zone;
	__u32 migratetype;		/* SHADOWMM_MIGRATE_ANY first */
	__u32 reserved;
	__s32 unusable[SHADOWMM_NR_ORDERS]; /* what of it a request of this order can't use */
	__s32 index[SHADOWMM_NR_ORDERS];    /* why it would fail; -1000: it would not */
};

/* Where pages came from, seen from where they were wanted. */
struct shadowmm_rec_numastat {
	__s32 nid;
	__u32 reserved;
	__aligned_u64 hit;
	__aligned_u64 miss;
	__aligned_u64 foreign;
	__aligned_u64 interleave;
	__aligned_u64 local;
	__aligned_u64 other;
};

/* How often requests of type `to` took from page blocks of type `from`. */
struct shadowmm_rec_fallback {
	__s32 nid;
	__u32 zone;
	__u32 from;			/* enum shadowmm_migratetype */
	__u32 to;
	__aligned_u64 claimed;		/* page blocks, as a whole */
	__aligned_u64 stolen;		/* blocks out of page blocks that kept their type */
};

/* An area of the page manager after Cosmos: memory for one use. */
struct shadowmm_rec_area {
	__s32 nid;
	__u32 zone;
	char kind[16];			/* hardware, kernel or application */
	__aligned_u64 start_pfn;
	__aligned_u64 end_pfn;		/* without it, holes included */
	__aligned_u64 max;		/* pages that it has had */
	__aligned_u64 free;		/* of them, free ones */
	__aligned_u64 divisions;	/* how often a block was halved */
	__aligned_u64 merges;		/* how often two became one */
	/* By order: blocks, free ones of them, and how many were given out and back. */
	__aligned_u64 objects[SHADOWMM_NR_ORDERS];
	__aligned_u64 nr_free[SHADOWMM_NR_ORDERS];
	__aligned_u64 allocs[SHADOWMM_NR_ORDERS];
	__aligned_u64 frees[SHADOWMM_NR_ORDERS];
};

enum shadowmm_objects_by {
	SHADOWMM_OBJECTS_BY_SLAB = 0,	/* slabs, as in Linux */
	SHADOWMM_OBJECTS_BY_KMSOB = 1,	/* containers, after Cosmos */
};

/* The layer of caches. */
struct shadowmm_rec_slab {
	__u32 up;		/* 0: nobody has used it yet */
	__u32 by;		/* enum shadowmm_objects_by */
	__aligned_u64 held_objects;	/* owned by open files */
	__aligned_u64 caches;
	__aligned_u64 pages;	/* of all their slabs */
};

/* A cache. Sizes are in bytes, and those of slabs in objects. */
struct shadowmm_rec_cache {
	__u32 cache;		/* its number */
	__s32 refcount;		/* 1 more than it has other names; -1: it is never shared */
	char name[SHADOWMM_CACHE_NAME];
	__u32 object_size;	/* as it was asked for */
	__u32 size;		/* with what is between objects */
	__u32 inuse;		/* up to where the object's own data and red zone reach */
	__u32 offset;		/* of the free pointer */
	__u32 align;
	__u32 red_left_pad;
	__u32 flags;		/* Linux's SLAB_* bits */
	__u32 order;
	__u32 objects_per_slab;
	__u32 min_order;	/* when memory is short */
	__u32 min_objects;
	__u32 min_partial;	/* slabs that a node keeps although they are free */
	__u32 sheaf_capacity;
	__u32 ctor;		/* enum shadowmm_ctor */
	__u32 ctor_arg;
	__u32 useroffset;
	__u32 usersize;
	__u32 reserved;
	__aligned_u64 active_objects;	/* that somebody has */
	__aligned_u64 total_objects;
	__aligned_u64 cached_objects;	/* free ones that CPUs keep */
	__aligned_u64 slabs;
	__aligned_u64 pages;
	/* How often. */
	__aligned_u64 alloc_fastpath;	/* objects from what the CPU keeps */
	__aligned_u64 alloc_slowpath;	/* objects from a slab */
	__aligned_u64 free_fastpath;
	__aligned_u64 free_slowpath;
	__aligned_u64 free_remote;	/* objects that went back to another node, */
	__aligned_u64 remote_batches;	/* in so many batches */
	__aligned_u64 refills;		/* what a CPU keeps was filled, */
	__aligned_u64 flushes;		/* or emptied in part, */
	__aligned_u64 cpu_flush;	/* or taken from it */
	__aligned_u64 alloc_slab;	/* slabs that were made */
	__aligned_u64 free_slab;	/* slabs that went back */
	__aligned_u64 order_fallback;	/* slabs that are smaller, for lack of memory */
	__aligned_u64 failed;		/* objects that could not be had */
};

/* What a cache has on a node. */
struct shadowmm_rec_cache_node {
	__u32 cache;
	__s32 nid;
	__aligned_u64 full;	/* slabs without a free object */
	__aligned_u64 partial;
	__aligned_u64 empty;	/* slabs without an object in use */
	__aligned_u64 total_objects;
	__aligned_u64 objects;	/* in use, seen from the slabs: what CPUs keep counts */
};

/*
 * VALIDATE: checks every invariant of the running shadow. The request succeeds
 * if it could look; what it found is in `what`.
 */
struct shadowmm_validate {
	struct shadowmm_head head;
	__aligned_u64 checks;	/* out: how many things were looked at */
	char what[112];		/* out: the invariant that does not hold; empty: all hold */
};

enum shadowmm_reclaim_op {
	SHADOWMM_RECLAIM_DRAIN = 0,	/* the pages that CPUs keep at hand go back to their zones */
	SHADOWMM_RECLAIM_COMPACT = 1,	/* what may be moved is moved together */
	SHADOWMM_RECLAIM_SHRINK = 2,	/* all that is kept only while nobody needs it goes; on all nodes */
};

/* RECLAIM: does by hand what is done when memory is short. */
struct shadowmm_reclaim {
	struct shadowmm_head head;
	__u32 op;		/* enum shadowmm_reclaim_op */
	__s32 nid;		/* on this node, or -1 for all */
	__aligned_u64 pages;	/* out: pages that were given back; COMPACT: that have moved meanwhile */
};

/* What BENCH measures. module/kernel/bench/shapes.rs has the loops. */
enum shadowmm_bench_shape {
	SHADOWMM_BENCH_PAIR = 0,	/* a block is taken and given back at once */
	SHADOWMM_BENCH_CALLED_PAIR = 1,	/* the same through calls that are not inlined */
	SHADOWMM_BENCH_ALLOC = 2,	/* 1,024 pages, one by one */
	SHADOWMM_BENCH_FREE_IN_ORDER = 3,	/* they go back in the order in which they came */
	SHADOWMM_BENCH_FREE_REVERSED = 4,	/* the last goes back first */
	SHADOWMM_BENCH_FREE_RANDOM = 5,	/* they go back in an order drawn by lot */
	SHADOWMM_BENCH_ALLOC_BULK = 6,	/* 1,024 pages in one call */
	SHADOWMM_BENCH_FREE_BULK = 7,	/* they go back in one call, where there is one */
	SHADOWMM_BENCH_REFILL = 8,	/* 4,096 pages, none of which a CPU had at hand */
	SHADOWMM_BENCH_RETURN = 9,	/* these go back */
	SHADOWMM_BENCH_EXCHANGE = 10,	/* 1,024 pages are taken by another CPU and go back on this */
};

#define SHADOWMM_BENCH_FRAGMENTED 0x1	/* every second page of a span is held meanwhile */
#define SHADOWMM_BENCH_NO_SHADOW 0x2	/* the host alone */
#define SHADOWMM_BENCH_NO_HOST 0x4	/* the shadow alone */

/* What the host does besides, by its boot parameters. */
#define SHADOWMM_BENCH_INIT_ON_ALLOC 0x1
#define SHADOWMM_BENCH_INIT_ON_FREE 0x2
#define SHADOWMM_BENCH_PAGE_POISON 0x4
#define SHADOWMM_BENCH_DEBUG_PAGEALLOC 0x8

#define SHADOWMM_BENCH_MAX_BLOCKS 4096

/*
 * BENCH: measures the page allocators of shadow and host on the calling CPU, a
 * block of operations of the one and a block of the other in turn, and tells what
 * each block took by the CPU's time-stamp counter. Whatever was taken has gone
 * back when it returns. Only with CAP_SYS_ADMIN. A signal ends it early.
 */
struct shadowmm_bench {
	struct shadowmm_head head; /* flags: SHADOWMM_BENCH_FRAGMENTED, _NO_SHADOW, _NO_HOST */
	__u32 shape;		/* enum shadowmm_bench_shape */
	__u32 order;		/* of a pair; else 0 */
	__u32 blocks;		/* how many, 1 to SHADOWMM_BENCH_MAX_BLOCKS */
	__u32 done;		/* out: how many were measured */
	__u32 operations;	/* out: pairs, or pages, in a block */
	__u32 tsc_khz;		/* out: how often the counter counts, as the host has found */
	__u32 host;		/* out: SHADOWMM_BENCH_INIT_ON_ALLOC ... */
	__u32 pagesets;		/* out: 1: the shadow's CPUs keep pages of their own */
	__u32 cpu;		/* EXCHANGE: the other CPU; else 0 */
	__u32 reserved;
	__aligned_u64 shadow_ticks;	/* __u64 *, for as many as blocks; untouched with NO_SHADOW */
	__aligned_u64 host_ticks;	/* __u64 *, likewise */
};

/* What BENCH_SLAB measures. module/kernel/bench/object_shapes.rs has the loops. */
enum shadowmm_bench_slab_shape {
	SHADOWMM_BENCH_SLAB_PAIR = 0,	/* an object of a cache is taken and given back at once */
	SHADOWMM_BENCH_SLAB_KMALLOC_PAIR = 1, /* the same by size */
	SHADOWMM_BENCH_SLAB_CALLED_PAIR = 2, /* the same by size, through calls that are not inlined */
	SHADOWMM_BENCH_SLAB_ALLOC = 3,	/* 1,000 objects, one by one */
	SHADOWMM_BENCH_SLAB_FREE_IN_ORDER = 4, /* they go back in the order in which they came */
	SHADOWMM_BENCH_SLAB_FREE_SHUFFLED = 5, /* they go back in an order drawn by lot */
	SHADOWMM_BENCH_SLAB_IN_ORDER = 6, /* they come and go back in order */
	SHADOWMM_BENCH_SLAB_SHUFFLED = 7, /* they come and go back in an order drawn by lot */
	SHADOWMM_BENCH_SLAB_ALLOC_BULK = 8, /* 1,000 objects in one call */
	SHADOWMM_BENCH_SLAB_FREE_BULK = 9, /* they go back in one call */
	SHADOWMM_BENCH_SLAB_REMOTE = 10, /* objects that another CPU has taken go back on this */
	SHADOWMM_BENCH_SLAB_EXCHANGE = 11, /* the same with the taking */
	SHADOWMM_BENCH_SLAB_MIXED = 12,	/* of 256 objects one goes and another comes, of sizes as a kernel's are */
	SHADOWMM_BENCH_SLAB_PAGES = 13,	/* the pages of 10,000 objects */
	SHADOWMM_BENCH_SLAB_PAGES_LEFT = 14, /* those of 1,000 of them that stay, drawn by lot */
};

#define SHADOWMM_BENCH_SLAB_MAX_SIZE 8192

/*
 * BENCH_SLAB: measures the slab layers of shadow and host, as BENCH does the page
 * allocators. PAGES and PAGES_LEFT give pages in place of the counter's readings.
 */
struct shadowmm_bench_slab {
	struct shadowmm_head head; /* flags: SHADOWMM_BENCH_NO_SHADOW, _NO_HOST */
	__u32 shape;		/* enum shadowmm_bench_slab_shape */
	__u32 size;		/* of the objects, 1 to SHADOWMM_BENCH_SLAB_MAX_SIZE bytes; not used by MIXED */
	__u32 blocks;		/* how many, 1 to SHADOWMM_BENCH_MAX_BLOCKS */
	__u32 done;		/* out: how many were measured */
	__u32 operations;	/* out: pairs, objects, or for pages 1, in a block */
	__u32 tsc_khz;		/* out: how often the counter counts, as the host has found */
	__u32 host;		/* out: SHADOWMM_BENCH_INIT_ON_ALLOC ... */
	__u32 magazine;		/* out: how many of these objects a CPU of the shadow may keep */
	__u32 cpu;		/* REMOTE, EXCHANGE: the other CPU; else 0 */
	__u32 reserved;
	__aligned_u64 shadow_ticks;	/* __u64 *, for as many as blocks; untouched with NO_SHADOW */
	__aligned_u64 host_ticks;	/* __u64 *, likewise */
};

/*
 * BENCH_LOOKUP: how long it takes to find the VMAs of the caller's window, and the same ranges
 * in a maple tree of the host's. CAP_SYS_ADMIN (else EPERM).
 */
struct shadowmm_bench_lookup {
	struct shadowmm_head head;
	__u32 blocks;		/* how many of each, 1 to SHADOWMM_BENCH_MAX_BLOCKS */
	__u32 done;		/* out: how many were measured */
	__u32 operations;	/* out: lookups in a block */
	__u32 tsc_khz;		/* out: how often the counter counts, as the host has found */
	__u32 vmas;		/* out: how many VMAs there are */
	__u32 reserved;
	__aligned_u64 shadow_ticks;	/* __u64 *, for as many as blocks */
	__aligned_u64 host_ticks;	/* __u64 *, likewise */
};

/*
 * The differential test: the same requests played on the zones of one of the
 * running kernel's nodes and on copies of them that the shadow's buddy system
 * manages. The copies are numbers alone: no memory lies behind their pages.
 * What was taken from the node goes back when the file is closed.
 */

/* DIFF_OPEN, head.flags: first take all of the node's free memory and give it back, in an order by `seed`. */
#define SHADOWMM_DIFF_EMPTY 0x1
/* DIFF_OPEN, head.flags: the node's pagesets keep nothing, and every request goes to the zone. */
#define SHADOWMM_DIFF_NO_PAGESETS 0x2

/*
 * DIFF_OPEN: copies the node's zones. EBUSY while another file has copies; a
 * second one of the same file replaces the first, which goes also where the
 * second is refused. The node should be one that nobody else uses: without
 * CPUs, and not the nearest to any.
 */
struct shadowmm_diff_open {
	struct shadowmm_head head;
	__s32 nid;
	__u32 nr_zones;		/* out */
	__aligned_u64 seed;	/* 0: the lowest pages first */
	__aligned_u64 nr_slots;	/* out: slots for blocks are numbered from 0 */
	__aligned_u64 managed;	/* out: pages of these zones */
	__aligned_u64 free;	/* out: of these, free now */
};

enum shadowmm_diff_op {
	SHADOWMM_DIFF_ALLOC = 0,	/* a block of `order` for `slot` */
	SHADOWMM_DIFF_FREE = 1,		/* the block of `slot` goes back */
	SHADOWMM_DIFF_BULK = 2,		/* up to `order` pages at once, for `slot` and those behind it */
	SHADOWMM_DIFF_FREE_BULK = 3,	/* single pages of `order` slots from `slot` on, at once */
	SHADOWMM_DIFF_SPLIT = 4,	/* the block of `slot` becomes single pages, for `slot` and those behind it */
	SHADOWMM_DIFF_LOOK = 5,		/* all lists and page blocks are compared */
	SHADOWMM_DIFF_UNBOOST = 6,	/* the boost of the watermarks ends, as after background reclaim */
	SHADOWMM_DIFF_EXPIRE = 7,	/* the next refresh of the kernel's statistics finds its pagesets idle */
	SHADOWMM_DIFF_REFRESH = 8,	/* that refresh has happened (vm.stat_refresh), on the one CPU that there is: the copies follow */
};

/*
 * A step. One that cannot be played, because a slot is full that must be empty
 * or the other way round, does nothing. `gfp` is what the kernel knows: a
 * request that reclaims or wakes who does is refused (EINVAL), because what
 * comes of it depends on when that runs; __GFP_THISNODE and __GFP_NOWARN are
 * added.
 */
struct shadowmm_diff_step {
	__u32 op;		/* enum shadowmm_diff_op */
	__u32 gfp;
	__u32 order;
	__u32 slot;
};

/* In `results`: the step gave no block; no pfn has this value. */
#define SHADOWMM_DIFF_NONE (~0ULL)
/* In `results`: the step could not be played. */
#define SHADOWMM_DIFF_SKIPPED (~1ULL)

enum shadowmm_diff_verdict {
	SHADOWMM_DIFF_EQUAL = 0,
	SHADOWMM_DIFF_BLOCKS = 1,	/* another block was chosen */
	SHADOWMM_DIFF_NUMBERS = 2,	/* counts differ after the step, or before the first one on a CPU that it does not run on */
	SHADOWMM_DIFF_LISTS = 3,	/* a list differs */
	SHADOWMM_DIFF_TYPES = 4,	/* a page block's type differs */
	SHADOWMM_DIFF_DISTURBED = 5,	/* somebody else has used the zone: nothing is proved */
};

/*
 * DIFF_PLAY: plays steps on both until they are through or something differs,
 * which ends the test: EINVAL for every further one, until the next DIFF_OPEN.
 */
struct shadowmm_diff_play {
	struct shadowmm_head head;
	__u32 nr_steps;		/* at most 65536 */
	__u32 done;		/* out: steps after which both were equal */
	__u32 verdict;		/* out: enum shadowmm_diff_verdict */
	__u32 reserved;
	__aligned_u64 steps;	/* struct shadowmm_diff_step * */
	__aligned_u64 results;	/* __u64 *, one for each step that was played, or 0: the pfn or how many pages */
	__aligned_u64 host;	/* out: where they differ, the kernel's choice or number */
	__aligned_u64 shadow;	/* out: and the shadow's */
	char what[112];		/* out: what differs */
};

enum shadowmm_diff_side {
	SHADOWMM_DIFF_HOST = 0,
	SHADOWMM_DIFF_SHADOW = 1,
};

/* DIFF_STATE: writes a text about one side's state to `buf`. */
struct shadowmm_diff_state {
	struct shadowmm_head head;
	__u32 side;		/* enum shadowmm_diff_side */
	__u32 capacity;		/* bytes that fit into buf */
	__aligned_u64 size;	/* out: bytes that there are */
	__aligned_u64 buf;
};

/*
 * The differential test of the slab layer: caches of the running kernel, and
 * pairs of one there and one in the shadow, from which the same objects are
 * taken. What is kept is given back when the file is closed.
 */

enum shadowmm_diff_caches_op {
	SHADOWMM_DIFF_MEASURE = 0,	/* creates each, looks at it and destroys it */
	SHADOWMM_DIFF_KEEP = 1,		/* creates each, looks at it and keeps it, for looking at it in sysfs */
	SHADOWMM_DIFF_DROP = 2,		/* destroys all that are kept, their objects first; no caches are named */
	SHADOWMM_DIFF_PAIR = 3,		/* as KEEP, and creates the same in the shadow; they are numbered from 0, and merged with no other (SLAB_NO_MERGE) */
};

#define SHADOWMM_DIFF_CTOR 0x1		/* with a constructor, which does nothing */
#define SHADOWMM_DIFF_FREEPTR 0x2	/* freeptr_offset says where the free pointer lies */

/* A cache that is asked for. */
struct shadowmm_diff_cache {
	char name[64];		/* begins with diff-, and nobody else's is the same; with a NUL at the end */
	__u32 object_size;
	__u32 align;
	__u32 flags;		/* SLAB_*, as the kernel numbers them, without SLAB_PANIC */
	__u32 options;		/* SHADOWMM_DIFF_CTOR and SHADOWMM_DIFF_FREEPTR */
	__u32 useroffset;
	__u32 usersize;
	__u32 freeptr_offset;
	__u32 sheaf_capacity;
};

enum shadowmm_diff_asked {
	SHADOWMM_DIFF_CREATED = 0,
	SHADOWMM_DIFF_REFUSED = 1,	/* the kernel has refused it */
	SHADOWMM_DIFF_NOT_ASKED = 2,	/* the kernel would have stumbled over it: no size, an alignment that is no power of two, a window outside the object */
};

/* What came of it: the fields of struct kmem_cache. All zero but for `asked` when there is no cache. */
struct shadowmm_diff_geometry {
	__u32 asked;		/* enum shadowmm_diff_asked */
	__u32 object_size;
	__u32 size;
	__u32 inuse;
	__u32 offset;
	__u32 align;
	__u32 red_left_pad;
	__u32 flags;
	__u32 order;
	__u32 objects;
	__u32 min_order;
	__u32 min_objects;
	__u32 min_partial;
	__u32 sheaf_capacity;
};

/* DIFF_CACHES: asks the kernel for caches. */
struct shadowmm_diff_caches {
	struct shadowmm_head head;
	__u32 op;		/* enum shadowmm_diff_caches_op */
	__u32 nr;		/* at most 1024 */
	__aligned_u64 caches;	/* struct shadowmm_diff_cache * */
	__aligned_u64 geometries; /* struct shadowmm_diff_geometry *, as many */
};

enum shadowmm_diff_objects_op {
	SHADOWMM_DIFF_TAKE = 0,		/* an object for each of `count` slots from `slot` on, one by one */
	SHADOWMM_DIFF_TAKE_BULK = 1,	/* the same at once, for up to 256 slots */
	SHADOWMM_DIFF_GIVE = 2,		/* the objects of `count` slots from `slot` on go back, one by one */
	SHADOWMM_DIFF_GIVE_BULK = 3,	/* the same at once, those of the pair `cache`, for up to 256 slots */
	SHADOWMM_DIFF_SHRINK = 4,	/* both give up what nobody uses of the pair */
};

/* A step, on both sides. Taking passes over slots that have an object, giving over those that have none. */
struct shadowmm_diff_objects_step {
	__u32 op;		/* enum shadowmm_diff_objects_op */
	__u32 cache;		/* the pair; not for GIVE */
	__u32 slot;		/* below 65536, as all of them */
	__u32 count;
};

/* DIFF_OBJECTS: plays steps on both. */
struct shadowmm_diff_objects {
	struct shadowmm_head head;
	__u32 nr;		/* at most 65536 */
	__u32 failed;		/* out: objects that one side or both could not give; the other has taken its back */
	__aligned_u64 steps;	/* struct shadowmm_diff_objects_step * */
	__u32 shadow_short;	/* out: of these, those that the shadow alone had no memory for: none above its min watermarks */
	__u32 shadow_refused;	/* out: of these, those that the shadow alone did not give all the same */
};

/* DIFF_CACHE: what there is of a pair; what the kernel counts stands in sysfs. */
struct shadowmm_diff_look {
	struct shadowmm_head head;
	__u32 cache;		/* the pair */
	__u32 fallbacks;	/* out: slabs of the shadow that are smaller than they should be, so far */
	__aligned_u64 live;	/* out: objects that slots have */
	__aligned_u64 host_used;	/* out: slabs of the kernel that these lie in */
	__aligned_u64 shadow_used;	/* out: slabs of the shadow that these lie in, if there were no fallbacks */
	__aligned_u64 slabs;	/* out: slabs of the shadow, of them: */
	__aligned_u64 partial;	/* out: with free and other objects */
	__aligned_u64 empty;	/* out: with free objects only */
	__aligned_u64 total;	/* out: objects in them */
	__aligned_u64 objects;	/* out: those that are in no slab's freelist */
	__aligned_u64 cached;	/* out: those of them that CPUs keep */
	__aligned_u64 active;	/* out: those that somebody has */
	__aligned_u64 pages;	/* out: pages of the slabs */
	__aligned_u64 apart;	/* out: of the live objects, those that begin where no other of the shadow's lies */
};

#endif /* _UAPI_SHADOWMM_H */
