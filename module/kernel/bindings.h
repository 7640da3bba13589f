/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the glue needs of the kernel and kernel::bindings does not have.
 *
 * bindgen reads this file; bindgen_parameters lists what is taken of it. The
 * functions below are those of helpers.c, params.c, procfs.c and so on; host_zone.h and
 * host_slab.h have those of the differential test.
 */
#ifndef SHADOWMM_BINDINGS_H
#define SHADOWMM_BINDINGS_H

#include <linux/cma.h>
#include <linux/device/faux.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-mapping.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/proc_fs.h>
#include <linux/percpu-rwsem.h>
#include <linux/rwsem.h>
#include <linux/seq_file.h>
#include <linux/spinlock.h>

#include "shadowmm.h"

#include "trace/shadowmm.h"
#include "host_slab.h"
#include "host_zone.h"
#include "window.h"

/* helpers.c */
unsigned long shadowmm_page_to_pfn(const struct page *page);
void *shadowmm_page_address(const struct page *page);
int shadowmm_page_to_nid(const struct page *page);
struct page *shadowmm_alloc_contig(unsigned long pages, int nid);
int shadowmm_next_node_with_memory(int nid);
unsigned long shadowmm_node_present_pages(int nid);
unsigned long shadowmm_node_cma_pages(int nid);
bool shadowmm_guest_mem_encrypted(void);
struct page *shadowmm_dma_alloc(struct device *dev, size_t size, dma_addr_t *handle);
void shadowmm_dma_free(struct device *dev, size_t size, struct page *page, dma_addr_t handle);
void shadowmm_set_dev_node(struct device *dev, int nid);
int shadowmm_get_cpu(void);
void shadowmm_put_cpu(void);
void shadowmm_lock_word(unsigned int *word);
void shadowmm_unlock_word(unsigned int *word);
void shadowmm_set_cpu_node(unsigned int cpu, int nid);
void shadowmm_set_cpu_local(unsigned int cpu, const void *local);
const void *shadowmm_cpu_local(unsigned int cpu);
void shadowmm_set_cpu_near(unsigned int cpu, const void *near);
const void *shadowmm_cpu_near(unsigned int cpu);
bool shadowmm_cpu_online(unsigned int cpu);
unsigned int shadowmm_nr_cpu_ids(void);
unsigned int shadowmm_nr_online_cpus(void);
void shadowmm_spin_lock_init(spinlock_t *lock);
void shadowmm_init_rwsem(struct rw_semaphore *sem);
int shadowmm_percpu_init_rwsem(struct percpu_rw_semaphore *sem);
void shadowmm_percpu_down_read(struct percpu_rw_semaphore *sem);
void shadowmm_percpu_up_read(struct percpu_rw_semaphore *sem);
void shadowmm_wait_while(const void *word, bool (*wait)(void *), void *arg);
void shadowmm_wake(const void *word);
bool shadowmm_access_ok(u64 addr, u64 size);
unsigned int shadowmm_current_pid(void);
u64 shadowmm_jiffies(void);
unsigned long shadowmm_caller(void);
unsigned int shadowmm_save_stack(u64 *entries, unsigned int nr);
size_t shadowmm_symbol(char *text, size_t size, u64 addr);
const char *shadowmm_kernel_release(void);

extern const unsigned int shadowmm_struct_page_size;

/* bench.c: SHADOWMM_BENCH_INIT_ON_ALLOC and the like. */
unsigned int shadowmm_bench_host(void);
int shadowmm_bench_node(void);
long shadowmm_bench_on_cpu(unsigned int cpu, long (*job)(void *), void *arg);

/* bench_mm.c */
struct maple_tree *shadowmm_bench_tree(void);
int shadowmm_bench_tree_add(struct maple_tree *tree, unsigned long start, unsigned long end);
size_t shadowmm_bench_tree_walk(struct maple_tree *tree, const u64 *addrs, size_t nr);
void shadowmm_bench_tree_free(struct maple_tree *tree);

/* bench_slab.c */
struct kmem_cache *shadowmm_bench_cache(const char *name, unsigned int size);
long shadowmm_bench_read(const char *path);

/* params.c; the tunables in the order of core's table. */
#define SHADOWMM_NR_TUNABLES 8
/* Pages, objects, address spaces, VMAs: the order of core's `quota::Kind`. */
#define SHADOWMM_NR_LIMITS 4
struct shadowmm_params {
	bool autoboot;
	unsigned int region_mb;
	char *source;
	char *zones;
	char *crashkernel;
	char *allocator;
	char *objects;
	bool pagesets;
	bool slab_nomerge;
	int slab_min_order;	/* -1: none */
	int slab_max_order;
	unsigned int slab_min_objects;
	char *slab_debug;	/* NULL: none */
	bool page_poison;
	/* As the files of /proc/shadowmm/vm take them; NULL where the boot decides. */
	char *tunables[SHADOWMM_NR_TUNABLES];
	/* These may be written to later. 0: no limit of a file's own, a share for a user. */
	unsigned long file_limits[SHADOWMM_NR_LIMITS];
	unsigned long user_limits[SHADOWMM_NR_LIMITS];
	unsigned short device_mode;
	unsigned int report_gid;
};

const struct shadowmm_params *shadowmm_params(void);

/* poison.c: whether free pages are filled, and memory that nobody may touch. */
struct shadowmm_switch {
	struct static_key_false key;
};
extern struct shadowmm_switch shadowmm_page_poison;
void shadowmm_page_poison_on(void);
void shadowmm_watch(const void *memory, size_t bytes, bool free);

/* workers.c */
int shadowmm_workers_start(void);
void shadowmm_workers_stop(void);
/* workers.rs: what they do. */
bool shadowmm_worker_refresh(void);
bool shadowmm_worker_wants_refresh(unsigned int cpu);
void shadowmm_worker_cpu_online(unsigned int cpu);
void shadowmm_worker_cpu_dead(unsigned int cpu);

/* daemons.c */
enum { SHADOWMM_KSWAPD = 0, SHADOWMM_KCOMPACTD = 1, SHADOWMM_NR_DAEMONS = 2 };
int shadowmm_daemon_start(unsigned int kind, int nid);
void shadowmm_daemon_stop(unsigned int kind, int nid);
bool shadowmm_daemon_runs(unsigned int kind, int nid);
void shadowmm_daemon_wake(unsigned int kind, int nid);
bool shadowmm_daemon_rest(unsigned int kind, int nid, long ms);
bool shadowmm_daemon_is_to_end(void);
bool shadowmm_task_is_ending(void);
bool shadowmm_task_is_exiting(void);
bool shadowmm_need_resched(void);
void shadowmm_cond_resched(void);
/* daemons.rs: the body of a thread. */
void shadowmm_daemon_run(unsigned int kind, int nid);

/* procfs.c */
/*
 * What is made in /proc/shadowmm is root's, and may be read by the group that report_gid=
 * names: what the mode gives the owner to read it gives the group, too.
 */
umode_t shadowmm_report_mode(umode_t mode);
struct proc_dir_entry *shadowmm_report(struct proc_dir_entry *entry);
struct proc_dir_entry *shadowmm_report_dir(const char *name, umode_t mode, struct proc_dir_entry *parent);
struct work_struct;
bool shadowmm_removals_create(void);
void shadowmm_removals_finish(void);
unsigned long shadowmm_removal_end(void);
void shadowmm_remove_entry(struct proc_dir_entry *entry, unsigned long end);
void shadowmm_remove_by(struct work_struct *work);

bool shadowmm_proc_create(void);
void shadowmm_proc_remove(void);
void shadowmm_proc_update_nodes(void);
/*
 * procfs.rs: writes report `file` of procfs.c's table, of a node or for -1 of all, and
 * returns 0 or a negative errno; says which nodes there are.
 */
int shadowmm_proc_show(struct seq_file *m, unsigned int file, int nid);
u64 shadowmm_proc_nodes(void);
/*
 * procfs.rs: the name of a tunable of core's table, or false behind the last; its value; and
 * a new one, of which is said how many bytes of the text were read, or a negative errno.
 */
bool shadowmm_tunable_name(unsigned int which, char *name, size_t size);
int shadowmm_tunable_show(struct seq_file *m, unsigned int which);
ssize_t shadowmm_tunable_write(unsigned int which, const char *text, size_t len);

/* procfs_slab.c */
bool shadowmm_proc_slab_create(struct proc_dir_entry *parent);
void shadowmm_proc_slab_remove(void);
void shadowmm_proc_cache_add(unsigned int cache, const char *name);
void shadowmm_proc_cache_link(unsigned int cache, const char *alias, const char *name);
void shadowmm_proc_cache_remove(unsigned int cache);
void shadowmm_proc_name_caches_soon(void);
/* procfs.rs: adds those that are not there yet. */
void shadowmm_proc_name_caches(void);
/* procfs.rs: writes a file of a cache; does what a number written to one says. */
int shadowmm_proc_cache_show(struct seq_file *m, unsigned int file, unsigned int cache);
int shadowmm_proc_cache_write(unsigned int file, unsigned int cache, unsigned long value);

#endif
