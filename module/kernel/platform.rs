// SPDX-License-Identifier: GPL-2.0

//! What core asks of its surroundings, answered by the kernel.

use crate::bindings;
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ops::DerefMut;
use core::sync::atomic::AtomicI32;
use core::sync::atomic::Ordering::Relaxed;
use kernel::types::NotThreadSafe;
use kernel::types::Opaque;
use shadowmm_core::phys::CpuId;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::MAX_CPUS;
use shadowmm_core::platform::Lock;
use shadowmm_core::platform::Platform;

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
        // SAFETY: `new` initialised it.
        unsafe { kernel::bindings::spin_lock(self.raw.get()) };
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
        unsafe { kernel::bindings::spin_unlock(self.lock.raw.get()) };
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

/// The shadow node of each CPU, as the boot has it.
static CPU_NODES: [AtomicI32; MAX_CPUS] = [const { AtomicI32::new(-1) }; MAX_CPUS];

/// The running kernel.
pub(crate) struct Kernel;

/// Preemption is off while this lives.
pub(crate) struct CpuGuard(NotThreadSafe);

impl Drop for CpuGuard {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: `pin_cpu` called get_cpu().
        unsafe { bindings::shadowmm_put_cpu() };
    }
}

impl Platform for Kernel {
    type Lock<T: Send> = SpinLock<T>;
    type CpuGuard<'a> = CpuGuard;

    fn nr_cpus(&self) -> u32 {
        // SAFETY: Reads a variable that is set once at boot.
        unsafe { bindings::shadowmm_nr_cpu_ids() }
    }

    #[inline]
    fn pin_cpu(&self) -> (CpuId, CpuGuard) {
        // SAFETY: The guard undoes it.
        let cpu = unsafe { bindings::shadowmm_get_cpu() };
        (CpuId(cpu as u32), CpuGuard(PhantomData))
    }

    fn is_online(&self, cpu: CpuId) -> bool {
        // SAFETY: The number is checked against the possible ones.
        cpu.0 < self.nr_cpus() && unsafe { bindings::shadowmm_cpu_online(cpu.0) }
    }

    fn set_cpu_node(&self, cpu: CpuId, nid: NodeId) {
        if let Some(node) = CPU_NODES.get(cpu.0 as usize) {
            node.store(nid.0, Relaxed);
        }
    }

    #[inline]
    fn local_node(&self) -> NodeId {
        // SAFETY: A number that may be old at once, as the node may.
        let cpu = unsafe { bindings::shadowmm_raw_smp_processor_id() };
        let node = CPU_NODES.get(cpu as usize);
        node.map_or(NodeId::NONE, |node| NodeId(node.load(Relaxed)))
    }

    fn now_ns(&self) -> u64 {
        // SAFETY: May be called in any context.
        unsafe { kernel::bindings::ktime_get() as u64 }
    }
}
