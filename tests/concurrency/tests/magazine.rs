// SPDX-License-Identifier: GPL-2.0

//! The magazines of the slab layer under loom: core's own text
//! (`slab/magazine.rs`) with loom's atomics, in every interleaving of its
//! accesses and with every value that a relaxed load may see.
//!
//! ```text
//! the CPU, pinned                       another
//!   pop, push: the word and the gate      close, synchronize
//!                                         take all, synchronize
//!                                         open
//! ```
//!
//! Whatever happens, each object is in one place. `synchronize` is that of
//! `tests/loom.rs`: a section that had begun has ended when it returns; one that
//! begins meanwhile may still be there, as slow as it likes.

use cells::New;
use loom::sync::atomic::Ordering::Relaxed;
use loom::sync::Arc;
use loom::sync::Mutex;
use loom::thread;
use magazine::CpuSlab;

#[path = "common/cells.rs"]
mod cells;

mod page {
    /// What magazines ask of the keys of pages.
    pub struct PageDescriptor;

    impl PageDescriptor {
        /// As cells are, made anew.
        pub const NO_SLAB_KEY: u32 = 0;

        pub fn slab_keys_differ_by_node(one: u32, other: u32) -> bool {
            one != other && (one ^ other) << 6 == 0
        }
    }
}

mod phys {
    pub(crate) use crate::cells::cells;
    pub use shadowmm_core::phys::NodeId;
}

#[allow(dead_code, reason = "core's text, of which a part is run")]
mod magazine {
    include!(concat!(env!("OUT_DIR"), "/magazine.rs"));
}

/// What is done in a section.
#[derive(Clone, Copy)]
enum Step {
    Pop,
    Push(u64),
}

const KEY: u32 = 7;

/// Which of its waits the other leaves out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    First,
    Second,
}

/// The CPU does the steps, each in a section, while another takes what it has.
fn run(steps: &'static [Step], without: Without) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let cpu = <CpuSlab as New>::new();
        cpu.init();
        cpu.set_up(4, KEY, phys::NodeId(0), 0);
        assert!(cpu.push(KEY, 8) && cpu.push(KEY, 16));
        let shared = Arc::new((cpu, Mutex::new(false)));
        let other = {
            let shared = shared.clone();
            thread::spawn(move || {
                let (cpu, pinned) = &*shared;
                let synchronize = |which| {
                    while without != which && *pinned.lock().unwrap() {
                        thread::yield_now();
                    }
                };
                let mut taken = vec![];
                cpu.close();
                synchronize(Without::First);
                let objects = cpu.lowest(u32::MAX);
                taken.extend(objects.iter().map(|object| object.load(Relaxed)));
                cpu.take_lowest(u32::MAX);
                synchronize(Without::Second);
                cpu.open();
                taken
            })
        };
        let (cpu, pinned) = &*shared;
        let mut all = vec![];
        let mut expected = vec![8, 16];
        for step in steps {
            *pinned.lock().unwrap() = true;
            match *step {
                Step::Pop if cpu.is_open() => all.extend(cpu.pop()),
                Step::Pop => {}
                Step::Push(object) => {
                    expected.push(object);
                    // If it has no room, to its slab, which nobody else knows of.
                    if !(cpu.is_open() && cpu.push(KEY, object)) {
                        all.push(object);
                    }
                }
            }
            *pinned.lock().unwrap() = false;
        }
        all.extend(other.join().unwrap());
        cpu.for_each(|object| all.push(object));
        all.sort_unstable();
        assert_eq!(all, expected, "an object is in two places, or in none");
    });
}

#[test]
fn each_object_is_in_one_place_while_the_magazine_is_taken() {
    run(&[Step::Push(24), Step::Pop], Without::Nothing);
}

#[test]
fn two_pops_while_it_is_taken() {
    run(&[Step::Pop, Step::Pop], Without::Nothing);
}

#[test]
#[should_panic(expected = "in two places")]
fn without_the_first_wait_an_object_is_in_two_places() {
    run(&[Step::Push(24), Step::Pop], Without::First);
}

/// A section that began in between has seen the word as it was before.
#[test]
#[should_panic(expected = "in two places")]
fn without_the_second_wait_an_object_is_in_two_places() {
    run(&[Step::Pop, Step::Pop], Without::Second);
}
