// SPDX-License-Identifier: GPL-2.0

//! The locks of address spaces and of VMAs under loom: core's own text (`mm/lock.rs`) with
//! loom's atomics, in every interleaving of its accesses and with every value that a
//! relaxed load may see.
//!
//! ```text
//! readers, writers of the mmap lock    what is read is one writer's, and nobody sleeps
//!                                      when there is no more to wait for
//! a fault, with a VMA's lock alone     sees the VMA before a writer or after him, and
//!                                      he waits until it is gone
//! ```
//!
//! `wait_while` and `wake` are those of `common/sleepers.rs`.

use lock::start_write;
use lock::ReadLock;
use lock::VmaRead;
use lock::WriteLock;
use loom::sync::atomic::AtomicU32;
use loom::sync::atomic::AtomicU64;
use loom::sync::atomic::Ordering::Relaxed;
use loom::sync::atomic::Ordering::Release;
use loom::sync::Arc;
use loom::thread;
use sleepers::Sleepers;
use surroundings::MmCells;
use surroundings::VmaCells;

#[path = "common/sleepers.rs"]
mod sleepers;

mod surroundings {
    pub use super::sleepers::Platform;
    use loom::sync::atomic::AtomicU32;

    pub struct MmCells {
        pub seq: AtomicU32,
    }

    pub struct VmaCells {
        pub lock: AtomicU32,
        pub lock_seq: AtomicU32,
    }
}

#[allow(dead_code, reason = "core's text, of which a part is run")]
mod lock {
    include!(concat!(env!("OUT_DIR"), "/lock.rs"));
}

/// An address space with one VMA, whose two words are equal when nobody changes them.
struct Model {
    platform: Sleepers,
    lock: AtomicU32,
    mm: MmCells,
    vma: VmaCells,
    start: AtomicU64,
    end: AtomicU64,
}

impl Model {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            platform: Sleepers::new(),
            lock: AtomicU32::new(0),
            mm: MmCells {
                seq: AtomicU32::new(0),
            },
            vma: VmaCells {
                lock: AtomicU32::new(0),
                lock_seq: AtomicU32::new(u32::MAX),
            },
            start: AtomicU64::new(0),
            end: AtomicU64::new(0),
        })
    }

    /// As `AddressSpace::write` and the end of what it gives.
    fn write(&self, marks: bool) {
        let lock = WriteLock::lock(&self.platform, &self.lock);
        self.mm.seq.fetch_add(1, Release);
        if marks {
            start_write(&self.platform, &self.mm, &self.vma);
        }
        let value = self.start.load(Relaxed) + 1;
        self.start.store(value, Relaxed);
        self.end.store(value, Relaxed);
        self.mm.seq.fetch_add(1, Release);
        drop(lock);
    }

    fn look(&self) {
        assert_eq!(
            self.start.load(Relaxed),
            self.end.load(Relaxed),
            "half of a change"
        );
    }

    fn read(&self) {
        let _lock = ReadLock::lock(&self.platform, &self.lock);
        self.look();
    }

    /// A fault: without the VMA's lock it would take the mmap lock, and does not here.
    fn fault(&self) {
        if let Some(_lock) = VmaRead::try_lock(&self.platform, &self.mm, &self.vma) {
            self.look();
        }
    }
}

type Part = fn(&Model);

/// Each part is a thread; at the end there were so many writes, and nobody has a lock.
fn run(parts: &'static [Part], writes: u64, preemptions: usize) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || {
        let model = Model::new();
        let threads: Vec<_> = parts[1..]
            .iter()
            .map(|part| {
                let model = model.clone();
                thread::spawn(move || part(&model))
            })
            .collect();
        parts[0](&model);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(model.start.load(Relaxed), writes);
        assert_eq!(model.lock.load(Relaxed), 0);
        assert_eq!(model.vma.lock.load(Relaxed), 0);
    });
}

#[test]
fn readers_see_whole_changes() {
    run(
        &[Model::read, |model| model.write(false), Model::read],
        1,
        3,
    );
}

/// Who waits to write is woken by the last reader, also where another has written in
/// between.
#[test]
fn no_writer_sleeps_for_ever() {
    const WRITE: Part = |model| model.write(false);
    run(&[Model::read, WRITE, WRITE], 2, 3);
    run(
        &[
            |model| {
                model.read();
                model.read();
            },
            WRITE,
            WRITE,
        ],
        2,
        3,
    );
}

#[test]
fn a_fault_sees_the_vma_before_or_after_a_change() {
    run(&[Model::fault, |model| model.write(true)], 1, 4);
    run(
        &[
            |model| {
                model.fault();
                model.fault();
            },
            |model| model.write(true),
        ],
        1,
        3,
    );
}

#[test]
fn two_faults_and_a_writer() {
    run(
        &[Model::fault, |model| model.write(true), Model::fault],
        1,
        3,
    );
}

/// Without the mark a fault is at it while it is changed.
#[test]
#[should_panic(expected = "half of a change")]
fn without_the_mark_a_fault_sees_half_of_a_change() {
    run(&[Model::fault, |model| model.write(false)], 1, 3);
}
