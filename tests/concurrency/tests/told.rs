// SPDX-License-Identifier: GPL-2.0

//! What a user is told of his windows' pages and VMAs, under loom: core's own text
//! (`quota.rs`) with loom's atomics, in every interleaving of its accesses and with every value
//! that a relaxed load may see.
//!
//! ```text
//! each thread of a process              the count changes, relaxed, as those of an address
//!                                       space do; what it is now is told
//! in the end                            what was told is the count, but for less than the
//!                                       slack, and so is what the file and the user have
//! ```

use loom::sync::atomic::AtomicI64;
use loom::sync::atomic::Ordering::Relaxed;
use loom::sync::Arc;
use loom::thread;
use quota::Account;
use quota::Kind;
use quota::Told;
use quota::Usage;
use surroundings::Without;
use surroundings::WITHOUT;

#[path = "common/without.rs"]
mod without;

/// What core's text finds around it.
mod surroundings {
    use loom::sync::atomic::fence;
    use loom::sync::atomic::AtomicI64;
    use loom::sync::atomic::Ordering::AcqRel;
    use loom::sync::atomic::Ordering::Relaxed;
    use loom::sync::atomic::Ordering::SeqCst;
    pub use shadowmm_core::error::Error;
    pub use shadowmm_core::error::Result;

    crate::without::without! {
        /// The fence between what one does and what he looks at.
        Fence,
        /// What is told is stored, by who has read what was told before.
        Swap,
        /// Who has told looks again at what he had read before.
        Looking,
    }

    pub fn look_again() {
        if WITHOUT.get() != Without::Fence {
            fence(SeqCst);
        }
    }

    pub fn tell(told: &AtomicI64, now: i64) -> i64 {
        if WITHOUT.get() != Without::Swap {
            return told.swap(now, AcqRel);
        }
        let before = told.load(Relaxed);
        told.store(now, Relaxed);
        before
    }
}

#[allow(
    dead_code,
    unused_imports,
    reason = "core's text, of which a part is run"
)]
mod quota {
    include!(concat!(env!("OUT_DIR"), "/quota.rs"));
}

/// A window of a file of a user's.
struct Model {
    count: AtomicI64,
    told: Told,
    file: Usage,
    user: Usage,
}

impl Model {
    /// As `Window::count_pages` and `count_vmas`.
    fn change(&self, by: i64, slack: u64) {
        self.count.fetch_add(by, Relaxed);
        let account = Account {
            file: &self.file,
            user: &self.user,
        };
        let read = self.count.load(Relaxed);
        let count = || match WITHOUT.get() {
            Without::Looking => read,
            _ => self.count.load(Relaxed),
        };
        self.told.tell(slack, count, |before, now| {
            account.settle(Kind::Pages, before, now);
        });
    }
}

/// Each thread makes its changes; in the end they add up to what is there.
fn run(without: Without, slack: u64, changes: &'static [&'static [i64]]) {
    WITHOUT.set(without);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(5 - changes.len());
    builder.check(move || {
        let model = Arc::new(Model {
            count: AtomicI64::new(0),
            told: Told::new(0),
            file: Usage::new(),
            user: Usage::new(),
        });
        let threads: Vec<_> = changes
            .iter()
            .map(|&changes| {
                let model = model.clone();
                thread::spawn(move || {
                    for &by in changes {
                        model.change(by, slack);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let count: i64 = changes.iter().copied().flatten().sum();
        let told = model.file.of(Kind::Pages);
        assert_eq!(model.user.of(Kind::Pages), told);
        assert!(
            told.abs_diff(count as u64) < slack,
            "{told} was told, and it is {count}"
        );
    });
}

/// As VMAs are counted.
#[test]
fn each_change_is_told() {
    run(Without::Nothing, 1, &[&[1], &[1]]);
    run(Without::Nothing, 1, &[&[1], &[-1]]);
    run(Without::Nothing, 1, &[&[2, -1], &[1]]);
}

/// As pages are.
#[test]
fn what_is_not_told_is_less_than_the_slack() {
    run(Without::Nothing, 2, &[&[1, 1], &[1]]);
    run(Without::Nothing, 2, &[&[3], &[-2]]);
}

#[test]
fn three_at_once() {
    run(Without::Nothing, 1, &[&[1], &[1], &[1]]);
}

#[test]
#[should_panic(expected = "was told, and it is")]
fn without_the_fence_a_change_is_not_told() {
    run(Without::Fence, 1, &[&[1], &[-1]]);
}

#[test]
#[should_panic(expected = "was told, and it is")]
fn in_two_steps_it_is_settled_twice() {
    run(Without::Swap, 1, &[&[1], &[1]]);
}

#[test]
#[should_panic(expected = "was told, and it is")]
fn without_looking_again_a_past_is_told() {
    run(Without::Looking, 1, &[&[2], &[-1]]);
}
