// SPDX-License-Identifier: GPL-2.0
/* What the host's page allocator does besides, by its boot parameters. */
#include <linux/cpu.h>
#include <linux/mm.h>
#include <linux/workqueue.h>

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

/* Runs `job` on another CPU and waits for it; a negative errno where the CPU is not up. */
long shadowmm_bench_on_cpu(unsigned int cpu, long (*job)(void *), void *arg)
{
	long ret = -ENODEV;

	cpus_read_lock();
	if (cpu < nr_cpu_ids && cpu_online(cpu))
		ret = work_on_cpu(cpu, job, arg);
	cpus_read_unlock();
	return ret;
}
