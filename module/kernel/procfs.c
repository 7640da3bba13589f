// SPDX-License-Identifier: GPL-2.0
/*
 * The files of /proc/shadowmm. C makes and removes the entries, because there
 * is no procfs in Rust yet; each file's text comes from shadowmm_proc_show().
 *
 *	/proc/shadowmm/		files[], in the order of core's `boot::Text`; the module's own last
 *		extfrag/	as /sys/kernel/debug/extfrag
 *		slab/		the caches; procfs_slab.c
 *		mm/		the address spaces; procfs_mm.c
 *		nodeN/		node_files[], in the order of core's `report::NodeFile`; as
 *				/sys/devices/system/node/nodeN, for each node that there is
 *		vm/		core's tunables, to be written, too; as /proc/sys/vm
 */
#include <linux/uaccess.h>

#include "bindings.h"

static const char *const files[] = {
	"e820",
	"iomem",
	"memblock",
	"nodes",
	"buddyinfo",
	"zoneinfo",
	"meminfo",
	"vmstat",
	"accounting",
	"pagetypeinfo",
	"cosmos",
	"extfrag/unusable_index",
	"extfrag/extfrag_index",
	"fragmentation",
	"fallbacks",
	"kmsob",
	"slabinfo",
	"refusals",
	"failure",
	"slab_report",
	"users",
};

static const char *const node_files[] = { "numastat", "vmstat", "meminfo" };

/* A file's number: its place in the table, and above it the number of its node plus one. */
#define FILE_BITS 8

/* Guards the two below; taken before the shadow's own lock. */
static DEFINE_MUTEX(lock);
static struct proc_dir_entry *shadowmm_dir;
static struct proc_dir_entry *node_dirs[64];

umode_t shadowmm_report_mode(umode_t mode)
{
	return shadowmm_params()->report_gid ? mode | (mode & 0500) >> 3 : mode;
}

struct proc_dir_entry *shadowmm_report(struct proc_dir_entry *entry)
{
	unsigned int gid = shadowmm_params()->report_gid;

	if (entry && gid)
		proc_set_user(entry, GLOBAL_ROOT_UID, KGIDT_INIT(gid));
	return entry;
}

struct proc_dir_entry *shadowmm_report_dir(const char *name, umode_t mode, struct proc_dir_entry *parent)
{
	return shadowmm_report(proc_mkdir_mode(name, shadowmm_report_mode(mode), parent));
}

static int show(struct seq_file *m, void *unused)
{
	unsigned long file = (unsigned long)m->private;

	return shadowmm_proc_show(m, file & ((1 << FILE_BITS) - 1), (int)(file >> FILE_BITS) - 1);
}

static bool make_files(struct proc_dir_entry *dir, const char *const *names, unsigned long nr,
		       int nid)
{
	unsigned long i, node = (unsigned long)(nid + 1) << FILE_BITS;

	for (i = 0; i < nr; i++)
		if (!shadowmm_report(proc_create_single_data(names[i], shadowmm_report_mode(0400), dir,
							     show, (void *)(node | i))))
			return false;
	return true;
}

static struct proc_dir_entry *make_node(int nid)
{
	struct proc_dir_entry *dir;
	char name[16];

	snprintf(name, sizeof(name), "node%d", nid);
	dir = shadowmm_report_dir(name, 0500, shadowmm_dir);
	if (dir && !make_files(dir, node_files, ARRAY_SIZE(node_files), nid)) {
		proc_remove(dir);
		return NULL;
	}
	return dir;
}

static int show_tunable(struct seq_file *m, void *unused)
{
	return shadowmm_tunable_show(m, (unsigned long)m->private);
}

static int open_tunable(struct inode *inode, struct file *file)
{
	return single_open(file, show_tunable, pde_data(inode));
}

/* As proc_sys_write() and do_proc_vec() with kernel.sysctl_writes_strict=1. */
static ssize_t write_tunable(struct file *file, const char __user *buf, size_t count, loff_t *ppos)
{
	unsigned int which = (unsigned long)pde_data(file_inode(file));
	size_t len = min_t(size_t, count, PAGE_SIZE - 1);
	ssize_t done = count;
	char *text;

	/* A value is written at once; what comes later is not looked at. */
	if (count && !*ppos) {
		text = memdup_user_nul(buf, len);
		if (IS_ERR(text))
			return PTR_ERR(text);
		done = shadowmm_tunable_write(which, text, len);
		kfree(text);
	}
	if (done > 0)
		*ppos += done;
	return done;
}

static const struct proc_ops tunable_ops = {
	.proc_open = open_tunable,
	.proc_read = seq_read,
	.proc_lseek = seq_lseek,
	.proc_write = write_tunable,
	.proc_release = single_release,
};

static bool make_tunables(struct proc_dir_entry *parent)
{
	struct proc_dir_entry *dir = shadowmm_report_dir("vm", 0500, parent);
	unsigned long which;
	char name[40];

	if (!dir)
		return false;
	for (which = 0; shadowmm_tunable_name(which, name, sizeof(name)); which++)
		if (!shadowmm_report(proc_create_data(name, shadowmm_report_mode(0600), dir, &tunable_ops,
						      (void *)which)))
			return false;
	return true;
}

bool shadowmm_proc_create(void)
{
	struct proc_dir_entry *dir = shadowmm_report_dir("shadowmm", 0511, NULL);

	if (!dir)
		return false;
	if (!shadowmm_removals_create()) {
		proc_remove(dir);
		return false;
	}
	if (!shadowmm_report_dir("extfrag", 0500, dir) || !make_tunables(dir) ||
	    !make_files(dir, files, ARRAY_SIZE(files), -1) || !shadowmm_proc_slab_create(dir) ||
	    !shadowmm_proc_mm_create(dir)) {
		shadowmm_removals_finish();
		proc_remove(dir);
		return false;
	}
	mutex_lock(&lock);
	shadowmm_dir = dir;
	mutex_unlock(&lock);
	return true;
}

void shadowmm_proc_remove(void)
{
	struct proc_dir_entry *dir;

	shadowmm_proc_slab_remove();
	shadowmm_proc_mm_remove();
	mutex_lock(&lock);
	dir = shadowmm_dir;
	shadowmm_dir = NULL;
	memset(node_dirs, 0, sizeof(node_dirs));
	mutex_unlock(&lock);
	/* What goes by itself is below this. */
	shadowmm_removals_finish();
	proc_remove(dir);
}

void shadowmm_proc_update_nodes(void)
{
	unsigned long end = shadowmm_removal_end();
	unsigned int nid;
	u64 nodes;

	mutex_lock(&lock);
	nodes = shadowmm_dir ? shadowmm_proc_nodes() : 0;
	for (nid = 0; shadowmm_dir && nid < ARRAY_SIZE(node_dirs); nid++) {
		bool wanted = nodes >> nid & 1;

		if (!wanted && node_dirs[nid]) {
			shadowmm_remove_entry(node_dirs[nid], end);
			node_dirs[nid] = NULL;
		} else if (wanted && !node_dirs[nid]) {
			/* Without memory for it the node goes without files. */
			node_dirs[nid] = make_node(nid);
		}
	}
	mutex_unlock(&lock);
}
