// SPDX-License-Identifier: GPL-2.0
/*
 * The files of /proc/shadowmm. C makes and removes the entries, because there
 * is no procfs in Rust yet; each file's text comes from shadowmm_proc_show().
 *
 *	/proc/shadowmm/		files[], in the order of core's `boot::Text`; the module's own last
 *		extfrag/	as /sys/kernel/debug/extfrag
 *		nodeN/		node_files[], in the order of core's `report::NodeFile`; as
 *				/sys/devices/system/node/nodeN, for each node that there is
 */
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
	"refusals",
	"failure",
	"slab_report",
};

static const char *const node_files[] = { "numastat", "vmstat", "meminfo" };

/* A file's number: its place in the table, and above it the number of its node plus one. */
#define FILE_BITS 8

/* Guards the two below; taken before the shadow's own lock. */
static DEFINE_MUTEX(lock);
static struct proc_dir_entry *shadowmm_dir;
static struct proc_dir_entry *node_dirs[64];

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
		if (!proc_create_single_data(names[i], 0400, dir, show, (void *)(node | i)))
			return false;
	return true;
}

static struct proc_dir_entry *make_node(int nid)
{
	struct proc_dir_entry *dir;
	char name[16];

	snprintf(name, sizeof(name), "node%d", nid);
	dir = proc_mkdir_mode(name, 0500, shadowmm_dir);
	if (dir && !make_files(dir, node_files, ARRAY_SIZE(node_files), nid)) {
		proc_remove(dir);
		return NULL;
	}
	return dir;
}

bool shadowmm_proc_create(void)
{
	struct proc_dir_entry *dir = proc_mkdir_mode("shadowmm", 0500, NULL);

	if (!dir)
		return false;
	if (!proc_mkdir_mode("extfrag", 0500, dir) ||
	    !make_files(dir, files, ARRAY_SIZE(files), -1)) {
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
	mutex_lock(&lock);
	proc_remove(shadowmm_dir);
	shadowmm_dir = NULL;
	memset(node_dirs, 0, sizeof(node_dirs));
	mutex_unlock(&lock);
}

void shadowmm_proc_update_nodes(void)
{
	unsigned int nid;
	u64 nodes;

	mutex_lock(&lock);
	nodes = shadowmm_dir ? shadowmm_proc_nodes() : 0;
	for (nid = 0; shadowmm_dir && nid < ARRAY_SIZE(node_dirs); nid++) {
		bool wanted = nodes >> nid & 1;

		if (!wanted && node_dirs[nid]) {
			proc_remove(node_dirs[nid]);
			node_dirs[nid] = NULL;
		} else if (wanted && !node_dirs[nid]) {
			/* Without memory for it the node goes without files. */
			node_dirs[nid] = make_node(nid);
		}
	}
	mutex_unlock(&lock);
}
