// SPDX-License-Identifier: GPL-2.0

//! Memory that a player and the one who has started it share: what steps came to, how
//! far the player is, and what it has seen where it was to tell all.

use super::look::Aspect;
use super::side::Outcome;
use nix::libc;
use std::ptr;
use std::slice;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Acquire;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::Ordering::Release;

/// Aspects of what is seen.
pub const ASPECTS: usize = Aspect::ALL.len();

/// A step, and what was seen after it: numbers that stand for texts, 0 for what was not
/// looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Record {
    /// What came of it.
    pub outcome: Outcome,
    /// What was seen, in the order of [`Aspect::ALL`].
    pub seen: [u64; ASPECTS],
}

impl Record {
    /// Of which the other differs. Both look at the same things after the same steps, so
    /// what only one could look at does, too.
    pub fn differs(&self, other: &Self) -> [bool; ASPECTS] {
        std::array::from_fn(|aspect| self.seen[aspect] != other.seen[aspect])
    }

    /// What was due to be looked at, and neither of the two could: nothing was compared.
    pub fn unseen(&self, other: &Self, due: impl Fn(Aspect) -> bool) -> Option<Aspect> {
        let mut aspects = Aspect::ALL.into_iter();
        aspects.find(|&aspect| {
            let is_seen = |record: &Self| record.seen[aspect as usize] != 0;
            due(aspect) && !is_seen(self) && !is_seen(other)
        })
    }
}

/// How far a player is.
#[derive(Debug, Default)]
#[repr(C)]
struct Control {
    /// The step that is being taken.
    at: AtomicU64,
    /// The step that a parent goes on with when its child has ended; [`ENDED`] when
    /// all is over.
    resume: AtomicU64,
    /// What a child has seen.
    child: AtomicU64,
    /// The bytes of why nothing could be played.
    failure_len: AtomicU64,
    failure: [AtomicU64; 32],
}

/// Nothing is left to be played.
pub const ENDED: u64 = u64::MAX;

/// What a text that is told may have, in bytes.
const TOLD: usize = 512 << 10;

/// The memory.
#[derive(Debug)]
pub struct Memory {
    base: *mut u8,
    len: usize,
    steps: usize,
}

impl Memory {
    /// Memory for so many steps.
    pub fn new(steps: usize) -> Result<Self, String> {
        let len = Self::told_at(steps) + 2 * ASPECTS * TOLD;
        // SAFETY: It goes where nothing is.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        match base == libc::MAP_FAILED {
            true => Err("there is no memory for the steps".to_owned()),
            false => Ok(Self {
                base: base.cast(),
                len,
                steps,
            }),
        }
    }

    fn told_at(steps: usize) -> usize {
        (4096 + steps * size_of::<Record>()).next_multiple_of(4096)
    }

    fn control(&self) -> &Control {
        // SAFETY: The first page holds it, and all of it is atomic.
        unsafe { &*self.base.cast::<Control>() }
    }

    /// The step that is being taken.
    pub fn at(&self) -> u64 {
        self.control().at.load(Acquire)
    }

    /// A step begins.
    pub fn set_at(&self, at: u64) {
        self.control().at.store(at, Release);
    }

    /// The step that a parent goes on with.
    pub fn resume(&self) -> u64 {
        self.control().resume.load(Acquire)
    }

    /// A child says what its parent goes on with.
    pub fn set_resume(&self, at: u64) {
        self.control().resume.store(at, Release);
    }

    /// What a child has seen.
    pub fn child(&self) -> u64 {
        self.control().child.load(Acquire)
    }

    /// A child tells what it has seen.
    pub fn set_child(&self, seen: u64) {
        self.control().child.store(seen, Release);
    }

    /// Why nothing could be played.
    pub fn failure(&self) -> Option<String> {
        let control = self.control();
        let len = control.failure_len.load(Acquire) as usize;
        let words = control.failure.iter();
        let bytes: Vec<u8> = words
            .flat_map(|word| word.load(Relaxed).to_ne_bytes())
            .take(len)
            .collect();
        (len != 0).then(|| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Nothing could be played, for this reason.
    pub fn fail(&self, why: &str) {
        let control = self.control();
        for (word, bytes) in control.failure.iter().zip(why.as_bytes().chunks(8)) {
            let mut eight = [0; 8];
            eight[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(eight), Relaxed);
        }
        let most = control.failure.len() * 8;
        control
            .failure_len
            .store(why.len().min(most) as u64, Release);
    }

    fn record_at(&self, step: usize) -> *mut Record {
        assert!(step < self.steps);
        // SAFETY: Behind the first page there is one for each step.
        unsafe { self.base.add(4096).cast::<Record>().add(step) }
    }

    /// What came of a step. The player has ended, or is behind it.
    pub fn record(&self, step: usize) -> Record {
        // SAFETY: Its player has written it, or it is 0; all bits are good.
        unsafe { self.record_at(step).read() }
    }

    /// Only one process plays at a time.
    pub fn set_record(&self, step: usize, record: &Record) {
        // SAFETY: Nobody reads it yet.
        unsafe { self.record_at(step).write(*record) }
    }

    fn told_slot(&self, aspect: Aspect, after: bool) -> *mut u8 {
        let slot = 2 * aspect as usize + usize::from(after);
        // SAFETY: There are two slots for each aspect.
        unsafe { self.base.add(Self::told_at(self.steps) + slot * TOLD) }
    }

    /// Tells a text that was seen before the step that is to be told, or after it.
    pub fn tell(&self, aspect: Aspect, after: bool, text: &[u8]) {
        let len = text.len().min(TOLD - 8);
        let slot = self.told_slot(aspect, after);
        // SAFETY: The slot has that many bytes, and nobody reads it yet.
        unsafe {
            slot.cast::<u64>().write(len as u64);
            ptr::copy_nonoverlapping(text.as_ptr(), slot.add(8), len);
        }
    }

    /// A text that was told. The player has ended.
    pub fn told(&self, aspect: Aspect, after: bool) -> String {
        let slot = self.told_slot(aspect, after);
        // SAFETY: The player has written both, or they are 0.
        let bytes = unsafe {
            let len = slot.cast::<u64>().read() as usize;
            slice::from_raw_parts(slot.add(8), len.min(TOLD - 8))
        };
        String::from_utf8_lossy(bytes).into_owned()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: It is ours, and nobody points into it any more.
        unsafe { libc::munmap(self.base.cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(seen: [u64; ASPECTS]) -> Record {
        Record {
            seen,
            ..Record::default()
        }
    }

    #[test]
    fn what_only_one_side_could_look_at_differs() {
        let (both, one) = (record([7, 8, 9, 0, 0, 0]), record([7, 0, 9, 0, 0, 0]));
        let pages = [false, true, false, false, false, false];
        assert_eq!(both.differs(&one), pages);
        assert_eq!(one.differs(&both), pages);
        assert_eq!(both.differs(&both), [false; ASPECTS]);
    }

    #[test]
    fn what_neither_could_look_at_is_told_where_it_was_due() {
        let due = |aspect| matches!(aspect, Aspect::Maps | Aspect::Pages);
        let (none, one) = (record([7, 0, 0, 0, 0, 0]), record([7, 8, 0, 0, 0, 0]));
        assert_eq!(none.unseen(&none, due), Some(Aspect::Pages));
        // Of one side alone, it differs.
        assert_eq!(one.unseen(&none, due), None);
        assert_eq!(one.unseen(&one, due), None);
    }
}
