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
	.pagesets = true,
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

module_param_named(pagesets, params.pagesets, bool, 0444);
MODULE_PARM_DESC(pagesets, "Let each CPU keep free pages at hand, as Linux does (default); 0: all are the zones'");

const struct shadowmm_params *shadowmm_params(void)
{
	return &params;
}
