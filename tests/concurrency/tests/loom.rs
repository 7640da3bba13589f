// SPDX-License-Identifier: GPL-2.0

//! The protocol of claims (`buddy/pageset.rs`) as a model of its own, under loom:
//! every interleaving of its accesses, and every value that a relaxed load may
//! see.
//!
//! ```text
//! the CPU, pinned                       a claimer, not pinned
//!   gate (acquire): claimed?              gate |= CLAIMED (relaxed)
//!   ... the lists ...                     synchronize()
//!                                         ... the lists ...
//!                                         gate &= !CLAIMED (release)
//! ```
//!
//! The orderings are core's. The lists are a cell that loom watches: two who are
//! at it at once, or one who does not see what the other has done, is a failure.
//!
//! `synchronize` stands for `synchronize_rcu`, of which two things are promised:
//! a section that had begun has ended when it returns, and what it did is seen;
//! one that begins later sees what was stored before. The model keeps both with
//! a lock around the entry and the end of a section, which is no part of core:
//! the kernel has the scheduler for it.
//!
//! What it does not say: that core's code keeps to the protocol. That is the part
//! of `tests/shuttle`.

use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicBool;
use loom::sync::atomic::AtomicU32;
use loom::sync::atomic::Ordering::Acquire;
use loom::sync::atomic::Ordering::Relaxed;
use loom::sync::atomic::Ordering::Release;
use loom::sync::Arc;
use loom::sync::Mutex;
use loom::thread;

const CLAIMED: u32 = 1 << 15;
const TIGHT: u32 = 1 << 14;

/// What a claimer leaves out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// It does not wait.
    Synchronize,
    /// It does not say that it claims.
    Claim,
    /// It lets go with a relaxed store.
    Release,
    /// Two of them do not take turns.
    Turns,
}

struct Model {
    gate: AtomicU32,
    /// Whether somebody claims (`Statistics::begin_claims`).
    claiming: AtomicBool,
    /// Whether the CPU is in a section.
    pinned: Mutex<bool>,
    /// The pages of the pageset, and those that were taken off it.
    lists: UnsafeCell<(u32, u32)>,
}

impl Model {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            gate: AtomicU32::new(0),
            claiming: AtomicBool::new(false),
            pinned: Mutex::new(false),
            lists: UnsafeCell::new((2, 0)),
        })
    }

    fn move_one(&self) {
        self.lists.with_mut(|lists| {
            // SAFETY: loom fails the model where somebody else has it, too.
            let (kept, taken) = unsafe { &mut *lists };
            if *kept > 0 {
                *kept -= 1;
                *taken += 1;
            }
        });
    }

    /// One section of the CPU; whether the pageset was its own.
    fn section(&self) -> bool {
        *self.pinned.lock().unwrap() = true;
        let mine = self.gate.load(Acquire) & CLAIMED == 0;
        if mine {
            self.move_one();
        }
        *self.pinned.lock().unwrap() = false;
        mine
    }

    fn synchronize(&self) {
        while *self.pinned.lock().unwrap() {
            thread::yield_now();
        }
    }

    fn claim(&self, without: Without) {
        let turns = without != Without::Turns;
        let take = || {
            self.claiming
                .compare_exchange(false, true, Acquire, Relaxed)
                .is_err()
        };
        while turns && take() {
            thread::yield_now();
        }
        if without != Without::Claim {
            self.gate.fetch_or(CLAIMED, Relaxed);
        }
        if without != Without::Synchronize {
            self.synchronize();
        }
        self.move_one();
        match without {
            Without::Release => self.gate.fetch_and(!CLAIMED, Relaxed),
            _ => self.gate.fetch_and(!CLAIMED, Release),
        };
        if turns {
            self.claiming.store(false, Release);
        }
    }

    /// What is there at the end: nothing was lost, nothing taken twice.
    fn check(&self, moves: u32) {
        self.lists.with(|lists| {
            // SAFETY: All others have ended.
            let (kept, taken) = unsafe { *lists };
            assert_eq!(kept + taken, 2);
            assert_eq!(taken, moves.min(2));
        });
        assert_eq!(self.gate.load(Relaxed) & CLAIMED, 0);
    }
}

/// The CPU has `sections` sections while each of `claimers` claims once.
fn run(sections: usize, claimers: usize, without: Without) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let model = Model::new();
        let others: Vec<_> = (0..claimers)
            .map(|_| {
                let model = model.clone();
                thread::spawn(move || model.claim(without))
            })
            .collect();
        let mine = (0..sections).filter(|_| model.section()).count();
        for other in others {
            other.join().unwrap();
        }
        model.check((mine + claimers) as u32);
    });
}

#[test]
fn a_claimer_and_the_cpu_are_never_at_it_at_once() {
    run(2, 1, Without::Nothing);
}

#[test]
fn two_claimers_take_turns() {
    run(1, 2, Without::Nothing);
}

/// The gate's other bits are set and cleared by the holder of the zone's lock,
/// at any time: no claim is lost by that.
#[test]
fn other_bits_of_the_gate_change_beside_a_claim() {
    loom::model(|| {
        let model = Model::new();
        let (claimer, holder) = (model.clone(), model.clone());
        let claimer = thread::spawn(move || claimer.claim(Without::Nothing));
        let holder = thread::spawn(move || {
            holder.gate.fetch_or(TIGHT, Relaxed);
            holder.gate.fetch_and(!TIGHT, Release);
        });
        let mine = model.section();
        claimer.join().unwrap();
        holder.join().unwrap();
        model.check(1 + u32::from(mine));
        assert_eq!(model.gate.load(Relaxed), 0);
    });
}

#[test]
#[should_panic]
fn without_synchronize_both_are_at_it() {
    run(1, 1, Without::Synchronize);
}

#[test]
#[should_panic]
fn without_the_claim_both_are_at_it() {
    run(2, 1, Without::Claim);
}

#[test]
#[should_panic]
fn without_release_the_cpu_may_not_see_what_was_done() {
    run(1, 1, Without::Release);
}

#[test]
#[should_panic]
fn without_turns_two_claimers_are_at_it() {
    run(0, 2, Without::Turns);
}
