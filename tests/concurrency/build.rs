// SPDX-License-Identifier: GPL-2.0

//! Makes of core's text of the magazines what `tests/magazine.rs` runs under loom, and of
//! that of the locks of address spaces what `tests/mm_lock.rs` does, of that of the nodes'
//! threads what `tests/daemons.rs` does, of that of those who use spaces and shared objects what
//! `tests/users.rs` does, and of that of the quotas what `tests/told.rs` does: the same with
//! loom's atomics.

use std::env;
use std::fs;
use std::path::Path;

const MAGAZINE: &str = "../../module/core/slab/magazine.rs";
const LOCK: &str = "../../module/core/mm/lock.rs";

const DAEMONS: &str = "../../module/core/buddy/reclaim/daemons.rs";
const KSWAPD: &str = "../../module/core/buddy/reclaim/kswapd.rs";
const KCOMPACTD: &str = "../../module/core/buddy/compaction/kcompactd.rs";

const SPACE: &str = "../../module/core/mm/address_space.rs";
const SHARED: &str = "../../module/core/mm/shared.rs";
const QUOTA: &str = "../../module/core/quota.rs";

/// A file of core's, without what is said at its head.
fn core(path: &str) -> String {
    println!("cargo::rerun-if-changed={path}");
    let text = fs::read_to_string(path).expect("core's text");
    let lines = text.lines().filter(|line| !line.starts_with("//!"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The same for a part of which the surroundings are a model's (`surroundings` beside it):
/// loom's atomics, and nothing else of core.
fn with_surroundings(path: &str) -> String {
    let text = core(path);
    let lines = text.lines().filter(|line| {
        let is_cores = line.starts_with("use crate::") || line.starts_with("use super::");
        !is_cores
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    let text = text
        .replace("core::sync::atomic::", "loom::sync::atomic::")
        .replace("pub(super)", "pub")
        .replace("pub(in crate::buddy)", "pub")
        .replace("pub const fn new(", "pub fn new(");
    format!("use super::surroundings::*;\n{text}")
}

/// What stands in a text from `start` on, up to `end`.
fn part<'t>(text: &'t str, start: &str, end: &str) -> &'t str {
    let from = text.find(start).expect(start);
    let length = text[from..].find(end).expect(end);
    &text[from..from + length]
}

/// One step in place of another, which is there once.
fn step(text: &str, old: &str, new: &str) -> String {
    assert_eq!(text.matches(old).count(), 1, "this has changed: {old}");
    text.replace(old, new)
}

const BUDDY: &str = "impl<P, M, Z> BuddySystem<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
";

/// What is asked of the nodes' threads, and how they are woken.
fn daemons() -> String {
    let text = with_surroundings(DAEMONS);
    let head = part(&text, "use super", "impl Default for Daemons");
    let numbers = part(&text, "/// An order as an atomic", BUDDY);
    let wake = part(
        &text,
        "    /// Asks the zone's node for background reclaim",
        "    /// Notes that a boost",
    );
    let text = [head, numbers, BUDDY, wake, "}\n"].concat();
    let text = step(
        &text,
        "[const { AtomicU64::new(0) }; NR_RECLAIM]",
        "std::array::from_fn(|_| AtomicU64::new(0))",
    );
    let text = text.replace("use loom::sync::atomic::fence;\n", "");
    step(&text, "fence(SeqCst);", "askers_fence();")
}

/// Background reclaim's thread: its steps, without the work.
fn kswapd() -> String {
    let text = with_surroundings(KSWAPD);
    let text = part(
        &text,
        "use super",
        "    /// Reclaims until a zone of the node",
    );
    let text = text.replace("use loom::sync::atomic::fence;\n", "") + "}\n";
    let text = step(&text, "fence(SeqCst);", "sleepers_fence();");
    step(
        &text,
        "daemons.kswapd_highest.swap(NO_ZONE, Relaxed)",
        "take(&daemons.kswapd_highest, NO_ZONE)",
    )
}

/// Background compaction's, likewise.
fn kcompactd() -> String {
    let text = with_surroundings(KCOMPACTD);
    let work = part(
        &text,
        "        self.count_event(VmEvent::CompactDaemonWake, 1);",
        "        // What was asked for meanwhile and is larger stays.",
    );
    let text = step(&text, work, "        self.compact(order);\n");
    let text = step(&text, "super::state::", "");
    // As in `lock`: what these accesses have that loom's have not.
    let asks = "daemons.kcompactd_max_order.fetch_max(order.get(), SeqCst);";
    let text = step(&text, asks, &format!("{asks}\n        askers_fence();"));
    let waits = "daemons.kcompactd_waits.store(true, SeqCst);";
    let text = step(&text, waits, &format!("{waits}\n        sleepers_fence();"));
    step(
        &text,
        "max.compare_exchange(order.get(), 0, Relaxed, Relaxed)",
        "done(max, order.get())",
    )
}

/// The uses of an atomic's kind, and of its orderings.
fn atomics(text: &str) -> String {
    let lines = text.lines().filter(|line| line.starts_with("use "));
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

/// How an address space is found, and goes with the last who uses it.
fn space() -> String {
    let text = with_surroundings(SPACE);
    let found = part(
        &text,
        "    /// The address space of this number",
        "    /// How many there are.",
    );
    let look = part(&text, "    /// The one of the least rank.", "\n}\n").to_owned() + "\n}\n";
    let users = part(
        &text,
        "    /// It can be found from now on",
        "    /// `exit_mmap`.",
    );
    let all = "impl<'a, 'm: 'a, P: Platform> AddressSpaces<'a, 'm, P> {\n";
    let one = "impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {\n";
    let text = [&atomics(&text), all, found, &look, one, users, "}\n"].concat();
    let text = step(
        &text,
        "users.fetch_sub(1, AcqRel)",
        "users.fetch_sub(1, put())",
    );
    let unless_zero = "(users != 0).then(||";
    step(&text, unless_zero, "(users != 0 || no_matter()).then(||")
}

/// How a shared object comes, and goes with the last who has it.
fn shared() -> String {
    let text = with_surroundings(SHARED);
    let users = part(
        &text,
        "    /// A new object of so many pages",
        "    /// The page of an object with this number",
    );
    let cells = part(&text, "cells! {", "impl<'a");
    let all = "impl<'a, 'm: 'a, P: Platform> AddressSpaces<'a, 'm, P> {\n";
    let text = [&atomics(&text), cells, all, users, "}\n"].concat();
    step(
        &text,
        "users.fetch_sub(1, AcqRel)",
        "users.fetch_sub(1, put())",
    )
}

/// What an account has, and was told.
fn quota() -> String {
    let text = with_surroundings(QUOTA).replace("const fn new(", "fn new(");
    let text = step(
        &text,
        "[const { AtomicI64::new(0) }; NR_KINDS]",
        "std::array::from_fn(|_| AtomicI64::new(0))",
    );
    let text = text.replace("use loom::sync::atomic::fence;\n", "");
    let text = step(
        &text,
        "            fence(SeqCst);\n",
        "            look_again();\n",
    );
    step(&text, "self.0.swap(now, AcqRel)", "tell(&self.0, now)")
}

fn lock() -> String {
    let text = core(LOCK);
    let fenced = "vma.lock.fetch_add(1, SeqCst);\n        fence(SeqCst);";
    let text = text
        .replace("core::sync::atomic::", "loom::sync::atomic::")
        .replace("use super::cells::", "use super::surroundings::")
        .replace("use crate::platform::", "use super::surroundings::")
        .replace("pub(super)", "pub")
        // A sequentially consistent access has no more of that in loom than what a
        // fence gives it.
        .replace("vma.lock.fetch_add(1, SeqCst);", fenced);
    assert!(text.contains(fenced), "the reader's note has changed");
    text
}

fn main() {
    let text = core(MAGAZINE)
        .replace("core::sync::atomic::Atomic", "loom::sync::atomic::Atomic")
        .replace("use crate::phys::", "use super::phys::")
        .replace("use crate::page::", "use super::page::")
        // Loom's are not made before the program runs.
        .replace("const fn ", "fn ")
        .replace("[const { AtomicU64::new(0) }; ", "[(); ");
    let text = ["PLACES", "REMOTE"].iter().fold(text, |text, places| {
        let mapped = format!("[(); {places}].map(|()| AtomicU64::new(0))");
        text.replace(&format!("[(); {places}]"), &mapped)
    });
    let out = env::var_os("OUT_DIR").expect("cargo sets it");
    let texts = [
        ("magazine.rs", text),
        ("lock.rs", lock()),
        ("daemons.rs", daemons()),
        ("kswapd.rs", kswapd()),
        ("kcompactd.rs", kcompactd()),
        ("space.rs", space()),
        ("shared.rs", shared()),
        ("quota.rs", quota()),
    ];
    for (name, text) in texts {
        fs::write(Path::new(&out).join(name), text).expect("OUT_DIR");
    }
}
