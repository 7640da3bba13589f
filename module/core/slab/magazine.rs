// SPDX-License-Identifier: GPL-2.0

//! What one CPU keeps of a cache: free objects of its own node, at hand, and those
//! of other nodes, on their way back.
//!
//! ```text
//! word      allocations << 6 | top      one addition counts an allocation and
//!                                       takes the object away: 63 = 64 - 1
//! floor     0, or above every top: nothing may be taken
//! limit     the capacity, or 0: nothing may be put
//! key       what the third word of a page's descriptor is, where it matters,
//!           for a slab of this cache on this node; 0, which no page has, where
//!           nothing is kept
//!
//! objects   [ - | 1 | 2 | ... | top | ... | capacity | ... 64 ]
//! remote    [ 0 | 1 | ... | remote_len ... ]
//! ```
//!
//! An allocation looks at `word` and `floor`, a free at the descriptor, `key`,
//! `word` and `limit`; all of it is written by the pinned CPU alone, so that
//! neither needs a lock or a locked instruction.
//!
//! # Closing
//!
//! Whoever has the layer's lock may take a CPU's magazine from it:
//!
//! ```text
//! the other                              the CPU, pinned
//!   no more near (near.rs)                 finds it near, or looks at floor or limit:
//!   floor = 255, limit = 0                 goes on, or takes the long way
//!   synchronize()
//!   ... all that it was about to do is done, and it does no more ...
//!   empties the magazine
//!   synchronize()
//!   limit = capacity, floor = 0, near      goes on with what is there
//! ```
//!
//! The second wait is for a section that has begun in between and is slow: it has
//! looked at the word as it was before, and must not find the gate open.

use crate::phys::cells;
use crate::phys::NodeId;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// Where the number of allocations stands in the word.
const COUNT_SHIFT: u32 = 6;
/// How many objects a magazine can have: the part of the word that is `top`.
pub(super) const MAX_CAPACITY: u32 = (1 << COUNT_SHIFT) - 1;
/// The places of a magazine; the first is never used, so that `top` says where
/// the next object is, and there is one behind every `top`.
const PLACES: usize = MAX_CAPACITY as usize + 2;
/// How many objects of other nodes are gathered.
pub(super) const REMOTE: usize = 32;
/// Above every `top`.
const CLOSED: u32 = 255;

cells! {
    /// What a CPU keeps of a cache.
    #[repr(align(64))]
    pub(super) struct CpuSlab {
        word: AtomicU64,
        floor: AtomicU32,
        limit: AtomicU32,
        key: AtomicU32,
        capacity: AtomicU32,
        nid: AtomicU32,
        remote_len: AtomicU32,
        /// Objects that came from the node's slabs.
        refilled: AtomicU64,
        /// Objects that went there.
        flushed: AtomicU64,
        /// How often some came.
        refills: AtomicU64,
        /// How often some went.
        flushes: AtomicU64,
        /// Objects of other nodes that went back.
        remote_freed: AtomicU64,
        /// In how many batches.
        remote_batches: AtomicU64,
        objects: [AtomicU64; PLACES],
        remote: [AtomicU64; REMOTE],
    }
}

/// What has happened to a magazine.
#[derive(Clone, Copy, Default)]
pub(super) struct CpuCounts {
    pub(super) allocs: u64,
    pub(super) frees: u64,
    pub(super) refills: u64,
    pub(super) flushes: u64,
    pub(super) remote_freed: u64,
    pub(super) remote_batches: u64,
    /// Objects that are in it, those of other nodes, too.
    pub(super) cached: u64,
}

impl CpuSlab {
    /// Keeps nothing.
    pub(super) const fn closed() -> Self {
        Self {
            word: AtomicU64::new(0),
            floor: AtomicU32::new(CLOSED),
            limit: AtomicU32::new(0),
            key: AtomicU32::new(0),
            capacity: AtomicU32::new(0),
            nid: AtomicU32::new(0),
            remote_len: AtomicU32::new(0),
            refilled: AtomicU64::new(0),
            flushed: AtomicU64::new(0),
            refills: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
            remote_freed: AtomicU64::new(0),
            remote_batches: AtomicU64::new(0),
            objects: [const { AtomicU64::new(0) }; PLACES],
            remote: [const { AtomicU64::new(0) }; REMOTE],
        }
    }

    /// Nothing is kept until [`CpuSlab::set_up`] says so.
    pub(super) fn init(&self) {
        self.word.store(0, Relaxed);
        for zero in [
            &self.floor,
            &self.limit,
            &self.key,
            &self.capacity,
            &self.remote_len,
        ] {
            zero.store(0, Relaxed);
        }
        self.nid.store(NodeId::NONE.0 as u32, Relaxed);
        for zero in [
            &self.refilled,
            &self.flushed,
            &self.refills,
            &self.flushes,
            &self.remote_freed,
            &self.remote_batches,
        ] {
            zero.store(0, Relaxed);
        }
    }

    /// Whether it is known what is kept here.
    #[inline]
    pub(super) fn is_set_up(&self) -> bool {
        self.capacity.load(Relaxed) != 0
    }

    /// So many objects may be kept, of pages with this key on this node: for the
    /// pinned CPU, before anything is kept.
    pub(super) fn set_up(&self, capacity: u32, key: u32, nid: NodeId) {
        let capacity = capacity.min(MAX_CAPACITY);
        self.nid.store(nid.0 as u32, Relaxed);
        self.key.store(key, Relaxed);
        self.capacity.store(capacity, Relaxed);
        if self.is_open() {
            self.limit.store(capacity, Relaxed);
        }
    }

    /// The node whose objects are kept.
    pub(super) fn nid(&self) -> NodeId {
        NodeId(self.nid.load(Relaxed) as i32)
    }

    /// How many objects may be kept.
    #[inline]
    pub(super) fn capacity(&self) -> u32 {
        self.capacity.load(Relaxed)
    }

    #[inline(always)]
    fn top(&self) -> u64 {
        self.word.load(Relaxed) & u64::from(MAX_CAPACITY)
    }

    /// How many are.
    #[inline(always)]
    pub(super) fn len(&self) -> u32 {
        self.top() as u32
    }

    /// Takes the object that was put last.
    #[inline(always)]
    pub(super) fn pop(&self) -> Option<u64> {
        match self.len() > self.floor.load(Relaxed) {
            true => self.pop_near(),
            false => None,
        }
    }

    /// The same for a magazine that was found near, and so is open.
    #[inline(always)]
    pub(super) fn pop_near(&self) -> Option<u64> {
        let top = self.top();
        if top == 0 {
            return None;
        }
        let object = self.objects[top as usize].load(Relaxed);
        // One allocation more, one object less.
        bump(&self.word, MAX_CAPACITY.into());
        Some(object)
    }

    /// Puts an object from a page whose key is `key`; `false` when it does not
    /// belong here, or there is no room.
    #[inline(always)]
    pub(super) fn push(&self, key: u32, object: u64) -> bool {
        if key != self.key.load(Relaxed) {
            return false;
        }
        let top = self.top();
        if top >= u64::from(self.limit.load(Relaxed)) {
            return false;
        }
        self.objects[top as usize + 1].store(object, Relaxed);
        bump(&self.word, 1);
        true
    }

    /// Whether this is the key of what is kept.
    #[inline]
    pub(super) fn keeps(&self, key: u32) -> bool {
        self.key.load(Relaxed) == key
    }

    /// Whether nobody has taken it from its CPU.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.floor.load(Relaxed) == 0
    }

    /// Takes it from its CPU, once all that are pinned now are so no more.
    pub(super) fn close(&self) {
        self.floor.store(CLOSED, Relaxed);
        self.limit.store(0, Relaxed);
    }

    /// Gives it back.
    pub(super) fn open(&self) {
        self.limit.store(self.capacity(), Relaxed);
        self.floor.store(0, Relaxed);
    }

    /// Puts an object that comes from a slab, without a look at the limit.
    #[inline]
    pub(super) fn put(&self, object: u64) {
        let top = self.len() as usize;
        self.objects[top + 1].store(object, Relaxed);
        bump(&self.word, 1);
    }

    /// Notes that so many came from slabs.
    pub(super) fn note_refill(&self, count: u32) {
        bump(&self.refilled, count.into());
        bump(&self.refills, 1);
    }

    /// The objects that were put first, so many: they are not in it any more, but
    /// stay where they are until the next one is put. Those above move down.
    pub(super) fn take_lowest(&self, count: u32, mut each: impl FnMut(u64)) {
        let count = count.min(self.len());
        let len = self.len();
        for at in 1..=count {
            each(self.objects[at as usize & MAX_CAPACITY as usize].load(Relaxed));
        }
        for at in count.saturating_add(1)..=len {
            let object = self.objects[at as usize & MAX_CAPACITY as usize].load(Relaxed);
            let to = at.saturating_sub(count) as usize & MAX_CAPACITY as usize;
            self.objects[to].store(object, Relaxed);
        }
        bump(&self.word, u64::from(count).wrapping_neg());
        if count > 0 {
            bump(&self.flushed, count.into());
            bump(&self.flushes, 1);
        }
    }

    /// Keeps an object of another node; `false` when there is no room.
    #[inline]
    pub(super) fn put_remote(&self, object: u64) -> bool {
        let len = self.remote_len.load(Relaxed);
        match self.remote.get(len as usize) {
            Some(place) => {
                place.store(object, Relaxed);
                self.remote_len.store(len.wrapping_add(1), Relaxed);
                true
            }
            None => false,
        }
    }

    /// Takes all objects of other nodes.
    pub(super) fn take_remote(&self, mut each: impl FnMut(u64)) {
        let len = self.remote_len.load(Relaxed) as usize;
        for place in self.remote.get(..len).unwrap_or_default() {
            each(place.load(Relaxed));
        }
        self.remote_len.store(0, Relaxed);
        if len > 0 {
            bump(&self.remote_freed, len as u64);
            bump(&self.remote_batches, 1);
        }
    }

    /// Whether the object is in it, as far as can be seen from anywhere.
    pub(super) fn has(&self, object: u64) -> bool {
        let len = self.len() as usize;
        let kept = self.objects.get(1..=len);
        let remote = self.remote.get(..self.remote_len.load(Relaxed) as usize);
        let mut all = kept.into_iter().chain(remote).flatten();
        all.any(|place| place.load(Relaxed) == object)
    }

    /// Calls `each` with every object in it, for whoever has closed it or is
    /// alone.
    pub(super) fn for_each(&self, mut each: impl FnMut(u64)) {
        let kept = self.objects.get(1..=self.len() as usize);
        let remote = self.remote.get(..self.remote_len.load(Relaxed) as usize);
        for place in kept.into_iter().chain(remote).flatten() {
            each(place.load(Relaxed));
        }
    }

    /// What has happened, as far as it can be seen from anywhere.
    pub(super) fn counts(&self) -> CpuCounts {
        let word = self.word.load(Relaxed);
        let top = word & u64::from(MAX_CAPACITY);
        let allocs = word >> COUNT_SHIFT;
        let remote_len = u64::from(self.remote_len.load(Relaxed));
        // What came and what is there or went are the same.
        let came = self.refilled.load(Relaxed);
        let went = allocs
            .wrapping_add(self.flushed.load(Relaxed))
            .wrapping_add(top);
        CpuCounts {
            allocs,
            frees: went.wrapping_sub(came),
            refills: self.refills.load(Relaxed),
            flushes: self.flushes.load(Relaxed),
            remote_freed: self.remote_freed.load(Relaxed),
            remote_batches: self.remote_batches.load(Relaxed),
            cached: top.wrapping_add(remote_len),
        }
    }
}

/// Adds without a locked instruction: the owner is the only writer.
#[inline]
pub(super) fn bump(count: &AtomicU64, by: u64) {
    count.store(count.load(Relaxed).wrapping_add(by), Relaxed);
}
