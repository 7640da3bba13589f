// SPDX-License-Identifier: GPL-2.0
/*
 * Linux's own mm/memblock.c as a filter: operations come in on stdin, one to a
 * line, and for each a line goes out that says what it returned and, as one
 * number, what both arrays are now.
 *
 *	add 1000 2000 0 0		v 0 9e3779b97f4a7c15
 *	alloc_range 40 40 0 0 1 0	v 2fc0 ...
 *
 * The kernel's file is included as it is, so that its static variables and
 * functions are in reach; the headers around it are those of the kernel's
 * tools/testing/memblock.
 *
 * Letters of an answer: v, a value; p, Linux would have panicked and nothing
 * has changed; b, Linux would have stopped at a BUG and the state is void.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <linux/kernel.h>
#include <linux/slab.h>
#include <linux/memblock.h>
#include <linux/seq_file.h>
#include "internal.h"
#include "mm_init.h"

typedef unsigned long long num;

/* Numbers and texts are folded into this as they come. */
static num digest;
static num warnings;
static num handed_over;
static jmp_buf stop;

static void fold(num word)
{
	digest = (digest ^ word) * 0x100000001b3ULL;
	digest ^= digest >> 29;
}

unsigned long walk_start, walk_end;

void note_free_block(unsigned long pfn, unsigned int order)
{
	fold(1);
	fold(pfn);
	fold(order);
}

void note_reserved(unsigned long start, unsigned long end, int nid)
{
	fold(2);
	fold(start);
	fold(end);
	fold((num)(long long)nid);
}

/* ---- the kernel's texts ---- */

static bool show_text;

static void put(const char *text)
{
	for (const char *c = text; *c; c++)
		fold((unsigned char)*c);
	if (show_text)
		fputs(text, stdout);
}

/* As the kernel's vsnprintf() has it: %pa, and 0x before a zero, too. */
static void kernel_print(const char *fmt, ...)
{
	va_list args;
	char buf[80];

	va_start(args, fmt);
	while (*fmt) {
		char spec[16];
		int len = 0;
		bool alternate;

		if (*fmt != '%') {
			buf[0] = *fmt++;
			buf[1] = 0;
			put(buf);
			continue;
		}
		do {
			spec[len++] = *fmt++;
		} while (!strchr("sdxuci", spec[len - 1]) && spec[len - 1] != 'p' && len < 14);
		spec[len] = 0;
		alternate = strchr(spec, '#');
		switch (spec[len - 1]) {
		case 'p':
			fmt++; /* only %pa is printed here */
			snprintf(buf, sizeof(buf), "0x%016llx", (num)*va_arg(args, phys_addr_t *));
			break;
		case 's':
			put(va_arg(args, const char *));
			buf[0] = 0;
			break;
		case 'x':
			snprintf(buf, sizeof(buf), alternate ? "0x%lx" : "%lx",
				 strchr(spec, 'l') ? va_arg(args, unsigned long)
						   : (unsigned long)va_arg(args, unsigned int));
			break;
		default:
			snprintf(buf, sizeof(buf), spec, va_arg(args, int));
		}
		put(buf);
	}
	va_end(args);
}

/* ---- what surrounds the kernel's file ---- */

static inline void no_print(const char *fmt, ...)
{
}

#undef pr_info
#undef pr_err
#undef pr_warn
#undef pr_warn_ratelimited
#undef WARN_ON
#undef WARN_ON_ONCE
#undef BUG_ON
#define pr_info kernel_print
#define pr_err no_print
#define pr_warn no_print
#define pr_warn_ratelimited no_print
#define WARN_ON(condition) ({ bool c_ = !!(condition); warnings += c_; c_; })
#define WARN_ON_ONCE WARN_ON
#define BUG_ON(condition) do { if (condition) longjmp(stop, 'b'); } while (0)
#define panic(...) longjmp(stop, 'p')
#define totalram_pages_add(pages) (handed_over = (pages))

/* x86-64's, where the tools' headers have 32. */
#undef SMP_CACHE_BYTES
#define SMP_CACHE_BYTES 64

/* One turn for each range, which is noted whole. */
#undef for_each_valid_pfn
#define for_each_valid_pfn(pfn, start_pfn, end_pfn)				\
	for (walk_start = pfn = (start_pfn), walk_end = (end_pfn);		\
	     pfn == walk_start && walk_start < walk_end; pfn++)

/* mm/mm_init.c's, with the lowest node that has memory as the first online one. */
static int early_pfn_to_nid_as_booting(unsigned long pfn)
{
	unsigned long start, end;
	struct memblock_region *r;
	int nid = memblock_search_pfn_nid(pfn, &start, &end);
	int first = MAX_NUMNODES;

	if (nid >= 0)
		return nid;
	for_each_mem_region(r)
		if (numa_valid_node(r->nid) && r->nid < first)
			first = r->nid;
	return first < MAX_NUMNODES ? first : 0;
}
#define early_pfn_to_nid early_pfn_to_nid_as_booting

/* For the tables in debugfs. */
struct dentry;
struct seq_file {
	void *private;
};
#define CONFIG_DEBUG_FS 1
#define CONFIG_ARCH_KEEP_MEMBLOCK 1
#define seq_printf(m, ...) kernel_print(__VA_ARGS__)
#define seq_puts(m, text) kernel_print("%s", text)
#define seq_putc(m, c) kernel_print("%c", c)
#define DEFINE_SHOW_ATTRIBUTE(name) static const int name##_fops __attribute__((unused))
#define debugfs_create_dir(...) NULL
#define debugfs_create_file(...) ((void)0)
#define string_get_size(...) ((void)0)
#undef ilog2
#define ilog2(n) __builtin_ctz(n)
#undef __initcall
#define __initcall(fn) static void *const fn##_unused __attribute__((unused)) = fn
#define late_initcall(fn) __initcall(fn)

#include "memblock.c"

bool movable_node_enabled;

void *kmalloc(size_t size, gfp_t gfp)
{
	return NULL;
}

void kfree(void *p)
{
}

unsigned long long memparse(const char *ptr, char **retptr)
{
	return 0;
}

/* ---- the operations ---- */

/* Memory that arrays and zeroed allocations can lie in; the rest is numbers. */
#define WINDOW_BASE 0x200000000ULL
#define WINDOW_SIZE 0x1000000ULL

static void reset(num memory_max, num reserved_max, num bottom_up, num limit, num can_resize)
{
	memset(memblock_memory_init_regions, 0, sizeof(memblock_memory_init_regions));
	memset(memblock_reserved_init_regions, 0, sizeof(memblock_reserved_init_regions));
	memblock.memory = (struct memblock_type) {
		.regions = memblock_memory_init_regions, .max = memory_max, .name = "memory",
	};
	memblock.reserved = (struct memblock_type) {
		.regions = memblock_reserved_init_regions, .max = reserved_max, .name = "reserved",
	};
	memblock.bottom_up = bottom_up;
	memblock.current_limit = limit;
	memblock_can_resize = can_resize;
	system_has_some_mirror = false;
	mirrored_kernelcore = false;
	movable_node_enabled = false;
	kho_scratch_only = false;
	warnings = 0;
}

static void fold_type(struct memblock_type *type, struct memblock_region *init)
{
	struct memblock_region *r;
	int i;

	fold(type->cnt);
	fold(type->max);
	fold(type->total_size);
	if (init)
		fold(type->regions == init ? 0 : (num)type->regions);
	for_each_memblock_type(i, type, r) {
		fold(r->base);
		fold(r->size);
		fold((num)r->flags << 32 | (unsigned int)r->nid);
	}
}

/* After the hand-off, the arrays are all that counts, not where they lie. */
static void fold_state(bool retired)
{
	fold_type(&memblock.memory, retired ? NULL : memblock_memory_init_regions);
	fold_type(&memblock.reserved, retired ? NULL : memblock_reserved_init_regions);
	if (!retired)
		fold(warnings);
}

static void fold_range(num a, num b, num c)
{
	fold(a);
	fold(b);
	fold(c);
}

/* All positions and ranges of an iterator: over reserved alone, memory alone, or what is free. */
static num walk(int kind, bool down, int nid, int flags)
{
	struct memblock_type *a = kind ? &memblock.memory : &memblock.reserved;
	struct memblock_type *b = kind == 2 ? &memblock.reserved : NULL;
	phys_addr_t start, end;
	num count = 0;
	int found;
	u64 i;

	if (down)
		__for_each_mem_range_rev(i, a, b, nid, flags, &start, &end, &found) {
			fold(i);
			fold_range(start, end, (num)(long long)found);
			count++;
		}
	else
		__for_each_mem_range(i, a, b, nid, flags, &start, &end, &found) {
			fold(i);
			fold_range(start, end, (num)(long long)found);
			count++;
		}
	return count;
}

static num walk_pfns(int wanted)
{
	unsigned long start, end;
	num count = 0;
	int i, nid;

	for_each_mem_pfn_range(i, wanted, &start, &end, &nid) {
		fold_range(start, end, (num)(long long)nid);
		count++;
	}
	return count;
}

static num search_pfn(num pfn)
{
	unsigned long start = 0, end = 0;
	int nid = memblock_search_pfn_nid(pfn, &start, &end);

	fold_range(start, end, (num)(long long)nid);
	return nid == NUMA_NO_NODE ? 0 : 1;
}

static num hand_over(num limit)
{
	max_low_pfn = limit;
	handed_over = 0;
	memblock_free_all();
	return handed_over;
}

static num dump(bool aloud)
{
	show_text = aloud;
	__memblock_dump_all();
	memblock_debug_show(&(struct seq_file) { &memblock.memory }, NULL);
	memblock_debug_show(&(struct seq_file) { &memblock.reserved }, NULL);
	show_text = false;
	return 0;
}

static struct memblock_type *type_of(num kind)
{
	return kind ? &memblock.memory : &memblock.reserved;
}

/* An operation, and what it returns as a number. */
#define DO(name, call) if (!strcmp(op, name)) return (num)(long long)(call)
#define DO_VOID(name, call) if (!strcmp(op, name)) { call; return 0; }

static num run(const char *op, const num *a)
{
	DO_VOID("reset", reset(a[0], a[1], a[2], a[3], a[4]));
	DO_VOID("flags", (mirrored_kernelcore = a[0], movable_node_enabled = a[1], kho_scratch_only = a[2]));
	DO_VOID("bottom_up", memblock_set_bottom_up(a[0]));
	DO_VOID("limit", memblock_set_current_limit(a[0]));

	DO("add", memblock_add_node(a[0], a[1], (int)a[2], a[3]));
	DO("remove", memblock_remove(a[0], a[1]));
	DO("reserve", __memblock_reserve(a[0], a[1], (int)a[2], a[3]));
	DO("free", memblock_phys_free(a[0], a[1]));
	DO("mark_hotplug", memblock_mark_hotplug(a[0], a[1]));
	DO("clear_hotplug", memblock_clear_hotplug(a[0], a[1]));
	DO("mark_mirror", memblock_mark_mirror(a[0], a[1]));
	DO("mark_nomap", memblock_mark_nomap(a[0], a[1]));
	DO("clear_nomap", memblock_clear_nomap(a[0], a[1]));
	DO("mark_kho", memblock_mark_kho_scratch(a[0], a[1]));
	DO("clear_kho", memblock_clear_kho_scratch(a[0], a[1]));
	DO("mark_noinit", memblock_reserved_mark_noinit(a[0], a[1]));
	DO("mark_kern", memblock_reserved_mark_kern(a[0], a[1]));
	DO("set_node", memblock_set_node(a[0], a[1], type_of(a[2]), (int)a[3]));

	DO("alloc_range", memblock_alloc_range_nid(a[0], a[1], a[2], a[3], (int)a[4], a[5]));
	DO("alloc_exact", (num)memblock_alloc_exact_nid_raw(a[0], a[1], a[2], a[3], (int)a[4]));
	DO("alloc_try_raw", (num)memblock_alloc_try_nid_raw(a[0], a[1], a[2], a[3], (int)a[4]));
	DO("alloc_try", (num)memblock_alloc_try_nid(a[0], a[1], a[2], a[3], (int)a[4]));
	DO("alloc_hugetlb", (num)memblock_alloc_hugetlb(a[0], (int)a[1], a[2]));

	DO_VOID("trim", memblock_trim_memory(a[0]));
	DO_VOID("cap", memblock_cap_memory_range(a[0], a[1]));
	DO_VOID("enforce", memblock_enforce_memory_limit(a[0]));
	DO_VOID("remove_map", memblock_mem_limit_remove_map(a[0]));

	DO("is_reserved", memblock_is_reserved(a[0]));
	DO("is_memory", memblock_is_memory(a[0]));
	DO("is_map_memory", memblock_is_map_memory(a[0]));
	DO("is_region_memory", memblock_is_region_memory(a[0], a[1]));
	DO("is_region_reserved", memblock_is_region_reserved(a[0], a[1]));
	DO("overlaps", memblock_overlaps_region(type_of(a[2]), a[0], a[1]));
	DO("search_pfn", search_pfn(a[0]));
	DO("kern_size", memblock_reserved_kern_size(a[0], (int)a[1]));
	DO("hugetlb_size", memblock_reserved_hugetlb_size(a[0], (int)a[1]));
	DO("estimate", memblock_estimated_nr_free_pages());
	DO("start", memblock_start_of_DRAM());
	DO("end", memblock.memory.cnt ? memblock_end_of_DRAM() : 0);
	DO("coverage", memblock_validate_numa_coverage(a[0]));
	DO("walk", walk(a[0], a[1], (int)a[2], a[3]));
	DO("walk_pfns", walk_pfns((int)a[0]));

	DO("free_all", hand_over(a[0]));
	DO("dump", dump(false));
	DO("dump_aloud", dump(true));
	fprintf(stderr, "driver: what is '%s'?\n", op);
	exit(1);
}

int main(void)
{
	static char line[512], out[1 << 16];
	void *window = mmap((void *)WINDOW_BASE, WINDOW_SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

	if (window != (void *)WINDOW_BASE) {
		perror("driver: mmap of the window");
		return 1;
	}
	setvbuf(stdout, out, _IOFBF, sizeof(out));
	while (fgets(line, sizeof(line), stdin)) {
		char *at = strchr(line, ' ');
		volatile num value = 0;
		num args[8] = { 0 };
		int letter;

		if (at)
			*at++ = 0;
		else
			line[strcspn(line, "\n")] = 0;
		for (int i = 0; at && i < 8; i++)
			args[i] = strtoull(at, &at, 16);
		digest = 0;
		letter = setjmp(stop);
		if (!letter) {
			letter = 'v';
			value = run(line, args);
		}
		fold_state(!strcmp(line, "free_all"));
		printf("%c %llx %llx\n", letter, value, digest);
	}
	return 0;
}
