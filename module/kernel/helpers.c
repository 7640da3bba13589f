// SPDX-License-Identifier: GPL-2.0
/*
 * Functions of the kernel that are inline or macros in C, as functions.
 * Each does one call and decides nothing.
 */
#include <linux/cc_platform.h>
#include <linux/instruction_pointer.h>
#include <linux/percpu-rwsem.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/stacktrace.h>
#include <linux/uaccess.h>
#include <linux/utsname.h>
#include <linux/wait_bit.h>

#include "bindings.h"

const unsigned int shadowmm_struct_page_size = sizeof(struct page);

unsigned long shadowmm_page_to_pfn(const struct page *page)
{
	return page_to_pfn(page);
}

void *shadowmm_page_address(const struct page *page)
{
	return page_address(page);
}

int shadowmm_page_to_nid(const struct page *page)
{
	return page_to_nid(page);
}

struct page *shadowmm_alloc_contig(unsigned long pages, int nid)
{
	return alloc_contig_pages(pages, GFP_KERNEL | __GFP_THISNODE | __GFP_NOWARN, nid, NULL);
}

/* The first node with memory above `nid`, or -1. */
int shadowmm_next_node_with_memory(int nid)
{
	nid = next_node(nid, node_states[N_MEMORY]);
	return nid < MAX_NUMNODES ? nid : -1;
}

unsigned long shadowmm_node_present_pages(int nid)
{
	return node_present_pages(nid);
}

/* Of all CMA areas that the node's zones have, whoever has taken them. */
unsigned long shadowmm_node_cma_pages(int nid)
{
	struct zone *zones = NODE_DATA(nid)->node_zones;
	unsigned long pages = 0;
	int i;

	for (i = 0; i < MAX_NR_ZONES; i++)
		pages += zone_cma_pages(&zones[i]);
	return pages;
}

bool shadowmm_guest_mem_encrypted(void)
{
	return cc_platform_has(CC_ATTR_GUEST_MEM_ENCRYPT);
}

struct page *shadowmm_dma_alloc(struct device *dev, size_t size, dma_addr_t *handle)
{
	return dma_alloc_attrs(dev, size, handle, GFP_KERNEL,
			       DMA_ATTR_NO_KERNEL_MAPPING | DMA_ATTR_NO_WARN);
}

void shadowmm_dma_free(struct device *dev, size_t size, struct page *page, dma_addr_t handle)
{
	dma_free_attrs(dev, size, page, handle, DMA_ATTR_NO_KERNEL_MAPPING);
}

void shadowmm_set_dev_node(struct device *dev, int nid)
{
	set_dev_node(dev, nid);
}

int shadowmm_get_cpu(void)
{
	return get_cpu();
}

void shadowmm_put_cpu(void)
{
	put_cpu();
}

/* The shadow node of each CPU, which percpu.rs reads; what was not said is NUMA_NO_NODE. */
DEFINE_PER_CPU(int, shadowmm_cpu_node) = NUMA_NO_NODE;

void shadowmm_set_cpu_node(unsigned int cpu, int nid)
{
	if (cpu < nr_cpu_ids && cpu_possible(cpu))
		per_cpu(shadowmm_cpu_node, cpu) = nid;
}

/* What core has for each CPU, which percpu.rs reads. */
DEFINE_PER_CPU(const void *, shadowmm_local);

void shadowmm_set_cpu_local(unsigned int cpu, const void *local)
{
	if (cpu < nr_cpu_ids && cpu_possible(cpu))
		per_cpu(shadowmm_local, cpu) = local;
}

const void *shadowmm_cpu_local(unsigned int cpu)
{
	return per_cpu(shadowmm_local, cpu);
}

/* What core's slab layer has near on each CPU, likewise. */
DEFINE_PER_CPU(const void *, shadowmm_near);

void shadowmm_set_cpu_near(unsigned int cpu, const void *near)
{
	if (cpu < nr_cpu_ids && cpu_possible(cpu))
		per_cpu(shadowmm_near, cpu) = near;
}

const void *shadowmm_cpu_near(unsigned int cpu)
{
	return per_cpu(shadowmm_near, cpu);
}

bool shadowmm_cpu_online(unsigned int cpu)
{
	return cpu_online(cpu);
}

unsigned int shadowmm_nr_cpu_ids(void)
{
	return nr_cpu_ids;
}

unsigned int shadowmm_nr_online_cpus(void)
{
	return num_online_cpus();
}

void shadowmm_spin_lock_init(spinlock_t *lock)
{
	spin_lock_init(lock);
}

/* A lock that is one word of the shadow's memory, without debugging. */
void shadowmm_lock_word(unsigned int *word)
{
	preempt_disable();
#ifdef CONFIG_SMP
	BUILD_BUG_ON(sizeof(arch_spinlock_t) != sizeof(*word));
	arch_spin_lock((arch_spinlock_t *)word);
#endif
}

void shadowmm_unlock_word(unsigned int *word)
{
#ifdef CONFIG_SMP
	arch_spin_unlock((arch_spinlock_t *)word);
#endif
	preempt_enable();
}

void shadowmm_init_rwsem(struct rw_semaphore *sem)
{
	init_rwsem(sem);
}

int shadowmm_percpu_init_rwsem(struct percpu_rw_semaphore *sem)
{
	return percpu_init_rwsem(sem);
}

void shadowmm_percpu_down_read(struct percpu_rw_semaphore *sem)
{
	percpu_down_read(sem);
}

void shadowmm_percpu_up_read(struct percpu_rw_semaphore *sem)
{
	percpu_up_read(sem);
}

void shadowmm_wait_while(const void *word, bool (*wait)(void *), void *arg)
{
	wait_var_event((void *)word, !wait(arg));
}

/* The word was changed by an atomic operation before; see waitqueue_active(). */
void shadowmm_wake(const void *word)
{
	smp_mb__after_atomic();
	wake_up_var((void *)word);
}

bool shadowmm_access_ok(u64 addr, u64 size)
{
	return access_ok((void __user *)addr, size);
}

unsigned int shadowmm_current_pid(void)
{
	return current->pid;
}

u64 shadowmm_jiffies(void)
{
	return jiffies;
}

/* The place that it is called from. */
unsigned long shadowmm_caller(void)
{
	return _RET_IP_;
}

/* From the caller's caller on, as SLUB's tracks begin (set_track_prepare). */
unsigned int shadowmm_save_stack(u64 *entries, unsigned int nr)
{
	return stack_trace_save((unsigned long *)entries, nr, 2);
}

/* A function and the place in it; returns the length of what is there. */
size_t shadowmm_symbol(char *text, size_t size, u64 addr)
{
	return scnprintf(text, size, "%pS", (void *)addr);
}

const char *shadowmm_kernel_release(void)
{
	return init_utsname()->release;
}
