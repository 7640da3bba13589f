// SPDX-License-Identifier: GPL-2.0

//! What a cache has on a node: its lists of slabs, and what is counted there.

use crate::buddy::PageList;
use crate::phys::cells;
use crate::phys::NodeId;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

cells! {
    /// A list of slabs of a node, and how many they are.
    pub(in crate::slab) struct ListCells {
        head: AtomicU32,
        tail: AtomicU32,
        pub(in crate::slab) nr: AtomicU64,
    }
}

impl ListCells {
    pub(in crate::slab) fn clear(&self) {
        self.set(&PageList::NEW);
        self.nr.store(0, Relaxed);
    }

    /// The list, for the holder of the node's lock.
    #[inline(always)]
    pub(in crate::slab) fn get(&self) -> PageList {
        PageList::of(self.head.load(Relaxed), self.tail.load(Relaxed))
    }

    /// What has become of it.
    #[inline(always)]
    pub(in crate::slab) fn set(&self, list: &PageList) {
        let (head, tail) = list.ends();
        self.head.store(head, Relaxed);
        self.tail.store(tail, Relaxed);
    }
}

cells! {
    /// What a cache has on one node (`struct kmem_cache_node`).
    #[repr(align(64))]
    pub(in crate::slab) struct NodeCells {
        pub(in crate::slab) lock: AtomicU32,
        pub(in crate::slab) nid: AtomicU32,
        /// Slabs some of whose objects are free.
        pub(in crate::slab) partial: ListCells,
        /// Slabs all of whose objects are.
        pub(in crate::slab) empty: ListCells,
        /// Slabs none of whose objects is.
        pub(in crate::slab) full: ListCells,
        /// Slabs that are the node's no more, but whose pages have to wait.
        pub(in crate::slab) waiting: ListCells,
        /// Objects in all slabs.
        pub(in crate::slab) total: AtomicU64,
        /// Objects in the slabs' freelists.
        pub(in crate::slab) free: AtomicU64,
        /// Pages of all slabs, those that wait among them.
        pub(in crate::slab) pages: AtomicU64,
        /// Objects that were taken one by one.
        pub(in crate::slab) alloc_slow: AtomicU64,
        /// Objects that were given back past the magazines.
        pub(in crate::slab) free_slow: AtomicU64,
        /// Slabs that came.
        pub(in crate::slab) alloc_slab: AtomicU64,
        /// Slabs that went.
        pub(in crate::slab) free_slab: AtomicU64,
        /// Slabs that came smaller than wished for.
        pub(in crate::slab) order_fallback: AtomicU64,
        /// Where the store of free objects is, and how many it has (`barn.rs`); 0
        /// for none.
        pub(in crate::slab) barn: AtomicU64,
    }
}

impl NodeCells {
    /// Nothing is there yet.
    pub(in crate::slab) fn init(&self, nid: NodeId) {
        self.lock.store(0, Relaxed);
        self.nid.store(nid.0 as u32, Relaxed);
        self.partial.clear();
        self.empty.clear();
        self.full.clear();
        self.waiting.clear();
        for count in [
            &self.total,
            &self.free,
            &self.pages,
            &self.alloc_slow,
            &self.free_slow,
            &self.alloc_slab,
            &self.free_slab,
            &self.order_fallback,
            &self.barn,
        ] {
            count.store(0, Relaxed);
        }
    }

    /// The node.
    #[inline]
    pub(in crate::slab) fn nid(&self) -> NodeId {
        NodeId(self.nid.load(Relaxed) as i32)
    }

    /// What Linux has on its partial list, for which empty slabs are partial
    /// ones.
    #[inline]
    pub(in crate::slab) fn nr_partial(&self) -> u64 {
        let (partial, empty) = (&self.partial.nr, &self.empty.nr);
        partial.load(Relaxed).wrapping_add(empty.load(Relaxed))
    }

    /// All slabs.
    pub(in crate::slab) fn nr_slabs(&self) -> u64 {
        self.nr_partial().wrapping_add(self.full.nr.load(Relaxed))
    }
}
