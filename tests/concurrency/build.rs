// SPDX-License-Identifier: GPL-2.0

//! Makes of core's text what is run under loom: the same with loom's atomics.
//!
//! ```text
//! slab/magazine.rs          tests/magazine.rs
//! mm/lock.rs                tests/mm_lock.rs
//! mm/page_table/table.rs    tests/table.rs
//! page.rs                   tests/page_refs.rs, tests/table.rs
//! slab/debug/depot.rs       tests/depot.rs
//! slab/debug/witness.rs     the same
//! ```
//!
//! Of some a model has the text several times: `whole`, as it is, and with one step
//! weakened each, of which each must fail. A step that is not found is one that core has
//! no longer.

use std::env;
use std::fs;
use std::path::Path;

const MAGAZINE: &str = "../../module/core/slab/magazine.rs";
const LOCK: &str = "../../module/core/mm/lock.rs";
const TABLE: &str = "../../module/core/mm/page_table/table.rs";
const PAGE: &str = "../../module/core/page.rs";
const DEPOT: &str = "../../module/core/slab/debug/depot.rs";
const WITNESS: &str = "../../module/core/slab/debug/witness.rs";

/// What stands in the text, and what is to stand there.
type Change = (&'static str, &'static str);

/// A text with loom's atomics, and without what belongs at the start of a file.
fn read(path: &str) -> String {
    println!("cargo::rerun-if-changed={path}");
    let text = fs::read_to_string(path).expect("core's text");
    let lines = text.lines().filter(|line| !line.starts_with("//!"));
    let text = lines.collect::<Vec<_>>().join("\n");
    text.replace("core::sync::atomic::Atomic", "loom::sync::atomic::Atomic")
}

fn change(text: &str, changes: &[Change]) -> String {
    changes.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "core's text has no {from:?} any more");
        text.replace(from, to)
    })
}

fn write(name: &str, text: &str) {
    let out = env::var_os("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&out).join(name), text).expect("OUT_DIR");
}

/// The text as it is, and once more for each of the steps.
fn write_with(name: &str, text: &str, weakened: &[(&str, &[Change])]) {
    write(&format!("{name}_whole.rs"), text);
    for (step, changes) in weakened {
        write(&format!("{name}_{step}.rs"), &change(text, changes));
    }
}

fn magazine() {
    let text = change(
        &read(MAGAZINE),
        &[
            ("use crate::phys::", "use super::phys::"),
            ("use crate::page::", "use super::page::"),
            // Loom's are not made before the program runs.
            ("const fn ", "fn "),
            ("[const { AtomicU64::new(0) }; ", "[(); "),
        ],
    );
    let text = ["PLACES", "REMOTE"].iter().fold(text, |text, places| {
        let mapped = format!("[(); {places}].map(|()| AtomicU64::new(0))");
        text.replace(&format!("[(); {places}]"), &mapped)
    });
    write("magazine.rs", &text);
}

fn lock() {
    let note = "vma.lock.fetch_add(1, SeqCst);";
    let fenced = "vma.lock.fetch_add(1, SeqCst);\n        fence(SeqCst);";
    let text = change(
        &read(LOCK),
        &[
            ("core::sync::atomic::fence", "loom::sync::atomic::fence"),
            ("use super::cells::", "use super::surroundings::"),
            ("use crate::platform::", "use super::surroundings::"),
            ("pub(super)", "pub"),
            // A sequentially consistent access has no more of that in loom than what a
            // fence gives it.
            (note, fenced),
        ],
    );
    write("lock.rs", &text);
}

fn table() {
    let text = change(
        &read(TABLE),
        &[
            ("use super::entry::", "use crate::entry::"),
            ("pub(in super::super)", "pub"),
            ("pub(super)", "pub"),
            ("ENTRIES: usize = 512", "ENTRIES: usize = 1"),
        ],
    );
    let take = "compare_exchange(FREE, HELD, Acquire, Relaxed)";
    let relaxed = "compare_exchange(FREE, HELD, Relaxed, Relaxed)";
    write_with(
        "table",
        &text,
        &[
            ("taken_without_acquire", &[(take, relaxed)]),
            (
                "waited_without_acquire",
                &[("swap(WANTED, Acquire)", "swap(WANTED, Relaxed)")],
            ),
            (
                "freed_without_release",
                &[("swap(FREE, Release)", "swap(FREE, Relaxed)")],
            ),
            // Who waits is told as if nobody did.
            ("without_the_wake", &[(") == WANTED {", ") > WANTED {")]),
            // Who waits does not say so.
            (
                "without_the_mark",
                &[
                    (
                        "while word.swap(WANTED, Acquire) != FREE {",
                        "while word.compare_exchange(FREE, HELD, Acquire, Relaxed).is_err() {",
                    ),
                    (
                        "|| word.load(Relaxed) == WANTED",
                        "|| word.load(Relaxed) != FREE",
                    ),
                ],
            ),
            // Who waits goes on sleeping when another has the lock, who knows of nobody.
            (
                "asleep_for_another",
                &[(
                    "|| word.load(Relaxed) == WANTED",
                    "|| word.load(Relaxed) != FREE",
                )],
            ),
            (
                "entered_without_release",
                &[("store(entry.0, Release)", "store(entry.0, Relaxed)")],
            ),
            (
                "read_without_acquire",
                &[("load(Acquire)", "load(Relaxed)")],
            ),
        ],
    );
}

fn page() {
    let text = change(
        &read(PAGE),
        &[
            // Loom's are not made before the program runs, and are larger.
            ("const fn hole", "fn hole"),
            (
                "const _: () = assert!(core::mem::size_of::<PageDescriptor>() == 16);",
                "",
            ),
        ],
    );
    let bits = "let bits = self.bits.load(Acquire);\n            let plain";
    write_with(
        "page",
        &text,
        &[
            (
                "last_without_acquire",
                &[("self.count.load(Acquire) <= 1 ||", "self.count.load(Relaxed) <= 1 ||")],
            ),
            (
                "put_without_release",
                &[(
                    "|| self.count.fetch_sub(1, AcqRel) == 1",
                    "|| self.count.fetch_sub(1, Acquire) == 1",
                )],
            ),
            (
                "put_without_acquire",
                &[(
                    "|| self.count.fetch_sub(1, AcqRel) == 1",
                    "|| self.count.fetch_sub(1, Release) == 1",
                )],
            ),
            // Who sees that there are two takes one off, and looks for what is left.
            (
                "put_in_two_steps",
                &[(
                    "|| self.count.fetch_sub(1, AcqRel) == 1",
                    "|| { self.count.fetch_sub(1, AcqRel); self.count.load(Acquire) == 0 }",
                )],
            ),
            // All do without the locked instruction, not the only one alone.
            (
                "put_without_rmw",
                &[(
                    "|| self.count.fetch_sub(1, AcqRel) == 1",
                    "|| { let count = self.count.load(Acquire); \
                     self.count.store(count - 1, Release); count == 1 }",
                )],
            ),
            (
                "counted_without_mark",
                &[(
                    "self.bits.fetch_or(SHARED, Relaxed);\n        let before",
                    "let before",
                )],
            ),
            (
                "counted_without_release",
                &[("fetch_add(1, Release)", "fetch_add(1, Relaxed)")],
            ),
            (
                "marked_behind",
                &[
                    (
                        "self.bits.fetch_or(SHARED, Relaxed);\n        let before",
                        "let before",
                    ),
                    (
                        "Ok(before.wrapping_add(1))",
                        "self.bits.fetch_or(SHARED, Relaxed);\n        Ok(before.wrapping_add(1))",
                    ),
                ],
            ),
            (
                "looked_without_acquire",
                &[(
                    "let count = self.count.load(Acquire);\n            let bits",
                    "let count = self.count.load(Relaxed);\n            let bits",
                )],
            ),
            (
                "given_out_without_release",
                &[("| order, Release);", "| order, Relaxed);")],
            ),
            (
                "toggled_without_release",
                &[("OWNER_TO_PAGESET, Release", "OWNER_TO_PAGESET, Relaxed")],
            ),
            (
                "bits_without_release",
                &[("self.bits.store(bits, Release)", "self.bits.store(bits, Relaxed)")],
            ),
            (
                "state_without_release",
                &[("<< STATE_SHIFT), Release)", "<< STATE_SHIFT), Relaxed)")],
            ),
            (
                "looked_at_bits_without_acquire",
                &[(bits, "let bits = self.bits.load(Relaxed);\n            let plain")],
            ),
            ("looked_once", &[("!(has_more() && has_more())", "!has_more()")]),
            (
                "taken_without_exchange",
                &[(
                    "self.bits\n            .compare_exchange(bits, taken, Acquire, Relaxed)\n            .is_ok()",
                    "self.bits.store(taken, Relaxed);\n        true",
                )],
            ),
        ],
    );
}

fn depot() {
    let text = change(
        &read(DEPOT),
        &[
            ("use super::track::", "use crate::track::"),
            ("const BUCKETS: usize = 1024", "const BUCKETS: usize = 1"),
            ("const POOLS: usize = 1016", "const POOLS: usize = 3"),
            ("const POOL_WORDS: u32 = 512", "const POOL_WORDS: u32 = 8"),
            // Loom's are not made before the program runs.
            (
                "[const { AtomicU32::new(0) }; BUCKETS]",
                "[(); BUCKETS].map(|()| AtomicU32::new(0))",
            ),
            (
                "[const { AtomicU32::new(0) }; POOLS]",
                "[(); POOLS].map(|()| AtomicU32::new(0))",
            ),
        ],
    );
    let link = "bucket.compare_exchange(head, handle, Release, Acquire)";
    write_with(
        "depot",
        &text,
        &[
            (
                "linked_without_release",
                &[(
                    link,
                    "bucket.compare_exchange(head, handle, Relaxed, Acquire)",
                )],
            ),
            (
                "found_without_acquire",
                &[("bucket.load(Acquire)", "bucket.load(Relaxed)")],
            ),
            (
                "linked_without_exchange",
                &[(
                    link,
                    "{ bucket.store(handle, Release); Ok::<u32, u32>(head) }",
                )],
            ),
            (
                "reserved_without_exchange",
                &[(
                    "(root.used.compare_exchange(used, next, AcqRel, Acquire)).is_ok()",
                    "{ root.used.store(next, Release); true }",
                )],
            ),
            (
                "added_without_exchange",
                &[(
                    "pool.compare_exchange(0, number, AcqRel, Acquire).is_err()",
                    "{ pool.store(number, Release); false }",
                )],
            ),
            // Who finds that another has given the pool its page keeps his.
            ("kept_page", &[("self.memory.give_back(pfn);", "")]),
            // Who finds another's head leads to the one that he had seen before.
            (
                "older_head",
                &[(
                    "loop {\n            first.store(u64::from(head) | (u64::from(hash) << 32), Relaxed);",
                    "first.store(u64::from(head) | (u64::from(hash) << 32), Relaxed);\n        loop {",
                )],
            ),
            ("root_without_release", &[]),
            ("root_without_acquire", &[]),
            ("root_without_exchange", &[]),
            ("dropped_without_swap", &[]),
        ],
    );
    let text = change(
        &read(WITNESS),
        &[
            ("use super::inspect::", "use crate::inspect::"),
            ("use super::track::", "use crate::track::"),
            ("use crate::slab::system::", "use super::system::"),
            ("pub(in crate::slab)", "pub"),
            ("pub(super)", "pub"),
            // Loom's are not made before the program runs, and are larger.
            ("const fn new", "fn new"),
            (
                "const _: () = assert!(core::mem::size_of::<DepotRoot>() as u64 <= \
                 ROOT_ORDER.pages().bytes().0);",
                "",
            ),
        ],
    );
    let make = "depot.compare_exchange(0, addr, AcqRel, Acquire).is_err()";
    write_with(
        "witness",
        &text,
        &[
            ("linked_without_release", &[]),
            ("found_without_acquire", &[]),
            ("linked_without_exchange", &[]),
            ("reserved_without_exchange", &[]),
            ("added_without_exchange", &[]),
            ("kept_page", &[]),
            ("older_head", &[]),
            (
                "root_without_release",
                &[(
                    make,
                    "depot.compare_exchange(0, addr, Relaxed, Acquire).is_err()",
                )],
            ),
            (
                "root_without_acquire",
                &[("depot.load(Acquire)", "depot.load(Relaxed)")],
            ),
            (
                "root_without_exchange",
                &[(make, "{ depot.swap(addr, AcqRel); false }")],
            ),
            (
                "dropped_without_swap",
                &[(
                    "let addr = self.table().debug.depot.swap(0, AcqRel);",
                    "let addr = self.table().debug.depot.load(Acquire);\n        \
                     self.table().debug.depot.swap(0, AcqRel);",
                )],
            ),
        ],
    );
}

fn main() {
    magazine();
    lock();
    table();
    page();
    depot();
}
