// SPDX-License-Identifier: GPL-2.0

//! The lock of a page table and its entries under loom: core's own text
//! (`mm/page_table/table.rs`, and `page.rs`, in whose descriptor the lock is) with loom's
//! atomics, in every interleaving of its accesses and with every value that a relaxed load
//! may see.
//!
//! ```text
//! who takes the lock                    who lets it go
//!   free -> held (acquire)                -> free (release); was it wanted? wake
//!   else -> wanted (acquire), sleep
//!
//! who enters a table                    who walks, without the lock
//!   fills it                              the entry (acquire)
//!   the entry (release)                   what it leads to
//! ```
//!
//! `wait_while` and `wake` are those of `common/sleepers.rs`. What the lock guards is a
//! cell that loom watches: two who are at it at once, or one who does not see what the
//! other has done, is a failure.

use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicU64;
use loom::sync::atomic::Ordering::Relaxed;
use loom::thread;
use page::PageDescriptor;
use shadowmm_core::error;
use shadowmm_core::phys;
use sleepers::Sleepers;
use std::sync::Arc;

#[path = "common/sleepers.rs"]
mod sleepers;

mod platform {
    pub use crate::sleepers::Platform;
}

mod entry {
    /// The bits of an entry, whatever they say.
    #[derive(Clone, Copy)]
    pub struct Entry(pub u64);
}

#[allow(dead_code, reason = "core's text, of which a part is run")]
mod page {
    include!(concat!(env!("OUT_DIR"), "/page_whole.rs"));
}

/// What is run of a text.
#[derive(Clone, Copy)]
struct Text {
    /// Does what it is told with the lock of the table in that page.
    locked: fn(&Model, &mut dyn FnMut()),
    /// Enters a table.
    set: fn(&Model, u64),
    /// What is entered.
    get: fn(&Model) -> u64,
    /// Lays a page by, and takes off the last one that was, in one go.
    lay_by: fn(&Model, u64),
    take_off: fn(&Model) -> Option<u64>,
}

/// Core's text, as it is or with one step changed.
macro_rules! texts {
    ($($name:ident)*) => {$(
        mod $name {
            #[allow(dead_code, reason = "core's text, of which a part is run")]
            mod table {
                include!(concat!(env!("OUT_DIR"), "/table_", stringify!($name), ".rs"));
            }

            use crate::entry::Entry;
            use crate::phys::Pfn;
            use crate::Model;
            use table::Table;

            fn table(model: &Model, pfn: u64) -> Table<'_> {
                Table {
                    pfn: Pfn(pfn),
                    entries: &model.entries,
                    page: &model.pages[pfn as usize],
                }
            }

            pub const TEXT: crate::Text = crate::Text {
                locked: |model, job| {
                    let _lock = table(model, 0).lock(&model.platform);
                    job();
                },
                set: |model, bits| table(model, 0).set(0, Entry(bits)),
                get: |model| table(model, 0).get(0).0,
                lay_by: |model, pfn| {
                    let _lock = table(model, 0).lock(&model.platform);
                    table(model, 0).lay_by(table(model, pfn));
                },
                take_off: |model| {
                    let _lock = table(model, 0).lock(&model.platform);
                    let pfn = table(model, 0).laid_by()?.0;
                    table(model, 0).forget(table(model, pfn));
                    Some(pfn)
                },
            };
        }
    )*};
}

texts! {
    whole
    taken_without_acquire
    waited_without_acquire
    freed_without_release
    without_the_wake
    without_the_mark
    asleep_for_another
    entered_without_release
    read_without_acquire
}

/// The table is in page 0; the others are laid by. The threads share it by an `Arc` that
/// loom does not know: its own cannot be dropped any more behind a deadlock.
struct Model {
    platform: Sleepers,
    pages: [PageDescriptor; 3],
    entries: [AtomicU64; 1],
    /// What the lock guards, or what an entry leads to.
    guarded: UnsafeCell<u64>,
}

impl Model {
    fn new() -> Arc<Self> {
        let pages = [(); 3].map(|()| PageDescriptor::hole());
        // As `Table::init` does.
        for page in &pages {
            page.owner_word().store(0, Relaxed);
            page.set_prev(None);
        }
        Arc::new(Self {
            platform: Sleepers::new(),
            pages,
            entries: [AtomicU64::new(0)],
            guarded: UnsafeCell::new(0),
        })
    }

    fn guarded(&self) -> u64 {
        self.guarded.with(|value| {
            // SAFETY: loom fails the model where somebody else changes it.
            unsafe { *value }
        })
    }

    fn set_guarded(&self, value: u64) {
        self.guarded.with_mut(|place| {
            // SAFETY: loom fails the model where somebody else has it, too.
            unsafe { *place = value }
        });
    }

    /// What is done with the lock, so many times.
    fn change(&self, text: Text, times: usize) {
        for _ in 0..times {
            (text.locked)(self, &mut || self.set_guarded(self.guarded() + 1));
        }
    }
}

fn builder(preemptions: usize) -> loom::model::Builder {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder
}

/// Each thread takes the lock so many times; at the end nobody has it.
fn run(threads: &'static [usize], text: Text, preemptions: usize) {
    builder(preemptions).check(move || {
        let model = Model::new();
        let others: Vec<_> = threads[1..]
            .iter()
            .map(|&times| {
                let model = model.clone();
                thread::spawn(move || model.change(text, times))
            })
            .collect();
        model.change(text, threads[0]);
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(model.guarded(), threads.iter().sum::<usize>() as u64);
        assert_eq!(model.pages[0].owner_word().load(Relaxed), 0);
    });
}

/// One enters what another, who has not the lock, may find.
fn enter(text: Text) {
    builder(3).check(move || {
        let model = Model::new();
        let walker = {
            let model = model.clone();
            thread::spawn(move || {
                if (text.get)(&model) == 1 {
                    assert_eq!(model.guarded(), 7);
                }
            })
        };
        model.set_guarded(7);
        (text.locked)(&model, &mut || (text.set)(&model, 1));
        walker.join().unwrap();
    });
}

#[test]
fn one_at_a_time_has_the_lock() {
    run(&[1, 1], whole::TEXT, 5);
    run(&[2, 2], whole::TEXT, 3);
}

/// Who waits is woken, also where a third takes the lock before him.
#[test]
fn nobody_sleeps_for_ever() {
    run(&[1, 1, 1], whole::TEXT, 4);
    run(&[2, 1, 1], whole::TEXT, 3);
}

#[test]
fn who_finds_an_entry_sees_what_it_leads_to() {
    enter(whole::TEXT);
}

/// Nothing that is laid by is lost, and nobody is given what another has.
#[test]
fn tables_are_laid_by_and_taken_off() {
    const TEXT: Text = whole::TEXT;
    builder(3).check(|| {
        let model = Model::new();
        let other = {
            let model = model.clone();
            thread::spawn(move || {
                (TEXT.lay_by)(&model, 1);
                (TEXT.take_off)(&model)
            })
        };
        (TEXT.lay_by)(&model, 2);
        let mut all = vec![(TEXT.take_off)(&model), other.join().unwrap()];
        assert_eq!((TEXT.take_off)(&model), None);
        all.sort_unstable();
        assert_eq!(all, [Some(1), Some(2)]);
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn who_takes_it_without_acquire_does_not_see_what_was_done() {
    run(&[1, 1], taken_without_acquire::TEXT, 3);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn who_waits_without_acquire_does_not_see_what_was_done() {
    run(&[1, 1], waited_without_acquire::TEXT, 3);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_release_nobody_sees_what_was_done() {
    run(&[1, 1], freed_without_release::TEXT, 3);
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_wake_somebody_sleeps_for_ever() {
    run(&[1, 1], without_the_wake::TEXT, 3);
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_mark_somebody_sleeps_for_ever() {
    run(&[1, 1], without_the_mark::TEXT, 3);
}

/// Who has taken it before the sleeper was up knows of nobody.
#[test]
#[should_panic(expected = "deadlock")]
fn who_sleeps_on_for_another_sleeps_for_ever() {
    run(&[1, 1, 1], asleep_for_another::TEXT, 3);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn an_entry_without_release_leads_to_what_is_not_there_yet() {
    enter(entered_without_release::TEXT);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_walk_without_acquire_does_not_see_what_is_there() {
    enter(read_without_acquire::TEXT);
}
