/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The tracepoints of the system shadowmm: Linux's own of include/trace/events/
 * {kmem,compaction,vmscan}.h, with their names, fields and texts, for what
 * happens in the shadow.
 *
 * Page frames are the shadow's. There is no `page=` in the texts, because there
 * is no struct page. There are no memory cgroups either: memcg_id is 0.
 *
 * trace.rs asks for each one's static key and hands it plain numbers.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM shadowmm

#if !defined(SHADOWMM_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define SHADOWMM_TRACE_H

#include <linux/compaction.h>
#include <linux/gfp.h>
#include <linux/mmzone.h>
#include <linux/tracepoint.h>
#include <linux/types.h>
#include <trace/events/mmflags.h>

/* ---- pages ---------------------------------------------------------------- */

/* trace.rs: somebody begins or ends to listen for pages. */
int shadowmm_trace_reg(void);
void shadowmm_trace_unreg(void);

/*
 * Who listens to these two is told of every page: core's short ways, which tell
 * nothing, are closed meanwhile. pfn is -1 for a request that failed.
 */
TRACE_EVENT_FN(mm_page_alloc,
	TP_PROTO(unsigned long pfn, unsigned int order, unsigned int gfp_flags, int migratetype),
	TP_ARGS(pfn, order, gfp_flags, migratetype),
	TP_STRUCT__entry(
		__field(	unsigned long,	pfn		)
		__field(	unsigned int,	order		)
		__field(	unsigned long,	gfp_flags	)
		__field(	int,		migratetype	)
	),
	TP_fast_assign(
		__entry->pfn		= pfn;
		__entry->order		= order;
		__entry->gfp_flags	= gfp_flags;
		__entry->migratetype	= migratetype;
	),
	TP_printk("pfn=0x%lx order=%d migratetype=%d gfp_flags=%s",
		__entry->pfn != -1UL ? __entry->pfn : 0,
		__entry->order,
		__entry->migratetype,
		show_gfp_flags(__entry->gfp_flags)),
	shadowmm_trace_reg, shadowmm_trace_unreg
);

TRACE_EVENT_FN(mm_page_free,
	TP_PROTO(unsigned long pfn, unsigned int order),
	TP_ARGS(pfn, order),
	TP_STRUCT__entry(
		__field(	unsigned long,	pfn		)
		__field(	unsigned int,	order		)
	),
	TP_fast_assign(
		__entry->pfn		= pfn;
		__entry->order		= order;
	),
	TP_printk("pfn=0x%lx order=%d", __entry->pfn, __entry->order),
	shadowmm_trace_reg, shadowmm_trace_unreg
);

TRACE_EVENT(mm_page_free_batched,
	TP_PROTO(unsigned long pfn),
	TP_ARGS(pfn),
	TP_STRUCT__entry(
		__field(	unsigned long,	pfn		)
	),
	TP_fast_assign(
		__entry->pfn		= pfn;
	),
	TP_printk("pfn=0x%lx order=0", __entry->pfn)
);

TRACE_EVENT(mm_page_alloc_zone_locked,
	TP_PROTO(unsigned long pfn, unsigned int order, int migratetype, int percpu_refill),
	TP_ARGS(pfn, order, migratetype, percpu_refill),
	TP_STRUCT__entry(
		__field(	unsigned long,	pfn		)
		__field(	unsigned int,	order		)
		__field(	int,		migratetype	)
		__field(	int,		percpu_refill	)
	),
	TP_fast_assign(
		__entry->pfn		= pfn;
		__entry->order		= order;
		__entry->migratetype	= migratetype;
		__entry->percpu_refill	= percpu_refill;
	),
	TP_printk("pfn=0x%lx order=%u migratetype=%d percpu_refill=%d",
		__entry->pfn,
		__entry->order,
		__entry->migratetype,
		__entry->percpu_refill)
);

TRACE_EVENT(mm_page_pcpu_drain,
	TP_PROTO(unsigned long pfn, unsigned int order, int migratetype),
	TP_ARGS(pfn, order, migratetype),
	TP_STRUCT__entry(
		__field(	unsigned long,	pfn		)
		__field(	unsigned int,	order		)
		__field(	int,		migratetype	)
	),
	TP_fast_assign(
		__entry->pfn		= pfn;
		__entry->order		= order;
		__entry->migratetype	= migratetype;
	),
	TP_printk("pfn=0x%lx order=%d migratetype=%d",
		__entry->pfn, __entry->order, __entry->migratetype)
);

TRACE_EVENT(mm_page_alloc_extfrag,
	TP_PROTO(unsigned long pfn, int alloc_order, int fallback_order,
		 int alloc_migratetype, int fallback_migratetype, int change_ownership),
	TP_ARGS(pfn, alloc_order, fallback_order, alloc_migratetype, fallback_migratetype,
		change_ownership),
	TP_STRUCT__entry(
		__field(	unsigned long,	pfn			)
		__field(	int,		alloc_order		)
		__field(	int,		fallback_order		)
		__field(	int,		alloc_migratetype	)
		__field(	int,		fallback_migratetype	)
		__field(	int,		change_ownership	)
	),
	TP_fast_assign(
		__entry->pfn			= pfn;
		__entry->alloc_order		= alloc_order;
		__entry->fallback_order		= fallback_order;
		__entry->alloc_migratetype	= alloc_migratetype;
		__entry->fallback_migratetype	= fallback_migratetype;
		__entry->change_ownership	= change_ownership;
	),
	TP_printk("pfn=0x%lx alloc_order=%d fallback_order=%d pageblock_order=%d alloc_migratetype=%d fallback_migratetype=%d fragmenting=%d change_ownership=%d",
		__entry->pfn,
		__entry->alloc_order,
		__entry->fallback_order,
		pageblock_order,
		__entry->alloc_migratetype,
		__entry->fallback_migratetype,
		__entry->fallback_order < pageblock_order,
		__entry->change_ownership)
);

/* ---- objects -------------------------------------------------------------- */

/* trace.rs: somebody begins or ends to listen for objects. */
int shadowmm_trace_objects_reg(void);
void shadowmm_trace_objects_unreg(void);

/*
 * Who listens to any of these is told of every object: CPUs keep none meanwhile. An object's
 * address is the shadow's, which is shown as it is. A cache's name has `len` bytes.
 */
TRACE_EVENT_FN(kmem_cache_alloc,
	TP_PROTO(unsigned long call_site, unsigned long ptr, const char *name, unsigned long len,
		 size_t bytes_req, size_t bytes_alloc, unsigned int gfp_flags, int node, bool accounted),
	TP_ARGS(call_site, ptr, name, len, bytes_req, bytes_alloc, gfp_flags, node, accounted),
	TP_STRUCT__entry(
		__field(	unsigned long,	call_site	)
		__field(	const void *,	ptr		)
		__string_len(	name,		name,	len	)
		__field(	size_t,		bytes_req	)
		__field(	size_t,		bytes_alloc	)
		__field(	unsigned long,	gfp_flags	)
		__field(	int,		node		)
		__field(	bool,		accounted	)
	),
	TP_fast_assign(
		__entry->call_site	= call_site;
		__entry->ptr		= (const void *)ptr;
		__assign_str(name);
		__entry->bytes_req	= bytes_req;
		__entry->bytes_alloc	= bytes_alloc;
		__entry->gfp_flags	= gfp_flags;
		__entry->node		= node;
		__entry->accounted	= accounted;
	),
	TP_printk("call_site=%pS ptr=%px name=%s bytes_req=%zu bytes_alloc=%zu gfp_flags=%s node=%d accounted=%s",
		(void *)__entry->call_site,
		__entry->ptr,
		__get_str(name),
		__entry->bytes_req,
		__entry->bytes_alloc,
		show_gfp_flags(__entry->gfp_flags),
		__entry->node,
		__entry->accounted ? "true" : "false"),
	shadowmm_trace_objects_reg, shadowmm_trace_objects_unreg
);

TRACE_EVENT_FN(kmem_cache_free,
	TP_PROTO(unsigned long call_site, unsigned long ptr, const char *name, unsigned long len),
	TP_ARGS(call_site, ptr, name, len),
	TP_STRUCT__entry(
		__field(	unsigned long,	call_site	)
		__field(	const void *,	ptr		)
		__string_len(	name,		name,	len	)
	),
	TP_fast_assign(
		__entry->call_site	= call_site;
		__entry->ptr		= (const void *)ptr;
		__assign_str(name);
	),
	TP_printk("call_site=%pS ptr=%px name=%s",
		(void *)__entry->call_site, __entry->ptr, __get_str(name)),
	shadowmm_trace_objects_reg, shadowmm_trace_objects_unreg
);

TRACE_EVENT_FN(kmalloc,
	TP_PROTO(unsigned long call_site, unsigned long ptr, size_t bytes_req, size_t bytes_alloc,
		 unsigned int gfp_flags, int node),
	TP_ARGS(call_site, ptr, bytes_req, bytes_alloc, gfp_flags, node),
	TP_STRUCT__entry(
		__field(	unsigned long,	call_site	)
		__field(	const void *,	ptr		)
		__field(	size_t,		bytes_req	)
		__field(	size_t,		bytes_alloc	)
		__field(	unsigned long,	gfp_flags	)
		__field(	int,		node		)
	),
	TP_fast_assign(
		__entry->call_site	= call_site;
		__entry->ptr		= (const void *)ptr;
		__entry->bytes_req	= bytes_req;
		__entry->bytes_alloc	= bytes_alloc;
		__entry->gfp_flags	= gfp_flags;
		__entry->node		= node;
	),
	TP_printk("call_site=%pS ptr=%px bytes_req=%zu bytes_alloc=%zu gfp_flags=%s node=%d accounted=%s",
		(void *)__entry->call_site,
		__entry->ptr,
		__entry->bytes_req,
		__entry->bytes_alloc,
		show_gfp_flags(__entry->gfp_flags),
		__entry->node,
		(IS_ENABLED(CONFIG_MEMCG) &&
		 (__entry->gfp_flags & (__force unsigned long)__GFP_ACCOUNT)) ? "true" : "false"),
	shadowmm_trace_objects_reg, shadowmm_trace_objects_unreg
);

TRACE_EVENT_FN(kfree,
	TP_PROTO(unsigned long call_site, unsigned long ptr),
	TP_ARGS(call_site, ptr),
	TP_STRUCT__entry(
		__field(	unsigned long,	call_site	)
		__field(	const void *,	ptr		)
	),
	TP_fast_assign(
		__entry->call_site	= call_site;
		__entry->ptr		= (const void *)ptr;
	),
	TP_printk("call_site=%pS ptr=%px", (void *)__entry->call_site, __entry->ptr),
	shadowmm_trace_objects_reg, shadowmm_trace_objects_unreg
);

/* ---- faults in windows ---------------------------------------------------- */

/*
 * The stages of a fault. There is nothing like it in the kernel, whose exceptions:page_fault_user tells
 * the address alone. mm is the address space's number; frames and entries are the shadow's.
 */
#define show_fault_level(level) __print_symbolic(level, \
	{ 3, "pgd" }, { 2, "pud" }, { 1, "pmd" }, { 0, "pte" })
#define show_fault_kind(how) __print_symbolic(how, \
	{ 0, "zero" }, { 1, "anonymous" }, { 2, "huge" }, { 3, "file" }, \
	{ 4, "shared" }, { 5, "cow" }, { 6, "reuse" }, { 7, "spurious" })

TRACE_EVENT(mm_fault_vma,
	TP_PROTO(unsigned int mm, unsigned long addr, unsigned long start, unsigned long end,
		 unsigned long flags, bool vma_lock),
	TP_ARGS(mm, addr, start, end, flags, vma_lock),
	TP_STRUCT__entry(
		__field(	unsigned int,	mm		)
		__field(	unsigned long,	addr		)
		__field(	unsigned long,	start		)
		__field(	unsigned long,	end		)
		__field(	unsigned long,	flags		)
		__field(	bool,		vma_lock	)
	),
	TP_fast_assign(
		__entry->mm		= mm;
		__entry->addr		= addr;
		__entry->start		= start;
		__entry->end		= end;
		__entry->flags		= flags;
		__entry->vma_lock	= vma_lock;
	),
	TP_printk("mm=%u addr=0x%lx vma=0x%lx-0x%lx flags=%s lock=%s",
		__entry->mm, __entry->addr, __entry->start, __entry->end,
		show_vma_flags(__entry->flags), __entry->vma_lock ? "vma" : "mmap")
);

TRACE_EVENT(mm_fault_level,
	TP_PROTO(unsigned int mm, unsigned long addr, unsigned int level, unsigned long table,
		 unsigned long pte),
	TP_ARGS(mm, addr, level, table, pte),
	TP_STRUCT__entry(
		__field(	unsigned int,	mm		)
		__field(	unsigned long,	addr		)
		__field(	unsigned int,	level		)
		__field(	unsigned long,	table		)
		__field(	unsigned long,	pte		)
	),
	TP_fast_assign(
		__entry->mm		= mm;
		__entry->addr		= addr;
		__entry->level		= level;
		__entry->table		= table;
		__entry->pte		= pte;
	),
	TP_printk("mm=%u addr=0x%lx level=%s table=0x%lx pte=0x%lx",
		__entry->mm, __entry->addr, show_fault_level(__entry->level),
		__entry->table, __entry->pte)
);

TRACE_EVENT(mm_fault_page,
	TP_PROTO(unsigned int mm, unsigned long addr, unsigned int how, unsigned long pfn,
		 unsigned long pte),
	TP_ARGS(mm, addr, how, pfn, pte),
	TP_STRUCT__entry(
		__field(	unsigned int,	mm		)
		__field(	unsigned long,	addr		)
		__field(	unsigned int,	how		)
		__field(	unsigned long,	pfn		)
		__field(	unsigned long,	pte		)
	),
	TP_fast_assign(
		__entry->mm		= mm;
		__entry->addr		= addr;
		__entry->how		= how;
		__entry->pfn		= pfn;
		__entry->pte		= pte;
	),
	TP_printk("mm=%u addr=0x%lx how=%s pfn=0x%lx pte=0x%lx",
		__entry->mm, __entry->addr, show_fault_kind(__entry->how),
		__entry->pfn, __entry->pte)
);

TRACE_EVENT(mm_fault_expand,
	TP_PROTO(unsigned int mm, unsigned long start, unsigned long was),
	TP_ARGS(mm, start, was),
	TP_STRUCT__entry(
		__field(	unsigned int,	mm		)
		__field(	unsigned long,	start		)
		__field(	unsigned long,	was		)
	),
	TP_fast_assign(
		__entry->mm		= mm;
		__entry->start		= start;
		__entry->was		= was;
	),
	TP_printk("mm=%u start=0x%lx was=0x%lx",
		__entry->mm, __entry->start, __entry->was)
);

/* ---- compaction ----------------------------------------------------------- */

DECLARE_EVENT_CLASS(mm_compaction_isolate_template,
	TP_PROTO(unsigned long start_pfn, unsigned long end_pfn,
		 unsigned long nr_scanned, unsigned long nr_taken),
	TP_ARGS(start_pfn, end_pfn, nr_scanned, nr_taken),
	TP_STRUCT__entry(
		__field(unsigned long, start_pfn)
		__field(unsigned long, end_pfn)
		__field(unsigned long, nr_scanned)
		__field(unsigned long, nr_taken)
	),
	TP_fast_assign(
		__entry->start_pfn = start_pfn;
		__entry->end_pfn = end_pfn;
		__entry->nr_scanned = nr_scanned;
		__entry->nr_taken = nr_taken;
	),
	TP_printk("range=(0x%lx ~ 0x%lx) nr_scanned=%lu nr_taken=%lu",
		__entry->start_pfn,
		__entry->end_pfn,
		__entry->nr_scanned,
		__entry->nr_taken)
);

#define SHADOWMM_ISOLATE_EVENT(name)						\
DEFINE_EVENT(mm_compaction_isolate_template, name,				\
	TP_PROTO(unsigned long start_pfn, unsigned long end_pfn,		\
		 unsigned long nr_scanned, unsigned long nr_taken),		\
	TP_ARGS(start_pfn, end_pfn, nr_scanned, nr_taken)			\
)

SHADOWMM_ISOLATE_EVENT(mm_compaction_isolate_migratepages);
SHADOWMM_ISOLATE_EVENT(mm_compaction_isolate_freepages);
SHADOWMM_ISOLATE_EVENT(mm_compaction_fast_isolate_freepages);

TRACE_EVENT(mm_compaction_migratepages,
	TP_PROTO(unsigned long nr_migrated, unsigned long nr_failed),
	TP_ARGS(nr_migrated, nr_failed),
	TP_STRUCT__entry(
		__field(unsigned long, nr_migrated)
		__field(unsigned long, nr_failed)
	),
	TP_fast_assign(
		__entry->nr_migrated = nr_migrated;
		__entry->nr_failed = nr_failed;
	),
	TP_printk("nr_migrated=%lu nr_failed=%lu",
		__entry->nr_migrated,
		__entry->nr_failed)
);

TRACE_EVENT(mm_compaction_begin,
	TP_PROTO(unsigned long zone_start, unsigned long migrate_pfn, unsigned long free_pfn,
		 unsigned long zone_end, bool sync),
	TP_ARGS(zone_start, migrate_pfn, free_pfn, zone_end, sync),
	TP_STRUCT__entry(
		__field(unsigned long, zone_start)
		__field(unsigned long, migrate_pfn)
		__field(unsigned long, free_pfn)
		__field(unsigned long, zone_end)
		__field(bool, sync)
	),
	TP_fast_assign(
		__entry->zone_start = zone_start;
		__entry->migrate_pfn = migrate_pfn;
		__entry->free_pfn = free_pfn;
		__entry->zone_end = zone_end;
		__entry->sync = sync;
	),
	TP_printk("zone_start=0x%lx migrate_pfn=0x%lx free_pfn=0x%lx zone_end=0x%lx, mode=%s",
		__entry->zone_start,
		__entry->migrate_pfn,
		__entry->free_pfn,
		__entry->zone_end,
		__entry->sync ? "sync" : "async")
);

TRACE_EVENT(mm_compaction_end,
	TP_PROTO(unsigned long zone_start, unsigned long migrate_pfn, unsigned long free_pfn,
		 unsigned long zone_end, bool sync, int status),
	TP_ARGS(zone_start, migrate_pfn, free_pfn, zone_end, sync, status),
	TP_STRUCT__entry(
		__field(unsigned long, zone_start)
		__field(unsigned long, migrate_pfn)
		__field(unsigned long, free_pfn)
		__field(unsigned long, zone_end)
		__field(bool, sync)
		__field(int, status)
	),
	TP_fast_assign(
		__entry->zone_start = zone_start;
		__entry->migrate_pfn = migrate_pfn;
		__entry->free_pfn = free_pfn;
		__entry->zone_end = zone_end;
		__entry->sync = sync;
		__entry->status = status;
	),
	TP_printk("zone_start=0x%lx migrate_pfn=0x%lx free_pfn=0x%lx zone_end=0x%lx, mode=%s status=%s",
		__entry->zone_start,
		__entry->migrate_pfn,
		__entry->free_pfn,
		__entry->zone_end,
		__entry->sync ? "sync" : "async",
		__print_symbolic(__entry->status, COMPACTION_STATUS))
);

TRACE_EVENT(mm_compaction_try_to_compact_pages,
	TP_PROTO(int order, unsigned int gfp_mask, int prio),
	TP_ARGS(order, gfp_mask, prio),
	TP_STRUCT__entry(
		__field(int, order)
		__field(unsigned long, gfp_mask)
		__field(int, prio)
	),
	TP_fast_assign(
		__entry->order = order;
		__entry->gfp_mask = gfp_mask;
		__entry->prio = prio;
	),
	TP_printk("order=%d gfp_mask=%s priority=%d",
		__entry->order,
		show_gfp_flags(__entry->gfp_mask),
		__entry->prio)
);

DECLARE_EVENT_CLASS(mm_compaction_suitable_template,
	TP_PROTO(int nid, int idx, int order, int ret),
	TP_ARGS(nid, idx, order, ret),
	TP_STRUCT__entry(
		__field(int, nid)
		__field(enum zone_type, idx)
		__field(int, order)
		__field(int, ret)
	),
	TP_fast_assign(
		__entry->nid = nid;
		__entry->idx = idx;
		__entry->order = order;
		__entry->ret = ret;
	),
	TP_printk("node=%d zone=%-8s order=%d ret=%s",
		__entry->nid,
		__print_symbolic(__entry->idx, ZONE_TYPE),
		__entry->order,
		__print_symbolic(__entry->ret, COMPACTION_STATUS))
);

DEFINE_EVENT(mm_compaction_suitable_template, mm_compaction_finished,
	TP_PROTO(int nid, int idx, int order, int ret),
	TP_ARGS(nid, idx, order, ret)
);

DEFINE_EVENT(mm_compaction_suitable_template, mm_compaction_suitable,
	TP_PROTO(int nid, int idx, int order, int ret),
	TP_ARGS(nid, idx, order, ret)
);

DECLARE_EVENT_CLASS(mm_compaction_defer_template,
	TP_PROTO(int nid, int idx, int order, unsigned int considered,
		 unsigned int defer_shift, int order_failed),
	TP_ARGS(nid, idx, order, considered, defer_shift, order_failed),
	TP_STRUCT__entry(
		__field(int, nid)
		__field(enum zone_type, idx)
		__field(int, order)
		__field(unsigned int, considered)
		__field(unsigned int, defer_shift)
		__field(int, order_failed)
	),
	TP_fast_assign(
		__entry->nid = nid;
		__entry->idx = idx;
		__entry->order = order;
		__entry->considered = considered;
		__entry->defer_shift = defer_shift;
		__entry->order_failed = order_failed;
	),
	TP_printk("node=%d zone=%-8s order=%d order_failed=%d consider=%u limit=%lu",
		__entry->nid,
		__print_symbolic(__entry->idx, ZONE_TYPE),
		__entry->order,
		__entry->order_failed,
		__entry->considered,
		1UL << __entry->defer_shift)
);

#define SHADOWMM_DEFER_EVENT(name)						\
DEFINE_EVENT(mm_compaction_defer_template, name,				\
	TP_PROTO(int nid, int idx, int order, unsigned int considered,		\
		 unsigned int defer_shift, int order_failed),			\
	TP_ARGS(nid, idx, order, considered, defer_shift, order_failed)		\
)

SHADOWMM_DEFER_EVENT(mm_compaction_deferred);
SHADOWMM_DEFER_EVENT(mm_compaction_defer_compaction);
SHADOWMM_DEFER_EVENT(mm_compaction_defer_reset);

TRACE_EVENT(mm_compaction_kcompactd_sleep,
	TP_PROTO(int nid),
	TP_ARGS(nid),
	TP_STRUCT__entry(
		__field(int, nid)
	),
	TP_fast_assign(
		__entry->nid = nid;
	),
	TP_printk("nid=%d", __entry->nid)
);

DECLARE_EVENT_CLASS(kcompactd_wake_template,
	TP_PROTO(int nid, int order, int highest_zoneidx),
	TP_ARGS(nid, order, highest_zoneidx),
	TP_STRUCT__entry(
		__field(int, nid)
		__field(int, order)
		__field(enum zone_type, highest_zoneidx)
	),
	TP_fast_assign(
		__entry->nid = nid;
		__entry->order = order;
		__entry->highest_zoneidx = highest_zoneidx;
	),
	TP_printk("nid=%d order=%d classzone_idx=%-8s",
		__entry->nid,
		__entry->order,
		__print_symbolic(__entry->highest_zoneidx, ZONE_TYPE))
);

DEFINE_EVENT(kcompactd_wake_template, mm_compaction_wakeup_kcompactd,
	TP_PROTO(int nid, int order, int highest_zoneidx),
	TP_ARGS(nid, order, highest_zoneidx)
);

DEFINE_EVENT(kcompactd_wake_template, mm_compaction_kcompactd_wake,
	TP_PROTO(int nid, int order, int highest_zoneidx),
	TP_ARGS(nid, order, highest_zoneidx)
);

/* ---- reclaim -------------------------------------------------------------- */

TRACE_EVENT(mm_vmscan_kswapd_sleep,
	TP_PROTO(int nid),
	TP_ARGS(nid),
	TP_STRUCT__entry(
		__field(	int,	nid	)
	),
	TP_fast_assign(
		__entry->nid	= nid;
	),
	TP_printk("nid=%d", __entry->nid)
);

TRACE_EVENT(mm_vmscan_kswapd_wake,
	TP_PROTO(int nid, int zid, int order),
	TP_ARGS(nid, zid, order),
	TP_STRUCT__entry(
		__field(	int,	nid	)
		__field(	int,	zid	)
		__field(	int,	order	)
	),
	TP_fast_assign(
		__entry->nid	= nid;
		__entry->zid	= zid;
		__entry->order	= order;
	),
	TP_printk("nid=%d order=%d", __entry->nid, __entry->order)
);

TRACE_EVENT(mm_vmscan_balance_pgdat_begin,
	TP_PROTO(int nid, int order, int highest_zoneidx),
	TP_ARGS(nid, order, highest_zoneidx),
	TP_STRUCT__entry(
		__field(int, nid)
		__field(int, order)
		__field(int, highest_zoneidx)
	),
	TP_fast_assign(
		__entry->nid = nid;
		__entry->order = order;
		__entry->highest_zoneidx = highest_zoneidx;
	),
	TP_printk("nid=%d order=%d highest_zoneidx=%-8s",
		__entry->nid,
		__entry->order,
		__print_symbolic(__entry->highest_zoneidx, ZONE_TYPE))
);

TRACE_EVENT(mm_vmscan_balance_pgdat_end,
	TP_PROTO(int nid, int order, int highest_zoneidx, unsigned long nr_reclaimed),
	TP_ARGS(nid, order, highest_zoneidx, nr_reclaimed),
	TP_STRUCT__entry(
		__field(int, nid)
		__field(int, order)
		__field(int, highest_zoneidx)
		__field(unsigned long, nr_reclaimed)
	),
	TP_fast_assign(
		__entry->nid = nid;
		__entry->order = order;
		__entry->highest_zoneidx = highest_zoneidx;
		__entry->nr_reclaimed = nr_reclaimed;
	),
	TP_printk("nid=%d order=%d highest_zoneidx=%-8s nr_reclaimed=%lu",
		__entry->nid,
		__entry->order,
		__print_symbolic(__entry->highest_zoneidx, ZONE_TYPE),
		__entry->nr_reclaimed)
);

TRACE_EVENT(mm_vmscan_wakeup_kswapd,
	TP_PROTO(int nid, int zid, int order, unsigned int gfp_flags),
	TP_ARGS(nid, zid, order, gfp_flags),
	TP_STRUCT__entry(
		__field(	int,		nid		)
		__field(	int,		zid		)
		__field(	int,		order		)
		__field(	unsigned long,	gfp_flags	)
	),
	TP_fast_assign(
		__entry->nid		= nid;
		__entry->zid		= zid;
		__entry->order		= order;
		__entry->gfp_flags	= gfp_flags;
	),
	TP_printk("nid=%d order=%d gfp_flags=%s",
		__entry->nid,
		__entry->order,
		show_gfp_flags(__entry->gfp_flags))
);

TRACE_EVENT(mm_vmscan_direct_reclaim_begin,
	TP_PROTO(unsigned int gfp_flags, int order),
	TP_ARGS(gfp_flags, order),
	TP_STRUCT__entry(
		__field(	unsigned long,	gfp_flags	)
		__field(	u64,		memcg_id	)
		__field(	int,		order		)
	),
	TP_fast_assign(
		__entry->gfp_flags	= gfp_flags;
		__entry->order		= order;
		__entry->memcg_id	= 0;
	),
	TP_printk("order=%d gfp_flags=%s pid=%d memcg_id=%llu %s",
		__entry->order,
		show_gfp_flags(__entry->gfp_flags),
		__entry->ent.pid,
		__entry->memcg_id,
		__event_in_irq() ? "(in-irq)" : "")
);

TRACE_EVENT(mm_vmscan_direct_reclaim_end,
	TP_PROTO(unsigned long nr_reclaimed),
	TP_ARGS(nr_reclaimed),
	TP_STRUCT__entry(
		__field(	unsigned long,	nr_reclaimed	)
		__field(	u64,		memcg_id	)
	),
	TP_fast_assign(
		__entry->nr_reclaimed	= nr_reclaimed;
		__entry->memcg_id	= 0;
	),
	TP_printk("nr_reclaimed=%lu pid=%d memcg_id=%llu %s",
		__entry->nr_reclaimed,
		__entry->ent.pid,
		__entry->memcg_id,
		__event_in_irq() ? "(in-irq)" : "")
);

/* A shrinker has a name here, of `len` bytes, in the place of two addresses. */
TRACE_EVENT(mm_shrink_slab_start,
	TP_PROTO(const char *name, unsigned long len, int nid, long nr_objects_to_shrink,
		 unsigned int gfp_flags, unsigned long cache_items, unsigned long long delta,
		 unsigned long total_scan, int priority),
	TP_ARGS(name, len, nid, nr_objects_to_shrink, gfp_flags, cache_items, delta, total_scan,
		priority),
	TP_STRUCT__entry(
		__string_len(name, name, len)
		__field(long, nr_objects_to_shrink)
		__field(unsigned long, gfp_flags)
		__field(unsigned long, cache_items)
		__field(unsigned long long, delta)
		__field(unsigned long, total_scan)
		__field(int, priority)
		__field(int, nid)
		__field(u64, memcg_id)
	),
	TP_fast_assign(
		__assign_str(name);
		__entry->nr_objects_to_shrink = nr_objects_to_shrink;
		__entry->gfp_flags = gfp_flags;
		__entry->cache_items = cache_items;
		__entry->delta = delta;
		__entry->total_scan = total_scan;
		__entry->priority = priority;
		__entry->nid = nid;
		__entry->memcg_id = 0;
	),
	TP_printk("%s: nid: %d pid: %d memcg_id: %llu objects to shrink %ld gfp_flags %s cache items %ld delta %lld total_scan %ld priority %d %s",
		__get_str(name),
		__entry->nid,
		__entry->ent.pid,
		__entry->memcg_id,
		__entry->nr_objects_to_shrink,
		show_gfp_flags(__entry->gfp_flags),
		__entry->cache_items,
		__entry->delta,
		__entry->total_scan,
		__entry->priority,
		__event_in_irq() ? "(in-irq)" : "")
);

TRACE_EVENT(mm_shrink_slab_end,
	TP_PROTO(const char *name, unsigned long len, int nid, int retval, long unused_scan,
		 long new_scan, long total_scan),
	TP_ARGS(name, len, nid, retval, unused_scan, new_scan, total_scan),
	TP_STRUCT__entry(
		__string_len(name, name, len)
		__field(long, unused_scan)
		__field(long, new_scan)
		__field(long, total_scan)
		__field(int, nid)
		__field(int, retval)
		__field(u64, memcg_id)
	),
	TP_fast_assign(
		__assign_str(name);
		__entry->unused_scan = unused_scan;
		__entry->new_scan = new_scan;
		__entry->total_scan = total_scan;
		__entry->nid = nid;
		__entry->retval = retval;
		__entry->memcg_id = 0;
	),
	TP_printk("%s: nid: %d pid: %d memcg_id: %llu unused scan count %ld new scan count %ld total_scan %ld last shrinker return val %d %s",
		__get_str(name),
		__entry->nid,
		__entry->ent.pid,
		__entry->memcg_id,
		__entry->unused_scan,
		__entry->new_scan,
		__entry->total_scan,
		__entry->retval,
		__event_in_irq() ? "(in-irq)" : "")
);

#endif /* SHADOWMM_TRACE_H */

/* This part must be outside of the guard. */
#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH trace
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE shadowmm
#include <trace/define_trace.h>
