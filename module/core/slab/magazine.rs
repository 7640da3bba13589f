// SPDX-License-Identifier: GPL-2.0

//! What one CPU keeps of a cache: free objects of its own node, at hand, and those
//! of other nodes, on their way back.
//!
//! ```text
//! word      allocations << 12 | room << 6 | top
//!                                       an allocation adds 1 << 12 | 1 << 6, less 1;
//!                                       a free adds 1, less 1 << 6
//! gate      0, or not: closed to those who have not found it near
//! key       what the third word of a page's descriptor is, where it matters,
//!           for a slab of this cache on this node; what no page has where nothing
//!           is kept
//!
//! objects   [ - | 1 | 2 | ... | top | ... | top + room = capacity | ... 63 ]
//! remote    [ 0 | 1 | ... | len ... ]     remote_word: key of all of them << 32 | len;
//!                                         a key that no page has where it is not one
//! ```
//!
//! An allocation looks at `word`, a free at the descriptor, `key` and `word`; all
//! of it is written by the pinned CPU alone, so that neither needs a lock or a
//! locked instruction. What does not fit, and what is wanted besides, goes to the
//! node's store and comes from it (`barn.rs`), many at a time.
//!
//! # Closing
//!
//! Whoever has the layer's lock may take a CPU's magazine from it:
//!
//! ```text
//! the other                              the CPU, pinned
//!   no more near (near.rs)                 finds it near, or looks at the gate:
//!   gate = closed                          goes on, or takes the long way
//!   synchronize()
//!   ... all that it was about to do is done, and it does no more ...
//!   empties the magazine
//!   synchronize()
//!   gate = 0, near                         goes on with what is there
//! ```
//!
//! The second wait is for a section that has begun in between and is slow: it has
//! looked at the word as it was before, and must not find the gate open.

use crate::page::PageDescriptor;
use crate::phys::cells;
use crate::phys::NodeId;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// Where the room stands in the word.
const ROOM_SHIFT: u32 = 6;
/// Where the number of allocations stands.
const COUNT_SHIFT: u32 = 12;
/// How many objects a magazine can have: the parts of the word that are `top` and
/// room have as many bits.
pub(super) const MAX_CAPACITY: u32 = (1 << ROOM_SHIFT) - 1;
/// The part that is `top`.
const TOP: u64 = MAX_CAPACITY as u64;
/// The part that is room.
const ROOM: u64 = TOP << ROOM_SHIFT;
/// One object more, and less room for it.
const PUT: u64 = 1u64.wrapping_sub(1 << ROOM_SHIFT);
/// One allocation more, one object less.
const TAKE: u64 = (1u64 << COUNT_SHIFT).wrapping_sub(PUT);
/// The places of a magazine; the first is never used, so that `top` says where
/// the next object is, and there is one behind every `top`.
const PLACES: usize = MAX_CAPACITY as usize + 2;
/// How many objects of other nodes are gathered.
pub(super) const REMOTE: usize = 32;
/// What a key is that no page has.
const NO_KEY: u32 = PageDescriptor::NO_SLAB_KEY;
/// No object of another node.
const NO_REMOTE: u64 = (NO_KEY as u64) << 32;
/// What a gate is that nobody passes.
const CLOSED: u32 = 1;

/// How many objects a CPU keeps of a cache whose sheaves have room for so many: as
/// many as Linux's CPUs have in two sheaves, the main one and the spare, if there is
/// room.
pub const fn magazine_capacity(sheaf_capacity: u32) -> u32 {
    match sheaf_capacity.saturating_mul(2) {
        both if both < MAX_CAPACITY => both,
        _ => MAX_CAPACITY,
    }
}

/// How many objects a CPU has of such a cache at most: its own node's, and those of
/// others, on their way back.
pub const fn cpu_capacity(sheaf_capacity: u32) -> u32 {
    magazine_capacity(sheaf_capacity) + REMOTE as u32
}

/// So many objects of other nodes, of pages that all have this key.
#[inline(always)]
fn remote_word(key: u32, len: u32) -> u64 {
    (u64::from(key) << 32) | u64::from(len)
}

cells! {
    /// What a CPU keeps of a cache.
    #[repr(align(64))]
    pub(super) struct CpuSlab {
        word: AtomicU64,
        key: AtomicU32,
        gate: AtomicU32,
        capacity: AtomicU32,
        nid: AtomicU32,
        /// Where what the cache has on the node is; 0 where that is not known.
        node: AtomicU64,
        remote_word: AtomicU64,
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
            key: AtomicU32::new(NO_KEY),
            gate: AtomicU32::new(CLOSED),
            capacity: AtomicU32::new(0),
            nid: AtomicU32::new(0),
            node: AtomicU64::new(0),
            remote_word: AtomicU64::new(NO_REMOTE),
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
        self.key.store(NO_KEY, Relaxed);
        self.gate.store(0, Relaxed);
        self.capacity.store(0, Relaxed);
        self.remote_word.store(NO_REMOTE, Relaxed);
        self.nid.store(NodeId::NONE.0 as u32, Relaxed);
        for zero in [
            &self.node,
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

    /// So many objects may be kept, of pages with this key on this node, where the cache
    /// has what is at `node`: for the pinned CPU, before anything is kept.
    #[inline]
    pub(super) fn set_up(&self, capacity: u32, key: u32, nid: NodeId, node: u64) {
        let capacity = capacity.min(MAX_CAPACITY);
        self.node.store(node, Relaxed);
        self.nid.store(nid.0 as u32, Relaxed);
        self.key.store(key, Relaxed);
        self.capacity.store(capacity, Relaxed);
        let word = self.word.load(Relaxed) & !(ROOM | TOP);
        self.word
            .store(word | (u64::from(capacity) << ROOM_SHIFT), Relaxed);
    }

    /// The node whose objects are kept.
    #[inline]
    pub(super) fn nid(&self) -> NodeId {
        NodeId(self.nid.load(Relaxed) as i32)
    }

    /// Where what the cache has on that node is; 0 where that is not known.
    #[inline]
    pub(super) fn node_addr(&self) -> u64 {
        self.node.load(Relaxed)
    }

    /// How many objects may be kept.
    #[inline]
    pub(super) fn capacity(&self) -> u32 {
        self.capacity.load(Relaxed)
    }

    #[inline(always)]
    fn top(&self) -> u64 {
        self.word.load(Relaxed) & TOP
    }

    /// How many are.
    #[inline(always)]
    pub(super) fn len(&self) -> u32 {
        self.top() as u32
    }

    /// For how many more there is room.
    #[inline(always)]
    pub(super) fn room(&self) -> u32 {
        ((self.word.load(Relaxed) & ROOM) >> ROOM_SHIFT) as u32
    }

    /// Takes the object that was put last. For the pinned CPU, which has found it near
    /// or its gate open.
    #[inline(always)]
    pub(super) fn pop(&self) -> Option<u64> {
        let top = self.top();
        if top == 0 {
            return None;
        }
        let object = self.objects[top as usize].load(Relaxed);
        bump(&self.word, TAKE);
        Some(object)
    }

    /// Puts an object from a page whose key is `key`; `false` when it does not
    /// belong here, or there is no room. As above.
    #[inline(always)]
    pub(super) fn push(&self, key: u32, object: u64) -> bool {
        key == self.key.load(Relaxed) && self.put(object)
    }

    /// The same for an object that belongs here; `false` when there is no room.
    #[inline(always)]
    pub(super) fn put(&self, object: u64) -> bool {
        let word = self.word.load(Relaxed);
        if word & ROOM == 0 {
            return false;
        }
        self.objects[(word & TOP) as usize + 1].store(object, Relaxed);
        bump(&self.word, PUT);
        true
    }

    /// Whether this is the key of what is kept.
    #[inline]
    pub(super) fn keeps(&self, key: u32) -> bool {
        self.key.load(Relaxed) == key
    }

    /// Whether it is that of pages of what is kept, but on another node.
    #[inline(always)]
    pub(super) fn keeps_elsewhere(&self, key: u32) -> bool {
        PageDescriptor::slab_keys_differ_by_node(key, self.key.load(Relaxed))
    }

    /// Whether nobody has taken it from its CPU.
    #[inline(always)]
    pub(super) fn is_open(&self) -> bool {
        self.gate.load(Relaxed) == 0
    }

    /// Takes it from its CPU, once all that are pinned now are so no more.
    pub(super) fn close(&self) {
        self.gate.store(CLOSED, Relaxed);
    }

    /// Gives it back.
    pub(super) fn open(&self) {
        self.gate.store(0, Relaxed);
    }

    /// The places for which there is room, the next one first: for objects that come
    /// from slabs or a store. See [`CpuSlab::filled`].
    #[inline(always)]
    pub(super) fn places(&self) -> &[AtomicU64] {
        let first = self.top().wrapping_add(1) as usize;
        let behind = first.wrapping_add(self.room() as usize);
        self.objects.get(first..behind).unwrap_or_default()
    }

    /// So many of these places are filled, and now they count.
    #[inline(always)]
    pub(super) fn filled(&self, count: u32) {
        bump(&self.word, u64::from(count).wrapping_mul(PUT));
        bump(&self.refilled, count.into());
        bump(&self.refills, 1);
    }

    /// The objects that were put last, as many as there are of so many.
    #[inline]
    pub(super) fn highest(&self, count: usize) -> &[AtomicU64] {
        let top = self.top() as usize;
        let first = top.saturating_sub(count).wrapping_add(1);
        self.objects.get(first..=top).unwrap_or_default()
    }

    /// Takes so many away that were put last.
    #[inline]
    pub(super) fn take_highest(&self, count: usize) {
        bump(&self.word, (count as u64).wrapping_mul(TAKE));
    }

    /// The objects that were put first, as many as there are of so many.
    #[inline]
    pub(super) fn lowest(&self, count: u32) -> &[AtomicU64] {
        let count = count.min(self.len()) as usize;
        self.objects.get(1..=count).unwrap_or_default()
    }

    /// Takes so many away that were put first, and there are. Those above move
    /// down.
    #[inline]
    pub(super) fn take_lowest(&self, count: u32) {
        let len = self.len();
        let count = count.min(len);
        let (kept, places) = (
            self.objects.get(count as usize + 1..=len as usize),
            self.objects.get(1..),
        );
        for (to, from) in places.into_iter().flatten().zip(kept.unwrap_or_default()) {
            to.store(from.load(Relaxed), Relaxed);
        }
        bump(
            &self.word,
            u64::from(count).wrapping_mul(PUT).wrapping_neg(),
        );
        if count > 0 {
            bump(&self.flushed, count.into());
            bump(&self.flushes, 1);
        }
    }

    /// Keeps an object from a page whose key is that of all objects of other nodes that
    /// were put last; `false` when it is not, or there is no room.
    #[inline(always)]
    pub(super) fn put_same_remote(&self, key: u32, object: u64) -> bool {
        // How many there are, where the keys are the same; too many, where they are not.
        let len = self.remote_word.load(Relaxed) ^ remote_word(key, 0);
        let Some(place) = self.remote.get(len as usize) else {
            return false;
        };
        place.store(object, Relaxed);
        bump(&self.remote_word, 1);
        true
    }

    /// Keeps an object of another node, from a page whose key is `key`; `false`
    /// when there is no room.
    #[inline]
    pub(super) fn put_remote(&self, key: u32, object: u64) -> bool {
        let (all, len) = self.remote_parts();
        let Some(place) = self.remote.get(len as usize) else {
            return false;
        };
        place.store(object, Relaxed);
        let all = match len == 0 || all == key {
            true => key,
            false => NO_KEY,
        };
        let word = remote_word(all, len.wrapping_add(1));
        self.remote_word.store(word, Relaxed);
        true
    }

    /// All objects of other nodes, and whether their pages all have one key.
    #[inline]
    pub(super) fn remote(&self) -> (&[AtomicU64], bool) {
        let (key, len) = self.remote_parts();
        let kept = self.remote.get(..len as usize).unwrap_or_default();
        (kept, key != NO_KEY)
    }

    /// The key that they all have, and how many there are.
    #[inline]
    fn remote_parts(&self) -> (u32, u32) {
        let word = self.remote_word.load(Relaxed);
        ((word >> 32) as u32, word as u32)
    }

    /// Takes them all away.
    #[inline]
    pub(super) fn take_remote(&self) {
        let (key, len) = self.remote_parts();
        self.remote_word.store(remote_word(key, 0), Relaxed);
        if len > 0 {
            bump(&self.remote_freed, len.into());
            bump(&self.remote_batches, 1);
        }
    }

    /// Whether the object is in it, as far as can be seen from anywhere.
    pub(super) fn has(&self, object: u64) -> bool {
        let len = self.len() as usize;
        let kept = self.objects.get(1..=len).unwrap_or_default();
        let mut all = kept.iter().chain(self.remote().0);
        all.any(|place| place.load(Relaxed) == object)
    }

    /// Calls `each` with every object in it, for whoever has closed it or is
    /// alone.
    pub(super) fn for_each(&self, mut each: impl FnMut(u64)) {
        let kept = self.objects.get(1..=self.len() as usize);
        for place in kept.unwrap_or_default().iter().chain(self.remote().0) {
            each(place.load(Relaxed));
        }
    }

    /// What has happened, as far as it can be seen from anywhere.
    pub(super) fn counts(&self) -> CpuCounts {
        let word = self.word.load(Relaxed);
        let top = word & TOP;
        let allocs = word >> COUNT_SHIFT;
        let (_, remote_len) = self.remote_parts();
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
            cached: top.wrapping_add(remote_len.into()),
        }
    }
}

/// Adds without a locked instruction: the owner is the only writer.
#[inline]
pub(super) fn bump(count: &AtomicU64, by: u64) {
    count.store(count.load(Relaxed).wrapping_add(by), Relaxed);
}
