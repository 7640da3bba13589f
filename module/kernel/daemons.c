// SPDX-License-Identifier: GPL-2.0
/*
 * The threads of the shadow's nodes: one for background reclaim, one for background compaction.
 * What they do is core's, and daemons.rs says so; here they are made, rest, are woken and end.
 */
#include <linux/kthread.h>
#include <linux/sched/signal.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "bindings.h"

struct daemon {
	struct task_struct *task;
	wait_queue_head_t wait;
	bool woken;
};

static struct daemon daemons[SHADOWMM_NR_DAEMONS][SHADOWMM_MAX_NODES];
static const char *const names[SHADOWMM_NR_DAEMONS] = { "shadowmm_kswapd", "shadowmm_kcompactd" };

static struct daemon *find(unsigned int kind, int nid)
{
	if (kind >= SHADOWMM_NR_DAEMONS || nid < 0 || nid >= SHADOWMM_MAX_NODES)
		return NULL;
	return &daemons[kind][nid];
}

static int run(void *daemon)
{
	unsigned long number = (struct daemon *)daemon - &daemons[0][0];

	shadowmm_daemon_run(number / SHADOWMM_MAX_NODES, number % SHADOWMM_MAX_NODES);
	return 0;
}

/* A thread that is to be made. */
struct making {
	struct work_struct work;
	unsigned int kind;
	int nid;
	struct task_struct *task;
};

static void make(struct work_struct *work)
{
	struct making *making = container_of(work, struct making, work);

	making->task = kthread_create(run, find(making->kind, making->nid), "%s%d", names[making->kind], making->nid);
}

/*
 * Starts the thread, if it does not run: 0 or a negative errno. Not beside itself or the next.
 * A worker makes it: kthread_create() refuses that to who is about to be killed, and the next one would be without it.
 */
int shadowmm_daemon_start(unsigned int kind, int nid)
{
	struct making making = { .kind = kind, .nid = nid };
	struct daemon *daemon = find(kind, nid);

	if (!daemon)
		return -EINVAL;
	if (daemon->task)
		return 0;
	init_waitqueue_head(&daemon->wait);
	daemon->woken = false;
	INIT_WORK_ONSTACK(&making.work, make);
	schedule_work(&making.work);
	flush_work(&making.work);
	destroy_work_on_stack(&making.work);
	if (IS_ERR(making.task))
		return PTR_ERR(making.task);
	smp_store_release(&daemon->task, making.task);
	wake_up_process(making.task);
	return 0;
}

/* Ends the thread, if it runs, and waits for that. */
void shadowmm_daemon_stop(unsigned int kind, int nid)
{
	struct daemon *daemon = find(kind, nid);

	if (daemon && daemon->task) {
		kthread_stop(daemon->task);
		WRITE_ONCE(daemon->task, NULL);
	}
}

bool shadowmm_daemon_runs(unsigned int kind, int nid)
{
	struct daemon *daemon = find(kind, nid);

	return daemon && smp_load_acquire(&daemon->task);
}

/* Wakes the thread, if it runs. From anywhere. */
void shadowmm_daemon_wake(unsigned int kind, int nid)
{
	if (shadowmm_daemon_runs(kind, nid)) {
		struct daemon *daemon = find(kind, nid);

		WRITE_ONCE(daemon->woken, true);
		wake_up(&daemon->wait);
	}
}

/*
 * The thread itself: rests so many milliseconds (below 0: for ever), until it is woken or to end.
 * Whether it was woken.
 */
bool shadowmm_daemon_rest(unsigned int kind, int nid, long ms)
{
	struct daemon *daemon = find(kind, nid);

	if (ms < 0)
		wait_event_idle(daemon->wait, READ_ONCE(daemon->woken) || kthread_should_stop());
	else
		wait_event_idle_timeout(daemon->wait, READ_ONCE(daemon->woken) || kthread_should_stop(),
					msecs_to_jiffies(ms));
	return xchg(&daemon->woken, false);
}

bool shadowmm_daemon_is_to_end(void)
{
	return kthread_should_stop();
}

/* Whether the running task is about to be killed, or the running thread is to end. */
bool shadowmm_task_is_ending(void)
{
	return current->flags & PF_KTHREAD ? kthread_should_stop() : fatal_signal_pending(current);
}

/* Its SIGKILL was taken from the queue before: fatal_signal_pending() does not know any more. */
bool shadowmm_task_is_exiting(void)
{
	return current->flags & PF_EXITING;
}

bool shadowmm_need_resched(void)
{
	return need_resched();
}

void shadowmm_cond_resched(void)
{
	cond_resched();
}
