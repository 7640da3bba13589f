// SPDX-License-Identifier: GPL-2.0

//! What the tests of core share: memory for a region, and a platform.

pub mod early;
pub mod machine;
pub mod owner;
pub mod recorded;

use shadowmm_core::buddy::Shrinker;
use shadowmm_core::phys::CpuId;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::PageBytes;
use shadowmm_core::platform::Lock;
use shadowmm_core::platform::Platform;
use shadowmm_core::platform::SpinWord;
use std::cell::RefCell;
use std::collections::btree_map::Entry;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::time::Instant;

/// `pages` zeroed pages that live as long as the test process.
pub fn leaked_pages(pages: usize) -> &'static mut [PageBytes] {
    // A page block's alignment, so that blocks of the shadow are blocks of the
    // host, as they are in a CMA area.
    let layout = std::alloc::Layout::from_size_align(pages * 4096, 4 << 20).expect("layout");
    // SAFETY: The layout is not empty, zeroed bytes are valid `PageBytes`, and
    // the memory is never freed.
    unsafe {
        let base = std::alloc::alloc_zeroed(layout);
        assert!(!base.is_null(), "no memory for a test region");
        std::slice::from_raw_parts_mut(base.cast(), pages)
    }
}

/// The standard library's answer to what core asks.
pub struct HostPlatform {
    start: Instant,
    /// Who gives memory back.
    pub shrinkers: Mutex<Vec<&'static dyn Shrinker>>,
    /// Whether its CPUs map 1 GiB at once.
    pub gbpages: AtomicBool,
    /// How many CPUs it has; everything runs on the first.
    nr_cpus: u32,
    /// The CPUs' nodes, as the boot said them.
    pub cpu_nodes: Mutex<Vec<NodeId>>,
    /// How many references there are to each file that was mapped; none to those that are not
    /// here.
    pub files: Mutex<BTreeMap<u64, u64>>,
}

impl Default for HostPlatform {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            shrinkers: Mutex::default(),
            gbpages: AtomicBool::new(false),
            nr_cpus: 1,
            cpu_nodes: Mutex::default(),
            files: Mutex::default(),
        }
    }
}

impl HostPlatform {
    /// One with so many CPUs.
    pub fn with_cpus(nr_cpus: u32) -> Self {
        Self {
            nr_cpus,
            ..Self::default()
        }
    }
}

/// The pinned sections of each CPU of a machine whose CPUs are threads.
///
/// A section that begins after [`PinnedSections::wait`] has looked at its CPU
/// began after the wait itself did.
pub struct PinnedSections<const N: usize>([AtomicU32; N]);

impl<const N: usize> Default for PinnedSections<N> {
    fn default() -> Self {
        Self([const { AtomicU32::new(0) }; N])
    }
}

impl<const N: usize> PinnedSections<N> {
    /// A section on `cpu`, until it is dropped.
    pub fn enter(&self, cpu: CpuId) -> PinnedSection<'_> {
        let depth = &self.0[cpu.0 as usize];
        depth.fetch_add(1, SeqCst);
        PinnedSection(depth)
    }

    /// Waits until each CPU was seen in no section.
    pub fn wait(&self) {
        for depth in &self.0 {
            while depth.load(SeqCst) != 0 {
                std::thread::yield_now();
            }
        }
    }
}

/// See [`PinnedSections::enter`].
pub struct PinnedSection<'a>(&'a AtomicU32);

impl Drop for PinnedSection<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

thread_local! {
    static TOLD_OF_LOCKS: RefCell<Option<Box<dyn FnMut()>>> = const { RefCell::new(None) };
}

/// Does `work`, with `other` done before each lock that it takes on this thread: what
/// somebody else could do meanwhile.
pub fn between_locks<R>(other: impl FnMut() + 'static, work: impl FnOnce() -> R) -> R {
    TOLD_OF_LOCKS.set(Some(Box::new(other)));
    let done = work();
    TOLD_OF_LOCKS.set(None);
    done
}

/// A mutex as core's lock.
pub struct HostLock<T>(Mutex<T>);

impl<T: Send> Lock<T> for HostLock<T> {
    type Guard<'a>
        = MutexGuard<'a, T>
    where
        T: 'a;

    fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        // It may take locks itself, which are not told.
        if let Some(mut told) = TOLD_OF_LOCKS.take() {
            told();
            TOLD_OF_LOCKS.set(Some(told));
        }
        self.0.lock().expect("a test panicked with the lock held")
    }
}

impl Platform for HostPlatform {
    type Lock<T: Send> = HostLock<T>;
    type CpuGuard<'a> = ();
    type RawGuard<'a> = SpinWord<'a>;

    fn raw_lock<'a>(&'a self, word: &'a AtomicU32) -> SpinWord<'a> {
        SpinWord::lock(word, std::thread::yield_now)
    }

    fn nr_cpus(&self) -> u32 {
        self.nr_cpus
    }

    fn set_cpu_node(&self, cpu: CpuId, nid: NodeId) {
        let mut nodes = self.cpu_nodes.lock().unwrap();
        assert_eq!(nodes.len(), cpu.0 as usize, "one after the other");
        nodes.push(nid);
    }

    fn pin_cpu(&self) -> (CpuId, ()) {
        (CpuId(0), ())
    }

    // One CPU, and whoever asks is not in a pinned section of it.
    fn synchronize(&self) {}

    fn local_node(&self) -> NodeId {
        NodeId(0)
    }

    fn for_each_shrinker(&self, each: &mut dyn FnMut(&dyn Shrinker)) {
        let shrinkers = self.shrinkers.lock().unwrap().clone();
        shrinkers.into_iter().for_each(each);
    }

    fn get_file(&self, file: u64) {
        *self.files.lock().unwrap().entry(file).or_default() += 1;
    }

    fn put_file(&self, file: u64) {
        // Some tests map numbers to which nobody had a reference.
        if let Entry::Occupied(mut count) = self.files.lock().unwrap().entry(file) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    fn has_gbpages(&self) -> bool {
        self.gbpages.load(SeqCst)
    }

    fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
}
