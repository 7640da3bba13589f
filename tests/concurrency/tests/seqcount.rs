// SPDX-License-Identifier: GPL-2.0

//! What readers of VMA trees without a lock look at, as a model of its own under loom:
//! the state of a maple tree's leaf (`NodeCells::state`, `is_state`, `begin_change`,
//! `end_change`) and the count of a red-black tree (`RbList::begin_change`, `Change`), with
//! core's orderings.
//!
//! ```text
//! the writer, with the mmap lock        a reader, pinned
//!   state |= CHANGE (relaxed)             before = state (acquire)
//!   fence (release)                       words (relaxed)
//!   words (relaxed)                       fence (acquire)
//!   state = next, even (release)          the same state, and even? else anew
//! ```
//!
//! That core's code keeps to it is the part of `tests/trees`.

use loom::sync::atomic::fence;
use loom::sync::atomic::AtomicU64;
use loom::sync::atomic::Ordering::Acquire;
use loom::sync::atomic::Ordering::Relaxed;
use loom::sync::atomic::Ordering::Release;
use loom::sync::Arc;
use loom::thread;

/// What is left out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// The writer's fence behind the mark.
    ReleaseFence,
    /// The release with which the change ends.
    Release,
    /// The reader's fence before he looks again.
    AcquireFence,
    /// The acquire with which he begins.
    Acquire,
}

struct Leaf {
    state: AtomicU64,
    words: [AtomicU64; 2],
}

impl Leaf {
    fn change(&self, without: Without) {
        let state = self.state.load(Relaxed);
        self.state.store(state + 1, Relaxed);
        if without != Without::ReleaseFence {
            fence(Release);
        }
        for word in &self.words {
            word.store(state + 2, Relaxed);
        }
        let end = match without {
            Without::Release => Relaxed,
            _ => Release,
        };
        self.state.store(state + 2, end);
    }

    /// What a reader takes for the leaf, if he has not to look again.
    fn look(&self, without: Without) -> Option<(u64, [u64; 2])> {
        let begin = match without {
            Without::Acquire => Relaxed,
            _ => Acquire,
        };
        let before = self.state.load(begin);
        let words = [0, 1].map(|n: usize| self.words[n].load(Relaxed));
        if without != Without::AcquireFence {
            fence(Acquire);
        }
        let same = self.state.load(Relaxed) == before && before % 2 == 0;
        same.then_some((before, words))
    }
}

fn run(changes: usize, readers: usize, without: Without) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let leaf = Arc::new(Leaf {
            state: AtomicU64::new(0),
            words: [AtomicU64::new(0), AtomicU64::new(0)],
        });
        let readers: Vec<_> = (0..readers)
            .map(|_| {
                let leaf = leaf.clone();
                thread::spawn(move || {
                    if let Some((state, words)) = leaf.look(without) {
                        assert_eq!(words, [state; 2], "half of a change is taken for whole");
                    }
                })
            })
            .collect();
        for _ in 0..changes {
            leaf.change(without);
        }
        for reader in readers {
            reader.join().unwrap();
        }
        assert_eq!(
            leaf.look(Without::Nothing),
            Some((2 * changes as u64, [2 * changes as u64; 2]))
        );
    });
}

#[test]
fn a_reader_takes_no_half_of_a_change() {
    run(1, 1, Without::Nothing);
    run(2, 1, Without::Nothing);
}

#[test]
fn two_readers() {
    run(1, 2, Without::Nothing);
}

#[test]
#[should_panic(expected = "half of a change")]
fn without_the_writers_fence() {
    run(1, 1, Without::ReleaseFence);
}

#[test]
#[should_panic(expected = "half of a change")]
fn without_release() {
    run(1, 1, Without::Release);
}

#[test]
#[should_panic(expected = "half of a change")]
fn without_the_readers_fence() {
    run(1, 1, Without::AcquireFence);
}

#[test]
#[should_panic(expected = "half of a change")]
fn without_acquire() {
    run(1, 1, Without::Acquire);
}
