// SPDX-License-Identifier: GPL-2.0
/* What the host's page allocator does besides, by its boot parameters. */
#include <linux/mm.h>

#include "bindings.h"
#include "shadowmm.h"

unsigned int shadowmm_bench_host(void)
{
	unsigned int host = 0;

	if (want_init_on_alloc(GFP_KERNEL))
		host |= SHADOWMM_BENCH_INIT_ON_ALLOC;
	if (want_init_on_free())
		host |= SHADOWMM_BENCH_INIT_ON_FREE;
	if (page_poisoning_enabled_static())
		host |= SHADOWMM_BENCH_PAGE_POISON;
	if (debug_pagealloc_enabled_static())
		host |= SHADOWMM_BENCH_DEBUG_PAGEALLOC;
	return host;
}

int shadowmm_bench_node(void)
{
	return numa_mem_id();
}
