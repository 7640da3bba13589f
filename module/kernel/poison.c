// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that is nobody's: poison.rs and core/buddy/poison.rs say when.
 */
#include <linux/jump_label.h>

#include "bindings.h"

/* Off, it costs nothing where it is asked. */
struct shadowmm_switch shadowmm_page_poison = { .key = STATIC_KEY_FALSE_INIT };

void shadowmm_page_poison_on(void)
{
	static_branch_enable(&shadowmm_page_poison.key);
}

#ifdef CONFIG_KASAN_GENERIC
/* Of mm/kasan/kasan.h, whose other contents are for mm alone: the call is exported for the tests of KASAN. */
#define KASAN_PAGE_FREE 0xff
void kasan_poison(const void *addr, size_t size, u8 value, bool init);

void shadowmm_watch(const void *memory, size_t bytes, bool free)
{
	kasan_poison(memory, bytes, free ? KASAN_PAGE_FREE : 0, false);
}
#else
void shadowmm_watch(const void *memory, size_t bytes, bool free)
{
}
#endif
