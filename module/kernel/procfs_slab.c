// SPDX-License-Identifier: GPL-2.0
/*
 * The directories of caches, as /sys/kernel/slab has them:
 *
 *	/proc/shadowmm/slab/
 *		NAME/		cache_files[], in the order of core's `report::CacheFile`
 *		ALIAS -> NAME	another name of the same cache
 *
 * A name may be given to two caches, when one of them is shared: the directory of that name stays, and
 * of two links the newer one (sysfs_slab_alias()).
 *
 * What is in the files comes from shadowmm_proc_cache_show(), what is written to
 * them goes to shadowmm_proc_cache_write().
 */
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "bindings.h"

static const struct {
	const char *name;
	bool writable;
} cache_files[] = {
	{ "slab_size" },	  { "object_size" },	{ "objs_per_slab" },
	{ "order" },		  { "sheaf_capacity" }, { "min_partial", true },
	{ "cpu_partial" },	  { "objects_partial" }, { "partial" },
	{ "cpu_slabs" },	  { "ctor" },		{ "aliases" },
	{ "align" },		  { "hwcache_align" },	{ "reclaim_account" },
	{ "destroy_by_rcu" },	  { "shrink", true },	{ "slabs_cpu_partial" },
	{ "total_objects" },	  { "objects" },	{ "slabs" },
	{ "sanity_checks" },	  { "trace" },		{ "red_zone" },
	{ "poison" },		  { "store_user" },	{ "validate", true },
	{ "cache_dma" },	  { "usersize" },	{ "alloc_fastpath" },
	{ "alloc_slowpath" },	  { "free_fastpath" },	{ "free_slowpath" },
	{ "alloc_slab" },	  { "free_slab" },	{ "order_fallback" },
	{ "sheaf_refill" },	  { "sheaf_flush" },
	/* Not core's: what debugging has found, and the files of /sys/kernel/debug/slab. */
	{ "findings" },		  { "alloc_traces" },	{ "free_traces" },
};

/* A file's number: its place in the table, and above it the number of its cache. */
#define FILE_BITS 8

/* A directory or a link, and the number of its cache. */
struct entry {
	struct list_head list;
	struct proc_dir_entry *pde;
	unsigned int cache;
	bool link;
	char name[SHADOWMM_CACHE_NAME];
};

/* Guards all below. */
static DEFINE_MUTEX(lock);
static struct proc_dir_entry *slab_dir;
/* Directories at the head, links at the tail: a link goes before what it leads to. */
static LIST_HEAD(entries);

static int show(struct seq_file *m, void *unused)
{
	unsigned long file = (unsigned long)m->private;

	return shadowmm_proc_cache_show(m, file & ((1 << FILE_BITS) - 1), file >> FILE_BITS);
}

static int open(struct inode *inode, struct file *file)
{
	return single_open(file, show, pde_data(inode));
}

static ssize_t write(struct file *file, const char __user *buf, size_t count, loff_t *pos)
{
	unsigned long number = (unsigned long)pde_data(file_inode(file)), value;
	int error = kstrtoul_from_user(buf, count, 10, &value);

	if (!error)
		error = shadowmm_proc_cache_write(number & ((1 << FILE_BITS) - 1), number >> FILE_BITS, value);
	return error ?: count;
}

static const struct proc_ops writable_ops = {
	.proc_open = open,
	.proc_read = seq_read,
	.proc_lseek = seq_lseek,
	.proc_write = write,
	.proc_release = single_release,
};

static bool make_files(struct proc_dir_entry *dir, unsigned int cache)
{
	unsigned long i;

	for (i = 0; i < ARRAY_SIZE(cache_files); i++) {
		void *data = (void *)((unsigned long)cache << FILE_BITS | i);
		const char *name = cache_files[i].name;
		struct proc_dir_entry *pde;

		if (cache_files[i].writable)
			pde = proc_create_data(name, shadowmm_report_mode(0600), dir, &writable_ops, data);
		else
			pde = proc_create_single_data(name, shadowmm_report_mode(0400), dir, show, data);
		if (!shadowmm_report(pde))
			return false;
	}
	return true;
}

/* Keeps an entry to be removed; without memory for that there is none. */
static bool keep(struct proc_dir_entry *pde, unsigned int cache, const char *name, bool link)
{
	struct entry *entry = kmalloc_obj(*entry);

	if (!entry)
		return false;
	entry->pde = pde;
	entry->cache = cache;
	entry->link = link;
	strscpy(entry->name, name);
	if (link)
		list_add_tail(&entry->list, &entries);
	else
		list_add(&entry->list, &entries);
	return true;
}

static void forget(struct entry *entry, unsigned long end)
{
	shadowmm_remove_entry(entry->pde, end);
	list_del(&entry->list);
	kfree(entry);
}

/* Whether there is room for the name: a link makes way, a directory does not. */
static bool make_way(const char *name)
{
	struct entry *entry;

	list_for_each_entry(entry, &entries, list) {
		if (strcmp(entry->name, name))
			continue;
		if (!entry->link)
			return false;
		forget(entry, shadowmm_removal_end());
		return true;
	}
	return true;
}

bool shadowmm_proc_slab_create(struct proc_dir_entry *parent)
{
	struct proc_dir_entry *dir = shadowmm_report_dir("slab", 0500, parent);

	mutex_lock(&lock);
	slab_dir = dir;
	mutex_unlock(&lock);
	return dir;
}

static void name_caches(struct work_struct *work)
{
	shadowmm_proc_name_caches();
}

static DECLARE_WORK(naming, name_caches);

/* Not once shadowmm_proc_slab_remove() is called. */
void shadowmm_proc_name_caches_soon(void)
{
	queue_work(system_dfl_wq, &naming);
}

/* The directory itself goes with its parent. */
void shadowmm_proc_slab_remove(void)
{
	cancel_work_sync(&naming);
	mutex_lock(&lock);
	slab_dir = NULL;
	mutex_unlock(&lock);
	shadowmm_proc_cache_remove(0);
}

void shadowmm_proc_cache_add(unsigned int cache, const char *name)
{
	struct proc_dir_entry *dir;

	mutex_lock(&lock);
	if (slab_dir && make_way(name))
		dir = shadowmm_report_dir(name, 0500, slab_dir);
	else
		dir = NULL;
	/* Without memory for it the cache goes without files. */
	if (dir && (!make_files(dir, cache) || !keep(dir, cache, name, false)))
		proc_remove(dir);
	mutex_unlock(&lock);
}

void shadowmm_proc_cache_link(unsigned int cache, const char *alias, const char *name)
{
	struct proc_dir_entry *link;

	mutex_lock(&lock);
	link = slab_dir && make_way(alias) ? proc_symlink(alias, slab_dir, name) : NULL;
	if (link && !keep(link, cache, alias, true))
		proc_remove(link);
	mutex_unlock(&lock);
}

/* The cache's directory and links, or with 0 all. Waits for those who are reading, but not for long. */
void shadowmm_proc_cache_remove(unsigned int cache)
{
	unsigned long end = shadowmm_removal_end();
	struct entry *entry, *next;

	mutex_lock(&lock);
	list_for_each_entry_safe_reverse(entry, next, &entries, list) {
		if (!cache || entry->cache == cache)
			forget(entry, end);
	}
	mutex_unlock(&lock);
}
