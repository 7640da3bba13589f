/* SPDX-License-Identifier: GPL-2.0 */
/*
 * In the place of tools/testing/memblock/mm_init.h: the same names, but what
 * memblock hands over is written down instead of forgotten.
 */
#ifndef SHADOWMM_MM_INIT_H
#define SHADOWMM_MM_INIT_H

/* An event of the hand-off: a block freed, or a range of reserved pages. */
void note_free_block(unsigned long pfn, unsigned int order);
void note_reserved(unsigned long start, unsigned long end, int nid);

/* The range that for_each_valid_pfn() is walking. */
extern unsigned long walk_start, walk_end;

static inline void memblock_free_pages(unsigned long pfn, unsigned int order)
{
	note_free_block(pfn, order);
}

static inline void init_deferred_page(unsigned long pfn, int nid)
{
	note_reserved(walk_start, walk_end, nid);
}

static inline void accept_memory(phys_addr_t start, unsigned long size)
{
}

static inline bool deferred_pages_enabled(void)
{
	return false;
}

unsigned long free_reserved_area(void *start, void *end, int poison, const char *s);
static inline void free_reserved_page(struct page *page)
{
}

#endif
