// SPDX-License-Identifier: GPL-2.0
/*
 * The files of /proc/shadowmm. C makes and removes the entries, because there
 * is no procfs in Rust yet; each file's text comes from shadowmm_proc_show().
 *
 * The order of the table is that of core's `boot::Text`; refusals come last.
 */
#include "bindings.h"

static const char *const files[] = {
	"e820",	    "iomem",	"memblock", "nodes",	  "buddyinfo",
	"zoneinfo", "meminfo",	"vmstat",   "accounting", "pagetypeinfo",
	"cosmos",   "refusals",
};

static int show(struct seq_file *m, void *unused)
{
	return shadowmm_proc_show(m, (unsigned long)m->private);
}

struct proc_dir_entry *shadowmm_proc_create(void)
{
	struct proc_dir_entry *dir = proc_mkdir_mode("shadowmm", 0500, NULL);
	unsigned long i;

	if (!dir)
		return NULL;
	for (i = 0; i < ARRAY_SIZE(files); i++) {
		if (!proc_create_single_data(files[i], 0400, dir, show, (void *)i)) {
			proc_remove(dir);
			return NULL;
		}
	}
	return dir;
}

void shadowmm_proc_remove(struct proc_dir_entry *dir)
{
	proc_remove(dir);
}
