// SPDX-License-Identifier: GPL-2.0
/*
 * Entries of /proc go. proc_remove() waits for whoever is in the middle of a read there, and he may himself wait
 * for somebody who never answers, where what is read is to go to memory that has yet to come from a file. So
 * each is waited for by a worker of its own: nothing but unloading waits for as long as that takes.
 */
#include <linux/completion.h>
#include <linux/jiffies.h>
#include <linux/refcount.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "bindings.h"

/* Those that somebody waits for never come behind the others, whose readers are any user's. */
static struct workqueue_struct *removals, *others;

/* The worker has it, and whoever waits. */
struct removal {
	struct work_struct work;
	struct proc_dir_entry *entry;
	struct completion begun, done;
	refcount_t users;
};

static void put(struct removal *removal)
{
	if (refcount_dec_and_test(&removal->users))
		kfree(removal);
}

static void remove_entry(struct work_struct *work)
{
	struct removal *removal = container_of(work, struct removal, work);

	complete(&removal->begun);
	proc_remove(removal->entry);
	complete(&removal->done);
	put(removal);
}

/* Until when the removal of some is waited for that begins now. */
unsigned long shadowmm_removal_end(void)
{
	return jiffies + HZ;
}

/*
 * Has an entry go, and waits until nobody reads there, but not beyond `end`: its name is free by then,
 * for that is the first that proc_remove() does. Where a directory of that name is made while somebody still
 * reads in the old one, it is seen when he goes on: until then the VFS knows the name.
 */
void shadowmm_remove_entry(struct proc_dir_entry *entry, unsigned long end)
{
	struct removal *removal = entry ? kmalloc_obj(*removal) : NULL;
	unsigned long now;

	if (!removal) {
		proc_remove(entry);
		return;
	}
	INIT_WORK(&removal->work, remove_entry);
	removal->entry = entry;
	init_completion(&removal->begun);
	init_completion(&removal->done);
	refcount_set(&removal->users, 2);
	queue_work(removals, &removal->work);
	wait_for_completion(&removal->begun);
	now = jiffies;
	/* Some time in any case. */
	wait_for_completion_timeout(&removal->done, time_before(now, end) ? end - now : HZ / 50);
	put(removal);
}

/* Has the work done by a worker that may wait for as long as it takes; nobody waits for it. */
void shadowmm_remove_by(struct work_struct *work)
{
	queue_work(others, work);
}

bool shadowmm_removals_create(void)
{
	/* As many at once as there may be: each that waits waits for a task that can't go on either. */
	removals = alloc_workqueue("shadowmm_proc", WQ_UNBOUND, WQ_UNBOUND_MAX_ACTIVE);
	if (!removals)
		return false;
	others = alloc_workqueue("shadowmm_mm", WQ_UNBOUND, WQ_UNBOUND_MAX_ACTIVE);
	if (others)
		return true;
	destroy_workqueue(removals);
	return false;
}

/*
 * All that has begun to go is gone behind this. Who still reads is waited for: proc_remove() does that for
 * every file of every module, and nothing ends it but the reader's going on.
 */
void shadowmm_removals_finish(void)
{
	destroy_workqueue(others);
	destroy_workqueue(removals);
}
