// SPDX-License-Identifier: GPL-2.0
/* A cache of the host's for the measurements, and what sysfs says of it. */
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/slab.h>

#include "bindings.h"

/* NULL for want of memory. */
struct kmem_cache *shadowmm_bench_cache(const char *name, unsigned int size)
{
	return kmem_cache_create(name, size, 0, SLAB_NO_MERGE, NULL);
}

/* The number that a file begins with; a negative errno where there is none. */
long shadowmm_bench_read(const char *path)
{
	char text[24] = {};
	long number, ret;
	loff_t pos = 0;
	struct file *file = filp_open(path, O_RDONLY, 0);

	if (IS_ERR(file))
		return PTR_ERR(file);
	ret = kernel_read(file, text, sizeof(text) - 1, &pos);
	filp_close(file, NULL);
	if (ret < 0)
		return ret;
	/* Behind a blank there are the numbers of each node. */
	text[strcspn(text, " \n")] = '\0';
	ret = kstrtol(text, 10, &number);
	return ret ? ret : number;
}
