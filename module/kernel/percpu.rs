// SPDX-License-Identifier: GPL-2.0

//! What lies in this CPU's own memory, and the fast ends of a spinlock: the
//! hottest of what core asks for, without a call into C.
//!
//! The kernel's headers have these as inline functions, which Rust can't use,
//! and as functions they would cost more than all that core does between them.
//! So here stand the instructions that the kernel's compiler makes of them:
//!
//! ```text
//! preempt_disable()    incq %gs:__preempt_count
//! smp_processor_id()   movl %gs:cpu_number, reg
//! preempt_enable()     decq %gs:__preempt_count; jnz over; call preempt_schedule
//! spin_lock()          incq; lock cmpxchg 0 -> 1; if it was not 0, the long way
//! spin_unlock()        call queued_spin_unlock; decq; ...
//! ```
//!
//! The two calls are static calls: objtool notes where they are and the kernel
//! patches them. That of `queued_spin_unlock` becomes `movb $0, (%rdi)` but in
//! a guest whose hypervisor wants to know.
//!
//! Where the kernel is configured otherwise, or has its debugging of locks or
//! preemption, everything goes through C.

use crate::bindings;
use core::arch::asm;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Relaxed;
use kernel::types::Opaque;

/// Whether this kernel has what is inlined here: a preemption count with the
/// flag for rescheduling in the same word of 64 bits, and plain queued
/// spinlocks, whose first word is 0 when they are free and 1 when they are held
/// and nobody waits.
const INLINED: bool = cfg!(all(
    CONFIG_SMP,
    CONFIG_PREEMPT_DYNAMIC,
    CONFIG_HAS_SEPARATE_PREEMPT_RESCHED_BITS,
    CONFIG_QUEUED_SPINLOCKS,
    CONFIG_PARAVIRT_SPINLOCKS,
    not(CONFIG_PREEMPT_RT),
    not(CONFIG_TRACE_PREEMPT_TOGGLE),
    not(CONFIG_DEBUG_PREEMPT),
    not(CONFIG_DEBUG_SPINLOCK),
    not(CONFIG_DEBUG_LOCK_ALLOC)
));

/// Turns preemption off and tells the CPU (`get_cpu`).
///
/// # Safety
///
/// [`enable`] must follow, on the same CPU.
#[inline(always)]
pub(crate) unsafe fn disable() -> u32 {
    if !INLINED {
        // SAFETY: By this function's own.
        return unsafe { bindings::shadowmm_get_cpu() } as u32;
    }
    let cpu: u32;
    // SAFETY: Both are exported per-CPU variables of the kernel. The count is
    // raised, as the caller undoes; the number is read after that, so it stays
    // right. Memory is said to be changed, so that nothing of what is to be
    // done without preemption moves up.
    unsafe {
        asm!(
            "incq %gs:__preempt_count(%rip)",
            "movl %gs:cpu_number(%rip), {cpu:e}",
            cpu = out(reg) cpu,
            options(att_syntax, nostack)
        );
    }
    cpu
}

/// Turns preemption off and tells what [`set_local`] was told for this CPU; null
/// if it was not.
///
/// # Safety
///
/// As that of [`disable`].
#[inline(always)]
pub(crate) unsafe fn disable_with_local() -> *const u8 {
    if !INLINED {
        // SAFETY: By this function's own. The number is that of a possible CPU.
        return unsafe { bindings::shadowmm_cpu_local(bindings::shadowmm_get_cpu() as u32) }.cast();
    }
    let local: *const u8;
    // SAFETY: As in `disable`; the second is a per-CPU variable of helpers.c.
    unsafe {
        asm!(
            "incq %gs:__preempt_count(%rip)",
            "movq %gs:shadowmm_local(%rip), {local}",
            local = out(reg) local,
            options(att_syntax, nostack)
        );
    }
    local
}

/// Turns preemption off and tells what [`set_near`] was told for this CPU; null
/// if it was not.
///
/// # Safety
///
/// As that of [`disable`].
#[inline(always)]
pub(crate) unsafe fn disable_with_near() -> *const u8 {
    if !INLINED {
        // SAFETY: By this function's own. The number is that of a possible CPU.
        return unsafe { bindings::shadowmm_cpu_near(bindings::shadowmm_get_cpu() as u32) }.cast();
    }
    let near: *const u8;
    // SAFETY: As in `disable_with_local`.
    unsafe {
        asm!(
            "incq %gs:__preempt_count(%rip)",
            "movq %gs:shadowmm_near(%rip), {near}",
            near = out(reg) near,
            options(att_syntax, nostack)
        );
    }
    near
}

/// Notes what [`disable_with_near`] tells on a CPU.
pub(crate) fn set_near(cpu: u32, near: *const u8) {
    // SAFETY: The number is checked there, and the address is only kept.
    unsafe { bindings::shadowmm_set_cpu_near(cpu, near.cast()) };
}

/// Notes what [`disable_with_local`] tells on a CPU.
pub(crate) fn set_local(cpu: u32, local: *const u8) {
    // SAFETY: The number is checked there, and the address is only kept.
    unsafe { bindings::shadowmm_set_cpu_local(cpu, local.cast()) };
}

/// Turns preemption on again (`put_cpu`), which may be the moment for another
/// task to run.
///
/// # Safety
///
/// Follows [`disable`].
#[inline(always)]
pub(crate) unsafe fn enable() {
    if !INLINED {
        // SAFETY: By this function's own.
        return unsafe { bindings::shadowmm_put_cpu() };
    }
    // SAFETY: Undoes what `disable` did. The count is 0 when it was the last
    // that kept preemption off and somebody else is to run. The function behind
    // the static call saves every register; there is no red zone in the kernel
    // for its return address to hit.
    unsafe {
        asm!(
            "decq %gs:__preempt_count(%rip)",
            "jnz 2f",
            "call __SCT__preempt_schedule",
            "2:",
            options(att_syntax, nostack)
        );
    }
}

/// Lowers the count of [`disable`] where it is sure not to become 0.
///
/// # Safety
///
/// Follows [`disable`], within another.
#[inline(always)]
unsafe fn enable_inner() {
    // SAFETY: As in `enable`, without its end.
    unsafe {
        asm!(
            "decq %gs:__preempt_count(%rip)",
            options(att_syntax, nostack)
        )
    };
}

/// The shadow node of the running CPU, or of one that it ran on a moment ago.
#[inline(always)]
pub(crate) fn local_node() -> i32 {
    let node: i32;
    // SAFETY: Reads a per-CPU variable of helpers.c, which never goes away while
    // this code is there.
    unsafe {
        asm!(
            "movl %gs:shadowmm_cpu_node(%rip), {node:e}",
            node = out(reg) node,
            options(att_syntax, nostack, readonly, preserves_flags)
        );
    }
    node
}

/// Takes a spinlock (`spin_lock`).
///
/// # Safety
///
/// The lock is initialised, and [`unlock`] follows on the same CPU.
#[inline(always)]
pub(crate) unsafe fn lock(lock: &Opaque<kernel::bindings::spinlock_t>) {
    if !INLINED {
        // SAFETY: By this function's own.
        return unsafe { kernel::bindings::spin_lock(lock.get()) };
    }
    // SAFETY: A queued spinlock is its word, which is only accessed atomically;
    // the rest is this function's own.
    unsafe { lock_word(AtomicU32::from_ptr(lock.get().cast())) };
}

/// Takes the queued spinlock that is this word; 0 is a free one
/// (`arch_spin_lock`, with preemption off).
///
/// # Safety
///
/// [`unlock_word`] follows on the same CPU.
#[inline(always)]
pub(crate) unsafe fn lock_word(word: &AtomicU32) {
    if !INLINED {
        // SAFETY: By this function's own.
        return unsafe { bindings::shadowmm_lock_word(word.as_ptr()) };
    }
    // SAFETY: The lock keeps preemption off; `unlock_word` turns it on.
    unsafe { disable_only() };
    if word.compare_exchange(0, 1, Acquire, Relaxed).is_err() {
        lock_contended(word);
    }
}

/// Waits for a lock as the kernel does. Preemption is off already.
#[cold]
#[inline(never)]
fn lock_contended(word: &AtomicU32) {
    const { assert!(!INLINED || size_of::<kernel::bindings::spinlock_t>() == size_of::<AtomicU32>()) };
    // SAFETY: With what is inlined here, a spinlock is its word alone. It turns
    // preemption off once more, so that one of the two can be taken back.
    unsafe {
        kernel::bindings::spin_lock(word.as_ptr().cast());
        enable_inner();
    }
}

/// Releases a spinlock (`spin_unlock`).
///
/// # Safety
///
/// This CPU holds it by [`lock`].
#[inline(always)]
pub(crate) unsafe fn unlock(lock: &Opaque<kernel::bindings::spinlock_t>) {
    if !INLINED {
        // SAFETY: By this function's own.
        return unsafe { kernel::bindings::spin_unlock(lock.get()) };
    }
    // SAFETY: As in `lock`.
    unsafe { unlock_word(AtomicU32::from_ptr(lock.get().cast())) };
}

/// Releases the lock that is this word.
///
/// # Safety
///
/// This CPU holds it by [`lock_word`].
#[inline(always)]
pub(crate) unsafe fn unlock_word(word: &AtomicU32) {
    if !INLINED {
        // SAFETY: By this function's own.
        return unsafe { bindings::shadowmm_unlock_word(word.as_ptr()) };
    }
    // SAFETY: The function behind the static call takes a held lock in `rdi` and
    // may change `rax` alone (PV_CALLEE_SAVE_REGS_THUNK). Memory is said to be
    // changed, so that nothing of what the lock guards moves down.
    unsafe {
        asm!(
            "call __SCT__queued_spin_unlock",
            in("rdi") word.as_ptr(),
            out("rax") _,
            options(att_syntax, nostack)
        );
        enable();
    }
}

/// Turns preemption off (`preempt_disable`).
///
/// # Safety
///
/// As that of [`disable`].
#[inline(always)]
unsafe fn disable_only() {
    // SAFETY: As in `disable`.
    unsafe {
        asm!(
            "incq %gs:__preempt_count(%rip)",
            options(att_syntax, nostack)
        )
    };
}
