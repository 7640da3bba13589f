// SPDX-License-Identifier: GPL-2.0

//! Copies core's sources and has them use the atomics of `src/atomics.rs`. What
//! is copied is core's text otherwise; only its root loses what stands before
//! its modules, which `src/lib.rs` has.

use std::env;
use std::fs;
use std::io;
use std::path::Path;

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type()?.is_dir() {
            if name != "target" {
                copy(&path, &to.join(name))?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)?;
            let text = text.replace("core::sync::atomic::Atomic", "crate::atomics::Atomic");
            fs::write(to.join(name), text)?;
        }
    }
    Ok(())
}

fn main() {
    let core = Path::new("../../../module/core");
    println!("cargo::rerun-if-changed={}", core.display());
    let out = env::var_os("OUT_DIR").expect("cargo sets it");
    let out = Path::new(&out).join("core");
    copy(core, &out).expect("core's sources can be read, and written to OUT_DIR");
    let root = fs::read_to_string(out.join("shadowmm_core.rs")).expect("core's root");
    let modules = root.lines().filter(|line| line.starts_with("pub mod "));
    let modules: Vec<&str> = modules.collect();
    assert!(!modules.is_empty(), "core's root lists its modules");
    fs::write(out.join("shadowmm_core.rs"), modules.join("\n")).expect("OUT_DIR");
}
