// SPDX-License-Identifier: GPL-2.0

//! Makes of core's text what is run under loom: the same with loom's atomics.
//!
//! ```text
//! slab/magazine.rs          tests/magazine.rs
//! mm/lock.rs                tests/mm_lock.rs
//! mm/page_table/table.rs    tests/table.rs
//! page.rs                   tests/page_refs.rs, tests/table.rs
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
            // Not even the only one does without the locked instruction, but all others do.
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

fn main() {
    magazine();
    lock();
    table();
    page();
}
