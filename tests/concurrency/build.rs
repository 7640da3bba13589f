// SPDX-License-Identifier: GPL-2.0

//! Makes of core's text of the magazines what `tests/magazine.rs` runs under loom:
//! the same with loom's atomics.

use std::env;
use std::fs;
use std::path::Path;

const MAGAZINE: &str = "../../module/core/slab/magazine.rs";

fn main() {
    println!("cargo::rerun-if-changed={MAGAZINE}");
    let text = fs::read_to_string(MAGAZINE).expect("core's magazines");
    let lines = text.lines().filter(|line| !line.starts_with("//!"));
    let text = lines.collect::<Vec<_>>().join("\n");
    let text = text
        .replace("core::sync::atomic::Atomic", "loom::sync::atomic::Atomic")
        .replace("use crate::phys::", "use super::phys::")
        // Loom's are not made before the program runs.
        .replace("const fn ", "fn ")
        .replace("[const { AtomicU64::new(0) }; ", "[(); ");
    let text = ["PLACES", "REMOTE"].iter().fold(text, |text, places| {
        let mapped = format!("[(); {places}].map(|()| AtomicU64::new(0))");
        text.replace(&format!("[(); {places}]"), &mapped)
    });
    let out = env::var_os("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&out).join("magazine.rs"), text).expect("OUT_DIR");
}
