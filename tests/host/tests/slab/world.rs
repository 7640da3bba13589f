// SPDX-License-Identifier: GPL-2.0

//! A machine of two nodes and four CPUs, which are threads.

use shadowmm_core::boot::Boot;
use shadowmm_core::boot::Config;
use shadowmm_core::boot::Mm;
use shadowmm_core::boot::Store;
use shadowmm_core::buddy::gfp;
use shadowmm_core::buddy::FreeReport;
use shadowmm_core::buddy::Migrate;
use shadowmm_core::buddy::PageAllocator;
use shadowmm_core::buddy::Shrinker;
use shadowmm_core::mm::OomTask;
use shadowmm_core::mm::VirtRange;
use shadowmm_core::page::ZoneId;
use shadowmm_core::phys::CpuId;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::PageOrder;
use shadowmm_core::phys::Pfn;
use shadowmm_core::platform::Platform;
use shadowmm_core::platform::Process;
use shadowmm_core::platform::SpinWord;
use shadowmm_core::report::AllocFailure;
use shadowmm_core::slab::CacheArgs;
use shadowmm_core::slab::CacheId;
use shadowmm_core::slab::CacheReport;
use shadowmm_core::slab::ObjRequest;
use shadowmm_core::slab::ObjectAllocator;
use shadowmm_core::slab::SlabAllocator;
use shadowmm_core::trace::TraceEvent;
use shadowmm_core::trace::TracePoint;
use shadowmm_host_tests::machine::backing;
use shadowmm_host_tests::machine::builtin;
use shadowmm_host_tests::machine::caches_of;
use shadowmm_host_tests::HostLock;
use shadowmm_host_tests::PinnedSection;
use shadowmm_host_tests::PinnedSections;
use std::cell::Cell;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicI32;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Mutex;
use std::sync::OnceLock;

pub const NR_CPUS: usize = 4;

thread_local! {
    static CPU: Cell<u32> = const { Cell::new(0) };
}

/// The thread is this CPU from now on.
pub fn run_on(cpu: u32) {
    CPU.set(cpu);
}

/// See [`run_on`].
#[derive(Default)]
pub struct Cpus {
    pinned: PinnedSections<NR_CPUS>,
    nodes: [AtomicI32; NR_CPUS],
    pub synchronized: AtomicU64,
    random: AtomicU64,
    listens: AtomicBool,
    /// The state of memory that goes with the last request for pages that failed.
    failed: Mutex<String>,
    heard: Mutex<Vec<TraceEvent>>,
    /// How often somebody waited for another.
    pub relaxed: AtomicU64,
    /// What the clock says.
    pub clock: AtomicU64,
    /// Whether all who ask have begun to end.
    pub exits: AtomicBool,
    /// Who owns movable blocks, and who can give memory back.
    pub owner: OnceLock<&'static dyn Migrate>,
    pub shrinkers: Mutex<Vec<&'static dyn Shrinker>>,
    /// Whether each node has a kswapd.
    pub has_kswapd: AtomicBool,
    /// Whether free pages are filled, from the boot on, and what was said of those that had
    /// changed.
    pub poisons: AtomicBool,
    corrupt: Mutex<String>,
    on_ask: OnceLock<OnAsk>,
    on_free: OnceLock<OnFree>,
    on_oom: OnceLock<OnOom>,
    on_owner: OnceLock<OnOwner>,
    on_zap: OnceLock<OnZap>,
}

type OnAsk = Box<dyn Fn() + Send + Sync>;
type OnFree = Box<dyn Fn(Pfn, PageOrder) + Send + Sync>;
type OnOom = Box<dyn Fn(&OomTask, &str) -> bool + Send + Sync>;
type OnZap = Box<dyn Fn(u32, VirtRange) + Send + Sync>;
type OnOwner = Box<dyn Fn(u32) -> Option<Process> + Send + Sync>;

impl Cpus {
    /// Somebody is told of each block that goes back, from now on; whether there was
    /// nobody before.
    #[allow(dead_code)] // The tests of mm/ are told.
    pub fn tell_frees(&self, who: impl Fn(Pfn, PageOrder) + Send + Sync + 'static) -> bool {
        self.on_free.set(Box::new(who)).is_ok()
    }

    /// Somebody kills processes, from now on.
    #[allow(dead_code)] // As above.
    pub fn kill_by(&self, who: impl Fn(&OomTask, &str) -> bool + Send + Sync + 'static) -> bool {
        self.on_oom.set(Box::new(who)).is_ok()
    }

    /// Somebody knows of whom address spaces are, from now on.
    #[allow(dead_code)] // As above.
    pub fn owned_by(&self, who: impl Fn(u32) -> Option<Process> + Send + Sync + 'static) -> bool {
        self.on_owner.set(Box::new(who)).is_ok()
    }

    /// Somebody zaps what the host has of any address space, from now on.
    #[allow(dead_code)] // As above.
    pub fn zap_by(&self, who: impl Fn(u32, VirtRange) + Send + Sync + 'static) -> bool {
        self.on_zap.set(Box::new(who)).is_ok()
    }

    /// Something happens just after it was asked whether somebody listens for objects.
    #[allow(dead_code)] // As above.
    pub fn when_asked(&self, what: impl Fn() + Send + Sync + 'static) -> bool {
        self.on_ask.set(Box::new(what)).is_ok()
    }

    /// The tracepoints are opened or closed, and nothing else.
    pub fn listen_now(&self, listens: bool) {
        self.listens.store(listens, Relaxed);
    }
}

impl Platform for Cpus {
    type Lock<T: Send> = HostLock<T>;
    type CpuGuard<'a> = PinnedSection<'a>;
    type RawGuard<'a> = SpinWord<'a>;

    fn raw_lock<'a>(&'a self, word: &'a AtomicU32) -> SpinWord<'a> {
        SpinWord::lock(word, std::thread::yield_now)
    }

    fn random(&self) -> u64 {
        let n = self.random.fetch_add(1, Relaxed).wrapping_add(1);
        n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
    }

    fn nr_cpus(&self) -> u32 {
        NR_CPUS as u32
    }

    fn pin_cpu(&self) -> (CpuId, PinnedSection<'_>) {
        let cpu = CpuId(CPU.get());
        (cpu, self.pinned.enter(cpu))
    }

    fn synchronize(&self) {
        self.synchronized.fetch_add(1, Relaxed);
        self.pinned.wait();
    }

    fn relax(&self) {
        self.relaxed.fetch_add(1, Relaxed);
        std::thread::yield_now();
    }

    fn set_cpu_node(&self, cpu: CpuId, nid: NodeId) {
        if let Some(node) = self.nodes.get(cpu.0 as usize) {
            node.store(nid.0, Relaxed);
        }
    }

    fn local_node(&self) -> NodeId {
        NodeId(self.nodes[CPU.get() as usize].load(Relaxed))
    }

    fn now_ns(&self) -> u64 {
        self.clock.load(Relaxed)
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

    fn poisons_pages(&self) -> bool {
        self.poisons.load(Relaxed)
    }

    fn page_report(&self, _pfn: Pfn, text: &dyn Fn(&mut dyn std::fmt::Write) -> std::fmt::Result) {
        text(&mut *self.corrupt.lock().unwrap()).unwrap();
    }

    fn is_exiting(&self) -> bool {
        self.exits.load(Relaxed)
    }

    fn save_stack(&self, entries: &mut [u64]) -> usize {
        let stack = [0x51ab, 0x1000 + u64::from(CPU.get())];
        let places = entries.iter_mut().zip(stack);
        places.map(|(place, addr)| *place = addr).count()
    }

    fn warn_alloc(
        &self,
        _: &AllocFailure,
        memory: &dyn Fn(&mut dyn std::fmt::Write) -> std::fmt::Result,
    ) {
        let mut text = String::new();
        memory(&mut text).unwrap();
        *self.failed.lock().unwrap() = text;
    }

    fn wants_objects(&self) -> bool {
        let wants = self.is_traced(TracePoint::Kmalloc);
        if let Some(what) = self.on_ask.get() {
            what();
        }
        wants
    }

    fn is_traced(&self, point: TracePoint) -> bool {
        use TracePoint::*;
        if point == PageFree {
            return self.on_free.get().is_some();
        }
        matches!(point, KmemCacheAlloc | KmemCacheFree | Kmalloc | Kfree)
            && self.listens.load(Relaxed)
    }

    fn oom_kill(
        &self,
        victim: &OomTask,
        report: &dyn Fn(&mut dyn std::fmt::Write) -> std::fmt::Result,
    ) -> bool {
        let mut text = String::new();
        report(&mut text).unwrap();
        self.on_oom.get().is_some_and(|kill| kill(victim, &text))
    }

    fn zap_window(&self, mm: u32, range: VirtRange) {
        self.on_zap.get().expect("somebody")(mm, range);
    }

    fn process_of(&self, mm: u32) -> Option<Process> {
        self.on_owner.get().and_then(|owner| owner(mm))
    }

    fn trace(&self, event: &TraceEvent) {
        if let TraceEvent::PageFree { pfn, order } = *event {
            return self.on_free.get().expect("somebody")(pfn, order);
        }
        self.heard.lock().unwrap().push(*event);
    }
}

pub type TestMm = Mm<'static, Cpus>;
pub type Slab = SlabAllocator<'static, 'static, Cpus>;

/// A booted machine, before anybody has asked for an object.
pub struct World {
    pub mm: &'static TestMm,
    before: Vec<FreeReport>,
}

/// The kernel's ordinary request.
pub const KERNEL: ObjRequest = ObjRequest::new(gfp::GFP_KERNEL);

impl World {
    /// With so many MiB on each node.
    pub fn new(mib: &[usize]) -> Self {
        Self::with(mib, &Config::default(), Cpus::default())
    }

    /// The same, booted as somebody wants it, on CPUs that are so.
    pub fn with(mib: &[usize], config: &Config, cpus: Cpus) -> Self {
        run_on(0);
        let backing = backing(mib);
        let map = builtin(&backing);
        let store = Box::leak(Box::new(Store::new()));
        let boot = Boot::detect(store, &map, &backing, config, cpus);
        let boot = Box::leak(Box::new(boot.unwrap()));
        boot.run().unwrap();
        let mm = boot.mm().unwrap();
        let before = free(mm);
        Self { mm, before }
    }

    /// Two nodes of 48 MiB.
    pub fn two_nodes() -> Self {
        Self::new(&[48, 48])
    }

    pub fn slab(&self) -> Slab {
        self.mm.slab().unwrap()
    }

    /// Begins or ends to listen for objects.
    pub fn listen(&self, listens: bool) {
        self.mm.platform.listen_now(listens);
        self.slab().refresh_told();
    }

    /// What was said of memory when a request for pages failed last.
    pub fn failed(&self) -> String {
        self.mm.platform.failed.lock().unwrap().clone()
    }

    /// What was told since it was last asked.
    pub fn heard(&self) -> Vec<TraceEvent> {
        std::mem::take(&mut self.mm.platform.heard.lock().unwrap())
    }

    /// No invariant is broken.
    #[track_caller]
    pub fn validate(&self) {
        if let Err(flaw) = self.slab().validate() {
            panic!("{flaw}");
        }
        if let Err(flaw) = self.mm.validate() {
            panic!("{flaw}");
        }
    }

    /// No object is anybody's: debugging finds nothing wrong, the layer goes, and every
    /// page is where it was.
    #[track_caller]
    pub fn finish(&self) {
        self.validate();
        let slab = self.slab();
        for id in caches_of(&slab) {
            let mut told = String::new();
            slab.validate_cache(id, &mut told).unwrap();
            assert_eq!(told, "", "{}", self.report(id).name);
        }
        self.mm.shut_down().unwrap();
        self.check_all_back();
    }

    /// All pages are free, in the blocks that they were in at first, and nobody has written
    /// to them meanwhile.
    #[track_caller]
    pub fn check_all_back(&self) {
        assert_eq!(*self.mm.platform.corrupt.lock().unwrap(), "");
        if let Err(flaw) = self.mm.validate() {
            panic!("{flaw}");
        }
        assert_eq!(self.before, free(self.mm));
    }

    pub fn report(&self, id: CacheId) -> CacheReport {
        self.slab().report(id).unwrap()
    }

    /// A cache that is nobody else's.
    pub fn create(&self, name: &str, size: u32) -> CacheId {
        let args = CacheArgs {
            flags: shadowmm_core::slab::SlabFlags::NO_MERGE,
            ..CacheArgs::new(name, size)
        };
        self.slab().create(&args).unwrap()
    }

    #[track_caller]
    pub fn destroy(&self, id: CacheId) {
        let mut alive = String::new();
        if let Err(error) = self.slab().destroy(id, &mut alive) {
            panic!("{error}\n{alive}");
        }
    }
}

/// What is free in each zone, with nothing kept by CPUs.
fn free(mm: &TestMm) -> Vec<FreeReport> {
    mm.drain(None).unwrap();
    let allocator = mm.allocator();
    let zones = mm.nodes.populated_zones();
    let ids = zones.map(|zone| ZoneId::new(zone.nid, zone.kind));
    ids.map(|id| allocator.free_report(id).unwrap()).collect()
}
