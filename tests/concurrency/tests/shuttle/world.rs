// SPDX-License-Identifier: GPL-2.0

//! A machine of one zone whose CPUs are the checker's threads.

#[path = "../common/cpus.rs"]
mod cpus;

pub use cpus::*;
use shadowmm_core::buddy::*;
use shadowmm_core::error::Error;
use shadowmm_core::page::*;
use shadowmm_core::phys::*;
use shadowmm_core::platform::Platform;
use shadowmm_core::platform::SpinWord;
use shadowmm_core::sparse::Stretch;
use shadowmm_core::zone::Watermark;
use shadowmm_core::zone::Zone;
use shadowmm_core::zonelist::ZoneRef;
use shadowmm_core::zonelist::Zonelist;
use shadowmm_core::zonelist::ZonelistKind;
use shuttle::sync::atomic::AtomicBool;
use shuttle::thread;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::Ordering::SeqCst;

/// Two page blocks.
pub const PAGES: u64 = 1024;

/// What of the platform is not as it has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    None,
    /// `synchronize` does not wait.
    NoSynchronize,
}

/// How the machine is.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Whether CPUs find their own, so that the short ways are gone.
    pub short: bool,
    /// Whether the zone is so near its high watermark that its gates close and
    /// open all the time.
    pub near_high: bool,
    pub flaw: Flaw,
}

/// See the head of `main.rs` for where others may run.
pub struct Checked {
    settings: Settings,
    pinned: Sections,
    /// Who looks at it lets others run.
    point: AtomicBool,
    looks: AtomicU32,
    /// Whether there are others.
    armed: AtomicU32,
}

impl Checked {
    fn switch(&self) {
        if self.armed.load(Relaxed) != 0 {
            self.point.load(SeqCst);
        }
    }

    /// In a list that is walked or changed.
    fn switch_at_page(&self) {
        let pinned = self.pinned.0[running() as usize].load(Relaxed) != 0;
        if pinned || self.looks.fetch_add(1, Relaxed) & 31 == 0 {
            self.switch();
        }
    }
}

/// A pinned section, until it is dropped.
pub struct Pinned<'a>(&'a Checked, u32);

impl Drop for Pinned<'_> {
    fn drop(&mut self) {
        let Self(platform, cpu) = self;
        platform.pinned.leave(*cpu);
        if !std::thread::panicking() {
            platform.switch();
        }
    }
}

impl Platform for Checked {
    type Lock<T: Send> = CheckedLock<T>;
    type CpuGuard<'a> = Pinned<'a>;
    type RawGuard<'a> = SpinWord<'a>;

    fn raw_lock<'a>(&'a self, word: &'a AtomicU32) -> SpinWord<'a> {
        SpinWord::lock(word, thread::yield_now)
    }

    fn nr_cpus(&self) -> u32 {
        NR_CPUS
    }

    fn pin_cpu(&self) -> (CpuId, Pinned<'_>) {
        let cpu = running();
        self.switch();
        self.pinned.enter(cpu);
        self.switch();
        (CpuId(cpu), Pinned(self, cpu))
    }

    fn pin_local<'s, T: Sync>(&self, all: &'s [T]) -> Option<(&'s T, Pinned<'_>)> {
        let (cpu, pinned) = self.pin_cpu();
        match self.settings.short {
            true => Some((all.get(cpu.0 as usize)?, pinned)),
            false => None,
        }
    }

    fn synchronize(&self) {
        self.switch();
        if self.settings.flaw == Flaw::NoSynchronize {
            return;
        }
        self.pinned.wait();
    }

    fn relax(&self) {
        thread::yield_now();
    }

    fn local_node(&self) -> NodeId {
        NodeId(0)
    }

    fn now_ns(&self) -> u64 {
        0
    }
}

/// The descriptors and page blocks of the zone.
pub struct Map<'m> {
    pages: &'m [PageDescriptor],
    blocks: &'m [Pageblock],
    platform: &'m Checked,
}

impl MemMap for Map<'_> {
    fn page(&self, pfn: Pfn) -> Option<&PageDescriptor> {
        self.platform.switch_at_page();
        self.pages.get(pfn.0 as usize)
    }

    fn pageblock(&self, pfn: Pfn) -> Option<&Pageblock> {
        self.blocks.get((pfn.0 >> PAGEBLOCK_ORDER) as usize)
    }
}

/// The zone, and the list of it alone.
pub struct Zones<'m> {
    zone: &'m Zone<Checked>,
    list: Zonelist<'m, Checked>,
}

pub const ZONE: ZoneId = ZoneId::new(NodeId(0), ZoneType::Normal);

impl ZoneTable<Checked> for Zones<'_> {
    fn zone(&self, id: ZoneId) -> Option<&Zone<Checked>> {
        (id == ZONE).then_some(self.zone)
    }

    fn zonelist(&self, nid: NodeId, _kind: ZonelistKind) -> Option<Zonelist<'_, Checked>> {
        (nid == NodeId(0)).then_some(self.list)
    }
}

pub type Buddy<'m> = BuddySystem<'m, Checked, Map<'m>, Zones<'m>>;

/// A machine, and who has which page.
pub struct Machine<'m> {
    pub buddy: Buddy<'m>,
    owners: Vec<AtomicU32>,
    /// Pages that were given out, and those of ranges, which no event counts.
    given: AtomicU64,
    ranged: AtomicU64,
    refused: AtomicU64,
}

/// A block that is somebody's. Each of its pages is marked.
pub struct Held {
    pub pfn: Pfn,
    pub order: PageOrder,
}

impl Machine<'_> {
    /// Notes that a block is the running CPU's from here on.
    pub fn keep(&self, pfn: Pfn, order: PageOrder) -> Held {
        self.given.fetch_add(order.pages().0, Relaxed);
        self.mark(pfn, order)
    }

    /// The same of a page of a range that was taken.
    pub fn keep_ranged(&self, pfn: Pfn) -> Held {
        self.ranged.fetch_add(1, Relaxed);
        self.mark(pfn, PageOrder::ZERO)
    }

    fn mark(&self, pfn: Pfn, order: PageOrder) -> Held {
        for page in pfn.0..pfn.0 + order.pages().0 {
            let was = self.owners[page as usize].swap(1, Relaxed);
            assert_eq!(was, 0, "page {page} was given out twice");
        }
        Held { pfn, order }
    }

    /// Notes that a request found nothing.
    pub fn refused(&self, error: Error) {
        assert_eq!(error, Error::NoMemory);
        self.refused.fetch_add(1, Relaxed);
    }

    /// Gives a block back.
    pub fn free(&self, held: Held) {
        let Held { pfn, order } = held;
        for page in pfn.0..pfn.0 + order.pages().0 {
            self.owners[page as usize].store(0, Relaxed);
        }
        self.buddy.free(pfn, order).unwrap();
    }

    /// Whether all is as it has to be when nobody holds a page.
    fn check_in_the_end(&self, before: FreeReport) {
        run_on(LAST_CPU);
        self.buddy.validate().unwrap();
        self.buddy.drain_all_pages();
        self.buddy.validate().unwrap();
        assert_eq!(self.buddy.free_report(ZONE).unwrap(), before);
        let stats = self.buddy.stats;
        let given = self.given.load(Relaxed);
        assert_eq!(stats.vm_event(VmEvent::PgAlloc(ZoneType::Normal)), given);
        let freed = stats.vm_event(VmEvent::PgFree);
        match self.ranged.load(Relaxed) {
            0 => assert_eq!(freed, PAGES + given),
            // And what was taken around it, to be given back at once.
            ranged => assert!(freed >= PAGES + given + ranged),
        }
        let refused = self.refused.load(Relaxed);
        assert_eq!(stats.refusals(Error::NoMemory), refused);
        for error in [Error::DoubleFree, Error::WrongOrder] {
            assert_eq!(stats.refusals(error), 0);
        }
    }
}

/// Boots a machine, has `work` done, and looks whether all came back.
pub fn with_machine(settings: Settings, work: impl FnOnce(&Machine<'_>)) {
    let platform = Checked {
        settings,
        pinned: Default::default(),
        point: AtomicBool::new(false),
        looks: AtomicU32::new(0),
        armed: AtomicU32::new(0),
    };
    run_on(LAST_CPU);
    let pages: Vec<_> = (0..PAGES).map(|_| PageDescriptor::hole()).collect();
    for page in &pages {
        page.init(NodeId(0), ZoneType::Normal, PageState::Reserved);
    }
    let blocks = [const { Pageblock::new() }; 2];
    for block in &blocks {
        block.set_migratetype(MigrateType::Movable);
    }
    let span = PfnRange {
        start: Pfn(0),
        end: Pfn(PAGES),
    };
    let zone = Zone::new(ZoneType::Normal, NodeId(0), span, span.pages());
    let refs = [ZoneRef::new(&zone)];
    let zones = Zones {
        zone: &zone,
        list: Zonelist::new(&refs),
    };
    let cpus: Vec<_> = (0..NR_CPUS).map(|_| CpuStats::new()).collect();
    let slots: Vec<_> = (0..4 * NR_CPUS).map(|_| ZoneStats::new()).collect();
    let stats = Statistics::on(&cpus, &slots, 1);
    let locals: Vec<_> = (0..NR_CPUS)
        .map(|cpu| {
            let stretch = Stretch {
                start: Pfn(0),
                map: &pages,
            };
            stats.local(CpuId(cpu), &blocks, |highest| {
                (highest >= ZoneType::Normal).then_some((ZONE, true, stretch))
            })
        })
        .collect();
    let stats = stats.with_locals(&locals);
    let map = Map {
        pages: &pages,
        blocks: &blocks,
        platform: &platform,
    };
    let memory = Region::EMPTY;
    let machine = Machine {
        buddy: BuddySystem {
            platform: &platform,
            map: &map,
            zones: &zones,
            memory: &memory,
            stats: &stats,
            shrinker: None,
        },
        owners: (0..PAGES).map(|_| AtomicU32::new(0)).collect(),
        given: AtomicU64::new(0),
        ranged: AtomicU64::new(0),
        refused: AtomicU64::new(0),
    };
    for start in [Pfn(0), Pfn(PAGES / 2)] {
        machine.buddy.accept(start, PageOrder::PAGEBLOCK).unwrap();
    }
    if settings.near_high {
        zone.set_watermark(Watermark::High, Pages(PAGES - 6));
    }
    machine.buddy.setup_pagesets(|_| NR_CPUS.into());
    let before = machine.buddy.free_report(ZONE).unwrap();
    platform.armed.store(1, Relaxed);
    work(&machine);
    platform.armed.store(0, Relaxed);
    machine.check_in_the_end(before);
}
