// SPDX-License-Identifier: GPL-2.0

//! What core asks of its surroundings, as cheap here as it is in a kernel.
//!
//! A thread is a CPU: it says once which, and no two say the same, so that it
//! is on that CPU for good. What is left of pinning is the count of sections, a
//! plain increment and decrement as the kernel's of its preemption counter;
//! whoever waits for the sections to end makes the other threads run a fence
//! then (`membarrier()`).

use shadowmm_core::phys::CpuId;
use shadowmm_core::phys::NodeId;
use shadowmm_core::platform::Lock;
use shadowmm_core::platform::Platform;
use shadowmm_core::platform::SpinWord;
use std::cell::Cell;
use std::cell::UnsafeCell;
use std::ops::Deref;
use std::ops::DerefMut;
use std::sync::atomic::compiler_fence;
use std::sync::atomic::fence;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Acquire;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::Ordering::Release;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

/// How many CPUs there are.
pub const NR_CPUS: u32 = 8;

thread_local! {
    static CPU: Cell<u32> = const { Cell::new(0) };
    static NODE: Cell<i32> = const { Cell::new(0) };
}

/// How deep in pinned sections a CPU is; written by it alone.
#[repr(align(64))]
#[derive(Default)]
struct Depth(AtomicU32);

/// The thread is in a pinned section while this lives.
pub struct Pinned<'a>(&'a AtomicU32);

impl Drop for Pinned<'_> {
    #[inline]
    fn drop(&mut self) {
        let depth = self.0.load(Relaxed).wrapping_sub(1);
        self.0.store(depth, Release);
    }
}

/// The threads of this process.
pub struct Threads {
    start: Instant,
    depths: [Depth; NR_CPUS as usize],
}

impl Threads {
    /// For one machine.
    pub fn new() -> Self {
        membarrier::register();
        Self {
            start: Instant::now(),
            depths: Default::default(),
        }
    }

    /// The calling thread is this CPU from now on, on this node, and no other
    /// thread is.
    pub fn run_on(cpu: u32, nid: i32) {
        assert!(cpu < NR_CPUS);
        CPU.set(cpu);
        NODE.set(nid);
    }
}

impl Default for Threads {
    fn default() -> Self {
        Self::new()
    }
}

impl Platform for Threads {
    type Lock<T: Send> = SpinLock<T>;
    type CpuGuard<'a> = Pinned<'a>;
    type RawGuard<'a> = SpinWord<'a>;

    fn raw_lock<'a>(&'a self, word: &'a AtomicU32) -> SpinWord<'a> {
        SpinWord::lock(word, std::thread::yield_now)
    }

    fn nr_cpus(&self) -> u32 {
        NR_CPUS
    }

    #[inline]
    fn pin_cpu(&self) -> (CpuId, Pinned<'_>) {
        let cpu = CPU.get();
        let Depth(depth) = &self.depths[cpu as usize % NR_CPUS as usize];
        depth.store(depth.load(Relaxed).wrapping_add(1), Relaxed);
        compiler_fence(SeqCst);
        (CpuId(cpu), Pinned(depth))
    }

    fn synchronize(&self) {
        // A section that a thread is in has been counted now, and one that it
        // enters later sees what was stored before.
        membarrier::all_threads();
        for Depth(depth) in &self.depths {
            while depth.load(Acquire) != 0 {
                std::thread::yield_now();
            }
        }
    }

    fn relax(&self) {
        std::thread::yield_now();
    }

    #[inline]
    fn local_node(&self) -> NodeId {
        NodeId(NODE.get())
    }

    fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
}

/// A spinlock like the kernel's: one locked instruction to take it, a store to
/// give it back.
pub struct SpinLock<T> {
    locked: AtomicBool,
    data: UnsafeCell<T>,
}

// SAFETY: The data is only reached with the lock held.
unsafe impl<T: Send> Sync for SpinLock<T> {}

/// The lock is held while this lives.
pub struct SpinGuard<'a, T>(&'a SpinLock<T>);

impl<T: Send> Lock<T> for SpinLock<T> {
    type Guard<'a>
        = SpinGuard<'a, T>
    where
        T: 'a;

    fn new(value: T) -> Self {
        Self {
            locked: AtomicBool::new(false),
            data: UnsafeCell::new(value),
        }
    }

    #[inline]
    fn lock(&self) -> SpinGuard<'_, T> {
        let take = || {
            self.locked
                .compare_exchange_weak(false, true, Acquire, Relaxed)
        };
        while take().is_err() {
            wait(&self.locked);
        }
        SpinGuard(self)
    }
}

/// A kernel's holder runs; here it may have lost its processor to somebody.
#[cold]
#[inline(never)]
fn wait(locked: &AtomicBool) {
    for _ in 0..100 {
        if !locked.load(Relaxed) {
            return;
        }
        std::hint::spin_loop();
    }
    std::thread::yield_now();
}

impl<T> Drop for SpinGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.0.locked.store(false, Release);
    }
}

impl<T> Deref for SpinGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: The guard is the proof that the lock is held.
        unsafe { &*self.0.data.get() }
    }
}

impl<T> DerefMut for SpinGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: The lock is held, and the guard is borrowed exclusively.
        unsafe { &mut *self.0.data.get() }
    }
}

/// The system call that makes all threads of the process run a fence.
mod membarrier {
    use super::fence;
    use super::SeqCst;
    use std::sync::Once;

    static REGISTERED: Once = Once::new();

    fn call(command: libc::c_int) -> bool {
        // SAFETY: The call takes numbers alone and touches no memory.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }

    /// Has to be said once, before anybody calls: whoever comes second waits for
    /// the first to be through with it.
    ///
    /// Panics where the kernel has no such call: the sections have no fence of
    /// their own.
    pub(super) fn register() {
        REGISTERED.call_once(|| {
            assert!(
                call(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED),
                "this kernel has no membarrier()"
            );
        });
    }

    pub(super) fn all_threads() {
        fence(SeqCst);
        assert!(call(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED), "membarrier()");
    }
}
