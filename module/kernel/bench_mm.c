// SPDX-License-Identifier: GPL-2.0
/* A maple tree as an mm has one, to be measured. */
#include <linux/maple_tree.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>

#include "bindings.h"

/* The flags of an mm's tree (MM_MT_FLAGS), but for the lock, which is its own. */
#define FLAGS (MT_FLAGS_ALLOC_RANGE | MT_FLAGS_USE_RCU)

struct maple_tree *shadowmm_bench_tree(void)
{
	struct maple_tree *tree = kmalloc(sizeof(*tree), GFP_KERNEL);

	if (tree)
		mt_init_flags(tree, FLAGS);
	return tree;
}

/* `end` is behind the range; a negative errno. */
int shadowmm_bench_tree_add(struct maple_tree *tree, unsigned long start, unsigned long end)
{
	return mtree_insert_range(tree, start, end - 1, xa_mk_value(start >> 12), GFP_KERNEL);
}

/* Finds the entries of addresses, as lock_vma_under_rcu() does: how many there were. */
size_t shadowmm_bench_tree_walk(struct maple_tree *tree, const u64 *addrs, size_t nr)
{
	size_t found = 0;

	while (nr--) {
		MA_STATE(mas, tree, *addrs, *addrs);

		rcu_read_lock();
		if (mas_walk(&mas))
			found++;
		rcu_read_unlock();
		addrs++;
	}
	return found;
}

void shadowmm_bench_tree_free(struct maple_tree *tree)
{
	mtree_destroy(tree);
	kfree(tree);
}
