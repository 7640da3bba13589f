/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A window: the VMA of the host through which a process sees its shadow address
 * space. window.c has what the host's mm calls, and what is inline there; what it
 * means is said in mm/.
 */
#ifndef SHADOWMM_WINDOW_H
#define SHADOWMM_WINDOW_H

#include <linux/mm_types.h>
#include <linux/types.h>

struct file;

/* What came of a fault. */
enum {
	SHADOWMM_FAULT_DONE = 0,	/* the page is there: once more */
	SHADOWMM_FAULT_MAPERR = 1,	/* SIGSEGV: no VMA of the shadow's */
	SHADOWMM_FAULT_ACCERR = 2,	/* SIGSEGV: a VMA that does not allow that */
	SHADOWMM_FAULT_BUS = 3,		/* SIGBUS */
	SHADOWMM_FAULT_RETRY = 4,	/* once more, after signals */
	SHADOWMM_FAULT_HOST_OOM = 5,	/* the host has no memory for its table, and sees to that */
	SHADOWMM_FAULT_READ = 6,	/* once more, when the page in unread is read */
	SHADOWMM_FAULT_POISON = 7,	/* SIGBUS: the memory that it would be read from is broken */
};

enum { SHADOWMM_READ = 0, SHADOWMM_WRITE = 1, SHADOWMM_EXECUTE = 2 };

/* The fault that is served, if there is one, and the window's VMA. */
struct shadowmm_table {
	struct vm_area_struct *vma;
	struct vm_fault *vmf;
};

/* A page of a file that is to be read, and a reference to the file. */
struct shadowmm_unread {
	u64 number;
	u64 index;
};

/* The window of a process, while the host's mmap lock is held for reading. */
struct shadowmm_locked {
	struct mm_struct *mm;
	struct vm_area_struct *vma;
};

void shadowmm_window_setup(struct vm_area_struct *vma, void *window);
bool shadowmm_window_lock(struct shadowmm_locked *locked, const void *window, unsigned long start,
			  bool *interrupted);
void shadowmm_window_unlock(struct shadowmm_locked *locked);
int shadowmm_window_enter(const struct shadowmm_table *table, unsigned long addr, unsigned long pfn,
			  bool writable);
bool shadowmm_window_enter_huge(const struct shadowmm_table *table, unsigned long addr,
				unsigned long pfn, bool writable);
bool shadowmm_window_has_no_huge(const struct shadowmm_table *table, bool asked);
void shadowmm_window_zap(const struct shadowmm_table *table, unsigned long addr,
			 unsigned long size);

struct address_space *shadowmm_mapping_of(struct vm_area_struct *vma);
void shadowmm_mapping_zap(struct address_space *mapping, u64 addr, u64 size);

bool shadowmm_window_copy(const struct shadowmm_table *table, unsigned long addr, void *buf,
			  size_t len, bool write);

struct mm_struct *shadowmm_current_mm(void);
void shadowmm_mm_grab(struct mm_struct *mm);
void shadowmm_mm_drop(struct mm_struct *mm);
/* Of whom an mm is: false where nobody has it any more. */
struct shadowmm_process {
	unsigned int pid;
	short oom_score_adj;
	short pad;
	char comm[16];
};
bool shadowmm_mm_process(struct mm_struct *mm, struct shadowmm_process *process);
bool shadowmm_mm_kill(struct mm_struct *mm);
u32 shadowmm_uid_of(u32 pid);
u64 shadowmm_rlimit(unsigned int which, bool max);
/* Whether the CPUs have keys of protection. */
bool shadowmm_has_pkeys(void);
/* Whether the kernel maps memory by pages of 1 GiB where it can. */
bool shadowmm_has_gbpages(void);
bool shadowmm_mm_may_look(u32 uid);
u32 shadowmm_current_uid(void);

/* window_file.c */
struct shadowmm_file {
	u64 number;
	bool readable;
	bool writable;
	bool append;	/* nothing is written but at its end */
	bool noexec;
	bool huge;	/* of hugetlbfs */
	bool zero;	/* /dev/zero */
	bool pages;	/* private copies of them can be had */
};
/* What came of copying a page. */
enum {
	SHADOWMM_FILE_COPIED = 0,
	SHADOWMM_FILE_ENDED = 1,
	SHADOWMM_FILE_UNREAD = 2,	/* it is to be read first */
	SHADOWMM_FILE_POISONED = 3,	/* its memory is broken */
};
bool shadowmm_file_get(int fd, struct shadowmm_file *found);
int shadowmm_file_ask(u64 number, u64 offset, u64 len);
void shadowmm_file_ref(u64 number);
void shadowmm_file_put(u64 number);
void shadowmm_file_info(u64 number, u32 *dev, u64 *ino);
char *shadowmm_file_path(u64 number, char *room, size_t size);
unsigned int shadowmm_file_copy(u64 number, u64 index, unsigned long pfn);
bool shadowmm_file_may_know(u64 number);
bool shadowmm_file_resident(u64 number, u64 index);
int shadowmm_file_fetch(u64 number, u64 index);

/* procfs_mm.c */
struct shadowmm_space_dir;
struct proc_dir_entry;
struct seq_file;
bool shadowmm_proc_mm_create(struct proc_dir_entry *parent);
void shadowmm_proc_mm_remove(void);
struct shadowmm_space_dir *shadowmm_proc_space_add(unsigned int id);
void shadowmm_proc_space_remove(struct shadowmm_space_dir *dir);
/*
 * mm/proc.rs: writes file `file` of procfs_mm.c's table, or of one that is of VMAs what it says of
 * the first that ends behind `addr`, and where the next is to be looked for, ~0 behind the last;
 * fills entries of a pagemap from page `page` on, and says how many there were, 0 behind the last.
 */
int shadowmm_proc_space_show(struct seq_file *m, unsigned int file, unsigned int id);
int shadowmm_proc_space_vma(struct seq_file *m, unsigned int file, unsigned int id, u64 addr,
			    u64 *next);
int shadowmm_proc_pagemap(unsigned int id, u64 page, u64 *entries, size_t nr, bool frames);

/* mm/: what the host's mm wants of a window. */
unsigned int shadowmm_window_fault(void *window, struct shadowmm_table *table, unsigned long addr,
				   unsigned int access, bool tried, struct shadowmm_unread *unread);
void *shadowmm_window_fork(void *window, struct shadowmm_table *parent, struct mm_struct *child);
void shadowmm_window_close(void *window);
int shadowmm_window_access(void *window, struct shadowmm_table *table, unsigned long addr, u8 *buf,
			   size_t len, bool write);

#endif
