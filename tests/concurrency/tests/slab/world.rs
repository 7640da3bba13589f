// SPDX-License-Identifier: GPL-2.0

//! A booted machine of two nodes whose CPUs are the checker's threads, and who
//! has which object.

#[path = "../common/cpus.rs"]
mod cpus;
#[path = "../common/owner.rs"]
#[allow(dead_code)] // Only the tests of compaction have blocks that move.
mod owner;

pub use cpus::*;
pub use owner::Owner;
use shadowmm_core::boot::Boot;
use shadowmm_core::boot::Config;
use shadowmm_core::boot::Mm;
use shadowmm_core::boot::Store;
use shadowmm_core::buddy::gfp;
use shadowmm_core::buddy::Migrate;
use shadowmm_core::firmware;
use shadowmm_core::firmware::FirmwareMap;
use shadowmm_core::phys::Backing;
use shadowmm_core::phys::BackingRun;
use shadowmm_core::phys::CpuId;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::PageBytes;
use shadowmm_core::phys::Pages;
use shadowmm_core::platform::Platform;
use shadowmm_core::slab::Cache;
use shadowmm_core::slab::CacheArgs;
use shadowmm_core::slab::CacheId;
use shadowmm_core::slab::ObjAddr;
use shadowmm_core::slab::ObjRequest;
use shadowmm_core::slab::ObjectAllocator;
use shadowmm_core::slab::SlabAllocator;
use shadowmm_core::slab::SlabFlags;
use shuttle::sync::atomic::AtomicBool;
use shuttle::sync::Mutex;
use shuttle::thread;
use std::alloc::Layout;
use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::Arc;

/// The memory of each node, in pages.
const PAGES: usize = 8 << 8;

/// What of the platform is not as it has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    None,
    /// `synchronize` does not wait.
    NoSynchronize,
    /// Raw locks keep nobody out.
    NoLock,
}

/// The checker as core's surroundings. CPUs 0 and 2 are of node 0, the others of
/// node 1, as the boot has them.
pub struct Checked {
    flaw: Flaw,
    pinned: Sections,
    armed: Arc<Armed>,
    owner: Arc<Owner>,
}

/// Whether there are others, and a place where they may run.
struct Armed {
    armed: std::sync::atomic::AtomicBool,
    point: AtomicBool,
}

impl Armed {
    fn switch(&self) {
        if self.armed.load(Relaxed) && !std::thread::panicking() {
            self.point.load(SeqCst);
        }
    }
}

/// A pinned section, until it is dropped.
pub struct Pinned<'a>(&'a Checked, u32);

impl Drop for Pinned<'_> {
    fn drop(&mut self) {
        let Self(platform, cpu) = self;
        platform.armed.switch();
        platform.pinned.leave(*cpu);
        platform.armed.switch();
    }
}

/// A raw lock that is held: a word of core's, which others may look at.
pub struct Held<'a> {
    platform: &'a Checked,
    word: Option<&'a shadowmm_core::atomics::AtomicU32>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(word) = self.word {
            word.store(0, SeqCst);
        }
        self.platform.armed.switch();
    }
}

impl Platform for Checked {
    type Lock<T: Send> = CheckedLock<T>;
    type CpuGuard<'a> = Pinned<'a>;
    type RawGuard<'a> = Held<'a>;

    fn raw_lock<'a>(&'a self, word: &'a shadowmm_core::atomics::AtomicU32) -> Held<'a> {
        let platform = self;
        if self.flaw == Flaw::NoLock {
            return Held {
                platform,
                word: None,
            };
        }
        while word.swap(1, SeqCst) != 0 {
            thread::yield_now();
        }
        Held {
            platform,
            word: Some(word),
        }
    }

    fn nr_cpus(&self) -> u32 {
        NR_CPUS
    }

    fn pin_cpu(&self) -> (CpuId, Pinned<'_>) {
        let cpu = running();
        self.armed.switch();
        self.pinned.enter(cpu);
        self.armed.switch();
        (CpuId(cpu), Pinned(self, cpu))
    }

    fn synchronize(&self) {
        self.armed.switch();
        if self.flaw == Flaw::NoSynchronize {
            return;
        }
        self.pinned.wait();
    }

    fn relax(&self) {
        thread::yield_now();
    }

    fn local_node(&self) -> NodeId {
        NodeId((running() % 2) as i32)
    }

    fn now_ns(&self) -> u64 {
        0
    }

    fn owners(&self) -> Option<&dyn Migrate> {
        Some(&*self.owner)
    }
}

type Slab<'a, 'm> = SlabAllocator<'a, 'm, Checked>;

/// A machine with a cache, and who has which object.
pub struct Machine<'a, 'm> {
    // The tests of trees use it, those of slabs do not.
    #[allow(dead_code)]
    pub mm: &'a Mm<'m, Checked>,
    /// Of blocks that move, likewise.
    #[allow(dead_code)]
    pub owner: Arc<Owner>,
    pub slab: Slab<'a, 'm>,
    pub cache: Cache<'a, 'm, Checked>,
    pub id: CacheId,
    owned: Mutex<HashSet<u64>>,
}

impl Machine<'_, '_> {
    /// Takes an object, which is nobody else's.
    pub fn take(&self) -> ObjAddr {
        let object = self.cache.alloc(&ObjRequest::new(gfp::GFP_KERNEL)).unwrap();
        self.own(object)
    }

    /// Notes that an object was taken.
    pub fn own(&self, object: ObjAddr) -> ObjAddr {
        let new = self.owned.lock().unwrap().insert(object.get());
        assert!(new, "{object} was given out twice");
        object
    }

    /// Gives it back.
    pub fn free(&self, object: ObjAddr) {
        self.disown(object);
        self.cache.free(object).unwrap();
    }

    /// Notes that it goes back.
    pub fn disown(&self, object: ObjAddr) {
        assert!(self.owned.lock().unwrap().remove(&object.get()));
    }
}

/// Memory for a node, until it is dropped.
struct Memory(Box<[PageBytes]>);

impl Memory {
    fn new() -> Self {
        // Aligned to a page block, as a CMA area is.
        let layout = Layout::from_size_align(PAGES * 4096, 2 << 20).unwrap();
        // SAFETY: The layout is not empty, zeroed bytes are valid `PageBytes`,
        // and the box is never dropped as one: see `Drop`.
        let pages = unsafe {
            let base = std::alloc::alloc_zeroed(layout);
            assert!(!base.is_null());
            std::slice::from_raw_parts_mut(base.cast(), PAGES)
        };
        // SAFETY: It is nobody else's.
        Self(unsafe { Box::from_raw(pages) })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let layout = Layout::from_size_align(PAGES * 4096, 2 << 20).unwrap();
        let pages = std::mem::replace(&mut self.0, Box::new([]));
        // SAFETY: `new` has it from the same allocator, with this layout.
        unsafe { std::alloc::dealloc(Box::into_raw(pages).cast(), layout) };
    }
}

/// Boots a machine with a cache of objects of this size, has `work` done, and
/// looks whether all came back.
pub fn with_machine(flaw: Flaw, size: u32, work: impl FnOnce(&Machine<'_, '_>)) {
    run_on(LAST_CPU);
    let armed = Arc::new(Armed {
        armed: false.into(),
        point: AtomicBool::new(false),
    });
    let here = armed.clone();
    shadowmm_core::atomics::at_each_access(Some(Box::new(move || here.switch())));
    let platform = Checked {
        flaw,
        pinned: Default::default(),
        armed: armed.clone(),
        owner: Arc::new(Owner::new()),
    };
    let owner = platform.owner.clone();
    let mut memory = [Memory::new(), Memory::new()];
    let mut backing = Backing::new();
    for (nid, Memory(pages)) in (0..).zip(&mut memory) {
        let run = BackingRun::from_pages(pages, NodeId(nid));
        backing.push(run).unwrap();
    }
    let mut map = Box::new(FirmwareMap::NEW);
    firmware::builtin(&mut map, &[Pages(PAGES as u64); 2], 2).unwrap();
    let mut store = Box::new(Store::new());
    let boot = Boot::detect(&mut store, &map, &backing, &Config::default(), platform).unwrap();
    let mut boot = Box::new(boot);
    boot.run().unwrap();
    let mm: &Mm<'_, Checked> = boot.mm().unwrap();
    let slab = mm.slab().unwrap();
    let settled = || {
        slab.shrink_all();
        mm.buddy().drain_all_pages();
        mm.free()
    };
    let bare = settled();
    let mut args = CacheArgs::new("checked", size);
    args.flags = SlabFlags::NO_MERGE;
    let id = slab.create(&args).unwrap();
    let machine = Machine {
        mm,
        owner,
        slab,
        cache: slab.cache(id).unwrap(),
        id,
        owned: Mutex::new(HashSet::new()),
    };
    let before = settled();
    armed.armed.store(true, Relaxed);
    work(&machine);
    armed.armed.store(false, Relaxed);
    run_on(LAST_CPU);
    assert!(machine.owned.lock().unwrap().is_empty());
    if let Err(flaw) = slab.validate() {
        panic!("{flaw}");
    }
    let report = slab.report(id);
    assert_eq!(report.map_or(0, |report| report.active_objects), 0);
    // With the cache goes what it is made of.
    let expected = report.map_or(bare, |_| before);
    assert_eq!(settled(), expected, "pages are lost");
    if report.is_some() {
        let mut alive = String::new();
        slab.destroy(id, &mut alive).expect("nothing lives");
    }
    if let Err(flaw) = mm.validate() {
        panic!("{flaw}");
    }
    shadowmm_core::atomics::at_each_access(None);
}
