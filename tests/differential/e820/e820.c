// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel's arch/x86/kernel/e820.c as it is, and what it needs around it.
 * All the headers that it includes are empty but its own two.
 */
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;
typedef u64 resource_size_t, phys_addr_t;

/* ---- the language ---- */

#define __init
#define __initdata
#define __refdata
#define likely(condition) (condition)
#define EXPORT_SYMBOL(name)
#define EXPORT_SYMBOL_GPL(name)
#define EXPORT_SYMBOL_FOR_KVM(name)
#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#define BUILD_BUG_ON(condition) _Static_assert(!(condition), #condition)
#define BUG_ON(condition) do { if (condition) stop_here(); } while (0)
#define panic(...) stop_here()
#define IS_ENABLED(option) 0
#define min(a, b) ((a) < (b) ? (a) : (b))
#define max(a, b) ((a) > (b) ? (a) : (b))
#define round_up(x, y) ((((x) - 1) | ((typeof(x))(y) - 1)) + 1)

/* ---- numbers ---- */

#define CONFIG_X86_64 1
#define MAX_NUMNODES (1 << CONFIG_NODES_SHIFT)
#define E820_MAX_ENTRIES_ZEROPAGE 128
#define PAGE_SHIFT 12
#define PAGE_SIZE (1UL << PAGE_SHIFT)
#define PFN_DOWN(x) ((x) >> PAGE_SHIFT)
#define PFN_UP(x) (((x) + PAGE_SIZE - 1) >> PAGE_SHIFT)
#define PFN_PHYS(x) ((u64)(x) << PAGE_SHIFT)
/* Four levels of page tables. */
#define MAXMEM (1UL << 46)
#define ULLONG_MAX (~0ULL)
#define SZ_1M 0x100000UL
#define SZ_4M 0x400000UL
#define SZ_256M 0x10000000UL
#define SZ_4G 0x100000000UL
#define SMP_CACHE_BYTES 64
#define GFP_KERNEL 0

/* ---- the log: what e820__print_table() says counts, the rest does not ---- */

static bool printing;

#define KERN_DEBUG
#define FW_BUG "[Firmware Bug]: "
#define log(...) do { if (printing) kernel_print(__VA_ARGS__); } while (0)
#define pr_info(...) log(__VA_ARGS__)
#define pr_cont(...) log(__VA_ARGS__)
#define pr_warn(...) do { } while (0)
#define pr_err(...) do { } while (0)
#define printk(...) do { } while (0)

/* ---- what the boot protocol gives ---- */

struct boot_e820_entry {
	u64 addr;
	u64 size;
	u32 type;
} __attribute__((packed));

struct setup_data {
	u64 next;
	u32 type;
	u32 len;
	u8 data[];
};

static struct {
	struct { u32 ext_mem_k; } screen_info;
	u32 alt_mem_k;
	u8 e820_entries;
	struct boot_e820_entry e820_table[E820_MAX_ENTRIES_ZEROPAGE];
} boot_params;

static struct { struct { char *(*memory_setup)(void); } resources; } x86_init;
static unsigned long max_pfn, max_mem_size;
#define LOWMEMSIZE() 0x9f000
#define early_memremap(addr, size) ((void *)(addr))
#define early_memunmap(addr, size) ((void)(addr))
#define early_param(name, fn) static int (*const fn##_kept)(char *) __attribute__((unused)) = fn
#define core_initcall(fn)

/* ---- the rest of the kernel ---- */

enum { IORESOURCE_MEM = 0x200, IORESOURCE_SYSTEM_RAM = 0x01000200, IORESOURCE_BUSY = 1 };
enum { IORES_DESC_NONE, IORES_DESC_ACPI_TABLES, IORES_DESC_ACPI_NV_STORAGE, IORES_DESC_PERSISTENT_MEMORY,
       IORES_DESC_PERSISTENT_MEMORY_LEGACY, IORES_DESC_RESERVED, IORES_DESC_SOFT_RESERVED };

struct resource {
	resource_size_t start, end;
	const char *name;
	unsigned long flags, desc;
	struct resource *parent;
};

static struct resource iomem_resource, soft_reserve_resource;
#define insert_resource(root, res) ((void)(res))
#define insert_resource_expand_to_fit(root, res) ((void)(res))
#define reserve_region_with_split(root, start, end, name) ((void)(start))
#define firmware_map_add_early(start, end, type) ((void)(type))
#define register_nosave_region(start, end) ((void)(start))
#define acpi_nvs_register(start, size) ((void)(start))
#define kmemdup(data, size, gfp) (data)

static inline u64 memparse(const char *text, char **rest)
{
	return strtoull(text, rest, 0);
}
#define simple_strtoull strtoull

/* The kernel's sort() is not stable; nor is this, and nothing may rest on it. */
static void sort(void *base, size_t n, size_t size, int (*compare)(const void *, const void *), void *swap)
{
	qsort(base, n, size, compare);
}

/* What memblock is told is noted. */
static void note(num what, num start, num size)
{
	fold(what);
	fold(start);
	fold(size);
}
#define memblock_add(start, size) note(1, start, size)
#define memblock_reserve(start, size) note(2, start, size)
#define memblock_remove(start, size) ((void)(start))
#define memblock_trim_memory(align) ((void)(align))
#define memblock_set_current_limit(limit) ((void)(limit))
#define memblock_allow_resize() ((void)0)
#define memblock_dump_all() ((void)0)
#define memblock_mark_kho_scratch(start, size) ((void)(start))
#define memblock_phys_alloc(size, align) 0
#define memblock_alloc_or_panic(size, align) NULL

#include "linux-e820.c"

/* ---- the operations ---- */

#define DO(name, call) if (!strcmp(op, name)) { *value = (num)(long long)(call); return true; }
#define DO_VOID(name, call) if (!strcmp(op, name)) { call; *value = 0; return true; }

static void print_table(void)
{
	printing = true;
	e820__print_table("BIOS-e820");
	printing = false;
}

static num names(void)
{
	for (u32 i = 0; i < e820_table->nr_entries; i++)
		kernel_print("%s\n", e820_type_to_string(&e820_table->entries[i]));
	return 0;
}

/* What comes from the firmware, entry after entry, as e820__memory_setup_default() takes it. */
static num append(num start, num size, num type)
{
	struct boot_e820_entry entry = { start, size, type };

	return append_e820_table(&entry, 1);
}

bool e820_run(const char *op, const num *a, num *value)
{
	DO_VOID("reset", e820_table->nr_entries = 0);
	DO_VOID("add", e820__range_add(a[0], a[1], a[2]));
	DO("append", append(a[0], a[1], a[2]));
	DO("update", e820__update_table(e820_table));
	DO("range_update", e820__range_update(a[0], a[1], a[2], a[3]));
	DO_VOID("range_remove", e820__range_remove(a[0], a[1], a[2]));
	DO("mapped_any", e820__mapped_any(a[0], a[1], a[2]));
	DO("mapped_all", e820__mapped_all(a[0], a[1], a[2]));
	DO("entry_type", e820__get_entry_type(a[0], a[1]));
	DO("end_of_ram", e820__end_of_ram_pfn());
	DO("end_of_low_ram", e820__end_of_low_ram_pfn());
	DO_VOID("memblock_setup", e820__memblock_setup());
	DO_VOID("print", print_table());
	DO("names", names());
	return false;
}

void e820_fold_state(void)
{
	fold(e820_table->nr_entries);
	for (u32 i = 0; i < e820_table->nr_entries; i++) {
		struct e820_entry *entry = &e820_table->entries[i];

		fold(entry->addr);
		fold(entry->size);
		fold(entry->type);
	}
}

bool e820_ram(int i, num *start, num *size)
{
	if (i >= e820_table->nr_entries)
		return false;
	*start = e820_table->entries[i].addr;
	*size = e820_table->entries[i].type == E820_TYPE_RAM ? e820_table->entries[i].size : 0;
	return true;
}
