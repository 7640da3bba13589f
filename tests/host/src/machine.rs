// SPDX-License-Identifier: GPL-2.0

//! Machines to boot, and memory to boot them on.

use crate::leaked_pages;
use crate::HostPlatform;
use shadowmm_core::boot::Boot;
use shadowmm_core::boot::Mm;
use shadowmm_core::boot::Text;
use shadowmm_core::buddy::UserStat;
use shadowmm_core::firmware;
use shadowmm_core::firmware::FirmwareMap;
use shadowmm_core::page::ZoneId;
use shadowmm_core::phys::Backing;
use shadowmm_core::phys::BackingRun;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::Pages;
use shadowmm_core::platform::Platform;
use shadowmm_core::slab::CacheId;
use shadowmm_core::slab::ObjectAllocator;

/// Backing with one run of so many MiB on each node.
pub fn backing(mib: &[usize]) -> Backing<'static> {
    let mut backing = Backing::new();
    for (node, mib) in mib.iter().enumerate() {
        let pages = leaked_pages(mib << 8);
        backing
            .push(BackingRun::from_pages(pages, NodeId(node as i32)))
            .unwrap();
    }
    backing
}

/// The built-in machine, with a node for each run.
pub fn builtin(backing: &Backing<'static>) -> Box<FirmwareMap> {
    let mut map = Box::new(FirmwareMap::NEW);
    let shares: Vec<Pages> = backing.runs().map(|run| run.pages()).collect();
    firmware::builtin(&mut map, &shares, 2).unwrap();
    map
}

/// The machine of a boot log among the test data.
pub fn from_log(name: &str) -> Box<FirmwareMap> {
    let path = format!("{}/../data/dmesg/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let mut map = Box::new(FirmwareMap::NEW);
    firmware::parse(&text, &mut map, &mut Default::default()).unwrap();
    map
}

/// A text of the boot.
pub fn text(boot: &Boot<'_, HostPlatform>, text: Text) -> String {
    let mut out = String::new();
    boot.write(text, &mut out).unwrap();
    out
}

/// Every cache that there is.
pub fn caches_of(objects: &impl ObjectAllocator) -> Vec<CacheId> {
    std::iter::successors(objects.next(None), |&id| objects.next(Some(id))).collect()
}

/// Pages of address spaces, in all zones.
pub fn pages_of<P: Platform>(mm: &Mm<'_, P>, stat: UserStat) -> u64 {
    let zones = mm.nodes.populated_zones();
    let ids = zones.map(|zone| ZoneId::new(zone.nid, zone.kind));
    ids.map(|id| mm.stats.user(id, stat).0).sum()
}
