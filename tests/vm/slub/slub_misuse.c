// SPDX-License-Identifier: GPL-2.0
/*
 * Misuses the running kernel's own caches, one way after the other, so that its log has what SLUB
 * says of each: the texts in tests/data/slub, which tests/vm/slub/record makes. Each begins with a
 * line 'misuse NAME: size FLAGS' and ends with 'misuse end'. The objects are this module's own, and
 * nothing beside their slabs is written to. It refuses to stay loaded.
 */
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>

#define F SLAB_CONSISTENCY_CHECKS
#define Z SLAB_RED_ZONE
#define P SLAB_POISON
#define U SLAB_STORE_USER

long validate_slab_cache(struct kmem_cache *s);

static struct kmem_cache *cache, *other;

static noinline u8 *take(void)
{
	return kmem_cache_alloc(cache, GFP_KERNEL);
}

static noinline void give(void *object)
{
	kmem_cache_free(cache, object);
}

static bool begin(const char *name, unsigned int size, slab_flags_t flags, const char *letters)
{
	cache = kmem_cache_create("misused", size, 0, flags | SLAB_NO_MERGE, NULL);
	pr_info("misuse %s: %u %s\n", name, size, letters);
	return cache;
}

/* A cache with lost objects is never gone for good; its name is given up all the same. */
static void end(void)
{
	pr_info("misuse end\n");
	kmem_cache_destroy(cache);
}

static void right_redzone(void)
{
	u8 *object = take();

	object[64] = 0x12;
	object[66] = 0x34;
	give(object);
	give(object);
}

static void left_redzone(void)
{
	u8 *object = take();

	object[-2] = 0x12;
	give(object);
}

/* The object is shown with the first finding only. */
static void both_redzones(void)
{
	u8 *object = take();

	object[-1] = 0x12;
	object[64] = 0x12;
	give(object);
}

static void kmalloc_redzone(void)
{
	u8 *object = __kmalloc_cache_noprof(cache, GFP_KERNEL, 18);

	object[18] = 0xab;
	object[20] = 0xab;
	kfree(object);
}

static void use_after_free(void)
{
	u8 *object = take();

	give(object);
	object[8] = 0x12;
	object[9] = 'x';
	object = take();
	give(object);
}

static void end_poison(void)
{
	u8 *object = take();

	give(object);
	object[63] = 0x6b;
	take();
}

static void poison_validated(void)
{
	u8 *object = take();

	give(object);
	object[0] = 0;
	validate_slab_cache(cache);
}

static void object_padding(void)
{
	u8 *object = take();

	object[150] = 0x12;
	give(object);
}

static void alignment_padding(void)
{
	u8 *object = take();

	object[61] = 0x12;
	give(object);
}

static void slab_padding(void)
{
	u8 *object = take(), *slab = page_address(virt_to_head_page(object));

	slab[4095] = 0x12;
	slab[4090] = 0x13;
	give(object);
}

static void freepointer(void)
{
	u8 *object = take();

	give(object);
	*(u64 *)(object + 72) ^= 0x1234;
	take();
}

static void freechain(void)
{
	u8 *a = take(), *b = take(), *c = take();

	give(a);
	give(b);
	*(u64 *)(b + 72) ^= 0x1234;
	give(c);
}

/*
 * What is stored mixes the pointer with its place and a number of the cache, which thus shows. Not found
 * by a free: that would put the slab, whose freelist was cleared, on the list that it is on.
 */
static void freelist_cycle(void)
{
	u8 *a = take(), *b = take();
	u64 random;

	give(a);
	give(b);
	random = *(u64 *)(b + 72) ^ (u64)a ^ swab64((u64)(b + 72));
	*(u64 *)(a + 72) = (u64)b ^ random ^ swab64((u64)(a + 72));
	validate_slab_cache(cache);
}

static void double_free(void)
{
	u8 *object = take();

	give(object);
	give(object);
}

static void already_free(void)
{
	u8 *object = take();

	take();
	give(object);
	give(object);
}

/* What is left in a slab that was given up can't come back. */
static void disabled(void)
{
	u8 *object = take(), *second = take();

	give(second);
	second[0] = 0;
	take();
	give(object);
}

static void misaligned(void)
{
	u8 *object = take();

	give(object + 8);
	give(object);
}

static void wrong_cache(void)
{
	u8 *object = take();

	kmem_cache_free(other, object);
	give(object);
}

static void not_slab(void)
{
	void *page = (void *)__get_free_page(GFP_KERNEL);

	give(page);
	free_page((unsigned long)page);
}

static void remaining(void)
{
	take();
	take();
	kmem_cache_destroy(cache);
}

static void traced(void)
{
	give(take());
}

#define MISUSE(name, size, flags)						\
	do {									\
		if (begin(#name, size, flags, #flags)) {			\
			name();							\
			end();							\
		}								\
	} while (0)

static int __init slub_misuse_init(void)
{
	other = kmem_cache_create("other", 64, 0, F | U | SLAB_NO_MERGE, NULL);
	if (!other)
		return -ENOMEM;
	MISUSE(right_redzone, 64, F | Z | P | U);
	MISUSE(left_redzone, 64, F | Z | P | U);
	MISUSE(both_redzones, 64, F | Z | P | U);
	MISUSE(kmalloc_redzone, 32, F | Z | U | SLAB_KMALLOC);
	MISUSE(use_after_free, 64, F | Z | P | U);
	MISUSE(end_poison, 64, F | Z | P);
	MISUSE(poison_validated, 64, F | Z | P | U);
	MISUSE(object_padding, 64, F | Z | P | U);
	MISUSE(alignment_padding, 60, F | P);
	MISUSE(slab_padding, 100, F | P);
	MISUSE(freepointer, 64, F | Z | P);
	MISUSE(freechain, 64, F | Z | P);
	MISUSE(freelist_cycle, 64, F | Z | P);
	MISUSE(double_free, 64, F | Z | P | U);
	MISUSE(already_free, 64, F | Z | P | U);
	MISUSE(disabled, 64, F | Z | P);
	MISUSE(misaligned, 64, F | Z | P | U);
	MISUSE(wrong_cache, 64, F | U);
	MISUSE(not_slab, 64, F);
	MISUSE(traced, 64, SLAB_TRACE);
	begin("remaining", 64, F | Z | P | U, "F | Z | P | U");
	remaining();
	pr_info("misuse end\n");
	kmem_cache_destroy(other);
	return -EAGAIN;
}
module_init(slub_misuse_init);

MODULE_DESCRIPTION("Misuse of caches, for what SLUB says of it");
MODULE_LICENSE("GPL");
