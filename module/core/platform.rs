// SPDX-License-Identifier: GPL-2.0

//! What core asks of its surroundings: locks, the CPU it runs on, a clock,
//! and a place to report events to.
//!
//! In the kernel, `kernel/` answers with spinlocks and per-CPU data; on the
//! host, the tests answer with the standard library or with a concurrency
//! checker. Core is generic over the answer, so a call costs what the
//! surroundings charge and no more.

use crate::buddy::Migrate;
use crate::buddy::Shrinker;
use crate::mm::OomTask;
use crate::mm::Rlimit;
use crate::mm::VirtRange;
use crate::phys::CpuId;
use crate::phys::NodeId;
use crate::phys::Pfn;
use crate::report::AllocFailure;
use crate::slab::debug::Finding;
use crate::trace::TraceEvent;
use crate::trace::TracePoint;
use core::fmt;
use core::ops::DerefMut;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::Release;

/// A lock around a value; the guard is the proof that the value may be touched.
pub trait Lock<T>: Send + Sync {
    /// Holds the lock until it is dropped.
    type Guard<'a>: DerefMut<Target = T>
    where
        Self: 'a,
        T: 'a;

    /// A free lock around `value`.
    fn new(value: T) -> Self;

    /// Waits until the lock is free and takes it. May be called with
    /// preemption disabled; must not sleep.
    fn lock(&self) -> Self::Guard<'_>;
}

/// Where a file of the host's lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileInfo {
    /// Major and minor number of its device.
    pub dev: (u32, u32),
    /// Its inode.
    pub ino: u64,
}

/// A process, as its address space's list of tasks has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its name, with zeroes behind.
    pub comm: [u8; 16],
    /// `oom_score_adj`.
    pub oom_score_adj: i16,
}

/// What the surroundings provide. One instance serves one shadow mm.
pub trait Platform: Send + Sync + 'static {
    /// The lock that guards a zone and the like.
    type Lock<T: Send>: Lock<T>;

    /// Holds the caller on its CPU until dropped: a pinned section, which does
    /// not sleep. Pinned sections nest.
    type CpuGuard<'a>
    where
        Self: 'a;

    /// Holds a raw lock until dropped.
    type RawGuard<'a>
    where
        Self: 'a;

    /// Waits until the lock that is this word is free, and takes it. 0 is a free
    /// lock; what a held one is, is for the surroundings to say. For structures
    /// that are made of cells ([`Cells`](crate::phys::Cells)), which can't hold a
    /// [`Platform::Lock`]. Preemption is off while it is held; must not sleep.
    fn raw_lock<'a>(&'a self, word: &'a AtomicU32) -> Self::RawGuard<'a>;

    /// Whether the surroundings watch who touches memory (KASAN), so that it is
    /// worth telling them what is nobody's.
    const WATCHES: bool = false;

    /// Nobody may touch these bytes, or, with `free` false, their new owner may
    /// (`kasan_poison`). Called with locks held.
    fn watch(&self, _memory: NonNull<u8>, _bytes: usize, _free: bool) {}

    /// Whether free pages are filled with a pattern that is looked for when they
    /// are given out (`page_poisoning_enabled`). Stays as it is.
    #[inline(always)]
    fn poisons_pages(&self) -> bool {
        false
    }

    /// A page was written to while it was nobody's. Locks may be held; the text is
    /// written now or never.
    fn page_report(&self, _pfn: Pfn, _text: &dyn Fn(&mut dyn fmt::Write) -> fmt::Result) {}

    /// A number that nobody can guess.
    fn random(&self) -> u64 {
        // Somebody can: it is for tests, which want the same in every run.
        0x9e37_79b9_7f4a_7c15
    }

    /// How many CPU numbers there are: every [`CpuId`] is below it. At least 1.
    fn nr_cpus(&self) -> u32;

    /// Whether a CPU is there and running (`cpu_online`).
    fn is_online(&self, cpu: CpuId) -> bool {
        cpu.0 < self.nr_cpus()
    }

    /// Keeps the caller on its CPU while the guard lives, and names that CPU.
    fn pin_cpu(&self) -> (CpuId, Self::CpuGuard<'_>);

    /// Waits until every CPU has left the pinned section that it was in when
    /// this was called, if it was in one. What was stored before is seen by all
    /// sections that begin later, and what those that ended had stored is seen
    /// afterwards. The caller is not pinned, and may sleep.
    ///
    /// It is what whoever reaches for another CPU's slots waits for, so that
    /// the CPU itself needs neither lock nor fence (`synchronize_rcu`, which
    /// waits for sections with preemption off).
    fn synchronize(&self);

    /// Sleeps while `wait` says so; whoever changes what it looks at calls
    /// [`Platform::wake`] with the same word afterwards (`wait_var_event`). The caller
    /// is not pinned and holds no lock that may not sleep.
    fn wait_while(&self, _word: &AtomicU32, wait: &mut dyn FnMut() -> bool) {
        while wait() {
            self.relax();
        }
    }

    /// Wakes all who sleep on a word (`wake_up_var`). The caller may be pinned; must not
    /// sleep.
    fn wake(&self, _word: &AtomicU32) {}

    /// One more mapping has a file, by the number under which it was mapped
    /// (`get_file`).
    fn get_file(&self, _file: u64) {}

    /// One less has it (`fput`). May be called with the mmap lock held; may sleep.
    fn put_file(&self, _file: u64) {}

    /// Whether the calling process may know which pages of a file are in memory
    /// (`can_do_mincore`).
    fn may_know_file(&self, _file: u64) -> bool {
        true
    }

    /// Whether the surroundings have a page of a file in memory (`mincore_page`).
    fn is_file_resident(&self, _file: u64, _index: u64) -> bool {
        false
    }

    /// Whether the CPUs have keys of protection (`arch_pkeys_enabled`): then Linux gives
    /// memory that is for execution alone a key with which nobody reads it.
    fn has_pkeys(&self) -> bool {
        false
    }

    /// Whether the kernel may map memory by pages of 1 GiB (`direct_gbpages`).
    fn has_gbpages(&self) -> bool {
        false
    }

    /// A limit of the calling process, in bytes (`rlimit`), or what it may be raised to
    /// (`rlimit_max`); `None`: it has none of its own, and what was noted with the address
    /// space counts.
    fn rlimit(&self, _which: Rlimit, _max: bool) -> Option<u64> {
        None
    }

    /// Whether the calling process may do this (`capable`), of
    /// [`CAPS`](crate::mm::CAPS); `None`, as above.
    fn capable(&self, _cap: u64) -> Option<bool> {
        None
    }

    /// Where a file that is mapped lies (`i_sb->s_dev`, `i_ino`).
    fn file_info(&self, _file: u64) -> FileInfo {
        FileInfo::default()
    }

    /// Writes the path of a file that is mapped (`seq_path`).
    ///
    /// # Errors
    ///
    /// Those of `out`.
    fn write_file_path(&self, _out: &mut dyn fmt::Write, _file: u64) -> fmt::Result {
        Ok(())
    }

    /// Lets others run: somebody is waited for. The caller is not pinned.
    fn relax(&self) {
        core::hint::spin_loop();
    }

    /// Tells the surroundings what each CPU has of its own; element `n` is that of
    /// CPU `n`. The boot does so once, before anything is pinned there.
    fn set_locals<T: Sync>(&self, _all: &[T]) {}

    /// Keeps the caller on its CPU as [`Platform::pin_cpu`] does, and finds that
    /// CPU's element of `all`, which is what [`Platform::set_locals`] was told;
    /// `None` when it was not.
    #[inline]
    fn pin_local<'s, T: Sync>(&self, all: &'s [T]) -> Option<(&'s T, Self::CpuGuard<'_>)> {
        let (cpu, pinned) = self.pin_cpu();
        Some((all.get(cpu.0 as usize)?, pinned))
    }

    /// Tells the surroundings what each of the first CPUs has near of the slab layer,
    /// and all others share, which is the last; as [`Platform::set_locals`].
    fn set_near<T: Sync>(&self, _all: &[T]) {}

    /// Keeps the caller on its CPU as [`Platform::pin_local`] does, and finds that
    /// CPU's element of what [`Platform::set_near`] was told, or the last; `None`
    /// where it was told nothing.
    #[inline]
    fn pin_near<'s, T: Sync>(&self, all: &'s [T]) -> Option<(&'s T, Self::CpuGuard<'_>)> {
        let (cpu, pinned) = self.pin_cpu();
        Some((all.get(cpu.0 as usize).or(all.last())?, pinned))
    }

    /// Notes the node of a CPU (`set_cpu_numa_node`). The boot says it once for
    /// each CPU number.
    fn set_cpu_node(&self, _cpu: CpuId, _nid: NodeId) {}

    /// The node of the running CPU, as the boot has noted it
    /// (`numa_node_id`).
    fn local_node(&self) -> NodeId;

    /// A monotonic clock, in nanoseconds.
    fn now_ns(&self) -> u64;

    /// Who owns the blocks that are said to be movable, if anybody is asked:
    /// compaction moves nothing without.
    fn owners(&self) -> Option<&dyn Migrate> {
        None
    }

    /// Shows each shrinker that is registered (`shrinker_list`), oldest first;
    /// one that is being shown does not go away. The caller may sleep, and holds
    /// no lock.
    fn for_each_shrinker(&self, _each: &mut dyn FnMut(&dyn Shrinker)) {}

    /// Whether the node has a thread for background reclaim.
    fn has_kswapd(&self, _nid: NodeId) -> bool {
        false
    }

    /// Wakes that thread: [`Kswapd::step`](crate::buddy::Kswapd::step) is to be
    /// called. May be called with the caller's own locks held; must not sleep.
    fn wake_kswapd(&self, _nid: NodeId) {}

    /// Wakes the node's thread for background compaction:
    /// [`Kcompactd::step`](crate::buddy::Kcompactd::step) is to be called. As
    /// above.
    fn wake_kcompactd(&self, _nid: NodeId) {}

    /// In a long loop, without a lock held or the caller pinned: another may run
    /// now.
    fn cond_resched(&self) {}

    /// Whether another wants to run on this CPU (`need_resched`).
    fn need_resched(&self) -> bool {
        false
    }

    /// Whether the running process is about to be killed, or the running thread
    /// is to end, so that no effort is worth while (`fatal_signal_pending`,
    /// `kthread_should_stop`).
    fn fatal_signal_pending(&self) -> bool {
        false
    }

    /// Whether the running thread has begun to end, so that no signal reaches it any more
    /// (`PF_EXITING`).
    fn is_exiting(&self) -> bool {
        false
    }

    /// A request has failed and was not told to be silent about it
    /// (`warn_alloc`). `memory` writes what follows in Linux: `Mem-Info:` and
    /// so on. How often that is worth printing is for the surroundings to say;
    /// see [`RateLimit`](crate::report::RateLimit).
    fn warn_alloc(
        &self,
        _failure: &AllocFailure,
        _memory: &dyn Fn(&mut dyn fmt::Write) -> fmt::Result,
    ) {
    }

    /// Ends the process of an address space for want of memory (`oom_kill_process`), and
    /// writes the report, which says so, to the log; whether there was one. The caller
    /// holds mmap locks of address spaces, perhaps.
    fn oom_kill(
        &self,
        _victim: &OomTask,
        _report: &dyn Fn(&mut dyn fmt::Write) -> fmt::Result,
    ) -> bool {
        false
    }

    /// Zaps what the host has entered of a range of an address space, whose process need not be
    /// the running one (`unmap_mapping_range`). The caller may hold a page table's lock.
    fn zap_window(&self, _mm: u32, _range: VirtRange) {}

    /// Somebody else has taken pages of an address space: `charged` reads how many it is charged
    /// with, as often as that is asked ([`MmCells::charged`](crate::mm::MmCells::charged)), since
    /// its process may change that meanwhile.
    fn tell_charged(&self, _mm: u32, _charged: &dyn Fn() -> i64) {}

    /// Of whom an address space is now: process 0 where nobody has it any more, or nobody
    /// yet; `None` where the surroundings know nothing of processes. The caller holds the
    /// lock of their list.
    fn process_of(&self, _mm: u32) -> Option<Process> {
        None
    }

    /// Whose a process is (`task_uid`), for reports.
    fn uid_of(&self, _pid: u32) -> u32 {
        0
    }

    /// The process that runs (`current->pid`); 0 for none.
    fn pid(&self) -> u32 {
        0
    }

    /// The clock in which ages are told: ticks, 250 a second in Debian's kernels
    /// (`jiffies`).
    fn jiffies(&self) -> u64 {
        self.now_ns() / 4_000_000
    }

    /// Writes the addresses that the running function will return to, the
    /// innermost first, and says how many there was room for
    /// (`stack_trace_save`). Functions of core may be among them.
    fn save_stack(&self, _entries: &mut [u64]) -> usize {
        0
    }

    /// Writes an address of code as its function and the place there (`%pS`).
    ///
    /// # Errors
    ///
    /// Those of `out`.
    fn write_symbol(&self, out: &mut dyn fmt::Write, addr: u64) -> fmt::Result {
        write!(out, "0x{addr:x}")
    }

    /// Debugging has found something in a slab, or, with `None`, says more about
    /// what it has found last. A spinlock is held; the text is written now or
    /// never. How often that is worth printing is for the surroundings to say.
    fn slab_report(
        &self,
        _finding: Option<Finding>,
        _text: &dyn Fn(&mut dyn fmt::Write) -> fmt::Result,
    ) {
    }

    /// Whether somebody listens at this point. Asked before an event is made,
    /// on the hottest paths too, with a constant ([`crate::trace::tell`]).
    #[inline(always)]
    fn is_traced(&self, _point: TracePoint) -> bool {
        false
    }

    /// Whether somebody wants to be told of every page. The short ways of single
    /// pages do not ask for each: they are closed meanwhile
    /// (`BuddySystem::refresh_told`).
    fn wants_pages(&self) -> bool {
        self.poisons_pages()
            || self.is_traced(TracePoint::PageAlloc)
            || self.is_traced(TracePoint::PageFree)
    }

    /// Whether somebody wants to be told of every object. As above: no CPU keeps
    /// objects meanwhile ([`SlabAllocator::refresh_told`]).
    ///
    /// [`SlabAllocator::refresh_told`]: crate::slab::SlabAllocator::refresh_told
    fn wants_objects(&self) -> bool {
        self.is_traced(TracePoint::KmemCacheAlloc)
            || self.is_traced(TracePoint::KmemCacheFree)
            || self.is_traced(TracePoint::Kmalloc)
            || self.is_traced(TracePoint::Kfree)
    }

    /// Tells whoever listens what has happened.
    fn trace(&self, _event: &TraceEvent) {}
}

/// A raw lock for surroundings where nothing better is to be had: 1 while it is
/// held, and who waits looks at it again and again.
pub struct SpinWord<'a>(&'a AtomicU32);

impl<'a> SpinWord<'a> {
    /// Takes the lock; `wait` is called as often as it is found held.
    #[inline]
    pub fn lock(word: &'a AtomicU32, wait: impl Fn()) -> Self {
        while word.compare_exchange(0, 1, Acquire, Relaxed).is_err() {
            wait();
        }
        Self(word)
    }
}

impl Drop for SpinWord<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.store(0, Release);
    }
}
