// SPDX-License-Identifier: GPL-2.0

//! `/proc/slabinfo`: the caches, one a line, for slabtop and vmstat -m.
//!
//! As in Linux, an object counts as active when it is not in a slab's freelist:
//! somebody has it, or a CPU keeps it (`get_slabinfo`). What CPUs keep shows in
//! the ABI's records of caches.

use crate::slab::CacheId;
use crate::slab::CacheReport;
use crate::slab::ObjectAllocator;
use crate::slab::MAX_CACHES;
use core::fmt;
use core::fmt::Write;

/// Writes the lines before the caches (`print_slabinfo_header`).
pub fn write_header(out: &mut dyn Write) -> fmt::Result {
    out.write_str("slabinfo - version: 2.1\n")?;
    out.write_str(
        "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> \
         : tunables <limit> <batchcount> <sharedfactor> \
         : slabdata <active_slabs> <num_slabs> <sharedavail>\n",
    )
}

/// Writes the line of a cache (`cache_show`).
pub fn write_cache(out: &mut dyn Write, cache: &CacheReport) -> fmt::Result {
    let nodes = &cache.nodes;
    let geometry = &cache.geometry;
    write!(
        out,
        "{:<17} {:>6} {:>6} {:>6} {:>4} {:>4}",
        cache.name,
        nodes.objects,
        nodes.total_objects,
        geometry.size,
        geometry.objects,
        geometry.order.pages().0
    )?;
    // SLUB has no tunables.
    write!(out, " : tunables {:>4} {:>4} {:>4}", 0, 0, 0)?;
    writeln!(
        out,
        " : slabdata {:>6} {:>6} {:>6}",
        nodes.slabs, nodes.slabs, 0
    )
}

/// Writes the file: the newest caches come first, as far as their numbers tell.
/// `None` is a layer that is not up.
pub fn write(out: &mut dyn Write, objects: Option<&dyn ObjectAllocator>) -> fmt::Result {
    write_header(out)?;
    let Some(objects) = objects else {
        return Ok(());
    };
    let numbers = (1..MAX_CACHES as u16).rev();
    for id in numbers.filter_map(CacheId::new) {
        if let Some(cache) = objects.report(id) {
            write_cache(out, &cache)?;
        }
    }
    Ok(())
}
