// SPDX-License-Identifier: GPL-2.0
/*
 * Caches of the running kernel's slab allocator; see host_slab.h.
 *
 * What a cache is stands in struct kmem_cache, which mm/slab.h keeps to the
 * allocator itself. The fields that sysfs shows could be read there, the places
 * of free pointers and red zones could not.
 */
#include <linux/kernel.h>
#include <linux/slab.h>

#include "slab.h"

#include "host_slab.h"

/* As mm/slub.c packs an order and a number of objects. */
#define SHADOWMM_OO_SHIFT 16

static_assert(offsetof(struct kmem_cache, oo) + sizeof(unsigned int) == offsetof(struct kmem_cache, min));

/*
 * Core's flags (slab/flags.rs) by their bits, which are those of Debian's kernel: others where a kernel is
 * configured otherwise, and none where it has no such flag. mm/slub.c keeps two of them to itself.
 */
static const slab_flags_t host_flags[] = {
	[0] = SLAB_CONSISTENCY_CHECKS,
	[1] = SLAB_RED_ZONE,
	[2] = SLAB_POISON,
	[3] = SLAB_KMALLOC,
	[4] = SLAB_HWCACHE_ALIGN,
	[5] = SLAB_CACHE_DMA,
	[6] = SLAB_CACHE_DMA32,
	[7] = SLAB_STORE_USER,
	[8] = SLAB_PANIC,
	[9] = SLAB_TYPESAFE_BY_RCU,
	[10] = SLAB_TRACE,
	[11] = SLAB_NOLEAKTRACE,
	[12] = SLAB_NO_MERGE,
	[13] = SLAB_ACCOUNT,
	[14] = SLAB_MAY_ACCOUNT,
	[15] = SLAB_NO_USER_FLAGS,
	[16] = SLAB_SKIP_KFENCE,
	[17] = SLAB_RECLAIM_ACCOUNT,
	[18] = __SLAB_FLAG_BIT(_SLAB_OBJECT_POISON),
	[19] = __SLAB_FLAG_BIT(_SLAB_CMPXCHG_DOUBLE),
	[20] = SLAB_NO_OBJ_EXT,
	[21] = SLAB_OBJ_EXT_IN_OBJ,
	[22] = SLAB_NO_SHEAVES,
};

static slab_flags_t to_host(u32 flags)
{
	slab_flags_t host = 0;
	unsigned int bit;

	for (bit = 0; bit < ARRAY_SIZE(host_flags); bit++)
		if (flags & BIT(bit))
			host |= host_flags[bit];
	return host;
}

/* Those that core does not know are left out. */
static u32 from_host(slab_flags_t flags)
{
	unsigned int bit;
	u32 known = 0;

	for (bit = 0; bit < ARRAY_SIZE(host_flags); bit++)
		if (flags & host_flags[bit])
			known |= BIT(bit);
	return known;
}

/* That there is one is all that matters. */
static void shadowmm_host_ctor(void *object)
{
}

/* The caller has seen to it that the kernel does not stumble over the request. */
struct kmem_cache *shadowmm_host_cache_create(const char *name, const struct shadowmm_host_cache_args *args)
{
	struct kmem_cache_args request = {
		.align = args->align,
		.useroffset = args->useroffset,
		.usersize = args->usersize,
		.freeptr_offset = args->freeptr_offset,
		.use_freeptr_offset = args->use_freeptr_offset,
		.ctor = args->ctor ? shadowmm_host_ctor : NULL,
		.sheaf_capacity = args->sheaf_capacity,
	};

	return kmem_cache_create(name, args->object_size, &request, to_host(args->flags));
}

int shadowmm_host_cache_shrink(struct kmem_cache *cache)
{
	return kmem_cache_shrink(cache);
}

void *shadowmm_host_object_alloc(struct kmem_cache *cache)
{
	return kmem_cache_alloc(cache, GFP_KERNEL);
}

/* All or none. */
bool shadowmm_host_object_alloc_bulk(struct kmem_cache *cache, size_t count, void **objects)
{
	return kmem_cache_alloc_bulk(cache, GFP_KERNEL, count, objects);
}

void shadowmm_host_object_free(struct kmem_cache *cache, void *object)
{
	kmem_cache_free(cache, object);
}

void shadowmm_host_object_free_bulk(struct kmem_cache *cache, size_t count, void **objects)
{
	kmem_cache_free_bulk(cache, count, objects);
}

/* The first page of the slab that an object lies in. */
unsigned long shadowmm_host_object_slab(const void *object)
{
	return page_to_pfn(virt_to_head_page(object));
}

/* Nothing of it is allocated. Waits for grace periods. */
void shadowmm_host_cache_destroy(struct kmem_cache *cache)
{
	kmem_cache_destroy(cache);
}

void shadowmm_host_cache_geometry(struct kmem_cache *cache, struct shadowmm_host_geometry *geometry)
{
	*geometry = (struct shadowmm_host_geometry){
		.object_size = kmem_cache_size(cache),
		.size = cache->size,
		.inuse = cache->inuse,
		.offset = cache->offset,
		.align = cache->align,
		.red_left_pad = cache->red_left_pad,
		.flags = from_host(cache->flags),
		.order = cache->oo.x >> SHADOWMM_OO_SHIFT,
		.objects = cache->oo.x & ((1 << SHADOWMM_OO_SHIFT) - 1),
		.min_order = cache->min.x >> SHADOWMM_OO_SHIFT,
		.min_objects = cache->min.x & ((1 << SHADOWMM_OO_SHIFT) - 1),
		.min_partial = cache->min_partial,
		.sheaf_capacity = cache->sheaf_capacity,
	};
}
