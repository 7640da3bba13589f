/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Caches of the running kernel's slab allocator, for the differential test:
 * what the kernel makes of a request, beside what the shadow makes of it.
 * Nothing of this is used for the shadow itself.
 */
#ifndef SHADOWMM_HOST_SLAB_H
#define SHADOWMM_HOST_SLAB_H

#include <linux/types.h>

struct kmem_cache;

struct shadowmm_host_cache_args {
	u32 object_size;
	u32 align;
	u32 flags;
	u32 useroffset;
	u32 usersize;
	u32 freeptr_offset;
	u32 sheaf_capacity;
	bool use_freeptr_offset;
	bool ctor;
};

struct shadowmm_host_geometry {
	u32 object_size;
	u32 size;
	u32 inuse;
	u32 offset;
	u32 align;
	u32 red_left_pad;
	u32 flags;
	u32 order;
	u32 objects;
	u32 min_order;
	u32 min_objects;
	u32 min_partial;
	u32 sheaf_capacity;
};

struct kmem_cache *shadowmm_host_cache_create(const char *name, const struct shadowmm_host_cache_args *args);
void shadowmm_host_cache_destroy(struct kmem_cache *cache);
int shadowmm_host_cache_shrink(struct kmem_cache *cache);
void *shadowmm_host_object_alloc(struct kmem_cache *cache);
bool shadowmm_host_object_alloc_bulk(struct kmem_cache *cache, size_t count, void **objects);
void shadowmm_host_object_free(struct kmem_cache *cache, void *object);
void shadowmm_host_object_free_bulk(struct kmem_cache *cache, size_t count, void **objects);
unsigned long shadowmm_host_object_slab(const void *object);
void shadowmm_host_cache_geometry(struct kmem_cache *cache, struct shadowmm_host_geometry *geometry);

#endif /* SHADOWMM_HOST_SLAB_H */
