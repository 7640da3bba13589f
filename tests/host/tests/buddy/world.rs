// SPDX-License-Identifier: GPL-2.0

//! A small machine to allocate from: zones where a test wants them, page
//! descriptors in a vector, CPUs that are threads.

use shadowmm_core::buddy::*;
use shadowmm_core::page::*;
use shadowmm_core::phys::*;
use shadowmm_core::platform::Platform;
use shadowmm_core::platform::SpinWord;
use shadowmm_core::report::AllocFailure;
use shadowmm_core::trace::TraceEvent;
use shadowmm_core::trace::TracePoint;
use shadowmm_core::zone::Zone;
use shadowmm_core::zonelist::ZoneRef;
use shadowmm_core::zonelist::Zonelist;
use shadowmm_core::zonelist::ZonelistKind;
use shadowmm_host_tests::leaked_pages;
use shadowmm_host_tests::HostLock;
use shadowmm_host_tests::PinnedSection;
use shadowmm_host_tests::PinnedSections;
use std::cell::Cell;
use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Mutex;
use std::sync::OnceLock;

pub const NR_CPUS: u32 = 8;

thread_local! {
    static CPU: Cell<u32> = const { Cell::new(0) };
    static HEARD: RefCell<Option<Vec<TraceEvent>>> = const { RefCell::new(None) };
}

/// Every thread says which CPU it is; odd CPUs are on node 1. What a test wants
/// to be asked or told about memory that is short is entered here.
#[derive(Default)]
pub struct Threads {
    pinned: PinnedSections<{ NR_CPUS as usize }>,
    /// Who owns movable blocks.
    pub owner: OnceLock<&'static dyn Migrate>,
    /// Who can give memory back.
    pub shrinkers: Mutex<Vec<&'static dyn Shrinker>>,
    /// Whether each node has a kswapd, and which nodes' were woken.
    pub has_kswapd: AtomicBool,
    pub kswapd_woken: Mutex<Vec<i32>>,
    pub kcompactd_woken: Mutex<Vec<i32>>,
    /// What was said of failures: the headline, and what follows.
    pub failures: Mutex<Vec<(String, String)>>,
    /// Whether free pages are filled, and what was said of those that had changed.
    pub poisons: AtomicBool,
    pub corrupt: Mutex<Vec<(Pfn, String)>>,
    /// Whether somebody listens for pages, and whether he comes when that was asked once.
    pub listens: AtomicBool,
    pub comes: AtomicBool,
}

impl Threads {
    pub fn run_on(cpu: u32) {
        CPU.set(cpu);
    }

    /// What `work` tells whoever listens, on this thread.
    pub fn heard(work: impl FnOnce()) -> Vec<TraceEvent> {
        HEARD.set(Some(vec![]));
        work();
        HEARD.take().unwrap()
    }
}

impl Platform for Threads {
    type Lock<T: Send> = HostLock<T>;
    type CpuGuard<'a> = PinnedSection<'a>;
    type RawGuard<'a> = SpinWord<'a>;

    fn raw_lock<'a>(&'a self, word: &'a AtomicU32) -> SpinWord<'a> {
        SpinWord::lock(word, std::thread::yield_now)
    }

    fn nr_cpus(&self) -> u32 {
        NR_CPUS
    }

    fn pin_cpu(&self) -> (CpuId, PinnedSection<'_>) {
        let cpu = CpuId(CPU.get());
        (cpu, self.pinned.enter(cpu))
    }

    fn synchronize(&self) {
        self.pinned.wait();
    }

    fn relax(&self) {
        std::thread::yield_now();
    }

    fn local_node(&self) -> NodeId {
        NodeId(CPU.get() as i32 & 1)
    }

    fn now_ns(&self) -> u64 {
        0
    }

    fn owners(&self) -> Option<&dyn Migrate> {
        self.owner.get().map(|owner| *owner as &dyn Migrate)
    }

    fn for_each_shrinker(&self, each: &mut dyn FnMut(&dyn Shrinker)) {
        let shrinkers = self.shrinkers.lock().unwrap().clone();
        shrinkers.into_iter().for_each(each);
    }

    fn has_kswapd(&self, _nid: NodeId) -> bool {
        self.has_kswapd.load(Relaxed)
    }

    fn wake_kswapd(&self, nid: NodeId) {
        self.kswapd_woken.lock().unwrap().push(nid.0);
    }

    fn wake_kcompactd(&self, nid: NodeId) {
        self.kcompactd_woken.lock().unwrap().push(nid.0);
    }

    fn poisons_pages(&self) -> bool {
        self.poisons.load(Relaxed)
    }

    fn page_report(&self, pfn: Pfn, text: &dyn Fn(&mut dyn fmt::Write) -> fmt::Result) {
        let mut report = String::new();
        text(&mut report).unwrap();
        self.corrupt.lock().unwrap().push((pfn, report));
    }

    fn warn_alloc(
        &self,
        failure: &AllocFailure,
        memory: &dyn Fn(&mut dyn fmt::Write) -> fmt::Result,
    ) {
        let mut failures = self.failures.lock().unwrap();
        // Some tests exhaust memory many thousand times.
        if failures.len() < 16 {
            let mut text = String::new();
            memory(&mut text).unwrap();
            failures.push((failure.to_string(), text));
        }
    }

    fn wants_pages(&self) -> bool {
        let wants = self.listens.load(Relaxed);
        if self.comes.swap(false, Relaxed) {
            self.listens.store(true, Relaxed);
        }
        wants || self.poisons_pages() || self.is_traced(TracePoint::PageAlloc)
    }

    fn is_traced(&self, _: TracePoint) -> bool {
        HEARD.with_borrow(|heard| heard.is_some())
    }

    fn trace(&self, event: &TraceEvent) {
        HEARD.with_borrow_mut(|heard| heard.as_mut().unwrap().push(*event));
    }
}

/// The descriptors of all pages below some number.
pub struct VecMap(Vec<PageDescriptor>);

impl VecMap {
    /// All of them, from page 0 on.
    pub fn all(&self) -> &[PageDescriptor] {
        &self.0
    }
}

impl MemMap for VecMap {
    fn page(&self, pfn: Pfn) -> Option<&PageDescriptor> {
        self.0.get(pfn.0 as usize)
    }
}

pub struct Zones {
    zones: &'static [Zone<Threads>],
    nodes: Vec<(NodeId, [Zonelist<'static, Threads>; 2])>,
    daemons: Vec<Daemons>,
}

impl ZoneTable<Threads> for Zones {
    fn daemons(&self, nid: NodeId) -> Option<&Daemons> {
        self.daemons.get(nid.index()?)
    }

    fn zone(&self, id: ZoneId) -> Option<&Zone<Threads>> {
        self.zones
            .iter()
            .find(|zone| ZoneId::new(zone.nid, zone.kind) == id)
    }

    fn zonelist(&self, nid: NodeId, kind: ZonelistKind) -> Option<Zonelist<'_, Threads>> {
        let (_, lists) = self.nodes.iter().find(|(node, _)| *node == nid)?;
        Some(lists[kind as usize])
    }

    fn nr_online_nodes(&self) -> usize {
        self.nodes.len()
    }
}

/// Where a zone lies: node, kind, first page, page behind the last.
pub type ZoneSpec = (i32, ZoneType, u64, u64);

pub struct World {
    pub platform: Threads,
    pub map: VecMap,
    pub zones: Zones,
    pub memory: Box<Region<'static>>,
    pub stats: Statistics<'static>,
}

pub type Buddy<'a> = BuddySystem<'a, Threads, VecMap, Zones>;

impl World {
    /// A machine with these zones and nothing handed off. With `memory`, there
    /// is RAM behind the pages.
    pub fn new(specs: &[ZoneSpec], memory: bool) -> Self {
        let end = specs.iter().map(|spec| spec.3).max().unwrap();
        let map: Vec<_> = (0..end).map(|_| PageDescriptor::hole()).collect();
        let zones: Vec<_> = specs
            .iter()
            .map(|&(nid, kind, start, end)| {
                for pfn in start..end {
                    map[pfn as usize].init(NodeId(nid), kind, PageState::Reserved);
                }
                let span = range(start, end);
                Zone::new(kind, NodeId(nid), span, span.pages())
            })
            .collect();
        let zones: &'static [Zone<Threads>] = zones.leak();

        let mut nids: Vec<_> = specs.iter().map(|spec| spec.0).collect();
        nids.sort();
        nids.dedup();
        let nodes = nids
            .iter()
            .map(|&nid| {
                // Its own node first, then the others, lowest first; within a
                // node the highest zone first.
                let mut order = nids.clone();
                order.sort_by_key(|&other| (other != nid, other));
                let refs_of = |nid: i32| {
                    let mut own: Vec<_> = zones.iter().filter(|z| z.nid.0 == nid).collect();
                    own.sort_by_key(|zone| std::cmp::Reverse(zone.kind));
                    own.into_iter().map(ZoneRef::new).collect::<Vec<_>>()
                };
                let all: Vec<_> = order.iter().flat_map(|&nid| refs_of(nid)).collect();
                let lists = [
                    Zonelist::new(all.leak()),
                    Zonelist::new(refs_of(nid).leak()),
                ];
                (NodeId(nid), lists)
            })
            .collect();

        // The statistics get pages of their own, far above.
        let far = 1 << 20;
        let nr_nodes = nids.iter().max().unwrap() + 1;
        let size = Statistics::size(NR_CPUS as usize, nr_nodes as usize);
        let own = range(far, far + size.pages_up().0);
        let mut ram = vec![(NodeId(0), own)];
        if memory {
            let zones = specs.iter().map(|s| (NodeId(s.0), range(s.2, s.3)));
            ram.extend(zones);
        }
        let pages: u64 = ram.iter().map(|(_, range)| range.pages().0).sum();
        let mut backing = Backing::new();
        let run = BackingRun::from_pages(leaked_pages(pages as usize), NodeId(0));
        backing.push(run).unwrap();
        let mut memory = Box::new(Region::EMPTY);
        memory.lay(&backing, ram.into_iter()).unwrap();
        let stats = Statistics::place(
            &mut memory,
            own.bytes(),
            NR_CPUS as usize,
            nr_nodes as usize,
        )
        .unwrap();

        World {
            platform: Threads::default(),
            map: VecMap(map),
            zones: Zones {
                zones,
                nodes,
                daemons: (0..nr_nodes).map(|_| Daemons::new()).collect(),
            },
            memory,
            stats,
        }
    }

    /// One zone, all of it free.
    pub fn one_zone(pages: u64) -> Self {
        let world = Self::new(&[(0, ZoneType::Normal, 0, pages)], false);
        world.hand_off(0, pages);
        world
    }

    pub fn buddy(&self) -> Buddy<'_> {
        BuddySystem {
            platform: &self.platform,
            map: &self.map,
            zones: &self.zones,
            memory: &self.memory,
            stats: &self.stats,
            shrinker: None,
        }
    }

    /// Frees a range as memblock does, in the largest blocks that alignment and
    /// length allow, and returns them.
    pub fn hand_off(&self, start: u64, end: u64) -> Vec<(u64, u32)> {
        hand_off(&self.buddy(), start, end)
    }

    pub fn zone(&self, nid: i32, kind: ZoneType) -> &Zone<Threads> {
        self.zones.zone(ZoneId::new(NodeId(nid), kind)).unwrap()
    }

    pub fn page(&self, pfn: u64) -> &PageDescriptor {
        self.map.page(Pfn(pfn)).unwrap()
    }

    /// The free blocks of a zone, each list from its head.
    pub fn lists(&self, nid: i32, kind: ZoneType) -> Vec<Vec<u64>> {
        let id = ZoneId::new(NodeId(nid), kind);
        PageOrder::all()
            .map(|order| {
                let mut list = vec![];
                self.buddy()
                    .for_each_free(id, order, |pfn| list.push(pfn.0));
                list
            })
            .collect()
    }

    /// All that a refused request must leave as it was.
    pub fn snapshot(&self) -> Vec<(Vec<Vec<u64>>, FreeReport)> {
        let report = |zone: &Zone<Threads>| {
            let id = ZoneId::new(zone.nid, zone.kind);
            let lists = self.lists(zone.nid.0, zone.kind);
            (lists, self.buddy().free_report(id).unwrap())
        };
        self.zones.zones.iter().map(report).collect()
    }

    pub fn alloc(&self, gfp: Gfp, order: u32) -> Result<u64, shadowmm_core::error::Error> {
        self.buddy().alloc(&request(gfp, order)).map(|pfn| pfn.0)
    }

    pub fn free(&self, pfn: u64, order: u32) -> Result<(), shadowmm_core::error::Error> {
        self.buddy().free(Pfn(pfn), order_of(order))
    }
}

/// See [`World::hand_off`].
pub fn hand_off(to: &impl PageAllocator, mut start: u64, end: u64) -> Vec<(u64, u32)> {
    let mut blocks = vec![];
    while start < end {
        let mut order = start.trailing_zeros().min(10);
        while start + (1 << order) > end {
            order -= 1;
        }
        to.accept(Pfn(start), order_of(order)).unwrap();
        blocks.push((start, order));
        start += 1 << order;
    }
    blocks
}

pub fn request(gfp: Gfp, order: u32) -> AllocRequest {
    AllocRequest::new(gfp, order_of(order))
}

pub fn order_of(order: u32) -> PageOrder {
    PageOrder::new(order).unwrap()
}

pub fn range(start: u64, end: u64) -> PfnRange {
    PfnRange {
        start: Pfn(start),
        end: Pfn(end),
    }
}

/// The lists of a zone where only these have blocks.
pub fn lists(some: &[(usize, &[u64])]) -> Vec<Vec<u64>> {
    let mut lists = vec![vec![]; NR_PAGE_ORDERS];
    for (order, list) in some {
        lists[*order] = list.to_vec();
    }
    lists
}
