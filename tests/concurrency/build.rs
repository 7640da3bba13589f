// SPDX-License-Identifier: GPL-2.0

//! Makes of core's text of the magazines what `tests/magazine.rs` runs under loom, and of
//! that of the locks of address spaces what `tests/mm_lock.rs` does: the same with loom's
//! atomics.

use std::env;
use std::fs;
use std::path::Path;

const MAGAZINE: &str = "../../module/core/slab/magazine.rs";
const LOCK: &str = "../../module/core/mm/lock.rs";

fn lock() -> String {
    println!("cargo::rerun-if-changed={LOCK}");
    let text = fs::read_to_string(LOCK).expect("core's locks");
    let lines = text.lines().filter(|line| !line.starts_with("//!"));
    let text = lines.collect::<Vec<_>>().join("\n");
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
    println!("cargo::rerun-if-changed={MAGAZINE}");
    let text = fs::read_to_string(MAGAZINE).expect("core's magazines");
    let lines = text.lines().filter(|line| !line.starts_with("//!"));
    let text = lines.collect::<Vec<_>>().join("\n");
    let text = text
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
    fs::write(Path::new(&out).join("magazine.rs"), text).expect("OUT_DIR");
    fs::write(Path::new(&out).join("lock.rs"), lock()).expect("OUT_DIR");
}
