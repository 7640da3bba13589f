// SPDX-License-Identifier: GPL-2.0

//! An address space and a VMA as they lie in the shadow's memory.
//!
//! Objects of caches that are typesafe: an object that was freed may have become
//! another of its kind while somebody looks at it, so `lock` outlives its object
//! and is changed by `lock.rs` alone.

use crate::phys::cells;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;

/// Kinds of resident pages: file, anonymous, swap, shared memory (`MM_FILEPAGES`
/// and so on, in their order).
pub const NR_RSS: usize = 4;

cells! {
    /// A VMA (`struct vm_area_struct`). Written under the mmap lock held for writing
    /// and, where a fault may look at it, its own lock held for writing, too.
    pub struct VmaCells {
        /// The VMA's lock (`vm_refcnt`): readers are faults.
        pub(super) lock: AtomicU32,
        /// The address space's `seq` while a writer has it (`vm_lock_seq`).
        pub(super) lock_seq: AtomicU32,
        /// Nothing.
        pub(super) pad: AtomicU32,
        /// In how many anonymous regions' lists it is (`anon_vma_chain`): 1 for one that
        /// no fork has passed on.
        pub(super) chains: AtomicU32,
        /// The address space ([`ObjAddr`](crate::slab::ObjAddr)); 0 when it is in none
        /// (`vma_is_detached`).
        pub(super) mm: AtomicU64,
        pub(super) start: AtomicU64,
        pub(super) end: AtomicU64,
        /// [`VmFlags`](super::VmFlags).
        pub(super) flags: AtomicU64,
        /// In pages, of the file or shared object; of anonymous memory, where it
        /// began (`vm_pgoff`).
        pub(super) pgoff: AtomicU64,
        /// The same as if it were anonymous, too: where its private pages began
        /// (`vma_start_anon_pgoff`).
        pub(super) anon_pgoff: AtomicU64,
        /// The number of what is behind it: 0 for private anonymous memory, a file's or
        /// a shared object's otherwise.
        pub(super) file: AtomicU64,
        /// Which anonymous region its private pages belong to (`anon_vma`); 0 before it
        /// has one. VMAs of different regions are not merged.
        pub(super) anon: AtomicU64,
        /// The next one of those that are about to go; whoever takes them away has it.
        pub(super) next: AtomicU64,
    }
}

cells! {
    /// An address space (`struct mm_struct`).
    pub struct MmCells {
        /// The mmap lock.
        pub(super) lock: AtomicU32,
        /// Odd while the mmap lock is held for writing; counts that (`mm_lock_seq`).
        pub(super) seq: AtomicU32,
        /// Who uses it (`mm_users`).
        pub(super) users: AtomicU32,
        /// Its number in reports.
        pub(super) id: AtomicU32,
        /// The host's process that it belongs to, and whose child it is.
        pub(super) pid: AtomicU32,
        pub(super) map_count: AtomicU32,
        /// `comm` of the process: 16 bytes.
        pub(super) comm: [AtomicU64; 2],
        /// The tree's root and what else it keeps; see `vma_tree`.
        pub(super) tree: [AtomicU64; 4],
        /// The physical address of the top-level table (`pgd`).
        pub(super) pgd: AtomicU64,
        /// Its neighbours in the list of all address spaces.
        pub(super) list_next: AtomicU64,
        pub(super) list_prev: AtomicU64,
        /// The window: where addresses may be at all.
        pub(super) window_start: AtomicU64,
        pub(super) window_end: AtomicU64,
        pub(super) mmap_base: AtomicU64,
        pub(super) mmap_legacy_base: AtomicU64,
        /// All but the counts of pages in bytes, as in Linux.
        pub(super) start_code: AtomicU64,
        pub(super) end_code: AtomicU64,
        pub(super) start_data: AtomicU64,
        pub(super) end_data: AtomicU64,
        pub(super) start_brk: AtomicU64,
        pub(super) brk: AtomicU64,
        pub(super) start_stack: AtomicU64,
        pub(super) arg_start: AtomicU64,
        pub(super) arg_end: AtomicU64,
        pub(super) env_start: AtomicU64,
        pub(super) env_end: AtomicU64,
        /// In pages.
        pub(super) total_vm: AtomicU64,
        pub(super) locked_vm: AtomicU64,
        pub(super) pinned_vm: AtomicU64,
        pub(super) data_vm: AtomicU64,
        pub(super) exec_vm: AtomicU64,
        pub(super) stack_vm: AtomicU64,
        pub(super) hiwater_rss: AtomicU64,
        pub(super) hiwater_vm: AtomicU64,
        pub(super) rss: [AtomicU64; NR_RSS],
        /// In bytes (`mm_pgtables_bytes`).
        pub(super) pgtables_bytes: AtomicU64,
        /// In pages, and signed: what shared objects have got through it, less what all of
        /// them had that ended with it.
        pub(super) object_pages: AtomicU64,
        /// In pages: what its tables keep of blocks that they have in parts, and have not
        /// ([`parts`](super::parts)).
        pub(super) rest_pages: AtomicU64,
        /// Flags that new VMAs get (`def_flags`: mlockall).
        pub(super) def_flags: AtomicU64,
        /// `RLIMIT_AS`, `DATA`, `STACK`, `MEMLOCK`, in bytes; all ones: none.
        pub(super) rlimit_as: AtomicU64,
        pub(super) rlimit_data: AtomicU64,
        /// What `RLIMIT_DATA` may be raised to.
        pub(super) rlimit_data_max: AtomicU64,
        pub(super) rlimit_stack: AtomicU64,
        pub(super) rlimit_memlock: AtomicU64,
        /// [`MmPolicy`](super) bits: legacy layout, CAP_IPC_LOCK, OOM-killed, ...
        pub(super) policy: AtomicU64,
        /// `oom_score_adj`, as a signed number.
        pub(super) oom_score_adj: AtomicU64,
        /// Since when its memory is about to come back, by the surroundings' clock: it was
        /// OOM-killed, or had no owner when memory was out; 0 for neither.
        pub(super) oom_since: AtomicU64,
        /// Faults that were served under the VMA's lock, and under the mmap lock.
        pub(super) faults_vma_lock: AtomicU64,
        pub(super) faults_mmap_lock: AtomicU64,
        /// Pages that were faulted in before anybody touched them (`populate`).
        pub(super) populated: AtomicU64,
        /// Faults that came to nothing, by the same locks.
        pub(super) failed_vma_lock: AtomicU64,
        pub(super) failed_mmap_lock: AtomicU64,
        /// Of these, those that Linux counts with the others (`VM_FAULT_ERROR`).
        pub(super) faults_error: AtomicU64,
        pub(super) maj_flt: AtomicU64,
    }
}
