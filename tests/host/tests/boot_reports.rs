// SPDX-License-Identifier: GPL-2.0

//! What a booted machine tells of itself once something has happened on it.

use shadowmm_core::boot::Boot;
use shadowmm_core::boot::Config;
use shadowmm_core::boot::Mm;
use shadowmm_core::boot::Store;
use shadowmm_core::boot::Text;
use shadowmm_core::buddy::gfp;
use shadowmm_core::buddy::AllocRequest;
use shadowmm_core::buddy::Deferred;
use shadowmm_core::buddy::PageAllocator;
use shadowmm_core::buddy::ShrinkControl;
use shadowmm_core::buddy::Shrinker;
use shadowmm_core::page::PageState;
use shadowmm_core::page::ZoneId;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::PageOrder;
use shadowmm_core::phys::Pages;
use shadowmm_core::phys::Pfn;
use shadowmm_core::report::NodeFile;
use shadowmm_core::report::NodeStat;
use shadowmm_host_tests::machine::backing;
use shadowmm_host_tests::machine::builtin;
use shadowmm_host_tests::machine::text;
use shadowmm_host_tests::HostPlatform;
use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Mutex;

type HostBoot = Boot<'static, HostPlatform>;
type HostMm = Mm<'static, HostPlatform>;

/// A machine with nodes of so many MiB.
fn machine(nodes: &[usize]) -> (&'static HostBoot, &'static HostMm) {
    let backing = backing(nodes);
    let store = Box::leak(Box::new(Store::new()));
    let platform = HostPlatform::default();
    let map = builtin(&backing);
    let boot = Boot::detect(store, &map, &backing, &Config::default(), platform);
    let boot: &'static mut HostBoot = Box::leak(Box::new(boot.unwrap()));
    boot.run().unwrap();
    let boot: &'static HostBoot = boot;
    (boot, boot.mm().unwrap())
}

/// The counters of a text that has one a line.
fn counters(text: &str) -> HashMap<&str, u64> {
    let lines = text.lines().map(|line| line.split_once(' ').unwrap());
    lines
        .map(|(key, value)| (key, value.parse().unwrap()))
        .collect()
}

/// All pages that there are without reclaim.
fn take_all(mm: &HostMm) -> Vec<Pfn> {
    let movable = gfp::GFP_NOWAIT | gfp::__GFP_MOVABLE | gfp::__GFP_HIGHMEM;
    // Of some zones, less is kept from requests for lower ones.
    let requests = [movable, gfp::GFP_NOWAIT].map(|gfp| AllocRequest::new(gfp, PageOrder::ZERO));
    let pages = requests
        .iter()
        .flat_map(|request| std::iter::from_fn(|| mm.buddy().alloc(request).ok()));
    pages.collect()
}

/// Single pages that go back when memory is short.
struct Cache {
    mm: &'static HostMm,
    pages: Mutex<Vec<Pfn>>,
    deferred: Deferred,
}

impl Cache {
    /// One that is registered.
    fn of(mm: &'static HostMm) -> &'static Self {
        let cache: &'static Self = Box::leak(Box::new(Self {
            mm,
            pages: Mutex::default(),
            deferred: Deferred::new(),
        }));
        mm.platform.shrinkers.lock().unwrap().push(cache);
        cache
    }

    /// Takes all that there is without reclaim.
    fn fill(&self) {
        self.pages.lock().unwrap().extend(take_all(self.mm));
    }

    fn is_on(&self, pfn: Pfn, nid: NodeId) -> bool {
        self.mm.sparse.page(pfn).unwrap().zone_id().nid() == nid
    }
}

impl Shrinker for Cache {
    fn name(&self) -> &'static str {
        "cache"
    }

    fn count(&self, control: &ShrinkControl) -> u64 {
        let pages = self.pages.lock().unwrap();
        let here = pages.iter().filter(|&&pfn| self.is_on(pfn, control.nid));
        here.count() as u64
    }

    fn scan(&self, control: &mut ShrinkControl) -> Option<u64> {
        let mut freed = 0;
        while freed < control.nr_to_scan {
            let mut pages = self.pages.lock().unwrap();
            let here = pages.iter().rposition(|&pfn| self.is_on(pfn, control.nid));
            let Some(index) = here else {
                break;
            };
            let pfn = pages.swap_remove(index);
            drop(pages);
            self.mm.buddy().free(pfn, PageOrder::ZERO).unwrap();
            freed += 1;
        }
        control.reclaimed += Pages(freed);
        Some(freed)
    }

    fn deferred(&self) -> &Deferred {
        &self.deferred
    }

    fn is_numa_aware(&self) -> bool {
        true
    }

    fn reclaimable(&self, zone: ZoneId) -> Pages {
        let pages = self.pages.lock().unwrap();
        let zone_of = |pfn: &Pfn| self.mm.sparse.page(*pfn).unwrap().zone_id();
        Pages(pages.iter().filter(|pfn| zone_of(pfn) == zone).count() as u64)
    }

    fn keeps_pages(&self) -> bool {
        true
    }
}

#[test]
fn vmstat_is_the_sum_of_the_nodes() {
    let (boot, mm) = machine(&[64, 64]);
    let cache = Cache::of(mm);
    let buddy = mm.buddy();
    cache.fill();
    for nid in [NodeId(0), NodeId(1)] {
        buddy.balance_pgdat(nid, PageOrder::ZERO, ZoneType::Movable);
    }
    cache.fill();
    let held = buddy.alloc(&AllocRequest::new(gfp::GFP_KERNEL, PageOrder::ZERO));
    buddy.free(held.unwrap(), PageOrder::ZERO).unwrap();
    let of_nodes = [NodeId(0), NodeId(1)].map(|nid| {
        let mut text = String::new();
        boot.write_node(nid, NodeFile::Vmstat, &mut text).unwrap();
        text
    });
    let of_nodes = of_nodes.each_ref().map(|text| counters(text));
    let vmstat = text(boot, Text::Vmstat);
    let vmstat = counters(&vmstat);
    for item in NodeStat::ALL {
        let sum: u64 = of_nodes.iter().map(|node| node[item.name()]).sum();
        assert_eq!(vmstat[item.name()], sum, "{}", item.name());
    }
    for what in ["pgsteal", "pgscan"] {
        let [kswapd, direct, anon, file] =
            ["kswapd", "direct", "anon", "file"].map(|of| vmstat[&*format!("{what}_{of}")]);
        assert!(kswapd > 0 && direct > 0, "{kswapd} {direct}");
        // Whoever reclaims: every page is of one kind.
        assert_eq!(kswapd + direct, anon + file);
    }
    // What is dropped on request is not stolen.
    assert!(!buddy.drop_slab().is_zero());
    let dropped = text(boot, Text::Vmstat);
    let dropped = counters(&dropped);
    for name in ["pgsteal_direct", "pgscan_direct", "pgsteal_file"] {
        assert_eq!(dropped[name], vmstat[name], "{name}");
    }
    assert_eq!(dropped["drop_slab"], 1);
}

#[test]
fn a_node_that_kswapd_has_given_up_is_unreclaimable() {
    let (boot, mm) = machine(&[64, 64]);
    let unreclaimable = || {
        let zoneinfo = text(boot, Text::Zoneinfo);
        let mut node = 0;
        let mut found = [const { Vec::new() }; 2];
        for line in zoneinfo.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["Node", nid, "zone", _] => node = nid.trim_end_matches(',').parse().unwrap(),
                ["node_unreclaimable:", value] => found[node].push(value == "1"),
                _ => {}
            }
        }
        found.map(|zones| {
            assert!(zones.iter().all(|&zone| zone == zones[0]), "{zones:?}");
            zones[0]
        })
    };
    assert_eq!(unreclaimable(), [false, false]);
    let held = take_all(mm);
    let buddy = mm.buddy();
    let failures = || {
        let node = mm.nodes.get(NodeId(1)).unwrap();
        node.daemons.kswapd_failures()
    };
    // What makes up for a boost is no failure.
    buddy.balance_pgdat(NodeId(1), PageOrder::ZERO, ZoneType::Movable);
    for failed in failures()..16 {
        assert_eq!((failures(), unreclaimable()), (failed, [false, false]));
        buddy.balance_pgdat(NodeId(1), PageOrder::ZERO, ZoneType::Movable);
    }
    assert_eq!(unreclaimable(), [false, true]);
    for pfn in held {
        buddy.free(pfn, PageOrder::ZERO).unwrap();
    }
}

#[test]
fn an_isolated_page_block_is_in_no_count_of_free_pages() {
    let (boot, mm) = machine(&[64]);
    let free = || {
        let vmstat = text(boot, Text::Vmstat);
        let vmstat = counters(&vmstat);
        ["nr_free_pages", "nr_free_pages_blocks"].map(|name| vmstat[name])
    };
    let before = free();
    let zones = mm.nodes.populated_zones();
    let reports = zones.map(|zone| {
        let id = ZoneId::new(zone.nid, zone.kind);
        (id, mm.allocator().free_report(id).unwrap())
    });
    let (id, report) = reports.max_by_key(|(_, report)| report.blocks[10]).unwrap();
    assert!(report.blocks[10] > 0);
    let zone = mm.nodes.zone(id.nid(), id.kind()).unwrap();
    let mut pfns = (zone.span.start.0..zone.span.end.0).step_by(512).map(Pfn);
    let isolated = pfns.find(|&pfn| {
        let block = mm.allocator().block_of(pfn).unwrap();
        block.state == PageState::Buddy && block.order == PageOrder::MAX
    });
    let isolated = isolated.unwrap();
    assert!(mm.buddy().isolate_pageblock(isolated, true));
    assert_eq!(free(), before.map(|pages| pages - 512));
    assert!(mm.buddy().isolate_pageblock(isolated, false));
    assert_eq!(free(), before);
}

#[test]
fn the_line_of_1_gib_is_there_if_the_cpus_map_so_much() {
    let (boot, mm) = machine(&[64]);
    let lines = || {
        let meminfo = text(boot, Text::Meminfo);
        let named = meminfo.lines().filter(|line| line.starts_with("DirectMap"));
        named.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(lines().len(), 2);
    mm.platform.gbpages.store(true, Relaxed);
    assert_eq!(lines()[2], "DirectMap1G:           0 kB");
}
