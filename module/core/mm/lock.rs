// SPDX-License-Identifier: GPL-2.0

//! The locks of an address space and of its VMAs: words in cells, which sleep.
//!
//! ```text
//!  31      30      29..0
//! ┌──────┬────────┬─────────┐
//! │writer│ wanted │ readers │     wanted: somebody waits for the readers to leave
//! └──────┴────────┴─────────┘
//! ```
//!
//! # A VMA's lock
//!
//! Linux's way (`vma_start_read`, `vma_start_write`): who has the mmap lock for writing
//! marks the VMAs that he changes with the address space's sequence number, which is
//! odd meanwhile, and waits for their readers. All are unmarked at once when the mmap
//! lock is released and the number changes.
//!
//! ```text
//! the reader                          the writer, with the mmap lock
//!   readers += 1                        lock_seq = mm.seq (odd)
//!   lock_seq == mm.seq? back, wait      waits until readers = 0
//! ```

use super::cells::MmCells;
use super::cells::VmaCells;
use crate::platform::Platform;
use core::sync::atomic::fence;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::Release;
use core::sync::atomic::Ordering::SeqCst;

const WRITER: u32 = 1 << 31;
const WANTED: u32 = 1 << 30;
const READERS: u32 = WANTED - 1;

/// No writer's sequence number: those are odd.
pub(super) const UNMARKED: u32 = 0;

/// Held for reading until it is dropped.
pub(super) struct ReadLock<'l, P: Platform>(&'l P, &'l AtomicU32);

/// Held by nobody else until it is dropped.
pub(super) struct WriteLock<'l, P: Platform>(&'l P, &'l AtomicU32);

impl<'l, P: Platform> ReadLock<'l, P> {
    /// Waits until there is no writer, and nobody who wants to be one. Sleeps.
    pub(super) fn lock(platform: &'l P, word: &'l AtomicU32) -> Self {
        loop {
            let now = word.load(Relaxed);
            if now & (WRITER | WANTED) == 0 {
                let more = now.wrapping_add(1);
                if word
                    .compare_exchange_weak(now, more, Acquire, Relaxed)
                    .is_ok()
                {
                    return Self(platform, word);
                }
                continue;
            }
            platform.wait_while(word, &mut || word.load(Relaxed) & (WRITER | WANTED) != 0);
        }
    }
}

impl<'l, P: Platform> ReadLock<'l, P> {
    /// Takes it if there is no writer, and nobody who wants to be one.
    pub(super) fn try_lock(platform: &'l P, word: &'l AtomicU32) -> Option<Self> {
        let free = |now: u32| (now & (WRITER | WANTED) == 0).then(|| now.wrapping_add(1));
        let taken = word.fetch_update(Acquire, Relaxed, free);
        taken.ok().map(|_| Self(platform, word))
    }
}

impl<P: Platform> Drop for ReadLock<'_, P> {
    #[inline]
    fn drop(&mut self) {
        leave(self.0, self.1);
    }
}

impl<'l, P: Platform> WriteLock<'l, P> {
    /// Waits until there is nobody. Sleeps.
    pub(super) fn lock(platform: &'l P, word: &'l AtomicU32) -> Self {
        if word.compare_exchange(0, WRITER, Acquire, Relaxed).is_ok() {
            return Self(platform, word);
        }
        loop {
            let now = word.fetch_or(WANTED, Relaxed);
            if now & !WANTED == 0
                && word
                    .compare_exchange(WANTED, WRITER, Acquire, Relaxed)
                    .is_ok()
            {
                return Self(platform, word);
            }
            // Who had it meanwhile has taken the note away, and a reader that came then
            // would wake nobody.
            platform.wait_while(word, &mut || word.fetch_or(WANTED, Relaxed) & !WANTED != 0);
        }
    }
}

impl<P: Platform> Drop for WriteLock<'_, P> {
    #[inline]
    fn drop(&mut self) {
        self.1.fetch_and(!WRITER, Release);
        self.0.wake(self.1);
    }
}

#[inline]
fn leave<P: Platform>(platform: &P, word: &AtomicU32) {
    let was = word.fetch_sub(1, Release);
    if was & WANTED != 0 && was & READERS == 1 {
        platform.wake(word);
    }
}

/// A VMA that no writer changes until this is dropped.
pub struct VmaRead<'l, P: Platform> {
    platform: &'l P,
    vma: &'l VmaCells,
}

impl<'l, P: Platform> VmaRead<'l, P> {
    /// Takes a VMA's lock for a fault, without waiting; `None` when a writer has it
    /// marked. The caller is pinned, and looks whether it is the VMA that he was looking
    /// for while he is: nothing but his section keeps the memory of one that was freed,
    /// and so he gives it back there, too (`vma_start_read`, under `rcu_read_lock`).
    #[inline]
    pub(super) fn try_lock(platform: &'l P, mm: &MmCells, vma: &'l VmaCells) -> Option<Self> {
        // Where the number has moved on, all that was done under the old one is seen.
        let is_marked = || vma.lock_seq.load(SeqCst) == mm.seq.load(Acquire);
        if is_marked() {
            return None;
        }
        // With a writer's store of `lock_seq`: one of the two sees the other.
        vma.lock.fetch_add(1, SeqCst);
        let held = Self { platform, vma };
        (!is_marked()).then_some(held)
    }

    /// What is locked.
    #[inline]
    pub fn cells(&self) -> &'l VmaCells {
        self.vma
    }
}

impl<P: Platform> Drop for VmaRead<'_, P> {
    #[inline]
    fn drop(&mut self) {
        leave(self.platform, &self.vma.lock);
    }
}

/// Marks a VMA for its writer, who has the mmap lock for writing, and waits for those
/// who read it (`vma_start_write`). It is unmarked with the end of that lock. Sleeps.
pub(super) fn start_write<P: Platform>(platform: &P, mm: &MmCells, vma: &VmaCells) {
    let seq = mm.seq.load(Relaxed);
    if vma.lock_seq.load(Relaxed) == seq {
        return;
    }
    vma.lock_seq.store(seq, SeqCst);
    fence(SeqCst);
    if vma.lock.load(Acquire) & READERS == 0 {
        return;
    }
    vma.lock.fetch_or(WANTED, SeqCst);
    platform.wait_while(&vma.lock, &mut || vma.lock.load(Acquire) & READERS != 0);
    vma.lock.fetch_and(!WANTED, Acquire);
}
