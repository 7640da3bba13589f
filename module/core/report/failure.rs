// SPDX-License-Identifier: GPL-2.0

//! What Linux writes to its log when a request for pages fails: a line about
//! the request, and the state of memory (`warn_alloc`, `mm/show_mem.c`).
//!
//! ```text
//! shadowmm: page allocation failure: order:4, mode:0xcc0(GFP_KERNEL), nodemask=(null)
//! Mem-Info:
//! active_anon:0 inactive_anon:0 isolated_anon:0
//!  ...
//! Node 0 DMA free:12kB boost:0kB min:16kB ...
//! lowmem_reserve[]: 0 0 0 0 0
//! Node 0 DMA: 1*4kB (U) 1*8kB (U) 0*16kB ... 0*4096kB = 12kB
//! ```
//!
//! It is written while memory is short, by whoever asked in vain: from the
//! zones themselves, without the [`Snapshot`](super::Snapshot) that the other
//! reports go through. What a shadow does not have is zero.

use crate::buddy::gfp;
use crate::buddy::BuddySystem;
use crate::buddy::Gfp;
use crate::buddy::MemMap;
use crate::buddy::MigrateType;
use crate::buddy::UserStat;
use crate::buddy::ZoneTable;
use crate::nodemask::NodeMask;
use crate::page::ZoneId;
use crate::page::ZoneType;
use crate::phys::CpuId;
use crate::phys::NodeId;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::MAX_NODES;
use crate::phys::NR_PAGE_ORDERS;
use crate::platform::Lock;
use crate::platform::Platform;
use crate::zone::Watermark;
use crate::zone::Zone;
use core::fmt;
use core::fmt::Write;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// A request that has failed. Printed, it is the message of `warn_alloc()`,
/// without the name of the program before it and what cpusets allow behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocFailure {
    /// Its flags.
    pub gfp: Gfp,
    /// log2 of the pages.
    pub order: PageOrder,
    /// The nodes that it was held to, if any.
    pub nodes: Option<NodeMask>,
}

impl AllocFailure {
    /// Which nodes are of interest: all, for one that could not sleep
    /// (`warn_alloc_show_mem`).
    pub(crate) fn shown_nodes(&self) -> Option<NodeMask> {
        self.nodes
            .filter(|_| self.gfp.has(gfp::__GFP_DIRECT_RECLAIM))
    }
}

impl fmt::Display for AllocFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (order, bits) = (self.order.get(), self.gfp.bits());
        write!(f, "page allocation failure: order:{order}, mode:{bits:#x}")?;
        write!(f, "({}), nodemask=", self.gfp)?;
        match self.nodes {
            Some(nodes) => nodes.fmt(f),
            None => f.write_str("(null)"),
        }
    }
}

/// How often something may be said: `burst` times in an interval
/// (`___ratelimit`).
#[derive(Debug)]
pub struct RateLimit {
    interval_ns: u64,
    burst: u64,
    begin: AtomicU64,
    printed: AtomicU64,
    missed: AtomicU64,
}

impl RateLimit {
    /// As failures are told: once in ten seconds (`nopage_rs`).
    pub const fn of_failures() -> Self {
        Self::new(10_000_000_000, 1)
    }

    /// As the log is spared where nothing else is said: ten times in five seconds
    /// (`printk_ratelimit`, `DEFAULT_RATELIMIT_INTERVAL`, `DEFAULT_RATELIMIT_BURST`).
    pub const fn of_log() -> Self {
        Self::new(5_000_000_000, 10)
    }

    /// So often in so many nanoseconds.
    pub const fn new(interval_ns: u64, burst: u64) -> Self {
        Self {
            interval_ns,
            burst,
            begin: AtomicU64::new(0),
            printed: AtomicU64::new(0),
            missed: AtomicU64::new(0),
        }
    }

    /// Whether it may be said now, and if a new interval begins with that, how
    /// often it could not be in the last (`N callbacks suppressed`).
    pub fn allow(&self, now_ns: u64) -> Option<u64> {
        let begin = self.begin.load(Relaxed);
        // 0 stands for never; a clock that starts there loses a nanosecond.
        let now = now_ns.max(1);
        let mut missed = 0;
        let over = begin == 0 || now.saturating_sub(begin) >= self.interval_ns;
        let starts = || self.begin.compare_exchange(begin, now, Relaxed, Relaxed);
        if over && starts().is_ok() {
            missed = self.missed.swap(0, Relaxed);
            self.printed.store(0, Relaxed);
        }
        if self.printed.fetch_add(1, Relaxed) < self.burst {
            return Some(missed);
        }
        self.missed.fetch_add(1, Relaxed);
        None
    }
}

/// A zone that is shown, with its number.
type Shown<'a, P> = (ZoneId, &'a Zone<P>);

/// Writes the state of memory from `Mem-Info:` on, for requests up to
/// `highest`, of `nodes` or of all (`__show_mem`).
///
/// # Errors
///
/// Those of `out`.
pub fn write_mem_info<P, M, Z>(
    out: &mut dyn Write,
    buddy: &BuddySystem<'_, P, M, Z>,
    highest: ZoneType,
    nodes: Option<NodeMask>,
) -> fmt::Result
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    writeln!(out, "Mem-Info:")?;
    let nids = || (0..MAX_NODES as u32).filter_map(NodeId::new);
    let kinds = || ZoneType::ALL.into_iter();
    let all = || nids().flat_map(move |nid| kinds().map(move |kind| ZoneId::new(nid, kind)));
    let all = || all().filter_map(|id| Some((id, buddy.zones.zone(id)?)));
    let all = || all().filter(|(_, zone)| zone.is_populated());
    let on = |nid| nodes.is_none_or(|nodes| nodes.contains(nid));
    let shown = || all().filter(|(id, _)| id.kind() <= highest && on(id.nid()));
    write_totals(out, buddy, all(), shown())?;
    for nid in nids().filter(|&nid| on(nid)) {
        if shown().any(|(id, zone)| id.nid() == nid && !zone.managed().is_zero()) {
            write_node(out, buddy, nid)?;
        }
    }
    for zone in shown() {
        write_zone(out, buddy, zone)?;
    }
    for zone in shown() {
        write_free_list(out, zone)?;
    }
    for nid in nids().filter(|&nid| on(nid)) {
        // Only nodes that are online have threads.
        let is_online = || buddy.zones.daemons(nid).is_some();
        if all().any(|(id, _)| id.nid() == nid) || is_online() {
            let counts = "hugepages_total=0 hugepages_free=0 hugepages_surp=0";
            writeln!(out, "Node {nid} {counts} hugepages_size=2048kB")?;
        }
    }
    let user = |id, stat| buddy.stats.user(id, stat);
    let cached = |id| user(id, UserStat::File) + user(id, UserStat::Shmem);
    let pagecache: Pages = all().map(|(id, _)| cached(id)).sum();
    writeln!(out, "{} total pagecache pages", pagecache.0)?;
    writeln!(out, "0 pages in swap cache")?;
    writeln!(out, "Free swap  = 0kB")?;
    writeln!(out, "Total swap = 0kB")?;
    let present: Pages = all().map(|(_, zone)| zone.present).sum();
    let managed: Pages = all().map(|(_, zone)| zone.managed()).sum();
    let cma: Pages = all().map(|(_, zone)| zone.cma()).sum();
    writeln!(out, "{} pages RAM", present.0)?;
    writeln!(out, "0 pages HighMem/MovableOnly")?;
    writeln!(out, "{} pages reserved", (present - managed).0)?;
    writeln!(out, "{} pages cma reserved", cma.0)?;
    writeln!(out, "0 pages hwpoisoned")
}

/// Pages of a zone that CPUs which are up keep.
fn free_pcp<P, M, Z>(buddy: &BuddySystem<'_, P, M, Z>, id: ZoneId) -> Pages
where
    P: Platform,
{
    let cpus = (0..buddy.platform.nr_cpus()).map(CpuId);
    let online = cpus.filter(|&cpu| buddy.platform.is_online(cpu));
    let kept = online.filter_map(|cpu| Some(buddy.stats.pageset(cpu, id)?.count()));
    kept.map(|count| Pages(u64::from(count))).sum()
}

/// The first lines of `show_free_areas()`.
fn write_totals<'a, P, M, Z>(
    out: &mut dyn Write,
    buddy: &BuddySystem<'_, P, M, Z>,
    all: impl Iterator<Item = Shown<'a, P>>,
    shown: impl Iterator<Item = Shown<'a, P>>,
) -> fmt::Result
where
    P: Platform,
{
    let (mut free, mut cma) = (Pages::ZERO, Pages::ZERO);
    let (mut mapped, mut shmem, mut tables) = (Pages::ZERO, Pages::ZERO, Pages::ZERO);
    for (id, zone) in all {
        free += zone.free_counts.free_pages();
        cma += zone.free_counts.free_cma();
        mapped += buddy.stats.user(id, UserStat::Mapped);
        shmem += buddy.stats.user(id, UserStat::Shmem);
        tables += buddy.stats.user(id, UserStat::Table);
    }
    let pcp: Pages = shown.map(|(id, _)| free_pcp(buddy, id)).sum();
    writeln!(out, "active_anon:0 inactive_anon:0 isolated_anon:0")?;
    writeln!(out, " active_file:0 inactive_file:0 isolated_file:0")?;
    writeln!(out, " unevictable:0 dirty:0 writeback:0")?;
    let slab = |which| buddy.shrinker.map_or(0, |layer| layer.slab_pages(which).0);
    let (reclaimable, unreclaimable) = (slab(true), slab(false));
    writeln!(
        out,
        " slab_reclaimable:{reclaimable} slab_unreclaimable:{unreclaimable}"
    )?;
    let (mapped, shmem, tables) = (mapped.0, shmem.0, tables.0);
    writeln!(out, " mapped:{mapped} shmem:{shmem} pagetables:{tables}")?;
    writeln!(out, " sec_pagetables:0 bounce:0")?;
    writeln!(out, " kernel_misc_reclaimable:0")?;
    let (free, pcp, cma) = (free.0, pcp.0, cma.0);
    writeln!(out, " free:{free} free_pcp:{pcp} free_cma:{cma}")
}

/// A node's line. Linux's has no space before the first line's names.
fn write_node<P, M, Z>(
    out: &mut dyn Write,
    buddy: &BuddySystem<'_, P, M, Z>,
    nid: NodeId,
) -> fmt::Result
where
    P: Platform,
    Z: ZoneTable<P>,
{
    const COUNTS: [(&str, Option<UserStat>); 17] = [
        ("active_anon", None),
        ("inactive_anon", None),
        ("active_file", None),
        ("inactive_file", None),
        ("unevictable", None),
        ("isolated(anon)", None),
        ("isolated(file)", None),
        ("mapped", Some(UserStat::Mapped)),
        ("dirty", None),
        ("writeback", None),
        ("shmem", Some(UserStat::Shmem)),
        ("shmem_thp", None),
        ("shmem_pmdmapped", None),
        ("anon_thp", Some(UserStat::AnonHuge)),
        ("kernel_stack", None),
        ("pagetables", Some(UserStat::Table)),
        ("sec_pagetables", None),
    ];
    write!(out, "Node {nid}")?;
    for (name, stat) in COUNTS {
        let pages = stat.map_or(Pages::ZERO, |stat| buddy.stats.user_on(nid, stat));
        write!(out, " {name}:{}kB", pages.kib())?;
    }
    let daemons = buddy.zones.daemons(nid);
    let hopeless = daemons.is_some_and(|daemons| daemons.is_hopeless());
    let hopeless = if hopeless { "yes" } else { "no" };
    write!(out, " all_unreclaimable? {hopeless}")?;
    writeln!(out, " Balloon:0kB gpu_active:0kB gpu_reclaim:0kB")
}

/// A zone's two lines.
fn write_zone<P, M, Z>(
    out: &mut dyn Write,
    buddy: &BuddySystem<'_, P, M, Z>,
    (id, zone): Shown<'_, P>,
) -> fmt::Result
where
    P: Platform,
{
    let counts = &zone.free_counts;
    let local = {
        let (cpu, _pinned) = buddy.platform.pin_cpu();
        let pageset = buddy.stats.pageset(cpu, id);
        pageset.map_or(Pages::ZERO, |pageset| Pages(u64::from(pageset.count())))
    };
    write!(out, "Node {} {}", id.nid(), id.kind().name())?;
    let mut kib = |name: &str, pages: Pages| write!(out, " {name}:{}kB", pages.kib());
    kib("free", counts.free_pages())?;
    kib("boost", zone.boost())?;
    kib("min", zone.wmark(Watermark::Min))?;
    kib("low", zone.wmark(Watermark::Low))?;
    kib("high", zone.wmark(Watermark::High))?;
    kib("reserved_highatomic", zone.reserved_highatomic())?;
    kib("free_highatomic", counts.free_highatomic())?;
    for name in [
        "active_anon",
        "inactive_anon",
        "active_file",
        "inactive_file",
        "unevictable",
        "writepending",
        "zspages",
    ] {
        kib(name, Pages::ZERO)?;
    }
    kib("present", zone.present)?;
    kib("managed", zone.managed())?;
    kib("mlocked", buddy.stats.user(id, UserStat::Locked))?;
    kib("bounce", Pages::ZERO)?;
    kib("free_pcp", free_pcp(buddy, id))?;
    kib("local_pcp", local)?;
    kib("free_cma", counts.free_cma())?;
    write!(out, "\nlowmem_reserve[]:")?;
    // The host has a fifth kind of zone above these, for devices; it keeps as
    // much from it as from the fourth.
    let kinds = ZoneType::ALL.into_iter().chain([ZoneType::Movable]);
    for kind in kinds {
        write!(out, " {}", zone.lowmem_reserve(kind).0)?;
    }
    writeln!(out)
}

/// A zone's free blocks by order, and of which types they are.
fn write_free_list<P: Platform>(out: &mut dyn Write, (id, zone): Shown<'_, P>) -> fmt::Result {
    let mut types = [[false; MigrateType::ALL.len()]; NR_PAGE_ORDERS];
    let blocks = {
        let areas = zone.free.lock();
        for (order, types) in PageOrder::all().zip(&mut types) {
            for (mt, has) in MigrateType::ALL.into_iter().zip(types) {
                *has = !areas.list(order, mt).is_empty();
            }
        }
        zone.free_counts.blocks()
    };
    write!(out, "Node {} {}: ", id.nid(), id.kind().name())?;
    let mut total = Pages::ZERO;
    for ((order, count), types) in PageOrder::all().zip(blocks).zip(types) {
        total += Pages(count << order.get());
        write!(out, "{count}*{}kB ", order.pages().kib())?;
        if count != 0 {
            out.write_str("(")?;
            for (mt, _) in MigrateType::ALL.iter().zip(types).filter(|(_, has)| *has) {
                out.write_char(letter(*mt))?;
            }
            out.write_str(") ")?;
        }
    }
    writeln!(out, "= {}kB", total.kib())
}

/// `show_migration_types()`
const fn letter(mt: MigrateType) -> char {
    match mt {
        MigrateType::Unmovable => 'U',
        MigrateType::Movable => 'M',
        MigrateType::Reclaimable => 'E',
        MigrateType::HighAtomic => 'H',
        MigrateType::Cma => 'C',
        MigrateType::Isolate => 'I',
    }
}
