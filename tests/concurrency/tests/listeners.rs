// SPDX-License-Identifier: GPL-2.0

//! Who listens to the tracepoints for pages, under loom: core's own text of how the short
//! ways are closed (`buddy/pcp.rs`, `buddy/pageset.rs`) and the glue's of who counts the
//! listeners (`kernel/trace.rs`), with loom's atomics.
//!
//! ```text
//! one more or one less listens          the module begins
//!   the count changes                     ready, the shadow is there
//!   ready, and a shadow there?            listeners?
//!     listeners? closed or open
//!     as many still? else again
//! ```
//!
//! In the end the short ways are closed if somebody listens, and open if nobody does.

use loom::thread;
use surroundings::*;

#[path = "common/without.rs"]
mod without;

/// What the texts find around them.
mod surroundings {
    pub use super::gate::TOLD;
    use loom::sync::atomic::fence;
    pub use loom::sync::atomic::AtomicU32;
    pub use loom::sync::atomic::Ordering::AcqRel;
    pub use loom::sync::atomic::Ordering::Relaxed;
    pub use loom::sync::atomic::Ordering::SeqCst;
    use std::marker::PhantomData;

    crate::without::without! {
        /// Who has written looks once more.
        Looking,
        /// One of the two sees the other: who listens, and who begins.
        Fence,
    }

    pub fn looks_once() -> bool {
        WITHOUT.get() == Without::Looking
    }

    pub fn listeners_fence() {
        if WITHOUT.get() != Without::Fence {
            fence(SeqCst);
        }
    }

    loom::lazy_static! {
        pub static ref LISTENERS: AtomicU32 = AtomicU32::new(0);
        pub static ref READY: AtomicU32 = AtomicU32::new(0);
        /// The one that there is.
        pub static ref PAGESET: Pageset = Pageset {
            gate: AtomicU32::new(0),
        };
    }

    pub struct Pageset {
        pub gate: AtomicU32,
    }

    pub trait Platform {
        fn wants_pages(&self) -> bool {
            super::listeners::wants_pages()
        }
    }
    impl Platform for () {}
    pub trait MemMap {}
    impl MemMap for () {}
    pub trait ZoneTable<P> {}
    impl ZoneTable<()> for () {}

    pub struct BuddySystem<'b, P, M, Z> {
        pub platform: P,
        pub rest: PhantomData<&'b (M, Z)>,
    }

    impl BuddySystem<'_, (), (), ()> {
        /// As core's, of one pageset.
        pub fn refresh_told(&self) {
            self.close_if_told(&PAGESET);
        }
    }

    pub type Result<T> = std::result::Result<T, ()>;
    #[allow(non_camel_case_types)]
    pub type c_int = i32;

    pub struct Mm;

    impl Mm {
        pub fn buddy(&self) -> BuddySystem<'_, (), (), ()> {
            BuddySystem {
                platform: (),
                rest: PhantomData,
            }
        }
    }

    pub struct Shadow;

    impl Shadow {
        pub fn with_mm(&self, job: impl FnOnce(&Mm) -> Result<()>) -> Result<()> {
            job(&Mm)
        }
    }

    pub mod shadow {
        pub fn current_if_ready() -> Option<super::Shadow> {
            (super::READY.load(super::SeqCst) != 0).then_some(super::Shadow)
        }
    }
}

mod gate {
    include!(concat!(env!("OUT_DIR"), "/gate.rs"));
}

mod close {
    include!(concat!(env!("OUT_DIR"), "/close.rs"));
}

mod listeners {
    include!(concat!(env!("OUT_DIR"), "/listeners.rs"));

    /// The module begins: who comes finds the shadow, and it looks who has come before
    /// (`refresh`).
    pub fn begin() {
        READY.store(1, SeqCst);
        listeners_fence();
        tell_shadow();
    }
}

fn reg() {
    listeners::shadowmm_trace_reg();
}

fn unreg() {
    listeners::shadowmm_trace_unreg();
}

/// Each in a thread, of a module that has begun unless one of them begins.
fn run(without: Without, ready: bool, before: u32, parts: &'static [fn()]) {
    WITHOUT.set(without);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        READY.store(ready.into(), Relaxed);
        for _ in 0..before {
            reg();
        }
        let others: Vec<_> = parts[1..].iter().map(|&part| thread::spawn(part)).collect();
        parts[0]();
        for other in others {
            other.join().unwrap();
        }
        let listens = LISTENERS.load(SeqCst) != 0;
        let closed = PAGESET.gate.load(SeqCst) & TOLD != 0;
        assert_eq!(closed, listens, "closed for nobody, or open for somebody");
    });
}

#[test]
fn the_short_ways_are_closed_while_somebody_listens() {
    run(Without::Nothing, true, 1, &[reg, unreg]);
    run(Without::Nothing, true, 2, &[unreg, unreg]);
    run(Without::Nothing, true, 0, &[|| (reg(), unreg()).0, reg]);
    run(Without::Nothing, true, 1, &[|| (unreg(), unreg()).0, reg]);
}

#[test]
fn who_listens_before_the_module_begins_is_heard() {
    run(Without::Nothing, false, 0, &[listeners::begin, reg]);
    run(Without::Nothing, false, 1, &[listeners::begin, unreg]);
}

#[test]
#[should_panic(expected = "closed for nobody")]
fn who_does_not_look_again_leaves_them_as_another_wanted() {
    run(Without::Looking, true, 1, &[unreg, || (reg(), unreg()).0]);
}

#[test]
#[should_panic(expected = "open for somebody")]
fn without_a_fence_who_listens_first_is_not_heard() {
    run(Without::Fence, false, 0, &[listeners::begin, reg]);
}
