// SPDX-License-Identifier: GPL-2.0

//! What core asks of its surroundings, answered by the kernel.

use crate::bindings;
use crate::daemons;
use crate::failure;
use crate::mm;
use crate::mm::files;
use crate::movable::Handles;
use crate::percpu;
use crate::poison;
use crate::slab_report;
use crate::trace;
use crate::users;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ops::DerefMut;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU32;
use kernel::sync::Arc;
use kernel::types::NotThreadSafe;
use kernel::types::Opaque;
use shadowmm_core::buddy::Migrate;
use shadowmm_core::buddy::Shrinker;
use shadowmm_core::mm::OomTask;
use shadowmm_core::mm::Rlimit;
use shadowmm_core::mm::VirtRange;
use shadowmm_core::mm::CAP_IPC_LOCK;
use shadowmm_core::mm::CAP_SYS_ADMIN;
use shadowmm_core::mm::CAP_SYS_RAWIO;
use shadowmm_core::phys::CpuId;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::Pfn;
use shadowmm_core::platform::FileInfo;
use shadowmm_core::platform::Lock;
use shadowmm_core::platform::Platform;
use shadowmm_core::platform::Process;
use shadowmm_core::report::AllocFailure;
use shadowmm_core::slab::debug::Finding;
use shadowmm_core::slices;
use shadowmm_core::trace::TraceEvent;
use shadowmm_core::trace::TracePoint;

/// A spinlock around a value, made in place or moved into place before its
/// first use (`kernel::sync::SpinLock` must be pinned from the start, which the
/// shadow's objects, placed in the region, can't be).
pub(crate) struct SpinLock<T> {
    raw: Opaque<kernel::bindings::spinlock_t>,
    data: UnsafeCell<T>,
}

// SAFETY: A spinlock moves with its data, which may move.
unsafe impl<T: Send> Send for SpinLock<T> {}
// SAFETY: The data is only reached with the lock held.
unsafe impl<T: Send> Sync for SpinLock<T> {}

/// The lock is held while this lives.
pub(crate) struct SpinGuard<'a, T> {
    lock: &'a SpinLock<T>,
    // A spinlock is released on the CPU that took it.
    _not_send: NotThreadSafe,
}

impl<T: Send> Lock<T> for SpinLock<T> {
    type Guard<'a>
        = SpinGuard<'a, T>
    where
        T: 'a;

    fn new(data: T) -> Self {
        let lock = Self {
            raw: Opaque::uninit(),
            data: UnsafeCell::new(data),
        };
        // SAFETY: The pointer is valid for writing. A free spinlock holds no
        // pointer to itself, so moving it to its place keeps it initialised.
        unsafe { bindings::shadowmm_spin_lock_init(lock.raw.get()) };
        lock
    }

    #[inline]
    fn lock(&self) -> SpinGuard<'_, T> {
        // SAFETY: `new` initialised it, and the guard releases it.
        unsafe { percpu::lock(&self.raw) };
        SpinGuard {
            lock: self,
            _not_send: PhantomData,
        }
    }
}

impl<T> Drop for SpinGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The guard is the proof that this CPU holds the lock.
        unsafe { percpu::unlock(&self.lock.raw) };
    }
}

impl<T> Deref for SpinGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: The lock is held.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T> DerefMut for SpinGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: The lock is held, and the guard is borrowed exclusively.
        unsafe { &mut *self.lock.data.get() }
    }
}

/// The running kernel.
pub(crate) struct Kernel {
    handles: Arc<Handles>,
}

impl Kernel {
    /// The kernel, and whose blocks may be moved or given up.
    pub(crate) fn new(handles: Arc<Handles>) -> Self {
        Self { handles }
    }
}

/// A raw lock is held while this lives.
pub(crate) struct RawGuard<'a>(&'a AtomicU32, NotThreadSafe);

impl Drop for RawGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: `raw_lock` took it.
        unsafe { percpu::unlock_word(self.0) };
    }
}

/// Takes the lock that is this word.
#[inline]
pub(crate) fn raw_lock(word: &AtomicU32) -> RawGuard<'_> {
    // SAFETY: The guard releases it.
    unsafe { percpu::lock_word(word) };
    RawGuard(word, PhantomData)
}

/// Room for the name of a place in the code. KSYM_SYMBOL_LEN is more than twice
/// that; longer names are cut.
struct Symbol([u8; 256]);

impl Symbol {
    /// The function that `addr` is in, and where in it.
    fn of(&mut self, addr: u64) -> &str {
        let (first, size) = (self.0.as_mut_ptr(), self.0.len());
        // SAFETY: There are as many bytes.
        let len = unsafe { bindings::shadowmm_symbol(first.cast(), size, addr) };
        let text = self.0.get(..len).unwrap_or_default();
        core::str::from_utf8(text).unwrap_or("?")
    }
}

/// Preemption is off while this lives.
pub(crate) struct CpuGuard(NotThreadSafe);

impl Drop for CpuGuard {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: `pin_cpu` turned it off.
        unsafe { percpu::enable() };
    }
}

/// How many CPU numbers there are.
pub(crate) fn nr_cpus() -> u32 {
    // SAFETY: Reads a variable that is set once at boot.
    unsafe { bindings::shadowmm_nr_cpu_ids() }
}

/// Whether a CPU is there and running.
pub(crate) fn is_online(cpu: CpuId) -> bool {
    // SAFETY: The number is checked against the possible ones.
    cpu.0 < nr_cpus() && unsafe { bindings::shadowmm_cpu_online(cpu.0) }
}

/// Turns preemption off, and tells on which CPU.
#[inline]
pub(crate) fn pin_cpu() -> (CpuId, CpuGuard) {
    // SAFETY: The guard undoes it.
    let cpu = unsafe { percpu::disable() };
    (CpuId(cpu), CpuGuard(PhantomData))
}

/// Waits until what is running with preemption off now is so no more. May sleep.
pub(crate) fn synchronize() {
    // SAFETY: Sleeps; whoever reaches for other CPUs' slots may. It waits
    // for sections with preemption off, which is what `pin_cpu` makes.
    unsafe { kernel::bindings::synchronize_rcu_expedited() };
}

/// What the clock says that never stands still nor goes back, in nanoseconds.
pub(crate) fn now_ns() -> u64 {
    // SAFETY: May be called in any context.
    unsafe { kernel::bindings::ktime_get() as u64 }
}

impl Platform for Kernel {
    type Lock<T: Send> = SpinLock<T>;
    type CpuGuard<'a> = CpuGuard;
    type RawGuard<'a> = RawGuard<'a>;

    #[inline]
    fn raw_lock<'a>(&'a self, word: &'a AtomicU32) -> RawGuard<'a> {
        raw_lock(word)
    }

    fn random(&self) -> u64 {
        // SAFETY: May be called in any context.
        unsafe { kernel::bindings::get_random_u64() }
    }

    fn nr_cpus(&self) -> u32 {
        nr_cpus()
    }

    #[inline]
    fn pin_cpu(&self) -> (CpuId, CpuGuard) {
        pin_cpu()
    }

    fn is_online(&self, cpu: CpuId) -> bool {
        is_online(cpu)
    }

    fn synchronize(&self) {
        synchronize();
    }

    fn wait_while(&self, word: &AtomicU32, wait: &mut dyn FnMut() -> bool) {
        /// # Safety
        ///
        /// `wait` is what `wait_while` has passed on.
        unsafe extern "C" fn ask(wait: *mut c_void) -> bool {
            // SAFETY: By this function's own; C asks one at a time.
            let wait = unsafe { &mut *wait.cast::<&mut dyn FnMut() -> bool>() };
            wait()
        }
        let mut wait = wait;
        let wait = (&raw mut wait).cast();
        // SAFETY: The word is an address to be woken by; the caller may sleep, and what is
        // asked lives longer than the call.
        unsafe { bindings::shadowmm_wait_while(word.as_ptr().cast(), Some(ask), wait) };
    }

    fn wake(&self, word: &AtomicU32) {
        // SAFETY: The word is an address to be woken by.
        unsafe { bindings::shadowmm_wake(word.as_ptr().cast()) };
    }

    fn relax(&self) {
        // SAFETY: The caller may sleep.
        unsafe { kernel::bindings::schedule_timeout_uninterruptible(1) };
    }

    fn set_locals<T: Sync>(&self, all: &[T]) {
        for (cpu, local) in (0u32..).zip(all) {
            percpu::set_local(cpu, (&raw const *local).cast());
        }
    }

    #[inline(always)]
    fn pin_local<'s, T: Sync>(&self, _all: &'s [T]) -> Option<(&'s T, CpuGuard)> {
        // SAFETY: The guard undoes it.
        let local: *const T = unsafe { percpu::disable_with_local() }.cast();
        let pinned = CpuGuard(PhantomData);
        // SAFETY: There is one shadow, whose boot tells `set_locals` all CPUs'
        // elements of the one slice that core has of them, in the stage before
        // the one that makes an allocator; a boot anew does so, too. So it is
        // this CPU's element of `_all`, and not null.
        let local = unsafe {
            core::hint::assert_unchecked(!local.is_null());
            &*local
        };
        Some((local, pinned))
    }

    fn set_near<T: Sync>(&self, all: &[T]) {
        let Some(last) = all.last() else {
            return;
        };
        for cpu in 0..nr_cpus() {
            let near = all.get(cpu as usize).unwrap_or(last);
            percpu::set_near(cpu, (&raw const *near).cast());
        }
    }

    #[inline(always)]
    fn pin_near<'s, T: Sync>(&self, _all: &'s [T]) -> Option<(&'s T, CpuGuard)> {
        // SAFETY: The guard undoes it.
        let near: *const T = unsafe { percpu::disable_with_near() }.cast();
        let pinned = CpuGuard(PhantomData);
        // SAFETY: There is one shadow, whose boot tells `set_near` the elements of
        // the one slice that core has of them, which is not empty, before it makes a
        // slab layer; a boot anew does so, too. So it is an element of `_all`: this
        // CPU's, or the last. The compiler is to know that it is not null.
        let near = unsafe {
            core::hint::assert_unchecked(!near.is_null());
            &*near
        };
        Some((near, pinned))
    }

    fn set_cpu_node(&self, cpu: CpuId, nid: NodeId) {
        // SAFETY: The number is checked there.
        unsafe { bindings::shadowmm_set_cpu_node(cpu.0, nid.0) };
    }

    #[inline]
    fn local_node(&self) -> NodeId {
        NodeId(percpu::local_node())
    }

    fn now_ns(&self) -> u64 {
        now_ns()
    }

    fn owners(&self) -> Option<&dyn Migrate> {
        Some(&*self.handles)
    }

    fn for_each_shrinker(&self, each: &mut dyn FnMut(&dyn Shrinker)) {
        each(&*self.handles);
    }

    fn has_kswapd(&self, nid: NodeId) -> bool {
        daemons::runs(daemons::KSWAPD, nid)
    }

    fn wake_kswapd(&self, nid: NodeId) {
        daemons::wake(daemons::KSWAPD, nid);
    }

    fn wake_kcompactd(&self, nid: NodeId) {
        daemons::wake(daemons::KCOMPACTD, nid);
    }

    fn cond_resched(&self) {
        // SAFETY: Nothing is held.
        unsafe { bindings::shadowmm_cond_resched() };
    }

    fn need_resched(&self) -> bool {
        // SAFETY: Looks at a flag of the running task.
        unsafe { bindings::shadowmm_need_resched() }
    }

    fn fatal_signal_pending(&self) -> bool {
        // SAFETY: Looks at the running task.
        unsafe { bindings::shadowmm_task_is_ending() }
    }

    fn is_exiting(&self) -> bool {
        // SAFETY: Looks at the running task.
        unsafe { bindings::shadowmm_task_is_exiting() }
    }

    fn warn_alloc(&self, what: &AllocFailure, memory: &dyn Fn(&mut dyn fmt::Write) -> fmt::Result) {
        failure::tell(what, memory, self.now_ns());
    }

    fn get_file(&self, file: u64) {
        files::get(file);
    }

    fn may_know_file(&self, file: u64) -> bool {
        files::may_know(file)
    }

    fn is_file_resident(&self, file: u64, index: u64) -> bool {
        files::is_resident(file, index)
    }

    fn put_file(&self, file: u64) {
        files::put(file);
    }

    fn rlimit(&self, which: Rlimit, max: bool) -> Option<u64> {
        let number = match which {
            Rlimit::As => kernel::bindings::RLIMIT_AS,
            Rlimit::Data => kernel::bindings::RLIMIT_DATA,
            Rlimit::Stack => kernel::bindings::RLIMIT_STACK,
            Rlimit::Memlock => kernel::bindings::RLIMIT_MEMLOCK,
        };
        // SAFETY: Asks about the caller.
        Some(unsafe { bindings::shadowmm_rlimit(number, max) })
    }

    fn capable(&self, cap: u64) -> Option<bool> {
        let number = match cap {
            CAP_IPC_LOCK => kernel::bindings::CAP_IPC_LOCK,
            CAP_SYS_ADMIN => kernel::bindings::CAP_SYS_ADMIN,
            CAP_SYS_RAWIO => kernel::bindings::CAP_SYS_RAWIO,
            _ => return None,
        };
        Some(users::is_capable(number))
    }

    fn has_pkeys(&self) -> bool {
        // SAFETY: Asks about the CPUs.
        unsafe { bindings::shadowmm_has_pkeys() }
    }

    fn has_gbpages(&self) -> bool {
        // SAFETY: Asks about the CPUs.
        unsafe { bindings::shadowmm_has_gbpages() }
    }

    fn file_info(&self, file: u64) -> FileInfo {
        files::info(file)
    }

    fn write_file_path(&self, out: &mut dyn fmt::Write, file: u64) -> fmt::Result {
        files::write_path(file, out)
    }

    fn oom_kill(
        &self,
        victim: &OomTask,
        report: &dyn Fn(&mut dyn fmt::Write) -> fmt::Result,
    ) -> bool {
        mm::oom_kill(victim, report, self.now_ns())
    }

    fn zap_window(&self, mm: u32, range: VirtRange) {
        mm::zap_window(mm, range);
    }

    fn tell_charged(&self, mm: u32, charged: &dyn Fn() -> i64) {
        mm::tell_charged(mm, charged);
    }

    fn process_of(&self, mm: u32) -> Option<Process> {
        mm::process_of(mm)
    }

    fn uid_of(&self, pid: u32) -> u32 {
        // SAFETY: Asks about a process, if there is one.
        unsafe { bindings::shadowmm_uid_of(pid) }
    }

    fn pid(&self) -> u32 {
        // SAFETY: Looks at the running task.
        unsafe { bindings::shadowmm_current_pid() }
    }

    fn jiffies(&self) -> u64 {
        // SAFETY: Reads a counter.
        unsafe { bindings::shadowmm_jiffies() }
    }

    fn save_stack(&self, entries: &mut [u64]) -> usize {
        let mut all = [0u64; 32];
        let (first, len) = (all.as_mut_ptr(), all.len() as u32);
        // SAFETY: There are as many places.
        let len = unsafe { bindings::shadowmm_save_stack(first, len) as usize };
        let all = all.get(..len).unwrap_or_default();
        // Core's own functions are not those that anybody looks for.
        let is_core = |&&entry: &&u64| {
            let mut name = Symbol([0; 256]);
            slices::contains(name.of(entry), "shadowmm_core")
        };
        let core = all.iter().take_while(is_core).count();
        let all = all.get(core..).unwrap_or_default();
        for (to, from) in entries.iter_mut().zip(all) {
            *to = *from;
        }
        all.len().min(entries.len())
    }

    fn write_symbol(&self, out: &mut dyn fmt::Write, addr: u64) -> fmt::Result {
        out.write_str(Symbol([0; 256]).of(addr))
    }

    fn slab_report(
        &self,
        finding: Option<Finding>,
        text: &dyn Fn(&mut dyn fmt::Write) -> fmt::Result,
    ) {
        slab_report::tell(finding, text, self.now_ns());
    }

    // With KASAN, the kernel watches who touches what.
    const WATCHES: bool = cfg!(CONFIG_KASAN_GENERIC);

    fn watch(&self, memory: NonNull<u8>, bytes: usize, free: bool) {
        // SAFETY: Notes of these bytes who may touch them; those who say so
        // touch them no more, or from now on.
        unsafe { bindings::shadowmm_watch(memory.as_ptr().cast(), bytes, free) };
    }

    #[inline(always)]
    fn poisons_pages(&self) -> bool {
        poison::is_on()
    }

    fn page_report(&self, pfn: Pfn, text: &dyn Fn(&mut dyn fmt::Write) -> fmt::Result) {
        slab_report::tell_page(pfn, text, self.now_ns());
    }

    #[inline(always)]
    fn is_traced(&self, point: TracePoint) -> bool {
        trace::is_traced(point)
    }

    fn wants_pages(&self) -> bool {
        poison::is_on() || trace::wants_pages()
    }

    fn wants_objects(&self) -> bool {
        trace::wants_objects()
    }

    fn trace(&self, event: &TraceEvent) {
        trace::trace(event);
    }
}
