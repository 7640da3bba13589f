// SPDX-License-Identifier: GPL-2.0
/*
 * /proc/shadowmm/mm/ID/: an address space as /proc/PID has a process's. A directory
 * comes with a window and goes with it; who may read is who may read that of the
 * process: its user, and whoever has CAP_SYS_PTRACE.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

#include "bindings.h"

struct shadowmm_space_dir {
	struct work_struct removal;
	struct proc_dir_entry *entry;
};

/*
 * Directories that are going: each waits for whoever reads in it. A user's windows are limited, but these
 * outlive them, for as long as he has his readers wait; so with many of them no new ones are made.
 */
#define GOING_MAX 256
static atomic_t going;

/* Whether directories are still to be removed one by one: guards the next. */
static DEFINE_SPINLOCK(mm_lock);
static struct proc_dir_entry *mm_dir;

#define FILE_BITS 2

/* ptrace_may_access() is not exported. */
static bool may_look(struct inode *inode)
{
	return uid_eq(current_fsuid(), inode->i_uid) || capable(CAP_SYS_PTRACE);
}

/*
 * maps and smaps: a VMA is a record, and the position is the address from which on it is looked
 * for (m_start(), proc_get_vma()). So a text is never held as a whole, however many VMAs there
 * are; what it says of two need not have been so at the same time.
 */
struct vmas {
	unsigned long file;
	u64 next;
};

/* Behind the last VMA (SENTINEL_VMA_END). */
#define BEHIND_ALL (-1)

static void *start_vmas(struct seq_file *m, loff_t *pos)
{
	return *pos == BEHIND_ALL ? NULL : pos;
}

static void *next_vma(struct seq_file *m, void *at, loff_t *pos)
{
	struct vmas *vmas = m->private;

	*pos = vmas->next;
	return start_vmas(m, pos);
}

static void stop_vmas(struct seq_file *m, void *at)
{
}

static int show_vma(struct seq_file *m, void *at)
{
	struct vmas *vmas = m->private;
	const loff_t *pos = at;

	/* One read may be behind all of them. */
	if (fatal_signal_pending(current))
		return -EINTR;
	return shadowmm_proc_space_vma(m, vmas->file & ((1 << FILE_BITS) - 1), vmas->file >> FILE_BITS,
				       *pos, &vmas->next);
}

static const struct seq_operations vma_records = {
	.start = start_vmas,
	.next = next_vma,
	.stop = stop_vmas,
	.show = show_vma,
};

static int open_vmas(struct inode *inode, struct file *file)
{
	struct vmas *vmas;

	if (!may_look(inode))
		return -EACCES;
	vmas = __seq_open_private(file, &vma_records, sizeof(*vmas));
	if (!vmas)
		return -ENOMEM;
	vmas->file = (unsigned long)pde_data(inode);
	return 0;
}

static const struct proc_ops vmas_ops = {
	.proc_open = open_vmas,
	.proc_read = seq_read,
	.proc_lseek = seq_lseek,
	.proc_release = seq_release_private,
};

/* The others are short, and written at once. */
static int show(struct seq_file *m, void *unused)
{
	unsigned long file = (unsigned long)m->private;

	return shadowmm_proc_space_show(m, file & ((1 << FILE_BITS) - 1), file >> FILE_BITS);
}

static int open_text(struct inode *inode, struct file *file)
{
	return may_look(inode) ? single_open(file, show, pde_data(inode)) : -EACCES;
}

static const struct proc_ops text_ops = {
	.proc_open = open_text,
	.proc_read = seq_read,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
};

/* In the order of mm/proc.rs; pagemap is none of these. */
static const struct {
	const char *name;
	const struct proc_ops *ops;
} space_files[] = {
	{ "maps", &vmas_ops },
	{ "smaps", &vmas_ops },
	{ "smaps_rollup", &text_ops },
	{ "status", &text_ops },
};

static int open_pagemap(struct inode *inode, struct file *file)
{
	if (!may_look(inode))
		return -EACCES;
	/* As pagemap_open(): who sees frames is decided here. */
	file->private_data = (void *)(unsigned long)capable(CAP_SYS_ADMIN);
	return 0;
}

#define ENTRIES (PAGE_SIZE / sizeof(u64))

static ssize_t read_pagemap(struct file *file, char __user *buf, size_t count, loff_t *ppos)
{
	unsigned int id = (unsigned long)pde_data(file_inode(file));
	bool frames = file->private_data;
	ssize_t done = 0;
	u64 *entries;

	if (*ppos < 0 || (*ppos | count) % sizeof(u64))
		return -EINVAL;
	entries = (u64 *)__get_free_page(GFP_KERNEL);
	if (!entries)
		return -ENOMEM;
	while (count) {
		size_t nr = min(count / sizeof(u64), ENTRIES);
		int had;

		/* One read may be of 2 GiB. */
		if (fatal_signal_pending(current)) {
			done = done ?: -EINTR;
			break;
		}
		cond_resched();
		had = shadowmm_proc_pagemap(id, *ppos / sizeof(u64), entries, nr, frames);
		if (had <= 0) {
			/* As pagemap_read(): of one that is gone there is nothing. */
			done = done ?: had == -ESRCH ? 0 : had;
			break;
		}
		if (copy_to_user(buf, entries, had * sizeof(u64))) {
			done = done ?: -EFAULT;
			break;
		}
		buf += had * sizeof(u64);
		count -= had * sizeof(u64);
		*ppos += had * sizeof(u64);
		done += had * sizeof(u64);
	}
	free_page((unsigned long)entries);
	return done;
}

static loff_t seek_pagemap(struct file *file, loff_t offset, int whence)
{
	/* As mem_lseek(): whence is 0 or 1, and the place may be any. */
	switch (whence) {
	case SEEK_SET:
		file->f_pos = offset;
		break;
	case SEEK_CUR:
		file->f_pos += offset;
		break;
	default:
		return -EINVAL;
	}
	return file->f_pos;
}

static const struct proc_ops pagemap_ops = {
	.proc_open = open_pagemap,
	.proc_read = read_pagemap,
	.proc_lseek = seek_pagemap,
};

static bool own(struct proc_dir_entry *entry)
{
	if (entry)
		proc_set_user(entry, current_euid(), current_egid());
	return entry;
}

/*
 * Makes the directory of an address space; NULL where that can't be: then it has none.
 * Waits for nobody, so the mmap lock may be held.
 */
struct shadowmm_space_dir *shadowmm_proc_space_add(unsigned int id)
{
	struct shadowmm_space_dir *dir = kzalloc(sizeof(*dir), GFP_KERNEL);
	unsigned long i, data = (unsigned long)id << FILE_BITS;
	char name[16];
	bool made;

	if (!dir || !mm_dir || atomic_read(&going) >= GOING_MAX) {
		kfree(dir);
		return NULL;
	}
	snprintf(name, sizeof(name), "%u", id);
	dir->entry = proc_mkdir_mode(name, 0555, mm_dir);
	made = own(dir->entry);
	for (i = 0; made && i < ARRAY_SIZE(space_files); i++)
		made = own(proc_create_data(space_files[i].name, 0444, dir->entry,
					    space_files[i].ops, (void *)(data | i)));
	made = made && own(proc_create_data("pagemap", 0400, dir->entry, &pagemap_ops,
					    (void *)(unsigned long)id));
	if (made)
		return dir;
	/* Somebody may read in what there is of it already. */
	shadowmm_proc_space_remove(dir);
	return NULL;
}

static void remove_dir(struct work_struct *work)
{
	struct shadowmm_space_dir *dir = container_of(work, struct shadowmm_space_dir, removal);

	proc_remove(dir->entry);
	kfree(dir);
	atomic_dec(&going);
}

/*
 * Has a directory go, soon: whoever reads in it is waited for, and may himself wait for
 * the mmap lock that the caller has (procfs_remove.c).
 */
void shadowmm_proc_space_remove(struct shadowmm_space_dir *dir)
{
	bool stays;

	if (!dir)
		return;
	spin_lock(&mm_lock);
	stays = mm_dir;
	if (stays) {
		atomic_inc(&going);
		INIT_WORK(&dir->removal, remove_dir);
		shadowmm_remove_by(&dir->removal);
	}
	spin_unlock(&mm_lock);
	if (!stays)
		/* Who reads in it is the last to have it, and it goes with all others. */
		kfree(dir);
}

bool shadowmm_proc_mm_create(struct proc_dir_entry *parent)
{
	mm_dir = proc_mkdir_mode("mm", 0555, parent);
	return mm_dir;
}

/* There is no window any more, and no directory goes by itself from now on. */
void shadowmm_proc_mm_remove(void)
{
	spin_lock(&mm_lock);
	mm_dir = NULL;
	spin_unlock(&mm_lock);
}
