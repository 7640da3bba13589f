// SPDX-License-Identifier: GPL-2.0
/*
 * What runs by itself: CPUs that come and go, and the work that each CPU does now and then.
 *
 *	shepherd	once a second, on some CPU that is awake: which CPUs have something to do?
 *	  refresh	on each of those, once a second, as long as there is something
 *
 * as vmstat_shepherd() and vmstat_update() of mm/vmstat.c do it. Both are deferrable: a CPU that
 * sleeps is not woken for them. What is to be done is core's; workers.rs asks it.
 */
#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/percpu.h>
#include <linux/timer.h>
#include <linux/workqueue.h>

#include "bindings.h"

static DEFINE_PER_CPU(struct delayed_work, refresh);
static enum cpuhp_state hotplug;
static bool running;

static void do_refresh(struct work_struct *work)
{
	if (shadowmm_worker_refresh() && READ_ONCE(running))
		queue_delayed_work_on(smp_processor_id(), system_percpu_wq, this_cpu_ptr(&refresh),
				      round_jiffies_relative(HZ));
}

static void do_shepherd(struct work_struct *work);
static DECLARE_DEFERRABLE_WORK(shepherd, do_shepherd);

static void do_shepherd(struct work_struct *work)
{
	unsigned int cpu;

	/* A CPU that is on its way out gets nothing more to do. */
	cpus_read_lock();
	for_each_online_cpu(cpu) {
		struct delayed_work *its = per_cpu_ptr(&refresh, cpu);

		if (!delayed_work_pending(its) && shadowmm_worker_wants_refresh(cpu))
			queue_delayed_work_on(cpu, system_percpu_wq, its, 0);
		cond_resched();
	}
	cpus_read_unlock();
	schedule_delayed_work(&shepherd, round_jiffies_relative(HZ));
}

static int cpu_prepare(unsigned int cpu)
{
	shadowmm_worker_cpu_online(cpu);
	return 0;
}

static int cpu_online_here(unsigned int cpu)
{
	enable_delayed_work(per_cpu_ptr(&refresh, cpu));
	return 0;
}

static int cpu_going(unsigned int cpu)
{
	disable_delayed_work_sync(per_cpu_ptr(&refresh, cpu));
	return 0;
}

static int cpu_dead(unsigned int cpu)
{
	shadowmm_worker_cpu_dead(cpu);
	return 0;
}

static enum cpuhp_state hotplug_online;

/* Starts all of it: 0 or a negative errno. */
int shadowmm_workers_start(void)
{
	unsigned int cpu;
	int state;

	for_each_possible_cpu(cpu)
		INIT_DEFERRABLE_WORK(per_cpu_ptr(&refresh, cpu), do_refresh);
	/* Like mm/page_alloc:pcp: before a CPU comes up, and after it is gone. */
	state = cpuhp_setup_state_nocalls(CPUHP_BP_PREPARE_DYN, "mm/shadowmm:prepare", cpu_prepare, cpu_dead);
	if (state < 0)
		return state;
	hotplug = state;
	cpus_read_lock();
	for_each_possible_cpu(cpu)
		if (!cpu_online(cpu))
			disable_delayed_work_sync(per_cpu_ptr(&refresh, cpu));
	/* Like mm/vmstat:online: on the CPU itself. */
	state = cpuhp_setup_state_nocalls_cpuslocked(CPUHP_AP_ONLINE_DYN, "mm/shadowmm:online", cpu_online_here,
						     cpu_going);
	cpus_read_unlock();
	if (state < 0) {
		cpuhp_remove_state_nocalls(hotplug);
		return state;
	}
	hotplug_online = state;
	WRITE_ONCE(running, true);
	schedule_delayed_work(&shepherd, round_jiffies_relative(HZ));
	return 0;
}

/* Ends all of it, and waits for what is under way. */
void shadowmm_workers_stop(void)
{
	unsigned int cpu;

	WRITE_ONCE(running, false);
	disable_delayed_work_sync(&shepherd);
	cpuhp_remove_state_nocalls(hotplug_online);
	cpuhp_remove_state_nocalls(hotplug);
	for_each_possible_cpu(cpu)
		disable_delayed_work_sync(per_cpu_ptr(&refresh, cpu));
}
