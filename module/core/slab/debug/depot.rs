// SPDX-License-Identifier: GPL-2.0

//! The depot: each stack once, in the shadow's own memory (`lib/stackdepot.c`).
//!
//! ```text
//! root      buckets by hash          pools, a page each, filled in order
//!   used    [ handle ] -> record -> record -> 0
//!   stacks            record   word 0   next handle 31..0 | hash 63..32
//!   missed                     word 1   how many addresses
//!                              word 2…  the addresses, the innermost first
//! handle    1 + 512 * pool + word of the page; 0 is none
//! ```
//!
//! Nothing is ever taken out, so whoever looks needs no lock. Who saves a stack
//! reserves its room by moving `used`, writes the record, and then exchanges the
//! bucket's head for it; two who save the same stack at the same time may both
//! keep it, which costs only room. A stack that there is no memory for is
//! missing in reports, as in Linux.

use super::track::StackHandle;
use super::track::Stacks;
use super::track::TRACK_ADDRS_COUNT;
use crate::phys::cells;
use crate::phys::Pfn;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::AcqRel;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::Release;

/// How many chains of stacks there are.
const BUCKETS: usize = 1024;
/// How many pages of stacks there can be: 4 MiB, some 30,000 of full depth.
const POOLS: usize = 1016;
/// Words of a page.
const POOL_WORDS: u32 = 512;
/// Words of a record before its addresses.
const HEAD: u32 = 2;

cells! {
    /// What the depot keeps beside its pools. All zero is an empty depot. It fills
    /// two pages but for a little.
    pub struct DepotRoot {
        /// How much of the pools is taken, in words from the first one's start.
        used: AtomicU32,
        /// How many stacks there are.
        stacks: AtomicU32,
        /// How many there was no memory for.
        missed: AtomicU32,
        buckets: [AtomicU32; BUCKETS],
        pools: [AtomicU32; POOLS],
    }
}

impl Default for DepotRoot {
    fn default() -> Self {
        Self {
            used: AtomicU32::new(0),
            stacks: AtomicU32::new(0),
            missed: AtomicU32::new(0),
            buckets: [const { AtomicU32::new(0) }; BUCKETS],
            pools: [const { AtomicU32::new(0) }; POOLS],
        }
    }
}

/// Where the pages of the depot come from.
pub trait DepotMemory {
    /// A page for the depot to keep, if there is one; never page 0.
    fn take(&self) -> Option<Pfn>;

    /// Takes back a page that the depot could not use.
    fn give_back(&self, pfn: Pfn);

    /// The words of such a page.
    fn words(&self, pfn: Pfn) -> Option<&[AtomicU64]>;
}

/// The depot.
pub struct Depot<'a, M> {
    root: Option<&'a DepotRoot>,
    memory: M,
}

impl<'a, M: DepotMemory> Depot<'a, M> {
    /// The depot with this root, whose pages come from `memory`; without a root,
    /// nothing is kept.
    pub const fn new(root: Option<&'a DepotRoot>, memory: M) -> Self {
        Self { root, memory }
    }

    /// How many stacks there are, how many pages they take, and how many stacks
    /// there was no memory for.
    pub fn counts(&self) -> (u32, u32, u32) {
        let Some(root) = self.root else {
            return (0, 0, 0);
        };
        let [stacks, missed] = [&root.stacks, &root.missed].map(|n| n.load(Relaxed));
        (stacks, self.pages().count() as u32, missed)
    }

    /// The pages that the depot has.
    pub fn pages(&self) -> impl Iterator<Item = Pfn> + '_ {
        let pools = self.root.iter().flat_map(|root| &root.pools);
        let pools = pools.map(|pool| pool.load(Relaxed));
        pools.filter(|&pfn| pfn != 0).map(|pfn| Pfn(u64::from(pfn)))
    }

    /// Keeps a stack, or finds it (`stack_depot_save`). No lock is held: a page
    /// may be taken.
    pub fn save(&self, entries: &[u64]) -> StackHandle {
        let entries = entries.get(..TRACK_ADDRS_COUNT).unwrap_or(entries);
        let Some(root) = self.root.filter(|_| !entries.is_empty()) else {
            return StackHandle(0);
        };
        let hash = hash(entries);
        let Some(bucket) = root.buckets.get(hash as usize % BUCKETS) else {
            return StackHandle(0);
        };
        let mut head = bucket.load(Acquire);
        if let Some(found) = self.find(head, hash, entries) {
            return found;
        }
        let Some((handle, record)) = self.room(root, HEAD + entries.len() as u32) else {
            root.missed.fetch_add(1, Relaxed);
            return StackHandle(0);
        };
        let [first, len, rest @ ..] = record else {
            return StackHandle(0);
        };
        len.store(entries.len() as u64, Relaxed);
        for (word, &entry) in rest.iter().zip(entries) {
            word.store(entry, Relaxed);
        }
        loop {
            first.store(u64::from(head) | (u64::from(hash) << 32), Relaxed);
            match bucket.compare_exchange(head, handle, Release, Acquire) {
                Ok(_) => break,
                Err(other) => head = other,
            }
        }
        root.stacks.fetch_add(1, Relaxed);
        StackHandle(handle)
    }

    /// The record with that handle, from its first word to the end of its page.
    fn record(&self, handle: u32) -> Option<&[AtomicU64]> {
        let at = handle.checked_sub(1)?;
        let pool = self.root?.pools.get((at / POOL_WORDS) as usize)?;
        let pfn = pool.load(Acquire);
        let words = self.memory.words(Pfn(u64::from(pfn)))?;
        words.get((at % POOL_WORDS) as usize..)
    }

    /// The stack among those from `head` on.
    fn find(&self, head: u32, hash: u32, entries: &[u64]) -> Option<StackHandle> {
        let mut handle = head;
        while handle != 0 {
            let [first, len, rest @ ..] = self.record(handle)? else {
                return None;
            };
            let word = first.load(Relaxed);
            let same = || {
                let kept = rest.iter().map(|word| word.load(Relaxed));
                kept.take(entries.len()).eq(entries.iter().copied())
            };
            if (word >> 32) as u32 == hash && len.load(Relaxed) == entries.len() as u64 && same() {
                return Some(StackHandle(handle));
            }
            handle = word as u32;
        }
        None
    }

    /// Room for a record of so many words, which lies inside one page.
    fn room(&self, root: &DepotRoot, words: u32) -> Option<(u32, &[AtomicU64])> {
        loop {
            let used = root.used.load(Acquire);
            let left = POOL_WORDS - used % POOL_WORDS;
            let start = if left < words { used + left } else { used };
            let pool = root.pools.get((start / POOL_WORDS) as usize)?;
            if pool.load(Acquire) == 0 {
                self.add_pool(pool)?;
            }
            let next = start + words;
            if (root.used.compare_exchange(used, next, AcqRel, Acquire)).is_ok() {
                let handle = start + 1;
                return Some((handle, self.record(handle)?.get(..words as usize)?));
            }
        }
    }

    /// Gives a pool its page, or finds that another did.
    fn add_pool(&self, pool: &AtomicU32) -> Option<()> {
        let pfn = self.memory.take()?;
        let number = u32::try_from(pfn.0).unwrap_or(0);
        if number == 0 || pool.compare_exchange(0, number, AcqRel, Acquire).is_err() {
            self.memory.give_back(pfn);
        }
        (pool.load(Acquire) != 0).then_some(())
    }
}

impl<M: DepotMemory> Stacks for Depot<'_, M> {
    fn fetch(&self, stack: StackHandle, entries: &mut [u64; TRACK_ADDRS_COUNT]) -> usize {
        let Some([_, len, rest @ ..]) = self.record(stack.0) else {
            return 0;
        };
        let len = (len.load(Relaxed) as usize)
            .min(entries.len())
            .min(rest.len());
        for (entry, word) in entries.iter_mut().zip(rest).take(len) {
            *entry = word.load(Relaxed);
        }
        len
    }
}

/// FNV-1a over the addresses, folded.
fn hash(entries: &[u64]) -> u32 {
    let all = entries
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, entry| {
            (hash ^ entry).wrapping_mul(0x100_0000_01b3)
        });
    (all ^ (all >> 32)) as u32
}
