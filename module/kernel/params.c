// SPDX-License-Identifier: GPL-2.0
/*
 * The module's parameters. They are in C because Rust modules have no
 * parameters that are text.
 */
#include <linux/moduleparam.h>

#include "bindings.h"

static struct shadowmm_params params = {
	.autoboot = true,
	.source = "cma",
	.zones = "",
	.crashkernel = "2G-64G:256M,64G-:512M",
	.allocator = "buddy",
	.objects = "slab",
	.pagesets = true,
	.slab_min_order = -1,
	.slab_max_order = -1,
	.device_mode = 0600,
};

module_param_named(autoboot, params.autoboot, bool, 0444);
MODULE_PARM_DESC(autoboot, "Boot the shadow at load (default); 0 leaves the stages to the CLI");

module_param_named(region_mb, params.region_mb, uint, 0444);
MODULE_PARM_DESC(region_mb, "Size of the region in MiB over all nodes; 0 (default): as much as can be had");

module_param_named(source, params.source, charp, 0444);
MODULE_PARM_DESC(source, "Where the region comes from: cma (default) or contig (needs region_mb, no boot parameter)");

module_param_named(zones, params.zones, charp, 0444);
MODULE_PARM_DESC(zones, "Which zones there are and how large, e.g. dma,dma32,normal,movable=25%");

module_param_named(crashkernel, params.crashkernel, charp, 0444);
MODULE_PARM_DESC(crashkernel, "As on the kernel's command line, in sizes of the mapped machine: SIZE[@OFFSET] or RANGE:SIZE,... (default 2G-64G:256M,64G-:512M)");

module_param_named(allocator, params.allocator, charp, 0444);
MODULE_PARM_DESC(allocator, "Who gets the pages: buddy (default), or cosmos, a division-and-merge manager to compare it with");

module_param_named(objects, params.objects, charp, 0444);
MODULE_PARM_DESC(objects, "Who makes objects of pages: slab (default), or kmsob, containers by size to compare it with");

module_param_named(pagesets, params.pagesets, bool, 0444);
MODULE_PARM_DESC(pagesets, "Let each CPU keep free pages at hand, as Linux does (default); 0: all are the zones'");

module_param_named(slab_nomerge, params.slab_nomerge, bool, 0444);
MODULE_PARM_DESC(slab_nomerge, "Keep caches apart that could share their slabs; as on the kernel's command line");

module_param_named(slab_min_order, params.slab_min_order, int, 0444);
MODULE_PARM_DESC(slab_min_order, "The least order of slabs; as on the kernel's command line");

module_param_named(slab_max_order, params.slab_max_order, int, 0444);
MODULE_PARM_DESC(slab_max_order, "The order up to which larger slabs are tried for less waste; as on the kernel's command line");

module_param_named(slab_min_objects, params.slab_min_objects, uint, 0444);
MODULE_PARM_DESC(slab_min_objects, "Objects that a slab has at least; 0 (default): as many as the CPUs suggest");

module_param_named(slab_debug, params.slab_debug, charp, 0444);
MODULE_PARM_DESC(slab_debug, "Which caches are debugged, and how; as on the kernel's command line, e.g. FZPU,kmalloc-*");

module_param_named(page_poison, params.page_poison, bool, 0444);
MODULE_PARM_DESC(page_poison, "Fill free pages with a pattern and look for it when they are given out, as page_poison= on the kernel's command line");

/* What can be changed later in /proc/shadowmm/vm, and begins so. */
#define TUNABLE(place, name, text)					\
	module_param_named(name, params.tunables[place], charp, 0444);	\
	MODULE_PARM_DESC(name, text)

TUNABLE(0, min_free_kbytes, "What is kept free, in KiB, as sysctl vm.min_free_kbytes");
TUNABLE(1, watermark_boost_factor, "As sysctl vm.watermark_boost_factor (default 15000)");
TUNABLE(2, watermark_scale_factor, "As sysctl vm.watermark_scale_factor, 1 to 3000 (default 10)");
TUNABLE(3, percpu_pagelist_high_fraction, "As sysctl vm.percpu_pagelist_high_fraction, 0 (default) or 8 and more");
TUNABLE(4, lowmem_reserve_ratio, "As sysctl vm.lowmem_reserve_ratio (default 256 256 32 0 0)");
TUNABLE(5, compaction_proactiveness, "As sysctl vm.compaction_proactiveness, 0 to 100 (default 20)");
TUNABLE(6, extfrag_threshold, "As sysctl vm.extfrag_threshold, 0 to 1000 (default 500)");
TUNABLE(7, transparent_hugepages, "Keep as much free as Linux does with transparent huge pages (default 1)");

/* Octal, as chmod has it. */
static int set_mode(const char *text, const struct kernel_param *param)
{
	unsigned short mode;
	int error = kstrtou16(text, 8, &mode);

	if (error || mode & ~0666)
		return error ?: -EINVAL;
	params.device_mode = mode;
	return 0;
}

static int get_mode(char *text, const struct kernel_param *param)
{
	return sysfs_emit(text, "%#o\n", params.device_mode);
}

static const struct kernel_param_ops mode_ops = { .set = set_mode, .get = get_mode };

module_param_cb(device_mode, &mode_ops, NULL, 0444);
MODULE_PARM_DESC(device_mode, "Mode of /dev/shadowmm, octal (default 0600); whose group it is, udev's GROUP= or chgrp says");

module_param_named(report_gid, params.report_gid, uint, 0444);
MODULE_PARM_DESC(report_gid, "The group that may read /proc/shadowmm; 0 (default): root alone");

#define LIMIT(place, what, text)						\
	module_param_named(user_##what, params.user_limits[place], ulong, 0644); \
	MODULE_PARM_DESC(user_##what, text " that all files of a user may have; 0 (default): a share of the shadow"); \
	module_param_named(file_##what, params.file_limits[place], ulong, 0644); \
	MODULE_PARM_DESC(file_##what, text " that one open file may have; 0 (default): as many as its user")

LIMIT(0, pages, "Pages");
LIMIT(1, objects, "Objects");
LIMIT(2, spaces, "Address spaces");
LIMIT(3, vmas, "VMAs of address spaces");

const struct shadowmm_params *shadowmm_params(void)
{
	return &params;
}
